/* config_write.c: a tree as text: JSON here, what the writers share, and saving. */
#include "config_internal.h"
#include "etk/fs.h"
#include <math.h>

/* ---- JSON for messages and documents ---- */

static void new_line(etk_text *out, int indent, int level) {
  if (indent > 0) etk_text_printf(out, "\n%*s", indent * level, "");
}

static void write_node(etk_text *out, const etk_config_node *node, int indent, int level) {
  switch (node->kind) {
  case ETK_CONFIG_NULL:
    etk_text_puts(out, "null");
    return;
  case ETK_CONFIG_FLAG:
    etk_text_puts(out, node->flag ? "true" : "false");
    return;
  case ETK_CONFIG_INT:
    etk_text_printf(out, "%lld", (long long)node->integer);
    return;
  case ETK_CONFIG_REAL:
    etk_text_real(out, node->real);
    return;
  case ETK_CONFIG_TEXT:
  case ETK_CONFIG_TIME:
    etk_text_json(out, node->text, node->text_size);
    return;
  case ETK_CONFIG_LIST:
  case ETK_CONFIG_MAP:
    break;
  }
  bool map = node->kind == ETK_CONFIG_MAP;
  etk_text_putc(out, map ? '{' : '[');
  for (const etk_config_node *child = node->first; child && !out->failed; child = child->next) {
    if (child != node->first) etk_text_puts(out, indent > 0 ? "," : ", ");
    new_line(out, indent, level + 1);
    if (map) {
      etk_text_json(out, child->key, child->key_size);
      etk_text_puts(out, ": ");
    }
    write_node(out, child, indent, level + 1);
  }
  if (node->first) new_line(out, indent, level);
  etk_text_putc(out, map ? '}' : ']');
}

void etk_config_write_json(etk_text *out, const etk_config_node *node, int indent) { write_node(out, node, indent, 0); }

/* ---- what the writers share ---- */

/* "layers.0.name", of the node last entered */
static void path_of(const etk__writer *w, char *out, size_t out_size) {
  size_t used = 0;
  *out = 0;
  for (int i = 1; i < w->depth && used < out_size; i++) {
    const etk_config_node *node = w->path[i];
    size_t index = 0;
    for (const etk_config_node *n = w->path[i - 1]->first; n && n != node; n = n->next) index++;
    const char *dot = i > 1 ? "." : "";
    int n = node->key ? snprintf(out + used, out_size - used, "%s%s", dot, node->key) : snprintf(out + used, out_size - used, "%s%zu", dot, index);
    used += n > 0 ? (size_t)n : 0;
  }
}

etk_status etk__write_fail(const etk__writer *w, const char *format, ...) {
  char text[256], path[512];
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(text, sizeof text, format, arguments);
  va_end(arguments);
  path_of(w, path, sizeof path);
  if (!*path) return etk_fail(w->e, ETK_E_UNSUPPORTED, "cannot write this configuration: %s", text);
  return etk_fail(w->e, ETK_E_UNSUPPORTED, "cannot write '%s': %s", path, text);
}

etk_status etk__write_enter(etk__writer *w, const etk_config_node *node) {
  if (w->depth > ETK__CONFIG_DEPTH) return etk__write_fail(w, "it is nested deeper than %d levels", ETK__CONFIG_DEPTH);
  w->path[w->depth++] = node;
  if (w->out->failed) return etk_fail(w->e, ETK_E_NO_MEMORY, "cannot write the configuration: out of memory");
  if (w->out->size - w->begin > ETK__CONFIG_TEXT)
    return etk__write_fail(w, "the text is longer than %d bytes, the most that can be read back", ETK__CONFIG_TEXT);
  return ETK_OK;
}

void etk__write_leave(etk__writer *w) { w->depth--; }

void etk__write_real(etk_text *out, double value) {
  size_t before = out->size;
  etk_text_real(out, value);
  if (!out->failed && !strpbrk(out->data + before, ".e")) etk_text_puts(out, ".0");
}

/* YAML 1.2, section 5.1, without what can be mistaken for a line end or not be seen. */
bool etk__write_printable(uint32_t c) {
  if (c < 0xA0) return c >= 0x20 && c < 0x7F;
  return c != 0xAD && c != 0x2028 && c != 0x2029 && c != 0xFEFF && c != 0xFFFE && c != 0xFFFF && (c < 0xD800 || c > 0xDFFF);
}

