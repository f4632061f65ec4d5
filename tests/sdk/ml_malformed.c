/* The malformed corpus: files of every family that the toolkit opens, each damaged in one way, opened by their path. Each must give one error that names the file and
 * says why, within ten times the file's size and 16 MB of memory. What each reader says in detail is tested beside it (ml_gguf_malformed, ml_torch_malformed,
 * ml_onnx, ml_numpy, ml_tokenizer, ml_tokenizer_files, ml_template_bad); here all are counted and weighed together. */
#include "../peak.h"
#include "ml_golden.h"
#include "ml_onnx_bytes.h"

#include <etk/gguf.h>
#include <etk/numpy.h>
#include <etk/template.h>
#include <etk/tokenizer.h>
#include <etk/torch.h>
#include <etk/weights.h>

typedef etk_status opener(etk_error *e, const char *path);
static const char *root; /* of all files */
static const char *family;
static long files, worst_permille; /* of the memory that a file may take */

/* ---- openers ---- */

static etk_status open_weights(etk_error *e, const char *path) {
  etk_weights *w;
  const void *data;
  etk_status status = etk_weights_open(e, &w, path);
  if (status) return status;
  for (size_t i = 0; i < etk_weights_count(w) && !status; i++) status = etk_weight_data(e, &data, etk_weights_at(w, i));
  etk_weights_close(w);
  return status;
}
static etk_status open_config(etk_error *e, const char *path) {
  char *text;
  size_t size;
  etk_model_config config;
  etk_status status = etk_fs_read(e, &text, &size, path, 1 << 24);
  if (status) return status;
  status = etk_model_config_parse(e, &config, path, text, size);
  etk_free(text);
  return status;
}
static etk_status open_tokenizer(etk_error *e, const char *path) {
  etk_tokenizer *t;
  etk_status status = etk_tokenizer_open(e, &t, path, strstr(path, ".bin") ? 300 : 0);
  if (!status) etk_tokenizer_free(t);
  return status;
}
static etk_status open_template(etk_error *e, const char *path) {
  char *text;
  size_t size;
  etk_template *t;
  etk_rendered out = ETK_RENDERED_INIT;
  static const etk_template_limits limits = {.steps = 100000, .output_bytes = 1 << 20, .memory_bytes = 4 << 20};
  etk_status status = etk_fs_read(e, &text, &size, path, 1 << 24);
  if (status) return status;
  status = etk_template_parse(e, &t, path, text, size);
  etk_free(text);
  if (status) return status;
  status = etk_template_render(e, t, &out, "{\"messages\":[]}", 15, NULL, &limits);
  etk_rendered_free(&out);
  etk_template_free(t);
  return status;
}

/* ---- one case ---- */

static void refused(opener *open, const char *path, const char *named, size_t size, const char *reason) {
  etk_error e = ETK_ERROR_INIT;
  long before = peak_begin();
  etk_status status = open(&e, path);
  long most = peak_end(before), allowed = (long)size * 10 + 16 * 1000 * 1000;
  files++;
  if (!status) {
    char *text = NULL;
    size_t length = 0;
    etk_fs_read(&e, &text, &length, path, 1 << 24);
    fail_msg("%s: %s is taken for good: %.60s", family, path, text ? text : "");
  }
  if (e.status != status || !strstr(e.message, named)) fail_msg("%s: %s: the error does not name it: %s", family, path, e.message);
  if (strchr(e.message, '\n') || !strstr(e.message, reason)) fail_msg("%s: %s: %s; wanted: %s", family, path, e.message, reason);
  if (!peak_counts) return;
  if (most > allowed) fail_msg("%s: %s: %ld bytes of memory, %ld are allowed: %s", family, path, most, allowed, e.message);
  if (most * 1000 / allowed > worst_permille) worst_permille = most * 1000 / allowed;
}
/* Plainly: three hundred syncs take seconds. */
static void put_file(const char *path, const void *bytes, size_t size) {
  FILE *file = fopen(path, "wb");
  if (!file || fwrite(bytes, 1, size, file) != size || fclose(file)) fail_msg("%s cannot be written", path);
}
static void case_of(opener *open, const char *name, const void *bytes, size_t size, const char *reason) {
  char *path = path_of("%s/%s", root, name);
  put_file(path, bytes, size);
  refused(open, path, name, size, reason);
}
static void text_case(opener *open, const char *name, const char *text, const char *reason) { case_of(open, name, text, strlen(text), reason); }

