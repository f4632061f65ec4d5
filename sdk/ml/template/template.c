/* template.c: the public face: parsing, rendering, conversations. */
#include "internal.h"
#include "ml/format/json.h"

enum { MAX_SOURCE = 4 << 20, MAX_DEPTH = 600 };

/* The source with every line end as "\n" and without the last one. */
static etk_status take_source(etk_error *e, etk_template *t, const char *source, size_t size) {
  if (size > MAX_SOURCE) return etk_fail(e, ETK_E_UNSUPPORTED, "%s: a template of %zu bytes (at most %d)", t->name, size, MAX_SOURCE);
  char *copy = etk_arena_alloc(&t->arena, size + 1);
  if (!copy) return etk_fail_memory(e);
  size_t n = 0;
  for (size_t i = 0; i < size; i++) {
    if (source[i] == '\r' && i + 1 < size && source[i + 1] == '\n') continue;
    copy[n++] = source[i] == '\r' ? '\n' : source[i];
  }
  t->source = copy;
  t->size = n;
  for (size_t i = 0; i < n;) {
    uint32_t c;
    size_t bytes = etk_utf8_decode(&c, copy + i, n - i);
    if (!bytes) return etk__template_fail(e, t, i, ETK_E_FORMAT, "byte 0x%02x is not UTF-8", (unsigned char)copy[i]);
    i += bytes;
  }
  if (n && copy[n - 1] == '\n') t->size--;
  return ETK_OK;
}

etk_status etk_template_parse(etk_error *e, etk_template **out, const char *name, const char *source, size_t size) {
  *out = NULL;
  etk_template *t = etk_calloc(1, sizeof *t);
  if (!t) return etk_fail_memory(e);
  t->arena.block_size = 16 << 10;
  t->name = etk_arena_strdup(&t->arena, name ? name : "template");
  etk_status status = t->name ? take_source(e, t, source, size) : etk_fail_memory(e);
  if (!status) status = etk__parse_body(e, t);
  if (status) {
    etk_template_free(t);
    return status;
  }
  *out = t;
  return ETK_OK;
}

void etk_template_free(etk_template *t) {
  if (!t) return;
  etk_arena_fini(&t->arena);
  etk_free(t);
}

void etk_rendered_free(etk_rendered *rendered) {
  etk_free(rendered->text);
  etk_free(rendered->generated);
  *rendered = (etk_rendered)ETK_RENDERED_INIT;
}

/* ---- rendering ---- */

static etk_status begin(etk__render *r, etk_error *e, const etk_template *t, etk_text *out, const struct tm *now, const etk_template_limits *limits) {
  static const etk_template_limits defaults = {0, 0, 0, 0};
  if (!limits) limits = &defaults;
  *r = (etk__render){.e = e, .t = t, .out = out, .now = now};
  r->steps = r->step_limit = limits->steps > 0 ? limits->steps : 20000000;
  r->output_limit = limits->output_bytes > 0 ? limits->output_bytes : (int64_t)32 << 20;
  r->memory_limit = limits->memory_bytes > 0 ? limits->memory_bytes : (int64_t)128 << 20;
  r->depth_limit = limits->depth > 0 && limits->depth < MAX_DEPTH ? limits->depth : MAX_DEPTH;
  r->arena.block_size = 16 << 10;
  r->top = etk_arena_array(&r->arena, t->symbol_count, sizeof *r->top);
  return r->top ? ETK_OK : etk_fail_memory(e);
}

static etk__value *top_variable(etk__render *r, const char *name) {
  size_t size = strlen(name);
  for (size_t i = 0; i < r->t->symbol_count; i++)
    if (r->t->symbols[i].size == size && memcmp(r->t->symbols[i].name, name, size) == 0) return &r->top[i];
  return NULL;
}

/* Only what the template names is converted. */
static etk_status put_json(etk__render *r, const char *name, const json_t *json) {
  etk__value *top = top_variable(r, name);
  if (!top || etk__from_json(r, top, json)) return ETK_OK;
  return etk_error_while(r->e, r->status, "%s", name);
}

