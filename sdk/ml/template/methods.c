/* methods.c: the methods of strings. */
#include "internal.h"

#define COUNT(rows) (sizeof(rows) / sizeof((rows)[0]))
#define METHOD(function) static bool function(etk__render *r, etk__value *out, etk__value self, const etk__value *a, const etk__arguments *raw)
#define UNUSED (void)a, (void)raw

static bool want_str(etk__render *r, etk__value v, const char *what) {
  if (v.kind == ETK__UNDEFINED) return etk__fail_undefined(r, v);
  return v.kind == ETK__STR || etk__fail(r, "%s wants a string, found a %s", what, etk__type_name(v));
}

/* A count that may be absent: `otherwise`. */
static bool want_count(etk__render *r, int64_t *out, etk__value v, int64_t otherwise, const char *what) {
  *out = otherwise;
  if (!etk__given(v) || etk__is_whole(v, out)) return true;
  return etk__fail(r, "%s wants a whole number, found a %s", what, etk__type_name(v));
}

static bool strip_sides(etk__render *r, etk__value *out, etk__value self, const etk__value *a, bool left, bool right) {
  size_t begin, end;
  bool set = etk__given(a[0]) && a[0].kind != ETK__NONE;
  if (set && !want_str(r, a[0], "strip")) return false;
  etk__strip(self.str, set ? a[0].str : NULL, left, right, &begin, &end);
  return etk__charge_search(r, self.str->size - (end - begin)) && etk__str_borrow(r, out, self.str->data + begin, end - begin);
}
METHOD(strip) { (void)raw; return strip_sides(r, out, self, a, true, true); }
METHOD(lstrip) { (void)raw; return strip_sides(r, out, self, a, true, false); }
METHOD(rstrip) { (void)raw; return strip_sides(r, out, self, a, false, true); }

/* ---- splitting ---- */

typedef struct pieces {
  etk__value *at;
  size_t count, capacity;
} pieces;

static bool push(etk__render *r, pieces *p, const char *data, size_t size) {
  if (p->count == p->capacity) {
    size_t capacity = p->capacity ? p->capacity * 2 : 8;
    etk__value *at = etk__make(r, capacity, sizeof *at);
    if (!at) return false;
    if (p->count) memcpy(at, p->at, p->count * sizeof *at);
    p->at = at;
    p->capacity = capacity;
  }
  return etk__str_borrow(r, &p->at[p->count++], data, size);
}

static bool give_list(etk__render *r, etk__value *out, const pieces *p) {
  if (!etk__items_new(r, out, ETK__LIST, 0)) return false;
  out->items->at = p->at ? p->at : out->items->at;
  out->items->count = p->count;
  return true;
}

/* Where s holds its last `part` that ends at or before `end`. */
static size_t find_last(const etk__str *s, size_t end, const etk__str *part) {
  for (size_t at = end < part->size ? SIZE_MAX : end - part->size; at != SIZE_MAX; at--)
    if (memcmp(s->data + at, part->data, part->size) == 0) return at;
  return SIZE_MAX;
}

static void flip(pieces *p) {
  for (size_t i = 0; i < p->count / 2; i++) {
    etk__value v = p->at[i];
    p->at[i] = p->at[p->count - 1 - i];
    p->at[p->count - 1 - i] = v;
  }
}

static bool split_words(etk__render *r, pieces *p, const etk__str *s, int64_t most) {
  const char *at = s->data, *end = at + s->size;
  for (;;) {
    etk__str rest = {at, (size_t)(end - at), SIZE_MAX};
    size_t begin, stop;
    etk__strip(&rest, NULL, true, false, &begin, &stop);
    at += begin;
    if (at == end) return true;
    const char *word = at;
    if (most >= 0 && (int64_t)p->count == most) return push(r, p, word, (size_t)(end - word)); /* the rest, as it is */
    for (const char *next = at; next < end && !etk__py_space(etk__py_next(&next, end));) at = next;
    if (!push(r, p, word, (size_t)(at - word))) return false;
  }
}

static bool rsplit_words(etk__render *r, pieces *p, const etk__str *s, int64_t most) {
  size_t end = s->size;
  for (;;) {
    etk__str rest = {s->data, end, SIZE_MAX};
    size_t begin, stop;
    etk__strip(&rest, NULL, false, true, &begin, &stop);
    end = stop;
    if (end == 0) break;
    if ((int64_t)p->count == most) {
      if (!push(r, p, s->data, end)) return false;
      break;
    }
    size_t word = end;
    while (word > 0) {
      size_t c = word - 1;
      while (c > 0 && ((unsigned char)s->data[c] & 0xC0) == 0x80) c--;
      const char *at = s->data + c;
      if (etk__py_space(etk__py_next(&at, s->data + word))) break;
      word = c;
    }
    if (!push(r, p, s->data + word, end - word)) return false;
    end = word;
  }
  flip(p);
  return true;
}

