#include "help.h"

#include "builtin.h"
#include "report.h"

#define HELP_ARGS(ARG)                                                                 \
  ARG(text, name, OPTIONAL, "", "a command, NAMESPACE or NAMESPACE:COMMAND")           \
  ARG(text, command, OPTIONAL, "", "a command of it")
#define COMMANDS(CMD) CMD(help, HELP_ARGS, ETK_NONE, 0, "Show help for this program, a project or a command")
BUILTIN(help, "Show help for this program, a project or a command", COMMANDS)

/* Every built-in for programs, as projects are told. */
static etk_status host_json(etk_error *e, etk_text *out) {
  etk_text_puts(out, "{\"groups\":[");
  bool first = true;
  for (size_t i = 0; builtins[i]; i++) {
    struct manifest manifest;
    if (builtins[i]->commands[0].flags & ETK_HIDDEN) continue;
    etk_status status = builtin_manifest(e, &manifest, builtins[i]);
    if (status) return status;
    if (!first) etk_text_putc(out, ',');
    first = false;
    manifest_json(out, &manifest, NULL);
    manifest_fini(&manifest);
  }
  etk_text_puts(out, "]}");
  return ETK_OK;
}

static void show(struct host *host, const struct manifest *manifest, const struct manifest_command *command) {
  if (!host->json) {
    if (command) help_command(host, manifest, command);
    else help_namespace(host, manifest);
    return;
  }
  etk_text text = ETK_TEXT_INIT;
  manifest_json(&text, manifest, command);
  host_print_document(host, "help", "ok", text.failed ? NULL : text.data, NULL);
  etk_text_free(&text);
}

int help_builtin(struct host *host, const etk_project *group, const char *command_name) {
  struct manifest manifest;
  etk_error e = ETK_ERROR_INIT;
  if (builtin_manifest(&e, &manifest, group)) return host_error(host, &e, 0, NULL);
  if (!command_name && builtin_is_single(group)) command_name = group->name_space;
  const struct manifest_command *command = command_name ? manifest_command(&manifest, command_name) : NULL;
  int code = 0;
  if (command_name && !command) code = host_no_command(host, &manifest, command_name);
  else show(host, &manifest, command);
  manifest_fini(&manifest);
  return code;
}

/* help ns, help ns:cmd, help ns cmd. */
static int help_of(struct host *host, const char *name_space, const char *command_name) {
  struct plugin plugin;
  struct manifest manifest;
  host->name_space = name_space;
  int code = host_find(host, name_space, &plugin, &manifest);
  if (code) return code;
  const struct manifest_command *command = command_name ? manifest_command(&manifest, command_name) : NULL;
  if (command_name && !command) code = host_no_command(host, &manifest, command_name);
  else show(host, &manifest, command);
  manifest_fini(&manifest);
  return code;
}

static int help_run(struct host *host, const char *name, const char *command, const struct help_options *o) {
  etk_error e = ETK_ERROR_INIT;
  (void)o;
  if (name) {
    const char *colon = strchr(name, ':');
    if (colon) command = colon + 1;
    char *head = etk_arena_strndup(&host->arena, name, colon ? (size_t)(colon - name) : strlen(name));
    if (!head) {
      etk_fail(&e, ETK_E_NO_MEMORY, "out of memory");
      return host_error(host, &e, 0, NULL);
    }
    const etk_project *group = builtin_find(head);
    return group ? help_builtin(host, group, command) : help_of(host, head, command);
  }
  if (!host->json) {
    help_host(host);
    return 0;
  }
  etk_text text = ETK_TEXT_INIT;
  etk_status status = host_json(&e, &text);
  if (!status) host_print_document(host, "help", "ok", text.failed ? NULL : text.data, NULL);
  etk_text_free(&text);
  return status ? host_error(host, &e, 0, NULL) : 0;
}
