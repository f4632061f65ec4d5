/* Tests of etk/fs.h. Each works in a folder of its own. */
#include "../folder.h"
#include "etk/text.h"
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static int make_folder(void **state) {
  (void)state;
  snprintf(folder, sizeof folder, "/tmp/etk-fs-XXXXXX");
  return mkdtemp(folder) ? 0 : -1;
}

static int remove_folder(void **state) {
  (void)state;
  etk_fs_set_write_hook(NULL, NULL);
  return etk_fs_remove_tree(NULL, folder) == ETK_OK ? 0 : -1;
}

static void a_file_appears_whole_at_commit(void **state) {
  (void)state;
  etk_file *file;
  assert_int_equal(etk_file_create(NULL, &file, at("a"), false), ETK_OK);
  assert_int_equal(etk_file_write(NULL, file, "hello ", 6), ETK_OK);
  assert_int_equal(etk_file_write(NULL, file, "world", 5), ETK_OK);
  assert_false(etk_fs_exists(at("a")));
  assert_int_equal(etk_file_commit(NULL, file), ETK_OK);
  holds("a", "hello world");
  assert_int_equal(entries(folder), 1);
  struct stat info;
  mode_t mask = umask(0);
  umask(mask);
  assert_int_equal(stat(at("a"), &info), 0);
  assert_int_equal(info.st_mode & 07777, 0666 & ~mask);
}

static void an_aborted_file_leaves_what_was_there(void **state) {
  (void)state;
  put("a", "old");
  etk_file *file;
  assert_int_equal(etk_file_create(NULL, &file, at("a"), true), ETK_OK);
  assert_int_equal(etk_file_write(NULL, file, "new", 3), ETK_OK);
  etk_file_abort(file);
  etk_file_abort(NULL);
  holds("a", "old");
  assert_int_equal(entries(folder), 1);
}

static void large_and_small_writes_keep_their_order(void **state) {
  (void)state;
  enum { LARGE = 150000 };
  char *block = etk_alloc(LARGE), *bytes;
  etk_text expected = ETK_TEXT_INIT;
  etk_file *file;
  assert_int_equal(etk_file_create(NULL, &file, at("a"), false), ETK_OK);
  for (int i = 0; i < 7; i++) {
    size_t size = i % 2 ? LARGE : (size_t)i * 9000 + 1;
    memset(block, 'a' + i, size);
    etk_text_append(&expected, block, size);
    assert_int_equal(etk_file_write(NULL, file, block, size), ETK_OK);
  }
  assert_int_equal(etk_file_commit(NULL, file), ETK_OK);
  size_t size;
  assert_int_equal(etk_fs_read(NULL, &bytes, &size, at("a"), 1 << 20), ETK_OK);
  assert_int_equal(size, expected.size);
  assert_memory_equal(bytes, expected.data, size);
  etk_free(bytes);
  etk_free(block);
  etk_text_free(&expected);
}

static void nothing_is_overwritten_unasked(void **state) {
  (void)state;
  put("a", "old");
  etk_error e = ETK_ERROR_INIT;
  etk_file *file;
  assert_int_equal(etk_file_create(&e, &file, at("a"), false), ETK_E_EXISTS);
  assert_non_null(strstr(e.message, at("a")));
  assert_int_equal(etk_file_create(&e, &file, at("b"), false), ETK_OK);
  put("b", "came meanwhile");
  assert_int_equal(etk_file_commit(&e, file), ETK_E_EXISTS);
  holds("b", "came meanwhile");
  assert_int_equal(symlink("nowhere", at("link")), 0);
  assert_int_equal(etk_file_create(&e, &file, at("link"), false), ETK_E_EXISTS);
  assert_int_equal(entries(folder), 3);
}

static void replacing_keeps_permissions(void **state) {
  (void)state;
  put("a", "old");
  assert_int_equal(chmod(at("a"), 0640), 0);
  put("a", "new");
  struct stat info;
  assert_int_equal(stat(at("a"), &info), 0);
  assert_int_equal(info.st_mode & 07777, 0640);
  holds("a", "new");
}

