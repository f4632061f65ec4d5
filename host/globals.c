#include "globals.h"

#include "report.h"

#include <ctype.h>
#include <unistd.h>

extern char **environ;

enum { FLAG, COUNT, TEXT, LIST, COLOR, PROGRESS, NO_PROGRESS };

#define AT(field) offsetof(struct host, field)
const struct host_option host_options[] = {
    {"help", 'h', FLAG, AT(help), NULL, "show help for the host, a namespace or a command", false},
    {"help-all", 0, FLAG, AT(help_all), NULL, "the same with advanced options", false},
    {"version", 0, FLAG, AT(version), NULL, "show the version of the host or of a namespace", false},
    {"json", 0, FLAG, AT(json), NULL, "answer with one JSON document on standard output", false},
    {"jsonl", 0, FLAG, AT(jsonl), NULL, "answer with one JSON event a line while a command works", true},
    {"config", 0, TEXT, AT(config), "FILE", "read options from a YAML, TOML or JSON file", false},
    {"profile", 0, TEXT, AT(profile), "NAME", "read options from a named profile", false},
    {"set", 0, LIST, AT(sets), "GROUP.KEY=VALUE", "set one option by its configuration key (repeatable)", false},
    {"override", 0, LIST, AT(sets), "GROUP.KEY=VALUE", NULL, false},
    {"dry-run", 0, FLAG, AT(dry_run), NULL, "show the values a command would get and where they come from, and stop", false},
    {"no-run", 0, FLAG, AT(no_run), NULL, "do not record this run", false},
    {"progress", 0, PROGRESS, AT(progress), "auto|bar|plain|off", "how progress is shown", false},
    {"no-progress", 0, NO_PROGRESS, AT(progress), NULL, "the same as --progress off", false},
    {"color", 0, COLOR, AT(color), "auto|always|never", "when to use colours", false},
    {"quiet", 'q', FLAG, AT(quiet), NULL, "only answers and errors", false},
    {"verbose", 'v', COUNT, AT(verbose), NULL, "say more (twice: everything)", false},
    {"plugin-dir", 0, LIST, AT(plugin_dirs), "DIR", "look for plugins there first (repeatable)", false},
    {"trust-dir", 0, LIST, AT(trust_dirs), "DIR", "load plugins from there whoever owns it (repeatable)", false},
    {"remote", 0, TEXT, AT(remote), "USER@MACHINE", "run the same command there, through ssh; paths are that machine's", false},
    {0}};

const struct host_variable host_variables[] = {{"EFFICIENTAI_STATE_DIR", "where runs are recorded"},
                                               {"EFFICIENTAI_PLUGIN_PATH", "folders of plugins, separated by ':'"},
                                               {"EFFICIENTAI_TRUST_DIRS", "folders whose plugins are loaded whoever owns them, separated by ':'"},
                                               {"EFFICIENTAI_PROFILE", "the profile used without --profile"},
                                               {"EFFICIENTAI_CONFIG_PATH", "the user's configuration file (/dev/null: none)"},
                                               {"EFFICIENTAI_THREADS", "threads that work at the same time"},
                                               {"EFFICIENTAI_SSH", "the program that --remote connects with, instead of ssh"},
                                               {"EFFICIENTAI_REMOTE_PROGRAM", "where --remote finds this program on the other machine"},
                                               {0}};

/* Equal for all of `name`'s text, '-' and '_' alike. */
static bool same_name(const char *option, const char *name, size_t size) {
  for (size_t i = 0; i < size; i++)
    if (!option[i] || (option[i] == '_' ? '-' : option[i]) != (name[i] == '_' ? '-' : name[i])) return false;
  return !option[size];
}

const struct host_option *host_option_find(const char *name, size_t size) {
  for (const struct host_option *o = host_options; o->name; o++)
    if (same_name(o->name, name, size)) return o;
  return NULL;
}

const struct host_option *host_option_letter(char letter) {
  for (const struct host_option *o = host_options; letter && o->name; o++)
    if (o->letter == letter) return o;
  return NULL;
}

bool reserved_option(const char *name) {
  size_t size = strlen(name);
  if (size == 1) return host_option_letter(*name) != NULL;
  if (host_option_find(name, size)) return true;
  char no[64]; /* a flag "run" would make --no-run mean two things */
  int made = snprintf(no, sizeof no, "no-%s", name);
  return made > 0 && (size_t)made < sizeof no && host_option_find(no, (size_t)made) != NULL;
}