static bool split_at(etk__render *r, pieces *p, const etk__str *s, const etk__str *by, int64_t most) {
  size_t at = 0, next;
  while ((most < 0 || (int64_t)p->count < most) && (next = etk__find(s->data, s->size, at, by->data, by->size)) != SIZE_MAX) {
    if (!push(r, p, s->data + at, next - at)) return false;
    at = next + by->size;
  }
  return push(r, p, s->data + at, s->size - at);
}

static bool rsplit_at(etk__render *r, pieces *p, const etk__str *s, const etk__str *by, int64_t most) {
  size_t end = s->size, next;
  while ((int64_t)p->count < most && (next = find_last(s, end, by)) != SIZE_MAX) {
    if (!push(r, p, s->data + next + by->size, end - next - by->size)) return false;
    end = next;
  }
  if (!push(r, p, s->data, end)) return false;
  flip(p);
  return true;
}

static bool split_any(etk__render *r, etk__value *out, etk__value self, const etk__value *a, bool from_right) {
  pieces p = {NULL, 0, 0};
  int64_t most;
  bool words = !etk__given(a[0]) || a[0].kind == ETK__NONE, good;
  if (!want_count(r, &most, a[1], -1, "split") || (!words && !want_str(r, a[0], "split"))) return false;
  if (!words && a[0].str->size == 0) return etk__fail(r, "split wants a separator that is not empty");
  from_right &= most >= 0;
  if (words) good = from_right ? rsplit_words(r, &p, self.str, most) : split_words(r, &p, self.str, most);
  else good = from_right ? rsplit_at(r, &p, self.str, a[0].str, most) : split_at(r, &p, self.str, a[0].str, most);
  return good && etk__charge_search(r, self.str->size) && give_list(r, out, &p);
}
METHOD(split) { (void)raw; return split_any(r, out, self, a, false); }
METHOD(rsplit) { (void)raw; return split_any(r, out, self, a, true); }

bool etk__split_lines(etk__render *r, etk__value *out, const etk__str *s, bool keep_ends) {
  pieces p = {NULL, 0, 0};
  const char *at = s->data, *end = at + s->size, *line = at;
  while (at < end) {
    const char *stop = at;
    uint32_t c = etk__py_next(&at, end);
    if (!etk__py_line_end(c)) continue;
    if (c == '\r' && at < end && *at == '\n') at++;
    if (!push(r, &p, line, (size_t)((keep_ends ? at : stop) - line))) return false;
    line = at;
  }
  if (line < end && !push(r, &p, line, (size_t)(end - line))) return false;
  return etk__charge_search(r, s->size) && give_list(r, out, &p);
}
METHOD(splitlines) { (void)raw; return etk__split_lines(r, out, self.str, etk__truth(a[0])); }

static bool part_in_three(etk__render *r, etk__value *out, etk__value self, etk__value by, bool from_right) {
  if (!want_str(r, by, "partition")) return false;
  const etk__str *s = self.str;
  if (by.str->size == 0) return etk__fail(r, "partition wants a separator that is not empty");
  size_t at = from_right ? find_last(s, s->size, by.str) : etk__find(s->data, s->size, 0, by.str->data, by.str->size), behind = at + by.str->size;
  if (!etk__items_new(r, out, ETK__TUPLE, 3) || !etk__charge_search(r, s->size)) return false;
  etk__value *parts = out->items->at;
  if (at != SIZE_MAX) {
    parts[1] = by;
    return etk__str_borrow(r, &parts[0], s->data, at) && etk__str_borrow(r, &parts[2], s->data + behind, s->size - behind);
  }
  parts[from_right ? 2 : 0] = self;
  return etk__str_borrow(r, &parts[1], "", 0) && etk__str_borrow(r, &parts[from_right ? 0 : 2], "", 0);
}
METHOD(partition) { (void)raw; return part_in_three(r, out, self, a[0], false); }
METHOD(rpartition) { (void)raw; return part_in_three(r, out, self, a[0], true); }

/* ---- looking ---- */

