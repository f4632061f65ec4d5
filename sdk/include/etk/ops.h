/* etk/ops.h: operations. Each records a node in the graph and returns its result at once; nothing is computed before eval.
 *
 * Floating operations take and give F32. Shapes are in comments, outermost first; `...` stands for any leading dims. Every operation is
 * differentiable in its floating inputs unless it says otherwise. A poisoned input gives a poisoned result. */
#ifndef ETK_OPS_H
#define ETK_OPS_H

#include "cache.h"
#include "graph.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Elementwise. b has a's shape, or is a suffix of it and is repeated over a's leading dims (bias). */
etk_tensor *etk_add(etk_graph *g, etk_tensor *a, etk_tensor *b);
etk_tensor *etk_sub(etk_graph *g, etk_tensor *a, etk_tensor *b);
etk_tensor *etk_mul(etk_graph *g, etk_tensor *a, etk_tensor *b);
etk_tensor *etk_scale(etk_graph *g, etk_tensor *a, float factor);
etk_tensor *etk_scale_rows(etk_graph *g, etk_tensor *a, etk_tensor *s);   /* a (..., d), s one number a row (... or ..., 1): each row times its own */
etk_tensor *etk_sigmoid(etk_graph *g, etk_tensor *a);
etk_tensor *etk_silu(etk_graph *g, etk_tensor *a);                        /* a * sigmoid(a) */
etk_tensor *etk_gelu(etk_graph *g, etk_tensor *a, bool tanh_form);         /* a * Phi(a), or its tanh form (Hendrycks & Gimpel 2016) */
etk_tensor *etk_swiglu(etk_graph *g, etk_tensor *gate, etk_tensor *up);   /* silu(gate) * up, fused */
etk_tensor *etk_softcap(etk_graph *g, etk_tensor *a, float cap);          /* cap * tanh(a / cap), cap above 0 (Gemma 2, Riviere et al. 2024) */

/* Shape. */
etk_tensor *etk_reshape(etk_graph *g, etk_tensor *a, etk_shape shape);    /* same elements; shares storage */
etk_tensor *etk_transpose(etk_graph *g, etk_tensor *a);                   /* (m, n) -> (n, m), copied */
etk_tensor *etk_slice(etk_graph *g, etk_tensor *a, int64_t from, int64_t count); /* (..., n) -> (..., count): columns from .. from + count */
etk_tensor *etk_rows(etk_graph *g, etk_tensor *a, etk_tensor *index);     /* a (n, d), stored or not, index (m) i32 -> (m, d); index -1 gives zeros */
etk_tensor *etk_add_rows(etk_graph *g, etk_tensor *x, etk_tensor *y, etk_tensor *index); /* x (n, d), y (m, d), index (m) i32 -> x with y's rows added where index says; -1: nowhere */

/* Reductions. */
etk_tensor *etk_sum(etk_graph *g, etk_tensor *a);                         /* -> (1) */
etk_tensor *etk_mean(etk_graph *g, etk_tensor *a);                        /* -> (1) */
etk_tensor *etk_sum_leading(etk_graph *g, etk_tensor *a, etk_shape suffix);   /* (..., suffix) -> suffix: what undoes a broadcast */
etk_tensor *etk_broadcast(etk_graph *g, etk_tensor *a, etk_shape shape);      /* suffix -> (..., suffix); (1) -> any */
etk_tensor *etk_softmax(etk_graph *g, etk_tensor *a);                     /* over the last axis */

/* Products. */
/* op(a) op(b) with a (m, k) and b (k, n) after the optional transposes -> (m, n). a may have more dims: (..., k) counts as (rows, k) when it is
 * not transposed, and the result is (..., n). b may be a weight of a stored type (etk/tensor.h): a must not be transposed then, b gets no gradient, and it is
 * decoded a tile at a time, never whole; results are those of the decoded weight to rounding, and the same for any number of threads. */
