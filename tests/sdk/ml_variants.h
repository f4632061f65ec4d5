/* One test for each variant of a table of kernels that the architecture has: one that this machine cannot run is counted as skipped, and none is left out in silence.
 *
 *   static void sums_are_right(void **state) {
 *     const struct kernels *k;
 *     FIND_VARIANT(k, etk__kernels_at, state);   … }
 *   const struct CMUnitTest tests[] = {KERNELS(VARIANT, sums_are_right) cmocka_unit_test(…)}; */
#ifndef TESTS_SDK_ML_VARIANTS_H
#define TESTS_SDK_ML_VARIANTS_H

#include <etk/hardware.h>
#include <string.h>

/* What each table has, lowest first. */
#if defined(__x86_64__)
#define KERNELS(T, test) T(test, base) T(test, avx2) T(test, avx512)
#define BLOCKS(T, test)  KERNELS(T, test) T(test, avx512vnni)
#define HALVES(T, test)  KERNELS(T, test) T(test, avx512bf16)
#elif defined(__aarch64__)
#define KERNELS(T, test) T(test, neon)
#define BLOCKS(T, test)  KERNELS(T, test) T(test, neondot) T(test, neonmm)
#define HALVES(T, test)  KERNELS(T, test) T(test, neonmm)
#else
#define KERNELS(T, test) T(test, base)
#define BLOCKS(T, test)  KERNELS(T, test)
#define HALVES(T, test)  KERNELS(T, test)
#endif

#define VARIANT(test, isa) {#test ", " #isa, test, NULL, NULL, #isa},

/* The table whose name the test's state is; AT(i): tables that this machine can run, by number, NULL past the last. */
#define FIND_VARIANT(k, AT, state)                                     \
  do {                                                                 \
    int at_ = 0;                                                       \
    while (((k) = AT(at_)) && strcmp((k)->name, *(state)) != 0) at_++; \
    if (!(k)) skip();                                                  \
  } while (0)

/* Whether the processor has the instruction set: then a table of its name must be found. */
static inline __attribute__((unused)) bool machine_has(const char *name) {
  for (int i = ETK_ISA_BASE; i <= ETK_ISA_NEONMM; i++)
    if (strcmp(name, etk_isa_name((etk_isa)i)) == 0) return (etk_isa)i <= etk_isa_best();
  return false;
}
#define COUNT_PRESENT(AT, isa) + machine_has(#isa)
/* In a test: tables that run here are as many as the list's that this machine should have; `others`: those not in the list, such as a reference. */
#define assert_variants_are_listed(LIST, AT, others)             \
  do {                                                           \
    int count_ = 0;                                              \
    while (AT(count_)) count_++;                                 \
    assert_int_equal(count_, (others) LIST(COUNT_PRESENT, AT));  \
  } while (0)

#endif
