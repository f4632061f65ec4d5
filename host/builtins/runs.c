/* runs: recorded runs, listed, shown, compared and pruned. */
#include "builtin.h"
#include "report.h"
#include "run_list.h"
#include "run_plot.h"

#include <etk/alloc.h>
#include <etk/fs.h>
#include <inttypes.h>
#include <math.h>
#include <unistd.h>

#define RUN_ARG(ARG) ARG(text, run, REQUIRED, "1..64", "an id, its unique beginning or end, or latest")
#define FILTER_OPTIONS(OPT)                                                                                            \
  OPT(text, namespace, "-", "1..64", "", "", ETK_LOCAL, "only runs of namespaces that begin so")                         \
  OPT(choice, status, "-", "ok|failed|cancelled|running|crashed|unreadable", "", "", ETK_LOCAL, "only runs that ended so")
#define LIST_OPTIONS(OPT)                                                                                              \
  FILTER_OPTIONS(OPT)                                                                                                  \
  OPT(int, limit, "-", "0..", "", "n", ETK_LOCAL, "how many at most; 0: all; default: 20, with --json all")
#define COMPARE_ARGS(ARG) ARG(text, runs, VARIADIC, "1..64", "two to sixteen ids")
#define METRICS_OPTIONS(OPT) OPT(text, name, "-", "1..", "", "", ETK_LOCAL, "only this metric")
#define PRUNE_OPTIONS(OPT)                                                                                             \
  FILTER_OPTIONS(OPT)                                                                                                  \
  OPT(int, keep, "-", "0..", "", "", ETK_LOCAL, "how many of the newest stay; must be given")
#define SHOW_OPTIONS(OPT) OPT(flag, plot, "no", "", "", "", ETK_LOCAL, "draw the metrics below")
#define PLOT_ARGS(ARG) ARG(text, runs, VARIADIC, "1..64", "ids, laid over each other; without one the latest")
#define PLOT_OPTIONS(OPT)                                                                                              \
  OPT(texts, metric, "-", "1..", "", "m", ETK_LOCAL, "only these; loss: train_loss and validation_loss")               \
  OPT(path, output, "-", "", "", "o", ETK_LOCAL, "write here, as .svg or .png; else draw in the terminal")             \
  OPT(choice, x, "step", "step|time", "", "", ETK_LOCAL, "what runs from left to right")                               \
  OPT(int, smooth, "1", "1..1000", "", "", ETK_LOCAL, "the mean of so many values in a row")                         \
  OPT(flag, log, "no", "", "", "", ETK_LOCAL, "a logarithmic y axis")                                                  \
  OPT(int, width, "-", "20..10000", "", "", ETK_LOCAL, "of a chart: pixels, or characters in the terminal")            \
  OPT(int, height, "-", "6..10000", "", "", ETK_LOCAL, "of a chart: pixels, or lines in the terminal")                 \
  OPT(choice, theme, "-", "auto|light|dark", "", "", ETK_LOCAL, "colours of the file; auto: as the reader prefers")     \
  OPT(flag, force, "no", "", "", "f", ETK_LOCAL, "replace an output that is there")
#define COMMANDS(CMD)                                                                                                  \
  CMD(list, ETK_NONE, LIST_OPTIONS, 0, "List recorded runs, the newest first")                                         \
  CMD(show, RUN_ARG, SHOW_OPTIONS, 0, "Show everything about one run")                                                  \
  CMD(compare, COMPARE_ARGS, ETK_NONE, 0, "Show what differs between runs, results and last metrics side by side")     \
  CMD(metrics, RUN_ARG, METRICS_OPTIONS, 0, "Show every value that was recorded")                                      \
  CMD(plot, PLOT_ARGS, PLOT_OPTIONS, 0, "Draw the metrics of runs, in the terminal or as SVG or PNG")                   \
  CMD(path, RUN_ARG, ETK_NONE, 0, "Print the folder of a run")                                                         \
  CMD(prune, ETK_NONE, PRUNE_OPTIONS, BUILTIN_DRY_RUN, "Remove all but the newest runs; never a running one")
