#include "results.h"

#include "host.h"
#include "report.h"

#include <etk/alloc.h>
#include <inttypes.h>
#include <jansson.h>

static etk_status no_memory(etk_error *e) { return etk_fail(e, ETK_E_NO_MEMORY, "out of memory while keeping results"); }

/* ---- keeping ---- */

static void cell_free(struct result_cell *cell) {
  etk_free(cell->name);
  etk_free(cell->text);
  *cell = (struct result_cell){0};
}

static void rows_free(struct result *result) {
  for (size_t i = 0; i < result->count; i++) {
    for (size_t k = 0; k < result->rows[i].count; k++) cell_free(&result->rows[i].cells[k]);
    etk_free(result->rows[i].cells);
  }
  etk_free(result->rows);
  result->rows = NULL;
  result->count = result->capacity = 0;
}

void results_free(struct results *results) {
  for (size_t i = 0; i < results->count; i++) {
    etk_free(results->items[i].name);
    cell_free(&results->items[i].value);
    rows_free(&results->items[i]);
  }
  etk_free(results->items);
  *results = (struct results){0};
}

void cell_json(etk_text *out, const etk_cell *cell) {
  switch (cell->kind) {
  case ETK_KIND_int: case ETK_KIND_size: case ETK_KIND_duration: etk_text_printf(out, "%" PRId64, cell->integer); break;
  case ETK_KIND_real: etk_text_real(out, cell->real); break;
  case ETK_KIND_flag: etk_text_puts(out, cell->integer ? "true" : "false"); break;
  default: put_json(out, cell->text); break;
  }
}

/* A copy that owns its strings; text is kept raw, so that it can be shown as it is. */
static bool cell_copy(struct result_cell *out, const etk_cell *cell) {
  bool text = cell->kind != ETK_KIND_int && cell->kind != ETK_KIND_real && cell->kind != ETK_KIND_flag && cell->kind != ETK_KIND_size &&
              cell->kind != ETK_KIND_duration;
  *out = (struct result_cell){.name = etk_strdup(cell->name ? cell->name : ""), .kind = text ? ETK_KIND_text : cell->kind};
  if (text) out->text = cell->text ? etk_strdup(cell->text) : NULL;
  else {
    etk_text made = ETK_TEXT_INIT;
    cell_json(&made, cell);
    out->text = etk_text_take(&made);
  }
  if (out->name && (out->text || (text && !cell->text))) return true;
  cell_free(out);
  return false;
}

/* The result of that name, emptied if it was of another type; made if it is new. */
static struct result *result_of(struct results *results, const char *name, enum result_type type) {
  for (size_t i = 0; i < results->count; i++) {
    struct result *result = &results->items[i];
    if (strcmp(result->name, name)) continue;
    if (result->type != type || type != RESULT_TABLE) {
      cell_free(&result->value);
      rows_free(result);
    }
    result->type = type;
    return result;
  }
  if (results->count == results->capacity) {
    size_t capacity = results->capacity ? results->capacity * 2 : 16;
    struct result *items = etk_realloc(results->items, capacity, sizeof *items);
    if (!items) return NULL;
    results->items = items, results->capacity = capacity;
  }
  char *copy = etk_strdup(name);
  if (!copy) return NULL;
  struct result *result = &results->items[results->count++];
  *result = (struct result){.name = copy, .type = type};
  return result;
}

etk_status results_set(etk_error *e, struct results *results, const etk_cell *cell) {
  struct result_cell copy;
  if (!cell_copy(&copy, cell)) return no_memory(e);
  struct result *result = result_of(results, copy.name, RESULT_VALUE);
  if (!result) {
    cell_free(&copy);
    return no_memory(e);
  }
  result->value = copy;
  return ETK_OK;
}

etk_status results_add_row(etk_error *e, struct results *results, const char *table, const etk_cell *cells, size_t count) {
  struct result *result = result_of(results, table ? table : "", RESULT_TABLE);
  if (!result) return no_memory(e);
  if (result->count == result->capacity) {
    size_t capacity = result->capacity ? result->capacity * 2 : 16;
    struct result_row *rows = etk_realloc(result->rows, capacity, sizeof *rows);
    if (!rows) return no_memory(e);
    result->rows = rows, result->capacity = capacity;
  }
  struct result_row row = {etk_calloc(count ? count : 1, sizeof *row.cells), 0};
  bool whole = row.cells != NULL;
  for (; whole && row.count < count; row.count++)
    if (!cell_copy(&row.cells[row.count], &cells[row.count])) {
      whole = false;
      break;
    }
  if (!whole) {
    for (size_t i = 0; i < row.count; i++) cell_free(&row.cells[i]);
    etk_free(row.cells);
    return no_memory(e);
  }
  result->rows[result->count++] = row;
  return ETK_OK;
}

/* Takes the blanks between tokens out; numbers stay as they were written. */
static char *on_one_line(const char *json) {
  etk_text out = ETK_TEXT_INIT;
  bool quoted = false;
  for (const char *p = json; *p; p++) {
    if (!quoted && strchr(" \t\r\n", *p)) continue;
    etk_text_putc(&out, *p);
    if (quoted && *p == '\\' && p[1]) etk_text_putc(&out, *++p);
    else if (*p == '"') quoted = !quoted;
  }
  return etk_text_take(&out);
}

