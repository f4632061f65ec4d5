/* Recording, errors, planning and evaluation. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "../starve.h"
#include "ml/tensor/internal.h"
#include <etk/ops.h>
#include <etk/parallel.h>
#include <math.h>

static etk_tensor *tensor_of(etk_shape shape, float seed) {
  etk_tensor *t = NULL;
  assert_int_equal(etk_tensor_new(NULL, &t, ETK_F32, shape), ETK_OK);
  for (int64_t i = 0; i < etk_tensor_elements(t); i++) ((float *)etk_tensor_data(t))[i] = sinf(seed + (float)i) * 0.5f;
  etk_tensor_set_trainable(t, true);
  return t;
}

static void eval(etk_graph *g) {
  etk_error e = ETK_ERROR_INIT;
  if (etk_graph_eval(&e, g)) fail_msg("%s", e.message);
}

/* ---- a small Llama: two layers, all operations that training uses ---- */

enum { VOCAB = 11, DIM = 8, HEADS = 2, ROWS = 3, TOKENS = 5, WEIGHTS = 1 + 2 * 7 };
struct llama {
  etk_graph *g;
  etk_tensor *ids, *targets, *weights[WEIGHTS], *gradients[WEIGHTS], *loss, *hidden;
  int count;
};

static etk_tensor *weight(struct llama *m, int64_t rows, int64_t columns) {
  etk_tensor *t = tensor_of(rows ? etk_shape_of(2, rows, columns) : etk_shape_of(1, columns), (float)(m->count + 1) * 1.7f);
  return m->weights[m->count++] = t;
}

static void llama_record(struct llama *m, float dropout) {
  *m = (struct llama){.g = etk_graph_new()};
  assert_non_null(m->g);
  etk_graph *g = m->g;
  m->ids = etk_graph_input(g, ETK_I32, etk_shape_of(2, ROWS, TOKENS), "ids");
  m->targets = etk_graph_input(g, ETK_I32, etk_shape_of(1, ROWS * TOKENS), "targets");
  etk_tensor *positions = etk_graph_input(g, ETK_I32, etk_shape_of(2, ROWS, TOKENS), "positions"), *frequencies = etk_graph_input(g, ETK_F32, etk_shape_of(1, 2), "frequencies");
  for (int i = 0; i < ROWS * TOKENS; i++) {
    ((int32_t *)etk_tensor_data(m->ids))[i] = i * 7 % VOCAB;
    ((int32_t *)etk_tensor_data(m->targets))[i] = i == 4 ? -1 : i * 5 % VOCAB;
    ((int32_t *)etk_tensor_data(positions))[i] = i % TOKENS;
  }
  ((float *)etk_tensor_data(frequencies))[0] = 1;
  ((float *)etk_tensor_data(frequencies))[1] = 0.1f;
  etk_tensor *embedding = weight(m, VOCAB, DIM), *x = etk_embedding(g, embedding, m->ids);
  etk_shape heads = etk_shape_of(4, ROWS, TOKENS, HEADS, DIM / HEADS), one = etk_shape_of(4, ROWS, TOKENS, 1, DIM / HEADS);
  for (int i = 0; i < 2; i++) {
    etk_tensor *h = etk_rms_norm(g, x, weight(m, 0, DIM), 1e-5f);
    etk_tensor *q = etk_rope(g, etk_reshape(g, etk_matmul(g, h, weight(m, DIM, DIM), false, true), heads), positions, frequencies);
    etk_tensor *k = etk_rope(g, etk_reshape(g, etk_matmul(g, h, weight(m, DIM / HEADS, DIM), false, true), one), positions, frequencies);
    etk_tensor *v = etk_reshape(g, etk_matmul(g, h, weight(m, DIM / HEADS, DIM), false, true), one);
    x = etk_add(g, x, etk_dropout(g, etk_reshape(g, etk_attention(g, q, k, v, 0.5f), etk_shape_of(3, ROWS, TOKENS, DIM)), dropout));
    etk_tensor *up = etk_matmul(g, x, weight(m, 16, DIM), false, true), *gate = etk_matmul(g, x, weight(m, 16, DIM), false, true);
    x = etk_matmul_add(g, x, etk_swiglu(g, gate, up), weight(m, DIM, 16), 1, false, true);
    if (i == 0) m->hidden = x;
  }
  x = etk_reshape(g, x, etk_shape_of(2, ROWS * TOKENS, DIM));
  m->loss = etk_mean_counted(g, etk_cross_entropy(g, etk_matmul(g, x, embedding, false, true), m->targets), m->targets);
  etk_graph_keep(g, m->loss);
}

