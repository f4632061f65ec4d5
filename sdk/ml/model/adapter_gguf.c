/* llama.cpp's form: a GGUF file of general.type "adapter", with tensors <name of the base's tensor>.lora_a (rank, in) and .lora_b (out, rank); of the token
 * embedding .lora_a is (in, rank); a mixture's experts are stacked, (experts, rank, in) and (experts, out, rank). Rows of B lie as the base's rows do in GGUF.
 * One alpha for all; the scale is alpha / rank, or 1 where there is no alpha. */
#include "adapter_parts.h"

#include "ml/format/gguf_names.h"

#include <math.h>

static const char alpha_key[] = "adapter.lora.alpha", scale_key[] = "etk.lora.scale";

/* ---- the order of B's rows ---- */

struct order {
  int64_t heads, head_rows; /* ETK__ROTARY_*: rows of a head; ETK__REGROUPED: of each of a head's query, key and value */
  bool stored;              /* whether the wanted order is GGUF's */
};

/* Hugging Face's halves of a head (i, i + d/2) lie side by side in GGUF. */
static int64_t rotary_row(const void *user, int64_t row) {
  const struct order *o = user;
  int64_t half = o->head_rows / 2, head = row / o->head_rows, r = row % o->head_rows;
  return head * o->head_rows + (o->stored ? (r % 2) * half + r / 2 : (r % half) * 2 + r / half);
}
/* Hugging Face's (heads, 3, d) is (3, heads, d) in GGUF. */
static int64_t regrouped_row(const void *user, int64_t row) {
  const struct order *o = user;
  int64_t d = o->head_rows, i = row % d, outer = row / d;
  if (o->stored) return ((outer % o->heads) * 3 + outer / o->heads) * d + i;
  return ((outer % 3) * o->heads + outer / 3) * d + i;
}

/* *out: B in the order wanted, a new reference. */
static etk_status reorder(etk_error *e, etk_tensor **out, etk_tensor *b, const etk__adapter_parts *p, const char *name, etk__gguf_change change,
                          const etk_model *base, bool stored) {
  bool rotary = change == ETK__ROTARY_QUERY || change == ETK__ROTARY_KEY;
  if (!rotary && change != ETK__REGROUPED) {
    *out = etk_tensor_ref(b);
    return ETK_OK;
  }
  if (!base)
    return etk_fail(e, ETK_E_INVALID,
                    "%s: the rows of %s lie head by head in GGUF, and an adapter's file does not say how many heads there are; name the base model (--base)", p->path, name);
  const etk_model_config *c = &base->config;
  int64_t heads = change == ETK__ROTARY_KEY ? c->num_key_value_heads : c->num_attention_heads, rows = etk_tensor_dim(b, 0), groups = rotary ? heads : 3 * heads;
  struct order order = {heads, groups ? rows / groups : 0, stored};
  if (!groups || rows % groups || (rotary && order.head_rows % 2))
    return etk_fail(e, ETK_E_SHAPE, "%s: %s has %lld rows, which the %lld heads of the model %s do not divide", p->path, name, (long long)rows,
                    (long long)heads, etk_model_path(base));
  return etk__adapter_gathered(e, out, b, rotary ? rotary_row : regrouped_row, &order);
}

static etk_status check_change(etk_error *e, const etk__adapter_parts *p, const char *name, etk__gguf_change change) {
  if (change == ETK__SQUEEZED) return etk_fail(e, ETK_E_UNSUPPORTED, "%s: %s is a vector in GGUF, which takes no adapter", p->path, name);
  return ETK_OK;
}

/* ---- reading ---- */

static etk_status read_tensor(etk_error *e, etk_tensor **out, etk_gguf *file, const etk_gguf_entry *entry, const char *path) {
  if (entry->shape.rank != 2) return etk_fail(e, ETK_E_SHAPE, "%s: tensor %s has %d dims, wanted 2", path, entry->name, entry->shape.rank);
  bool plain = entry->type == ETK_F32 || entry->type == ETK_F16 || entry->type == ETK_BF16;
  return plain ? etk_gguf_tensor(e, out, file, entry->name) : etk_gguf_decode(e, out, file, entry->name);
}

