/* logs: what was logged, searched, counted, archived and cleaned up. */
#include "builtin.h"
#include "lazy.h"
#include "log_reader.h"
#include "record.h"
#include "report.h"
#include "run_list.h"

#include <errno.h>
#include <etk/alloc.h>
#include <etk/archive.h>
#include <etk/fs.h>
#include <fcntl.h>
#include <inttypes.h>
#include <regex.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define SEARCH_ARGS(ARG) ARG(text, pattern, OPTIONAL, "1..1024", "an extended regular expression that the shown line must fit; without one, every line does")
#define TIME_HELP "2h or 7d ago, a date, or RFC 3339"
#define SEARCH_OPTIONS(OPT)                                                                                                 \
  OPT(text, since, "-", "1..64", "", "", ETK_LOCAL, "only lines from then on: " TIME_HELP)                                  \
  OPT(text, until, "-", "1..64", "", "", ETK_LOCAL, "only lines up to then: " TIME_HELP " (a date: up to its end)")         \
  OPT(choice, level, "-", "debug|info|warning|error", "", "", ETK_LOCAL, "only lines of this level and above")              \
  OPT(text, namespace, "-", "1..64", "", "", ETK_LOCAL, "only lines of namespaces that begin so")                           \
  OPT(text, run, "-", "1..64", "", "", ETK_LOCAL, "only lines of this run: an id, or its beginning")                        \
  OPT(int, limit, "100", "0..1000000", "", "n", ETK_LOCAL, "how many of the newest; 0: all")                                \
  OPT(flag, ignore_case, "yes", "", "", "i", ETK_LOCAL, "capitals and small letters are the same")                          \
  OPT(flag, fixed, "no", "", "", "F", ETK_LOCAL, "the pattern is plain text")
#define ARCHIVE_OPTIONS(OPT)                                                                                                \
  OPT(duration, older_than, "7d", "", "", "", ETK_LOCAL, "rotated files whose last line is older")                          \
  OPT(path, output, "-", "new", "", "o", ETK_LOCAL, "the archive (.tar.gz, .tar.zst, .tar, .zip); default: logs_<time>.tar.gz among the logs") \
  OPT(flag, keep, "no", "", "", "", ETK_LOCAL, "keep the files that were archived")
#define CLEAN_OPTIONS(OPT) OPT(duration, older_than, "30d", "", "", "", ETK_LOCAL, "rotated files and archives that are older")
#define COMMANDS(CMD)                                                                                                       \
  CMD(search, SEARCH_ARGS, SEARCH_OPTIONS, 0, "Show lines of all logs, the newest last")                                    \
  CMD(stats, ETK_NONE, ETK_NONE, 0, "Count what is in the process log, by level, namespace and day")                        \
  CMD(archive, ETK_NONE, ARCHIVE_OPTIONS, 0, "Pack old rotated files into an archive, and remove them once it is proved readable") \
  CMD(clean, ETK_NONE, CLEAN_OPTIONS, BUILTIN_DRY_RUN, "Remove old rotated files and archives; never the live one")         \
  CMD(path, ETK_NONE, ETK_NONE, 0, "Print where the process log is")
BUILTIN(logs, "Search and tidy up what was logged", COMMANDS)

static int fail(struct host *host, const etk_error *e) { return host_error(host, e, 0, NULL); }

static int fail_memory(struct host *host) {
  etk_error e = ETK_ERROR_INIT;
  etk_fail_memory(&e);
  return fail(host, &e);
}

static int print_document(struct host *host, etk_text *text) {
  int code = 0;
  if (text->failed) code = fail_memory(host);
  else host_print_document(host, "logs", "ok", text->data, NULL);
  etk_text_free(text);
  return code;
}

/* ---- search ---- */

struct search {
  struct host *host;
  const char *pattern; /* NULL: every line */
  bool fixed, ignore_case, compiled;
  regex_t regex;
  size_t limit;        /* 0: none */
  struct kept {
    char *line;        /* as shown, or as JSON */
    int level;
  } *ring;
  size_t matched;      /* the ring holds the last `limit` of them */
  etk_text all;        /* --json without a limit */
  bool no_memory;
};

