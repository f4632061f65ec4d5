/* evaluate.c: expressions, and calls. */
#include "internal.h"

static bool lookup(etk__render *r, etk__value *out, const etk__tnode *node) {
  for (const etk__scope *s = r->scope; s; s = s->outer)
    for (size_t i = 0; i < s->count; i++)
      if (s->variables[i].symbol == node->symbol) return *out = s->variables[i].value, true;
  *out = r->top[node->symbol];
  if (out->kind != ETK__ABSENT) return true;
  const etk__symbol *symbol = &r->t->symbols[node->symbol];
  const etk__builtin *global = etk__builtin_find(&etk__template_globals, symbol->name, symbol->size);
  if (!global) return etk__undefined(r, out, symbol->name, symbol->size, NULL);
  *out = (etk__value){.kind = ETK__FUNCTION, .function = global};
  return true;
}

static bool evaluate_items(etk__render *r, etk__value *out, const etk__tnode *node) {
  if (!etk__items_new(r, out, node->type == ETK__N_LIST ? ETK__LIST : ETK__TUPLE, node->list.count)) return false;
  for (size_t i = 0; i < node->list.count; i++)
    if (!etk__evaluate(r, &out->items->at[i], node->list.at[i])) return false;
  return true;
}

static bool evaluate_dict(etk__render *r, etk__value *out, const etk__tnode *node) {
  etk__value key, value;
  if (!etk__dict_new(r, out, node->list.count / 2)) return false;
  for (size_t i = 0; i + 1 < node->list.count; i += 2) {
    if (!etk__evaluate(r, &key, node->list.at[i]) || !etk__evaluate(r, &value, node->list.at[i + 1])) return false;
    r->at = node->list.at[i]->offset;
    if (!etk__dict_put(r, out->dict, key, value)) return false;
  }
  return true;
}

static bool evaluate_attribute(etk__render *r, etk__value *out, const etk__tnode *node) {
  etk__value owner;
  if (!etk__evaluate(r, &owner, node->a)) return false;
  r->at = node->offset;
  return etk__attribute(r, out, owner, node->constant.str->data, node->constant.str->size);
}

static bool evaluate_item(etk__render *r, etk__value *out, const etk__tnode *node) {
  etk__value owner, key;
  if (!etk__evaluate(r, &owner, node->a) || !etk__evaluate(r, &key, node->b)) return false;
  r->at = node->offset;
  return etk__item(r, out, owner, key);
}

static bool evaluate_slice(etk__render *r, etk__value *out, const etk__tnode *node) {
  etk__value owner, parts[3] = {{0}, {0}, {0}};
  if (!etk__evaluate(r, &owner, node->a)) return false;
  for (size_t i = 0; i < 3; i++)
    if (node->list.at[i] && !etk__evaluate(r, &parts[i], node->list.at[i])) return false;
  r->at = node->offset;
  return etk__slice(r, out, owner, parts[0], parts[1], parts[2]);
}

/* "*list": its items take the place of one argument. */
static bool spread_items(etk__render *r, etk__arguments *a, size_t *room, const etk__tnode *node) {
  etk__value v, *at;
  size_t count;
  if (!etk__evaluate(r, &v, node->a)) return false;
  r->at = node->offset;
  if (!etk__iterate(r, &at, &count, v)) return false;
  etk__value *grown = etk__make(r, *room + count, sizeof *grown);
  if (!grown) return false;
  if (a->count) memcpy(grown, a->at, a->count * sizeof *grown);
  if (count) memcpy(grown + a->count, at, count * sizeof *grown);
  a->at = grown;
  a->count += count;
  *room += count;
  return true;
}

