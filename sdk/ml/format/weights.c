#include "weights_internal.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

static const char *const format_names[ETK_WEIGHTS_FORMAT_COUNT] = {"safetensors", "GGUF", "llama2.c", "PyTorch", "NumPy", "ONNX"};
const char *etk_weights_format_name(etk_weights_format format) {
  return (unsigned)format < ETK_WEIGHTS_FORMAT_COUNT ? format_names[format] : "?";
}

struct part *etk__weights_add_part(etk_error *e, etk_weights *w, const char *path) {
  if (w->part_count == w->part_room) {
    size_t room = w->part_room ? w->part_room * 2 : 4;
    struct part *parts = etk_realloc(w->parts, room, sizeof *parts);
    if (!parts) return etk_fail_memory(e), NULL;
    w->parts = parts;
    w->part_room = room;
  }
  struct part *part = &w->parts[w->part_count];
  *part = (struct part){.path = etk_arena_strdup(&w->arena, path)};
  if (!part->path) return etk_fail_memory(e), NULL;
  w->part_count++;
  return part;
}

/* ---- GGUF ---- */
static etk_status open_gguf(etk_error *e, etk_weights *w, const char *path) {
  w->format = ETK_WEIGHTS_GGUF;
  etk_status status = etk_gguf_open(e, &w->gguf, path);
  if (status) return status;
  int parts = etk_gguf_parts(w->gguf);
  size_t size = strlen(path), tail = strlen("-00001-of-00001.gguf");
  for (int i = 0; i < parts; i++) {
    char *name = parts == 1 ? etk_strdup(path) : NULL;
    if (parts > 1 && size > tail) {
      char *whole = etk_arena_printf(&w->arena, "%.*s.gguf", (int)(size - tail), path);
      name = whole ? etk_gguf_part_path(whole, i, parts) : NULL;
    }
    struct part *part = name ? etk__weights_add_part(e, w, name) : NULL;
    etk_free(name);
    if (!part) return etk_fail_memory(e);
  }
  w->count = etk_gguf_count(w->gguf);
  w->weights = etk_arena_array(&w->arena, w->count + 1, sizeof *w->weights);
  if (!w->weights) return etk_fail_memory(e);
  etk__weights_facts_gguf(&w->facts, w->gguf);
  for (size_t i = 0; i < w->count && !status; i++) {
    const etk_gguf_entry *entry = etk_gguf_at(w->gguf, i);
    w->weights[i] = (etk_weight){.name = entry->name, .canonical = entry->name, .type_name = entry->type_name, .type = entry->type, .part = entry->part,
                                 .shape = entry->shape, .data = entry->data, .bytes = entry->bytes};
    status = etk__weights_canonical(e, w, &w->weights[i]);
  }
  return status;
}

/* ---- formats with a reader of their own ---- */
etk_status etk__weights_open_part(etk_error *e, etk_weights *w, const etk__weights_reader *reader, const char *path) {
  void *file = NULL;
  etk_status status = reader->open(e, &file, path);
  if (status) return status;
  w->reader = reader;
  w->format = reader->format;
  struct part *part = etk__weights_add_part(e, w, path);
  if (!part) return reader->close(file), ETK_E_NO_MEMORY;
  part->file = file;
  part->first = w->part_count > 1 ? part[-1].first + reader->count(part[-1].file) : 0;
  return ETK_OK;
}

etk_status etk__weights_list(etk_error *e, etk_weights *w) {
  const etk__weights_reader *reader = w->reader;
  size_t count = 0;
  for (size_t p = 0; p < w->part_count; p++) count += reader->count(w->parts[p].file);
  w->weights = etk_arena_array(&w->arena, count + 1, sizeof *w->weights);
  if (!w->weights) return etk_fail_memory(e);
  for (size_t p = 0; p < w->part_count; p++)
    for (size_t i = 0; w->parts[p].first + i < count && i < reader->count(w->parts[p].file); i++) {
      etk_weight *weight = &w->weights[w->count++];
      reader->at(weight, w->parts[p].file, i);
      weight->canonical = weight->name;
      weight->part = (int)p;
    }
  return ETK_OK;
}

