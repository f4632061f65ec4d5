/* The search path, what is found in it, and the rule of trust. */
#include "discover.h"

#include <etk/fs.h>
#include <etk/log.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "../interpose.h"

static char root[64];
static etk_error error;

static const char *at(const char *name) { /* a path below the temporary folder; four at a time */
  static char paths[4][256];
  static unsigned next;
  char *out = paths[next++ % 4];
  snprintf(out, sizeof paths[0], "%s/%s", root, name);
  return out;
}
static void folder(const char *name) { assert_int_equal(mkdir(at(name), 0755), 0); }
static void file(const char *name) {
  int fd = open(at(name), O_CREAT | O_WRONLY | O_EXCL, 0644);
  assert_true(fd >= 0);
  close(fd);
}
static void says(const char *words) {
  if (!strstr(error.message, words)) fail_msg("'%s' is not in '%s'", words, error.message);
}

static int set_up(void **state) {
  (void)state;
  snprintf(root, sizeof root, "/tmp/etk-discover-XXXXXX");
  if (!mkdtemp(root)) return -1;
  setenv("XDG_DATA_HOME", root, 1);
  unsetenv("EFFICIENTAI_PLUGIN_PATH");
  unsetenv("EFFICIENTAI_TRUST_DIRS");
  folder("one");
  folder("two");
  folder("efficientai-toolkit");
  folder("efficientai-toolkit/plugins");
  file("one/libproj-b.so");
  file("one/libproj-a.so");
  file("one/libproj-.so");       /* no namespace */
  file("one/libother-x.so");     /* another prefix */
  file("one/libproj-x.so.1");    /* another suffix */
  file("one/libproj-Odd_One.so");/* illegal, and still seen, so that it can be told */
  file("two/libproj-a.so");
  file("two/libproj-c.so");
  file("efficientai-toolkit/plugins/libproj-a.so");
  return 0;
}
static int tear_down(void **state) {
  (void)state;
  return etk_fs_remove_tree(NULL, root);
}

static struct search_path path_of(const char *first, const char *second) {
  struct search_path path;
  const char *dirs[2] = {first, second};
  assert_int_equal(search_path_init(&error, &path, dirs, (size_t)!!first + !!second, NULL, 0), ETK_OK);
  return path;
}

/* ---- the search path ---- */

static void folders_come_in_the_order_of_their_origins(void **state) {
  (void)state;
  char both[256];
  snprintf(both, sizeof both, "%s::%s", at("two"), at("nowhere"));
  setenv("EFFICIENTAI_PLUGIN_PATH", both, 1);
  struct search_path path = path_of(at("one"), NULL);
  assert_int_equal(path.count, 5);
  assert_string_equal(path.dirs[0], at("one"));
  assert_string_equal(path.origins[0], "--plugin-dir");
  assert_string_equal(path.dirs[1], at("two"));
  assert_string_equal(path.origins[1], "$EFFICIENTAI_PLUGIN_PATH");
  assert_string_equal(path.dirs[2], at("nowhere")); /* kept, so that it can be shown */
  assert_string_equal(path.dirs[3], at("efficientai-toolkit/plugins"));
  assert_string_equal(path.origins[3], "user");
  assert_string_equal(path.origins[4], "install");
  assert_non_null(strstr(path.dirs[4], "/lib/efficientai-toolkit/plugins"));
  search_path_fini(&path);
  unsetenv("EFFICIENTAI_PLUGIN_PATH");
}

static void a_folder_is_searched_once(void **state) {
  (void)state;
  char slashes[256];
  snprintf(slashes, sizeof slashes, "%s//", at("one"));
  assert_int_equal(symlink("one", at("link")), 0);
  struct search_path path = path_of(slashes, at("link"));
  assert_string_equal(path.dirs[0], at("one"));
  assert_string_equal(path.origins[1], "user");
  search_path_fini(&path);
}

