/* hardware_linux.c: cores, caches, memory and system of a Linux machine, from /proc and /sys. */
#include "hardware_internal.h"
#include "etk/alloc.h"

#define CPUS "/sys/devices/system/cpu"
enum { SMALL = 256, CPUINFO_MOST = 16 << 20 };

static int list_file_count(provider *p, const char *path) {
  char text[4096];
  return etk__ask_file(p, text, sizeof text, "%s", path) > 0 ? etk__cpu_list_count(text) : 0;
}

static int64_t line_number(const char *text, const char *key) {
  char value[64];
  int64_t number;
  return etk__proc_value(value, sizeof value, text, key) && etk_parse_int(NULL, &number, value) == ETK_OK ? number : 0;
}

/* The whole of /proc/cpuinfo, which has 1.5 KB for each processor of an x86; NULL: not there or no memory. */
static char *read_cpuinfo(provider *p) {
  char *text = NULL;
  for (size_t size = 1 << 16; size <= CPUINFO_MOST; size *= 4) {
    char *grown = etk_realloc(text, size, 1);
    if (!grown) break;
    text = grown;
    int64_t got = etk__ask_file(p, text, size, "/proc/cpuinfo");
    if (got >= 0 && (size_t)got < size - 4096) return text;
    if (got < 0) break;
  }
  etk_free(text);
  return NULL;
}

/* Where /sys is not there (a container that hides it, a machine of which only cpuinfo was published): count the processors and their sockets. */
static void cores_by_cpuinfo(etk_hardware *out, provider *p) {
  char *text = read_cpuinfo(p);
  if (!text) return;
  int processors = 0;
  int64_t top_socket = -1, siblings = line_number(text, "siblings"), cores = line_number(text, "cpu cores");
  for (const char *at = text; at; at = (at = strchr(at, '\n')) ? at + 1 : NULL) {
    int64_t socket;
    if (strncmp(at, "processor", 9) == 0 && (at[9] == ' ' || at[9] == '\t')) processors++;
    if (strncmp(at, "physical id", 11) == 0 && (socket = line_number(at, "physical id")) > top_socket && socket < 1024) top_socket = socket;
  }
  if (out->logical_cores == 0) out->logical_cores = processors;
  if (out->sockets == 0 && top_socket >= 0) out->sockets = (int)top_socket + 1;
  if (out->physical_cores == 0 && siblings > 0 && cores > 0 && cores <= siblings && siblings < 1 << 20) out->physical_cores = (int)(out->logical_cores * cores / siblings);
  etk_free(text);
}

/* arm64: the relative speed of each core; the fastest kind are performance cores. */
static void kinds_by_capacity(etk_hardware *out, provider *p) {
  int64_t best = etk__ask_file_number(p, 0, CPUS "/cpu0/cpu_capacity"), least = best;
  if (best <= 0) return;
  int fast = 0, counted = 0;
  for (int i = 0; i < out->logical_cores && i < 1024; i++) {
    int64_t capacity = etk__ask_file_number(p, 0, CPUS "/cpu%d/cpu_capacity", i);
    if (capacity <= 0) continue;
    counted++;
    if (capacity > best) best = capacity, fast = 0;
    if (capacity < least) least = capacity;
    fast += capacity == best;
  }
  if (least == best) return;
  out->performance_cores = fast;
  out->efficiency_cores = counted - fast;
}

/* Extended topology (Intel's manual, CPUID leaf 0BH; AMD has it too): threads of a core, logical cores of a package. */
static void cores_by_cpuid(etk_hardware *out, provider *p) {
  uint32_t core[4], package[4];
  if (!etk__ask_cpuid(p, core, 0xB, 0) || !etk__ask_cpuid(p, package, 0xB, 1) || (core[2] >> 8 & 255) != 1 || (package[2] >> 8 & 255) != 2) return;
  int threads = (int)(core[1] & 0xFFFF), logical = (int)(package[1] & 0xFFFF);
  if (threads < 1 || logical < threads || out->logical_cores < 1) return;
  if (out->physical_cores == 0) out->physical_cores = (out->logical_cores + threads - 1) / threads;
  if (out->sockets == 0) out->sockets = (out->logical_cores + logical - 1) / logical;
}

/* Cores are alike but for hybrid machines, whose kinds have lists of their own: a few reads serve any number of cores. */
static void read_cores(etk_hardware *out, provider *p) {
  out->logical_cores = list_file_count(p, CPUS "/online");
  if (out->logical_cores == 0) out->logical_cores = (int)etk__ask_number(p, 0, "online.cores");
  int threads = list_file_count(p, CPUS "/cpu0/topology/thread_siblings_list"), package = list_file_count(p, CPUS "/cpu0/topology/package_cpus_list");
  if (package == 0) package = list_file_count(p, CPUS "/cpu0/topology/core_siblings_list"); /* its name before Linux 5.x */
  int fast = list_file_count(p, "/sys/devices/cpu_core/cpus"), slow = list_file_count(p, "/sys/devices/cpu_atom/cpus");
  if (fast > 0 && slow > 0 && threads > 0) {
    out->performance_cores = (fast + threads - 1) / threads;
    out->efficiency_cores = slow;
    out->physical_cores = out->performance_cores + slow;
  } else if (threads > 0) {
    out->physical_cores = (out->logical_cores + threads - 1) / threads;
  }
  if (package > 0) out->sockets = (out->logical_cores + package - 1) / package;
  if (out->physical_cores == 0 || out->sockets == 0) cores_by_cpuid(out, p);
  if (out->logical_cores == 0 || out->physical_cores == 0 || out->sockets == 0) cores_by_cpuinfo(out, p);
  if (out->performance_cores == 0 && strcmp(out->architecture, "arm64") == 0) kinds_by_capacity(out, p);
  out->numa_nodes = list_file_count(p, "/sys/devices/system/node/online");
}

