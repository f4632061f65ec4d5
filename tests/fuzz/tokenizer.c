/* Fuzz target: a tokenizer.json, and behind a zero byte, where there is one, the text to encode with it. */
#include "etk/alloc.h"
#include "etk/text.h"
#include "etk/tokenizer.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char sample[] = "Hello  world's 12345 <s> \xc3\xa9\xf0\x9f\x98\x80\n\n the\tend\xff ";

static void decode(const etk_tokenizer *t, const etk_ids *ids) {
  etk_error e = ETK_ERROR_INIT;
  char *text;
  size_t whole, part;
  if (etk_tokenizer_decode(&e, t, &text, &whole, ids->items, ids->count, false) == ETK_OK) {
    if (text[whole]) __builtin_trap();
    etk_free(text);
  }
  etk_decoder *d;
  const char *bytes;
  if (etk_decoder_new(&e, &d, t, true)) return;
  for (size_t i = 0; i <= ids->count; i++)
    if (etk_decoder_push(&e, d, i < ids->count ? ids->items[i] : -1, &bytes, &part) == ETK_OK && !etk_utf8_valid(bytes, part)) __builtin_trap();
  etk_decoder_free(d);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  etk_error e = ETK_ERROR_INIT;
  etk_tokenizer *t;
  const uint8_t *zero = size ? memchr(data, 0, size) : NULL;
  size_t json = zero ? (size_t)(zero - data) : size;
  if (etk_tokenizer_parse_json(&e, &t, "input", (const char *)data, json)) {
    if (!e.message[0] || t) __builtin_trap();
    return 0;
  }
  const char *text = zero ? (const char *)zero + 1 : sample;
  size_t text_size = zero ? size - json - 1 : sizeof sample - 1;
  if (text_size > 512) text_size = 512; /* a pattern may cost time that grows faster than its text */
  etk_ids ids = ETK_IDS_INIT;
  etk_encode_options options = {.special = true, .parse_special = size & 1};
  if (etk_tokenizer_encode(&e, t, &ids, text, text_size, &options) == ETK_OK) {
    for (size_t i = 0; i < ids.count; i++)
      if (!etk_tokenizer_token(t, ids.items[i])) __builtin_trap();
    decode(t, &ids);
  }
  if (etk_tokenizer_bos(t) >= etk_tokenizer_size(t) || etk_tokenizer_eos(t) >= etk_tokenizer_size(t)) __builtin_trap();
  etk_ids_free(&ids);
  etk_tokenizer_free(t);
  return 0;
}
