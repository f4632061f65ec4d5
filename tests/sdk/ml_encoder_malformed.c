/* Encoders: what is refused, each by one error that names the file, the key or tensor, and the reason; failing allocations. */
#include "../interpose.h"
#include "ml_encoder.h"

/* bert-mini (or another) with some text of its config.json replaced. */
static char *changed(void **state, const char *model, const char *from, const char *to) {
  char *folder = fresh_folder(state, "changed");
  write_config(reference_folder(model), folder, from, to);
  made_write(made_of(reference_folder(model)), folder);
  return folder;
}

static void refused(const char *folder, etk_status status, const char *part) {
  etk_encoder *x = NULL;
  fails_with(status, part, etk_encoder_open(e, &x, folder, NULL));
  assert_null(x);
}

static void configurations_that_cannot_be_are_refused(void **state) {
  static const struct {
    const char *model, *from, *to;
    etk_status status;
    const char *part;
  } cases[] = {
      {"bert-mini", "\"num_attention_heads\": 4", "\"num_attention_heads\": 5", ETK_E_FORMAT,
       "hidden_size 32 is not a multiple of num_attention_heads 5"},
      {"bert-mini", "\"hidden_size\": 32", "\"hidden_size\": 0", ETK_E_FORMAT, "config.json: \"hidden_size\" is 0, wanted a whole number from 1"},
      {"bert-mini", "\"hidden_size\": 32", "\"hidden_size\": \"32\"", ETK_E_FORMAT, "\"hidden_size\" is \"32\""},
      {"bert-mini", "\"hidden_size\": 32,", "", ETK_E_FORMAT, "has no \"hidden_size\""},
      {"bert-mini", "\"vocab_size\": 48", "\"vocab_size\": 4294967296", ETK_E_FORMAT, "\"vocab_size\" is 4294967296"},
      {"bert-mini", "\"hidden_size\": 32", "\"hidden_size\": 2147483644", ETK_E_FORMAT, "beyond any real model"},
      {"bert-mini", "\"intermediate_size\": 40", "\"intermediate_size\": 1e9", ETK_E_FORMAT, "\"intermediate_size\" is 1"},
      {"bert-mini", "\"num_hidden_layers\": 2", "\"num_hidden_layers\": 100000", ETK_E_FORMAT, "num_hidden_layers is 100000, wanted at most 1024"},
      {"bert-mini", "\"num_hidden_layers\": 2", "\"num_hidden_layers\": 3", ETK_E_FORMAT,
       "has no tensor encoder.layer.2.attention.self.query.weight"},
      {"bert-mini", "\"num_hidden_layers\": 2", "\"num_hidden_layers\": 1", ETK_E_FORMAT, "holds the tensor encoder.layer.1."},
      {"bert-mini", "\"vocab_size\": 48", "\"vocab_size\": 49", ETK_E_SHAPE,
       "tensor embeddings.word_embeddings.weight has shape (48, 32), config.json wants (49, 32)"},
      {"bert-mini", "\"max_position_embeddings\": 16", "\"max_position_embeddings\": 17", ETK_E_SHAPE,
       "embeddings.position_embeddings.weight has shape (16, 32)"},
      {"bert-mini", "\"type_vocab_size\": 2", "\"type_vocab_size\": 3", ETK_E_SHAPE, "token_type_embeddings"},
      {"bert-mini", "\"layer_norm_eps\": 1e-12", "\"layer_norm_eps\": 0", ETK_E_FORMAT, "\"layer_norm_eps\" is 0"},
      {"bert-mini", "\"hidden_act\": \"gelu\"", "\"hidden_act\": \"relu\"", ETK_E_FORMAT, "\"hidden_act\" is \"relu\", wanted \"gelu\""},
      {"bert-mini", "\"absolute\"", "\"relative_key\"", ETK_E_UNSUPPORTED,
       "\"position_embedding_type\" is \"relative_key\"; this version knows absolute positions only"},
      {"bert-mini", "\"use_cache\": true", "\"is_decoder\": true", ETK_E_UNSUPPORTED, "\"is_decoder\" is set"},
      {"bert-mini", "\"pad_token_id\": 0", "\"pad_token_id\": 48", ETK_E_FORMAT, "\"pad_token_id\" is 48, wanted a token id"},
      {"bert-mini", "\"model_type\": \"bert\"", "\"model_type\": \"deberta-v2\"", ETK_E_UNSUPPORTED,
       "model_type \"deberta-v2\" is no encoder that this version runs; it runs bert, roberta"},
      {"bert-mini", "\"model_type\": \"bert\"", "\"model_kind\": \"bert\"", ETK_E_FORMAT, "has no \"model_type\""},
      {"bert-mini", "{", "[", ETK_E_FORMAT, "not valid JSON"},
      {"bert-mini", "\"model_type\": \"bert\"", "\"model_type\": \"roberta\", \"pad_token_id\": 15", ETK_E_FORMAT, "not valid JSON: duplicate"},
      {"clip-mini", "\"image_size\": 32", "\"image_size\": 33", ETK_E_FORMAT, "image_size 33 is not a multiple of patch_size 8"},
      {"clip-mini", "\"image_size\": 32", "\"image_size\": 2000000000", ETK_E_FORMAT, "beyond any real model"},
      {"clip-mini", "\"image_size\": 32", "\"image_size\": 40", ETK_E_SHAPE,
       "vision_model.embeddings.position_embedding.weight has shape (17, 28), config.json wants (26, 28)"},
      {"clip-mini", "\"patch_size\": 8", "\"patch_size\": 16", ETK_E_SHAPE,
       "vision_model.embeddings.patch_embedding.weight has shape (28, 3, 8, 8), config.json wants (28, 3, 16, 16)"},
      {"clip-mini", "\"patch_size\": 8", "\"patch_size\": 64", ETK_E_FORMAT, "image_size 32 is not a multiple of patch_size 64"},
      {"clip-mini", "\"num_channels\": 3", "\"num_channels\": 65", ETK_E_FORMAT, "65 channels"},
      {"clip-mini", "\"num_attention_heads\": 2", "\"num_attention_heads\": 7", ETK_E_FORMAT, "text_config's hidden_size 24"},
      {"clip-mini", "\"num_attention_heads\": 4", "\"num_attention_heads\": 3", ETK_E_FORMAT, "vision_config's hidden_size 28"},
      {"clip-mini", "\"eos_token_id\": 60", "\"eos_token_id\": 64", ETK_E_FORMAT, "eos_token_id 64 is outside the vocabulary of 64 tokens"},
      {"clip-mini", "\"eos_token_id\": 60", "\"eos_token_id\": [60]", ETK_E_FORMAT, "\"eos_token_id\" is [60]"},
      {"clip-mini", "\"projection_dim\": 12", "\"projection_dim\": 13", ETK_E_SHAPE, "text_projection.weight has shape (12, 24)"},
      {"clip-mini", "\"text_config\": {", "\"text_config\": 5, \"x\": {", ETK_E_FORMAT, "\"text_config\" is 5, wanted an object"},
      {"clip-mini", "\"text_config\": {", "\"x\": {", ETK_E_FORMAT, "has no \"text_config\", which clip needs"},
      {"clip-mini", "\"vision_config\": {", "\"vision_config_dict\": 1, \"vision_config\": {", ETK_E_FORMAT, "\"vision_config_dict\" is 1"},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
    refused(changed(state, cases[i].model, cases[i].from, cases[i].to), cases[i].status, cases[i].part);
}

static void a_whole_file_is_needed(void **state) {
  char *folder = fresh_folder(state, "files");
  refused(path_of("%s/none", folder), ETK_E_NOT_FOUND, "no such file or folder");
  refused(path_of("%s/model.safetensors", reference_folder("bert-mini")), ETK_E_UNSUPPORTED, "does not tell what encoder");
  refused(folder, ETK_E_NOT_FOUND, "has no config.json");
  write_config(reference_folder("bert-mini"), folder, NULL, NULL);
  refused(folder, ETK_E_NOT_FOUND, "model.safetensors");
  copy_file(path_of("%s/model.safetensors", reference_folder("bert-mini")), path_of("%s/model.safetensors", folder), -1);
  refused(folder, ETK_E_FORMAT, "model.safetensors");
  write_text(path_of("%s/config.json", folder), "[]");
  refused(folder, ETK_E_FORMAT, "config.json: wanted a JSON object");
}

/* What is done to the tensors of clip-mini, and the error. */
static void tensors_that_do_not_fit_are_refused(void **state) {
  static const struct {
    const char *drop, *rename[2], *part;
    etk_status status;
  } cases[] = {{"logit_scale", {0}, "has no tensor logit_scale", ETK_E_FORMAT},
               {"text_projection", {0}, "has no tensor text_projection.weight", ETK_E_FORMAT},
               {"vision_model.pre_layrnorm.bias", {0}, "has no tensor vision_model.pre_layrnorm.bias", ETK_E_FORMAT},
               {"layers.1.mlp.fc2.bias", {0}, "layers.1.mlp.fc2.bias", ETK_E_FORMAT},
               {NULL,
                {"text_model.final_layer_norm", "text_model.last_layer_norm"},
                "has no tensor text_model.final_layer_norm.weight, which the architecture needs",
                ETK_E_FORMAT}};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    char *folder = fresh_folder(state, "tensors");
    struct made *m = made_of(reference_folder("clip-mini"));
    if (cases[i].drop) made_drop(m, cases[i].drop);
    else made_rename(m, cases[i].rename[0], cases[i].rename[1]);
    made_write(m, folder);
    write_config(reference_folder("clip-mini"), folder, NULL, NULL);
    refused(folder, cases[i].status, cases[i].part);
  }
}

