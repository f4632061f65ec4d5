/* The paged cache, and attention through it against plain attention over the whole text. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <etk/alloc.h>
#include <etk/cache.h>
#include <etk/quant.h>
#include <etk/ops.h>
#include <math.h>

static etk_cache *cache_of(int layers, int heads, int d, int block_tokens, int blocks) {
  etk_cache *c = NULL;
  etk_cache_options o = {layers, heads, d, block_tokens, blocks, ETK_F32};
  assert_int_equal(etk_cache_new(NULL, &c, &o), ETK_OK);
  return c;
}

static void layers_have_storage_of_their_own(void **state) {
  (void)state;
  etk_cache *c = cache_of(3, 2, 4, 0, 5);
  assert_int_equal(etk_cache_get_options(c)->block_tokens, 16);
  assert_int_equal(etk_cache_bytes(c), 3 * 2 * 5 * 16 * 2 * 4 * 4);
  size_t floats = 5 * 16 * 2 * 4;
  for (int i = 0; i < 3; i++) {
    assert_int_equal((float *)etk_cache_values(c, i) - (float *)etk_cache_keys(c, i), floats);
    assert_int_equal((float *)etk_cache_keys(c, i) - (float *)etk_cache_keys(c, 0), 2 * floats * (size_t)i);
  }
  etk_cache_free(c);
  assert_int_equal(etk_cache_new(NULL, &c, &(etk_cache_options){3, 2, 4, 0, 5, ETK_F16}), ETK_OK);
  assert_int_equal(etk_cache_bytes(c), 3 * 2 * 5 * 16 * 2 * 4 * 2);
  assert_int_equal((uint16_t *)etk_cache_values(c, 2) - (uint16_t *)etk_cache_keys(c, 0), 5 * floats);
  etk_cache_free(c);
}

static void sequences_share_blocks_and_give_them_back(void **state) {
  (void)state;
  etk_cache *c = cache_of(1, 1, 2, 4, 5);
  etk_error e = ETK_ERROR_INIT;
  int a, b, count;
  bool taken[5] = {false};
  assert_int_equal(etk_cache_sequence_new(NULL, c, &a), ETK_OK);
  assert_int_equal(etk_cache_sequence_new(NULL, c, &b), ETK_OK);
  assert_int_equal(a, 0);
  assert_int_equal(b, 1);
  assert_int_equal(etk_cache_sequence_reserve(NULL, c, a, 9), ETK_OK);
  assert_int_equal(etk_cache_sequence_reserve(NULL, c, b, 8), ETK_OK);
  const int32_t *blocks = etk_cache_sequence_blocks(c, a, &count);
  assert_int_equal(count, 3);
  for (int i = 0; i < 3; i++) taken[blocks[i]] = true;
  blocks = etk_cache_sequence_blocks(c, b, &count);
  assert_int_equal(count, 2);
  for (int i = 0; i < 2; i++) taken[blocks[i]] = true;
  for (int i = 0; i < 5; i++) assert_true(taken[i]); /* all five, none twice */
  assert_int_equal(etk_cache_sequence_reserve(NULL, c, b, 5), ETK_OK); /* never shrinks */
  assert_int_equal(etk_cache_sequence_reserve(&e, c, b, 9), ETK_E_NO_MEMORY);
  assert_string_equal(e.message, "cache: 9 tokens need 1 more blocks of 4, 0 of 5 are free: try a shorter text or a larger cache");
  etk_cache_sequence_trim(c, a, 8); /* exactly two blocks */
  etk_cache_sequence_blocks(c, a, &count);
  assert_int_equal(count, 2);
  assert_int_equal(etk_cache_sequence_reserve(NULL, c, b, 9), ETK_OK);
  etk_cache_sequence_free(c, a);
  assert_null(etk_cache_sequence_blocks(c, a, &count));
  assert_int_equal(etk_cache_sequence_reserve(&e, c, a, 1), ETK_E_INVALID);
  assert_int_equal(etk_cache_sequence_reserve(NULL, c, b, 20), ETK_OK);
  assert_int_equal(etk_cache_sequence_new(NULL, c, &a), ETK_OK);
  assert_int_equal(a, 0); /* the lowest free handle */
  etk_cache_sequence_trim(c, b, 0);
  assert_int_equal(etk_cache_sequence_reserve(NULL, c, a, 20), ETK_OK);
  etk_cache_free(c);
}

