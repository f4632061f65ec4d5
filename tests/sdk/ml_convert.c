/* Models from one format to another and back. What the values should be is what the input holds; that llama.cpp reads these files the same is tested
 * in tests/plugins. */
#include "ml_golden.h"
#include "../starve.h"
#include "ml/convert/internal.h"

#include <errno.h>
#include <etk/hash.h>
#include <etk/numpy.h>
#include <etk/parallel.h>

static const char *const models[] = {"gemma", "gpt-neox", "gpt2", "llama", "llama-bias", "llama-gqa-tied", "llama-rope-linear", "mistral", "mixtral",
                                     "qwen2", "qwen2-moe"};
enum { MODELS = sizeof models / sizeof *models };

static void convert(const char *in, const char *out, etk_convert_options o) {
  etk_convert *plan = NULL;
  o.replace = true;
  works(etk_convert_new(e, &plan, in, out, &o));
  works(etk_convert_write(e, plan));
  etk_convert_free(plan);
}
#define TO(...) ((etk_convert_options){__VA_ARGS__})
#define refuses(status, words, in, out, ...)                                                             \
  do {                                                                                                   \
    etk_convert *refused = NULL;                                                                         \
    etk_convert_options refused_options = {__VA_ARGS__};                                                 \
    fails_with(status, words, etk_convert_new(e, &refused, in, out, &refused_options));                  \
    assert_null(refused);                                                                                \
  } while (0)

/* ---- comparing ---- */
static float *values_of(etk_weights *w, const etk__origin *origin, const etk__origin_item *item) {
  (void)w;
  etk_tensor *tensor = NULL;
  works(etk__origin_tensor(e, &tensor, origin, item));
  int64_t count = etk_shape_elements(&item->shape);
  float *out = etk_alloc((size_t)(count + 1) * sizeof *out);
  works(etk__rows_decode(e, out, tensor, 0, count));
  etk_tensor_unref(tensor);
  return out;
}

/* How far a value may be from what it was. */
typedef double bound(const etk__origin_item *item, const float *values, int64_t index);
static double exact(const etk__origin_item *item, const float *values, int64_t index) { return (void)item, (void)values, (void)index, 0; }
/* Half a unit in the last place: F16 has 11 bits, and is spaced 2^-24 below 2^-14; BF16 has 8. */
static double half(const etk__origin_item *item, const float *values, int64_t index) {
  (void)item;
  double x = fabs((double)values[index]);
  return x < 0x1p-14 ? 0x1p-25 : x * 0x1p-11;
}
static double brain(const etk__origin_item *item, const float *values, int64_t index) { return (void)item, fabs((double)values[index]) * 0x1p-8; }
/* Gemma's norms go through 1 + weight, which rounds by half of 2^-23 (below 2). */
static double norms(const etk__origin_item *item, const float *values, int64_t index) {
  return (void)values, (void)index, strstr(item->name, "norm.weight") ? 0x1p-24 : 0;
}

static void same_models(const char *a, const char *b, bound *allowed) {
  etk_weights *x = NULL, *y = NULL;
  etk__origin *p = NULL, *q = NULL;
  works(etk_weights_open(e, &x, a));
  works(etk_weights_open(e, &y, b));
  works(etk__origin_new(e, &p, x));
  works(etk__origin_new(e, &q, y));
  assert_int_equal(etk__origin_count(p), etk__origin_count(q));
  for (size_t i = 0; i < etk__origin_count(p); i++) {
    const etk__origin_item *item = etk__origin_at(p, i), *other = etk__origin_find(q, item->name);
    if (!other || !etk_shape_equal(&item->shape, &other->shape)) fail_msg("%s: %s is missing or of another shape", b, item->name);
    float *was = values_of(x, p, item), *is = values_of(y, q, other);
    for (int64_t k = 0; k < etk_shape_elements(&item->shape); k++) {
      double most = allowed(item, was, k);
      if (most == 0 ? memcmp(&was[k], &is[k], sizeof *was) : !(fabs((double)was[k] - (double)is[k]) <= most))
        fail_msg("%s: value %lld of %s was %.9g and is %.9g; %g off is allowed", b, (long long)k, item->name, (double)was[k], (double)is[k], most);
    }
    etk_free(was), etk_free(is);
  }
  etk__origin_free(p), etk__origin_free(q);
  etk_weights_close(x), etk_weights_close(y);
}

static void config_of(etk_model_config *out, const char *folder) {
  char *text = NULL;
  size_t size = 0;
  works(etk_fs_read(e, &text, &size, path_of("%s/config.json", folder), 1 << 20));
  works(etk_model_config_parse(e, out, folder, text, size));
  etk_free(text);
}

/* ---- Hugging Face and GGUF ---- */
static void every_golden_model_comes_back_from_gguf_as_it_was(void **state) {
  shared_or_skip("goldens/models");
  for (int i = 0; i < MODELS; i++) {
    char *in = shared(path_of("goldens/models/%s", models[i])), *gguf = path_of("%s/%s.gguf", (char *)*state, models[i]),
        *back = path_of("%s/%s", (char *)*state, models[i]);
    convert(in, gguf, TO(.type = "f32"));
    convert(gguf, back, TO(0));
    same_models(in, back, strcmp(models[i], "gemma") ? exact : norms);
    etk_model_config was, is;
    config_of(&was, in);
    config_of(&is, back);
    assert_string_equal(was.architecture, is.architecture);
    assert_int_equal(was.vocab_size, is.vocab_size);
    assert_int_equal(was.num_key_value_heads, is.num_key_value_heads);
    assert_int_equal(was.num_experts_per_tok, is.num_experts_per_tok);
    assert_int_equal(was.tie_word_embeddings, is.tie_word_embeddings);
    assert_float_equal(was.rope_theta, is.rope_theta, 0);
    assert_float_equal(was.rope_factor, is.rope_factor, 0);
    assert_true(fabs(was.rms_norm_eps - is.rms_norm_eps) <= 1e-7 * was.rms_norm_eps); /* GGUF holds it as F32 */
    etk_model *model = NULL;
    works(etk_model_open(e, &model, back, NULL));
    etk_model_unref(model);
  }
}

