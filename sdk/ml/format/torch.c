/* Reading torch.save's files: finding the pickle and the storages, and giving what the pickle holds its dotted names. */
#include "mapped.h"
#include "numpy_internal.h"
#include "torch_internal.h"

#include <etk/fs.h>
#include <inttypes.h>

enum { DEPTH_MAX = 64, NAME_MAX_BYTES = 4096 };

typedef struct item { /* of the walk, before the counts are known */
  struct item *next;
  const char *name;
  const etk__value *value;
} item;

struct etk_torch {
  etk__mapped base; /* first */
  size_t size;  /* of the file */
  etk__zip zip; /* count 0 in the older form */
  bool swap;    /* the values are big-endian */
  size_t budget;
  etk_torch_entry *entries;
  const etk__torch_tensor **tensors; /* as entries */
  const etk_torch_entry **by_name;
  size_t count;
  etk_torch_value *values;
  size_t value_count;
};

static etk_status no_memory(etk_error *e, const char *name) { return etk_fail(e, ETK_E_NO_MEMORY, "%s: out of memory while reading it", name); }

void etk_torch_close(etk_torch *file) { etk__mapped_unref(file); }

/* ---- names ------------------------------------------------------------------------------------------------------------------------- */

typedef struct walk {
  etk_error *e;
  etk_torch *file;
  etk__pickle *pickle; /* its budget */
  item *first, **last;
  size_t tensors, others;
  size_t steps; /* left: a value may be reached by many ways, but not by more than the file has bytes */
  char name[NAME_MAX_BYTES + 64];
  size_t name_size;
} walk;

static etk_status too_much(walk *w, const char *what) { return etk_fail(w->e, ETK_E_FORMAT, "%s: '%.200s': %s", w->file->base.name, w->name, what); }

static etk_status note(walk *w, const etk__value *value) {
  item *made = etk__pickle_take(w->pickle, 1, sizeof *made);
  char *name = made ? etk__pickle_take(w->pickle, w->name_size + 1, 1) : NULL;
  if (!name) return *w->pickle->budget < 4096 ? too_much(w, "the file holds more names than files of its size do") : no_memory(w->e, w->file->base.name);
  memcpy(name, w->name, w->name_size);
  *made = (item){NULL, name, value};
  *w->last = made;
  w->last = &made->next;
  if (value->kind == ETK__P_TENSOR) w->tensors++;
  else w->others++;
  return ETK_OK;
}

/* Appends ".key"; returns false where the name gets too long. */
static bool extend(walk *w, const char *key, size_t size) {
  if (size > NAME_MAX_BYTES || w->name_size + size + 1 > NAME_MAX_BYTES) return false;
  if (w->name_size) w->name[w->name_size++] = '.';
  memcpy(w->name + w->name_size, key, size);
  w->name_size += size;
  w->name[w->name_size] = 0;
  return true;
}

static etk_status enter_key(walk *w, const etk__value *key) {
  char digits[32];
  if (key->kind == ETK__P_INT) {
    snprintf(digits, sizeof digits, "%" PRId64, key->is.whole);
    return extend(w, digits, strlen(digits)) ? ETK_OK : too_much(w, "the name is too long");
  }
  if (key->kind != ETK__P_TEXT)
    return etk_fail(w->e, ETK_E_UNSUPPORTED, "%s: '%.200s' has %s for a key; only texts and whole numbers can be names", w->file->base.name, w->name,
                    etk__pickle_kinds[key->kind]);
  if (!key->count || memchr(key->is.text, 0, key->count)) return too_much(w, "a key below it is empty or holds a zero byte");
  return extend(w, key->is.text, key->count) ? ETK_OK : too_much(w, "a name below it is longer than 4096 bytes");
}