static etk_status open_one(etk_error *e, etk_weights *w, const etk__weights_reader *reader, const char *path) {
  etk_status status = etk__weights_open_part(e, w, reader, path);
  if (!status) status = etk__weights_list(e, w);
  return status ? status : etk__weights_facts_beside(e, w, path);
}

/* ---- any ---- */
/* ir_version, a small number, and then one of the fields that may follow it; llama2.c's first number has a zero in its fourth byte. */
static bool looks_like_onnx(const unsigned char *head, const char *extension) {
  bool field = head[2] == 0x12 || head[2] == 0x1a || head[2] == 0x22 || head[2] == 0x28 || head[2] == 0x32 || head[2] == 0x3a || head[2] == 0x42;
  return !strcmp(extension, ".onnx") || (head[0] == 0x08 && head[1] > 0 && head[1] < 128 && field && head[3]);
}

static etk_status open_file(etk_error *e, etk_weights *w, const char *path) {
  unsigned char head[16] = {0};
  etk_map map;
  etk_status status = etk_map_open(e, &map, path);
  if (status) return status;
  if (map.size) memcpy(head, map.data, map.size < sizeof head ? map.size : sizeof head);
  const etk__weights_reader *archive = NULL;
  if (!memcmp(head, "PK\3\4", 4)) status = etk__weights_archive(e, &archive, path, map.data, map.size);
  bool torch = etk__weights_is_torch(map.data, map.size);
  etk_map_close(&map);
  if (status) return status;
  const char *dot = strrchr(etk_path_base(path), '.'), *extension = dot ? dot : "";
  if (!memcmp(head, "GGUF", 4)) return open_gguf(e, w, path);
  if (archive) return open_one(e, w, archive, path);
  if (!memcmp(head, "\x93NUMPY", 6)) return open_one(e, w, &etk__weights_npy, path);
  if (head[8] == '{' || !strcmp(extension, ".safetensors")) return open_one(e, w, &etk__weights_safetensors, path);
  if (torch) return open_one(e, w, &etk__weights_torch, path);
  if (looks_like_onnx(head, extension)) return open_one(e, w, &etk__weights_onnx, path);
  return etk__weights_open_llama2c(e, w, path);
}

static int compare_names(const void *a, const void *b) {
  const etk_weight *const *x = a, *const *y = b;
  return strcmp((*x)->name, (*y)->name);
}
static int compare_canonicals(const void *a, const void *b) {
  const etk_weight *const *x = a, *const *y = b;
  return strcmp((*x)->canonical, (*y)->canonical);
}
static int against_name(const void *key, const void *item) {
  const etk_weight *const *weight = item;
  return strcmp(key, (*weight)->name);
}
static int against_canonical(const void *key, const void *item) {
  const etk_weight *const *weight = item;
  return strcmp(key, (*weight)->canonical);
}

static etk_status make_index(etk_error *e, etk_weights *w) {
  w->by_name = etk_arena_array(&w->arena, w->count + 1, sizeof *w->by_name);
  w->by_canonical = etk_arena_array(&w->arena, w->count + 1, sizeof *w->by_canonical);
  if (!w->by_name || !w->by_canonical) return etk_fail_memory(e);
  for (size_t i = 0; i < w->count; i++) {
    w->weights[i].owner = w;
    w->weights[i].place = i;
    w->by_name[i] = w->by_canonical[i] = &w->weights[i];
  }
  qsort(w->by_name, w->count, sizeof *w->by_name, compare_names);
  qsort(w->by_canonical, w->count, sizeof *w->by_canonical, compare_canonicals);
  for (size_t i = 1; i < w->count; i++)
    if (!strcmp(w->by_name[i - 1]->name, w->by_name[i]->name))
      return etk_fail(e, ETK_E_FORMAT, "%s: the tensor %s is in two of its files, %s and %s", w->path, w->by_name[i]->name,
                      w->parts[w->by_name[i - 1]->part].path, w->parts[w->by_name[i]->part].path);
  return ETK_OK;
}

