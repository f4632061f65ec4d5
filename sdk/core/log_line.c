/* log_line.c: the text of a line, in JSON and plain, made in a buffer of fixed size. */
#include "etk/text.h"
#include "log_internal.h"
#include <math.h>
#include <time.h>

enum { KEYS = 16, KEY = 32, VALUE = 200, CONTEXT = 8192, RESERVE = 16 }; /* RESERVE: room for ,"cut":true}\n */

typedef struct line {
  char *data;
  size_t size, limit;
  bool cut;
} line;

static void put(line *l, const char *bytes, size_t size) {
  if (size > l->limit - l->size) {
    l->cut = true;
    return;
  }
  memcpy(l->data + l->size, bytes, size);
  l->size += size;
}

#define PUT(l, literal) put((l), "" literal, sizeof(literal) - 1)

/* The bytes at text that need no escape in JSON: a run of ASCII, at once. */
static size_t plain_run(const char *text, size_t size) {
  size_t n = 0;
  while (n < size && (unsigned char)text[n] >= 0x20 && (unsigned char)text[n] < 0x7F && text[n] != '"' && text[n] != '\\') n++;
  return n;
}

/* One character that is not of such a run, escaped; returns the bytes read. */
static size_t put_odd(line *l, const char *text, size_t size, bool quoted) {
  static const char named[] = "\"\"\\\\\bb\ff\nn\rr\tt"; /* pairs: byte, letter */
  unsigned char c = (unsigned char)*text;
  uint32_t code_point;
  size_t n = c >= 0x80 ? etk_utf8_decode(&code_point, text, size) : 1;
  if (n == 0) {
    PUT(l, "\xEF\xBF\xBD");
    return 1;
  }
  bool c1 = n == 2 && code_point < 0xA0; /* terminals obey these too */
  if (c1 || c < 0x20 || c == 0x7F || (quoted && (c == '"' || c == '\\'))) {
    char escape[8] = {'\\'};
    const char *pair = c && !c1 ? strchr(named, c) : NULL;
    if (pair && c != 'b' && c != 'f' && c != 'n' && c != 'r' && c != 't') escape[1] = pair[1];
    else snprintf(escape, sizeof escape, "\\u%04x", c1 ? (unsigned)code_point : c);
    put(l, escape, strlen(escape));
  } else put(l, text, n);
  return n;
}

static size_t left(const line *l, size_t limit) { return limit > l->size ? limit - l->size : 0; }

/* Escaped as JSON does; text that does not fit below `limit` ends with "…" and the line counts as cut. */
static void put_escaped(line *l, const char *text, size_t size, size_t limit, bool quoted) {
  size_t i = 0;
  while (i < size) {
    size_t n = plain_run(text + i, size - i), room = left(l, limit);
    if (room < 6 + 3) break; /* the longest escape, and the mark of a cut */
    if (n > room - 3) {
      put(l, text + i, room - 3);
      break;
    }
    put(l, text + i, n);
    i += n;
    if (n == 0) i += put_odd(l, text + i, size - i, quoted);
  }
  if (i == size) return;
  if (left(l, limit) >= 3) PUT(l, "\xE2\x80\xA6");
  l->cut = true;
}

static void put_json(line *l, const char *text, size_t size, size_t limit) {
  PUT(l, "\"");
  put_escaped(l, text, size, limit - 1, true);
  PUT(l, "\"");
}

static void put_int(line *l, int64_t value) {
  char digits[24], *p = digits + sizeof digits;
  uint64_t rest = value < 0 ? 0 - (uint64_t)value : (uint64_t)value;
  do *--p = (char)('0' + rest % 10);
  while (rest /= 10);
  if (value < 0) *--p = '-';
  put(l, p, (size_t)(digits + sizeof digits - p));
}

/* Most numbers are a few decimals: n / 10^k, rounded once, is the double that those digits mean. Others take the long way. */
static bool put_decimal(line *l, double value) {
  double power = 1;
  if (!(fabs(value) < 1e9)) return false;
  for (int k = 0; k <= 6; k++, power *= 10) {
    int64_t n = (int64_t)(fabs(value) * power + 0.5);
    if ((double)n / power != fabs(value)) continue;
    char digits[24], *p = digits + sizeof digits;
    for (int i = 0; i < k; i++, n /= 10) *--p = (char)('0' + n % 10);
    if (k) *--p = '.';
    do *--p = (char)('0' + n % 10);
    while (n /= 10);
    if (signbit(value)) *--p = '-';
    put(l, p, (size_t)(digits + sizeof digits - p));
    return true;
  }
  return false;
}

static void put_real(line *l, double value) {
  char room[64];
  if (put_decimal(l, value)) return;
  etk_text text = {room, 0, sizeof room, false}; /* never grows: the longest number has 24 bytes */
  etk_text_real(&text, value);
  put(l, text.data, text.size);
}

