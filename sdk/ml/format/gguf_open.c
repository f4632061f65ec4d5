/* Opening GGUF files: one, or the parts of a split model; finding tensors over all parts. */
#include "gguf_internal.h"

#include <etk/text.h>
#include <inttypes.h>
#include <string.h>

static void release(void *owner) {
  etk_gguf *file = owner;
  if (atomic_fetch_sub(&file->references, 1) != 1) return;
  for (int i = 0; i < file->part_count; i++) etk_map_close(&file->parts[i].map);
  etk_free(file->parts);
  etk_arena_fini(&file->arena);
  etk_free(file);
}
void etk_gguf_close(etk_gguf *file) {
  if (file) release(file);
}

static etk_gguf *new_file(void) {
  etk_gguf *file = etk_calloc(1, sizeof *file);
  if (!file) return NULL;
  atomic_init(&file->references, 1);
  file->part_room = 1;
  file->parts = etk_calloc(1, sizeof *file->parts);
  if (file->parts) return file;
  etk_free(file);
  return NULL;
}

static etk__gguf_part *add_part(etk_gguf *file, const char *name) {
  if (file->part_count == file->part_room) {
    etk__gguf_part *grown = etk_realloc(file->parts, (size_t)file->part_room * 2, sizeof *grown);
    if (!grown) return NULL;
    file->parts = grown;
    file->part_room *= 2;
  }
  etk__gguf_part *part = &file->parts[file->part_count];
  memset(part, 0, sizeof *part);
  part->name = etk_arena_strdup(&file->arena, name);
  if (!part->name) return NULL;
  file->part_count++;
  return part;
}

static etk_status open_part(etk_error *e, etk_gguf *file, const char *path) {
  etk__gguf_part *part = add_part(file, path);
  if (!part) return etk__gguf_no_memory(e, path);
  etk_status s = etk_map_open(e, &part->map, path);
  if (s != ETK_OK) return s;
  part->bytes = part->map.data;
  part->size = part->map.size;
  return etk__gguf_parse_part(e, &file->arena, part, file->part_count - 1);
}

/* ---- splits ---- */

enum { SUFFIX = 20 }; /* of "-00001-of-00003.gguf" */

char *etk_gguf_part_path(const char *path, int part, int parts) {
  size_t stem = strlen(path);
  if (stem > 5 && !strcmp(path + stem - 5, ".gguf")) stem -= 5;
  size_t size = stem + SUFFIX + 16;
  char *out = etk_alloc(size);
  if (out) snprintf(out, size, "%.*s-%05d-of-%05d.gguf", (int)stem, path, part + 1, parts);
  return out;
}

/* A whole number that a split's key holds, checked; *out is -1 where the key is missing. */
static etk_status split_key(etk_error *e, const etk__gguf_part *part, const char *name, int64_t low, int64_t high, int64_t *out) {
  const etk__gguf_key *key = etk__gguf_part_find(part, name);
  *out = -1;
  if (!key) return ETK_OK;
  size_t at = (size_t)((const unsigned char *)key->value.data - part->bytes);
  if (!etk__gguf_is_int(key->value.kind))
    return etk_fail(e, ETK_E_FORMAT, "%s: key '%s' is %s; a whole number is wanted (at byte %zu)", part->name, name,
                    etk__gguf_kind_phrase(key->value.kind), at);
  *out = etk_gguf_int_at(&key->value, 0);
  if (*out < low || *out > high)
    return etk_fail(e, ETK_E_FORMAT, "%s: key '%s' is %" PRId64 "; %" PRId64 " to %" PRId64 " is wanted (at byte %zu)", part->name, name, *out, low,
                    high, at);
  return ETK_OK;
}

/* The three keys of part `index` against what the first part says. */
static etk_status check_part(etk_error *e, const etk__gguf_part *part, int index, int64_t parts, int64_t tensors) {
  int64_t number, count, all;
  etk_status s = split_key(e, part, "split.no", 0, 65535, &number);
  if (s == ETK_OK) s = split_key(e, part, "split.count", 0, 65535, &count);
  if (s == ETK_OK) s = split_key(e, part, "split.tensors.count", 0, INT32_MAX, &all);
  if (s != ETK_OK) return s;
  if (number != index)
    return etk_fail(e, ETK_E_FORMAT, "%s: key 'split.no' says part %" PRId64 "; it was opened as part %d (counted from 0)", part->name, number,
                    index);
  if (count != parts)
    return etk_fail(e, ETK_E_FORMAT, "%s: key 'split.count' is %" PRId64 "; the first part says %" PRId64, part->name, count, parts);
  if (all != tensors)
    return etk_fail(e, ETK_E_FORMAT, "%s: key 'split.tensors.count' is %" PRId64 "; the first part says %" PRId64, part->name, all, tensors);
  return ETK_OK;
}

