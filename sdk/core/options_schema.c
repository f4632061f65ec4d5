/* options_schema.c: a table of options as JSON Schema (draft 2020-12) and as Markdown. */
#include "options_internal.h"

#include <inttypes.h>

#define NUMBER "([0-9]+\\\\.?[0-9]*|\\\\.[0-9]+)"
#define SIZE_PATTERN "^ *" NUMBER " *([bB]|[kKmMgGtTpP]([iI]?[bB])?)? *$"
#define DURATION_PATTERN "^ *((" NUMBER " *([nNuUmM]?[sS]|[sS][eE][cC]|[mM]([iI][nN])?|[hHdD]) *)+|" NUMBER " *)$"

static void put_text(etk_text *out, const char *text) { etk_text_json(out, text, strlen(text)); }

/* A string of a row, its escapes resolved. */
static void put_row_text(etk_text *out, const char *text) {
  char *plain = etk__row_text(text);
  if (plain) put_text(out, plain);
  else out->failed = true;
  etk_free(plain);
}

/* ---- bounds ---- */

static void put_bound(etk_text *out, uint32_t kind, int64_t integer, double real) {
  if (kind == ETK_KIND_real) etk_text_real(out, real);
  else if (kind == ETK_KIND_duration) etk_text_real(out, (double)integer / 1e9);
  else etk_text_printf(out, "%" PRId64, integer);
}

/* "minimum":1,"maximum":9 with `*comma` between what stands there already and the first. */
static void put_bounds(etk_text *out, uint32_t kind, const etk__range *range, bool *comma) {
  if (!range->has_low && (kind == ETK_KIND_size || kind == ETK_KIND_duration)) { /* never below nothing */
    etk_text_printf(out, "%s\"minimum\":0", *comma ? "," : "");
    *comma = true;
  }
  if (range->has_low) {
    etk_text_printf(out, "%s\"%s\":", *comma ? "," : "", range->low_open ? "exclusiveMinimum" : "minimum");
    put_bound(out, kind, range->low, range->real_low);
    *comma = true;
  }
  if (range->has_high) {
    etk_text_printf(out, "%s\"%s\":", *comma ? "," : "", range->high_open ? "exclusiveMaximum" : "maximum");
    put_bound(out, kind, range->high, range->real_high);
    *comma = true;
  }
}

/* Bytes to code points: n bytes are at least n/4 and at most n of them. */
static void put_lengths(etk_text *out, const etk__range *range, bool *comma) {
  int64_t low = range->low + range->low_open, high = range->high - range->high_open;
  if (range->has_low && low > 0) {
    etk_text_printf(out, "%s\"minLength\":%" PRId64, *comma ? "," : "", (low + 3) / 4);
    *comma = true;
  }
  if (range->has_high) {
    etk_text_printf(out, "%s\"maxLength\":%" PRId64, *comma ? "," : "", high > 0 ? high : 0);
    *comma = true;
  }
}

/* The alternatives of a limit after what stands there: one inline, several as anyOf. Bounds of numbers say nothing of strings ("4GiB"), which fit each. */
static etk_status put_limits(etk_error *e, etk_text *out, uint32_t kind, const char *limits, bool lengths) {
  const char *cursor = limits, *start;
  size_t size, count = 0, at = 0;
  if (!*limits) return ETK_OK;
  while (etk__next_alternative(&cursor, &start, &size)) count++;
  if (count > 1) etk_text_puts(out, ",\"anyOf\":[");
  for (cursor = limits; etk__next_alternative(&cursor, &start, &size); at++) {
    etk__range range;
    bool comma = count == 1;
    etk_status status = etk__parse_range(e, &range, lengths ? ETK_KIND_int : kind, start, size);
    if (status) return etk_error_while(e, status, "limits '%s'", limits);
    if (count > 1) etk_text_printf(out, "%s{", at ? "," : "");
    if (lengths) put_lengths(out, &range, &comma);
    else put_bounds(out, kind, &range, &comma);
    if (count > 1) etk_text_putc(out, '}');
  }
  if (count > 1) etk_text_putc(out, ']');
  return ETK_OK;
}

static void put_choice(etk_text *out, const char *limits) {
  const char *cursor = limits, *start;
  size_t size;
  char word[ETK__WORD];
  etk_text_puts(out, "\"type\":\"string\",\"enum\":[");
  for (bool first = true; etk__next_alternative(&cursor, &start, &size); first = false) {
    if (!etk__unescape(word, sizeof word, start, size)) continue;
    if (!first) etk_text_putc(out, ',');
    put_text(out, word);
  }
  etk_text_putc(out, ']');
}

