/* Encoders: embeddings of BERT and CLIP against references, padding, batches, hidden states, other poolings, training, LoRA. References: shared/goldens/encoders
 * (transformers 4.40), tests/goldens/models_ref (models_ref.py there: PyTorch from the papers), tests/goldens/encoder_states.json (script beside it). */
#include "ml_encoder.h"
#include "ml/product/product.h"

static json_t *states_of(const char *model) {
  json_t *root = load_json("tests/goldens/encoder_states.json"), *part = json_incref(json_object_get(root, model));
  json_decref(root);
  assert_non_null(part);
  return part;
}

/* ---- embeddings ---- */

static void bert_agrees_with_transformers(void **state) {
  (void)state;
  char *folder = shared_or_skip("goldens/encoders/bert");
  json_t *r = load_json(path_of("%s/reference.json", folder));
  etk_encoder *x = open_encoder(folder);
  assert_int_equal(etk_encoder_get_config(x)->pooling, ETK_POOLING_MEAN); /* a plain folder */
  assert_false(etk_encoder_get_config(x)->normalize);
  assert_int_equal(etk_encoder_dimension(x), 40);
  float *mean = embed_rows(x, json_object_get(r, "ids"), NULL, NULL);
  same_values("mean", json_object_get(r, "mean"), mean, 40, NEAR);
  etk_free(mean);
  etk_encoder_unref(x);
  json_decref(r);
}

static void sentence_transformers_folders_agree_with_pytorch(void **state) {
  (void)state;
  json_t *r = load_json(path_of("%s/reference.json", reference_folder("bert-mini"))), *pair = json_object_get(r, "pair"),
         *batch = json_object_get(r, "batch");
  etk_encoder *x = open_encoder(reference_folder("bert-mini"));
  assert_true(etk_encoder_get_config(x)->normalize);
  float *one = embed_rows(x, json_object_get(r, "ids"), NULL, NULL),
        *two = embed_rows(x, json_object_get(pair, "ids"), NULL, json_object_get(pair, "token_type_ids"));
  float *many = embed_rows(x, json_object_get(batch, "ids"), json_object_get(batch, "attention_mask"), NULL);
  same_values("embedding", json_object_get(r, "embedding"), one, 32, NEAR);
  same_values("embedding of a pair", json_object_get(pair, "embedding"), two, 32, NEAR);
  same_values("embeddings of a batch", json_object_get(batch, "embedding"), many, 64, NEAR);
  etk_free(one), etk_free(two), etk_free(many);
  etk_encoder_unref(x);
  json_decref(r);
}

static void pooling_of_the_first_token_is_read_from_the_folder(void **state) {
  char *folder = fresh_folder(state, "cls"), *from = reference_folder("bert-mini");
  json_t *r = load_json(path_of("%s/reference.json", from));
  works(etk_fs_make_dirs(e, path_of("%s/1_Pooling", folder)));
  write_config(from, folder, NULL, NULL);
  made_write(made_of(from), folder);
  write_text(path_of("%s/modules.json", folder),
             "[{\"idx\":0,\"name\":\"0\",\"path\":\"\",\"type\":\"sentence_transformers.models.Transformer\"},"
             "{\"idx\":1,\"name\":\"1\",\"path\":\"1_Pooling\",\"type\":\"sentence_transformers.models.Pooling\"}]");
  write_text(path_of("%s/1_Pooling/config.json", folder),
             "{\"word_embedding_dimension\":32,\"pooling_mode_cls_token\":true,\"pooling_mode_mean_tokens\":false}");
  write_text(path_of("%s/sentence_bert_config.json", folder), "{\"max_seq_length\":14,\"do_lower_case\":false}");
  etk_encoder *x = open_encoder(folder);
  assert_int_equal(etk_encoder_get_config(x)->max_tokens, 14); /* 16 positions, of which the folder allows 14 */
  float *cls = embed_rows(x, json_object_get(r, "ids"), NULL, NULL);
  same_values("cls", json_object_get(r, "cls"), cls, 32, NEAR);
  etk_free(cls);
  etk_encoder_unref(x);
  json_decref(r);
}

/* (2, 3, size, size) as make_goldens.py and models_ref.py make them: cosines of evenly spaced numbers. The spacing is float32 there: 6 / 6143 * i is off by up to
 * 2e-7, which is what the pixels may differ by. */
static float *test_pixels(const etk_encoder *x) {
  size_t side = (size_t)etk_encoder_get_config(x)->image_size, count = 2 * 3 * side * side;
  float *pixels = etk_calloc(count, sizeof *pixels);
  assert_non_null(pixels);
  for (size_t i = 0; i < count; i++) pixels[i] = (float)cos(-3 + 6.0 * (double)i / (double)(count - 1));
  return pixels;
}

static void clip_agrees(const char *folder) {
  json_t *r = load_json(path_of("%s/reference.json", folder)), *logits = json_object_get(r, "logits_per_image");
  etk_encoder *x = open_encoder(folder);
  size_t d = (size_t)etk_encoder_dimension(x);
  assert_int_equal(d, etk_encoder_image_dimension(x));
  float *text = embed_rows(x, json_object_get(r, "ids"), NULL, NULL), *pixels = test_pixels(x), image[64];
  assert_true(2 * d <= 64);
  works(etk_encoder_image(e, x, pixels, 2, image));
  same_values("text_embeds", json_object_get(r, "text_embeds"), text, 2 * d, NEAR);
  same_values("image_embeds", json_object_get(r, "image_embeds"), image, 2 * d, NEAR);
  double factor = exp((double)*(float *)etk_tensor_data(etk_encoder_logit_scale(x)));
  float products[4];
  for (size_t i = 0; i < 4; i++) {
    double sum = 0;
    for (size_t k = 0; k < d; k++) sum += (double)image[i / 2 * d + k] * (double)text[i % 2 * d + k];
    products[i] = (float)(factor * sum);
  }
  same_values("logits_per_image", logits, products, 4, NEAR * factor); /* products of embeddings, times exp(logit_scale), 14 */
  etk_free(text), etk_free(pixels);
  etk_encoder_unref(x);
  json_decref(r);
}
static void clip_agrees_with_transformers(void **state) {
  (void)state;
  clip_agrees(shared_or_skip("goldens/encoders/clip"));
}
static void clip_agrees_with_pytorch(void **state) {
  (void)state;
  clip_agrees(reference_folder("clip-mini"));
  clip_agrees(reference_folder("clip-legacy")); /* whose texts end at their highest id */
}

