#include "internal.h"

#include <inttypes.h>
#include <string.h>

/* Decoders are run token by token, so that whole texts and streams share one path. Steps before Fuse (or ByteLevel, which fuses) see one token's
 * text, steps behind it the text as a whole; of those only a Strip at the start can be done on a stream, and no published tokenizer has others. */

/* ---- reading ---------------------------------------------------------------------------------------------------------------------------- */

static etk_status set_content(etk_error *e, etk__decode_step *step, etk_arena *arena, const char *file, const char *content) {
  step->content = etk_arena_strdup(arena, content);
  step->content_size = strlen(content);
  return step->content ? ETK_OK : etk__no_memory(e, file);
}

static etk_status read_replace(etk_error *e, etk__decode_step *step, etk_arena *arena, const char *file, const json_t *json) {
  const json_t *pattern = json_object_get(json, "pattern");
  const char *regex = etk__json_text(pattern, "Regex"), *literal = etk__json_text(pattern, "String"), *content = etk__json_text(json, "content");
  if ((!regex && !literal) || !content)
    return etk_fail(e, ETK_E_FORMAT, "%s: a Replace decoder needs \"pattern\" {String or Regex} and \"content\"", file);
  step->kind = DECODE_REPLACE;
  etk_status s = set_content(e, step, arena, file, content);
  if (s == ETK_OK) s = regex ? etk__regex_new(e, &step->regex, regex) : etk__regex_literal(e, &step->regex, literal);
  return s == ETK_OK ? ETK_OK : etk_error_while(e, s, "%s: Replace decoder", file);
}

static etk_status read_strip(etk_error *e, etk__decode_step *step, etk_arena *arena, const char *file, const json_t *json, bool fused) {
  const char *content = etk__json_text(json, "content");
  step->kind = DECODE_STRIP;
  step->start = json_integer_value(json_object_get(json, "start"));
  step->stop = json_integer_value(json_object_get(json, "stop"));
  if (!content || !*content || step->start < 0 || step->stop < 0)
    return etk_fail(e, ETK_E_FORMAT, "%s: a Strip decoder needs the character \"content\" and counts \"start\" and \"stop\"", file);
  if (fused && step->stop) return etk_fail(e, ETK_E_UNSUPPORTED, "%s: a Strip decoder at the end of the whole text is not supported", file);
  return set_content(e, step, arena, file, content);
}

static etk_status read_metaspace(etk_error *e, etk__decode_step *step, etk_arena *arena, const char *file, const json_t *json) {
  const char *replacement = etk__json_text(json, "replacement"), *scheme = etk__json_text(json, "prepend_scheme");
  step->kind = DECODE_METASPACE;
  step->scheme = etk__json_flag(json, "add_prefix_space", true) ? PREPEND_ALWAYS : PREPEND_NEVER;
  if (scheme) step->scheme = !strcmp(scheme, "never") ? PREPEND_NEVER : PREPEND_ALWAYS; /* first and always decode alike */
  return set_content(e, step, arena, file, replacement ? replacement : "\xe2\x96\x81");
}

etk_status etk__decode_add(etk_error *e, etk__decode *out, etk_arena *arena, const char *file, etk__decode_kind kind, const char *content) {
  if (out->count == ETK__MAX_STEPS) return etk_fail(e, ETK_E_UNSUPPORTED, "%s: more than %d decoders", file, ETK__MAX_STEPS);
  etk__decode_step *step = &out->steps[out->count++];
  step->kind = kind;
  return set_content(e, step, arena, file, content ? content : "");
}

static etk_status read_wordpiece(etk_error *e, etk__decode_step *step, etk_arena *arena, const char *file, const json_t *json) {
  const char *prefix = etk__json_text(json, "prefix");
  step->kind = DECODE_WORDPIECE;
  step->cleanup = etk__json_flag(json, "cleanup", true);
  return set_content(e, step, arena, file, prefix ? prefix : "##");
}

