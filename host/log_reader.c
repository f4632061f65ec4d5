#include "log_reader.h"

#include "record.h"
#include "run_list.h"

#include <errno.h>
#include <etk/alloc.h>
#include <etk/fs.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { BUFFER = 128 << 10 }; /* a longer line is cut */

/* ---- names ---- */

static int name_number(const char *name) {
  static const char live[] = PROCESS_LOG;
  int64_t number;
  if (!strncmp(name, "logs_", 5)) return -1;
  if (strncmp(name, live, sizeof live - 1)) return -2;
  name += sizeof live - 1;
  if (!*name) return 0;
  return *name == '.' && name[1] >= '1' && name[1] <= '9' && !etk_parse_int(NULL, &number, name + 1) && number <= 100000 ? (int)number : -2;
}

static int by_age(const void *a, const void *b) {
  const struct log_name *x = a, *y = b;
  if ((x->number < 0) != (y->number < 0)) return x->number < 0 ? -1 : 1;
  if (x->number < 0) return strcmp(x->path, y->path);
  return (y->number > x->number) - (y->number < x->number);
}

etk_status log_names_read(etk_error *e, struct log_names *out, struct host *host) {
  *out = (struct log_names){0};
  const char *folder = log_folder(e, host);
  char **names = NULL;
  size_t count = 0;
  if (!folder) return e ? e->status : ETK_E_NOT_FOUND;
  if (!etk_fs_is_dir(folder)) return ETK_OK;
  etk_status status = etk_fs_list(e, &names, &count, folder);
  if (!status && count) out->items = etk_calloc(count, sizeof *out->items);
  if (!status && count && !out->items) status = etk_fail_memory(e);
  for (size_t i = 0; i < count && !status; i++) {
    struct stat info;
    int number = name_number(names[i]);
    if (number < -1) continue;
    struct log_name *item = &out->items[out->count];
    item->path = etk_path_join(folder, names[i]);
    if (!item->path) status = etk_fail_memory(e);
    else if (lstat(item->path, &info) || !S_ISREG(info.st_mode)) etk_free(item->path);
    else {
      item->number = number;
      item->bytes = info.st_size;
      item->modified_s = info.st_mtime;
      out->count++;
    }
  }
  if (names) etk_fs_list_free(names, count);
  if (status) log_names_free(out);
  else if (out->count) qsort(out->items, out->count, sizeof *out->items, by_age);
  return status;
}

void log_names_free(struct log_names *names) {
  for (size_t i = 0; i < names->count; i++) etk_free(names->items[i].path);
  etk_free(names->items);
  *names = (struct log_names){0};
}

/* ---- times ---- */

static bool digits(int *out, const char **p, int count) {
  *out = 0;
  for (int i = 0; i < count; i++, (*p)++) {
    if (**p < '0' || **p > '9') return false;
    *out = *out * 10 + (**p - '0');
  }
  return true;
}

static bool take(const char **p, char c) { return **p == c && ++*p; }

/* RFC 3339, with 'T', 't' or a blank between date and time, fraction and offset optional (UTC without one); or the date alone. */
static bool parse_time(int64_t *out_ms, const char *text, bool *date_only) {
  const char *p = text;
  struct tm t = {0};
  int year, month, hour = 0, minute = 0, second = 0, ms = 0, off_hour = 0, off_minute = 0, sign = 0;
  if (!digits(&year, &p, 4) || !take(&p, '-') || !digits(&month, &p, 2) || !take(&p, '-') || !digits(&t.tm_mday, &p, 2)) return false;
  *date_only = !*p;
  if (*p) {
    if (!take(&p, 'T') && !take(&p, 't') && !take(&p, ' ')) return false;
    if (!digits(&hour, &p, 2) || !take(&p, ':') || !digits(&minute, &p, 2)) return false;
    if (take(&p, ':') && !digits(&second, &p, 2)) return false;
    if (take(&p, '.')) {
      int scale = 100, any = 0;
      for (; *p >= '0' && *p <= '9'; p++, scale /= 10, any = 1) ms += (*p - '0') * scale;
      if (!any) return false;
    }
    if (*p == '+' || *p == '-') {
      sign = *p++ == '+' ? 1 : -1;
      if (!digits(&off_hour, &p, 2) || !take(&p, ':') || !digits(&off_minute, &p, 2)) return false;
    } else if (!take(&p, 'Z')) take(&p, 'z');
    if (*p) return false;
  }
  t.tm_year = year - 1900;
  t.tm_mon = month - 1;
  int day = t.tm_mday;
  if (month < 1 || month > 12 || hour > 23 || minute > 59 || second > 60 || off_hour > 23 || off_minute > 59) return false;
  int64_t days = (int64_t)timegm(&t);
  if (t.tm_mday != day || t.tm_mon != month - 1) return false; /* 30 February */
  *out_ms = (days + hour * 3600 + minute * 60 + second - sign * (off_hour * 3600 + off_minute * 60)) * 1000 + ms;
  return true;
}

