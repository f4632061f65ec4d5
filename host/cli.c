/* cli.c: from words to a built-in or a command. */
#include "builtin.h"
#include "globals.h"
#include "help.h"
#include "marshal.h"
#include "owners.h"
#include "remote.h"
#include "report.h"
#include "resolve.h"
#include "run.h"

#include <etk/alloc.h>
#include <etk/fs.h>
#include <etk/hardware.h>
#include <signal.h>

#define GROUPS(GROUP)                                                                                               \
  GROUP(projects) GROUP(help) GROUP(setup) GROUP(info) GROUP(runs) GROUP(logs) GROUP(benchmark) GROUP(test)        \
  GROUP(generate_config) GROUP(shell) GROUP(complete) GROUP(docs) GROUP(check) GROUP(new) GROUP(version)
#define DECLARE(name) extern const etk_project builtin_##name;
#define LIST(name) &builtin_##name,
GROUPS(DECLARE)
const etk_project *const builtins[] = {GROUPS(LIST) NULL};

const etk_project *builtin_find(const char *name) {
  for (size_t i = 0; builtins[i]; i++)
    if (etk_text_equal_name(builtins[i]->name_space, name)) return builtins[i];
  return NULL;
}

bool builtin_is_single(const etk_project *group) { return group->command_count == 1 && !strcmp(group->commands[0].name, group->name_space); }

bool builtin_given(const struct host *host, const char *name) { return resolved_source(host->values, name) > ETK_FROM_DEFAULT; }

etk_status builtin_manifest(etk_error *e, struct manifest *out, const etk_project *group) {
  etk_status status = manifest_from_project(e, out, group);
  if (!status) out->builtin = true;
  return status;
}

etk_status host_path(etk_error *e, struct host *host) {
  if (host->path.dirs) return ETK_OK;
  return search_path_init(e, &host->path, host->plugin_dirs, host->plugin_dir_count, host->trust_dirs, host->trust_dir_count);
}

/* ---- names ---- */

enum { NAMES_MOST = 512 };

/* Namespaces, each once, in `names`; the list owns them. */
static size_t namespaces(struct host *host, struct plugin_list *list, const char **names, size_t most) {
  size_t count = 0;
  *list = (struct plugin_list){0};
  if (discover_all(NULL, list, &host->path)) return 0;
  for (size_t i = 0; i < list->count && count < most; i++)
    if (!list->items[i].shadowed) names[count++] = list->items[i].name_space;
  return count;
}

static void hint_names(etk_text *out, const char *title, const char *const *names, size_t count) {
  enum { SHOWN = 24 };
  if (!count) return;
  etk_text_printf(out, "%s\n", title);
  for (size_t i = 0; i < count && i < SHOWN; i++) etk_text_printf(out, "  %s\n", names[i]);
  if (count > SHOWN) etk_text_printf(out, "  … and %zu more\n", count - SHOWN);
}

static int fail_with(struct host *host, const etk_error *e, int exit_code, etk_text *hint) {
  int code = host_error(host, e, exit_code, hint->size && !hint->failed ? hint->data : NULL);
  etk_text_free(hint);
  return code;
}

/* with_commands: the word may be a command without its namespace. */
static int unknown_namespace(struct host *host, const char *name, bool colon, bool with_commands) {
  const char *names[NAMES_MOST];
  struct plugin_list list;
  etk_error e = ETK_ERROR_INIT;
  etk_text hint = ETK_TEXT_INIT;
  size_t count = namespaces(host, &list, names, NAMES_MOST - 16), all = count;
  for (size_t i = 0; !colon && builtins[i]; i++) names[all++] = builtins[i]->name_space;
  const char *near = etk_text_suggest(name, names, all);
  etk_text owners = ETK_TEXT_INIT;
  size_t owned = with_commands ? command_owners(&owners, host, name) : 0;
  const char *noun = colon ? "namespace" : "command or namespace";
  if (owned && !owners.failed) etk_fail(&e, ETK_E_USAGE, "unknown %s '%s'; did you mean %s%s?", noun, name, owners.data, owned > 4 ? ", or that of yet another project" : "");
  else etk_fail(&e, ETK_E_USAGE, "unknown %s '%s'%s%s%s", noun, name, near ? "; did you mean '" : "", near ? near : "", near ? "'?" : "");
  etk_text_free(&owners);
  if (count) hint_names(&hint, "namespaces here ('efficientai-toolkit projects' tells more):", names, count);
  else etk_text_puts(&hint, "no plugin was found; 'efficientai-toolkit info' shows where they are looked for\n");
  int code = fail_with(host, &e, 127, &hint);
  plugin_list_free(&list);
  return code;
}

