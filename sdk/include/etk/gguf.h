/* etk/gguf.h: read (mapped, checked, headers only) and write GGUF files, whole or split. Layout: magic, version, counts, keys with values, tensor
 * descriptions, padding to the alignment, data. Versions 2 and 3, little-endian.
 *
 * Shapes are row-major here (GGUF stores them the other way round). What a file says is checked when it is opened: counts, lengths, UTF-8,
 * duplicates, types, products, offsets, overlaps, alignment. Memory stays below ten times the headers and 16 MB. An open file is read by any number
 * of threads; a writer belongs to one. */
#ifndef ETK_GGUF_H
#define ETK_GGUF_H

#include "quant.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct etk_gguf etk_gguf;

/* Numbers as in the file. */
typedef enum etk_gguf_kind {
  ETK_GGUF_U8, ETK_GGUF_I8, ETK_GGUF_U16, ETK_GGUF_I16, ETK_GGUF_U32, ETK_GGUF_I32, ETK_GGUF_F32, ETK_GGUF_BOOL, ETK_GGUF_TEXT, ETK_GGUF_ARRAY,
  ETK_GGUF_U64, ETK_GGUF_I64, ETK_GGUF_F64, ETK_GGUF_KIND_COUNT
} etk_gguf_kind;
const char *etk_gguf_kind_name(etk_gguf_kind kind); /* "u32", "text", "array"; "?" */

/* The value of a key, or an item of an array of arrays: borrowed from the file. */
typedef struct etk_gguf_value {
  etk_gguf_kind kind;
  etk_gguf_kind item_kind;   /* of an array's items; else the same as kind */
  uint64_t count;            /* items of an array; a text's bytes; else 1 */
  const void *data;          /* the first item as stored: little-endian, any alignment; texts: their bytes, not terminated */
  const void *index;         /* the library's own */
} etk_gguf_value;

/* Opens NAME.gguf, or all parts of a split model by its first part (NAME-00001-of-0000N.gguf), whose keys are the model's. */
etk_status etk_gguf_open(etk_error *e, etk_gguf **out, const char *path);
/* One file in memory that outlives the handle (for fuzzing); `name` is what messages call it. A part of a split is read alone. */
etk_status etk_gguf_parse(etk_error *e, etk_gguf **out, const char *name, const void *bytes, size_t size);
void etk_gguf_close(etk_gguf *file); /* the maps stay until the last tensor taken is gone */
uint32_t etk_gguf_version(const etk_gguf *file);
uint32_t etk_gguf_alignment(const etk_gguf *file);
int etk_gguf_parts(const etk_gguf *file); /* 1: not split */

/* ---- keys, in file order ---- */

size_t etk_gguf_key_count(const etk_gguf *file);
const char *etk_gguf_key_at(const etk_gguf *file, size_t index, const etk_gguf_value **value); /* NULL behind the last; value may be NULL */
const etk_gguf_value *etk_gguf_find(const etk_gguf *file, const char *key);                    /* NULL: absent */
/* Typed access: a missing key is ETK_E_NOT_FOUND with a suggestion; another kind is ETK_E_FORMAT and says where it is. Integers of any width and sign
 * are whole numbers; a whole number passes for a real. Texts are terminated copies that live with the file; one with a NUL inside is refused. */
etk_status etk_gguf_get_int(etk_error *e, int64_t *out, const etk_gguf *file, const char *key);
etk_status etk_gguf_get_real(etk_error *e, double *out, const etk_gguf *file, const char *key);
etk_status etk_gguf_get_flag(etk_error *e, bool *out, const etk_gguf *file, const char *key);
etk_status etk_gguf_get_text(etk_error *e, const char **out, const etk_gguf *file, const char *key);
/* An array of whole numbers (ETK_GGUF_I64 asks for any integer kind), reals (ETK_GGUF_F64: any number), flags, texts or arrays. */
etk_status etk_gguf_get_array(etk_error *e, const etk_gguf_value **out, const etk_gguf *file, const char *key, etk_gguf_kind items);
/* Item `index` (< count) of an array, or a value that is no array at index 0; the kinds as above, else 0 or NULL. A u64 above INT64_MAX is INT64_MAX. */
int64_t etk_gguf_int_at(const etk_gguf_value *value, uint64_t index);
double etk_gguf_real_at(const etk_gguf_value *value, uint64_t index);
const char *etk_gguf_text_at(const etk_gguf_value *value, uint64_t index, size_t *size); /* valid UTF-8, not terminated */
const etk_gguf_value *etk_gguf_value_at(const etk_gguf_value *value, uint64_t index);    /* arrays of arrays */

