/* etk/text.h: a growing string, number parsing, UTF-8, suggestions. No locale is ever consulted. */
#ifndef ETK_TEXT_H
#define ETK_TEXT_H

#include "status.h"
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* A string builder. Failure to grow is sticky: check `failed` once at the end. data is NUL-terminated once anything was appended. */
typedef struct etk_text {
  char *data;
  size_t size, capacity;
  bool failed;
} etk_text;
#define ETK_TEXT_INIT {0, 0, 0, 0}
void etk_text_append(etk_text *text, const char *bytes, size_t size);
void etk_text_puts(etk_text *text, const char *string);
void etk_text_putc(etk_text *text, char c);
void etk_text_printf(etk_text *text, const char *format, ...) ETK_PRINTF(2, 3);
void etk_text_vprintf(etk_text *text, const char *format, va_list arguments);
void etk_text_json(etk_text *text, const char *string, size_t size); /* quoted and escaped; invalid UTF-8 becomes U+FFFD */
void etk_text_real(etk_text *text, double value);                    /* shortest form that reads back equal; JSON null for nan and inf */
char *etk_text_take(etk_text *text);                                 /* gives up ownership (free with etk_free); NULL if it failed */
void etk_text_free(etk_text *text);

/* Whole-string parsers: trailing characters are an error. e gets "'12x' is not a whole number". */
etk_status etk_parse_int(etk_error *e, int64_t *out, const char *text);      /* decimal or 0x, _ between digits allowed */
etk_status etk_parse_real(etk_error *e, double *out, const char *text);      /* finite decimal; "1e-5"; no nan, inf or hex */
etk_status etk_parse_flag(etk_error *e, bool *out, const char *text);        /* true/false yes/no on/off 1/0, any case */
etk_status etk_parse_size(etk_error *e, int64_t *out, const char *text);     /* "4GiB", "512 kB", "100": bytes */
etk_status etk_parse_duration(etk_error *e, int64_t *out, const char *text); /* "90s" "1h30m" "250ms": nanoseconds; a bare number is seconds */
/* "4.0 GiB", "1.5 KiB", "17 B" / "1 m 32 s", "250 ms". Written into out (at least 32 bytes), which is returned. */
char *etk_format_size(char *out, size_t out_size, int64_t bytes);
char *etk_format_duration(char *out, size_t out_size, int64_t nanoseconds);

/* Decodes one code point; returns its bytes (1..4), or 0 where the bytes are not UTF-8 (overlong and surrogates included) or size is 0. */
size_t etk_utf8_decode(uint32_t *code_point, const char *bytes, size_t size);
size_t etk_utf8_encode(char out[4], uint32_t code_point); /* bytes written; 0 for an illegal code point */
bool etk_utf8_valid(const char *bytes, size_t size);
size_t etk_utf8_width(const char *bytes, size_t size); /* terminal columns: wide East Asian and emoji count 2, combining marks 0 */

/* Optimal string alignment distance (adjacent swaps count 1), compared without case; `limit` caps the work. */
size_t etk_text_distance(const char *a, const char *b, size_t limit);
/* The candidate a person most likely meant, or NULL when none is near: an exact match but for case, '-' and '_'; a unique prefix;
 * else distance at most 1 + length/4. Ties go to the first. */
const char *etk_text_suggest(const char *word, const char *const *candidates, size_t count);
bool etk_text_equal_name(const char *a, const char *b); /* '-' equals '_' */

#ifdef __cplusplus
}
#endif
#endif
