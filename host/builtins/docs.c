/* docs: the whole command reference from the same tables as --help, as Markdown or as a manual page. */
#include "builtin.h"
#include "examples.h"
#include "globals.h"
#include "help.h"
#include "report.h"

#include <etk/options.h>

#define DOCS_ARGS(ARG) ARG(text, namespace, OPTIONAL, "1..64", "only this project or built-in")
#define DOCS_OPTIONS(OPT) OPT(flag, man, "no", "", "", "", ETK_LOCAL, "as a manual page (roff) instead of Markdown")
#define COMMANDS(CMD) CMD(docs, DOCS_ARGS, DOCS_OPTIONS, 0, "Print the reference of every command, as Markdown or a manual page")
BUILTIN(docs, "Print the reference of every command", COMMANDS)

struct docs {
  struct host *host;
  etk_text out;
  bool man;
};

/* ---- the two forms ---- */

/* Text that holds no markup: what either form would read as its own is escaped. */
static void put_text(struct docs *d, const char *text, bool cell) {
  for (const char *p = text; *p; p++) {
    if (d->man && *p == '\\') etk_text_puts(&d->out, "\\e");
    else if (d->man && *p == '-') etk_text_puts(&d->out, "\\-");
    else if (d->man && (*p == '.' || *p == '\'') && p == text) etk_text_printf(&d->out, "\\&%c", *p);
    else if (!d->man && (*p == '<' || *p == '*' || *p == '_' || (cell && *p == '|'))) etk_text_printf(&d->out, "\\%c", *p);
    else if (*p == '\n') etk_text_putc(&d->out, ' ');
    else etk_text_putc(&d->out, *p);
  }
}

static void put_code(struct docs *d, const char *text) {
  if (!d->man) {
    etk_text_putc(&d->out, '`');
    for (const char *p = text; *p; p++) etk_text_printf(&d->out, *p == '|' ? "\\|" : "%c", *p);
    etk_text_putc(&d->out, '`');
    return;
  }
  etk_text_puts(&d->out, "\\fB");
  put_text(d, text, false);
  etk_text_puts(&d->out, "\\fR");
}

static void section(struct docs *d, int level, const char *title) {
  bool apart = d->out.size > 1 && !strcmp(d->out.data + d->out.size - 2, "\n\n");
  if (!d->man) etk_text_printf(&d->out, "%s%.*s %s\n\n", apart ? "" : "\n", level, "####", title);
  else if (level <= 2) {
    etk_text_puts(&d->out, ".SH ");
    for (const char *p = title; *p; p++) etk_text_putc(&d->out, *p >= 'a' && *p <= 'z' ? (char)(*p - 'a' + 'A') : *p);
    etk_text_putc(&d->out, '\n');
  } else {
    etk_text_puts(&d->out, ".SS ");
    put_text(d, title, false);
    etk_text_putc(&d->out, '\n');
  }
}

static void paragraph(struct docs *d, const char *text) {
  if (d->man) etk_text_puts(&d->out, ".PP\n");
  put_text(d, text, false);
  etk_text_puts(&d->out, d->man ? "\n" : "\n\n");
}

static void code_block(struct docs *d, const char *text) {
  if (!d->man) {
    etk_text_printf(&d->out, "```sh\n%s```\n", text);
    return;
  }
  etk_text_puts(&d->out, ".PP\n.EX\n");
  for (const char *p = text; *p; p += strcspn(p, "\n") + 1) {
    char line[1024];
    snprintf(line, sizeof line, "%.*s", (int)strcspn(p, "\n"), p);
    put_text(d, line, false);
    etk_text_putc(&d->out, '\n');
  }
  etk_text_puts(&d->out, ".EE\n");
}

static void begin_list(struct docs *d, const char *left, const char *right) {
  if (!d->man) etk_text_printf(&d->out, "| %s | %s |\n|---|---|\n", left, right);
}
static void item(struct docs *d, const char *left, const char *right) {
  etk_text_puts(&d->out, d->man ? ".TP\n" : "| ");
  put_code(d, left);
  etk_text_puts(&d->out, d->man ? "\n" : " | ");
  put_text(d, right, true);
  etk_text_puts(&d->out, d->man ? "\n" : " |\n");
}

/* ---- commands ---- */

static void put_facts(etk_text *out, uint32_t kind, const char *limits, const char *default_text) {
  etk_text words = ETK_TEXT_INIT;
  etk_limits_words(&words, kind, limits);
  etk_text_printf(out, " (%s", etk_kind_name(kind));
  if (words.size && !words.failed) etk_text_printf(out, ": %s", words.data);
  if (default_text && strcmp(default_text, "-")) etk_text_printf(out, "; default %s", *default_text ? default_text : "empty");
  etk_text_free(&words);
}

