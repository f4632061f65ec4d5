/* Importance matrices of llama.cpp: for each matrix the mean square of each input, from running the model on a text. The newer files are GGUF (NAME.in_sum2 and
 * NAME.counts), the older ones a list: count, then for each name, calls, and sums of squares times calls. */
#include "internal.h"

#include <etk/fs.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct entry {
  const char *name;
  float *values;
  int64_t count;
};
struct etk__importance {
  etk_arena arena;
  const char *path;
  struct entry *entries;
  size_t count;
};

static etk_status check_values(etk_error *e, const etk__importance *i, const struct entry *entry) {
  for (int64_t k = 0; k < entry->count; k++)
    if (!isfinite(entry->values[k]) || entry->values[k] < 0)
      return etk_fail(e, ETK_E_FORMAT, "%s: value %lld of %s is %g; finite numbers from 0 on are wanted", i->path, (long long)k, entry->name,
                      (double)entry->values[k]);
  return ETK_OK;
}

/* ---- GGUF ---- */
static etk_status read_pair(etk_error *e, etk__importance *i, const etk_gguf *file, const etk_gguf_entry *sums) {
  size_t size = strlen(sums->name) - strlen(".in_sum2");
  char name[256];
  snprintf(name, sizeof name, "%.*s.counts", (int)size, sums->name);
  const etk_gguf_entry *counts = etk_gguf_tensor_find(file, name);
  int64_t columns = sums->shape.dims[sums->shape.rank - 1], all = etk_shape_elements(&sums->shape), matrices = all / columns;
  if (!counts || counts->type != (int)ETK_F32 || sums->type != (int)ETK_F32 || etk_shape_elements(&counts->shape) != matrices)
    return etk_fail(e, ETK_E_FORMAT, "%s: %s has no %s of F32, one count for each of its %lld rows", i->path, sums->name, name, (long long)matrices);
  struct entry *entry = &i->entries[i->count++];
  *entry = (struct entry){etk_arena_strndup(&i->arena, sums->name, size), etk_arena_array(&i->arena, (size_t)all, sizeof(float)), all};
  if (!entry->name || !entry->values) return etk_fail_memory(e);
  memcpy(entry->values, sums->data, (size_t)all * sizeof(float));
  for (int64_t m = 0; m < matrices; m++) {
    float calls;
    memcpy(&calls, (const char *)counts->data + (size_t)m * sizeof calls, sizeof calls);
    for (int64_t k = 0; k < columns; k++) entry->values[m * columns + k] = calls > 0 ? entry->values[m * columns + k] / calls : 1; /* an expert never asked: all alike */
  }
  return ETK_OK;
}

static etk_status read_gguf(etk_error *e, etk__importance *i, const void *bytes, size_t all) {
  etk_gguf *file = NULL;
  etk_status status = etk_gguf_parse(e, &file, i->path, bytes, all);
  if (status) return status;
  i->entries = etk_arena_array(&i->arena, etk_gguf_count(file) + 1, sizeof *i->entries);
  if (!i->entries) status = etk_fail_memory(e);
  for (size_t k = 0; k < etk_gguf_count(file) && !status; k++) {
    const etk_gguf_entry *entry = etk_gguf_at(file, k);
    size_t size = strlen(entry->name), tail = strlen(".in_sum2");
    if (size > tail && !strcmp(entry->name + size - tail, ".in_sum2") && entry->shape.rank) status = read_pair(e, i, file, entry);
  }
  if (!status && !i->count) status = etk_fail(e, ETK_E_FORMAT, "%s: no tensor ends in .in_sum2; an importance matrix is wanted", i->path);
  etk_gguf_close(file);
  return status;
}

/* ---- the older form ---- */
struct reader {
  const unsigned char *data;
  size_t size, at;
};
static bool take(struct reader *r, void *out, size_t size) {
  if (size > r->size - r->at) return false;
  memcpy(out, r->data + r->at, size);
  r->at += size;
  return true;
}

