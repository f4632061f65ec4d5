/* The few names of PyTorch that the pickle interpreter knows, and what a call of each would have made. */
#include "torch_internal.h"

#include <inttypes.h>

typedef struct etk__torch_global {
  const char *module, *name;
  etk_status (*call)(etk__pickle *p, const etk__value *arguments, etk__value **out); /* NULL: it is only named */
  const etk__torch_type *type;                                                       /* a storage class or an element type */
  bool storage;
} etk__torch_global;

static const etk__torch_type types[] = {
    {"float32", "FloatStorage", 4, ETK_F32},
    {"float16", "HalfStorage", 2, ETK_F16},
    {"bfloat16", "BFloat16Storage", 2, ETK_BF16},
    {"float64", "DoubleStorage", 8, ETK_F64},
    {"int8", "CharStorage", 1, ETK_I8},
    {"uint8", "ByteStorage", 1, ETK_U8},
    {"int16", "ShortStorage", 2, ETK_I16},
    {"int32", "IntStorage", 4, ETK_I32},
    {"int64", "LongStorage", 8, ETK_I64},
    {"bool", "BoolStorage", 1, ETK_BOOL},
    {"uint16", NULL, 2, ETK_U16},
    {"uint32", NULL, 4, ETK_U32},
    {"uint64", NULL, 8, ETK_U64},
    {"complex64", "ComplexFloatStorage", 8, -1},
    {"complex128", "ComplexDoubleStorage", 16, -1},
    {"float8_e5m2", NULL, 1, -1},
    {"float8_e4m3fn", NULL, 1, -1},
    {"float8_e5m2fnuz", NULL, 1, -1},
    {"float8_e4m3fnuz", NULL, 1, -1},
    {"float8_e8m0fnu", NULL, 1, -1},
};
enum { TYPES = sizeof types / sizeof *types };

const char *etk__torch_storage_class(etk_dtype dtype) {
  for (int i = 0; i < TYPES; i++)
    if (types[i].dtype == (int)dtype) return types[i].storage;
  return NULL;
}

/* ---- reading arguments ------------------------------------------------------------------------------------------------------------- */

static etk_status bad_argument(etk__pickle *p, const char *function, uint32_t index, const char *wanted, const etk__value *seen) {
  return etk__pickle_fail(p, ETK_E_FORMAT, "argument %u of %s must be %s, not %s", index + 1, function, wanted, etk__pickle_kinds[seen->kind]);
}

static etk_status get_count(etk__pickle *p, const char *what, const etk__value *value, uint64_t *out) {
  if (value->kind != ETK__P_INT) return etk__pickle_fail(p, ETK_E_FORMAT, "%s must be a whole number, not %s", what, etk__pickle_kinds[value->kind]);
  if (value->is.whole < 0) return etk__pickle_fail(p, ETK_E_FORMAT, "%s is %" PRId64 "; it must not be negative", what, value->is.whole);
  *out = (uint64_t)value->is.whole;
  return ETK_OK;
}

static etk_status get_dims(etk__pickle *p, const char *what, const etk__value *value, int *rank, int64_t *dims) {
  if (value->kind != ETK__P_TUPLE)
    return etk__pickle_fail(p, ETK_E_FORMAT, "the %s of a tensor must be a tuple, not %s", what, etk__pickle_kinds[value->kind]);
  if (value->count > ETK_MAX_RANK)
    return etk__pickle_fail(p, ETK_E_UNSUPPORTED, "a tensor of %u dimensions; at most %d are supported", value->count, ETK_MAX_RANK);
  *rank = (int)value->count;
  for (uint32_t i = 0; i < value->count; i++) {
    uint64_t n = 0;
    etk_status s = get_count(p, what, value->is.items[i], &n);
    if (s != ETK_OK) return s;
    dims[i] = (int64_t)n;
  }
  return ETK_OK;
}

static etk_status new_value(etk__pickle *p, etk__value value, etk__value **out) {
  *out = etk__pickle_take(p, 1, sizeof **out);
  if (!*out) return etk__pickle_short(p);
  **out = value;
  return ETK_OK;
}

/* ---- calls ------------------------------------------------------------------------------------------------------------------------- */

