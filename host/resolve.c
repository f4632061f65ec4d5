#include "resolve.h"

#include "report.h"
#include "slot.h"

#include <ctype.h>
#include <etk/config.h>
#include <etk/fs.h>
#include <unistd.h>

extern char **environ;

#define SECRET_LIMIT (64u << 10)

static etk_status no_memory(etk_error *e) { return etk_fail(e, ETK_E_NO_MEMORY, "out of memory while reading the options"); }

uint32_t argument_kind(const struct manifest_argument *argument) {
  return argument->need == ETK_NEED_VARIADIC ? value_list_kind(argument->kind) : argument->kind;
}

/* ---- slots ---- */

etk_status slot_give(etk_error *e, struct resolver *r, struct slot *slot, const char *text, const char *origin, const char *what, bool split) {
  if (slot->count == slot->capacity) {
    size_t capacity = slot->capacity ? slot->capacity * 2 : 4;
    const char **texts = etk_arena_array(&r->host->arena, capacity, sizeof *texts);
    if (!texts) return no_memory(e);
    if (slot->count) memcpy(texts, slot->texts, slot->count * sizeof *texts);
    slot->texts = texts, slot->capacity = capacity;
  }
  slot->texts[slot->count++] = text;
  slot->origin = origin, slot->what = what, slot->split = split;
  return ETK_OK;
}

/* A secret is read here, so that nothing else ever holds it: from a file, or as it stands in the environment. */
static etk_status read_secret(etk_error *e, struct resolver *r, struct slot *slot, int source) {
  const char *text = slot->texts[slot->count - 1];
  if (*text != '@') {
    if (source == ETK_FROM_ENVIRONMENT || source == ETK_FROM_DEFAULT) return ETK_OK;
    return etk_fail(
        e, ETK_E_USAGE,
        "%s is a secret and may not be written there, where others can read it: put it in a file and give %s=@FILE, or in the environment",
        slot->what, slot->what);
  }
  char *bytes = NULL;
  size_t size = 0;
  etk_status status = etk_fs_read(e, &bytes, &size, text + 1, SECRET_LIMIT);
  if (status) return etk_error_while(e, status, "%s", slot->what);
  while (size && (bytes[size - 1] == '\n' || bytes[size - 1] == '\r')) size--;
  slot->texts[slot->count - 1] = etk_arena_strndup(&r->host->arena, bytes, size);
  etk_free(bytes);
  return slot->texts[slot->count - 1] ? ETK_OK : no_memory(e);
}

/* Parses what one source gave; every source is checked, the last one stays. */
static etk_status settle(etk_error *e, struct resolver *r, int source) {
  for (size_t i = 0; i < r->count; i++) {
    struct slot *slot = &r->slots[i];
    if (!slot->count) continue;
    uint32_t kind = slot->argument ? slot->argument->kind : slot->option->kind;
    const char *limits = slot->argument ? slot->argument->limits : slot->option->limits;
    etk_status status = ETK_OK;
    struct value value = {0};
    if (kind == ETK_KIND_secret) status = read_secret(e, r, slot, source);
    if (!status && slot->argument && slot->argument->need == ETK_NEED_VARIADIC)
      status = value_parse_many(e, &value, &r->host->arena, kind, limits, slot->texts, slot->count, slot->what);
    else if (!status) status = value_parse_all(e, &value, &r->host->arena, kind, limits, slot->texts, slot->count, slot->split, slot->what);
    if (status) return status;
    value.source = source;
    value.origin = source == ETK_FROM_DEFAULT ? NULL : slot->origin;
    *slot->value = value;
    slot->count = 0;
  }
  return ETK_OK;
}

static struct slot *slot_of(struct resolver *r, const struct manifest_option *option) {
  for (size_t i = r->argument_count; i < r->count; i++)
    if (r->slots[i].option == option) return &r->slots[i];
  return NULL;
}

/* ---- configuration keys ---- */

