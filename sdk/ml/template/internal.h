/* The parts of the template engine, shared by the files of this folder.
 *
 * source -> lex.c (tokens, white-space control) -> parse.c, expression.c (nodes, in the template's arena) -> render.c (statements), evaluate.c
 * (expressions). Values live in the arena of one rendering and are never freed before its end; strings, lists, tuples and dicts never change once
 * made, so they are shared freely. Every recursion passes etk__enter, every piece of work etk__charge. */
#ifndef ETK_ML_TEMPLATE_INTERNAL_H
#define ETK_ML_TEMPLATE_INTERNAL_H

#include <etk/alloc.h>
#include <etk/template.h>
#include <etk/text.h>
#include <jansson.h>

/* ---- values ---- */
typedef enum etk__kind {
  ETK__ABSENT, /* an argument that was not given; never seen by templates */
  ETK__UNDEFINED,
  ETK__NONE,
  ETK__BOOL,
  ETK__INT,
  ETK__REAL,
  ETK__STR,
  ETK__LIST,
  ETK__TUPLE,
  ETK__RANGE,
  ETK__VIEW,      /* dict.keys(), .values(), .items() */
  ETK__GENERATOR, /* what map, select, reverse and the like give: read once, no length, always true */
  ETK__DICT,
  ETK__NAMESPACE,
  ETK__MACRO,
  ETK__FUNCTION, /* a global such as range */
  ETK__METHOD,   /* 'a'.upper, not yet called */
  ETK__LOOP,
} etk__kind;

typedef struct etk__value etk__value;
typedef struct etk__render etk__render;
typedef struct etk__tnode etk__tnode;

typedef struct etk__str {
  const char *data; /* UTF-8, not NUL-terminated */
  size_t size;
  size_t chars; /* SIZE_MAX: not counted yet */
} etk__str;
typedef struct etk__items {
  etk__value *at;
  size_t count;
  size_t next;             /* of a generator: the first not yet read */
  const char *label;       /* of a view: "dict_items" */
  int64_t start, stop, step; /* of a range */
} etk__items;
typedef struct etk__dict etk__dict;
typedef struct etk__missing { /* what an undefined value is for messages */
  const char *name;
  size_t size;
  const char *owner; /* "dict", "str", …; NULL: a variable */
} etk__missing;
typedef struct etk__bound etk__bound;
typedef struct etk__macro etk__macro;
typedef struct etk__loop etk__loop;
typedef struct etk__builtin etk__builtin;

struct etk__value {
  etk__kind kind;
  union {
    bool flag;
    int64_t integer;
    double real;
    etk__str *str;
    etk__items *items;
    etk__dict *dict; /* of a namespace too: the one container that changes */
    const etk__missing *missing;
    etk__macro *macro;
    const etk__builtin *function;
    etk__bound *bound;
    etk__loop *loop;
  };
};

typedef struct etk__entry {
  etk__value key, value;
} etk__entry;
struct etk__dict { /* in order of insertion */
  etk__entry *entries;
  size_t count, capacity;
  uint32_t *slots; /* open addressing, entry + 1; NULL while there are few */
  size_t slot_count;
};

/* ---- built-in filters, functions, methods and tests ---- */
typedef struct etk__named {
  etk__str name;
  etk__value value;
} etk__named;
typedef struct etk__arguments {
  etk__value *at;
  size_t count;
  etk__named *named;
  size_t named_count;
} etk__arguments;
enum { ETK__MAX_PARAMETERS = 6 };
/* self: what the filter, method or test is applied to. a: by parameter, ETK__ABSENT where not given. raw: as given. */
typedef bool etk__builtin_fn(etk__render *r, etk__value *out, etk__value self, const etk__value *a, const etk__arguments *raw);
struct etk__builtin {
  const char *name;
  const char *parameters; /* names with a space between, "" none, a leading "name!" is required; NULL: any, read raw */
  etk__builtin_fn *call;
};
typedef struct etk__table {
  const etk__builtin *rows;
  size_t count;
} etk__table;
const etk__builtin *etk__builtin_find(const etk__table *table, const char *name, size_t size);
const char *etk__builtin_suggest(const etk__table *table, const char *name); /* NULL: none is near */
bool etk__builtin_call(etk__render *r, etk__value *out, const etk__builtin *b, etk__value self, const etk__arguments *raw);
extern const etk__table etk__filters_text, etk__filters_items; /* filters_text.c, filters_items.c */
extern const etk__table etk__template_tests;          /* is.c */
extern const etk__table etk__template_globals;        /* globals.c */
extern const etk__table etk__str_methods, etk__dict_methods, etk__list_methods, etk__loop_methods;
const etk__builtin *etk__filter_find(const char *name, size_t size);

