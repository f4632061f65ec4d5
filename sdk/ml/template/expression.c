/* expression.c: expressions to nodes. Binding, from loose to tight: inline if, or, and, not, comparisons, + -, ~, * / // %, **, unary - +, then
 * what follows a value: . [] () | is. */
#include "internal.h"

static etk_status enter(etk__parser *p) {
  if (++p->nesting > ETK__MAX_NESTING)
    return etk__template_fail(p->e, p->t, p->token.offset, ETK_E_UNSUPPORTED, "more than %d brackets or blocks in one another", ETK__MAX_NESTING);
  return ETK_OK;
}

/* A node of that type over a (and b), in *out. */
static etk_status make(etk__parser *p, etk__tnode **out, etk__node_type type, size_t offset, etk__tnode *a, etk__tnode *b) {
  etk__tnode *node = etk__tnode_new(p, type, offset);
  if (!node) return ETK_E_NO_MEMORY;
  node->a = a;
  node->b = b;
  *out = node;
  return etk__tnode_close(p, node);
}

static etk_status constant(etk__parser *p, etk__tnode **out, etk__value value) {
  etk__tnode *node = etk__tnode_new(p, ETK__N_CONSTANT, p->token.offset);
  if (!node) return ETK_E_NO_MEMORY;
  node->constant = value;
  *out = node;
  return ETK_OK;
}

static etk_status constant_text(etk__parser *p, etk__value *out, const char *text, size_t size) {
  etk__str *str = etk_arena_alloc(&p->t->arena, sizeof *str);
  if (!str) return etk_fail_memory(p->e);
  *str = (etk__str){text, size, SIZE_MAX};
  *out = (etk__value){.kind = ETK__STR, .str = str};
  etk__str *counted = str; /* now, so that threads that share the template need not write */
  counted->chars = etk__str_chars(counted);
  return ETK_OK;
}

/* Neighbouring strings are one. */
static etk_status parse_string(etk__parser *p, etk__tnode **out) {
  etk__ttoken first = p->token;
  etk__value value;
  const char *text = first.text;
  size_t size = first.text_size;
  etk_status status = etk__parse_advance(p);
  while (!status && p->token.type == ETK__T_STRING) {
    char *joined = etk_arena_alloc(&p->t->arena, size + p->token.text_size + 1);
    if (!joined) return etk_fail_memory(p->e);
    memcpy(joined, text, size);
    memcpy(joined + size, p->token.text, p->token.text_size);
    text = joined;
    size += p->token.text_size;
    status = etk__parse_advance(p);
  }
  if (!status) status = constant_text(p, &value, text, size);
  if (!status) status = constant(p, out, value);
  if (!status) (*out)->offset = first.offset;
  return status;
}

static etk_status parse_name(etk__parser *p, etk__tnode **out) {
  static const struct {
    const char *word;
    etk__value value;
  } words[] = {
      {"true", {.kind = ETK__BOOL, .flag = true}},   {"True", {.kind = ETK__BOOL, .flag = true}}, {"false", {.kind = ETK__BOOL, .flag = false}},
      {"False", {.kind = ETK__BOOL, .flag = false}}, {"none", {.kind = ETK__NONE}},               {"None", {.kind = ETK__NONE}},
  };
  for (size_t i = 0; i < sizeof words / sizeof words[0]; i++) {
    if (!etk__parse_is_word(p, words[i].word)) continue;
    etk_status status = constant(p, out, words[i].value);
    return status ? status : etk__parse_advance(p);
  }
  etk__tnode *node = etk__tnode_new(p, ETK__N_NAME, p->token.offset);
  if (!node) return ETK_E_NO_MEMORY;
  etk_status status = etk__parse_symbol(p, &node->symbol, p->token.text, p->token.text_size);
  for (etk__tnode *m = p->macro; m && !status; m = NULL) {
    m->uses_caller |= node->symbol == p->t->s_caller;
    m->uses_varargs |= node->symbol == p->t->s_varargs;
    m->uses_kwargs |= node->symbol == p->t->s_kwargs;
  }
  *out = node;
  return status ? status : etk__parse_advance(p);
}

