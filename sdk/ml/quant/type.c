/* Names, numbers and sizes of the types. */
#include "internal.h"

#include <inttypes.h>
#include <strings.h>

static const struct {
  const char *name;
  int gguf, elements, bytes;
} blocks[ETK_TYPE_END - ETK_TYPE_FIRST_BLOCK] = {
    {"Q4_0", 2, SMALL, 18},   {"Q4_1", 3, SMALL, 20},   {"Q5_0", 6, SMALL, 22},    {"Q5_1", 7, SMALL, 24},
    {"Q8_0", 8, SMALL, 34},   {"Q2_K", 10, SUPER, 84},  {"Q3_K", 11, SUPER, 110},  {"Q4_K", 12, SUPER, 144},
    {"Q5_K", 13, SUPER, 176}, {"Q6_K", 14, SUPER, 210}, {"IQ4_NL", 20, SMALL, 18},
};
static const struct {
  etk_dtype dtype;
  int gguf;
} plain[] = {{ETK_F32, 0}, {ETK_F16, 1}, {ETK_I8, 24}, {ETK_I16, 25}, {ETK_I32, 26}, {ETK_I64, 27}, {ETK_F64, 28}, {ETK_BF16, 30}};
static const char *const float8[ETK_TYPE_FLOAT8_END - ETK_TYPE_FIRST_FLOAT8] = {"F8_E4M3", "F8_E5M2", "F8_E4M3FNUZ", "F8_E5M2FNUZ", "F8_E8M0"}; /* as safetensors spells them */
enum { BLOCKS = sizeof blocks / sizeof *blocks, PLAIN = sizeof plain / sizeof *plain, FLOAT8 = sizeof float8 / sizeof *float8 };
_Static_assert((int)ETK_DTYPE_COUNT <= (int)ETK_TYPE_FIRST_FLOAT8 && (int)ETK_TYPE_FLOAT8_END <= (int)ETK_TYPE_FIRST_BLOCK, "plain types lie below the blocks");

bool etk_type_is_block(etk_type type) { return type >= ETK_TYPE_FIRST_BLOCK && type < ETK_TYPE_END; }
bool etk_type_is_float8(etk_type type) { return type >= ETK_TYPE_FIRST_FLOAT8 && type < ETK_TYPE_FLOAT8_END; }

const char *etk_type_name(etk_type type) {
  if (etk_type_is_float8(type)) return float8[type - ETK_TYPE_FIRST_FLOAT8];
  return etk_type_is_block(type) ? blocks[type - ETK_TYPE_FIRST_BLOCK].name : etk_dtype_name((etk_dtype)type);
}

bool etk_type_parse(etk_type *out, const char *name) {
  for (int i = 0; i < BLOCKS + FLOAT8 + ETK_DTYPE_COUNT; i++) {
    etk_type type = (etk_type)(i < BLOCKS ? ETK_TYPE_FIRST_BLOCK + i : i < BLOCKS + FLOAT8 ? ETK_TYPE_FIRST_FLOAT8 + i - BLOCKS : i - BLOCKS - FLOAT8);
    if (strcasecmp(etk_type_name(type), name)) continue;
    *out = type;
    return true;
  }
  return false;
}

int etk_type_gguf(etk_type type) {
  if (etk_type_is_block(type)) return blocks[type - ETK_TYPE_FIRST_BLOCK].gguf;
  for (int i = 0; i < PLAIN; i++)
    if ((int)plain[i].dtype == (int)type) return plain[i].gguf;
  return -1;
}

bool etk_type_from_gguf(etk_type *out, uint32_t number) {
  for (int i = 0; i < BLOCKS + PLAIN; i++) {
    if ((uint32_t)(i < BLOCKS ? blocks[i].gguf : plain[i - BLOCKS].gguf) != number) continue;
    *out = (etk_type)(i < BLOCKS ? ETK_TYPE_FIRST_BLOCK + i : (int)plain[i - BLOCKS].dtype);
    return true;
  }
  return false;
}

int64_t etk_type_block_elements(etk_type type) {
  if (etk_type_is_float8(type)) return 1;
  if (etk_type_is_block(type)) return blocks[type - ETK_TYPE_FIRST_BLOCK].elements;
  return etk_dtype_size((etk_dtype)type) ? 1 : 0;
}
int64_t etk_type_block_bytes(etk_type type) {
  if (etk_type_is_float8(type)) return 1;
  return etk_type_is_block(type) ? blocks[type - ETK_TYPE_FIRST_BLOCK].bytes : (int64_t)etk_dtype_size((etk_dtype)type);
}

etk_status etk_type_bytes(etk_error *e, size_t *out, etk_type type, int64_t rows, int64_t columns) {
  *out = 0;
  int64_t elements = etk_type_block_elements(type), bytes;
  if (!elements) return etk_fail(e, ETK_E_INVALID, "%d is no type of tensors", (int)type);
  if (rows < 0 || columns < 0) return etk_fail(e, ETK_E_INVALID, "%" PRId64 " rows of %" PRId64 " columns: sizes must be at least 0", rows, columns);
  if (columns % elements)
    return etk_fail(e, ETK_E_SHAPE, "rows of %" PRId64 " elements cannot be %s, which packs %" PRId64 " at a time; store them as F16%s", columns,
                    etk_type_name(type), elements,
                    elements == SUPER && columns % SMALL == 0 ? " or in a type of 32-element blocks such as Q8_0" : "");
  if (__builtin_mul_overflow(columns / elements, etk_type_block_bytes(type), &bytes) || __builtin_mul_overflow(bytes, rows, &bytes))
    return etk_fail(e, ETK_E_INVALID, "%" PRId64 " rows of %" PRId64 " %s are more bytes than can be counted", rows, columns, etk_type_name(type));
  *out = (size_t)bytes;
  return ETK_OK;
}
