/* An ONNX model: the messages from ModelProto down to attributes, each scanned whole and then listed. */
#include "onnx_internal.h"

#include <etk/text.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum { DEPTH_MAX = 16, TEXT_BLOCK = 4096 };
#define COUNT(array) (int)(sizeof array / sizeof *array)

typedef etk__onnx_reader reader;
typedef etk__proto_span span;
typedef etk__proto_field field;

void etk_onnx_close(etk_onnx *file) { etk__mapped_unref(file); }

/* ---- memory and names ---- */

void *etk__onnx_take(reader *r, size_t count, size_t size) {
  size_t bytes;
  bool over = __builtin_mul_overflow(count, size, &bytes) || bytes > SIZE_MAX / 2;
  bytes = (bytes + 15) / 16 * 16;
  if (over || bytes > r->budget - 16) return r->budget = 16, NULL; /* 16: spent */
  r->budget -= bytes;
  return etk_arena_array(&r->onnx->base.arena, count, size);
}
etk_status etk__onnx_short(reader *r) {
  if (r->budget == 16)
    return etk_fail(r->file.e, ETK_E_FORMAT, "%s: its lists take more memory than those of files of its size do: refused", r->file.name);
  return etk_fail(r->file.e, ETK_E_NO_MEMORY, "%s: out of memory while reading it", r->file.name);
}

static char *take_text(reader *r, size_t size) {
  if (r->text_left < size) {
    size_t block = size > TEXT_BLOCK / 4 ? size : TEXT_BLOCK;
    char *made = etk__onnx_take(r, block, 1);
    if (!made || block == size) return made; /* what is long has memory of its own */
    r->texts = made;
    r->text_left = block;
  }
  char *out = r->texts;
  r->texts += size;
  r->text_left -= size;
  return out;
}

etk_status etk__onnx_text(reader *r, const char *what, const field *f, const char **out) {
  *out = "";
  size_t size = f ? (size_t)(f->bytes.end - f->bytes.at) : 0;
  if (!size) return ETK_OK;
  if (memchr(f->bytes.at, 0, size) || !etk_utf8_valid((const char *)f->bytes.at, size))
    return etk__proto_fail(&r->file, ETK_E_FORMAT, f->tag, "%s is not UTF-8 or holds a zero byte", what);
  char *text = take_text(r, size + 1);
  if (!text) return etk__onnx_short(r);
  memcpy(text, f->bytes.at, size);
  *out = text;
  return ETK_OK;
}

/* ---- lists of a message ---- */

typedef struct message {
  reader *r;
  span bytes;
  const etk__proto_rule *rules;
  etk__proto_seen seen;
} message;

static etk_status scan(reader *r, message *m, span bytes, const char *what, const etk__proto_rule *rules, int count) {
  *m = (message){.r = r, .bytes = bytes, .rules = rules};
  return etk__proto_scan(&r->file, bytes, what, rules, count, &m->seen);
}
static const field *first(const message *m, int row) { return m->seen.fields[row] ? &m->seen.first[row] : NULL; }
static int64_t number(const message *m, int row, int64_t otherwise) { return m->seen.fields[row] ? (int64_t)m->seen.first[row].value : otherwise; }
static etk_status text(const message *m, int row, const char **out) { return etk__onnx_text(m->r, m->rules[row].name, first(m, row), out); }

/* Reads each value of a repeated field of bytes into an item of `size` bytes. Nothing happens where *s is a failure already. */
typedef etk_status read_item(reader *r, const field *f, void *item);
static void *list(const message *m, int row, size_t size, read_item *read, size_t *count, etk_status *s) {
  size_t wanted = *s ? 0 : (size_t)m->seen.count[row];
  *count = 0;
  if (!wanted) return NULL;
  char *items = etk__onnx_take(m->r, wanted, size);
  if (!items) return *s = etk__onnx_short(m->r), NULL;
  span bytes = m->bytes;
  field f;
  for (bool more = true; *count < wanted && !*s;) {
    *s = etk__proto_next(&m->r->file, &bytes, &f, &more);
    if (!*s && f.number == m->rules[row].number) *s = read(m->r, &f, items + size * (*count)++);
  }
  return items;
}

