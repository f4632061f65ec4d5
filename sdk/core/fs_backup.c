/* fs_backup.c: dated copies of a file, and the way back. */
#include "etk/alloc.h"
#include "etk/text.h"
#include "fs_internal.h"
#include <errno.h>
#include <time.h>
#include <unistd.h>

enum { STAMP = 16, TRIES = 1000 }; /* 20261121T073537Z */

/* What a file's backups are called: <stem>_<stamp>_backup[-<number>]<extension> in folder. */
typedef struct names {
  char *folder;
  const char *base, *extension; /* parts of the path; ".bashrc" has no extension */
  int stem_size;
} names;

typedef struct backup {
  char stamp[STAMP + 1];
  int64_t number; /* 1 where none is written */
  char *path;
} backup;

static etk_status name_of(etk_error *e, names *out, const char *path, const char *dir) {
  out->base = etk_path_base(path);
  if (!*out->base) return etk_fail(e, ETK_E_INVALID, "'%s' does not name a file", path);
  const char *dot = strrchr(out->base, '.');
  out->extension = dot && dot != out->base ? dot : out->base + strlen(out->base);
  out->stem_size = (int)(out->extension - out->base);
  out->folder = dir ? etk_strdup(dir) : etk_path_dir(path);
  return out->folder ? ETK_OK : etk__fs_no_memory(e, "back up", path);
}

static bool is_stamp(const char *p) {
  for (int i = 0; i < STAMP; i++) {
    bool right = i == 8 ? p[i] == 'T' : i == 15 ? p[i] == 'Z' : p[i] >= '0' && p[i] <= '9';
    if (!right) return false;
  }
  return true;
}

/* Reads a name that a backup of this file can have. */
static bool read_name(const names *n, backup *out, const char *name) {
  static const char word[] = "_backup";
  size_t stem = (size_t)n->stem_size, size = strlen(name), rest = strlen(n->extension);
  if (size < stem + 1 + STAMP + sizeof word - 1 + rest || memcmp(name, n->base, stem) != 0 || name[stem] != '_') return false;
  const char *p = name + stem + 1, *end = name + size - rest;
  if (!is_stamp(p) || strcmp(end, n->extension) != 0) return false;
  memcpy(out->stamp, p, STAMP);
  out->stamp[STAMP] = 0;
  p += STAMP;
  if (memcmp(p, word, sizeof word - 1) != 0) return false;
  p += sizeof word - 1;
  out->number = 1;
  if (p == end) return true;
  char digits[12];
  size_t count = (size_t)(end - p - 1);
  if (*p != '-' || count == 0 || count > 9 || strspn(p + 1, "0123456789") < count || p[1] == '0') return false;
  memcpy(digits, p + 1, count);
  digits[count] = 0;
  return etk_parse_int(NULL, &out->number, digits) == ETK_OK && out->number > 1;
}

static int newest_first(const void *a, const void *b) {
  const backup *x = a, *y = b;
  int order = strcmp(y->stamp, x->stamp);
  return order ? order : (y->number > x->number) - (y->number < x->number);
}

static void free_all(backup *all, size_t count) {
  for (size_t i = 0; all && i < count; i++) etk_free(all[i].path);
  etk_free(all);
}

/* ".<name of a backup>.tmp-<n>": what a killed writer left. The next backup has another name, so it is not found by that. */
static bool is_left(const names *n, const char *entry) {
  const char *end = strstr(entry, ".tmp-");
  backup read;
  if (*entry != '.' || !end) return false;
  char *name = etk_strndup(entry + 1, (size_t)(end - entry - 1));
  bool left = name && read_name(n, &read, name);
  etk_free(name);
  return left;
}

static void clean_left(const names *n, char **entries, size_t count) {
  for (size_t i = 0; i < count; i++) {
    char *path = is_left(n, entries[i]) ? etk_path_join(n->folder, entries[i]) : NULL;
    if (path) etk__fs_temp_clean(path, false);
    etk_free(path);
  }
}

/* All backups, newest first. A folder that is not there holds none. A writer also cleans what another left. */
static etk_status find_all(etk_error *e, const names *n, bool writer, backup **out, size_t *count) {
  char **entries = NULL;
  size_t entry_count = 0, used = 0;
  *out = NULL;
  *count = 0;
  etk_error own = ETK_ERROR_INIT;
  etk_status status = etk_fs_list(&own, &entries, &entry_count, n->folder);
  if (status == ETK_E_NOT_FOUND && !etk_fs_exists(n->folder)) return ETK_OK;
  if (status) return etk_fail(e, status, "%s", own.message);
  if (writer) clean_left(n, entries, entry_count);
  backup *all = etk_calloc(entry_count, sizeof *all);
  if (!all) status = etk__fs_no_memory(e, "list the backups in", n->folder);
  for (size_t i = 0; i < entry_count && !status; i++) {
    struct stat info;
    if (!read_name(n, &all[used], entries[i])) continue;
    char *path = etk_path_join(n->folder, entries[i]);
    if (!path) status = etk__fs_no_memory(e, "list the backups in", n->folder);
    else if (lstat(path, &info) == 0 && S_ISREG(info.st_mode)) all[used++].path = path;
    else etk_free(path);
  }
  etk_fs_list_free(entries, entry_count);
  if (status) {
    free_all(all, used);
    return status;
  }
  qsort(all, used, sizeof *all, newest_first);
  *out = all;
  *count = used;
  return ETK_OK;
}

static etk_status remove_beyond(etk_error *e, const names *n, int keep) {
  backup *all;
  size_t count;
  etk_status status = find_all(e, n, false, &all, &count);
  if (status) return status;
  for (size_t i = (size_t)keep; i < count && !status; i++) {
    int failure = etk__fs_unlink(all[i].path);
    if (failure && failure != ENOENT) status = etk_fail_errno(e, failure, "the backup was made, but the old one '%s' cannot be removed", all[i].path);
  }
  free_all(all, count);
  return status;
}

