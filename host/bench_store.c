/* bench_store.c: benchmark runs as files. */
#include "bench_store.h"
#include "record.h"
#include "report.h"

#include <errno.h>
#include <etk/fs.h>
#include <etk/hardware.h>
#include <etk/parallel.h>
#include <inttypes.h>
#include <limits.h>
#include <math.h>
#include <unistd.h>

enum { FILE_MOST = 256 << 20, SAMPLES_MOST = 1 << 20, ROUNDS_MOST = 10000, ENTRIES_MOST = 100000, SCHEMA = 1 };

const char *bench_title(char *out, size_t size, const struct bench_entry *entry) {
  snprintf(out, size, "%s%s%s", entry->name_space, *entry->name ? ":" : "", entry->name);
  return out;
}

const struct bench_entry *bench_same(const struct bench_run *run, const struct bench_entry *entry) {
  for (size_t i = 0; i < run->count; i++) {
    const struct bench_entry *other = &run->entries[i];
    if (!other->error && !strcmp(other->name, entry->name) && !strcmp(other->name_space, entry->name_space)) return other;
  }
  return NULL;
}

/* ---- derived ---- */

etk_status bench_entry_finish(etk_error *e, struct bench_entry *entry, etk_arena *arena) {
  size_t count = 0, rounds = entry->round_count, at = 0;
  for (size_t i = 0; i < rounds; i++) count += entry->rounds[i].count;
  if (!count) return entry->error ? ETK_OK : etk_fail(e, ETK_E_FORMAT, "%s:%s has no samples", entry->name_space, entry->name);
  double *wall = etk_arena_array(arena, count, sizeof *wall), *cpu = etk_arena_array(arena, count, sizeof *cpu);
  entry->wall_scores = etk_arena_array(arena, rounds, sizeof *entry->wall_scores);
  entry->cpu_scores = etk_arena_array(arena, rounds, sizeof *entry->cpu_scores);
  if (!wall || !cpu || !entry->wall_scores || !entry->cpu_scores) return etk_fail_memory(e);
  for (size_t i = 0; i < rounds; i++) {
    const struct bench_round *r = &entry->rounds[i];
    memcpy(wall + at, r->wall_s, r->count * sizeof *wall);
    memcpy(cpu + at, r->cpu_s, r->count * sizeof *cpu);
    at += r->count;
    entry->wall_scores[i] = etk_bench_score(r->wall_s, r->count, r->reference_s, r->reference_count);
    entry->cpu_scores[i] = etk_bench_score(r->cpu_s, r->count, r->reference_s, r->reference_count);
  }
  entry->samples_s = wall;
  etk_status status = etk_stats_of(e, &entry->wall, wall, count);
  return status ? status : etk_stats_of(e, &entry->cpu, cpu, count);
}

/* ---- writing ---- */

static void reals(etk_text *out, const char *name, const double *items, size_t count) {
  etk_text_printf(out, ",\"%s\":[", name);
  for (size_t i = 0; i < count; i++) {
    if (i) etk_text_putc(out, ',');
    etk_text_real(out, items[i]);
  }
  etk_text_putc(out, ']');
}

static void pair(etk_text *out, const char *name, double value) {
  etk_text_printf(out, ",\"%s\":", name);
  etk_text_real(out, value);
}

static void text_pair(etk_text *out, const char *name, const char *value) {
  etk_text_printf(out, ",\"%s\":", name);
  put_json(out, value);
}

static void work_json(etk_text *out, const etk_bench_work *w) {
  etk_text_printf(out, "\"work\":{\"items\":%" PRId64 ",\"flops\":%" PRId64 ",\"bytes\":%" PRId64 "}", w->items, w->flops, w->bytes);
}