static void a_file_cannot_go_where_it_cannot(void **state) {
  (void)state;
  etk_error e = ETK_ERROR_INIT;
  assert_int_equal(etk_fs_write(&e, at("no/such/a"), "x", 1, true), ETK_E_NOT_FOUND);
  assert_non_null(strstr(e.message, "no/such/a"));
  assert_int_equal(etk_fs_write(&e, folder, "x", 1, true), ETK_E_EXISTS);
  assert_int_equal(etk_fs_write(&e, at("x/"), "x", 1, false), ETK_E_INVALID);
  assert_int_equal(entries(folder), 0);
}

typedef struct injector {
  int countdown, error;
  size_t asked;
} injector;

static int inject(void *user, size_t size) {
  injector *i = user;
  if (--i->countdown > 0) return 0;
  i->asked = size;
  return i->error;
}

static void any_failing_write_leaves_the_old_file(void **state) {
  (void)state;
  static const struct {
    int error;
    etk_status status;
  } rows[] = {{ENOSPC, ETK_E_NO_SPACE}, {EFBIG, ETK_E_NO_SPACE}, {EDQUOT, ETK_E_NO_SPACE}, {EIO, ETK_E_IO}};
  put("a", "old");
  char *block = etk_calloc(1, 100000);
  for (size_t i = 0; i < 4; i++) {
    for (int nth = 1; nth <= 3; nth++) {
      injector injected = {nth, rows[i].error, 0};
      etk_error e = ETK_ERROR_INIT;
      etk_file *file;
      etk_fs_set_write_hook(inject, &injected);
      assert_int_equal(etk_file_create(&e, &file, at("a"), true), ETK_OK);
      etk_status status = ETK_OK;
      for (int w = 0; w < 2 && !status; w++) status = etk_file_write(&e, file, block, 100000);
      if (!status) status = etk_file_write(&e, file, "tail", 4);
      if (!status) status = etk_file_commit(&e, file); /* consumes file */
      else etk_file_abort(file);
      etk_fs_set_write_hook(NULL, NULL);
      assert_int_equal(status, rows[i].status);
      char wanted[64];
      snprintf(wanted, sizeof wanted, "cannot write %d bytes", nth < 3 ? 100000 : 4);
      assert_non_null(strstr(e.message, wanted));
      assert_non_null(strstr(e.message, at("a")));
      holds("a", "old");
      assert_int_equal(entries(folder), 1);
    }
  }
  etk_free(block);
}

static void a_commit_after_a_failed_write_fails(void **state) {
  (void)state;
  injector injected = {1, ENOSPC, 0};
  etk_file *file;
  char *block = etk_calloc(1, 100000);
  assert_int_equal(etk_file_create(NULL, &file, at("a"), false), ETK_OK);
  etk_fs_set_write_hook(inject, &injected);
  assert_int_equal(etk_file_write(NULL, file, block, 100000), ETK_E_NO_SPACE);
  etk_fs_set_write_hook(NULL, NULL);
  assert_int_not_equal(etk_file_write(NULL, file, "x", 1), ETK_OK);
  assert_int_not_equal(etk_file_commit(NULL, file), ETK_OK);
  assert_int_equal(entries(folder), 0);
  etk_free(block);
}

static void a_file_size_limit_is_no_space(void **state) {
  (void)state;
  put("a", "old");
  pid_t child = fork();
  if (child == 0) { /* the limit stays in the child */
    signal(SIGXFSZ, SIG_IGN);
    struct rlimit limit = {150000, 150000};
    if (setrlimit(RLIMIT_FSIZE, &limit) != 0) _exit(9);
    char *block = etk_calloc(1, 100000);
    etk_file *file;
    etk_error e = ETK_ERROR_INIT;
    if (etk_file_create(&e, &file, at("a"), true)) _exit(8);
    if (etk_file_write(&e, file, block, 100000)) _exit(7);
    if (etk_file_write(&e, file, block, 100000) != ETK_E_NO_SPACE) _exit(6); /* 50000 bytes fit: a short write, then EFBIG */
    if (!strstr(e.message, "cannot write 100000 bytes")) _exit(5);
    etk_file_abort(file);
    etk_free(block);
    _exit(0);
  }
  int status;
  assert_int_equal(waitpid(child, &status, 0), child);
  assert_true(WIFEXITED(status));
  assert_int_equal(WEXITSTATUS(status), 0);
  holds("a", "old");
  assert_int_equal(entries(folder), 1);
}

