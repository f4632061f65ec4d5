/* hardware_isa.c: the instruction sets that kernels use, from cpuid, hwcap, sysctl or, where only that was published, the flags of /proc/cpuinfo. */
#include "hardware_internal.h"

static void add(etk_hardware *out, bool present, const char *name) {
  size_t used = strlen(out->isa_features);
  if (present) snprintf(out->isa_features + used, sizeof out->isa_features - used, "%s%s", used ? " " : "", name);
}

/* Registers by which a feature's state is saved: bits of XCR0. */
enum { NO_STATE = 0, YMM = 0x06, ZMM = 0xE6, TILE = 0x60000 };

/* Intel's manual, volume 2A, CPUID; register 0 … 3 is eax … edx. `flag`: how Linux spells it in /proc/cpuinfo. */
static const struct {
  const char *name, *flag;
  uint32_t leaf, sub_leaf, state;
  int reg, bit;
} x86[] = {
    {"avx2", "avx2", 7, 0, YMM, 1, 5},
    {"fma", "fma", 1, 0, YMM, 2, 12},
    {"f16c", "f16c", 1, 0, YMM, 2, 29},
    {"avx512f", "avx512f", 7, 0, ZMM, 1, 16},
    {"avx512dq", "avx512dq", 7, 0, ZMM, 1, 17},
    {"avx512bw", "avx512bw", 7, 0, ZMM, 1, 30},
    {"avx512vl", "avx512vl", 7, 0, ZMM, 1, 31},
    {"avx512vnni", "avx512_vnni", 7, 0, ZMM, 2, 11},
    {"avx512bf16", "avx512_bf16", 7, 1, ZMM, 0, 5},
    {"avx512fp16", "avx512_fp16", 7, 0, ZMM, 3, 23},
    {"avxvnni", "avx_vnni", 7, 1, YMM, 0, 4},
    {"amx-tile", "amx_tile", 7, 0, TILE, 3, 24},
    {"amx-int8", "amx_int8", 7, 0, TILE, 3, 25},
    {"amx-bf16", "amx_bf16", 7, 0, TILE, 3, 22},
};

/* Linux, Documentation/arch/arm64/elf_hwcaps.rst and arch/arm64/include/uapi/asm/hwcap.h; Apple, "Determining instruction set characteristics". */
static const struct {
  const char *name, *flag, *sysctl, *older_sysctl;
  int word, bit;
} arm[] = {
    {"fp16", "asimdhp", "hw.optional.arm.FEAT_FP16", "hw.optional.neon_fp16", 1, 10},
    {"dotprod", "asimddp", "hw.optional.arm.FEAT_DotProd", NULL, 1, 20},
    {"i8mm", "i8mm", "hw.optional.arm.FEAT_I8MM", NULL, 2, 13},
    {"bf16", "bf16", "hw.optional.arm.FEAT_BF16", NULL, 2, 14},
    {"sve", "sve", NULL, NULL, 1, 22},
    {"sve2", "sve2", NULL, NULL, 2, 1},
    {"sme", "sme", "hw.optional.arm.FEAT_SME", NULL, 2, 23},
};

static bool x86_by_cpuid(etk_hardware *out, provider *p) {
  uint32_t basic[4], leaf[4] = {0}, seven[4];
  if (!etk__ask_cpuid(p, basic, 1, 0)) return false;
  uint64_t saved = 0;
  if (basic[2] >> 27 & 1) { /* OSXSAVE: the system saves registers and says which */
    int64_t state = etk__ask_number(p, -1, "xgetbv");
    if (state < 0 && etk__ask_cpuid(p, leaf, 0xD, 0)) state = leaf[0]; /* a published dump of cpuid has only what the CPU could save */
    saved = state < 0 ? 0 : (uint64_t)state;
  }
  bool has_seven = etk__ask_cpuid(p, seven, 7, 0);
  for (size_t i = 0; i < sizeof x86 / sizeof x86[0]; i++) {
    if (x86[i].leaf == 1) memcpy(leaf, basic, sizeof leaf);
    else if (x86[i].sub_leaf == 0) memcpy(leaf, seven, sizeof leaf);
    else if (!has_seven || seven[0] < x86[i].sub_leaf || !etk__ask_cpuid(p, leaf, x86[i].leaf, x86[i].sub_leaf)) continue;
    add(out, (saved & x86[i].state) == x86[i].state && (leaf[x86[i].reg] >> x86[i].bit & 1), x86[i].name);
  }
  return true;
}

