/* attention_rows.h: what attention.c and full_attention.c share: blocks of query rows, so that no (tokens, keys) matrix exists. */
#ifndef ETK_ML_OPS_ATTENTION_ROWS_H
#define ETK_ML_OPS_ATTENTION_ROWS_H

#include "rows.h"

enum { BLOCK = 64 }; /* query rows at a time */

/* Where things lie: q (batch, tokens, heads, d), k and v (batch, keys, kv_heads, d). */
struct layout {
  int64_t batch, tokens, keys, heads, kv_heads, d, blocks;
  int64_t q_row, k_row; /* floats from one token to the next */
};
static inline struct layout layout_of(const etk_shape *q, const etk_shape *k) {
  struct layout l = {.batch = q->dims[0], .tokens = q->dims[1], .keys = k->dims[1], .heads = q->dims[2], .kv_heads = k->dims[2], .d = q->dims[3]};
  l.blocks = (l.tokens + BLOCK - 1) / BLOCK;
  l.q_row = l.heads * l.d;
  l.k_row = l.kv_heads * l.d;
  return l;
}
static inline int64_t block_rows(const struct layout *l) { return l->tokens < BLOCK ? l->tokens : BLOCK; }

/* Inputs dy, q, k, v, … -> dq, dk, dv */
static inline etk_status attention_backward_shape(etk_error *e, const struct node *node, struct result *results, int *count) {
  (void)e;
  for (int i = 0; i < 3; i++) results[i] = (struct result){ETK_F32, *shape_of(node, i + 1)};
  *count = 3;
  return ETK_OK;
}

/* The mean of dp under p. It could be had as dy . y, but then a row of ds would not sum to zero, and the gradient of k is what is left when it nearly
 * does: that error, divided by Adam's second moment, showed in the weights of LoRA runs as 1e-3. */
static inline float mean_under(const float *p, const float *dp, int64_t n) { return (float)etk__kernels()->mean_under_f32(p, dp, n); }

#endif
