/* Fuzz target: a template, and behind a zero byte, where there is one, the JSON of its variables. */
#include "etk/template.h"
#include "etk/text.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char sample[] = "{\"messages\":[{\"role\":\"system\",\"content\":\"s\"},{\"role\":\"user\",\"content\":\"Hi \\u00e9\",\"n\":[1,2.5,null,true]}],"
                             "\"tools\":null,\"bos_token\":\"<s>\",\"add_generation_prompt\":true,\"a\":-3,\"d\":{\"x\":{\"y\":[\"z\"]}}}";

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  static const struct tm now = {.tm_year = 124, .tm_mon = 6, .tm_mday = 26, .tm_wday = 5, .tm_yday = 207};
  static const etk_template_limits limits = {.steps = 50000, .output_bytes = 1 << 20, .memory_bytes = 8 << 20, .depth = 100};
  etk_error e = ETK_ERROR_INIT;
  etk_template *t;
  const uint8_t *zero = size ? memchr(data, 0, size) : NULL;
  size_t source = zero ? (size_t)(zero - data) : size;
  if (etk_template_parse(&e, &t, "input", (const char *)data, source)) {
    if (!e.message[0] || t) __builtin_trap();
    return 0;
  }
  etk_rendered out = ETK_RENDERED_INIT;
  const char *variables = zero ? (const char *)zero + 1 : sample;
  etk_status status = etk_template_render(&e, t, &out, variables, zero ? size - source - 1 : sizeof sample - 1, &now, &limits);
  if (status ? !e.message[0] || out.text : !out.text || out.text[out.size] || out.size > 1 << 20 || !etk_utf8_valid(out.text, out.size)) __builtin_trap();
  for (size_t i = 0; i < out.generated_count; i++)
    if (out.generated[i].begin > out.generated[i].end || out.generated[i].end > out.size) __builtin_trap();
  etk_rendered_free(&out);
  etk_template_free(t);
  return 0;
}
