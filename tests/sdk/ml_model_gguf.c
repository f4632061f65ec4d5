/* Models opened from GGUF files that are written here by llama.cpp's conventions, spelled out again and not taken from the tables under test. */
#include "ml_packed.h"

#include <etk/generate.h>
#include <etk/gguf.h>
#include <etk/hardware.h>
#include <etk/ops.h>
#include <etk/parallel.h>
#include "ml/product/product.h"

/* ---- a GGUF file of a model ---- */

struct name {
  const char *canonical, *stored; /* behind the layer's prefix, or whole */
  bool turned, exchanged;         /* heads' rows interleaved; (out, in) for (in, out) */
};
static const struct name llama_names[] = {
    {"input_layernorm.weight", "attn_norm.weight", false, false}, {"self_attn.q_proj.weight", "attn_q.weight", true, false},
    {"self_attn.k_proj.weight", "attn_k.weight", true, false},
    {"self_attn.v_proj.weight", "attn_v.weight", false, false}, {"self_attn.o_proj.weight", "attn_output.weight", false, false},
    {"post_attention_layernorm.weight", "ffn_norm.weight", false, false},
    {"mlp.gate_proj.weight", "ffn_gate.weight", false, false}, {"mlp.up_proj.weight", "ffn_up.weight", false, false},
    {"mlp.down_proj.weight", "ffn_down.weight", false, false},
    {"model.embed_tokens.weight", "token_embd.weight", false, false}, {"model.norm.weight", "output_norm.weight", false, false},
    {"lm_head.weight", "output.weight", false, false},
};
static const struct name gpt2_names[] = {
    {"ln_1.weight", "attn_norm.weight", false, false}, {"ln_1.bias", "attn_norm.bias", false, false}, {"attn.c_attn.weight", "attn_qkv.weight", false, true},
    {"attn.c_attn.bias", "attn_qkv.bias", false, false}, {"attn.c_proj.weight", "attn_output.weight", false, true},
    {"attn.c_proj.bias", "attn_output.bias", false, false},
    {"ln_2.weight", "ffn_norm.weight", false, false}, {"ln_2.bias", "ffn_norm.bias", false, false}, {"mlp.c_fc.weight", "ffn_up.weight", false, true},
    {"mlp.c_fc.bias", "ffn_up.bias", false, false}, {"mlp.c_proj.weight", "ffn_down.weight", false, true}, {"mlp.c_proj.bias", "ffn_down.bias", false, false},
    {"transformer.wte.weight", "token_embd.weight", false, false}, {"transformer.wpe.weight", "position_embd.weight", false, false},
    {"transformer.ln_f.weight", "output_norm.weight", false, false}, {"transformer.ln_f.bias", "output_norm.bias", false, false},
};

/* What a file is made of: the tensors live until it is written. */
struct file {
  etk_gguf_writer *writer;
  etk_tensor *tensors[PACKED_WEIGHTS];
  size_t count, bytes;
};

static const struct name *stored_name(char *out, size_t size, const char *canonical, const char *prefix, const struct name *names, size_t count) {
  int layer = -1, used = 0;
  char format[64];
  snprintf(format, sizeof format, "%s%%d.%%n", prefix);
  bool in_layer = sscanf(canonical, format, &layer, &used) == 1 && used > 0;
  for (size_t i = 0; i < count; i++) {
    if (strcmp(names[i].canonical, canonical + (in_layer ? used : 0))) continue;
    if (in_layer) snprintf(out, size, "blk.%d.%s", layer, names[i].stored);
    else snprintf(out, size, "%s", names[i].stored);
    return &names[i];
  }
  fail_msg("no GGUF name for %s", canonical);
  return NULL;
}

/* Row 2i of a head is Hugging Face's row i, row 2i + 1 its row i + d/2. */
static void interleave(etk_tensor *t, int64_t d) {
  int64_t rows = etk_tensor_dim(t, 0);
  size_t bytes = etk_tensor_bytes(t) / (size_t)rows;
  char *data = etk_tensor_data(t), *copy = etk_alloc(etk_tensor_bytes(t));
  memcpy(copy, data, etk_tensor_bytes(t));
  for (int64_t row = 0; row < rows; row++) {
    int64_t p = row % d, from = row / d * d + (p % 2 ? p / 2 + d / 2 : p / 2);
    memcpy(data + (size_t)row * bytes, copy + (size_t)from * bytes, bytes);
  }
  etk_free(copy);
}

