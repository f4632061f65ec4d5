/* The optimizer loop's single step: batch, graph, clip, update. */
#include "trainer.h"
#include "ml/product/product.h"

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
  const etk_model_config *config = etk_model_get_config(model);
  if (options->packing && config->rope_scaling == ETK_ROPE_LONGROPE && options->max_tokens > config->rope_original_positions)
    return etk_fail(e, ETK_E_UNSUPPORTED, "packing: rows of %d tokens go beyond the %.0f positions of this model's short longrope factors, which are chosen for a whole row; pack into shorter rows, or not at all",
                    options->max_tokens, config->rope_original_positions);
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
  etk_free(t->workspace.data);
  for (size_t i = 0; i < t->count && t->sum; i++) etk_tensor_unref(t->sum[i]);
  etk_optimizer_free(t->optimizer);
  etk_free(t->order);
  etk_arena_fini(&t->arena);
  etk_free(t);
}

int64_t etk_trainer_steps(const etk_trainer *t) { return t->steps; }

void etk_trainer_rest(etk_trainer *t) {
  etk_free(t->workspace.data);
  t->workspace = (struct workspace){0};
}

static size_t state_bytes(const etk_trainer *t) {
  size_t bytes = etk_optimizer_bytes(t->optimizer);
  for (size_t i = 0; i < t->count; i++) bytes += t->sum[i] ? etk_tensor_bytes(t->sum[i]) : 0;
  return bytes;
}

/* What weights take while they are trained beyond etk_model_bytes: forward reads their products' copies and backward the stored bytes, so both stay. Known once a
 * graph has been planned. */
static size_t copies_bytes(const etk_trainer *t) {
  size_t bytes = 0, counted = etk_model_bytes(t->model);
  for (size_t i = 0; i < etk_model_weight_count(t->model); i++) {
    const etk_tensor *weight = etk_model_weight_at(t->model, i);
    bytes += etk_tensor_bytes(weight) + etk__product_copied(weight);
  }
  return bytes > counted ? bytes - counted : 0;
}

static struct batch_options batch_options(etk_trainer *t) {
  return (struct batch_options){.dropout = (float)t->options.dropout, .packed = t->options.packing != NULL, .checkpointing = t->options.checkpointing,
                                .compute = t->options.compute, .workspace = &t->workspace};
}

/* What a step would need if blocks were computed again; 0: no less. */
static size_t with_checkpointing(etk_trainer *t, const struct batch_graph *b) {
  struct batch_options options = batch_options(t);
  struct batch_graph other;
  options.checkpointing = true;
  if (t->options.checkpointing || etk__batch_graph_init(NULL, &other, t->model, t->adapter, b->rows, b->columns, t->parameters, t->count, &options)) return 0;
  size_t bytes = other.plan.peak_bytes;
  etk__batch_graph_fini(&other);
  return bytes < b->plan.peak_bytes ? bytes : 0;
}

static bool base_is_plain(const etk_model *model) {
  int64_t parameters = etk_model_parameters(model);
  return parameters > 0 && (int64_t)etk_model_bytes(model) / parameters >= 2; /* F32, F16 or BF16 */
}

