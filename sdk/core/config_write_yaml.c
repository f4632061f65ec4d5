/* config_write_yaml.c: YAML in block style, two spaces a level; quotes only where a plain scalar would read as something else. */
#include "config_internal.h"
#include <math.h>
#include <strings.h>

/* Words that readers of YAML 1.1 take for true or false; quoting them costs nothing and saves a reader elsewhere. */
static bool old_flag(const char *text) {
  static const char *const words[] = {"y", "n", "yes", "no", "on", "off"};
  for (size_t i = 0; i < sizeof words / sizeof words[0]; i++)
    if (strcasecmp(text, words[i]) == 0) return true;
  return false;
}

static bool blank(char c) { return c == ' ' || c == '\t'; }

static bool plain_start(const char *text, size_t size) {
  if (strchr(",[]{}#&*!|>'\"%@`", *text)) return false;
  if (strncmp(text, "---", 3) == 0 || strncmp(text, "...", 3) == 0) return false; /* marks of documents */
  return !strchr("-?:", *text) || (size > 1 && !blank(text[1]));
}

/* Would the text, written as it is, read as this text? */
static bool plain(const char *text, size_t size) {
  if (size == 0 || strlen(text) != size || blank(text[0]) || blank(text[size - 1]) || text[size - 1] == ':') return false;
  if (!plain_start(text, size) || old_flag(text) || strcmp(text, "<<") == 0 || strcmp(text, "=") == 0) return false;
  for (size_t i = 0; i < size;) {
    uint32_t c = 0;
    size_t n = etk_utf8_decode(&c, text + i, size - i);
    if (n == 0 || !etk__write_printable(c)) return false;
    if (c == ':' && blank(text[i + 1])) return false;
    if (c == '#' && i > 0 && blank(text[i - 1])) return false;
    i += n;
  }
  etk_config_node node = {.text = text, .text_size = size};
  return etk__config_resolve(&node) && node.kind == ETK_CONFIG_TEXT;
}

/* Lines that can stand as a literal block: the first begins with a character, none is blanks only, at most one line end closes them. */
static bool literal(const char *text, size_t size) {
  if (size < 2 || !memchr(text, '\n', size - 1) || text[0] == '\n' || blank(text[0])) return false;
  if (text[size - 1] == '\n' && text[size - 2] == '\n') return false;
  bool blanks_only = true;
  for (size_t i = 0; i < size;) {
    uint32_t c = 0;
    size_t n = etk_utf8_decode(&c, text + i, size - i);
    if (n == 0 || (c != '\n' && c != '\t' && !etk__write_printable(c))) return false;
    if (c == '\n' && blanks_only && i > 0 && text[i - 1] != '\n') return false;
    if (c == '\n') blanks_only = true;
    else blanks_only &= blank((char)c);
    i += n;
  }
  return !blanks_only || text[size - 1] == '\n';
}

static void write_literal(etk_text *out, const char *text, size_t size, int indent) {
  bool ended = text[size - 1] == '\n';
  etk_text_puts(out, ended ? "|" : "|-");
  for (const char *p = text, *end = text + size - ended; p <= end;) {
    const char *stop = memchr(p, '\n', (size_t)(end - p));
    if (!stop) stop = end;
    if (stop > p) etk_text_printf(out, "\n%*s", indent, "");
    else etk_text_putc(out, '\n');
    etk_text_append(out, p, (size_t)(stop - p));
    p = stop + 1;
  }
}

/* "it's" without escapes where single quotes do. */
static void write_inline_text(etk_text *out, const char *text, size_t size) {
  if (plain(text, size)) etk_text_append(out, text, size);
  else etk__write_quoted(out, text, size);
}

