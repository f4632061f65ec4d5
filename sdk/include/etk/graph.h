/* etk/graph.h: record operations once, plan their memory, run them as often as wanted.
 *
 *   etk_graph *g = etk_graph_new();
 *   etk_tensor *x = etk_graph_input(g, ETK_F32, etk_shape_of(2, 4, 8), "x");
 *   etk_tensor *y = etk_matmul(g, x, w, false, true);          // etk/ops.h: nothing is computed yet
 *   etk_graph_keep(g, y);
 *   etk_graph_plan(e, g, &plan);                               // plan.peak_bytes is known before anything runs
 *   memcpy(etk_tensor_data(x), …); etk_graph_eval(e, g);       // again and again; no allocation
 *
 * Errors are sticky: an operation on bad input poisons its result and the graph; plan and eval report the first cause with the operation's name
 * and shapes. So model code needs no checks between operations. A graph belongs to one thread at a time; kernels inside use the pool. */
#ifndef ETK_GRAPH_H
#define ETK_GRAPH_H

#include "rng.h"
#include "tensor.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct etk_graph etk_graph;

etk_graph *etk_graph_new(void); /* NULL: out of memory */
void etk_graph_free(etk_graph *graph);

/* A tensor the caller fills before each eval. Its storage is its own from the moment of the call (etk_tensor_data is valid at once, zeroed). */
etk_tensor *etk_graph_input(etk_graph *graph, etk_dtype dtype, etk_shape shape, const char *name);
/* Keeps a tensor's values after eval (results, losses, gradients): its storage is not reused within an eval. */
void etk_graph_keep(etk_graph *graph, etk_tensor *tensor);
/* Records the reverse pass of `loss` (one element) and returns in grads[i] the gradient of wrt[i] (same shape, kept; NULL where the loss does
 * not depend on it). Recorded gradients are tensors like any other: they may be differentiated again where every operation involved can be. */
etk_status etk_graph_backward(etk_error *e, etk_graph *graph, etk_tensor *loss, etk_tensor *const *wrt, size_t count, etk_tensor **grads);
/* Until the next call, what is recorded makes one part whose results are not kept for the reverse pass but computed again in it, from what enters the part
 * (Chen et al. 2016): the same bits, random operations included, for less memory and the time of one more forward pass. false: no part. */
void etk_graph_recompute(etk_graph *graph, bool on);
/* The first cause of poisoning, or ETK_OK. */
etk_status etk_graph_status(etk_error *e, const etk_graph *graph);

typedef struct etk_plan {
  size_t nodes;         /* operations that will run (those no kept tensor needs are dropped) */
  size_t step_bytes;    /* one block for all intermediate results, reused by lifetime */
  size_t scratch_bytes; /* largest work space of a kernel, all threads */
  size_t input_bytes;
  size_t peak_bytes;    /* step + scratch + input: what this graph needs beyond its weights */
  size_t naive_bytes;   /* the same if nothing were reused */
} etk_plan;
/* Assigns storage (without allocating it). Recording more after a plan requires a new plan. out may be NULL. */
etk_status etk_graph_plan(etk_error *e, etk_graph *graph, etk_plan *out);
/* Fails with ETK_E_NO_MEMORY at the first eval where plan.peak_bytes exceeds this ("needs 3.1 GiB, have 2.0 GiB"); 0: no limit. */
void etk_graph_set_memory_limit(etk_graph *graph, size_t bytes);
/* Runs everything recorded, in order; plans first if that is owed. */
etk_status etk_graph_eval(etk_error *e, etk_graph *graph);
/* What the factors of matrix products are rounded to; sums are F32 and so is everything else. Set before eval. */
typedef enum etk_compute { ETK_COMPUTE_F32, ETK_COMPUTE_BF16 } etk_compute;
void etk_graph_set_compute(etk_graph *graph, etk_compute compute);
/* Before recording: products with stored weights are made of the very values on both sides. Else rows that are multiplied by a weight of 16 bits, or in blocks, may
 * be rounded to 16 or 8 bits where the processor multiplies those. Encoders are exact: vectors are kept and compared on other machines. */
void etk_graph_set_exact(etk_graph *graph, bool on);
const char *etk_compute_name(etk_compute compute); /* "float32", "bfloat16" */
bool etk_compute_parse(etk_compute *out, const char *name);
/* Dropout and other random operations read (seed, step) from here: the same values give the same bits. Set before eval. */
void etk_graph_set_random(etk_graph *graph, uint64_t seed, uint64_t step);

#ifdef __cplusplus
}
#endif
#endif
