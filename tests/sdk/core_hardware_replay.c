/* Tests of etk/hardware.h on machines that are not here: published facts (tests/hardware/), and small made-up ones for what no dump shows. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include "core/hardware_internal.h"
#include "etk/alloc.h"
#include "etk/config.h"
#include "etk/fs.h"

#define FOLDER "tests/hardware"

static etk_hardware read_facts(const char *text) {
  etk_error e = ETK_ERROR_INIT;
  etk_facts *facts;
  etk_hardware h;
  if (etk__facts_parse(&e, &facts, "facts", text, strlen(text))) fail_msg("%s", e.message);
  etk_hardware_read_from(&h, sizeof h, etk_facts_provider(facts));
  etk_facts_free(facts);
  return h;
}

static etk_config *json_of(const etk_hardware *h) {
  etk_error e = ETK_ERROR_INIT;
  etk_text text = ETK_TEXT_INIT;
  etk_config *config;
  etk_hardware_json(&text, h);
  if (etk_config_parse(&e, &config, "hardware.json", text.data, text.size, ETK_CONFIG_JSON)) fail_msg("%s", e.message);
  etk_text_free(&text);
  return config;
}

static char *written(const etk_config_node *node) {
  etk_text text = ETK_TEXT_INIT;
  etk_config_write_json(&text, node, 0);
  return etk_text_take(&text);
}

static bool is_unknown(const char *key, const char *value) {
  static const char *const unknown[] = {"0", "0.0", "\"\"", "false", "[]", "\"unknown\""};
  if (strcmp(key, "battery_percent") == 0) return strcmp(value, "-1") == 0;
  for (size_t i = 0; i < sizeof unknown / sizeof unknown[0]; i++)
    if (strcmp(value, unknown[i]) == 0) return true;
  return false;
}

/* Every key either as published says, or unknown. */
static void compare(const char *name, const etk_config_node *seen, const etk_config_node *wanted) {
  for (const etk_config_node *w = wanted->first; w; w = w->next)
    if (!etk_config_child(seen, w->key)) fail_msg("%s: the answer has no '%s'", name, w->key);
  for (const etk_config_node *s = seen->first; s; s = s->next) {
    const etk_config_node *w = etk_config_child(wanted, s->key);
    char *a = written(s), *b = w ? written(w) : NULL;
    if (w ? strcmp(a, b) != 0 : !is_unknown(s->key, a)) fail_msg("%s: %s is %s, wanted %s", name, s->key, a, b ? b : "unknown");
    etk_free(a);
    etk_free(b);
  }
}

static void seven_published_machines_are_described_as_their_sources_say(void **state) {
  (void)state;
  char **names;
  size_t count, machines = 0;
  etk_error e = ETK_ERROR_INIT;
  if (etk_fs_list(&e, &names, &count, FOLDER)) fail_msg("%s", e.message);
  for (size_t i = 0; i < count; i++) {
    char path[256];
    size_t n = strlen(names[i]);
    if (n < 7 || strcmp(names[i] + n - 6, ".facts") != 0) continue;
    etk_facts *facts;
    etk_config *wanted, *seen;
    etk_hardware h;
    snprintf(path, sizeof path, FOLDER "/%s", names[i]);
    if (etk_facts_load(&e, &facts, path)) fail_msg("%s", e.message);
    snprintf(path, sizeof path, FOLDER "/%.*s.json", (int)n - 6, names[i]);
    if (etk_config_load(&e, &wanted, path)) fail_msg("%s", e.message);
    etk_hardware_read_from(&h, sizeof h, etk_facts_provider(facts));
    seen = json_of(&h);
    compare(names[i], etk_config_root(seen), etk_config_root(wanted));
    etk_config_free(seen);
    etk_config_free(wanted);
    etk_facts_free(facts);
    machines++;
  }
  etk_fs_list_free(names, count);
  assert_int_equal(machines, 7);
}

