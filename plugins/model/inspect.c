#include "inspect.h"
#include "values.h"

#include <etk/alloc.h>
#include <etk/config.h>
#include <etk/convert.h>
#include <etk/fs.h>
#include <etk/model.h>
#include <etk/onnx.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- sums over tensors of one type, or of one layer ---- */
struct sum {
  const char *name; /* not terminated */
  size_t size;
  int64_t tensors, parameters, bytes;
};
struct sums {
  struct sum *items;
  size_t count, room;
};

static bool add_to(struct sums *sums, const char *name, size_t size, const etk_weight *weight) {
  struct sum *sum = NULL;
  for (size_t i = sums->count; i > 0 && !sum; i--) /* neighbours in a file are mostly of one layer */
    if (sums->items[i - 1].size == size && !memcmp(sums->items[i - 1].name, name, size)) sum = &sums->items[i - 1];
  if (!sum) {
    if (sums->count == sums->room) {
      size_t room = sums->room ? sums->room * 2 : 32;
      struct sum *items = etk_realloc(sums->items, room, sizeof *items);
      if (!items) return false;
      sums->items = items, sums->room = room;
    }
    sum = &sums->items[sums->count++];
    *sum = (struct sum){.name = name, .size = size};
  }
  sum->tensors++, sum->parameters += etk_weight_elements(weight), sum->bytes += (int64_t)weight->bytes;
  return true;
}

/* "model.layers.3" of "model.layers.3.mlp.up_proj.weight": up to the first number; else without the last part. */
static size_t layer_of(const char *name) {
  size_t part = 0;
  for (const char *at = name; *at; at += part + (at[part] == '.')) {
    part = strcspn(at, ".");
    if (part && strspn(at, "0123456789") == part) return (size_t)(at - name) + part;
  }
  const char *dot = strrchr(name, '.');
  return dot && dot != name ? (size_t)(dot - name) : strlen(name);
}

/* Layers of a stack in the order of their numbers; everything else where it comes first in the file. */
static int64_t number_of(const struct sum *sum, size_t *stem) {
  size_t digits = 0;
  int64_t number = 0;
  while (digits < sum->size && digits < 9 && sum->name[sum->size - 1 - digits] >= '0' && sum->name[sum->size - 1 - digits] <= '9') digits++;
  *stem = sum->size - digits;
  for (size_t i = *stem; i < sum->size; i++) number = number * 10 + (sum->name[i] - '0');
  return digits ? number : -1;
}
static bool before(const struct sum *a, const struct sum *b) {
  size_t stem_a, stem_b;
  int64_t x = number_of(a, &stem_a), y = number_of(b, &stem_b);
  return x >= 0 && y >= 0 && stem_a == stem_b && !memcmp(a->name, b->name, stem_a) && x < y;
}
static void sort_layers(struct sums *sums) {
  for (size_t i = 1; i < sums->count; i++) {
    struct sum sum = sums->items[i];
    size_t to = i;
    for (size_t j = i; j > 0; j--)
      if (before(&sum, &sums->items[j - 1])) to = j - 1;
    memmove(&sums->items[to + 1], &sums->items[to], (i - to) * sizeof sum);
    sums->items[to] = sum;
  }
}

static etk_status show_sums(etk_error *e, etk_run *run, const struct sums *sums, const char *table, const char *title) {
  for (size_t i = 0; i < sums->count; i++) {
    const struct sum *sum = &sums->items[i];
    char *name = etk_strndup(sum->name, sum->size);
    if (!name) return etk_fail_memory(e);
    etk_cell cells[] = {etk_cell_text(title, name), etk_cell_int("tensors", sum->tensors), etk_cell_int("parameters", sum->parameters), etk_cell_int("bytes", sum->bytes),
                        etk_cell_real("bits_per_parameter", sum->parameters ? round(800.0 * (double)sum->bytes / (double)sum->parameters) / 100 : 0)};
    etk_run_result_row(run, table, cells, sizeof cells / sizeof *cells);
    etk_free(name);
  }
  return ETK_OK;
}