typedef struct bytes {
  unsigned char *at;
  size_t size;
} bytes;
static bytes read_bytes(const char *path) {
  bytes b;
  char *at;
  works(etk_fs_read(e, &at, &b.size, path, 1 << 26));
  b.at = (unsigned char *)at;
  return b;
}
/* Cut at `cuts` places all over the file. */
static void cut_cases(opener *open, const char *name, const char *good, int cuts) {
  bytes b = read_bytes(good);
  for (int i = 0; i < cuts; i++) case_of(open, name, b.at, b.size * (size_t)i / (size_t)cuts, "");
  if (b.size) case_of(open, name, b.at, b.size - 1, "");
  etk_free(b.at);
}
/* One number of `width` bytes at `at` (from the end, where negative) made another. */
static void patch_case(opener *open, const char *name, const char *good, long at, uint64_t value, int width, const char *reason) {
  bytes b = read_bytes(good);
  size_t place = at < 0 ? b.size - (size_t)-at : (size_t)at;
  for (int i = 0; i < width; i++) b.at[place + (size_t)i] = (unsigned char)(value >> (8 * i));
  case_of(open, name, b.at, b.size, reason);
  etk_free(b.at);
}
/* A text of `count` repetitions between two others. */
static void long_case(opener *open, const char *name, const char *before, const char *again, size_t count, const char *after, const char *reason) {
  etk_text text = ETK_TEXT_INIT;
  etk_text_puts(&text, before);
  for (size_t i = 0; i < count; i++) etk_text_puts(&text, again);
  etk_text_puts(&text, after);
  assert_false(text.failed);
  case_of(open, name, text.data, text.size, reason);
  etk_text_free(&text);
}

/* ---- safetensors ---- */

static void safetensors_case(const char *header, size_t data, const char *reason) {
  unsigned char file[4096] = {0};
  uint64_t size = strlen(header);
  memcpy(file, &size, 8), memcpy(file + 8, header, size);
  case_of(open_weights, "x.safetensors", file, 8 + size + data, reason);
}
#define ENTRY(dtype, shape, offsets) "\"a\":{\"dtype\":" dtype ",\"shape\":" shape ",\"data_offsets\":" offsets "}"

