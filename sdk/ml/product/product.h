/* product.h: weights (out, in) of a stored tensor made ready for y = x W', the product that a linear layer's forward is.
 *
 * A product is made once for a tensor and the instruction set in use, and may hold a repacked copy of the weights, made when it first runs: memory that is
 * mapped from a file is then let go of (it is read again where exact values are asked for). To its callers it is immutable, so any number of threads may run it. A back end is one row of the table in product.c; the first whose `fits` says yes takes the tensor. Files of this folder are
 * compiled for more instruction sets than others: product_blocks.isa.c also for avx512vnni and neondot, product_half.isa.c for avx512bf16 and neonmm
 * (Makefile: ISAS_<file>). */
#ifndef ETK_ML_PRODUCT_H
#define ETK_ML_PRODUCT_H

#include <etk/status.h>
#include <etk/tensor.h>
#include <stdatomic.h>

typedef struct etk__product etk__product;

struct product_backend {
  const char *name;
  bool (*fits)(const etk_tensor *weight); /* type and shape; weight has rank 2 and is not of a graph */
  /* Any state of its own, which it frees. ETK_E_NO_MEMORY or ETK_E_UNSUPPORTED leave the tensor to be decoded. */
  etk_status (*make)(etk_error *e, void **state, const etk_tensor *weight);
  void (*free)(void *state);
  size_t (*bytes)(const void *state);
  size_t (*scratch)(const void *state, int64_t rows, int threads);
  void (*run)(const void *state, float *y, int64_t ldy, const float *x, int64_t ldx, int64_t rows, float alpha, float beta, void *scratch);
  bool (*row)(const void *state, float *out, int64_t row); /* may be NULL: see etk__product_row */
  int64_t (*alike)(const void *state);                     /* see etk__product_alike */
};
extern const struct product_backend etk__product_half;   /* F32, F16, BF16, and what is decoded: product_half.c */
extern const struct product_backend etk__product_blocks; /* GGUF's blocks by integer dot products: product_blocks.c */

/* ETK_E_UNSUPPORTED: no fast path for this type or shape: the caller decodes. The weight's storage must outlive the product. */
etk_status etk__product_new(etk_error *e, etk__product **out, const etk_tensor *weight);
void etk__product_free(etk__product *p); /* NULL is fine */
const char *etk__product_name(const etk__product *p);    /* of its back end: "blocks" */
size_t etk__product_bytes(const etk__product *p);        /* of its own copy; 0 where it reads the stored bytes in place */
size_t etk__product_scratch(const etk__product *p, int64_t rows, int threads);
int64_t etk__product_alike(const etk__product *p); /* up to so many rows of x at once, each row of y has the bits that it has alone */
/* y (rows, out) = alpha x (rows, in) W' + beta y; beta 0: y is not read. Over the pool; any number of rows: decode (1 to 8) and prompts (hundreds) may take
 * different kernels inside. Which thread does what changes no bit. scratch: 64-byte aligned, as many bytes as etk__product_scratch said for as many rows and
 * threads. Rows of x and y are ldx and ldy floats apart; x and y do not overlap. */
void etk__product_run(const etk__product *p, float *y, int64_t ldy, const float *x, int64_t ldx, int64_t rows, float alpha, float beta, void *scratch);

/* The product of a tensor, made at the first call and freed with it (thread-safe); NULL: there is none, or $ETK_PRODUCT is "exact". What this says of a
 * tensor once it says always. Of a graph's tensor it is the outside tensor's for which it stands; tensors that a graph makes have none, and
 * none is used in a graph that is exact. */
const etk__product *etk__product_of(const etk_tensor *weight);
void etk__product_drop(_Atomic(void *) *slot); /* for etk_tensor_unref */
/* A row of the tensor as F32, the very values that its stored bytes have, from the product that it keeps. False: there is none, or it has no copy (yet). */
bool etk__product_row(const etk_tensor *weight, float *out, int64_t row);
/* Bytes of memory that the tensor's weights take once its product has run: of the product's copy, where it has one and the stored bytes come from a file,
 * whose pages are let go of; of both, where they are the tensor's own; else the stored ones. */
size_t etk__product_held(const etk_tensor *weight);
size_t etk__product_copied(const etk_tensor *weight); /* of its product's own copy; 0: none, or the product was not asked for */
/* ETK_PRODUCT=exact|fast, read once; tests set it. The setting holds for tensors that have not been asked yet. */
void etk__product_set_exact(bool exact);

#endif
