/* Opening, running, saving and refusing models. Reference values: shared/goldens (Hugging Face transformers 4.40, see make_goldens.py there),
 * tests/goldens/stories260k.json and rope.json (scripts beside them). */
#include "ml_golden.h"

#include "ml/model/internal.h"

#include <etk/gguf.h>

enum { MAX_IDS = 256, VOCAB = 384 };

static const char *const goldens[] = {"llama", "llama-gqa-tied", "llama-rope-linear", "llama-bias", "mistral", "qwen2", "gemma", "gpt2", "gpt-neox",
                                      "mixtral", "qwen2-moe"};
enum { GOLDENS = sizeof goldens / sizeof *goldens };
/* Log-probabilities of float32 models with logits below 10: rounding in sums of up to 120 terms and three layers stays near 1e-6; the reference itself
 * is float32. The issue asks for 1e-4. */
static const double LOGPROB_TOLERANCE = 1e-4;

static char *golden_folder(const char *name) { return path_of("%s/goldens/models/%s", shared("."), name); }

struct reference {
  json_t *root;
  int32_t ids[MAX_IDS], greedy[MAX_IDS];
  size_t count, greedy_count;
};
static struct reference load_reference(const char *folder) {
  struct reference r = {.root = load_json(path_of("%s/reference.json", folder))};
  r.count = json_ids(json_object_get(r.root, "ids"), r.ids, MAX_IDS);
  r.greedy_count = json_ids(json_object_get(r.root, "greedy"), r.greedy, MAX_IDS);
  assert_int_equal(r.count, 20);
  assert_in_range(r.greedy_count, 1, 12); /* gemma's ends at its end token, which is id 1 */
  return r;
}

/* The largest distance from the reference over all scored ids and over the whole vocabulary after the last. */
static double worst_logprob(const struct reference *r, const float *logits) {
  double worst = 0;
  for (size_t i = 0; i + 1 < r->count; i++)
    worst = fmax(worst, fabs(log_probability(logits + i * VOCAB, VOCAB, r->ids[i + 1]) - json_real_at(json_object_get(r->root, "logprobs"), i)));
  for (int32_t id = 0; id < VOCAB; id++)
    worst = fmax(worst, fabs(log_probability(logits + (r->count - 1) * VOCAB, VOCAB, id) -
                             json_real_at(json_object_get(r->root, "last_logprobs"), (size_t)id)));
  return worst;
}

static void log_probabilities_agree_with_transformers(void **state) {
  (void)state;
  shared_or_skip("goldens/models");
  for (int m = 0; m < GOLDENS; m++) {
    struct reference r = load_reference(golden_folder(goldens[m]));
    etk_model *model = open_model(golden_folder(goldens[m]));
    float *logits = etk_calloc(r.count * VOCAB, sizeof *logits);
    assert_non_null(logits);
    forward_plain(model, NULL, r.ids, r.count, logits);
    double worst = worst_logprob(&r, logits);
    print_message("%s: log-probabilities within %.2g of transformers\n", goldens[m], worst);
    if (!(worst <= LOGPROB_TOLERANCE)) fail_msg("%s: off by %g", goldens[m], worst);
    etk_free(logits);
    etk_model_unref(model);
    json_decref(r.root);
  }
}

static void the_cached_path_agrees_with_transformers_at_any_chunk(void **state) {
  (void)state;
  shared_or_skip("goldens/models");
  for (int m = 0; m < GOLDENS; m++) {
    struct reference r = load_reference(golden_folder(goldens[m]));
    etk_model *model = open_model(golden_folder(goldens[m]));
    float *logits = etk_calloc(r.count * VOCAB, sizeof *logits);
    assert_non_null(logits);
    const int64_t chunks[] = {1, 3, 16, 20, 64};
    for (size_t i = 0; i < sizeof chunks / sizeof *chunks; i++) {
      memset(logits, 0, r.count * VOCAB * sizeof *logits);
      forward_cached(model, NULL, r.ids, r.count, chunks[i], logits);
      double worst = worst_logprob(&r, logits);
      if (!(worst <= LOGPROB_TOLERANCE)) fail_msg("%s in chunks of %lld: off by %g", goldens[m], (long long)chunks[i], worst);
    }
    etk_free(logits);
    etk_model_unref(model);
    json_decref(r.root);
  }
}

static void greedy_generation_agrees_with_transformers(void **state) {
  (void)state;
  shared_or_skip("goldens/models");
  for (int m = 0; m < GOLDENS; m++) {
    struct reference r = load_reference(golden_folder(goldens[m]));
    etk_model *model = open_model(golden_folder(goldens[m]));
    etk_generator *generator = NULL;
    works(etk_generator_new(e, &generator, model, NULL, 0));
    etk_generate_options options = {.sampling = {.temperature = 0, .top_p = 1, .repetition_penalty = 1}, .max_tokens = (int64_t)r.greedy_count,
                                    .ignore_eos = true};
    etk_generation out;
    works(etk_generate(e, generator, r.ids, r.count, &options, &out));
    assert_int_equal(out.ids.count, r.greedy_count);
    assert_memory_equal(out.ids.items, r.greedy, r.greedy_count * sizeof *r.greedy);
    etk_ids_free(&out.ids);
    etk_generator_free(generator);
    etk_model_unref(model);
    json_decref(r.root);
  }
}