/* "**dict" */
static bool spread_members(etk__render *r, etk__arguments *a, size_t *room, const etk__tnode *node) {
  etk__value v;
  if (!etk__evaluate(r, &v, node->a)) return false;
  r->at = node->offset;
  if (v.kind != ETK__DICT) return etk__fail(r, "'**' before a %s (wanted a dict)", etk__type_name(v));
  etk__named *grown = etk__make(r, *room + v.dict->count, sizeof *grown);
  if (!grown) return false;
  if (a->named_count) memcpy(grown, a->named, a->named_count * sizeof *grown);
  a->named = grown;
  *room += v.dict->count;
  for (size_t i = 0; i < v.dict->count; i++) {
    const etk__entry *entry = &v.dict->entries[i];
    if (entry->key.kind != ETK__STR) return etk__fail(r, "'**' wants keys that are strings, found a %s", etk__type_name(entry->key));
    a->named[a->named_count++] = (etk__named){*entry->key.str, entry->value};
  }
  return true;
}

static bool evaluate_arguments(etk__render *r, etk__arguments *a, const etk__tnode *node) {
  size_t room = node->list.count, named_room = node->named.count;
  *a = (etk__arguments){NULL, 0, NULL, 0};
  if (room && !(a->at = etk__make(r, room, sizeof *a->at))) return false;
  if (named_room && !(a->named = etk__make(r, named_room, sizeof *a->named))) return false;
  for (size_t i = 0; i < node->list.count; i++) {
    const etk__tnode *argument = node->list.at[i];
    if (argument->type == ETK__N_SPREAD ? !spread_items(r, a, &room, argument) : !etk__evaluate(r, &a->at[a->count++], argument)) return false;
  }
  for (size_t i = 0; i < node->named.count; i++) {
    const etk__tnode *argument = node->named.at[i];
    if (argument->type == ETK__N_SPREAD) {
      if (!spread_members(r, a, &named_room, argument)) return false;
      continue;
    }
    a->named[a->named_count].name = *argument->constant.str;
    if (!etk__evaluate(r, &a->named[a->named_count++].value, argument->a)) return false;
  }
  return true;
}

static bool add_caller(etk__render *r, etk__arguments *a) {
  etk__named *named = etk__make(r, a->named_count + 1, sizeof *named);
  if (!named) return false;
  if (a->named_count) memcpy(named, a->named, a->named_count * sizeof *named);
  named[a->named_count] = (etk__named){{"caller", 6, 6}, r->caller};
  a->named = named;
  a->named_count++;
  return true;
}

static bool evaluate_call(etk__render *r, etk__value *out, const etk__tnode *node) {
  etk__value callee;
  etk__arguments a;
  bool with_caller = r->caller_for == node;
  if (with_caller) r->caller_for = NULL;
  if (!etk__evaluate(r, &callee, node->a) || !evaluate_arguments(r, &a, node)) return false;
  if (with_caller && !add_caller(r, &a)) return false;
  r->at = node->offset;
  return etk__call(r, out, callee, &a);
}

static bool evaluate_builtin(etk__render *r, etk__value *out, const etk__tnode *node) {
  etk__value self;
  etk__arguments a;
  if (!etk__evaluate(r, &self, node->a) || !evaluate_arguments(r, &a, node)) return false;
  r->at = node->offset;
  return etk__builtin_call(r, out, node->builtin, self, &a);
}

static bool evaluate_unary(etk__render *r, etk__value *out, const etk__tnode *node) {
  etk__value v;
  if (!etk__evaluate(r, &v, node->a)) return false;
  r->at = node->offset;
  if (node->type == ETK__N_NOT) return *out = etk__bool(!etk__truth(v)), true;
  if (v.kind == ETK__UNDEFINED) return etk__fail_undefined(r, v);
  int64_t whole;
  double number;
  bool minus = node->type == ETK__N_NEGATE;
  if (etk__is_whole(v, &whole)) {
    if (minus && whole == INT64_MIN) return etk__binary(r, out, ETK__OP_SUB, etk__int(0), v);
    *out = etk__int(minus ? -whole : whole);
    return true;
  }
  if (!etk__template_number(v, &number)) return etk__fail(r, "'%s' before a %s", minus ? "-" : "+", etk__type_name(v));
  *out = etk__real(minus ? -number : number);
  return true;
}

static bool evaluate_binary(etk__render *r, etk__value *out, const etk__tnode *node) {
  etk__value a, b;
  if (!etk__evaluate(r, &a, node->a) || !etk__evaluate(r, &b, node->b)) return false;
  r->at = node->offset;
  return etk__binary(r, out, (etk__op)node->op, a, b);
}

