/* benchmark: runs what plugins declare through etk.bench/1, each round of each case in a process of its own; compares, keeps and exports the results. */
#include "bench_child.h"
#include "bench_report.h"
#include "builtin.h"
#include "report.h"
#include "run.h"

#include <etk/fs.h>
#include <etk/progress.h>
#include <math.h>

#define BENCHMARK_ARGS(ARG) ARG(text, names, VARIADIC, "1..128", "a namespace, NAMESPACE:CASE, or a case whose name only one project has")
#define BENCHMARK_OPTIONS(OPT)                                                                                                                     \
  OPT(flag, all, "no", "", "", "a", ETK_LOCAL, "all benchmarks of all projects")                                                                     \
  OPT(flag, list, "no", "", "", "l", ETK_LOCAL, "only list them")                                                                                  \
  OPT(int, rounds, "-", "1..1000", "", "", ETK_LOCAL, "processes a case is run in, one after the other; runs are compared by them; default: 10, and up to 30 while they scatter more than half of --precision") \
  OPT(int, samples, "-", "1..1000000", "", "", ETK_LOCAL, "at most so many samples a case; default: as many as --precision needs")                  \
  OPT(real, precision, "0.01", "0<..1", "", "", ETK_LOCAL, "wanted half interval of the median, as a share of it")                                 \
  OPT(duration, time, "3s", "1ms..", "", "", ETK_LOCAL, "sampling a case at most")                                                                 \
  OPT(duration, limit, "2m", "10ms..", "", "", ETK_LOCAL, "a process that takes longer is stopped, and its case has failed")                        \
  OPT(text, compare, "-", "1..4096", "", "", ETK_LOCAL, "compare with this stored run: latest, an id or its beginning, or a file")                  \
  OPT(text, baseline, "-", "1..64", "", "", ETK_LOCAL, "compare with this baseline")                                                               \
  OPT(text, save_baseline, "-", "1..64", "", "", ETK_LOCAL, "keep the result as this baseline")                                                    \
  OPT(choice, metric, "cpu", "cpu|wall", "", "", ETK_LOCAL, "time that is compared; cpu is less disturbed by other programs")                      \
  OPT(real, alpha, "0.01", "0<..<1", "", "", ETK_LOCAL, "a difference is significant when p is below this")                                        \
  OPT(real, threshold, "0.02", "0..10", "", "", ETK_LOCAL, "and the whole interval of the change is beyond this share")                                                   \
  OPT(texts, export, "-", "1..4096", "", "o", ETK_LOCAL, "write FILE.json, FILE.csv, FILE.md or FILE.html; may be given several times")             \
  OPT(flag, force, "no", "", "", "f", ETK_LOCAL, "replace files that --export names")                                                              \
  OPT(flag, plot, "no", "", "", "", ETK_LOCAL, "draw a chart in the terminal")                                                                     \
  OPT(flag, history, "no", "", "", "", ETK_LOCAL, "do not run: show the stored runs of the cases, and whether the latest is slower")                \
  OPT(text, from, "-", "1..4096", "", "", ETK_LOCAL, "do not run: report on this stored run")                                                      \
  OPT(flag, store, "yes", "", "", "", ETK_LOCAL, "keep the result for --compare and --history")
#define COMMANDS(CMD) CMD(benchmark, BENCHMARK_ARGS, BENCHMARK_OPTIONS, 0, "Run benchmarks of projects; compare, keep and export their results")
BUILTIN(benchmark, "Run benchmarks of projects; compare, keep and export their results", COMMANDS)

/* ---- which ---- */

/* What one plugin declares, or why it cannot be asked. */
struct suite {
  struct plugin plugin;
  struct bench_entry *cases;
  size_t count;
  const char *error;
};
struct choice {
  struct host *host;
  struct suite *suites; /* asked so far */
  size_t suite_count, suite_capacity;
  struct bench_entry *entries; /* chosen, each once */
  const struct plugin **plugins;
  size_t count, capacity;
};

