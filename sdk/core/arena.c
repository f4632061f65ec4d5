/* arena.c: a chain of blocks; the first one is where small pieces are cut from. */
#include "etk/alloc.h"
#include <stdarg.h>

enum { ALIGN = 16, DEFAULT_BLOCK = 64 * 1024 };

struct etk_arena_block {
  struct etk_arena_block *next;
  size_t size, used; /* bytes of data */
  _Alignas(ALIGN) unsigned char data[];
};

static struct etk_arena_block *add_block(etk_arena *arena, size_t size, bool behind) {
  size_t bytes;
  if (__builtin_add_overflow(size, sizeof(struct etk_arena_block), &bytes)) return NULL;
  struct etk_arena_block *block = etk_alloc(bytes);
  if (!block) return NULL;
  block->size = size;
  block->used = 0;
  struct etk_arena_block **link = behind ? &arena->first->next : &arena->first;
  block->next = *link;
  *link = block;
  return block;
}

void *etk_arena_alloc(etk_arena *arena, size_t size) {
  if (size > SIZE_MAX - ALIGN) return NULL;
  size_t wanted = size ? (size + ALIGN - 1) & ~(size_t)(ALIGN - 1) : ALIGN;
  struct etk_arena_block *block = arena->first;
  if (!block || block->size - block->used < wanted) {
    size_t normal = arena->block_size ? (arena->block_size + ALIGN - 1) & ~(size_t)(ALIGN - 1) : DEFAULT_BLOCK;
    /* A big piece gets a block of its own behind the first, whose rest stays in use. */
    bool big = wanted > normal / 4;
    block = add_block(arena, big ? wanted : normal, big && block);
    if (!block) return NULL;
  }
  void *pointer = block->data + block->used;
  block->used += wanted;
  arena->used += wanted;
  return memset(pointer, 0, wanted);
}

void *etk_arena_array(etk_arena *arena, size_t count, size_t size) {
  size_t bytes;
  return __builtin_mul_overflow(count, size, &bytes) ? NULL : etk_arena_alloc(arena, bytes);
}

char *etk_arena_strndup(etk_arena *arena, const char *text, size_t size) {
  if (size == SIZE_MAX) return NULL;
  char *copy = etk_arena_alloc(arena, size + 1);
  if (copy && size) memcpy(copy, text, size);
  return copy;
}

char *etk_arena_strdup(etk_arena *arena, const char *text) { return etk_arena_strndup(arena, text, strlen(text)); }

char *etk_arena_printf(etk_arena *arena, const char *format, ...) {
  va_list arguments, again;
  va_start(arguments, format);
  va_copy(again, arguments);
  int n = vsnprintf(NULL, 0, format, arguments);
  va_end(arguments);
  char *out = n < 0 ? NULL : etk_arena_alloc(arena, (size_t)n + 1);
  if (out) vsnprintf(out, (size_t)n + 1, format, again);
  va_end(again);
  return out;
}

static void free_blocks(struct etk_arena_block *block, const struct etk_arena_block *kept) {
  while (block) {
    struct etk_arena_block *next = block->next;
    if (block != kept) etk_free(block);
    block = next;
  }
}

void etk_arena_reset(etk_arena *arena) {
  struct etk_arena_block *largest = arena->first;
  for (struct etk_arena_block *b = largest; b; b = b->next)
    if (b->size > largest->size) largest = b;
  free_blocks(arena->first, largest);
  arena->first = largest;
  arena->used = 0;
  if (!largest) return;
  largest->next = NULL;
  largest->used = 0;
}

void etk_arena_fini(etk_arena *arena) {
  free_blocks(arena->first, NULL);
  arena->first = NULL;
  arena->used = 0;
}
