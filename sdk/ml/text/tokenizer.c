#include "internal.h"

#include <etk/fs.h>
#include <inttypes.h>
#include <string.h>

enum { FILE_LIMIT = 256 << 20 }; /* bytes; the largest published tokenizer.json is about 33 MB */

void etk_ids_free(etk_ids *ids) {
  etk_free(ids->items);
  *ids = (etk_ids)ETK_IDS_INIT;
}

bool etk_ids_push(etk_ids *ids, int32_t id) {
  if (ids->count == ids->capacity) {
    size_t capacity = ids->capacity ? ids->capacity * 2 : 64;
    int32_t *items = etk_realloc(ids->items, capacity, sizeof *items);
    if (!items) return false;
    ids->items = items;
    ids->capacity = capacity;
  }
  ids->items[ids->count++] = id;
  return true;
}

/* ---- life ------------------------------------------------------------------------------------------------------------------------------- */

etk_tokenizer *etk__tokenizer_new(etk_error *e, const char *name) {
  etk_tokenizer *t = etk_calloc(1, sizeof *t);
  if (!t) {
    etk__no_memory(e, name);
    return NULL;
  }
  t->bos = t->eos = t->bpe.unknown = -1;
  return t;
}

void etk_tokenizer_free(etk_tokenizer *t) {
  if (!t) return;
  etk__normalizer_fini(&t->normalizer);
  etk__splitter_fini(&t->splitter);
  etk__decode_fini(&t->decode);
  etk__merges_fini(&t->bpe.merges);
  etk_free(t->literal.items);
  etk_free(t->normalized.items);
  etk_free(t->prefix);
  etk__vocabulary_fini(&t->vocabulary);
  etk_free(t);
}

int64_t etk_tokenizer_size(const etk_tokenizer *t) { return (int64_t)t->vocabulary.count; }
int32_t etk_tokenizer_bos(const etk_tokenizer *t) { return t->bos; }
int32_t etk_tokenizer_eos(const etk_tokenizer *t) { return t->eos; }

static int32_t find_added(const etk_tokenizer *t, const etk__added *added, const char *token) {
  for (size_t i = 0; i < added->count; i++)
    if (!strcmp(t->vocabulary.tokens[added->items[i].id].text, token)) return added->items[i].id;
  return -1;
}

int32_t etk_tokenizer_find(const etk_tokenizer *t, const char *token) {
  int32_t id = etk__vocabulary_find(&t->vocabulary, token, strlen(token));
  if (id < 0) id = find_added(t, &t->literal, token);
  return id < 0 ? find_added(t, &t->normalized, token) : id;
}

const char *etk_tokenizer_token(const etk_tokenizer *t, int32_t id) {
  return id >= 0 && (size_t)id < t->vocabulary.count ? t->vocabulary.tokens[id].text : NULL;
}

/* ---- opening ---------------------------------------------------------------------------------------------------------------------------- */

static etk_status check_size(etk_error *e, const etk_tokenizer *t, const char *path, int64_t vocabulary_size) {
  int64_t size = etk_tokenizer_size(t);
  if (vocabulary_size <= 0 || size <= vocabulary_size) return ETK_OK;
  return etk_fail(e, ETK_E_INVALID,
                  "%s: its largest token id is %" PRId64 ", but the model's vocabulary has %" PRId64 " entries: this tokenizer is of another model",
                  path, size - 1, vocabulary_size);
}

static etk_status configure_from(etk_error *e, etk_tokenizer *t, const char *folder) {
  char *path = etk_path_join(folder, "tokenizer_config.json");
  if (!path) return etk__no_memory(e, folder);
  etk_status s = ETK_OK;
  if (etk_fs_exists(path)) {
    char *bytes;
    size_t size;
    s = etk_fs_read(e, &bytes, &size, path, FILE_LIMIT);
    if (s == ETK_OK) {
      s = etk__tokenizer_configure(e, t, path, bytes, size);
      etk_free(bytes);
    }
  }
  etk_free(path);
  return s;
}

static etk_status open_file(etk_error *e, etk_tokenizer **out, const char *path, int64_t vocabulary_size) {
  char *bytes;
  size_t size;
  etk_status s = etk_fs_read(e, &bytes, &size, path, FILE_LIMIT);
  if (s != ETK_OK) return s;
  size_t name_size = strlen(path), at = 0;
  while (at < size && (bytes[at] == ' ' || bytes[at] == '\n' || bytes[at] == '\r' || bytes[at] == '\t')) at++;
  bool json = (at < size && bytes[at] == '{') || (name_size > 5 && !strcmp(path + name_size - 5, ".json"));
  if (!json) s = etk_tokenizer_parse_llama2c(e, out, path, bytes, size, vocabulary_size);
  else {
    s = etk_tokenizer_parse_json(e, out, path, bytes, size);
    char *folder = s == ETK_OK ? etk_path_dir(path) : NULL;
    if (s == ETK_OK) s = folder ? configure_from(e, *out, folder) : etk__no_memory(e, path);
    if (s == ETK_OK) s = check_size(e, *out, path, vocabulary_size);
    etk_free(folder);
  }
  etk_free(bytes);
  if (s == ETK_OK) return ETK_OK;
  etk_tokenizer_free(*out);
  *out = NULL;
  return s;
}

