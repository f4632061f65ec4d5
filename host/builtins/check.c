/* check: whether a plugin keeps the promises of etk/project.h. What runs its code does so in a child process. */
#include "builtin.h"
#include "loader.h"
#include "note.h"
#include "report.h"
#include "symbols.h"

#include <dirent.h>
#include <errno.h>
#include <etk/fs.h>
#include <unistd.h>
#if defined(__GLIBC__)
#include <malloc.h>
#endif

#define CHECK_ARGS(ARG) ARG(path, file, REQUIRED, "", "the plugin, libproj-<namespace>.so")
#define COMMANDS(CMD) CMD(check, CHECK_ARGS, ETK_NONE, 0, "Check that a plugin keeps its promises")
BUILTIN(check, "Check that a plugin keeps its promises", COMMANDS)

enum { ROUNDS = 3 };
#define LIMIT_NS (10 * (int64_t)1000000000)

struct finding {
  struct finding *next;
  const char *name, *state, *text; /* state: ok, warning, failed */
};
struct report {
  etk_arena arena;
  struct finding *first, **last;
  size_t failed, warnings;
  bool short_of_memory;
};

static void add(struct report *r, const char *name, const char *state, const char *format, ...) ETK_PRINTF(4, 5);
static void add(struct report *r, const char *name, const char *state, const char *format, ...) {
  char text[ETK_ERROR_SIZE];
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(text, sizeof text, format, arguments);
  va_end(arguments);
  struct finding *finding = etk_arena_alloc(&r->arena, sizeof *finding);
  const char *copy = etk_arena_strdup(&r->arena, text);
  r->failed += !strcmp(state, "failed");
  r->warnings += !strcmp(state, "warning");
  if (!finding || !copy) {
    r->short_of_memory = true;
    return;
  }
  *finding = (struct finding){NULL, name, state, copy};
  *r->last = finding;
  r->last = &finding->next;
}

/* ---- in the child ---- */

struct life {
  const struct search_path *path;
  const struct plugin *plugin;
};
struct usage {
  size_t files, threads, heap;
};

static size_t entries(const char *folder) {
  DIR *dir = opendir(folder);
  size_t count = 0;
  while (dir && readdir(dir)) count++;
  if (dir) closedir(dir);
  return count;
}

static struct usage usage_now(void) {
  struct usage usage = {entries("/dev/fd"), entries("/proc/self/task"), 0};
#if defined(__GLIBC__) && __GLIBC_PREREQ(2, 33)
  usage.heap = mallinfo2().uordblks;
#endif
  return usage;
}

/* Lines for the parent: name, tab, state, tab, text, NUL. */
static void say(etk_text *answer, const char *name, const char *state, const char *format, ...) ETK_PRINTF(4, 5);
static void say(etk_text *answer, const char *name, const char *state, const char *format, ...) {
  va_list arguments;
  etk_text_printf(answer, "%s\t%s\t", name, state);
  va_start(arguments, format);
  etk_text_vprintf(answer, format, arguments);
  va_end(arguments);
  etk_text_putc(answer, '\0');
}

static void live(etk_text *answer, struct loaded *loaded, void (*stage)(const char *)) {
  const etk_project *project = loaded->project;
  struct usage usage[ROUNDS];
  etk_error e = ETK_ERROR_INIT;
  for (int i = 0; i < ROUNDS; i++) {
    stage(i ? "in its init, called again after deinit" : "in its init");
    if (plugin_init(&e, loaded, &silent_host)) {
      say(answer, "life", "failed", "init failed%s: %s", i ? " when it was called again after deinit" : "", e.message);
      return;
    }
    if (!i && project->query) {
      stage("in its query");
      if (project->query("etk.nothing-of-this-name/0")) say(answer, "query", "failed", "query answers an id that nobody has defined: it must return NULL for what it does not know");
      else say(answer, "query", "ok", "an unknown id is answered with NULL");
    }
    stage("in its deinit");
    plugin_deinit(loaded);
    usage[i] = usage_now();
  }
  /* The first round may make what is kept for ever; after it nothing may grow. */
  const struct usage *a = &usage[0], *b = &usage[ROUNDS - 1];
  if (!project->init && !project->deinit) {
    say(answer, "life", "ok", "it has neither init nor deinit");
    return;
  }
  if (b->files > a->files) say(answer, "life", "failed", "%zu files stay open after %d rounds of init and deinit", b->files - a->files, ROUNDS - 1);
  if (b->threads > a->threads) say(answer, "life", "failed", "%zu threads are left after %d rounds of init and deinit", b->threads - a->threads, ROUNDS - 1);
  if (b->heap > a->heap) say(answer, "life", "warning", "%zu bytes are lost in %d rounds of init and deinit", b->heap - a->heap, ROUNDS - 1);
  if (b->files <= a->files && b->threads <= a->threads && b->heap <= a->heap) say(answer, "life", "ok", "init and deinit balance over %d rounds", ROUNDS);
}