/* What one value may be, without its braces. */
static etk_status put_type(etk_error *e, etk_text *out, uint32_t kind, const char *limits) {
  uint32_t item = etk__item_kind(kind);
  etk_status status;
  switch (kind) {
  case ETK_KIND_int: etk_text_puts(out, "\"type\":\"integer\""); return put_limits(e, out, kind, limits, false);
  case ETK_KIND_real: etk_text_puts(out, "\"type\":\"number\""); return put_limits(e, out, kind, limits, false);
  case ETK_KIND_flag: etk_text_puts(out, "\"type\":\"boolean\""); return ETK_OK;
  case ETK_KIND_text: etk_text_puts(out, "\"type\":\"string\""); return put_limits(e, out, kind, limits, true);
  case ETK_KIND_path: etk_text_puts(out, "\"type\":\"string\",\"minLength\":1"); return ETK_OK;
  case ETK_KIND_secret: etk_text_puts(out, "\"type\":\"string\",\"pattern\":\"^@.\",\"writeOnly\":true"); return ETK_OK;
  case ETK_KIND_choice: put_choice(out, limits); return ETK_OK;
  case ETK_KIND_size:
    etk_text_puts(out, "\"type\":[\"integer\",\"string\"],\"pattern\":\"" SIZE_PATTERN "\"");
    if (!*limits) etk_text_puts(out, ",\"minimum\":0");
    return put_limits(e, out, kind, limits, false);
  case ETK_KIND_duration:
    etk_text_puts(out, "\"type\":[\"number\",\"string\"],\"pattern\":\"" DURATION_PATTERN "\"");
    if (!*limits) etk_text_puts(out, ",\"minimum\":0");
    return put_limits(e, out, kind, limits, false);
  case ETK_KIND_map:
    etk_text_puts(out, "\"type\":\"object\",\"additionalProperties\":{\"type\":[\"string\",\"number\",\"boolean\"]");
    status = put_limits(e, out, item, limits, true);
    etk_text_putc(out, '}');
    return status;
  case ETK_KIND_ints: case ETK_KIND_reals: case ETK_KIND_texts:
    etk_text_puts(out, "\"type\":\"array\",\"items\":{");
    status = put_type(e, out, item, limits);
    etk_text_putc(out, '}');
    return status;
  default: return etk_fail(e, ETK_E_UNSUPPORTED, "kind %u is not known", (unsigned)kind);
  }
}

/* ---- rows and groups ---- */

static etk_status put_default(etk_error *e, etk_text *out, const etk_option_row *row) {
  etk_arena arena = ETK_ARENA_INIT;
  etk_value value;
  etk_status status = etk__row_default(e, &value, &arena, row);
  if (!status && value.source) {
    etk_text_puts(out, ",\"default\":");
    if (row->kind == ETK_KIND_size || row->kind == ETK_KIND_duration) {
      etk_text shown = ETK_TEXT_INIT;
      etk_value_show(&shown, row->kind, &value);
      if (shown.failed) out->failed = true;
      else put_text(out, shown.data);
      etk_text_free(&shown);
    } else etk_value_json(out, row->kind, &value);
  }
  etk_arena_fini(&arena);
  return status;
}

/* The longer aliases, each a property that points at the option: known, so that they are not refused, and marked, so that nobody is offered them. */
static void put_aliases(etk_text *out, const etk_option_row *row) {
  for (const char *alias = row->aliases; alias && *alias;) {
    size_t size = strcspn(alias, " ");
    if (size > 1) {
      etk_text_puts(out, ",\"");
      for (size_t i = 0; i < size; i++) etk_text_putc(out, alias[i] == '-' ? '_' : alias[i]);
      etk_text_puts(out, "\":{\"$ref\":\"#");
      for (const char *group = row->group; *group;) {
        size_t part = strcspn(group, ".");
        etk_text_printf(out, "/properties/%.*s", (int)part, group);
        group += part + (group[part] == '.');
      }
      etk_text_printf(out, "/properties/%s\",\"deprecated\":true,\"description\":\"the same as %s%s%s\"}", row->name, row->group, *row->group ? "." : "", row->name);
    }
    alias += size;
    alias += strspn(alias, " ");
  }
}

static etk_status put_group(etk_error *e, etk_text *out, const etk_option_table *table, const char *path) {
  etk_status status = ETK_OK;
  bool first = true;
  etk_text_puts(out, "\"type\":\"object\",\"properties\":{");
  for (uint32_t i = 0; !status && i < table->count; i++) {
    const etk_option_row *row = etk__row(table, i);
    if (!etk__row_listed(row) || strcmp(row->group, path)) continue;
    etk_text_printf(out, "%s\"%s\":{\"description\":", first ? "" : ",", row->name);
    put_row_text(out, row->help);
    etk_text_putc(out, ',');
    status = put_type(e, out, row->kind, row->limits);
    if (!status) status = put_default(e, out, row);
    if (status) return etk_error_while(e, status, "option '%s'", row->name);
    etk_text_putc(out, '}');
    put_aliases(out, row);
    first = false;
  }
  for (uint32_t i = 0; !status && i < table->count; i++) {
    const char *part;
    size_t size;
    if (!etk__subgroup(table, i, path, &part, &size)) continue;
    char *below = etk__group_join(path, part, size);
    if (!below) return etk_fail_memory(e);
    etk_text_printf(out, "%s\"%.*s\":{", first ? "" : ",", (int)size, part);
    status = put_group(e, out, table, below);
    etk_text_putc(out, '}');
    etk_free(below);
    first = false;
  }
  etk_text_puts(out, "},\"additionalProperties\":false");
  return status;
}