static void a_part_of_clip_opens_alone(void **state) {
  static const struct {
    const char *type, *key, *other, *projection;
  } parts[] = {{"clip_text_model", "text_config", "vision", "text_projection"}, {"clip_vision_model", "vision_config", "text", "visual_projection"}};
  char *from = reference_folder("clip-mini");
  json_t *r = load_json(path_of("%s/reference.json", from)), *config = load_json(path_of("%s/config.json", from));
  for (int p = 0; p < 4; p++) { /* with and without its projection */
    int i = p / 2;
    char *folder = fresh_folder(state, "part");
    struct made *m = made_of(from);
    made_drop(m, path_of("%s_model.", parts[i].other));
    made_drop(m, i ? "text_projection" : "visual_projection");
    made_drop(m, "logit_scale");
    if (p % 2) made_drop(m, parts[i].projection);
    made_write(m, folder);
    json_t *own = json_object_get(config, parts[i].key);
    assert_string_equal(json_string_value(json_object_get(own, "model_type")), parts[i].type);
    assert_int_equal(json_dump_file(own, path_of("%s/config.json", folder), 0), 0);
    etk_encoder *x = open_encoder(folder);
    assert_int_equal(etk_encoder_get_config(x)->projection_dim, p % 2 ? 0 : 12);
    float *text = i ? NULL : embed_rows(x, json_object_get(r, "ids"), NULL, NULL), *pixels = i ? test_pixels(x) : NULL, image[64];
    if (i) works(etk_encoder_image(e, x, pixels, 2, image));
    if (p % 2 == 0) same_values(parts[i].type, json_object_get(r, i ? "image_embeds" : "text_embeds"), i ? image : text, 24, NEAR);
    etk_free(text), etk_free(pixels);
    etk_encoder_unref(x);
  }
  json_decref(config);
  json_decref(r);
}

/* ---- hidden states ---- */

struct pass {
  etk_encoder *x;
  etk_graph *g;
  etk_encoder_inputs in;
};
static struct pass open_pass(const char *name, int64_t batch, int64_t tokens) {
  struct pass p = {.x = open_encoder(reference_folder(name)), .g = etk_graph_new()};
  assert_non_null(p.g);
  p.in = etk_encoder_inputs_new(p.g, p.x, batch, tokens);
  return p;
}
static void close_pass(struct pass *p) {
  etk_graph_free(p->g);
  etk_encoder_unref(p->x);
}
static void same_tensor(const char *what, const json_t *wanted, const etk_tensor *t, size_t count) {
  assert_non_null(t);
  assert_true((size_t)etk_tensor_elements(t) >= count);
  same_values(what, json_object_get(wanted, what), etk_tensor_data(t), count, NEAR);
}

static void bert_gives_hidden_states_and_what_its_pooler_says(void **state) {
  (void)state;
  json_t *r = load_json(path_of("%s/reference.json", reference_folder("bert-mini"))), *s = states_of("bert-mini");
  struct pass p = open_pass("bert-mini", 2, 16);
  etk_encoder_options options = {.early_layers = 1, .raw = true};
  etk_encoder_states states = etk_encoder_text_forward(p.g, p.x, &p.in, &options);
  etk_tensor *kept[] = {states.hidden, states.early, states.pooled, states.embedding};
  for (int i = 0; i < 4; i++) etk_graph_keep(p.g, kept[i]);
  int32_t ids[14];
  size_t length = json_ids(json_object_get(r, "ids"), ids, 14);
  works(etk_encoder_fill(e, p.x, &p.in, &(etk_encoder_batch){ids, NULL, &length, 1})); /* the second row is unused */
  works(etk_graph_eval(e, p.g));
  same_tensor("hidden", s, states.hidden, 14 * 32);
  same_tensor("early", s, states.early, 14 * 32);
  same_tensor("pooled", s, states.pooled, 32);
  same_values("mean", json_object_get(r, "mean"), etk_tensor_data(states.embedding), 32, NEAR);        /* raw: not of length 1 */
  for (int i = 0; i < 32; i++) assert_true(((float *)etk_tensor_data(states.embedding))[32 + i] == 0); /* an unused row */
  close_pass(&p);
  json_decref(s);
  json_decref(r);
}

