/* Reading ONNX models. What is expected of the whole files comes from the onnx package (tests/goldens/onnx_read.py); damaged ones are made here. */
#include "../interpose.h"
#include "ml_golden.h"
#include "ml_onnx_bytes.h"

#include <etk/hash.h>
#include <etk/onnx.h>
#include <etk/weights.h>

/* ---- golden models ---- */

static const char *text_at(const json_t *list, size_t i) { return json_string_value(json_array_get(list, i)); }
static void same_names(const json_t *wanted, const char *const *seen, size_t count) {
  assert_int_equal(json_array_size(wanted), count);
  for (size_t i = 0; i < count; i++) assert_string_equal(seen[i], text_at(wanted, i));
}

static void same_array(const etk_onnx *file, const json_t *wanted, const etk_onnx_array *seen) {
  const json_t *dims = json_array_get(wanted, 2);
  assert_string_equal(seen->name, text_at(wanted, 0));
  assert_string_equal(seen->type_name, text_at(wanted, 1));
  assert_int_equal(seen->shape.rank, json_array_size(dims));
  for (size_t i = 0; i < json_array_size(dims); i++) assert_int_equal(seen->shape.dims[i], json_integer_value(json_array_get(dims, i)));
  if (!*text_at(wanted, 3)) {
    char out[1];
    fails_with(ETK_E_UNSUPPORTED, "holds texts", etk_onnx_copy(e, out, file, seen));
    return;
  }
  unsigned char *bytes = malloc(seen->bytes + 1);
  char hex[65];
  works(etk_onnx_copy(e, bytes, file, seen));
  etk_sha256 hash;
  etk_sha256_init(&hash);
  etk_sha256_update(&hash, bytes, seen->bytes);
  etk_sha256_final(&hash, hex);
  if (strcmp(hex, text_at(wanted, 3)) != 0) fail_msg("%s: %s, wanted %s", seen->name, hex, text_at(wanted, 3));
  free(bytes);
}

static void same_graph(const etk_onnx *file, const json_t *wanted, const etk_onnx_graph *seen);
static void same_item(const etk_onnx *file, const etk_onnx_attribute *a, size_t i, const json_t *wanted) {
  char hex[64] = "";
  switch (a->kind) {
  case ETK_ONNX_FLOAT:
  case ETK_ONNX_FLOATS:
    assert_true((double)a->is.floats[i] == json_number_value(wanted));
    return;
  case ETK_ONNX_INT:
  case ETK_ONNX_INTS:
    assert_int_equal(a->is.ints[i], json_integer_value(wanted));
    return;
  case ETK_ONNX_TENSOR:
  case ETK_ONNX_TENSORS:
    same_array(file, wanted, &a->is.arrays[i]);
    return;
  case ETK_ONNX_GRAPH:
  case ETK_ONNX_GRAPHS:
    same_graph(file, wanted, &a->is.graphs[i]);
    return;
  default:
    assert_int_equal(a->is.texts[i].data[a->is.texts[i].size], 0);
    for (size_t k = 0; k < a->is.texts[i].size; k++) snprintf(hex + 2 * k, 3, "%02x", (unsigned char)a->is.texts[i].data[k]);
    assert_string_equal(hex, json_string_value(wanted));
  }
}

static void same_value(const json_t *wanted, const etk_onnx_value *seen) {
  const json_t *dims = json_array_get(wanted, 2);
  assert_string_equal(seen->name, text_at(wanted, 0));
  assert_string_equal(seen->type_name, text_at(wanted, 1));
  assert_int_equal(seen->rank, json_is_null(dims) ? -1 : (int)json_array_size(dims));
  for (int i = 0; i < seen->rank; i++) {
    const json_t *dim = json_array_get(dims, (size_t)i);
    assert_int_equal(seen->dims[i].value, json_is_integer(dim) ? json_integer_value(dim) : -1);
    if (json_is_string(dim)) assert_string_equal(seen->dims[i].name, json_string_value(dim));
    else assert_null(seen->dims[i].name);
  }
}
static void same_values(const json_t *wanted, const etk_onnx_value *seen, size_t count) {
  assert_int_equal(json_array_size(wanted), count);
  for (size_t i = 0; i < count; i++) same_value(json_array_get(wanted, i), &seen[i]);
}

