/* complete.c: reads the words before the cursor as the host would, and offers what may follow. */
#include "complete.h"

#include "builtin.h"
#include "complete_internal.h"
#include "note.h"
#include "resolve.h"

#include <ctype.h>
#include <etk/fs.h>
#include <unistd.h>

/* ---- names ---- */

bool complete_manifest(struct manifest *out, const struct search_path *path, const struct plugin *plugin) {
  struct trust trust;
  char *text = NULL;
  size_t size = 0;
  int fd;
  *out = (struct manifest){0};
  if (!legal_namespace(plugin->name_space) || plugin_open(NULL, &fd, &trust, path, plugin)) return false;
  etk_status status = note_read_sized(NULL, &text, &size, fd, plugin->path, trust.size);
  close(fd);
  if (!status) status = manifest_from_text(NULL, out, text, size);
  etk_free(text);
  if (!status && !abi_check(NULL, plugin->path, out->abi_major, out->abi_minor, out->host_minor) && !strcmp(out->name_space, plugin->name_space)) return true;
  manifest_fini(out);
  return false;
}

static bool hidden(const etk_project *group) {
  for (uint32_t i = 0; i < group->command_count; i++)
    if (!(group->commands[i].flags & ETK_HIDDEN)) return false;
  return true;
}

/* '-' equals '_'. */
static bool begins(const char *name, const char *start, size_t size) {
  for (size_t i = 0; i < size; i++)
    if (!name[i] || (name[i] == '_' ? '-' : name[i]) != (start[i] == '_' ? '-' : start[i])) return false;
  return true;
}

/* "<left>:" and each command that begins with `right`. */
static void commands_of(struct walk *walk, const struct manifest *manifest, const char *left, const char *right) {
  char shown[64];
  for (size_t i = 0; i < manifest->command_count; i++) {
    const struct manifest_command *command = &manifest->commands[i];
    if (command->flags & ETK_HIDDEN || !begins(command->name, right, strlen(right))) continue;
    shown_name(shown, sizeof shown, command->name);
    const char *text = etk_arena_printf(&walk->out->arena, "%s%s%s%s", walk->kept, left, *left ? ":" : "", shown);
    if (text) complete_offer(walk->out, "", text, command->summary, false);
    else walk->out->failed = true;
  }
}

static void commands_of_plugin(struct walk *walk, const struct plugin *plugin, const char *right) {
  struct manifest manifest;
  if (!complete_manifest(&manifest, &walk->host->path, plugin)) return;
  commands_of(walk, &manifest, plugin->name_space, right);
  manifest_fini(&manifest);
}

static void summary_of(struct walk *walk, const struct plugin *plugin, bool colon) {
  struct manifest manifest;
  if (!complete_manifest(&manifest, &walk->host->path, plugin)) return;
  char text[80];
  snprintf(text, sizeof text, "%s%s", plugin->name_space, colon ? ":" : "");
  complete_add(walk, text, manifest.summary, colon);
  manifest_fini(&manifest);
}

/* Calls `use` for the namespace itself where there is one of this name, else for each that begins with it. Shadowed files are passed over. */
static size_t each_namespace(struct walk *walk, const char *name, size_t size, bool exact_first, void (*use)(struct walk *, const struct plugin *, const void *), const void *user) {
  struct plugin_list list;
  size_t count = 0;
  if (discover_all(NULL, &list, &walk->host->path)) return 0;
  const struct plugin *exact = NULL;
  for (size_t i = 0; exact_first && i < list.count && !exact; i++)
    if (!list.items[i].shadowed && strlen(list.items[i].name_space) == size && !memcmp(list.items[i].name_space, name, size)) exact = &list.items[i];
  for (size_t i = 0; i < list.count; i++) {
    const struct plugin *plugin = &list.items[i];
    if (plugin->shadowed || (exact ? plugin != exact : strncmp(plugin->name_space, name, size) != 0)) continue;
    count++;
    if (use) use(walk, plugin, user);
  }
  plugin_list_free(&list);
  return count;
}

static void use_commands(struct walk *walk, const struct plugin *plugin, const void *right) { commands_of_plugin(walk, plugin, right); }
static void use_summary(struct walk *walk, const struct plugin *plugin, const void *colon) { summary_of(walk, plugin, *(const bool *)colon); }

