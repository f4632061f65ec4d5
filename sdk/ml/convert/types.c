/* The rules by which llama.cpp's quantize gives each tensor of a model its type. They go by the names that tensors have in GGUF files: what is a norm, a router
 * or a table of positions stays as it is; attention's values, the feed-forward's way back and the output matter more and get more bits, most so in the first
 * and last layers; rows that no whole number of blocks fills fall back on a type with smaller blocks. */
#define PCRE2_CODE_UNIT_WIDTH 8
#include "types.h"

#include <etk/alloc.h>
#include <etk/text.h>
#include <pcre2.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum mix_id { F32, F16, BF16, Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, IQ4_NL, Q2_K, Q2_K_S, Q3_K_S, Q3_K_M, Q3_K_L, Q4_K_S, Q4_K_M, Q5_K_S, Q5_K_M, Q6_K, MIXES };
static const etk__mix mixes[MIXES] = {
    [F32] = {"f32", 0, (etk_type)ETK_F32}, [F16] = {"f16", 1, (etk_type)ETK_F16}, [BF16] = {"bf16", 32, (etk_type)ETK_BF16},
    [Q4_0] = {"q4_0", 2, ETK_Q4_0},        [Q4_1] = {"q4_1", 3, ETK_Q4_1},        [Q5_0] = {"q5_0", 8, ETK_Q5_0},
    [Q5_1] = {"q5_1", 9, ETK_Q5_1},        [Q8_0] = {"q8_0", 7, ETK_Q8_0},        [IQ4_NL] = {"iq4_nl", 25, ETK_IQ4_NL},
    [Q2_K] = {"q2_k", 10, ETK_Q2_K},       [Q2_K_S] = {"q2_k_s", 21, ETK_Q2_K},   [Q3_K_S] = {"q3_k_s", 11, ETK_Q3_K},
    [Q3_K_M] = {"q3_k_m", 12, ETK_Q3_K},   [Q3_K_L] = {"q3_k_l", 13, ETK_Q3_K},   [Q4_K_S] = {"q4_k_s", 14, ETK_Q4_K},
    [Q4_K_M] = {"q4_k_m", 15, ETK_Q4_K},   [Q5_K_S] = {"q5_k_s", 16, ETK_Q5_K},   [Q5_K_M] = {"q5_k_m", 17, ETK_Q5_K},
    [Q6_K] = {"q6_k", 18, ETK_Q6_K},
};


const etk__mix *etk__mix_find(const char *name) {
  static const char *const medium[] = {"q3_k", "q4_k", "q5_k"};
  char full[16] = "";
  for (size_t i = 0; i < sizeof medium / sizeof *medium; i++)
    if (!strcasecmp(name, medium[i])) snprintf(full, sizeof full, "%s_m", name);
  for (int i = 0; i < MIXES; i++)
    if (!strcasecmp(mixes[i].name, *full ? full : name)) return &mixes[i];
  return NULL;
}

/* ---- what a tensor is ---- */
enum kind { OTHER, EMBEDDING, OUTPUT, VALUE, KEY, ATTENTION_OUTPUT, FUSED, DOWN };
static bool has(const char *name, const char *part) { return strstr(name, part) != NULL; }

static enum kind kind_of(const char *name) {
  static const struct {
    const char *part;
    enum kind kind;
  } parts[] = {{"attn_qkv.weight", FUSED}, {"attn_kv_b.weight", VALUE}, {"attn_v.weight", VALUE}, {"attn_k.weight", KEY},
               {"attn_output.weight", ATTENTION_OUTPUT}, {"ffn_down", DOWN}};
  if (!strcmp(name, "output.weight")) return OUTPUT;
  if (!strcmp(name, "token_embd.weight") || !strcmp(name, "per_layer_token_embd.weight")) return EMBEDDING;
  for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
    if (has(name, parts[i].part)) return parts[i].kind;
  return OTHER;
}

