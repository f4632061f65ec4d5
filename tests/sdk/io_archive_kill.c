/* Every writer of libetk and libetk-io, killed before each of its steps (create, write, sync, rename, link, remove), and told at each that the disk is
 * full: what was there is whole, or what was to come is whole, and never anything else. What a killed writer leaves is called *.tmp-* (or, where folders
 * cannot be exchanged, *.old-*), and the next writer clears the former away. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include "core/fs_internal.h"
#include "etk/alloc.h"
#include "etk/archive.h"
#include "etk/config.h"
#include "etk/hash.h"
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

enum { LARGE = 200000 };
static char base[64], seed[128]; /* seed: what every round begins with; copied to work */
static char large[LARGE];

/* A path below the round's folder, valid until three calls later. */
static const char *at(const char *name) {
  static char paths[4][256];
  static int next;
  char *path = paths[next++ % 4];
  snprintf(path, sizeof paths[0], "%s/work/%s", base, name);
  return path;
}

/* ---- the writers ---- */

static etk_status write_file(etk_error *e) { return etk_fs_write(e, at("target"), large, LARGE, true); }

static etk_status write_pieces(etk_error *e) {
  etk_file *file;
  etk_status status = etk_file_create(e, &file, at("target"), true);
  if (status) return status;
  for (size_t done = 0; !status && done < LARGE; done += LARGE / 4) status = etk_file_write(e, file, large + done, LARGE / 4);
  if (!status) return etk_file_commit(e, file);
  etk_file_abort(file);
  return status;
}

static etk_status write_new(etk_error *e) { return etk_fs_write(e, at("fresh"), large, LARGE, false); }

static etk_status write_dir(etk_error *e) {
  etk_dir *dir;
  etk_status status = etk_dir_create(e, &dir, at("folder"), true);
  if (status) return status;
  static const char *const names[] = {"one", "two"};
  for (size_t i = 0; i < 2 && !status; i++) {
    char *path = etk_path_join(etk_dir_path(dir), names[i]);
    status = path ? etk_fs_write(e, path, large, LARGE, false) : ETK_E_NO_MEMORY;
    etk_free(path);
  }
  if (!status) return etk_dir_commit(e, dir);
  etk_dir_abort(dir);
  return status;
}

static etk_status copy_file(etk_error *e) { return etk_fs_copy(e, at("source"), at("target"), true); }
static etk_status back_up(etk_error *e) { return etk_fs_backup(e, NULL, at("source"), at("kept"), 1); }
static etk_status restore(etk_error *e) { return etk_fs_restore(e, at("target"), at("backups"), NULL); }

static etk_status save_config(etk_error *e) {
  etk_config *config;
  etk_status status = etk_config_parse(e, &config, "new", "{\"value\": [1, 2, 3]}", 20, ETK_CONFIG_JSON);
  if (status) return status;
  status = etk_config_save(e, config, at("config.yaml"));
  etk_config_free(config);
  return status;
}

static etk_status create_archive(etk_error *e) {
  static const char *const paths[] = {"tree", "source"};
  return etk_archive_create(e, at("out.tar.gz"), at("."), paths, 2, true);
}

static etk_status extract_archive(etk_error *e) { return etk_archive_extract(e, at("in.tar"), at("folder"), true, NULL); }

static const struct writer {
  const char *name;
  etk_status (*run)(etk_error *e);
  bool fallbacks; /* also without exchange and shared blocks; a kill may then leave the old folder under *.old-* */
} writers[] = {
    {"etk_fs_write", write_file, false},       {"etk_fs_write of a new file", write_new, false}, {"etk_file", write_pieces, false},
    {"etk_dir", write_dir, false},             {"etk_dir without exchange", write_dir, true},    {"etk_fs_copy", copy_file, false},
    {"etk_fs_copy by writing", copy_file, true}, {"etk_fs_backup", back_up, false},              {"etk_fs_restore", restore, false},
    {"etk_config_save", save_config, false},   {"etk_archive_create", create_archive, false},    {"etk_archive_extract", extract_archive, false},
};

/* ---- what is there: names and contents of a folder, as one hash ---- */

static bool is_left(const char *name) { return strstr(name, ".tmp-") != NULL; }
static bool is_aside(const char *name) { return strstr(name, ".old-") != NULL; }