/* What a terminal would obey is spelled out; bytes that are not UTF-8 become U+FFFD. */
static void put_safe(etk_text *out, const char *text, size_t size) {
  for (size_t i = 0; i < size;) {
    uint32_t c;
    size_t n = etk_utf8_decode(&c, text + i, size - i);
    if (n == 0) etk_text_puts(out, "\xEF\xBF\xBD"), n = 1;
    else if (c == '\n' || c == '\t') etk_text_puts(out, c == '\n' ? "\\n" : "\\t");
    else if (c < 0x20 || c == 0x7F || (c >= 0x80 && c < 0xA0)) etk_text_printf(out, "\\u%04x", (unsigned)c);
    else etk_text_append(out, text + i, n);
    i += n;
  }
}

static void put_field(etk_text *out, const char *key, const json_t *value) {
  const char *text = json_string_value(value);
  size_t size = text ? json_string_length(value) : 0;
  etk_text_putc(out, ' ');
  put_safe(out, key, strlen(key));
  etk_text_putc(out, '=');
  if (text && size && strcspn(text, " \"=\\") == size) put_safe(out, text, size);
  else json_write(out, value);
}

/* The line as people read it; its hardware is left to --json. */
static void show_entry(etk_text *out, const struct log_entry *entry) {
  char time_text[40];
  const char *key;
  json_t *value;
  if (!entry->json) {
    put_safe(out, entry->text, entry->size);
    return;
  }
  const char *message = json_text(entry->json, "message");
  etk_text_printf(out, "%s %-7s ", entry->unix_ms == INT64_MIN ? "-" : iso_time(time_text, sizeof time_text, entry->unix_ms),
                  entry->level < 0 ? "-" : etk_log_level_name((etk_log_level)entry->level));
  put_safe(out, message, strlen(message));
  if (entry->run) etk_text_printf(out, " run=%s", entry->run);
  json_object_foreach((json_t *)(uintptr_t)entry->json, key, value) {
    static const char *const shown[] = {"timestamp", "time", "level", "message", "hardware"};
    bool skip = false;
    for (size_t i = 0; i < sizeof shown / sizeof shown[0]; i++) skip |= !strcmp(key, shown[i]);
    if (!skip) put_field(out, key, value);
  }
}

static void entry_json(etk_text *out, const struct log_entry *entry) {
  if (entry->json && !entry->run) {
    json_write(out, entry->json);
    return;
  }
  if (!entry->json) {
    etk_text_puts(out, "{\"text\":");
    etk_text_json(out, entry->text, entry->size);
  } else {
    const char *key;
    json_t *value;
    etk_text_puts(out, "{\"timestamp\":");
    put_json(out, json_text(entry->json, "time"));
    json_object_foreach((json_t *)(uintptr_t)entry->json, key, value) {
      if (!strcmp(key, "time") || !strcmp(key, "run")) continue;
      etk_text_putc(out, ',');
      put_json(out, key);
      etk_text_putc(out, ':');
      json_write(out, value);
    }
  }
  if (entry->run) {
    etk_text_puts(out, ",\"run\":");
    put_json(out, entry->run);
  }
  etk_text_putc(out, '}');
}

/* Where the pattern fits text from `at` on; false: nowhere. */
static bool find(const struct search *s, const char *text, size_t at, size_t *begin, size_t *end) {
  if (s->fixed) {
    const char *found = s->ignore_case ? strcasestr(text + at, s->pattern) : strstr(text + at, s->pattern);
    if (!found) return false;
    *begin = (size_t)(found - text);
    *end = *begin + strlen(s->pattern);
    return true;
  }
  regmatch_t match;
  if (regexec(&s->regex, text + at, 1, &match, at ? REG_NOTBOL : 0)) return false;
  *begin = at + (size_t)match.rm_so;
  *end = at + (size_t)match.rm_eo;
  return true;
}

