#include "diff.h"
#include "values.h"

#include <etk/alloc.h>
#include <etk/model.h>
#include <inttypes.h>
#include <stdlib.h>
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

/* npz has no other place for how it was made than an array. */
static bool is_record(const etk_weights *w, const char *name) { return etk_weights_get_format(w) == ETK_WEIGHTS_NUMPY && !strcmp(name, "efficientai"); }

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

static void put_difference(struct comparison *c, const char *name, const char *type_a, const char *type_b, const struct difference *d) {
  c->compared++;
  bool equal = d->max_abs == 0 && !d->unlike;
  if (equal) c->equal++;
  else c->different++;
  if (d->max_abs > c->sum.max_abs) c->sum.max_abs = d->max_abs;
  c->sum.error += d->error, c->sum.total += d->total, c->sum.count += d->count, c->sum.unlike += d->unlike;
  if (equal && !c->all) return;
  etk_cell cells[] = {etk_cell_text("name", name), etk_cell_text("type_a", type_a), etk_cell_text("type_b", type_b), etk_cell_real("max_abs", d->max_abs),
                      etk_cell_real("relative_rms", values_relative_rms(d)), etk_cell_int("not_finite", d->unlike)};
  etk_run_result_row(c->run, "differences", cells, sizeof cells / sizeof *cells);
}

static etk_status compare(etk_error *e, struct comparison *c, const etk_weight *a, const etk_weight *b) {
  if (!etk_shape_equal(&a->shape, &b->shape) || a->type < 0 || b->type < 0) {
    bool same = a->type < 0 && b->type < 0 && !strcmp(a->type_name, b->type_name) && etk_shape_equal(&a->shape, &b->shape) && a->bytes == b->bytes &&
                (a->bytes || !etk_weight_elements(a)); /* texts have no bytes to compare */
    const void *x = NULL, *y = NULL;
    etk_status status = same ? etk_weight_data(e, &x, a) : ETK_OK;
    if (same && !status) status = etk_weight_data(e, &y, b);
    if (status) return status;
    same = same && (!a->bytes || !memcmp(x, y, a->bytes));
    if (same) c->compared++, c->equal++;
    else unlike(c, a, b);
    return ETK_OK;
  }
  struct difference d;
  etk_status status = values_difference(e, &d, a, b);
  if (!status) put_difference(c, a->canonical, a->type_name, b->type_name, &d);
  return status;
}

/* ---- containers that keep rows and values in different ways: both as Hugging Face has them ---- */
static etk_status take(etk_error *e, etk_tensor **out, etk_weights *w, const char *name) {
  etk_tensor *stored = NULL;
  etk_status status = etk_weights_tensor(e, &stored, w, name, NULL);
  *out = stored;
  if (status || etk_tensor_dtype(stored) == ETK_F32) return status;
  status = etk_tensor_cast(e, out, stored, ETK_F32);
  etk_tensor_unref(stored);
  return status;
}

static const char *stored_type(const etk_weights *w, const char *name) {
  const etk_weight *weight = etk_weights_find(w, name);
  return weight ? weight->type_name : "(of a stack)";
}

/* All tensors of a container as Hugging Face has them, by name. */
struct named {
  const char *name;
  etk_shape shape;
  bool paired;
};
struct names {
  etk_arena arena;
  struct named *items;
  size_t count;
};

static int by_name(const void *a, const void *b) { return strcmp(((const struct named *)a)->name, ((const struct named *)b)->name); }

static etk_status names_of(etk_error *e, struct names *out, const etk_weights *w) {
  size_t count = 0;
  for (etk_weights_item item = {0}; etk_weights_next(w, &item);) count++;
  out->items = etk_arena_array(&out->arena, count + 1, sizeof *out->items);
  for (etk_weights_item item = {0}; out->items && etk_weights_next(w, &item);) {
    out->items[out->count] = (struct named){.name = etk_arena_strdup(&out->arena, item.name), .shape = item.shape};
    if (!out->items[out->count++].name) return etk_fail_memory(e);
  }
  if (!out->items) return etk_fail_memory(e);
  qsort(out->items, out->count, sizeof *out->items, by_name);
  return ETK_OK;
}

