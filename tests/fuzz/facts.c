/* Fuzz target: a file of facts. What is accepted must describe a machine within bounds, write JSON that reads back, and record to a file that is accepted. */
#include "core/hardware_internal.h"
#include "etk/config.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(const etk_hardware *h) {
  const char *const texts[] = {h->platform, h->architecture, h->os_version, h->kernel, h->chip, h->family, h->variant, h->hypervisor, h->isa_features, h->governor,
                               h->transparent_huge_pages, h->thermal, h->power};
  for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++)
    if (!etk_utf8_valid(texts[i], strlen(texts[i]))) __builtin_trap();
  if (h->usable_cores < 1 || h->logical_cores < 0 || h->physical_cores < 0 || h->sockets < 0 || h->memory_bytes < 0 || h->memory_available_bytes < 0) __builtin_trap();
  for (int i = 0; i < h->gpu_count && i < ETK_GPUS_MOST; i++)
    if (!etk_utf8_valid(h->gpus[i].name, strlen(h->gpus[i].name)) || strlen(h->gpus[i].driver) >= sizeof h->gpus[i].driver) __builtin_trap();
  if (h->gpu_count < 0 || h->gpu_count > ETK_GPUS_MOST || !h->chip[0]) __builtin_trap();
  if (h->battery_percent < -1 || h->battery_percent > 100 || h->speed_limit_percent < 0 || h->speed_limit_percent > 100) __builtin_trap();
}

static void check_json(const etk_hardware *h) {
  etk_text json = ETK_TEXT_INIT;
  etk_config *config;
  etk_hardware_json(&json, h);
  if (json.failed || etk_config_parse(NULL, &config, "json", json.data, json.size, ETK_CONFIG_JSON)) __builtin_trap();
  etk_config_free(config);
  etk_text_free(&json);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  etk_error e = ETK_ERROR_INIT;
  etk_facts *facts, *again;
  if (etk__facts_parse(&e, &facts, "input", (const char *)data, size)) {
    if (!e.message[0] || facts) __builtin_trap();
    return 0;
  }
  etk_hardware h;
  etk_hardware_read_from(&h, sizeof h, etk_facts_provider(facts));
  check(&h);
  check_json(&h);
  etk_text record = ETK_TEXT_INIT;
  etk__facts_record_from(&record, etk_facts_provider(facts), "host-name");
  etk_status status = record.failed ? ETK_E_NO_MEMORY : etk__facts_parse(&e, &again, "record", record.data, record.size);
  if (!status) etk_facts_free(again);
  else if (!strstr(e.message, "given before") && !strstr(e.message, "holds no facts")) __builtin_trap(); /* hiding may make two paths alike */
  etk_text_free(&record);
  etk_facts_free(facts);
  return 0;
}
