#include "help.h"

#include "builtin.h"
#include "examples.h"
#include "globals.h"
#include "report.h"

#include <etk/options.h>

static const char *bold(const struct host *host) { return host->out_color ? STYLE_BOLD : ""; }
static const char *reset(const struct host *host) { return host->out_color ? STYLE_RESET : ""; }

static void heading(const struct host *host, const char *text) {
  printf("\n%s", bold(host));
  print_folded(text, 0, 0);
  printf("%s\n", reset(host));
}

enum { NARROW = 60, INDENT = 6 };

/* "  left   right", the right side beginning at `column`, on the next line where the left is longer or the terminal is narrow. */
static void line(const char *left, const char *right, size_t column) {
  size_t size = etk_utf8_width(left, strlen(left)) + 2, width = (size_t)terminal_width();
  bool narrow = width && width < NARROW;
  if (narrow) column = width < 30 ? 4 : INDENT;
  printf("  ");
  print_folded(left, 2, 4);
  if (right && *right) {
    if (narrow || size + 2 > column) printf("\n%*s", (int)column, "");
    else printf("%*s", (int)(column - size), "");
    print_folded(right, column, column);
  }
  putchar('\n');
}

static size_t column_for(size_t widest) { return (widest > 34 ? 34 : widest) + 4; }

static void paragraph(const char *text) {
  print_folded(text, 0, 0);
  putchar('\n');
}

/* ---- the host ---- */

static void host_option_left(char *out, size_t size, const struct host_option *option) {
  char letter[8] = "    ";
  if (option->letter) snprintf(letter, sizeof letter, "-%c, ", option->letter);
  snprintf(out, size, "%s--%s%s%s", letter, option->name, option->value ? " " : "", option->value ? option->value : "");
}

static void list_namespaces(struct host *host) {
  struct plugin_list list = {0};
  etk_error e = ETK_ERROR_INIT;
  if (discover_all(&e, &list, &host->path)) {
    fflush(stdout);
    host_warn(host, "%s", e.message);
    return;
  }
  size_t widest = 0;
  for (size_t i = 0; i < list.count; i++)
    if (!list.items[i].shadowed && strlen(list.items[i].name_space) > widest) widest = strlen(list.items[i].name_space);
  if (list.count) heading(host, "Projects");
  else printf("\nNo projects were found; 'efficientai-toolkit info' shows where they are looked for.\n");
  for (size_t i = 0; i < list.count; i++) {
    if (list.items[i].shadowed) continue;
    struct manifest manifest;
    bool known = !plugin_manifest(NULL, &manifest, &host->path, &list.items[i]);
    line(list.items[i].name_space, known ? manifest.summary : "(its note cannot be read: see 'efficientai-toolkit projects')", column_for(widest));
    if (known) manifest_fini(&manifest);
  }
  plugin_list_free(&list);
}

void help_host(struct host *host) {
  etk_text usage = ETK_TEXT_INIT;
  etk_text_printf(&usage, "%s [options] NAMESPACE:COMMAND [arguments]", host->program);
  printf("Usage: ");
  print_folded(usage.failed ? host->program : usage.data, 7, 2);
  putchar('\n');
  etk_text_free(&usage);
  putchar('\n');
  etk_text about = ETK_TEXT_INIT;
  etk_text_printf(&about, "Efficient machine learning, one command at a time. '%s NAMESPACE' lists the commands of a project, '%s help NAMESPACE:COMMAND' explains one.",
                  host->program, host->program);
  if (!about.failed) paragraph(about.data);
  etk_text_free(&about);
  heading(host, "Commands");
  for (size_t i = 0; builtins[i]; i++) {
    char shown[80];
    if (!(builtins[i]->commands[0].flags & ETK_HIDDEN)) line(shown_name(shown, sizeof shown, builtins[i]->name_space), builtins[i]->summary, 20);
  }
  list_namespaces(host);
  heading(host, "Options (before or after the command)");
  for (const struct host_option *o = host_options; o->name; o++) {
    char left[80];
    if (!o->help) continue;
    host_option_left(left, sizeof left, o);
    line(left, o->help, 38);
  }
  if (!host->help_all) {
    putchar('\n');
    paragraph("The environment variables are under --help-all; the whole manual is 'man efficientai-toolkit' or 'efficientai-toolkit docs'.");
    return;
  }
  heading(host, "Environment");
  for (const struct host_variable *v = host_variables; v->name; v++) line(v->name, v->help, 38);
  line("EFFICIENTAI__[NAMESPACE__]GROUP__KEY", "one option of a command, as in a configuration file", 38);
}

/* ---- a namespace ---- */

