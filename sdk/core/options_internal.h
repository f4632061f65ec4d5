/* options_internal.h: what the files of etk/options.h share. Not installed. */
#ifndef ETK_OPTIONS_INTERNAL_H
#define ETK_OPTIONS_INTERNAL_H

#include "etk/options.h"

/* One alternative of a numeric limit. Whole numbers (int, size, duration, lengths) use the integers, real the doubles. */
typedef struct etk__range {
  bool has_low, has_high, low_open, high_open;
  int64_t low, high;
  double real_low, real_high;
} etk__range;

/* A word of a choice has at most ETK__WORD - 1 bytes, a choice at most ETK__WORDS words. */
enum { ETK__WORD = 128, ETK__WORDS = 64 };

uint32_t etk__item_kind(uint32_t kind); /* of a list or map; else the kind itself */
bool etk__kind_is_list(uint32_t kind);  /* ints, reals, texts */
bool etk__flow_begins(uint32_t kind, const char *text); /* "[a, b]" for a list, "{k: v}" for a map: read as YAML */
void etk__text_quote(etk_text *out, const char *text);  /* in quotes that YAML, TOML and JSON all read */
/* The next alternative of `limits`, cut at '|' that no backslash precedes; false at the end. */
bool etk__next_alternative(const char **cursor, const char **start, size_t *size);
/* kind: int, real, size, duration; int also for lengths. */
etk_status etk__parse_range(etk_error *e, etk__range *out, uint32_t kind, const char *text, size_t size);
etk_status etk__parse_bound(etk_error *e, uint32_t kind, const char *text, int64_t *integer, double *real);
/* Resolves \t \n \| \\ ; any other backslash stays. false: does not fit. */
bool etk__unescape(char *out, size_t out_size, const char *text, size_t size);
/* `shown`: the value as the message says it; `noun`: "" or "lengths". */
etk_status etk__check_number(etk_error *e, uint32_t kind, const char *limits, int64_t integer, double real, const char *shown, const char *noun,
                             const char *what);
etk_status etk__check_choice(etk_error *e, const char *limits, const char *text, const char *what);

/* ---- tables ---- */

const etk_option_row *etk__row(const etk_option_table *table, uint32_t index);
bool etk__row_listed(const etk_option_row *row); /* neither hidden nor local: it stands in documents */
bool etk__row_unset(const etk_option_row *row);  /* has no default */
/* A string of a row with its escapes resolved; allocated with etk_alloc. */
char *etk__row_text(const char *text);
/* The row's default as a value; source ETK_FROM_UNSET where it has none. */
etk_status etk__row_default(etk_error *e, etk_value *out, etk_arena *arena, const etk_option_row *row);
/* Groups are walked as a tree: options of the group first, then the groups below it. Whether the group of listed row `index` lies below `path` and is
 * the first to have the next part, which is given: the groups below, each once. */
bool etk__subgroup(const etk_option_table *table, uint32_t index, const char *path, const char **part, size_t *size);
bool etk__group_below(const char *path, const char *group); /* the same group or one below it */
char *etk__group_join(const char *path, const char *part, size_t size); /* allocated; NULL: out of memory */

#endif
