/* Tests of etk/alloc.h. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include "etk/alloc.h"
#include <pthread.h>

static void the_nth_allocation_fails_once(void **state) {
  (void)state;
  etk_alloc_fail_nth(2, false);
  void *a = etk_alloc(1), *b = etk_alloc(1), *c = etk_alloc(1);
  assert_non_null(a);
  assert_null(b);
  assert_non_null(c);
  etk_free(a);
  etk_free(c);
}

static void failing_goes_on_when_asked_until_switched_off(void **state) {
  (void)state;
  etk_alloc_fail_nth(2, true);
  void *a = etk_calloc(1, 1);
  assert_non_null(a);
  assert_null(etk_strdup("x"));
  assert_null(etk_alloc_aligned(64, 64));
  assert_null(etk_realloc(a, 10, 10)); /* the old block stays */
  etk_alloc_fail_nth(0, false);
  void *b = etk_alloc(1);
  assert_non_null(b);
  etk_free(a);
  etk_free(b);
}

static void calls_minus_frees_is_what_lives(void **state) {
  (void)state;
  etk_alloc_stats before = etk_alloc_get_stats();
  char *p = etk_alloc(10);
  p = etk_realloc(p, 100, 1);
  p = etk_realloc(p, 1000, 1);
  etk_alloc_stats during = etk_alloc_get_stats();
  assert_int_equal(during.calls - during.frees, before.calls - before.frees + 1);
  etk_free(p);
  etk_free(NULL);
  etk_alloc_stats after = etk_alloc_get_stats();
  assert_int_equal(after.calls - after.frees, before.calls - before.frees);
  assert_int_equal(after.failures, before.failures);
}

static void sizes_that_overflow_give_null(void **state) {
  (void)state;
  etk_arena arena = ETK_ARENA_INIT;
  volatile size_t half = SIZE_MAX / 2, all = SIZE_MAX;
  assert_null(etk_realloc(NULL, half, 3));
  assert_null(etk_arena_array(&arena, half, 3));
  assert_null(etk_arena_alloc(&arena, all));
  assert_null(etk_arena_alloc(&arena, all - 40));
  assert_null(etk_strndup("x", all));
  etk_arena_fini(&arena);
}

static void empty_and_aligned_blocks_are_as_promised(void **state) {
  (void)state;
  void *a = etk_alloc(0), *b = etk_alloc(0), *c = etk_alloc_aligned(100, 4096);
  assert_non_null(a);
  assert_non_null(b);
  assert_ptr_not_equal(a, b);
  assert_int_equal((uintptr_t)c % 4096, 0);
  etk_free(a);
  etk_free(b);
  etk_free(c);
}

static void arena_memory_is_zeroed_aligned_and_apart(void **state) {
  (void)state;
  etk_arena arena = {.block_size = 256};
  unsigned char *pieces[200];
  for (int round = 0; round < 2; round++) { /* the second on memory used before */
    for (size_t i = 0; i < 200; i++) {
      size_t size = i * 7 % 300;
      pieces[i] = etk_arena_alloc(&arena, size);
      assert_int_equal((uintptr_t)pieces[i] % 16, 0);
      for (size_t j = 0; j < size; j++) assert_int_equal(pieces[i][j], 0);
      memset(pieces[i], (int)i, size);
    }
    for (size_t i = 0; i < 200; i++)
      for (size_t j = 0; j < i * 7 % 300; j++) assert_int_equal(pieces[i][j], i);
    etk_arena_reset(&arena);
    assert_int_equal(arena.used, 0);
  }
  etk_arena_fini(&arena);
}

static void a_reset_arena_serves_the_same_again_without_allocating(void **state) {
  (void)state;
  etk_arena arena = ETK_ARENA_INIT;
  for (int i = 0; i < 100; i++) assert_non_null(etk_arena_alloc(&arena, 100));
  etk_arena_reset(&arena);
  uint64_t before = etk_alloc_get_stats().calls;
  for (int i = 0; i < 100; i++) assert_non_null(etk_arena_alloc(&arena, 100));
  assert_int_equal(etk_alloc_get_stats().calls, before);
  etk_arena_fini(&arena);
}

static void arena_strings_are_copies(void **state) {
  (void)state;
  etk_arena arena = ETK_ARENA_INIT;
  char text[] = "abcdef";
  char *a = etk_arena_strdup(&arena, text), *b = etk_arena_strndup(&arena, text, 3), *c = etk_arena_printf(&arena, "%s-%d", text, 7);
  memset(text, 'x', 6);
  assert_string_equal(a, "abcdef");
  assert_string_equal(b, "abc");
  assert_string_equal(c, "abcdef-7");
  etk_alloc_fail_nth(1, false);
  assert_null(etk_arena_alloc(&arena, 1 << 20));
  assert_string_equal(a, "abcdef");
  etk_arena_fini(&arena);
}

static void *churn(void *unused) {
  for (int i = 0; i < 2000; i++) etk_free(etk_alloc(16));
  return unused;
}

static void counters_are_exact_under_threads(void **state) {
  (void)state;
  etk_alloc_stats before = etk_alloc_get_stats();
  pthread_t threads[4];
  for (int i = 0; i < 4; i++) assert_int_equal(pthread_create(&threads[i], NULL, churn, NULL), 0);
  for (int i = 0; i < 4; i++) pthread_join(threads[i], NULL);
  assert_int_equal(etk_alloc_get_stats().calls - before.calls, 8000);
  assert_int_equal(etk_alloc_get_stats().frees - before.frees, 8000);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(the_nth_allocation_fails_once),
      cmocka_unit_test(failing_goes_on_when_asked_until_switched_off),
      cmocka_unit_test(calls_minus_frees_is_what_lives),
      cmocka_unit_test(sizes_that_overflow_give_null),
      cmocka_unit_test(empty_and_aligned_blocks_are_as_promised),
      cmocka_unit_test(arena_memory_is_zeroed_aligned_and_apart),
      cmocka_unit_test(a_reset_arena_serves_the_same_again_without_allocating),
      cmocka_unit_test(arena_strings_are_copies),
      cmocka_unit_test(counters_are_exact_under_threads),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
