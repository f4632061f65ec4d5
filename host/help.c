#include "help.h"

#include "builtin.h"
#include "globals.h"
#include "report.h"
#include "resolve.h"
#include "values.h"

static const char *bold(const struct host *host) { return host->out_color ? STYLE_BOLD : ""; }
static const char *reset(const struct host *host) { return host->out_color ? STYLE_RESET : ""; }

static void heading(const struct host *host, const char *text) { printf("\n%s%s%s\n", bold(host), text, reset(host)); }

/* "  left   right", the right side beginning at `column`, on the next line where the left is longer. */
static void line(const char *left, const char *right, size_t column) {
  size_t size = etk_utf8_width(left, strlen(left)) + 2;
  if (!right || !*right) printf("  %s\n", left);
  else if (size + 2 > column) printf("  %s\n%*s%s\n", left, (int)column, "", right);
  else printf("  %s%*s%s\n", left, (int)(column - size), "", right);
}

static size_t column_for(size_t widest) { return (widest > 34 ? 34 : widest) + 4; }

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
  printf("Usage: %s [options] NAMESPACE:COMMAND [arguments]\n\nEfficient machine learning, one command at a time. Use 'NAMESPACE:COMMAND' for the "
         "commands of projects,\n"
         "'%s NAMESPACE' to list them and '%s NAMESPACE:COMMAND --help' for one.\n",
         host->program, host->program, host->program);
  heading(host, "Commands");
  for (size_t i = 0; builtins[i]; i++) {
    char shown[80];
    line(shown_name(shown, sizeof shown, builtins[i]->name_space), builtins[i]->summary, 38);
  }
  list_namespaces(host);
  heading(host, "Options (before or after the command)");
  for (const struct host_option *o = host_options; o->name; o++) {
    char left[80];
    if (!o->help) continue;
    host_option_left(left, sizeof left, o);
    line(left, o->help, 38);
  }
  if (!host->help_all) return;
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