static void safetensors_that_lie(void **state) {
  (void)state;
  family = "safetensors";
  safetensors_case("{", 0, "not valid JSON");
  safetensors_case("[]", 0, "does not begin with '{'");
  safetensors_case("{\"a\":1}", 0, "tensor 'a' must be an object");
  safetensors_case("{\"\xff\":1}", 0, "not UTF-8");
  safetensors_case("{" ENTRY("\"F32\"", "[1]", "[0,4]") "," ENTRY("\"F32\"", "[1]", "[0,4]") "}", 4, "duplicate");
  safetensors_case("{" ENTRY("\"F33\"", "[1]", "[0,4]") "}", 4, "element type 'F33'");
  safetensors_case("{" ENTRY("3", "[1]", "[0,4]") "}", 4, "\"dtype\" must be a text");
  safetensors_case("{" ENTRY("\"F32\"", "1", "[0,4]") "}", 4, "\"shape\" must be a list");
  safetensors_case("{" ENTRY("\"F32\"", "[-1]", "[0,4]") "}", 4, "dimension 0");
  safetensors_case("{" ENTRY("\"F32\"", "[1.5]", "[0,4]") "}", 4, "dimension 0");
  safetensors_case("{" ENTRY("\"F32\"", "[1,1,1,1,1,1,1]", "[0,4]") "}", 4, "7 dimensions");
  safetensors_case("{" ENTRY("\"F32\"", "[4294967296,4294967296]", "[0,4]") "}", 4, "overflows");
  safetensors_case("{" ENTRY("\"F32\"", "[4611686018427387904]", "[0,4]") "}", 4, "more bytes than can be counted");
  safetensors_case("{" ENTRY("\"F32\"", "[2]", "[0,4]") "}", 4, "takes 8 bytes, but its data_offsets span 4");
  safetensors_case("{" ENTRY("\"F32\"", "[1]", "[4,0]") "}", 4, "before they begin");
  safetensors_case("{" ENTRY("\"F32\"", "[1]", "[0]") "}", 4, "two whole numbers");
  safetensors_case("{" ENTRY("\"F32\"", "[1]", "[-4,0]") "}", 4, "two whole numbers");
  safetensors_case("{" ENTRY("\"F32\"", "[1]", "[4,8]") "}", 8, "belong to no tensor");
  safetensors_case("{" ENTRY("\"F32\"", "[1]", "[0,4]") ",\"b\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[3,5]}}", 5, "inside tensor 'a'");
  safetensors_case("{" ENTRY("\"F32\"", "[1]", "[0,4]") "}", 3, "1 bytes are missing");
  safetensors_case("{" ENTRY("\"F32\"", "[1]", "[0,4]") "}", 5, "1 bytes after the last tensor");
  safetensors_case("{" ENTRY("\"F4\"", "[1]", "[0,1]") "}", 1, "does not fill whole bytes");
  safetensors_case("{\"__metadata__\":{\"a\":1}}", 0, "the value of 'a' must be a text");
  safetensors_case("{\"__metadata__\":[]}", 0, "must be an object of texts");
  case_of(open_weights, "x.safetensors", "1234", 4, "too few");
  case_of(open_weights, "x.safetensors", "\xff\xff\xff\xff\xff\xff\xff\x7f{}", 10, "ask for a header");
  case_of(open_weights, "x.safetensors", "\x10\0\0\0\0\0\0\0{}", 10, "truncated inside the header");
  case_of(open_weights, "x.safetensors", "\0\0\0\0\0\0\0\0", 8, "does not begin with '{'");
  /* A header of a megabyte whose tree would take 90. */
  enum { LISTS = 400000 };
  char *large = etk_calloc(1, LISTS * 3 + 64);
  uint64_t size = 0;
  memcpy(large + 8, "{\"a\":[", 6), size = 6;
  for (int i = 0; i < LISTS; i++) memcpy(large + 8 + size, "{},", 3), size += 3;
  memcpy(large + 8 + size - 1, "]}", 2), size++;
  memcpy(large, &size, 8);
  case_of(open_weights, "x.safetensors", large, 8 + size, "MB of memory");
  etk_free(large);
}

/* ---- an index and its shards ---- */

static void index_case(const char *text, const char *named, const char *reason) {
  char *folder = path_of("%s/shards", root);
  works(etk_fs_remove_tree(e, folder));
  works(etk_fs_make_dirs(e, folder));
  static const char shard[] =
      "\x3d\0\0\0\0\0\0\0{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}       1234"; /* 61 bytes of header */
  write_file(path_of("%s/one.safetensors", folder), shard, 8 + 61 + 4);
  write_text(path_of("%s/model.safetensors.index.json", folder), text);
  refused(open_weights, folder, named, strlen(text) + sizeof shard, reason);
}
static void indexes_that_do_not_belong(void **state) {
  (void)state;
  family = "index";
  static const char index[] = "model.safetensors.index.json";
  index_case("{", index, "not valid JSON");
  index_case("{}", index, "no object \"weight_map\"");
  index_case("[]", index, "wanted a JSON object");
  index_case("{\"weight_map\":{}}", index, "no object \"weight_map\" with tensors");
  index_case("{\"weight_map\":{\"a\":1}}", index, "the shard of 'a' must be a text");
  index_case("{\"weight_map\":{\"a\":\"\"}}", "shards", "wanted a plain file name");
  index_case("{\"weight_map\":{\"a\":\"..\"}}", "shards", "wanted a plain file name");
  index_case("{\"weight_map\":{\"a\":\"../x.safetensors\"}}", "shards", "wanted a plain file name");
  index_case("{\"weight_map\":{\"a\":\"gone.safetensors\"}}", "gone.safetensors", "");
  index_case("{\"weight_map\":{\"b\":\"one.safetensors\"}}", index, "which does not hold it");
  index_case("{\"weight_map\":{\"a\":\"one.safetensors\",\"a\":\"one.safetensors\"}}", index, "duplicate");
  index_case("{\"weight_map\":{\"a\":\"model.safetensors.index.json\"}}", index, "");
  index_case("{\"weight_map\":{\"a\xff\":\"one.safetensors\"}}", index, "not valid JSON");
}

