/* parse.c: statements to nodes. */
#include "internal.h"

etk_status etk__parse_advance(etk__parser *p) { return etk__lex(&p->lexer, &p->token); }

static etk_status fail_here(etk__parser *p, size_t offset, etk_status status, const char *format, va_list arguments) {
  etk_text text = ETK_TEXT_INIT;
  etk_text_vprintf(&text, format, arguments);
  etk__template_fail(p->e, p->t, offset, status, "%s", text.data && !text.failed ? text.data : format);
  etk_text_free(&text);
  return status;
}

etk_status etk__parse_fail(etk__parser *p, const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  etk_status status = fail_here(p, p->token.offset, ETK_E_FORMAT, format, arguments);
  va_end(arguments);
  return status;
}

etk_status etk__parse_unexpected(etk__parser *p, const char *wanted) {
  const etk__ttoken *t = &p->token;
  switch (t->type) {
  case ETK__T_END: return etk__parse_fail(p, "%s wanted, found the end of the template", wanted);
  case ETK__T_TEXT: return etk__parse_fail(p, "%s wanted, found text", wanted);
  case ETK__T_BLOCK_END: return etk__parse_fail(p, "%s wanted, found '%%}'", wanted);
  case ETK__T_VARIABLE_END: return etk__parse_fail(p, "%s wanted, found '}}'", wanted);
  default: break;
  }
  size_t n = t->size < 40 ? t->size : 40;
  while (n < t->size && n > 0 && ((unsigned char)p->t->source[t->offset + n] & 0xC0) == 0x80) n--;
  return etk__parse_fail(p, "%s wanted, found '%.*s'", wanted, (int)n, p->t->source + t->offset);
}

bool etk__parse_is(const etk__parser *p, const char *operator) {
  return p->token.type == ETK__T_OPERATOR && p->token.text_size == strlen(operator) && memcmp(p->token.text, operator, p->token.text_size) == 0;
}

bool etk__parse_is_word(const etk__parser *p, const char *word) {
  return p->token.type == ETK__T_NAME && p->token.text_size == strlen(word) && memcmp(p->token.text, word, p->token.text_size) == 0;
}

etk_status etk__parse_expect(etk__parser *p, const char *operator, const char *why) {
  if (etk__parse_is(p, operator)) return etk__parse_advance(p);
  char wanted[80];
  snprintf(wanted, sizeof wanted, "'%s' %s", operator, why);
  return etk__parse_unexpected(p, wanted);
}

etk__tnode *etk__tnode_new(etk__parser *p, etk__node_type type, size_t offset) {
  etk__tnode *node = etk_arena_alloc(&p->t->arena, sizeof *node);
  if (!node) {
    etk_fail_memory(p->e);
    return NULL;
  }
  node->type = (uint8_t)type;
  node->depth = 1;
  node->offset = (uint32_t)offset;
  return node;
}

bool etk__tnodes_push(etk__parser *p, etk__nodes *nodes, etk__tnode *node) {
  if (nodes->count == nodes->capacity) {
    size_t capacity = nodes->capacity ? nodes->capacity * 2 : 4;
    etk__tnode **at = etk_arena_array(&p->t->arena, capacity, sizeof *at);
    if (!at) return etk_fail_memory(p->e), false;
    if (nodes->count) memcpy(at, nodes->at, nodes->count * sizeof *at);
    nodes->at = at;
    nodes->capacity = capacity;
  }
  nodes->at[nodes->count++] = node;
  return true;
}

static unsigned deepest(const etk__nodes *nodes, unsigned depth) {
  for (size_t i = 0; i < nodes->count; i++)
    if (nodes->at[i] && nodes->at[i]->depth > depth) depth = nodes->at[i]->depth;
  return depth;
}

etk_status etk__tnode_close(etk__parser *p, etk__tnode *node) {
  const etk__tnode *children[] = {node->a, node->b, node->c, node->target};
  unsigned depth = 0;
  for (size_t i = 0; i < 4; i++)
    if (children[i] && children[i]->depth > depth) depth = children[i]->depth;
  depth = deepest(&node->list, depth);
  depth = deepest(&node->named, depth);
  depth = deepest(&node->body, depth);
  depth = deepest(&node->otherwise, depth);
  if (depth + 1 > ETK__MAX_TREE)
    return etk__template_fail(p->e, p->t, node->offset, ETK_E_UNSUPPORTED, "more than %d operators or blocks in one another", ETK__MAX_TREE);
  node->depth = (uint16_t)(depth + 1);
  return ETK_OK;
}