static etk_status read_step(etk_error *e, etk__decode *out, etk_arena *arena, const char *file, const json_t *json, const char *type) {
  bool fused = false;
  for (int i = 0; i < out->count; i++) fused = fused || out->steps[i].kind == DECODE_FUSE || out->steps[i].kind == DECODE_BYTE_LEVEL;
  if (out->count == ETK__MAX_STEPS) return etk_fail(e, ETK_E_UNSUPPORTED, "%s: more than %d decoders", file, ETK__MAX_STEPS);
  etk__decode_step *step = &out->steps[out->count++];
  if (!strcmp(type, "Strip")) return read_strip(e, step, arena, file, json, fused);
  if (!strcmp(type, "Fuse")) {
    step->kind = DECODE_FUSE;
    return ETK_OK;
  }
  if (fused)
    return etk_fail(e, ETK_E_UNSUPPORTED, "%s: the decoder '%s' over the whole text (behind Fuse or ByteLevel) is not supported", file, type);
  if (!strcmp(type, "Replace")) return read_replace(e, step, arena, file, json);
  if (!strcmp(type, "Metaspace")) return read_metaspace(e, step, arena, file, json);
  if (!strcmp(type, "WordPiece")) return read_wordpiece(e, step, arena, file, json);
  if (!strcmp(type, "ByteLevel")) step->kind = DECODE_BYTE_LEVEL;
  else if (!strcmp(type, "ByteFallback")) step->kind = DECODE_BYTE_FALLBACK;
  else if (!strcmp(type, "BPEDecoder")) {
    const char *suffix = etk__json_text(json, "suffix");
    step->kind = DECODE_SUFFIX;
    return set_content(e, step, arena, file, suffix ? suffix : "</w>");
  } else
    return etk_fail(e, ETK_E_UNSUPPORTED,
                    "%s: the decoder '%s' is not supported (ByteLevel, Replace, ByteFallback, Fuse, Strip, Metaspace, WordPiece, BPEDecoder and Sequence "
                    "are)",
                    file, type);
  return ETK_OK;
}

static etk_status read_decoder(etk_error *e, etk__decode *out, etk_arena *arena, const char *file, const json_t *json) {
  const char *type = etk__json_text(json, "type");
  if (!type) return etk_fail(e, ETK_E_FORMAT, "%s: a decoder without a \"type\"", file);
  if (strcmp(type, "Sequence")) return read_step(e, out, arena, file, json, type);
  const json_t *list = json_object_get(json, "decoders");
  if (!json_is_array(list)) return etk_fail(e, ETK_E_FORMAT, "%s: a Sequence decoder needs the list \"decoders\"", file);
  etk_status s = ETK_OK;
  for (size_t i = 0; s == ETK_OK && i < json_array_size(list); i++) s = read_decoder(e, out, arena, file, json_array_get(list, i));
  return s;
}

etk_status etk__decode_read(etk_error *e, etk__decode *out, etk_arena *arena, const char *file, const json_t *json) {
  out->spaced = !json || json_is_null(json);
  return out->spaced ? ETK_OK : read_decoder(e, out, arena, file, json);
}

void etk__decode_fini(etk__decode *decode) {
  for (int i = 0; i < decode->count; i++) etk__regex_free(decode->steps[i].regex);
}

/* ---- one token -------------------------------------------------------------------------------------------------------------------------- */

typedef struct state {
  const etk_tokenizer *tokenizer;
  bool skip_special;
  bool started, space_pending; /* a token came before; a word ended */
  int32_t previous;            /* -1: none */
  int64_t stripped[ETK__MAX_STEPS];
  bool strip_done[ETK__MAX_STEPS];
  etk_text token, other; /* work space */
  pcre2_match_data *match;
} state;

static etk_status state_init(etk_error *e, state *s, const etk_tokenizer *tokenizer, bool skip_special) {
  memset(s, 0, sizeof *s);
  s->tokenizer = tokenizer;
  s->skip_special = skip_special;
  s->previous = -1;
  s->match = etk__regex_data();
  return s->match ? ETK_OK : etk__no_memory(e, "tokenizer: decoding");
}
static void state_fini(state *s) {
  etk_text_free(&s->token);
  etk_text_free(&s->other);
  pcre2_match_data_free(s->match);
}

static int hex_digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}
static int byte_token(const char *text, size_t size) {
  if (size != 6 || memcmp(text, "<0x", 3) || text[5] != '>' || hex_digit(text[3]) < 0 || hex_digit(text[4]) < 0) return -1;
  return hex_digit(text[3]) * 16 + hex_digit(text[4]);
}

/* A token with a character outside the alphabet (an added one, with spaces, say) stands for itself. */
static void from_alphabet(etk_text *out, const char *text, size_t size) {
  size_t before = out->size;
  for (size_t i = 0, n; i < size; i += n) {
    uint32_t c = 0;
    n = etk_utf8_decode(&c, text + i, size - i);
    int byte = n ? etk__char_to_byte(c) : -1;
    if (byte < 0) {
      out->size = before;
      etk_text_append(out, text, size);
      return;
    }
    etk_text_putc(out, (char)byte);
  }
}

static void replace_char(etk_text *out, const char *text, size_t size, const etk__decode_step *step, bool drop) {
  for (size_t i = 0; i < size;) {
    if (size - i >= step->content_size && step->content_size && !memcmp(text + i, step->content, step->content_size)) {
      if (!drop) etk_text_putc(out, ' ');
      i += step->content_size;
    } else etk_text_putc(out, text[i++]);
  }
}