static void print_line(const struct search *s, const char *line, int level) {
  size_t at = 0, size = strlen(line), begin, end;
  bool color = s->host->out_color;
  const char *style = !color ? "" : level >= ETK_LOG_ERROR ? STYLE_RED : level == ETK_LOG_WARNING ? STYLE_YELLOW : level == ETK_LOG_DEBUG ? STYLE_DIM : "";
  fputs(style, stdout);
  while (color && s->pattern && at < size && find(s, line, at, &begin, &end)) {
    if (end == begin) break; /* fits everywhere: nothing to show */
    printf("%.*s\033[1;7m%.*s\033[0m%s", (int)(begin - at), line + at, (int)(end - begin), line + begin, style);
    at = end;
  }
  printf("%s%s\n", line + at, *style ? STYLE_RESET : "");
}

static void keep(struct search *s, char *line, int level) {
  struct kept *place = &s->ring[s->matched % s->limit];
  if (!line) {
    s->no_memory = true;
    return;
  }
  etk_free(place->line);
  *place = (struct kept){line, level};
}

static bool search_entry(void *user, const struct log_entry *entry) {
  struct search *s = user;
  size_t begin, end;
  etk_text line = ETK_TEXT_INIT;
  show_entry(&line, entry);
  bool fits = !line.failed && (!s->pattern || find(s, line.data ? line.data : "", 0, &begin, &end));
  if (fits && s->host->json) {
    line.size = 0;
    entry_json(&line, entry);
  }
  if (fits && !line.failed) {
    if (s->limit) keep(s, etk_text_take(&line), entry->level);
    else if (s->host->json) {
      if (s->matched) etk_text_putc(&s->all, ',');
      etk_text_append(&s->all, line.data, line.size);
    } else print_line(s, line.data, entry->level);
    s->matched++;
  }
  s->no_memory |= line.failed || s->all.failed;
  etk_text_free(&line);
  return !s->no_memory && !ferror(stdout);
}

static int show_found(struct search *s, struct host *host) {
  size_t count = s->limit && s->matched > s->limit ? s->limit : s->matched, first = s->matched - count;
  if (!host->json) {
    for (size_t i = first; s->limit && i < s->matched; i++) print_line(s, s->ring[i % s->limit].line, s->ring[i % s->limit].level);
    if (!s->matched) host_note(host, "no line%s", s->pattern ? " fits" : " like that");
    else if (first) host_note(host, "%zu older ones: --limit 0 shows all", first);
    return 0;
  }
  etk_text text = ETK_TEXT_INIT;
  etk_text_printf(&text, "{\"matched\":%zu,\"lines\":[", s->matched);
  if (s->all.size) etk_text_append(&text, s->all.data, s->all.size);
  for (size_t i = first; s->limit && i < s->matched; i++) {
    if (i > first) etk_text_putc(&text, ',');
    etk_text_puts(&text, s->ring[i % s->limit].line);
  }
  etk_text_puts(&text, "]}");
  return print_document(host, &text);
}

static etk_status search_start(etk_error *e, struct search *s, struct log_filter *filter, const struct search_options *o) {
  int64_t now = unix_ms();
  etk_status status = ETK_OK;
  if (o->since) status = log_time(e, &filter->since_ms, o->since, false, now);
  if (!status && o->until) status = log_time(e, &filter->until_ms, o->until, true, now);
  if (status) return status;
  if (filter->since_ms > filter->until_ms) return etk_fail(e, ETK_E_USAGE, "--since %s is later than --until %s", o->since, o->until ? o->until : "now");
  for (int level = ETK_LOG_DEBUG; o->level && level <= ETK_LOG_ERROR; level++)
    if (!strcmp(o->level, etk_log_level_name((etk_log_level)level))) filter->least = level;
  if (s->pattern && !s->fixed) {
    int error = regcomp(&s->regex, s->pattern, REG_EXTENDED | (s->ignore_case ? REG_ICASE : 0));
    char why[160];
    if (error) regerror(error, &s->regex, why, sizeof why);
    if (error) return etk_fail(e, ETK_E_USAGE, "'%s' is not a regular expression: %s (--fixed takes it as plain text)", s->pattern, why);
    s->compiled = true;
  }
  if (s->limit) s->ring = etk_calloc(s->limit, sizeof *s->ring);
  return s->limit && !s->ring ? etk_fail_memory(e) : ETK_OK;
}

