/* fs_internal.h: what the files of fs share. Not installed. */
#ifndef ETK_FS_INTERNAL_H
#define ETK_FS_INTERNAL_H

#include "etk/fs.h"
#include <sys/stat.h>
#include <sys/types.h>

/* Opens a regular file for reading without ever waiting (a FIFO is an error, not a hang). info may be NULL. */
etk_status etk__fs_open_regular(etk_error *e, int *fd, struct stat *info, const char *path);
/* read(2) that goes on after a signal; -1 and errno on failure, 0 at the end. */
ssize_t etk__fs_read_some(int fd, void *bytes, size_t size);
/* Writes everything through the hook; 0 or an errno value. */
int etk__fs_write_all(int fd, const void *bytes, size_t size);
/* fsync of an open file, or of the folder that holds `path`. 0 or an errno value; file systems that cannot are fine. */
int etk__fs_sync(int fd);
int etk__fs_sync_parent(const char *path);
/* "<prefix>-<16 hexadecimal digits>", a name nobody else uses at this moment. Allocated; NULL: out of memory. */
char *etk__fs_temp_name(const char *prefix);
/* rename(2) that fails with EEXIST where `to` exists. 0 or an errno value. */
int etk__fs_rename_new(const char *from, const char *to, bool folder);

#endif
