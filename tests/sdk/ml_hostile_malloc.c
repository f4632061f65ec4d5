/* Opening models, tokenizers and adapters while any single malloc of the process fails. */
#include "../interpose.h"

#include "ml/format/json.h"
#include "ml/model/internal.h"

#include <etk/adapter.h>
#include <etk/fs.h>
#include <etk/model.h>
#include <etk/safetensors.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <unistd.h>
#include <cmocka.h>

static char path[4096];

static const char *shared(const char *name) {
  const char *root = getenv("ETK_SHARED");
  snprintf(path, sizeof path, "%s/%s", root ? root : "../shared", name);
  FILE *file = fopen(path, "rb");
  if (!file) return NULL;
  fclose(file);
  return path;
}

static bool open_model(void *user) {
  etk_model *model;
  etk_error e;
  if (etk_model_open(&e, &model, user, NULL)) return false;
  etk_model_unref(model);
  return true;
}

/* Saving a configuration either fails or writes what it always writes: no key may be lost on the way. */
struct saving {
  etk_model *model;
  const char *folder;
  char *wanted; /* config.json, once it was written whole */
};
static bool save_config(void *user) {
  struct saving *s = user;
  etk_error e;
  if (etk__config_save(&e, etk_model_get_config(s->model), s->folder, ETK_F32)) return false;
  static char config[1 << 16], file[4096];
  snprintf(file, sizeof file, "%s/config.json", s->folder);
  int fd = open(file, O_RDONLY); /* fopen would ask for memory */
  ssize_t size = fd < 0 ? -1 : read(fd, config, sizeof config - 1);
  if (size < 0) fail_msg("%s cannot be read", file);
  close(fd);
  config[size] = 0;
  if (!s->wanted) s->wanted = strdup(config);
  else if (strcmp(s->wanted, config)) fail_msg("a save that succeeds wrote another config.json:\n%s", config);
  return true;
}

static bool open_tokenizer(void *user) {
  etk_tokenizer *tokenizer;
  etk_error e;
  if (etk_tokenizer_open(&e, &tokenizer, user, strstr(user, ".bin") ? 512 : 0)) return false;
  etk_ids ids = ETK_IDS_INIT;
  etk_encode_options options = {.special = true};
  etk_status status = etk_tokenizer_encode(&e, tokenizer, &ids, "Once upon a time", 16, &options);
  etk_ids_free(&ids);
  etk_tokenizer_free(tokenizer);
  return !status;
}

struct pair {
  etk_model *model;
  const char *adapter;
};

static bool open_adapter(void *user) {
  struct pair *pair = user;
  etk_adapter *adapter;
  etk_error e;
  if (etk_adapter_open(&e, &adapter, pair->model, pair->adapter, true)) return false;
  etk_adapter_free(adapter);
  return true;
}

static void every_failing_malloc_is_survived(bool (*body)(void *), void *user, long at_least) {
  long tried = interpose_sweep(body, user);
  if (tried < 0) fail_msg("a failure of allocation %ld leaves blocks behind", -1 - tried);
  if (tried < at_least) fail_msg("%ld allocations were tried, wanted at least %ld: is malloc interposed?", tried, at_least);
}

static void a_hugging_face_folder_opens_or_fails_cleanly(void **state) {
  (void)state;
  if (!shared("goldens/models/llama/config.json")) skip();
  *strrchr(path, '/') = '\0';
  char folder[4096];
  snprintf(folder, sizeof folder, "%s", path);
  every_failing_malloc_is_survived(open_model, folder, interposed ? 100 : 20);
}

/* Their configurations have lists, a nested object, and more keys than the others. */
static void newer_families_open_and_save_or_fail_cleanly(void **state) {
  (void)state;
  static const char *const names[] = {"phi3-partial", "gemma3-pattern"};
  char folder[] = "/tmp/etk-hostile.XXXXXX", command[128];
  assert_non_null(mkdtemp(folder));
  for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
    snprintf(path, sizeof path, "tests/goldens/models_ref/%s", names[i]);
    every_failing_malloc_is_survived(open_model, path, interposed ? 100 : 20);
    struct saving s = {.folder = folder};
    etk_error e = ETK_ERROR_INIT;
    if (etk_model_open(&e, &s.model, path, NULL)) fail_msg("%s", e.message);
    assert_true(save_config(&s));
    every_failing_malloc_is_survived(save_config, &s, interposed ? 60 : 10);
    free(s.wanted);
    etk_model_unref(s.model);
  }
  snprintf(command, sizeof command, "rm -r %s", folder);
  assert_int_equal(system(command), 0);
}

static void a_llama2c_file_opens_or_fails_cleanly(void **state) {
  (void)state;
  if (!shared("models/stories260K/stories260K.bin")) skip();
  every_failing_malloc_is_survived(open_model, path, 20);
}

static void a_llama2c_tokenizer_opens_or_fails_cleanly(void **state) {
  (void)state;
  if (!shared("models/stories260K/tok512.bin")) skip();
  every_failing_malloc_is_survived(open_tokenizer, path, 3);
}

