/* ml_torch_bytes.h: PyTorch files made by hand: a pickle, operation by operation, and the ZIP archive around it. */
#ifndef TESTS_ML_TORCH_BYTES_H
#define TESTS_ML_TORCH_BYTES_H

#include <stdint.h>
#include <string.h>
#include <zlib.h>

enum { BYTES_MAX = 1 << 20 };
static unsigned char pickled[BYTES_MAX], made[BYTES_MAX * 2];
static size_t pickled_size, made_size;
static const char *byte_order = "little";

static inline void begin(void) { pickled_size = 0; }
static inline void op(const void *bytes, size_t size) {
  assert_true(pickled_size + size <= BYTES_MAX);
  memcpy(pickled + pickled_size, bytes, size);
  pickled_size += size;
}
#define OP(literal) op(literal, sizeof literal - 1)
static inline void op_int(int value) {
  unsigned char b[5] = {'J', (unsigned char)value, (unsigned char)(value >> 8), (unsigned char)(value >> 16), (unsigned char)(value >> 24)};
  op(b, 5);
}
static inline void op_text(const char *text) {
  size_t n = strlen(text);
  unsigned char b[5] = {'X', (unsigned char)n, (unsigned char)(n >> 8), (unsigned char)(n >> 16), 0};
  op(b, 5), op(text, n);
}
static inline void storage_of(const char *class, const char *key, int elements) {
  OP("("), op_text("storage"), OP("c"), op(class, strlen(class)), OP("\n"), op_text(key), op_text("cpu"), op_int(elements), OP("tQ");
}
static inline void rebuild_begin(const char *class, const char *key, int elements) {
  char whole[64];
  snprintf(whole, sizeof whole, "torch\n%s", class);
  OP("ctorch._utils\n_rebuild_tensor_v2\n("), storage_of(whole, key, elements);
}
static inline void rebuild_end(void) {
  OP("\x89"
     "ccollections\nOrderedDict\n)RtR");
}
/* A vector of `count` from the beginning of a storage of `elements`. */
static inline void tensor_of(const char *class, const char *key, int elements, int count) {
  rebuild_begin(class, key, elements);
  OP("K\0"), op_int(count), OP("\x85K\1\x85");
  rebuild_end();
}

/* ---- archives ---- */

typedef struct member {
  const char *name;
  const void *data;
  size_t size;
  int method;
} member;
static inline void raw(const void *bytes, size_t size) {
  assert_true(made_size + size <= sizeof made);
  if (size) memcpy(made + made_size, bytes, size);
  made_size += size;
}
static inline void le(uint64_t value, int bytes) {
  for (int i = 0; i < bytes; i++) raw(&(unsigned char){(unsigned char)(value >> (8 * i))}, 1);
}
static inline size_t pack(const member *m, unsigned char *out, size_t limit) {
  z_stream z = {0};
  assert_int_equal(deflateInit2(&z, 9, Z_DEFLATED, -15, 8, Z_DEFAULT_STRATEGY), Z_OK);
  z.next_in = (Bytef *)(uintptr_t)m->data, z.avail_in = (uInt)m->size, z.next_out = out, z.avail_out = (uInt)limit;
  assert_int_equal(deflate(&z, Z_FINISH), Z_STREAM_END);
  size_t size = z.total_out;
  deflateEnd(&z);
  return size;
}
/* As torch.save does: data aligned by an extra field; here to 8 bytes. */
static inline void make_archive(const member *members, size_t count) {
  static unsigned char packed[BYTES_MAX];
  size_t at[64], sizes[64];
  made_size = 0;
  for (size_t i = 0; i < count; i++) {
    const member *m = &members[i];
    size_t fill = (8 - (made_size + 30 + strlen(m->name) + 4) % 8) % 8;
    sizes[i] = m->method ? pack(m, packed, sizeof packed) : m->size;
    at[i] = made_size;
    le(0x04034b50, 4), le(20, 2), le(0, 2), le((uint64_t)m->method, 2), le(0, 4), le(crc32(0, m->data, (uInt)m->size), 4), le(sizes[i], 4),
        le(m->size, 4);
    le(strlen(m->name), 2), le(fill + 4, 2), raw(m->name, strlen(m->name)), le(0x4246, 2), le(fill, 2), raw("\0\0\0\0\0\0\0", fill);
    raw(m->method ? packed : m->data, sizes[i]);
  }
  size_t directory = made_size;
  for (size_t i = 0; i < count; i++) {
    const member *m = &members[i];
    le(0x02014b50, 4), le(20, 2), le(20, 2), le(0, 2), le((uint64_t)m->method, 2), le(0, 4), le(crc32(0, m->data, (uInt)m->size), 4), le(sizes[i], 4),
        le(m->size, 4);
    le(strlen(m->name), 2), le(0, 2), le(0, 2), le(0, 2), le(0, 2), le(0, 4), le(at[i], 4), raw(m->name, strlen(m->name));
  }
  size_t size = made_size - directory;
  le(0x06054b50, 4), le(0, 4), le(count, 2), le(count, 2), le(size, 4), le(directory, 4), le(0, 2);
}
/* The pickle so far with one storage, "0". */
static inline void make_zip(const void *storage, size_t size) {
  const member members[] = {{"m/data.pkl", pickled, pickled_size, 0},
                            {"m/byteorder", byte_order, strlen(byte_order), 0},
                            {"m/data/0", storage, size, 0},
                            {"m/version", "3\n", 2, 0}};
  make_archive(members, 4);
}

#endif