void bench_round_json(etk_text *out, const etk_bench_result *r) {
  etk_text_printf(out, "{\"repeats\":%" PRId64 ",\"precise\":%s,\"peak_rss_bytes\":%" PRId64 ",\"before_rss_bytes\":%" PRId64 ",", r->repeats,
                  r->precise ? "true" : "false", r->peak_rss_bytes, r->before_rss_bytes);
  work_json(out, &r->work);
  reals(out, "wall_s", r->wall_s, r->count);
  reals(out, "cpu_s", r->cpu_s, r->count);
  reals(out, "reference_s", r->reference_s, r->reference_count);
  etk_text_putc(out, '}');
}

static void stats_json(etk_text *out, const char *name, const etk_stats *s) {
  etk_text_printf(out, ",\"%s\":{\"count\":%zu", name, s->count);
  bool one = s->count < 2; /* has no interval */
  const struct { const char *name; double value; } fields[] = {
      {"mean", s->mean}, {"standard_deviation", s->standard_deviation}, {"least", s->least}, {"p5", s->p5}, {"q1", s->q1}, {"median", s->median}, {"q3", s->q3},
      {"p90", s->p90}, {"p95", s->p95}, {"p99", s->p99}, {"greatest", s->greatest}, {"median_low", one ? NAN : s->median_low}, {"median_high", one ? NAN : s->median_high},
      {"mad", s->mad}, {"drift", s->drift}};
  for (size_t i = 0; i < sizeof fields / sizeof fields[0]; i++) pair(out, fields[i].name, fields[i].value);
  etk_text_printf(out, ",\"outliers_low\":%zu,\"outliers_high\":%zu}", s->outliers_low, s->outliers_high);
}

static void entry_json(etk_text *out, const struct bench_entry *b, bool whole) {
  etk_text_puts(out, "{\"namespace\":");
  put_json(out, b->name_space);
  text_pair(out, "name", b->name);
  text_pair(out, "summary", b->summary);
  text_pair(out, "unit", b->unit);
  text_pair(out, "plugin_version", b->plugin_version);
  text_pair(out, "status", b->error ? "failed" : "ok");
  text_pair(out, "error", b->error);
  etk_text_printf(out, ",\"repeats\":%" PRId64 ",\"precise\":%s,\"peak_rss_bytes\":%" PRId64 ",\"before_rss_bytes\":%" PRId64 ",", b->repeats,
                  b->precise ? "true" : "false", b->peak_bytes, b->before_bytes);
  work_json(out, &b->work);
  if (b->wall.count) {
    stats_json(out, "wall_s", &b->wall);
    stats_json(out, "cpu_s", &b->cpu);
    reals(out, "cpu_scores", b->cpu_scores, b->round_count);
    reals(out, "wall_scores", b->wall_scores, b->round_count);
  }
  if (whole) {
    etk_text_puts(out, ",\"rounds\":[");
    for (size_t i = 0; i < b->round_count; i++) {
      const struct bench_round *r = &b->rounds[i];
      etk_text_printf(out, "%s{\"round\":%zu", i ? ",\n" : "\n", i + 1);
      reals(out, "wall_s", r->wall_s, r->count);
      reals(out, "cpu_s", r->cpu_s, r->count);
      reals(out, "reference_s", r->reference_s, r->reference_count);
      etk_text_putc(out, '}');
    }
    etk_text_putc(out, ']');
  }
  etk_text_putc(out, '}');
}

void bench_run_json(etk_text *out, const struct bench_run *run, bool whole) {
  etk_text_printf(out, "{\"schema_version\":%d,\"kind\":\"benchmark\"", SCHEMA);
  text_pair(out, "id", run->id);
  text_pair(out, "started", run->started);
  text_pair(out, "version", run->version);
  text_pair(out, "commit", run->commit);
  etk_text_puts(out, ",\"hardware\":{\"chip\":");
  put_json(out, run->chip);
  text_pair(out, "isa", run->isa);
  etk_text_printf(out, ",\"threads\":%d},\"argv\":[", run->threads);
  for (size_t i = 0; i < run->argc; i++) {
    if (i) etk_text_putc(out, ',');
    put_json(out, run->argv[i]);
  }
  etk_text_puts(out, "],\"cases\":[");
  for (size_t i = 0; i < run->count; i++) {
    etk_text_puts(out, i ? ",\n" : "\n");
    entry_json(out, &run->entries[i], whole);
  }
  etk_text_puts(out, "]}");
}

