/* internal.h: what graph, planner, operations and kernels share.
 *
 * Three layers, arrows one way: ops/ describe operations as rows (struct op) and record nodes; tensor/ walks nodes and knows no operation;
 * kernels/ see pointers and sizes. */
#ifndef ETK_ML_TENSOR_INTERNAL_H
#define ETK_ML_TENSOR_INTERNAL_H

#include <etk/alloc.h>
#include <etk/graph.h>
#include <etk/quant.h>
#include <stdatomic.h>

#include "../kernels/kernels.h"

enum { MAX_INPUTS = 8, MAX_OUTPUTS = 5, ALIGNMENT = 64 };

struct node;

/* What a tensor of AFFINE or NF4 is made of: references to its codes and scales (and biases). */
struct parts {
  etk_affine affine;
  etk_tensor *codes, *scales, *biases;
};

struct etk_tensor {
  etk_dtype dtype;
  bool trainable, kept, input;
  etk_shape shape;
  int64_t elements;
  size_t bytes;
  void *data;
  struct parts *parts; /* AFFINE and NF4, else NULL; a stand-in has its source's */
  bool rounds;         /* outside graphs, F32 or F16: products with many rows may round both sides to BF16 (etk_model_set_compute) */
  int64_t rotary;      /* F32, F16, BF16 or a block type: rows lie interleaved within heads of so many (etk_weight_stored_row); 0: in order */
  _Atomic(void *) ordered; /* a copy: with rotary what etk_tensor_data gave out, of a small tensor of a file etk__tensor_beside; NULL: it was not asked */
  _Atomic(void *) product; /* product/product.h: outside graphs, what etk__product_of keeps; NULL: it was not asked */
  /* Outside graphs (graph NULL): shared by reference count. */
  atomic_int references;
  void (*release)(void *owner); /* of wrapped memory; NULL: data is ours or needs no release (owned tells) */
  void *owner;
  bool owned;
  /* In a graph: dies with it. */
  etk_graph *graph;
  struct node *node;    /* producer; NULL for inputs and for stand-ins of outside tensors */
  etk_tensor *source;   /* a stand-in: the outside tensor, of which the graph holds a reference */
  etk_tensor *storage;  /* whose bytes these are: itself, or for a reshape the tensor it reshapes */
  int64_t id;           /* dense, from 0 */
  int64_t buffer;       /* planner: which buffer; -1: none (its data is its own, or it is not needed) */
};

/* What a shape rule says of each output. */
struct result {
  etk_dtype dtype;
  etk_shape shape;
};

/* What a forward function gets. in[i] and out[i] are ready; an absent optional input has data NULL. */
struct call {
  const struct node *node;
  const void *attributes;
  etk_view in[MAX_INPUTS], out[MAX_OUTPUTS];
  void *scratch; /* as many bytes as op->scratch asked for, 64-byte aligned, uninitialised */
  int threads;   /* what op->scratch was told */
  etk_compute compute;
  uint64_t seed, step;
};

/* What a backward function gets and fills: gradients[i] for each i with wanted[i]. outputs[j] is NULL where output j has no gradient.
 * running[i] is what input i has gathered so far (or NULL): a function that can add to it in one pass says so in accumulated[i]. */
struct reverse {
  etk_graph *graph;
  const struct node *node;
  etk_tensor *outputs[MAX_OUTPUTS];
  bool wanted[MAX_INPUTS];
  etk_tensor *running[MAX_INPUTS];
  etk_tensor *gradients[MAX_INPUTS];
  bool accumulated[MAX_INPUTS];
};

enum {
  OP_ALIAS = 1,       /* output 0 is input 0's storage; nothing runs */
  OP_ORDERED = 2,     /* has an effect outside the graph: never dropped, never moved */
  OP_ELEMENTWISE = 4, /* reads element i of its inputs before it writes element i of output 0, so that inputs may overlap it */
  OP_INPLACE_0 = 8, OP_INPLACE_1 = 16, OP_INPLACE_2 = 32, OP_INPLACE_4 = 128, /* output 0 may take over input i's storage when that dies here */
  OP_STORED_0 = 256, OP_STORED_1 = 512 /* input i may also be of a stored type (etk__is_stored) */
};

