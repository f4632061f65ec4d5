#include "conversation.h"

#include "ml/format/json.h"

#include <string.h>
#include <time.h>

/* ShareGPT's names of the roles. */
static const struct {
  const char *from, *role;
} speakers[] = {{"human", "user"}, {"gpt", "assistant"}, {"system", "system"}, {"user", "user"}, {"assistant", "assistant"}, {"tool", "tool"}};

static etk_status from_sharegpt(etk_error *e, json_t **out, const json_t *list) {
  if (!json_is_array(list)) return etk_fail(e, ETK_E_FORMAT, "\"conversations\" must be a list");
  *out = json_array();
  for (size_t i = 0; i < json_array_size(list); i++) {
    const json_t *entry = json_array_get(list, i), *from = json_object_get(entry, "from"), *value = json_object_get(entry, "value");
    if (!json_is_string(from) || !json_is_string(value))
      return etk_fail(e, ETK_E_FORMAT, "every entry of \"conversations\" must be an object with the texts \"from\" and \"value\"");
    const char *role = NULL;
    for (size_t k = 0; k < sizeof speakers / sizeof *speakers && !role; k++)
      if (!strcmp(speakers[k].from, json_string_value(from))) role = speakers[k].role;
    if (!role)
      return etk_fail(e, ETK_E_FORMAT, "entry %zu of \"conversations\" is from \"%.60s\"; wanted human, gpt, system, user, assistant or tool", i,
                      json_string_value(from));
    if (json_array_append_new(*out, json_pack("{s:s, s:O}", "role", role, "content", value))) return etk_fail_memory(e);
  }
  return *out ? ETK_OK : etk_fail_memory(e);
}

/* content: needed as a text where no template says what else may stand there. */
static etk_status find_last_answer(etk_error *e, const json_t *list, bool content, size_t *last) {
  bool found = false;
  if (!json_is_array(list)) return etk_fail(e, ETK_E_FORMAT, "\"messages\" must be a list");
  for (size_t i = 0; i < json_array_size(list); i++) {
    const json_t *message = json_array_get(list, i), *role = json_object_get(message, "role");
    if (!json_is_object(message)) return etk_fail(e, ETK_E_FORMAT, "every entry of \"messages\" must be an object with \"role\" and \"content\"");
    if (!json_is_string(role)) return etk_fail(e, ETK_E_FORMAT, "\"role\" must be a text");
    if (content && !json_is_string(json_object_get(message, "content"))) return etk_fail(e, ETK_E_FORMAT, "\"content\" must be a text");
    if (strcmp(json_string_value(role), "assistant")) continue;
    *last = i;
    found = true;
  }
  return found ? ETK_OK : etk_fail(e, ETK_E_FORMAT, "\"messages\" holds no message of the role \"assistant\", so there is nothing to learn");
}

static etk_status write_plain(etk_error *e, etk_text *prompt, etk_text *answer, const json_t *list, size_t last) {
  for (size_t i = 0; i <= last; i++) {
    const json_t *message = json_array_get(list, i), *content = json_object_get(message, "content");
    etk_text *out = i == last ? answer : prompt;
    etk_text_printf(prompt, "<|%s|>\n", json_string_value(json_object_get(message, "role")));
    etk_text_append(out, json_string_value(content), json_string_length(content));
    etk_text_putc(out, '\n');
  }
  return prompt->failed || answer->failed ? etk_fail_memory(e) : ETK_OK;
}

/* The first `count` messages as the template writes them. */
static etk_status render(etk_error *e, etk_rendered *out, const etk_chat_format *format, etk_chat *chat, const json_t *list, size_t count) {
  json_t *part = json_array();
  bool whole = part != NULL;
  for (size_t i = 0; i < count && whole; i++) whole = json_array_append(part, json_array_get(list, i)) == 0;
  etk_text text = ETK_TEXT_INIT;
  etk__json_put(&text, whole ? part : NULL, JSON_COMPACT);
  json_decref(part);
  chat->messages = text.data;
  etk_status status = text.failed ? etk_fail_memory(e) : etk_chat_format_render(e, format, out, chat);
  chat->messages = NULL;
  etk_text_free(&text);
  return status;
}

/* What both begin with, up to a whole character. */
static size_t common(const etk_rendered *a, const etk_rendered *b) {
  size_t n = 0;
  while (n < a->size && n < b->size && a->text[n] == b->text[n]) n++;
  while (n && n < b->size && ((unsigned char)b->text[n] & 0xc0) == 0x80) n--;
  return n;
}

/* The prompt is what generation would be given; the answer, what the whole conversation has beyond it. */
static etk_status write_template(etk_error *e, etk_text *prompt, etk_text *answer, const json_t *list, size_t last, const etk_chat_format *format,
                                 etk_chat *chat) {
  etk_rendered before = ETK_RENDERED_INIT, whole = ETK_RENDERED_INIT;
  etk_status status = render(e, &whole, format, chat, list, last + 1);
  chat->add_generation_prompt = true;
  if (!status && last) status = render(e, &before, format, chat, list, last);
  if (!status) {
    size_t given = common(&before, &whole);
    etk_text_append(prompt, whole.text, given);
    etk_text_append(answer, whole.text + given, whole.size - given);
    if (prompt->failed || answer->failed) status = etk_fail_memory(e);
  }
  etk_rendered_free(&before);
  etk_rendered_free(&whole);
  return status;
}

etk_status etk__conversation_write(etk_error *e, etk_text *prompt, etk_text *answer, const json_t *object, const etk_chat_format *format, const char *kwargs) {
  json_t *list = json_incref(json_object_get(object, "messages"));
  size_t last = 0;
  etk_status status = list ? ETK_OK : from_sharegpt(e, &list, json_object_get(object, "conversations"));
  if (!status) status = find_last_answer(e, list, !format, &last);
  if (!status && !format) status = write_plain(e, prompt, answer, list, last);
  else if (!status) {
    const json_t *tools = json_object_get(object, "tools");
    etk_text tools_text = ETK_TEXT_INIT;
    if (tools && !json_is_null(tools)) etk__json_put(&tools_text, tools, JSON_COMPACT);
    time_t seconds = time(NULL);
    struct tm now;
    etk_chat chat = {.tools = tools_text.data, .kwargs = kwargs, .now = localtime_r(&seconds, &now)};
    status = tools_text.failed ? etk_fail_memory(e) : write_template(e, prompt, answer, list, last, format, &chat);
    etk_text_free(&tools_text);
  }
  json_decref(list);
  return status;
}
