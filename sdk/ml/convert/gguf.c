/* GGUF as the target: from GGUF with the names and keys it has, from anything else by the tables of names, with the configuration and the tokenizer as keys. */
#include "internal.h"
#include "ml/format/weights_internal.h"

#include <etk/text.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

/* ---- the plan ---- */
static etk_status type_option(etk_error *e, int *out, const char *what, const char *name) {
  etk_type type;
  *out = -1;
  if (!name) return ETK_OK;
  if (!etk__mix_type(&type, name)) return etk_fail(e, ETK_E_USAGE, "%s is '%s'; a type of GGUF's weights is wanted (f16, q8_0, q6_k …)", what, name);
  *out = (int)type;
  return ETK_OK;
}

static etk_status plan_stored(etk_error *e, etk_convert *c) {
  c->count = etk_weights_count(c->weights);
  c->tasks = etk_calloc(c->count + 1, sizeof *c->tasks);
  if (!c->tasks) return etk_fail_memory(e);
  for (size_t i = 0; i < c->count; i++) {
    const etk_weight *w = etk_weights_at(c->weights, i);
    if (w->type < 0) return etk_fail(e, ETK_E_UNSUPPORTED, "tensor %s is of type %s, which this version cannot write", w->name, w->type_name);
    c->tasks[i] = (etk__task){.convert = c, .weight = w, .type = w->type};
    c->tasks[i].report = (etk_convert_tensor){.name = w->name, .source = w->name, .from = w->type_name, .shape = w->shape, .bytes_before = (int64_t)w->bytes};
  }
  return ETK_OK;
}

static etk_status plan_named(etk_error *e, etk_convert *c) {
  etk__origin_source(&c->source, c->origin);
  etk_status status = etk__gguf_names_new(e, &c->names, &c->config, &c->source);
  if (status) return status;
  c->count = etk__gguf_names_count(c->names);
  c->tasks = etk_calloc(c->count + 1, sizeof *c->tasks);
  if (!c->tasks) return etk_fail_memory(e);
  for (size_t i = 0; i < c->count; i++) {
    const etk__gguf_target *t = etk__gguf_names_at(c->names, i);
    const etk__origin_item *first = t->source_count ? etk__origin_find(c->origin, t->sources[0]) : NULL;
    c->tasks[i] = (etk__task){.convert = c, .target = i, .type = ETK_F32};
    etk_convert_tensor *r = &c->tasks[i].report;
    *r = (etk_convert_tensor){.name = t->name, .source = first ? first->name : "", .from = first ? first->type_name : "F32", .shape = t->shape};
    for (size_t k = 0; k < t->source_count; k++) r->bytes_before += (int64_t)etk__origin_find(c->origin, t->sources[k])->bytes;
  }
  return ETK_OK;
}

/* Without a type: what most of the matrices are. */
static const etk__mix *mix_of_origin(const etk__origin *origin) {
  int64_t bytes[2] = {0}, most = 0;
  const etk__mix *found = etk__mix_find("f32");
  static const char *const names[] = {"f16", "bf16"};
  for (size_t i = 0; i < etk__origin_count(origin); i++) {
    const etk__origin_item *item = etk__origin_at(origin, i);
    int type = item->scales ? (int)item->affine.dtype : item->weight->type;
    if (type == (int)ETK_BF16) bytes[1] += (int64_t)item->bytes;
    else if (type == (int)ETK_F16 || etk__is_packed(type)) bytes[0] += (int64_t)item->bytes;
    else most += (int64_t)item->bytes;
  }
  for (int i = 0; i < 2; i++)
    if (bytes[i] > most) most = bytes[i], found = etk__mix_find(names[i]);
  return found;
}

static etk_status choose_types(etk_error *e, etk_convert *c) {
  const etk_convert_options *o = &c->options;
  etk__mix_options mix = {.mix = c->mix, .tensor_types = o->tensor_types, .tensor_type_count = o->tensor_type_count, .pure = o->pure,
                          .leave_output = o->leave_output, .importance = o->importance != NULL};
  const etk_weights_facts *f = etk_weights_get_facts(c->weights);
  const etk__gguf_table *table = c->names ? etk__gguf_table_of_model_type(c->config.architecture) : NULL;
  mix.architecture = table ? table->architecture : f->architecture;
  mix.layers = c->names ? c->config.num_hidden_layers : f->num_hidden_layers;
  mix.heads = c->names ? c->config.num_attention_heads : f->num_attention_heads;
  mix.key_heads = c->names ? c->config.num_key_value_heads : f->num_key_value_heads;
  mix.experts = c->names ? c->config.num_experts : f->num_experts;
  etk_status status = type_option(e, &mix.output_type, "the output's type", o->output_type);
  if (!status) status = type_option(e, &mix.embedding_type, "the embedding's type", o->embedding_type);
  etk__mix_tensor *tensors = etk_calloc(c->count + 1, sizeof *tensors);
  if (!status && !tensors) status = etk_fail_memory(e);
  for (size_t i = 0; i < c->count && !status; i++)
    tensors[i] = (etk__mix_tensor){.name = c->tasks[i].report.name, .shape = c->tasks[i].report.shape, .type = c->tasks[i].type};
  if (!status) status = etk__mix_choose(e, tensors, c->count, &mix);
  for (size_t i = 0; i < c->count && !status; i++) c->tasks[i].type = tensors[i].type, c->tasks[i].report.fell_back = tensors[i].fell_back;
  etk_free(tensors);
  return status;
}

