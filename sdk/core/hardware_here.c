/* hardware_here.c: the provider of this machine's own facts. The macOS part has never run on a Mac. */
#include "hardware_internal.h"
#include <dirent.h>
#include <fcntl.h>
#include <sched.h>
#include <sys/utsname.h>
#include <unistd.h>
#if defined(__x86_64__)
#include <cpuid.h>
#endif
#if defined(__linux__)
#include <sys/auxv.h>
#endif

/* The path below `user`, a root folder; NULL: the system's. */
static const char *rooted(char *out, size_t size, const char *root, const char *path) {
  if (!root || !*root) return path;
  int n = snprintf(out, size, "%s%s", root, path);
  return n > 0 && (size_t)n < size ? out : NULL;
}

static int64_t read_file(void *user, const char *path, char *out, size_t size) {
  char full[4608];
  out[0] = 0;
  path = rooted(full, sizeof full, user, path);
  int fd = path ? open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK) : -1;
  if (fd < 0) return -1;
  size_t used = 0;
  ssize_t got = 0;
  while (used < size - 1 && (got = read(fd, out + used, size - 1 - used)) > 0) used += (size_t)got;
  close(fd);
  if (got < 0 && used == 0) return -1; /* a folder, a sensor that does not answer */
  out[used] = 0;
  return (int64_t)used;
}

static int64_t list_folder(void *user, const char *path, char *out, size_t size) {
  char full[4608];
  out[0] = 0;
  path = rooted(full, sizeof full, user, path);
  DIR *folder = path ? opendir(path) : NULL;
  if (!folder) return -1;
  size_t used = 0;
  for (struct dirent *entry; (entry = readdir(folder)) != NULL;) {
    size_t n = strlen(entry->d_name);
    if (!strcmp(entry->d_name, ".") || !strcmp(entry->d_name, "..") || used + n + 2 > size) continue;
    memcpy(out + used, entry->d_name, n);
    used += n;
    out[used++] = '\n';
  }
  closedir(folder);
  out[used] = 0;
  return (int64_t)used;
}

static long affinity_cores(void) {
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
  return cores;
}

static int64_t number(char *out, size_t size, int64_t value) {
  if (value < 0) return -1;
  int n = snprintf(out, size, "%lld", (long long)value);
  return n > 0 && (size_t)n < size ? n : -1;
}

static int64_t words(char *out, size_t size, const char *text) {
  int n = snprintf(out, size, "%s", text);
  return n >= 0 && (size_t)n < size ? n : -1;
}

static int64_t fact_uname(const char *which, char *out, size_t size) {
  struct utsname system;
  if (uname(&system) != 0) return -1;
  if (!strcmp(which, "sysname")) return words(out, size, system.sysname);
  if (!strcmp(which, "machine")) return words(out, size, system.machine);
  if (!strcmp(which, "release")) return words(out, size, system.release);
  return -1;
}

static int64_t fact_auxv(const char *which, char *out, size_t size) {
#if defined(__linux__)
  unsigned long type = !strcmp(which, "hwcap") ? AT_HWCAP : !strcmp(which, "hwcap2") ? AT_HWCAP2 : 0;
  int n = type ? snprintf(out, size, "0x%lx", getauxval(type)) : -1;
  return n > 0 && (size_t)n < size ? n : -1;
#else
  (void)which, (void)out, (void)size;
  return -1;
#endif
}

/* "cpuid.<leaf>.<sub-leaf>" and "xgetbv". */
static int64_t fact_x86(const char *name, char *out, size_t size) {
#if defined(__x86_64__)
  unsigned a = 0, b = 0, c = 0, d = 0;
  int n;
  if (!strcmp(name, "xgetbv")) {
    if (!__get_cpuid(1, &a, &b, &c, &d) || !(c & bit_OSXSAVE)) return -1;
    __asm__("xgetbv" : "=a"(a), "=d"(d) : "c"(0));
    n = snprintf(out, size, "0x%x%08x", d, a);
  } else {
    char *end;
    unsigned long leaf = strtoul(name, &end, 16), sub = *end == '.' ? strtoul(end + 1, NULL, 16) : 0;
    bool virtual_machine = leaf >> 28 == 4; /* the hypervisor's leaves, which the compiler's own bound does not know */
    if (!virtual_machine && leaf > (unsigned long)(unsigned)__get_cpuid_max((unsigned)leaf & 0x80000000U, NULL)) return -1;
    __cpuid_count((unsigned)leaf, (unsigned)sub, a, b, c, d);
    n = snprintf(out, size, "%08x %08x %08x %08x", a, b, c, d);
  }
  return n > 0 && (size_t)n < size ? n : -1;
#else
  (void)name, (void)out, (void)size;
  return -1;
#endif
}

#if defined(__APPLE__)
#include <dlfcn.h>
#include <mach/mach.h>
#include <sys/sysctl.h>