/* The option that "group.key" names: of this command where it has one, else of another command of the project (found, but without a slot). */
static const struct manifest_option *find_key(const struct resolver *r, const char *key) {
  const struct manifest_option *other = NULL;
  for (size_t c = 0; c < r->manifest->command_count; c++)
    for (size_t i = 0; i < r->manifest->commands[c].option_count; i++) {
      const struct manifest_option *option = &r->manifest->commands[c].options[i];
      size_t group = strlen(option->group), at = group ? group + 1 : 0, size = strlen(key);
      if (size <= at || (group && key[group] != '.')) continue;
      char head[256];
      snprintf(head, sizeof head, "%.*s", (int)group, key);
      if ((group && !etk_text_equal_name(head, option->group)) || !option_answers_to(option, key + at, size - at)) continue;
      if (&r->manifest->commands[c] == r->command) return option;
      if (!other) other = option;
    }
  return other;
}

/* Whether the path is a group or the beginning of one ("a" of "a.b"). */
static bool is_group(const struct resolver *r, const char *path) {
  size_t size = strlen(path);
  for (size_t c = 0; c < r->manifest->command_count; c++)
    for (size_t i = 0; i < r->manifest->commands[c].option_count; i++) {
      const char *group = r->manifest->commands[c].options[i].group;
      char head[256];
      if (strlen(group) < size || !size || (group[size] && group[size] != '.')) continue;
      snprintf(head, sizeof head, "%.*s", (int)size, group);
      if (etk_text_equal_name(head, path)) return true;
    }
  return false;
}

/* The known key nearest to `key`: the same last part in another group, or by spelling. In `out`; NULL: none. */
static const char *near_key(const struct resolver *r, const char *key, char *out, size_t out_size) {
  enum { MOST = 256 };
  char (*keys)[160] = etk_calloc(MOST, sizeof *keys);
  const char **pointers = etk_calloc(MOST, sizeof *pointers);
  const char *found = NULL, *last = strrchr(key, '.');
  size_t count = 0;
  for (size_t c = 0; keys && pointers && c < r->manifest->command_count; c++)
    for (size_t i = 0; i < r->manifest->commands[c].option_count && count < MOST; i++) {
      const struct manifest_option *option = &r->manifest->commands[c].options[i];
      if (option->flags & (ETK_HIDDEN | ETK_LOCAL)) continue;
      snprintf(keys[count], sizeof *keys, "%s%s%s", option->group, *option->group ? "." : "", option->name);
      pointers[count] = keys[count];
      if (!found && option_answers_to(option, last ? last + 1 : key, strlen(last ? last + 1 : key))) found = keys[count];
      count++;
    }
  const char *spelled = keys && pointers ? etk_text_suggest(key, pointers, count) : NULL;
  if (!found) found = spelled;
  if (found) snprintf(out, out_size, "%s", found);
  etk_free(keys);
  etk_free(pointers);
  return found ? out : NULL;
}

static etk_status local_only(etk_error *e, const struct manifest_option *option, const char *what) {
  char shown[64];
  return etk_fail(e, ETK_E_USAGE, "%s: this option is given on the command line only, as --%s", what, shown_name(shown, sizeof shown, option->name));
}

/* ---- configuration files ---- */

struct file {
  const char *name;
  bool section; /* reading the part under the namespace's own key */
};

static const char *const node_nouns[] = {"null", "true or false", "a whole number", "a number", "a text", "a list", "a map"};

static etk_status give_node(etk_error *e, struct resolver *r, struct slot *slot, const etk_config_node *node, const char *origin, const char *what) {
  uint32_t kind = slot->option->kind;
  bool list = kind == ETK_KIND_ints || kind == ETK_KIND_reals || kind == ETK_KIND_texts;
  if (node->kind == ETK_CONFIG_NULL) return ETK_OK; /* as if it were not there */
  if (node->kind == ETK_CONFIG_LIST ? !list : node->kind == ETK_CONFIG_MAP ? kind != ETK_KIND_map : kind == ETK_KIND_map)
    return etk_fail(e, ETK_E_USAGE, "%s: %s, where a value of kind %s is wanted", what, node_nouns[node->kind], kind_name(kind));
  bool items = node->kind == ETK_CONFIG_LIST || node->kind == ETK_CONFIG_MAP;
  if (items && !node->count && list) return slot_give(e, r, slot, "", origin, what, true);
  for (const etk_config_node *item = items ? node->first : node; item; item = items ? item->next : NULL) {
    if (item->kind == ETK_CONFIG_NULL || item->kind == ETK_CONFIG_LIST || item->kind == ETK_CONFIG_MAP)
      return etk_fail(e, ETK_E_USAGE, "%s: an item is %s, where a plain value is wanted", what, node_nouns[item->kind]);
    if (strlen(item->text) != item->text_size) return etk_fail(e, ETK_E_USAGE, "%s: the text holds a NUL byte", what);
    const char *text = node->kind == ETK_CONFIG_MAP ? etk_arena_printf(&r->host->arena, "%s=%s", item->key, item->text)
                                                    : etk_arena_strdup(&r->host->arena, item->text);
    if (!text) return no_memory(e);
    etk_status status = slot_give(e, r, slot, text, origin, what, !items);
    if (status) return status;
  }
  return ETK_OK;
}

