/* etk/fs.h: files that are written whole or not at all. Paths are bytes; no call changes the working directory. */
#ifndef ETK_FS_H
#define ETK_FS_H

#include "status.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Reads a regular file of at most `limit` bytes; *out is NUL-terminated beyond *size and freed with etk_free. */
etk_status etk_fs_read(etk_error *e, char **out, size_t *size, const char *path, size_t limit);

/* A file being written: bytes go to a temporary file beside `path`; commit flushes, fsyncs and renames; abort leaves `path` untouched.
 * Short writes, ENOSPC and EFBIG (RLIMIT_FSIZE; the caller ignores SIGXFSZ) are errors with the bytes wanted in the message.
 * Without `replace`, an existing path is ETK_E_EXISTS at open and again at commit.
 * The temporary is `<folder>/.<name>.tmp-<n>`, locked (flock) while its writer lives. One whose writer was killed stays until the next writer of the same
 * path, which removes it; where locks cannot be had, the name ends in 16 random digits and a left one is the user's to remove. */
typedef struct etk_file etk_file;
etk_status etk_file_create(etk_error *e, etk_file **out, const char *path, bool replace);
etk_status etk_file_write(etk_error *e, etk_file *file, const void *bytes, size_t size);
etk_status etk_file_commit(etk_error *e, etk_file *file); /* consumes file, also on failure */
void etk_file_abort(etk_file *file);                      /* consumes file; NULL is fine */
etk_status etk_fs_write(etk_error *e, const char *path, const void *bytes, size_t size, bool replace); /* create, write, commit */

/* Writes all of it to an open descriptor; `name` is for messages. For writers that are not a file of their own. */
etk_status etk_fs_write_to(etk_error *e, int fd, const void *bytes, size_t size, const char *name);

/* Testing: called before every write(2) of this header with the bytes about to be written; a non-zero errno value is failed with. */
void etk_fs_set_write_hook(int (*hook)(void *user, size_t size), void *user);
/* Testing: the same before every step that changes a file system ("create", "write", "sync", "rename", "remove", "link"). Other libraries announce
 * their own steps by etk_fs_step: 0, or the errno value to fail with. One hook for the process, for one that is dying a way to do so. */
void etk_fs_set_step_hook(int (*hook)(void *user, const char *step), void *user);
int etk_fs_step(const char *step);

/* A folder being written, all or nothing: files go to `<path>.tmp-<n>` (locked and cleaned as above), commit syncs everything in it and renames it to
 * `path`. With `replace`, the old folder is exchanged for the new one in one step and then removed; where the file system cannot exchange, it is moved
 * to `<path>.old-<random>` first, which is never removed by anybody else: a kill between the two renames leaves it there, whole.
 * etk_dir_path(dir) is where to write meanwhile. */
typedef struct etk_dir etk_dir;
etk_status etk_dir_create(etk_error *e, etk_dir **out, const char *path, bool replace);
const char *etk_dir_path(const etk_dir *dir);
etk_status etk_dir_commit(etk_error *e, etk_dir *dir); /* consumes dir, also on failure */
void etk_dir_abort(etk_dir *dir);

/* A read-only map. A map cut short while in use raises SIGBUS: etk_map_name_of finds whose fault it was (async-signal-safe). */
typedef struct etk_map {
  const unsigned char *data; /* page-aligned; NULL for an empty file */
  size_t size;
  void *owner;
} etk_map;
etk_status etk_map_open(etk_error *e, etk_map *out, const char *path);
void etk_map_close(etk_map *map);
const char *etk_map_name_of(const void *address); /* path of the live map that holds address, or NULL */
/* Lets go of the memory of the whole pages in [data, data + size), and of what lies before them in the same 2 MB, which reading them may have brought back with a
 * large page: their bytes are read from the file again where they are used. Nothing happens where no live map holds that range. */
void etk_map_forget(const void *data, size_t size);
/* Reads the file of the live map that holds `address` into the system's file cache, and where the system can into the map's own pages, on a thread of its own, from
 * the front, as far as it is not there yet: front to back is how a disk is fastest, and how the system makes large pages of it. One file at a time, in the order asked for; etk_map_close ends it. Nothing
 * happens where there is no such map, or where the file is larger than half of the machine's memory. Must not be called beside etk_map_close of that map. */
void etk_map_read_ahead(const void *address);
/* Waits until what etk_map_read_ahead was asked for has come to the end of [data, data + size); at once where it was not asked for. */
void etk_map_wait(const void *data, size_t size);

