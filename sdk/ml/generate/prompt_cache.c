/* Prompts that are kept: keys and values of a generator to a file and back.
 *
 * A safetensors file: tokens (n) I32, keys and values (layers * blocks * kv_heads, values of one), each row one block of one head as the cache has it (etk/cache.h; of Q8_0
 * its bytes, U8), zeros behind the last token. So a row is copied whole, and a file is read at the speed of its disk. */
#include "internal.h"

#include <etk/alloc.h>
#include <etk/hash.h>
#include <etk/safetensors.h>
#include <etk/text.h>

#include "ml/tensor/internal.h"

static const char format_name[] = "efficientai-toolkit prompt cache", version[] = "1"; /* another layout: another version */

/* What is written or wanted: the first `tokens` of a generator. */
struct kept {
  const etk_generator *gen;
  int64_t tokens, blocks, heads;
  size_t page_bytes; /* of one block of one head */
  etk_dtype dtype;   /* of pages in the file: the cache's, or bytes where it is packed */
  int64_t page;      /* elements of it in a page */
  const int32_t *numbers; /* of blocks */
};

static struct kept kept_of(const etk_generator *gen, int64_t tokens) {
  const etk_cache_options *o = etk_cache_get_options(gen->cache);
  bool packed = !etk_dtype_size(o->dtype);
  size_t bytes = etk_cache_page_bytes(gen->cache);
  struct kept k = {.gen = gen, .tokens = tokens, .blocks = (tokens + o->block_tokens - 1) / o->block_tokens, .heads = o->kv_heads, .page_bytes = bytes,
                   .dtype = packed ? ETK_U8 : o->dtype, .page = (int64_t)(packed ? bytes : bytes / etk_dtype_size(o->dtype))};
  int count;
  k.numbers = etk_cache_sequence_blocks(gen->cache, gen->sequence, &count);
  return k;
}
static int64_t layer_rows(const struct kept *k) { return k->blocks * k->heads; }

static unsigned char *page_at(const struct kept *k, bool values, int64_t row) {
  const etk_cache *cache = k->gen->cache;
  int64_t layer = row / layer_rows(k), block = row / k->heads % k->blocks, head = row % k->heads;
  unsigned char *base = values ? etk_cache_values(cache, (int)layer) : etk_cache_keys(cache, (int)layer);
  return base + (size_t)(head * etk_cache_get_options(cache)->blocks + k->numbers[block]) * k->page_bytes;
}

/* Zeros for what no token has written, so that one prompt is one file. `each` bytes of each token lie together, of `tokens` after the other. */
static unsigned char *clear_row(unsigned char *row, int64_t used, int64_t tokens, size_t each) {
  memset(row + (size_t)used * each, 0, (size_t)(tokens - used) * each);
  return row + (size_t)tokens * each;
}
static void clear_rest(const struct kept *k, bool values, unsigned char *page, int64_t used) {
  const etk_cache_options *o = etk_cache_get_options(k->gen->cache);
  size_t element = etk_dtype_size(o->dtype);
  int64_t n = o->block_tokens, d = o->head_dim, group = element ? d : 32; /* of Q8_0 each 32 of a head begin with scales */
  for (int64_t from = 0; from < d; from += group) {
    if (!element) page = clear_row(page, used, n, sizeof(uint16_t));
    if (values) page = clear_row(page, used, n, (size_t)group * (element ? element : 1));
    else
      for (int64_t i = 0; i < group; i++) page = clear_row(page, used, n, element ? element : 1);
  }
}

static void copy_pages(const struct kept *k, bool values, unsigned char *out, int64_t row, int64_t rows) {
  int64_t width = etk_cache_get_options(k->gen->cache)->block_tokens;
  for (int64_t i = row; i < row + rows; i++, out += k->page_bytes) {
    int64_t used = k->tokens - i / k->heads % k->blocks * width;
    memcpy(out, page_at(k, values, i), k->page_bytes);
    if (used < width) clear_rest(k, values, out, used);
  }
}
static etk_status fill_keys(etk_error *e, void *user, void *out, int64_t row, int64_t rows) {
  (void)e;
  copy_pages(user, false, out, row, rows);
  return ETK_OK;
}
static etk_status fill_values(etk_error *e, void *user, void *out, int64_t row, int64_t rows) {
  (void)e;
  copy_pages(user, true, out, row, rows);
  return ETK_OK;
}

/* With longrope: by which factors keys are turned. */
static const char *factors_of(const etk_generator *gen) { return !gen->original ? "one" : gen->turned_long ? "long" : "short"; }

static etk_status put_digest(etk_error *e, etk_text *digests, char out[33]) {
  if (digests->failed) return etk_fail_memory(e);
  etk_xxh3(out, digests->data, digests->size);
  return ETK_OK;
}
static void add_digest(etk_text *digests, const void *bytes, size_t size) {
  char hex[33];
  etk_xxh3(hex, bytes, size);
  etk_text_append(digests, hex, 32);
}

