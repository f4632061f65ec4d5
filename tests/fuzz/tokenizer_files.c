/* Fuzz target: the other files of tokenizers. The first byte chooses: a SentencePiece model, a gzipped list of merges, a charsmap, or GGUF. */
#include "etk/alloc.h"
#include "etk/gguf.h"
#include "etk/text.h"
#include "etk/tokenizer.h"
#include "ml/text/internal.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char sample[] = "Hello  world's \xe2\x96\x81 12345 <s> \xc3\xa9\xf0\x9f\x98\x80 \xef\xac\x81\n\n ab the\tend\xff ";

static void use(const etk_tokenizer *t) {
  etk_error e = ETK_ERROR_INIT;
  etk_ids ids = ETK_IDS_INIT;
  char *text;
  size_t whole;
  for (int i = 0; i < 4; i++) {
    etk_encode_options options = {.special = true, .end = i & 1, .parse_special = i & 2};
    if (etk_tokenizer_encode(&e, t, &ids, sample, sizeof sample - 1, &options)) continue;
    for (size_t j = 0; j < ids.count; j++)
      if (!etk_tokenizer_token(t, ids.items[j])) __builtin_trap();
    if (etk_tokenizer_decode(&e, t, &text, &whole, ids.items, ids.count, i & 1) == ETK_OK) {
      if (text[whole]) __builtin_trap();
      etk_free(text);
    }
  }
  etk_ids_free(&ids);
}

static etk_status parse_gguf(etk_error *e, etk_tokenizer **t, const uint8_t *data, size_t size) {
  etk_gguf *file;
  *t = NULL;
  etk_status s = etk_gguf_parse(e, &file, "input", data, size);
  if (s != ETK_OK) return s;
  s = etk_tokenizer_open_gguf(e, t, file, "input");
  etk_gguf_close(file);
  return s;
}

static void use_charsmap(const uint8_t *data, size_t size) {
  etk_error e = ETK_ERROR_INIT;
  etk_arena arena = ETK_ARENA_INIT;
  etk_text out = ETK_TEXT_INIT;
  etk__charsmap map;
  if (etk__charsmap_read(&e, &map, &arena, "input", data, size) == ETK_OK) {
    etk__charsmap_put(&map, &out, sample, sizeof sample - 2);
    etk__normal step = {.kind = NORMAL_SENTENCEPIECE, .map = map, .dummy_prefix = true, .fewer_spaces = size & 1, .escape = size & 2};
    etk__put_sentencepiece(&out, &step, sample, sizeof sample - 3);
  }
  etk_text_free(&out);
  etk_arena_fini(&arena);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  etk_error e = ETK_ERROR_INIT;
  etk_tokenizer *t = NULL;
  if (!size) return 0;
  int which = *data++ & 3;
  size--;
  etk_status s = ETK_OK;
  if (which == 0) s = etk_tokenizer_parse_sentencepiece(&e, &t, "input", data, size);
  if (which == 1) s = etk__parse_clip(&e, &t, "input", (const char *)data, size);
  if (which == 2) s = parse_gguf(&e, &t, data, size);
  if (which == 3) use_charsmap(data, size);
  if (s != ETK_OK && (!e.message[0] || t)) __builtin_trap();
  if (t) use(t);
  etk_tokenizer_free(t);
  return 0;
}
