#include "loop.h"

#include <etk/alloc.h>
#include <etk/fs.h>
#include <etk/text.h>
#include <math.h>

static etk_status save_all(etk_error *e, void *user, const char *folder) {
  const struct loop *l = user;
  etk_status status = l->save(e, l->user, folder);
  return status ? status : etk_trainer_save(e, l->trainer, folder);
}

/* Weights and trainer state, all or nothing. */
static etk_status checkpoint(etk_error *e, const struct loop *l) {
  struct loop copy = *l;
  etk_status status = session_write(e, l->checkpoint, true, save_all, &copy);
  return status ? etk_error_while(e, status, "while saving the checkpoint %s", l->checkpoint) : ETK_OK;
}

static etk_status validate(etk_error *e, const struct loop *l, struct loop_result *out) {
  etk_evaluation evaluation;
  etk_trainer_rest(l->trainer); /* so that the peak is that of a step or that of scoring, not of both */
  etk_status status = session_score(e, &evaluation, l->run, l->session, l->adapter, l->valid, l->batch_size, "validate");
  if (status) return status;
  out->validation_loss = evaluation.loss;
  etk_run_metric(l->run, "validation_loss", etk_trainer_steps(l->trainer), evaluation.loss);
  return ETK_OK;
}

/* Ctrl-C: what was learnt is kept. */
static etk_status stop(etk_error *e, const struct loop *l) {
  if (!l->checkpoint) return etk_fail(e, ETK_E_CANCELLED, "stopped after step %lld of %lld; nothing was written", (long long)etk_trainer_steps(l->trainer), (long long)l->total_steps);
  etk_status status = checkpoint(e, l);
  if (status) return status;
  return etk_fail(e, ETK_E_CANCELLED, "stopped after step %lld of %lld; the checkpoint is in %s: resume with the same options and --resume%s%s",
                  (long long)etk_trainer_steps(l->trainer), (long long)l->total_steps, l->checkpoint, l->adapter ? " " : "", l->adapter ? l->checkpoint : "");
}

static void record(const struct loop *l, const etk_step *step, struct loop_result *out) {
  double seconds = (double)step->elapsed_ns / 1e9, rate = (double)step->tokens / seconds;
  if (out->steps == 0) out->first_loss = step->loss;
  out->last_loss = step->loss;
  out->tokens += step->tokens;
  out->seconds += seconds;
  out->steps++;
  int64_t done = step->step + 1;
  etk_run_metric(l->run, "train_loss", done, step->loss);
  etk_run_metric(l->run, "learning_rate", done, step->learning_rate);
  etk_run_metric(l->run, "tokens_per_second", done, rate);
  char note[96];
  snprintf(note, sizeof note, "loss %.3f  %.0f tok/s", step->loss, (double)out->tokens / out->seconds);
  etk_run_progress(l->run, l->label, done, l->total_steps, note);
}

etk_status loop_run(etk_error *e, const struct loop *l, struct loop_result *out) {
  *out = (struct loop_result){.validation_loss = NAN, .first_loss = NAN, .last_loss = NAN};
  char planned[32], note[96];
  snprintf(note, sizeof note, "%s of memory planned", etk_format_size(planned, sizeof planned, l->planned_bytes));
  etk_run_progress(l->run, l->label, etk_trainer_steps(l->trainer), l->total_steps, note);
  while (etk_trainer_steps(l->trainer) < l->total_steps) {
    if (etk_run_cancelled(l->run)) return stop(e, l);
    etk_step step;
    etk_status status = etk_trainer_step(e, l->trainer, l->train, &step);
    if (status) return etk_error_while(e, status, "while training step %lld", (long long)etk_trainer_steps(l->trainer) + 1);
    record(l, &step, out);
    int64_t done = step.step + 1;
    bool last = done == l->total_steps;
    if (l->valid && (last || (l->eval_steps && done % l->eval_steps == 0))) status = validate(e, l, out);
    if (status == ETK_E_CANCELLED) return stop(e, l);
    if (!status && l->save_steps && !last && done % l->save_steps == 0) status = checkpoint(e, l);
    if (status) return status;
  }
  return ETK_OK;
}
