/* bench_report.c: tables, Markdown, CSV and JSON of a benchmark run. */
#include "bench_report.h"
#include "report.h"

#include <inttypes.h>
#include <math.h>
#include <sys/ioctl.h>
#include <unistd.h>

/* ---- parts ---- */

const char *bench_time(char *out, size_t size, double seconds) {
  static const struct { double scale; const char *unit; } units[] = {{1, "s"}, {1e3, "ms"}, {1e6, "µs"}, {1e9, "ns"}};
  size_t i = 0;
  while (i < 3 && seconds * units[i].scale < 0.9995) i++;
  double shown = seconds * units[i].scale;
  snprintf(out, size, "%.*f %s", shown >= 99.95 ? 1 : shown >= 9.995 ? 2 : 3, shown, units[i].unit);
  return out;
}

double bench_rate(const struct bench_entry *entry, int64_t work) { return work > 0 && entry->wall.median > 0 ? (double)work / entry->wall.median : 0; }

/* Three significant digits with a decimal prefix: "12.3 k" */
static const char *prefixed(char *out, size_t size, double value) {
  static const char *const prefixes[] = {"", "k", "M", "G", "T", "P"};
  size_t i = 0;
  while (i < 5 && value >= 999.5) value /= 1000, i++;
  snprintf(out, size, "%.3g%s%s", value, i ? " " : "", prefixes[i]);
  return out;
}

static const char *kept(etk_arena *arena, const char *text) {
  const char *copy = etk_arena_strdup(arena, text);
  return copy ? copy : "?";
}

static const char *time_cell(etk_arena *arena, double seconds) {
  char text[32];
  return kept(arena, bench_time(text, sizeof text, seconds));
}

/* Half the interval of the median, as a share of it. */
static double half_interval(const struct bench_entry *b) { return (b->wall.median_high - b->wall.median_low) / 2 / b->wall.median; }

static const char *rate_cell(etk_arena *arena, double rate, double limit, double scale) {
  char text[64];
  if (!(rate > 0)) return "";
  if (limit > 0) snprintf(text, sizeof text, "%.3g (%.0f %%)", rate / scale, 100 * rate / limit);
  else snprintf(text, sizeof text, "%.3g", rate / scale);
  return kept(arena, text);
}

static const char *percent_cell(etk_arena *arena, double ratio) {
  char text[32];
  if (!isfinite(ratio)) return "-";
  snprintf(text, sizeof text, "%+.1f %%", 100 * (ratio - 1));
  return kept(arena, text);
}

/* ---- the tables as text ---- */

enum { NAME, MEDIAN, INTERVAL, P95, RATE, GFLOPS, GBYTES, CPU, MEMORY, OUTLIERS, SAMPLES, COLUMNS };

static void fill_row(const char **row, etk_arena *arena, const struct bench_entry *b, const etk_hardware_limits *limits) {
  char text[256], number[32];
  row[NAME] = kept(arena, bench_title(text, sizeof text, b));
  if (b->error) {
    row[MEDIAN] = "failed";
    return;
  }
  row[MEDIAN] = time_cell(arena, b->wall.median);
  if (b->wall.count > 1) snprintf(text, sizeof text, "%.1f %%", 100 * half_interval(b));
  row[INTERVAL] = b->wall.count > 1 ? kept(arena, text) : "-"; /* one sample says nothing of how they scatter */
  row[P95] = time_cell(arena, b->wall.p95);
  if (b->work.items > 0) {
    snprintf(text, sizeof text, "%s %s/s", prefixed(number, sizeof number, bench_rate(b, b->work.items)), *b->unit ? b->unit : "item");
    row[RATE] = kept(arena, text);
  }
  row[GFLOPS] = rate_cell(arena, bench_rate(b, b->work.flops), limits ? limits->f32_flops_per_s : 0, 1e9);
  row[GBYTES] = rate_cell(arena, bench_rate(b, b->work.bytes), limits ? limits->read_bytes_per_s : 0, 1e9);
  row[CPU] = time_cell(arena, b->cpu.median);
  row[MEMORY] = kept(arena, etk_format_size(text, sizeof text, b->peak_bytes));
  snprintf(text, sizeof text, "%zu", b->wall.outliers_low + b->wall.outliers_high);
  row[OUTLIERS] = kept(arena, text);
  snprintf(text, sizeof text, "%zu", b->wall.count);
  row[SAMPLES] = kept(arena, text);
}