static etk_status llama_backward(etk_error *e, struct llama *m) { return etk_graph_backward(e, m->g, m->loss, m->weights, (size_t)m->count, m->gradients); }

static void llama_close(struct llama *m) {
  etk_graph_free(m->g);
  for (int i = 0; i < m->count; i++) etk_tensor_unref(m->weights[i]);
}

/* The loss and all gradients in one array. */
static float *results_of(const struct llama *m, size_t *count) {
  *count = 1;
  for (int i = 0; i < m->count; i++) *count += (size_t)etk_tensor_elements(m->gradients[i]);
  float *all = calloc(*count, sizeof *all), *p = all;
  assert_non_null(all);
  *p++ = *(float *)etk_tensor_data(m->loss);
  for (int i = 0; i < m->count; i++, p += etk_tensor_elements(m->gradients[i - 1])) memcpy(p, etk_tensor_data(m->gradients[i]), etk_tensor_bytes(m->gradients[i]));
  return all;
}

static float *run_llama(int threads, bool keep_all, bool poison, float dropout, size_t *count) {
  struct llama m;
  etk_error e = ETK_ERROR_INIT;
  etk_parallel_set_threads(threads);
  llama_record(&m, dropout);
  if (llama_backward(&e, &m)) fail_msg("%s", e.message);
  for (size_t i = 0; keep_all && i < m.g->tensor_count; i++) etk_graph_keep(m.g, m.g->tensors[i]);
  etk__graph_set_debug_poison(m.g, poison);
  etk_graph_set_random(m.g, 5, 6);
  eval(m.g);
  float *all = results_of(&m, count);
  llama_close(&m);
  etk_parallel_set_threads(0);
  return all;
}

static void reused_storage_gives_the_bits_of_separate_storage(void **state) {
  (void)state;
  size_t n, m;
  float *planned = run_llama(2, false, false, 0.1f, &n), *separate = run_llama(2, true, false, 0.1f, &m), *poisoned = run_llama(2, false, true, 0.1f, &m);
  assert_int_equal(n, m);
  assert_true(isfinite(planned[0]));
  assert_memory_equal(planned, separate, n * sizeof *planned);
  assert_memory_equal(planned, poisoned, n * sizeof *planned); /* dead storage was NaN: nothing read it */
  free(planned), free(separate), free(poisoned);
}

static void equal_thread_counts_give_equal_bits_and_others_nearly(void **state) {
  (void)state;
  size_t n;
  float *one = run_llama(1, false, false, 0.1f, &n), *two = run_llama(2, false, false, 0.1f, &n), *again = run_llama(2, false, false, 0.1f, &n), *three = run_llama(3, false, false, 0.1f, &n);
  assert_memory_equal(two, again, n * sizeof *two);
  for (size_t i = 0; i < n; i++) { /* sums of a few dozen terms below 1 in another order: a few float roundings */
    assert_true(fabsf(one[i] - two[i]) <= 2e-6f);
    assert_true(fabsf(one[i] - three[i]) <= 2e-6f);
  }
  free(one), free(two), free(again), free(three);
}

