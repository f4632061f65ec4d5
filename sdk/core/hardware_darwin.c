/* hardware_darwin.c: a Mac described by its facts. Facts replay on any machine; the provider's macOS part has never run on a Mac.
 * Names of sysctls: Apple, "Determining system capabilities". */
#include "hardware_internal.h"
#include <limits.h>

static int small(provider *p, const char *name) {
  int64_t n = etk__ask_number(p, 0, name);
  return n > 0 && n < INT_MAX ? (int)n : 0;
}

static int64_t first_of(provider *p, const char *name, const char *other) {
  int64_t n = etk__ask_number(p, 0, name);
  return n > 0 ? n : etk__ask_number(p, 0, other);
}

/* Levels go from the fastest kind down; since M5 there may be three, and the second be "Performance". Without names all but the first are efficiency cores. */
static void read_kinds(etk_hardware *out, provider *p) {
  int of_kind[2] = {0, 0}, levels = 0;
  for (int level = 0; level < 4; level++) {
    char name[40], kind[32];
    snprintf(name, sizeof name, "hw.perflevel%d.physicalcpu", level);
    int cores = small(p, name);
    if (cores == 0) break;
    snprintf(name, sizeof name, "hw.perflevel%d.name", level);
    bool named = etk__ask_fact(p, kind, sizeof kind, name) > 0;
    of_kind[named ? strcmp(kind, "Efficiency") == 0 : level > 0] += cores;
    levels++;
  }
  if (levels > 1) out->performance_cores = of_kind[0], out->efficiency_cores = of_kind[1];
  if (out->physical_cores == 0) out->physical_cores = of_kind[0] + of_kind[1];
}

static void read_cores(etk_hardware *out, provider *p) {
  out->logical_cores = small(p, "hw.logicalcpu");
  if (out->logical_cores == 0) out->logical_cores = small(p, "hw.ncpu");
  if (out->logical_cores == 0) out->logical_cores = small(p, "online.cores");
  out->physical_cores = small(p, "hw.physicalcpu");
  read_kinds(out, p);
  out->sockets = small(p, "hw.packages");
  out->cache_line_bytes = etk__ask_number(p, 0, "hw.cachelinesize");
  out->l1d_bytes = first_of(p, "hw.perflevel0.l1dcachesize", "hw.l1dcachesize"); /* the plain names are the slowest cores' */
  out->l2_bytes = first_of(p, "hw.perflevel0.l2cachesize", "hw.l2cachesize");
  out->l3_bytes = etk__ask_number(p, 0, "hw.l3cachesize");
  out->l2_sharing = small(p, "hw.perflevel0.cpusperl2");
  out->max_frequency_hz = etk__ask_number(p, 0, "hw.cpufrequency_max"); /* Intel Macs only */
}

/* sysctl(8) prints "total = 2048.00M  used = …"; the provider gives bytes. */
static int64_t swap_bytes(provider *p) {
  char text[128];
  if (etk__ask_fact(p, text, sizeof text, "vm.swapusage") <= 0) return 0;
  int64_t bytes;
  if (etk_parse_int(NULL, &bytes, text) == ETK_OK) return bytes;
  char *at = strstr(text, "total = "), *end;
  double mib = at ? strtod(at + 8, &end) : 0;
  return at && *end == 'M' && mib > 0 && mib < 1e9 ? (int64_t)(mib * 1048576) : 0;
}

static void read_memory(etk_hardware *out, provider *p) {
  out->machine_memory_bytes = out->memory_bytes = etk__ask_number(p, 0, "hw.memsize");
  out->swap_bytes = swap_bytes(p);
  int64_t page = out->page_bytes;
  int64_t pages = etk__ask_number(p, 0, "mach.free_pages") + etk__ask_number(p, 0, "mach.inactive_pages") + etk__ask_number(p, 0, "mach.purgeable_pages");
  if (page > 0 && pages > 0 && pages <= out->memory_bytes / page) out->memory_available_bytes = pages * page;
}

