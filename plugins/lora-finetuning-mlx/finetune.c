#include "finetune.h"
#include "loop.h"

#include <etk/alloc.h>
#include <etk/fs.h>
#include <etk/hardware.h>
#include <etk/text.h>
#include <math.h>

/* Everything a training run works on. */
struct job {
  struct session session;
  etk_adapter *adapter;
  etk_dataset *train, *valid; /* valid: NULL without one */
  etk_packing *packing;       /* NULL: rows are sequences */
  etk_trainer *trainer;
  struct memory_plan plan;
  int64_t total_steps, steps_per_epoch;
  char *checkpoint;           /* <output>-checkpoint */
  etk_provenance *made;       /* of the adapter */
};

static void job_close(struct job *j) {
  etk_trainer_free(j->trainer);
  etk_packing_free(j->packing);
  etk_dataset_free(j->train);
  etk_dataset_free(j->valid);
  etk_adapter_free(j->adapter);
  session_close(&j->session);
  etk_free(j->checkpoint);
  etk_provenance_free(j->made);
}

static bool same_targets(const etk_lora_options *a, const etk_lora_options *b) {
  size_t found = 0;
  for (size_t i = 0; i < a->target_count; i++)
    for (size_t k = 0; k < b->target_count; k++) found += !strcmp(a->target_modules[i], b->target_modules[k]);
  return found == a->target_count && found == b->target_count;
}

/* An adapter brings its own shape: what the user asks for beside it must be what it has, or it would be passed over in silence. */
static etk_status check_shape(etk_error *e, const struct finetune *f, const etk_lora_options *has, const char *from) {
  const etk_lora_options *asked = &f->lora;
  if (f->given.rank && asked->rank != has->rank)
    return etk_fail(e, ETK_E_USAGE, "--rank is %lld, the adapter %s has rank %lld; leave the option out, or begin a fresh adapter", (long long)asked->rank, from, (long long)has->rank);
  if (f->given.alpha && asked->alpha != has->alpha)
    return etk_fail(e, ETK_E_USAGE, "--alpha is %g, the adapter %s has alpha %g; leave the option out, or begin a fresh adapter", asked->alpha, from, has->alpha);
  if (f->given.rslora && asked->use_rslora != has->use_rslora)
    return etk_fail(e, ETK_E_USAGE, "--use-rslora is %s, the adapter %s was made %s it; leave the option out", asked->use_rslora ? "on" : "off", from, has->use_rslora ? "with" : "without");
  if (f->given.targets && has->target_count && !same_targets(asked, has))
    return etk_fail(e, ETK_E_USAGE, "--target-modules differ from those of the adapter %s; leave the option out, or begin a fresh adapter", from);
  if (f->resume && f->given.dropout && asked->dropout != has->dropout)
    return etk_fail(e, ETK_E_USAGE, "--dropout is %g, the run in %s began with %g; resume with the value it began with", asked->dropout, from, has->dropout);
  return ETK_OK;
}

static etk_status open_adapter(etk_error *e, struct job *j, const struct finetune *f) {
  const char *from = f->resume ? f->resume : f->resume_adapter;
  if (!from) return etk_adapter_new(e, &j->adapter, j->session.model, &f->lora, f->seed);
  char *state = f->resume ? etk_path_join(f->resume, "trainer_state.json") : NULL;
  bool whole = !f->resume || (state && etk_fs_exists(state));
  etk_free(state);
  if (!whole)
    return etk_fail(e, ETK_E_INVALID, "%s has no trainer_state.json, so it is no checkpoint of a stopped run; --resume-adapter begins a new run from an adapter", f->resume);
  etk_status status = etk_adapter_open(e, &j->adapter, j->session.model, from, true);
  if (!status) status = check_shape(e, f, etk_adapter_get_options(j->adapter), from);
  if (!status && !f->resume) etk_adapter_set_dropout(j->adapter, f->lora.dropout);
  return status;
}

static etk_status open_data(etk_error *e, struct job *j, const struct finetune *f) {
  int64_t before = etk_hardware_rss_bytes();
  etk_status status = session_data(e, &j->train, &j->session, f->data, "train", f->max_seq_length, true);
  if (!status && etk_fs_is_dir(f->data)) status = session_data(e, &j->valid, &j->session, f->data, "valid", f->max_seq_length, true);
  j->session.fixed_bytes += etk_hardware_rss_bytes() - before;
  return status == ETK_E_NOT_FOUND && j->train ? ETK_OK : status;
}

