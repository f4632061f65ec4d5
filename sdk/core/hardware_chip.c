/* hardware_chip.c: the chip's name and family: Apple's brand strings, x86 family and model numbers, Arm implementer and part numbers. */
#include "hardware_internal.h"

/* AMD: Processor Programming References and revision guides; Intel: Software Developer's Manual volume 4, table 2-1, and Linux's intel-family.h.
 * A row holds for models first … last; the first that fits counts. */
static const struct {
  char vendor; /* 'A', 'I', 'H' (Hygon) */
  int family, first, last;
  const char *name;
} x86[] = {
    {'A', 0x15, 0x00, 0x0F, "Bulldozer"},      {'A', 0x15, 0x10, 0x2F, "Piledriver"},     {'A', 0x15, 0x30, 0x5F, "Steamroller"},
    {'A', 0x15, 0x60, 0x7F, "Excavator"},      {'A', 0x17, 0x08, 0x08, "Zen+"},           {'A', 0x17, 0x18, 0x18, "Zen+"},
    {'A', 0x17, 0x00, 0x2F, "Zen"},            {'A', 0x17, 0x30, 0xAF, "Zen 2"},          {'A', 0x19, 0x10, 0x1F, "Zen 4"},
    {'A', 0x19, 0x60, 0x7F, "Zen 4"},          {'A', 0x19, 0xA0, 0xAF, "Zen 4c"},         {'A', 0x19, 0x00, 0x5F, "Zen 3"},
    {'A', 0x1A, 0x10, 0x1F, "Zen 5c"},         {'A', 0x1A, 0x50, 0x5F, "Zen 6"},          {'A', 0x1A, 0x80, 0xCF, "Zen 6"},
    {'A', 0x1A, 0x00, 0x7F, "Zen 5"},          {'H', 0x18, 0x00, 0xFF, "Dhyana"},         {'I', 6, 0x1A, 0x1A, "Nehalem"},
    {'I', 6, 0x1E, 0x1F, "Nehalem"},           {'I', 6, 0x2E, 0x2E, "Nehalem"},           {'I', 6, 0x25, 0x25, "Westmere"},
    {'I', 6, 0x2C, 0x2C, "Westmere"},          {'I', 6, 0x2F, 0x2F, "Westmere"},          {'I', 6, 0x2A, 0x2A, "Sandy Bridge"},
    {'I', 6, 0x2D, 0x2D, "Sandy Bridge"},      {'I', 6, 0x3A, 0x3A, "Ivy Bridge"},        {'I', 6, 0x3E, 0x3E, "Ivy Bridge"},
    {'I', 6, 0x3C, 0x3C, "Haswell"},           {'I', 6, 0x3F, 0x3F, "Haswell"},           {'I', 6, 0x45, 0x46, "Haswell"},
    {'I', 6, 0x3D, 0x3D, "Broadwell"},         {'I', 6, 0x47, 0x47, "Broadwell"},         {'I', 6, 0x4F, 0x4F, "Broadwell"},
    {'I', 6, 0x56, 0x56, "Broadwell"},         {'I', 6, 0x4E, 0x4E, "Skylake"},           {'I', 6, 0x5E, 0x5E, "Skylake"},
    {'I', 6, 0x55, 0x55, "Skylake-SP"},        {'I', 6, 0x8E, 0x8E, "Kaby Lake"},         {'I', 6, 0x9E, 0x9E, "Kaby Lake"},
    {'I', 6, 0xA5, 0xA6, "Comet Lake"},        {'I', 6, 0x66, 0x66, "Cannon Lake"},       {'I', 6, 0x7D, 0x7E, "Ice Lake"},
    {'I', 6, 0x6A, 0x6A, "Ice Lake-SP"},       {'I', 6, 0x6C, 0x6C, "Ice Lake-D"},        {'I', 6, 0x8C, 0x8D, "Tiger Lake"},
    {'I', 6, 0xA7, 0xA7, "Rocket Lake"},       {'I', 6, 0x97, 0x97, "Alder Lake"},        {'I', 6, 0x9A, 0x9A, "Alder Lake"},
    {'I', 6, 0xBE, 0xBE, "Gracemont"},         {'I', 6, 0xB7, 0xB7, "Raptor Lake"},       {'I', 6, 0xBA, 0xBA, "Raptor Lake"},
    {'I', 6, 0xBF, 0xBF, "Raptor Lake"},       {'I', 6, 0x8F, 0x8F, "Sapphire Rapids"},   {'I', 6, 0xCF, 0xCF, "Emerald Rapids"},
    {'I', 6, 0xAD, 0xAE, "Granite Rapids"},    {'I', 6, 0xAF, 0xAF, "Sierra Forest"},     {'I', 6, 0xAA, 0xAA, "Meteor Lake"},
    {'I', 6, 0xAC, 0xAC, "Meteor Lake"},       {'I', 6, 0xC5, 0xC6, "Arrow Lake"},        {'I', 6, 0xB5, 0xB5, "Arrow Lake"},
    {'I', 6, 0xBD, 0xBD, "Lunar Lake"},        {'I', 6, 0xCC, 0xCC, "Panther Lake"},      {'I', 6, 0xDD, 0xDD, "Clearwater Forest"},
    {'I', 19, 0x01, 0x01, "Diamond Rapids"},   {'I', 6, 0x5C, 0x5C, "Goldmont"},          {'I', 6, 0x5F, 0x5F, "Goldmont"},
    {'I', 6, 0x7A, 0x7A, "Goldmont Plus"},     {'I', 6, 0x86, 0x86, "Tremont"},           {'I', 6, 0x96, 0x96, "Tremont"},
    {'I', 6, 0x9C, 0x9C, "Tremont"},           {'I', 6, 0x57, 0x57, "Knights Landing"},   {'I', 6, 0x85, 0x85, "Knights Mill"},
};