/* The bytes of self between the characters a[1] and a[2]. *from: its first character; *inside: false when there is no such place. */
static bool between(etk__render *r, etk__str *part, int64_t *from, bool *inside, etk__value self, const etk__value *a) {
  if (!etk__given(a[1]) && !etk__given(a[2])) { /* the usual: nothing needs to be counted */
    *part = *self.str;
    *from = 0;
    *inside = true;
    return true;
  }
  int64_t n = (int64_t)etk__str_chars(self.str), start, stop;
  etk__value first = a[1].kind == ETK__NONE ? (etk__value){0} : a[1], second = a[2].kind == ETK__NONE ? (etk__value){0} : a[2];
  if (!want_count(r, &start, first, 0, "the start") || !want_count(r, &stop, second, n, "the end")) return false;
  if (start < 0 && (start += n) < 0) start = 0;
  if (stop < 0 && (stop += n) < 0) stop = 0;
  if (stop > n) stop = n;
  *inside = start <= n && start <= stop;
  *from = start;
  size_t begin = *inside ? etk__str_offset(self.str, (size_t)start) : 0, end = *inside ? etk__str_offset(self.str, (size_t)stop) : 0;
  *part = (etk__str){self.str->data + begin, end - begin, SIZE_MAX};
  return etk__charge_search(r, end - begin);
}

static bool affix(const etk__str *s, const etk__str *part, bool at_end) {
  return part->size <= s->size && memcmp(s->data + (at_end ? s->size - part->size : 0), part->data, part->size) == 0;
}

static bool has_affix(etk__render *r, etk__value *out, etk__value self, const etk__value *a, bool at_end) {
  etk__str part;
  int64_t from;
  bool inside, any = false;
  const char *name = at_end ? "endswith" : "startswith";
  if (!between(r, &part, &from, &inside, self, a)) return false;
  if (a[0].kind != ETK__TUPLE) {
    if (!want_str(r, a[0], name)) return false;
    any = affix(&part, a[0].str, at_end);
  } else {
    for (size_t i = 0; i < a[0].items->count && !any; i++) {
      if (!want_str(r, a[0].items->at[i], name)) return false;
      any = affix(&part, a[0].items->at[i].str, at_end);
    }
  }
  *out = etk__bool(any && inside);
  return true;
}
METHOD(startswith) { (void)raw; return has_affix(r, out, self, a, false); }
METHOD(endswith) { (void)raw; return has_affix(r, out, self, a, true); }

static bool find_any(etk__render *r, etk__value *out, etk__value self, const etk__value *a, bool last, bool must) {
  etk__str part;
  int64_t from;
  bool inside;
  if (!want_str(r, a[0], "find") || !between(r, &part, &from, &inside, self, a)) return false;
  if (!etk__charge_search(r, part.size)) return false;
  size_t at = !inside ? SIZE_MAX : last ? find_last(&part, part.size, a[0].str) : etk__find(part.data, part.size, 0, a[0].str->data, a[0].str->size);
  if (at == SIZE_MAX && must) return etk__fail(r, "index: the substring is not there");
  etk__str before = {part.data, at == SIZE_MAX ? 0 : at, SIZE_MAX};
  *out = etk__int(at == SIZE_MAX ? -1 : from + (int64_t)etk__str_chars(&before));
  return true;
}
METHOD(find) { (void)raw; return find_any(r, out, self, a, false, false); }
METHOD(rfind) { (void)raw; return find_any(r, out, self, a, true, false); }
METHOD(index_of) { (void)raw; return find_any(r, out, self, a, false, true); }
METHOD(last_index) { (void)raw; return find_any(r, out, self, a, true, true); }

METHOD(count_of) {
  (void)raw;
  etk__str part;
  int64_t from, n = 0;
  bool inside;
  if (!want_str(r, a[0], "count") || !between(r, &part, &from, &inside, self, a)) return false;
  const etk__str *what = a[0].str;
  if (!etk__charge_search(r, part.size)) return false;
  if (what->size == 0) n = inside ? (int64_t)etk__str_chars(&part) + 1 : 0;
  else
    for (size_t at = 0; inside && (at = etk__find(part.data, part.size, at, what->data, what->size)) != SIZE_MAX; at += what->size) n++;
  *out = etk__int(n);
  return true;
}

/* ---- changing ---- */

