/* hardware_facts.c: facts of a machine as a text file: reading one as a provider, and recording what this machine answers.
 *
 *   # comment, before the first line that begins with '@' or between two of them where the next is not a @file's content
 *   @file /proc/cpuinfo        the lines up to the next '@' line are the file's; one that begins with '@', '#' or '\' has a '\' before it
 *   @fact hw.memsize 17179869184
 *   @list /sys/class/hwmon hwmon0 hwmon1
 */
#include "hardware_internal.h"
#include "etk/alloc.h"
#include "etk/fs.h"
#include <ctype.h>
#include <unistd.h>

enum { FACTS_BYTES_MOST = 16 << 20, ENTRIES_MOST = 100000 };

typedef struct entry {
  char kind; /* 'f' file, 'a' fact, 'l' list */
  const char *name, *value;
  size_t size;
  int line;
} entry;

struct etk_facts {
  etk_arena arena;
  entry *entries; /* sorted by kind and name once read */
  size_t count, capacity;
  etk_hardware_provider provider;
};

static int compare(const void *a, const void *b) {
  const entry *x = a, *y = b;
  return x->kind != y->kind ? x->kind - y->kind : strcmp(x->name, y->name);
}

static int64_t answer(const etk_facts *facts, char kind, const char *name, char *out, size_t size) {
  const entry key = {.kind = kind, .name = name};
  const entry *found = facts->count ? bsearch(&key, facts->entries, facts->count, sizeof *facts->entries, compare) : NULL;
  if (size) out[0] = 0;
  if (!found || !size) return -1;
  size_t n = found->size < size ? found->size : size - 1;
  memcpy(out, found->value, n);
  out[n] = 0;
  return (int64_t)n;
}

static int64_t file_of(void *user, const char *path, char *out, size_t size) { return answer(user, 'f', path, out, size); }
static int64_t list_of(void *user, const char *path, char *out, size_t size) { return answer(user, 'l', path, out, size); }
static int64_t fact_of(void *user, const char *name, char *out, size_t size) { return answer(user, 'a', name, out, size); }

static const struct directive {
  const char *name;
  char kind;
} directives[] = {{"@file", 'f'}, {"@fact", 'a'}, {"@list", 'l'}};
enum { DIRECTIVES = sizeof directives / sizeof directives[0] };

static etk_status add(etk_error *e, etk_facts *facts, entry item) {
  if (facts->count == facts->capacity) {
    size_t capacity = facts->capacity ? facts->capacity * 2 : 64;
    entry *grown = etk_realloc(facts->entries, capacity, sizeof *grown);
    if (!grown) return etk_fail_memory(e);
    facts->entries = grown, facts->capacity = capacity;
  }
  facts->entries[facts->count++] = item;
  return ETK_OK;
}

typedef struct reader {
  etk_facts *facts;
  const char *name, *at, *end;
  int line;
} reader;

/* The next line without its end; false: no more. */
static bool next_line(reader *r, const char **line, size_t *size) {
  if (r->at >= r->end) return false;
  const char *newline = memchr(r->at, '\n', (size_t)(r->end - r->at));
  *line = r->at;
  *size = (size_t)((newline ? newline : r->end) - r->at);
  r->at = newline ? newline + 1 : r->end;
  r->line++;
  if (*size && (*line)[*size - 1] == '\r') --*size;
  return true;
}

/* A @file's lines: to the next that begins with '@'; the value is their text. */
static etk_status read_content(etk_error *e, reader *r, entry *item) {
  const char *line, *before = r->at;
  size_t size, used = 0, room = 0;
  int line_number = r->line;
  while (before = r->at, line_number = r->line, next_line(r, &line, &size) && !(size && *line == '@')) room += size + 1;
  const char *stop = before < r->end && *before == '@' ? before : r->end;
  int stop_line = stop == before ? line_number : r->line;
  r->at = item->value;
  r->line = item->line;
  char *text = etk_arena_alloc(&r->facts->arena, room + 1);
  if (!text) return etk_fail_memory(e);
  while (r->at < stop && next_line(r, &line, &size)) {
    if (size && *line == '#') continue;
    if (size && *line == '\\') line++, size--;
    memcpy(text + used, line, size);
    used += size;
    text[used++] = '\n';
  }
  r->at = stop;
  r->line = stop_line;
  item->value = text;
  item->size = used;
  return ETK_OK;
}

static etk_status unknown(etk_error *e, const reader *r, const char *word, size_t size) {
  char seen[64];
  const char *names[DIRECTIVES];
  for (size_t i = 0; i < DIRECTIVES; i++) names[i] = directives[i].name;
  snprintf(seen, sizeof seen, "%.*s", (int)(size < 60 ? size : 60), word);
  const char *near = etk_text_suggest(seen, names, DIRECTIVES);
  return etk_fail(e, ETK_E_FORMAT, "%s:%d: '%s' is not a kind of fact; @file, @fact or @list is wanted%s%s%s", r->name, r->line, seen,
                  near ? " (did you mean '" : "", near ? near : "", near ? "'?)" : "");
}

