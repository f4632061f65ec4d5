/* The families of architectures: for each the names of its weights and what tells it from the others. */
#include "internal.h"

#include <etk/text.h>

#define L(field) offsetof(struct layer, field)
#define M(field) offsetof(etk_model, field)
#define LINEAR(path, field, out_dim, in_dim, bias_condition, start)                                             \
  {path ".weight", L(field) + offsetof(struct linear, weight), 2, {out_dim, in_dim}, IF_ALWAYS, start, true},       \
  {path ".bias", L(field) + offsetof(struct linear, bias), 1, {out_dim, out_dim}, bias_condition, START_ZERO, false}
#define NORM_ROW(name, offset, dim, condition) {name, offset, 1, {dim, dim}, condition, START_NORM, false}
#define BIAS_ROW(name, offset, dim) {name, offset, 1, {dim, dim}, IF_ALWAYS, START_ZERO, false}
#define CONV1D(path, field, out_dim, in_dim, start)                                                             \
  {path ".weight", L(field) + offsetof(struct linear, weight), 2, {in_dim, out_dim}, IF_ALWAYS, start, true},    \
  {path ".bias", L(field) + offsetof(struct linear, bias), 1, {out_dim, out_dim}, IF_ALWAYS, START_ZERO, false}
#define PLAIN(path, base, field, out_dim, in_dim, start) {path ".weight", base(field) + offsetof(struct linear, weight), 2, {out_dim, in_dim}, IF_ALWAYS, start, true}
#define COUNT(table) ((int)(sizeof(table) / sizeof *(table)))

static const struct weight_row llama_layer[] = {
    NORM_ROW("input_layernorm.weight", L(input_norm), DIM_HIDDEN, IF_ALWAYS),
    LINEAR("self_attn.q_proj", q, DIM_QUERY, DIM_HIDDEN, IF_ATTENTION_BIAS, START_NORMAL),
    LINEAR("self_attn.k_proj", k, DIM_KEY, DIM_HIDDEN, IF_ATTENTION_BIAS, START_NORMAL),
    LINEAR("self_attn.v_proj", v, DIM_KEY, DIM_HIDDEN, IF_ATTENTION_BIAS, START_NORMAL),
    LINEAR("self_attn.o_proj", o, DIM_HIDDEN, DIM_QUERY, IF_OUTPUT_BIAS, START_RESIDUAL),
    NORM_ROW("self_attn.q_norm.weight", L(q_norm), DIM_HEAD, IF_QK_NORM),
    NORM_ROW("self_attn.k_norm.weight", L(k_norm), DIM_HEAD, IF_QK_NORM),
    NORM_ROW("post_attention_layernorm.weight", L(post_norm), DIM_HIDDEN, IF_ALWAYS),
    LINEAR("mlp.gate_proj", gate, DIM_INTERMEDIATE, DIM_HIDDEN, IF_MLP_BIAS, START_NORMAL),
    LINEAR("mlp.up_proj", up, DIM_INTERMEDIATE, DIM_HIDDEN, IF_MLP_BIAS, START_NORMAL),
    LINEAR("mlp.down_proj", down, DIM_HIDDEN, DIM_INTERMEDIATE, IF_MLP_BIAS, START_RESIDUAL),
};
static const struct weight_row llama_model[] = {
    {"model.embed_tokens.weight", M(embedding), 2, {DIM_VOCAB, DIM_HIDDEN}, IF_ALWAYS, START_NORMAL, false},
    NORM_ROW("model.norm.weight", M(norm), DIM_HIDDEN, IF_ALWAYS),
    {"lm_head.weight", M(head) + offsetof(struct linear, weight), 2, {DIM_VOCAB, DIM_HIDDEN}, IF_UNTIED, START_NORMAL, false},
};
#define LLAMA_WEIGHTS "model.layers.", llama_layer, llama_model, COUNT(llama_layer), COUNT(llama_model)