/* Blocks that become other blocks lose twice. */
static etk_status check_again(etk_error *e, const etk_convert *c, const etk__task *task) {
  bool was = task->weight ? etk_type_is_block((etk_type)task->weight->type) : false;
  const etk__origin_item *item = task->weight || !*task->report.source ? NULL : etk__origin_find(c->origin, task->report.source);
  if (item) was = item->scales || etk_type_is_block((etk_type)item->weight->type);
  bool same = task->weight && task->weight->type == task->type;
  if (!was || same || c->options.requantize || !etk_type_is_block((etk_type)task->type)) return ETK_OK;
  return etk_fail(e, ETK_E_INVALID,
                  "tensor %s is %s already and would become %s, which loses twice; convert the model it was made from, or allow it (--allow-requantize)", task->report.source, task->report.from, etk_type_name((etk_type)task->type));
}

static etk_status finish_task(etk_error *e, etk_convert *c, etk__task *task) {
  const etk_shape *s = &task->report.shape;
  int64_t columns = s->rank ? s->dims[s->rank - 1] : 1, experts = s->rank == 3 ? s->dims[0] : 1;
  size_t bytes = 0;
  etk_status status = etk_type_bytes(e, &bytes, (etk_type)task->type, etk_shape_elements(s) / columns, columns);
  if (!status) status = check_again(e, c, task);
  if (!status && c->importance && etk_type_is_block((etk_type)task->type))
    status = etk__importance_find(e, &task->importance, c->importance, task->report.name, columns, experts);
  task->expert_rows = s->rank == 3 ? s->dims[1] : 0;
  task->report.to = etk_type_name((etk_type)task->type);
  task->report.bytes_after = (int64_t)bytes;
  return status;
}

etk_status etk__gguf_plan(etk_error *e, etk_convert *c) {
  const char *type = c->options.type;
  bool stored = etk_weights_get_format(c->weights) == ETK_WEIGHTS_GGUF;
  if (type && !(c->mix = etk__mix_find(type)))
    return etk_fail(e, ETK_E_USAGE,
                    "type '%s'; for GGUF f32, f16, bf16, q8_0, q4_0, q4_1, q5_0, q5_1, iq4_nl, q2_k, q2_k_s, q3_k_s, q3_k_m, q3_k_l, q4_k_s, q4_k_m, "
                                    "q5_k_s, q5_k_m or q6_k is wanted", type);
  if (!stored && !c->has_config)
    return etk_fail(e, ETK_E_INVALID, "%s has no config.json beside its weights, without which GGUF's keys cannot be told", c->input);
  etk_status status = stored ? plan_stored(e, c) : plan_named(e, c);
  if (!status && !c->mix && !stored) c->mix = mix_of_origin(c->origin);
  if (!status && c->options.importance) status = etk__importance_open(e, &c->importance, c->options.importance);
  if (!status && c->mix) status = choose_types(e, c);
  for (size_t i = 0; i < c->count && !status; i++) status = finish_task(e, c, &c->tasks[i]);
  return status;
}

/* ---- keys ---- */

/* "1.1B", "8x7B": as GGUF's names have it, of at least two digits. */
static void size_label(char *out, size_t size, const etk_convert *c) {
  double whole = 0, shared = 0, expert = 0;
  int64_t experts = 0, stacks = 0;
  for (size_t i = 0; i < c->count; i++) {
    const etk_convert_tensor *r = &c->tasks[i].report;
    double elements = (double)etk_shape_elements(&r->shape);
    whole += elements;
    if (strstr(r->name, "_exps.") && r->shape.rank == 3) expert += elements / (double)r->shape.dims[0], experts += r->shape.dims[0], stacks++;
    else shared += elements;
  }
  static const struct {
    double least, unit;
    char letter;
  } scales[] = {{1e12, 1e12, 'T'}, {1e9, 1e9, 'B'}, {1e6, 1e6, 'M'}, {0, 1e3, 'K'}};
  double count = stacks ? shared + expert : whole;
  char digits[32], prefix[32] = "";
  int k = 0;
  while (count <= scales[k].least) k++;
  snprintf(digits, sizeof digits, "%.0f", nearbyint(count / scales[k].unit));
  int missing = 2 - (int)strlen(digits) + (*digits == '0');
  if (stacks) snprintf(prefix, sizeof prefix, "%" PRId64 "x", experts / stacks);
  snprintf(out, size, "%s%.*f%c", prefix, missing > 0 ? missing : 0, count / scales[k].unit, scales[k].letter);
}