struct etk__bound {
  etk__value self;
  const etk__builtin *method; /* NULL: caller's loop.cycle and the like go through here too */
};

/* ---- nodes ---- */
typedef struct etk__nodes {
  etk__tnode **at;
  size_t count, capacity;
} etk__nodes;
typedef enum etk__node_type {
  /* statements */
  ETK__N_TEXT,   /* constant */
  ETK__N_OUTPUT, /* a */
  ETK__N_IF,     /* a: condition; body; otherwise */
  ETK__N_FOR,    /* target, a: iterable, b: filter or NULL, body, otherwise */
  ETK__N_SET,    /* target, a: value */
  ETK__N_SET_BLOCK, /* target, body, a: filter chain over ETK__N_CAPTURED or NULL */
  ETK__N_MACRO,  /* name, list: parameters (names), named: defaults; body */
  ETK__N_CALL_BLOCK, /* a: call; b: an ETK__N_MACRO that is the caller */
  ETK__N_FILTER_BLOCK, /* a: chain over ETK__N_CAPTURED; body */
  ETK__N_WITH,   /* list: targets and values in turn; body */
  ETK__N_GENERATION, /* body */
  ETK__N_BREAK,
  ETK__N_CONTINUE,
  /* expressions */
  ETK__N_CONSTANT,
  ETK__N_NAME,
  ETK__N_LIST,
  ETK__N_TUPLE,
  ETK__N_DICT,   /* list: keys and values in turn */
  ETK__N_ATTRIBUTE, /* a.name */
  ETK__N_ITEM,   /* a[b] */
  ETK__N_SLICE,  /* a[list0:list1:list2], each may be NULL */
  ETK__N_CALL,   /* a(arguments) */
  ETK__N_FILTER, /* a|builtin(arguments) */
  ETK__N_TEST,   /* a is builtin(arguments) */
  ETK__N_NOT,
  ETK__N_NEGATE,
  ETK__N_POSITIVE,
  ETK__N_BINARY, /* a op b */
  ETK__N_AND,
  ETK__N_OR,
  ETK__N_COMPARE, /* a, then list: operands, ops: how each is compared with the one before */
  ETK__N_CONCAT, /* list */
  ETK__N_CONDITION, /* b if a else c */
  ETK__N_NAMED,  /* name=a, in a call */
  ETK__N_SPREAD, /* *a or **a, in a call */
  ETK__N_CAPTURED, /* what the block wrote */
} etk__node_type;

typedef enum etk__op {
  ETK__OP_ADD, ETK__OP_SUB, ETK__OP_MUL, ETK__OP_DIV, ETK__OP_FLOORDIV, ETK__OP_MOD, ETK__OP_POW,
  ETK__OP_EQ, ETK__OP_NE, ETK__OP_LT, ETK__OP_LE, ETK__OP_GT, ETK__OP_GE, ETK__OP_IN, ETK__OP_NOT_IN,
} etk__op;

struct etk__tnode {
  uint8_t type;
  uint8_t op;
  uint16_t depth;  /* of the tree below */
  uint32_t offset; /* in the source */
  uint32_t symbol; /* of a name */
  etk__tnode *a, *b, *c, *target;
  etk__nodes list, named, body, otherwise;
  etk__value constant; /* of a constant, a text, an attribute's name */
  const etk__builtin *builtin;
  uint8_t *ops;
  bool uses_caller, uses_varargs, uses_kwargs; /* of a macro */
};

