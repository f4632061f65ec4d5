/* replay.c: runs a fuzz target over files, without libFuzzer: each argument is an input, or a folder of inputs. */
#include "etk/alloc.h"
#include "etk/fs.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { LIMIT = 64 << 20 };

/* The number of inputs run, or -1 after saying what went wrong. */
static long replay(const char *path) {
  etk_error e = ETK_ERROR_INIT;
  if (!etk_fs_is_dir(path)) {
    char *bytes;
    size_t size;
    if (etk_fs_read(&e, &bytes, &size, path, LIMIT)) {
      fprintf(stderr, "%s\n", e.message);
      return -1;
    }
    /* A copy of just this size, so that a sanitizer sees a read past its end. */
    uint8_t *exact = malloc(size ? size : 1);
    if (exact) {
      memcpy(exact, bytes, size);
      LLVMFuzzerTestOneInput(exact, size);
    }
    free(exact);
    etk_free(bytes);
    return exact ? 1 : -1;
  }
  char **names;
  size_t count;
  if (etk_fs_list(&e, &names, &count, path)) {
    fprintf(stderr, "%s\n", e.message);
    return -1;
  }
  long total = 0;
  for (size_t i = 0; i < count && total >= 0; i++) {
    char *entry = etk_path_join(path, names[i]);
    long n = entry ? replay(entry) : -1;
    total = n < 0 ? -1 : total + n;
    etk_free(entry);
  }
  etk_fs_list_free(names, count);
  return total;
}

int main(int argc, char **argv) {
  long total = 0;
  for (int i = 1; i < argc; i++) {
    long n = replay(argv[i]);
    if (n < 0) return 1;
    total += n;
  }
  printf("%ld inputs\n", total);
  return 0;
}
