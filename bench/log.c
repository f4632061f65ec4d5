/* log: what one line costs. One JSON line a case: ns of wall time a line, the least of several rounds; "met" says whether the target is.
 *   build/bench/log [LINES]      (default 200,000; the file lies in $TMPDIR) */
#include <etk/fs.h>
#include <etk/hardware.h>
#include <etk/log.h>
#include <etk/text.h>
#include <pthread.h>
#include <unistd.h>

enum { ROUNDS = 5 };
static char path[512];
static int64_t lines = 200000;

static void quiet(void *user, etk_log_level level, int64_t unix_ms, const char *message) { (void)user, (void)level, (void)unix_ms, (void)message; }

static void one(int64_t i) { etk_log(ETK_LOG_INFO, "step %lld of the training is done in %d ms", (long long)i, 12); }

static void with_fields(int64_t i) {
  const etk_log_field fields[] = {{.name = "step", .kind = ETK_LOG_FIELD_INT, .integer = i},
                                  {.name = "loss", .kind = ETK_LOG_FIELD_REAL, .real = 1.25},
                                  {.name = "optimizer", .kind = ETK_LOG_FIELD_TEXT, .text = "adamw"},
                                  {.name = "saved", .kind = ETK_LOG_FIELD_FLAG, .integer = 1}};
  etk_log_event(ETK_LOG_INFO, "step done", fields, 4);
}

static void context(bool on) {
  etk_log_context("run", on ? "20261121T044902Z-3xkq2a" : NULL);
  etk_log_context("namespace", on ? "lora-finetuning-mlx" : NULL);
  etk_log_context("command", on ? "train" : NULL);
  etk_log_context("hardware", on ? "AMD EPYC 9B14, 8 cores" : NULL);
}

struct job {
  void (*line)(int64_t);
  int64_t count;
};

static void *work(void *user) {
  const struct job *job = user;
  for (int64_t i = 0; i < job->count; i++) job->line(i);
  return NULL;
}

static double measure(void (*line)(int64_t), int threads) {
  struct job job = {line, lines / threads};
  double least = 1e18;
  for (int round = 0; round < ROUNDS; round++) {
    pthread_t ids[8];
    int64_t begin = etk_time_ns();
    for (int i = 1; i < threads; i++)
      if (pthread_create(&ids[i], NULL, work, &job)) return -1;
    work(&job);
    for (int i = 1; i < threads; i++) pthread_join(ids[i], NULL);
    double ns = (double)(etk_time_ns() - begin) / (double)(job.count * threads);
    if (ns < least) least = ns;
  }
  return least;
}

static void report(const char *name, double ns, double target) {
  printf("{\"bench\":\"log\",\"case\":\"%s\",\"ns_per_line\":%.2f,\"target_ns\":%.0f,\"met\":%s}\n", name, ns, target, ns <= target ? "true" : "false");
}

/* The file's first bytes tell that lines were really written. */
static int to_file(const char *name, etk_log_format format, void (*line)(int64_t), int threads, double target) {
  etk_error e = ETK_ERROR_INIT;
  etk_log_file *file;
  unlink(path);
  etk_log_file_options options = {.struct_size = sizeof options, .path = path, .format = format, .level = ETK_LOG_INFO, .max_bytes = 32 << 20, .keep = 1};
  if (etk_log_file_open(&e, &file, &options)) {
    fprintf(stderr, "log: %s\n", e.message);
    return 1;
  }
  report(name, measure(line, threads), target);
  etk_log_file_close(file);
  if (etk_fs_exists(path)) return 0;
  fprintf(stderr, "log: nothing was written to %s\n", path);
  return 1;
}

int main(int argc, char **argv) {
  const char *folder = getenv("TMPDIR");
  if (argc > 1 && (etk_parse_int(NULL, &lines, argv[1]) || lines < 8)) {
    fprintf(stderr, "usage: log [LINES]\n");
    return 2;
  }
  snprintf(path, sizeof path, "%.400s/etk-bench-log-%ld.log", folder && *folder ? folder : "/tmp", (long)getpid());
  etk_log_set_sink(quiet, NULL);
  report("disabled", measure(one, 1), 5);
  int failed = to_file("json", ETK_LOG_JSON, one, 1, 2000);
  failed |= to_file("plain", ETK_LOG_PLAIN, one, 1, 2000);
  context(true);
  failed |= to_file("json, 4 fields and context", ETK_LOG_JSON, with_fields, 1, 2000);
  failed |= to_file("plain, 4 fields and context", ETK_LOG_PLAIN, with_fields, 1, 2000);
  failed |= to_file("json, 4 fields and context, 2 threads", ETK_LOG_JSON, with_fields, 2, 2000);
  char old[600];
  snprintf(old, sizeof old, "%s.1", path);
  unlink(old);
  unlink(path);
  return failed;
}
