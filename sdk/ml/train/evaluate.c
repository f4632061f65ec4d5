/* Loss and perplexity over a data set, in its order. */
#include "internal.h"
#include "ml/tensor/internal.h"

#include <etk/hardware.h>
#include <etk/text.h>
#include <math.h>

enum { MAX_SHAPES = 64 };

struct evaluator {
  const etk_model *model;
  const etk_adapter *adapter;
  const etk_dataset *data;
  const etk_evaluate_options *options;
  int64_t batch, max_tokens;
  struct batch_graph graphs[MAX_SHAPES];
  size_t graph_count;
  struct workspace workspace; /* of all graphs: one runs at a time */
  etk_sequence *sequences; /* (batch) */
  double sum;
};

static etk_status check_memory(etk_error *e, const struct evaluator *v, const struct batch_graph *b) {
  size_t needed = b->plan.peak_bytes, have = (size_t)etk_hardware_memory_available() + v->workspace.bytes;
  char need[32], has[32];
  if (have == v->workspace.bytes || needed <= have) return ETK_OK;
  int64_t smaller = (int64_t)((double)v->batch * (double)have / (double)needed);
  return etk_fail(e, ETK_E_NO_MEMORY, "a batch of %lld rows of %lld tokens needs %s of memory, %s is available: try %s%lld", (long long)b->rows, (long long)b->columns,
                  etk_format_size(need, sizeof need, (int64_t)needed), etk_format_size(has, sizeof has, (int64_t)have),
                  smaller >= 1 ? "--batch-size " : "--max-seq-length ", (long long)(smaller >= 1 ? smaller : b->columns / 2));
}

static etk_status graph_for(etk_error *e, struct evaluator *v, int64_t columns, struct batch_graph **out) {
  for (size_t i = 0; i < v->graph_count; i++)
    if (v->graphs[i].columns == columns) {
      *out = &v->graphs[i];
      return ETK_OK;
    }
  if (v->graph_count == MAX_SHAPES) etk__batch_graph_fini(&v->graphs[--v->graph_count]); /* cannot pile up: rows are at most the context long */
  *out = &v->graphs[v->graph_count];
  const struct batch_options options = {.workspace = &v->workspace};
  etk_status status = etk__batch_graph_init(e, *out, v->model, v->adapter, v->batch, columns, NULL, 0, &options);
  if (status) return status;
  v->graph_count++;
  return check_memory(e, v, *out);
}

static etk_status take_losses(etk_error *e, struct evaluator *v, const struct batch_graph *b, size_t count, etk_evaluation *out) {
  const float *losses = etk_tensor_data(b->losses);
  const int32_t *targets = etk_tensor_data(b->targets);
  for (int64_t i = 0; i < (int64_t)count * b->columns; i++) {
    if (targets[i] < 0) continue;
    if (!isfinite(losses[i]))
      return etk_fail(e, ETK_E_INVALID, "the model gives no finite probability to token %d (%g); its weights hold infinities or NaN", targets[i],
                      (double)losses[i]);
    v->sum += losses[i];
    out->tokens++;
    if (v->options->token && !v->options->token(v->options->user, targets[i], -(double)losses[i]))
      return etk_fail(e, ETK_E_IO, "per-token output could not be written");
  }
  return ETK_OK;
}

static etk_status run_batch(etk_error *e, struct evaluator *v, size_t first, size_t count, etk_evaluation *out) {
  int64_t longest = 2;
  for (size_t i = 0; i < count; i++) {
    v->sequences[i] = etk_dataset_at(v->data, first + i);
    if (v->sequences[i].count > longest) longest = v->sequences[i].count;
  }
  struct batch_graph *b;
  etk_status status = graph_for(e, v, etk__batch_columns(longest, v->max_tokens), &b);
  if (status) return status;
  etk__batch_graph_fill(b, v->sequences, count);
  status = etk_graph_eval(e, b->graph);
  return status ? status : take_losses(e, v, b, count, out);
}

etk_status etk_evaluate(etk_error *e, etk_evaluation *out, const etk_model *model, const etk_adapter *adapter, const etk_dataset *data,
                        const etk_evaluate_options *options) {
  *out = (etk_evaluation){0};
  int64_t start = etk_time_ns();
  struct evaluator *v = etk_calloc(1, sizeof *v);
  int64_t batch = options->batch_size > 0 ? options->batch_size : 1, available = (int64_t)etk_dataset_count(data);
  if (batch > available && available > 0) batch = available; /* more rows would only be padding */
  if (v) *v = (struct evaluator){.model = model, .adapter = adapter, .data = data, .options = options, .batch = batch};
  if (!v || !(v->sequences = etk_calloc((size_t)batch, sizeof *v->sequences))) {
    etk_free(v);
    return etk_fail_memory(e);
  }
  int64_t total = ((int64_t)etk_dataset_count(data) + batch - 1) / batch;
  if (options->max_batches > 0 && total > options->max_batches) total = options->max_batches;
  v->max_tokens = etk_dataset_get_stats(data).longest;
  etk_status status = ETK_OK;
  for (int64_t i = 0; i < total && !status; i++) {
    size_t first = (size_t)(i * batch), left = etk_dataset_count(data) - first, count = left < (size_t)batch ? left : (size_t)batch;
    status = run_batch(e, v, first, count, out);
    if (!status) out->sequences += (int64_t)count;
    if (!status && options->progress && !options->progress(options->user, i + 1, total))
      status = etk_fail(e, ETK_E_CANCELLED, "evaluation was stopped after %lld of %lld batches", (long long)i + 1, (long long)total);
  }
  if (!status && out->tokens == 0) status = etk_fail(e, ETK_E_INVALID, "the data has no token to score: every sequence is one token long or wholly masked");
  out->loss = out->tokens ? v->sum / (double)out->tokens : 0;
  out->perplexity = exp(out->loss);
  out->elapsed_ns = etk_time_ns() - start;
  for (size_t i = 0; i < v->graph_count; i++) etk__batch_graph_fini(&v->graphs[i]);
  etk_free(v->workspace.data);
  etk_free(v->sequences);
  etk_free(v);
  return status;
}
