#include "run.h"

#include "loader.h"
#include "log_files.h"
#include "marshal.h"
#include "report.h"

#include <etk/alloc.h>
#include <etk/fs.h>
#include <etk/hardware.h>

static void write_record(struct run *run, const struct run_end *end, int argc, char **argv) {
  etk_text text = ETK_TEXT_INIT;
  if (!run->record) return;
  run_json(&text, run, end, argc, argv);
  if (!text.failed) record_run_json(run->record, text.data, text.size);
  etk_text_free(&text);
}

/* What the command said, or why it said nothing. */
static void settle_error(struct run *run, etk_error *e, etk_status returned) {
  if (!returned && run->failure.status) { /* it said that it failed: its return does not make that undone */
    *e = run->failure;
    return;
  }
  if (!returned && !run->short_of_memory) return;
  if (!returned) {
    etk_fail(e, ETK_E_NO_MEMORY, "out of memory while keeping what the command reported; its results are not whole");
    return;
  }
  if (run->failure.message[0]) {
    *e = run->failure;
    e->status = returned;
    return;
  }
  if (returned == ETK_E_CANCELLED) etk_fail(e, returned, "stopped on request");
  else etk_fail(e, returned, "the command failed without saying why (status %d, %s)", returned, etk_status_name(returned));
}

static void answer(struct run *run, const struct run_end *end, const char *artifacts) {
  struct host *host = run->host;
  if (host->json || host->jsonl) {
    etk_text results = ETK_TEXT_INIT;
    results_json(&results, &run->results);
    struct document document = {.name_space = host->name_space,
                                .command = host->command,
                                .status = end->status,
                                .run = run->record ? run->record->id : NULL,
                                .results_json = results.failed ? NULL : results.data,
                                .artifacts_json = artifacts,
                                .duration_ms = (double)end->wall_ns / 1e6,
                                .error = end->error};
    document_print(host, &document);
    etk_text_free(&results);
    return;
  }
  results_print(&run->results, stdout, host->out_color, terminal_width(), run->text_shown ? "text" : NULL);
  host_flush(host, 0); /* results before what is said about them, also where both streams are one */
  for (size_t i = 0; i < run->artifact_count; i++) host_note(host, "wrote %s (%s)", run->artifacts[i].path, run->artifacts[i].type);
  if (end->error->status) {
    fflush(stdout);
    fprintf(stderr, "%s%s:%s ", host->err_color ? STYLE_RED : "", host->program, host->err_color ? STYLE_RESET : "");
    safe_put(stderr, end->error->message);
    fputc('\n', stderr);
  }
  if (run->record) host_note(host, "run %s", run->record->id);
}

static void run_free(struct run *run) {
  for (size_t i = 0; i < run->artifact_count; i++) {
    etk_free(run->artifacts[i].path);
    etk_free(run->artifacts[i].type);
  }
  etk_free(run->artifacts);
  results_free(&run->results);
  record_close(run->record);
  pthread_mutex_destroy(&run->lock);
}

/* The plugin's own code runs here and nowhere else: init, the command, deinit. */
static etk_status call(etk_error *e, struct run *run, struct loaded *loaded, const etk_command_row *row) {
  etk_status returned = ETK_OK, status = plugin_init(e, loaded, &host_services);
  if (!status) {
    status = marshal_call(e, &returned, &run->base, loaded->project, row, run->resolved);
    if (!status && returned) {
      settle_error(run, e, returned);
      status = returned;
    }
  }
  plugin_deinit(loaded);
  return status;
}

static int load(struct run *run, struct loaded *loaded, const etk_command_row **row) {
  etk_error e = ETK_ERROR_INIT;
  host_keep_data(run->host);
  crash_arm(run->host, run->plugin->name_space, "while it was loaded");
  etk_status status = plugin_load(&e, loaded, run->plugin, run->resolved->manifest);
  if (!status) {
    *row = marshal_row(loaded->project, run->resolved->command->name);
    if (!*row)
      status = etk_fail(&e, ETK_E_FORMAT, "%s: the note has a command %s that the plugin's table does not have; it must be built again",
                        run->plugin->path, run->resolved->command->name);
  }
  if (!status) return 0;
  crash_disarm();
  return host_error(run->host, &e, 126, NULL);
}

const char *plugin_data_dir(struct host *host, const struct plugin *plugin) {
  char *dir = etk_path_dir(plugin->path);
  const char *path = dir ? etk_arena_printf(&host->arena, "%s/%s", dir, plugin->name_space) : NULL;
  etk_free(dir);
  return path;
}

int run_command(struct host *host, const struct plugin *plugin, const struct manifest *manifest, const struct resolved *resolved, int argc,
                char **argv) {
  struct run run = {.base = {&host_services}, .host = host, .plugin = plugin, .resolved = resolved, .data_dir = plugin_data_dir(host, plugin)};
  struct loaded loaded = {0};
  const etk_command_row *row = NULL;
  etk_error e = ETK_ERROR_INIT;
  char doing[96];
  pthread_mutex_init(&run.lock, NULL);
  const char *unlogged = process_log_open(host);
  int refused = load(&run, &loaded, &row);
  if (refused) {
    process_log_close(host);
    run_free(&run);
    return refused;
  }
  struct run_end end = {.status = "running", .started_ms = unix_ms(), .error = &e};
  int64_t started = etk_time_ns();
  if (resolved->command->flags & ETK_TRACKED && !host->no_run) record_open(&run.record, host);
  if (unlogged && (run.record || !(resolved->command->flags & ETK_TRACKED))) /* else it was said that nothing can be written there */
    host_warn(host, "this command is not logged, the work goes on: %s", unlogged);
  write_record(&run, &end, argc, argv);
  process_log_begin(host, run.record ? run.record->id : NULL);
  if (run.record && host->verbose) host_note(host, "recording in %s", run.record->dir);
  snprintf(doing, sizeof doing, "in command %s", host->command);
  crash_arm(host, manifest->name_space, doing);
  crash_record(run.record);
  cancel_arm(host);
  services_start(&run);
  etk_status status = call(&e, &run, &loaded, row);
  services_stop(&run);
  cancel_disarm();
  crash_disarm();
  if (!status) {
    settle_error(&run, &e, ETK_OK);
    status = e.status;
  }
  end.wall_ns = etk_time_ns() - started;
  etk_text array = ETK_TEXT_INIT, lines = ETK_TEXT_INIT;
  if (run.record || host->json || host->jsonl) run_artifacts(&run, &array, &lines);
  if (run.record && !lines.failed) record_artifacts(run.record, lines.data, lines.size);
  end.status = !status ? "ok" : status == ETK_E_CANCELLED ? "cancelled" : "failed";
  end.exit_code = status ? etk_status_exit_code(status) : 0;
  answer(&run, &end, array.failed ? NULL : array.data);
  end.exit_code = host_flush(host, end.exit_code);
  end.cpu_ns = etk_cpu_time_ns();
  write_record(&run, &end, argc, argv);
  process_log_end(host, end.status, end.exit_code, end.wall_ns, e.message);
  process_log_close(host);
  etk_text_free(&array);
  etk_text_free(&lines);
  run_free(&run);
  return end.exit_code;
}
