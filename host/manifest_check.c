/* manifest_check.c: what must hold of a manifest, and where two of them differ. */
#include "globals.h"
#include "manifest.h"
#include "values.h"

#include <stdarg.h>

/* ---- rules ---- */

struct findings {
  void (*report)(void *user, const char *finding);
  void *user;
  size_t count;
  bool usable_only; /* only what makes a plugin unusable */
};

static void found(struct findings *f, const char *format, ...) ETK_PRINTF(2, 3);
static void found(struct findings *f, const char *format, ...) {
  char message[ETK_ERROR_SIZE];
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(message, sizeof message, format, arguments);
  va_end(arguments);
  f->count++;
  f->report(f->user, message);
}

enum { NAME_SHOWN = 64 };

static const char *of(char *out, const struct manifest_command *command) { return shown_name(out, NAME_SHOWN, command->name); }

/* One word of a list of aliases; returns what follows it, NULL at the end. */
static const char *alias(char *out, size_t size, const char *aliases) {
  aliases += strspn(aliases, " ");
  if (!*aliases) return NULL;
  size_t n = strcspn(aliases, " ");
  snprintf(out, size, "%.*s", (int)(n < size ? n : size - 1), aliases);
  return aliases + n;
}

/* How often a name stands among a command's arguments, options and aliases. */
static size_t uses(const struct manifest_command *command, const char *name) {
  size_t count = 0;
  char word[NAME_SHOWN];
  for (size_t i = 0; i < command->argument_count; i++) count += etk_text_equal_name(command->arguments[i].name, name);
  for (size_t i = 0; i < command->option_count; i++) {
    count += etk_text_equal_name(command->options[i].name, name);
    for (const char *p = command->options[i].aliases; (p = alias(word, sizeof word, p));) count += etk_text_equal_name(word, name);
  }
  return count;
}

static void check_name(struct findings *f, const struct manifest_command *command, const char *noun, const char *name, const char *reserved_hint) {
  char shown[NAME_SHOWN];
  bool letter = noun[0] == 'a' && noun[1] == 'l' && strlen(name) == 1 && ((name[0] >= 'a' && name[0] <= 'z') || (name[0] >= 'A' && name[0] <= 'Z'));
  char word[NAME_SHOWN]; /* aliases may be written with '-' */
  snprintf(word, sizeof word, "%s", name);
  for (char *p = word; noun[1] == 'l' && *p; p++)
    if (*p == '-') *p = '_';
  if (!letter && !legal_name(word))
    found(f, "command '%s': the %s '%s' is not a legal name: a small letter, then small letters, digits and '_', at most 48", of(shown, command), noun, name);
  else if (reserved_option(word))
    found(f, "command '%s': the %s '%s' is reserved: %s", of(shown, command), noun, name, reserved_hint);
  else if (uses(command, name) > 1)
    found(f, "command '%s': the name '%s' is used %zu times among its arguments, options and aliases", of(shown, command), name, uses(command, name));
}

/* A flag `a` gives --a and --no-a, so that a name no_a beside it would mean two things. */
static void check_opposites(struct findings *f, const struct manifest_command *command, const char *name, uint32_t kind) {
  char no[NAME_SHOWN], shown[NAME_SHOWN];
  int size = snprintf(no, sizeof no, "no_%s", name);
  if (kind == ETK_KIND_flag && size > 0 && (size_t)size < sizeof no && uses(command, no))
    found(f, "command '%s': the name '%s' is the opposite of the flag '%s' too, which --no-%s means; choose another", of(shown, command), no, name, name);
}

/* The name of a host's flag that gives way to a command's option with a value (--jsonl FILE). */
static bool yielded(const struct manifest_option *option) {
  const struct host_option *host = host_option_find(option->name, strlen(option->name));
  return host && host->yields && option->kind != ETK_KIND_flag;
}

