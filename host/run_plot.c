#include "run_plot.h"

#include "lazy.h"
#include "report.h"
#include "run_list.h"

#include <etk/alloc.h>
#include <etk/chart.h>
#include <math.h>
#include <strings.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define MEDIA "libetk-media.so.0"
enum { MOST_RUNS = 16 };

struct series {
  size_t run;
  const char *name; /* of the metric */
  const char *kind; /* what it shares with others: "loss" */
  double *x, *y;
  size_t count, capacity;
};
struct plot {
  struct host *host;
  const struct run_plot_options *o;
  struct run_list list;
  struct run_entry *runs[MOST_RUNS];
  json_t *lines[MOST_RUNS];
  size_t run_count;
  struct series *series;
  size_t series_count, series_capacity;
  etk_chart *charts; /* in the arena, with their series and names */
  size_t chart_count;
  etk_arena arena;
};

static etk_status no_memory(etk_error *e) { return etk_fail(e, ETK_E_NO_MEMORY, "out of memory while drawing the run"); }

/* ---- reading ---- */

/* "train_loss", "validation/loss" and "loss" are of one kind. */
static const char *kind_of(const char *name) {
  static const char *const parts[] = {"train", "training", "validation", "valid", "val", "eval", "evaluation", "test", "best", "final"};
  for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++) {
    size_t size = strlen(parts[i]);
    if (!strncasecmp(name, parts[i], size) && name[size] && strchr("_-/.:", name[size]) && name[size + 1]) return name + size + 1;
  }
  return name;
}

static bool wanted(const struct plot *p, const char *name) {
  for (size_t i = 0; i < p->o->metrics.count; i++)
    if (etk_text_equal_name(p->o->metrics.items[i], name) || etk_text_equal_name(p->o->metrics.items[i], kind_of(name))) return true;
  return !p->o->metrics.count;
}

static struct series *series_of(struct plot *p, size_t run, const char *name) {
  for (size_t i = p->series_count; i--;)
    if (p->series[i].run == run && !strcmp(p->series[i].name, name)) return &p->series[i];
  if (p->series_count == p->series_capacity) {
    size_t capacity = p->series_capacity ? p->series_capacity * 2 : 16;
    struct series *grown = etk_realloc(p->series, capacity, sizeof *grown);
    if (!grown) return NULL;
    p->series = grown, p->series_capacity = capacity;
  }
  p->series[p->series_count] = (struct series){.run = run, .name = name, .kind = kind_of(name)};
  return &p->series[p->series_count++];
}

static bool add_point(struct series *s, double x, double y) {
  if (s->count == s->capacity) {
    size_t capacity = s->capacity ? s->capacity * 2 : 256;
    double *xs = etk_realloc(s->x, capacity, sizeof *xs);
    if (xs) s->x = xs;
    double *ys = xs ? etk_realloc(s->y, capacity, sizeof *ys) : NULL;
    if (!ys) return false;
    s->y = ys, s->capacity = capacity;
  }
  s->x[s->count] = x, s->y[s->count++] = y;
  return true;
}

static double number_of(const json_t *line, const char *key) {
  const json_t *value = json_object_get(line, key);
  return json_is_number(value) ? json_number_value(value) : NAN;
}

static etk_status read_run(etk_error *e, struct plot *p, size_t run) {
  etk_status status = run_lines(e, &p->lines[run], p->runs[run], "metrics.jsonl");
  double start = NAN;
  bool time = !strcmp(p->o->x, "time");
  for (size_t i = 0; !status && i < json_array_size(p->lines[run]); i++) {
    const json_t *line = json_array_get(p->lines[run], i);
    const char *name = json_text(line, "name");
    double at = number_of(line, time ? "time_ms" : "step");
    if (isnan(start)) start = at;
    if (!*name || !wanted(p, name)) continue;
    struct series *s = series_of(p, run, name);
    if (!s || !add_point(s, time ? (at - start) / 1000 : at, number_of(line, "value"))) status = no_memory(e);
  }
  return status;
}