/* May this tensor be stored in blocks or 16 bits at all? */
static bool is_quantized(const char *name, const etk_shape *shape) {
  static const char *const kept[] = {"_norm.weight", "ffn_gate_inp.weight", "ffn_gate_tid2eid.weight", "altup", "laurel", "per_layer_model_proj", "ssm_conv1d",
                                     "shortconv.conv.weight", "indexer.k_proj.weight", "indexer.q_proj.weight", "time_mix_first.weight", "time_mix_w0.weight",
                                     "time_mix_w1.weight", "time_mix_w2.weight", "time_mix_v0.weight", "time_mix_v1.weight", "time_mix_v2.weight",
                                     "time_mix_a0.weight", "time_mix_a1.weight", "time_mix_a2.weight", "time_mix_g1.weight", "time_mix_g2.weight",
                                     "time_mix_decay_w1.weight", "time_mix_decay_w2.weight", "time_mix_lerp_fused.weight", "attn_rel_b.weight",
                                         ".position_embd",
                                     "sam.pos_embd", "sam.neck.", "sam.net_", ".rel_pos", ".patch_embd", ".patch_merger", "a.rvq.codebook", "mm.a.code_embd"};
  size_t size = strlen(name);
  bool matrix = false; /* GGUF drops leading dims of 1 */
  for (int i = 0; i + 1 < shape->rank; i++) matrix |= shape->dims[i] > 1;
  if (!matrix || size < 6 || strcmp(name + size - 6, "weight")) return false;
  if (!strcmp(name, "position_embd.weight") || !strcmp(name, "token_types.weight")) return false;
  for (size_t i = 0; i < sizeof kept / sizeof *kept; i++)
    if (has(name, kept[i])) return false;
  return true;
}

/* ---- overrides ---- */
struct override {
  pcre2_code *code;
  etk_type type;
};
bool etk__mix_type(etk_type *out, const char *name) {
  return etk_type_parse(out, name) && (etk_type_is_block(*out) || *out == (etk_type)ETK_F32 || *out == (etk_type)ETK_F16 || *out == (etk_type)ETK_BF16);
}

static void *pcre_alloc(size_t size, void *user) { return (void)user, etk_alloc(size); }
static void pcre_free(void *pointer, void *user) { (void)user, etk_free(pointer); }

static etk_status parse_override(etk_error *e, struct override *out, const char *text) {
  const char *equals = strrchr(text, '=');
  if (!equals || equals == text || !equals[1]) return etk_fail(e, ETK_E_USAGE, "tensor type '%s'; wanted REGEX=TYPE, as in 'ffn_down=q6_k'", text);
  if (!etk__mix_type(&out->type, equals + 1))
    return etk_fail(e, ETK_E_USAGE, "tensor type '%s': '%s' is no type of GGUF's weights (q8_0, q6_k, f16 …)", text, equals + 1);
  int code = 0;
  PCRE2_SIZE at = 0;
  pcre2_general_context *general = pcre2_general_context_create(pcre_alloc, pcre_free, NULL);
  pcre2_compile_context *compile = general ? pcre2_compile_context_create(general) : NULL;
  if (compile) out->code = pcre2_compile((PCRE2_SPTR)text, (PCRE2_SIZE)(equals - text), PCRE2_NEVER_BACKSLASH_C, &code, &at, compile);
  bool made = compile != NULL;
  pcre2_compile_context_free(compile), pcre2_general_context_free(general);
  if (out->code) return ETK_OK;
  if (!made) return etk_fail_memory(e);
  PCRE2_UCHAR message[128] = "";
  pcre2_get_error_message(code, message, sizeof message);
  return etk_fail(e, ETK_E_USAGE, "tensor type '%s': the expression is wrong at character %zu: %s", text, (size_t)at, (const char *)message);
}

struct chooser {
  const etk__mix_options *o;
  enum mix_id mix;
  struct override *overrides;
  pcre2_match_data *match;
  bool tied;
  int64_t values, value, down; /* how many attention values there are; how many values and ways back were seen */
};

static bool fits(const struct chooser *c, size_t i, const char *name) {
  return pcre2_match(c->overrides[i].code, (PCRE2_SPTR)name, strlen(name), 0, 0, c->match, NULL) >= 0;
}

static bool find_override(const struct chooser *c, const char *name, int *type) {
  for (size_t i = 0; i < c->o->tensor_type_count; i++)
    if (fits(c, i, name)) return *type = (int)c->overrides[i].type, true;
  return false;
}

