#include "pickle.h"

#include <etk/text.h>
#include <inttypes.h>

const char *const etk__pickle_kinds[] = {"None",    "a boolean", "a whole number", "a real number",      "a text",    "bytes",
                                         "a tuple", "a list",    "a dictionary",   "a type or function", "a storage", "a tensor"};

etk_status etk__pickle_fail(etk__pickle *p, etk_status status, const char *format, ...) {
  char text[1024];
  va_list list;
  va_start(list, format);
  vsnprintf(text, sizeof text, format, list);
  va_end(list);
  return etk_fail(p->e, status, "%s: %s, byte %zu: %s", p->file, p->part, p->op_at, text);
}

char *etk__pickle_show(char out[128], const char *text, size_t size) {
  size_t n = size < 100 ? size : 100;
  for (size_t i = 0; i < n; i++) out[i] = text[i] >= ' ' && text[i] < 127 ? text[i] : '?';
  snprintf(out + n, 128 - n, "%s", size > n ? "..." : "");
  return out;
}

bool etk__pickle_is(const etk__value *value, const char *text) {
  return value->kind == ETK__P_TEXT && value->count == strlen(text) && !memcmp(value->is.text, text, value->count);
}

/* ---- memory ------------------------------------------------------------------------------------------------------------------------ */

static bool spend(etk__pickle *p, size_t bytes) {
  bool enough = bytes <= *p->budget;
  *p->budget = enough ? *p->budget - bytes : 0;
  return enough;
}

void *etk__pickle_take(etk__pickle *p, size_t count, size_t size) {
  size_t bytes;
  if (__builtin_mul_overflow(count, size, &bytes) || bytes > SIZE_MAX - 16 || !spend(p, bytes + 16)) return NULL;
  return etk_arena_alloc(p->arena, bytes);
}

/* Why the last take gave nothing. */
etk_status etk__pickle_short(etk__pickle *p) {
  if (*p->budget < 4096) return etk__pickle_fail(p, ETK_E_FORMAT, "the pickle builds more than files of its size hold; it is refused");
  return etk__pickle_fail(p, ETK_E_NO_MEMORY, "out of memory");
}

/* Makes room for one more; on failure the old block stays. What is bought counts, so that capacity cannot outgrow the budget. */
static bool grow(etk__pickle *p, void **block, size_t *capacity, size_t wanted, size_t size) {
  if (wanted <= *capacity) return true;
  size_t next = *capacity * 2 < 64 ? 64 : *capacity * 2;
  if (next < wanted) next = wanted;
  if (next > UINT32_MAX || !spend(p, (next - *capacity) * size * 2)) return false;
  void *larger = etk_realloc(*block, next, size);
  if (!larger) return false;
  memset((char *)larger + *capacity * size, 0, (next - *capacity) * size);
  *block = larger;
  *capacity = next;
  return true;
}

etk_status etk__pickle_put(etk__pickle *p, etk__value *list, etk__value *item) {
  if (list->count == list->capacity) {
    uint32_t next = list->capacity ? list->capacity * 2 : 4;
    etk__value **items = next > list->capacity ? etk__pickle_take(p, next, sizeof *items) : NULL;
    if (!items) return etk__pickle_short(p);
    if (list->count) memcpy(items, list->is.items, list->count * sizeof *items);
    list->is.items = items;
    list->capacity = next;
  }
  list->is.items[list->count++] = item;
  return ETK_OK;
}

static etk_status push(etk__pickle *p, etk__value *value) {
  void *block = p->stack;
  bool room = grow(p, &block, &p->stack_capacity, p->depth + 1, sizeof *p->stack);
  p->stack = block;
  if (!room) return etk__pickle_short(p);
  p->stack[p->depth++] = value;
  return ETK_OK;
}

static etk_status push_new(etk__pickle *p, etk__value value) {
  etk__value *made = etk__pickle_take(p, 1, sizeof *made);
  if (!made) return etk__pickle_short(p);
  *made = value;
  return push(p, made);
}

/* ---- reading the pickle ------------------------------------------------------------------------------------------------------------ */

static size_t floor_of(const etk__pickle *p) { return p->mark_count ? p->marks[p->mark_count - 1] : 0; }