/* four norms a block: of what attention and feed-forward read, and of what they give */
static const struct weight_row gemma2_layer[] = {
    NORM_ROW("input_layernorm.weight", L(input_norm), DIM_HIDDEN, IF_ALWAYS),
    LINEAR("self_attn.q_proj", q, DIM_QUERY, DIM_HIDDEN, IF_ATTENTION_BIAS, START_NORMAL),
    LINEAR("self_attn.k_proj", k, DIM_KEY, DIM_HIDDEN, IF_ATTENTION_BIAS, START_NORMAL),
    LINEAR("self_attn.v_proj", v, DIM_KEY, DIM_HIDDEN, IF_ATTENTION_BIAS, START_NORMAL),
    LINEAR("self_attn.o_proj", o, DIM_HIDDEN, DIM_QUERY, IF_OUTPUT_BIAS, START_RESIDUAL),
    NORM_ROW("self_attn.q_norm.weight", L(q_norm), DIM_HEAD, IF_QK_NORM),
    NORM_ROW("self_attn.k_norm.weight", L(k_norm), DIM_HEAD, IF_QK_NORM),
    NORM_ROW("post_attention_layernorm.weight", L(attention_norm), DIM_HIDDEN, IF_ALWAYS),
    NORM_ROW("pre_feedforward_layernorm.weight", L(post_norm), DIM_HIDDEN, IF_ALWAYS),
    PLAIN("mlp.gate_proj", L, gate, DIM_INTERMEDIATE, DIM_HIDDEN, START_NORMAL),
    PLAIN("mlp.up_proj", L, up, DIM_INTERMEDIATE, DIM_HIDDEN, START_NORMAL),
    PLAIN("mlp.down_proj", L, down, DIM_HIDDEN, DIM_INTERMEDIATE, START_RESIDUAL),
    NORM_ROW("post_feedforward_layernorm.weight", L(feed_norm), DIM_HIDDEN, IF_ALWAYS),
};
#define GEMMA2_WEIGHTS "model.layers.", gemma2_layer, llama_model, COUNT(gemma2_layer), COUNT(llama_model)

/* all queries, all keys, all values; all gates, all the rest */
static const struct weight_row phi3_layer[] = {
    NORM_ROW("input_layernorm.weight", L(input_norm), DIM_HIDDEN, IF_ALWAYS),
    PLAIN("self_attn.qkv_proj", L, qkv, DIM_QKV, DIM_HIDDEN, START_NORMAL),
    PLAIN("self_attn.o_proj", L, o, DIM_HIDDEN, DIM_QUERY, START_RESIDUAL),
    NORM_ROW("post_attention_layernorm.weight", L(post_norm), DIM_HIDDEN, IF_ALWAYS),
    PLAIN("mlp.gate_up_proj", L, gate_up, DIM_GATE_UP, DIM_HIDDEN, START_NORMAL),
    PLAIN("mlp.down_proj", L, down, DIM_HIDDEN, DIM_INTERMEDIATE, START_RESIDUAL),
};

#define ATTENTION_ROWS                                                                                \
  NORM_ROW("input_layernorm.weight", L(input_norm), DIM_HIDDEN, IF_ALWAYS),                            \
  LINEAR("self_attn.q_proj", q, DIM_QUERY, DIM_HIDDEN, IF_ATTENTION_BIAS, START_NORMAL),               \
  LINEAR("self_attn.k_proj", k, DIM_KEY, DIM_HIDDEN, IF_ATTENTION_BIAS, START_NORMAL),                 \
  LINEAR("self_attn.v_proj", v, DIM_KEY, DIM_HIDDEN, IF_ATTENTION_BIAS, START_NORMAL),                 \
  LINEAR("self_attn.o_proj", o, DIM_HIDDEN, DIM_QUERY, IF_OUTPUT_BIAS, START_RESIDUAL),                \
  NORM_ROW("post_attention_layernorm.weight", L(post_norm), DIM_HIDDEN, IF_ALWAYS)