static etk_status compare_as_hf(etk_error *e, struct comparison *c, etk_weights *a, etk_weights *b, const etk_weights_item *item, const struct named *other) {
  char u[128], v[128];
  if (!etk_shape_equal(&item->shape, &other->shape)) {
    etk_cell cells[] = {etk_cell_text("name", item->name), etk_cell_text("type_a", stored_type(a, item->name)), etk_cell_text("type_b", stored_type(b, item->name)),
                        etk_cell_text("shape_a", etk_shape_text(u, sizeof u, &item->shape)), etk_cell_text("shape_b", etk_shape_text(v, sizeof v, &other->shape))};
    etk_run_result_row(c->run, "incomparable", cells, sizeof cells / sizeof *cells);
    c->different++;
    return ETK_OK;
  }
  etk_tensor *x = NULL, *y = NULL;
  struct difference d;
  etk_status status = take(e, &x, a, item->name);
  if (!status) status = take(e, &y, b, item->name);
  if (!status) status = values_difference_f32(e, &d, etk_tensor_data(x), etk_tensor_data(y), etk_tensor_elements(x));
  if (!status) put_difference(c, item->name, stored_type(a, item->name), stored_type(b, item->name), &d);
  etk_tensor_unref(x), etk_tensor_unref(y);
  return status;
}

static etk_status compare_all_as_hf(etk_error *e, struct comparison *c, etk_weights *a, etk_weights *b) {
  struct names names = {.arena = ETK_ARENA_INIT};
  etk_status status = names_of(e, &names, b);
  etk_weights_item item = {0};
  int64_t done = 0, count = (int64_t)etk_weights_count(a);
  while (!status && etk_weights_next(a, &item)) {
    struct named key = {.name = item.name}, *other = bsearch(&key, names.items, names.count, sizeof key, by_name);
    if (etk_run_cancelled(c->run)) status = etk_fail(e, ETK_E_CANCELLED, "stopped before tensor %s", item.name);
    etk_run_progress(c->run, "tensors", done < count ? done : count, count, item.name);
    done++;
    bool record = is_record(a, item.name);
    if (!other && !record) lonely(c, item.name, "a", &c->missing);
    else if (other && !record && !status) status = compare_as_hf(e, c, a, b, &item, other);
    if (other) other->paired = true;
  }
  for (size_t i = 0; i < names.count && !status; i++)
    if (!names.items[i].paired && !is_record(b, names.items[i].name)) lonely(c, names.items[i].name, "b", &c->extra);
  etk_run_progress(c->run, "tensors", count, count, NULL);
  etk_arena_fini(&names.arena);
  return status;
}

static etk_status compare_all(etk_error *e, struct comparison *c, const etk_weights *a, const etk_weights *b) {
  size_t count = etk_weights_count(a);
  for (size_t i = 0; i < count; i++) {
    const etk_weight *x = etk_weights_at(a, i), *y = partner(b, x);
    if (is_record(a, x->name)) continue;
    if (etk_run_cancelled(c->run)) return etk_fail(e, ETK_E_CANCELLED, "stopped before tensor %s", x->canonical);
    etk_run_progress(c->run, "tensors", (int64_t)i, (int64_t)count, x->canonical);
    etk_status status = y ? compare(e, c, x, y) : ETK_OK;
    if (status) return status;
    if (!y) lonely(c, x->canonical, "a", &c->missing);
  }
  for (size_t i = 0; i < etk_weights_count(b); i++)
    if (!partner(a, etk_weights_at(b, i)) && !is_record(b, etk_weights_at(b, i)->name)) lonely(c, etk_weights_at(b, i)->canonical, "b", &c->extra);
  etk_run_progress(c->run, "tensors", (int64_t)count, (int64_t)count, NULL);
  return ETK_OK;
}

/* ---- MLX's folders, whose matrices are three tensors each: the weights as the runtime binds them ---- */
static bool is_affine(const etk_weights *w) {
  bool found = false;
  for (size_t i = 0; i < etk_weights_count(w) && !found; i++) {
    const char *name = etk_weights_at(w, i)->name;
    size_t size = strlen(name), tail = strlen(".scales");
    found = size > tail && !strcmp(name + size - tail, ".scales");
  }
  return found;
}