static void builtin_commands(struct walk *walk, const char *name, size_t size, const char *right) {
  char group[64];
  struct manifest manifest;
  if (size >= sizeof group) return;
  snprintf(group, sizeof group, "%.*s", (int)size, name);
  const etk_project *found = builtin_find(group);
  if (!found || builtin_is_single(found) || builtin_manifest(NULL, &manifest, found)) return;
  commands_of(walk, &manifest, shown_name(group, sizeof group, found->name_space), right);
  manifest_fini(&manifest);
}

void complete_commands(struct walk *walk, const char *name) {
  struct plugin plugin;
  struct manifest manifest;
  const etk_project *group = builtin_find(name);
  if (group ? builtin_is_single(group) || builtin_manifest(NULL, &manifest, group) != ETK_OK
            : discover_exact(NULL, &plugin, &walk->out->arena, &walk->host->path, name) || !complete_manifest(&manifest, &walk->host->path, &plugin)) return;
  commands_of(walk, &manifest, "", walk->word);
  manifest_fini(&manifest);
}

void complete_names(struct walk *walk, bool with_builtins, bool with_commands) {
  const char *colon = with_commands ? strchr(walk->word, ':') : NULL;
  if (colon) {
    size_t size = (size_t)(colon - walk->word);
    if (with_builtins) builtin_commands(walk, walk->word, size, colon + 1);
    if (size) each_namespace(walk, walk->word, size, true, use_commands, colon + 1);
    return;
  }
  size_t before = walk->out->count;
  char shown[64];
  for (const etk_project *const *group = builtins; with_builtins && *group; group++)
    if (!hidden(*group)) complete_add(walk, shown_name(shown, sizeof shown, (*group)->name_space), (*group)->summary, false);
  size_t size = strlen(walk->word);
  bool only = with_commands && size && walk->out->count == before && each_namespace(walk, walk->word, size, false, NULL, NULL) == 1;
  if (only) each_namespace(walk, walk->word, size, false, use_commands, "");
  else each_namespace(walk, walk->word, size, false, use_summary, &with_commands);
}

/* ---- the words before the cursor ---- */

static void know_command(struct walk *walk, const struct manifest_command *command) {
  walk->command = command;
  if (!command) {
    walk->stray = true;
    return;
  }
  walk->used = etk_arena_array(&walk->out->arena, command->argument_count + command->option_count + 1, sizeof *walk->used);
  if (!walk->used) walk->out->failed = walk->stray = true;
}

static bool know_plugin(struct walk *walk, const char *name) {
  struct plugin plugin;
  if (!discover_exact(NULL, &plugin, &walk->out->arena, &walk->host->path, name)) return complete_manifest(&walk->manifest, &walk->host->path, &plugin);
  return false;
}

static void keep_name(struct walk *walk, const struct plugin *plugin, const void *user) {
  *(const char **)(uintptr_t)user = etk_arena_strdup(&walk->out->arena, plugin->name_space);
}

/* "lora-finetuning-mlx:train", "lora:train", "runs", "runs:list", "lora-finetuning-mlx". */
static void first_word(struct walk *walk, const char *word) {
  size_t size = strcspn(word, ":");
  char *name = etk_arena_strndup(&walk->out->arena, word, size);
  const char *command = word[size] ? word + size + 1 : NULL;
  walk->named = true;
  if (!name) {
    walk->out->failed = walk->stray = true;
    return;
  }
  const etk_project *group = builtin_find(name);
  if (group) {
    walk->builtin = true;
    if (builtin_manifest(NULL, &walk->manifest, group)) walk->out->failed = walk->stray = true; /* out of memory */
    else if (command || builtin_is_single(group)) know_command(walk, command ? manifest_command(&walk->manifest, command) : &walk->manifest.commands[0]);
    return;
  }
  bool known = know_plugin(walk, name);
  const char *full = NULL;
  if (!known && command && *name && each_namespace(walk, name, size, true, keep_name, &full) == 1 && full) known = know_plugin(walk, full);
  if (!known) walk->stray = true;
  else if (command) know_command(walk, manifest_command(&walk->manifest, command));
}

static void bare_word(struct walk *walk, const char *word) {
  if (!walk->named) first_word(walk, word);
  else if (!walk->command) know_command(walk, manifest_command(&walk->manifest, word));
  else if (!walk->placed++) walk->first = word;
}