void etk__write_escape(etk_text *out, uint32_t c) {
  static const char named[] = "\"\"\\\\\bb\ff\nn\rr\tt"; /* pairs: character, letter */
  for (size_t i = 0; i + 1 < sizeof named; i += 2) {
    if ((uint32_t)named[i] != c) continue;
    etk_text_append(out, (char[2]){'\\', named[i + 1]}, 2);
    return;
  }
  etk_text_printf(out, c > 0xFFFF ? "\\U%08x" : "\\u%04x", (unsigned)c);
}

void etk__write_quoted(etk_text *out, const char *bytes, size_t size) {
  etk_text_putc(out, '"');
  size_t start = 0, i = 0;
  while (i < size) {
    uint32_t c = 0xFFFD;
    size_t n = etk_utf8_decode(&c, bytes + i, size - i);
    if (n > 0 && c != '"' && c != '\\' && etk__write_printable(c)) {
      i += n;
      continue;
    }
    etk_text_append(out, bytes + start, i - start);
    if (n > 0) etk__write_escape(out, c);
    else etk_text_puts(out, "\xEF\xBF\xBD");
    start = i += n > 0 ? n : 1;
  }
  etk_text_append(out, bytes + start, size - start);
  etk_text_putc(out, '"');
}

/* ---- JSON that reads back as the same kinds ---- */

static etk_status write_json(etk__writer *w, const etk_config_node *node) {
  etk_status status = etk__write_enter(w, node);
  if (status) return status;
  int level = w->depth;
  if (node->kind == ETK_CONFIG_REAL && !isfinite(node->real)) return etk__write_fail(w, "JSON has no %s", isnan(node->real) ? "nan" : "infinity");
  if (node->kind == ETK_CONFIG_REAL) etk__write_real(w->out, node->real);
  else if (node->kind != ETK_CONFIG_LIST && node->kind != ETK_CONFIG_MAP) write_node(w->out, node, 0, 0);
  else {
    bool map = node->kind == ETK_CONFIG_MAP;
    etk_text_putc(w->out, map ? '{' : '[');
    for (const etk_config_node *child = node->first; child; child = child->next) {
      if (child != node->first) etk_text_putc(w->out, ',');
      new_line(w->out, 2, level);
      if (map) etk_text_json(w->out, child->key, child->key_size);
      if (map) etk_text_puts(w->out, ": ");
      status = write_json(w, child);
      if (status) return status;
    }
    if (node->first) new_line(w->out, 2, level - 1);
    etk_text_putc(w->out, map ? '}' : ']');
  }
  etk__write_leave(w);
  return ETK_OK;
}

etk_status etk_config_write(etk_error *e, etk_text *out, const etk_config_node *node, etk_config_format format) {
  etk__writer w = {.e = e, .out = out, .begin = out->size};
  etk_status status;
  if (format == ETK_CONFIG_TOML) status = etk__config_write_toml(&w, node);
  else if (format == ETK_CONFIG_JSON || format == ETK_CONFIG_JSON_ANY) {
    status = write_json(&w, node);
    etk_text_putc(out, '\n');
  } else {
    status = etk__config_write_yaml(&w, node);
  }
  if (status) return status;
  if (out->failed) return etk_fail(e, ETK_E_NO_MEMORY, "cannot write the configuration: out of memory");
  w.depth = 0;
  if (out->size - w.begin <= ETK__CONFIG_TEXT) return ETK_OK;
  return etk__write_fail(&w, "the text would have %zu bytes; at most %d can be read back", out->size - w.begin, ETK__CONFIG_TEXT);
}

etk_status etk_config_save(etk_error *e, const etk_config *config, const char *path) {
  etk_text text = ETK_TEXT_INIT;
  etk_status status = etk_config_write(e, &text, config->root, etk__config_format(path));
  if (status) status = etk_error_while(e, status, "while saving '%s'", path);
  else status = etk_fs_write(e, path, text.data ? text.data : "", text.size, true);
  etk_text_free(&text);
  return status;
}
