/* protobuf.h: Protocol Buffers messages read where they lie (https://protobuf.dev/programming-guides/encoding): a message is a span of bytes, its fields are
 * handed out one by one. Nothing is copied, and every length is checked against the span it lies in. Groups, which nothing writes any more, are refused. */
#ifndef ETK_ML_FORMAT_PROTOBUF_H
#define ETK_ML_FORMAT_PROTOBUF_H

#include <etk/status.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef enum etk__proto_wire { ETK__PROTO_VARINT = 0, ETK__PROTO_64 = 1, ETK__PROTO_BYTES = 2, ETK__PROTO_32 = 5 } etk__proto_wire;

typedef struct etk__proto_file { /* for messages */
  etk_error *e;
  const char *name;
  const unsigned char *begin;
} etk__proto_file;

typedef struct etk__proto_span {
  const unsigned char *at, *end;
} etk__proto_span;

typedef struct etk__proto_field {
  const unsigned char *tag; /* where it begins */
  uint32_t number;
  etk__proto_wire wire;
  uint64_t value;        /* of a number */
  etk__proto_span bytes; /* of the others */
} etk__proto_field;

/* The field at span->at, which moves behind it; *more is false at the end of the span. */
etk_status etk__proto_next(const etk__proto_file *file, etk__proto_span *span, etk__proto_field *out, bool *more);
/* One number of a packed list. */
etk_status etk__proto_varint(const etk__proto_file *file, etk__proto_span *span, uint64_t *out);
/* An error that names the file and the byte. */
etk_status etk__proto_fail(const etk__proto_file *file, etk_status status, const unsigned char *at, const char *format, ...) ETK_PRINTF(4, 5);

/* What a message may hold: one row a field. Other numbers are skipped, as the format asks. */
typedef struct etk__proto_rule {
  uint8_t number;
  uint8_t wire;  /* of one value */
  bool repeated; /* numbers may then also be packed into one field of bytes */
  const char *name;
} etk__proto_rule;

enum { ETK__PROTO_RULES = 24 };
typedef struct etk__proto_seen { /* by row */
  uint64_t count[ETK__PROTO_RULES];            /* of values, those in packed lists one by one */
  uint32_t fields[ETK__PROTO_RULES];           /* that hold them */
  etk__proto_field first[ETK__PROTO_RULES];    /* of them */
} etk__proto_seen;
/* Walks the whole message: checks wire types, counts, and refuses a field that is given twice and may be there once. `what` names the message. */
etk_status etk__proto_scan(const etk__proto_file *file, etk__proto_span message, const char *what, const etk__proto_rule *rules, int rule_count,
                           etk__proto_seen *out);

#endif