static void rows_of_a_batch_do_not_see_each_other(void **state) {
  (void)state;
  shared_or_skip("goldens/models");
  struct reference r = load_reference(golden_folder("llama-gqa-tied"));
  etk_model *model = open_model(golden_folder("llama-gqa-tied"));
  float *alone = etk_calloc(2 * r.count * VOCAB, sizeof *alone);
  assert_non_null(alone);
  int32_t reversed[MAX_IDS];
  for (size_t i = 0; i < r.count; i++) reversed[i] = r.ids[r.count - 1 - i];
  forward_plain(model, NULL, r.ids, r.count, alone);
  forward_plain(model, NULL, reversed, r.count, alone + r.count * VOCAB);
  etk_graph *g = etk_graph_new();
  etk_forward f = {.ids = etk_graph_input(g, ETK_I32, etk_shape_of(2, 2, (int64_t)r.count), "ids"),
                   .positions = etk_graph_input(g, ETK_I32, etk_shape_of(2, 2, (int64_t)r.count), "positions")};
  etk_tensor *logits = etk_model_forward(g, model, &f);
  etk_graph_keep(g, logits);
  works(etk_graph_plan(e, g, NULL));
  for (size_t i = 0; i < 2 * r.count; i++) {
    ((int32_t *)etk_tensor_data(f.ids))[i] = i < r.count ? r.ids[i] : reversed[i - r.count];
    ((int32_t *)etk_tensor_data(f.positions))[i] = (int32_t)(i % r.count);
  }
  works(etk_graph_eval(e, g));
  const float *both = etk_tensor_data(logits);
  double worst = 0;
  for (size_t i = 0; i < 2 * r.count * VOCAB; i++) worst = fmax(worst, fabs((double)both[i] - (double)alone[i]));
  /* The same sums in blocks of other sizes: rounding only. */
  if (!(worst < 1e-5)) fail_msg("a batch row differs from the row alone by %g", worst);
  etk_graph_free(g);
  etk_free(alone);
  etk_model_unref(model);
  json_decref(r.root);
}

static void rotary_frequencies_follow_the_published_formulas(void **state) {
  (void)state;
  json_t *cases = load_json("tests/goldens/rope.json");
  size_t index;
  json_t *item;
  json_array_foreach(cases, index, item) {
    char *text = json_dumps(item, JSON_REAL_PRECISION(17));
    assert_non_null(text);
    json_t *config = json_loads("{\"model_type\":\"llama\",\"vocab_size\":8,\"hidden_size\":8,\"intermediate_size\":8,\"num_hidden_layers\":1,\"num_attention_heads\":1}", 0, NULL);
    json_object_update(config, item);
    char *bytes = json_dumps(config, 0);
    etk_model_config parsed;
    works(etk_model_config_parse(e, &parsed, "rope.json", bytes, strlen(bytes)));
    const json_t *wanted = json_object_get(item, "frequencies");
    float seen[64];
    assert_true(json_array_size(wanted) <= 64 && (int64_t)json_array_size(wanted) == parsed.head_dim / 2);
    etk__rope_frequencies(seen, &parsed, FREQUENCIES_GLOBAL);
    for (size_t i = 0; i < json_array_size(wanted); i++) /* one rounding of the power and one of the result to float: 2^-23 relative, each */
      if (!(fabs(seen[i] / json_real_at(wanted, i) - 1) < 5e-7))
        fail_msg("case %zu, pair %zu: %.9g, wanted %.9g", index, i, (double)seen[i], json_real_at(wanted, i));
    if (json_object_get(item, "attention_factor"))
      assert_true(fabs(parsed.rope_attention_factor - json_number_value(json_object_get(item, "attention_factor"))) < 1e-12);
    free(bytes);
    free(text);
    json_decref(config);
  }
  assert_int_equal(index, 7);
  json_decref(cases);
}

/* ---- saving ---- */
static etk_model_config tiny_config(void) {
  return (etk_model_config){.architecture = "llama", .vocab_size = 40, .hidden_size = 16, .intermediate_size = 24, .num_hidden_layers = 2,
                            .num_attention_heads = 4, .num_key_value_heads = 2, .head_dim = 4, .max_position_embeddings = 64, .rms_norm_eps = 1e-5,
                            .rope_theta = 10000, .attention_bias = true, .mlp_bias = true, .bos_token_id = 1, .eos_token_ids = {2, 5},
                            .eos_count = 2};
}

static void same_weights(const etk_model *a, const etk_model *b) {
  assert_int_equal(etk_model_weight_count(a), etk_model_weight_count(b));
  for (size_t i = 0; i < etk_model_weight_count(a); i++) {
    const char *name = etk_model_weight_name(a, i);
    etk_tensor *x = etk_model_weight_at(a, i), *y = etk_model_weight(b, name);
    assert_non_null(y);
    assert_true(etk_shape_equal(etk_tensor_shape(x), etk_tensor_shape(y)));
    if (memcmp(etk_tensor_data(x), etk_tensor_data(y), etk_tensor_bytes(x))) fail_msg("%s differs", name);
  }
}

static void same_config(const etk_model_config *a, const etk_model_config *b) {
  assert_int_equal(a->vocab_size, b->vocab_size);
  assert_int_equal(a->hidden_size, b->hidden_size);
  assert_int_equal(a->intermediate_size, b->intermediate_size);
  assert_int_equal(a->num_hidden_layers, b->num_hidden_layers);
  assert_int_equal(a->num_attention_heads, b->num_attention_heads);
  assert_int_equal(a->num_key_value_heads, b->num_key_value_heads);
  assert_int_equal(a->head_dim, b->head_dim);
  assert_int_equal(a->max_position_embeddings, b->max_position_embeddings);
  assert_true(a->rms_norm_eps == b->rms_norm_eps && a->rope_theta == b->rope_theta && a->rope_factor == b->rope_factor);
  assert_true(a->rope_low_freq_factor == b->rope_low_freq_factor && a->rope_high_freq_factor == b->rope_high_freq_factor);
  assert_true(a->rope_original_positions == b->rope_original_positions);
  assert_int_equal(a->rope_scaling, b->rope_scaling);
  assert_true(a->rope_beta_fast == b->rope_beta_fast && a->rope_beta_slow == b->rope_beta_slow && a->rope_attention_factor == b->rope_attention_factor);
  assert_string_equal(a->architecture, b->architecture);
  assert_int_equal(a->sliding_window, b->sliding_window);
  assert_int_equal(a->activation, b->activation);
  assert_int_equal(a->rotary_dims, b->rotary_dims);
  assert_int_equal(a->sequential_residual, b->sequential_residual);
  assert_true(a->attention_bias == b->attention_bias && a->mlp_bias == b->mlp_bias && a->tie_word_embeddings == b->tie_word_embeddings);
  assert_int_equal(a->bos_token_id, b->bos_token_id);
  assert_int_equal(a->eos_count, b->eos_count);
  assert_memory_equal(a->eos_token_ids, b->eos_token_ids, (size_t)a->eos_count * sizeof *a->eos_token_ids);
}