static etk_status read_name(reader *r, const field *f, void *item) { return etk__onnx_text(r, "a name", f, item); }

/* ---- values between nodes ---- */

static etk_status read_dim(reader *r, const field *f, void *item) {
  static const etk__proto_rule rules[] = {{1, ETK__PROTO_VARINT, false, "dim_value"}, {2, ETK__PROTO_BYTES, false, "dim_param"}};
  etk_onnx_dim *out = item;
  message m;
  etk_status s = scan(r, &m, f->bytes, "a dimension", rules, COUNT(rules));
  if (s) return s;
  out->value = number(&m, 0, -1);
  if (m.seen.fields[0] && out->value < 0)
    return etk__proto_fail(&r->file, ETK_E_FORMAT, f->tag, "a dimension is %" PRId64 "; it must not be negative", out->value);
  if (!m.seen.fields[1]) return ETK_OK;
  s = text(&m, 1, &out->name);
  if (!s && !*out->name) out->name = NULL;
  return s;
}

static etk_status read_tensor_type(reader *r, span bytes, etk_onnx_value *out) {
  static const etk__proto_rule rules[] = {{1, ETK__PROTO_VARINT, false, "elem_type"}, {2, ETK__PROTO_BYTES, false, "shape"}},
                               shape_rules[] = {{1, ETK__PROTO_BYTES, true, "dim"}};
  message m, shape;
  etk_status s = scan(r, &m, bytes, "a tensor type", rules, COUNT(rules));
  if (s) return s;
  int64_t type = number(&m, 0, 0);
  if (type < 0 || type > INT32_MAX)
    return etk__proto_fail(&r->file, ETK_E_FORMAT, bytes.at, "'%.200s' has the element type %" PRId64, out->name, type);
  out->number = (int)type;
  out->type_name = type ? etk_onnx_type_name((int)type) : "";
  if (!m.seen.fields[1]) return ETK_OK;
  s = scan(r, &shape, m.seen.first[1].bytes, "a shape", shape_rules, COUNT(shape_rules));
  if (!s && shape.seen.count[0] > 1024)
    s = etk__proto_fail(&r->file, ETK_E_FORMAT, bytes.at, "'%.200s' has %" PRIu64 " dimensions", out->name, shape.seen.count[0]);
  size_t rank = 0;
  out->dims = list(&shape, 0, sizeof *out->dims, read_dim, &rank, &s);
  out->rank = (int)rank;
  return s;
}

static etk_status read_value(reader *r, const field *f, void *item) {
  static const etk__proto_rule rules[] = {{1, ETK__PROTO_BYTES, false, "name"}, {2, ETK__PROTO_BYTES, false, "type"}},
                               type_rules[] = {{1, ETK__PROTO_BYTES, false, "tensor_type"},   {4, ETK__PROTO_BYTES, false, "sequence"},
                                               {5, ETK__PROTO_BYTES, false, "map"},           {7, ETK__PROTO_BYTES, false, "opaque"},
                                               {8, ETK__PROTO_BYTES, false, "sparse tensor"}, {9, ETK__PROTO_BYTES, false, "optional"}};
  etk_onnx_value *out = item;
  message m, type;
  *out = (etk_onnx_value){.name = "", .type_name = "", .rank = -1};
  etk_status s = scan(r, &m, f->bytes, "a value", rules, COUNT(rules));
  if (!s) s = text(&m, 0, &out->name);
  if (!s && !*out->name) s = etk__proto_fail(&r->file, ETK_E_FORMAT, f->tag, "an input, output or value without a name");
  if (s || !m.seen.fields[1]) return s;
  s = scan(r, &type, m.seen.first[1].bytes, "a type", type_rules, COUNT(type_rules));
  for (int i = 1; i < COUNT(type_rules) && !s; i++)
    if (type.seen.fields[i]) out->type_name = type_rules[i].name;
  return s || !type.seen.fields[0] ? s : read_tensor_type(r, type.seen.first[0].bytes, out);
}