static void integers_and_extra_tensors_are_no_weights(void **state) {
  char *folder = fresh_folder(state, "integers");
  for (int k = 0; k < 3; k++) {
    struct made *m = made_of(reference_folder("bert-mini"));
    etk_tensor *t = NULL;
    works(etk_tensor_new(e, &t, ETK_I64, k ? etk_shape_of(2, 1, 16) : etk_shape_of(1, 32)));
    if (k == 0) made_set(m, made_find(m, "embeddings.LayerNorm.bias"), t);
    else {
      m->items[m->count] = (etk_safetensors_item){k == 1 ? "embeddings.position_ids" : "embeddings.other_ids", t, ETK_I64};
      m->tensors[m->count++] = t;
    }
    made_write(m, folder);
    write_config(reference_folder("bert-mini"), folder, NULL, NULL);
    if (k == 0) refused(folder, ETK_E_UNSUPPORTED, "embeddings.LayerNorm.bias is of type I64");
    if (k == 2) refused(folder, ETK_E_FORMAT, "holds the tensor embeddings.other_ids, which config.json's architecture does not have");
    if (k == 1) etk_encoder_unref(open_encoder(folder)); /* places follow from a text; old checkpoints carry them */
  }
}

static void half_a_pooler_is_refused(void **state) {
  char *folder = fresh_folder(state, "pooler");
  struct made *m = made_of(reference_folder("bert-mini"));
  made_drop(m, "pooler.dense.bias");
  made_write(m, folder);
  write_config(reference_folder("bert-mini"), folder, NULL, NULL);
  refused(folder, ETK_E_FORMAT, "has no tensor pooler.dense.bias");
}