etk_status etk__parse_symbol(etk__parser *p, uint32_t *symbol, const char *name, size_t size) {
  etk_template *t = p->t;
  for (size_t i = 0; i < t->symbol_count; i++) {
    if (t->symbols[i].size != size || memcmp(t->symbols[i].name, name, size) != 0) continue;
    *symbol = (uint32_t)i;
    return ETK_OK;
  }
  if (t->symbol_count == 4096) return etk__parse_fail(p, "more than 4096 different names");
  if (t->symbol_count == t->symbol_capacity) {
    size_t capacity = t->symbol_capacity ? t->symbol_capacity * 2 : 32;
    etk__symbol *symbols = etk_arena_array(&t->arena, capacity, sizeof *symbols);
    if (!symbols) return etk_fail_memory(p->e);
    if (t->symbol_count) memcpy(symbols, t->symbols, t->symbol_count * sizeof *symbols);
    t->symbols = symbols;
    t->symbol_capacity = capacity;
  }
  t->symbols[t->symbol_count] = (etk__symbol){name, size};
  *symbol = (uint32_t)t->symbol_count++;
  return ETK_OK;
}

/* ---- statements ---- */

static etk_status parse_nodes(etk__parser *p, etk__nodes *out, const char *const *ends, const etk__ttoken *begin);

static etk_status block_end(etk__parser *p) {
  if (p->token.type != ETK__T_BLOCK_END) return etk__parse_unexpected(p, "'%}'");
  return etk__parse_advance(p);
}

/* The body of a block up to {% end %}, with that tag read whole. */
static etk_status parse_block(etk__parser *p, etk__nodes *out, const char *end, const etk__ttoken *begin) {
  const char *const ends[] = {end, NULL};
  etk_status status = block_end(p);
  if (!status) status = parse_nodes(p, out, ends, begin);
  if (!status) status = etk__parse_advance(p);
  return status ? status : block_end(p);
}

static etk_status parse_if(etk__parser *p, etk__tnode *node, const etk__ttoken *begin) {
  static const char *const ends[] = {"elif", "else", "endif", NULL};
  etk_status status = etk__parse_tuple(p, &node->a, false);
  if (!status) status = block_end(p);
  if (!status) status = parse_nodes(p, &node->body, ends, begin);
  for (etk__tnode *branch = node; !status;) { /* an elif is an if alone in the otherwise of the one before; its depth is not counted as nesting */
    if (etk__parse_is_word(p, "elif")) {
      etk__tnode *next = etk__tnode_new(p, ETK__N_IF, p->token.offset);
      if (!next || !etk__tnodes_push(p, &branch->otherwise, next)) return ETK_E_NO_MEMORY;
      status = etk__parse_advance(p);
      if (!status) status = etk__parse_tuple(p, &next->a, false);
      if (!status) status = block_end(p);
      if (!status) status = parse_nodes(p, &next->body, ends, begin);
      branch = next;
    } else if (etk__parse_is_word(p, "else")) {
      status = etk__parse_advance(p);
      return status ? status : parse_block(p, &branch->otherwise, "endif", begin);
    } else {
      status = etk__parse_advance(p);
      return status ? status : block_end(p);
    }
  }
  return status;
}

/* The depth of an if and its chain of elifs, from the last back. */
static etk_status close_if(etk__parser *p, etk__tnode *node) {
  unsigned depth = 0;
  for (etk__tnode *n = node;;) {
    if (n->a->depth > depth) depth = n->a->depth;
    depth = deepest(&n->body, depth);
    bool chain = n->otherwise.count == 1 && n->otherwise.at[0]->type == ETK__N_IF && n->otherwise.at[0]->depth == 1;
    if (!chain) {
      depth = deepest(&n->otherwise, depth);
      break;
    }
    n = n->otherwise.at[0];
  }
  if (depth + 1 > ETK__MAX_TREE)
    return etk__template_fail(p->e, p->t, node->offset, ETK_E_UNSUPPORTED, "more than %d operators or blocks in one another", ETK__MAX_TREE);
  node->depth = (uint16_t)(depth + 1);
  return ETK_OK;
}