static void put_arguments(struct docs *d, const struct manifest_command *command) {
  if (!command->argument_count) return;
  begin_list(d, "argument", "meaning");
  for (size_t i = 0; i < command->argument_count; i++) {
    const struct manifest_argument *a = &command->arguments[i];
    etk_text right = ETK_TEXT_INIT;
    char shown[64];
    etk_text_puts(&right, a->help);
    put_facts(&right, a->kind, a->limits, NULL);
    etk_text_puts(&right, a->need == ETK_NEED_OPTIONAL ? "; optional)" : a->need == ETK_NEED_VARIADIC ? "; any number)" : ")");
    shown_name(shown, sizeof shown, a->name);
    for (char *p = shown; *p; p++)
      if (*p >= 'a' && *p <= 'z') *p = (char)(*p - 'a' + 'A');
    item(d, shown, right.failed ? "" : right.data);
    etk_text_free(&right);
  }
  if (!d->man) etk_text_putc(&d->out, '\n');
}

static void put_options(struct docs *d, const struct manifest *manifest, const struct manifest_command *command) {
  bool first = true;
  for (size_t i = 0; i < command->option_count; i++) {
    const struct manifest_option *o = &command->options[i];
    etk_text right = ETK_TEXT_INIT;
    char left[256];
    if (o->flags & ETK_HIDDEN) continue;
    if (first) begin_list(d, "option", "meaning");
    first = false;
    help_option_left(left, sizeof left, o);
    etk_text_puts(&right, o->help);
    put_facts(&right, o->kind, o->limits, manifest->builtin && o->kind == ETK_KIND_flag ? NULL : o->default_text);
    if (!manifest->builtin && o->flags & ETK_LOCAL) etk_text_puts(&right, "; command line only");
    else if (!manifest->builtin) etk_text_printf(&right, "; key %s%s%s", o->group, *o->group ? "." : "", o->name);
    etk_text_puts(&right, ")");
    item(d, left + strspn(left, " "), right.failed ? "" : right.data);
    etk_text_free(&right);
  }
  if (!first && !d->man) etk_text_putc(&d->out, '\n');
}

static void put_command(struct docs *d, const struct manifest *manifest, const struct manifest_command *command) {
  char title[160];
  etk_text usage = ETK_TEXT_INIT, examples = ETK_TEXT_INIT;
  section(d, 3, command_title(title, sizeof title, manifest, command));
  paragraph(d, command->summary);
  usage_line(&usage, d->host, manifest, command);
  etk_text_putc(&usage, '\n');
  if (!usage.failed) code_block(d, usage.data);
  if (!d->man) etk_text_putc(&d->out, '\n');
  put_arguments(d, command);
  put_options(d, manifest, command);
  examples_of(&examples, manifest, command);
  if (examples.size && !examples.failed) {
    paragraph(d, examples.size > 1 && strchr(examples.data, '\n') + 1 < examples.data + examples.size ? "Examples:" : "Example:");
    code_block(d, examples.data);
  }
  etk_text_free(&usage);
  etk_text_free(&examples);
}

static void put_group(struct docs *d, const struct manifest *manifest) {
  char name[80], title[160];
  shown_name(name, sizeof name, manifest->name_space);
  snprintf(title, sizeof title, "%s%s", manifest->builtin ? "" : "Project ", name);
  if (!manifest->builtin) {
    section(d, 2, title);
    paragraph(d, manifest->summary);
  }
  for (size_t i = 0; i < manifest->command_count; i++)
    if (!(manifest->commands[i].flags & ETK_HIDDEN)) put_command(d, manifest, &manifest->commands[i]);
}

/* ---- the host ---- */

static void put_host(struct docs *d) {
  static const char *const codes[][2] = {{"0", "all is well"}, {"1", "the command failed"}, {"2", "the words of the command line, or a value, are wrong"},
                                         {"3", "a device or an optional dependency is missing"}, {"4", "a check or a test came out negative"},
                                         {"126", "the project was found but cannot run"}, {"127", "no such namespace or command"}, {"128+N", "ended by signal N; 130 is Ctrl-C"}};
  section(d, 2, "Options of the host");
  paragraph(d, "They may stand anywhere before --.");
  begin_list(d, "option", "meaning");
  for (const struct host_option *o = host_options; o->name; o++) {
    char left[96];
    if (!o->help) continue;
    snprintf(left, sizeof left, "%s%.1s%s--%s%s%s", o->letter ? "-" : "", o->letter ? &o->letter : "", o->letter ? ", " : "", o->name, o->value ? " " : "", o->value ? o->value : "");
    item(d, left, o->help);
  }
  section(d, 2, "Values");
  paragraph(d, "A value comes from, weakest first: its default, the user's configuration file, a profile, --config, the environment, --set, the command line. --dry-run shows "
               "each value and where it comes from.");
  section(d, 2, "Environment");
  begin_list(d, "variable", "meaning");
  for (const struct host_variable *v = host_variables; v->name; v++) item(d, v->name, v->help);
  item(d, "EFFICIENTAI__[NAMESPACE__]GROUP__KEY", "one option of a command, as in a configuration file");
  item(d, "NO_COLOR, CLICOLOR_FORCE", "colours never, or always");
  section(d, 2, "Exit status");
  begin_list(d, "code", "meaning");
  for (size_t i = 0; i < sizeof codes / sizeof codes[0]; i++) item(d, codes[i][0], codes[i][1]);
}