/* ---- config.json ---- */

#define CONFIG "\"model_type\":\"llama\",\"vocab_size\":8,\"hidden_size\":8,\"intermediate_size\":8,\"num_hidden_layers\":1,\"num_attention_heads\":2"
static void configurations_that_cannot_be(void **state) {
  (void)state;
  family = "config.json";
  static const struct {
    const char *text, *reason;
  } cases[] = {{"", "not valid JSON"},
               {"{", "not valid JSON"},
               {"[]", ""},
               {"{}", ""},
               {"{\"model_type\":3}", "model_type"},
               {"{\"model_type\":\"nobody\"}", "nobody"},
               {"{\"model_type\":\"llama\"}", ""},
               {"{" CONFIG ",\"vocab_size\":9}", "duplicate"},
               {"{" CONFIG ",\"num_key_value_heads\":3}", "num_key_value_heads"},
               {"{" CONFIG ",\"head_dim\":-4}", "head_dim"},
               {"{" CONFIG ",\"rms_norm_eps\":\"small\"}", "rms_norm_eps"},
               {"{" CONFIG ",\"rope_theta\":0}", "rope_theta"},
               {"{" CONFIG ",\"rope_scaling\":{\"rope_type\":\"spiral\",\"factor\":2}}", "rope"},
               {"{" CONFIG ",\"rope_scaling\":7}", "rope_scaling"},
               {"{" CONFIG ",\"hidden_act\":\"sine\"}", "hidden_act"},
               {"{" CONFIG ",\"eos_token_id\":\"end\"}", "eos_token_id"},
               {"{" CONFIG ",\"tie_word_embeddings\":3}", "tie_word_embeddings"},
               {"{" CONFIG ",\"max_position_embeddings\":1e400}", ""},
               {"{" CONFIG ",\"x\":\"\xff\"}", "not valid JSON"}};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) text_case(open_config, "config.json", cases[i].text, cases[i].reason);
  long_case(open_config, "config.json", "{\"a\":[0", ",[0]", 300000, "]}", "MB of memory");
  long_case(open_config, "config.json", "", "[", 100000, "", "not valid JSON");
}

/* ---- GGUF ---- */

static char *good_gguf(void) {
  static const float values[64] = {1, 2};
  etk_gguf_writer *writer = etk_gguf_writer_new();
  etk_gguf_set_text(writer, "general.architecture", "llama");
  etk_gguf_set_int(writer, "llama.embedding_length", ETK_GGUF_U32, 16);
  etk_gguf_set_array(writer, "some.list", ETK_GGUF_I32, (int32_t[]){1, 2}, 2);
  etk_gguf_add(writer, "token_embd.weight", (etk_type)ETK_F32, etk_shape_of(2, 2, 32), values, NULL, NULL);
  char *path = path_of("%s/good.gguf", root);
  works(etk_gguf_write(e, writer, path, &(etk_gguf_write_options){.replace = true}));
  etk_gguf_writer_free(writer);
  works(open_weights(e, path));
  return path;
}
static void gguf_that_lies(void **state) {
  (void)state;
  family = "GGUF";
  char *good = good_gguf();
  bytes b = read_bytes(good);
  cut_cases(open_weights, "x.gguf", good, 24);
  patch_case(open_weights, "x.gguf", good, 4, 99, 4, "version");
  patch_case(open_weights, "x.gguf", good, 4, 0x03000000, 4, "endian");
  patch_case(open_weights, "x.gguf", good, 8, UINT64_MAX, 8, ""); /* tensors */
  patch_case(open_weights, "x.gguf", good, 8, 1 << 20, 8, "");
  patch_case(open_weights, "x.gguf", good, 16, UINT64_MAX, 8, ""); /* keys */
  patch_case(open_weights, "x.gguf", good, 16, 1 << 20, 8, "");
  patch_case(open_weights, "x.gguf", good, 24, UINT64_MAX, 8, ""); /* size of the first key */
  patch_case(open_weights, "x.gguf", good, 24, 1 << 30, 8, "");
  patch_case(open_weights, "x.gguf", good, 32, 0xff, 1, "");        /* its first letter */
  patch_case(open_weights, "x.gguf", good, 24 + 8 + 20, 99, 4, ""); /* its type */
  for (size_t i = 0; i + 17 < b.size; i++) {
    if (memcmp(b.at + i, "token_embd.weight", 17) != 0) continue;
    long at = (long)i + 17; /* dimensions, sizes of two, type, place */
    patch_case(open_weights, "x.gguf", good, at, 9, 4, "dimensions");
    patch_case(open_weights, "x.gguf", good, at + 4, UINT64_MAX, 8, "");
    patch_case(open_weights, "x.gguf", good, at + 4, (uint64_t)1 << 40, 8, "");
    patch_case(open_weights, "x.gguf", good, at + 20, 9999, 4, "type");
    patch_case(open_weights, "x.gguf", good, at + 24, 7, 8, "");
    patch_case(open_weights, "x.gguf", good, at + 24, 1 << 20, 8, "");
  }
  etk_free(b.at);
}