static etk_status grow(etk_error *e, void *items, size_t *capacity, size_t count, size_t size, etk_arena *arena) {
  if (count < *capacity) return ETK_OK;
  size_t more = *capacity ? *capacity * 2 : 64;
  void *grown = etk_arena_array(arena, more, size), *old;
  if (!grown) return etk_fail_memory(e);
  memcpy(&old, items, sizeof old);
  if (count) memcpy(grown, old, count * size);
  memcpy(items, &grown, sizeof grown);
  *capacity = more;
  return ETK_OK;
}

static etk_status choose(etk_error *e, struct choice *c, const struct suite *suite, const struct bench_entry *entry) {
  for (size_t i = 0; i < c->count; i++)
    if (!strcmp(c->entries[i].name, entry->name) && !strcmp(c->entries[i].name_space, entry->name_space)) return ETK_OK;
  size_t capacity = c->capacity;
  etk_status status = grow(e, &c->entries, &capacity, c->count, sizeof *c->entries, &c->host->arena);
  if (!status) status = grow(e, &c->plugins, &c->capacity, c->count, sizeof *c->plugins, &c->host->arena);
  if (status) return status;
  struct plugin *plugin = etk_arena_alloc(&c->host->arena, sizeof *plugin);
  if (!plugin) return etk_fail_memory(e);
  *plugin = suite->plugin;
  c->entries[c->count] = *entry;
  c->plugins[c->count++] = plugin;
  return ETK_OK;
}

/* A plugin that cannot be asked is a case that failed: the others go on. */
static etk_status choose_all(etk_error *e, struct choice *c, const struct suite *suite) {
  if (suite->error) return choose(e, c, suite, &(struct bench_entry){.name_space = suite->plugin.name_space, .name = "", .summary = "", .unit = "", .plugin_version = "", .error = suite->error});
  etk_status status = ETK_OK;
  for (size_t i = 0; !status && i < suite->count; i++) status = choose(e, c, suite, &suite->cases[i]);
  return status;
}

static etk_status ask(etk_error *e, struct suite **out, struct choice *c, const struct plugin *plugin) {
  for (size_t i = 0; i < c->suite_count; i++)
    if (!strcmp(c->suites[i].plugin.path, plugin->path)) {
      *out = &c->suites[i];
      return ETK_OK;
    }
  etk_status status = grow(e, &c->suites, &c->suite_capacity, c->suite_count, sizeof *c->suites, &c->host->arena);
  if (status) return status;
  struct suite *suite = &c->suites[c->suite_count];
  etk_error why = ETK_ERROR_INIT;
  *suite = (struct suite){.plugin = *plugin};
  suite->plugin.name_space = etk_arena_strdup(&c->host->arena, plugin->name_space);
  suite->plugin.path = etk_arena_strdup(&c->host->arena, plugin->path);
  if (!suite->plugin.name_space || !suite->plugin.path) return etk_fail_memory(e);
  status = bench_cases(&why, &suite->cases, &suite->count, c->host, &suite->plugin);
  if (status == ETK_E_CANCELLED || status == ETK_E_NO_MEMORY) return etk_fail(e, status, "%s", why.message);
  if (status) suite->error = etk_arena_strdup(&c->host->arena, why.message);
  c->suite_count++;
  *out = suite;
  return ETK_OK;
}

static etk_status ask_everyone(etk_error *e, struct choice *c) {
  struct plugin_list list;
  struct suite *suite;
  etk_status status = discover_all(e, &list, &c->host->path);
  if (status) return status;
  for (size_t i = 0; !status && i < list.count; i++)
    if (!list.items[i].shadowed) status = ask(e, &suite, c, &list.items[i]);
  plugin_list_free(&list);
  return status;
}

