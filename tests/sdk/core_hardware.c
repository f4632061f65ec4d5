/* Tests of etk/hardware.h: this machine, and others replayed from folders that look like their /proc and /sys. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include "core/hardware_internal.h"
#include "etk/alloc.h"
#include "etk/fs.h"
#include <unistd.h>

static char root[64];

static int make_root(void **state) {
  (void)state;
  snprintf(root, sizeof root, "/tmp/etk-hw-XXXXXX");
  return mkdtemp(root) ? 0 : -1;
}

static int remove_root(void **state) {
  (void)state;
  return etk_fs_remove_tree(NULL, root) == ETK_OK ? 0 : -1;
}

static void put(const char *path, const char *text) {
  char *full = etk_path_join(root, path), *folder = etk_path_dir(full);
  assert_int_equal(etk_fs_make_dirs(NULL, folder), ETK_OK);
  etk_error e = ETK_ERROR_INIT;
  if (etk_fs_write(&e, full, text, strlen(text), true)) fail_msg("%s", e.message);
  etk_free(full);
  etk_free(folder);
}

/* Facts of this process (uname, cores) with files from the made-up root. */
static etk_hardware_provider at_root;
static int quota_cores(void) {
  at_root = etk__provider_at(root);
  return etk__cgroup_cores(&at_root);
}
static etk_cgroup limits(void) {
  etk_cgroup group;
  at_root = etk__provider_at(root);
  etk__cgroup_read(&group, &at_root);
  return group;
}
static void read_root(etk_hardware *h) {
  at_root = etk__provider_at(root);
  etk_hardware_read_from(h, sizeof *h, &at_root);
}

static void this_machine_is_described_quickly(void **state) {
  (void)state;
  etk_hardware h;
  int64_t begin = etk_time_ns();
  etk_hardware_get(&h);
  assert_true(etk_time_ns() - begin < INT64_C(200000000)); /* 10 ms are promised; the rest is for a busy machine under a sanitizer */
  assert_true(h.logical_cores >= 1 && h.usable_cores >= 1 && h.usable_cores <= h.logical_cores);
  assert_true(h.memory_bytes > 1 << 20 && h.memory_available_bytes > 0 && h.memory_available_bytes <= h.memory_bytes);
  assert_true(h.platform[0] && h.architecture[0] && h.chip[0]);
#if defined(__linux__)
  assert_string_equal(h.platform, "linux");
#endif
}

static void a_version_2_quota_is_rounded_up(void **state) {
  (void)state;
  put("proc/self/cgroup", "0::/a/b\n");
  assert_int_equal(quota_cores(), 0);
  put("sys/fs/cgroup/a/b/cpu.max", "max 100000\n");
  assert_int_equal(quota_cores(), 0);
  put("sys/fs/cgroup/a/b/cpu.max", "250000 100000\n");
  assert_int_equal(quota_cores(), 3);
  put("sys/fs/cgroup/a/cpu.max", "50000 100000\n"); /* the one above is tighter */
  assert_int_equal(quota_cores(), 1);
  assert_int_equal(etk__hardware_usable_cores(root), 1);
  put("sys/fs/cgroup/a/cpu.max", "nonsense\n");
  assert_int_equal(quota_cores(), 3);
}

static void a_container_sees_its_own_limit_at_the_top(void **state) {
  (void)state;
  put("proc/self/cgroup", "0::/docker/not/visible/here\n");
  put("sys/fs/cgroup/cpu.max", "200000 100000\n");
  assert_int_equal(quota_cores(), 2);
}

static void a_version_1_quota_is_found_too(void **state) {
  (void)state;
  put("proc/self/cgroup", "5:memory:/m\n4:cpu,cpuacct:/x\n1:name=systemd:/\n0::/\n");
  put("sys/fs/cgroup/cpu,cpuacct/x/cpu.cfs_quota_us", "-1\n");
  put("sys/fs/cgroup/cpu,cpuacct/x/cpu.cfs_period_us", "100000\n");
  assert_int_equal(quota_cores(), 0);
  put("sys/fs/cgroup/cpu,cpuacct/x/cpu.cfs_quota_us", "150000\n");
  assert_int_equal(quota_cores(), 2);
  put("sys/fs/cgroup/memory/m/memory.limit_in_bytes", "1000000000\n");
  put("sys/fs/cgroup/memory/m/memory.usage_in_bytes", "400000000\n");
  put("sys/fs/cgroup/memory/m/memory.stat", "cache 5\ntotal_inactive_file 100000000\n");
  assert_int_equal(limits().memory_limit, 1000000000);
  assert_int_equal(limits().memory_headroom, 700000000);
  put("sys/fs/cgroup/memory/m/memory.limit_in_bytes", "9223372036854771712\n"); /* how version 1 says: none */
  assert_int_equal(limits().memory_limit, 0);
}

