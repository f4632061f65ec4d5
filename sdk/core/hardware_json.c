/* hardware_json.c: a description as one JSON object; one row for each field. */
#include "hardware_internal.h"
#include <stddef.h>

typedef enum field_kind { TEXT, FLAG, INT, INT64, REAL } field_kind;
static const struct {
  const char *name;
  field_kind kind;
  size_t offset;
} fields[] = {
#define F(name, kind) {#name, kind, offsetof(etk_hardware, name)}
    F(platform, TEXT), F(architecture, TEXT), F(os_version, TEXT), F(kernel, TEXT), F(chip, TEXT), F(family, TEXT), F(variant, TEXT),
    F(apple_silicon, FLAG), F(mlx_available, FLAG), F(mps_available, FLAG), F(ane_available, FLAG), F(ane_cores, INT), F(gpu_cores, INT),
    F(logical_cores, INT), F(physical_cores, INT), F(performance_cores, INT), F(efficiency_cores, INT), F(sockets, INT), F(numa_nodes, INT),
    F(usable_cores, INT), F(cpu_quota, REAL), F(cache_line_bytes, INT64), F(l1d_bytes, INT64), F(l2_bytes, INT64), F(l3_bytes, INT64),
    F(l2_sharing, INT), F(l3_sharing, INT), F(memory_bytes, INT64), F(machine_memory_bytes, INT64), F(memory_available_bytes, INT64),
    F(memory_limit_bytes, INT64), F(swap_bytes, INT64), F(page_bytes, INT64), F(huge_page_bytes, INT64), F(transparent_huge_pages, TEXT),
    F(container, FLAG), F(hypervisor, TEXT), F(isa_features, TEXT), F(max_frequency_hz, INT64), F(temperature_c, REAL), F(thermal, TEXT),
    F(speed_limit_percent, INT), F(power, TEXT), F(battery_percent, INT), F(governor, TEXT),
#undef F
};

static void put_field(etk_text *out, field_kind kind, const void *at) {
  switch (kind) {
  case TEXT: etk_text_json(out, at, strlen(at)); break;
  case FLAG: etk_text_puts(out, *(const bool *)at ? "true" : "false"); break;
  case INT: etk_text_printf(out, "%d", *(const int *)at); break;
  case INT64: etk_text_printf(out, "%lld", (long long)*(const int64_t *)at); break;
  case REAL: etk_text_real(out, *(const double *)at); break;
  }
}

static void put_gpu(etk_text *out, const etk_gpu *gpu) {
  const char *const texts[][2] = {{"name", gpu->name}, {"kind", gpu->kind}, {"driver", gpu->driver}, {"capability", gpu->capability}};
  etk_text_putc(out, '{');
  for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
    etk_text_printf(out, "\"%s\":", texts[i][0]);
    etk_text_json(out, texts[i][1], strlen(texts[i][1]));
    etk_text_putc(out, ',');
  }
  etk_text_printf(out, "\"memory_bytes\":%lld,\"memory_available_bytes\":%lld}", (long long)gpu->memory_bytes, (long long)gpu->memory_available_bytes);
}

void etk_hardware_json(etk_text *out, const etk_hardware *hardware) {
  etk_text_putc(out, '{');
  for (size_t i = 0; i < sizeof fields / sizeof fields[0]; i++) {
    etk_text_printf(out, "\"%s\":", fields[i].name);
    put_field(out, fields[i].kind, (const char *)hardware + fields[i].offset);
    etk_text_putc(out, ',');
  }
  etk_text_printf(out, "\"isa\":\"%s\",\"gpus\":[", etk_isa_name(hardware->isa));
  for (int i = 0; i < hardware->gpu_count; i++) {
    if (i) etk_text_putc(out, ',');
    put_gpu(out, &hardware->gpus[i]);
  }
  etk_text_puts(out, "]}");
}