static void a_full_device_is_no_space(void **state) {
  (void)state;
  if (!etk_fs_exists("/dev/full")) skip();
  etk_error e = ETK_ERROR_INIT;
  assert_int_equal(etk_fs_write(&e, "/dev/full", "abc", 3, true), ETK_E_NO_SPACE);
  assert_non_null(strstr(e.message, "/dev/full"));
  assert_int_equal(etk_fs_write(&e, "/dev/null", "abc", 3, true), ETK_OK);
  struct stat info;
  assert_int_equal(stat("/dev/null", &info), 0);
  assert_true(S_ISCHR(info.st_mode)); /* written in place, not replaced */
}

static void reading_is_bounded_and_regular(void **state) {
  (void)state;
  put("a", "12345");
  char *bytes;
  size_t size;
  etk_error e = ETK_ERROR_INIT;
  assert_int_equal(etk_fs_read(&e, &bytes, &size, at("a"), 4), ETK_E_UNSUPPORTED);
  assert_non_null(strstr(e.message, "larger than the 4 bytes"));
  assert_int_equal(etk_fs_read(&e, &bytes, &size, at("a"), 5), ETK_OK);
  assert_string_equal(bytes, "12345");
  etk_free(bytes);
  assert_int_equal(etk_fs_read(&e, &bytes, &size, folder, 100), ETK_E_INVALID);
  assert_int_equal(mkfifo(at("pipe"), 0600), 0);
  assert_int_equal(etk_fs_read(&e, &bytes, &size, at("pipe"), 100), ETK_E_INVALID); /* and does not wait */
  assert_int_equal(etk_fs_read(&e, &bytes, &size, at("none"), 100), ETK_E_NOT_FOUND);
  put("empty", "");
  assert_int_equal(etk_fs_read(&e, &bytes, &size, at("empty"), 100), ETK_OK);
  assert_int_equal(size, 0);
  etk_free(bytes);
  if (etk_fs_exists("/proc/self/status")) { /* says it has 0 bytes */
    assert_int_equal(etk_fs_read(&e, &bytes, &size, "/proc/self/status", 1 << 20), ETK_OK);
    assert_true(size > 100);
    etk_free(bytes);
  }
}

static void fill_dir(const etk_dir *dir, const char *text) {
  char *path = etk_path_join(etk_dir_path(dir), "inner");
  assert_int_equal(etk_fs_write(NULL, path, text, strlen(text), false), ETK_OK);
  etk_free(path);
}

static void a_folder_appears_whole_at_commit(void **state) {
  (void)state;
  etk_dir *dir;
  assert_int_equal(etk_dir_create(NULL, &dir, at("out/"), false), ETK_OK);
  assert_memory_equal(etk_dir_path(dir), at("out.tmp-"), strlen(at("out.tmp-")));
  fill_dir(dir, "one");
  assert_false(etk_fs_exists(at("out")));
  assert_int_equal(etk_dir_commit(NULL, dir), ETK_OK);
  holds("out/inner", "one");
  assert_int_equal(entries(folder), 1);
}

