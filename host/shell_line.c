/* shell_line.c: lines from a person through libedit, opened when a session begins, or plain lines from anything else. */
#include "lazy.h"
#include "record.h"
#include "report.h"
#include "shell_session.h"

#include <errno.h>
#include <etk/fs.h>
#include <histedit.h>
#include <locale.h>
#include <signal.h>
#include <sys/select.h>
#include <termios.h>
#include <unistd.h>

#if defined(__APPLE__)
#define LIBEDIT "/usr/lib/libedit.dylib"
#else
#define LIBEDIT "libedit.so.2"
#endif

enum { SHOWN_MOST = 40 };

/* What is called of libedit. */
struct edit {
  __typeof__(&el_init) init;
  __typeof__(&el_end) end;
  __typeof__(&el_gets) read;
  __typeof__(&el_set) set;
  __typeof__(&el_line) line;
  __typeof__(&el_insertstr) insert;
  __typeof__(&el_deletestr) erase;
  __typeof__(&el_cursor) cursor;
  __typeof__(&el_source) source;
  __typeof__(&history_init) history_init;
  __typeof__(&history_end) history_end;
  __typeof__(&history) history;
};

struct shell_line {
  struct session *session;
  struct edit edit;
  EditLine *el; /* NULL: plain lines */
  History *history;
  HistEvent event;
  const char *history_path; /* NULL: kept for this session alone */
  struct termios terminal; /* as it was found */
  bool cleared;
  char *plain, *last;
  size_t plain_capacity;
  char prompt[96];
};

static bool open_edit(etk_error *e, struct edit *edit) {
  return (edit->init = LAZY(e, LIBEDIT, el_init)) && (edit->end = LAZY(e, LIBEDIT, el_end)) && (edit->read = LAZY(e, LIBEDIT, el_gets)) &&
         (edit->set = LAZY(e, LIBEDIT, el_set)) && (edit->line = LAZY(e, LIBEDIT, el_line)) &&
         (edit->insert = LAZY(e, LIBEDIT, el_insertstr)) && (edit->erase = LAZY(e, LIBEDIT, el_deletestr)) && (edit->cursor = LAZY(e, LIBEDIT, el_cursor)) &&
         (edit->source = LAZY(e, LIBEDIT, el_source)) && (edit->history_init = LAZY(e, LIBEDIT, history_init)) &&
         (edit->history_end = LAZY(e, LIBEDIT, history_end)) && (edit->history = LAZY(e, LIBEDIT, history));
}

/* ---- keys ---- */

static struct shell_line *current; /* while a session reads a line: libedit's callbacks get nothing of ours */

static char *prompt(EditLine *el) {
  (void)el;
  struct shell_line *reader = current;
  const struct session *session = reader->session;
  snprintf(reader->prompt, sizeof reader->prompt, "toolkit%s%s> ", session->used ? " " : "", session->used ? session->manifest.name_space : "");
  return reader->prompt;
}

/* Ctrl-C: what was typed goes, and a new line begins. */
static unsigned char on_interrupt(EditLine *el, int key) {
  struct shell_line *reader = current;
  const LineInfo *line = reader->edit.line(el);
  (void)key;
  reader->edit.cursor(el, (int)(line->lastchar - line->cursor));
  line = reader->edit.line(el);
  reader->edit.erase(el, (int)(line->lastchar - line->buffer));
  reader->edit.insert(el, "\n");
  fputs("^C\n", stdout);
  fflush(stdout);
  reader->cleared = true;
  return CC_NEWLINE;
}

static int characters(const char *text, size_t size) {
  int count = 0;
  for (size_t i = 0; i < size; i++) count += ((unsigned char)text[i] & 0xC0) != 0x80;
  return count;
}

static size_t common_size(const struct completion *found) {
  size_t size = found->count ? strlen(found->items[0].text) : 0;
  for (size_t i = 1; i < found->count; i++) {
    size_t k = 0;
    while (k < size && found->items[i].text[k] == found->items[0].text[k]) k++;
    size = k;
  }
  while (size && ((unsigned char)found->items[0].text[size] & 0xC0) == 0x80) size--; /* not within a character */
  return size;
}

static void show_all(struct completion *found) {
  size_t widest = 0, shown = found->count < SHOWN_MOST ? found->count : SHOWN_MOST;
  int width = terminal_width();
  putchar('\n');
  for (size_t i = 0; i < shown; i++) {
    size_t columns = etk_utf8_width(found->items[i].text, strlen(found->items[i].text));
    if (columns > widest && columns <= 40) widest = columns;
  }
  for (size_t i = 0; i < shown; i++) {
    const struct candidate *item = &found->items[i];
    size_t columns = etk_utf8_width(item->text, strlen(item->text)), gap = columns < widest ? widest - columns : 0, room = strlen(item->help);
    while (width && room && columns + gap + 4 + etk_utf8_width(item->help, room) >= (size_t)width) room--;
    while (room && ((unsigned char)item->help[room] & 0xC0) == 0x80) room--;
    if (room) printf("  %s%*s  %.*s\n", item->text, (int)gap, "", (int)room, item->help);
    else printf("  %s\n", item->text);
  }
  if (found->count > shown) printf("  … and %zu more\n", found->count - shown);
  fflush(stdout);
}

