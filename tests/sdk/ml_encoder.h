/* ml_encoder.h: what the tests of encoders share: opening, embeddings of a batch, folders made of another's weights. */
#ifndef TESTS_ML_ENCODER_H
#define TESTS_ML_ENCODER_H

#include "ml_golden.h"

#include <etk/encoder.h>
#include <etk/gguf.h>
#include <etk/weights.h>

/* Float32 sums of up to 80 terms over two layers, outputs below 5: rounding stays near 1e-6. The issue asks for 1e-4. */
static const double NEAR = 1e-5;

static inline char *reference_folder(const char *name) { return path_of("tests/goldens/models_ref/%s", name); }

static inline etk_encoder *open_encoder(const char *path) {
  etk_encoder *x = NULL;
  works(etk_encoder_open(e, &x, path, NULL));
  return x;
}

/* seen against a JSON list of numbers, or of rows of them */
static inline void same_values(const char *what, const json_t *wanted, const float *seen, size_t count, double tolerance) {
  double worst = 0;
  size_t at = 0, row = json_array_size(json_array_get(wanted, 0));
  for (size_t i = 0; i < count; i++) {
    const json_t *value = row ? json_array_get(json_array_get(wanted, i / row), i % row) : json_array_get(wanted, i);
    if (!json_is_number(value)) fail_msg("%s: the reference has fewer than %zu values", what, count);
    double distance = fabs(json_number_value(value) - (double)seen[i]);
    if (!(distance <= worst)) worst = distance, at = i;
  }
  if (!(worst <= tolerance)) fail_msg("%s: value %zu is %g off", what, at, worst);
}

/* Embeddings of `count` rows of a JSON list of lists of ids (or of one list). masks: NULL, or like ids: a row ends at its first 0. */
static inline float *embed_rows(const etk_encoder *x, const json_t *rows, const json_t *masks, const json_t *types) {
  int32_t ids[512], kinds[512];
  size_t lengths[16], used = 0, count = json_is_array(json_array_get(rows, 0)) ? json_array_size(rows) : 1;
  assert_true(count <= 16);
  for (size_t r = 0; r < count; r++) {
    const json_t *row = json_is_array(json_array_get(rows, 0)) ? json_array_get(rows, r) : rows;
    const json_t *mask = masks ? json_array_get(masks, r) : NULL;
    lengths[r] = json_array_size(row);
    for (size_t t = 0; mask && t < lengths[r]; t++)
      if (!json_integer_value(json_array_get(mask, t))) lengths[r] = t;
    for (size_t t = 0; t < lengths[r]; t++) {
      assert_true(used < 512);
      kinds[used] = types ? (int32_t)json_integer_value(json_array_get(types, t)) : 0;
      ids[used++] = (int32_t)json_integer_value(json_array_get(row, t));
    }
  }
  float *out = etk_calloc(count * (size_t)etk_encoder_dimension(x), sizeof *out);
  assert_non_null(out);
  etk_encoder_batch batch = {ids, types ? kinds : NULL, lengths, count};
  works(etk_encoder_text(e, x, &batch, out));
  return out;
}

/* ---- folders made of another's weights ---- */

enum { MADE = 128 };
struct made {
  etk_weights *weights;
  etk_tensor *tensors[MADE];
  etk_safetensors_item items[MADE];
  size_t count;
};
static inline struct made *made_of(const char *folder) {
  struct made *m = etk_calloc(1, sizeof *m);
  assert_non_null(m);
  works(etk_weights_open(e, &m->weights, folder));
  for (size_t i = 0; i < etk_weights_count(m->weights); i++) {
    assert_true(m->count < MADE);
    const char *name = etk_weights_at(m->weights, i)->name;
    works(etk_weights_tensor(e, &m->tensors[m->count], m->weights, name, NULL));
    m->items[m->count] = (etk_safetensors_item){name, m->tensors[m->count], etk_tensor_dtype(m->tensors[m->count])};
    m->count++;
  }
  return m;
}
static inline void made_write(struct made *m, const char *folder) {
  works(etk_safetensors_write(e, path_of("%s/model.safetensors", folder), m->items, m->count, NULL, 0, true));
  for (size_t i = 0; i < m->count; i++) etk_tensor_unref(m->tensors[i]);
  etk_weights_close(m->weights);
  etk_free(m);
}
static inline size_t made_find(const struct made *m, const char *name) {
  for (size_t i = 0; i < m->count; i++)
    if (!strcmp(m->items[i].name, name)) return i;
  fail_msg("no tensor %s", name);
  return 0;
}
static inline void made_drop(struct made *m, const char *part) { /* all whose name holds part */
  size_t kept = 0;
  for (size_t i = 0; i < m->count; i++) {
    if (strstr(m->items[i].name, part)) {
      etk_tensor_unref(m->tensors[i]);
      continue;
    }
    m->tensors[kept] = m->tensors[i];
    m->items[kept++] = m->items[i];
  }
  assert_true(kept < m->count);
  m->count = kept;
}
static inline void made_set(struct made *m, size_t i, etk_tensor *tensor) {
  etk_tensor_unref(m->tensors[i]);
  m->tensors[i] = tensor;
  m->items[i].tensor = tensor;
  m->items[i].store_as = etk_tensor_dtype(tensor);
}
static inline void made_rename(struct made *m, const char *from, const char *to) { /* the first place of `from` in each name */
  for (size_t i = 0; i < m->count; i++) {
    const char *at = strstr(m->items[i].name, from);
    if (at) m->items[i].name = path_of("%.*s%s%s", (int)(at - m->items[i].name), m->items[i].name, to, at + strlen(from));
  }
}