static void clip_gives_the_states_that_diffusion_takes(void **state) {
  (void)state;
  json_t *r = load_json(path_of("%s/reference.json", reference_folder("clip-mini"))), *s = states_of("clip-mini");
  struct pass p = open_pass("clip-mini", 1, 8);
  etk_encoder_options options = {.early_layers = 1};
  etk_encoder_states text = etk_encoder_text_forward(p.g, p.x, &p.in, &options);
  etk_tensor *pixels = etk_graph_input(p.g, ETK_F32, etk_shape_of(4, 2, 3, 32, 32), "pixels");
  etk_encoder_states image = etk_encoder_image_forward(p.g, p.x, pixels, NULL);
  etk_tensor *kept[] = {text.hidden, text.early, text.early_normed, text.pooled, image.hidden, image.pooled};
  for (int i = 0; i < 6; i++) etk_graph_keep(p.g, kept[i]);
  int32_t ids[8];
  size_t length = json_ids(json_array_get(json_object_get(r, "ids"), 1), ids, 8);
  works(etk_encoder_fill(e, p.x, &p.in, &(etk_encoder_batch){ids, NULL, &length, 1}));
  float *values = test_pixels(p.x);
  memcpy(etk_tensor_data(pixels), values, etk_tensor_bytes(pixels));
  etk_free(values);
  works(etk_graph_eval(e, p.g));
  same_tensor("hidden", s, text.hidden, 8 * 24);
  same_tensor("early", s, text.early, 8 * 24);
  same_tensor("early_normed", s, text.early_normed, 8 * 24);
  same_tensor("pooled", s, text.pooled, 24);
  /* Before the final norm values reach 12, and the pixels differ by 2e-7 (test_pixels). */
  same_values("image_hidden", json_object_get(s, "image_hidden"), etk_tensor_data(image.hidden), 17 * 28, 5 * NEAR);
  same_tensor("image_pooled", s, image.pooled, 28);
  close_pass(&p);
  json_decref(s);
  json_decref(r);
}

/* bert-mini with other modules behind it; dense_type NULL: no dense layer. */
static char *with_modules(void **state, const char *pooling, const char *dense_type, bool normalize) {
  char *folder = fresh_folder(state, "modules"), *from = reference_folder("bert-mini");
  static const char module[] = "{\"idx\":0,\"name\":\"n\",\"path\":\"%s\",\"type\":\"sentence_transformers.models.%s\"}";
  works(etk_fs_make_dirs(e, path_of("%s/inner", folder)));
  works(etk_fs_make_dirs(e, path_of("%s/1_Pooling", folder)));
  works(etk_fs_make_dirs(e, path_of("%s/2_Dense", folder)));
  write_config(from, path_of("%s/inner", folder), NULL, NULL);
  made_write(made_of(from), path_of("%s/inner", folder));
  char *first = path_of(module, "inner", "Transformer"), *second = path_of(module, "1_Pooling", "Pooling"),
       *third = path_of(module, "2_Dense", "Dense");
  write_text(path_of("%s/modules.json", folder), path_of("[%s,%s%s%s%s]", first, second, dense_type ? "," : "", dense_type ? third : "",
                                                         normalize ? path_of(",%s", path_of(module, "3_Normalize", "Normalize")) : ""));
  write_text(path_of("%s/1_Pooling/config.json", folder), pooling);
  if (!dense_type) return folder;
  write_text(path_of("%s/2_Dense/config.json", folder),
             path_of("{\"in_features\":32,\"out_features\":6,\"bias\":true,\"activation_function\":\"%s\"}", dense_type));
  etk_tensor *weight = NULL, *bias = NULL;
  works(etk_tensor_new(e, &weight, ETK_F32, etk_shape_of(2, 6, 32)));
  works(etk_tensor_new(e, &bias, ETK_F32, etk_shape_of(1, 6)));
  for (int i = 0; i < 6 * 32; i++) ((float *)etk_tensor_data(weight))[i] = (float)(cos(3 * (i / 32) + i % 32) / 4);
  for (int i = 0; i < 6; i++) ((float *)etk_tensor_data(bias))[i] = (float)(sin(i) / 4);
  etk_safetensors_item items[] = {{"linear.weight", weight, ETK_F32}, {"linear.bias", bias, ETK_F32}};
  works(etk_safetensors_write(e, path_of("%s/2_Dense/model.safetensors", folder), items, 2, NULL, 0, true));
  etk_tensor_unref(weight);
  etk_tensor_unref(bias);
  return folder;
}

static void other_poolings_and_a_dense_layer_follow_modules_json(void **state) {
  static const char mean[] = "{\"pooling_mode\":\"mean\",\"embedding_dimension\":32}",
                    max[] = "{\"pooling_mode_max_tokens\":true,\"pooling_mode_mean_tokens\":false}";
  static const struct {
    const char *pooling, *dense, *wanted;
    bool normalize;
    size_t count;
  } cases[] = {{max, NULL, "max", false, 32},
               {mean, "torch.nn.modules.linear.Identity", "dense", false, 6},
               {mean, "torch.nn.modules.activation.Tanh", "dense_tanh_unit", true, 6}};
  json_t *r = load_json(path_of("%s/reference.json", reference_folder("bert-mini"))), *s = states_of("bert-mini");
  for (int i = 0; i < 3; i++) {
    etk_encoder *x = open_encoder(with_modules(state, cases[i].pooling, cases[i].dense, cases[i].normalize));
    assert_int_equal(etk_encoder_dimension(x), cases[i].count);
    float *seen = embed_rows(x, json_object_get(r, "ids"), NULL, NULL);
    same_values(cases[i].wanted, json_object_get(s, cases[i].wanted), seen, cases[i].count, NEAR);
    etk_free(seen);
    etk_encoder_unref(x);
  }
  json_decref(s);
  json_decref(r);
}

/* ---- the same network under other names ---- */

static void rename_layers(struct made *m) {
  static const char *const names[][2] = {{"encoder.layer.", "transformer.layer."},
                                         {"attention.self.query", "attention.q_lin"},
                                         {"attention.self.key", "attention.k_lin"},
                                         {"attention.self.value", "attention.v_lin"},
                                         {"attention.output.dense", "attention.out_lin"},
                                         {"attention.output.LayerNorm", "sa_layer_norm"},
                                         {"intermediate.dense", "ffn.lin1"},
                                         {"output.dense", "ffn.lin2"},
                                         {"output.LayerNorm", "output_layer_norm"}};
  for (size_t i = 0; i < sizeof names / sizeof *names; i++) made_rename(m, names[i][0], names[i][1]);
}

