#include "internal.h"

#include <ctype.h>
#include <string.h>

/* tokenizer.json patterns are written for Oniguruma (Ruby syntax) or Rust's regex crate. Where PCRE2 reads a construct differently it is spelled
 * out here; what cannot be is refused. Properties are those of PCRE2's Unicode version (14 in 10.42). */

struct etk__regex {
  pcre2_code *code;
  char *source; /* as the file has it; NULL: a literal text */
};

/* White_Space, which PCRE2's own \s is not quite (it has U+180E). */
static const char space_ranges[] = "\\x{9}-\\x{d}\\x{20}\\x{85}\\x{a0}\\x{1680}\\x{2000}-\\x{200a}\\x{2028}\\x{2029}\\x{202f}\\x{205f}\\x{3000}";
static const char not_space_ranges[] =
    "\\x{0}-\\x{8}\\x{e}-\\x{1f}\\x{21}-\\x{84}\\x{86}-\\x{9f}\\x{a1}-\\x{167f}\\x{1681}-\\x{1fff}\\x{200b}-\\x{2027}"
    "\\x{202a}-\\x{202e}\\x{2030}-\\x{205e}\\x{2060}-\\x{2fff}\\x{3001}-\\x{10ffff}";
/* Alphabetic, marks, decimal digits and connectors, and what Oniguruma counts as words in Latin-1: superscripts and fractions. Joiners are none (Rust's
 * \w, of which etk__is_word is, has joiners, but no fractions). Seen by asking the tokenizers library for every code point. */
static const char word_ranges[] = "\\p{L}\\p{M}\\p{Nd}\\p{Nl}\\p{Pc}\\x{b2}\\x{b3}\\x{b9}\\x{bc}-\\x{be}\\x{24b6}-\\x{24e9}"
                                  "\\x{1f130}-\\x{1f149}\\x{1f150}-\\x{1f169}\\x{1f170}-\\x{1f189}";
static const char hex_ranges[] = "0-9A-Fa-f";

static void *pcre_alloc(size_t size, void *user) {
  (void)user;
  return etk_alloc(size);
}
static void pcre_free(void *pointer, void *user) {
  (void)user;
  etk_free(pointer);
}

pcre2_match_data *etk__regex_data(void) {
  pcre2_general_context *general = pcre2_general_context_create(pcre_alloc, pcre_free, NULL);
  if (!general) return NULL;
  pcre2_match_data *data = pcre2_match_data_create(1, general);
  pcre2_general_context_free(general);
  return data;
}

/* ---- translation ---------------------------------------------------------------------------------------------------------------------- */

typedef struct translation {
  const char *pattern; /* NUL-terminated */
  const char *at;
  etk_text out;
} translation;

static etk_status refuse(etk_error *e, const translation *t, const char *what) {
  return etk_fail(e, ETK_E_UNSUPPORTED, "the pattern \"%s\" uses %s (byte %td), which this version does not support", t->pattern, what,
                  t->at - t->pattern);
}

static const char categories[] = " L Lu Ll Lt Lm Lo M Mn Mc Me N Nd Nl No P Pc Pd Ps Pe Pi Pf Po S Sm Sc Sk So Z Zs Zl Zp C Cc Cf Cs Co Cn ";

/* \p{…} at t->at ('p' or 'P'): a general category as it is, anything else as a script (PCRE2 would take script extensions). */
static etk_status put_property(etk_error *e, translation *t) {
  char kind = *t->at++, name[40] = " ", plain[44];
  size_t n = 0;
  bool negated = false;
  if (*t->at == '{') {
    t->at++;
    if (*t->at == '^') {
      negated = true;
      t->at++;
    }
    n = strcspn(t->at, "}");
    if (t->at[n] != '}' || n == 0 || n > 32) return refuse(e, t, "a \\p{…} without a known name");
    memcpy(name + 1, t->at, n);
    t->at += n + 1;
  } else if (isalpha((unsigned char)*t->at)) {
    name[1] = *t->at++;
    n = 1;
  } else return refuse(e, t, "a \\p without a name");
  for (size_t i = 1; i <= n; i++)
    if (!isalnum((unsigned char)name[i]) && name[i] != '_') return refuse(e, t, "a \\p{…} without a known name");
  snprintf(plain, sizeof plain, "%s ", name);
  if (negated) kind = kind == 'p' ? 'P' : 'p';
  etk_text_printf(&t->out, "\\%c{%s%s}", kind, strstr(categories, plain) ? "" : "sc:", name + 1);
  return ETK_OK;
}

