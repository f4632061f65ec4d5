/* etk/template.h: the Jinja that published chat templates are written in, to text. There is nothing in it that reaches a file, a process or the
 * network, lists and maps never change, and steps, memory, output and depth are bounded, so that a template from anywhere may be run.
 *
 * Meant to render what transformers' apply_chat_template renders: trim_blocks and lstrip_blocks are on, str() and arithmetic are Python's, `tojson`
 * keeps Unicode, break and continue and {% generation %} are there. What is not there is an error that names it: include, import, extends, block,
 * autoescape, recursive loops, whole numbers beyond 64 bits, str.format.
 * Messages begin "NAME:line:column: ", in the template's source, for syntax (ETK_E_FORMAT, ETK_E_UNSUPPORTED) and at run time (ETK_E_INVALID). */
#ifndef ETK_TEMPLATE_H
#define ETK_TEMPLATE_H

#include "status.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Immutable after parsing: any number of threads may render one template at the same time. */
typedef struct etk_template etk_template;

/* name: what messages call it, usually the file. source: UTF-8, copied. */
etk_status etk_template_parse(etk_error *e, etk_template **out, const char *name, const char *source, size_t size);
void etk_template_free(etk_template *t);

/* What one rendering may use. A field that is 0 means the default. */
typedef struct etk_template_limits {
  int64_t steps;        /* expressions, statements, and 64 bytes copied, 8 searched or 4 items handled count one each; 20 million */
  int64_t output_bytes; /* 32 MiB */
  int64_t memory_bytes; /* of values made on the way; 128 MiB */
  int depth;            /* of expressions, calls and values in one another; 600, and at most that */
} etk_template_limits;

/* A part of the output, in bytes. */
typedef struct etk_template_span {
  size_t begin, end;
} etk_template_span;

/* What comes out; the caller's, freed with etk_rendered_free. generated: what the {% generation %} blocks wrote, in order: the parts that an
 * assistant is trained on. A block within a macro, a block set or a filter block is not among them. */
typedef struct etk_rendered {
  char *text; /* NUL-terminated; may hold NULs of its own if the variables did */
  size_t size;
  etk_template_span *generated;
  size_t generated_count;
} etk_rendered;
#define ETK_RENDERED_INIT {0, 0, 0, 0}
void etk_rendered_free(etk_rendered *rendered);

/* variables: a JSON object (its text) whose members are the template's variables; NULL: none. now: what strftime_now() formats; NULL: calling it is an
 * error. limits: NULL: the defaults. *out is untouched on failure. */
etk_status etk_template_render(etk_error *e, const etk_template *t, etk_rendered *out, const char *variables, size_t size, const struct tm *now,
                               const etk_template_limits *limits);

/* A conversation, each part JSON text, with the variables of transformers' apply_chat_template. */
typedef struct etk_chat {
  const char *messages;                         /* array of {"role", "content", …} */
  const char *tools;                            /* array of {"type": "function", "function": {…}}; NULL: the variable is none */
  const char *documents;                        /* array; NULL: the variable is none */
  const char *kwargs;                           /* object: more variables (chat_template_kwargs: enable_thinking and the like); not those above */
  const char *bos_token, *eos_token;            /* plain text; NULL: the variable is not defined */
  bool add_generation_prompt;
  const struct tm *now; /* for strftime_now(); NULL: an error if called */
} etk_chat;
etk_status etk_chat_render(etk_error *e, const etk_template *t, etk_rendered *out, const etk_chat *chat, const etk_template_limits *limits);

#ifdef __cplusplus
}
#endif
#endif
