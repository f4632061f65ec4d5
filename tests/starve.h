/* starve.h: a piece of work whose first allocation fails, then its second, and so on, until it runs through without one that failed. Each failure must be told
 * (ETK_E_NO_MEMORY) and leave no block behind:
 *
 *   starvation s = {0};
 *   while (starve(&s)) {
 *     etk_error e = ETK_ERROR_INIT;
 *     etk_status status = work(&e);
 *     ... free what it made ...
 *     starved(&s, status, &e);
 *   }
 *   assert_true(s.nth > 20);   at least so many allocations were there to fail
 */
#ifndef TESTS_STARVE_H
#define TESTS_STARVE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <etk/alloc.h>
#include <etk/status.h>

typedef struct starvation {
  uint64_t dense;  /* where not 0, steps from one failing allocation to the next grow by 1 every so many: for work whose later allocations are alike */
  bool bears;      /* work that can do without some of its memory may succeed all the same */
  bool opens;      /* the first run opens what stays for good (a pool, a table) */
  uint64_t nth;    /* of the current run: the allocation that fails */
  uint64_t borne;  /* runs that succeeded although an allocation failed */
  bool done;
  etk_alloc_stats before;
} starvation;

static inline bool starve(starvation *s) {
  if (s->done) return false;
  s->nth += s->nth && s->dense ? 1 + s->nth / s->dense : 1;
  if (s->nth > 200000) fail_msg("allocation %lu failed, and still the work does not come to its end", (unsigned long)s->nth);
  s->before = etk_alloc_get_stats();
  etk_alloc_fail_nth(s->nth, false);
  return true;
}

/* e: NULL where the work does not tell why. */
static inline void starved(starvation *s, etk_status status, const etk_error *e) {
  etk_alloc_fail_nth(0, false);
  etk_alloc_stats after = etk_alloc_get_stats();
  unsigned long nth = (unsigned long)s->nth;
  s->done = after.failures == s->before.failures;
  s->borne += !s->done && !status;
  const char *what = s->done ? "was not reached" : "failed";
  if (status && (s->done || status != ETK_E_NO_MEMORY)) fail_msg("allocation %lu %s: %s (%s)", nth, what, etk_status_name(status), e ? e->message : "");
  if (!status && !s->done && !s->bears) fail_msg("allocation %lu failed, and nobody said so", nth);
  if (after.calls - s->before.calls == after.frees - s->before.frees || (s->opens && s->nth == 1)) return;
  fail_msg("allocation %lu %s: blocks are left behind", nth, what);
}

#endif
