/* manifest.c: rows of text (a note, or a vtable written out as one) become tables. One allocation holds them all. */
#include "manifest.h"

#include <etk/text.h>

void manifest_fini(struct manifest *manifest) {
  etk_arena_fini(&manifest->arena);
  *manifest = (struct manifest){0};
}

const struct manifest_command *manifest_command(const struct manifest *manifest, const char *name) {
  for (size_t i = 0; i < manifest->command_count; i++)
    if (etk_text_equal_name(manifest->commands[i].name, name)) return &manifest->commands[i];
  return NULL;
}

/* ---- reading ---- */

enum { MOST_FIELDS = 9 };

enum row_type { ROW_NOTE, ROW_PROJECT, ROW_COMMAND, ROW_ARGUMENT, ROW_OPTION, ROW_OTHER };
static const struct {
  const char *name;
  size_t fields; /* at least, with the name; more are ignored */
  const char *columns;
} rows[] = {[ROW_NOTE] = {"note", 2, "revision"},
            [ROW_PROJECT] = {"project", 6, "namespace, version, abi, host minor, summary"},
            [ROW_COMMAND] = {"command", 4, "name, flags, summary"},
            [ROW_ARGUMENT] = {"argument", 6, "kind, name, need, limits, help"},
            [ROW_OPTION] = {"option", 9, "kind, name, default, limits, group, aliases, flags, help"}};

static enum row_type row_type(const char *row, size_t size) {
  for (enum row_type i = 0; i < ROW_OTHER; i++) {
    size_t n = strlen(rows[i].name);
    if (size >= n && !memcmp(row, rows[i].name, n) && (size == n || row[n] == '\t')) return i;
  }
  return ROW_OTHER;
}

struct reader {
  struct manifest *out;
  struct manifest_command *commands, *command;
  struct manifest_argument *arguments;
  struct manifest_option *options;
  size_t line;
  bool seen_project;
  bool foreign; /* of another ABI: the rows after may mean other things, and the caller says what is wrong */
};

static etk_status wrong(etk_error *e, const struct reader *r, const char *column, const char *value, const char *wanted) {
  return etk_fail(e, ETK_E_FORMAT, "note line %zu: the %s '%.60s' is not %s", r->line, column, value, wanted);
}

/* In place: \t \n \| \\ become what they stand for. */
static char *decode(char *text) {
  char *to = strchr(text, '\\');
  if (!to) return text;
  for (const char *from = to; *from; from++) {
    if (*from == '\\' && from[1]) {
      from++;
      if (*from != 't' && *from != 'n' && *from != '|' && *from != '\\') *to++ = '\\'; /* no escape of ours: left as it is */
      *to++ = (char)(*from == 't' ? '\t' : *from == 'n' ? '\n' : *from);
    } else *to++ = *from;
  }
  *to = '\0';
  return text;
}

/* Decimal, ends at `end` or the end of text. */
static bool number(unsigned *out, const char **cursor, unsigned most) {
  const char *p = *cursor;
  uint64_t value = 0;
  if (*p < '0' || *p > '9') return false;
  for (; *p >= '0' && *p <= '9'; p++)
    if ((value = value * 10 + (uint64_t)(*p - '0')) > most) return false;
  *out = (unsigned)value;
  *cursor = p;
  return true;
}

/* What the preprocessor made of a flags column: "0", "1|8", "(1 | 2)". */
static bool flags(uint32_t *out, const char *text) {
  int depth = 0;
  bool wanted = true; /* a number, or the '(' before it */
  *out = 0;
  for (const char *p = text; *p;) {
    unsigned value;
    if (*p == ' ') p++;
    else if (wanted && *p == '(') depth++, p++;
    else if (wanted && number(&value, &p, UINT32_MAX)) {
      *out |= value;
      wanted = false;
      if (*p == 'u' || *p == 'U') p++;
    } else if (!wanted && *p == ')' && depth) depth--, p++;
    else if (!wanted && *p == '|') wanted = true, p++;
    else return false;
  }
  return !wanted && !depth;
}