etk_status etk_weights_open(etk_error *e, etk_weights **out, const char *path) {
  *out = NULL;
  etk_weights *w = etk_calloc(1, sizeof *w);
  if (!w) return etk_fail_memory(e);
  atomic_init(&w->references, 1);
  pthread_mutex_init(&w->lock, NULL);
  w->path = etk_arena_strdup(&w->arena, path);
  etk_status status = !w->path ? etk_fail_memory(e) : etk_fs_is_dir(path) ? etk__weights_open_folder(e, w, path) : open_file(e, w, path);
  if (!status) status = make_index(e, w);
  if (status) etk_weights_close(w);
  else *out = w;
  return status;
}

void etk_weights_close(etk_weights *w) {
  if (!w || atomic_fetch_sub(&w->references, 1) > 1) return;
  for (size_t i = 0; w->unpacked && i < w->count; i++) etk_tensor_unref(w->unpacked[i]);
  for (size_t i = 0; w->reader && i < w->part_count; i++) w->reader->close(w->parts[i].file);
  etk_free(w->unpacked);
  etk_free(w->parts);
  if (w->gguf) etk_gguf_close(w->gguf);
  etk_map_close(&w->map);
  etk_arena_fini(&w->arena);
  pthread_mutex_destroy(&w->lock);
  etk_free(w);
}

static etk_status unpack(etk_error *e, etk_tensor **out, etk_weights *w, size_t place) {
  const struct part *part = &w->parts[w->weights[place].part];
  if (!w->unpacked) w->unpacked = etk_calloc(w->count, sizeof *w->unpacked);
  if (!w->unpacked) return etk_fail_memory(e);
  etk_status status = w->unpacked[place] ? ETK_OK : w->reader->unpack(e, &w->unpacked[place], part->file, place - part->first);
  *out = w->unpacked[place];
  return status;
}

etk_status etk_weight_data(etk_error *e, const void **out, const etk_weight *weight) {
  etk_weights *w = weight->owner;
  etk_tensor *tensor = NULL;
  *out = weight->data;
  if (weight->data || !weight->bytes) return ETK_OK;
  if (!w || !w->reader || !w->reader->unpack) return etk_fail(e, ETK_E_INVALID, "tensor %s has no data", weight->name);
  pthread_mutex_lock(&w->lock);
  etk_status status = unpack(e, &tensor, w, weight->place);
  pthread_mutex_unlock(&w->lock);
  if (!status) *out = etk_tensor_data(tensor);
  return status;
}

const char *etk_weights_path(const etk_weights *w) { return w->path; }
etk_weights_format etk_weights_get_format(const etk_weights *w) { return w->format; }
const etk_weights_facts *etk_weights_get_facts(const etk_weights *w) { return &w->facts; }
size_t etk_weights_part_count(const etk_weights *w) { return w->part_count; }
const char *etk_weights_part_path(const etk_weights *w, size_t part) { return part < w->part_count ? w->parts[part].path : NULL; }
etk_status etk_weights_check(etk_error *e, const etk_weights *w, size_t part) {
  return part < w->part_count && w->reader && w->reader->check ? w->reader->check(e, w->parts[part].file) : ETK_OK;
}
size_t etk_weights_count(const etk_weights *w) { return w->count; }
const etk_weight *etk_weights_at(const etk_weights *w, size_t index) { return index < w->count ? &w->weights[index] : NULL; }

const etk_weight *etk_weights_find(const etk_weights *w, const char *name) {
  const etk_weight **found = bsearch(name, w->by_name, w->count, sizeof *w->by_name, against_name);
  if (!found) found = bsearch(name, w->by_canonical, w->count, sizeof *w->by_canonical, against_canonical);
  return found ? *found : NULL;
}

const char *etk_weights_suggest(const etk_weights *w, const char *name) {
  const char **names = etk_calloc(w->count + 1, sizeof *names);
  if (!names) return NULL;
  for (size_t i = 0; i < w->count; i++) names[i] = w->weights[i].name;
  const char *near = etk_text_suggest(name, names, w->count);
  etk_free(names);
  return near;
}