static etk_status pop(etk__pickle *p, etk__value **out) {
  if (p->depth <= floor_of(p)) return etk__pickle_fail(p, ETK_E_FORMAT, "the stack is empty");
  *out = p->stack[--p->depth];
  return ETK_OK;
}
static etk_status top(etk__pickle *p, etk__value **out) {
  etk_status s = pop(p, out);
  if (s == ETK_OK) p->depth++;
  return s;
}
static etk_status pop_mark(etk__pickle *p, size_t *begin) {
  if (!p->mark_count) return etk__pickle_fail(p, ETK_E_FORMAT, "there is no mark on the stack");
  *begin = p->marks[--p->mark_count];
  return ETK_OK;
}

static etk_status need(etk__pickle *p, uint64_t size, const unsigned char **out) {
  if (size > p->size - p->at)
    return etk__pickle_fail(p, ETK_E_FORMAT, "truncated: %" PRIu64 " bytes are wanted and %zu are left", size, p->size - p->at);
  *out = p->bytes + p->at;
  p->at += (size_t)size;
  return ETK_OK;
}
static etk_status number(etk__pickle *p, int bytes, uint64_t *out) {
  const unsigned char *b = NULL;
  etk_status s = need(p, (uint64_t)bytes, &b);
  if (s != ETK_OK) return s;
  *out = 0;
  for (int i = bytes; i-- > 0;) *out = *out << 8 | b[i];
  return ETK_OK;
}

/* ---- operations -------------------------------------------------------------------------------------------------------------------- */

typedef struct operation {
  etk_status (*run)(etk__pickle *p, int width); /* NULL: not known */
  int width;                                    /* what distinguishes operations of one function: bytes of a number, items, a kind */
} operation;

static etk_status op_protocol(etk__pickle *p, int width) {
  uint64_t version = 0;
  etk_status s = number(p, width, &version);
  if (s == ETK_OK && (version < 2 || version > 5))
    return etk__pickle_fail(p, ETK_E_UNSUPPORTED, "pickle protocol %" PRIu64 "; 2 to 5 are read", version);
  return s;
}
static etk_status op_frame(etk__pickle *p, int width) {
  uint64_t size = 0;
  etk_status s = number(p, width, &size);
  if (s == ETK_OK && size > p->size - p->at)
    return etk__pickle_fail(p, ETK_E_FORMAT, "a frame of %" PRIu64 " bytes where %zu are left", size, p->size - p->at);
  return s;
}
static etk_status op_mark(etk__pickle *p, int width) {
  (void)width;
  void *block = p->marks;
  bool room = grow(p, &block, &p->mark_capacity, p->mark_count + 1, sizeof *p->marks);
  p->marks = block;
  if (!room) return etk__pickle_short(p);
  p->marks[p->mark_count++] = (uint32_t)p->depth;
  return ETK_OK;
}
static etk_status op_pop(etk__pickle *p, int width) {
  (void)width;
  etk__value *gone;
  return pop(p, &gone);
}
static etk_status op_pop_mark(etk__pickle *p, int width) {
  (void)width;
  return pop_mark(p, &p->depth);
}
static etk_status op_dup(etk__pickle *p, int width) {
  (void)width;
  etk__value *value = NULL;
  etk_status s = top(p, &value);
  return s == ETK_OK ? push(p, value) : s;
}

static etk_status op_constant(etk__pickle *p, int which) {
  static etk__value constants[] = {{.kind = ETK__P_NONE}, {.kind = ETK__P_FLAG}, {.kind = ETK__P_FLAG, .is.flag = true}}; /* never changed */
  return push(p, &constants[which]);
}
static etk_status op_int(etk__pickle *p, int width) {
  uint64_t value = 0;
  etk_status s = number(p, width, &value);
  return s == ETK_OK ? push_new(p, (etk__value){.kind = ETK__P_INT, .is.whole = width == 4 ? (int32_t)(uint32_t)value : (int64_t)value}) : s;
}
static etk_status op_long(etk__pickle *p, int width) {
  uint64_t size = 0, value = 0;
  const unsigned char *b = NULL;
  etk_status s = number(p, width, &size);
  if (s == ETK_OK) s = need(p, size, &b);
  if (s != ETK_OK) return s;
  if (size > 8) return etk__pickle_fail(p, ETK_E_UNSUPPORTED, "a whole number of %" PRIu64 " bytes; at most 8 are held", size);
  for (uint64_t i = size; i-- > 0;) value = value << 8 | b[i];
  if (size && size < 8 && b[size - 1] & 0x80) value |= UINT64_MAX << (8 * size);
  return push_new(p, (etk__value){.kind = ETK__P_INT, .is.whole = (int64_t)value});
}
static etk_status op_real(etk__pickle *p, int width) {
  const unsigned char *b = NULL;
  uint64_t bits = 0;
  etk_status s = need(p, (uint64_t)width, &b);
  if (s != ETK_OK) return s;
  for (int i = 0; i < 8; i++) bits = bits << 8 | b[i];
  etk__value value = {.kind = ETK__P_REAL};
  memcpy(&value.is.real, &bits, sizeof bits);
  return push_new(p, value);
}