static void sixteen_bits_lose_half_a_unit_in_the_last_place(void **state) {
  shared_or_skip("goldens/models");
  static const struct {
    const char *type;
    bound *allowed;
  } types[] = {{"f16", half}, {"bf16", brain}};
  for (int i = 1; i < MODELS; i += 3) /* not Gemma, whose norms round twice */
    for (int t = 0; t < 2; t++) {
      char *in = shared(path_of("goldens/models/%s", models[i])), *gguf = path_of("%s/half.gguf", (char *)*state), *back = path_of("%s/half", (char *)*state);
      convert(in, gguf, TO(.type = types[t].type));
      convert(gguf, back, TO(0));
      same_models(in, back, types[t].allowed);
    }
}

static void a_plan_says_what_will_be_written_and_the_error_is_measured(void **state) {
  char *in = shared_or_skip("models/stories260K/stories260K.bin"), *out = path_of("%s/planned.gguf", (char *)*state);
  etk_convert *plan = NULL;
  etk_convert_options o = {.type = "q8_0"};
  works(etk_convert_new(e, &plan, in, out, &o));
  assert_int_equal(etk_convert_target(plan), ETK_CONVERT_GGUF);
  assert_string_equal(etk_convert_type(plan), "q8_0");
  assert_false(etk_fs_exists(out));
  works(etk_convert_write(e, plan));
  etk_gguf *file = NULL;
  works(etk_gguf_open(e, &file, out));
  assert_int_equal(etk_gguf_count(file), etk_convert_count(plan));
  for (size_t i = 0; i < etk_gguf_count(file); i++) {
    const etk_convert_tensor *t = etk_convert_at(plan, i);
    const etk_gguf_entry *entry = etk_gguf_tensor_find(file, t->name);
    assert_non_null(entry);
    assert_string_equal(entry->type_name, t->to);
    assert_int_equal(entry->bytes, t->bytes_after);
    bool rounded = !strcmp(t->to, "Q8_0") || !strcmp(t->to, "F16");
    /* Q8_0: steps of 1/127 of a block's largest value, so at most 1/254 of it off, and on average much less than that of the root mean square. */
    assert_true(rounded ? t->error > 0 && t->error < 0.01 : t->error == 0);
    assert_true(t->fell_back == !strcmp(t->to, "F16")); /* rows of 172 */
  }
  int64_t file_type = 0;
  works(etk_gguf_get_int(e, &file_type, file, "general.file_type"));
  assert_int_equal(file_type, 7);
  etk_gguf_close(file);
  etk_convert_free(plan);
}

static void a_checkpoint_of_llama2c_keeps_its_words(void **state) {
  char *in = shared_or_skip("models/stories260K/stories260K.bin");
  const char *text = "Once upon a time, there was a little girl named Lily.";
  etk_tokenizer *tokenizer[3] = {NULL};
  etk_ids ids[3] = {ETK_IDS_INIT, ETK_IDS_INIT, ETK_IDS_INIT};
  char *gguf = path_of("%s/stories.gguf", (char *)*state), *folder = path_of("%s/stories", (char *)*state);
  convert(in, gguf, TO(0));
  convert(in, folder, TO(0));
  works(etk_tokenizer_open(e, &tokenizer[0], shared("models/stories260K/tok512.bin"), 512));
  works(etk_tokenizer_open(e, &tokenizer[1], folder, 512));
  etk_gguf *file = NULL;
  works(etk_gguf_open(e, &file, gguf));
  works(etk_tokenizer_open_gguf(e, &tokenizer[2], file, gguf));
  etk_gguf_close(file);
  for (int i = 0; i < 3; i++) {
    works(etk_tokenizer_encode(e, tokenizer[i], &ids[i], text, strlen(text), NULL));
    assert_int_equal(ids[i].count, ids[0].count);
    assert_memory_equal(ids[i].items, ids[0].items, ids[0].count * sizeof *ids[0].items);
  }
  assert_true(ids[0].count > 10);
  for (int i = 0; i < 3; i++) etk_ids_free(&ids[i]), etk_tokenizer_free(tokenizer[i]);
  same_models(in, gguf, exact);
  same_models(in, folder, exact);
}

/* ---- other containers ---- */
static void safetensors_npz_and_pytorch_keep_every_bit(void **state) {
  shared_or_skip("goldens/models");
  for (int i = 0; i < MODELS; i += 4) {
    char *in = shared(path_of("goldens/models/%s", models[i]));
    static const char *const steps[] = {"a.safetensors", "b.npz", "c.pth", "d.safetensors"};
    const char *from = in;
    for (size_t k = 0; k < sizeof steps / sizeof *steps; k++) {
      char *to = path_of("%s/%s", (char *)*state, steps[k]);
      convert(from, to, TO(.type = i % 3 == 1 ? "bf16" : i % 3 == 2 ? "f16" : NULL));
      from = to;
    }
    same_models(in, from, i % 3 == 1 ? brain : i % 3 == 2 ? half : exact);
    same_models(path_of("%s/a.safetensors", (char *)*state), from, exact);
  }
}