/* The module of a place, without ".weight". Returns out. */
static char *module_of(char *out, size_t size, const etk__gguf_table *table, const etk__gguf_place *place) {
  etk__gguf_canonical_name(out, size, table, place);
  out[strlen(out) - strlen(".weight")] = 0;
  return out;
}

/* Each expert of a stack as a part. The model bounds how many there can be. */
static etk_status take_stack(etk_error *e, etk__adapter_parts *p, const etk_gguf_entry *entry, etk__gguf_place place, const etk__gguf_table *table,
                             const etk_model *base, etk__adapter_leaf_kind kind) {
  if (!base)
    return etk_fail(e, ETK_E_INVALID, "%s: %s is of a stack of experts; name the base model (--base), which tells how many there are", p->path, entry->name);
  const etk_model_config *c = &base->config;
  bool plain = entry->type == ETK_F32 || entry->type == ETK_F16 || entry->type == ETK_BF16;
  char text[96], module[256];
  if (!plain)
    return etk_fail(e, ETK_E_UNSUPPORTED, "%s: the stack of experts %s is of type %s; F32, F16 and BF16 are read", p->path, entry->name, entry->type_name);
  if (entry->shape.rank != 3 || entry->shape.dims[0] != c->num_experts || place.layer >= c->num_hidden_layers)
    return etk_fail(e, ETK_E_SHAPE, "%s: tensor %s has shape %s; a stack of the %lld experts of one of the model's %lld layers is wanted", p->path, entry->name,
                    etk_shape_text(text, sizeof text, &entry->shape), (long long)c->num_experts, (long long)c->num_hidden_layers);
  size_t bytes = entry->bytes / (size_t)c->num_experts;
  for (place.expert = 0; place.expert < c->num_experts; place.expert++) {
    etk_tensor *tensor = NULL;
    etk_status status = etk_tensor_new(e, &tensor, (etk_dtype)entry->type, etk_shape_of(2, entry->shape.dims[1], entry->shape.dims[2]));
    if (!status) memcpy(etk_tensor_data(tensor), (const char *)entry->data + (size_t)place.expert * bytes, bytes);
    module_of(module, sizeof module, table, &place);
    if (!status) status = etk__adapter_parts_add(e, p, module, strlen(module), entry->name, kind, false, tensor);
    if (status) return status;
  }
  return ETK_OK;
}

static etk_status take(etk_error *e, etk__adapter_parts *p, etk_gguf *file, const etk_gguf_entry *entry, const etk__gguf_table *table, const etk_model *base) {
  static const etk__adapter_ending endings[] = {{".lora_a", ETK__LEAF_A, false}, {".lora_b", ETK__LEAF_B, false}};
  size_t size;
  const etk__adapter_ending *ending = etk__adapter_ending_of(endings, 2, entry->name, &size);
  if (!ending) return etk_fail(e, ETK_E_FORMAT, "%s holds the tensor %s; names that end in .lora_a or .lora_b are wanted", p->path, entry->name);
  char module[256], *stem = etk_arena_strndup(&p->arena, entry->name, size);
  etk__gguf_place place;
  if (!stem) return etk_fail_memory(e);
  if (!etk__gguf_parse_stored(&place, table, stem) || place.bias)
    return etk_fail(e, ETK_E_FORMAT, "%s holds the tensor %s, but %s is no weight of the architecture \"%s\"", p->path, entry->name, stem, table->architecture);
  etk_status status = check_change(e, p, stem, place.row->change);
  if (status) return status;
  if (place.row->change == ETK__STACKED) return take_stack(e, p, entry, place, table, base, ending->kind);
  module_of(module, sizeof module, table, &place);
  bool embedding = place.row->role == ETK__ROLE_EMBEDDING;
  etk_tensor *stored = NULL, *tensor = NULL;
  status = read_tensor(e, &stored, file, entry, p->path);
  if (status) return status;
  if (ending->kind == ETK__LEAF_B) status = reorder(e, &tensor, stored, p, stem, place.row->change, base, false);
  else if (embedding) status = etk__adapter_transposed(e, &tensor, stored);
  else tensor = etk_tensor_ref(stored);
  etk_tensor_unref(stored);
  return status ? status : etk__adapter_parts_add(e, p, module, strlen(module), entry->name, ending->kind, embedding, tensor);
}

