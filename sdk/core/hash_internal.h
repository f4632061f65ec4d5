/* hash_internal.h: what the files of hash share. Not installed. */
#ifndef ETK_HASH_INTERNAL_H
#define ETK_HASH_INTERNAL_H

#include "etk/hash.h"
#include <stdbool.h>

/* Reads from the beginning of an open file, wherever its offset is. `name` is for messages. */
etk_status etk__xxh3_fd(etk_error *e, char hex[33], uint64_t *bytes, int fd, const char *name);

/* SHA-256 of whole blocks of 64 bytes: the reference, and what the processor's own instructions give (NULL: it has none, or was not asked). */
typedef void etk__sha256_blocks(uint32_t state[8], const unsigned char *blocks, size_t count);
extern const uint32_t etk__sha256_k[64]; /* FIPS 180-4, 4.2.2 */
void etk__sha256_portable(uint32_t state[8], const unsigned char *blocks, size_t count);
etk__sha256_blocks *etk__sha256_hardware(void);
void etk__sha256_force_portable(bool force); /* testing */

#endif