static void whole_numbers_and_odd_shapes_pass_through(void **state) {
  char *in = path_of("%s/odd.safetensors", (char *)*state), *npz = path_of("%s/odd.npz", (char *)*state), *out = path_of("%s/odd2.safetensors", (char *)*state);
  static const int64_t numbers[4] = {INT64_MIN, -1, 0, INT64_MAX};
  static const float values[6] = {1, 2, 3, 4, 5, -0.0f};
  const etk_safetensors_stream streams[] = {{"numbers", ETK_I64, etk_shape_of(2, 2, 2), numbers, NULL, NULL}, {"scalar", ETK_F32, {0, {0}}, values, NULL, NULL},
                                            {"empty", ETK_F32, etk_shape_of(2, 0, 3), NULL, NULL, NULL},
                                            {"cube", ETK_F32, etk_shape_of(3, 1, 2, 3), values, NULL, NULL}};
  works(etk_safetensors_write_streams(e, in, streams, 4, NULL, 0, NULL, NULL));
  convert(in, npz, TO(.type = "f16"));
  convert(npz, out, TO(0));
  etk_safetensors *file = NULL;
  works(etk_safetensors_open(e, &file, out));
  assert_int_equal(etk_safetensors_count(file), 4);
  assert_memory_equal(etk_safetensors_find(file, "numbers")->data, numbers, sizeof numbers);
  assert_int_equal(etk_safetensors_find(file, "cube")->dtype, ETK_F16);
  assert_int_equal(etk_safetensors_find(file, "scalar")->shape.rank, 0);
  assert_int_equal(etk_safetensors_find(file, "empty")->bytes, 0);
  etk_safetensors_close(file);
}

/* ---- MLX ---- */

/* The step between two codes is at most the group's span over the largest code and the group's largest magnitude over the codes there are (MLX moves the grid so that the
 * edge of larger magnitude is met): an error is at most one step. */
static int mlx_bits, mlx_group;
static double affine(const etk__origin_item *item, const float *values, int64_t index) {
  if (!strstr(item->name, "proj") && !strstr(item->name, "embed") && !strstr(item->name, "head") && !strstr(item->name, "wte") &&
      !strstr(item->name, "dense") &&
      !strstr(item->name, "query_key_value") && !strstr(item->name, "experts"))
    return 0;
  int64_t columns = item->shape.dims[item->shape.rank - 1];
  if (item->shape.rank != 2 || columns % mlx_group) return 0;
  const float *group = values + index / mlx_group * mlx_group;
  double low = (double)group[0], high = (double)group[0];
  for (int i = 0; i < mlx_group; i++) low = fmin(low, (double)group[i]), high = fmax(high, (double)group[i]);
  double codes = (1 << mlx_bits) - 1, step = fmax((high - low) / codes, 1e-7);
  /* Half a step from rounding, and what moving the grid may add at the other end: half a step in all codes. */
  return step + 1e-6;
}

static void an_mlx_folder_stays_within_a_step_of_its_codes(void **state) {
  shared_or_skip("goldens/models");
  static const struct {
    const char *model;
    int bits, group;
  } cases[] = {{"llama", 4, 32}, {"llama", 8, 64}, {"llama", 3, 32}, {"llama", 2, 64}};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    char *in = shared(path_of("goldens/models/%s", cases[i].model)), *mlx = path_of("%s/mlx", (char *)*state), *back = path_of("%s/mlx-back", (char *)*state);
    mlx_bits = cases[i].bits, mlx_group = cases[i].group;
    convert(in, mlx, TO(.to = ETK_CONVERT_MLX, .bits = mlx_bits, .group_size = mlx_group));
    same_models(in, mlx, affine);
    convert(mlx, back, TO(0));
    same_models(mlx, back, exact); /* F32 holds what the codes mean exactly */
    json_t *config = load_json(path_of("%s/config.json", mlx)), *was = load_json(path_of("%s/config.json", in));
    static const char *const keys[] = {"quantization", "quantization_config"};
    for (int k = 0; k < 2; k++) {
      json_t *q = json_object_get(config, keys[k]);
      assert_int_equal(json_integer_value(json_object_get(q, "bits")), mlx_bits);
      assert_int_equal(json_integer_value(json_object_get(q, "group_size")), mlx_group);
      assert_string_equal(json_string_value(json_object_get(q, "mode")), "affine");
      json_object_del(config, keys[k]);
    }
    assert_true(json_equal(config, was)); /* nothing else changed */
    json_decref(config);
    config = load_json(path_of("%s/config.json", back));
    assert_true(json_equal(config, was));
    json_decref(config), json_decref(was);
  }
}

static void an_mlx_folder_has_three_tensors_to_a_matrix(void **state) {
  char *in = shared_or_skip("goldens/models/llama"), *mlx = path_of("%s/three", (char *)*state);
  convert(in, mlx, TO(.to = ETK_CONVERT_MLX, .type = "f16"));
  etk_safetensors *file = NULL;
  works(etk_safetensors_open(e, &file, path_of("%s/model.safetensors", mlx)));
  static const struct {
    const char *name;
    etk_dtype dtype;
    int64_t rows, columns;
  } wanted[] = {{"model.embed_tokens.weight", ETK_U32, 384, 8}, {"model.embed_tokens.scales", ETK_F16, 384, 1}, {"model.embed_tokens.biases", ETK_F16, 384, 1},
                {"model.layers.1.self_attn.q_proj.weight", ETK_U32, 64, 8}, {"model.layers.1.self_attn.q_proj.scales", ETK_F16, 64, 1},
                {"model.layers.0.mlp.down_proj.weight", ETK_F16, 64, 120} /* 120 is no multiple of 64 */};
  for (size_t i = 0; i < sizeof wanted / sizeof *wanted; i++) {
    const etk_safetensors_entry *entry = etk_safetensors_find(file, wanted[i].name);
    if (!entry) fail_msg("%s is missing", wanted[i].name);
    assert_int_equal(entry->dtype, wanted[i].dtype);
    assert_int_equal(entry->shape.dims[0], wanted[i].rows);
    assert_int_equal(entry->shape.dims[1], wanted[i].columns);
  }
  assert_string_equal(etk_safetensors_metadata(file, "format"), "mlx");
  assert_null(etk_safetensors_find(file, "model.norm.scales"));
  etk_safetensors_close(file);
  char *gguf = path_of("%s/three.gguf", (char *)*state), *again = path_of("%s/again", (char *)*state);
  convert(mlx, gguf, TO(.type = "f32"));
  same_models(mlx, gguf, exact);
  refuses(ETK_E_INVALID, "is AFFINE already", mlx, gguf, .type = "q8_0", .replace = true);
  convert(mlx, again, TO(.to = ETK_CONVERT_MLX));
  same_models(mlx, again, exact); /* the same codes */
  refuses(ETK_E_INVALID, "loses twice", mlx, again, .to = ETK_CONVERT_MLX, .bits = 8, .replace = true);
}

