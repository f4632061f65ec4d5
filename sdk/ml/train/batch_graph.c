#include "internal.h"

int64_t etk__batch_columns(int64_t longest, int64_t max_tokens) {
  int64_t inputs = longest - 1 < 1 ? 1 : longest - 1; /* the last token is only a target */
  int64_t step = inputs <= 64 ? 16 : inputs <= 256 ? 32 : inputs <= 1024 ? 128 : 512;
  int64_t columns = (inputs + step - 1) / step * step;
  return columns < max_tokens ? columns : max_tokens;
}

static etk_status record(etk_error *e, struct batch_graph *b, const etk_model *model, const etk_adapter *adapter, etk_tensor *const *parameters,
                         size_t count, float dropout) {
  etk_graph *g = b->graph;
  b->ids = etk_graph_input(g, ETK_I32, etk_shape_of(2, b->rows, b->columns), "ids");
  b->positions = etk_graph_input(g, ETK_I32, etk_shape_of(2, b->rows, b->columns), "positions");
  b->targets = etk_graph_input(g, ETK_I32, etk_shape_of(1, b->rows * b->columns), "targets");
  if (etk_model_get_config(model)->rope_scaling == ETK_ROPE_LONGROPE) b->last = etk_graph_input(g, ETK_I32, etk_shape_of(2, b->rows, 1), "last");
  etk_forward forward = {.ids = b->ids, .positions = b->positions, .last = b->last, .adapter = adapter, .training = parameters != NULL, .dropout = dropout};
  b->losses = etk_cross_entropy(g, etk_model_forward(g, model, &forward), b->targets);
  b->loss = etk_mean_counted(g, b->losses, b->targets);
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
                                 etk_tensor *const *parameters, size_t count, float dropout) {
  *out = (struct batch_graph){.rows = rows, .columns = columns};
  out->graph = etk_graph_new();
  if (parameters) out->gradients = etk_calloc(count, sizeof *out->gradients);
  etk_status status = out->graph && (!parameters || out->gradients) ? record(e, out, model, adapter, parameters, count, dropout) : etk_fail_memory(e);
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

void etk__batch_graph_fini(struct batch_graph *b) {
  etk_graph_free(b->graph);
  etk_free(b->gradients);
  *b = (struct batch_graph){0};
}