/* \x{…}, \xHH and \uHHHH at t->at ('x' or 'u'). */
static etk_status put_code_point(etk_error *e, translation *t) {
  const char *digits = "0123456789abcdefABCDEF";
  char kind = *t->at++;
  bool braces = *t->at == '{';
  if (braces) t->at++;
  size_t n = strspn(t->at, digits), want = kind == 'x' ? 2 : 4;
  if (!braces && n > want) n = want;
  if (n == 0 || n > 6 || (!braces && n != want) || (braces && t->at[n] != '}')) return refuse(e, t, "a broken code point escape");
  if (!braces && kind == 'x' && *t->at > '7') return refuse(e, t, "a raw byte above 7F");
  etk_text_printf(&t->out, "\\x{%.*s}", (int)n, t->at);
  t->at += n + (braces ? 1 : 0);
  return ETK_OK;
}

/* Escapes that mean one character or a property; false in *done: not one of them. */
static etk_status put_common_escape(etk_error *e, translation *t, bool *done) {
  *done = true;
  switch (*t->at) {
  case 'p':
  case 'P':
    return put_property(e, t);
  case 'x':
  case 'u':
    return put_code_point(e, t);
  case 'd':
    etk_text_puts(&t->out, "\\p{Nd}");
    break;
  case 'D':
    etk_text_puts(&t->out, "\\P{Nd}");
    break;
  case 'v':
    etk_text_puts(&t->out, "\\x{b}");
    break;
  case 'n':
  case 'r':
  case 't':
  case 'f':
  case 'e':
  case 'a':
    etk_text_printf(&t->out, "\\%c", *t->at);
    break;
  default:
    if (isalnum((unsigned char)*t->at) || *t->at == '\0' || (unsigned char)*t->at >= 0x80) {
      *done = false;
      return ETK_OK;
    }
    etk_text_printf(&t->out, "\\%c", *t->at);
  }
  t->at++;
  return ETK_OK;
}

static etk_status put_class_escape(etk_error *e, translation *t, bool after_hyphen) {
  const char *ranges = NULL;
  if (*t->at == 's') ranges = space_ranges;
  if (*t->at == 'S') ranges = not_space_ranges;
  if (*t->at == 'w') ranges = word_ranges;
  if (*t->at == 'h') ranges = hex_ranges;
  bool set = ranges || (*t->at && strchr("dDpP", *t->at));
  if (set && after_hyphen) return refuse(e, t, "a range that ends in a character class");
  if (ranges) {
    etk_text_puts(&t->out, ranges);
    t->at++;
  } else if (*t->at == 'b') {
    etk_text_puts(&t->out, "\\x{8}");
    t->at++;
  } else {
    bool done;
    etk_status s = put_common_escape(e, t, &done);
    if (s != ETK_OK) return s;
    if (!done) return refuse(e, t, "an escape that is not known inside [ ]");
  }
  /* A hyphen after a set is literal, but it would make a range with the last code point spelled out above. */
  if (set && *t->at == '-') {
    etk_text_puts(&t->out, "\\-");
    t->at++;
  }
  return ETK_OK;
}

static etk_status put_class(etk_error *e, translation *t) {
  etk_text_putc(&t->out, *t->at++);
  if (*t->at == '^') etk_text_putc(&t->out, *t->at++);
  if (*t->at == ']') return refuse(e, t, "a class that begins with ']'");
  const char *first = t->at;
  while (*t->at != ']') {
    bool after_hyphen = t->at > first && t->at[-1] == '-' && t->at - 1 > first;
    if (*t->at == '\0') return refuse(e, t, "a '[' without its ']'");
    if (*t->at == '[') return refuse(e, t, "a class inside a class");
    if (t->at[0] == '&' && t->at[1] == '&') return refuse(e, t, "an intersection of classes");
    if (*t->at != '\\') {
      etk_text_putc(&t->out, *t->at++);
      continue;
    }
    t->at++;
    etk_status s = put_class_escape(e, t, after_hyphen);
    if (s != ETK_OK) return s;
  }
  etk_text_putc(&t->out, *t->at++);
  return ETK_OK;
}