/* "12.3.1" at least major.minor. */
static bool version_at_least(const char *version, long major, long minor) {
  char *end;
  long a = strtol(version, &end, 10), b = *end == '.' ? strtol(end + 1, NULL, 10) : 0;
  return a > major || (a == major && b >= minor);
}

static void read_system(etk_hardware *out, provider *p) {
  static const char *const mlx[] = {"/opt/homebrew/lib/libmlx.dylib", "/opt/homebrew/opt/mlx/lib/libmlx.dylib", "/usr/local/lib/libmlx.dylib"};
  char version[64] = "", release[64] = "";
  etk__ask_fact(p, version, sizeof version, "kern.osproductversion");
  if (etk__ask_fact(p, release, sizeof release, "kern.osrelease") <= 0) etk__ask_fact(p, release, sizeof release, "uname.release");
  if (version[0]) {
    char text[96];
    snprintf(text, sizeof text, "macOS %s", version);
    COPY(out->os_version, text);
  }
  COPY(out->kernel, release);
  if (!out->apple_silicon) return;
  out->mps_available = version[0] ? version_at_least(version, 12, 3) : version_at_least(release, 21, 4); /* Darwin 21.4 is macOS 12.3 */
  for (size_t i = 0; i < sizeof mlx / sizeof mlx[0]; i++)
    if (etk__ask_exists(p, mlx[i])) out->mlx_available = true;
}

static void read_gpu(etk_hardware *out, provider *p) {
  if (!out->apple_silicon) return;
  out->gpu_cores = small(p, "ioreg.gpu-core-count");
  etk_gpu *gpu = &out->gpus[out->gpu_count++];
  memset(gpu, 0, sizeof *gpu);
  COPY(gpu->name, out->chip);
  COPY(gpu->kind, "metal");
  int64_t wired_mib = etk__ask_number(p, 0, "iogpu.wired_limit_mb"); /* 0: the system's own choice */
  gpu->memory_bytes = wired_mib > 0 && wired_mib < INT64_C(1) << 40 ? wired_mib << 20 : etk__ask_number(p, 0, "metal.recommended_working_set_bytes");
}

static void read_heat_and_power(etk_hardware *out, provider *p) {
  static const char *const levels[] = {"nominal", "fair", "serious", "critical", "critical"};
  int64_t level = etk__ask_number(p, -1, "notify.com.apple.system.thermalpressurelevel"), percent = etk__ask_number(p, 0, "pmset.CPU_Speed_Limit");
  if (percent > 0 && percent <= 100) out->speed_limit_percent = (int)percent;
  if (level >= 0 && level < (int64_t)(sizeof levels / sizeof levels[0])) COPY(out->thermal, levels[level]);
  else if (percent > 0) COPY(out->thermal, percent >= 100 ? "nominal" : percent >= 80 ? "fair" : percent >= 50 ? "serious" : "critical");
  char source[16];
  if (etk__ask_fact(p, source, sizeof source, "power.source") > 0 && (!strcmp(source, "ac") || !strcmp(source, "battery"))) COPY(out->power, source);
  int64_t charge = etk__ask_number(p, -1, "power.percent");
  if (charge >= 0 && charge <= 100) out->battery_percent = (int)charge;
}

void etk__read_darwin(etk_hardware *out, provider *p) {
  read_cores(out, p);
  if (out->page_bytes == 0) out->page_bytes = first_of(p, "hw.pagesize", "vm.pagesize");
  read_memory(out, p);
  read_system(out, p);
  read_gpu(out, p);
  read_heat_and_power(out, p);
  out->usable_cores = out->logical_cores > 0 ? out->logical_cores : 1; /* macOS has neither affinity nor quotas */
  if (etk__ask_number(p, 0, "sysctl.proc_translated") == 1) COPY(out->architecture, "arm64"); /* Rosetta tells x86_64 */
}