static const struct manifest_argument *argument_named(const struct walk *walk, const char *name, size_t size, size_t *index) {
  for (size_t i = 0; walk->command && i < walk->command->argument_count; i++)
    if (strlen(walk->command->arguments[i].name) == size && begins(walk->command->arguments[i].name, name, size)) {
      *index = i;
      return &walk->command->arguments[i];
    }
  return NULL;
}

static const struct manifest_option *option_named(const struct walk *walk, const char *name, size_t size, size_t *index) {
  for (size_t i = 0; walk->command && i < walk->command->option_count; i++)
    if (option_answers_to(&walk->command->options[i], name, size)) {
      *index = walk->command->argument_count + i;
      return &walk->command->options[i];
    }
  return NULL;
}

/* --name or --name=value; wants: where the value would be looked for, if it is in the next word. */
static void long_option(struct walk *walk, const char *word) {
  size_t size = strcspn(word + 2, "="), index = 0;
  bool value = word[2 + size] == '=';
  const char *name = word + 2;
  const struct host_option *host_option = host_option_find(name, size);
  if (host_option) {
    walk->host_used |= UINT64_C(1) << ((host_option - host_options) & 63);
    if (host_option->value && !value) walk->host_value = host_option;
    return;
  }
  const struct manifest_argument *argument = argument_named(walk, name, size, &index);
  const struct manifest_option *option = argument ? NULL : option_named(walk, name, size, &index);
  if (!argument && !option && size > 3 && !strncmp(name, "no-", 3)) {
    option = option_named(walk, name + 3, size - 3, &index);
    value = true;
  }
  if (!argument && !option) return; /* the host will say so */
  walk->used[index] = true;
  if (value || (argument ? argument->kind : option->kind) == ETK_KIND_flag) return;
  walk->argument_value = argument;
  walk->option_value = option;
}

static void letters(struct walk *walk, const char *word) {
  for (const char *p = word + 1; *p; p++) {
    size_t index;
    const struct manifest_option *option = option_named(walk, p, 1, &index);
    if (!option) continue;
    walk->used[index] = true;
    if (option->kind == ETK_KIND_flag && p[1] != '=') continue;
    if (!p[1]) walk->option_value = option;
    return;
  }
}

static void read_word(struct walk *walk, const char *word) {
  if (walk->host_value || walk->option_value || walk->argument_value) {
    walk->host_value = NULL;
    walk->option_value = NULL;
    walk->argument_value = NULL;
  } else if (!walk->dashes && !strcmp(word, "--")) walk->dashes = true;
  else if (walk->dashes || !looks_like_option(word)) bare_word(walk, word);
  else if (word[1] == '-') long_option(walk, word);
  else letters(walk, word);
}

/* ---- at the cursor: options ---- */

/* Options of projects that mean nothing to a built-in. */
static bool for_projects(const struct host_option *option) {
  static const size_t fields[] = {offsetof(struct host, config),  offsetof(struct host, sets),    offsetof(struct host, profile),
                                  offsetof(struct host, no_run), offsetof(struct host, jsonl), offsetof(struct host, dry_run)};
  for (size_t i = 0; i < sizeof fields / sizeof fields[0]; i++)
    if (option->offset == fields[i]) return true;
  return false;
}

static bool host_repeats(const struct host_option *option) {
  return option->offset == offsetof(struct host, sets) || option->offset == offsetof(struct host, plugin_dirs) ||
         option->offset == offsetof(struct host, trust_dirs) || option->offset == offsetof(struct host, verbose);
}

static void host_names(struct walk *walk) {
  char text[64];
  for (const struct host_option *o = host_options; o->name; o++) {
    bool given = walk->host_used >> ((o - host_options) & 63) & 1;
    if (!o->help || (given && !host_repeats(o)) || (walk->builtin && for_projects(o))) continue;
    snprintf(text, sizeof text, "--%s", o->name);
    if (begins(text, walk->word, strlen(walk->word))) complete_offer(walk->out, "", text, o->help, false);
  }
}

static bool repeats(uint32_t kind) { return kind == ETK_KIND_ints || kind == ETK_KIND_reals || kind == ETK_KIND_texts || kind == ETK_KIND_map; }