static etk_status parse_list(etk__parser *p, etk__tnode **out) {
  etk__tnode *node = etk__tnode_new(p, ETK__N_LIST, p->token.offset), *item;
  if (!node) return ETK_E_NO_MEMORY;
  etk_status status = etk__parse_advance(p);
  while (!status && !etk__parse_is(p, "]")) {
    if (node->list.count) status = etk__parse_expect(p, ",", "or ']' in a list");
    if (status || etk__parse_is(p, "]")) break;
    status = etk__parse_expression(p, &item);
    if (!status && !etk__tnodes_push(p, &node->list, item)) status = ETK_E_NO_MEMORY;
  }
  *out = node;
  if (!status) status = etk__parse_advance(p);
  return status ? status : etk__tnode_close(p, node);
}

static etk_status parse_dict(etk__parser *p, etk__tnode **out) {
  etk__tnode *node = etk__tnode_new(p, ETK__N_DICT, p->token.offset), *key, *value;
  if (!node) return ETK_E_NO_MEMORY;
  etk_status status = etk__parse_advance(p);
  while (!status && !etk__parse_is(p, "}")) {
    if (node->list.count) status = etk__parse_expect(p, ",", "or '}' in a dict");
    if (status || etk__parse_is(p, "}")) break;
    status = etk__parse_expression(p, &key);
    if (!status) status = etk__parse_expect(p, ":", "behind a dict's key");
    if (!status) status = etk__parse_expression(p, &value);
    if (!status && (!etk__tnodes_push(p, &node->list, key) || !etk__tnodes_push(p, &node->list, value))) status = ETK_E_NO_MEMORY;
  }
  *out = node;
  if (!status) status = etk__parse_advance(p);
  return status ? status : etk__tnode_close(p, node);
}

static etk_status parse_bracketed(etk__parser *p, etk__tnode **out) {
  size_t offset = p->token.offset;
  etk_status status = etk__parse_advance(p);
  if (!status && etk__parse_is(p, ")")) {
    *out = etk__tnode_new(p, ETK__N_TUPLE, offset);
    return *out ? etk__parse_advance(p) : ETK_E_NO_MEMORY;
  }
  if (!status) status = etk__parse_tuple(p, out, true);
  return status ? status : etk__parse_expect(p, ")", "at the end");
}

static etk_status parse_primary(etk__parser *p, etk__tnode **out) {
  const etk__ttoken *t = &p->token;
  etk_status status;
  switch (t->type) {
  case ETK__T_NAME: return parse_name(p, out);
  case ETK__T_STRING: return parse_string(p, out);
  case ETK__T_INT: status = constant(p, out, etk__int(t->integer)); return status ? status : etk__parse_advance(p);
  case ETK__T_REAL: status = constant(p, out, etk__real(t->real)); return status ? status : etk__parse_advance(p);
  default: break;
  }
  if (etk__parse_is(p, "(")) return parse_bracketed(p, out);
  if (etk__parse_is(p, "[")) return parse_list(p, out);
  if (etk__parse_is(p, "{")) return parse_dict(p, out);
  return etk__parse_unexpected(p, "a value");
}

/* "*list" or "**dict" */
static etk_status parse_spread(etk__parser *p, etk__tnode *call) {
  bool names = etk__parse_is(p, "**");
  etk__tnode *value, *spread;
  size_t offset = p->token.offset;
  etk_status status = etk__parse_advance(p);
  if (!status) status = etk__parse_expression(p, &value);
  if (!status) status = make(p, &spread, ETK__N_SPREAD, offset, value, NULL);
  return status || etk__tnodes_push(p, names ? &call->named : &call->list, spread) ? status : ETK_E_NO_MEMORY;
}

