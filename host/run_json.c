/* run_json.c: run.json, and the artifacts with their hashes. */
#include "report.h"
#include "run.h"

#include <etk/fs.h>
#include <etk/hardware.h>
#include <etk/hash.h>
#include <inttypes.h>
#include <limits.h>
#include <sys/utsname.h>
#include <unistd.h>

static void one_value(etk_text *out, bool first, const char *group, const char *name, uint32_t kind, const etk_value *value) {
  char key[200];
  snprintf(key, sizeof key, "%s%s%s", group, *group ? "." : "", name);
  etk_text_puts(out, first ? "" : ",");
  put_json(out, key);
  etk_text_puts(out, ":{\"value\":");
  etk_value_json(out, kind, value);
  etk_text_puts(out, ",\"source\":");
  put_json(out, source_name(value->source));
  etk_text_puts(out, ",\"origin\":");
  put_json(out, value->origin);
  etk_text_putc(out, '}');
}

void values_json(etk_text *out, const struct resolved *resolved) {
  const struct manifest_command *command = resolved->command;
  etk_text_putc(out, '{');
  for (size_t i = 0; i < command->argument_count; i++)
    one_value(out, i == 0, "", command->arguments[i].name, argument_kind(&command->arguments[i]), &resolved->arguments[i]);
  for (size_t i = 0; i < command->option_count; i++)
    one_value(out, i + command->argument_count == 0, command->options[i].group, command->options[i].name, command->options[i].kind,
              &resolved->options[i]);
  etk_text_putc(out, '}');
}

static void hardware_json(etk_text *out) {
  etk_hardware h;
  etk_hardware_read_from(&h, sizeof h, etk_hardware_without_devices());
  etk_text_puts(out, "{\"platform\":");
  put_json(out, h.platform);
  etk_text_puts(out, ",\"architecture\":");
  put_json(out, h.architecture);
  etk_text_puts(out, ",\"chip\":");
  put_json(out, h.chip);
  etk_text_printf(out, ",\"logical_cores\":%d,\"usable_cores\":%d,\"memory_bytes\":%" PRId64 ",\"isa\":", h.logical_cores, h.usable_cores,
                  h.memory_bytes);
  put_json(out, etk_isa_name(etk_isa_active()));
  etk_text_putc(out, '}');
}

static void process_json(etk_text *out, struct run *run, int argc, char **argv) {
  char cwd[PATH_MAX];
  struct utsname machine;
  struct git_state git;
  bool here = getcwd(cwd, sizeof cwd) != NULL;
  etk_text_printf(out, ",\n\"pid\":%ld,\"process_start\":%" PRIu64 ",\"machine\":", (long)getpid(), process_started((long)getpid()));
  put_json(out, uname(&machine) ? NULL : machine.nodename);
  etk_text_puts(out, ",\n\"argv\":[");
  for (int i = 0; i < argc; i++) {
    if (i) etk_text_putc(out, ',');
    put_json(out, argv[i]);
  }
  etk_text_puts(out, "],\n\"cwd\":");
  put_json(out, here ? cwd : NULL);
  etk_text_puts(out, ",\n\"git\":");
  if (here && git_read(&git, cwd)) {
    etk_text_puts(out, "{\"commit\":");
    put_json(out, git.commit);
    etk_text_puts(out, ",\"branch\":");
    put_json(out, git.branch[0] ? git.branch : NULL);
    etk_text_putc(out, '}');
  } else etk_text_puts(out, "null");
  etk_text_printf(out, ",\n\"host\":{\"version\":\"%s\",\"abi\":\"%d.%d\"},\n\"plugin\":{\"version\":", ETK_VERSION, ETK_ABI_MAJOR, ETK_ABI_MINOR);
  put_json(out, run->resolved->manifest->version);
  etk_text_puts(out, ",\"path\":");
  put_json(out, run->plugin->path);
  etk_text_puts(out, "},\n\"hardware\":");
  hardware_json(out);
}