/* One const row for each operation. */
struct op {
  const char *name;
  unsigned flags;
  int inputs_min, inputs_max; /* inputs past inputs_min are optional */
  unsigned integers;          /* bit i: input i is I32; the others are F32 */
  /* Fills results and returns ETK_OK, or says what is wrong (the message begins with the operation's name). */
  etk_status (*shape)(etk_error *e, const struct node *node, struct result *results, int *count);
  etk_status (*forward)(etk_error *e, const struct call *call);
  void (*backward)(struct reverse *reverse);                 /* NULL: not differentiable */
  size_t (*scratch)(const struct node *node, int threads);   /* bytes; NULL: none */
};

struct node {
  const struct op *op;
  int input_count, output_count;
  etk_tensor *inputs[MAX_INPUTS]; /* tensors of the same graph; an absent optional input is NULL */
  etk_tensor *outputs[MAX_OUTPUTS];
  void *attributes;
  size_t attribute_bytes;
  int64_t part; /* of the graph that is computed again in the reverse pass, from 1; 0: kept for it */
  bool live;
};

struct buffer {
  size_t bytes, offset;
  int64_t first, last; /* node numbers between which it is taken */
};

/* Memory for the steps of graphs of which one runs at a time: what a graph keeps holds until another runs. Grown by whoever needs more; etk_free(data). */
struct workspace {
  unsigned char *data;
  size_t bytes;
};

struct etk_graph {
  etk_arena arena;
  struct node **nodes;
  size_t node_count, node_capacity;
  etk_tensor **tensors; /* by id: stand-ins, inputs and outputs */
  size_t tensor_count, tensor_capacity;
  size_t *sources;      /* open addressing: outside tensor -> 1 + id of its stand-in; 0 free */
  size_t source_count, source_capacity;
  etk_status status;
  etk_error error;
  etk_tensor poison;
  uint64_t seed, step;
  uint64_t random_nodes; /* numbers the random operations */
  etk_compute compute;
  bool exact; /* etk_graph_set_exact */
  bool arrived; /* it has run, so that no weight is still being read from its file */
  int64_t part, part_count; /* what nodes are recorded into (struct node) */
  size_t input_bytes, memory_limit;
  /* plan */
  bool planned;
  int planned_threads;
  etk_plan plan;
  struct buffer *buffers;
  size_t buffer_count;
  /* storage */
  unsigned char *block;
  size_t block_bytes;
  struct workspace *workspace; /* of which block is; NULL: block is the graph's own */
  bool debug_poison;
};

/* ---- graph.c: for operations ---- */
/* Records a node and returns output 0 (the poisoned tensor on any error). attributes (size bytes) are copied. */
etk_tensor *etk__record(etk_graph *graph, const struct op *op, etk_tensor *const *inputs, int count, const void *attributes, size_t size);
etk_tensor *etk__output(etk_tensor *first, int index); /* another output of the node that made `first` */
/* One more result of a node that is recorded already, which its forward function then also makes: what a reverse pass asks for. Poisoned: out of memory. */
etk_tensor *etk__add_output(etk_graph *graph, struct node *node, etk_shape shape);
/* The node recorded again with other inputs: same operation, same attributes (so the same random numbers). NULL: the graph is poisoned. */
struct node *etk__record_again(etk_graph *graph, const struct node *node, etk_tensor *const *inputs);
bool etk__poisoned(const etk_tensor *tensor);
/* Poisons the graph (the first cause stays) and returns the poisoned tensor. */
etk_tensor *etk__poison(etk_graph *graph, etk_status status, const char *format, ...) ETK_PRINTF(3, 4);
etk_tensor *etk__fill(etk_graph *graph, etk_shape shape, float value); /* ops/reduce.c: a constant */
/* The graph's own tensor that stands for this one, NULL if there is none. */
etk_tensor *etk__stand_in(const etk_graph *graph, const etk_tensor *tensor);

