/* Hugging Face's tensors and configuration in GGUF and back: names, shapes, order of rows, keys. What llama.cpp expects of the rows is spelled out in
 * rows_lie_as_llama_cpp_wants_them. */
#include "ml_golden.h"
#include "../starve.h"
#include "ml/convert/internal.h"

/* A model's weights as a source; nothing to free. */
static const char *model_at(void *user, size_t index, etk_shape *shape) {
  *shape = *etk_tensor_shape(etk_model_weight_at(user, index));
  return etk_model_weight_name(user, index);
}
static etk_status model_tensor(etk_error *e, void *user, etk_tensor **out, const char *name) {
  (void)e;
  *out = etk_tensor_ref(etk_model_weight(user, name));
  return ETK_OK;
}
static etk__gguf_source source_of(etk_model *model) { return (etk__gguf_source){model, etk_model_weight_count(model), model_at, model_tensor}; }

struct filling {
  etk__gguf_names *names;
  size_t index;
};
static etk_status fill(etk_error *e, void *user, void *out, int64_t row, int64_t rows) {
  const struct filling *f = user;
  return etk__gguf_names_rows(e, f->names, f->index, row, rows, out);
}

/* A change to what is written, before it is. */
typedef void tamper(etk_gguf_writer *writer);

/* All targets as `type` where its rows allow it and they need not stay F32; block types through etk_quant_encode in memory. */
static void write_gguf(const char *path, const etk_model_config *config, const etk__gguf_source *source, etk_type type, tamper *change) {
  etk__gguf_names *names;
  works(etk__gguf_names_new(e, &names, config, source));
  etk_gguf_writer *writer = etk_gguf_writer_new();
  size_t count = etk__gguf_names_count(names);
  struct filling *fillings = etk_calloc(count, sizeof *fillings);
  void **packed = etk_calloc(count, sizeof *packed);
  works(etk__config_to_gguf(e, writer, config));
  for (size_t i = 0; i < count; i++) {
    const etk__gguf_target *target = etk__gguf_names_at(names, i);
    int64_t columns = target->shape.dims[target->shape.rank - 1], rows = etk_shape_elements(&target->shape) / columns;
    fillings[i] = (struct filling){names, i};
    size_t bytes;
    if (type == (etk_type)ETK_F32 || target->plain || columns % etk_type_block_elements(type)) {
      etk_gguf_add(writer, target->name, (etk_type)ETK_F32, target->shape, NULL, fill, &fillings[i]);
      continue;
    }
    float *values = etk_alloc((size_t)(rows * columns) * sizeof *values);
    works(etk_type_bytes(e, &bytes, type, rows, columns));
    packed[i] = etk_alloc(bytes);
    works(etk__gguf_names_rows(e, names, i, 0, rows, values));
    works(etk_quant_encode(e, packed[i], type, values, rows, columns, NULL));
    etk_gguf_add(writer, target->name, type, target->shape, packed[i], NULL, NULL);
    etk_free(values);
  }
  if (change) change(writer);
  works(etk_gguf_write(e, writer, path, &(etk_gguf_write_options){.replace = true}));
  etk_gguf_writer_free(writer);
  etk__gguf_names_free(names);
  for (size_t i = 0; i < count; i++) etk_free(packed[i]);
  etk_free(packed);
  etk_free(fillings);
}

static void config_of(etk_model_config *out, const char *folder) {
  char *text;
  size_t size;
  works(etk_fs_read(e, &text, &size, path_of("%s/config.json", folder), 1 << 20));
  works(etk_model_config_parse(e, out, folder, text, size));
  etk_free(text);
}