static etk_status need_text(etk_error *e, const etk_gguf *file, const char *path, const char *key, const char *wanted) {
  const char *seen = NULL;
  etk_status status = etk_gguf_get_text(e, &seen, file, key);
  if (status || !wanted || !strcmp(seen, wanted)) return status;
  return etk_fail(e, ETK_E_FORMAT, "%s: '%s' is \"%.60s\"; an adapter has \"%s\"", path, key, seen, wanted);
}

static etk_status find_table(etk_error *e, const etk__gguf_table **out, const etk_gguf *file, const char *path, const etk_model *base) {
  const char *architecture = "";
  char names[256];
  etk_status status = need_text(e, file, path, "general.type", "adapter");
  if (!status) status = need_text(e, file, path, "adapter.type", "lora");
  if (!status) status = etk_gguf_get_text(e, &architecture, file, "general.architecture");
  if (status) return status;
  *out = etk__gguf_table_find(architecture);
  if (!*out)
    return etk_fail(e, ETK_E_UNSUPPORTED, "%s: 'general.architecture' is \"%.60s\"; adapters of %s are read", path, architecture,
                    etk__gguf_table_names(names, sizeof names));
  if (etk_gguf_find(file, "adapter.alora.invocation_tokens"))
    return etk_fail(e, ETK_E_UNSUPPORTED,
                    "%s: 'adapter.alora.invocation_tokens' makes the adapter wait for tokens, which is not supported by this version", path);
  if (base && etk__gguf_table_of_model_type(base->config.architecture) != *out)
    return etk_fail(e, ETK_E_INVALID, "%s is an adapter for \"%s\", and the model %s is of the type %s", path, architecture, etk_model_path(base),
                    base->config.architecture);
  return ETK_OK;
}

/* The scale of each part. etk.lora.scale, which we write where alpha in F32 rounds the scale, counts only as long as it is alpha's. */
static etk_status read_scales(etk_error *e, etk__adapter_parts *p, const etk_gguf *file) {
  double alpha = 0, exact = 0;
  etk_status status = etk_gguf_find(file, alpha_key) ? etk_gguf_get_real(e, &alpha, file, alpha_key) : ETK_OK;
  if (!status && etk_gguf_find(file, scale_key)) status = etk_gguf_get_real(e, &exact, file, scale_key);
  if (status) return status;
  if (!isfinite(alpha) || alpha < 0) return etk_fail(e, ETK_E_FORMAT, "%s: '%s' is %g; a finite number of at least 0 is wanted", p->path, alpha_key, alpha);
  for (size_t i = 0; i < p->count; i++) {
    double scale = alpha > 0 ? alpha / (double)etk__part_rank(&p->parts[i]) : 1;
    p->parts[i].scale = fabs(exact - scale) <= scale * 0x1p-22 ? exact : scale;
  }
  p->options = (etk_lora_options){.rank = etk__part_rank(&p->parts[0]), .alpha = p->parts[0].scale * (double)etk__part_rank(&p->parts[0])};
  return ETK_OK;
}

etk_status etk__adapter_read_gguf(etk_error *e, etk__adapter_parts *p, const char *path, const etk_model *base) {
  etk_gguf *file = NULL;
  const etk__gguf_table *table = NULL;
  p->form = ETK_ADAPTER_GGUF;
  p->path = etk_arena_strdup(&p->arena, path);
  etk_status status = p->path ? etk_gguf_open(e, &file, path) : etk_fail_memory(e);
  if (!status) status = find_table(e, &table, file, path, base);
  for (size_t i = 0; !status && i < etk_gguf_count(file); i++) status = take(e, p, file, etk_gguf_at(file, i), table, base);
  if (!status) status = etk__adapter_parts_group(e, p);
  if (!status) status = read_scales(e, p, file);
  etk_gguf_close(file);
  return status ? status : etk__adapter_derive_targets(e, p, base);
}