static etk_status parse_argument(etk__parser *p, etk__tnode *call) {
  etk__tnode *value;
  if (etk__parse_is(p, "*") || etk__parse_is(p, "**")) return parse_spread(p, call);
  etk__ttoken name = p->token;
  etk_status status = etk__parse_expression(p, &value);
  if (status) return status;
  if (!etk__parse_is(p, "=")) {
    if (call->named.count) return etk__template_fail(p->e, p->t, name.offset, ETK_E_FORMAT, "an argument without a name follows one with a name");
    return etk__tnodes_push(p, &call->list, value) ? ETK_OK : ETK_E_NO_MEMORY;
  }
  if (name.type != ETK__T_NAME || (value->type != ETK__N_NAME && value->type != ETK__N_CONSTANT) || value->offset != name.offset)
    return etk__parse_unexpected(p, "',' or ')' in a call");
  etk__tnode *named = etk__tnode_new(p, ETK__N_NAMED, name.offset);
  if (!named) return ETK_E_NO_MEMORY;
  for (size_t i = 0; i < call->named.count; i++) {
    const etk__str *other = call->named.at[i]->constant.str;
    if (!other) continue; /* a spread dict */
    if (other->size == name.text_size && memcmp(other->data, name.text, name.text_size) == 0)
      return etk__template_fail(p->e, p->t, name.offset, ETK_E_FORMAT, "the argument '%.*s' is given twice", (int)(name.text_size % 100), name.text);
  }
  status = constant_text(p, &named->constant, name.text, name.text_size);
  if (!status) status = etk__parse_advance(p);
  if (!status) status = etk__parse_expression(p, &named->a);
  if (!status) status = etk__tnode_close(p, named);
  return status || etk__tnodes_push(p, &call->named, named) ? status : ETK_E_NO_MEMORY;
}

/* At "(": the arguments go to the node. */
static etk_status parse_arguments(etk__parser *p, etk__tnode *call) {
  etk_status status = etk__parse_advance(p);
  while (!status && !etk__parse_is(p, ")")) {
    if (call->list.count + call->named.count) status = etk__parse_expect(p, ",", "or ')' in a call");
    if (status || etk__parse_is(p, ")")) break;
    status = parse_argument(p, call);
  }
  return status ? status : etk__parse_advance(p);
}

static etk_status parse_call(etk__parser *p, etk__tnode **node) {
  etk__tnode *call = etk__tnode_new(p, ETK__N_CALL, (*node)->offset);
  if (!call) return ETK_E_NO_MEMORY;
  call->a = *node;
  *node = call;
  etk_status status = parse_arguments(p, call);
  return status ? status : etk__tnode_close(p, call);
}

static etk_status parse_attribute(etk__parser *p, etk__tnode **node) {
  etk_status status = etk__parse_advance(p);
  if (status) return status;
  size_t offset = p->token.offset;
  if (p->token.type == ETK__T_INT) {
    etk__tnode *index;
    status = constant(p, &index, etk__int(p->token.integer));
    if (!status) status = make(p, node, ETK__N_ITEM, offset, *node, index);
    return status ? status : etk__parse_advance(p);
  }
  if (p->token.type != ETK__T_NAME) return etk__parse_unexpected(p, "a name behind '.'");
  status = make(p, node, ETK__N_ATTRIBUTE, offset, *node, NULL);
  if (!status) status = constant_text(p, &(*node)->constant, p->token.text, p->token.text_size);
  return status ? status : etk__parse_advance(p);
}