static int64_t fact_mach(const char *which, char *out, size_t size) {
  vm_statistics64_data_t pages;
  mach_msg_type_number_t count = HOST_VM_INFO64_COUNT;
  if (host_statistics64(mach_host_self(), HOST_VM_INFO64, (host_info64_t)&pages, &count) != KERN_SUCCESS) return -1;
  if (!strcmp(which, "free_pages")) return number(out, size, pages.free_count);
  if (!strcmp(which, "inactive_pages")) return number(out, size, pages.inactive_count);
  if (!strcmp(which, "purgeable_pages")) return number(out, size, pages.purgeable_count);
  return -1;
}

/* The frameworks are opened, not linked: reading cores and memory needs none of them. */
typedef const void *cf;
static void *symbol(const char *framework, const char *name) {
  char path[128];
  snprintf(path, sizeof path, "/System/Library/Frameworks/%s.framework/%s", framework, framework);
  void *library = dlopen(path, RTLD_LAZY | RTLD_LOCAL);
  return library ? dlsym(library, name) : NULL;
}
static cf cf_string(const char *text) {
  cf (*make)(cf, const char *, uint32_t);
  *(void **)&make = symbol("CoreFoundation", "CFStringCreateWithCString");
  return make ? make(NULL, text, 0x08000100 /* kCFStringEncodingUTF8 */) : NULL;
}
static void cf_release(cf thing) {
  void (*release)(cf);
  *(void **)&release = symbol("CoreFoundation", "CFRelease");
  if (release && thing) release(thing);
}
static bool cf_number(int *out, cf thing) {
  unsigned char (*get)(cf, long, void *);
  *(void **)&get = symbol("CoreFoundation", "CFNumberGetValue");
  return get && thing && get(thing, 9 /* kCFNumberIntType */, out);
}
static bool cf_dictionary_number(int *out, cf dictionary, const char *key_text) {
  cf (*get)(cf, cf), key = cf_string(key_text);
  *(void **)&get = symbol("CoreFoundation", "CFDictionaryGetValue");
  bool found = get && key && dictionary && cf_number(out, get(dictionary, key));
  cf_release(key);
  return found;
}

/* IOPMCopyCPUPowerStatus, what `pmset -g therm` prints: CPU_Speed_Limit is the percentage of full speed allowed; 100 is no throttling. */
static int64_t fact_pmset(const char *key, char *out, size_t size) {
  int (*copy)(cf *), value;
  cf status = NULL;
  *(void **)&copy = symbol("IOKit", "IOPMCopyCPUPowerStatus");
  if (!copy || copy(&status) != 0 || !status) return -1;
  bool found = cf_dictionary_number(&value, status, key);
  cf_release(status);
  return found ? number(out, size, value) : -1;
}

/* notify_get_state of the thermal pressure level (OSThermalNotification.h: 0 nominal, 1 moderate, 2 heavy, 3 trapping, 4 sleeping). */
static int64_t fact_notify(const char *name, char *out, size_t size) {
  extern uint32_t notify_register_check(const char *, int *), notify_get_state(int, uint64_t *), notify_cancel(int);
  int token;
  uint64_t state;
  if (notify_register_check(name, &token) != 0) return -1;
  bool known = notify_get_state(token, &state) == 0;
  notify_cancel(token);
  return known ? number(out, size, (int64_t)state) : -1;
}

/* A number of the first I/O registry entry of the graphics class. */
static int64_t fact_ioreg(const char *key_text, char *out, size_t size) {
  void *(*matching)(const char *);
  unsigned (*find)(unsigned, void *), (*release)(unsigned);
  cf (*property)(unsigned, cf, cf, uint32_t), key = cf_string(key_text);
  *(void **)&matching = symbol("IOKit", "IOServiceMatching");
  *(void **)&find = symbol("IOKit", "IOServiceGetMatchingService");
  *(void **)&release = symbol("IOKit", "IOObjectRelease");
  *(void **)&property = symbol("IOKit", "IORegistryEntryCreateCFProperty");
  int value = 0;
  bool found = false;
  unsigned service = matching && find && key ? find(0, matching("AGXAccelerator")) : 0;
  if (service && property) {
    cf got = property(service, key, NULL, 0);
    found = cf_number(&value, got);
    cf_release(got);
  }
  if (service && release) release(service);
  cf_release(key);
  return found ? number(out, size, value) : -1;
}

/* IOPowerSources: "power.source" is "ac" or "battery", "power.percent" the battery's charge. */
static int64_t fact_power(const char *which, char *out, size_t size) {
  cf (*copy)(void), (*list)(cf), (*source)(cf), (*description)(cf, cf), (*item)(cf, long);
  long (*count)(cf);
  *(void **)&copy = symbol("IOKit", "IOPSCopyPowerSourcesInfo");
  *(void **)&list = symbol("IOKit", "IOPSCopyPowerSourcesList");
  *(void **)&source = symbol("IOKit", "IOPSGetProvidingPowerSourceType");
  *(void **)&description = symbol("IOKit", "IOPSGetPowerSourceDescription");
  *(void **)&item = symbol("CoreFoundation", "CFArrayGetValueAtIndex");
  *(void **)&count = symbol("CoreFoundation", "CFArrayGetCount");
  unsigned char (*equal)(cf, cf);
  *(void **)&equal = symbol("CoreFoundation", "CFEqual");
  cf info = copy ? copy() : NULL, sources = info && list ? list(info) : NULL;
  int64_t got = -1;
  if (info && !strcmp(which, "source") && source && equal) {
    cf battery = cf_string("Battery Power"), now = source(info);
    if (now && battery) got = words(out, size, equal(now, battery) ? "battery" : "ac");
    cf_release(battery);
  } else if (sources && !strcmp(which, "percent") && count && item && description) {
    int percent;
    for (long i = 0; i < count(sources) && got < 0; i++)
      if (cf_dictionary_number(&percent, description(info, item(sources, i)), "Current Capacity")) got = number(out, size, percent);
  }
  cf_release(sources);
  cf_release(info);
  return got;
}

