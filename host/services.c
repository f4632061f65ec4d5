/* services.c: the etk_host table: what a plugin's etk_run_… calls arrive at. Each takes the run's lock; text comes from the command's thread only,
 * the rest from any. */
#include "loader.h"
#include "log_files.h"
#include "report.h"
#include "run.h"

#include <etk/alloc.h>
#include <etk/hardware.h>
#include <etk/log.h>
#include <inttypes.h>
#include <unistd.h>

static struct run *run_of(etk_run *base) { return (struct run *)base; }

/* ---- --jsonl: one event a line, at once ---- */

static void event_end(struct run *run, etk_text *line) {
  etk_text_puts(line, "}\n");
  if (line->failed) run->short_of_memory = true;
  else {
    fwrite(line->data, 1, line->size, host_data(run->host));
    host_flush(run->host, 0);
  }
  etk_text_free(line);
}

static etk_text event_begin(const char *event) {
  etk_text line = ETK_TEXT_INIT;
  etk_text_printf(&line, "{\"event\":\"%s\"", event);
  return line;
}

static void event_field(etk_text *line, const char *name, const char *text) {
  etk_text_printf(line, ",\"%s\":", name);
  put_json(line, text);
}

/* ---- conversation ---- */

static void show_log(struct run *run, int level, const char *message) {
  const struct host *host = run->host;
  int least = host->verbose > 1 ? ETK_LOG_DEBUG : host->verbose ? ETK_LOG_INFO : host->quiet ? ETK_LOG_ERROR : ETK_LOG_WARNING;
  if (level < least) return;
  const char *style = !host->err_color ? "" : level >= ETK_LOG_ERROR ? STYLE_RED : level == ETK_LOG_WARNING ? STYLE_YELLOW : STYLE_DIM;
  if (run->progress_used) etk_progress_clear(&run->progress);
  fprintf(stderr, "%s%s:%s ", style, etk_log_level_name((etk_log_level)level), *style ? STYLE_RESET : "");
  safe_put(stderr, message);
  fputc('\n', stderr);
}

/* To the record and to whoever looks on; etk_log writes the process log itself. */
static void tell(struct run *run, int level, const char *message) {
  char line[ETK_ERROR_SIZE];
  snprintf(line, sizeof line, "%s", message ? message : "");
  etk_log_redact(line);
  pthread_mutex_lock(&run->lock);
  if (run->record) record_log(run->record, level, line);
  show_log(run, level, line);
  if (run->host->jsonl) {
    etk_text event = event_begin("log");
    event_field(&event, "level", etk_log_level_name((etk_log_level)level));
    event_field(&event, "message", line);
    event_end(run, &event);
  }
  pthread_mutex_unlock(&run->lock);
}

void services_log(struct run *run, int level, const char *message) {
  level = level < ETK_LOG_DEBUG ? ETK_LOG_DEBUG : level > ETK_LOG_ERROR ? ETK_LOG_ERROR : level;
  process_log_line(run->host, (etk_log_level)level, message);
  tell(run, level, message);
}

static void service_log(etk_run *base, int level, const char *message) {
  if (base) services_log(run_of(base), level, message);
  else etk_log((etk_log_level)level, "%s", message ? message : ""); /* from init, which has no run */
}

static void library_log(void *user, etk_log_level level, int64_t time_ms, const char *message) {
  (void)time_ms;
  tell(user, level, message);
}

static void service_progress(etk_run *base, const char *label, int64_t done, int64_t total, const char *note) {
  struct run *run = run_of(base);
  pthread_mutex_lock(&run->lock);
  run->progress_used = true;
  etk_progress_update(&run->progress, label ? label : "", done, total, note);
  if (run->record && run->record->used && etk_time_ns() - run->record->window_ns > 500000000) record_flush(run->record);
  if (run->host->jsonl) {
    etk_text event = event_begin("progress");
    event_field(&event, "label", label);
    etk_text_printf(&event, ",\"done\":%" PRId64 ",\"total\":%" PRId64, done, total);
    event_field(&event, "note", note);
    event_end(run, &event);
  }
  pthread_mutex_unlock(&run->lock);
}

static int service_cancelled(etk_run *base) {
  (void)base;
  return cancel_asked();
}