/* ---- llama2.c ---- */

static void llama2c_that_does_not_add_up(void **state) {
  (void)state;
  family = "llama2.c";
  static const struct {
    int32_t header[7];
    const char *reason;
  } cases[] = {{{0, 8, 1, 2, 1, 4, 2}, "dim at byte 0"},
               {{8, -1, 1, 2, 1, 4, 2}, "hidden_dim at byte 4"},
               {{8, 8, 0, 2, 1, 4, 2}, "n_layers"},
               {{8, 8, 1 << 20, 2, 1, 4, 2}, "n_layers"},
               {{8, 8, 1, 3, 1, 4, 2}, "multiple of n_heads"},
               {{8, 8, 1, 2, 0, 4, 2}, "n_kv_heads"},
               {{8, 8, 1, 2, 1, INT32_MIN, 2}, "vocab_size"},
               {{8, 8, 1, 2, 1, 4, 0}, "seq_len"},
               {{8, 8, 1, 2, 1, 5, 2}, "cut short"},
               {{8, 8, 1, 2, 1, 3, 2}, "too long"},
               {{1 << 24, 1 << 24, 4096, 1, 1, 1 << 24, 1 << 24}, "cut short"}};
  unsigned char file[28 + 4 * 448] = {0}; /* what {8, 8, 1, 2, 1, 4, 2} calls for */
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    memcpy(file, cases[i].header, 28);
    case_of(open_weights, "x.bin", file, sizeof file, cases[i].reason);
  }
  case_of(open_weights, "x.bin", "", 0, "too few");
  case_of(open_weights, "x.bin", file, 27, "too few");
}

/* ---- PyTorch and NumPy ---- */

static etk_tensor *some_tensor(void) {
  etk_tensor *tensor;
  works(etk_tensor_new(e, &tensor, ETK_F32, etk_shape_of(2, 3, 4)));
  return tensor;
}
static void pytorch_files_that_lie(void **state) {
  (void)state;
  family = "PyTorch";
  etk_tensor *tensor = some_tensor();
  char *good = path_of("%s/good.pth", root);
  works(etk_torch_write(e, good, (etk_torch_item[]){{"a", tensor}, {"b", tensor}}, 2, true));
  works(open_weights(e, good));
  etk_tensor_unref(tensor);
  cut_cases(open_weights, "x.pth", good, 20);
  patch_case(open_weights, "x.pth", good, -12, 9, 2, "");      /* entries */
  patch_case(open_weights, "x.pth", good, -6, 1 << 30, 4, ""); /* place of the directory */
  patch_case(open_weights, "x.pth", good, -18, 5, 2, "disks");
  patch_case(open_weights, "x.pth", good, 8, 99, 2, ""); /* compression of the first entry */
  patch_case(open_weights, "x.pth", good, 30, 'z', 1, "another name");
  bytes b = read_bytes(good);
  for (size_t i = 0; i + 16 < b.size; i++) {
    if (!memcmp(b.at + i, "torch._utils", 12)) {
      patch_case(open_weights, "x.pth", good, (long)i, 'x', 1, "the pickle names 'xorch._utils._rebuild_tensor_v2'");
      patch_case(open_weights, "x.pth", good, (long)i - 1, 'i', 1, "");
      break;
    }
  }
  for (size_t i = 0; i + 16 < b.size; i++)
    if (!memcmp(b.at + i, "FloatStorage", 12)) patch_case(open_weights, "x.pth", good, (long)i, 'G', 1, "the pickle names 'torch.GloatStorage'");
  etk_free(b.at);
  case_of(open_weights, "x.bin", "\x80\2cos\nsystem\n.", 13, "a bare pickle");
  cut_cases(open_weights, "x.pth", "tests/fuzz/seeds/torch/older", 12);
  b = read_bytes("tests/fuzz/seeds/torch/evil");
  case_of(open_weights, "x.pth", b.at, b.size, "the pickle names 'os.system'");
  etk_free(b.at);
}