/* ---- reading ---- */

static const char *text_of(etk_arena *arena, const json_t *object, const char *key, const char *fallback) {
  const json_t *value = json_object_get(object, key);
  const char *copy = json_is_string(value) ? etk_arena_strdup(arena, json_string_value(value)) : NULL;
  return copy ? copy : fallback;
}

static int64_t int_of(const json_t *object, const char *key) { return json_integer_value(json_object_get(object, key)); }

static etk_status read_reals(etk_error *e, double **out, size_t *count, etk_arena *arena, const json_t *object, const char *key) {
  const json_t *list = json_object_get(object, key);
  *count = json_array_size(list);
  if (!json_is_array(list) || *count > SAMPLES_MOST) return etk_fail(e, ETK_E_FORMAT, "\"%s\" is not a list of at most %d numbers", key, SAMPLES_MOST);
  *out = etk_arena_array(arena, *count + 1, sizeof **out);
  if (!*out) return etk_fail_memory(e);
  for (size_t i = 0; i < *count; i++) {
    const json_t *item = json_array_get(list, i);
    (*out)[i] = json_number_value(item);
    if (!json_is_number(item) || !((*out)[i] >= 0) || (*out)[i] > 1e9) return etk_fail(e, ETK_E_FORMAT, "\"%s\"[%zu] is no time in seconds", key, i);
    if ((*out)[i] == 0) (*out)[i] = 1e-10; /* below the clock's step; logarithms are taken later */
  }
  return ETK_OK;
}

static etk_status read_samples(etk_error *e, struct bench_round *out, etk_arena *arena, const json_t *json) {
  size_t cpu = 0;
  etk_status status = read_reals(e, &out->wall_s, &out->count, arena, json, "wall_s");
  if (!status) status = read_reals(e, &out->cpu_s, &cpu, arena, json, "cpu_s");
  if (!status) status = read_reals(e, &out->reference_s, &out->reference_count, arena, json, "reference_s");
  if (!status && (cpu != out->count || !cpu || !out->reference_count))
    status = etk_fail(e, ETK_E_FORMAT, "a round has %zu wall times, %zu CPU times and %zu of the reference loop", out->count, cpu, out->reference_count);
  return status;
}

static void read_head(struct bench_entry *entry, const json_t *json) {
  const json_t *work = json_object_get(json, "work");
  entry->repeats = int_of(json, "repeats");
  entry->work = (etk_bench_work){.items = int_of(work, "items"), .flops = int_of(work, "flops"), .bytes = int_of(work, "bytes")};
  int64_t peak = int_of(json, "peak_rss_bytes");
  if (peak >= entry->peak_bytes) entry->peak_bytes = peak, entry->before_bytes = int_of(json, "before_rss_bytes");
}

etk_status bench_round_read(etk_error *e, struct bench_entry *entry, struct bench_round *out, etk_arena *arena, const json_t *json) {
  *out = (struct bench_round){0};
  read_head(entry, json);
  entry->precise = entry->precise && json_is_true(json_object_get(json, "precise"));
  return read_samples(e, out, arena, json);
}

