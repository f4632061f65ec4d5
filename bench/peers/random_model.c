/* A Llama of random weights as a Hugging Face folder, for the same work on all programs:
 *   random_model FOLDER LAYERS HIDDEN HEADS KV_HEADS INTERMEDIATE VOCABULARY [f32|f16|bf16] [SEED]
 * Weights are N(0, 0.02), projections into the residual stream N(0, 0.02/sqrt(2 layers)), norms 1, the head is the embedding (tied): logits are of the order of
 * one, and every value of a row is another, so that quantized types meet what they meet in real weights. Rows are made as they are written: a model of any
 * size takes a few megabytes of memory. The same arguments give the same bytes on every machine. */
#include <etk/alloc.h>
#include <etk/fs.h>
#include <etk/parallel.h>
#include <etk/rng.h>
#include <etk/text.h>
#include <etk/safetensors.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { NAME = 96, NUMBERS = 6, POSITIONS = 2048 };
struct shape {
  int64_t layers, hidden, heads, kv_heads, intermediate, vocabulary;
};
struct weight {
  char name[NAME];
  etk_dtype dtype;
  etk_shape shape;
  uint64_t seed, stream;
  double deviation; /* 0: all ones */
};

static int fail(const char *what) {
  fprintf(stderr, "random_model: %s\n", what);
  return 1;
}

struct part {
  const struct weight *weight;
  float *to;
  int64_t columns, row;
};
/* Four values of each block of random words, by Box and Muller: any thread may make any row. */
static void make_rows(void *user, int64_t begin, int64_t end, int slot) {
  const struct part *p = user;
  (void)slot;
  for (int64_t i = begin * p->columns; i < end * p->columns; i += 4) {
    uint32_t words[4];
    etk_rng_block(words, p->weight->seed, p->weight->stream, (uint64_t)(p->row * p->columns + i) / 4);
    for (int64_t j = 0; j < 4 && i + j < end * p->columns; j++) {
      double radius = sqrt(-2 * log(((double)words[j & 2] + 1) * 0x1p-32)), angle = 6.283185307179586 * (double)words[(j & 2) + 1] * 0x1p-32;
      p->to[i + j] = p->weight->deviation == 0 ? 1 : (float)(p->weight->deviation * radius * (j & 1 ? sin(angle) : cos(angle)));
    }
  }
}

static etk_status fill(etk_error *e, void *user, void *out, int64_t row, int64_t rows) {
  const struct weight *w = user;
  int64_t columns = w->shape.dims[w->shape.rank - 1];
  float *values = etk_realloc(NULL, (size_t)rows * (size_t)columns, sizeof *values);
  if (!values) return etk_fail_memory(e);
  etk_parallel_for(rows, 1, make_rows, &(struct part){.weight = w, .to = values, .columns = columns, .row = row});
  etk_status status = etk_dtype_convert(e, out, w->dtype, values, ETK_F32, (size_t)(rows * columns));
  etk_free(values);
  return status;
}

struct list {
  struct weight *items;
  size_t count;
  etk_dtype dtype;
  uint64_t seed;
};
static void add(struct list *l, int64_t layer, const char *name, int64_t rows, int64_t columns, double deviation) {
  struct weight *w = &l->items[l->count];
  if (layer < 0) snprintf(w->name, sizeof w->name, "model.%s.weight", name);
  else snprintf(w->name, sizeof w->name, "model.layers.%" PRId64 ".%s.weight", layer, name);
  w->dtype = l->dtype;
  w->shape = rows ? etk_shape_of(2, rows, columns) : etk_shape_of(1, columns);
  w->deviation = deviation;
  w->seed = l->seed;
  w->stream = l->count++;
}

static void add_layer(struct list *l, const struct shape *s, int64_t layer) {
  int64_t key = s->hidden / s->heads * s->kv_heads;
  double plain = 0.02, residual = 0.02 / sqrt(2 * (double)s->layers);
  add(l, layer, "input_layernorm", 0, s->hidden, 0);
  add(l, layer, "self_attn.q_proj", s->hidden, s->hidden, plain);
  add(l, layer, "self_attn.k_proj", key, s->hidden, plain);
  add(l, layer, "self_attn.v_proj", key, s->hidden, plain);
  add(l, layer, "self_attn.o_proj", s->hidden, s->hidden, residual);
  add(l, layer, "post_attention_layernorm", 0, s->hidden, 0);
  add(l, layer, "mlp.gate_proj", s->intermediate, s->hidden, plain);
  add(l, layer, "mlp.up_proj", s->intermediate, s->hidden, plain);
  add(l, layer, "mlp.down_proj", s->hidden, s->intermediate, residual);
}

