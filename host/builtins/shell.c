/* shell.c: an interactive session. A line is one command of this program without its name, cut into words as a shell cuts them; nothing is expanded but a
 * "~/" at the beginning of a word, and no other program is ever started. */
#include "builtin.h"
#include "report.h"
#include "shell_session.h"

#include <etk/fs.h>

#define SHELL_ARGS(ARG) ARG(text, namespace, OPTIONAL, "", "the namespace to use from the beginning")
#define SHELL_OPTIONS(OPT) OPT(flag, keep_going, "no", "", "", "k", ETK_LOCAL, "lines from a file or pipe: go on after a line that failed")
#define COMMANDS(CMD) CMD(shell, SHELL_ARGS, SHELL_OPTIONS, 0, "Type commands one after the other, with completion and history")
BUILTIN(shell, "Type commands one after the other, with completion and history", COMMANDS)

static int usage(struct session *session, const etk_error *e) { return host_error(session->host, e, e->status == ETK_E_USAGE ? 2 : 0, NULL); }

/* ---- use ---- */

static void leave(struct session *session) {
  manifest_fini(&session->manifest);
  session->used = false;
}

/* The only namespace that begins so, else the name itself. */
static const char *full_name(struct session *session, const char *name) {
  struct completion found;
  const char *full = name;
  if (!complete_namespaces(NULL, &found, session->host, name) && found.count == 1) full = etk_arena_strdup(&session->arena, found.items[0].text);
  completion_free(&found);
  return full ? full : name;
}

static int use(struct session *session, size_t count, const char *const *words) {
  struct plugin plugin;
  struct manifest manifest;
  etk_error e = ETK_ERROR_INIT;
  if (count > 1) {
    etk_fail(&e, ETK_E_USAGE, "use takes one namespace, or none to leave it");
    return usage(session, &e);
  }
  if (!count) {
    leave(session);
    return 0;
  }
  bool exact = !discover_exact(NULL, &plugin, &session->arena, &session->host->path, words[0]);
  int code = host_find(session->host, exact ? words[0] : full_name(session, words[0]), &plugin, &manifest);
  if (code) return code;
  leave(session);
  session->manifest = manifest;
  session->used = true;
  return 0;
}

bool session_has_command(const struct session *session, const char *word) { return session->used && manifest_command(&session->manifest, word); }

/* ---- set ---- */

static const char *scope(const struct session *session) { return session->used ? session->manifest.name_space : NULL; }

static bool same_scope(const char *a, const char *b) { return a && b ? !strcmp(a, b) : a == b; }

static struct setting *find_setting(struct session *session, const char *key) {
  for (size_t i = 0; i < session->setting_count; i++)
    if (etk_text_equal_name(session->settings[i].key, key) && same_scope(session->settings[i].name_space, scope(session))) return &session->settings[i];
  return NULL;
}

static int list_settings(const struct session *session) {
  static const char *const headers[] = {"KEY", "VALUE", "FOR"};
  if (!session->setting_count) {
    printf("nothing is set; 'set group.key=value' holds for the commands that follow\n");
    return 0;
  }
  struct table *table = table_new(headers, 3);
  for (size_t i = 0; i < session->setting_count; i++) {
    const struct setting *s = &session->settings[i];
    const char *cells[] = {s->key, s->value, s->name_space ? s->name_space : "every project"};
    table_add(table, cells);
  }
  table_print(table, stdout, session->host->out_color, 0);
  table_free(table);
  return 0;
}

/* In a namespace its keys are known, and a wrong one is found at once. */
static etk_status check_key(etk_error *e, struct session *session, const char *key) {
  enum { MOST = 512 };
  struct completion all;
  const char *names[MOST];
  size_t count = 0;
  if (!session->used) return ETK_OK;
  etk_status status = complete_key(e, &all, session->host, session->manifest.name_space, "");
  bool known = !status && !all.count; /* a plugin without a note: the host says it later */
  for (size_t i = 0; !status && !known && i < all.count && count < MOST; i++) {
    char *name = etk_arena_strndup(&all.arena, all.items[i].text, strcspn(all.items[i].text, "="));
    if (!name) continue;
    known = etk_text_equal_name(name, key);
    names[count++] = name;
  }
  if (!status && !known) {
    const char *near = etk_text_suggest(key, names, count);
    status = etk_fail(e, ETK_E_USAGE, "%s has no key '%s'%s%s%s", session->manifest.name_space, key, near ? "; did you mean '" : "", near ? near : "", near ? "'?" : "");
  }
  completion_free(&all);
  return status;
}

