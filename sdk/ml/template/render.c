/* render.c: the state of a rendering, and statements. */
#include "internal.h"

bool etk__fail(etk__render *r, const char *format, ...) {
  if (r->failed) return false; /* the first cause stays */
  r->failed = true;
  etk_text text = ETK_TEXT_INIT;
  va_list arguments;
  va_start(arguments, format);
  etk_text_vprintf(&text, format, arguments);
  va_end(arguments);
  etk__template_fail(r->e, r->t, r->at, ETK_E_INVALID, "%s", text.data && !text.failed ? text.data : format);
  r->status = ETK_E_INVALID;
  etk_text_free(&text);
  return false;
}

bool etk__fail_memory(etk__render *r) {
  if (r->failed) return false;
  r->failed = true;
  r->status = etk_fail(r->e, ETK_E_NO_MEMORY, "%s: out of memory", r->t->name);
  return false;
}

bool etk__charge(etk__render *r, int64_t steps) {
  if (r->failed) return false;
  r->steps -= steps;
  return r->steps >= 0 || etk__fail(r, "the template takes more than %lld steps", (long long)r->step_limit);
}

bool etk__charge_bytes(etk__render *r, size_t bytes) { return etk__charge(r, (int64_t)(bytes / 64)); }

bool etk__charge_search(etk__render *r, size_t bytes) { return etk__charge(r, (int64_t)(bytes / 8)); }

bool etk__enter(etk__render *r) {
  if (++r->depth <= r->depth_limit) return !r->failed;
  return etk__fail(r, "expressions, calls or values are more than %d deep in one another", r->depth_limit);
}

void etk__leave(etk__render *r) { r->depth--; }

void *etk__make(etk__render *r, size_t count, size_t size) {
  size_t bytes;
  if (r->failed) return NULL;
  if (__builtin_mul_overflow(count, size, &bytes) || (int64_t)bytes < 0 || (int64_t)bytes > r->memory_limit - (int64_t)r->arena.used) {
    etk__fail(r, "the template needs more than %lld bytes of memory", (long long)r->memory_limit);
    return NULL;
  }
  if (!etk__charge_bytes(r, bytes)) return NULL; /* it is zeroed */
  void *made = etk_arena_alloc(&r->arena, bytes);
  if (!made) etk__fail_memory(r);
  return made;
}

bool etk__write(etk__render *r, const char *bytes, size_t size) {
  if (size == 0) return true;
  if ((int64_t)size > r->output_limit - (int64_t)r->out->size) return etk__fail(r, "the output is larger than %lld bytes", (long long)r->output_limit);
  etk_text_append(r->out, bytes, size);
  if (r->out->failed) return etk__fail_memory(r);
  return etk__charge_bytes(r, size);
}

/* ---- variables ---- */

etk__scope *etk__scope_new(etk__render *r, etk__scope *outer) {
  etk__scope *scope = etk__make(r, 1, sizeof *scope);
  if (scope) scope->outer = outer;
  return scope;
}

bool etk__variable_set(etk__render *r, uint32_t symbol, etk__value value) {
  etk__scope *s = r->scope;
  if (!s) {
    r->top[symbol] = value;
    return true;
  }
  for (size_t i = 0; i < s->count; i++) {
    if (s->variables[i].symbol != symbol) continue;
    s->variables[i].value = value;
    return true;
  }
  if (s->count == s->capacity) {
    size_t capacity = s->capacity ? s->capacity * 2 : 4;
    etk__variable *variables = etk__make(r, capacity, sizeof *variables);
    if (!variables) return false;
    if (s->count) memcpy(variables, s->variables, s->count * sizeof *variables);
    s->variables = variables;
    s->capacity = capacity;
  }
  s->variables[s->count++] = (etk__variable){symbol, value};
  return true;
}

static bool assign_attribute(etk__render *r, const etk__tnode *target, etk__value value) {
  etk__value owner;
  if (!etk__evaluate(r, &owner, target->a)) return false;
  r->at = target->offset;
  if (owner.kind != ETK__NAMESPACE)
    return etk__fail(r, "an attribute can be set on a namespace only, and this is a %s: make it with namespace(…)", etk__type_name(owner));
  return etk__dict_put(r, owner.dict, target->constant, value);
}

bool etk__assign(etk__render *r, const etk__tnode *target, etk__value value) {
  etk__value *at;
  size_t count;
  if (target->type == ETK__N_NAME) return etk__variable_set(r, target->symbol, value);
  if (target->type == ETK__N_ATTRIBUTE) return assign_attribute(r, target, value);
  r->at = target->offset;
  if (value.kind == ETK__UNDEFINED) return etk__fail_undefined(r, value);
  if (!etk__iterate(r, &at, &count, value)) return false;
  r->at = target->offset;
  if (count != target->list.count) return etk__fail(r, "%zu values for %zu names", count, target->list.count);
  for (size_t i = 0; i < count; i++)
    if (!etk__assign(r, target->list.at[i], at[i])) return false;
  return true;
}

