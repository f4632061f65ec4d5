/* hardware.c: facts from /proc, cgroups and cpuid; on macOS from sysctl (that part has never run on a Mac). */
#include "hardware_internal.h"
#include "etk/log.h"
#include "etk/text.h"
#include <fcntl.h>
#include <sched.h>
#include <stdatomic.h>
#include <sys/resource.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>
#if defined(__x86_64__)
#include <cpuid.h>
#endif
#if defined(__APPLE__)
#include <mach/mach.h>
#include <sys/sysctl.h>
#endif
#if defined(__linux__) && defined(__aarch64__)
#include <sys/auxv.h>
#endif

typedef struct features {
  char *out;
  size_t size;
} features;

static inline void add_feature(features *f, bool present, const char *name) {
  size_t used = strlen(f->out);
  if (present) snprintf(f->out + used, f->size - used, "%s%s", used ? " " : "", name);
}

#if defined(__x86_64__)
static etk_isa detect_isa(features *f) {
  unsigned a, b, c, d, b7 = 0, c7 = 0, a71 = 0, state_low = 0, state_high = 0;
  if (!__get_cpuid(1, &a, &b, &c, &d)) return ETK_ISA_BASE;
  if (c & bit_OSXSAVE) __asm__("xgetbv" : "=a"(state_low), "=d"(state_high) : "c"(0));
  bool ymm = (state_low & 0x06) == 0x06, zmm = (state_low & 0xE6) == 0xE6; /* which registers the system saves */
  bool fma = ymm && (c & bit_FMA), f16c = ymm && (c & bit_F16C);
  if (__get_cpuid_count(7, 0, &a, &b, &c, &d)) {
    b7 = b, c7 = c;
    if (a >= 1 && __get_cpuid_count(7, 1, &a, &b, &c, &d)) a71 = a;
  }
  /* Intel's manual, volume 2A, CPUID: leaf 7 EBX 5 avx2, 16 avx512f, 17 dq, 30 bw, 31 vl; ECX 11 vnni; sub-leaf 1 EAX 5 bf16, 4 avx_vnni */
  bool avx2 = ymm && (b7 >> 5 & 1), f512 = zmm && (b7 >> 16 & 1), dq = zmm && (b7 >> 17 & 1), bw = zmm && (b7 >> 30 & 1), vl = zmm && (b7 >> 31 & 1);
  add_feature(f, avx2, "avx2");
  add_feature(f, fma, "fma");
  add_feature(f, f16c, "f16c");
  add_feature(f, f512, "avx512f");
  add_feature(f, dq, "avx512dq");
  add_feature(f, bw, "avx512bw");
  add_feature(f, vl, "avx512vl");
  add_feature(f, zmm && (c7 >> 11 & 1), "avx512vnni");
  add_feature(f, zmm && (a71 >> 5 & 1), "avx512bf16");
  add_feature(f, ymm && (a71 >> 4 & 1), "avxvnni");
  if (!avx2 || !fma || !f16c) return ETK_ISA_BASE;
  return f512 && dq && bw && vl ? ETK_ISA_AVX512 : ETK_ISA_AVX2;
}
#elif defined(__aarch64__)
static etk_isa detect_isa(features *f) {
  add_feature(f, true, "neon"); /* part of the base architecture */
#if defined(__linux__)
  /* Linux, Documentation/arch/arm64/elf_hwcaps.rst */
  unsigned long caps = getauxval(AT_HWCAP), caps2 = getauxval(AT_HWCAP2);
  add_feature(f, caps >> 10 & 1, "fp16");
  add_feature(f, caps >> 20 & 1, "dotprod");
  add_feature(f, caps >> 22 & 1, "sve");
  add_feature(f, caps2 >> 13 & 1, "i8mm");
  add_feature(f, caps2 >> 14 & 1, "bf16");
#elif defined(__APPLE__)
  static const struct {
    const char *key, *name;
  } keys[] = {{"hw.optional.arm.FEAT_FP16", "fp16"},
              {"hw.optional.arm.FEAT_DotProd", "dotprod"},
              {"hw.optional.arm.FEAT_I8MM", "i8mm"},
              {"hw.optional.arm.FEAT_BF16", "bf16"}};
  for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++) {
    int value = 0;
    size_t size = sizeof value;
    add_feature(f, sysctlbyname(keys[i].key, &value, &size, NULL, 0) == 0 && value, keys[i].name);
  }
