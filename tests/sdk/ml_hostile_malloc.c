/* Opening models, tokenizers and adapters while any single malloc of the process fails. */
#include "../interpose.h"

#include <etk/adapter.h>
#include <etk/model.h>
#include <etk/safetensors.h>
#include <setjmp.h>
#include <stdarg.h>
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

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(a_hugging_face_folder_opens_or_fails_cleanly), cmocka_unit_test(a_llama2c_file_opens_or_fails_cleanly),
      cmocka_unit_test(a_llama2c_tokenizer_opens_or_fails_cleanly),   cmocka_unit_test(the_embedded_tokenizer_opens_or_fails_cleanly),
      cmocka_unit_test(an_adapter_opens_or_fails_cleanly),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