/* Adds the embedding of type 0 to every position, moved by `offset` rows. */
static void fold_types(struct made *m, int64_t offset) {
  size_t positions = made_find(m, "embeddings.position_embeddings.weight"), types = made_find(m, "embeddings.token_type_embeddings.weight");
  etk_tensor *from = NULL, *type = NULL, *to = NULL;
  works(etk_tensor_cast(e, &from, m->tensors[positions], ETK_F32));
  works(etk_tensor_cast(e, &type, m->tensors[types], ETK_F32));
  int64_t rows = etk_tensor_dim(from, 0), d = etk_tensor_dim(from, 1);
  works(etk_tensor_new(e, &to, ETK_F32, etk_shape_of(2, rows + offset, d)));
  for (int64_t i = 0; i < rows * d; i++)
    ((float *)etk_tensor_data(to))[offset * d + i] = ((float *)etk_tensor_data(from))[i] + ((float *)etk_tensor_data(type))[i % d];
  etk_tensor_unref(from);
  etk_tensor_unref(type);
  made_set(m, positions, to);
}

static void distilbert_is_bert_without_types(void **state) {
  char *folder = fresh_folder(state, "distil"), *from = reference_folder("bert-mini");
  json_t *r = load_json(path_of("%s/reference.json", from));
  struct made *m = made_of(from);
  fold_types(m, 0);
  made_drop(m, "token_type");
  made_drop(m, "pooler");
  rename_layers(m);
  made_write(m, folder);
  write_text(path_of("%s/config.json", folder),
             "{\"model_type\":\"distilbert\",\"vocab_size\":48,\"dim\":32,\"hidden_dim\":40,\"n_layers\":2,\"n_heads\":4,"
             "\"max_position_embeddings\":16,\"activation\":\"gelu\",\"sinusoidal_pos_embds\":false}");
  etk_encoder *x = open_encoder(folder);
  float *mean = embed_rows(x, json_object_get(r, "ids"), NULL, NULL);
  same_values("mean", json_object_get(r, "mean"), mean, 32, NEAR);
  etk_free(mean);
  etk_encoder_unref(x);
  json_decref(r);
}

static void roberta_counts_positions_from_behind_the_padding_token(void **state) {
  char *folder = fresh_folder(state, "roberta"), *from = reference_folder("bert-mini");
  json_t *r = load_json(path_of("%s/reference.json", from)), *batch = json_object_get(r, "batch");
  struct made *m = made_of(from);
  fold_types(m, 3); /* rows 0 to 2, of the padding token 2 and below, are zeros */
  made_drop(m, "token_type");
  made_drop(m, "pooler");
  for (size_t i = 0; i < m->count; i++) m->items[i].name = path_of("roberta.%s", m->items[i].name);
  made_rename(m, "LayerNorm.weight", "LayerNorm.gamma"); /* as old checkpoints spell it */
  etk_tensor *types = NULL, *head = NULL;
  works(etk_tensor_new(e, &types, ETK_F32, etk_shape_of(2, 1, 32)));
  works(etk_tensor_new(e, &head, ETK_F32, etk_shape_of(1, 48)));
  m->items[m->count] = (etk_safetensors_item){"roberta.embeddings.token_type_embeddings.weight", types, ETK_F32};
  m->tensors[m->count++] = types;
  m->items[m->count] = (etk_safetensors_item){"lm_head.bias", head, ETK_F32}; /* a head beside the encoder is left alone */
  m->tensors[m->count++] = head;
  made_write(m, folder);
  write_text(path_of("%s/config.json", folder),
             "{\"model_type\":\"roberta\",\"vocab_size\":48,\"hidden_size\":32,\"intermediate_size\":40,\"num_hidden_layers\":2,"
             "\"num_attention_heads\":4,\"max_position_embeddings\":19,\"type_vocab_size\":1,\"pad_token_id\":2,\"hidden_act\":\"gelu\"}");
  etk_encoder *x = open_encoder(folder);
  assert_int_equal(etk_encoder_get_config(x)->max_tokens, 16);
  assert_string_equal(etk_encoder_weight_name(x, 0), "embeddings.word_embeddings.weight");
  float *mean = embed_rows(x, json_object_get(batch, "ids"), json_object_get(batch, "attention_mask"), NULL);
  same_values("mean", json_object_get(batch, "mean"), mean, 64, NEAR);
  etk_free(mean);
  /* transformers' create_position_ids_from_input_ids: padding tokens inside a text stay at their own position and are not counted */
  static const int32_t ids[] = {5, 2, 7, 2, 9}, places[] = {3, 2, 4, 2, 5};
  const size_t length = 5;
  etk_graph *g = etk_graph_new();
  etk_encoder_inputs in = etk_encoder_inputs_new(g, x, 1, 5);
  works(etk_encoder_fill(e, x, &in, &(etk_encoder_batch){ids, NULL, &length, 1}));
  assert_memory_equal(etk_tensor_data(in.positions), places, sizeof places);
  etk_graph_free(g);
  etk_encoder_unref(x);
  json_decref(r);
}

/* ---- text ---- */