static void npy_case(const char *header, size_t data, const char *reason) {
  unsigned char file[1024] = "\x93NUMPY\1\0";
  size_t size = strlen(header);
  file[8] = (unsigned char)size, memcpy(file + 10, header, size);
  case_of(open_weights, "x.npy", file, 10 + size + data, reason);
}
#define NPY(descr, order, shape) "{'descr': '" descr "', 'fortran_order': " order ", 'shape': " shape ", }"
static void numpy_files_that_lie(void **state) {
  (void)state;
  family = "NumPy";
  npy_case(NPY("<f4", "False", "(2,)"), 4, "takes 8 bytes, but 4");
  npy_case(NPY("<f4", "False", "(1,)"), 5, "takes 4 bytes, but 5");
  npy_case(NPY(">f4", "False", "(1,)"), 4, "big-endian");
  npy_case(NPY("|O", "False", "(1,)"), 4, "Python objects");
  npy_case(NPY("<c8", "False", "(1,)"), 8, "'<c8'");
  npy_case(NPY("<f4", "0", "(1,)"), 4, "True or False");
  npy_case(NPY("<f4", "False", "(1)"), 4, "(N,)");
  npy_case(NPY("<f4", "False", "(-1,)"), 4, "not negative");
  npy_case(NPY("<f4", "False", "(4294967296,4294967296)"), 4, "overflows");
  npy_case(NPY("<f4", "False", "(1,1,1,1,1,1,1)"), 4, "6 dimensions");
  npy_case("{'descr': '<f4'}", 4, "has no");
  npy_case("{", 4, "text in quotes");
  npy_case("__import__('os')", 4, "wanted '{'");
  etk_tensor *tensor = some_tensor();
  char *good = path_of("%s/good.npz", root);
  works(etk_npz_write(e, good, (etk_npz_item[]){{"a", tensor}, {"b", tensor}}, 2, true));
  works(open_weights(e, good));
  etk_tensor_unref(tensor);
  cut_cases(open_weights, "x.npz", good, 12);
  patch_case(open_weights, "x.npz", good, -12, 7, 2, "");
  cut_cases(open_weights, "x.npz", "tests/fuzz/seeds/numpy/deflated.npz", 8);
  bytes b = read_bytes("tests/fuzz/seeds/numpy/deflated.npz");
  for (size_t i = 0; i + 4 < b.size; i++)
    if (!memcmp(b.at + i, "PK\1\2", 4)) { /* CRC-32 and sizes of the directory's first entry */
      patch_case(open_weights, "x.npz", "tests/fuzz/seeds/numpy/deflated.npz", (long)i + 16, 1, 4, "CRC-32");
      patch_case(open_weights, "x.npz", "tests/fuzz/seeds/numpy/deflated.npz", (long)i + 24, 1 << 30, 4, "");
      patch_case(open_weights, "x.npz", "tests/fuzz/seeds/numpy/deflated.npz", (long)i + 24, 20, 4, "");
      break;
    }
  etk_free(b.at);
}

/* ---- ONNX ---- */

