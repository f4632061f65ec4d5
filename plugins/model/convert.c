#include "convert.h"
#include "convert_adapter.h"
#include "target.h"
#include "values.h"

#include <etk/alloc.h>
#include <etk/fs.h>
#include <etk/gguf.h>
#include <etk/text.h>
#include <stdlib.h>
#include <string.h>

static bool show_progress(void *user, int64_t done, int64_t total, const char *tensor) {
  etk_run_progress(user, "convert", done >> 10, total >> 10, tensor);
  return !etk_run_cancelled(user);
}

/* What stands in the file's metadata: names without the folders above them. */
static void describe(etk_text *out, const struct conversion *c) {
  const etk_convert_options *o = &c->options;
  const struct {
    const char *name, *value;
  } texts[] = {{"to", c->to}, {"base", c->base ? etk_path_base(c->base) : NULL}, {"type", o->type}, {"output-tensor-type", o->output_type},
               {"token-embedding-type", o->embedding_type}, {"imatrix", o->importance ? etk_path_base(o->importance) : NULL}};
  const struct {
    const char *name;
    bool value;
  } flags[] = {{"pure", o->pure}, {"leave-output-tensor", o->leave_output}, {"allow-requantize", o->requantize}};
  char *input = etk_path_normal(c->input), *output = etk_path_normal(c->output);
  etk_text_printf(out, "model:convert %s %s", input ? etk_path_base(input) : "", output ? etk_path_base(output) : "");
  for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
    if (texts[i].value) etk_text_printf(out, " --%s %s", texts[i].name, texts[i].value);
  for (size_t i = 0; i < o->tensor_type_count; i++) etk_text_printf(out, " --tensor-type %s", o->tensor_types[i]);
  for (size_t i = 0; i < sizeof flags / sizeof *flags; i++)
    if (flags[i].value) etk_text_printf(out, " --%s", flags[i].name);
  if (o->bits) etk_text_printf(out, " --bits %d", o->bits);
  if (o->group_size) etk_text_printf(out, " --group-size %d", o->group_size);
  etk_free(input), etk_free(output);
}

/* ---- results ---- */
struct sum {
  const char *from, *to;
  int64_t tensors, before, after;
  double worst;
};

static void show_types(etk_run *run, const etk_convert *plan, bool written) {
  struct sum sums[64];
  size_t count = 0;
  for (size_t i = 0; i < etk_convert_count(plan); i++) {
    const etk_convert_tensor *t = etk_convert_at(plan, i);
    size_t k = 0;
    while (k < count && (strcmp(sums[k].from, t->from) || strcmp(sums[k].to, t->to))) k++;
    if (k == sizeof sums / sizeof *sums) continue;
    if (k == count) sums[count++] = (struct sum){.from = t->from, .to = t->to};
    sums[k].tensors++, sums[k].before += t->bytes_before, sums[k].after += t->bytes_after;
    if (t->error > sums[k].worst) sums[k].worst = t->error;
  }
  for (size_t k = 0; k < count; k++) {
    etk_cell cells[] = {etk_cell_text("from", sums[k].from), etk_cell_text("to", sums[k].to), etk_cell_int("tensors", sums[k].tensors),
                        etk_cell_int("bytes_before", sums[k].before), etk_cell_int("bytes_after", sums[k].after), etk_cell_real("worst_relative_error", sums[k].worst)};
    etk_run_result_row(run, "types", cells, sizeof cells / sizeof *cells - !written);
  }
}

static void show_tensors(etk_run *run, const etk_convert *plan, bool written) {
  for (size_t i = 0; i < etk_convert_count(plan); i++) {
    const etk_convert_tensor *t = etk_convert_at(plan, i);
    char shape[128];
    etk_cell cells[] = {etk_cell_text("name", t->name), etk_cell_text("source", t->source), etk_cell_text("from", t->from), etk_cell_text("to", t->to),
                        etk_cell_text("shape", etk_shape_text(shape, sizeof shape, &t->shape)), etk_cell_int("bytes_before", t->bytes_before),
                        etk_cell_int("bytes_after", t->bytes_after), etk_cell_flag("fell_back", t->fell_back), etk_cell_real("relative_error", t->error)};
    etk_run_result_row(run, "tensors", cells, sizeof cells / sizeof *cells - !written);
  }
}

