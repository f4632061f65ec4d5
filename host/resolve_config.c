/* resolve_config.c: configuration files and profiles: which there are, and what their keys mean for one command. */
#include "report.h"
#include "slot.h"

#include <etk/config.h>
#include <etk/fs.h>

static etk_status no_memory(etk_error *e) { return etk_fail(e, ETK_E_NO_MEMORY, "out of memory while reading the options"); }

/* ---- keys ---- */

const struct manifest_option *key_find(const struct resolver *r, const char *key) {
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

bool key_is_group(const struct resolver *r, const char *path) {
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

const char *key_near(const struct resolver *r, const char *key, char *out, size_t out_size) {
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
  return found ? out : group_near(r, key, out, out_size);
}

const char *group_near(const struct resolver *r, const char *path, char *out, size_t out_size) {
  enum { MOST = 64 };
  const char *groups[MOST], *found;
  char heads[MOST][96];
  size_t count = 0, parts = 1;
  for (const char *p = path; *p; p++) parts += *p == '.';
  for (size_t c = 0; c < r->manifest->command_count; c++)
    for (size_t i = 0; i < r->manifest->commands[c].option_count && count < MOST; i++) {
      const struct manifest_option *option = &r->manifest->commands[c].options[i];
      size_t size = 0, known = 0;
      if (!*option->group || option->flags & (ETK_HIDDEN | ETK_LOCAL)) continue;
      for (size_t part = 0; part < parts && option->group[size]; part++) size += (part > 0) + strcspn(option->group + size + (part > 0), ".");
      snprintf(heads[count], sizeof heads[count], "%.*s", (int)size, option->group);
      while (known < count && strcmp(heads[known], heads[count])) known++;
      if (known == count) groups[count] = heads[count], count++;
    }
  found = etk_text_suggest(path, groups, count);
  if (found) snprintf(out, out_size, "%s", found);
  return found ? out : NULL;
}

etk_status group_is_no_key(etk_error *e, const struct resolver *r, const char *path, const char *what) {
  enum { SHOWN = 12, MOST = 256 };
  const struct manifest_option *told[MOST];
  size_t count = 0, size = strlen(path);
  etk_text keys = ETK_TEXT_INIT;
  for (size_t c = 0; c < r->manifest->command_count; c++)
    for (size_t i = 0; i < r->manifest->commands[c].option_count && count < MOST; i++) {
      const struct manifest_option *option = &r->manifest->commands[c].options[i];
      char head[256];
      size_t known = 0;
      if (strlen(option->group) < size || (option->group[size] && option->group[size] != '.') || option->flags & (ETK_HIDDEN | ETK_LOCAL)) continue;
      snprintf(head, sizeof head, "%.*s", (int)size, option->group);
      if (!etk_text_equal_name(head, path)) continue;
      while (known < count && (strcmp(told[known]->group, option->group) || strcmp(told[known]->name, option->name))) known++;
      if (known < count) continue;
      told[count++] = option;
      if (count <= SHOWN) etk_text_printf(&keys, "%s%s.%s", count > 1 ? ", " : "", option->group, option->name);
    }
  if (count > SHOWN) etk_text_printf(&keys, " and %zu more", count - SHOWN);
  etk_status status = keys.failed ? no_memory(e)
                                  : etk_fail(e, ETK_E_USAGE, "%s: this is a group of options and no option; its keys: %s", what, keys.size ? keys.data : "none for files");
  etk_text_free(&keys);
  return status;
}

etk_status key_local(etk_error *e, const struct manifest_option *option, const char *what) {
  char shown[64];
  return etk_fail(e, ETK_E_USAGE, "%s: this option is given on the command line only, as --%s", what, shown_name(shown, sizeof shown, option->name));
}

void key_of_others(const struct resolver *r, const struct manifest_option *option, const char *what) {
  if (!r->host->verbose && !r->host->dry_run) return;
  etk_text names = ETK_TEXT_INIT;
  char shown[64];
  for (size_t c = 0; c < r->manifest->command_count; c++)
    for (size_t i = 0; i < r->manifest->commands[c].option_count; i++) {
      const struct manifest_option *other = &r->manifest->commands[c].options[i];
      if (strcmp(other->group, option->group) || strcmp(other->name, option->name)) continue;
      etk_text_printf(&names, "%s%s", names.size ? ", " : "", shown_name(shown, sizeof shown, r->manifest->commands[c].name));
    }
  host_note(r->host, "%s: not used here, since only %s of %s has this option", what, names.failed || !names.data ? "another command" : names.data,
            r->manifest->name_space);
  etk_text_free(&names);
}

/* ---- flat files ---- */

/* Files of mlx-lm and the like have their keys at the top level, whatever our groups are: there a name or longer alias that only one option has is enough.
 * *out: the option, of this command where it has one, else of another; NULL: none. */
static etk_status find_flat(etk_error *e, const struct manifest_option **out, const struct resolver *r, const char *key, const char *what) {
  *out = NULL;
  for (int own = 1; own >= 0 && !*out; own--)
    for (size_t c = 0; c < r->manifest->command_count; c++) {
      const struct manifest_command *command = &r->manifest->commands[c];
      if ((command == r->command) != (own == 1) || strlen(key) < 2) continue;
      for (size_t i = 0; i < command->option_count; i++) {
        const struct manifest_option *option = &command->options[i];
        if (!option_answers_to(option, key, strlen(key))) continue;
        if (own && *out)
          return etk_fail(e, ETK_E_USAGE, "%s: both %s.%s and %s.%s answer to this key; write it in its group", what, (*out)->group, (*out)->name, option->group,
                          option->name);
        if (!*out) *out = option;
      }
    }
  return ETK_OK;
}

/* "train: true" at the top level, as mlx-lm writes what is to be done: the command line says that here, so the two have to agree. */
static bool names_command(const struct resolver *r, const etk_config_node *node) {
  return node->kind == ETK_CONFIG_FLAG && manifest_command(r->manifest, node->key) != NULL;
}

static etk_status agree_on_command(etk_error *e, const struct resolver *r, const etk_config_node *node, const char *what) {
  bool called = manifest_command(r->manifest, node->key) == r->command;
  if (called && !node->flag) return etk_fail(e, ETK_E_USAGE, "%s: the file says false, and %s is the command that was called", what, node->key);
  if (!called && node->flag && (r->host->verbose || r->host->dry_run))
    host_note(r->host, "%s: not used here: the command line says which command is called", what);
  return ETK_OK;
}

/* "lora_parameters: {rank: 8}", as mlx-lm names a section, is the group "lora"; in `out`. */
static bool parameters_of(const struct resolver *r, const char *key, char *out, size_t out_size) {
  static const char end[] = "_parameters";
  size_t size = strlen(key), most = sizeof end - 1;
  if (size <= most || size - most >= out_size || !etk_text_equal_name(key + size - most, end)) return false;
  snprintf(out, out_size, "%.*s", (int)(size - most), key);
  return key_is_group(r, out);
}

/* ---- one file ---- */

struct file {
  const char *name;
  bool section; /* reading the part under the namespace's own key */
  int source;   /* ETK_FROM_… */
};

static const char *const node_nouns[] = {[ETK_CONFIG_NULL] = "null", [ETK_CONFIG_FLAG] = "true or false", [ETK_CONFIG_INT] = "a whole number",
                                         [ETK_CONFIG_REAL] = "a number", [ETK_CONFIG_TEXT] = "a text", [ETK_CONFIG_LIST] = "a list",
                                         [ETK_CONFIG_MAP] = "a map", [ETK_CONFIG_TIME] = "a time"};

/* The section of a project is the more exact address, so it wins over the same key outside it: said where somebody looks. */
static void say_section_wins(const struct resolver *r, const struct file *file, const struct slot *slot, const char *what) {
  const char *before = slot->value->source == file->source ? slot->value->origin : NULL;
  size_t size = strlen(file->name);
  if (!file->section || !before || strncmp(before, file->name, size) || before[size] != ':' || !(r->host->verbose || r->host->dry_run)) return;
  host_note(r->host, "%s: wins over %s, since it stands in the section of %s", what, before, r->manifest->name_space);
}

static etk_status give_node(etk_error *e, struct resolver *r, struct slot *slot, const etk_config_node *node, const char *origin, const char *what) {
  const char *const *texts;
  size_t count;
  bool split;
  if (node->kind == ETK_CONFIG_NULL) return ETK_OK; /* as if it were not there */
  if (slot->count) {
    const char *group = slot->option->group;
    return etk_fail(e, ETK_E_USAGE, "%s: this is '%s%s%s', which %s gives too; give it once", what, group, *group ? "." : "", slot->option->name, slot->origin);
  }
  etk_status status = etk_value_texts(e, &texts, &count, &split, &r->host->arena, slot->option->kind, node, what);
  if (!status && !count) return slot_give(e, r, slot, "", origin, what, true); /* the empty list or map */
  for (size_t i = 0; !status && i < count; i++) status = slot_give(e, r, slot, texts[i], origin, what, split);
  return status;
}

static bool installed(struct resolver *r, const char *name) {
  struct plugin plugin;
  return legal_namespace(name) && !discover_exact(NULL, &plugin, &r->host->arena, &r->host->path, name);
}

/* The section of another project that is installed here. */
static bool is_other_namespace(struct resolver *r, const etk_config_node *node) {
  char name[80];
  return (node->kind == ETK_CONFIG_MAP || node->kind == ETK_CONFIG_NULL) && installed(r, shown_name(name, sizeof name, node->key));
}

/* What a map that nobody knows was meant to be: a group, or at the top level a project; in `out`. */
static const char *map_near(struct resolver *r, const char *key, int depth, char *out, size_t out_size) {
  char group[160];
  struct plugin_list list = {0};
  const char *found = group_near(r, key, group, sizeof group);
  if (!depth && !discover_all(NULL, &list, &r->host->path)) {
    const char **names = etk_arena_array(&r->host->arena, list.count + 2, sizeof *names);
    size_t count = 0;
    if (names && found) names[count++] = found;
    if (names) names[count++] = r->manifest->name_space;
    for (size_t i = 0; names && i < list.count; i++) names[count++] = list.items[i].name_space;
    if (names) found = etk_text_suggest(key, names, count);
  }
  if (found) snprintf(out, out_size, "%s", found);
  plugin_list_free(&list);
  return found ? out : NULL;
}

static etk_status unknown_key(etk_error *e, struct resolver *r, const struct file *file, const etk_config_node *node, const char *key, int depth) {
  char near[160];
  const char *suggestion = node->kind == ETK_CONFIG_MAP ? map_near(r, key, depth, near, sizeof near) : NULL;
  if (!suggestion) suggestion = key_near(r, key, near, sizeof near);
  bool foreign = !suggestion && !depth && node->kind == ETK_CONFIG_MAP && strchr(node->key, '-');
  etk_fail(e, ETK_E_USAGE, "%s:%d:%d: no command of %s knows the key '%s'%s%s%s%s", file->name, node->key_line, node->key_column,
           r->manifest->name_space, key, suggestion ? "; did you mean '" : ", so it cannot be honoured", suggestion ? suggestion : "", suggestion ? "'?" : "",
           foreign ? "; nor is there a project of that name here" : "");
  return ETK_E_USAGE;
}

static etk_status read_map(etk_error *e, struct resolver *r, const struct file *file, const etk_config_node *map, const char *prefix, int depth);

static etk_status read_key(etk_error *e, struct resolver *r, const struct file *file, const etk_config_node *node, const char *key, int depth) {
  char part[64];
  const char *origin = etk_arena_printf(&r->host->arena, "%s:%d:%d", file->name, node->key_line, node->key_column);
  const char *what = etk_arena_printf(&r->host->arena, "%s:%d:%d: %s", file->name, node->key_line, node->key_column, key);
  if (!origin || !what) return no_memory(e);
  bool group = key_is_group(r, key);
  const struct manifest_option *option = group && node->kind == ETK_CONFIG_MAP ? NULL : key_find(r, key);
  if (!option && !group && !depth) {
    etk_status status = find_flat(e, &option, r, key, what);
    if (status) return status;
  }
  if (option) {
    struct slot *slot = slot_of(r, option);
    if (option->flags & ETK_LOCAL) return key_local(e, option, what);
    if (slot && node->kind != ETK_CONFIG_NULL) say_section_wins(r, file, slot, what);
    if (slot) return give_node(e, r, slot, node, origin, what);
    key_of_others(r, option, what);
    return ETK_OK;
  }
  if (group && node->kind == ETK_CONFIG_NULL) return ETK_OK;
  if (group && node->kind != ETK_CONFIG_MAP)
    return etk_fail(e, ETK_E_USAGE, "%s: this is a group of options and wants a map, not %s", what, node_nouns[node->kind]);
  if (group) return read_map(e, r, file, node, key, depth + 1);
  if (!depth && node->kind == ETK_CONFIG_MAP && parameters_of(r, key, part, sizeof part)) return read_map(e, r, file, node, part, depth + 1);
  if (!depth && names_command(r, node)) return agree_on_command(e, r, node, what);
  if (!depth && !file->section && is_other_namespace(r, node)) return ETK_OK;
  return unknown_key(e, r, file, node, key, depth);
}

static etk_status read_map(etk_error *e, struct resolver *r, const struct file *file, const etk_config_node *map, const char *prefix, int depth) {
  etk_status status = ETK_OK;
  for (const etk_config_node *node = map->first; !status && node; node = node->next) {
    if (!depth && !file->section && etk_text_equal_name(node->key, r->manifest->name_space)) continue; /* read after the rest: the more exact address */
    if (!depth && !file->section && !strcmp(node->key, "profiles")) continue;
    const char *key = etk_arena_printf(&r->host->arena, "%s%s%s", prefix, *prefix ? "." : "", node->key);
    status = key ? read_key(e, r, file, node, key, depth) : no_memory(e);
  }
  return status;
}

etk_status config_read_key(etk_error *e, struct resolver *r, const char *name, bool section, const etk_config_node *node) {
  struct file file = {name, section, ETK_FROM_CONFIG};
  etk_status status = read_key(e, r, &file, node, node->key, 0);
  return status ? status : settle(e, r, ETK_FROM_CONFIG);
}

etk_status config_map(etk_error *e, const etk_config_node **out, const char *name, const etk_config_node *node) {
  *out = node->kind == ETK_CONFIG_MAP ? node : NULL;
  if (*out || node->kind == ETK_CONFIG_NULL) return ETK_OK;
  if (!node->key) return etk_fail(e, ETK_E_USAGE, "%s: %s, where a map of options is wanted", name, node_nouns[node->kind]);
  return etk_fail(e, ETK_E_USAGE, "%s:%d:%d: the section %s wants a map, not %s", name, node->key_line, node->key_column, node->key, node_nouns[node->kind]);
}

/* A whole file or one of its profiles: groups first, then the section of the project. */
static etk_status read_root(etk_error *e, struct resolver *r, const char *name, const etk_config_node *root, int source) {
  struct file file = {name, false, source};
  const etk_config_node *map;
  etk_status status = config_map(e, &map, name, root);
  if (status || !map) return status;
  status = read_map(e, r, &file, map, "", 0);
  if (!status) status = settle(e, r, source);
  file.section = true;
  for (const etk_config_node *node = map->first, *section; !status && node; node = node->next) {
    if (!etk_text_equal_name(node->key, r->manifest->name_space)) continue;
    status = config_map(e, &section, name, node);
    if (!status && section) status = read_map(e, r, &file, section, "", 0);
    if (!status) status = settle(e, r, source);
  }
  return status;
}

/* ---- which files ---- */

/* A file that is read, and the profile asked for where it holds one. */
struct loaded_file {
  etk_config *config;
  const char *path;
  const etk_config_node *profile;
};

static const char *const extensions[] = {"yaml", "yml", "toml", "json"};
enum { EXTENSIONS = sizeof extensions / sizeof extensions[0] };

/* The first of <stem>.yaml, .yml, .toml and .json that is there, in arena; NULL in *out: none. A second is an error, since nobody could say which counts. */
static etk_status find_file(etk_error *e, const char **out, struct resolver *r, const char *stem, const char *advice) {
  *out = NULL;
  for (size_t i = 0; i < EXTENSIONS; i++) {
    const char *path = etk_arena_printf(&r->host->arena, "%s.%s", stem, extensions[i]);
    if (!path) return no_memory(e);
    if (!etk_fs_exists(path)) continue;
    if (*out) return etk_fail(e, ETK_E_USAGE, "both %s and %s are there; %s", *out, path, advice);
    *out = path;
  }
  return ETK_OK;
}

etk_status config_user_path(etk_error *e, const char **out, struct resolver *r, const char **stem) {
  const char *given = getenv("EFFICIENTAI_CONFIG_PATH");
  *out = NULL, *stem = NULL;
  if (given && *given) {
    *out = strcmp(given, "/dev/null") ? given : NULL;
    return *out && !etk_fs_exists(given) ? etk_fail(e, ETK_E_USAGE, "EFFICIENTAI_CONFIG_PATH: '%s' does not exist", given) : ETK_OK;
  }
  char *config = etk_path_xdg("config");
  if (!config) return ETK_OK;
  *stem = etk_arena_printf(&r->host->arena, "%s/efficientai-toolkit/config", config);
  etk_free(config);
  return *stem ? find_file(e, out, r, *stem, "keep one of them") : no_memory(e);
}

static etk_status profiles_of(etk_error *e, const etk_config_node **out, const struct loaded_file *file) {
  *out = NULL;
  const etk_config_node *root = file->config ? etk_config_root(file->config) : NULL;
  for (const etk_config_node *node = root && root->kind == ETK_CONFIG_MAP ? root->first : NULL; node; node = node->next) {
    if (strcmp(node->key, "profiles") || node->kind == ETK_CONFIG_NULL) continue;
    if (node->kind != ETK_CONFIG_MAP)
      return etk_fail(e, ETK_E_USAGE, "%s:%d:%d: profiles: a map of profiles is wanted, not %s", file->path, node->key_line, node->key_column, node_nouns[node->kind]);
    *out = node;
  }
  return ETK_OK;
}

static etk_status load(etk_error *e, struct loaded_file *file, const char *profile) {
  const etk_config_node *profiles;
  etk_status status = etk_config_load(e, &file->config, file->path);
  if (!status) status = profiles_of(e, &profiles, file);
  if (status || !profiles) return status;
  for (const etk_config_node *node = profiles->first; node; node = node->next) {
    if (node->kind != ETK_CONFIG_MAP && node->kind != ETK_CONFIG_NULL)
      return etk_fail(e, ETK_E_USAGE, "%s:%d:%d: profiles.%s: a map of options is wanted, not %s", file->path, node->key_line, node->key_column, node->key,
                      node_nouns[node->kind]);
    if (profile && !strcmp(node->key, profile)) file->profile = node;
  }
  return ETK_OK;
}

/* ---- profiles ---- */

etk_status profile_dirs(etk_error *e, struct resolver *r, const char *dirs[2], size_t *count) {
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

bool profile_name(char *name) {
  char *dot = strrchr(name, '.');
  for (size_t i = 0; dot && dot > name && i < EXTENSIONS; i++)
    if (!strcmp(dot + 1, extensions[i])) {
      *dot = 0;
      return true;
    }
  return false;
}

enum { PROFILES_MOST = 64 };

static void add_name(const char **names, size_t *count, const char *name) {
  size_t at = 0;
  while (at < *count && strcmp(names[at], name)) at++;
  if (at == *count && at < PROFILES_MOST) names[(*count)++] = name;
}

static etk_status unknown_profile(etk_error *e, const char *name, const struct loaded_file files[2], const char *const *dirs, size_t count) {
  const char *known[PROFILES_MOST];
  char **lists[2] = {0};
  size_t sizes[2] = {0}, used = 0;
  for (size_t i = 0; i < 2; i++) {
    const etk_config_node *profiles = NULL;
    if (profiles_of(NULL, &profiles, &files[i]) || !profiles) continue;
    for (const etk_config_node *node = profiles->first; node; node = node->next) add_name(known, &used, node->key);
  }
  for (size_t i = 0; i < count; i++) {
    if (etk_fs_list(NULL, &lists[i], &sizes[i], dirs[i])) continue;
    for (size_t k = 0; k < sizes[i]; k++)
      if (profile_name(lists[i][k])) add_name(known, &used, lists[i][k]);
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

/* The files of the profile asked for: the user's and the installation's; NULL where there is none. */
struct profile_files {
  const char *dirs[2], *own, *installed;
  size_t count;
};

static etk_status find_profile_files(etk_error *e, struct profile_files *out, struct resolver *r) {
  char *config = etk_path_xdg("config");
  bool has_own = config != NULL; /* then its folder is the first */
  etk_free(config);
  *out = (struct profile_files){{NULL, NULL}, NULL, NULL, 0};
  etk_status status = profile_dirs(e, r, out->dirs, &out->count);
  for (size_t i = 0; !status && i < out->count; i++) {
    const char *stem = etk_arena_printf(&r->host->arena, "%s/%s", out->dirs[i], r->host->profile);
    status = stem ? find_file(e, has_own && !i ? &out->own : &out->installed, r, stem, "a profile has one file") : no_memory(e);
  }
  return status;
}

static void say_profile(const struct resolver *r, const char *used, const char *hidden) {
  if (r->host->verbose || r->host->dry_run) host_note(r->host, "the profile '%s' is that of %s; %s has one of that name too", r->host->profile, used, hidden);
}

static etk_status read_profile_file(etk_error *e, struct resolver *r, const struct loaded_file files[2], const struct profile_files *found) {
  const char *path = found->own ? found->own : found->installed;
  if (!path) return unknown_profile(e, r->host->profile, files, found->dirs, found->count);
  if (found->own && found->installed) say_profile(r, found->own, found->installed);
  etk_config *config = NULL;
  etk_status status = etk_config_load(e, &config, path);
  if (!status) status = read_root(e, r, path, etk_config_root(config), ETK_FROM_PROFILE);
  etk_config_free(config);
  return status;
}

static etk_status read_section(etk_error *e, struct resolver *r, const struct loaded_file *file) {
  return read_root(e, r, file->path, file->profile, ETK_FROM_PROFILE);
}

/* Two of the user's of one name are an error, as two configuration files are; one of the user's stands for the installation's. */
static etk_status read_profile(etk_error *e, struct resolver *r, const struct loaded_file files[2]) {
  const struct loaded_file *user = &files[0], *given = &files[1];
  struct profile_files found;
  etk_status status = find_profile_files(e, &found, r);
  if (status) return status;
  if (user->profile && found.own)
    return etk_fail(e, ETK_E_USAGE, "the profile '%s' is there twice: in %s:%d:%d and as %s; keep one of them", r->host->profile, user->path, user->profile->key_line,
                    user->profile->key_column, found.own);
  const char *weaker = user->profile ? user->path : found.own ? found.own : found.installed;
  if (given->profile && weaker) say_profile(r, given->path, weaker); /* read after the rest of --config's file, over which it lies */
  if (given->profile) return ETK_OK;
  if (user->profile && found.installed) say_profile(r, user->path, found.installed);
  return user->profile ? read_section(e, r, user) : read_profile_file(e, r, files, &found);
}

static etk_status read_file(etk_error *e, struct resolver *r, const struct loaded_file *file) {
  return file->config ? read_root(e, r, file->path, etk_config_root(file->config), ETK_FROM_CONFIG) : ETK_OK;
}

static etk_status read_all(etk_error *e, struct resolver *r, const struct loaded_file files[2]) {
  const struct loaded_file *user = &files[0], *given = &files[1];
  etk_status status = read_file(e, r, user);
  if (!status && r->host->profile) status = read_profile(e, r, files);
  if (!status) status = read_file(e, r, given);
  if (!status && given->profile) status = read_section(e, r, given);
  return status;
}

etk_status config_read(etk_error *e, struct resolver *r) {
  struct loaded_file files[2] = {{0}}; /* the user's own, that of --config */
  const char *profile = r->host->profile, *stem;
  if (profile && (!*profile || strchr(profile, '/') || *profile == '.'))
    return etk_fail(e, ETK_E_USAGE, "--profile: '%s' is not the name of a profile; use --config for a path", profile);
  etk_status status = config_user_path(e, &files[0].path, r, &stem);
  files[1].path = r->host->config;
  for (size_t i = 0; !status && i < 2; i++)
    if (files[i].path) status = load(e, &files[i], profile);
  if (!status) status = read_all(e, r, files);
  for (size_t i = 0; i < 2; i++) etk_config_free(files[i].config);
  return status;
}
