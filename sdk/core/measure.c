/* measure.c: what this machine's memory and arithmetic reach, and the file that keeps it. */
#include "etk/alloc.h"
#include "etk/config.h"
#include "etk/fs.h"
#include "etk/parallel.h"
#include "hardware_internal.h"
#include <stddef.h>
#include <sys/mman.h>
#include <time.h>

enum { ALIGNMENT = 4096, ROUND_NS = 5000000, ENTRIES_MOST = 64 };

/* One round of something on every thread. `work` is what a slot did: operations, or bytes. */
typedef struct round_work {
  etk_peak peak;
  void (*sum)(const void *data, size_t bytes, uint64_t *sum);
  int64_t rounds;
  char *from, *to;     /* memory: a slice of `slice` bytes for each slot */
  size_t slice;
  int slots;
  bool copy;
  double *work;        /* one for each slot, a cache line apart */
} round_work;
enum { APART = 16 };

static void compute(void *user, int64_t begin, int64_t end, int slot) {
  round_work *w = user;
  for (int64_t i = begin; i < end; i++) w->work[slot * APART] = w->peak(w->rounds);
}

static void touch(void *user, int64_t begin, int64_t end, int slot) {
  round_work *w = user;
  (void)slot;
  for (int64_t i = begin; i < end; i++) {
    memset(w->from + (size_t)i * w->slice, 1, w->slice);
    memset(w->to + (size_t)i * w->slice, 2, w->slice);
  }
}

static void stream(void *user, int64_t begin, int64_t end, int slot) {
  round_work *w = user;
  uint64_t sum = 0;
  for (int64_t i = begin; i < end; i++) {
    char *from = w->from + (size_t)i * w->slice;
    if (w->copy) memcpy(w->to + (size_t)i * w->slice, from, w->slice);
    else w->sum(from, w->slice, &sum);
  }
  w->work[slot * APART] = (double)sum;
}

static double run(round_work *w, int threads, etk_parallel_body body, double *work) {
  int64_t begin = etk_time_ns();
  if (threads == 1) body(w, 0, w->slots, 0);
  else etk_parallel_for(w->slots, 1, body, w);
  double seconds = (double)(etk_time_ns() - begin) / 1e9;
  *work = 0;
  for (int i = 0; i < w->slots; i++) *work += w->work[i * APART];
  return seconds;
}

/* The best operations per second of rounds of about ROUND_NS, for about `seconds`. */
static double best_peak(etk_peak peak, int threads, double seconds, double *room) {
  if (!peak) return 0;
  round_work w = {.peak = peak, .rounds = 1000, .slots = threads, .work = room};
  double best = 0, spent = 0, work;
  while (spent < seconds || best == 0) {
    double took = run(&w, threads, compute, &work);
    spent += took;
    if (took < ROUND_NS / 1e9 / 2 && w.rounds < INT64_C(1) << 40) {
      w.rounds *= 2;
      continue;
    }
    if (took > 0 && work / took > best) best = work / took;
  }
  return best;
}

static double best_stream(round_work *w, bool copy, double seconds) {
  double best = 0, spent = 0, sum, bytes = (double)w->slice * w->slots * (copy ? 2 : 1);
  w->copy = copy;
  for (int i = 0; i < 3 || spent < seconds; i++) {
    double took = run(w, w->slots, stream, &sum);
    spent += took;
    if (took > 0 && bytes / took > best) best = bytes / took;
  }
  return best;
}

/* Far beyond what caches hold, and no more than an eighth of what is free for each of the two buffers. */
static size_t buffer_bytes(const etk_hardware *h, int threads) {
  int64_t caches = h->l3_bytes, sharing = h->l3_sharing > 0 ? h->l3_sharing : h->logical_cores;
  if (sharing > 0 && h->logical_cores > sharing) caches *= (h->logical_cores + sharing - 1) / sharing;
  if (h->l3_bytes == 0) caches = h->l2_bytes * (h->physical_cores > 0 ? h->physical_cores : 1);
  int64_t wanted = caches * 4, least = INT64_C(128) << 20, most = h->memory_available_bytes > 0 ? h->memory_available_bytes / 8 : least;
  if (wanted < least) wanted = least;
  if (wanted > INT64_C(4) << 30) wanted = INT64_C(4) << 30;
  if (wanted > most) wanted = most;
  int64_t unit = (int64_t)ALIGNMENT * threads;
  return (size_t)(wanted / unit < 1 ? 1 : wanted / unit) * (size_t)unit;
}