static etk_status parse_for(etk__parser *p, etk__tnode *node, const etk__ttoken *begin) {
  static const char *const ends[] = {"else", "endfor", NULL};
  etk_status status = etk__parse_target(p, &node->target, false);
  if (!status && !etk__parse_is_word(p, "in")) return etk__parse_unexpected(p, "'in'");
  if (!status) status = etk__parse_advance(p);
  if (!status) status = etk__parse_tuple(p, &node->a, false);
  if (!status && etk__parse_is_word(p, "if")) {
    status = etk__parse_advance(p);
    if (!status) status = etk__parse_expression(p, &node->b);
  }
  if (!status && etk__parse_is_word(p, "recursive"))
    return etk__template_fail(p->e, p->t, p->token.offset, ETK_E_UNSUPPORTED, "recursive loops are not supported; a macro can call itself");
  if (!status) status = block_end(p);
  p->loops++;
  if (!status) status = parse_nodes(p, &node->body, ends, begin);
  p->loops--;
  bool otherwise = !status && etk__parse_is_word(p, "else");
  if (!status) status = etk__parse_advance(p);
  if (!status && otherwise) return parse_block(p, &node->otherwise, "endfor", begin);
  return status ? status : block_end(p);
}

static etk_status parse_set(etk__parser *p, etk__tnode *node, const etk__ttoken *begin) {
  etk_status status = etk__parse_target(p, &node->target, true);
  if (status) return status;
  if (etk__parse_is(p, "=")) {
    status = etk__parse_advance(p);
    if (!status) status = etk__parse_tuple(p, &node->a, true);
    return status ? status : block_end(p);
  }
  node->type = ETK__N_SET_BLOCK;
  if (node->target->type == ETK__N_TUPLE) return etk__parse_unexpected(p, "'='");
  if (etk__parse_is(p, "|")) {
    node->a = etk__tnode_new(p, ETK__N_CAPTURED, p->token.offset);
    if (!node->a) return ETK_E_NO_MEMORY;
    status = etk__parse_filters(p, &node->a, false);
  }
  int loops = p->loops;
  p->loops = 0;
  if (!status) status = parse_block(p, &node->body, "endset", begin);
  p->loops = loops;
  return status;
}

/* "(a, b=1)" of a macro or a call block. */
static etk_status parse_parameters(etk__parser *p, etk__tnode *node) {
  etk_status status = etk__parse_expect(p, "(", "before the parameters");
  while (!status && !etk__parse_is(p, ")")) {
    if (node->list.count) status = etk__parse_expect(p, ",", "between parameters");
    if (!status && etk__parse_is(p, ")")) break;
    if (!status && p->token.type != ETK__T_NAME) return etk__parse_unexpected(p, "a parameter's name");
    etk__tnode *name = status ? NULL : etk__tnode_new(p, ETK__N_NAME, p->token.offset), *otherwise = NULL;
    if (!name) return status ? status : ETK_E_NO_MEMORY;
    status = etk__parse_symbol(p, &name->symbol, p->token.text, p->token.text_size);
    for (size_t i = 0; !status && i < node->list.count; i++)
      if (node->list.at[i]->symbol == name->symbol) return etk__parse_fail(p, "a second parameter of this name");
    if (!status) status = etk__parse_advance(p);
    if (!status && etk__parse_is(p, "=")) {
      status = etk__parse_advance(p);
      if (!status) status = etk__parse_expression(p, &otherwise);
    } else if (!status && node->named.count && node->named.at[node->named.count - 1]) {
      return etk__parse_fail(p, "a parameter without a default follows one with a default");
    }
    if (!status && (!etk__tnodes_push(p, &node->list, name) || !etk__tnodes_push(p, &node->named, otherwise))) return ETK_E_NO_MEMORY;
  }
  return status ? status : etk__parse_advance(p);
}

static etk_status parse_macro_body(etk__parser *p, etk__tnode *node, const char *end, const etk__ttoken *begin) {
  etk__tnode *outer = p->macro;
  int loops = p->loops;
  p->macro = node;
  p->loops = 0;
  etk_status status = parse_block(p, &node->body, end, begin);
  p->loops = loops;
  p->macro = outer;
  if (status) return status;
  return etk__tnode_close(p, node);
}

static etk_status parse_macro(etk__parser *p, etk__tnode *node, const etk__ttoken *begin) {
  if (p->token.type != ETK__T_NAME) return etk__parse_unexpected(p, "the macro's name");
  etk_status status = etk__parse_symbol(p, &node->symbol, p->token.text, p->token.text_size);
  if (!status) status = etk__parse_advance(p);
  if (!status) status = parse_parameters(p, node);
  return status ? status : parse_macro_body(p, node, "endmacro", begin);
}