void run_json(etk_text *out, struct run *run, const struct run_end *end, int argc, char **argv) {
  char time_text[32];
  etk_text_puts(out, "{\"schema_version\":1,\"id\":");
  put_json(out, run->record ? run->record->id : NULL);
  etk_text_puts(out, ",\"namespace\":");
  put_json(out, run->host->name_space);
  etk_text_puts(out, ",\"command\":");
  put_json(out, run->host->command);
  etk_text_puts(out, ",\n\"status\":");
  put_json(out, end->status);
  etk_text_puts(out, ",\"started\":");
  put_json(out, iso_time(time_text, sizeof time_text, end->started_ms));
  etk_text_printf(out, ",\"started_ms\":%" PRId64, end->started_ms);
  if (strcmp(end->status, "running")) {
    etk_text_printf(out, ",\"exit_code\":%d,\"wall_ms\":%.3f,\"cpu_ms\":%.3f,\"peak_memory_bytes\":%" PRId64, end->exit_code,
                    (double)end->wall_ns / 1e6, (double)end->cpu_ns / 1e6, etk_hardware_peak_rss_bytes());
  } else etk_text_puts(out, ",\"exit_code\":null,\"wall_ms\":null,\"cpu_ms\":null,\"peak_memory_bytes\":null");
  process_json(out, run, argc, argv);
  etk_text_puts(out, ",\n\"values\":");
  values_json(out, run->resolved);
  etk_text_puts(out, ",\n\"results\":");
  results_json(out, &run->results);
  etk_text_puts(out, ",\n\"error\":");
  if (end->error && end->error->status) {
    etk_text_printf(out, "{\"code\":%d,\"name\":", end->error->status);
    put_json(out, etk_status_name(end->error->status));
    etk_text_puts(out, ",\"message\":");
    put_json(out, end->error->message);
    etk_text_putc(out, '}');
  } else etk_text_puts(out, "null");
  etk_text_puts(out, "}\n");
}

/* ---- artifacts ---- */

static void one_file(struct run *run, etk_text *array, etk_text *lines, const char *path, const char *type) {
  char hex[65];
  uint64_t bytes = 0;
  etk_error e = ETK_ERROR_INIT;
  etk_text item = ETK_TEXT_INIT;
  bool hashed = !etk_sha256_file(&e, hex, &bytes, path);
  if (!hashed) services_log(run, 2, e.message);
  etk_text_puts(&item, "{\"path\":");
  put_json(&item, path);
  etk_text_puts(&item, ",\"type\":");
  put_json(&item, type);
  etk_text_puts(&item, ",\"sha256\":");
  put_json(&item, hashed ? hex : NULL);
  if (hashed) etk_text_printf(&item, ",\"bytes\":%" PRIu64 "}", bytes);
  else etk_text_puts(&item, ",\"bytes\":null}");
  if (item.failed) array->failed = true;
  else {
    etk_text_puts(array, array->size > 1 ? "," : "");
    etk_text_append(array, item.data, item.size);
    etk_text_append(lines, item.data, item.size);
    etk_text_putc(lines, '\n');
  }
  etk_text_free(&item);
}

static void one_artifact(struct run *run, etk_text *array, etk_text *lines, const char *path, const char *type, int depth) {
  char **names = NULL;
  size_t count = 0;
  if (depth > 32 || !etk_fs_is_dir(path)) {
    one_file(run, array, lines, path, type);
    return;
  }
  etk_error e = ETK_ERROR_INIT;
  if (etk_fs_list(&e, &names, &count, path)) {
    services_log(run, 2, e.message);
    return;
  }
  for (size_t i = 0; i < count; i++) {
    char *inner = etk_path_join(path, names[i]);
    if (inner) one_artifact(run, array, lines, inner, type, depth + 1);
    else array->failed = true;
    etk_free(inner);
  }
  etk_fs_list_free(names, count);
}

void run_artifacts(struct run *run, etk_text *array, etk_text *lines) {
  etk_text_putc(array, '[');
  for (size_t i = 0; i < run->artifact_count; i++) one_artifact(run, array, lines, run->artifacts[i].path, run->artifacts[i].type, 0);
  etk_text_putc(array, ']');
}