static void apple_brands_give_family_and_variant(void **state) {
  (void)state;
  static const struct {
    const char *brand, *family, *variant;
    bool apple;
    int ane;
  } cases[] = {{"Apple M1", "M1", "", true, 16},           {"Apple M1 Ultra", "M1", "Ultra", true, 32}, {"Apple M2 Pro", "M2", "Pro", true, 16},
               {"Apple M3 Max", "M3", "Max", true, 16},    {"Apple M4", "M4", "", true, 16},            {"Apple M5", "M5", "", true, 16},
               {"Apple M10 Pro", "M10", "Pro", true, 16},  {"Apple processor", "", "", true, 0},
               {"Intel(R) Core(TM) i7-1068NG7 CPU @ 2.30GHz", "", "", false, 0}};
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    etk_hardware h;
    memset(&h, 0, sizeof h);
    etk__apple_chip(&h, cases[i].brand);
    assert_string_equal(h.chip, cases[i].brand);
    assert_string_equal(h.family, cases[i].family);
    assert_string_equal(h.variant, cases[i].variant);
    assert_int_equal(h.apple_silicon, cases[i].apple);
    assert_int_equal(h.ane_cores, cases[i].ane);
    assert_int_equal(h.ane_available, cases[i].ane > 0);
  }
}

#define MAC "@fact uname.sysname Darwin\n@fact uname.machine arm64\n@fact machdep.cpu.brand_string Apple M2\n"

static void a_speed_limit_of_100_is_unthrottled(void **state) {
  (void)state;
  etk_hardware h = read_facts(MAC "@fact pmset.CPU_Speed_Limit 100\n");
  assert_string_equal(h.thermal, "nominal");
  assert_int_equal(h.speed_limit_percent, 100);
  h = read_facts(MAC "@fact pmset.CPU_Speed_Limit 60\n");
  assert_string_equal(h.thermal, "serious");
  assert_int_equal(h.speed_limit_percent, 60);
  h = read_facts(MAC "@fact pmset.CPU_Speed_Limit 20\n");
  assert_string_equal(h.thermal, "critical");
  h = read_facts(MAC "@fact pmset.CPU_Speed_Limit 100\n@fact notify.com.apple.system.thermalpressurelevel 1\n"); /* the level is finer */
  assert_string_equal(h.thermal, "fair");
  assert_string_equal(read_facts(MAC).thermal, "");
}

static void metal_performance_shaders_need_macos_12_3(void **state) {
  (void)state;
  assert_false(read_facts(MAC "@fact kern.osproductversion 12.2.1\n").mps_available);
  assert_true(read_facts(MAC "@fact kern.osproductversion 12.3\n").mps_available);
  assert_true(read_facts(MAC "@fact kern.osproductversion 26.1\n").mps_available);
  assert_false(read_facts(MAC "@fact kern.osrelease 21.3.0\n").mps_available);
  assert_true(read_facts(MAC "@fact kern.osrelease 21.4.0\n").mps_available);
  assert_false(read_facts("@fact uname.sysname Linux\n@fact uname.machine arm64\n@fact kern.osproductversion 15\n").mps_available);
}

static void a_mac_tells_of_mlx_memory_swap_power_and_its_gpu(void **state) {
  (void)state;
  etk_hardware h = read_facts(MAC "@file /opt/homebrew/lib/libmlx.dylib\n@fact hw.memsize 17179869184\n@fact page.bytes 16384\n@fact mach.free_pages 10000\n"
                                  "@fact mach.inactive_pages 250000\n@fact mach.purgeable_pages 2000\n@fact power.source battery\n@fact power.percent 81\n"
                                  "@fact vm.swapusage total = 2048.00M  used = 1.00M  free = 2047.00M  (encrypted)\n@fact ioreg.gpu-core-count 10\n"
                                  "@fact iogpu.wired_limit_mb 12288\n");
  assert_true(h.mlx_available);
  assert_int_equal(h.memory_available_bytes, INT64_C(262000) * 16384);
  assert_int_equal(h.swap_bytes, INT64_C(2) << 30);
  assert_string_equal(h.power, "battery");
  assert_int_equal(h.battery_percent, 81);
  assert_int_equal(h.gpu_cores, 10);
  assert_int_equal(h.gpu_count, 1);
  assert_string_equal(h.gpus[0].kind, "metal");
  assert_int_equal(h.gpus[0].memory_bytes, INT64_C(12) << 30);
  assert_false(read_facts(MAC).mlx_available);
}