static etk_status open_others(etk_error *e, etk_gguf *file, const char *stem, int64_t parts, int64_t tensors) {
  for (int i = 1; i < parts; i++) {
    char *path = etk_gguf_part_path(stem, i, (int)parts);
    if (!path) return etk__gguf_no_memory(e, stem);
    etk_status s = open_part(e, file, path);
    etk_free(path);
    if (s == ETK_OK) s = check_part(e, &file->parts[i], i, parts, tensors);
    if (s != ETK_OK) return etk_error_while(e, s, "while opening part %d of %" PRId64 " of '%s'", i + 1, parts, file->parts[0].name);
  }
  int64_t sum = 0;
  for (int i = 0; i < file->part_count; i++) sum += (int64_t)file->parts[i].count;
  if (sum == tensors) return ETK_OK;
  return etk_fail(e, ETK_E_FORMAT, "%s: key 'split.tensors.count' is %" PRId64 ", but the %d parts hold %" PRId64 " tensors", file->parts[0].name,
                  tensors, file->part_count, sum);
}

static etk_status open_split(etk_error *e, etk_gguf *file, const char *path) {
  int64_t parts, number, tensors;
  etk_status s = split_key(e, &file->parts[0], "split.count", 0, 65535, &parts);
  if (s != ETK_OK || parts <= 1) return s;
  s = split_key(e, &file->parts[0], "split.no", 0, 65535, &number);
  if (s == ETK_OK) s = split_key(e, &file->parts[0], "split.tensors.count", 0, INT32_MAX, &tensors);
  if (s != ETK_OK) return s;
  if (number < 0 || tensors < 0)
    return etk_fail(e, ETK_E_FORMAT, "%s: key 'split.count' says %" PRId64 " parts, but key '%s' is missing", path, parts,
                    number < 0 ? "split.no" : "split.tensors.count");
  char suffix[64];
  snprintf(suffix, sizeof suffix, "-%05" PRId64 "-of-%05" PRId64 ".gguf", number + 1, parts);
  size_t size = strlen(path), tail = strlen(suffix);
  if (size < tail || strcmp(path + size - tail, suffix))
    return etk_fail(e, ETK_E_FORMAT,
                    "%s: this is part %" PRId64 " of %" PRId64 " of a split model, whose name must end in '%s' for the other parts to be found", path,
                    number + 1, parts, suffix);
  char *stem = etk_strndup(path, size - tail);
  if (!stem) return etk__gguf_no_memory(e, path);
  if (number != 0)
    s = etk_fail(e, ETK_E_USAGE, "%s: this is part %" PRId64 " of %" PRId64 "; open the first, '%s-00001-of-%05" PRId64 ".gguf'", path, number + 1,
                 parts, stem, parts);
  else s = open_others(e, file, stem, parts, tensors);
  etk_free(stem);
  return s;
}

/* ---- all tensors ---- */

static int compare_entries(const void *a, const void *b) {
  const etk_gguf_entry *const *x = a, *const *y = b;
  return strcmp((*x)->name, (*y)->name);
}
static int compare_entry(const void *name, const void *item) {
  const etk_gguf_entry *const *entry = item;
  return strcmp(name, (*entry)->name);
}

static etk_status index_entries(etk_error *e, etk_gguf *file) {
  size_t total = 0;
  for (int i = 0; i < file->part_count; i++) total += file->parts[i].count;
  file->entries = etk_arena_array(&file->arena, total + 1, sizeof *file->entries);
  file->by_name = etk_arena_array(&file->arena, total + 1, sizeof *file->by_name);
  if (!file->entries || !file->by_name) return etk__gguf_no_memory(e, file->parts[0].name);
  for (int i = 0; i < file->part_count; i++)
    for (size_t j = 0; j < file->parts[i].count; j++) {
      file->entries[file->count] = file->by_name[file->count] = &file->parts[i].entries[j];
      file->count++;
    }
  qsort(file->by_name, total, sizeof *file->by_name, compare_entries);
  for (size_t i = 1; i < total; i++) {
    const etk_gguf_entry *a = file->by_name[i - 1], *b = file->by_name[i];
    if (!strcmp(a->name, b->name))
      return etk_fail(e, ETK_E_FORMAT, "%s: tensor '%s' is given twice%s%s", file->parts[a->part].name, a->name,
                      a->part != b->part ? ", again in " : "", a->part != b->part ? file->parts[b->part].name : "");
  }
  return ETK_OK;
}