static void reserving_allocates_nothing(void **state) {
  (void)state;
  etk_cache *c = cache_of(1, 1, 2, 4, 50);
  int a;
  assert_int_equal(etk_cache_sequence_new(NULL, c, &a), ETK_OK);
  uint64_t before = etk_alloc_get_stats().calls;
  for (int i = 1; i <= 200; i++) assert_int_equal(etk_cache_sequence_reserve(NULL, c, a, i), ETK_OK);
  assert_int_equal(etk_alloc_get_stats().calls, before);
  etk_cache_free(c);
}

static void impossible_caches_are_refused(void **state) {
  (void)state;
  etk_cache *c = NULL;
  etk_error e = ETK_ERROR_INIT;
  assert_int_equal(etk_cache_new(&e, &c, &(etk_cache_options){1, 0, 8, 16, 4, ETK_F32}), ETK_E_INVALID);
  assert_string_equal(e.message, "cache: 1 layers, 0 heads of 8, 4 blocks of 16: each must be at least 1");
  assert_int_equal(etk_cache_new(&e, &c, &(etk_cache_options){1 << 20, 1 << 20, 1 << 20, 1 << 20, 1 << 20, ETK_F32}), ETK_E_NO_MEMORY);
  assert_null(c);
  assert_int_equal(etk_cache_new(&e, &c, &(etk_cache_options){1, 1, 8, 16, 4, ETK_BF16}), ETK_E_UNSUPPORTED);
  assert_string_equal(e.message, "cache: keys and values as BF16; F32, F16 and Q8_0 are supported");
  assert_int_equal(etk_cache_new(&e, &c, &(etk_cache_options){1, 1, 48, 16, 4, (etk_dtype)ETK_Q8_0}), ETK_E_UNSUPPORTED);
  assert_string_equal(e.message, "cache: Q8_0 wants heads of a multiple of 32 values, these have 48: take F16");
  for (uint64_t nth = 1; nth <= 3; nth++) {
    etk_alloc_stats before = etk_alloc_get_stats();
    etk_alloc_fail_nth(nth, false);
    assert_int_equal(etk_cache_new(&e, &c, &(etk_cache_options){1, 1, 8, 16, 4, ETK_F32}), ETK_E_NO_MEMORY);
    etk_alloc_fail_nth(0, false);
    etk_alloc_stats after = etk_alloc_get_stats();
    assert_int_equal(after.calls - before.calls, after.frees - before.frees);
  }
}

/* ---- attention through the cache ---- */

enum { HEADS = 4, KV = 2, D = 6, T = 23, LAYER = 1 };

static float value(int kind, int row, int64_t i) { return sinf((float)(kind * 100 + row * 10) + (float)i * 0.37f) * 0.8f; }

/* q, k and v of a text of T tokens for one row of the batch. kind 0: q; 1: k; 2: v */
static int64_t width(int kind) { return (kind ? KV : HEADS) * D; }

struct step {
  etk_graph *g;
  etk_tensor *in[3], *table, *positions, *y;
};
static void record(struct step *s, etk_cache *c, int batch, int tokens, int max_blocks) {
  s->g = etk_graph_new();
  for (int k = 0; k < 3; k++) s->in[k] = etk_graph_input(s->g, ETK_F32, etk_shape_of(4, batch, tokens, k ? KV : HEADS, D), "x");
  s->table = etk_graph_input(s->g, ETK_I32, etk_shape_of(2, batch, max_blocks), "table");
  s->positions = etk_graph_input(s->g, ETK_I32, etk_shape_of(2, batch, tokens), "positions");
  s->y = etk_cached_attention(s->g, s->in[0], s->in[1], s->in[2], c, LAYER, s->table, s->positions, 0.4f);
  etk_graph_keep(s->g, s->y);
}