static void memory_is_that_of_the_container_where_less(void **state) {
#if !defined(__linux__)
  (void)state;
  skip();
#else
  (void)state;
  put("proc/cpuinfo", "processor\t: 0\nmodel name\t: Some Chip 9000\n");
  put("proc/meminfo", "MemTotal:       16000000 kB\nMemFree: 1 kB\nMemAvailable:    8000000 kB\n");
  etk_hardware h;
  read_root(&h);
#if !defined(__x86_64__)
  assert_string_equal(h.chip, "Some Chip 9000"); /* x86 asks the CPU itself */
#endif
  assert_int_equal(h.memory_bytes, INT64_C(16384000000));
  assert_int_equal(h.memory_available_bytes, INT64_C(8192000000));
  put("proc/self/cgroup", "0::/c\n");
  put("sys/fs/cgroup/c/memory.max", "2000000000\n");
  put("sys/fs/cgroup/c/memory.current", "900000000\n");
  put("sys/fs/cgroup/c/memory.stat", "anon 1\ninactive_file 400000000\nactive_file 7\n");
  read_root(&h);
  assert_int_equal(h.memory_bytes, 2000000000);
  assert_int_equal(h.memory_available_bytes, 1500000000);
#endif
}

static void a_machine_without_proc_is_unknown_but_described(void **state) {
  (void)state;
  etk_hardware h;
  read_root(&h);
#if defined(__linux__)
  assert_int_equal(h.memory_bytes, 0);
  assert_int_equal(h.battery_percent, -1);
  assert_string_equal(h.os_version, "");
#endif
  assert_true(h.usable_cores >= 1);
}

static void the_instruction_set_is_capped(void **state) {
  (void)state;
  static const struct {
    etk_isa best;
    const char *cap;
    etk_isa active;
    bool known;
  } cases[] = {{ETK_ISA_AVX512, NULL, ETK_ISA_AVX512, true},
               {ETK_ISA_AVX512, "", ETK_ISA_AVX512, true},
               {ETK_ISA_AVX512, "avx2", ETK_ISA_AVX2, true},
               {ETK_ISA_AVX2, "avx512", ETK_ISA_AVX2, true}, /* a cap, not a wish */
               {ETK_ISA_AVX2, "base", ETK_ISA_BASE, true},
               {ETK_ISA_BASE, "avx2", ETK_ISA_BASE, true},
               {ETK_ISA_AVX512BF16, "avx512vnni", ETK_ISA_AVX512VNNI, true},
               {ETK_ISA_NEONMM, "neondot", ETK_ISA_NEONDOT, true},
               {ETK_ISA_NEONMM, "neon", ETK_ISA_NEON, true},
               {ETK_ISA_NEONMM, "base", ETK_ISA_NEON, true}, /* Arm's base has NEON */
               {ETK_ISA_NEON, "neonmm", ETK_ISA_NEON, true},
               {ETK_ISA_AVX2, "neon", ETK_ISA_AVX2, false}, /* of another kind of processor */
               {ETK_ISA_AVX512BF16, "neondot", ETK_ISA_AVX512BF16, false},
               {ETK_ISA_NEON, "avx2", ETK_ISA_NEON, false},
               {ETK_ISA_NEONMM, "avx512", ETK_ISA_NEONMM, false},
               {ETK_ISA_AVX2, "sse", ETK_ISA_AVX2, false},
               {ETK_ISA_AVX2, "AVX2", ETK_ISA_AVX2, false}};
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    bool known;
    assert_int_equal(etk__isa_capped(cases[i].best, cases[i].cap, &known), cases[i].active);
    assert_int_equal(known, cases[i].known);
  }
  etk_hardware h;
  etk_hardware_get(&h);
  assert_true(etk_isa_active() <= h.isa);
  for (int i = ETK_ISA_BASE; i <= ETK_ISA_NEONMM; i++) assert_string_not_equal(etk_isa_name((etk_isa)i), "unknown");
