/* Typed access to the values of GGUF keys. */
#include "gguf_internal.h"

#include <etk/text.h>
#include <inttypes.h>
#include <string.h>

static const struct {
  const char *name, *phrase;
} kinds[ETK_GGUF_KIND_COUNT] = {{"u8", "a u8"},    {"i8", "an i8"},   {"u16", "a u16"},   {"i16", "an i16"},      {"u32", "a u32"},
                                {"i32", "an i32"}, {"f32", "an f32"}, {"bool", "a bool"}, {"string", "a string"}, {"array", "an array"},
                                {"u64", "a u64"},  {"i64", "an i64"}, {"f64", "an f64"}};

const char *etk_gguf_kind_name(etk_gguf_kind kind) { return (unsigned)kind < ETK_GGUF_KIND_COUNT ? kinds[kind].name : "?"; }
const char *etk__gguf_kind_phrase(etk_gguf_kind kind) { return (unsigned)kind < ETK_GGUF_KIND_COUNT ? kinds[kind].phrase : "?"; }
bool etk__gguf_is_int(etk_gguf_kind kind) { return kind <= ETK_GGUF_I32 || kind == ETK_GGUF_U64 || kind == ETK_GGUF_I64; }
static bool is_real(etk_gguf_kind kind) { return kind == ETK_GGUF_F32 || kind == ETK_GGUF_F64; }
static bool is_signed(etk_gguf_kind kind) { return kind == ETK_GGUF_I8 || kind == ETK_GGUF_I16 || kind == ETK_GGUF_I32 || kind == ETK_GGUF_I64; }

/* ---- items ---- */

static const unsigned char *item(const etk_gguf_value *value, uint64_t index) {
  uint64_t count = value->kind == ETK_GGUF_TEXT ? 1 : value->count;
  return index < count ? (const unsigned char *)value->data + index * etk__gguf_kind_bytes[value->item_kind] : NULL;
}

int64_t etk_gguf_int_at(const etk_gguf_value *value, uint64_t index) {
  const unsigned char *p = item(value, index);
  if (!p || !(etk__gguf_is_int(value->item_kind) || value->item_kind == ETK_GGUF_BOOL)) return 0;
  int bytes = etk__gguf_kind_bytes[value->item_kind];
  uint64_t x = etk__gguf_load(p, bytes);
  if (is_signed(value->item_kind)) {
    uint64_t sign = UINT64_C(1) << (8 * bytes - 1);
    return (int64_t)((x ^ sign) - sign);
  }
  return x > INT64_MAX ? INT64_MAX : (int64_t)x;
}

double etk_gguf_real_at(const etk_gguf_value *value, uint64_t index) {
  const unsigned char *p = item(value, index);
  if (!p) return 0;
  if (value->item_kind == ETK_GGUF_F32) {
    uint32_t bits = (uint32_t)etk__gguf_load(p, 4);
    float x;
    memcpy(&x, &bits, sizeof x);
    return (double)x;
  }
  uint64_t bits = etk__gguf_kind_bytes[value->item_kind] ? etk__gguf_load(p, etk__gguf_kind_bytes[value->item_kind]) : 0;
  double x;
  memcpy(&x, &bits, sizeof x);
  if (value->item_kind == ETK_GGUF_F64) return x;
  return value->item_kind == ETK_GGUF_U64 ? (double)bits : (double)etk_gguf_int_at(value, index);
}

const char *etk_gguf_text_at(const etk_gguf_value *value, uint64_t index, size_t *size) {
  *size = 0;
  if (value->item_kind != ETK_GGUF_TEXT || !item(value, index)) return NULL;
  if (value->kind == ETK_GGUF_TEXT) {
    *size = (size_t)value->count;
    return value->data;
  }
  const unsigned char *p = (const unsigned char *)value->data + ((const uint64_t *)value->index)[index];
  *size = (size_t)etk__gguf_load(p, 8);
  return (const char *)p + 8;
}

const etk_gguf_value *etk_gguf_value_at(const etk_gguf_value *value, uint64_t index) {
  if (value->kind != ETK_GGUF_ARRAY || value->item_kind != ETK_GGUF_ARRAY || index >= value->count) return NULL;
  return (const etk_gguf_value *)value->index + index;
}

/* ---- keys ---- */

size_t etk_gguf_key_count(const etk_gguf *file) { return file->parts[0].key_count; }
const char *etk_gguf_key_at(const etk_gguf *file, size_t index, const etk_gguf_value **value) {
  if (index >= file->parts[0].key_count) return NULL;
  if (value) *value = &file->parts[0].keys[index].value;
  return file->parts[0].keys[index].name;
}
const etk_gguf_value *etk_gguf_find(const etk_gguf *file, const char *key) {
  const etk__gguf_key *found = etk__gguf_part_find(&file->parts[0], key);
  return found ? &found->value : NULL;
}