static etk_tensor *exchanged(const etk_tensor *t) {
  int64_t m = etk_tensor_dim(t, 0), n = etk_tensor_dim(t, 1);
  etk_tensor *out = NULL;
  works(etk_tensor_new(e, &out, ETK_F32, etk_shape_of(2, n, m)));
  const float *from = etk_tensor_data(t);
  float *to = etk_tensor_data(out);
  for (int64_t i = 0; i < m; i++)
    for (int64_t j = 0; j < n; j++) to[j * m + i] = from[i * n + j];
  return out;
}

/* Packs a matrix and leaves its decoded values in the model. */
static etk_tensor *pack(etk_tensor *weight, etk_dtype type, bool turn) {
  etk_tensor *values = turn ? exchanged(weight) : NULL, *packed = NULL, *decoded = NULL;
  works(etk_tensor_cast(e, &packed, values ? values : weight, type));
  works(etk_tensor_cast(e, &decoded, packed, ETK_F32));
  etk_tensor *back = turn ? exchanged(decoded) : etk_tensor_ref(decoded);
  memcpy(etk_tensor_data(weight), etk_tensor_data(back), etk_tensor_bytes(weight));
  etk_tensor_unref(values);
  etk_tensor_unref(decoded);
  etk_tensor_unref(back);
  return packed;
}

typedef etk_dtype type_of(const char *stored, int rank);
static etk_dtype all_f32(const char *stored, int rank) {
  (void)stored;
  (void)rank;
  return ETK_F32;
}
/* Several types in one file, as mixes have them. */
static etk_dtype a_mix(const char *stored, int rank) {
  if (rank == 1) return strstr(stored, "ffn_norm") ? ETK_F16 : ETK_F32;
  if (strstr(stored, "token_embd")) return (etk_dtype)ETK_Q6_K;
  if (strstr(stored, "position_embd")) return ETK_F32;
  if (strstr(stored, "attn_v")) return ETK_BF16;
  if (strstr(stored, "attn_q")) return (etk_dtype)ETK_Q8_0;
  if (strstr(stored, "ffn_down")) return (etk_dtype)ETK_Q5_K;
  return strstr(stored, "attn_k") ? (etk_dtype)ETK_Q4_0 : strstr(stored, "output.weight") ? ETK_F16 : (etk_dtype)ETK_Q4_K;
}

static void set_int(const struct file *f, const char *key, int64_t value) { etk_gguf_set_int(f->writer, key, ETK_GGUF_U32, value); }

static void add_weights(struct file *f, etk_model *model, const char *prefix, const struct name *names, size_t count, type_of *type) {
  for (size_t i = 0; i < etk_model_weight_count(model); i++) {
    etk_tensor *weight = etk_model_weight_at(model, i);
    char name[128];
    const struct name *n = stored_name(name, sizeof name, etk_model_weight_name(model, i), prefix, names, count);
    etk_dtype dtype = type(name, etk_tensor_shape(weight)->rank);
    etk_tensor *packed = pack(weight, dtype, n->exchanged);
    if (n->turned) interleave(packed, etk_model_get_config(model)->head_dim);
    etk_gguf_add(f->writer, name, (etk_type)dtype, *etk_tensor_shape(packed), etk_tensor_data(packed), NULL, NULL);
    f->bytes += etk_tensor_bytes(packed);
    f->tensors[f->count++] = packed;
  }
}

static struct file llama_file(etk_model *model, type_of *type) {
  const etk_model_config *c = etk_model_get_config(model);
  struct file f = {.writer = etk_gguf_writer_new()};
  etk_gguf_set_text(f.writer, "general.architecture", "llama");
  set_int(&f, "llama.vocab_size", c->vocab_size);
  set_int(&f, "llama.context_length", c->max_position_embeddings);
  set_int(&f, "llama.embedding_length", c->hidden_size);
  set_int(&f, "llama.block_count", c->num_hidden_layers);
  set_int(&f, "llama.feed_forward_length", c->intermediate_size);
  set_int(&f, "llama.attention.head_count", c->num_attention_heads);
  set_int(&f, "llama.attention.head_count_kv", c->num_key_value_heads);
  set_int(&f, "llama.rope.dimension_count", c->head_dim);
  etk_gguf_set_real(f.writer, "llama.attention.layer_norm_rms_epsilon", ETK_GGUF_F32, c->rms_norm_eps);
  etk_gguf_set_real(f.writer, "llama.rope.freq_base", ETK_GGUF_F32, c->rope_theta);
  add_weights(&f, model, "model.layers.", llama_names, sizeof llama_names / sizeof *llama_names, type);
  return f;
}

