/* complete_values.c: values of options and arguments: words of a choice, paths, names of runs, profiles and namespaces, keys of configuration. */
#include "bench_store.h"
#include "builtin.h"
#include "complete_internal.h"
#include "resolve.h"
#include "record.h"
#include "run_list.h"
#include "slot.h"

#include <dirent.h>
#include <etk/fs.h>
#include <sys/stat.h>

/* ---- candidates ---- */

static const char *one_line(etk_arena *arena, const char *text) {
  char *copy = etk_arena_strdup(arena, text ? text : "");
  for (char *p = copy; p && *p; p++)
    if ((unsigned char)*p < 32 || *p == 127) *p = ' ';
  return copy;
}

void complete_offer(struct completion *out, const char *typed, const char *text, const char *help, bool open) {
  if (strncmp(text, typed, strlen(typed))) return;
  if (out->count == out->capacity) {
    size_t grown = out->capacity ? out->capacity * 2 : 32;
    struct candidate *items = etk_arena_array(&out->arena, grown, sizeof *items);
    if (!items) {
      out->failed = true;
      return;
    }
    if (out->count) memcpy(items, out->items, out->count * sizeof *items);
    out->items = items, out->capacity = grown;
  }
  struct candidate *item = &out->items[out->count];
  *item = (struct candidate){etk_arena_strdup(&out->arena, text), one_line(&out->arena, help), open};
  if (item->text && item->help) out->count++;
  else out->failed = true;
}

void complete_add(struct walk *walk, const char *text, const char *help, bool open) {
  if (strncmp(text, walk->word, strlen(walk->word))) return;
  const char *whole = *walk->kept ? etk_arena_printf(&walk->out->arena, "%s%s", walk->kept, text) : text;
  if (whole) complete_offer(walk->out, "", whole, help, open);
  else walk->out->failed = true;
}

/* ---- paths ---- */

static void want_path(struct walk *walk, bool folders, const char *kept, const char *path) {
  struct completion *out = walk->out;
  out->paths = folders ? COMPLETE_FOLDERS : COMPLETE_FILES;
  out->kept = etk_arena_printf(&out->arena, "%s%s", walk->kept, kept);
  out->path = etk_arena_strdup(&out->arena, path);
  if (!out->kept || !out->path) out->failed = true;
}

static bool plain_name(const char *name) {
  for (; *name; name++)
    if ((unsigned char)*name < 32 || *name == 127) return false;
  return true;
}

static void add_entry(struct completion *out, const char *folder, const char *shown, const char *name) {
  char *path = etk_path_join(folder, name);
  struct stat info;
  bool is_folder = path && !stat(path, &info) && S_ISDIR(info.st_mode);
  const char *text = etk_arena_printf(&out->arena, "%s%s%s%s", out->kept, shown, name, is_folder ? "/" : "");
  if (!path || !text) out->failed = true;
  else if (is_folder || out->paths == COMPLETE_FILES) complete_offer(out, "", text, "", is_folder);
  etk_free(path);
}

/* "~" and "~/…" are the user's own folder, as in every shell; the word keeps them as they were typed. */
etk_status complete_list_paths(etk_error *e, struct completion *out) {
  if (out->paths == COMPLETE_NO_PATHS || out->failed) return ETK_OK;
  const char *slash = strrchr(out->path, '/'), *base = slash ? slash + 1 : out->path, *home = getenv("HOME");
  char *shown = etk_arena_strndup(&out->arena, out->path, (size_t)(base - out->path));
  const char *folder = !shown                                          ? NULL
                       : !*shown                                       ? "."
                       : shown[0] == '~' && shown[1] == '/' && home    ? etk_arena_printf(&out->arena, "%s/%s", home, shown + 2)
                                                                       : shown;
  char **names = NULL;
  size_t count = 0;
  if (folder && etk_fs_list(NULL, &names, &count, folder)) return ETK_OK; /* nothing there, or nothing for us to see */
  for (size_t i = 0; folder && i < count; i++) {
    if (strncmp(names[i], base, strlen(base)) || (names[i][0] == '.' && *base != '.') || !plain_name(names[i])) continue;
    add_entry(out, folder, shown, names[i]);
  }
  if (names) etk_fs_list_free(names, count);
  if (!folder || out->failed) return etk_fail(e, ETK_E_NO_MEMORY, "out of memory while completing a path");
  return ETK_OK;
}

/* ---- names of things ---- */

enum { RUNS_SHOWN = 40 };

static void runs(struct walk *walk) {
  struct run_list list;
  size_t shown = 0;
  if (run_list_read(NULL, &list, walk->host)) return;
  walk->out->ordered = true;
  if (list.count) complete_add(walk, "latest", "the newest run", false);
  for (size_t i = 0; i < list.count && shown < RUNS_SHOWN; i++) {
    struct run_entry *entry = &list.items[i];
    if (strncmp(entry->id, walk->word, strlen(walk->word))) continue;
    run_read(entry);
    char help[200];
    snprintf(help, sizeof help, "%s:%s, %s", json_text(entry->json, "namespace"), json_text(entry->json, "command"), entry->status);
    complete_add(walk, entry->id, entry->json ? help : entry->status, false);
    shown++;
  }
  run_list_free(&list);
}