bool etk__str_replace(etk__render *r, etk__value *out, const etk__str *s, const etk__value a[3]) {
  int64_t most;
  etk_text text = ETK_TEXT_INIT;
  if (!want_str(r, a[0], "replace") || !want_str(r, a[1], "replace") || !want_count(r, &most, a[2], -1, "replace")) return false;
  const etk__str *from = a[0].str, *to = a[1].str;
  size_t at = 0;
  bool good = true;
  for (int64_t n = 0; (most < 0 || n < most) && good; n++) {
    size_t next = etk__find(s->data, s->size, at, from->data, from->size), step = from->size;
    if (next == SIZE_MAX) break;
    etk_text_append(&text, s->data + at, next - at);
    etk_text_append(&text, to->data, to->size);
    at = next + step;
    good = etk__charge_bytes(r, to->size + 32) && etk__text_fits(r, &text);
    if (step) continue;
    if (at == s->size) break; /* between characters, and once at the end */
    do etk_text_putc(&text, s->data[at++]);
    while (at < s->size && ((unsigned char)s->data[at] & 0xC0) == 0x80);
  }
  etk_text_append(&text, s->data + at, s->size - at);
  if (good && etk__charge_search(r, s->size)) return etk__str_take(r, out, &text);
  etk_text_free(&text);
  return false;
}
METHOD(replace) { (void)raw; return etk__str_replace(r, out, self.str, a); }

static bool through(etk__render *r, etk__value *out, etk__value self, void (*put)(etk_text *out, const char *data, size_t size)) {
  etk_text text = ETK_TEXT_INIT;
  put(&text, self.str->data, self.str->size);
  return etk__str_take(r, out, &text);
}
METHOD(upper) { UNUSED; return through(r, out, self, etk__put_upper); }
METHOD(lower) { UNUSED; return through(r, out, self, etk__put_lowered); }

static void put_capital(etk_text *out, const char *data, size_t size) {
  const char *p = data;
  if (!size) return;
  etk__put_titled(out, etk__py_next(&p, data + size));
  etk__put_lowered(out, p, size - (size_t)(p - data));
}
METHOD(capitalize) { UNUSED; return through(r, out, self, put_capital); }

/* Words begin behind whatever has no case. */
static void put_title(etk_text *out, const char *data, size_t size) {
  bool inside = false;
  for (const char *p = data, *end = data + size; p < end;) {
    const char *at = p;
    uint32_t c = etk__py_next(&p, end);
    if (inside) etk__put_lowered(out, at, (size_t)(p - at));
    else etk__put_titled(out, c);
    inside = etk__py_upper(c) || etk__py_lower(c);
  }
}
METHOD(title) { UNUSED; return through(r, out, self, put_title); }

static void put_swapped(etk_text *out, const char *data, size_t size) {
  for (const char *p = data, *end = data + size; p < end;) {
    const char *at = p;
    uint32_t c = etk__py_next(&p, end);
    (etk__py_upper(c) ? etk__put_lowered : etk__put_upper)(out, at, (size_t)(p - at));
  }
}
METHOD(swapcase) { UNUSED; return through(r, out, self, put_swapped); }

METHOD(join) {
  (void)raw;
  etk__value *at;
  size_t count;
  etk_text text = ETK_TEXT_INIT;
  bool good = etk__iterate(r, &at, &count, a[0]);
  for (size_t i = 0; i < count && good; i++) {
    if (i) etk_text_append(&text, self.str->data, self.str->size);
    good = etk__charge_bytes(r, self.str->size + 64) && want_str(r, at[i], "join") && etk__print(r, &text, at[i]) && etk__text_fits(r, &text);
  }
  if (good) return etk__str_take(r, out, &text);
  etk_text_free(&text);
  return false;
}

METHOD(removeprefix) {
  (void)raw;
  if (!want_str(r, a[0], "removeprefix")) return false;
  size_t cut = affix(self.str, a[0].str, false) ? a[0].str->size : 0;
  return etk__str_borrow(r, out, self.str->data + cut, self.str->size - cut);
}

METHOD(removesuffix) {
  (void)raw;
  if (!want_str(r, a[0], "removesuffix")) return false;
  return etk__str_borrow(r, out, self.str->data, self.str->size - (affix(self.str, a[0].str, true) ? a[0].str->size : 0));
}

static bool pad(etk__render *r, etk__value *out, etk__value self, const etk__value *a, bool left, bool right) {
  int64_t width, n = (int64_t)etk__str_chars(self.str);
  etk__value fill, sides[2];
  if (!want_count(r, &width, a[0], 0, "the width")) return false;
  if (!etk__given(a[1]) ? !etk__str_borrow(r, &fill, " ", 1) : !want_str(r, a[1], "the filling")) return false;
  if (etk__given(a[1])) fill = a[1];
  if (etk__str_chars(fill.str) != 1) return etk__fail(r, "the filling is one character");
  if (width <= n) return *out = self, true;
  int64_t all = width - n, before = left && right ? all / 2 + (all & width & 1) : left ? all : 0;
  return etk__binary(r, &sides[0], ETK__OP_MUL, fill, etk__int(before)) && etk__binary(r, &sides[1], ETK__OP_MUL, fill, etk__int(all - before)) &&
         etk__binary(r, out, ETK__OP_ADD, sides[0], self) && etk__binary(r, out, ETK__OP_ADD, *out, sides[1]);
}
METHOD(center) { (void)raw; return pad(r, out, self, a, true, true); }
METHOD(ljust) { (void)raw; return pad(r, out, self, a, false, true); }
METHOD(rjust) { (void)raw; return pad(r, out, self, a, true, false); }