static void replay_repeats_bits_and_follows_inputs_and_random_state(void **state) {
  (void)state;
  struct llama m;
  size_t n;
  llama_record(&m, 0.2f);
  assert_int_equal(llama_backward(NULL, &m), ETK_OK);
  etk_graph_set_random(m.g, 1, 2);
  eval(m.g);
  float *first = results_of(&m, &n);
  etk_graph_set_random(m.g, 1, 3);
  eval(m.g);
  float *other = results_of(&m, &n);
  assert_memory_not_equal(first, other, n * sizeof *first);
  free(other);
  etk_graph_set_random(m.g, 1, 2);
  ((int32_t *)etk_tensor_data(m.ids))[0] = 3;
  eval(m.g);
  other = results_of(&m, &n);
  assert_true(first[0] != other[0]);
  free(other);
  ((int32_t *)etk_tensor_data(m.ids))[0] = 0;
  eval(m.g);
  other = results_of(&m, &n);
  assert_memory_equal(first, other, n * sizeof *first);
  free(first), free(other);
  llama_close(&m);
}

static void evaluation_allocates_only_once(void **state) {
  (void)state;
  struct llama m;
  llama_record(&m, 0.1f);
  assert_int_equal(llama_backward(NULL, &m), ETK_OK);
  assert_int_equal(etk_graph_plan(NULL, m.g, NULL), ETK_OK);
  assert_null(etk_tensor_data(m.loss)); /* planned, but not allocated */
  etk_parallel_set_threads(0);
  eval(m.g);
  eval(m.g); /* the pool and the product library are open now */
  uint64_t before = etk_alloc_get_stats().calls;
  for (int i = 0; i < 5; i++) eval(m.g);
  assert_int_equal(etk_alloc_get_stats().calls, before);
  llama_close(&m);
}

static void plan_knows_the_peak_and_it_is_below_naive(void **state) {
  (void)state;
  struct llama m;
  etk_plan plan;
  llama_record(&m, 0.1f);
  assert_int_equal(llama_backward(NULL, &m), ETK_OK);
  assert_int_equal(etk_graph_plan(NULL, m.g, &plan), ETK_OK);
  assert_int_equal(plan.peak_bytes, plan.step_bytes + plan.scratch_bytes + plan.input_bytes);
  assert_true(plan.peak_bytes < plan.naive_bytes);
  assert_int_equal(plan.input_bytes, 3 * ROWS * TOKENS * 4 + 2 * 4);
  llama_close(&m);
}

static void no_two_live_tensors_overlap(void **state) {
  (void)state;
  struct llama m;
  llama_record(&m, 0.1f);
  assert_int_equal(llama_backward(NULL, &m), ETK_OK);
  assert_int_equal(etk_graph_plan(NULL, m.g, NULL), ETK_OK);
  for (size_t i = 0; i < m.g->buffer_count; i++)
    for (size_t j = 0; j < i; j++) {
      const struct buffer *a = &m.g->buffers[i], *b = &m.g->buffers[j];
      bool in_time = a->first <= b->last && b->first <= a->last, in_space = a->offset < b->offset + b->bytes && b->offset < a->offset + a->bytes;
      assert_false(in_time && in_space);
    }
  llama_close(&m);
}

static void a_chain_needs_the_storage_of_one_result(void **state) {
  (void)state;
  etk_graph *g = etk_graph_new();
  etk_plan plan;
  etk_tensor *x = etk_graph_input(g, ETK_F32, etk_shape_of(1, 1000), "x"), *y = x;
  for (int i = 0; i < 10; i++) y = etk_sigmoid(g, etk_scale(g, y, 2));
  etk_graph_keep(g, y);
  assert_int_equal(etk_graph_plan(NULL, g, &plan), ETK_OK);
  assert_int_equal(plan.nodes, 20);
  assert_int_equal(plan.step_bytes, 4032); /* 4000 bytes, in units of 64: every operation took over its input's place */
  eval(g);
  assert_true(*(float *)etk_tensor_data(x) == 0); /* but never an input's */
  etk_graph_free(g);
}

