#include "help.h"

#include "report.h"

/* The host's commands and options for programs. */
static void host_json(etk_text *out) {
  etk_text_puts(out, "{\"commands\":[");
  for (const struct builtin *b = builtins; b->name; b++) {
    etk_text_puts(out, b == builtins ? "{\"name\":" : ",{\"name\":");
    put_json(out, b->name);
    etk_text_puts(out, ",\"usage\":");
    put_json(out, b->usage);
    etk_text_puts(out, ",\"summary\":");
    put_json(out, b->summary);
    etk_text_putc(out, '}');
  }
  etk_text_puts(out, "]}");
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
  else if (host->json) {
    etk_text text = ETK_TEXT_INIT;
    manifest_json(&text, &manifest, command);
    host_print_document(host, "help", "ok", text.failed ? NULL : text.data, NULL);
    etk_text_free(&text);
  } else if (command) help_command(host, &manifest, command);
  else help_namespace(host, &manifest);
  manifest_fini(&manifest);
  return code;
}

int builtin_help(struct host *host, int count, char **arguments) {
  etk_error e = ETK_ERROR_INIT;
  if (count > 2) {
    etk_fail(&e, ETK_E_USAGE, "help takes one name, like help lora-finetuning-mlx:train");
    return host_error(host, &e, 0, NULL);
  }
  const struct builtin *builtin = count ? builtin_find(arguments[0]) : NULL;
  if (builtin && count == 1 && !host->json) {
    printf("Usage: %s %s\n\n%s\n", host->program, builtin->usage, builtin->summary);
    return 0;
  }
  if (count && !builtin) {
    const char *colon = strchr(arguments[0], ':');
    const char *name_space = etk_arena_strndup(&host->arena, arguments[0], colon ? (size_t)(colon - arguments[0]) : strlen(arguments[0]));
    if (!name_space) {
      etk_fail(&e, ETK_E_NO_MEMORY, "out of memory");
      return host_error(host, &e, 0, NULL);
    }
    return help_of(host, name_space, colon ? colon + 1 : count > 1 ? arguments[1] : NULL);
  }
  if (!host->json) {
    help_host(host);
    return 0;
  }
  etk_text text = ETK_TEXT_INIT;
  host_json(&text);
  host_print_document(host, "help", "ok", text.failed ? NULL : text.data, NULL);
  etk_text_free(&text);
  return 0;
}