static etk_status parse_subscript(etk__parser *p, etk__tnode **node) {
  size_t offset = p->token.offset;
  etk__tnode *parts[3] = {NULL, NULL, NULL};
  int count = 0;
  etk_status status = etk__parse_advance(p);
  while (!status && !etk__parse_is(p, "]")) {
    if (etk__parse_is(p, ":")) {
      if (++count > 2) return etk__parse_unexpected(p, "']'");
      status = etk__parse_advance(p);
    } else if (parts[count]) {
      return etk__parse_unexpected(p, "']'");
    } else {
      status = etk__parse_expression(p, &parts[count]);
    }
  }
  if (status) return status;
  if (count == 0 && !parts[0]) return etk__parse_unexpected(p, "an index");
  status = etk__parse_advance(p);
  if (!status && count == 0) return make(p, node, ETK__N_ITEM, offset, *node, parts[0]);
  etk__tnode *slice = status ? NULL : etk__tnode_new(p, ETK__N_SLICE, offset);
  if (!slice) return status ? status : ETK_E_NO_MEMORY;
  slice->a = *node;
  for (int i = 0; i < 3; i++)
    if (!etk__tnodes_push(p, &slice->list, parts[i])) return ETK_E_NO_MEMORY;
  *node = slice;
  return etk__tnode_close(p, slice);
}

etk_status etk__parse_postfix(etk__parser *p, etk__tnode **node) {
  etk_status status = ETK_OK;
  for (;;) {
    if (etk__parse_is(p, ".")) status = parse_attribute(p, node);
    else if (etk__parse_is(p, "[")) status = parse_subscript(p, node);
    else if (etk__parse_is(p, "(")) status = parse_call(p, node);
    else return ETK_OK;
    if (status) return status;
  }
}

static void copy_word(char out[64], const etk__ttoken *t) { snprintf(out, 64, "%.*s", (int)(t->text_size < 60 ? t->text_size : 60), t->text); }

static etk_status parse_filter(etk__parser *p, etk__tnode **node) {
  if (p->token.type != ETK__T_NAME) return etk__parse_unexpected(p, "the name of a filter");
  etk__tnode *filter = etk__tnode_new(p, ETK__N_FILTER, p->token.offset);
  if (!filter) return ETK_E_NO_MEMORY;
  filter->builtin = etk__filter_find(p->token.text, p->token.text_size);
  if (!filter->builtin) {
    char word[64];
    copy_word(word, &p->token);
    const char *near = etk__builtin_suggest(&etk__filters_text, word);
    if (!near) near = etk__builtin_suggest(&etk__filters_items, word);
    return etk__parse_fail(p, near ? "there is no filter '%s' (did you mean '%s'?)" : "there is no filter '%s'", word, near);
  }
  filter->a = *node;
  *node = filter;
  etk_status status = etk__parse_advance(p);
  if (!status && etk__parse_is(p, "(")) status = parse_arguments(p, filter);
  return status ? status : etk__tnode_close(p, filter);
}

static bool begins_argument(const etk__parser *p) {
  static const char *const not_arguments[] = {"else", "or", "and", "if", "is", "in", "not", "recursive"};
  if (p->token.type == ETK__T_STRING || p->token.type == ETK__T_INT || p->token.type == ETK__T_REAL || etk__parse_is(p, "[") || etk__parse_is(p, "{")) return true;
  for (size_t i = 0; i < sizeof not_arguments / sizeof not_arguments[0]; i++)
    if (etk__parse_is_word(p, not_arguments[i])) return false;
  return p->token.type == ETK__T_NAME;
}

static etk_status parse_test(etk__parser *p, etk__tnode **node) {
  size_t offset = p->token.offset;
  etk_status status = etk__parse_advance(p);
  bool negated = !status && etk__parse_is_word(p, "not");
  if (negated) status = etk__parse_advance(p);
  if (status) return status;
  if (p->token.type != ETK__T_NAME) return etk__parse_unexpected(p, "the name of a test");
  etk__tnode *test = etk__tnode_new(p, ETK__N_TEST, offset), *argument;
  if (!test) return ETK_E_NO_MEMORY;
  test->a = *node;
  test->builtin = etk__builtin_find(&etk__template_tests, p->token.text, p->token.text_size);
  if (!test->builtin) {
    char word[64];
    copy_word(word, &p->token);
    const char *near = etk__builtin_suggest(&etk__template_tests, word);
    return etk__parse_fail(p, near ? "there is no test '%s' (did you mean '%s'?)" : "there is no test '%s'", word, near);
  }
  status = etk__parse_advance(p);
  if (!status && etk__parse_is(p, "(")) status = parse_arguments(p, test);
  else if (!status && begins_argument(p)) {
    status = parse_primary(p, &argument);
    if (!status) status = etk__parse_postfix(p, &argument);
    if (!status && !etk__tnodes_push(p, &test->list, argument)) status = ETK_E_NO_MEMORY;
  }
  if (!status) status = etk__tnode_close(p, test);
  *node = test;
  return status || !negated ? status : make(p, node, ETK__N_NOT, offset, test, NULL);
}