static etk_status add_setting(etk_error *e, struct session *session, const char *word) {
  const char *equals = strchr(word, '=');
  if (!equals || equals == word) return etk_fail(e, ETK_E_USAGE, "set wants KEY=VALUE, like lora.rank=8, not '%s'", word);
  struct setting made = {etk_arena_strndup(&session->arena, word, (size_t)(equals - word)), etk_arena_strdup(&session->arena, equals + 1), NULL};
  if (scope(session)) made.name_space = etk_arena_strdup(&session->arena, scope(session));
  if (!made.key || !made.value || (scope(session) && !made.name_space)) return etk_fail(e, ETK_E_NO_MEMORY, "out of memory");
  etk_status status = check_key(e, session, made.key);
  if (status) return status;
  struct setting *old = find_setting(session, made.key);
  if (old) {
    *old = made;
    return ETK_OK;
  }
  if (session->setting_count == session->setting_capacity) {
    size_t grown = session->setting_capacity ? session->setting_capacity * 2 : 16;
    struct setting *settings = etk_realloc(session->settings, grown, sizeof *settings);
    if (!settings) return etk_fail(e, ETK_E_NO_MEMORY, "out of memory");
    session->settings = settings, session->setting_capacity = grown;
  }
  session->settings[session->setting_count++] = made;
  return ETK_OK;
}

static int set(struct session *session, size_t count, const char *const *words) {
  etk_error e = ETK_ERROR_INIT;
  if (!count) return list_settings(session);
  for (size_t i = 0; i < count; i++)
    if (add_setting(&e, session, words[i])) return usage(session, &e);
  return 0;
}

static int unset(struct session *session, size_t count, const char *const *words) {
  etk_error e = ETK_ERROR_INIT;
  if (!count) etk_fail(&e, ETK_E_USAGE, "unset wants a key; 'set' lists what is set");
  for (size_t i = 0; i < count && !e.status; i++) {
    struct setting *setting = find_setting(session, words[i]);
    if (!setting) {
      etk_fail(&e, ETK_E_USAGE, "'%s' is not set %s%s", words[i], session->used ? "for " : "here", session->used ? session->manifest.name_space : "");
      break;
    }
    *setting = session->settings[--session->setting_count];
  }
  return e.status ? usage(session, &e) : 0;
}

/* ---- help, leaving ---- */

static const struct shell_command *find_own(const char *name) {
  for (const struct shell_command *c = shell_commands; c->name; c++)
    if (!strcmp(c->name, name)) return c;
  return NULL;
}

static void list_own(void) {
  printf("In this shell:\n");
  for (const struct shell_command *c = shell_commands; c->name; c++) {
    size_t columns = etk_utf8_width(c->usage, strlen(c->usage));
    printf("  %s%*s %s\n", c->usage, columns < 20 ? (int)(20 - columns) : 0, "", c->summary);
  }
}

/* "help train" where train is a command of the namespace in use; else what the program says. */
static int help(struct session *session, size_t count, const char *const *words) {
  const struct shell_command *own = count == 1 && !session_has_command(session, words[0]) ? find_own(words[0]) : NULL;
  if (own && strcmp(own->name, "help")) {
    printf("%s\n  %s\n", own->usage, own->summary);
    return 0;
  }
  if (!count || own) {
    list_own();
    printf("\nAnything else is a command as after 'efficientai-toolkit': %s\n", session->used ? "a command of the namespace in use, NAMESPACE:COMMAND, or one of the program's own. 'use' alone leaves the namespace." : "NAMESPACE:COMMAND, or one of these.");
    fputc('\n', stdout);
  }
  const char *topic[3] = {"help"};
  size_t size = 1;
  char *full = NULL;
  if (count == 1 && session_has_command(session, words[0])) full = etk_arena_printf(&session->arena, "%s:%s", session->manifest.name_space, words[0]);
  if (full) topic[size++] = full;
  else if (!count && session->used) topic[size++] = session->manifest.name_space;
  else if (!own)
    for (size_t i = 0; i < count && size < 3; i++) topic[size++] = words[i];
  return session_run(session, topic, size);
}

static int leave_shell(struct session *session, size_t count, const char *const *words) {
  etk_error e = ETK_ERROR_INIT;
  if (count) {
    etk_fail(&e, ETK_E_USAGE, "'%s' is one word too many: quit takes none", words[0]);
    return usage(session, &e);
  }
  session->over = true;
  return 0;
}