etk_status etk_gguf_parse(etk_error *e, etk_gguf **out, const char *name, const void *bytes, size_t size) {
  *out = NULL;
  etk_gguf *file = new_file();
  etk__gguf_part *part = file ? add_part(file, name) : NULL;
  etk_status s = ETK_OK;
  if (!part) s = etk__gguf_no_memory(e, name);
  else {
    part->bytes = bytes;
    part->size = size;
    s = etk__gguf_parse_part(e, &file->arena, part, 0);
  }
  if (s == ETK_OK) s = index_entries(e, file);
  if (s == ETK_OK) *out = file;
  else etk_gguf_close(file);
  return s;
}

etk_status etk_gguf_open(etk_error *e, etk_gguf **out, const char *path) {
  *out = NULL;
  etk_gguf *file = new_file();
  etk_status s = file ? open_part(e, file, path) : etk__gguf_no_memory(e, path);
  if (s == ETK_OK) s = open_split(e, file, path);
  if (s == ETK_OK) s = index_entries(e, file);
  if (s == ETK_OK) *out = file;
  else etk_gguf_close(file);
  return s;
}

uint32_t etk_gguf_version(const etk_gguf *file) { return file->parts[0].version; }
uint32_t etk_gguf_alignment(const etk_gguf *file) { return file->parts[0].alignment; }
int etk_gguf_parts(const etk_gguf *file) { return file->part_count; }
size_t etk_gguf_count(const etk_gguf *file) { return file->count; }
const etk_gguf_entry *etk_gguf_at(const etk_gguf *file, size_t index) { return index < file->count ? file->entries[index] : NULL; }
const etk_gguf_entry *etk_gguf_tensor_find(const etk_gguf *file, const char *name) {
  if (!file->count) return NULL;
  const etk_gguf_entry **found = bsearch(name, file->by_name, file->count, sizeof *file->by_name, compare_entry);
  return found ? *found : NULL;
}

/* ---- tensors ---- */

static etk_status find_tensor(etk_error *e, const etk_gguf_entry **out, const etk_gguf *file, const char *name) {
  *out = etk_gguf_tensor_find(file, name);
  if (*out) return ETK_OK;
  const char **names = file->count <= 4096 ? etk_calloc(file->count + 1, sizeof *names) : NULL, *near = NULL;
  for (size_t i = 0; names && i < file->count; i++) names[i] = file->entries[i]->name;
  if (names) near = etk_text_suggest(name, names, file->count);
  etk_free(names);
  return etk_fail(e, ETK_E_NOT_FOUND, "%s has no tensor '%s' (it holds %zu)%s%s%s", file->parts[0].name, name, file->count,
                  near ? "; did you mean '" : "", near ? near : "", near ? "'?" : "");
}

etk_status etk_gguf_tensor(etk_error *e, etk_tensor **out, etk_gguf *file, const char *name) {
  *out = NULL;
  const etk_gguf_entry *entry;
  etk_status s = find_tensor(e, &entry, file, name);
  if (s != ETK_OK) return s;
  if (entry->type < 0 || entry->type >= ETK_DTYPE_COUNT)
    return etk_fail(e, ETK_E_UNSUPPORTED, "%s: tensor '%s' is stored as %s, in blocks; decode it", file->parts[entry->part].name, name,
                    entry->type_name);
  atomic_fetch_add(&file->references, 1);
  s = etk_tensor_wrap(e, out, (etk_dtype)entry->type, entry->shape, entry->data, release, file);
  if (s != ETK_OK) release(file);
  return s;
}

etk_status etk_gguf_decode(etk_error *e, etk_tensor **out, const etk_gguf *file, const char *name) {
  *out = NULL;
  const etk_gguf_entry *entry;
  etk_status s = find_tensor(e, &entry, file, name);
  if (s != ETK_OK) return s;
  const char *part = file->parts[entry->part].name;
  bool floating = entry->type >= 0 && (etk_type_is_block((etk_type)entry->type) || entry->type <= ETK_F64);
  if (!floating)
    return etk_fail(e, ETK_E_UNSUPPORTED, "%s: tensor '%s' is stored as %s, which this version cannot decode", part, name, entry->type_name);
  s = etk_tensor_new(e, out, ETK_F32, entry->shape);
  if (s == ETK_OK) {
    int64_t columns = entry->shape.rank ? entry->shape.dims[entry->shape.rank - 1] : 1;
    s = etk_quant_decode(e, etk_tensor_data(*out), (etk_type)entry->type, entry->data, etk_shape_elements(&entry->shape) / columns, columns);
  }
  if (s == ETK_OK) return ETK_OK;
  etk_tensor_unref(*out);
  *out = NULL;
  return etk_error_while(e, s, "while decoding tensor '%s' of %s", name, part);
}
