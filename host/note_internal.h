/* note_internal.h: what note.c (ELF) and note_macho.c share: bytes that are in memory, or read from a descriptor as they are needed. */
#ifndef NOTE_INTERNAL_H
#define NOTE_INTERNAL_H

#include "note.h"

enum { NOTE_HEAD = 4096 }; /* the headers and, in a small plugin, the note too: one pread */

struct note_source {
  const char *name;           /* for messages */
  const unsigned char *bytes; /* the whole file, or NULL: */
  int fd;
  uint64_t size;              /* of the file */
  unsigned char *scratch;     /* what the last note_get outside the head brought; owned */
  size_t scratch_size;
  size_t head_size;
  unsigned char head[NOTE_HEAD];
};

/* `size` bytes at `offset`, valid until the next call. Outside the file is ETK_E_FORMAT; `what` is the noun of the message. */
etk_status note_get(etk_error *e, const unsigned char **out, struct note_source *source, uint64_t offset, uint64_t size, const char *what);

/* The text of the first etk note in a run of notes, or false. */
bool note_scan(const unsigned char **text, size_t *size, const unsigned char *bytes, size_t count, size_t alignment);

/* Each finds the text in its format: a pointer into what note_get returned last. any_machine: for tests of formats that this machine does not run. */
etk_status note_elf(etk_error *e, const unsigned char **text, size_t *size, struct note_source *source, bool any_machine);
etk_status note_macho(etk_error *e, const unsigned char **text, size_t *size, struct note_source *source);
bool note_is_macho(const unsigned char *head, size_t size);

static inline uint32_t note_u16(const unsigned char *p) { return (uint32_t)p[0] | (uint32_t)p[1] << 8; }
static inline uint32_t note_u32(const unsigned char *p) { return note_u16(p) | note_u16(p + 2) << 16; }
static inline uint64_t note_u64(const unsigned char *p) { return note_u32(p) | (uint64_t)note_u32(p + 4) << 32; }
static inline uint32_t note_u32_big(const unsigned char *p) { return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3]; }
static inline uint64_t note_u64_big(const unsigned char *p) { return (uint64_t)note_u32_big(p) << 32 | note_u32_big(p + 4); }

#endif