/* ---- parts of the answer ---- */
static void show_facts(etk_run *run, const etk_weights_facts *f) {
  if (*f->architecture) etk_run_result_text(run, "architecture", f->architecture);
  const struct {
    const char *name;
    int64_t value;
  } whole[] = {{"vocab_size", f->vocab_size}, {"hidden_size", f->hidden_size}, {"intermediate_size", f->intermediate_size}, {"num_hidden_layers", f->num_hidden_layers},
               {"num_attention_heads", f->num_attention_heads}, {"num_key_value_heads", f->num_key_value_heads}, {"head_dim", f->head_dim},
               {"max_position_embeddings", f->max_position_embeddings}};
  for (size_t i = 0; i < sizeof whole / sizeof *whole; i++)
    if (whole[i].value) etk_run_result_int(run, whole[i].name, whole[i].value);
  if (f->norm_eps != 0) etk_run_result_real(run, "norm_eps", f->norm_eps);
  if (f->rope_theta != 0) etk_run_result_real(run, "rope_theta", f->rope_theta);
}

/* MLX's folders hold a matrix as codes, scales and biases: how many weights they stand for is known when they are bound. */
static const etk_weight *scales_of(const etk_weights *w, const char *name) {
  char scales[256];
  size_t stem = strlen(name);
  if (stem < 6 || strcmp(name + stem - 6, "weight")) return NULL;
  int size = snprintf(scales, sizeof scales, "%.*sscales", (int)stem - 6, name);
  return size < (int)sizeof scales ? etk_weights_find(w, scales) : NULL;
}

static void show_affine(etk_run *run, const etk_weights *w, int64_t *parameters) {
  bool found = false;
  for (size_t i = 0; i < etk_weights_count(w) && !found; i++) found = scales_of(w, etk_weights_at(w, i)->name) != NULL;
  etk_model *model = NULL;
  if (!found || etk_model_open(NULL, &model, etk_weights_path(w), NULL)) return;
  char text[64] = "", here[64];
  bool mixed = false;
  for (size_t i = 0; i < etk_model_weight_count(model); i++) {
    const char *name = etk_model_weight_name(model, i);
    const etk_weight *codes = etk_weights_find(w, name), *scales = scales_of(w, name);
    const etk_shape *shape = etk_tensor_shape(etk_model_weight_at(model, i));
    if (etk_tensor_dtype(etk_model_weight_at(model, i)) != ETK_AFFINE || !codes || !scales || shape->rank != 2) continue;
    snprintf(here, sizeof here, "affine, %" PRId64 " bits, groups of %" PRId64, codes->shape.dims[1] * 32 / shape->dims[1], shape->dims[1] / scales->shape.dims[1]);
    mixed |= *text && strcmp(text, here);
    memcpy(text, here, sizeof text);
  }
  *parameters = etk_model_parameters(model);
  etk_run_result_text(run, "quantization", mixed ? "affine, of several kinds" : text);
  etk_model_unref(model);
}

static etk_status show_summary(etk_error *e, etk_run *run, const etk_weights *w) {
  struct sums types = {0}, layers = {0};
  int64_t parameters = 0, bytes = 0;
  etk_status status = ETK_OK;
  for (size_t i = 0; i < etk_weights_count(w) && !status; i++) {
    const etk_weight *weight = etk_weights_at(w, i);
    parameters += etk_weight_elements(weight), bytes += (int64_t)weight->bytes;
    if (!add_to(&types, weight->type_name, strlen(weight->type_name), weight) || !add_to(&layers, weight->canonical, layer_of(weight->canonical), weight))
      status = etk_fail_memory(e);
  }
  etk_run_result_text(run, "format", etk_weights_format_name(etk_weights_get_format(w)));
  etk_run_result_int(run, "files", (int64_t)etk_weights_part_count(w));
  show_facts(run, etk_weights_get_facts(w));
  show_affine(run, w, &parameters);
  etk_run_result_int(run, "tensor_count", (int64_t)etk_weights_count(w));
  etk_run_result_int(run, "parameters", parameters);
  etk_run_result_int(run, "bytes", bytes);
  if (parameters) etk_run_result_real(run, "bits_per_parameter", round(800.0 * (double)bytes / (double)parameters) / 100);
  if (!status) status = show_sums(e, run, &types, "types", "type");
  sort_layers(&layers);
  if (!status) status = show_sums(e, run, &layers, "layers", "layer");
  etk_free(types.items), etk_free(layers.items);
  return status;
}