/* ---- keys ---- */
static const struct header_key {
  const char *name;
  size_t offset;
} header_keys[] = {
    {"dim", offsetof(etk_weights_facts, hidden_size)},        {"hidden_dim", offsetof(etk_weights_facts, intermediate_size)},
    {"n_layers", offsetof(etk_weights_facts, num_hidden_layers)}, {"n_heads", offsetof(etk_weights_facts, num_attention_heads)},
    {"n_kv_heads", offsetof(etk_weights_facts, num_key_value_heads)}, {"vocab_size", offsetof(etk_weights_facts, vocab_size)},
    {"seq_len", offsetof(etk_weights_facts, max_position_embeddings)},
};
enum { HEADER_KEYS = sizeof header_keys / sizeof *header_keys };

size_t etk_weights_key_count(const etk_weights *w) {
  if (w->format == ETK_WEIGHTS_GGUF) return etk_gguf_key_count(w->gguf);
  if (w->format == ETK_WEIGHTS_LLAMA2C) return HEADER_KEYS;
  return w->part_count ? w->reader->key_count(w->parts[0].file) : 0;
}

const char *etk_weights_key_at(const etk_weights *w, size_t index) {
  if (w->format == ETK_WEIGHTS_GGUF) return etk_gguf_key_at(w->gguf, index, NULL);
  if (w->format == ETK_WEIGHTS_LLAMA2C) return index < HEADER_KEYS ? header_keys[index].name : NULL;
  return w->part_count ? w->reader->key_at(w->parts[0].file, index) : NULL;
}

const char *etk_weights_metadata(const etk_weights *w, const char *key) {
  return w->reader && w->reader->metadata && w->part_count ? w->reader->metadata(w->parts[0].file, key) : NULL;
}

static void put_gguf_value(etk_text *out, const etk_gguf_value *value, size_t items);
static void put_gguf_item(etk_text *out, const etk_gguf_value *value, uint64_t i, size_t items) {
  switch (value->item_kind) {
  case ETK_GGUF_TEXT: {
    size_t size = 0;
    const char *text = etk_gguf_text_at(value, i, &size);
    etk_text_json(out, text ? text : "", size);
    return;
  }
  case ETK_GGUF_BOOL: etk_text_puts(out, etk_gguf_int_at(value, i) ? "true" : "false"); return;
  case ETK_GGUF_F32: case ETK_GGUF_F64: etk_text_real(out, etk_gguf_real_at(value, i)); return;
  case ETK_GGUF_ARRAY: put_gguf_value(out, etk_gguf_value_at(value, i), items); return;
  default: etk_text_printf(out, "%" PRId64, etk_gguf_int_at(value, i));
  }
}
static void put_gguf_value(etk_text *out, const etk_gguf_value *value, size_t items) {
  if (!value || value->kind != ETK_GGUF_ARRAY) {
    if (value) put_gguf_item(out, value, 0, items);
    else etk_text_puts(out, "null");
    return;
  }
  if (value->count > items) {
    etk_text_printf(out, "{\"kind\":\"%s\",\"count\":%" PRIu64 "}", etk_gguf_kind_name(value->item_kind), value->count);
    return;
  }
  etk_text_putc(out, '[');
  for (uint64_t i = 0; i < value->count; i++) {
    if (i) etk_text_putc(out, ',');
    put_gguf_item(out, value, i, items);
  }
  etk_text_putc(out, ']');
}

void etk_weights_key_value(const etk_weights *w, size_t index, size_t items, etk_text *out) {
  if (w->format == ETK_WEIGHTS_GGUF) {
    const etk_gguf_value *value = NULL;
    if (etk_gguf_key_at(w->gguf, index, &value)) put_gguf_value(out, value, items);
  } else if (w->format == ETK_WEIGHTS_LLAMA2C) {
    int64_t value;
    if (index >= HEADER_KEYS) return;
    memcpy(&value, (const char *)&w->facts + header_keys[index].offset, sizeof value);
    etk_text_printf(out, "%" PRId64, value);
  } else if (w->part_count) w->reader->key_value(w->parts[0].file, index, out);
}