BUILTIN(runs, "Look at recorded runs", COMMANDS)

static int fail(struct host *host, const etk_error *e) { return host_error(host, e, e->status == ETK_E_NOT_FOUND ? 2 : 0, NULL); }

static int fail_with_list(struct host *host, struct run_list *runs, const etk_error *e) {
  run_list_free(runs);
  return fail(host, e);
}

/* ---- pieces ---- */

static double number_of(const json_t *object, const char *key) {
  const json_t *value = json_object_get(object, key);
  return json_is_number(value) ? json_number_value(value) : NAN;
}

static void show_duration(char *out, size_t size, const struct run_entry *run) {
  double ms = number_of(run->json, "wall_ms");
  if (isnan(ms)) snprintf(out, size, "-");
  else etk_format_duration(out, size, (int64_t)(ms * 1e6));
}

static void show_command(char *out, size_t size, const struct run_entry *run) {
  if (!run->json) snprintf(out, size, "?");
  else snprintf(out, size, "%s:%s", json_text(run->json, "namespace"), json_text(run->json, "command"));
}

/* "2026-11-21 04:49:02" */
static void show_started(char *out, size_t size, const struct run_entry *run) {
  snprintf(out, size, "%.19s", json_text(run->json, "started"));
  if (strlen(out) > 10) out[10] = ' ';
}

static void show_key_results(etk_text *out, const struct run_entry *run) {
  const json_t *results = json_object_get(run->json, "results");
  const char *key;
  json_t *value;
  size_t shown = 0;
  json_object_foreach((json_t *)(uintptr_t)results, key, value) {
    if (json_is_array(value) || json_is_object(value) || json_is_null(value) || (json_is_string(value) && json_string_length(value) > 24)) continue;
    if (shown == 3) break;
    etk_text_printf(out, "%s%s=", shown++ ? " " : "", key);
    json_show(out, value);
  }
}

/* The record as it is, with what reading adds: the true status, the folder, the last value of each metric, the artifacts. */
static etk_status entry_json(etk_error *e, etk_text *out, const struct run_entry *run, bool whole) {
  etk_text_puts(out, "{\"id\":");
  put_json(out, run->id);
  etk_text_puts(out, ",\"status\":");
  put_json(out, run->status);
  etk_text_puts(out, ",\"reason\":");
  put_json(out, run->reason[0] ? run->reason : NULL);
  etk_text_puts(out, ",\"dir\":");
  put_json(out, run->dir);
  const char *key;
  json_t *value;
  json_object_foreach(run->json, key, value) {
    if (!strcmp(key, "id") || !strcmp(key, "status") || !strcmp(key, "schema_version")) continue;
    if (!whole && (!strcmp(key, "values") || !strcmp(key, "hardware") || !strcmp(key, "argv"))) continue;
    etk_text_putc(out, ',');
    put_json(out, key);
    etk_text_putc(out, ':');
    json_write(out, value);
  }
  if (whole) {
    json_t *lines = NULL, *artifacts = NULL;
    struct metric_summary metrics[64];
    etk_status status = run_lines(e, &lines, run, "metrics.jsonl");
    if (!status) status = run_lines(e, &artifacts, run, "artifacts.jsonl");
    size_t count = status ? 0 : metrics_summary(metrics, 64, lines);
    etk_text_puts(out, ",\"metrics\":{");
    for (size_t i = 0; i < count; i++) {
      if (i) etk_text_putc(out, ',');
      put_json(out, metrics[i].name);
      etk_text_printf(out, ":{\"count\":%zu,\"last_step\":%" PRId64 ",\"last\":", metrics[i].count, metrics[i].last_step);
      etk_text_real(out, metrics[i].last);
      etk_text_puts(out, ",\"least\":");
      etk_text_real(out, metrics[i].least);
      etk_text_puts(out, ",\"greatest\":");
      etk_text_real(out, metrics[i].greatest);
      etk_text_putc(out, '}');
    }
    etk_text_puts(out, "},\"artifacts\":");
    if (artifacts) json_write(out, artifacts);
    else etk_text_puts(out, "[]");
    json_decref(lines);
    json_decref(artifacts);
    if (status) return status;
  }
  etk_text_putc(out, '}');
  return ETK_OK;
}

