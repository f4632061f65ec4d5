/* lex.c: source to tokens. White space around tags goes as with trim_blocks and lstrip_blocks: a block or comment alone at the start of its line takes
 * the blanks before it and the line end after it along; '-' in a tag takes all white space on that side, '+' leaves it. */
#include "internal.h"
#include <errno.h>

enum { OUTSIDE, IN_BLOCK, IN_VARIABLE };

etk_status etk__template_fail(etk_error *e, const etk_template *t, size_t offset, etk_status status, const char *format, ...) {
  size_t line = 1, start = 0, column = 1;
  if (offset > t->size) offset = t->size;
  for (size_t i = 0; i < offset; i++)
    if (t->source[i] == '\n') line++, start = i + 1;
  for (size_t i = start; i < offset; i++) column += ((unsigned char)t->source[i] & 0xC0) != 0x80;
  etk_text text = ETK_TEXT_INIT;
  va_list arguments;
  va_start(arguments, format);
  etk_text_vprintf(&text, format, arguments);
  va_end(arguments);
  etk_fail(e, status, "%s:%zu:%zu: %s", t->name, line, column, text.data && !text.failed ? text.data : format);
  etk_text_free(&text);
  return status;
}

static bool starts(const etk__lexer *l, size_t at, const char *word) {
  size_t n = strlen(word);
  return at <= l->t->size && l->t->size - at >= n && memcmp(l->t->source + at, word, n) == 0;
}

/* Behind the white space at `at`. */
static size_t skip_space(const etk__lexer *l, size_t at) {
  const char *end = l->t->source + l->t->size;
  while (at < l->t->size) {
    const char *p = l->t->source + at;
    if (!etk__py_space(etk__py_next(&p, end))) break;
    at = (size_t)(p - l->t->source);
  }
  return at;
}

/* Goes behind the end of a tag whose closing mark ("%}") is at `at`, perhaps after a sign; 0: it is not there. */
static size_t tag_end(etk__lexer *l, size_t at, const char *mark, bool plus, bool newline) {
  if (starts(l, at, "-") && starts(l, at + 1, mark)) return skip_space(l, at + 3);
  if (plus && starts(l, at, "+") && starts(l, at + 1, mark)) return at + 3;
  if (!starts(l, at, mark)) return 0;
  at += 2;
  return newline && starts(l, at, "\n") ? at + 1 : at;
}

static void move(etk__lexer *l, size_t at) {
  l->line_start = at > 0 && l->t->source[at - 1] == '\n';
  l->at = at;
}

/* The end of the text [start, end) when what follows it is a tag with that sign. */
static size_t cut_text(const etk__lexer *l, size_t start, size_t end, char sign, bool variable) {
  const char *s = l->t->source;
  if (sign == '-') {
    etk__str text = {s + start, end - start, SIZE_MAX};
    size_t begin, stop;
    etk__strip(&text, NULL, false, true, &begin, &stop);
    return start + stop;
  }
  if (sign == '+' || variable) return end;
  size_t line = end;
  while (line > start && s[line - 1] != '\n') line--;
  if (line == start && !l->line_start) return end;
  return skip_space(l, line) >= end ? line : end;
}

static etk_status put_text(etk__ttoken *token, const etk__lexer *l, size_t start, size_t end) {
  *token = (etk__ttoken){.type = ETK__T_TEXT, .offset = (uint32_t)start, .size = (uint32_t)(end - start), .text = l->t->source + start, .text_size = end - start};
  return ETK_OK;
}

static char sign_at(const etk__lexer *l, size_t at) { return starts(l, at, "-") ? '-' : starts(l, at, "+") ? '+' : 0; }

/* Where "{% word %}" at `at` ends, its sign in *sign; 0: it is another tag. */
static size_t word_tag(etk__lexer *l, size_t at, const char *word, char *sign, bool closing) {
  if (!starts(l, at, "{%")) return 0;
  *sign = sign_at(l, at + 2);
  size_t p = skip_space(l, at + 2 + (*sign != 0));
  if (!starts(l, p, word)) return 0;
  return tag_end(l, skip_space(l, p + strlen(word)), "%}", closing, closing);
}

