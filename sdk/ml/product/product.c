/* product.c: which back end takes a tensor, and the product that a tensor keeps. */
#include "product.h"

#include <etk/fs.h>
#include <etk/log.h>
#include <pthread.h>
#include <stdlib.h>

#include "ml/tensor/internal.h"

/* The first that fits takes the tensor. */
static const struct product_backend *const backends[] = {
    &etk__product_blocks,
    &etk__product_half,
};

struct etk__product {
  const struct product_backend *backend;
  void *state;
};

etk_status etk__product_new(etk_error *e, etk__product **out, const etk_tensor *weight) {
  char text[SHAPE_TEXT];
  *out = NULL;
  const struct product_backend *backend = NULL;
  bool matrix = !weight->graph && weight->shape.rank == 2 && weight->elements > 0;
  for (size_t i = 0; matrix && !backend && i < sizeof backends / sizeof backends[0]; i++)
    if (backends[i]->fits(weight)) backend = backends[i];
  if (!backend)
    return etk_fail(e, ETK_E_UNSUPPORTED, "product: no fast product for weights %s of %s",
                    etk_shape_text(text, sizeof text, &weight->shape), etk_dtype_name(weight->dtype));
  etk__product *p = etk_calloc(1, sizeof *p);
  if (!p) return etk_fail_memory(e);
  p->backend = backend;
  etk_status status = backend->make(e, &p->state, weight);
  if (status) {
    etk_free(p);
    return status;
  }
  *out = p;
  return ETK_OK;
}

void etk__product_free(etk__product *p) {
  if (!p) return;
  p->backend->free(p->state);
  etk_free(p);
}

const char *etk__product_name(const etk__product *p) { return p->backend->name; }
size_t etk__product_bytes(const etk__product *p) { return p->backend->bytes(p->state); }
int64_t etk__product_alike(const etk__product *p) { return p->backend->alike(p->state); }
size_t etk__product_scratch(const etk__product *p, int64_t rows, int threads) { return p->backend->scratch(p->state, rows, threads); }
void etk__product_run(const etk__product *p, float *y, int64_t ldy, const float *x, int64_t ldx, int64_t rows, float alpha, float beta, void *scratch) {
  if (rows > 0) p->backend->run(p->state, y, ldy, x, ldx, rows, alpha, beta, scratch);
}

/* ---- the product that a tensor keeps ---- */

static _Atomic int exact = -1; /* -1: the environment has not been read */
static etk__product none;      /* stands for "asked, and there is none" */
static pthread_mutex_t making = PTHREAD_MUTEX_INITIALIZER;

void etk__product_set_exact(bool on) { atomic_store(&exact, on); }

static bool is_exact(void) {
  int value = atomic_load_explicit(&exact, memory_order_relaxed);
  if (value >= 0) return value;
  const char *text = getenv("ETK_PRODUCT");
  value = text && strcmp(text, "exact") == 0;
  if (text && *text && !value && strcmp(text, "fast") != 0) etk_log(ETK_LOG_WARNING, "ETK_PRODUCT is '%s'; exact or fast is wanted, so it is ignored", text);
  atomic_store_explicit(&exact, value, memory_order_relaxed);
  return value;
}

const etk__product *etk__product_of(const etk_tensor *weight) {
  const etk_tensor *t = weight->source ? weight->source : weight;
  if (weight->graph && weight->graph->exact) return NULL;
  if (t->graph || !t->data || !(t->dtype == ETK_F32 || (etk__is_stored(t->dtype) && !t->trainable))) return NULL; /* F32 is read where it is: it may change */
  _Atomic(void *) *slot = &((etk_tensor *)(uintptr_t)t)->product;
  void *seen = atomic_load_explicit(slot, memory_order_acquire);
  if (!seen) {
    pthread_mutex_lock(&making);
    seen = atomic_load_explicit(slot, memory_order_acquire);
    etk__product *p = NULL;
    if (!seen) {
      if (is_exact() || etk__product_new(NULL, &p, t)) p = &none;
      atomic_store_explicit(slot, p, memory_order_release);
      seen = p;
    }
    pthread_mutex_unlock(&making);
  }
  return seen == &none ? NULL : seen;
}

void etk__product_drop(_Atomic(void *) *slot) {
  etk__product *p = atomic_load_explicit(slot, memory_order_acquire);
  if (p != &none) etk__product_free(p);
}

/* What the tensor keeps, if it was asked. */
static const etk__product *seen_of(const etk_tensor *weight) {
  const etk_tensor *t = weight->source ? weight->source : weight;
  const void *seen = t->graph ? NULL : atomic_load_explicit(&t->product, memory_order_acquire);
  return seen == &none ? NULL : seen;
}

bool etk__product_row(const etk_tensor *weight, float *out, int64_t row) {
  const etk__product *p = seen_of(weight);
  return p && p->backend->row && p->backend->row(p->state, out, row);
}

size_t etk__product_copied(const etk_tensor *weight) {
  const etk__product *p = seen_of(weight);
  return p ? etk__product_bytes(p) : 0;
}

size_t etk__product_held(const etk_tensor *weight) {
  const etk__product *p = seen_of(weight);
  size_t copy = p ? etk__product_bytes(p) : 0, ordered = weight->rotary && atomic_load_explicit(&weight->ordered, memory_order_relaxed) ? weight->bytes : 0;
  return ordered + (copy && etk_map_name_of(weight->data) ? copy : copy + weight->bytes);
}