static struct file gpt2_file(etk_model *model, type_of *type) {
  const etk_model_config *c = etk_model_get_config(model);
  struct file f = {.writer = etk_gguf_writer_new()};
  etk_gguf_set_text(f.writer, "general.architecture", "gpt2");
  set_int(&f, "gpt2.context_length", c->max_position_embeddings);
  set_int(&f, "gpt2.embedding_length", c->hidden_size);
  set_int(&f, "gpt2.block_count", c->num_hidden_layers);
  set_int(&f, "gpt2.feed_forward_length", c->intermediate_size);
  set_int(&f, "gpt2.attention.head_count", c->num_attention_heads);
  etk_gguf_set_real(f.writer, "gpt2.attention.layer_norm_epsilon", ETK_GGUF_F32, c->rms_norm_eps);
  add_weights(&f, model, "transformer.h.", gpt2_names, sizeof gpt2_names / sizeof *gpt2_names, type);
  return f;
}

static char *write_gguf(void **state, struct file *f, const char *name, int64_t part_bytes) {
  char *path = path_of("%s/%s", (const char *)*state, name);
  const etk_gguf_write_options options = {.replace = true, .part_bytes = part_bytes};
  works(etk_gguf_write(e, f->writer, path, &options));
  etk_gguf_writer_free(f->writer);
  for (size_t i = 0; i < f->count; i++) etk_tensor_unref(f->tensors[i]);
  return path;
}

static etk_model_config gpt2_config(void) {
  etk_model_config c = packed_config();
  snprintf(c.architecture, sizeof c.architecture, "gpt2");
  c.num_key_value_heads = c.num_attention_heads;
  c.attention_bias = c.mlp_bias = c.tie_word_embeddings = true;
  c.activation = ETK_ACTIVATION_GELU_TANH;
  c.rope_theta = 0;
  return c;
}

/* ---- values ---- */

static void a_file_of_f32_gives_the_bits_of_its_folder(void **state) {
  etk_model_config config = packed_config();
  for (int tied = 0; tied < 2; tied++) {
    config.tie_word_embeddings = tied;
    etk_model *model = strong_model(&config);
    struct file f = llama_file(model, all_f32);
    char *folder = fresh_folder(state, "plain");
    works(etk_model_save(e, model, folder, ETK_F32, NULL, 0));
    etk_model *from_folder = open_model(folder), *from_file = open_model(write_gguf(state, &f, "plain.gguf", 0));
    assert_int_equal(etk_model_get_config(from_file)->tie_word_embeddings, tied);
    assert_int_equal(etk_model_parameters(from_file), etk_model_parameters(from_folder));
    same_logits(from_folder, from_file, 0);
    etk_model_unref(model);
    etk_model_unref(from_folder);
    etk_model_unref(from_file);
  }
}

static void a_file_of_packed_types_gives_the_logits_of_its_decoded_values(void **state) {
  etk_model_config config = packed_config();
  etk_model *model = strong_model(&config);
  struct file f = llama_file(model, a_mix);
  size_t bytes = f.bytes;
  etk_model *packed = open_model(write_gguf(state, &f, "mix.gguf", 0));
  same_logits(model, packed, SAME_VALUES);
  assert_string_equal(etk_dtype_name(etk_tensor_dtype(etk_model_weight(packed, "model.layers.1.self_attn.q_proj.weight"))), "Q8_0");
  assert_string_equal(etk_dtype_name(etk_tensor_dtype(etk_model_weight(packed, "model.layers.1.self_attn.v_proj.weight"))), "BF16");
  assert_string_equal(etk_dtype_name(etk_tensor_dtype(etk_model_weight(packed, "model.embed_tokens.weight"))), "Q6_K");
  assert_string_equal(etk_dtype_name(etk_tensor_dtype(etk_model_weight(packed, "model.layers.0.post_attention_layernorm.weight"))), "F32");
  assert_int_equal(etk_model_parameters(packed), etk_model_parameters(model));
  assert_int_equal(etk_model_bytes(packed), bytes + 2 * (size_t)config.hidden_size * 2); /* two norms of F16 became F32 */
  etk_model_unref(packed);
  etk_model_unref(model);
}

