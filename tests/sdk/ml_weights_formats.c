/* The same weights in safetensors, NumPy's and PyTorch's files, seen through etk/weights.h. */
#include "../interpose.h"
#include "ml_golden.h"

#include <etk/hash.h>
#include <etk/numpy.h>
#include <etk/torch.h>
#include <etk/weights.h>

/* Types that all three have; BF16 is two bytes of no type in NumPy's. */
static const etk_dtype shared_types[] = {ETK_F32, ETK_F16, ETK_BF16, ETK_F64, ETK_I8, ETK_U8, ETK_I16, ETK_I32, ETK_I64, ETK_BOOL};
enum { TYPES = sizeof shared_types / sizeof *shared_types, SHAPES = 4, TENSORS = TYPES * SHAPES };
static const etk_shape shapes[SHAPES] = {{0, {0}}, {1, {5}}, {2, {3, 4}}, {3, {2, 0, 7}}};

static etk_tensor *tensors[TENSORS];
static const char *names[TENSORS];

static int make_tensors(void **state) {
  for (int i = 0; i < TENSORS; i++) {
    etk_dtype dtype = shared_types[i / SHAPES];
    works(etk_tensor_new(e, &tensors[i], dtype, shapes[i % SHAPES]));
    unsigned char *bytes = etk_tensor_data(tensors[i]);
    for (size_t k = 0; k < etk_tensor_bytes(tensors[i]); k++)
      bytes[k] = (unsigned char)(dtype == ETK_BOOL ? (k + (size_t)i) & 1 : k * 37 + (size_t)i * 11); /* NaNs too */
    names[i] = path_of("net.%s.%d", etk_dtype_name(dtype), i % SHAPES);
  }
  return make_folder(state);
}
static int drop_tensors(void **state) {
  for (int i = 0; i < TENSORS; i++) etk_tensor_unref(tensors[i]);
  return remove_folder(state);
}

static void same_weights(etk_weights *w) {
  assert_int_equal(etk_weights_count(w), TENSORS);
  for (int i = 0; i < TENSORS; i++) {
    const etk_weight *weight = etk_weights_find(w, names[i]);
    const void *data;
    if (!weight) fail_msg("%s is not there", names[i]);
    assert_int_equal(weight->type, etk_tensor_dtype(tensors[i]));
    assert_true(etk_shape_equal(&weight->shape, etk_tensor_shape(tensors[i])));
    works(etk_weight_data(e, &data, weight));
    assert_int_equal(weight->bytes, etk_tensor_bytes(tensors[i]));
    if (weight->bytes) assert_memory_equal(data, etk_tensor_data(tensors[i]), weight->bytes);
  }
}

enum form { SAFETENSORS, NPZ, PTH, FORMS };
static const char *const form_names[FORMS] = {"safetensors", "npz", "pth"};
static const etk_weights_format formats[FORMS] = {ETK_WEIGHTS_SAFETENSORS, ETK_WEIGHTS_NUMPY, ETK_WEIGHTS_TORCH};

static void write_form(enum form form, const char *path, const char *const *of, etk_tensor *const *from, size_t count) {
  etk_safetensors_item safetensors[TENSORS];
  etk_npz_item npz[TENSORS];
  etk_torch_item torch[TENSORS];
  for (size_t i = 0; i < count; i++) {
    safetensors[i] = (etk_safetensors_item){of[i], from[i], etk_tensor_dtype(from[i])};
    npz[i] = (etk_npz_item){of[i], from[i]};
    torch[i] = (etk_torch_item){of[i], from[i]};
  }
  if (form == SAFETENSORS) works(etk_safetensors_write(e, path, safetensors, count, NULL, 0, true));
  if (form == NPZ) works(etk_npz_write(e, path, npz, count, true));
  if (form == PTH) works(etk_torch_write(e, path, torch, count, true));
}

