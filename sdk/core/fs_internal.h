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
/* Asks both hooks before `size` bytes are written: 0 or an errno value. */
int etk__fs_write_step(size_t size);
/* Writes everything through the hooks; 0 or an errno value. */
int etk__fs_write_all(int fd, const void *bytes, size_t size);
/* fsync of an open file, or of the folder that holds `path`. 0 or an errno value; file systems that cannot are fine. */
int etk__fs_sync(int fd);
int etk__fs_sync_parent(const char *path);
/* fsync of all that is below the folder, and of the folder itself. */
etk_status etk__fs_sync_tree(etk_error *e, const char *path);
/* "<prefix>-<16 hexadecimal digits>", a name nobody else uses at this moment. Allocated; NULL: out of memory. */
char *etk__fs_temp_name(const char *prefix);
/* Makes "<prefix>-<n>", a new file (open for reading and writing) or folder (open for reading) that is locked while *fd is open; a left one that nobody
 * holds is removed first. *name is the caller's. 0 or an errno value. */
int etk__fs_temp_make(char **name, int *fd, const char *prefix, bool folder);
/* Removes a temporary whose writer is gone. False where it is somebody's, or cannot be removed. */
bool etk__fs_temp_clean(const char *name, bool folder);
/* rename(2) through the hook; the second fails with EEXIST where `to` exists; the third exchanges two folders in one step, or fails with ENOTSUP.
 * 0 or an errno value. */
int etk__fs_rename(const char *from, const char *to);
int etk__fs_rename_new(const char *from, const char *to, bool folder);
int etk__fs_exchange(const char *a, const char *b);
int etk__fs_unlink(const char *path); /* through the hook */
/* The temporary of a file being written, open for reading and writing; -1 for a device, which has none. */
int etk__file_fd(const etk_file *file);
etk_status etk__fs_no_memory(etk_error *e, const char *what, const char *path); /* "cannot <what> '<path>': out of memory" */
/* Testing: etk_fs_open_inside goes step by step although there is openat2; etk_fs_copy writes although there is copy_file_range. */
void etk__fs_force_fallbacks(bool force);
bool etk__fs_fallbacks_forced(void);

#endif