static void x86_by_flags(etk_hardware *out, provider *p) {
  char text[8192], flags[4096];
  if (etk__ask_file(p, text, sizeof text, "/proc/cpuinfo") <= 0 || !etk__proc_value(flags, sizeof flags, text, "flags")) return;
  for (size_t i = 0; i < sizeof x86 / sizeof x86[0]; i++) add(out, etk__has_word(flags, x86[i].flag), x86[i].name);
}

/* Rungs are taken while their features are there. */
struct rung {
  etk_isa isa;
  const char *features[4];
};
static void climb(etk_hardware *out, const struct rung *rungs, size_t count) {
  for (size_t i = 0; i < count; i++) {
    for (size_t f = 0; f < 4 && rungs[i].features[f]; f++)
      if (!etk__has_word(out->isa_features, rungs[i].features[f])) return;
    out->isa = rungs[i].isa;
  }
}

static void read_x86(etk_hardware *out, provider *p) {
  static const struct rung rungs[] = {{ETK_ISA_AVX2, {"avx2", "fma", "f16c"}},
                                      {ETK_ISA_AVX512, {"avx512f", "avx512dq", "avx512bw", "avx512vl"}},
                                      {ETK_ISA_AVX512VNNI, {"avx512vnni"}},
                                      {ETK_ISA_AVX512BF16, {"avx512bf16"}}};
  if (!x86_by_cpuid(out, p)) x86_by_flags(out, p);
  climb(out, rungs, sizeof rungs / sizeof rungs[0]);
}

static void read_arm(etk_hardware *out, provider *p) {
  char text[8192], flags[4096] = "";
  bool darwin = strcmp(out->platform, "darwin") == 0;
  int64_t caps[3] = {0, etk__ask_number(p, -1, "auxv.hwcap"), etk__ask_number(p, 0, "auxv.hwcap2")};
  if (!darwin && caps[1] < 0 && etk__ask_file(p, text, sizeof text, "/proc/cpuinfo") > 0) etk__proc_value(flags, sizeof flags, text, "Features");
  add(out, true, "neon"); /* part of the base architecture */
  out->isa = ETK_ISA_NEON;
  for (size_t i = 0; i < sizeof arm / sizeof arm[0]; i++) {
    bool has;
    if (darwin) has = (arm[i].sysctl && etk__ask_number(p, 0, arm[i].sysctl) == 1) || (arm[i].older_sysctl && etk__ask_number(p, 0, arm[i].older_sysctl) == 1);
    else if (caps[1] >= 0) has = (uint64_t)caps[arm[i].word] >> arm[i].bit & 1;
    else has = etk__has_word(flags, arm[i].flag);
    add(out, has, arm[i].name);
  }
  static const struct rung rungs[] = {{ETK_ISA_NEONDOT, {"dotprod"}}, {ETK_ISA_NEONMM, {"i8mm", "bf16"}}};
  climb(out, rungs, sizeof rungs / sizeof rungs[0]);
}

void etk__read_isa(etk_hardware *out, provider *p) {
  out->isa = ETK_ISA_BASE;
  out->isa_features[0] = 0;
  if (strcmp(out->architecture, "x86_64") == 0) read_x86(out, p);
  else if (strcmp(out->architecture, "arm64") == 0) read_arm(out, p);
}