/* --name, with '-' for '_', where it begins as the word does. */
static bool offer_name(struct walk *walk, const char *dashes, const char *name, size_t name_size, const char *help) {
  char text[128];
  int size = snprintf(text, sizeof text, "%s%.*s", dashes, (int)name_size, name);
  if (size < 0 || (size_t)size >= sizeof text || !begins(text, walk->word, strlen(walk->word))) return false;
  for (char *p = text; *p; p++)
    if (*p == '_') *p = '-';
  complete_offer(walk->out, "", text, help, false);
  return true;
}

static void option_names(struct walk *walk, const struct manifest_option *option) {
  size_t typed = strlen(walk->word);
  bool named = offer_name(walk, "--", option->name, strlen(option->name), option->help);
  if (option->kind == ETK_KIND_flag && (!strcmp(option->default_text, "yes") || (typed >= 4 && !strncmp(walk->word, "--no", 4))))
    offer_name(walk, "--no-", option->name, strlen(option->name), option->help);
  for (const char *alias = option->aliases; *alias;) {
    size_t size = strcspn(alias, " ");
    if (size == 1 && typed < 3) offer_name(walk, "-", alias, size, option->help);
    if (size > 1 && typed > 2 && !named) named = offer_name(walk, "--", alias, size, option->help);
    alias += size + strspn(alias + size, " ");
  }
}

/* A bare "--" is not the place for what is rarely wanted. */
static void names(struct walk *walk) {
  size_t typed = strlen(walk->word);
  for (size_t i = 0; walk->command && i < walk->command->option_count; i++) {
    const struct manifest_option *option = &walk->command->options[i];
    bool given = walk->used[walk->command->argument_count + i] && !repeats(option->kind);
    if (given || option->flags & ETK_HIDDEN || (option->flags & ETK_ADVANCED && typed < 3)) continue;
    option_names(walk, option);
  }
  for (size_t i = 0; walk->command && typed > 2 && i < walk->command->argument_count; i++)
    if (!walk->used[i]) offer_name(walk, "--", walk->command->arguments[i].name, strlen(walk->command->arguments[i].name), walk->command->arguments[i].help);
  host_names(walk);
}

/* ---- at the cursor ---- */

static void argument_values(struct walk *walk, const struct manifest_argument *argument) {
  complete_value(walk, argument->kind, argument->limits, argument->name, NULL);
}

static void option_values(struct walk *walk, const struct manifest_option *option) {
  complete_value(walk, option->kind, option->limits, option->name, option->default_text);
}

/* "--name=val": what may follow the '='. */
static void attached_value(struct walk *walk) {
  size_t size = strcspn(walk->word + 2, "="), index;
  const char *name = walk->word + 2;
  walk->kept = etk_arena_strndup(&walk->out->arena, walk->word, size + 3);
  walk->word += size + 3;
  if (!walk->kept) {
    walk->out->failed = true;
    return;
  }
  const struct host_option *host_option = host_option_find(name, size);
  const struct manifest_argument *argument = argument_named(walk, name, size, &index);
  const struct manifest_option *option = option_named(walk, name, size, &index);
  if (host_option && host_option->value) complete_host_value(walk, host_option);
  else if (argument) argument_values(walk, argument);
  else if (option) option_values(walk, option);
}

static const struct manifest_argument *next_argument(const struct walk *walk) {
  size_t place = 0;
  for (size_t i = 0; i < walk->command->argument_count; i++) {
    const struct manifest_argument *argument = &walk->command->arguments[i];
    if (walk->used[i]) continue;
    if (place++ == walk->placed || argument->need == ETK_NEED_VARIADIC) return argument;
  }
  return NULL;
}

static void at_cursor(struct walk *walk) {
  const char *word = walk->word;
  if (walk->host_value) complete_host_value(walk, walk->host_value);
  else if (walk->option_value) option_values(walk, walk->option_value);
  else if (walk->argument_value) argument_values(walk, walk->argument_value);
  else if (!walk->dashes && word[0] == '-' && word[1] == '-' && strchr(word, '=')) attached_value(walk);
  else if (!walk->dashes && word[0] == '-') names(walk);
  else if (!walk->named) complete_names(walk, true, true);
  else if (!walk->command) commands_of(walk, &walk->manifest, "", word);
  else {
    const struct manifest_argument *argument = next_argument(walk);
    if (argument) argument_values(walk, argument);
    bool something = walk->out->count || walk->out->paths != COMPLETE_NO_PATHS || (argument && argument->need == ETK_NEED_REQUIRED);
    if (!something && !*word && !walk->dashes) names(walk);
  }
}