/* MIDR_EL1 implementer and part (Arm's technical reference manuals; Linux, arch/arm64/include/asm/cputype.h). `chip`: where the part itself names it. */
static const struct {
  int implementer, part;
  const char *family, *chip;
} arm[] = {
    {0x41, 0xD03, "Cortex-A53", NULL},   {0x41, 0xD04, "Cortex-A35", NULL},   {0x41, 0xD05, "Cortex-A55", NULL},    {0x41, 0xD07, "Cortex-A57", NULL},
    {0x41, 0xD08, "Cortex-A72", NULL},   {0x41, 0xD09, "Cortex-A73", NULL},   {0x41, 0xD0A, "Cortex-A75", NULL},    {0x41, 0xD0B, "Cortex-A76", NULL},
    {0x41, 0xD0C, "Neoverse N1", NULL},  {0x41, 0xD0D, "Cortex-A77", NULL},   {0x41, 0xD40, "Neoverse V1", NULL},   {0x41, 0xD41, "Cortex-A78", NULL},
    {0x41, 0xD42, "Cortex-A78AE", NULL}, {0x41, 0xD44, "Cortex-X1", NULL},    {0x41, 0xD46, "Cortex-A510", NULL},   {0x41, 0xD47, "Cortex-A710", NULL},
    {0x41, 0xD48, "Cortex-X2", NULL},    {0x41, 0xD49, "Neoverse N2", NULL},  {0x41, 0xD4A, "Neoverse E1", NULL},   {0x41, 0xD4B, "Cortex-A78C", NULL},
    {0x41, 0xD4D, "Cortex-A715", NULL},  {0x41, 0xD4E, "Cortex-X3", NULL},    {0x41, 0xD4F, "Neoverse V2", NULL},   {0x41, 0xD80, "Cortex-A520", NULL},
    {0x41, 0xD81, "Cortex-A720", NULL},  {0x41, 0xD82, "Cortex-X4", NULL},    {0x41, 0xD83, "Neoverse V3AE", NULL}, {0x41, 0xD84, "Neoverse V3", NULL},
    {0x41, 0xD85, "Cortex-X925", NULL},  {0x41, 0xD87, "Cortex-A725", NULL},  {0x41, 0xD8E, "Neoverse N3", NULL},
    {0x42, 0x516, "ThunderX2", "Cavium ThunderX2"},        {0x43, 0x0AF, "ThunderX2", "Cavium ThunderX2"},
    {0x46, 0x001, "A64FX", "Fujitsu A64FX"},               {0x48, 0xD01, "TaiShan v110", "Huawei Kunpeng 920"},
    {0x48, 0xD02, "TaiShan v120", NULL},                   {0x51, 0x001, "Oryon", NULL},
    {0x6D, 0xD49, "Neoverse N2", "Microsoft Azure Cobalt 100"},
    {0xC0, 0xAC3, "Ampere-1", "AmpereOne"},                {0xC0, 0xAC4, "Ampere-1a", "AmpereOne"},
    {0x61, 0x022, "M1", "Apple M1"},     {0x61, 0x023, "M1", "Apple M1"},     {0x61, 0x024, "M1", "Apple M1 Pro"},  {0x61, 0x025, "M1", "Apple M1 Pro"},
    {0x61, 0x028, "M1", "Apple M1 Max"}, {0x61, 0x029, "M1", "Apple M1 Max"}, {0x61, 0x032, "M2", "Apple M2"},      {0x61, 0x033, "M2", "Apple M2"},
    {0x61, 0x034, "M2", "Apple M2 Pro"}, {0x61, 0x035, "M2", "Apple M2 Pro"}, {0x61, 0x038, "M2", "Apple M2 Max"},  {0x61, 0x039, "M2", "Apple M2 Max"},
};