static void strip_token(etk_text *out, const char *text, size_t size, const etk__decode_step *step) {
  size_t n = step->content_size;
  for (int64_t i = 0; i < step->start && size >= n && !memcmp(text, step->content, n); i++) {
    text += n;
    size -= n;
  }
  for (int64_t i = 0; i < step->stop && size >= n && !memcmp(text + size - n, step->content, n); i++) size -= n;
  etk_text_append(out, text, size);
}

/* At the start of the whole text, over as many tokens as it takes. */
static void strip_stream(state *s, int at, etk_text *out, const char *text, size_t size) {
  const etk__decode_step *step = &s->tokenizer->decode.steps[at];
  size_t n = step->content_size;
  while (!s->strip_done[at] && size) {
    if (s->stripped[at] < step->start && size >= n && !memcmp(text, step->content, n)) {
      s->stripped[at]++;
      text += n;
      size -= n;
    } else s->strip_done[at] = true;
  }
  etk_text_append(out, text, size);
}

static void strip_suffix(state *s, const etk__decode_step *step, etk_text *out, const char *text, size_t size) {
  if (s->space_pending) etk_text_putc(out, ' ');
  s->space_pending = size >= step->content_size && step->content_size && !memcmp(text + size - step->content_size, step->content, step->content_size);
  etk_text_append(out, text, s->space_pending ? size - step->content_size : size);
}

/* transformers' clean_up_tokenization, which this decoder does token by token. */
static void clean_up(etk_text *text, etk_text *other) {
  static const char *const pairs[][2] = {{" .", "."},     {" ?", "?"},     {" !", "!"},          {" ,", ","},     {" ' ", "'"},   {" n't", "n't"},
                                         {" 'm", "'m"},   {" do not", " don't"}, {" 's", "'s"}, {" 've", "'ve"}, {" 're", "'re"}};
  for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++) {
    size_t size = strlen(pairs[i][0]);
    if (!text->size || !memmem(text->data, text->size, pairs[i][0], size)) continue;
    other->size = 0;
    etk__put_replaced(other, pairs[i][0], size, pairs[i][1], text->data, text->size);
    etk_text swap = *text;
    *text = *other;
    *other = swap;
  }
}

static void join_wordpiece(state *s, const etk__decode_step *step, etk_text *out, etk_text *token) {
  size_t n = step->content_size;
  bool inside = s->started && n && token->size >= n && !memcmp(token->data, step->content, n);
  if (s->started && !inside) etk_text_putc(out, ' ');
  if (token->size) etk_text_append(out, token->data + (inside ? n : 0), token->size - (inside ? n : 0));
  if (step->cleanup) clean_up(out, token);
}

static etk_status run_steps(etk_error *e, state *s) {
  const etk__decode *decode = &s->tokenizer->decode;
  bool fused = false;
  for (int i = 0; i < decode->count; i++) {
    const etk__decode_step *step = &decode->steps[i];
    const char *text = s->token.data ? s->token.data : "";
    size_t size = s->token.size;
    s->other.size = 0;
    int byte;
    switch (step->kind) {
    case DECODE_BYTE_LEVEL:
      from_alphabet(&s->other, text, size);
      fused = true;
      break;
    case DECODE_REPLACE: {
      etk_status status = etk__replace_all(e, step->regex, s->match, step->content, &s->other, text, size);
      if (status != ETK_OK) return status;
      break;
    }
    case DECODE_BYTE_FALLBACK:
      byte = byte_token(text, size);
      if (byte >= 0) etk_text_putc(&s->other, (char)byte);
      else etk_text_append(&s->other, text, size);
      break;
    case DECODE_METASPACE:
      replace_char(&s->other, text, size, step, !s->started && step->scheme != PREPEND_NEVER);
      break;
    case DECODE_STRIP:
      if (fused) strip_stream(s, i, &s->other, text, size);
      else strip_token(&s->other, text, size, step);
      break;
    case DECODE_SUFFIX:
      strip_suffix(s, step, &s->other, text, size);
      break;
    case DECODE_WORDPIECE:
      join_wordpiece(s, step, &s->other, &s->token);
      break;
    case DECODE_FUSE:
      fused = true;
      continue;
    }
    etk_text swap = s->token;
    s->token = s->other;
    s->other = swap;
  }
  return ETK_OK;
}

static void llama2c_piece(const state *s, etk_text *out, const etk__token *token) {
  const char *text = token->text;
  size_t size = token->size;
  int byte = byte_token(text, size);
  if (s->previous == s->tokenizer->bos && size && text[0] == ' ') {
    text++;
    size--;
  }
  if (byte >= 0) etk_text_putc(out, (char)byte);
  else etk_text_append(out, text, size);
}

