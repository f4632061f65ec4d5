/* rows.h: small helpers for the files that describe operations. */
#ifndef ETK_ML_OPS_ROWS_H
#define ETK_ML_OPS_ROWS_H

#include "../tensor/internal.h"

#include <etk/ops.h>
#include <etk/parallel.h>

enum { ELEMENT_GRAIN = 1 << 14 }; /* elements a piece of an elementwise loop has at least: about 10 us of work */

static inline float *in(const struct call *c, int i) { return c->in[i].data; }
static inline const int32_t *in_integers(const struct call *c, int i) { return c->in[i].data; }
static inline float *out(const struct call *c, int i) { return c->out[i].data; }
static inline const etk_shape *shape_of(const struct node *node, int input) { return &node->inputs[input]->shape; }

/* Rows of the last axis in a piece. */
static inline int64_t row_grain(int64_t row) { return 1 + ELEMENT_GRAIN / (row + 1); }

/* Results of one output with a given shape. */
static inline etk_status gives(struct result *results, int *count, const etk_shape *shape) {
  results[0] = (struct result){ETK_F32, *shape};
  *count = 1;
  return ETK_OK;
}

static inline etk_status same_shape(etk_error *e, const struct node *node, struct result *results, int *count) {
  (void)e;
  return gives(results, count, shape_of(node, 0));
}

/* Input `lengths` (i32, or absent): how many of `most` count in each row of the batch. */
static inline etk_status check_lengths(etk_error *e, const struct call *c, int lengths, int64_t most) {
  for (int64_t b = 0; c->in[lengths].data && b < c->in[lengths].elements; b++)
    if (in_integers(c, lengths)[b] < 0 || in_integers(c, lengths)[b] > most)
      return etk_fail(e, ETK_E_INVALID, "%s: length %d of row %lld is not in 0 .. %lld", c->node->op->name, (int)in_integers(c, lengths)[b],
                      (long long)b, (long long)most);
  return ETK_OK;
}

/* softcap.c: scores q . k of one query, in place, to probabilities over n keys; returns the logarithm of their sum before. slope (n) or NULL: with a
 * softcap, its derivative at each score. */
float etk__attention_softmax(float *scores, const etk_attention_options *options, float *slope, int64_t n);

/* matmul.c: g with tensor b, a weight (stored or not) or what the graph made, whose values g->b are, or with b NULL any floats at g->b; scratch: as many bytes as
 * etk__multiply_scratch says for g's sizes; fewer: and for any fewer rows of a. */
void etk__multiply(const struct call *c, const struct gemm *g, const etk_tensor *b, void *scratch);
size_t etk__multiply_scratch(const struct gemm *g, const etk_tensor *b, bool fewer, int threads);

/* RECORD(graph, row, inputs…); RECORD_WITH(graph, row, pointer to attributes, inputs…) */
#define TENSORS(...) ((etk_tensor *const[]){__VA_ARGS__})
#define RECORD(graph, row, ...) etk__record(graph, &(row), TENSORS(__VA_ARGS__), (int)(sizeof TENSORS(__VA_ARGS__) / sizeof(etk_tensor *)), NULL, 0)
#define RECORD_WITH(graph, row, attributes, ...) \
  etk__record(graph, &(row), TENSORS(__VA_ARGS__), (int)(sizeof TENSORS(__VA_ARGS__) / sizeof(etk_tensor *)), attributes, sizeof *(attributes))

#endif