/* The mean of the last values, at the place of the last; what is not finite is left out and leaves no gap. */
static void smooth(struct series *s, size_t window) {
  double *kept = s->y;
  for (size_t end = s->count; window > 1 && end--;) {
    double sum = 0;
    size_t seen = 0;
    for (size_t i = end + 1 > window ? end + 1 - window : 0; i <= end; i++)
      if (isfinite(kept[i])) sum += kept[i], seen++;
    if (seen) kept[end] = sum / (double)seen; /* from the end: earlier values are still as recorded */
  }
}

/* A long run is timed in minutes or hours. */
static const char *scale_time(struct plot *p) {
  double most = 0;
  for (size_t i = 0; i < p->series_count; i++)
    for (size_t k = 0; k < p->series[i].count; k++) most = fmax(most, p->series[i].x[k]);
  double unit = most > 7200 ? 3600 : most > 300 ? 60 : 1;
  for (size_t i = 0; i < p->series_count; i++)
    for (size_t k = 0; k < p->series[i].count; k++) p->series[i].x[k] /= unit;
  return unit > 60 ? "hours" : unit > 1 ? "minutes" : "seconds";
}

/* Names that no run has are a slip of the user's. */
static etk_status check_names(etk_error *e, struct plot *p) {
  for (size_t i = 0; i < p->o->metrics.count; i++) {
    const char *word = p->o->metrics.items[i], *names[64];
    size_t count = 0;
    bool found = false;
    for (size_t k = 0; k < p->series_count; k++)
      found = found || etk_text_equal_name(word, p->series[k].name) || etk_text_equal_name(word, p->series[k].kind);
    for (size_t run = 0; run < p->run_count && !found; run++) {
      struct metric_summary metrics[64];
      size_t n = metrics_summary(metrics, 64, p->lines[run]);
      for (size_t k = 0; k < n && count < 64; k++) names[count++] = metrics[k].name;
    }
    if (found) continue;
    const char *near = etk_text_suggest(word, names, count);
    return etk_fail(e, ETK_E_USAGE, "no such metric: '%s'%s%s%s", word, near ? "; did you mean '" : count ? "; there is " : "; the run has recorded none",
                    near ? near : count ? names[0] : "", near ? "'?" : count > 1 ? " and others ('runs show' lists them)" : "");
  }
  return ETK_OK;
}

/* ---- charts ---- */

static const char *short_id(const char *id) { /* the letters behind the time */
  const char *dash = strrchr(id, '-');
  return dash && dash[1] ? dash + 1 : id;
}

static const char *name_of(struct plot *p, const struct series *s, bool many_names) {
  if (p->run_count == 1) return s->name;
  if (!many_names) return short_id(p->runs[s->run]->id);
  return etk_arena_printf(&p->arena, "%s %s", short_id(p->runs[s->run]->id), s->name);
}

static const char *subtitle_of(struct plot *p) {
  const char *mean = p->o->smooth > 1 ? etk_arena_printf(&p->arena, ", mean of %lld", (long long)p->o->smooth) : "";
  if (p->run_count > 1) return etk_arena_printf(&p->arena, "%zu runs%s", p->run_count, mean ? mean : "");
  const json_t *json = p->runs[0]->json;
  if (!json) return etk_arena_printf(&p->arena, "?, run %s%s", p->runs[0]->id, mean ? mean : "");
  return etk_arena_printf(&p->arena, "%s:%s, run %s%s", json_text(json, "namespace"), json_text(json, "command"), p->runs[0]->id, mean ? mean : "");
}