static void check_names(struct findings *f, const struct manifest_command *command) {
  char word[NAME_SHOWN], shown[NAME_SHOWN];
  static const char *const hint = "it belongs to an option of the host; choose another";
  for (size_t i = 0; i < command->argument_count; i++) check_name(f, command, "argument", command->arguments[i].name, hint);
  for (size_t i = 0; i < command->option_count; i++) {
    if (!yielded(&command->options[i])) check_name(f, command, "option", command->options[i].name, hint);
    check_opposites(f, command, command->options[i].name, command->options[i].kind);
    for (const char *p = command->options[i].aliases; (p = alias(word, sizeof word, p));) {
      check_name(f, command, "alias", word, hint);
      check_opposites(f, command, word, command->options[i].kind);
    }
  }
  for (size_t i = 0; i < command->argument_count; i++) {
    const struct manifest_argument *a = &command->arguments[i];
    if (a->need == ETK_NEED_VARIADIC && i + 1 < command->argument_count)
      found(f, "command '%s': the argument '%s' is VARIADIC and not the last one", of(shown, command), a->name);
    if (i && a->need == ETK_NEED_REQUIRED && command->arguments[i - 1].need != ETK_NEED_REQUIRED)
      found(f, "command '%s': the argument '%s' is REQUIRED and comes after one that is not", of(shown, command), a->name);
    bool single = a->kind == ETK_KIND_flag || a->kind == ETK_KIND_secret || a->kind >= ETK_KIND_ints;
    if (a->need == ETK_NEED_VARIADIC && single) found(f, "command '%s': the argument '%s' of kind %s cannot be VARIADIC", of(shown, command), a->name, etk_kind_name(a->kind));
  }
}

/* A key of configuration files is an option or a group of options, never both; "profiles" at the top level holds profiles. */
static void check_keys(struct findings *f, const struct manifest *m, const struct manifest_command *command) {
  char shown[NAME_SHOWN], key[256];
  for (size_t i = 0; i < command->option_count; i++) {
    const struct manifest_option *o = &command->options[i];
    snprintf(key, sizeof key, "%s%s%s", o->group, *o->group ? "." : "", o->name);
    size_t size = strlen(key);
    bool clash = false;
    for (size_t c = 0; !clash && c < m->command_count; c++)
      for (size_t k = 0; !clash && k < m->commands[c].option_count; k++) {
        const char *group = m->commands[c].options[k].group;
        clash = !strncmp(group, key, size) && (!group[size] || group[size] == '.');
      }
    if (clash) found(f, "command '%s': the key '%s' of option '%s' is a group of options too; rename one of them", of(shown, command), key, o->name);
    if (!strncmp(key, "profiles", 8) && (!key[8] || key[8] == '.'))
      found(f, "command '%s': the key '%s' of option '%s' is reserved: 'profiles' holds the profiles of a configuration file", of(shown, command), key, o->name);
  }
}

static bool is_text(const char *text) {
  for (const unsigned char *p = (const unsigned char *)text; *p; p++)
    if (*p == 127 || (*p < 32 && *p != '\n' && *p != '\t')) return false;
  return etk_utf8_valid(text, strlen(text));
}

static bool legal_group(const char *group) { /* names joined by '.'; "" is the top level */
  char part[NAME_SHOWN];
  for (const char *p = group; *p;) {
    size_t size = strcspn(p, ".");
    if (size >= sizeof part) return false;
    snprintf(part, sizeof part, "%.*s", (int)size, p);
    if (!legal_name(part) || (p[size] && !p[size + 1])) return false;
    p += size + (p[size] == '.');
  }
  return true;
}

