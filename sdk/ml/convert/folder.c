/* What is written under Hugging Face's names: safetensors, and the folders of Hugging Face and MLX with configuration and tokenizer. */
#include "internal.h"
#include "ml/format/stem.h"
#include "ml/format/weights_internal.h"
#include "ml/model/internal.h"

#include <etk/config.h>
#include <etk/fs.h>
#include <etk/safetensors.h>
#include <etk/text.h>
#include <etk/tokenizer.h>
#include <string.h>

enum { CONFIG_LIMIT = 16 << 20 };
static const int64_t default_shard = INT64_C(5000000000); /* transformers' */

/* ---- the plan ---- */
static etk_status plain_type(etk_error *e, const etk_convert *c, int *out) {
  static const char *const names[] = {"f32", "f16", "bf16"};
  static const int types[] = {ETK_F32, ETK_F16, ETK_BF16};
  *out = -1;
  for (int i = 0; c->options.type && i < 3; i++)
    if (!strcasecmp(c->options.type, names[i])) *out = types[i];
  if (*out >= 0 || !c->options.type) return ETK_OK;
  return etk_fail(e, ETK_E_USAGE, "type '%s'; for %s f32, f16 or bf16 is wanted (%s)", c->options.type, etk_convert_format_name(c->to),
                  etk__mix_find(c->options.type) ? "only GGUF holds blocks" : "as for GGUF, which holds blocks too");
}

/* Where types stay: affine codes become what their scales are of, and other packed types F16, which holds what they mean more finely than they do. */
static int kept_type(const etk__origin_item *item) {
  if (item->scales) return (int)item->affine.dtype;
  return item->weight->type < ETK_DTYPE_COUNT ? item->weight->type : (int)ETK_F16;
}

void etk__task_report(etk__task *t) {
  int64_t elements = etk_shape_elements(&t->report.shape);
  t->report.to = etk_dtype_name((etk_dtype)t->type);
  t->report.bytes_after = t->type != (int)ETK_AFFINE
                              ? elements * (int64_t)etk_dtype_size((etk_dtype)t->type)
                              : elements / 8 * t->affine.bits + 2 * (elements / t->affine.group) * (int64_t)etk_dtype_size(t->affine.dtype);
}

etk_status etk__canonical_plan(etk_error *e, etk_convert *c) {
  int wanted;
  etk_status status = plain_type(e, c, &wanted);
  if (status) return status;
  c->count = etk__origin_count(c->origin);
  c->tasks = etk_calloc(c->count + 1, sizeof *c->tasks);
  if (!c->tasks) return etk_fail_memory(e);
  for (size_t i = 0; i < c->count; i++) {
    const etk__origin_item *item = etk__origin_at(c->origin, i);
    int type = item->scales ? (int)ETK_AFFINE : item->weight->type;
    if (type < 0) return etk_fail(e, ETK_E_UNSUPPORTED, "tensor %s is of type %s, which this version does not decode", item->name, item->type_name);
    etk__task *t = &c->tasks[i];
    *t = (etk__task){.convert = c, .item = item, .type = wanted >= 0 && etk__is_floating(type) ? wanted : kept_type(item)};
    t->report = (etk_convert_tensor){.name = item->name, .source = item->stored, .from = item->type_name, .shape = item->shape,
                                     .bytes_before = (int64_t)item->bytes};
    etk__task_report(t);
  }
  return ETK_OK;
}

/* ---- safetensors ---- */
etk_status etk__canonical_save(etk_error *e, etk_convert *c, const char *path, int64_t shard_bytes, bool replace) {
  etk_safetensors_stream *streams = etk_calloc(3 * c->count + 1, sizeof *streams);
  size_t count = 0;
  etk_status status = streams ? ETK_OK : etk_fail_memory(e);
  for (size_t i = 0; i < c->count && !status; i++) {
    etk__task *t = &c->tasks[i];
    if (t->type == (int)ETK_AFFINE) status = etk__mlx_streams(e, t, &streams[count]), count += 3;
    else streams[count++] = (etk_safetensors_stream){t->report.name, (etk_dtype)t->type, t->report.shape, NULL, etk__task_fill, t};
  }
  etk_safetensors_write_options options = {replace, shard_bytes};
  size_t pair_count;
  const char *const *pairs = etk_provenance_pairs(c->made, &pair_count);
  if (!status) status = etk_safetensors_write_streams(e, path, streams, count, pairs, pair_count, &options, &c->files);
  etk_free(streams);
  return status;
}