#define SAME_INT(field) \
  if (a->field != b->field) fail_msg("%s: " #field " is %lld, was %lld", what, (long long)b->field, (long long)a->field)
#define SAME_REAL(field) \
  if (a->field != b->field) fail_msg("%s: " #field " is %.17g, was %.17g", what, (double)b->field, (double)a->field)
static void same_config(const char *what, const etk_model_config *a, const etk_model_config *b) {
  assert_string_equal(a->architecture, b->architecture);
  SAME_INT(vocab_size); SAME_INT(hidden_size); SAME_INT(intermediate_size); SAME_INT(num_hidden_layers); SAME_INT(num_attention_heads); SAME_INT(num_key_value_heads);
  SAME_INT(head_dim); SAME_INT(max_position_embeddings); SAME_INT(rotary_dims); SAME_INT(sequential_residual); SAME_INT(sliding_window); SAME_INT(activation);
  SAME_INT(rope_scaling); SAME_INT(num_experts); SAME_INT(num_experts_per_tok); SAME_INT(moe_intermediate_size); SAME_INT(shared_expert_intermediate_size);
  SAME_INT(norm_topk_prob); SAME_INT(attention_bias); SAME_INT(mlp_bias); SAME_INT(tie_word_embeddings); SAME_INT(bos_token_id); SAME_INT(eos_count);
  SAME_REAL(rms_norm_eps); SAME_REAL(rope_theta); SAME_REAL(query_pre_attn_scalar); SAME_REAL(attn_logit_softcapping); SAME_REAL(final_logit_softcapping);
  SAME_REAL(rope_local_theta);
  if (a->rope_scaling != ETK_ROPE_PLAIN) { SAME_REAL(rope_factor); }
  if (a->rope_scaling >= ETK_ROPE_LLAMA3) { SAME_REAL(rope_original_positions); }
  if (a->rope_scaling == ETK_ROPE_LLAMA3) { SAME_REAL(rope_low_freq_factor); SAME_REAL(rope_high_freq_factor); }
  if (a->rope_scaling == ETK_ROPE_YARN) { SAME_REAL(rope_beta_fast); SAME_REAL(rope_beta_slow); }
  /* a quotient and a product of single-precision keys */
  if (a->rope_scaling >= ETK_ROPE_YARN && fabs(a->rope_attention_factor - b->rope_attention_factor) > 1e-6) fail_msg("%s: rope_attention_factor", what);
  assert_memory_equal(a->eos_token_ids, b->eos_token_ids, sizeof a->eos_token_ids);
  assert_memory_equal(a->layer_flags, b->layer_flags, sizeof a->layer_flags);
  assert_memory_equal(a->rope_short_factors, b->rope_short_factors, sizeof a->rope_short_factors);
  assert_memory_equal(a->rope_long_factors, b->rope_long_factors, sizeof a->rope_long_factors);
}

/* Every tensor of the source is found in the file under the same name, with the same shape and values. Gemma's norms went through 1 + weight, whose last bit is
 * 2^-23 from 1 to 2: half of it is lost. */
static void same_tensors(const char *what, const etk_model_config *config, const etk__gguf_source *source, etk_weights *w) {
  bool gemma = !strncmp(config->architecture, "gemma", 5);
  size_t seen = 0, listed = 0;
  for (size_t i = 0; i < source->count; i++) {
    etk_shape shape;
    const char *name = source->at(source->user, i, &shape);
    etk_tensor *wanted, *got;
    works(source->tensor(e, source->user, &wanted, name));
    works(etk_weights_tensor(e, &got, w, name, NULL));
    if (!etk_shape_equal(etk_tensor_shape(got), &shape)) fail_msg("%s: %s has another shape", what, name);
    assert_int_equal(etk_tensor_dtype(got), ETK_F32);
    if (etk_tensor_dtype(wanted) != ETK_F32) {
      etk_tensor *wide;
      works(etk_tensor_cast(e, &wide, wanted, ETK_F32));
      etk_tensor_unref(wanted);
      wanted = wide;
    }
    const char *a = etk_tensor_data(wanted), *b = etk_tensor_data(got); /* mapped: of any alignment */
    bool near = gemma && strstr(name, "norm");
    for (int64_t k = 0; near && k < etk_tensor_elements(got); k++) {
      float x, y;
      memcpy(&x, a + k * 4, 4);
      memcpy(&y, b + k * 4, 4);
      if (!(fabsf(x - y) <= 0x1p-24f * (fabsf(x + 1) > 2 ? 2 : 1))) fail_msg("%s: %s[%lld] is %g, was %g", what, name, (long long)k, (double)y, (double)x);
    }
    if (!near && memcmp(a, b, etk_tensor_bytes(got))) fail_msg("%s: %s has other values", what, name);
    etk_tensor_unref(wanted);
    etk_tensor_unref(got);
    seen++;
  }
  for (etk_weights_item item = {0}; etk_weights_next(w, &item); listed++) {
    etk_tensor *got;
    works(etk_weights_tensor(e, &got, w, item.name, NULL));
    if (!etk_shape_equal(etk_tensor_shape(got), &item.shape)) fail_msg("%s: %s is listed with another shape", what, item.name);
    etk_tensor_unref(got);
  }
  assert_int_equal(seen, listed);
}

/* A Hugging Face folder as F32 GGUF and back. */
static void goes_to_gguf_and_back(void **state, const char *name, char *folder) {
  char *path = path_of("%s/%s.gguf", (char *)*state, name);
  etk_model_config config, again;
  etk__gguf_source source;
  etk__origin *origin;
  etk_weights *in, *out;
  config_of(&config, folder);
  works(etk_weights_open(e, &in, folder));
  works(etk__origin_new(e, &origin, in));
  etk__origin_source(&source, origin);
  write_gguf(path, &config, &source, (etk_type)ETK_F32, NULL);
  works(etk_weights_open(e, &out, path));
  same_tensors(name, &config, &source, out);
  works(etk__config_from_gguf(e, &again, out));
  same_config(name, &config, &again);
  etk_weights_close(out);
  etk__origin_free(origin);
  etk_weights_close(in);
}

static void every_golden_model_goes_to_gguf_and_back(void **state) {
  static const char *const names[] = {"llama",   "llama-bias", "llama-gqa-tied", "llama-rope-linear", "mistral",  "mixtral",
                                      "qwen2",   "qwen2-moe",  "gemma",          "gpt2",              "gpt-neox"};
  shared_or_skip("goldens/models");
  for (size_t i = 0; i < sizeof names / sizeof *names; i++) goes_to_gguf_and_back(state, names[i], shared(path_of("goldens/models/%s", names[i])));
}

static void models_with_windows_caps_and_scaled_rope_go_to_gguf_and_back(void **state) {
  static const char *const names[] = {"gemma2", "gemma3-layer-types", "gemma3-pattern", "llama-llama3", "llama-yarn", "mistral-window", "phi3",
                                      "phi3-longrope", "phi3-partial", "qwen2-window", "qwen3", "qwen3-tied", "smollm"};
  for (size_t i = 0; i < sizeof names / sizeof *names; i++) goes_to_gguf_and_back(state, names[i], path_of("tests/goldens/models_ref/%s", names[i]));
}

/* ---- models made here ---- */

static etk_model *fresh(etk_model_config c) {
  c.vocab_size = 24, c.hidden_size = 64, c.intermediate_size = 96, c.num_attention_heads = 4, c.head_dim = 16;
  if (!c.num_hidden_layers) c.num_hidden_layers = 2;
  if (!c.num_key_value_heads) c.num_key_value_heads = 2;
  c.max_position_embeddings = 32, c.rms_norm_eps = 1e-5, c.rope_theta = 10000, c.bos_token_id = 1, c.eos_token_ids[0] = 2, c.eos_token_ids[1] = 5,
      c.eos_count = 2;
  etk_model *model = NULL;
  works(etk_model_new(e, &model, &c, 3));
  for (size_t i = 0; i < etk_model_weight_count(model); i++) { /* no two elements of a norm or a bias are alike */
    etk_tensor *t = etk_model_weight_at(model, i);
    float *x = etk_tensor_data(t);
    for (int64_t j = 0; etk_tensor_shape(t)->rank == 1 && j < etk_tensor_elements(t); j++) x[j] += 0.2f * (float)sin((double)(j + 5 * (int64_t)i));
  }
  return model;
}

static etk_weights *written(void **state, etk_model *model, etk_type type, tamper *change) {
  static int number;
  char *path = path_of("%s/fresh-%d.gguf", (char *)*state, number++);
  etk__gguf_source source = source_of(model);
  write_gguf(path, etk_model_get_config(model), &source, type, change);
  etk_weights *w;
  works(etk_weights_open(e, &w, path));
  return w;
}

static void a_fresh_model_of_each_other_kind_goes_to_gguf_and_back(void **state) {
  static const etk_model_config configs[] = {
      {.architecture = "gpt_neox", .rotary_dims = 8, .sequential_residual = true, .activation = ETK_ACTIVATION_GELU, .num_key_value_heads = 4},
      {.architecture = "gpt_neox", .rotary_dims = 16, .attention_bias = true, .activation = ETK_ACTIVATION_GELU_TANH, .num_key_value_heads = 4},
      {.architecture = "llama", .attention_bias = true, .mlp_bias = true, .tie_word_embeddings = true},
      {.architecture = "mistral", .sliding_window = 7},
      {.architecture = "smollm3", .num_hidden_layers = 5, .layer_flags = {0, 0, 0, ETK_LAYER_NO_ROPE}},
      {.architecture = "gemma2", .tie_word_embeddings = true, .activation = ETK_ACTIVATION_GELU_TANH, .query_pre_attn_scalar = 16}, /* no window, no caps */
      {.architecture = "gemma3_text", .num_hidden_layers = 5, .tie_word_embeddings = true, .activation = ETK_ACTIVATION_GELU_TANH,
       .sliding_window = 8, .query_pre_attn_scalar = 17, .rope_local_theta = 100, .final_logit_softcapping = 20,
       .layer_flags = {ETK_LAYER_FULL, 0, ETK_LAYER_FULL, ETK_LAYER_FULL}},
      {.architecture = "qwen3", .sliding_window = 9, .layer_flags = {ETK_LAYER_FULL}, .rope_scaling = ETK_ROPE_YARN, .rope_factor = 4,
       .rope_original_positions = 16, .rope_beta_fast = 32, .rope_beta_slow = 1, .rope_attention_factor = 1.5},
      {.architecture = "qwen2_moe", .attention_bias = true, .num_experts = 4, .num_experts_per_tok = 2, .moe_intermediate_size = 10,
       .shared_expert_intermediate_size = 12},
  };
  for (size_t i = 0; i < sizeof configs / sizeof *configs; i++) {
    etk_model *model = fresh(configs[i]);
    etk_weights *w = written(state, model, (etk_type)ETK_F32, NULL);
    etk__gguf_source source = source_of(model);
    etk_model_config again;
    same_tensors(configs[i].architecture, etk_model_get_config(model), &source, w);
    works(etk__config_from_gguf(e, &again, w));
    same_config(configs[i].architecture, etk_model_get_config(model), &again);
    etk_weights_close(w);
    etk_model_unref(model);
  }
}

/* Rows of blocks move whole: the stored bytes of a row are those that its values encode to. */
static void packed_rows_come_back_in_order_and_in_their_type(void **state) {
  static const struct {
    etk_model_config config;
    const char *name;
  } cases[] = {{{.architecture = "llama"}, "model.layers.1.self_attn.q_proj.weight"},
               {{.architecture = "llama"}, "model.layers.1.self_attn.k_proj.weight"},
               {{.architecture = "gpt_neox", .rotary_dims = 8, .activation = ETK_ACTIVATION_GELU, .num_key_value_heads = 4},
                "gpt_neox.layers.0.attention.query_key_value.weight"},
               {{.architecture = "mixtral", .num_experts = 3, .num_experts_per_tok = 2, .moe_intermediate_size = 96, .norm_topk_prob = true},
                "model.layers.1.block_sparse_moe.experts.2.w2.weight"}};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    etk_model *model = fresh(cases[i].config);
    etk_weights *w = written(state, model, ETK_Q8_0, NULL);
    etk_tensor *wanted = etk_model_weight(model, cases[i].name), *got;
    int64_t rows = etk_tensor_dim(wanted, 0), columns = etk_tensor_dim(wanted, 1);
    size_t bytes;
    works(etk_type_bytes(e, &bytes, ETK_Q8_0, rows, columns));
    void *packed = etk_alloc(bytes);
    works(etk_quant_encode(e, packed, ETK_Q8_0, etk_tensor_data(wanted), rows, columns, NULL));
    works(etk_weights_tensor(e, &got, w, cases[i].name, NULL));
    etk_weights_close(w); /* the tensor holds what it needs */
    assert_int_equal(etk_tensor_dtype(got), ETK_Q8_0);
    assert_true(etk_shape_equal(etk_tensor_shape(got), etk_tensor_shape(wanted)));
    assert_memory_equal(etk_tensor_data(got), packed, bytes);
    etk_tensor_unref(got);
    etk_free(packed);
    etk_model_unref(model);
  }
}

static void transposed_layers_are_given_as_stored_where_the_caller_can_take_them(void **state) {
  static const char name[] = "transformer.h.1.mlp.c_fc.weight";
  etk_model *model = fresh((etk_model_config){.architecture = "gpt2", .attention_bias = true, .tie_word_embeddings = true,
                                              .activation = ETK_ACTIVATION_GELU_TANH, .num_key_value_heads = 4});
  etk_tensor *wanted = etk_model_weight(model, name), *stored, *turned;
  static const etk_type types[] = {(etk_type)ETK_F32, (etk_type)ETK_F16, ETK_Q8_0};
  for (int k = 0; k < 3; k++) {
    etk_weights *w = written(state, model, types[k], NULL);
    bool transposed = false;
    works(etk_weights_tensor(e, &stored, w, name, &transposed));
    works(etk_weights_tensor(e, &turned, w, name, NULL));
    assert_true(transposed);
    assert_true(etk_tensor_dim(stored, 0) == 96 && etk_tensor_dim(stored, 1) == 64);
    assert_ptr_equal(etk_tensor_data(stored), etk_weights_find(w, name)->data);
    assert_true(etk_shape_equal(etk_tensor_shape(turned), etk_tensor_shape(wanted)));
    assert_int_equal(etk_tensor_dtype(turned), k == 2 ? ETK_F32 : (etk_dtype)types[k]);
    float *values = etk_alloc(sizeof(float) * 96 * 64), *rows = etk_alloc(sizeof(float) * 96 * 64);
    works(etk_quant_decode(e, values, (etk_type)etk_tensor_dtype(turned), etk_tensor_data(turned), 64, 96));
    works(etk_quant_decode(e, rows, types[k], etk_tensor_data(stored), 96, 64));
    const float *x = etk_tensor_data(wanted);
    for (int in = 0; in < 64; in++)
      for (int out = 0; out < 96; out++) {
        assert_true(values[in * 96 + out] == rows[out * 64 + in]);
        assert_true(fabsf(values[in * 96 + out] - x[in * 96 + out]) <= (k == 0 ? 0 : 1e-3f)); /* an F16's half ulp at 0.06 is 1.5e-5, a Q8_0's half step at 0.1 is 4e-4 */
      }
    etk_free(values);
    etk_free(rows);
    etk_tensor_unref(stored);
    works(etk_weights_tensor(e, &stored, w, "transformer.ln_f.bias", &transposed));
    assert_false(transposed);
    etk_tensor_unref(stored);
    etk_tensor_unref(turned);
    etk_weights_close(w);
  }
  etk_model_unref(model);
}

/* ---- order of rows ---- */

/* A source of one kind of tensor: element i of every tensor is i, of expert x 1000 x more. */
struct counting {
  const char *names[3];
  etk_shape shape;
};
static const char *counting_at(void *user, size_t index, etk_shape *shape) {
  const struct counting *c = user;
  *shape = c->shape;
  return c->names[index];
}
static etk_status counting_tensor(etk_error *e, void *user, etk_tensor **out, const char *name) {
  const struct counting *c = user;
  size_t expert = 0;
  while (strcmp(c->names[expert], name)) expert++;
  etk_status status = etk_tensor_new(e, out, ETK_F32, c->shape);
  for (int64_t i = 0; !status && i < etk_tensor_elements(*out); i++) ((float *)etk_tensor_data(*out))[i] = (float)(i + 1000 * (int64_t)expert);
  return status;
}

/* Two heads of 4, one of keys: llama.cpp turns neighbours, Hugging Face halves (0 1 | 2 3); GPT-NeoX's heads hold query, key and value each. */
static void rows_lie_as_llama_cpp_wants_them(void **state) {
  (void)state;
  static const struct {
    const char *architecture;
    struct counting source;
    etk_shape shape;
    float wanted[24];
  } cases[] = {
      {"llama", {{"model.layers.0.self_attn.q_proj.weight"}, {2, {8, 2}}}, {2, {8, 2}}, {0, 1, 4, 5, 2, 3, 6, 7, 8, 9, 12, 13, 10, 11, 14, 15}},
      {"llama", {{"model.layers.0.self_attn.k_proj.weight"}, {2, {4, 2}}}, {2, {4, 2}}, {0, 1, 4, 5, 2, 3, 6, 7}},
      {"mistral", {{"model.layers.0.self_attn.q_proj.bias"}, {1, {8}}}, {1, {8}}, {0, 2, 1, 3, 4, 6, 5, 7}},
      {"llama", {{"model.layers.0.self_attn.v_proj.weight"}, {2, {4, 2}}}, {2, {4, 2}}, {0, 1, 2, 3, 4, 5, 6, 7}},
      {"qwen2", {{"model.layers.0.self_attn.q_proj.bias"}, {1, {8}}}, {1, {8}}, {0, 1, 2, 3, 4, 5, 6, 7}},
      {"gpt_neox", {{"gpt_neox.layers.0.attention.query_key_value.weight"}, {2, {24, 1}}}, {2, {24, 1}},
       {0, 1, 2, 3, 12, 13, 14, 15, 4, 5, 6, 7, 16, 17, 18, 19, 8, 9, 10, 11, 20, 21, 22, 23}},
      {"gpt_neox", {{"gpt_neox.layers.0.attention.query_key_value.bias"}, {1, {24}}}, {1, {24}},
       {0, 1, 2, 3, 12, 13, 14, 15, 4, 5, 6, 7, 16, 17, 18, 19, 8, 9, 10, 11, 20, 21, 22, 23}},
      {"gpt2", {{"transformer.h.0.mlp.c_fc.weight"}, {2, {2, 3}}}, {2, {3, 2}}, {0, 3, 1, 4, 2, 5}},
      {"gpt2", {{"transformer.h.0.attn.c_attn.bias"}, {1, {6}}}, {1, {6}}, {0, 1, 2, 3, 4, 5}},
      {"gemma", {{"model.layers.0.input_layernorm.weight"}, {1, {4}}}, {1, {4}}, {1, 2, 3, 4}},
      {"gemma3_text", {{"model.layers.0.self_attn.k_norm.weight"}, {1, {4}}}, {1, {4}}, {1, 2, 3, 4}},
      {"qwen3", {{"model.layers.0.self_attn.k_norm.weight"}, {1, {4}}}, {1, {4}}, {0, 1, 2, 3}},
      {"qwen2_moe", {{"model.layers.0.mlp.shared_expert_gate.weight"}, {2, {1, 4}}}, {1, {4}}, {0, 1, 2, 3}},
      {"mixtral", {{"model.layers.0.block_sparse_moe.experts.0.w2.weight", "model.layers.0.block_sparse_moe.experts.1.w2.weight"}, {2, {2, 3}}}, {3, {2, 2, 3}},
       {0, 1, 2, 3, 4, 5, 1000, 1001, 1002, 1003, 1004, 1005}},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    struct counting counting = cases[i].source;
    etk__gguf_source source = {.user = &counting, .count = counting.names[1] ? 2 : 1, .at = counting_at, .tensor = counting_tensor};
    etk_model_config config = {.num_hidden_layers = 1, .num_attention_heads = 2, .num_key_value_heads = 1, .head_dim = 4, .num_experts = 2};
    snprintf(config.architecture, sizeof config.architecture, "%s", cases[i].architecture);
    etk__gguf_names *names;
    works(etk__gguf_names_new(e, &names, &config, &source));
    const etk__gguf_target *target = etk__gguf_names_at(names, 0);
    assert_true(etk_shape_equal(&target->shape, &cases[i].shape));
    int64_t columns = target->shape.dims[target->shape.rank - 1], rows = etk_shape_elements(&target->shape) / columns;
    for (int64_t step = 1; step <= rows; step++) { /* whole, and in pieces that do not divide it */
      float got[24] = {0};
      for (int64_t row = 0; row < rows; row += step) works(etk__gguf_names_rows(e, names, 0, row, rows - row < step ? rows - row : step, got + row * columns));
      for (int64_t k = 0; k < rows * columns; k++)
        if (got[k] != cases[i].wanted[k])
          fail_msg("%s: element %lld is %g, wanted %g", counting.names[0], (long long)k, (double)got[k], (double)cases[i].wanted[k]);
    }
    fails_with(ETK_E_INVALID, "were asked for", etk__gguf_names_rows(e, names, 0, 1, rows, NULL));
    fails_with(ETK_E_INVALID, "were asked for", etk__gguf_names_rows(e, names, 0, -1, 1, NULL));
    fails_with(ETK_E_INVALID, "1 of 1", etk__gguf_names_rows(e, names, 1, 0, 1, NULL));
    etk__gguf_names_free(names);
  }
}

static void targets_say_what_they_are_for(void **state) {
  (void)state;
  static const struct {
    const char *name;
    etk__gguf_role role;
    int layer;
    bool plain;
  } wanted[] = {{"token_embd.weight", ETK__ROLE_EMBEDDING, -1, false},
                {"rope_freqs.weight", ETK__ROLE_OTHER, -1, true},
                {"blk.0.attn_norm.weight", ETK__ROLE_OTHER, 0, true},
                {"blk.1.attn_q.weight", ETK__ROLE_QUERY, 1, false},
                {"blk.1.attn_k.weight", ETK__ROLE_KEY, 1, false},
                {"blk.1.attn_v.weight", ETK__ROLE_VALUE, 1, false},
                {"blk.1.attn_output.weight", ETK__ROLE_ATTENTION_OUTPUT, 1, false},
                {"blk.1.ffn_gate_inp.weight", ETK__ROLE_OTHER, 1, true},
                {"blk.1.ffn_gate_exps.weight", ETK__ROLE_GATE, 1, false},
                {"blk.1.ffn_up_exps.weight", ETK__ROLE_UP, 1, false},
                {"blk.1.ffn_down_exps.weight", ETK__ROLE_DOWN, 1, false},
                {"output.weight", ETK__ROLE_OUTPUT, -1, false}};
  etk_model *model = fresh((etk_model_config){.architecture = "mixtral", .num_experts = 3, .num_experts_per_tok = 2, .moe_intermediate_size = 96,
                                              .norm_topk_prob = true, .rope_scaling = ETK_ROPE_LLAMA3, .rope_factor = 8, .rope_low_freq_factor = 1,
                                              .rope_high_freq_factor = 4, .rope_original_positions = 16});
  etk__gguf_source source = source_of(model);
  etk__gguf_names *names;
  works(etk__gguf_names_new(e, &names, etk_model_get_config(model), &source));
  size_t count = etk__gguf_names_count(names), found = 0;
  assert_string_equal(etk__gguf_names_at(names, 0)->name, "token_embd.weight");
  assert_string_equal(etk__gguf_names_at(names, count - 1)->name, "output.weight");
  assert_null(etk__gguf_names_at(names, count));
  for (size_t i = 0; i < count; i++) {
    const etk__gguf_target *t = etk__gguf_names_at(names, i);
    for (size_t k = 0; k < sizeof wanted / sizeof *wanted; k++) {
      if (strcmp(t->name, wanted[k].name)) continue;
      if (t->role != wanted[k].role || t->layer != wanted[k].layer || t->plain != wanted[k].plain)
        fail_msg("%s: role %d, layer %d", t->name, (int)t->role, t->layer);
      found++;
    }
    assert_int_equal(t->source_count, strstr(t->name, "_exps") ? 3 : strstr(t->name, "rope_") ? 0 : 1);
  }
  assert_int_equal(found, sizeof wanted / sizeof *wanted);
  etk__gguf_names_free(names);
  etk_model_unref(model);
}

/* ---- names ---- */

static void names_are_parsed_and_made_alike(void **state) {
  (void)state;
  static const struct {
    const char *architecture, *stored, *canonical;
  } names[] = {
      {"llama", "blk.0.attn_q.bias", "model.layers.0.self_attn.q_proj.bias"},
      {"llama", "blk.31.ffn_gate_inp.weight", "model.layers.31.block_sparse_moe.gate.weight"},
      {"llama", "blk.31.ffn_up_exps.weight", "model.layers.31.block_sparse_moe.experts.7.w3.weight"},
      {"qwen2moe", "blk.3.ffn_down_exps.weight", "model.layers.3.mlp.experts.59.down_proj.weight"},
      {"qwen2moe", "blk.3.ffn_gate_inp_shexp.weight", "model.layers.3.mlp.shared_expert_gate.weight"},
      {"gemma2", "blk.1.post_ffw_norm.weight", "model.layers.1.post_feedforward_layernorm.weight"},
      {"gemma3", "blk.1.attn_k_norm.weight", "model.layers.1.self_attn.k_norm.weight"},
      {"phi3", "blk.10.ffn_up.weight", "model.layers.10.mlp.gate_up_proj.weight"},
      {"gpt2", "position_embd.weight", "transformer.wpe.weight"},
      {"gptneox", "output.weight", "embed_out.weight"},
  };
  char text[256];
  etk__gguf_place place, again;
  for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
    const etk__gguf_table *table = etk__gguf_table_find(names[i].architecture);
    assert_true(etk__gguf_parse_canonical(&place, table, names[i].canonical));
    assert_string_equal(etk__gguf_stored_name(text, sizeof text, &place), names[i].stored);
    assert_true(etk__gguf_parse_stored(&again, table, names[i].stored));
    assert_ptr_equal(place.row, again.row);
    assert_string_equal(etk__gguf_canonical_name(text, sizeof text, table, &place), names[i].canonical);
  }
  const etk__gguf_table *gpt2 = etk__gguf_table_find("gpt2"), *gemma3 = etk__gguf_table_find("gemma3"), *llama = etk__gguf_table_find("llama");
  assert_true(etk__gguf_parse_canonical(&place, gpt2, "h.3.attn.c_attn.bias")); /* the hub's own GPT-2 leaves the prefix out */
  assert_string_equal(etk__gguf_stored_name(text, sizeof text, &place), "blk.3.attn_qkv.bias");
  assert_true(etk__gguf_parse_canonical(&place, gemma3, "language_model.model.norm.weight"));
  assert_string_equal(etk__gguf_stored_name(text, sizeof text, &place), "output_norm.weight");
  assert_true(etk__gguf_parse_canonical(&place, gemma3, "model.language_model.layers.4.mlp.up_proj.weight"));
  assert_string_equal(etk__gguf_stored_name(text, sizeof text, &place), "blk.4.ffn_up.weight");
  assert_false(etk__gguf_parse_canonical(&place, llama, "language_model.model.norm.weight"));
  static const char *const none[] = {"blk.00.attn_q.weight", "blk.-1.attn_q.weight", "blk.1000000.attn_q.weight",
                                     "blk.99999999999999999999.attn_q.weight", "blk.0.attn_q", "blk.0.weight", "blk..attn_q.weight",
                                     "blk.0.attn_qq.weight", "attn_q.weight", "blk.0.output.weight", "blk.0.ffn_gate_exps.bias",
                                     "blk.0.ffn_gate.x.weight", ".weight", ""};
  for (size_t i = 0; i < sizeof none / sizeof *none; i++)
    if (etk__gguf_parse_stored(&place, llama, none[i])) fail_msg("%s is taken for a name", none[i]);
}

