/* product_memory.h: memory for repacked weights, in huge pages where the system has them on request: many small pieces share few of them, and filling them
 * costs one page fault for 2 MB instead of 512. */
#ifndef ETK_ML_PRODUCT_MEMORY_H
#define ETK_ML_PRODUCT_MEMORY_H

#include <stddef.h>

struct product_memory {
  void *data; /* 64-byte aligned, uninitialised; until it is written to it takes no room */
  struct product_chunk *chunk;
};
struct product_memory etk__product_memory(size_t bytes); /* data NULL: out of memory. Thread-safe, as the other is. */
void etk__product_memory_free(struct product_memory memory); /* data NULL is fine */
size_t etk__product_memory_spare(void); /* bytes of the huge pages that hold pieces, of whatever weights, beyond what was asked for */

#endif
