/* What saves memory and time in training and must not change what is learnt: blocks computed again, short sequences packed into rows. */
#include "ml_golden.h"

#include "ml/tensor/internal.h"
#include "ml/train/internal.h"
#include <etk/trainer.h>

enum { VOCABULARY = 384, SEQUENCES = 9, COLUMNS = 32 };
static const int lengths[SEQUENCES] = {16, 9, 4, 29, 2, 7, 11, 33, 5};

static etk_dataset *short_data(void **state) {
  char *path = path_of("%s/short.jsonl", (const char *)*state);
  FILE *file = fopen(path, "w");
  assert_non_null(file);
  for (int s = 0; s < SEQUENCES; s++) {
    fprintf(file, "{\"ids\":[1");
    for (int i = 1; i < lengths[s]; i++) fprintf(file, ",%d", 3 + (s * 31 + i * 17) % 250);
    fprintf(file, "]}\n");
  }
  fclose(file);
  etk_dataset_options options = {.vocabulary_size = VOCABULARY, .max_tokens = 64};
  etk_dataset *data = NULL;
  works(etk_dataset_open(e, &data, path, &options));
  return data;
}

static const char *const models[] = {"llama-gqa-tied", "mistral", "gemma", "gpt2", "gpt-neox", "qwen2", "mixtral", "qwen2-moe"};
enum { MODELS = sizeof models / sizeof *models };
static etk_model *golden(int index, bool trainable) {
  char *path = path_of("%s/goldens/models/%s", shared("."), models[index]);
  return trainable ? open_trainable(path) : open_model(path);
}
static etk_adapter *adapter_of(const etk_model *model, double dropout) {
  static const char *const targets[] = {"all-linear"};
  etk_lora_options options = {.rank = 2, .alpha = 4, .dropout = dropout, .target_modules = targets, .target_count = 1};
  etk_adapter *adapter = NULL;
  works(etk_adapter_new(e, &adapter, model, &options, 5));
  for (size_t m = 0; m < etk_adapter_count(adapter); m++) { /* B begins as zeros: nothing would reach A */
    float *b = etk_tensor_data(etk_adapter_at(adapter, m)->b);
    for (int64_t j = 0; j < etk_tensor_elements(etk_adapter_at(adapter, m)->b); j++) b[j] = (float)sin((double)(j + 3 * (int64_t)m)) / 16;
  }
  return adapter;
}
static size_t parameters_of(const etk_model *model, const etk_adapter *adapter, etk_tensor **out) {
  size_t count = adapter ? 2 * etk_adapter_count(adapter) : etk_model_weight_count(model);
  assert_true(count <= 256);
  for (size_t i = 0; i < count; i++)
    out[i] = !adapter ? etk_model_weight_at(model, i) : i % 2 ? etk_adapter_at(adapter, i / 2)->b : etk_adapter_at(adapter, i / 2)->a;
  return count;
}

/* ---- blocks computed again ---- */

static etk_trainer_options options_of(bool checkpointing) {
  etk_trainer_options o = {.batch_size = 4, .max_tokens = COLUMNS, .optimizer = etk_optimizer_defaults(ETK_ADAMW), .gradient_clipping = 1, .seed = 17, .dropout = 0.1,
                           .checkpointing = checkpointing, .schedule = {.kind = ETK_SCHEDULE_CONSTANT, .peak = 1e-3, .total_steps = 4}};
  return o;
}

