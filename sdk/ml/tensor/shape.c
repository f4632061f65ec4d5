#include "internal.h"

int64_t etk_shape_elements(const etk_shape *shape) {
  int64_t count = 1;
  if (shape->rank < 0 || shape->rank > ETK_MAX_RANK) return -1;
  for (int i = 0; i < shape->rank; i++)
    if (shape->dims[i] < 0 || __builtin_mul_overflow(count, shape->dims[i], &count)) return -1;
  return count;
}

bool etk_shape_equal(const etk_shape *a, const etk_shape *b) {
  if (a->rank != b->rank) return false;
  for (int i = 0; i < a->rank; i++)
    if (a->dims[i] != b->dims[i]) return false;
  return true;
}

char *etk_shape_text(char *out, size_t out_size, const etk_shape *shape) {
  size_t used = 0;
  if (!out_size) return out;
  out[0] = 0;
  for (int i = 0; i < shape->rank && i < ETK_MAX_RANK; i++) {
    int n = snprintf(out + used, out_size - used, "%s%lld", i ? ", " : "(", (long long)shape->dims[i]);
    if (n < 0 || (size_t)n >= out_size - used) return out;
    used += (size_t)n;
  }
  snprintf(out + used, out_size - used, "%s", shape->rank > 0 ? ")" : "()");
  return out;
}

bool etk__shape_is_suffix(const etk_shape *suffix, const etk_shape *shape) {
  int lead = shape->rank - suffix->rank;
  if (lead < 0) return false;
  for (int i = 0; i < suffix->rank; i++)
    if (suffix->dims[i] != shape->dims[lead + i]) return false;
  return true;
}