static void same_node(const etk_onnx *file, const json_t *wanted, const etk_onnx_node *seen) {
  assert_string_equal(seen->op_type, text_at(wanted, 0));
  assert_string_equal(seen->domain, text_at(wanted, 1));
  assert_string_equal(seen->name, text_at(wanted, 2));
  same_names(json_array_get(wanted, 3), seen->inputs, seen->input_count);
  same_names(json_array_get(wanted, 4), seen->outputs, seen->output_count);
  const json_t *attributes = json_array_get(wanted, 5);
  assert_int_equal(json_array_size(attributes), seen->attribute_count);
  for (size_t i = 0; i < seen->attribute_count; i++) {
    const json_t *attribute = json_array_get(attributes, i), *items = json_array_get(attribute, 2);
    const etk_onnx_attribute *a = &seen->attributes[i];
    assert_string_equal(a->name, text_at(attribute, 0));
    assert_int_equal(a->kind, json_integer_value(json_array_get(attribute, 1)));
    assert_int_equal(a->count, json_array_size(items));
    for (size_t k = 0; k < a->count; k++) same_item(file, a, k, json_array_get(items, k));
  }
}

static void same_graph(const etk_onnx *file, const json_t *wanted, const etk_onnx_graph *seen) {
  const json_t *nodes = json_object_get(wanted, "nodes"), *arrays = json_object_get(wanted, "initializers");
  assert_string_equal(seen->name, json_string_value(json_object_get(wanted, "name")));
  assert_int_equal(seen->node_count, json_array_size(nodes));
  for (size_t i = 0; i < seen->node_count; i++) same_node(file, json_array_get(nodes, i), &seen->nodes[i]);
  assert_int_equal(seen->initializer_count, json_array_size(arrays));
  for (size_t i = 0; i < seen->initializer_count; i++) same_array(file, json_array_get(arrays, i), &seen->initializers[i]);
  same_values(json_object_get(wanted, "inputs"), seen->inputs, seen->input_count);
  same_values(json_object_get(wanted, "outputs"), seen->outputs, seen->output_count);
  same_values(json_object_get(wanted, "values"), seen->values, seen->value_count);
}

static void same_model(const json_t *wanted, const char *path) {
  etk_onnx *file;
  works(etk_onnx_open(e, &file, path));
  const etk_onnx_model *m = etk_onnx_get(file);
  const json_t *opsets = json_object_get(wanted, "opsets"), *properties = json_object_get(wanted, "properties"),
               *functions = json_object_get(wanted, "functions");
  assert_int_equal(m->ir_version, json_integer_value(json_object_get(wanted, "ir_version")));
  assert_string_equal(m->producer, json_string_value(json_object_get(wanted, "producer")));
  assert_int_equal(m->opset_count, json_array_size(opsets));
  for (size_t i = 0; i < m->opset_count; i++) {
    assert_string_equal(m->opsets[i].domain, text_at(json_array_get(opsets, i), 0));
    assert_int_equal(m->opsets[i].version, json_integer_value(json_array_get(json_array_get(opsets, i), 1)));
  }
  assert_int_equal(m->property_count, json_array_size(properties));
  for (size_t i = 0; i < m->property_count; i++) {
    assert_string_equal(m->properties[i].key, text_at(json_array_get(properties, i), 0));
    assert_string_equal(m->properties[i].value, text_at(json_array_get(properties, i), 1));
  }
  assert_int_equal(m->function_count, json_array_size(functions));
  for (size_t i = 0; i < m->function_count; i++) {
    assert_string_equal(m->functions[i].domain, text_at(json_array_get(functions, i), 0));
    assert_string_equal(m->functions[i].name, text_at(json_array_get(functions, i), 1));
    assert_int_equal(m->functions[i].node_count, json_integer_value(json_array_get(json_array_get(functions, i), 2)));
  }
  same_graph(file, json_object_get(wanted, "graph"), m->graph);
  for (size_t i = 0; i < m->graph->initializer_count; i++)
    assert_ptr_equal(etk_onnx_find(file, m->graph->initializers[i].name), &m->graph->initializers[i]);
  assert_null(etk_onnx_find(file, "nothing"));
  etk_onnx_close(file);
}