etk_status etk__parse_filters(etk__parser *p, etk__tnode **node, bool first_without_pipe) {
  etk_status status = first_without_pipe ? parse_filter(p, node) : ETK_OK;
  while (!status && etk__parse_is(p, "|")) {
    status = etk__parse_advance(p);
    if (!status) status = parse_filter(p, node);
  }
  return status;
}

static etk_status parse_unary(etk__parser *p, etk__tnode **out, bool filters) {
  size_t offset = p->token.offset;
  bool minus = etk__parse_is(p, "-"), plus = etk__parse_is(p, "+");
  etk_status status = enter(p);
  if (status) return status;
  if (minus || plus) {
    status = etk__parse_advance(p);
    if (!status) status = parse_unary(p, out, false);
    if (!status) status = make(p, out, minus ? ETK__N_NEGATE : ETK__N_POSITIVE, offset, *out, NULL);
  } else {
    status = parse_primary(p, out);
  }
  if (!status) status = etk__parse_postfix(p, out);
  while (!status && filters) {
    if (etk__parse_is(p, "|")) {
      status = etk__parse_advance(p);
      if (!status) status = parse_filter(p, out);
    } else if (etk__parse_is_word(p, "is")) status = parse_test(p, out);
    else if (etk__parse_is(p, "(")) status = parse_call(p, out);
    else break;
  }
  p->nesting--;
  return status;
}

/* The levels of left-associative operators, loosest first; the tightest stands on unary. */
static const struct level {
  struct {
    const char *text;
    etk__op op;
  } operators[4];
} levels[] = {
    {{{"+", ETK__OP_ADD}, {"-", ETK__OP_SUB}}},
    {{{"~", 0}}},
    {{{"*", ETK__OP_MUL}, {"/", ETK__OP_DIV}, {"//", ETK__OP_FLOORDIV}, {"%", ETK__OP_MOD}}},
    {{{"**", ETK__OP_POW}}},
};
enum { LEVELS = sizeof levels / sizeof levels[0], LEVEL_CONCAT = 1 };

static int operator_of(const etk__parser *p, int level) {
  for (int i = 0; i < 4 && levels[level].operators[i].text; i++)
    if (etk__parse_is(p, levels[level].operators[i].text)) return i;
  return -1;
}

static etk_status parse_binary(etk__parser *p, etk__tnode **out, int level) {
  if (level == LEVELS) return parse_unary(p, out, true);
  etk_status status = parse_binary(p, out, level + 1);
  for (int i; !status && (i = operator_of(p, level)) >= 0;) {
    etk__tnode *right, *left = *out;
    size_t offset = p->token.offset;
    status = etk__parse_advance(p);
    if (!status) status = parse_binary(p, &right, level + 1);
    if (status) return status;
    if (level == LEVEL_CONCAT) {
      etk__tnode *node = left->type == ETK__N_CONCAT && left->c ? left : NULL;
      if (!node) {
        node = etk__tnode_new(p, ETK__N_CONCAT, offset);
        if (!node || !etk__tnodes_push(p, &node->list, left)) return ETK_E_NO_MEMORY;
      }
      if (!etk__tnodes_push(p, &node->list, right)) return ETK_E_NO_MEMORY;
      *out = node;
      node->c = right; /* while its chain is being read; a bracketed one is closed by then */
      status = etk__tnode_close(p, node);
    } else {
      status = make(p, out, ETK__N_BINARY, offset, left, right);
      (*out)->op = (uint8_t)levels[level].operators[i].op;
    }
  }
  if (!status && level == LEVEL_CONCAT && (*out)->type == ETK__N_CONCAT) (*out)->c = NULL;
  return status;
}