/* ---- statements ---- */

bool etk__capture(etk__render *r, etk__value *out, const etk__nodes *body) {
  etk_text text = ETK_TEXT_INIT, *outer = r->out;
  r->out = &text;
  r->captures++;
  bool good = etk__run(r, body);
  r->captures--;
  r->out = outer;
  if (good) return etk__str_take(r, out, &text);
  etk_text_free(&text);
  return false;
}

/* The body in a scope of its own. */
static bool run_inside(etk__render *r, const etk__nodes *body) {
  etk__scope *outer = r->scope;
  r->scope = etk__scope_new(r, outer);
  bool good = r->scope && etk__run(r, body);
  r->scope = outer;
  return good;
}

static bool capture_inside(etk__render *r, etk__value *out, const etk__nodes *body) {
  etk__scope *outer = r->scope;
  r->scope = etk__scope_new(r, outer);
  bool good = r->scope && etk__capture(r, out, body);
  r->scope = outer;
  return good;
}

static bool run_output(etk__render *r, const etk__tnode *node) {
  etk__value value;
  if (!etk__evaluate(r, &value, node->a)) return false;
  r->at = node->offset;
  if (value.kind == ETK__STR) return etk__write(r, value.str->data, value.str->size);
  etk_text text = ETK_TEXT_INIT;
  bool good = etk__print(r, &text, value);
  if (good && text.failed) good = etk__fail_memory(r);
  good = good && etk__write(r, text.data, text.size);
  etk_text_free(&text);
  return good;
}

static bool run_if(etk__render *r, const etk__tnode *node) {
  for (;;) {
    etk__value condition;
    if (!etk__evaluate(r, &condition, node->a)) return false;
    if (etk__truth(condition)) return etk__run(r, &node->body);
    bool chain = node->otherwise.count == 1 && node->otherwise.at[0]->type == ETK__N_IF;
    if (!chain) return etk__run(r, &node->otherwise);
    node = node->otherwise.at[0];
  }
}

/* The items for which the loop's condition holds. */
static bool keep(etk__render *r, const etk__tnode *node, etk__value **at, size_t *count) {
  etk__value kept, condition;
  etk__scope *outer = r->scope;
  if (!etk__items_new(r, &kept, ETK__LIST, *count)) return false;
  size_t n = 0;
  bool good = true;
  for (size_t i = 0; i < *count && good; i++) {
    r->scope = etk__scope_new(r, outer);
    good = r->scope && etk__assign(r, node->target, (*at)[i]) && etk__evaluate(r, &condition, node->b);
    if (good && etk__truth(condition)) kept.items->at[n++] = (*at)[i];
  }
  r->scope = outer;
  *at = kept.items->at;
  *count = n;
  return good;
}

/* *whole: did a round run to its end? Jinja's `else` is for loops without one, those that were left early or skipped included. */
static bool run_loop(etk__render *r, const etk__tnode *node, etk__loop *loop, bool *whole) {
  etk__scope *outer = r->scope;
  bool good = true;
  for (size_t i = 0; i < loop->count && good; i++) {
    loop->index = i;
    r->scope = etk__scope_new(r, outer);
    good = r->scope && etk__variable_set(r, r->t->s_loop, (etk__value){.kind = ETK__LOOP, .loop = loop}) && etk__assign(r, node->target, loop->items[i]) &&
           etk__run(r, &node->body);
    *whole |= r->flow == ETK__RUN;
    if (r->flow == ETK__BREAKING) i = loop->count - 1;
    r->flow = ETK__RUN;
  }
  r->scope = outer;
  return good;
}

static bool run_for(etk__render *r, const etk__tnode *node) {
  etk__value value;
  etk__loop *loop = etk__make(r, 1, sizeof *loop);
  if (!loop || !etk__evaluate(r, &value, node->a)) return false;
  r->at = node->a->offset;
  if (!etk__iterate(r, &loop->items, &loop->count, value)) return false;
  if (node->b && !keep(r, node, &loop->items, &loop->count)) return false;
  bool whole = false;
  if (!run_loop(r, node, loop, &whole)) return false;
  return whole || node->otherwise.count == 0 || run_inside(r, &node->otherwise);
}

static bool run_set(etk__render *r, const etk__tnode *node) {
  etk__value value;
  return etk__evaluate(r, &value, node->a) && etk__assign(r, node->target, value);
}

