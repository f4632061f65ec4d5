/* value.c: making, comparing and walking values. */
#include "internal.h"
#include <math.h>

const char *etk__type_name(etk__value v) {
  static const char *const names[] = {
      [ETK__ABSENT] = "nothing", [ETK__UNDEFINED] = "Undefined", [ETK__NONE] = "None",   [ETK__BOOL] = "bool",   [ETK__INT] = "int",
      [ETK__REAL] = "float",     [ETK__STR] = "str",             [ETK__LIST] = "list",   [ETK__TUPLE] = "tuple", [ETK__RANGE] = "range",
      [ETK__VIEW] = "dict view", [ETK__GENERATOR] = "generator", [ETK__DICT] = "dict",   [ETK__NAMESPACE] = "namespace", [ETK__MACRO] = "macro",
      [ETK__FUNCTION] = "function", [ETK__METHOD] = "method",    [ETK__LOOP] = "loop",
  };
  return v.kind == ETK__VIEW ? v.items->label : names[v.kind];
}

bool etk__undefined(etk__render *r, etk__value *out, const char *name, size_t size, const char *owner) {
  etk__missing *m = etk__make(r, 1, sizeof *m);
  if (!m) return false;
  *m = (etk__missing){name, size, owner};
  *out = (etk__value){.kind = ETK__UNDEFINED, .missing = m};
  return true;
}

bool etk__fail_undefined(etk__render *r, etk__value v) {
  const etk__missing *m = v.missing;
  if (!m) return etk__fail(r, "the value is undefined");
  int n = (int)(m->size < 100 ? m->size : 100);
  return m->owner ? etk__fail(r, "this %s has no '%.*s'", m->owner, n, m->name) : etk__fail(r, "'%.*s' is undefined", n, m->name);
}

bool etk__str_borrow(etk__render *r, etk__value *out, const char *data, size_t size) {
  etk__str *s = etk__make(r, 1, sizeof *s);
  if (!s) return false;
  *s = (etk__str){data, size, SIZE_MAX};
  *out = (etk__value){.kind = ETK__STR, .str = s};
  return true;
}

bool etk__str_copy(etk__render *r, etk__value *out, const char *data, size_t size) {
  char *copy = etk__make(r, size, 1);
  if (!copy || !etk__charge_bytes(r, size)) return false;
  if (size) memcpy(copy, data, size);
  return etk__str_borrow(r, out, copy, size);
}

bool etk__text_fits(etk__render *r, const etk_text *text) {
  if (text->failed) return etk__fail_memory(r);
  if ((int64_t)text->size <= r->memory_limit - (int64_t)r->arena.used) return !r->failed;
  return etk__fail(r, "the template needs more than %lld bytes of memory", (long long)r->memory_limit);
}

bool etk__str_take(etk__render *r, etk__value *out, etk_text *text) {
  bool good = text->failed ? etk__fail_memory(r) : etk__str_copy(r, out, text->size ? text->data : "", text->size);
  etk_text_free(text);
  return good;
}

size_t etk__str_chars(const etk__str *s) {
  if (s->chars != SIZE_MAX) return s->chars;
  size_t n = 0;
  for (size_t i = 0; i < s->size; i++) n += ((unsigned char)s->data[i] & 0xC0) != 0x80;
  return n;
}

size_t etk__str_offset(etk__str *s, size_t character) {
  if (s->chars == SIZE_MAX) s->chars = etk__str_chars(s);
  if (s->chars == s->size) return character < s->size ? character : s->size;
  size_t at = 0;
  for (; at < s->size && character > 0; character--) {
    at++;
    while (at < s->size && ((unsigned char)s->data[at] & 0xC0) == 0x80) at++;
  }
  return at;
}

bool etk__str_is(etk__value v, const char *text) { return v.kind == ETK__STR && v.str->size == strlen(text) && memcmp(v.str->data, text, v.str->size) == 0; }

bool etk__items_new(etk__render *r, etk__value *out, etk__kind kind, size_t count) {
  etk__items *items = etk__make(r, 1, sizeof *items);
  if (!items || !etk__charge(r, (int64_t)(count / 4))) return false;
  items->count = count;
  items->at = etk__make(r, count, sizeof *items->at);
  *out = (etk__value){.kind = kind, .items = items};
  return items->at != NULL;
}

bool etk__template_number(etk__value v, double *out) {
  if (v.kind == ETK__REAL) *out = v.real;
  else if (v.kind == ETK__INT) *out = (double)v.integer;
  else if (v.kind == ETK__BOOL) *out = v.flag;
  else return false;
  return true;
}

