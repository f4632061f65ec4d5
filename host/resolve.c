/* resolve.c: the values of one call: defaults, environment, --set, and what resolve_config.c and words.c read. */
#include "resolve.h"

#include "report.h"
#include "slot.h"

#include <ctype.h>
#include <etk/fs.h>
#include <unistd.h>

extern char **environ;

#define SECRET_LIMIT (64u << 10)

static etk_status no_memory(etk_error *e) { return etk_fail(e, ETK_E_NO_MEMORY, "out of memory while reading the options"); }

uint32_t argument_kind(const struct manifest_argument *argument) {
  return argument->need == ETK_NEED_VARIADIC ? etk_kind_list(argument->kind) : argument->kind;
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
etk_status settle(etk_error *e, struct resolver *r, int source) {
  for (size_t i = 0; i < r->count; i++) {
    struct slot *slot = &r->slots[i];
    if (!slot->count) continue;
    uint32_t kind = slot->argument ? slot->argument->kind : slot->option->kind;
    const char *limits = slot->argument ? slot->argument->limits : slot->option->limits;
    etk_status status = ETK_OK;
    etk_value value = {0};
    if (kind == ETK_KIND_secret) status = read_secret(e, r, slot, source);
    if (!status && slot->argument && slot->argument->need == ETK_NEED_VARIADIC)
      status = etk_value_parse_items(e, &value, &r->host->arena, kind, limits, slot->texts, slot->count, slot->what);
    else if (!status) status = etk_value_parse_texts(e, &value, &r->host->arena, kind, limits, slot->texts, slot->count, slot->split, slot->what);
    if (status) return status;
    value.source = source;
    value.origin = source == ETK_FROM_DEFAULT ? NULL : slot->origin;
    *slot->value = value;
    slot->count = 0;
  }
  return ETK_OK;
}

struct slot *slot_of(struct resolver *r, const struct manifest_option *option) {
  for (size_t i = r->argument_count; i < r->count; i++)
    if (r->slots[i].option == option) return &r->slots[i];
  return NULL;
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
  *addressed = size >= name + 2 && rest[name] == '_' && rest[name + 1] == '_';
  for (size_t i = 0; *addressed && i < name; i++) {
    char c = r->manifest->name_space[i];
    if (rest[i] != (c == '-' ? '_' : (char)toupper((unsigned char)c))) *addressed = false;
  }
  if (*addressed) rest += name + 2, size -= name + 2;
  key_of_variable(key, key_size, rest, size);
  return true;
}

/* Each part begins with a letter: nothing between "__" and "__", or after them, names no option of anybody's. */
static bool names_a_key(const char *key) {
  for (const char *p = key; p; p = strchr(p, '.')) {
    p += *p == '.';
    if (!isalpha((unsigned char)*p)) return false;
  }
  size_t size = strlen(key);
  return size < 2 || strcmp(key + size - 2, "__") != 0;
}

static etk_status read_variable(etk_error *e, struct resolver *r, const char *entry, const char *key, bool addressed) {
  const char *value = entry + strcspn(entry, "=");
  const char *name = etk_arena_strndup(&r->host->arena, entry, (size_t)(value - entry));
  if (!name) return no_memory(e);
  if (!names_a_key(key))
    return etk_fail(e, ETK_E_USAGE, "the environment variable %s names no option; the form is EFFICIENTAI__GROUP__KEY, or EFFICIENTAI__NAMESPACE__GROUP__KEY for one project",
                    name);
  const struct manifest_option *option = key_find(r, key);
  if (option) {
    struct slot *slot = slot_of(r, option);
    if (option->flags & ETK_LOCAL) return key_local(e, option, name);
    if (slot) return slot_give(e, r, slot, *value ? value + 1 : "", name, name, true);
    key_of_others(r, option, name);
    return ETK_OK;
  }
  if (key_is_group(r, key)) {
    etk_error why = ETK_ERROR_INIT;
    etk_status status = group_is_no_key(&why, r, key, name);
    if (addressed || status == ETK_E_NO_MEMORY) return etk_fail(e, status, "%s", why.message);
    host_warn(r->host, "%s", why.message); /* another project may have an option of that name */
    return ETK_OK;
  }
  char group[160], near[160];
  const char *dot = strrchr(key, '.');
  snprintf(group, sizeof group, "%.*s", dot ? (int)(dot - key) : 0, key);
  if (!addressed && !key_is_group(r, group)) return ETK_OK; /* another project's */
  const char *suggestion = key_near(r, key, near, sizeof near);
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
  const struct manifest_option *option = key_find(r, key);
  if (!option && key_is_group(r, key)) return group_is_no_key(e, r, key, what);
  if (!option) {
    char near[160];
    const char *suggestion = key_near(r, key, near, sizeof near);
    return etk_fail(e, ETK_E_USAGE, "--set: no command of %s knows the key '%s'%s%s%s", r->manifest->name_space, key,
                    suggestion ? "; did you mean '" : "", suggestion ? suggestion : "", suggestion ? "'?" : "");
  }
  if (option->flags & ETK_LOCAL) return key_local(e, option, what);
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
    if (!strcmp(slot->option->default_text, "-") || slot->option->kind == ETK_KIND_secret) continue; /* a secret has none */
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
        etk_value one = {.text = slot->value->texts.items[k]};
        status = etk_value_check_files(e, &one, &r->host->arena, kind, limits, what);
        if (!status) ((const char **)(uintptr_t)slot->value->texts.items)[k] = one.text; /* of the same arena */
      }
    } else status = etk_value_check_files(e, slot->value, &r->host->arena, kind, limits, what);
    if (status) return status;
  }
  return ETK_OK;
}

etk_status resolver_start(etk_error *e, struct resolver *r, struct resolved *out) {
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
  etk_status status = resolver_start(e, &r, out);
  if (!status) status = read_defaults(e, &r);
  if (!status && !manifest->builtin) status = config_read(e, &r);
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