static void add_tree(etk_sha256 *hash, const char *path, size_t *left, size_t *aside) {
  char **names;
  size_t count;
  assert_int_equal(etk_fs_list(NULL, &names, &count, path), ETK_OK);
  for (size_t i = 0; i < count; i++) {
    if (is_left(names[i])) ++*left;
    else if (is_aside(names[i])) ++*aside;
    if (is_left(names[i]) || is_aside(names[i])) continue;
    char *full = etk_path_join(path, names[i]), hex[65] = "link";
    struct stat info;
    assert_int_equal(lstat(full, &info), 0);
    /* a backup's name holds the time: its kind is enough */
    const char *dated = strstr(names[i], "_backup");
    etk_sha256_update(hash, dated ? dated : names[i], strlen(dated ? dated : names[i]) + 1);
    if (S_ISDIR(info.st_mode)) add_tree(hash, full, left, aside);
    else if (S_ISREG(info.st_mode)) assert_int_equal(etk_sha256_file(NULL, hex, NULL, full), ETK_OK);
    etk_sha256_update(hash, hex, strlen(hex) + 1);
    etk_free(full);
  }
  etk_fs_list_free(names, count);
}

typedef struct seen {
  char hex[65];
  size_t left, aside;
} seen;

static seen look(void) {
  seen s = {.left = 0};
  etk_sha256 hash;
  etk_sha256_init(&hash);
  add_tree(&hash, at("."), &s.left, &s.aside);
  etk_sha256_final(&hash, s.hex);
  return s;
}

/* ---- rounds ---- */

static void copy_tree(const char *from, const char *to) {
  char **names;
  size_t count;
  assert_int_equal(mkdir(to, 0755), 0);
  assert_int_equal(etk_fs_list(NULL, &names, &count, from), ETK_OK);
  for (size_t i = 0; i < count; i++) {
    char *a = etk_path_join(from, names[i]), *b = etk_path_join(to, names[i]);
    if (etk_fs_is_dir(a)) copy_tree(a, b);
    else assert_int_equal(link(a, b), 0); /* writers never write into a file that is there */
    etk_free(a);
    etk_free(b);
  }
  etk_fs_list_free(names, count);
  const struct timespec times[2] = {{.tv_sec = 1000000000}, {.tv_sec = 1000000000}}; /* an archive holds them */
  assert_int_equal(utimensat(AT_FDCWD, to, times, 0), 0);
}

static void begin_round(void) {
  assert_int_equal(etk_fs_remove_tree(NULL, at("")), ETK_OK);
  char work[128];
  snprintf(work, sizeof work, "%s/work", base);
  copy_tree(seed, work);
}

typedef struct trap {
  long left;
  int error; /* 0: kill */
  bool sprung;
} trap;

static int spring(void *user, const char *step) {
  trap *t = user;
  if (t->error && strcmp(step, "remove") == 0) return 0; /* a full disk lets one remove */
  if (t->left <= 0 || --t->left > 0) return 0;
  t->sprung = true;
  if (!t->error) raise(SIGKILL);
  return t->error;
}

/* Runs the writer in a child: -1 where it was killed, else its status. */
static int run_child(const struct writer *w, long nth, bool limited) {
  fflush(NULL);
  pid_t child = fork();
  assert_true(child >= 0);
  if (child == 0) {
    trap t = {.left = nth};
    signal(SIGXFSZ, SIG_IGN);
    struct rlimit limit = {65536, 65536};
    if (limited && setrlimit(RLIMIT_FSIZE, &limit) != 0) _exit(99);
    etk__fs_force_fallbacks(w->fallbacks);
    if (nth) etk_fs_set_step_hook(spring, &t);
    _exit(w->run(NULL));
  }
  int status;
  assert_int_equal(waitpid(child, &status, 0), child);
  if (WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL) return -1;
  assert_true(WIFEXITED(status));
  return WEXITSTATUS(status);
}

/* Both whole states of this writer: before, and after it ran undisturbed. */
static void both_states(const struct writer *w, seen *before, seen *after) {
  begin_round();
  *before = look();
  assert_int_equal(run_child(w, 0, false), 0);
  *after = look();
  assert_int_equal(after->left + after->aside, 0);
  assert_string_not_equal(before->hex, after->hex);
}