static void the_embedded_tokenizer_opens_or_fails_cleanly(void **state) {
  (void)state;
  snprintf(path, sizeof path, "plugins/lora-finetuning-mlx/data/default/tokenizer.json");
  etk_tokenizer *tokenizer;
  etk_error e = ETK_ERROR_INIT;
  if (etk_tokenizer_open(&e, &tokenizer, path, 0)) fail_msg("%s", e.message);
  etk_tokenizer_free(tokenizer);
  /* Thousands of entries mean thousands of allocations, each sweep step a whole parse: a prefix and a sample stand for the rest. */
  for (long nth = 1; nth < 40000; nth += nth < 64 ? 1 : 997) {
    long before = interpose_blocks();
    interpose_arm(nth);
    open_tokenizer(path);
    interpose_disarm();
    if (interpose_blocks() != before) fail_msg("a failure of allocation %ld leaves blocks behind", nth);
  }
}

static void an_adapter_opens_or_fails_cleanly(void **state) {
  (void)state;
  if (!shared("goldens/models/llama-gqa-tied/config.json")) skip();
  *strrchr(path, '/') = '\0';
  struct pair pair = {0};
  etk_error e = ETK_ERROR_INIT;
  if (etk_model_open(&e, &pair.model, path, NULL)) fail_msg("%s", e.message);
  assert_non_null(shared("goldens/lora/lora/init/adapter_config.json"));
  *strrchr(path, '/') = '\0';
  pair.adapter = path;
  every_failing_malloc_is_survived(open_adapter, &pair, interposed ? 60 : 10);
  etk_model_unref(pair.model);
}

struct conversion {
  const etk_model *model;
  const char *in, *out;
  etk_adapter_form form;
};

static bool convert_adapter(void *user) {
  const struct conversion *c = user;
  etk_error e;
  return !etk_adapter_convert(&e, c->in, c->out, c->form, c->model, NULL, 0);
}

static void adapters_of_all_forms_are_converted_or_fail_cleanly(void **state) {
  (void)state;
  if (!shared("goldens/models/llama-gqa-tied/config.json")) skip();
  *strrchr(path, '/') = '\0';
  etk_model *model;
  etk_error e = ETK_ERROR_INIT;
  if (etk_model_open(&e, &model, path, NULL)) fail_msg("%s", e.message);
  assert_non_null(shared("goldens/lora/lora/init/adapter_config.json"));
  *strrchr(path, '/') = '\0';
  char folder[256], paths[ETK_ADAPTER_FORM_COUNT][4096];
  const char *root = getenv("ETK_TMP"), *const names[] = {"", "mlx", "a.gguf", "a.safetensors"};
  snprintf(folder, sizeof folder, "%.200s/etk-hostile.XXXXXX", root ? root : "/tmp");
  assert_non_null(mkdtemp(folder));
  snprintf(paths[0], sizeof paths[0], "%s", path);
  for (int i = 1; i < ETK_ADAPTER_FORM_COUNT; i++) {
    snprintf(paths[i], sizeof paths[i], "%s/%s", folder, names[i]);
    if (etk_adapter_convert(&e, paths[0], paths[i], (etk_adapter_form)i, model, NULL, 0)) fail_msg("%s", e.message);
  }
  for (int i = 0; i < ETK_ADAPTER_FORM_COUNT; i++) { /* each form is read and written once */
    char out[4096];
    etk_adapter_form form = (etk_adapter_form)((i + 1) % ETK_ADAPTER_FORM_COUNT);
    snprintf(out, sizeof out, "%s/out-%d.gguf", folder, i);
    every_failing_malloc_is_survived(convert_adapter, &(struct conversion){model, paths[i], out, form}, interposed ? 40 : 10);
  }
  etk_fs_remove_tree(&e, folder);
  etk_model_unref(model);
}

/* jansson's own json_dumps loses a key when its text cannot grow for it, and succeeds. */
struct putting {
  json_t *value;
  char *wanted;
};
static bool put_value(void *user) {
  struct putting *p = user;
  etk_text text = ETK_TEXT_INIT;
  etk__json_put(&text, p->value, JSON_COMPACT);
  bool whole = !text.failed;
  if (whole && !p->wanted) p->wanted = strdup(text.data);
  else if (whole && strcmp(text.data, p->wanted)) fail_msg("a text that did not fail is another: %s", text.data);
  etk_text_free(&text);
  return whole;
}
static void the_text_of_a_value_is_whole_or_fails(void **state) {
  (void)state;
  char key[16];
  struct putting p = {json_object(), NULL};
  for (int i = 0; i < 200; i++) {
    snprintf(key, sizeof key, "key %d", i);
    json_object_set_new(p.value, key, json_pack("[s, i, {s:b}]", key, i, key, 1));
  }
  assert_true(put_value(&p));
  every_failing_malloc_is_survived(put_value, &p, 3);
  free(p.wanted);
  json_decref(p.value);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(a_hugging_face_folder_opens_or_fails_cleanly), cmocka_unit_test(a_llama2c_file_opens_or_fails_cleanly),
      cmocka_unit_test(a_llama2c_tokenizer_opens_or_fails_cleanly),   cmocka_unit_test(the_embedded_tokenizer_opens_or_fails_cleanly),
      cmocka_unit_test(an_adapter_opens_or_fails_cleanly),            cmocka_unit_test(newer_families_open_and_save_or_fail_cleanly),
      cmocka_unit_test(adapters_of_all_forms_are_converted_or_fail_cleanly), cmocka_unit_test(the_text_of_a_value_is_whole_or_fails),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