static etk_status put_text(etk__pickle *p, int width, bool is_bytes) {
  uint64_t size = 0;
  const unsigned char *b = NULL;
  etk_status s = number(p, width, &size);
  if (s == ETK_OK) s = need(p, size, &b);
  if (s != ETK_OK) return s;
  if (size > INT32_MAX) return etk__pickle_fail(p, ETK_E_UNSUPPORTED, "a text of %" PRIu64 " bytes", size);
  if (!is_bytes && !etk_utf8_valid((const char *)b, (size_t)size)) return etk__pickle_fail(p, ETK_E_FORMAT, "a text that is not UTF-8");
  return push_new(p, (etk__value){.kind = is_bytes ? ETK__P_BYTES : ETK__P_TEXT, .count = (uint32_t)size, .is.text = (const char *)b});
}
static etk_status op_text(etk__pickle *p, int width) { return put_text(p, width, false); }
static etk_status op_bytes(etk__pickle *p, int width) { return put_text(p, width, true); }

static etk_status op_empty(etk__pickle *p, int kind) { return push_new(p, (etk__value){.kind = (unsigned char)kind}); }

static etk_status check_pairs(etk__pickle *p, size_t count) {
  return count % 2 ? etk__pickle_fail(p, ETK_E_FORMAT, "%zu items are not keys and values", count) : ETK_OK;
}

/* The items above `begin` go into a value of this kind. */
static etk_status collect(etk__pickle *p, int kind, size_t begin) {
  size_t count = p->depth - begin;
  if (kind == ETK__P_DICT && check_pairs(p, count) != ETK_OK) return ETK_E_FORMAT;
  etk__value made = {.kind = (unsigned char)kind, .count = (uint32_t)count, .capacity = (uint32_t)count};
  if (count) {
    made.is.items = etk__pickle_take(p, count, sizeof *made.is.items);
    if (!made.is.items) return etk__pickle_short(p);
    memcpy(made.is.items, p->stack + begin, count * sizeof *made.is.items);
  }
  p->depth = begin;
  return push_new(p, made);
}
static etk_status op_collect(etk__pickle *p, int kind) {
  size_t begin = 0;
  etk_status s = pop_mark(p, &begin);
  return s == ETK_OK ? collect(p, kind, begin) : s;
}
static etk_status op_tuple(etk__pickle *p, int count) {
  if (p->depth - floor_of(p) < (size_t)count)
    return etk__pickle_fail(p, ETK_E_FORMAT, "a tuple of %d where the stack holds %zu", count, p->depth - floor_of(p));
  return collect(p, ETK__P_TUPLE, p->depth - (size_t)count);
}

/* The items above `begin` are added to the list or dictionary below them. */
static etk_status add(etk__pickle *p, int kind, size_t begin) {
  etk__value *to = begin > floor_of(p) ? p->stack[begin - 1] : NULL;
  if (!to || to->kind != kind)
    return etk__pickle_fail(p, ETK_E_FORMAT, "items are added to %s; only %s takes them", to ? etk__pickle_kinds[to->kind] : "nothing",
                            etk__pickle_kinds[kind]);
  if (kind == ETK__P_DICT && check_pairs(p, p->depth - begin) != ETK_OK) return ETK_E_FORMAT;
  for (size_t i = begin; i < p->depth; i++) {
    etk_status s = etk__pickle_put(p, to, p->stack[i]);
    if (s != ETK_OK) return s;
  }
  p->depth = begin;
  return ETK_OK;
}
static etk_status op_add(etk__pickle *p, int kind) {
  size_t count = kind == ETK__P_DICT ? 2 : 1;
  if (p->depth - floor_of(p) < count + 1) return etk__pickle_fail(p, ETK_E_FORMAT, "the stack holds too little to add an item");
  return add(p, kind, p->depth - count);
}
static etk_status op_add_all(etk__pickle *p, int kind) {
  size_t begin = 0;
  etk_status s = pop_mark(p, &begin);
  return s == ETK_OK ? add(p, kind, begin) : s;
}