/* XXH3 of the digests of what a file holds: factors, ids, and each layer's keys and values. */
static etk_status digest_of(etk_error *e, char out[33], const struct kept *k) {
  size_t bytes = (size_t)layer_rows(k) * k->page_bytes;
  unsigned char *layer = etk_alloc(bytes);
  if (!layer) return etk_fail_memory(e);
  etk_text digests = ETK_TEXT_INIT;
  etk_text_puts(&digests, factors_of(k->gen));
  add_digest(&digests, k->gen->seen, (size_t)k->tokens * sizeof *k->gen->seen);
  for (int kind = 0; kind < 2; kind++)
    for (int i = 0; i < etk_cache_get_options(k->gen->cache)->layers; i++) {
      copy_pages(k, kind, layer, i * layer_rows(k), layer_rows(k));
      add_digest(&digests, layer, bytes);
    }
  etk_status status = put_digest(e, &digests, out);
  etk_text_free(&digests);
  etk_free(layer);
  return status;
}

etk_status etk_generator_save(etk_error *e, const etk_generator *gen, const char *path, int64_t tokens) {
  if (tokens <= 0 || tokens > gen->held) tokens = gen->held;
  if (tokens == 0) return etk_fail(e, ETK_E_INVALID, "%s: there is no prompt to keep yet; generate first", path);
  struct kept k = kept_of(gen, tokens);
  const etk_cache_options *o = etk_cache_get_options(gen->cache);
  char model[33], adapter[33], content[33];
  etk_status status = etk__model_fingerprint(e, model, gen->model);
  if (!status) status = etk__adapter_fingerprint(e, adapter, gen->adapter);
  if (!status) status = digest_of(e, content, &k);
  if (status) return status;
  const char *const metadata[] = {"format", format_name, "version", version, "architecture", etk_model_get_config(gen->model)->architecture, "model", model, "adapter", adapter,
                                  "factors", factors_of(gen), "content", content};
  const etk_shape pages = etk_shape_of(2, o->layers * layer_rows(&k), k.page);
  const etk_safetensors_stream streams[] = {{.name = "tokens", .dtype = ETK_I32, .shape = etk_shape_of(1, tokens), .data = gen->seen},
                                            {.name = "keys", .dtype = k.dtype, .shape = pages, .fill = fill_keys, .user = &k},
                                            {.name = "values", .dtype = k.dtype, .shape = pages, .fill = fill_values, .user = &k}};
  return etk_safetensors_write_streams(e, path, streams, 3, metadata, sizeof metadata / sizeof *metadata / 2, &(etk_safetensors_write_options){.replace = true}, NULL);
}

/* ---- reading ---- */

static etk_status check_text(etk_error *e, const etk_safetensors *file, const char *path, const char *key, const char *wanted, etk_status code, const char *what) {
  const char *value = etk_safetensors_metadata(file, key);
  if (value && !strcmp(value, wanted)) return ETK_OK;
  return etk_fail(e, code, "%s: %s ('%s' is '%s', wanted '%s'); give another file, or remove this one to have it made again", path, what, key, value ? value : "(absent)", wanted);
}

static etk_status check_maker(etk_error *e, const etk_safetensors *file, const char *path, const etk_generator *gen) {
  char model[33], adapter[33];
  etk_status status = check_text(e, file, path, "format", format_name, ETK_E_FORMAT, "this safetensors file is no prompt cache");
  if (!status) status = check_text(e, file, path, "version", version, ETK_E_INVALID, "a prompt cache of another version");
  if (!status) status = etk__model_fingerprint(e, model, gen->model);
  if (!status) status = check_text(e, file, path, "model", model, ETK_E_INVALID, "the prompt cache of another model");
  if (!status) status = etk__adapter_fingerprint(e, adapter, gen->adapter);
  return status ? status : check_text(e, file, path, "adapter", adapter, ETK_E_INVALID, "the prompt cache of another adapter");
}

static const char *type_name(int dtype) { return dtype == ETK_U8 ? "Q8_0" : etk_dtype_name((etk_dtype)dtype); }
static etk_status check_entry(etk_error *e, const etk_safetensors_entry **out, const etk_safetensors *file, const char *path, const char *name, etk_dtype dtype, etk_shape wanted) {
  char has[SHAPE_TEXT], wants[SHAPE_TEXT];
  const etk_safetensors_entry *entry = *out = etk_safetensors_find(file, name);
  if (!entry) return etk_fail(e, ETK_E_FORMAT, "%s: the prompt cache has no tensor '%s'", path, name);
  if (entry->dtype != (int)dtype && !strcmp(name, "keys") && (entry->dtype == ETK_F32 || entry->dtype == ETK_F16 || entry->dtype == ETK_U8))
    return etk_fail(e, ETK_E_INVALID, "%s: the prompt cache is of %s, this run's cache of %s; choose the type of the cache as when it was made, or remove the file to have it made again", path,
                    type_name(entry->dtype), type_name((int)dtype));
  if (entry->dtype == (int)dtype && etk_shape_equal(&entry->shape, &wanted)) return ETK_OK;
  return etk_fail(e, ETK_E_FORMAT, "%s: tensor '%s' is %s of %s; the prompt cache of this model has %s of %s", path, name, etk_shape_text(has, sizeof has, &entry->shape), entry->dtype_name,
                  etk_shape_text(wants, sizeof wants, &wanted), etk_dtype_name(dtype));
}