static etk_status no_such_case(etk_error *e, const struct suite *suite, const char *name) {
  const char *names[64];
  size_t count = 0;
  for (; count < suite->count && count < 64; count++) names[count] = suite->cases[count].name;
  const char *near = etk_text_suggest(name, names, count);
  return etk_fail(e, ETK_E_USAGE, "%s has no benchmark '%s'%s%s%s; 'benchmark --list %s' shows its %zu", suite->plugin.name_space, name, near ? "; did you mean '" : "", near ? near : "",
                  near ? "'?" : "", suite->plugin.name_space, suite->count);
}

static etk_status choose_case(etk_error *e, struct choice *c, const struct suite *suite, const char *name) {
  if (suite->error) return choose_all(e, c, suite);
  for (size_t i = 0; i < suite->count; i++)
    if (etk_text_equal_name(suite->cases[i].name, name)) return choose(e, c, suite, &suite->cases[i]);
  return no_such_case(e, suite, name);
}

/* A bare case name: exactly one project has it. */
static etk_status choose_bare(etk_error *e, struct choice *c, const char *name) {
  const struct suite *found = NULL;
  const char *names[256];
  size_t count = 0;
  etk_status status = ask_everyone(e, c);
  for (size_t s = 0; !status && s < c->suite_count; s++) {
    const struct suite *suite = &c->suites[s];
    if (count < 256) names[count++] = suite->plugin.name_space;
    for (size_t i = 0; i < suite->count; i++) {
      if (count < 256) names[count++] = suite->cases[i].name;
      if (!etk_text_equal_name(suite->cases[i].name, name)) continue;
      if (found) return etk_fail(e, ETK_E_USAGE, "both %s and %s have a benchmark '%s'; write %s:%s", found->plugin.name_space, suite->plugin.name_space, name, found->plugin.name_space, name);
      found = suite;
    }
  }
  if (status) return status;
  if (found) return choose_case(e, c, found, name);
  const char *near = etk_text_suggest(name, names, count);
  return etk_fail(e, ETK_E_NOT_FOUND, "'%s' is neither a namespace nor a benchmark%s%s%s; 'benchmark --list --all' shows what there is", name, near ? "; did you mean '" : "",
                  near ? near : "", near ? "'?" : "");
}

/* 0, or the exit code after the error was told. */
static int choose_name(struct choice *c, const char *name) {
  struct host *host = c->host;
  etk_error e = ETK_ERROR_INIT;
  struct plugin plugin;
  struct manifest manifest;
  struct suite *suite;
  const char *colon = strchr(name, ':');
  const char *space = colon ? etk_arena_strndup(&host->arena, name, (size_t)(colon - name)) : name;
  if (!space) return host_error(host, (etk_fail_memory(&e), &e), 0, NULL);
  if (!colon && discover_exact(NULL, &plugin, &host->arena, &host->path, space)) {
    if (!choose_bare(&e, c, name)) return 0;
    return host_error(host, &e, e.status == ETK_E_NOT_FOUND ? 127 : 0, NULL);
  }
  int code = host_find(host, space, &plugin, &manifest);
  if (code) return code;
  manifest_fini(&manifest);
  etk_status status = ask(&e, &suite, c, &plugin);
  if (!status && !suite->error && !suite->count) status = etk_fail(&e, ETK_E_NOT_FOUND, "%s declares no benchmarks", suite->plugin.name_space);
  if (!status) status = colon && colon[1] ? choose_case(&e, c, suite, colon + 1) : choose_all(&e, c, suite);
  return status ? host_error(host, &e, 0, NULL) : 0;
}

static int choose_words(struct choice *c, struct etk_texts names, bool all) {
  etk_error e = ETK_ERROR_INIT;
  int code = 0;
  if (!names.count && !all) etk_fail(&e, ETK_E_USAGE, "benchmark wants names or --all: a namespace, NAMESPACE:CASE, or a case; 'benchmark --list --all' shows what there is");
  else if (names.count && all) etk_fail(&e, ETK_E_USAGE, "--all means every benchmark; leave '%s' out, or --all", names.items[0]);
  else if (all && !ask_everyone(&e, c))
    for (size_t i = 0; !e.status && i < c->suite_count; i++) choose_all(&e, c, &c->suites[i]);
  if (e.status) return host_error(c->host, &e, 0, NULL);
  for (size_t i = 0; !code && i < names.count; i++) code = choose_name(c, names.items[i]);
  if (!code && !c->count) code = host_error(c->host, (etk_fail(&e, ETK_E_NOT_FOUND, "none of %zu projects declares a benchmark", c->suite_count), &e), 0, NULL);
  return code;
}