static void models_are_read_as_the_onnx_package_reads_them(void **state) {
  (void)state;
  json_t *rows = load_json("tests/goldens/onnx_read.json");
  for (size_t i = 0; i < json_array_size(rows); i++) {
    const json_t *row = json_array_get(rows, i);
    const char *name = json_string_value(json_object_get(row, "path"));
    char *path = strchr(name, '/') ? shared(path_of("models/%s", name)) : path_of("tests/fuzz/seeds/onnx/%s", name);
    if (etk_fs_exists(path)) same_model(row, path);
    else print_message("%s is not there\n", path);
  }
  json_decref(rows);
}

static void initializers_are_tensors_and_weights(void **state) {
  (void)state;
  const char *path = "tests/fuzz/seeds/onnx/typed.onnx";
  etk_onnx *file;
  etk_weights *w;
  etk_tensor *tensor;
  works(etk_onnx_open(e, &file, path));
  works(etk_onnx_tensor(e, &tensor, file, etk_onnx_find(file, "int64")));
  assert_true(((int64_t *)etk_tensor_data(tensor))[0] == INT64_MIN && ((int64_t *)etk_tensor_data(tensor))[3] == 300);
  etk_tensor_unref(tensor);
  works(etk_onnx_tensor(e, &tensor, file, etk_onnx_find(file, "float")));
  fails_with(ETK_E_UNSUPPORTED, "element type COMPLEX64", etk_onnx_tensor(e, &(etk_tensor *){NULL}, file, etk_onnx_find(file, "complex64")));
  etk_onnx_close(file);
  assert_memory_equal(etk_tensor_data(tensor), &(float){1.5f}, 4); /* the map outlives the handle; values lie at any alignment */
  etk_tensor_unref(tensor);
  works(etk_weights_open(e, &w, path));
  assert_int_equal(etk_weights_get_format(w), ETK_WEIGHTS_ONNX);
  assert_int_equal(etk_weights_count(w), 17);
  float out[4];
  works(etk_weight_decode(e, out, etk_weights_find(w, "float16"), 0, 4)); /* unpacked */
  assert_true(out[0] == 1.5f && out[1] == -2 && out[2] == 65504);
  works(etk_weight_decode(e, out, etk_weights_find(w, "uint64"), 0, 2));
  assert_true(out[0] == 18446744073709551616.0f && out[1] == 1);
  fails_with(ETK_E_UNSUPPORTED, "STRING", etk_weight_decode(e, out, etk_weights_find(w, "string"), 0, 1));
  assert_string_equal(etk_weights_key_at(w, 0), "ir_version");
  etk_text text = ETK_TEXT_INIT;
  etk_weights_key_value(w, 0, 4, &text);
  assert_string_equal(text.data, "8");
  etk_text_free(&text);
  etk_weights_close(w);
  works(etk_weights_open(e, &w, "tests/fuzz/seeds/onnx/nested.onnx"));
  assert_string_equal(etk_weights_metadata(w, "author"), "a test");
  assert_null(etk_weights_metadata(w, "nobody"));
  etk_weights_close(w);
}

/* ---- types that the package of the goldens does not know ---- */

