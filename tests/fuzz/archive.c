/* Fuzz target: an archive, listed and extracted. Nothing may appear outside the folder it is extracted into, and nothing may stay where it fails. */
#include "etk/alloc.h"
#include "etk/archive.h"
#include "etk/fs.h"
#include <sys/stat.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static volatile size_t sink;

static int each(void *user, const etk_archive_entry *entry) {
  (void)user;
  sink += strlen(entry->path) + (entry->link ? strlen(entry->link) : 0) + (size_t)entry->size;
  return 0;
}

/* Every link below leads to something below, too. */
static void check_links(const char *path, const char *root) {
  char **names;
  size_t count;
  if (etk_fs_list(NULL, &names, &count, path)) return;
  for (size_t i = 0; i < count; i++) {
    char *full = etk_path_join(path, names[i]);
    struct stat info;
    if (!full || lstat(full, &info) != 0) __builtin_trap();
    if (S_ISDIR(info.st_mode)) check_links(full, root);
    if (S_ISLNK(info.st_mode)) {
      char *real = realpath(full, NULL);
      if (real && (strncmp(real, root, strlen(root)) != 0 || (real[strlen(root)] != '/' && real[strlen(root)] != 0))) __builtin_trap();
      free(real);
    } else if (!S_ISDIR(info.st_mode) && !S_ISREG(info.st_mode)) {
      __builtin_trap();
    }
    etk_free(full);
  }
  etk_fs_list_free(names, count);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  static char base[64], archive[96], into[96];
  if (!*base) {
    snprintf(base, sizeof base, "%s/etk-fuzz-XXXXXX", access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
    if (!mkdtemp(base)) __builtin_trap();
  } else if (mkdir(base, 0700) != 0) {
    __builtin_trap();
  }
  snprintf(archive, sizeof archive, "%s/archive", base);
  snprintf(into, sizeof into, "%s/into", base);
  if (etk_fs_write(NULL, archive, data, size, true)) __builtin_trap();
  etk_error e = ETK_ERROR_INIT;
  etk_archive_list(&e, archive, each, NULL);
  const etk_archive_limits limits = {sizeof limits, 200, 1 << 22, 0};
  etk_error_clear(&e);
  etk_status status = etk_archive_extract(&e, archive, into, false, &limits);
  if ((status != ETK_OK) != (e.message[0] != 0)) __builtin_trap();
  char **names;
  size_t count;
  if (etk_fs_list(NULL, &names, &count, base) || count != (status ? 1u : 2u)) __builtin_trap();
  etk_fs_list_free(names, count);
  if (!status) check_links(into, into);
  if (etk_fs_remove_tree(NULL, base)) __builtin_trap();
  return 0;
}