/* ---- --list ---- */

static int list(struct host *host, const struct choice *c) {
  static const char *const headers[] = {"BENCHMARK", "UNIT", "SUMMARY"};
  etk_text text = ETK_TEXT_INIT;
  struct table *table = table_new(headers, 3);
  size_t failed = 0;
  etk_text_puts(&text, "{\"benchmarks\":[");
  for (size_t i = 0; i < c->count; i++) {
    const struct bench_entry *b = &c->entries[i];
    char title[256];
    const char *cells[] = {bench_title(title, sizeof title, b), b->unit, b->error ? b->error : b->summary};
    const struct { const char *key, *value; } fields[] = {{"namespace", b->name_space}, {"name", b->name}, {"unit", b->unit}, {"summary", b->summary}, {"error", b->error}};
    table_add(table, cells);
    for (size_t k = 0; k < 5; k++) {
      etk_text_printf(&text, "%s\"%s\":", k ? "," : i ? ",{" : "{", fields[k].key);
      put_json(&text, fields[k].value);
    }
    etk_text_putc(&text, '}');
    failed += b->error != NULL;
  }
  etk_text_puts(&text, "]}");
  if (host->json) host_print_document(host, "benchmark", failed ? "failed" : "ok", text.failed ? NULL : text.data, NULL);
  else table_print(table, stdout, host->out_color, 0);
  table_free(table);
  etk_text_free(&text);
  return failed ? 1 : 0;
}

/* ---- running ---- */

/* With ten rounds a side one that was disturbed does not hide a difference: the interval ends at the 17th of 100 pairs, and it makes ten of them. */
enum { ROUNDS = 10, ROUNDS_MOST = 30 };

static etk_bench_options options_of(const struct benchmark_options *o, int64_t rounds, bool samples_given) {
  /* The interval of all rounds together is narrower than one round's by the root of their number. */
  etk_bench_options b = {.struct_size = sizeof b, .precision = o->precision * sqrt((double)rounds), .warm_up_ns = o->time / rounds / 10, .most_ns = o->time / rounds};
  if (b.warm_up_ns < 1) b.warm_up_ns = 1;
  if (samples_given) b.most_samples = (o->samples + rounds - 1) / rounds;
  b.least_samples = b.most_samples && b.most_samples < 10 ? b.most_samples : 10;
  return b;
}

/* Whether the scores of the rounds so far tell the case's level as closely as wanted. */
static bool settled(const struct bench_entry *entry, const struct benchmark_options *o, bool wall) {
  double scores[ROUNDS_MOST];
  etk_stats stats;
  for (size_t i = 0; i < entry->round_count; i++) {
    const struct bench_round *r = &entry->rounds[i];
    scores[i] = etk_bench_score(wall ? r->wall_s : r->cpu_s, r->count, r->reference_s, r->reference_count);
  }
  return !etk_stats_of(NULL, &stats, scores, entry->round_count) && stats.median_high - stats.median_low <= o->precision * stats.median;
}

static etk_progress_mode progress_mode(const struct host *host) {
  if (host->quiet || host->json) return ETK_PROGRESS_OFF;
  static const struct { const char *name; etk_progress_mode mode; } modes[] = {{"bar", ETK_PROGRESS_BAR}, {"plain", ETK_PROGRESS_PLAIN}, {"off", ETK_PROGRESS_OFF}};
  for (size_t i = 0; host->progress && i < 3; i++)
    if (!strcmp(host->progress, modes[i].name)) return modes[i].mode;
  return ETK_PROGRESS_AUTO;
}

