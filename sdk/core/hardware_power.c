/* hardware_power.c: heat, power and frequencies of a Linux machine, from hwmon, thermal zones, power_supply and cpufreq. */
#include "hardware_internal.h"

enum { NAMES = 8192, SENSORS_MOST = 64, POLICIES_MOST = 32 };

/* The next name of a list, ended in place; NULL: none. */
static char *next_name(char **rest) {
  char *at = *rest + strspn(*rest, " \n");
  if (!*at) return NULL;
  size_t n = strcspn(at, " \n");
  *rest = at + n + (at[n] != 0);
  at[n] = 0;
  return at;
}

typedef struct heat {
  double hottest, high, critical; /* degrees Celsius; 0: not told */
} heat;

static bool plausible(int64_t millidegrees) { return millidegrees > 0 && millidegrees < 150000; }

static void take(heat *h, int64_t now, int64_t high, int64_t critical) {
  if (!plausible(now) || now / 1000.0 <= h->hottest) return;
  *h = (heat){now / 1000.0, plausible(high) ? high / 1000.0 : 0, plausible(critical) ? critical / 1000.0 : 0};
}

/* Sensors of the CPU: AMD, Intel, VIA, Arm boards. k10temp's temp1 (Tctl) may carry an offset for fans; Tdie, temp2, is the same without where it is there. */
static void hwmon(heat *h, provider *p) {
  static const char *const drivers[] = {"k10temp", "coretemp", "zenpower", "via_cputemp", "cpu_thermal", "soc_thermal", "scpi_sensors", "apm_xgene"};
  char folders[NAMES], name[64];
  if (etk__ask_list(p, folders, sizeof folders, "/sys/class/hwmon") <= 0) return;
  char *rest = folders;
  for (char *folder; (folder = next_name(&rest)) != NULL;) {
    bool known = false;
    if (etk__ask_file(p, name, sizeof name, "/sys/class/hwmon/%s/name", folder) <= 0) continue;
    for (size_t i = 0; i < sizeof drivers / sizeof drivers[0]; i++) known = known || strcmp(name, drivers[i]) == 0;
    for (int i = 1; known && i <= SENSORS_MOST; i++) {
      int64_t now = etk__ask_file_number(p, -1, "/sys/class/hwmon/%s/temp%d_input", folder, i);
      if (now < 0 && i > 4) break; /* coretemp numbers by core and may leave gaps near the start */
      if (now <= 0) continue;
      take(h, now, etk__ask_file_number(p, 0, "/sys/class/hwmon/%s/temp%d_max", folder, i),
           etk__ask_file_number(p, 0, "/sys/class/hwmon/%s/temp%d_crit", folder, i));
    }
  }
}

static void zones(heat *h, provider *p) {
  static const char *const kinds[] = {"x86_pkg_temp", "cpu", "soc"};
  char type[64];
  for (int zone = 0; zone < SENSORS_MOST; zone++) {
    if (etk__ask_file(p, type, sizeof type, "/sys/class/thermal/thermal_zone%d/type", zone) <= 0) break;
    bool known = false;
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) known = known || strncmp(type, kinds[i], strlen(kinds[i])) == 0;
    if (!known) continue;
    int64_t now = etk__ask_file_number(p, 0, "/sys/class/thermal/thermal_zone%d/temp", zone), high = 0, critical = 0;
    for (int trip = 0; trip < 8; trip++) {
      if (etk__ask_file(p, type, sizeof type, "/sys/class/thermal/thermal_zone%d/trip_point_%d_type", zone, trip) <= 0) break;
      int64_t at = etk__ask_file_number(p, 0, "/sys/class/thermal/thermal_zone%d/trip_point_%d_temp", zone, trip);
      if (strcmp(type, "critical") == 0) critical = at;
      else if (strcmp(type, "passive") == 0 || strcmp(type, "hot") == 0) high = high > 0 && high < at ? high : at;
    }
    take(h, now, high, critical);
  }
}

