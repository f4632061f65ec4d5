/* builtin.c: finding built-ins and giving arguments to their parameters. */
#include "internal.h"

const etk__builtin *etk__builtin_find(const etk__table *table, const char *name, size_t size) {
  for (size_t i = 0; i < table->count; i++)
    if (strncmp(table->rows[i].name, name, size) == 0 && table->rows[i].name[size] == 0) return &table->rows[i];
  return NULL;
}

const etk__builtin *etk__filter_find(const char *name, size_t size) {
  const etk__builtin *found = etk__builtin_find(&etk__filters_text, name, size);
  return found ? found : etk__builtin_find(&etk__filters_items, name, size);
}

const char *etk__builtin_suggest(const etk__table *table, const char *name) {
  const char *names[96];
  size_t n = 0;
  for (size_t i = 0; i < table->count && n < 96; i++) names[n++] = table->rows[i].name;
  return etk_text_suggest(name, names, n);
}

typedef struct parameter {
  const char *name;
  size_t size;
  bool required;
} parameter;

static int split(parameter out[ETK__MAX_PARAMETERS], const char *text) {
  int n = 0;
  while (*text && n < ETK__MAX_PARAMETERS) {
    size_t size = strcspn(text, " ");
    bool required = text[size - 1] == '!';
    out[n++] = (parameter){text, size - required, required};
    text += size + (text[size] == ' ');
  }
  return n;
}

static int find_parameter(const parameter *p, int count, const etk__str *name) {
  for (int i = 0; i < count; i++)
    if (p[i].size == name->size && memcmp(p[i].name, name->data, name->size) == 0) return i;
  return -1;
}

bool etk__builtin_call(etk__render *r, etk__value *out, const etk__builtin *b, etk__value self, const etk__arguments *raw) {
  etk__value values[ETK__MAX_PARAMETERS];
  parameter parameters[ETK__MAX_PARAMETERS];
  memset(values, 0, sizeof values);
  if (!etk__charge(r, 1)) return false;
  if (!b->parameters) return b->call(r, out, self, values, raw);
  int n = split(parameters, b->parameters);
  if (raw->count > (size_t)n) return etk__fail(r, "%s takes at most %d arguments, %zu were given", b->name, n, raw->count);
  for (size_t i = 0; i < raw->count; i++) values[i] = raw->at[i];
  for (size_t i = 0; i < raw->named_count; i++) {
    const etk__str *name = &raw->named[i].name;
    int at = find_parameter(parameters, n, name);
    if (at < 0) return etk__fail(r, "%s has no parameter '%.*s' (it has: %s)", b->name, (int)(name->size % 100), name->data, *b->parameters ? b->parameters : "none");
    if (etk__given(values[at])) return etk__fail(r, "%s: the argument '%.*s' is given twice", b->name, (int)(name->size % 100), name->data);
    values[at] = raw->named[i].value;
  }
  for (int i = 0; i < n; i++)
    if (parameters[i].required && !etk__given(values[i])) return etk__fail(r, "%s wants the argument '%.*s'", b->name, (int)parameters[i].size, parameters[i].name);
  return b->call(r, out, self, values, raw);
}