#if defined(__x86_64__)
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) assert_true(h.isa >= ETK_ISA_AVX2 && strstr(h.isa_features, "avx2 fma"));
  assert_int_equal(h.isa >= ETK_ISA_AVX512,
                   __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl"));
#endif
}

/* A driver of our own with two devices and one that does not answer, built here; false: no compiler. */
static bool build_fake_cuda(char *path, size_t size) {
  static const char source[] =
      "#include <stddef.h>\n#include <stdio.h>\n#include <stdlib.h>\n"
      "static int ready;\n"
      "int cuInit(unsigned flags) { ready = flags == 0; return getenv(\"FAKE_CUDA_FAILS\") ? 100 : 0; }\n"
      "int cuDeviceGetCount(int *count) { *count = 3; return ready ? 0 : 3; }\n"
      "int cuDeviceGet(int *device, int i) { *device = i * 10; return i == 1 ? 101 : 0; }\n"
      "int cuDeviceGetName(char *name, int n, int d) { snprintf(name, (size_t)n, \"Fake GPU %d\", d); return 0; }\n"
      "int cuDeviceTotalMem_v2(size_t *bytes, int d) { *bytes = (size_t)(d + 1) << 30; return 0; }\n"
      "int cuDeviceGetAttribute(int *v, int a, int d) { (void)d; *v = a == 75 ? 9 : a == 76 ? 0 : -1; return 0; }\n"
      "int cuDriverGetVersion(int *version) { *version = 12040; return 0; }\n";
  put("fake.c", source);
  const char *cc = getenv("CC");
  char command[512];
  snprintf(path, size, "%s/libcuda.so.1", root);
  snprintf(command, sizeof command, "%s -shared -fPIC -Wl,-soname,libcuda.so.1 -o %s %s/fake.c >/dev/null 2>&1", cc && *cc ? cc : "cc", path, root);
  return system(command) == 0;
}

/* As a machine with the kernel module would answer. */
static int64_t driver_file(void *user, const char *path, char *out, size_t size) {
  (void)user;
  if (strcmp(path, "/proc/driver/nvidia/version") != 0) return -1;
  return snprintf(out, size, "NVRM version: NVIDIA UNIX x86_64 Kernel Module  550.54.15  Tue Mar  5 22:23:56 UTC 2024\n");
}
static int64_t linux_fact(void *user, const char *name, char *out, size_t size) {
  (void)user;
  return strcmp(name, "uname.sysname") == 0 ? snprintf(out, size, "Linux") : -1;
}

static void cuda_devices_are_listed_by_the_drivers_library(void **state) {
  (void)state;
  char path[128];
  etk_gpu gpus[ETK_GPUS_MOST];
  if (!build_fake_cuda(path, sizeof path)) skip();
  assert_int_equal(etk__cuda_devices(gpus, ETK_GPUS_MOST, "/nowhere/libcuda.so.1", ""), 0);
  setenv("FAKE_CUDA_FAILS", "1", 1);
  assert_int_equal(etk__cuda_devices(gpus, ETK_GPUS_MOST, path, ""), 0);
  unsetenv("FAKE_CUDA_FAILS");
  assert_int_equal(etk__cuda_devices(gpus, ETK_GPUS_MOST, path, ""), 2); /* the device that fails is left out */
  assert_string_equal(gpus[0].name, "Fake GPU 0");
  assert_string_equal(gpus[0].kind, "cuda");
  assert_string_equal(gpus[0].capability, "9.0");
  assert_string_equal(gpus[0].driver, "CUDA 12.4");
  assert_int_equal(gpus[0].memory_bytes, INT64_C(1) << 30);
  assert_string_equal(gpus[1].name, "Fake GPU 20");
  assert_int_equal(gpus[1].memory_bytes, INT64_C(21) << 30);
  assert_int_equal(etk__cuda_devices(gpus, 1, path, "535.1"), 1);
  assert_string_equal(gpus[0].driver, "535.1");

  /* The library is in memory now under its own name, which is what reading a machine opens; but only with a driver, and where devices are wanted. */
  etk_hardware h;
  etk_hardware_provider p = {NULL, driver_file, NULL, linux_fact, true};
  etk_hardware_read_from(&h, sizeof h, &p);
  assert_int_equal(h.gpu_count, 2);
  assert_string_equal(h.gpus[1].name, "Fake GPU 20");
  assert_string_equal(h.gpus[1].driver, "550.54.15");
  p.devices = false;
  etk_hardware_read_from(&h, sizeof h, &p);
  assert_int_equal(h.gpu_count, 0);
  if (access("/dev/nvidiactl", F_OK) == 0) return;
  p = (etk_hardware_provider){NULL, NULL, NULL, linux_fact, true};
  etk_hardware_read_from(&h, sizeof h, &p);
  assert_int_equal(h.gpu_count, 0);
}