/* OrderedDict(), OrderedDict([(key, value), …]) */
static etk_status call_ordered(etk__pickle *p, const etk__value *arguments, etk__value **out) {
  const etk__value *list = arguments->count ? arguments->is.items[0] : NULL;
  if (arguments->count > 1 || (list && list->kind != ETK__P_LIST)) return etk__pickle_fail(p, ETK_E_FORMAT, "OrderedDict takes nothing or one list");
  etk_status s = new_value(p, (etk__value){.kind = ETK__P_DICT, .ordered = true}, out);
  for (uint32_t i = 0; s == ETK_OK && list && i < list->count; i++) {
    const etk__value *pair = list->is.items[i];
    if ((pair->kind != ETK__P_LIST && pair->kind != ETK__P_TUPLE) || pair->count != 2)
      return etk__pickle_fail(p, ETK_E_FORMAT, "item %u of an OrderedDict is not a pair", i);
    s = etk__pickle_put(p, *out, pair->is.items[0]);
    if (s == ETK_OK) s = etk__pickle_put(p, *out, pair->is.items[1]);
  }
  return s;
}

static etk_status call_size(etk__pickle *p, const etk__value *arguments, etk__value **out) {
  if (arguments->count != 1 || arguments->is.items[0]->kind != ETK__P_TUPLE) return etk__pickle_fail(p, ETK_E_FORMAT, "torch.Size takes one tuple");
  *out = arguments->is.items[0];
  return ETK_OK;
}

/* requires_grad and backward_hooks, which is an empty dictionary. */
static etk_status check_flags(etk__pickle *p, const char *function, const etk__value *arguments, uint32_t at) {
  const etk__value *grad = arguments->is.items[at], *hooks = arguments->is.items[at + 1];
  if (grad->kind != ETK__P_FLAG) return bad_argument(p, function, at, "a boolean", grad);
  if (hooks->kind != ETK__P_DICT && hooks->kind != ETK__P_NONE) return bad_argument(p, function, at + 1, "an OrderedDict", hooks);
  if (hooks->kind == ETK__P_DICT && hooks->count)
    return etk__pickle_fail(p, ETK_E_UNSUPPORTED, "a tensor with backward hooks, which are code; save it without");
  return ETK_OK;
}

/* The last element must lie in the storage. */
static etk_status check_extent(etk__pickle *p, etk__torch_tensor *t) {
  char shape[160];
  etk_shape_text(shape, sizeof shape, &t->shape);
  int64_t elements = etk_shape_elements(&t->shape);
  if (elements < 0 || __builtin_mul_overflow((uint64_t)elements, t->type->size, &t->bytes) || t->bytes > SIZE_MAX / 2)
    return etk__pickle_fail(p, ETK_E_FORMAT, "the product of the shape %s overflows", shape);
  uint64_t last = t->offset, step, there = t->storage->bytes / t->type->size;
  bool over = false;
  for (int i = 0; i < t->shape.rank && elements; i++) {
    over |= __builtin_mul_overflow((uint64_t)t->shape.dims[i] - 1, (uint64_t)t->strides[i], &step);
    over |= __builtin_add_overflow(last, step, &last);
  }
  if (over || (elements ? last >= there : last > there))
    return etk__pickle_fail(p, ETK_E_FORMAT, "a tensor of shape %s from element %" PRIu64 " reaches beyond its storage '%s' of %" PRIu64 " elements",
                            shape, t->offset, t->storage->key, there);
  return ETK_OK;
}

/* (storage, offset, size, stride, requires_grad, backward_hooks[, dtype][, metadata]) */
static etk_status rebuild(etk__pickle *p, const char *function, const etk__value *arguments, bool typed, etk__value **out) {
  uint32_t least = typed ? 7 : 6;
  if (arguments->count != least && arguments->count != least + 1)
    return etk__pickle_fail(p, ETK_E_FORMAT, "%s with %u arguments; %u or %u are right", function, arguments->count, least, least + 1);
  etk__value **a = arguments->is.items;
  if (a[0]->kind != ETK__P_STORAGE) return bad_argument(p, function, 0, "a storage", a[0]);
  if (typed && (a[6]->kind != ETK__P_GLOBAL || a[6]->is.global->storage || !a[6]->is.global->type))
    return bad_argument(p, function, 6, "an element type", a[6]);
  if (arguments->count > least && a[least]->kind != ETK__P_NONE && (a[least]->kind != ETK__P_DICT || a[least]->count))
    return etk__pickle_fail(p, ETK_E_UNSUPPORTED,
                            "a tensor with metadata (a conjugate or negative view); save it as tensor.resolve_conj().resolve_neg()");
  etk__torch_tensor *t = etk__pickle_take(p, 1, sizeof *t);
  if (!t) return etk__pickle_short(p);
  t->storage = a[0]->is.storage;
  t->type = typed ? a[6]->is.global->type : t->storage->type;
  if (!t->type || (typed && t->storage->type && t->storage->type != t->type))
    return etk__pickle_fail(p, ETK_E_FORMAT, "storage '%s' has %s element type", t->storage->key, t->type ? "another" : "no");
  int rank = 0;
  etk_status s = get_count(p, "the offset of a tensor", a[1], &t->offset);
  if (s == ETK_OK) s = get_dims(p, "shape", a[2], &t->shape.rank, t->shape.dims);
  if (s == ETK_OK) s = get_dims(p, "strides", a[3], &rank, t->strides);
  if (s == ETK_OK) s = check_flags(p, function, arguments, 4);
  if (s != ETK_OK) return s;
  if (rank != t->shape.rank) return etk__pickle_fail(p, ETK_E_FORMAT, "a tensor of %d dimensions with %d strides", t->shape.rank, rank);
  s = check_extent(p, t);
  return s == ETK_OK ? new_value(p, (etk__value){.kind = ETK__P_TENSOR, .is.tensor = t}, out) : s;
}
static etk_status call_rebuild_2(etk__pickle *p, const etk__value *arguments, etk__value **out) {
  return rebuild(p, "_rebuild_tensor_v2", arguments, false, out);
}
static etk_status call_rebuild_3(etk__pickle *p, const etk__value *arguments, etk__value **out) {
  return rebuild(p, "_rebuild_tensor_v3", arguments, true, out);
}

