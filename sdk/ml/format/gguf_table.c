/* The names of tensors in GGUF and in a Hugging Face folder, an architecture a table. */
#include "gguf_names.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define COUNT(table) ((int)(sizeof(table) / sizeof *(table)))
#define NORM(gguf, canonical) {gguf, canonical, ETK__AS_IS, ETK__ROLE_OTHER, true}
#define NORM_FROM_ONE(gguf, canonical) {gguf, canonical, ETK__ONE_MORE, ETK__ROLE_OTHER, true}
#define ROW(gguf, canonical, role) {gguf, canonical, ETK__AS_IS, ETK__ROLE_##role, false}
#define CHANGED(gguf, canonical, change, role) {gguf, canonical, ETK__##change, ETK__ROLE_##role, false}

#define OUTER_ROWS                                                                                                                                      \
  ROW("token_embd", "model.embed_tokens", EMBEDDING), NORM("output_norm", "model.norm"), ROW("output", "lm_head", OUTPUT)
#define VALUE_ROWS ROW("attn_v", "self_attn.v_proj", VALUE), ROW("attn_output", "self_attn.o_proj", ATTENTION_OUTPUT)
#define ATTENTION_ROWS ROW("attn_q", "self_attn.q_proj", QUERY), ROW("attn_k", "self_attn.k_proj", KEY), VALUE_ROWS
#define GATED_ROWS ROW("ffn_gate", "mlp.gate_proj", GATE), ROW("ffn_up", "mlp.up_proj", UP), ROW("ffn_down", "mlp.down_proj", DOWN)
#define NORM_ROWS NORM("attn_norm", "input_layernorm"), NORM("ffn_norm", "post_attention_layernorm")

static const etk__gguf_row model_whole[] = {OUTER_ROWS};
#define LLAMA_ROWS                                                                                                                                       \
  NORM_ROWS, CHANGED("attn_q", "self_attn.q_proj", ROTARY_QUERY, QUERY), CHANGED("attn_k", "self_attn.k_proj", ROTARY_KEY, KEY), VALUE_ROWS, GATED_ROWS
static const etk__gguf_row smollm3_block[] = {LLAMA_ROWS};
static const etk__gguf_row llama_block[] = {
    LLAMA_ROWS,
    {"ffn_gate_inp", "block_sparse_moe.gate", ETK__AS_IS, ETK__ROLE_OTHER, true},
    CHANGED("ffn_gate_exps", "block_sparse_moe.experts.%.w1", STACKED, GATE),
    CHANGED("ffn_down_exps", "block_sparse_moe.experts.%.w2", STACKED, DOWN),
    CHANGED("ffn_up_exps", "block_sparse_moe.experts.%.w3", STACKED, UP),
    /* files of before March 2024 have each expert alone; the first row of a name is the one that is written */
    ROW("ffn_gate.%", "block_sparse_moe.experts.%.w1", GATE), ROW("ffn_down.%", "block_sparse_moe.experts.%.w2", DOWN),
    ROW("ffn_up.%", "block_sparse_moe.experts.%.w3", UP),
};
static const etk__gguf_row qwen2_block[] = {NORM_ROWS, ATTENTION_ROWS, GATED_ROWS};
static const etk__gguf_row qwen3_block[] = {NORM_ROWS, ATTENTION_ROWS, NORM("attn_q_norm", "self_attn.q_norm"),
                                            NORM("attn_k_norm", "self_attn.k_norm"), GATED_ROWS};
static const etk__gguf_row qwen2moe_block[] = {
    NORM_ROWS, ATTENTION_ROWS,
    {"ffn_gate_inp", "mlp.gate", ETK__AS_IS, ETK__ROLE_OTHER, true},
    {"ffn_gate_inp_shexp", "mlp.shared_expert_gate", ETK__SQUEEZED, ETK__ROLE_OTHER, true},
    ROW("ffn_gate_shexp", "mlp.shared_expert.gate_proj", GATE), ROW("ffn_up_shexp", "mlp.shared_expert.up_proj", UP),
    ROW("ffn_down_shexp", "mlp.shared_expert.down_proj", DOWN), CHANGED("ffn_gate_exps", "mlp.experts.%.gate_proj", STACKED, GATE),
    CHANGED("ffn_up_exps", "mlp.experts.%.up_proj", STACKED, UP), CHANGED("ffn_down_exps", "mlp.experts.%.down_proj", STACKED, DOWN),
};
static const etk__gguf_row gemma_whole[] = {
    ROW("token_embd", "model.embed_tokens", EMBEDDING), NORM_FROM_ONE("output_norm", "model.norm"), ROW("output", "lm_head", OUTPUT)};
static const etk__gguf_row gemma_block[] = {NORM_FROM_ONE("attn_norm", "input_layernorm"), NORM_FROM_ONE("ffn_norm", "post_attention_layernorm"),
                                            ATTENTION_ROWS, GATED_ROWS};