size_t bench_cells(const char *headers[BENCH_COLUMNS_MOST], const char ***cells, etk_arena *arena, const struct bench_report *report) {
  static const char *const names[COLUMNS] = {"BENCHMARK", "MEDIAN", "±", "P95", "RATE", "GFLOP/S", "GB/S", "CPU", "PEAK MEMORY", "OUTLIERS", "N"};
  const struct bench_run *run = report->run;
  const char **all = etk_arena_array(arena, (run->count + 1) * COLUMNS, sizeof *all);
  size_t columns = 0;
  if (!all) return 0;
  for (size_t i = 0; i < run->count; i++) fill_row(all + i * COLUMNS, arena, &run->entries[i], report->limits);
  const char **out = etk_arena_array(arena, (run->count + 1) * COLUMNS, sizeof *out);
  if (!out) return 0;
  bool filled[COLUMNS];
  for (size_t c = 0; c < COLUMNS; c++) {
    filled[c] = c == NAME || c == MEDIAN;
    for (size_t i = 0; i < run->count; i++) filled[c] = filled[c] || (all[i * COLUMNS + c] && *all[i * COLUMNS + c]);
    if (filled[c]) headers[columns++] = names[c];
  }
  for (size_t i = 0, at = 0; i < run->count; i++)
    for (size_t c = 0; c < COLUMNS; c++)
      if (filled[c]) out[at++] = all[i * COLUMNS + c] ? all[i * COLUMNS + c] : "";
  *cells = out;
  return columns;
}

size_t bench_comparison_cells(const char *headers[BENCH_COLUMNS_MOST], const char ***cells, etk_arena *arena, const struct bench_comparison *c) {
  static const char *const names[] = {"BENCHMARK", "CPU BEFORE", "CPU NOW", "CHANGE", "INTERVAL", "P", "WALL", "VERDICT"};
  enum { WIDTH = sizeof names / sizeof names[0] };
  const char **out = etk_arena_array(arena, (c->count + 1) * WIDTH, sizeof *out);
  char text[256];
  if (!out) return 0;
  memcpy(headers, names, sizeof names);
  if (c->wall) headers[1] = "WALL BEFORE", headers[2] = "WALL NOW";
  for (size_t i = 0; i < c->count; i++) {
    const struct bench_delta *d = &c->items[i];
    const char **row = out + i * WIDTH;
    row[0] = kept(arena, bench_title(text, sizeof text, d->now));
    row[1] = time_cell(arena, c->wall ? d->before->wall.median : d->before->cpu.median);
    row[2] = time_cell(arena, c->wall ? d->now->wall.median : d->now->cpu.median);
    row[3] = percent_cell(arena, d->d.ratio);
    if (isfinite(d->d.high)) snprintf(text, sizeof text, "%+.1f … %+.1f %%", 100 * (d->d.low - 1), 100 * (d->d.high - 1));
    else snprintf(text, sizeof text, "-");
    row[4] = kept(arena, text);
    snprintf(text, sizeof text, "%.4f", d->d.p);
    row[5] = kept(arena, text);
    row[6] = percent_cell(arena, d->wall_ratio);
    row[7] = bench_verdict(d);
  }
  *cells = out;
  return WIDTH;
}

/* ---- for a person ---- */

static int width_of_terminal(void) {
  struct winsize size;
  return isatty(STDOUT_FILENO) && !ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) && size.ws_col > 20 ? size.ws_col : 0;
}

static void print_cells(struct host *host, const char *const *headers, const char *const *cells, size_t columns, size_t rows) {
  struct table *table = table_new(headers, columns);
  for (size_t i = 0; i < rows; i++) table_add(table, cells + i * columns);
  table_print(table, stdout, host->out_color, width_of_terminal());
  table_free(table);
}

void bench_show(struct host *host, const struct bench_report *report) {
  const char *headers[BENCH_COLUMNS_MOST], **cells;
  size_t columns = report->run->count ? bench_cells(headers, &cells, &host->arena, report) : 0;
  if (columns) print_cells(host, headers, cells, columns, report->run->count);
  char title[256];
  bool counted = false;
  for (size_t i = 0; i < report->run->count; i++) {
    const struct bench_entry *b = &report->run->entries[i];
    counted = counted || b->work.flops > 0 || b->work.bytes > 0;
    if (b->error) host_warn(host, "%s: %s", bench_title(title, sizeof title, b), b->error);
    else if (!b->precise) host_note(host, "%s: the time was over before the wanted precision was reached; --time gives more", bench_title(title, sizeof title, b));
  }
  if (counted && !report->limits) host_note(host, "'%s info --measure' measures this machine; then shares of its limits are shown", host->program);
}

