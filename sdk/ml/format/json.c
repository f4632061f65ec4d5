#include "json.h"

#include <etk/alloc.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

/* What jansson may still ask for between a failure and its next request for text (1 KiB of it): a few values, and one token twice over. */
enum { RESERVE = 256 << 10 };

static pthread_mutex_t turn = PTHREAD_MUTEX_INITIALIZER;
static pthread_once_t once = PTHREAD_ONCE_INIT;

/* The text that is being read. Only the thread whose turn it is uses the reserve. */
static struct reading {
  atomic_bool active;
  bool failed;
  pthread_t thread;
  _Atomic(unsigned char *) reserve; /* any thread may ask whether a block lies there */
  size_t used;
  const char *bytes;
  size_t left;
} reading;

static bool in_reserve(const void *pointer) {
  const unsigned char *p = pointer, *reserve = atomic_load_explicit(&reading.reserve, memory_order_relaxed);
  return reserve && p >= reserve && p < reserve + RESERVE;
}

static void *take(size_t size) {
  void *pointer = malloc(size);
  if (pointer || !atomic_load(&reading.active) || !pthread_equal(reading.thread, pthread_self())) return pointer;
  size_t rounded = (size + 15) & ~(size_t)15;
  if (rounded < size || rounded > RESERVE - reading.used) return NULL;
  reading.failed = true;
  pointer = atomic_load_explicit(&reading.reserve, memory_order_relaxed) + reading.used;
  reading.used += rounded;
  return pointer;
}

static void give(void *pointer) {
  if (!in_reserve(pointer)) free(pointer);
}

static void install(void) { json_set_alloc_funcs(take, give); }

static size_t read_some(void *buffer, size_t size, void *user) {
  struct reading *r = user;
  if (r->failed) return 0;
  if (size > r->left) size = r->left;
  memcpy(buffer, r->bytes, size);
  r->bytes += size;
  r->left -= size;
  return size;
}

static void out_of_memory(json_error_t *error) {
  *error = (json_error_t){.line = -1, .column = -1};
  snprintf(error->text, sizeof error->text - 1, "out of memory");
  error->text[sizeof error->text - 1] = (char)json_error_out_of_memory; /* where json_error_code looks */
}

static json_t *load(const char *bytes, size_t size, size_t flags, json_error_t *error) {
  pthread_once(&once, install);
  unsigned char *reserve = etk_alloc(RESERVE);
  if (!reserve) {
    out_of_memory(error);
    return NULL;
  }
  pthread_mutex_lock(&turn);
  reading.failed = false;
  reading.used = 0;
  reading.bytes = bytes;
  reading.left = size;
  reading.thread = pthread_self();
  atomic_store_explicit(&reading.reserve, reserve, memory_order_relaxed);
  atomic_store(&reading.active, true);
  json_t *root = json_load_callback(read_some, &reading, flags, error);
  bool failed = reading.failed;
  atomic_store(&reading.active, false);
  if (failed) {
    json_decref(root); /* may lie in the reserve, which is still known to give() */
    root = NULL;
    out_of_memory(error);
  }
  atomic_store_explicit(&reading.reserve, NULL, memory_order_relaxed);
  pthread_mutex_unlock(&turn);
  etk_free(reserve);
  return root;
}

/* ---- how much a text takes ---- */

enum { DEPTH = 2048 /* jansson's own limit */ };
static size_t block(size_t size) { return size < 24 ? 32 : (size + 8 + 15) / 16 * 16; } /* of glibc's malloc */

struct open { /* a list or an object that has not ended yet */
  uint32_t count;
  bool object, key; /* key: the next text is one */
};

/* The table of a container grows by doubling, from 8 items on. */
static size_t table(const struct open *o) {
  size_t item = o->object ? 16 : sizeof(void *), room = 8;
  while (room < o->count) room *= 2;
  return block(room * item);
}

/* The size of the text in quotes at `at`, behind which it returns. */
static const char *skip_text(const char *at, const char *end, size_t *length) {
  const char *begin = ++at;
  while (at < end && *at != '"') at += *at == '\\' && at + 1 < end ? 2 : 1;
  *length = (size_t)(at - begin);
  return at < end ? at + 1 : end;
}
static const char *skip_word(const char *at, const char *end) {
  while (at < end && !strchr(",:[]{}\" \t\r\n", *at)) at++;
  return at;
}

size_t etk__json_tree_bytes(const char *bytes, size_t size) {
  struct open stack[DEPTH];
  size_t total = 0, depth = 0, largest = 0, longest = 0, length;
  const char *at = bytes, *end = bytes + size;
  while (at < end) {
    struct open *top = depth ? &stack[depth - 1] : NULL;
    char c = *at;
    if (c == '{' || c == '[') {
      if (top && !top->object) top->count++;
      if (depth == DEPTH) break;
      stack[depth++] = (struct open){.object = c == '{', .key = c == '{'};
      total += c == '{' ? block(72) : block(40);
      at++;
    } else if ((c == '}' || c == ']') && top) {
      size_t grown = table(top);
      total += grown;
      if (grown > largest) largest = grown;
      depth--, at++;
    } else if (c == '"') {
      at = skip_text(at, end, &length);
      if (length > longest) longest = length;
      bool key = top && top->object && top->key;
      if (top && (key || !top->object)) top->count++;
      total += key ? block(56 + length + 1) : block(32) + block(length + 1);
    } else if (c == ',' || c == ':') {
      if (top) top->key = c == ',';
      at++;
    } else if (c == '-' || (c >= '0' && c <= '9') || c == 't' || c == 'f' || c == 'n') {
      if (top && !top->object) top->count++;
      at = skip_word(at, end);
      total += c == 't' || c == 'f' || c == 'n' ? 0 : block(24);
    } else at++;
  }
  while (depth) total += table(&stack[--depth]);
  return total + largest / 2 + 3 * longest; /* the table that grows last, beside the one it replaces; a text while it is read */
}

