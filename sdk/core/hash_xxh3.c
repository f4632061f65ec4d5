/* hash_xxh3.c: XXH3 with 128 bits, from libxxhash's headers; nothing of it is linked. */
#include "etk/alloc.h"
#include "fs_internal.h"
#include "hash_internal.h"
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

enum { CHUNK = 1 << 18 };

static void print(char hex[33], XXH128_hash_t hash) {
  XXH128_canonical_t bytes;
  XXH128_canonicalFromHash(&bytes, hash);
  for (int i = 0; i < 16; i++) {
    hex[2 * i] = "0123456789abcdef"[bytes.digest[i] >> 4];
    hex[2 * i + 1] = "0123456789abcdef"[bytes.digest[i] & 15];
  }
  hex[32] = 0;
}

void etk_xxh3(char hex[33], const void *bytes, size_t size) { print(hex, XXH3_128bits(bytes, size)); }

etk_status etk__xxh3_fd(etk_error *e, char hex[33], uint64_t *bytes, int fd, const char *name) {
  char *chunk = etk_alloc_aligned(CHUNK, 64);
  if (!chunk) return etk_fail(e, ETK_E_NO_MEMORY, "cannot hash '%s': out of memory", name);
  XXH3_state_t state;
  XXH3_128bits_reset(&state);
  uint64_t total = 0;
  ssize_t n;
  for (;;) {
    n = pread(fd, chunk, CHUNK, (off_t)total);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) break;
    XXH3_128bits_update(&state, chunk, (size_t)n);
    total += (uint64_t)n;
  }
  etk_status status = n < 0 ? etk_fail_errno(e, errno, "cannot read '%s'", name) : ETK_OK;
  etk_free(chunk);
  if (status) return status;
  if (bytes) *bytes = total;
  print(hex, XXH3_128bits_digest(&state));
  return ETK_OK;
}

etk_status etk_xxh3_file(etk_error *e, char hex[33], uint64_t *bytes, const char *path) {
  int fd;
  etk_status status = etk__fs_open_regular(e, &fd, NULL, path);
  if (status) return status;
  status = etk__xxh3_fd(e, hex, bytes, fd, path);
  close(fd);
  return status;
}