static etk_status read_entry(etk_error *e, reader *r, const char *line, size_t size) {
  size_t n = 0;
  while (n < size && !isspace((unsigned char)line[n])) n++;
  entry item = {.line = r->line};
  for (size_t i = 0; i < DIRECTIVES; i++)
    if (strlen(directives[i].name) == n && memcmp(directives[i].name, line, n) == 0) item.kind = directives[i].kind;
  if (!item.kind) return unknown(e, r, line, n);
  while (n < size && isspace((unsigned char)line[n])) n++;
  size_t begin = n;
  while (n < size && !isspace((unsigned char)line[n])) n++;
  if (n == begin) return etk_fail(e, ETK_E_FORMAT, "%s:%d: a %s has no name", r->name, r->line, item.kind == 'a' ? "@fact" : item.kind == 'f' ? "@file" : "@list");
  if (item.kind != 'a' && line[begin] != '/')
    return etk_fail(e, ETK_E_FORMAT, "%s:%d: path '%.*s' does not begin with '/'", r->name, r->line, (int)(n - begin < 200 ? n - begin : 200), line + begin);
  if (!(item.name = etk_arena_strndup(&r->facts->arena, line + begin, n - begin))) return etk_fail_memory(e);
  while (n < size && isspace((unsigned char)line[n])) n++;
  if (item.kind == 'f') {
    if (n < size) return etk_fail(e, ETK_E_FORMAT, "%s:%d: text after the path of a @file; its content begins on the next line", r->name, r->line);
    item.value = r->at;
    etk_status status = read_content(e, r, &item);
    if (status) return status;
  } else {
    while (size > n && isspace((unsigned char)line[size - 1])) size--;
    char *value = etk_arena_strndup(&r->facts->arena, line + n, size - n);
    if (!value) return etk_fail_memory(e);
    for (char *c = value; item.kind == 'l' && *c; c++)
      if (isspace((unsigned char)*c)) *c = '\n';
    item.value = value;
    item.size = size - n;
  }
  return r->facts->count < ENTRIES_MOST ? add(e, r->facts, item) : etk_fail(e, ETK_E_FORMAT, "%s: more than %d facts", r->name, ENTRIES_MOST);
}

static etk_status read_all(etk_error *e, reader *r) {
  const char *line;
  size_t size;
  while (next_line(r, &line, &size)) {
    size_t blank = 0;
    while (blank < size && isspace((unsigned char)line[blank])) blank++;
    if (blank == size || *line == '#') continue;
    if (*line != '@')
      return etk_fail(e, ETK_E_FORMAT, "%s:%d: '%.*s' stands outside of a @file; a line begins with @file, @fact, @list or #", r->name, r->line,
                      (int)(size < 60 ? size : 60), line);
    etk_status status = read_entry(e, r, line, size);
    if (status) return status;
  }
  etk_facts *facts = r->facts;
  if (facts->count == 0) return etk_fail(e, ETK_E_FORMAT, "%s holds no facts; `info --record` writes such a file", r->name);
  qsort(facts->entries, facts->count, sizeof *facts->entries, compare);
  for (size_t i = 1; i < facts->count; i++)
    if (compare(&facts->entries[i - 1], &facts->entries[i]) == 0) {
      int a = facts->entries[i - 1].line, b = facts->entries[i].line;
      return etk_fail(e, ETK_E_FORMAT, "%s:%d: '%s' was given before, in line %d", r->name, a > b ? a : b, facts->entries[i].name, a > b ? b : a);
    }
  return ETK_OK;
}

etk_status etk__facts_parse(etk_error *e, etk_facts **out, const char *name, const char *bytes, size_t size) {
  *out = NULL;
  const char *zero = size ? memchr(bytes, 0, size) : NULL;
  if (zero) return etk_fail(e, ETK_E_FORMAT, "%s is not a text file: byte %zu is NUL", name, (size_t)(zero - bytes));
  etk_facts *facts = etk_calloc(1, sizeof *facts);
  if (!facts) return etk_fail_memory(e);
  facts->provider = (etk_hardware_provider){facts, file_of, list_of, fact_of, false};
  etk_status status = read_all(e, &(reader){facts, name, bytes, bytes + size, 0});
  if (status) etk_facts_free(facts);
  else *out = facts;
  return status;
}

etk_status etk_facts_load(etk_error *e, etk_facts **out, const char *path) {
  char *bytes;
  size_t size;
  *out = NULL;
  etk_status status = etk_fs_read(e, &bytes, &size, path, FACTS_BYTES_MOST);
  if (status) return status;
  status = etk__facts_parse(e, out, path, bytes, size);
  etk_free(bytes);
  return status;
}

const etk_hardware_provider *etk_facts_provider(const etk_facts *facts) { return &facts->provider; }

void etk_facts_free(etk_facts *facts) {
  if (!facts) return;
  etk_arena_fini(&facts->arena);
  etk_free(facts->entries);
  etk_free(facts);
}
