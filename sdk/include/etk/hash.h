/* etk/hash.h: SHA-256 (FIPS 180-4), here so that the host needs no cryptography library at start-up, and XXH3, the fast hash for equality of
 * content that no one forges (xxHash specification 0.8). */
#ifndef ETK_HASH_H
#define ETK_HASH_H

#include "status.h"
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct etk_sha256 {
  uint32_t state[8];
  uint64_t bytes;
  unsigned char block[64];
} etk_sha256;
void etk_sha256_init(etk_sha256 *hash);
void etk_sha256_update(etk_sha256 *hash, const void *bytes, size_t size);
void etk_sha256_final(etk_sha256 *hash, char hex[65]); /* lower-case hexadecimal, NUL-terminated */
/* XXH3, 128 bits, as 32 lower-case hexadecimal digits (the canonical, big-endian form that xxhsum -H128 prints). */
void etk_xxh3(char hex[33], const void *bytes, size_t size);
etk_status etk_xxh3_file(etk_error *e, char hex[33], uint64_t *bytes, const char *path);
etk_status etk_sha256_file(etk_error *e, char hex[65], uint64_t *bytes, const char *path);

#ifdef __cplusplus
}
#endif
#endif