static etk_status descend(walk *w, const etk__value *value, int depth) {
  static const unsigned leaves =
      1u << ETK__P_NONE | 1u << ETK__P_FLAG | 1u << ETK__P_INT | 1u << ETK__P_REAL | 1u << ETK__P_TEXT | 1u << ETK__P_TENSOR;
  if (!w->steps--) {
    w->steps = 0;
    return too_much(w, "the file holds more names than it has bytes");
  }
  if (leaves >> value->kind & 1) return note(w, value);
  bool pairs = value->kind == ETK__P_DICT;
  if (!pairs && value->kind != ETK__P_LIST && value->kind != ETK__P_TUPLE)
    return etk_fail(w->e, ETK_E_UNSUPPORTED, "%s: '%.200s' is %s, which is neither a tensor nor a number, text or container", w->file->base.name, w->name,
                    etk__pickle_kinds[value->kind]);
  if (depth == DEPTH_MAX) return too_much(w, "containers are nested more than 64 deep, or hold themselves");
  if (!value->count) return note(w, value);
  size_t before = w->name_size;
  for (uint32_t i = 0; i < value->count; i += pairs ? 2 : 1) {
    etk__value number = {.kind = ETK__P_INT, .is.whole = i};
    etk_status s = enter_key(w, pairs ? value->is.items[i] : &number);
    if (s == ETK_OK) s = descend(w, value->is.items[pairs ? i + 1 : i], depth + 1);
    if (s != ETK_OK) return s;
    w->name_size = before;
    w->name[before] = 0;
  }
  return ETK_OK;
}

/* ---- entries ----------------------------------------------------------------------------------------------------------------------- */

static bool is_contiguous(const etk_shape *shape, const int64_t *strides) {
  int64_t step = 1;
  for (int i = shape->rank; i-- > 0;) {
    if (shape->dims[i] != 1 && strides[i] != step) return false;
    step *= shape->dims[i];
  }
  return true;
}

static bool lies_in_order(const etk_torch *file, const etk__torch_tensor *t) {
  return (!t->bytes || is_contiguous(&t->shape, t->strides)) && t->storage->data && (!file->swap || t->type->size == 1);
}

static void fill_entry(const etk_torch *file, etk_torch_entry *entry, const char *name, const etk__torch_tensor *t) {
  *entry = (etk_torch_entry){
      .name = name, .dtype_name = t->type->name, .dtype = t->type->dtype, .shape = t->shape, .parameter = t->parameter, .bytes = (size_t)t->bytes};
  entry->storage = t->storage->key;
  memcpy(entry->strides, t->strides, sizeof entry->strides);
  entry->in_place = lies_in_order(file, t) && (uintptr_t)(t->storage->data + t->offset * t->type->size) % t->type->size == 0;
}

static etk_status fill_value(etk_error *e, etk_torch *file, etk__pickle *pickle, etk_torch_value *out, const item *from) {
  static const unsigned char kinds[] = {
      [ETK__P_NONE] = ETK_TORCH_NONE, [ETK__P_FLAG] = ETK_TORCH_FLAG,   [ETK__P_INT] = ETK_TORCH_INT,    [ETK__P_REAL] = ETK_TORCH_REAL,
      [ETK__P_TEXT] = ETK_TORCH_TEXT, [ETK__P_TUPLE] = ETK_TORCH_EMPTY, [ETK__P_LIST] = ETK_TORCH_EMPTY, [ETK__P_DICT] = ETK_TORCH_EMPTY};
  const etk__value *value = from->value;
  *out = (etk_torch_value){.name = from->name, .kind = (etk_torch_kind)kinds[value->kind]};
  if (value->kind == ETK__P_FLAG) out->whole = value->is.flag;
  if (value->kind == ETK__P_INT) out->whole = value->is.whole;
  if (value->kind == ETK__P_REAL) out->real = value->is.real;
  if (value->kind != ETK__P_TEXT) return ETK_OK;
  if (value->count && memchr(value->is.text, 0, value->count))
    return etk_fail(e, ETK_E_FORMAT, "%s: the text '%s' holds a zero byte", file->base.name, from->name);
  char *text = etk__pickle_take(pickle, (size_t)value->count + 1, 1);
  if (!text)
    return *pickle->budget < 4096 ? etk_fail(e, ETK_E_FORMAT, "%s: its texts take more memory than files of its size do", file->base.name)
                                  : no_memory(e, file->base.name);
  memcpy(text, value->is.text, value->count);
  out->text = text;
  return ETK_OK;
}

