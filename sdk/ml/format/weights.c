#include "weights_internal.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

static const char *const format_names[ETK_WEIGHTS_FORMAT_COUNT] = {"safetensors", "GGUF", "llama2.c"};
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

/* ---- any ---- */
static etk_status open_file(etk_error *e, etk_weights *w, const char *path) {
  unsigned char head[16] = {0};
  etk_map map;
  etk_status status = etk_map_open(e, &map, path);
  if (status) return status;
  size_t size = map.size;
  if (size) memcpy(head, map.data, size < sizeof head ? size : sizeof head);
  etk_map_close(&map);
  if (!memcmp(head, "GGUF", 4)) return open_gguf(e, w, path);
  if (!memcmp(head, "PK\3\4", 4))
    return etk_fail(e, ETK_E_UNSUPPORTED, "%s: a zip archive (PyTorch or NumPy weights), which this version does not read; wanted safetensors, GGUF or llama2.c", path);
  const char *dot = strrchr(path, '.');
  if (head[8] == '{' || (dot && !strcmp(dot, ".safetensors"))) return etk__weights_open_safetensors(e, w, path);
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
  for (size_t i = 0; i < w->count; i++) w->by_name[i] = w->by_canonical[i] = &w->weights[i];
  qsort(w->by_name, w->count, sizeof *w->by_name, compare_names);
  qsort(w->by_canonical, w->count, sizeof *w->by_canonical, compare_canonicals);
  for (size_t i = 1; i < w->count; i++)
    if (!strcmp(w->by_name[i - 1]->name, w->by_name[i]->name))
      return etk_fail(e, ETK_E_FORMAT, "%s: the tensor %s is in two of its files, %s and %s", w->path, w->by_name[i]->name, w->parts[w->by_name[i - 1]->part].path,
                      w->parts[w->by_name[i]->part].path);
  return ETK_OK;
}

etk_status etk_weights_open(etk_error *e, etk_weights **out, const char *path) {
  *out = NULL;
  etk_weights *w = etk_calloc(1, sizeof *w);
  if (!w) return etk_fail_memory(e);
  w->path = etk_arena_strdup(&w->arena, path);
  etk_status status = !w->path ? etk_fail_memory(e) : etk_fs_is_dir(path) ? etk__weights_open_folder(e, w, path) : open_file(e, w, path);
  if (!status) status = make_index(e, w);
  if (status) etk_weights_close(w);
  else *out = w;
  return status;
}

void etk_weights_close(etk_weights *w) {
  if (!w) return;
  for (size_t i = 0; i < w->part_count; i++) etk_safetensors_close(w->parts[i].safetensors);
  etk_free(w->parts);
  if (w->gguf) etk_gguf_close(w->gguf);
  etk_map_close(&w->map);
  etk_arena_fini(&w->arena);
  etk_free(w);
}

const char *etk_weights_path(const etk_weights *w) { return w->path; }
etk_weights_format etk_weights_get_format(const etk_weights *w) { return w->format; }
const etk_weights_facts *etk_weights_get_facts(const etk_weights *w) { return &w->facts; }
size_t etk_weights_part_count(const etk_weights *w) { return w->part_count; }
const char *etk_weights_part_path(const etk_weights *w, size_t part) { return part < w->part_count ? w->parts[part].path : NULL; }
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
  size_t count = 0;
  while (w->part_count && etk_safetensors_metadata_at(w->parts[0].safetensors, count, NULL)) count++;
  return count;
}

const char *etk_weights_key_at(const etk_weights *w, size_t index) {
  if (w->format == ETK_WEIGHTS_GGUF) return etk_gguf_key_at(w->gguf, index, NULL);
  if (w->format == ETK_WEIGHTS_LLAMA2C) return index < HEADER_KEYS ? header_keys[index].name : NULL;
  return w->part_count ? etk_safetensors_metadata_at(w->parts[0].safetensors, index, NULL) : NULL;
}

const char *etk_weights_metadata(const etk_weights *w, const char *key) {
  return w->format == ETK_WEIGHTS_SAFETENSORS && w->part_count ? etk_safetensors_metadata(w->parts[0].safetensors, key) : NULL;
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
  } else {
    const char *value = NULL;
    if (w->part_count && etk_safetensors_metadata_at(w->parts[0].safetensors, index, &value)) etk_text_json(out, value, strlen(value));
  }
}