#define E(field) offsetof(struct expert, field)
static const struct weight_row mixtral_layer[] = {
    ATTENTION_ROWS,
    PLAIN("block_sparse_moe.gate", L, router, DIM_EXPERTS, DIM_HIDDEN, START_NORMAL),
};
static const struct weight_row mixtral_expert[] = {
    PLAIN("w1", E, gate, DIM_EXPERT, DIM_HIDDEN, START_NORMAL),
    PLAIN("w2", E, down, DIM_HIDDEN, DIM_EXPERT, START_RESIDUAL),
    PLAIN("w3", E, up, DIM_EXPERT, DIM_HIDDEN, START_NORMAL),
};
static const struct weight_row qwen2_moe_layer[] = {
    ATTENTION_ROWS,
    PLAIN("mlp.gate", L, router, DIM_EXPERTS, DIM_HIDDEN, START_NORMAL),
    PLAIN("mlp.shared_expert.gate_proj", L, gate, DIM_SHARED, DIM_HIDDEN, START_NORMAL),
    PLAIN("mlp.shared_expert.up_proj", L, up, DIM_SHARED, DIM_HIDDEN, START_NORMAL),
    PLAIN("mlp.shared_expert.down_proj", L, down, DIM_HIDDEN, DIM_SHARED, START_RESIDUAL),
    PLAIN("mlp.shared_expert_gate", L, shared_gate, DIM_ONE, DIM_HIDDEN, START_NORMAL),
};
static const struct weight_row qwen2_moe_expert[] = {
    PLAIN("gate_proj", E, gate, DIM_EXPERT, DIM_HIDDEN, START_NORMAL),
    PLAIN("up_proj", E, up, DIM_EXPERT, DIM_HIDDEN, START_NORMAL),
    PLAIN("down_proj", E, down, DIM_HIDDEN, DIM_EXPERT, START_RESIDUAL),
};

/* q, k and v of one head lie together */
static const struct weight_row neox_layer[] = {
    NORM_ROW("input_layernorm.weight", L(input_norm), DIM_HIDDEN, IF_ALWAYS),
    BIAS_ROW("input_layernorm.bias", L(input_norm_bias), DIM_HIDDEN),
    NORM_ROW("post_attention_layernorm.weight", L(post_norm), DIM_HIDDEN, IF_ALWAYS),
    BIAS_ROW("post_attention_layernorm.bias", L(post_norm_bias), DIM_HIDDEN),
    LINEAR("attention.query_key_value", qkv, DIM_QKV, DIM_HIDDEN, IF_ATTENTION_BIAS, START_NORMAL),
    LINEAR("attention.dense", o, DIM_HIDDEN, DIM_QUERY, IF_ATTENTION_BIAS, START_RESIDUAL),
    LINEAR("mlp.dense_h_to_4h", up, DIM_INTERMEDIATE, DIM_HIDDEN, IF_ALWAYS, START_NORMAL),
    LINEAR("mlp.dense_4h_to_h", down, DIM_HIDDEN, DIM_INTERMEDIATE, IF_ALWAYS, START_RESIDUAL),
};
static const struct weight_row neox_model[] = {
    {"gpt_neox.embed_in.weight", M(embedding), 2, {DIM_VOCAB, DIM_HIDDEN}, IF_ALWAYS, START_NORMAL, false},
    NORM_ROW("gpt_neox.final_layer_norm.weight", M(norm), DIM_HIDDEN, IF_ALWAYS),
    BIAS_ROW("gpt_neox.final_layer_norm.bias", M(norm_bias), DIM_HIDDEN),
    {"embed_out.weight", M(head) + offsetof(struct linear, weight), 2, {DIM_VOCAB, DIM_HIDDEN}, IF_UNTIED, START_NORMAL, false},
};
static const struct weight_row gpt2_layer[] = {
    NORM_ROW("ln_1.weight", L(input_norm), DIM_HIDDEN, IF_ALWAYS),
    BIAS_ROW("ln_1.bias", L(input_norm_bias), DIM_HIDDEN),
    CONV1D("attn.c_attn", qkv, DIM_QKV, DIM_HIDDEN, START_NORMAL),
    CONV1D("attn.c_proj", o, DIM_HIDDEN, DIM_QUERY, START_RESIDUAL),
    NORM_ROW("ln_2.weight", L(post_norm), DIM_HIDDEN, IF_ALWAYS),
    BIAS_ROW("ln_2.bias", L(post_norm_bias), DIM_HIDDEN),
    CONV1D("mlp.c_fc", up, DIM_INTERMEDIATE, DIM_HIDDEN, START_NORMAL),
    CONV1D("mlp.c_proj", down, DIM_HIDDEN, DIM_INTERMEDIATE, START_RESIDUAL),
};
static const struct weight_row gpt2_model[] = {
    {"transformer.wte.weight", M(embedding), 2, {DIM_VOCAB, DIM_HIDDEN}, IF_ALWAYS, START_NORMAL, false},
    {"transformer.wpe.weight", M(position_embedding), 2, {DIM_POSITIONS, DIM_HIDDEN}, IF_ALWAYS, START_NORMAL, false},
    NORM_ROW("transformer.ln_f.weight", M(norm), DIM_HIDDEN, IF_ALWAYS),
    BIAS_ROW("transformer.ln_f.bias", M(norm_bias), DIM_HIDDEN),
    {"lm_head.weight", M(head) + offsetof(struct linear, weight), 2, {DIM_VOCAB, DIM_HIDDEN}, IF_UNTIED, START_NORMAL, false},
};