static bool evaluate_logic(etk__render *r, etk__value *out, const etk__tnode *node) {
  if (!etk__evaluate(r, out, node->a)) return false;
  return etk__truth(*out) == (node->type == ETK__N_OR) || etk__evaluate(r, out, node->b);
}

static bool evaluate_compare(etk__render *r, etk__value *out, const etk__tnode *node) {
  etk__value left, right;
  bool holds = true;
  if (!etk__evaluate(r, &left, node->a)) return false;
  for (size_t i = 0; i < node->list.count && holds; i++) {
    if (!etk__evaluate(r, &right, node->list.at[i])) return false;
    r->at = node->offset;
    if (!etk__relate(r, &holds, (etk__op)node->ops[i], left, right)) return false;
    left = right;
  }
  *out = etk__bool(holds);
  return true;
}

static bool evaluate_concat(etk__render *r, etk__value *out, const etk__tnode *node) {
  etk_text text = ETK_TEXT_INIT;
  bool good = true;
  for (size_t i = 0; i < node->list.count && good; i++) {
    etk__value v;
    good = etk__evaluate(r, &v, node->list.at[i]);
    r->at = node->offset;
    good = good && etk__print(r, &text, v);
  }
  if (good) return etk__str_take(r, out, &text);
  etk_text_free(&text);
  return false;
}

static bool evaluate_condition(etk__render *r, etk__value *out, const etk__tnode *node) {
  etk__value condition;
  if (!etk__evaluate(r, &condition, node->a)) return false;
  if (etk__truth(condition)) return etk__evaluate(r, out, node->b);
  if (node->c) return etk__evaluate(r, out, node->c);
  return etk__undefined(r, out, "the value of an inline if without else", 38, NULL);
}

bool etk__evaluate(etk__render *r, etk__value *out, const etk__tnode *node) {
  typedef bool expression_fn(etk__render * r, etk__value * out, const etk__tnode *node);
  static expression_fn *const expressions[] = {
      [ETK__N_LIST] = evaluate_items,         [ETK__N_TUPLE] = evaluate_items,     [ETK__N_DICT] = evaluate_dict,     [ETK__N_ATTRIBUTE] = evaluate_attribute,
      [ETK__N_ITEM] = evaluate_item,          [ETK__N_SLICE] = evaluate_slice,     [ETK__N_CALL] = evaluate_call,     [ETK__N_FILTER] = evaluate_builtin,
      [ETK__N_TEST] = evaluate_builtin,       [ETK__N_NOT] = evaluate_unary,       [ETK__N_NEGATE] = evaluate_unary,  [ETK__N_POSITIVE] = evaluate_unary,
      [ETK__N_BINARY] = evaluate_binary,      [ETK__N_AND] = evaluate_logic,       [ETK__N_OR] = evaluate_logic,      [ETK__N_COMPARE] = evaluate_compare,
      [ETK__N_CONCAT] = evaluate_concat,      [ETK__N_CONDITION] = evaluate_condition,
  };
  if (!etk__charge(r, 1)) return false;
  if (node->type == ETK__N_CONSTANT) return *out = node->constant, true;
  if (node->type == ETK__N_NAME) return lookup(r, out, node);
  if (node->type == ETK__N_CAPTURED) return *out = r->captured, true;
  bool good = etk__enter(r) && expressions[node->type](r, out, node);
  etk__leave(r);
  return good;
}

/* ---- calls ---- */

bool etk__call(etk__render *r, etk__value *out, etk__value callee, const etk__arguments *a) {
  switch (callee.kind) {
  case ETK__MACRO: return etk__call_macro(r, out, callee.macro, a);
  case ETK__FUNCTION: return etk__builtin_call(r, out, callee.function, etk__none(), a);
  case ETK__METHOD: return etk__builtin_call(r, out, callee.bound->method, callee.bound->self, a);
  case ETK__UNDEFINED: return etk__fail_undefined(r, callee);
  default: return etk__fail(r, "a %s cannot be called", etk__type_name(callee));
  }
}

