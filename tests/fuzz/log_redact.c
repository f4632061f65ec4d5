/* Fuzz target: a message. What was blotted out once holds nothing more, never grows, and becomes a line that is JSON. */
#include "core/log_internal.h"
#include "etk/text.h"
#include <jansson.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must_be_json(const char *message) {
  static char line[ETK__LOG_LINE];
  const etk_log_field fields[] = {{.name = "text", .kind = ETK_LOG_FIELD_TEXT, .text = message}, {.name = message, .kind = ETK_LOG_FIELD_INT, .integer = 1}};
  size_t size = etk__line_format(line, ETK_LOG_JSON, ETK_LOG_INFO, 1000, message, fields, 2);
  if (size == 0 || size > sizeof line || memchr(line, '\n', size) != line + size - 1) __builtin_trap();
  json_t *json = json_loadb(line, size, JSON_ALLOW_NUL, NULL);
  if (!json) __builtin_trap();
  json_decref(json);
  size = etk__line_format(line, ETK_LOG_PLAIN, ETK_LOG_INFO, 1000, message, fields, 2);
  if (size == 0 || size > sizeof line || memchr(line, '\n', size) != line + size - 1 || !etk_utf8_valid(line, size)) __builtin_trap();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  char *once = malloc(size + 1), *twice = malloc(size + 1);
  if (once && twice) {
    memcpy(once, data, size);
    once[size] = 0;
    size_t before = strlen(once);
    etk_log_redact(once);
    size_t after = strlen(once);
    if (after > before) __builtin_trap();
    memcpy(twice, once, after + 1);
    if (etk_log_redact(twice) || strcmp(once, twice) != 0) __builtin_trap();
    must_be_json(once);
  }
  free(once);
  free(twice);
  return 0;
}