static etk_status find(etk_error *e, const etk_gguf_value **out, const etk_gguf *file, const char *key) {
  const etk__gguf_part *part = &file->parts[0];
  *out = etk_gguf_find(file, key);
  if (*out) return ETK_OK;
  const char **names = part->key_count <= 4096 ? etk_calloc(part->key_count + 1, sizeof *names) : NULL, *near = NULL;
  for (size_t i = 0; names && i < part->key_count; i++) names[i] = part->keys[i].name;
  if (names) near = etk_text_suggest(key, names, part->key_count);
  etk_free(names);
  return etk_fail(e, ETK_E_NOT_FOUND, "%s has no key '%s'%s%s%s", part->name, key, near ? "; did you mean '" : "", near ? near : "",
                  near ? "'?" : "");
}

static size_t position(const etk_gguf *file, const etk_gguf_value *value) {
  return (size_t)((const unsigned char *)value->data - file->parts[0].bytes);
}

/* "MODEL.gguf: key 'k' is an array of f32; a whole number is wanted (at byte 1234)" */
static etk_status other_kind(etk_error *e, const etk_gguf *file, const char *key, const etk_gguf_value *value, const char *wanted) {
  bool array = value->kind == ETK_GGUF_ARRAY;
  return etk_fail(e, ETK_E_FORMAT, "%s: key '%s' is %s%s%s; %s is wanted (at byte %zu)", file->parts[0].name, key, kinds[value->kind].phrase,
                  array ? " of " : "", array ? kinds[value->item_kind].name : "", wanted, position(file, value));
}

etk_status etk_gguf_get_int(etk_error *e, int64_t *out, const etk_gguf *file, const char *key) {
  const etk_gguf_value *value;
  etk_status s = find(e, &value, file, key);
  if (s != ETK_OK) return s;
  if (!etk__gguf_is_int(value->kind)) return other_kind(e, file, key, value, "a whole number");
  if (value->kind == ETK_GGUF_U64 && etk__gguf_load(value->data, 8) > INT64_MAX)
    return etk_fail(e, ETK_E_UNSUPPORTED, "%s: key '%s' is %" PRIu64 "; at most %" PRId64 " can be held (at byte %zu)", file->parts[0].name, key,
                    etk__gguf_load(value->data, 8), INT64_MAX, position(file, value));
  *out = etk_gguf_int_at(value, 0);
  return ETK_OK;
}

etk_status etk_gguf_get_real(etk_error *e, double *out, const etk_gguf *file, const char *key) {
  const etk_gguf_value *value;
  etk_status s = find(e, &value, file, key);
  if (s != ETK_OK) return s;
  if (!etk__gguf_is_int(value->kind) && !is_real(value->kind)) return other_kind(e, file, key, value, "a number");
  *out = etk_gguf_real_at(value, 0);
  return ETK_OK;
}

etk_status etk_gguf_get_flag(etk_error *e, bool *out, const etk_gguf *file, const char *key) {
  const etk_gguf_value *value;
  etk_status s = find(e, &value, file, key);
  if (s != ETK_OK) return s;
  if (value->kind != ETK_GGUF_BOOL) return other_kind(e, file, key, value, "a bool");
  *out = etk_gguf_int_at(value, 0) != 0;
  return ETK_OK;
}

etk_status etk_gguf_get_text(etk_error *e, const char **out, const etk_gguf *file, const char *key) {
  const etk_gguf_value *value;
  *out = NULL;
  etk_status s = find(e, &value, file, key);
  if (s != ETK_OK) return s;
  if (value->kind != ETK_GGUF_TEXT) return other_kind(e, file, key, value, "a string");
  if (memchr(value->data, 0, (size_t)value->count))
    return etk_fail(e, ETK_E_FORMAT, "%s: key '%s' is a string with a NUL inside (at byte %zu)", file->parts[0].name, key, position(file, value));
  *out = value->index;
  return ETK_OK;
}

etk_status etk_gguf_get_array(etk_error *e, const etk_gguf_value **out, const etk_gguf *file, const char *key, etk_gguf_kind items) {
  const etk_gguf_value *value;
  *out = NULL;
  etk_status s = find(e, &value, file, key);
  if (s != ETK_OK) return s;
  bool whole = etk__gguf_is_int(value->item_kind), fits = value->item_kind == items;
  if (items == ETK_GGUF_I64) fits = whole;
  if (items == ETK_GGUF_F64) fits = whole || is_real(value->item_kind);
  char wanted[64];
  snprintf(wanted, sizeof wanted, "an array of %s",
           items == ETK_GGUF_I64   ? "whole numbers"
           : items == ETK_GGUF_F64 ? "numbers"
                                   : etk_gguf_kind_name(items));
  if (value->kind != ETK_GGUF_ARRAY || !fits) return other_kind(e, file, key, value, wanted);
  *out = value;
  return ETK_OK;
}
