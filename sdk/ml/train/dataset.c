#include "conversation.h"
#include "ml/format/json.h"
#include "ml/format/stem.h"
#include <etk/alloc.h>
#include <etk/dataset.h>
#include <etk/fs.h>
#include <etk/text.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdatomic.h>
#include <string.h>

/* All ids of a file lie in one store; data sets that were split share it. */
typedef struct store {
  atomic_int references;
  etk_ids ids;
} store;

typedef struct record {
  size_t start; /* in the store */
  int32_t count, masked;
  bool truncated;
} record;

struct etk_dataset {
  store *store;
  record *records;
  size_t count, capacity;
};

typedef struct reading {
  etk_dataset *dataset;
  const etk_dataset_options *options;
  const char *path;
  size_t line;      /* 1-based; 0: the whole file */
  const char *unit; /* what `line` counts */
  int32_t max_tokens;
} reading;

void etk_dataset_free(etk_dataset *d) {
  if (!d) return;
  if (d->store && atomic_fetch_sub(&d->store->references, 1) == 1) {
    etk_ids_free(&d->store->ids);
    etk_free(d->store);
  }
  etk_free(d->records);
  etk_free(d);
}

static etk_dataset *new_dataset(store *shared) {
  etk_dataset *d = etk_calloc(1, sizeof *d);
  if (!d) return NULL;
  d->store = shared ? shared : etk_calloc(1, sizeof *d->store);
  if (!d->store) {
    etk_free(d);
    return NULL;
  }
  if (shared) atomic_fetch_add(&shared->references, 1);
  else atomic_init(&d->store->references, 1);
  return d;
}

static bool push_record(etk_dataset *d, record r) {
  if (d->count == d->capacity) {
    size_t capacity = d->capacity ? d->capacity * 2 : 64;
    record *records = etk_realloc(d->records, capacity, sizeof *records);
    if (!records) return false;
    d->records = records;
    d->capacity = capacity;
  }
  d->records[d->count++] = r;
  return true;
}

static etk_status no_memory(etk_error *e, const char *path) {
  return etk_fail(e, ETK_E_NO_MEMORY, "%s: out of memory while reading the data set", path);
}

/* "data/train.jsonl:17" or "data.json, record 17" */
static const char *where(const reading *r, char out[512]) {
  if (!r->line) snprintf(out, 512, "%s", r->path);
  else if (!strcmp(r->unit, "line")) snprintf(out, 512, "%s:%zu", r->path, r->line);
  else snprintf(out, 512, "%s, %s %zu", r->path, r->unit, r->line);
  return out;
}

static etk_status bad(etk_error *e, const reading *r, const char *what) {
  char at[512];
  return etk_fail(e, ETK_E_FORMAT, "%s: %s", where(r, at), what);
}

/* ---- ids to sequences -------------------------------------------------------------------------------------------------------------------- */

static etk_status check_ids(etk_error *e, const reading *r, size_t start) {
  const etk_ids *ids = &r->dataset->store->ids;
  for (size_t i = start; r->options->vocabulary_size > 0 && i < ids->count; i++) {
    char at[512];
    if (ids->items[i] >= r->options->vocabulary_size)
      return etk_fail(e, ETK_E_INVALID, "%s: token id %" PRId32 " (position %zu) is outside the model's vocabulary of %" PRId64 " entries",
                      where(r, at), ids->items[i], i - start, r->options->vocabulary_size);
  }
  return ETK_OK;
}

/* Everything in the store from `start` on becomes one sequence. One token alone has nothing to predict and is left out. */
static etk_status end_sequence(etk_error *e, reading *r, size_t start, size_t masked) {
  etk_ids *ids = &r->dataset->store->ids;
  etk_status s = check_ids(e, r, start);
  if (s != ETK_OK) return s;
  size_t count = ids->count - start;
  bool truncated = count > (size_t)r->max_tokens;
  if (truncated) count = (size_t)r->max_tokens;
  ids->count = start + (count >= 2 ? count : 0);
  if (count < 2) return ETK_OK;
  record item = {start, (int32_t)count, (int32_t)(masked < count ? masked : count), truncated};
  return push_record(r->dataset, item) ? ETK_OK : no_memory(e, r->path);
}