/* config.json of a folder with some text in it replaced; from NULL: as it is. */
static inline void write_config(const char *from_folder, const char *to_folder, const char *from, const char *to) {
  char *text = NULL;
  size_t size = 0;
  works(etk_fs_read(e, &text, &size, path_of("%s/config.json", from_folder), 1 << 20));
  char *at = from ? strstr(text, from) : text;
  if (!at) fail_msg("config.json of %s does not hold %s", from_folder, from);
  write_text(path_of("%s/config.json", to_folder), path_of("%.*s%s%s", (int)(at - text), text, from ? to : "", at + (from ? strlen(from) : 0)));
  etk_free(text);
}

/* ---- bert-mini as llama.cpp's converter writes it ---- */

struct gguf_made {
  const char *architecture, *skip, *extra; /* skip: a tensor or key that is left out; extra: a tensor that does not belong there */
  int64_t pooling, layers, heads;
  bool causal;
  double epsilon;
};
#define GGUF_MADE                                                                                                                                    \
  { .architecture = "bert", .pooling = 1, .layers = 2, .heads = 4, .epsilon = 1e-12 }

static inline const char *gguf_name(const char *name) {
  static const char *const pairs[][2] = {{"embeddings.word_embeddings", "token_embd"},
                                         {"embeddings.position_embeddings", "position_embd"},
                                         {"embeddings.token_type_embeddings", "token_types"},
                                         {"embeddings.LayerNorm", "token_embd_norm"},
                                         {"attention.self.query", "attn_q"},
                                         {"attention.self.key", "attn_k"},
                                         {"attention.self.value", "attn_v"},
                                         {"attention.output.dense", "attn_output"},
                                         {"attention.output.LayerNorm", "attn_output_norm"},
                                         {"intermediate.dense", "ffn_up"},
                                         {"output.dense", "ffn_down"},
                                         {"output.LayerNorm", "layer_output_norm"},
                                         {"encoder.layer", "blk"}};
  for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++) {
    const char *at = strstr(name, pairs[i][0]);
    if (at) name = path_of("%.*s%s%s", (int)(at - name), name, pairs[i][1], at + strlen(pairs[i][0]));
  }
  return name;
}

/* folder: of the model, with its tokenizer or (tokens false) without */
static inline void write_gguf(const char *folder, const char *path, const struct gguf_made *g, bool tokens) {
  struct made *m = made_of(folder);
  etk_gguf_writer *w = etk_gguf_writer_new();
  etk_tensor *kept[MADE] = {0};
  const struct {
    const char *key;
    int64_t value;
  } counts[] = {{"bert.embedding_length", 32},           {"bert.feed_forward_length", 40}, {"bert.block_count", g->layers},
                {"bert.attention.head_count", g->heads}, {"bert.context_length", 16},      {"bert.pooling_type", g->pooling},
                {"tokenizer.ggml.token_type_count", 2}};
  assert_non_null(w);
  etk_gguf_set_text(w, "general.architecture", g->architecture);
  for (size_t i = 0; i < sizeof counts / sizeof *counts; i++)
    if (!g->skip || strcmp(g->skip, counts[i].key)) etk_gguf_set_int(w, counts[i].key, ETK_GGUF_U32, counts[i].value);
  etk_gguf_set_int(w, "bert.attention.causal", ETK_GGUF_BOOL, g->causal);
  etk_gguf_set_real(w, "bert.attention.layer_norm_epsilon", ETK_GGUF_F32, g->epsilon);
  if (tokens) works(etk_tokenizer_to_gguf(e, w, folder, 48));
  for (size_t i = 0; i < m->count; i++) {
    const char *name = gguf_name(m->items[i].name);
    if (strstr(name, "pooler") || (g->skip && !strcmp(name, g->skip))) continue;
    bool matrix = etk_tensor_shape(m->tensors[i])->rank == 2 && !strstr(name, "position") && !strstr(name, "token_types");
    works(etk_tensor_cast(e, &kept[i], m->tensors[i], matrix ? ETK_F16 : ETK_F32));
    etk_gguf_add(w, name, (etk_type)etk_tensor_dtype(kept[i]), *etk_tensor_shape(kept[i]), etk_tensor_data(kept[i]), NULL, NULL);
  }
  if (g->extra)
    etk_gguf_add(w, g->extra, (etk_type)ETK_F32, etk_shape_of(1, 32), etk_tensor_data(kept[made_find(m, "embeddings.LayerNorm.bias")]), NULL, NULL);
  works(etk_gguf_write(e, w, path, &(etk_gguf_write_options){.replace = true}));
  for (size_t i = 0; i < m->count; i++) etk_tensor_unref(kept[i]), etk_tensor_unref(m->tensors[i]);
  etk_gguf_writer_free(w);
  etk_weights_close(m->weights);
  etk_free(m);
}

#endif