static void the_defaults_of_each_family_are_those_of_transformers(void **state) {
  (void)state;
  const struct {
    const char *type, *more;
    int64_t head_dim, window;
    bool tied, bias;
    etk_activation activation;
  } rows[] = {{"llama", "", 4, 0, false, false, ETK_ACTIVATION_SILU},
              {"mistral", "", 4, 4096, false, false, ETK_ACTIVATION_SILU},
              {"mistral", ",\"sliding_window\":null", 4, 0, false, false, ETK_ACTIVATION_SILU},
              {"mistral", ",\"sliding_window\":7", 4, 7, false, false, ETK_ACTIVATION_SILU},
              {"qwen2", ",\"sliding_window\":4096", 4, 0, false, true, ETK_ACTIVATION_SILU},
              {"qwen2", ",\"sliding_window\":4096,\"use_sliding_window\":false", 4, 0, false, true, ETK_ACTIVATION_SILU},
              {"qwen3", ",\"sliding_window\":null", 128, 0, false, false, ETK_ACTIVATION_SILU},
              {"qwen3", ",\"head_dim\":6,\"layer_types\":[\"full_attention\"]", 6, 0, false, false, ETK_ACTIVATION_SILU},
              {"gemma", ",\"hidden_act\":\"gelu\"", 256, 0, true, false, ETK_ACTIVATION_GELU_TANH},
              {"gemma", ",\"hidden_activation\":\"gelu\",\"tie_word_embeddings\":false", 256, 0, false, false, ETK_ACTIVATION_GELU}};
  for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
    const char *text = path_of("{\"model_type\":\"%s\",\"vocab_size\":8,\"hidden_size\":8,\"intermediate_size\":8,\"num_hidden_layers\":1,\"num_attention_heads\":2%s}", rows[i].type, rows[i].more);
    etk_model_config c;
    works(etk_model_config_parse(e, &c, "config.json", text, strlen(text)));
    assert_string_equal(c.architecture, rows[i].type);
    assert_int_equal(c.head_dim, rows[i].head_dim);
    assert_int_equal(c.sliding_window, rows[i].window);
    assert_int_equal(c.tie_word_embeddings, rows[i].tied);
    assert_int_equal(c.attention_bias, rows[i].bias);
    assert_int_equal(c.activation, rows[i].activation);
  }
}

/* A token's logits depend on the last `window` positions of each layer: with one layer, on nothing older. Cached and whole paths agree. */
static void a_window_hides_what_is_older(void **state) {
  (void)state;
  etk_model_config config = tiny_config();
  snprintf(config.architecture, sizeof config.architecture, "mistral");
  config.attention_bias = config.mlp_bias = false;
  config.num_hidden_layers = 1;
  config.sliding_window = 3;
  etk_model *model = NULL;
  works(etk_model_new(e, &model, &config, 5));
  enum { N = 9, V = 40 };
  int32_t ids[N] = {4, 9, 1, 7, 30, 22, 5, 6, 39};
  float before[N * V], after[N * V], cached[N * V];
  forward_plain(model, NULL, ids, N, before);
  for (int64_t chunk = 1; chunk <= N; chunk += 4) {
    forward_cached(model, NULL, ids, N, chunk, cached);
    for (int i = 0; i < N * V; i++) assert_true(fabsf(before[i] - cached[i]) < 1e-6f);
  }
  ids[2] = 8;
  forward_plain(model, NULL, ids, N, after);
  for (int t = 0; t < N; t++) {
    bool changed = memcmp(before + t * V, after + t * V, V * sizeof *before) != 0;
    assert_int_equal(changed, t >= 2 && t < 5);
  }
  etk_model_unref(model);
}

static void a_saved_model_opens_with_the_same_bits(void **state) {
  shared_or_skip("goldens/models");
  for (int m = 0; m < GOLDENS; m++) {
    etk_model *model = open_model(golden_folder(goldens[m])), *again;
    char *folder = fresh_folder(state, "saved");
    works(etk_model_save(e, model, folder, ETK_F32, NULL, 0));
    again = open_model(folder);
    same_weights(model, again);
    same_config(etk_model_get_config(model), etk_model_get_config(again));
    assert_int_equal(etk_model_parameters(model), etk_model_parameters(again));
    etk_model_unref(again);
    etk_model_unref(model);
  }
}

static void ends_that_only_the_generation_config_names_are_ends(void **state) {
  etk_model_config config = tiny_config();
  etk_model *model = NULL, *again;
  works(etk_model_new(e, &model, &config, 7));
  char *folder = fresh_folder(state, "ends"), *path = path_of("%s/generation_config.json", folder);
  works(etk_model_save(e, model, folder, ETK_F32, NULL, 0));
  etk_model_unref(model);
  write_text(path, "{\"eos_token_id\":[5,7,40,-1],\"temperature\":0.6}"); /* 40 is no token of this vocabulary */
  again = open_model(folder);
  const etk_model_config *c = etk_model_get_config(again);
  assert_int_equal(c->eos_count, 3);
  assert_int_equal(c->eos_token_ids[2], 7);
  etk_model_unref(again);
  write_text(path, "{\"eos_token_id\":3}");
  again = open_model(folder);
  assert_int_equal(etk_model_get_config(again)->eos_token_ids[2], 3);
  etk_model_unref(again);
  static const char *const bad[] = {"{\"eos_token_id\":\"x\"}", "{\"eos_token_id\":[1.5]}", "[]", "{\"eos_token_id\":[10,11,12,13,14,15,16]}", "{"};
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
    write_text(path, bad[i]);
    fails_with(ETK_E_FORMAT, "generation_config.json", etk_model_open(e, &again, folder, NULL));
  }
}

