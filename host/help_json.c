/* help_json.c: what help tells, for programs. */
#include "help.h"
#include "report.h"

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
