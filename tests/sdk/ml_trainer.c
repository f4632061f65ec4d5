/* Training: against PEFT's runs (shared/goldens/lora), gradients of a whole model, checkpoints, and what is refused. */
#include "ml_golden.h"
#include "../starve.h"

#include "ml/train/internal.h"
#include <etk/trainer.h>

static char *model_folder(const char *name) { return path_of("%s/goldens/models/%s", shared("."), name); }
static char *peft_folder(const char *variant, const char *which) { return path_of("%s/goldens/lora/%s/%s", shared("."), variant, which); }

static etk_dataset *open_data(const char *path, int64_t vocabulary, int32_t max_tokens) {
  etk_dataset_options options = {.vocabulary_size = vocabulary, .max_tokens = max_tokens};
  etk_dataset *data = NULL;
  works(etk_dataset_open(e, &data, path, &options));
  return data;
}
static etk_dataset *peft_data(void) { return open_data(shared("goldens/lora/data.jsonl"), 384, 96); }

static etk_model_config tiny_config(void) {
  return (etk_model_config){.architecture = "llama", .vocab_size = 24, .hidden_size = 16, .intermediate_size = 20, .num_hidden_layers = 2,
                            .num_attention_heads = 4, .num_key_value_heads = 2, .head_dim = 4, .max_position_embeddings = 64, .rms_norm_eps = 1e-5,
                            .rope_theta = 10000, .mlp_bias = true, .attention_bias = true, .bos_token_id = 1, .eos_token_ids = {2}, .eos_count = 1};
}
/* weights_scale: how much larger than fresh ones the weights are; norms stay at 1 */
static etk_model *tiny_model(float weights_scale) {
  etk_model_config config = tiny_config();
  etk_model *model = NULL;
  works(etk_model_new(e, &model, &config, 3));
  for (size_t i = 0; i < etk_model_weight_count(model); i++) {
    etk_tensor *t = etk_model_weight_at(model, i);
    if (etk_tensor_shape(t)->rank < 2) continue;
    for (int64_t j = 0; j < etk_tensor_elements(t); j++) ((float *)etk_tensor_data(t))[j] *= weights_scale;
  }
  return model;
}
static etk_adapter *tiny_adapter(const etk_model *model, double dropout) {
  static const char *const targets[] = {"all-linear"};
  etk_lora_options options = {.rank = 2, .alpha = 4, .dropout = dropout, .target_modules = targets, .target_count = 1};
  etk_adapter *adapter = NULL;
  works(etk_adapter_new(e, &adapter, model, &options, 5));
  return adapter;
}
/* Seven sequences of 4 to 16 ids that follow a rule a model can learn. */
static etk_dataset *tiny_data(void **state) {
  char *path = path_of("%s/tiny.jsonl", (const char *)*state);
  FILE *file = fopen(path, "w");
  assert_non_null(file);
  const int lengths[] = {16, 9, 4, 12, 16, 7, 11};
  for (int s = 0; s < 7; s++) {
    fprintf(file, "{\"ids\":[1");
    for (int i = 1; i < lengths[s]; i++) fprintf(file, ",%d", 3 + (s + 2 * i) % 20);
    fprintf(file, "]}\n");
  }
  fclose(file);
  return open_data(path, 24, 64);
}
static etk_trainer_options tiny_options(void) {
  etk_trainer_options o = {.batch_size = 2, .max_tokens = 16, .optimizer = etk_optimizer_defaults(ETK_ADAMW), .gradient_clipping = 1, .seed = 17,
                           .schedule = {.kind = ETK_SCHEDULE_COSINE, .peak = 1e-2, .warmup_steps = 2, .total_steps = 10}};
  o.optimizer.weight_decay = 0.01;
  return o;
}

static void flatten(const etk_model *model, const etk_adapter *adapter, float **out, size_t *count) {
  size_t parts = adapter ? 2 * etk_adapter_count(adapter) : etk_model_weight_count(model), total = 0;
  for (int pass = 0; pass < 2; pass++) {
    if (pass) assert_non_null(*out = etk_calloc(total, sizeof **out));
    *count = total;
    total = 0;
    for (size_t i = 0; i < parts; i++) {
      etk_tensor *t = !adapter ? etk_model_weight_at(model, i) : i % 2 ? etk_adapter_at(adapter, i / 2)->b : etk_adapter_at(adapter, i / 2)->a;
      if (pass) memcpy(*out + total, etk_tensor_data(t), etk_tensor_bytes(t));
      total += (size_t)etk_tensor_elements(t);
    }
  }
}