static int search_run(struct host *host, const char *pattern, const struct search_options *o) {
  struct search s = {.host = host, .pattern = pattern, .fixed = o->fixed, .ignore_case = o->ignore_case, .limit = (size_t)o->limit};
  struct log_filter filter = {INT64_MIN, INT64_MAX, -1, o->namespace, o->run, true};
  etk_error e = ETK_ERROR_INIT;
  etk_status status = search_start(&e, &s, &filter, o);
  if (!status) status = log_read(&e, host, &filter, search_entry, &s);
  if (!status && s.no_memory) status = etk_fail_memory(&e);
  int code = status ? fail(host, &e) : show_found(&s, host);
  for (size_t i = 0; s.ring && i < s.limit; i++) etk_free(s.ring[i].line);
  etk_free(s.ring);
  etk_text_free(&s.all);
  if (s.compiled) regfree(&s.regex);
  return code;
}

/* ---- stats ---- */

struct day {
  int64_t number; /* since 1970 */
  int64_t warnings, errors;
};
struct stats {
  int64_t lines, levels[4], other, oldest_ms, newest_ms;
  struct space {
    char name[64];
    int64_t lines, warnings, errors;
  } *spaces;
  struct day *days;
  size_t space_count, space_capacity, day_count, day_capacity;
  bool no_memory;
};

/* One more item, zeroed; NULL: out of memory. */
static void *grow(void **items, size_t *count, size_t *capacity, size_t size) {
  if (*count == *capacity) {
    size_t wanted = *capacity ? *capacity * 2 : 16;
    void *grown = etk_realloc(*items, wanted, size);
    if (!grown) return NULL;
    *items = grown;
    *capacity = wanted;
  }
  return memset((char *)*items + (*count)++ * size, 0, size);
}

static struct space *space_of(struct stats *s, const char *name) {
  for (size_t i = 0; i < s->space_count; i++)
    if (!strncmp(s->spaces[i].name, name, sizeof s->spaces[i].name - 1)) return &s->spaces[i];
  struct space *made = grow((void **)&s->spaces, &s->space_count, &s->space_capacity, sizeof *made);
  if (made) snprintf(made->name, sizeof made->name, "%s", name);
  return made;
}

static struct day *day_of(struct stats *s, int64_t number) {
  for (size_t i = s->day_count; i-- > 0;) /* lines come in the order of time */
    if (s->days[i].number == number) return &s->days[i];
  struct day *made = grow((void **)&s->days, &s->day_count, &s->day_capacity, sizeof *made);
  if (made) made->number = number;
  return made;
}

static bool count_entry(void *user, const struct log_entry *entry) {
  struct stats *s = user;
  s->lines++;
  if (entry->level < 0) s->other++;
  else s->levels[entry->level]++;
  if (entry->unix_ms != INT64_MIN) {
    if (entry->unix_ms < s->oldest_ms) s->oldest_ms = entry->unix_ms;
    if (entry->unix_ms > s->newest_ms) s->newest_ms = entry->unix_ms;
  }
  const char *name = json_text(entry->json, "namespace");
  struct space *space = *name ? space_of(s, name) : NULL;
  struct day *day = entry->level >= ETK_LOG_WARNING && entry->unix_ms != INT64_MIN ? day_of(s, floor_div(entry->unix_ms, 86400000)) : NULL;
  if (space) space->lines++, space->warnings += entry->level == ETK_LOG_WARNING, space->errors += entry->level == ETK_LOG_ERROR;
  if (day) day->warnings += entry->level == ETK_LOG_WARNING, day->errors += entry->level == ETK_LOG_ERROR;
  s->no_memory = (*name && !space) || (entry->level >= ETK_LOG_WARNING && entry->unix_ms != INT64_MIN && !day);
  return !s->no_memory;
}

