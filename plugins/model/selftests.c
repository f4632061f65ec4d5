/* The tests this project ships: `efficientai-toolkit test model`. Each makes the files that it looks into. */
#include "selftests.h"
#include "convert.h"
#include "diff.h"
#include "inspect.h"
#include "values.h"
#include "verify.h"

#include <etk/alloc.h>
#include <etk/fs.h>
#include <etk/gguf.h>
#include <etk/safetensors.h>
#include <math.h>

enum { ROWS = 4, COLUMNS = 64 };

static void fill(float *values, bool broken) {
  for (int i = 0; i < ROWS * COLUMNS; i++) values[i] = (float)(i % 17 - 8) / 8;
  if (broken) values[5] = NAN;
}

static etk_status write_safetensors(etk_error *e, const char *path, const float *values) {
  etk_tensor *tensor = NULL;
  etk_status status = etk_tensor_wrap(e, &tensor, ETK_F32, etk_shape_of(2, ROWS, COLUMNS), values, NULL, NULL);
  etk_safetensors_item item = {"a.weight", tensor, ETK_F32};
  if (!status) status = etk_safetensors_write(e, path, &item, 1, NULL, 0, true);
  etk_tensor_unref(tensor);
  return status;
}

static etk_status write_gguf(etk_error *e, const char *path, etk_type type, const float *values) {
  unsigned char *packed = NULL;
  size_t bytes = 0;
  etk_gguf_writer *writer = etk_gguf_writer_new();
  etk_status status = etk_type_bytes(e, &bytes, type, ROWS, COLUMNS);
  if (!status) packed = etk_alloc(bytes);
  if (!status) status = writer && packed ? etk_quant_encode(e, packed, type, values, ROWS, COLUMNS, NULL) : etk_fail_memory(e);
  if (!status) {
    etk_gguf_set_text(writer, "general.architecture", "test");
    etk_gguf_add(writer, "a.weight", type, etk_shape_of(2, ROWS, COLUMNS), packed, NULL, NULL);
    status = etk_gguf_write(e, writer, path, NULL);
  }
  etk_gguf_writer_free(writer);
  etk_free(packed);
  return status;
}

struct pair {
  char *safetensors, *gguf;
};
static etk_status make_pair(etk_error *e, struct pair *out, etk_run *run, etk_type type, bool broken) {
  float values[ROWS * COLUMNS];
  *out = (struct pair){etk_path_join(etk_run_dir(run), "a.safetensors"), etk_path_join(etk_run_dir(run), "a.gguf")};
  if (!out->safetensors || !out->gguf) return etk_fail_memory(e);
  fill(values, broken);
  etk_status status = write_safetensors(e, out->safetensors, values);
  return status || broken ? status : write_gguf(e, out->gguf, type, values);
}
static void pair_fini(struct pair *pair) { etk_free(pair->safetensors), etk_free(pair->gguf); }

static etk_status formats_agree(etk_run *run) {
  etk_error e = ETK_ERROR_INIT;
  struct pair pair;
  etk_weights *a = NULL, *b = NULL;
  struct difference d = {0};
  etk_status status = make_pair(&e, &pair, run, (etk_type)ETK_F16, false); /* eighths up to one are exact in binary16 */
  if (!status) status = etk_weights_open(&e, &a, pair.safetensors);
  if (!status) status = etk_weights_open(&e, &b, pair.gguf);
  if (!status) status = values_difference(&e, &d, etk_weights_at(a, 0), etk_weights_at(b, 0));
  if (!status && (d.count != ROWS * COLUMNS || d.max_abs != 0)) status = etk_fail(&e, ETK_E_CHECK, "the same values in two formats differ by %g", d.max_abs);
  etk_weights_close(a), etk_weights_close(b);
  if (!status) status = diff_models(run, pair.safetensors, pair.gguf, true, false);
  else status = model_failed(run, &e);
  pair_fini(&pair);
  return status;
}