static void every_scaling_and_flag_survives_saving(void **state) {
  for (int variant = 0; variant < 5; variant++) {
    etk_model_config config = tiny_config();
    if (variant == 1) config.rope_scaling = ETK_ROPE_LINEAR, config.rope_factor = 2.5, config.eos_count = 1;
    if (variant == 2)
      config.rope_scaling = ETK_ROPE_LLAMA3, config.rope_factor = 8, config.rope_low_freq_factor = 1, config.rope_high_freq_factor = 4,
          config.rope_original_positions = 32;
    if (variant == 3) config.tie_word_embeddings = true, config.bos_token_id = -1, config.eos_count = 0, config.attention_bias = false;
    if (variant == 4)
      config.rope_scaling = ETK_ROPE_YARN, config.rope_factor = 4, config.rope_beta_fast = 30, config.rope_beta_slow = 2,
          config.rope_attention_factor = 1.25, config.rope_original_positions = 16;
    etk_model *model = NULL, *again;
    works(etk_model_new(e, &model, &config, 7));
    char *folder = fresh_folder(state, "variant");
    const char *const metadata[] = {"made_by", "a test"};
    works(etk_model_save(e, model, folder, ETK_F32, metadata, 1));
    again = open_model(folder);
    same_config(&config, etk_model_get_config(again));
    same_weights(model, again);
    etk_safetensors *file = NULL;
    works(etk_safetensors_open(e, &file, path_of("%s/model.safetensors", folder)));
    assert_string_equal(etk_safetensors_metadata(file, "made_by"), "a test");
    assert_string_equal(etk_safetensors_metadata(file, "format"), "pt");
    etk_safetensors_close(file);
    etk_model_unref(again);
    etk_model_unref(model);
  }
}

static void half_precision_weights_are_within_half_an_ulp(void **state) {
  shared_or_skip("goldens/models");
  const struct {
    etk_dtype dtype;
    double relative, absolute; /* half a unit in the last place; below the normal range f16 has steps of 2^-24 */
    double logprob;
  } kinds[] = {{ETK_F16, 1.0 / 2048, 1.0 / (1 << 25), 0.02}, {ETK_BF16, 1.0 / 256, 0, 0.1}};
  for (size_t k = 0; k < 2; k++) {
    struct reference r = load_reference(golden_folder("llama-bias"));
    etk_model *model = open_model(golden_folder("llama-bias")), *again;
    char *folder = fresh_folder(state, "half");
    works(etk_model_save(e, model, folder, kinds[k].dtype, NULL, 0));
    works(etk_model_open(e, &again, folder, &(etk_model_options){.decoded = true}));
    bool changed = false;
    for (size_t i = 0; i < etk_model_weight_count(model); i++) {
      const float *x = etk_tensor_data(etk_model_weight_at(model, i)), *y = etk_tensor_data(etk_model_weight_at(again, i));
      for (int64_t j = 0; j < etk_tensor_elements(etk_model_weight_at(model, i)); j++) {
        changed |= x[j] != y[j];
        if (!(fabs((double)x[j] - (double)y[j]) <= fabs((double)x[j]) * kinds[k].relative + kinds[k].absolute))
          fail_msg("%s[%lld]: %g became %g", etk_model_weight_name(model, i), (long long)j, (double)x[j], (double)y[j]);
      }
    }
    assert_true(changed);
    /* The model still computes the same thing, as far as its weights' precision goes. */
    float *logits = etk_calloc(r.count * VOCAB, sizeof *logits);
    assert_non_null(logits);
    forward_plain(again, NULL, r.ids, r.count, logits);
    double worst = worst_logprob(&r, logits);
    if (!(worst > 0 && worst < kinds[k].logprob)) fail_msg("%s: off by %g", etk_dtype_name(kinds[k].dtype), worst);
    etk_free(logits);
    etk_model_unref(again);
    etk_model_unref(model);
    json_decref(r.root);
  }
}

static void fresh_weights_depend_on_the_seed_alone(void **state) {
  (void)state;
  etk_model_config config = tiny_config();
  config.hidden_size = 64, config.head_dim = 16, config.vocab_size = 500;
  etk_model *a = NULL, *b = NULL, *c = NULL;
  works(etk_model_new(e, &a, &config, 11));
  works(etk_model_new(e, &b, &config, 11));
  works(etk_model_new(e, &c, &config, 12));
  same_weights(a, b);
  const etk_tensor *embedding = etk_model_weight(a, "model.embed_tokens.weight");
  assert_memory_not_equal(etk_tensor_data(embedding), etk_tensor_data(etk_model_weight(c, "model.embed_tokens.weight")), etk_tensor_bytes(embedding));
  double sum = 0, squares = 0;
  const float *x = etk_tensor_data(embedding);
  int64_t n = etk_tensor_elements(embedding);
  for (int64_t i = 0; i < n; i++) sum += x[i], squares += (double)x[i] * x[i];
  /* N(0, 0.02) over 32,000 draws: the mean's deviation is 1.1e-4, the deviation's 0.4 %; six of each. */
  assert_true(fabs(sum / (double)n) < 6 * 1.12e-4);
  assert_true(fabs(sqrt(squares / (double)n) / 0.02 - 1) < 6 * 0.004);
  assert_true(*(float *)etk_tensor_data(etk_model_weight(a, "model.norm.weight")) == 1.0f);
  assert_true(*(float *)etk_tensor_data(etk_model_weight(a, "model.layers.1.mlp.up_proj.bias")) == 0.0f);
  etk_model_unref(a);
  etk_model_unref(b);
  etk_model_unref(c);
}

/* ---- shards ---- */
/* Writes the weights of `model` as shards that hold every other tensor; `skip_name` (or NULL) is left out of the files. */
static void write_shards(const etk_model *model, const char *folder, const char *skip_name) {
  works(etk_model_save(e, model, folder, ETK_F32, NULL, 0));
  works(etk_fs_remove_tree(e, path_of("%s/model.safetensors", folder)));
  json_t *map = json_object();
  size_t count = etk_model_weight_count(model);
  etk_safetensors_item *items = etk_calloc(count, sizeof *items);
  assert_non_null(items);
  for (size_t shard = 0; shard < 2; shard++) {
    size_t used = 0;
    const char *file = shard ? "model-00002-of-00002.safetensors" : "model-00001-of-00002.safetensors";
    for (size_t i = shard; i < count; i += 2) {
      const char *name = etk_model_weight_name(model, i);
      json_object_set_new(map, name, json_string(file));
      if (!skip_name || strcmp(name, skip_name)) items[used++] = (etk_safetensors_item){name, etk_model_weight_at(model, i), ETK_F32};
    }
    works(etk_safetensors_write(e, path_of("%s/%s", folder, file), items, used, NULL, 0, true));
  }
  etk_free(items);
  json_t *index = json_pack("{s:{s:i}, s:o}", "metadata", "total_size", 0, "weight_map", map);
  assert_int_equal(json_dump_file(index, path_of("%s/model.safetensors.index.json", folder), 0), 0);
  json_decref(index);
}