static etk_status missing(etk_error *e, const char *folder) {
  static const char *const others[] = {"tokenizer.model", "vocab.json", "vocab.txt", "spiece.model"};
  for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
    char *path = etk_path_join(folder, others[i]);
    bool there = path && etk_fs_exists(path);
    etk_free(path);
    if (there)
      return etk_fail(e, ETK_E_UNSUPPORTED,
                      "%s has %s but no tokenizer.json; only the latter is read (transformers' save_pretrained of the fast tokenizer writes it)",
                      folder, others[i]);
  }
  return etk_fail(e, ETK_E_NOT_FOUND, "%s has no tokenizer.json", folder);
}

etk_status etk_tokenizer_open(etk_error *e, etk_tokenizer **out, const char *path, int64_t vocabulary_size) {
  static const char *const names[] = {"tokenizer.json", "tokenizer.bin"};
  *out = NULL;
  if (!etk_fs_is_dir(path)) return open_file(e, out, path, vocabulary_size);
  for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
    char *inside = etk_path_join(path, names[i]);
    if (!inside) return etk__no_memory(e, path);
    bool there = etk_fs_exists(inside);
    etk_status s = there ? open_file(e, out, inside, vocabulary_size) : ETK_OK;
    etk_free(inside);
    if (there) return s;
  }
  return missing(e, path);
}

/* ---- encoding --------------------------------------------------------------------------------------------------------------------------- */

typedef struct encoding {
  const etk_tokenizer *t;
  etk__scratch scratch;
  etk_text normal; /* one segment, normalized */
  etk_ids *out;
  bool parse_special;
} encoding;

static etk_status put_piece(etk_error *e, void *user, const char *text, size_t size) {
  encoding *c = user;
  return etk__bpe_encode(e, &c->t->bpe, &c->t->vocabulary, &c->scratch, c->out, text, size);
}

static etk_status put_words(etk_error *e, encoding *c, const char *text, size_t size, bool first) {
  return etk__split_run(e, &c->t->splitter, &c->scratch, text, size, first, put_piece, c);
}

typedef etk_status (*put_function)(etk_error *e, encoding *c, const char *text, size_t size, bool first);

/* Hands the stretches between added tokens to `put`, and the tokens' ids to the output. */
static etk_status put_between(etk_error *e, encoding *c, const etk__added *added, const char *text, size_t size, bool first, put_function put) {
  size_t from = 0;
  etk_status s = ETK_OK;
  while (s == ETK_OK && from < size) {
    etk__added_match match;
    bool found = etk__added_find(added, text, size, from, from, c->parse_special, &match);
    if (match.start > from) s = put(e, c, text + from, match.start - from, first && from == 0);
    if (s == ETK_OK && found && !etk_ids_push(c->out, match.id)) s = etk__no_memory(e, "tokenizer: encoding");
    from = match.end;
  }
  return s;
}

static etk_status put_segment(etk_error *e, encoding *c, const char *text, size_t size, bool first) {
  if (!c->t->normalizer.count) return put_between(e, c, &c->t->normalized, text, size, first, put_words);
  etk_status s = etk__normalize(e, &c->t->normalizer, &c->scratch, &c->normal, text, size);
  return s == ETK_OK ? put_between(e, c, &c->t->normalized, c->normal.data ? c->normal.data : "", c->normal.size, first, put_words) : s;
}

static etk_status put_text(etk_error *e, encoding *c, const char *text, size_t size) {
  if (c->t->kind == TOKENIZER_LLAMA2C) return etk__llama2c_encode(e, c->t, &c->scratch, c->out, text, size);
  return put_between(e, c, &c->t->literal, text, size, true, put_segment);
}

etk_status etk_tokenizer_encode(etk_error *e, const etk_tokenizer *t, etk_ids *out, const char *text, size_t size,
                                const etk_encode_options *options) {
  encoding c = {.t = t, .out = out, .parse_special = options && options->parse_special};
  etk_text repaired = ETK_TEXT_INIT;
  size_t before = out->count;
  etk_status s = etk__scratch_init(e, &c.scratch);
  if (s == ETK_OK && !etk_utf8_valid(text, size)) {
    etk__put_repaired(&repaired, text, size);
    if (repaired.failed) s = etk__no_memory(e, "tokenizer: encoding");
    text = repaired.data;
    size = repaired.size;
  }
  for (size_t i = 0; s == ETK_OK && options && options->special && i < t->prefix_count; i++)
    if (!etk_ids_push(out, t->prefix[i])) s = etk__no_memory(e, "tokenizer: encoding");
  if (s == ETK_OK && size) s = put_text(e, &c, text, size);
  if (s != ETK_OK) out->count = before;
  etk__scratch_fini(&c.scratch);
  etk_text_free(&c.normal);
  etk_text_free(&repaired);
  return s;
}