static int by_name(const void *a, const void *b) { return strcmp(*(const char *const *)a, *(const char *const *)b); }
static int entry_order(const void *a, const void *b) {
  return strcmp((*(const etk_torch_entry *const *)a)->name, (*(const etk_torch_entry *const *)b)->name);
}
static int name_against(const void *key, const void *entry) { return strcmp(key, (*(const etk_torch_entry *const *)entry)->name); }

static etk_status check_names(walk *w) {
  size_t count = w->tensors + w->others, i = 0;
  const char **names = etk__pickle_take(w->pickle, count + 1, sizeof *names);
  if (!names) return *w->pickle->budget < 4096 ? too_much(w, "the file holds more names than files of its size do") : no_memory(w->e, w->file->base.name);
  for (const item *it = w->first; it; it = it->next) names[i++] = it->name;
  qsort(names, count, sizeof *names, by_name);
  for (i = 1; i < count; i++)
    if (!strcmp(names[i - 1], names[i])) return etk_fail(w->e, ETK_E_FORMAT, "%s: two values are called '%s'", w->file->base.name, names[i]);
  return ETK_OK;
}

static etk_status fill(walk *w) {
  etk_torch *file = w->file;
  file->entries = etk__pickle_take(w->pickle, w->tensors + 1, sizeof *file->entries);
  file->tensors = etk__pickle_take(w->pickle, w->tensors + 1, sizeof *file->tensors);
  file->by_name = etk__pickle_take(w->pickle, w->tensors + 1, sizeof *file->by_name);
  file->values = etk__pickle_take(w->pickle, w->others + 1, sizeof *file->values);
  if (!file->entries || !file->tensors || !file->by_name || !file->values)
    return *w->pickle->budget < 4096 ? too_much(w, "the file holds more names than files of its size do") : no_memory(w->e, file->base.name);
  for (const item *it = w->first; it; it = it->next) {
    if (it->value->kind != ETK__P_TENSOR) {
      etk_status s = fill_value(w->e, file, w->pickle, &file->values[file->value_count++], it);
      if (s != ETK_OK) return s;
      continue;
    }
    file->tensors[file->count] = it->value->is.tensor;
    file->by_name[file->count] = &file->entries[file->count];
    fill_entry(file, &file->entries[file->count++], it->name, it->value->is.tensor);
  }
  qsort(file->by_name, file->count, sizeof *file->by_name, entry_order);
  return ETK_OK;
}

static etk_status flatten(etk_error *e, etk_torch *file, etk__pickle *pickle, const etk__value *root) {
  walk *w = etk_calloc(1, sizeof *w);
  if (!w) return no_memory(e, file->base.name);
  w->e = e, w->file = file, w->pickle = pickle, w->last = &w->first, w->steps = file->size + 16;
  bool container = root->kind == ETK__P_DICT || root->kind == ETK__P_LIST || root->kind == ETK__P_TUPLE;
  if (!container) extend(w, "tensor", 6);
  etk_status s = ETK_OK;
  if (!container && root->kind != ETK__P_TENSOR)
    s = etk_fail(e, ETK_E_UNSUPPORTED, "%s holds %s, and no tensor", file->base.name, etk__pickle_kinds[root->kind]);
  else if (!container || root->count) s = descend(w, root, 0);
  if (s == ETK_OK) s = check_names(w);
  if (s == ETK_OK) s = fill(w);
  etk_free(w);
  return s;
}

/* ---- the ZIP form ------------------------------------------------------------------------------------------------------------------ */

