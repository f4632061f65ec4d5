/* The tests this project ships: `efficientai-toolkit test lora-finetuning-mlx`. Each works on the model and the data that come with it. */
#include "extensions.h"
#include "finetune.h"
#include "pretrain.h"

#include <etk/alloc.h>
#include <etk/fs.h>
#include <etk/text.h>
#include <math.h>

static char *below(etk_run *run, const char *name) { return etk_path_join(etk_run_dir(run), name); }
static char *demo_data(etk_run *run) { return etk_path_join(etk_run_data_dir(run), "powershell"); }

static etk_status failed(etk_run *run, const char *what) { return etk_run_fail(run, ETK_E_CHECK, "%s", what); }

static const etk_generate_options greedy = {.sampling = {.temperature = 0, .repetition_penalty = 1, .top_p = 1}, .max_tokens = 24};
static const char prompt[] = "List the files here\n$";

static etk_status answer(etk_error *e, char **out, const struct session *session, const etk_adapter *adapter) {
  etk_generator *generator = NULL;
  etk_generation stats;
  etk_status status = etk_generator_new(e, &generator, session->model, adapter, 0);
  if (!status) status = session_answer(e, out, &stats, session, generator, prompt, &greedy);
  if (!status) etk_ids_free(&stats.ids);
  etk_generator_free(generator);
  return status;
}

static etk_status greedy_answers_repeat(etk_run *run) {
  etk_error e = ETK_ERROR_INIT;
  struct session session = {0};
  char *first = NULL, *second = NULL;
  etk_status status = session_open(&e, &session, run, NULL, NULL);
  if (!status) status = answer(&e, &first, &session, NULL);
  if (!status) status = answer(&e, &second, &session, NULL);
  if (status) status = report(run, &e);
  else if (!*first) status = failed(run, "the model that comes with this project has nothing to say");
  else if (strcmp(first, second)) status = failed(run, "the same prompt, at temperature 0, got two answers");
  etk_free(first), etk_free(second);
  session_close(&session);
  return status;
}

/* Perplexity of the first of the demonstration's held-out requests. */
static etk_status held_out(etk_error *e, double *out, etk_run *run, const char *adapter) {
  struct session session = {0};
  etk_dataset *data = NULL;
  etk_evaluation evaluation;
  char *folder = demo_data(run);
  etk_status status = folder ? session_open(e, &session, run, NULL, adapter) : etk_fail_memory(e);
  if (!status) status = session_data(e, &data, &session, folder, "test", 0, true);
  etk_evaluate_options options = {.batch_size = 8, .max_batches = 4};
  if (!status) status = etk_evaluate(e, &evaluation, session.model, session.adapter, data, &options);
  if (!status) *out = evaluation.perplexity;
  etk_dataset_free(data);
  session_close(&session);
  etk_free(folder);
  return status;
}

static etk_status evaluation_is_better_than_chance(etk_run *run) {
  etk_error e = ETK_ERROR_INIT;
  double perplexity = 0;
  if (held_out(&e, &perplexity, run, NULL)) return report(run, &e);
  if (isfinite(perplexity) && perplexity > 1 && perplexity < 4096) return ETK_OK;
  return etk_run_fail(run, ETK_E_CHECK, "the perplexity of the demonstration's requests is %g; between 1 and 4096, the number of tokens, is wanted", perplexity);
}

static struct finetune short_training(const char *data, const char *output) {
  static const char *const modules[] = {"all-linear"};
  return (struct finetune){.data = data, .output = output, .lr_schedule = "constant", .optimizer = "adamw", .one_go = true, .iters = 24, .batch_size = 8, .accumulation = 1,
                           .max_seq_length = 64, .warmup_steps = 0, .learning_rate = 4e-3, .gradient_clipping = 1, .seed = 1,
                           .lora = {.rank = 8, .alpha = 16, .target_modules = modules, .target_count = 1}};
}