static etk_status end_windows(etk_error *e, reading *r, size_t start) {
  etk_ids *ids = &r->dataset->store->ids;
  etk_status s = check_ids(e, r, start);
  for (size_t at = start; s == ETK_OK && ids->count - at >= 2;) {
    size_t left = ids->count - at, count = left < (size_t)r->max_tokens ? left : (size_t)r->max_tokens;
    if (!push_record(r->dataset, (record){at, (int32_t)count, 0, false})) s = no_memory(e, r->path);
    at += count;
  }
  return s;
}

static etk_status put_text(etk_error *e, reading *r, const char *text, size_t size, bool special) {
  char at[512];
  if (!r->options->tokenizer)
    return etk_fail(
        e, ETK_E_INVALID,
        "%s: this is text, and the model came without a tokenizer: put its tokenizer.json beside the model, or give token ids as {\"ids\": [...]}",
        where(r, at));
  /* Control tokens written in training text mean what they say, as in Hugging Face's tokenizers. */
  etk_encode_options options = {.special = special, .parse_special = true};
  etk_status s = etk_tokenizer_encode(e, r->options->tokenizer, &r->dataset->store->ids, text, size, &options);
  return s == ETK_OK ? ETK_OK : etk_error_while(e, s, "%s", where(r, at));
}

static etk_status put_eos(etk_error *e, reading *r, size_t start) {
  int32_t eos = etk_tokenizer_eos(r->options->tokenizer);
  etk_ids *ids = &r->dataset->store->ids;
  if (!r->options->append_eos || eos < 0 || (ids->count > start && ids->items[ids->count - 1] == eos)) return ETK_OK;
  return etk_ids_push(ids, eos) ? ETK_OK : no_memory(e, r->path);
}

/* The two halves are tokenised apart, although a merge may be lost where they meet: generation too is given the prompt alone, so the model sees
 * the same tokens there as in training, and the mask falls on a token's edge. bare: the texts hold no control tokens of their own, so the tokenizer's
 * stand around them. */
static etk_status add_pair(etk_error *e, reading *r, const char *prompt, size_t prompt_size, const char *completion, size_t completion_size, bool bare) {
  size_t start = r->dataset->store->ids.count;
  etk_status s = put_text(e, r, prompt, prompt_size, bare);
  size_t masked = r->dataset->store->ids.count - start;
  if (s == ETK_OK) s = put_text(e, r, completion, completion_size, false);
  if (s == ETK_OK && bare) s = put_eos(e, r, start);
  return s == ETK_OK ? end_sequence(e, r, start, masked) : s;
}

/* ---- the kinds of lines ------------------------------------------------------------------------------------------------------------------- */

static etk_status take_text(etk_error *e, const reading *r, const json_t *object, const char *key, const char **text, size_t *size) {
  const json_t *value = json_object_get(object, key);
  char at[512];
  if (!json_is_string(value)) return etk_fail(e, ETK_E_FORMAT, "%s: \"%s\" must be a text", where(r, at), key);
  *text = json_string_value(value);
  *size = json_string_length(value);
  return ETK_OK;
}

static etk_status add_text(etk_error *e, reading *r, const json_t *object) {
  const char *text;
  size_t size, start = r->dataset->store->ids.count;
  etk_status s = take_text(e, r, object, "text", &text, &size);
  if (s == ETK_OK) s = put_text(e, r, text, size, true);
  if (s == ETK_OK) s = put_eos(e, r, start);
  return s == ETK_OK ? end_sequence(e, r, start, 0) : s;
}

static etk_status add_prompt(etk_error *e, reading *r, const json_t *object) {
  const char *prompt, *completion;
  size_t prompt_size, completion_size;
  etk_status s = take_text(e, r, object, "prompt", &prompt, &prompt_size);
  if (s == ETK_OK) s = take_text(e, r, object, "completion", &completion, &completion_size);
  return s == ETK_OK ? add_pair(e, r, prompt, prompt_size, completion, completion_size, true) : s;
}