static void every_form_becomes_every_other_and_keeps_each_tensor_exactly(void **state) {
  for (int from = 0; from < FORMS; from++)
    for (int to = 0; to < FORMS; to++) {
      char *a = path_of("%s/a.%s", (const char *)*state, form_names[from]), *b = path_of("%s/b.%s", (const char *)*state, form_names[to]);
      etk_weights *w;
      etk_tensor *taken[TENSORS];
      write_form((enum form)from, a, names, tensors, TENSORS);
      works(etk_weights_open(e, &w, a));
      assert_int_equal(etk_weights_get_format(w), formats[from]);
      same_weights(w);
      for (int i = 0; i < TENSORS; i++) works(etk_weights_tensor(e, &taken[i], w, names[i], NULL));
      etk_weights_close(w);
      write_form((enum form)to, b, names, taken, TENSORS); /* the maps outlive the handle */
      for (int i = 0; i < TENSORS; i++) etk_tensor_unref(taken[i]);
      works(etk_weights_open(e, &w, b));
      same_weights(w);
      etk_weights_close(w);
    }
}

static const char *torch_name(etk_dtype dtype) {
  static const char *const all[] = {
      [ETK_F32] = "float32", [ETK_F16] = "float16", [ETK_BF16] = "bfloat16", [ETK_F64] = "float64", [ETK_I8] = "int8",
      [ETK_U8] = "uint8",    [ETK_I16] = "int16",   [ETK_I32] = "int32",     [ETK_I64] = "int64",   [ETK_BOOL] = "bool"};
  return all[dtype];
}
static void torch_load_reads_what_was_written(void **state) {
  static const char has_torch[] = "-c 'import importlib.util, sys; sys.exit(not importlib.util.find_spec(\"torch\"))' 2>/dev/null";
  const char *python = !system(path_of("python3 %s", has_torch))            ? "python3"
                       : !system(path_of("/usr/bin/python3 %s", has_torch)) ? "/usr/bin/python3"
                                                                            : NULL;
  if (!python) skip();
  char *path = path_of("%s/ours.pth", (const char *)*state), wanted[512], line[512];
  write_form(PTH, path, names, tensors, TENSORS);
  FILE *list = popen(path_of("%s tests/goldens/torch_load.py %s", python, path), "r");
  assert_non_null(list);
  for (int i = 0; i < TENSORS; i++) {
    char shape[64] = "", hex[65];
    etk_sha256 hash;
    etk_sha256_init(&hash);
    etk_sha256_update(&hash, etk_tensor_bytes(tensors[i]) ? etk_tensor_data(tensors[i]) : "", etk_tensor_bytes(tensors[i]));
    etk_sha256_final(&hash, hex);
    for (int d = 0; d < shapes[i % SHAPES].rank; d++) snprintf(shape + strlen(shape), 16, "%s%d", d ? "x" : "", (int)shapes[i % SHAPES].dims[d]);
    snprintf(wanted, sizeof wanted, "%s %s %s %s\n", names[i], torch_name(etk_tensor_dtype(tensors[i])), shape, hex);
    if (!fgets(line, sizeof line, list)) fail_msg("PyTorch stops before %s", names[i]);
    assert_string_equal(line, wanted);
  }
  assert_null(fgets(line, sizeof line, list));
  assert_int_equal(pclose(list), 0);
}

static void what_pytorch_cannot_hold_is_not_written(void **state) {
  char *path = path_of("%s/not.pth", (const char *)*state);
  etk_tensor *odd;
  works(etk_tensor_new(e, &odd, ETK_U16, etk_shape_of(1, 2)));
  fails_with(ETK_E_UNSUPPORTED, "tensor 'w' is of U16", etk_torch_write(e, path, &(etk_torch_item){"w", odd}, 1, false));
  fails_with(ETK_E_INVALID, "cannot be the name", etk_torch_write(e, path, &(etk_torch_item){"", tensors[0]}, 1, false));
  fails_with(ETK_E_INVALID, "given twice", etk_torch_write(e, path, (etk_torch_item[]){{"w", tensors[0]}, {"w", tensors[1]}}, 2, false));
  assert_false(etk_fs_exists(path));
  works(etk_torch_write(e, path, &(etk_torch_item){"w", tensors[0]}, 1, false));
  fails_with(ETK_E_EXISTS, "not.pth", etk_torch_write(e, path, &(etk_torch_item){"w", tensors[0]}, 1, false));
  etk_tensor_unref(odd);
}

/* ---- what must be unpacked ---- */