/* The folder of the one entry "<folder>/data.pkl". */
static etk_status find_folder(etk_error *e, etk_torch *file, char **prefix, const etk__zip_entry **data) {
  for (size_t i = 0; i < file->zip.count; i++) {
    const etk__zip_entry *entry = &file->zip.entries[i];
    const char *slash = strchr(entry->name, '/');
    if (!slash || strcmp(slash, "/data.pkl") != 0) continue;
    if (*data) return etk_fail(e, ETK_E_FORMAT, "%s: both '%s' and '%s' could be the model", file->base.name, (*data)->name, entry->name);
    *data = entry;
    *prefix = etk_arena_strndup(&file->base.arena, entry->name, (size_t)(slash - entry->name));
    if (!*prefix) return no_memory(e, file->base.name);
  }
  if (!*data)
    return etk_fail(e, ETK_E_FORMAT, "%s: a ZIP archive of %zu entries, but none is NAME/data.pkl: torch.save did not write it", file->base.name,
                    file->zip.count);
  return ETK_OK;
}

static etk_status find_member(etk_error *e, etk_torch *file, const char *prefix, const char *member, const etk__zip_entry **out) {
  char *name = etk_arena_printf(&file->base.arena, "%s/%s", prefix, member);
  if (!name) return no_memory(e, file->base.name);
  *out = etk__zip_find(&file->zip, name);
  return ETK_OK;
}

static etk_status read_byte_order(etk_error *e, etk_torch *file, const char *prefix) {
  const etk__zip_entry *entry = NULL;
  unsigned char text[8];
  size_t size = 0;
  etk_status s = find_member(e, file, prefix, "byteorder", &entry);
  if (s != ETK_OK || !entry) return s; /* PyTorch before 2.1 wrote none: little */
  s = etk__zip_head(e, &file->zip, entry, text, sizeof text, &size);
  if (s != ETK_OK) return s;
  file->swap = entry->size == 3 && !memcmp(text, "big", 3);
  bool little = entry->size == 6 && !memcmp(text, "little", 6);
  return file->swap || little
             ? ETK_OK
             : etk_fail(e, ETK_E_FORMAT, "%s: entry '%s' at byte %" PRIu64 " is neither 'little' nor 'big'", file->base.name, entry->name, entry->at);
}

static etk_status read_zip(etk_error *e, etk_torch *file, const unsigned char *bytes, size_t size) {
  char *prefix = NULL;
  const etk__zip_entry *entry = NULL;
  etk_status s = etk__zip_open(e, &file->zip, &file->base.arena, file->base.name, "a file of torch.save", bytes, size);
  if (s == ETK_OK) s = find_folder(e, file, &prefix, &entry);
  const etk__zip_entry *script = NULL;
  if (s == ETK_OK) s = find_member(e, file, prefix, "constants.pkl", &script);
  if (s != ETK_OK) return s;
  if (script)
    return etk_fail(e, ETK_E_UNSUPPORTED,
                    "%s: a TorchScript program, not weights alone; in PyTorch: torch.save(torch.jit.load(PATH).state_dict(), OTHER)", file->base.name);
  s = read_byte_order(e, file, prefix);
  if (s != ETK_OK) return s;
  if (entry->deflated && entry->size > file->budget / 4)
    return etk_fail(e, ETK_E_FORMAT, "%s: entry '%s' would inflate to %" PRIu64 " bytes; the file has %zu: refused", file->base.name, entry->name,
                    entry->size, file->size);
  const unsigned char *data = NULL;
  unsigned char *owned = NULL;
  s = etk__zip_data(e, &file->zip, entry, &data, &owned);
  if (s != ETK_OK) return s;
  if (owned) file->budget -= (size_t)entry->size;
  etk__torch_source source = {.zip = &file->zip, .prefix = prefix};
  etk__pickle p = {.e = e,
                   .file = file->base.name,
                   .part = entry->name,
                   .bytes = data,
                   .size = (size_t)entry->size,
                   .arena = &file->base.arena,
                   .budget = &file->budget,
                   .user = &source};
  etk__value *root = NULL;
  s = etk__pickle_run(&p, &root);
  if (s == ETK_OK && p.at != p.size)
    s = etk_fail(e, ETK_E_FORMAT, "%s: %s: %zu bytes follow the pickle, which ends at %zu", file->base.name, entry->name, p.size - p.at, p.at);
  if (s == ETK_OK) s = flatten(e, file, &p, root); /* copies the names: an inflated pickle may go */
  etk_free(owned);
  return s;
}