/* The comparison at the token, which is passed over; -1: none. */
static etk_status take_comparison(etk__parser *p, int *op) {
  static const char *const symbols[] = {"==", "!=", "<", "<=", ">", ">="};
  for (int i = 0; i < 6; i++) {
    if (!etk__parse_is(p, symbols[i])) continue;
    *op = ETK__OP_EQ + i;
    return etk__parse_advance(p);
  }
  *op = -1;
  if (etk__parse_is_word(p, "in")) {
    *op = ETK__OP_IN;
    return etk__parse_advance(p);
  }
  if (!etk__parse_is_word(p, "not")) return ETK_OK;
  etk_status status = etk__parse_advance(p);
  if (status) return status;
  if (!etk__parse_is_word(p, "in")) return etk__parse_unexpected(p, "'in' behind 'not'");
  *op = ETK__OP_NOT_IN;
  return etk__parse_advance(p);
}

static etk_status parse_compare(etk__parser *p, etk__tnode **out) {
  etk_status status = parse_binary(p, out, 0);
  uint8_t ops[64];
  etk__tnode *node = NULL, *right;
  for (int op; !status;) {
    size_t offset = p->token.offset;
    status = take_comparison(p, &op);
    if (status || op < 0) break;
    if (!node) {
      node = etk__tnode_new(p, ETK__N_COMPARE, offset);
      if (!node) return ETK_E_NO_MEMORY;
      node->a = *out;
    }
    if (node->list.count == sizeof ops) return etk__parse_fail(p, "more than %zu comparisons in a row", sizeof ops);
    ops[node->list.count] = (uint8_t)op;
    status = parse_binary(p, &right, 0);
    if (!status && !etk__tnodes_push(p, &node->list, right)) status = ETK_E_NO_MEMORY;
  }
  if (status || !node) return status;
  node->ops = etk_arena_alloc(&p->t->arena, node->list.count);
  if (!node->ops) return etk_fail_memory(p->e);
  memcpy(node->ops, ops, node->list.count);
  *out = node;
  return etk__tnode_close(p, node);
}

static etk_status parse_not(etk__parser *p, etk__tnode **out) {
  if (!etk__parse_is_word(p, "not")) return parse_compare(p, out);
  size_t offset = p->token.offset;
  etk_status status = enter(p);
  if (!status) status = etk__parse_advance(p);
  if (!status) status = parse_not(p, out);
  if (!status) status = make(p, out, ETK__N_NOT, offset, *out, NULL);
  p->nesting--;
  return status;
}

static etk_status parse_and(etk__parser *p, etk__tnode **out) {
  etk_status status = parse_not(p, out);
  while (!status && etk__parse_is_word(p, "and")) {
    etk__tnode *right;
    size_t offset = p->token.offset;
    status = etk__parse_advance(p);
    if (!status) status = parse_not(p, &right);
    if (!status) status = make(p, out, ETK__N_AND, offset, *out, right);
  }
  return status;
}

etk_status etk__parse_or(etk__parser *p, etk__tnode **out) {
  etk_status status = parse_and(p, out);
  while (!status && etk__parse_is_word(p, "or")) {
    etk__tnode *right;
    size_t offset = p->token.offset;
    status = etk__parse_advance(p);
    if (!status) status = parse_and(p, &right);
    if (!status) status = make(p, out, ETK__N_OR, offset, *out, right);
  }
  return status;
}

etk_status etk__parse_expression(etk__parser *p, etk__tnode **out) {
  etk_status status = enter(p);
  if (!status) status = etk__parse_or(p, out);
  while (!status && etk__parse_is_word(p, "if")) {
    etk__tnode *node = etk__tnode_new(p, ETK__N_CONDITION, p->token.offset);
    if (!node) return ETK_E_NO_MEMORY;
    node->b = *out;
    status = etk__parse_advance(p);
    if (!status) status = etk__parse_or(p, &node->a);
    if (!status && etk__parse_is_word(p, "else")) {
      status = etk__parse_advance(p);
      if (!status) status = etk__parse_expression(p, &node->c);
    }
    if (!status) status = etk__tnode_close(p, node);
    *out = node;
  }
  p->nesting--;
  return status;
}