static void life_run(void *user, etk_text *answer, void (*stage)(const char *)) {
  const struct life *life = user;
  struct manifest manifest;
  struct loaded loaded;
  etk_error e = ETK_ERROR_INIT;
  if (plugin_manifest(&e, &manifest, life->path, life->plugin)) {
    say(answer, "load", "failed", "%s", e.message);
    return;
  }
  stage("while it was loaded");
  if (plugin_load(&e, &loaded, life->plugin, &manifest)) {
    say(answer, "load", "failed", "%s", e.message);
    return;
  }
  say(answer, "load", "ok", manifest.asked ? "it loads and its table is sound" : "it loads, its table is sound and says what the note says");
  live(answer, &loaded, stage);
}

/* ---- in the host ---- */

static void check_life(struct report *r, const struct search_path *path, const struct plugin *plugin) {
  struct life life = {path, plugin};
  etk_text answer = ETK_TEXT_INIT;
  etk_error e = ETK_ERROR_INIT;
  if (plugin_child(&e, &answer, (struct child_job){life_run, &life}, LIMIT_NS)) add(r, "life", "failed", "it %s", e.message);
  for (const char *p = answer.data, *end = p ? p + answer.size : p; p < end; p += strlen(p) + 1) {
    const char *state = strchr(p, '\t'), *text = state ? strchr(state + 1, '\t') : NULL;
    if (!text) break;
    const char *name = etk_arena_strndup(&r->arena, p, (size_t)(state - p)), *copy = etk_arena_strndup(&r->arena, state + 1, (size_t)(text - state - 1));
    if (name && copy) add(r, name, copy, "%s", text + 1);
    else r->short_of_memory = true;
  }
  etk_text_free(&answer);
}

static void add_rule(void *user, const char *finding) { add(user, "rules", "failed", "%s", finding); }

/* Where it has a note, its rules are checked on the note, so that they are told also of a plugin that does not load. */
static bool check_note(struct report *r, const struct search_path *path, const struct plugin *plugin, char *version, size_t size) {
  struct manifest manifest;
  etk_error e = ETK_ERROR_INIT;
  if (plugin_manifest(&e, &manifest, path, plugin)) {
    add(r, "note", "failed", "%s", e.message);
    return false;
  }
  if (manifest.asked) add(r, "note", "warning", "it has no note: it works, but its code runs already when projects are listed (ETK_PROJECT makes one; did the linker drop it?)");
  else add(r, "note", "ok", "revision %u, ABI %u.%u, %zu command%s", manifest.note_revision, manifest.abi_major, manifest.abi_minor, manifest.command_count,
           manifest.command_count == 1 ? "" : "s");
  if (manifest.group_writable) add(r, "trust", "warning", "its group may write to the file or its folder: chmod g-w on both");
  if (!manifest_check(&manifest, add_rule, r)) add(r, "rules", "ok", "names, kinds, limits, defaults and versions are legal");
  snprintf(version, size, "%s", manifest.version);
  manifest_fini(&manifest);
  return true;
}

static void list(etk_text *out, const char *const *items, size_t count, const char *except) {
  enum { SHOWN = 6 };
  size_t shown = 0, left = 0;
  for (size_t i = 0; i < count; i++) {
    if (except && !strcmp(items[i], except)) continue;
    if (shown == SHOWN) left++;
    else etk_text_printf(out, "%s%s", shown++ ? ", " : "", items[i]);
  }
  if (left) etk_text_printf(out, " and %zu more", left);
}