static int load_manifest(struct host *host, const struct plugin *plugin, struct manifest *manifest) {
  etk_error e = ETK_ERROR_INIT;
  etk_status status = plugin_manifest(&e, manifest, &host->path, plugin);
  if (!status) return 0;
  return host_error(host, &e, status == ETK_E_NO_MEMORY ? 0 : 126, NULL);
}

/* "lora:train" where one namespace begins with "lora". Never under --json: a script must not change its meaning when a plugin is installed. */
static int find_prefix(struct host *host, const char *prefix, struct plugin *plugin, bool with_commands) {
  const char *names[NAMES_MOST], *fits[NAMES_MOST];
  struct plugin_list list;
  etk_error e = ETK_ERROR_INIT;
  etk_text hint = ETK_TEXT_INIT;
  size_t count = namespaces(host, &list, names, NAMES_MOST - 16), fit = 0;
  int code = 0;
  for (size_t i = 0; i < count; i++)
    if (!strncmp(names[i], prefix, strlen(prefix))) fits[fit++] = names[i];
  if (!fit) code = unknown_namespace(host, prefix, true, with_commands);
  else if (host->json || host->jsonl) {
    etk_fail(&e, ETK_E_USAGE, "unknown namespace '%s': under --json a namespace is written in full, like '%s'", prefix, fits[0]);
    code = host_error(host, &e, 127, NULL);
  } else if (fit > 1) {
    etk_fail(&e, ETK_E_USAGE, "'%s' could mean any of %zu namespaces", prefix, fit);
    hint_names(&hint, "candidates:", fits, fit);
    code = fail_with(host, &e, 2, &hint);
  } else {
    const char *full = etk_arena_strdup(&host->arena, fits[0]);
    if (!full || discover_exact(&e, plugin, &host->arena, &host->path, full)) code = host_error(host, &e, 126, NULL);
    else host_note(host, "%s: '%s' means %s", host->program, prefix, full);
  }
  plugin_list_free(&list);
  return code;
}

int host_find(struct host *host, const char *name_space, struct plugin *plugin, struct manifest *manifest) {
  int code = discover_exact(NULL, plugin, &host->arena, &host->path, name_space) ? find_prefix(host, name_space, plugin, true) : 0;
  return code ? code : load_manifest(host, plugin, manifest);
}

int host_no_command(struct host *host, const struct manifest *manifest, const char *name) {
  const char *names[NAMES_MOST];
  char shown[NAMES_MOST][64];
  size_t count = 0;
  etk_error e = ETK_ERROR_INIT;
  etk_text hint = ETK_TEXT_INIT;
  for (size_t i = 0; i < manifest->command_count && count < NAMES_MOST; i++)
    if (!(manifest->commands[i].flags & ETK_HIDDEN)) {
      names[count] = shown_name(shown[count], sizeof shown[count], manifest->commands[i].name);
      count++;
    }
  const char *near = etk_text_suggest(name, names, count);
  char title_text[80];
  const char *title_name = shown_name(title_text, sizeof title_text, manifest->name_space);
  if (*name) etk_fail(&e, ETK_E_USAGE, "%s has no command '%s'%s%s%s", title_name, name, near ? "; did you mean '" : "", near ? near : "", near ? "'?" : "");
  else etk_fail(&e, ETK_E_USAGE, "'%s:' names no command; the form is NAMESPACE:COMMAND", title_name);
  etk_text title = ETK_TEXT_INIT;
  etk_text_printf(&title, "commands of %s:", title_name);
  hint_names(&hint, title.failed ? "commands:" : title.data, names, count);
  etk_text_free(&title);
  return fail_with(host, &e, *name ? 127 : 2, &hint);
}

/* ---- commands ---- */