static void texts_that_are_cut_keep_the_tokens_behind_them(void **state) {
  static const char vocabulary[] = "[PAD]\n[UNK]\n[CLS]\n[SEP]\na\nb\nc\n",
                    config[] = "{\"tokenizer_class\":\"BertTokenizer\",\"do_lower_case\":true}";
  static const int32_t whole[] = {2, 4, 5, 6, 3}, cut[] = {2, 4, 5, 6, 4, 5, 6, 3};
  static const char text[] = "a B c a b c a b c a";
  char *folder = fresh_folder(state, "tokens"), *from = reference_folder("bert-mini");
  works(etk_fs_make_dirs(e, path_of("%s/1_Pooling", folder)));
  write_config(from, folder, NULL, NULL);
  made_write(made_of(from), folder);
  const char *const files[] = {"modules.json", "1_Pooling/config.json"};
  for (int i = 0; i < 2; i++) copy_file(path_of("%s/%s", from, files[i]), path_of("%s/%s", folder, files[i]), 0);
  write_text(path_of("%s/vocab.txt", folder), vocabulary);
  write_text(path_of("%s/tokenizer_config.json", folder), config);
  write_text(path_of("%s/sentence_bert_config.json", folder), "{\"max_seq_length\":8,\"do_lower_case\":true}");
  etk_encoder *x = open_encoder(folder);
  etk_tokenizer *tokenizer = NULL;
  etk_ids ids = ETK_IDS_INIT;
  works(etk_encoder_tokenizer(e, &tokenizer, x));
  works(etk_encoder_tokenize(e, x, tokenizer, &ids, text, 5, false));
  assert_int_equal(ids.count, 5);
  assert_memory_equal(ids.items, whole, sizeof whole);
  fails_with(ETK_E_INVALID, "a text of 12 tokens is longer than the 8 that", etk_encoder_tokenize(e, x, tokenizer, &ids, text, strlen(text), false));
  ids.count = 5;
  works(etk_encoder_tokenize(e, x, tokenizer, &ids, text, strlen(text), true)); /* appended */
  assert_int_equal(ids.count, 5 + 8);
  assert_memory_equal(ids.items + 5, cut, sizeof cut);
  etk_ids_free(&ids);
  etk_tokenizer_free(tokenizer);
  etk_encoder_unref(x);
}

static void a_gguf_file_is_the_same_model(void **state) {
  static const char text[] = "w29 w8 w18 w15 w32 w24 w7 w20 w46 w28 w9 w21";
  char *folder = fresh_folder(state, "for-gguf"), *from = reference_folder("bert-mini"), *path = path_of("%s/model.gguf", folder);
  json_t *r = load_json(path_of("%s/reference.json", from));
  copy_file(path_of("%s/model.safetensors", from), path_of("%s/model.safetensors", folder), 0);
  char words[512] = "";
  for (int i = 0; i < 48; i++) { /* by which the text has the reference's ids */
    static const struct {
      int id;
      const char *word;
    } special[] = {{0, "[PAD]"}, {1, "[CLS]"}, {2, "[UNK]"}, {33, "[SEP]"}};
    const char *word = path_of("w%d", i);
    for (int k = 0; k < 4; k++)
      if (special[k].id == i) word = special[k].word;
    strncat(strncat(words, word, 8), "\n", 2);
  }
  write_text(path_of("%s/vocab.txt", folder), words);
  write_text(path_of("%s/tokenizer_config.json", folder), "{\"tokenizer_class\":\"BertTokenizer\",\"do_lower_case\":true}");
  for (int k = 0; k < 2; k++) {
    struct gguf_made g = GGUF_MADE;
    g.pooling = k ? 2 : 1;
    write_gguf(folder, path, &g, true);
    etk_encoder *x = open_encoder(path);
    etk_tokenizer *tokenizer = NULL;
    etk_ids ids = ETK_IDS_INIT;
    float out[32];
    works(etk_encoder_tokenizer(e, &tokenizer, x));
    works(etk_encoder_tokenize(e, x, tokenizer, &ids, text, strlen(text), false));
    assert_int_equal(ids.count, 14);
    for (size_t i = 0; i < 14; i++) assert_int_equal(ids.items[i], json_integer_value(json_array_get(json_object_get(r, "ids"), i)));
    works(etk_encoder_text(e, x, &(etk_encoder_batch){ids.items, NULL, &ids.count, 1}, out));
    same_values(k ? "cls" : "mean", json_object_get(r, k ? "cls" : "mean"), out, 32,
                NEAR); /* F16 holds these bfloat16 values exactly, but for tiny ones */
    etk_ids_free(&ids);
    etk_tokenizer_free(tokenizer);
    etk_encoder_unref(x);
  }
  json_decref(r);
}

/* ---- batches ---- */

enum { TEXTS = 5 };
static void a_batch_of_different_lengths_equals_each_text_alone(void **state) {
  (void)state;
  static const char *const models[] = {"bert-mini", "clip-mini"};
  static const size_t lengths[TEXTS] = {3, 16, 1, 9, 12};
  int32_t ids[41];
  for (int i = 0; i < 41; i++) ids[i] = (i * 17 + 5) % 47;
  for (int k = 0; k < 2; k++) {
    size_t at = 0, d;
    etk_encoder *x = open_encoder(reference_folder(models[k]));
    if (k)
      for (size_t i = 0; i < TEXTS; i++) ids[(at += lengths[i]) - 1] = 60; /* clip-mini's end token */
    float together[TEXTS * 32], alone[32];
    d = (size_t)etk_encoder_dimension(x);
    works(etk_encoder_text(e, x, &(etk_encoder_batch){ids, NULL, lengths, TEXTS}, together));
    at = 0;
    for (size_t i = 0; i < TEXTS; i++) {
      works(etk_encoder_text(e, x, &(etk_encoder_batch){ids + at, NULL, &lengths[i], 1}, alone));
      for (size_t j = 0; j < d; j++)
        if (!(fabs((double)alone[j] - (double)together[i * d + j]) <= 1e-6)) /* both of float32, of length 1 */
          fail_msg("%s: text %zu value %zu: %g alone, %g in a batch", models[k], i, j, (double)alone[j], (double)together[i * d + j]);
      at += lengths[i];
    }
    etk_encoder_unref(x);
  }
}

