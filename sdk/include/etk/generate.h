/* etk/generate.h: sampling and text generation with a key-value cache. */
#ifndef ETK_GENERATE_H
#define ETK_GENERATE_H

#include "adapter.h"
#include "rng.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct etk_sampling {
  double temperature;        /* 0: the most likely token, whatever else is set */
  double top_p;              /* nucleus (Holtzman et al. 2020); 1: off */
  int64_t top_k;             /* 0: off */
  double repetition_penalty; /* CTRL (Keskar et al. 2019): positive logits of seen tokens are divided, negative multiplied; 1: off */
} etk_sampling;

/* Chooses from logits (vocab; changed in place): penalty over seen[0..], temperature, top-k, top-p. logprob (may be NULL) gets the log-probability
 * under the distribution that was sampled from. scratch: vocab entries. Ties go to the smaller id. */
typedef struct etk_candidate { float logit; int32_t id; } etk_candidate;
int32_t etk_sample(float *logits, int64_t vocab, const etk_sampling *sampling, const int32_t *seen, size_t seen_count, etk_rng *rng, etk_candidate *scratch, double *logprob);

typedef struct etk_generator etk_generator;
/* capacity: tokens (prompt and answer) that fit; 0: the model's context. Borrows model and adapter. With longrope (phi3) the capacity does not choose the
 * factors: a text within the original context has the short ones, and one that grows past it is computed again with the long ones at that token. The cache
 * is of F32, or with $ETK_CACHE=f16 of F16 (etk/cache.h). */
etk_status etk_generator_new(etk_error *e, etk_generator **out, const etk_model *model, const etk_adapter *adapter, int64_t capacity);
void etk_generator_free(etk_generator *generator);
/* Bytes that a prompt of so many tokens and its answer need, known before anything runs: the weights as they are held, the cache, and the graphs (which are
 * recorded here, not run). What a process has before it opens a model, some 10 MB and the buffers of a BLAS, is not counted. */
etk_status etk_generator_plan(etk_error *e, etk_generator *generator, int64_t prompt_tokens, size_t *bytes);

typedef struct etk_generate_options {
  etk_sampling sampling;
  int64_t max_tokens;  /* new tokens at most; the generator's capacity bounds it too */
  uint64_t seed;
  bool ignore_eos;
  /* Called with each new token as it is made; returning false stops (not an error). */
  bool (*token)(void *user, int32_t id, double logprob);
  void *user;
} etk_generate_options;
typedef struct etk_generation {
  etk_ids ids;            /* new tokens, without the end-of-sequence token; etk_ids_free */
  int64_t prompt_tokens;
  int64_t prefill_ns, decode_ns;
  enum { ETK_STOP_EOS, ETK_STOP_LENGTH, ETK_STOP_CALLBACK } stop;
} etk_generation;
/* An empty prompt starts from the model's beginning-of-sequence token; without one that is an error. */
etk_status etk_generate(etk_error *e, etk_generator *generator, const int32_t *prompt, size_t prompt_count, const etk_generate_options *options, etk_generation *out);

#ifdef __cplusplus
}
#endif
#endif