static etk_status read_entry(etk_error *e, struct bench_entry *out, etk_arena *arena, const json_t *json) {
  *out = (struct bench_entry){.name_space = text_of(arena, json, "namespace", NULL), .name = text_of(arena, json, "name", NULL),
                              .summary = text_of(arena, json, "summary", ""), .unit = text_of(arena, json, "unit", ""),
                              .plugin_version = text_of(arena, json, "plugin_version", ""), .error = text_of(arena, json, "error", NULL)};
  const json_t *rounds = json_object_get(json, "rounds");
  size_t count = json_array_size(rounds);
  if (!out->name_space || !out->name) return etk_fail(e, ETK_E_FORMAT, "a case has no \"namespace\" or no \"name\"");
  if (!json_is_array(rounds) || count > ROUNDS_MOST) return etk_fail(e, ETK_E_FORMAT, "%s:%s has no list of \"rounds\"", out->name_space, out->name);
  read_head(out, json);
  out->precise = json_is_true(json_object_get(json, "precise"));
  out->rounds = etk_arena_array(arena, count + 1, sizeof *out->rounds);
  if (!out->rounds) return etk_fail_memory(e);
  etk_status status = ETK_OK;
  for (; !status && out->round_count < count; out->round_count++)
    status = read_samples(e, &out->rounds[out->round_count], arena, json_array_get(rounds, out->round_count));
  if (!status) status = bench_entry_finish(e, out, arena);
  return status ? etk_error_while(e, status, "%s:%s", out->name_space, out->name) : ETK_OK;
}

static etk_status read_run(etk_error *e, struct bench_run *out, etk_arena *arena, const json_t *json) {
  const json_t *cases = json_object_get(json, "cases"), *hardware = json_object_get(json, "hardware");
  if (strcmp(text_of(arena, json, "kind", ""), "benchmark") || !json_is_array(cases) || json_array_size(cases) > ENTRIES_MOST)
    return etk_fail(e, ETK_E_FORMAT, "this is not the result of a benchmark run: \"kind\" or \"cases\" is missing");
  if (int_of(json, "schema_version") != SCHEMA)
    return etk_fail(e, ETK_E_UNSUPPORTED, "schema_version is %" PRId64 "; this version reads %d", int_of(json, "schema_version"), SCHEMA);
  *out = (struct bench_run){.id = text_of(arena, json, "id", ""), .started = text_of(arena, json, "started", ""), .version = text_of(arena, json, "version", ""),
                            .commit = text_of(arena, json, "commit", NULL), .chip = text_of(arena, hardware, "chip", "unknown"), .isa = text_of(arena, hardware, "isa", ""),
                            .threads = (int)int_of(hardware, "threads"), .path = out->path};
  const json_t *words = json_object_get(json, "argv");
  out->argv = etk_arena_array(arena, json_array_size(words) + 1, sizeof *out->argv);
  out->entries = etk_arena_array(arena, json_array_size(cases) + 1, sizeof *out->entries);
  if (!out->entries || !out->argv) return etk_fail_memory(e);
  for (; out->argc < json_array_size(words); out->argc++) {
    const json_t *word = json_array_get(words, out->argc);
    out->argv[out->argc] = json_is_string(word) ? etk_arena_strdup(arena, json_string_value(word)) : "";
  }
  etk_status status = ETK_OK;
  for (; !status && out->count < json_array_size(cases); out->count++) status = read_entry(e, &out->entries[out->count], arena, json_array_get(cases, out->count));
  return status;
}

etk_status bench_run_parse(etk_error *e, struct bench_run *out, etk_arena *arena, const char *name, const char *bytes, size_t size) {
  json_error_t place;
  *out = (struct bench_run){.path = etk_arena_strdup(arena, name)};
  json_t *json = json_loadb(bytes, size, JSON_REJECT_DUPLICATES, &place);
  if (!json) return etk_fail(e, ETK_E_FORMAT, "%s:%d:%d: not JSON: %s", name, place.line, place.column, place.text);
  etk_status status = read_run(e, out, arena, json);
  json_decref(json);
  return status ? etk_error_while(e, status, "%s", name) : ETK_OK;
}

etk_status bench_run_load(etk_error *e, struct bench_run *out, struct host *host, const char *path) {
  char *bytes;
  size_t size;
  etk_status status = etk_fs_read(e, &bytes, &size, path, FILE_MOST);
  if (status) return status;
  status = bench_run_parse(e, out, &host->arena, path, bytes, size);
  etk_free(bytes);
  return status;
}

/* ---- the folder ---- */

static const char *folder(etk_error *e, struct host *host, const char *inner) {
  const char *state = state_dir(e, host);
  const char *path = state ? etk_arena_printf(&host->arena, "%s/benchmarks%s%s", state, *inner ? "/" : "", inner) : NULL;
  if (state && !path) etk_fail_memory(e);
  return path;
}