static etk_status write_config(etk_error *e, const char *folder, const struct shape *s, etk_dtype dtype) {
  etk_text text = ETK_TEXT_INIT;
  etk_text_printf(&text,
                  "{\"architectures\": [\"LlamaForCausalLM\"], \"model_type\": \"llama\", \"torch_dtype\": \"%s\", \"hidden_act\": \"silu\", \"tie_word_embeddings\": true,\n"
                  " \"hidden_size\": %" PRId64 ", \"intermediate_size\": %" PRId64 ", \"num_hidden_layers\": %" PRId64 ", \"num_attention_heads\": %" PRId64
                  ", \"num_key_value_heads\": %" PRId64 ",\n \"vocab_size\": %" PRId64 ", \"max_position_embeddings\": %d, \"rms_norm_eps\": 1e-05, \"rope_theta\": 10000.0,\n"
                  " \"bos_token_id\": 1, \"eos_token_id\": 2, \"attention_bias\": false, \"mlp_bias\": false}\n",
                  dtype == ETK_F32 ? "float32" : dtype == ETK_F16 ? "float16" : "bfloat16", s->hidden, s->intermediate, s->layers, s->heads, s->kv_heads, s->vocabulary, POSITIONS);
  char *path = etk_path_join(folder, "config.json");
  etk_status status = path && !text.failed ? etk_fs_write(e, path, text.data, text.size, true) : etk_fail_memory(e);
  etk_free(path);
  etk_text_free(&text);
  return status;
}

static etk_status write_weights(etk_error *e, const char *folder, const struct list *l) {
  etk_safetensors_stream *streams = etk_calloc(l->count, sizeof *streams);
  char *path = etk_path_join(folder, "model.safetensors");
  for (size_t i = 0; streams && i < l->count; i++)
    streams[i] = (etk_safetensors_stream){.name = l->items[i].name, .dtype = l->items[i].dtype, .shape = l->items[i].shape, .fill = fill, .user = &l->items[i]};
  const char *metadata[] = {"format", "pt"};
  etk_safetensors_write_options options = {.replace = true};
  etk_status status = streams && path ? etk_safetensors_write_streams(e, path, streams, l->count, metadata, 1, &options, NULL) : etk_fail_memory(e);
  etk_free(path);
  etk_free(streams);
  return status;
}

int main(int argc, char **argv) {
  int64_t numbers[NUMBERS];
  etk_dtype dtype = ETK_F32;
  if (argc < 2 + NUMBERS) return fail("wanted FOLDER LAYERS HIDDEN HEADS KV_HEADS INTERMEDIATE VOCABULARY [f32|f16|bf16] [SEED]");
  for (int i = 0; i < NUMBERS; i++)
    if ((numbers[i] = strtoll(argv[2 + i], NULL, 10)) < 1 || numbers[i] > 1 << 24) return fail("a size is not a number from 1 to 16777216");
  struct shape s = {numbers[0], numbers[1], numbers[2], numbers[3], numbers[4], numbers[5]};
  if (s.hidden % s.heads || s.heads % s.kv_heads || s.hidden / s.heads % 2 || s.hidden % 4 || s.intermediate % 4)
    return fail("heads must divide the hidden size into even parts, KV_HEADS must divide heads, and rows must be multiples of 4");
  if (argc > 8 && strcmp(argv[8], "f32")) dtype = !strcmp(argv[8], "f16") ? ETK_F16 : ETK_BF16;
  struct list l = {.dtype = dtype, .seed = argc > 9 ? strtoull(argv[9], NULL, 10) : 1};
  l.items = etk_calloc((size_t)s.layers * 9 + 2, sizeof *l.items);
  if (!l.items) return fail("out of memory");
  add(&l, -1, "embed_tokens", s.vocabulary, s.hidden, 0.02);
  for (int64_t i = 0; i < s.layers; i++) add_layer(&l, &s, i);
  add(&l, -1, "norm", 0, s.hidden, 0);
  etk_error e = ETK_ERROR_INIT;
  etk_status status = etk_fs_make_dirs(&e, argv[1]);
  if (!status) status = write_weights(&e, argv[1], &l);
  if (!status) status = write_config(&e, argv[1], &s, dtype); /* last: a folder with it is whole */
  etk_free(l.items);
  return status ? fail(e.message) : 0;
}