/* What Gemma3TextConfig has where the text_config of a gemma3 leaves it out: such a nested object holds only what differs. */
static const etk_model_config gemma3_text_defaults = {.vocab_size = 262208, .hidden_size = 2304, .intermediate_size = 9216, .num_hidden_layers = 26,
                                                      .num_attention_heads = 8, .num_key_value_heads = 4, .bos_token_id = 2, .eos_token_ids = {1},
                                                      .eos_count = 1};

#define GEMMA .norm_from_one = true, .scaled_embedding = true, .tied = true, .head_dim = 256, .activation = ETK_ACTIVATION_GELU_TANH, .activation_key = "hidden_activation"
#define QWEN_WINDOWS .windows = WINDOWS_LATE, .window_choice = true, .sliding_window = 4096

static const struct family families[] = {
    {"llama", "LlamaForCausalLM", LLAMA_WEIGHTS, .forward = etk__llama_forward},
    {"mistral", "MistralForCausalLM", LLAMA_WEIGHTS, .windows = WINDOWS_ALL, .sliding_window = 4096, .positions = 131072, .forward = etk__llama_forward},
    {"qwen2", "Qwen2ForCausalLM", LLAMA_WEIGHTS, QWEN_WINDOWS, .qkv_bias = true, .positions = 32768, .forward = etk__llama_forward},
    {"qwen3", "Qwen3ForCausalLM", LLAMA_WEIGHTS, QWEN_WINDOWS, .qk_norm = true, .head_dim = 128, .positions = 32768, .forward = etk__llama_forward},
    {"gemma", "GemmaForCausalLM", LLAMA_WEIGHTS, GEMMA, .positions = 8192, .forward = etk__llama_forward},
    {"gemma2", "Gemma2ForCausalLM", GEMMA2_WEIGHTS, GEMMA, .windows = WINDOWS_PATTERN, .sliding_window = 4096, .window_pattern = 2,
     .query_scalar = 256, .caps_scores = true, .caps_logits = true, .score_cap = 50, .logit_cap = 30, .positions = 8192,
     .forward = etk__llama_forward},
    {"gemma3_text", "Gemma3ForCausalLM", GEMMA2_WEIGHTS, GEMMA, .qk_norm = true, .windows = WINDOWS_PATTERN, .sliding_window = 4096,
     .window_pattern = 6, .query_scalar = 256, .caps_logits = true, .rope_theta = 1e6, .local_theta = 10000, .positions = 131072, .whole = "gemma3",
     .text_defaults = &gemma3_text_defaults, .forward = etk__llama_forward},
    {"phi3", "Phi3ForCausalLM", "model.layers.", phi3_layer, llama_model, COUNT(phi3_layer), COUNT(llama_model), .windows = WINDOWS_ALL,
     .rotary_part = 1, .longrope = true, .epsilon = 1e-5, .positions = 4096, .forward = etk__llama_forward},
    {"smollm3", "SmolLM3ForCausalLM", LLAMA_WEIGHTS, .window_choice = true, .no_rope_interval = 4, .tied = true, .rope_theta = 2e6,
     .positions = 32768, .forward = etk__llama_forward},
    {"gpt2", "GPT2LMHeadModel", "transformer.h.", gpt2_layer, gpt2_model, COUNT(gpt2_layer), COUNT(gpt2_model), .conv1d = true, .layer_norm = true,
     .tied = true, .activation = ETK_ACTIVATION_GELU_TANH, .activation_key = "activation_function", .norm_key = "layer_norm_epsilon", .epsilon = 1e-5,
     .positions = 1024, .optional_prefix = "transformer.", .forward = etk__gpt_forward},
    {"gpt_neox", "GPTNeoXForCausalLM", "gpt_neox.layers.", neox_layer, neox_model, COUNT(neox_layer), COUNT(neox_model), .layer_norm = true,
     .activation = ETK_ACTIVATION_GELU, .norm_key = "layer_norm_eps", .theta_key = "rotary_emb_base", .rotary_part = 0.25, .epsilon = 1e-5,
     .forward = etk__gpt_forward},
    {"mixtral", "MixtralForCausalLM", "model.layers.", mixtral_layer, llama_model, COUNT(mixtral_layer), COUNT(llama_model), .windows = WINDOWS_ALL,
     .expert_rows = mixtral_expert, .expert_row_count = COUNT(mixtral_expert), .expert_prefix = "block_sparse_moe.experts.", .experts_key = "num_local_experts",
     .rope_theta = 1e6, .epsilon = 1e-5, .positions = 131072, .forward = etk__llama_forward},
    {"qwen2_moe", "Qwen2MoeForCausalLM", "model.layers.", qwen2_moe_layer, llama_model, COUNT(qwen2_moe_layer), COUNT(llama_model), .qkv_bias = true,
     .window_choice = true, .expert_rows = qwen2_moe_expert, .expert_row_count = COUNT(qwen2_moe_expert), .expert_prefix = "mlp.experts.",
     .experts_key = "num_experts", .shared_expert = true, .positions = 32768, .forward = etk__llama_forward},
};