/* ---- the older form ---------------------------------------------------------------------------------------------------------------- */

/* Two pickles that are always the same: the number 0x1950a86a20f9469cfc6c and the protocol, 1001. */
static const unsigned char magic[] = "\x80\2\x8a\12\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.";
static const unsigned char protocol[] = "\x80\2M\xe9\3.";
enum { MAGIC_SIZE = sizeof magic - 1, PROTOCOL_SIZE = sizeof protocol - 1 };

static etk_status read_system(etk_error *e, etk_torch *file, const etk__value *info) {
  for (uint32_t i = 0; info->kind == ETK__P_DICT && i < info->count; i += 2) {
    if (!etk__pickle_is(info->is.items[i], "little_endian")) continue;
    const etk__value *little = info->is.items[i + 1];
    if (little->kind != ETK__P_FLAG) break;
    file->swap = !little->is.flag;
    return ETK_OK;
  }
  return etk_fail(e, ETK_E_FORMAT, "%s: the third pickle does not say whether the values are little-endian", file->base.name);
}

static int storage_order(const void *a, const void *b) {
  return strcmp((*(etk__torch_storage *const *)a)->key, (*(etk__torch_storage *const *)b)->key);
}
static int key_against(const void *key, const void *storage) {
  const etk__value *k = key;
  const char *text = (*(etk__torch_storage *const *)storage)->key;
  int order = strncmp(k->is.text, text, k->count);
  return order ? order : text[k->count] ? -1 : 0;
}

/* One storage: the number of its elements (8 bytes) and the elements. All that share the key get the data. */
static etk_status place(etk__pickle *p, etk__torch_storage **sorted, size_t count, const etk__value *key) {
  char shown[128];
  p->op_at = p->at;
  if (key->kind != ETK__P_TEXT || !key->count || memchr(key->is.text, 0, key->count))
    return etk__pickle_fail(p, ETK_E_FORMAT, "the name of a storage must be a text without zero bytes");
  etk__pickle_show(shown, key->is.text, key->count);
  etk__torch_storage **found = count ? bsearch(key, sorted, count, sizeof *sorted, key_against) : NULL;
  if (!found) return etk__pickle_fail(p, ETK_E_FORMAT, "no tensor asked for the storage '%s' that lies here", shown);
  while (found > sorted && !strcmp(found[-1]->key, found[0]->key)) found--;
  if ((*found)->data) return etk__pickle_fail(p, ETK_E_FORMAT, "the storage '%s' lies here a second time", shown);
  if (p->size - p->at < 8) return etk__pickle_fail(p, ETK_E_FORMAT, "truncated: storage '%s' is missing", shown);
  uint64_t elements = 0;
  for (int i = 8; i-- > 0;) elements = elements << 8 | p->bytes[p->at + (size_t)i];
  const etk__torch_storage *first = *found;
  if (p->size - p->at - 8 < first->bytes)
    return etk__pickle_fail(p, ETK_E_FORMAT, "truncated: storage '%s' takes %" PRIu64 " bytes and %zu are left", shown, first->bytes,
                            p->size - p->at - 8);
  for (; found < sorted + count && !strcmp((*found)->key, first->key); found++) {
    if ((*found)->elements != elements || (*found)->bytes != first->bytes)
      return etk__pickle_fail(p, ETK_E_FORMAT, "storage '%s' has %" PRIu64 " elements here, and %" PRIu64 " were asked for", shown, elements,
                              (*found)->elements);
    (*found)->data = p->bytes + p->at + 8;
  }
  p->at += 8 + (size_t)first->bytes;
  return ETK_OK;
}