/* (tensor, requires_grad, backward_hooks) */
static etk_status call_parameter(etk__pickle *p, const etk__value *arguments, etk__value **out) {
  static const char function[] = "_rebuild_parameter";
  if (arguments->count != 3) return etk__pickle_fail(p, ETK_E_FORMAT, "%s with %u arguments; 3 are right", function, arguments->count);
  if (arguments->is.items[0]->kind != ETK__P_TENSOR) return bad_argument(p, function, 0, "a tensor", arguments->is.items[0]);
  etk_status s = check_flags(p, function, arguments, 1);
  if (s != ETK_OK) return s;
  etk__torch_tensor *t = etk__pickle_take(p, 1, sizeof *t);
  if (!t) return etk__pickle_short(p);
  *t = *arguments->is.items[0]->is.tensor;
  t->parameter = true;
  return new_value(p, (etk__value){.kind = ETK__P_TENSOR, .is.tensor = t}, out);
}

static const etk__torch_global functions[] = {
    {"collections", "OrderedDict", call_ordered, NULL, false},
    {"torch", "Size", call_size, NULL, false},
    {"torch._utils", "_rebuild_tensor_v2", call_rebuild_2, NULL, false},
    {"torch._utils", "_rebuild_tensor_v3", call_rebuild_3, NULL, false},
    {"torch._utils", "_rebuild_parameter", call_parameter, NULL, false},
    {"torch.storage", "UntypedStorage", NULL, NULL, true},
    {"torch", "UntypedStorage", NULL, NULL, true},
};

static bool same(const char *known, const char *name, size_t size) { return strlen(known) == size && !memcmp(known, name, size); }

etk_status etk__torch_find_global(etk__pickle *p, const char *module, size_t module_size, const char *name, size_t name_size, etk__value *out) {
  *out = (etk__value){.kind = ETK__P_GLOBAL};
  for (size_t i = 0; i < sizeof functions / sizeof *functions; i++)
    if (same(functions[i].module, module, module_size) && same(functions[i].name, name, name_size)) {
      out->is.global = &functions[i];
      return ETK_OK;
    }
  for (int i = 0; i < TYPES && same("torch", module, module_size); i++) {
    bool storage = types[i].storage && same(types[i].storage, name, name_size);
    if (!storage && !same(types[i].name, name, name_size)) continue;
    etk__torch_global *global = etk__pickle_take(p, 1, sizeof *global);
    if (!global) return etk__pickle_short(p);
    *global = (etk__torch_global){"torch", storage ? types[i].storage : types[i].name, NULL, &types[i], storage};
    out->is.global = global;
    return ETK_OK;
  }
  char a[128], b[128];
  return etk__pickle_fail(p, ETK_E_UNSUPPORTED,
                          "the pickle names '%s.%s', which is not a tensor or a container; nothing that a pickle names is ever run. Save the weights "
                          "alone: torch.save(model.state_dict(), PATH)",
                          etk__pickle_show(a, module, module_size), etk__pickle_show(b, name, name_size));
}

etk_status etk__torch_call(etk__pickle *p, const etk__value *global, const etk__value *arguments, etk__value **out) {
  const etk__torch_global *g = global->is.global;
  if (!g->call) return etk__pickle_fail(p, ETK_E_UNSUPPORTED, "'%s.%s' is called, which torch.save never does", g->module, g->name);
  return g->call(p, arguments, out);
}

