/* fs_find.c: files by pattern. A pattern is a list of parts; the set of parts that a path may stand before is a bit mask, so that "**" costs no
 * repeated walks and a folder that nothing can match below is not entered. */
#include "etk/alloc.h"
#include "etk/text.h"
#include "fs_internal.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

enum { PARTS = 60, DEPTH = 256 };

typedef struct glob {
  int count;
  struct {
    const char *text;
    size_t size;
  } parts[PARTS];
} glob;

static bool is_double(const glob *g, int i) { return g->parts[i].size == 2 && memcmp(g->parts[i].text, "**", 2) == 0; }

/* False: too many parts, or one that no path below a root can have. */
static bool read_glob(glob *g, const char *pattern) {
  g->count = 0;
  if (!*pattern || *pattern == '/') return false;
  for (const char *p = pattern; *p;) {
    size_t n = strcspn(p, "/");
    bool skipped = n == 0 || (n == 1 && *p == '.') || (n == 2 && memcmp(p, "**", 2) == 0 && g->count > 0 && is_double(g, g->count - 1));
    if (n == 2 && memcmp(p, "..", 2) == 0) return false;
    if (!skipped) {
      if (g->count >= PARTS - 1) return false;
      g->parts[g->count].text = p;
      g->parts[g->count++].size = n;
    }
    p += n;
    while (*p == '/') p++;
  }
  if (g->count > 0 && is_double(g, g->count - 1)) { /* a last "**" is any file below */
    g->parts[g->count].text = "*";
    g->parts[g->count++].size = 1;
  }
  return g->count > 0;
}

static size_t letter(uint32_t *code, const char *p, size_t size) {
  size_t n = etk_utf8_decode(code, p, size);
  if (n) return n;
  *code = 0xDC00 + (unsigned char)*p; /* a byte that is no UTF-8 stands for itself */
  return 1;
}

/* The size of the set that begins at p ("[…]"), 0 where it does not end; *in: holds it c? */
static size_t set_at(const char *p, const char *end, uint32_t c, bool *in) {
  const char *q = p + 1;
  bool negated = q < end && (*q == '!' || *q == '^'), found = false;
  if (negated) q++;
  for (const char *first = q; q < end && (*q != ']' || q == first);) {
    uint32_t low, high;
    q += letter(&low, q, (size_t)(end - q));
    high = low;
    if (end - q >= 2 && q[0] == '-' && q[1] != ']') {
      q++;
      q += letter(&high, q, (size_t)(end - q));
    }
    if (c >= low && c <= high) found = true;
  }
  *in = found != negated;
  return q < end ? (size_t)(q + 1 - p) : 0;
}

/* One letter of the name against what stands at p: how much of the pattern it takes, 0 where they differ. */
static size_t match_letter(const char *p, const char *end, uint32_t c) {
  bool in = false;
  if (*p == '?') return 1;
  size_t n = *p == '[' ? set_at(p, end, c, &in) : 0;
  if (n) return in ? n : 0;
  uint32_t wanted;
  n = letter(&wanted, p, (size_t)(end - p));
  return wanted == c ? n : 0;
}

static bool match_part(const char *p, size_t pattern_size, const char *name, size_t size) {
  const char *end = p + pattern_size, *name_end = name + size, *star = NULL, *resume = NULL;
  if (size > 0 && *name == '.' && (pattern_size == 0 || *p != '.')) return false;
  while (name < name_end) {
    uint32_t c;
    size_t letter_size = letter(&c, name, (size_t)(name_end - name)), n = 0;
    if (p < end && *p == '*') {
      star = ++p;
      resume = name;
      continue;
    }
    if (p < end) n = match_letter(p, end, c);
    if (n) {
      p += n;
      name += letter_size;
    } else if (star) { /* the last '*' takes one letter more */
      p = star;
      resume += letter(&c, resume, (size_t)(name_end - resume));
      name = resume;
    } else {
      return false;
    }
  }
  while (p < end && *p == '*') p++;
  return p == end;
}

typedef uint64_t states; /* bit i: the parts before i are matched */

static states closed(const glob *g, states s) {
  for (int i = 0; i < g->count; i++)
    if ((s >> i & 1) && is_double(g, i)) s |= (states)1 << (i + 1);
  return s;
}

static states advance(const glob *g, states s, const char *name, size_t size) {
  states next = 0;
  for (int i = 0; i < g->count; i++) {
    if (!(s >> i & 1)) continue;
    if (is_double(g, i)) next |= *name != '.' ? (states)1 << i : 0;
    else if (match_part(g->parts[i].text, g->parts[i].size, name, size)) next |= (states)1 << (i + 1);
  }
  return closed(g, next);
}

static bool accepts(const glob *g, states s) { return s >> g->count & 1; }