static etk_status put_escape(etk_error *e, translation *t) {
  const char *set = NULL;
  bool negated = false;
  t->at++;
  switch (*t->at) {
  case 'S':
    negated = true; /* fall through */
  case 's':
    set = space_ranges;
    break;
  case 'W':
    negated = true; /* fall through */
  case 'w':
    set = word_ranges;
    break;
  case 'H':
    negated = true; /* fall through */
  case 'h':
    set = hex_ranges;
    break;
  case 'b':
    etk_text_printf(&t->out, "(?:(?<=[%s])(?![%s])|(?<![%s])(?=[%s]))", word_ranges, word_ranges, word_ranges, word_ranges);
    t->at++;
    return ETK_OK;
  case 'B':
    etk_text_printf(&t->out, "(?:(?<=[%s])(?=[%s])|(?<![%s])(?![%s]))", word_ranges, word_ranges, word_ranges, word_ranges);
    t->at++;
    return ETK_OK;
  case 'A':
  case 'Z':
  case 'z':
    etk_text_printf(&t->out, "\\%c", *t->at++);
    return ETK_OK;
  default:
    break;
  }
  if (set) {
    etk_text_printf(&t->out, "[%s%s]", negated ? "^" : "", set);
    t->at++;
    return ETK_OK;
  }
  bool done;
  etk_status s = put_common_escape(e, t, &done);
  return s == ETK_OK && !done ? refuse(e, t, "an unknown escape") : s;
}

static etk_status put_group(etk_error *e, translation *t) {
  static const char *const known[] = {"(?:", "(?=", "(?!", "(?<=", "(?<!", "(?>", "(?i:", "(?i)", "(?-i:", "(?-i)"};
  if (t->at[1] == '*') return refuse(e, t, "a (* verb");
  if (t->at[1] != '?') {
    etk_text_puts(&t->out, "(?:"); /* nothing is captured */
    t->at++;
    return ETK_OK;
  }
  for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
    size_t n = strlen(known[i]);
    if (strncmp(t->at, known[i], n)) continue;
    etk_text_append(&t->out, known[i], n);
    t->at += n;
    return ETK_OK;
  }
  return refuse(e, t, "a kind of (? group that is not known");
}

static etk_status translate(etk_error *e, translation *t) {
  etk_status s = ETK_OK;
  while (s == ETK_OK && *t->at) {
    if (*t->at == '\\') s = put_escape(e, t);
    else if (*t->at == '[') s = put_class(e, t);
    else if (*t->at == '(') s = put_group(e, t);
    else if (t->at[0] == '}' && t->at[1] == '+')
      s = refuse(e, t, "'+' after a counted repeat"); /* possessive in PCRE2, a repeat of the repeat in Ruby */
    else if (t->at[0] == '{' && t->at[1] == ',' && isdigit((unsigned char)t->at[2])) {
      etk_text_puts(&t->out, "{0");
      t->at++;
    } else etk_text_putc(&t->out, *t->at++);
  }
  return s;
}

/* ---- compiling and matching ------------------------------------------------------------------------------------------------------------ */