static int print_document(struct host *host, etk_text *text) {
  etk_error e = ETK_ERROR_INIT;
  int code = 0;
  if (text->failed) code = host_error(host, (etk_fail(&e, ETK_E_NO_MEMORY, "out of memory while writing the answer"), &e), 0, NULL);
  else host_print_document(host, "runs", "ok", text->data, NULL);
  etk_text_free(text);
  return code;
}

/* ---- list ---- */

static bool fits(const char *name_space, const char *status, struct run_entry *run) {
  run_read(run);
  if (status && strcmp(status, run->status)) return false;
  return !name_space || !strncmp(json_text(run->json, "namespace"), name_space, strlen(name_space));
}

static int list_run(struct host *host, const struct list_options *o) {
  static const char *const headers[] = {"ID", "COMMAND", "STATUS", "STARTED (UTC)", "DURATION", "RESULTS"};
  etk_error e = ETK_ERROR_INIT;
  struct run_list runs;
  if (run_list_read(&e, &runs, host)) return fail(host, &e);
  bool limited = builtin_given(host, "limit");
  size_t limit = o->limit > 0 ? (size_t)o->limit : limited || host->json ? SIZE_MAX : 20, shown = 0, i = 0;
  etk_text text = ETK_TEXT_INIT;
  struct table *table = host->json ? NULL : table_new(headers, 6);
  etk_text_puts(&text, "{\"runs\":[");
  for (; i < runs.count && shown < limit; i++) {
    struct run_entry *run = &runs.items[i];
    if (!fits(o->namespace, o->status, run)) continue;
    if (host->json) {
      if (shown) etk_text_putc(&text, ',');
      entry_json(NULL, &text, run, false);
    } else {
      char command[160], started[32], duration[32];
      etk_text results = ETK_TEXT_INIT;
      show_command(command, sizeof command, run);
      show_started(started, sizeof started, run);
      show_duration(duration, sizeof duration, run);
      show_key_results(&results, run);
      const char *cells[] = {run->id, command, run->status, started, duration, results.failed ? "?" : results.data};
      table_add(table, cells);
      etk_text_free(&results);
    }
    shown++;
  }
  etk_text_puts(&text, "]}");
  size_t older = runs.count - i;
  bool none = !runs.count;
  run_list_free(&runs);
  if (host->json) return print_document(host, &text);
  etk_text_free(&text);
  if (shown) table_print(table, stdout, host->out_color, terminal_width());
  else host_note(host, "no recorded runs%s", none ? " yet" : " like that");
  if (older) host_note(host, "%zu older ones: --limit 0 lists all", older);
  table_free(table);
  return 0;
}

/* ---- show ---- */

static void print_pair(const struct host *host, const char *name, const char *value) {
  if (!value || !*value) return;
  printf("%s%-10s%s ", host->out_color ? STYLE_BOLD : "", name, host->out_color ? STYLE_RESET : "");
  safe_put(stdout, value);
  putchar('\n');
}