static void a_sharded_folder_is_the_same_model(void **state) {
  shared_or_skip("goldens/models");
  etk_model *model = open_model(golden_folder("llama-bias")), *again;
  char *folder = fresh_folder(state, "shards");
  write_shards(model, folder, NULL);
  again = open_model(folder);
  same_weights(model, again);
  etk_model_unref(again);
  etk_model_unref(model);
}

static void a_broken_shard_index_is_named(void **state) {
  etk_model_config config = tiny_config();
  etk_model *model = NULL, *again = NULL;
  works(etk_model_new(e, &model, &config, 1));
  char *folder = fresh_folder(state, "broken-shards");
  write_shards(model, folder, "model.norm.weight");
  fails_with(ETK_E_FORMAT, "places the tensor model.norm.weight in model-0000", etk_model_open(e, &again, folder, NULL));
  char *index = path_of("%s/model.safetensors.index.json", folder);
  write_text(index, "{\"weight_map\":{\"model.layers.0.mlp.down_proj.bias\":\"model-00001-of-00002.safetensors\"}}");
  fails_with(ETK_E_FORMAT, "names 1 tensors, its shards hold", etk_model_open(e, &again, folder, NULL));
  const char outside[] = "{\"weight_map\":{\"model.embed_tokens.weight\":\"../../etc/passwd\"}}";
  write_text(index, outside);
  fails_with(ETK_E_FORMAT, "wanted a plain file name", etk_model_open(e, &again, folder, NULL));
  const char missing[] = "{\"weight_map\":{\"model.embed_tokens.weight\":\"model-9.safetensors\"}}";
  write_text(index, missing);
  fails_with(ETK_E_NOT_FOUND, "model-9.safetensors", etk_model_open(e, &again, folder, NULL));
  write_text(index, "[]");
  fails_with(ETK_E_FORMAT, "index.json: wanted a JSON object", etk_model_open(e, &again, folder, NULL));
  write_text(index, "{\"weight_map\": 3");
  fails_with(ETK_E_FORMAT, "index.json:1", etk_model_open(e, &again, folder, NULL));
  assert_null(again);
  etk_model_unref(model);
}

/* ---- files that cannot be right ---- */
static void a_missing_model_is_named(void **state) {
  etk_model *model = NULL;
  fails_with(ETK_E_NOT_FOUND, "/nowhere/at-all", etk_model_open(e, &model, "/nowhere/at-all", NULL));
  char *folder = fresh_folder(state, "empty");
  fails_with(ETK_E_NOT_FOUND, "has no config.json", etk_model_open(e, &model, folder, NULL));
  const char config[] = "{\"model_type\":\"llama\",\"vocab_size\":8,\"hidden_size\":8,\"intermediate_size\":8,\"num_hidden_layers\":1,\"num_attention_heads\":1}";
  write_text(path_of("%s/config.json", folder), config);
  fails_with(ETK_E_NOT_FOUND, "has no model.safetensors", etk_model_open(e, &model, folder, NULL));
  assert_null(model);
}

static void an_adapter_in_a_models_place_is_told_apart(void **state) {
  etk_model *model = NULL;
  char *folder = fresh_folder(state, "adapter");
  write_text(path_of("%s/adapter_config.json", folder), "{}");
  fails_with(ETK_E_UNSUPPORTED, "is an adapter, which changes a model and is none itself", etk_model_open(e, &model, folder, NULL));
  etk_gguf_writer *w = etk_gguf_writer_new();
  etk_gguf_set_text(w, "general.architecture", "llama");
  etk_gguf_set_text(w, "general.type", "adapter");
  const char *file = path_of("%s/adapter.gguf", folder);
  works(etk_gguf_write(e, w, file, NULL));
  etk_gguf_writer_free(w);
  fails_with(ETK_E_UNSUPPORTED, "(--adapter-path)", etk_model_open(e, &model, file, NULL));
  assert_null(model);
}

/* A saved tiny model with one tensor replaced: NULL leaves it out; name not of the model: added. */
static void save_changed(const char *folder, const char *name, const etk_tensor *tensor) {
  etk_model_config config = tiny_config();
  etk_model *model = NULL;
  works(etk_model_new(e, &model, &config, 1));
  works(etk_model_save(e, model, folder, ETK_F32, NULL, 0));
  etk_safetensors_item items[64];
  size_t count = 0;
  bool found = false;
  for (size_t i = 0; i < etk_model_weight_count(model); i++) {
    const char *here = etk_model_weight_name(model, i);
    bool changed = !strcmp(here, name);
    found |= changed;
    if (!changed || tensor)
      items[count++] = (etk_safetensors_item){here, changed ? tensor : etk_model_weight_at(model, i), changed ? etk_tensor_dtype(tensor) : ETK_F32};
  }
  if (!found) items[count++] = (etk_safetensors_item){name, tensor, etk_tensor_dtype(tensor)};
  works(etk_safetensors_write(e, path_of("%s/model.safetensors", folder), items, count, NULL, 0, true));
  etk_model_unref(model);
}

static void a_tensor_of_the_wrong_shape_is_named_with_both_shapes(void **state) {
  char *folder = fresh_folder(state, "shape");
  etk_tensor *tensor = NULL;
  etk_model *model = NULL;
  works(etk_tensor_new(e, &tensor, ETK_F32, etk_shape_of(2, 16, 12)));
  save_changed(folder, "model.layers.1.self_attn.q_proj.weight", tensor);
  fails_with(ETK_E_SHAPE, "model.layers.1.self_attn.q_proj.weight has shape (16, 12), config.json wants (16, 16)", etk_model_open(e, &model, folder, NULL));
  etk_tensor_unref(tensor);
  works(etk_tensor_new(e, &tensor, ETK_F32, etk_shape_of(3, 1, 1, 16))); /* the right number of elements is not enough */
  save_changed(folder, "model.norm.weight", tensor);
  fails_with(ETK_E_SHAPE, "model.norm.weight has shape (1, 1, 16)", etk_model_open(e, &model, folder, NULL));
  etk_tensor_unref(tensor);
  assert_null(model);
}