static void option_left(char *out, size_t size, const struct manifest_option *option) {
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

/* "bits per weight (2..8; default 4; quantize.bits)" */
static void option_right(char *out, size_t size, const struct manifest_option *option) {
  etk_text text = ETK_TEXT_INIT;
  etk_text_printf(&text, "%s (", option->help);
  if (*option->limits)
    etk_text_printf(&text, "%s%s; ", option->kind == ETK_KIND_text || option->kind == ETK_KIND_secret ? "length " : "", option->limits);
  if (strcmp(option->default_text, "-")) etk_text_printf(&text, "default %s; ", *option->default_text ? option->default_text : "empty");
  if (option->flags & ETK_LOCAL) etk_text_puts(&text, "command line only)");
  else etk_text_printf(&text, "%s%s%s)", option->group, *option->group ? "." : "", option->name);
  snprintf(out, size, "%s", text.failed || !text.data ? option->help : text.data);
  etk_text_free(&text);
}

static bool visible(const struct host *host, const struct manifest_option *option) {
  return !(option->flags & ETK_HIDDEN) && (host->help_all || !(option->flags & ETK_ADVANCED));
}

static void options_of_group(const struct host *host, const struct manifest_command *command, const char *group, size_t column) {
  char left[200], right[1024], title[160];
  snprintf(title, sizeof title, "Options%s%s", *group ? ": " : "", group);
  bool first = true;
  for (size_t i = 0; i < command->option_count; i++) {
    if (strcmp(command->options[i].group, group) || !visible(host, &command->options[i])) continue;
    if (first) heading(host, title);
    first = false;
    option_left(left, sizeof left, &command->options[i]);
    option_right(right, sizeof right, &command->options[i]);
    line(left, right, column);
  }
}

void help_command(struct host *host, const struct manifest *manifest, const struct manifest_command *command) {
  etk_text usage = ETK_TEXT_INIT;
  char left[200], right[512];
  size_t widest = 0, hidden = 0;
  usage_line(&usage, host, manifest, command);
  printf("Usage: %s\n\n%s\n", usage.data && !usage.failed ? usage.data : command->name, command->summary);
  etk_text_free(&usage);
  if (command->argument_count) heading(host, "Arguments");
  for (size_t i = 0; i < command->argument_count; i++) {
    const struct manifest_argument *a = &command->arguments[i];
    shown_name(left, sizeof left, a->name);
    snprintf(right, sizeof right, "%s (%s%s%s%s)", a->help, etk_kind_name(a->kind), *a->limits ? " " : "", a->limits,
             a->need == ETK_NEED_OPTIONAL ? "; optional" : a->need == ETK_NEED_VARIADIC ? "; any number" : "");
    line(left, right, 24);
  }
  for (size_t i = 0; i < command->option_count; i++) {
    option_left(left, sizeof left, &command->options[i]);
    if (!visible(host, &command->options[i])) hidden += !(command->options[i].flags & ETK_HIDDEN);
    else if (etk_utf8_width(left, strlen(left)) > widest) widest = etk_utf8_width(left, strlen(left));
  }
  for (size_t i = 0; i < command->option_count; i++) {
    bool seen = false;
    for (size_t k = 0; k < i; k++) seen = seen || !strcmp(command->options[k].group, command->options[i].group);
    if (!seen) options_of_group(host, command, command->options[i].group, column_for(widest));
  }
  if (hidden) printf("\n%zu more with --help-all.\n", hidden);
  if (command->option_count)
    printf("\nThe words in brackets are the allowed values, the default and the key for --config FILE and --set KEY=VALUE.\n");
}

/* ---- as JSON ---- */

static void field(etk_text *out, const char *name, const char *text) {
  etk_text_printf(out, "\"%s\":", name);
  put_json(out, text);
}

static void command_json(etk_text *out, const struct manifest_command *command) {
  char shown[64];
  static const char *const needs[] = {"", "required", "optional", "variadic"};
  etk_text_putc(out, '{');
  field(out, "name", shown_name(shown, sizeof shown, command->name));
  etk_text_putc(out, ',');
  field(out, "summary", command->summary);
  etk_text_printf(out, ",\"tracked\":%s,\"arguments\":[", command->flags & ETK_TRACKED ? "true" : "false");
  for (size_t i = 0; i < command->argument_count; i++) {
    const struct manifest_argument *a = &command->arguments[i];
    etk_text_puts(out, i ? ",{" : "{");
    field(out, "name", shown_name(shown, sizeof shown, a->name));
    etk_text_printf(out, ",\"kind\":\"%s\",\"need\":\"%s\",", etk_kind_name(a->kind), a->need <= 3 ? needs[a->need] : "");
    field(out, "limits", a->limits);
    etk_text_putc(out, ',');
    field(out, "help", a->help);
    etk_text_putc(out, '}');
  }
  etk_text_puts(out, "],\"options\":[");
  for (size_t i = 0; i < command->option_count; i++) {
    const struct manifest_option *o = &command->options[i];
    etk_text_puts(out, i ? ",{" : "{");
    field(out, "name", shown_name(shown, sizeof shown, o->name));
    etk_text_printf(out, ",\"kind\":\"%s\",", etk_kind_name(o->kind));
    field(out, "default", strcmp(o->default_text, "-") ? o->default_text : NULL);
    etk_text_putc(out, ',');
    field(out, "limits", o->limits);
    etk_text_putc(out, ',');
    field(out, "group", o->group);
    etk_text_putc(out, ',');
    field(out, "aliases", o->aliases);
    etk_text_printf(out, ",\"advanced\":%s,", o->flags & ETK_ADVANCED ? "true" : "false");
    field(out, "help", o->help);
    etk_text_putc(out, '}');
  }
  etk_text_puts(out, "]}");
}

void manifest_json(etk_text *out, const struct manifest *manifest, const struct manifest_command *only) {
  etk_text_putc(out, '{');
  field(out, "namespace", manifest->name_space);
  etk_text_putc(out, ',');
  field(out, "version", manifest->version);
  etk_text_putc(out, ',');
  field(out, "summary", manifest->summary);
  etk_text_puts(out, ",\"commands\":[");
  bool first = true;
  for (size_t i = 0; i < manifest->command_count; i++) {
    if (only ? &manifest->commands[i] != only : manifest->commands[i].flags & ETK_HIDDEN) continue;
    if (!first) etk_text_putc(out, ',');
    first = false;
    command_json(out, &manifest->commands[i]);
  }
  etk_text_puts(out, "]}");
}