static void print_facts(struct host *host, const struct run_entry *run) {
  char text[256], started[40], size[32];
  show_command(text, sizeof text, run);
  print_pair(host, "run", run->id);
  print_pair(host, "command", text);
  print_pair(host, "status", run->status);
  const json_t *error = json_object_get(run->json, "error");
  print_pair(host, "error", json_text(error, "message"));
  print_pair(host, "reason", run->reason);
  show_started(started, sizeof started, run);
  print_pair(host, "started", started);
  show_duration(text, sizeof text, run);
  print_pair(host, "duration", text);
  double peak = number_of(run->json, "peak_memory_bytes");
  if (!isnan(peak)) print_pair(host, "memory", etk_format_size(size, sizeof size, (int64_t)peak));
  const json_t *git = json_object_get(run->json, "git");
  print_pair(host, "commit", json_text(git, "commit"));
  print_pair(host, "cwd", json_text(run->json, "cwd"));
  print_pair(host, "folder", run->dir);
}

static void heading(const struct host *host, const char *text) {
  printf("\n%s%s%s\n", host->out_color ? STYLE_BOLD : "", text, host->out_color ? STYLE_RESET : "");
}

static void print_values(struct host *host, const struct run_entry *run) {
  static const char *const headers[] = {"VALUE", "IS", "SOURCE", "FROM"};
  const char *key;
  json_t *value;
  struct table *table = table_new(headers, 4);
  json_object_foreach(json_object_get(run->json, "values"), key, value) {
    etk_text text = ETK_TEXT_INIT;
    json_show(&text, json_object_get(value, "value"));
    const char *cells[] = {key, text.failed ? "?" : text.data, json_text(value, "source"), json_text(value, "origin")};
    table_add(table, cells);
    etk_text_free(&text);
  }
  heading(host, "Values");
  table_print(table, stdout, host->out_color, terminal_width());
  table_free(table);
}

static void print_results(struct host *host, const struct run_entry *run) {
  const char *key;
  json_t *value;
  const json_t *results = json_object_get(run->json, "results");
  if (!json_object_size(results)) return;
  heading(host, "Results");
  json_object_foreach((json_t *)(uintptr_t)results, key, value) {
    etk_text text = ETK_TEXT_INIT;
    json_show(&text, value);
    safe_put(stdout, key);
    printf("  ");
    safe_put(stdout, text.failed ? "?" : text.data);
    putchar('\n');
    etk_text_free(&text);
  }
}

static etk_status print_metrics(etk_error *e, struct host *host, const struct run_entry *run) {
  static const char *const headers[] = {"METRIC", "COUNT", "LAST STEP", "LAST", "LEAST", "GREATEST"};
  struct metric_summary metrics[64];
  json_t *lines;
  etk_status status = run_lines(e, &lines, run, "metrics.jsonl");
  if (status) return status;
  size_t count = metrics_summary(metrics, 64, lines);
  struct table *table = table_new(headers, 6);
  for (size_t i = 0; i < count; i++) {
    char cells[5][32];
    snprintf(cells[0], 32, "%zu", metrics[i].count);
    snprintf(cells[1], 32, "%" PRId64, metrics[i].last_step);
    snprintf(cells[2], 32, "%.6g", metrics[i].last);
    snprintf(cells[3], 32, "%.6g", metrics[i].least);
    snprintf(cells[4], 32, "%.6g", metrics[i].greatest);
    const char *row[] = {metrics[i].name, cells[0], cells[1], cells[2], cells[3], cells[4]};
    table_add(table, row);
  }
  if (count) {
    heading(host, "Metrics");
    table_print(table, stdout, host->out_color, terminal_width());
  }
  table_free(table);
  json_decref(lines);
  return ETK_OK;
}