static int dry_run(struct host *host, const struct resolved *resolved) {
  const struct manifest_command *command = resolved->command;
  if (host->json || host->jsonl) {
    etk_text text = ETK_TEXT_INIT;
    etk_text_puts(&text, "{\"values\":");
    values_json(&text, resolved);
    etk_text_putc(&text, '}');
    struct document document = {
        .name_space = host->name_space, .command = host->command, .status = "ok", .results_json = text.failed ? NULL : text.data, .duration_ms = -1};
    document_print(host, &document);
    etk_text_free(&text);
    return 0;
  }
  static const char *const headers[] = {"NAME", "VALUE", "SOURCE", "FROM"};
  struct table *table = table_new(headers, 4);
  for (size_t i = 0; i < command->argument_count + command->option_count; i++) {
    bool argument = i < command->argument_count;
    const struct manifest_option *option = argument ? NULL : &command->options[i - command->argument_count];
    const etk_value *value = argument ? &resolved->arguments[i] : &resolved->options[i - command->argument_count];
    etk_text name = ETK_TEXT_INIT, shown = ETK_TEXT_INIT;
    if (argument) etk_text_puts(&name, command->arguments[i].name);
    else etk_text_printf(&name, "%s%s%s", option->group, *option->group ? "." : "", option->name);
    etk_value_show(&shown, argument ? argument_kind(&command->arguments[i]) : option->kind, value);
    const char *cells[] = {name.failed ? "?" : name.data, shown.failed ? "?" : shown.data, source_name(value->source), value->origin};
    table_add(table, cells);
    etk_text_free(&name);
    etk_text_free(&shown);
  }
  table_print(table, stdout, host->out_color, 0);
  table_free(table);
  return 0;
}

/* Wrong values are the user's words, whatever found them. */
static int resolve_failed(struct host *host, const struct manifest *manifest, const struct manifest_command *command, const etk_error *e) {
  etk_text hint = ETK_TEXT_INIT;
  if (e->status == ETK_E_USAGE) {
    char title[160];
    etk_text_puts(&hint, "usage: ");
    usage_line(&hint, host, manifest, command);
    if (host->standalone) etk_text_printf(&hint, "\nsee: %s %s --help\n", host->program, shown_name(title, sizeof title, command->name));
    else etk_text_printf(&hint, "\nsee: %s %s --help\n", host->program, command_title(title, sizeof title, manifest, command));
  }
  return fail_with(host, e, e->status == ETK_E_NO_MEMORY ? 0 : 2, &hint);
}

static int print_help(struct host *host, const struct manifest *manifest, const struct manifest_command *command) {
  if (host->json || host->jsonl) {
    etk_text text = ETK_TEXT_INIT;
    manifest_json(&text, manifest, command);
    struct document document = {
        .name_space = manifest->name_space, .command = "help", .status = "ok", .results_json = text.failed ? NULL : text.data, .duration_ms = -1};
    document_print(host, &document);
    etk_text_free(&text);
  } else if (command) help_command(host, manifest, command);
  else help_namespace(host, manifest);
  return 0;
}

static int plugin_version(struct host *host, const struct manifest *manifest) {
  if (host->json || host->jsonl) {
    etk_text text = ETK_TEXT_INIT;
    etk_text_puts(&text, "{\"version\":");
    put_json(&text, manifest->version);
    etk_text_printf(&text, ",\"abi\":\"%u.%u\"}", manifest->abi_major, manifest->abi_minor);
    struct document document = {
        .name_space = manifest->name_space, .command = "version", .status = "ok", .results_json = text.failed ? NULL : text.data, .duration_ms = -1};
    document_print(host, &document);
    etk_text_free(&text);
  } else printf("%s %s (ABI %u.%u)\n", manifest->name_space, manifest->version, manifest->abi_major, manifest->abi_minor);
  return 0;
}

static int run_in(struct host *host, const struct plugin *plugin, const struct manifest *manifest, const char *name, int count, char **words,
                  int argc, char **argv) {
  char shown[64];
  if (!name && host->version) return plugin_version(host, manifest);
  if (!name) return print_help(host, manifest, NULL);
  const struct manifest_command *command = *name ? manifest_command(manifest, name) : NULL;
  if (!command) return host_no_command(host, manifest, name);
  host->command = etk_arena_strdup(&host->arena, shown_name(shown, sizeof shown, command->name));
  if (host->help || host->help_all) return print_help(host, manifest, command);
  if (host->version) return plugin_version(host, manifest);
  struct resolved resolved;
  etk_error e = ETK_ERROR_INIT;
  if (resolve(&e, &resolved, host, manifest, command, count, words)) return resolve_failed(host, manifest, command, &e);
  return host->dry_run ? dry_run(host, &resolved) : run_command(host, plugin, manifest, &resolved, argc, argv);
}