bool looks_like_option(const char *word) {
  if (word[0] != '-') return false;
  if (word[1] != '-') return isalpha((unsigned char)word[1]) != 0;
  if (!isalpha((unsigned char)word[2])) return false;
  const char *p = word + 2;
  while (isalnum((unsigned char)*p) || *p == '-' || *p == '_') p++;
  return !*p || *p == '=';
}

/* ---- reading ---- */

static etk_status add(etk_error *e, struct host *host, const struct host_option *option, const char *value, int most) {
  const char ***items = (const char ***)((char *)host + option->offset);
  size_t *count = option->offset == AT(sets)          ? &host->set_count
                  : option->offset == AT(plugin_dirs) ? &host->plugin_dir_count
                                                      : &host->trust_dir_count;
  if (!*items) *items = etk_arena_array(&host->arena, (size_t)most, sizeof **items);
  if (!*items) return etk_fail(e, ETK_E_NO_MEMORY, "out of memory while reading the command line");
  (*items)[(*count)++] = value;
  return ETK_OK;
}

static etk_status choose(etk_error *e, int *out, const struct host_option *option, const char *value, const char *const *words, size_t count) {
  for (size_t i = 0; i < count; i++)
    if (!strcmp(words[i], value)) {
      *out = (int)i;
      return ETK_OK;
    }
  const char *near = etk_text_suggest(value, words, count);
  return etk_fail(e, ETK_E_USAGE, "--%s: '%s' is not one of %s%s%s%s", option->name, value, option->value, near ? "; did you mean '" : "",
                  near ? near : "", near ? "'?" : "");
}

static etk_status apply(etk_error *e, struct host *host, const struct host_option *option, const char *value, int most) {
  static const char *const colors[] = {"auto", "always", "never"}, *const bars[] = {"auto", "bar", "plain", "off"};
  void *field = (char *)host + option->offset;
  bool on = true;
  int index = 0;
  etk_status status = ETK_OK;
  switch (option->type) {
  case FLAG: case COUNT: case NO_PROGRESS:
    if (value && etk_parse_flag(NULL, &on, value)) return etk_fail(e, ETK_E_USAGE, "--%s: '%s' is neither yes nor no", option->name, value);
    if (option->type == FLAG) *(bool *)field = on;
    else if (option->type == COUNT) *(int *)field = on ? *(int *)field + 1 : 0;
    else *(const char **)field = on ? "off" : "auto";
    return ETK_OK;
  case TEXT:
    if (!*value) return etk_fail(e, ETK_E_USAGE, "--%s: an empty value; it wants %s", option->name, option->value);
    if (*(const char **)field)
      return etk_fail(e, ETK_E_USAGE, "--%s is given twice, as '%s' and as '%s'; give it once", option->name, *(const char **)field, value);
    *(const char **)field = value;
    return ETK_OK;
  case LIST: return add(e, host, option, value, most);
  case COLOR:
    status = choose(e, &index, option, value, colors, 3);
    if (!status) host->color = (enum color_mode)index;
    return status;
  default:
    status = choose(e, &index, option, value, bars, 4);
    if (!status) host->progress = bars[index];
    return status;
  }
}

/* --json anywhere makes errors documents, also those found before its turn comes. */
static void find_json(struct host *host, int count, char **words) {
  for (int i = 0; i < count && strcmp(words[i], "--"); i++) {
    bool on = false;
    if (!strcmp(words[i], "--json") || (!strncmp(words[i], "--json=", 7) && !etk_parse_flag(NULL, &on, words[i] + 7) && on)) host->json = true;
    if (!strcmp(words[i], "--jsonl")) host->jsonl = true;
  }
}

/* "-q", "-vv", "-hq": only the host's letters. */
static bool only_host_letters(const char *word) {
  if (word[0] != '-' || !word[1] || word[1] == '-') return false;
  for (const char *p = word + 1; *p; p++)
    if (!host_option_letter(*p)) return false;
  return true;
}

void globals_letter(struct host *host, char letter) {
  const struct host_option *option = host_option_letter(letter);
  if (option) apply(NULL, host, option, NULL, 0);
}

