/* PyTorch's and NumPy's files as weights. */
#include "numpy_internal.h"
#include "stem.h"
#include "torch_internal.h"
#include "weights_internal.h"

#include <inttypes.h>
#include <string.h>

/* ---- torch.save's ---- */
static etk_status open_torch(etk_error *e, void **file, const char *path) {
  etk_torch *opened = NULL;
  etk_status status = etk_torch_open(e, &opened, path);
  *file = opened;
  return status;
}
static void close_torch(void *file) { etk_torch_close(file); }
static size_t count_torch(const void *file) { return etk_torch_count(file); }
static bool holds_torch(const void *file, const char *name) { return etk_torch_find(file, name) != NULL; }

static int float8_of(const char *name) {
  static const struct {
    const char *name;
    etk_type type;
  } types[] = {{"float8_e4m3fn", ETK_F8_E4M3},
               {"float8_e5m2", ETK_F8_E5M2},
               {"float8_e4m3fnuz", ETK_F8_E4M3FNUZ},
               {"float8_e5m2fnuz", ETK_F8_E5M2FNUZ},
               {"float8_e8m0fnu", ETK_F8_E8M0}};
  for (size_t i = 0; i < sizeof types / sizeof *types; i++)
    if (!strcmp(types[i].name, name)) return (int)types[i].type;
  return -1;
}

static void at_torch(etk_weight *out, const void *file, size_t i) {
  const etk_torch_entry *entry = etk_torch_at(file, i);
  *out = (etk_weight){.name = entry->name,
                      .type_name = entry->dtype_name,
                      .type = entry->dtype >= 0 ? entry->dtype : float8_of(entry->dtype_name),
                      .shape = entry->shape,
                      .data = etk__torch_data(file, i),
                      .bytes = entry->bytes};
}
static etk_status unpack_torch(etk_error *e, etk_tensor **out, void *file, size_t i) { return etk__torch_unpack(e, out, file, i); }

static size_t torch_keys(const void *file) { return etk_torch_value_count(file); }
static const char *torch_key(const void *file, size_t i) {
  const etk_torch_value *value = etk_torch_value_at(file, i);
  return value ? value->name : NULL;
}
static void torch_value(const void *file, size_t i, etk_text *out) {
  const etk_torch_value *value = etk_torch_value_at(file, i);
  if (!value) return;
  switch (value->kind) {
  case ETK_TORCH_FLAG:
    etk_text_puts(out, value->whole ? "true" : "false");
    return;
  case ETK_TORCH_INT:
    etk_text_printf(out, "%" PRId64, value->whole);
    return;
  case ETK_TORCH_REAL:
    etk_text_real(out, value->real);
    return;
  case ETK_TORCH_TEXT:
    etk_text_json(out, value->text, strlen(value->text));
    return;
  default:
    etk_text_puts(out, "null");
  }
}

static etk_status check_torch(etk_error *e, const void *file) { return etk_torch_verify(e, file); }

const etk__weights_reader etk__weights_torch = {ETK_WEIGHTS_TORCH, open_torch, close_torch, count_torch, at_torch, holds_torch,
                                                unpack_torch,      torch_keys, torch_key,   torch_value, NULL,     check_torch};

/* The chain of pickles before PyTorch 1.6, and what its reader has a word about: a bare pickle, a tar archive. */
bool etk__weights_is_torch(const unsigned char *bytes, size_t size) {
  bool pickle = size >= 2 && bytes[0] == 0x80 && bytes[1] >= 2 && bytes[1] <= 5;
  return pickle || (size >= 512 && !memcmp(bytes + 257, "ustar", 5));
}

/* ---- NumPy's ---- */
static size_t no_keys(const void *file) { return (void)file, 0; }
static const char *no_key(const void *file, size_t i) { return (void)file, (void)i, NULL; }
static void no_value(const void *file, size_t i, etk_text *out) { (void)file, (void)i, (void)out; }

static etk_status open_npz(etk_error *e, void **file, const char *path) {
  etk_npz *opened = NULL;
  etk_status status = etk_npz_open(e, &opened, path);
  *file = opened;
  return status;
}
static void close_npz(void *file) { etk_npz_close(file); }
static size_t count_npz(const void *file) { return etk_npz_count(file); }
static bool holds_npz(const void *file, const char *name) { return etk_npz_find(file, name) != NULL; }
static void at_npz(etk_weight *out, const void *file, size_t i) {
  const etk_npz_entry *entry = etk_npz_at(file, i);
  *out = (etk_weight){.name = entry->name,
                      .type_name = etk__npy_type_name(entry->dtype),
                      .type = (int)entry->dtype,
                      .shape = entry->shape,
                      .data = etk__npz_data(file, i),
                      .bytes = entry->bytes};
}
static etk_status unpack_npz(etk_error *e, etk_tensor **out, void *file, size_t i) { return etk_npz_tensor(e, out, file, etk_npz_at(file, i)->name); }

static etk_status check_npz(etk_error *e, const void *file) { return etk__npz_check(e, file); }

const etk__weights_reader etk__weights_npz = {ETK_WEIGHTS_NUMPY, open_npz, close_npz, count_npz, at_npz, holds_npz,
                                              unpack_npz,        no_keys,  no_key,    no_value,  NULL,   check_npz};

static etk_status open_npy(etk_error *e, void **file, const char *path) {
  etk_tensor *tensor = NULL;
  etk_status status = etk_npy_open(e, &tensor, path);
  *file = tensor;
  return status;
}
static void close_npy(void *file) { etk_tensor_unref(file); }
static size_t count_npy(const void *file) { return (void)file, 1; }
static void at_npy(etk_weight *out, const void *file, size_t i) {
  const etk_tensor *tensor = file;
  (void)i;
  *out = (etk_weight){.name = "array",
                      .type_name = etk__npy_type_name(etk_tensor_dtype(tensor)),
                      .type = (int)etk_tensor_dtype(tensor),
                      .shape = *etk_tensor_shape(tensor),
                      .data = etk_tensor_data(tensor),
                      .bytes = etk_tensor_bytes(tensor)};
}

const etk__weights_reader etk__weights_npy = {ETK_WEIGHTS_NUMPY, open_npy, close_npy, count_npy, at_npy, NULL, NULL,
                                              no_keys,           no_key,   no_value,  NULL,      NULL};

/* ---- which of them ---- */
etk_status etk__weights_archive(etk_error *e, const etk__weights_reader **out, const char *path, const void *bytes, size_t size) {
  etk_arena arena = ETK_ARENA_INIT;
  etk__zip zip;
  etk_status status = etk__zip_open(e, &zip, &arena, path, "a file of PyTorch or NumPy", bytes, size);
  for (size_t i = 0; i < zip.count && !status && !*out; i++) {
    const char *name = zip.entries[i].name, *slash = strchr(name, '/');
    if (slash && !strcmp(slash, "/data.pkl")) *out = &etk__weights_torch;
    else if (etk__stem(name, ".npy")) *out = &etk__weights_npz;
  }
  if (!status && !*out)
    status = etk_fail(e, ETK_E_UNSUPPORTED,
                      "%s: a ZIP archive of %zu entries without NAME/data.pkl (PyTorch) or NAME.npy (NumPy): it holds no weights that can be read",
                      path, zip.count);
  etk_arena_fini(&arena);
  return status;
}