json_t *etk__json_load_within(const char *bytes, size_t size, size_t limit, size_t flags, json_error_t *error) {
  size_t wanted = etk__json_tree_bytes(bytes, size);
  if (wanted <= limit) return load(bytes, size, flags, error);
  *error = (json_error_t){.line = 1, .column = 1};
  snprintf(error->text, sizeof error->text - 1, "its values would take %zu MB of memory, and %zu MB are the most for a text of %zu bytes: refused", wanted >> 20,
           limit >> 20, size);
  error->text[sizeof error->text - 1] = (char)json_error_unknown;
  return NULL;
}

static size_t default_limit(size_t size) { return size > SIZE_MAX / 16 ? SIZE_MAX : size * 8 + ((size_t)12 << 20); }
json_t *etk__json_loadb(const char *bytes, size_t size, size_t flags, json_error_t *error) {
  return etk__json_load_within(bytes, size, default_limit(size), flags, error);
}

etk_status etk__json_parse(etk_error *e, json_t **out, const char *name, const char *bytes, size_t size) {
  json_error_t problem;
  *out = etk__json_loadb(bytes, size, JSON_REJECT_DUPLICATES, &problem);
  if (*out) return ETK_OK;
  if (json_error_code(&problem) == json_error_out_of_memory) return etk_fail(e, ETK_E_NO_MEMORY, "%s: out of memory", name);
  if (json_error_code(&problem) == json_error_unknown) return etk_fail(e, ETK_E_FORMAT, "%s: %s", name, problem.text);
  return etk_fail(e, ETK_E_FORMAT, "%s:%d:%d: not valid JSON: %s", name, problem.line, problem.column, problem.text);
}

/* ---- merges ---- */

static const char *skip_blanks(const char *at, const char *end) {
  while (at < end && strchr(" \t\r\n", *at)) at++;
  return at;
}

/* A text without a space, written plainly or as an escape. */
static const char *take_plain(const char *at, const char *end, size_t *length) {
  at = skip_blanks(at, end);
  if (at >= end || *at != '"') return NULL;
  const char *begin = at + 1, *behind = skip_text(at, end, length);
  return memchr(begin, ' ', *length) || memmem(begin, *length, "\\u0020", 6) ? NULL : behind;
}

/* Writes the pair at `at` as one text; NULL where there is none. */
static const char *join_pair(const char *at, const char *end, char **out) {
  size_t first, second;
  const char *a = skip_blanks(at + 1, end), *behind = take_plain(a, end, &first);
  const char *comma = behind ? skip_blanks(behind, end) : end;
  if (comma >= end || *comma != ',') return NULL;
  const char *b = skip_blanks(comma + 1, end), *close = take_plain(b, end, &second);
  close = close ? skip_blanks(close, end) : end;
  if (close >= end || *close != ']') return NULL;
  char *to = *out;
  *to++ = '"';
  memcpy(to, a + 1, first), to += first;
  *to++ = ' ';
  memcpy(to, b + 1, second), to += second;
  *to++ = '"';
  *out = to;
  return close + 1;
}

/* The list that is the value of "merges", wherever that stands, with its pairs joined. Never longer than the text. */
static size_t join_merges(char *out, const char *bytes, size_t size) {
  const char *at = bytes, *end = bytes + size;
  char *to = out;
  size_t inside = 0; /* lists from the one of the merges on */
  while (at < end) {
    const char *behind = inside && *at == '[' ? join_pair(at, end, &to) : NULL;
    size_t length = 0;
    if (behind) {
      at = behind;
      continue;
    }
    if (inside) inside += (size_t)(*at == '[') - (size_t)(*at == ']');
    behind = *at == '"' ? skip_text(at, end, &length) : at + 1;
    bool merges = !inside && *at == '"' && length == 6 && !memcmp(at + 1, "merges", 6);
    memcpy(to, at, (size_t)(behind - at)), to += behind - at;
    at = behind;
    if (!merges) continue;
    behind = skip_blanks(at, end);
    if (behind < end && *behind == ':') behind = skip_blanks(behind + 1, end);
    if (behind < end && *behind == '[' && behind > at) inside = 1;
    if (inside) behind++;
    memcpy(to, at, (size_t)(behind - at)), to += behind - at;
    at = behind;
  }
  return (size_t)(to - out);
}

etk_status etk__json_parse_tokenizer(etk_error *e, json_t **out, const char *name, const char *bytes, size_t size) {
  *out = NULL;
  if (etk__json_tree_bytes(bytes, size) <= default_limit(size)) return etk__json_parse(e, out, name, bytes, size);
  char *joined = etk_alloc(size + 1);
  if (!joined) return etk_fail(e, ETK_E_NO_MEMORY, "%s: out of memory", name);
  size_t shorter = join_merges(joined, bytes, size);
  etk_status status = etk__json_parse(e, out, name, joined, shorter);
  etk_free(joined);
  return status;
}