static void arrays_in_another_order_or_compressed_are_unpacked_once(void **state) {
  (void)state;
  static const char *const files[] = {"tests/fuzz/seeds/numpy/deflated.npz", "tests/fuzz/seeds/numpy/columns.npy"};
  for (size_t i = 0; i < 2; i++) {
    etk_weights *w;
    works(etk_weights_open(e, &w, files[i]));
    const etk_weight *weight = etk_weights_at(w, 0);
    const void *once, *again;
    works(etk_weight_data(e, &once, weight));
    works(etk_weight_data(e, &again, weight));
    assert_non_null(once);
    assert_ptr_equal(once, again);
    etk_weights_close(w);
  }
}

static void strided_tensors_of_pytorch_are_turned_to_rows(void **state) {
  (void)state;
  etk_weights *w;
  float out[6];
  works(etk_weights_open(e, &w, "tests/fuzz/seeds/torch/strided.pth"));
  const etk_weight *weight = etk_weights_find(w, "turned"); /* [[0, 1, 2], [3, 4, 5]].t() */
  assert_non_null(weight);
  assert_null(weight->data);
  works(etk_weight_decode(e, out, weight, 0, 6));
  assert_memory_equal(out, ((float[]){0, 3, 1, 4, 2, 5}), sizeof out);
  works(etk_weight_decode(e, out, weight, 2, 2));
  assert_true(out[0] == 1 && out[1] == 4);
  assert_string_equal(weight->type_name, "float32");
  assert_string_equal(etk_weights_key_at(w, 0), "step");
  etk_text text = ETK_TEXT_INIT;
  etk_weights_key_value(w, 0, 4, &text);
  assert_string_equal(text.data, "7");
  etk_text_free(&text);
  etk_weights_close(w);
}

/* ---- folders ---- */

static void a_folder_with_pytorch_model_bin_opens(void **state) {
  char *folder = fresh_folder(state, "hub");
  etk_weights *w;
  write_form(PTH, path_of("%s/pytorch_model.bin", folder), names, tensors, TENSORS);
  write_text(path_of("%s/config.json", folder), "{\"model_type\":\"llama\",\"hidden_size\":64}");
  works(etk_weights_open(e, &w, folder));
  same_weights(w);
  assert_int_equal(etk_weights_get_facts(w)->hidden_size, 64);
  etk_weights_close(w);
  works(etk_weights_open(e, &w, path_of("%s/pytorch_model.bin", folder))); /* the file tells the same */
  assert_int_equal(etk_weights_get_facts(w)->hidden_size, 64);
  etk_weights_close(w);
}

/* The same weights as pytorch_model.bin: the same logits, bit for bit. */
static void a_model_in_pytorch_model_bin_computes_the_same(void **state) {
  char *golden = shared_or_skip("goldens/models/llama"), *folder = fresh_folder(state, "model");
  enum { MOST = 64, IDS = 5 };
  etk_torch_item items[MOST];
  etk_weights *w;
  works(etk_weights_open(e, &w, golden));
  size_t count = etk_weights_count(w);
  assert_in_range(count, 1, MOST);
  for (size_t i = 0; i < count; i++) {
    etk_tensor *tensor;
    items[i].name = etk_weights_at(w, i)->name;
    works(etk_weights_tensor(e, &tensor, w, items[i].name, NULL));
    items[i].tensor = tensor;
  }
  works(etk_torch_write(e, path_of("%s/pytorch_model.bin", folder), items, count, false));
  for (size_t i = 0; i < count; i++) etk_tensor_unref((etk_tensor *)(uintptr_t)items[i].tensor);
  etk_weights_close(w);
  copy_file(path_of("%s/config.json", golden), path_of("%s/config.json", folder), 0);
  etk_model *models[2] = {open_model(golden), open_model(folder)};
  size_t vocab = (size_t)etk_model_get_config(models[0])->vocab_size;
  float *logits[2];
  for (int m = 0; m < 2; m++) {
    logits[m] = etk_calloc(vocab * IDS, sizeof(float));
    forward_plain(models[m], NULL, (const int32_t[IDS]){1, 5, 9, 2, 7}, IDS, logits[m]);
    etk_model_unref(models[m]);
  }
  assert_memory_equal(logits[0], logits[1], vocab * IDS * sizeof(float));
  etk_free(logits[0]), etk_free(logits[1]);
}