static etk_status blocks_are_near(etk_run *run) {
  etk_error e = ETK_ERROR_INIT;
  struct pair pair;
  etk_weights *a = NULL, *b = NULL;
  struct difference d = {0};
  etk_status status = make_pair(&e, &pair, run, ETK_Q8_0, false);
  if (!status) status = etk_weights_open(&e, &a, pair.safetensors);
  if (!status) status = etk_weights_open(&e, &b, pair.gguf);
  if (!status) status = values_difference(&e, &d, etk_weights_at(a, 0), etk_weights_at(b, 0));
  /* Half a step of 1/127, and the scale's own rounding. */
  if (!status && !(d.max_abs > 0 && d.max_abs < 0.005)) status = etk_fail(&e, ETK_E_CHECK, "Q8_0 is off by %g; above 0 and below 0.005 is wanted", d.max_abs);
  etk_weights_close(a), etk_weights_close(b);
  pair_fini(&pair);
  return status ? model_failed(run, &e) : ETK_OK;
}

static etk_status statistics_are_right(etk_run *run) {
  etk_error e = ETK_ERROR_INIT;
  static const float values[] = {1, 2, 3, 4, INFINITY, NAN};
  etk_weight weight = {.name = "x", .canonical = "x", .type_name = "F32", .type = ETK_F32, .shape = etk_shape_of(1, 6), .data = values, .bytes = sizeof values};
  struct statistics s;
  if (values_statistics(&e, &s, &weight)) return model_failed(run, &e);
  if (s.count == 4 && s.nan == 1 && s.infinite == 1 && s.min == 1 && s.max == 4 && s.mean == 2.5 && fabs(values_deviation(&s) - sqrt(1.25)) < 1e-12) return ETK_OK;
  return etk_run_fail(run, ETK_E_CHECK, "1, 2, 3, 4, infinity and nan: mean %g, deviation %g; 2.5 and 1.118 are wanted", s.mean, values_deviation(&s));
}

static etk_status sound_files_pass(etk_run *run) {
  etk_error e = ETK_ERROR_INIT;
  struct pair pair;
  etk_status status = make_pair(&e, &pair, run, ETK_Q4_0, false);
  if (status) status = model_failed(run, &e);
  if (!status) status = verify_model(run, pair.safetensors, true);
  if (!status) status = verify_model(run, pair.gguf, false);
  if (!status) status = inspect_model(run, &(struct inspection){.path = pair.gguf, .tensors = true, .keys = true});
  if (!status) status = inspect_model(run, &(struct inspection){.path = pair.gguf, .histogram = "a.weight", .bins = 8});
  pair_fini(&pair);
  return status;
}

static etk_status converted_files_agree(etk_run *run) {
  etk_error e = ETK_ERROR_INIT;
  struct pair pair;
  etk_weights *a = NULL, *b = NULL;
  struct difference d = {0};
  char *out = etk_path_join(etk_run_dir(run), "b.safetensors");
  etk_status status = make_pair(&e, &pair, run, ETK_Q8_0, false);
  if (!out || status) status = status ? model_failed(run, &e) : etk_run_fail(run, ETK_E_NO_MEMORY, "out of memory");
  else status = convert_model(run, &(struct conversion){.input = pair.safetensors, .output = out, .options = {.type = "bf16"}});
  if (!status) {
    status = etk_weights_open(&e, &a, pair.safetensors);
    if (!status) status = etk_weights_open(&e, &b, out);
    if (!status) status = values_difference(&e, &d, etk_weights_at(a, 0), etk_weights_at(b, 0));
    if (!status && (d.count != ROWS * COLUMNS || d.max_abs != 0)) status = etk_fail(&e, ETK_E_CHECK, "eighths up to one, written as BF16, differ by %g", d.max_abs);
    if (status) model_failed(run, &e);
  }
  etk_weights_close(a), etk_weights_close(b);
  pair_fini(&pair);
  etk_free(out);
  return status;
}

static const etk_selftest_case cases[] = {
    {"the same values in safetensors and GGUF are equal", "diff", formats_agree},
    {"Q8_0 stays within half a step", "diff", blocks_are_near},
    {"minimum, mean and deviation leave out what is not finite", "inspect verify", statistics_are_right},
    {"sound files are verified and inspected", "verify inspect", sound_files_pass},
    {"values that BF16 holds survive it", "convert", converted_files_agree},
};
const etk_selftest model_selftest = {(uint32_t)sizeof(etk_selftest), (uint32_t)(sizeof cases / sizeof *cases), (uint32_t)sizeof *cases, cases};
