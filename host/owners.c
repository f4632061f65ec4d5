#include "owners.h"

#include "note.h"

#include <etk/alloc.h>
#include <unistd.h>

/* The line of a note that begins a command ends its name with a tab, so the name is found without reading the rest. */
static bool has_command(const struct search_path *path, const struct plugin *plugin, const char *line, size_t line_size) {
  struct trust trust;
  char *text = NULL;
  size_t size = 0;
  int fd;
  if (plugin_open(NULL, &fd, &trust, path, plugin)) return false;
  etk_status status = note_read_sized(NULL, &text, &size, fd, plugin->path, trust.size);
  close(fd);
  const char *found = status ? NULL : memmem(text, size, line, line_size);
  const char *end = found ? memchr(found + 1, '\n', size - (size_t)(found + 1 - text)) : NULL, *flags = found ? found + line_size : NULL;
  unsigned value = 0;
  for (; flags && end && flags < end && *flags >= '0' && *flags <= '9'; flags++) value = value * 10 + (unsigned)(*flags - '0');
  etk_free(text);
  return found && !(value & ETK_HIDDEN);
}

size_t command_owners(etk_text *out, struct host *host, const char *command) {
  enum { SHOWN = 4 };
  char line[80], shown[64];
  struct plugin_list list;
  size_t count = 0;
  if (strlen(command) > 48 || command[strspn(command, "abcdefghijklmnopqrstuvwxyz0123456789_-")]) return 0;
  int size = snprintf(line, sizeof line, "\ncommand\t%s\t", command);
  for (char *p = line; *p; p++)
    if (*p == '-') *p = '_';
  if (discover_all(NULL, &list, &host->path)) return 0;
  for (size_t i = 0; i < list.count; i++) {
    const struct plugin *plugin = &list.items[i];
    if (plugin->shadowed || !legal_namespace(plugin->name_space) || !has_command(&host->path, plugin, line, (size_t)size)) continue;
    if (count++ < SHOWN) etk_text_printf(out, "%s'%s:%s'", count > 1 ? " or " : "", plugin->name_space, shown_name(shown, sizeof shown, command));
  }
  plugin_list_free(&list);
  return count;
}