static int day_order(const void *a, const void *b) {
  const struct day *x = a, *y = b;
  return (x->number > y->number) - (x->number < y->number);
}

static int space_order(const void *a, const void *b) { return strcmp(((const struct space *)a)->name, ((const struct space *)b)->name); }

static const char *day_text(char out[40], int64_t number) {
  iso_time(out, 40, number * 86400000);
  out[10] = 0;
  return out;
}

static void stats_json(etk_text *out, const struct stats *s, const int64_t files[2], const int64_t bytes[2]) {
  char text[40];
  etk_text_printf(out, "{\"files\":%" PRId64 ",\"bytes\":%" PRId64 ",\"archives\":%" PRId64 ",\"archive_bytes\":%" PRId64 ",\"lines\":%" PRId64 ",\"levels\":{", files[0],
                  bytes[0], files[1], bytes[1], s->lines);
  for (int i = 0; i < 4; i++) etk_text_printf(out, "\"%s\":%" PRId64 ",", etk_log_level_name((etk_log_level)i), s->levels[i]);
  etk_text_printf(out, "\"other\":%" PRId64 "},\"oldest\":", s->other);
  put_json(out, s->oldest_ms == INT64_MAX ? NULL : iso_time(text, sizeof text, s->oldest_ms));
  etk_text_puts(out, ",\"newest\":");
  put_json(out, s->newest_ms == INT64_MIN ? NULL : iso_time(text, sizeof text, s->newest_ms));
  etk_text_puts(out, ",\"namespaces\":{");
  for (size_t i = 0; i < s->space_count; i++) {
    const struct space *space = &s->spaces[i];
    if (i) etk_text_putc(out, ',');
    put_json(out, space->name);
    etk_text_printf(out, ":{\"lines\":%" PRId64 ",\"warnings\":%" PRId64 ",\"errors\":%" PRId64 "}", space->lines, space->warnings, space->errors);
  }
  etk_text_puts(out, "},\"days\":[");
  for (size_t i = 0; i < s->day_count; i++)
    etk_text_printf(out, "%s{\"day\":\"%s\",\"warnings\":%" PRId64 ",\"errors\":%" PRId64 "}", i ? "," : "", day_text(text, s->days[i].number), s->days[i].warnings,
                    s->days[i].errors);
  etk_text_puts(out, "]}");
}

static void print_counts(const char *const headers[], const char *name, int64_t lines, int64_t warnings, int64_t errors, struct table **table) {
  char cells[3][24];
  size_t columns = lines >= 0 ? 4 : 3, at = 0;
  if (!*table) *table = table_new(headers, columns);
  if (lines >= 0) snprintf(cells[at++], 24, "%" PRId64, lines);
  snprintf(cells[at++], 24, "%" PRId64, warnings);
  snprintf(cells[at++], 24, "%" PRId64, errors);
  const char *row[] = {name, cells[0], cells[1], at > 2 ? cells[2] : NULL};
  table_add(*table, row);
}

