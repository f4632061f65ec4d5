/* Which kernels run: one table for each instruction set, and the ladder that picks one. */
#include "kernels.h"

#include <pthread.h>

#define ENTRY(suffix, kernel) .kernel = etk_k_##kernel##_##suffix,
#define ENTRY_reference(result, kernel, arguments) ENTRY(reference, kernel)
#define ENTRY_base(result, kernel, arguments) ENTRY(base, kernel)
#define ENTRY_avx2(result, kernel, arguments) ENTRY(avx2, kernel)
#define ENTRY_avx512(result, kernel, arguments) ENTRY(avx512, kernel)
#define ENTRY_neon(result, kernel, arguments) ENTRY(neon, kernel)

/* Less than 1.2 times as fast as the set below: that one's stands in its place. */
#define etk_k_transpose_f32_avx512 etk_k_transpose_f32_avx2

static const struct kernels reference = {.name = "reference", ETK_KERNELS(ENTRY_reference)};

/* Later rungs are better; a rung is taken where the processor has it and ETK_ISA allows it. */
static const struct rung {
  etk_isa isa;
  struct kernels kernels;
} ladder[] = {
#if !defined(__aarch64__) /* whose base has NEON */
    {ETK_ISA_BASE, {.name = "base", ETK_KERNELS(ENTRY_base)}},
#endif
#if defined(__x86_64__)
    {ETK_ISA_AVX2, {.name = "avx2", ETK_KERNELS(ENTRY_avx2)}},
    {ETK_ISA_AVX512, {.name = "avx512", ETK_KERNELS(ENTRY_avx512)}},
#elif defined(__aarch64__)
    {ETK_ISA_NEON, {.name = "neon", ETK_KERNELS(ENTRY_neon)}},
#endif
};
enum { RUNGS = sizeof ladder / sizeof *ladder };

static const struct kernels *active = &reference;
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void choose(void) {
  etk_isa best = etk_isa_active();
  for (int i = 0; i < RUNGS; i++)
    if (ladder[i].isa <= best) active = &ladder[i].kernels;
}

const struct kernels *etk__kernels(void) {
  pthread_once(&once, choose);
  return active;
}

const struct kernels *etk__kernels_at(int index) {
  if (index == 0) return &reference;
  return index <= RUNGS && ladder[index - 1].isa <= etk_isa_best() ? &ladder[index - 1].kernels : NULL;
}
