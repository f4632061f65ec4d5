/* demo: a project with every kind of argument and option, and a command for each way to end. The scripts of tests/cli build it. */
#define _GNU_SOURCE
#include <etk/project.h>

#include <fcntl.h>
#include <inttypes.h>
#include <math.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#define KINDS_ARGS(ARG)                                       \
  ARG(text, word, REQUIRED, "1..40", "a word")                \
  ARG(int, number, OPTIONAL, "-100..100", "a number")         \
  ARG(real, rest, VARIADIC, "", "more numbers")
#define KINDS_OPTIONS(OPT)                                                                               \
  OPT(int, whole, "3", "1..9", "basic", "n", 0, "a whole number")                                        \
  OPT(real, ratio, "0.5", "0<..1", "basic", "r fraction", 0, "a ratio")                                  \
  OPT(flag, loud, "no", "", "basic", "l", 0, "a flag")                                                   \
  OPT(flag, sure, "yes", "", "basic", "s", 0, "a flag that is on")                                       \
  OPT(text, note, "-", "..20", "basic", "", 0, "a text")                                                 \
  OPT(path, file, "-", "exists", "basic", "f", 0, "a file that is there")                                \
  OPT(path, out, "-", "new", "basic", "", 0, "a file to write")                                          \
  OPT(choice, method, "linear", "linear|cosine|constant", "deep.er", "", 0, "a choice")                  \
  OPT(secret, key, "-", "", "basic", "", 0, "a secret")                                                  \
  OPT(size, memory, "1MiB", "1KiB..4GiB", "deep.er", "", ETK_ADVANCED, "a size")                         \
  OPT(duration, wait, "1s", "..1h", "", "", 0, "a duration")                                             \
  OPT(ints, ints, "1,2", "0..", "lists", "", 0, "whole numbers")                                         \
  OPT(reals, reals, "", "", "lists", "", 0, "numbers")                                                   \
  OPT(texts, texts, "-", "", "lists", "t tag", 0, "texts")                                               \
  OPT(map, map, "-", "", "lists", "", 0, "pairs")                                                        \
  OPT(int, local, "7", "", "basic", "", ETK_LOCAL, "command line only")                                  \
  OPT(int, unset, "-", "", "basic", "", 0, "has no default")
#define TRAIN_OPTIONS(OPT)                                                     \
  OPT(int, steps, "5", "0..1000000000", "training", "", 0, "steps")            \
  OPT(path, output, "-", "", "training", "", 0, "a folder to write")           \
  OPT(flag, slow, "no", "", "training", "", 0, "a pause at every step")
#define SPEAK_ARGS(ARG) ARG(text, text, OPTIONAL, "", "what to say")
#define FAIL_OPTIONS(OPT) OPT(int, status, "8", "", "", "", 0, "what to return") OPT(flag, silent, "no", "", "", "", 0, "say nothing")
#define CRASH_ARGS(ARG) ARG(choice, how, REQUIRED, "segv|abort|bus|fpe|thread", "the signal")
#define COMMANDS(CMD)                                                              \
  CMD(kinds, KINDS_ARGS, KINDS_OPTIONS, 0, "Tell every value as it arrived")       \
  CMD(train, ETK_NONE, TRAIN_OPTIONS, ETK_TRACKED, "Pretend to learn")             \
  CMD(speak, SPEAK_ARGS, ETK_NONE, 0, "Say something piece by piece")              \
  CMD(table, ETK_NONE, ETK_NONE, 0, "Results of every sort")                       \
  CMD(empty_command, ETK_NONE, ETK_NONE, 0, "Do nothing")                          \
  CMD(fail, ETK_NONE, FAIL_OPTIONS, ETK_TRACKED, "Fail")                           \
  CMD(crash, CRASH_ARGS, ETK_NONE, ETK_TRACKED, "Crash")                           \
  CMD(wait, ETK_NONE, ETK_NONE, ETK_TRACKED, "Wait for Ctrl-C")                    \
  CMD(threads, ETK_NONE, ETK_NONE, ETK_TRACKED, "Report from many threads")        \
  CMD(hidden, ETK_NONE, ETK_NONE, ETK_HIDDEN, "Not listed")