static etk_status kind(etk_error *e, const struct reader *r, uint32_t *out, const char *name, const char *noun, const char *of) {
  if (etk_kind_parse(out, name)) return ETK_OK;
  char shown[64];
  return etk_fail(e, ETK_E_UNSUPPORTED, "note line %zu: %s '%.48s' of command '%s' is of the kind '%.32s', which this host (ABI %d.%d) does not know: update efficientai-toolkit",
                  r->line, noun, of, r->command ? shown_name(shown, sizeof shown, r->command->name) : "?", name, ETK_ABI_MAJOR, ETK_ABI_MINOR);
}

static etk_status read_note(etk_error *e, struct reader *r, char **field) {
  const char *p = field[1];
  if (r->line != 1) return etk_fail(e, ETK_E_FORMAT, "note line %zu: a second 'note' row", r->line);
  if (!number(&r->out->note_revision, &p, 1000000) || *p || !r->out->note_revision) return wrong(e, r, "revision", field[1], "a positive number");
  return ETK_OK;
}

static etk_status read_project(etk_error *e, struct reader *r, char **field) {
  if (r->seen_project) return etk_fail(e, ETK_E_FORMAT, "note line %zu: a second 'project' row", r->line);
  struct manifest *m = r->out;
  const char *p = field[3];
  if (!number(&m->abi_major, &p, UINT16_MAX) || *p++ != '.' || !number(&m->abi_minor, &p, UINT16_MAX) || *p) return wrong(e, r, "ABI", field[3], "MAJOR.MINOR");
  p = field[4];
  if (!number(&m->host_minor, &p, UINT16_MAX) || *p) return wrong(e, r, "oldest host minor", field[4], "a number up to 65535");
  m->name_space = decode(field[1]);
  m->version = decode(field[2]);
  m->summary = decode(field[5]);
  r->seen_project = true;
  r->foreign = m->abi_major != ETK_ABI_MAJOR || m->host_minor > ETK_ABI_MINOR;
  return ETK_OK;
}

static etk_status read_command(etk_error *e, struct reader *r, char **field) {
  if (!r->seen_project) return etk_fail(e, ETK_E_FORMAT, "note line %zu: a command before the 'project' row", r->line);
  struct manifest_command *command = &r->commands[r->out->command_count++];
  if (!flags(&command->flags, field[2])) return wrong(e, r, "flags", field[2], "decimal numbers joined by '|'");
  command->name = decode(field[1]);
  command->summary = decode(field[3]);
  command->arguments = r->arguments;
  command->options = r->options;
  r->command = command;
  return ETK_OK;
}

static etk_status read_argument(etk_error *e, struct reader *r, char **field) {
  if (!r->command) return etk_fail(e, ETK_E_FORMAT, "note line %zu: an argument before any command", r->line);
  struct manifest_argument *argument = r->arguments;
  etk_status status = kind(e, r, &argument->kind, field[1], "argument", field[2]);
  if (status) return status;
  static const char *const needs[] = {"REQUIRED", "OPTIONAL", "VARIADIC"};
  for (uint32_t i = 0; i < 3; i++)
    if (!strcmp(field[3], needs[i])) argument->need = i + 1;
  if (!argument->need) return wrong(e, r, "need", field[3], "REQUIRED, OPTIONAL or VARIADIC");
  argument->name = decode(field[2]);
  argument->limits = field[4];
  argument->help = decode(field[5]);
  r->arguments++;
  r->command->argument_count++;
  return ETK_OK;
}

static etk_status read_option(etk_error *e, struct reader *r, char **field) {
  if (!r->command) return etk_fail(e, ETK_E_FORMAT, "note line %zu: an option before any command", r->line);
  struct manifest_option *option = r->options;
  etk_status status = kind(e, r, &option->kind, field[1], "option", field[2]);
  if (status) return status;
  if (!flags(&option->flags, field[7])) return wrong(e, r, "flags", field[7], "decimal numbers joined by '|'");
  option->name = decode(field[2]);
  option->default_text = decode(field[3]);
  option->limits = field[4];
  option->group = decode(field[5]);
  option->aliases = decode(field[6]);
  option->help = decode(field[8]);
  r->options++;
  r->command->option_count++;
  return ETK_OK;
}

static etk_status (*const readers[])(etk_error *, struct reader *, char **) = {read_note, read_project, read_command, read_argument, read_option};