void usage_line(etk_text *out, const struct host *host, const struct manifest *manifest, const struct manifest_command *command) {
  char shown[160];
  if (host->standalone) etk_text_printf(out, "%s %s", host->program, shown_name(shown, sizeof shown, command->name));
  else etk_text_printf(out, "%s %s", host->program, command_title(shown, sizeof shown, manifest, command));
  for (size_t i = 0; i < command->argument_count; i++) {
    const struct manifest_argument *a = &command->arguments[i];
    etk_text_puts(out, a->need == ETK_NEED_REQUIRED ? " " : " [");
    for (const char *p = shown_name(shown, sizeof shown, a->name); *p; p++) etk_text_putc(out, *p >= 'a' && *p <= 'z' ? (char)(*p - 'a' + 'A') : *p);
    etk_text_puts(out, a->need == ETK_NEED_REQUIRED ? "" : a->need == ETK_NEED_VARIADIC ? "…]" : "]");
  }
  if (command->option_count) etk_text_puts(out, " [options]");
}

void help_namespace(struct host *host, const struct manifest *manifest) {
  size_t widest = 0;
  char shown[64];
  for (size_t i = 0; i < manifest->command_count; i++)
    if (!(manifest->commands[i].flags & ETK_HIDDEN) && strlen(manifest->commands[i].name) > widest) widest = strlen(manifest->commands[i].name);
  char group[80];
  shown_name(group, sizeof group, manifest->name_space);
  if (manifest->builtin) printf("%s%s%s: %s\n\n", bold(host), group, reset(host), manifest->summary);
  else printf("%s%s%s %s: %s\n\n", bold(host), group, reset(host), manifest->version, manifest->summary);
  const char *between = manifest->builtin ? " " : ":";
  if (host->standalone) printf("Usage: %s COMMAND [arguments]\n", host->program);
  else printf("Usage: %s %s%sCOMMAND [arguments]\n", host->program, group, between);
  heading(host, "Commands");
  for (size_t i = 0; i < manifest->command_count; i++)
    if (!(manifest->commands[i].flags & ETK_HIDDEN))
      line(shown_name(shown, sizeof shown, manifest->commands[i].name), manifest->commands[i].summary, column_for(widest));
  printf("\nA command's own options: %s %s%sCOMMAND --help\n", host->program, host->standalone ? "" : group, host->standalone ? "" : between);
}

/* ---- a command ---- */

static const char *value_word(uint32_t kind) {
  switch (kind) {
  case ETK_KIND_int: return "N";
  case ETK_KIND_real: return "X";
  case ETK_KIND_path: return "PATH";
  case ETK_KIND_choice: return "WORD";
  case ETK_KIND_secret: return "@FILE";
  case ETK_KIND_size: return "SIZE";
  case ETK_KIND_duration: return "TIME";
  case ETK_KIND_ints: return "N,N,…";
  case ETK_KIND_reals: return "X,X,…";
  case ETK_KIND_texts: return "TEXT,…";
  case ETK_KIND_map: return "KEY=VALUE";
  default: return "TEXT";
  }
}

void help_option_left(char *out, size_t size, const struct manifest_option *option) {
  etk_text text = ETK_TEXT_INIT;
  char shown[64];
  char letter = 0;
  for (const char *alias = option->aliases; *alias;) {
    size_t length = strcspn(alias, " ");
    if (length == 1 && !letter) letter = *alias;
    alias += length + strspn(alias + length, " ");
  }
  if (letter) etk_text_printf(&text, "-%c, ", letter);
  else etk_text_puts(&text, "    ");
  etk_text_printf(&text, "--%s", shown_name(shown, sizeof shown, option->name));
  for (const char *alias = option->aliases; *alias;) {
    size_t length = strcspn(alias, " ");
    if (length > 1) etk_text_printf(&text, ", --%.*s", (int)length, alias);
    alias += length + strspn(alias + length, " ");
  }
  if (option->kind != ETK_KIND_flag) etk_text_printf(&text, " %s", value_word(option->kind));
  snprintf(out, size, "%s", text.failed || !text.data ? option->name : text.data);
  for (char *p = out + 4; *p; p++)
    if (*p == '_') *p = '-';
  etk_text_free(&text);
}

