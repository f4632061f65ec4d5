/* config_write_toml.c: TOML 1.0: a map's values first, then its tables under headers; inside arrays all is inline. */
#include "config_internal.h"
#include <math.h>

static bool bare(const char *key, size_t size) {
  static const char set[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-";
  return size > 0 && strlen(key) == size && strspn(key, set) == size;
}

static void write_key(etk_text *out, const etk_config_node *node) {
  if (bare(node->key, node->key_size)) etk_text_append(out, node->key, node->key_size);
  else etk__write_quoted(out, node->key, node->key_size);
}

/* Lines between """; of two quotes in a row one is escaped, so that three never meet. */
static void write_lines(etk_text *out, const char *text, size_t size) {
  etk_text_puts(out, "\"\"\"\n");
  for (size_t i = 0; i < size;) {
    uint32_t c = 0xFFFD;
    size_t n = etk_utf8_decode(&c, text + i, size - i);
    bool itself = n > 0 && c != '\\' && (c == '\n' || c == '\t' || etk__write_printable(c));
    if (c == '"') itself = i + 1 < size && text[i + 1] != '"';
    if (itself) etk_text_append(out, text + i, n);
    else if (n > 0) etk__write_escape(out, c);
    else etk_text_puts(out, "\xEF\xBF\xBD");
    i += n > 0 ? n : 1;
  }
  etk_text_puts(out, "\"\"\"");
}

static void write_real(etk_text *out, double value) {
  if (isnan(value)) etk_text_puts(out, "nan");
  else if (isinf(value)) etk_text_puts(out, value < 0 ? "-inf" : "inf");
  else etk__write_real(out, value);
}

static etk_status write_inline(etk__writer *w, const etk_config_node *node, bool lines);

static etk_status write_inline_children(etk__writer *w, const etk_config_node *node, bool lines) {
  bool map = node->kind == ETK_CONFIG_MAP;
  for (const etk_config_node *child = node->first; child; child = child->next) {
    etk_status status = etk__write_enter(w, child);
    if (status) return status;
    if (child != node->first) etk_text_putc(w->out, ',');
    if (lines) etk_text_puts(w->out, "\n  ");
    else if (map || child != node->first) etk_text_putc(w->out, ' ');
    if (map) write_key(w->out, child);
    if (map) etk_text_puts(w->out, " = ");
    status = write_inline(w, child, false);
    if (status) return status;
    etk__write_leave(w);
  }
  return ETK_OK;
}

/* A list whose items fit no line gets one for each; an inline table may not (section "Inline Table"). */
static etk_status write_inline(etk__writer *w, const etk_config_node *node, bool lines) {
  etk_status status = ETK_OK;
  enum { WIDTH = 100 };
  size_t before = w->out->size;
  switch (node->kind) {
  case ETK_CONFIG_NULL:
    return etk__write_fail(w, "TOML has no null; leave the key out");
  case ETK_CONFIG_FLAG:
    etk_text_puts(w->out, node->flag ? "true" : "false");
    return ETK_OK;
  case ETK_CONFIG_INT:
    etk_text_printf(w->out, "%lld", (long long)node->integer);
    return ETK_OK;
  case ETK_CONFIG_REAL:
    write_real(w->out, node->real);
    return ETK_OK;
  case ETK_CONFIG_TIME:
    etk_text_append(w->out, node->text, node->text_size);
    return ETK_OK;
  case ETK_CONFIG_TEXT:
    if (lines && memchr(node->text, '\n', node->text_size)) write_lines(w->out, node->text, node->text_size);
    else etk__write_quoted(w->out, node->text, node->text_size);
    return ETK_OK;
  case ETK_CONFIG_MAP:
    etk_text_putc(w->out, '{');
    status = write_inline_children(w, node, false);
    etk_text_puts(w->out, node->first ? " }" : "}");
    return status;
  case ETK_CONFIG_LIST:
    break;
  }
  etk_text_putc(w->out, '[');
  status = write_inline_children(w, node, false);
  if (lines && !status && !w->out->failed && node->count > 1 && w->out->size - before > WIDTH) {
    w->out->data[w->out->size = before + 1] = 0;
    status = write_inline_children(w, node, true);
    etk_text_puts(w->out, ",\n");
  }
  etk_text_putc(w->out, ']');
  return status;
}

static bool is_tables(const etk_config_node *node) {
  if (node->kind != ETK_CONFIG_LIST || !node->first) return false;
  for (const etk_config_node *item = node->first; item; item = item->next)
    if (item->kind != ETK_CONFIG_MAP) return false;
  return true;
}

static bool has_header(const etk_config_node *node) { return node->kind == ETK_CONFIG_MAP || is_tables(node); }

static void write_header(const etk__writer *w, bool item) {
  if (w->out->size > w->begin) etk_text_putc(w->out, '\n');
  etk_text_puts(w->out, item ? "[[" : "[");
  bool first = true;
  for (int i = 1; i < w->depth; i++) {
    if (!w->path[i]->key) continue; /* an item of an array of tables */
    if (!first) etk_text_putc(w->out, '.');
    first = false;
    write_key(w->out, w->path[i]);
  }
  etk_text_puts(w->out, item ? "]]\n" : "]\n");
}

static etk_status write_body(etk__writer *w, const etk_config_node *map);

static etk_status write_table(etk__writer *w, const etk_config_node *map, bool item) {
  bool only_tables = map->first != NULL;
  for (const etk_config_node *child = map->first; child && only_tables; child = child->next) only_tables = has_header(child);
  if (item || !only_tables) write_header(w, item);
  return write_body(w, map);
}

static etk_status write_tables(etk__writer *w, const etk_config_node *list) {
  for (const etk_config_node *item = list->first; item; item = item->next) {
    etk_status status = etk__write_enter(w, item);
    if (!status) status = write_table(w, item, true);
    if (status) return status;
    etk__write_leave(w);
  }
  return ETK_OK;
}

static etk_status write_child(etk__writer *w, const etk_config_node *child) {
  if (child->kind == ETK_CONFIG_MAP) return write_table(w, child, false);
  if (is_tables(child)) return write_tables(w, child);
  write_key(w->out, child);
  etk_text_puts(w->out, " = ");
  etk_status status = write_inline(w, child, true);
  etk_text_putc(w->out, '\n');
  return status;
}

/* Values first: after a header every line belongs to its table. */
static etk_status write_body(etk__writer *w, const etk_config_node *map) {
  for (int tables = 0; tables < 2; tables++) {
    for (const etk_config_node *child = map->first; child; child = child->next) {
      if (has_header(child) != (tables == 1)) continue;
      etk_status status = etk__write_enter(w, child);
      if (!status) status = write_child(w, child);
      if (status) return status;
      etk__write_leave(w);
    }
  }
  return ETK_OK;
}

etk_status etk__config_write_toml(etk__writer *w, const etk_config_node *node) {
  etk_status status = etk__write_enter(w, node);
  if (status) return status;
  if (node->kind != ETK_CONFIG_MAP) return etk__write_fail(w, "a TOML file is a table, this is %s", etk__config_kind_name(node->kind));
  status = write_body(w, node);
  etk__write_leave(w);
  return status;
}