static void check_symbols(struct report *r, const char *path) {
  struct symbols symbols;
  etk_error e = ETK_ERROR_INIT;
  if (symbols_read(&e, &symbols, path)) {
    add(r, "symbols", "warning", "not looked at: %s", e.message);
    return;
  }
  bool has = false;
  for (size_t i = 0; i < symbols.exported_count; i++) has = has || !strcmp(symbols.exported[i], ETK_PROJECT_SYMBOL);
  size_t others = symbols.exported_count - has;
  etk_text names = ETK_TEXT_INIT, needed = ETK_TEXT_INIT;
  list(&names, symbols.exported, symbols.exported_count, ETK_PROJECT_SYMBOL);
  list(&needed, symbols.needed, symbols.needed_count, NULL);
  if (others)
    add(r, "symbols", "warning", "it exports %zu symbol%s besides %s, which can get in the way of other libraries: %s (-fvisibility=hidden, or a version script)", others,
        others == 1 ? "" : "s", ETK_PROJECT_SYMBOL, names.failed ? "?" : names.data);
  else if (has) add(r, "symbols", "ok", "it exports %s and nothing else", ETK_PROJECT_SYMBOL);
  add(r, "libraries", "ok", "it needs %s", needed.failed || !needed.size ? "none" : needed.data);
  if (symbols.run_path && strchr(symbols.run_path, '/') == symbols.run_path)
    add(r, "libraries", "warning", "its run path '%s' is a folder of this machine: $ORIGIN would let it move", symbols.run_path);
  etk_text_free(&names);
  etk_text_free(&needed);
  symbols_fini(&symbols);
}

static void print_person(const struct host *host, const struct report *r, const char *file) {
  for (const struct finding *f = r->first; f; f = f->next) {
    const char *style = !host->out_color || !strcmp(f->state, "ok") ? "" : *f->state == 'f' ? STYLE_RED : STYLE_YELLOW;
    printf("%s%-8s%s %-10s %s\n", style, f->state, *style ? STYLE_RESET : "", f->name, f->text);
  }
  printf("%s: %s", file, r->failed ? "not conformant" : "conformant");
  if (r->failed) printf(", %zu finding%s", r->failed, r->failed == 1 ? "" : "s");
  if (r->warnings) printf(", %zu warning%s", r->warnings, r->warnings == 1 ? "" : "s");
  printf("\n");
}

static void print_json(struct host *host, const struct report *r, const struct plugin *plugin, const char *version, const etk_error *error) {
  etk_text text = ETK_TEXT_INIT;
  etk_text_puts(&text, "{\"file\":");
  put_json(&text, plugin->path);
  etk_text_puts(&text, ",\"namespace\":");
  put_json(&text, plugin->name_space);
  etk_text_puts(&text, ",\"version\":");
  put_json(&text, *version ? version : NULL);
  etk_text_printf(&text, ",\"conformant\":%s,\"findings\":%zu,\"warnings\":%zu,\"checks\":[", r->failed ? "false" : "true", r->failed, r->warnings);
  for (const struct finding *f = r->first; f; f = f->next) {
    etk_text_puts(&text, f == r->first ? "{\"name\":" : ",{\"name\":");
    put_json(&text, f->name);
    etk_text_puts(&text, ",\"state\":");
    put_json(&text, f->state);
    etk_text_puts(&text, ",\"text\":");
    put_json(&text, f->text);
    etk_text_putc(&text, '}');
  }
  etk_text_puts(&text, "]}");
  host_print_document(host, "check", r->failed ? "failed" : "ok", text.failed ? NULL : text.data, error);
  etk_text_free(&text);
}

static int check_run(struct host *host, const char *file, const struct check_options *o) {
  etk_error e = ETK_ERROR_INIT;
  struct plugin plugin;
  char version[64] = "";
  (void)o;
  if (access(file, F_OK)) {
    etk_fail_errno(&e, errno, "%s: cannot be checked", file);
    return host_error(host, &e, 0, NULL);
  }
  if (etk_fs_is_dir(file)) {
    etk_fail(&e, ETK_E_USAGE, "%s: is a folder; check takes the file libproj-<namespace>.so in it", file);
    return host_error(host, &e, 0, NULL);
  }
  struct report r = {.last = &r.first};
  if (plugin_from_file(&e, &plugin, &r.arena, file)) {
    add(&r, "name", "failed", "%s", e.message);
    plugin = (struct plugin){.path = file};
  } else if (check_note(&r, &host->path, &plugin, version, sizeof version)) {
    check_life(&r, &host->path, &plugin);
    check_symbols(&r, plugin.path);
  }
  int code;
  if (r.short_of_memory) code = host_error(host, &(etk_error){ETK_E_NO_MEMORY, "no memory for the findings"}, 0, NULL);
  else {
    if (r.failed) etk_fail(&e, ETK_E_CHECK, "%s: %zu finding%s", file, r.failed, r.failed == 1 ? "" : "s");
    if (host->json) print_json(host, &r, &plugin, version, r.failed ? &e : NULL);
    else print_person(host, &r, file);
    code = r.failed ? 4 : 0;
  }
  etk_arena_fini(&r.arena);
  return code;
}