static bool add_chart(struct plot *p, const char *kind, const char *x_label) {
  size_t count = 0;
  bool many = false;
  const char *first = NULL;
  etk_chart_series *series = etk_arena_array(&p->arena, p->series_count, sizeof *series);
  if (!series) return false;
  for (size_t i = 0; i < p->series_count; i++) {
    if (strcmp(p->series[i].kind, kind)) continue;
    if (first && strcmp(first, p->series[i].name)) many = true;
    first = p->series[i].name;
  }
  for (size_t i = 0; i < p->series_count; i++) {
    const struct series *s = &p->series[i];
    if (strcmp(s->kind, kind)) continue;
    series[count] = (etk_chart_series){.name = name_of(p, s, many), .x = s->x, .y = s->y, .count = s->count};
    if (!series[count++].name) return false;
  }
  if (count == 1 && !strcmp(kind, first)) series[0].name = NULL; /* the title says it */
  etk_chart *chart = &p->charts[p->chart_count++];
  *chart = (etk_chart)ETK_CHART_INIT;
  chart->title = kind, chart->x_label = x_label, chart->series = series, chart->series_count = count, chart->log_y = p->o->log;
  chart->subtitle = subtitle_of(p);
  if (p->o->output) chart->width = (int)p->o->width, chart->height = p->o->height ? (int)p->o->height : 320;
  const char *theme = p->o->theme ? p->o->theme : "auto";
  chart->theme = !strcmp(theme, "dark") ? ETK_CHART_DARK : !strcmp(theme, "light") ? ETK_CHART_LIGHT : ETK_CHART_AUTO;
  return chart->subtitle;
}

static etk_status make_charts(etk_error *e, struct plot *p) {
  bool time = !strcmp(p->o->x, "time");
  const char *x_label = time ? scale_time(p) : "step";
  p->charts = etk_arena_array(&p->arena, p->series_count + 1, sizeof *p->charts);
  if (!p->charts) return no_memory(e);
  for (size_t i = 0; i < p->series_count; i++) smooth(&p->series[i], (size_t)p->o->smooth);
  for (size_t i = 0; i < p->series_count; i++) {
    bool seen = false;
    for (size_t k = 0; k < i; k++) seen = seen || !strcmp(p->series[k].kind, p->series[i].kind);
    if (!seen && !add_chart(p, p->series[i].kind, x_label)) return no_memory(e);
  }
  return ETK_OK;
}

/* ---- showing ---- */

static bool locale_is_utf8(void) {
  static const char *const names[] = {"LC_ALL", "LC_CTYPE", "LANG"};
  for (size_t i = 0; i < 3; i++) {
    const char *value = getenv(names[i]);
    if (value && *value) return strcasestr(value, "utf-8") || strcasestr(value, "utf8");
  }
  return false;
}

static int rows_for(const struct plot *p) {
  struct winsize size;
  if (p->o->height) return (int)p->o->height;
  int lines = isatty(STDOUT_FILENO) && !ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) && size.ws_row > 8 ? size.ws_row - 2 : 20;
  int rows = p->chart_count > 1 ? 16 : 20;
  return rows < lines ? rows : lines;
}

static etk_status show(etk_error *e, struct plot *p) {
  __typeof__(&etk_chart_terminal) draw = LAZY(e, MEDIA, etk_chart_terminal);
  if (!draw) return ETK_E_UNAVAILABLE;
  int columns = p->o->width ? (int)p->o->width : terminal_width();
  if (!columns) columns = 80;
  if (columns < 20) columns = 20;
  etk_text text = ETK_TEXT_INIT;
  etk_status status = ETK_OK;
  for (size_t i = 0; i < p->chart_count && !status; i++) {
    if (i) {
      etk_text_putc(&text, '\n');
      p->charts[i].subtitle = NULL; /* said once */
    }
    status = draw(e, &text, &p->charts[i], columns, rows_for(p), p->host->out_color, locale_is_utf8());
  }
  if (!status) fwrite(text.data, 1, text.size, stdout);
  etk_text_free(&text);
  return status;
}