static int show_run(struct host *host, const char *id, const struct show_options *o) {
  etk_error e = ETK_ERROR_INIT;
  struct run_list runs;
  struct run_entry *run;
  if (o->plot && host->json) {
    etk_fail(&e, ETK_E_USAGE, "--plot draws with characters, which is no JSON; leave one of both out, or take 'runs plot --output FILE.svg'");
    return fail(host, &e);
  }
  if (run_list_read(&e, &runs, host)) return fail(host, &e);
  if (run_find(&e, &run, &runs, id)) return fail_with_list(host, &runs, &e);
  etk_status status = ETK_OK;
  int code = 0;
  if (host->json) {
    etk_text text = ETK_TEXT_INIT;
    status = entry_json(&e, &text, run, true);
    if (!status) code = print_document(host, &text);
    else etk_text_free(&text);
  } else {
    print_facts(host, run);
    print_values(host, run);
    print_results(host, run);
    status = print_metrics(&e, host, run);
    char *crash = status ? NULL : etk_path_join(run->dir, "crash.txt");
    if (crash && run->told) host_note(host, "it crashed: see %s", crash);
    etk_free(crash);
  }
  if (status) return fail_with_list(host, &runs, &e);
  if (o->plot && !code) {
    const char *words[] = {run->id};
    printf("\n");
    code = runs_plot(host, &(struct etk_texts){words, 1}, &(struct run_plot_options){.x = "step", .smooth = 1});
  }
  run_list_free(&runs);
  return code;
}

static int plot_run(struct host *host, struct etk_texts ids, const struct plot_options *o) {
  const struct run_plot_options options = {.metrics = o->metric, .output = o->output, .x = o->x, .theme = o->theme, .smooth = o->smooth,
                                           .width = o->width, .height = o->height, .log = o->log, .force = o->force};
  return runs_plot(host, &ids, &options);
}

/* ---- compare ---- */

struct comparison {
  struct run_entry *runs[16];
  json_t *lines[16];
  struct metric_summary metrics[16][64];
  size_t metric_count[16], count;
  struct table *table;
  etk_text json;
  bool first;
};

/* One line of the table, of any part: kept where the runs differ, or always. */
static void compare_row(struct comparison *c, const char *part, const char *name, const json_t *const *values, bool always) {
  bool differ = always;
  for (size_t i = 1; i < c->count; i++) differ = differ || !json_equal(values[0] ? values[0] : json_null(), values[i] ? values[i] : json_null());
  if (!differ) return;
  const char *cells[18] = {part, name};
  etk_text shown[16] = {ETK_TEXT_INIT};
  etk_text_puts(&c->json, c->first ? "{\"part\":" : ",{\"part\":");
  c->first = false;
  put_json(&c->json, part);
  etk_text_puts(&c->json, ",\"name\":");
  put_json(&c->json, name);
  etk_text_puts(&c->json, ",\"values\":[");
  for (size_t i = 0; i < c->count; i++) {
    if (i) etk_text_putc(&c->json, ',');
    json_write(&c->json, values[i]);
    json_show(&shown[i], values[i]);
    cells[i + 2] = shown[i].failed ? "?" : shown[i].data;
  }
  etk_text_puts(&c->json, "]}");
  table_add(c->table, cells);
  for (size_t i = 0; i < c->count; i++) etk_text_free(&shown[i]);
}

/* Every key of the object `part` of any run, once; `inside`: the member of each value that counts, or NULL for all of it. */
static void compare_part(struct comparison *c, const char *label, const char *part, const char *inside, bool always) {
  for (size_t r = 0; r < c->count; r++) {
    const char *key;
    json_t *value;
    json_object_foreach(json_object_get(c->runs[r]->json, part), key, value) {
      const json_t *values[16];
      bool seen = false;
      for (size_t k = 0; k < r; k++) seen = seen || json_object_get(json_object_get(c->runs[k]->json, part), key);
      if (seen || (!inside && (json_is_array(value) || json_is_object(value)))) continue;
      for (size_t i = 0; i < c->count; i++) {
        values[i] = json_object_get(json_object_get(c->runs[i]->json, part), key);
        if (inside) values[i] = json_object_get(values[i], inside);
      }
      compare_row(c, label, key, values, always);
    }
  }
}