static void newer_types_are_stored_types(void **state) {
  (void)state;
  static const struct {
    int number;
    const char *name;
    size_t bytes;
    int type;
  } types[] = {{17, "FLOAT8E4M3FN", 3, ETK_F8_E4M3},
               {18, "FLOAT8E4M3FNUZ", 3, ETK_F8_E4M3FNUZ},
               {19, "FLOAT8E5M2", 3, ETK_F8_E5M2},
               {20, "FLOAT8E5M2FNUZ", 3, ETK_F8_E5M2FNUZ},
               {21, "UINT4", 2, -1},
               {22, "INT4", 2, -1},
               {23, "FLOAT4E2M1", 2, -1},
               {24, "FLOAT8E8M0", 3, ETK_F8_E8M0},
               {25, "UINT2", 1, -1},
               {26, "INT2", 1, -1}};
  for (size_t i = 0; i < sizeof types / sizeof *types; i++)
    for (int raw = 0; raw < 2; raw++) {
      proto tensor = tensor_proto("w", types[i].number, 1, (int64_t[]){3}), values = {0};
      for (size_t k = 0; k < types[i].bytes; k++) raw ? put_byte(&values, (unsigned char)(0x38 + k)) : put_varint(&values, 0x38 + k);
      put_bytes(&tensor, raw ? 9 : 5, values.bytes, values.size);
      proto model = model_proto(&tensor);
      etk_onnx *file;
      works(etk_onnx_parse(e, &file, "x.onnx", model.bytes, model.size));
      const etk_onnx_array *w = etk_onnx_find(file, "w");
      unsigned char out[4] = {0};
      assert_string_equal(w->type_name, types[i].name);
      assert_int_equal(w->type, types[i].type);
      assert_int_equal(w->bytes, types[i].bytes);
      works(etk_onnx_copy(e, out, file, w));
      for (size_t k = 0; k < types[i].bytes; k++) assert_int_equal(out[k], 0x38 + k);
      etk_onnx_close(file);
    }
}

static void numbers_outside_their_type_are_refused_when_they_are_unpacked(void **state) {
  (void)state;
  static const struct {
    int number;
    int64_t value;
  } wrong[] = {{3, 128}, {3, -129}, {2, 256}, {2, -1}, {9, 2}, {10, 65536}, {5, 32768}, {12, (int64_t)1 << 32}, {22, 256}};
  for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
    proto tensor = tensor_proto("w", wrong[i].number, 1, (int64_t[]){1}), values = {0};
    put_varint(&values, (uint64_t)wrong[i].value);
    put_bytes(&tensor, wrong[i].number == 12 ? 11 : 5, values.bytes, values.size);
    proto model = model_proto(&tensor);
    etk_onnx *file;
    works(etk_onnx_parse(e, &file, "x.onnx", model.bytes, model.size));
    int32_t out[1];
    fails_with(ETK_E_FORMAT, "is no value of", etk_onnx_copy(e, out, file, etk_onnx_find(file, "w")));
    etk_onnx_close(file);
  }
}

/* ---- external data ---- */

static proto external_proto(const char *location, const char *offset, const char *length) {
  proto tensor = tensor_proto("w", 1, 1, (int64_t[]){2});
  put_number(&tensor, 14, 1);
  if (location) put_pair(&tensor, 13, "location", location);
  if (offset) put_pair(&tensor, 13, "offset", offset);
  if (length) put_pair(&tensor, 13, "length", length);
  return model_proto(&tensor);
}

static void external_data_is_mapped_and_stays_in_the_folder(void **state) {
  char *folder = fresh_folder(state, "external"), *path = path_of("%s/model.onnx", folder);
  static const float values[] = {1, 2, 3, 4};
  write_file(path_of("%s/model.data", folder), values, sizeof values);
  static const struct {
    const char *location, *offset, *length, *problem; /* NULL: none */
  } cases[] = {{"model.data", "4", "8", NULL},
               {"./model.data", "8", NULL, NULL},
               {"model.data", NULL, NULL, NULL},
               {"model.data", "12", "8", "8 bytes from byte 12"},
               {"model.data", "99999999999999999999", NULL, "offset is"},
               {"model.data", "-4", NULL, "offset is '-4'"},
               {"model.data", "", NULL, "offset is empty"},
               {"model.data", "0", "4", "external data of 4 bytes"},
               {"../model.data", "0", "8", "leaves the model's folder"},
               {"/etc/passwd", "0", "8", "leaves the model's folder"},
               {"a/../../model.data", NULL, NULL, "leaves"},
               {"gone.data", NULL, NULL, "gone.data"},
               {NULL, "0", "8", "no location"}};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    proto model = external_proto(cases[i].location, cases[i].offset, cases[i].length);
    write_file(path, model.bytes, model.size);
    etk_onnx *file;
    if (cases[i].problem) {
      etk_error error = ETK_ERROR_INIT;
      if (!etk_onnx_open(&error, &file, path) || !strstr(error.message, cases[i].problem) || !strstr(error.message, "model.onnx"))
        fail_msg("case %zu: %s", i, error.message);
      continue;
    }
    works(etk_onnx_open(e, &file, path));
    etk_tensor *tensor;
    works(etk_onnx_tensor(e, &tensor, file, etk_onnx_find(file, "w")));
    etk_onnx_close(file);
    int first = cases[i].offset ? atol_of(cases[i].offset) / 4 : 0;
    assert_memory_equal(etk_tensor_data(tensor), values + first, 8);
    etk_tensor_unref(tensor);
  }
  proto model = external_proto("model.data", "4", "8");
  etk_onnx *file;
  works(etk_onnx_parse(e, &file, "x.onnx", model.bytes, model.size));
  float out[2];
  fails_with(ETK_E_UNSUPPORTED, "open it by its path", etk_onnx_copy(e, out, file, etk_onnx_find(file, "w")));
  etk_onnx_close(file);
}

