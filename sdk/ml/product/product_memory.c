/* product_memory.c: chunks of huge pages that are filled from the front and freed with the last piece in them. */
#include "product_memory.h"

#include <etk/alloc.h>
#include <pthread.h>
#include <sys/mman.h>

enum { LINE = 64, HUGE = 2 << 20, CHUNK = 32 << 20 };

struct product_chunk {
  char *memory;
  size_t size, used, live; /* live: pieces that are not freed */
  size_t asked;            /* bytes of all pieces, freed or not */
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct product_chunk *filling; /* the one that new pieces go into; NULL: none */
static size_t pages, asked;           /* of all chunks: bytes of the huge pages that pieces lie in, and of the pieces */

static size_t in_pages(size_t bytes) { return (bytes + HUGE - 1) / HUGE * HUGE; }

static struct product_chunk *chunk_new(size_t least) {
  struct product_chunk *c = etk_calloc(1, sizeof *c);
  if (!c) return NULL;
  c->size = least > CHUNK ? in_pages(least) : CHUNK;
  c->memory = etk_alloc_aligned(c->size, HUGE);
  if (!c->memory) {
    etk_free(c);
    return NULL;
  }
#if defined(MADV_HUGEPAGE)
  (void)madvise(c->memory, c->size, MADV_HUGEPAGE); /* a system without them has small pages, as ever */
#endif
  return c;
}
static void chunk_free(struct product_chunk *c) {
  if (filling == c) filling = NULL;
  pages -= in_pages(c->used);
  asked -= c->asked;
  etk_free(c->memory);
  etk_free(c);
}

static struct product_memory take(size_t bytes) {
  if (bytes > SIZE_MAX - 2 * HUGE) return (struct product_memory){NULL, NULL};
  size_t need = (bytes + LINE - 1) / LINE * LINE;
  struct product_chunk *c = filling;
  if (!c || c->size - c->used < need) {
    c = chunk_new(need);
    if (!c) return (struct product_memory){NULL, NULL};
    if (!filling || c->size - need > filling->size - filling->used) filling = c;
  }
  struct product_memory m = {c->memory + c->used, c};
  pages += in_pages(c->used + need) - in_pages(c->used);
  asked += bytes;
  c->asked += bytes;
  c->used += need;
  c->live++;
  return m;
}

struct product_memory etk__product_memory(size_t bytes) {
  pthread_mutex_lock(&lock);
  struct product_memory m = take(bytes);
  pthread_mutex_unlock(&lock);
  return m;
}

size_t etk__product_memory_spare(void) {
  pthread_mutex_lock(&lock);
  size_t bytes = pages - asked;
  pthread_mutex_unlock(&lock);
  return bytes;
}

void etk__product_memory_free(struct product_memory memory) {
  if (!memory.data) return;
  pthread_mutex_lock(&lock);
  if (--memory.chunk->live == 0) chunk_free(memory.chunk);
  pthread_mutex_unlock(&lock);
}
