#include "run_list.h"

#include "record.h"

#include <errno.h>
#include <etk/alloc.h>
#include <etk/fs.h>
#include <inttypes.h>
#include <math.h>
#include <stdint.h>
#include <signal.h>
#include <sys/utsname.h>

#define RUN_JSON_LIMIT (64u << 20)
#define LINES_LIMIT (1u << 30)

/* ---- finding ---- */

static etk_status add_month(etk_error *e, struct run_list *list, size_t *capacity, const char *month) {
  char **names = NULL;
  size_t count = 0;
  if (!etk_fs_is_dir(month) || etk_fs_list(NULL, &names, &count, month)) return ETK_OK;
  etk_status status = ETK_OK;
  for (size_t i = count; i-- && !status;) { /* sorted by bytes, which for these names is by time */
    if (strlen(names[i]) >= sizeof list->items->id || names[i][0] == '.') continue;
    if (list->count == *capacity) {
      size_t grown = *capacity ? *capacity * 2 : 64;
      struct run_entry *items = etk_realloc(list->items, grown, sizeof *items);
      if (!items) {
        status = etk_fail(e, ETK_E_NO_MEMORY, "out of memory while listing runs");
        break;
      }
      list->items = items, *capacity = grown;
    }
    struct run_entry *entry = &list->items[list->count];
    *entry = (struct run_entry){.dir = etk_path_join(month, names[i])};
    snprintf(entry->id, sizeof entry->id, "%s", names[i]);
    if (!entry->dir) status = etk_fail(e, ETK_E_NO_MEMORY, "out of memory while listing runs");
    else list->count++;
  }
  etk_fs_list_free(names, count);
  return status;
}

etk_status run_list_read(etk_error *e, struct run_list *out, struct host *host) {
  char **months = NULL;
  size_t count = 0, capacity = 0;
  *out = (struct run_list){0};
  const char *state = state_dir(e, host);
  if (!state) return e ? e->status : ETK_E_NOT_FOUND;
  char *runs = etk_path_join(state, "runs");
  if (!runs) return etk_fail(e, ETK_E_NO_MEMORY, "out of memory while listing runs");
  etk_status status = ETK_OK;
  if (etk_fs_is_dir(runs)) status = etk_fs_list(e, &months, &count, runs);
  for (size_t i = count; i-- && !status;) {
    char *month = etk_path_join(runs, months[i]);
    status = month ? add_month(e, out, &capacity, month) : etk_fail(e, ETK_E_NO_MEMORY, "out of memory while listing runs");
    etk_free(month);
  }
  if (months) etk_fs_list_free(months, count);
  etk_free(runs);
  if (status) run_list_free(out);
  return status;
}

void run_list_free(struct run_list *list) {
  for (size_t i = 0; i < list->count; i++) {
    etk_free(list->items[i].dir);
    json_decref(list->items[i].json);
  }
  etk_free(list->items);
  *list = (struct run_list){0};
}

/* ---- reading ---- */

const char *json_text(const json_t *object, const char *key) {
  const char *text = json_string_value(json_object_get(object, key));
  return text ? text : "";
}

/* A process number is used again in time: with its start time it is the process that wrote the file, or it is gone. A run of another machine that
 * shares this folder cannot be judged from here. */
static bool still_running(const json_t *json) {
  struct utsname machine;
  const char *where = json_text(json, "machine");
  if (*where && !uname(&machine) && strcmp(where, machine.nodename)) return true;
  long pid = (long)json_integer_value(json_object_get(json, "pid"));
  if (pid <= 0 || (kill((pid_t)pid, 0) && errno == ESRCH)) return false;
  uint64_t began = (uint64_t)json_integer_value(json_object_get(json, "process_start")), now = process_started(pid);
  return !began || !now || began == now;
}

/* Why a run ended without an end: the first line of crash.txt, which is there and empty where nobody had time to write it. */
static void read_crash(struct run_entry *entry) {
  char *path = etk_path_join(entry->dir, "crash.txt"), text[sizeof entry->reason] = "";
  FILE *file = path ? fopen(path, "re") : NULL;
  if (file && fgets(text, sizeof text, file)) text[strcspn(text, "\n")] = 0;
  if (file) fclose(file);
  etk_free(path);
  entry->told = *text;
  snprintf(entry->reason, sizeof entry->reason, "%s", *text ? text : "ended without a word (killed, out of memory or power)");
}

void run_read(struct run_entry *entry) {
  static const char *const known[] = {"ok", "failed", "cancelled", "running"};
  char *path = NULL, *text = NULL;
  size_t size = 0;
  if (entry->status) return;
  entry->status = "unreadable";
  path = etk_path_join(entry->dir, "run.json");
  if (path && !etk_fs_read(NULL, &text, &size, path, RUN_JSON_LIMIT))
    entry->json = json_loadb(text, size, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, NULL);
  etk_free(path);
  etk_free(text);
  if (!json_is_object(entry->json)) {
    json_decref(entry->json);
    entry->json = NULL;
    return;
  }
  for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
    if (!strcmp(json_text(entry->json, "status"), known[i])) entry->status = known[i];
  if (!strcmp(entry->status, "running") && !still_running(entry->json)) {
    entry->status = "crashed";
    read_crash(entry);
  }
}

static bool ends_with(const char *text, const char *end) {
  size_t size = strlen(text), most = strlen(end);
  return most <= size && !strcmp(text + size - most, end);
}