static void a_caller_with_a_shorter_struct_gets_its_part(void **state) {
  (void)state;
  etk_hardware whole;
  struct {
    char part[offsetof(etk_hardware, chip) + 8];
    char guard[8];
  } cut;
  memset(&cut, 0x5A, sizeof cut);
  etk_hardware_read_from(&whole, sizeof whole, etk_hardware_without_devices());
  etk_hardware_read_from((etk_hardware *)(void *)&cut, sizeof cut.part, etk_hardware_without_devices());
  assert_memory_equal(cut.part, &whole, sizeof cut.part);
  for (size_t i = 0; i < sizeof cut.guard; i++) assert_int_equal(cut.guard[i], 0x5A);
}

static void a_provider_without_members_knows_nothing(void **state) {
  (void)state;
  etk_hardware h;
  const etk_hardware_provider nothing = {NULL, NULL, NULL, NULL, false};
  etk_hardware_read_from(&h, sizeof h, &nothing);
  assert_string_equal(h.platform, "unknown");
  assert_string_equal(h.chip, "unknown");
  assert_int_equal(h.usable_cores, 1);
  assert_int_equal(h.battery_percent, -1);
  assert_int_equal(h.isa, ETK_ISA_BASE);
}

static void parts_asked_for_alone_agree_with_the_whole(void **state) {
  (void)state;
  etk_hardware h;
  etk_hardware_read_from(&h, sizeof h, etk_hardware_without_devices());
  assert_int_equal(etk_isa_best(), h.isa);
  int64_t available = etk_hardware_memory_available();
  assert_true(available > h.memory_available_bytes / 2 && available / 2 < h.memory_available_bytes);
  assert_int_equal(etk__hardware_usable_cores(""), h.usable_cores);
#if defined(__linux__)
  assert_true(etk_hardware_rss_bytes() > 100000 && etk_hardware_rss_bytes() <= etk_hardware_peak_rss_bytes());
#endif
}

static void clocks_and_peak_memory_move_one_way(void **state) {
  (void)state;
  int64_t wall = etk_time_ns(), cpu = etk_cpu_time_ns(), peak = etk_hardware_peak_rss_bytes();
  assert_true(wall > 0 && cpu > 0 && peak > 100000);
  enum { SIZE = 32 << 20 };
  char *block = etk_alloc(SIZE);
  memset(block, 1, SIZE);
  assert_true(block[SIZE / 2] == 1);
  etk_free(block);
  assert_true(etk_time_ns() > wall && etk_cpu_time_ns() > cpu);
  assert_true(etk_hardware_peak_rss_bytes() >= peak);
  assert_true(etk_hardware_peak_rss_bytes() >= SIZE);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, make_root, remove_root)
int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(this_machine_is_described_quickly), TEST(a_version_2_quota_is_rounded_up),
      TEST(a_container_sees_its_own_limit_at_the_top),     TEST(a_version_1_quota_is_found_too),
      TEST(memory_is_that_of_the_container_where_less),    TEST(a_machine_without_proc_is_unknown_but_described),
      cmocka_unit_test(the_instruction_set_is_capped),     TEST(cuda_devices_are_listed_by_the_drivers_library),
      cmocka_unit_test(a_caller_with_a_shorter_struct_gets_its_part), cmocka_unit_test(a_provider_without_members_knows_nothing),
      cmocka_unit_test(parts_asked_for_alone_agree_with_the_whole), cmocka_unit_test(clocks_and_peak_memory_move_one_way),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