#define GEMMA_NORM_ROWS                                                                                                                                  \
  NORM_FROM_ONE("attn_norm", "input_layernorm"), NORM_FROM_ONE("post_attention_norm", "post_attention_layernorm"),                                        \
  NORM_FROM_ONE("ffn_norm", "pre_feedforward_layernorm"), NORM_FROM_ONE("post_ffw_norm", "post_feedforward_layernorm")
static const etk__gguf_row gemma2_block[] = {GEMMA_NORM_ROWS, ATTENTION_ROWS, GATED_ROWS};
static const etk__gguf_row gemma3_block[] = {
    GEMMA_NORM_ROWS, NORM_FROM_ONE("attn_q_norm", "self_attn.q_norm"), NORM_FROM_ONE("attn_k_norm", "self_attn.k_norm"), ATTENTION_ROWS, GATED_ROWS};
static const etk__gguf_row gpt2_whole[] = {
    ROW("token_embd", "transformer.wte", EMBEDDING), {"position_embd", "transformer.wpe", ETK__AS_IS, ETK__ROLE_OTHER, true},
    NORM("output_norm", "transformer.ln_f"), ROW("output", "lm_head", OUTPUT)};
static const etk__gguf_row gpt2_block[] = {
    NORM("attn_norm", "ln_1"), CHANGED("attn_qkv", "attn.c_attn", TRANSPOSED, QKV), CHANGED("attn_output", "attn.c_proj", TRANSPOSED, ATTENTION_OUTPUT),
    NORM("ffn_norm", "ln_2"), CHANGED("ffn_up", "mlp.c_fc", TRANSPOSED, UP), CHANGED("ffn_down", "mlp.c_proj", TRANSPOSED, DOWN)};
static const etk__gguf_row gptneox_whole[] = {
    ROW("token_embd", "gpt_neox.embed_in", EMBEDDING), NORM("output_norm", "gpt_neox.final_layer_norm"), ROW("output", "embed_out", OUTPUT)};
static const etk__gguf_row gptneox_block[] = {
    NORM_ROWS, CHANGED("attn_qkv", "attention.query_key_value", REGROUPED, QKV), ROW("attn_output", "attention.dense", ATTENTION_OUTPUT),
    ROW("ffn_up", "mlp.dense_h_to_4h", UP), ROW("ffn_down", "mlp.dense_4h_to_h", DOWN)};
static const etk__gguf_row phi3_block[] = {
    NORM_ROWS, ROW("attn_qkv", "self_attn.qkv_proj", QKV), ROW("attn_output", "self_attn.o_proj", ATTENTION_OUTPUT), ROW("ffn_up", "mlp.gate_up_proj", UP),
    ROW("ffn_down", "mlp.down_proj", DOWN)};

#define TABLE(rows, block_rows) .whole = rows, .block = block_rows, .whole_count = COUNT(rows), .block_count = COUNT(block_rows)
static const etk__gguf_table tables[] = {
    {"llama", {"llama", "mistral", "mixtral"}, "model.layers.", NULL, TABLE(model_whole, llama_block)},
    {"smollm3", {"smollm3"}, "model.layers.", NULL, TABLE(model_whole, smollm3_block)},
    {"qwen2", {"qwen2"}, "model.layers.", NULL, TABLE(model_whole, qwen2_block)},
    {"qwen3", {"qwen3"}, "model.layers.", NULL, TABLE(model_whole, qwen3_block)},
    {"qwen2moe", {"qwen2_moe"}, "model.layers.", NULL, TABLE(model_whole, qwen2moe_block)},
    {"gemma", {"gemma"}, "model.layers.", NULL, TABLE(gemma_whole, gemma_block)},
    {"gemma2", {"gemma2"}, "model.layers.", NULL, TABLE(gemma_whole, gemma2_block)},
    {"gemma3", {"gemma3_text", "gemma3"}, "model.layers.", NULL, TABLE(gemma_whole, gemma3_block), .text_of_whole = true},
    {"gpt2", {"gpt2"}, "transformer.h.", "transformer.", TABLE(gpt2_whole, gpt2_block)},
    {"gptneox", {"gpt_neox"}, "gpt_neox.layers.", NULL, TABLE(gptneox_whole, gptneox_block)},
    {"phi3", {"phi3"}, "model.layers.", NULL, TABLE(model_whole, phi3_block)},
};

const etk__gguf_table *etk__gguf_table_find(const char *architecture) {
  for (int i = 0; i < COUNT(tables); i++)
    if (!strcmp(tables[i].architecture, architecture)) return &tables[i];
  return NULL;
}

const etk__gguf_table *etk__gguf_table_of_model_type(const char *model_type) {
  for (int i = 0; i < COUNT(tables); i++)
    for (int k = 0; k < COUNT(tables[i].model_types) && tables[i].model_types[k]; k++)
      if (!strcmp(tables[i].model_types[k], model_type)) return &tables[i];
  return NULL;
}

const char *etk__gguf_table_names(char *text, size_t size) {
  size_t used = 0;
  text[0] = 0;
  for (int i = 0; i < COUNT(tables) && used < size; i++)
    used += (size_t)snprintf(text + used, size - used, "%s%s", !i ? "" : i + 1 < COUNT(tables) ? ", " : " and ", tables[i].architecture);
  return text;
}