static void a_recorded_graph_runs_again_with_other_texts(void **state) {
  (void)state;
  struct pass p = open_pass("bert-mini", 3, 16);
  etk_tensor *y = etk_encoder_text_forward(p.g, p.x, &p.in, NULL).embedding;
  etk_graph_keep(p.g, y);
  int32_t ids[32];
  float wanted[64];
  for (int i = 0; i < 32; i++) ids[i] = i;
  const size_t lengths[] = {16, 15, 2, 5};
  works(etk_encoder_fill(e, p.x, &p.in, &(etk_encoder_batch){ids, NULL, lengths, 2})); /* what must leave no trace */
  works(etk_graph_eval(e, p.g));
  works(etk_encoder_fill(e, p.x, &p.in, &(etk_encoder_batch){ids, NULL, lengths + 2, 2}));
  works(etk_graph_eval(e, p.g));
  works(etk_encoder_text(e, p.x, &(etk_encoder_batch){ids, NULL, lengths + 2, 2}, wanted));
  for (int i = 0; i < 64; i++) assert_true(fabs((double)wanted[i] - (double)((float *)etk_tensor_data(y))[i]) <= 1e-6);
  close_pass(&p);
}

static void stored_and_decoded_weights_agree(void **state) {
  (void)state;
  json_t *r = load_json(path_of("%s/reference.json", reference_folder("bert-mini")));
  etk_encoder *x = NULL;
  works(etk_encoder_open(e, &x, reference_folder("bert-mini"), &(etk_model_options){.decoded = true}));
  size_t stored = 0, decoded = 0;
  for (size_t i = 0; i < etk_encoder_weight_count(x); i++) decoded += etk_tensor_dtype(etk_encoder_weight_at(x, i)) == ETK_F32;
  assert_int_equal(decoded, etk_encoder_weight_count(x));
  float *embedding = embed_rows(x, json_object_get(r, "ids"), NULL, NULL);
  same_values("embedding", json_object_get(r, "embedding"), embedding, 32, NEAR);
  etk_free(embedding);
  etk_encoder_unref(x);
  x = open_encoder(reference_folder("bert-mini"));
  for (size_t i = 0; i < etk_encoder_weight_count(x); i++) stored += etk_tensor_dtype(etk_encoder_weight_at(x, i)) == ETK_BF16;
  assert_int_equal(stored, 3 + 1 + 2 * 6); /* matrices stay as they are: embeddings, pooler, layers */
  etk_encoder_unref(x);
  json_decref(r);
}

/* ---- training ---- */

struct problem {
  etk_graph *g;
  etk_encoder_inputs in;
  etk_tensor *pixels, *loss;
};

/* The product of embeddings with fixed numbers, summed: of text, and of images where there are any. */
static void open_problem(struct problem *p, const etk_encoder *x, const etk_encoder_options *options) {
  static const int32_t ids[] = {1, 5, 9, 60 % 48, 2, 40, 60 % 48}, clip_ids[] = {1, 5, 9, 60, 2, 40, 60};
  static const size_t lengths[] = {4, 3};
  p->g = etk_graph_new();
  assert_non_null(p->g);
  p->in = etk_encoder_inputs_new(p->g, x, 2, 5);
  bool images = etk_encoder_image_dimension(x) > 0;
  works(etk_encoder_fill(e, x, &p->in, &(etk_encoder_batch){images ? clip_ids : ids, NULL, lengths, 2}));
  etk_tensor *y = etk_encoder_text_forward(p->g, x, &p->in, options).embedding;
  if (images) {
    p->pixels = etk_graph_input(p->g, ETK_F32, etk_shape_of(4, 2, 3, 32, 32), "pixels");
    float *pixels = test_pixels(x);
    memcpy(etk_tensor_data(p->pixels), pixels, etk_tensor_bytes(p->pixels));
    etk_free(pixels);
    y = etk_mul(p->g, y, etk_encoder_image_forward(p->g, x, p->pixels, options).embedding);
  }
  etk_tensor *w = etk_graph_input(p->g, ETK_F32, *etk_tensor_shape(y), "w");
  for (int64_t i = 0; i < etk_tensor_elements(w); i++) ((float *)etk_tensor_data(w))[i] = (float)sin((double)i + 1);
  p->loss = etk_sum(p->g, etk_mul(p->g, y, w));
  etk_graph_keep(p->g, p->loss);
}

static double loss_of(struct problem *p) {
  works(etk_graph_eval(e, p->g));
  return (double)*(float *)etk_tensor_data(p->loss);
}

/* Along a few directions each of which moves one weight tensor: (f(+h) - f(-h)) / 2h with h = 2^-8 is off by h^2 / 6 times a third derivative (a few), 1e-5, and by
 * the loss's rounding, 1e-7, over h: 3e-5. */