/* ---- time ---- */

static void put_time(line *l, int64_t unix_ms) {
  static int64_t second = INT64_MIN; /* under the files' lock */
  static char text[32];
  static const int64_t first = INT64_C(-62167219200000), last = INT64_C(253402300799999); /* years of four digits */
  unix_ms = unix_ms < first ? first : unix_ms > last ? last : unix_ms;
  int64_t now = unix_ms / 1000 - (unix_ms % 1000 < 0), ms = unix_ms - now * 1000;
  if (now != second) {
    struct tm t = {0};
    time_t value = (time_t)now;
    gmtime_r(&value, &t);
    snprintf(text, sizeof text, "%04u-%02u-%02uT%02u:%02u:%02u", (unsigned)(t.tm_year + 1900) % 10000, (unsigned)(t.tm_mon + 1) % 100,
             (unsigned)t.tm_mday % 100, (unsigned)t.tm_hour % 100, (unsigned)t.tm_min % 100, (unsigned)t.tm_sec % 100);
    second = now;
  }
  char tail[5] = {'.', (char)('0' + ms / 100), (char)('0' + ms / 10 % 10), (char)('0' + ms % 10), 'Z'};
  put(l, text, 19);
  put(l, tail, 5);
}

static bool digits(int *out, const char *p, int count) {
  *out = 0;
  for (int i = 0; i < count; i++) {
    if (p[i] < '0' || p[i] > '9') return false;
    *out = *out * 10 + (p[i] - '0');
  }
  return true;
}

int64_t etk__line_time(const char *text, size_t size) {
  static const char begin[] = "{\"timestamp\":\"";
  int year, month, day, hour, minute, second, ms;
  if (size >= sizeof begin - 1 && !memcmp(text, begin, sizeof begin - 1)) text += sizeof begin - 1, size -= sizeof begin - 1;
  if (size < 24 || text[4] != '-' || text[7] != '-' || text[10] != 'T' || text[13] != ':' || text[16] != ':' || text[19] != '.') return -1;
  if (!digits(&year, text, 4) || !digits(&month, text + 5, 2) || !digits(&day, text + 8, 2) || !digits(&hour, text + 11, 2) ||
      !digits(&minute, text + 14, 2) || !digits(&second, text + 17, 2) || !digits(&ms, text + 20, 3) || month < 1 || month > 12)
    return -1;
  struct tm t = {.tm_year = year - 1900, .tm_mon = month - 1, .tm_mday = day, .tm_hour = hour, .tm_min = minute, .tm_sec = second};
  return (int64_t)timegm(&t) * 1000 + ms;
}

/* ---- context ---- */

static struct context {
  struct {
    char key[KEY + 1], value[VALUE + 1];
  } items[KEYS];
  size_t count;
  char json[CONTEXT], plain[CONTEXT];
  size_t json_size, plain_size;
} context; /* under the files' lock */

/* Cut at a character; control characters become blanks, so that what is escaped stays short. */
static void copy_cut(char *out, size_t most, const char *text) {
  size_t n = strlen(text);
  if (n > most)
    for (n = most; n > 0 && ((unsigned char)text[n] & 0xC0) == 0x80;) n--;
  for (size_t i = 0; i < n; i++) out[i] = (unsigned char)text[i] < 0x20 || text[i] == 0x7F ? ' ' : text[i];
  out[n] = 0;
}

static void put_plain(line *l, const char *text, size_t size) {
  bool bare = size > 0 && plain_run(text, size) == size && !memchr(text, ' ', size) && !memchr(text, '=', size);
  if (bare) put(l, text, size);
  else put_json(l, text, size, l->limit);
}

static void render_context(void) {
  line json = {context.json, 0, CONTEXT, false}, plain = {context.plain, 0, CONTEXT, false};
  for (size_t i = 0; i < context.count; i++) {
    const char *key = context.items[i].key, *value = context.items[i].value;
    PUT(&json, ",");
    put_json(&json, key, strlen(key), CONTEXT);
    PUT(&json, ":");
    put_json(&json, value, strlen(value), CONTEXT);
    PUT(&plain, " ");
    put(&plain, key, strlen(key));
    PUT(&plain, "=");
    put_plain(&plain, value, strlen(value));
  }
  context.json_size = json.size;
  context.plain_size = plain.size;
}

static bool own_name(const char *name) { return !strcmp(name, "timestamp") || !strcmp(name, "level") || !strcmp(name, "message") || !strcmp(name, "cut"); }