typedef struct etk__symbol {
  const char *name;
  size_t size;
} etk__symbol;

struct etk_template {
  etk_arena arena;
  const char *name;
  const char *source; /* line ends made "\n", one at the end taken off */
  size_t size;
  etk__symbol *symbols;
  size_t symbol_count, symbol_capacity;
  uint32_t s_loop, s_caller, s_varargs, s_kwargs;
  etk__nodes body;
};

/* ---- lex.c ---- */
typedef enum etk__token_type {
  ETK__T_END,
  ETK__T_TEXT,
  ETK__T_BLOCK_BEGIN, ETK__T_BLOCK_END, ETK__T_VARIABLE_BEGIN, ETK__T_VARIABLE_END,
  ETK__T_NAME, ETK__T_STRING, ETK__T_INT, ETK__T_REAL, ETK__T_OPERATOR,
} etk__token_type;
typedef struct etk__ttoken {
  etk__token_type type;
  uint32_t offset, size; /* of the source */
  const char *text;      /* of a name, a string (escapes resolved) or an operator */
  size_t text_size;
  int64_t integer;
  double real;
} etk__ttoken;
typedef struct etk__lexer {
  etk_error *e;
  etk_template *t;
  size_t at;
  int state; /* outside, in a block, in a variable */
  bool line_start, raw;
  bool begin_next;  /* a text was cut before a tag, whose begin comes next */
  etk__ttoken begin;
  char open[200]; /* brackets not closed yet */
  int open_count;
} etk__lexer;
etk_status etk__lex(etk__lexer *l, etk__ttoken *token);
etk_status etk__template_fail(etk_error *e, const etk_template *t, size_t offset, etk_status status, const char *format, ...) ETK_PRINTF(5, 6);

/* ---- parse.c, expression.c ---- */
enum { ETK__MAX_NESTING = 150, ETK__MAX_TREE = 400 };
typedef struct etk__parser {
  etk__lexer lexer;
  etk__ttoken token; /* the one to be read */
  etk_error *e;
  etk_template *t;
  int nesting, loops;
  etk__tnode *macro; /* the one being read */
} etk__parser;
etk_status etk__parse_advance(etk__parser *p);
etk_status etk__parse_fail(etk__parser *p, const char *format, ...) ETK_PRINTF(2, 3); /* at the token */
etk_status etk__parse_unexpected(etk__parser *p, const char *wanted);
bool etk__parse_is(const etk__parser *p, const char *operator);
bool etk__parse_is_word(const etk__parser *p, const char *word);
etk_status etk__parse_expect(etk__parser *p, const char *operator, const char *why);
etk__tnode *etk__tnode_new(etk__parser *p, etk__node_type type, size_t offset); /* NULL: e is set */
bool etk__tnodes_push(etk__parser *p, etk__nodes *nodes, etk__tnode *node);
etk_status etk__tnode_close(etk__parser *p, etk__tnode *node); /* its children are in place: takes their depth */
etk_status etk__parse_symbol(etk__parser *p, uint32_t *symbol, const char *name, size_t size);
etk_status etk__parse_expression(etk__parser *p, etk__tnode **out); /* with inline if */
etk_status etk__parse_or(etk__parser *p, etk__tnode **out);         /* without */
etk_status etk__parse_tuple(etk__parser *p, etk__tnode **out, bool condition);
etk_status etk__parse_target(etk__parser *p, etk__tnode **out, bool attribute); /* a name, names with commas, or (attribute) namespace.name */
etk_status etk__parse_filters(etk__parser *p, etk__tnode **node, bool first_without_pipe); /* |name(…)… */
etk_status etk__parse_postfix(etk__parser *p, etk__tnode **node);
etk_status etk__parse_body(etk_error *e, etk_template *t);