void bench_show_comparison(struct host *host, const struct bench_comparison *c) {
  const char *headers[BENCH_COLUMNS_MOST], **cells;
  size_t columns = c->count ? bench_comparison_cells(headers, &cells, &host->arena, c) : 0;
  printf("\n%sAgainst %s%s\n", host->out_color ? STYLE_BOLD : "", c->label, host->out_color ? STYLE_RESET : "");
  if (columns) print_cells(host, headers, cells, columns, c->count);
  host_note(host, "by %s time over the reference loop's, rounds as samples: slower or faster where p is below %g and the whole interval beyond %g %%", c->wall ? "wall" : "CPU", c->alpha, 100 * c->threshold);
  if (c->powerless) host_note(host, "with so few rounds no p can be below %g: --rounds 6 in both runs is enough for 0.01", c->alpha);
  if (c->count < c->run->count) host_note(host, "%zu of %zu cases are not in both runs", c->run->count - c->count, c->run->count);
}

void bench_show_trend(struct host *host, const struct bench_trend *t) {
  static const char *const headers[] = {"RUN", "STARTED (UTC)", "COMMIT", "MEDIAN", "SCORE", "AGAINST FIRST"};
  char title[256], cells[5][64];
  struct table *table = table_new(headers, 6);
  printf("%s%s%s\n", host->out_color ? STYLE_BOLD : "", bench_title(title, sizeof title, t->latest), host->out_color ? STYLE_RESET : "");
  for (size_t i = 0; i < t->count; i++) {
    snprintf(cells[0], 64, "%.19s", t->runs[i]->started);
    if (strlen(cells[0]) > 10) cells[0][10] = ' ';
    snprintf(cells[1], 64, "%.10s", t->runs[i]->commit ? t->runs[i]->commit : "-");
    bench_time(cells[2], 64, t->entries[i]->wall.median);
    snprintf(cells[3], 64, "%.4g", t->figures[i]);
    snprintf(cells[4], 64, "%+.1f %%", 100 * (t->figures[i] / t->figures[0] - 1));
    const char *row[] = {t->runs[i]->id, cells[0], cells[1], cells[2], cells[3], cells[4]};
    table_add(table, row);
  }
  table_print(table, stdout, host->out_color, width_of_terminal());
  table_free(table);
  if (t->count < 2) host_note(host, "one run is no history");
  else {
    size_t before = t->count - 1 > BENCH_HISTORY_POOL ? BENCH_HISTORY_POOL : t->count - 1;
    printf("the latest against the %zu before: %+.1f %%, p %.4f: %s\n", before, 100 * (t->d.ratio - 1), t->d.p, t->slower ? "slower" : t->faster ? "faster" : "no proven change");
    if (t->changed)
      printf("the level changed at run %s by %+.1f %%, p %.4f\n", t->runs[t->change.at]->id, 100 * (t->change.ratio - 1), t->change.p);
  }
}

/* ---- JSON ---- */

static void real_pair(etk_text *out, const char *name, double value) {
  etk_text_printf(out, ",\"%s\":", name);
  etk_text_real(out, value);
}

static void difference_json(etk_text *out, const etk_difference *d) {
  real_pair(out, "ratio", d->ratio);
  real_pair(out, "low", d->low);
  real_pair(out, "high", d->high); /* infinity is null */
  real_pair(out, "p", d->p);
  real_pair(out, "least_p", d->least_p);
  etk_text_printf(out, ",\"significant\":%s", d->significant ? "true" : "false");
}

void bench_comparison_json(etk_text *out, const struct bench_comparison *c) {
  etk_text_puts(out, "{\"against\":");
  put_json(out, c->against->id);
  etk_text_puts(out, ",\"label\":");
  put_json(out, c->label);
  etk_text_printf(out, ",\"metric\":\"%s\"", c->wall ? "wall" : "cpu");
  real_pair(out, "alpha", c->alpha);
  real_pair(out, "threshold", c->threshold);
  etk_text_printf(out, ",\"slower\":%zu,\"faster\":%zu,\"cases\":[", c->slower, c->faster);
  for (size_t i = 0; i < c->count; i++) {
    const struct bench_delta *d = &c->items[i];
    etk_text_puts(out, i ? ",{\"namespace\":" : "{\"namespace\":");
    put_json(out, d->now->name_space);
    etk_text_puts(out, ",\"name\":");
    put_json(out, d->now->name);
    difference_json(out, &d->d);
    real_pair(out, "wall_ratio", d->wall_ratio);
    etk_text_printf(out, ",\"verdict\":\"%s\"}", bench_verdict(d));
  }
  etk_text_puts(out, "]}");
}

