/* config.json of encoders: BERT's family and CLIP's, the latter whole or one of its parts. */
#include "encoder_internal.h"
#include "ml/format/json.h"

#include <etk/fs.h>
#include <math.h>

enum { LAYERS = 1024, HISTORIC_END = 2, END_OF_TEXT = 49407 };

static const struct encoder_family families[] = {
    {"bert", "bert.", &etk__bert_table, NULL, .text_forward = etk__bert_forward},
    {"roberta", "roberta.", &etk__bert_table, NULL, .offset = true, .text_forward = etk__bert_forward},
    {"xlm-roberta", "roberta.", &etk__bert_table, NULL, .offset = true, .text_forward = etk__bert_forward},
    {"distilbert", "distilbert.", &etk__distilbert_table, NULL, .distil = true, .text_forward = etk__bert_forward},
    {"clip", NULL, &etk__clip_text_table, &etk__clip_image_table, .clip = true, .text_forward = etk__clip_text_forward},
    {"clip_text_model", NULL, &etk__clip_text_table, NULL, .clip = true, .text_forward = etk__clip_text_forward},
    {"clip_vision_model", NULL, NULL, &etk__clip_image_table, .clip = true},
};
enum { FAMILIES = sizeof families / sizeof *families };

const struct encoder_family *etk__encoder_family(const char *model_type) {
  for (int i = 0; i < FAMILIES; i++)
    if (!strcmp(families[i].model_type, model_type)) return &families[i];
  return NULL;
}

static const char *family_names(char *text, size_t size) {
  size_t used = 0;
  text[0] = 0;
  for (int i = 0; i < FAMILIES && used < size; i++)
    used += (size_t)snprintf(text + used, size - used, "%s%s", !i ? "" : i + 1 < FAMILIES ? ", " : " and ", families[i].model_type);
  return text;
}

static etk_status read_epsilon(etk_error *e, const char *name, const json_t *root, double *out) {
  const json_t *value = json_object_get(root, "layer_norm_eps");
  if (!value || json_is_null(value)) return ETK_OK;
  double epsilon = json_number_value(value);
  if (!json_is_number(value) || !(epsilon > 0) || epsilon > 1)
    return etk__json_wrong(e, name, "layer_norm_eps", value, "a number above 0, at most 1");
  *out = epsilon;
  return ETK_OK;
}

static etk_status read_activation(etk_error *e, const char *name, const json_t *root, const char *key, etk_encoder_activation *out) {
  static const struct {
    const char *name;
    etk_encoder_activation activation;
  } known[] = {{"gelu", ETK_ENCODER_GELU},
               {"gelu_new", ETK_ENCODER_GELU_TANH},
               {"gelu_pytorch_tanh", ETK_ENCODER_GELU_TANH},
               {"quick_gelu", ETK_ENCODER_QUICK_GELU}};
  const json_t *value = json_object_get(root, key);
  if (!value) return ETK_OK;
  for (size_t i = 0; i < sizeof known / sizeof *known; i++)
    if (json_is_string(value) && !strcmp(json_string_value(value), known[i].name)) return *out = known[i].activation, ETK_OK;
  return etk__json_wrong(e, name, key, value, "\"gelu\", \"gelu_new\", \"gelu_pytorch_tanh\" or \"quick_gelu\"");
}

/* Keys under which the result would differ from what is computed here. */
static etk_status check_unsupported(etk_error *e, const char *name, const json_t *root) {
  static const char *const keys[] = {"is_decoder", "add_cross_attention", "quantization_config", "quantization"};
  for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
    const json_t *value = json_object_get(root, keys[i]);
    if (value && !json_is_null(value) && !json_is_false(value))
      return etk_fail(e, ETK_E_UNSUPPORTED, "%s: \"%s\" is set, which would change the result and is not supported for encoders by this version",
                      name, keys[i]);
  }
  const json_t *kind = json_object_get(root, "position_embedding_type");
  if (!kind || json_is_null(kind) || (json_is_string(kind) && !strcmp(json_string_value(kind), "absolute"))) return ETK_OK;
  if (!json_is_string(kind)) return etk__json_wrong(e, name, "position_embedding_type", kind, "\"absolute\"");
  return etk_fail(e, ETK_E_UNSUPPORTED, "%s: \"position_embedding_type\" is \"%.40s\"; this version knows absolute positions only", name,
                  json_string_value(kind));
}

