/* options_template.c: a table of options as a configuration file with comments. */
#include "config_internal.h"
#include "options_internal.h"

#include <ctype.h>
#include <inttypes.h>
#include <strings.h>

enum { COMMENT_WIDTH = 100 };

struct writer {
  etk_error *e;
  etk_text *out;
  const etk_option_table *table;
  etk_config_format format;
  bool all;
  bool first; /* in its group: JSON needs no comma, YAML no blank line before a group */
};

static bool active(const struct writer *w, const etk_option_row *row) {
  return etk__row_listed(row) && !etk__row_unset(row) && (w->all || !(row->flags & ETK_ADVANCED));
}

/* Whether something in the group or below it stands uncommented. */
static bool group_active(const struct writer *w, const char *path, bool below) {
  for (uint32_t i = 0; i < w->table->count; i++) {
    const etk_option_row *row = etk__row(w->table, i);
    if (active(w, row) && (below ? etk__group_below(path, row->group) : !strcmp(path, row->group))) return true;
  }
  return false;
}

/* ---- values ---- */

/* Plain where every reader of YAML, 1.1 too, takes it for a text. */
static bool plain_yaml(const char *text) {
  static const char *const words[] = {"yes", "no", "on", "off", "y", "n", "true", "false", "null"};
  for (size_t i = 0; i < sizeof words / sizeof words[0]; i++)
    if (!strcasecmp(text, words[i])) return false;
  if (!*text || !(isalnum((unsigned char)*text) || *text == '_' || *text == '/')) return false;
  for (const char *p = text; *p; p++)
    if (!isalnum((unsigned char)*p) && !strchr("_./+-", *p)) return false;
  etk_config_node node = {.text = text, .text_size = strlen(text)};
  return etk__config_resolve(&node) && node.kind == ETK_CONFIG_TEXT;
}

/* What YAML ends a line at or refuses, and TOML refuses, beyond the control characters of JSON. */
static bool unseen(uint32_t c) {
  return c < 32 || (c >= 127 && c < 160) || c == 0x2028 || c == 0x2029 || c == 0xFEFF || c == 0xFFFE || c == 0xFFFF;
}

void etk__text_quote(etk_text *out, const char *text) {
  etk_text json = ETK_TEXT_INIT;
  etk_text_json(&json, text, strlen(text));
  for (size_t at = 0; at < json.size && !json.failed;) {
    uint32_t c = 0;
    size_t size = etk_utf8_decode(&c, json.data + at, json.size - at);
    if (size && unseen(c)) etk_text_printf(out, "\\u%04x", (unsigned)c);
    else etk_text_append(out, json.data + at, size ? size : 1);
    at += size ? size : 1;
  }
  if (json.failed) out->failed = true;
  etk_text_free(&json);
}

static void put_text(etk_text *out, const char *text, etk_config_format format) {
  if (format == ETK_CONFIG_YAML && plain_yaml(text)) etk_text_puts(out, text);
  else etk__text_quote(out, text);
}

/* "1e-5" as "1.0e-5", which readers of YAML 1.1 take for a number too. */
static void put_real(etk_text *out, double value) {
  char text[64];
  etk_text real = ETK_TEXT_INIT;
  etk_text_real(&real, value);
  snprintf(text, sizeof text, "%s", real.failed ? "" : real.data);
  out->failed = out->failed || real.failed;
  etk_text_free(&real);
  size_t size = strcspn(text, "e");
  etk_text_append(out, text, size);
  if (!text[size]) return;
  etk_text_printf(out, "%se%s%s", memchr(text, '.', size) ? "" : ".0", text[size + 1] == '-' || text[size + 1] == '+' ? "" : "+", text + size + 1);
}

