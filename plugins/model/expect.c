/* The Llama family: Llama, Mistral, Qwen2, Qwen3. */
#include "expect.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const family[] = {"llama", "mistral", "qwen2", "qwen3"};

enum need { MUST, MAY, MUST_QWEN3 };
static const struct expected {
  const char *name; /* whole, or behind "model.layers.N." */
  char rows, columns; /* etk_weights_extent; columns 0: a vector */
  enum need need;
} whole[] = {{"model.embed_tokens.weight", 'V', 'D', MUST}, {"model.norm.weight", 'D', 0, MUST}, {"lm_head.weight", 'V', 'D', MAY}},
  block[] = {
      {"input_layernorm.weight", 'D', 0, MUST},     {"post_attention_layernorm.weight", 'D', 0, MUST}, {"self_attn.q_proj.weight", 'Q', 'D', MUST},
      {"self_attn.k_proj.weight", 'K', 'D', MUST},  {"self_attn.v_proj.weight", 'K', 'D', MUST},       {"self_attn.o_proj.weight", 'D', 'Q', MUST},
      {"mlp.gate_proj.weight", 'H', 'D', MUST},     {"mlp.up_proj.weight", 'H', 'D', MUST},            {"mlp.down_proj.weight", 'D', 'H', MUST},
      {"self_attn.q_proj.bias", 'Q', 0, MAY},       {"self_attn.k_proj.bias", 'K', 0, MAY},            {"self_attn.v_proj.bias", 'K', 0, MAY},
      {"self_attn.o_proj.bias", 'D', 0, MAY},       {"mlp.gate_proj.bias", 'H', 0, MAY},               {"mlp.up_proj.bias", 'H', 0, MAY},
      {"mlp.down_proj.bias", 'D', 0, MAY},          {"self_attn.q_norm.weight", 'E', 0, MUST_QWEN3},   {"self_attn.k_norm.weight", 'E', 0, MUST_QWEN3},
  };
enum { WHOLE = sizeof whole / sizeof *whole, BLOCK = sizeof block / sizeof *block };

static bool ends_with(const char *text, const char *tail) {
  size_t size = strlen(text), end = strlen(tail);
  return size >= end && !strcmp(text + size - end, tail);
}

bool expect_known(const etk_weights *w, const char **why) {
  static const char *const other_layouts[] = {".scales", ".qweight", ".weight_scale", ".absmax", ".SCB", "ffn_gate_inp.weight", ".ffn_gate_exps.weight"};
  const etk_weights_facts *f = etk_weights_get_facts(w);
  bool known = false;
  for (size_t i = 0; i < sizeof family / sizeof *family; i++) known |= !strcmp(f->architecture, family[i]);
  *why = !*f->architecture ? "nothing tells the architecture" : "the shapes of this architecture are not known to this version";
  if (!known) return false;
  *why = "the configuration leaves out a size";
  if (!f->vocab_size || !f->hidden_size || !f->intermediate_size || !f->num_hidden_layers || !f->num_attention_heads || !f->head_dim) return false;
  if (f->num_attention_heads > INT32_MAX || f->num_key_value_heads > INT32_MAX || f->head_dim > INT32_MAX || f->num_hidden_layers > INT32_MAX) return false;
  *why = "the weights are quantized or mixed in a layout whose shapes are not known";
  for (size_t i = 0; i < etk_weights_count(w); i++)
    for (size_t k = 0; k < sizeof other_layouts / sizeof *other_layouts; k++)
      if (ends_with(etk_weights_at(w, i)->name, other_layouts[k])) return false;
  return true;
}

typedef void (*finding)(void *user, const char *name, const char *problem);

static void check_one(const etk_weights *w, const struct expected *x, const char *name, finding found, void *user) {
  const etk_weights_facts *f = etk_weights_get_facts(w);
  const etk_weight *weight = etk_weights_find(w, name);
  char problem[256], shape[128], wanted[128];
  if (!weight) {
    if (x->need == MUST || (x->need == MUST_QWEN3 && !strcmp(f->architecture, "qwen3"))) found(user, name, "missing");
    return;
  }
  etk_shape right = x->columns ? etk_shape_of(2, etk_weights_extent(f, x->rows), etk_weights_extent(f, x->columns)) : etk_shape_of(1, etk_weights_extent(f, x->rows));
  if (etk_shape_equal(&weight->shape, &right)) return;
  snprintf(problem, sizeof problem, "is %s, the configuration calls for %s", etk_shape_text(shape, sizeof shape, &weight->shape), etk_shape_text(wanted, sizeof wanted, &right));
  found(user, weight->name, problem);
}

static bool belongs(const etk_weights_facts *f, const etk_weight *weight) {
  const char *name = weight->canonical;
  if (ends_with(name, "rotary_emb.inv_freq") || !strncmp(name, "rope_f", 6)) return true; /* tables, not weights */
  for (int i = 0; i < WHOLE; i++)
    if (!strcmp(name, whole[i].name)) return true;
  char *end = NULL;
  long layer = strncmp(name, "model.layers.", 13) || name[13] < '0' || name[13] > '9' ? -1 : strtol(name + 13, &end, 10);
  if (layer < 0 || layer >= f->num_hidden_layers || *end != '.') return false;
  for (int i = 0; i < BLOCK; i++)
    if (!strcmp(end + 1, block[i].name)) return true;
  return false;
}

void expect_check(const etk_weights *w, finding found, void *user) {
  const etk_weights_facts *f = etk_weights_get_facts(w);
  char name[128];
  for (int i = 0; i < WHOLE; i++) check_one(w, &whole[i], whole[i].name, found, user);
  size_t most = etk_weights_count(w) + 1; /* a layer that nothing is there of ends the list: a count may be any number */
  for (int64_t layer = 0; layer < f->num_hidden_layers && (size_t)layer < most; layer++)
    for (int i = 0; i < BLOCK; i++) {
      snprintf(name, sizeof name, "model.layers.%lld.%s", (long long)layer, block[i].name);
      check_one(w, &block[i], name, found, user);
    }
  for (size_t i = 0; i < etk_weights_count(w); i++)
    if (!belongs(f, etk_weights_at(w, i))) found(user, etk_weights_at(w, i)->name, "the architecture has no tensor of this name");
}