/* Family and model as /proc/cpuinfo writes them, against vendors' documents. */
static void x86_families_are_named_by_their_numbers(void **state) {
  (void)state;
  static const struct {
    const char *vendor;
    int family, model, stepping;
    const char *name;
  } cases[] = {{"AuthenticAMD", 23, 49, 0, "Zen 2"},           {"AuthenticAMD", 25, 1, 1, "Zen 3"},          {"AuthenticAMD", 25, 17, 1, "Zen 4"},
               {"AuthenticAMD", 25, 160, 2, "Zen 4c"},         {"AuthenticAMD", 26, 2, 1, "Zen 5"},          {"AuthenticAMD", 26, 17, 0, "Zen 5c"},
               {"AuthenticAMD", 23, 1, 2, "Zen"},              {"GenuineIntel", 6, 85, 4, "Skylake-SP"},     {"GenuineIntel", 6, 85, 7, "Cascade Lake"},
               {"GenuineIntel", 6, 85, 11, "Cooper Lake"},     {"GenuineIntel", 6, 106, 6, "Ice Lake-SP"},   {"GenuineIntel", 6, 143, 8, "Sapphire Rapids"},
               {"GenuineIntel", 6, 207, 2, "Emerald Rapids"},  {"GenuineIntel", 6, 173, 1, "Granite Rapids"}, {"GenuineIntel", 6, 79, 1, "Broadwell"},
               {"GenuineIntel", 6, 183, 1, "Raptor Lake"},     {"GenuineIntel", 6, 250, 1, ""},               {"Somebody", 25, 17, 1, ""}};
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    char facts[512];
    snprintf(facts, sizeof facts,
             "@fact uname.sysname Linux\n@fact uname.machine x86_64\n@file /proc/cpuinfo\nprocessor\t: 0\nvendor_id\t: %s\ncpu family\t: %d\nmodel\t\t: %d\n"
             "model name\t: A chip\nstepping\t: %d\n",
             cases[i].vendor, cases[i].family, cases[i].model, cases[i].stepping);
    etk_hardware h = read_facts(facts);
    assert_string_equal(h.family, cases[i].name);
    assert_string_equal(h.chip, "A chip");
    assert_int_equal(h.logical_cores, 1);
  }
}

static void arm_chips_are_named_by_part_and_by_who_sells_them(void **state) {
  (void)state;
  static const struct {
    const char *implementer, *part, *vendor, *product, *model, *chip, *family, *hypervisor;
  } cases[] = {{"0x41", "0xd0c", "Amazon EC2", "m6g.large", "", "AWS Graviton2", "Neoverse N1", "amazon"},
               {"0x41", "0xd40", "Amazon EC2", "c7g.metal", "", "AWS Graviton3", "Neoverse V1", ""},
               {"0x41", "0xd40", "Amazon EC2", "c7gn.4xlarge", "", "AWS Graviton3E", "Neoverse V1", "amazon"},
               {"0x41", "0xd4f", "Amazon EC2", "c8g.metal-24xl", "", "AWS Graviton4", "Neoverse V2", ""},
               {"0x41", "0xd4f", "Google", "Google Compute Engine", "", "Google Axion", "Neoverse V2", "google"},
               {"0x41", "0xd0c", "Supermicro", "ARS-210M-NR", "", "Neoverse N1", "Neoverse N1", ""},
               {"0xc0", "0xac3", "Ampere", "", "", "AmpereOne", "Ampere-1", ""},
               {"0x41", "0xd0b", "", "", "Raspberry Pi 5 Model B Rev 1.0", "Raspberry Pi 5 Model B Rev 1.0", "Cortex-A76", ""},
               {"0x61", "0x025", "", "", "Apple MacBook Pro (14-inch, M1 Pro, 2021)", "Apple M1 Pro", "M1", ""},
               {"0x99", "0x123", "", "", "", "unknown", "", ""}};
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    char facts[1024];
    snprintf(facts, sizeof facts,
             "@fact uname.sysname Linux\n@fact uname.machine aarch64\n@file /proc/cpuinfo\nprocessor\t: 0\nFeatures\t: fp asimd asimddp\nCPU implementer\t: %s\n"
             "CPU part\t: %s\n@file /sys/class/dmi/id/sys_vendor\n%s\n@file /sys/class/dmi/id/product_name\n%s\n@file /proc/device-tree/model\n%s\n",
             cases[i].implementer, cases[i].part, cases[i].vendor, cases[i].product, cases[i].model);
    etk_hardware h = read_facts(facts);
    assert_string_equal(h.chip, cases[i].chip);
    assert_string_equal(h.family, cases[i].family);
    assert_string_equal(h.hypervisor, cases[i].hypervisor);
    assert_string_equal(h.isa_features, "neon dotprod");
    assert_false(h.mps_available);
  }
}