/* ---- lines ---- */

/* The search path as --plugin-dir and --trust-dir among the words have it; NULL: they have none. */
static etk_status own_path(etk_error *e, struct host *own, const struct host *host, const char *const *words, size_t count) {
  const char *wanted = NULL;
  const char **lists[2] = {etk_arena_array(&own->arena, host->plugin_dir_count + count + 1, sizeof **lists),
                           etk_arena_array(&own->arena, host->trust_dir_count + count + 1, sizeof **lists)};
  size_t sizes[2] = {0};
  if (!lists[0] || !lists[1]) return etk_fail(e, ETK_E_NO_MEMORY, "out of memory while completing");
  static const char *const options[] = {"--plugin-dir", "--trust-dir"};
  for (size_t i = 0; i < count && strcmp(words[i], "--"); i++) {
    for (size_t k = 0; k < 2; k++) {
      size_t size = strlen(options[k]);
      wanted = strncmp(words[i], options[k], size) ? NULL : words[i][size] == '=' ? words[i] + size + 1 : !words[i][size] && i + 1 < count ? words[i + 1] : NULL;
      if (wanted && *wanted) lists[k][sizes[k]++] = wanted;
    }
  }
  if (!sizes[0] && !sizes[1]) {
    own->path = host->path;
    return ETK_OK;
  }
  for (size_t i = 0; i < host->plugin_dir_count; i++) lists[0][sizes[0]++] = host->plugin_dirs[i];
  for (size_t i = 0; i < host->trust_dir_count; i++) lists[1][sizes[1]++] = host->trust_dirs[i];
  own->plugin_dirs = lists[0], own->plugin_dir_count = sizes[0];
  own->trust_dirs = lists[1], own->trust_dir_count = sizes[1];
  return search_path_init(e, &own->path, lists[0], sizes[0], lists[1], sizes[1]);
}

static void start_standalone(struct walk *walk) {
  walk->named = true;
  if (!know_plugin(walk, walk->host->standalone)) walk->stray = true;
}

static etk_status finish(etk_error *e, struct completion *out, const char *word) {
  size_t size = strlen(word);
  for (size_t i = 0; i < out->count; i++)
    if (strncmp(out->items[i].text, word, size)) out->replaces = true;
  return out->failed ? etk_fail(e, ETK_E_NO_MEMORY, "out of memory while completing") : ETK_OK;
}

etk_status complete_line(etk_error *e, struct completion *out, struct host *host, const char *const *words, size_t count, const char *word) {
  *out = (struct completion){.arena = {0, 8192, 0}, .kept = "", .path = ""};
  struct host own = {.program = host->program, .standalone = host->standalone};
  etk_status status = host_path(e, host);
  if (!status) status = own_path(e, &own, host, words, count);
  if (status) {
    etk_arena_fini(&own.arena);
    return status;
  }
  struct walk walk = {.out = out, .host = &own, .kept = "", .word = word};
  if (own.standalone) start_standalone(&walk);
  for (size_t i = 0; i < count && !walk.stray; i++) read_word(&walk, words[i]);
  if (!walk.stray) at_cursor(&walk);
  manifest_fini(&walk.manifest);
  if (own.plugin_dirs || own.trust_dirs) search_path_fini(&own.path);
  etk_arena_fini(&own.arena);
  return finish(e, out, word);
}

etk_status complete_key(etk_error *e, struct completion *out, struct host *host, const char *name, const char *word) {
  *out = (struct completion){.arena = {0, 8192, 0}, .kept = "", .path = ""};
  etk_status status = host_path(e, host);
  if (status) return status;
  struct walk walk = {.out = out, .host = host, .kept = "", .word = word};
  first_word(&walk, name);
  if (!walk.stray) complete_set(&walk);
  manifest_fini(&walk.manifest);
  return finish(e, out, word);
}

etk_status complete_namespaces(etk_error *e, struct completion *out, struct host *host, const char *word) {
  *out = (struct completion){.arena = {0, 8192, 0}, .kept = "", .path = ""};
  etk_status status = host_path(e, host);
  if (status) return status;
  struct walk walk = {.out = out, .host = host, .kept = "", .word = word};
  complete_names(&walk, false, false);
  return finish(e, out, word);
}

void completion_free(struct completion *completion) {
  etk_arena_fini(&completion->arena);
  *completion = (struct completion){0};
}
