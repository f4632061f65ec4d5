/* BERT in a GGUF file: llama.cpp's names and keys of the architecture "bert" (sentence encoders; positions begin at 0, whatever the model was made from). */
#include "encoder_internal.h"
#include "ml/format/weights_internal.h"

/* Hugging Face's module, llama.cpp's; in layers behind "encoder.layer.N." and "blk.N." */
static const struct {
  const char *module, *gguf;
  bool in_layer;
} names[] = {{"embeddings.word_embeddings", "token_embd", false},
             {"embeddings.position_embeddings", "position_embd", false},
             {"embeddings.token_type_embeddings", "token_types", false},
             {"embeddings.LayerNorm", "token_embd_norm", false},
             {"attention.self.query", "attn_q", true},
             {"attention.self.key", "attn_k", true},
             {"attention.self.value", "attn_v", true},
             {"attention.output.dense", "attn_output", true},
             {"attention.output.LayerNorm", "attn_output_norm", true},
             {"intermediate.dense", "ffn_up", true},
             {"output.dense", "ffn_down", true},
             {"output.LayerNorm", "layer_output_norm", true}};

const char *etk__encoder_gguf_name(char *out, size_t size, const char *name) {
  static const char prefix[] = "encoder.layer.";
  bool in_layer = !strncmp(name, prefix, sizeof prefix - 1);
  const char *number = in_layer ? name + sizeof prefix - 1 : name, *module = in_layer ? number + strcspn(number, ".") + 1 : name,
             *last = strrchr(name, '.');
  size_t length = last > module ? (size_t)(last - module) : 0;
  for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
    if (names[i].in_layer != in_layer || strlen(names[i].module) != length || memcmp(names[i].module, module, length)) continue;
    snprintf(out, size, "%s%.*s%s%s", in_layer ? "blk." : "", in_layer ? (int)(module - number) : 0, number, names[i].gguf, last);
    return out;
  }
  return NULL;
}

static etk_status read_count(etk_error *e, const etk_weights *w, const char *key, int64_t *out) {
  etk_status status = etk_gguf_get_int(e, out, w->gguf, key);
  if (!status && (*out < 1 || *out > INT32_MAX))
    status = etk_fail(e, ETK_E_FORMAT, "%s: %s is %lld, wanted a whole number from 1 to 2^31 - 1", w->path, key, (long long)*out);
  return status;
}

/* Rows of a table; 0: there is none. */
static int64_t rows_of(const etk_weights *w, const char *name) {
  const etk_weight *weight = etk_weights_find(w, name);
  return weight && weight->shape.rank == 2 && weight->shape.dims[0] <= INT32_MAX ? weight->shape.dims[0] : 0;
}

static etk_status read_pooling(etk_error *e, const etk_weights *w, etk_encoder_config *c) {
  enum { NONE, MEAN, CLS };
  int64_t kind = MEAN;
  bool causal = false;
  etk_status status = etk_gguf_find(w->gguf, "bert.pooling_type") ? etk_gguf_get_int(e, &kind, w->gguf, "bert.pooling_type") : ETK_OK;
  if (!status && etk_gguf_find(w->gguf, "bert.attention.causal")) status = etk_gguf_get_flag(e, &causal, w->gguf, "bert.attention.causal");
  if (status) return status;
  c->pooling = kind == CLS ? ETK_POOLING_CLS : ETK_POOLING_MEAN;
  if (causal)
    return etk_fail(e, ETK_E_UNSUPPORTED, "%s: bert.attention.causal is set, which would change the result and is not supported by this version",
                    w->path);
  return kind >= NONE && kind <= CLS
             ? ETK_OK
             : etk_fail(e, ETK_E_UNSUPPORTED, "%s: bert.pooling_type is %lld; this version knows 0 to 2 (none, mean, the first token)", w->path,
                        (long long)kind);
}

etk_status etk__encoder_config_gguf(etk_error *e, etk_encoder_config *c, const etk_weights *w) {
  const char *architecture = NULL;
  etk_status status = etk_gguf_get_text(e, &architecture, w->gguf, "general.architecture");
  if (status) return status;
  if (strcmp(architecture, "bert"))
    return etk_fail(e, ETK_E_UNSUPPORTED, "%s: the architecture \"%.40s\" is no encoder that this version runs from GGUF; it runs bert", w->path,
                    architecture);
  *c = (etk_encoder_config){
      .architecture = "bert", .end_token_id = -1, .vocab_size = rows_of(w, "token_embd.weight"), .type_vocab_size = rows_of(w, "token_types.weight")};
  c->text = (etk_encoder_tower){.positions = rows_of(w, "position_embd.weight"), .activation = ETK_ENCODER_GELU};
  int64_t context = 0;
  status = read_count(e, w, "bert.embedding_length", &c->text.hidden_size);
  if (!status) status = read_count(e, w, "bert.feed_forward_length", &c->text.intermediate_size);
  if (!status) status = read_count(e, w, "bert.block_count", &c->text.num_hidden_layers);
  if (!status) status = read_count(e, w, "bert.attention.head_count", &c->text.num_attention_heads);
  if (!status) status = read_count(e, w, "bert.context_length", &context);
  if (!status) status = etk_gguf_get_real(e, &c->text.layer_norm_eps, w->gguf, "bert.attention.layer_norm_epsilon");
  if (!status) status = read_pooling(e, w, c);
  if (status) return status;
  if (!c->vocab_size || !c->text.positions)
    return etk_fail(e, ETK_E_FORMAT, "%s has no tensor %s, or it is no matrix", w->path,
                    c->vocab_size ? "position_embd.weight" : "token_embd.weight");
  if (!(c->text.layer_norm_eps > 0) || c->text.layer_norm_eps > 1)
    return etk_fail(e, ETK_E_FORMAT, "%s: bert.attention.layer_norm_epsilon is %g, wanted a number above 0, at most 1", w->path,
                    c->text.layer_norm_eps);
  c->max_tokens = context < c->text.positions ? context : c->text.positions;
  return etk__encoder_config_check(e, w->path, c);
}