static void shards_of_pytorch_open_by_their_index(void **state) {
  char *folder = fresh_folder(state, "shards"), *index = path_of("%s/pytorch_model.bin.index.json", folder);
  etk_weights *w;
  enum { HALF = TENSORS / 2 };
  static const char *const files[] = {"pytorch_model-00001-of-00002.bin", "pytorch_model-00002-of-00002.bin"};
  write_form(PTH, path_of("%s/%s", folder, files[0]), names, tensors, HALF);
  write_form(PTH, path_of("%s/%s", folder, files[1]), names + HALF, tensors + HALF, TENSORS - HALF);
  json_t *map = json_object();
  for (int i = 0; i < TENSORS; i++) json_object_set_new(map, names[i], json_string(files[i >= HALF]));
  json_t *root = json_pack("{s:{s:i},s:o}", "metadata", "total_size", 1, "weight_map", map);
  assert_int_equal(json_dump_file(root, index, 0), 0);
  works(etk_weights_open(e, &w, folder));
  same_weights(w);
  assert_int_equal(etk_weights_part_count(w), 2);
  assert_int_equal(etk_weights_find(w, names[HALF])->part, 1);
  etk_weights_close(w);
  json_object_set_new(map, names[0], json_string(files[1]));
  assert_int_equal(json_dump_file(root, index, 0), 0);
  fails_with(ETK_E_FORMAT, "which does not hold it", etk_weights_open(e, &w, folder));
  json_object_del(map, names[0]);
  assert_int_equal(json_dump_file(root, index, 0), 0);
  fails_with(ETK_E_FORMAT, path_of("names %d tensors, its shards hold %d", TENSORS - 1, TENSORS), etk_weights_open(e, &w, folder));
  json_decref(root);
}

static void archives_of_nothing_known_are_refused(void **state) {
  char *path = path_of("%s/a.zip", (const char *)*state), *pickle = path_of("%s/a.pkl", (const char *)*state), *empty = fresh_folder(state, "empty");
  etk_weights *w;
  write_file(path, "PK\3\4rest of an archive", 22);
  fails_with(ETK_E_FORMAT, "do not end with the directory of a ZIP archive", etk_weights_open(e, &w, path));
  write_file(pickle, "\x80\4N.", 4);
  fails_with(ETK_E_UNSUPPORTED, "a bare pickle (protocol 4)", etk_weights_open(e, &w, pickle));
  fails_with(ETK_E_NOT_FOUND, "pytorch_model.bin, pytorch_model.bin.index.json", etk_weights_open(e, &w, empty));
}

static bool open_and_unpack(void *user) {
  etk_weights *w;
  etk_error e = ETK_ERROR_INIT;
  const void *data;
  if (etk_weights_open(&e, &w, user)) return false;
  bool done = true;
  for (size_t i = 0; i < etk_weights_count(w) && done; i++) done = !etk_weight_data(&e, &data, etk_weights_at(w, i));
  etk_weights_close(w);
  return done;
}
static void every_failing_allocation_is_an_error_without_a_leak(void **state) {
  char *torch = path_of("%s/few.pth", (const char *)*state), *npz = path_of("%s/few.npz", (const char *)*state);
  write_form(PTH, torch, names, tensors, 3);
  write_form(NPZ, npz, names, tensors, 3);
  const char *files[] = {torch, npz, "tests/fuzz/seeds/numpy/deflated.npz", "tests/fuzz/seeds/onnx/nested.onnx",
                         "tests/fuzz/seeds/torch/strided.pth"};
  for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
    long tried = interpose_sweep(open_and_unpack, (void *)(uintptr_t)files[i]);
    if (tried < 5) fail_msg("%s: %ld", files[i], tried);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(every_form_becomes_every_other_and_keeps_each_tensor_exactly),
      cmocka_unit_test(torch_load_reads_what_was_written),
      cmocka_unit_test(what_pytorch_cannot_hold_is_not_written),
      cmocka_unit_test(arrays_in_another_order_or_compressed_are_unpacked_once),
      cmocka_unit_test(strided_tensors_of_pytorch_are_turned_to_rows),
      cmocka_unit_test(a_folder_with_pytorch_model_bin_opens),
      cmocka_unit_test(a_model_in_pytorch_model_bin_computes_the_same),
      cmocka_unit_test(shards_of_pytorch_open_by_their_index),
      cmocka_unit_test(archives_of_nothing_known_are_refused),
      cmocka_unit_test(every_failing_allocation_is_an_error_without_a_leak),
  };
  return cmocka_run_group_tests(tests, make_tensors, drop_tensors);
}