static etk_status compare_weight(etk_error *e, struct comparison *c, const char *name, const etk_tensor *a, const etk_tensor *b) {
  const char *type_a = etk_dtype_name(etk_tensor_dtype(a)), *type_b = etk_dtype_name(etk_tensor_dtype(b));
  if (!etk_shape_equal(etk_tensor_shape(a), etk_tensor_shape(b))) {
    char u[128], v[128];
    etk_cell cells[] = {etk_cell_text("name", name), etk_cell_text("type_a", type_a), etk_cell_text("type_b", type_b),
                        etk_cell_text("shape_a", etk_shape_text(u, sizeof u, etk_tensor_shape(a))), etk_cell_text("shape_b", etk_shape_text(v, sizeof v, etk_tensor_shape(b)))};
    etk_run_result_row(c->run, "incomparable", cells, sizeof cells / sizeof *cells);
    c->different++;
    return ETK_OK;
  }
  etk_tensor *x = NULL, *y = NULL;
  struct difference d;
  etk_status status = etk_tensor_cast(e, &x, a, ETK_F32);
  if (!status) status = etk_tensor_cast(e, &y, b, ETK_F32);
  if (!status) status = values_difference_f32(e, &d, etk_tensor_data(x), etk_tensor_data(y), etk_tensor_elements(x));
  if (!status) put_difference(c, name, type_a, type_b, &d);
  etk_tensor_unref(x), etk_tensor_unref(y);
  return status;
}

static etk_status compare_models(etk_error *e, struct comparison *c, const etk_model *a, const etk_model *b) {
  size_t count = etk_model_weight_count(a);
  for (size_t i = 0; i < count; i++) {
    const char *name = etk_model_weight_name(a, i);
    if (etk_run_cancelled(c->run)) return etk_fail(e, ETK_E_CANCELLED, "stopped before tensor %s", name);
    etk_run_progress(c->run, "tensors", (int64_t)i, (int64_t)count, name);
    const etk_tensor *other = etk_model_weight(b, name);
    etk_status status = other ? compare_weight(e, c, name, etk_model_weight_at(a, i), other) : ETK_OK;
    if (status) return status;
    if (!other) lonely(c, name, "a", &c->missing);
  }
  for (size_t i = 0; i < etk_model_weight_count(b); i++)
    if (!etk_model_weight(a, etk_model_weight_name(b, i))) lonely(c, etk_model_weight_name(b, i), "b", &c->extra);
  etk_run_progress(c->run, "tensors", (int64_t)count, (int64_t)count, NULL);
  return ETK_OK;
}

static bool keeps_its_own_order(const etk_weights *w) { return etk_weights_get_format(w) == ETK_WEIGHTS_GGUF || etk_weights_get_format(w) == ETK_WEIGHTS_LLAMA2C; }

etk_status diff_models(etk_run *run, const char *path_a, const char *path_b, bool all, bool check) {
  etk_error e = ETK_ERROR_INIT;
  etk_weights *a = NULL, *b = NULL;
  struct comparison c = {.run = run, .all = all};
  etk_status status = etk_weights_open(&e, &a, path_a);
  if (!status) status = etk_weights_open(&e, &b, path_b);
  etk_model *x = NULL, *y = NULL;
  bool bound = !status && (is_affine(a) || is_affine(b)) && !etk_model_open(NULL, &x, path_a, NULL) && !etk_model_open(NULL, &y, path_b, NULL);
  bool alike = !status && (etk_weights_get_format(a) == etk_weights_get_format(b) || (!keeps_its_own_order(a) && !keeps_its_own_order(b)));
  if (!status) status = bound ? compare_models(&e, &c, x, y) : alike ? compare_all(&e, &c, a, b) : compare_all_as_hf(&e, &c, a, b);
  etk_weights_close(a), etk_weights_close(b);
  etk_model_unref(x), etk_model_unref(y);
  if (status) return model_failed(run, &e);
  etk_run_result_flag(run, "equal", !c.different && !c.missing && !c.extra);
  etk_run_result_int(run, "compared", c.compared);
  etk_run_result_int(run, "equal_tensors", c.equal);
  etk_run_result_int(run, "different_tensors", c.different);
  etk_run_result_int(run, "only_in_a", c.missing);
  etk_run_result_int(run, "only_in_b", c.extra);
  etk_run_result_int(run, "not_finite", c.sum.unlike);
  if (!c.compared) return ETK_OK; /* no distance, rather than one of 0 */
  etk_run_result_real(run, "max_abs", c.sum.max_abs);
  etk_run_result_real(run, "relative_rms", values_relative_rms(&c.sum));
  if (check && (c.different || c.missing || c.extra))
    return etk_run_fail(run, ETK_E_CHECK, "%s and %s differ: %" PRId64 " tensors in values or shape, %" PRId64 " only in the first, %" PRId64 " only in the second", path_a, path_b, c.different,
                        c.missing, c.extra);
  return ETK_OK;
}
