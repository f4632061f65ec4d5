/* info: the machine, the libraries and where things are; a machine replayed from facts; what this one reaches when measured. */
#include "builtin.h"
#include "record.h"
#include "report.h"
#include "versions.h"

#include <etk/fs.h>
#include <etk/hardware.h>
#include <etk/parallel.h>
#include <inttypes.h>
#include <time.h>

#define INFO_OPTIONS(OPT)                                                                                                     \
  OPT(flag, measure, "no", "", "", "", ETK_LOCAL, "measure memory bandwidth and peak arithmetic (2 seconds) and remember them") \
  OPT(path, facts, "-", "exists", "", "", ETK_LOCAL, "describe the machine of a file of facts instead of this one")            \
  OPT(flag, record, "no", "", "", "", ETK_LOCAL, "print this machine's facts as such a file, for a report; no names or numbers of yours")
#define COMMANDS(CMD) CMD(info, ETK_NONE, INFO_OPTIONS, 0, "Show the machine and this installation")
BUILTIN(info, "Show the machine and this installation", COMMANDS)

/* What is shown: a machine, and for this one also its limits and this installation. */
struct shown {
  etk_hardware machine;
  etk_hardware_limits limits;
  bool here, has_limits;
  double measured_ms; /* now; 0: not */
  const char *state;
};

/* ---- for a person: groups of label and value, values broken at blanks to fit the terminal ---- */
enum { LABEL = 15, VALUE_LEAST = 16 };

struct page {
  struct host *host;
  size_t width;
  const char *group; /* a heading that waits for its first row */
  bool begun;
};

static void group(struct page *page, const char *name) { page->group = name; }

static void heading(struct page *page) {
  if (!page->group) return;
  printf("%s%s%s%s\n", page->begun ? "\n" : "", page->host->out_color ? STYLE_BOLD : "", page->group, page->host->out_color ? STYLE_RESET : "");
  page->group = NULL;
  page->begun = true;
}

/* A row without a value is left out. */
static void row(struct page *page, const char *label, const char *value) {
  if (!value || !*value) return;
  heading(page);
  bool narrow = page->width < LABEL + VALUE_LEAST + 4;
  printf("  %s%-*s%s", page->host->out_color ? STYLE_DIM : "", narrow ? 0 : LABEL, label, page->host->out_color ? STYLE_RESET : "");
  if (narrow) printf("\n    ");
  size_t column = narrow ? 4 : LABEL + 2;
  print_folded(value, column, column);
  putchar('\n');
}

static void row_f(struct page *page, const char *label, const char *format, ...) ETK_PRINTF(3, 4);
static void row_f(struct page *page, const char *label, const char *format, ...) {
  char text[1024];
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(text, sizeof text, format, arguments);
  va_end(arguments);
  row(page, label, text);
}

static const char *size_text(char out[32], int64_t bytes) { return etk_format_size(out, 32, bytes); }

static void show_machine(struct page *page, const etk_hardware *h) {
  group(page, "Machine");
  row_f(page, "chip", "%s%s%s%s", h->chip, h->family[0] && !strstr(h->chip, h->family) ? " (" : "", strstr(h->chip, h->family) ? "" : h->family,
        h->family[0] && !strstr(h->chip, h->family) ? ")" : "");
  row_f(page, "system", "%s%s%s, %s%s%s", h->os_version[0] ? h->os_version : h->platform, h->kernel[0] ? ", kernel " : "", h->kernel, h->architecture,
        h->hypervisor[0] ? ", in a virtual machine: " : "", h->hypervisor);
  if (h->apple_silicon)
    row_f(page, "Apple Silicon", "MLX %s, Metal shaders (MPS) %s, Neural Engine %s", h->mlx_available ? "found" : "not found", h->mps_available ? "yes" : "no",
          h->ane_available ? "yes" : "no");
}