#define LINUX "@fact uname.sysname Linux\n@fact uname.machine x86_64\n"

static void vector_registers_that_the_system_does_not_save_are_no_feature(void **state) {
  (void)state;
  /* A CPU with everything (leaf 7 of an EPYC 9654), under systems that save ever less. Bits of XCR0: Intel's manual, volume 1, 13.3. */
#define EVERYTHING LINUX "@fact cpuid.1.0 a10f11 c00800 7efa320b 178bfbff\n@fact cpuid.7.0 1 f1bf97a9 415fde 10000010\n@fact cpuid.7.1 20 0 0 0\n"
  assert_int_equal(read_facts(EVERYTHING "@fact xgetbv 0xe7\n").isa, ETK_ISA_AVX512BF16);
  assert_int_equal(read_facts(EVERYTHING "@fact xgetbv 0x7\n").isa, ETK_ISA_AVX2);
  assert_string_equal(read_facts(EVERYTHING "@fact xgetbv 0x7\n").isa_features, "avx2 fma f16c");
  assert_int_equal(read_facts(EVERYTHING "@fact xgetbv 0x3\n").isa, ETK_ISA_BASE);
  assert_int_equal(read_facts(EVERYTHING).isa, ETK_ISA_BASE); /* nobody says what is saved */
}