/* ---- eval.c, for tests and benches ---- */
etk_status etk__run_node(etk_error *e, const etk_graph *graph, const struct node *node); /* storage must be there */
/* Fills storage with NaN before each eval and whenever its tensor dies, so that a planner that reuses too early shows. */
void etk__graph_set_debug_poison(etk_graph *graph, bool on);
/* Before the first eval. The workspace must outlive the graph. */
void etk__graph_set_workspace(etk_graph *graph, struct workspace *workspace);

/* ---- shape.c ---- */
bool etk__shape_is_suffix(const etk_shape *suffix, const etk_shape *shape);
static inline int64_t etk__last(const etk_shape *shape) { return shape->rank ? shape->dims[shape->rank - 1] : 1; }
#define SHAPE_TEXT 160

/* ---- tensor.c ---- */
/* The values of an outside tensor: of one in a file's map a copy that stays with it, where there is memory for that. */
void *etk__tensor_beside(const etk_tensor *tensor);

/* ---- stored.c: weights as they are stored ---- */
bool etk__is_stored(etk_dtype dtype);               /* F16, BF16, 8-bit floats, a block type, AFFINE or NF4 */
int64_t etk__stored_unit(const etk_tensor *tensor); /* columns that are decoded together; a row has a multiple of them */
/* Columns [column, column + columns) of rows [row, row + rows) to out, row after row `stride` floats apart. column and columns are multiples of the unit. Any
 * stored type, or F32. Part of the work is the calling thread's alone, so call it inside regions. */
void etk__stored_decode(float *out, int64_t stride, const etk_tensor *tensor, int64_t row, int64_t rows, int64_t column, int64_t columns);
/* Where row `row` is stored. */
static inline int64_t etk__stored_row(const etk_tensor *tensor, int64_t row) {
  int64_t d = tensor->rotary;
  if (!d) return row;
  int64_t i = row % d;
  return row - i + (i < d / 2 ? 2 * i : 2 * (i - d / 2) + 1);
}
enum { MOST_ROTARY = 1024 }; /* of a tensor of floats, whose product turns a head of its result at a time */
/* Values of F32 with their rows in order, for whoever reads them by pointer (a product knows of `rotary`); of another type just data. NULL: out of memory. */
static inline float *etk__in_order(const etk_tensor *t) { return t->dtype == ETK_F32 && t->rotary ? etk_tensor_data(t) : t->data; }
/* Elements [first, first + count), multiples of the unit, of the tensor as one row. */
void etk__stored_decode_flat(float *out, const etk_tensor *tensor, int64_t first, int64_t count);

/* ---- stored_gemm.c ---- */
/* g with the stored tensor for g->b (which is not read); g->ta is false. scratch: as many bytes as the other function says. */
void etk__stored_gemm(const struct gemm *g, const etk_tensor *b, void *scratch);
size_t etk__stored_gemm_scratch(const etk_tensor *b, bool transposed, int threads);
int64_t etk__stored_gemm_alike(void); /* up to so many rows of a, each row of c has the bits that it has alone */

/* ---- blas.c: products of matrices (struct gemm) ---- */
void etk__blas_open(void);                      /* once; call it outside parallel regions before products inside them */
const char *etk__blas_name(void);               /* the library in use, or "kernels" */
void etk__gemm(const struct gemm *g);           /* on the calling thread */
int64_t etk__gemm_alike(bool tb);               /* as etk__stored_gemm_alike */
void etk__gemm_parallel(const struct gemm *g);  /* over the pool; the same cut for the same sizes and thread count */

#endif