/* Does what may follow a tuple's last comma stand here? */
static bool tuple_ends(const etk__parser *p) {
  return p->token.type == ETK__T_BLOCK_END || p->token.type == ETK__T_VARIABLE_END || p->token.type == ETK__T_END || etk__parse_is(p, ")") ||
         etk__parse_is(p, "=") || etk__parse_is_word(p, "in") || etk__parse_is_word(p, "if") || etk__parse_is_word(p, "recursive");
}

etk_status etk__parse_tuple(etk__parser *p, etk__tnode **out, bool condition) {
  etk_status (*parse)(etk__parser *, etk__tnode **) = condition ? etk__parse_expression : etk__parse_or;
  size_t offset = p->token.offset;
  etk_status status = enter(p);
  if (!status) status = parse(p, out);
  if (!status && etk__parse_is(p, ",")) {
    etk__tnode *tuple = etk__tnode_new(p, ETK__N_TUPLE, offset), *item;
    if (!tuple || !etk__tnodes_push(p, &tuple->list, *out)) return ETK_E_NO_MEMORY;
    while (!status && etk__parse_is(p, ",")) {
      status = etk__parse_advance(p);
      if (status || tuple_ends(p)) break;
      status = parse(p, &item);
      if (!status && !etk__tnodes_push(p, &tuple->list, item)) status = ETK_E_NO_MEMORY;
    }
    *out = tuple;
    if (!status) status = etk__tnode_close(p, tuple);
  }
  p->nesting--;
  return status;
}

static etk_status parse_one_target(etk__parser *p, etk__tnode **out) {
  static const char *const reserved[] = {"true", "True", "false", "False", "none", "None"};
  etk_status status;
  if (etk__parse_is(p, "(")) {
    status = enter(p);
    if (!status) status = etk__parse_advance(p);
    if (!status) status = etk__parse_target(p, out, false);
    p->nesting--;
    return status ? status : etk__parse_expect(p, ")", "behind the names");
  }
  if (p->token.type != ETK__T_NAME) return etk__parse_unexpected(p, "the name of a variable");
  for (size_t i = 0; i < sizeof reserved / sizeof reserved[0]; i++)
    if (etk__parse_is_word(p, reserved[i])) return etk__parse_fail(p, "cannot assign to '%s'", reserved[i]);
  *out = etk__tnode_new(p, ETK__N_NAME, p->token.offset);
  if (!*out) return ETK_E_NO_MEMORY;
  status = etk__parse_symbol(p, &(*out)->symbol, p->token.text, p->token.text_size);
  return status ? status : etk__parse_advance(p);
}

etk_status etk__parse_target(etk__parser *p, etk__tnode **out, bool attribute) {
  size_t offset = p->token.offset;
  etk_status status = parse_one_target(p, out);
  if (!status && attribute && (*out)->type == ETK__N_NAME && etk__parse_is(p, ".")) return parse_attribute(p, out);
  if (status || !etk__parse_is(p, ",")) return status;
  etk__tnode *tuple = etk__tnode_new(p, ETK__N_TUPLE, offset), *item;
  if (!tuple || !etk__tnodes_push(p, &tuple->list, *out)) return ETK_E_NO_MEMORY;
  while (!status && etk__parse_is(p, ",")) {
    status = etk__parse_advance(p);
    if (status || tuple_ends(p)) break;
    status = parse_one_target(p, &item);
    if (!status && !etk__tnodes_push(p, &tuple->list, item)) status = ETK_E_NO_MEMORY;
  }
  *out = tuple;
  return status ? status : etk__tnode_close(p, tuple);
}