static void profiles(struct walk *walk) {
  struct resolver resolver = {.host = walk->host};
  const char *dirs[2];
  size_t dir_count = 0;
  if (profile_dirs(NULL, &resolver, dirs, &dir_count)) return;
  for (size_t i = 0; i < dir_count; i++) {
    char **names;
    size_t count;
    if (etk_fs_list(NULL, &names, &count, dirs[i])) continue;
    for (size_t k = 0; k < count; k++) {
      if (!plain_name(names[k]) || !profile_name(names[k])) continue;
      complete_add(walk, names[k], i ? "a profile that comes with the toolkit" : "a profile of your own", false);
    }
    etk_fs_list_free(names, count);
  }
}

/* Names without ".json" of the files of <state>/benchmarks/<inner>. */
static void stored(struct walk *walk, const char *inner, const char *help, bool newest_first) {
  char **names;
  size_t count, shown = 0;
  const char *state = state_dir(NULL, walk->host);
  const char *folder = state ? etk_arena_printf(&walk->host->arena, "%s/benchmarks%s", state, inner) : NULL;
  if (!folder || etk_fs_list(NULL, &names, &count, folder)) return;
  for (size_t i = 0; i < count && shown < RUNS_SHOWN; i++) {
    char *name = names[newest_first ? count - 1 - i : i];
    size_t size = strlen(name);
    if (size < 6 || *name == '.' || !plain_name(name) || strcmp(name + size - 5, ".json")) continue;
    name[size - 5] = 0;
    complete_add(walk, name, help, false);
    shown++;
  }
  etk_fs_list_free(names, count);
}

static void baselines(struct walk *walk) { stored(walk, "/baselines", "a baseline", false); }

static void measured(struct walk *walk) {
  walk->out->ordered = true;
  size_t before = walk->out->count;
  stored(walk, "", "a stored benchmark run", true);
  if (walk->out->count > before || !strncmp("latest", walk->word, strlen(walk->word))) complete_add(walk, "latest", "the newest of them", false);
  if (!strncmp(walk->word, "/", 1) || !strncmp(walk->word, ".", 1)) want_path(walk, false, "", walk->word);
}

/* Cases are asked of plugin code, which does not run here; those of the newest stored run are known. */
static void cases(struct walk *walk) {
  struct bench_run run;
  etk_error why = ETK_ERROR_INIT;
  if (!strchr(walk->word, ':')) complete_names(walk, false, false);
  else if (!bench_find(&why, &run, walk->host, "latest")) {
    char title[200];
    for (size_t i = 0; i < run.count; i++) complete_add(walk, bench_title(title, sizeof title, &run.entries[i]), run.entries[i].summary, false);
  }
}

/* Of the run that is named, else of the newest. */
static void metrics(struct walk *walk) {
  struct run_list list;
  struct run_entry *run;
  json_t *lines = NULL;
  struct metric_summary found[64];
  struct stat info;
  if (run_list_read(NULL, &list, walk->host)) return;
  if (!run_find(NULL, &run, &list, walk->first ? walk->first : "latest")) {
    const char *path = etk_arena_printf(&walk->out->arena, "%s/metrics.jsonl", run->dir);
    bool little = path && !stat(path, &info) && info.st_size < 4 << 20; /* a prompt waits */
    size_t count = little && !run_lines(NULL, &lines, run, "metrics.jsonl") ? metrics_summary(found, 64, lines) : 0;
    for (size_t i = 0; i < count; i++) complete_add(walk, found[i].name, "", false);
    json_decref(lines);
  }
  run_list_free(&list);
}

static void commands_of_first(struct walk *walk) {
  if (walk->first) complete_commands(walk, walk->first);
}

static void namespaces(struct walk *walk) { complete_names(walk, false, false); }
static void topics(struct walk *walk) { complete_names(walk, true, true); }
static void project_commands(struct walk *walk) { complete_names(walk, false, true); }
static void groups(struct walk *walk) { complete_names(walk, true, false); }
static void files(struct walk *walk) { want_path(walk, false, "", walk->word); }
static void folders(struct walk *walk) { want_path(walk, true, "", walk->word); }

