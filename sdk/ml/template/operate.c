/* operate.c: attributes, items, slices and operators, as Python has them. */
#include "internal.h"
#include <math.h>

/* ---- attributes and items ---- */

static bool bind(etk__render *r, etk__value *out, etk__value self, const etk__table *methods, const char *name, size_t size, bool *found) {
  const etk__builtin *method = etk__builtin_find(methods, name, size);
  *found = method != NULL;
  if (!method) return true;
  etk__bound *bound = etk__make(r, 1, sizeof *bound);
  if (!bound) return false;
  *bound = (etk__bound){self, method};
  *out = (etk__value){.kind = ETK__METHOD, .bound = bound};
  return true;
}

static const etk__table *methods_of(etk__value v) {
  switch (v.kind) {
  case ETK__STR: return &etk__str_methods;
  case ETK__DICT: return &etk__dict_methods;
  case ETK__LIST:
  case ETK__TUPLE: return &etk__list_methods;
  case ETK__LOOP: return &etk__loop_methods;
  default: return NULL;
  }
}

static void loop_attribute(etk__value *out, const etk__loop *l, const char *name, size_t size, bool *found) {
  const int64_t i = (int64_t)l->index, n = (int64_t)l->count;
  const struct {
    const char *name;
    etk__value value;
  } rows[] = {
      {"index", etk__int(i + 1)},     {"index0", etk__int(i)},         {"first", etk__bool(i == 0)},   {"last", etk__bool(i + 1 == n)},       {"length", etk__int(n)},
      {"revindex", etk__int(n - i)},  {"revindex0", etk__int(n - i - 1)}, {"depth", etk__int(1)}, {"depth0", etk__int(0)}, /* only recursive loops are deeper */
  };
  *found = true;
  for (size_t k = 0; k < sizeof rows / sizeof rows[0]; k++) {
    if (strlen(rows[k].name) != size || memcmp(rows[k].name, name, size) != 0) continue;
    *out = rows[k].value;
    return;
  }
  bool previous = size == 8 && memcmp(name, "previtem", 8) == 0, next = size == 8 && memcmp(name, "nextitem", 8) == 0;
  *found = previous || next;
  if (previous && i > 0) *out = l->items[i - 1];
  else if (next && i + 1 < n) *out = l->items[i + 1];
  else *found = false;
}

/* A method, or what a loop or a namespace has by that name. */
static bool own_attribute(etk__render *r, etk__value *out, etk__value v, const char *name, size_t size, bool *found) {
  const etk__table *methods = methods_of(v);
  *found = false;
  if (v.kind == ETK__NAMESPACE) return etk__dict_get_text(r, out, v.dict, name, size, found);
  if (v.kind == ETK__LOOP) loop_attribute(out, v.loop, name, size, found);
  if (*found) return true;
  if (v.kind == ETK__MACRO && size == 4 && memcmp(name, "name", 4) == 0) {
    const etk__symbol *s = &r->t->symbols[v.macro->node->symbol];
    *found = true;
    return etk__str_borrow(r, out, s->name, s->size);
  }
  return methods ? bind(r, out, v, methods, name, size, found) : true;
}

bool etk__attribute(etk__render *r, etk__value *out, etk__value v, const char *name, size_t size) {
  bool found;
  if (v.kind == ETK__UNDEFINED) return etk__fail_undefined(r, v);
  if (!own_attribute(r, out, v, name, size, &found)) return false;
  if (!found && v.kind == ETK__DICT && !etk__dict_get_text(r, out, v.dict, name, size, &found)) return false;
  return found || etk__undefined(r, out, name, size, etk__type_name(v));
}

static bool missing_item(etk__render *r, etk__value *out, etk__value v, etk__value key) {
  etk__value name;
  etk_text text = ETK_TEXT_INIT;
  if (key.kind == ETK__STR) return etk__undefined(r, out, key.str->data, key.str->size, etk__type_name(v));
  if (key.kind == ETK__INT || key.kind == ETK__BOOL || key.kind == ETK__NONE || key.kind == ETK__REAL) {
    if (!etk__repr(r, &text, key) || !etk__str_take(r, &name, &text)) return false;
    return etk__undefined(r, out, name.str->data, name.str->size, etk__type_name(v));
  }
  return etk__undefined(r, out, "item", 4, etk__type_name(v));
}

