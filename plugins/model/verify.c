#include "verify.h"
#include "convert_adapter.h"
#include "expect.h"
#include "values.h"

#include <etk/fs.h>
#include <etk/encoder.h>
#include <etk/hash.h>
#include <etk/model.h>
#include <inttypes.h>
#include <string.h>

struct findings {
  etk_run *run;
  int64_t count;
};

static void add(void *user, const char *name, const char *problem) {
  struct findings *f = user;
  etk_cell cells[] = {etk_cell_text("tensor", name), etk_cell_text("problem", problem)};
  etk_run_result_row(f->run, "findings", cells, 2);
  f->count++;
}

static etk_status check_values(etk_error *e, struct findings *f, const etk_weights *w, int64_t *values, int64_t *unread) {
  int64_t done = 0, total = 0;
  for (size_t i = 0; i < etk_weights_count(w); i++) total += (int64_t)etk_weights_at(w, i)->bytes;
  for (size_t i = 0; i < etk_weights_count(w); i++) {
    const etk_weight *weight = etk_weights_at(w, i);
    if (etk_run_cancelled(f->run)) return etk_fail(e, ETK_E_CANCELLED, "stopped before tensor %s", weight->name);
    etk_run_progress(f->run, "values", done, total, weight->name);
    done += (int64_t)weight->bytes;
    if (weight->type < 0) {
      etk_run_log(f->run, 2, "%s is of type %s, whose values are not checked", weight->name, weight->type_name);
      (*unread)++;
      continue;
    }
    struct statistics s;
    etk_status status = values_statistics(e, &s, weight);
    if (status) return status;
    *values += s.count + s.nan + s.infinite;
    if (!s.nan && !s.infinite) continue;
    char problem[128];
    snprintf(problem, sizeof problem, "%" PRId64 " of %" PRId64 " values are not finite (%" PRId64 " nan, %" PRId64 " infinite)", s.nan + s.infinite, etk_weight_elements(weight),
             s.nan, s.infinite);
    add(f, weight->name, problem);
  }
  etk_run_progress(f->run, "values", total, total, NULL);
  return ETK_OK;
}

static void check_sums(struct findings *f, const etk_weights *w) {
  for (size_t i = 0; i < etk_weights_part_count(w); i++) {
    etk_error e = ETK_ERROR_INIT;
    if (etk_weights_check(&e, w, i)) add(f, etk_path_base(etk_weights_part_path(w, i)), e.message);
  }
}

static bool is_encoder(const etk_weights *w) {
  static const char *const architectures[] = {"bert", "roberta", "xlm-roberta", "distilbert", "clip", "clip_text_model", "clip_vision_model"};
  bool found = false;
  for (size_t i = 0; i < sizeof architectures / sizeof *architectures; i++) found |= !strcmp(etk_weights_get_facts(w)->architecture, architectures[i]);
  return found;
}

/* Encoders check their own tables as they open: the first that does not fit is the finding. False: it is no encoder that is known. */
static bool check_encoder(struct findings *f, const char *path) {
  etk_error e = ETK_ERROR_INIT;
  etk_encoder *encoder = NULL;
  etk_status status = etk_encoder_open(&e, &encoder, path, NULL);
  if (status == ETK_E_FORMAT || status == ETK_E_SHAPE) add(f, "", e.message);
  etk_encoder_unref(encoder);
  return !status || status == ETK_E_FORMAT || status == ETK_E_SHAPE;
}

/* The same of language models whose table is not in expect.c: the runtime names a tensor that is missing, misshapen or none of the architecture's. */
static bool check_model(struct findings *f, const etk_weights *w, const char *path) {
  if (!*etk_weights_get_facts(w)->architecture) return false;
  etk_error e = ETK_ERROR_INIT;
  etk_model *model = NULL;
  etk_status status = etk_model_open(&e, &model, path, NULL);
  if (status == ETK_E_FORMAT || status == ETK_E_SHAPE) add(f, "", e.message);
  etk_model_unref(model);
  return !status || status == ETK_E_FORMAT || status == ETK_E_SHAPE;
}

static bool is_vocabulary(const etk_weights *w) {
  if (etk_weights_count(w)) return false;
  bool found = false;
  for (size_t i = 0; i < etk_weights_key_count(w) && !found; i++) found = !strcmp(etk_weights_key_at(w, i), "tokenizer.ggml.tokens");
  return found;
}

/* Whether names and shapes could be checked; what is wrong with them is among the findings. */
static bool check_shapes(struct findings *f, const etk_weights *w, const char *path, const char **why) {
  etk_adapter_form form;
  if (is_adapter(path, &form)) return *why = "an adapter, whose shapes are those of its base", false;
  if (is_vocabulary(w)) return *why = "a vocabulary alone, without tensors", false;
  if (!expect_known(w, why)) return is_encoder(w) ? check_encoder(f, path) : check_model(f, w, path);
  expect_check(w, add, f);
  return true;
}

static etk_status show_hashes(etk_error *e, etk_run *run, const etk_weights *w) {
  for (size_t i = 0; i < etk_weights_part_count(w); i++) {
    char hex[65];
    uint64_t bytes = 0;
    if (etk_run_cancelled(run)) return etk_fail(e, ETK_E_CANCELLED, "stopped before %s was hashed", etk_weights_part_path(w, i));
    etk_status status = etk_sha256_file(e, hex, &bytes, etk_weights_part_path(w, i));
    if (status) return status;
    etk_cell cells[] = {etk_cell_text("file", etk_weights_part_path(w, i)), etk_cell_int("bytes", (int64_t)bytes), etk_cell_text("sha256", hex)};
    etk_run_result_row(run, "files", cells, sizeof cells / sizeof *cells);
  }
  return ETK_OK;
}

etk_status verify_model(etk_run *run, const char *path, bool hash) {
  etk_error e = ETK_ERROR_INIT;
  etk_weights *w = NULL;
  struct findings findings = {.run = run};
  int64_t values = 0, unread = 0;
  const char *why = NULL;
  etk_status status = etk_weights_open(&e, &w, path);
  if (status) return model_failed(run, &e);
  check_sums(&findings, w);
  bool known = check_shapes(&findings, w, path, &why);
  status = check_values(&e, &findings, w, &values, &unread);
  if (!status && hash) status = show_hashes(&e, run, w);
  etk_run_result_int(run, "tensors", (int64_t)etk_weights_count(w));
  etk_run_result_int(run, "values", values);
  etk_run_result_int(run, "tensors_not_decoded", unread);
  etk_run_result_text(run, "shapes", known ? "checked" : why);
  etk_run_result_int(run, "finding_count", findings.count);
  etk_weights_close(w);
  if (status) return model_failed(run, &e);
  if (!findings.count) return ETK_OK;
  return etk_run_fail(run, ETK_E_CHECK, "%s: %" PRId64 " finding%s", path, findings.count, findings.count == 1 ? "" : "s");
}
