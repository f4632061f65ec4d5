/* Finding a model's chat template, and a conversation in it. */
#include "ml/format/json.h"

#include <etk/alloc.h>
#include <etk/chat.h>
#include <etk/fs.h>
#include <etk/gguf.h>
#include <string.h>

enum { SOURCE_LIMIT = 4 << 20, CONFIG_LIMIT = 64 << 20 };

struct etk_chat_format {
  etk_template *usual, *tools; /* tools: for conversations with tools, or NULL */
  const etk_tokenizer *tokenizer;
};

void etk_chat_format_free(etk_chat_format *f) {
  if (!f) return;
  etk_template_free(f->usual);
  etk_template_free(f->tools);
  etk_free(f);
}

/* ---- where it is ---- */
static etk_status take(etk_error *e, etk_chat_format *f, const char *name, const char *path, const char *source, size_t size) {
  etk_template **to = !name || !strcmp(name, "default") ? &f->usual : !strcmp(name, "tool_use") ? &f->tools : NULL;
  return to && !*to ? etk_template_parse(e, to, path, source, size) : ETK_OK;
}

static etk_status take_json(etk_error *e, etk_chat_format *f, const char *path, const json_t *value) {
  if (!value || json_is_null(value)) return ETK_OK;
  if (json_is_string(value)) return take(e, f, NULL, path, json_string_value(value), json_string_length(value));
  if (!json_is_array(value)) return etk_fail(e, ETK_E_FORMAT, "%s: \"chat_template\" must be a text or a list of {\"name\", \"template\"}", path);
  size_t index;
  json_t *entry;
  etk_status status = ETK_OK;
  json_array_foreach(value, index, entry) {
    const json_t *name = json_object_get(entry, "name"), *source = json_object_get(entry, "template");
    if (!json_is_string(name) || !json_is_string(source))
      return etk_fail(e, ETK_E_FORMAT, "%s: entry %zu of \"chat_template\" must be an object with the texts \"name\" and \"template\"", path, index);
    if (!status) status = take(e, f, json_string_value(name), path, json_string_value(source), json_string_length(source));
  }
  return status;
}

static etk_status from_file(etk_error *e, etk_chat_format *f, const char *path) {
  char *text = NULL;
  size_t size = 0;
  etk_status status = etk_fs_read(e, &text, &size, path, SOURCE_LIMIT);
  if (!status) status = take(e, f, NULL, path, text, size);
  etk_free(text);
  return status;
}

static etk_status from_json(etk_error *e, etk_chat_format *f, const char *path) {
  json_t *root = NULL;
  etk_status status = etk__json_read(e, &root, path, CONFIG_LIMIT, false);
  if (!status) status = take_json(e, f, path, json_object_get(root, "chat_template"));
  json_decref(root);
  return status;
}

static etk_status from_folder(etk_error *e, etk_chat_format *f, const char *folder) {
  static const struct {
    const char *name;
    etk_status (*read)(etk_error *e, etk_chat_format *f, const char *path);
  } files[] = {{"chat_template.jinja", from_file}, {"chat_template.json", from_json}, {"tokenizer_config.json", from_json}};
  etk_status status = ETK_OK;
  for (size_t i = 0; i < sizeof files / sizeof *files && !status && !f->usual; i++) {
    char *path = etk_path_join(folder, files[i].name);
    if (!path) return etk_fail_memory(e);
    if (etk_fs_exists(path)) status = files[i].read(e, f, path);
    etk_free(path);
  }
  return status;
}

static etk_status from_gguf(etk_error *e, etk_chat_format *f, const char *path) {
  static const char *const keys[][2] = {{"tokenizer.chat_template", "default"}, {"tokenizer.chat_template.tool_use", "tool_use"}};
  etk_gguf *file = NULL;
  etk_status status = etk_gguf_open(e, &file, path);
  for (size_t i = 0; i < sizeof keys / sizeof *keys && !status; i++) {
    const char *source = NULL;
    if (!etk_gguf_find(file, keys[i][0])) continue;
    status = etk_gguf_get_text(e, &source, file, keys[i][0]);
    if (!status) status = take(e, f, keys[i][1], path, source, strlen(source));
  }
  etk_gguf_close(file);
  return status;
}

static bool has_magic(const char *path, const char *magic) {
  etk_map map;
  if (etk_map_open(NULL, &map, path)) return false;
  bool is = map.size >= strlen(magic) && !memcmp(map.data, magic, strlen(magic));
  etk_map_close(&map);
  return is;
}

static bool is_source(const char *path) {
  const char *dot = strrchr(path, '.');
  return dot && (!strcmp(dot, ".jinja") || !strcmp(dot, ".j2") || !strcmp(dot, ".jinja2") || !strcmp(dot, ".txt") || !strcmp(dot, ".tmpl"));
}

etk_status etk_chat_format_open(etk_error *e, etk_chat_format **out, const char *path, const etk_tokenizer *tokenizer) {
  *out = NULL;
  etk_chat_format *f = etk_calloc(1, sizeof *f);
  if (!f) return etk_fail_memory(e);
  f->tokenizer = tokenizer;
  const char *dot = strrchr(path, '.');
  etk_status status = etk_fs_is_dir(path)           ? from_folder(e, f, path)
                      : is_source(path)             ? from_file(e, f, path)
                      : dot && !strcmp(dot, ".json") ? from_json(e, f, path)
                      : has_magic(path, "GGUF")     ? from_gguf(e, f, path)
                                                    : ETK_OK;
  if (!status && !f->usual) {
    f->usual = f->tools; /* a model that names none but this one */
    f->tools = NULL;
  }
  if (!status && !f->usual)
    status = etk_fail(e, ETK_E_NOT_FOUND,
                      "%s has no chat template (looked for chat_template.jinja, chat_template.json, tokenizer_config.json's chat_template and GGUF's tokenizer.chat_template)", path);
  if (status) etk_chat_format_free(f);
  else *out = f;
  return status;
}

/* ---- what it makes ---- */
static const char *spelling(const etk_tokenizer *t, int32_t id) { return t && id >= 0 ? etk_tokenizer_token(t, id) : NULL; }

etk_status etk_chat_format_render(etk_error *e, const etk_chat_format *f, etk_rendered *out, const etk_chat *chat) {
  etk_chat whole = *chat;
  if (!whole.bos_token && f->tokenizer) whole.bos_token = spelling(f->tokenizer, etk_tokenizer_bos(f->tokenizer));
  if (!whole.eos_token && f->tokenizer) whole.eos_token = spelling(f->tokenizer, etk_tokenizer_eos(f->tokenizer));
  return etk_chat_render(e, chat->tools && f->tools ? f->tools : f->usual, out, &whole, NULL);
}

etk_status etk_chat_format_encode(etk_error *e, const etk_chat_format *f, etk_ids *out, const etk_chat *chat) {
  etk_rendered rendered = ETK_RENDERED_INIT;
  etk_status status = etk_chat_format_render(e, f, &rendered, chat);
  if (!status) status = etk_tokenizer_encode(e, f->tokenizer, out, rendered.text, rendered.size, &(etk_encode_options){.parse_special = true});
  etk_rendered_free(&rendered);
  return status;
}
