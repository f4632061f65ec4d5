/* etk/trainer.h: training and evaluation of a language model, whole or through an adapter.
 *
 * A trainer owns the recorded graphs (one per padded length) and the optimizer; it borrows model, adapter and data. The state of a run — weights,
 * moments, step, position in the data — can be saved after any step and resumed: the losses that follow are the same bits. One thread at a time. */
#ifndef ETK_TRAINER_H
#define ETK_TRAINER_H

#include "adapter.h"
#include "dataset.h"
#include "optimizer.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct etk_trainer_options {
  int64_t batch_size;            /* sequences a batch */
  int64_t accumulation;          /* batches an optimizer step; 0 or 1: one */
  int32_t max_tokens;            /* longest row */
  etk_optimizer_options optimizer;
  etk_schedule schedule;         /* total_steps is the length of the run */
  double gradient_clipping;      /* global norm; 0: none */
  double dropout;                /* of the residual stream; for training from scratch on little data */
  uint64_t seed;                 /* data order and dropout */
  size_t memory_limit;           /* bytes that steps and optimizer may need; 0: what the machine has available */
  bool checkpointing;            /* each block's results are computed again in the reverse pass, not kept: the same losses and weights, bit for bit */
  etk_compute compute;           /* of products in training; weights, sums and optimizer stay F32 */
  const etk_packing *packing;    /* a row of a batch is one of its rows; its data set is what the steps get; borrowed. NULL: a row is a sequence */
} etk_trainer_options;

typedef struct etk_step {
  int64_t step;          /* from 0 */
  double loss;           /* mean over the counted tokens of the step */
  double learning_rate, gradient_norm;
  int64_t tokens;        /* counted targets */
  int64_t elapsed_ns;
  double epoch;          /* position in the data, in epochs */
} etk_step;

typedef struct etk_trainer etk_trainer;
/* adapter NULL: all weights of a trainable model learn. Norms and biases get no weight decay when all weights learn. */
etk_status etk_trainer_new(etk_error *e, etk_trainer **out, etk_model *model, etk_adapter *adapter, const etk_trainer_options *options);
void etk_trainer_free(etk_trainer *trainer);
/* One optimizer step on the next batch(es) of the data. A loss that is not finite is an error and changes no weight. */
etk_status etk_trainer_step(etk_error *e, etk_trainer *trainer, const etk_dataset *data, etk_step *out);
int64_t etk_trainer_steps(const etk_trainer *trainer); /* done so far */
/* Bytes that the largest graph, gradients and optimizer state need, and stored weights beyond etk_model_bytes; known before the first step, and ETK_E_NO_MEMORY before anything is taken where that is more
 * than there is. */
etk_status etk_trainer_plan(etk_error *e, etk_trainer *trainer, size_t *bytes);
void etk_trainer_rest(etk_trainer *trainer); /* gives the memory of a step back until the next: for an evaluation in between */
/* optimizer.safetensors and trainer_state.json in an existing folder; the weights themselves are saved by etk_model_save or etk_adapter_save. Loading
 * checks that options which change the course of the run (batch size, seed, schedule, …) are the same and names the one that is not. */
etk_status etk_trainer_save(etk_error *e, const etk_trainer *trainer, const char *folder);
etk_status etk_trainer_load(etk_error *e, etk_trainer *trainer, const char *folder);

typedef struct etk_evaluation {
  double loss;        /* mean negative log-likelihood per scored token */
  double perplexity;  /* exp(loss) */
  int64_t tokens, sequences;
  int64_t elapsed_ns;
} etk_evaluation;
typedef struct etk_evaluate_options {
  int64_t batch_size;
  int64_t max_batches; /* 0: all */
  /* Called for each scored token in order of the data; NULL: not wanted. Returning false stops with ETK_E_IO. */
  bool (*token)(void *user, int32_t id, double logprob);
  /* Called after each batch; returning false stops with ETK_E_CANCELLED. */
  bool (*progress)(void *user, int64_t done, int64_t total);
  void *user;
} etk_evaluate_options;
etk_status etk_evaluate(etk_error *e, etk_evaluation *out, const etk_model *model, const etk_adapter *adapter, const etk_dataset *data, const etk_evaluate_options *options);

#ifdef __cplusplus
}
#endif
#endif