static void onnx_models_that_lie(void **state) {
  (void)state;
  family = "ONNX";
  works(open_weights(e, "tests/fuzz/seeds/onnx/nested.onnx"));
  cut_cases(open_weights, "x.onnx", "tests/fuzz/seeds/onnx/typed.onnx", 24);
  static const struct {
    const char *before, *again, *after, *reason;
    size_t count;
  } large[] = {
      {"\x08\x08", "\x42\x05\x0a\x03own", "\xff", "cut off", 200000},    /* operator sets, and an end that is none */
      {"\x08\x08", "\x72\x04\x0a\x02zz", "\x0b", "wire type 3", 200000}, /* properties */
      {"\x08\x08", "\xca\x01\x03\x0a\x01z", "\x3a", "cut off", 200000},  /* functions */
  };
  for (size_t i = 0; i < sizeof large / sizeof *large; i++)
    long_case(open_weights, "x.onnx", large[i].before, large[i].again, large[i].count, large[i].after, large[i].reason);
  /* A graph of 200,000 nodes with one output each, two of them of one name. */
  enum { NODES = 200000 };
  unsigned char *model = etk_alloc(NODES * 14 + 64), *at = model + 12;
  for (int i = 0; i < NODES; i++) { /* node { output: "xxxx" op_type: "A" } */
    int number = i + 1 < NODES ? i : 0;
    memcpy(at, "\x0a\x09\x12\x04", 4);
    for (int k = 0; k < 4; k++, number /= 64) at[4 + k] = (unsigned char)('0' + number % 64);
    memcpy(at + 8,
           "\x22\x01"
           "A",
           3);
    at += 11;
  }
  size_t graph = (size_t)(at - model) - 12;
  memcpy(model, "\x08\x08\x3a", 3);
  for (int i = 0; i < 9; i++) model[3 + i] = (unsigned char)((graph >> (7 * i) & 127) | (i < 8 ? 128 : 0));
  case_of(open_weights, "x.onnx", model, (size_t)(at - model), "");
  etk_free(model);
  for (int i = 0; i < 6; i++) {
    static const int64_t dims[6][2] = {{-1, 1}, {INT64_MAX, INT64_MAX}, {1 << 30, 1 << 30}, {2, 2}, {1, 0}, {1, 1}};
    proto tensor = tensor_proto(i == 5 ? "" : "w", i == 4 ? 77 : 1, 2, dims[i]);
    put_bytes(&tensor, i == 2 ? 10 : 9, "12345678", 8);
    proto m = model_proto(&tensor);
    case_of(open_weights, "x.onnx", m.bytes, m.size, "");
  }
}

/* ---- tokenizers ---- */

#define BPE(vocab, more) "{\"model\":{\"type\":\"BPE\",\"vocab\":{" vocab "}" more "}}"
static void tokenizers_that_cannot_be(void **state) {
  (void)state;
  family = "tokenizers";
  static const struct {
    const char *text, *reason;
  } cases[] = {{"", "not valid JSON"},
               {"{", "not valid JSON"},
               {"[]", "a JSON object is wanted"},
               {"{}", "no \"model\""},
               {"{\"model\":{\"type\":\"CharLevel\"}}", "CharLevel"},
               {"{\"model\":{\"type\":\"BPE\"}}", "\"vocab\" must be"},
               {BPE("\"a\":0", ",\"merges\":1"), "\"merges\" must be a list"},
               {BPE("\"a\":0", ",\"merges\":[\"a b c\"]"), "merge 0"},
               {BPE("\"a\":0", ",\"merges\":[[\"a\"]]"), "merge 0"},
               {BPE("\"a\":0", ",\"merges\":[\"a b\"]"), "not in the vocabulary"},
               {BPE("\"a\":0,\"b\":0", ",\"merges\":[]"), "the same id 0"},
               {BPE("\"a\":0.5", ",\"merges\":[]"), "the id of token 'a'"},
               {BPE("\"a\":-1", ",\"merges\":[]"), "'a'"},
               {BPE("\"a\":99999999999", ",\"merges\":[]"), "'a'"},
               {BPE("\"a\":0,\"a\":1", ",\"merges\":[]"), "duplicate"},
               {BPE("\"a\":0", ",\"merges\":[],\"unk_token\":\"?\""), "unk_token"},
               {BPE("\"a\":0", ",\"merges\":[],\"dropout\":0.1"), "dropout"},
               {"{\"model\":{\"type\":\"Unigram\",\"vocab\":[]}}", ""},
               {"{\"model\":{\"type\":\"Unigram\",\"vocab\":[[\"a\"]]}}", ""},
               {"{\"model\":{\"type\":\"WordPiece\",\"vocab\":[]}}", ""}};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) text_case(open_tokenizer, "tokenizer.json", cases[i].text, cases[i].reason);
  long_case(open_tokenizer, "tokenizer.json", "{\"model\":[0", ",[0]", 300000, "]}", "MB of memory");
  long_case(open_tokenizer, "tokenizer.json", "{\"model\":[0", ",{}", 400000, "]}", "MB of memory");
  long_case(open_tokenizer, "tokenizer.json", "{\"model\":[0", ",0", 600000, "]}", "MB of memory");
  long_case(open_tokenizer, "tokenizer.json", "{\"merges\":[[\"a\",\"b\"]", ",[\"a\",\"b\"]", 100000, "]}", "");
  cut_cases(open_tokenizer, "tokenizer.json", "tests/fuzz/seeds/tokenizer/unigram.json", 8);
  cut_cases(open_tokenizer, "tokenizer.json", "tests/fuzz/seeds/tokenizer/wordpiece.json", 8);
  bytes b = read_bytes("tests/fuzz/seeds/tokenizer_files/sentencepiece_1"); /* its first byte chose the fuzz target's reader */
  for (size_t cut = 1; cut < 8; cut++)
    case_of(open_tokenizer, "tokenizer.model", b.at + 1, cut, ""); /* inside the first piece; behind it, the rest is a model */
  etk_free(b.at);
  case_of(open_tokenizer, "tokenizer.model", "\x0a\xff\xff\xff\xff\xff\xff\xff\xff\x7f", 10, "");
  case_of(open_tokenizer, "tokenizer.bin", "\1\0\0", 3, "");
  case_of(open_tokenizer, "tokenizer.bin", "\xff\xff\xff\x7f\0\0\0\0\xff\xff\xff\x7f", 12, "");
}