static etk_status read_entry(etk_error *e, etk__importance *i, struct reader *r) {
  int32_t length = 0, calls = 0, count = 0;
  size_t at = r->at;
  bool good = take(r, &length, 4) && length > 0 && length < 1024 && (size_t)length <= r->size - r->at;
  struct entry *entry = &i->entries[i->count];
  if (good) {
    entry->name = etk_arena_strndup(&i->arena, (const char *)r->data + r->at, (size_t)length);
    r->at += (size_t)length;
    good = take(r, &calls, 4) && take(r, &count, 4) && count > 0 && (size_t)count <= (r->size - r->at) / sizeof(float);
  }
  if (!good) return etk_fail(e, ETK_E_FORMAT, "%s: entry %zu at byte %zu is cut short or damaged; an importance matrix is wanted", i->path, i->count, at);
  entry->values = etk_arena_array(&i->arena, (size_t)count, sizeof(float));
  entry->count = count;
  if (!entry->name || !entry->values) return etk_fail_memory(e);
  take(r, entry->values, (size_t)count * sizeof(float));
  for (int32_t k = 0; k < count && calls > 0; k++) entry->values[k] /= (float)calls;
  i->count++;
  return ETK_OK;
}

static etk_status read_list(etk_error *e, etk__importance *i, const void *bytes, size_t size) {
  struct reader r = {bytes, size, 0};
  int32_t count = 0;
  if (!take(&r, &count, 4) || count < 1 || (size_t)count > size / 17) /* 12 bytes of numbers, a letter and a value */
    return etk_fail(e, ETK_E_FORMAT, "%s: %zu bytes that begin with a count of %d are no importance matrix (GGUF or llama.cpp's older .dat)", i->path,
                    size, count);
  i->entries = etk_arena_array(&i->arena, (size_t)count, sizeof *i->entries);
  etk_status status = i->entries ? ETK_OK : etk_fail_memory(e);
  for (int32_t k = 0; k < count && !status; k++) status = read_entry(e, i, &r);
  return status;
}

static int compare(const void *a, const void *b) { return strcmp(((const struct entry *)a)->name, ((const struct entry *)b)->name); }

etk_status etk__importance_parse(etk_error *e, etk__importance **out, const char *name, const void *bytes, size_t size) {
  *out = NULL;
  etk__importance *i = etk_calloc(1, sizeof *i);
  if (!i) return etk_fail_memory(e);
  i->path = etk_arena_strdup(&i->arena, name);
  etk_status status = i->path ? ETK_OK : etk_fail_memory(e);
  if (!status) status = size > 4 && !memcmp(bytes, "GGUF", 4) ? read_gguf(e, i, bytes, size) : read_list(e, i, bytes, size);
  for (size_t k = 0; k < i->count && !status; k++) status = check_values(e, i, &i->entries[k]);
  if (!status) qsort(i->entries, i->count, sizeof *i->entries, compare);
  for (size_t k = 1; k < i->count && !status; k++)
    if (!compare(&i->entries[k - 1], &i->entries[k])) status = etk_fail(e, ETK_E_FORMAT, "%s: %s is there twice", i->path, i->entries[k].name);
  if (status) etk__importance_free(i);
  else *out = i;
  return status;
}

etk_status etk__importance_open(etk_error *e, etk__importance **out, const char *path) {
  etk_map map;
  etk_status status = etk_map_open(e, &map, path);
  if (status) return status;
  status = etk__importance_parse(e, out, path, map.data, map.size);
  etk_map_close(&map);
  return status;
}

void etk__importance_free(etk__importance *i) {
  if (!i) return;
  etk_arena_fini(&i->arena);
  etk_free(i);
}

etk_status etk__importance_find(etk_error *e, const float **out, const etk__importance *i, const char *name, int64_t columns, int64_t experts) {
  struct entry key = {name, NULL, 0}, *found = bsearch(&key, i->entries, i->count, sizeof *i->entries, compare);
  *out = NULL;
  if (!found) return ETK_OK;
  if (found->count == columns * experts) return *out = found->values, ETK_OK;
  if (!strcmp(name, "token_embd.weight")) return ETK_OK; /* it is looked up by token, not multiplied */
  return etk_fail(e, ETK_E_INVALID, "%s: %s has %lld values there; the model's has %lld", i->path, name, (long long)found->count,
                  (long long)(columns * experts));
}
