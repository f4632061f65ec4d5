/* hardware.c: one description from a provider's facts; this process's memory and clocks. */
#include "hardware_internal.h"
#include "etk/log.h"
#include <limits.h>
#include <stdatomic.h>
#include <sys/resource.h>
#include <time.h>
#if defined(__APPLE__)
#include <mach/mach.h>
#endif

/* What to go by before anything else is known: how to read the rest. */
static void read_kind(etk_hardware *out, provider *p) {
  char text[96];
  etk__ask_fact(p, text, sizeof text, "uname.sysname");
  for (size_t i = 0; text[i]; i++) text[i] = (char)(text[i] >= 'A' && text[i] <= 'Z' ? text[i] + ('a' - 'A') : text[i]);
  COPY(out->platform, text[0] ? text : "unknown");
  etk__ask_fact(p, text, sizeof text, "uname.machine");
  COPY(out->architecture, strcmp(text, "aarch64") == 0 ? "arm64" : strcmp(text, "amd64") == 0 ? "x86_64" : text[0] ? text : "unknown");
}

void etk__read_chip(etk_hardware *out, provider *p) {
  memset(out, 0, sizeof *out);
  out->battery_percent = -1;
  read_kind(out, p);
  etk__read_cpu(out, p);
  if (!out->chip[0]) COPY(out->chip, "unknown");
}

static void read_all(etk_hardware *out, provider *p) {
  etk__read_chip(out, p);
  int64_t page = etk__ask_number(p, 0, "page.bytes");
  if (page > 0) out->page_bytes = page;
  if (strcmp(out->platform, "darwin") == 0) {
    etk__read_darwin(out, p);
  } else {
    etk__read_linux(out, p);
    etk__read_container(out, p);
    etk__read_power(out, p);
    etk__read_cuda(out, p);
  }
  etk__read_isa(out, p);
}

/* A caller compiled against a shorter struct gets its part. */
void etk_hardware_read_from(etk_hardware *out, size_t out_size, const etk_hardware_provider *p) {
  if (out_size >= sizeof *out) {
    read_all(out, p);
    memset((char *)out + sizeof *out, 0, out_size - sizeof *out);
    return;
  }
  etk_hardware whole;
  read_all(&whole, p);
  memcpy(out, &whole, out_size);
}

int64_t etk_hardware_memory_available(void) {
  provider *p = etk_hardware_without_devices();
  char text[8192];
  int64_t available = 0;
#if defined(__APPLE__)
  int64_t pages = etk__ask_number(p, 0, "mach.free_pages") + etk__ask_number(p, 0, "mach.inactive_pages") + etk__ask_number(p, 0, "mach.purgeable_pages");
  available = pages * etk__ask_number(p, 0, "page.bytes");
#endif
  if (etk__ask_file(p, text, sizeof text, "/proc/meminfo") > 0) available = etk__proc_kib(text, "MemAvailable");
  etk_cgroup group;
  etk__cgroup_read(&group, p);
  return group.memory_limit > 0 && (available == 0 || group.memory_headroom < available) ? group.memory_headroom : available;
}

static const char *const isa_names[] = {[ETK_ISA_BASE] = "base", [ETK_ISA_NEON] = "neon", [ETK_ISA_AVX2] = "avx2", [ETK_ISA_AVX512] = "avx512",
                                        [ETK_ISA_AVX512VNNI] = "avx512vnni", [ETK_ISA_AVX512BF16] = "avx512bf16", [ETK_ISA_NEONDOT] = "neondot", [ETK_ISA_NEONMM] = "neonmm"};
enum { ISA_COUNT = (int)(sizeof isa_names / sizeof isa_names[0]) };

const char *etk_isa_name(etk_isa isa) { return (int)isa >= 0 && (int)isa < ISA_COUNT ? isa_names[isa] : "unknown"; }

static bool is_arm(etk_isa isa) { return isa == ETK_ISA_NEON || isa >= ETK_ISA_NEONDOT; }

etk_isa etk__isa_capped(etk_isa best, const char *cap, bool *known) {
  *known = true;
  if (!cap || !*cap) return best;
  for (int i = 0; i < ISA_COUNT; i++) {
    bool other_kind = i != ETK_ISA_BASE && is_arm((etk_isa)i) != is_arm(best) && best != ETK_ISA_BASE;
    if (strcmp(cap, isa_names[i]) != 0 || other_kind) continue;
    if (i == ETK_ISA_BASE && is_arm(best)) return ETK_ISA_NEON; /* its base has it */
    return (etk_isa)i < best ? (etk_isa)i : best;
  }
  *known = false;
  return best;
}

static etk_isa detect(void) {
  static _Atomic int best = -1;
  int isa = atomic_load_explicit(&best, memory_order_relaxed);
  if (isa >= 0) return (etk_isa)isa;
  etk_hardware here;
  memset(&here, 0, sizeof here);
  read_kind(&here, etk_hardware_without_devices());
  etk__read_isa(&here, etk_hardware_without_devices());
  atomic_store_explicit(&best, (int)here.isa, memory_order_relaxed);
  return here.isa;
}

etk_isa etk_isa_best(void) { return detect(); }

etk_isa etk_isa_active(void) {
  static _Atomic int active = -1;
  int isa = atomic_load_explicit(&active, memory_order_relaxed);
  if (isa >= 0) return (etk_isa)isa;
  bool known;
  const char *cap = getenv("ETK_ISA");
  isa = (int)etk__isa_capped(detect(), cap, &known);
  if (!known)
    etk_log(ETK_LOG_WARNING, "ETK_ISA is '%s'; this processor takes %s; it is ignored", cap,
            is_arm(detect()) ? "neon, neondot or neonmm" : "base, avx2, avx512, avx512vnni or avx512bf16");
  atomic_store_explicit(&active, isa, memory_order_relaxed);
  return (etk_isa)isa;
}

#if defined(__linux__)
static int64_t own_status(const char *key) {
  char text[4096];
  return etk__ask_file(etk_hardware_without_devices(), text, sizeof text, "/proc/self/status") > 0 ? etk__proc_kib(text, key) : 0;
}
#endif

int64_t etk_hardware_peak_rss_bytes(void) {
#if defined(__linux__)
  int64_t peak = own_status("VmHWM"); /* not getrusage: its peak is inherited through exec from the process that forked */
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

int64_t etk_hardware_rss_bytes(void) {
#if defined(__linux__)
  return own_status("VmRSS");
#elif defined(__APPLE__)
  mach_task_basic_info_data_t info;
  mach_msg_type_number_t count = MACH_TASK_BASIC_INFO_COUNT;
  return task_info(mach_task_self(), MACH_TASK_BASIC_INFO, (task_info_t)&info, &count) == KERN_SUCCESS ? (int64_t)info.resident_size : 0;
#else
  return 0;
#endif
}

static int64_t clock_ns(clockid_t which) {
  struct timespec t;
  return clock_gettime(which, &t) == 0 ? (int64_t)t.tv_sec * INT64_C(1000000000) + t.tv_nsec : 0;
}

int64_t etk_time_ns(void) { return clock_ns(CLOCK_MONOTONIC); }

int64_t etk_cpu_time_ns(void) { return clock_ns(CLOCK_PROCESS_CPUTIME_ID); }