#define MODULE(path, type) "{\"path\":\"" path "\",\"type\":\"sentence_transformers.models." type "\"}"
static void modules_that_are_not_known_are_refused(void **state) {
  static const char pooling[] = "{\"pooling_mode_mean_tokens\":true}", list[] = "[" MODULE("", "Transformer") "," MODULE("1_Pooling", "Pooling") "]";
  static const struct {
    const char *modules, *file, *text, *part;
    etk_status status;
  } cases[] = {
      {"{}", NULL, NULL, "modules.json: wanted a JSON array", ETK_E_FORMAT},
      {"[]", NULL, NULL, "lists no modules", ETK_E_FORMAT},
      {"[1]", NULL, NULL, "module 0 has no \"type\"", ETK_E_FORMAT},
      {"[" MODULE("../x", "Transformer") "]", NULL, NULL, "module 0 has the path \"../x\", which leaves the folder", ETK_E_FORMAT},
      {"[" MODULE("/etc", "Transformer") "]", NULL, NULL, "leaves the folder", ETK_E_FORMAT},
      {"[" MODULE("", "Transformer") "," MODULE("1_WKPooling", "WKPooling") "]", NULL, NULL, "module 1 is sentence_transformers.models.WKPooling",
       ETK_E_UNSUPPORTED},
      {"[" MODULE("", "Transformer") "]", NULL, NULL, "has no Pooling", ETK_E_UNSUPPORTED},
      {"[" MODULE("1_Pooling", "Pooling") "]", NULL, NULL, "module 0 is", ETK_E_UNSUPPORTED},
      {"[" MODULE("", "Transformer") "," MODULE("2_Normalize", "Normalize") "," MODULE("1_Pooling", "Pooling") "]", NULL, NULL, "module 2 is",
       ETK_E_UNSUPPORTED},
      {"[" MODULE("", "Transformer") "," MODULE("2_Dense", "Dense") "]", NULL, NULL, "module 1 is", ETK_E_UNSUPPORTED},
      {"[" MODULE("gone", "Transformer") "," MODULE("1_Pooling", "Pooling") "]", NULL, NULL, "has no config.json where modules.json says",
       ETK_E_NOT_FOUND},
      {list, "1_Pooling/config.json", "{}", "sets no kind of pooling", ETK_E_FORMAT},
      {list, "1_Pooling/config.json", "{\"pooling_mode_mean_tokens\":true,\"pooling_mode_max_tokens\":true}", "sets 2 kinds of pooling",
       ETK_E_UNSUPPORTED},
      {list, "1_Pooling/config.json", "{\"pooling_mode_lasttoken\":true}", "\"pooling_mode_lasttoken\" is set", ETK_E_UNSUPPORTED},
      {list, "1_Pooling/config.json", "{\"pooling_mode_mean_tokens\":1}", "\"pooling_mode_mean_tokens\" is 1", ETK_E_FORMAT},
      {list, "1_Pooling/config.json", "{\"pooling_mode\":\"weightedmean\"}", "\"pooling_mode\" is \"weightedmean\"", ETK_E_FORMAT},
      {list, "1_Pooling/config.json", "{\"pooling_mode_mean_tokens\":true,\"word_embedding_dimension\":33}",
       "its pooling is of 33 values, the transformer gives 32", ETK_E_FORMAT},
      {list, "sentence_bert_config.json", "{\"max_seq_length\":0}", "\"max_seq_length\" is 0", ETK_E_FORMAT},
      {list, "sentence_bert_config.json", "{\"do_lower_case\":true}", "the tokenizer does not lower-case", ETK_E_UNSUPPORTED},
      {list, "config_sentence_transformers.json", "{\"prompts\":{\"q\":\"query: \"},\"default_prompt_name\":\"q\"}",
       "every text begins with 'query: '", ETK_E_UNSUPPORTED},
      {"[" MODULE("", "Transformer") "," MODULE("1_Pooling", "Pooling") "," MODULE("2_Dense", "Dense") "]", "2_Dense/config.json",
       "{\"in_features\":31,\"out_features\":4,\"activation_function\":\"torch.nn.modules.activation.Tanh\"}", "takes 31 values, pooling gives 32",
       ETK_E_SHAPE},
      {"[" MODULE("", "Transformer") "," MODULE("1_Pooling", "Pooling") "," MODULE("2_Dense", "Dense") "]", "2_Dense/config.json",
       "{\"in_features\":32,\"out_features\":4,\"activation_function\":\"torch.nn.modules.activation.ReLU\"}", "\"activation_function\" is",
       ETK_E_FORMAT},
      {"[" MODULE("", "Transformer") "," MODULE("1_Pooling", "Pooling") "," MODULE("2_Dense", "Dense") "]", "2_Dense/config.json",
       "{\"in_features\":32,\"out_features\":4}", "2_Dense", ETK_E_NOT_FOUND},
  };
  char *folder = fresh_folder(state, "modules");
  works(etk_fs_make_dirs(e, path_of("%s/1_Pooling", folder)));
  works(etk_fs_make_dirs(e, path_of("%s/2_Dense", folder)));
  write_config(reference_folder("bert-mini"), folder, NULL, NULL);
  made_write(made_of(reference_folder("bert-mini")), folder);
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    write_text(path_of("%s/modules.json", folder), cases[i].modules);
    write_text(path_of("%s/1_Pooling/config.json", folder), pooling);
    if (cases[i].file) write_text(path_of("%s/%s", folder, cases[i].file), cases[i].text);
    refused(folder, cases[i].status, cases[i].part);
    if (cases[i].file) works(etk_fs_remove_tree(e, path_of("%s/%s", folder, cases[i].file)));
  }
}