static void check_same_bits(void **state, int index, bool whole) {
  enum { STEPS = 4 };
  double losses[2][STEPS], norms[2][STEPS];
  size_t planned[2];
  etk_dataset *data = short_data(state);
  etk_tensor *parameters[2][256];
  etk_model *model[2];
  etk_adapter *adapter[2];
  size_t count = 0;
  for (int v = 0; v < 2; v++) {
    model[v] = golden(index, whole);
    adapter[v] = whole ? NULL : adapter_of(model[v], 0.2);
    count = parameters_of(model[v], adapter[v], parameters[v]);
    etk_trainer_options options = options_of(v);
    etk_trainer *trainer = NULL;
    works(etk_trainer_new(e, &trainer, model[v], adapter[v], &options));
    works(etk_trainer_plan(e, trainer, &planned[v]));
    for (int i = 0; i < STEPS; i++) {
      etk_step step;
      works(etk_trainer_step(e, trainer, data, &step));
      losses[v][i] = step.loss;
      norms[v][i] = step.gradient_norm;
    }
    etk_trainer_free(trainer);
  }
  for (int i = 0; i < STEPS; i++)
    if (losses[0][i] != losses[1][i] || norms[0][i] != norms[1][i])
      fail_msg("%s: step %d: loss %.17g and %.17g, norm %.17g and %.17g", models[index], i, losses[0][i], losses[1][i], norms[0][i], norms[1][i]);
  for (size_t i = 0; i < count; i++) assert_memory_equal(etk_tensor_data(parameters[0][i]), etk_tensor_data(parameters[1][i]), etk_tensor_bytes(parameters[0][i]));
  print_message("%s, %s: %zu KB planned, %zu with blocks computed again\n", models[index], whole ? "all weights" : "adapter", planned[0] >> 10, planned[1] >> 10);
  assert_true(planned[1] < planned[0]);
  for (int v = 0; v < 2; v++) {
    etk_adapter_free(adapter[v]);
    etk_model_unref(model[v]);
  }
  etk_dataset_free(data);
}
static void blocks_computed_again_give_the_same_bits(void **state) {
  shared_or_skip("goldens/models");
  for (int i = 0; i < MODELS; i++) check_same_bits(state, i, false);
  check_same_bits(state, 0, true);
  check_same_bits(state, 3, true);
}

/* A deep chain: what is kept without parts grows with its depth, with them only one tensor a part does. */
static void parts_keep_what_enters_them(void **state) {
  (void)state;
  enum { PARTS = 16, N = 4096 };
  size_t bytes[2];
  float gradients[2][N];
  for (int v = 0; v < 2; v++) {
    etk_graph *g = etk_graph_new();
    etk_tensor *x = NULL, *gradient = NULL;
    works(etk_tensor_new(e, &x, ETK_F32, etk_shape_of(1, N)));
    etk_tensor_set_trainable(x, true);
    for (int i = 0; i < N; i++) ((float *)etk_tensor_data(x))[i] = (float)i / N;
    etk_tensor *y = etk_scale(g, x, 1);
    for (int part = 0; part < PARTS; part++) {
      if (v) etk_graph_recompute(g, true);
      for (int i = 0; i < 4; i++) y = etk_sigmoid(g, etk_mul(g, y, y));
    }
    etk_graph_recompute(g, false);
    etk_tensor *loss = etk_sum(g, etk_mul(g, y, y));
    works(etk_graph_backward(e, g, loss, &x, 1, &gradient));
    etk_plan plan;
    works(etk_graph_plan(e, g, &plan));
    bytes[v] = plan.step_bytes;
    etk__graph_set_debug_poison(g, true);
    works(etk_graph_eval(e, g));
    memcpy(gradients[v], etk_tensor_data(gradient), sizeof gradients[v]);
    etk_graph_free(g);
    etk_tensor_unref(x);
  }
  assert_memory_equal(gradients[0], gradients[1], sizeof gradients[0]);
  assert_true(bytes[0] >= 4 * PARTS * N * sizeof(float));    /* the result of each of four layers a part */
  assert_true(bytes[1] <= (PARTS + 16) * N * sizeof(float)); /* one a part, and one part's own */
}

/* ---- packing ---- */

