/* etk/torch.h: the tensors of a file that torch.save wrote (.pth, .pt, .bin), read without running anything it names; and such files written.
 *
 * The ZIP form (PyTorch 1.6 and later) and the one before it (a chain of pickles, then the storages) are read; a tar archive (before 0.1.10), a
 * TorchScript program and a bare pickle are an error that says so. The pickle may hold tensors, parameters, numbers, texts, tuples, lists and
 * dictionaries; any other name in it is an error with the name and its place. Dictionaries and lists inside each other become dotted names:
 * {"net": {"w": T}, "steps": [3]} has the tensor "net.w" and the value "steps.0". A file that is one tensor calls it "tensor". */
#ifndef ETK_TORCH_H
#define ETK_TORCH_H

#include "tensor.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct etk_torch etk_torch;
typedef struct etk_torch_entry {
  const char *name;
  const char *dtype_name; /* as PyTorch calls it: "float32", "complex64" */
  int dtype;              /* etk_dtype, or -1 for a type we cannot hold */
  etk_shape shape;
  int64_t strides[ETK_MAX_RANK]; /* in elements */
  bool parameter;                /* a torch.nn.Parameter */
  bool in_place;                 /* contiguous, aligned, little-endian and stored: its tensor shares the map */
  size_t bytes;                  /* of the values in row-major order */
  const char *storage;           /* tensors with the same storage share it: its name in the file */
} etk_torch_entry;

typedef enum etk_torch_kind {
  ETK_TORCH_NONE, ETK_TORCH_FLAG, ETK_TORCH_INT, ETK_TORCH_REAL, ETK_TORCH_TEXT,
  ETK_TORCH_EMPTY /* a dictionary, list or tuple of nothing */
} etk_torch_kind;
typedef struct etk_torch_value {
  const char *name;
  etk_torch_kind kind;
  int64_t whole; /* of FLAG (0, 1) and INT */
  double real;
  const char *text; /* UTF-8, NUL-terminated; one that holds a NUL is an error of the file */
} etk_torch_value;

/* Reads the names and checks every tensor against its storage. The file stays mapped until the last tensor taken from it is gone. Takes at most ten times
 * the file's size and 16 MB. */
etk_status etk_torch_open(etk_error *e, etk_torch **out, const char *path);
/* The same over memory that outlives the handle; `name` is what messages call it. */
etk_status etk_torch_parse(etk_error *e, etk_torch **out, const char *name, const void *bytes, size_t size);
void etk_torch_close(etk_torch *file); /* NULL is fine */
size_t etk_torch_count(const etk_torch *file);
const etk_torch_entry *etk_torch_at(const etk_torch *file, size_t index); /* in the order of the pickle */
const etk_torch_entry *etk_torch_find(const etk_torch *file, const char *name);
/* A new reference: shared with the map (entry->in_place) or a row-major copy. */
etk_status etk_torch_tensor(etk_error *e, etk_tensor **out, etk_torch *file, const char *name);
/* What is not a tensor. */
size_t etk_torch_value_count(const etk_torch *file);
const etk_torch_value *etk_torch_value_at(const etk_torch *file, size_t index);
/* Reads everything and compares the archive's CRC-32s; a file of the older form has none. PyTorch can be told not to write them
 * (torch.serialization.set_crc32_options): such a file fails here and is fine otherwise. */
etk_status etk_torch_verify(etk_error *e, const etk_torch *file);

typedef struct etk_torch_item {
  const char *name;
  const etk_tensor *tensor; /* F32, F16, BF16, F64, I8, U8, I16, I32, I64 or BOOL */
} etk_torch_item;
/* Writes what torch.load gives as an OrderedDict of tensors, as torch.save(state_dict) does since PyTorch 1.6: atomically, in the order given, stored, each tensor's
 * values on a multiple of 64 bytes and apart from all others; the same items give the same bytes. Below 4 GiB. */
etk_status etk_torch_write(etk_error *e, const char *path, const etk_torch_item *items, size_t count, bool replace);

#ifdef __cplusplus
}
#endif
#endif
