/* note.h: finds the "etk" note in an ELF or Mach-O file without running or mapping it as code. Every offset is checked; the file is not trusted. */
#ifndef NOTE_H
#define NOTE_H

#include "manifest.h"

#define NOTE_LIMIT (4u << 20)

/* The note's text (etk_free); ETK_E_NOT_FOUND: a sound file without a note; ETK_E_FORMAT: not a shared object for this machine (says what it is).
 * Reads only headers and the note itself with pread. */
etk_status note_read(etk_error *e, char **text, size_t *size, int fd, const char *path);
/* The same where the caller has asked for the file's size already. */
etk_status note_read_sized(etk_error *e, char **text, size_t *size, int fd, const char *path, uint64_t file_size);
/* The same over bytes in memory (fuzzing, Mach-O fixtures). */
etk_status note_find(etk_error *e, const char **text, size_t *size, const void *bytes, size_t file_size, const char *name);

#endif