/* ---- damage ---- */

static void refused(etk_status status, const char *part, const proto *model) {
  etk_onnx *file = (void *)1;
  unsigned char *exact = malloc(model->size + 1); /* a block of its own, so that a sanitizer sees a read past the end */
  memcpy(exact, model->bytes, model->size);
  fails_with(status, part, etk_onnx_parse(e, &file, "x.onnx", exact, model->size));
  assert_null(file);
  free(exact);
}
static void tensor_refused(etk_status status, const char *part, const proto *tensor) {
  proto model = model_proto(tensor);
  refused(status, part, &model);
}

static void tensors_that_lie_are_refused(void **state) {
  (void)state;
  proto t = tensor_proto("w", 1, 1, (int64_t[]){2});
  tensor_refused(ETK_E_FORMAT, "tensor 'w': float_data has 0 numbers, its shape calls for 2", &t);
  put_bytes(&t, 9, "1234567", 7);
  tensor_refused(ETK_E_FORMAT, "raw_data has 7 bytes, its shape and type take 8", &t);
  t = tensor_proto("w", 1, 1, (int64_t[]){2}), put_bytes(&t, 9, "12345678", 8), put_bytes(&t, 4, "12345678", 8);
  tensor_refused(ETK_E_FORMAT, "values in float_data and in raw_data", &t);
  t = tensor_proto("w", 1, 1, (int64_t[]){1}), put_bytes(&t, 10, "12345678", 8);
  tensor_refused(ETK_E_FORMAT, "values of FLOAT cannot stand in double_data", &t);
  t = tensor_proto("w", 1, 1, (int64_t[]){2}), put_bytes(&t, 4, "1234567", 7);
  tensor_refused(ETK_E_FORMAT, "no multiple of 4", &t);
  t = tensor_proto("w", 7, 1, (int64_t[]){1}), put_bytes(&t, 7, "\x80", 1);
  tensor_refused(ETK_E_FORMAT, "a number is cut off", &t);
  t = tensor_proto("w", 7, 1, (int64_t[]){1}), put_bytes(&t, 7, "\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02", 10);
  tensor_refused(ETK_E_FORMAT, "more than 64 bits", &t);
  t = tensor_proto("w", 1, 1, (int64_t[]){-1});
  tensor_refused(ETK_E_FORMAT, "dimension 0 is -1", &t);
  t = tensor_proto("w", 1, 3, (int64_t[]){1 << 30, 1 << 30, 1 << 30});
  tensor_refused(ETK_E_FORMAT, "product of its dimensions overflows", &t);
  t = tensor_proto("w", 1, 7, (int64_t[]){1, 1, 1, 1, 1, 1, 1});
  tensor_refused(ETK_E_UNSUPPORTED, "7 dimensions", &t);
  t = tensor_proto("w", 99, 1, (int64_t[]){1});
  tensor_refused(ETK_E_UNSUPPORTED, "data_type is 99", &t);
  t = tensor_proto("w", 0, 1, (int64_t[]){1});
  tensor_refused(ETK_E_FORMAT, "data_type is 0", &t);
  t = tensor_proto("", 1, 1, (int64_t[]){0});
  tensor_refused(ETK_E_FORMAT, "an initializer without a name", &t);
  t = tensor_proto("a\xff", 1, 1, (int64_t[]){0});
  tensor_refused(ETK_E_FORMAT, "not UTF-8", &t);
  t = tensor_proto("w", 1, 1, (int64_t[]){0}), put_bytes(&t, 3, "", 0);
  tensor_refused(ETK_E_UNSUPPORTED, "one segment", &t);
  t = tensor_proto("w", 1, 1, (int64_t[]){0}), put_number(&t, 14, 7);
  tensor_refused(ETK_E_FORMAT, "data_location is 7", &t);
  t = tensor_proto("w", 1, 1, (int64_t[]){0}), put_bytes(&t, 8, "v", 1);
  tensor_refused(ETK_E_FORMAT, "name of a tensor is given twice", &t);
  t = tensor_proto("w", 1, 1, (int64_t[]){0}), put_number(&t, 9, 7);
  tensor_refused(ETK_E_FORMAT, "raw_data of a tensor is of wire type 0; 2 is right", &t);
}