static void trusted_folders_come_from_both_places(void **state) {
  (void)state;
  struct search_path path;
  const char *trust[] = {"/a"};
  setenv("EFFICIENTAI_TRUST_DIRS", "/b::/c", 1);
  assert_int_equal(search_path_init(&error, &path, NULL, 0, trust, 1), ETK_OK);
  assert_int_equal(path.trusted_count, 3);
  assert_string_equal(path.trusted[0], "/a");
  assert_string_equal(path.trusted[1], "/b");
  assert_string_equal(path.trusted[2], "/c");
  search_path_fini(&path);
  unsetenv("EFFICIENTAI_TRUST_DIRS");
}

/* ---- files ---- */

static void plugins_are_listed_by_name_and_the_first_folder_wins(void **state) {
  (void)state;
  struct search_path path = path_of(at("two"), at("one"));
  struct plugin_list list;
  assert_int_equal(discover_all(&error, &list, &path), ETK_OK);
  static const char *const names[] = {"Odd_One", "a", "a", "a", "b", "c"};
  assert_int_equal(list.count, 6);
  for (size_t i = 0; i < 6; i++) assert_string_equal(list.items[i].name_space, names[i]);
  assert_string_equal(list.items[1].path, at("two/libproj-a.so"));
  assert_false(list.items[1].shadowed);
  for (size_t i = 2; i < 4; i++) {
    assert_true(list.items[i].shadowed);
    assert_string_equal(list.items[i].shadowed_by, at("two/libproj-a.so"));
  }
  assert_string_equal(list.items[3].origin, "user");
  assert_false(list.items[4].shadowed);
  plugin_list_free(&list);
  search_path_fini(&path);
}

static void an_exact_name_is_found_without_a_list(void **state) {
  (void)state;
  struct search_path path = path_of(at("one"), at("two"));
  struct plugin plugin;
  etk_arena arena = ETK_ARENA_INIT;
  assert_int_equal(discover_exact(&error, &plugin, &arena, &path, "a"), ETK_OK);
  assert_string_equal(plugin.path, at("one/libproj-a.so"));
  assert_int_equal(plugin.dir, 0);
  assert_int_equal(discover_exact(&error, &plugin, &arena, &path, "c"), ETK_OK);
  assert_string_equal(plugin.path, at("two/libproj-c.so"));
  assert_string_equal(plugin.origin, "--plugin-dir");
  assert_int_equal(discover_exact(&error, &plugin, &arena, &path, "d"), ETK_E_NOT_FOUND);
  assert_int_equal(discover_exact(&error, &plugin, &arena, &path, "../one/libproj-a"), ETK_E_NOT_FOUND);
  assert_int_equal(discover_exact(&error, &plugin, &arena, &path, "Odd_One"), ETK_E_NOT_FOUND);
  assert_int_equal(discover_exact(&error, &plugin, &arena, &path, ""), ETK_E_NOT_FOUND);
  etk_arena_fini(&arena);
  search_path_fini(&path);
}

static void a_folder_named_by_the_user_must_be_there(void **state) {
  (void)state;
  struct search_path path = path_of(at("nowhere"), at("one"));
  struct plugin_list list;
  struct plugin plugin;
  etk_arena arena = ETK_ARENA_INIT;
  assert_int_equal(discover_all(&error, &list, &path), ETK_E_NOT_FOUND);
  says("--plugin-dir: cannot read the folder");
  etk_error_clear(&error);
  assert_int_equal(discover_exact(&error, &plugin, &arena, &path, "a"), ETK_E_NOT_FOUND);
  says("--plugin-dir: cannot read the folder");
  etk_arena_fini(&arena);
  search_path_fini(&path);
}

static void a_folder_that_is_a_file_holds_nothing(void **state) {
  (void)state;
  setenv("EFFICIENTAI_PLUGIN_PATH", at("one/libproj-a.so"), 1);
  struct search_path path = path_of(NULL, NULL);
  struct plugin_list list;
  assert_int_equal(discover_all(&error, &list, &path), ETK_OK);
  assert_int_equal(list.count, 1); /* the user's folder */
  plugin_list_free(&list);
  search_path_fini(&path);
  unsetenv("EFFICIENTAI_PLUGIN_PATH");
}