static etk_status lex_raw(etk__lexer *l, etk__ttoken *token) {
  size_t start = l->at, end = 0;
  char sign = 0;
  for (size_t i = start; i + 1 < l->t->size; i++) {
    if (l->t->source[i] != '{' || !(end = word_tag(l, i, "endraw", &sign, true))) continue;
    put_text(token, l, start, cut_text(l, start, i, sign, false));
    move(l, end);
    l->raw = false;
    return ETK_OK;
  }
  return etk__template_fail(l->e, l->t, start, ETK_E_FORMAT, "the raw block that begins here has no {%% endraw %%}");
}

static etk_status skip_comment(etk__lexer *l, size_t tag) {
  size_t content = tag + 2 + (sign_at(l, tag + 2) != 0), i = content;
  while (i < l->t->size && !starts(l, i, "#}")) i++;
  if (i >= l->t->size) return etk__template_fail(l->e, l->t, tag, ETK_E_FORMAT, "the comment that begins here has no '#}'");
  bool marked = i > content && (l->t->source[i - 1] == '-' || l->t->source[i - 1] == '+');
  move(l, tag_end(l, i - marked, "#}", true, true));
  return ETK_OK;
}

/* Text up to the next tag; the tag's begin when there is none. */
static etk_status lex_outside(etk__lexer *l, etk__ttoken *token) {
  const char *s = l->t->source;
  size_t size = l->t->size;
  for (;;) {
    if (l->raw) {
      etk_status status = lex_raw(l, token);
      if (status || token->size) return status;
      continue;
    }
    size_t start = l->at, tag = start;
    while (tag < size && !(s[tag] == '{' && tag + 1 < size && (s[tag + 1] == '{' || s[tag + 1] == '%' || s[tag + 1] == '#'))) tag++;
    if (tag == size) {
      move(l, size);
      if (start < size) return put_text(token, l, start, size);
      *token = (etk__ttoken){.type = ETK__T_END, .offset = (uint32_t)size};
      return ETK_OK;
    }
    char sign = sign_at(l, tag + 2), unused;
    size_t end = cut_text(l, start, tag, sign, s[tag + 1] == '{'), raw = word_tag(l, tag, "raw", &unused, false);
    if (raw) {
      l->raw = true;
      move(l, raw);
    } else if (s[tag + 1] == '#') {
      etk_status status = skip_comment(l, tag);
      if (status) return status;
    } else {
      l->state = s[tag + 1] == '{' ? IN_VARIABLE : IN_BLOCK;
      l->begin = (etk__ttoken){.type = l->state == IN_BLOCK ? ETK__T_BLOCK_BEGIN : ETK__T_VARIABLE_BEGIN, .offset = (uint32_t)tag};
      l->open_count = 0;
      move(l, tag + 2 + (sign != 0));
      l->begin_next = end > start;
      if (l->begin_next) return put_text(token, l, start, end);
      *token = l->begin;
      return ETK_OK;
    }
    if (end > start) return put_text(token, l, start, end);
  }
}

static int hex_digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  c |= 0x20;
  return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* An escape behind the backslash at *p; false: broken. */
static bool put_escape(etk_text *out, const char **p, const char *end) {
  static const char letters[] = "\\'\"abfnrtv", bytes[] = "\\'\"\a\b\f\n\r\t\v";
  char c = *(*p)++;
  const char *found = c ? strchr(letters, c) : NULL;
  uint32_t code = 0;
  char utf8[4];
  if (found) {
    etk_text_putc(out, bytes[found - letters]);
    return true;
  }
  if (c == '\n') return true;
  if (c >= '0' && c <= '7') {
    code = (uint32_t)(c - '0');
    for (int i = 0; i < 2 && *p < end && **p >= '0' && **p <= '7'; i++) code = code * 8 + (uint32_t)(*(*p)++ - '0');
  } else if (c == 'x' || c == 'u' || c == 'U') {
    for (int i = c == 'x' ? 2 : c == 'u' ? 4 : 8; i > 0; i--) {
      int digit = *p < end ? hex_digit(*(*p)++) : -1;
      if (digit < 0 || code > 0xFFFFFFF) return false;
      code = code * 16 + (uint32_t)digit;
    }
  } else if (c == 'N') {
    return false;
  } else { /* not an escape: both characters stay */
    etk_text_putc(out, '\\');
    etk_text_putc(out, c);
    return true;
  }
  size_t n = etk_utf8_encode(utf8, code);
  etk_text_append(out, utf8, n);
  return n > 0;
}