bool etk_path_match(const char *pattern, const char *path) {
  glob g;
  if (!read_glob(&g, pattern) || *path == '/') return false;
  states s = closed(&g, 1);
  size_t parts = 0;
  for (const char *p = path; *p;) {
    size_t n = strcspn(p, "/");
    if (n > 0 && !(n == 1 && *p == '.')) {
      if (n == 2 && memcmp(p, "..", 2) == 0) return false;
      s = advance(&g, s, p, n);
      parts++;
    }
    p += n;
    while (*p == '/') p++;
  }
  return parts > 0 && accepts(&g, s);
}

typedef struct search {
  const glob *g;
  char **found;
  size_t count, capacity;
  etk_error *e;
  const char *root;
} search;

static etk_status add(search *s, const char *folder, const char *name) {
  if (s->count == s->capacity) {
    size_t capacity = s->capacity ? s->capacity * 2 : 16;
    char **grown = etk_realloc(s->found, capacity, sizeof *grown);
    if (!grown) return etk__fs_no_memory(s->e, "search", s->root);
    s->found = grown;
    s->capacity = capacity;
  }
  s->found[s->count] = etk_path_join(folder, name);
  return s->found[s->count] ? (s->count++, ETK_OK) : etk__fs_no_memory(s->e, "search", s->root);
}

static etk_status walk(search *s, int fd, const char *folder, states at, int depth);

static etk_status visit(search *s, int parent, const char *folder, const char *name, states at, int depth) {
  states next = advance(s->g, at, name, strlen(name));
  struct stat info;
  if (!next) return ETK_OK;
  if (fstatat(parent, name, &info, AT_SYMLINK_NOFOLLOW) != 0)
    return errno == ENOENT ? ETK_OK : etk_fail_errno(s->e, errno, "cannot examine '%s/%s' below '%s'", folder, name, s->root);
  if (S_ISREG(info.st_mode)) return accepts(s->g, next) ? add(s, folder, name) : ETK_OK;
  next &= ~((states)1 << s->g->count); /* what is matched to its end matches nothing below */
  if (!S_ISDIR(info.st_mode) || !next) return ETK_OK;
  char *path = etk_path_join(folder, name);
  if (!path) return etk__fs_no_memory(s->e, "search", s->root);
  etk_status status = ETK_OK;
  int fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
  if (fd >= 0) status = walk(s, fd, path, next, depth - 1);
  else if (errno != ENOENT && errno != ENOTDIR && errno != ELOOP) status = etk_fail_errno(s->e, errno, "cannot open '%s' below '%s'", path, s->root);
  etk_free(path);
  return status;
}

/* Consumes fd. */
static etk_status walk(search *s, int fd, const char *folder, states at, int depth) {
  DIR *entries = depth > 0 ? fdopendir(fd) : NULL;
  if (!entries) {
    int failure = errno;
    close(fd);
    if (depth == 0) return etk_fail(s->e, ETK_E_UNSUPPORTED, "'%s' has folders deeper than the %d levels that are searched", s->root, (int)DEPTH);
    return failure == ENOMEM ? etk__fs_no_memory(s->e, "search", s->root) : etk_fail_errno(s->e, failure, "cannot list '%s' below '%s'", folder, s->root);
  }
  etk_status status = ETK_OK;
  struct dirent *entry = NULL;
  while (!status && (errno = 0, entry = readdir(entries))) {
    if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0) continue;
    status = visit(s, fd, folder, entry->d_name, at, depth);
  }
  if (!status && errno) status = etk_fail_errno(s->e, errno, "cannot list '%s' below '%s'", folder, s->root);
  closedir(entries);
  return status;
}

static int by_bytes(const void *a, const void *b) { return strcmp(*(char *const *)a, *(char *const *)b); }

etk_status etk_fs_find(etk_error *e, char ***out, size_t *count, const char *root, const char *pattern) {
  glob g;
  if (!read_glob(&g, pattern))
    return etk_fail(e, ETK_E_INVALID, "'%s' is not a pattern to search with: a relative one of 1 to %d parts is wanted, without '..'", pattern, PARTS - 1);
  int fd = open(root, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return etk_fail_errno(e, errno, "cannot search '%s'", root);
  search s = {.g = &g, .e = e, .root = root, .capacity = 1, .found = etk_calloc(1, sizeof(char *))};
  etk_status status = s.found ? walk(&s, fd, "", closed(&g, 1), DEPTH) : etk__fs_no_memory(e, "search", root);
  if (!s.found) close(fd);
  if (status) {
    etk_fs_list_free(s.found, s.count);
    return status;
  }
  qsort(s.found, s.count, sizeof *s.found, by_bytes);
  *out = s.found;
  *count = s.count;
  return ETK_OK;
}