bool etk__is_whole(etk__value v, int64_t *out) {
  if (v.kind == ETK__INT) *out = v.integer;
  else if (v.kind == ETK__BOOL) *out = v.flag;
  else return false;
  return true;
}

/* ---- dicts ---- */

/* Equal keys have equal hashes: 1, 1.0 and true are one key. False: not a key. */
static bool hash(etk__render *r, uint64_t *out, etk__value key) {
  uint64_t h = 0xCBF29CE484222325u;
  double number;
  switch (key.kind) {
  case ETK__NONE: break;
  case ETK__STR:
    for (size_t i = 0; i < key.str->size; i++) h = (h ^ (unsigned char)key.str->data[i]) * 0x100000001B3u;
    break;
  case ETK__TUPLE:
    if (!etk__enter(r)) {
      etk__leave(r);
      return false;
    }
    for (size_t i = 0; i < key.items->count; i++) {
      uint64_t part;
      if (!hash(r, &part, key.items->at[i])) {
        etk__leave(r);
        return false;
      }
      h = (h ^ part) * 0x100000001B3u;
    }
    etk__leave(r);
    break;
  case ETK__UNDEFINED:
  case ETK__LIST:
  case ETK__DICT: return etk__fail(r, "a %s cannot be the key of a dict", etk__type_name(key));
  default:
    if (!etk__template_number(key, &number)) return etk__fail(r, "a %s cannot be the key of a dict", etk__type_name(key));
    if (number == 0) number = 0; /* -0.0 too */
    memcpy(&h, &number, sizeof h);
    h *= 0x9E3779B97F4A7C15u;
  }
  *out = h ^ h >> 32;
  return true;
}

bool etk__dict_new(etk__render *r, etk__value *out, size_t capacity) {
  etk__dict *d = etk__make(r, 1, sizeof *d);
  if (!d) return false;
  d->capacity = capacity;
  if (capacity && !(d->entries = etk__make(r, capacity, sizeof *d->entries))) return false;
  *out = (etk__value){.kind = ETK__DICT, .dict = d};
  return true;
}

enum { FEW = 8 };

static bool same_key(etk__render *r, bool *same, etk__value a, etk__value b) {
  if (a.kind == ETK__STR && b.kind == ETK__STR) {
    *same = a.str == b.str || (a.str->size == b.str->size && memcmp(a.str->data, b.str->data, a.str->size) == 0);
    return true;
  }
  return etk__equal(r, same, a, b);
}

/* The entry of the key, or NULL. *slot: where it is or would be, when the dict has slots. */
static bool look(etk__render *r, etk__entry **out, size_t *slot, const etk__dict *d, etk__value key) {
  uint64_t h;
  bool same = false;
  *out = NULL;
  if (!hash(r, &h, key)) return false;
  if (!d->slots) {
    for (size_t i = 0; i < d->count; i++) {
      if (!same_key(r, &same, d->entries[i].key, key)) return false;
      if (!same) continue;
      *out = &d->entries[i];
      return true;
    }
    return true;
  }
  for (size_t i = h & (d->slot_count - 1);; i = (i + 1) & (d->slot_count - 1)) {
    *slot = i;
    if (!d->slots[i]) return true;
    etk__entry *entry = &d->entries[d->slots[i] - 1];
    if (!etk__charge(r, 1) || !same_key(r, &same, entry->key, key)) return false;
    if (same) {
      *out = entry;
      return true;
    }
  }
}

static bool index_again(etk__render *r, etk__dict *d) {
  size_t count = 32;
  while (count < d->capacity * 2) count *= 2;
  d->slots = etk__make(r, count, sizeof *d->slots);
  if (!d->slots) return false;
  d->slot_count = count;
  for (size_t i = 0; i < d->count; i++) {
    etk__entry *found;
    size_t slot = 0;
    if (!look(r, &found, &slot, d, d->entries[i].key)) return false;
    d->slots[slot] = (uint32_t)i + 1;
  }
  return true;
}

bool etk__dict_put(etk__render *r, etk__dict *d, etk__value key, etk__value value) {
  etk__entry *found;
  size_t slot = 0;
  if (!look(r, &found, &slot, d, key)) return false;
  if (found) {
    found->value = value;
    return true;
  }
  if (d->count == d->capacity) {
    size_t capacity = d->capacity ? d->capacity * 2 : 4;
    etk__entry *entries = etk__make(r, capacity, sizeof *entries);
    if (!entries) return false;
    if (d->count) memcpy(entries, d->entries, d->count * sizeof *entries);
    d->entries = entries;
    d->capacity = capacity;
    d->slots = NULL;
  }
  if (!d->slots && d->count >= FEW) {
    if (!index_again(r, d) || !look(r, &found, &slot, d, key)) return false;
  }
  d->entries[d->count++] = (etk__entry){key, value};
  if (d->slots) d->slots[slot] = (uint32_t)d->count;
  return true;
}