static void show_tensors(etk_run *run, const etk_weights *w) {
  char shape[128];
  for (size_t i = 0; i < etk_weights_count(w); i++) {
    const etk_weight *weight = etk_weights_at(w, i);
    bool renamed = strcmp(weight->name, weight->canonical) != 0;
    etk_cell cells[] = {etk_cell_text("name", weight->name), etk_cell_text("type", weight->type_name),
                        etk_cell_text("shape", etk_shape_text(shape, sizeof shape, &weight->shape)), etk_cell_int("parameters", etk_weight_elements(weight)),
                        etk_cell_int("bytes", (int64_t)weight->bytes), etk_cell_text("canonical", weight->canonical)};
    etk_run_result_row(run, "tensors", cells, sizeof cells / sizeof *cells - (renamed ? 0 : 1));
  }
}

enum { LISTED_ITEMS = 16 };
static etk_status show_keys(etk_error *e, etk_run *run, const etk_weights *w) {
  for (size_t i = 0; i < etk_weights_key_count(w); i++) {
    etk_text value = ETK_TEXT_INIT;
    etk_weights_key_value(w, i, LISTED_ITEMS, &value);
    bool failed = value.failed;
    etk_cell cells[] = {etk_cell_text("key", etk_weights_key_at(w, i)), etk_cell_text("value", value.data ? value.data : "")};
    if (!failed) etk_run_result_row(run, "keys", cells, 2);
    etk_text_free(&value);
    if (failed) return etk_fail_memory(e);
  }
  return ETK_OK;
}

/* ---- histogram ---- */
enum { BAR = 40 };
static void show_bins(etk_run *run, const int64_t *counts, int64_t bins, const struct statistics *s) {
  int64_t most = 1;
  for (int64_t i = 0; i < bins; i++)
    if (counts[i] > most) most = counts[i];
  for (int64_t i = 0; i < bins; i++) {
    char bar[BAR + 1] = "";
    int size = (int)ceil((double)counts[i] / (double)most * BAR);
    memset(bar, '#', (size_t)size);
    bar[size] = 0;
    double step = (s->max - s->min) / (double)bins;
    etk_cell cells[] = {etk_cell_real("from", (double)(float)(s->min + step * (double)i)), etk_cell_real("to", i + 1 == bins ? s->max : (double)(float)(s->min + step * (double)(i + 1))),
                        etk_cell_int("count", counts[i]), etk_cell_text("bar", bar)};
    etk_run_result_row(run, "histogram", cells, sizeof cells / sizeof *cells);
  }
}

static etk_status show_histogram(etk_error *e, etk_run *run, const etk_weights *w, const char *name, int64_t bins) {
  const etk_weight *weight = etk_weights_find(w, name);
  if (!weight) {
    const char *near = etk_weights_suggest(w, name);
    return etk_fail(e, ETK_E_NOT_FOUND, "%s has no tensor '%s'%s%s%s (it holds %zu; --tensors lists them)", etk_weights_path(w), name, near ? "; did you mean '" : "",
                    near ? near : "", near ? "'?" : "", etk_weights_count(w));
  }
  struct statistics s;
  char shape[128];
  etk_status status = values_statistics(e, &s, weight);
  int64_t *counts = etk_calloc((size_t)bins, sizeof *counts);
  if (!status) status = counts ? values_histogram(e, counts, bins, weight, &s) : etk_fail_memory(e);
  if (!status) {
    etk_run_result_text(run, "tensor", weight->name);
    etk_run_result_text(run, "type", weight->type_name);
    etk_run_result_text(run, "shape", etk_shape_text(shape, sizeof shape, &weight->shape));
    etk_run_result_int(run, "values", etk_weight_elements(weight));
    etk_run_result_int(run, "nan", s.nan);
    etk_run_result_int(run, "infinite", s.infinite);
    etk_run_result_real(run, "min", s.min);
    etk_run_result_real(run, "max", s.max);
    etk_run_result_real(run, "mean", s.mean);
    etk_run_result_real(run, "std", values_deviation(&s));
    if (s.count) show_bins(run, counts, s.max > s.min ? bins : 1, &s);
  }
  etk_free(counts);
  return status;
}

