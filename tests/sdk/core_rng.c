/* Tests of etk/rng.h. Vectors: the Random123 distribution, kat_vectors, "philox4x32 10". */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include "etk/rng.h"
#include <math.h>

static void known_answers_come_out(void **state) {
  (void)state;
  static const struct {
    uint64_t counter, stream, seed;
    uint32_t out[4];
  } rows[] = {
      {0, 0, 0, {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}},
      {UINT64_MAX, UINT64_MAX, UINT64_MAX, {0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}},
      {UINT64_C(0x85a308d3243f6a88), UINT64_C(0x0370734413198a2e), UINT64_C(0x299f31d0a4093822), {0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}},
  };
  for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
    uint32_t out[4];
    etk_rng_block(out, rows[i].seed, rows[i].stream, rows[i].counter);
    assert_memory_equal(out, rows[i].out, sizeof out);
  }
}

static void words_are_those_of_the_blocks_at_any_position(void **state) {
  (void)state;
  etk_rng rng = etk_rng_new(7, 9);
  for (uint64_t i = 0; i < 40; i++) {
    uint32_t block[4];
    etk_rng_block(block, 7, 9, i / 4);
    etk_rng there = {7, 9, i};
    assert_int_equal(etk_rng_u32(&there), block[i % 4]);
    assert_int_equal(etk_rng_u32(&rng), block[i % 4]);
    assert_int_equal(rng.position, i + 1);
  }
}

static void bounded_numbers_stay_below_and_reach_all(void **state) {
  (void)state;
  etk_rng rng = etk_rng_new(1, 1);
  int seen[10] = {0};
  for (int i = 0; i < 10000; i++) {
    uint64_t value = etk_rng_below(&rng, 10);
    assert_true(value < 10);
    seen[value]++;
  }
  for (int i = 0; i < 10; i++) assert_in_range(seen[i], 850, 1150); /* mean 1000, deviation 30: five of them */
  assert_int_equal(etk_rng_below(&rng, 1), 0);
  uint64_t large = UINT64_C(3) << 62; /* a fourth of all words is redrawn */
  for (int i = 0; i < 1000; i++) assert_true(etk_rng_below(&rng, large) < large);
}

static void uniform_and_normal_have_their_moments(void **state) {
  (void)state;
  enum { N = 200000 };
  etk_rng rng = etk_rng_new(5, 0);
  double sum = 0, squares = 0, normal = 0, normal_squares = 0, fourth = 0;
  for (int i = 0; i < N; i++) {
    double u = etk_rng_uniform(&rng), z = etk_rng_normal(&rng);
    assert_true(u >= 0 && u < 1 && isfinite(z));
    sum += u, squares += u * u;
    normal += z, normal_squares += z * z, fourth += z * z * z * z;
  }
  /* Five standard errors each: deviation of u 0.289, u*u 0.298, z 1, z*z sqrt(2), z^4 sqrt(96). */
  double root = sqrt((double)N);
  assert_true(fabs(sum / N - 0.5) < 5 * 0.289 / root);
  assert_true(fabs(squares / N - 1.0 / 3) < 5 * 0.298 / root);
  assert_true(fabs(normal / N) < 5 / root);
  assert_true(fabs(normal_squares / N - 1) < 5 * 1.415 / root);
  assert_true(fabs(fourth / N - 3) < 5 * 9.8 / root);
}

static void a_shuffle_is_a_permutation_and_repeats(void **state) {
  (void)state;
  size_t a[100], b[100], seen[100] = {0}, fixed = 0;
  for (size_t i = 0; i < 100; i++) a[i] = b[i] = i;
  etk_rng one = etk_rng_new(2, 3), two = etk_rng_new(2, 3);
  etk_rng_shuffle(&one, a, 100);
  etk_rng_shuffle(&two, b, 100);
  assert_memory_equal(a, b, sizeof a);
  for (size_t i = 0; i < 100; i++) seen[a[i]]++, fixed += a[i] == i;
  for (size_t i = 0; i < 100; i++) assert_int_equal(seen[i], 1);
  assert_true(fixed < 10); /* one is expected */
  etk_rng_shuffle(&one, a, 0);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(known_answers_come_out),
      cmocka_unit_test(words_are_those_of_the_blocks_at_any_position),
      cmocka_unit_test(bounded_numbers_stay_below_and_reach_all),
      cmocka_unit_test(uniform_and_normal_have_their_moments),
      cmocka_unit_test(a_shuffle_is_a_permutation_and_repeats),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