/* One round of one case. A failure of the case is kept in it; what is returned ends everything. */
static etk_status run_one(etk_error *e, struct host *host, struct bench_entry *entry, const struct plugin *plugin, const etk_bench_options *options, int64_t limit) {
  etk_error why = ETK_ERROR_INIT;
  etk_status status = bench_sample(&why, entry, &entry->rounds[entry->round_count], host, plugin, options, limit);
  if (status == ETK_E_CANCELLED || status == ETK_E_NO_MEMORY) return etk_fail(e, status, "%s", why.message);
  if (!status) {
    entry->round_count++;
    return ETK_OK;
  }
  entry->error = etk_arena_strdup(&host->arena, why.message);
  return entry->error ? ETK_OK : etk_fail_memory(e);
}

/* Rounds go over the cases in turn, so that what changes in the machine meanwhile meets all of them alike. */
static etk_status run_all(etk_error *e, struct host *host, struct choice *c, const struct benchmark_options *o) {
  bool given = builtin_given(host, "rounds"), wall = !strcmp(o->metric, "wall");
  int64_t rounds = given ? o->rounds : ROUNDS, most = given ? o->rounds : ROUNDS_MOST, count = (int64_t)c->count;
  int64_t done = 0, total = most * count; /* of processes; those that are not needed leave the total */
  etk_bench_options options = options_of(o, rounds, builtin_given(host, "samples"));
  etk_progress progress;
  char title[256];
  etk_progress_init(&progress, stderr, progress_mode(host), host->err_color);
  etk_status status = ETK_OK;
  bool *over = etk_arena_array(&host->arena, c->count, sizeof *over);
  if (!over) return etk_fail_memory(e);
  for (size_t i = 0; i < c->count; i++) {
    c->entries[i].rounds = etk_arena_array(&host->arena, (size_t)most, sizeof *c->entries[i].rounds);
    if (!c->entries[i].rounds) return etk_fail_memory(e);
  }
  for (int64_t round = 0; !status && round < most; round++)
    for (int64_t i = 0; !status && i < count; i++) {
      struct bench_entry *entry = &c->entries[i];
      if (over[i]) continue;
      over[i] = entry->error || (round >= rounds && settled(entry, o, wall));
      if (over[i]) {
        total -= most - round;
        continue;
      }
      etk_progress_update(&progress, "benchmark", done++, total, bench_title(title, sizeof title, entry));
      status = run_one(e, host, entry, c->plugins[i], &options, o->limit);
    }
  if (!status) etk_progress_update(&progress, "benchmark", total, total, NULL);
  etk_progress_finish(&progress);
  for (size_t i = 0; !status && i < c->count; i++) status = bench_entry_finish(e, &c->entries[i], &host->arena);
  return status;
}

/* ---- exports ---- */

typedef etk_status (*exporter)(etk_error *e, etk_text *out, const struct bench_report *report);
static etk_status export_json(etk_error *e, etk_text *out, const struct bench_report *report) {
  (void)e;
  bench_run_json(out, report->run, true);
  etk_text_putc(out, '\n');
  return ETK_OK;
}
static etk_status export_csv(etk_error *e, etk_text *out, const struct bench_report *report) { return (void)e, bench_csv(out, report), ETK_OK; }
static etk_status export_markdown(etk_error *e, etk_text *out, const struct bench_report *report) { return (void)e, bench_markdown(out, report), ETK_OK; }
static const struct { const char *end; exporter write; } exporters[] = {{".json", export_json}, {".csv", export_csv}, {".md", export_markdown}, {".html", bench_html}};

static exporter exporter_of(const char *path) {
  const char *dot = strrchr(etk_path_base(path), '.');
  for (size_t i = 0; dot && i < sizeof exporters / sizeof exporters[0]; i++)
    if (!strcmp(dot, exporters[i].end)) return exporters[i].write;
  return NULL;
}