/* An expression that is found in no name is mistyped, and would be ignored in silence. */
static etk_status check_overrides(etk_error *e, const struct chooser *c, const etk__mix_tensor *tensors, size_t count) {
  for (size_t i = 0; i < c->o->tensor_type_count; i++) {
    bool found = false;
    for (size_t t = 0; t < count && !found; t++) found = fits(c, i, tensors[t].name);
    if (!found)
      return etk_fail(e, ETK_E_USAGE, "tensor type '%s' is found in no tensor's name; they are such as %s", c->o->tensor_types[i],
                      count ? tensors[count / 2].name : "blk.0.attn_q.weight");
  }
  return ETK_OK;
}

/* ---- the mixes ---- */
static bool more_bits(int64_t i, int64_t n) { return i < n / 8 || i >= 7 * n / 8 || (i - n / 8) % 3 == 2; }
static bool many_queries(const struct chooser *c) { return c->o->key_heads > 0 && c->o->heads / c->o->key_heads >= 4; }
/* The 70B models of Llama and Qwen2, whose values are small for their importance. */
static bool is_70b(const struct chooser *c) {
  if (c->o->layers != 80) return false;
  return !strcmp(c->o->architecture, "qwen2") || (!strcmp(c->o->architecture, "llama") && c->o->heads != c->o->key_heads);
}

static int value_type(struct chooser *c, int type) {
  int64_t i = c->value++;
  enum mix_id m = c->mix;
  if (m == Q2_K) type = many_queries(c) ? ETK_Q4_K : ETK_Q3_K;
  else if (m == Q2_K_S && many_queries(c)) type = ETK_Q4_K;
  else if (m == Q3_K_M) type = i < 2 ? ETK_Q5_K : ETK_Q4_K;
  else if (m == Q3_K_L) type = ETK_Q5_K;
  else if (m == IQ4_NL && many_queries(c)) type = ETK_Q5_K;
  else if ((m == Q4_K_M || m == Q5_K_M) && more_bits(i, c->values)) type = ETK_Q6_K;
  else if (m == Q4_K_S && i < 4) type = ETK_Q5_K;
  if (is_70b(c) && (type == ETK_Q3_K || type == ETK_Q4_K)) type = ETK_Q5_K;
  return c->o->experts == 8 ? ETK_Q8_0 : type;
}

/* Experts do not come in the order of layers, so that their layer is the one in the name. */
static int64_t layer_of(const char *name, int64_t counted) { return strncmp(name, "blk.", 4) ? counted : (int64_t)strtol(name + 4, NULL, 10); }

static int down_type(struct chooser *c, const char *name, int type) {
  int64_t n = c->o->layers, i = c->o->experts > 1 ? layer_of(name, c->down) : c->down;
  enum mix_id m = c->mix;
  c->down++;
  if (m == Q2_K) return ETK_Q3_K;
  if (m == Q2_K_S) return i < n / 8 ? ETK_Q4_K : type;
  if (m == Q3_K_M) return i < n / 16 ? ETK_Q5_K : ETK_Q4_K;
  if (m == Q3_K_L) return ETK_Q5_K;
  if (m == Q4_K_M || m == Q5_K_M) return more_bits(i, n) ? ETK_Q6_K : type;
  if (i >= n / 8) return type;
  if (m == IQ4_NL && !c->o->importance) return ETK_Q5_K;
  if (m == Q4_K_S) return ETK_Q5_K;
  if (m == Q4_0 && c->o->importance) return ETK_Q4_1;
  if (m == Q5_0 && c->o->importance) return ETK_Q5_1;
  return type;
}

static int attention_output_type(const struct chooser *c, int type) {
  enum mix_id m = c->mix;
  if (c->o->experts == 8) return m == Q2_K || m == Q3_K_S || m == Q3_K_M || m == IQ4_NL || m == Q4_K_S || m == Q4_K_M ? ETK_Q5_K : type;
  return m == Q2_K ? ETK_Q3_K : m == Q3_K_M ? ETK_Q4_K : m == Q3_K_L ? ETK_Q5_K : type;
}

static int mixed_type(struct chooser *c, const etk__mix_tensor *t, enum kind kind) {
  int type = (int)c->o->mix->type;
  if (kind == OUTPUT || (c->tied && kind == EMBEDDING)) {
    if (c->o->output_type >= 0) return c->o->output_type;
    if (t->shape.dims[t->shape.rank - 1] % etk_type_block_elements((etk_type)type)) return ETK_Q8_0;
    return type == ETK_Q8_0 ? type : ETK_Q6_K;
  }
  if (kind == VALUE || kind == FUSED) return value_type(c, type); /* a fused matrix counts as values, and its own rule below is never reached, in llama.cpp too */
  if (kind == KEY) return c->o->experts == 8 ? ETK_Q8_0 : type;
  if (kind == DOWN) return down_type(c, t->name, type);
  return kind == ATTENTION_OUTPUT ? attention_output_type(c, type) : type;
}

