/* Names of models on the hub, and the cache that its tools share. */
#include <etk/alloc.h>
#include <etk/fs.h>
#include <etk/hub.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

static void a_name_is_told_from_a_path(void **state) {
  (void)state;
  static const char *const good[] = {"org/name", "Qwen/Qwen2.5-0.5B", "gpt2", "a/b", "o_r.g/n-a.m_e", "TinyLlama/TinyLlama-1.1B-Chat-v1.0"};
  static const char *const bad[] = {"", "/", "org/", "/name", "org/name/file", "org//name", "-org/name", "org/name-", "org/na--me", "org/na..me", "..", "../name", "org/n me", "org/n\xc3\xa4me", "./x"};
  for (size_t i = 0; i < sizeof good / sizeof *good; i++)
    if (!etk_hub_is_id(good[i])) fail_msg("'%s' is a name", good[i]);
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
    if (etk_hub_is_id(bad[i])) fail_msg("'%s' is no name", bad[i]);
  char part[128] = {0};
  memset(part, 'a', 96);
  assert_true(etk_hub_is_id(part));
  part[96] = 'a';
  assert_false(etk_hub_is_id(part));
}

static void cache_is(const char *wanted) {
  char *cache = etk_hub_cache();
  assert_non_null(cache);
  assert_string_equal(cache, wanted);
  etk_free(cache);
}

static void the_cache_is_where_the_hubs_tools_have_it(void **state) {
  (void)state;
  static const char *const names[] = {"HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_HOME", "XDG_CACHE_HOME"};
  for (size_t i = 0; i < sizeof names / sizeof *names; i++) unsetenv(names[i]);
  setenv("HOME", "/home/me", 1);
  cache_is("/home/me/.cache/huggingface/hub");
  setenv("XDG_CACHE_HOME", "/cache", 1);
  cache_is("/cache/huggingface/hub");
  setenv("HF_HOME", "/hf", 1);
  cache_is("/hf/hub");
  setenv("HUGGINGFACE_HUB_CACHE", "/old", 1);
  cache_is("/old");
  setenv("HF_HUB_CACHE", "/new", 1);
  cache_is("/new");
}

static void fails_with(etk_status wanted, const char *part, etk_status status, const etk_error *e) {
  if (status != wanted || !strstr(e->message, part)) fail_msg("%s (%s), wanted %s", etk_status_name(status), e->message, part);
}

static void a_revision_leads_to_a_snapshot(void **state) {
  (void)state;
  const char *root = getenv("ETK_TMP");
  char cache[256], path[512];
  snprintf(cache, sizeof cache, "%s/etk-hub.XXXXXX", root ? root : "/tmp");
  assert_non_null(mkdtemp(cache));
  static const char commit[] = "0123456789abcdef0123456789abcdef01234567";
  etk_error e = ETK_ERROR_INIT;
  char *found = NULL;
  fails_with(ETK_E_NOT_FOUND, "model pull org/name", etk_hub_find(&e, &found, "org/name", NULL, cache), &e);
  snprintf(path, sizeof path, "%s/models--org--name/snapshots/%s", cache, commit);
  assert_int_equal(etk_fs_make_dirs(&e, path), ETK_OK);
  char *folder = etk_hub_folder(cache, "org/name"), *refs = etk_path_join(folder, "refs/pr"), *ref = etk_path_join(folder, "refs/pr/1"), *broken = etk_path_join(folder, "refs/broken");
  assert_int_equal(etk_fs_make_dirs(&e, refs), ETK_OK);
  assert_int_equal(etk_fs_write(&e, ref, commit, strlen(commit), false), ETK_OK);
  assert_int_equal(etk_fs_write(&e, broken, "../..", 5, false), ETK_OK);
  static const char *const revisions[] = {"refs/pr/1", "pr/1", commit};
  for (size_t i = 1; i < 3; i++) {
    assert_int_equal(etk_hub_find(&e, &found, "org/name", revisions[i], cache), ETK_OK);
    assert_string_equal(found, path);
    etk_free(found);
  }
  fails_with(ETK_E_FORMAT, "names no commit", etk_hub_find(&e, &found, "org/name", "broken", cache), &e);
  fails_with(ETK_E_INVALID, "no name of a revision", etk_hub_find(&e, &found, "org/name", "../../x", cache), &e);
  fails_with(ETK_E_NOT_FOUND, "--revision v9", etk_hub_find(&e, &found, "org/name", "v9", cache), &e);
  setenv("HF_HUB_CACHE", cache, 1);
  assert_int_equal(etk_hub_resolve(&e, &found, "org/name@pr/1"), ETK_OK);
  assert_string_equal(found, path);
  etk_free(found);
  assert_int_equal(etk_hub_resolve(&e, &found, cache), ETK_OK); /* a path stays one */
  assert_string_equal(found, cache);
  etk_free(found);
  assert_int_equal(etk_hub_resolve(&e, &found, "missing.gguf"), ETK_OK); /* whoever opens it says that it is not there */
  etk_free(found);
  char *const all[] = {folder, refs, ref, broken};
  for (size_t i = 0; i < 4; i++) etk_free(all[i]);
  assert_int_equal(etk_fs_remove_tree(&e, cache), ETK_OK);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(a_name_is_told_from_a_path),
      cmocka_unit_test(the_cache_is_where_the_hubs_tools_have_it),
      cmocka_unit_test(a_revision_leads_to_a_snapshot),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