/* Before anything runs: a file that cannot be written would be known only after minutes. */
static etk_status check_exports(etk_error *e, const struct benchmark_options *o) {
  for (size_t i = 0; i < o->export.count; i++) {
    const char *path = o->export.items[i];
    if (!exporter_of(path)) return etk_fail(e, ETK_E_USAGE, "--export %s: the name has to end with .json, .csv, .md or .html", path);
    if (!o->force && etk_fs_exists(path)) return etk_fail(e, ETK_E_EXISTS, "--export %s: the file exists; --force replaces it", path);
    char *dir = etk_path_dir(path);
    bool there = dir && etk_fs_is_dir(dir);
    etk_free(dir);
    if (!there) return etk_fail(e, ETK_E_NOT_FOUND, "--export %s: its folder is not there", path);
  }
  return ETK_OK;
}

static etk_status export_all(etk_error *e, struct host *host, const struct benchmark_options *o, const struct bench_report *report) {
  for (size_t i = 0; i < o->export.count; i++) {
    etk_text text = ETK_TEXT_INIT;
    etk_status status = exporter_of(o->export.items[i])(e, &text, report);
    if (!status) status = text.failed ? etk_fail_memory(e) : etk_fs_write(e, o->export.items[i], text.data, text.size, o->force);
    etk_text_free(&text);
    if (status) return etk_error_while(e, status, "--export %s", o->export.items[i]);
    host_note(host, "wrote %s", o->export.items[i]);
  }
  return ETK_OK;
}

/* ---- comparing ---- */

static etk_status same_machine(etk_error *e, const struct bench_run *run, const struct bench_run *against, const char *label) {
  if (!strcmp(run->chip, against->chip) && run->threads == against->threads && !strcmp(run->isa, against->isa)) return ETK_OK;
  return etk_fail(e, ETK_E_USAGE, "%s was measured on %s with %d threads (%s), this on %s with %d (%s): such times cannot be compared", label, against->chip, against->threads, against->isa,
                  run->chip, run->threads, run->isa);
}

static etk_status load_against(etk_error *e, struct bench_run *out, const char **label, struct host *host, const struct benchmark_options *o) {
  bool baseline = builtin_given(host, "baseline"), compare = builtin_given(host, "compare");
  *label = NULL;
  if (baseline && compare) return etk_fail(e, ETK_E_USAGE, "--baseline and --compare exclude each other: a run is compared with one other");
  if (!baseline && !compare) return ETK_OK;
  etk_status status = baseline ? bench_baseline_load(e, out, host, o->baseline) : bench_find(e, out, host, o->compare);
  if (status) return status;
  *label = baseline ? etk_arena_printf(&host->arena, "baseline %s (%s)", o->baseline, out->id) : etk_arena_printf(&host->arena, "run %s", out->id);
  return *label ? ETK_OK : etk_fail_memory(e);
}

/* The lines of the HTML report: every case over the stored runs. */
static etk_status trends_of(etk_error *e, struct bench_report *report, struct host *host, const struct benchmark_options *o) {
  struct bench_run *runs;
  size_t count;
  bool html = false;
  for (size_t i = 0; i < o->export.count; i++) html = html || exporter_of(o->export.items[i]) == bench_html;
  if (!html) return ETK_OK;
  etk_status status = bench_history(e, &runs, &count, host, report->run->chip, report->run->threads);
  struct bench_trend *trends = etk_arena_array(&host->arena, report->run->count + 1, sizeof *trends);
  if (!status && !trends) status = etk_fail_memory(e);
  for (size_t i = 0; !status && i < report->run->count; i++)
    if (!report->run->entries[i].error)
      status = bench_trend_of(e, &trends[report->trend_count++], &host->arena, runs, count, &report->run->entries[i], !strcmp(o->metric, "wall"), o->alpha, o->threshold);
  report->trends = trends;
  return status;
}