/* A step of its own between the two: a backup that is made, but the old one still there, or kept before a restore. Both files are whole in it. */
static bool is_between(const struct writer *w, const char *hex) {
  static char known[2][65];
  if (w->run != back_up && w->run != restore) return false;
  begin_round();
  int i = w->run == back_up;
  char *bytes;
  size_t size;
  etk_status status = etk_fs_backup(NULL, NULL, i ? at("source") : at("target"), i ? at("kept") : at("backups"), 0);
  assert_int_equal(status, ETK_OK);
  memcpy(known[i], look().hex, 65);
  assert_int_equal(etk_fs_read(NULL, &bytes, &size, i ? at("source") : at("target"), 1 << 20), ETK_OK);
  etk_free(bytes);
  return strcmp(known[i], hex) == 0;
}

static void a_kill_at_any_step_leaves_the_old_or_the_new(void **state) {
  (void)state;
  for (size_t i = 0; i < sizeof writers / sizeof *writers; i++) {
    const struct writer *w = &writers[i];
    seen before, after;
    both_states(w, &before, &after);
    long nth = 1, olds = 0, news = 0;
    for (;; nth++) {
      begin_round();
      int result = run_child(w, nth, false);
      seen s = look();
      bool old = strcmp(s.hex, before.hex) == 0, new = strcmp(s.hex, after.hex) == 0;
      if (result == -1 && !old && !new && w->fallbacks && s.aside == 1) old = true; /* checked below: the next run succeeds */
      else if (!old && !new && !is_between(w, s.hex)) fail_msg("%s, killed before step %ld: neither the old nor the new", w->name, nth);
      olds += old;
      news += new;
      if (result != -1) {
        assert_int_equal(result, 0);
        assert_true(new);
        break;
      }
      if (!old && !new) continue; /* is_between made another round of it */
      int wanted = w->run == write_new && new ? ETK_E_EXISTS : ETK_OK;
      assert_int_equal(run_child(w, 0, false), wanted); /* the next writer: done, and what was left is gone */
      seen next = look();
      if (next.left) fail_msg("%s, killed before step %ld: the next writer leaves %zu temporary files", w->name, nth, next.left);
    }
    print_message("# %s: %ld steps, old %ld times, new %ld\n", w->name, nth - 1, olds, news);
    assert_true(nth > 3 && olds > 0);
  }
}

static void a_full_disk_at_any_step_leaves_the_old(void **state) {
  (void)state;
  static const int errors[] = {ENOSPC, EIO};
  for (size_t i = 0; i < sizeof writers / sizeof *writers; i++) {
    const struct writer *w = &writers[i];
    seen before, after;
    both_states(w, &before, &after);
    etk__fs_force_fallbacks(w->fallbacks);
    for (size_t k = 0; k < 2; k++) {
      for (long nth = 1;; nth++) {
        begin_round();
        trap t = {.left = nth, .error = errors[k]};
        etk_error e = ETK_ERROR_INIT;
        etk_fs_set_step_hook(spring, &t);
        etk_status status = w->run(&e);
        etk_fs_set_step_hook(NULL, NULL);
        seen s = look();
        if (!t.sprung) break;
        bool old = strcmp(s.hex, before.hex) == 0, new = strcmp(s.hex, after.hex) == 0;
        if (status != (k ? ETK_E_IO : ETK_E_NO_SPACE)) fail_msg("%s, step %ld: status %d '%s'", w->name, nth, status, e.message);
        if (!e.message[0]) fail_msg("%s, step %ld: no message", w->name, nth);
        if (s.left + s.aside) fail_msg("%s, step %ld (%s): %zu files are left", w->name, nth, e.message, s.left + s.aside);
        if (!old && !new && !is_between(w, s.hex)) fail_msg("%s, step %ld (%s): neither the old nor the new", w->name, nth, e.message);
      }
    }
    etk__fs_force_fallbacks(false);
  }
}

