/* pickle.h: an interpreter for the pickles that torch.save writes (protocols 2 to 5). It knows numbers, texts, tuples, lists, dictionaries and what
 * torch_pickle.c names; every other global is an error with its name and place. Nothing is ever called. Time, stack, memo and memory are bounded. */
#ifndef ETK_ML_FORMAT_PICKLE_H
#define ETK_ML_FORMAT_PICKLE_H

#include <etk/alloc.h>
#include <etk/tensor.h>

typedef enum etk__pickle_kind {
  ETK__P_NONE, ETK__P_FLAG, ETK__P_INT, ETK__P_REAL, ETK__P_TEXT, ETK__P_BYTES, ETK__P_TUPLE, ETK__P_LIST, ETK__P_DICT, ETK__P_GLOBAL, ETK__P_STORAGE, ETK__P_TENSOR
} etk__pickle_kind;
extern const char *const etk__pickle_kinds[]; /* "None", "a number", … */

typedef struct etk__value etk__value;
struct etk__value {
  unsigned char kind;
  bool ordered;      /* DICT: an OrderedDict */
  uint32_t count;    /* bytes of a text, items, twice the pairs of a dictionary */
  uint32_t capacity; /* of items */
  union {
    bool flag;
    int64_t whole;
    double real;
    const char *text; /* in the pickle, not terminated */
    etk__value **items; /* of a dictionary: key, value, key, value */
    const struct etk__torch_global *global;
    struct etk__torch_storage *storage;
    struct etk__torch_tensor *tensor;
  } is;
};

typedef struct etk__pickle {
  etk_error *e;
  const char *file, *part; /* for messages: "model.pth", "data.pkl" */
  const unsigned char *bytes;
  size_t size, at; /* at: of the next byte; behind the end of the pickle afterwards */
  size_t op_at;    /* of the operation at work */
  etk_arena *arena; /* of all values */
  size_t *budget;   /* bytes that may still be taken */
  void *user;       /* of torch_pickle.c */
  etk__value **stack, **memo;
  size_t depth, stack_capacity, memo_capacity, memoized;
  uint32_t *marks;
  size_t mark_count, mark_capacity;
} etk__pickle;

/* Runs one pickle from p->at (file, part, bytes, size, at, arena, budget and user are set) and gives its value, which lives in the arena. */
etk_status etk__pickle_run(etk__pickle *p, etk__value **out);

/* For torch_pickle.c: an error at the operation at work; memory; values. */
etk_status etk__pickle_fail(etk__pickle *p, etk_status status, const char *format, ...) ETK_PRINTF(3, 4);
void *etk__pickle_take(etk__pickle *p, size_t count, size_t size); /* zeroed; NULL: the error is set, return p->e's status by etk__pickle_short */
etk_status etk__pickle_short(etk__pickle *p);
etk_status etk__pickle_put(etk__pickle *p, etk__value *list, etk__value *item);
bool etk__pickle_is(const etk__value *value, const char *text); /* a text equal to this one */
/* Bytes made printable and short, for messages. */
char *etk__pickle_show(char out[128], const char *text, size_t size);

/* ---- what torch_pickle.c gives the interpreter ---- */

etk_status etk__torch_find_global(etk__pickle *p, const char *module, size_t module_size, const char *name, size_t name_size, etk__value *out);
etk_status etk__torch_call(etk__pickle *p, const etk__value *global, const etk__value *arguments, etk__value **out);
etk_status etk__torch_persistent(etk__pickle *p, const etk__value *id, etk__value **out);
etk_status etk__torch_build(etk__pickle *p, etk__value *object, const etk__value *state);

#endif