static void a_named_file_tells_its_namespace(void **state) {
  (void)state;
  struct plugin plugin;
  etk_arena arena = ETK_ARENA_INIT;
  assert_int_equal(plugin_from_file(&error, &plugin, &arena, "x/libproj-my-tool.so"), ETK_OK);
  assert_string_equal(plugin.name_space, "my-tool");
  assert_string_equal(plugin.path, "x/libproj-my-tool.so");
  assert_int_equal(plugin_from_file(&error, &plugin, &arena, "libproj-x.so"), ETK_OK);
  assert_string_equal(plugin.path, "./libproj-x.so");
  assert_int_equal(plugin_from_file(&error, &plugin, &arena, "libm.so.6"), ETK_E_INVALID);
  says("the name of a plugin's file is libproj-<namespace>.so");
  etk_arena_fini(&arena);
}

/* ---- trust ---- */

static etk_status rule(mode_t mode, uid_t owner, unsigned user) {
  struct stat info;
  memset(&info, 0, sizeof info);
  info.st_mode = mode;
  info.st_uid = owner;
  etk_error_clear(&error);
  return trust_check(&error, S_ISDIR(mode) ? "folder" : "file", "/p/it's here", &info, user);
}

static void only_root_and_the_user_are_trusted(void **state) {
  (void)state;
  assert_int_equal(rule(S_IFREG | 0755, 1000, 1000), ETK_OK);
  assert_int_equal(rule(S_IFREG | 0755, 0, 1000), ETK_OK);
  assert_int_equal(rule(S_IFREG | 0755, 1001, 1000), ETK_E_PERMISSION);
  says("belongs to ");
  says("sudo chown ");
  assert_int_equal(rule(S_IFREG | 0755, 1000, 0), ETK_E_PERMISSION); /* root does not run what another user may change */
  assert_int_equal(rule(S_IFDIR | 0755, 1001, 1000), ETK_E_PERMISSION);
}

static void what_anyone_may_write_is_refused_with_its_remedy(void **state) {
  (void)state;
  assert_int_equal(rule(S_IFREG | 0757, 1000, 1000), ETK_E_PERMISSION);
  says("chmod o-w '/p/it'\\''s here'"); /* as a shell takes it */
  says("mode 0757");
  assert_int_equal(rule(S_IFREG | 01757, 1000, 1000), ETK_E_PERMISSION); /* the sticky bit means nothing on a file */
  assert_int_equal(rule(S_IFDIR | 0777, 1000, 1000), ETK_E_PERMISSION);
  assert_int_equal(rule(S_IFDIR | 01777, 0, 1000), ETK_OK); /* /tmp: others cannot replace what is there */
  assert_int_equal(rule(S_IFREG | 0775, 1000, 1000), ETK_OK); /* the group warns */
}

static etk_status open_it(struct trust *trust, const struct search_path *path, const char *name) {
  struct plugin plugin = {.name_space = "a", .path = at(name)};
  int fd;
  etk_error_clear(&error);
  etk_status status = plugin_open(&error, &fd, trust, path, &plugin);
  if (status) assert_int_equal(fd, -1);
  else close(fd);
  return status;
}

static void the_opened_file_and_its_folder_are_checked(void **state) {
  (void)state;
  struct search_path path = path_of(at("one"), NULL);
  struct trust trust;
  struct stat info;
  assert_int_equal(open_it(&trust, &path, "one/libproj-a.so"), ETK_OK);
  assert_int_equal(stat(at("one/libproj-a.so"), &info), 0);
  assert_int_equal(trust.inode, info.st_ino);
  assert_false(trust.group_writable);
  assert_int_equal(chmod(at("one/libproj-a.so"), 0666), 0);
  assert_int_equal(open_it(&trust, &path, "one/libproj-a.so"), ETK_E_PERMISSION);
  assert_int_equal(chmod(at("one/libproj-a.so"), 0664), 0);
  assert_int_equal(open_it(&trust, &path, "one/libproj-a.so"), ETK_OK);
  assert_true(trust.group_writable);
  search_path_fini(&path); /* a folder is checked once for each search path */
  path = path_of(at("one"), NULL);
  assert_int_equal(chmod(at("one"), 0777), 0);
  assert_int_equal(open_it(&trust, &path, "one/libproj-b.so"), ETK_E_PERMISSION);
  says("anyone may write to the folder");
  assert_int_equal(chmod(at("one"), 01777), 0);
  assert_int_equal(open_it(&trust, &path, "one/libproj-b.so"), ETK_OK);
  assert_int_equal(open_it(&trust, &path, "one/nothing.so"), ETK_E_NOT_FOUND);
  search_path_fini(&path);
}

