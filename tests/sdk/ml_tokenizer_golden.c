/* Ids and texts of another implementation (tests/goldens/tokenizers.mjs), and of llama.cpp's vocabulary tests in the shared material. */
#include "ml_golden.h"

#include <etk/text.h>
#include <etk/tokenizer.h>

static json_t *golden;

static etk_tokenizer *tokenizer_of(const json_t *variant) {
  json_t *file = json_deep_copy(json_object_get(json_object_get(golden, "bases"), json_string_value(json_object_get(variant, "base"))));
  assert_int_equal(json_object_update(file, json_object_get(variant, "keys")), 0);
  assert_int_equal(json_object_update(json_object_get(file, "model"), json_object_get(variant, "model")), 0);
  char *bytes = json_dumps(file, JSON_COMPACT);
  etk_tokenizer *tokenizer = NULL;
  works(etk_tokenizer_parse_json(e, &tokenizer, json_string_value(json_object_get(variant, "name")), bytes, strlen(bytes)));
  free(bytes);
  json_decref(file);
  return tokenizer;
}

static void show(etk_text *out, const char *what, const int32_t *ids, size_t count) {
  etk_text_printf(out, "%s [", what);
  for (size_t i = 0; i < count; i++) etk_text_printf(out, " %d", (int)ids[i]);
  etk_text_puts(out, " ] ");
}

static const json_t *variant_at(size_t index) { return json_array_get(json_object_get(golden, "variants"), index); }

static int check_cases(const json_t *variant, const etk_tokenizer *tokenizer) {
  int wrong = 0;
  const json_t *cases = json_object_get(variant, "cases");
  for (size_t i = 0; i < json_array_size(cases); i++) {
    const json_t *item = json_array_get(cases, i), *text = json_object_get(item, "text");
    int32_t wanted[512];
    size_t count = json_ids(json_object_get(item, "ids"), wanted, 512);
    etk_ids ids = ETK_IDS_INIT;
    etk_encode_options options = {.special = true, .parse_special = true};
    works(etk_tokenizer_encode(e, tokenizer, &ids, json_string_value(text), json_string_length(text), &options));
    if (ids.count != count || (count && memcmp(ids.items, wanted, count * sizeof *wanted))) {
      etk_text message = ETK_TEXT_INIT;
      show(&message, "got", ids.items, ids.count);
      show(&message, "wanted", wanted, count);
      print_error("%s: \"%s\": %s\n", json_string_value(json_object_get(variant, "name")), json_string_value(text), message.data);
      etk_text_free(&message);
      wrong++;
    }
    etk_ids_free(&ids);
  }
  return wrong;
}

static int check_decoding(const json_t *variant, const etk_tokenizer *tokenizer) {
  int wrong = 0;
  const json_t *cases = json_object_get(variant, "cases");
  for (size_t i = 0; i < json_array_size(cases); i++) {
    const json_t *item = json_array_get(cases, i), *decoded = json_object_get(item, "decoded");
    int32_t ids[512];
    size_t count = json_ids(json_object_get(item, "ids"), ids, 512), size = 0;
    char *text = NULL;
    if (!decoded) continue;
    works(etk_tokenizer_decode(e, tokenizer, &text, &size, ids, count, true));
    if (size != json_string_length(decoded) || memcmp(text, json_string_value(decoded), size)) {
      print_error("%s: decoded \"%s\", wanted \"%s\"\n", json_string_value(json_object_get(variant, "name")), text, json_string_value(decoded));
      wrong++;
    }
    etk_free(text);
  }
  return wrong;
}

static void every_variant(int (*check)(const json_t *variant, const etk_tokenizer *tokenizer)) {
  int wrong = 0;
  size_t count = json_array_size(json_object_get(golden, "variants"));
  assert_true(count >= 20);
  for (size_t i = 0; i < count; i++) {
    etk_tokenizer *tokenizer = tokenizer_of(variant_at(i));
    assert_true(json_array_size(json_object_get(variant_at(i), "cases")) >= 25);
    wrong += check(variant_at(i), tokenizer);
    etk_tokenizer_free(tokenizer);
  }
  assert_int_equal(wrong, 0);
}

static void ids_equal_another_implementation(void **state) {
  (void)state;
  every_variant(check_cases);
}

static void texts_equal_another_implementation(void **state) {
  (void)state;
  every_variant(check_decoding);
}