static void a_repeated_operand_of_padded_equal_size_is_not_overwritten(void **state) {
  (void)state;
  etk_graph *g = etk_graph_new();
  etk_tensor *x = etk_graph_input(g, ETK_F32, etk_shape_of(2, 2, 3), "x");
  for (int i = 0; i < 6; i++) ((float *)etk_tensor_data(x))[i] = (float)i;
  etk_tensor *b = etk_scale(g, etk_sum_leading(g, x, etk_shape_of(1, 3)), 1); /* 12 bytes and 24 bytes both take 64 */
  etk_tensor *y = etk_mul(g, x, b);
  etk_graph_keep(g, y);
  eval(g);
  const float wanted[] = {0, 5, 14, 9, 20, 35};
  assert_memory_equal(etk_tensor_data(y), wanted, sizeof wanted);
  etk_graph_free(g);
}

static void what_nothing_needs_is_dropped(void **state) {
  (void)state;
  etk_graph *g = etk_graph_new();
  etk_plan plan;
  etk_tensor *x = etk_graph_input(g, ETK_F32, etk_shape_of(1, 4), "x"), *y = etk_scale(g, x, 2), *unused = etk_sigmoid(g, etk_scale(g, x, 3));
  etk_graph_keep(g, y);
  assert_int_equal(etk_graph_plan(NULL, g, &plan), ETK_OK);
  assert_int_equal(plan.nodes, 1);
  eval(g);
  assert_non_null(etk_tensor_data(y));
  assert_null(etk_tensor_data(unused));
  etk_graph_free(g);
}

static void recording_after_an_eval_plans_again(void **state) {
  (void)state;
  etk_graph *g = etk_graph_new();
  etk_tensor *x = etk_graph_input(g, ETK_F32, etk_shape_of(1, 2), "x"), *y = etk_scale(g, x, 2);
  ((float *)etk_tensor_data(x))[1] = 3;
  etk_graph_keep(g, y);
  eval(g);
  etk_tensor *z = etk_reshape(g, etk_add(g, y, y), etk_shape_of(2, 2, 1));
  etk_graph_keep(g, z);
  eval(g);
  assert_true(((float *)etk_tensor_data(z))[1] == 12);
  assert_true(((float *)etk_tensor_data(y))[1] == 6);
  etk_graph_free(g);
}

static void memory_limit_names_what_is_needed_and_what_there_is(void **state) {
  (void)state;
  etk_graph *g = etk_graph_new();
  etk_error e = ETK_ERROR_INIT;
  etk_tensor *y = etk_scale(g, etk_graph_input(g, ETK_F32, etk_shape_of(2, 1024, 256), "x"), 2);
  etk_graph_keep(g, y);
  etk_graph_set_memory_limit(g, 1 << 20);
  assert_int_equal(etk_graph_eval(&e, g), ETK_E_NO_MEMORY);
  assert_string_equal(e.message, "needs 2.0 MiB, have 1.0 MiB: try a smaller batch or shorter sequences");
  etk_graph_set_memory_limit(g, 2 << 20);
  eval(g);
  etk_graph_free(g);
}

/* ---- errors ---- */

static void first_error_sticks_and_recording_stops_allocating(void **state) {
  (void)state;
  etk_graph *g = etk_graph_new();
  etk_error e = ETK_ERROR_INIT;
  etk_tensor *a = etk_graph_input(g, ETK_F32, etk_shape_of(2, 2, 3), "a"), *b = etk_graph_input(g, ETK_F32, etk_shape_of(2, 4, 5), "b");
  etk_tensor *bad = etk_matmul(g, a, b, false, false);
  assert_int_equal(etk_tensor_shape(bad)->rank, 4);
  assert_int_equal(etk_tensor_elements(bad), 1);
  uint64_t before = etk_alloc_get_stats().calls;
  size_t used = g->arena.used;
  for (int i = 0; i < 100; i++) bad = etk_softmax(g, etk_add(g, etk_transpose(g, etk_scale(g, bad, 2)), a));
  assert_true(bad == etk_graph_input(g, ETK_F32, etk_shape_of(1, 1000), "later"));
  assert_int_equal(etk_alloc_get_stats().calls, before);
  assert_int_equal(g->arena.used, used);
  etk_graph_keep(g, bad);
  assert_int_equal(etk_graph_eval(&e, g), ETK_E_SHAPE);
  assert_string_equal(e.message, "matmul: (2, 3) x (4, 5): inner sizes 3 and 4 differ");
  assert_int_equal(etk_graph_plan(&e, g, NULL), ETK_E_SHAPE);
  assert_int_equal(etk_graph_status(&e, g), ETK_E_SHAPE);
  etk_tensor *grad;
  assert_int_equal(etk_graph_backward(&e, g, bad, &a, 1, &grad), ETK_E_SHAPE);
  etk_graph_free(g);
}

