/* bench_html.c: a run as one HTML file: facts, tables, and charts as inline SVG; and the same charts for a terminal. Nothing is loaded from anywhere. */
#include "bench_report.h"
#include "lazy.h"
#include "report.h"

#include <etk/chart.h>
#include <inttypes.h>
#include <math.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define MEDIA "libetk-media.so.0"
enum { CHART_WIDTH = 480, CHART_HEIGHT = 300, MOST_BARS = 40 }; /* small, so that a phone does not shrink the words away */

static void html(etk_text *out, const char *text) {
  static const struct { char c; const char *as; } escapes[] = {{'&', "&amp;"}, {'<', "&lt;"}, {'>', "&gt;"}, {'"', "&quot;"}, {'\'', "&#39;"}};
  for (; *text; text++) {
    const char *as = NULL;
    for (size_t i = 0; i < 5; i++)
      if (escapes[i].c == *text) as = escapes[i].as;
    if (as) etk_text_puts(out, as);
    else etk_text_putc(out, *text);
  }
}

/* ---- charts ---- */

/* A unit in which the least of the values is at least about 1. */
static double unit_of(const char **name, double least) {
  static const struct { double scale; const char *name; } units[] = {{1, "s"}, {1e3, "ms"}, {1e6, "µs"}, {1e9, "ns"}};
  size_t i = 0;
  while (i < 3 && least * units[i].scale < 1) i++;
  *name = units[i].name;
  return units[i].scale;
}

struct drawing {
  etk_chart chart;
  etk_chart_series *series;
  double *y, *low, *high, *x;
  const char **categories;
};

static bool room(struct drawing *d, etk_arena *arena, size_t values, size_t series) {
  *d = (struct drawing){.chart = ETK_CHART_INIT};
  d->x = etk_arena_array(arena, values + 1, sizeof *d->x), d->y = etk_arena_array(arena, values + 1, sizeof *d->y);
  d->low = etk_arena_array(arena, values + 1, sizeof *d->low), d->high = etk_arena_array(arena, values + 1, sizeof *d->high);
  d->categories = etk_arena_array(arena, values + 1, sizeof *d->categories), d->series = etk_arena_array(arena, series + 1, sizeof *d->series);
  d->chart.series = d->series;
  d->chart.width = CHART_WIDTH, d->chart.height = CHART_HEIGHT;
  return d->x && d->y && d->low && d->high && d->categories && d->series;
}

/* Bars of the median wall time with its interval; on a logarithmic axis where the cases are far apart. Returns false without memory. */
static bool medians(struct drawing *d, etk_arena *arena, const struct bench_run *run) {
  size_t count = 0;
  double least = INFINITY, greatest = 0;
  const char *unit;
  if (!room(d, arena, run->count, 1)) return false;
  for (size_t i = 0; i < run->count; i++)
    if (!run->entries[i].error) {
      if (run->entries[i].wall.median < least) least = run->entries[i].wall.median;
      if (run->entries[i].wall.median > greatest) greatest = run->entries[i].wall.median;
    }
  double scale = unit_of(&unit, least);
  for (size_t i = 0; i < run->count && count < MOST_BARS; i++) {
    const struct bench_entry *b = &run->entries[i];
    if (b->error) continue;
    d->y[count] = b->wall.median * scale, d->low[count] = b->wall.median_low * scale, d->high[count] = b->wall.median_high * scale;
    d->categories[count++] = b->name;
  }
  d->series[0] = (etk_chart_series){.y = d->y, .low = d->low, .high = d->high, .count = count};
  d->chart.kind = ETK_CHART_BAR;
  d->chart.log_y = greatest > 30 * least;
  d->chart.title = "Median time of each case";
  d->chart.subtitle = "with its 95 % interval";
  d->chart.y_label = etk_arena_strdup(arena, unit);
  d->chart.series_count = 1, d->chart.categories = d->categories, d->chart.category_count = count;
  return d->chart.y_label != NULL;
}