/* The stamp of now, or that of the newest backup where the clock is behind it; *number is one that is newer than those there. */
static etk_status next_name(etk_error *e, const names *n, char stamp[STAMP + 1], int64_t *number) {
  backup *all;
  size_t count;
  etk_status status = find_all(e, n, true, &all, &count);
  if (status) return status;
  time_t now = time(NULL);
  struct tm utc;
  if (!gmtime_r(&now, &utc) || strftime(stamp, STAMP + 1, "%Y%m%dT%H%M%SZ", &utc) != STAMP) memcpy(stamp, "19700101T000000Z", STAMP + 1);
  *number = 1;
  if (count > 0 && strcmp(all[0].stamp, stamp) >= 0) {
    memcpy(stamp, all[0].stamp, STAMP + 1);
    *number = all[0].number + 1;
  }
  free_all(all, count);
  return ETK_OK;
}

static char *full_name(const names *n, const char *stamp, int64_t number) {
  etk_text name = ETK_TEXT_INIT;
  etk_text_printf(&name, "%.*s_%s_backup", n->stem_size, n->base, stamp);
  if (number > 1) etk_text_printf(&name, "-%lld", (long long)number);
  etk_text_puts(&name, n->extension);
  char *path = name.failed ? NULL : etk_path_join(n->folder, name.data);
  etk_text_free(&name);
  return path;
}

static etk_status back_up(etk_error *e, char **out, const char *path, const names *n, int keep) {
  char stamp[STAMP + 1];
  int64_t number;
  char *target = NULL;
  etk_status status = next_name(e, n, stamp, &number);
  for (int i = 0; !status && i < TRIES; i++, number++) { /* another process may make one in the same second */
    etk_free(target);
    target = full_name(n, stamp, number);
    if (!target) return etk__fs_no_memory(e, "back up", path);
    status = etk_fs_copy(e, path, target, false);
    if (status != ETK_E_EXISTS || !etk_fs_exists(target)) break;
    if (i + 1 < TRIES) status = ETK_OK;
  }
  if (!status && keep > 0) status = remove_beyond(e, n, keep);
  else if (status) status = etk_error_while(e, status, "cannot back up '%s'", path);
  if (!status && out) *out = target;
  else etk_free(target);
  return status;
}

etk_status etk_fs_backup(etk_error *e, char **out, const char *path, const char *dir, int keep) {
  names n;
  struct stat info;
  if (keep < 0) return etk_fail(e, ETK_E_INVALID, "%d backups of '%s' cannot be kept; 0 keeps all", keep, path);
  if (stat(path, &info) != 0) return etk_fail_errno(e, errno, "cannot back up '%s'", path);
  etk_status status = name_of(e, &n, path, dir);
  if (status) return status;
  if (dir) status = etk_fs_make_dirs(e, dir);
  if (!status) status = back_up(e, out, path, &n, keep);
  etk_free(n.folder);
  return status;
}

etk_status etk_fs_backups(etk_error *e, char ***out, size_t *count, const char *path, const char *dir) {
  names n;
  backup *all = NULL;
  etk_status status = name_of(e, &n, path, dir);
  if (status) return status;
  status = find_all(e, &n, false, &all, count);
  etk_free(n.folder);
  if (status) return status;
  char **paths = etk_calloc(*count, sizeof *paths);
  if (!paths) {
    free_all(all, *count);
    return etk__fs_no_memory(e, "list the backups of", path);
  }
  for (size_t i = 0; i < *count; i++) paths[i] = all[i].path;
  etk_free(all);
  *out = paths;
  return ETK_OK;
}

/* Which file to restore; *chosen is allocated. */
static etk_status choose(etk_error *e, char **chosen, const char *path, const names *n, const char *wanted) {
  backup read;
  if (wanted && !read_name(n, &read, etk_path_base(wanted)))
    return etk_fail(e, ETK_E_INVALID, "'%s' is not called like a backup of '%s' (%.*s_<time>_backup%s)", wanted, path, n->stem_size, n->base,
                    n->extension);
  backup *all = NULL;
  size_t count = 0;
  etk_status status = wanted ? ETK_OK : find_all(e, n, false, &all, &count);
  if (status) return status;
  if (!wanted && count == 0) status = etk_fail(e, ETK_E_NOT_FOUND, "there is no backup of '%s' in '%s'", path, n->folder);
  else if (!(*chosen = etk_strdup(wanted ? wanted : all[0].path))) status = etk__fs_no_memory(e, "restore", path);
  free_all(all, count);
  return status;
}

etk_status etk_fs_restore(etk_error *e, const char *path, const char *dir, const char *wanted) {
  names n;
  char *chosen = NULL, *kept = NULL;
  etk_status status = name_of(e, &n, path, dir);
  if (status) return status;
  status = choose(e, &chosen, path, &n, wanted);
  struct stat before, after;
  bool there = !status && stat(path, &before) == 0;
  if (there) status = back_up(e, &kept, path, &n, 0);
  if (!status) {
    status = etk_fs_copy(e, chosen, path, true);
    if (status) etk_error_while(e, status, "cannot restore '%s'", path);
    /* Where the file is the one it was, its backup is taken back; a copy may also fail after it is in place, at the sync of the folder. */
    bool stayed = there && stat(path, &after) == 0 && before.st_dev == after.st_dev && before.st_ino == after.st_ino;
    if (status && kept && stayed) unlink(kept);
  }
  etk_free(chosen);
  etk_free(kept);
  etk_free(n.folder);
  return status;
}
