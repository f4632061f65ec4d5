/* info: the machine, the libraries and where things are. */
#include "host.h"
#include "record.h"
#include "builtin.h"
#include "report.h"
#include "versions.h"

#include <etk/fs.h>
#include <etk/hardware.h>
#include <etk/project.h>
#include <inttypes.h>

#define COMMANDS(CMD) CMD(info, ETK_NONE, ETK_NONE, 0, "Show the machine and this installation")
BUILTIN(info, "Show the machine and this installation", COMMANDS)

static void print_row(const struct host *host, const char *name, const char *value) {
  printf("%s%-14s%s %s\n", host->out_color ? STYLE_BOLD : "", name, host->out_color ? STYLE_RESET : "", value);
}

static void print_person(struct host *host, const etk_hardware *h, const char *state) {
  char text[512], total[32], available[32];
  snprintf(text, sizeof text, "efficientai-toolkit %s (ABI %d.%d)", ETK_VERSION, ETK_ABI_MAJOR, ETK_ABI_MINOR);
  print_row(host, "version", text);
  snprintf(text, sizeof text, "%s, %s, %s%s", h->chip, h->architecture, h->platform, h->apple_silicon ? ", Apple Silicon" : "");
  print_row(host, "machine", text);
  snprintf(text, sizeof text, "%d usable of %d", h->usable_cores, h->logical_cores);
  print_row(host, "cores", text);
  snprintf(text, sizeof text, "%s (%s)", etk_isa_name(etk_isa_active()), *h->isa_features ? h->isa_features : "no features known");
  print_row(host, "instructions", text);
  snprintf(text, sizeof text, "%s, %s available", etk_format_size(total, sizeof total, h->memory_bytes),
           etk_format_size(available, sizeof available, h->memory_available_bytes));
  print_row(host, "memory", text);
  snprintf(text, sizeof text, "jansson %s, libyaml %s, %s", version_jansson(), version_yaml(), version_ffi());
  print_row(host, "libraries", text);
  print_row(host, "runs", state ? state : "(no folder: neither EFFICIENTAI_STATE_DIR, XDG_STATE_HOME nor HOME is set)");
  for (size_t i = 0; i < host->path.count; i++) {
    printf("%s%-14s%s %s  (%s%s)\n", host->out_color ? STYLE_BOLD : "", i ? "" : "plugins", host->out_color ? STYLE_RESET : "", host->path.dirs[i],
           host->path.origins[i], etk_fs_is_dir(host->path.dirs[i]) ? "" : ", not there");
  }
}

static void print_json(struct host *host, const etk_hardware *h, const char *state) {
  etk_text text = ETK_TEXT_INIT;
  etk_text_printf(&text, "{\"version\":\"%s\",\"abi\":\"%d.%d\",\"platform\":", ETK_VERSION, ETK_ABI_MAJOR, ETK_ABI_MINOR);
  put_json(&text, h->platform);
  etk_text_puts(&text, ",\"architecture\":");
  put_json(&text, h->architecture);
  etk_text_puts(&text, ",\"chip\":");
  put_json(&text, h->chip);
  etk_text_printf(&text,
                  ",\"apple_silicon\":%s,\"logical_cores\":%d,\"usable_cores\":%d,\"memory_bytes\":%" PRId64 ",\"memory_available_bytes\":%" PRId64
                  ",\"isa\":\"%s\",\"isa_features\":",
                  h->apple_silicon ? "true" : "false", h->logical_cores, h->usable_cores, h->memory_bytes, h->memory_available_bytes,
                  etk_isa_name(etk_isa_active()));
  put_json(&text, h->isa_features);
  etk_text_printf(&text, ",\"libraries\":{\"jansson\":\"%s\",\"libyaml\":\"%s\",\"libffi\":\"%s\"},\"state_dir\":", version_jansson(), version_yaml(),
                  version_ffi());
  put_json(&text, state);
  etk_text_puts(&text, ",\"plugin_path\":[");
  for (size_t i = 0; i < host->path.count; i++) {
    etk_text_puts(&text, i ? ",{\"dir\":" : "{\"dir\":");
    put_json(&text, host->path.dirs[i]);
    etk_text_puts(&text, ",\"origin\":");
    put_json(&text, host->path.origins[i]);
    etk_text_printf(&text, ",\"exists\":%s}", etk_fs_is_dir(host->path.dirs[i]) ? "true" : "false");
  }
  etk_text_puts(&text, "]}");
  host_print_document(host, "info", "ok", text.failed ? NULL : text.data, NULL);
  etk_text_free(&text);
}

static int info_run(struct host *host, const struct info_options *o) {
  etk_hardware hardware;
  (void)o;
  etk_hardware_get(&hardware);
  const char *state = state_dir(NULL, host);
  if (host->json) print_json(host, &hardware, state);
  else print_person(host, &hardware, state);
  return 0;
}