/* words[0] is "ns:command" or "ns" (then the command follows), or, standalone, the command. */
static int run_words(struct host *host, int count, char **words, int argc, char **argv) {
  struct plugin plugin;
  struct manifest manifest;
  const char *name_space = host->standalone, *command = NULL;
  bool colon = false;
  if (!name_space) {
    const char *at = strchr(words[0], ':');
    colon = at != NULL;
    name_space = colon ? etk_arena_strndup(&host->arena, words[0], (size_t)(at - words[0])) : words[0];
    if (colon) command = at + 1;
    words++, count--;
  }
  etk_error e = ETK_ERROR_INIT;
  if (!name_space) etk_fail(&e, ETK_E_NO_MEMORY, "out of memory");
  else if (!*name_space) etk_fail(&e, ETK_E_USAGE, "'%s' names no namespace; the form is NAMESPACE:COMMAND", words[-1]);
  if (e.status) return host_error(host, &e, 0, NULL);
  host->name_space = name_space;
  if (discover_exact(NULL, &plugin, &host->arena, &host->path, name_space)) {
    int code = colon ? find_prefix(host, name_space, &plugin, false) : unknown_namespace(host, name_space, false, true);
    if (code) return code;
    host->name_space = plugin.name_space;
  }
  int code = load_manifest(host, &plugin, &manifest);
  if (code) return code;
  if (!colon && count && words[0][0] == '-') {
    etk_fail(&e, ETK_E_USAGE, "unknown option %s: a command comes first, then its options", words[0]);
    code = host_error(host, &e, 2, NULL);
  } else {
    if (!colon && count) command = words[0], words++, count--;
    code = run_in(host, &plugin, &manifest, command, count, words, argc, argv);
  }
  manifest_fini(&manifest);
  return code;
}

/* ---- the host ---- */

static int unknown_host_option(struct host *host, const char *word) {
  const char *names[64];
  char typed[64];
  size_t count = 0;
  etk_error e = ETK_ERROR_INIT;
  snprintf(typed, sizeof typed, "%.*s", (int)strcspn(word, "="), word);
  for (const struct host_option *o = host_options; o->name && count < 64; o++) names[count++] = o->name;
  const char *near = word[1] == '-' ? etk_text_suggest(typed + 2, names, count) : NULL;
  etk_fail(&e, ETK_E_USAGE, "unknown option %s%s%s%s", typed, near ? "; did you mean --" : "", near ? near : "", near ? "?" : "");
  return host_error(host, &e, 2, "the options of a command stand after it; 'efficientai-toolkit help' lists those of the host\n");
}

/* What this version does not do, or a built-in has no use for, is refused, never passed over. */
static int unsupported(struct host *host, const etk_project *group) {
  etk_error e = ETK_ERROR_INIT;
  char name[64];
  if (group) shown_name(name, sizeof name, group->name_space);
  if (host->jsonl && host->json) etk_fail(&e, ETK_E_USAGE, "--json and --jsonl exclude each other");
  else if (host->jsonl && group) etk_fail(&e, ETK_E_UNSUPPORTED, "--jsonl: '%s' answers at once; use --json", name);
  else if (group && host->config) etk_fail(&e, ETK_E_USAGE, "--config is for commands of projects; '%s' reads no options from files", name);
  else if (group && host->set_count) etk_fail(&e, ETK_E_USAGE, "--set is for commands of projects; '%s' has no such options", name);
  else if (group && host->profile && !getenv("EFFICIENTAI_PROFILE")) etk_fail(&e, ETK_E_USAGE, "--profile is for commands of projects; '%s' has no such options", name);
  else if (group && host->no_run) etk_fail(&e, ETK_E_USAGE, "--no-run is for commands of projects; '%s' is never recorded", name);
  else return 0;
  host->jsonl = host->jsonl && !group;
  return host_error(host, &e, 0, NULL);
}