static void foreign_missing_and_mistyped_inputs_are_named(void **state) {
  (void)state;
  etk_error e = ETK_ERROR_INIT;
  etk_graph *g = etk_graph_new(), *h = etk_graph_new();
  etk_tensor *x = etk_graph_input(g, ETK_F32, etk_shape_of(2, 2, 2), "x");
  etk_add(h, etk_graph_input(h, ETK_F32, etk_shape_of(2, 2, 2), "y"), x);
  etk_graph_status(&e, h);
  assert_string_equal(e.message, "add: input 1 belongs to another graph");
  etk_graph_free(h);
  h = etk_graph_new();
  etk_scale(h, NULL, 1);
  etk_graph_status(&e, h);
  assert_string_equal(e.message, "scale: input 0 is NULL");
  etk_graph_free(h);
  h = etk_graph_new();
  etk_silu(h, etk_graph_input(h, ETK_BF16, etk_shape_of(2, 2, 2), "y"));
  etk_graph_status(&e, h);
  assert_string_equal(e.message, "silu: input 0 (2, 2) is BF16, wants F32 (etk_tensor_cast converts)");
  etk_graph_free(h);
  etk_graph_free(g);
}

static void backward_says_what_it_cannot_do(void **state) {
  (void)state;
  etk_error e = ETK_ERROR_INIT;
  etk_graph *g = etk_graph_new();
  etk_tensor *w = tensor_of(etk_shape_of(4, 1, 2, 1, 2), 1), *constant = tensor_of(etk_shape_of(1, 2), 1), *other = tensor_of(etk_shape_of(1, 2), 2), *grads[3];
  etk_tensor_set_trainable(constant, false);
  etk_tensor *y = etk_attention(g, w, w, w, 1), *loss = etk_sum(g, etk_mul(g, y, constant));
  assert_int_equal(etk_graph_backward(&e, g, y, &w, 1, grads), ETK_E_SHAPE);
  assert_string_equal(e.message, "backward: the loss is F32 of shape (1, 2, 1, 2), wants one F32 element (etk_mean, etk_sum)");
  assert_int_equal(etk_graph_backward(&e, g, loss, &constant, 1, grads), ETK_E_INVALID);
  assert_string_equal(e.message, "backward: tensor 0 of 1, (2), is not trainable (etk_tensor_set_trainable)");
  assert_int_equal(etk_graph_backward(&e, g, loss, (etk_tensor *[]){other, w, y}, 3, grads), ETK_OK);
  assert_null(grads[0]); /* the loss does not depend on it */
  assert_non_null(grads[1]);
  assert_non_null(grads[2]); /* of a result in between */
  etk_tensor *second = etk_sum(g, grads[1]), *again;
  assert_int_equal(etk_graph_backward(&e, g, second, &w, 1, &again), ETK_E_UNSUPPORTED);
  assert_string_equal(e.message, "backward: attention_backward has no derivative");
  etk_graph_free(g);
  etk_tensor_unref(w), etk_tensor_unref(constant), etk_tensor_unref(other);
}

static void bad_values_at_run_time_are_errors_of_eval(void **state) {
  (void)state;
  struct llama m;
  etk_error e = ETK_ERROR_INIT;
  llama_record(&m, 0);
  ((int32_t *)etk_tensor_data(m.ids))[3] = VOCAB;
  assert_int_equal(etk_graph_eval(&e, m.g), ETK_E_INVALID);
  assert_string_equal(e.message, "embedding: index 11 at place 3 is not in 0 .. 10");
  ((int32_t *)etk_tensor_data(m.ids))[3] = 0;
  ((int32_t *)etk_tensor_data(m.targets))[2] = 12;
  assert_int_equal(etk_graph_eval(&e, m.g), ETK_E_INVALID);
  assert_string_equal(e.message, "cross_entropy: target 12 of row 2 is not below the vocabulary's size 11");
  ((int32_t *)etk_tensor_data(m.targets))[2] = 1;
  eval(m.g); /* the graph itself is sound */
  llama_close(&m);
}

