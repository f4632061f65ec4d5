#include "values.h"

const char *source_name(int source) {
  static const char *const names[] = {"unset", "default", "profile", "config", "environment", "set", "command line"};
  return source >= 0 && (size_t)source < sizeof names / sizeof names[0] ? names[source] : "unset";
}

/* ---- rows of commands as one table ---- */

static etk_status no_memory(etk_error *e) { return etk_fail(e, ETK_E_NO_MEMORY, "out of memory while making a table of options"); }

/* A manifest holds its strings decoded, rows of a table are escaped as in a source. */
const char *table_text(etk_arena *arena, const char *text) {
  if (!text[strcspn(text, "\\\t\n")]) return text;
  char *out = etk_arena_alloc(arena, 2 * strlen(text) + 1), *to = out;
  for (; out && *text; text++) {
    if (*text == '\\' || *text == '\t' || *text == '\n') *to++ = '\\';
    *to++ = (char)(*text == '\t' ? 't' : *text == '\n' ? 'n' : *text);
  }
  return out;
}

static bool same_key(const struct manifest_option *a, const struct manifest_option *b) { return !strcmp(a->group, b->group) && !strcmp(a->name, b->name); }

struct merge {
  etk_arena *arena;
  const struct manifest_command *const *commands;
  size_t count;
};

/* The option of the key in a command; NULL: none, or one that no file may hold. */
static const struct manifest_option *in_command(const struct merge *m, size_t command, const struct manifest_option *key) {
  for (size_t i = 0; i < m->commands[command]->option_count; i++) {
    const struct manifest_option *option = &m->commands[command]->options[i];
    if (same_key(option, key) && (m->count == 1 || !(option->flags & ETK_LOCAL))) return option;
  }
  return NULL;
}

/* What every command has of it. `differs`: a default that is not everywhere the same is nobody's, and is told in the help instead. */
static bool merge_help(etk_text *help, const struct merge *m, const struct manifest_option *first, bool *differs) {
  char shown[64];
  *differs = false;
  etk_text_puts(help, first->help);
  for (size_t c = 0; c < m->count; c++) {
    const struct manifest_option *other = in_command(m, c, first);
    if (other) *differs = *differs || strcmp(other->default_text, first->default_text);
  }
  etk_text_puts(help, help->size ? " [" : "[");
  size_t listed = 0;
  for (size_t c = 0; c < m->count; c++) {
    const struct manifest_option *other = in_command(m, c, first);
    if (!other) continue;
    etk_text_printf(help, "%s%s", listed++ ? ", " : "", shown_name(shown, sizeof shown, m->commands[c]->name));
    if (*differs) etk_text_printf(help, ": %s", strcmp(other->default_text, "-") ? other->default_text : "unset");
    if (strcmp(other->limits, first->limits)) etk_text_printf(help, " (%s)", *other->limits ? other->limits : "no limits");
  }
  etk_text_putc(help, ']');
  return !help->failed;
}

/* The aliases of every command's option, each once. */
static const char *merge_aliases(const struct merge *m, const struct manifest_option *first) {
  const char *all = first->aliases;
  for (size_t c = 0; c < m->count; c++) {
    const struct manifest_option *other = in_command(m, c, first);
    for (const char *alias = other ? other->aliases : ""; *alias;) {
      size_t size = strcspn(alias, " ");
      bool known = false;
      for (const char *p = all; *p && !known; p += strcspn(p, " "), p += strspn(p, " ")) known = strcspn(p, " ") == size && !strncmp(p, alias, size);
      if (!known) all = etk_arena_printf(m->arena, "%s%s%.*s", all, *all ? " " : "", (int)size, alias);
      if (!all) return NULL;
      alias += size;
      alias += strspn(alias, " ");
    }
  }
  return all;
}

static etk_status merge_row(etk_error *e, etk_option_row *row, const struct merge *m, const struct manifest_option *first) {
  etk_text help = ETK_TEXT_INIT;
  bool differs = false;
  uint32_t flags = first->flags;
  for (size_t c = 0; c < m->count; c++) {
    const struct manifest_option *other = in_command(m, c, first);
    if (other) flags &= other->flags;
  }
  bool fine = m->count == 1 || merge_help(&help, m, first, &differs);
  *row = (etk_option_row){.kind = first->kind, .flags = flags, .name = first->name, .limits = first->limits, .group = first->group,
                          .default_text = differs ? "-" : table_text(m->arena, first->default_text), .aliases = merge_aliases(m, first)};
  const char *text = m->count == 1 ? first->help : fine ? etk_arena_strdup(m->arena, help.data) : NULL;
  row->help = text ? table_text(m->arena, text) : NULL;
  etk_text_free(&help);
  return row->help && row->default_text && row->aliases ? ETK_OK : no_memory(e);
}

etk_status option_table(etk_error *e, etk_option_table *out, etk_arena *arena, const struct manifest *manifest, const struct manifest_command *const *commands,
                        size_t count) {
  struct merge m = {arena, commands, count};
  char shown[64];
  size_t most = 0;
  for (size_t c = 0; c < count; c++) most += commands[c]->option_count;
  etk_option_row *rows = etk_arena_array(arena, most + 1, sizeof *rows);
  const char *summary = table_text(arena, count == 1 ? commands[0]->summary : manifest->summary);
  const char *name = count == 1 ? etk_arena_printf(arena, "%s%c%s", manifest->name_space, manifest->builtin ? ' ' : ':', shown_name(shown, sizeof shown, commands[0]->name))
                                : etk_arena_strdup(arena, manifest->name_space);
  if (!rows || !summary || !name) return no_memory(e);
  *out = (etk_option_table){.name = name, .summary = summary, .rows = rows};
  for (size_t c = 0; c < count; c++)
    for (size_t i = 0; i < commands[c]->option_count; i++) {
      const struct manifest_option *option = &commands[c]->options[i];
      if (in_command(&m, c, option) != option) continue;
      bool known = false;
      for (size_t k = 0; k < c && !known; k++) known = in_command(&m, k, option) != NULL;
      etk_status status = known ? ETK_OK : merge_row(e, &rows[out->count], &m, option);
      if (status) return status;
      if (!known) out->count++;
    }
  return ETK_OK;
}
