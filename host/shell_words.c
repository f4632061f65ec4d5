#include "shell_words.h"

#include <string.h>

static bool blank(char c) { return c == ' ' || c == '\t' || c == '\n' || c == '\r'; }

struct cursor {
  const char *at, *end;
  char *out;
};

/* '…' holds every character but itself. */
static bool single_quoted(struct cursor *c) {
  for (c->at++; c->at < c->end; c->at++) {
    if (*c->at == '\'') {
      c->at++;
      return true;
    }
    *c->out++ = *c->at;
  }
  return false;
}

/* "…": a backslash takes the meaning of the few characters that have one, and stays before others. */
static bool double_quoted(struct cursor *c) {
  for (c->at++; c->at < c->end; c->at++) {
    if (*c->at == '"') {
      c->at++;
      return true;
    }
    if (*c->at == '\\' && c->at + 1 < c->end && strchr("$`\"\\\n", c->at[1]) && c->at[1]) {
      c->at++;
      if (*c->at == '\n') continue;
    }
    *c->out++ = *c->at;
  }
  return false;
}

static etk_status operator_here(etk_error *e, char c) {
  return etk_fail(e, ETK_E_USAGE, "'%c' has no meaning here: a line is one command, without pipes, redirections or lists; where it is part of a word, write '%c' in quotes", c, c);
}

/* One word, up to a blank outside quotes. Sets *quote where the line ends before a quote does. */
static etk_status word(etk_error *e, struct cursor *c, char *quote, bool strict) {
  while (c->at < c->end && !blank(*c->at)) {
    char here = *c->at;
    if (here == '\'' || here == '"') {
      if (!(here == '\'' ? single_quoted(c) : double_quoted(c))) *quote = here;
    } else if (here == '\\') {
      if (++c->at == c->end) *quote = '\\';
      else if (*c->at == '\n') c->at++;
      else *c->out++ = *c->at++;
    } else if (strict && strchr("|&;<>", here) && here) return operator_here(e, here);
    else *c->out++ = *c->at++;
  }
  return ETK_OK;
}

static etk_status split(etk_error *e, struct shell_words *out, const char *line, size_t size, bool strict) {
  /* Every word but the last is followed by a blank, so this many at most; their characters and NULs fit in size + 1. */
  size_t most = size / 2 + 2;
  out->words = etk_arena_array(&out->arena, most, sizeof *out->words);
  out->starts = etk_arena_array(&out->arena, most, sizeof *out->starts);
  out->bare = etk_arena_array(&out->arena, most, sizeof *out->bare);
  char *text = etk_arena_alloc(&out->arena, size + 2);
  if (!out->words || !out->starts || !out->bare || !text) return etk_fail(e, ETK_E_NO_MEMORY, "out of memory while reading a line");
  struct cursor c = {line, line + size, text};
  for (;;) {
    while (c.at < c.end && blank(*c.at)) c.at++;
    if (c.at == c.end || *c.at == '#') return ETK_OK;
    out->words[out->count] = c.out;
    out->starts[out->count] = (size_t)(c.at - line);
    out->bare[out->count] = !strchr("'\"\\", *c.at);
    out->count++;
    etk_status status = word(e, &c, &out->quote, strict);
    if (status) return status;
    *c.out++ = '\0';
    out->touching = c.at == c.end;
  }
}

etk_status shell_split(etk_error *e, struct shell_words *out, const char *line, size_t size, bool strict) {
  *out = (struct shell_words){.arena = {0, 1024, 0}};
  etk_status status = memchr(line, '\0', size) ? etk_fail(e, ETK_E_USAGE, "the line holds a NUL byte") : split(e, out, line, size, strict);
  if (status || !strict || !out->quote) return status;
  if (out->quote == '\\') return etk_fail(e, ETK_E_USAGE, "the line ends with a backslash and nothing after it");
  return etk_fail(e, ETK_E_USAGE, "a quote (%c) is opened and not closed", out->quote);
}

void shell_words_free(struct shell_words *words) {
  etk_arena_fini(&words->arena);
  *words = (struct shell_words){0};
}

static bool plain(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || (unsigned char)c >= 0x80 || (c && strchr("_-./:=,+@%^", c));
}

/* Outside quotes a backslash before what is not plain; a newline can only be quoted. */
char *shell_quote(etk_arena *arena, const char *text, char quote) {
  size_t size = strlen(text);
  char *out = etk_arena_alloc(arena, 4 * size + 3), *p = out;
  if (!out) return NULL;
  if (!size && !quote) *p++ = '\'', *p++ = '\'';
  for (size_t i = 0; i < size; i++) {
    char c = text[i];
    if (quote == '\'' && c == '\'') {
      memcpy(p, "'\\''", 4);
      p += 4;
    } else if (quote == '"' && strchr("$`\"\\", c)) *p++ = '\\', *p++ = c;
    else if (!quote && c == '\n') *p++ = '\'', *p++ = c, *p++ = '\'';
    else if (quote || plain(c) || c == '~') *p++ = c; /* a path begins with "~/" where that is meant */
    else *p++ = '\\', *p++ = c;
  }
  *p = '\0';
  return out;
}