/* MLX's first folders; by the folder or by the file, whose config.json says what the codes are. */
static void mlx_codes_in_an_npz_are_matrices_too(void **state) {
  char *in = shared_or_skip("goldens/models/llama"), *mlx = path_of("%s/codes", (char *)*state), *npz = fresh_folder(state, "codes-npz");
  convert(in, mlx, TO(.to = ETK_CONVERT_MLX));
  etk_safetensors *file = NULL;
  works(etk_safetensors_open(e, &file, path_of("%s/model.safetensors", mlx)));
  etk_npz_item items[128];
  size_t count = etk_safetensors_count(file);
  etk_tensor *tensors[128];
  assert_true(count < 128);
  for (size_t i = 0; i < count; i++) {
    const char *name = etk_safetensors_at(file, i)->name;
    works(etk_safetensors_tensor(e, &tensors[i], file, name));
    items[i] = (etk_npz_item){name, tensors[i]};
  }
  works(etk_npz_write(e, path_of("%s/weights.npz", npz), items, count, false));
  works(etk_fs_copy(e, path_of("%s/config.json", mlx), path_of("%s/config.json", npz), false));
  for (int by_file = 0; by_file < 2; by_file++) {
    char *from = path_of("%s%s", npz, by_file ? "/weights.npz" : ""), *out = path_of("%s/from-npz.safetensors", (char *)*state);
    same_models(mlx, from, exact);
    convert(from, out, TO(0));
    same_models(mlx, out, exact);
  }
  for (size_t i = 0; i < count; i++) etk_tensor_unref(tensors[i]);
  etk_safetensors_close(file);
}

static void an_mlx_folder_that_does_not_fit_together_is_one_clear_error(void **state) {
  char *in = shared_or_skip("goldens/models/llama"), *mlx = path_of("%s/unfit", (char *)*state), *out = path_of("%s/unfit-out", (char *)*state);
  convert(in, mlx, TO(.to = ETK_CONVERT_MLX));
  static const struct {
    const char *quantization, *words;
    etk_status status;
  } wrong[] = {{"{\"group_size\":64,\"bits\":8}", "that is not what 8 bits in groups of 64 make", ETK_E_FORMAT},
               {"{\"group_size\":32,\"bits\":4}", "that is not what 4 bits in groups of 32 make", ETK_E_FORMAT},
               {"{\"group_size\":64,\"bits\":7}", "bits is 7", ETK_E_UNSUPPORTED},
               {"{\"group_size\":64,\"bits\":4,\"mode\":\"mxfp4\"}", "mxfp4", ETK_E_UNSUPPORTED},
               {"{\"group_size\":64,\"bits\":4,\"lm_head\":false}", "lm_head.weight has scales, and config.json says that it is not quantized", ETK_E_FORMAT}};
  for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
    write_text(path_of("%s/config.json", mlx), path_of("{\"model_type\":\"llama\",\"quantization\":%s}", wrong[i].quantization));
    refuses(wrong[i].status, wrong[i].words, mlx, out, 0);
  }
  write_text(path_of("%s/config.json", mlx), "{\"model_type\":\"llama\",\"quantization\":{\"group_size\":64,\"bits\":4}}");
  static const uint32_t words[8];
  static const float values[2];
  etk_safetensors_stream streams[] = {{"a.weight", ETK_U32, etk_shape_of(2, 1, 8), words, NULL, NULL},
                                      {"a.scales", ETK_F32, etk_shape_of(2, 1, 1), values, NULL, NULL},
                                      {"a.biases", ETK_F16, etk_shape_of(2, 1, 1), values, NULL, NULL}};
  etk_safetensors_write_options replace = {.replace = true};
  works(etk_safetensors_write_streams(e, path_of("%s/model.safetensors", mlx), streams, 2, NULL, 0, &replace, NULL));
  refuses(ETK_E_FORMAT, "a.weight has scales but no biases", mlx, out, 0);
  works(etk_safetensors_write_streams(e, path_of("%s/model.safetensors", mlx), streams, 3, NULL, 0, &replace, NULL)); /* of different types */
  refuses(ETK_E_FORMAT, "tensor a.weight is (1, 8) with scales (1, 1)", mlx, out, 0);
}

/* As mlx-lm writes a mixture: the experts of a layer in one tensor. */
static void stacked_experts_of_mlx_are_taken_apart(void **state) {
  char *in = shared_or_skip("goldens/models/mixtral"), *folder = fresh_folder(state, "stacked");
  etk_safetensors *file = NULL;
  works(etk_safetensors_open(e, &file, path_of("%s/model.safetensors", in)));
  static const char *const parts[][2] = {{"w1", "gate_proj"}, {"w2", "down_proj"}, {"w3", "up_proj"}};
  etk_safetensors_stream streams[64];
  size_t count = 0;
  for (size_t i = 0; i < etk_safetensors_count(file); i++) {
    const etk_safetensors_entry *t = etk_safetensors_at(file, i);
    if (!strstr(t->name, ".experts.")) streams[count++] = (etk_safetensors_stream){t->name, (etk_dtype)t->dtype, t->shape, t->data, NULL, NULL};
  }
  for (int layer = 0; layer < 2; layer++)
    for (int p = 0; p < 3; p++) {
      const char *prefix = path_of("model.layers.%d.block_sparse_moe", layer);
      const etk_safetensors_entry *first = etk_safetensors_find(file, path_of("%s.experts.0.%s.weight", prefix, parts[p][0]));
      char *stack = etk_alloc(3 * first->bytes);
      for (int x = 0; x < 3; x++)
        memcpy(stack + (size_t)x * first->bytes, etk_safetensors_find(file, path_of("%s.experts.%d.%s.weight", prefix, x, parts[p][0]))->data, first->bytes);
      streams[count++] = (etk_safetensors_stream){path_of("%s.switch_mlp.%s.weight", prefix, parts[p][1]), ETK_F32,
                                                  etk_shape_of(3, 3, first->shape.dims[0], first->shape.dims[1]), stack, NULL, NULL};
    }
  works(etk_safetensors_write_streams(e, path_of("%s/model.safetensors", folder), streams, count, NULL, 0, NULL, NULL));
  for (size_t i = count - 6; i < count; i++) etk_free((void *)(uintptr_t)streams[i].data);
  etk_safetensors_close(file);
  copy_file(path_of("%s/config.json", in), path_of("%s/config.json", folder), 0);
  same_models(in, folder, exact);
  char *gguf = path_of("%s/stacked.gguf", (char *)*state);
  convert(folder, gguf, TO(0));
  same_models(in, gguf, exact);
}

