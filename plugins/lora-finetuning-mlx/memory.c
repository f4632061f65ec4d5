/* Memory of a training run: chosen, planned before it, compared with the peak after it. */
#include "session.h"

#include <etk/hardware.h>
#include <etk/text.h>

etk_status memory_compute(etk_error *e, etk_compute *out, const char *name) {
  *out = ETK_COMPUTE_F32;
  if (!name || etk_compute_parse(out, name)) return ETK_OK;
  return etk_fail(e, ETK_E_USAGE, "--compute is %s; float32 or bfloat16 is wanted", name);
}

etk_status memory_choose(etk_error *e, etk_trainer_options *options, etk_packing **packing, const struct memory_choice *choice, const etk_dataset *data) {
  options->checkpointing = choice->checkpointing;
  etk_status status = memory_compute(e, &options->compute, choice->compute);
  if (status || !choice->packing) return status;
  int64_t inputs = 0;
  for (size_t i = 0; i < etk_dataset_count(data); i++) inputs += etk_dataset_at(data, i).count - 1;
  if (inputs < options->max_tokens) options->max_tokens = (int32_t)inputs; /* one row holds all */
  status = etk_packing_new(e, packing, data, options->max_tokens, options->seed);
  options->packing = *packing;
  return status;
}

/* Values of a trained adapter, or of one that is read. */
static int64_t adapter_bytes(const etk_adapter *adapter) { return adapter ? etk_adapter_parameters(adapter) * (int64_t)sizeof(float) : 0; }

/* What the machine has for this process: what it has already, and what is still to be had. */
static int64_t memory_there(void) {
  int64_t available = etk_hardware_memory_available();
  return available > 0 ? available + etk_hardware_rss_bytes() : 0;
}

etk_status memory_limit(etk_error *e, size_t *out, const struct session *s, const etk_adapter *adapter) {
  char need[32], have[32];
  int64_t there = memory_there(), taken = s->fixed_bytes + (int64_t)etk_model_bytes(s->model) + adapter_bytes(adapter);
  *out = 0;
  if (!there) return ETK_OK;
  if (taken >= there)
    return etk_fail(e, ETK_E_NO_MEMORY, "the model's weights and the program need %s of memory before training begins, %s is available: try a smaller model%s",
                    etk_format_size(need, sizeof need, taken), etk_format_size(have, sizeof have, there), adapter ? ", or this one quantized" : "");
  *out = (size_t)(there - taken);
  return ETK_OK;
}

etk_status memory_plan(etk_error *e, struct memory_plan *out, etk_run *run, const struct session *s, const etk_adapter *adapter, etk_trainer *trainer) {
  size_t training = 0;
  etk_status status = etk_trainer_plan(e, trainer, &training);
  if (status) return status;
  *out = (struct memory_plan){.weights = (int64_t)etk_model_bytes(s->model) + adapter_bytes(adapter), .training = (int64_t)training, .fixed = s->fixed_bytes};
  out->total = out->weights + out->training + out->fixed;
  char total[32], weights[32], steps[32], fixed[32];
  etk_run_log(run, 1, "memory: %s planned (weights %s, training %s, program and data %s)", etk_format_size(total, sizeof total, out->total),
              etk_format_size(weights, sizeof weights, out->weights), etk_format_size(steps, sizeof steps, out->training), etk_format_size(fixed, sizeof fixed, out->fixed));
  return ETK_OK;
}

/* Beyond a tenth more than was planned, and what a process has that no plan knows of, somebody who trusted the plan should hear of it. */
void memory_report(etk_run *run, const struct memory_plan *plan) {
  enum { OWN = 16 << 20, INFO = 1, WARNING = 2 };
  int64_t peak = etk_hardware_peak_rss_bytes();
  char planned[32], measured[32];
  etk_run_result_int(run, "planned_memory_bytes", plan->total);
  etk_run_result_int(run, "peak_memory_bytes", peak);
  etk_run_log(run, peak > plan->total + plan->total / 10 + OWN ? WARNING : INFO, "memory: %s at the peak, %s were planned (%+.0f %%)", etk_format_size(measured, sizeof measured, peak),
              etk_format_size(planned, sizeof planned, plan->total), plan->total ? 100 * ((double)peak / (double)plan->total - 1) : 0);
}
