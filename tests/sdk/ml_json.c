/* The memory of JSON: what a text's tree takes is known before it is built, and what is out of proportion is refused. */
#include "../peak.h"
#include "ml_golden.h"

#include "ml/format/json.h"

#include <etk/text.h>

static char *repeat(const char *before, const char *again, size_t count, const char *after, size_t *size) {
  etk_text text = ETK_TEXT_INIT;
  etk_text_puts(&text, before);
  for (size_t i = 0; i < count; i++) etk_text_printf(&text, again, i);
  etk_text_puts(&text, after);
  assert_false(text.failed);
  *size = text.size;
  return text.data;
}

static const struct {
  const char *before, *again, *after;
  size_t count;
} shapes[] = {
    {"[[0]", ",[0]", "]", 50000},
    {"[{}", ",{}", "]", 50000},
    {"[0", ",%zu", "]", 100000},
    {"[\"\"", ",\"a%zu\"", "]", 100000},
    {"{\"x\":0", ",\"k%zu\":1.5", "}", 100000},
    {"{\"x\":0", ",\"k%zu\":{\"a\":[true,false,null]}", "}", 30000},
    {"[\"", "\\u00e9\\n", "\"]", 50000},
    {"[[\"a\",\"b\"]", ",[\"long %zu\",\"longer\"]", "]", 50000},
    {"", "[", "", 3000},
};

static void a_trees_size_is_known_before_it_is_built(void **state) {
  (void)state;
  if (!peak_counts) skip();
  for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
    size_t size;
    char *text = repeat(shapes[i].before, shapes[i].again, shapes[i].count, shapes[i].after, &size);
    json_error_t problem;
    size_t told = etk__json_tree_bytes(text, size);
    long before = peak_begin();
    json_t *root = etk__json_load_within(text, size, SIZE_MAX, 0, &problem);
    long most = peak_end(before);
    json_decref(root);
    /* 300 kB more: the reserve for failing allocations and jansson's buffers. Below: a text of one long escape is shorter in the tree than it is written. */
    if (most > (long)told + 300000) fail_msg("shape %zu: %ld bytes, %zu were told", i, most, told);
    if (i != 6 && root && (double)told > 1.3 * (double)most) fail_msg("shape %zu: %ld bytes, and %zu were told", i, most, told);
    etk_text_free(&(etk_text){.data = text, .size = size});
  }
}

static void what_is_out_of_proportion_is_refused_with_the_numbers(void **state) {
  (void)state;
  size_t size;
  json_t *root;
  char *text = repeat("[0", ",[0]", 300000, "]", &size);
  fails_with(ETK_E_FORMAT, path_of("x.json: its values would take 51 MB of memory, and 21 MB are the most for a text of %zu bytes: refused", size),
             etk__json_parse(e, &root, "x.json", text, size));
  assert_null(root);
  fails_with(ETK_E_FORMAT, "x.json: its values", etk__json_parse_tokenizer(e, &root, "x.json", text, size));
  etk_text_free(&(etk_text){.data = text, .size = size});
}

/* Real vocabularies written without blanks are dense: their merges are joined first. */
static void merges_of_a_dense_tokenizer_are_joined(void **state) {
  (void)state;
  size_t size;
  json_t *root;
  char *text = repeat("{\"merges\":1,\"model\":{\"vocab\":{},\"merges\":[[\"a\",\"b\"],[\"\\\"\",\"\\\\\"],[\"a "
                      "b\",\"c\"],[\"a\\u0020\",\"c\"],[\"x\"], [ \"y\" , \"z\" ]",
                      ",[\"a%zu\",\"b\"]", 150000, "],\"other\":[[\"a\",\"b\"]]}}", &size);
  assert_true(etk__json_tree_bytes(text, size) > size * 8 + (12 << 20));
  works(etk__json_parse_tokenizer(e, &root, "x.json", text, size));
  const json_t *model = json_object_get(root, "model"), *merges = json_object_get(model, "merges");
  assert_int_equal(json_array_size(merges), 150006);
  assert_string_equal(json_string_value(json_array_get(merges, 0)), "a b");
  assert_string_equal(json_string_value(json_array_get(merges, 1)), "\" \\");
  assert_true(json_is_array(json_array_get(merges, 2)) && json_is_array(json_array_get(merges, 3)) && json_is_array(json_array_get(merges, 4)));
  assert_string_equal(json_string_value(json_array_get(merges, 5)), "y z");
  assert_string_equal(json_string_value(json_array_get(merges, 150005)), "a149999 b");
  assert_true(json_is_array(json_array_get(json_object_get(model, "other"), 0)));
  json_decref(root);
  etk_text_free(&(etk_text){.data = text, .size = size});
  works(etk__json_parse_tokenizer(e, &root, "x.json", "{\"merges\":[[\"a\",\"b\"]]}", 22)); /* not where there is room */
  assert_true(json_is_array(json_array_get(json_object_get(root, "merges"), 0)));
  json_decref(root);
}

static void values_are_shown_whole_or_cut_at_a_character(void **state) {
  (void)state;
  json_t *value = json_pack("{s:[i,f,n]}", "a", 1, 0.5);
  assert_string_equal(etk__json_show(value).text, "{\"a\":[1,0.5,null]}");
  json_decref(value);
  assert_string_equal(etk__json_show(NULL).text, "?");
  for (int before = 0; before < 4; before++) { /* a character of three bytes at each place of the end */
    char text[200];
    size_t used = (size_t)snprintf(text, sizeof text, "%.*s", before, "xxx");
    while (used + 3 < sizeof text) used += (size_t)snprintf(text + used, sizeof text - used, "\u20ac");
    value = json_string(text);
    etk__json_shown shown = etk__json_show(value);
    size_t size = strlen(shown.text);
    assert_true(etk_utf8_valid(shown.text, size));
    assert_true(size > sizeof shown.text - 5 && size < sizeof shown.text);
    assert_memory_equal(shown.text + 1, text, size - 1);
    json_decref(value);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(a_trees_size_is_known_before_it_is_built),
      cmocka_unit_test(what_is_out_of_proportion_is_refused_with_the_numbers),
      cmocka_unit_test(values_are_shown_whole_or_cut_at_a_character),
      cmocka_unit_test(merges_of_a_dense_tokenizer_are_joined),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