static etk_status open_trainer(etk_error *e, struct job *j, const struct finetune *f) {
  int64_t context = etk_model_get_config(j->session.model)->max_position_embeddings, longest = etk_dataset_get_stats(j->train).longest;
  etk_trainer_options options = {.seed = f->seed, .max_tokens = (int32_t)(longest > 2 ? longest : 2)};
  if (f->memory.packing) options.max_tokens = (int32_t)(f->max_seq_length && f->max_seq_length < context ? f->max_seq_length : context);
  etk_status status = memory_choose(e, &options, &j->packing, &f->memory, j->train);
  if (!status) status = memory_limit(e, &options.memory_limit, &j->session, j->adapter);
  if (status) return status;
  int64_t step = f->batch_size * f->accumulation, count = j->packing ? (int64_t)etk_packing_rows(j->packing) : (int64_t)etk_dataset_count(j->train);
  j->steps_per_epoch = (count + step - 1) / step;
  j->total_steps = f->iters ? f->iters : f->epochs * j->steps_per_epoch;
  int64_t warmup = f->warmup_steps >= 0 ? f->warmup_steps : j->total_steps / 10 < 100 ? j->total_steps / 10 : 100;
  options.batch_size = f->batch_size < count ? f->batch_size : count; /* more rows would only be padding */
  options.accumulation = f->accumulation;
  options.gradient_clipping = f->gradient_clipping;
  options.optimizer = etk_optimizer_defaults(!strcmp(f->optimizer, "sgd") ? ETK_SGD : ETK_ADAMW);
  options.schedule = (etk_schedule){.peak = f->learning_rate, .warmup_steps = warmup, .total_steps = j->total_steps};
  etk_schedule_parse(&options.schedule.kind, f->lr_schedule);
  options.optimizer.weight_decay = f->weight_decay;
  status = etk_trainer_new(e, &j->trainer, j->session.model, j->adapter, &options);
  if (!status && f->resume) status = etk_trainer_load(e, j->trainer, f->resume);
  return status;
}

static etk_status job_open(etk_error *e, struct job *j, etk_run *run, const struct finetune *f) {
  *j = (struct job){0};
  j->checkpoint = session_checkpoint(f->output);
  etk_status status = j->checkpoint ? session_open(e, &j->session, run, f->model, NULL) : etk_fail_memory(e);
  if (!status) status = session_chat(e, &j->session, &f->chat);
  if (!status) status = open_adapter(e, j, f);
  if (!status) status = open_data(e, j, f);
  if (!status) status = open_trainer(e, j, f);
  if (status) job_close(j);
  return status;
}

static etk_status check_settings(etk_run *run, const struct finetune *f) {
  if (!f->data) return etk_run_fail(run, ETK_E_USAGE, "no --data given: a JSONL file, plain text, or a folder with train.jsonl and valid.jsonl");
  if (f->resume && f->resume_adapter)
    return etk_run_fail(run, ETK_E_USAGE, "--resume and --resume-adapter exclude each other: the first goes on with a stopped run, the second begins a new one from an adapter");
  return ETK_OK;
}

static void report_data(etk_run *run, const char *split, const etk_dataset *data) {
  etk_dataset_stats s = etk_dataset_get_stats(data);
  const etk_cell cells[] = {etk_cell_text("split", split), etk_cell_int("sequences", (int64_t)s.sequences), etk_cell_int("tokens", s.tokens), etk_cell_int("scored", s.scored),
                            etk_cell_int("shortest", s.shortest), etk_cell_real("mean", s.mean), etk_cell_int("longest", s.longest), etk_cell_int("truncated", (int64_t)s.truncated)};
  etk_run_result_row(run, "data", cells, sizeof cells / sizeof *cells);
}

etk_status finetune_validate(etk_run *run, const struct finetune *f) {
  etk_status status = check_settings(run, f);
  if (status) return status;
  etk_error e = ETK_ERROR_INIT;
  struct job j;
  status = job_open(&e, &j, run, f);
  if (status) return report(run, &e);
  status = memory_plan(&e, &j.plan, run, &j.session, j.adapter, j.trainer);
  if (!status) status = session_output(&e, f->output, f->force, "adapter_config.json");
  if (!status) {
    report_data(run, "train", j.train);
    if (j.valid) report_data(run, "valid", j.valid);
    etk_run_result_int(run, "steps", j.total_steps);
    etk_run_result_int(run, "steps_per_epoch", j.steps_per_epoch);
    etk_run_result_int(run, "trainable_parameters", etk_adapter_parameters(j.adapter));
    etk_run_result_int(run, "model_bytes", (int64_t)etk_model_bytes(j.session.model));
    etk_run_result_int(run, "training_bytes", j.plan.training);
    etk_run_result_int(run, "planned_memory_bytes", j.plan.total);
    if (j.packing) etk_run_result_int(run, "packed_rows", (int64_t)etk_packing_rows(j.packing));
    etk_run_result_flag(run, "valid", true);
  }
  job_close(&j);
  return status ? report(run, &e) : ETK_OK;
}

