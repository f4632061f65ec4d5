/* Fuzz target: a llama2.c tokenizer. Two bytes choose the vocabulary size that the model is said to have. */
#include "etk/alloc.h"
#include "etk/text.h"
#include "etk/tokenizer.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char sample[] = "Once upon  a time <0x41>\xc3\xa9 \xf0\x9f\x98\x80\n\xff abcabcabc";

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  if (size < 2) return 0;
  etk_error e = ETK_ERROR_INIT;
  etk_tokenizer *t;
  int64_t vocabulary = data[0] | data[1] << 8;
  if (etk_tokenizer_parse_llama2c(&e, &t, "input", data + 2, size - 2, vocabulary)) {
    if (!e.message[0] || t) __builtin_trap();
    return 0;
  }
  if (vocabulary && etk_tokenizer_size(t) != vocabulary) __builtin_trap();
  etk_ids ids = ETK_IDS_INIT;
  etk_encode_options options = {.special = true};
  if (etk_tokenizer_encode(&e, t, &ids, sample, sizeof sample - 1, &options)) __builtin_trap();
  etk_decoder *d;
  if (etk_decoder_new(&e, &d, t, false)) __builtin_trap();
  for (size_t i = 0; i <= ids.count; i++) {
    const char *bytes;
    size_t part;
    if (i < ids.count && !etk_tokenizer_token(t, ids.items[i])) __builtin_trap();
    if (etk_decoder_push(&e, d, i < ids.count ? ids.items[i] : -1, &bytes, &part) || !etk_utf8_valid(bytes, part)) __builtin_trap();
  }
  etk_decoder_free(d);
  etk_ids_free(&ids);
  etk_tokenizer_free(t);
  return 0;
}
