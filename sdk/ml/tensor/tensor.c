#include "internal.h"

static etk_status check_shape(etk_error *e, etk_dtype dtype, const etk_shape *shape, int64_t *elements, size_t *bytes) {
  char text[SHAPE_TEXT];
  if ((unsigned)dtype >= ETK_DTYPE_COUNT) return etk_fail(e, ETK_E_INVALID, "tensor: %d is not an element type", (int)dtype);
  *elements = etk_shape_elements(shape);
  if (*elements < 0 || __builtin_mul_overflow((size_t)*elements, etk_dtype_size(dtype), bytes) || *bytes > PTRDIFF_MAX)
    return etk_fail(e, ETK_E_SHAPE, "tensor: %s of rank %d is not a possible shape (rank 0 to %d, sizes from 0 whose product fits in memory)",
                    etk_shape_text(text, sizeof text, shape), shape->rank, ETK_MAX_RANK);
  return ETK_OK;
}

static etk_tensor *tensor_shell(etk_dtype dtype, const etk_shape *shape, int64_t elements, size_t bytes) {
  etk_tensor *t = etk_calloc(1, sizeof *t);
  if (!t) return NULL;
  t->dtype = dtype;
  t->shape = *shape;
  t->elements = elements;
  t->bytes = bytes;
  t->storage = t;
  t->buffer = -1;
  atomic_init(&t->references, 1);
  return t;
}

etk_status etk_tensor_new(etk_error *e, etk_tensor **out, etk_dtype dtype, etk_shape shape) {
  int64_t elements;
  size_t bytes;
  char text[SHAPE_TEXT];
  *out = NULL;
  etk_status status = check_shape(e, dtype, &shape, &elements, &bytes);
  if (status) return status;
  etk_tensor *t = tensor_shell(dtype, &shape, elements, bytes);
  void *data = t ? etk_alloc_aligned(bytes ? bytes : 1, ALIGNMENT) : NULL;
  if (!data) {
    etk_free(t);
    return etk_fail(e, ETK_E_NO_MEMORY, "out of memory for a tensor %s of %s (%zu bytes)", etk_shape_text(text, sizeof text, &shape), etk_dtype_name(dtype), bytes);
  }
  memset(data, 0, bytes);
  t->data = data;
  t->owned = true;
  *out = t;
  return ETK_OK;
}

etk_status etk_tensor_wrap(etk_error *e, etk_tensor **out, etk_dtype dtype, etk_shape shape, const void *data, void (*release)(void *owner), void *owner) {
  int64_t elements;
  size_t bytes;
  *out = NULL;
  etk_status status = check_shape(e, dtype, &shape, &elements, &bytes);
  if (status) return status;
  if (!data && bytes) return etk_fail(e, ETK_E_INVALID, "tensor: wrapped memory is NULL");
  etk_tensor *t = tensor_shell(dtype, &shape, elements, bytes);
  if (!t) return etk_fail(e, ETK_E_NO_MEMORY, "out of memory for a tensor's header");
  t->data = (void *)(uintptr_t)data;
  t->release = release;
  t->owner = owner;
  *out = t;
  return ETK_OK;
}

etk_status etk_tensor_cast(etk_error *e, etk_tensor **out, const etk_tensor *in, etk_dtype dtype) {
  *out = NULL;
  if (!in->data) return etk_fail(e, ETK_E_INVALID, "cast: the tensor has no values yet (evaluate its graph first)");
  etk_tensor *t;
  etk_status status = etk_tensor_new(e, &t, dtype, in->shape);
  if (status) return status;
  status = etk_dtype_convert(e, t->data, dtype, in->data, in->dtype, (size_t)in->elements);
  if (status) {
    etk_tensor_unref(t);
    return status;
  }
  *out = t;
  return ETK_OK;
}

etk_tensor *etk_tensor_ref(etk_tensor *t) {
  if (t && !t->graph) atomic_fetch_add_explicit(&t->references, 1, memory_order_relaxed);
  return t;
}

void etk_tensor_unref(etk_tensor *t) {
  if (!t || t->graph || atomic_fetch_sub_explicit(&t->references, 1, memory_order_acq_rel) != 1) return;
  if (t->owned) etk_free(t->data);
  if (t->release) t->release(t->owner);
  etk_free(t);
}

etk_dtype etk_tensor_dtype(const etk_tensor *t) { return t->dtype; }
const etk_shape *etk_tensor_shape(const etk_tensor *t) { return &t->shape; }
int64_t etk_tensor_elements(const etk_tensor *t) { return t->elements; }
size_t etk_tensor_bytes(const etk_tensor *t) { return t->bytes; }
void *etk_tensor_data(const etk_tensor *t) { return t->data; }
void etk_tensor_set_trainable(etk_tensor *t, bool trainable) { t->trainable = trainable; }
bool etk_tensor_trainable(const etk_tensor *t) { return t->trainable; }

int64_t etk_tensor_dim(const etk_tensor *t, int axis) {
  int i = axis < 0 ? t->shape.rank + axis : axis;
  return i < 0 || i >= t->shape.rank ? 1 : t->shape.dims[i];
}

etk_view etk_tensor_view(const etk_tensor *t) { return (etk_view){t->data, t->dtype, t->shape, t->elements}; }