static void put_value(etk_text *out, uint32_t kind, const etk_value *value, etk_config_format format) {
  etk_text shown = ETK_TEXT_INIT;
  switch (kind) {
  case ETK_KIND_text: case ETK_KIND_path: case ETK_KIND_choice: case ETK_KIND_secret: put_text(out, value->text, format); break;
  case ETK_KIND_size: case ETK_KIND_duration:
    etk_value_show(&shown, kind, value);
    if (shown.failed) out->failed = true;
    else if (shown.data[strspn(shown.data, "0123456789")]) put_text(out, shown.data, format);
    else etk_text_puts(out, shown.data);
    break;
  case ETK_KIND_real: put_real(out, value->real); break;
  case ETK_KIND_ints:
    etk_text_putc(out, '[');
    for (size_t i = 0; i < value->ints.count; i++) etk_text_printf(out, "%s%" PRId64, i ? ", " : "", value->ints.items[i]);
    etk_text_putc(out, ']');
    break;
  case ETK_KIND_reals:
    etk_text_putc(out, '[');
    for (size_t i = 0; i < value->reals.count; i++) {
      etk_text_puts(out, i ? ", " : "");
      put_real(out, value->reals.items[i]);
    }
    etk_text_putc(out, ']');
    break;
  case ETK_KIND_texts:
    etk_text_putc(out, '[');
    for (size_t i = 0; i < value->texts.count; i++) {
      etk_text_puts(out, i ? ", " : "");
      put_text(out, value->texts.items[i], format);
    }
    etk_text_putc(out, ']');
    break;
  case ETK_KIND_map:
    etk_text_putc(out, '{');
    for (size_t i = 0; i < value->map.count; i++) {
      etk_text_puts(out, i ? ", " : "");
      if (format == ETK_CONFIG_YAML && strlen(value->map.keys[i]) > 128) etk_text_puts(out, "? "); /* a key of over 1024 characters must be announced */
      put_text(out, value->map.keys[i], ETK_CONFIG_JSON);
      etk_text_puts(out, format == ETK_CONFIG_TOML ? " = " : ": ");
      put_text(out, value->map.values[i], format);
    }
    etk_text_putc(out, '}');
    break;
  default: etk_value_json(out, kind, value); break;
  }
  etk_text_free(&shown);
}

/* ---- comments ---- */

/* Nothing of a help text may end its comment. */
static void put_seen(etk_text *out, const char *text, size_t size) {
  while (size) {
    uint32_t c = 0;
    size_t used = etk_utf8_decode(&c, text, size);
    if (!used || unseen(c)) etk_text_putc(out, c == '\t' ? ' ' : '?');
    else etk_text_append(out, text, used);
    text += used ? used : 1, size -= used ? used : 1;
  }
}

static void put_comment(etk_text *out, const char *text, int indent) {
  while (*text) {
    size_t size = strcspn(text, "\n"), most = (size_t)(COMMENT_WIDTH - indent - 2), cut = size;
    if (etk_utf8_width(text, size) > most) {
      size_t at = 0; /* the last blank that fits, else the first one */
      for (size_t i = 0; i < size; i++) {
        if (text[i] != ' ') continue;
        if (at && etk_utf8_width(text, i) > most) break;
        at = i;
      }
      if (at) cut = at;
    }
    etk_text_printf(out, "%*s# ", indent, "");
    put_seen(out, text, cut);
    etk_text_putc(out, '\n');
    text += cut;
    text += *text == '\n' || *text == ' ';
  }
}

/* "rank of the update (int, 1 to 1024)" */
static void put_help(struct writer *w, const etk_option_row *row, int indent) {
  etk_text text = ETK_TEXT_INIT;
  char *help = etk__row_text(row->help);
  etk_text_printf(&text, "%s%s(", help ? help : "", help && *help ? " " : "");
  if (row->kind == ETK_KIND_choice) etk_text_puts(&text, "one of ");
  else etk_text_printf(&text, "%s%s", etk_kind_name(row->kind), *row->limits ? ", " : "");
  etk_limits_words(&text, row->kind, row->limits);
  if (row->kind == ETK_KIND_secret) etk_text_puts(&text, ", as \"@FILE\"");
  etk_text_puts(&text, etk__row_unset(row) ? "; unset)" : ")");
  if (text.failed || !help) w->out->failed = true;
  else put_comment(w->out, text.data, indent);
  etk_free(help);
  etk_text_free(&text);
}

/* ---- rows and groups ---- */