static etk_status read_row(etk_error *e, struct reader *r, char *row, char *end) {
  enum row_type type = row_type(row, (size_t)(end - row));
  if (r->line == 1 && type != ROW_NOTE) return etk_fail(e, ETK_E_FORMAT, "note line 1: is not a 'note' row but '%.40s'", row);
  if (type == ROW_OTHER) return ETK_OK; /* of a newer revision */
  char *field[MOST_FIELDS];
  size_t count = 0;
  for (char *p = row; p && count < MOST_FIELDS;) {
    field[count++] = p;
    if ((p = memchr(p, '\t', (size_t)(end - p)))) *p++ = '\0';
  }
  if (count < rows[type].fields)
    return etk_fail(e, ETK_E_FORMAT, "note line %zu: a row of type '%s' has %zu columns and needs %zu (%s)", r->line, rows[type].name, count - 1, rows[type].fields - 1,
                    rows[type].columns);
  return readers[type](e, r, field);
}

/* Bytes that a terminal would obey have no place in a note; the escapes \t and \n are for those that do. */
static etk_status control_bytes(etk_error *e, const char *text, size_t size) {
  unsigned bad = 0; /* no early exit, so that this is a few instructions for 16 bytes */
  for (size_t i = 0; i < size; i++) {
    unsigned char c = (unsigned char)text[i];
    bad |= (unsigned)((c < 32) & (c != '\t') & (c != '\n')) | (unsigned)(c == 127);
  }
  if (!bad) return ETK_OK;
  size_t line = 1;
  for (size_t i = 0; i < size; i++) {
    unsigned char c = (unsigned char)text[i];
    if (c == '\n') line++;
    else if ((c < 32 && c != '\t') || c == 127) return etk_fail(e, ETK_E_FORMAT, "note line %zu: holds the control byte 0x%02x", line, c);
  }
  return ETK_OK;
}

static etk_status allocate(etk_error *e, struct reader *r, char **copy, const char *text, size_t size) {
  size_t count[ROW_OTHER + 1] = {0};
  for (const char *p = text, *end = text + size; p < end;) {
    const char *stop = memchr(p, '\n', (size_t)(end - p));
    if (!stop) break;
    count[row_type(p, (size_t)(stop - p))]++;
    p = stop + 1;
  }
  /* Counts are bounded by the size of the text, so these sums cannot overflow. Each table ends aligned for the next. */
  size_t commands = count[ROW_COMMAND] * sizeof *r->commands, options = count[ROW_OPTION] * sizeof *r->options, arguments = count[ROW_ARGUMENT] * sizeof *r->arguments;
  char *block = etk_arena_alloc(&r->out->arena, commands + options + arguments + size + 1);
  if (!block) return etk_fail(e, ETK_E_NO_MEMORY, "no memory for a note of %zu bytes", size);
  r->commands = (struct manifest_command *)(void *)block;
  r->options = (struct manifest_option *)(void *)(block + commands);
  r->arguments = (struct manifest_argument *)(void *)(block + commands + options);
  *copy = block + commands + options + arguments;
  memcpy(*copy, text, size);
  return ETK_OK;
}

etk_status manifest_from_text(etk_error *e, struct manifest *out, const char *text, size_t size) {
  *out = (struct manifest){0};
  struct reader r = {.out = out};
  while (size && !text[size - 1]) size--; /* the string's NUL and a linker's padding */
  char *row = NULL;
  etk_status status = size ? control_bytes(e, text, size) : etk_fail(e, ETK_E_FORMAT, "the note is empty");
  if (!status) status = allocate(e, &r, &row, text, size);
  out->commands = r.commands;
  for (char *end = status ? row : row + size; !status && !r.foreign && row < end;) {
    char *stop = memchr(row, '\n', (size_t)(end - row));
    r.line++;
    if (!stop) status = etk_fail(e, ETK_E_FORMAT, "note line %zu: ends in the middle ('%.40s'): the note was cut short", r.line, row);
    else {
      *stop = '\0';
      status = read_row(e, &r, row, stop);
      row = stop + 1;
    }
  }
  if (!status && !r.seen_project) status = etk_fail(e, ETK_E_FORMAT, "the note has no 'project' row: it was cut short");
  if (status) manifest_fini(out);
  return status;
}

/* ---- writing ---- */