/* ---- configuration ---- */
static etk_dtype model_dtype(const etk_convert *c) {
  int64_t bytes[ETK_DTYPE_COUNT] = {0};
  etk_dtype most = ETK_F32;
  for (size_t i = 0; i < c->count; i++) {
    int type = c->tasks[i].type == (int)ETK_AFFINE ? (int)c->tasks[i].affine.dtype : c->tasks[i].type;
    if (type == (int)ETK_F32 || type == (int)ETK_F16 || type == (int)ETK_BF16) bytes[type] += etk_shape_elements(&c->tasks[i].report.shape);
  }
  static const etk_dtype choices[] = {ETK_F16, ETK_BF16};
  for (int i = 0; i < 2; i++)
    if (bytes[choices[i]] > bytes[most]) most = choices[i];
  return most;
}
static const char *torch_name(etk_dtype dtype) { return dtype == ETK_F16 ? "float16" : dtype == ETK_BF16 ? "bfloat16" : "float32"; }

/* Numbers keep the form they were written in: 10000.0 does not become a whole number. */
static void put_value(etk_text *out, const etk_config_node *node, int depth) {
  bool map = node->kind == ETK_CONFIG_MAP, first = true;
  if (node->kind == ETK_CONFIG_NULL) etk_text_puts(out, "null");
  else if (node->kind == ETK_CONFIG_FLAG) etk_text_puts(out, node->flag ? "true" : "false");
  else if (node->kind == ETK_CONFIG_INT || node->kind == ETK_CONFIG_REAL) etk_text_append(out, node->text, node->text_size);
  else if (!map && node->kind != ETK_CONFIG_LIST) etk_text_json(out, node->text, node->text_size);
  if (!map && node->kind != ETK_CONFIG_LIST) return;
  etk_text_putc(out, map ? '{' : '[');
  for (const etk_config_node *n = node->first; n; n = n->next) {
    etk_text_printf(out, "%s\n%*s", first ? "" : ",", 2 * depth + 2, "");
    first = false;
    if (map) etk_text_json(out, n->key, n->key_size), etk_text_puts(out, ": ");
    put_value(out, n, depth + 1);
  }
  if (!first) etk_text_printf(out, "\n%*s", 2 * depth, "");
  etk_text_putc(out, map ? '}' : ']');
}

static void put_key(etk_text *out, const char *key, bool *first) {
  etk_text_puts(out, *first ? "\n  " : ",\n  ");
  *first = false;
  etk_text_json(out, key, strlen(key));
  etk_text_puts(out, ": ");
}

/* All keys as they are, but for those of the type and of MLX's quantization. */
static void put_config(etk_text *out, const etk_convert *c, const etk_config_node *root) {
  const char *type = torch_name(model_dtype(c));
  bool first = true;
  etk_text_putc(out, '{');
  for (const etk_config_node *n = root->first; n; n = n->next) {
    if (!n->key || !strcmp(n->key, "quantization") || !strcmp(n->key, "quantization_config")) continue;
    put_key(out, n->key, &first);
    if (!strcmp(n->key, "torch_dtype") || !strcmp(n->key, "dtype")) etk_text_printf(out, "\"%s\"", type);
    else put_value(out, n, 1);
  }
  for (int i = 0; c->to == ETK_CONVERT_MLX && i < 2; i++) {
    put_key(out, i ? "quantization_config" : "quantization", &first);
    etk_text_printf(out, "{\n    \"group_size\": %d,\n    \"bits\": %d,\n    \"mode\": \"affine\"\n  }",
                    c->options.group_size ? c->options.group_size : 64, c->options.bits ? c->options.bits : 4);
  }
  etk_text_puts(out, "\n}\n");
}