static void compare_metrics(struct comparison *c) {
  for (size_t r = 0; r < c->count; r++)
    for (size_t m = 0; m < c->metric_count[r]; m++) {
      json_t *values[16] = {0};
      bool seen = false;
      const char *name = c->metrics[r][m].name;
      for (size_t i = 0; i < c->count; i++)
        for (size_t k = 0; k < c->metric_count[i]; k++)
          if (!strcmp(c->metrics[i][k].name, name)) {
            values[i] = isfinite(c->metrics[i][k].last) ? json_real(c->metrics[i][k].last) : NULL;
            seen = seen || i < r;
          }
      if (!seen) compare_row(c, "metric", name, (const json_t *const *)values, true);
      for (size_t i = 0; i < c->count; i++) json_decref(values[i]);
    }
}

static void compare_facts(struct comparison *c) {
  static const char *const facts[] = {"namespace", "command", "wall_ms", "peak_memory_bytes"};
  json_t *status[16];
  for (size_t i = 0; i < c->count; i++) status[i] = json_string(c->runs[i]->status);
  compare_row(c, "run", "status", (const json_t *const *)status, true);
  for (size_t i = 0; i < c->count; i++) json_decref(status[i]);
  for (size_t f = 0; f < sizeof facts / sizeof facts[0]; f++) {
    const json_t *values[16];
    for (size_t i = 0; i < c->count; i++) values[i] = json_object_get(c->runs[i]->json, facts[f]);
    compare_row(c, "run", facts[f], values, f >= 2);
  }
}

static int compare_run(struct host *host, struct etk_texts ids, const struct compare_options *o) {
  etk_error e = ETK_ERROR_INIT;
  struct run_list runs;
  (void)o;
  if (ids.count < 2 || ids.count > 16) {
    etk_fail(&e, ETK_E_USAGE, "runs compare wants 2 to 16 runs, but %zu %s given", ids.count, ids.count == 1 ? "was" : "were");
    return fail(host, &e);
  }
  if (run_list_read(&e, &runs, host)) return fail(host, &e);
  struct comparison *c = etk_calloc(1, sizeof *c);
  const char *headers[18] = {"PART", "NAME"};
  int code = 0;
  etk_status status = c ? ETK_OK : etk_fail(&e, ETK_E_NO_MEMORY, "out of memory");
  for (size_t i = 0; !status && i < ids.count; i++) {
    status = run_find(&e, &c->runs[i], &runs, ids.items[i]);
    if (!status) status = run_lines(&e, &c->lines[i], c->runs[i], "metrics.jsonl");
    if (status) break;
    c->metric_count[i] = metrics_summary(c->metrics[i], 64, c->lines[i]);
    headers[i + 2] = c->runs[i]->id;
    c->count++;
  }
  if (!status) {
    c->table = table_new(headers, c->count + 2);
    c->first = true;
    etk_text_puts(&c->json, "{\"runs\":[");
    for (size_t i = 0; i < c->count; i++) {
      if (i) etk_text_putc(&c->json, ',');
      put_json(&c->json, c->runs[i]->id);
    }
    etk_text_puts(&c->json, "],\"rows\":[");
    compare_facts(c);
    compare_part(c, "value", "values", "value", false);
    compare_part(c, "result", "results", NULL, true);
    compare_metrics(c);
    etk_text_puts(&c->json, "]}");
    if (host->json) code = print_document(host, &c->json);
    else table_print(c->table, stdout, host->out_color, terminal_width());
    table_free(c->table);
    etk_text_free(&c->json);
  } else code = fail(host, &e);
  for (size_t i = 0; c && i < c->count; i++) json_decref(c->lines[i]);
  etk_free(c);
  run_list_free(&runs);
  return code;
}

/* ---- metrics, path, prune ---- */