etk_status etk_options_schema(etk_error *e, etk_text *out, const etk_option_table *table, const char *id) {
  etk_text text = ETK_TEXT_INIT;
  etk_config *tree = NULL;
  etk_text_puts(&text, "{\"$schema\":\"https://json-schema.org/draft/2020-12/schema\",");
  if (id) {
    etk_text_puts(&text, "\"$id\":");
    put_text(&text, id);
    etk_text_putc(&text, ',');
  }
  etk_text_puts(&text, "\"title\":");
  put_text(&text, table->name);
  if (table->summary && *table->summary) {
    etk_text_puts(&text, ",\"description\":");
    put_row_text(&text, table->summary);
  }
  etk_text_putc(&text, ',');
  etk_status status = put_group(e, &text, table, "");
  etk_text_puts(&text, "}");
  if (!status && text.failed) status = etk_fail_memory(e);
  /* Written with lines and blanks; a name that stands for two things is found on the way. */
  if (!status) status = etk_config_parse(e, &tree, table->name, text.data, text.size, ETK_CONFIG_JSON);
  if (!status) {
    etk_config_write_json(out, etk_config_root(tree), 2);
    etk_text_putc(out, '\n');
    if (out->failed) status = etk_fail_memory(e);
  }
  etk_config_free(tree);
  etk_text_free(&text);
  return status;
}

/* ---- Markdown ---- */

/* Inside a cell '|' and line ends would end it, and '<' would begin HTML. */
static void put_cell(etk_text *out, const char *text) {
  for (; *text; text++) {
    if (*text == '\n') etk_text_puts(out, "<br>");
    else if (*text == '<') etk_text_puts(out, "&lt;");
    else if (*text == '|') etk_text_puts(out, "\\|");
    else etk_text_putc(out, *text);
  }
}

static void put_name(etk_text *out, const char *name, size_t size) {
  etk_text_puts(out, size > 1 ? "`--" : "`-");
  for (size_t i = 0; i < size; i++) etk_text_putc(out, name[i] == '_' ? '-' : name[i]);
  etk_text_putc(out, '`');
}

static void put_names(etk_text *out, const etk_option_row *row) {
  put_name(out, row->name, strlen(row->name));
  for (const char *alias = row->aliases; alias && *alias;) {
    size_t size = strcspn(alias, " ");
    etk_text_puts(out, ", ");
    put_name(out, alias, size);
    alias += size;
    alias += strspn(alias, " ");
  }
}

static etk_status put_line(etk_error *e, etk_text *out, const etk_option_row *row) {
  etk_arena arena = ETK_ARENA_INIT;
  etk_value value;
  etk_text limits = ETK_TEXT_INIT, shown = ETK_TEXT_INIT;
  char *help = etk__row_text(row->help);
  etk_status status = etk__row_default(e, &value, &arena, row);
  etk_limits_words(&limits, row->kind, row->limits);
  if (!status && value.source) etk_value_show(&shown, row->kind, &value);
  if (!status && (!help || limits.failed || shown.failed)) status = etk_fail_memory(e);
  if (!status) {
    etk_text_puts(out, "| ");
    put_names(out, row);
    etk_text_printf(out, " | %s", etk_kind_name(row->kind) ? etk_kind_name(row->kind) : "?");
    if (limits.size) {
      etk_text_puts(out, ": ");
      put_cell(out, limits.data);
    }
    etk_text_puts(out, " | ");
    if (shown.size) {
      etk_text_putc(out, '`');
      for (const char *p = shown.data; *p; p++) {
        if (*p == '|') etk_text_putc(out, '\\');
        etk_text_putc(out, *p == '\n' || *p == '`' ? ' ' : *p);
      }
      etk_text_putc(out, '`');
    } else etk_text_puts(out, value.source ? "empty" : "");
    if (row->flags & ETK_LOCAL) etk_text_puts(out, " | command line only | ");
    else etk_text_printf(out, " | `%s%s%s` | ", row->group, *row->group ? "." : "", row->name);
    put_cell(out, help);
    etk_text_puts(out, " |\n");
  }
  etk_free(help);
  etk_text_free(&limits);
  etk_text_free(&shown);
  etk_arena_fini(&arena);
  return status;
}

etk_status etk_options_markdown(etk_error *e, etk_text *out, const etk_option_table *table) {
  etk_status status = ETK_OK;
  etk_text_puts(out, "| Option | Kind | Default | Key | What it does |\n| --- | --- | --- | --- | --- |\n");
  for (uint32_t i = 0; !status && i < table->count; i++)
    if (!(etk__row(table, i)->flags & ETK_HIDDEN)) status = put_line(e, out, etk__row(table, i));
  return !status && out->failed ? etk_fail_memory(e) : status;
}
