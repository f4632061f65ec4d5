#include "bench_child.h"
#include "child_run.h"
#include "report.h"

enum { CASES_MOST = 4096, ASK_LIMIT_S = 30 };

/* ---- in the child ---- */

static bool legal_case(const char *name) {
  size_t size = name ? strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789-") : 0;
  return size && size <= 64 && !name[size] && name[0] != '-';
}

static const etk_bench_case *case_at(const etk_bench_suite *suite, size_t index) {
  return (const etk_bench_case *)(const void *)((const char *)suite->cases + index * suite->stride);
}

/* The plugin's table, checked as far as the eye of a stranger can; NULL with ETK_OK: it has none. */
static etk_status find_suite(etk_error *e, const etk_bench_suite **out, const struct loaded *loaded) {
  const etk_project *project = loaded->project;
  const etk_bench_suite *suite = project->query ? project->query(ETK_BENCH_ID) : NULL;
  *out = suite;
  if (!suite) return ETK_OK;
  if (suite->struct_size < sizeof *suite || suite->stride < sizeof(etk_bench_case) || suite->count > CASES_MOST || (suite->count && !suite->cases))
    return etk_fail(e, ETK_E_FORMAT, "%s: its table of benchmarks has size %u, stride %u and %u cases; at least %zu, at least %zu and at most %d are wanted: declare it with ETK_BENCH",
                    project->name_space, suite->struct_size, suite->stride, suite->count, sizeof *suite, sizeof(etk_bench_case), CASES_MOST);
  for (size_t i = 0; i < suite->count; i++) {
    const etk_bench_case *c = case_at(suite, i);
    if (!legal_case(c->name)) return etk_fail(e, ETK_E_FORMAT, "%s: benchmark %zu has the name '%s'; small letters, digits and '-' are wanted", project->name_space, i + 1, c->name ? c->name : "");
    if (!c->sample) return etk_fail(e, ETK_E_FORMAT, "%s: the benchmark %s has no sample function", project->name_space, c->name);
    for (size_t k = 0; k < i; k++)
      if (!strcmp(case_at(suite, k)->name, c->name)) return etk_fail(e, ETK_E_FORMAT, "%s: two benchmarks are called %s", project->name_space, c->name);
  }
  return ETK_OK;
}

static etk_status list_body(etk_error *e, struct loaded *loaded, etk_run *run, etk_text *answer, void (*flush)(void), void *user) {
  const etk_bench_suite *suite;
  etk_status status = find_suite(e, &suite, loaded);
  (void)run, (void)flush, (void)user;
  etk_text_putc(answer, '[');
  for (size_t i = 0; !status && suite && i < suite->count; i++) {
    const etk_bench_case *c = case_at(suite, i);
    etk_text_puts(answer, i ? ",{\"name\":" : "{\"name\":");
    put_json(answer, c->name);
    etk_text_puts(answer, ",\"summary\":");
    put_json(answer, c->summary ? c->summary : "");
    etk_text_puts(answer, ",\"unit\":");
    put_json(answer, c->unit ? c->unit : "");
    etk_text_puts(answer, ",\"version\":");
    put_json(answer, loaded->project->version);
    etk_text_putc(answer, '}');
  }
  etk_text_putc(answer, ']');
  return status;
}

struct sample_job {
  const char *name;
  const etk_bench_options *options;
};

static etk_status sample_body(etk_error *e, struct loaded *loaded, etk_run *run, etk_text *answer, void (*flush)(void), void *user) {
  const struct sample_job *job = user;
  const etk_bench_suite *suite;
  etk_bench_result result;
  (void)flush;
  etk_status status = find_suite(e, &suite, loaded);
  if (status) return status;
  const etk_bench_case *found = NULL;
  for (size_t i = 0; suite && i < suite->count; i++)
    if (!strcmp(case_at(suite, i)->name, job->name)) found = case_at(suite, i);
  if (!found) return etk_fail(e, ETK_E_NOT_FOUND, "the benchmark %s is gone", job->name);
  status = etk_bench_run(e, &result, found, run, job->options);
  if (!status) bench_round_json(answer, &result);
  etk_bench_result_free(&result);
  return status;
}

/* ---- in the parent ---- */

static etk_status parse(etk_error *e, json_t **out, const struct child_result *result) {
  json_error_t place;
  *out = result->answer.size ? json_loadb(result->answer.data, result->answer.size, 0, &place) : NULL;
  return *out ? ETK_OK : etk_fail(e, ETK_E_FORMAT, "the child process answered nothing that can be read");
}

/* The last line that the plugin printed often tells why it failed. */
static void add_output(etk_error *e, const etk_text *output) {
  size_t end = output->size, begin, used = strlen(e->message);
  while (end && (output->data[end - 1] == '\n' || output->data[end - 1] == ' ')) end--;
  for (begin = end; begin && output->data[begin - 1] != '\n'; begin--) {}
  if (end - begin > 300) begin = end - 300;
  if (end > begin && !strstr(e->message, "; it said: ")) snprintf(e->message + used, sizeof e->message - used, "; it said: %.*s", (int)(end - begin), output->data + begin);
}

etk_status bench_cases(etk_error *e, struct bench_entry **out, size_t *count, struct host *host, const struct plugin *plugin) {
  struct child_result result;
  json_t *list = NULL, *item;
  size_t i;
  *out = NULL, *count = 0;
  struct child_run job = {.host = host, .plugin = plugin, .limit_ns = ASK_LIMIT_S * INT64_C(1000000000), .body = list_body};
  etk_status status = child_run(e, &result, &job);
  if (!status) status = parse(e, &list, &result);
  if (!status) *out = etk_arena_array(&host->arena, json_array_size(list) + 1, sizeof **out);
  if (!status && !*out) status = etk_fail_memory(e);
  if (!status)
    json_array_foreach(list, i, item) {
      struct bench_entry *entry = &(*out)[(*count)++];
      *entry = (struct bench_entry){.name_space = etk_arena_strdup(&host->arena, plugin->name_space), .precise = true};
      const struct { const char **field, *key; } fields[] = {{&entry->name, "name"}, {&entry->summary, "summary"}, {&entry->unit, "unit"}, {&entry->plugin_version, "version"}};
      for (size_t k = 0; k < 4; k++) {
        const char *text = json_string_value(json_object_get(item, fields[k].key));
        *fields[k].field = etk_arena_strdup(&host->arena, text ? text : "");
        if (!*fields[k].field || !entry->name_space) status = etk_fail_memory(e);
      }
    }
  json_decref(list);
  child_result_free(&result);
  return status;
}

etk_status bench_sample(etk_error *e, struct bench_entry *entry, struct bench_round *round, struct host *host, const struct plugin *plugin, const etk_bench_options *options,
                        int64_t limit_ns) {
  struct child_result result;
  json_t *json = NULL;
  struct sample_job sample = {entry->name, options};
  struct child_run job = {.host = host, .plugin = plugin, .limit_ns = limit_ns, .body = sample_body, .user = &sample};
  etk_status status = child_run(e, &result, &job);
  if (status && status != ETK_E_CANCELLED) add_output(e, &result.output);
  if (!status) status = parse(e, &json, &result);
  if (!status) status = bench_round_read(e, entry, round, &host->arena, json);
  json_decref(json);
  child_result_free(&result);
  return status;
}