static void show_cores(struct page *page, const etk_hardware *h) {
  char a[32], b[32], c[32], text[512] = "";
  group(page, "Cores");
  row_f(page, "usable", "%d of %d", h->usable_cores, h->logical_cores);
  if (h->performance_cores) row_f(page, "kinds", "%d performance, %d efficiency", h->performance_cores, h->efficiency_cores);
  if (h->physical_cores && (h->sockets > 1 || h->numa_nodes > 1 || h->physical_cores != h->logical_cores)) {
    size_t n = (size_t)snprintf(text, sizeof text, "%d physical", h->physical_cores);
    if (h->sockets) n += (size_t)snprintf(text + n, sizeof text - n, ", %d socket%s", h->sockets, h->sockets == 1 ? "" : "s");
    if (h->numa_nodes) snprintf(text + n, sizeof text - n, ", %d memory node%s", h->numa_nodes, h->numa_nodes == 1 ? "" : "s");
    row(page, "layout", text);
  }
  row_f(page, "instructions", "%s (%s)", etk_isa_name(h->isa), h->isa_features[0] ? h->isa_features : "no features known");
  if (h->l2_bytes)
    row_f(page, "caches", "L1 %s, L2 %s%s%s", size_text(a, h->l1d_bytes), size_text(b, h->l2_bytes), h->l3_bytes ? ", L3 " : "",
          h->l3_bytes ? size_text(c, h->l3_bytes) : "");
  if (h->max_frequency_hz) row_f(page, "frequency", "up to %.2f GHz%s%s", (double)h->max_frequency_hz / 1e9, h->governor[0] ? ", governor " : "", h->governor);
}

static void show_memory(struct page *page, const etk_hardware *h) {
  char a[32], b[32];
  group(page, "Memory");
  if (h->memory_bytes) row(page, "total", size_text(a, h->memory_bytes));
  if (h->memory_available_bytes) row(page, "available", size_text(a, h->memory_available_bytes));
  if (h->swap_bytes) row(page, "swap", size_text(a, h->swap_bytes));
  if (h->page_bytes)
    row_f(page, "pages", "%s%s%s%s%s", size_text(a, h->page_bytes), h->huge_page_bytes ? ", huge " : "", h->huge_page_bytes ? size_text(b, h->huge_page_bytes) : "",
          h->transparent_huge_pages[0] ? ", transparent: " : "", h->transparent_huge_pages);
}

static void show_devices(struct page *page, const etk_hardware *h) {
  char a[32];
  group(page, "Devices");
  for (int i = 0; i < h->gpu_count; i++) {
    const etk_gpu *gpu = &h->gpus[i];
    row_f(page, i ? "" : "GPU", "%s (%s)%s%s%s%s%s%s", gpu->name, gpu->kind, gpu->memory_bytes ? ", " : "", gpu->memory_bytes ? size_text(a, gpu->memory_bytes) : "",
          gpu->capability[0] ? ", capability " : "", gpu->capability, gpu->driver[0] ? ", driver " : "", gpu->driver);
  }
  if (h->gpu_cores) row_f(page, "GPU cores", "%d", h->gpu_cores);
  if (h->ane_cores) row_f(page, "Neural Engine", "%d cores", h->ane_cores);
}

static void show_limits_of_container(struct page *page, const etk_hardware *h) {
  char a[32], b[32];
  group(page, "Container");
  if (!h->container) return;
  row(page, "inside", "yes");
  if (h->cpu_quota > 0) row_f(page, "CPU quota", "%g of %d cores", h->cpu_quota, h->logical_cores);
  if (h->memory_limit_bytes) row_f(page, "memory limit", "%s of %s", size_text(a, h->memory_limit_bytes), size_text(b, h->machine_memory_bytes));
}

static void show_heat(struct page *page, const etk_hardware *h) {
  group(page, "Heat and power");
  if (h->temperature_c > 0) row_f(page, "temperature", "%.1f °C", h->temperature_c);
  row(page, "thermal", h->thermal);
  if (h->speed_limit_percent) row_f(page, "speed limit", "%d %%%s", h->speed_limit_percent, h->speed_limit_percent == 100 ? " (none)" : " of full speed");
  row(page, "power", h->power);
  if (h->battery_percent >= 0) row_f(page, "battery", "%d %%", h->battery_percent);
}