ETK_PROJECT("demo", "1.2.3", "A project for tests", COMMANDS)

static etk_status kinds_run(etk_run *run, const char *word, int64_t number, struct etk_reals rest, const struct kinds_options *o) {
  double sum = 0;
  int64_t whole_sum = 0;
  for (size_t i = 0; i < rest.count; i++) sum += rest.items[i];
  for (size_t i = 0; i < o->ints.count; i++) whole_sum += o->ints.items[i];
  etk_run_result_int(run, "struct_size", o->struct_size);
  etk_run_result_int(run, "expected_size", (int64_t)sizeof *o);
  etk_run_result_text(run, "word", word);
  etk_run_result_int(run, "number", number);
  etk_run_result_int(run, "rest_count", (int64_t)rest.count);
  etk_run_result_real(run, "rest_sum", sum);
  etk_run_result_int(run, "whole", o->whole);
  etk_run_result_real(run, "ratio", o->ratio);
  etk_run_result_flag(run, "loud", o->loud);
  etk_run_result_flag(run, "sure", o->sure);
  etk_run_result_text(run, "note", o->note);
  etk_run_result_text(run, "file", o->file);
  etk_run_result_text(run, "method", o->method);
  etk_run_result_int(run, "key_size", o->key ? (int64_t)strlen(o->key) : -1);
  etk_run_result_int(run, "memory", o->memory);
  etk_run_result_int(run, "wait", o->wait);
  etk_run_result_int(run, "ints_count", (int64_t)o->ints.count);
  etk_run_result_int(run, "ints_sum", whole_sum);
  etk_run_result_int(run, "reals_count", (int64_t)o->reals.count);
  etk_run_result_int(run, "texts_count", (int64_t)o->texts.count);
  etk_run_result_text(run, "last_text", o->texts.count ? o->texts.items[o->texts.count - 1] : NULL);
  etk_run_result_int(run, "map_count", (int64_t)o->map.count);
  etk_run_result_text(run, "map_first", o->map.count ? o->map.values[0] : NULL);
  etk_run_result_int(run, "unset", o->unset);
  etk_run_result_flag(run, "unset_given", etk_run_given(run, "unset"));
  etk_run_result_int(run, "whole_source", etk_run_source(run, "whole"));
  etk_run_result_flag(run, "number_given", etk_run_given(run, "number"));
  return ETK_OK;
}

static etk_status train_run(etk_run *run, const struct train_options *o) {
  etk_run_log(run, 1, "training begins, password: hunter2");
  for (int64_t step = 1; step <= o->steps; step++) {
    if (etk_run_cancelled(run)) return etk_run_fail(run, ETK_E_CANCELLED, "stopped at step %" PRId64, step);
    etk_run_metric(run, "train_loss", step, 1.0 / (double)step);
    if (step == 3) etk_run_metric(run, "odd", step, NAN);
    etk_run_progress(run, "train", step, o->steps, "loss falls");
    if (o->slow) {
      struct timespec pause = {0, 20000000};
      nanosleep(&pause, NULL);
    }
  }
  if (o->output) {
    FILE *file = fopen(o->output, "w");
    if (!file) return etk_run_fail(run, ETK_E_IO, "cannot write %s", o->output);
    fputs("abc", file);
    fclose(file);
    etk_run_artifact(run, o->output, "model");
  }
  etk_run_result_real(run, "final_loss", o->steps ? 1.0 / (double)o->steps : 0);
  etk_run_result_flag(run, "has_run_dir", etk_run_dir(run) != NULL);
  return ETK_OK;
}

static etk_status speak_run(etk_run *run, const char *text, const struct speak_options *o) {
  (void)o;
  text = text ? text : "h\xC3\xA9llo world";
  for (const char *p = text; *p; p++) etk_run_text(run, p, 1);
  etk_run_result_text(run, "text", text);
  etk_run_result_int(run, "tokens", (int64_t)strlen(text));
  return ETK_OK;
}