static etk_status save_adapter(etk_error *e, void *user, const char *folder) {
  const struct job *j = user;
  size_t count;
  const char *const *pairs = etk_provenance_pairs(j->made, &count);
  return etk_adapter_save(e, j->adapter, folder, pairs, count);
}

/* A place that cannot be written is said before hours of training, not after. */
static etk_status try_output(etk_error *e, const struct finetune *f) {
  etk_dir *dir;
  etk_status status = etk_dir_create(e, &dir, f->output, f->force);
  if (!status) etk_dir_abort(dir);
  return status ? etk_error_while(e, status, "the adapter could not be written") : ETK_OK;
}

/* Trains and writes; the job stays open for what the caller still wants to know. */
static etk_status run_job(etk_error *e, etk_run *run, struct job *j, const struct finetune *f, struct loop_result *out) {
  struct loop loop = {.run = run, .label = "train", .session = &j->session, .adapter = j->adapter, .trainer = j->trainer, .train = j->train, .valid = j->valid,
                      .total_steps = j->total_steps, .eval_steps = f->eval_steps ? f->eval_steps : j->steps_per_epoch, .save_steps = f->save_steps,
                      .batch_size = f->batch_size, .checkpoint = f->one_go ? NULL : j->checkpoint, .save = save_adapter, .user = j};
  etk_status status = session_output(e, f->output, f->force, "adapter_config.json");
  if (!status && !f->resume && !f->one_go && !f->force && etk_fs_exists(j->checkpoint))
    status = etk_fail(e, ETK_E_EXISTS, "the checkpoint %s of a stopped run is there: go on with --resume %s, or remove it (or give --force) to begin anew", j->checkpoint, j->checkpoint);
  if (!status && !f->one_go) status = session_output(e, j->checkpoint, true, "trainer_state.json"); /* never replace a stranger's folder */
  if (!status) status = try_output(e, f);
  if (!status) status = memory_plan(e, &j->plan, run, &j->session, j->adapter, j->trainer); /* too little memory is said before the first step */
  if (!status) status = session_provenance(e, &j->made, f->one_go ? "lora-finetuning-mlx:demo" : "lora-finetuning-mlx:train", j->session.path, f->data);
  if (!status && f->resume_adapter) status = etk_provenance_model(e, j->made, f->resume_adapter);
  loop.planned_bytes = j->plan.total;
  if (!status) status = loop_run(e, &loop, out);
  if (!status && (status = session_write(e, f->output, f->force, save_adapter, j))) etk_error_while(e, status, "while writing the adapter %s", f->output);
  if (status) return status;
  etk_error ignored = ETK_ERROR_INIT; /* what the checkpoint held is in the output now */
  if (!f->one_go) etk_fs_remove_tree(&ignored, j->checkpoint);
  etk_run_artifact(run, f->output, "adapter");
  return ETK_OK;
}

static void report_training(etk_run *run, const struct job *j, const struct finetune *f, const struct loop_result *r) {
  etk_run_result_int(run, "steps", etk_trainer_steps(j->trainer));
  etk_run_result_int(run, "tokens", r->tokens);
  etk_run_result_int(run, "trainable_parameters", etk_adapter_parameters(j->adapter));
  if (r->steps) {
    etk_run_result_real(run, "first_train_loss", r->first_loss);
    etk_run_result_real(run, "train_loss", r->last_loss);
    etk_run_result_real(run, "tokens_per_second", (double)r->tokens / r->seconds);
  }
  if (!isnan(r->validation_loss)) {
    etk_run_result_real(run, "validation_loss", r->validation_loss);
    etk_run_result_real(run, "validation_perplexity", exp(r->validation_loss));
  }
  if (j->packing) etk_run_result_int(run, "packed_rows", (int64_t)etk_packing_rows(j->packing));
  memory_report(run, &j->plan);
  etk_run_result_text(run, "adapter", f->output);
}

etk_status finetune_train(etk_run *run, const struct finetune *f) {
  etk_status status = check_settings(run, f);
  if (status) return status;
  etk_error e = ETK_ERROR_INIT;
  struct job j;
  struct loop_result result;
  status = job_open(&e, &j, run, f);
  if (status) return report(run, &e);
  etk_dataset_stats stats = etk_dataset_get_stats(j.train);
  int64_t context = etk_model_get_config(j.session.model)->max_position_embeddings;
  if (stats.truncated)
    etk_run_log(run, 2, "%zu of %zu sequences were cut at %d tokens, %s", stats.truncated, stats.sequences, stats.longest,
                stats.longest >= context ? "the model's context" : "--max-seq-length; raise it to keep them whole");
  else if (f->max_seq_length > context && etk_run_given(run, "max_seq_length"))
    etk_run_log(run, 2, "--max-seq-length %lld is above the model's context, %lld tokens, which holds", (long long)f->max_seq_length, (long long)context);
  status = run_job(&e, run, &j, f, &result);
  if (!status) report_training(run, &j, f, &result);
  job_close(&j);
  return status ? report(run, &e) : ETK_OK;
}

