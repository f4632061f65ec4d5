#include "tokenize.h"
#include "values.h"

#include <errno.h>
#include <etk/alloc.h>
#include <etk/fs.h>
#include <etk/text.h>
#include <etk/tokenizer.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <unistd.h>

enum { READ_BYTES = 1 << 16, WRITE_BYTES = 1 << 16, SHOWN_TOKENS = 512, FILE_LIMIT = 1 << 30 };

typedef struct task {
  etk_run *run;
  const struct tokenizing *o;
  etk_tokenizer *tokenizer;
  etk_encode_options options;
  const char *name;   /* of what is read, for messages */
  int64_t line;       /* from 1 */
  etk_text text, out; /* a line's text; what is to be written */
  etk_ids ids;
} task;

/* ---- JSON, as far as it is used here: a string (any bytes; escapes may be half of a pair), a list of whole numbers ---------------------------------------- */

static const char *skip_blanks(const char *at, const char *end) {
  while (at < end && (*at == ' ' || *at == '\t' || *at == '\r')) at++;
  return at;
}

static etk_status bad_line(etk_error *e, const task *t, const char *what) {
  return etk_fail(e, ETK_E_FORMAT, "%s:%" PRId64 ": %s is wanted on each line", t->name, t->line, what);
}

static bool take_hex(const char *at, const char *end, uint32_t *out) {
  *out = 0;
  if (end - at < 4) return false;
  for (int i = 0; i < 4; i++) {
    char c = at[i];
    int digit = c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
    if (digit < 0) return false;
    *out = *out << 4 | (uint32_t)digit;
  }
  return true;
}

/* Behind "\u": the character, of two escapes where they are a pair; a half alone is U+FFFD. Returns what follows, NULL: broken. */
static const char *put_escaped(etk_text *out, const char *at, const char *end) {
  uint32_t c, low;
  char bytes[4];
  if (!take_hex(at, end, &c)) return NULL;
  at += 4;
  if (c >= 0xd800 && c < 0xdc00 && end - at >= 6 && at[0] == '\\' && at[1] == 'u' && take_hex(at + 2, end, &low) && low >= 0xdc00 && low < 0xe000) {
    c = 0x10000 + ((c - 0xd800) << 10) + (low - 0xdc00);
    at += 6;
  }
  if (c >= 0xd800 && c < 0xe000) c = 0xfffd;
  etk_text_append(out, bytes, etk_utf8_encode(bytes, c));
  return at;
}

static bool take_string(etk_text *out, const char *at, const char *end) {
  static const char names[] = "\"\\/bfnrt", meant[] = "\"\\/\b\f\n\r\t";
  out->size = 0;
  at = skip_blanks(at, end);
  if (at == end || *at++ != '"') return false;
  while (at < end && *at != '"') {
    const char *plain = at;
    while (at < end && *at != '"' && *at != '\\') at++;
    etk_text_append(out, plain, (size_t)(at - plain));
    if (at == end || *at != '\\') continue;
    if (end - at < 2) return false;
    const char *name = memchr(names, at[1], sizeof names - 1);
    if (name) etk_text_putc(out, meant[name - names]);
    else if (at[1] != 'u') return false;
    at = name ? at + 2 : put_escaped(out, at + 2, end);
    if (!at) return false;
  }
  return at < end && skip_blanks(at + 1, end) == end;
}

static bool take_ids(etk_ids *out, const char *at, const char *end, bool *short_of_memory) {
  out->count = 0;
  at = skip_blanks(at, end);
  bool listed = at < end && *at == '[';
  for (at = skip_blanks(at + listed, end); at < end && *at != ']'; at = skip_blanks(at, end)) {
    int64_t id = 0;
    if (*at < '0' || *at > '9') return false;
    for (; at < end && *at >= '0' && *at <= '9' && id <= INT32_MAX; at++) id = id * 10 + (*at - '0');
    if (id > INT32_MAX) return false;
    if (!etk_ids_push(out, (int32_t)id)) {
      *short_of_memory = true;
      return false;
    }
    at = skip_blanks(at, end);
    if (at < end && *at == ',') at++;
  }
  return !listed || (at < end && skip_blanks(at + 1, end) == end);
}