/* ---- writing ---- */

/* The F32 alpha by which llama.cpp computes every part's scale, in its own single precision; *exact tells whether it does so to the bit. */
static etk_status find_alpha(etk_error *e, const etk__adapter_parts *p, float *alpha, bool *exact) {
  float first = (float)(p->parts[0].scale * (double)etk__part_rank(&p->parts[0])), tries[] = {first, nextafterf(first, INFINITY), nextafterf(first, 0)};
  *exact = false;
  for (int t = 0; t < 3 && !*exact; t++) {
    *alpha = tries[t];
    *exact = true;
    for (size_t i = 0; i < p->count && *exact; i++) *exact = tries[t] / (float)etk__part_rank(&p->parts[i]) == (float)p->parts[i].scale;
  }
  if (*exact) return ETK_OK;
  *alpha = first;
  for (size_t i = 0; i < p->count; i++) {
    const etk__adapter_part *part = &p->parts[i];
    double scale = (double)first / (double)etk__part_rank(part);
    if (fabs(scale - part->scale) > part->scale * 0x1p-22 || part->scale != p->parts[0].scale)
      return etk_fail(e, ETK_E_UNSUPPORTED,
                      "%s: %s has scale %g at rank %lld and %s %g at %lld, so no one alpha gives both; llama.cpp's form has one alpha for all modules", p->path, p->parts[0].module, p->parts[0].scale, (long long)etk__part_rank(&p->parts[0]), part->module, part->scale, (long long)etk__part_rank(part));
  }
  return ETK_OK;
}

/* Both factors of all experts of the stack that `place` is in, from their parts. */
static etk_status stack_experts(etk_error *e, const etk__adapter_parts *p, etk__gguf_place place, const etk__gguf_table *table, const etk_model *base,
                                etk_tensor *held[2]) {
  int64_t experts = base->config.num_experts;
  const etk__adapter_part *first = NULL;
  char module[256];
  for (place.expert = 0; place.expert < experts; place.expert++) {
    const etk__adapter_part *part = etk__adapter_parts_find(p, module_of(module, sizeof module, table, &place));
    if (!part)
      return etk_fail(e, ETK_E_UNSUPPORTED, "%s: %s has no adapter beside the other experts; llama.cpp's form has all %lld of a layer or none",
                      p->path, module, (long long)experts);
    if (!first) first = part;
    for (int i = 0; i < 2; i++) {
      const etk_tensor *one = i ? part->b : part->a, *like = i ? first->b : first->a;
      if (etk_tensor_dtype(one) != etk_tensor_dtype(like) || !etk_shape_equal(etk_tensor_shape(one), etk_tensor_shape(like)))
        return etk_fail(e, ETK_E_UNSUPPORTED, "%s: %s has another rank or type than %s; llama.cpp's form has one for all experts of a layer", p->path,
                        part->module, first->module);
      if (!held[i]) {
        etk_status status = etk_tensor_new(e, &held[i], etk_tensor_dtype(one), etk_shape_of(3, experts, etk_tensor_dim(one, 0), etk_tensor_dim(one, 1)));
        if (status) return status;
      }
      memcpy((char *)etk_tensor_data(held[i]) + (size_t)place.expert * etk_tensor_bytes(one), etk_tensor_data(one), etk_tensor_bytes(one));
    }
  }
  return ETK_OK;
}