/* A section of another project, here or on another machine where this file is used too. */
static bool is_other_namespace(struct resolver *r, const etk_config_node *node) {
  struct plugin plugin;
  if (node->kind != ETK_CONFIG_MAP && node->kind != ETK_CONFIG_NULL) return false;
  if (!legal_namespace(node->key)) return false;
  if (strchr(node->key, '-')) return true;
  return !discover_exact(NULL, &plugin, &r->host->arena, &r->host->path, node->key);
}

static etk_status read_map(etk_error *e, struct resolver *r, const struct file *file, const etk_config_node *map, const char *prefix, int depth) {
  for (const etk_config_node *node = map->first; node; node = node->next) {
    const char *key = etk_arena_printf(&r->host->arena, "%s%s%s", prefix, *prefix ? "." : "", node->key);
    const char *origin = etk_arena_printf(&r->host->arena, "%s:%d:%d", file->name, node->key_line, node->key_column);
    const char *what = etk_arena_printf(&r->host->arena, "%s:%d:%d: %s", file->name, node->key_line, node->key_column, key ? key : "");
    if (!key || !origin || !what) return no_memory(e);
    bool own = !depth && etk_text_equal_name(node->key, r->manifest->name_space);
    if (own && !file->section) continue; /* read after the rest, since it is the more exact address */
    bool group = is_group(r, key);
    const struct manifest_option *option = group && node->kind == ETK_CONFIG_MAP ? NULL : find_key(r, key);
    etk_status status = ETK_OK;
    if (option) {
      struct slot *slot = slot_of(r, option);
      if (option->flags & ETK_LOCAL) return local_only(e, option, what);
      if (slot) status = give_node(e, r, slot, node, origin, what);
    } else if (group) {
      if (node->kind == ETK_CONFIG_NULL) continue;
      if (node->kind != ETK_CONFIG_MAP)
        return etk_fail(e, ETK_E_USAGE, "%s: this is a group of options and wants a map, not %s", what, node_nouns[node->kind]);
      status = read_map(e, r, file, node, key, depth + 1);
    } else if (!depth && !file->section && is_other_namespace(r, node)) {
      continue;
    } else {
      char near[160];
      const char *suggestion = near_key(r, key, near, sizeof near);
      return etk_fail(e, ETK_E_USAGE, "%s:%d:%d: no command of %s knows the key '%s'%s%s%s", file->name, node->key_line, node->key_column,
                      r->manifest->name_space, key, suggestion ? "; did you mean '" : "", suggestion ? suggestion : "", suggestion ? "'?" : "");
    }
    if (status) return status;
  }
  return ETK_OK;
}

static etk_status read_file(etk_error *e, struct resolver *r, const char *path, int source) {
  etk_config *config = NULL;
  etk_status status = etk_config_load(e, &config, path);
  if (status) return status;
  const etk_config_node *root = etk_config_root(config);
  struct file file = {path, false};
  if (root->kind == ETK_CONFIG_NULL) {
    etk_config_free(config);
    return ETK_OK;
  }
  if (root->kind != ETK_CONFIG_MAP) {
    status = etk_fail(e, ETK_E_USAGE, "%s: the file holds %s, where a map of options is wanted", path, node_nouns[root->kind]);
    etk_config_free(config);
    return status;
  }
  status = read_map(e, r, &file, root, "", 0);
  if (!status) status = settle(e, r, source);
  for (const etk_config_node *node = root->first; !status && node; node = node->next) {
    if (!etk_text_equal_name(node->key, r->manifest->name_space) || node->kind == ETK_CONFIG_NULL) continue;
    file.section = true;
    if (node->kind != ETK_CONFIG_MAP)
      status = etk_fail(e, ETK_E_USAGE, "%s:%d:%d: the section %s wants a map, not %s", path, node->key_line, node->key_column, node->key,
                        node_nouns[node->kind]);
    else status = read_map(e, r, &file, node, "", 0);
    if (!status) status = settle(e, r, source);
  }
  etk_config_free(config);
  return status;
}