static bool new_id(char *out, size_t size, const char *started) {
  static const char letters[] = "23456789abcdefghijkmnpqrstuvwxyz";
  unsigned char random[6];
  char digits[24];
  size_t used = 0;
  for (const char *p = started; *p && *p != 'Z' && used + 1 < sizeof digits; p++) /* with milliseconds, so that runs of one second sort too */
    if (*p != '-' && *p != ':') digits[used++] = *p;
  digits[used] = 0;
  if (getentropy(random, sizeof random)) return false;
  snprintf(out, size, "%sZ-%c%c%c%c%c%c", digits, letters[random[0] & 31], letters[random[1] & 31], letters[random[2] & 31], letters[random[3] & 31],
           letters[random[4] & 31], letters[random[5] & 31]);
  return true;
}

etk_status bench_run_begin(etk_error *e, struct bench_run *out, struct host *host, int argc, char **argv) {
  static etk_hardware hardware; /* some kilobytes */
  char started[40], id[64], cwd[PATH_MAX];
  struct git_state git;
  etk_arena *arena = &host->arena;
  etk_hardware_get(&hardware);
  iso_time(started, sizeof started, unix_ms()); /* a label: durations are taken from monotonic clocks */
  if (!new_id(id, sizeof id, started)) return etk_fail_errno(e, errno, "no random numbers for an id");
  *out = (struct bench_run){.id = etk_arena_strdup(arena, id), .started = etk_arena_strdup(arena, started), .chip = etk_arena_strdup(arena, hardware.chip),
                            .isa = etk_isa_name(etk_isa_active()), .version = ETK_VERSION, .threads = etk_parallel_threads(),
                            .argv = etk_arena_array(arena, (size_t)argc + 1, sizeof *out->argv)};
  if (getcwd(cwd, sizeof cwd) && git_read(&git, cwd)) out->commit = etk_arena_strdup(arena, git.commit);
  if (!out->id || !out->started || !out->chip || !out->argv) return etk_fail_memory(e);
  for (int i = 0; i < argc; i++) out->argv[out->argc++] = argv[i];
  return ETK_OK;
}

static etk_status write_run(etk_error *e, const struct bench_run *run, const char *dir, const char *path, bool replace) {
  etk_text text = ETK_TEXT_INIT;
  etk_status status = etk_fs_make_dirs(e, dir);
  bench_run_json(&text, run, true);
  etk_text_putc(&text, '\n');
  if (!status) status = text.failed ? etk_fail_memory(e) : etk_fs_write(e, path, text.data, text.size, replace);
  etk_text_free(&text);
  return status;
}

etk_status bench_store(etk_error *e, struct bench_run *run, struct host *host) {
  const char *dir = folder(e, host, "");
  if (!dir) return e->status;
  run->path = etk_arena_printf(&host->arena, "%s/%s.json", dir, run->id);
  return run->path ? write_run(e, run, dir, run->path, false) : etk_fail_memory(e);
}

static bool legal_baseline(const char *name) {
  size_t size = strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-");
  return size && size <= 64 && !name[size] && name[0] != '.' && name[0] != '-';
}

static const char *baseline_path(etk_error *e, struct host *host, const char **dir, const char *name) {
  if (!legal_baseline(name)) {
    etk_fail(e, ETK_E_USAGE, "'%s' is no name for a baseline: letters, digits, '.', '_' and '-', at most 64, are", name);
    return NULL;
  }
  *dir = folder(e, host, "baselines");
  const char *path = *dir ? etk_arena_printf(&host->arena, "%s/%s.json", *dir, name) : NULL;
  if (*dir && !path) etk_fail_memory(e);
  return path;
}

etk_status bench_baseline_save(etk_error *e, const struct bench_run *run, struct host *host, const char *name) {
  const char *dir, *path = baseline_path(e, host, &dir, name);
  return path ? write_run(e, run, dir, path, true) : e->status;
}

