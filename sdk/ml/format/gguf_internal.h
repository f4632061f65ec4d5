/* gguf_internal.h: what the GGUF files share: an open file, its parts, the table of types and kinds. */
#ifndef ETK_ML_GGUF_INTERNAL_H
#define ETK_ML_GGUF_INTERNAL_H

#include <etk/alloc.h>
#include <etk/fs.h>
#include <etk/gguf.h>
#include <stdatomic.h>
#include <string.h>

enum {
  ETK__GGUF_KEY_LIMIT = 65535, /* bytes of a key */
  ETK__GGUF_NAME_LIMIT = 63,   /* bytes of a tensor's name */
  ETK__GGUF_RANK_LIMIT = 4,
  ETK__GGUF_ITEM_LIMIT = 1 << 30,  /* items of an array, bytes of a text */
  ETK__GGUF_COUNT_LIMIT = 1 << 20, /* keys, tensors */
  ETK__GGUF_NEST_LIMIT = 4,        /* arrays in arrays */
  ETK__GGUF_ALIGNMENT = 32
};

typedef struct etk__gguf_key {
  const char *name;
  etk_gguf_value value; /* index: text: a terminated copy; array of texts: uint64_t positions behind data; array of arrays: its etk_gguf_values */
} etk__gguf_key;

typedef struct etk__gguf_part {
  etk_map map; /* data NULL when the bytes are the caller's */
  const char *name;
  const unsigned char *bytes;
  size_t size;
  uint32_t version, alignment;
  etk__gguf_key *keys;
  size_t key_count;
  const etk__gguf_key **by_name;
  etk_gguf_entry *entries;
  size_t count;
} etk__gguf_part;

struct etk_gguf {
  atomic_int references; /* the handle and every tensor taken from it */
  etk_arena arena;
  etk__gguf_part *parts; /* room for part_room */
  int part_count, part_room;
  const etk_gguf_entry **entries, **by_name; /* of all parts */
  size_t count;
};

/* Checks one file and fills the part (name, bytes and size are set), number `index`. */
etk_status etk__gguf_parse_part(etk_error *e, etk_arena *arena, etk__gguf_part *part, int index);
const etk__gguf_key *etk__gguf_part_find(const etk__gguf_part *part, const char *key);
etk_status etk__gguf_no_memory(etk_error *e, const char *name);

extern const unsigned char etk__gguf_kind_bytes[ETK_GGUF_KIND_COUNT]; /* of one stored item; 0: text, array */
const char *etk__gguf_kind_phrase(etk_gguf_kind kind);                /* "a u32", "an array" */
bool etk__gguf_is_int(etk_gguf_kind kind);

/* Every type of the format, decoded here or not. elements 0: taken out of the format, name says so. */
typedef struct etk__gguf_type {
  const char *name;
  int elements, bytes; /* of a block */
} etk__gguf_type;
extern const etk__gguf_type etk__gguf_types[];
extern const uint32_t etk__gguf_type_count;

static inline uint64_t etk__gguf_load(const unsigned char *p, int bytes) {
  uint64_t x = 0;
#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
  if (bytes == 8) { /* hundreds of thousands of lengths in a vocabulary */
    memcpy(&x, p, 8);
    return x;
  }
#endif
  for (int i = bytes - 1; i >= 0; i--) x = x << 8 | p[i];
  return x;
}

#endif