/* Feeds tokens from[b] … from[b]+count[b]-1 of each row's text (the rest of the step's slots unused) and checks results against `whole`. */
static void feed(struct step *s, etk_cache *c, const int *sequences, const int *from, const int *count, etk_tensor *const *whole) {
  int batch = (int)etk_tensor_dim(s->y, 0), tokens = (int)etk_tensor_dim(s->y, 1), max_blocks = (int)etk_tensor_dim(s->table, 1);
  etk_error e = ETK_ERROR_INIT;
  for (int b = 0; b < batch; b++) {
    int blocks;
    assert_int_equal(etk_cache_sequence_reserve(NULL, c, sequences[b], from[b] + count[b]), ETK_OK);
    const int32_t *numbers = etk_cache_sequence_blocks(c, sequences[b], &blocks);
    for (int i = 0; i < max_blocks; i++) ((int32_t *)etk_tensor_data(s->table))[b * max_blocks + i] = i < blocks ? numbers[i] : -1;
    for (int t = 0; t < tokens; t++) {
      ((int32_t *)etk_tensor_data(s->positions))[b * tokens + t] = t < count[b] ? from[b] + t : -1;
      for (int k = 0; k < 3; k++)
        for (int64_t i = 0; i < width(k); i++)
          ((float *)etk_tensor_data(s->in[k]))[(b * tokens + t) * width(k) + i] = t < count[b] ? value(k, b, (from[b] + t) * width(k) + i) : NAN;
    }
  }
  if (etk_graph_eval(&e, s->g)) fail_msg("%s", e.message);
  for (int b = 0; b < batch; b++)
    for (int t = 0; t < tokens; t++)
      for (int i = 0; i < HEADS * D; i++) {
        float seen = ((float *)etk_tensor_data(s->y))[(b * tokens + t) * HEADS * D + i];
        float wanted = t < count[b] ? ((float *)etk_tensor_data(whole[b]))[(from[b] + t) * HEADS * D + i] : 0;
        if (!(fabsf(seen - wanted) < 2e-6f)) /* values below 1, sums of at most 23 weighted terms */
          fail_msg("row %d, token %d, %d: %g, wanted %g", b, from[b] + t, i, (double)seen, (double)wanted);
      }
}

static void pieces_through_the_cache_equal_attention_over_the_whole(void **state) {
  (void)state;
  etk_cache *c = cache_of(2, KV, D, 4, 16);
  etk_graph *g = etk_graph_new();
  etk_tensor *whole[2], *in[3];
  for (int b = 0; b < 2; b++) {
    for (int k = 0; k < 3; k++) {
      in[k] = etk_graph_input(g, ETK_F32, etk_shape_of(4, 1, T, k ? KV : HEADS, D), "x");
      for (int64_t i = 0; i < T * width(k); i++) ((float *)etk_tensor_data(in[k]))[i] = value(k, b, i);
    }
    whole[b] = etk_attention(g, in[0], in[1], in[2], 0.4f);
    etk_graph_keep(g, whole[b]);
  }
  assert_int_equal(etk_graph_eval(NULL, g), ETK_OK);
  int sequences[2];
  struct step wide, one;
  record(&wide, c, 2, 9, 6);
  record(&one, c, 2, 1, 6);
  for (int b = 0; b < 2; b++) assert_int_equal(etk_cache_sequence_new(NULL, c, &sequences[b]), ETK_OK);
  feed(&wide, c, sequences, (int[]){0, 0}, (int[]){9, 5}, whole); /* rows of different length in one step */
  feed(&wide, c, sequences, (int[]){9, 5}, (int[]){2, 9}, whole);
  for (int t = 0; t < 9; t++) feed(&one, c, sequences, (int[]){11 + t, 14 + t}, (int[]){1, 1}, whole); /* interleaved growth scatters the blocks */
  for (int t = 0; t < 3; t++) feed(&one, c, sequences, (int[]){20 + t, 23}, (int[]){1, 0}, whole);     /* one row has ended */
  etk_cache_sequence_trim(c, sequences[0], 10);
  feed(&wide, c, sequences, (int[]){10, 23}, (int[]){7, 0}, whole); /* goes back and on again */
  uint64_t before = etk_alloc_get_stats().calls;
  for (int t = 0; t < 6; t++) feed(&one, c, sequences, (int[]){17 + t, 23}, (int[]){1, 0}, whole);
  assert_int_equal(etk_alloc_get_stats().calls, before);
  etk_graph_free(g), etk_graph_free(wide.g), etk_graph_free(one.g);
  etk_cache_free(c);
}