const struct shell_command shell_commands[] = {{"use", "use [NAMESPACE]", "type its commands without 'NAMESPACE:'; alone: no longer", use},
                                               {"set", "set [KEY=VALUE…]", "keep settings for the commands that follow; alone: list them", set},
                                               {"unset", "unset KEY…", "forget settings", unset},
                                               {"help", "help [NAME]", "explain a command, a namespace, or this shell; also '?'", help},
                                               {"?", "?", "help", help},
                                               {"quit", "quit", "leave; also 'exit' and Ctrl-D", leave_shell},
                                               {"exit", "exit", "leave", leave_shell},
                                               {0}};

/* ---- lines ---- */

/* The namespace whose command this is; NULL: a command of the program's own. */
static const char *project_of(const struct session *session, const char *word, char *name, size_t size) {
  size_t length = strcspn(word, ":");
  snprintf(name, size, "%.*s", (int)length, word);
  if (session_has_command(session, word)) return session->manifest.name_space;
  if (builtin_find(name)) return NULL;
  return session->used && !word[length] ? session->manifest.name_space : name;
}

/* A setting of "lora-finetuning-mlx" is for that namespace also where the line abbreviates it. */
static bool applies(const struct setting *setting, const char *name) {
  return !setting->name_space || !strncmp(setting->name_space, name, strlen(name));
}

/* A command of the program, with what the session keeps for it. */
static int run_command(struct session *session, size_t count, const char *const *words) {
  etk_arena arena = ETK_ARENA_INIT;
  char name[80];
  etk_error e = ETK_ERROR_INIT;
  const char **all = etk_arena_array(&arena, count + 2 * session->setting_count + 1, sizeof *all);
  const char *project = words[0][0] == '-' ? NULL : project_of(session, words[0], name, sizeof name);
  bool in_use = project && session->used && project == session->manifest.name_space;
  size_t size = 0;
  bool failed = !all;
  for (size_t i = 0; all && project && i < session->setting_count; i++) {
    if (!applies(&session->settings[i], project)) continue;
    all[size++] = "--set";
    all[size] = etk_arena_printf(&arena, "%s=%s", session->settings[i].key, session->settings[i].value);
    failed = failed || !all[size];
    size++;
  }
  for (size_t i = 0; all && i < count; i++) {
    all[size] = i || !in_use ? words[i] : etk_arena_printf(&arena, "%s:%s", project, words[0]);
    failed = failed || !all[size];
    size++;
  }
  if (failed) etk_fail(&e, ETK_E_NO_MEMORY, "out of memory");
  int code = failed ? host_error(session->host, &e, 0, NULL) : session_run(session, all, size);
  etk_arena_fini(&arena);
  return code;
}

static etk_status expand_home(etk_error *e, struct shell_words *split) {
  const char *home = getenv("HOME");
  for (size_t i = 0; home && i < split->count; i++) {
    const char *word = split->words[i];
    if (!split->bare[i] || word[0] != '~' || (word[1] && word[1] != '/')) continue;
    if (!(split->words[i] = etk_arena_printf(&split->arena, "%s%s", home, word + 1))) return etk_fail(e, ETK_E_NO_MEMORY, "out of memory");
  }
  return ETK_OK;
}

static int run_line(struct session *session, const char *line, size_t size) {
  struct shell_words split;
  etk_error e = ETK_ERROR_INIT;
  int code = 0;
  etk_status status = shell_split(&e, &split, line, size, true);
  if (!status && split.count && split.words[0][0] == '!' && split.bare[0])
    status = etk_fail(&e, ETK_E_USAGE, "'!': this shell starts no other programs; leave it with Ctrl-D first");
  if (!status) status = expand_home(&e, &split);
  if (status) code = usage(session, &e);
  else if (split.count) {
    const struct shell_command *own = session_has_command(session, split.words[0]) ? NULL : find_own(split.words[0]);
    code = own ? own->run(session, split.count - 1, split.words + 1) : run_command(session, split.count, split.words);
    if (own) fflush(stdout);
  }
  shell_words_free(&split);
  return code;
}

/* ---- completion ---- */

static void offer_own(struct completion *out, const char *word) {
  for (const struct shell_command *c = shell_commands; c->name; c++)
    if (*c->name != '?') complete_offer(out, word, c->name, c->summary, false);
}

