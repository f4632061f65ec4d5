/* folder.h: the folder of a test program that works with files: paths below it, and what files in it hold. The program makes it (mkdtemp of `folder`) and removes it. */
#ifndef TESTS_FOLDER_H
#define TESTS_FOLDER_H

#include <etk/alloc.h>
#include <etk/fs.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static char folder[64];

/* A path below the folder, valid until three calls later. */
static inline const char *at(const char *name) {
  static char paths[4][256];
  static int next;
  char *path = paths[next++ % 4];
  snprintf(path, sizeof paths[0], "%s/%s", folder, name);
  return path;
}

static inline void put_bytes(const char *name, const void *bytes, size_t size) { assert_int_equal(etk_fs_write(NULL, at(name), bytes, size, true), ETK_OK); }
static inline void put(const char *name, const char *text) { put_bytes(name, text, strlen(text)); }

static inline void holds_at(const char *path, const char *wanted) {
  char *bytes;
  size_t size;
  etk_error e = ETK_ERROR_INIT;
  if (etk_fs_read(&e, &bytes, &size, path, 1 << 20)) fail_msg("%s", e.message);
  assert_int_equal(size, strlen(wanted));
  assert_string_equal(bytes, wanted);
  etk_free(bytes);
}
static inline void holds(const char *name, const char *wanted) { holds_at(at(name), wanted); }

static inline size_t entries(const char *path) {
  char **names;
  size_t count;
  assert_int_equal(etk_fs_list(NULL, &names, &count, path), ETK_OK);
  etk_fs_list_free(names, count);
  return count;
}

#endif