/* The Alpaca layout: see etk/dataset.h for how it is written out. */
static etk_status add_instruction(etk_error *e, reading *r, const json_t *object) {
  const char *instruction, *output, *input = "";
  size_t instruction_size, output_size, input_size = 0;
  etk_status s = take_text(e, r, object, "instruction", &instruction, &instruction_size);
  if (s == ETK_OK) s = take_text(e, r, object, "output", &output, &output_size);
  if (s == ETK_OK && json_object_get(object, "input")) s = take_text(e, r, object, "input", &input, &input_size);
  if (s != ETK_OK) return s;
  etk_text prompt = ETK_TEXT_INIT;
  etk_text_puts(&prompt, "### Instruction:\n");
  etk_text_append(&prompt, instruction, instruction_size);
  if (input_size) {
    etk_text_puts(&prompt, "\n\n### Input:\n");
    etk_text_append(&prompt, input, input_size);
  }
  etk_text_puts(&prompt, "\n\n### Response:\n");
  s = prompt.failed ? no_memory(e, r->path) : add_pair(e, r, prompt.data, prompt.size, output, output_size, true);
  etk_text_free(&prompt);
  return s;
}

static etk_status add_messages(etk_error *e, reading *r, const json_t *object) {
  etk_text prompt = ETK_TEXT_INIT, answer = ETK_TEXT_INIT;
  char at[512];
  etk_status s = etk__conversation_write(e, &prompt, &answer, object, r->options->chat, r->options->chat_kwargs);
  if (s == ETK_OK) s = add_pair(e, r, prompt.data, prompt.size, answer.data, answer.size, !r->options->chat);
  else s = etk_error_while(e, s, "%s", where(r, at));
  etk_text_free(&prompt);
  etk_text_free(&answer);
  return s;
}

static etk_status add_ids(etk_error *e, reading *r, const json_t *object) {
  const json_t *list = json_object_get(object, "ids");
  if (!json_is_array(list)) return bad(e, r, "\"ids\" must be a list of token ids");
  etk_ids *ids = &r->dataset->store->ids;
  size_t start = ids->count;
  for (size_t i = 0; i < json_array_size(list); i++) {
    const json_t *item = json_array_get(list, i);
    json_int_t id = json_is_integer(item) ? json_integer_value(item) : -1;
    char at[512];
    if (!json_is_integer(item)) return etk_fail(e, ETK_E_FORMAT, "%s: entry %zu of \"ids\" is not a whole number", where(r, at), i);
    int64_t limit = r->options->vocabulary_size > 0 ? r->options->vocabulary_size : INT32_MAX;
    if (id < 0 || id >= limit)
      return etk_fail(e, ETK_E_INVALID, "%s: token id %lld (position %zu) is outside the model's vocabulary of %" PRId64 " entries", where(r, at),
                      (long long)id, i, limit);
    if (!etk_ids_push(ids, (int32_t)id)) return no_memory(e, r->path);
  }
  return end_sequence(e, r, start, 0);
}

/* The first row whose keys are all there is taken. */
static const struct {
  const char *key, *second;
  etk_status (*add)(etk_error *e, reading *r, const json_t *object);
} kinds[] = {
    {"ids", NULL, add_ids},   {"messages", NULL, add_messages},           {"conversations", NULL, add_messages},
    {"text", NULL, add_text}, {"instruction", "output", add_instruction}, {"prompt", "completion", add_prompt},
};

static etk_status unknown_keys(etk_error *e, const reading *r, json_t *object) {
  etk_text found = ETK_TEXT_INIT;
  const char *key;
  json_t *value;
  json_object_foreach(object, key, value) {
    if (found.size > 200) break;
    etk_text_printf(&found, "%s\"%.60s\"", found.size ? ", " : "", key);
  }
  char at[512];
  etk_status s =
      etk_fail(e, ETK_E_FORMAT,
               "%s: found %s; wanted \"text\", or \"prompt\" and \"completion\", or \"messages\", or \"instruction\" and \"output\", or \"ids\"",
               where(r, at), found.size ? found.data : "no keys at all");
  etk_text_free(&found);
  return s;
}

static etk_status add_object(etk_error *e, reading *r, json_t *object) {
  if (!json_is_object(object)) return bad(e, r, "a JSON object is wanted, such as {\"text\": \"...\"}");
  for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
    if (json_object_get(object, kinds[i].key) && (!kinds[i].second || json_object_get(object, kinds[i].second))) return kinds[i].add(e, r, object);
  return unknown_keys(e, r, object);
}

