#include "protobuf.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

etk_status etk__proto_fail(const etk__proto_file *file, etk_status status, const unsigned char *at, const char *format, ...) {
  char text[512];
  va_list args;
  va_start(args, format);
  vsnprintf(text, sizeof text, format, args);
  va_end(args);
  return etk_fail(file->e, status, "%s: byte %zu: %s", file->name, (size_t)(at - file->begin), text);
}

/* NULL where the number is fine. */
static const char *take_varint(etk__proto_span *span, uint64_t *out) {
  *out = 0;
  for (int shift = 0; shift < 64; shift += 7) {
    if (span->at == span->end) return "a number is cut off";
    unsigned char byte = *span->at++;
    if (shift == 63 && byte > 1) return "a number takes more than 64 bits";
    *out |= (uint64_t)(byte & 127) << shift;
    if (byte < 128) return NULL;
  }
  return "a number takes more than 64 bits";
}

etk_status etk__proto_varint(const etk__proto_file *file, etk__proto_span *span, uint64_t *out) {
  const unsigned char *at = span->at;
  const char *problem = take_varint(span, out);
  return problem ? etk__proto_fail(file, ETK_E_FORMAT, at, "%s", problem) : ETK_OK;
}

static etk_status take_bytes(const etk__proto_file *file, etk__proto_span *span, etk__proto_field *out, uint64_t size) {
  if (size > (uint64_t)(span->end - span->at))
    return etk__proto_fail(file, ETK_E_FORMAT, out->tag,
                           "field %" PRIu32 " of %" PRIu64 " bytes reaches beyond its message, of which %zu bytes are left", out->number, size,
                           (size_t)(span->end - span->at));
  out->bytes = (etk__proto_span){span->at, span->at + size};
  span->at += size;
  return ETK_OK;
}

etk_status etk__proto_next(const etk__proto_file *file, etk__proto_span *span, etk__proto_field *out, bool *more) {
  uint64_t tag, size;
  *more = span->at < span->end;
  if (!*more) return ETK_OK;
  *out = (etk__proto_field){.tag = span->at};
  etk_status s = etk__proto_varint(file, span, &tag);
  if (s) return s;
  if (tag >> 3 == 0 || tag >> 3 >= 1u << 29)
    return etk__proto_fail(file, ETK_E_FORMAT, out->tag, "field number %" PRIu64 "; 1 to 2^29 - 1 are right", tag >> 3);
  out->number = (uint32_t)(tag >> 3);
  out->wire = (etk__proto_wire)(tag & 7);
  switch (tag & 7) {
  case ETK__PROTO_VARINT:
    return etk__proto_varint(file, span, &out->value);
  case ETK__PROTO_64:
    return take_bytes(file, span, out, 8);
  case ETK__PROTO_32:
    return take_bytes(file, span, out, 4);
  case ETK__PROTO_BYTES:
    s = etk__proto_varint(file, span, &size);
    return s ? s : take_bytes(file, span, out, size);
  default:
    return etk__proto_fail(file, ETK_E_FORMAT, out->tag, "field %" PRIu32 " is of wire type %d, which is not in use", out->number, (int)(tag & 7));
  }
}

static etk_status count_packed(const etk__proto_file *file, const etk__proto_field *field, const etk__proto_rule *rule, uint64_t *count) {
  size_t size = (size_t)(field->bytes.end - field->bytes.at), each = rule->wire == ETK__PROTO_64 ? 8 : 4;
  etk__proto_span span = field->bytes;
  uint64_t value;
  if (rule->wire != ETK__PROTO_VARINT) {
    *count += size / each;
    return size % each ? etk__proto_fail(file, ETK_E_FORMAT, field->tag, "%s of %zu bytes, which is no multiple of %zu", rule->name, size, each)
                       : ETK_OK;
  }
  for (; span.at < span.end; ++*count) {
    etk_status s = etk__proto_varint(file, &span, &value);
    if (s) return s;
  }
  return ETK_OK;
}

etk_status etk__proto_scan(const etk__proto_file *file, etk__proto_span message, const char *what, const etk__proto_rule *rules, int rule_count,
                           etk__proto_seen *out) {
  etk__proto_field field;
  bool more;
  memset(out, 0, sizeof *out);
  for (;;) {
    etk_status s = etk__proto_next(file, &message, &field, &more);
    if (s || !more) return s;
    int row = 0;
    while (row < rule_count && rules[row].number != field.number) row++;
    if (row == rule_count) continue;
    const etk__proto_rule *rule = &rules[row];
    bool packed = rule->repeated && rule->wire != ETK__PROTO_BYTES && field.wire == ETK__PROTO_BYTES;
    if (!packed && (uint8_t)field.wire != rule->wire)
      return etk__proto_fail(file, ETK_E_FORMAT, field.tag, "%s of %s is of wire type %d; %d is right", rule->name, what, (int)field.wire,
                             (int)rule->wire);
    if (out->fields[row] && !rule->repeated) return etk__proto_fail(file, ETK_E_FORMAT, field.tag, "%s of %s is given twice", rule->name, what);
    if (!out->fields[row]) out->first[row] = field;
    out->fields[row]++;
    if (!packed) out->count[row]++;
    else if ((s = count_packed(file, &field, rule, &out->count[row]))) return s;
  }
}