static void a_missing_tensor_is_named(void **state) {
  char *folder = fresh_folder(state, "missing");
  etk_model *model = NULL;
  save_changed(folder, "model.layers.0.mlp.down_proj.bias", NULL);
  fails_with(ETK_E_FORMAT, "no tensor model.layers.0.mlp.down_proj.bias", etk_model_open(e, &model, folder, NULL));
  save_changed(folder, "lm_head.weight", NULL);
  fails_with(ETK_E_FORMAT, "no tensor lm_head.weight", etk_model_open(e, &model, folder, NULL));
}

static void a_left_over_tensor_is_named(void **state) {
  char *folder = fresh_folder(state, "extra");
  etk_tensor *tensor = NULL;
  etk_model *model = NULL;
  works(etk_tensor_new(e, &tensor, ETK_F32, etk_shape_of(1, 2)));
  save_changed(folder, "model.layers.2.input_layernorm.weight", tensor);
  fails_with(ETK_E_FORMAT, "holds the tensor model.layers.2.input_layernorm.weight", etk_model_open(e, &model, folder, NULL));
  save_changed(folder, "model.layers.0.self_attn.rotary_emb.inv_freq", tensor); /* old checkpoints carry it; it is derived */
  works(etk_model_open(e, &model, folder, NULL));
  etk_model_unref(model);
  etk_tensor_unref(tensor);
}

static void integer_weights_are_refused(void **state) {
  char *folder = fresh_folder(state, "integers");
  etk_tensor *tensor = NULL;
  etk_model *model = NULL;
  works(etk_tensor_new(e, &tensor, ETK_I8, etk_shape_of(1, 16)));
  save_changed(folder, "model.norm.weight", tensor);
  fails_with(ETK_E_UNSUPPORTED, "model.norm.weight is of type I8", etk_model_open(e, &model, folder, NULL));
  etk_tensor_unref(tensor);
}

static void double_weights_are_converted(void **state) {
  char *folder = fresh_folder(state, "doubles");
  etk_tensor *tensor = NULL;
  etk_model *model = NULL;
  works(etk_tensor_new(e, &tensor, ETK_F64, etk_shape_of(1, 16)));
  for (int i = 0; i < 16; i++) ((double *)etk_tensor_data(tensor))[i] = i + 0.1;
  save_changed(folder, "model.norm.weight", tensor);
  works(etk_model_open(e, &model, folder, NULL));
  assert_true(((float *)etk_tensor_data(etk_model_weight(model, "model.norm.weight")))[15] == 15.1f);
  etk_model_unref(model);
  etk_tensor_unref(tensor);
}

static void a_truncated_or_foreign_weight_file_is_named(void **state) {
  shared_or_skip("goldens/models");
  char *from = golden_folder("llama-bias"), *folder = fresh_folder(state, "cut");
  etk_model *model = NULL;
  copy_file(path_of("%s/config.json", from), path_of("%s/config.json", folder), 0);
  const long cuts[] = {-1, -100000, -390000};
  for (size_t i = 0; i < 3; i++) {
    copy_file(path_of("%s/model.safetensors", from), path_of("%s/model.safetensors", folder), cuts[i]);
    fails_with(ETK_E_FORMAT, "model.safetensors", etk_model_open(e, &model, folder, NULL));
  }
  write_text(path_of("%s/model.safetensors", folder), "");
  fails_with(ETK_E_FORMAT, "model.safetensors", etk_model_open(e, &model, folder, NULL));
  write_text(path_of("%s/model.safetensors", folder), "PK\003\004 a zip file, surely");
  fails_with(ETK_E_FORMAT, "model.safetensors", etk_model_open(e, &model, folder, NULL));
  copy_file(path_of("%s/model.safetensors", golden_folder("llama")), path_of("%s/model.safetensors", folder), 0); /* another model's weights */
  fails_with(ETK_E_SHAPE, "model.embed_tokens.weight", etk_model_open(e, &model, folder, NULL));
  write_text(path_of("%s/config.json", folder), "{\"model_type\":");
  fails_with(ETK_E_FORMAT, "config.json:1", etk_model_open(e, &model, folder, NULL));
  assert_null(model);
}