bool etk__item(etk__render *r, etk__value *out, etk__value v, etk__value key) {
  int64_t i;
  bool found = false;
  if (v.kind == ETK__UNDEFINED) return etk__fail_undefined(r, v);
  if (v.kind == ETK__DICT) {
    if (key.kind != ETK__UNDEFINED && key.kind != ETK__LIST && key.kind != ETK__DICT && !etk__dict_get(r, out, v.dict, key, &found)) return false;
    if (found) return true;
  } else if (v.kind == ETK__STR && etk__is_whole(key, &i)) {
    int64_t n = (int64_t)etk__str_chars(v.str);
    if (i < 0) i += n;
    if (!etk__charge_bytes(r, v.str->chars == v.str->size ? 0 : v.str->size)) return false;
    if (i >= 0 && i < n) {
      size_t begin = etk__str_offset(v.str, (size_t)i), end = begin + 1;
      while (end < v.str->size && ((unsigned char)v.str->data[end] & 0xC0) == 0x80) end++;
      return etk__str_borrow(r, out, v.str->data + begin, end - begin);
    }
  } else if ((v.kind == ETK__LIST || v.kind == ETK__TUPLE || v.kind == ETK__RANGE) && etk__is_whole(key, &i)) {
    int64_t n = (int64_t)v.items->count;
    if (i < 0) i += n;
    if (i >= 0 && i < n) return *out = v.items->at[i], true;
  }
  if (key.kind == ETK__STR && (!own_attribute(r, out, v, key.str->data, key.str->size, &found) || found)) return !r->failed;
  return missing_item(r, out, v, key);
}

/* A slice's bound; ABSENT or none: `otherwise`. */
static bool bound_of(etk__render *r, int64_t *out, etk__value v, int64_t length, int64_t low, int64_t high, int64_t otherwise) {
  if (!etk__given(v) || v.kind == ETK__NONE) {
    *out = otherwise;
    return true;
  }
  if (v.kind == ETK__UNDEFINED) return etk__fail_undefined(r, v);
  if (!etk__is_whole(v, out)) return etk__fail(r, "a slice wants whole numbers, found a %s", etk__type_name(v));
  if (*out < 0) *out += length;
  if (*out < low) *out = low;
  if (*out > high) *out = high;
  return true;
}

static bool slice_str(etk__render *r, etk__value *out, etk__str *s, int64_t start, int64_t step, size_t count) {
  if (!etk__charge_bytes(r, s->size)) return false;
  if (step == 1) {
    size_t begin = etk__str_offset(s, (size_t)start), end = s->chars == s->size ? begin + count : etk__str_offset(s, (size_t)start + count);
    return etk__str_borrow(r, out, s->data + begin, end - begin);
  }
  etk__value *at;
  size_t n;
  if (!etk__iterate(r, &at, &n, (etk__value){.kind = ETK__STR, .str = s})) return false;
  etk_text text = ETK_TEXT_INIT;
  for (size_t i = 0; i < count; i++) {
    const etk__str *c = at[start + (int64_t)i * step].str;
    etk_text_append(&text, c->data, c->size);
  }
  return etk__str_take(r, out, &text);
}

bool etk__slice(etk__render *r, etk__value *out, etk__value v, etk__value start, etk__value stop, etk__value step) {
  int64_t by = 1, from, to, n;
  size_t length;
  if (v.kind == ETK__UNDEFINED) return etk__fail_undefined(r, v);
  if (v.kind != ETK__STR && v.kind != ETK__LIST && v.kind != ETK__TUPLE && v.kind != ETK__RANGE)
    return etk__fail(r, "a %s cannot be sliced", etk__type_name(v));
  if (!etk__length(r, &length, v)) return false;
  n = (int64_t)length;
  if (etk__given(step) && step.kind != ETK__NONE && !etk__is_whole(step, &by)) return etk__fail(r, "a slice wants whole numbers, found a %s", etk__type_name(step));
  if (by == 0) return etk__fail(r, "the step of a slice is 0");
  if (by == INT64_MIN) by++;
  if (by > 0 ? !bound_of(r, &from, start, n, 0, n, 0) || !bound_of(r, &to, stop, n, 0, n, n)
             : !bound_of(r, &from, start, n, -1, n - 1, n - 1) || !bound_of(r, &to, stop, n, -1, n - 1, -1))
    return false;
  size_t count = by > 0 ? (to > from ? (size_t)((to - from - 1) / by) + 1 : 0) : (from > to ? (size_t)((from - to - 1) / -by) + 1 : 0);
  if (count == 0) from = 0;
  if (count <= 1) by = 1;
  if (v.kind == ETK__STR) return slice_str(r, out, v.str, from, by, count);
  if (!etk__items_new(r, out, v.kind == ETK__TUPLE ? ETK__TUPLE : ETK__LIST, count)) return false;
  for (size_t i = 0; i < count; i++) out->items->at[i] = v.items->at[from + (int64_t)i * by];
  return true;
}