static void tensors_outlive_their_callers_while_a_graph_uses_them(void **state) {
  (void)state;
  etk_graph *g = etk_graph_new();
  etk_tensor *w = tensor_of(etk_shape_of(1, 3), 1), *y = etk_scale(g, w, 2);
  float wanted = 2 * ((float *)etk_tensor_data(w))[2];
  etk_tensor_unref(w);
  etk_graph_keep(g, y);
  eval(g);
  assert_true(((float *)etk_tensor_data(y))[2] == wanted);
  etk_graph_free(g);
}

/* ---- out of memory ---- */

static etk_status record_and_run(void) {
  etk_error e = ETK_ERROR_INIT;
  etk_tensor *x = NULL, *w = NULL, *gradient = NULL;
  etk_graph *g = etk_graph_new();
  if (!g) return ETK_E_NO_MEMORY;
  etk_status status = etk_tensor_new(&e, &w, ETK_F32, etk_shape_of(2, 7, 5));
  if (!status) {
    etk_tensor_set_trainable(w, true);
    x = etk_graph_input(g, ETK_F32, etk_shape_of(2, 3, 5), "x");
    etk_tensor *y = x;
    for (int i = 0; i < 40; i++) y = etk_silu(g, etk_matmul(g, etk_matmul(g, y, w, false, true), w, false, false)); /* arrays grow several times */
    etk_tensor *loss = etk_sum(g, y);
    etk_graph_keep(g, loss);
    status = etk_graph_backward(&e, g, loss, &w, 1, &gradient);
  }
  if (!status) status = etk_graph_plan(&e, g, NULL);
  if (!status) status = etk_graph_eval(&e, g);
  assert_true(status == ETK_OK || strlen(e.message) > 0);
  etk_graph_free(g);
  etk_tensor_unref(w);
  return status;
}

static void every_failing_allocation_is_reported_and_nothing_leaks(void **state) {
  (void)state;
  assert_int_equal(record_and_run(), ETK_OK); /* opens the pool and the product library */
  starvation s = {.bears = true};
  while (starve(&s)) starved(&s, record_and_run(), NULL);
  assert_true(s.nth > 12);
  assert_true(s.borne <= 2); /* without memory for the weight's product (itself, its state) the weight is multiplied as it lies */
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(reused_storage_gives_the_bits_of_separate_storage),
      cmocka_unit_test(equal_thread_counts_give_equal_bits_and_others_nearly),
      cmocka_unit_test(replay_repeats_bits_and_follows_inputs_and_random_state),
      cmocka_unit_test(evaluation_allocates_only_once),
      cmocka_unit_test(plan_knows_the_peak_and_it_is_below_naive),
      cmocka_unit_test(no_two_live_tensors_overlap),
      cmocka_unit_test(a_chain_needs_the_storage_of_one_result),
      cmocka_unit_test(a_repeated_operand_of_padded_equal_size_is_not_overwritten),
      cmocka_unit_test(what_nothing_needs_is_dropped),
      cmocka_unit_test(recording_after_an_eval_plans_again),
      cmocka_unit_test(memory_limit_names_what_is_needed_and_what_there_is),
      cmocka_unit_test(first_error_sticks_and_recording_stops_allocating),
      cmocka_unit_test(foreign_missing_and_mistyped_inputs_are_named),
      cmocka_unit_test(backward_says_what_it_cannot_do),
      cmocka_unit_test(bad_values_at_run_time_are_errors_of_eval),
      cmocka_unit_test(tensors_outlive_their_callers_while_a_graph_uses_them),
      cmocka_unit_test(every_failing_allocation_is_reported_and_nothing_leaks),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