/* How a file of ours was made. */
static etk_status show_provenance(etk_error *e, etk_run *run, const etk_weights *w) {
  etk_text text = ETK_TEXT_INIT;
  etk_config *config = NULL;
  etk_status status = etk_convert_provenance(e, &text, w);
  if (!status) status = etk_config_parse(e, &config, "how it was made", text.data, text.size, ETK_CONFIG_JSON_ANY);
  const etk_config_node *root = status ? NULL : etk_config_root(config);
  for (const etk_config_node *n = root && root->kind == ETK_CONFIG_MAP ? root->first : NULL; n; n = n->next) {
    if (strncmp(n->key, "efficientai.", strlen("efficientai.")) || !n->text) continue;
    etk_cell cells[] = {etk_cell_text("made", n->key + strlen("efficientai.")), etk_cell_text("value", n->text)};
    etk_run_result_row(run, "provenance", cells, 2);
  }
  etk_config_free(config);
  etk_text_free(&text);
  return status;
}

/* ---- ONNX: the graph ---- */
static void put_value(etk_run *run, const char *role, const etk_onnx_value *v) {
  etk_text shape = ETK_TEXT_INIT;
  for (int i = 0; i < v->rank; i++) {
    etk_text_puts(&shape, i ? ", " : "(");
    if (v->dims[i].name) etk_text_puts(&shape, v->dims[i].name);
    else if (v->dims[i].value >= 0) etk_text_printf(&shape, "%" PRId64, v->dims[i].value);
    else etk_text_putc(&shape, '?');
  }
  etk_text_puts(&shape, v->rank > 0 ? ")" : v->rank == 0 ? "()" : "");
  etk_cell cells[] = {etk_cell_text("graph", role), etk_cell_text("name", v->name), etk_cell_text("type", v->type_name), etk_cell_text("shape", shape.data ? shape.data : "")};
  etk_run_result_row(run, "graph", cells, 4);
  etk_text_free(&shape);
}

static int by_op(const void *a, const void *b) { return strcmp(*(const char *const *)a, *(const char *const *)b); }

static etk_status put_operators(etk_error *e, etk_run *run, const etk_onnx_graph *graph) {
  const char **names = etk_calloc(graph->node_count + 1, sizeof *names);
  if (!names) return etk_fail_memory(e);
  for (size_t i = 0; i < graph->node_count; i++) names[i] = graph->nodes[i].op_type;
  qsort(names, graph->node_count, sizeof *names, by_op);
  for (size_t i = 0, n; i < graph->node_count; i += n) {
    for (n = 1; i + n < graph->node_count && !strcmp(names[i], names[i + n]);) n++;
    etk_cell cells[] = {etk_cell_text("operator", names[i]), etk_cell_int("nodes", (int64_t)n)};
    etk_run_result_row(run, "operators", cells, 2);
  }
  etk_free(names);
  return ETK_OK;
}

static etk_status show_graph(etk_error *e, etk_run *run, const char *path) {
  etk_onnx *file = NULL;
  etk_status status = etk_onnx_open(e, &file, path);
  if (status) return status;
  const etk_onnx_model *m = etk_onnx_get(file);
  const etk_onnx_graph *graph = m->graph;
  etk_run_result_int(run, "ir_version", m->ir_version);
  for (size_t i = 0; i < m->opset_count; i++)
    if (!*m->opsets[i].domain) etk_run_result_int(run, "opset", m->opsets[i].version);
  if (*m->producer) etk_run_result_text(run, "producer", m->producer);
  etk_run_result_int(run, "nodes", (int64_t)graph->node_count);
  for (size_t i = 0; i < graph->input_count; i++)
    if (!etk_onnx_find(file, graph->inputs[i].name)) put_value(run, "input", &graph->inputs[i]);
  for (size_t i = 0; i < graph->output_count; i++) put_value(run, "output", &graph->outputs[i]);
  status = put_operators(e, run, graph);
  etk_onnx_close(file);
  return status;
}

etk_status inspect_model(etk_run *run, const struct inspection *in) {
  etk_error e = ETK_ERROR_INIT;
  etk_weights *w = NULL;
  etk_status status = etk_weights_open(&e, &w, in->path);
  if (!status && in->histogram) status = show_histogram(&e, run, w, in->histogram, in->bins);
  else if (!status) status = show_summary(&e, run, w);
  if (!status && !in->histogram && etk_weights_get_format(w) == ETK_WEIGHTS_ONNX) status = show_graph(&e, run, etk_weights_part_path(w, 0));
  if (!status && !in->histogram) status = show_provenance(&e, run, w);
  if (!status && in->tensors) show_tensors(run, w);
  if (!status && in->keys) status = show_keys(&e, run, w);
  etk_weights_close(w);
  return status ? model_failed(run, &e) : ETK_OK;
}