etk_status run_find(etk_error *e, struct run_entry **out, struct run_list *list, const char *id) {
  struct run_entry *found = NULL;
  size_t fits = 0;
  if (!list->count) return etk_fail(e, ETK_E_NOT_FOUND, "there are no recorded runs yet");
  if (!strcmp(id, "latest")) found = &list->items[0];
  for (size_t i = 0; !found && i < list->count; i++)
    if (!strcmp(list->items[i].id, id)) found = &list->items[i];
  struct run_entry *first = NULL;
  for (size_t i = 0; !found && i < list->count; i++)
    if (*id && !strncmp(list->items[i].id, id, strlen(id))) first = &list->items[i], fits++;
  bool ends = !found && !fits; /* as the legend of a chart names them */
  for (size_t i = 0; ends && i < list->count; i++)
    if (*id && ends_with(list->items[i].id, id)) first = &list->items[i], fits++;
  if (!found && fits == 1) found = first;
  if (!found && fits) return etk_fail(e, ETK_E_USAGE, "%zu runs %s with '%s'; write more of the id (the last is %s)", fits, ends ? "end" : "begin", id, first->id);
  if (!found)
    return etk_fail(e, ETK_E_NOT_FOUND, "there is no run '%s'; 'efficientai-toolkit runs' lists them, and 'latest' is the newest (%s)", id,
                    list->items[0].id);
  run_read(found);
  *out = found;
  return ETK_OK;
}

etk_status run_lines(etk_error *e, json_t **out, const struct run_entry *entry, const char *file) {
  char *path = etk_path_join(entry->dir, file), *text = NULL;
  size_t size = 0;
  etk_status status = ETK_OK;
  *out = json_array();
  if (!path || !*out) status = etk_fail(e, ETK_E_NO_MEMORY, "out of memory while reading %s", file);
  else if (etk_fs_exists(path)) status = etk_fs_read(e, &text, &size, path, LINES_LIMIT);
  for (const char *line = text; !status && line && line < text + size;) {
    const char *end = memchr(line, '\n', (size_t)(text + size - line));
    if (!end) break;
    json_t *object = json_loadb(line, (size_t)(end - line), JSON_ALLOW_NUL, NULL);
    if (json_is_object(object) && json_array_append(*out, object)) status = etk_fail(e, ETK_E_NO_MEMORY, "out of memory while reading %s", file);
    json_decref(object);
    line = end + 1;
  }
  etk_free(path);
  etk_free(text);
  if (status) {
    json_decref(*out);
    *out = NULL;
  }
  return status;
}

size_t metrics_summary(struct metric_summary *out, size_t most, const json_t *lines) {
  size_t count = 0;
  for (size_t i = 0; i < json_array_size(lines); i++) {
    const json_t *line = json_array_get(lines, i), *value = json_object_get(line, "value");
    const char *name = json_text(line, "name");
    size_t at = 0;
    while (at < count && strcmp(out[at].name, name)) at++;
    if (at == count && count == most) continue;
    if (at == count) out[count++] = (struct metric_summary){.name = name, .least = INFINITY, .greatest = -INFINITY};
    out[at].count++;
    out[at].last_step = json_integer_value(json_object_get(line, "step"));
    out[at].last = json_is_number(value) ? json_number_value(value) : NAN;
    if (!json_is_number(value)) continue;
    if (out[at].last < out[at].least) out[at].least = out[at].last;
    if (out[at].last > out[at].greatest) out[at].greatest = out[at].last;
  }
  return count;
}

/* ---- writing ---- */

void json_write(etk_text *out, const json_t *json) {
  const char *key;
  json_t *value;
  bool first = true;
  switch (json ? json_typeof(json) : JSON_NULL) {
  case JSON_OBJECT:
    etk_text_putc(out, '{');
    json_object_foreach((json_t *)(uintptr_t)json, key, value) {
      if (!first) etk_text_putc(out, ',');
      first = false;
      etk_text_json(out, key, strlen(key));
      etk_text_putc(out, ':');
      json_write(out, value);
    }
    etk_text_putc(out, '}');
    break;
  case JSON_ARRAY:
    etk_text_putc(out, '[');
    for (size_t i = 0; i < json_array_size(json); i++) {
      if (i) etk_text_putc(out, ',');
      json_write(out, json_array_get(json, i));
    }
    etk_text_putc(out, ']');
    break;
  case JSON_STRING: etk_text_json(out, json_string_value(json), json_string_length(json)); break;
  case JSON_INTEGER: etk_text_printf(out, "%" JSON_INTEGER_FORMAT, json_integer_value(json)); break;
  case JSON_REAL: etk_text_real(out, json_real_value(json)); break;
  case JSON_TRUE: etk_text_puts(out, "true"); break;
  case JSON_FALSE: etk_text_puts(out, "false"); break;
  default: etk_text_puts(out, "null"); break;
  }
}

void json_show(etk_text *out, const json_t *json) {
  if (json_is_string(json)) etk_text_puts(out, json_string_value(json));
  else if (json_is_real(json)) etk_text_printf(out, "%.6g", json_real_value(json));
  else if (json_is_true(json)) etk_text_puts(out, "yes");
  else if (json_is_false(json)) etk_text_puts(out, "no");
  else if (!json || json_is_null(json)) etk_text_puts(out, "-");
  else json_write(out, json);
}
