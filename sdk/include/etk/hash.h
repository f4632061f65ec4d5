/* etk/hash.h: SHA-256 (FIPS 180-4), here so that the host needs no cryptography library at start-up. */
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
etk_status etk_sha256_file(etk_error *e, char hex[65], uint64_t *bytes, const char *path);

#ifdef __cplusplus
}
#endif
#endif