static etk_status table_run(etk_run *run, const struct table_options *o) {
  (void)o;
  for (int64_t i = 0; i < 3; i++) {
    etk_cell row[] = {etk_cell_text("name", i == 1 ? "Zürich" : "a"), etk_cell_int("count", i * 100), etk_cell_real("share", (double)i / 3), etk_cell_flag("new", i == 2)};
    etk_run_result_row(run, "cities", row, 4);
  }
  etk_run_result_real(run, "nothing", NAN);
  etk_run_result_int(run, "twice", 1);
  etk_run_result_int(run, "twice", 2);
  if (etk_run_result_json(run, "shape", "{ \"a\" : [1, 2.50] }")) return etk_run_fail(run, ETK_E_INTERNAL, "sound JSON was refused");
  if (!etk_run_result_json(run, "bad", "{\"a\":")) return etk_run_fail(run, ETK_E_INTERNAL, "broken JSON was taken");
  return ETK_OK;
}

static etk_status empty_command_run(etk_run *run, const struct empty_command_options *o) {
  (void)run, (void)o;
  return ETK_OK;
}

static etk_status fail_run(etk_run *run, const struct fail_options *o) {
  if (o->silent) return (etk_status)o->status;
  etk_run_fail(run, (etk_status)o->status, "the first reason");
  return etk_run_fail(run, (etk_status)o->status, "the second reason");
}

static void *fault(void *unused) {
  volatile int *nowhere = NULL;
  (void)unused;
  *nowhere = 1;
  return NULL;
}

static etk_status crash_run(etk_run *run, const char *how, const struct crash_options *o) {
  (void)o;
  etk_run_metric(run, "before", 1, 0.5);
  if (!strcmp(how, "segv")) fault(NULL);
  if (!strcmp(how, "abort")) abort();
  if (!strcmp(how, "fpe")) raise(SIGFPE);
  if (!strcmp(how, "thread")) {
    pthread_t thread;
    if (!pthread_create(&thread, NULL, fault, NULL)) pthread_join(thread, NULL);
  }
  if (!strcmp(how, "bus")) {
    char name[] = "/tmp/etk-demo-XXXXXX";
    int fd = mkstemp(name);
    if (fd < 0 || ftruncate(fd, 8192)) return ETK_E_IO;
    char *map = mmap(NULL, 8192, PROT_READ, MAP_SHARED, fd, 0);
    if (map == MAP_FAILED || ftruncate(fd, 0)) return ETK_E_IO;
    unlink(name);
    return map[5000] ? ETK_OK : ETK_E_IO;
  }
  return ETK_OK;
}

static etk_status wait_run(etk_run *run, const struct wait_options *o) {
  (void)o;
  etk_run_metric(run, "waiting", 1, 1);
  for (int i = 0; i < 500; i++) {
    struct timespec pause = {0, 20000000};
    if (etk_run_cancelled(run)) return ETK_E_CANCELLED;
    if (i == 0) {
      static const char ready[] = "ready\n"; /* the test waits for this word */
      if (write(2, ready, sizeof ready - 1) < 0) return ETK_E_IO;
    }
    nanosleep(&pause, NULL);
  }
  return ETK_OK;
}

static void *report(void *user) {
  etk_run *run = user;
  for (int i = 0; i < 200; i++) {
    etk_run_metric(run, "shared", i, i);
    etk_run_progress(run, "threads", i, 200, NULL);
    if (i % 50 == 0) etk_run_log(run, 1, "at %d", i);
    if (etk_run_cancelled(run)) break;
  }
  return NULL;
}

static etk_status threads_run(etk_run *run, const struct threads_options *o) {
  pthread_t threads[4];
  (void)o;
  for (int i = 0; i < 4; i++)
    if (pthread_create(&threads[i], NULL, report, run)) return ETK_E_INTERNAL;
  for (int i = 0; i < 4; i++) pthread_join(threads[i], NULL);
  etk_run_result_int(run, "reports", 800);
  return ETK_OK;
}

static etk_status hidden_run(etk_run *run, const struct hidden_options *o) {
  (void)run, (void)o;
  return ETK_OK;
}
