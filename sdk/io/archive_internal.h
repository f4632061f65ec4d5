/* archive_internal.h: what the files of archive share. Not installed. */
#ifndef ETK_ARCHIVE_INTERNAL_H
#define ETK_ARCHIVE_INTERNAL_H

#include "etk/alloc.h"
#include "etk/archive.h"
#include <archive.h>
#include <archive_entry.h>
#include <locale.h>
#if defined(__APPLE__)
#include <xlocale.h>
#endif

enum { ETK__ARCHIVE_DEPTH = 200 }; /* folders in folders */

/* libarchive converts names by the thread's locale; ours are UTF-8 whatever the user's is. Restored at the end. */
typedef struct etk__archive_locale {
  locale_t ours, before;
} etk__archive_locale;
etk_status etk__archive_locale_begin(etk_error *e, etk__archive_locale *locale);
void etk__archive_locale_end(etk__archive_locale *locale);

/* An archive being read: its bytes are unpacked by us (gzip, whose check sum libarchive does not look at) or by libarchive (zstd), counted, and handed
 * to libarchive's tar reader; a zip is read from the descriptor. */
typedef struct etk__archive_in etk__archive_in;
etk_status etk__archive_open(etk_error *e, etk__archive_in **out, const char *path, const etk_archive_limits *limits);
void etk__archive_close(etk__archive_in *in);
/* The next entry, or NULL at the end, which is checked: a tar that is cut short or goes on behind its end is an error. */
etk_status etk__archive_next(etk__archive_in *in, struct archive_entry **out);
/* Up to `size` bytes of the entry's data; 0 at its end. They count against the limits. */
etk_status etk__archive_data(etk__archive_in *in, void *bytes, size_t size, size_t *got);
/* Would so many more bytes of files be within the limits? */
etk_status etk__archive_allows(etk__archive_in *in, int64_t bytes);
/* The entry's name and link target as bytes; NULL where it has none that can be read. */
const char *etk__archive_name(struct archive_entry *entry);
const char *etk__archive_target(struct archive_entry *entry, bool hard);
/* For messages: controls become '?', cut at 200 bytes. */
const char *etk__archive_shown(char out[204], const char *name);

/* The names that were seen. Two that differ only in the case of ASCII letters are kept beside each other. */
typedef struct etk__archive_names {
  struct etk__archive_named **slots;
  size_t capacity, count;
  etk_arena arena;
} etk__archive_names;
typedef struct etk__archive_named {
  const char *path;
  char type; /* 'f' 'd' 'l' */
  uint64_t hash;
} etk__archive_named;
/* The one of exactly this name, else (with `any_case`) one that differs only in case, else NULL. */
const etk__archive_named *etk__archive_names_find(const etk__archive_names *names, const char *path, size_t size, bool any_case);
etk_status etk__archive_names_add(etk_error *e, etk__archive_names *names, const char *path, char type);
void etk__archive_names_fini(etk__archive_names *names);

#endif