/* "32K", "1024K", "96M". */
static int64_t cache_size(const char *text) {
  char *end;
  long long n = strtoll(text, &end, 10);
  return n <= 0 || n > 1 << 30 ? 0 : *end == 'K' ? n << 10 : *end == 'M' ? n << 20 : n;
}

static void take_cache(etk_hardware *out, int64_t level, int64_t size, int sharing) {
  if (level == 1) out->l1d_bytes = size;
  if (level == 2) out->l2_bytes = size, out->l2_sharing = sharing;
  if (level == 3) out->l3_bytes = size, out->l3_sharing = sharing;
}

static bool caches_by_sysfs(etk_hardware *out, provider *p) {
  char text[4096];
  bool any = false;
  for (int i = 0; i < 8; i++) {
    if (etk__ask_file(p, text, sizeof text, CPUS "/cpu0/cache/index%d/type", i) <= 0) break;
    if (strcmp(text, "Instruction") == 0 || etk__ask_file(p, text, sizeof text, CPUS "/cpu0/cache/index%d/size", i) <= 0) continue;
    int64_t size = cache_size(text), level = etk__ask_file_number(p, 0, CPUS "/cpu0/cache/index%d/level", i);
    int sharing = etk__ask_file(p, text, sizeof text, CPUS "/cpu0/cache/index%d/shared_cpu_list", i) > 0 ? etk__cpu_list_count(text) : 0;
    int64_t line = etk__ask_file_number(p, 0, CPUS "/cpu0/cache/index%d/coherency_line_size", i);
    if (line > 0 && out->cache_line_bytes == 0) out->cache_line_bytes = line;
    take_cache(out, level, size, sharing);
    any = any || size > 0;
  }
  return any;
}

/* Leaf 4 (Intel) and 0x8000001D (AMD) have one form; sharing is by APIC numbers, of which not all need exist. */
static void caches_by_cpuid(etk_hardware *out, provider *p) {
  uint32_t r[4], vendor[4];
  if (!etk__ask_cpuid(p, vendor, 0, 0)) return;
  bool amd = vendor[2] == 0x444D4163U || vendor[2] == 0x656E6975U; /* "cAMD", "uine" of HygonGenuine */
  for (uint32_t i = 0; i < 8 && etk__ask_cpuid(p, r, amd ? 0x8000001DU : 4, i); i++) {
    uint32_t type = r[0] & 31;
    if (type == 0) break;
    if (type == 2) continue; /* instructions */
    int64_t line = (r[1] & 0xFFF) + 1, size = (int64_t)((r[1] >> 22) + 1) * ((r[1] >> 12 & 0x3FF) + 1) * line * ((int64_t)r[2] + 1);
    int sharing = (int)(r[0] >> 14 & 0xFFF) + 1;
    if (out->cache_line_bytes == 0) out->cache_line_bytes = line;
    take_cache(out, r[0] >> 5 & 7, size, out->logical_cores > 0 && sharing > out->logical_cores ? out->logical_cores : sharing);
  }
}

static void read_memory(etk_hardware *out, provider *p) {
  char text[8192];
  if (etk__ask_file(p, text, sizeof text, "/proc/meminfo") > 0) {
    out->machine_memory_bytes = etk__proc_kib(text, "MemTotal");
    out->memory_available_bytes = etk__proc_kib(text, "MemAvailable");
    out->swap_bytes = etk__proc_kib(text, "SwapTotal");
    out->huge_page_bytes = etk__proc_kib(text, "Hugepagesize");
  }
  out->memory_bytes = out->machine_memory_bytes;
  if (etk__ask_file(p, text, sizeof text, "/sys/kernel/mm/transparent_hugepage/enabled") > 0) { /* "always [madvise] never" */
    char *chosen = strchr(text, '['), *end = chosen ? strchr(chosen, ']') : NULL;
    if (end) *end = 0, COPY(out->transparent_huge_pages, chosen + 1);
  }
}

static void read_system(etk_hardware *out, provider *p) {
  char text[4096];
  if (etk__ask_fact(p, text, sizeof text, "uname.release") > 0) COPY(out->kernel, text);
  if (etk__ask_file(p, text, sizeof text, "/etc/os-release") <= 0 && etk__ask_file(p, text, sizeof text, "/usr/lib/os-release") <= 0) return;
  for (char *line = text; line; line = (line = strchr(line, '\n')) ? line + 1 : NULL) {
    if (strncmp(line, "PRETTY_NAME=", 12) != 0) continue;
    line += 12;
    line[strcspn(line, "\n")] = 0;
    size_t n = strlen(line);
    if (n >= 2 && (*line == '"' || *line == '\'') && line[n - 1] == *line) line[n - 1] = 0, line++;
    COPY(out->os_version, line);
    return;
  }
}

void etk__read_linux(etk_hardware *out, provider *p) {
  read_cores(out, p);
  if (!caches_by_sysfs(out, p) && strcmp(out->architecture, "x86_64") == 0) caches_by_cpuid(out, p);
  read_memory(out, p);
  read_system(out, p);
  if (!out->hypervisor[0]) {
    char text[SMALL];
    if (etk__ask_file(p, text, sizeof text, "/sys/hypervisor/type") > 0) COPY(out->hypervisor, text);
  }
}