/* ---- several files ---- */
static void shards_and_splits_open_again(void **state) {
  char *in = shared_or_skip("goldens/models/mixtral"), *folder = path_of("%s/shards", (char *)*state), *gguf = path_of("%s/split.gguf", (char *)*state);
  etk_convert *plan = NULL;
  etk_convert_options o = {.shard_bytes = 100000, .replace = true};
  works(etk_convert_new(e, &plan, in, folder, &o));
  works(etk_convert_write(e, plan));
  int files = etk_convert_files(plan);
  etk_convert_free(plan);
  assert_in_range(files, 8, 20);
  assert_true(etk_fs_exists(path_of("%s/model-00001-of-%05d.safetensors", folder, files)));
  assert_true(etk_fs_exists(path_of("%s/model-%05d-of-%05d.safetensors", folder, files, files)));
  assert_false(etk_fs_exists(path_of("%s/model.safetensors", folder)));
  same_models(in, folder, exact);
  json_t *index = load_json(path_of("%s/model.safetensors.index.json", folder));
  assert_int_equal(json_integer_value(json_object_get(json_object_get(index, "metadata"), "total_size")), 715680);
  assert_int_equal(json_object_size(json_object_get(index, "weight_map")), 35);
  json_decref(index);
  works(etk_convert_new(e, &plan, folder, gguf, &o));
  works(etk_convert_write(e, plan));
  files = etk_convert_files(plan);
  etk_convert_free(plan);
  assert_true(etk_fs_exists(path_of("%s/split-%05d-of-%05d.gguf", (char *)*state, files, files)));
  same_models(in, path_of("%s/split-00001-of-%05d.gguf", (char *)*state, files), exact);
  char *whole = path_of("%s/whole.gguf", (char *)*state);
  convert(path_of("%s/split-00001-of-%05d.gguf", (char *)*state, files), whole, TO(0));
  same_models(in, whole, exact);
}

/* ---- how it was made ---- */
static void what_is_written_says_how_it_was_made(void **state) {
  char *in = shared_or_skip("goldens/models/llama"), hex[65];
  works(etk_sha256_file(e, hex, NULL, path_of("%s/model.safetensors", in)));
  static const char *const outs[] = {"made.gguf", "made", "made.safetensors", "made.npz"};
  for (size_t i = 0; i < sizeof outs / sizeof *outs; i++) {
    char *out = path_of("%s/%s", (char *)*state, outs[i]);
    convert(in, out, TO(.command = "a test"));
    etk_weights *w = NULL;
    etk_text text = ETK_TEXT_INIT;
    works(etk_weights_open(e, &w, out));
    works(etk_convert_provenance(e, &text, w));
    json_error_t error;
    json_t *root = json_loads(text.data, 0, &error);
    if (!root) fail_msg("%s: %s", out, text.data);
    assert_string_equal(json_string_value(json_object_get(root, "efficientai.command")), "a test");
    assert_string_equal(json_string_value(json_object_get(root, "efficientai.version")), ETK_VERSION);
    assert_string_equal(json_string_value(json_object_get(root, "efficientai.source.0.path")), "llama/model.safetensors"); /* no folder above the model's */
    assert_string_equal(json_string_value(json_object_get(root, "efficientai.source.0.sha256")), hex);
    json_decref(root);
    etk_text_free(&text);
    etk_weights_close(w);
  }
  char *again = path_of("%s/again.safetensors", (char *)*state);
  convert(path_of("%s/made.gguf", (char *)*state), again, TO(.command = "another"));
  etk_safetensors *file = NULL;
  works(etk_safetensors_open(e, &file, again));
  assert_string_equal(etk_safetensors_metadata(file, "efficientai.source.0.command"), "a test");
  assert_string_equal(etk_safetensors_metadata(file, "efficientai.command"), "another");
  assert_string_equal(etk_safetensors_metadata(file, "format"), "pt");
  etk_safetensors_close(file);
}

static void keys_of_a_gguf_file_stay_when_its_types_change(void **state) {
  char *in = shared_or_skip("models/stories260K/stories260K.bin"), *a = path_of("%s/keys.gguf", (char *)*state),
      *b = path_of("%s/keys-q4.gguf", (char *)*state);
  convert(in, a, TO(0));
  convert(a, b, TO(.type = "q4_k_m"));
  etk_gguf *x = NULL, *y = NULL;
  works(etk_gguf_open(e, &x, a));
  works(etk_gguf_open(e, &y, b));
  const etk_gguf_value *value = NULL;
  int64_t type = 0;
  const char *label = NULL;
  for (size_t i = 0; i < etk_gguf_key_count(x); i++) {
    const char *key = etk_gguf_key_at(x, i, &value);
    const etk_gguf_value *other = etk_gguf_find(y, key);
    if (!other) fail_msg("%s is lost", key);
    if (!strncmp(key, "efficientai.", strlen("efficientai."))) continue; /* how it was made is its own */
    assert_int_equal(other->kind, value->kind);
    assert_int_equal(other->count, value->count);
  }
  works(etk_gguf_get_int(e, &type, y, "general.file_type"));
  assert_int_equal(type, 15);
  works(etk_gguf_get_int(e, &type, y, "general.quantization_version"));
  assert_int_equal(type, 2);
  works(etk_gguf_get_text(e, &label, y, "general.size_label"));
  assert_string_equal(label, "260K");
  etk_gguf_close(x), etk_gguf_close(y);
}