struct content {
  const etk_safetensors_entry *tokens, *keys, *values;
  const char *factors;
};

static etk_status check_content(etk_error *e, const struct content *c, const etk_safetensors *file, const char *path, const struct kept *k) {
  size_t bytes = (size_t)layer_rows(k) * k->page_bytes;
  char hex[33];
  etk_text digests = ETK_TEXT_INIT;
  etk_text_puts(&digests, c->factors);
  add_digest(&digests, c->tokens->data, c->tokens->bytes);
  for (int kind = 0; kind < 2; kind++)
    for (size_t at = 0; at < c->keys->bytes; at += bytes) add_digest(&digests, (const char *)(kind ? c->values : c->keys)->data + at, bytes);
  etk_status status = put_digest(e, &digests, hex);
  etk_text_free(&digests);
  if (!status) status = check_text(e, file, path, "content", hex, ETK_E_FORMAT, "the prompt cache was changed since it was written");
  return status;
}

static etk_status find_content(etk_error *e, struct content *c, const etk_safetensors *file, const char *path, const etk_generator *gen, struct kept *k) {
  const etk_cache_options *o = etk_cache_get_options(gen->cache);
  c->tokens = etk_safetensors_find(file, "tokens");
  c->factors = etk_safetensors_metadata(file, "factors");
  int64_t tokens = c->tokens && c->tokens->shape.rank == 1 ? c->tokens->shape.dims[0] : 0;
  if (tokens < 1 || tokens > etk_model_get_config(gen->model)->max_position_embeddings || etk_safetensors_count(file) != 3)
    return etk_fail(e, ETK_E_FORMAT, "%s: the prompt cache has %lld tokens in %zu tensors; 1 to %lld in 3 are wanted", path, (long long)tokens, etk_safetensors_count(file),
                    (long long)etk_model_get_config(gen->model)->max_position_embeddings);
  if (!c->factors || (gen->original ? strcmp(c->factors, "short") && strcmp(c->factors, "long") : strcmp(c->factors, "one")))
    return etk_fail(e, ETK_E_FORMAT, "%s: 'factors' is '%s', which does not fit this model", path, c->factors ? c->factors : "(absent)");
  *k = kept_of(gen, tokens);
  etk_shape pages = etk_shape_of(2, o->layers * layer_rows(k), k->page);
  etk_status status = check_entry(e, &c->tokens, file, path, "tokens", ETK_I32, etk_shape_of(1, tokens));
  if (!status) status = check_entry(e, &c->keys, file, path, "keys", k->dtype, pages);
  if (!status) status = check_entry(e, &c->values, file, path, "values", k->dtype, pages);
  if (!status) status = check_content(e, c, file, path, k);
  int32_t id;
  for (int64_t i = 0; i < tokens && !status; i++) {
    memcpy(&id, (const char *)c->tokens->data + (size_t)i * sizeof id, sizeof id);
    if (id < 0 || id >= gen->vocab) status = etk_fail(e, ETK_E_FORMAT, "%s: token %lld is %d, the model's ids end at %lld", path, (long long)i, id, (long long)gen->vocab - 1);
  }
  return status;
}

etk_status etk__generator_take(etk_error *e, etk_generator *gen, const etk_safetensors *file, const char *path) {
  struct content c;
  struct kept k;
  etk__generator_trim(gen, 0);
  etk_status status = check_maker(e, file, path, gen);
  if (!status) status = find_content(e, &c, file, path, gen, &k);
  if (status) return status;
  int64_t tokens = k.tokens < gen->capacity ? k.tokens : gen->capacity, rows = k.blocks * k.heads * etk_cache_get_options(gen->cache)->layers;
  status = etk_cache_sequence_reserve(e, gen->cache, gen->sequence, (int)tokens);
  if (status) return status;
  int count;
  k.numbers = etk_cache_sequence_blocks(gen->cache, gen->sequence, &count);
  for (int64_t row = 0; row < rows; row++) {
    if (row / k.heads % k.blocks >= count) continue; /* behind the capacity */
    memcpy(page_at(&k, false, row), (const char *)c.keys->data + (size_t)row * k.page_bytes, k.page_bytes);
    memcpy(page_at(&k, true, row), (const char *)c.values->data + (size_t)row * k.page_bytes, k.page_bytes);
  }
  memcpy(gen->seen, c.tokens->data, (size_t)tokens * sizeof *gen->seen);
  gen->held = tokens;
  gen->turned_long = gen->original && !strcmp(c.factors, "long");
  return ETK_OK;
}

etk_status etk_generator_load(etk_error *e, etk_generator *gen, const char *path) {
  etk_safetensors *file;
  etk__generator_trim(gen, 0);
  etk_status status = etk_safetensors_open(e, &file, path);
  if (status) return status;
  status = etk__generator_take(e, gen, file, path);
  etk_safetensors_close(file);
  return status;
}
