/* runs: recorded runs, listed, shown, compared and pruned. */
#include "report.h"
#include "run_list.h"

#include <etk/alloc.h>
#include <etk/fs.h>
#include <inttypes.h>
#include <math.h>
#include <sys/ioctl.h>
#include <unistd.h>

struct request {
  const char *words[64]; /* what stands by position after the verb */
  size_t count;
  const char *name, *name_space, *status;
  int64_t limit, keep; /* -1: not given */
};

static int fail(struct host *host, const etk_error *e) { return host_error(host, e, e->status == ETK_E_NOT_FOUND ? 2 : 0, NULL); }

static int width_of_terminal(void) {
  struct winsize size;
  return isatty(STDOUT_FILENO) && !ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) && size.ws_col > 20 ? size.ws_col : 0;
}

/* ---- options ---- */

static const struct run_option {
  const char *name;
  size_t offset;
  bool number;
} run_options[] = {{"limit", offsetof(struct request, limit), true},
                   {"keep", offsetof(struct request, keep), true},
                   {"name", offsetof(struct request, name), false},
                   {"namespace", offsetof(struct request, name_space), false},
                   {"status", offsetof(struct request, status), false}};
enum { RUN_OPTIONS = sizeof run_options / sizeof run_options[0] };

static etk_status read_option(etk_error *e, struct request *request, int count, char **words, int *index) {
  const char *names[RUN_OPTIONS], *word = words[*index];
  char typed[64];
  for (size_t i = 0; i < RUN_OPTIONS; i++) names[i] = run_options[i].name;
  snprintf(typed, sizeof typed, "%.*s", (int)strcspn(word, "="), word);
  const char *value = strchr(word, '=');
  for (size_t i = 0; i < RUN_OPTIONS; i++) {
    if (strncmp(typed, "--", 2) || strcmp(typed + 2, names[i])) continue;
    if (value) value++;
    else if (*index + 1 < count) value = words[++*index];
    if (!value) return etk_fail(e, ETK_E_USAGE, "%s wants a value", typed);
    void *field = (char *)request + run_options[i].offset;
    if (!run_options[i].number) {
      *(const char **)field = value;
      return ETK_OK;
    }
    int64_t number;
    if (etk_parse_int(NULL, &number, value) || number < 0) return etk_fail(e, ETK_E_USAGE, "%s: '%s' is not a number from 0 up", typed, value);
    *(int64_t *)field = number;
    return ETK_OK;
  }
  const char *near = strncmp(typed, "--", 2) ? NULL : etk_text_suggest(typed + 2, names, RUN_OPTIONS);
  return etk_fail(e, ETK_E_USAGE, "unknown option %s for runs%s%s%s", typed, near ? "; did you mean --" : "", near ? near : "", near ? "?" : "");
}

static etk_status read_request(etk_error *e, struct request *request, int count, char **words) {
  *request = (struct request){.limit = -1, .keep = -1};
  for (int i = 0; i < count; i++) {
    etk_status status = ETK_OK;
    if (words[i][0] == '-' && words[i][1]) status = read_option(e, request, count, words, &i);
    else if (request->count == sizeof request->words / sizeof request->words[0])
      status = etk_fail(e, ETK_E_USAGE, "too many runs at once (at most %zu)", request->count);
    else request->words[request->count++] = words[i];
    if (status) return status;
  }
  return ETK_OK;
}