static void experts_that_lie_alone_are_found(void **state) {
  char *path = path_of("%s/alone.gguf", (char *)*state);
  etk_gguf_writer *writer = etk_gguf_writer_new();
  static const float values[8] = {1, 2, 3, 4, 5, 6, 7, 8};
  etk_gguf_set_text(writer, "general.architecture", "llama");
  etk_gguf_add(writer, "blk.2.ffn_up.5.weight", (etk_type)ETK_F32, etk_shape_of(2, 2, 4), values, NULL, NULL);
  works(etk_gguf_write(e, writer, path, &(etk_gguf_write_options){.replace = true}));
  etk_gguf_writer_free(writer);
  etk_weights *w;
  etk_tensor *tensor;
  works(etk_weights_open(e, &w, path));
  works(etk_weights_tensor(e, &tensor, w, "model.layers.2.block_sparse_moe.experts.5.w3.weight", NULL));
  assert_memory_equal(etk_tensor_data(tensor), values, sizeof values);
  etk_tensor_unref(tensor);
  fails_with(ETK_E_NOT_FOUND, "has no tensor model.layers.2.block_sparse_moe.experts.4.w3.weight",
             etk_weights_tensor(e, &tensor, w, "model.layers.2.block_sparse_moe.experts.4.w3.weight", NULL));
  assert_null(tensor);
  etk_weights_close(w);
}