static void show_measured(struct page *page, const struct shown *s) {
  char when[32] = "at an unknown time";
  const etk_hardware_limits *m = &s->limits;
  struct tm local;
  time_t seconds = (time_t)(m->measured_unix_ms / 1000);
  group(page, "Measured");
  if (!s->has_limits) return;
  row_f(page, "memory", "reads %.1f GB/s, copies %.1f GB/s (read and written)", m->read_bytes_per_s / 1e9, m->copy_bytes_per_s / 1e9);
  row_f(page, "f32", "%.1f GFLOP/s, one thread %.1f", m->f32_flops_per_s / 1e9, m->f32_flops_per_s_core / 1e9);
  if (m->bf16_flops_per_s > 0) row_f(page, "bf16", "%.1f GFLOP/s", m->bf16_flops_per_s / 1e9);
  if (m->int8_ops_per_s > 0) row_f(page, "int8", "%.1f Gop/s", m->int8_ops_per_s / 1e9);
  if (localtime_r(&seconds, &local)) strftime(when, sizeof when, "%Y-%m-%d %H:%M", &local);
  if (s->measured_ms > 0) row_f(page, "took", "%.2f s with %d thread%s", s->measured_ms / 1e3, m->threads, m->threads == 1 ? "" : "s");
  else row_f(page, "when", "%s with %d thread%s; --measure repeats it", when, m->threads, m->threads == 1 ? "" : "s");
}

static void show_installation(struct page *page, const struct shown *s) {
  struct host *host = page->host;
  group(page, "Libraries");
  row_f(page, "version", "efficientai-toolkit %s (ABI %d.%d)", ETK_VERSION, ETK_ABI_MAJOR, ETK_ABI_MINOR);
  row_f(page, "libraries", "jansson %s, libyaml %s, %s", version_jansson(), version_yaml(), version_ffi());
  if (etk_isa_active() != s->machine.isa) row_f(page, "kernels", "%s (capped by ETK_ISA)", etk_isa_name(etk_isa_active()));
  row_f(page, "threads", "%d", etk_parallel_threads());
  group(page, "Folders");
  row(page, "runs", s->state ? s->state : "(none: neither EFFICIENTAI_STATE_DIR, XDG_STATE_HOME nor HOME is set)");
  for (size_t i = 0; i < host->path.count; i++)
    row_f(page, i ? "" : "plugins", "%s (%s%s)", host->path.dirs[i], host->path.origins[i], etk_fs_is_dir(host->path.dirs[i]) ? "" : ", not there");
}

static void print_person(struct host *host, const struct shown *s) {
  int width = terminal_width();
  struct page page = {.host = host, .width = width > 0 ? (size_t)width : SIZE_MAX};
  show_machine(&page, &s->machine);
  show_cores(&page, &s->machine);
  show_memory(&page, &s->machine);
  show_devices(&page, &s->machine);
  show_limits_of_container(&page, &s->machine);
  show_heat(&page, &s->machine);
  show_measured(&page, s);
  if (s->here) show_installation(&page, s);
}

/* ---- for a program ---- */
static void put_limits(etk_text *text, const struct shown *s) {
  const etk_hardware_limits *m = &s->limits;
  const struct {
    const char *key;
    double value;
  } rates[] = {{"read_bytes_per_s", m->read_bytes_per_s},
               {"copy_bytes_per_s", m->copy_bytes_per_s},
               {"f32_flops_per_s", m->f32_flops_per_s},
               {"f32_flops_per_s_core", m->f32_flops_per_s_core},
               {"bf16_flops_per_s", m->bf16_flops_per_s},
               {"int8_ops_per_s", m->int8_ops_per_s}};
  if (!s->has_limits) {
    etk_text_puts(text, ",\"limits\":null");
    return;
  }
  etk_text_printf(text, ",\"limits\":{\"threads\":%d,\"measured_unix_ms\":%" PRId64, m->threads, m->measured_unix_ms);
  if (s->measured_ms > 0) etk_text_printf(text, ",\"took_ms\":%.1f", s->measured_ms);
  for (size_t i = 0; i < sizeof rates / sizeof rates[0]; i++) {
    etk_text_printf(text, ",\"%s\":", rates[i].key);
    etk_text_real(text, rates[i].value);
  }
  etk_text_putc(text, '}');
}

static void put_installation(etk_text *text, struct host *host, const struct shown *s) {
  etk_text_printf(text, ",\"isa_active\":\"%s\",\"threads\":%d,\"libraries\":{\"jansson\":\"%s\",\"libyaml\":\"%s\",\"libffi\":\"%s\"},\"state_dir\":",
                  etk_isa_name(etk_isa_active()), etk_parallel_threads(), version_jansson(), version_yaml(), version_ffi());
  put_json(text, s->state);
  etk_text_puts(text, ",\"plugin_path\":[");
  for (size_t i = 0; i < host->path.count; i++) {
    etk_text_puts(text, i ? ",{\"dir\":" : "{\"dir\":");
    put_json(text, host->path.dirs[i]);
    etk_text_puts(text, ",\"origin\":");
    put_json(text, host->path.origins[i]);
    etk_text_printf(text, ",\"exists\":%s}", etk_fs_is_dir(host->path.dirs[i]) ? "true" : "false");
  }
  etk_text_putc(text, ']');
}

