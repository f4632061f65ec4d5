/* Models in MLX's quantized folders: config.json with "quantization", and for each quantized module a U32 weight with scales and biases beside it. */
#include "ml_packed.h"

#include <etk/numpy.h>
#include <etk/ops.h>
#include "ml/product/product.h"

/* ---- a folder ---- */

struct folder {
  char *path;
  etk_safetensors_item items[3 * PACKED_WEIGHTS];
  etk_tensor *tensors[3 * PACKED_WEIGHTS]; /* of our own */
  size_t count, owned, packed_bytes;
};

static etk_tensor *own(struct folder *f, etk_dtype dtype, int64_t rows, int64_t columns) {
  etk_tensor *t = NULL;
  works(etk_tensor_new(e, &t, dtype, etk_shape_of(2, rows, columns)));
  f->tensors[f->owned++] = t;
  return t;
}
static void add(struct folder *f, const char *name, const etk_tensor *t) { f->items[f->count++] = (etk_safetensors_item){name, t, etk_tensor_dtype(t)}; }

/* Packs a matrix, leaves the decoded values in the model, and adds the three tensors. */
static void quantize(struct folder *f, const char *name, etk_tensor *weight, const etk_affine *a) {
  int64_t rows = etk_tensor_dim(weight, 0), columns = etk_tensor_dim(weight, 1);
  etk_tensor *words = own(f, ETK_U32, rows, etk_affine_words(a, columns)), *scales = own(f, a->dtype, rows, columns / a->group),
      *biases = own(f, a->dtype, rows, columns / a->group);
  works(etk_affine_encode(e, etk_tensor_data(words), etk_tensor_data(scales), etk_tensor_data(biases), a, etk_tensor_data(weight), rows, columns));
  works(etk_affine_decode(e, etk_tensor_data(weight), a, etk_tensor_data(words), etk_tensor_data(scales), etk_tensor_data(biases), rows, columns));
  int stem = (int)(strlen(name) - strlen("weight"));
  add(f, name, words);
  add(f, path_of("%.*sscales", stem, name), scales);
  add(f, path_of("%.*sbiases", stem, name), biases);
  f->packed_bytes += etk_tensor_bytes(words) + etk_tensor_bytes(scales) + etk_tensor_bytes(biases);
}

/* Down projections in 8 bits by 32, the head as it is, the rest in 4 bits by 64. */
static const char quantization[] = "{\"group_size\": 64, \"bits\": 4, \"mode\": \"affine\", \"model.layers.0.mlp.down_proj\": {\"group_size\": 32, \"bits\": 8}, "
                                   "\"model.layers.1.mlp.down_proj\": {\"group_size\": 32, \"bits\": 8}, \"model.layers.0.self_attn.q_proj\": true, \"lm_head\": false}";

static void set_config(const char *folder, const char *key, const char *json) {
  char *path = path_of("%s/config.json", folder);
  json_t *root = load_json(path), *value = json ? json_loads(json, JSON_DECODE_ANY, NULL) : NULL;
  if (value) json_object_set_new(root, key, value);
  else json_object_del(root, key);
  assert_int_equal(json_dump_file(root, path, 0), 0);
  json_decref(root);
}

static void write_items(const struct folder *f) {
  works(etk_safetensors_write(e, path_of("%s/model.safetensors", f->path), f->items, f->count, NULL, 0, true));
}

static struct folder mlx_folder(void **state, etk_model *model) {
  struct folder f = {.path = fresh_folder(state, "mlx")};
  works(etk_model_save(e, model, f.path, ETK_F32, NULL, 0));
  for (size_t i = 0; i < etk_model_weight_count(model); i++) {
    const char *name = etk_model_weight_name(model, i);
    etk_tensor *weight = etk_model_weight_at(model, i);
    bool matrix = etk_tensor_shape(weight)->rank == 2 && strcmp(name, "lm_head.weight");
    if (!matrix) add(&f, name, weight);
    else quantize(&f, name, weight, strstr(name, "down_proj") ? &(etk_affine){8, 32, ETK_BF16} : &(etk_affine){4, 64, ETK_F16});
  }
  set_config(f.path, "quantization", quantization);
  set_config(f.path, "quantization_config", quantization); /* mlx-lm writes both */
  write_items(&f);
  return f;
}

static void free_folder(struct folder *f) {
  for (size_t i = 0; i < f->owned; i++) etk_tensor_unref(f->tensors[i]);
}

static etk_safetensors_item *item_of(struct folder *f, const char *name) {
  for (size_t i = 0; i < f->count; i++)
    if (!strcmp(f->items[i].name, name)) return &f->items[i];
  fail_msg("no item %s", name);
  return NULL;
}

/* ---- values ---- */

