/* results.h: what a command answers with, kept until it ends: values, tables and JSON, in the order they were first named. */
#ifndef RESULTS_H
#define RESULTS_H

#include <etk/project.h>
#include <etk/text.h>

struct result_cell {
  char *name;
  uint32_t kind; /* ETK_KIND_int, real, flag or text */
  char *text;    /* as JSON for numbers and flags, raw for text; NULL is null */
};
struct result_row {
  struct result_cell *cells;
  size_t count;
};
enum result_type { RESULT_VALUE, RESULT_TABLE, RESULT_JSON };
struct result {
  char *name;
  enum result_type type;
  struct result_cell value; /* RESULT_VALUE; RESULT_JSON: its text on one line */
  struct result_row *rows;
  size_t count, capacity;
};
struct results {
  struct result *items;
  size_t count, capacity;
};

etk_status results_set(etk_error *e, struct results *results, const etk_cell *cell);
etk_status results_add_row(etk_error *e, struct results *results, const char *table, const etk_cell *cells, size_t count);
etk_status results_set_json(etk_error *e, struct results *results, const char *name, const char *json); /* checked; ETK_E_INVALID with the place */
void results_free(struct results *results);

void cell_json(etk_text *out, const etk_cell *cell); /* the value alone; not finite is null */
void results_json(etk_text *out, const struct results *results); /* one object */
/* For a person: values as an aligned list, then JSON, then tables. `skip`: the name of one value that was shown already, or NULL. */
void results_print(const struct results *results, FILE *stream, bool color, int width, const char *skip);

#endif