/* ---- the state of a rendering ---- */
typedef struct etk__variable {
  uint32_t symbol;
  etk__value value;
} etk__variable;
typedef struct etk__scope {
  struct etk__scope *outer;
  etk__variable *variables;
  size_t count, capacity;
} etk__scope;
struct etk__macro {
  const etk__tnode *node;
  etk__scope *scope; /* where it was written */
};
struct etk__loop {
  etk__value *items;
  size_t count, index;
  etk__value *changed;
  size_t changed_count;
  bool changed_set;
};
enum { ETK__RUN, ETK__BREAKING, ETK__CONTINUING };
struct etk__render {
  etk_error *e;
  const etk_template *t;
  etk_arena arena;
  int64_t steps, output_limit, memory_limit; /* steps: left */
  int depth, depth_limit;
  uint32_t at;     /* offset of what is being done, for messages */
  etk__value *top; /* by symbol: the template's own variables */
  etk__scope *scope;
  etk_text *out;
  int flow;
  int captures;
  etk__value captured;         /* what the chain of a set block or filter block begins with */
  etk__value caller;           /* of the call block whose call is being made */
  const etk__tnode *caller_for; /* that call; NULL once it has taken the caller */
  int64_t step_limit;
  etk_status status;
  const struct tm *now;
  etk_template_span *spans;
  size_t span_count, span_capacity;
  bool failed;
};
bool etk__fail(etk__render *r, const char *format, ...) ETK_PRINTF(2, 3); /* false; the message begins with where r->at is */
bool etk__fail_memory(etk__render *r);
bool etk__charge(etk__render *r, int64_t steps);
bool etk__charge_bytes(etk__render *r, size_t bytes);  /* copied */
bool etk__charge_search(etk__render *r, size_t bytes); /* looked at one by one: 8 a step */
bool etk__enter(etk__render *r); /* one deeper; etk__leave also where it failed */
void etk__leave(etk__render *r);
void *etk__make(etk__render *r, size_t count, size_t size); /* zeroed; NULL: failed */

/* ---- render.c, evaluate.c ---- */
bool etk__run(etk__render *r, const etk__nodes *nodes);
bool etk__write(etk__render *r, const char *bytes, size_t size);
bool etk__evaluate(etk__render *r, etk__value *out, const etk__tnode *node);
bool etk__call(etk__render *r, etk__value *out, etk__value callee, const etk__arguments *a);
bool etk__call_macro(etk__render *r, etk__value *out, etk__macro *macro, const etk__arguments *a);
bool etk__assign(etk__render *r, const etk__tnode *target, etk__value value);
bool etk__variable_set(etk__render *r, uint32_t symbol, etk__value value);
bool etk__capture(etk__render *r, etk__value *out, const etk__nodes *body);
etk__scope *etk__scope_new(etk__render *r, etk__scope *outer);

/* ---- value.c ---- */
static inline etk__value etk__none(void) { return (etk__value){.kind = ETK__NONE}; }
static inline etk__value etk__bool(bool b) { return (etk__value){.kind = ETK__BOOL, .flag = b}; }
static inline etk__value etk__int(int64_t i) { return (etk__value){.kind = ETK__INT, .integer = i}; }
static inline etk__value etk__real(double d) { return (etk__value){.kind = ETK__REAL, .real = d}; }
static inline bool etk__given(etk__value v) { return v.kind != ETK__ABSENT; }
const char *etk__type_name(etk__value v); /* as Python calls it */
bool etk__undefined(etk__render *r, etk__value *out, const char *name, size_t size, const char *owner);
bool etk__fail_undefined(etk__render *r, etk__value v);
bool etk__str_copy(etk__render *r, etk__value *out, const char *data, size_t size);
bool etk__str_borrow(etk__render *r, etk__value *out, const char *data, size_t size); /* data lives as long as the rendering */
bool etk__text_fits(etk__render *r, const etk_text *text); /* for texts that grow: false and failed when there is no room to take it */
bool etk__str_take(etk__render *r, etk__value *out, etk_text *text);                  /* copies and frees */
size_t etk__str_chars(const etk__str *s);
size_t etk__str_offset(etk__str *s, size_t character); /* byte of it */
bool etk__str_is(etk__value v, const char *text);
bool etk__items_new(etk__render *r, etk__value *out, etk__kind kind, size_t count);
bool etk__dict_new(etk__render *r, etk__value *out, size_t capacity);
bool etk__dict_put(etk__render *r, etk__dict *d, etk__value key, etk__value value);
bool etk__dict_get(etk__render *r, etk__value *out, const etk__dict *d, etk__value key, bool *found);
bool etk__dict_get_text(etk__render *r, etk__value *out, const etk__dict *d, const char *name, size_t size, bool *found);
bool etk__truth(etk__value v);
bool etk__equal(etk__render *r, bool *out, etk__value a, etk__value b);
bool etk__compare(etk__render *r, int *out, etk__value a, etk__value b, const char *symbol); /* out: -1, 0, 1; 2: not comparable (nan) */
/* What iterating gives, as an array that stays valid; a generator is used up. */
bool etk__iterate(etk__render *r, etk__value **at, size_t *count, etk__value v);
bool etk__length(etk__render *r, size_t *out, etk__value v);
bool etk__from_json(etk__render *r, etk__value *out, const json_t *json);
bool etk__template_number(etk__value v, double *out); /* false: not a number */
bool etk__is_whole(etk__value v, int64_t *out); /* int or bool */