bool etk__dict_get(etk__render *r, etk__value *out, const etk__dict *d, etk__value key, bool *found) {
  etk__entry *entry;
  size_t slot;
  if (!look(r, &entry, &slot, d, key)) return false;
  *found = entry != NULL;
  if (entry) *out = entry->value;
  return true;
}

bool etk__dict_get_text(etk__render *r, etk__value *out, const etk__dict *d, const char *name, size_t size, bool *found) {
  etk__str s = {name, size, SIZE_MAX};
  return etk__dict_get(r, out, d, (etk__value){.kind = ETK__STR, .str = &s}, found);
}

/* ---- truth, equality, order ---- */

bool etk__truth(etk__value v) {
  switch (v.kind) {
  case ETK__ABSENT:
  case ETK__UNDEFINED:
  case ETK__NONE: return false;
  case ETK__BOOL: return v.flag;
  case ETK__INT: return v.integer != 0;
  case ETK__REAL: return v.real != 0;
  case ETK__STR: return v.str->size > 0;
  case ETK__LIST:
  case ETK__TUPLE:
  case ETK__RANGE:
  case ETK__VIEW: return v.items->count > 0;
  case ETK__DICT: return v.dict->count > 0;
  default: return true;
  }
}

static bool equal_items(etk__render *r, bool *out, const etk__items *a, const etk__items *b) {
  *out = a->count == b->count;
  for (size_t i = 0; i < a->count && *out; i++)
    if (!etk__equal(r, out, a->at[i], b->at[i])) return false;
  return true;
}

static bool equal_dicts(etk__render *r, bool *out, const etk__dict *a, const etk__dict *b) {
  *out = a->count == b->count;
  for (size_t i = 0; i < a->count && *out; i++) {
    etk__value other;
    if (!etk__dict_get(r, &other, b, a->entries[i].key, out)) return false;
    if (*out && !etk__equal(r, out, a->entries[i].value, other)) return false;
  }
  return true;
}

bool etk__equal(etk__render *r, bool *out, etk__value a, etk__value b) {
  double x, y;
  bool good = true;
  *out = false;
  if (!etk__charge(r, 1)) return false;
  if (a.kind == ETK__INT && b.kind == ETK__INT) *out = a.integer == b.integer;
  else if (etk__template_number(a, &x)) *out = etk__template_number(b, &y) && x == y;
  else if (a.kind != b.kind) *out = false;
  else if (a.kind == ETK__STR) *out = a.str->size == b.str->size && memcmp(a.str->data, b.str->data, a.str->size) == 0 && etk__charge_bytes(r, a.str->size);
  else if (a.kind == ETK__NONE || a.kind == ETK__UNDEFINED) *out = true;
  else if (a.kind == ETK__LIST || a.kind == ETK__TUPLE || a.kind == ETK__RANGE) {
    good = etk__enter(r) && equal_items(r, out, a.items, b.items);
    etk__leave(r);
  } else if (a.kind == ETK__DICT) {
    good = etk__enter(r) && (a.dict == b.dict ? (*out = true) : equal_dicts(r, out, a.dict, b.dict));
    etk__leave(r);
  } else *out = a.str == b.str; /* the same object */
  return good && !r->failed;
}

bool etk__compare(etk__render *r, int *out, etk__value a, etk__value b, const char *symbol) {
  double x, y;
  if (!etk__charge(r, 1)) return false;
  if (a.kind == ETK__UNDEFINED) return etk__fail_undefined(r, a);
  if (b.kind == ETK__UNDEFINED) return etk__fail_undefined(r, b);
  if (a.kind == ETK__INT && b.kind == ETK__INT) {
    *out = (a.integer > b.integer) - (a.integer < b.integer);
    return true;
  }
  if (etk__template_number(a, &x) && etk__template_number(b, &y)) {
    *out = isnan(x) || isnan(y) ? 2 : (x > y) - (x < y);
    return true;
  }
  if (a.kind == ETK__STR && b.kind == ETK__STR) { /* UTF-8 sorts by code point */
    size_t n = a.str->size < b.str->size ? a.str->size : b.str->size;
    int c = n ? memcmp(a.str->data, b.str->data, n) : 0;
    if (!c) c = (a.str->size > b.str->size) - (a.str->size < b.str->size);
    *out = (c > 0) - (c < 0);
    return etk__charge_bytes(r, n);
  }
  if (a.kind != b.kind || (a.kind != ETK__LIST && a.kind != ETK__TUPLE))
    return etk__fail(r, "'%s' between %s and %s", symbol, etk__type_name(a), etk__type_name(b));
  bool good = etk__enter(r), same = true;
  size_t i = 0, n = a.items->count < b.items->count ? a.items->count : b.items->count;
  for (; good && i < n && same; i++) good = etk__equal(r, &same, a.items->at[i], b.items->at[i]);
  if (good && same) *out = (a.items->count > b.items->count) - (a.items->count < b.items->count);
  else if (good) good = etk__compare(r, out, a.items->at[i - 1], b.items->at[i - 1], symbol);
  etk__leave(r);
  return good;
}