static void print_json(struct plot *p) {
  etk_text out = ETK_TEXT_INIT;
  etk_text_puts(&out, "{\"output\":");
  put_json(&out, p->o->output);
  etk_text_puts(&out, ",\"runs\":[");
  for (size_t i = 0; i < p->run_count; i++) {
    if (i) etk_text_putc(&out, ',');
    put_json(&out, p->runs[i]->id);
  }
  etk_text_puts(&out, "],\"charts\":[");
  for (size_t i = 0; i < p->chart_count; i++) {
    if (i) etk_text_putc(&out, ',');
    etk_text_puts(&out, "{\"title\":");
    put_json(&out, p->charts[i].title);
    etk_text_printf(&out, ",\"series\":%zu}", p->charts[i].series_count);
  }
  etk_text_puts(&out, "]}");
  if (!out.failed) host_print_document(p->host, "runs", "ok", out.data, NULL);
  etk_text_free(&out);
}

static etk_status save(etk_error *e, struct plot *p) {
  __typeof__(&etk_chart_write_all) put = LAZY(e, MEDIA, etk_chart_write_all);
  if (!put) return ETK_E_UNAVAILABLE;
  etk_status status = put(e, p->o->output, p->charts, p->chart_count, p->o->force);
  if (status == ETK_E_EXISTS) return etk_fail(e, ETK_E_EXISTS, "%s is there already; --force replaces it", p->o->output);
  if (status) return status;
  if (p->host->json) print_json(p);
  else host_note(p->host, "wrote %s: %zu chart%s", p->o->output, p->chart_count, p->chart_count == 1 ? "" : "s");
  return ETK_OK;
}

static etk_status check(etk_error *e, const struct plot *p, const struct etk_texts *runs) {
  if (runs->count > MOST_RUNS) return etk_fail(e, ETK_E_USAGE, "runs plot draws at most %d runs over each other, but %zu were given", MOST_RUNS, runs->count);
  if (p->o->output) return ETK_OK;
  if (p->host->json) return etk_fail(e, ETK_E_USAGE, "a chart drawn with characters is no JSON: give --output FILE.svg or FILE.png, or take 'runs metrics --json'");
  if (p->o->theme) return etk_fail(e, ETK_E_USAGE, "--theme is for --output FILE; a terminal has its own colours");
  if (p->o->force) return etk_fail(e, ETK_E_USAGE, "--force is for --output FILE; there is nothing to replace");
  return ETK_OK;
}

static etk_status plot(etk_error *e, struct plot *p, const struct etk_texts *runs) {
  static const char *const latest[] = {"latest"};
  const struct etk_texts words = runs->count ? *runs : (struct etk_texts){latest, 1};
  etk_status status = check(e, p, runs);
  if (!status) status = run_list_read(e, &p->list, p->host);
  for (size_t i = 0; !status && i < words.count; i++) {
    status = run_find(e, &p->runs[i], &p->list, words.items[i]);
    for (size_t k = 0; !status && k < i; k++)
      if (p->runs[k] == p->runs[i]) status = etk_fail(e, ETK_E_USAGE, "run %s was given twice", p->runs[i]->id);
    if (status) break;
    p->run_count++;
    status = read_run(e, p, i);
  }
  if (!status) status = check_names(e, p);
  if (!status) status = make_charts(e, p);
  if (!status && !p->chart_count)
    return etk_fail(e, ETK_E_NOT_FOUND, "%s %s recorded no metrics: there is nothing to draw", p->run_count == 1 ? "run" : "runs like",
                    p->runs[0]->id);
  return status ? status : p->o->output ? save(e, p) : show(e, p);
}

int runs_plot(struct host *host, const struct etk_texts *runs, const struct run_plot_options *options) {
  struct plot p = {.host = host, .o = options};
  etk_error e = ETK_ERROR_INIT;
  etk_status status = plot(&e, &p, runs);
  for (size_t i = 0; i < p.run_count; i++) json_decref(p.lines[i]);
  for (size_t i = 0; i < p.series_count; i++) {
    etk_free(p.series[i].x);
    etk_free(p.series[i].y);
  }
  etk_free(p.series);
  run_list_free(&p.list);
  etk_arena_fini(&p.arena);
  return status ? host_error(host, &e, status == ETK_E_NOT_FOUND ? 2 : 0, NULL) : 0;
}
