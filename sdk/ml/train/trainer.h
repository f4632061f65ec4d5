/* trainer.h: the trainer's own data, shared with its checkpoints. */
#ifndef ETK_ML_TRAIN_TRAINER_H
#define ETK_ML_TRAIN_TRAINER_H

#include "internal.h"
#include "ml/tensor/internal.h"

enum { MAX_GRAPHS = 24 };

struct etk_trainer {
  etk_arena arena;
  etk_model *model;
  etk_adapter *adapter;
  etk_trainer_options options;
  etk_tensor **parameters;
  const char **names;
  bool *no_decay;
  etk_tensor **sum;       /* gradients over several batches, where accumulation > 1 */
  size_t count;           /* of parameters */
  etk_optimizer *optimizer;
  struct batch_graph graphs[MAX_GRAPHS];
  size_t graph_count;
  struct workspace workspace; /* of all graphs: one runs at a time */
  etk_sequence *sequences; /* (batch_size) */
  size_t *order;           /* of order_epoch: sequences, or rows where they are packed */
  int64_t order_epoch;
  size_t data_count;       /* sequences; 0 until known */
  const etk_dataset *data; /* whose fingerprint was taken; compared by address only */
  uint64_t fingerprint;    /* of all ids, so that a resumed run is not given other data */
  int64_t steps;
};

#endif
