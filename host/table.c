/* table.c: columns for a person. */
#include "host.h"
#include "report.h"

#include <ctype.h>
#include <etk/alloc.h>

struct table {
  char **headers;
  size_t columns;
  char **cells; /* row by row */
  size_t rows, capacity;
  bool failed;  /* out of memory: printed as far as it came, with a line that says so */
};

struct table *table_new(const char *const *headers, size_t columns) {
  struct table *table = etk_calloc(1, sizeof *table);
  if (!table) return NULL;
  table->columns = columns;
  table->headers = etk_calloc(columns ? columns : 1, sizeof *table->headers);
  if (!table->headers) {
    etk_free(table);
    return NULL;
  }
  for (size_t i = 0; i < columns; i++)
    if (!(table->headers[i] = safe_copy(headers[i] ? headers[i] : "", "\n\r\t"))) table->failed = true;
  return table;
}

void table_add(struct table *table, const char *const *cells) {
  if (!table || table->failed) return;
  if (table->rows == table->capacity) {
    size_t capacity = table->capacity ? table->capacity * 2 : 16;
    char **grown = etk_realloc(table->cells, capacity * (table->columns ? table->columns : 1), sizeof *grown);
    if (!grown) {
      table->failed = true;
      return;
    }
    table->cells = grown, table->capacity = capacity;
  }
  char **row = table->cells + table->rows * table->columns;
  for (size_t i = 0; i < table->columns; i++) row[i] = NULL;
  table->rows++;
  for (size_t i = 0; i < table->columns; i++)
    if (cells[i] && !(row[i] = safe_copy(cells[i], "\n\r\t"))) table->failed = true;
}

void table_free(struct table *table) {
  if (!table) return;
  for (size_t i = 0; i < table->columns; i++) etk_free(table->headers[i]);
  for (size_t i = 0; i < table->rows * table->columns; i++) etk_free(table->cells[i]);
  etk_free(table->headers);
  etk_free(table->cells);
  etk_free(table);
}

/* A line break or tab inside a cell would tear the table: shown as a blank. */
static size_t clean_width(const char *text) { return text ? etk_utf8_width(text, strcspn(text, "\n\r\t")) : 0; }

static bool numeric(const char *text) {
  const char *p = text;
  if (*p == '-' || *p == '+') p++;
  if (!isdigit((unsigned char)*p)) return false;
  while (isdigit((unsigned char)*p) || *p == '.' || *p == 'e' || *p == ',' || ((*p == '-' || *p == '+') && p[-1] == 'e')) p++;
  if (*p == ' ') p++; /* a unit may follow: "12.5 ms", "4 GiB", "37%" */
  return strlen(p) <= 4 && !strpbrk(p, "0123456789-:");
}

static const char *cell(const struct table *table, size_t row, size_t column) {
  const char *text = table->cells[row * table->columns + column];
  return text ? text : "";
}

/* Writes at most `width` columns of the text, the last one "…" where it was cut. */
static size_t put_cut(FILE *stream, const char *text, size_t width) {
  size_t size = strcspn(text, "\n\r\t"), all = etk_utf8_width(text, size), used = 0, at = 0;
  if (all <= width) {
    fwrite(text, 1, size, stream);
    return all;
  }
  while (at < size) {
    uint32_t code;
    size_t bytes = etk_utf8_decode(&code, text + at, size - at);
    if (!bytes) bytes = 1;
    size_t columns = etk_utf8_width(text + at, bytes);
    if (used + columns + 1 > width) break;
    used += columns, at += bytes;
  }
  fwrite(text, 1, at, stream);
  fputs("…", stream);
  return used + 1;
}

/* The bytes of the text that fit into `width` columns, at least one character; up to the last blank where one is among them. */
static size_t fitting(const char *text, size_t size, size_t width) {
  size_t used = 0, at = 0, blank = 0;
  while (at < size) {
    uint32_t code;
    size_t bytes = etk_utf8_decode(&code, text + at, size - at);
    if (!bytes) bytes = 1;
    used += etk_utf8_width(text + at, bytes);
    if (used > width && at) return blank ? blank : at;
    if (text[at] == ' ') blank = at + 1;
    at += bytes;
  }
  return size;
}