static void sensors_and_supplies_of_linux_are_read(void **state) {
  (void)state;
#define HWMON "@list /sys/class/hwmon hwmon0 hwmon1\n@file /sys/class/hwmon/hwmon0/name\nnvme\n@file /sys/class/hwmon/hwmon0/temp1_input\n99000\n" \
              "@file /sys/class/hwmon/hwmon1/name\ncoretemp\n@file /sys/class/hwmon/hwmon1/temp1_input\n61000\n@file /sys/class/hwmon/hwmon1/temp1_max\n80000\n" \
              "@file /sys/class/hwmon/hwmon1/temp1_crit\n100000\n@file /sys/class/hwmon/hwmon1/temp3_max\n80000\n@file /sys/class/hwmon/hwmon1/temp3_crit\n100000\n" \
              "@file /sys/class/hwmon/hwmon1/temp3_input\n"
  etk_hardware h = read_facts(LINUX HWMON "63000\n");
  assert_true(h.temperature_c == 63);
  assert_string_equal(h.thermal, "nominal"); /* the drive's 99 degrees are not the CPU's */
  assert_string_equal(read_facts(LINUX HWMON "78000\n").thermal, "fair");
  assert_string_equal(read_facts(LINUX HWMON "85000\n").thermal, "serious");
  assert_string_equal(read_facts(LINUX HWMON "101000\n").thermal, "critical");
  h = read_facts(LINUX "@file /sys/class/thermal/thermal_zone0/type\nacpitz\n@file /sys/class/thermal/thermal_zone0/temp\n20000\n"
                       "@file /sys/class/thermal/thermal_zone1/type\ncpu-thermal\n@file /sys/class/thermal/thermal_zone1/temp\n55500\n");
  assert_true(h.temperature_c == 55.5);
  assert_string_equal(h.thermal, ""); /* without a trip point nobody knows */
  h = read_facts(LINUX "@list /sys/class/power_supply AC BAT0 mouse\n@file /sys/class/power_supply/AC/type\nMains\n@file /sys/class/power_supply/AC/online\n0\n"
                       "@file /sys/class/power_supply/mouse/type\nBattery\n@file /sys/class/power_supply/mouse/scope\nDevice\n"
                       "@file /sys/class/power_supply/mouse/capacity\n5\n@file /sys/class/power_supply/BAT0/type\nBattery\n"
                       "@file /sys/class/power_supply/BAT0/capacity\n73\n@file /sys/class/power_supply/BAT0/status\nDischarging\n");
  assert_string_equal(h.power, "battery");
  assert_int_equal(h.battery_percent, 73);
  h = read_facts(LINUX "@list /sys/devices/system/cpu/cpufreq policy0 policy4 boost\n@file /sys/devices/system/cpu/cpufreq/policy0/cpuinfo_max_freq\n3000000\n"
                       "@file /sys/devices/system/cpu/cpufreq/policy4/cpuinfo_max_freq\n4000000\n@file /sys/devices/system/cpu/cpufreq/policy4/scaling_max_freq\n3000000\n"
                       "@file /sys/kernel/mm/transparent_hugepage/enabled\nalways [madvise] never\n");
  assert_int_equal(h.max_frequency_hz, INT64_C(4000000000));
  assert_int_equal(h.speed_limit_percent, 75);
  assert_string_equal(h.transparent_huge_pages, "madvise");
}

static void hybrid_cores_are_counted_by_kind(void **state) {
  (void)state;
  etk_hardware h = read_facts(LINUX "@file /sys/devices/system/cpu/online\n0-23\n@file /sys/devices/cpu_core/cpus\n0-15\n@file /sys/devices/cpu_atom/cpus\n16-23\n"
                                    "@file /sys/devices/system/cpu/cpu0/topology/thread_siblings_list\n0-1\n"
                                    "@file /sys/devices/system/cpu/cpu0/topology/package_cpus_list\n0-23\n");
  assert_int_equal(h.logical_cores, 24);
  assert_int_equal(h.performance_cores, 8);
  assert_int_equal(h.efficiency_cores, 8);
  assert_int_equal(h.physical_cores, 16);
  assert_int_equal(h.sockets, 1);
  h = read_facts("@fact uname.sysname Linux\n@fact uname.machine aarch64\n@file /sys/devices/system/cpu/online\n0-3\n@file /sys/devices/system/cpu/cpu0/cpu_capacity\n400\n"
                 "@file /sys/devices/system/cpu/cpu1/cpu_capacity\n400\n@file /sys/devices/system/cpu/cpu2/cpu_capacity\n1024\n"
                 "@file /sys/devices/system/cpu/cpu3/cpu_capacity\n400\n");
  assert_int_equal(h.performance_cores, 1);
  assert_int_equal(h.efficiency_cores, 3);
  h = read_facts(MAC "@fact hw.perflevel0.physicalcpu 2\n@fact hw.perflevel0.name Super\n@fact hw.perflevel1.physicalcpu 6\n@fact hw.perflevel1.name Performance\n"
                     "@fact hw.perflevel2.physicalcpu 4\n@fact hw.perflevel2.name Efficiency\n");
  assert_int_equal(h.performance_cores, 8);
  assert_int_equal(h.efficiency_cores, 4);
  assert_int_equal(h.physical_cores, 12);
}