/* ---- PEFT ---- */
static void check_peft_run(const char *variant) {
  json_t *training = load_json(path_of("%s/goldens/lora/%s/training.json", shared("."), variant));
  const json_t *losses = json_object_get(training, "losses");
  etk_model *model = open_model(path_of("%s/goldens/%s", shared("."), json_string_value(json_object_get(training, "base"))));
  etk_dataset *data = peft_data();
  etk_adapter *adapter = NULL, *final = NULL;
  works(etk_adapter_open(e, &adapter, model, peft_folder(variant, "init"), true));
  works(etk_adapter_open(e, &final, model, peft_folder(variant, "final"), false));
  etk_trainer_options options = {.batch_size = 4, .max_tokens = 96, .optimizer = etk_optimizer_defaults(ETK_ADAMW), .seed = 1,
                                 .schedule = {.kind = ETK_SCHEDULE_CONSTANT, .peak = json_number_value(json_object_get(training, "learning_rate")),
                                              .total_steps = 30}};
  options.optimizer.weight_decay = json_number_value(json_object_get(training, "weight_decay"));
  assert_true(options.optimizer.beta1 == 0.9 && options.optimizer.beta2 == 0.999 && options.optimizer.epsilon == 1e-8);
  etk_trainer *trainer = NULL;
  works(etk_trainer_new(e, &trainer, model, adapter, &options));
  assert_int_equal(json_array_size(losses), 30);
  double worst_loss = 0, worst_weight = 0, moved = 0;
  for (size_t i = 0; i < 30; i++) {
    etk_step step;
    works(etk_trainer_step(e, trainer, data, &step));
    assert_int_equal(step.tokens, 10 + 15 + 7 + 15);
    worst_loss = fmax(worst_loss, fabs(step.loss / json_real_at(losses, i) - 1));
  }
  float *ours, *theirs, *began;
  size_t count, count_theirs;
  flatten(model, adapter, &ours, &count);
  flatten(model, final, &theirs, &count_theirs);
  etk_adapter_free(final);
  works(etk_adapter_open(e, &final, model, peft_folder(variant, "init"), false));
  flatten(model, final, &began, &count_theirs);
  for (size_t i = 0; i < count; i++) {
    worst_weight = fmax(worst_weight, fabs((double)ours[i] - (double)theirs[i]));
    moved = fmax(moved, fabs((double)theirs[i] - (double)began[i]));
  }
  print_message("%s: losses within %.2g relative, weights within %.2g (they moved by up to %.2g)\n", variant, worst_loss, worst_weight, moved);
  /* What the issue asks for. Adam divides by the root of the second moment, so rounding of a small gradient shows in the weights, not in the loss. */
  if (!(worst_loss <= 1e-3)) fail_msg("%s: a loss is off by %g relative", variant, worst_loss);
  if (!(worst_weight <= 1e-3)) fail_msg("%s: a weight is off by %g", variant, worst_weight);
  assert_true(moved > 0.02);
  etk_free(ours);
  etk_free(theirs);
  etk_free(began);
  etk_trainer_free(trainer);
  etk_adapter_free(final);
  etk_adapter_free(adapter);
  etk_dataset_free(data);
  etk_model_unref(model);
  json_decref(training);
}
static void lora_on_queries_and_values_follows_peft(void **state) {
  (void)state;
  shared_or_skip("goldens/lora");
  check_peft_run("lora");
}
static void lora_on_all_linear_layers_follows_peft(void **state) {
  (void)state;
  shared_or_skip("goldens/lora");
  check_peft_run("lora-all");
}
static void rank_stabilised_lora_follows_peft(void **state) {
  (void)state;
  shared_or_skip("goldens/lora");
  check_peft_run("rslora");
}

static void lora_on_a_qwen2_follows_peft(void **state) {
  (void)state;
  shared_or_skip("goldens/lora");
  check_peft_run("qwen2");
}

/* ---- gradients ---- */
/* Mean loss of one recorded batch, in double from the per-token values. */
static double batch_loss(struct batch_graph *b) {
  works(etk_graph_eval(e, b->graph));
  const float *losses = etk_tensor_data(b->losses);
  const int32_t *targets = etk_tensor_data(b->targets);
  double sum = 0;
  int64_t counted = 0;
  for (int64_t i = 0; i < b->rows * b->columns; i++)
    if (targets[i] >= 0) sum += losses[i], counted++;
  return sum / (double)counted;
}

/* Central differences with two step sizes, extrapolated: the error falls with h^4, and float32 losses (noise near 1e-7) allow h = 0.02. */
static double difference(struct batch_graph *b, float *weight) {
  const float h = 0.02f, kept = *weight;
  double slope[2];
  for (int i = 0; i < 2; i++) {
    float step = i ? h / 2 : h;
    *weight = kept + step;
    double up = batch_loss(b);
    *weight = kept - step;
    double down = batch_loss(b);
    slope[i] = (up - down) / (2.0 * (double)step);
  }
  *weight = kept;
  return (4 * slope[1] - slope[0]) / 3;
}

static void check_gradients(void **state, const etk_model *model, const etk_adapter *adapter, etk_tensor *const *parameters, size_t count) {
  etk_dataset *data = tiny_data(state);
  struct batch_graph b;
  works(etk__batch_graph_init(e, &b, model, adapter, 3, 16, parameters, count, NULL));
  etk_sequence sequences[2] = {etk_dataset_at(data, 1), etk_dataset_at(data, 3)}; /* the third row is padding */
  etk__batch_graph_fill(&b, sequences, 2);
  double loss = batch_loss(&b), worst = 0;
  assert_true(fabs(loss - *(float *)etk_tensor_data(b.loss)) < 1e-5);
  for (size_t p = 0; p < count; p++) {
    assert_non_null(b.gradients[p]);
    int64_t n = etk_tensor_elements(parameters[p]), largest = 0;
    float *kept = etk_alloc((size_t)n * sizeof *kept);
    assert_non_null(kept);
    works(etk_graph_eval(e, b.graph));
    memcpy(kept, etk_tensor_data(b.gradients[p]), (size_t)n * sizeof *kept);
    for (int64_t i = 0; i < n; i++)
      if (fabsf(kept[i]) > fabsf(kept[largest])) largest = i;
    const int64_t sampled[] = {largest, (int64_t)(p * 7919 + 1) % n, (int64_t)(p * 104729 + 5) % n};
    for (int s = 0; s < 3; s++) {
      double seen = (double)kept[sampled[s]], wanted = difference(&b, (float *)etk_tensor_data(parameters[p]) + sampled[s]);
      double error = fabs(seen - wanted) / (fabs(wanted) + 0.05);
      worst = fmax(worst, error);
      if (!(error < 2e-3)) fail_msg("parameter %zu, element %lld: gradient %g, differences give %g", p, (long long)sampled[s], seen, wanted);
    }
    etk_free(kept);
  }
  print_message("%zu parameters: gradients within %.2g of finite differences\n", count, worst);
  etk__batch_graph_fini(&b);
  etk_dataset_free(data);
}