/* ---- walking ---- */

static bool iterate_str(etk__render *r, etk__value **at, size_t *count, const etk__str *s) {
  etk__value list;
  if (!etk__items_new(r, &list, ETK__LIST, etk__str_chars(s))) return false;
  const char *p = s->data, *end = p + s->size;
  for (size_t i = 0; i < list.items->count; i++) {
    const char *start = p++;
    while (p < end && ((unsigned char)*p & 0xC0) == 0x80) p++;
    if (!etk__str_borrow(r, &list.items->at[i], start, (size_t)(p - start))) return false;
  }
  *at = list.items->at;
  *count = list.items->count;
  return true;
}

bool etk__iterate(etk__render *r, etk__value **at, size_t *count, etk__value v) {
  etk__value list;
  *at = NULL;
  *count = 0;
  switch (v.kind) {
  case ETK__UNDEFINED: return true;
  case ETK__STR: return iterate_str(r, at, count, v.str);
  case ETK__LIST:
  case ETK__TUPLE:
  case ETK__RANGE:
  case ETK__VIEW:
    *at = v.items->at;
    *count = v.items->count;
    return etk__charge(r, (int64_t)(*count / 4));
  case ETK__GENERATOR:
    *at = v.items->at + v.items->next;
    *count = v.items->count - v.items->next;
    v.items->next = v.items->count;
    return etk__charge(r, (int64_t)(*count / 4));
  case ETK__DICT:
    if (!etk__items_new(r, &list, ETK__LIST, v.dict->count)) return false;
    for (size_t i = 0; i < v.dict->count; i++) list.items->at[i] = v.dict->entries[i].key;
    *at = list.items->at;
    *count = list.items->count;
    return true;
  default: return etk__fail(r, "a value of type %s cannot be iterated over (wanted a list, a dict or a string)", etk__type_name(v));
  }
}

bool etk__length(etk__render *r, size_t *out, etk__value v) {
  switch (v.kind) {
  case ETK__UNDEFINED: *out = 0; return true;
  case ETK__STR: *out = etk__str_chars(v.str); return etk__charge_bytes(r, v.str->size);
  case ETK__LIST:
  case ETK__TUPLE:
  case ETK__RANGE:
  case ETK__VIEW: *out = v.items->count; return true;
  case ETK__DICT: *out = v.dict->count; return true;
  case ETK__GENERATOR: return etk__fail(r, "a generator has no length (put |list before)");
  default: return etk__fail(r, "a value of type %s has no length", etk__type_name(v));
  }
}

/* ---- from JSON ---- */

static bool from_members(etk__render *r, etk__value *out, json_t *json) {
  if (!etk__dict_new(r, out, json_object_size(json))) return false;
  for (void *at = json_object_iter(json); at; at = json_object_iter_next(json, at)) {
    const char *name = json_object_iter_key(at);
    etk__value key, value;
    if (!etk__str_copy(r, &key, name, strlen(name)) || !etk__from_json(r, &value, json_object_iter_value(at))) return false;
    if (!etk__dict_put(r, out->dict, key, value)) return false;
  }
  return true;
}

bool etk__from_json(etk__render *r, etk__value *out, const json_t *json) {
  bool good = etk__enter(r);
  if (good) switch (json_typeof(json)) {
    case JSON_NULL: *out = etk__none(); break;
    case JSON_TRUE:
    case JSON_FALSE: *out = etk__bool(json_is_true(json)); break;
    case JSON_INTEGER: *out = etk__int(json_integer_value(json)); break;
    case JSON_REAL: *out = etk__real(json_real_value(json)); break;
    case JSON_STRING: good = etk__str_copy(r, out, json_string_value(json), json_string_length(json)); break;
    case JSON_OBJECT: good = from_members(r, out, (json_t *)(uintptr_t)json); break;
    case JSON_ARRAY:
      good = etk__items_new(r, out, ETK__LIST, json_array_size(json));
      for (size_t i = 0; good && i < json_array_size(json); i++) good = etk__from_json(r, &out->items->at[i], json_array_get(json, i));
      break;
    }
  etk__leave(r);
  return good;
}