static void check_gradients(const etk_encoder *x, const etk_encoder_options *options, etk_tensor *const *wrt, const char *const *names,
                            size_t count) {
  static const double step = 0x1p-8, tolerance = 2e-4;
  struct problem p = {0}, q = {0};
  etk_tensor **gradients = etk_calloc(count, sizeof *gradients);
  assert_non_null(gradients);
  open_problem(&p, x, options);
  open_problem(&q, x, options);
  works(etk_graph_backward(e, p.g, p.loss, wrt, count, gradients));
  loss_of(&p);
  size_t moved = 0;
  for (size_t i = 0; i < count; i++) {
    if (!gradients[i]) continue;
    int64_t n = etk_tensor_elements(wrt[i]);
    float *values = etk_tensor_data(wrt[i]), *was = etk_calloc((size_t)n, sizeof *was);
    const float *g = etk_tensor_data(gradients[i]);
    double by_gradient = 0, length = sqrt((double)n), sides[2];
    memcpy(was, values, (size_t)n * sizeof *was);
    for (int64_t k = 0; k < n; k++) by_gradient += (double)g[k] * cos((double)k * 1.3) / length;
    for (int side = 0; side < 2; side++) {
      for (int64_t k = 0; k < n; k++) values[k] = (float)((double)was[k] + (side ? -step : step) * cos((double)k * 1.3) / length);
      sides[side] = loss_of(&q);
    }
    memcpy(values, was, (size_t)n * sizeof *was);
    etk_free(was);
    double wanted = (sides[0] - sides[1]) / (2 * step);
    moved += fabs(wanted) > 1e-3;
    if (!(fabs(wanted - by_gradient) <= tolerance * (1 + fabs(wanted))))
      fail_msg("%s: gradient %g, by differences %g", names[i], by_gradient, wanted);
  }
  assert_true(moved > count / 3); /* the loss does depend on them */
  etk_free(gradients);
  etk_graph_free(p.g);
  etk_graph_free(q.g);
}

static void every_weight_of_an_encoder_can_be_trained(void **state) {
  (void)state;
  static const char *const models[] = {"bert-mini", "clip-mini"};
  for (int k = 0; k < 2; k++) {
    etk_encoder *x = NULL;
    works(etk_encoder_open(e, &x, reference_folder(models[k]), &(etk_model_options){.trainable = true}));
    size_t count = etk_encoder_weight_count(x), missing = 0;
    etk_tensor *wrt[MADE], *gradients[MADE];
    const char *names[MADE];
    assert_true(count <= MADE);
    for (size_t i = 0; i < count; i++) wrt[i] = etk_encoder_weight_at(x, i), names[i] = etk_encoder_weight_name(x, i);
    struct problem p = {0};
    open_problem(&p, x, NULL);
    works(etk_graph_backward(e, p.g, p.loss, wrt, count, gradients));
    for (size_t i = 0; i < count; i++) missing += !gradients[i];
    assert_int_equal(missing, k ? 1 : 2); /* the pooler, which no embedding is made of; logit_scale */
    etk_graph_free(p.g);
    check_gradients(x, NULL, wrt, names, count);
    etk_encoder_unref(x);
  }
}

static void lora_attaches_to_linear_layers(void **state) {
  static const char *const targets[2][2] = {{"query", "output.dense"}, {"q_proj", "visual_projection"}};
  static const char *const models[] = {"bert-mini", "clip-mini"};
  for (int k = 0; k < 2; k++) {
    char *folder = fresh_folder(state, "lora");
    etk_encoder *x = open_encoder(reference_folder(models[k])); /* its weights stay as they are stored */
    etk_adapter *adapter = NULL, *again = NULL;
    works(etk_encoder_adapter_new(e, &adapter, x, &(etk_lora_options){.rank = 2, .alpha = 4, .target_modules = targets[k], .target_count = 2}, 7));
    assert_int_equal(etk_adapter_count(adapter), k ? 2 + 2 + 1 : 2 + 2 * 2);
    etk_tensor *wrt[32];
    const char *names[32];
    size_t count = 0;
    for (size_t i = 0; i < etk_adapter_count(adapter); i++) {
      const etk_adapter_module *module = etk_adapter_at(adapter, i);
      for (int64_t n = 0; n < etk_tensor_elements(module->b); n++)
        ((float *)etk_tensor_data(module->b))[n] = (float)(sin((double)n + (double)i) / 4); /* they begin at zero */
      wrt[count] = module->a, names[count++] = module->name;
      wrt[count] = module->b, names[count++] = module->name;
    }
    etk_encoder_options options = {.adapter = adapter};
    check_gradients(x, &options, wrt, names, count);
    works(etk_adapter_save(e, adapter, folder, NULL, 0));
    works(etk_encoder_adapter_open(e, &again, x, folder, false));
    etk_encoder_options other = {.adapter = again};
    struct problem p = {0}, q = {0}, none = {0};
    open_problem(&p, x, &options);
    open_problem(&q, x, &other);
    open_problem(&none, x, NULL);
    assert_true(loss_of(&p) == loss_of(&q)); /* the same bits through a file */
    assert_true(fabs(loss_of(&none) - loss_of(&p)) > 1e-3);
    etk_graph_free(p.g), etk_graph_free(q.g), etk_graph_free(none.g);
    etk_encoder_unref(x); /* the adapters keep what they need */
    etk_adapter_free(adapter);
    etk_adapter_free(again);
  }
}

static void dropout_changes_training_passes_alone(void **state) {
  (void)state;
  etk_encoder *x = open_encoder(reference_folder("bert-mini"));
  etk_encoder_options training = {.training = true, .dropout = 0.3f}, idle = {.dropout = 0.3f};
  struct problem p = {0}, q = {0}, plain = {0};
  open_problem(&p, x, &training);
  open_problem(&q, x, &idle);
  open_problem(&plain, x, NULL);
  etk_graph_set_random(p.g, 1, 1);
  double first = loss_of(&p);
  etk_graph_set_random(p.g, 1, 2);
  assert_true(first != loss_of(&p));
  etk_graph_set_random(p.g, 1, 1);
  assert_true(first == loss_of(&p));
  assert_true(loss_of(&q) == loss_of(&plain) && first != loss_of(&q));
  etk_graph_free(p.g), etk_graph_free(q.g), etk_graph_free(plain.g);
  etk_encoder_unref(x);
}

/* ---- images ---- */