static void print_stats(struct host *host, const struct stats *s, const int64_t files[2], const int64_t bytes[2]) {
  static const char *const by_space[] = {"NAMESPACE", "LINES", "WARNINGS", "ERRORS"}, *const by_day[] = {"DAY (UTC)", "WARNINGS", "ERRORS"};
  enum { DAYS_SHOWN = 30 };
  char size[32], text[40];
  struct table *table = NULL;
  printf("files     %" PRId64 " (%s)", files[0], etk_format_size(size, sizeof size, bytes[0]));
  if (files[1]) printf(", archives %" PRId64 " (%s)", files[1], etk_format_size(size, sizeof size, bytes[1]));
  printf("\nlines     %" PRId64 ":", s->lines);
  for (int i = 0; i < 4; i++) printf(" %" PRId64 " %s%s", s->levels[i], etk_log_level_name((etk_log_level)i), i < 3 || s->other ? "," : "\n");
  if (s->other) printf(" %" PRId64 " without a level\n", s->other);
  if (s->newest_ms != INT64_MIN) {
    printf("oldest    %s\n", iso_time(text, sizeof text, s->oldest_ms));
    printf("newest    %s\n", iso_time(text, sizeof text, s->newest_ms));
  }
  for (size_t i = 0; i < s->space_count; i++)
    print_counts(by_space, s->spaces[i].name, s->spaces[i].lines, s->spaces[i].warnings, s->spaces[i].errors, &table);
  if (table) putchar('\n'), table_print(table, stdout, host->out_color, terminal_width()), table_free(table);
  table = NULL;
  size_t first = s->day_count > DAYS_SHOWN ? s->day_count - DAYS_SHOWN : 0;
  for (size_t i = first; i < s->day_count; i++)
    print_counts(by_day, day_text(text, s->days[i].number), -1, s->days[i].warnings, s->days[i].errors, &table);
  if (table) putchar('\n'), table_print(table, stdout, host->out_color, terminal_width()), table_free(table);
  if (first) host_note(host, "%zu earlier days: --json has all", first);
}

static int stats_run(struct host *host, const struct stats_options *o) {
  struct stats s = {.oldest_ms = INT64_MAX, .newest_ms = INT64_MIN};
  struct log_filter filter = {INT64_MIN, INT64_MAX, -1, NULL, NULL, false};
  struct log_names names = {0};
  int64_t files[2] = {0, 0}, bytes[2] = {0, 0}; /* logs, archives */
  etk_error e = ETK_ERROR_INIT;
  (void)o;
  etk_status status = log_names_read(&e, &names, host);
  for (size_t i = 0; i < names.count; i++) files[names.items[i].number < 0]++, bytes[names.items[i].number < 0] += names.items[i].bytes;
  if (!status) status = log_read(&e, host, &filter, count_entry, &s);
  if (!status && s.no_memory) status = etk_fail_memory(&e);
  if (s.space_count) qsort(s.spaces, s.space_count, sizeof *s.spaces, space_order);
  if (s.day_count) qsort(s.days, s.day_count, sizeof *s.days, day_order);
  int code = 0;
  if (status) code = fail(host, &e);
  else if (host->json) {
    etk_text text = ETK_TEXT_INIT;
    stats_json(&text, &s, files, bytes);
    code = print_document(host, &text);
  } else print_stats(host, &s, files, bytes);
  log_names_free(&names);
  etk_free(s.spaces);
  etk_free(s.days);
  return code;
}

/* ---- archive and clean ---- */

/* Rotated files keep their names while this is held; see etk/log.h. -1 and e: somebody rotates at this moment; -1 without: there is no log. */
static int hold(etk_error *e, struct host *host) {
  const char *folder = log_folder(e, host), *live = folder ? etk_arena_printf(&host->arena, "%s/%s", folder, PROCESS_LOG) : NULL;
  int fd = live ? open(live, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK) : -1;
  if (fd < 0) return -1;
  for (int attempt = 0; attempt < 100; attempt++) {
    if (!flock(fd, LOCK_EX | LOCK_NB)) return fd;
    nanosleep(&(struct timespec){0, 10000000}, NULL);
  }
  close(fd);
  etk_fail(e, ETK_E_IO, "another process holds the lock of %s; try again", live);
  return -1;
}

static bool is_old(const struct log_name *name, int64_t older_than_ns) { return name->modified_s <= unix_ms() / 1000 - older_than_ns / 1000000000; }

struct proof {
  const struct log_names *names;
  const bool *chosen;
  size_t found;
};

static int prove(void *user, const etk_archive_entry *entry) {
  struct proof *p = user;
  for (size_t i = 0; i < p->names->count; i++)
    if (p->chosen[i] && entry->type == 'f' && !strcmp(etk_path_base(p->names->items[i].path), entry->path) && p->names->items[i].bytes == entry->size) p->found++;
  return 0;
}