static void service_metric(etk_run *base, const char *name, int64_t step, double value) {
  struct run *run = run_of(base);
  pthread_mutex_lock(&run->lock);
  if (run->record) record_metric(run->record, name, step, value);
  if (run->host->jsonl) {
    etk_text event = event_begin("metric");
    event_field(&event, "name", name);
    etk_text_printf(&event, ",\"step\":%" PRId64 ",\"value\":", step);
    etk_text_real(&event, value);
    etk_text_printf(&event, ",\"time_ms\":%" PRId64, unix_ms());
    event_end(run, &event);
  }
  pthread_mutex_unlock(&run->lock);
}

/* ---- results ---- */

static void service_result(etk_run *base, const etk_cell *value) {
  struct run *run = run_of(base);
  pthread_mutex_lock(&run->lock);
  if (results_set(NULL, &run->results, value)) run->short_of_memory = true;
  if (run->host->jsonl) {
    etk_text event = event_begin("result");
    event_field(&event, "name", value->name);
    etk_text_puts(&event, ",\"value\":");
    cell_json(&event, value);
    event_end(run, &event);
  }
  pthread_mutex_unlock(&run->lock);
}

static void service_result_row(etk_run *base, const char *table, const etk_cell *cells, size_t count) {
  struct run *run = run_of(base);
  pthread_mutex_lock(&run->lock);
  if (results_add_row(NULL, &run->results, table, cells, count)) run->short_of_memory = true;
  if (run->host->jsonl) {
    etk_text event = event_begin("row");
    event_field(&event, "table", table);
    etk_text_puts(&event, ",\"row\":{");
    for (size_t i = 0; i < count; i++) {
      if (i) etk_text_putc(&event, ',');
      put_json(&event, cells[i].name ? cells[i].name : "");
      etk_text_putc(&event, ':');
      cell_json(&event, &cells[i]);
    }
    etk_text_putc(&event, '}');
    event_end(run, &event);
  }
  pthread_mutex_unlock(&run->lock);
}

static etk_status service_result_json(etk_run *base, const char *name, const char *json) {
  struct run *run = run_of(base);
  etk_error e = ETK_ERROR_INIT;
  pthread_mutex_lock(&run->lock);
  etk_status status = results_set_json(&e, &run->results, name, json);
  if (!status && run->host->jsonl) {
    etk_text event = event_begin("result");
    event_field(&event, "name", name);
    etk_text_puts(&event, ",\"value\":");
    for (size_t i = 0; i < run->results.count; i++)
      if (!strcmp(run->results.items[i].name, name ? name : "")) etk_text_puts(&event, run->results.items[i].value.text);
    event_end(run, &event);
  }
  pthread_mutex_unlock(&run->lock);
  if (status) services_log(run, ETK_LOG_ERROR, e.message);
  return status;
}

static void service_artifact(etk_run *base, const char *path, const char *type) {
  struct run *run = run_of(base);
  pthread_mutex_lock(&run->lock);
  struct artifact *item = NULL;
  for (size_t i = 0; path && i < run->artifact_count; i++)
    if (!strcmp(run->artifacts[i].path, path)) item = &run->artifacts[i];
  if (path && !item) {
    if (run->artifact_count == run->artifact_capacity) {
      size_t capacity = run->artifact_capacity ? run->artifact_capacity * 2 : 8;
      struct artifact *grown = etk_realloc(run->artifacts, capacity, sizeof *grown);
      if (grown) run->artifacts = grown, run->artifact_capacity = capacity;
    }
    struct artifact made = {etk_strdup(path), etk_strdup(type ? type : "file")};
    if (run->artifact_count < run->artifact_capacity && made.path && made.type) run->artifacts[run->artifact_count++] = made;
    else {
      run->short_of_memory = true;
      etk_free(made.path);
      etk_free(made.type);
    }
  }
  pthread_mutex_unlock(&run->lock);
}

static int service_given(etk_run *base, const char *name) { return name ? resolved_source(run_of(base)->resolved, name) : ETK_FROM_UNSET; }

static void service_fail(etk_run *base, etk_status status, const char *message) {
  struct run *run = run_of(base);
  if (!base) { /* from init, which has no run */
    plugin_init_said(status, message);
    return;
  }
  pthread_mutex_lock(&run->lock);
  if (!run->failure.status && !run->failure.message[0]) {
    run->failure.status = status;
    snprintf(run->failure.message, sizeof run->failure.message, "%s", message ? message : "");
  }
  pthread_mutex_unlock(&run->lock);
}

/* ---- text ---- */