static void put_number(etk_text *out, int32_t value) {
  char digits[12];
  size_t at = sizeof digits;
  do digits[--at] = (char)('0' + value % 10);
  while ((value /= 10));
  etk_text_append(out, digits + at, sizeof digits - at);
}

static void put_ids(etk_text *out, const etk_ids *ids) {
  etk_text_putc(out, '[');
  for (size_t i = 0; i < ids->count; i++) {
    if (i) etk_text_putc(out, ',');
    put_number(out, ids->items[i]);
  }
  etk_text_putc(out, ']');
}

/* ---- lines ---------------------------------------------------------------------------------------------------------------------------------------------- */

static void flush_out(task *t) {
  if (t->out.size) etk_run_text(t->run, t->out.data, t->out.size);
  t->out.size = 0;
}

static etk_status encode(etk_error *e, task *t, const char *text, size_t size) {
  t->ids.count = 0;
  return etk_tokenizer_encode(e, t->tokenizer, &t->ids, text, size, &t->options);
}

static etk_status answer_ids(etk_error *e, task *t, const char *line, const char *end) {
  bool whole = take_string(&t->text, line, end);
  if (t->text.failed) return etk_fail(e, ETK_E_NO_MEMORY, "%s:%" PRId64 ": out of memory", t->name, t->line);
  if (!whole) return bad_line(e, t, "one JSON string");
  etk_status s = encode(e, t, t->text.data ? t->text.data : "", t->text.size);
  if (s == ETK_OK) put_ids(&t->out, &t->ids);
  return s;
}

/* The library gives nothing for ids without a token, as a model's padding rows need it; typed ones are mistakes. Holes below the largest id stay silent. */
static etk_status check_ids(etk_error *e, const task *t) {
  int64_t size = etk_tokenizer_size(t->tokenizer);
  for (size_t i = 0; i < t->ids.count; i++)
    if (t->ids.items[i] < 0 || t->ids.items[i] >= size) {
      char line[32] = "";
      if (t->line) snprintf(line, sizeof line, ":%" PRId64, t->line);
      return etk_fail(e, ETK_E_INVALID, "%s%s: the id %" PRId32 " (place %zu) is outside the vocabulary of %" PRId64 " tokens", t->name, line, t->ids.items[i], i, size);
    }
  return ETK_OK;
}

static etk_status answer_text(etk_error *e, task *t, const char *line, const char *end) {
  bool short_of_memory = false;
  char *text;
  size_t size;
  const char *at = skip_blanks(line, end);
  if (at == end || *at != '[' || !take_ids(&t->ids, line, end, &short_of_memory))
    return short_of_memory ? etk_fail(e, ETK_E_NO_MEMORY, "%s:%" PRId64 ": out of memory", t->name, t->line) : bad_line(e, t, "one JSON array of token ids");
  etk_status s = check_ids(e, t);
  if (s == ETK_OK) s = etk_tokenizer_decode(e, t->tokenizer, &text, &size, t->ids.items, t->ids.count, !t->o->special);
  if (s != ETK_OK) return s;
  etk_text_json(&t->out, text, size);
  etk_free(text);
  return ETK_OK;
}

static etk_status answer(etk_error *e, task *t, const char *line, const char *end) {
  t->line++;
  if (skip_blanks(line, end) == end) return ETK_OK; /* an empty line, at the end mostly */
  etk_status s = t->o->decode ? answer_text(e, t, line, end) : answer_ids(e, t, line, end);
  if (s != ETK_OK) return s;
  etk_text_putc(&t->out, '\n');
  if (t->out.failed) return etk_fail(e, ETK_E_NO_MEMORY, "%s:%" PRId64 ": out of memory", t->name, t->line);
  if (t->out.size >= WRITE_BYTES) flush_out(t);
  return ETK_OK;
}