static void gradients_of_a_whole_model_agree_with_finite_differences(void **state) {
  etk_model *model = tiny_model(12);
  etk_tensor *parameters[64];
  size_t count = etk_model_weight_count(model);
  assert_true(count == 3 + 2 * 16 && count <= 64);
  for (size_t i = 0; i < count; i++) parameters[i] = etk_model_weight_at(model, i);
  check_gradients(state, model, NULL, parameters, count);
  etk_model_unref(model);
}

static void gradients_of_an_adapter_agree_with_finite_differences(void **state) {
  etk_model *model = tiny_model(12);
  etk_adapter *adapter = tiny_adapter(model, 0);
  etk_tensor *parameters[64];
  size_t count = 2 * etk_adapter_count(adapter);
  assert_true(count <= 64);
  for (size_t i = 0; i < count; i++) {
    parameters[i] = i % 2 ? etk_adapter_at(adapter, i / 2)->b : etk_adapter_at(adapter, i / 2)->a;
    for (int64_t j = 0; i % 2 && j < etk_tensor_elements(parameters[i]); j++)
      ((float *)etk_tensor_data(parameters[i]))[j] = (float)sin((double)(j + 3 * (int64_t)i)) / 4;
  }
  check_gradients(state, model, adapter, parameters, count);
  etk_adapter_free(adapter);
  etk_model_unref(model);
}

static void a_tied_embedding_gets_both_gradients(void **state) {
  etk_model_config config = tiny_config();
  config.tie_word_embeddings = true;
  etk_model *model = NULL;
  works(etk_model_new(e, &model, &config, 3));
  etk_tensor *embedding = etk_model_weight(model, "model.embed_tokens.weight");
  for (int64_t j = 0; j < etk_tensor_elements(embedding); j++) ((float *)etk_tensor_data(embedding))[j] *= 12;
  check_gradients(state, model, NULL, &embedding, 1);
  etk_model_unref(model);
}

/* ---- steps ---- */
static void training_all_weights_learns(void **state) {
  etk_model *model = tiny_model(1);
  etk_dataset *data = tiny_data(state);
  etk_trainer_options options = tiny_options();
  options.schedule.total_steps = 120;
  etk_trainer *trainer = NULL;
  works(etk_trainer_new(e, &trainer, model, NULL, &options));
  etk_step step = {0};
  double first = 0;
  for (int i = 0; i < 120; i++) {
    works(etk_trainer_step(e, trainer, data, &step));
    if (i == 0) first = step.loss;
    assert_int_equal(step.step, i);
  }
  assert_true(fabs(first - log(24)) < 0.1); /* fresh weights are close to uniform over 24 tokens */
  assert_true(step.loss < 1.0);             /* each next token but the first follows from the one before */
  etk_trainer_free(trainer);
  etk_dataset_free(data);
  etk_model_unref(model);
}

static void norms_and_biases_do_not_decay(void **state) {
  etk_model *model = tiny_model(1);
  etk_dataset *data = tiny_data(state);
  etk_trainer_options options = tiny_options();
  options.optimizer = etk_optimizer_defaults(ETK_SGD);
  options.optimizer.weight_decay = 0.5;
  options.optimizer.momentum = 0;
  options.schedule = (etk_schedule){.kind = ETK_SCHEDULE_CONSTANT, .peak = 1e-6, .total_steps = 1}; /* decay alone is visible: 5e-7 of a weight of 1 */
  float *before, *after;
  size_t count;
  etk_tensor *head = etk_model_weight(model, "lm_head.weight"), *norm = etk_model_weight(model, "model.norm.weight");
  for (int64_t i = 0; i < etk_tensor_elements(head); i++) ((float *)etk_tensor_data(head))[i] = 0;
  *(float *)etk_tensor_data(head) = 1e6f; /* decays by 0.5 */
  *(float *)etk_tensor_data(norm) = 0;    /* so that the large entry is never used */
  flatten(model, NULL, &before, &count);
  etk_trainer *trainer = NULL;
  etk_step step;
  works(etk_trainer_new(e, &trainer, model, NULL, &options));
  works(etk_trainer_step(e, trainer, data, &step));
  assert_true(fabsf(*(float *)etk_tensor_data(head) - (1e6f - 0.5f)) <= 0.0625f); /* one float step at a million */
  ((float *)etk_tensor_data(norm))[0] = 0;
  flatten(model, NULL, &after, &count);
  for (int64_t i = 1; i < etk_tensor_elements(norm); i++) assert_true(fabsf(((float *)etk_tensor_data(norm))[i] - 1) < 4e-7f);
  etk_free(before);
  etk_free(after);
  etk_trainer_free(trainer);
  etk_dataset_free(data);
  etk_model_unref(model);
}