/* ---- copies and backups ---- */

/* Copies a regular file: written beside `to`, synced, read back from the file system and compared by XXH3, then renamed. The permission bits (0777) are
 * kept. Where the system can share the blocks (FICLONE, copy_file_range) it is used. Without `replace`, an existing `to` is ETK_E_EXISTS. A source that
 * changes meanwhile is ETK_E_CHECK. */
etk_status etk_fs_copy(etk_error *e, const char *from, const char *to, bool replace);
/* Copies `path` to <dir>/<stem>_<YYYYMMDDTHHMMSSZ>_backup<extension> (dir NULL: beside the file; made where it is missing; "-2", "-3" … before the
 * extension where the name is taken) and removes the oldest such copies of it beyond `keep` (0: keep all). *out: the backup's path (etk_free), may be
 * NULL. A clock that jumped back makes no backup older than those that are there. */
etk_status etk_fs_backup(etk_error *e, char **out, const char *path, const char *dir, int keep);
/* Lists the paths of `path`'s backups, newest first (etk_fs_list_free); restores one of them (NULL: the newest) over `path`, atomically, keeping the
 * replaced file as a backup of its own. */
etk_status etk_fs_backups(etk_error *e, char ***out, size_t *count, const char *path, const char *dir);
etk_status etk_fs_restore(etk_error *e, const char *path, const char *dir, const char *backup);

/* ---- paths that a stranger gave ---- */

/* A name that is a legal file name everywhere: separators, control characters, reserved names (CON, NUL …), leading dots and trailing dots and blanks are
 * replaced or removed, at most 120 bytes on a UTF-8 boundary; never empty ("file"). Allocated; NULL: out of memory. */
char *etk_path_safe_name(const char *name);
/* Lexical: a relative path that stays inside ("a/b", "./a"), against "", "../x", "/x", "a/../../x", backslashes and drive letters. */
bool etk_path_is_inside(const char *relative);
/* "a/./b//../c" → "a/c", without looking at the file system. Allocated. */
char *etk_path_normal(const char *path);
/* Opens `relative` below the open folder `root` without ever following a symbolic link or leaving it (openat2 RESOLVE_BENEATH where there is one, else
 * openat step by step with O_NOFOLLOW), so that a race cannot redirect it. ".." is taken away lexically first. flags and mode as for open(2). *fd is the caller's. */
etk_status etk_fs_open_inside(etk_error *e, int *fd, int root, const char *relative, int flags, unsigned mode);

/* ---- room, search ---- */

int64_t etk_fs_free_bytes(const char *path); /* that this user may still write where `path` is or would be; -1: unknown */
/* ETK_E_NO_SPACE with both numbers where fewer than `bytes` (and a reserve of 1 %, at most 64 MiB) are free; unknown is ETK_OK. */
etk_status etk_fs_need(etk_error *e, const char *path, int64_t bytes);
/* Regular files below `root` whose path relative to it fits the pattern: '*' and '?' within a part, '[a-z]', '[!a-z]', '**' for any number of folders
 * (last: any file below); hidden names only where the pattern's part begins with '.'. Links are not followed. Sorted by bytes; paths relative to root. */
etk_status etk_fs_find(etk_error *e, char ***out, size_t *count, const char *root, const char *pattern);
bool etk_path_match(const char *pattern, const char *path);

bool etk_fs_exists(const char *path);
bool etk_fs_is_dir(const char *path);
etk_status etk_fs_make_dirs(etk_error *e, const char *path); /* mkdir -p, mode 0777 & ~umask */
etk_status etk_fs_remove_tree(etk_error *e, const char *path); /* rm -rf without following links; a missing path is ETK_OK */
/* Entries of a folder, sorted by bytes, without "." and ".."; free with etk_fs_list_free. */
etk_status etk_fs_list(etk_error *e, char ***out, size_t *count, const char *path);
void etk_fs_list_free(char **names, size_t count);
char *etk_path_join(const char *a, const char *b); /* allocated; an absolute b wins; NULL: out of memory */
const char *etk_path_base(const char *path);       /* borrowed: the part after the last '/' */
char *etk_path_dir(const char *path);              /* allocated: "." where there is none */
/* $XDG_CONFIG_HOME, _DATA_HOME, _CACHE_HOME, _STATE_HOME with the defaults of the specification; which: "config" "data" "cache" "state". */
char *etk_path_xdg(const char *which); /* allocated; NULL without $HOME */

#ifdef __cplusplus
}
#endif
#endif