static etk_status put_builtins(etk_error *e, struct docs *d) {
  section(d, 2, "Commands");
  for (size_t i = 0; builtins[i]; i++) {
    struct manifest manifest;
    etk_status status = builtin_manifest(e, &manifest, builtins[i]);
    if (status) return status;
    put_group(d, &manifest);
    manifest_fini(&manifest);
  }
  return ETK_OK;
}

static etk_status put_projects(etk_error *e, struct docs *d) {
  struct plugin_list list;
  etk_status status = discover_all(e, &list, &d->host->path);
  if (status) return status;
  for (size_t i = 0; i < list.count; i++) {
    struct manifest manifest;
    etk_error why = ETK_ERROR_INIT;
    if (list.items[i].shadowed) continue;
    if (plugin_manifest(&why, &manifest, &d->host->path, &list.items[i])) {
      host_warn(d->host, "left out: %s", why.message);
      continue;
    }
    put_group(d, &manifest);
    manifest_fini(&manifest);
  }
  plugin_list_free(&list);
  return ETK_OK;
}

static void put_title(struct docs *d, const char *name) {
  static const char about[] = "Efficient machine learning on the machine you own: fine-tune, evaluate and run models, one command at a time.";
  char title[160], upper[80];
  snprintf(title, sizeof title, "%s%s%s", d->host->program, name ? "-" : "", name ? name : "");
  if (!d->man) {
    etk_text_printf(&d->out, "<!-- Made by `%s docs%s%s`. -->\n# %s\n\n", d->host->program, name ? " " : "", name ? name : "", name ? name : d->host->program);
    if (!name) etk_text_printf(&d->out, "%s\n\n```sh\n%s [options] COMMAND [arguments]\n%s [options] NAMESPACE:COMMAND [arguments]\n```\n", about, d->host->program, d->host->program);
    return;
  }
  size_t i = 0;
  for (; title[i] && i + 1 < sizeof upper; i++) upper[i] = title[i] >= 'a' && title[i] <= 'z' ? (char)(title[i] - 'a' + 'A') : title[i];
  upper[i] = '\0';
  etk_text_printf(&d->out, ".\\\" Made by `%s docs --man`.\n.TH %s 1 \"\" \"%s %s\" \"User Commands\"\n.SH NAME\n", d->host->program, upper, d->host->program, ETK_VERSION);
  put_text(d, title, false);
  etk_text_puts(&d->out, " \\- efficient machine learning on the machine you own\n.SH SYNOPSIS\n.B ");
  put_text(d, d->host->program, false);
  etk_text_puts(&d->out, "\n[options] COMMAND [arguments]\n.br\n.B ");
  put_text(d, d->host->program, false);
  etk_text_puts(&d->out, "\n[options] NAMESPACE:COMMAND [arguments]\n");
  section(d, 2, "Description");
  paragraph(d, about);
}

static int put_one(struct docs *d, const char *name) {
  struct manifest manifest;
  etk_error e = ETK_ERROR_INIT;
  const etk_project *group = builtin_find(name);
  if (group) {
    if (builtin_manifest(&e, &manifest, group)) return host_error(d->host, &e, 0, NULL);
  } else {
    struct plugin plugin;
    int code = host_find(d->host, name, &plugin, &manifest);
    if (code) return code;
  }
  char shown[80];
  put_title(d, shown_name(shown, sizeof shown, manifest.name_space));
  put_group(d, &manifest);
  manifest_fini(&manifest);
  return 0;
}

static int docs_run(struct host *host, const char *name, const struct docs_options *o) {
  struct docs d = {.host = host, .man = o->man};
  etk_error e = ETK_ERROR_INIT;
  int code = 0;
  if (name) code = put_one(&d, name);
  else {
    put_title(&d, NULL);
    put_host(&d);
    if (put_builtins(&e, &d) || put_projects(&e, &d)) code = host_error(host, &e, 0, NULL);
  }
  if (!code && d.out.failed) {
    etk_fail_memory(&e);
    code = host_error(host, &e, 0, NULL);
  }
  if (!code && host->json) {
    etk_text text = ETK_TEXT_INIT;
    etk_text_printf(&text, "{\"format\":\"%s\",\"text\":", o->man ? "man" : "markdown");
    etk_text_json(&text, d.out.data, d.out.size);
    etk_text_putc(&text, '}');
    host_print_document(host, "docs", "ok", text.failed ? NULL : text.data, NULL);
    etk_text_free(&text);
  } else if (!code) fwrite(d.out.data, 1, d.out.size, stdout);
  etk_text_free(&d.out);
  return code;
}