static void check_values(struct findings *f, const struct manifest_command *command) {
  char shown[NAME_SHOWN];
  etk_error e = ETK_ERROR_INIT;
  for (size_t i = 0; i < command->argument_count; i++) {
    const struct manifest_argument *a = &command->arguments[i];
    if (etk_limits_check(&e, a->kind, a->limits)) found(f, "command '%s': argument '%s': %s", of(shown, command), a->name, e.message);
    if (!is_text(a->help)) found(f, "command '%s': the help of argument '%s' is not UTF-8 text", of(shown, command), a->name);
  }
  for (size_t i = 0; i < command->option_count; i++) {
    const struct manifest_option *o = &command->options[i];
    if (!is_text(o->help)) found(f, "command '%s': the help of option '%s' is not UTF-8 text", of(shown, command), o->name);
    uint32_t unknown = o->flags & ~(uint32_t)(ETK_HIDDEN | ETK_ADVANCED | ETK_LOCAL);
    if (unknown) found(f, "command '%s': option '%s' has flags %u, of which %u mean nothing for an option", of(shown, command), o->name, o->flags, unknown);
    if (!legal_group(o->group)) found(f, "command '%s': the group '%s' of option '%s' is not a legal name", of(shown, command), o->group, o->name);
    if (etk_limits_check(&e, o->kind, o->limits)) {
      found(f, "command '%s': option '%s': %s", of(shown, command), o->name, e.message);
      continue;
    }
    if (!strcmp(o->default_text, "-")) continue;
    if (o->kind == ETK_KIND_secret) {
      found(f, "command '%s': option '%s' is a secret and has a default, which anyone can read: use \"-\"", of(shown, command), o->name);
      continue;
    }
    etk_arena arena = ETK_ARENA_INIT;
    etk_value value = {0};
    if (etk_value_parse(&e, &value, &arena, o->kind, o->limits, o->default_text, o->name, false))
      found(f, "command '%s': the default of an option does not obey its limits: %s", of(shown, command), e.message);
    etk_arena_fini(&arena);
  }
}

static bool three_numbers(const char *version) { /* MAJOR.MINOR.PATCH, then perhaps "-beta.1" or "+build" */
  const char *p = version;
  for (int i = 0; i < 3; i++) {
    size_t n = strspn(p, "0123456789");
    if (!n || n > 9 || (n > 1 && *p == '0')) return false;
    p += n;
    if (i < 2 && *p++ != '.') return false;
  }
  if (!*p) return true;
  return (*p == '-' || *p == '+') && p[1] && !p[strspn(p, "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.-+")] && strlen(version) < 64;
}

static void check(struct findings *f, const struct manifest *m) {
  char shown[NAME_SHOWN];
  if (!legal_namespace(m->name_space))
    found(f, "the namespace '%s' is not legal: a small letter, then small letters, digits and single '-', at most 64, and not a word of the host's own", m->name_space);
  if (!f->usable_only) {
    if (!three_numbers(m->version)) found(f, "the version '%s' is not MAJOR.MINOR.PATCH", m->version);
    if (!*m->summary) found(f, "the summary is empty: one line that says what the project is for");
    if (!is_text(m->summary)) found(f, "the summary is not UTF-8 text");
    if (!m->command_count) found(f, "it has no commands");
  }
  for (size_t i = 0; i < m->command_count; i++) {
    const struct manifest_command *c = &m->commands[i];
    if (!legal_name(c->name)) found(f, "the command '%s' has no legal name: a small letter, then small letters, digits and '_', at most 48", of(shown, c));
    else if (manifest_command(m, c->name) != c) found(f, "the command '%s' is declared twice", of(shown, c));
    check_names(f, c);
    if (f->usable_only) continue;
    if (!*c->summary) found(f, "command '%s': the summary is empty", of(shown, c));
    if (!is_text(c->summary)) found(f, "command '%s': the summary is not UTF-8 text", of(shown, c));
    uint32_t unknown = c->flags & ~(uint32_t)(ETK_TRACKED | ETK_HIDDEN);
    if (unknown) found(f, "command '%s' has flags %u, of which %u mean nothing for a command", of(shown, c), c->flags, unknown);
    check_values(f, c);
    check_keys(f, m, c);
  }
}

size_t manifest_check(const struct manifest *manifest, void (*report)(void *user, const char *finding), void *user) {
  struct findings f = {report, user, 0, false};
  check(&f, manifest);
  return f.count;
}

static void keep_first(void *user, const char *finding) {
  etk_error *e = user;
  if (!e->status) etk_fail(e, ETK_E_FORMAT, "%s", finding);
}

etk_status manifest_usable(etk_error *e, const struct manifest *manifest) {
  etk_error first = ETK_ERROR_INIT;
  struct findings f = {keep_first, &first, 0, true};
  check(&f, manifest);
  return f.count ? etk_fail(e, ETK_E_FORMAT, "%s", first.message) : ETK_OK;
}