/* ---- names apart ---- */

enum { NUMBER_LIMIT = 1000000 };

/* A number without leading zeros, so that a tensor has one name. Moves *text behind it; -1: none is there. */
static int64_t take_number(const char **text) {
  const char *p = *text;
  int64_t number = 0;
  if (*p == '0' && p[1] >= '0' && p[1] <= '9') return -1;
  for (; *p >= '0' && *p <= '9'; p++)
    if (number = number * 10 + (*p - '0'), number >= NUMBER_LIMIT) return -1;
  if (p == *text) return -1;
  *text = p;
  return number;
}

/* pattern: a name, '%' in it stands for a number. Ends at `end`. */
static bool matches(const char *pattern, const char *name, const char *end, int64_t *number) {
  *number = -1;
  for (; *pattern && name < end; pattern++) {
    if (*pattern == '%') {
      *number = take_number(&name);
      if (*number < 0) return false;
    } else if (*pattern != *name++) return false;
  }
  return !*pattern && name == end;
}

static const char *suffix_of(const char *name, bool *bias) {
  const char *dot = strrchr(name, '.');
  if (!dot || (strcmp(dot, ".weight") && strcmp(dot, ".bias"))) return NULL;
  *bias = dot[1] == 'b';
  return dot;
}

static bool find_row(etk__gguf_place *out, const etk__gguf_row *rows, int count, bool stored, const char *name, const char *end) {
  for (int i = 0; i < count; i++) {
    const etk__gguf_row *row = &rows[i];
    if (!matches(stored ? row->gguf : row->canonical, name, end, &out->expert)) continue;
    if (out->bias && row->change == ETK__STACKED) continue;
    out->row = row;
    return true;
  }
  return false;
}

static bool parse(etk__gguf_place *out, const etk__gguf_table *table, const char *prefix, const char *name, bool stored) {
  *out = (etk__gguf_place){.layer = -1, .expert = -1};
  const char *end = suffix_of(name, &out->bias);
  if (!end) return false;
  size_t size = strlen(prefix);
  if (strncmp(name, prefix, size)) return find_row(out, table->whole, table->whole_count, stored, name, end);
  name += size;
  out->layer = take_number(&name);
  return out->layer >= 0 && *name == '.' && name < end && find_row(out, table->block, table->block_count, stored, name + 1, end);
}

bool etk__gguf_parse_stored(etk__gguf_place *out, const etk__gguf_table *table, const char *name) { return parse(out, table, "blk.", name, true); }

/* `before`, then `name`. */
static bool parse_after(etk__gguf_place *out, const etk__gguf_table *table, const char *before, const char *name) {
  char whole[256];
  size_t size = strlen(before), length = strlen(name);
  if (length + size >= sizeof whole) return false;
  memcpy(whole, before, size);
  memcpy(whole + size, name, length + 1);
  return parse(out, table, table->layer_prefix, whole, false);
}

bool etk__gguf_parse_canonical(etk__gguf_place *out, const etk__gguf_table *table, const char *name) {
  static const char language[] = "language_model.", inner[] = "model.language_model.";
  if (parse(out, table, table->layer_prefix, name, false)) return true;
  const char *optional = table->optional_prefix;
  if (table->text_of_whole && !strncmp(name, language, sizeof language - 1)) return parse(out, table, table->layer_prefix, name + sizeof language - 1, false);
  if (table->text_of_whole && !strncmp(name, inner, sizeof inner - 1)) return parse_after(out, table, "model.", name + sizeof inner - 1);
  return optional && strncmp(name, optional, strlen(optional)) && parse_after(out, table, optional, name);
}

bool etk__name_is_of_vision(const char *name) {
  static const char *const parts[] = {"vision_tower.", "multi_modal_projector."};
  for (size_t i = 0; i < 2; i++)
    if (!strncmp(name, parts[i], strlen(parts[i])) || (!strncmp(name, "model.", 6) && !strncmp(name + 6, parts[i], strlen(parts[i])))) return true;
  return false;
}

static char *put_name(char *out, size_t size, const char *prefix, const char *pattern, const etk__gguf_place *place) {
  char number[24] = "", layer[24] = "";
  const char *mark = strchr(pattern, '%');
  if (mark && place->expert >= 0) snprintf(number, sizeof number, "%lld", (long long)place->expert);
  if (place->layer >= 0) snprintf(layer, sizeof layer, "%lld.", (long long)place->layer);
  snprintf(out, size, "%s%s%.*s%s%s%s", place->layer >= 0 ? prefix : "", layer, mark ? (int)(mark - pattern) : (int)strlen(pattern), pattern, number,
           mark ? mark + 1 : "", place->bias ? ".bias" : ".weight");
  return out;
}

char *etk__gguf_stored_name(char *out, size_t size, const etk__gguf_place *place) { return put_name(out, size, "blk.", place->row->gguf, place); }

char *etk__gguf_canonical_name(char *out, size_t size, const etk__gguf_table *table, const etk__gguf_place *place) {
  return put_name(out, size, table->layer_prefix, place->row->canonical, place);
}