etk_tensor *etk_matmul(etk_graph *g, etk_tensor *a, etk_tensor *b, bool transpose_a, bool transpose_b);
/* c + factor * op(a) op(b): one pass, no copy of c where c dies here. */
etk_tensor *etk_matmul_add(etk_graph *g, etk_tensor *c, etk_tensor *a, etk_tensor *b, float factor, bool transpose_a, bool transpose_b);
/* c + factor * a op(b), or without c (NULL), for the first count (1) i32 rows of a alone: the others of the result are c's, or 0. What a's other rows hold
 * does not matter; they get no gradient. */
etk_tensor *etk_matmul_first(etk_graph *g, etk_tensor *c, etk_tensor *a, etk_tensor *b, etk_tensor *count, float factor, bool transpose_b);
/* A linear layer with a low-rank addition (Hu et al. 2021): sum (or NULL) + x W' + scale (x A') B' in one pass over x and the result, forward and back. x (..., in),
 * weight (out, in), stored or not, a (rank, in), b (out, rank), rank at most 256. */
etk_tensor *etk_low_rank(etk_graph *g, etk_tensor *x, etk_tensor *weight, etk_tensor *a, etk_tensor *b, etk_tensor *sum, float scale);

/* Language models. */
etk_tensor *etk_embedding(etk_graph *g, etk_tensor *table, etk_tensor *ids); /* table (vocab, d), stored or not, ids (...) i32 -> (..., d) */
etk_tensor *etk_rms_norm(etk_graph *g, etk_tensor *x, etk_tensor *weight, float epsilon); /* x (..., d) * weight (d) / rms(x) (Zhang & Sennrich 2019) */
/* Mixture of experts: logits (..., experts) -> the softmax over all experts, kept for the `count` largest of a row and 0 for the others; normalise: divided
 * by the sum of what is kept. */
etk_tensor *etk_route(etk_graph *g, etk_tensor *logits, int64_t count, bool normalise);
/* Whom an expert serves: the rows of weights (..., experts) where its column is not 0 -> index (rows) i32, in order, then -1; *count (1) i32: how many. With
 * etk_rows, etk_matmul_first and etk_add_rows an expert computes its own tokens alone. Not differentiable. */
etk_tensor *etk_expert_rows(etk_graph *g, etk_tensor *weights, int64_t expert, etk_tensor **count);
/* (x - mean) / sqrt(variance + epsilon) * weight (d) + bias (d) over the last axis of x (..., d) (Ba, Kiros & Hinton 2016) */
etk_tensor *etk_layer_norm(etk_graph *g, etk_tensor *x, etk_tensor *weight, etk_tensor *bias, float epsilon);
/* Rotates pairs (i, i + n/2) of the first n values of each head by position * inverse_frequency[i] (Su et al. 2021, NeoX halves as Hugging Face
 * does). x (batch, tokens, heads, d), positions (batch, tokens) i32, inverse_frequency f32 constant, (n/2) or, different for
 * each batch row, (batch, n/2); n at most d; the others stay as they are. */
etk_tensor *etk_rope(etk_graph *g, etk_tensor *x, etk_tensor *positions, etk_tensor *inverse_frequency);
/* The same, and what turns is multiplied by scale (YaRN, LongRoPE). */
etk_tensor *etk_rope_scaled(etk_graph *g, etk_tensor *x, etk_tensor *positions, etk_tensor *inverse_frequency, float scale);
/* LongRoPE (Ding et al. 2024): the frequencies of each batch row. short and long (n/2), last (batch, any) i32 -> (batch, n/2): long's where the row's
 * largest entry, its sequence's last position, is `original` or above. Not differentiable. */
etk_tensor *etk_rope_choose(etk_graph *g, etk_tensor *short_frequency, etk_tensor *long_frequency, etk_tensor *last, int64_t original);
/* Causal attention within a batch row: q (batch, tokens, heads, d), k and v (batch, tokens, kv_heads, d) -> like q. heads is a multiple of
 * kv_heads; query head h reads key head h / (heads/kv_heads). Padding at the right needs no mask: nothing before it sees it. */