static etk_status compile(etk_error *e, etk__regex **out, const char *shown, const char *translated, size_t size) {
  etk__regex *regex = etk_calloc(1, sizeof *regex);
  pcre2_general_context *general = pcre2_general_context_create(pcre_alloc, pcre_free, NULL);
  pcre2_compile_context *context = general ? pcre2_compile_context_create(general) : NULL;
  int code = PCRE2_ERROR_NOMEMORY;
  PCRE2_SIZE at = 0;
  if (regex && context) {
    pcre2_set_newline(context, PCRE2_NEWLINE_LF);
    regex->code = pcre2_compile((PCRE2_SPTR)translated, size, PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE | PCRE2_NEVER_BACKSLASH_C, &code, &at, context);
  }
  pcre2_compile_context_free(context);
  pcre2_general_context_free(general);
  if (regex && regex->code) {
    pcre2_jit_compile(regex->code, PCRE2_JIT_COMPLETE); /* only speed: where it is not allowed, matching is interpreted */
    *out = regex;
    return ETK_OK;
  }
  etk_free(regex);
  if (code == PCRE2_ERROR_NOMEMORY || code == PCRE2_ERROR_HEAP_FAILED || code == 121) return etk__no_memory(e, "tokenizer pattern");
  PCRE2_UCHAR message[160] = "";
  pcre2_get_error_message(code, message, sizeof message);
  return etk_fail(e, ETK_E_UNSUPPORTED, "the pattern \"%s\" does not compile: %s", shown, (const char *)message);
}

etk_status etk__regex_new(etk_error *e, etk__regex **out, const char *pattern) {
  *out = NULL;
  translation t = {pattern, pattern, ETK_TEXT_INIT};
  if (strlen(pattern) > 16384) return etk_fail(e, ETK_E_UNSUPPORTED, "a pattern of %zu bytes; at most 16384 are supported", strlen(pattern));
  etk_status s = translate(e, &t);
  if (s == ETK_OK && t.out.failed) s = etk__no_memory(e, "tokenizer pattern");
  if (s == ETK_OK) s = compile(e, out, pattern, t.out.data ? t.out.data : "", t.out.size);
  etk_text_free(&t.out);
  if (s != ETK_OK || ((*out)->source = etk_strdup(pattern))) return s;
  etk__regex_free(*out);
  *out = NULL;
  return etk__no_memory(e, "tokenizer pattern");
}

const char *etk__regex_source(const etk__regex *regex) { return regex ? regex->source : NULL; }

etk_status etk__regex_literal(etk_error *e, etk__regex **out, const char *literal) {
  *out = NULL;
  etk_text quoted = ETK_TEXT_INIT;
  for (const char *c = literal; *c; c++) {
    if ((unsigned char)*c < 0x80 && !isalnum((unsigned char)*c)) etk_text_putc(&quoted, '\\');
    etk_text_putc(&quoted, *c);
  }
  etk_status s = quoted.failed ? etk__no_memory(e, "tokenizer pattern") : compile(e, out, literal, quoted.data ? quoted.data : "", quoted.size);
  etk_text_free(&quoted);
  return s;
}

void etk__regex_free(etk__regex *regex) {
  if (!regex) return;
  pcre2_code_free(regex->code);
  etk_free(regex->source);
  etk_free(regex);
}

etk_status etk__regex_find(etk_error *e, const etk__regex *regex, pcre2_match_data *data, const char *text, size_t size, size_t from, bool *found,
                           size_t *start, size_t *end) {
  *found = false;
  if (from > size) return ETK_OK;
  uint32_t options = PCRE2_NO_UTF_CHECK; /* checked once for the whole text; checking at each match would make long texts quadratic */
  int rc = pcre2_match(regex->code, (PCRE2_SPTR)text, size, from, options, data, NULL);
  if (rc == PCRE2_ERROR_JIT_STACKLIMIT) rc = pcre2_match(regex->code, (PCRE2_SPTR)text, size, from, options | PCRE2_NO_JIT, data, NULL);
  if (rc == PCRE2_ERROR_NOMATCH) return ETK_OK;
  if (rc == PCRE2_ERROR_NOMEMORY || rc == PCRE2_ERROR_HEAPLIMIT) return etk__no_memory(e, "tokenizer: matching its pattern");
  if (rc < 0) {
    PCRE2_UCHAR message[160] = "";
    pcre2_get_error_message(rc, message, sizeof message);
    return etk_fail(e, ETK_E_UNSUPPORTED, "the tokenizer's pattern gives up on this text at byte %zu: %s", from, (const char *)message);
  }
  const PCRE2_SIZE *where = pcre2_get_ovector_pointer(data);
  *found = where[1] >= where[0];
  *start = where[0];
  *end = where[1];
  return ETK_OK;
}