static void gguf_files_that_do_not_fit_are_refused(void **state) {
  char *path = path_of("%s/model.gguf", fresh_folder(state, "gguf"));
  const struct {
    struct gguf_made made;
    etk_status status;
    const char *part;
  } cases[] = {
      {{.architecture = "llama", .pooling = 1, .layers = 2, .heads = 4, .epsilon = 1e-12},
       ETK_E_UNSUPPORTED,
       "the architecture \"llama\" is no encoder that this version runs from GGUF"},
      {{.architecture = "bert", .pooling = 4, .layers = 2, .heads = 4, .epsilon = 1e-12}, ETK_E_UNSUPPORTED, "bert.pooling_type is 4"},
      {{.architecture = "bert", .pooling = 1, .layers = 2, .heads = 4, .epsilon = 1e-12, .causal = true},
       ETK_E_UNSUPPORTED,
       "bert.attention.causal is set"},
      {{.architecture = "bert", .pooling = 1, .layers = 2, .heads = 4, .epsilon = 0}, ETK_E_FORMAT, "bert.attention.layer_norm_epsilon is 0"},
      {{.architecture = "bert", .pooling = 1, .layers = 2, .heads = 5, .epsilon = 1e-12},
       ETK_E_FORMAT,
       "hidden_size 32 is not a multiple of num_attention_heads 5"},
      {{.architecture = "bert", .pooling = 1, .layers = 0, .heads = 4, .epsilon = 1e-12},
       ETK_E_FORMAT,
       "bert.block_count is 0, wanted a whole number from 1"},
      {{.architecture = "bert", .pooling = 1, .layers = 1, .heads = 4, .epsilon = 1e-12}, ETK_E_FORMAT, "holds the tensor blk.1."},
      {{.architecture = "bert", .pooling = 1, .layers = 3, .heads = 4, .epsilon = 1e-12},
       ETK_E_FORMAT,
       "has no tensor encoder.layer.2.attention.self.query.weight"},
      {{.architecture = "bert", .pooling = 1, .layers = 2, .heads = 4, .epsilon = 1e-12, .skip = "bert.context_length"},
       ETK_E_NOT_FOUND,
       "bert.context_length"},
      {{.architecture = "bert", .pooling = 1, .layers = 2, .heads = 4, .epsilon = 1e-12, .skip = "token_embd.weight"},
       ETK_E_FORMAT,
       "has no tensor token_embd.weight"},
      {{.architecture = "bert", .pooling = 1, .layers = 2, .heads = 4, .epsilon = 1e-12, .skip = "blk.0.ffn_down.bias"},
       ETK_E_FORMAT,
       "has no tensor encoder.layer.0.output.dense.bias"},
      {{.architecture = "bert", .pooling = 1, .layers = 2, .heads = 4, .epsilon = 1e-12, .extra = "cls.bias"},
       ETK_E_FORMAT,
       "holds the tensor cls.bias, which the file's architecture does not have"},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    write_gguf(reference_folder("bert-mini"), path, &cases[i].made, false);
    refused(path, cases[i].status, cases[i].part);
  }
}