static void messages_that_do_not_add_up_are_refused(void **state) {
  (void)state;
  proto m = {0};
  refused(ETK_E_FORMAT, "it has no graph", &m);
  put_bytes(&m, 7, "", 0);
  refused(ETK_E_FORMAT, "it has no ir_version", &m);
  m = (proto){0}, put_number(&m, 1, 8), put_bytes(&m, 7, "", 0), put_bytes(&m, 7, "", 0);
  refused(ETK_E_FORMAT, "graph of the model is given twice", &m);
  m = (proto){0}, put_number(&m, 1, 8), put_byte(&m, 0x3a), put_byte(&m, 5);
  refused(ETK_E_FORMAT, "byte 2: field 7 of 5 bytes reaches beyond its message, of which 0 bytes are left", &m);
  m = (proto){0}, put_number(&m, 1, 8), put_byte(&m, 0x3b);
  refused(ETK_E_FORMAT, "wire type 3", &m);
  m = (proto){0}, put_byte(&m, 0x00);
  refused(ETK_E_FORMAT, "field number 0", &m);
  m = (proto){0}, put_byte(&m, 0x08), put_byte(&m, 0xff);
  refused(ETK_E_FORMAT, "a number is cut off", &m);
  proto node = {0}, graph = {0};
  put_bytes(&graph, 1, node.bytes, node.size), m = model_of(&graph);
  refused(ETK_E_FORMAT, "has no op_type", &m);
  put_text(&node, 4, "Add"), put_bytes(&node, 5, "", 0), graph = (proto){0}, put_bytes(&graph, 1, node.bytes, node.size), m = model_of(&graph);
  refused(ETK_E_FORMAT, "an attribute without a name", &m);
  proto attribute = {0};
  put_text(&attribute, 1, "a"), put_number(&attribute, 20, 4), m = model_with_attribute(&attribute);
  refused(ETK_E_FORMAT, "attribute 'a' has no t", &m);
  attribute = (proto){0}, put_text(&attribute, 1, "a"), put_number(&attribute, 20, 77), m = model_with_attribute(&attribute);
  refused(ETK_E_UNSUPPORTED, "attribute 'a' is of type 77", &m);
  attribute = (proto){0}, put_text(&attribute, 1, "a"), m = model_with_attribute(&attribute);
  refused(ETK_E_FORMAT, "attribute 'a' is of type 0", &m);
  graph = (proto){0}, put_bytes(&graph, 15, "", 0), m = model_of(&graph);
  refused(ETK_E_UNSUPPORTED, "a sparse initializer", &m);
  graph = (proto){0}, put_bytes(&graph, 11, "", 0), m = model_of(&graph);
  refused(ETK_E_FORMAT, "without a name", &m);
}