/* Puts `text` where the line has the word from `start` to the cursor. */
static bool replace(struct shell_line *reader, struct completion *found, const char *text, size_t start, bool whole) {
  const LineInfo *line = reader->edit.line(reader->el);
  const char *from = line->buffer + start;
  size_t size = (size_t)(line->cursor - from);
  char *quoted = shell_quote(&found->arena, text, 0);
  if (quoted && whole) quoted = etk_arena_printf(&found->arena, "%s ", quoted);
  if (!quoted || (strlen(quoted) == size && !memcmp(quoted, from, size))) return false;
  if (size) reader->edit.erase(reader->el, characters(from, size));
  return !reader->edit.insert(reader->el, quoted);
}

static unsigned char on_tab(EditLine *el, int key) {
  struct shell_line *reader = current;
  const LineInfo *line = reader->edit.line(el);
  struct completion found;
  size_t start = 0, size = (size_t)(line->cursor - line->buffer);
  unsigned char answer = CC_REFRESH_BEEP;
  (void)key;
  if (!session_complete(NULL, &found, reader->session, line->buffer, size, &start) && found.count) {
    size_t common = common_size(&found);
    char *text = etk_arena_strndup(&found.arena, found.items[0].text, common);
    bool one = found.count == 1;
    if (text && common && replace(reader, &found, text, start, one && !found.items[0].open)) answer = CC_REFRESH;
    else if (!one) {
      show_all(&found);
      answer = CC_REDISPLAY;
    }
  }
  completion_free(&found);
  return answer;
}

/* ---- history ---- */

static void remember(void *user, const char *line) {
  struct shell_line *reader = user;
  reader->edit.history(reader->history, &reader->event, H_ENTER, line);
}

static void history_fails(struct shell_line *reader, const etk_error *e) {
  host_warn(reader->session->host, "%s; this session's lines are not kept", e->message);
  reader->history_path = NULL;
}

static void open_history(struct shell_line *reader) {
  etk_error e = ETK_ERROR_INIT;
  reader->history = reader->edit.history_init();
  if (!reader->history) return;
  reader->edit.history(reader->history, &reader->event, H_SETSIZE, HISTORY_MOST);
  reader->edit.history(reader->history, &reader->event, H_SETUNIQUE, 1);
  reader->edit.set(reader->el, EL_HIST, reader->edit.history, reader->history);
  const char *state = state_dir(&e, reader->session->host);
  if (state) reader->history_path = etk_arena_printf(&reader->session->arena, "%s/history", state);
  if (!reader->history_path || history_read(&e, reader->history_path, remember, reader)) history_fails(reader, &e);
}

void shell_line_keep(struct shell_line *reader, const char *line) {
  etk_error e = ETK_ERROR_INIT;
  if (!reader->el || !reader->history || !history_wants(line)) return;
  if (reader->last && !strcmp(reader->last, line)) return;
  etk_free(reader->last);
  reader->last = etk_strdup(line);
  remember(reader, line);
  if (reader->history_path && history_add(&e, reader->history_path, line)) history_fails(reader, &e);
}

/* ---- reading ---- */

static void start_editing(struct shell_line *reader) {
  struct edit *edit = &reader->edit;
  setlocale(LC_CTYPE, ""); /* libedit reads characters by it */
  reader->el = edit->init("efficientai-toolkit", stdin, stdout, stderr);
  if (!reader->el) return;
  current = reader;
  edit->set(reader->el, EL_PROMPT, prompt);
  edit->set(reader->el, EL_EDITOR, "emacs");
  edit->set(reader->el, EL_SIGNAL, 1); /* the size of the window; a terminal left as it was found */
  edit->set(reader->el, EL_SETTY, "-d", "-isig", NULL); /* Ctrl-C is a key here */
  edit->set(reader->el, EL_ADDFN, "toolkit-complete", "Complete the word before the cursor", on_tab);
  edit->set(reader->el, EL_ADDFN, "toolkit-interrupt", "Clear the line", on_interrupt);
  static const char *const keys[][2] = {{"^I", "toolkit-complete"},       {"^C", "toolkit-interrupt"}, {"^R", "em-inc-search-prev"},
                                        {"\033[3~", "ed-delete-next-char"}, {"\033[H", "ed-move-to-beg"}, {"\033[F", "ed-move-to-end"},
                                        {"\033[1~", "ed-move-to-beg"},    {"\033[4~", "ed-move-to-end"}, {"\033[1;5C", "em-next-word"},
                                        {"\033[1;5D", "ed-prev-word"}};
  for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++) edit->set(reader->el, EL_BIND, keys[i][0], keys[i][1], NULL);
  edit->source(reader->el, NULL); /* ~/.editrc: how this person likes it */
  open_history(reader);
}