/* The machine's own fields come first in one object with what is said of the installation. */
static void print_json(struct host *host, const struct shown *s) {
  etk_text text = ETK_TEXT_INIT, machine = ETK_TEXT_INIT;
  etk_hardware_json(&machine, &s->machine);
  etk_text_printf(&text, "{\"version\":\"%s\",\"abi\":\"%d.%d\",", ETK_VERSION, ETK_ABI_MAJOR, ETK_ABI_MINOR);
  if (!machine.failed) etk_text_append(&text, machine.data + 1, machine.size - 2); /* without its braces */
  put_limits(&text, s);
  if (s->here) put_installation(&text, host, s);
  etk_text_putc(&text, '}');
  host_print_document(host, "info", "ok", text.failed || machine.failed ? NULL : text.data, NULL);
  etk_text_free(&machine);
  etk_text_free(&text);
}

/* ---- */
static int record(struct host *host) {
  etk_error e = ETK_ERROR_INIT;
  etk_text text = ETK_TEXT_INIT;
  etk_status status = etk_facts_record(&e, &text);
  if (!status && host->json) {
    etk_text quoted = ETK_TEXT_INIT;
    etk_text_puts(&quoted, "{\"facts\":");
    etk_text_json(&quoted, text.data, text.size);
    etk_text_putc(&quoted, '}');
    host_print_document(host, "info", "ok", quoted.failed ? NULL : quoted.data, NULL);
    etk_text_free(&quoted);
  } else if (!status) {
    fwrite(text.data, 1, text.size, stdout);
  }
  etk_text_free(&text);
  return status ? host_error(host, &e, 0, NULL) : 0;
}

static etk_status measure(etk_error *e, struct host *host, struct shown *s) {
  host_note(host, "measuring memory and arithmetic for about 2 seconds …");
  int64_t begin = etk_time_ns();
  etk_status status = etk_hardware_measure(e, &s->limits, 0);
  if (status) return status;
  s->measured_ms = (double)(etk_time_ns() - begin) / 1e6;
  s->has_limits = true;
  etk_error kept = ETK_ERROR_INIT;
  if (etk_hardware_limits_save(&kept, &s->limits)) host_warn(host, "the measurement is not kept: %s", kept.message);
  return ETK_OK;
}

static etk_status replay(etk_error *e, struct shown *s, const char *path) {
  etk_facts *facts;
  etk_status status = etk_facts_load(e, &facts, path);
  if (status) return status;
  etk_hardware_read_from(&s->machine, sizeof s->machine, etk_facts_provider(facts));
  etk_facts_free(facts);
  return ETK_OK;
}

static etk_status read_here(etk_error *e, struct host *host, struct shown *s, bool again) {
  etk_hardware_get(&s->machine);
  s->here = true;
  s->state = state_dir(NULL, host);
  if (again) return measure(e, host, s);
  etk_error why = ETK_ERROR_INIT;
  etk_status status = etk_hardware_limits_load(&why, &s->limits);
  s->has_limits = status == ETK_OK;
  if (status && status != ETK_E_NOT_FOUND) host_warn(host, "what was measured cannot be read: %s", why.message);
  return ETK_OK;
}

static int info_run(struct host *host, const struct info_options *o) {
  etk_error e = ETK_ERROR_INIT;
  struct shown s;
  memset(&s, 0, sizeof s);
  if ((o->facts != NULL) + o->measure + o->record > 1) {
    etk_fail(&e, ETK_E_USAGE, "--facts, --measure and --record exclude each other: give one of them");
    return host_error(host, &e, 0, NULL);
  }
  if (o->record) return record(host);
  etk_status status = o->facts ? replay(&e, &s, o->facts) : read_here(&e, host, &s, o->measure);
  if (status) return host_error(host, &e, 0, NULL);
  if (host->json) print_json(host, &s);
  else print_person(host, &s);
  return 0;
}
