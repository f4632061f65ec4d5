#include "internal.h"
#include "ml/format/json.h"

#include <etk/fs.h>
#include <etk/gguf.h>
#include <string.h>

/* Chat templates between a folder's files and a GGUF file's keys, and the small JSON files that stand beside a tokenizer.json. */

static const char key[] = "tokenizer.chat_template";

/* ---- from a folder ---------------------------------------------------------------------------------------------------------------------------------- */

typedef struct naming {
  etk_gguf_writer *writer;
  const char *names[64]; /* other than the default */
  size_t count;
} naming;

static etk_status set_template(etk_error *e, naming *n, const char *folder, const char *name, const char *text) {
  char full[160];
  if (!strcmp(name, "default")) {
    etk_gguf_set_text(n->writer, key, text);
    return ETK_OK;
  }
  bool plain = strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-.") == strlen(name);
  if (!plain || !*name || strlen(name) > 100 || n->count == 64)
    return etk_fail(e, ETK_E_UNSUPPORTED, "%s: the chat template '%.80s': up to 64 names of letters, digits, '_', '-' and '.' make GGUF keys", folder, name);
  snprintf(full, sizeof full, "%s.%s", key, name);
  etk_gguf_set_text(n->writer, full, text);
  n->names[n->count++] = name;
  return ETK_OK;
}

/* A text, or a list of {name, template}. */
static etk_status set_from_json(etk_error *e, naming *n, const char *folder, const json_t *value) {
  if (!value || json_is_null(value)) return ETK_OK;
  if (json_is_string(value)) return set_template(e, n, folder, "default", json_string_value(value));
  if (!json_is_array(value)) return etk_fail(e, ETK_E_FORMAT, "%s: \"chat_template\" must be a text or a list of {\"name\", \"template\"}", folder);
  for (size_t i = 0; i < json_array_size(value); i++) {
    const json_t *item = json_array_get(value, i);
    const char *name = etk__json_text(item, "name"), *text = etk__json_text(item, "template");
    if (!name || !text) return etk_fail(e, ETK_E_FORMAT, "%s: entry %zu of \"chat_template\" needs the texts \"name\" and \"template\"", folder, i);
    etk_status s = set_template(e, n, folder, name, text);
    if (s != ETK_OK) return s;
  }
  return ETK_OK;
}

static etk_status set_from_file(etk_error *e, naming *n, const char *folder) {
  char *path = etk_path_join(folder, "chat_template.jinja"), *text;
  size_t size;
  if (!path) return etk__no_memory(e, folder);
  etk_status s = ETK_OK;
  if (etk_fs_exists(path) && (s = etk_fs_read(e, &text, &size, path, 4 << 20)) == ETK_OK) {
    if (strlen(text) != size || !etk_utf8_valid(text, size)) s = etk_fail(e, ETK_E_FORMAT, "%s: not UTF-8 text", path);
    else etk_gguf_set_text(n->writer, key, text);
    etk_free(text);
  }
  etk_free(path);
  return s;
}

etk_status etk__templates_to_gguf(etk_error *e, etk_gguf_writer *writer, const char *folder, const json_t *config) {
  naming n = {.writer = writer};
  json_t *file;
  etk_status s = set_from_json(e, &n, folder, json_object_get(config, "chat_template"));
  if (s == ETK_OK && (s = etk__json_load_beside(e, &file, folder, "chat_template.json")) == ETK_OK) {
    s = set_from_json(e, &n, folder, json_object_get(file, "chat_template"));
    if (s == ETK_OK && n.count) etk_gguf_set_texts(writer, "tokenizer.chat_templates", n.names, NULL, n.count);
    json_decref(file);
  }
  return s == ETK_OK ? set_from_file(e, &n, folder) : s;
}

/* ---- to a folder ------------------------------------------------------------------------------------------------------------------------------------ */

/* The named ones beside the default make a list. */
static json_t *template_of(const etk_gguf *file) {
  json_t *list = json_array();
  const etk_gguf_value *value;
  const char *name;
  size_t n = sizeof key - 1, size;
  for (size_t i = 0; list && (name = etk_gguf_key_at(file, i, &value)); i++) {
    if (strncmp(name, key, n) || (name[n] && name[n] != '.') || value->kind != ETK_GGUF_TEXT) continue;
    const char *text = etk_gguf_text_at(value, 0, &size);
    json_t *item = json_pack("{s:s,s:o}", "name", name[n] ? name + n + 1 : "default", "template", json_stringn(text, size));
    if (item) json_array_append_new(list, item);
  }
  json_t *first = json_array_get(list, 0), *out = list;
  if (json_array_size(list) == 1 && !strcmp(etk__json_text(first, "name"), "default")) {
    out = json_incref(json_object_get(first, "template"));
    json_decref(list);
  } else if (list && !json_array_size(list)) {
    out = json_null();
    json_decref(list);
  }
  return out;
}