/* ---- operators ---- */

static const char *const op_names[] = {"+", "-", "*", "/", "//", "%", "**", "==", "!=", "<", "<=", ">", ">=", "in", "not in"};

static bool overflow(etk__render *r) { return etk__fail(r, "the result is beyond 9223372036854775807, the largest whole number"); }

static bool power(etk__render *r, int64_t *out, int64_t base, int64_t exponent) {
  *out = 1;
  for (; exponent > 0; exponent >>= 1) {
    if (exponent & 1 && __builtin_mul_overflow(*out, base, out)) return overflow(r);
    if (exponent > 1 && __builtin_mul_overflow(base, base, &base)) return overflow(r);
  }
  return true;
}

static bool real_op(etk__render *r, etk__value *out, etk__op op, double a, double b) {
  if (b == 0 && (op == ETK__OP_DIV || op == ETK__OP_FLOORDIV || op == ETK__OP_MOD)) return etk__fail(r, "division by zero");
  double rest;
  switch (op) {
  case ETK__OP_ADD: a += b; break;
  case ETK__OP_SUB: a -= b; break;
  case ETK__OP_MUL: a *= b; break;
  case ETK__OP_DIV: a /= b; break;
  case ETK__OP_FLOORDIV: /* as Python: from the remainder, so that a == b * (a // b) + a % b */
    rest = fmod(a, b);
    a = (a - rest) / b;
    if (rest != 0 && (rest < 0) != (b < 0)) a -= 1;
    if (a != 0) rest = floor(a), a = a - rest > 0.5 ? rest + 1 : rest;
    break;
  case ETK__OP_MOD:
    rest = fmod(a, b);
    a = rest != 0 && (rest < 0) != (b < 0) ? rest + b : rest != 0 ? rest : copysign(0.0, b);
    break;
  default:
    if (a == 0 && b < 0) return etk__fail(r, "0 cannot be raised to a negative power");
    if (a < 0 && b != floor(b)) return etk__fail(r, "a negative number cannot be raised to a fraction");
    a = pow(a, b);
  }
  if (isinf(a) && op == ETK__OP_POW) return etk__fail(r, "the result of ** is too large");
  *out = etk__real(a);
  return true;
}

static bool int_op(etk__render *r, etk__value *out, etk__op op, int64_t a, int64_t b) {
  int64_t c = 0;
  bool over = false;
  if (op == ETK__OP_DIV || (op == ETK__OP_POW && b < 0)) return real_op(r, out, op, (double)a, (double)b);
  if (b == 0 && (op == ETK__OP_FLOORDIV || op == ETK__OP_MOD)) return etk__fail(r, "division by zero");
  switch (op) {
  case ETK__OP_ADD: over = __builtin_add_overflow(a, b, &c); break;
  case ETK__OP_SUB: over = __builtin_sub_overflow(a, b, &c); break;
  case ETK__OP_MUL: over = __builtin_mul_overflow(a, b, &c); break;
  case ETK__OP_FLOORDIV:
    over = a == INT64_MIN && b == -1;
    if (!over) c = a / b - (a % b != 0 && (a % b < 0) != (b < 0));
    break;
  case ETK__OP_MOD:
    c = b == -1 ? 0 : a % b;
    if (c != 0 && (c < 0) != (b < 0)) c += b;
    break;
  default:
    if (!power(r, &c, a, b)) return false;
  }
  *out = etk__int(c);
  return over ? overflow(r) : true;
}

static bool repeat(etk__render *r, etk__value *out, etk__value v, int64_t times) {
  size_t unit = v.kind == ETK__STR ? v.str->size : v.items->count, count;
  if (times < 0) times = 0;
  if (__builtin_mul_overflow(unit, (size_t)times, &count)) return etk__fail(r, "'*' makes a %s that is too large", etk__type_name(v));
  if (v.kind == ETK__STR) {
    char *data = etk__make(r, count, 1);
    if (!data || !etk__charge_bytes(r, count)) return false;
    for (size_t i = 0; unit && i < count; i += unit) memcpy(data + i, v.str->data, unit);
    return etk__str_borrow(r, out, data, count);
  }
  if (!etk__items_new(r, out, v.kind, count)) return false;
  for (size_t i = 0; unit && i < count; i += unit) memcpy(out->items->at + i, v.items->at, unit * sizeof *v.items->at);
  return true;
}

