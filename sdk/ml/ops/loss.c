/* cross_entropy mean_counted */
#include "rows.h"

static etk_status check_targets(etk_error *e, const struct node *node, int64_t rows, int input) {
  const etk_shape *targets = shape_of(node, input);
  char a[SHAPE_TEXT], b[SHAPE_TEXT];
  if (targets->rank != 1 || targets->dims[0] != rows)
    return etk_fail(e, ETK_E_SHAPE, "%s: %s and targets %s: wants one target a row", node->op->name, etk_shape_text(a, sizeof a, shape_of(node, 0)),
                    etk_shape_text(b, sizeof b, targets));
  return ETK_OK;
}

/* ---- cross_entropy: logits (n, vocab), targets (n) i32 -> losses (n), log-sum-exp (n) ---- */

static etk_status cross_entropy_shape(etk_error *e, const struct node *node, struct result *results, int *count) {
  const etk_shape *logits = shape_of(node, 0);
  char text[SHAPE_TEXT];
  if (logits->rank != 2) return etk_fail(e, ETK_E_SHAPE, "cross_entropy: logits %s, wants (n, vocab)", etk_shape_text(text, sizeof text, logits));
  results[0] = results[1] = (struct result){ETK_F32, etk_shape_of(1, logits->dims[0])};
  *count = 2;
  return check_targets(e, node, logits->dims[0], 1);
}
static void cross_entropy_rows(void *user, int64_t begin, int64_t end, int slot) {
  const struct call *c = user;
  (void)slot;
  int64_t n = c->in[0].shape.dims[1];
  for (int64_t i = begin; i < end; i++) {
    const float *row = in(c, 0) + i * n;
    int32_t target = in_integers(c, 1)[i];
    out(c, 1)[i] = target < 0 ? 0 : etk__kernels()->log_sum_exp_f32(row, n);
    out(c, 0)[i] = target < 0 ? 0 : out(c, 1)[i] - row[target];
  }
}
static etk_status cross_entropy_forward(etk_error *e, const struct call *c) {
  int64_t rows = c->in[0].shape.dims[0], n = c->in[0].shape.dims[1];
  for (int64_t i = 0; i < rows; i++)
    if (in_integers(c, 1)[i] >= n)
      return etk_fail(e, ETK_E_INVALID, "cross_entropy: target %d of row %lld is not below the vocabulary's size %lld", (int)in_integers(c, 1)[i], (long long)i, (long long)n);
  etk_parallel_for(rows, row_grain(4 * n), cross_entropy_rows, (void *)(uintptr_t)c);
  return ETK_OK;
}

/* inputs logits, targets, log-sum-exp, dlosses -> dlogits = (softmax - one at the target) dloss */
static void cross_entropy_backward_rows(void *user, int64_t begin, int64_t end, int slot) {
  const struct call *c = user;
  (void)slot;
  int64_t n = c->in[0].shape.dims[1];
  for (int64_t i = begin; i < end; i++) {
    int32_t target = in_integers(c, 1)[i];
    float d = in(c, 3)[i], *y = out(c, 0) + i * n;
    if (target < 0) memset(y, 0, (size_t)n * sizeof *y);
    else {
      etk__kernels()->exp_affine_f32(y, in(c, 0) + i * n, 1, -in(c, 2)[i], d, n);
      y[target] -= d;
    }
  }
}
static etk_status cross_entropy_backward_forward(etk_error *e, const struct call *c) {
  (void)e;
  etk_parallel_for(c->in[0].shape.dims[0], row_grain(4 * c->in[0].shape.dims[1]), cross_entropy_backward_rows, (void *)(uintptr_t)c);
  return ETK_OK;
}
static const struct op cross_entropy_backward_row = {"cross_entropy_backward", OP_INPLACE_0, 4, 4, 2, same_shape, cross_entropy_backward_forward, NULL, NULL};
static void cross_entropy_backward(struct reverse *r) {
  etk_tensor *const *x = r->node->inputs;
  r->gradients[0] = RECORD(r->graph, cross_entropy_backward_row, x[0], x[1], r->node->outputs[1], r->outputs[0]);
}
static const struct op cross_entropy_row = {"cross_entropy", 0, 2, 2, 2, cross_entropy_shape, cross_entropy_forward, cross_entropy_backward, NULL};
etk_tensor *etk_cross_entropy(etk_graph *g, etk_tensor *logits, etk_tensor *targets) { return RECORD(g, cross_entropy_row, logits, targets); }

/* ---- mean_counted: values (n), targets (n) i32 -> (1) ---- */

static etk_status mean_counted_shape(etk_error *e, const struct node *node, struct result *results, int *count) {
  const etk_shape *values = shape_of(node, 0);
  char text[SHAPE_TEXT];
  if (values->rank != 1) return etk_fail(e, ETK_E_SHAPE, "mean_counted: values %s, wants (n)", etk_shape_text(text, sizeof text, values));
  gives(results, count, &etk_shape_of(1, 1));
  return check_targets(e, node, values->dims[0], 1);
}
static int64_t count_targets(const int32_t *targets, int64_t n) {
  int64_t counted = 0;
  for (int64_t i = 0; i < n; i++) counted += targets[i] >= 0;
  return counted;
}
static etk_status mean_counted_forward(etk_error *e, const struct call *c) {
  (void)e;
  const int32_t *targets = in_integers(c, 1);
  int64_t n = c->in[0].elements, counted = count_targets(targets, n);
  double sum = 0;
  for (int64_t i = 0; i < n; i++) sum += targets[i] < 0 ? 0 : (double)in(c, 0)[i];
  *out(c, 0) = counted ? (float)(sum / (double)counted) : 0;
  return ETK_OK;
}

/* inputs dy (1), targets (n) -> (n): dy / count where counted. Linear in dy, so mean_counted is its derivative. */
static etk_status spread_shape(etk_error *e, const struct node *node, struct result *results, int *count) {
  (void)e;
  return gives(results, count, shape_of(node, 1));
}
static etk_status spread_forward(etk_error *e, const struct call *c) {
  (void)e;
  const int32_t *targets = in_integers(c, 1);
  int64_t n = c->in[1].elements, counted = count_targets(targets, n);
  float each = counted ? *in(c, 0) / (float)counted : 0;
  for (int64_t i = 0; i < n; i++) out(c, 0)[i] = targets[i] < 0 ? 0 : each;
  return ETK_OK;
}
static void spread_backward(struct reverse *r) { r->gradients[0] = etk_mean_counted(r->graph, r->outputs[0], r->node->inputs[1]); }
static const struct op spread_row = {"mean_counted_backward", 0, 2, 2, 2, spread_shape, spread_forward, spread_backward, NULL};
static void mean_counted_backward(struct reverse *r) { r->gradients[0] = RECORD(r->graph, spread_row, r->outputs[0], r->node->inputs[1]); }
static const struct op mean_counted_row = {"mean_counted", 0, 2, 2, 2, mean_counted_shape, mean_counted_forward, mean_counted_backward, NULL};
etk_tensor *etk_mean_counted(etk_graph *g, etk_tensor *values, etk_tensor *targets) { return RECORD(g, mean_counted_row, values, targets); }