/* ---- importance ---- */
static void an_importance_matrix_changes_codes_and_q2_k_s_wants_one(void **state) {
  char *folder = fresh_folder(state, "wide"), *matrix = path_of("%s/matrix.dat", (char *)*state);
  etk_model_config config = {.architecture = "llama", .vocab_size = 64, .hidden_size = 256, .intermediate_size = 256, .num_hidden_layers = 1,
                             .num_attention_heads = 4, .num_key_value_heads = 4, .head_dim = 64, .max_position_embeddings = 64, .rms_norm_eps = 1e-5,
                             .rope_theta = 10000, .bos_token_id = -1};
  etk_model *model = NULL;
  works(etk_model_new(e, &model, &config, 7));
  works(etk_model_save(e, model, folder, ETK_F32, NULL, 0));
  etk_model_unref(model);
  static const char *const names[] = {"attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down"};
  etk_text bytes = ETK_TEXT_INIT;
  int32_t count = 7, calls = 2, columns = 256;
  etk_text_append(&bytes, (const char *)&count, 4);
  for (int i = 0; i < 7; i++) {
    char *name = path_of("blk.0.%s.weight", names[i]);
    int32_t size = (int32_t)strlen(name);
    etk_text_append(&bytes, (const char *)&size, 4);
    etk_text_append(&bytes, name, (size_t)size);
    etk_text_append(&bytes, (const char *)&calls, 4);
    etk_text_append(&bytes, (const char *)&columns, 4);
    for (int k = 0; k < 256; k++) {
      float value = k % 16 == 3 ? 1000 : 0.01f;
      etk_text_append(&bytes, (const char *)&value, 4);
    }
  }
  write_file(matrix, bytes.data, bytes.size);
  char *plain = path_of("%s/plain.gguf", (char *)*state), *aware = path_of("%s/aware.gguf", (char *)*state);
  convert(folder, plain, TO(.type = "q4_k_m"));
  convert(folder, aware, TO(.type = "q4_k_m", .importance = matrix));
  double error[2] = {0};
  etk_weights *w[3] = {NULL};
  const char *const paths[] = {plain, aware, folder};
  float *values[3];
  for (int i = 0; i < 3; i++) {
    works(etk_weights_open(e, &w[i], paths[i]));
    values[i] = etk_alloc(256 * 256 * sizeof(float));
    works(etk_weight_decode(e, values[i], etk_weights_find(w[i], "model.layers.0.mlp.up_proj.weight"), 0, 256 * 256));
  }
  for (int i = 0; i < 256 * 256; i++)
    for (int k = 0; k < 2; k++)
      if (i % 16 == 3) error[k] += pow((double)values[k][i] - (double)values[2][i], 2);
  assert_true(error[1] < 0.5 * error[0]); /* the columns that matter are nearer */
  for (int i = 0; i < 3; i++) etk_weights_close(w[i]), etk_free(values[i]);
  char *two = path_of("%s/two.gguf", (char *)*state);
  refuses(ETK_E_USAGE, "q2_k_s needs an importance matrix", folder, two, .type = "q2_k_s");
  convert(folder, two, TO(.type = "q2_k_s", .importance = matrix));

  static const struct {
    size_t size;
    const char *words;
  } cuts[] = {{3, "no importance matrix"}, {9, "no importance matrix"}, {150, "entry 0 at byte 4"}, {1200, "entry 1 at byte"}};
  for (size_t i = 0; i < sizeof cuts / sizeof *cuts; i++) {
    write_file(matrix, bytes.data, cuts[i].size);
    refuses(ETK_E_FORMAT, cuts[i].words, folder, two, .type = "q4_0", .importance = matrix, .replace = true);
  }
  float nan = NAN;
  memcpy(bytes.data + 4 + 4 + strlen("blk.0.attn_q.weight") + 8, &nan, 4);
  write_file(matrix, bytes.data, bytes.size);
  refuses(ETK_E_FORMAT, "value 0 of blk.0.attn_q.weight is", folder, two, .type = "q4_0", .importance = matrix, .replace = true);
  columns = 255;
  memcpy(bytes.data + 4 + 4 + strlen("blk.0.attn_q.weight") + 4, &columns, 4);
  write_file(matrix, bytes.data, 4 + 4 + strlen("blk.0.attn_q.weight") + 8 + 255 * 4);
  memcpy(bytes.data, &(int32_t){1}, 4);
  memcpy(bytes.data + 4 + 4 + strlen("blk.0.attn_q.weight") + 8, &(float){1}, 4);
  write_file(matrix, bytes.data, 4 + 4 + strlen("blk.0.attn_q.weight") + 8 + 255 * 4);
  refuses(ETK_E_INVALID, "blk.0.attn_q.weight has 255 values there; the model's has 256", folder, two, .type = "q4_0", .importance = matrix, .replace = true);
  etk_text_free(&bytes);
}