static etk_status pack(etk_error *e, const char *output, const char *folder, const struct log_names *names, const bool *chosen, size_t count) {
  __typeof__(&etk_archive_create) create = LAZY(e, "libetk-io.so.0", etk_archive_create);
  __typeof__(&etk_archive_list) list = create ? LAZY(e, "libetk-io.so.0", etk_archive_list) : NULL;
  if (!list) return ETK_E_UNAVAILABLE;
  const char **paths = etk_alloc(count * sizeof *paths);
  if (!paths) return etk_fail_memory(e);
  size_t at = 0;
  for (size_t i = 0; i < names->count; i++)
    if (chosen[i]) paths[at++] = etk_path_base(names->items[i].path);
  etk_status status = create(e, output, folder, paths, count, false);
  etk_free(paths);
  if (status) return status;
  (void)!chmod(output, 0600); /* as private as the logs */
  struct proof proof = {names, chosen, 0};
  status = list(e, output, prove, &proof);
  if (!status && proof.found != count)
    status = etk_fail(e, ETK_E_CHECK, "the archive %s holds %zu of %zu files as they are; nothing was removed", output, proof.found, count);
  return status;
}

static void files_json(etk_text *out, const struct log_names *names, const bool *chosen) {
  bool first = true;
  etk_text_puts(out, "\"files\":[");
  for (size_t i = 0; i < names->count; i++) {
    if (!chosen[i]) continue;
    if (!first) etk_text_putc(out, ',');
    first = false;
    etk_text_puts(out, "{\"path\":");
    put_json(out, names->items[i].path);
    etk_text_printf(out, ",\"bytes\":%" PRId64 "}", names->items[i].bytes);
  }
  etk_text_puts(out, "]");
}

/* Removes what was chosen, and adds up its bytes. */
static etk_status remove_chosen(etk_error *e, const struct log_names *names, bool *chosen, int64_t *freed) {
  for (size_t i = 0; i < names->count; i++) {
    if (!chosen[i]) continue;
    if (unlink(names->items[i].path) && errno != ENOENT) return etk_fail_errno(e, errno, "cannot remove %s", names->items[i].path);
    *freed += names->items[i].bytes;
  }
  return ETK_OK;
}

/* Lists the files under the lock, which is the caller's to close, and chooses. */
static etk_status choose(etk_error *e, struct host *host, int *lock, struct log_names *names, bool **chosen, size_t *count, int64_t older_than_ns, bool archives) {
  *names = (struct log_names){0};
  *chosen = NULL;
  *count = 0;
  *lock = hold(e, host);
  if (*lock < 0 && e->status) return e->status;
  etk_status status = log_names_read(e, names, host);
  if (status) return status;
  *chosen = etk_calloc(names->count + 1, sizeof **chosen);
  if (!*chosen) return etk_fail_memory(e);
  for (size_t i = 0; i < names->count; i++) {
    const struct log_name *name = &names->items[i];
    (*chosen)[i] = (name->number > 0 || (archives && name->number < 0)) && is_old(name, older_than_ns);
    *count += (*chosen)[i];
  }
  return ETK_OK;
}

/* One that is free: two archives may be made in one second. Whoever archives holds the log's lock. */
static const char *archive_name(struct host *host, const char *folder) {
  char text[40], more[16] = "";
  iso_time(text, sizeof text, unix_ms());
  for (int i = 2;; i++) {
    const char *name = etk_arena_printf(&host->arena, "%s/logs_%.4s%.2s%.2sT%.2s%.2s%.2sZ%s.tar.gz", folder, text, text + 5, text + 8, text + 11, text + 14, text + 17, more);
    if (!name || i > 1000 || !etk_fs_exists(name)) return name;
    snprintf(more, sizeof more, "-%d", i);
  }
}