static etk_status parse_call_block(etk__parser *p, etk__tnode *node, const etk__ttoken *begin) {
  etk__tnode *macro = node->b = etk__tnode_new(p, ETK__N_MACRO, node->offset);
  if (!macro) return ETK_E_NO_MEMORY;
  macro->symbol = p->t->s_caller;
  etk_status status = etk__parse_is(p, "(") ? parse_parameters(p, macro) : ETK_OK;
  if (!status) status = etk__parse_expression(p, &node->a);
  if (!status && node->a->type != ETK__N_CALL)
    return etk__template_fail(p->e, p->t, node->a->offset, ETK_E_FORMAT, "a call block wants the call of a macro");
  return status ? status : parse_macro_body(p, macro, "endcall", begin);
}

static etk_status parse_filter_block(etk__parser *p, etk__tnode *node, const etk__ttoken *begin) {
  node->a = etk__tnode_new(p, ETK__N_CAPTURED, p->token.offset);
  if (!node->a) return ETK_E_NO_MEMORY;
  etk_status status = etk__parse_filters(p, &node->a, true);
  int loops = p->loops;
  p->loops = 0;
  if (!status) status = parse_block(p, &node->body, "endfilter", begin);
  p->loops = loops;
  return status;
}

static etk_status parse_with(etk__parser *p, etk__tnode *node, const etk__ttoken *begin) {
  etk_status status = ETK_OK;
  while (!status && p->token.type != ETK__T_BLOCK_END) {
    etk__tnode *target, *value;
    if (node->list.count) status = etk__parse_expect(p, ",", "between variables");
    if (!status) status = etk__parse_target(p, &target, false);
    if (!status) status = etk__parse_expect(p, "=", "and the value");
    if (!status) status = etk__parse_expression(p, &value);
    if (!status && (!etk__tnodes_push(p, &node->list, target) || !etk__tnodes_push(p, &node->list, value))) return ETK_E_NO_MEMORY;
  }
  return status ? status : parse_block(p, &node->body, "endwith", begin);
}

static etk_status parse_generation(etk__parser *p, etk__tnode *node, const etk__ttoken *begin) {
  int loops = p->loops;
  p->loops = 0;
  etk_status status = parse_block(p, &node->body, "endgeneration", begin);
  p->loops = loops;
  return status;
}

static etk_status parse_jump(etk__parser *p, etk__tnode *node, const etk__ttoken *begin) {
  if (!p->loops)
    return etk__template_fail(p->e, p->t, begin->offset, ETK_E_FORMAT, "'%s' outside a loop", node->type == ETK__N_BREAK ? "break" : "continue");
  return block_end(p);
}

typedef etk_status statement_fn(etk__parser *p, etk__tnode *node, const etk__ttoken *begin);
static const struct statement {
  const char *word;
  etk__node_type type;
  statement_fn *parse;
} statements[] = {
    {"if", ETK__N_IF, parse_if},
    {"for", ETK__N_FOR, parse_for},
    {"set", ETK__N_SET, parse_set},
    {"macro", ETK__N_MACRO, parse_macro},
    {"call", ETK__N_CALL_BLOCK, parse_call_block},
    {"filter", ETK__N_FILTER_BLOCK, parse_filter_block},
    {"with", ETK__N_WITH, parse_with},
    {"generation", ETK__N_GENERATION, parse_generation},
    {"break", ETK__N_BREAK, parse_jump},
    {"continue", ETK__N_CONTINUE, parse_jump},
};
enum { STATEMENTS = sizeof statements / sizeof statements[0] };

static const struct {
  const char *word, *why;
} refused[] = {
    {"include", "a template has no access to files"},   {"import", "a template has no access to files"},
    {"from", "a template has no access to files"},      {"extends", "a template has no access to files"},
    {"block", "a chat template has no parent template"}, {"autoescape", "chat templates are plain text"},
    {"do", "call the function in {% set unused = … %}"}, {"trans", "there are no translations"},
};

static etk_status unknown_statement(etk__parser *p) {
  char word[64];
  snprintf(word, sizeof word, "%.*s", (int)(p->token.text_size < 60 ? p->token.text_size : 60), p->token.text);
  for (size_t i = 0; i < sizeof refused / sizeof refused[0]; i++)
    if (strcmp(word, refused[i].word) == 0)
      return etk__template_fail(p->e, p->t, p->token.offset, ETK_E_UNSUPPORTED, "'%s' is not supported: %s", word, refused[i].why);
  if (strncmp(word, "end", 3) == 0 || strcmp(word, "else") == 0 || strcmp(word, "elif") == 0) return etk__parse_fail(p, "'%s' without its beginning", word);
  const char *names[STATEMENTS];
  for (size_t i = 0; i < STATEMENTS; i++) names[i] = statements[i].word;
  const char *near = etk_text_suggest(word, names, STATEMENTS);
  return etk__parse_fail(p, near ? "unknown tag '%s' (did you mean '%s'?)" : "unknown tag '%s'", word, near);
}