void etk__line_context(const char *key, const char *value) {
  char name[KEY + 1];
  copy_cut(name, KEY, key);
  if (!*name || own_name(name)) return;
  size_t i = 0;
  while (i < context.count && strcmp(context.items[i].key, name) != 0) i++;
  if (!value) {
    if (i == context.count) return;
    memmove(&context.items[i], &context.items[i + 1], (context.count - i - 1) * sizeof context.items[0]);
    context.count--;
  } else {
    if (i == KEYS) return;
    copy_cut(context.items[i].key, KEY, name);
    copy_cut(context.items[i].value, VALUE, value);
    if (etk_log_secret_key(name)) copy_cut(context.items[i].value, VALUE, "***");
    else etk_log_redact(context.items[i].value);
    if (i == context.count) context.count++;
  }
  render_context();
}

/* ---- lines ---- */

static bool taken_name(const char *name) {
  if (own_name(name)) return true;
  for (size_t i = 0; i < context.count; i++)
    if (!strcmp(context.items[i].key, name)) return true;
  return false;
}

/* A field's text without its secrets: *out is it, or a copy in `room`. */
static size_t clean_text(const char **out, char room[ETK__LOG_MESSAGE], const char *name, const char *text) {
  size_t size = strlen(text);
  if (etk_log_secret_key(name)) {
    *out = "***";
    return 3;
  }
  if (size >= ETK__LOG_MESSAGE)
    for (size = ETK__LOG_MESSAGE - 1; size > 0 && ((unsigned char)text[size] & 0xC0) == 0x80;) size--;
  memcpy(room, text, size);
  room[size] = 0;
  *out = room;
  return etk_log_redact(room) ? strlen(room) : size;
}

static void put_value(line *l, const etk_log_field *field, const char *name, bool json, char room[ETK__LOG_MESSAGE]) {
  const char *text;
  if (field->kind == ETK_LOG_FIELD_FLAG) put(l, field->integer ? "true" : "false", field->integer ? 4 : 5);
  else if (field->kind == ETK_LOG_FIELD_TEXT && field->text) {
    size_t size = clean_text(&text, room, name, field->text);
    if (json) put_json(l, text, size, l->limit);
    else put_plain(l, text, size);
  } else if (field->kind == ETK_LOG_FIELD_TEXT) PUT(l, "null");
  else if (etk_log_secret_key(name)) put(l, json ? "\"***\"" : "***", json ? 5 : 3);
  else if (field->kind == ETK_LOG_FIELD_INT) put_int(l, field->integer);
  else put_real(l, field->real);
}

/* A field that does not fit goes whole. */
static void put_field(line *l, const etk_log_field *field, bool json, bool own, char room[ETK__LOG_MESSAGE]) {
  line before = *l;
  const char *name = field->name ? field->name : "";
  size_t size = strlen(name);
  l->cut = false;
  if (json) PUT(l, ",\"");
  else PUT(l, " ");
  put_escaped(l, name, size, l->limit, true);
  if (own && taken_name(name)) PUT(l, "_");
  if (json) PUT(l, "\":");
  else PUT(l, "=");
  put_value(l, field, name, json, room);
  if (l->cut) {
    *l = before;
    l->cut = true;
  } else l->cut = before.cut;
}

size_t etk__line_format(char *out, etk_log_format format, etk_log_level level, int64_t unix_ms, const char *message, const etk_log_field *fields,
                        size_t count) {
  static char room[ETK__LOG_MESSAGE]; /* under the files' lock */
  line l = {out, 0, ETK__LOG_LINE - RESERVE, false};
  bool json = format == ETK_LOG_JSON;
  const char *name = etk_log_level_name(level);
  if (json) PUT(&l, "{\"timestamp\":\"");
  put_time(&l, unix_ms);
  if (json) PUT(&l, "\",\"level\":\"");
  else PUT(&l, " ");
  put(&l, name, strlen(name));
  if (json) {
    PUT(&l, "\",\"message\":");
    put_json(&l, message, strlen(message), ETK__LOG_LINE / 2);
    put(&l, context.json, context.json_size);
  } else {
    for (size_t i = strlen(name); i < 8; i++) PUT(&l, " ");
    put_escaped(&l, message, strlen(message), ETK__LOG_LINE / 2, false);
    put(&l, context.plain, context.plain_size);
  }
  for (size_t i = 0; i < count; i++) put_field(&l, &fields[i], json, true, room);
  l.limit = ETK__LOG_LINE;
  if (l.cut && json) PUT(&l, ",\"cut\":true");
  if (json) PUT(&l, "}");
  PUT(&l, "\n");
  return l.size;
}

void etk__line_fields(char *out, size_t out_size, const etk_log_field *fields, size_t count) {
  line l = {out, strlen(out), out_size - 1, false};
  char room[ETK__LOG_MESSAGE];
  for (size_t i = 0; i < count; i++) put_field(&l, &fields[i], false, false, room);
  out[l.size] = 0;
}