static etk_status rewrite_config(etk_error *e, const etk_convert *c, const char *from, const char *to) {
  char *text = NULL;
  size_t size = 0;
  etk_config *config = NULL;
  etk_text out = ETK_TEXT_INIT;
  etk_status status = etk_fs_read(e, &text, &size, from, CONFIG_LIMIT);
  if (!status) status = etk_config_parse(e, &config, from, text, size, ETK_CONFIG_JSON_ANY);
  if (!status && etk_config_root(config)->kind != ETK_CONFIG_MAP) status = etk_fail(e, ETK_E_FORMAT, "%s: a JSON object is wanted", from);
  if (!status) put_config(&out, c, etk_config_root(config));
  if (!status) status = out.failed ? etk_fail_memory(e) : etk_fs_write(e, to, out.data, out.size, true);
  etk_text_free(&out);
  etk_config_free(config);
  etk_free(text);
  return status;
}

/* ---- folders ---- */
static bool is_weights(const etk_convert *c, const char *name) {
  static const char *const tails[] = {".safetensors", ".safetensors.index.json", ".bin.index.json", ".gguf", ".npz", ".pth", ".pt"};
  for (size_t i = 0; i < sizeof tails / sizeof *tails; i++)
    if (etk__stem(name, tails[i])) return true;
  for (size_t i = 0; i < etk_weights_part_count(c->weights); i++)
    if (!strcmp(name, etk_path_base(etk_weights_part_path(c->weights, i)))) return true;
  return false;
}

static etk_status copy_rest(etk_error *e, const etk_convert *c, const char *out) {
  char **names = NULL;
  size_t count = 0;
  etk_status status = etk_fs_list(e, &names, &count, c->input);
  for (size_t i = 0; i < count && !status; i++) {
    if (names[i][0] == '.' || is_weights(c, names[i])) continue;
    char *from = etk_path_join(c->input, names[i]), *to = etk_path_join(out, names[i]);
    if (!from || !to) status = etk_fail_memory(e);
    else if (!strcmp(names[i], "config.json")) status = rewrite_config(e, c, from, to);
    else if (!etk_fs_is_dir(from)) status = etk_fs_copy(e, from, to, false);
    etk_free(from), etk_free(to);
  }
  etk_fs_list_free(names, count);
  return status;
}

/* config.json, generation_config.json and the tokenizer of a model that comes from one file. */
static etk_status write_rest(etk_error *e, etk_convert *c, const char *out) {
  const etk_gguf *file = c->weights->gguf;
  const char *model = NULL;
  etk_status status = etk__config_save(e, &c->config, out, model_dtype(c));
  if (!status && c->to == ETK_CONVERT_MLX) {
    char *path = etk_path_join(out, "config.json");
    status = path ? rewrite_config(e, c, path, path) : etk_fail_memory(e);
    etk_free(path);
  }
  if (status) return status;
  if (!file) return etk__vocabulary_save(e, c, out);
  bool named = etk_gguf_find(file, "tokenizer.ggml.model") && !etk_gguf_get_text(NULL, &model, file, "tokenizer.ggml.model") && strcmp(model, "none");
  return named ? etk_tokenizer_write_folder(e, file, c->input, out, true) : ETK_OK;
}

etk_status etk__folder_save(etk_error *e, etk_convert *c) {
  etk_dir *dir = NULL;
  etk_status status = etk_dir_create(e, &dir, c->output, c->options.replace);
  if (status) return status;
  char *path = etk_path_join(etk_dir_path(dir), "model.safetensors");
  status = path ? etk__canonical_save(e, c, path, c->options.shard_bytes > 0 ? c->options.shard_bytes : default_shard, false) : etk_fail_memory(e);
  if (!status) status = etk_fs_is_dir(c->input) ? copy_rest(e, c, etk_dir_path(dir)) : write_rest(e, c, etk_dir_path(dir));
  etk_free(path);
  if (!status) return etk_dir_commit(e, dir);
  etk_dir_abort(dir);
  return status;
}