/* ---- llama.cpp's vocabulary tests: strings (.inp) and ids (.out) --------------------------------------------------------------------------------- */

static void ids_equal_llama_cpp(const etk_tokenizer *tokenizer, const char *name) {
  static const char separator[] = "\n__ggml_vocab_test__\n";
  char *inputs, *outputs;
  size_t size, count = 0;
  works(etk_fs_read(e, &inputs, &size, shared(path_of("tokenizers/gguf-vocab/ggml-vocab-%s.gguf.inp", name)), 1 << 20));
  works(etk_fs_read(e, &outputs, &size, shared(path_of("tokenizers/gguf-vocab/ggml-vocab-%s.gguf.out", name)), 1 << 20));
  char *wanted = outputs;
  for (char *text = inputs, *end; (end = strstr(text, separator)); text = end + strlen(separator), count++) {
    etk_ids ids = ETK_IDS_INIT;
    etk_encode_options options = {.parse_special = true};
    works(etk_tokenizer_encode(e, tokenizer, &ids, text, (size_t)(end - text), &options));
    etk_text line = ETK_TEXT_INIT;
    for (size_t i = 0; i < ids.count; i++) etk_text_printf(&line, " %d", (int)ids.items[i]);
    etk_text_putc(&line, 0);
    size_t length = strcspn(wanted, "\n");
    wanted[length] = 0;
    assert_string_equal(line.data, wanted);
    wanted += length + 1;
    char *back;
    works(etk_tokenizer_decode(e, tokenizer, &back, &size, ids.items, ids.count, true));
    assert_int_equal(size, end - text);
    assert_memory_equal(back, text, size);
    etk_free(back);
    etk_text_free(&line);
    etk_ids_free(&ids);
  }
  assert_true(count >= 45);
  etk_free(inputs);
  etk_free(outputs);
}

/* The published vocabulary as a tokenizer.json. */
static void gpt2_equals_llama_cpp(void **state) {
  (void)state;
  char *merges, *bytes;
  size_t size;
  json_t *vocab = load_json(shared_or_skip("tokenizers/gpt2/encoder.json")), *list = json_array();
  works(etk_fs_read(e, &merges, &size, shared("tokenizers/gpt2/vocab.bpe"), 1 << 20));
  for (char *line = strchr(merges, '\n') + 1; *line;) {
    size_t length = strcspn(line, "\n");
    json_array_append_new(list, json_stringn(line, length));
    line += length + (line[length] != 0);
  }
  json_t *file = json_pack("{s:{s:s,s:b,s:b},s:{s:s},s:{s:s,s:o,s:o}}", "pre_tokenizer", "type", "ByteLevel", "add_prefix_space", 0, "use_regex", 1,
                           "decoder", "type", "ByteLevel", "model", "type", "BPE", "vocab", vocab, "merges", list);
  assert_non_null(file);
  bytes = json_dumps(file, 0);
  etk_tokenizer *tokenizer;
  works(etk_tokenizer_parse_json(e, &tokenizer, "gpt2", bytes, strlen(bytes)));
  assert_int_equal(etk_tokenizer_size(tokenizer), 50257);
  assert_int_equal(etk_tokenizer_eos(tokenizer), 50256);
  ids_equal_llama_cpp(tokenizer, "gpt-2");
  etk_tokenizer_free(tokenizer);
  free(bytes);
  json_decref(file);
  etk_free(merges);
}

static void qwen_equals_llama_cpp(void **state) {
  (void)state;
  etk_tokenizer *tokenizer;
  works(etk_tokenizer_open(e, &tokenizer, shared_or_skip("tokenizers/qwen3"), 151936));
  assert_string_equal(etk_tokenizer_token(tokenizer, etk_tokenizer_eos(tokenizer)), "<|im_end|>");
  assert_int_equal(etk_tokenizer_bos(tokenizer), -1);
  ids_equal_llama_cpp(tokenizer, "qwen2");
  etk_tokenizer_free(tokenizer);
}

int main(void) {
  golden = load_json("tests/goldens/tokenizers.json");
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(ids_equal_another_implementation),
      cmocka_unit_test(texts_equal_another_implementation),
      cmocka_unit_test(gpt2_equals_llama_cpp),
      cmocka_unit_test(qwen_equals_llama_cpp),
  };
  int failed = cmocka_run_group_tests(tests, NULL, NULL);
  json_decref(golden);
  return failed;
}