/* ---- the demonstration ---- */

enum { SHOWN = 6, ANSWER_TOKENS = 48 };

static etk_status show_answers(etk_error *e, etk_run *run, const struct job *j, const char *prompts_path) {
  char *text = NULL;
  size_t size = 0;
  etk_status status = etk_fs_read(e, &text, &size, prompts_path, 1 << 20);
  etk_generator *before = NULL, *after = NULL;
  if (!status) status = etk_generator_new(e, &before, j->session.model, NULL, 0);
  if (!status) status = etk_generator_new(e, &after, j->session.model, j->adapter, 0);
  etk_generate_options options = {.sampling = {.temperature = 0, .repetition_penalty = 1}, .max_tokens = ANSWER_TOKENS};
  int64_t made = 0, ns = 0;
  char *line = text;
  for (int i = 0; i < SHOWN && !status && line && *line; i++) {
    char *end = strchr(line, '\n');
    if (end) *end = '\0';
    etk_text prompt = ETK_TEXT_INIT;
    etk_text_printf(&prompt, "%s\n$", line);
    char *base = NULL, *tuned = NULL;
    etk_generation stats;
    status = prompt.failed ? etk_fail_memory(e) : session_answer(e, &base, &stats, &j->session, before, prompt.data, &options);
    if (!status) {
      etk_ids_free(&stats.ids);
      status = session_answer(e, &tuned, &stats, &j->session, after, prompt.data, &options);
    }
    if (!status) {
      made += (int64_t)stats.ids.count;
      ns += stats.decode_ns;
      etk_ids_free(&stats.ids);
      const etk_cell cells[] = {etk_cell_text("prompt", line), etk_cell_text("base", base + strspn(base, " ")), etk_cell_text("fine_tuned", tuned + strspn(tuned, " "))};
      etk_run_result_row(run, "answers", cells, 3);
    }
    etk_free(base);
    etk_free(tuned);
    etk_text_free(&prompt);
    line = end ? end + 1 : NULL;
  }
  if (!status && ns) etk_run_result_real(run, "generation_tokens_per_second", (double)made * 1e9 / (double)ns);
  etk_generator_free(before);
  etk_generator_free(after);
  etk_free(text);
  return status;
}

static etk_status demonstrate(etk_error *e, etk_run *run, struct job *j, const struct finetune *f) {
  etk_dataset *held_out = NULL;
  etk_evaluation before, after;
  struct loop_result result = {0};
  etk_status status = session_data(e, &held_out, &j->session, f->data, "test", 0, true);
  if (!status) status = session_score(e, &before, run, &j->session, NULL, held_out, 8, "evaluate the base");
  if (!status) status = run_job(e, run, j, f, &result);
  if (!status) status = session_score(e, &after, run, &j->session, j->adapter, held_out, 8, "evaluate the result");
  etk_dataset_free(held_out);
  if (status) return status;
  char *prompts = etk_path_join(f->data, "prompts.txt");
  status = prompts ? show_answers(e, run, j, prompts) : etk_fail_memory(e);
  etk_free(prompts);
  if (status) return status;
  etk_run_result_real(run, "perplexity_before", before.perplexity);
  etk_run_result_real(run, "perplexity_after", after.perplexity);
  etk_run_metric(run, "held_out_perplexity", 0, before.perplexity);
  etk_run_metric(run, "held_out_perplexity", result.steps, after.perplexity);
  report_training(run, j, f, &result);
  return ETK_OK;
}

etk_status finetune_demo(etk_run *run, const char *output, bool force, int64_t epochs) {
  static const char *const modules[] = {"all-linear"};
  etk_error e = ETK_ERROR_INIT;
  char *data = etk_path_join(etk_run_data_dir(run), "powershell");
  if (!data) return etk_run_fail(run, ETK_E_NO_MEMORY, "out of memory");
  struct finetune f = {.data = data, .output = output, .lr_schedule = "cosine", .optimizer = "adamw", .force = force, .one_go = true, .epochs = epochs, .batch_size = 8, .accumulation = 1,
                       .warmup_steps = -1, .learning_rate = 4e-3, .weight_decay = 0.01, .gradient_clipping = 1, .seed = 42,
                       .lora = {.rank = 16, .alpha = 32, .dropout = 0.05, .target_modules = modules, .target_count = 1}};
  struct job j;
  etk_status status = job_open(&e, &j, run, &f);
  if (!status) {
    status = demonstrate(&e, run, &j, &f);
    job_close(&j);
  }
  etk_free(data);
  return status ? report(run, &e) : ETK_OK;
}