static etk_status put_row(struct writer *w, const etk_option_row *row, int indent) {
  etk_arena arena = ETK_ARENA_INIT;
  etk_value value;
  etk_status status = etk__row_default(w->e, &value, &arena, row);
  if (!status) {
    const char *mark = active(w, row) ? "" : "# ", *sign = w->format == ETK_CONFIG_TOML ? " =" : ":";
    put_help(w, row, indent);
    etk_text_printf(w->out, "%*s%s%s%s", indent, "", mark, row->name, sign);
    if (value.source) {
      etk_text_putc(w->out, ' ');
      put_value(w->out, row->kind, &value, w->format);
    }
    etk_text_putc(w->out, '\n');
    w->first = false;
  }
  etk_arena_fini(&arena);
  return status;
}

static etk_status put_json_row(struct writer *w, const etk_option_row *row, int indent) {
  etk_arena arena = ETK_ARENA_INIT;
  etk_value value;
  if (!active(w, row)) return ETK_OK;
  etk_status status = etk__row_default(w->e, &value, &arena, row);
  if (!status) {
    etk_text_printf(w->out, "%s\n%*s\"%s\": ", w->first ? "" : ",", indent, "", row->name);
    put_value(w->out, row->kind, &value, ETK_CONFIG_JSON);
    w->first = false;
  }
  etk_arena_fini(&arena);
  return status;
}

/* The line that opens a group, and for JSON the one that closes it. */
static void open_group(struct writer *w, const char *path, const char *part, size_t size, int indent) {
  if (w->format == ETK_CONFIG_JSON) {
    etk_text_printf(w->out, "%s\n%*s\"%.*s\": {", w->first ? "" : ",", indent, "", (int)size, part);
    w->first = true;
  } else if (w->format == ETK_CONFIG_YAML) {
    etk_text_printf(w->out, "\n%*s%s%.*s:\n", indent, "", group_active(w, path, true) ? "" : "# ", (int)size, part);
    w->first = true;
  } else {
    bool rows = false; /* a table of TOML that holds only tables needs no line */
    for (uint32_t i = 0; i < w->table->count; i++) rows = rows || (etk__row_listed(etk__row(w->table, i)) && !strcmp(etk__row(w->table, i)->group, path));
    if (rows) etk_text_printf(w->out, "\n%s[%s]\n", group_active(w, path, false) ? "" : "# ", path);
  }
}

static etk_status put_group(struct writer *w, const char *path, int depth) {
  int indent = w->format == ETK_CONFIG_TOML ? 0 : 2 * (depth + (w->format == ETK_CONFIG_JSON));
  etk_status status = ETK_OK;
  for (uint32_t i = 0; !status && i < w->table->count; i++) {
    const etk_option_row *row = etk__row(w->table, i);
    if (!etk__row_listed(row) || strcmp(row->group, path)) continue;
    status = w->format == ETK_CONFIG_JSON ? put_json_row(w, row, indent) : put_row(w, row, indent);
  }
  for (uint32_t i = 0; !status && i < w->table->count; i++) {
    const char *part;
    size_t size;
    if (!etk__subgroup(w->table, i, path, &part, &size)) continue;
    char *below = etk__group_join(path, part, size);
    if (!below) return etk_fail_memory(w->e);
    if (w->format != ETK_CONFIG_JSON || group_active(w, below, true)) {
      open_group(w, below, part, size, indent);
      status = put_group(w, below, depth + 1);
      if (w->format == ETK_CONFIG_JSON) {
        etk_text_printf(w->out, "\n%*s}", indent, "");
        w->first = false;
      }
    }
    etk_free(below);
  }
  return status;
}

etk_status etk_options_template(etk_error *e, etk_text *out, const etk_option_table *table, etk_config_format format, bool all) {
  struct writer w = {e, out, table, format == ETK_CONFIG_AUTO ? ETK_CONFIG_YAML : format, all, true};
  if (w.format == ETK_CONFIG_JSON) etk_text_putc(out, '{');
  else {
    char *summary = etk__row_text(table->summary);
    etk_text title = ETK_TEXT_INIT;
    etk_text_printf(&title, "%s%s%s", table->name, summary && *summary ? ": " : "", summary ? summary : "");
    if (title.failed || !summary) out->failed = true;
    else put_comment(out, title.data, 0);
    etk_text_free(&title);
    etk_free(summary);
    w.first = false;
  }
  etk_status status = put_group(&w, "", 0);
  if (w.format == ETK_CONFIG_JSON) etk_text_puts(out, w.first ? "}\n" : "\n}\n");
  return !status && out->failed ? etk_fail_memory(e) : status;
}