static void a_link_is_as_good_as_where_it_leads(void **state) {
  (void)state;
  struct search_path path = path_of(at("one"), NULL);
  struct trust trust;
  assert_int_equal(symlink("../two/libproj-c.so", at("one/libproj-c.so")), 0);
  assert_int_equal(open_it(&trust, &path, "one/libproj-c.so"), ETK_OK);
  assert_int_equal(chmod(at("two"), 0777), 0);
  assert_int_equal(open_it(&trust, &path, "one/libproj-c.so"), ETK_E_PERMISSION);
  says("a link to");
  search_path_fini(&path);
}

static void a_trusted_folder_needs_no_check(void **state) {
  (void)state;
  struct search_path path;
  struct trust trust;
  char parent[64];
  snprintf(parent, sizeof parent, "%s", root);
  const char *trusted[] = {parent}, *sibling[] = {at("on")}; /* "…/on" is not a parent of "…/one" */
  folder("on");
  assert_int_equal(chmod(at("one"), 0777), 0);
  assert_int_equal(search_path_init(&error, &path, NULL, 0, trusted, 1), ETK_OK);
  assert_int_equal(open_it(&trust, &path, "one/libproj-a.so"), ETK_OK);
  search_path_fini(&path);
  assert_int_equal(search_path_init(&error, &path, NULL, 0, sibling, 1), ETK_OK);
  assert_int_equal(open_it(&trust, &path, "one/libproj-a.so"), ETK_E_PERMISSION);
  search_path_fini(&path);
}

/* ---- memory ---- */

static bool discover_once(void *user) {
  (void)user;
  struct search_path path;
  struct plugin_list list;
  const char *dirs[] = {at("one"), at("two")}, *trust[] = {"/x"};
  if (search_path_init(&error, &path, dirs, 2, trust, 1)) return false;
  etk_status status = discover_all(&error, &list, &path);
  if (!status) plugin_list_free(&list);
  search_path_fini(&path);
  return !status;
}
static void failing_memory_neither_crashes_nor_leaks(void **state) {
  (void)state;
  setenv("EFFICIENTAI_TRUST_DIRS", "/y", 1);
  etk_log_set_level(ETK_LOG_OFF); /* a folder that cannot be opened for want of memory is only warned of */
  long tried = interpose_sweep(discover_once, NULL);
  etk_log_set_level(ETK_LOG_WARNING);
  unsetenv("EFFICIENTAI_TRUST_DIRS");
  if (tried < 2) fail_msg("the sweep ended with %ld", tried);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
int main(void) {
  const struct CMUnitTest tests[] = {TEST(folders_come_in_the_order_of_their_origins),
                                     TEST(a_folder_is_searched_once),
                                     TEST(trusted_folders_come_from_both_places),
                                     TEST(plugins_are_listed_by_name_and_the_first_folder_wins),
                                     TEST(an_exact_name_is_found_without_a_list),
                                     TEST(a_folder_named_by_the_user_must_be_there),
                                     TEST(a_folder_that_is_a_file_holds_nothing),
                                     TEST(a_named_file_tells_its_namespace),
                                     TEST(only_root_and_the_user_are_trusted),
                                     TEST(what_anyone_may_write_is_refused_with_its_remedy),
                                     TEST(the_opened_file_and_its_folder_are_checked),
                                     TEST(a_link_is_as_good_as_where_it_leads),
                                     TEST(a_trusted_folder_needs_no_check),
                                     TEST(failing_memory_neither_crashes_nor_leaks)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
