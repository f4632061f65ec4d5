/* log_redact.c: finds secrets by the name they go by, their scheme and their look, and blots them out. */
#include "log_internal.h"
#include <strings.h>

#define BLANKS " \t"
#define STOPS " \t\r\n,;&}])\"'<`" /* end a value that is not quoted */

static bool is_letter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }
static bool is_digit(char c) { return c >= '0' && c <= '9'; }
static bool is_joint(char c) { return c == '_' || c == '-' || c == '.'; }
static bool is_name(char c) { return is_letter(c) || is_digit(c) || is_joint(c); }

static bool is_word(const char *text, size_t size, const char *word) { return strlen(word) == size && strncasecmp(text, word, size) == 0; }

static bool in_list(const char *text, size_t size, const char *const *words, size_t count) {
  for (size_t i = 0; i < count; i++)
    if (is_word(text, size, words[i])) return true;
  return false;
}
#define IN(text, size, words) in_list((text), (size), (words), sizeof(words) / sizeof(words)[0])

static bool ends_with(const char *name, size_t size, const char *ending) {
  size_t n = strlen(ending);
  return size >= n && strncasecmp(name + size - n, ending, n) == 0;
}

/* ---- keys ---- */

enum key { NOT_SECRET, SECRET, HEADER }; /* HEADER: all of the line is the value */

/* "eos_token" and "max_token" are words of a vocabulary, "subtoken" is a word of its own. */
static bool is_token_key(const char *name, size_t size, const char *squeezed, size_t squeezed_size) {
  static const char *const vocabulary[] = {"bos",  "eos",   "pad",   "unk",     "mask",  "cls",    "sep",        "stop",   "start",   "end",
                                           "next", "last",  "first", "special", "per",   "image",  "audio",      "video",  "max",     "min",
                                           "num",  "new",   "prompt", "total",  "prev",  "previous", "current",  "byte",   "sample",  "target",
                                           "input", "output", "draft", "completion", "eot", "eom",  "bot",       "think",  "tool",    "timestamp"};
  static const char *const joined[] = {"accesstoken", "authtoken", "apitoken", "bearertoken", "refreshtoken", "sessiontoken",
                                       "idtoken",     "hftoken",   "csrftoken", "securitytoken", "deploytoken", "usertoken"};
  if (size == 5) return true;
  size_t n = size - 5;
  if (!is_joint(name[n - 1])) {
    bool camel = name[n] == 'T' && name[n - 1] >= 'a' && name[n - 1] <= 'z';
    for (size_t i = 0; !camel && i < sizeof joined / sizeof joined[0]; i++) {
      if (ends_with(squeezed, squeezed_size, joined[i])) return true;
    }
    if (!camel) return false;
  } else n--;
  size_t begin = n;
  while (begin > 0 && !is_joint(name[begin - 1])) begin--;
  for (size_t i = 0; i < sizeof vocabulary / sizeof vocabulary[0]; i++)
    if (is_word(name + begin, n - begin, vocabulary[i])) return false;
  return true;
}

/* Whether what goes by `name` is a secret: "HF_TOKEN", "db.password", "x-api-key", "clientSecret". */
static enum key key_kind(const char *name, size_t size) {
  static const char *const endings[] = {"apikey",     "password",      "passwd",     "passphrase",      "passcode",  "secret",     "secretkey",
                                        "accesskey",  "privatekey",    "accountkey", "authkey",         "signingkey", "masterkey", "encryptionkey",
                                        "sharedkey",  "sshkey",        "deploykey",  "subscriptionkey", "clientkey", "openaikey",  "anthropickey",
                                        "hfkey",      "credential",    "credentials", "amzsignature",   "dbpass",    "userpass",   "smtppass"};
  char squeezed[40];
  size_t n = 0, from = size > 2 * sizeof squeezed ? size - 2 * sizeof squeezed : 0;
  for (size_t i = from; i < size; i++) {
    if (is_joint(name[i])) continue;
    if (n == sizeof squeezed) memmove(squeezed, squeezed + 1, --n);
    squeezed[n++] = name[i];
  }
  if (n < 3 || !strchr("ydenstYDENST", squeezed[n - 1])) return NOT_SECRET;
  if (ends_with(squeezed, n, "authorization")) return HEADER;
  if (is_word(squeezed, n, "cookie") || is_word(squeezed, n, "setcookie")) return HEADER;
  if (ends_with(squeezed, n, "pwd")) return is_word(squeezed, n, "oldpwd") ? NOT_SECRET : SECRET;
  for (size_t i = 0; i < sizeof endings / sizeof endings[0]; i++)
    if (ends_with(squeezed, n, endings[i])) return SECRET;
  return ends_with(name, size, "token") && is_token_key(name, size, squeezed, n) ? SECRET : NOT_SECRET;
}