static int answer(struct host *host, const struct benchmark_options *o, struct bench_run *run, const struct bench_run *against, const char *label) {
  etk_error e = ETK_ERROR_INIT;
  etk_hardware_limits limits;
  struct bench_comparison comparison;
  struct bench_report report = {.run = run};
  size_t failed = 0;
  for (size_t i = 0; i < run->count; i++) failed += run->entries[i].error != NULL;
  if (!etk_hardware_limits_load(NULL, &limits) && limits.threads == run->threads) report.limits = &limits;
  if (label && !bench_compare(&e, &comparison, &host->arena, run, against, label, !strcmp(o->metric, "wall"), o->alpha, o->threshold)) report.comparison = &comparison;
  if (!e.status) trends_of(&e, &report, host, o);
  if (!e.status) export_all(&e, host, o, &report);
  if (e.status) return host_error(host, &e, 0, NULL);
  if (host->json) {
    etk_text text = ETK_TEXT_INIT;
    bench_results_json(&text, &report);
    host_print_document(host, "benchmark", failed || (report.comparison && comparison.slower) ? "failed" : "ok", text.failed ? NULL : text.data, NULL);
    etk_text_free(&text);
  } else {
    bench_show(host, &report);
    if (report.comparison) bench_show_comparison(host, &comparison);
    if (o->plot && bench_plot(&e, host, &report)) return host_error(host, &e, 0, NULL);
    if (run->path) host_note(host, "stored as %s", run->id);
  }
  return failed ? 1 : report.comparison && comparison.slower ? 4 : 0;
}

static int report_stored(struct host *host, const struct benchmark_options *o) {
  etk_error e = ETK_ERROR_INIT;
  struct bench_run run, against;
  const char *label = NULL;
  etk_status status = check_exports(&e, o);
  if (!status) status = bench_find(&e, &run, host, o->from);
  if (!status) status = load_against(&e, &against, &label, host, o);
  if (!status && label) status = same_machine(&e, &run, &against, label);
  if (!status && builtin_given(host, "save_baseline")) status = bench_baseline_save(&e, &run, host, o->save_baseline);
  return status ? host_error(host, &e, 0, NULL) : answer(host, o, &run, label ? &against : NULL, label);
}

static int run_chosen(struct host *host, struct choice *c, const struct benchmark_options *o) {
  etk_error e = ETK_ERROR_INIT;
  struct bench_run run, against;
  const char *label = NULL;
  etk_status status = check_exports(&e, o);
  if (!status) status = load_against(&e, &against, &label, host, o);
  if (!status) status = bench_run_begin(&e, &run, host, host->argc, host->argv);
  if (!status && label) status = same_machine(&e, &run, &against, label);
  if (!status) status = run_all(&e, host, c, o);
  run.entries = c->entries, run.count = c->count;
  if (status) return host_error(host, &e, 0, NULL);
  /* What was measured is shown also where it cannot be kept. */
  bool lost = o->store && bench_store(&e, &run, host);
  if (lost) {
    run.path = NULL;
    host_warn(host, "the result is not stored: %s", e.message);
  }
  bool unsaved = builtin_given(host, "save_baseline") && bench_baseline_save(&e, &run, host, o->save_baseline);
  if (unsaved) host_warn(host, "the baseline is not saved: %s", e.message);
  int code = answer(host, o, &run, label ? &against : NULL, label);
  return code ? code : unsaved ? 1 : 0;
}

/* ---- --history ---- */

static bool fits(const struct bench_entry *entry, struct etk_texts names) {
  char title[256];
  for (size_t i = 0; i < names.count; i++)
    if (!strcmp(names.items[i], entry->name_space) || !strcmp(names.items[i], entry->name) || !strcmp(names.items[i], bench_title(title, sizeof title, entry))) return true;
  return !names.count;
}

