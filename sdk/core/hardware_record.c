/* hardware_record.c: writes the facts that reading a machine asks for, without what tells whose machine it is: host names, serial numbers, network
 * addresses, and the identifiers of containers, devices and sessions. The same text is hidden the same way everywhere, so that the record replays. */
#include "hardware_internal.h"
#include "etk/alloc.h"
#include <ctype.h>
#include <unistd.h>

enum { ID_LEAST = 12 }; /* hexadecimal digits in a row that are an identifier rather than a number; a word of 16 with "0x" is kept */

typedef struct recorder {
  provider *from;
  etk_text *out;
  const char *host_name;
  char **seen;
  size_t count, capacity;
  bool failed;
} recorder;

static bool is_new(recorder *r, char kind, const char *name) {
  size_t n = strlen(name);
  for (size_t i = 0; i < r->count; i++)
    if (r->seen[i][0] == kind && strcmp(r->seen[i] + 1, name) == 0) return false;
  if (r->count == r->capacity) {
    size_t capacity = r->capacity ? r->capacity * 2 : 128;
    char **grown = etk_realloc(r->seen, capacity, sizeof *grown);
    if (!grown) return r->failed = true, false;
    r->seen = grown, r->capacity = capacity;
  }
  char *key = etk_alloc(n + 2);
  if (!key) return r->failed = true, false;
  key[0] = kind;
  memcpy(key + 1, name, n + 1);
  r->seen[r->count++] = key;
  return true;
}

static bool word_byte(char c) { return isalnum((unsigned char)c) || c == '_'; }

/* The length of an identifier at `at`: hexadecimal digits in groups joined by '-' or ':', at least ID_LEAST of them, not a plain number. */
static size_t identifier(const char *at, const char *end) {
  size_t n = 0, digits = 0, letters = 0, joins = 0;
  while (at + n < end && (isxdigit((unsigned char)at[n]) || ((at[n] == '-' || at[n] == ':') && n > 0 && at + n + 1 < end && isxdigit((unsigned char)at[n + 1])))) {
    if (at[n] == '-' || at[n] == ':') joins++;
    else digits++, letters += isalpha((unsigned char)at[n]) != 0;
    n++;
  }
  if (at + n < end && word_byte(at[n])) return 0;
  bool mac = joins == 5 && digits == 12;
  return digits >= ID_LEAST && (mac || letters > 0 || joins >= 4) ? n : 0;
}

/* The value of a line "Serial : …" or "… UUID: …" up to its end. */
static size_t secret_value(const char *line, const char *at, const char *end) {
  static const char *const keys[] = {"Serial", "serial", "UUID", "uuid", "asset"};
  if (at == line || (at[-1] != ':' && at[-1] != '=')) return 0;
  for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++)
    for (const char *c = line; c + strlen(keys[i]) <= at; c++)
      if (strncmp(c, keys[i], strlen(keys[i])) == 0) {
        const char *stop = memchr(at, '\n', (size_t)(end - at));
        return (size_t)((stop ? stop : end) - at);
      }
  return 0;
}

static void put_hidden(recorder *r, const char *text, size_t size) {
  const char *end = text + size, *line = text;
  size_t host = strlen(r->host_name);
  for (const char *at = text; at < end;) {
    bool begins = at == text || !word_byte(at[-1]);
    size_t n = secret_value(line, at, end);
    if (n == 0 && begins && host >= 3 && (size_t)(end - at) >= host && memcmp(at, r->host_name, host) == 0 && (at + host == end || !word_byte(at[host]))) {
      etk_text_puts(r->out, "host");
      at += host;
      continue;
    }
    if (n == 0 && begins && !(at - text >= 2 && at[-1] == 'x' && at[-2] == '0')) n = identifier(at, end);
    for (size_t i = 0; i < n; i++) etk_text_putc(r->out, isalnum((unsigned char)at[i]) ? 'x' : at[i]);
    at += n;
    if (n) continue;
    if (*at == '\n') line = at + 1;
    if (*at) etk_text_putc(r->out, *at); /* device-tree texts end with NUL */
    at++;
  }
}

static void put_content(recorder *r, const char *text, size_t size) {
  for (size_t at = 0; at < size;) {
    const char *newline = memchr(text + at, '\n', size - at);
    size_t n = newline ? (size_t)(newline - text) - at : size - at;
    if (n && strchr("@#\\", text[at]) && text[at]) etk_text_putc(r->out, '\\');
    put_hidden(r, text + at, n);
    etk_text_putc(r->out, '\n');
    at += n + 1;
  }
}

static int64_t file_of(void *user, const char *path, char *out, size_t size) {
  recorder *r = user;
  int64_t got = r->from->file(r->from->user, path, out, size);
  if (got < 0 || !is_new(r, 'f', path)) return got;
  etk_text_puts(r->out, "@file ");
  put_hidden(r, path, strlen(path));
  etk_text_putc(r->out, '\n');
  put_content(r, out, (size_t)got);
  return got;
}

static int64_t list_of(void *user, const char *path, char *out, size_t size) {
  recorder *r = user;
  int64_t got = r->from->list(r->from->user, path, out, size);
  if (got < 0 || !is_new(r, 'l', path)) return got;
  etk_text_puts(r->out, "@list ");
  put_hidden(r, path, strlen(path));
  for (const char *at = out; *at;) {
    size_t n = strcspn(at, " \n");
    if (n) etk_text_putc(r->out, ' '), put_hidden(r, at, n);
    at += n + (at[n] != 0);
  }
  etk_text_putc(r->out, '\n');
  return got;
}

static int64_t fact_of(void *user, const char *name, char *out, size_t size) {
  recorder *r = user;
  int64_t got = r->from->fact(r->from->user, name, out, size);
  if (got < 0 || !is_new(r, 'a', name)) return got;
  etk_text_printf(r->out, "@fact %s ", name);
  /* Numbers and registers tell of the kind of machine, not of whose; the kernel's release may hold a name. */
  if (strncmp(name, "uname.", 6) == 0) put_hidden(r, out, (size_t)got);
  else etk_text_append(r->out, out, (size_t)got);
  etk_text_putc(r->out, '\n');
  return got;
}

void etk__facts_record_from(etk_text *out, provider *from, const char *host_name) {
  recorder r = {.from = from, .out = out, .host_name = host_name};
  const etk_hardware_provider watching = {&r, file_of, list_of, fact_of, false};
  etk_hardware read;
  etk_text_puts(out, "# Facts of a machine, for etk_facts_load and `info --facts`. Host names, serial numbers, addresses and identifiers are x-ed out.\n");
  etk_hardware_read_from(&read, sizeof read, &watching);
  for (size_t i = 0; i < r.count; i++) etk_free(r.seen[i]);
  etk_free(r.seen);
  if (r.failed) out->failed = true;
}

etk_status etk_facts_record(etk_error *e, etk_text *out) {
  char host[256] = "";
  if (gethostname(host, sizeof host - 1) != 0 || strcmp(host, "localhost") == 0) host[0] = 0;
  etk__facts_record_from(out, etk_hardware_this_machine(), host);
  return out->failed ? etk_fail_memory(e) : ETK_OK;
}