static void a_split_file_is_the_same_model(void **state) {
  etk_model_config config = packed_config();
  etk_model *model = strong_model(&config);
  struct file f = llama_file(model, a_mix);
  char *path = write_gguf(state, &f, "split.gguf", 200000);
  char first[512];
  snprintf(first, sizeof first, "%.*s-00001-of-00006.gguf", (int)(strlen(path) - 5), path);
  for (int parts = 2; parts < 30 && !etk_fs_exists(first); parts++)
    snprintf(first, sizeof first, "%.*s-00001-of-%05d.gguf", (int)(strlen(path) - 5), path, parts);
  etk_model *packed = open_model(first);
  same_logits(model, packed, SAME_VALUES);
  etk_model_unref(packed);
  etk_model_unref(model);
}

static void decoded_and_trainable_models_hold_f32(void **state) {
  etk_model_config config = packed_config();
  etk_model *model = strong_model(&config), *opened = NULL;
  struct file f = llama_file(model, a_mix);
  char *path = write_gguf(state, &f, "decoded.gguf", 0);
  const etk_model_options options[] = {{.decoded = true}, {.trainable = true}};
  for (int i = 0; i < 2; i++) {
    works(etk_model_open(e, &opened, path, &options[i]));
    for (size_t w = 0; w < etk_model_weight_count(opened); w++) {
      etk_tensor *t = etk_model_weight_at(opened, w);
      assert_int_equal(etk_tensor_dtype(t), ETK_F32);
      assert_int_equal(etk_tensor_trainable(t), i == 1);
      assert_memory_equal(etk_tensor_data(t), etk_tensor_data(etk_model_weight_at(model, w)), etk_tensor_bytes(t));
    }
    same_logits(model, opened, 0);
    etk_model_unref(opened);
  }
  etk_model_unref(model);
}

static void gpt2s_layers_stay_as_they_lie_in_the_file(void **state) {
  etk_model_config config = gpt2_config();
  etk_model *model = strong_model(&config), *packed, *again;
  struct file f = gpt2_file(model, a_mix);
  packed = open_model(write_gguf(state, &f, "gpt2.gguf", 0));
  etk_tensor *held = etk_model_weight(packed, "transformer.h.0.mlp.c_fc.weight");
  assert_int_equal(etk_tensor_dim(held, 0), config.intermediate_size);
  assert_string_equal(etk_dtype_name(etk_tensor_dtype(held)), "Q4_K");
  same_logits(model, packed, SAME_VALUES);
  char *folder = fresh_folder(state, "gpt2");
  works(etk_model_save(e, packed, folder, ETK_F32, NULL, 0)); /* in Hugging Face's order again */
  again = open_model(folder);
  same_logits(model, again, 0);
  etk_model_unref(again);
  etk_model_unref(packed);
  works(etk_model_open(e, &packed, path_of("%s/gpt2.gguf", (const char *)*state), &(etk_model_options){.trainable = true}));
  same_logits(model, packed, 0);
  etk_model_unref(packed);
  etk_model_unref(model);
}

static void a_saved_packed_model_holds_its_decoded_values(void **state) {
  etk_model_config config = packed_config();
  etk_model *model = strong_model(&config), *packed, *again;
  struct file f = llama_file(model, a_mix);
  packed = open_model(write_gguf(state, &f, "saved.gguf", 0));
  char *folder = fresh_folder(state, "saved");
  works(etk_model_save(e, packed, folder, ETK_F32, NULL, 0));
  again = open_model(folder);
  for (size_t i = 0; i < etk_model_weight_count(model); i++)
    assert_memory_equal(etk_tensor_data(etk_model_weight_at(again, i)), etk_tensor_data(etk_model_weight_at(model, i)),
                        etk_tensor_bytes(etk_model_weight_at(model, i)));
  etk_model_unref(again);
  works(etk_model_save(e, packed, folder, ETK_BF16, NULL, 0));
  again = open_model(folder);
  etk_tensor *wanted = NULL, *seen = etk_model_weight(again, "model.layers.0.mlp.up_proj.weight");
  works(etk_tensor_cast(e, &wanted, etk_model_weight(model, "model.layers.0.mlp.up_proj.weight"), ETK_BF16));
  assert_int_equal(etk_tensor_dtype(seen), ETK_BF16);
  assert_memory_equal(etk_tensor_data(seen), etk_tensor_data(wanted), etk_tensor_bytes(wanted));
  etk_tensor_unref(wanted);
  etk_model_unref(again);
  etk_model_unref(packed);
  etk_model_unref(model);
}

/* ---- use ---- */

static etk_ids greedy(const etk_model *model) {
  etk_generator *generator = NULL;
  etk_generation out = {.ids = ETK_IDS_INIT};
  const int32_t prompt[] = {1, 5, 9, 33};
  const etk_generate_options options = {.sampling = {.top_p = 1, .repetition_penalty = 1}, .max_tokens = 24, .ignore_eos = true};
  works(etk_generator_new(e, &generator, model, NULL, 0));
  works(etk_generate(e, generator, prompt, 4, &options, &out));
  etk_generator_free(generator);
  return out.ids;
}

