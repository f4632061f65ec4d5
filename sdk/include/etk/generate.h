/* etk/generate.h: sampling and text generation with a key-value cache, prompts that are kept, and speculative decoding.
 *
 * A generator belongs to one thread at a time; generators of one model may run beside each other. */
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
typedef struct etk_generator_options {
  /* Tokens (prompt and answer) that fit; 0: the model's context. With longrope (phi3) it does not choose the factors: a text within the original context has the
   * short ones, and one that grows past it is computed again with the long ones at that token. */
  int64_t capacity;
  const char *cache_type; /* of keys and values: "f32", "f16" or "q8_0" (etk/cache.h); NULL or "auto": what $ETK_CACHE says, else F32 where all weights are, else F16 */
} etk_generator_options;
/* Borrows model and adapter (NULL: none). */
etk_status etk_generator_new_with(etk_error *e, etk_generator **out, const etk_model *model, const etk_adapter *adapter, const etk_generator_options *options);
etk_status etk_generator_new(etk_error *e, etk_generator **out, const etk_model *model, const etk_adapter *adapter, int64_t capacity); /* the rest as it is by default */
const char *etk_generator_cache_type(const etk_generator *generator); /* "f32", "f16", "q8_0" */
void etk_generator_free(etk_generator *generator);
/* Bytes that a prompt of so many tokens and its answer need, known before anything runs: the weights as they are held, the cache, and the graphs (which are
 * recorded here, not run), with those that check up to `proposed` tokens at a time (0: no speculative decoding; a draft is planned by itself). What a process has
 * before it opens a model, some 10 MB and the buffers of a BLAS, is not counted. */
etk_status etk_generator_plan(etk_error *e, etk_generator *generator, int64_t prompt_tokens, int64_t proposed, size_t *bytes);

/* ---- prompts that are kept ---- */

/* How many tokens the generator holds keys and values of: those of the last etk_generate that worked, but its last new token, or of a file. */
int64_t etk_generator_held(const etk_generator *generator);
/* Writes the first `tokens` of what is held (0 or more than that: all) to a file, atomically and replacing it. It is a safetensors file with the ids, keys and
 * values block by block as the cache has them, and metadata: the layout's version, a fingerprint of model and adapter, the cache's type, and an XXH3 of the
 * content. Nothing held is ETK_E_INVALID; what writing says (ETK_E_IO, ETK_E_NO_SPACE …) leaves an older file as it was. */
etk_status etk_generator_save(etk_error *e, const etk_generator *generator, const char *path, int64_t tokens);
/* Reads such a file in place of what is held, as much of it as the capacity holds; etk_generate takes of it what the prompt begins with where its options say
 * `reuse`. No file: ETK_E_NOT_FOUND. ETK_E_INVALID: a file of another model or adapter, of another version or type of cache. ETK_E_FORMAT: no such file at all, or
 * one that was cut off or changed (an XXH3 covers all that is used). The message says which, and the generator holds nothing. The fingerprint is of the configuration, of each weight's name, type and
 * shape, and of values picked from all over it: weights that were changed in a few places alone may pass for the old ones. */
etk_status etk_generator_load(etk_error *e, etk_generator *generator, const char *path);

/* ---- speculative decoding ---- */

/* Tokens are proposed cheaply and checked together in one pass of the model, which costs little more than one token's, as both read the weights once. The result
 * is what it would be without: each token is computed by the same sums whether it is alone or beside others, so a text is the same to the last bit where the
 * next token follows from the model's logits and the seed alone: with `lookup` always, with `draft` at temperature 0. With `draft` and a temperature proposals are
 * drawn from the draft's own distribution q and taken with probability min(1, p/q), else the token is drawn from what p has more than q (Leviathan et al. 2023,
 * Chen et al. 2023): tokens then have the same distribution, and the seed leads to another text than without.
 * Penalties and top-k, top-p hold for p and q alike. The graphs that check are recorded where they are first wanted, or planned. */
typedef struct etk_speculation {
  /* Of a smaller model whose ids mean the same (etk_draft_check); borrowed, used by one etk_generate at a time, which changes what it holds. NULL: none. Its
   * vocabulary may be larger or smaller by padding. It proposes as long as its capacity lasts. */
  etk_generator *draft;
  /* Proposes what followed where the last ngram_max tokens (or fewer, down to ngram_min) stood last in prompt and answer. With both, the draft is asked where
   * nothing is found. How many are proposed grows and shrinks with how many were taken. */
  bool lookup;
  int64_t tokens;               /* proposed at a time, at most; 0: 3 from a draft, 15 by lookup. Bounded by etk_generator_most_drafted. */
  int64_t ngram_min, ngram_max; /* 0: 2 and 4 */
} etk_speculation;

/* How many tokens can be checked at a time beside the first, which follows from how many rows at once are summed as one is: 15 for GGUF's blocks, 7 where there are
 * F32, F16 or BF16 weights or an adapter, 3 with others. 0 for F32 weights that lie (in, out), as in GPT-2's folders: with those speculation is ETK_E_UNSUPPORTED. */
int64_t etk_generator_most_drafted(const etk_generator *generator);

/* Whether a draft's ids mean what the model's do: the same spelling of each id that both have, and at most 128 that only one has (padding), otherwise
 * ETK_E_INVALID with the first that differs. */
etk_status etk_draft_check(etk_error *e, const etk_tokenizer *tokenizer, const etk_tokenizer *draft);

/* ---- generation ---- */

typedef struct etk_generate_options {
  etk_sampling sampling;
  int64_t max_tokens;  /* new tokens at most; the generator's capacity bounds it too */
  uint64_t seed;
  bool ignore_eos;
  /* Called with each new token as it is made; returning false stops (not an error). */
  bool (*token)(void *user, int32_t id, double logprob);
  void *user;
  /* The longest beginning of the prompt that the generator holds is not computed again (all but the last token, whose logits are wanted). Prompts are computed
   * in pieces, and where they are cut can change last bits; so the result is that of a prompt that was cut there, not always to the last bit that of one
   * computed whole. With longrope only what stays on the same side of the original context is taken. */
  bool reuse;
  etk_speculation speculation; /* zeros: none */
} etk_generate_options;
typedef struct etk_generation {
  etk_ids ids;            /* new tokens, without the end-of-sequence token; etk_ids_free */
  int64_t prompt_tokens;
  int64_t reused_tokens;  /* of the prompt, that were held */
  int64_t drafted, accepted; /* proposed tokens that were checked, and those of them that became the text's */
  int64_t passes;         /* of the model, after the prompt's */
  int64_t prefill_ns, decode_ns;
  enum { ETK_STOP_EOS, ETK_STOP_LENGTH, ETK_STOP_CALLBACK } stop;
} etk_generation;
/* An empty prompt starts from the model's beginning-of-sequence token; without one that is an error. A prompt that cannot be changes nothing; after another error
 * nothing is held. */
etk_status etk_generate(etk_error *e, etk_generator *generator, const int32_t *prompt, size_t prompt_count, const etk_generate_options *options, etk_generation *out);

#ifdef __cplusplus
}
#endif
#endif