bool etk_log_secret_key(const char *key) { return key && key_kind(key, strlen(key)) != NOT_SECRET; }

/* ---- values ---- */

/* Where reading goes on, and how much was blotted out. */
typedef struct cursor {
  char *p;
  int count;
} cursor;

static void blot(cursor *c, char *value, size_t size) {
  c->p = value + size;
  if (size == 0 || (size <= 3 && strspn(value, "*") >= size)) return;
  size_t stars = size < 3 ? size : 3;
  memset(value, '*', stars);
  memmove(value + stars, value + size, strlen(value + size) + 1);
  c->p = value + stars;
  c->count++;
}

/* An opening quote with the backslashes that nesting in JSON text puts before it (0, 1, 3, 7); its bytes, or 0. */
static size_t quote_size(const char *p) {
  size_t n = strspn(p, "\\");
  return (p[n] == '"' || p[n] == '\'') && (n == 0 || n == 1 || n == 3 || n == 7) ? n + 1 : 0;
}

/* Where the text behind such a quote ends. A quote that belongs to the text has more backslashes than the one that opened, by an odd multiple of their
 * number plus one. */
static size_t quoted_size(const char *text, size_t opening) {
  char quote = text[-1];
  for (size_t i = 0;;) {
    i += strcspn(text + i, quote == '"' ? "\\\"" : "\\'");
    if (!text[i]) return i;
    size_t slashes = strspn(text + i, "\\");
    if (text[i + slashes] == quote) {
      if (slashes + 1 < opening) return i; /* the quote of an outer level */
      size_t more = slashes + 1 - opening;
      if (more % opening || more / opening % 2 == 0) return i + slashes + 1 - opening;
      slashes++;
    }
    i += slashes;
  }
}

static bool harmless(const char *name, size_t name_size, const char *value, size_t size) {
  static const char *const words[] = {"true", "false", "null", "none", "nil", "yes", "no"};
  if (IN(value, size, words)) return true;
  size_t whole = strspn(value, "0123456789");
  bool small = (whole >= size && size <= 5) || (value[whole] == '.' && size <= 12 && whole + 1 + strspn(value + whole + 1, "0123456789") >= size);
  if (small && ends_with(name, name_size, "token")) return true; /* a number of a vocabulary, a time per token */
  return ends_with(name, name_size, "pwd") && (*value == '/' || *value == '~'); /* a working directory */
}

/* All scalars between the brackets at p; keys stay. */
static void blot_nested(cursor *c, char *p) {
  int depth = 0;
  do {
    if (*p == '{' || *p == '[') depth++;
    if (*p == '}' || *p == ']') depth--;
    size_t quote = quote_size(p);
    if (quote) {
      size_t size = quoted_size(p + quote, quote);
      char *end = p + quote + size;
      end += quote_size(end);
      if (end[strspn(end, BLANKS)] == ':') p = end;
      else {
        blot(c, p + quote, size);
        p = c->p + quote_size(c->p);
      }
    } else if (strchr("{}[]:, \t\r\n\\", *p)) p++;
    else {
      blot(c, p, strcspn(p, "{}[]:, \t\r\n\\\"'"));
      p = c->p > p ? c->p : p + 1;
    }
  } while (*p && depth > 0);
  c->p = p;
}