static const char *token_of(const etk_tokenizer *t, const etk_gguf *file, const char *name) {
  char full[64];
  int64_t id;
  snprintf(full, sizeof full, "tokenizer.ggml.%s_token_id", name);
  if (!etk_gguf_find(file, full) || etk_gguf_get_int(NULL, &id, file, full) != ETK_OK || id < 0 || id >= etk_tokenizer_size(t)) return NULL;
  return etk_tokenizer_token(t, (int32_t)id);
}

etk_status etk__write_configs(etk_error *e, const etk_tokenizer *t, const etk_gguf *file, const char *name, const char *folder) {
  static const char *const ids[][2] = {{"bos", "bos_token"}, {"eos", "eos_token"}, {"unknown", "unk_token"},  {"seperator", "sep_token"},
                                       {"separator", "sep_token"}, {"padding", "pad_token"}, {"cls", "cls_token"}, {"mask", "mask_token"}};
  json_t *config = json_pack("{s:s,s:b}", "tokenizer_class", "PreTrainedTokenizerFast", "clean_up_tokenization_spaces", 0), *map = json_object();
  json_t *template = template_of(file);
  bool ok = config && map && template;
  bool bert = t->model == MODEL_WORDPIECE; /* whose begin and end are its class and separator */
  for (size_t i = bert ? 2 : 0; ok && i < sizeof ids / sizeof *ids; i++) {
    const char *token = token_of(t, file, ids[i][0]);
    if (!token && i < 2) ok = !json_object_set_new(config, ids[i][1], json_null()); /* else readers guess */
    if (token) ok = !json_object_set_new(config, ids[i][1], json_string(token)) && !json_object_set_new(map, ids[i][1], json_string(token));
  }
  for (int end = 0; ok && end < 2; end++) { /* what the reader would else add or take away by the post-processor alone */
    const char *flag = end ? "add_eos_token" : "add_bos_token";
    int32_t id = end ? t->eos : t->bos;
    bool there = end ? t->suffix_count && t->suffix[t->suffix_count - 1] == id : t->prefix_count && t->prefix[0] == id;
    if (id >= 0 && !bert) ok = !json_object_set_new(config, flag, json_boolean(there));
  }
  if (ok && !json_is_null(template)) ok = !json_object_set(config, "chat_template", template);
  json_decref(template);
  if (!ok) {
    json_decref(config);
    json_decref(map);
    return etk__no_memory(e, name);
  }
  etk_status s = etk__json_write(e, config, folder, "tokenizer_config.json");
  if (s != ETK_OK) json_decref(map);
  return s == ETK_OK ? etk__json_write(e, map, folder, "special_tokens_map.json") : s;
}

/* ---- as it is ------------------------------------------------------------------------------------------------------------------------------------------- */

static const char *const files[] = {"tokenizer.json",          "tokenizer.model",     "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json",
                                    "chat_template.jinja",     "chat_template.json",  "vocab.json",            "merges.txt",              "vocab.txt",
                                    "encoder.json",            "vocab.bpe",           "spiece.model",          "sentencepiece.bpe.model", "tokenizer.bin",
                                    "bpe_simple_vocab_16e6.txt.gz"};

static etk_status copy_one(etk_error *e, const char *from, const char *to, const char *name, bool replace) {
  char *source = etk_path_join(from, name), *target = etk_path_join(to, name);
  etk_status s = source && target ? ETK_OK : etk__no_memory(e, name);
  if (s == ETK_OK && etk_fs_exists(source)) s = etk_fs_copy(e, source, target, replace);
  etk_free(source);
  etk_free(target);
  return s;
}

etk_status etk_tokenizer_copy_files(etk_error *e, const char *from, const char *to, bool replace) {
  etk_status s = etk_fs_make_dirs(e, to);
  for (size_t i = 0; s == ETK_OK && i < sizeof files / sizeof *files; i++) s = copy_one(e, from, to, files[i], replace);
  char *more = etk_path_join(from, "additional_chat_templates"), *target = etk_path_join(to, "additional_chat_templates"), **names = NULL;
  size_t count = 0;
  if (s == ETK_OK && (!more || !target)) s = etk__no_memory(e, from);
  if (s == ETK_OK && etk_fs_is_dir(more)) {
    s = etk_fs_make_dirs(e, target);
    if (s == ETK_OK) s = etk_fs_list(e, &names, &count, more);
    for (size_t i = 0; s == ETK_OK && i < count; i++)
      if (strlen(names[i]) > 6 && !strcmp(names[i] + strlen(names[i]) - 6, ".jinja")) s = copy_one(e, more, target, names[i], replace);
    etk_fs_list_free(names, count);
  }
  etk_free(more);
  etk_free(target);
  return s;
}