/* ---- print.c ---- */
bool etk__print(etk__render *r, etk_text *out, etk__value v); /* Python's str() */
bool etk__repr(etk__render *r, etk_text *out, etk__value v);
bool etk__to_str(etk__render *r, etk__value *out, etk__value v);
void etk__put_real(etk_text *out, double value);
typedef struct etk__json_style {
  const char *item, *key; /* separators */
  size_t item_size, key_size;
  const char *indent; /* NULL: one line */
  size_t indent_size;
  bool ascii, sort;
} etk__json_style;
bool etk__put_json(etk__render *r, etk_text *out, etk__value v, const etk__json_style *style);

/* ---- operate.c ---- */
bool etk__attribute(etk__render *r, etk__value *out, etk__value v, const char *name, size_t size);
bool etk__item(etk__render *r, etk__value *out, etk__value v, etk__value key);
bool etk__slice(etk__render *r, etk__value *out, etk__value v, etk__value start, etk__value stop, etk__value step);
bool etk__binary(etk__render *r, etk__value *out, etk__op op, etk__value a, etk__value b);
bool etk__relate(etk__render *r, bool *out, etk__op op, etk__value a, etk__value b);
bool etk__contains(etk__render *r, bool *out, etk__value whole, etk__value part);
bool etk__percent_format(etk__render *r, etk__value *out, etk__value format, etk__value values);

/* ---- methods.c, format.c ---- */
bool etk__str_replace(etk__render *r, etk__value *out, const etk__str *s, const etk__value a[3]); /* old, new, count */
bool etk__split_lines(etk__render *r, etk__value *out, const etk__str *s, bool keep_ends);

/* ---- characters.c: as Python's str sees them ---- */
bool etk__py_space(uint32_t c);
bool etk__py_line_end(uint32_t c);
bool etk__py_printable(uint32_t c);
bool etk__py_alpha(uint32_t c);
bool etk__py_digit(uint32_t c);
bool etk__py_upper(uint32_t c);
bool etk__py_lower(uint32_t c);
uint32_t etk__py_next(const char **p, const char *end); /* decodes; U+FFFD on broken bytes */
void etk__put_char(etk_text *out, uint32_t c);
void etk__put_upper(etk_text *out, const char *data, size_t size);
void etk__put_lowered(etk_text *out, const char *data, size_t size);
void etk__put_titled(etk_text *out, uint32_t c);
size_t etk__find(const char *data, size_t size, size_t from, const char *part, size_t part_size); /* SIZE_MAX: none */
/* The part of s without characters of `set` (NULL: white space) at its sides. */
void etk__strip(const etk__str *s, const etk__str *set, bool left, bool right, size_t *begin, size_t *end);

#endif