static void tables_that_do_not_reach_are_named(void **state) {
  (void)state;
  etk_cache *c = cache_of(2, KV, D, 4, 3);
  struct step s;
  etk_error e = ETK_ERROR_INIT;
  record(&s, c, 1, 1, 2);
  int32_t *table = etk_tensor_data(s.table), *position = etk_tensor_data(s.positions);
  table[0] = 2, table[1] = -1, *position = 4;
  assert_int_equal(etk_graph_eval(&e, s.g), ETK_E_INVALID);
  assert_string_equal(e.message, "cached_attention: row 0 reaches position 4, but entry 1 of its table is -1, not a block of 0 .. 2");
  table[1] = 3;
  assert_int_equal(etk_graph_eval(&e, s.g), ETK_E_INVALID);
  *position = 8;
  table[1] = 1;
  assert_int_equal(etk_graph_eval(&e, s.g), ETK_E_INVALID);
  assert_string_equal(e.message, "cached_attention: row 0 reaches position 8, but its table has only 2 blocks of 4");
  *position = 7;
  assert_int_equal(etk_graph_eval(&e, s.g), ETK_OK);
  etk_graph_free(s.g);
  s.g = etk_graph_new();
  etk_tensor *q = etk_graph_input(s.g, ETK_F32, etk_shape_of(4, 1, 1, 3, D), "q"), *k = etk_graph_input(s.g, ETK_F32, etk_shape_of(4, 1, 1, 1, D), "k");
  etk_tensor *one = etk_graph_input(s.g, ETK_I32, etk_shape_of(2, 1, 1), "i");
  etk_cached_attention(s.g, q, k, k, c, 0, one, one, 1);
  assert_int_equal(etk_graph_status(&e, s.g), ETK_E_SHAPE);
  assert_string_equal(e.message, "cached_attention: k (1, 1, 1, 6) for layer 0 does not fit a cache of 2 layers with 2 heads of 6");
  etk_graph_free(s.g);
  etk_cache_free(c);
}

static void writing_the_cache_happens_though_no_result_is_kept(void **state) {
  (void)state;
  etk_cache *c = cache_of(2, KV, D, 4, 1);
  etk_graph *g = etk_graph_new();
  etk_tensor *in[3], *i = etk_graph_input(g, ETK_I32, etk_shape_of(2, 1, 1), "i");
  for (int k = 0; k < 3; k++) {
    in[k] = etk_graph_input(g, ETK_F32, etk_shape_of(4, 1, 1, k ? KV : HEADS, D), "x");
    ((float *)etk_tensor_data(in[k]))[0] = 5.0f + (float)k;
  }
  etk_cached_attention(g, in[0], in[1], in[2], c, LAYER, i, i, 1);
  assert_int_equal(etk_graph_eval(NULL, g), ETK_OK);
  assert_true(((float *)etk_cache_keys(c, LAYER))[0] == 6 && ((float *)etk_cache_values(c, LAYER))[0] == 7);
  etk_graph_free(g);
  etk_cache_free(c);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(layers_have_storage_of_their_own),
      cmocka_unit_test(sequences_share_blocks_and_give_them_back),
      cmocka_unit_test(reserving_allocates_nothing),
      cmocka_unit_test(impossible_caches_are_refused),
      cmocka_unit_test(pieces_through_the_cache_equal_attention_over_the_whole),
      cmocka_unit_test(tables_that_do_not_reach_are_named),
      cmocka_unit_test(writing_the_cache_happens_though_no_result_is_kept),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