/* A box for each round: how samples scatter within a process, and between processes. */
static bool boxes(struct drawing *d, etk_arena *arena, const struct bench_entry *b) {
  const char *unit;
  double scale = unit_of(&unit, b->wall.median);
  size_t at = 0;
  if (!room(d, arena, b->wall.count, b->round_count)) return false;
  for (size_t i = 0; i < b->wall.count; i++) d->y[i] = b->samples_s[i] * scale;
  for (size_t r = 0; r < b->round_count; r++) {
    d->series[r] = (etk_chart_series){.name = etk_arena_printf(arena, "%zu", r + 1), .y = d->y + at, .count = b->rounds[r].count};
    if (!d->series[r].name) return false;
    at += b->rounds[r].count;
  }
  d->chart.kind = ETK_CHART_BOX;
  d->chart.title = etk_arena_printf(arena, "%s:%s", b->name_space, b->name);
  d->chart.subtitle = "samples of each round";
  d->chart.x_label = "round (a process each)";
  d->chart.y_label = etk_arena_printf(arena, "wall time, %s", unit);
  d->chart.series_count = b->round_count;
  return d->chart.title && d->chart.y_label;
}

static bool history(struct drawing *d, etk_arena *arena, const struct bench_trend *t) {
  if (!room(d, arena, t->count, 1)) return false;
  for (size_t i = 0; i < t->count; i++) {
    d->x[i] = (double)(i + 1), d->y[i] = t->figures[i];
    d->low[i] = INFINITY, d->high[i] = -INFINITY;
    for (size_t k = 0; k < t->entries[i]->round_count; k++) {
      double score = (t->wall ? t->entries[i]->wall_scores : t->entries[i]->cpu_scores)[k];
      d->low[i] = score < d->low[i] ? score : d->low[i], d->high[i] = score > d->high[i] ? score : d->high[i];
    }
  }
  d->series[0] = (etk_chart_series){.x = d->x, .y = d->y, .low = d->low, .high = d->high, .count = t->count};
  d->chart.kind = ETK_CHART_LINE;
  d->chart.title = etk_arena_printf(arena, "%s:%s over the stored runs", t->latest->name_space, t->latest->name);
  d->chart.subtitle = "time over the reference loop's; band: its rounds";
  d->chart.x_label = "run, oldest first";
  d->chart.y_label = "score";
  d->chart.series_count = 1;
  return d->chart.title != NULL;
}

static etk_status figure(etk_error *e, etk_text *out, __typeof__(&etk_chart_svg) svg, const struct drawing *d, const char *caption) {
  etk_text_puts(out, "<figure>\n");
  etk_status status = svg(e, out, &d->chart, true);
  etk_text_puts(out, "\n<figcaption>");
  html(out, caption);
  etk_text_puts(out, "</figcaption>\n</figure>\n");
  return status;
}

/* ---- the page ---- */

static const char head[] =
    "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n"
    "<meta name=\"color-scheme\" content=\"light dark\">\n<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'; img-src data:\">\n"
    "<link rel=\"icon\" href=\"data:,\">\n";
static const char style[] =
    "<style>\n:root{color-scheme:light dark;--ink:#1b1f24;--quiet:#57606a;--page:#fff;--line:#d0d7de;--stripe:#f6f8fa;--bad:#b3261e;--good:#1a7f37}\n"
    "@media (prefers-color-scheme:dark){:root{--ink:#e6edf3;--quiet:#9aa4af;--page:#0d1117;--line:#30363d;--stripe:#161b22;--bad:#ff8a80;--good:#56d364}}\n"
    "*{box-sizing:border-box}body{margin:0 auto;padding:1rem;max-width:80rem;font:1rem/1.5 system-ui,sans-serif;color:var(--ink);background:var(--page)}\n"
    "h1{font-size:1.5rem;margin:.5rem 0}h2{font-size:1.2rem;margin:2rem 0 .5rem}\n"
    "dl{display:grid;grid-template-columns:max-content 1fr;gap:.1rem 1rem;margin:0}dt{color:var(--quiet)}dd{margin:0;overflow-wrap:anywhere}\n"
    ".wide{overflow-x:auto;border:1px solid var(--line);border-radius:6px}.wide:focus-visible{outline:3px solid #0969da}\n"
    "table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums}.note{margin:.25rem 0;color:var(--quiet)}\n"
    "th,td{padding:.35rem .6rem;text-align:right;white-space:nowrap}th:first-child{text-align:left}thead th{border-bottom:1px solid var(--line);font-weight:600}\n"
    "tbody tr:nth-child(odd){background:var(--stripe)}tbody th{font-weight:400}.slower,.failed{color:var(--bad);font-weight:600}.faster{color:var(--good);font-weight:600}\n"
    ".charts{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,34rem),1fr));gap:1rem}figure{margin:0;border:1px solid var(--line);border-radius:6px;padding:.5rem}\n"
    "figure svg{display:block;width:100%;max-width:45rem;height:auto;margin:0 auto}figcaption{color:var(--quiet);font-size:.875rem}footer{margin-top:2rem;color:var(--quiet);font-size:.875rem}\n</style>\n";