/* Appends the bytes that one more token stands for. Ids without a token (rows that a model is padded with) stand for nothing. */
static etk_status decode_token(etk_error *e, state *s, int32_t id, etk_text *out) {
  const etk_tokenizer *t = s->tokenizer;
  if (id < 0) return etk_fail(e, ETK_E_INVALID, "cannot decode the token id %" PRId32 ": ids begin at 0", id);
  const etk__token *token = (size_t)id < t->vocabulary.count ? &t->vocabulary.tokens[id] : NULL;
  if (!token || !token->text || (s->skip_special && token->special)) {
    s->previous = id;
    return ETK_OK;
  }
  if (t->kind == TOKENIZER_LLAMA2C) llama2c_piece(s, out, token);
  else if (t->decode.added_plain && token->added) etk_text_append(out, token->text, token->size);
  else {
    s->token.size = 0;
    etk_text_append(&s->token, token->text, token->size);
    etk_status status = run_steps(e, s);
    if (status != ETK_OK) return status;
    if (t->decode.spaced && s->started) etk_text_putc(out, ' ');
    etk_text_append(out, s->token.data ? s->token.data : "", s->token.size);
  }
  s->previous = id;
  s->started = true;
  return s->token.failed || s->other.failed || out->failed ? etk__no_memory(e, "tokenizer: decoding") : ETK_OK;
}

etk_status etk_tokenizer_decode(etk_error *e, const etk_tokenizer *tokenizer, char **out, size_t *size, const int32_t *ids, size_t count,
                                bool skip_special) {
  *out = NULL;
  *size = 0;
  state s;
  etk_text text = ETK_TEXT_INIT;
  etk_status status = state_init(e, &s, tokenizer, skip_special);
  for (size_t i = 0; status == ETK_OK && i < count; i++) status = decode_token(e, &s, ids[i], &text);
  state_fini(&s);
  if (status == ETK_OK) {
    etk_text_append(&text, "", 0);
    *size = text.size;
    *out = text.data ? etk_text_take(&text) : etk_strdup("");
    if (!*out) status = etk__no_memory(e, "tokenizer: decoding");
  }
  etk_text_free(&text);
  return status;
}

/* ---- streams ---------------------------------------------------------------------------------------------------------------------------- */

struct etk_decoder {
  state state;
  etk_text raw;  /* bytes that do not yet make a whole character */
  etk_text text; /* what the last push gave out */
};

etk_status etk_decoder_new(etk_error *e, etk_decoder **out, const etk_tokenizer *tokenizer, bool skip_special) {
  *out = etk_calloc(1, sizeof **out);
  if (!*out) return etk__no_memory(e, "tokenizer: decoding");
  etk_status s = state_init(e, &(*out)->state, tokenizer, skip_special);
  if (s == ETK_OK) return ETK_OK;
  etk_free(*out);
  *out = NULL;
  return s;
}

void etk_decoder_free(etk_decoder *decoder) {
  if (!decoder) return;
  state_fini(&decoder->state);
  etk_text_free(&decoder->raw);
  etk_text_free(&decoder->text);
  etk_free(decoder);
}

/* Bytes at the end that may yet become a character. */
static size_t unfinished(const char *text, size_t size) {
  for (size_t back = 1; back <= 3 && back <= size; back++) {
    unsigned char c = (unsigned char)text[size - back];
    if ((c & 0xc0) == 0x80) continue;
    size_t want = c >= 0xf0 && c <= 0xf4 ? 4 : c >= 0xe0 && c < 0xf0 ? 3 : c >= 0xc2 && c < 0xe0 ? 2 : 1;
    if (want <= back) return 0;
    if (back >= 2) { /* a second byte that cannot follow will never be whole */
      unsigned char next = (unsigned char)text[size - back + 1];
      if ((c == 0xe0 && next < 0xa0) || (c == 0xed && next > 0x9f) || (c == 0xf0 && next < 0x90) || (c == 0xf4 && next > 0x8f)) return 0;
    }
    return back;
  }
  return 0;
}

etk_status etk_decoder_push(etk_error *e, etk_decoder *d, int32_t id, const char **bytes, size_t *size) {
  *bytes = "";
  *size = 0;
  d->text.size = 0;
  etk_status s = id == -1 ? ETK_OK : decode_token(e, &d->state, id, &d->raw);
  if (s != ETK_OK) return s;
  if (!d->raw.size) return ETK_OK;
  size_t held = id == -1 ? 0 : unfinished(d->raw.data, d->raw.size);
  etk__put_repaired(&d->text, d->raw.data, d->raw.size - held);
  memmove(d->raw.data, d->raw.data + d->raw.size - held, held);
  d->raw.size = held;
  if (d->text.failed) return etk__no_memory(e, "tokenizer: decoding");
  *bytes = d->text.data ? d->text.data : "";
  *size = d->text.size;
  return ETK_OK;
}