/* ---- tensors, in file order, of all parts ---- */

typedef struct etk_gguf_entry {
  const char *name;
  const char *type_name; /* "Q4_K", "IQ2_XXS" */
  uint32_t gguf_type;    /* its number */
  int type;              /* etk_type, or -1 for a type that is not decoded here */
  int part;              /* of a split, from 0 */
  etk_shape shape;       /* row-major; the last dim is a row's length */
  const void *data;      /* in the map, at a multiple of the alignment from its data section */
  size_t bytes;
} etk_gguf_entry;
size_t etk_gguf_count(const etk_gguf *file);
const etk_gguf_entry *etk_gguf_at(const etk_gguf *file, size_t index);
const etk_gguf_entry *etk_gguf_tensor_find(const etk_gguf *file, const char *name);
/* A tensor of a plain type that shares the map (a new reference to the caller). */
etk_status etk_gguf_tensor(etk_error *e, etk_tensor **out, etk_gguf *file, const char *name);
/* A new F32 tensor with the decoded values of a floating or block type. */
etk_status etk_gguf_decode(etk_error *e, etk_tensor **out, const etk_gguf *file, const char *name);

/* ---- writing ---- */

/* Collects keys and tensors in the order given, then writes. Keys, values and names are copied; data and users of tensors are borrowed until the
 * write. Setting a key again replaces its value in its place. The first failure of a setter is kept and reported by etk_gguf_write. */
typedef struct etk_gguf_writer etk_gguf_writer;
etk_gguf_writer *etk_gguf_writer_new(void); /* NULL: out of memory */
void etk_gguf_writer_free(etk_gguf_writer *writer);
void etk_gguf_set_int(etk_gguf_writer *writer, const char *key, etk_gguf_kind kind, int64_t value); /* kind: U8 … I64, BOOL; the value must fit */
void etk_gguf_set_real(etk_gguf_writer *writer, const char *key, etk_gguf_kind kind, double value);  /* F32 or F64 */
void etk_gguf_set_text(etk_gguf_writer *writer, const char *key, const char *text);
/* values: as C holds them, uint8_t … double, bool */
void etk_gguf_set_array(etk_gguf_writer *writer, const char *key, etk_gguf_kind items, const void *values, uint64_t count);
/* sizes NULL: the texts are terminated */
void etk_gguf_set_texts(etk_gguf_writer *writer, const char *key, const char *const *texts, const size_t *sizes, uint64_t count);
void etk_gguf_set_value(etk_gguf_writer *writer, const char *key, const etk_gguf_value *value); /* a copy of one that was read */

/* Fills `rows` rows from `row` on with stored bytes; called in order. */
typedef etk_status (*etk_gguf_fill)(etk_error *e, void *user, void *out, int64_t row, int64_t rows);
/* A tensor of stored bytes in memory, or (data NULL) made while writing by fill, about a megabyte a time. Rank 0 to 4, dims of at least 1. */
void etk_gguf_add(etk_gguf_writer *writer, const char *name, etk_type type, etk_shape shape, const void *data, etk_gguf_fill fill, void *user);

typedef struct etk_gguf_write_options {
  bool replace;
  int64_t part_bytes;  /* 0: one file; else parts of at most so many bytes of tensors, at least one tensor each, written as PATH-00001-of-0000N.gguf */
} etk_gguf_write_options;
/* Writes atomically: no part gets its name before all are written, and the first gets its own last. general.alignment is what the key says, 32 without it;
 * split.no, split.count and split.tensors.count are the writer's own, whatever was set. options may be NULL. path ends in ".gguf". */
etk_status etk_gguf_write(etk_error *e, etk_gguf_writer *writer, const char *path, const etk_gguf_write_options *options);
/* "NAME-00002-of-00005.gguf" for part 1 (from 0) of 5 of "NAME.gguf". Allocated; NULL: out of memory. */
char *etk_gguf_part_path(const char *path, int part, int parts);

#ifdef __cplusplus
}
#endif
#endif