/* Arguments and options of built-ins whose name says what their kind cannot. The first row that fits; group NULL: any. */
static const struct {
  const char *group, *name;
  void (*offer)(struct walk *walk); /* NULL: nothing is known of it */
} meanings[] = {{"help", "name", topics},
                {"help", "command", commands_of_first},
                {"new", "namespace", NULL}, /* is not there yet */
                {"new", "dir", folders},
                {"docs", "namespace", groups},
                {"generate_config", "name", project_commands},
                {"benchmark", "names", cases},
                {"benchmark", "baseline", baselines},
                {"benchmark", "save_baseline", baselines},
                {"benchmark", "compare", measured},
                {"benchmark", "from", measured},
                {"runs", "metric", metrics},
                {"runs", "name", metrics},
                {"benchmark", "export", files},
                {NULL, "run", runs},
                {NULL, "runs", runs},
                {NULL, "topic", topics},
                {NULL, "namespace", namespaces},
                {NULL, "profile", profiles}};

static void by_meaning(struct walk *walk, const char *name) {
  if (!walk->builtin) return;
  for (size_t i = 0; i < sizeof meanings / sizeof meanings[0]; i++) {
    if (!etk_text_equal_name(meanings[i].name, name) || (meanings[i].group && !etk_text_equal_name(meanings[i].group, walk->manifest.name_space))) continue;
    if (meanings[i].offer) meanings[i].offer(walk);
    return;
  }
}

/* ---- values ---- */

/* The words of "linear|cosine", also the plain numbers of "0|32|64"; a range is no word. */
static void alternatives(struct walk *walk, const char *limits, const char *default_text, bool numbers) {
  char word[256];
  for (const char *p = limits; *p;) {
    size_t size = 0;
    for (; *p && *p != '|'; p++) {
      char c = *p;
      if (c == '\\' && p[1]) c = *++p == 't' ? '\t' : *p == 'n' ? '\n' : *p;
      if (size + 1 < sizeof word) word[size++] = c;
    }
    word[size] = '\0';
    if (*p) p++;
    if (!size || (numbers && strstr(word, ".."))) continue;
    complete_add(walk, word, default_text && !strcmp(word, default_text) ? "the default" : "", false);
  }
}

void complete_value(struct walk *walk, uint32_t kind, const char *limits, const char *name, const char *default_text) {
  switch (kind) {
  case ETK_KIND_flag:
    complete_add(walk, "yes", "", false);
    complete_add(walk, "no", "", false);
    return;
  case ETK_KIND_choice: alternatives(walk, limits, default_text, false); return;
  case ETK_KIND_path: want_path(walk, !strcmp(limits, "dir"), "", walk->word); return;
  case ETK_KIND_secret:
    if (*walk->word == '@') want_path(walk, false, "@", walk->word + 1);
    else complete_add(walk, "@", "a file that holds the secret", true);
    return;
  case ETK_KIND_int: case ETK_KIND_real: case ETK_KIND_size: case ETK_KIND_duration:
    if (strchr(limits, '|')) alternatives(walk, limits, default_text, true);
    return;
  default: by_meaning(walk, name);
  }
}

void complete_host_value(struct walk *walk, const struct host_option *option) {
  if (strchr(option->value, '|')) alternatives(walk, option->value, NULL, false);
  else if (!strcmp(option->value, "FILE")) want_path(walk, false, "", walk->word);
  else if (!strcmp(option->value, "DIR")) want_path(walk, true, "", walk->word);
  else if (option->offset == offsetof(struct host, sets)) complete_set(walk);
  else if (option->offset == offsetof(struct host, profile)) profiles(walk);
}

/* ---- group.key=value ---- */

static void keys_of(struct walk *walk, const struct manifest_command *command) {
  const char *equals = strchr(walk->word, '=');
  for (size_t i = 0; i < command->option_count; i++) {
    const struct manifest_option *option = &command->options[i];
    if (option->flags & (ETK_HIDDEN | ETK_LOCAL)) continue;
    char key[256];
    int size = snprintf(key, sizeof key, "%s%s%s=", option->group, *option->group ? "." : "", option->name);
    if (size < 0 || (size_t)size >= sizeof key) continue;
    bool seen = false; /* commands of a project share keys */
    for (size_t k = 0; k < walk->out->count && !seen; k++) {
      size_t kept = strlen(walk->kept);
      seen = strlen(walk->out->items[k].text) >= kept && !strcmp(walk->out->items[k].text + kept, key);
    }
    if (!equals && !seen) complete_add(walk, key, option->help, true);
    if (!equals || strncmp(walk->word, key, (size_t)size)) continue;
    struct walk value = *walk;
    value.kept = etk_arena_printf(&walk->out->arena, "%s%s", walk->kept, key);
    value.word = walk->word + size;
    value.builtin = false;
    if (value.kept) complete_value(&value, option->kind, option->limits, option->name, option->default_text);
    else walk->out->failed = true;
    return;
  }
}

void complete_set(struct walk *walk) {
  if (walk->builtin || !walk->named) return;
  for (size_t i = 0; i < walk->manifest.command_count; i++) {
    const struct manifest_command *command = &walk->manifest.commands[i];
    if (walk->command ? command == walk->command : !(command->flags & ETK_HIDDEN)) keys_of(walk, command);
  }
}
