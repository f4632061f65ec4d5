#include "json.h"

#include <etk/alloc.h>
#include <etk/fs.h>
#include <etk/text.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

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

json_t *etk__json_loadb(const char *bytes, size_t size, size_t flags, json_error_t *error) {
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

etk_status etk__json_parse(etk_error *e, json_t **out, const char *name, const char *bytes, size_t size) {
  json_error_t problem;
  *out = etk__json_loadb(bytes, size, JSON_REJECT_DUPLICATES, &problem);
  if (*out) return ETK_OK;
  if (json_error_code(&problem) == json_error_out_of_memory) return etk_fail(e, ETK_E_NO_MEMORY, "%s: out of memory", name);
  return etk_fail(e, ETK_E_FORMAT, "%s:%d:%d: not valid JSON: %s", name, problem.line, problem.column, problem.text);
}

etk_status etk__json_write(etk_error *e, json_t *root, const char *folder, const char *file) {
  char *text = root ? json_dumps(root, JSON_INDENT(2) | JSON_SORT_KEYS) : NULL, *path = etk_path_join(folder, file);
  etk_text line = ETK_TEXT_INIT;
  if (text) {
    etk_text_puts(&line, text);
    etk_text_putc(&line, '\n');
  }
  etk_status status = text && path && !line.failed ? etk_fs_write(e, path, line.data, line.size, true) : etk_fail_memory(e);
  etk_text_free(&line);
  etk_free(path);
  free(text);
  json_decref(root);
  return status;
}
