/* The optimizer loop's single step: batch, graph, clip, update. */
#include "trainer.h"

#include <etk/hardware.h>
#include <etk/text.h>
#include <math.h>

static size_t parameter_count(const etk_model *model, const etk_adapter *adapter) {
  return adapter ? 2 * etk_adapter_count(adapter) : etk_model_weight_count(model);
}

static etk_status collect_parameters(etk_error *e, etk_trainer *t) {
  for (size_t i = 0; i < t->count; i++) {
    if (t->adapter) {
      const etk_adapter_module *module = etk_adapter_at(t->adapter, i / 2);
      t->parameters[i] = i % 2 ? module->b : module->a;
      t->names[i] = etk_arena_printf(&t->arena, "%s.lora_%c", module->name, i % 2 ? 'B' : 'A');
    } else {
      t->parameters[i] = etk_model_weight_at(t->model, i);
      t->names[i] = etk_model_weight_name(t->model, i);
      t->no_decay[i] = etk_tensor_shape(t->parameters[i])->rank == 1;
    }
    if (!t->names[i]) return etk_fail_memory(e);
    if (!etk_tensor_trainable(t->parameters[i]))
      return etk_fail(e, ETK_E_INVALID, "%s is not trainable; open the %s for training", t->names[i], t->adapter ? "adapter" : "model");
  }
  return ETK_OK;
}

static etk_status init(etk_error *e, etk_trainer *t) {
  t->count = parameter_count(t->model, t->adapter);
  t->parameters = etk_arena_array(&t->arena, t->count, sizeof *t->parameters);
  t->names = etk_arena_array(&t->arena, t->count, sizeof *t->names);
  t->no_decay = etk_arena_array(&t->arena, t->count, sizeof *t->no_decay);
  t->sum = etk_arena_array(&t->arena, t->count, sizeof *t->sum);
  t->sequences = etk_arena_array(&t->arena, (size_t)t->options.batch_size, sizeof *t->sequences);
  if (!t->parameters || !t->names || !t->no_decay || !t->sum || !t->sequences) return etk_fail_memory(e);
  etk_status status = collect_parameters(e, t);
  for (size_t i = 0; i < t->count && !status && t->options.accumulation > 1; i++)
    status = etk_tensor_new(e, &t->sum[i], ETK_F32, *etk_tensor_shape(t->parameters[i]));
  return status ? status : etk_optimizer_new(e, &t->optimizer, &t->options.optimizer, t->parameters, t->no_decay, t->count);
}

etk_status etk_trainer_new(etk_error *e, etk_trainer **out, etk_model *model, etk_adapter *adapter, const etk_trainer_options *options) {
  *out = NULL;
  if (options->batch_size < 1) return etk_fail(e, ETK_E_INVALID, "batch size is %lld, wanted at least 1", (long long)options->batch_size);
  if (options->max_tokens < 1) return etk_fail(e, ETK_E_INVALID, "longest row is %d tokens, wanted at least 1", options->max_tokens);
  if (!(options->dropout >= 0 && options->dropout < 1)) return etk_fail(e, ETK_E_INVALID, "dropout is %g, wanted 0 up to (not including) 1", options->dropout);
  etk_trainer *t = etk_calloc(1, sizeof *t);
  if (!t) return etk_fail_memory(e);
  t->model = model;
  t->adapter = adapter;
  t->options = *options;
  if (t->options.accumulation < 1) t->options.accumulation = 1;
  if (!t->options.memory_limit) t->options.memory_limit = (size_t)etk_hardware_memory_available();
  etk_status status = init(e, t);
  if (status) etk_trainer_free(t);
  else *out = t;
  return status;
}

void etk_trainer_free(etk_trainer *t) {
  if (!t) return;
  for (size_t i = 0; i < t->graph_count; i++) etk__batch_graph_fini(&t->graphs[i]);
  for (size_t i = 0; i < t->count && t->sum; i++) etk_tensor_unref(t->sum[i]);
  etk_optimizer_free(t->optimizer);
  etk_free(t->order);
  etk_arena_fini(&t->arena);
  etk_free(t);
}

int64_t etk_trainer_steps(const etk_trainer *t) { return t->steps; }