static void names_that_are_there_twice_are_refused(void **state) {
  (void)state;
  proto graph = {0}, t = tensor_proto("w", 1, 1, (int64_t[]){0}), m;
  put_bytes(&graph, 5, t.bytes, t.size), put_bytes(&graph, 5, t.bytes, t.size), m = model_of(&graph);
  refused(ETK_E_FORMAT, "two initializers are called 'w'", &m);
  proto node = {0};
  put_text(&node, 2, "y"), put_text(&node, 4, "Add"), put_text(&node, 2, "y"), graph = (proto){0}, put_bytes(&graph, 1, node.bytes, node.size),
                                                                               m = model_of(&graph);
  refused(ETK_E_FORMAT, "two outputs of nodes are called 'y'", &m);
  proto value = {0};
  put_text(&value, 1, "x"), graph = (proto){0}, put_bytes(&graph, 11, value.bytes, value.size), put_bytes(&graph, 11, value.bytes, value.size),
                            m = model_of(&graph);
  refused(ETK_E_FORMAT, "two inputs of a graph are called 'x'", &m);
}

static void graphs_inside_graphs_end_somewhere(void **state) {
  (void)state;
  for (int depth = 15; depth < 18; depth++) {
    proto graph = {0}, m;
    for (int i = 0; i < depth; i++) {
      proto attribute = {0}, node = {0}, outer = {0};
      put_text(&attribute, 1, "g"), put_bytes(&attribute, 6, graph.bytes, graph.size), put_number(&attribute, 20, 5);
      put_text(&node, 4, "If"), put_bytes(&node, 5, attribute.bytes, attribute.size), put_bytes(&outer, 1, node.bytes, node.size);
      graph = outer;
    }
    m = model_of(&graph);
    etk_onnx *file;
    if (depth > 16) refused(ETK_E_FORMAT, "more than 16 deep", &m);
    else {
      works(etk_onnx_parse(e, &file, "x.onnx", m.bytes, m.size));
      etk_onnx_close(file);
    }
  }
}

static void a_model_cut_anywhere_is_refused(void **state) {
  (void)state;
  char *bytes;
  size_t size, whole = 0;
  works(etk_fs_read(e, &bytes, &size, "tests/fuzz/seeds/onnx/nested.onnx", 1 << 20));
  for (size_t cut = 0; cut < size; cut++) {
    etk_onnx *file;
    etk_error error = ETK_ERROR_INIT;
    unsigned char *exact = malloc(cut + 1);
    memcpy(exact, bytes, cut);
    if (!etk_onnx_parse(&error, &file, "x.onnx", exact, cut)) {
      whole++; /* fields that follow the graph may be cut off where one ends */
      etk_onnx_close(file);
    } else assert_memory_equal(error.message, "x.onnx: ", 8);
    free(exact);
  }
  assert_true(whole < 10);
  etk_free(bytes);
}

static bool open_once(void *user) {
  etk_onnx *file;
  etk_error e = ETK_ERROR_INIT;
  if (etk_onnx_open(&e, &file, user)) return false;
  etk_onnx_close(file);
  return true;
}
static void every_failing_allocation_is_an_error_without_a_leak(void **state) {
  (void)state;
  long tried = interpose_sweep(open_once, (void *)(uintptr_t) "tests/fuzz/seeds/onnx/nested.onnx");
  if (tried < 3) fail_msg("%ld", tried);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(models_are_read_as_the_onnx_package_reads_them),
      cmocka_unit_test(initializers_are_tensors_and_weights),
      cmocka_unit_test(newer_types_are_stored_types),
      cmocka_unit_test(numbers_outside_their_type_are_refused_when_they_are_unpacked),
      cmocka_unit_test(external_data_is_mapped_and_stays_in_the_folder),
      cmocka_unit_test(tensors_that_lie_are_refused),
      cmocka_unit_test(messages_that_do_not_add_up_are_refused),
      cmocka_unit_test(names_that_are_there_twice_are_refused),
      cmocka_unit_test(graphs_inside_graphs_end_somewhere),
      cmocka_unit_test(a_model_cut_anywhere_is_refused),
      cmocka_unit_test(every_failing_allocation_is_an_error_without_a_leak),
  };
  return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