/* What the body writes, through the chain of filters in node->a. */
static bool capture_filtered(etk__render *r, etk__value *out, const etk__tnode *node) {
  etk__value text;
  if (!capture_inside(r, &text, &node->body)) return false;
  if (!node->a) return *out = text, true;
  etk__value outer = r->captured;
  r->captured = text;
  bool good = etk__evaluate(r, out, node->a);
  r->captured = outer;
  return good;
}

static bool run_set_block(etk__render *r, const etk__tnode *node) {
  etk__value value;
  return capture_filtered(r, &value, node) && etk__assign(r, node->target, value);
}

static bool run_filter_block(etk__render *r, const etk__tnode *node) {
  etk__value value, text;
  return capture_filtered(r, &value, node) && etk__to_str(r, &text, value) && etk__write(r, text.str->data, text.str->size);
}

static bool make_macro(etk__render *r, etk__value *out, const etk__tnode *node) {
  etk__macro *macro = etk__make(r, 1, sizeof *macro);
  if (!macro) return false;
  *macro = (etk__macro){node, r->scope};
  *out = (etk__value){.kind = ETK__MACRO, .macro = macro};
  return true;
}

static bool run_macro(etk__render *r, const etk__tnode *node) {
  etk__value macro;
  return make_macro(r, &macro, node) && etk__variable_set(r, node->symbol, macro);
}

static bool run_call_block(etk__render *r, const etk__tnode *node) {
  etk__value caller, value, text, outer = r->caller;
  if (!make_macro(r, &caller, node->b)) return false;
  r->caller = caller;
  r->caller_for = node->a;
  bool good = etk__evaluate(r, &value, node->a);
  r->caller = outer;
  return good && etk__to_str(r, &text, value) && etk__write(r, text.str->data, text.str->size);
}

static bool run_with(etk__render *r, const etk__tnode *node) {
  etk__scope *outer = r->scope, *inner = etk__scope_new(r, outer);
  bool good = inner != NULL;
  for (size_t i = 0; good && i < node->list.count; i += 2) { /* values are read outside, as Jinja does */
    etk__value value;
    good = etk__evaluate(r, &value, node->list.at[i + 1]);
    r->scope = inner;
    good = good && etk__assign(r, node->list.at[i], value);
    r->scope = outer;
  }
  r->scope = inner;
  good = good && etk__run(r, &node->body);
  r->scope = outer;
  return good;
}

static bool run_generation(etk__render *r, const etk__tnode *node) {
  size_t begin = r->out->size;
  if (!run_inside(r, &node->body)) return false;
  if (r->captures) return true;
  if (r->span_count == r->span_capacity) {
    size_t capacity = r->span_capacity ? r->span_capacity * 2 : 8;
    etk_template_span *spans = etk_realloc(r->spans, capacity, sizeof *spans);
    if (!spans) return etk__fail_memory(r);
    r->spans = spans;
    r->span_capacity = capacity;
  }
  r->spans[r->span_count++] = (etk_template_span){begin, r->out->size};
  return true;
}

static bool run_text(etk__render *r, const etk__tnode *node) { return etk__write(r, node->constant.str->data, node->constant.str->size); }

static bool run_break(etk__render *r, const etk__tnode *node) {
  (void)node;
  r->flow = ETK__BREAKING;
  return true;
}

static bool run_continue(etk__render *r, const etk__tnode *node) {
  (void)node;
  r->flow = ETK__CONTINUING;
  return true;
}

bool etk__run(etk__render *r, const etk__nodes *nodes) {
  typedef bool statement_fn(etk__render * r, const etk__tnode *node);
  static statement_fn *const statements[] = {
      [ETK__N_TEXT] = run_text,           [ETK__N_OUTPUT] = run_output,     [ETK__N_IF] = run_if,
      [ETK__N_FOR] = run_for,             [ETK__N_SET] = run_set,           [ETK__N_SET_BLOCK] = run_set_block,
      [ETK__N_MACRO] = run_macro,         [ETK__N_CALL_BLOCK] = run_call_block, [ETK__N_FILTER_BLOCK] = run_filter_block,
      [ETK__N_WITH] = run_with,           [ETK__N_GENERATION] = run_generation, [ETK__N_BREAK] = run_break,
      [ETK__N_CONTINUE] = run_continue,
  };
  bool good = etk__enter(r);
  for (size_t i = 0; good && i < nodes->count && r->flow == ETK__RUN; i++) {
    const etk__tnode *node = nodes->at[i];
    r->at = node->offset;
    good = etk__charge(r, 1) && statements[node->type](r, node);
  }
  etk__leave(r);
  return good && !r->failed;
}
