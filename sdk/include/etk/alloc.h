/* etk/alloc.h: memory that can be counted and made to fail, and arenas.
 *
 * All allocation of the libraries goes through here. Every function returns NULL on failure (never aborts). Thread-safe, except that
 * an arena belongs to one thread at a time. */
#ifndef ETK_ALLOC_H
#define ETK_ALLOC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

void *etk_alloc(size_t size);                               /* uninitialised; size 0 gives a unique pointer */
void *etk_calloc(size_t count, size_t size);                /* zeroed; NULL if count*size overflows */
void *etk_realloc(void *pointer, size_t count, size_t size);/* grows an array; the old block stays valid on failure */
void *etk_alloc_aligned(size_t size, size_t alignment);     /* alignment: a power of two, at least sizeof(void *) */
char *etk_strdup(const char *text);
char *etk_strndup(const char *text, size_t size);
void etk_free(void *pointer);                               /* for any of the above; NULL is fine */

typedef struct etk_alloc_stats {
  uint64_t calls;    /* successful allocations since the process began */
  uint64_t frees;
  uint64_t failures; /* injected or real */
} etk_alloc_stats;
etk_alloc_stats etk_alloc_get_stats(void);
/* Testing: the nth allocation from now (1-based) fails, and, with `forever`, all after it. 0 switches it off. */
void etk_alloc_fail_nth(uint64_t nth, bool forever);

/* An arena gives memory that is freed all at once. Zero-initialise (ETK_ARENA_INIT) to begin. */
typedef struct etk_arena {
  struct etk_arena_block *first;
  size_t block_size; /* 0: 64 KiB */
  size_t used;       /* bytes handed out */
} etk_arena;
#define ETK_ARENA_INIT {0, 0, 0}
void *etk_arena_alloc(etk_arena *arena, size_t size); /* zeroed, 16-byte aligned */
void *etk_arena_array(etk_arena *arena, size_t count, size_t size);
char *etk_arena_strdup(etk_arena *arena, const char *text);
char *etk_arena_strndup(etk_arena *arena, const char *text, size_t size);
char *etk_arena_printf(etk_arena *arena, const char *format, ...)
#if defined(__GNUC__)
    __attribute__((format(printf, 2, 3)))
#endif
    ;
void etk_arena_reset(etk_arena *arena); /* keeps one block for reuse */
void etk_arena_fini(etk_arena *arena);

#ifdef __cplusplus
}
#endif
#endif