/* All whole lines of what was read; the rest moves to the front. */
static etk_status answer_whole(etk_error *e, task *t, etk_text *held, size_t *seen) {
  char *at = held->data, *end = held->data + held->size, *stop;
  etk_status s = ETK_OK;
  for (char *from = held->data + *seen; s == ETK_OK && (stop = memchr(from, '\n', (size_t)(end - from))); from = at = stop + 1) s = answer(e, t, at, stop);
  held->size = (size_t)(end - at);
  *seen = held->size;
  memmove(held->data, at, held->size);
  return s;
}

static etk_status open_input(etk_error *e, int *fd, const char *path) {
  *fd = strcmp(path, "-") ? open(path, O_RDONLY | O_CLOEXEC) : STDIN_FILENO;
  return *fd >= 0 ? ETK_OK : etk_fail(e, errno == ENOENT ? ETK_E_NOT_FOUND : ETK_E_IO, "%s: %s", path, strerror(errno));
}

static etk_status take_some(etk_error *e, const task *t, int fd, etk_text *held, bool *last) {
  char bytes[READ_BYTES];
  ssize_t n;
  do n = read(fd, bytes, sizeof bytes);
  while (n < 0 && errno == EINTR && !etk_run_cancelled(t->run));
  *last = n == 0;
  if (n < 0) return etk_fail(e, errno == EINTR ? ETK_E_CANCELLED : ETK_E_IO, "%s: %s", t->name, strerror(errno));
  etk_text_append(held, bytes, (size_t)n);
  if (held->size > FILE_LIMIT) return etk_fail(e, ETK_E_UNSUPPORTED, "%s: more than %d bytes at once", t->name, (int)FILE_LIMIT);
  return held->failed ? etk_fail(e, ETK_E_NO_MEMORY, "%s: out of memory", t->name) : ETK_OK;
}

static etk_status answer_lines(etk_error *e, task *t) {
  int fd;
  etk_status s = open_input(e, &fd, t->o->lines);
  if (s != ETK_OK) return s;
  etk_text held = ETK_TEXT_INIT;
  size_t seen = 0; /* bytes of it without a line's end */
  for (bool last = false; s == ETK_OK && !last;) {
    s = take_some(e, t, fd, &held, &last);
    if (s == ETK_OK && held.size) s = answer_whole(e, t, &held, &seen);
    if (s == ETK_OK && last && held.size) s = answer(e, t, held.data, held.data + held.size);
    flush_out(t); /* whoever writes a line and waits for the answer gets it */
    if (s == ETK_OK && etk_run_cancelled(t->run)) s = etk_fail(e, ETK_E_CANCELLED, "stopped behind line %" PRId64, t->line);
  }
  etk_text_free(&held);
  if (fd != STDIN_FILENO) close(fd);
  return s;
}

/* ---- one text ------------------------------------------------------------------------------------------------------------------------------------------- */

/* text: what the token adds, which may be nothing (a part of a character) or more than one character. */
static etk_status show_tokens(etk_error *e, task *t) {
  etk_decoder *decoder;
  if (!t->ids.count || t->ids.count > SHOWN_TOKENS) return ETK_OK;
  etk_status s = etk_decoder_new(e, &decoder, t->tokenizer, false);
  if (s != ETK_OK) return s;
  for (size_t i = 0; s == ETK_OK && i < t->ids.count; i++) {
    const char *bytes, *spelled = etk_tokenizer_token(t->tokenizer, t->ids.items[i]);
    size_t size;
    s = etk_decoder_push(e, decoder, t->ids.items[i], &bytes, &size);
    if (s != ETK_OK) break;
    t->text.size = 0;
    etk_text_append(&t->text, bytes, size);
    etk_text_append(&t->text, "", 1); /* ends it */
    etk_cell cells[] = {etk_cell_int("id", t->ids.items[i]), etk_cell_text("token", spelled ? spelled : ""), etk_cell_text("text", t->text.data)};
    etk_run_result_row(t->run, "pieces", cells, 3);
  }
  etk_decoder_free(decoder);
  return s;
}