static etk_status measure_memory(etk_error *e, etk_hardware_limits *out, const etk_hardware *h, double seconds, double *room) {
  round_work w = {.sum = etk__peaks(h->isa_features).sum, .slots = out->threads, .work = room};
  size_t bytes = buffer_bytes(h, out->threads);
  w.slice = bytes / (size_t)out->threads;
  w.from = etk_alloc_aligned(bytes, ALIGNMENT);
  w.to = etk_alloc_aligned(bytes, ALIGNMENT);
  if (w.from && w.to) {
    double sum;
#if defined(MADV_HUGEPAGE)
    madvise(w.from, bytes, MADV_HUGEPAGE);
    madvise(w.to, bytes, MADV_HUGEPAGE);
#endif
    seconds -= run(&w, w.slots, touch, &sum); /* by the thread that will read it: its memory node's pages */
    out->read_bytes_per_s = best_stream(&w, false, seconds / 2);
    out->copy_bytes_per_s = best_stream(&w, true, seconds / 2);
  }
  bool failed = !w.from || !w.to;
  etk_free(w.from);
  etk_free(w.to);
  return failed ? etk_fail(e, ETK_E_NO_MEMORY, "out of memory: two buffers of %zu bytes are needed to measure memory bandwidth", bytes) : ETK_OK;
}