/* Greedy choices are equal as long as no two logits are nearer than rounding, which these are not. */
static void greedy_text_is_that_of_the_decoded_model(void **state) {
  etk_model_config config = packed_config();
  etk_model *model = strong_model(&config);
  struct file f = llama_file(model, a_mix);
  etk_model *packed = open_model(write_gguf(state, &f, "greedy.gguf", 0));
  etk_ids a = greedy(model), b = greedy(packed);
  assert_int_equal(a.count, 24);
  assert_int_equal(a.count, b.count);
  assert_memory_equal(a.items, b.items, a.count * sizeof *a.items);
  etk_ids_free(&a);
  etk_ids_free(&b);
  etk_model_unref(packed);
  etk_model_unref(model);
}

static etk_dtype all_q8_0(const char *stored, int rank) {
  (void)stored;
  return rank == 1 ? ETK_F32 : (etk_dtype)ETK_Q8_0;
}
static etk_dtype all_q4_0(const char *stored, int rank) {
  (void)stored;
  return rank == 1 ? ETK_F32 : (etk_dtype)ETK_Q4_0;
}
static etk_dtype all_q4_k(const char *stored, int rank) {
  (void)stored;
  return rank == 1 ? ETK_F32 : (etk_dtype)ETK_Q4_K;
}

/* The mean of -log p of the text that logits_of reads. */
static double mean_loss(const float *logits, int64_t vocab) {
  double sum = 0;
  for (int64_t i = 0; i + 1 < PACKED_TOKENS; i++) {
    double all = 0;
    for (int64_t j = 0; j < vocab; j++) all += exp((double)logits[i * vocab + j]);
    sum += log(all) - (double)logits[i * vocab + (i + 1) * 7 % vocab];
  }
  return sum / (PACKED_TOKENS - 1);
}

/* Fast products round what comes in to 8 bits, with a step of 1/127 of the largest of 32 or 256 numbers: some three times what is usual there, so an error of 3 / 127 / sqrt(12),
 * 0.7 % of a usual number, independent for each, and as much of a product's result. Fourteen products follow each other here, whose errors add as squares: 2.6 %; half as much
 * again is allowed. The loss moves by far less, as errors of many logits cancel: 1 % of it. */
static void fast_products_move_logits_and_loss_no_further_than_8_bits_explain(void **state) {
  static const struct {
    type_of *type;
    const char *name;
  } rows[] = {{all_q8_0, "eight.gguf"}, {all_q4_0, "four.gguf"}, {all_q4_k, "four_k.gguf"}};
  etk_model_config config = packed_config();
  for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
    etk_model *model = strong_model(&config);
    struct file f = llama_file(model, rows[i].type);
    const char *path = write_gguf(state, &f, rows[i].name, 0);
    etk_model *exact = open_model(path), *fast = open_model(path);
    float *x = logits_of(exact, NULL);
    etk__product_set_exact(false);
    float *y = logits_of(fast, NULL);
    assert_int_equal(etk__product_of(etk_model_weight(fast, "model.layers.0.mlp.up_proj.weight")) != NULL, etk_isa_active() > ETK_ISA_BASE);
    etk__product_set_exact(true);
    double square = 0, apart = 0, loss = mean_loss(x, config.vocab_size), shift = mean_loss(y, config.vocab_size) - loss;
    for (int64_t j = 0; j < PACKED_TOKENS * config.vocab_size; j++) {
      square += (double)x[j] * (double)x[j];
      apart += ((double)x[j] - (double)y[j]) * ((double)x[j] - (double)y[j]);
    }
    if (!(sqrt(apart / square) < 0.04)) fail_msg("%s: logits are %.3g %% apart", rows[i].name, 100 * sqrt(apart / square));
    if (!(fabs(shift) < 0.01 * loss)) fail_msg("%s: a loss of %g moves by %g", rows[i].name, loss, shift);
    if (etk_isa_active() > ETK_ISA_BASE) assert_true(apart > 0); /* else nothing was compared */
    etk_free(x);
    etk_free(y);
    etk_model_unref(exact);
    etk_model_unref(fast);
    etk_model_unref(model);
  }
}