static int archive_run(struct host *host, const struct archive_options *o) {
  etk_error e = ETK_ERROR_INIT;
  struct log_names names;
  bool *chosen;
  int lock, code;
  size_t count;
  int64_t freed = 0;
  const char *folder = log_folder(&e, host), *output = o->output;
  if (!folder) return fail(host, &e);
  etk_status status = choose(&e, host, &lock, &names, &chosen, &count, o->older_than, false);
  if (!status && !output && !(output = archive_name(host, folder))) status = etk_fail_memory(&e);
  if (!status && count && o->output && etk_fs_exists(output)) status = etk_fail(&e, ETK_E_EXISTS, "'%s' exists already; choose another name for --output", output);
  if (!status && count) status = pack(&e, output, folder, &names, chosen, count);
  if (!status && count && !o->keep) status = remove_chosen(&e, &names, chosen, &freed);
  if (lock >= 0) close(lock);
  if (status) code = fail(host, &e);
  else if (host->json) {
    etk_text text = ETK_TEXT_INIT;
    etk_text_puts(&text, "{\"archive\":");
    put_json(&text, count ? output : NULL);
    etk_text_printf(&text, ",\"removed_bytes\":%" PRId64 ",", freed);
    files_json(&text, &names, chosen);
    etk_text_putc(&text, '}');
    code = print_document(host, &text);
  } else {
    char size[32];
    code = 0;
    if (!count) host_note(host, "no rotated log is that old");
    else {
      printf("%s\n", output);
      if (o->keep) host_note(host, "packed %zu file%s, which stay", count, count == 1 ? "" : "s");
      else host_note(host, "packed and removed %zu file%s, %s", count, count == 1 ? "" : "s", etk_format_size(size, sizeof size, freed));
    }
  }
  etk_free(chosen);
  log_names_free(&names);
  return code;
}

static int clean_run(struct host *host, const struct clean_options *o) {
  etk_error e = ETK_ERROR_INIT;
  struct log_names names;
  bool *chosen;
  int lock, code = 0;
  size_t count;
  int64_t freed = 0;
  etk_status status = choose(&e, host, &lock, &names, &chosen, &count, o->older_than, true);
  for (size_t i = 0; !status && host->dry_run && i < names.count; i++) freed += chosen[i] ? names.items[i].bytes : 0;
  if (!status && !host->dry_run) status = remove_chosen(&e, &names, chosen, &freed);
  if (lock >= 0) close(lock);
  if (status) code = fail(host, &e);
  else if (host->json) {
    etk_text text = ETK_TEXT_INIT;
    etk_text_printf(&text, "{\"dry_run\":%s,\"removed_bytes\":%" PRId64 ",", host->dry_run ? "true" : "false", freed);
    files_json(&text, &names, chosen);
    etk_text_putc(&text, '}');
    code = print_document(host, &text);
  } else {
    char size[32];
    for (size_t i = 0; i < names.count; i++)
      if (chosen[i]) printf("%s\n", names.items[i].path);
    if (!count) host_note(host, "no rotated log or archive is that old");
    else host_note(host, "%s %zu file%s, %s", host->dry_run ? "would remove" : "removed", count, count == 1 ? "" : "s", etk_format_size(size, sizeof size, freed));
  }
  etk_free(chosen);
  log_names_free(&names);
  return code;
}

/* ---- path ---- */

static int path_run(struct host *host, const struct path_options *o) {
  etk_error e = ETK_ERROR_INIT;
  const char *folder = log_folder(&e, host), *path = folder ? etk_arena_printf(&host->arena, "%s/%s", folder, PROCESS_LOG) : NULL;
  (void)o;
  if (!path) return folder ? fail_memory(host) : fail(host, &e);
  if (!host->json) {
    printf("%s\n", path);
    return 0;
  }
  etk_text text = ETK_TEXT_INIT;
  etk_text_puts(&text, "{\"path\":");
  put_json(&text, path);
  etk_text_puts(&text, ",\"folder\":");
  put_json(&text, folder);
  etk_text_printf(&text, ",\"exists\":%s}", etk_fs_exists(path) ? "true" : "false");
  return print_document(host, &text);
}