void bench_trend_json(etk_text *out, const struct bench_trend *t) {
  etk_text_puts(out, "{\"namespace\":");
  put_json(out, t->latest->name_space);
  etk_text_puts(out, ",\"name\":");
  put_json(out, t->latest->name);
  etk_text_puts(out, ",\"runs\":[");
  for (size_t i = 0; i < t->count; i++) {
    etk_text_puts(out, i ? ",{\"id\":" : "{\"id\":");
    put_json(out, t->runs[i]->id);
    etk_text_puts(out, ",\"started\":");
    put_json(out, t->runs[i]->started);
    etk_text_puts(out, ",\"commit\":");
    put_json(out, t->runs[i]->commit);
    real_pair(out, "median_s", t->entries[i]->wall.median);
    real_pair(out, "score", t->figures[i]);
    etk_text_putc(out, '}');
  }
  etk_text_puts(out, "],\"latest\":");
  if (t->count < 2) etk_text_puts(out, "null,\"change\":null}");
  else {
    etk_text_printf(out, "{\"verdict\":\"%s\"", t->slower ? "slower" : t->faster ? "faster" : "no proven change");
    difference_json(out, &t->d);
    etk_text_puts(out, "},\"change\":{\"run\":");
    put_json(out, t->runs[t->change.at]->id);
    real_pair(out, "ratio", t->change.ratio);
    real_pair(out, "p", t->change.p);
    etk_text_printf(out, ",\"significant\":%s}}", t->changed ? "true" : "false");
  }
}

void bench_results_json(etk_text *out, const struct bench_report *report) {
  etk_text_puts(out, "{\"path\":");
  put_json(out, report->run->path);
  etk_text_puts(out, ",\"run\":");
  bench_run_json(out, report->run, false);
  etk_text_puts(out, ",\"limits\":");
  if (report->limits) {
    etk_text_printf(out, "{\"threads\":%d", report->limits->threads);
    real_pair(out, "f32_flops_per_s", report->limits->f32_flops_per_s);
    real_pair(out, "read_bytes_per_s", report->limits->read_bytes_per_s);
    etk_text_putc(out, '}');
  } else etk_text_puts(out, "null");
  etk_text_puts(out, ",\"comparison\":");
  if (report->comparison) bench_comparison_json(out, report->comparison);
  else etk_text_puts(out, "null");
  etk_text_putc(out, '}');
}

/* ---- CSV and Markdown ---- */

static void csv_text(etk_text *out, const char *text) {
  if (!strpbrk(text, "\",\r\n")) {
    etk_text_puts(out, text);
    return;
  }
  etk_text_putc(out, '"');
  for (; *text; text++) {
    if (*text == '"') etk_text_putc(out, '"');
    etk_text_putc(out, *text);
  }
  etk_text_putc(out, '"');
}

static const struct bench_delta *delta_of(const struct bench_report *report, const struct bench_entry *entry) {
  for (size_t i = 0; report->comparison && i < report->comparison->count; i++)
    if (report->comparison->items[i].now == entry) return &report->comparison->items[i];
  return NULL;
}

