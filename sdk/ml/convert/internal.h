/* internal.h: what the files of sdk/ml/convert share. Not installed. */
#ifndef ETK_ML_CONVERT_INTERNAL_H
#define ETK_ML_CONVERT_INTERNAL_H

#include "ml/format/gguf_names.h"
#include "types.h"

#include <etk/alloc.h>
#include <etk/convert.h>
#include <etk/provenance.h>
#include <etk/safetensors.h>

/* ---- origin.c: the input's tensors under Hugging Face's names, MLX's three to a matrix as one ---- */
typedef struct etk__origin etk__origin;
typedef struct etk__origin_item {
  const char *name;        /* Hugging Face's */
  const char *stored;      /* in the file */
  const char *type_name;
  etk_shape shape;
  size_t bytes;            /* in the file */
  const etk_weight *weight, *scales, *biases; /* scales and biases: of MLX's; else NULL */
  etk_affine affine;
  int64_t expert;          /* of a stack; else -1 */
} etk__origin_item;
etk_status etk__origin_new(etk_error *e, etk__origin **out, etk_weights *weights);
void etk__origin_free(etk__origin *origin);
size_t etk__origin_count(const etk__origin *origin);
const etk__origin_item *etk__origin_at(const etk__origin *origin, size_t index);
const etk__origin_item *etk__origin_find(const etk__origin *origin, const char *name);
/* A new reference; AFFINE for MLX's. */
etk_status etk__origin_tensor(etk_error *e, etk_tensor **out, const etk__origin *origin, const etk__origin_item *item);
void etk__origin_source(etk__gguf_source *out, etk__origin *origin);

/* ---- rows.c: values of tensors, a few rows at a time ---- */
bool etk__is_floating(int type); /* F32, F16, BF16, F64, 8-bit, blocks, AFFINE: has F32 values */
bool etk__is_packed(int type);   /* blocks and AFFINE */
/* Elements [first, first + count), whole blocks, as F32; F64 that becomes infinite is an error. */
etk_status etk__rows_decode(etk_error *e, float *out, const etk_tensor *tensor, int64_t first, int64_t count);
/* Sums of squares. */
typedef struct etk__tally {
  double error, total;
} etk__tally;
double etk__tally_relative(const etk__tally *tally);
typedef struct etk__encoder {
  const char *name;       /* of the tensor, for messages */
  int type;               /* a plain floating or block type */
  const float *importance; /* columns weights, or NULL */
  float *scratch;         /* room for the values of one call */
  int64_t room;
  etk__tally tally;
} etk__encoder;
/* rows of `columns` values to the encoder's type, and what is lost to its tally. */
etk_status etk__rows_encode(etk_error *e, etk__encoder *encoder, void *out, const float *in, int64_t rows, int64_t columns);
etk_status etk__rows_room(etk_error *e, float **buffer, int64_t *room, int64_t wanted);
/* What was stored against what it should be. */
void etk__tally_add(etk__tally *tally, const float *wanted, const float *stored, int64_t count);

/* ---- importance.c ---- */
typedef struct etk__importance etk__importance;
etk_status etk__importance_open(etk_error *e, etk__importance **out, const char *path);
/* The same of a file in memory; `name` is what messages call it. */
etk_status etk__importance_parse(etk_error *e, etk__importance **out, const char *name, const void *bytes, size_t size);
void etk__importance_free(etk__importance *importance);
/* Mean squares of the columns of the tensor of this name: `columns` of them for each of `experts` matrices; NULL: none of that name; another size is
 * an error. */
etk_status etk__importance_find(etk_error *e, const float **out, const etk__importance *importance, const char *name, int64_t columns, int64_t experts);

/* ---- the conversion ---- */
typedef struct etk__task {
  etk_convert *convert;
  etk_convert_tensor report;
  const etk__origin_item *item; /* of targets under Hugging Face's names */
  const etk_weight *weight;     /* of GGUF to GGUF */
  size_t target;                /* of GGUF from Hugging Face: index of etk__gguf_names */
  int type;                     /* etk_type of the output, or ETK_AFFINE */
  int64_t expert_rows;          /* of a stack; 0 */
  etk_affine affine;
  const float *importance;
  etk__tally tally;
  int64_t rows_done;
} etk__task;

struct etk_convert {
  etk_arena arena;
  etk_convert_options options;
  const char *input, *output;
  etk_convert_format to;
  etk_weights *weights;
  etk__origin *origin;
  bool has_config;
  etk_model_config config;
  const etk__mix *mix;          /* NULL: types stay */
  etk__gguf_source source;
  etk__gguf_names *names;
  etk__importance *importance;
  etk__task *tasks;
  size_t count;
  etk_provenance *made;
  /* while writing */
  etk_tensor *open;             /* of the item that is being read */
  const etk__origin_item *open_item;
  float *values;                /* rows as F32 */
  int64_t values_room;
  etk__encoder encoder;
  char *scales;                 /* MLX: those of the matrix whose biases were written last, and how many rows of them */
  const etk__task *scales_of;
  int64_t scales_rows;
  int64_t done, total;          /* bytes of the input */
  int files;
};

/* provenance.c: fills `made`. The array of an npz file that holds it: */
#define ETK__RECORD "efficientai"
bool etk__is_record(const etk_weight *weight, const etk_weights *weights);
etk_status etk__provenance(etk_error *e, etk_convert *convert);
/* The same as JSON text, for containers without metadata. */
etk_status etk__provenance_json(etk_error *e, etk_text *out, const etk_convert *convert);

/* fill.c: rows of a task as they will be stored. */
etk_status etk__task_fill(etk_error *e, void *task, void *out, int64_t row, int64_t rows);
/* The bits as they are, where the type stays and rows need not move; NULL otherwise. */
const void *etk__task_data(const etk__task *task);
etk_status etk__task_open(etk_error *e, etk_convert *convert, const etk__origin_item *item);
void etk__task_close(etk_convert *convert);
etk_status etk__task_done(etk_error *e, etk__task *task, int64_t row, int64_t rows);

/* vocabulary.c */
etk_status etk__vocabulary_set(etk_error *e, etk_convert *convert, etk_gguf_writer *writer, bool *found);
etk_status etk__vocabulary_save(etk_error *e, etk_convert *convert, const char *folder);

/* gguf.c, folder.c, mlx.c, plain.c: the targets. plan sets tasks; write writes them. */
etk_status etk__gguf_plan(etk_error *e, etk_convert *convert);
etk_status etk__gguf_save(etk_error *e, etk_convert *convert);
etk_status etk__canonical_plan(etk_error *e, etk_convert *convert);
etk_status etk__folder_save(etk_error *e, etk_convert *convert);
etk_status etk__mlx_plan(etk_error *e, etk_convert *convert);
etk_status etk__mlx_streams(etk_error *e, etk__task *task, etk_safetensors_stream *out); /* weight, scales and biases of an AFFINE task */
void etk__task_report(etk__task *task); /* type and bytes of a task under Hugging Face's names */
etk_status etk__plain_save(etk_error *e, etk_convert *convert);
/* safetensors of all tasks at path. */
etk_status etk__canonical_save(etk_error *e, etk_convert *convert, const char *path, int64_t shard_bytes, bool replace);

#endif