/* Chips that are a licensed core and tell themselves apart by who sells the machine (DMI sys_vendor) and, where given, the product's name. */
static const struct {
  int part;
  const char *vendor, *product, *chip;
} sold[] = {
    {0xD08, "Amazon EC2", NULL, "AWS Graviton"},      {0xD0C, "Amazon EC2", NULL, "AWS Graviton2"},     {0xD40, "Amazon EC2", "c7gn", "AWS Graviton3E"},
    {0xD40, "Amazon EC2", "hpc7g", "AWS Graviton3E"}, {0xD40, "Amazon EC2", NULL, "AWS Graviton3"},     {0xD4F, "Amazon EC2", NULL, "AWS Graviton4"},
    {0xD84, "Amazon EC2", NULL, "AWS Graviton5"},
    {0xD4F, "Google", NULL, "Google Axion"},          {0xD4F, "NVIDIA", NULL, "NVIDIA Grace"},
};

static void x86_name(etk_hardware *out, provider *p) {
  char name[49];
  uint32_t leaf[4];
  memset(name, 0, sizeof name);
  for (uint32_t i = 0; i < 3; i++) {
    if (!etk__ask_cpuid(p, leaf, 0x80000002U + i, 0)) return;
    memcpy(name + 16 * i, leaf, 16);
  }
  COPY(out->chip, name + strspn(name, " "));
}

static void x86_family(etk_hardware *out, const char *vendor, int family, int model, int stepping) {
  char v = strcmp(vendor, "AuthenticAMD") == 0 ? 'A' : strcmp(vendor, "GenuineIntel") == 0 ? 'I' : strcmp(vendor, "HygonGenuine") == 0 ? 'H' : 0;
  for (size_t i = 0; i < sizeof x86 / sizeof x86[0]; i++)
    if (x86[i].vendor == v && x86[i].family == family && model >= x86[i].first && model <= x86[i].last) {
      const char *name = x86[i].name;
      if (v == 'I' && model == 0x55 && stepping >= 5) name = stepping >= 10 ? "Cooper Lake" : "Cascade Lake"; /* one model number, three chips */
      COPY(out->family, name);
      return;
    }
}

static int proc_number(const char *text, const char *key) {
  char value[64];
  int64_t number;
  return etk__proc_value(value, sizeof value, text, key) && etk_parse_int(NULL, &number, value) == ETK_OK && number >= 0 && number <= 0xFFFF ? (int)number
                                                                                                                                           : -1;
}

/* cpuid is asked first: reading /proc/cpuinfo of a large machine takes longer than all else together. */
static void read_x86(etk_hardware *out, provider *p) {
  char text[8192], vendor[32] = "";
  uint32_t leaf[4], one[4];
  if (etk__ask_cpuid(p, leaf, 0, 0) && etk__ask_cpuid(p, one, 1, 0)) {
    memcpy(vendor, &leaf[1], 4), memcpy(vendor + 4, &leaf[3], 4), memcpy(vendor + 8, &leaf[2], 4);
    int family = one[0] >> 8 & 15, model = one[0] >> 4 & 15;
    if (family == 6 || family == 15) model += (int)(one[0] >> 16 & 15) << 4;
    if (family == 15) family += (int)(one[0] >> 20 & 255);
    x86_family(out, vendor, family, model, (int)(one[0] & 15));
    x86_name(out, p);
  }
  if (out->chip[0] && out->family[0]) return;
  if (etk__ask_file(p, text, sizeof text, "/proc/cpuinfo") <= 0) return;
  char name[128];
  if (!out->chip[0] && etk__proc_value(name, sizeof name, text, "model name")) COPY(out->chip, name);
  if (!out->family[0] && etk__proc_value(vendor, sizeof vendor, text, "vendor_id"))
    x86_family(out, vendor, proc_number(text, "cpu family"), proc_number(text, "model"), proc_number(text, "stepping"));
}

static void hypervisor_x86(etk_hardware *out, provider *p) {
  static const struct {
    const char *signature, *name;
  } known[] = {{"KVMKVMKVM", "kvm"},       {"Linux KVM Hv", "kvm"},     {"VMwareVMware", "vmware"},     {"Microsoft Hv", "hyperv"}, {"XenVMMXenVMM", "xen"},
               {"TCGTCGTCGTCG", "qemu"},   {"VBoxVBoxVBox", "virtualbox"}, {" lrpepyh  vr", "parallels"}, {"bhyve bhyve ", "bhyve"}, {"ACRNACRNACRN", "acrn"}};
  char text[8192], flags[4096], signature[13] = "";
  uint32_t one[4], leaf[4];
  if (etk__ask_cpuid(p, one, 1, 0)) {
    if (!(one[2] >> 31)) return;
    if (etk__ask_cpuid(p, leaf, 0x40000000U, 0)) memcpy(signature, &leaf[1], 12);
  } else if (etk__ask_file(p, text, sizeof text, "/proc/cpuinfo") <= 0 || !etk__proc_value(flags, sizeof flags, text, "flags") ||
             !etk__has_word(flags, "hypervisor")) return;
  COPY(out->hypervisor, "unknown");
  for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
    if (strcmp(signature, known[i].signature) == 0) COPY(out->hypervisor, known[i].name);
}