static void every_sequence_is_in_one_row_and_rows_are_full(void **state) {
  etk_dataset *data = short_data(state);
  etk_packing *packing = NULL, *again = NULL, *other = NULL;
  works(etk_packing_new(e, &packing, data, COLUMNS, 3));
  works(etk_packing_new(e, &again, data, COLUMNS, 3));
  works(etk_packing_new(e, &other, data, 6, 4));
  int seen[SEQUENCES] = {0}, inputs = 0;
  for (int s = 0; s < SEQUENCES; s++) inputs += lengths[s] - 1;
  for (size_t row = 0; row < etk_packing_rows(packing); row++) {
    size_t count, same;
    int used = 0;
    const size_t *members = etk_packing_row(packing, row, &count), *twin = etk_packing_row(again, row, &same);
    assert_int_equal(count, same);
    assert_memory_equal(members, twin, count * sizeof *members);
    for (size_t i = 0; i < count; i++) {
      seen[members[i]]++;
      used += lengths[members[i]] - 1;
    }
    assert_true(count >= 1 && used <= COLUMNS);
  }
  for (int s = 0; s < SEQUENCES; s++) assert_int_equal(seen[s], 1);
  assert_int_equal(etk_packing_rows(packing), (inputs + COLUMNS - 1) / COLUMNS); /* 107 inputs: 32, 28+4, 15+10+6, 8+3+1: none is wasted */
  size_t count;
  assert_int_equal(etk_packing_rows(other), 8); /* six are as long as a row or longer, 4+1 and 3 */
  etk_packing_row(other, 0, &count);
  assert_int_equal(count, 1);
  etk_packing_free(again);
  fails_with(ETK_E_INVALID, "packing: rows of 0 tokens", etk_packing_new(e, &again, data, 0, 1));
  assert_null(again);
  etk_packing_free(packing);
  etk_packing_free(other);
  etk_dataset_free(data);
}

struct batch {
  struct batch_graph graph;
  double loss;
};
static void open_batch(struct batch *b, const etk_model *model, const etk_adapter *adapter, int64_t rows, int64_t columns, bool packed) {
  static etk_tensor *parameters[256];
  const struct batch_options options = {.packed = packed};
  size_t count = adapter ? parameters_of(model, adapter, parameters) : 0;
  works(etk__batch_graph_init(e, &b->graph, model, adapter, rows, columns, adapter ? parameters : NULL, count, &options));
}

/* Loss of each token by its sequence and place, from a row of its own or from a packed one. */
static void losses_of(float out[SEQUENCES][64], const struct batch_graph *b, int64_t row, int64_t at, size_t sequence) {
  memcpy(out[sequence], (float *)etk_tensor_data(b->losses) + row * b->columns + at, (size_t)(lengths[sequence] - 1) * sizeof(float));
}

/* packed: losses of all tokens and the gradients of the mean over all rows; columns: of a row */
static void run_packed(float out[SEQUENCES][64], struct batch_graph *b, const etk_dataset *data, const etk_packing *packing) {
  for (int64_t row = 0; row < b->rows; row++) {
    size_t count;
    const size_t *members = etk_packing_row(packing, (size_t)row, &count);
    etk__batch_graph_pack(b, row, data, members, count);
  }
  works(etk_graph_eval(e, b->graph));
  for (int64_t row = 0; row < b->rows; row++) {
    size_t count, at = 0;
    const size_t *members = etk_packing_row(packing, (size_t)row, &count);
    for (size_t i = 0; i < count; at += (size_t)lengths[members[i++]] - 1) losses_of(out, b, row, (int64_t)at, members[i]);
  }
}

static double largest_difference(const float *a, const float *b, int64_t count, double *largest) {
  double worst = 0;
  for (int64_t i = 0; i < count; i++) {
    worst = fmax(worst, fabs((double)a[i] - (double)b[i]));
    *largest = fmax(*largest, fabs((double)b[i]));
  }
  return isfinite(worst) ? worst : INFINITY;
}

