/* Where a model's chat template is found, and what it is given. */
#include "ml_golden.h"
#include "../starve.h"

#include <etk/chat.h>
#include <etk/gguf.h>

static etk_tokenizer *marks; /* <s> is 0, </s> 1, "a" 2, "b" 3 */

static int make(void **state) {
  static const char json[] = "{\"added_tokens\":[{\"id\":0,\"content\":\"<s>\",\"special\":true},{\"id\":1,\"content\":\"</s>\",\"special\":true}],"
                             "\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":2,\"b\":3},\"merges\":[]}}";
  etk_error e = ETK_ERROR_INIT;
  return etk_tokenizer_parse_json(&e, &marks, "marks", json, sizeof json - 1) || make_folder(state) ? -1 : 0;
}
static int unmake(void **state) {
  etk_tokenizer_free(marks);
  return remove_folder(state);
}

/* What the template at `path` makes of one message "a", with tools or without. */
static void renders(const char *path, const char *tools, const char *wanted) {
  etk_chat_format *format = NULL;
  etk_rendered out = ETK_RENDERED_INIT;
  etk_chat chat = {.messages = "[{\"role\":\"user\",\"content\":\"a\"}]", .tools = tools};
  works(etk_chat_format_open(e, &format, path, marks));
  works(etk_chat_format_render(e, format, &out, &chat));
  assert_string_equal(out.text, wanted);
  etk_rendered_free(&out);
  etk_chat_format_free(format);
}

static void put(const char *folder, const char *name, const char *text) { write_text(path_of("%s/%s", folder, name), text); }

static void a_folder_keeps_it_in_one_of_three_files(void **state) {
  char *folder = fresh_folder(state, "model");
  put(folder, "tokenizer_config.json", "{\"chat_template\":\"config {{ messages[0].content }}\"}");
  renders(folder, NULL, "config a");
  put(folder, "chat_template.json", "{\"chat_template\":\"json\"}");
  renders(folder, NULL, "json");
  put(folder, "chat_template.jinja", "jinja");
  renders(folder, NULL, "jinja");
  renders(path_of("%s/chat_template.json", folder), NULL, "json");
  renders(path_of("%s/chat_template.jinja", folder), NULL, "jinja");
}

static void a_list_has_one_for_tools(void **state) {
  char *folder = fresh_folder(state, "list");
  put(folder, "tokenizer_config.json",
      "{\"chat_template\":[{\"name\":\"tool_use\",\"template\":\"tools\"},{\"name\":\"default\",\"template\":\"plain\"},{\"name\":\"rag\",\"template\":\"rag\"}]}");
  renders(folder, NULL, "plain");
  renders(folder, "[{}]", "tools");
}

static void a_gguf_file_keeps_it_in_a_key(void **state) {
  char *path = path_of("%s/model.gguf", (const char *)*state);
  etk_gguf_writer *writer = etk_gguf_writer_new();
  etk_gguf_set_text(writer, "general.architecture", "llama");
  etk_gguf_set_text(writer, "tokenizer.chat_template", "gguf {{ bos_token }}");
  etk_gguf_set_text(writer, "tokenizer.chat_template.tool_use", "gguf tools");
  works(etk_gguf_write(e, writer, path, NULL));
  etk_gguf_writer_free(writer);
  renders(path, NULL, "gguf <s>");
  renders(path, "[{}]", "gguf tools");
}

static void the_tokenizer_gives_its_tokens_and_takes_the_text(void **state) {
  char *folder = fresh_folder(state, "tokens");
  put(folder, "chat_template.jinja", "{{ bos_token }}{{ messages[0].content }}{{ eos_token }}b");
  renders(folder, NULL, "<s>a</s>b");
  etk_chat_format *format = NULL;
  etk_ids ids = ETK_IDS_INIT;
  etk_chat chat = {.messages = "[{\"role\":\"user\",\"content\":\"a\"}]"};
  works(etk_chat_format_open(e, &format, folder, marks));
  works(etk_chat_format_encode(e, format, &ids, &chat));
  const int32_t wanted[] = {0, 2, 1, 3};
  assert_int_equal(ids.count, 4);
  assert_memory_equal(ids.items, wanted, sizeof wanted);
  etk_ids_free(&ids);
  etk_chat_format_free(format);
}

static void what_is_no_template_is_named(void **state) {
  char *folder = fresh_folder(state, "bad");
  etk_chat_format *format = NULL;
  fails_with(ETK_E_NOT_FOUND, "has no chat template", etk_chat_format_open(e, &format, folder, marks));
  put(folder, "tokenizer_config.json", "{\"chat_template\":null}");
  fails_with(ETK_E_NOT_FOUND, "has no chat template", etk_chat_format_open(e, &format, folder, marks));
  static const struct {
    const char *text, *part;
  } rows[] = {{"{\"chat_template\":3}", "must be a text or a list"},
              {"{\"chat_template\":[{\"name\":\"default\"}]}", "entry 0 of \"chat_template\""},
              {"{\"chat_template\":[7]}", "entry 0 of \"chat_template\""},
              {"{\"chat_template\":", "not valid JSON"},
              {"{\"chat_template\":\"{% for %}\"}", "tokenizer_config.json:1:"}};
  for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
    put(folder, "tokenizer_config.json", rows[i].text);
    fails_with(ETK_E_FORMAT, rows[i].part, etk_chat_format_open(e, &format, folder, marks));
    assert_null(format);
  }
  fails_with(ETK_E_NOT_FOUND, "none.jinja", etk_chat_format_open(e, &format, path_of("%s/none.jinja", folder), marks));
}

static void every_failing_allocation_is_an_error_without_a_leak(void **state) {
  char *folder = fresh_folder(state, "failing");
  put(folder, "tokenizer_config.json",
      "{\"chat_template\":[{\"name\":\"default\",\"template\":\"x{{ messages }}\"},{\"name\":\"tool_use\",\"template\":\"y\"}]}");
  starvation s = {.bears = true};
  while (starve(&s)) {
    etk_error e = ETK_ERROR_INIT;
    etk_chat_format *format = NULL;
    etk_status status = etk_chat_format_open(&e, &format, folder, marks);
    etk_chat_format_free(format);
    starved(&s, status, &e);
  }
  assert_true(s.nth > 5);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(a_folder_keeps_it_in_one_of_three_files),
      cmocka_unit_test(a_list_has_one_for_tools),
      cmocka_unit_test(a_gguf_file_keeps_it_in_a_key),
      cmocka_unit_test(the_tokenizer_gives_its_tokens_and_takes_the_text),
      cmocka_unit_test(what_is_no_template_is_named),
      cmocka_unit_test(every_failing_allocation_is_an_error_without_a_leak),
  };
  return cmocka_run_group_tests(tests, make, unmake);
}