static etk_status set_tokenizer(etk_error *e, etk_convert *c, etk_gguf_writer *w) {
  bool found = false;
  etk_status status = etk__vocabulary_set(e, c, w, &found);
  if (!status && !found) etk_gguf_set_text(w, "tokenizer.ggml.model", "none"); /* llama.cpp takes such a model, by its vocab_size */
  return status;
}

static etk_status set_named(etk_error *e, etk_convert *c, etk_gguf_writer *w) {
  char label[64], *normal = etk_path_normal(c->input);
  if (!normal) return etk_fail_memory(e);
  const char *base = etk_path_base(normal), *dot = etk_fs_is_dir(c->input) ? NULL : strrchr(base, '.');
  char *name = etk_arena_strndup(&c->arena, base, dot && dot > base ? (size_t)(dot - base) : strlen(base));
  etk_free(normal);
  if (!name) return etk_fail_memory(e);
  size_label(label, sizeof label, c);
  etk_gguf_set_text(w, "general.architecture", etk__gguf_table_of_model_type(c->config.architecture)->architecture);
  etk_gguf_set_text(w, "general.type", "model");
  etk_gguf_set_text(w, "general.name", name);
  etk_gguf_set_text(w, "general.size_label", label);
  etk_status status = etk__config_to_gguf(e, w, &c->config);
  return status ? status : set_tokenizer(e, c, w);
}

static void copy_keys(const etk_convert *c, etk_gguf_writer *w) {
  const etk_gguf *file = c->weights->gguf;
  const etk_gguf_value *value = NULL;
  for (size_t i = 0; i < etk_gguf_key_count(file); i++) {
    const char *key = etk_gguf_key_at(file, i, &value);
    if (strncmp(key, "efficientai.", strlen("efficientai."))) etk_gguf_set_value(w, key, value);
  }
}

static void set_type(const etk_convert *c, etk_gguf_writer *w) {
  if (!c->mix) return;
  etk_gguf_set_int(w, "general.file_type", ETK_GGUF_U32, c->mix->file_type);
  etk_gguf_set_int(w, "general.quantization_version", ETK_GGUF_U32, 2);
}

static etk_status set_importance(const etk_convert *c, etk_gguf_writer *w) {
  if (!c->importance) return ETK_OK;
  etk_gguf_set_text(w, "quantize.imatrix.file", etk_path_base(c->options.importance));
  return ETK_OK;
}

etk_status etk__gguf_save(etk_error *e, etk_convert *c) {
  etk_gguf_writer *w = etk_gguf_writer_new();
  if (!w) return etk_fail_memory(e);
  etk_status status = ETK_OK;
  if (c->names) status = set_named(e, c, w);
  else copy_keys(c, w);
  set_type(c, w);
  set_importance(c, w);
  size_t count;
  const char *const *pairs = etk_provenance_pairs(c->made, &count);
  for (size_t i = 0; i < count; i++) etk_gguf_set_text(w, pairs[2 * i], pairs[2 * i + 1]);
  for (size_t i = 0; i < c->count; i++) {
    etk__task *t = &c->tasks[i];
    etk_gguf_add(w, t->report.name, (etk_type)t->type, t->report.shape, etk__task_data(t), etk__task_fill, t);
  }
  etk_gguf_write_options options = {c->options.replace, c->options.shard_bytes};
  if (!status) status = etk_gguf_write(e, w, c->output, &options);
  etk_gguf_writer_free(w);
  c->files = 1;
  uint64_t alignment = c->names ? 32 : etk_gguf_alignment(c->weights->gguf);
  for (uint64_t i = 0, end = 0; i < c->count && options.part_bytes > 0; i++) { /* as the writer cuts */
    uint64_t begin = (end + alignment - 1) / alignment * alignment, bytes = (uint64_t)c->tasks[i].report.bytes_after;
    if (end && begin + bytes > (uint64_t)options.part_bytes) c->files++, begin = 0;
    end = begin + bytes;
  }
  return status;
}