/* ---- use ---- */

static void texts_that_do_not_fit_are_refused(void **state) {
  (void)state;
  static const struct {
    int32_t id, type;
    size_t length;
    const char *part;
  } cases[] = {{48, 0, 3, "text 0: id 48 at place 1 is not in 0 .. 47"},
               {-1, 0, 3, "text 0: id -1 at place 1"},
               {1, 2, 3, "text 0: token type 2 at place 1 is not in 0 .. 1"},
               {1, 0, 0, "text 0 has 0 tokens, wanted 1 to 1"},
               {1, 0, 17, "text 0 has 17 tokens, wanted 1 to 16 (the model's positions"},
               {1, 0, SIZE_MAX, "wanted 1 to 16"}};
  etk_encoder *x = open_encoder(reference_folder("bert-mini"));
  float out[32];
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    int32_t ids[17] = {1, cases[i].id}, types[17] = {0, cases[i].type};
    fails_with(ETK_E_INVALID, cases[i].part, etk_encoder_text(e, x, &(etk_encoder_batch){ids, types, &cases[i].length, 1}, out));
  }
  fails_with(ETK_E_UNSUPPORTED, "has no image part", etk_encoder_image(e, x, out, 1, out));
  etk_encoder_unref(x);
  x = open_encoder(reference_folder("clip-mini"));
  const int32_t ids[] = {59, 5, 7};
  const size_t length = 3;
  fails_with(ETK_E_INVALID, "text 0 has no end token (id 60)", etk_encoder_text(e, x, &(etk_encoder_batch){ids, NULL, &length, 1}, out));
  etk_encoder_unref(x);
}