etk_tensor *etk_attention(etk_graph *g, etk_tensor *q, etk_tensor *k, etk_tensor *v, float scale);
typedef struct etk_attention_options {
  float scale;    /* of q . k */
  int64_t window; /* a token sees that many positions, its own included (Beltagy et al. 2020, as Mistral uses it); 0: all before it */
  float softcap;  /* scores, scaled, become softcap * tanh(score / softcap) before the softmax; 0: they stay */
} etk_attention_options;
etk_tensor *etk_attention_with(etk_graph *g, etk_tensor *q, etk_tensor *k, etk_tensor *v, const etk_attention_options *options);
/* The same where several texts lie end to end in a row: starts (batch, tokens) i32 says at which column the text of each token begins, and a token sees none
 * before that. NULL: each row is one text. */
etk_tensor *etk_attention_within(etk_graph *g, etk_tensor *q, etk_tensor *k, etk_tensor *v, etk_tensor *starts, const etk_attention_options *options);
/* The same against a cache, which it first extends: k and v of token t in row b go to position positions[b][t] of the row's sequence, given by
 * block_table (batch, max_blocks) i32 (-1: none). A token attends to positions 0..positions[b][t] of its row. positions (batch, tokens) i32;
 * a negative position marks an unused token: nothing is written, its result is zero. Not differentiable. */
etk_tensor *etk_cached_attention(etk_graph *g, etk_tensor *q, etk_tensor *k, etk_tensor *v, etk_cache *cache, int layer,
                                 etk_tensor *block_table, etk_tensor *positions, float scale);
etk_tensor *etk_cached_attention_with(etk_graph *g, etk_tensor *q, etk_tensor *k, etk_tensor *v, etk_cache *cache, int layer,
                                      etk_tensor *block_table, etk_tensor *positions, const etk_attention_options *options);
/* logits (n, vocab), targets (n) i32 -> (n): -log softmax(logits)[target], 0 where the target is negative (ignored). */
etk_tensor *etk_cross_entropy(etk_graph *g, etk_tensor *logits, etk_tensor *targets);
/* values (n), targets (n) -> (1): mean of the values whose target is not negative; 0 when there are none. */
etk_tensor *etk_mean_counted(etk_graph *g, etk_tensor *values, etk_tensor *targets);
/* etk_mean_counted(etk_cross_entropy(x W', targets)) with, where softcap is not 0, etk_softcap between them, and no (n, vocab) matrix of logits: x (n, d),
 * weight (vocab, d), stored or not, targets (n) i32 -> (1); *losses (n): of each row, 0 where the target is negative. Such rows cost nothing. Differentiable once, in x and
 * in a weight of F32; *losses is not. */
etk_tensor *etk_head_loss(etk_graph *g, etk_tensor *x, etk_tensor *weight, etk_tensor *targets, float softcap, etk_tensor **losses);
/* Zeroes with probability `rate` and scales the rest by 1/(1-rate); reads the graph's random state; rate 0 returns x itself. */
etk_tensor *etk_dropout(etk_graph *g, etk_tensor *x, float rate);

/* Encoders. */
/* Every query sees the first lengths[b] keys of its row: q (batch, tokens, heads, d), k and v (batch, keys, kv_heads, d), lengths (batch) i32 or NULL (all
 * keys) -> like q; zeros where a length is 0. heads is a multiple of kv_heads. Queries and keys may be of two sequences. */
etk_tensor *etk_full_attention(etk_graph *g, etk_tensor *q, etk_tensor *k, etk_tensor *v, etk_tensor *lengths, float scale);
/* x (batch, tokens, d), lengths (batch) i32 -> (batch, d): the mean, or the largest, of the first lengths[b] rows; zeros where a length is 0. */
etk_tensor *etk_mean_pool(etk_graph *g, etk_tensor *x, etk_tensor *lengths);
etk_tensor *etk_max_pool(etk_graph *g, etk_tensor *x, etk_tensor *lengths);
/* image (batch, channels, height, width) -> (batch, squares, channels * size * size): squares of size x size, row by row, each as (channels, size, size). */
etk_tensor *etk_patches(etk_graph *g, etk_tensor *image, int64_t size);

#ifdef __cplusplus
}
#endif
#endif