static void accumulated_batches_equal_one_large_batch(void **state) {
  (void)state;
  shared_or_skip("goldens/lora");
  float *weights[2];
  double losses[2][5];
  size_t count = 0;
  etk_model *model = open_model(model_folder("llama-gqa-tied"));
  for (int v = 0; v < 2; v++) {
    etk_dataset *data = peft_data();
    etk_adapter *adapter = NULL;
    works(etk_adapter_open(e, &adapter, model, peft_folder("lora-all", "init"), true));
    /* SGD, because Adam's division by its second moment would blow up differences of rounding. */
    etk_trainer_options options = {.batch_size = v ? 2 : 4, .accumulation = v ? 2 : 1, .max_tokens = 96, .optimizer = etk_optimizer_defaults(ETK_SGD),
                                   .gradient_clipping = 0.5, .schedule = {.kind = ETK_SCHEDULE_CONSTANT, .peak = 0.5, .total_steps = 5}};
    etk_trainer *trainer = NULL;
    works(etk_trainer_new(e, &trainer, model, adapter, &options));
    for (int i = 0; i < 5; i++) {
      etk_step step;
      works(etk_trainer_step(e, trainer, data, &step));
      losses[v][i] = step.loss;
      assert_int_equal(step.tokens, 47);
      assert_true(fabs(step.epoch - (i + 1)) < 1e-12);
    }
    flatten(model, adapter, &weights[v], &count);
    etk_trainer_free(trainer);
    etk_adapter_free(adapter);
    etk_dataset_free(data);
  }
  double worst = 0;
  for (size_t i = 0; i < count; i++) worst = fmax(worst, fabs((double)weights[0][i] - (double)weights[1][i]));
  /* The same sums in another order: float rounding of gradients near 0.1 over five steps of 0.5. The sequences differ in length, so a mean of the two
   * batches' means would differ by far more. */
  if (!(worst < 5e-6)) fail_msg("weights differ by %g", worst);
  for (int i = 0; i < 5; i++) assert_true(fabs(losses[0][i] - losses[1][i]) < 1e-5);
  etk_free(weights[0]);
  etk_free(weights[1]);
  etk_model_unref(model);
}

static void clipping_bounds_the_step(void **state) {
  etk_model *model = tiny_model(8);
  etk_dataset *data = tiny_data(state);
  etk_trainer_options options = tiny_options();
  options.optimizer = etk_optimizer_defaults(ETK_SGD);
  options.optimizer.weight_decay = 0;
  options.optimizer.momentum = 0;
  options.gradient_clipping = 0.25;
  options.schedule = (etk_schedule){.kind = ETK_SCHEDULE_CONSTANT, .peak = 1, .total_steps = 1};
  float *before, *after;
  size_t count;
  etk_trainer *trainer = NULL;
  etk_step step;
  works(etk_trainer_new(e, &trainer, model, NULL, &options));
  flatten(model, NULL, &before, &count);
  works(etk_trainer_step(e, trainer, data, &step));
  flatten(model, NULL, &after, &count);
  double squares = 0;
  for (size_t i = 0; i < count; i++) squares += pow((double)after[i] - (double)before[i], 2);
  assert_true(step.gradient_norm > 0.3);                /* the norm before clipping is reported */
  assert_true(fabs(sqrt(squares) / 0.25 - 1) < 1e-4);   /* rate 1: the step is the clipped gradient; weights near 1 round to 6e-8 */
  etk_free(before);
  etk_free(after);
  etk_trainer_free(trainer);
  etk_dataset_free(data);
  etk_model_unref(model);
}

static void a_loss_that_is_no_number_changes_no_weight(void **state) {
  for (int whole = 0; whole < 2; whole++) {
    etk_model *model = tiny_model(1);
    etk_adapter *adapter = whole ? NULL : tiny_adapter(model, 0);
    etk_dataset *data = tiny_data(state);
    etk_trainer_options options = tiny_options();
    options.gradient_clipping = whole ? 0 : 1;
    etk_trainer *trainer = NULL;
    etk_step step;
    works(etk_trainer_new(e, &trainer, model, adapter, &options));
    works(etk_trainer_step(e, trainer, data, &step));
    ((float *)etk_tensor_data(etk_model_weight(model, "model.norm.weight")))[3] = NAN;
    float *before, *after;
    size_t count;
    flatten(model, adapter, &before, &count);
    fails_with(ETK_E_INVALID, "the loss is nan, so this step changed no weight", etk_trainer_step(e, trainer, data, &step));
    flatten(model, adapter, &after, &count);
    assert_memory_equal(before, after, count * sizeof *before);
    assert_int_equal(etk_trainer_steps(trainer), 1);
    etk_free(before);
    etk_free(after);
    etk_trainer_free(trainer);
    etk_adapter_free(adapter);
    etk_dataset_free(data);
    etk_model_unref(model);
  }
}

static void each_step_drops_other_inputs(void **state) {
  etk_model *model = tiny_model(4);
  etk_dataset *data = tiny_data(state);
  for (int dropped = 0; dropped < 2; dropped++) {
    etk_adapter *adapter = tiny_adapter(model, dropped ? 0.3 : 0);
    for (size_t m = 0; m < etk_adapter_count(adapter); m++) {
      etk_tensor *b = etk_adapter_at(adapter, m)->b;
      for (int64_t j = 0; j < etk_tensor_elements(b); j++) ((float *)etk_tensor_data(b))[j] = (float)sin((double)j);
    }
    etk_trainer_options options = tiny_options();
    options.batch_size = 7; /* all of the data, and a rate that moves nothing: only dropout can change the loss */
    options.optimizer = etk_optimizer_defaults(ETK_SGD);
    options.schedule = (etk_schedule){.kind = ETK_SCHEDULE_CONSTANT, .peak = 1e-30, .total_steps = 9};
    etk_trainer *trainer = NULL;
    works(etk_trainer_new(e, &trainer, model, adapter, &options));
    double losses[4];
    for (int i = 0; i < 4; i++) {
      etk_step step;
      works(etk_trainer_step(e, trainer, data, &step));
      losses[i] = step.loss;
    }
    for (int i = 1; i < 4; i++) /* without dropout the order of the rows alone differs */
      if ((fabs(losses[i] - losses[0]) > 1e-3) != (dropped == 1)) fail_msg("dropout %d: losses %g and %g", dropped, losses[0], losses[i]);
    etk_trainer_free(trainer);
    etk_adapter_free(adapter);
  }
  etk_dataset_free(data);
  etk_model_unref(model);
}