static void configuration_fields_that_would_change_the_result_are_refused(void **state) {
  (void)state;
  const struct {
    const char *set; /* an object that updates a good config */
    etk_status status;
    const char *part;
  } rows[] = {
      {"{\"sliding_window\": 128}", ETK_E_UNSUPPORTED, "sliding_window"},
      {"{\"model_type\": \"mistral\", \"sliding_window\": 0}", ETK_E_FORMAT, "sliding_window"},
      {"{\"model_type\": \"qwen3\", \"layer_types\": [\"sliding_attention\"]}", ETK_E_FORMAT, "1 of 1 layers slide, but there is no window"},
      {"{\"model_type\": \"gemma\", \"hidden_activation\": \"relu\"}", ETK_E_FORMAT, "hidden_activation"},
      {"{\"model_type\": \"mixtral\", \"num_local_experts\": 2}", ETK_E_FORMAT, "num_experts_per_tok"},
      {"{\"model_type\": \"mixtral\", \"num_local_experts\": 2, \"num_experts_per_tok\": 3}", ETK_E_FORMAT, "2 experts, 3 a token"},
      {"{\"model_type\": \"qwen2_moe\", \"num_experts\": 2, \"num_experts_per_tok\": 1, \"moe_intermediate_size\": 8, \"shared_expert_intermediate_size\": 8, "
       "\"decoder_sparse_step\": 2}", ETK_E_UNSUPPORTED, "decoder_sparse_step"},
      {"{\"model_type\": \"lama\"}", ETK_E_UNSUPPORTED, "\"lama\" is not supported by this version, which runs llama, mistral"},
      {"{\"model_type\": \"bert\"}", ETK_E_UNSUPPORTED, "it is an encoder, which gives vectors and no tokens: model:embed runs it"},
      {"{\"quantization_config\": {\"bits\": 4}}", ETK_E_UNSUPPORTED, "quantization_config"},
      {"{\"final_logit_softcapping\": 30.0}", ETK_E_UNSUPPORTED, "final_logit_softcapping"},
      {"{\"partial_rotary_factor\": 0.5}", ETK_E_UNSUPPORTED, "partial_rotary_factor"},
      {"{\"rope_parameters\": {\"rope_type\": \"default\", \"partial_rotary_factor\": 0.5}}", ETK_E_UNSUPPORTED, "partial_rotary_factor"},
      {"{\"model_type\": \"gpt_neox\", \"hidden_act\": \"gelu\", \"rotary_pct\": 0.25}", ETK_E_FORMAT, "rotary_pct"},
      {"{\"model_type\": \"gpt_neox\", \"hidden_act\": \"relu\"}", ETK_E_FORMAT, "hidden_act"},
      {"{\"model_type\": \"gpt2\"}", ETK_E_FORMAT, "n_embd"},
      {"{\"hidden_act\": \"gelu\"}", ETK_E_FORMAT, "\"hidden_act\" is \"gelu\", wanted \"silu\""},
      {"{\"rope_scaling\": {\"type\": \"dynamic\", \"factor\": 2.0}}", ETK_E_UNSUPPORTED, "dynamic"},
      {"{\"rope_scaling\": {\"type\": \"yarn\", \"factor\": 0.5}}", ETK_E_FORMAT, "factor"},
      {"{\"rope_scaling\": {\"type\": \"yarn\", \"factor\": 2.0, \"truncate\": false}}", ETK_E_UNSUPPORTED, "truncate"},
      {"{\"rope_scaling\": {\"type\": \"linear\"}}", ETK_E_FORMAT, "factor"},
      {"{\"rope_scaling\": {\"type\": \"linear\", \"factor\": -1}}", ETK_E_FORMAT, "factor"},
      {"{\"rope_scaling\": {\"rope_type\": \"llama3\", \"factor\": 8.0}}", ETK_E_FORMAT, "low_freq_factor"},
      {"{\"rope_scaling\": 4}", ETK_E_FORMAT, "rope_scaling"},
      {"{\"vocab_size\": 0}", ETK_E_FORMAT, "vocab_size"},
      {"{\"vocab_size\": 1e3}", ETK_E_FORMAT, "vocab_size"},
      {"{\"vocab_size\": null}", ETK_E_FORMAT, "vocab_size"},
      {"{\"hidden_size\": -8}", ETK_E_FORMAT, "hidden_size"},
      {"{\"hidden_size\": 9}", ETK_E_FORMAT, "hidden_size 9 is not a multiple"},
      {"{\"num_key_value_heads\": 3}", ETK_E_FORMAT, "num_key_value_heads 3"},
      {"{\"head_dim\": 3}", ETK_E_FORMAT, "odd"},
      {"{\"vocab_size\": 2147483647, \"hidden_size\": 2147483640}", ETK_E_FORMAT, "damaged"},
      {"{\"max_position_embeddings\": 2147483648}", ETK_E_FORMAT, "max_position_embeddings"},
      {"{\"rms_norm_eps\": \"small\"}", ETK_E_FORMAT, "rms_norm_eps"},
      {"{\"attention_bias\": 1}", ETK_E_FORMAT, "attention_bias"},
      {"{\"eos_token_id\": \"</s>\"}", ETK_E_FORMAT, "eos_token_id"},
      {"{\"eos_token_id\": [1,2,3,4,5,6,7,8,9]}", ETK_E_FORMAT, "eos_token_id"},
      {"{\"eos_token_id\": [2, 4294967297]}", ETK_E_FORMAT, "eos_token_id"},
      {"{\"eos_token_id\": 4294967297}", ETK_E_FORMAT, "eos_token_id"},
      {"{\"bos_token_id\": 4294967297}", ETK_E_FORMAT, "bos_token_id"},
      {"{\"model_type\": null}", ETK_E_FORMAT, "model_type"},
  };
  for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
    json_t *config = json_loads("{\"model_type\":\"llama\",\"vocab_size\":8,\"hidden_size\":8,\"intermediate_size\":8,\"num_hidden_layers\":1,\"num_attention_heads\":2}", 0, NULL);
    json_t *set = json_loads(rows[i].set, 0, NULL);
    assert_true(config && set);
    etk_model_config parsed;
    char *text = json_dumps(config, 0);
    works(etk_model_config_parse(e, &parsed, "config.json", text, strlen(text)));
    free(text);
    json_object_update(config, set);
    text = json_dumps(config, 0);
    fails_with(rows[i].status, rows[i].part, etk_model_config_parse(e, &parsed, "config.json", text, strlen(text)));
    free(text);
    json_decref(set);
    json_decref(config);
  }
}

/* ---- llama2.c ---- */
static void a_llama2c_file_opens_with_its_tokenizer(void **state) {
  (void)state;
  char *path = shared_or_skip("models/stories260K/stories260K.bin");
  etk_model *model = open_model(path);
  const etk_model_config *c = etk_model_get_config(model);
  assert_int_equal(c->num_hidden_layers, 5);
  assert_int_equal(c->hidden_size, 64);
  assert_int_equal(c->num_key_value_heads, 4);
  assert_true(c->tie_word_embeddings);
  /* vocabulary, and per layer two norms, q and o, k and v, three of the feed-forward; the last norm */
  assert_int_equal(etk_model_parameters(model), 512 * 64 + 5 * (2 * 64 + 2 * 64 * 64 + 2 * 32 * 64 + 3 * 172 * 64) + 64);
  etk_tokenizer *tokenizer = NULL;
  works(etk_model_tokenizer(e, &tokenizer, model));
  assert_int_equal(etk_tokenizer_size(tokenizer), 512);
  etk_tokenizer_free(tokenizer);
  etk_model_unref(model);
}

static void a_saved_llama2c_model_is_the_same_model_in_hugging_face_layout(void **state) {
  char *path = shared_or_skip("models/stories260K/stories260K.bin"), *folder = fresh_folder(state, "stories");
  etk_model *model = open_model(path), *again;
  works(etk_model_save(e, model, folder, ETK_F32, NULL, 0));
  again = open_model(folder);
  same_weights(model, again);
  same_config(etk_model_get_config(model), etk_model_get_config(again));
  etk_model_unref(again);
  etk_model_unref(model);
}