/* libedit writes the prompt before it takes the terminal: a Ctrl-D or Ctrl-C in between would go to the line discipline and be lost. */
static void take_terminal(struct shell_line *reader) {
  struct termios raw = reader->terminal;
  raw.c_lflag &= ~(tcflag_t)(ICANON | ECHO | ISIG);
  raw.c_cc[VMIN] = 1;
  raw.c_cc[VTIME] = 0;
  tcsetattr(STDIN_FILENO, TCSADRAIN, &raw);
}

static void give_terminal(struct shell_line *reader) { tcsetattr(STDIN_FILENO, TCSADRAIN, &reader->terminal); }

etk_status shell_line_open(etk_error *e, struct shell_line **out, struct session *session) {
  *out = etk_calloc(1, sizeof **out);
  if (!*out) return etk_fail(e, ETK_E_NO_MEMORY, "out of memory");
  (*out)->session = session;
  session->interactive = isatty(STDIN_FILENO) != 0;
  if (session->interactive) signal(SIGINT, SIG_IGN); /* between two lines it means nothing */
  if (!session->interactive || !isatty(STDOUT_FILENO) || tcgetattr(STDIN_FILENO, &(*out)->terminal)) return ETK_OK;
  etk_error why = ETK_ERROR_INIT;
  if (open_edit(&why, &(*out)->edit)) start_editing(*out);
  else host_warn(session->host, "lines cannot be edited or completed: %s", why.message);
  return ETK_OK;
}

static void on_sigint(int number) { (void)number; }

/* Waits for a line; false: Ctrl-C came instead. The signal is let in only while waiting, so that none comes unseen before. A terminal hands out whole
 * lines, so nothing is left in stdin's buffer between two of them. */
static bool line_comes(void) {
  struct sigaction action = {.sa_handler = on_sigint}, old;
  sigset_t interrupt, before;
  fd_set set;
  sigemptyset(&action.sa_mask);
  sigemptyset(&interrupt);
  sigaddset(&interrupt, SIGINT);
  sigprocmask(SIG_BLOCK, &interrupt, &before);
  sigaction(SIGINT, &action, &old);
  fputs(prompt(NULL), stderr);
  FD_ZERO(&set);
  FD_SET(STDIN_FILENO, &set);
  bool came = pselect(STDIN_FILENO + 1, &set, NULL, NULL, NULL, &before) >= 0 || errno != EINTR;
  sigaction(SIGINT, &old, NULL);
  sigprocmask(SIG_SETMASK, &before, NULL);
  return came;
}

static enum line_result read_plain(struct shell_line *reader, const char **line, size_t *line_size) {
  if (reader->session->interactive && !line_comes()) {
    fputc('\n', stderr);
    return LINE_CLEARED;
  }
  ssize_t size = getline(&reader->plain, &reader->plain_capacity, stdin);
  if (size < 0) return LINE_END;
  if (size && reader->plain[size - 1] == '\n') reader->plain[--size] = '\0';
  *line = reader->plain;
  *line_size = (size_t)size;
  return LINE_READ;
}

enum line_result shell_line_read(struct shell_line *reader, const char **line, size_t *line_size) {
  current = reader;
  if (!reader->el) return read_plain(reader, line, line_size);
  int size = 0;
  reader->cleared = false;
  take_terminal(reader);
  const char *got = reader->edit.read(reader->el, &size);
  give_terminal(reader);
  if (reader->cleared) return LINE_CLEARED;
  if (!got || size <= 0) {
    putchar('\n');
    return LINE_END;
  }
  etk_free(reader->plain);
  reader->plain = etk_strndup(got, got[size - 1] == '\n' ? (size_t)size - 1 : (size_t)size);
  *line = reader->plain;
  *line_size = reader->plain ? strlen(reader->plain) : 0;
  return reader->plain ? LINE_READ : LINE_END;
}

void shell_line_close(struct shell_line *reader) {
  if (!reader) return;
  if (reader->history) reader->edit.history_end(reader->history);
  if (reader->el) reader->edit.end(reader->el);
  if (reader->el) etk_free(reader->plain);
  else free(reader->plain); /* getline's */
  etk_free(reader->last);
  current = NULL;
  etk_free(reader);
}