/* One row a case, times in seconds, lines ended by CR LF. */
void bench_csv(etk_text *out, const struct bench_report *report) {
  etk_text_puts(out, "run,namespace,case,status,error,unit,samples,rounds,repeats,median_s,median_low_s,median_high_s,mean_s,standard_deviation_s,least_s,p5_s,p90_s,p95_s,p99_s,"
                     "greatest_s,mad_s,outliers,drift,cpu_median_s,items,flops,bytes,items_per_s,flops_per_s,bytes_per_s,peak_rss_bytes,before_rss_bytes,ratio,ratio_low,ratio_high,p,verdict\r\n");
  for (size_t i = 0; i < report->run->count; i++) {
    const struct bench_entry *b = &report->run->entries[i];
    const struct bench_delta *d = delta_of(report, b);
    const char *const texts[] = {report->run->id, b->name_space, b->name, b->error ? "failed" : "ok", b->error ? b->error : "", b->unit};
    for (size_t k = 0; k < 6; k++) {
      if (k) etk_text_putc(out, ',');
      csv_text(out, texts[k]);
    }
    if (b->error) {
      for (int k = 0; k < 31; k++) etk_text_putc(out, ',');
      etk_text_puts(out, "\r\n");
      continue;
    }
    bool one = b->wall.count < 2; /* has no interval */
    const double numbers[] = {(double)b->wall.count, (double)b->round_count, (double)b->repeats, b->wall.median, one ? NAN : b->wall.median_low, one ? NAN : b->wall.median_high, b->wall.mean,
                              b->wall.standard_deviation, b->wall.least, b->wall.p5, b->wall.p90, b->wall.p95, b->wall.p99, b->wall.greatest, b->wall.mad,
                              (double)(b->wall.outliers_low + b->wall.outliers_high), b->wall.drift, b->cpu.median, (double)b->work.items, (double)b->work.flops, (double)b->work.bytes,
                              bench_rate(b, b->work.items), bench_rate(b, b->work.flops), bench_rate(b, b->work.bytes), (double)b->peak_bytes, (double)b->before_bytes};
    for (size_t k = 0; k < sizeof numbers / sizeof numbers[0]; k++) {
      etk_text_putc(out, ',');
      if (isfinite(numbers[k])) etk_text_real(out, numbers[k]);
    }
    const double change[] = {d ? d->d.ratio : NAN, d ? d->d.low : NAN, d ? d->d.high : NAN, d ? d->d.p : NAN};
    for (size_t k = 0; k < 4; k++) {
      etk_text_putc(out, ',');
      if (isfinite(change[k])) etk_text_real(out, change[k]);
    }
    etk_text_printf(out, ",%s\r\n", d ? bench_verdict(d) : "");
  }
}

static void markdown_text(etk_text *out, const char *text) {
  for (; *text; text++) {
    if (strchr("|\\`*_<>[]", *text)) etk_text_putc(out, '\\');
    etk_text_putc(out, *text == '\n' || *text == '\r' ? ' ' : *text);
  }
}

static void markdown_table(etk_text *out, const char *const *headers, const char *const *cells, size_t columns, size_t rows) {
  for (size_t c = 0; c < columns; c++) etk_text_printf(out, "| %s ", headers[c]);
  etk_text_puts(out, "|\n");
  for (size_t c = 0; c < columns; c++) etk_text_puts(out, c ? "| ---: " : "| --- ");
  etk_text_puts(out, "|\n");
  for (size_t i = 0; i < rows; i++) {
    for (size_t c = 0; c < columns; c++) {
      etk_text_puts(out, "| ");
      markdown_text(out, cells[i * columns + c]);
      etk_text_putc(out, ' ');
    }
    etk_text_puts(out, "|\n");
  }
}

void bench_markdown(etk_text *out, const struct bench_report *report) {
  etk_arena arena = ETK_ARENA_INIT;
  const char *headers[BENCH_COLUMNS_MOST], **cells;
  const struct bench_run *run = report->run;
  etk_text_printf(out, "# Benchmark %s\n\n", run->id);
  markdown_text(out, run->chip);
  etk_text_printf(out, ", %d thread%s, %s; %s; version %s%s%s\n\n", run->threads, run->threads == 1 ? "" : "s", run->isa, run->started, run->version, run->commit ? ", commit " : "",
                  run->commit ? run->commit : "");
  size_t columns = run->count ? bench_cells(headers, &cells, &arena, report) : 0;
  if (run->count && !columns) out->failed = true;
  if (columns) markdown_table(out, headers, cells, columns, run->count);
  for (size_t i = 0; i < run->count; i++) {
    if (!run->entries[i].error) continue;
    char title[256];
    etk_text_printf(out, "\n- **%s** failed: ", bench_title(title, sizeof title, &run->entries[i]));
    markdown_text(out, run->entries[i].error);
    etk_text_putc(out, '\n');
  }
  const struct bench_comparison *c = report->comparison;
  if (c) {
    etk_text_puts(out, "\n## Against ");
    markdown_text(out, c->label);
    etk_text_puts(out, "\n\n");
    columns = c->count ? bench_comparison_cells(headers, &cells, &arena, c) : 0;
    if (c->count && !columns) out->failed = true;
    if (columns) markdown_table(out, headers, cells, columns, c->count);
    etk_text_printf(out, "\n%s time over the reference loop's; rank-sum test over rounds; slower or faster: p < %g and the whole interval beyond %g %%.\n", c->wall ? "Wall" : "CPU", c->alpha, 100 * c->threshold);
  }
  etk_arena_fini(&arena);
}