#endif
  return ETK_ISA_NEON;
}
#else
static etk_isa detect_isa(features *f) {
  (void)f;
  return ETK_ISA_BASE;
}
#endif

#if defined(__linux__)
/* The beginning of a file of /proc; long ones are cut, what is wanted stands early. */
static size_t read_proc(char *out, size_t size, const char *root, const char *name) {
  char path[1024];
  int n = snprintf(path, sizeof path, "%s%s", root, name);
  out[0] = 0;
  int fd = n > 0 && (size_t)n < sizeof path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
  if (fd < 0) return 0;
  size_t used = 0;
  ssize_t got;
  while (used < size - 1 && (got = read(fd, out + used, size - 1 - used)) > 0) used += (size_t)got;
  close(fd);
  out[used] = 0;
  return used;
}

/* "<key>   : value" at a line's start, copied to out; false: no such line. */
static bool proc_value(char *out, size_t size, const char *text, const char *key) {
  size_t n = strlen(key);
  for (const char *line = text; line && *line; line = strchr(line, '\n')) {
    line += *line == '\n';
    if (strncmp(line, key, n) != 0) continue;
    const char *value = line + n + strspn(line + n, " \t");
    if (*value != ':') continue;
    value++;
    value += strspn(value, " \t");
    snprintf(out, size, "%.*s", (int)strcspn(value, "\n"), value);
    return *out != 0;
  }
  return false;
}

static int64_t proc_kib(const char *text, const char *key) {
  char value[64];
  int64_t kib;
  if (!proc_value(value, sizeof value, text, key)) return 0;
  value[strcspn(value, " ")] = 0;
  return etk_parse_int(NULL, &kib, value) == ETK_OK && kib < INT64_MAX / 1024 ? kib * 1024 : 0;
}

static void read_machine(etk_hardware *out, const char *root) {
  char text[16384];
  read_proc(text, sizeof text, root, "/proc/cpuinfo");
  if (!proc_value(out->chip, sizeof out->chip, text, "model name")) {
    read_proc(text, sizeof text, root, "/proc/device-tree/model"); /* arm64: cpuinfo names no model */
    if (*text) snprintf(out->chip, sizeof out->chip, "%.127s", text);
  }
  read_proc(text, sizeof text, root, "/proc/meminfo");
  out->memory_bytes = proc_kib(text, "MemTotal");
  out->memory_available_bytes = proc_kib(text, "MemAvailable");
  int64_t used, limit = etk__cgroup_memory(root, &used);
  if (limit <= 0 || limit >= out->memory_bytes) return;
  out->memory_bytes = limit;
  if (limit - used < out->memory_available_bytes) out->memory_available_bytes = limit > used ? limit - used : 0;
}
#elif defined(__APPLE__)
static void read_machine(etk_hardware *out, const char *root) {
  (void)root;
  size_t size = sizeof out->chip;
  if (sysctlbyname("machdep.cpu.brand_string", out->chip, &size, NULL, 0) != 0) out->chip[0] = 0;
  size = sizeof out->memory_bytes;
  if (sysctlbyname("hw.memsize", &out->memory_bytes, &size, NULL, 0) != 0) out->memory_bytes = 0;
  out->apple_silicon = strncmp(out->chip, "Apple", 5) == 0;
  vm_statistics64_data_t pages;
  mach_msg_type_number_t count = HOST_VM_INFO64_COUNT;
  if (host_statistics64(mach_host_self(), HOST_VM_INFO64, (host_info64_t)&pages, &count) == KERN_SUCCESS)
    out->memory_available_bytes = ((int64_t)pages.free_count + pages.inactive_count + pages.purgeable_count) * (int64_t)sysconf(_SC_PAGESIZE);
}
#else
static void read_machine(etk_hardware *out, const char *root) {
  (void)root;
  out->memory_bytes = (int64_t)sysconf(_SC_PHYS_PAGES) * sysconf(_SC_PAGESIZE);
}
#endif

int etk__hardware_usable_cores(const char *root) {
  long cores = sysconf(_SC_NPROCESSORS_ONLN);
#if defined(__linux__)
  cpu_set_t *set = NULL;
  for (int bits = 1024; bits <= 1 << 20; bits *= 4) { /* the kernel refuses a set smaller than its own */
    size_t size = CPU_ALLOC_SIZE(bits);
    set = CPU_ALLOC(bits);
    if (!set) break;
    bool known = sched_getaffinity(0, size, set) == 0;
    if (known) cores = CPU_COUNT_S(size, set);
    CPU_FREE(set);
    if (known) break;
  }
#endif
  int quota = etk__cgroup_cores(root);
  if (quota > 0 && quota < cores) cores = quota;
  return cores < 1 ? 1 : (int)cores;
}