static void a_file_size_limit_leaves_the_old(void **state) {
  (void)state;
  for (size_t i = 0; i < sizeof writers / sizeof *writers; i++) {
    const struct writer *w = &writers[i];
    if (w->run == save_config) continue; /* smaller than any limit */
    seen before, after;
    both_states(w, &before, &after);
    begin_round();
    int result = run_child(w, 0, true);
    seen s = look();
    if (result != ETK_E_NO_SPACE) fail_msg("%s: status %d", w->name, result);
    assert_string_equal(s.hex, before.hex);
    assert_int_equal(s.left + s.aside, 0);
  }
}

static void two_writers_keep_apart(void **state) {
  (void)state;
  begin_round();
  etk_file *a, *b;
  etk_dir *c, *d;
  assert_int_equal(etk_file_create(NULL, &a, at("target"), true), ETK_OK);
  assert_int_equal(etk_file_write(NULL, a, "first", 5), ETK_OK);
  assert_int_equal(etk_file_create(NULL, &b, at("target"), true), ETK_OK); /* does not take the first one's temporary for a left one */
  assert_int_equal(etk_file_write(NULL, b, "second", 6), ETK_OK);
  assert_int_equal(etk_file_commit(NULL, b), ETK_OK);
  assert_int_equal(etk_file_commit(NULL, a), ETK_OK);
  char *bytes;
  assert_int_equal(etk_fs_read(NULL, &bytes, NULL, at("target"), 100), ETK_OK);
  assert_string_equal(bytes, "first");
  etk_free(bytes);
  assert_int_equal(etk_dir_create(NULL, &c, at("folder"), true), ETK_OK);
  assert_int_equal(etk_dir_create(NULL, &d, at("folder"), true), ETK_OK);
  assert_string_not_equal(etk_dir_path(c), etk_dir_path(d));
  assert_true(etk_fs_is_dir(etk_dir_path(c)));
  etk_dir_abort(d);
  assert_int_equal(etk_dir_commit(NULL, c), ETK_OK);
  assert_int_equal(look().left, 0);
}

/* ---- the seed ---- */

static void put(const char *name, const char *bytes, size_t size) {
  char *path = etk_path_join(seed, name);
  assert_int_equal(etk_fs_write(NULL, path, bytes, size, false), ETK_OK);
  etk_free(path);
}

static void dirs(const char *name) {
  char *path = etk_path_join(seed, name);
  assert_int_equal(etk_fs_make_dirs(NULL, path), ETK_OK);
  etk_free(path);
}

static int make_seed(void **state) {
  (void)state;
  snprintf(base, sizeof base, "%s/etk-kill-XXXXXX", access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp"); /* in memory: some hundred syncs */
  if (!mkdtemp(base)) return -1;
  snprintf(seed, sizeof seed, "%s/seed", base);
  uint32_t x = 7;
  for (size_t i = 0; i < LARGE; i++) large[i] = (char)((x = x * 1664525 + 1013904223) >> 24);
  dirs("tree/deep");
  dirs("folder");
  dirs("kept");
  dirs("backups");
  put("target", "old", 3);
  put("source", large, LARGE);
  put("folder/before", "old", 3);
  put("kept/source_20250101T000000Z_backup", "older", 5);
  put("backups/target_20250101T000000Z_backup", large, LARGE);
  put("config.yaml", "value: 1\n", 9);
  put("tree/a", "a", 1);
  put("tree/deep/b", large, LARGE);
  put("out.tar.gz", "old archive", 11);
  char *archive = etk_path_join(base, "in.tar"), *inside = etk_path_join(seed, "in.tar");
  static const char *const paths[] = {"tree"};
  etk_error e = ETK_ERROR_INIT;
  if (etk_archive_create(&e, archive, seed, paths, 1, false)) fail_msg("%s", e.message);
  assert_int_equal(rename(archive, inside), 0);
  etk_free(archive);
  etk_free(inside);
  return 0;
}

static int remove_seed(void **state) {
  (void)state;
  return etk_fs_remove_tree(NULL, base) == ETK_OK ? 0 : -1;
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(a_kill_at_any_step_leaves_the_old_or_the_new),
      cmocka_unit_test(a_full_disk_at_any_step_leaves_the_old),
      cmocka_unit_test(a_file_size_limit_leaves_the_old),
      cmocka_unit_test(two_writers_keep_apart),
  };
  return cmocka_run_group_tests(tests, make_seed, remove_seed);
}