/* ---- profiles ---- */

/* The user's profiles, then those of the install, which lie beside its plugins. */
static etk_status profile_dirs(etk_error *e, struct resolver *r, const char *dirs[2], size_t *count) {
  *count = 0;
  char *config = etk_path_xdg("config");
  if (config) {
    dirs[*count] = etk_arena_printf(&r->host->arena, "%s/efficientai-toolkit/profiles", config);
    etk_free(config);
    if (!dirs[(*count)++]) return no_memory(e);
  }
  for (size_t i = 0; i < r->host->path.count; i++) {
    if (strcmp(r->host->path.origins[i], "install")) continue;
    dirs[*count] = etk_arena_printf(&r->host->arena, "%s/../../../share/efficientai-toolkit/profiles", r->host->path.dirs[i]);
    if (!dirs[(*count)++]) return no_memory(e);
    break;
  }
  return ETK_OK;
}

static etk_status unknown_profile(etk_error *e, const char *name, const char *const *dirs, size_t count) {
  const char *known[64];
  char **lists[2] = {0};
  size_t sizes[2] = {0}, used = 0;
  for (size_t i = 0; i < count; i++) {
    if (etk_fs_list(NULL, &lists[i], &sizes[i], dirs[i])) continue;
    for (size_t k = 0; k < sizes[i] && used < 64; k++) {
      char *dot = strrchr(lists[i][k], '.');
      if (!dot || strcmp(dot, ".yaml")) continue;
      *dot = 0;
      size_t at = 0;
      while (at < used && strcmp(known[at], lists[i][k])) at++;
      if (at == used) known[used++] = lists[i][k];
    }
  }
  const char *near = etk_text_suggest(name, known, used);
  etk_text list = ETK_TEXT_INIT;
  for (size_t i = 0; i < used; i++) etk_text_printf(&list, "%s%s", i ? ", " : "", known[i]);
  etk_fail(e, ETK_E_USAGE, "there is no profile '%s'%s%s%s; profiles here: %s (looked in %s%s%s)", name, near ? "; did you mean '" : "",
           near ? near : "", near ? "'?" : "", list.data && !list.failed ? list.data : "none", count ? dirs[0] : "no folder",
           count > 1 ? " and " : "", count > 1 ? dirs[1] : "");
  etk_text_free(&list);
  for (size_t i = 0; i < count; i++)
    if (lists[i]) etk_fs_list_free(lists[i], sizes[i]);
  return ETK_E_USAGE;
}

static etk_status read_profile(etk_error *e, struct resolver *r) {
  const char *name = r->host->profile, *dirs[2];
  size_t count;
  if (!name) return ETK_OK;
  if (!*name || strchr(name, '/') || *name == '.')
    return etk_fail(e, ETK_E_USAGE, "--profile: '%s' is not the name of a profile; use --config for a path", name);
  etk_status status = profile_dirs(e, r, dirs, &count);
  if (status) return status;
  for (size_t i = 0; i < count; i++) {
    const char *path = etk_arena_printf(&r->host->arena, "%s/%s.yaml", dirs[i], name);
    if (!path) return no_memory(e);
    if (etk_fs_exists(path)) return read_file(e, r, path, ETK_FROM_PROFILE);
  }
  return unknown_profile(e, name, dirs, count);
}

/* ---- environment ---- */

/* "TRAINING__BATCH_SIZE" becomes "training.batch_size". */
static void key_of_variable(char *out, size_t out_size, const char *text, size_t size) {
  size_t n = 0;
  for (size_t i = 0; i < size && n + 1 < out_size; i++) {
    if (text[i] == '_' && i + 2 < size && text[i + 1] == '_') out[n++] = '.', i++;
    else out[n++] = (char)tolower((unsigned char)text[i]);
  }
  out[n] = 0;
}