/* -[MTLDevice recommendedMaxWorkingSetSize] of the default device: tens of milliseconds, so only where devices are asked for. */
static int64_t fact_metal(const char *which, char *out, size_t size) {
  void *(*device)(void), *(*selector)(const char *);
  uint64_t (*send)(void *, void *);
  void *objc = dlopen("/usr/lib/libobjc.dylib", RTLD_LAZY | RTLD_LOCAL);
  *(void **)&device = symbol("Metal", "MTLCreateSystemDefaultDevice");
  *(void **)&selector = objc ? dlsym(objc, "sel_registerName") : NULL;
  *(void **)&send = objc ? dlsym(objc, "objc_msgSend") : NULL;
  if (strcmp(which, "recommended_working_set_bytes") != 0 || !device || !selector || !send) return -1;
  void *gpu = device();
  return gpu ? number(out, size, (int64_t)send(gpu, selector("recommendedMaxWorkingSetSize"))) : -1;
}

static int64_t fact_sysctl(const char *name, char *out, size_t size) {
  union {
    char text[1024];
    int32_t i32;
    int64_t i64;
    struct xsw_usage swap;
  } value;
  size_t got = sizeof value.text - 1;
  static const char *const texts[] = {"machdep.cpu.brand_string", "kern.osproductversion", "kern.osrelease", "hw.model", "hw.machine", "hw.targettype",
                                      "hw.perflevel0.name", "hw.perflevel1.name", "hw.perflevel2.name", "hw.perflevel3.name"};
  if (sysctlbyname(name, value.text, &got, NULL, 0) != 0) return -1;
  if (!strcmp(name, "vm.swapusage")) return number(out, size, (int64_t)value.swap.xsu_total);
  for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++)
    if (!strcmp(name, texts[i])) return value.text[got < sizeof value.text ? got : 0] = 0, words(out, size, value.text);
  return got == 4 ? number(out, size, value.i32) : got == 8 ? number(out, size, value.i64) : -1;
}

static const struct {
  const char *prefix;
  int64_t (*get)(const char *rest, char *out, size_t size);
} apple[] = {{"mach.", fact_mach}, {"pmset.", fact_pmset}, {"notify.", fact_notify}, {"ioreg.", fact_ioreg}, {"power.", fact_power}, {"metal.", fact_metal}};

static int64_t fact_apple(const char *name, char *out, size_t size) {
  for (size_t i = 0; i < sizeof apple / sizeof apple[0]; i++) {
    size_t n = strlen(apple[i].prefix);
    if (strncmp(name, apple[i].prefix, n) == 0) return apple[i].get(name + n, out, size);
  }
  return fact_sysctl(name, out, size);
}
#endif

static int64_t find_fact(void *user, const char *name, char *out, size_t size) {
  (void)user;
  out[0] = 0;
  if (strncmp(name, "cpuid.", 6) == 0) return fact_x86(name + 6, out, size);
  if (strcmp(name, "xgetbv") == 0) return fact_x86(name, out, size);
  if (strncmp(name, "uname.", 6) == 0) return fact_uname(name + 6, out, size);
  if (strncmp(name, "auxv.", 5) == 0) return fact_auxv(name + 5, out, size);
  if (strcmp(name, "affinity.cores") == 0) return number(out, size, affinity_cores());
  if (strcmp(name, "online.cores") == 0) return number(out, size, sysconf(_SC_NPROCESSORS_ONLN));
  if (strcmp(name, "page.bytes") == 0) return number(out, size, sysconf(_SC_PAGESIZE));
#if defined(__APPLE__)
  return fact_apple(name, out, size);
#else
  return -1;
#endif
}

static int64_t find_fact_without_devices(void *user, const char *name, char *out, size_t size) {
  out[0] = 0;
  return strncmp(name, "metal.", 6) == 0 ? -1 : find_fact(user, name, out, size);
}

const etk_hardware_provider *etk_hardware_this_machine(void) {
  static const etk_hardware_provider here = {NULL, read_file, list_folder, find_fact, true};
  return &here;
}

const etk_hardware_provider *etk_hardware_without_devices(void) {
  static const etk_hardware_provider here = {NULL, read_file, list_folder, find_fact_without_devices, false};
  return &here;
}

etk_hardware_provider etk__provider_at(const char *root) {
  union {
    const char *in;
    void *out;
  } user = {root};
  return (etk_hardware_provider){user.out, read_file, list_folder, find_fact_without_devices, false};
}