/* ---- attributes ---- */

static etk_status read_graph(reader *r, span bytes, etk_onnx_graph *out);
static etk_status read_subgraph(reader *r, const field *f, void *item) {
  if (r->depth == DEPTH_MAX) return etk__proto_fail(&r->file, ETK_E_FORMAT, f->tag, "graphs lie inside each other more than %d deep", DEPTH_MAX);
  r->depth++;
  etk_status s = read_graph(r, f->bytes, item);
  r->depth--;
  return s;
}
static etk_status read_array(reader *r, const field *f, void *item) { return etk__onnx_read_array(r, f->bytes, item); }
static etk_status read_bytes(reader *r, const field *f, void *item) {
  etk_onnx_text *out = item;
  out->size = (size_t)(f->bytes.end - f->bytes.at);
  char *copy = take_text(r, out->size + 1);
  if (!copy) return etk__onnx_short(r);
  if (out->size) memcpy(copy, f->bytes.at, out->size);
  copy[out->size] = 0;
  out->data = copy;
  return ETK_OK;
}

/* Numbers, packed or one by one; size is that of an item, and of a number of fixed length in the file. */
static etk_status read_numbers(const message *m, int row, size_t size, void **out, size_t *count) {
  *count = (size_t)m->seen.count[row];
  unsigned char *to = *out = etk__onnx_take(m->r, *count + 1, size);
  if (!to) return etk__onnx_short(m->r);
  span bytes = m->bytes;
  field f;
  for (bool more = true;;) {
    etk_status s = etk__proto_next(&m->r->file, &bytes, &f, &more);
    if (s || !more) return s;
    if (f.number != m->rules[row].number) continue;
    if (m->rules[row].wire != ETK__PROTO_VARINT) {
      memcpy(to, f.bytes.at, (size_t)(f.bytes.end - f.bytes.at));
      to += f.bytes.end - f.bytes.at;
      continue;
    }
    bool packed = f.wire == ETK__PROTO_BYTES;
    while (!packed || f.bytes.at < f.bytes.end) {
      if (packed && (s = etk__proto_varint(&m->r->file, &f.bytes, &f.value))) return s;
      memcpy(to, &f.value, size);
      to += size;
      if (!packed) break;
    }
  }
}

enum {
  A_NAME, A_F, A_I, A_S, A_T, A_G, A_FLOATS, A_INTS, A_STRINGS, A_TENSORS, A_GRAPHS, A_TP, A_TPS, A_TYPE, A_REFERENCE, A_SPARSE, A_SPARSES,
  A_ROWS
};
static const etk__proto_rule attribute_rules[A_ROWS] = {
    {1, ETK__PROTO_BYTES, false, "name"},
    {2, ETK__PROTO_32, false, "f"},
    {3, ETK__PROTO_VARINT, false, "i"},
    {4, ETK__PROTO_BYTES, false, "s"},
    {5, ETK__PROTO_BYTES, false, "t"},
    {6, ETK__PROTO_BYTES, false, "g"},
    {7, ETK__PROTO_32, true, "floats"},
    {8, ETK__PROTO_VARINT, true, "ints"},
    {9, ETK__PROTO_BYTES, true, "strings"},
    {10, ETK__PROTO_BYTES, true, "tensors"},
    {11, ETK__PROTO_BYTES, true, "graphs"},
    {14, ETK__PROTO_BYTES, false, "tp"},
    {15, ETK__PROTO_BYTES, true, "type_protos"},
    {20, ETK__PROTO_VARINT, false, "type"},
    {21, ETK__PROTO_BYTES, false, "ref_attr_name"},
    {22, ETK__PROTO_BYTES, false, "sparse_tensor"},
    {23, ETK__PROTO_BYTES, true, "sparse_tensors"},
};
/* By kind: the row that holds its values, and how they are read. */
static const struct kind {
  int row;
  size_t size;
  read_item *read; /* NULL: numbers */
} kinds[] = {
    [ETK_ONNX_FLOAT] = {A_F, sizeof(float), NULL},
    [ETK_ONNX_INT] = {A_I, sizeof(int64_t), NULL},
    [ETK_ONNX_TEXT] = {A_S, sizeof(etk_onnx_text), read_bytes},
    [ETK_ONNX_TENSOR] = {A_T, sizeof(etk_onnx_array), read_array},
    [ETK_ONNX_GRAPH] = {A_G, sizeof(etk_onnx_graph), read_subgraph},
    [ETK_ONNX_FLOATS] = {A_FLOATS, sizeof(float), NULL},
    [ETK_ONNX_INTS] = {A_INTS, sizeof(int64_t), NULL},
    [ETK_ONNX_TEXTS] = {A_STRINGS, sizeof(etk_onnx_text), read_bytes},
    [ETK_ONNX_TENSORS] = {A_TENSORS, sizeof(etk_onnx_array), read_array},
    [ETK_ONNX_GRAPHS] = {A_GRAPHS, sizeof(etk_onnx_graph), read_subgraph},
    [ETK_ONNX_SPARSE] = {A_SPARSE, 0, NULL},
    [ETK_ONNX_SPARSES] = {A_SPARSES, 0, NULL},
    [ETK_ONNX_TYPE] = {A_TP, 0, NULL},
    [ETK_ONNX_TYPES] = {A_TPS, 0, NULL},
};