const struct family *etk__family_find(const char *model_type) {
  for (int i = 0; i < COUNT(families); i++)
    if (!strcmp(families[i].model_type, model_type)) return &families[i];
  return NULL;
}

const struct family *etk__family_of_whole(const char *model_type) {
  for (int i = 0; i < COUNT(families); i++)
    if (families[i].whole && !strcmp(families[i].whole, model_type)) return &families[i];
  return NULL;
}

const char *etk__family_names(char *text, size_t size) {
  size_t used = 0;
  text[0] = 0;
  for (int i = 0; i < COUNT(families) && used < size; i++)
    used += (size_t)snprintf(text + used, size - used, "%s%s%s%s", !i ? "" : i + 1 < COUNT(families) ? ", " : " and ", families[i].model_type,
                             families[i].whole ? ", the text of " : "", families[i].whole ? families[i].whole : "");
  return text;
}

static int64_t dimension(const etk_model_config *c, enum dimension d) {
  switch (d) {
  case DIM_VOCAB: return c->vocab_size;
  case DIM_HIDDEN: return c->hidden_size;
  case DIM_INTERMEDIATE: return c->intermediate_size;
  case DIM_QUERY: return c->num_attention_heads * c->head_dim;
  case DIM_KEY: return c->num_key_value_heads * c->head_dim;
  case DIM_QKV: return (c->num_attention_heads + 2 * c->num_key_value_heads) * c->head_dim;
  case DIM_EXPERTS: return c->num_experts;
  case DIM_EXPERT: return c->moe_intermediate_size;
  case DIM_SHARED: return c->shared_expert_intermediate_size;
  case DIM_ONE: return 1;
  case DIM_GATE_UP: return 2 * c->intermediate_size;
  case DIM_POSITIONS: return c->max_position_embeddings;
  default: return c->head_dim;
  }
}

bool etk__weight_present(const etk_model_config *c, const struct family *family, enum condition condition) {
  switch (condition) {
  case IF_ATTENTION_BIAS: return c->attention_bias;
  case IF_OUTPUT_BIAS: return c->attention_bias && !family->qkv_bias;
  case IF_MLP_BIAS: return c->mlp_bias;
  case IF_UNTIED: return !c->tie_word_embeddings;
  case IF_QK_NORM: return family->qk_norm;
  default: return true;
  }
}

etk_shape etk__weight_shape(const etk_model_config *c, const struct weight_row *row) {
  etk_shape shape = {row->rank, {dimension(c, row->dims[0]), row->rank > 1 ? dimension(c, row->dims[1]) : 0}};
  return shape;
}

const char *etk__name_spelling(const etk_model_config *c, const struct family *family, int index, const char *name, char *out, size_t size) {
  const char *prefix = family->optional_prefix;
  if (index == 0) return name;
  if (index == 1) return prefix && !strncmp(name, prefix, strlen(prefix)) ? name + strlen(prefix) : name;
  if (index > 3 || !c->text_part) return NULL;
  bool inner = index == 3 && !strncmp(name, "model.", 6);
  snprintf(out, size, "%s%s", inner ? "model.language_model." : "language_model.", inner ? name + 6 : name);
  return out;
}