etk_status log_time(etk_error *e, int64_t *out_ms, const char *text, bool end, int64_t now_ms) {
  bool date_only = false;
  int64_t ago;
  if (parse_time(out_ms, text, &date_only)) {
    if (date_only && end) *out_ms += INT64_C(86400000) - 1;
    return ETK_OK;
  }
  if (etk_parse_duration(NULL, &ago, text) || (*text && text[strlen(text) - 1] >= '0' && text[strlen(text) - 1] <= '9'))
    return etk_fail(e, ETK_E_USAGE, "'%s' is not a time (wanted one like 2h or 7d, which is that long ago, 2026-11-21, or 2026-11-21T04:49:02Z)", text);
  *out_ms = now_ms - ago / 1000000;
  return ETK_OK;
}

/* ---- one file, or several one after the other ---- */

struct cursor {
  int *fds; /* read in this order */
  size_t count, at;
  char *buffer;
  size_t begin, end;
  bool skipping;            /* the rest of a line that was too long */
  struct log_entry entry;   /* the line it stands on */
  json_t *json;
  char run[64];
};

static void cursor_free(struct cursor *c) {
  for (size_t i = 0; i < c->count; i++)
    if (c->fds[i] >= 0) close(c->fds[i]);
  etk_free(c->fds);
  etk_free(c->buffer);
  json_decref(c->json);
  *c = (struct cursor){0};
}

/* More bytes behind those that are left; false: there are none. */
static bool refill(struct cursor *c) {
  memmove(c->buffer, c->buffer + c->begin, c->end - c->begin);
  c->end -= c->begin;
  c->begin = 0;
  while (c->at < c->count) {
    ssize_t got = read(c->fds[c->at], c->buffer + c->end, BUFFER - c->end);
    if (got < 0 && errno == EINTR) continue;
    if (got > 0) {
      c->end += (size_t)got;
      return true;
    }
    close(c->fds[c->at]);
    c->fds[c->at++] = -1;
    if (c->end > c->begin) return false; /* a last line without a newline */
  }
  return false;
}

static bool next_text(struct cursor *c, const char **text, size_t *size) {
  for (size_t looked = 0;;) {
    char *from = c->buffer + c->begin, *newline = memchr(from + looked, '\n', c->end - c->begin - looked);
    if (newline) {
      *text = from;
      *size = (size_t)(newline - from);
      c->begin += *size + 1;
      if (!c->skipping) return true;
      c->skipping = false;
      looked = 0;
      continue;
    }
    looked = c->end - c->begin;
    if (looked == BUFFER) { /* a line that is too long: its beginning counts */
      *text = from;
      *size = looked;
      c->begin = c->end;
      if (!c->skipping) return c->skipping = true;
      looked = 0;
    }
    if (refill(c)) continue;
    *text = c->buffer + c->begin;
    *size = c->end - c->begin;
    c->begin = c->end;
    if (*size && !c->skipping) return true;
    c->skipping = false;
    if (c->at >= c->count) return false;
    looked = 0;
  }
}

static int level_of(const json_t *json) {
  const char *name = json_text(json, "level");
  for (int level = ETK_LOG_DEBUG; level <= ETK_LOG_ERROR; level++)
    if (!strcmp(name, etk_log_level_name((etk_log_level)level))) return level;
  return -1;
}