/* ---- bounds ---- */

/* On every product that follows, so that none overflows: 2^40 elements is far above any real layer. */
static etk_status check_tower(etk_error *e, const char *name, const etk_encoder_config *c, const etk_encoder_tower *t, const char *which) {
  if (!t->hidden_size) return ETK_OK;
  if (t->hidden_size % t->num_attention_heads)
    return etk_fail(e, ETK_E_FORMAT, "%s: %shidden_size %lld is not a multiple of num_attention_heads %lld", name, which, (long long)t->hidden_size,
                    (long long)t->num_attention_heads);
  if (t->num_hidden_layers > LAYERS)
    return etk_fail(e, ETK_E_FORMAT, "%s: %snum_hidden_layers is %lld, wanted at most %d", name, which, (long long)t->num_hidden_layers, LAYERS);
  const int64_t sizes[] = {t->hidden_size, t->intermediate_size, t->positions, c->vocab_size, c->type_vocab_size, c->projection_dim};
  for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
    if (sizes[i] > ((int64_t)1 << 40) / t->hidden_size)
      return etk_fail(e, ETK_E_FORMAT, "%s: a weight of %lld x %lld is beyond any real model; the file is damaged", name, (long long)sizes[i],
                      (long long)t->hidden_size);
  return ETK_OK;
}

static etk_status check_image(etk_error *e, const char *name, const etk_encoder_config *c) {
  if (c->image_size > 1 << 14 || c->num_channels > 64)
    return etk_fail(e, ETK_E_FORMAT, "%s: images of %lld x %lld in %lld channels are beyond any real model; the file is damaged", name,
                    (long long)c->image_size, (long long)c->image_size, (long long)c->num_channels);
  if (c->patch_size > c->image_size || c->image_size % c->patch_size)
    return etk_fail(e, ETK_E_FORMAT, "%s: image_size %lld is not a multiple of patch_size %lld", name, (long long)c->image_size,
                    (long long)c->patch_size);
  int64_t patch = c->num_channels * c->patch_size * c->patch_size;
  if (patch > ((int64_t)1 << 40) / c->image.hidden_size)
    return etk_fail(e, ETK_E_FORMAT, "%s: patches of %lld values are beyond any real model; the file is damaged", name, (long long)patch);
  return ETK_OK;
}

static etk_status check_text(etk_error *e, const char *name, const etk_encoder_config *c) {
  if (c->first_position < 0 || c->first_position >= c->text.positions)
    return etk_fail(e, ETK_E_FORMAT, "%s: positions begin at %lld (behind pad_token_id), and max_position_embeddings is %lld", name,
                    (long long)c->first_position, (long long)c->text.positions);
  if (c->end_token_id >= c->vocab_size)
    return etk_fail(e, ETK_E_FORMAT, "%s: eos_token_id %d is outside the vocabulary of %lld tokens", name, (int)c->end_token_id,
                    (long long)c->vocab_size);
  return ETK_OK;
}

etk_status etk__encoder_config_check(etk_error *e, const char *name, const etk_encoder_config *c) {
  etk_status status = check_tower(e, name, c, &c->text, c->image.hidden_size ? "text_config's " : "");
  if (!status) status = check_tower(e, name, c, &c->image, c->text.hidden_size ? "vision_config's " : "");
  if (!status && c->image.hidden_size) status = check_image(e, name, c);
  if (!status && c->text.hidden_size) status = check_text(e, name, c);
  return status;
}

/* ---- the families ---- */

struct count_key {
  const char *key, *distil; /* DistilBERT's; NULL: it has no such key */
  int64_t *out;
  bool required;
};

