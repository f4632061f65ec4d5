/* etk/archive.h (libetk-io): tar.gz, tar.zst, tar and zip files through libarchive. */
#ifndef ETK_ARCHIVE_H
#define ETK_ARCHIVE_H

#include "status.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Writes `paths` (files or folders, relative to `root`) to an archive whose format its name says (.tar .tar.gz .tgz .tar.zst .zip), whole or not at
 * all. Entries are sorted, owners and groups left out; links are stored as links, special files are errors. */
etk_status etk_archive_create(etk_error *e, const char *archive, const char *root, const char *const *paths, size_t count, bool replace);

typedef struct etk_archive_limits { /* 0: the default in brackets */
  uint32_t struct_size;
  int64_t entries;  /* [1,000,000] */
  int64_t bytes;    /* of all files together [64 GiB] */
  int64_t ratio;    /* of what comes out to what went in, beyond the first MiB [1,000] */
} etk_archive_limits;
/* Extracts into the folder `into`, made new (ETK_E_EXISTS where it is there without `replace`), whole or not at all. An entry with an absolute path, with
 * "..", through a link, a link that leads out, a special file, or one that is there twice fails the whole: nothing is left behind. Setuid bits are
 * dropped. limits NULL: the defaults. */
etk_status etk_archive_extract(etk_error *e, const char *archive, const char *into, bool replace, const etk_archive_limits *limits);

typedef struct etk_archive_entry {
  const char *path; /* valid during the call */
  int64_t size, modified_unix_s;
  char type;        /* 'f' file, 'd' folder, 'l' link */
  const char *link; /* target, or NULL */
} etk_archive_entry;
/* Calls `each` for every entry; a non-zero answer stops (ETK_E_CANCELLED). */
etk_status etk_archive_list(etk_error *e, const char *archive, int (*each)(void *user, const etk_archive_entry *entry), void *user);

#ifdef __cplusplus
}
#endif
#endif