static etk_status remember(etk__pickle *p, size_t index) {
  etk__value *value = NULL;
  etk_status s = top(p, &value);
  if (s != ETK_OK) return s;
  if (index > p->op_at) return etk__pickle_fail(p, ETK_E_FORMAT, "memo %zu is set after %zu bytes, which cannot hold as many", index, p->op_at);
  void *block = p->memo;
  bool room = grow(p, &block, &p->memo_capacity, index + 1, sizeof *p->memo);
  p->memo = block;
  if (!room) return etk__pickle_short(p);
  if (!p->memo[index]) p->memoized++;
  p->memo[index] = value;
  return ETK_OK;
}
static etk_status op_put(etk__pickle *p, int width) {
  uint64_t index = 0;
  etk_status s = number(p, width, &index);
  return s == ETK_OK ? remember(p, (size_t)index) : s;
}
static etk_status op_memoize(etk__pickle *p, int width) {
  (void)width;
  return remember(p, p->memoized);
}
static etk_status op_get(etk__pickle *p, int width) {
  uint64_t index = 0;
  etk_status s = number(p, width, &index);
  if (s != ETK_OK) return s;
  if (index >= p->memo_capacity || !p->memo[index]) return etk__pickle_fail(p, ETK_E_FORMAT, "memo %" PRIu64 " was never set", index);
  return push(p, p->memo[index]);
}

static etk_status line(etk__pickle *p, const char **out, size_t *size) {
  const unsigned char *end = memchr(p->bytes + p->at, '\n', p->size - p->at);
  if (!end) return etk__pickle_fail(p, ETK_E_FORMAT, "truncated: a name without its end");
  *out = (const char *)p->bytes + p->at;
  *size = (size_t)(end - (p->bytes + p->at));
  p->at += *size + 1;
  return ETK_OK;
}
static etk_status put_global(etk__pickle *p, const char *module, size_t module_size, const char *name, size_t name_size) {
  etk__value made;
  etk_status s = etk__torch_find_global(p, module, module_size, name, name_size, &made);
  return s == ETK_OK ? push_new(p, made) : s;
}
static etk_status op_global(etk__pickle *p, int width) {
  (void)width;
  const char *module = NULL, *name = NULL;
  size_t module_size = 0, name_size = 0;
  etk_status s = line(p, &module, &module_size);
  if (s == ETK_OK) s = line(p, &name, &name_size);
  return s == ETK_OK ? put_global(p, module, module_size, name, name_size) : s;
}
static etk_status op_stack_global(etk__pickle *p, int width) {
  (void)width;
  etk__value *module = NULL, *name = NULL;
  etk_status s = pop(p, &name);
  if (s == ETK_OK) s = pop(p, &module);
  if (s != ETK_OK) return s;
  if (module->kind != ETK__P_TEXT || name->kind != ETK__P_TEXT) return etk__pickle_fail(p, ETK_E_FORMAT, "a global must be named by two texts");
  return put_global(p, module->is.text, module->count, name->is.text, name->count);
}

static etk_status op_call(etk__pickle *p, int width) {
  (void)width;
  etk__value *global = NULL, *arguments = NULL, *made = NULL;
  etk_status s = pop(p, &arguments);
  if (s == ETK_OK) s = pop(p, &global);
  if (s != ETK_OK) return s;
  if (global->kind != ETK__P_GLOBAL || arguments->kind != ETK__P_TUPLE)
    return etk__pickle_fail(p, ETK_E_FORMAT, "%s is called with %s", etk__pickle_kinds[global->kind], etk__pickle_kinds[arguments->kind]);
  s = etk__torch_call(p, global, arguments, &made);
  return s == ETK_OK ? push(p, made) : s;
}
static etk_status op_persistent(etk__pickle *p, int width) {
  (void)width;
  etk__value *id = NULL, *made = NULL;
  etk_status s = pop(p, &id);
  if (s == ETK_OK) s = etk__torch_persistent(p, id, &made);
  return s == ETK_OK ? push(p, made) : s;
}
static etk_status op_build(etk__pickle *p, int width) {
  (void)width;
  etk__value *object = NULL, *state = NULL;
  etk_status s = pop(p, &state);
  if (s == ETK_OK) s = top(p, &object);
  return s == ETK_OK ? etk__torch_build(p, object, state) : s;
}