/* The first models wrote no type: then the field that is there tells it. */
static etk_status find_kind(const message *m, const field *f, etk_onnx_attribute *out) {
  int64_t kind = number(m, A_TYPE, 0);
  for (int k = 1; k < COUNT(kinds) && !kind; k++)
    if (m->seen.fields[kinds[k].row]) kind = k;
  out->kind = (etk_onnx_kind)kind;
  if (kind > 0 && kind < COUNT(kinds)) return ETK_OK;
  return etk__proto_fail(&m->r->file, kind ? ETK_E_UNSUPPORTED : ETK_E_FORMAT, f->tag, "attribute '%.200s' is of type %" PRId64 "; 1 to %d are known",
                         out->name, kind, COUNT(kinds) - 1);
}

static etk_status read_attribute(reader *r, const field *f, void *item) {
  etk_onnx_attribute *out = item;
  message m;
  void *numbers = NULL;
  etk_status s = scan(r, &m, f->bytes, "an attribute", attribute_rules, A_ROWS);
  if (!s) s = text(&m, A_NAME, &out->name);
  if (!s && !*out->name) s = etk__proto_fail(&r->file, ETK_E_FORMAT, f->tag, "an attribute without a name");
  if (!s && m.seen.fields[A_REFERENCE]) s = text(&m, A_REFERENCE, &out->reference);
  if (!s && out->reference && !m.seen.fields[A_TYPE]) return ETK_OK;
  if (!s) s = find_kind(&m, f, out);
  if (s || out->reference) return s;
  const struct kind *kind = &kinds[out->kind];
  bool single = out->kind <= ETK_ONNX_GRAPH;
  if (!kind->size) return ETK_OK;
  if (!kind->read) {
    s = read_numbers(&m, kind->row, kind->size, &numbers, &out->count);
    out->is.ints = numbers;
    if (single) out->count = 1; /* a zero need not be written */
    return s;
  }
  if (single && !m.seen.fields[kind->row] && out->kind != ETK_ONNX_TEXT)
    return etk__proto_fail(&r->file, ETK_E_FORMAT, f->tag, "attribute '%.200s' has no %s", out->name, attribute_rules[kind->row].name);
  if (single && !m.seen.fields[kind->row]) {
    static const etk_onnx_text none = {"", 0};
    out->is.texts = &none, out->count = 1;
    return ETK_OK;
  }
  out->is.arrays = list(&m, kind->row, kind->size, kind->read, &out->count, &s);
  return s;
}

/* ---- nodes and graphs ---- */