static void every_limit_up_the_hierarchy_counts(void **state) {
  (void)state;
#define HOST LINUX "@fact affinity.cores 64\n@file /sys/devices/system/cpu/online\n0-63\n@file /proc/meminfo\nMemTotal: 67108864 kB\nMemAvailable: 50331648 kB\n"
  etk_hardware h = read_facts(HOST "@file /proc/self/cgroup\n0::/kubepods.slice/pod1.slice/cri.scope\n@file /sys/fs/cgroup/kubepods.slice/cpu.max\n6000000 100000\n"
                                   "@file /sys/fs/cgroup/kubepods.slice/pod1.slice/cpu.max\n150000 100000\n"
                                   "@file /sys/fs/cgroup/kubepods.slice/pod1.slice/cri.scope/cpu.max\nmax 100000\n"
                                   "@file /sys/fs/cgroup/kubepods.slice/memory.max\n34359738368\n@file /sys/fs/cgroup/kubepods.slice/memory.current\n34259738368\n"
                                   "@file /sys/fs/cgroup/kubepods.slice/pod1.slice/cri.scope/memory.max\n8589934592\n"
                                   "@file /sys/fs/cgroup/kubepods.slice/pod1.slice/cri.scope/memory.current\n1000\n");
  assert_true(h.cpu_quota == 1.5);
  assert_int_equal(h.usable_cores, 2);
  assert_int_equal(h.memory_limit_bytes, INT64_C(8) << 30);
  assert_int_equal(h.memory_available_bytes, 100000000); /* the group above is nearly full */
  assert_true(h.container);
  h = read_facts(HOST "@file /proc/self/cgroup\n0::/a\n@file /sys/fs/cgroup/a/cpuset.cpus.effective\n0-3,8\n");
  assert_int_equal(h.usable_cores, 5);
  assert_true(h.container && h.cpu_quota == 0);
  h = read_facts(HOST "@file /proc/self/cgroup\n0::/user.slice\n@file /sys/fs/cgroup/user.slice/cpu.max\nmax 100000\n@file /sys/fs/cgroup/user.slice/memory.max\nmax\n"
                      "@file /sys/fs/cgroup/cpuset.cpus.effective\n0-63\n");
  assert_false(h.container);
  assert_int_equal(h.usable_cores, 64);
  assert_int_equal(h.memory_limit_bytes, 0);
  h = read_facts(HOST "@file /proc/self/cgroup\n0::/a\n@file /sys/fs/cgroup/a/memory.high\n1073741824\n@file /sys/fs/cgroup/a/memory.max\nmax\n");
  assert_int_equal(h.memory_bytes, 1 << 30);
  static const char *const marks[] = {"@file /.dockerenv\n", "@file /run/.containerenv\n", "@file /proc/self/cgroup\n1:name=systemd:/lxc/box\n",
                                      "@file /proc/self/cgroup\n0::/kubepods/burstable/pod1/2\n"};
  for (size_t i = 0; i < sizeof marks / sizeof marks[0]; i++) {
    char facts[1024];
    snprintf(facts, sizeof facts, HOST "%s", marks[i]);
    assert_true(read_facts(facts).container);
  }
}

static void refused(const char *facts, const char *words) {
  etk_error e = ETK_ERROR_INIT;
  etk_facts *out = (etk_facts *)1;
  assert_int_not_equal(etk__facts_parse(&e, &out, "x.facts", facts, strlen(facts)), ETK_OK);
  assert_null(out);
  if (!strstr(e.message, words)) fail_msg("'%s' does not say '%s'", e.message, words);
}

static void a_broken_facts_file_is_refused_with_its_line(void **state) {
  (void)state;
  refused("", "holds no facts");
  refused("# only a comment\n", "holds no facts");
  refused("hello\n", "x.facts:1:");
  refused("@fact a 1\n@fcat b 2\n", "x.facts:2: '@fcat' is not a kind of fact; @file, @fact or @list is wanted (did you mean '@fact'?)");
  refused("@fact\n", "has no name");
  refused("@file etc/x\n1\n", "does not begin with '/'");
  refused("@file /a/b trailing\n", "content begins on the next line");
  refused("@fact a 1\n@file /a\nx\n@fact a 2\n", "x.facts:4: 'a' was given before, in line 1");
}