static void a_step_allocates_nothing_once_its_graph_is_recorded(void **state) {
  (void)state;
  shared_or_skip("goldens/lora");
  etk_model *model = open_model(model_folder("llama-gqa-tied"));
  etk_dataset *data = peft_data();
  etk_adapter *adapter = tiny_adapter(model, 0.1);
  etk_trainer_options options = tiny_options();
  options.batch_size = 4;
  etk_trainer *trainer = NULL;
  etk_step step;
  works(etk_trainer_new(e, &trainer, model, adapter, &options));
  for (int i = 0; i < 2; i++) works(etk_trainer_step(e, trainer, data, &step));
  uint64_t before = etk_alloc_get_stats().calls;
  for (int i = 0; i < 6; i++) works(etk_trainer_step(e, trainer, data, &step));
  uint64_t made = etk_alloc_get_stats().calls - before;
  if (made) fail_msg("%llu allocations in 6 steps", (unsigned long long)made);
  etk_trainer_free(trainer);
  etk_adapter_free(adapter);
  etk_dataset_free(data);
  etk_model_unref(model);
}

static void memory_is_planned_before_the_first_step(void **state) {
  etk_model *model = tiny_model(1);
  etk_dataset *data = tiny_data(state);
  etk_trainer_options options = tiny_options();
  etk_trainer *trainer = NULL;
  size_t bytes = 0;
  works(etk_trainer_new(e, &trainer, model, NULL, &options));
  works(etk_trainer_plan(e, trainer, &bytes));
  /* At least the gradients and two moments of every weight, and for a model this small not a hundred times that. */
  size_t weights = (size_t)etk_model_parameters(model) * 4;
  assert_true(bytes >= 3 * weights && bytes < 300 * weights);
  etk_trainer_free(trainer);
  options.memory_limit = 20000;
  options.batch_size = 64;
  works(etk_trainer_new(e, &trainer, model, NULL, &options));
  fails_with(ETK_E_NO_MEMORY, "try --", etk_trainer_plan(e, trainer, &bytes));
  etk_step step;
  fails_with(ETK_E_NO_MEMORY, "is available", etk_trainer_step(e, trainer, data, &step));
  assert_int_equal(etk_trainer_steps(trainer), 0);
  etk_trainer_free(trainer);
  etk_dataset_free(data);
  etk_model_unref(model);
}

static void frozen_weights_cannot_be_trained(void **state) {
  (void)state;
  shared_or_skip("goldens/lora");
  etk_model *model = open_model(model_folder("llama-gqa-tied"));
  etk_adapter *adapter = NULL;
  etk_trainer *trainer = NULL;
  etk_trainer_options options = tiny_options();
  fails_with(ETK_E_INVALID, "model.embed_tokens.weight is not trainable", etk_trainer_new(e, &trainer, model, NULL, &options));
  works(etk_adapter_open(e, &adapter, model, peft_folder("lora", "init"), false));
  fails_with(ETK_E_INVALID, "lora_A is not trainable", etk_trainer_new(e, &trainer, model, adapter, &options));
  options.batch_size = 0;
  fails_with(ETK_E_INVALID, "batch size is 0", etk_trainer_new(e, &trainer, model, adapter, &options));
  assert_null(trainer);
  etk_adapter_free(adapter);
  etk_model_unref(model);
}

/* ---- checkpoints ---- */
enum { STEPS = 10, HALF = 5 };
struct course {
  etk_model *model;
  etk_adapter *adapter;
  etk_trainer *trainer;
  etk_dataset *data;
};
static struct course begin(void **state, bool whole, const etk_trainer_options *options, const char *from) {
  struct course c = {.data = tiny_data(state)};
  if (whole) c.model = from ? open_trainable(from) : tiny_model(2);
  else {
    c.model = tiny_model(2);
    if (from) {
      works(etk_adapter_open(e, &c.adapter, c.model, from, true));
      etk_adapter_set_dropout(c.adapter, 0.2);
    } else c.adapter = tiny_adapter(c.model, 0.2);
  }
  works(etk_trainer_new(e, &c.trainer, c.model, c.adapter, options));
  if (from) works(etk_trainer_load(e, c.trainer, from));
  return c;
}
static void run_steps(struct course *c, int count, double *losses) {
  for (int i = 0; i < count; i++) {
    etk_step step;
    works(etk_trainer_step(e, c->trainer, c->data, &step));
    losses[i] = step.loss;
  }
}
static void save(const struct course *c, const char *folder) {
  if (c->adapter) works(etk_adapter_save(e, c->adapter, folder, NULL, 0));
  else works(etk_model_save(e, c->model, folder, ETK_F32, NULL, 0));
  works(etk_trainer_save(e, c->trainer, folder));
}
static void end(struct course *c) {
  etk_trainer_free(c->trainer);
  etk_adapter_free(c->adapter);
  etk_model_unref(c->model);
  etk_dataset_free(c->data);
}

static void check_resume(void **state, bool whole, etk_trainer_options options) {
  double straight[STEPS], halves[STEPS];
  float *wanted, *seen;
  size_t count, seen_count;
  struct course c = begin(state, whole, &options, NULL);
  run_steps(&c, STEPS, straight);
  flatten(c.model, c.adapter, &wanted, &count);
  end(&c);
  char *folder = fresh_folder(state, "checkpoint");
  c = begin(state, whole, &options, NULL);
  run_steps(&c, HALF, halves);
  save(&c, folder);
  end(&c);
  c = begin(state, whole, &options, folder);
  assert_int_equal(etk_trainer_steps(c.trainer), HALF);
  run_steps(&c, STEPS - HALF, halves + HALF);
  flatten(c.model, c.adapter, &seen, &seen_count);
  end(&c);
  assert_int_equal(count, seen_count);
  for (int i = 0; i < STEPS; i++)
    if (straight[i] != halves[i]) fail_msg("step %d: loss %.17g straight through, %.17g with a break", i, straight[i], halves[i]);
  assert_memory_equal(wanted, seen, count * sizeof *wanted);
  etk_free(wanted);
  etk_free(seen);
}