static etk_status read_node(reader *r, const field *f, void *item) {
  enum { INPUT, OUTPUT, NAME, OP_TYPE, ATTRIBUTE, DOMAIN, ROWS };
  static const etk__proto_rule rules[ROWS] = {{1, ETK__PROTO_BYTES, true, "input"},     {2, ETK__PROTO_BYTES, true, "output"},
                                              {3, ETK__PROTO_BYTES, false, "name"},     {4, ETK__PROTO_BYTES, false, "op_type"},
                                              {5, ETK__PROTO_BYTES, true, "attribute"}, {7, ETK__PROTO_BYTES, false, "domain"}};
  etk_onnx_node *out = item;
  message m;
  etk_status s = scan(r, &m, f->bytes, "a node", rules, ROWS);
  if (!s) s = text(&m, NAME, &out->name);
  if (!s) s = text(&m, OP_TYPE, &out->op_type);
  if (!s) s = text(&m, DOMAIN, &out->domain);
  if (!s && !*out->op_type) s = etk__proto_fail(&r->file, ETK_E_FORMAT, f->tag, "node '%.200s' has no op_type", out->name);
  out->inputs = list(&m, INPUT, sizeof *out->inputs, read_name, &out->input_count, &s);
  out->outputs = list(&m, OUTPUT, sizeof *out->outputs, read_name, &out->output_count, &s);
  out->attributes = list(&m, ATTRIBUTE, sizeof *out->attributes, read_attribute, &out->attribute_count, &s);
  return s;
}

static int by_text(const void *a, const void *b) { return strcmp(*(const char *const *)a, *(const char *const *)b); }

/* Names that may be there once; "" is left out. */
static etk_status check_twice(reader *r, const char **names, size_t count, const char *what) {
  qsort(names, count, sizeof *names, by_text);
  for (size_t i = 1; i < count; i++)
    if (*names[i] && !strcmp(names[i - 1], names[i]))
      return etk_fail(r->file.e, ETK_E_FORMAT, "%s: two %s are called '%.200s'", r->file.name, what, names[i]);
  return ETK_OK;
}

static etk_status check_names(reader *r, const etk_onnx_graph *g) {
  size_t outputs = 0, used = 0;
  for (size_t i = 0; i < g->node_count; i++) outputs += g->nodes[i].output_count;
  size_t most = outputs > g->initializer_count ? outputs : g->initializer_count;
  const char **names = etk__onnx_take(r, (most > g->input_count ? most : g->input_count) + 1, sizeof *names);
  if (!names) return etk__onnx_short(r);
  for (size_t i = 0; i < g->initializer_count; i++) {
    names[i] = g->initializers[i].name;
    if (!*names[i]) return etk__proto_fail(&r->file, ETK_E_FORMAT, g->initializers[i].message, "an initializer without a name");
  }
  etk_status s = check_twice(r, names, g->initializer_count, "initializers");
  for (size_t i = 0; i < g->input_count; i++) names[i] = g->inputs[i].name;
  if (!s) s = check_twice(r, names, g->input_count, "inputs of a graph");
  for (size_t i = 0; i < g->node_count; i++)
    for (size_t k = 0; k < g->nodes[i].output_count; k++) names[used++] = g->nodes[i].outputs[k];
  return s ? s : check_twice(r, names, used, "outputs of nodes");
}

static etk_status read_graph(reader *r, span bytes, etk_onnx_graph *out) {
  enum { NODE, NAME, INITIALIZER, INPUT, OUTPUT, VALUE, SPARSE, ROWS };
  static const etk__proto_rule rules[ROWS] = {{1, ETK__PROTO_BYTES, true, "node"},
                                              {2, ETK__PROTO_BYTES, false, "name"},
                                              {5, ETK__PROTO_BYTES, true, "initializer"},
                                              {11, ETK__PROTO_BYTES, true, "input"},
                                              {12, ETK__PROTO_BYTES, true, "output"},
                                              {13, ETK__PROTO_BYTES, true, "value_info"},
                                              {15, ETK__PROTO_BYTES, true, "sparse_initializer"}};
  message m;
  etk_status s = scan(r, &m, bytes, "a graph", rules, ROWS);
  if (!s) s = text(&m, NAME, &out->name);
  if (!s && m.seen.fields[SPARSE])
    s = etk__proto_fail(&r->file, ETK_E_UNSUPPORTED, m.seen.first[SPARSE].tag,
                        "a sparse initializer, which is not read; export the model with dense weights");
  out->nodes = list(&m, NODE, sizeof *out->nodes, read_node, &out->node_count, &s);
  out->initializers = list(&m, INITIALIZER, sizeof *out->initializers, read_array, &out->initializer_count, &s);
  out->inputs = list(&m, INPUT, sizeof *out->inputs, read_value, &out->input_count, &s);
  out->outputs = list(&m, OUTPUT, sizeof *out->outputs, read_value, &out->output_count, &s);
  out->values = list(&m, VALUE, sizeof *out->values, read_value, &out->value_count, &s);
  return s ? s : check_names(r, out);
}