struct writer {
  etk_error *e;
  etk_text text;
  etk_status status;
};

static void column(struct writer *w, const char *value, const char *what, char end) {
  if (w->status) return;
  if (!value) w->status = etk_fail(w->e, ETK_E_FORMAT, "%s is NULL; an empty one is written \"\"", what);
  else if (value[strcspn(value, "\t\n")]) w->status = etk_fail(w->e, ETK_E_FORMAT, "%s holds a tab or a newline: write \"\\\\t\" or \"\\\\n\" in the source", what);
  else {
    etk_text_puts(&w->text, value);
    etk_text_putc(&w->text, end);
  }
}

static const char *known_kind(uint32_t kind_number) { return etk_kind_name(kind_number) ? etk_kind_name(kind_number) : "unknown"; }

static void write_command(struct writer *w, const etk_project *project, const etk_command_row *command) {
  static const char *const needs[] = {"NONE", "REQUIRED", "OPTIONAL", "VARIADIC"};
  etk_text_puts(&w->text, "command\t");
  column(w, command->name, "the name of a command", '\t');
  etk_text_printf(&w->text, "%u\t", command->flags);
  column(w, command->summary, "the summary of a command", '\n');
  for (uint32_t i = 0; i < command->argument_count && !w->status; i++) {
    const etk_argument_row *row = (const void *)((const char *)command->arguments + (size_t)i * project->argument_stride);
    etk_text_printf(&w->text, "argument\t%s\t", known_kind(row->kind));
    column(w, row->name, "the name of an argument", '\t');
    etk_text_printf(&w->text, "%s\t", needs[row->need <= ETK_NEED_VARIADIC ? row->need : 0]);
    column(w, row->limits, "the limits of an argument", '\t');
    column(w, row->help, "the help of an argument", '\n');
  }
  for (uint32_t i = 0; i < command->option_count && !w->status; i++) {
    const etk_option_row *row = (const void *)((const char *)command->options + (size_t)i * project->option_stride);
    etk_text_printf(&w->text, "option\t%s\t", known_kind(row->kind));
    column(w, row->name, "the name of an option", '\t');
    column(w, row->default_text, "the default of an option", '\t');
    column(w, row->limits, "the limits of an option", '\t');
    column(w, row->group, "the group of an option", '\t');
    column(w, row->aliases, "the aliases of an option", '\t');
    etk_text_printf(&w->text, "%u\t", row->flags);
    column(w, row->help, "the help of an option", '\n');
  }
}

etk_status manifest_text(etk_error *e, char **text, size_t *size, const etk_project *project) {
  struct writer w = {.e = e};
  etk_text_printf(&w.text, "note\t%d\nproject\t", ETK_NOTE_REVISION);
  column(&w, project->name_space, "the namespace", '\t');
  column(&w, project->version, "the version", '\t');
  etk_text_printf(&w.text, "%u.%u\t%u\t", project->abi_major, project->abi_minor, project->host_minor);
  column(&w, project->summary, "the summary", '\n');
  for (uint32_t i = 0; i < project->command_count && !w.status; i++)
    write_command(&w, project, (const void *)((const char *)project->commands + (size_t)i * project->command_stride));
  *size = w.text.size;
  *text = w.status ? NULL : etk_text_take(&w.text);
  if (!w.status && !*text) w.status = etk_fail(e, ETK_E_NO_MEMORY, "no memory to write out a plugin's table");
  etk_text_free(&w.text);
  return w.status;
}

etk_status manifest_from_project(etk_error *e, struct manifest *out, const etk_project *project) {
  char *text;
  size_t size;
  *out = (struct manifest){0};
  etk_status status = manifest_text(e, &text, &size, project);
  if (!status) status = manifest_from_text(e, out, text, size);
  etk_free(text);
  return status;
}

char *command_title(char *out, size_t size, const struct manifest *manifest, const struct manifest_command *command) {
  char group[80], name[64];
  shown_name(group, sizeof group, manifest->name_space);
  shown_name(name, sizeof name, command->name);
  if (manifest->builtin && !strcmp(group, name)) snprintf(out, size, "%s", name);
  else snprintf(out, size, "%s%c%s", group, manifest->builtin ? ' ' : ':', name);
  return out;
}
