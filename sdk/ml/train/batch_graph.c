#include "internal.h"

#include "ml/tensor/internal.h"

int64_t etk__batch_columns(int64_t longest, int64_t max_tokens) {
  int64_t inputs = longest - 1 < 1 ? 1 : longest - 1; /* the last token is only a target */
  int64_t step = inputs <= 64 ? 16 : inputs <= 256 ? 32 : inputs <= 1024 ? 128 : 512;
  int64_t columns = (inputs + step - 1) / step * step;
  return columns < max_tokens ? columns : max_tokens;
}

static etk_status record(etk_error *e, struct batch_graph *b, const etk_model *model, const etk_adapter *adapter, etk_tensor *const *parameters,
                         size_t count, const struct batch_options *o) {
  etk_graph *g = b->graph;
  b->ids = etk_graph_input(g, ETK_I32, etk_shape_of(2, b->rows, b->columns), "ids");
  b->positions = etk_graph_input(g, ETK_I32, etk_shape_of(2, b->rows, b->columns), "positions");
  b->targets = etk_graph_input(g, ETK_I32, etk_shape_of(1, b->rows * b->columns), "targets");
  if (etk_model_get_config(model)->rope_scaling == ETK_ROPE_LONGROPE) b->last = etk_graph_input(g, ETK_I32, etk_shape_of(2, b->rows, 1), "last");
  if (o->packed) b->starts = etk_graph_input(g, ETK_I32, etk_shape_of(2, b->rows, b->columns), "starts");
  if (o->workspace) etk__graph_set_workspace(g, o->workspace);
  etk_graph_set_compute(g, o->compute);
  etk_forward forward = {.ids = b->ids, .positions = b->positions, .last = b->last, .starts = b->starts, .adapter = adapter, .training = parameters != NULL,
                         .dropout = o->dropout, .checkpointing = o->checkpointing};
  b->loss = etk_model_loss(g, model, &forward, b->targets, &b->losses);
  etk_graph_keep(g, b->losses);
  etk_graph_keep(g, b->loss);
  etk_status status = etk_graph_status(e, g);
  if (!status && parameters) status = etk_graph_backward(e, g, b->loss, parameters, count, b->gradients);
  if (!status) status = etk_graph_plan(e, g, &b->plan);
  if (status) return status;
  int32_t *positions = etk_tensor_data(b->positions);
  for (int64_t i = 0; i < b->rows * b->columns; i++) positions[i] = (int32_t)(i % b->columns);
  return ETK_OK;
}

etk_status etk__batch_graph_init(etk_error *e, struct batch_graph *out, const etk_model *model, const etk_adapter *adapter, int64_t rows, int64_t columns,
                                 etk_tensor *const *parameters, size_t count, const struct batch_options *options) {
  *out = (struct batch_graph){.rows = rows, .columns = columns};
  out->graph = etk_graph_new();
  if (parameters) out->gradients = etk_calloc(count, sizeof *out->gradients);
  etk_status status = out->graph && (!parameters || out->gradients) ? record(e, out, model, adapter, parameters, count, options ? options : &(struct batch_options){0}) : etk_fail_memory(e);
  if (status) etk__batch_graph_fini(out);
  return status;
}

/* With longrope a row's factors follow from its own tokens: padding, which other rows and rounding add, would bring the long ones in early. */
int64_t etk__batch_graph_fill(struct batch_graph *b, const etk_sequence *sequences, size_t count) {
  for (int64_t row = 0; b->last && row < b->rows; row++) {
    int64_t inputs = (size_t)row < count ? sequences[row].count - 1 : 0;
    ((int32_t *)etk_tensor_data(b->last))[row] = (int32_t)((inputs < b->columns ? inputs : b->columns) - 1);
  }
  return etk_batch_fill(etk_tensor_data(b->ids), etk_tensor_data(b->targets), b->rows, b->columns, sequences, count);
}

int64_t etk__batch_graph_pack(struct batch_graph *b, int64_t row, const etk_dataset *dataset, const size_t *members, size_t count) {
  int64_t first = row * b->columns, at = 0, counted = 0;
  int32_t *ids = (int32_t *)etk_tensor_data(b->ids) + first, *targets = (int32_t *)etk_tensor_data(b->targets) + first;
  int32_t *positions = (int32_t *)etk_tensor_data(b->positions) + first, *starts = (int32_t *)etk_tensor_data(b->starts) + first;
  for (size_t i = 0; i < count && at < b->columns; i++) {
    etk_sequence s = etk_dataset_at(dataset, members[i]);
    int64_t inputs = s.count - 1 < b->columns - at ? s.count - 1 : b->columns - at;
    counted += etk_batch_fill(ids + at, targets + at, 1, inputs, &s, 1);
    for (int64_t t = 0; t < inputs; t++) {
      positions[at + t] = (int32_t)t;
      starts[at + t] = (int32_t)at;
    }
    at += inputs;
  }
  for (int64_t t = at; t < b->columns; t++) { /* padding sees itself alone */
    ids[t] = positions[t] = 0;
    targets[t] = -1;
    starts[t] = (int32_t)t;
  }
  if (b->last) ((int32_t *)etk_tensor_data(b->last))[row] = 0; /* rows are within the original context (etk_trainer_new) */
  return counted;
}

void etk__batch_graph_fini(struct batch_graph *b) {
  etk_graph_free(b->graph);
  etk_free(b->gradients);
  *b = (struct batch_graph){0};
}