/* ---- refusals ---- */
static void what_cannot_be_done_is_one_clear_error_and_leaves_nothing(void **state) {
  char *in = shared_or_skip("goldens/models/llama"), *file = path_of("%s/model.safetensors", in), *dir = (char *)*state, *q8 = path_of("%s/q8.gguf", dir);
  refuses(ETK_E_USAGE, "type 'q4_k_m'; for hf", in, path_of("%s/no", dir), .type = "q4_k_m");
  refuses(ETK_E_USAGE, "type 'q4_9'; for GGUF", in, path_of("%s/no.gguf", dir), .type = "q4_9");
  refuses(ETK_E_USAGE, "a name that ends in .gguf", in, path_of("%s/no", dir), .to = ETK_CONVERT_GGUF);
  refuses(ETK_E_USAGE, "hf is a folder", in, path_of("%s/no.gguf", dir), .to = ETK_CONVERT_HF);
  refuses(ETK_E_USAGE, "bits: an option of the target mlx", in, path_of("%s/no", dir), .bits = 4);
  refuses(ETK_E_USAGE, "pure: an option of the target gguf", in, path_of("%s/no", dir), .pure = true);
  refuses(ETK_E_USAGE, "no type for the others", in, path_of("%s/no.gguf", dir), .pure = true);
  refuses(ETK_E_USAGE, "it cannot be split", in, path_of("%s/no.npz", dir), .shard_bytes = 100);
  refuses(ETK_E_USAGE, "7 bits", in, path_of("%s/no", dir), .to = ETK_CONVERT_MLX, .bits = 7);
  refuses(ETK_E_USAGE, "groups of 48", in, path_of("%s/no", dir), .to = ETK_CONVERT_MLX, .group_size = 48);
  refuses(ETK_E_USAGE, "the output's type is 'i32'", in, path_of("%s/no.gguf", dir), .type = "q8_0", .output_type = "i32");
  refuses(ETK_E_INVALID, "no matrix of", shared("goldens/models/llama-bias"), path_of("%s/no", dir), .to = ETK_CONVERT_MLX);
  refuses(ETK_E_NOT_FOUND, "nowhere", path_of("%s/nowhere", dir), path_of("%s/no.gguf", dir), 0);
  char *alone = path_of("%s/alone.safetensors", dir);
  copy_file(file, alone, 0);
  refuses(ETK_E_INVALID, "no config.json beside its weights", alone, path_of("%s/no.gguf", dir), 0);
  refuses(ETK_E_INVALID, "is one file of weights", alone, path_of("%s/no", dir), 0);
  convert(in, q8, TO(.type = "q8_0"));
  refuses(ETK_E_INVALID, "is Q8_0 already and would become Q4_0", q8, path_of("%s/no.gguf", dir), .type = "q4_0");
  refuses(ETK_E_EXISTS, "exists", in, q8, .type = "q8_0");
  convert(q8, path_of("%s/q4.gguf", dir), TO(.type = "q4_0", .requantize = true));
  char *strange = fresh_folder(state, "strange");
  copy_file(file, path_of("%s/model.safetensors", strange), 0);
  write_text(path_of("%s/config.json", strange), "{\"model_type\":\"llama\",\"quantization_config\":{\"quant_method\":\"gptq\",\"bits\":4}}");
  refuses(ETK_E_UNSUPPORTED, "gptq", strange, path_of("%s/no", dir), 0);
  assert_false(etk_fs_exists(path_of("%s/no", dir)));
  assert_false(etk_fs_exists(path_of("%s/no.gguf", dir)));
}

static void a_value_that_does_not_fit_stops_before_anything_is_seen(void **state) {
  char *in = path_of("%s/big.safetensors", (char *)*state), *out = path_of("%s/never.safetensors", (char *)*state);
  static const float values[4] = {1, -70000, 2, 65519};
  static const double doubles[2] = {1, 1e300};
  etk_safetensors_stream stream = {"big", ETK_F32, etk_shape_of(1, 4), values, NULL, NULL};
  works(etk_safetensors_write_streams(e, in, &stream, 1, NULL, 0, &(etk_safetensors_write_options){.replace = true}, NULL));
  etk_convert *plan = NULL;
  works(etk_convert_new(e, &plan, in, out, &(etk_convert_options){.type = "f16"}));
  fails_with(ETK_E_INVALID, "tensor big holds -70000, which F16 cannot hold; use bf16", etk_convert_write(e, plan));
  etk_convert_free(plan);
  stream = (etk_safetensors_stream){"wide", ETK_F64, etk_shape_of(1, 2), doubles, NULL, NULL};
  works(etk_safetensors_write_streams(e, in, &stream, 1, NULL, 0, &(etk_safetensors_write_options){.replace = true}, NULL));
  works(etk_convert_new(e, &plan, in, out, &(etk_convert_options){.type = "f32"}));
  fails_with(ETK_E_INVALID, "tensor wide: a value of F64, 1e+300, is infinite as F32", etk_convert_write(e, plan));
  etk_convert_free(plan);
  assert_false(etk_fs_exists(out));

  char *model = shared_or_skip("goldens/models/llama"), *broken = fresh_folder(state, "broken"), *gguf = path_of("%s/never.gguf", (char *)*state);
  copy_file(path_of("%s/config.json", model), path_of("%s/config.json", broken), 0);
  char *bytes = NULL;
  size_t size = 0;
  works(etk_fs_read(e, &bytes, &size, path_of("%s/model.safetensors", model), 1 << 24));
  uint64_t header;
  memcpy(&header, bytes, 8);
  memset(bytes + 8 + header, 0xff, 4); /* the first value of the first tensor, lm_head, is no number */
  write_file(path_of("%s/model.safetensors", broken), bytes, size);
  etk_free(bytes);
  works(etk_convert_new(e, &plan, broken, gguf, &(etk_convert_options){.type = "q8_0"}));
  fails_with(ETK_E_INVALID, "tensor output.weight", etk_convert_write(e, plan));
  etk_convert_free(plan);
  assert_false(etk_fs_exists(gguf));
}

static long disk_left;
static int full_disk(void *user, size_t size) {
  (void)user;
  disk_left -= (long)size;
  return disk_left < 0 ? ENOSPC : 0;
}
static size_t entries(const char *folder) {
  char **names;
  size_t count;
  works(etk_fs_list(e, &names, &count, folder));
  etk_fs_list_free(names, count);
  return count;
}