/* Freed with the model, which the address sanitizer sees; repacked weights take the place of the file's pages in what is planned. */
static void what_is_held_after_a_run_counts_repacked_weights_once(void **state) {
  etk_model_config config = packed_config();
  etk_model *model = strong_model(&config);
  struct file f = llama_file(model, all_q4_k);
  etk__product_set_exact(false);
  etk_model *packed = open_model(write_gguf(state, &f, "held.gguf", 0));
  assert_int_equal(etk_model_held_bytes(packed), etk_model_bytes(packed));
  etk_free(logits_of(packed, NULL));
  double more = (double)etk_model_held_bytes(packed) / (double)etk_model_bytes(packed);
  etk__product_set_exact(true);
  if (!(more > 0.99 && more < 1.1)) fail_msg("%g times what is stored is held", more); /* scales of 8 bits for 6, and rows up to a multiple of 16 */
  etk_model_unref(packed);
  etk_model_unref(model);
}

/* Rows of queries and keys lie interleaved in the file. */
static void whoever_asks_for_the_bytes_of_turned_rows_gets_them_in_order(void **state) {
  const char *name = "model.layers.1.self_attn.k_proj.weight";
  etk_model_config config = packed_config();
  etk_model *model = strong_model(&config);
  struct file f = llama_file(model, all_q8_0);
  etk_model *packed = open_model(write_gguf(state, &f, "turned.gguf", 0));
  etk_tensor *t = etk_model_weight(packed, name);
  int64_t rows = etk_tensor_dim(t, 0), columns = etk_tensor_dim(t, 1);
  float *decoded = etk_alloc((size_t)(rows * columns) * sizeof *decoded);
  works(etk_quant_decode(e, decoded, ETK_Q8_0, etk_tensor_data(t), rows, columns));
  assert_memory_equal(decoded, etk_tensor_data(etk_model_weight(model, name)), (size_t)(rows * columns) * sizeof *decoded); /* which holds the decoded values */
  assert_ptr_equal(etk_tensor_data(t), etk_tensor_data(t));
  etk_free(decoded);
  etk_model_unref(packed);
  etk_model_unref(model);
}

/* Gradient descent on an adapter over a Q4_0 base: only the adapter moves. */
static double descend(const etk_model *model, etk_adapter *adapter, int steps, size_t *peak) {
  enum { TOKENS = 12 };
  etk_graph *g = etk_graph_new();
  etk_forward f = {.adapter = adapter, .training = true};
  f.ids = etk_graph_input(g, ETK_I32, etk_shape_of(2, 1, TOKENS), "ids");
  f.positions = etk_graph_input(g, ETK_I32, etk_shape_of(2, 1, TOKENS), "positions");
  etk_tensor *targets = etk_graph_input(g, ETK_I32, etk_shape_of(1, TOKENS), "targets"), *parameters[PACKED_WEIGHTS], *gradients[PACKED_WEIGHTS];
  for (int32_t i = 0; i < TOKENS; i++) {
    ((int32_t *)etk_tensor_data(f.ids))[i] = 3 + i;
    ((int32_t *)etk_tensor_data(f.positions))[i] = i;
    ((int32_t *)etk_tensor_data(targets))[i] = 4 + i;
  }
  etk_tensor *loss = etk_mean_counted(g, etk_cross_entropy(g, etk_model_forward(g, model, &f), targets), targets);
  size_t count = 2 * etk_adapter_count(adapter);
  for (size_t i = 0; i < count; i++) parameters[i] = i % 2 ? etk_adapter_at(adapter, i / 2)->b : etk_adapter_at(adapter, i / 2)->a;
  works(etk_graph_backward(e, g, loss, parameters, count, gradients));
  etk_graph_keep(g, loss);
  etk_plan plan;
  works(etk_graph_plan(e, g, &plan));
  *peak = plan.peak_bytes;
  double last = 0;
  for (int step = 0; step < steps; step++) {
    works(etk_graph_eval(e, g));
    last = (double)*(float *)etk_tensor_data(loss);
    for (size_t i = 0; i < count; i++)
      for (int64_t j = 0; j < etk_tensor_elements(parameters[i]); j++)
        ((float *)etk_tensor_data(parameters[i]))[j] -= 0.1f * ((float *)etk_tensor_data(gradients[i]))[j];
  }
  etk_graph_free(g);
  return last;
}