/* Within 5 degrees of where the system begins to slow down is fair, beyond it serious. Without such a point only the critical one is known. */
static const char *state(const heat *h) {
  if (h->hottest == 0 || (h->high == 0 && h->critical == 0)) return "";
  if (h->critical > 0 && h->hottest >= h->critical) return "critical";
  if (h->high > 0 && h->hottest >= h->high) return "serious";
  double near = h->high > 0 ? h->high - 5 : h->critical - 10;
  return h->hottest >= near ? "fair" : "nominal";
}

static void supplies(etk_hardware *out, provider *p) {
  char names[NAMES], text[64];
  if (etk__ask_list(p, names, sizeof names, "/sys/class/power_supply") <= 0) return;
  bool mains = false, battery = false, discharging = false;
  char *rest = names;
  for (char *name; (name = next_name(&rest)) != NULL;) {
    if (etk__ask_file(p, text, sizeof text, "/sys/class/power_supply/%s/type", name) <= 0) continue;
    if (strcmp(text, "Battery") != 0) {
      mains = mains || etk__ask_file_number(p, 0, "/sys/class/power_supply/%s/online", name) == 1;
      continue;
    }
    if (etk__ask_file(p, text, sizeof text, "/sys/class/power_supply/%s/scope", name) > 0 && strcmp(text, "Device") == 0) continue; /* a mouse's */
    int64_t percent = etk__ask_file_number(p, -1, "/sys/class/power_supply/%s/capacity", name);
    battery = true;
    if (percent >= 0 && percent <= 100 && out->battery_percent < 0) out->battery_percent = (int)percent;
    if (etk__ask_file(p, text, sizeof text, "/sys/class/power_supply/%s/status", name) > 0) discharging = discharging || strcmp(text, "Discharging") == 0;
  }
  if (mains || (battery && !discharging)) COPY(out->power, "ac");
  else if (battery) COPY(out->power, "battery");
}

/* Speeds in kHz. Policies hold cores that share a clock; a large machine has one for each core, of which some are enough. */
static void frequencies(etk_hardware *out, provider *p) {
  char names[NAMES], text[64];
  int64_t most = 0, cap = 0;
  if (etk__ask_list(p, names, sizeof names, "/sys/devices/system/cpu/cpufreq") > 0) {
    char *rest = names;
    int seen = 0;
    for (char *name; seen < POLICIES_MOST && (name = next_name(&rest)) != NULL;) {
      if (strncmp(name, "policy", 6) != 0) continue;
      seen++;
      int64_t speed = etk__ask_file_number(p, 0, "/sys/devices/system/cpu/cpufreq/%s/cpuinfo_max_freq", name);
      if (speed <= most) continue;
      most = speed;
      cap = etk__ask_file_number(p, 0, "/sys/devices/system/cpu/cpufreq/%s/scaling_max_freq", name);
    }
  }
  if (most == 0) {
    most = etk__ask_file_number(p, 0, "/sys/devices/system/cpu/cpu0/cpufreq/cpuinfo_max_freq");
    cap = etk__ask_file_number(p, 0, "/sys/devices/system/cpu/cpu0/cpufreq/scaling_max_freq");
  }
  if (most > 0 && most < 100000000) {
    out->max_frequency_hz = most * 1000;
    if (cap > 0 && cap <= most) out->speed_limit_percent = (int)(cap * 100 / most);
  } else if (strcmp(out->architecture, "x86_64") == 0) {
    uint32_t r[4];
    if (etk__ask_cpuid(p, r, 0x16, 0)) out->max_frequency_hz = (int64_t)(r[1] & 0xFFFF) * 1000000; /* Intel: maximum in MHz */
  }
  if (etk__ask_file(p, text, sizeof text, "/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor") > 0) COPY(out->governor, text);
}

void etk__read_power(etk_hardware *out, provider *p) {
  heat h = {0, 0, 0};
  hwmon(&h, p);
  if (h.hottest == 0) zones(&h, p);
  out->temperature_c = h.hottest;
  COPY(out->thermal, state(&h));
  supplies(out, p);
  frequencies(out, p);
}
