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
 * all. Entries are sorted, owners and groups left out, times in whole seconds, so that the same files give the same bytes (a zip also holds local times:
 * the same in one time zone). Links are stored as links, hard links as files; special files, links on the way to a path, and folders deeper than 200 are
 * errors. A path "." is all of `root`. */
etk_status etk_archive_create(etk_error *e, const char *archive, const char *root, const char *const *paths, size_t count, bool replace);

typedef struct etk_archive_limits { /* 0: the default in brackets */
  uint32_t struct_size;
  int64_t entries;  /* [1,000,000] */
  int64_t bytes;    /* of all files together [64 GiB] */
  int64_t ratio;    /* of what comes out to the archive's size, beyond the first MiB [1,000] */
} etk_archive_limits;
#define ETK_ARCHIVE_LIMITS_INIT {sizeof(etk_archive_limits), 0, 0, 0}
/* Extracts into the folder `into`, made new (ETK_E_EXISTS where it is there without `replace`), whole or not at all. The format is seen from the bytes.
 * Refused, with the entry's name, leaving nothing behind: an absolute path, "..", a backslash or drive letter; a path through a link or file of the
 * archive; a symbolic link to an absolute path, out of the folder or with ".." behind a name; a hard link to what is not a file before it; a device,
 * pipe or socket; an entry that is there twice, or, where a link is one of them, but for the case of letters. An archive that is cut short, has a wrong
 * check sum, or (tar) lacks its end or goes on behind it is ETK_E_FORMAT. Owners are the user's, bits 0777 & ~umask (folders: and 0700), times are kept.
 * limits NULL: the defaults; what is over them is ETK_E_UNSUPPORTED. libarchive ends the process where malloc fails inside it. */
etk_status etk_archive_extract(etk_error *e, const char *archive, const char *into, bool replace, const etk_archive_limits *limits);

typedef struct etk_archive_entry {
  const char *path; /* valid during the call */
  int64_t size, modified_unix_s;
  char type;        /* 'f' file, 'd' folder, 'l' link, 'h' another name of an entry before it, 's' special */
  const char *link; /* target of 'l' and 'h', or NULL */
} etk_archive_entry;
/* Calls `each` for every entry, with its name as it is there (hostile ones too); a non-zero answer stops (ETK_E_CANCELLED). */
etk_status etk_archive_list(etk_error *e, const char *archive, int (*each)(void *user, const etk_archive_entry *entry), void *user);

#ifdef __cplusplus
}
#endif
#endif