static etk_status load_json(etk__render *r, json_t **out, const char *what, const char *text, size_t size) {
  json_error_t problem;
  *out = etk__json_loadb(text, size, JSON_DECODE_ANY | JSON_ALLOW_NUL, &problem);
  if (*out) return ETK_OK;
  if (json_error_code(&problem) == json_error_out_of_memory) return etk_fail_memory(r->e);
  return etk_fail(r->e, ETK_E_FORMAT, "%s: %s:%d:%d: not valid JSON: %s", r->t->name, what, problem.line, problem.column, problem.text);
}

static etk_status put_members(etk__render *r, const char *what, const char *text, size_t size, const char *const *refused) {
  json_t *json, *value;
  const char *name;
  etk_status status = load_json(r, &json, what, text, size);
  if (status) return status;
  if (!json_is_object(json)) status = etk_fail(r->e, ETK_E_INVALID, "%s: %s: a JSON object is wanted", r->t->name, what);
  for (; !status && refused && *refused; refused++)
    if (json_object_get(json, *refused)) status = etk_fail(r->e, ETK_E_INVALID, "%s: %s may not hold '%s', which has a place of its own", r->t->name, what, *refused);
  if (!status) json_object_foreach(json, name, value) if (!status) status = put_json(r, name, value);
  json_decref(json);
  return status;
}

/* Runs the template, gives its text or keeps out untouched, and frees what r holds. */
static etk_status finish(etk__render *r, etk_status status, etk_rendered *out, etk_text *text) {
  if (!status && !etk__run(r, &r->t->body)) status = r->status;
  etk_arena_fini(&r->arena);
  size_t size = text->size;
  char *taken = status ? NULL : etk_text_take(text);
  if (!status && !taken) status = etk_fail_memory(r->e);
  if (status) {
    etk_text_free(text);
    etk_free(r->spans);
    return status;
  }
  *out = (etk_rendered){taken, size, r->spans, r->span_count};
  return ETK_OK;
}

etk_status etk_template_render(etk_error *e, const etk_template *t, etk_rendered *out, const char *variables, size_t size, const struct tm *now,
                               const etk_template_limits *limits) {
  etk__render r;
  etk_text text = ETK_TEXT_INIT;
  etk_status status = begin(&r, e, t, &text, now, limits);
  if (!status && variables) status = put_members(&r, "variables", variables, size, NULL);
  return finish(&r, status, out, &text);
}

static etk_status put_part(etk__render *r, const char *name, const char *text) {
  etk__value *top = top_variable(r, name);
  json_t *json;
  if (!text) {
    if (top) *top = etk__none();
    return ETK_OK;
  }
  etk_status status = load_json(r, &json, name, text, strlen(text));
  if (status) return status;
  status = json_is_array(json) ? put_json(r, name, json) : etk_fail(r->e, ETK_E_INVALID, "%s: %s: a JSON array is wanted", r->t->name, name);
  json_decref(json);
  return status;
}

static etk_status put_token(etk__render *r, const char *name, const char *text) {
  etk__value *top = text ? top_variable(r, name) : NULL;
  return !top || etk__str_copy(r, top, text, strlen(text)) ? ETK_OK : r->status;
}

etk_status etk_chat_render(etk_error *e, const etk_template *t, etk_rendered *out, const etk_chat *chat, const etk_template_limits *limits) {
  static const char *const own[] = {"messages", "tools", "documents", "add_generation_prompt", NULL};
  etk__render r;
  etk_text text = ETK_TEXT_INIT;
  etk_status status = begin(&r, e, t, &text, chat->now, limits);
  if (!status && !chat->messages) status = etk_fail(e, ETK_E_INVALID, "%s: a conversation without messages", t->name);
  if (!status) status = put_part(&r, "messages", chat->messages);
  if (!status) status = put_part(&r, "tools", chat->tools);
  if (!status) status = put_part(&r, "documents", chat->documents);
  if (!status) status = put_token(&r, "bos_token", chat->bos_token);
  if (!status) status = put_token(&r, "eos_token", chat->eos_token);
  etk__value *prompt = status ? NULL : top_variable(&r, "add_generation_prompt");
  if (prompt) *prompt = etk__bool(chat->add_generation_prompt);
  if (!status && chat->kwargs) status = put_members(&r, "kwargs", chat->kwargs, strlen(chat->kwargs), own);
  return finish(&r, status, out, &text);
}