static bool is_scheme(const char *value, size_t size) {
  static const char *const schemes[] = {"bearer", "basic", "token", "apikey"};
  return IN(value, size, schemes);
}

static void blot_value(cursor *c, const char *name, size_t name_size, char *value, enum key kind) {
  size_t quote = quote_size(value), size;
  if (quote) {
    value += quote;
    size = quoted_size(value, quote);
  } else if (kind == HEADER) size = strcspn(value, "\r\n\"'");
  else if (*value == '{' || *value == '[') {
    blot_nested(c, value);
    return;
  } else {
    size = strcspn(value, STOPS);
    size_t blanks = strspn(value + size, BLANKS);
    if (is_scheme(value, size) && blanks) size += blanks + strcspn(value + size + blanks, STOPS);
  }
  if (!quote && (value[size] == '"' || value[size] == '\''))
    while (size > 0 && value[size - 1] == '\\') size--; /* they belong to the quote */
  if (size && !harmless(name, name_size, value, size)) blot(c, value, size);
  else c->p = value;
}

/* ---- what leads to a value ---- */

/* After a key that ends at p: a closing quote, "]", blanks, one of = : := => ==, blanks. NULL: no value follows. */
static char *value_after(char *p) {
  size_t quote = quote_size(p);
  p += quote;
  if (*p == ']') p++;
  p += strspn(p, BLANKS);
  if (*p != '=' && *p != ':') return NULL;
  p += p[1] == '=' || (p[0] == '=' && p[1] == '>') ? 2 : 1;
  p += strspn(p, BLANKS);
  return p[0] == '/' && p[1] == '/' ? NULL : p; /* secret://… is an address */
}

/* "--token abc", but not "--token is missing"; "<password>abc<". */
static char *value_beside(const char *message, const char *name, size_t size, char *p) {
  static const char *const prose[] = {"is",  "was",  "wants", "must", "needs",    "requires", "takes", "expects", "has",  "and",     "or", "for",
                                      "to",  "the",  "a",     "not",  "cannot",   "given",    "with",  "in",      "from", "missing", "of", "as",
                                      "may", "can",  "if",    "when", "required", "on",       "at",    "option",  "but",  "does",    "that"};
  if (*p == '>' && name > message && name[-1] == '<') return p + 1;
  if (size < 3 || name[0] != '-' || name[1] != '-') return NULL;
  char *value = p + strspn(p, BLANKS);
  if (value == p || *value == '-' || strchr("|]>", *value)) return NULL;
  return IN(value, strcspn(value, STOPS ":"), prose) ? NULL : value;
}

/* user:password@ behind "://" at p. Everything up to the '@' is passed over. */
static void address(cursor *c, char *p) {
  char *host = p + 3, *at = NULL, *colon = NULL;
  size_t size = strcspn(host, "/?# \t\r\n\"'<>`\\"), shape, keep;
  c->p = host;
  for (char *q = host; q < host + size; q++) {
    if (*q == '@') at = q;
    if (*q == ':' && !colon) colon = q;
  }
  if (!at && colon && *host != '[' && colon + 1 + strspn(colon + 1, "0123456789") < host + size) { /* no port: a password with a '/' in it */
    size_t most = strcspn(host, " \t\r\n\"'<>`");
    at = memchr(host + size, '@', most > size ? most - size : 0);
  }
  if (!at) return;
  if (etk__shape_match(host, &shape, &keep) && host + shape <= at) {
    blot(c, host + keep, shape - keep);
    address(c, p); /* what is left may have a password too */
  } else if (colon && colon < at) blot(c, colon + 1, (size_t)(at - colon - 1));
}

static int base64_value(char c) {
  static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  const char *at = c ? strchr(digits, c == '-' ? '+' : c == '_' ? '/' : c) : NULL;
  return at ? (int)(at - digits) : -1;
}