static etk_status training_helps(etk_run *run) {
  etk_error e = ETK_ERROR_INIT;
  double before = 0, after = 0;
  char *data = demo_data(run), *output = below(run, "adapter");
  etk_status status = data && output ? ETK_OK : etk_fail_memory(&e);
  struct finetune settings = short_training(data, output);
  if (!status) status = held_out(&e, &before, run, NULL);
  if (status) status = report(run, &e);
  else status = finetune_train(run, &settings);
  if (!status && (status = held_out(&e, &after, run, output))) status = report(run, &e);
  if (!status && !(after < before / 2))
    status = etk_run_fail(run, ETK_E_CHECK, "24 steps brought the held-out perplexity from %g to %g; less than half is wanted", before, after);
  etk_free(data), etk_free(output);
  return status;
}

static etk_status validation_writes_nothing(etk_run *run) {
  char *data = demo_data(run), *output = below(run, "adapter");
  etk_status status = data && output ? ETK_OK : etk_run_fail(run, ETK_E_NO_MEMORY, "out of memory");
  struct finetune settings = short_training(data, output);
  if (!status) status = finetune_validate(run, &settings);
  if (!status && etk_fs_exists(output)) status = failed(run, "validate made the output folder");
  etk_free(data), etk_free(output);
  return status;
}

static etk_status info_knows_the_model(etk_run *run) {
  static const char *const modules[] = {"q_proj", "v_proj"};
  const etk_lora_options lora = {.rank = 4, .alpha = 8, .target_modules = modules, .target_count = 2};
  return session_info(run, NULL, &lora);
}

static etk_status a_model_from_scratch_opens(etk_run *run) {
  etk_error e = ETK_ERROR_INIT;
  char *data = below(run, "text.txt"), *output = below(run, "model"), *said = NULL;
  etk_text text = ETK_TEXT_INIT;
  struct session session = {0};
  for (int i = 0; i < 200; i++) etk_text_printf(&text, "the %s fox jumps over the %s dog number %d\n", i % 2 ? "quick" : "slow", i % 3 ? "lazy" : "happy", i);
  etk_status status = data && output && !text.failed ? etk_fs_write(&e, data, text.data, text.size, false) : etk_fail_memory(&e);
  struct pretrain settings = {.data = data, .output = output, .lr_schedule = "constant", .epochs = 1, .batch_size = 4, .learning_rate = 1e-3, .gradient_clipping = 1, .seed = 1,
                              .config = {.architecture = "llama", .vocab_size = 300, .hidden_size = 16, .intermediate_size = 32, .num_hidden_layers = 1, .num_attention_heads = 2,
                                         .num_key_value_heads = 1, .max_position_embeddings = 32, .rms_norm_eps = 1e-5, .rope_theta = 10000, .tie_word_embeddings = true}};
  if (status) status = report(run, &e);
  else status = pretrain_model(run, &settings);
  if (!status && (session_open(&e, &session, run, output, NULL) || answer(&e, &said, &session, NULL))) status = report(run, &e);
  session_close(&session);
  etk_text_free(&text);
  etk_free(said), etk_free(data), etk_free(output);
  return status;
}

static const etk_selftest_case cases[] = {
    {"the model that comes with this project answers a prompt the same way twice", "generate", greedy_answers_repeat},
    {"the perplexity of held-out text is better than chance", "evaluate", evaluation_is_better_than_chance},
    {"24 steps of LoRA halve the perplexity of held-out text", "train evaluate", training_helps},
    {"validate plans a run and writes nothing", "validate", validation_writes_nothing},
    {"info tells the model and what LoRA would train in it", "info", info_knows_the_model},
    {"a model made from scratch opens and speaks", "pretrain generate", a_model_from_scratch_opens},
};
const etk_selftest selftest = {(uint32_t)sizeof(etk_selftest), (uint32_t)(sizeof cases / sizeof *cases), (uint32_t)sizeof *cases, cases};