static void contents_keep_lines_that_look_like_directives(void **state) {
  (void)state;
  etk_facts *facts;
  etk_error e = ETK_ERROR_INIT;
  const char *text = "# c\r\n@file /a\r\n\\@fact x 1\n# left out\n\\# kept\n\\\\back\nplain\n\n@list /l  b   c\n@fact f  two words \n@file /empty\n@fact none\n";
  char out[256];
  if (etk__facts_parse(&e, &facts, "x", text, strlen(text))) fail_msg("%s", e.message);
  const etk_hardware_provider *p = etk_facts_provider(facts);
  assert_int_equal(p->file(p->user, "/a", out, sizeof out), 30);
  assert_string_equal(out, "@fact x 1\n# kept\n\\back\nplain\n\n");
  assert_int_equal(p->file(p->user, "/a", out, 6), 5);
  assert_string_equal(out, "@fact");
  assert_true(p->list(p->user, "/l", out, sizeof out) > 0);
  assert_non_null(strchr(out, '\n'));
  assert_int_equal(p->fact(p->user, "f", out, sizeof out), 9);
  assert_string_equal(out, "two words");
  assert_int_equal(p->file(p->user, "/empty", out, sizeof out), 0);
  assert_int_equal(p->fact(p->user, "none", out, sizeof out), 0);
  assert_int_equal(p->file(p->user, "/absent", out, sizeof out), -1);
  assert_int_equal(p->fact(p->user, "/a", out, sizeof out), -1);
  etk_facts_free(facts);
}

static void a_record_of_this_machine_replays_as_this_machine(void **state) {
  (void)state;
  etk_error e = ETK_ERROR_INIT;
  etk_text record = ETK_TEXT_INIT;
  etk_hardware here, again;
  etk_facts *facts;
  assert_int_equal(etk_facts_record(&e, &record), ETK_OK);
  etk_hardware_read_from(&here, sizeof here, etk_hardware_without_devices());
  if (etk__facts_parse(&e, &facts, "record", record.data, record.size)) fail_msg("%s", e.message);
  etk_hardware_read_from(&again, sizeof again, etk_facts_provider(facts));
  here.memory_available_bytes = again.memory_available_bytes = 0; /* moves */
  here.temperature_c = again.temperature_c = 0;
  here.battery_percent = again.battery_percent = 0;
  etk_text a = ETK_TEXT_INIT, b = ETK_TEXT_INIT;
  etk_hardware_json(&a, &here);
  etk_hardware_json(&b, &again);
  assert_string_equal(a.data, b.data);
  etk_text_free(&a);
  etk_text_free(&b);
  etk_facts_free(facts);
  etk_text_free(&record);
}