/* Cases of any stored run that fit the names, each once. */
static etk_status chosen_of(etk_error *e, struct choice *c, const struct bench_run *runs, size_t count, struct etk_texts names) {
  etk_status status = ETK_OK;
  struct suite none = {.plugin = {.path = ""}};
  for (size_t r = count; !status && r-- > 0;)
    for (size_t i = 0; !status && i < runs[r].count; i++)
      if (!runs[r].entries[i].error && fits(&runs[r].entries[i], names)) status = choose(e, c, &none, &runs[r].entries[i]);
  return status;
}

static int show_history(struct host *host, struct etk_texts names, const struct benchmark_options *o) {
  etk_error e = ETK_ERROR_INIT;
  struct bench_run here, *runs;
  struct choice c = {.host = host};
  size_t count, slower = 0;
  etk_status status = bench_run_begin(&e, &here, host, 0, NULL); /* this machine */
  if (!status) status = bench_history(&e, &runs, &count, host, here.chip, here.threads);
  if (!status) status = chosen_of(&e, &c, runs, count, names);
  if (!status && !c.count)
    status = etk_fail(&e, ETK_E_NOT_FOUND, "no stored run of this machine has %s%s; there are %zu stored runs", names.count ? "a benchmark " : "a benchmark", names.count ? names.items[0] : "", count);
  etk_text text = ETK_TEXT_INIT;
  etk_text_puts(&text, "{\"trends\":[");
  for (size_t i = 0; !status && i < c.count; i++) {
    struct bench_trend trend;
    status = bench_trend_of(&e, &trend, &host->arena, runs, count, &c.entries[i], !strcmp(o->metric, "wall"), o->alpha, o->threshold);
    if (status) break;
    slower += trend.slower;
    if (i) etk_text_puts(&text, ",");
    bench_trend_json(&text, &trend);
    if (host->json) continue;
    if (i) putchar('\n');
    bench_show_trend(host, &trend);
    if (o->plot && trend.count > 1) status = bench_plot_trend(&e, host, &trend);
  }
  etk_text_puts(&text, "]}");
  if (!status && host->json) host_print_document(host, "benchmark", slower ? "failed" : "ok", text.failed ? NULL : text.data, NULL);
  etk_text_free(&text);
  return status ? host_error(host, &e, 0, NULL) : slower ? 4 : 0;
}

static int benchmark_run(struct host *host, struct etk_texts names, const struct benchmark_options *o) {
  static const char *const not_run[] = {"rounds", "samples", "precision", "time", "limit", "store"}; /* --from and --history run nothing */
  static const char *const not_history[] = {"compare", "baseline", "save_baseline", "export", "from", "list"};
  etk_error e = ETK_ERROR_INIT;
  bool from = builtin_given(host, "from");
  for (size_t i = 0; (o->history || from || o->list) && i < sizeof not_run / sizeof not_run[0]; i++)
    if (builtin_given(host, not_run[i])) etk_fail(&e, ETK_E_USAGE, "--%s is for running benchmarks; %s runs none", not_run[i], o->history ? "--history" : from ? "--from" : "--list");
  for (size_t i = 0; (o->history || o->list) && i < 5; i++)
    if (builtin_given(host, not_history[i]))
      etk_fail(&e, ETK_E_USAGE, "--%s has no meaning with %s", strcmp(not_history[i], "save_baseline") ? not_history[i] : "save-baseline", o->history ? "--history" : "--list");
  if (o->history && o->list) etk_fail(&e, ETK_E_USAGE, "--history and --list exclude each other");
  if ((from && (names.count || o->all))) etk_fail(&e, ETK_E_USAGE, "--from reports on all of a stored run; leave the names out");
  if (o->plot && host->json) etk_fail(&e, ETK_E_USAGE, "--plot draws for a person; --json is for programs");
  if (e.status) return host_error(host, &e, 0, NULL);
  if (o->history) return show_history(host, names, o);
  if (from) return report_stored(host, o);
  struct choice c = {.host = host};
  int code = choose_words(&c, names, o->all || (o->list && !names.count));
  if (code) return code;
  return o->list ? list(host, &c) : run_chosen(host, &c, o);
}