/* Before anything runs: what is needed, what there is, and what would need less. */
static etk_status check_memory(etk_error *e, etk_trainer *t, const struct batch_graph *b) {
  size_t state = state_bytes(t) + copies_bytes(t), needed = b->plan.peak_bytes + state, limit = t->options.memory_limit;
  if (!limit || needed <= limit) return ETK_OK;
  char need[32], have[32], less[32], batch[48] = "", again[96] = "";
  size_t other = with_checkpointing(t, b);
  int64_t smaller = limit > state ? (int64_t)((double)t->options.batch_size * (double)(limit - state) / (double)b->plan.peak_bytes) : 0;
  if (smaller >= 1) snprintf(batch, sizeof batch, "--batch-size %lld", (long long)smaller);
  else snprintf(batch, sizeof batch, "--max-seq-length %lld", (long long)(b->columns / 2 > 2 ? b->columns / 2 : 2));
  if (other) snprintf(again, sizeof again, ", --gradient-checkpointing (needs %s)", etk_format_size(less, sizeof less, (int64_t)(other + state)));
  return etk_fail(e, ETK_E_NO_MEMORY, "a batch of %lld rows of %lld tokens needs %s of memory beyond the weights, %s is available: try %s%s%s", (long long)b->rows,
                  (long long)b->columns, etk_format_size(need, sizeof need, (int64_t)needed), etk_format_size(have, sizeof have, (int64_t)limit), batch, again,
                  t->adapter && base_is_plain(t->model) ? ", or a quantized base, whose weights leave more" : "");
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
  const struct batch_options options = batch_options(t);
  etk_status status = etk__batch_graph_init(e, b, t->model, t->adapter, t->options.batch_size, columns, t->parameters, t->count, &options);
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
  *bytes = b->plan.peak_bytes + state_bytes(t) + copies_bytes(t);
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

/* What batches are made of: sequences, or rows of packed ones. */
static int64_t unit_count(const etk_trainer *t) { return t->options.packing ? (int64_t)etk_packing_rows(t->options.packing) : (int64_t)t->data_count; }
static int64_t batches_per_epoch(const etk_trainer *t) { return (unit_count(t) + t->options.batch_size - 1) / t->options.batch_size; }

static void order_epoch(etk_trainer *t, const etk_dataset *data, int64_t epoch) {
  if (t->options.packing) {
    etk_rng rng = etk_rng_new(t->options.seed, (uint64_t)epoch << 8);
    for (size_t i = 0; i < (size_t)unit_count(t); i++) t->order[i] = i;
    etk_rng_shuffle(&rng, t->order, (size_t)unit_count(t));
  } else etk_dataset_order(data, t->order, t->options.batch_size, t->options.seed, (uint64_t)epoch);
  t->order_epoch = epoch;
}

/* The units of batch number `index` since the beginning: epochs follow each other, each in an order of its own. */
static etk_status next_batch(etk_error *e, etk_trainer *t, const etk_dataset *data, int64_t index, const size_t **units, size_t *count) {
  size_t total = etk_dataset_count(data);
  if (!total) return etk_fail(e, ETK_E_INVALID, "the training data is empty");
  if (t->data_count && t->data_count != total)
    return etk_fail(e, ETK_E_INVALID, "the training data has %zu sequences, the run to resume had %zu: it can only go on with the same data", total,
                    t->data_count);
  etk_status status = know_data(e, t, data);
  if (status) return status;
  t->data_count = total;
  int64_t batch = t->options.batch_size, per_epoch = batches_per_epoch(t), epoch = index / per_epoch;
  if (!t->order || t->order_epoch != epoch) {
    if (!t->order && !(t->order = etk_calloc((size_t)unit_count(t), sizeof *t->order))) return etk_fail_memory(e);
    order_epoch(t, data, epoch);
  }
  int64_t first = index % per_epoch * batch, left = unit_count(t) - first;
  *units = t->order + first;
  *count = (size_t)(left < batch ? left : batch);
  return ETK_OK;
}

/* Tokens of a row, the last target included. */
static int64_t row_tokens(const etk_trainer *t, const etk_dataset *data, size_t unit) {
  size_t count = 1, inputs = 1;
  const size_t *members = t->options.packing ? etk_packing_row(t->options.packing, unit, &count) : &unit;
  for (size_t i = 0; i < count; i++) inputs += (size_t)etk_dataset_at(data, members[i]).count - 1;
  return (int64_t)inputs;
}

static int64_t fill_batch(etk_trainer *t, struct batch_graph *b, const etk_dataset *data, const size_t *units, size_t count) {
  int64_t counted = 0;
  if (!t->options.packing) {
    for (size_t i = 0; i < count; i++) t->sequences[i] = etk_dataset_at(data, units[i]);
    return etk__batch_graph_fill(b, t->sequences, count);
  }
  for (int64_t row = 0; row < b->rows; row++) {
    size_t members = 0;
    const size_t *list = row < (int64_t)count ? etk_packing_row(t->options.packing, units[row], &members) : NULL;
    counted += etk__batch_graph_pack(b, row, data, list, members);
  }
  return counted;
}

/* Runs one batch; its gradients are then in (*out)->gradients. */
static etk_status run_batch(etk_error *e, etk_trainer *t, const etk_dataset *data, int64_t index, struct batch_graph **out, double *loss, int64_t *tokens) {
  size_t count = 0;
  const size_t *units = NULL;
  etk_status status = next_batch(e, t, data, index, &units, &count);
  if (status) return status;
  int64_t longest = 2;
  for (size_t i = 0; i < count; i++) {
    int64_t own = row_tokens(t, data, units[i]);
    if (own > longest) longest = own;
  }
  status = graph_for(e, t, etk__batch_columns(longest, t->options.max_tokens), out);
  if (status) return status;
  struct batch_graph *b = *out;
  *tokens = fill_batch(t, b, data, units, count);
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
  *out = (etk_step){.step = t->steps, .loss = total ? loss / (double)total : 0, .learning_rate = rate, .gradient_norm = norm, .tokens = total,
                    .elapsed_ns = etk_time_ns() - start, .epoch = (double)((t->steps + 1) * parts) / (double)batches_per_epoch(t)};
  t->steps++;
  return ETK_OK;
}
