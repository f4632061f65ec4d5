#include "diff.h"
#include "values.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

struct comparison {
  etk_run *run;
  bool all;
  int64_t compared, equal, different, missing, extra;
  struct difference sum;
};

static const etk_weight *partner(const etk_weights *other, const etk_weight *weight) {
  const etk_weight *found = etk_weights_find(other, weight->canonical);
  return found && !strcmp(found->canonical, weight->canonical) ? found : NULL;
}

static void lonely(struct comparison *c, const char *name, const char *where, int64_t *count) {
  etk_cell cells[] = {etk_cell_text("name", name), etk_cell_text("only_in", where)};
  etk_run_result_row(c->run, "unpaired", cells, 2);
  (*count)++;
}

/* Tensors that cannot be compared value by value: their shapes or an unreadable type say why. */
static void unlike(struct comparison *c, const etk_weight *a, const etk_weight *b) {
  char x[128], y[128];
  etk_cell cells[] = {etk_cell_text("name", a->canonical), etk_cell_text("type_a", a->type_name), etk_cell_text("type_b", b->type_name),
                      etk_cell_text("shape_a", etk_shape_text(x, sizeof x, &a->shape)), etk_cell_text("shape_b", etk_shape_text(y, sizeof y, &b->shape))};
  etk_run_result_row(c->run, "incomparable", cells, sizeof cells / sizeof *cells);
  c->different++;
}

static etk_status compare(etk_error *e, struct comparison *c, const etk_weight *a, const etk_weight *b) {
  if (!etk_shape_equal(&a->shape, &b->shape) || a->type < 0 || b->type < 0) {
    bool same = a->type < 0 && b->type < 0 && !strcmp(a->type_name, b->type_name) && etk_shape_equal(&a->shape, &b->shape) && a->bytes == b->bytes &&
                !memcmp(a->data, b->data, a->bytes);
    if (same) c->compared++, c->equal++;
    else unlike(c, a, b);
    return ETK_OK;
  }
  struct difference d;
  etk_status status = values_difference(e, &d, a, b);
  if (status) return status;
  c->compared++;
  bool equal = d.max_abs == 0 && !d.unlike;
  if (equal) c->equal++;
  else c->different++;
  if (d.max_abs > c->sum.max_abs) c->sum.max_abs = d.max_abs;
  c->sum.error += d.error, c->sum.total += d.total, c->sum.count += d.count, c->sum.unlike += d.unlike;
  if (equal && !c->all) return ETK_OK;
  etk_cell cells[] = {etk_cell_text("name", a->canonical), etk_cell_text("type_a", a->type_name), etk_cell_text("type_b", b->type_name), etk_cell_real("max_abs", d.max_abs),
                      etk_cell_real("relative_rms", values_relative_rms(&d)), etk_cell_int("not_finite", d.unlike)};
  etk_run_result_row(c->run, "differences", cells, sizeof cells / sizeof *cells);
  return ETK_OK;
}

static etk_status compare_all(etk_error *e, struct comparison *c, const etk_weights *a, const etk_weights *b) {
  size_t count = etk_weights_count(a);
  for (size_t i = 0; i < count; i++) {
    const etk_weight *x = etk_weights_at(a, i), *y = partner(b, x);
    if (etk_run_cancelled(c->run)) return etk_fail(e, ETK_E_CANCELLED, "stopped before tensor %s", x->canonical);
    etk_run_progress(c->run, "tensors", (int64_t)i, (int64_t)count, x->canonical);
    etk_status status = y ? compare(e, c, x, y) : ETK_OK;
    if (status) return status;
    if (!y) lonely(c, x->canonical, "a", &c->missing);
  }
  for (size_t i = 0; i < etk_weights_count(b); i++)
    if (!partner(a, etk_weights_at(b, i))) lonely(c, etk_weights_at(b, i)->canonical, "b", &c->extra);
  etk_run_progress(c->run, "tensors", (int64_t)count, (int64_t)count, NULL);
  return ETK_OK;
}

etk_status diff_models(etk_run *run, const char *path_a, const char *path_b, bool all) {
  etk_error e = ETK_ERROR_INIT;
  etk_weights *a = NULL, *b = NULL;
  struct comparison c = {.run = run, .all = all};
  etk_status status = etk_weights_open(&e, &a, path_a);
  if (!status) status = etk_weights_open(&e, &b, path_b);
  if (!status) status = compare_all(&e, &c, a, b);
  etk_weights_close(a), etk_weights_close(b);
  if (status) return model_failed(run, &e);
  etk_run_result_flag(run, "equal", !c.different && !c.missing && !c.extra);
  etk_run_result_int(run, "compared", c.compared);
  etk_run_result_int(run, "equal_tensors", c.equal);
  etk_run_result_int(run, "different_tensors", c.different);
  etk_run_result_int(run, "only_in_a", c.missing);
  etk_run_result_int(run, "only_in_b", c.extra);
  etk_run_result_int(run, "not_finite", c.sum.unlike);
  etk_run_result_real(run, "max_abs", c.sum.max_abs);
  etk_run_result_real(run, "relative_rms", values_relative_rms(&c.sum));
  return ETK_OK;
}