/* ---- what cannot be written ---- */

struct listing {
  struct {
    const char *name;
    etk_shape shape;
  } items[4];
};
static const char *listing_at(void *user, size_t index, etk_shape *shape) {
  const struct listing *list = user;
  *shape = list->items[index].shape;
  return list->items[index].name;
}

static void what_has_no_place_in_gguf_is_refused(void **state) {
  (void)state;
  static const char q[] = "model.layers.0.self_attn.q_proj.weight", w1[] = "model.layers.0.block_sparse_moe.experts.0.w1.weight",
      w1b[] = "model.layers.0.block_sparse_moe.experts.1.w1.weight";
  static const struct {
    const char *architecture;
    struct listing list;
    size_t count;
    etk_status status;
    const char *part;
  } cases[] = {
      {"llama", {{{"model.layers.0.self_attn.x_proj.weight", {2, {8, 8}}}}}, 1, ETK_E_UNSUPPORTED,
       "x_proj.weight has no place in a GGUF file of the architecture llama"},
      {"llama", {{{q, {2, {12, 8}}}}}, 1, ETK_E_FORMAT, "(12, 8); 2 heads of 4 are wanted"},
      {"llama", {{{q, {1, {8}}}}}, 1, ETK_E_FORMAT, "(8); 2 heads of 4 are wanted"},
      {"llama", {{{q, {2, {8, 0}}}}}, 1, ETK_E_FORMAT, "a dimension of 0"},
      {"llama", {{{q, {5, {8, 1, 1, 1, 1}}}}}, 1, ETK_E_FORMAT, "has 5 dimensions"},
      {"llama", {{{"model.layers.1.self_attn.q_proj.weight", {2, {8, 8}}}}}, 1, ETK_E_FORMAT, "behind the last; num_hidden_layers is 1"},
      {"mixtral", {{{w1, {2, {4, 8}}}}}, 1, ETK_E_FORMAT, "must be 0 to 1, each once; 1 are there"},
      {"mixtral", {{{w1, {2, {4, 8}}}, {w1b, {2, {5, 8}}}}}, 2, ETK_E_FORMAT, "same shape as the other experts"},
      {"gpt2", {{{"h.0.ln_1.bias", {1, {8}}}, {"transformer.h.0.ln_1.bias", {1, {8}}}}}, 2, ETK_E_FORMAT, "would both be blk.0.attn_norm.bias"},
      {"gpt2", {{{"h.0.mlp.c_fc.weight", {1, {8}}}}}, 1, ETK_E_FORMAT, "a matrix is wanted"},
      {"gpt_neox", {{{"gpt_neox.layers.0.attention.query_key_value.weight", {2, {23, 8}}}}}, 1, ETK_E_FORMAT, "queries, keys and values of 2 heads of 4"},
      {"qwen2_moe", {{{"model.layers.0.mlp.shared_expert_gate.weight", {2, {2, 8}}}}}, 1, ETK_E_FORMAT, "one row is wanted"},
      {"bert", {{{q, {2, {8, 8}}}}}, 1, ETK_E_UNSUPPORTED, "the architectures it knows are llama"},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    struct listing list = cases[i].list;
    etk__gguf_source source = {.user = &list, .count = cases[i].count, .at = listing_at};
    etk_model_config config = {.num_hidden_layers = 1, .num_attention_heads = 2, .num_key_value_heads = 2, .head_dim = 4, .hidden_size = 8, .num_experts = 2};
    snprintf(config.architecture, sizeof config.architecture, "%s", cases[i].architecture);
    etk__gguf_names *names;
    fails_with(cases[i].status, cases[i].part, etk__gguf_names_new(e, &names, &config, &source));
    assert_null(names);
  }
  etk_gguf_writer *writer = etk_gguf_writer_new();
  etk_model_config config = {.architecture = "qwen2", .rope_scaling = ETK_ROPE_LLAMA3};
  fails_with(ETK_E_UNSUPPORTED, "qwen2 has no key for rope scaling of type llama3", etk__config_to_gguf(e, writer, &config));
  etk_gguf_writer_free(writer);
}