static void inputs_of_the_graph_that_do_not_fit_are_refused(void **state) {
  (void)state;
  static const char *const parts[] = {"pixels are (2, 3, 31, 32), the model wants (2, 3, 32, 32)", "early_layers is 3, wanted 0 to 2",
                                      "early_layers is -1"};
  etk_encoder *x = open_encoder(reference_folder("clip-mini"));
  for (int i = 0; i < 3; i++) {
    etk_graph *g = etk_graph_new();
    etk_encoder_inputs in = etk_encoder_inputs_new(g, x, 1, 4);
    etk_encoder_options options = {.early_layers = i == 1 ? 3 : -1};
    etk_encoder_states s = i ? etk_encoder_text_forward(g, x, &in, &options)
                             : etk_encoder_image_forward(g, x, etk_graph_input(g, ETK_F32, etk_shape_of(4, 2, 3, 31, 32), "pixels"), NULL);
    assert_null(s.embedding);
    fails_with(i ? ETK_E_INVALID : ETK_E_SHAPE, parts[i], etk_graph_status(e, g));
    etk_graph_free(g);
  }
  etk_encoder_unref(x);
}

static void image_rules_that_cannot_be_are_refused(void **state) {
  (void)state;
  static const struct {
    const char *text, *part;
    etk_status status;
  } cases[] = {{"{\"size\":31}", "do not give the 32 x 32 pixels", ETK_E_UNSUPPORTED},
               {"{\"crop_size\":{\"height\":32,\"width\":31}}", "do not give the 32 x 32 pixels", ETK_E_UNSUPPORTED},
               {"{\"do_center_crop\":false}", "do not give the 32 x 32 pixels", ETK_E_UNSUPPORTED},
               {"{\"size\":{\"height\":32}}", "has no \"width\"", ETK_E_FORMAT},
               {"{\"size\":2000000000}", "beyond any real image", ETK_E_FORMAT},
               {"{\"size\":\"32\"}", "\"size\" is \"32\"", ETK_E_FORMAT},
               {"{\"resample\":1}", "\"resample\" is 1, wanted 2", ETK_E_FORMAT},
               {"{\"image_std\":[0,1,1]}", "\"image_std\" is [0,1,1], wanted three numbers above 0", ETK_E_FORMAT},
               {"{\"image_mean\":[0.5]}", "\"image_mean\" is [0.5]", ETK_E_FORMAT},
               {"{\"rescale_factor\":-1}", "\"rescale_factor\" is -1", ETK_E_FORMAT},
               {"{\"do_resize\":1}", "\"do_resize\" is 1, wanted true or false", ETK_E_FORMAT},
               {"[]", "wanted a JSON object", ETK_E_FORMAT}};
  etk_image_rules rules;
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
    fails_with(cases[i].status, cases[i].part,
               etk_image_rules_parse(e, &rules, "preprocessor_config.json", cases[i].text, strlen(cases[i].text), 32));
  works(etk_image_rules_parse(e, &rules, "p", "{}", 2, 32));
  uint8_t line[3 * 4096] = {0};
  float out[3 * 32 * 32];
  fails_with(ETK_E_INVALID, "too long for its height", etk_image_prepare(e, out, &rules, line, 1, 4096, 32));
  fails_with(ETK_E_INVALID, "an image of 0 x 5", etk_image_prepare(e, out, &rules, line, 5, 0, 32));
  rules.shortest_edge = 0;
  fails_with(ETK_E_INVALID, "does not fill the model's 32 x 32", etk_image_prepare(e, out, &rules, line, 31, 40, 32));
}