/* The whole text in lines of `width` columns, those after the first behind `indent` blanks. */
static void put_wrapped(FILE *stream, const char *text, size_t width, size_t indent) {
  size_t size = strcspn(text, "\n\r\t");
  for (size_t at = 0, take; at < size; at += take) {
    if (at) fprintf(stream, "\n%*s", (int)indent, "");
    take = fitting(text + at, size - at, width);
    fwrite(text + at, 1, take, stream);
  }
}

struct column {
  size_t width;
  bool right;
};

static void put_cell(FILE *stream, const char *text, const struct column *column, bool last) {
  size_t width = clean_width(text), pad = width < column->width ? column->width - width : 0;
  if (column->right) fprintf(stream, "%*s", (int)pad, "");
  size_t used = put_cut(stream, text, column->width);
  if (!column->right && !last && used < column->width) fprintf(stream, "%*s", (int)(column->width - used), "");
  if (!last) fputs("  ", stream);
}

/* The widest column of words gives way until the line fits; false: it cannot. */
static bool fit(const struct table *table, struct column *columns, size_t width) {
  for (;;) {
    size_t total = 2 * (table->columns - 1), widest = 0;
    for (size_t i = 0; i < table->columns; i++) total += columns[i].width;
    if (total <= width) return true;
    for (size_t i = 1; i < table->columns; i++)
      if (!columns[i].right && (columns[widest].right || columns[i].width > columns[widest].width)) widest = i;
    size_t excess = total - width, floor = 8;
    if (columns[widest].right || columns[widest].width <= floor) return false; /* nothing sensible left to cut */
    columns[widest].width -= columns[widest].width - floor < excess ? columns[widest].width - floor : excess > 4 ? (excess + 3) / 4 : 1;
  }
}

/* A terminal too narrow for columns: each row as lines of "HEADER value", folded at the edge, with an empty line between rows. */
static void print_records(const struct table *table, FILE *stream, bool color, size_t width) {
  size_t widest = 0;
  for (size_t i = 0; i < table->columns; i++)
    if (clean_width(table->headers[i]) > widest) widest = clean_width(table->headers[i]);
  bool beside = widest + 10 < width; /* else the value stands below its header */
  for (size_t row = 0; row < table->rows; row++) {
    if (row) fputc('\n', stream);
    for (size_t i = 0; i < table->columns; i++) {
      const char *text = cell(table, row, i), *header = table->headers[i] ? table->headers[i] : "";
      if (!*text) continue;
      fputs(color ? STYLE_BOLD : "", stream);
      size_t used = put_cut(stream, header, width);
      fputs(color ? STYLE_RESET : "", stream);
      fprintf(stream, "%*s", beside ? (int)(widest + 2 - used) : 0, "");
      if (!beside) fputs("\n  ", stream);
      put_wrapped(stream, text, beside ? width - widest - 2 : width > 3 ? width - 2 : 1, beside ? widest + 2 : 2);
      fputc('\n', stream);
    }
  }
}

void table_print(struct table *table, FILE *stream, bool color, int width) {
  if (!table) {
    fputs("(out of memory: this table cannot be shown)\n", stream);
    return;
  }
  if (!table->columns) return;
  struct column *columns = etk_calloc(table->columns, sizeof *columns);
  for (size_t i = 0; columns && i < table->columns; i++) {
    size_t filled = 0, numbers = 0;
    columns[i].width = clean_width(table->headers[i]);
    for (size_t row = 0; row < table->rows; row++) {
      const char *text = cell(table, row, i);
      size_t size = clean_width(text);
      if (size > columns[i].width) columns[i].width = size;
      if (!*text || !strcmp(text, "-")) continue;
      filled++;
      numbers += numeric(text);
    }
    columns[i].right = filled && filled == numbers;
  }
  if (columns && width > 0 && !fit(table, columns, (size_t)width)) print_records(table, stream, color, (size_t)width);
  else if (columns) {
    if (color) fputs(STYLE_BOLD, stream);
    for (size_t i = 0; i < table->columns; i++) put_cell(stream, table->headers[i] ? table->headers[i] : "", &columns[i], i + 1 == table->columns);
    fprintf(stream, "%s\n", color ? STYLE_RESET : "");
    for (size_t row = 0; row < table->rows; row++) {
      for (size_t i = 0; i < table->columns; i++) put_cell(stream, cell(table, row, i), &columns[i], i + 1 == table->columns);
      fputc('\n', stream);
    }
  }
  if (!columns || table->failed) fputs("(out of memory: this table is not whole)\n", stream);
  etk_free(columns);
}