/* ---- templates ---- */

static void templates_that_loop_or_reach_out(void **state) {
  (void)state;
  family = "templates";
  static const struct {
    const char *text, *reason;
  } cases[] = {{"{% for i in range(1000000000) %}x{% endfor %}", ""},
               {"{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}", ""},
               {"{{ 'x' * 1000000000 }}", ""},
               {"{% include '/etc/passwd' %}", "include"},
               {"{% import 'os' as os %}", "import"},
               {"{% extends 'a' %}", "extends"},
               {"{{ ''.__class__.__mro__ }}", ""},
               {"{% if %}", ""},
               {"{% for i in messages %}", ""},
               {"{{ 1 +", ""},
               {"{{ unknown.member }}", ""},
               {"{{ messages[5].role }}", ""},
               {"{% endfor %}", ""},
               {"{{ raise_exception('no system role') }}", "no system role"},
               {"{{ 9223372036854775807 + 1 }}", ""},
               {"{{ 1 // 0 }}", ""},
               {"{{ 'a' | nothing }}", "nothing"}};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) text_case(open_template, "chat_template.jinja", cases[i].text, cases[i].reason);
  long_case(open_template, "chat_template.jinja", "{{ ", "(", 100000, " }}", "");
  long_case(open_template, "chat_template.jinja", "", "{% if 1 %}", 50000, "", "");
}

static void the_corpus_is_large_and_light(void **state) {
  (void)state;
  print_message("%ld malformed files; the heaviest took %.1f %% of what it may\n", files, (double)worst_permille / 10);
  assert_true(files >= 150);
}

static int begin(void **state) {
  if (make_folder(state)) return -1;
  root = *state;
  return 0;
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(safetensors_that_lie),          cmocka_unit_test(indexes_that_do_not_belong),
      cmocka_unit_test(configurations_that_cannot_be), cmocka_unit_test(gguf_that_lies),
      cmocka_unit_test(llama2c_that_does_not_add_up),  cmocka_unit_test(pytorch_files_that_lie),
      cmocka_unit_test(numpy_files_that_lie),          cmocka_unit_test(onnx_models_that_lie),
      cmocka_unit_test(tokenizers_that_cannot_be),     cmocka_unit_test(templates_that_loop_or_reach_out),
      cmocka_unit_test(the_corpus_is_large_and_light),
  };
  return cmocka_run_group_tests(tests, begin, remove_folder);
}