/* ---- files --------------------------------------------------------------------------------------------------------------------------------- */

static bool is_blank(const char *text, size_t size) {
  for (size_t i = 0; i < size; i++)
    if (text[i] != ' ' && text[i] != '\t' && text[i] != '\r' && text[i] != '\n') return false;
  return true;
}

static json_t *load(etk_error *e, const reading *r, const char *text, size_t size, etk_status *s) {
  json_error_t problem;
  char at[512];
  json_t *json = etk__json_loadb(text, size, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, &problem);
  if (json) return json;
  if (json_error_code(&problem) == json_error_out_of_memory) *s = no_memory(e, r->path);
  else if (r->line) *s = etk_fail(e, ETK_E_FORMAT, "%s: not valid JSON: %s (column %d)", where(r, at), problem.text, problem.column);
  else *s = etk_fail(e, ETK_E_FORMAT, "%s:%d: not valid JSON: %s (column %d)", r->path, problem.line, problem.text, problem.column);
  return NULL;
}

static etk_status read_lines(etk_error *e, reading *r, const char *text, size_t size) {
  etk_status s = ETK_OK;
  r->unit = "line";
  for (size_t at = 0; s == ETK_OK && at < size;) {
    const char *end = memchr(text + at, '\n', size - at);
    size_t length = end ? (size_t)(end - text) - at : size - at;
    r->line++;
    if (!is_blank(text + at, length)) {
      json_t *object = load(e, r, text + at, length, &s);
      if (object) s = add_object(e, r, object);
      json_decref(object);
    }
    at += length + 1;
  }
  return s;
}

static etk_status read_list(etk_error *e, reading *r, const char *text, size_t size) {
  etk_status s = ETK_OK;
  json_t *list = load(e, r, text, size, &s);
  r->unit = "record";
  for (size_t i = 0; s == ETK_OK && i < json_array_size(list); i++) {
    r->line++;
    s = add_object(e, r, json_array_get(list, i));
  }
  json_decref(list);
  return s;
}

static etk_status read_document(etk_error *e, reading *r, const char *text, size_t size) {
  size_t good = 0;
  for (size_t i = 0, n; i < size; i += n) {
    uint32_t c;
    n = etk_utf8_decode(&c, text + i, size - i);
    if (!n) return etk_fail(e, ETK_E_FORMAT, "%s: not a text file: byte 0x%02x at offset %zu is not UTF-8", r->path, (unsigned char)text[i], i);
    good++;
  }
  size_t start = r->dataset->store->ids.count;
  etk_status s = good ? put_text(e, r, text, size, true) : ETK_OK;
  if (s == ETK_OK && good) s = put_eos(e, r, start);
  return s == ETK_OK ? end_windows(e, r, start) : s;
}

static etk_status read_bytes(etk_error *e, reading *r, const char *text, size_t size) {
  if (size >= 3 && !memcmp(text, "\xef\xbb\xbf", 3)) {
    text += 3;
    size -= 3;
  }
  if (is_blank(text, size)) return etk_fail(e, ETK_E_FORMAT, "%s: the file is empty", r->path);
  etk_status s;
  size_t first = strspn(text, " \t\r\n"); /* not blank, so it ends inside */
  if (!etk__stem(r->path, ".jsonl") && !etk__stem(r->path, ".json")) s = read_document(e, r, text, size);
  else if (text[first] == '[' && etk__stem(r->path, ".json")) s = read_list(e, r, text, size);
  else s = read_lines(e, r, text, size);
  if (s == ETK_OK && !r->dataset->count)
    return etk_fail(e, ETK_E_FORMAT, "%s: no sequence in it has the two tokens that a prediction takes", r->path);
  return s;
}

static etk_status read_file(etk_error *e, etk_dataset **out, const char *path, const etk_dataset_options *options) {
  if (options->max_tokens == 1) return etk_fail(e, ETK_E_INVALID, "sequences of at most 1 token have nothing to predict; at least 2 are needed");
  reading r = {
      .dataset = new_dataset(NULL), .options = options, .path = path, .max_tokens = options->max_tokens > 0 ? options->max_tokens : INT32_MAX};
  if (!r.dataset) return no_memory(e, path);
  etk_map map;
  etk_status s = etk_map_open(e, &map, path);
  if (s == ETK_OK) {
    s = read_bytes(e, &r, map.data ? (const char *)map.data : "", map.size);
    etk_map_close(&map);
  }
  if (s == ETK_OK) *out = r.dataset;
  else etk_dataset_free(r.dataset);
  return s;
}