static etk_status lex_string(etk__lexer *l, etk__ttoken *token) {
  const char *s = l->t->source, *end = s + l->t->size, *p = s + l->at + 1, *start = p;
  char quote = s[l->at];
  etk_text text = ETK_TEXT_INIT;
  bool plain = true, good = true;
  while (p < end && *p != quote && good) {
    if (*p == '\\' && p + 1 < end) {
      if (plain) etk_text_append(&text, start, (size_t)(p - start));
      plain = false;
      p++;
      good = put_escape(&text, &p, end);
    } else {
      if (!plain) etk_text_putc(&text, *p);
      p++;
    }
  }
  etk_status status = ETK_OK;
  if (!good) status = etk__template_fail(l->e, l->t, l->at, ETK_E_FORMAT, "an escape of this string is broken (wanted \\xHH, \\uHHHH, \\UHHHHHHHH; \\N{…} is not supported)");
  else if (p >= end) status = etk__template_fail(l->e, l->t, l->at, ETK_E_FORMAT, "the string that begins here has no closing %c", quote);
  else if (plain) token->text = start, token->text_size = (size_t)(p - start);
  else {
    token->text_size = text.size;
    token->text = text.failed ? NULL : etk_arena_strndup(&l->t->arena, text.size ? text.data : "", text.size);
    if (!token->text) status = etk_fail_memory(l->e);
  }
  etk_text_free(&text);
  token->type = ETK__T_STRING;
  if (!status) l->at = (size_t)(p + 1 - s);
  return status;
}

static bool digit_of(char c, int base) {
  int d = hex_digit(c);
  return d >= 0 && d < base;
}

/* Digits of the base from `at`, single '_' between them. */
static size_t skip_digits(const etk__lexer *l, size_t at, int base) {
  const char *s = l->t->source;
  size_t size = l->t->size;
  while (at < size && (digit_of(s[at], base) || (s[at] == '_' && at + 1 < size && digit_of(s[at + 1], base)))) at++;
  return at;
}

static etk_status lex_number(etk__lexer *l, etk__ttoken *token) {
  const char *s = l->t->source;
  size_t start = l->at, size = l->t->size, digits = start, end;
  int base = 10;
  if (s[start] == '0' && start + 2 < size) {
    char c = s[start + 1] | 0x20;
    int other = c == 'x' ? 16 : c == 'o' ? 8 : c == 'b' ? 2 : 0;
    size_t first = start + 2 + (s[start + 2] == '_');
    if (other && first < size && digit_of(s[first], other)) base = other, digits = first;
  }
  end = skip_digits(l, digits, base);
  token->type = ETK__T_INT;
  bool after_dot = start > 0 && s[start - 1] == '.';
  if (base == 10 && !after_dot) {
    size_t p = end;
    if (p + 1 < size && s[p] == '.' && digit_of(s[p + 1], 10)) p = skip_digits(l, p + 1, 10), token->type = ETK__T_REAL;
    size_t exponent = p;
    if (p < size && (s[p] == 'e' || s[p] == 'E')) {
      exponent = p + 1 + (p + 1 < size && (s[p + 1] == '-' || s[p + 1] == '+'));
      if (exponent < size && digit_of(s[exponent], 10)) p = skip_digits(l, exponent, 10), token->type = ETK__T_REAL;
    }
    if (token->type == ETK__T_REAL) end = p;
  }
  char number[400];
  size_t n = 0;
  for (size_t i = digits; i < end && n < sizeof number - 1; i++)
    if (s[i] != '_') number[n++] = s[i];
  number[n] = 0;
  if (n == sizeof number - 1) return etk__template_fail(l->e, l->t, start, ETK_E_FORMAT, "a number of more than %zu digits", n);
  if (token->type == ETK__T_REAL) token->real = strtod(number, NULL);
  else {
    errno = 0;
    token->integer = strtoll(number, NULL, base);
    if (errno) return etk__template_fail(l->e, l->t, start, ETK_E_UNSUPPORTED, "%s is too large: whole numbers go to 9223372036854775807", number);
    if (base == 10 && s[digits] == '0' && n > strspn(number, "0")) return etk__template_fail(l->e, l->t, start, ETK_E_FORMAT, "'%s' begins with a zero", number);
  }
  l->at = end;
  return ETK_OK;
}

