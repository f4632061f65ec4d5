/* alloc.c: malloc with counters and an injected failure. State is process-wide and atomic. */
#include "etk/alloc.h"
#include <errno.h>
#include <stdatomic.h>

static struct {
  _Atomic uint64_t calls, frees, failures;
  _Atomic uint64_t countdown; /* allocations left before the failing one, plus 1; 0: off */
  _Atomic bool forever;
} state;

static bool injected(void) {
  uint64_t left = atomic_load_explicit(&state.countdown, memory_order_relaxed);
  while (left > 0) {
    bool fails = left == 1;
    uint64_t next = fails && atomic_load_explicit(&state.forever, memory_order_relaxed) ? 1 : left - 1;
    if (atomic_compare_exchange_weak_explicit(&state.countdown, &left, next, memory_order_relaxed, memory_order_relaxed)) return fails;
  }
  return false;
}

static void *counted(void *pointer) {
  atomic_fetch_add_explicit(pointer ? &state.calls : &state.failures, 1, memory_order_relaxed);
  return pointer;
}

void *etk_alloc(size_t size) { return counted(injected() ? NULL : malloc(size ? size : 1)); }

void *etk_calloc(size_t count, size_t size) { return counted(injected() ? NULL : calloc(count ? count : 1, size ? size : 1)); }

void *etk_realloc(void *pointer, size_t count, size_t size) {
  size_t bytes = 0;
  if (__builtin_mul_overflow(count, size, &bytes) || injected()) return counted(NULL);
  void *grown = counted(realloc(pointer, bytes ? bytes : 1));
  if (grown && pointer) atomic_fetch_add_explicit(&state.frees, 1, memory_order_relaxed); /* so that calls - frees is what lives */
  return grown;
}

void *etk_alloc_aligned(size_t size, size_t alignment) {
  void *pointer = NULL;
  if (injected() || posix_memalign(&pointer, alignment, size ? size : 1) != 0) pointer = NULL;
  return counted(pointer);
}

char *etk_strndup(const char *text, size_t size) {
  if (size == SIZE_MAX) return counted(NULL);
  char *copy = etk_alloc(size + 1);
  if (!copy) return NULL;
  if (size) memcpy(copy, text, size);
  copy[size] = 0;
  return copy;
}

char *etk_strdup(const char *text) { return etk_strndup(text, strlen(text)); }

void etk_free(void *pointer) {
  if (!pointer) return;
  atomic_fetch_add_explicit(&state.frees, 1, memory_order_relaxed);
  free(pointer);
}

etk_alloc_stats etk_alloc_get_stats(void) {
  return (etk_alloc_stats){.calls = atomic_load_explicit(&state.calls, memory_order_relaxed),
                           .frees = atomic_load_explicit(&state.frees, memory_order_relaxed),
                           .failures = atomic_load_explicit(&state.failures, memory_order_relaxed)};
}

void etk_alloc_fail_nth(uint64_t nth, bool forever) {
  atomic_store_explicit(&state.forever, forever, memory_order_relaxed);
  atomic_store_explicit(&state.countdown, nth, memory_order_relaxed);
}