/* "needs 3.1 GiB, have 2.0 GiB: try --batch-size 2" before anything runs. */
static etk_status check_memory(etk_error *e, const etk_trainer *t, const struct batch_graph *b) {
  size_t needed = b->plan.peak_bytes, limit = t->options.memory_limit;
  if (!limit || needed <= limit) return ETK_OK;
  char need[32], have[32];
  int64_t smaller = (int64_t)((double)t->options.batch_size * (double)limit / (double)needed);
  return etk_fail(e, ETK_E_NO_MEMORY, "a batch of %lld rows of %lld tokens needs %s of memory, %s is available: try %s%lld", (long long)b->rows,
                  (long long)b->columns, etk_format_size(need, sizeof need, (int64_t)needed), etk_format_size(have, sizeof have, (int64_t)limit),
                  smaller >= 1 ? "--batch-size " : "--max-seq-length ", (long long)(smaller >= 1 ? smaller : b->columns / 2));
}

static etk_status graph_for(etk_error *e, etk_trainer *t, int64_t columns, struct batch_graph **out) {
  for (size_t i = 0; i < t->graph_count; i++)
    if (t->graphs[i].columns == columns) {
      *out = &t->graphs[i];
      return ETK_OK;
    }
  if (t->graph_count == MAX_GRAPHS) { /* the oldest makes room */
    etk__batch_graph_fini(&t->graphs[0]);
    memmove(&t->graphs[0], &t->graphs[1], (MAX_GRAPHS - 1) * sizeof t->graphs[0]);
    t->graph_count--;
  }
  struct batch_graph *b = &t->graphs[t->graph_count];
  etk_status status = etk__batch_graph_init(e, b, t->model, t->adapter, t->options.batch_size, columns, t->parameters, t->count, (float)t->options.dropout);
  if (status) return status;
  status = check_memory(e, t, b);
  if (status) {
    etk__batch_graph_fini(b);
    return status;
  }
  t->graph_count++;
  *out = b;
  return ETK_OK;
}

etk_status etk_trainer_plan(etk_error *e, etk_trainer *t, size_t *bytes) {
  struct batch_graph *b;
  etk_status status = graph_for(e, t, t->options.max_tokens, &b);
  if (status) return status;
  *bytes = b->plan.peak_bytes + etk_optimizer_bytes(t->optimizer);
  return ETK_OK;
}

/* FNV-1a over lengths, masks and ids (Fowler, Noll, Vo). Never 0, which stands for "not known". */
static uint64_t fingerprint(const etk_dataset *data) {
  uint64_t hash = 14695981039346656037u;
  for (size_t i = 0; i < etk_dataset_count(data); i++) {
    etk_sequence s = etk_dataset_at(data, i);
    hash = (hash ^ (uint32_t)s.count) * 1099511628211u;
    hash = (hash ^ (uint32_t)s.masked) * 1099511628211u;
    for (int32_t k = 0; k < s.count; k++) hash = (hash ^ (uint32_t)s.ids[k]) * 1099511628211u;
  }
  return hash ? hash : 1;
}

static etk_status know_data(etk_error *e, etk_trainer *t, const etk_dataset *data) {
  if (t->data == data) return ETK_OK;
  uint64_t now = fingerprint(data);
  if (t->fingerprint && t->fingerprint != now)
    return etk_fail(e, ETK_E_INVALID, "the training data is not what the run began with (%zu sequences): it can only go on with the same data",
                    etk_dataset_count(data));
  t->fingerprint = now;
  t->data = data;
  return ETK_OK;
}

/* The sequences of batch number `index` since the beginning: epochs follow each other, each in an order of its own. */
static etk_status next_batch(etk_error *e, etk_trainer *t, const etk_dataset *data, int64_t index, size_t *count) {
  size_t total = etk_dataset_count(data);
  if (!total) return etk_fail(e, ETK_E_INVALID, "the training data is empty");
  if (t->data_count && t->data_count != total)
    return etk_fail(e, ETK_E_INVALID, "the training data has %zu sequences, the run to resume had %zu: it can only go on with the same data", total,
                    t->data_count);
  etk_status status = know_data(e, t, data);
  if (status) return status;
  t->data_count = total;
  int64_t batch = t->options.batch_size, per_epoch = ((int64_t)total + batch - 1) / batch, epoch = index / per_epoch;
  if (!t->order || t->order_epoch != epoch) {
    if (!t->order && !(t->order = etk_calloc(total, sizeof *t->order))) return etk_fail_memory(e);
    etk_dataset_order(data, t->order, batch, t->options.seed, (uint64_t)epoch);
    t->order_epoch = epoch;
  }
  size_t first = (size_t)(index % per_epoch * batch);
  *count = total - first < (size_t)batch ? total - first : (size_t)batch;
  for (size_t i = 0; i < *count; i++) t->sequences[i] = etk_dataset_at(data, t->order[first + i]);
  return ETK_OK;
}