static void fact(etk_text *out, const char *name, const char *value) {
  etk_text_printf(out, "<dt>%s</dt><dd>", name);
  html(out, value);
  etk_text_puts(out, "</dd>\n");
}

static void facts(etk_text *out, const struct bench_run *run) {
  char threads[160];
  etk_text_puts(out, "<dl>\n");
  fact(out, "Started", run->started);
  snprintf(threads, sizeof threads, "%.100s, %d thread%s, %.20s", run->chip, run->threads, run->threads == 1 ? "" : "s", run->isa);
  fact(out, "Machine", threads);
  fact(out, "Version", run->version);
  if (run->commit) fact(out, "Commit", run->commit);
  etk_text_puts(out, "<dt>Command</dt><dd><code>");
  for (size_t i = 0; i < run->argc; i++) {
    if (i) etk_text_putc(out, ' ');
    html(out, i ? run->argv[i] : "efficientai-toolkit");
  }
  etk_text_puts(out, "</code></dd>\n</dl>\n");
}

static void table(etk_text *out, const char *caption, const char *const *headers, const char *const *cells, size_t columns, size_t rows) {
  etk_text_puts(out, "<p class=\"note\">");
  html(out, caption);
  etk_text_puts(out, "</p>\n<div class=\"wide\" tabindex=\"0\" role=\"region\" aria-label=\"");
  html(out, caption);
  etk_text_puts(out, "\"><table aria-label=\"");
  html(out, caption);
  etk_text_puts(out, "\"><thead><tr>");
  for (size_t c = 0; c < columns; c++) {
    etk_text_puts(out, "<th scope=\"col\">");
    html(out, headers[c]);
    etk_text_puts(out, "</th>");
  }
  etk_text_puts(out, "</tr></thead><tbody>\n");
  for (size_t i = 0; i < rows; i++) {
    etk_text_puts(out, "<tr>");
    for (size_t c = 0; c < columns; c++) {
      const char *cell = cells[i * columns + c];
      bool verdict = !strcmp(cell, "slower") || !strcmp(cell, "faster") || !strcmp(cell, "failed");
      etk_text_puts(out, c ? "<td" : "<th scope=\"row\"");
      if (verdict && c) etk_text_printf(out, " class=\"%s\"", cell);
      etk_text_putc(out, '>');
      html(out, cell);
      etk_text_puts(out, c ? "</td>" : "</th>");
    }
    etk_text_puts(out, "</tr>\n");
  }
  etk_text_puts(out, "</tbody></table></div>\n");
}

static void failures(etk_text *out, const struct bench_run *run) {
  char title[256];
  bool any = false;
  for (size_t i = 0; i < run->count; i++) {
    if (!run->entries[i].error) continue;
    etk_text_puts(out, any ? "" : "<h2>Failed</h2>\n<ul>\n");
    any = true;
    etk_text_puts(out, "<li><span class=\"failed\">");
    html(out, bench_title(title, sizeof title, &run->entries[i]));
    etk_text_puts(out, "</span>: ");
    html(out, run->entries[i].error);
    etk_text_puts(out, "</li>\n");
  }
  if (any) etk_text_puts(out, "</ul>\n");
}

static etk_status tables(etk_error *e, etk_text *out, etk_arena *arena, const struct bench_report *report) {
  const char *headers[BENCH_COLUMNS_MOST], **cells;
  const struct bench_comparison *c = report->comparison;
  size_t columns = bench_cells(headers, &cells, arena, report);
  if (!columns) return etk_fail_memory(e);
  etk_text_puts(out, "<h2>Results</h2>\n");
  table(out, "Wall time of one call, 95 % interval of its median; CPU time of all threads; greatest resident memory", headers, cells, columns, report->run->count);
  failures(out, report->run);
  if (!c) return ETK_OK;
  etk_text_puts(out, "<h2>Against ");
  html(out, c->label);
  etk_text_puts(out, "</h2>\n");
  columns = c->count ? bench_comparison_cells(headers, &cells, arena, c) : 0;
  if (c->count && !columns) return etk_fail_memory(e);
  if (columns) table(out, "Change of the time over the reference loop's, by the rank-sum test over rounds", headers, cells, columns, c->count);
  etk_text_printf(out, "<p>Slower or faster: p below %g and the whole interval beyond %g&nbsp;%%.</p>\n", c->alpha, 100 * c->threshold);
  return ETK_OK;
}