static etk_status read_bert(etk_error *e, etk_encoder_config *c, const char *name, const json_t *root, const struct encoder_family *family) {
  c->text = (etk_encoder_tower){.positions = 512, .layer_norm_eps = 1e-12, .activation = ETK_ENCODER_GELU};
  c->type_vocab_size = family->distil ? 0 : 2;
  c->pooling = ETK_POOLING_MEAN;
  const struct count_key keys[] = {{"vocab_size", "vocab_size", &c->vocab_size, true},
                                   {"hidden_size", "dim", &c->text.hidden_size, true},
                                   {"intermediate_size", "hidden_dim", &c->text.intermediate_size, true},
                                   {"num_hidden_layers", "n_layers", &c->text.num_hidden_layers, true},
                                   {"num_attention_heads", "n_heads", &c->text.num_attention_heads, true},
                                   {"max_position_embeddings", "max_position_embeddings", &c->text.positions, false},
                                   {"type_vocab_size", NULL, &c->type_vocab_size, false}};
  etk_status status = check_unsupported(e, name, root);
  for (size_t i = 0; i < sizeof keys / sizeof *keys && !status; i++) {
    const char *key = family->distil ? keys[i].distil : keys[i].key;
    if (key) status = etk__json_count(e, name, root, key, keys[i].required, keys[i].out);
  }
  if (!status && !family->distil) status = read_epsilon(e, name, root, &c->text.layer_norm_eps);
  if (!status) status = read_activation(e, name, root, family->distil ? "activation" : "hidden_act", &c->text.activation);
  if (status) return status;
  const json_t *pad = json_object_get(root, "pad_token_id");
  bool told = pad && !json_is_null(pad);
  if (told && (!json_is_integer(pad) || json_integer_value(pad) < 0 || json_integer_value(pad) >= c->vocab_size))
    return etk__json_wrong(e, name, "pad_token_id", pad, "a token id");
  c->pad_token_id = told ? (int32_t)json_integer_value(pad) : family->offset;
  c->first_position = family->offset ? c->pad_token_id + 1 : 0;
  c->max_tokens = c->text.positions - c->first_position;
  return ETK_OK;
}

static etk_status read_end(etk_error *e, etk_encoder_config *c, const char *name, const json_t *text) {
  const json_t *end = json_object_get(text, "eos_token_id");
  bool told = end && !json_is_null(end);
  if (told && (!json_is_integer(end) || json_integer_value(end) < 0 || json_integer_value(end) > INT32_MAX))
    return etk__json_wrong(e, name, "eos_token_id", end, "a token id");
  c->end_token_id = told ? (int32_t)json_integer_value(end) : END_OF_TEXT;
  if (c->end_token_id == HISTORIC_END) c->end_token_id = -1;
  return ETK_OK;
}

static etk_status read_clip_text(etk_error *e, etk_encoder_config *c, const char *name, const json_t *text) {
  c->text = (etk_encoder_tower){512, 2048, 12, 8, 77, 1e-5, ETK_ENCODER_QUICK_GELU};
  c->vocab_size = 49408;
  c->pooling = ETK_POOLING_END;
  const struct count_key keys[] = {{"vocab_size", NULL, &c->vocab_size, false},
                                   {"hidden_size", NULL, &c->text.hidden_size, false},
                                   {"intermediate_size", NULL, &c->text.intermediate_size, false},
                                   {"num_hidden_layers", NULL, &c->text.num_hidden_layers, false},
                                   {"num_attention_heads", NULL, &c->text.num_attention_heads, false},
                                   {"max_position_embeddings", NULL, &c->text.positions, false}};
  etk_status status = check_unsupported(e, name, text);
  for (size_t i = 0; i < sizeof keys / sizeof *keys && !status; i++) status = etk__json_count(e, name, text, keys[i].key, false, keys[i].out);
  if (!status) status = read_epsilon(e, name, text, &c->text.layer_norm_eps);
  if (!status) status = read_activation(e, name, text, "hidden_act", &c->text.activation);
  if (!status) status = read_end(e, c, name, text);
  c->max_tokens = c->text.positions;
  return status;
}