static void a_resumed_adapter_run_has_the_same_bits(void **state) { check_resume(state, false, tiny_options()); }
static void a_resumed_whole_model_run_has_the_same_bits(void **state) {
  etk_trainer_options options = tiny_options();
  options.accumulation = 2;
  check_resume(state, true, options);
}
static void a_resumed_run_with_momentum_has_the_same_bits(void **state) {
  etk_trainer_options options = tiny_options();
  options.optimizer = etk_optimizer_defaults(ETK_SGD);
  options.optimizer.momentum = 0.9;
  options.schedule.kind = ETK_SCHEDULE_LINEAR;
  check_resume(state, true, options);
}

static void two_runs_of_one_seed_have_the_same_bits_and_other_seeds_do_not(void **state) {
  double losses[3][STEPS];
  for (int v = 0; v < 3; v++) {
    etk_trainer_options options = tiny_options();
    if (v == 2) options.seed++;
    struct course c = begin(state, false, &options, NULL);
    run_steps(&c, STEPS, losses[v]);
    end(&c);
  }
  assert_memory_equal(losses[0], losses[1], sizeof losses[0]);
  assert_memory_not_equal(losses[0], losses[2], sizeof losses[0]);
}

static void an_option_that_changed_since_the_checkpoint_is_named(void **state) {
  etk_trainer_options options = tiny_options();
  double losses[STEPS];
  char *folder = fresh_folder(state, "changed");
  struct course c = begin(state, false, &options, NULL);
  run_steps(&c, 2, losses);
  save(&c, folder);
  const char *const names[] = {"batch_size: the run began with 2, now it is 3", "gradient accumulation steps: the run began with 1, now it is 4",
                               "decide): the run began with 16, now it is 32", "seed: the run began with 17, now it is 18",
                               "the optimizer: the run began with adamw, now it is sgd", "weight_decay: the run began with 0.01, now it is 0.02",
                               "the learning rate schedule: the run began with cosine, now it is linear",
                                   "learning_rate: the run began with 0.01, now it is 0.02",
                               "warmup_steps: the run began with 2, now it is 1",
                                   "optimizer steps in all (epochs or iters, the batch size and the number of sequences decide): the run began with 10, now it is 11",
                               "gradient_clipping: the run began with 1, now it is 2"};
  for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
    etk_trainer_options other = options;
    switch (i) {
    case 0: other.batch_size = 3; break;
    case 1: other.accumulation = 4; break;
    case 2: other.max_tokens = 32; break;
    case 3: other.seed = 18; break;
    case 4: other.optimizer.kind = ETK_SGD; break;
    case 5: other.optimizer.weight_decay = 0.02; break;
    case 6: other.schedule.kind = ETK_SCHEDULE_LINEAR; break;
    case 7: other.schedule.peak = 0.02; break;
    case 8: other.schedule.warmup_steps = 1; break;
    case 9: other.schedule.total_steps = 11; break;
    default: other.gradient_clipping = 2;
    }
    etk_trainer *trainer = NULL;
    works(etk_trainer_new(e, &trainer, c.model, c.adapter, &other));
    fails_with(ETK_E_USAGE, names[i], etk_trainer_load(e, trainer, folder));
    assert_int_equal(etk_trainer_steps(trainer), 0);
    etk_trainer_free(trainer);
  }
  end(&c);
}

static void damaged_and_foreign_checkpoints_are_named(void **state) {
  etk_trainer_options options = tiny_options();
  double losses[STEPS];
  char *folder = fresh_folder(state, "foreign"), *state_path = path_of("%s/trainer_state.json", folder), *moments = path_of("%s/optimizer.safetensors", folder);
  struct course c = begin(state, false, &options, NULL);
  run_steps(&c, 1, losses);
  save(&c, folder);
  /* another rank */
  const char *const targets[] = {"all-linear"};
  etk_lora_options lora = {.rank = 3, .alpha = 4, .target_modules = targets, .target_count = 1};
  etk_adapter *adapter = NULL;
  etk_trainer *trainer = NULL;
  works(etk_adapter_new(e, &adapter, c.model, &lora, 1));
  works(etk_trainer_new(e, &trainer, c.model, adapter, &options));
  fails_with(ETK_E_SHAPE, "q_proj.lora_A.exp_avg", etk_trainer_load(e, trainer, folder));
  etk_trainer_free(trainer);
  etk_adapter_free(adapter);
  /* whole model instead of adapter */
  works(etk_trainer_new(e, &trainer, c.model, NULL, &options));
  fails_with(ETK_E_FORMAT, "belongs to another model or optimizer", etk_trainer_load(e, trainer, folder));
  etk_trainer_free(trainer);
  /* other data */
  char *short_path = path_of("%s/short.jsonl", (const char *)*state);
  write_text(short_path, "{\"ids\":[1,2,3]}\n");
  etk_dataset *data = open_data(short_path, 24, 64);
  works(etk_trainer_new(e, &trainer, c.model, c.adapter, &options));
  works(etk_trainer_load(e, trainer, folder));
  etk_step step;
  fails_with(ETK_E_INVALID, "has 1 sequences, the run to resume had 7", etk_trainer_step(e, trainer, data, &step));
  etk_dataset_free(data);
  /* damage */
  copy_file(moments, path_of("%s/whole", folder), 0);
  copy_file(moments, moments, -4);
  fails_with(ETK_E_FORMAT, "optimizer.safetensors", etk_trainer_load(e, trainer, folder));
  copy_file(path_of("%s/whole", folder), moments, 0);
  const char *const broken[] = {"{", "[]", "{\"step\":-1,\"sequences\":7,\"course\":{}}", "{\"step\":1.5,\"sequences\":7}",
                                "{\"step\":1,\"sequences\":7,\"course\":{}}"};
  for (size_t i = 0; i < sizeof broken / sizeof *broken; i++) {
    write_text(state_path, broken[i]);
    fails_with(ETK_E_FORMAT, "trainer_state.json", etk_trainer_load(e, trainer, folder));
  }
  works(etk_fs_remove_tree(e, state_path));
  fails_with(ETK_E_NOT_FOUND, "while resuming from", etk_trainer_load(e, trainer, folder));
  etk_trainer_free(trainer);
  end(&c);
}