static bool cursor_next(struct cursor *c) {
  struct log_entry *entry = &c->entry;
  bool date_only;
  int64_t ms;
  json_decref(c->json);
  c->json = NULL;
  do {
    if (!next_text(c, &entry->text, &entry->size)) return false;
  } while (entry->size == 0);
  c->json = json_loadb(entry->text, entry->size, JSON_ALLOW_NUL, NULL);
  if (!json_is_object(c->json)) {
    json_decref(c->json);
    c->json = NULL;
  }
  entry->json = c->json;
  entry->level = c->json ? level_of(c->json) : -1;
  const char *time_text = json_text(c->json, c->run[0] ? "time" : "timestamp");
  if (c->json && parse_time(&ms, time_text, &date_only)) entry->unix_ms = ms;
  return true;
}

static etk_status cursor_open(etk_error *e, struct cursor *c, const char *const *paths, size_t count) {
  *c = (struct cursor){.entry.unix_ms = INT64_MIN};
  c->fds = etk_alloc((count ? count : 1) * sizeof *c->fds);
  c->buffer = etk_alloc(BUFFER);
  if (!c->fds || !c->buffer) {
    cursor_free(c);
    return etk_fail_memory(e);
  }
  for (size_t i = 0; i < count; i++) {
    int fd = open(paths[i], O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    if (fd < 0 && errno == ENOENT) continue;
    if (fd < 0) {
      etk_status status = etk_fail_errno(e, errno, "cannot read the log %s", paths[i]);
      cursor_free(c);
      return status;
    }
    c->fds[c->count++] = fd;
  }
  return ETK_OK;
}

/* All of its files are opened at once, while nobody may rename them (see etk/log.h). */
static etk_status open_process_log(etk_error *e, struct cursor *c, struct host *host) {
  struct log_names names;
  const char *folder = log_folder(e, host), *live = folder ? etk_arena_printf(&host->arena, "%s/%s", folder, PROCESS_LOG) : NULL;
  if (!live) return folder ? etk_fail_memory(e) : e->status;
  int lock = open(live, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
  if (lock >= 0) (void)!flock(lock, LOCK_SH | LOCK_NB);
  etk_status status = log_names_read(e, &names, host);
  const char **paths = status ? NULL : etk_alloc((names.count + 1) * sizeof *paths);
  size_t count = 0;
  if (!status && !paths) status = etk_fail_memory(e);
  for (size_t i = 0; !status && i < names.count; i++)
    if (names.items[i].number >= 0) paths[count++] = names.items[i].path;
  if (!status) status = cursor_open(e, c, paths, count);
  etk_free(paths);
  log_names_free(&names);
  if (lock >= 0) close(lock);
  return status;
}

/* ---- all of them ---- */

struct merge {
  struct cursor *items; /* [0] is the process log */
  size_t count, capacity;
  bool process_ended;
  int64_t process_begin_ms; /* its first line */
  struct run_list runs;     /* newest first; those from `left` on are open or done */
  size_t left;
};

/* "20261121T044902Z-…" */
static int64_t run_begin_ms(const char *id) {
  char text[32];
  bool date_only;
  int64_t ms;
  snprintf(text, sizeof text, "%.4s-%.2s-%.2sT%.2s:%.2s:%.2sZ", id, id + 4, id + 6, id + 9, id + 11, id + 13);
  return strlen(id) > 16 && parse_time(&ms, text, &date_only) ? ms : INT64_MIN;
}

static bool run_fits(const struct log_filter *filter, struct run_entry *run, const char *path) {
  struct stat info;
  if (filter->run && strncmp(run->id, filter->run, strlen(filter->run))) return false;
  if (stat(path, &info) || (filter->since_ms != INT64_MIN && (int64_t)info.st_mtime * 1000 + 999 < filter->since_ms)) return false;
  if (run_begin_ms(run->id) > filter->until_ms) return false;
  if (!filter->name_space) return true;
  run_read(run);
  return run->json && !strncmp(json_text(run->json, "namespace"), filter->name_space, strlen(filter->name_space));
}

static etk_status open_run(etk_error *e, struct merge *m, const struct log_filter *filter, struct run_entry *run) {
  char *path = etk_path_join(run->dir, "log.jsonl");
  if (!path) return etk_fail_memory(e);
  etk_status status = ETK_OK;
  if (run_fits(filter, run, path)) {
    if (m->count == m->capacity) {
      struct cursor *grown = etk_realloc(m->items, m->capacity * 2, sizeof *grown);
      if (grown) m->items = grown, m->capacity *= 2;
      else status = etk_fail_memory(e);
    }
    struct cursor *c = status ? NULL : &m->items[m->count];
    if (c && !(status = cursor_open(e, c, (const char *const *)&path, 1))) {
      snprintf(c->run, sizeof c->run, "%s", run->id);
      c->entry.unix_ms = run_begin_ms(run->id);
      if (cursor_next(c)) m->count++;
      else cursor_free(c);
    }
  }
  etk_free(path);
  return status;
}

/* Which cursor stands on the oldest line; the process log where it is one of them. SIZE_MAX: none is left. */
static size_t oldest(const struct merge *m) {
  size_t best = SIZE_MAX;
  for (size_t i = m->process_ended ? 1 : 0; i < m->count; i++)
    if (best == SIZE_MAX || m->items[i].entry.unix_ms < m->items[best].entry.unix_ms) best = i;
  return best;
}

/* Opens the runs that began before the oldest line there is now. */
static etk_status open_runs(etk_error *e, struct merge *m, const struct log_filter *filter) {
  while (m->left > 0) {
    size_t best = oldest(m);
    struct run_entry *run = &m->runs.items[m->left - 1];
    if (best != SIZE_MAX && m->items[best].entry.unix_ms < run_begin_ms(run->id)) return ETK_OK;
    etk_status status = open_run(e, m, filter, run);
    if (status) return status;
    m->left--;
  }
  return ETK_OK;
}

static bool entry_fits(const struct merge *m, const struct log_filter *filter, struct cursor *c) {
  struct log_entry *entry = &c->entry;
  entry->run = c->run[0] ? c->run : NULL;
  if (entry->run && entry->level != ETK_LOG_DEBUG && entry->unix_ms >= m->process_begin_ms) return false; /* the process log has it too */
  if (entry->unix_ms < filter->since_ms || entry->unix_ms > filter->until_ms) return false;
  if (entry->level < filter->least) return false;
  if (entry->run) return true;
  if (filter->run && (!entry->json || strncmp(json_text(entry->json, "run"), filter->run, strlen(filter->run)))) return false;
  return !filter->name_space || (entry->json && !strncmp(json_text(entry->json, "namespace"), filter->name_space, strlen(filter->name_space)));
}

static etk_status merge_all(etk_error *e, struct merge *m, const struct log_filter *filter, bool (*each)(void *, const struct log_entry *), void *user) {
  for (;;) {
    etk_status status = open_runs(e, m, filter);
    if (status) return status;
    size_t i = oldest(m);
    if (i == SIZE_MAX) return ETK_OK;
    struct cursor *c = &m->items[i];
    if (entry_fits(m, filter, c) && !each(user, &c->entry)) return ETK_OK;
    if (cursor_next(c)) continue;
    if (i == 0) {
      m->process_ended = true;
      continue;
    }
    cursor_free(c);
    m->items[i] = m->items[--m->count];
  }
}

etk_status log_read(etk_error *e, struct host *host, const struct log_filter *filter, bool (*each)(void *user, const struct log_entry *entry), void *user) {
  struct merge m = {.capacity = 8, .process_begin_ms = INT64_MAX};
  m.items = etk_calloc(m.capacity, sizeof *m.items);
  if (!m.items) return etk_fail_memory(e);
  etk_status status = open_process_log(e, &m.items[0], host);
  if (!status) {
    m.count = 1;
    m.process_ended = !cursor_next(&m.items[0]);
    if (!m.process_ended) m.process_begin_ms = m.items[0].entry.unix_ms;
    if (filter->runs) status = run_list_read(e, &m.runs, host);
  }
  m.left = m.runs.count;
  if (!status) status = merge_all(e, &m, filter, each, user);
  for (size_t i = 0; i < m.count; i++) cursor_free(&m.items[i]);
  etk_free(m.items);
  run_list_free(&m.runs);
  return status;
}