static etk_status place_all(etk__pickle *p, const etk__torch_source *source, const etk__value *keys) {
  size_t count = source->storage_count, i = 0;
  if (keys->kind != ETK__P_LIST)
    return etk__pickle_fail(p, ETK_E_FORMAT, "the names of the storages are %s instead of a list", etk__pickle_kinds[keys->kind]);
  etk__torch_storage **sorted = etk__pickle_take(p, count + 1, sizeof *sorted);
  if (!sorted) return etk__pickle_short(p);
  for (etk__torch_storage *storage = source->storages; storage; storage = storage->next) sorted[i++] = storage;
  qsort(sorted, count, sizeof *sorted, storage_order);
  p->part = "storages";
  for (uint32_t k = 0; k < keys->count; k++) {
    etk_status s = place(p, sorted, count, keys->is.items[k]);
    if (s != ETK_OK) return s;
  }
  p->op_at = p->at;
  for (i = 0; i < count; i++)
    if (!sorted[i]->data) return etk__pickle_fail(p, ETK_E_FORMAT, "storage '%.100s' is not in the file", sorted[i]->key);
  return p->at == p->size ? ETK_OK : etk__pickle_fail(p, ETK_E_FORMAT, "%zu bytes follow the last storage", p->size - p->at);
}

static etk_status read_chain(etk_error *e, etk_torch *file, const unsigned char *bytes, size_t size) {
  if (size < MAGIC_SIZE + PROTOCOL_SIZE || memcmp(bytes + MAGIC_SIZE, protocol, PROTOCOL_SIZE) != 0)
    return etk_fail(e, ETK_E_UNSUPPORTED, "%s: a file of torch.save whose protocol is not 1001; load and save it with a current PyTorch", file->base.name);
  etk__torch_source source = {0};
  etk__pickle p = {.e = e,
                   .file = file->base.name,
                   .part = "system",
                   .bytes = bytes,
                   .size = size,
                   .at = MAGIC_SIZE + PROTOCOL_SIZE,
                   .arena = &file->base.arena,
                   .budget = &file->budget,
                   .user = &source};
  etk__value *info = NULL, *root = NULL, *keys = NULL;
  etk_status s = etk__pickle_run(&p, &info);
  if (s == ETK_OK) s = read_system(e, file, info);
  p.part = "tensors";
  if (s == ETK_OK) s = etk__pickle_run(&p, &root);
  p.part = "storage names";
  if (s == ETK_OK) s = etk__pickle_run(&p, &keys);
  if (s == ETK_OK) s = place_all(&p, &source, keys);
  return s == ETK_OK ? flatten(e, file, &p, root) : s;
}

/* ---- the file ---------------------------------------------------------------------------------------------------------------------- */

static bool is_tar(const unsigned char *bytes, size_t size) {
  return size >= 512 && (!memcmp(bytes + 257, "ustar", 5) || !memcmp(bytes, "sys_info", 9) || !memcmp(bytes, "./sys_info", 11));
}

static etk_status parse(etk_error *e, void *reader, const unsigned char *bytes, size_t size) {
  etk_torch *file = reader;
  file->size = size;
  file->budget = size > SIZE_MAX / 16 ? SIZE_MAX / 2 : size * 8 + ((size_t)12 << 20);
  if (size >= 4 && !memcmp(bytes, "PK\3\4", 4)) return read_zip(e, file, bytes, size);
  if (size >= MAGIC_SIZE && !memcmp(bytes, magic, MAGIC_SIZE)) return read_chain(e, file, bytes, size);
  if (is_tar(bytes, size))
    return etk_fail(e, ETK_E_UNSUPPORTED,
                    "%s: a tar archive, which PyTorch wrote before version 0.1.10; load it there and torch.save it with a current PyTorch",
                    file->base.name);
  if (size >= 2 && bytes[0] == 0x80 && bytes[1] >= 2 && bytes[1] <= 5)
    return etk_fail(e, ETK_E_UNSUPPORTED, "%s: a bare pickle (protocol %d), not a file of torch.save; load it in Python and torch.save its tensors",
                    file->base.name, bytes[1]);
  return etk_fail(e, ETK_E_FORMAT, "%s: not a file of torch.save: its %zu bytes begin neither as a ZIP archive nor with PyTorch's magic number",
                  file->base.name, size);
}

etk_status etk_torch_parse(etk_error *e, etk_torch **out, const char *name, const void *bytes, size_t size) {
  void *file;
  etk_status s = etk__mapped_over(e, &file, sizeof **out, name, bytes, size, parse);
  *out = file;
  return s;
}