static void a_folder_is_replaced_only_when_asked(void **state) {
  (void)state;
  etk_dir *dir;
  etk_error e = ETK_ERROR_INIT;
  assert_int_equal(etk_fs_make_dirs(NULL, at("out/old/deep")), ETK_OK);
  assert_int_equal(etk_dir_create(&e, &dir, at("out"), false), ETK_E_EXISTS);
  assert_int_equal(etk_dir_create(&e, &dir, at("out"), true), ETK_OK);
  fill_dir(dir, "two");
  etk_dir_abort(dir);
  assert_true(etk_fs_is_dir(at("out/old/deep")));
  assert_int_equal(etk_dir_create(&e, &dir, at("out"), true), ETK_OK);
  fill_dir(dir, "two");
  assert_int_equal(etk_dir_commit(&e, dir), ETK_OK);
  holds("out/inner", "two");
  assert_false(etk_fs_exists(at("out/old")));
  assert_int_equal(entries(folder), 1);
  assert_int_equal(etk_dir_create(&e, &dir, at("late"), false), ETK_OK);
  put("late", "a file came meanwhile");
  assert_int_equal(etk_dir_commit(&e, dir), ETK_E_EXISTS);
  holds("late", "a file came meanwhile");
  assert_int_equal(entries(folder), 2);
  assert_int_equal(etk_dir_create(&e, &dir, at("late"), true), ETK_E_EXISTS); /* a file is no folder to replace */
}

static void removing_a_tree_does_not_follow_links(void **state) {
  (void)state;
  assert_int_equal(etk_fs_make_dirs(NULL, at("tree/a/b")), ETK_OK);
  put("kept", "kept");
  put("tree/a/file", "x");
  assert_int_equal(symlink("../kept", at("tree/link")), 0);
  assert_int_equal(symlink("..", at("tree/up")), 0);
  assert_int_equal(etk_fs_remove_tree(NULL, at("tree")), ETK_OK);
  assert_false(etk_fs_exists(at("tree")));
  holds("kept", "kept");
  assert_int_equal(etk_fs_remove_tree(NULL, at("tree")), ETK_OK);
}

static void folders_are_made_with_all_above_them(void **state) {
  (void)state;
  etk_error e = ETK_ERROR_INIT;
  assert_int_equal(etk_fs_make_dirs(&e, at("a//b/c/")), ETK_OK);
  assert_true(etk_fs_is_dir(at("a/b/c")));
  assert_int_equal(etk_fs_make_dirs(&e, at("a/b/c")), ETK_OK);
  put("a/file", "x");
  assert_int_not_equal(etk_fs_make_dirs(&e, at("a/file/d")), ETK_OK);
  assert_non_null(strstr(e.message, "not a folder"));
}

/* A folder that may not be written: as nobody where root would pass over it. */
static void a_folder_that_cannot_be_made_says_why(void **state) {
  (void)state;
  assert_int_equal(chmod(folder, 0755), 0);
  assert_int_equal(mkdir(at("home"), 0755), 0);
  const char *wanted = at("home/a/b");
  pid_t pid = fork();
  if (pid == 0) {
    etk_error e = ETK_ERROR_INIT;
    bool common = geteuid() || setuid(65534) == 0;
    if (geteuid() != 65534 && chmod(at("home"), 0500)) common = false;
    etk_fs_make_dirs(&e, wanted);
    _exit(!common ? 2 : strstr(e.message, "Permission denied") ? 0 : 1);
  }
  int status;
  assert_int_equal(waitpid(pid, &status, 0), pid);
  assert_int_equal(chmod(at("home"), 0700), 0);
  assert_true(WIFEXITED(status));
  assert_int_equal(WEXITSTATUS(status), 0);
}

static void a_listing_is_sorted_by_bytes(void **state) {
  (void)state;
  put("b", "");
  put("a", "");
  put("B", "");
  put(".hidden", "");
  char **names;
  size_t count;
  assert_int_equal(etk_fs_list(NULL, &names, &count, folder), ETK_OK);
  assert_int_equal(count, 4);
  assert_string_equal(names[0], ".hidden");
  assert_string_equal(names[1], "B");
  assert_string_equal(names[2], "a");
  assert_string_equal(names[3], "b");
  etk_fs_list_free(names, count);
  assert_int_equal(etk_fs_list(NULL, &names, &count, at("none")), ETK_E_NOT_FOUND);
  for (uint64_t nth = 1; nth < 6; nth++) {
    etk_alloc_fail_nth(nth, false);
    assert_int_equal(etk_fs_list(NULL, &names, &count, folder), ETK_E_NO_MEMORY);
  }
  etk_alloc_fail_nth(0, false);
}