METHOD(zfill) {
  (void)raw;
  int64_t width, n = (int64_t)etk__str_chars(self.str);
  etk__value zero, zeros, rest, sign;
  if (!want_count(r, &width, a[0], 0, "zfill")) return false;
  size_t cut = self.str->size && (*self.str->data == '-' || *self.str->data == '+');
  return etk__str_borrow(r, &zero, "0", 1) && etk__binary(r, &zeros, ETK__OP_MUL, zero, etk__int(width > n ? width - n : 0)) &&
         etk__str_borrow(r, &sign, self.str->data, cut) && etk__str_borrow(r, &rest, self.str->data + cut, self.str->size - cut) &&
         etk__binary(r, out, ETK__OP_ADD, sign, zeros) && etk__binary(r, out, ETK__OP_ADD, *out, rest);
}

/* ---- asking ---- */

static bool alnum(uint32_t c) { return etk__py_alpha(c) || etk__py_digit(c); }

static bool all_are(etk__render *r, etk__value *out, etk__value self, bool (*wanted)(uint32_t)) {
  bool all = self.str->size > 0;
  for (const char *p = self.str->data, *end = p + self.str->size; p < end && all;) all = wanted(etk__py_next(&p, end));
  *out = etk__bool(all);
  return etk__charge_search(r, self.str->size);
}
METHOD(is_digit) { UNUSED; return all_are(r, out, self, etk__py_digit); }
METHOD(is_alpha) { UNUSED; return all_are(r, out, self, etk__py_alpha); }
METHOD(is_alnum) { UNUSED; return all_are(r, out, self, alnum); }
METHOD(is_space) { UNUSED; return all_are(r, out, self, etk__py_space); }

static bool cased(etk__render *r, etk__value *out, etk__value self, bool (*wanted)(uint32_t), bool (*other)(uint32_t)) {
  bool any = false, none = true;
  for (const char *p = self.str->data, *end = p + self.str->size; p < end;) {
    uint32_t c = etk__py_next(&p, end);
    any |= wanted(c);
    none &= !other(c);
  }
  *out = etk__bool(any && none);
  return etk__charge_search(r, self.str->size);
}
METHOD(is_upper) { UNUSED; return cased(r, out, self, etk__py_upper, etk__py_lower); }
METHOD(is_lower) { UNUSED; return cased(r, out, self, etk__py_lower, etk__py_upper); }

METHOD(no_format) {
  (void)out, (void)self, UNUSED;
  return etk__fail(r, "str.format is not supported: join the parts with '~', or use the filter format");
}

static const etk__builtin rows[] = {
    {"strip", "chars", strip}, {"lstrip", "chars", lstrip}, {"rstrip", "chars", rstrip}, {"split", "sep maxsplit", split}, {"rsplit", "sep maxsplit", rsplit},
    {"splitlines", "keepends", splitlines}, {"partition", "sep!", partition}, {"rpartition", "sep!", rpartition},
    {"startswith", "prefix! start end", startswith}, {"endswith", "suffix! start end", endswith}, {"find", "sub! start end", find},
    {"rfind", "sub! start end", rfind}, {"index", "sub! start end", index_of}, {"rindex", "sub! start end", last_index}, {"count", "sub! start end", count_of},
    {"replace", "old! new! count", replace}, {"upper", "", upper}, {"lower", "", lower}, {"casefold", "", lower}, {"capitalize", "", capitalize},
    {"title", "", title}, {"swapcase", "", swapcase}, {"join", "iterable!", join}, {"removeprefix", "prefix!", removeprefix},
    {"removesuffix", "suffix!", removesuffix}, {"center", "width! fillchar", center}, {"ljust", "width! fillchar", ljust}, {"rjust", "width! fillchar", rjust},
    {"zfill", "width!", zfill}, {"isdigit", "", is_digit}, {"isdecimal", "", is_digit}, {"isnumeric", "", is_digit}, {"isalpha", "", is_alpha},
    {"isalnum", "", is_alnum}, {"isspace", "", is_space}, {"isupper", "", is_upper}, {"islower", "", is_lower}, {"format", NULL, no_format}, {"format_map", NULL, no_format},
};
const etk__table etk__str_methods = {rows, COUNT(rows)};