static void a_full_disk_leaves_what_was_there(void **state) {
  char *in = shared_or_skip("goldens/models/llama"), *dir = fresh_folder(state, "full"), before[65], after[65];
  static const struct {
    const char *name, *weights;
    etk_convert_format to;
  } outs[] = {{"a.gguf", "", ETK_CONVERT_GGUF}, {"b", "/model.safetensors", ETK_CONVERT_HF}, {"c.npz", "", ETK_CONVERT_NPZ},
              {"d.pth", "", ETK_CONVERT_PTH}, {"e", "/model.safetensors", ETK_CONVERT_MLX}};
  for (size_t i = 0; i < sizeof outs / sizeof *outs; i++) {
    char *out = path_of("%s/%s", dir, outs[i].name), *weights = path_of("%s%s", out, outs[i].weights);
    convert(in, out, TO(.to = outs[i].to));
    works(etk_sha256_file(e, before, NULL, weights));
    for (long room = 0; room < 90000; room += 17000) {
      etk_convert *plan = NULL;
      works(etk_convert_new(e, &plan, in, out, &(etk_convert_options){.to = outs[i].to, .replace = true}));
      disk_left = room;
      etk_fs_set_write_hook(full_disk, NULL);
      etk_error e = ETK_ERROR_INIT;
      etk_status status = etk_convert_write(&e, plan);
      etk_fs_set_write_hook(NULL, NULL);
      if (status != ETK_E_NO_SPACE) fail_msg("%s with room for %ld: %s", outs[i].name, room, e.message);
      etk_convert_free(plan);
    }
    works(etk_sha256_file(e, after, NULL, weights));
    assert_string_equal(before, after);
    assert_int_equal(entries(dir), i + 1);
  }
}

static bool stop(void *user, int64_t done, int64_t total, const char *tensor) {
  int *calls = user;
  assert_true(done >= 0 && done <= total && tensor);
  return ++*calls < 5;
}
static void it_stops_when_asked(void **state) {
  char *in = shared_or_skip("goldens/models/llama"), *dir = fresh_folder(state, "stopped");
  int calls = 0;
  etk_convert *plan = NULL;
  works(etk_convert_new(e, &plan, in, path_of("%s/a.gguf", dir), &(etk_convert_options){.progress = stop, .user = &calls}));
  fails_with(ETK_E_CANCELLED, "stopped", etk_convert_write(e, plan));
  etk_convert_free(plan);
  assert_int_equal(calls, 5);
  assert_int_equal(entries(dir), 0);
}

static void threads_change_no_bit(void **state) {
  char *in = shared_or_skip("models/stories260K/stories260K.bin"), hashes[2][65];
  double errors[2] = {0};
  for (int i = 0; i < 2; i++) {
    etk_parallel_set_threads(i ? 3 : 1);
    etk_convert *plan = NULL;
    char *out = path_of("%s/threads.gguf", (char *)*state);
    works(etk_convert_new(e, &plan, in, out, &(etk_convert_options){.type = "q4_k_m", .replace = true}));
    works(etk_convert_write(e, plan));
    for (size_t k = 0; k < etk_convert_count(plan); k++) errors[i] += etk_convert_at(plan, k)->error;
    etk_convert_free(plan);
    works(etk_sha256_file(e, hashes[i], NULL, out));
  }
  etk_parallel_set_threads(0);
  assert_string_equal(hashes[0], hashes[1]);
  assert_true(errors[0] == errors[1]);
}

static void every_failing_allocation_is_an_error_without_a_leak(void **state) {
  char *in = shared_or_skip("models/stories260K/stories260K.bin");
  static const struct {
    const char *name, *type;
    etk_convert_format to;
  } outs[] = {{"memory.gguf", "q4_k_m", ETK_CONVERT_GGUF}, {"memory", NULL, ETK_CONVERT_MLX}, {"memory.npz", "f16", ETK_CONVERT_NPZ}};
  for (size_t i = 0; i < sizeof outs / sizeof *outs; i++) {
    starvation s = {.dense = 40, .bears = true, .opens = true};
    while (starve(&s)) {
      etk_error e = ETK_ERROR_INIT;
      etk_convert *plan = NULL;
      etk_convert_options o = {.to = outs[i].to, .type = outs[i].type, .replace = true, .group_size = outs[i].to == ETK_CONVERT_MLX ? 32 : 0};
      etk_status status = etk_convert_new(&e, &plan, in, path_of("%s/%s", (char *)*state, outs[i].name), &o);
      if (!status) status = etk_convert_write(&e, plan);
      etk_convert_free(plan);
      starved(&s, status, &e);
    }
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(every_golden_model_comes_back_from_gguf_as_it_was),
      cmocka_unit_test(sixteen_bits_lose_half_a_unit_in_the_last_place),
      cmocka_unit_test(a_plan_says_what_will_be_written_and_the_error_is_measured),
      cmocka_unit_test(a_checkpoint_of_llama2c_keeps_its_words),
      cmocka_unit_test(safetensors_npz_and_pytorch_keep_every_bit),
      cmocka_unit_test(whole_numbers_and_odd_shapes_pass_through),
      cmocka_unit_test(an_mlx_folder_stays_within_a_step_of_its_codes),
      cmocka_unit_test(an_mlx_folder_has_three_tensors_to_a_matrix),
      cmocka_unit_test(mlx_codes_in_an_npz_are_matrices_too),
      cmocka_unit_test(an_mlx_folder_that_does_not_fit_together_is_one_clear_error),
      cmocka_unit_test(stacked_experts_of_mlx_are_taken_apart),
      cmocka_unit_test(shards_and_splits_open_again),
      cmocka_unit_test(what_is_written_says_how_it_was_made),
      cmocka_unit_test(keys_of_a_gguf_file_stay_when_its_types_change),
      cmocka_unit_test(an_importance_matrix_changes_codes_and_q2_k_s_wants_one),
      cmocka_unit_test(what_cannot_be_done_is_one_clear_error_and_leaves_nothing),
      cmocka_unit_test(a_value_that_does_not_fit_stops_before_anything_is_seen),
      cmocka_unit_test(a_full_disk_leaves_what_was_there),
      cmocka_unit_test(it_stops_when_asked),
      cmocka_unit_test(threads_change_no_bit),
      cmocka_unit_test(every_failing_allocation_is_an_error_without_a_leak),
  };
  return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