/* Losses and gradients of the same sums in another order: 1e-5 of the largest value is some tens of roundings; a token that sees a neighbour's is off by far more. */
static void check_packed(void **state, int index) {
  etk_dataset *data = short_data(state);
  etk_model *model = golden(index, false);
  etk_adapter *adapter = adapter_of(model, 0);
  etk_packing *packing = NULL;
  works(etk_packing_new(e, &packing, data, COLUMNS, 3));
  static float apart[SEQUENCES][64], together[SEQUENCES][64];
  struct batch a, p;
  open_batch(&a, model, adapter, SEQUENCES, COLUMNS, false);
  open_batch(&p, model, adapter, (int64_t)etk_packing_rows(packing), COLUMNS, true);
  etk_sequence sequences[SEQUENCES];
  for (size_t i = 0; i < SEQUENCES; i++) sequences[i] = etk_dataset_at(data, i);
  etk__batch_graph_fill(&a.graph, sequences, SEQUENCES);
  works(etk_graph_eval(e, a.graph.graph));
  for (size_t i = 0; i < SEQUENCES; i++) losses_of(apart, &a.graph, (int64_t)i, 0, i);
  run_packed(together, &p.graph, data, packing);
  double largest = 0, worst = 0, worst_gradient = 0, largest_gradient = 0;
  for (int s = 0; s < SEQUENCES; s++) worst = fmax(worst, largest_difference(together[s], apart[s], lengths[s] - 1, &largest));
  for (size_t i = 0; i < 2 * etk_adapter_count(adapter); i++) {
    if (!a.graph.gradients[i]) continue;
    worst_gradient = fmax(worst_gradient, largest_difference(etk_tensor_data(p.graph.gradients[i]), etk_tensor_data(a.graph.gradients[i]),
                                                             etk_tensor_elements(a.graph.gradients[i]), &largest_gradient));
  }
  print_message("%s: packed losses within %.2g of %.2g, gradients within %.2g of %.2g\n", models[index], worst, largest, worst_gradient, largest_gradient);
  assert_true(largest > 1 && worst <= 1e-5 * largest);
  assert_true(largest_gradient > 0 && worst_gradient <= 1e-5 * largest_gradient);
  etk__batch_graph_fini(&a.graph);
  etk__batch_graph_fini(&p.graph);
  etk_packing_free(packing);
  etk_adapter_free(adapter);
  etk_model_unref(model);
  etk_dataset_free(data);
}
static void packed_rows_have_the_losses_and_gradients_of_single_ones(void **state) {
  shared_or_skip("goldens/models");
  for (int i = 0; i < MODELS; i++) check_packed(state, i);
}

static void a_neighbour_in_the_row_changes_no_bit(void **state) {
  shared_or_skip("goldens/models");
  etk_dataset *data = short_data(state);
  for (int index = 0; index < MODELS; index++) {
    etk_model *model = golden(index, false);
    static float first[64], second[64];
    struct batch b;
    open_batch(&b, model, NULL, 1, COLUMNS, true);
    for (int v = 0; v < 2; v++) {
      const size_t members[] = {0, 1};
      etk__batch_graph_pack(&b.graph, 0, data, members, 2);
      int32_t *ids = etk_tensor_data(b.graph.ids);
      for (int i = 0; i < lengths[0] - 1 && v; i++) ids[i] = 260 + i; /* the first sequence is another */
      works(etk_graph_eval(e, b.graph.graph));
      memcpy(v ? second : first, (float *)etk_tensor_data(b.graph.losses) + lengths[0] - 1, (size_t)(lengths[1] - 1) * sizeof(float));
    }
    assert_memory_equal(first, second, (size_t)(lengths[1] - 1) * sizeof(float));
    etk__batch_graph_fini(&b.graph);
    etk_model_unref(model);
  }
  etk_dataset_free(data);
}