/* What stands after "EFFICIENTAI__"; addressed: the namespace stood before it. Returns the key in `key`, false where the entry is not for us. */
static bool variable_key(const struct resolver *r, const char *entry, char *key, size_t key_size, bool *addressed) {
  if (strncmp(entry, "EFFICIENTAI__", 13)) return false;
  size_t size = strcspn(entry, "=") - 13, name = strlen(r->manifest->name_space);
  const char *rest = entry + 13;
  *addressed = size > name + 2 && rest[name] == '_' && rest[name + 1] == '_';
  for (size_t i = 0; *addressed && i < name; i++) {
    char c = r->manifest->name_space[i];
    if (rest[i] != (c == '-' ? '_' : (char)toupper((unsigned char)c))) *addressed = false;
  }
  if (*addressed) rest += name + 2, size -= name + 2;
  key_of_variable(key, key_size, rest, size);
  return true;
}

static etk_status read_variable(etk_error *e, struct resolver *r, const char *entry, const char *key, bool addressed) {
  const char *value = entry + strcspn(entry, "=");
  const char *name = etk_arena_strndup(&r->host->arena, entry, (size_t)(value - entry));
  if (!name) return no_memory(e);
  const struct manifest_option *option = find_key(r, key);
  if (option) {
    struct slot *slot = slot_of(r, option);
    if (option->flags & ETK_LOCAL) return local_only(e, option, name);
    return slot ? slot_give(e, r, slot, *value ? value + 1 : "", name, name, true) : ETK_OK;
  }
  char group[160], near[160];
  const char *dot = strrchr(key, '.');
  snprintf(group, sizeof group, "%.*s", dot ? (int)(dot - key) : 0, key);
  if (!addressed && !is_group(r, group)) return ETK_OK; /* another project's */
  const char *suggestion = near_key(r, key, near, sizeof near);
  if (addressed)
    return etk_fail(e, ETK_E_USAGE, "%s: no command of %s knows the key '%s'%s%s%s", name, r->manifest->name_space, key,
                    suggestion ? "; did you mean '" : "", suggestion ? suggestion : "", suggestion ? "'?" : "");
  if (suggestion) host_warn(r->host, "%s: %s does not know the key '%s'; did you mean '%s'?", name, r->manifest->name_space, key, suggestion);
  return ETK_OK;
}

/* Variables with the namespace in their name win over those without. */
static etk_status read_environment(etk_error *e, struct resolver *r) {
  for (int pass = 0; pass < 2; pass++) {
    for (char **entry = environ; entry && *entry; entry++) {
      char key[256];
      bool addressed;
      if (!variable_key(r, *entry, key, sizeof key, &addressed) || addressed != (pass == 1)) continue;
      etk_status status = read_variable(e, r, *entry, key, addressed);
      if (status) return status;
    }
    etk_status status = settle(e, r, ETK_FROM_ENVIRONMENT);
    if (status) return status;
  }
  return ETK_OK;
}

/* ---- --set ---- */

static etk_status read_set(etk_error *e, struct resolver *r, const char *text) {
  const char *equals = strchr(text, '=');
  if (!equals || equals == text) return etk_fail(e, ETK_E_USAGE, "--set: '%s' is not GROUP.KEY=VALUE", text);
  const char *key = etk_arena_strndup(&r->host->arena, text, (size_t)(equals - text));
  if (!key) return no_memory(e);
  const char *dot = strchr(key, '.');
  if (dot && (size_t)(dot - key) == strlen(r->manifest->name_space) && !strncmp(key, r->manifest->name_space, (size_t)(dot - key))) key = dot + 1;
  const char *what = etk_arena_printf(&r->host->arena, "--set %s", key);
  if (!what) return no_memory(e);
  const struct manifest_option *option = find_key(r, key);
  if (!option) {
    char near[160];
    const char *suggestion = near_key(r, key, near, sizeof near);
    return etk_fail(e, ETK_E_USAGE, "--set: no command of %s knows the key '%s'%s%s%s", r->manifest->name_space, key,
                    suggestion ? "; did you mean '" : "", suggestion ? suggestion : "", suggestion ? "'?" : "");
  }
  if (option->flags & ETK_LOCAL) return local_only(e, option, what);
  struct slot *slot = slot_of(r, option);
  char shown[64];
  if (!slot) return etk_fail(e, ETK_E_USAGE, "%s: %s:%s has no such option, only other commands do", what, r->manifest->name_space,
                             shown_name(shown, sizeof shown, r->command->name));
  return slot_give(e, r, slot, equals + 1, what, what, true);
}

/* ---- all together ---- */

