/* peak.h: the bytes of malloc that the process holds, and the most it held since it was asked — ours, jansson's, libc's. Include it in one test program's source file:
 * its definitions take the place of libc's. The sanitizers bring their own malloc, so under them `peak_counts` is false and nothing is counted. */
#ifndef TESTS_PEAK_H
#define TESTS_PEAK_H

#include <errno.h>
#include <malloc.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>

#if defined(__GLIBC__) && !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__) && !defined(ETK_COVERAGE)
static const bool peak_counts = true;
extern void *__libc_malloc(size_t);
extern void *__libc_calloc(size_t, size_t);
extern void *__libc_realloc(void *, size_t);
extern void *__libc_memalign(size_t, size_t);
extern void __libc_free(void *);
void *malloc(size_t size);
void *calloc(size_t count, size_t size);
void *realloc(void *pointer, size_t size);
void *aligned_alloc(size_t alignment, size_t size);
void *memalign(size_t alignment, size_t size);
int posix_memalign(void **out, size_t alignment, size_t size);
void free(void *pointer);

static atomic_long peak_held = 0, peak_most = 0;
static void peak_add(long bytes) {
  long now = atomic_fetch_add(&peak_held, bytes) + bytes, most = atomic_load(&peak_most);
  while (now > most && !atomic_compare_exchange_weak(&peak_most, &most, now)) continue;
}
static void *peak_count(void *pointer) {
  if (pointer) peak_add((long)malloc_usable_size(pointer) + 8);
  return pointer;
}
void *malloc(size_t size) { return peak_count(__libc_malloc(size)); }
void *calloc(size_t count, size_t size) { return peak_count(__libc_calloc(count, size)); }
void *realloc(void *pointer, size_t size) {
  long before = pointer ? (long)malloc_usable_size(pointer) + 8 : 0;
  void *grown = __libc_realloc(pointer, size);
  if (grown) peak_add((long)malloc_usable_size(grown) + 8 - before);
  return grown;
}
void *memalign(size_t alignment, size_t size) { return peak_count(__libc_memalign(alignment, size)); }
void *aligned_alloc(size_t alignment, size_t size) { return memalign(alignment, size); }
int posix_memalign(void **out, size_t alignment, size_t size) {
  void *pointer = memalign(alignment, size);
  if (!pointer) return ENOMEM;
  *out = pointer;
  return 0;
}
void free(void *pointer) {
  if (pointer) peak_add(-(long)malloc_usable_size(pointer) - 8);
  __libc_free(pointer);
}
/* Begins to watch; what was held before does not count. */
static long peak_begin(void) {
  long held = atomic_load(&peak_held);
  atomic_store(&peak_most, held);
  return held;
}
static long peak_end(long before) { return atomic_load(&peak_most) - before; }
#else
static const bool peak_counts = false;
static long peak_begin(void) { return 0; }
static long peak_end(long before) { return before; }
#endif

#endif