static void offer_commands(struct completion *out, const struct session *session, const char *word) {
  char shown[64];
  for (size_t i = 0; session->used && i < session->manifest.command_count; i++)
    if (!(session->manifest.commands[i].flags & ETK_HIDDEN))
      complete_offer(out, word, shown_name(shown, sizeof shown, session->manifest.commands[i].name), session->manifest.commands[i].summary, false);
}

static etk_status complete_words(etk_error *e, struct completion *out, struct session *session, const char *const *words, size_t count, const char *word) {
  struct host *host = session->host;
  const char *const help_words[] = {"help"};
  const struct shell_command *own = count && !session_has_command(session, words[0]) ? find_own(words[0]) : NULL;
  etk_status status = ETK_OK;
  *out = (struct completion){.kept = "", .path = ""};
  if (own && own->run == use) return count == 1 ? complete_namespaces(e, out, host, word) : ETK_OK;
  if (own && own->run == set) return session->used ? complete_key(e, out, host, session->manifest.name_space, word) : ETK_OK;
  if (own && own->run == unset) {
    for (size_t i = 0; i < session->setting_count; i++)
      if (same_scope(session->settings[i].name_space, scope(session))) complete_offer(out, word, session->settings[i].key, session->settings[i].value, false);
    return ETK_OK;
  }
  if (own && own->run == leave_shell) return ETK_OK;
  if (own) {
    status = complete_line(e, out, host, help_words, 1, word);
    offer_commands(out, session, word);
    return status;
  }
  char name[80];
  const char *project = count ? project_of(session, words[0], name, sizeof name) : NULL;
  host->standalone = project && session->used && project == session->manifest.name_space ? project : NULL;
  status = complete_line(e, out, host, words, count, word);
  host->standalone = NULL;
  if (!count && *word != '-') {
    offer_commands(out, session, word);
    offer_own(out, word);
  }
  return status;
}

/* Completing "in" where both the namespace in use and the program have "info" must not offer it twice. */
static void drop_doubles(struct completion *out) {
  size_t kept = 0;
  for (size_t i = 0; i < out->count; i++) {
    bool seen = false;
    for (size_t k = 0; k < kept && !seen; k++) seen = !strcmp(out->items[k].text, out->items[i].text);
    if (!seen) out->items[kept++] = out->items[i];
  }
  out->count = kept;
}

etk_status session_complete(etk_error *e, struct completion *out, struct session *session, const char *line, size_t size, size_t *start) {
  struct shell_words split;
  *out = (struct completion){.kept = "", .path = ""};
  etk_status status = shell_split(e, &split, line, size, false);
  if (!status) {
    bool more = split.count && split.touching;
    size_t count = split.count - more;
    *start = more ? split.starts[count] : size;
    status = complete_words(e, out, session, split.words, count, more ? split.words[count] : "");
    if (!status) status = complete_list_paths(e, out);
  }
  shell_words_free(&split);
  drop_doubles(out);
  return status;
}

/* ---- the session ---- */

static int loop(struct session *session, struct shell_line *reader, bool keep_going) {
  int first = 0;
  const char *line;
  size_t size;
  while (!session->over) {
    enum line_result result = shell_line_read(reader, &line, &size);
    if (result == LINE_END) break;
    session->line_number++;
    if (result == LINE_CLEARED) continue;
    shell_line_keep(reader, line);
    int code = run_line(session, line, size);
    if (!code) continue;
    if (session->interactive) host_note(session->host, "(exit code %d)", code);
    else {
      host_note(session->host, "line %d ended with exit code %d", session->line_number, code);
      first = first ? first : code;
      if (!keep_going || code == 130) break; /* Ctrl-C ends the whole */
    }
  }
  return first;
}

static int shell_run(struct host *host, const char *namespace, const struct shell_options *o) {
  struct session session = {.host = host};
  struct shell_line *reader = NULL;
  etk_error e = ETK_ERROR_INIT;
  if (host->json) {
    etk_fail(&e, ETK_E_USAGE, "shell: --json is for the commands that are typed in it");
    return host_error(host, &e, 0, NULL);
  }
  int code = namespace ? use(&session, 1, &namespace) : 0;
  if (!code && shell_line_open(&e, &reader, &session)) code = host_error(host, &e, 0, NULL);
  if (!code) {
    if (session.interactive) host_note(host, "efficientai-toolkit %s; 'help' explains, TAB completes, Ctrl-D leaves", ETK_VERSION);
    code = loop(&session, reader, o->keep_going);
  }
  shell_line_close(reader);
  manifest_fini(&session.manifest);
  etk_free(session.settings);
  etk_arena_fini(&session.arena);
  return code;
}