static void any_allocation_of_a_write_may_fail(void **state) {
  (void)state;
  etk_alloc_stats before = etk_alloc_get_stats();
  for (uint64_t nth = 1;; nth++) {
    etk_error e = ETK_ERROR_INIT;
    etk_alloc_fail_nth(nth, false);
    etk_status status = etk_fs_write(&e, at("a"), "x", 1, false);
    etk_alloc_fail_nth(0, false);
    if (!status) break;
    assert_true(e.message[0] && nth < 50);
    if (etk_fs_exists(at("a"))) break; /* the last one: the file is in place, only its folder's sync had no memory */
    assert_int_equal(entries(folder), 0);
  }
  etk_alloc_stats after = etk_alloc_get_stats();
  assert_int_equal(after.calls - after.frees, before.calls - before.frees);
}

static void a_map_shows_the_file_and_knows_its_name(void **state) {
  (void)state;
  put("a", "mapped bytes");
  put("empty", "");
  etk_map map, other, nothing;
  assert_int_equal(etk_map_open(NULL, &map, at("a")), ETK_OK);
  assert_int_equal(etk_map_open(NULL, &other, at("a")), ETK_OK);
  assert_int_equal(map.size, 12);
  assert_memory_equal(map.data, "mapped bytes", 12);
  assert_string_equal(etk_map_name_of(map.data + 5), at("a"));
  assert_string_equal(etk_map_name_of(map.data + 4095), at("a"));
  assert_null(etk_map_name_of(&map));
  assert_null(etk_map_name_of(NULL));
  const void *gone = map.data;
  etk_map_close(&map);
  assert_null(map.data);
  assert_null(etk_map_name_of(gone));
  etk_map_close(&map);
  etk_map_close(&other);
  assert_int_equal(etk_map_open(NULL, &nothing, at("empty")), ETK_OK);
  assert_null(nothing.data);
  etk_map_close(&nothing);
  etk_error e = ETK_ERROR_INIT;
  assert_int_equal(etk_map_open(&e, &map, at("none")), ETK_E_NOT_FOUND);
  assert_int_equal(etk_map_open(&e, &map, folder), ETK_E_INVALID);
}

/* 5 MB and a bit, of no regular length: two large pages and a part of a third. */
static void a_file_is_read_ahead_in_order_and_forgotten_without_a_change(void **state) {
  (void)state;
  enum { SIZE = (5 << 20) + 12345 };
  char *bytes = etk_alloc(SIZE);
  for (int i = 0; i < SIZE; i++) bytes[i] = (char)(i * 2654435761u >> 13);
  assert_int_equal(etk_fs_write(NULL, at("large"), bytes, SIZE, false), ETK_OK);
  for (int round = 0; round < 8; round++) {
    int fd = open(at("large"), O_RDONLY);
    assert_int_equal(fsync(fd), 0);
#if defined(POSIX_FADV_DONTNEED)
    (void)posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
#endif
    close(fd);
    etk_map map;
    assert_int_equal(etk_map_open(NULL, &map, at("large")), ETK_OK);
    etk_map_read_ahead(map.data + round);
    if (round % 2) etk_map_wait(map.data, (size_t)(round == 1 ? 1 : SIZE)); /* else it is closed while it is read */
    if (round % 4 == 3) {
      assert_memory_equal(map.data, bytes, SIZE);
      etk_map_forget(map.data + 3000000, 1500000);
      assert_memory_equal(map.data, bytes, SIZE);
    }
    etk_map_close(&map);
  }
  etk_free(bytes);
}