/* Names without ".json" of a folder's files, sorted: the ids sort by time. */
static etk_status names_in(etk_error *e, const char ***out, size_t *count, struct host *host, const char *dir) {
  char **names = NULL;
  size_t all = 0;
  *count = 0, *out = NULL;
  if (!etk_fs_is_dir(dir)) return ETK_OK;
  etk_status status = etk_fs_list(e, &names, &all, dir);
  if (status) return status;
  *out = etk_arena_array(&host->arena, all + 1, sizeof **out);
  for (size_t i = 0; *out && i < all; i++) {
    size_t size = strlen(names[i]);
    if (size > 5 && names[i][0] != '.' && !strcmp(names[i] + size - 5, ".json")) (*out)[(*count)++] = etk_arena_strndup(&host->arena, names[i], size - 5);
  }
  etk_fs_list_free(names, all);
  return *out ? ETK_OK : etk_fail_memory(e);
}

etk_status bench_baseline_load(etk_error *e, struct bench_run *out, struct host *host, const char *name) {
  const char *dir, **names, *path = baseline_path(e, host, &dir, name);
  size_t count;
  if (!path) return e->status;
  if (etk_fs_exists(path)) return bench_run_load(e, out, host, path);
  etk_status status = names_in(e, &names, &count, host, dir);
  if (status) return status;
  const char *near = count ? etk_text_suggest(name, names, count) : NULL;
  return etk_fail(e, ETK_E_NOT_FOUND, "there is no baseline '%s'%s%s%s; benchmark --save-baseline %s makes one", name, near ? "; did you mean '" : "", near ? near : "",
                  near ? "'?" : "", name);
}

etk_status bench_find(etk_error *e, struct bench_run *out, struct host *host, const char *name) {
  const char **ids, *found = NULL, *dir;
  size_t count, fits = 0;
  if (strchr(name, '/') || (strlen(name) > 5 && !strcmp(name + strlen(name) - 5, ".json"))) return bench_run_load(e, out, host, name);
  if (!(dir = folder(e, host, ""))) return e->status;
  etk_status status = names_in(e, &ids, &count, host, dir);
  if (status) return status;
  for (size_t i = 0; i < count; i++) {
    bool latest = !strcmp(name, "latest") && i + 1 == count;
    if (!latest && strncmp(ids[i], name, strlen(name))) continue;
    found = ids[i];
    fits++;
    if (latest || !strcmp(ids[i], name)) { fits = 1; break; }
  }
  if (!fits) return etk_fail(e, ETK_E_NOT_FOUND, "no stored benchmark run begins with '%s'; there are %zu in %s", name, count, dir);
  if (fits > 1) return etk_fail(e, ETK_E_USAGE, "'%s' is the beginning of %zu stored benchmark runs; write more of it", name, fits);
  const char *path = etk_arena_printf(&host->arena, "%s/%s.json", dir, found);
  return path ? bench_run_load(e, out, host, path) : etk_fail_memory(e);
}

etk_status bench_history(etk_error *e, struct bench_run **out, size_t *count, struct host *host, const char *chip, int threads) {
  const char **ids, *dir = folder(e, host, "");
  size_t all;
  *out = NULL, *count = 0;
  if (!dir) return e->status;
  etk_status status = names_in(e, &ids, &all, host, dir);
  if (status || !all) return status;
  *out = etk_arena_array(&host->arena, all, sizeof **out);
  if (!*out) return etk_fail_memory(e);
  for (size_t i = 0; i < all; i++) {
    etk_error broken = ETK_ERROR_INIT;
    struct bench_run *run = &(*out)[*count];
    const char *path = etk_arena_printf(&host->arena, "%s/%s.json", dir, ids[i]);
    if (!path) return etk_fail_memory(e);
    if (bench_run_load(&broken, run, host, path)) host_warn(host, "%s; it is left out", broken.message);
    else if (!strcmp(run->chip, chip) && run->threads == threads) ++*count;
  }
  return ETK_OK;
}