static bool add(etk__render *r, etk__value *out, etk__value a, etk__value b) {
  if (a.kind == ETK__STR) {
    char *data = etk__make(r, a.str->size + b.str->size, 1);
    if (!data || !etk__charge_bytes(r, a.str->size + b.str->size)) return false;
    if (a.str->size) memcpy(data, a.str->data, a.str->size);
    if (b.str->size) memcpy(data + a.str->size, b.str->data, b.str->size);
    return etk__str_borrow(r, out, data, a.str->size + b.str->size);
  }
  if (!etk__items_new(r, out, a.kind, a.items->count + b.items->count)) return false;
  if (a.items->count) memcpy(out->items->at, a.items->at, a.items->count * sizeof *a.items->at);
  if (b.items->count) memcpy(out->items->at + a.items->count, b.items->at, b.items->count * sizeof *b.items->at);
  return true;
}

static bool joinable(etk__value v) { return v.kind == ETK__STR || v.kind == ETK__LIST || v.kind == ETK__TUPLE; }

bool etk__binary(etk__render *r, etk__value *out, etk__op op, etk__value a, etk__value b) {
  int64_t i, j;
  double x, y;
  if (a.kind == ETK__UNDEFINED) return etk__fail_undefined(r, a);
  if (op == ETK__OP_MOD && a.kind == ETK__STR) return etk__percent_format(r, out, a, b);
  if (b.kind == ETK__UNDEFINED) return etk__fail_undefined(r, b);
  if (etk__is_whole(a, &i) && etk__is_whole(b, &j)) return int_op(r, out, op, i, j);
  if (etk__template_number(a, &x) && etk__template_number(b, &y)) return real_op(r, out, op, x, y);
  if (op == ETK__OP_ADD && a.kind == b.kind && joinable(a)) return add(r, out, a, b);
  if (op == ETK__OP_MUL && joinable(a) && etk__is_whole(b, &j)) return repeat(r, out, a, j);
  if (op == ETK__OP_MUL && joinable(b) && etk__is_whole(a, &i)) return repeat(r, out, b, i);
  const char *hint = op == ETK__OP_ADD && (a.kind == ETK__STR || b.kind == ETK__STR) ? " ('~' joins anything as text)" : "";
  return etk__fail(r, "'%s' between %s and %s%s", op_names[op], etk__type_name(a), etk__type_name(b), hint);
}

bool etk__contains(etk__render *r, bool *out, etk__value whole, etk__value part) {
  etk__value unused, *at;
  size_t count;
  *out = false;
  if (whole.kind == ETK__STR) {
    if (part.kind == ETK__UNDEFINED) return etk__fail_undefined(r, part);
    if (part.kind != ETK__STR) return etk__fail(r, "'in' a string wants a string on its left, found a %s", etk__type_name(part));
    *out = etk__find(whole.str->data, whole.str->size, 0, part.str->data, part.str->size) != SIZE_MAX;
    return etk__charge_search(r, whole.str->size);
  }
  if (whole.kind == ETK__DICT) return etk__dict_get(r, &unused, whole.dict, part, out);
  if (!etk__iterate(r, &at, &count, whole)) return false;
  for (size_t i = 0; i < count && !*out; i++)
    if (!etk__equal(r, out, at[i], part)) return false;
  return true;
}

bool etk__relate(etk__render *r, bool *out, etk__op op, etk__value a, etk__value b) {
  int c;
  switch (op) {
  case ETK__OP_EQ: return etk__equal(r, out, a, b);
  case ETK__OP_NE:
    if (!etk__equal(r, out, a, b)) return false;
    *out = !*out;
    return true;
  case ETK__OP_IN: return etk__contains(r, out, b, a);
  case ETK__OP_NOT_IN:
    if (!etk__contains(r, out, b, a)) return false;
    *out = !*out;
    return true;
  default: break;
  }
  if (!etk__compare(r, &c, a, b, op_names[op])) return false;
  *out = c == 2 ? false : op == ETK__OP_LT ? c < 0 : op == ETK__OP_LE ? c <= 0 : op == ETK__OP_GT ? c > 0 : c >= 0;
  return true;
}