/* RFC 7617: base64 of printable text with a ':' in it, so that "basic training" is none. */
static bool is_basic(const char *value, size_t size) {
  unsigned bits = 0, have = 0;
  bool colon = false;
  if (size < 4) return false;
  for (size_t i = 0; i < size && value[i] != '='; i++) {
    int digit = base64_value(value[i]);
    if (digit < 0) return false;
    bits = bits << 6 | (unsigned)digit;
    have += 6;
    if (have < 8) continue;
    have -= 8;
    unsigned char byte = (unsigned char)(bits >> have);
    if (byte < 0x20 || byte == 0x7F) return false;
    colon |= byte == ':';
  }
  return colon;
}

/* "bearer of news": prose has words without digits. */
static bool is_bearer(const char *value, size_t size) {
  static const char *const prose[] = {"authentication", "authorization", "credential", "credentials", "certificate", "certificates", "instrument",
                                      "instruments"};
  size_t letters = 0;
  while (letters < size && is_letter(value[letters])) letters++;
  return letters < size ? value[letters] != '*' : size >= 8 && !IN(value, size, prose);
}

static bool blot_scheme(cursor *c, const char *name, size_t size, char *p) {
  bool bearer = is_word(name, size, "bearer");
  if (!bearer && !is_word(name, size, "basic")) return false;
  char *value = p + strspn(p, BLANKS);
  size_t length = value > p ? strcspn(value, STOPS "\\") : 0;
  if (length == 0 || !(bearer ? is_bearer(value, length) : is_basic(value, length))) return false;
  blot(c, value, length);
  return true;
}

/* -----BEGIN … PRIVATE KEY----- … -----END: all between. */
static bool blot_pem(cursor *c, char *p) {
  static const char begin[] = "-----BEGIN ", mark[] = "PRIVATE KEY-----";
  if (strncmp(p, begin, sizeof begin - 1) != 0) return false;
  char *at = strstr(p, mark);
  if (!at || at - p > 64) return false;
  at += sizeof mark - 1;
  char *end = strstr(at, "-----END");
  blot(c, at, end ? (size_t)(end - at) : strlen(at));
  return true;
}

/* A credential by its look, at the beginning of a name or behind one of its joints. */
static bool blot_shape(cursor *c, char *name, size_t size) {
  size_t length, keep;
  for (size_t i = 0; i + ETK__SHAPE_LEAST <= size; i++) {
    if (i > 0 && name[i - 1] != '.' && name[i - 1] != '-') continue;
    if (!etk__shape_match(name + i, &length, &keep)) continue;
    blot(c, name + i + keep, length - keep);
    return true;
  }
  return false;
}

static bool blot_key(cursor *c, const char *message, char *name, size_t size) {
  char *end = name + size, *value = value_after(end);
  bool beside = !value && (value = value_beside(message, name, size, end)) != NULL;
  enum key kind = value ? key_kind(name, size) : NOT_SECRET;
  if (kind == NOT_SECRET) return false;
  blot_value(c, name, size, value, beside ? SECRET : kind);
  return true;
}

static int pass(char *message) {
  cursor c = {message, 0};
  while (*c.p) {
    char *name = c.p;
    if (*name == ':' && name[1] == '/' && name[2] == '/') {
      address(&c, name);
      continue;
    }
    if (!is_name(*name)) {
      c.p++;
      continue;
    }
    if (*name == '-' && blot_pem(&c, name)) continue;
    char *end = name;
    while (is_name(*end)) end++;
    size_t size = (size_t)(end - name);
    if (blot_key(&c, message, name, size) || blot_scheme(&c, name, size, end) || blot_shape(&c, name, size)) continue;
    c.p = end;
  }
  return c.count;
}

/* What is left after a secret is gone may read as another one, so that it goes on until nothing is found: each time with fewer bytes or more stars. */
int etk_log_redact(char *message) {
  int count = 0;
  for (int found; (found = pass(message)) > 0;) count += found;
  return count;
}