/* ---- the model ---- */

static etk_status read_opset(reader *r, const field *f, void *item) {
  static const etk__proto_rule rules[] = {{1, ETK__PROTO_BYTES, false, "domain"}, {2, ETK__PROTO_VARINT, false, "version"}};
  etk_onnx_opset *out = item;
  message m;
  etk_status s = scan(r, &m, f->bytes, "an opset_import", rules, COUNT(rules));
  if (!s) s = text(&m, 0, &out->domain);
  if (!s) out->version = number(&m, 1, 0);
  return s;
}

static etk_status read_property(reader *r, const field *f, void *item) {
  static const etk__proto_rule rules[] = {{1, ETK__PROTO_BYTES, false, "key"}, {2, ETK__PROTO_BYTES, false, "value"}};
  etk_onnx_property *out = item;
  message m;
  etk_status s = scan(r, &m, f->bytes, "an entry of metadata_props", rules, COUNT(rules));
  if (!s) s = text(&m, 0, &out->key);
  return s ? s : text(&m, 1, &out->value);
}

static etk_status read_function(reader *r, const field *f, void *item) {
  enum { NAME, INPUT, OUTPUT, NODE, DOMAIN, ROWS };
  static const etk__proto_rule rules[ROWS] = {{1, ETK__PROTO_BYTES, false, "name"},
                                              {4, ETK__PROTO_BYTES, true, "input"},
                                              {5, ETK__PROTO_BYTES, true, "output"},
                                              {7, ETK__PROTO_BYTES, true, "node"},
                                              {10, ETK__PROTO_BYTES, false, "domain"}};
  etk_onnx_function *out = item;
  message m;
  etk_status s = scan(r, &m, f->bytes, "a function", rules, ROWS);
  if (!s) s = text(&m, NAME, &out->name);
  if (!s) s = text(&m, DOMAIN, &out->domain);
  if (!s && !*out->name) s = etk__proto_fail(&r->file, ETK_E_FORMAT, f->tag, "a function without a name");
  out->inputs = list(&m, INPUT, sizeof *out->inputs, read_name, &out->input_count, &s);
  out->outputs = list(&m, OUTPUT, sizeof *out->outputs, read_name, &out->output_count, &s);
  out->nodes = list(&m, NODE, sizeof *out->nodes, read_node, &out->node_count, &s);
  return s;
}

static int by_name(const void *a, const void *b) {
  return strcmp((*(const etk_onnx_array *const *)a)->name, (*(const etk_onnx_array *const *)b)->name);
}
static int name_against(const void *key, const void *item) { return strcmp(key, (*(const etk_onnx_array *const *)item)->name); }

