/* mapped.h: what the readers of weight files share: a mapped file that lives until its handle and the last tensor taken from it are gone. Not installed. */
#ifndef ETK_FORMAT_MAPPED_H
#define ETK_FORMAT_MAPPED_H

#include <etk/alloc.h>
#include <etk/fs.h>
#include <stdatomic.h>

/* The first member of a reader's struct. */
typedef struct etk__mapped {
  atomic_int references; /* the handle and every tensor taken from it */
  etk_map map;           /* data NULL when the bytes are the caller's */
  etk_arena arena;       /* everything the reader keeps */
  void (*release)(void *file); /* what else goes with the last reference; NULL: nothing */
  const char *name;
} etk__mapped;

typedef etk_status etk__mapped_parse(etk_error *e, void *file, const unsigned char *bytes, size_t size);
/* A reader's struct of `struct_size` bytes, zeroed but for its etk__mapped, over the caller's memory or over the map of `path`, and parsed; on failure NULL. */
etk_status etk__mapped_over(etk_error *e, void **out, size_t struct_size, const char *name, const void *bytes, size_t size, etk__mapped_parse *parse);
etk_status etk__mapped_open(etk_error *e, void **out, size_t struct_size, const char *path, etk__mapped_parse *parse);
void etk__mapped_ref(etk__mapped *file);
void etk__mapped_unref(void *file); /* fits etk_tensor_wrap; NULL is fine */

#endif