/* ---- differences ---- */

static etk_status differs(etk_error *e, const char *where, const char *what, const char *note, const char *table) {
  return etk_fail(e, ETK_E_FORMAT, "%sthe note's %s is '%s', the table's is '%s': build the plugin again from one source, all of it", where, what, note, table);
}

static etk_status same_number(etk_error *e, const char *where, const char *what, size_t note, size_t table) {
  if (note == table) return ETK_OK;
  char a[24], b[24];
  snprintf(a, sizeof a, "%zu", note);
  snprintf(b, sizeof b, "%zu", table);
  return differs(e, where, what, a, b);
}

static etk_status same_text(etk_error *e, const char *where, const char *what, const char *note, const char *table) {
  return strcmp(note, table) ? differs(e, where, what, note, table) : ETK_OK;
}

static const char *where(char *out, size_t size, const struct manifest_command *command, const char *noun, const char *name) {
  char shown[NAME_SHOWN];
  if (noun) snprintf(out, size, "command '%s', %s '%s': ", of(shown, command), noun, name);
  else snprintf(out, size, "command '%s': ", of(shown, command));
  return out;
}

static etk_status equal_command(etk_error *e, const struct manifest_command *a, const struct manifest_command *b) {
  char at[256];
  etk_status s = same_text(e, "", "name of a command", a->name, b->name);
  where(at, sizeof at, a, NULL, NULL);
  if (!s) s = same_text(e, at, "summary", a->summary, b->summary);
  if (!s) s = same_number(e, at, "flags", a->flags, b->flags);
  if (!s) s = same_number(e, at, "number of arguments", a->argument_count, b->argument_count);
  if (!s) s = same_number(e, at, "number of options", a->option_count, b->option_count);
  for (size_t i = 0; !s && i < a->argument_count; i++) {
    const struct manifest_argument *x = &a->arguments[i], *y = &b->arguments[i];
    if ((s = same_text(e, at, "name of an argument", x->name, y->name))) return s;
    char here[256];
    where(here, sizeof here, a, "argument", x->name);
    s = same_text(e, here, "kind", etk_kind_name(x->kind), etk_kind_name(y->kind));
    if (!s) s = same_number(e, here, "need", x->need, y->need);
    if (!s) s = same_text(e, here, "limits", x->limits, y->limits);
    if (!s) s = same_text(e, here, "help", x->help, y->help);
  }
  for (size_t i = 0; !s && i < a->option_count; i++) {
    const struct manifest_option *x = &a->options[i], *y = &b->options[i];
    if ((s = same_text(e, at, "name of an option", x->name, y->name))) return s;
    char here[256];
    where(here, sizeof here, a, "option", x->name);
    s = same_text(e, here, "kind", etk_kind_name(x->kind), etk_kind_name(y->kind));
    if (!s) s = same_text(e, here, "default", x->default_text, y->default_text);
    if (!s) s = same_text(e, here, "limits", x->limits, y->limits);
    if (!s) s = same_text(e, here, "group", x->group, y->group);
    if (!s) s = same_text(e, here, "aliases", x->aliases, y->aliases);
    if (!s) s = same_number(e, here, "flags", x->flags, y->flags);
    if (!s) s = same_text(e, here, "help", x->help, y->help);
  }
  return s;
}

etk_status manifest_equal(etk_error *e, const struct manifest *note, const struct manifest *table) {
  etk_status s = same_text(e, "", "namespace", note->name_space, table->name_space);
  if (!s) s = same_text(e, "", "version", note->version, table->version);
  if (!s) s = same_text(e, "", "summary", note->summary, table->summary);
  if (!s) s = same_number(e, "", "ABI major", note->abi_major, table->abi_major);
  if (!s) s = same_number(e, "", "ABI minor", note->abi_minor, table->abi_minor);
  if (!s) s = same_number(e, "", "oldest host minor", note->host_minor, table->host_minor);
  if (!s) s = same_number(e, "", "number of commands", note->command_count, table->command_count);
  for (size_t i = 0; !s && i < note->command_count; i++) s = equal_command(e, &note->commands[i], &table->commands[i]);
  return s;
}
