#include "internal.h"
#include "ml/product/product.h"

#include <etk/fs.h>
#include <etk/parallel.h>
#include <pthread.h>

static etk_status check_shape(etk_error *e, etk_dtype dtype, const etk_shape *shape, int64_t *elements, size_t *bytes) {
  char text[SHAPE_TEXT];
  bool packed = (unsigned)dtype >= ETK_DTYPE_COUNT && etk_type_block_elements((etk_type)dtype) > 0; /* in blocks, or of 8 bits */
  if ((unsigned)dtype >= ETK_DTYPE_COUNT && !packed)
    return etk_fail(e, ETK_E_INVALID, "tensor: %d (%s) is not an element type whose values lie in one array", (int)dtype, etk_dtype_name(dtype));
  *elements = etk_shape_elements(shape);
  if (packed && *elements >= 0) {
    int64_t columns = etk__last(shape);
    etk_status status = etk_type_bytes(e, bytes, (etk_type)dtype, columns ? *elements / columns : 0, columns);
    if (status || *bytes <= PTRDIFF_MAX)
      return status ? etk_error_while(e, status, "while making a tensor %s", etk_shape_text(text, sizeof text, shape)) : ETK_OK;
  } else if (!packed && *elements >= 0 && !__builtin_mul_overflow((size_t)*elements, etk_dtype_size(dtype), bytes) && *bytes <= PTRDIFF_MAX) return ETK_OK;
  return etk_fail(e, ETK_E_SHAPE, "tensor: %s of rank %d is not a possible shape (rank 0 to %d, sizes from 0 whose product fits in memory)",
                  etk_shape_text(text, sizeof text, shape), shape->rank, ETK_MAX_RANK);
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
  atomic_init(&t->product, NULL);
  atomic_init(&t->ordered, NULL);
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
    return etk_fail(e, ETK_E_NO_MEMORY, "out of memory for a tensor %s of %s (%zu bytes)", etk_shape_text(text, sizeof text, &shape),
                    etk_dtype_name(dtype), bytes);
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

/* ---- tensors whose scales are tensors of their own ---- */
static etk_status new_parts(etk_error *e, etk_tensor **out, etk_dtype dtype, const etk_shape *shape, const struct parts *parts) {
  size_t bytes = parts->codes->bytes + parts->scales->bytes + (parts->biases ? parts->biases->bytes : 0);
  etk_tensor *t = tensor_shell(dtype, shape, etk_shape_elements(shape), bytes);
  struct parts *copy = etk_alloc(sizeof *copy);
  if (!t || !copy) {
    etk_free(t);
    etk_free(copy);
    return etk_fail(e, ETK_E_NO_MEMORY, "out of memory for a tensor's header");
  }
  *copy = *parts;
  etk_tensor_ref(copy->codes);
  etk_tensor_ref(copy->scales);
  etk_tensor_ref(copy->biases);
  t->parts = copy;
  t->data = copy->codes->data;
  *out = t;
  return ETK_OK;
}

etk_status etk_tensor_new_affine(etk_error *e, etk_tensor **out, int bits, int group, etk_tensor *words, etk_tensor *scales, etk_tensor *biases) {
  char w[SHAPE_TEXT], s[SHAPE_TEXT], b[SHAPE_TEXT];
  const struct parts parts = {{bits, group, scales->dtype}, words, scales, biases};
  *out = NULL;
  if (bits < 2 || bits > 8 || bits == 7 || (group != 32 && group != 64 && group != 128))
    return etk_fail(e, ETK_E_UNSUPPORTED, "affine codes of %d bits in groups of %d; 2, 3, 4, 5, 6 or 8 bits in groups of 32, 64 or 128 are read", bits, group);
  if (words->dtype != ETK_U32 || scales->dtype != biases->dtype || (scales->dtype != ETK_F32 && scales->dtype != ETK_F16 && scales->dtype != ETK_BF16))
    return etk_fail(e, ETK_E_FORMAT, "affine codes are %s with scales of %s and biases of %s; wanted U32 with both of one type, F16, BF16 or F32",
                    etk_dtype_name(words->dtype), etk_dtype_name(scales->dtype), etk_dtype_name(biases->dtype));
  etk_shape shape = words->shape;
  const etk_shape *groups = &scales->shape;
  bool fits = shape.rank == 2 && groups->rank == 2 && groups->dims[0] == shape.dims[0] && etk_shape_equal(groups, &biases->shape) &&
              groups->dims[1] <= INT64_MAX / 1024;
  if (fits) shape.dims[1] = groups->dims[1] * group;
  if (!fits || etk_affine_words(&parts.affine, shape.dims[1]) != words->shape.dims[1] || etk_shape_elements(&shape) < 0)
    return etk_fail(e, ETK_E_SHAPE,
                    "affine codes %s with scales %s and biases %s do not belong together at %d bits in groups of %d; wanted (rows, columns * bits / 32) and"
                    " (rows, columns / group) twice", etk_shape_text(w, sizeof w, &words->shape), etk_shape_text(s, sizeof s, &scales->shape),
                    etk_shape_text(b, sizeof b, &biases->shape), bits, group);
  return new_parts(e, out, ETK_AFFINE, &shape, &parts);
}

etk_status etk_tensor_new_nf4(etk_error *e, etk_tensor **out, etk_shape shape, etk_tensor *codes, etk_tensor *absmax) {
  char text[SHAPE_TEXT];
  int64_t elements = etk_shape_elements(&shape);
  const struct parts parts = {.codes = codes, .scales = absmax};
  *out = NULL;
  if (elements < 0 || etk__last(&shape) % ETK_NF4_BLOCK || codes->dtype != ETK_U8 || absmax->dtype != ETK_F32 || codes->elements != elements / 2 ||
      absmax->elements != elements / ETK_NF4_BLOCK)
    return etk_fail(e, ETK_E_SHAPE,
                    "NF4 %s of %lld codes of %s and %lld scales of %s; wanted rows of a multiple of 64 elements, a U8 code for two and an F32 scale for 64", etk_shape_text(text, sizeof text, &shape), (long long)codes->elements, etk_dtype_name(codes->dtype), (long long)absmax->elements, etk_dtype_name(absmax->dtype));
  return new_parts(e, out, ETK_NF4, &shape, &parts);
}

static void free_parts(struct parts *parts) {
  if (!parts) return;
  etk_tensor_unref(parts->codes);
  etk_tensor_unref(parts->scales);
  etk_tensor_unref(parts->biases);
  etk_free(parts);
}

/* ---- conversion ---- */

/* Pieces of this many elements, or one row, are F32 on the way from a packed type. */
enum { CAST_PIECE = 1 << 18 };

static bool converts(etk_dtype dtype) { return (unsigned)dtype <= ETK_F64 || etk__is_stored(dtype); }

struct decoding {
  float *out;
  const etk_tensor *in;
  int64_t first, columns;
};
static void decode_rows(void *user, int64_t begin, int64_t end, int slot) {
  const struct decoding *d = user;
  (void)slot;
  etk__stored_decode(d->out + begin * d->columns, d->columns, d->in, d->first + begin, end - begin, 0, d->columns);
}

/* Through F32, a few rows at a time. */
static etk_status cast_packed(etk_error *e, etk_tensor *to, const etk_tensor *in) {
  int64_t columns = etk__last(&in->shape), rows = columns ? in->elements / columns : 0, step = 1 + CAST_PIECE / (columns + 1);
  size_t row_bytes = rows ? to->bytes / (size_t)rows : 0;
  float *buffer = to->dtype == ETK_F32 ? NULL : etk_alloc((size_t)(step * columns + 1) * sizeof *buffer);
  if (to->dtype != ETK_F32 && !buffer) return etk_fail_memory(e);
  etk_status status = ETK_OK;
  for (int64_t row = 0; row < rows && !status; row += step) {
    int64_t n = rows - row < step ? rows - row : step;
    unsigned char *out = (unsigned char *)to->data + (size_t)row * row_bytes;
    struct decoding d = {buffer ? buffer : (float *)(void *)out, in, row, columns};
    etk_parallel_for(n, 1 + (1 << 14) / (columns + 1), decode_rows, &d);
    if (buffer) status = etk_quant_encode(e, out, (etk_type)to->dtype, buffer, n, columns, NULL);
  }
  etk_free(buffer);
  return status;
}

etk_status etk_tensor_cast(etk_error *e, etk_tensor **out, const etk_tensor *in, etk_dtype dtype) {
  *out = NULL;
  if (!in->data && in->elements) return etk_fail(e, ETK_E_INVALID, "cast: the tensor has no values yet (evaluate its graph first)");
  bool plain = (unsigned)in->dtype < ETK_DTYPE_COUNT && (unsigned)dtype < ETK_DTYPE_COUNT;
  if (!plain && (!converts(in->dtype) || !converts(dtype) || in->dtype == ETK_F64 || dtype == ETK_F64))
    return etk_fail(e, ETK_E_UNSUPPORTED, "cannot convert %s to %s: only F32, F16, BF16 and packed types convert to each other",
                    etk_dtype_name(in->dtype), etk_dtype_name(dtype));
  etk_tensor *t;
  etk_status status = etk_tensor_new(e, &t, dtype, in->shape);
  if (status) return status;
  const void *from = plain ? etk_tensor_data(in) : NULL;
  if (plain && !from && in->elements) status = etk_fail_memory(e);
  else status = plain ? etk_dtype_convert(e, t->data, dtype, from, in->dtype, (size_t)in->elements) : cast_packed(e, t, in);
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
  etk__product_drop(&t->product);
  if (t->owned) etk_free(t->data);
  etk_free(atomic_load_explicit(&t->ordered, memory_order_acquire));
  if (t->release) t->release(t->owner);
  free_parts(t->parts);
  etk_free(t);
}

etk_dtype etk_tensor_dtype(const etk_tensor *t) { return t->dtype; }
const etk_shape *etk_tensor_shape(const etk_tensor *t) { return &t->shape; }
int64_t etk_tensor_elements(const etk_tensor *t) { return t->elements; }
size_t etk_tensor_bytes(const etk_tensor *t) { return t->bytes; }
/* Rows in order, of a tensor whose rows are not: a copy that stays with it. NULL: out of memory. */
static void *ordered(const etk_tensor *t) {
  static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
  _Atomic(void *) *slot = &((etk_tensor *)(uintptr_t)t)->ordered;
  void *seen = atomic_load_explicit(slot, memory_order_acquire);
  if (seen) return seen;
  pthread_mutex_lock(&lock);
  char *copy = atomic_load_explicit(slot, memory_order_acquire);
  bool made = !copy && (copy = etk_alloc_aligned(t->bytes, ALIGNMENT));
  size_t rows = (size_t)t->shape.dims[0], bytes = t->bytes / rows;
  if (made) etk_map_wait(t->data, t->bytes);
  if (made && !t->rotary) memcpy(copy, t->data, t->bytes);
  for (size_t row = 0; made && t->rotary && row < rows; row++) memcpy(copy + row * bytes, (const char *)t->data + (size_t)etk__stored_row(t, (int64_t)row) * bytes, bytes);
  if (made) atomic_store_explicit(slot, copy, memory_order_release);
  pthread_mutex_unlock(&lock);
  return copy;
}
void *etk__tensor_beside(const etk_tensor *t) {
  void *copy = etk_map_name_of(t->data) ? ordered(t) : NULL;
  return copy ? copy : t->data;
}
void *etk_tensor_data(const etk_tensor *t) { return !t->rotary ? t->data : ordered(t->source ? t->source : t); }
void etk_tensor_set_trainable(etk_tensor *t, bool trainable) { t->trainable = trainable; }
bool etk_tensor_trainable(const etk_tensor *t) { return t->trainable; }

int64_t etk_tensor_dim(const etk_tensor *t, int axis) {
  int i = axis < 0 ? t->shape.rank + axis : axis;
  return i < 0 || i >= t->shape.rank ? 1 : t->shape.dims[i];
}

/* Operations take rows of a stored type by etk__stored_decode or from its product, which know their order. */
etk_view etk_tensor_view(const etk_tensor *t) { return (etk_view){t->graph ? t->data : etk_tensor_data(t), t->dtype, t->shape, t->elements}; }