/* Behind "NAMESPACE COMMAND" or "NAMESPACE:COMMAND", with something that can be its value: the command's, if it has such an option (words.c). */
static bool may_be_the_commands(const struct host_option *option, char **rest, int rest_count, const char *next) {
  bool named = rest_count > 1 || (rest_count == 1 && strchr(rest[0], ':'));
  return option && option->yields && named && next && !looks_like_option(next) && strcmp(next, "--");
}

static etk_status take_long(etk_error *e, struct host *host, int count, char **words, int *index, bool *taken) {
  const char *name = words[*index] + 2;
  size_t size = strcspn(name, "=");
  const char *value = name[size] ? name + size + 1 : NULL;
  const struct host_option *option = host_option_find(name, size);
  *taken = true;
  if (!option && size > 3 && !strncmp(name, "no-", 3) && !value) { /* --no-json */
    option = host_option_find(name + 3, size - 3);
    if (option && option->type == FLAG) return apply(e, host, option, "no", count);
    option = NULL;
  }
  if (!option) {
    *taken = false;
    return ETK_OK;
  }
  if (option->value && !value) {
    if (*index + 1 >= count || looks_like_option(words[*index + 1]) || !strcmp(words[*index + 1], "--"))
      return etk_fail(e, ETK_E_USAGE, "--%s wants a value: --%s %s", option->name, option->name, option->value);
    value = words[++*index];
  }
  return apply(e, host, option, value, count);
}

etk_status globals_take(etk_error *e, struct host *host, int count, char **words, char ***rest, int *rest_count) {
  find_json(host, count, words);
  *rest_count = 0;
  *rest = etk_arena_array(&host->arena, (size_t)count + 1, sizeof **rest);
  if (!*rest) return etk_fail(e, ETK_E_NO_MEMORY, "out of memory while reading the command line");
  for (int i = 0; i < count; i++) {
    char *word = words[i];
    if (!strcmp(word, "--")) {
      while (i < count) (*rest)[(*rest_count)++] = words[i++];
      break;
    }
    if (only_host_letters(word)) {
      for (const char *p = word + 1; *p; p++) globals_letter(host, *p);
      continue;
    }
    bool taken = false;
    const struct host_option *plain = word[0] == '-' && word[1] == '-' ? host_option_find(word + 2, strlen(word + 2)) : NULL;
    if (word[0] == '-' && word[1] == '-' && !may_be_the_commands(plain, *rest, *rest_count, i + 1 < count ? words[i + 1] : NULL)) {
      etk_status status = take_long(e, host, count, words, &i, &taken);
      if (status) return status;
    }
    if (!taken) (*rest)[(*rest_count)++] = word;
  }
  return ETK_OK;
}

/* ---- environment ---- */

static bool set_and_not_empty(const char *name) {
  const char *value = getenv(name);
  return value && *value;
}

static bool color_for(const struct host *host, int descriptor) {
  if (host->color != COLOR_AUTO) return host->color == COLOR_ALWAYS;
  if (set_and_not_empty("NO_COLOR")) return false;
  const char *force = getenv("CLICOLOR_FORCE"), *term = getenv("TERM");
  if (force && *force && strcmp(force, "0")) return true;
  return isatty(descriptor) && !(term && !strcmp(term, "dumb"));
}

void globals_environment(struct host *host) {
  host->err_color = color_for(host, STDERR_FILENO);
  host->out_color = color_for(host, STDOUT_FILENO);
  if (!host->profile && set_and_not_empty("EFFICIENTAI_PROFILE")) host->profile = getenv("EFFICIENTAI_PROFILE");
  for (char **entry = environ; entry && *entry; entry++) {
    if (strncmp(*entry, "EFFICIENTAI_", 12) || (*entry)[12] == '_') continue; /* EFFICIENTAI__… are options of commands */
    char name[80];
    size_t size = strcspn(*entry, "=");
    snprintf(name, sizeof name, "%.*s", (int)size, *entry);
    const char *names[sizeof host_variables / sizeof host_variables[0]];
    size_t known = 0;
    bool found = false;
    for (; host_variables[known].name; known++) {
      names[known] = host_variables[known].name;
      found = found || !strcmp(names[known], name);
    }
    if (found || host->quiet) continue;
    const char *near = etk_text_suggest(name, names, known);
    host_warn(host, "the environment variable %s is not known%s%s%s", name, near ? "; did you mean " : "", near ? near : "", near ? "?" : "");
  }
}