static void an_adapter_learns_on_a_packed_base_without_a_copy_of_it(void **state) {
  etk_model_config config = packed_config();
  config.num_hidden_layers = 4;
  etk_model *model = strong_model(&config);
  struct file f = llama_file(model, all_q4_0);
  etk_model *packed = open_model(write_gguf(state, &f, "qlora.gguf", 0));
  size_t bytes = etk_model_bytes(packed), whole = (size_t)etk_model_parameters(packed) * sizeof(float), peak;
  const char *const targets[] = {"all-linear"};
  const etk_lora_options options = {.rank = 2, .alpha = 8, .target_modules = targets, .target_count = 1};
  etk_adapter *adapter = NULL;
  works(etk_adapter_new(e, &adapter, packed, &options, 3));
  etk_parallel_set_threads(2); /* scratch is for each thread */
  double first = descend(packed, adapter, 1, &peak), last = descend(packed, adapter, 12, &peak);
  etk_parallel_set_threads(0);
  if (!(last < 0.5 * first)) fail_msg("loss %g became %g", first, last);
  assert_int_equal(etk_model_bytes(packed), bytes);
  assert_true(bytes < whole / 6); /* 4.5 bits for 32, and the norms */
  if (!(peak < whole / 2)) fail_msg("a step takes %zu bytes, the base as F32 %zu", peak, whole);
  etk_adapter_free(adapter);
  etk_model_unref(packed);
  etk_model_unref(model);
}

/* ---- vocabularies ---- */

static char *with_vocabulary(void **state, int tokens) {
  static const char *const texts[] = {"<unk>", "<s>", "</s>", "\xe2\x96\x81", "a", "b", "\xe2\x96\x81" "a", "ab"};
  char *all[80], numbered[80][8];
  float scores[80];
  int32_t types[80];
  etk_model_config config = packed_config();
  etk_model *model = strong_model(&config);
  struct file f = llama_file(model, all_f32);
  for (int i = 0; i < tokens; i++) {
    snprintf(numbered[i], sizeof numbered[i], "t%d", i);
    all[i] = i < 8 ? (char *)(uintptr_t)texts[i] : numbered[i];
    scores[i] = (float)-i;
    types[i] = i == 0 ? 2 : i < 3 ? 3 : 1;
  }
  if (tokens) {
    etk_gguf_set_text(f.writer, "tokenizer.ggml.model", "llama");
    etk_gguf_set_texts(f.writer, "tokenizer.ggml.tokens", (const char *const *)all, NULL, (uint64_t)tokens);
    etk_gguf_set_array(f.writer, "tokenizer.ggml.scores", ETK_GGUF_F32, scores, (uint64_t)tokens);
    etk_gguf_set_array(f.writer, "tokenizer.ggml.token_type", ETK_GGUF_I32, types, (uint64_t)tokens);
  }
  char *path = write_gguf(state, &f, "vocabulary.gguf", 0);
  etk_model_unref(model);
  return path;
}

static void the_vocabulary_is_the_files_own(void **state) {
  etk_model *model = open_model(with_vocabulary(state, 70));
  etk_tokenizer *tokenizer = NULL;
  etk_ids ids = ETK_IDS_INIT;
  works(etk_model_tokenizer(e, &tokenizer, model));
  works(etk_tokenizer_encode(e, tokenizer, &ids, "ab", 2, &(etk_encode_options){.special = true}));
  assert_int_equal(ids.count, 3);
  assert_int_equal(ids.items[0], 1);
  assert_int_equal(ids.items[1], 6);
  assert_int_equal(ids.items[2], 5);
  etk_ids_free(&ids);
  etk_tokenizer_free(tokenizer);
  etk_model_unref(model);
  model = open_model(with_vocabulary(state, 71));
  fails_with(ETK_E_INVALID, "ids up to 70, the model's vocab_size is 70", etk_model_tokenizer(e, &tokenizer, model));
  etk_model_unref(model);
  model = open_model(with_vocabulary(state, 0));
  fails_with(ETK_E_NOT_FOUND, "has no tokenizer", etk_model_tokenizer(e, &tokenizer, model));
  etk_model_unref(model);
}

/* ---- what cannot be right ---- */