static int call_builtin(struct host *host, const etk_project *group, const struct manifest *manifest, const struct manifest_command *command, int count, char **words) {
  etk_error e = ETK_ERROR_INIT;
  struct resolved resolved;
  char title[160];
  command_title(title, sizeof title, manifest, command);
  if (host->dry_run && !(command->flags & BUILTIN_DRY_RUN)) {
    etk_fail(&e, ETK_E_USAGE, "--dry-run: '%s' has nothing of that kind; it is for commands of projects and a few that remove things", title);
    return host_error(host, &e, 0, NULL);
  }
  host->command = etk_arena_strdup(&host->arena, title);
  if (resolve(&e, &resolved, host, manifest, command, count, words)) return resolve_failed(host, manifest, command, &e);
  host->values = &resolved;
  int code = 1;
  if (marshal_call(&e, &code, (etk_run *)(void *)host, group, marshal_row(group, command->name), &resolved)) code = host_error(host, &e, 0, NULL);
  host->values = NULL;
  return code;
}

/* The words after the group: its command where there are several, then what belongs to it. `command`: named already, by "runs:list". */
static int run_builtin(struct host *host, const etk_project *group, const char *command, int count, char **words) {
  etk_error e = ETK_ERROR_INIT;
  struct manifest manifest;
  int code = unsupported(host, group);
  if (code) return code;
  bool help = (host->help || host->help_all) && strcmp(group->name_space, "help");
  if (!command && builtin_is_single(group)) command = group->name_space;
  else if (!command && count && words[0][0] != '-') command = words[0], words++, count--;
  else if (!command && !help) command = group->commands[0].name;
  if (help) return help_builtin(host, group, command);
  if (builtin_manifest(&e, &manifest, group)) return host_error(host, &e, 0, NULL);
  const struct manifest_command *found = manifest_command(&manifest, command);
  code = found ? call_builtin(host, group, &manifest, found, count, words) : host_no_command(host, &manifest, command);
  manifest_fini(&manifest);
  return code;
}

/* "runs" and "runs:list"; NULL where the word names no built-in. */
static const etk_project *builtin_named(struct host *host, const char *word, const char **command) {
  const char *colon = strchr(word, ':');
  char *name = colon ? etk_arena_strndup(&host->arena, word, (size_t)(colon - word)) : NULL;
  *command = name ? colon + 1 : NULL;
  return builtin_find(name ? name : word);
}

static int dispatch(struct host *host, int count, char **words, int argc, char **argv) {
  const char *command = NULL;
  if (host->remote) return remote_run(host, argc, argv);
  if (!host->standalone && !count) return run_builtin(host, builtin_find(host->version ? "version" : "help"), host->version ? "version" : "help", 0, words);
  int code = unsupported(host, NULL);
  if (code) return code;
  if (host->standalone && (!count || words[0][0] != '-')) return run_words(host, count, words, argc, argv);
  if (words[0][0] == '-' && words[0][1] && strcmp(words[0], "--")) return unknown_host_option(host, words[0]);
  if (!strcmp(words[0], "--")) words++, count--;
  if (!count) return run_builtin(host, builtin_find("help"), "help", 0, words);
  const etk_project *group = host->standalone ? NULL : builtin_named(host, words[0], &command);
  if (!group) return run_words(host, count, words, argc, argv);
  return run_builtin(host, group, command, count - 1, words + 1);
}

/* A symbolic link named after a namespace is that project alone. */
static void find_standalone(struct host *host, const char *called) {
  struct plugin plugin;
  const char *base = etk_path_base(called);
  host->program = "efficientai-toolkit";
  if (!strcmp(base, host->program) || !legal_namespace(base)) return;
  if (discover_exact(NULL, &plugin, &host->arena, &host->path, base)) return;
  host->standalone = host->program = base;
}

int host_main(int argc, char **argv) {
  struct host host = {.program = "efficientai-toolkit", .started_ns = etk_time_ns(), .argc = argc, .argv = argv};
  etk_error e = ETK_ERROR_INIT;
  char **words = NULL;
  int count = 0, code;
  host_keep_streams();
  signal(SIGPIPE, SIG_IGN); /* a closed pipe is found when the answer is flushed */
  signal(SIGXFSZ, SIG_IGN); /* a file size limit is an error of write(2) */
  etk_status status = globals_take(&e, &host, argc > 0 ? argc - 1 : 0, argv + 1, &words, &count);
  globals_environment(&host);
  host_log_start(&host);
  if (!status) status = host_path(&e, &host);
  if (!status) {
    find_standalone(&host, argc > 0 ? argv[0] : "efficientai-toolkit");
    code = dispatch(&host, count, words, argc, argv);
  } else code = host_error(&host, &e, 0, NULL);
  code = host_finish(&host, code);
  search_path_fini(&host.path);
  etk_arena_fini(&host.arena);
  return code;
}