static void a_quantized_folder_gives_the_logits_of_its_decoded_values(void **state) {
  etk_model_config config = packed_config();
  for (int tied = 0; tied < 2; tied++) {
    config.tie_word_embeddings = tied;
    etk_model *model = strong_model(&config);
    struct folder f = mlx_folder(state, model);
    etk_model *packed = open_model(f.path);
    same_logits(model, packed, SAME_VALUES);
    assert_int_equal(etk_model_parameters(packed), etk_model_parameters(model));
    assert_int_equal(etk_tensor_dtype(etk_model_weight(packed, "model.layers.1.mlp.down_proj.weight")), ETK_AFFINE);
    size_t plain = (size_t)(5 * config.hidden_size) * sizeof(float) + (tied ? 0 : (size_t)(config.vocab_size * config.hidden_size) * sizeof(float));
    assert_int_equal(etk_model_bytes(packed), f.packed_bytes + plain);
    etk_model_unref(packed);
    free_folder(&f);
    etk_model_unref(model);
  }
}

static void it_opens_decoded_and_saves_as_plain_weights(void **state) {
  etk_model_config config = packed_config();
  etk_model *model = strong_model(&config), *opened = NULL;
  struct folder f = mlx_folder(state, model);
  works(etk_model_open(e, &opened, f.path, &(etk_model_options){.trainable = true}));
  same_logits(model, opened, 0);
  etk_model_unref(opened);
  opened = open_model(f.path);
  char *folder = fresh_folder(state, "plain");
  works(etk_model_save(e, opened, folder, ETK_F32, NULL, 0));
  etk_model_unref(opened);
  opened = open_model(folder);
  same_logits(model, opened, 0);
  etk_model_unref(opened);
  free_folder(&f);
  etk_model_unref(model);
}

/* Files promise no alignment: codes are read where they lie, plain values are copied. */
static void values_may_lie_askew(void **state) {
  static const etk_dtype types[] = {ETK_F32, ETK_F16, ETK_BF16};
  etk_model_config config = packed_config();
  etk_model *model = strong_model(&config), *straight, *askew;
  for (int i = 0; i < 4; i++) {
    char *folder = i < 3 ? fresh_folder(state, "askew") : NULL;
    struct folder f = {0};
    if (folder) works(etk_model_save(e, model, folder, types[i], NULL, 0));
    else folder = (f = mlx_folder(state, model)).path;
    straight = open_model(folder);
    set_askew(path_of("%s/model.safetensors", folder));
    askew = open_model(folder);
    same_logits(straight, askew, 0);
    etk_model_unref(straight);
    etk_model_unref(askew);
    free_folder(&f);
  }
  etk_model_unref(model);
}

/* MLX's first folders; by the folder or by the file, quantized or not. */
static void weights_in_an_npz_open_too(void **state) {
  etk_model_config config = packed_config();
  etk_model *model = strong_model(&config), *opened;
  struct folder f = mlx_folder(state, model);
  etk_npz_item items[3 * PACKED_WEIGHTS];
  size_t count = 0;
  for (size_t i = 0; i < f.count; i++) {
    if (strstr(f.items[i].name, "down_proj")) continue; /* NumPy has no BF16, which their scales are of */
    items[count++] = (etk_npz_item){f.items[i].name, f.items[i].tensor};
  }
  for (int layer = 0; layer < 2; layer++) {
    const char *name = path_of("model.layers.%d.mlp.down_proj.weight", layer);
    items[count++] = (etk_npz_item){name, etk_model_weight(model, name)};
  }
  works(etk_npz_write(e, path_of("%s/weights.npz", f.path), items, count, true));
  works(etk_fs_remove_tree(e, path_of("%s/model.safetensors", f.path)));
  for (int by_file = 0; by_file < 2; by_file++) {
    opened = open_model(path_of("%s%s", f.path, by_file ? "/weights.npz" : ""));
    assert_int_equal(etk_tensor_dtype(etk_model_weight(opened, "model.layers.1.mlp.up_proj.weight")), ETK_AFFINE);
    same_logits(model, opened, SAME_VALUES);
    etk_model_unref(opened);
  }
  free_folder(&f);
  etk_model_unref(model);
}

/* ---- what cannot be right ---- */

static void refuse(const struct folder *f, etk_status status, const char *part) {
  etk_model *model = NULL;
  fails_with(status, part, etk_model_open(e, &model, f->path, NULL));
  assert_null(model);
}

static void ways_of_quantizing_that_are_not_read_are_named(void **state) {
  static const struct {
    const char *key, *json, *part;
  } rows[] = {
      {"quantization", "{\"group_size\": 64, \"bits\": 7}", "\"quantization\": bits is 7"},
      {"quantization", "{\"group_size\": 48, \"bits\": 4}", "\"quantization\": group_size is 48"},
      {"quantization", "{\"group_size\": 32, \"bits\": 4, \"mode\": \"mxfp4\"}", "mode is \"mxfp4\""},
      {"quantization", "{\"group_size\": 64, \"bits\": 4, \"model.layers.0.mlp.up_proj\": {\"bits\": 1}}", "\"model.layers.0.mlp.up_proj\": bits is 1"},
      {"quantization", "{\"group_size\": 64, \"bits\": 4, \"model.layers.0.mlp.up_proj\": 4}", "\"model.layers.0.mlp.up_proj\" is 4"},
      {"quantization", "4", "\"quantization\" is 4"},
      {"quantization_config", "{\"quant_method\": \"gptq\", \"bits\": 4, \"group_size\": 128}", "\"quant_method\":\"gptq\""},
      {"quantization_config", "{\"group_size\": 64, \"bits\": 8}", "\"quantization_config\" is"},
  };
  etk_model_config config = packed_config();
  etk_model *model = strong_model(&config);
  struct folder f = mlx_folder(state, model);
  for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
    set_config(f.path, "quantization", quantization);
    set_config(f.path, "quantization_config", NULL);
    set_config(f.path, rows[i].key, rows[i].json);
    refuse(&f, ETK_E_UNSUPPORTED, rows[i].part);
  }
  free_folder(&f);
  etk_model_unref(model);
}