static etk_status read_clip_image(etk_error *e, etk_encoder_config *c, const char *name, const json_t *image) {
  c->image = (etk_encoder_tower){768, 3072, 12, 12, 0, 1e-5, ETK_ENCODER_QUICK_GELU};
  c->image_size = 224;
  c->patch_size = 32;
  c->num_channels = 3;
  const struct count_key keys[] = {{"hidden_size", NULL, &c->image.hidden_size, false},
                                   {"intermediate_size", NULL, &c->image.intermediate_size, false},
                                   {"num_hidden_layers", NULL, &c->image.num_hidden_layers, false},
                                   {"num_attention_heads", NULL, &c->image.num_attention_heads, false},
                                   {"image_size", NULL, &c->image_size, false},
                                   {"patch_size", NULL, &c->patch_size, false},
                                   {"num_channels", NULL, &c->num_channels, false}};
  etk_status status = check_unsupported(e, name, image);
  for (size_t i = 0; i < sizeof keys / sizeof *keys && !status; i++) status = etk__json_count(e, name, image, keys[i].key, false, keys[i].out);
  if (!status) status = read_epsilon(e, name, image, &c->image.layer_norm_eps);
  if (!status) status = read_activation(e, name, image, "hidden_act", &c->image.activation);
  int64_t across = c->image_size / c->patch_size;
  c->image.positions = across < 1 << 15 ? across * across + 1 : 1; /* beyond that check_image refuses the image */
  return status;
}

/* A part of a whole CLIP: transformers lets text_config_dict, of old files, replace text_config with all its defaults. */
static etk_status part_of(etk_error *e, const json_t **out, const char *name, const json_t *root, const char *key, const char *old_key) {
  const json_t *old = json_object_get(root, old_key), *part = json_object_get(root, key);
  *out = old && !json_is_null(old) ? old : part;
  if (!*out) return etk_fail(e, ETK_E_FORMAT, "%s: has no \"%s\", which clip needs", name, key);
  return json_is_object(*out) ? ETK_OK : etk__json_wrong(e, name, *out == old ? old_key : key, *out, "an object");
}

static etk_status read_clip(etk_error *e, etk_encoder_config *c, const char *name, const json_t *root, const struct encoder_family *family) {
  const json_t *text = root, *image = root;
  bool whole = family->text && family->image;
  c->projection_dim = 512;
  c->end_token_id = -1;
  c->normalize = true;
  etk_status status = whole ? part_of(e, &text, name, root, "text_config", "text_config_dict") : ETK_OK;
  if (!status && whole) status = part_of(e, &image, name, root, "vision_config", "vision_config_dict");
  if (!status && family->text) status = read_clip_text(e, c, name, text);
  if (!status && family->image) status = read_clip_image(e, c, name, image);
  if (!status) status = etk__json_count(e, name, root, "projection_dim", false, &c->projection_dim);
  return status;
}

static etk_status read_config(etk_error *e, etk_encoder_config *c, const char *name, const json_t *root) {
  const json_t *type = json_object_get(root, "model_type");
  char names[256];
  if (!json_is_string(type)) return etk_fail(e, ETK_E_FORMAT, "%s: has no \"model_type\"; is this a Hugging Face model folder?", name);
  const struct encoder_family *family = etk__encoder_family(json_string_value(type));
  if (!family)
    return etk_fail(e, ETK_E_UNSUPPORTED, "%s: model_type \"%.40s\" is no encoder that this version runs; it runs %s", name, json_string_value(type),
                    family_names(names, sizeof names));
  *c = (etk_encoder_config){.end_token_id = -1};
  snprintf(c->architecture, sizeof c->architecture, "%s", family->model_type);
  etk_status status = check_unsupported(e, name, root);
  if (!status) status = family->clip ? read_clip(e, c, name, root, family) : read_bert(e, c, name, root, family);
  return status ? status : etk__encoder_config_check(e, name, c);
}

etk_status etk_encoder_config_parse(etk_error *e, etk_encoder_config *out, const char *name, const char *bytes, size_t size) {
  json_t *root = NULL;
  *out = (etk_encoder_config){0};
  etk_status status = etk__json_parse(e, &root, name, bytes, size);
  if (status) return status;
  status = json_is_object(root) ? read_config(e, out, name, root) : etk_fail(e, ETK_E_FORMAT, "%s: wanted a JSON object", name);
  json_decref(root);
  return status;
}