static etk_status parse_statement(etk__parser *p, etk__nodes *out, const etk__ttoken *begin) {
  if (p->token.type != ETK__T_NAME) return etk__parse_unexpected(p, "the name of a tag");
  const struct statement *s = NULL;
  for (size_t i = 0; i < STATEMENTS && !s; i++)
    if (etk__parse_is_word(p, statements[i].word)) s = &statements[i];
  if (!s) return unknown_statement(p);
  etk__tnode *node = etk__tnode_new(p, s->type, begin->offset);
  if (!node) return ETK_E_NO_MEMORY;
  etk_status status = etk__parse_advance(p);
  if (!status) status = s->parse(p, node, begin);
  if (!status) status = s->type == ETK__N_IF ? close_if(p, node) : etk__tnode_close(p, node);
  return status || etk__tnodes_push(p, out, node) ? status : ETK_E_NO_MEMORY;
}

static etk_status parse_output(etk__parser *p, etk__nodes *out) {
  etk__tnode *node = etk__tnode_new(p, ETK__N_OUTPUT, p->token.offset);
  if (!node) return ETK_E_NO_MEMORY;
  etk_status status = etk__parse_advance(p);
  if (!status) status = etk__parse_tuple(p, &node->a, true);
  if (!status && p->token.type != ETK__T_VARIABLE_END) status = etk__parse_unexpected(p, "'}}'");
  if (!status) status = etk__parse_advance(p);
  if (!status) status = etk__tnode_close(p, node);
  return status || etk__tnodes_push(p, out, node) ? status : ETK_E_NO_MEMORY;
}

static etk_status parse_text(etk__parser *p, etk__nodes *out) {
  etk__tnode *node = etk__tnode_new(p, ETK__N_TEXT, p->token.offset);
  etk__str *str = node ? etk_arena_alloc(&p->t->arena, sizeof *str) : NULL;
  if (!str) return etk_fail_memory(p->e);
  *str = (etk__str){p->token.text, p->token.text_size, SIZE_MAX};
  node->constant = (etk__value){.kind = ETK__STR, .str = str};
  return etk__tnodes_push(p, out, node) ? etk__parse_advance(p) : ETK_E_NO_MEMORY;
}

static bool among(const etk__parser *p, const char *const *words) {
  for (size_t i = 0; words && words[i]; i++)
    if (etk__parse_is_word(p, words[i])) return true;
  return false;
}

/* Nodes up to one of the ends, whose word is then the token; NULL: up to the end of the template. */
static etk_status parse_nodes(etk__parser *p, etk__nodes *out, const char *const *ends, const etk__ttoken *begin) {
  if (++p->nesting > ETK__MAX_NESTING)
    return etk__template_fail(p->e, p->t, begin ? begin->offset : 0, ETK_E_UNSUPPORTED, "more than %d blocks in one another", ETK__MAX_NESTING);
  etk_status status = ETK_OK;
  while (!status) {
    etk__ttoken token = p->token;
    if (token.type == ETK__T_END) {
      while (ends && ends[1]) ends++; /* the last is the one that may not be missing */
      if (ends) status = etk__template_fail(p->e, p->t, begin->offset, ETK_E_FORMAT, "the block that begins here has no {%% %s %%}", *ends);
      break;
    }
    if (token.type == ETK__T_TEXT) status = parse_text(p, out);
    else if (token.type == ETK__T_VARIABLE_BEGIN) status = parse_output(p, out);
    else {
      status = etk__parse_advance(p);
      if (!status && among(p, ends)) break;
      if (!status) status = parse_statement(p, out, &token);
    }
  }
  p->nesting--;
  return status;
}

etk_status etk__parse_body(etk_error *e, etk_template *t) {
  etk__parser p = {.lexer = {.e = e, .t = t, .line_start = true}, .e = e, .t = t};
  static const char *const known[] = {"loop", "caller", "varargs", "kwargs"};
  uint32_t *const symbols[] = {&t->s_loop, &t->s_caller, &t->s_varargs, &t->s_kwargs};
  etk_status status = ETK_OK;
  for (size_t i = 0; !status && i < 4; i++) status = etk__parse_symbol(&p, symbols[i], known[i], strlen(known[i]));
  if (!status) status = etk__parse_advance(&p);
  return status ? status : parse_nodes(&p, &t->body, NULL, NULL);
}