static int64_t unix_ms(void) {
  struct timespec now;
  return clock_gettime(CLOCK_REALTIME, &now) == 0 ? (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000 : 0;
}

etk_status etk_hardware_measure(etk_error *e, etk_hardware_limits *out, double seconds) {
  memset(out, 0, sizeof *out);
  if (!(seconds >= 0 && seconds <= 3600)) return etk_fail(e, ETK_E_INVALID, "seconds to measure are %g, wanted 0 to 3600", seconds);
  if (seconds == 0) seconds = 1.5;
  etk_hardware h;
  etk_hardware_read_from(&h, sizeof h, etk_hardware_without_devices());
  out->threads = etk_parallel_threads();
  double *room = etk_calloc((size_t)out->threads * APART, sizeof *room);
  if (!room) return etk_fail_memory(e);
  etk_peaks peaks = etk__peaks(h.isa_features);
  etk_status status = measure_memory(e, out, &h, seconds * 0.5, room);
  if (!status) {
    out->f32_flops_per_s_core = best_peak(peaks.f32, 1, seconds * 0.1, room);
    out->f32_flops_per_s = out->threads == 1 ? out->f32_flops_per_s_core : best_peak(peaks.f32, out->threads, seconds * 0.1, room);
    out->bf16_flops_per_s = best_peak(peaks.bf16, out->threads, seconds * 0.1, room);
    out->int8_ops_per_s = best_peak(peaks.int8, out->threads, seconds * 0.1, room);
    out->measured_unix_ms = unix_ms();
    snprintf(out->chip, sizeof out->chip, "%s", h.chip);
  }
  etk_free(room);
  return status;
}

/* ---- kept: {"schema_version": 1, "limits": [{"chip", "threads", …}]}, one entry for each chip and thread count, for a home folder may be shared ---- */
static char *limits_path(void) {
  char *cache = etk_path_xdg("cache"), *folder = cache ? etk_path_join(cache, "efficientai-toolkit") : NULL;
  char *path = folder ? etk_path_join(folder, "limits.json") : NULL;
  etk_free(folder);
  etk_free(cache);
  return path;
}

static const struct {
  const char *key;
  size_t offset;
} rates[] = {
#define R(name) {#name, offsetof(etk_hardware_limits, name)}
    R(read_bytes_per_s), R(copy_bytes_per_s), R(f32_flops_per_s), R(f32_flops_per_s_core), R(bf16_flops_per_s), R(int8_ops_per_s),
#undef R
};
enum { RATES = sizeof rates / sizeof rates[0] };

static double *rate(etk_hardware_limits *limits, size_t i) { return (double *)(void *)((char *)limits + rates[i].offset); }

static etk_status read_entry(etk_error *e, const etk_config *config, const etk_config_node *node, etk_hardware_limits *out) {
  const char *chip = NULL;
  int64_t threads = 0;
  memset(out, 0, sizeof *out);
  etk_status status = etk_config_get_text(e, config, node, "chip", &chip);
  if (!status) status = etk_config_get_int(e, config, node, "threads", &threads);
  if (!status) status = etk_config_get_int(e, config, node, "measured_unix_ms", &out->measured_unix_ms);
  for (size_t i = 0; !status && i < RATES; i++) status = etk_config_get_real(e, config, node, rates[i].key, rate(out, i));
  if (status) return status;
  if (!chip || threads < 1 || threads > 1 << 20) return etk_fail(e, ETK_E_FORMAT, "%s: an entry without chip and threads", etk_config_name(config));
  COPY(out->chip, chip);
  out->threads = (int)threads;
  return ETK_OK;
}

static bool same(const etk_hardware_limits *a, const etk_hardware_limits *b) { return a->threads == b->threads && strcmp(a->chip, b->chip) == 0; }

/* The entries of the file; none where there is no file. */
static etk_status read_entries(etk_error *e, etk_hardware_limits *entries, size_t *count, const char *path) {
  etk_config *config;
  *count = 0;
  if (!etk_fs_exists(path)) return ETK_OK;
  etk_status status = etk_config_load(e, &config, path);
  if (status) return status;
  const etk_config_node *list = etk_config_child(etk_config_root(config), "limits");
  if (!list || list->kind != ETK_CONFIG_LIST) status = etk_fail(e, ETK_E_FORMAT, "%s: no list 'limits'; remove the file and measure again", path);
  for (const etk_config_node *node = status ? NULL : list->first; node && !status && *count < ENTRIES_MOST; node = node->next) {
    if (node->kind != ETK_CONFIG_MAP) status = etk_fail(e, ETK_E_FORMAT, "%s: an entry of 'limits' is not a map; remove the file and measure again", path);
    else status = read_entry(e, config, node, &entries[(*count)++]);
  }
  etk_config_free(config);
  return status;
}

static etk_status no_home(etk_error *e) {
  return etk_fail(e, ETK_E_NOT_FOUND, "no folder for measured limits: neither XDG_CACHE_HOME nor HOME is set");
}

etk_status etk_hardware_limits_load(etk_error *e, etk_hardware_limits *out) {
  memset(out, 0, sizeof *out);
  char *path = limits_path();
  if (!path) return no_home(e);
  size_t count;
  etk_hardware_limits *entries = etk_calloc(ENTRIES_MOST, sizeof *entries);
  etk_status status = entries ? read_entries(e, entries, &count, path) : etk_fail_memory(e);
  if (!status) {
    etk_hardware h;
    etk_hardware_limits here;
    memset(&here, 0, sizeof here);
    etk__read_chip(&h, etk_hardware_without_devices());
    snprintf(here.chip, sizeof here.chip, "%s", h.chip);
    here.threads = etk_parallel_threads();
    status = etk_fail(e, ETK_E_NOT_FOUND, "nothing measured yet for '%s' with %d threads; `info --measure` does", here.chip, here.threads);
    for (size_t i = 0; i < count && status; i++)
      if (same(&entries[i], &here)) *out = entries[i], status = ETK_OK;
    if (!status) etk_error_clear(e);
  }
  etk_free(entries);
  etk_free(path);
  return status;
}

static void put_entry(etk_text *out, etk_hardware_limits *limits) {
  etk_text_puts(out, "  {\"chip\": ");
  etk_text_json(out, limits->chip, strlen(limits->chip));
  etk_text_printf(out, ", \"threads\": %d, \"measured_unix_ms\": %lld", limits->threads, (long long)limits->measured_unix_ms);
  for (size_t i = 0; i < RATES; i++) {
    etk_text_printf(out, ", \"%s\": ", rates[i].key);
    etk_text_real(out, *rate(limits, i));
  }
  etk_text_putc(out, '}');
}

/* A file that cannot be read is replaced: it holds nothing that measuring again would not give. */
static etk_status write_entries(etk_error *e, const char *path, const etk_hardware_limits *limits) {
  etk_hardware_limits *entries = etk_calloc(ENTRIES_MOST + 1, sizeof *entries);
  if (!entries) return etk_fail_memory(e);
  size_t count = 0;
  if (read_entries(NULL, entries, &count, path)) count = 0;
  size_t at = 0;
  while (at < count && !same(&entries[at], limits)) at++;
  if (at == count && count == ENTRIES_MOST) memmove(entries, entries + 1, --count * sizeof *entries), at = count; /* the oldest goes */
  entries[at] = *limits;
  if (at == count) count++;
  etk_text text = ETK_TEXT_INIT;
  etk_text_puts(&text, "{\"schema_version\": 1, \"limits\": [\n");
  for (size_t i = 0; i < count; i++) {
    put_entry(&text, &entries[i]);
    etk_text_puts(&text, i + 1 < count ? ",\n" : "\n");
  }
  etk_text_puts(&text, "]}\n");
  etk_status status = text.failed ? etk_fail_memory(e) : etk_fs_write(e, path, text.data, text.size, true);
  etk_text_free(&text);
  etk_free(entries);
  return status;
}

etk_status etk_hardware_limits_save(etk_error *e, const etk_hardware_limits *limits) {
  char *path = limits_path(), *folder = path ? etk_path_dir(path) : NULL;
  etk_status status = !path ? no_home(e) : !folder ? etk_fail_memory(e) : etk_fs_make_dirs(e, folder);
  if (!status) status = write_entries(e, path, limits);
  etk_free(folder);
  etk_free(path);
  return status;
}