static uint8_t *picture(int64_t height, int64_t width) { /* clip_image.py's */
  uint8_t *rgb = etk_alloc((size_t)(height * width * 3));
  assert_non_null(rgb);
  for (int64_t i = 0; i < height * width * 3; i++) {
    int64_t c = i % 3, x = i / 3 % width, y = i / 3 / width;
    double value = (double)(7 * x * x + 13 * y * y + 31 * x * y + 50 * c) + 90 * sin((double)x / 3 + (double)c) * sin((double)y / 5);
    rgb[i] = (uint8_t)(((int64_t)value % 256 + 256) % 256);
  }
  return rgb;
}

static void images_are_resized_and_cropped_as_pil_does(void **state) {
  (void)state;
  json_t *cases = load_json("tests/goldens/clip_image.json"), *item;
  size_t n;
  json_array_foreach(cases, n, item) {
    int64_t height = json_integer_value(json_object_get(item, "height")), width = json_integer_value(json_object_get(item, "width")),
            size = json_integer_value(json_object_get(item, "size"));
    etk_image_rules rules = {.shortest_edge = size,
                             .crop_height = size,
                             .crop_width = size,
                             .resample = (etk_resample)json_integer_value(json_object_get(item, "resample")),
                             .rescale = 1,
                             .std = {1, 1, 1}};
    uint8_t *rgb = picture(height, width);
    float *out = etk_calloc((size_t)(3 * size * size), sizeof *out);
    const char *hex = json_string_value(json_object_get(item, "rgb"));
    works(etk_image_prepare(e, out, &rules, rgb, height, width, size));
    assert_int_equal(strlen(hex), 6 * size * size);
    for (int64_t i = 0; i < 3 * size * size; i++) {
      unsigned wanted = 0;
      assert_int_equal(sscanf(hex + 2 * i, "%2x", &wanted), 1);
      int seen = (int)out[i % 3 * size * size + i / 3];
      if (seen != (int)wanted)
        fail_msg("%lld x %lld to %lld: byte %lld is %d, PIL's %u", (long long)width, (long long)height, (long long)size, (long long)i, seen, wanted);
    }
    etk_free(rgb);
    etk_free(out);
  }
  assert_true(n >= 7);
  json_decref(cases);
}

static void image_rules_follow_preprocessor_config(void **state) {
  (void)state;
  static const char plain[] = "{\"size\":{\"shortest_edge\":40},\"crop_size\":{\"height\":32,\"width\":32},\"resample\":2,\"image_mean\":[0.5,0.25,0]"
                              ",\"image_std\":[0.5,1,2]}";
  static const char old[] = "{\"size\":32,\"crop_size\":32}",
                    both[] = "{\"size\":{\"height\":32,\"width\":32},\"do_center_crop\":false,\"do_normalize\":false}";
  etk_image_rules r;
  works(etk_image_rules_parse(e, &r, "p", plain, strlen(plain), 32));
  assert_true(r.shortest_edge == 40 && r.crop_height == 32 && r.resample == ETK_RESAMPLE_BILINEAR && r.mean[1] == 0.25 && r.std[2] == 2 &&
              r.rescale == 1.0 / 255);
  works(etk_image_rules_parse(e, &r, "p", old, strlen(old), 32));
  assert_true(r.shortest_edge == 32 && r.crop_width == 32 && r.resample == ETK_RESAMPLE_BICUBIC && r.mean[0] == 0.48145466 && r.std[2] == 0.27577711);
  works(etk_image_rules_parse(e, &r, "p", both, strlen(both), 32));
  assert_true(!r.shortest_edge && r.height == 32 && !r.crop_height && r.mean[0] == 0 && r.std[0] == 1);
  float out[3 * 32 * 32];
  uint8_t *rgb = picture(32, 32);
  works(etk_image_prepare(e, out, &r, rgb, 32, 32, 32)); /* nothing to resize: a pixel over 255 */
  assert_true(fabs((double)out[2 * 1024 + 33] - rgb[33 * 3 + 2] / 255.0) < 1e-7);
  etk_free(rgb);
}

int main(void) {
  etk__product_set_exact(true); /* results are held to what is stored; how far fast products are from it: ml_product.c */
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(bert_agrees_with_transformers),
      cmocka_unit_test(sentence_transformers_folders_agree_with_pytorch),
      cmocka_unit_test(pooling_of_the_first_token_is_read_from_the_folder),
      cmocka_unit_test(clip_agrees_with_transformers),
      cmocka_unit_test(clip_agrees_with_pytorch),
      cmocka_unit_test(a_part_of_clip_opens_alone),
      cmocka_unit_test(bert_gives_hidden_states_and_what_its_pooler_says),
      cmocka_unit_test(clip_gives_the_states_that_diffusion_takes),
      cmocka_unit_test(other_poolings_and_a_dense_layer_follow_modules_json),
      cmocka_unit_test(distilbert_is_bert_without_types),
      cmocka_unit_test(roberta_counts_positions_from_behind_the_padding_token),
      cmocka_unit_test(texts_that_are_cut_keep_the_tokens_behind_them),
      cmocka_unit_test(a_gguf_file_is_the_same_model),
      cmocka_unit_test(a_batch_of_different_lengths_equals_each_text_alone),
      cmocka_unit_test(a_recorded_graph_runs_again_with_other_texts),
      cmocka_unit_test(stored_and_decoded_weights_agree),
      cmocka_unit_test(every_weight_of_an_encoder_can_be_trained),
      cmocka_unit_test(lora_attaches_to_linear_layers),
      cmocka_unit_test(dropout_changes_training_passes_alone),
      cmocka_unit_test(images_are_resized_and_cropped_as_pil_does),
      cmocka_unit_test(image_rules_follow_preprocessor_config),
  };
  return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