etk_status results_set_json(etk_error *e, struct results *results, const char *name, const char *json) {
  json_error_t where;
  json_t *parsed = json ? json_loads(json, JSON_DECODE_ANY | JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, &where) : NULL;
  if (!parsed)
    return etk_fail(e, ETK_E_INVALID, "the result '%s' is not JSON: %s", name ? name : "", json ? where.text : "it is NULL");
  json_decref(parsed);
  char *line = on_one_line(json);
  struct result *result = line ? result_of(results, name ? name : "", RESULT_JSON) : NULL;
  if (!result) {
    etk_free(line);
    return no_memory(e);
  }
  result->value.text = line;
  return ETK_OK;
}

/* ---- as JSON ---- */

static void kept_json(etk_text *out, const struct result_cell *cell) {
  if (cell->kind == ETK_KIND_text) put_json(out, cell->text);
  else etk_text_puts(out, cell->text);
}

static void table_json(etk_text *out, const struct result *result) {
  etk_text_putc(out, '[');
  for (size_t i = 0; i < result->count; i++) {
    etk_text_puts(out, i ? ",{" : "{");
    for (size_t k = 0; k < result->rows[i].count; k++) {
      if (k) etk_text_putc(out, ',');
      put_json(out, result->rows[i].cells[k].name);
      etk_text_putc(out, ':');
      kept_json(out, &result->rows[i].cells[k]);
    }
    etk_text_putc(out, '}');
  }
  etk_text_putc(out, ']');
}

void results_json(etk_text *out, const struct results *results) {
  etk_text_putc(out, '{');
  for (size_t i = 0; i < results->count; i++) {
    const struct result *result = &results->items[i];
    if (i) etk_text_putc(out, ',');
    put_json(out, result->name);
    etk_text_putc(out, ':');
    if (result->type == RESULT_VALUE) kept_json(out, &result->value);
    else if (result->type == RESULT_JSON) etk_text_puts(out, result->value.text);
    else table_json(out, result);
  }
  etk_text_putc(out, '}');
}

/* ---- for a person ---- */

/* Six significant digits of a real, yes and no for a flag. */
static const char *shown(char *buffer, size_t size, const struct result_cell *cell) {
  double real;
  if (!cell->text) return "-";
  if (cell->kind == ETK_KIND_flag) return !strcmp(cell->text, "true") ? "yes" : "no";
  if (cell->kind != ETK_KIND_real || etk_parse_real(NULL, &real, cell->text))
    return !strcmp(cell->text, "null") && cell->kind == ETK_KIND_real ? "-" : cell->text;
  snprintf(buffer, size, "%.6g", real);
  return buffer;
}

static void print_table(const struct result *result, FILE *stream, bool color, int width) {
  enum { MOST = 64 };
  const char *columns[MOST], *cells[MOST];
  char numbers[MOST][32];
  size_t count = 0;
  for (size_t i = 0; i < result->count; i++)
    for (size_t k = 0; k < result->rows[i].count; k++) {
      size_t at = 0;
      while (at < count && strcmp(columns[at], result->rows[i].cells[k].name)) at++;
      if (at == count && count < MOST) columns[count++] = result->rows[i].cells[k].name;
    }
  struct table *table = table_new(columns, count);
  for (size_t i = 0; i < result->count; i++) {
    for (size_t at = 0; at < count; at++) {
      cells[at] = NULL;
      for (size_t k = 0; k < result->rows[i].count; k++)
        if (!strcmp(columns[at], result->rows[i].cells[k].name)) cells[at] = shown(numbers[at], sizeof numbers[at], &result->rows[i].cells[k]);
    }
    table_add(table, cells);
  }
  table_print(table, stream, color, width);
  table_free(table);
}

static void print_value(FILE *stream, const char *raw_name, const char *raw, size_t widest, bool color) {
  char *safe[] = {safe_copy(raw_name, ""), safe_copy(raw, "\n\t")};
  const char *name = safe[0] ? safe[0] : "(out of memory)", *text = safe[1] ? safe[1] : "(out of memory)";
  int pad = (int)(widest - etk_utf8_width(name, strlen(name)));
  fprintf(stream, "%s%s%s%*s", color ? STYLE_BOLD : "", name, color ? STYLE_RESET : "", pad > 0 ? pad : 0, "");
  bool one_line = !strchr(text, '\n');
  if (one_line) fprintf(stream, "  %s", text);
  fputc('\n', stream);
  for (const char *line = text; !one_line && *line;) {
    size_t size = strcspn(line, "\n");
    fprintf(stream, "  %.*s\n", (int)size, line);
    line += size + (line[size] == '\n');
  }
  etk_free(safe[0]);
  etk_free(safe[1]);
}

void results_print(const struct results *results, FILE *stream, bool color, int width, const char *skip) {
  size_t widest = 0;
  bool before = false;
  for (size_t i = 0; i < results->count; i++) {
    size_t size = etk_utf8_width(results->items[i].name, strlen(results->items[i].name));
    if (results->items[i].type != RESULT_TABLE && size > widest) widest = size;
  }
  for (size_t i = 0; i < results->count; i++) {
    const struct result *result = &results->items[i];
    char number[32];
    if (result->type == RESULT_TABLE || (skip && result->type == RESULT_VALUE && !strcmp(result->name, skip))) continue;
    print_value(stream, result->name, result->type == RESULT_JSON ? result->value.text : shown(number, sizeof number, &result->value), widest, color);
    before = true;
  }
  for (size_t i = 0; i < results->count; i++) {
    const struct result *result = &results->items[i];
    if (result->type != RESULT_TABLE) continue;
    fprintf(stream, "%s%s", before ? "\n" : "", color ? STYLE_BOLD : "");
    safe_put(stream, result->name);
    fprintf(stream, "%s\n", color ? STYLE_RESET : "");
    print_table(result, stream, color, width);
    before = true;
  }
}
