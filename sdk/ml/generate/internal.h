/* internal.h: a generator's insides, for the files of this folder. */
#ifndef ETK_ML_GENERATE_INTERNAL_H
#define ETK_ML_GENERATE_INTERNAL_H

#include <etk/generate.h>

enum { BLOCK_TOKENS = 16, STEPS = 4, CHECKS = 7, MOST_ROWS = 16 };

/* A recorded graph: tokens of one row, which give the logits of the last one, or rows of one token each, which give the logits of all. */
struct step {
  etk_graph *graph;
  etk_tensor *ids, *positions, *select, *block_table, *logits; /* select: NULL where all logits are given */
  etk_tensor *last; /* longrope, else NULL: the sequence's last position */
  int64_t rows, tokens;
  size_t bytes; /* as planned */
};

struct etk_generator {
  const etk_model *model;
  const etk_adapter *adapter;
  etk_cache *cache;
  int64_t capacity, max_blocks, vocab;
  int64_t original; /* longrope, else 0: positions of the original context */
  int sequence;
  int64_t held; /* of seen: tokens whose keys and values are in the cache */
  bool turned_long; /* longrope: with the long factors */
  struct step steps[STEPS], checks[CHECKS];
  etk_candidate *scratch; /* (vocab) */
  float *logits;          /* (vocab), a copy that sampling may change */
  int32_t *seen;          /* (capacity) prompt and answer so far, and what is proposed behind */
  float *proposed;        /* (proposed_room, vocab) what proposals were drawn from */
  int64_t proposed_room;
};

/* ---- generator.c ---- */
/* Feeds ids[from .. count), where those before `from` are in the cache, in graphs of one row; *last gives the last one's logits. */
etk_status etk__generator_prefill(etk_error *e, etk_generator *gen, const int32_t *ids, int64_t from, int64_t count, struct step **last);
/* Feeds `count` tokens of seen that stand from `position` on, each a row: *step gives logits (count, vocab), those of one token's own pass to the last bit. */
etk_status etk__generator_check(etk_error *e, etk_generator *gen, int64_t position, int64_t count, struct step **step);
/* Forgets what stands from `tokens` on. */
void etk__generator_trim(etk_generator *gen, int64_t tokens);
/* Forgets what is not the beginning of ids, of which the last is not counted; how many tokens are left. */
int64_t etk__generator_match(etk_generator *gen, const int32_t *ids, int64_t count);

/* ---- sample.c ---- */
/* In place of logits the probabilities that etk_sample draws by, for a temperature above 0; false: they are not finite. */
bool etk__probabilities(float *logits, int64_t vocab, const etk_sampling *sampling, const int32_t *seen, size_t seen_count, etk_candidate *scratch);
/* Draws by weights that need not sum to one, none negative; -1: they are all zero. */
int32_t etk__draw(const float *weights, int64_t vocab, etk_rng *rng);

/* ---- speculate.c ---- */
struct speculator {
  const etk_generate_options *options;
  etk_generator *gen, *draft;
  etk_rng rng;       /* the draft's draws */
  int64_t most, most_drafted; /* proposed at a time: by lookup, by the draft */
  int64_t reach;     /* by lookup, now */
  int64_t count;     /* proposed: they stand in seen behind the text */
  int64_t taken;     /* of them, so far */
  bool looked_up;    /* else from the draft */
};
etk_status etk__speculator_new(etk_error *e, struct speculator *out, etk_generator *gen, const etk_generate_options *options);
/* Puts up to `room` proposals behind the text of `length` tokens in seen. */
etk_status etk__speculator_propose(etk_error *e, struct speculator *s, int64_t length, int64_t room);
/* Chooses the token that follows the `length` of seen from its logits (changed in place). *taken: it is the one that was proposed. */
int32_t etk__speculator_choose(struct speculator *s, float *logits, int64_t length, etk_rng *rng, double *logprob, bool *taken);

/* ---- prompt_cache.c ---- */
struct etk_safetensors;
/* As etk_generator_load, of an open file. */
etk_status etk__generator_take(etk_error *e, etk_generator *gen, const struct etk_safetensors *file, const char *path);

/* ---- fingerprint.c ---- */
/* XXH3 of what a model is (32 digits): configuration, names, types, shapes and picked values of weights. */
etk_status etk__model_fingerprint(etk_error *e, char out[33], const etk_model *model);
/* Of an adapter, all of it; NULL: "none". */
etk_status etk__adapter_fingerprint(etk_error *e, char out[33], const etk_adapter *adapter);

#endif