static void damaged_llama2c_files_are_named(void **state) {
  char *path = shared_or_skip("models/stories260K/stories260K.bin"), *folder = fresh_folder(state, "damaged");
  char *copy = path_of("%s/m.bin", folder);
  etk_model *model = NULL;
  copy_file(path, copy, -4);
  fails_with(ETK_E_FORMAT, "cut short", etk_model_open(e, &model, copy, NULL));
  copy_file(path, copy, 1);
  fails_with(ETK_E_FORMAT, "too long", etk_model_open(e, &model, copy, NULL));
  write_text(copy, "");
  fails_with(ETK_E_FORMAT, "too few", etk_model_open(e, &model, copy, NULL));
  write_text(copy, "\x01\x02\x03");
  fails_with(ETK_E_FORMAT, "3 bytes are too few", etk_model_open(e, &model, copy, NULL));
  write_text(copy, "hello");
  fails_with(ETK_E_FORMAT, "m.bin: a text, not a", etk_model_open(e, &model, copy, NULL));
  write_text(copy, "A text file that someone took for a model file.");
  fails_with(ETK_E_FORMAT, "llama2.c", etk_model_open(e, &model, copy, NULL));
  const int32_t headers[][7] = {
      {64, 172, 5, 8, 4, 512, 0},           {64, 172, 5, 7, 7, 512, 512},          {64, 172, 5, 8, 3, 512, 512},           {64, 172, 5, 64, 4, 512, 512},
      {-64, 172, 5, 8, 4, 512, 512},        {64, 172, 5, 8, 4, INT32_MIN, 512},    {16777216, 16777216, 16777216, 2, 1, 16777216, 16777216},
  };
  for (size_t i = 0; i < sizeof headers / sizeof *headers; i++) {
    write_file(copy, headers[i], sizeof headers[i]);
    fails_with(ETK_E_FORMAT, copy, etk_model_open(e, &model, copy, NULL));
  }
  assert_null(model);
  shared_or_skip("goldens/models");
  char *weights = path_of("%s/model.safetensors", golden_folder("llama")); /* config.json beside it tells what it is */
  works(etk_model_open(e, &model, weights, NULL));
  etk_model_unref(model);
  model = NULL;
  copy_file(weights, path_of("%s/model.safetensors", folder), 0);
  fails_with(ETK_E_NOT_FOUND, "has no config.json", etk_model_open(e, &model, path_of("%s/model.safetensors", folder), NULL));
}

/* ---- tokenizers ---- */
static void a_folder_without_tokenizer_opens_and_says_what_it_lacks(void **state) {
  (void)state;
  shared_or_skip("goldens/models");
  etk_model *model = open_model(golden_folder("llama"));
  etk_tokenizer *tokenizer = NULL;
  fails_with(ETK_E_NOT_FOUND, "tokenizer.json", etk_model_tokenizer(e, &tokenizer, model));
  assert_null(tokenizer);
  etk_model_unref(model);
}

static void a_tokenizer_whose_ids_do_not_fit_is_refused(void **state) {
  char *folder = fresh_folder(state, "tokenizer");
  etk_model_config config = tiny_config(); /* 40 ids */
  etk_model *model = NULL;
  works(etk_model_new(e, &model, &config, 1));
  works(etk_model_save(e, model, folder, ETK_F32, NULL, 0));
  etk_model_unref(model);
  const char json[] = "{\"version\":\"1.0\",\"added_tokens\":[],\"normalizer\":null,\"pre_tokenizer\":null,\"post_processor\":null,\"decoder\":null,"
                      "\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0,\"b\":1,\"ab\":40},\"merges\":[\"a b\"]}}";
  write_text(path_of("%s/tokenizer.json", folder), json);
  model = open_model(folder);
  etk_tokenizer *tokenizer = NULL;
  fails_with(ETK_E_INVALID, "40", etk_model_tokenizer(e, &tokenizer, model));
  assert_null(tokenizer);
  etk_model_unref(model);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(log_probabilities_agree_with_transformers),
      cmocka_unit_test(the_cached_path_agrees_with_transformers_at_any_chunk),
      cmocka_unit_test(greedy_generation_agrees_with_transformers),
      cmocka_unit_test(rows_of_a_batch_do_not_see_each_other),
      cmocka_unit_test(rotary_frequencies_follow_the_published_formulas),
      cmocka_unit_test(the_defaults_of_each_family_are_those_of_transformers),
      cmocka_unit_test(a_window_hides_what_is_older),
      cmocka_unit_test(a_saved_model_opens_with_the_same_bits),
      cmocka_unit_test(every_scaling_and_flag_survives_saving),
      cmocka_unit_test(ends_that_only_the_generation_config_names_are_ends),
      cmocka_unit_test(half_precision_weights_are_within_half_an_ulp),
      cmocka_unit_test(fresh_weights_depend_on_the_seed_alone),
      cmocka_unit_test(a_sharded_folder_is_the_same_model),
      cmocka_unit_test(a_broken_shard_index_is_named),
      cmocka_unit_test(a_missing_model_is_named),
      cmocka_unit_test(an_adapter_in_a_models_place_is_told_apart),
      cmocka_unit_test(a_tensor_of_the_wrong_shape_is_named_with_both_shapes),
      cmocka_unit_test(a_missing_tensor_is_named),
      cmocka_unit_test(a_left_over_tensor_is_named),
      cmocka_unit_test(integer_weights_are_refused),
      cmocka_unit_test(double_weights_are_converted),
      cmocka_unit_test(a_truncated_or_foreign_weight_file_is_named),
      cmocka_unit_test(configuration_fields_that_would_change_the_result_are_refused),
      cmocka_unit_test(a_llama2c_file_opens_with_its_tokenizer),
      cmocka_unit_test(a_saved_llama2c_model_is_the_same_model_in_hugging_face_layout),
      cmocka_unit_test(damaged_llama2c_files_are_named),
      cmocka_unit_test(a_folder_without_tokenizer_opens_and_says_what_it_lacks),
      cmocka_unit_test(a_tokenizer_whose_ids_do_not_fit_is_refused),
  };
  return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