/* ---- failing allocations ---- */

static bool open_and_run(void *folder) {
  etk_encoder *x = NULL;
  const int32_t ids[] = {1, 5, 60 % 48, 2, 60 % 48};
  const size_t lengths[] = {3, 2};
  float out[2 * 32];
  etk_error e = ETK_ERROR_INIT;
  etk_status status = etk_encoder_open(&e, &x, folder, NULL);
  if (!status) status = etk_encoder_text(&e, x, &(etk_encoder_batch){ids, NULL, lengths, 2}, out);
  if (status && status != ETK_E_NO_MEMORY) fail_msg("%s", e.message);
  etk_encoder_unref(x);
  return !status;
}

static void every_failing_allocation_is_an_error(void **state) {
  char *folder = fresh_folder(state, "memory"), *from = reference_folder("bert-mini");
  const char *const files[] = {"model.safetensors", "config.json", "modules.json", "1_Pooling/config.json"};
  works(etk_fs_make_dirs(e, path_of("%s/1_Pooling", folder)));
  for (int i = 0; i < 4; i++) copy_file(path_of("%s/%s", from, files[i]), path_of("%s/%s", folder, files[i]), 0);
  write_text(path_of("%s/sentence_bert_config.json", folder), "{\"max_seq_length\":8}");
  assert_true(open_and_run(folder));
  long tried = interpose_sweep(open_and_run, folder);
  if (tried < 0) fail_msg("a failure of allocation %ld leaves blocks behind", -1 - tried);
  assert_in_range(tried, interposed ? 300 : 50, 100000);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(configurations_that_cannot_be_are_refused),
      cmocka_unit_test(a_whole_file_is_needed),
      cmocka_unit_test(tensors_that_do_not_fit_are_refused),
      cmocka_unit_test(integers_and_extra_tensors_are_no_weights),
      cmocka_unit_test(half_a_pooler_is_refused),
      cmocka_unit_test(modules_that_are_not_known_are_refused),
      cmocka_unit_test(gguf_files_that_do_not_fit_are_refused),
      cmocka_unit_test(texts_that_do_not_fit_are_refused),
      cmocka_unit_test(inputs_of_the_graph_that_do_not_fit_are_refused),
      cmocka_unit_test(image_rules_that_cannot_be_are_refused),
      cmocka_unit_test(every_failing_allocation_is_an_error),
  };
  return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
