/* is.c: the tests behind `is`. */
#include "internal.h"
#include <math.h>

#define COUNT(rows) (sizeof(rows) / sizeof((rows)[0]))
#define TEST(function) static bool function(etk__render *r, etk__value *out, etk__value v, const etk__value *a, const etk__arguments *raw)
/* A test that needs nothing but the value. */
#define SIMPLE(function, condition) \
  TEST(function) { \
    (void)r, (void)v, (void)a, (void)raw; \
    *out = etk__bool(condition); \
    return true; \
  }
#define RELATION(function, op) \
  TEST(function) { \
    (void)raw; \
    bool holds; \
    if (!etk__relate(r, &holds, op, v, a[0])) return false; \
    *out = etk__bool(holds); \
    return true; \
  }

SIMPLE(is_defined, v.kind != ETK__UNDEFINED)
SIMPLE(is_undefined, v.kind == ETK__UNDEFINED)
SIMPLE(is_none, v.kind == ETK__NONE)
SIMPLE(is_string, v.kind == ETK__STR)
SIMPLE(is_mapping, v.kind == ETK__DICT)
SIMPLE(is_number, v.kind == ETK__INT || v.kind == ETK__REAL || v.kind == ETK__BOOL)
SIMPLE(is_integer, v.kind == ETK__INT)
SIMPLE(is_float, v.kind == ETK__REAL)
SIMPLE(is_boolean, v.kind == ETK__BOOL)
SIMPLE(is_true, v.kind == ETK__BOOL && v.flag)
SIMPLE(is_false, v.kind == ETK__BOOL && !v.flag)
SIMPLE(is_callable, v.kind == ETK__MACRO || v.kind == ETK__FUNCTION || v.kind == ETK__METHOD || v.kind == ETK__UNDEFINED)
SIMPLE(is_escaped, false)
/* An undefined value can be walked (it is empty) and has a length, so it passes for both. */
SIMPLE(is_iterable, v.kind == ETK__UNDEFINED || (v.kind >= ETK__STR && v.kind <= ETK__DICT))
SIMPLE(is_sequence, v.kind == ETK__UNDEFINED || v.kind == ETK__STR || v.kind == ETK__LIST || v.kind == ETK__TUPLE || v.kind == ETK__RANGE || v.kind == ETK__DICT)
RELATION(is_eq, ETK__OP_EQ)
RELATION(is_ne, ETK__OP_NE)
RELATION(is_lt, ETK__OP_LT)
RELATION(is_le, ETK__OP_LE)
RELATION(is_gt, ETK__OP_GT)
RELATION(is_ge, ETK__OP_GE)
RELATION(is_in, ETK__OP_IN)

static bool divisible(etk__render *r, etk__value *out, etk__value v, etk__value by, bool wanted) {
  etk__value rest;
  bool zero;
  if (!etk__binary(r, &rest, ETK__OP_MOD, v, by) || !etk__equal(r, &zero, rest, etk__int(0))) return false;
  *out = etk__bool(zero == wanted);
  return true;
}
static bool number_wanted(etk__render *r, etk__value v, const char *what) {
  double unused;
  if (v.kind == ETK__UNDEFINED) return etk__fail_undefined(r, v);
  return etk__template_number(v, &unused) || etk__fail(r, "'%s' wants a number, found a %s", what, etk__type_name(v));
}
TEST(is_divisibleby) { (void)raw; return number_wanted(r, v, "divisibleby") && divisible(r, out, v, a[0], true); }
TEST(is_even) { (void)a, (void)raw; return number_wanted(r, v, "even") && divisible(r, out, v, etk__int(2), true); }
TEST(is_odd) { (void)a, (void)raw; return number_wanted(r, v, "odd") && divisible(r, out, v, etk__int(2), false); }

/* Small values that are equal are the same object, as far as a template can tell. */
TEST(is_sameas) {
  (void)raw;
  bool same = v.kind == a[0].kind;
  if (same && (v.kind <= ETK__STR)) same = etk__equal(r, &same, v, a[0]) && same;
  else if (same) same = v.items == a[0].items;
  *out = etk__bool(same);
  return !r->failed;
}

static bool cased(etk__render *r, etk__value *out, etk__value v, bool (*wanted)(uint32_t), bool (*other)(uint32_t)) {
  etk__value s;
  bool any = false, none = true;
  if (!etk__to_str(r, &s, v)) return false;
  for (const char *p = s.str->data, *end = p + s.str->size; p < end;) {
    uint32_t c = etk__py_next(&p, end);
    any |= wanted(c);
    none &= !other(c);
  }
  *out = etk__bool(any && none);
  return etk__charge_search(r, s.str->size);
}
TEST(is_upper) { (void)a, (void)raw; return cased(r, out, v, etk__py_upper, etk__py_lower); }
TEST(is_lower) { (void)a, (void)raw; return cased(r, out, v, etk__py_lower, etk__py_upper); }

TEST(is_filter) {
  (void)r, (void)a, (void)raw;
  *out = etk__bool(v.kind == ETK__STR && etk__filter_find(v.str->data, v.str->size) != NULL);
  return true;
}
TEST(is_test) {
  (void)r, (void)a, (void)raw;
  *out = etk__bool(v.kind == ETK__STR && etk__builtin_find(&etk__template_tests, v.str->data, v.str->size) != NULL);
  return true;
}

static const etk__builtin rows[] = {
    {"defined", "", is_defined},     {"undefined", "", is_undefined}, {"none", "", is_none},         {"string", "", is_string},
    {"mapping", "", is_mapping},     {"iterable", "", is_iterable},   {"sequence", "", is_sequence}, {"number", "", is_number},
    {"integer", "", is_integer},     {"float", "", is_float},         {"boolean", "", is_boolean},   {"true", "", is_true},
    {"false", "", is_false},         {"callable", "", is_callable},   {"escaped", "", is_escaped},   {"odd", "", is_odd},
    {"even", "", is_even},           {"upper", "", is_upper},         {"lower", "", is_lower},       {"filter", "", is_filter},
    {"test", "", is_test},           {"divisibleby", "num!", is_divisibleby}, {"sameas", "other!", is_sameas}, {"in", "seq!", is_in},
    {"eq", "other!", is_eq},         {"equalto", "other!", is_eq},    {"==", "other!", is_eq},       {"ne", "other!", is_ne},
    {"!=", "other!", is_ne},         {"lt", "other!", is_lt},         {"lessthan", "other!", is_lt}, {"<", "other!", is_lt},
    {"le", "other!", is_le},         {"<=", "other!", is_le},         {"gt", "other!", is_gt},       {"greaterthan", "other!", is_gt},
    {">", "other!", is_gt},          {"ge", "other!", is_ge},         {">=", "other!", is_ge},
};
const etk__table etk__template_tests = {rows, COUNT(rows)};