static int fall_back(int type, int64_t columns, bool *fell) {
  static const int next[][2] = {{ETK_Q2_K, ETK_Q4_0}, {ETK_Q3_K, ETK_Q4_0}, {ETK_Q4_K, ETK_Q5_0}, {ETK_Q5_K, ETK_Q5_1}, {ETK_Q6_K, ETK_Q8_0}};
  if (columns % etk_type_block_elements((etk_type)type) == 0) return type;
  *fell = true;
  for (size_t i = 0; i < sizeof next / sizeof *next; i++)
    if (next[i][0] == type && columns % etk_type_block_elements((etk_type)next[i][1]) == 0) return next[i][1];
  return ETK_F16;
}

static void choose(struct chooser *c, etk__mix_tensor *t) {
  enum kind kind = kind_of(t->name);
  const etk__mix_options *o = c->o;
  if (!is_quantized(t->name, &t->shape) || (o->leave_output && kind == OUTPUT)) return;
  int type = (int)o->mix->type;
  if (o->embedding_type >= 0 && kind == EMBEDDING) type = o->embedding_type;
  else if (o->output_type >= 0 && kind == OUTPUT) type = o->output_type;
  else if (!find_override(c, t->name, &type) && !o->pure && etk_type_is_block(o->mix->type)) type = mixed_type(c, t, kind);
  t->type = fall_back(type, t->shape.dims[t->shape.rank - 1], &t->fell_back);
}

static int by_layer(const void *a, const void *b) {
  const char *x = (*(etk__mix_tensor *const *)a)->name, *y = (*(etk__mix_tensor *const *)b)->name;
  int64_t i = layer_of(x, -1), k = layer_of(y, -1);
  return i != k ? i < k ? -1 : 1 : strcmp(x, y);
}

static etk_status choose_all(etk_error *e, struct chooser *c, etk__mix_tensor *tensors, size_t count) {
  etk__mix_tensor **order = etk_alloc((count + 1) * sizeof *order);
  if (!order) return etk_fail_memory(e);
  for (size_t i = 0; i < count; i++) {
    enum kind kind = kind_of(tensors[i].name);
    order[i] = &tensors[i];
    c->values += kind == VALUE || kind == FUSED;
    c->tied &= kind != OUTPUT;
  }
  qsort(order, count, sizeof *order, by_layer);
  for (size_t i = 0; i < count; i++) choose(c, order[i]);
  etk_free(order);
  return ETK_OK;
}

etk_status etk__mix_choose(etk_error *e, etk__mix_tensor *tensors, size_t count, const etk__mix_options *o) {
  struct chooser c = {.o = o, .mix = (enum mix_id)(o->mix - mixes), .tied = true};
  etk_status status = ETK_OK;
  if (c.mix == Q2_K_S && !o->importance)
    return etk_fail(e, ETK_E_USAGE, "q2_k_s needs an importance matrix: without one its matrices of two bits are of no use; give one, or use q2_k");
  c.overrides = etk_calloc(o->tensor_type_count + 1, sizeof *c.overrides);
  if (!c.overrides) return etk_fail_memory(e);
  for (size_t i = 0; i < o->tensor_type_count && !status; i++) status = parse_override(e, &c.overrides[i], o->tensor_types[i]);
  if (!status && o->tensor_type_count) {
    pcre2_general_context *general = pcre2_general_context_create(pcre_alloc, pcre_free, NULL);
    c.match = general ? pcre2_match_data_create(1, general) : NULL;
    pcre2_general_context_free(general);
    if (!c.match) status = etk_fail_memory(e);
  }
  if (!status) status = check_overrides(e, &c, tensors, count);
  if (!status) status = choose_all(e, &c, tensors, count);
  for (size_t i = 0; i < o->tensor_type_count; i++) pcre2_code_free(c.overrides[i].code);
  pcre2_match_data_free(c.match);
  etk_free(c.overrides);
  return status;
}