void etk__hardware_read(etk_hardware *out, const char *root) {
  memset(out, 0, sizeof *out);
  struct utsname system;
  if (uname(&system) == 0) {
    for (size_t i = 0; system.sysname[i] && i + 1 < sizeof out->platform; i++) {
      char c = system.sysname[i];
      out->platform[i] = (char)(c >= 'A' && c <= 'Z' ? c + ('a' - 'A') : c);
    }
    snprintf(out->architecture, sizeof out->architecture, "%.31s", strcmp(system.machine, "aarch64") == 0 ? "arm64" : system.machine);
  }
  long online = sysconf(_SC_NPROCESSORS_ONLN);
  out->logical_cores = online > 0 ? (int)online : 0;
  out->usable_cores = etk__hardware_usable_cores(root);
  read_machine(out, root);
  if (!out->chip[0]) snprintf(out->chip, sizeof out->chip, "unknown");
  out->isa = detect_isa(&(features){out->isa_features, sizeof out->isa_features});
}

const etk_hardware_provider *etk_hardware_this_machine(void) {
  static const etk_hardware_provider here = {0};
  return &here;
}

void etk_hardware_read_from(etk_hardware *out, size_t out_size, const etk_hardware_provider *provider) {
  (void)out_size, (void)provider;
  etk__hardware_read(out, "");
}

static const char *const isa_names[] = {[ETK_ISA_BASE] = "base", [ETK_ISA_NEON] = "neon", [ETK_ISA_AVX2] = "avx2", [ETK_ISA_AVX512] = "avx512"};
enum { ISA_COUNT = (int)(sizeof isa_names / sizeof isa_names[0]) };

const char *etk_isa_name(etk_isa isa) { return (int)isa >= 0 && (int)isa < ISA_COUNT ? isa_names[isa] : "unknown"; }

etk_isa etk__isa_capped(etk_isa best, const char *cap, bool *known) {
  *known = true;
  if (!cap || !*cap) return best;
  for (int i = 0; i < ISA_COUNT; i++) {
    if (strcmp(cap, isa_names[i]) != 0) continue;
    if ((etk_isa)i >= best) return best;
    return i == ETK_ISA_NEON ? ETK_ISA_BASE : (etk_isa)i; /* below avx2 x86 has only base */
  }
  *known = false;
  return best;
}

etk_isa etk_isa_active(void) {
  static _Atomic int active = -1;
  int isa = atomic_load_explicit(&active, memory_order_relaxed);
  if (isa >= 0) return (etk_isa)isa;
  char names[256] = "";
  bool known;
  const char *cap = getenv("ETK_ISA");
  isa = (int)etk__isa_capped(detect_isa(&(features){names, sizeof names}), cap, &known);
  if (!known) etk_log(ETK_LOG_WARNING, "ETK_ISA is '%s'; base, neon, avx2 or avx512 is wanted, so it is ignored", cap);
  atomic_store_explicit(&active, isa, memory_order_relaxed);
  return (etk_isa)isa;
}

int64_t etk_hardware_peak_rss_bytes(void) {
#if defined(__linux__)
  /* Not getrusage: its peak is inherited through exec from the process that forked. */
  char text[4096];
  read_proc(text, sizeof text, "", "/proc/self/status");
  int64_t peak = proc_kib(text, "VmHWM");
  if (peak > 0) return peak;
#endif
  struct rusage usage;
  if (getrusage(RUSAGE_SELF, &usage) != 0) return 0;
#if defined(__APPLE__)
  return usage.ru_maxrss;
#else
  return (int64_t)usage.ru_maxrss * 1024;
#endif
}

static int64_t clock_ns(clockid_t which) {
  struct timespec t;
  return clock_gettime(which, &t) == 0 ? (int64_t)t.tv_sec * INT64_C(1000000000) + t.tv_nsec : 0;
}

int64_t etk_time_ns(void) { return clock_ns(CLOCK_MONOTONIC); }

int64_t etk_cpu_time_ns(void) { return clock_ns(CLOCK_PROCESS_CPUTIME_ID); }