static int metrics_run(struct host *host, const char *id, const struct metrics_options *o) {
  static const char *const headers[] = {"NAME", "STEP", "VALUE"};
  etk_error e = ETK_ERROR_INIT;
  struct run_list runs;
  struct run_entry *run;
  json_t *lines = NULL;
  if (run_list_read(&e, &runs, host)) return fail(host, &e);
  if (run_find(&e, &run, &runs, id) || run_lines(&e, &lines, run, "metrics.jsonl")) return fail_with_list(host, &runs, &e);
  etk_text text = ETK_TEXT_INIT;
  struct table *table = host->json ? NULL : table_new(headers, 3);
  bool first = true;
  etk_text_puts(&text, "{\"metrics\":[");
  for (size_t i = 0; i < json_array_size(lines); i++) {
    const json_t *line = json_array_get(lines, i);
    if (o->name && strcmp(o->name, json_text(line, "name"))) continue;
    if (host->json) {
      if (!first) etk_text_putc(&text, ',');
      json_write(&text, line);
    } else {
      char step[32];
      etk_text value = ETK_TEXT_INIT;
      snprintf(step, sizeof step, "%" PRId64, (int64_t)json_integer_value(json_object_get(line, "step")));
      json_show(&value, json_object_get(line, "value"));
      const char *cells[] = {json_text(line, "name"), step, value.failed ? "?" : value.data};
      table_add(table, cells);
      etk_text_free(&value);
    }
    first = false;
  }
  etk_text_puts(&text, "]}");
  json_decref(lines);
  int code = 0;
  if (host->json) code = print_document(host, &text);
  else if (first) host_note(host, "run %s has no metric%s%s", run->id, o->name ? " " : "s", o->name ? o->name : "");
  else table_print(table, stdout, host->out_color, 0);
  etk_text_free(&text);
  table_free(table);
  run_list_free(&runs);
  return code;
}

static int path_run(struct host *host, const char *id, const struct path_options *o) {
  etk_error e = ETK_ERROR_INIT;
  struct run_list runs;
  struct run_entry *run;
  int code = 0;
  (void)o;
  if (run_list_read(&e, &runs, host)) return fail(host, &e);
  if (run_find(&e, &run, &runs, id)) return fail_with_list(host, &runs, &e);
  if (host->json) {
    etk_text text = ETK_TEXT_INIT;
    etk_text_puts(&text, "{\"path\":");
    put_json(&text, run->dir);
    etk_text_putc(&text, '}');
    code = print_document(host, &text);
  } else printf("%s\n", run->dir);
  run_list_free(&runs);
  return code;
}

static int prune_run(struct host *host, const struct prune_options *o) {
  etk_error e = ETK_ERROR_INIT;
  struct run_list runs;
  if (!builtin_given(host, "keep")) {
    etk_fail(&e, ETK_E_USAGE, "runs prune wants --keep N: how many of the newest stay");
    return fail(host, &e);
  }
  if (run_list_read(&e, &runs, host)) return fail(host, &e);
  etk_text text = ETK_TEXT_INIT;
  size_t kept = 0, removed = 0;
  etk_status status = ETK_OK;
  etk_text_puts(&text, "{\"removed\":[");
  for (size_t i = 0; i < runs.count && !status; i++) {
    struct run_entry *run = &runs.items[i];
    if ((o->namespace || o->status) && !fits(o->namespace, o->status, run)) continue;
    if (kept++ < (size_t)o->keep) continue;
    run_read(run);
    if (!strcmp(run->status, "running")) continue; /* somebody works there */
    if (!host->dry_run) status = etk_fs_remove_tree(&e, run->dir);
    if (status) break;
    if (removed++) etk_text_putc(&text, ',');
    put_json(&text, run->id);
    if (!host->json) printf("%s %s\n", host->dry_run ? "would remove" : "removed", run->id);
  }
  etk_text_puts(&text, "]}");
  run_list_free(&runs);
  if (status) {
    etk_text_free(&text);
    return fail(host, &e);
  }
  if (host->json) return print_document(host, &text);
  etk_text_free(&text);
  if (!removed) host_note(host, "nothing to remove: %zu runs", kept);
  return 0;
}