static void an_epoch_of_packed_rows_counts_every_target(void **state) {
  shared_or_skip("goldens/models");
  etk_dataset *data = short_data(state);
  etk_model *model = golden(0, false);
  etk_packing *packing = NULL;
  works(etk_packing_new(e, &packing, data, COLUMNS, 3));
  double losses[8], resumed[8];
  char *folder = fresh_folder(state, "packed");
  for (int v = 0; v < 2; v++) {
    etk_adapter *adapter = NULL;
    if (v) works(etk_adapter_open(e, &adapter, model, folder, true));
    else adapter = adapter_of(model, 0);
    etk_trainer_options options = options_of(false);
    options.batch_size = 3;
    options.packing = packing;
    options.dropout = 0;
    etk_trainer *trainer = NULL;
    works(etk_trainer_new(e, &trainer, model, adapter, &options));
    if (v) works(etk_trainer_load(e, trainer, folder));
    int64_t tokens = 0;
    for (int i = 2 * v; i < 4; i++) { /* four rows in batches of three: two steps an epoch */
      etk_step step;
      works(etk_trainer_step(e, trainer, data, &step));
      (v ? resumed : losses)[i] = step.loss;
      tokens += step.tokens;
      assert_true(fabs(step.epoch - (i + 1) / 2.0) < 1e-12);
      if (!v && i == 1) {
        works(etk_adapter_save(e, adapter, folder, NULL, 0));
        works(etk_trainer_save(e, trainer, folder));
      }
    }
    assert_int_equal(tokens, (etk_dataset_get_stats(data).scored) * (v ? 1 : 2));
    if (v) {
      options.packing = NULL;
      etk_trainer *other = NULL;
      works(etk_trainer_new(e, &other, model, adapter, &options));
      fails_with(ETK_E_USAGE, "rows of packed sequences", etk_trainer_load(e, other, folder));
      etk_trainer_free(other);
    }
    etk_trainer_free(trainer);
    etk_adapter_free(adapter);
  }
  assert_true(losses[2] == resumed[2] && losses[3] == resumed[3]);
  etk_packing_free(packing);
  etk_model_unref(model);
  etk_dataset_free(data);
}

static void texts_that_begin_in_no_order_are_an_error(void **state) {
  (void)state;
  const int32_t wrong[][4] = {{0, 2, 2, 2}, {0, 1, 0, 2}, {-1, 0, 0, 0}};
  for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
    etk_graph *g = etk_graph_new();
    etk_tensor *x = etk_graph_input(g, ETK_F32, etk_shape_of(4, 1, 4, 1, 4), "x"), *starts = etk_graph_input(g, ETK_I32, etk_shape_of(2, 1, 4), "starts");
    memcpy(etk_tensor_data(starts), wrong[i], sizeof wrong[i]);
    etk_graph_keep(g, etk_attention_within(g, x, x, x, starts, &(etk_attention_options){.scale = 1}));
    fails_with(ETK_E_INVALID, "attention: token", etk_graph_eval(e, g));
    etk_graph_free(g);
  }
  etk_graph *g = etk_graph_new();
  etk_tensor *x = etk_graph_input(g, ETK_F32, etk_shape_of(4, 1, 4, 1, 4), "x");
  etk_attention_within(g, x, x, x, etk_graph_input(g, ETK_I32, etk_shape_of(1, 4), "starts"), &(etk_attention_options){.scale = 1});
  fails_with(ETK_E_SHAPE, "starts (4): wants (batch, tokens)", etk_graph_status(e, g));
  etk_graph_free(g);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(blocks_computed_again_give_the_same_bits), cmocka_unit_test(parts_keep_what_enters_them),
      cmocka_unit_test(every_sequence_is_in_one_row_and_rows_are_full), cmocka_unit_test(packed_rows_have_the_losses_and_gradients_of_single_ones),
      cmocka_unit_test(a_neighbour_in_the_row_changes_no_bit), cmocka_unit_test(an_epoch_of_packed_rows_counts_every_target),
      cmocka_unit_test(texts_that_begin_in_no_order_are_an_error),
  };
  return cmocka_run_group_tests_name("packing", tests, make_folder, remove_folder);
}