static void buffers_and_a_tied_head_are_left_out(void **state) {
  (void)state;
  struct listing list = {{{"transformer.h.0.attn.bias", {4, {1, 1, 8, 8}}}, {"lm_head.weight", {2, {8, 8}}}, {"transformer.ln_f.weight", {1, {8}}}}};
  etk__gguf_source source = {.user = &list, .count = 3, .at = listing_at};
  etk_model_config config = {.architecture = "gpt2", .num_hidden_layers = 1, .num_attention_heads = 2, .num_key_value_heads = 2, .head_dim = 4,
                             .tie_word_embeddings = true};
  etk__gguf_names *names;
  works(etk__gguf_names_new(e, &names, &config, &source));
  assert_int_equal(etk__gguf_names_count(names), 1);
  assert_string_equal(etk__gguf_names_at(names, 0)->name, "output_norm.weight");
  assert_true(etk__gguf_names_at(names, 0)->plain);
  etk__gguf_names_free(names);
}

/* ---- out of memory ---- */

static void every_failing_allocation_is_an_error_without_a_leak(void **state) {
  etk_model *model = fresh((etk_model_config){.architecture = "gpt2", .attention_bias = true, .activation = ETK_ACTIVATION_GELU_TANH,
                                              .num_key_value_heads = 4});
  etk_weights *w = written(state, model, (etk_type)ETK_F32, NULL);
  static float rows[64 * 192];
  starvation s = {0};
  while (starve(&s)) {
    etk_error error = ETK_ERROR_INIT;
    etk__gguf_source source;
    etk__origin *origin = NULL;
    etk__gguf_names *names = NULL;
    etk_tensor *tensor = NULL;
    etk_status status = etk__origin_new(&error, &origin, w);
    if (!status) etk__origin_source(&source, origin);
    if (!status) status = etk__gguf_names_new(&error, &names, etk_model_get_config(model), &source);
    for (size_t i = 0; !status && i < etk__gguf_names_count(names); i++) status = etk__gguf_names_rows(&error, names, i, 0, 1, rows);
    if (!status) status = etk_weights_tensor(&error, &tensor, w, "transformer.h.0.attn.c_attn.weight", NULL);
    etk_tensor_unref(tensor);
    etk__gguf_names_free(names);
    etk__origin_free(origin);
    starved(&s, status, &error);
  }
  etk_weights_close(w);
  etk_model_unref(model);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(every_golden_model_goes_to_gguf_and_back),
      cmocka_unit_test(models_with_windows_caps_and_scaled_rope_go_to_gguf_and_back),
      cmocka_unit_test(a_fresh_model_of_each_other_kind_goes_to_gguf_and_back),
      cmocka_unit_test(packed_rows_come_back_in_order_and_in_their_type),
      cmocka_unit_test(transposed_layers_are_given_as_stored_where_the_caller_can_take_them),
      cmocka_unit_test(rows_lie_as_llama_cpp_wants_them),
      cmocka_unit_test(targets_say_what_they_are_for),
      cmocka_unit_test(names_are_parsed_and_made_alike),
      cmocka_unit_test(experts_that_lie_alone_are_found),
      cmocka_unit_test(what_has_no_place_in_gguf_is_refused),
      cmocka_unit_test(buffers_and_a_tied_head_are_left_out),
      cmocka_unit_test(every_failing_allocation_is_an_error_without_a_leak),
  };
  return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