/* ---- evaluation ---- */
struct tokens {
  int32_t ids[64];
  double logprobs[64];
  size_t count, stop_at;
};
static bool take_token(void *user, int32_t id, double logprob) {
  struct tokens *t = user;
  if (t->count == t->stop_at) return false;
  t->ids[t->count] = id;
  t->logprobs[t->count++] = logprob;
  return true;
}
static bool stop_at_once(void *user, int64_t done, int64_t total) {
  (void)user;
  assert_true(done == 1 && total == 2);
  return false;
}

static void evaluation_scores_each_token_as_transformers_do(void **state) {
  shared_or_skip("goldens/models");
  etk_model *model = open_model(model_folder("llama"));
  json_t *reference = load_json(path_of("%s/reference.json", model_folder("llama")));
  char *ids = json_dumps(json_object_get(reference, "ids"), JSON_COMPACT), *path = path_of("%s/reference.jsonl", (const char *)*state);
  FILE *file = fopen(path, "w");
  fprintf(file, "{\"ids\":%s}\n{\"ids\":[1,7]}\n{\"ids\":%s}\n", ids, ids);
  fclose(file);
  free(ids);
  etk_dataset *data = open_data(path, 384, 96);
  for (int64_t batch = 1; batch <= 4; batch++) {
    struct tokens t = {.stop_at = 64};
    etk_evaluate_options options = {.batch_size = batch, .token = take_token, .user = &t};
    etk_evaluation out;
    works(etk_evaluate(e, &out, model, NULL, data, &options));
    assert_int_equal(out.tokens, 39);
    assert_int_equal(out.sequences, 3);
    assert_int_equal(t.count, 39);
    double sum = 0;
    for (size_t i = 0; i < 39; i++) {
      const json_t *logprobs = json_object_get(reference, "logprobs");
      double wanted = json_real_at(logprobs, i < 19 ? i : i == 19 ? 0 : i - 20);
      if (!(fabs(t.logprobs[i] - wanted) < 1e-4)) fail_msg("token %zu: %g, wanted %g", i, t.logprobs[i], wanted); /* what the issue asks for */
      sum += t.logprobs[i];
    }
    assert_true(fabs(out.loss + sum / 39) < 1e-9);
    assert_true(fabs(out.perplexity - exp(out.loss)) < 1e-9);
  }
  struct tokens t = {.stop_at = 5};
  etk_evaluate_options options = {.batch_size = 2, .token = take_token, .user = &t};
  etk_evaluation out;
  fails_with(ETK_E_IO, "per-token", etk_evaluate(e, &out, model, NULL, data, &options));
  options = (etk_evaluate_options){.batch_size = 2, .progress = stop_at_once};
  fails_with(ETK_E_CANCELLED, "1 of 2", etk_evaluate(e, &out, model, NULL, data, &options));
  options = (etk_evaluate_options){.batch_size = 2, .max_batches = 1};
  works(etk_evaluate(e, &out, model, NULL, data, &options));
  assert_int_equal(out.tokens, 20);
  etk_dataset_free(data);
  write_text(path, "{\"ids\":[1]}\n");
  etk_dataset_options lone = {.vocabulary_size = 384, .max_tokens = 96};
  fails_with(ETK_E_FORMAT, "two tokens that a prediction takes", etk_dataset_open(e, &data, path, &lone));
  json_decref(reference);
  etk_model_unref(model);
}