/* The path that opens what was written: of a split GGUF its first part. NULL: out of memory. */
static char *written_path(const struct conversion *c, const etk_convert *plan) {
  bool split = !c->plan && etk_convert_target(plan) == ETK_CONVERT_GGUF && etk_convert_files(plan) > 1;
  return split ? etk_gguf_part_path(c->output, 0, etk_convert_files(plan)) : etk_strdup(c->output);
}

static void show(etk_run *run, const struct conversion *c, const etk_convert *plan, const char *written) {
  int64_t before = 0, after = 0, elements = 0, changed = 0, fell = 0;
  const etk_convert_tensor *worst = NULL;
  for (size_t i = 0; i < etk_convert_count(plan); i++) {
    const etk_convert_tensor *t = etk_convert_at(plan, i);
    before += t->bytes_before, after += t->bytes_after, elements += etk_shape_elements(&t->shape);
    changed += strcmp(t->from, t->to) != 0;
    fell += t->fell_back;
    if (t->error > (worst ? worst->error : 0)) worst = t;
  }
  etk_run_result_text(run, "output", written);
  etk_run_result_text(run, "format", etk_convert_format_name(etk_convert_target(plan)));
  if (*etk_convert_type(plan)) etk_run_result_text(run, "type", etk_convert_type(plan));
  etk_run_result_flag(run, "written", !c->plan);
  if (!c->plan) etk_run_result_int(run, "files", etk_convert_files(plan));
  etk_run_result_int(run, "converted_tensors", changed);
  etk_run_result_int(run, "kept_tensors", (int64_t)etk_convert_count(plan) - changed);
  if (fell) etk_run_result_int(run, "fallback_tensors", fell);
  etk_run_result_int(run, "bytes_before", before);
  etk_run_result_int(run, "bytes_after", after);
  etk_run_result_real(run, "bits_per_weight", elements ? 8.0 * (double)after / (double)elements : 0);
  if (!c->plan) etk_run_result_real(run, "worst_relative_error", worst ? worst->error : 0);
  if (!c->plan && worst) etk_run_result_text(run, "worst_tensor", worst->name);
  show_types(run, plan, !c->plan);
  if (c->plan || c->tensors) show_tensors(run, plan, !c->plan);
}

etk_status convert_model(etk_run *run, const struct conversion *conversion) {
  etk_error e = ETK_ERROR_INIT;
  struct conversion c = *conversion;
  etk_convert *plan = NULL;
  etk_text command = ETK_TEXT_INIT;
  etk_status status = ETK_OK;
  etk_adapter_form form;
  describe(&command, &c);
  if (command.failed) status = etk_fail_memory(&e);
  else if (is_adapter(c.input, &form)) {
    status = convert_adapter(run, &c, form, command.data);
    etk_text_free(&command);
    return status;
  }
  if (!status && c.base) status = etk_fail(&e, ETK_E_USAGE, "--base is for adapters, and %s is a model", c.input);
  c.options.command = command.data;
  c.options.progress = show_progress;
  c.options.user = run;
  if (!status && c.to && !etk_convert_format_parse(&c.options.to, c.to)) status = etk_fail(&e, ETK_E_USAGE, "--to %s is a form of adapters, and %s is a model", c.to, c.input);
  if (!status && !c.to) status = target_name(&e, c.output, false);
  if (!status && c.options.replace && !c.plan) status = target_replace(&e, c.input, c.output);
  if (!status) status = etk_convert_new(&e, &plan, c.input, c.output, &c.options);
  if (!status && !c.plan) status = etk_convert_write(&e, plan);
  char *written = status ? NULL : written_path(&c, plan);
  if (!status && !written) status = etk_fail_memory(&e);
  if (!status) show(run, &c, plan, written);
  if (!status && !c.plan) etk_run_artifact(run, written, "model");
  etk_free(written);
  etk_convert_free(plan);
  etk_text_free(&command);
  return status ? model_failed(run, &e) : ETK_OK;
}