/* A state_dict carries the versions of its modules in an attribute; they say nothing about the tensors. */
etk_status etk__torch_build(etk__pickle *p, etk__value *object, const etk__value *state) {
  if (object->kind != ETK__P_DICT || !object->ordered)
    return etk__pickle_fail(p, ETK_E_UNSUPPORTED, "attributes are given to %s; only an OrderedDict has them", etk__pickle_kinds[object->kind]);
  bool known = state->kind == ETK__P_DICT;
  for (uint32_t i = 0; known && i < state->count; i += 2)
    known = etk__pickle_is(state->is.items[i], "_metadata") && state->is.items[i + 1]->kind == ETK__P_DICT;
  return known ? ETK_OK : etk__pickle_fail(p, ETK_E_UNSUPPORTED, "an OrderedDict has attributes other than '_metadata'");
}

/* ---- storages ---------------------------------------------------------------------------------------------------------------------- */

/* <prefix>/data/<key> */
static etk_status find_storage(etk__pickle *p, const etk__torch_source *source, etk__torch_storage *storage) {
  size_t size = strlen(source->prefix) + strlen(storage->key) + 7;
  char *name = etk__pickle_take(p, size, 1);
  if (!name) return etk__pickle_short(p);
  snprintf(name, size, "%s/data/%s", source->prefix, storage->key);
  const etk__zip_entry *entry = etk__zip_find(source->zip, name);
  char shown[128];
  if (!entry) return etk__pickle_fail(p, ETK_E_FORMAT, "the archive has no storage '%s'", etk__pickle_show(shown, name, size - 1));
  if (entry->size != storage->bytes)
    return etk__pickle_fail(p, ETK_E_FORMAT, "storage '%s' should take %" PRIu64 " bytes, but the archive has %" PRIu64 " of it", storage->key,
                            storage->bytes, entry->size);
  storage->entry = entry;
  if (!entry->deflated) storage->data = source->zip->bytes + entry->at;
  return ETK_OK;
}

/* ('storage', class, key, location, elements[, view]) */
etk_status etk__torch_persistent(etk__pickle *p, const etk__value *id, etk__value **out) {
  etk__torch_source *source = p->user;
  uint32_t wanted = source->zip ? 5 : 6;
  if (id->kind != ETK__P_TUPLE || id->count != wanted || !etk__pickle_is(id->is.items[0], "storage"))
    return etk__pickle_fail(p, ETK_E_FORMAT, "a persistent id must be a tuple of %u that begins with 'storage'", wanted);
  const etk__value *class = id->is.items[1], *key = id->is.items[2], *location = id->is.items[3];
  if (class->kind != ETK__P_GLOBAL || !class->is.global->storage)
    return etk__pickle_fail(p, ETK_E_FORMAT, "the class of a storage is %s", etk__pickle_kinds[class->kind]);
  if (key->kind != ETK__P_TEXT || !key->count || key->count > 4096 || memchr(key->is.text, 0, key->count))
    return etk__pickle_fail(p, ETK_E_FORMAT, "the name of a storage must be a short text");
  if (location->kind != ETK__P_TEXT) return etk__pickle_fail(p, ETK_E_FORMAT, "the location of a storage must be a text");
  if (wanted == 6 && id->is.items[5]->kind != ETK__P_NONE)
    return etk__pickle_fail(p, ETK_E_UNSUPPORTED, "a storage that is a view of another; load and save the file with a current PyTorch");
  etk__torch_storage *storage = etk__pickle_take(p, 1, sizeof *storage);
  char *name = storage ? etk__pickle_take(p, (size_t)key->count + 1, 1) : NULL;
  if (!name) return etk__pickle_short(p);
  memcpy(name, key->is.text, key->count);
  storage->key = name;
  storage->type = class->is.global->type;
  etk_status s = get_count(p, "the size of a storage", id->is.items[4], &storage->elements);
  if (s != ETK_OK) return s;
  if (__builtin_mul_overflow(storage->elements, storage->type ? storage->type->size : 1u, &storage->bytes))
    return etk__pickle_fail(p, ETK_E_FORMAT, "storage '%s' of %" PRIu64 " elements takes more bytes than can be counted", name, storage->elements);
  if (source->zip) s = find_storage(p, source, storage);
  if (s != ETK_OK) return s;
  storage->next = source->storages;
  source->storages = storage;
  source->storage_count++;
  return new_value(p, (etk__value){.kind = ETK__P_STORAGE, .is.storage = storage}, out);
}