static etk_status read_model(reader *r, span bytes, etk_onnx_model *out) {
  enum { IR_VERSION, PRODUCER, PRODUCER_VERSION, DOMAIN, VERSION, GRAPH, OPSET, PROPERTY, FUNCTION, ROWS };
  static const etk__proto_rule rules[ROWS] = {
      {1, ETK__PROTO_VARINT, false, "ir_version"}, {2, ETK__PROTO_BYTES, false, "producer_name"},  {3, ETK__PROTO_BYTES, false, "producer_version"},
      {4, ETK__PROTO_BYTES, false, "domain"},      {5, ETK__PROTO_VARINT, false, "model_version"}, {7, ETK__PROTO_BYTES, false, "graph"},
      {8, ETK__PROTO_BYTES, true, "opset_import"}, {14, ETK__PROTO_BYTES, true, "metadata_props"}, {25, ETK__PROTO_BYTES, true, "functions"},
  };
  message m;
  etk_status s = scan(r, &m, bytes, "the model", rules, ROWS);
  if (s) return etk_error_while(r->file.e, s, "%s: read as an ONNX model", r->file.name);
  if (!m.seen.fields[IR_VERSION] || !m.seen.fields[GRAPH])
    return etk_fail(r->file.e, ETK_E_FORMAT, "%s: not an ONNX model: it has no %s", r->file.name, m.seen.fields[GRAPH] ? "ir_version" : "graph");
  etk_onnx_graph *graph = etk__onnx_take(r, 1, sizeof *graph);
  if (!graph) return etk__onnx_short(r);
  out->ir_version = number(&m, IR_VERSION, 0);
  out->version = number(&m, VERSION, 0);
  out->graph = graph;
  s = text(&m, PRODUCER, &out->producer);
  if (!s) s = text(&m, PRODUCER_VERSION, &out->producer_version);
  if (!s) s = text(&m, DOMAIN, &out->domain);
  out->opsets = list(&m, OPSET, sizeof *out->opsets, read_opset, &out->opset_count, &s);
  out->properties = list(&m, PROPERTY, sizeof *out->properties, read_property, &out->property_count, &s);
  out->functions = list(&m, FUNCTION, sizeof *out->functions, read_function, &out->function_count, &s);
  return s ? s : read_graph(r, m.seen.first[GRAPH].bytes, graph);
}

static etk_status parse(etk_error *e, void *file, const unsigned char *bytes, size_t size) {
  static const unsigned char nothing[1];
  etk_onnx *onnx = file;
  onnx->begin = bytes ? bytes : nothing;
  onnx->base.release = etk__onnx_close_external;
  reader r = {.file = {e, onnx->base.name, onnx->begin}, .onnx = onnx, .budget = size > SIZE_MAX / 16 ? SIZE_MAX / 2 : size * 8 + ((size_t)12 << 20)};
  if (onnx->base.map.data) { /* the model has a folder, in which external data may lie */
    char *folder = etk_path_dir(onnx->base.name);
    onnx->folder = folder ? etk_arena_strdup(&onnx->base.arena, folder) : NULL;
    etk_free(folder);
    if (!onnx->folder) return etk_fail_memory(e);
  }
  etk_status s = read_model(&r, (span){onnx->begin, onnx->begin + size}, &onnx->model);
  if (s) return s;
  const etk_onnx_graph *g = onnx->model.graph;
  onnx->by_name = etk__onnx_take(&r, g->initializer_count + 1, sizeof *onnx->by_name);
  if (!onnx->by_name) return etk__onnx_short(&r);
  for (size_t i = 0; i < g->initializer_count; i++) onnx->by_name[i] = &g->initializers[i];
  qsort(onnx->by_name, g->initializer_count, sizeof *onnx->by_name, by_name);
  return ETK_OK;
}

etk_status etk_onnx_parse(etk_error *e, etk_onnx **out, const char *name, const void *bytes, size_t size) {
  void *file;
  etk_status s = etk__mapped_over(e, &file, sizeof **out, name, bytes, size, parse);
  *out = file;
  return s;
}

etk_status etk_onnx_open(etk_error *e, etk_onnx **out, const char *path) {
  void *file;
  etk_status s = etk__mapped_open(e, &file, sizeof **out, path, parse);
  *out = file;
  return s;
}

const etk_onnx_model *etk_onnx_get(const etk_onnx *file) { return &file->model; }

const etk_onnx_array *etk_onnx_find(const etk_onnx *file, const char *name) {
  size_t count = file->model.graph->initializer_count;
  const etk_onnx_array **found = count ? bsearch(name, file->by_name, count, sizeof *file->by_name, name_against) : NULL;
  return found ? *found : NULL;
}