static etk_status wants(etk_error *e, const struct request *request, size_t least, size_t most, const char *usage) {
  if (request->count < least) return etk_fail(e, ETK_E_USAGE, "too few words: the form is runs %s", usage);
  if (request->count > most) return etk_fail(e, ETK_E_USAGE, "'%s' is one word too many: the form is runs %s", request->words[most], usage);
  return ETK_OK;
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
  snprintf(out, size, "%s:%s", json_text(run->json, "namespace"), json_text(run->json, "command"));
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

static bool fits(const struct request *request, struct run_entry *run) {
  run_read(run);
  if (request->status && strcmp(request->status, run->status)) return false;
  if (!request->name_space) return true;
  const char *name = json_text(run->json, "namespace");
  return !strncmp(name, request->name_space, strlen(request->name_space));
}

static int list(struct host *host, struct run_list *runs, const struct request *request) {
  static const char *const headers[] = {"ID", "COMMAND", "STATUS", "STARTED (UTC)", "DURATION", "RESULTS"};
  etk_error e = ETK_ERROR_INIT;
  if (wants(&e, request, 0, 0, "list [--namespace NAME] [--status STATUS] [--limit N]")) return fail(host, &e);
  size_t limit = request->limit > 0 ? (size_t)request->limit : request->limit == 0 || host->json ? SIZE_MAX : 20, shown = 0, i = 0;
  etk_text text = ETK_TEXT_INIT;
  struct table *table = host->json ? NULL : table_new(headers, 6);
  etk_text_puts(&text, "{\"runs\":[");
  for (; i < runs->count && shown < limit; i++) {
    struct run_entry *run = &runs->items[i];
    if (!fits(request, run)) continue;
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
  if (host->json) return print_document(host, &text);
  etk_text_free(&text);
  if (shown) table_print(table, stdout, host->out_color, width_of_terminal());
  else host_note(host, "no recorded runs%s", runs->count ? " like that" : " yet");
  if (i < runs->count) host_note(host, "%zu older ones: --limit 0 lists all", runs->count - i);
  table_free(table);
  return 0;
}

/* ---- show ---- */

static void print_pair(const struct host *host, const char *name, const char *value) {
  if (value && *value) printf("%s%-10s%s %s\n", host->out_color ? STYLE_BOLD : "", name, host->out_color ? STYLE_RESET : "", value);
}

static void print_facts(struct host *host, const struct run_entry *run) {
  char text[256], started[40], size[32];
  show_command(text, sizeof text, run);
  print_pair(host, "run", run->id);
  print_pair(host, "command", text);
  print_pair(host, "status", run->status);
  const json_t *error = json_object_get(run->json, "error");
  print_pair(host, "error", json_text(error, "message"));
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
  table_print(table, stdout, host->out_color, width_of_terminal());
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
    printf("%s  %s\n", key, text.failed ? "?" : text.data);
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
    table_print(table, stdout, host->out_color, width_of_terminal());
  }
  table_free(table);
  json_decref(lines);
  return ETK_OK;
}

static int show(struct host *host, struct run_list *runs, const struct request *request) {
  etk_error e = ETK_ERROR_INIT;
  struct run_entry *run;
  if (wants(&e, request, 1, 1, "show ID|latest") || run_find(&e, &run, runs, request->words[0])) return fail(host, &e);
  if (host->json) {
    etk_text text = ETK_TEXT_INIT;
    if (!entry_json(&e, &text, run, true)) return print_document(host, &text);
    etk_text_free(&text);
    return fail(host, &e);
  }
  print_facts(host, run);
  print_values(host, run);
  print_results(host, run);
  if (print_metrics(&e, host, run)) return fail(host, &e);
  char *crash = etk_path_join(run->dir, "crash.txt");
  if (crash && etk_fs_exists(crash)) host_note(host, "it crashed: see %s", crash);
  etk_free(crash);
  return 0;
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

static int compare(struct host *host, struct run_list *runs, const struct request *request) {
  etk_error e = ETK_ERROR_INIT;
  if (wants(&e, request, 2, 16, "compare A B [C…], at most 16")) return fail(host, &e);
  struct comparison *c = etk_calloc(1, sizeof *c);
  const char *headers[18] = {"PART", "NAME"};
  int code = 0;
  etk_status status = c ? ETK_OK : etk_fail(&e, ETK_E_NO_MEMORY, "out of memory");
  for (size_t i = 0; !status && i < request->count; i++) {
    status = run_find(&e, &c->runs[i], runs, request->words[i]);
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
    else table_print(c->table, stdout, host->out_color, width_of_terminal());
    table_free(c->table);
    etk_text_free(&c->json);
  } else code = fail(host, &e);
  for (size_t i = 0; c && i < c->count; i++) json_decref(c->lines[i]);
  etk_free(c);
  return code;
}

/* ---- metrics, path, prune ---- */

static int metrics(struct host *host, struct run_list *runs, const struct request *request) {
  static const char *const headers[] = {"NAME", "STEP", "VALUE"};
  etk_error e = ETK_ERROR_INIT;
  struct run_entry *run;
  json_t *lines = NULL;
  if (wants(&e, request, 1, 1, "metrics ID [--name NAME]") || run_find(&e, &run, runs, request->words[0]) ||
      run_lines(&e, &lines, run, "metrics.jsonl"))
    return fail(host, &e);
  etk_text text = ETK_TEXT_INIT;
  struct table *table = host->json ? NULL : table_new(headers, 3);
  bool first = true;
  etk_text_puts(&text, "{\"metrics\":[");
  for (size_t i = 0; i < json_array_size(lines); i++) {
    const json_t *line = json_array_get(lines, i);
    if (request->name && strcmp(request->name, json_text(line, "name"))) continue;
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
  if (host->json) return print_document(host, &text);
  etk_text_free(&text);
  if (first) host_note(host, "run %s has no metric%s%s", run->id, request->name ? " " : "s", request->name ? request->name : "");
  else table_print(table, stdout, host->out_color, 0);
  table_free(table);
  return 0;
}

static int path(struct host *host, struct run_list *runs, const struct request *request) {
  etk_error e = ETK_ERROR_INIT;
  struct run_entry *run;
  if (wants(&e, request, 1, 1, "path ID|latest") || run_find(&e, &run, runs, request->words[0])) return fail(host, &e);
  if (!host->json) {
    printf("%s\n", run->dir);
    return 0;
  }
  etk_text text = ETK_TEXT_INIT;
  etk_text_puts(&text, "{\"path\":");
  put_json(&text, run->dir);
  etk_text_putc(&text, '}');
  return print_document(host, &text);
}

static int prune(struct host *host, struct run_list *runs, const struct request *request) {
  etk_error e = ETK_ERROR_INIT;
  if (wants(&e, request, 0, 0, "prune --keep N [--dry-run]")) return fail(host, &e);
  if (request->keep < 0) {
    etk_fail(&e, ETK_E_USAGE, "runs prune wants --keep N: how many of the newest stay");
    return fail(host, &e);
  }
  etk_text text = ETK_TEXT_INIT;
  size_t kept = 0, removed = 0;
  etk_status status = ETK_OK;
  etk_text_puts(&text, "{\"removed\":[");
  for (size_t i = 0; i < runs->count && !status; i++) {
    struct run_entry *run = &runs->items[i];
    if ((request->name_space || request->status) && !fits(request, run)) continue;
    if (kept++ < (size_t)request->keep) continue;
    run_read(run);
    if (!strcmp(run->status, "running")) continue; /* somebody works there */
    if (!host->dry_run) status = etk_fs_remove_tree(&e, run->dir);
    if (status) break;
    if (removed++) etk_text_putc(&text, ',');
    put_json(&text, run->id);
    if (!host->json) printf("%s %s\n", host->dry_run ? "would remove" : "removed", run->id);
  }
  etk_text_puts(&text, "]}");
  if (status) {
    etk_text_free(&text);
    return fail(host, &e);
  }
  if (host->json) return print_document(host, &text);
  etk_text_free(&text);
  if (!removed) host_note(host, "nothing to remove: %zu runs", kept);
  return 0;
}

/* ---- verbs ---- */

static const struct verb {
  const char *name, *usage, *summary;
  int (*main)(struct host *, struct run_list *, const struct request *);
} verbs[] = {{"list", "list [--namespace NAME] [--status STATUS] [--limit N]", "the newest runs first", list},
             {"show", "show ID|latest", "everything about one run", show},
             {"compare", "compare A B [C…]", "what differs, results and last metrics side by side", compare},
             {"metrics", "metrics ID [--name NAME]", "every value that was recorded", metrics},
             {"path", "path ID|latest", "the folder of a run", path},
             {"prune", "prune --keep N [--namespace NAME] [--status STATUS] [--dry-run]", "remove all but the newest N; never a running one", prune}};
enum { VERBS = sizeof verbs / sizeof verbs[0] };

static int help(struct host *host) {
  if (host->json) {
    char *name = (char *)(uintptr_t) "runs";
    return builtin_help(host, 1, &name);
  }
  printf("Usage: %s runs [VERB]\n\nAn id may be cut short where that is clear; 'latest' is the newest.\n\n", host->program);
  for (size_t i = 0; i < VERBS; i++) printf("  %-66s %s\n", verbs[i].usage, verbs[i].summary);
  return 0;
}

int builtin_runs(struct host *host, int count, char **arguments) {
  const struct verb *verb = &verbs[0];
  struct request request;
  struct run_list runs;
  etk_error e = ETK_ERROR_INIT;
  if (host->help || host->help_all) return help(host);
  if (count && arguments[0][0] != '-') {
    const char *names[VERBS];
    verb = NULL;
    for (size_t i = 0; i < VERBS; i++) {
      names[i] = verbs[i].name;
      if (!strcmp(arguments[0], names[i])) verb = &verbs[i];
    }
    if (!verb) {
      const char *near = etk_text_suggest(arguments[0], names, VERBS);
      etk_fail(&e, ETK_E_USAGE, "runs has no verb '%s'%s%s%s", arguments[0],
               near ? "; did you mean '" : " (list, show, compare, metrics, path, prune)", near ? near : "", near ? "'?" : "");
      return host_error(host, &e, 0, NULL);
    }
    arguments++, count--;
  }
  if (read_request(&e, &request, count, arguments) || run_list_read(&e, &runs, host)) return host_error(host, &e, 0, NULL);
  int code = verb->main(host, &runs, &request);
  run_list_free(&runs);
  return code;
}