etk_status etk_dataset_open_split(etk_error *e, etk_dataset **out, const char *path, const char *split, const etk_dataset_options *options) {
  static const char *const extensions[] = {"jsonl", "json", "txt"};
  *out = NULL;
  if (!etk_fs_is_dir(path)) {
    if (!strcmp(split, "train")) return read_file(e, out, path, options);
    return etk_fail(e, ETK_E_NOT_FOUND, "%s is one file, which is its own train split; a %s split needs a folder with train.jsonl and %s.jsonl", path,
                    split, split);
  }
  for (size_t i = 0; i < sizeof extensions / sizeof *extensions; i++) {
    char name[64];
    snprintf(name, sizeof name, "%s.%s", split, extensions[i]);
    char *file = etk_path_join(path, name);
    if (!file) return no_memory(e, path);
    bool there = etk_fs_exists(file);
    etk_status s = there ? read_file(e, out, file, options) : ETK_OK;
    etk_free(file);
    if (there) return s;
  }
  return etk_fail(e, ETK_E_NOT_FOUND, "the folder %s has no %s.jsonl", path, split);
}

etk_status etk_dataset_open(etk_error *e, etk_dataset **out, const char *path, const etk_dataset_options *options) {
  return etk_dataset_open_split(e, out, path, "train", options);
}

/* ---- looking ---------------------------------------------------------------------------------------------------------------------------------- */

size_t etk_dataset_count(const etk_dataset *d) { return d->count; }

etk_sequence etk_dataset_at(const etk_dataset *d, size_t index) {
  const record *r = &d->records[index];
  return (etk_sequence){d->store->ids.items + r->start, r->count, r->masked};
}

etk_dataset_stats etk_dataset_get_stats(const etk_dataset *d) {
  etk_dataset_stats stats = {.sequences = d->count};
  for (size_t i = 0; i < d->count; i++) {
    const record *r = &d->records[i];
    stats.truncated += r->truncated;
    stats.tokens += r->count;
    stats.scored += r->count - (r->masked > 1 ? r->masked : 1);
    if (!i || r->count < stats.shortest) stats.shortest = r->count;
    if (r->count > stats.longest) stats.longest = r->count;
  }
  stats.mean = d->count ? (double)stats.tokens / (double)d->count : 0;
  return stats;
}

etk_status etk_dataset_split_off(etk_error *e, etk_dataset *d, etk_dataset **out, size_t count, uint64_t seed) {
  *out = NULL;
  if (count == 0 || count >= d->count)
    return etk_fail(e, ETK_E_INVALID, "cannot hold out %zu of %zu sequences: at least one must go and one must stay", count, d->count);
  size_t *order = etk_realloc(NULL, d->count, sizeof *order);
  bool *taken = etk_calloc(d->count, sizeof *taken);
  etk_dataset *held = new_dataset(d->store);
  bool ok = order && taken && held;
  if (ok) {
    etk_rng rng = etk_rng_new(seed, 3); /* streams of this noun: 3 the split, epoch << 8 the order */
    for (size_t i = 0; i < d->count; i++) order[i] = i;
    etk_rng_shuffle(&rng, order, d->count);
    for (size_t i = d->count - count; i < d->count; i++) taken[order[i]] = true;
    for (size_t i = 0; ok && i < d->count; i++)
      if (taken[i]) ok = push_record(held, d->records[i]);
  }
  size_t kept = 0;
  for (size_t i = 0; ok && i < d->count; i++)
    if (!taken[i]) d->records[kept++] = d->records[i];
  if (ok) d->count = kept;
  etk_free(order);
  etk_free(taken);
  if (ok) *out = held;
  else etk_dataset_free(held);
  return ok ? ETK_OK : etk_fail(e, ETK_E_NO_MEMORY, "out of memory while holding out %zu sequences", count);
}