/* The argument of that name; *taken counts what was used. */
static const etk__value *named_argument(const etk__arguments *a, const char *name, size_t size) {
  for (size_t i = 0; i < a->named_count; i++)
    if (a->named[i].name.size == size && memcmp(a->named[i].name.data, name, size) == 0) return &a->named[i].value;
  return NULL;
}

static bool is_parameter(const etk__render *r, const etk__tnode *node, const etk__str *name) {
  for (size_t i = 0; i < node->list.count; i++) {
    const etk__symbol *s = &r->t->symbols[node->list.at[i]->symbol];
    if (s->size == name->size && memcmp(s->name, name->data, s->size) == 0) return true;
  }
  return false;
}

/* What no parameter takes: varargs, kwargs and the caller, or an error. */
static bool take_rest(etk__render *r, const etk__tnode *node, const etk__arguments *a) {
  const etk__symbol *macro = &r->t->symbols[node->symbol];
  const int n = (int)(macro->size < 100 ? macro->size : 100);
  etk__value rest, kwargs;
  size_t extra = a->count > node->list.count ? a->count - node->list.count : 0;
  if (extra && !node->uses_varargs)
    return etk__fail(r, "the macro '%.*s' takes %zu arguments, %zu were given", n, macro->name, node->list.count, a->count);
  if (node->uses_varargs) {
    if (!etk__items_new(r, &rest, ETK__TUPLE, extra)) return false;
    for (size_t i = 0; i < extra; i++) rest.items->at[i] = a->at[node->list.count + i];
    if (!etk__variable_set(r, r->t->s_varargs, rest)) return false;
  }
  if (!etk__dict_new(r, &kwargs, 0)) return false;
  for (size_t i = 0; i < a->named_count; i++) {
    const etk__named *named = &a->named[i];
    etk__value key;
    if (is_parameter(r, node, &named->name)) continue;
    if (named->name.size == 6 && memcmp(named->name.data, "caller", 6) == 0) {
      if (!node->uses_caller) return etk__fail(r, "the macro '%.*s' makes no use of a caller: it cannot be in a call block", n, macro->name);
      if (!etk__variable_set(r, r->t->s_caller, named->value)) return false;
    } else if (!node->uses_kwargs)
      return etk__fail(r, "the macro '%.*s' has no parameter '%.*s'", n, macro->name, (int)(named->name.size % 100), named->name.data);
    else if (!etk__str_borrow(r, &key, named->name.data, named->name.size) || !etk__dict_put(r, kwargs.dict, key, named->value)) return false;
  }
  return !node->uses_kwargs || etk__variable_set(r, r->t->s_kwargs, kwargs);
}

static bool bind_parameters(etk__render *r, const etk__tnode *node, const etk__arguments *a) {
  for (size_t i = 0; i < node->list.count; i++) {
    const etk__symbol *s = &r->t->symbols[node->list.at[i]->symbol];
    const etk__value *given = i < a->count ? &a->at[i] : NULL, *named = named_argument(a, s->name, s->size);
    etk__value value;
    if (given && named) return etk__fail(r, "the argument '%.*s' is given twice", (int)(s->size % 100), s->name);
    if (!given) given = named;
    if (given) value = *given;
    else if (node->named.at[i]) {
      if (!etk__evaluate(r, &value, node->named.at[i])) return false;
    } else if (!etk__undefined(r, &value, s->name, s->size, NULL)) return false;
    if (!etk__variable_set(r, node->list.at[i]->symbol, value)) return false;
  }
  return true;
}

bool etk__call_macro(etk__render *r, etk__value *out, etk__macro *macro, const etk__arguments *a) {
  etk__scope *outer = r->scope;
  bool good = etk__enter(r);
  r->scope = good ? etk__scope_new(r, macro->scope) : NULL;
  good = r->scope && take_rest(r, macro->node, a) && bind_parameters(r, macro->node, a) && etk__capture(r, out, &macro->node->body);
  r->scope = outer;
  etk__leave(r);
  return good;
}