static const operation operations[256] = {
    [0x80] = {op_protocol, 1},
    [0x95] = {op_frame, 8},
    ['('] = {op_mark, 0},
    ['0'] = {op_pop, 0},
    ['1'] = {op_pop_mark, 0},
    ['2'] = {op_dup, 0},
    ['N'] = {op_constant, 0},
    [0x89] = {op_constant, 1},
    [0x88] = {op_constant, 2},
    ['K'] = {op_int, 1},
    ['M'] = {op_int, 2},
    ['J'] = {op_int, 4},
    [0x8a] = {op_long, 1},
    [0x8b] = {op_long, 4},
    ['G'] = {op_real, 8},
    [0x8c] = {op_text, 1},
    ['X'] = {op_text, 4},
    [0x8d] = {op_text, 8},
    ['U'] = {op_text, 1},
    ['T'] = {op_text, 4},
    ['C'] = {op_bytes, 1},
    ['B'] = {op_bytes, 4},
    [0x8e] = {op_bytes, 8},
    [')'] = {op_empty, ETK__P_TUPLE},
    [']'] = {op_empty, ETK__P_LIST},
    ['}'] = {op_empty, ETK__P_DICT},
    ['t'] = {op_collect, ETK__P_TUPLE},
    ['l'] = {op_collect, ETK__P_LIST},
    ['d'] = {op_collect, ETK__P_DICT},
    [0x85] = {op_tuple, 1},
    [0x86] = {op_tuple, 2},
    [0x87] = {op_tuple, 3},
    ['a'] = {op_add, ETK__P_LIST},
    ['s'] = {op_add, ETK__P_DICT},
    ['e'] = {op_add_all, ETK__P_LIST},
    ['u'] = {op_add_all, ETK__P_DICT},
    ['q'] = {op_put, 1},
    ['r'] = {op_put, 4},
    [0x94] = {op_memoize, 0},
    ['h'] = {op_get, 1},
    ['j'] = {op_get, 4},
    ['c'] = {op_global, 0},
    [0x93] = {op_stack_global, 0},
    ['R'] = {op_call, 0},
    ['Q'] = {op_persistent, 0},
    ['b'] = {op_build, 0},
};

static etk_status run(etk__pickle *p, etk__value **out) {
  for (;;) {
    p->op_at = p->at;
    if (p->at == p->size) return etk__pickle_fail(p, ETK_E_FORMAT, "truncated: the pickle ends without its STOP");
    unsigned char code = p->bytes[p->at++];
    if (code == '.') break;
    const operation *o = &operations[code];
    if (!o->run) return etk__pickle_fail(p, ETK_E_UNSUPPORTED, "operation 0x%02x is not one that torch.save writes", code);
    etk_status s = o->run(p, o->width);
    if (s != ETK_OK) return s;
  }
  if (p->mark_count) return etk__pickle_fail(p, ETK_E_FORMAT, "the pickle stops inside a group");
  if (p->depth != 1) return etk__pickle_fail(p, ETK_E_FORMAT, "the pickle stops with %zu values on the stack instead of one", p->depth);
  *out = p->stack[0];
  return ETK_OK;
}

etk_status etk__pickle_run(etk__pickle *p, etk__value **out) {
  *out = NULL;
  if (p->size - p->at < 2 || p->bytes[p->at] != 0x80) {
    p->op_at = p->at;
    return etk__pickle_fail(p, ETK_E_FORMAT, "there is no pickle of protocol 2 or later here");
  }
  p->depth = p->mark_count = p->memoized = 0;
  etk_status s = run(p, out);
  etk_free(p->stack);
  etk_free(p->memo);
  etk_free(p->marks);
  p->stack = p->memo = NULL;
  p->marks = NULL;
  p->stack_capacity = p->memo_capacity = p->mark_capacity = 0;
  return s;
}