static void a_record_hides_whose_machine_it_is(void **state) {
  (void)state;
  const char *text = "@fact uname.sysname Linux\n@fact uname.machine aarch64\n@fact uname.release 6.1-gandalf\n"
                     "@file /proc/cpuinfo\nprocessor\t: 0\nCPU implementer\t: 0x41\nSerial\t\t: 100000001234abcd\nModel\t: Raspberry Pi 4\n"
                     "@file /sys/class/dmi/id/product_name\nbox of gandalf 52:54:00:ab:cd:ef\n"
                     "@file /proc/self/cgroup\n0::/docker/0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef\n"
                     "@file /sys/fs/cgroup/docker/0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef/cpu.max\n100000 100000\n"
                     "@list /proc/driver/nvidia/gpus 0000:01:00.0\n@file /proc/driver/nvidia/version\nNVRM version: NVIDIA UNIX x86_64 Kernel Module  535.104.05  Sat\n"
                     "@file /proc/driver/nvidia/gpus/0000:01:00.0/information\nModel: \t\t Tesla T4\nGPU UUID: \t GPU-8f1c5a9e-1111-2222-3333-444455556666\n"
                     "@fact affinity.cores 8\n@file /sys/devices/system/cpu/online\n0-7\n";
  etk_error e = ETK_ERROR_INIT;
  etk_facts *facts, *again;
  etk_text record = ETK_TEXT_INIT;
  if (etk__facts_parse(&e, &facts, "x", text, strlen(text))) fail_msg("%s", e.message);
  etk__facts_record_from(&record, etk_facts_provider(facts), "gandalf");
  static const char *const secrets[] = {"gandalf", "1234abcd", "52:54:00", "0123456789abcdef", "8f1c5a9e", "444455556666"};
  for (size_t i = 0; i < sizeof secrets / sizeof secrets[0]; i++)
    if (strstr(record.data, secrets[i])) fail_msg("'%s' is in the record:\n%s", secrets[i], record.data);
  if (etk__facts_parse(&e, &again, "record", record.data, record.size)) fail_msg("%s", e.message);
  etk_hardware h;
  etk_hardware_read_from(&h, sizeof h, etk_facts_provider(again));
  assert_int_equal(h.usable_cores, 1); /* the hidden path is hidden the same way in the file's name */
  assert_int_equal(h.gpu_count, 1);
  assert_string_equal(h.gpus[0].name, "Tesla T4");
  assert_string_equal(h.gpus[0].driver, "535.104.05");
  assert_string_equal(h.chip, "Raspberry Pi 4");
  etk_facts_free(again);
  etk_facts_free(facts);
  etk_text_free(&record);
}

static bool load_once(void *user) {
  (void)user;
  etk_error e = ETK_ERROR_INIT;
  etk_facts *facts;
  etk_status status = etk_facts_load(&e, &facts, FOLDER "/container-2-of-64.facts");
  if (status) {
    assert_int_equal(status, ETK_E_NO_MEMORY);
    return false;
  }
  etk_hardware h;
  etk_hardware_read_from(&h, sizeof h, etk_facts_provider(facts));
  etk_facts_free(facts);
  return true;
}

static void loading_facts_survives_every_failing_allocation(void **state) {
  (void)state;
  etk_alloc_stats before = etk_alloc_get_stats();
  for (uint64_t n = 1;; n++) {
    etk_alloc_fail_nth(n, false);
    bool done = load_once(NULL);
    uint64_t failures = etk_alloc_get_stats().failures;
    etk_alloc_fail_nth(0, false);
    if (done && failures == before.failures) break;
    before.failures = failures;
    assert_true(n < 1000);
  }
  etk_alloc_stats after = etk_alloc_get_stats();
  assert_int_equal(after.calls - before.calls, after.frees - before.frees);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(seven_published_machines_are_described_as_their_sources_say),
      cmocka_unit_test(apple_brands_give_family_and_variant),
      cmocka_unit_test(a_speed_limit_of_100_is_unthrottled),
      cmocka_unit_test(metal_performance_shaders_need_macos_12_3),
      cmocka_unit_test(a_mac_tells_of_mlx_memory_swap_power_and_its_gpu),
      cmocka_unit_test(x86_families_are_named_by_their_numbers),
      cmocka_unit_test(arm_chips_are_named_by_part_and_by_who_sells_them),
      cmocka_unit_test(vector_registers_that_the_system_does_not_save_are_no_feature),
      cmocka_unit_test(sensors_and_supplies_of_linux_are_read),
      cmocka_unit_test(hybrid_cores_are_counted_by_kind),
      cmocka_unit_test(every_limit_up_the_hierarchy_counts),
      cmocka_unit_test(a_broken_facts_file_is_refused_with_its_line),
      cmocka_unit_test(contents_keep_lines_that_look_like_directives),
      cmocka_unit_test(a_record_of_this_machine_replays_as_this_machine),
      cmocka_unit_test(a_record_hides_whose_machine_it_is),
      cmocka_unit_test(loading_facts_survives_every_failing_allocation),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