static void codes_without_their_scales_are_named(void **state) {
  static const char *const parts[] = {"scales", "biases"};
  etk_model_config config = packed_config();
  etk_model *model = strong_model(&config);
  for (int i = 0; i < 2; i++) {
    struct folder f = mlx_folder(state, model);
    *item_of(&f, path_of("model.layers.0.mlp.up_proj.%s", parts[i])) = f.items[f.count - 1];
    f.count--;
    write_items(&f);
    refuse(&f, ETK_E_FORMAT, path_of("model.layers.0.mlp.up_proj.weight needs model.layers.0.mlp.up_proj.%s, which is missing", parts[i]));
    free_folder(&f);
  }
  etk_model_unref(model);
}

static void codes_and_scales_of_other_shapes_are_named(void **state) {
  etk_model_config config = packed_config();
  etk_model *model = strong_model(&config);
  struct folder f = mlx_folder(state, model);
  etk_safetensors_item *scales = item_of(&f, "model.layers.0.mlp.up_proj.scales"), good = *scales;
  *scales = (etk_safetensors_item){good.name, own(&f, ETK_F16, 512, 3), ETK_F16};
  write_items(&f);
  refuse(&f, ETK_E_SHAPE, "model.layers.0.mlp.up_proj.weight");
  *scales = (etk_safetensors_item){good.name, own(&f, ETK_BF16, 512, 4), ETK_BF16};
  write_items(&f);
  refuse(&f, ETK_E_FORMAT, "scales of BF16 and biases of F16");
  *scales = (etk_safetensors_item){good.name, own(&f, ETK_I32, 512, 4), ETK_I32};
  write_items(&f);
  refuse(&f, ETK_E_FORMAT, "scales of I32");
  *scales = good;
  write_items(&f);
  set_config(f.path, "quantization", "{\"group_size\": 64, \"bits\": 8}"); /* other than what the files hold */
  set_config(f.path, "quantization_config", NULL);
  refuse(&f, ETK_E_SHAPE, "at 8 bits in groups of 64");
  set_config(f.path, "quantization", "{\"group_size\": 32, \"bits\": 8}"); /* half the width: the codes would fit, the model does not */
  refuse(&f, ETK_E_SHAPE, "model.embed_tokens.weight has shape (70, 128)");
  free_folder(&f);
  etk_model_unref(model);
}

static void config_and_files_must_agree_on_what_is_quantized(void **state) {
  etk_model_config config = packed_config();
  etk_model *model = strong_model(&config);
  struct folder f = mlx_folder(state, model);
  set_config(f.path, "quantization_config", NULL);
  set_config(f.path, "quantization", "{\"group_size\": 64, \"bits\": 4, \"model.embed_tokens\": false}");
  refuse(&f, ETK_E_FORMAT, "\"model.embed_tokens\": false");
  set_config(f.path, "quantization", NULL);
  refuse(&f, ETK_E_UNSUPPORTED, "model.embed_tokens.weight is of type U32, which are no weights of a model (MLX's codes need \"quantization\" in config.json)");
  set_config(f.path, "quantization", quantization);
  add(&f, "model.norm.scales", own(&f, ETK_F16, 1, 4));
  write_items(&f);
  refuse(&f, ETK_E_FORMAT, "holds the tensor model.norm.scales");
  free_folder(&f);
  etk_model_unref(model);
}

static void every_failing_allocation_is_survived(void **state) {
  etk_model_config config = packed_config();
  config.num_hidden_layers = 1;
  etk_model *model = strong_model(&config);
  struct folder f = mlx_folder(state, model);
  survives_opening(f.path);
  free_folder(&f);
  etk_model_unref(model);
}

int main(void) {
  etk__product_set_exact(true); /* results are held to what is stored; how far fast products are from it: ml_product.c */
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(a_quantized_folder_gives_the_logits_of_its_decoded_values),
      cmocka_unit_test(it_opens_decoded_and_saves_as_plain_weights),
      cmocka_unit_test(values_may_lie_askew),
      cmocka_unit_test(weights_in_an_npz_open_too),
      cmocka_unit_test(ways_of_quantizing_that_are_not_read_are_named),
      cmocka_unit_test(codes_without_their_scales_are_named),
      cmocka_unit_test(codes_and_scales_of_other_shapes_are_named),
      cmocka_unit_test(config_and_files_must_agree_on_what_is_quantized),
      cmocka_unit_test(every_failing_allocation_is_survived),
  };
  return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