/* Sequences of 11 and 5 tokens, of which 10 and 4 are positions; both stand in batches of 16 columns. */
static etk_dataset *two_lengths(void **state, int lengths) {
  char *path = path_of("%s/lengths.jsonl", (const char *)*state);
  write_text(path, lengths == 11  ? "{\"ids\":[1,5,7,9,11,13,15,17,19,21,3]}\n"
                   : lengths == 5 ? "{\"ids\":[1,6,8,10,12]}\n"
                                  : "{\"ids\":[1,5,7,9,11,13,15,17,19,21,3]}\n{\"ids\":[1,6,8,10,12]}\n");
  return open_data(path, 24, 64);
}
static etk_model *longrope_model(int original) {
  etk_model_config config = tiny_config();
  snprintf(config.architecture, sizeof config.architecture, "phi3");
  config.attention_bias = config.mlp_bias = false;
  config.rope_scaling = ETK_ROPE_LONGROPE, config.rope_factor = 4, config.rope_attention_factor = 1.4, config.rope_original_positions = original;
  config.rope_short_factors[0] = config.rope_short_factors[1] = 1, config.rope_long_factors[0] = config.rope_long_factors[1] = 3;
  etk_model *model = NULL;
  works(etk_model_new(e, &model, &config, 3));
  for (size_t i = 0; i < etk_model_weight_count(model); i++) {
    etk_tensor *t = etk_model_weight_at(model, i);
    for (int64_t j = 0; etk_tensor_shape(t)->rank == 2 && j < etk_tensor_elements(t); j++) ((float *)etk_tensor_data(t))[j] *= 20;
  }
  return model;
}
static double longrope_loss(void **state, int original, int lengths) {
  etk_model *model = longrope_model(original);
  etk_dataset *data = two_lengths(state, lengths);
  etk_evaluation out;
  works(etk_evaluate(e, &out, model, NULL, data, &(etk_evaluate_options){.batch_size = 2}));
  etk_dataset_free(data);
  etk_model_unref(model);
  return out.loss * (double)out.tokens;
}
static void padding_does_not_bring_in_longropes_long_factors(void **state) {
  double short_11 = longrope_loss(state, 60, 11), long_11 = longrope_loss(state, 4, 11), short_5 = longrope_loss(state, 60, 5);
  if (fabs(short_11 - long_11) < 1e-2) fail_msg("the factors change nothing: %g and %g", short_11, long_11);
  assert_true(longrope_loss(state, 10, 11) == short_11);
  assert_true(longrope_loss(state, 9, 11) == long_11);
  assert_true(longrope_loss(state, 4, 5) == short_5);
  /* each row by its own length; sums of other products differ by a few roundings of float */
  assert_true(fabs(longrope_loss(state, 9, 16) - (long_11 + short_5)) < 1e-4);
  double losses[2];
  for (int i = 0; i < 2; i++) { /* a training step sees the same */
    etk_model *model = longrope_model(i ? 60 : 10);
    etk_dataset *data = two_lengths(state, 11);
    etk_adapter *adapter = tiny_adapter(model, 0);
    etk_trainer_options options = tiny_options();
    etk_trainer *trainer = NULL;
    etk_step step;
    works(etk_trainer_new(e, &trainer, model, adapter, &options));
    works(etk_trainer_step(e, trainer, data, &step));
    losses[i] = step.loss;
    etk_trainer_free(trainer);
    etk_adapter_free(adapter);
    etk_dataset_free(data);
    etk_model_unref(model);
  }
  assert_true(losses[0] == losses[1]);
}

static void evaluating_broken_weights_is_an_error(void **state) {
  etk_model *model = tiny_model(1);
  etk_dataset *data = tiny_data(state);
  ((float *)etk_tensor_data(etk_model_weight(model, "model.norm.weight")))[3] = NAN;
  etk_evaluate_options options = {.batch_size = 2};
  etk_evaluation out;
  fails_with(ETK_E_INVALID, "infinities or NaN", etk_evaluate(e, &out, model, NULL, data, &options));
  etk_dataset_free(data);
  etk_model_unref(model);
}

static void training_survives_every_failing_allocation(void **state) {
  etk_model *model = tiny_model(1);
  etk_dataset *data = tiny_data(state);
  etk_adapter *adapter = tiny_adapter(model, 0.1);
  etk_trainer_options options = tiny_options();
  options.accumulation = 2;
  char *folder = fresh_folder(state, "hostile");
  etk_trainer *first = NULL; /* weights make their products at their first use, and do without where there is no memory */
  etk_step warm;
  works(etk_trainer_new(e, &first, model, adapter, &options));
  works(etk_trainer_step(e, first, data, &warm));
  etk_trainer_free(first);
  starvation s = {.dense = 200, .opens = true}; /* most of the later ones are nodes of one graph after another */
  while (starve(&s)) {
    etk_trainer *trainer = NULL;
    etk_error error = ETK_ERROR_INIT;
    etk_step step;
    etk_status status = etk_trainer_new(&error, &trainer, model, adapter, &options);
    if (!status) status = etk_trainer_step(&error, trainer, data, &step);
    if (!status) status = etk_trainer_save(&error, trainer, folder);
    if (!status) status = etk_trainer_load(&error, trainer, folder);
    etk_trainer_free(trainer);
    starved(&s, status, &error);
  }
  assert_true(s.nth > 50);
  etk_adapter_free(adapter);
  etk_dataset_free(data);
  etk_model_unref(model);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(lora_on_queries_and_values_follows_peft),
      cmocka_unit_test(lora_on_all_linear_layers_follows_peft),
      cmocka_unit_test(rank_stabilised_lora_follows_peft),
      cmocka_unit_test(lora_on_a_qwen2_follows_peft),
      cmocka_unit_test(gradients_of_a_whole_model_agree_with_finite_differences),
      cmocka_unit_test(gradients_of_an_adapter_agree_with_finite_differences),
      cmocka_unit_test(a_tied_embedding_gets_both_gradients),
      cmocka_unit_test(training_all_weights_learns),
      cmocka_unit_test(norms_and_biases_do_not_decay),
      cmocka_unit_test(accumulated_batches_equal_one_large_batch),
      cmocka_unit_test(clipping_bounds_the_step),
      cmocka_unit_test(a_loss_that_is_no_number_changes_no_weight),
      cmocka_unit_test(each_step_drops_other_inputs),
      cmocka_unit_test(a_step_allocates_nothing_once_its_graph_is_recorded),
      cmocka_unit_test(memory_is_planned_before_the_first_step),
      cmocka_unit_test(frozen_weights_cannot_be_trained),
      cmocka_unit_test(a_resumed_adapter_run_has_the_same_bits),
      cmocka_unit_test(a_resumed_whole_model_run_has_the_same_bits),
      cmocka_unit_test(a_resumed_run_with_momentum_has_the_same_bits),
      cmocka_unit_test(two_runs_of_one_seed_have_the_same_bits_and_other_seeds_do_not),
      cmocka_unit_test(an_option_that_changed_since_the_checkpoint_is_named),
      cmocka_unit_test(damaged_and_foreign_checkpoints_are_named),
      cmocka_unit_test(evaluation_scores_each_token_as_transformers_do),
      cmocka_unit_test(padding_does_not_bring_in_longropes_long_factors),
      cmocka_unit_test(evaluating_broken_weights_is_an_error),
      cmocka_unit_test(training_survives_every_failing_allocation),
  };
  return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