/* "bits per weight (2 to 8; default 4; quantize.bits)" */
static void option_right(char *out, size_t size, const struct manifest_option *option, bool builtin) {
  etk_text text = ETK_TEXT_INIT, facts = ETK_TEXT_INIT;
  etk_limits_words(&facts, option->kind, option->limits);
  if (facts.size) etk_text_puts(&facts, "; ");
  if (strcmp(option->default_text, "-") && !(builtin && option->kind == ETK_KIND_flag)) etk_text_printf(&facts, "default %s; ", *option->default_text ? option->default_text : "empty");
  if (!builtin && option->flags & ETK_LOCAL) etk_text_puts(&facts, "command line only; ");
  else if (!builtin) etk_text_printf(&facts, "%s%s%s; ", option->group, *option->group ? "." : "", option->name);
  etk_text_puts(&text, option->help);
  if (facts.size > 2) etk_text_printf(&text, " (%.*s)", (int)facts.size - 2, facts.data);
  snprintf(out, size, "%s", text.failed || facts.failed || !text.data ? option->help : text.data);
  etk_text_free(&text);
  etk_text_free(&facts);
}

static bool visible(const struct host *host, const struct manifest_option *option) {
  return !(option->flags & ETK_HIDDEN) && (host->help_all || !(option->flags & ETK_ADVANCED));
}

static void options_of_group(const struct host *host, const struct manifest *manifest, const struct manifest_command *command, const char *group, size_t column) {
  char left[200], right[1024], title[160];
  snprintf(title, sizeof title, "Options%s%s", *group ? ": " : "", group);
  bool first = true;
  for (size_t i = 0; i < command->option_count; i++) {
    if (strcmp(command->options[i].group, group) || !visible(host, &command->options[i])) continue;
    if (first) heading(host, title);
    first = false;
    help_option_left(left, sizeof left, &command->options[i]);
    option_right(right, sizeof right, &command->options[i], manifest->builtin);
    line(left, right, column);
  }
}

static void argument_right(char *out, size_t size, const struct manifest_argument *argument) {
  etk_text text = ETK_TEXT_INIT;
  etk_text_printf(&text, "%s (%s", argument->help, etk_kind_name(argument->kind));
  size_t before = text.size;
  etk_text_puts(&text, "; ");
  etk_limits_words(&text, argument->kind, argument->limits);
  if (!text.failed && text.size == before + 2) text.data[text.size = before] = '\0';
  etk_text_printf(&text, "%s)", argument->need == ETK_NEED_OPTIONAL ? "; optional" : argument->need == ETK_NEED_VARIADIC ? "; any number" : "");
  snprintf(out, size, "%s", text.failed ? argument->help : text.data);
  etk_text_free(&text);
}

static void print_examples(const struct host *host, const struct manifest *manifest, const struct manifest_command *command) {
  etk_text examples = ETK_TEXT_INIT;
  examples_of(&examples, manifest, command);
  if (examples.size && !examples.failed) {
    heading(host, "Examples");
    for (const char *p = examples.data; *p; p += strcspn(p, "\n") + 1) printf("  %.*s\n", (int)strcspn(p, "\n"), p);
  }
  etk_text_free(&examples);
}

void help_command(struct host *host, const struct manifest *manifest, const struct manifest_command *command) {
  etk_text usage = ETK_TEXT_INIT;
  char left[200], right[512];
  size_t widest = 0, hidden = 0;
  usage_line(&usage, host, manifest, command);
  printf("Usage: ");
  print_folded(usage.data && !usage.failed ? usage.data : command->name, 7, 2);
  putchar('\n');
  putchar('\n');
  paragraph(command->summary);
  etk_text_free(&usage);
  if (command->argument_count) heading(host, "Arguments");
  for (size_t i = 0; i < command->argument_count; i++) {
    const struct manifest_argument *a = &command->arguments[i];
    shown_name(left, sizeof left, a->name);
    argument_right(right, sizeof right, a);
    line(left, right, 24);
  }
  for (size_t i = 0; i < command->option_count; i++) {
    help_option_left(left, sizeof left, &command->options[i]);
    if (!visible(host, &command->options[i])) hidden += !(command->options[i].flags & ETK_HIDDEN);
    else if (etk_utf8_width(left, strlen(left)) > widest) widest = etk_utf8_width(left, strlen(left));
  }
  for (size_t i = 0; i < command->option_count; i++) {
    bool seen = false;
    for (size_t k = 0; k < i; k++) seen = seen || !strcmp(command->options[k].group, command->options[i].group);
    if (!seen) options_of_group(host, manifest, command, command->options[i].group, column_for(widest));
  }
  if (hidden) {
    snprintf(left, sizeof left, "%zu more with --help-all.", hidden);
    putchar('\n');
    paragraph(left);
  }
  if (command->option_count && !manifest->builtin) {
    putchar('\n');
    paragraph("In brackets: the allowed values, the default, and the key for --config FILE and --set KEY=VALUE.");
  }
  print_examples(host, manifest, command);
}