/* "1.0e-5": readers of YAML 1.1 take 1e-5 for text. */
static void write_real(etk_text *out, double value) {
  etk_text number = ETK_TEXT_INIT;
  etk__write_real(&number, value);
  const char *e = number.failed ? NULL : strchr(number.data, 'e');
  if (number.failed) out->failed = true;
  else if (!e) etk_text_puts(out, number.data);
  else etk_text_printf(out, "%.*s%s%s%s", (int)(e - number.data), number.data, strchr(number.data, '.') ? "" : ".0", e[1] == '-' ? "e" : "e+", e + 1);
  etk_text_free(&number);
}

static void write_scalar(etk_text *out, const etk_config_node *node, int indent) {
  if (node->kind == ETK_CONFIG_NULL) etk_text_puts(out, "null");
  else if (node->kind == ETK_CONFIG_FLAG) etk_text_puts(out, node->flag ? "true" : "false");
  else if (node->kind == ETK_CONFIG_INT) etk_text_printf(out, "%lld", (long long)node->integer);
  else if (node->kind == ETK_CONFIG_REAL && isnan(node->real)) etk_text_puts(out, ".nan");
  else if (node->kind == ETK_CONFIG_REAL && isinf(node->real)) etk_text_puts(out, node->real < 0 ? "-.inf" : ".inf");
  else if (node->kind == ETK_CONFIG_REAL) write_real(out, node->real);
  else if (literal(node->text, node->text_size)) write_literal(out, node->text, node->text_size, indent);
  else write_inline_text(out, node->text, node->text_size);
}

static etk_status write_children(etk__writer *w, const etk_config_node *node, int indent);

/* After "key:" or "-"; children and literal lines stand at `indent`. `beside`: the first child may begin on this line. */
static etk_status write_value(etk__writer *w, const etk_config_node *node, int indent, bool beside) {
  bool parent = node->kind == ETK_CONFIG_LIST || node->kind == ETK_CONFIG_MAP;
  if (parent && node->first) {
    if (beside) etk_text_putc(w->out, ' ');
    else etk_text_printf(w->out, "\n%*s", indent, "");
    return write_children(w, node, indent);
  }
  etk_text_putc(w->out, ' ');
  if (parent) etk_text_puts(w->out, node->kind == ETK_CONFIG_LIST ? "[]" : "{}");
  else write_scalar(w->out, node, indent);
  return ETK_OK;
}

/* A reader looks no farther than 1024 characters for the ':' of a key (section 7.4.2); a longer one is marked by '?'. */
static void write_key(etk_text *out, const etk_config_node *child, int indent) {
  bool marked = child->key_size > 150; /* an escape makes up to six characters of one byte */
  if (marked) etk_text_puts(out, "? ");
  write_inline_text(out, child->key, child->key_size);
  if (marked) etk_text_printf(out, "\n%*s", indent, "");
  etk_text_putc(out, ':');
}

/* The first child begins where the writer stands, which is at column `indent`. */
static etk_status write_children(etk__writer *w, const etk_config_node *node, int indent) {
  bool map = node->kind == ETK_CONFIG_MAP;
  for (const etk_config_node *child = node->first; child; child = child->next) {
    etk_status status = etk__write_enter(w, child);
    if (status) return status;
    if (child != node->first) etk_text_printf(w->out, "\n%*s", indent, "");
    if (map) write_key(w->out, child, indent);
    else etk_text_putc(w->out, '-');
    status = write_value(w, child, indent + 2, !map);
    if (status) return status;
    etk__write_leave(w);
  }
  return ETK_OK;
}

etk_status etk__config_write_yaml(etk__writer *w, const etk_config_node *node) {
  etk_status status = etk__write_enter(w, node);
  if (status) return status;
  bool parent = node->kind == ETK_CONFIG_LIST || node->kind == ETK_CONFIG_MAP;
  if (parent && node->first) status = write_children(w, node, 0);
  else if (parent) etk_text_puts(w->out, node->kind == ETK_CONFIG_LIST ? "[]" : "{}");
  else write_scalar(w->out, node, 2);
  etk_text_putc(w->out, '\n');
  etk__write_leave(w);
  return status;
}