static etk_status add_part(etk_error *e, etk_gguf_writer *writer, const etk__adapter_parts *p, const etk__adapter_part *part,
                           const etk__gguf_table *table, const etk_model *base, etk_tensor *held[2]) {
  etk__gguf_place place;
  char stem[256], name[300];
  snprintf(stem, sizeof stem, "%s.weight", part->module);
  if (!etk__gguf_parse_canonical(&place, table, stem))
    return etk_fail(e, ETK_E_UNSUPPORTED, "%s: %s has no name in GGUF's architecture \"%s\"", p->path, part->module, table->architecture);
  etk_status status = check_change(e, p, part->module, place.row->change);
  if (status) return status;
  bool stacked = place.row->change == ETK__STACKED;
  char first[256];
  if (stacked && place.expert) { /* written with the first of its stack, which must be there */
    place.expert = 0;
    if (etk__adapter_parts_find(p, module_of(first, sizeof first, table, &place))) return ETK_OK;
  }
  if (stacked) status = stack_experts(e, p, place, table, base, held);
  else if (part->embedding) status = etk__adapter_transposed(e, &held[0], part->a);
  else held[0] = etk_tensor_ref(part->a);
  if (!status && !stacked) status = reorder(e, &held[1], part->b, p, part->module, place.row->change, base, true);
  if (status) return status;
  etk__gguf_stored_name(stem, sizeof stem, &place);
  for (int i = 0; i < 2; i++) {
    snprintf(name, sizeof name, "%s.lora_%c", stem, "ab"[i]);
    etk_gguf_add(writer, name, (etk_type)etk_tensor_dtype(held[i]), *etk_tensor_shape(held[i]), etk_tensor_data(held[i]), NULL, NULL);
  }
  return ETK_OK;
}

/* A key of the caller's: what GGUF does not allow in one (a file's name may be part of it) becomes '_'. */
static void set_metadata(etk_gguf_writer *writer, const char *key, const char *value) {
  char safe[512];
  size_t size = 0;
  for (; key[size] && size + 1 < sizeof safe; size++) safe[size] = key[size] > 0x20 && key[size] < 0x7f ? key[size] : '_';
  safe[size] = 0;
  etk_gguf_set_text(writer, safe, value);
}

etk_status etk__adapter_write_gguf(etk_error *e, const etk__adapter_parts *p, const char *path, const etk_model *base, etk__adapter_metadata metadata) {
  char names[256];
  if (!base)
    return etk_fail(e, ETK_E_INVALID,
                    "%s: llama.cpp's form names the base's architecture and lays rows out as its heads do; name the base model (--base)", p->path);
  const etk__gguf_table *table = etk__gguf_table_of_model_type(base->config.architecture);
  if (!table)
    return etk_fail(e, ETK_E_UNSUPPORTED, "models of the type %s have no place in GGUF here; there are %s", base->config.architecture,
                    etk__gguf_table_names(names, sizeof names));
  float alpha = 0;
  bool exact = true;
  etk_status status = etk__adapter_need_plain(e, p, "llama.cpp's form", false, true);
  if (!status) status = etk__adapter_check_base(e, p, base);
  if (!status && !p->count) status = etk_fail(e, ETK_E_INVALID, "%s holds no pair of an adapter", p->path);
  if (!status) status = find_alpha(e, p, &alpha, &exact);
  if (status) return status;
  etk_gguf_writer *writer = etk_gguf_writer_new();
  etk_tensor *(*held)[2] = etk_calloc(p->count, sizeof *held);
  if (!writer || !held) status = etk_fail_memory(e);
  if (!status) {
    etk_gguf_set_text(writer, "general.type", "adapter");
    etk_gguf_set_text(writer, "general.architecture", table->architecture);
    etk_gguf_set_text(writer, "adapter.type", "lora");
    etk_gguf_set_real(writer, alpha_key, ETK_GGUF_F32, alpha);
    if (!exact) etk_gguf_set_real(writer, scale_key, ETK_GGUF_F64, p->parts[0].scale);
    for (size_t i = 0; i < metadata.count; i++) set_metadata(writer, metadata.pairs[2 * i], metadata.pairs[2 * i + 1]);
  }
  for (size_t i = 0; i < p->count && !status; i++) status = add_part(e, writer, p, &p->parts[i], table, base, held[i]);
  if (!status) status = etk_gguf_write(e, writer, path, &(etk_gguf_write_options){.replace = true});
  for (size_t i = 0; held && i < p->count; i++) etk_tensor_unref(held[i][0]), etk_tensor_unref(held[i][1]);
  etk_free(held);
  etk_gguf_writer_free(writer);
  return status;
}
