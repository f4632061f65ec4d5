/* Tests of copies, backups, room and search. */
#include "../folder.h"
#include "../interpose.h"
#include "core/fs_internal.h"
#include <errno.h>
#include <fcntl.h>
#include <sys/statvfs.h>
#include <unistd.h>

static int make_folder(void **state) {
  (void)state;
  snprintf(folder, sizeof folder, "%s/etk-copy-XXXXXX", access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp"); /* in memory: a thousand syncs */
  return mkdtemp(folder) ? 0 : -1;
}

static int remove_folder(void **state) {
  (void)state;
  etk__fs_force_fallbacks(false);
  etk_fs_set_write_hook(NULL, NULL);
  etk_fs_set_step_hook(NULL, NULL);
  return etk_fs_remove_tree(NULL, folder) == ETK_OK ? 0 : -1;
}

static void a_copy_has_the_bytes_and_the_permissions(void **state) {
  (void)state;
  enum { LARGE = 3000001 };
  char *bytes = etk_alloc(LARGE), *copied;
  for (size_t i = 0; i < LARGE; i++) bytes[i] = (char)(i * 31 + i / 257);
  assert_int_equal(etk_fs_write(NULL, at("a"), bytes, LARGE, true), ETK_OK);
  put("empty", "");
  assert_int_equal(chmod(at("a"), 0751), 0);
  for (int fallback = 0; fallback < 2; fallback++) {
    etk__fs_force_fallbacks(fallback);
    assert_int_equal(etk_fs_copy(NULL, at("a"), at("b"), fallback), ETK_OK);
    size_t size;
    struct stat info;
    assert_int_equal(etk_fs_read(NULL, &copied, &size, at("b"), LARGE), ETK_OK);
    assert_int_equal(size, LARGE);
    assert_memory_equal(copied, bytes, LARGE);
    etk_free(copied);
    assert_int_equal(stat(at("b"), &info), 0);
    assert_int_equal(info.st_mode & 07777, 0751);
    assert_int_equal(etk_fs_copy(NULL, at("empty"), at("c"), fallback), ETK_OK);
    holds_at(at("c"), "");
    assert_int_equal(etk_fs_copy(NULL, at("a"), at("a"), true), ETK_OK); /* onto itself */
  }
  etk_free(bytes);
  assert_int_equal(entries(folder), 4);
}

static void a_copy_goes_only_where_it_may(void **state) {
  (void)state;
  put("a", "new");
  put("b", "old");
  etk_error e = ETK_ERROR_INIT;
  assert_int_equal(etk_fs_copy(&e, at("a"), at("b"), false), ETK_E_EXISTS);
  holds_at(at("b"), "old");
  assert_int_equal(etk_fs_copy(&e, at("a"), folder, true), ETK_E_EXISTS);
  assert_int_equal(etk_fs_copy(&e, folder, at("c"), true), ETK_E_INVALID);
  assert_int_equal(etk_fs_copy(&e, at("none"), at("c"), true), ETK_E_NOT_FOUND);
  assert_int_equal(etk_fs_copy(&e, at("a"), "/dev/null", true), ETK_E_INVALID);
  assert_int_equal(etk_fs_copy(&e, at("a"), at("b"), true), ETK_OK);
  holds_at(at("b"), "new");
  assert_int_equal(entries(folder), 2);
}

/* At the sync, the source grows: what was copied is not what is there. */
static int change_source(void *user, const char *step) {
  int *calls = user;
  if (strcmp(step, "sync") != 0 || (*calls)++ > 0) return 0;
  int fd = open(at("a"), O_WRONLY | O_APPEND);
  bool written = fd >= 0 && write(fd, "more", 4) == 4;
  if (fd >= 0) close(fd);
  return written ? 0 : EIO;
}

static void a_copy_that_differs_is_not_kept(void **state) {
  (void)state;
  put("a", "text");
  put("b", "old");
  for (int fallback = 0; fallback < 2; fallback++) {
    etk__fs_force_fallbacks(fallback);
    int calls = 0;
    etk_error e = ETK_ERROR_INIT;
    etk_fs_set_step_hook(change_source, &calls);
    assert_int_equal(etk_fs_copy(&e, at("a"), at("b"), true), ETK_E_CHECK);
    etk_fs_set_step_hook(NULL, NULL);
    assert_non_null(strstr(e.message, "XXH3"));
    holds_at(at("b"), "old");
    assert_int_equal(entries(folder), 2);
  }
}

static void backups_are_dated_and_the_oldest_go(void **state) {
  (void)state;
  put("notes.tar.gz", "1");
  char *first = NULL, **all;
  size_t count;
  assert_int_equal(etk_fs_backup(NULL, &first, at("notes.tar.gz"), NULL, 0), ETK_OK);
  const char *name = etk_path_base(first);
  assert_memory_equal(name, "notes.tar_", 10);
  assert_int_equal(strspn(name + 10, "0123456789"), 8);
  assert_int_equal(name[18], 'T');
  assert_int_equal(strspn(name + 19, "0123456789"), 6);
  assert_string_equal(name + 25, "Z_backup.gz");
  holds_at(first, "1");
  for (int i = 2; i <= 5; i++) { /* most in the same second: numbers keep their order */
    char text[2] = {(char)('0' + i), 0};
    put("notes.tar.gz", text);
    assert_int_equal(etk_fs_backup(NULL, NULL, at("notes.tar.gz"), NULL, 3), ETK_OK);
  }
  assert_int_equal(etk_fs_backups(NULL, &all, &count, at("notes.tar.gz"), NULL), ETK_OK);
  assert_int_equal(count, 3);
  holds_at(all[0], "5");
  holds_at(all[1], "4");
  holds_at(all[2], "3");
  etk_fs_list_free(all, count);
  assert_false(etk_fs_exists(first));
  etk_free(first);
  assert_int_equal(etk_fs_backup(NULL, NULL, at("notes.tar.gz"), at("far/away"), 1), ETK_OK);
  assert_int_equal(entries(at("far/away")), 1);
  etk_error e = ETK_ERROR_INIT;
  assert_int_equal(etk_fs_backup(&e, NULL, at("none"), NULL, 1), ETK_E_NOT_FOUND);
  assert_int_equal(etk_fs_backup(&e, NULL, at("notes.tar.gz"), NULL, -1), ETK_E_INVALID);
}

static void only_what_is_called_like_a_backup_is_one(void **state) {
  (void)state;
  static const char *const others[] = {"a_20260101T000000Z_backup",          "a_20260101T000000_backup.txt",  "b_20260101T000000Z_backup.txt", "a_20260101T000000Z_backup-1.txt",
                                       "a_20260101T000000Z_backup-02.txt",   "a_20260101T000000Z_backup-.txt", "a_2026x101T000000Z_backup.txt", "a.txt",
                                       "a_b_20260101T000000Z_backup.txt",    "a_20260101T000000Z_backupx.txt", ".a_20260101T000000Z_backup.txt"};
  for (size_t i = 0; i < sizeof others / sizeof *others; i++) put(others[i], "no");
  put("a_20260101T000000Z_backup.txt", "old");
  put("a_20260101T000000Z_backup-2.txt", "newer");
  put("a_20260101T000000Z_backup-10.txt", "newest");
  put(".rc_20260101T000000Z_backup", "rc");
  assert_int_equal(symlink("a.txt", at("a_20270101T000000Z_backup.txt")), 0);
  char **all;
  size_t count;
  assert_int_equal(etk_fs_backups(NULL, &all, &count, at("a.txt"), NULL), ETK_OK);
  assert_int_equal(count, 3);
  holds_at(all[0], "newest");
  holds_at(all[2], "old");
  etk_fs_list_free(all, count);
  assert_int_equal(etk_fs_backups(NULL, &all, &count, at(".rc"), NULL), ETK_OK);
  assert_int_equal(count, 1);
  etk_fs_list_free(all, count);
  assert_int_equal(etk_fs_backups(NULL, &all, &count, at("a.txt"), at("nowhere")), ETK_OK);
  assert_int_equal(count, 0);
  etk_fs_list_free(all, count);
}

static void a_clock_that_jumped_back_costs_no_backup(void **state) {
  (void)state;
  put("a", "now");
  put("a_20991231T235959Z_backup", "from the future");
  char *made = NULL;
  assert_int_equal(etk_fs_backup(NULL, &made, at("a"), NULL, 1), ETK_OK);
  assert_string_equal(etk_path_base(made), "a_20991231T235959Z_backup-2");
  holds_at(made, "now"); /* kept, the older one is gone */
  assert_int_equal(entries(folder), 2);
  etk_free(made);
}

static void what_a_killed_backup_left_is_cleaned_by_the_next(void **state) {
  (void)state;
  put("a.txt", "text");
  put(".a_20250101T000000Z_backup.txt.tmp-1", "half"); /* of another second, so of another name */
  put(".b_20250101T000000Z_backup.txt.tmp-1", "of another file");
  assert_int_equal(etk_fs_backup(NULL, NULL, at("a.txt"), NULL, 0), ETK_OK);
  assert_false(etk_fs_exists(at(".a_20250101T000000Z_backup.txt.tmp-1")));
  assert_true(etk_fs_exists(at(".b_20250101T000000Z_backup.txt.tmp-1")));
}

static void a_restored_file_leaves_what_it_replaced_as_a_backup(void **state) {
  (void)state;
  etk_error e = ETK_ERROR_INIT;
  put("a.txt", "one");
  assert_int_equal(etk_fs_restore(&e, at("a.txt"), NULL, NULL), ETK_E_NOT_FOUND);
  assert_int_equal(entries(folder), 1);
  char *one = NULL;
  assert_int_equal(etk_fs_backup(NULL, &one, at("a.txt"), NULL, 0), ETK_OK);
  put("a.txt", "two");
  assert_int_equal(etk_fs_restore(&e, at("a.txt"), NULL, NULL), ETK_OK);
  holds_at(at("a.txt"), "one");
  assert_int_equal(etk_fs_restore(&e, at("a.txt"), NULL, NULL), ETK_OK); /* the newest is now what was replaced */
  holds_at(at("a.txt"), "two");
  assert_int_equal(etk_fs_restore(&e, at("a.txt"), NULL, one), ETK_OK);
  holds_at(at("a.txt"), "one");
  put("other", "x");
  assert_int_equal(etk_fs_restore(&e, at("a.txt"), NULL, at("other")), ETK_E_INVALID);
  assert_non_null(strstr(e.message, "not called like a backup"));
  unlink(at("a.txt"));
  assert_int_equal(etk_fs_restore(&e, at("a.txt"), NULL, one), ETK_OK);
  holds_at(at("a.txt"), "one");
  size_t before = entries(folder);
  unlink(one);
  assert_int_equal(etk_fs_restore(&e, at("a.txt"), NULL, one), ETK_E_NOT_FOUND);
  holds_at(at("a.txt"), "one");
  assert_int_equal(entries(folder), before - 1); /* no backup of a file that stayed */
  etk_free(one);
}

static void room_is_asked_for_before_it_is_used(void **state) {
  (void)state;
  struct statvfs info;
  assert_int_equal(statvfs(folder, &info), 0);
  int64_t there = etk_fs_free_bytes(folder), below = etk_fs_free_bytes(at("not/there/yet"));
  double wanted = (double)info.f_bavail * (double)info.f_frsize;
  assert_true((double)there > wanted * 0.9 - 1e8 && (double)there < wanted * 1.1 + 1e8);
  assert_true(below > 0);
  assert_int_equal(etk_fs_free_bytes("") == 0, 0);
  assert_int_equal(etk_fs_need(NULL, folder, 1), ETK_OK);
  assert_int_equal(etk_fs_need(NULL, folder, 0), ETK_OK);
  etk_error e = ETK_ERROR_INIT;
  assert_int_equal(etk_fs_need(&e, at("x"), INT64_MAX), ETK_E_NO_SPACE);
  assert_non_null(strstr(e.message, "9223372036854775807 bytes"));
  assert_non_null(strstr(e.message, at("x")));
  assert_int_equal(etk_fs_need(&e, folder, there + ((int64_t)32 << 30)), ETK_E_NO_SPACE);
}

static void patterns_match_like_a_shell_does(void **state) {
  (void)state;
  static const struct {
    const char *pattern, *path;
    bool matches;
  } rows[] = {
      {"*.txt", "a.txt", true},        {"*.txt", "d/a.txt", false},   {"**/*.txt", "a.txt", true},     {"**/*.txt", "d/e/a.txt", true},  {"**", "d/e/a", true},
      {"a/**", "a/b/c", true},         {"a/**", "a", false},          {"a/**/z", "a/z", true},         {"a/**/z", "a/b/c/z", true},      {"a/**/z", "a/b/c/zz", false},
      {"?", "a", true},                {"?", "ab", false},            {"?", "\xC3\xA9", true},         {"[a-c]x", "bx", true},           {"[a-c]x", "dx", false},
      {"[!a-c]x", "dx", true},         {"[!a-c]x", "ax", false},      {"[]]", "]", true},              {"[a-]", "-", true},              {"[", "[", true},
      {"[*]", "*", true},              {"[*]", "a", false},           {"*", ".hidden", false},         {".*", ".hidden", true},          {"**/x", ".git/x", false},
      {".git/**", ".git/x", true},     {"**/.x", "d/.x", true},       {"a*b*c", "axxbyyc", true},      {"a*b*c", "axxbyy", false},       {"*a*a*a*a*b", "aaaaaaaaaaaaaaaaaaaa", false},
      {"./a", "a", true},              {"a//b", "a/b", true},         {"a", "./a", true},              {"../a", "../a", false},          {"/a", "/a", false},
      {"", "", false},                 {"a", "", false},              {"**/**/a", "a", true},          {"[\xC3\xA0-\xC3\xAF]", "\xC3\xA9", true}, {"x[", "x[", true},
      {"?", ".", false},               {"[.]a", ".a", false},         {"a?c", "a/c", false},           {"*", "a/b", false},              {"**/a/**/a", "a/b/a", true},
  };
  for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
    if (etk_path_match(rows[i].pattern, rows[i].path) != rows[i].matches) fail_msg("'%s' and '%s'", rows[i].pattern, rows[i].path);
}

static char *joined(const char *root, const char *pattern) {
  char **found;
  size_t count;
  etk_error e = ETK_ERROR_INIT;
  if (etk_fs_find(&e, &found, &count, root, pattern)) fail_msg("%s", e.message);
  static char all[1024];
  all[0] = 0;
  for (size_t i = 0; i < count; i++) {
    size_t n = strlen(all);
    snprintf(all + n, sizeof all - n, "%s%s", i ? " " : "", found[i]);
  }
  etk_fs_list_free(found, count);
  return all;
}

static void files_are_found_by_pattern(void **state) {
  (void)state;
  assert_int_equal(etk_fs_make_dirs(NULL, at("a/b/c")), ETK_OK);
  assert_int_equal(etk_fs_make_dirs(NULL, at(".git/x")), ETK_OK);
  put("top.txt", "");
  put("a/one.txt", "");
  put("a/b/two.txt", "");
  put("a/b/c/three.txt", "");
  put("a/b/c/data.bin", "");
  put(".git/x/four.txt", "");
  assert_int_equal(symlink("a", at("link")), 0);
  assert_int_equal(symlink("top.txt", at("file-link.txt")), 0);
  assert_int_equal(symlink("..", at("a/up")), 0);
  assert_int_equal(mkfifo(at("pipe.txt"), 0600), 0);
  assert_string_equal(joined(folder, "*.txt"), "top.txt");
  assert_string_equal(joined(folder, "**/*.txt"), "a/b/c/three.txt a/b/two.txt a/one.txt top.txt");
  assert_string_equal(joined(folder, "a/**"), "a/b/c/data.bin a/b/c/three.txt a/b/two.txt a/one.txt");
  assert_string_equal(joined(folder, "a/*/*.txt"), "a/b/two.txt");
  assert_string_equal(joined(folder, "**/b/**/*.txt"), "a/b/c/three.txt a/b/two.txt");
  assert_string_equal(joined(folder, ".git/**"), ".git/x/four.txt");
  assert_string_equal(joined(folder, "none/*"), "");
  char **found;
  size_t count;
  etk_error e = ETK_ERROR_INIT;
  assert_int_equal(etk_fs_find(&e, &found, &count, folder, "/x"), ETK_E_INVALID);
  assert_int_equal(etk_fs_find(&e, &found, &count, folder, "a/../b"), ETK_E_INVALID);
  assert_int_equal(etk_fs_find(&e, &found, &count, folder, ""), ETK_E_INVALID);
  assert_int_equal(etk_fs_find(&e, &found, &count, at("nowhere"), "*"), ETK_E_NOT_FOUND);
}

static bool use_all(void *user) {
  (void)user;
  char **names, *path = NULL;
  size_t count;
  etk_error e = ETK_ERROR_INIT;
  etk_fs_remove_tree(NULL, at("kept")); /* or every round would find more backups */
  bool done = etk_fs_copy(&e, at("a.txt"), at("copy"), true) == ETK_OK;
  if (done && (done = etk_fs_backup(&e, &path, at("a.txt"), at("kept"), 1) == ETK_OK)) etk_free(path);
  if (done && (done = etk_fs_backups(&e, &names, &count, at("a.txt"), at("kept")) == ETK_OK)) etk_fs_list_free(names, count);
  if (done) done = etk_fs_restore(&e, at("a.txt"), at("kept"), NULL) == ETK_OK;
  if (done && (done = etk_fs_find(&e, &names, &count, folder, "**/*.txt") == ETK_OK)) etk_fs_list_free(names, count);
  if (done && (done = (path = etk_path_safe_name("nul.txt")) != NULL)) etk_free(path);
  if (done && (done = (path = etk_path_normal("a/../b")) != NULL)) etk_free(path);
  int fd = -1, root = open(folder, O_RDONLY | O_DIRECTORY);
  if (done && (done = etk_fs_open_inside(&e, &fd, root, "a.txt", O_RDONLY, 0) == ETK_OK)) close(fd);
  close(root);
  etk_dir *dir;
  if (done && (done = etk_dir_create(&e, &dir, at("made"), true) == ETK_OK)) done = etk_dir_commit(&e, dir) == ETK_OK;
  return done;
}

static void any_allocation_may_fail(void **state) {
  (void)state;
  put("a.txt", "text");
  long tried = interpose_sweep(use_all, NULL);
  if (tried <= 0) fail_msg("the sweep ended with %ld", tried);
  holds_at(at("a.txt"), "text");
  char **names;
  size_t count;
  assert_int_equal(etk_fs_find(NULL, &names, &count, folder, "**/*.tmp-*"), ETK_OK);
  assert_int_equal(count, 0);
  etk_fs_list_free(names, count);
  assert_int_equal(etk_fs_find(NULL, &names, &count, folder, "**/.*.tmp-*"), ETK_OK);
  assert_int_equal(count, 0);
  etk_fs_list_free(names, count);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, make_folder, remove_folder)
int main(void) {
  const struct CMUnitTest tests[] = {
      TEST(a_copy_has_the_bytes_and_the_permissions),
      TEST(a_copy_goes_only_where_it_may),
      TEST(a_copy_that_differs_is_not_kept),
      TEST(backups_are_dated_and_the_oldest_go),
      TEST(only_what_is_called_like_a_backup_is_one),
      TEST(a_clock_that_jumped_back_costs_no_backup),
      TEST(what_a_killed_backup_left_is_cleaned_by_the_next),
      TEST(a_restored_file_leaves_what_it_replaced_as_a_backup),
      TEST(room_is_asked_for_before_it_is_used),
      cmocka_unit_test(patterns_match_like_a_shell_does),
      TEST(files_are_found_by_pattern),
      TEST(any_allocation_may_fail),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