static etk_status read_defaults(etk_error *e, struct resolver *r) {
  for (size_t i = r->argument_count; i < r->count; i++) {
    struct slot *slot = &r->slots[i];
    if (!strcmp(slot->option->default_text, "-")) continue;
    char shown[64];
    const char *what = etk_arena_printf(&r->host->arena, "the default of --%s", shown_name(shown, sizeof shown, slot->option->name));
    if (!what) return no_memory(e);
    etk_status status = slot_give(e, r, slot, slot->option->default_text, NULL, what, true);
    if (status) return status;
  }
  return settle(e, r, ETK_FROM_DEFAULT);
}

static etk_status check_needs(etk_error *e, struct resolver *r) {
  char command[160];
  for (size_t i = 0; i < r->argument_count; i++) {
    const struct manifest_argument *argument = r->slots[i].argument;
    if (argument->need == ETK_NEED_REQUIRED && r->slots[i].value->source == ETK_FROM_UNSET)
      return etk_fail(e, ETK_E_USAGE, "%s needs %s: %s", command_title(command, sizeof command, r->manifest, r->command),
                      argument->name, argument->help);
  }
  for (size_t i = 0; i < r->count; i++) {
    const struct slot *slot = &r->slots[i];
    uint32_t kind = slot->argument ? slot->argument->kind : slot->option->kind;
    const char *limits = slot->argument ? slot->argument->limits : slot->option->limits;
    if (slot->value->source <= ETK_FROM_DEFAULT || kind != ETK_KIND_path) continue;
    const char *what = slot->what ? slot->what : "";
    etk_status status = ETK_OK;
    if (slot->argument && slot->argument->need == ETK_NEED_VARIADIC) {
      for (size_t k = 0; !status && k < slot->value->texts.count; k++) {
        struct value one = {.text = slot->value->texts.items[k]};
        status = value_check_files(e, kind, limits, &one, what);
      }
    } else status = value_check_files(e, kind, limits, slot->value, what);
    if (status) return status;
  }
  return ETK_OK;
}

static etk_status start(etk_error *e, struct resolver *r, struct resolved *out) {
  const struct manifest_command *command = r->command;
  r->argument_count = command->argument_count;
  r->count = command->argument_count + command->option_count;
  r->slots = etk_arena_array(&r->host->arena, r->count + 1, sizeof *r->slots);
  out->arguments = etk_arena_array(&r->host->arena, command->argument_count + 1, sizeof *out->arguments);
  out->options = etk_arena_array(&r->host->arena, command->option_count + 1, sizeof *out->options);
  if (!r->slots || !out->arguments || !out->options) return no_memory(e);
  for (size_t i = 0; i < r->argument_count; i++) r->slots[i] = (struct slot){.argument = &command->arguments[i], .value = &out->arguments[i]};
  for (size_t i = 0; i < command->option_count; i++)
    r->slots[r->argument_count + i] = (struct slot){.option = &command->options[i], .value = &out->options[i]};
  return ETK_OK;
}

etk_status resolve(etk_error *e, struct resolved *out, struct host *host, const struct manifest *manifest, const struct manifest_command *command,
                   int count, char **words) {
  struct resolver r = {.host = host, .manifest = manifest, .command = command};
  *out = (struct resolved){.manifest = manifest, .command = command};
  etk_status status = start(e, &r, out);
  if (!status) status = read_defaults(e, &r);
  if (!status && !manifest->builtin) status = read_profile(e, &r);
  if (!status && host->config) status = read_file(e, &r, host->config, ETK_FROM_CONFIG);
  if (!status && !manifest->builtin) status = read_environment(e, &r);
  for (size_t i = 0; !status && i < host->set_count; i++) status = read_set(e, &r, host->sets[i]);
  if (!status) status = settle(e, &r, ETK_FROM_SET);
  if (!status) status = words_read(e, &r, count, words);
  if (!status) status = settle(e, &r, ETK_FROM_COMMAND_LINE);
  return status ? status : check_needs(e, &r);
}

int resolved_source(const struct resolved *resolved, const char *name) {
  const struct manifest_command *command = resolved->command;
  for (size_t i = 0; i < command->argument_count; i++)
    if (etk_text_equal_name(command->arguments[i].name, name)) return resolved->arguments[i].source;
  for (size_t i = 0; i < command->option_count; i++)
    if (etk_text_equal_name(command->options[i].name, name)) return resolved->options[i].source;
  return ETK_FROM_UNSET;
}
