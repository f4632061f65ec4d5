/* ml_gguf_bytes.h: GGUF files made byte by byte in memory, well or ill. */
#ifndef TESTS_ML_GGUF_BYTES_H
#define TESTS_ML_GGUF_BYTES_H

#include "ml_golden.h"
#include <etk/gguf.h>

static unsigned char *made; /* the file, `made_size` bytes of `made_room` */
static size_t made_size, made_room;

static inline void put_bytes(const void *bytes, size_t size) {
  if (made_size + size > made_room) {
    made_room = (made_size + size) * 2;
    made = realloc(made, made_room);
    assert_non_null(made);
  }
  if (size) memcpy(made + made_size, bytes, size);
  made_size += size;
}
static inline void put_number(uint64_t value, int bytes) {
  unsigned char b[8];
  for (int i = 0; i < bytes; i++) b[i] = (unsigned char)(value >> (8 * i));
  put_bytes(b, (size_t)bytes);
}
static inline void put_sized(const char *text, size_t size) {
  put_number(size, 8);
  put_bytes(text, size);
}
static inline void put_string(const char *text) { put_sized(text, strlen(text)); }
static inline void begin_file(uint32_t version, uint64_t tensors, uint64_t keys) {
  made_size = 0;
  put_bytes("GGUF", 4);
  put_number(version, 4);
  put_number(tensors, 8);
  put_number(keys, 8);
}
static inline void put_key(const char *key, uint32_t kind) {
  put_string(key);
  put_number(kind, 4);
}
static inline void put_u32(const char *key, uint32_t value) {
  put_key(key, ETK_GGUF_U32);
  put_number(value, 4);
}
static inline void put_array(const char *key, uint32_t items, uint64_t count) {
  put_key(key, ETK_GGUF_ARRAY);
  put_number(items, 4);
  put_number(count, 8);
}
/* dims as GGUF orders them, the row's length first */
static inline void put_tensor(const char *name, uint32_t rank, const uint64_t *dims, uint32_t type, uint64_t offset) {
  put_string(name);
  put_number(rank, 4);
  for (uint32_t i = 0; i < rank && i < 8; i++) put_number(dims[i], 8);
  put_number(type, 4);
  put_number(offset, 8);
}
static inline void put_padding(size_t alignment) {
  while (made_size % alignment) put_number(0, 1);
}
static inline void put_data(size_t bytes) {
  for (size_t i = 0; i < bytes; i++) put_number(i & 255, 1);
}
/* A file with every kind of value and two tensors: "a" F32 (2, 3), 24 bytes, at 0; "b" Q8_0 (32), 34 bytes, at 32. */
static inline void make_good(void) {
  begin_file(3, 2, 15);
  put_key("general.architecture", ETK_GGUF_TEXT), put_string("llama");
  put_key("k.u8", ETK_GGUF_U8), put_number(200, 1);
  put_key("k.i8", ETK_GGUF_I8), put_number((uint64_t)-100, 1);
  put_key("k.u16", ETK_GGUF_U16), put_number(60000, 2);
  put_key("k.i16", ETK_GGUF_I16), put_number((uint64_t)-30000, 2);
  put_u32("k.u32", 4000000000u);
  put_key("k.i32", ETK_GGUF_I32), put_number((uint64_t)-2000000000, 4);
  put_key("k.f32", ETK_GGUF_F32), put_number(0x3fc00000, 4); /* 1.5 */
  put_key("k.bool", ETK_GGUF_BOOL), put_number(1, 1);
  put_key("k.u64", ETK_GGUF_U64), put_number(UINT64_MAX, 8);
  put_key("k.i64", ETK_GGUF_I64), put_number((uint64_t)-5, 8);
  put_key("k.f64", ETK_GGUF_F64), put_number(0xc004000000000000, 8); /* -2.5 */
  put_array("k.words", ETK_GGUF_TEXT, 3), put_string("one"), put_string(""), put_string("dr\xc3\xa9i");
  put_array("k.numbers", ETK_GGUF_I16, 3), put_number(1, 2), put_number((uint64_t)-2, 2), put_number(3, 2);
  put_array("k.nested", ETK_GGUF_ARRAY, 2); /* [[7, 8], ["x"]] */
  put_number(ETK_GGUF_U8, 4), put_number(2, 8), put_number(7, 1), put_number(8, 1);
  put_number(ETK_GGUF_TEXT, 4), put_number(1, 8), put_string("x");
  put_tensor("a", 2, (const uint64_t[]){3, 2}, 0, 0);
  put_tensor("b", 1, (const uint64_t[]){32}, 8, 32);
  put_padding(32);
  put_data(24);
  put_padding(32);
  put_data(34);
  put_padding(32);
}

/* Parses `size` bytes of what was made from a block of just that size, so that a sanitizer sees a read past the end. */
static inline etk_status parse_made(etk_error *e, size_t size) {
  unsigned char *exact = malloc(size ? size : 1);
  assert_non_null(exact);
  memcpy(exact, made, size);
  etk_gguf *file = (void *)1;
  etk_status s = etk_gguf_parse(e, &file, "x.gguf", exact, size);
  if (s != ETK_OK) assert_null(file);
  etk_gguf_close(file);
  free(exact);
  return s;
}
static inline void refused(etk_status status, const char *part) { fails_with(status, part, parse_made(e, made_size)); }

#endif