static bool name_byte(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || (unsigned char)c >= 0x80; }

static etk_status lex_operator(etk__lexer *l, etk__ttoken *token) {
  static const char *const operators[] = {"//", "**", "==", "!=", ">=", "<=", "+", "-", "/", "*", "%", "~", "[", "]", "(", ")", "{", "}", ">", "<", "=", ".", ":", "|", ",", ";"};
  const char *s = l->t->source;
  size_t i = 0, count = sizeof operators / sizeof operators[0];
  while (i < count && !starts(l, l->at, operators[i])) i++;
  if (i == count) {
    char seen[5] = {0};
    const char *p = s + l->at;
    size_t n = etk_utf8_encode(seen, etk__py_next(&p, s + l->t->size));
    return etk__template_fail(l->e, l->t, l->at, ETK_E_FORMAT, "unexpected character '%.*s' in a tag", (int)n, seen);
  }
  token->type = ETK__T_OPERATOR;
  token->text = operators[i];
  token->text_size = strlen(operators[i]);
  static const char opening[] = "([{", closing[] = ")]}";
  const char *open = strchr(opening, *operators[i]), *close = strchr(closing, *operators[i]);
  if (open && l->open_count == (int)sizeof l->open)
    return etk__template_fail(l->e, l->t, l->at, ETK_E_FORMAT, "more than %zu brackets in one another", sizeof l->open);
  if (open) l->open[l->open_count++] = closing[open - opening];
  if (close && l->open_count == 0) return etk__template_fail(l->e, l->t, l->at, ETK_E_FORMAT, "unexpected '%c': no bracket is open", *close);
  if (close && l->open[--l->open_count] != *close)
    return etk__template_fail(l->e, l->t, l->at, ETK_E_FORMAT, "unexpected '%c' (wanted '%c')", *close, l->open[l->open_count]);
  l->at += token->text_size;
  return ETK_OK;
}

static etk_status lex_inside(etk__lexer *l, etk__ttoken *token) {
  const char *s = l->t->source;
  bool block = l->state == IN_BLOCK;
  for (;;) {
    size_t end = l->open_count ? 0 : tag_end(l, l->at, block ? "%}" : "}}", block, block);
    if (end) {
      *token = (etk__ttoken){.type = block ? ETK__T_BLOCK_END : ETK__T_VARIABLE_END, .offset = (uint32_t)l->at};
      l->state = OUTSIDE;
      move(l, end);
      return ETK_OK;
    }
    size_t behind = skip_space(l, l->at);
    if (behind == l->at) break;
    l->at = behind;
  }
  if (l->at >= l->t->size)
    return etk__template_fail(l->e, l->t, l->begin.offset, ETK_E_FORMAT, "the tag that begins here has no '%s'", block ? "%}" : "}}");
  *token = (etk__ttoken){.offset = (uint32_t)l->at};
  char c = s[l->at];
  etk_status status = ETK_OK;
  if (c >= '0' && c <= '9') status = lex_number(l, token);
  else if (c == '"' || c == '\'') status = lex_string(l, token);
  else if (name_byte(c)) {
    while (l->at < l->t->size && name_byte(s[l->at])) l->at++;
    token->type = ETK__T_NAME;
    token->text = s + token->offset;
    token->text_size = l->at - token->offset;
  } else status = lex_operator(l, token);
  token->size = (uint32_t)(l->at - token->offset);
  return status;
}

etk_status etk__lex(etk__lexer *l, etk__ttoken *token) {
  if (l->begin_next) {
    l->begin_next = false;
    *token = l->begin;
    return ETK_OK;
  }
  return l->state == OUTSIDE ? lex_outside(l, token) : lex_inside(l, token);
}
