/* projects: every plugin in every folder, each loaded in a child process and asked for its true state. */
#include "builtin.h"
#include "loader.h"
#include "report.h"

#include <etk/fs.h>
#include <unistd.h>

#define COMMANDS(CMD) CMD(projects, ETK_NONE, ETK_NONE, 0, "List projects, each loaded and checked")
BUILTIN(projects, "List projects, each loaded and checked", COMMANDS)

static const char *state(const struct plugin *plugin, const struct probe *probe) { return !probe->ok ? "broken" : plugin->shadowed ? "shadowed" : "ok"; }

static void item_json(etk_text *out, const struct plugin *plugin, const struct probe *probe) {
  etk_text_puts(out, "{\"namespace\":");
  put_json(out, plugin->name_space);
  etk_text_puts(out, ",\"version\":");
  put_json(out, *probe->version ? probe->version : NULL);
  etk_text_puts(out, ",\"summary\":");
  put_json(out, *probe->abi ? probe->summary : NULL);
  etk_text_puts(out, ",\"abi\":");
  put_json(out, *probe->abi ? probe->abi : NULL);
  etk_text_printf(out, ",\"commands\":%zu,\"state\":\"%s\",\"reason\":", probe->commands, probe->ok ? "ok" : "broken");
  put_json(out, probe->ok ? NULL : probe->reason);
  etk_text_puts(out, ",\"path\":");
  put_json(out, plugin->path);
  etk_text_puts(out, ",\"origin\":");
  put_json(out, plugin->origin);
  etk_text_printf(out, ",\"shadowed\":%s,\"shadowed_by\":", plugin->shadowed ? "true" : "false");
  put_json(out, plugin->shadowed_by);
  etk_text_puts(out, ",\"elapsed_ms\":");
  etk_text_real(out, (double)(probe->elapsed_ns / 1000) / 1000.0);
  etk_text_putc(out, '}');
}

static int print_json(struct host *host, const struct plugin_list *list, const struct probe *probes) {
  etk_text text = ETK_TEXT_INIT;
  etk_text_puts(&text, "{\"projects\":[");
  for (size_t i = 0; i < list->count; i++) {
    if (i) etk_text_putc(&text, ',');
    item_json(&text, &list->items[i], &probes[i]);
  }
  etk_text_puts(&text, "],\"search_path\":[");
  for (size_t i = 0; i < host->path.count; i++) {
    etk_text_puts(&text, i ? ",{\"path\":" : "{\"path\":");
    put_json(&text, host->path.dirs[i]);
    etk_text_puts(&text, ",\"origin\":");
    put_json(&text, host->path.origins[i]);
    etk_text_printf(&text, ",\"exists\":%s}", etk_fs_is_dir(host->path.dirs[i]) ? "true" : "false");
  }
  etk_text_puts(&text, "]}");
  bool failed = text.failed;
  if (!failed) host_print_document(host, "projects", "ok", text.data, NULL);
  etk_text_free(&text);
  if (!failed) return 0;
  etk_error e = ETK_ERROR_INIT;
  etk_fail(&e, ETK_E_NO_MEMORY, "no memory for the list of projects");
  return host_error(host, &e, 0, NULL);
}

static void print_folders(const struct host *host) {
  for (size_t i = 0; i < host->path.count; i++)
    printf("  %s  (%s%s)\n", host->path.dirs[i], host->path.origins[i], etk_fs_is_dir(host->path.dirs[i]) ? "" : ", not there");
}

static void print_table(struct host *host, const struct plugin_list *list, const struct probe *probes) {
  static const char *const headers[] = {"NAMESPACE", "VERSION", "STATE", "COMMANDS", "SUMMARY", "ABI", "TIME", "FROM", "PATH"};
  enum { PLAIN = 5, ALL = sizeof headers / sizeof headers[0] };
  bool all = host->verbose > 0;
  struct table *table = table_new(headers, all ? ALL : PLAIN);
  for (size_t i = 0; table && i < list->count; i++) {
    const struct plugin *plugin = &list->items[i];
    if (plugin->shadowed && !all) continue;
    char commands[24], time[32];
    snprintf(commands, sizeof commands, "%zu", probes[i].commands);
    snprintf(time, sizeof time, "%.1f ms", (double)probes[i].elapsed_ns / 1e6);
    const char *cells[] = {plugin->name_space, probes[i].version, state(plugin, &probes[i]), *probes[i].abi ? commands : "", probes[i].summary, probes[i].abi, time, plugin->origin,
                           plugin->path};
    table_add(table, cells);
  }
  if (table) table_print(table, stdout, host->out_color, all ? 0 : terminal_width());
  table_free(table);
}

static void print_person(struct host *host, const struct plugin_list *list, const struct probe *probes) {
  size_t broken = 0, shadowed = 0;
  print_table(host, list, probes);
  for (size_t i = 0; i < list->count; i++) {
    const struct plugin *plugin = &list->items[i];
    shadowed += plugin->shadowed;
    if (probes[i].ok || (plugin->shadowed && !host->verbose)) continue;
    /* Most reasons begin with the path already. */
    bool named = !strncmp(probes[i].reason, plugin->path, strlen(plugin->path));
    printf("%s%s: %s%s%s\n", broken++ ? "" : "\nBroken:\n", plugin->name_space, named ? "" : plugin->path, named ? "" : ": ", probes[i].reason);
  }
  if (host->verbose) {
    for (size_t i = 0; i < list->count; i++)
      if (list->items[i].shadowed) printf("\n%s is not used: %s comes first\n", list->items[i].path, list->items[i].shadowed_by);
    printf("\nSearched, the first wins:\n");
    print_folders(host);
  } else if (shadowed && !host->quiet) {
    host_note(host, "%zu more plugin%s shadowed by the same namespace in a folder before (--verbose shows them)", shadowed, shadowed == 1 ? " is" : "s are");
  }
}

static void print_none(struct host *host) {
  printf("No projects found. Searched:\n");
  print_folders(host);
  printf("\nA project is a file libproj-<namespace>.so in one of these folders. To make one: %s new NAMESPACE\n", host->program);
}

static int projects_run(struct host *host, const struct projects_options *o) {
  etk_error e = ETK_ERROR_INIT;
  (void)o;
  struct plugin_list list;
  if (discover_all(&e, &list, &host->path)) return host_error(host, &e, 0, NULL);
  int code = 0;
  struct probe *probes = etk_calloc(list.count + 1, sizeof *probes);
  if (!probes) code = host_error(host, &(etk_error){ETK_E_NO_MEMORY, "no memory for the list of projects"}, 0, NULL);
  else if (plugin_probe(&e, probes, &host->path, list.items, list.count, true)) code = host_error(host, &e, 0, NULL);
  else if (host->json) code = print_json(host, &list, probes);
  else if (list.count) print_person(host, &list, probes);
  else print_none(host);
  etk_free(probes);
  plugin_list_free(&list);
  return code;
}