static void more_maps_than_the_table_holds_still_work(void **state) {
  (void)state;
  enum { MANY = 600 };
  static etk_map maps[MANY];
  put("a", "x");
  for (int i = 0; i < MANY; i++) assert_int_equal(etk_map_open(NULL, &maps[i], at("a")), ETK_OK);
  assert_int_equal(maps[MANY - 1].data[0], 'x');
  assert_null(etk_map_name_of(maps[MANY - 1].data));
  for (int i = 0; i < MANY; i++) etk_map_close(&maps[i]);
  assert_int_equal(etk_map_open(NULL, &maps[0], at("a")), ETK_OK);
  assert_non_null(etk_map_name_of(maps[0].data));
  etk_map_close(&maps[0]);
}

static void paths_are_taken_apart_and_joined(void **state) {
  (void)state;
  static const struct {
    const char *path, *dir, *base;
  } rows[] = {{"a/b", "a", "b"}, {"b", ".", "b"}, {"/b", "/", "b"}, {"a//b", "a", "b"}, {"a/", "a", ""}, {"/", "/", ""}};
  for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
    char *dir = etk_path_dir(rows[i].path);
    assert_string_equal(dir, rows[i].dir);
    assert_string_equal(etk_path_base(rows[i].path), rows[i].base);
    etk_free(dir);
  }
  static const char *const joins[][3] = {{"a", "b", "a/b"}, {"a/", "b", "a/b"}, {"a", "/b", "/b"}, {"", "b", "b"}, {"/", "b", "/b"}};
  for (size_t i = 0; i < sizeof joins / sizeof joins[0]; i++) {
    char *joined = etk_path_join(joins[i][0], joins[i][1]);
    assert_string_equal(joined, joins[i][2]);
    etk_free(joined);
  }
}

static void xdg_folders_have_their_defaults(void **state) {
  (void)state;
  setenv("HOME", "/home/x", 1);
  unsetenv("XDG_STATE_HOME");
  char *path = etk_path_xdg("state");
  assert_string_equal(path, "/home/x/.local/state");
  etk_free(path);
  setenv("XDG_STATE_HOME", "/s", 1);
  path = etk_path_xdg("state");
  assert_string_equal(path, "/s");
  etk_free(path);
  setenv("XDG_STATE_HOME", "relative", 1);
  path = etk_path_xdg("state");
  assert_string_equal(path, "/home/x/.local/state");
  etk_free(path);
  unsetenv("XDG_STATE_HOME");
  unsetenv("HOME");
  assert_null(etk_path_xdg("state"));
  assert_null(etk_path_xdg("nonsense"));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, make_folder, remove_folder)
int main(void) {
  const struct CMUnitTest tests[] = {
      TEST(a_file_appears_whole_at_commit),
      TEST(an_aborted_file_leaves_what_was_there),
      TEST(large_and_small_writes_keep_their_order),
      TEST(nothing_is_overwritten_unasked),
      TEST(replacing_keeps_permissions),
      TEST(a_file_cannot_go_where_it_cannot),
      TEST(any_failing_write_leaves_the_old_file),
      TEST(a_commit_after_a_failed_write_fails),
      TEST(a_file_size_limit_is_no_space),
      TEST(a_full_device_is_no_space),
      TEST(reading_is_bounded_and_regular),
      TEST(a_folder_appears_whole_at_commit),
      TEST(a_folder_is_replaced_only_when_asked),
      TEST(removing_a_tree_does_not_follow_links),
      TEST(folders_are_made_with_all_above_them),
      TEST(a_folder_that_cannot_be_made_says_why),
      TEST(a_listing_is_sorted_by_bytes),
      TEST(any_allocation_of_a_write_may_fail),
      TEST(a_map_shows_the_file_and_knows_its_name),
      TEST(a_file_is_read_ahead_in_order_and_forgotten_without_a_change),
      TEST(more_maps_than_the_table_holds_still_work),
      cmocka_unit_test(paths_are_taken_apart_and_joined),
      cmocka_unit_test(xdg_folders_have_their_defaults),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