static etk_status charts(etk_error *e, etk_text *out, etk_arena *arena, const struct bench_report *report) {
  const struct bench_run *run = report->run;
  struct drawing d;
  size_t ran = 0;
  for (size_t i = 0; i < run->count; i++) ran += !run->entries[i].error;
  if (!ran) return ETK_OK;
  __typeof__(&etk_chart_svg) svg = LAZY(e, MEDIA, etk_chart_svg);
  if (!svg) return e->status;
  etk_text_puts(out, "<h2>Charts</h2>\n<div class=\"charts\">\n");
  etk_status status = medians(&d, arena, run) ? figure(e, out, svg, &d, "Median wall time of one call, with its 95 % interval") : etk_fail_memory(e);
  for (size_t i = 0; !status && i < run->count; i++) {
    const struct bench_entry *b = &run->entries[i];
    if (b->error) continue;
    status = boxes(&d, arena, b) ? figure(e, out, svg, &d, *b->summary ? b->summary : b->name) : etk_fail_memory(e);
  }
  for (size_t i = 0; !status && i < report->trend_count; i++) {
    const struct bench_trend *t = &report->trends[i];
    char caption[256];
    if (t->count < 2) continue;
    snprintf(caption, sizeof caption, "%zu stored runs; the latest against up to %d before: %+.1f %%, p %.4f", t->count, BENCH_HISTORY_POOL, 100 * (t->d.ratio - 1), t->d.p);
    status = history(&d, arena, t) ? figure(e, out, svg, &d, caption) : etk_fail_memory(e);
  }
  etk_text_puts(out, "</div>\n");
  return status;
}

etk_status bench_html(etk_error *e, etk_text *out, const struct bench_report *report) {
  etk_arena arena = ETK_ARENA_INIT;
  etk_text_puts(out, head);
  etk_text_puts(out, "<title>Benchmark ");
  html(out, report->run->id);
  etk_text_puts(out, "</title>\n");
  etk_text_puts(out, style);
  etk_text_puts(out, "</head>\n<body>\n<main>\n<h1>Benchmark ");
  html(out, report->run->id);
  etk_text_puts(out, "</h1>\n");
  facts(out, report->run);
  etk_status status = tables(e, out, &arena, report);
  if (!status) status = charts(e, out, &arena, report);
  etk_text_puts(out, "</main>\n<footer>Made by efficientai-toolkit benchmark.</footer>\n</body>\n</html>\n");
  etk_arena_fini(&arena);
  return status;
}

/* ---- for a terminal ---- */

static etk_status print_chart(etk_error *e, struct host *host, const struct drawing *d) {
  struct winsize size;
  __typeof__(&etk_chart_terminal) draw = LAZY(e, MEDIA, etk_chart_terminal);
  if (!draw) return e->status;
  etk_text text = ETK_TEXT_INIT;
  bool known = isatty(STDOUT_FILENO) && !ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) && size.ws_col >= 20;
  const char *words = getenv("LC_ALL");
  if (!words || !*words) words = getenv("LC_CTYPE");
  if (!words || !*words) words = getenv("LANG");
  bool unicode = words && (strstr(words, "UTF-8") || strstr(words, "utf8"));
  etk_status status = draw(e, &text, &d->chart, known && size.ws_col < 100 ? size.ws_col : 0, 0, host->out_color, unicode);
  if (!status && text.failed) status = etk_fail_memory(e);
  if (!status) fputs(text.data, stdout);
  etk_text_free(&text);
  return status;
}

etk_status bench_plot(etk_error *e, struct host *host, const struct bench_report *report) {
  struct drawing d;
  bool ran = false;
  for (size_t i = 0; i < report->run->count; i++) ran = ran || !report->run->entries[i].error;
  if (!ran) return ETK_OK;
  putchar('\n');
  return medians(&d, &host->arena, report->run) ? print_chart(e, host, &d) : etk_fail_memory(e);
}

etk_status bench_plot_trend(etk_error *e, struct host *host, const struct bench_trend *trend) {
  struct drawing d;
  return history(&d, &host->arena, trend) ? print_chart(e, host, &d) : etk_fail_memory(e);
}