static void hypervisor_dmi(etk_hardware *out, const char *vendor, const char *product) {
  static const struct {
    const char *word, *name;
  } known[] = {{"QEMU", "qemu"}, {"KVM", "kvm"}, {"VMware", "vmware"}, {"Microsoft Corporation", "hyperv"}, {"Google Compute Engine", "google"},
               {"Parallels", "parallels"}, {"Apple Virtualization", "apple"}, {"innotek", "virtualbox"}};
  if (strcmp(vendor, "Amazon EC2") == 0 && !strstr(product, "metal")) {
    COPY(out->hypervisor, "amazon");
    return;
  }
  for (size_t i = 0; i < sizeof known / sizeof known[0] && !out->hypervisor[0]; i++)
    if (strstr(vendor, known[i].word) || strstr(product, known[i].word)) COPY(out->hypervisor, known[i].name);
}

static void read_arm(etk_hardware *out, provider *p) {
  char text[8192] = "", vendor[96] = "", product[96] = "", model[128] = "";
  etk__ask_file(p, text, sizeof text, "/proc/cpuinfo");
  int implementer = proc_number(text, "CPU implementer"), part = proc_number(text, "CPU part");
  etk__ask_file(p, vendor, sizeof vendor, "/sys/class/dmi/id/sys_vendor");
  etk__ask_file(p, product, sizeof product, "/sys/class/dmi/id/product_name");
  if (etk__ask_file(p, model, sizeof model, "/proc/device-tree/model") <= 0) etk__proc_value(model, sizeof model, text, "Model");
  const char *chip = NULL, *family = NULL;
  for (size_t i = 0; i < sizeof arm / sizeof arm[0] && !family; i++)
    if (arm[i].implementer == implementer && arm[i].part == part) family = arm[i].family, chip = arm[i].chip;
  for (size_t i = 0; i < sizeof sold / sizeof sold[0] && !chip && implementer == 0x41; i++)
    if (sold[i].part == part && strcmp(sold[i].vendor, vendor) == 0 && (!sold[i].product || strstr(product, sold[i].product) == product)) chip = sold[i].chip;
  if (family) COPY(out->family, family);
  if (chip && strncmp(chip, "Apple ", 6) == 0) etk__apple_chip(out, chip);
  else if (chip) COPY(out->chip, chip);
  else if (model[0]) COPY(out->chip, model);
  else if (etk__proc_value(model, sizeof model, text, "model name")) COPY(out->chip, model);
  else if (family) COPY(out->chip, family);
  hypervisor_dmi(out, vendor, product);
}

/* "Apple M2 Pro": family M2, variant Pro. "Apple processor" is what a virtual machine is told. */
void etk__apple_chip(etk_hardware *out, const char *brand) {
  static const char *const variants[] = {"Pro", "Max", "Ultra"};
  COPY(out->chip, brand);
  out->apple_silicon = strncmp(brand, "Apple ", 6) == 0;
  if (!out->apple_silicon || brand[6] != 'M' || brand[7] < '1' || brand[7] > '9') return;
  size_t n = 1 + strspn(brand + 7, "0123456789");
  snprintf(out->family, sizeof out->family, "%.*s", (int)n, brand + 6);
  for (size_t i = 0; i < sizeof variants / sizeof variants[0]; i++)
    if (etk__has_word(brand + 6 + n, variants[i])) COPY(out->variant, variants[i]);
  out->ane_available = true; /* every M has one: 16 cores, and an Ultra is two chips (Apple's press releases of M1 to M5) */
  out->ane_cores = strcmp(out->variant, "Ultra") == 0 ? 32 : 16;
}

void etk__read_cpu(etk_hardware *out, provider *p) {
  if (strcmp(out->platform, "darwin") == 0) {
    char brand[128];
    if (etk__ask_fact(p, brand, sizeof brand, "machdep.cpu.brand_string") > 0) etk__apple_chip(out, brand);
    if (etk__ask_number(p, 0, "kern.hv_vmm_present") == 1) COPY(out->hypervisor, "apple");
    if (!out->apple_silicon) read_x86(out, p);
    return;
  }
  if (strcmp(out->architecture, "x86_64") == 0) {
    read_x86(out, p);
    hypervisor_x86(out, p);
  } else {
    read_arm(out, p);
  }
}
