/* shell_session.h: what the files of the interactive shell share. A session remembers a namespace, settings and a history; every command runs as a process
 * of its own, so that a crash does not end the session. */
#ifndef SHELL_SESSION_H
#define SHELL_SESSION_H

#include "complete.h"
#include "shell_words.h"

struct setting {
  const char *key, *value;
  const char *name_space; /* in use when it was set, whose commands get it; NULL: all projects' do */
};
struct session {
  struct host *host;
  etk_arena arena;          /* for the session */
  struct manifest manifest; /* of the namespace in use */
  bool used;
  struct setting *settings;
  size_t setting_count, setting_capacity;
  bool interactive, over;
  int line_number;
};

/* ---- the shell's own commands (builtins/shell.c) ---- */
struct shell_command {
  const char *name, *usage, *summary;
  int (*run)(struct session *session, size_t count, const char *const *words); /* words after the name; the exit code */
};
extern const struct shell_command shell_commands[]; /* ends with a NULL name */
/* "train" in a namespace that has it is that command, whatever else is called so. */
bool session_has_command(const struct session *session, const char *word);
/* What may stand at the end of `line`. *start: where in the line the word begins that a candidate replaces. */
etk_status session_complete(etk_error *e, struct completion *out, struct session *session, const char *line, size_t size, size_t *start);

/* ---- lines (shell_line.c) ---- */
struct shell_line;
enum line_result { LINE_READ, LINE_CLEARED, LINE_END };
/* Editing with libedit where standard input and output are a terminal and it can be opened, else plain lines. */
etk_status shell_line_open(etk_error *e, struct shell_line **out, struct session *session);
/* *line: without its newline, valid until the next call. LINE_CLEARED: Ctrl-C. */
enum line_result shell_line_read(struct shell_line *reader, const char **line, size_t *size);
/* The line goes to the history of this session, and of later ones by the file; lines that hold a secret or begin with a blank do not. */
void shell_line_keep(struct shell_line *reader, const char *line);
void shell_line_close(struct shell_line *reader);

/* ---- history (shell_history.c) ---- */
enum { HISTORY_MOST = 1000 };
/* Calls `use` for each line of the file, the oldest first. A file that grew beyond twice HISTORY_MOST is cut to its newest lines. */
etk_status history_read(etk_error *e, const char *path, void (*use)(void *user, const char *line), void *user);
etk_status history_add(etk_error *e, const char *path, const char *line);
bool history_wants(const char *line);

/* ---- processes (shell_run.c) ---- */
/* Runs this program with these words as a child that has the terminal (or /dev/null, where lines are read from elsewhere); the exit code, 128+N for a
 * signal. The session's own options (--plugin-dir, --color …) stand first. Ctrl-C reaches the child alone. */
int session_run(struct session *session, const char *const *words, size_t count);

#endif