/* Bytes at the end that begin a character without ending it. */
static size_t open_tail(const char *bytes, size_t size) {
  for (size_t back = 1; back <= 3 && back <= size; back++) {
    unsigned char c = (unsigned char)bytes[size - back];
    if ((c & 0xC0) == 0x80) continue;
    size_t wanted = c >= 0xF0 && c < 0xF8 ? 4 : c >= 0xE0 ? 3 : c >= 0xC0 ? 2 : 1;
    return wanted > back && c < 0xF8 ? back : 0;
  }
  return 0;
}

/* A character cut in two between calls is put together again before it becomes JSON, or is looked at for what it would do to a terminal. */
static void text_event(struct run *run, const char *bytes, size_t size, bool last) {
  etk_text whole = ETK_TEXT_INIT;
  etk_text_append(&whole, run->tail, run->tail_size);
  etk_text_append(&whole, bytes, size);
  run->tail_size = 0;
  size_t keep = last || whole.failed ? 0 : open_tail(whole.data, whole.size);
  if (whole.failed) run->short_of_memory = true;
  else if (whole.size > keep && !run->host->jsonl) {
    etk_text safe = ETK_TEXT_INIT;
    safe_text(&safe, whole.data, whole.size - keep, "\n\t");
    if (safe.failed) run->short_of_memory = true;
    else fwrite(safe.data, 1, safe.size, stdout);
    etk_text_free(&safe);
  } else if (whole.size > keep) {
    etk_text event = event_begin("text");
    etk_text_puts(&event, ",\"text\":");
    etk_text_json(&event, whole.data, whole.size - keep);
    event_end(run, &event);
  }
  if (keep) memcpy(run->tail, whole.data + whole.size - keep, keep);
  run->tail_size = keep;
  etk_text_free(&whole);
}

static void service_text(etk_run *base, const char *bytes, size_t size) {
  struct run *run = run_of(base);
  if (!size) return;
  pthread_mutex_lock(&run->lock);
  if (run->host->jsonl) text_event(run, bytes, size, false);
  else if (!run->host->json) {
    if (run->progress_used) etk_progress_clear(&run->progress);
    if (isatty(STDOUT_FILENO)) text_event(run, bytes, size, false);
    else fwrite(bytes, 1, size, stdout);
    host_flush(run->host, 0);
    run->text_shown = true;
    run->line_open = bytes[size - 1] != '\n';
  }
  pthread_mutex_unlock(&run->lock);
}

static const char *service_directory(etk_run *base, int which) {
  struct run *run = run_of(base);
  if (which == 0) return run->data_dir;
  if (which != 1) return NULL;
  return run->record ? run->record->dir : run->work_dir;
}

const etk_host host_services = {.struct_size = sizeof(etk_host), .abi_major = ETK_ABI_MAJOR, .abi_minor = ETK_ABI_MINOR, .version = ETK_VERSION,
                                .log = service_log, .progress = service_progress, .cancelled = service_cancelled, .metric = service_metric,
                                .result = service_result, .result_row = service_result_row, .result_json = service_result_json,
                                .artifact = service_artifact, .given = service_given, .fail = service_fail, .text = service_text,
                                .directory = service_directory};

/* ---- beginning and end ---- */

void services_start(struct run *run) {
  const struct host *host = run->host;
  etk_progress_mode mode = ETK_PROGRESS_AUTO;
  if (host->progress && !strcmp(host->progress, "bar")) mode = ETK_PROGRESS_BAR;
  else if (host->progress && !strcmp(host->progress, "plain")) mode = ETK_PROGRESS_PLAIN;
  else if ((host->progress && !strcmp(host->progress, "off")) || host->quiet) mode = ETK_PROGRESS_OFF;
  etk_progress_init(&run->progress, stderr, mode, host->err_color);
  etk_log_set_sink(library_log, run);
  if (run->record && etk_log_get_level() > ETK_LOG_INFO) etk_log_set_level(ETK_LOG_INFO); /* the record gets more than the screen */
}

void services_stop(struct run *run) {
  host_log_start(run->host);
  pthread_mutex_lock(&run->lock);
  if (run->progress_used) etk_progress_finish(&run->progress);
  if (run->tail_size) text_event(run, "", 0, true);
  if (run->line_open) {
    fputc('\n', stdout);
    host_flush(run->host, 0); /* before anything is said on the other stream */
  }
  run->line_open = false;
  if (run->record) record_flush(run->record);
  pthread_mutex_unlock(&run->lock);
}