etk_status etk_torch_open(etk_error *e, etk_torch **out, const char *path) {
  void *file;
  etk_status s = etk__mapped_open(e, &file, sizeof **out, path, parse);
  *out = file;
  return s;
}

size_t etk_torch_count(const etk_torch *file) { return file->count; }
const etk_torch_entry *etk_torch_at(const etk_torch *file, size_t index) { return index < file->count ? &file->entries[index] : NULL; }
const etk_torch_entry *etk_torch_find(const etk_torch *file, const char *name) {
  const etk_torch_entry **found = file->count ? bsearch(name, file->by_name, file->count, sizeof *file->by_name, name_against) : NULL;
  return found ? *found : NULL;
}
size_t etk_torch_value_count(const etk_torch *file) { return file->value_count; }
const etk_torch_value *etk_torch_value_at(const etk_torch *file, size_t index) { return index < file->value_count ? &file->values[index] : NULL; }

/* A tensor may repeat its values (stride 0), so that few bytes ask for much memory: what is out of proportion is refused. */
etk_status etk__torch_unpack(etk_error *e, etk_tensor **out, const etk_torch *file, size_t index) {
  const etk_torch_entry *entry = &file->entries[index];
  const etk__torch_tensor *t = file->tensors[index];
  *out = NULL;
  if (entry->bytes > t->storage->bytes && entry->bytes - t->storage->bytes > file->size * 8 + ((size_t)12 << 20))
    return etk_fail(e, ETK_E_UNSUPPORTED, "%s: tensor '%s' repeats the %" PRIu64 " bytes of its storage to %zu; save it as tensor.clone()",
                    file->base.name, entry->name, t->storage->bytes, entry->bytes);
  const unsigned char *data = t->storage->data;
  unsigned char *owned = NULL;
  etk_status s = data ? ETK_OK : etk__zip_data(e, &file->zip, t->storage->entry, &data, &owned);
  if (s == ETK_OK && entry->dtype >= 0) s = etk_tensor_new(e, out, (etk_dtype)entry->dtype, entry->shape);
  else if (s == ETK_OK) s = etk_tensor_new(e, out, ETK_U8, etk_shape_of(1, (int64_t)entry->bytes));
  if (s == ETK_OK && entry->bytes)
    etk__strided_copy(etk_tensor_data(*out), data + t->offset * t->type->size, t->type->size, &t->shape, t->strides, file->swap);
  etk_free(owned);
  return s;
}

const void *etk__torch_data(const etk_torch *file, size_t index) {
  const etk__torch_tensor *t = file->tensors[index];
  return lies_in_order(file, t) ? t->storage->data + t->offset * t->type->size : NULL;
}

etk_status etk_torch_tensor(etk_error *e, etk_tensor **out, etk_torch *file, const char *name) {
  *out = NULL;
  const etk_torch_entry *entry = etk_torch_find(file, name);
  if (!entry) return etk_fail(e, ETK_E_NOT_FOUND, "%s has no tensor '%s' (it holds %zu tensors)", file->base.name, name, file->count);
  if (entry->dtype < 0)
    return etk_fail(e, ETK_E_UNSUPPORTED, "%s: tensor '%s' has the element type %s, which this version cannot compute with", file->base.name, name,
                    entry->dtype_name);
  const etk__torch_tensor *t = file->tensors[entry - file->entries];
  if (!entry->in_place) return etk__torch_unpack(e, out, file, (size_t)(entry - file->entries));
  etk__mapped_ref(&file->base);
  etk_status s = etk_tensor_wrap(e, out, (etk_dtype)entry->dtype, entry->shape, t->storage->data + t->offset * t->type->size, etk__mapped_unref, file);
  if (s != ETK_OK) etk__mapped_unref(file);
  return s;
}

etk_status etk_torch_verify(etk_error *e, const etk_torch *file) {
  for (size_t i = 0; i < file->zip.count; i++) {
    etk_status s = etk__zip_check(e, &file->zip, &file->zip.entries[i]);
    if (s != ETK_OK) return s;
  }
  return ETK_OK;
}