/* Runs one batch; its gradients are then in (*out)->gradients. */
static etk_status run_batch(etk_error *e, etk_trainer *t, const etk_dataset *data, int64_t index, struct batch_graph **out, double *loss, int64_t *tokens) {
  size_t count = 0;
  etk_status status = next_batch(e, t, data, index, &count);
  if (status) return status;
  int64_t longest = 2;
  for (size_t i = 0; i < count; i++)
    if (t->sequences[i].count > longest) longest = t->sequences[i].count;
  status = graph_for(e, t, etk__batch_columns(longest, t->options.max_tokens), out);
  if (status) return status;
  struct batch_graph *b = *out;
  *tokens = etk__batch_graph_fill(b, t->sequences, count);
  etk_graph_set_random(b->graph, t->options.seed, (uint64_t)index);
  status = etk_graph_eval(e, b->graph);
  if (status) return status;
  *loss = *(const float *)etk_tensor_data(b->loss);
  if (!isfinite(*loss))
    return etk_fail(e, ETK_E_INVALID, "the loss is %g, so this step changed no weight: %s", *loss,
                    t->steps ? "try a lower --learning-rate or --gradient-clipping 1" : "the model's weights hold infinities or NaN");
  return ETK_OK;
}

static void add_scaled(etk_tensor *sum, const etk_tensor *gradient, float factor, bool first) {
  float *s = etk_tensor_data(sum);
  const float *g = gradient ? etk_tensor_data(gradient) : NULL;
  for (int64_t i = 0, n = etk_tensor_elements(sum); i < n; i++) s[i] = (first ? 0 : s[i]) + (g ? factor * g[i] : 0);
}

etk_status etk_trainer_step(etk_error *e, etk_trainer *t, const etk_dataset *data, etk_step *out) {
  int64_t start = etk_time_ns(), parts = t->options.accumulation, total = 0;
  double loss = 0;
  struct batch_graph *b = NULL;
  for (int64_t part = 0; part < parts; part++) {
    double part_loss = 0;
    int64_t tokens = 0;
    etk_status status = run_batch(e, t, data, t->steps * parts + part, &b, &part_loss, &tokens);
    if (status) return status;
    loss += part_loss * (double)tokens;
    total += tokens;
    /* Each part's gradient is of a mean over its own tokens; weighted by them, the sum is that of one large batch. */
    for (size_t i = 0; i < t->count && parts > 1; i++) add_scaled(t->sum[i], b->gradients[i], (float)tokens, part == 0);
  }
  etk_tensor *const *gradients = parts > 1 ? t->sum : b->gradients;
  double mean = parts > 1 ? 1.0 / (double)(total ? total : 1) : 1.0;
  double norm = etk_gradient_norm(gradients, t->count) * mean;
  if (!isfinite(norm)) return etk_fail(e, ETK_E_INVALID, "the gradient's norm is %g, so this step changed no weight: try a lower --learning-rate", norm);
  double rate = etk_schedule_rate(&t->options.schedule, t->steps);
  etk_status status = etk_optimizer_step(e, t->optimizer, gradients, rate, mean * etk_clip_factor(norm, t->options.gradient_clipping));
  if (status) return status;
  int64_t per_epoch = ((int64_t)t->data_count + t->options.batch_size - 1) / t->options.batch_size;
  *out = (etk_step){.step = t->steps, .loss = total ? loss / (double)total : 0, .learning_rate = rate, .gradient_norm = norm, .tokens = total,
                    .elapsed_ns = etk_time_ns() - start, .epoch = (double)((t->steps + 1) * parts) / (double)per_epoch};
  t->steps++;
  return ETK_OK;
}