static etk_status show_ids(etk_error *e, task *t, const char *text, size_t size) {
  etk_status s = encode(e, t, text, size);
  if (s != ETK_OK) return s;
  etk_run_result_int(t->run, "bytes", (int64_t)size);
  etk_run_result_int(t->run, "tokens", (int64_t)t->ids.count);
  put_ids(&t->out, &t->ids);
  if (t->out.failed) return etk_fail(e, ETK_E_NO_MEMORY, "out of memory");
  s = etk_run_result_json(t->run, "ids", t->out.data);
  return s == ETK_OK ? show_tokens(e, t) : s;
}

static etk_status show_text(etk_error *e, task *t, char *list, size_t size) {
  bool short_of_memory = false;
  char *text;
  size_t text_size;
  for (size_t i = 0; i < size; i++)
    if (list[i] == '\n') list[i] = ' ';
  if (!take_ids(&t->ids, list, list + size, &short_of_memory))
    return short_of_memory ? etk_fail(e, ETK_E_NO_MEMORY, "%s: out of memory", t->name)
                           : etk_fail(e, ETK_E_INVALID, "%s: token ids are wanted: \"[1, 2]\" or \"1 2\"", t->name);
  etk_status s = check_ids(e, t);
  if (s == ETK_OK) s = etk_tokenizer_decode(e, t->tokenizer, &text, &text_size, t->ids.items, t->ids.count, !t->o->special);
  if (s != ETK_OK) return s;
  etk_run_result_text(t->run, "text", text);
  etk_free(text);
  return ETK_OK;
}

static etk_status show(etk_error *e, task *t) {
  etk_text all = ETK_TEXT_INIT;
  int fd = -1;
  if (t->o->text) etk_text_puts(&all, t->o->text);
  etk_status s = t->o->text ? ETK_OK : open_input(e, &fd, t->o->file);
  for (bool last = false; s == ETK_OK && fd >= 0 && !last;) s = take_some(e, t, fd, &all, &last);
  if (fd > STDIN_FILENO) close(fd);
  if (s == ETK_OK && all.failed) s = etk_fail(e, ETK_E_NO_MEMORY, "%s: out of memory", t->name);
  char *data = all.data ? all.data : (char[]){""};
  if (s == ETK_OK) s = t->o->decode ? show_text(e, t, data, all.size) : show_ids(e, t, data, all.size);
  etk_text_free(&all);
  return s;
}

static etk_status run_task(etk_error *e, task *t) {
  const struct tokenizing *o = t->o;
  int given = (o->text != NULL) + (o->file != NULL) + (o->lines != NULL);
  if (given != 1) return etk_fail(e, ETK_E_USAGE, "one of --text, --file and --jsonl is wanted, %d are there", given);
  etk_status s = etk_tokenizer_open(e, &t->tokenizer, o->path, 0);
  if (s != ETK_OK) return s;
  t->name = o->text ? "--text" : o->file ? o->file : o->lines;
  t->options = (etk_encode_options){.special = o->special, .end = o->special};
  t->options.parse_special = o->parse_given ? o->parse_special : etk_tokenizer_parses_special(t->tokenizer);
  return o->lines ? answer_lines(e, t) : show(e, t);
}

etk_status tokenize_model(etk_run *run, const struct tokenizing *o) {
  etk_error e = ETK_ERROR_INIT;
  task t = {.run = run, .o = o};
  etk_status s = run_task(&e, &t);
  etk_tokenizer_free(t.tokenizer);
  etk_text_free(&t.text);
  etk_text_free(&t.out);
  etk_ids_free(&t.ids);
  return s == ETK_OK ? ETK_OK : model_failed(run, &e);
}
