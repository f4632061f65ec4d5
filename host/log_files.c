#include "log_files.h"

#include "record.h"
#include "report.h"

#include <etk/hardware.h>
#include <etk/text.h>

const char *log_folder(etk_error *e, struct host *host) {
  const char *state = state_dir(e, host), *folder;
  if (!state) return NULL;
  folder = etk_arena_printf(&host->arena, "%s/logs", state);
  if (!folder) etk_fail_memory(e);
  return folder;
}

/* "AMD EPYC 9B14, 8 cores": what is known without asking much; all of etk/hardware.h takes half a millisecond. */
static void hardware(char *out, size_t size) {
  const etk_hardware_provider *machine = etk_hardware_this_machine();
  char text[4096] = "", chip[128] = "", cores[32] = "";
  if (machine->file && machine->file(machine->user, "/proc/cpuinfo", text, sizeof text) > 0) {
    const char *name = strstr(text, "model name");
    if (name) name = strchr(name, ':');
    if (name) snprintf(chip, sizeof chip, "%.*s", (int)strcspn(name + 1 + strspn(name + 1, " \t"), "\n"), name + 1 + strspn(name + 1, " \t"));
  }
  if (machine->fact) {
    if (!*chip && machine->fact(machine->user, "machdep.cpu.brand_string", chip, sizeof chip) < 0) *chip = 0;
    if (!*chip && machine->fact(machine->user, "uname.machine", chip, sizeof chip) < 0) *chip = 0;
    if (machine->fact(machine->user, "affinity.cores", cores, sizeof cores) < 0) *cores = 0;
  }
  snprintf(out, size, "%s%s%s%s", *chip ? chip : "unknown", *cores ? ", " : "", cores, !*cores ? "" : strcmp(cores, "1") ? " cores" : " core");
}

static void say_problem(struct host *host, const etk_error *e) { host_warn(host, "%s", e->message); }

const char *process_log_open(struct host *host) {
  etk_error e = ETK_ERROR_INIT;
  char chip[200];
  if (host->no_run || host->log) return NULL;
  const char *folder = log_folder(&e, host), *path = folder ? etk_arena_printf(&host->arena, "%s/%s", folder, PROCESS_LOG) : NULL;
  if (folder && !path) etk_fail_memory(&e);
  /* ten megabytes, a week, five of them: 60 MiB at most */
  etk_log_file_options options = {.struct_size = sizeof options, .path = path, .format = ETK_LOG_JSON, .level = ETK_LOG_INFO, .max_age_s = 7 * 86400};
  if (!path || etk_log_file_open(&e, &host->log, &options)) {
    const char *why = etk_arena_strdup(&host->arena, e.message);
    return why ? why : "out of memory";
  }
  hardware(chip, sizeof chip);
  etk_log_context("namespace", host->name_space);
  etk_log_context("command", host->command);
  etk_log_context("hardware", chip);
  return NULL;
}

static void write_line(struct host *host, etk_log_level level, const char *message, const etk_log_field *fields, size_t count) {
  etk_error e = ETK_ERROR_INIT;
  if (host->log && etk_log_file_event(&e, host->log, level, message, fields, count)) say_problem(host, &e);
}

void process_log_begin(struct host *host, const char *run) {
  if (!host->log) return;
  etk_log_context("run", run);
  write_line(host, ETK_LOG_INFO, "command begins", NULL, 0);
}

void process_log_line(struct host *host, etk_log_level level, const char *message) { write_line(host, level, message, NULL, 0); }

void process_log_end(struct host *host, const char *status, int exit_code, int64_t wall_ns, const char *error) {
  const etk_log_field fields[] = {{.name = "status", .kind = ETK_LOG_FIELD_TEXT, .text = status},
                                  {.name = "exit", .kind = ETK_LOG_FIELD_INT, .integer = exit_code},
                                  {.name = "wall_ms", .kind = ETK_LOG_FIELD_REAL, .real = (double)(wall_ns / 1000) / 1000},
                                  {.name = "error", .kind = ETK_LOG_FIELD_TEXT, .text = error}};
  etk_log_level level = !strcmp(status, "ok") ? ETK_LOG_INFO : !strcmp(status, "cancelled") ? ETK_LOG_WARNING : ETK_LOG_ERROR;
  write_line(host, level, "command ends", fields, error && *error ? 4 : 3);
}

void process_log_close(struct host *host) {
  static const char *const keys[] = {"run", "namespace", "command", "hardware"};
  etk_log_file_close(host->log);
  host->log = NULL;
  for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++) etk_log_context(keys[i], NULL);
}
