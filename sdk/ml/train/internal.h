/* internal.h: what training and evaluation share. */
#ifndef ETK_ML_TRAIN_INTERNAL_H
#define ETK_ML_TRAIN_INTERNAL_H

#include <etk/alloc.h>
#include <etk/dataset.h>
#include <etk/ops.h>
#include <etk/trainer.h>

struct workspace; /* ml/tensor/internal.h */

struct batch_options {
  float dropout;
  bool packed;                 /* rows hold several sequences */
  bool checkpointing;
  etk_compute compute;
  struct workspace *workspace; /* of several graphs; NULL: memory of its own */
};

/* The model recorded for batches of one shape. losses: per target; loss: their mean over the counted; gradients: of the parameters, when training. */
struct batch_graph {
  int64_t rows, columns;
  etk_graph *graph;
  etk_tensor *ids, *positions, *targets; /* (rows, columns), (rows, columns), (rows * columns), all i32 */
  etk_tensor *last;                      /* (rows, 1) i32: the last position that is no padding; NULL where the model does not ask */
  etk_tensor *starts;                    /* (rows, columns) i32: where each token's sequence begins; NULL: rows are not packed */
  etk_tensor *losses, *loss;             /* (rows * columns), (1) f32 */
  etk_tensor **gradients;                /* one for each parameter; entries may be NULL */
  etk_plan plan;
};
/* parameters NULL: evaluation. options may be NULL. */
etk_status etk__batch_graph_init(etk_error *e, struct batch_graph *out, const etk_model *model, const etk_adapter *adapter, int64_t rows, int64_t columns,
                                 etk_tensor *const *parameters, size_t parameter_count, const struct batch_options *options);
void etk__batch_graph_fini(struct batch_graph *graph);
/* Sets its inputs; etk_batch_fill's number of counted targets. */
int64_t etk__batch_graph_fill(struct batch_graph *graph, const etk_sequence *sequences, size_t count);
/* The same of a packed graph: row `row` gets these sequences, end to end. */
int64_t etk__batch_graph_pack(struct batch_graph *graph, int64_t row, const etk_dataset *dataset, const size_t *members, size_t count);
/* Padded columns for a batch whose longest sequence has `longest` tokens: few different shapes, little padding. */
int64_t etk__batch_columns(int64_t longest, int64_t max_tokens);

#endif
