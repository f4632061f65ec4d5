/* interpose.h: malloc of the whole process — ours, jansson's, libyaml's, libc's — counted, and made to fail at the nth call.
 *
 * Include it in one test program's source file: its definitions take the place of libc's. The sanitizers bring their own malloc, so under them
 * `interposed` is false and only etk/alloc.h can be made to fail. */
#ifndef TESTS_INTERPOSE_H
#define TESTS_INTERPOSE_H

#include <errno.h>
#include <etk/alloc.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#if defined(__GLIBC__) && !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__) && !defined(ETK_COVERAGE)
static const bool interposed = true;
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

static atomic_long interpose_left = 0; /* calls until the failure; 0: none */
static atomic_long interpose_live = 0; /* blocks that are not freed */
static atomic_bool interpose_hit = false;

static bool interpose_fails(void) {
  if (atomic_load(&interpose_left) <= 0 || atomic_fetch_sub(&interpose_left, 1) != 1) return false;
  atomic_store(&interpose_hit, true);
  errno = ENOMEM;
  return true;
}
static void *interpose_count(void *pointer) {
  if (pointer) atomic_fetch_add(&interpose_live, 1);
  return pointer;
}
void *malloc(size_t size) { return interpose_fails() ? NULL : interpose_count(__libc_malloc(size)); }
void *calloc(size_t count, size_t size) { return interpose_fails() ? NULL : interpose_count(__libc_calloc(count, size)); }
void *realloc(void *pointer, size_t size) {
  if (interpose_fails()) return NULL;
  void *grown = __libc_realloc(pointer, size);
  if (!pointer) interpose_count(grown);
  return grown;
}
void *memalign(size_t alignment, size_t size) { return interpose_fails() ? NULL : interpose_count(__libc_memalign(alignment, size)); }
void *aligned_alloc(size_t alignment, size_t size) { return memalign(alignment, size); }
int posix_memalign(void **out, size_t alignment, size_t size) {
  void *pointer = memalign(alignment, size);
  if (!pointer) return ENOMEM;
  *out = pointer;
  return 0;
}
void free(void *pointer) {
  if (pointer) atomic_fetch_sub(&interpose_live, 1);
  __libc_free(pointer);
}
static void interpose_arm(long nth) {
  atomic_store(&interpose_hit, false);
  atomic_store(&interpose_left, nth);
}
static bool interpose_disarm(void) { /* did the failure happen? */
  atomic_store(&interpose_left, 0);
  return atomic_load(&interpose_hit);
}
static long interpose_blocks(void) { return atomic_load(&interpose_live); }
#else
static const bool interposed = false;
static uint64_t interpose_failures;
static void interpose_arm(long nth) {
  interpose_failures = etk_alloc_get_stats().failures;
  etk_alloc_fail_nth((uint64_t)nth, false);
}
static bool interpose_disarm(void) {
  etk_alloc_fail_nth(0, false);
  return etk_alloc_get_stats().failures > interpose_failures;
}
static long interpose_blocks(void) {
  etk_alloc_stats stats = etk_alloc_get_stats();
  return (long)(stats.calls - stats.frees);
}
#endif

/* Calls body(user) with the 1st, 2nd, … allocation failing until it runs through untouched. body returns false where it fails cleanly. Every failure
 * must be reported (a body that succeeds although an allocation failed must say so by `tolerant`) and no block may stay behind. Returns the number of
 * allocations tried, or -1 - n where the nth leaked, or 0 where the body fails without any injected failure. */
static inline long interpose_sweep(bool (*body)(void *user), void *user) {
  if (!body(user)) return 0; /* warm-up: what is made once and kept does not count as a leak */
  for (long nth = 1; nth < 1000000; nth++) {
    long before = interpose_blocks();
    interpose_arm(nth);
    bool done = body(user);
    bool hit = interpose_disarm();
    if (interpose_blocks() != before) return -1 - nth;
    if (!hit) return done ? nth - 1 : 0;
  }
  return 0;
}

#endif