/* A good file with one thing changed. */
struct change {
  const char *tensor; /* left out, or renamed, or given another shape */
  const char *renamed;
  bool shape;
  const char *key, *text; /* a key set to a text, or to a number */
  int64_t number;
};
static char *changed_file(void **state, const struct change *change) {
  etk_model_config config = packed_config();
  etk_model *model = strong_model(&config);
  struct file f = {.writer = etk_gguf_writer_new()}, good = llama_file(model, all_f32);
  char *path = write_gguf(state, &good, "good.gguf", 0);
  etk_gguf *file = NULL;
  works(etk_gguf_open(e, &file, path));
  const etk_gguf_value *value;
  const char *key;
  for (size_t i = 0; (key = etk_gguf_key_at(file, i, &value)); i++) etk_gguf_set_value(f.writer, key, value);
  if (change->key && change->text) etk_gguf_set_text(f.writer, change->key, change->text);
  else if (change->key) set_int(&f, change->key, change->number);
  for (size_t i = 0; i < etk_gguf_count(file); i++) {
    const etk_gguf_entry *entry = etk_gguf_at(file, i);
    bool here = change->tensor && !strcmp(change->tensor, entry->name);
    if (here && !change->renamed && !change->shape) continue;
    etk_shape shape = here && change->shape ? etk_shape_of(2, entry->shape.dims[0] / 2, entry->shape.dims[1]) : entry->shape;
    etk_gguf_add(f.writer, here && change->renamed ? change->renamed : entry->name, (etk_type)entry->type, shape, entry->data, NULL, NULL);
  }
  path = write_gguf(state, &f, "changed.gguf", 0);
  etk_gguf_close(file);
  etk_model_unref(model);
  return path;
}

static void what_does_not_fit_is_named(void **state) {
  static const struct {
    struct change change;
    etk_status status;
    const char *part;
  } rows[] = {
      {{.tensor = "blk.1.ffn_up.weight"}, ETK_E_FORMAT, "no tensor model.layers.1.mlp.up_proj.weight"},
      {{.tensor = "output_norm.weight"}, ETK_E_FORMAT, "no tensor model.norm.weight"},
      {{.tensor = "output.weight", .renamed = "extra.weight"}, ETK_E_FORMAT, "holds the tensor extra.weight"},
      {{.tensor = "blk.0.ffn_gate.weight", .shape = true}, ETK_E_SHAPE, "model.layers.0.mlp.gate_proj.weight has shape (256, 256), its keys want (512, 256)"},
      {{.tensor = "blk.0.attn_q.weight", .shape = true}, ETK_E_FORMAT, "blk.0.attn_q.weight has the shape (128, 256)"},
      {{.key = "general.architecture", .text = "mamba"}, ETK_E_UNSUPPORTED, "mamba"},
      {{.key = "llama.block_count", .number = 3}, ETK_E_FORMAT, "model.layers.2."},
      {{.key = "llama.block_count", .number = 1}, ETK_E_FORMAT, "holds the tensor blk.1."},
      {{.key = "llama.block_count", .number = 90000}, ETK_E_FORMAT, "calls for 90000 layers"},
      {{.key = "llama.attention.head_count", .number = 0}, ETK_E_FORMAT, "llama.attention.head_count"},
  };
  etk_model *model = NULL;
  for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
    fails_with(rows[i].status, rows[i].part, etk_model_open(e, &model, changed_file(state, &rows[i].change), NULL));
  assert_null(model);
}

static void every_failing_allocation_is_survived(void **state) {
  etk_model_config config = gpt2_config(); /* whose tensors come straight, exchanged, and as F32 */
  config.num_hidden_layers = 1;
  etk_model *model = strong_model(&config);
  struct file f = gpt2_file(model, a_mix);
  survives_opening(write_gguf(state, &f, "hostile.gguf", 0));
  etk_model_unref(model);
}

int main(void) {
  etk__product_set_exact(true); /* results are held to what is stored; how far fast products are from it: ml_product.c */
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(a_file_of_f32_gives_the_bits_of_its_folder),
      cmocka_unit_test(a_file_of_packed_types_gives_the_logits_of_its_decoded_values),
      cmocka_unit_test(a_split_file_is_the_same_model),
      cmocka_unit_test(decoded_and_trainable_models_hold_f32),
      cmocka_unit_test(gpt2s_layers_stay_as_they_lie_in_the_file),
      cmocka_unit_test(a_saved_packed_model_holds_its_decoded_values),
      cmocka_unit_test(greedy_text_is_that_of_the_decoded_model),
      cmocka_unit_test(fast_products_move_logits_and_loss_no_further_than_8_bits_explain),
      cmocka_unit_test(what_is_held_after_a_run_counts_repacked_weights_once),
      cmocka_unit_test(whoever_asks_for_the_bytes_of_turned_rows_gets_them_in_order),
      cmocka_unit_test(an_adapter_learns_on_a_packed_base_without_a_copy_of_it),
      cmocka_unit_test(the_vocabulary_is_the_files_own),
      cmocka_unit_test(what_does_not_fit_is_named),
      cmocka_unit_test(every_failing_allocation_is_survived),
  };
  return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
