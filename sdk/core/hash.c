/* hash.c: SHA-256, FIPS 180-4. */
#include "etk/hash.h"
#include "etk/alloc.h"
#include "fs_internal.h"
#include "hash_internal.h"
#include <errno.h>
#include <unistd.h>

const uint32_t etk__sha256_k[64] = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5, 0xd807aa98, 0x12835b01, 0x243185be,
    0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174, 0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa,
    0x5cb0a9dc, 0x76f988da, 0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967, 0x27b70a85,
    0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85, 0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3,
    0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070, 0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f,
    0x682e6ff3, 0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2,
};

static uint32_t rotate(uint32_t x, int n) { return x >> n | x << (32 - n); }

static uint32_t big_endian(const unsigned char *p) { return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3]; }

static void compress(uint32_t state[8], const unsigned char *block) {
  uint32_t w[64];
  for (int i = 0; i < 16; i++) w[i] = big_endian(block + 4 * i);
  for (int i = 16; i < 64; i++) {
    uint32_t s0 = rotate(w[i - 15], 7) ^ rotate(w[i - 15], 18) ^ w[i - 15] >> 3;
    uint32_t s1 = rotate(w[i - 2], 17) ^ rotate(w[i - 2], 19) ^ w[i - 2] >> 10;
    w[i] = w[i - 16] + s0 + w[i - 7] + s1;
  }
  uint32_t a = state[0], b = state[1], c = state[2], d = state[3], e = state[4], f = state[5], g = state[6], h = state[7];
  for (int i = 0; i < 64; i++) {
    uint32_t t1 = h + (rotate(e, 6) ^ rotate(e, 11) ^ rotate(e, 25)) + ((e & f) ^ (~e & g)) + etk__sha256_k[i] + w[i];
    uint32_t t2 = (rotate(a, 2) ^ rotate(a, 13) ^ rotate(a, 22)) + ((a & b) ^ (a & c) ^ (b & c));
    h = g, g = f, f = e, e = d + t1, d = c, c = b, b = a, a = t1 + t2;
  }
  state[0] += a, state[1] += b, state[2] += c, state[3] += d, state[4] += e, state[5] += f, state[6] += g, state[7] += h;
}

void etk__sha256_portable(uint32_t state[8], const unsigned char *blocks, size_t count) {
  for (; count > 0; count--, blocks += 64) compress(state, blocks);
}

static void whole_blocks(uint32_t state[8], const unsigned char *blocks, size_t count) {
  etk__sha256_blocks *hardware = etk__sha256_hardware();
  (hardware ? hardware : etk__sha256_portable)(state, blocks, count);
}

void etk_sha256_init(etk_sha256 *hash) {
  /* FIPS 180-4, 5.3.3 */
  *hash = (etk_sha256){.state = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19}};
}

void etk_sha256_update(etk_sha256 *hash, const void *bytes, size_t size) {
  const unsigned char *p = bytes;
  size_t used = hash->bytes % 64;
  hash->bytes += size;
  if (used) {
    size_t n = 64 - used < size ? 64 - used : size;
    memcpy(hash->block + used, p, n);
    p += n, size -= n;
    if (used + n < 64) return;
    whole_blocks(hash->state, hash->block, 1);
  }
  if (size >= 64) whole_blocks(hash->state, p, size / 64);
  p += size / 64 * 64, size %= 64;
  if (size) memcpy(hash->block, p, size);
}

void etk_sha256_final(etk_sha256 *hash, char hex[65]) {
  uint64_t bits = hash->bytes * 8;
  unsigned char tail[72] = {0x80};
  size_t zeros = (119 - hash->bytes % 64) % 64; /* so that tail and length end a block */
  for (int i = 0; i < 8; i++) tail[1 + zeros + (size_t)i] = (unsigned char)(bits >> (56 - 8 * i));
  etk_sha256_update(hash, tail, 1 + zeros + 8);
  for (int i = 0; i < 32; i++) {
    unsigned byte = hash->state[i / 4] >> (24 - 8 * (i % 4)) & 0xFF;
    hex[2 * i] = "0123456789abcdef"[byte >> 4];
    hex[2 * i + 1] = "0123456789abcdef"[byte & 15];
  }
  hex[64] = 0;
}

etk_status etk_sha256_file(etk_error *e, char hex[65], uint64_t *bytes, const char *path) {
  enum { CHUNK = 1 << 18 };
  int fd;
  etk_status status = etk__fs_open_regular(e, &fd, NULL, path);
  if (status) return status;
  unsigned char *chunk = etk_alloc(CHUNK);
  if (!chunk) {
    close(fd);
    return etk_fail(e, ETK_E_NO_MEMORY, "cannot hash '%s': out of memory", path);
  }
  etk_sha256 hash;
  etk_sha256_init(&hash);
  ssize_t n;
  while ((n = etk__fs_read_some(fd, chunk, CHUNK)) > 0) etk_sha256_update(&hash, chunk, (size_t)n);
  if (n < 0) status = etk_fail_errno(e, errno, "cannot read '%s'", path);
  etk_free(chunk);
  close(fd);
  if (status) return status;
  if (bytes) *bytes = hash.bytes;
  etk_sha256_final(&hash, hex);
  return ETK_OK;
}
