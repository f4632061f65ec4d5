/* Tests of maps (etk/fs.h): memory that is let go of, and files that are read ahead of use. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include "etk/alloc.h"
#include "etk/fs.h"
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

enum { SIZE = (5 << 20) + 77 };
static char folder[64], path[96], other[96];

static unsigned char byte_of(size_t i) { return (unsigned char)((i * 2654435761u) >> 13); }

static void write_numbers(const char *to) {
  unsigned char *bytes = malloc(SIZE);
  for (size_t i = 0; i < SIZE; i++) bytes[i] = byte_of(i);
  assert_int_equal(etk_fs_write(NULL, to, bytes, SIZE, false), ETK_OK);
  free(bytes);
}

static int make_files(void **state) {
  (void)state;
  snprintf(folder, sizeof folder, "/tmp/etk-map-XXXXXX");
  if (!mkdtemp(folder)) return -1;
  snprintf(path, sizeof path, "%s/numbers", folder);
  snprintf(other, sizeof other, "%s/others", folder);
  write_numbers(path);
  write_numbers(other);
  return 0;
}
static int remove_files(void **state) {
  (void)state;
  return etk_fs_remove_tree(NULL, folder) == ETK_OK ? 0 : -1;
}

static void is_whole(const etk_map *map) {
  assert_int_equal(map->size, SIZE);
  for (size_t i = 0; i < SIZE; i += 509)
    if (map->data[i] != byte_of(i)) fail_msg("byte %zu is %d, wanted %d", i, map->data[i], byte_of(i));
}

/* Drops the file from the cache, as far as the system follows. */
static void make_cold(const char *name) {
  int fd = open(name, O_RDONLY);
  assert_true(fd >= 0);
  fsync(fd);
#if defined(POSIX_FADV_DONTNEED)
  (void)posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
#endif
  close(fd);
}

/* Pages of this process, not of the cache: from /proc, where there is one. */
static long resident_kib(const void *at) {
  FILE *f = fopen("/proc/self/smaps", "r");
  char line[512];
  long kib = -1;
  bool here = false;
  while (f && fgets(line, sizeof line, f)) {
    unsigned long begin, end;
    if (sscanf(line, "%lx-%lx ", &begin, &end) == 2) here = (uintptr_t)at >= begin && (uintptr_t)at < end;
    else if (here && sscanf(line, "Rss: %ld", &kib) == 1) break;
  }
  if (f) fclose(f);
  return kib;
}

static void what_was_let_go_of_takes_no_memory_and_is_read_again(void **state) {
  (void)state;
  etk_map map;
  assert_int_equal(etk_map_open(NULL, &map, path), ETK_OK);
  is_whole(&map);
  long before = resident_kib(map.data);
  etk_map_forget(map.data, map.size);
  long after = resident_kib(map.data);
  if (before >= 0) assert_true(before > 4000 && after <= 4); /* the last page is not whole */
  is_whole(&map);
  etk_map_forget(map.data + 5000, 100); /* no whole page in it */
  etk_map_forget(map.data + 1, SIZE - 1);
  is_whole(&map);
  etk_map_close(&map);
}

static void memory_that_is_no_map_is_kept(void **state) {
  (void)state;
  char *own = NULL;
  assert_int_equal(posix_memalign((void **)&own, 4096, 16384), 0);
  memset(own, 7, 16384);
  etk_map_forget(own, 16384);
  for (int i = 0; i < 16384; i++) assert_int_equal(own[i], 7);
  etk_map_read_ahead(own);
  etk_map_wait(own, 16384); /* returns: nobody reads it */
  free(own);
}

static void files_are_read_ahead_one_after_the_other(void **state) {
  (void)state;
  etk_map a, b;
  make_cold(path), make_cold(other);
  assert_int_equal(etk_map_open(NULL, &a, path), ETK_OK);
  assert_int_equal(etk_map_open(NULL, &b, other), ETK_OK);
  etk_map_read_ahead(a.data);
  etk_map_read_ahead(b.data + 100);
  etk_map_wait(b.data + (3 << 20), 1 << 20);
  etk_map_wait(a.data, a.size);
  etk_map_wait(b.data, b.size);
#if defined(__linux__)
  unsigned char cached = 0;
  assert_int_equal(mincore((void *)(uintptr_t)(b.data + (4 << 20)), 4096, &cached), 0);
  assert_true(cached & 1);
#endif
  etk_map_read_ahead(a.data); /* all there */
  etk_map_wait(a.data, a.size);
  is_whole(&a), is_whole(&b);
  etk_map_close(&a), etk_map_close(&b);
}

static void a_map_may_be_closed_while_it_is_read(void **state) {
  (void)state;
  for (int i = 0; i < 30; i++) {
    etk_map a, b;
    make_cold(path), make_cold(other);
    assert_int_equal(etk_map_open(NULL, &a, path), ETK_OK);
    assert_int_equal(etk_map_open(NULL, &b, other), ETK_OK);
    etk_map_read_ahead(a.data);
    etk_map_read_ahead(b.data);
    if (i % 3 == 1) etk_map_wait(a.data, 2 << 20);
    etk_map_close(i % 2 ? &a : &b);
    etk_map_close(i % 2 ? &b : &a);
  }
}

static void a_child_process_waits_for_no_reader_of_its_parent(void **state) {
  (void)state;
  etk_map map;
  make_cold(path);
  assert_int_equal(etk_map_open(NULL, &map, path), ETK_OK);
  etk_map_read_ahead(map.data);
  pid_t child = fork();
  if (child == 0) {
    alarm(20);
    etk_map_wait(map.data, map.size);
    _exit(map.data[SIZE - 1] == byte_of(SIZE - 1) ? 0 : 1);
  }
  int status = -1;
  assert_int_equal(waitpid(child, &status, 0), child);
  assert_int_equal(status, 0);
  etk_map_close(&map);
}

static void a_reader_without_memory_leaves_reading_to_whoever_touches(void **state) {
  (void)state;
  etk_map map;
  make_cold(path);
  assert_int_equal(etk_map_open(NULL, &map, path), ETK_OK);
  etk_alloc_fail_nth(1, true);
  etk_map_read_ahead(map.data);
  etk_alloc_fail_nth(0, false);
  etk_map_wait(map.data, map.size);
  is_whole(&map);
  etk_map_close(&map);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(what_was_let_go_of_takes_no_memory_and_is_read_again),
      cmocka_unit_test(memory_that_is_no_map_is_kept),
      cmocka_unit_test(files_are_read_ahead_one_after_the_other),
      cmocka_unit_test(a_map_may_be_closed_while_it_is_read),
      cmocka_unit_test(a_child_process_waits_for_no_reader_of_its_parent),
      cmocka_unit_test(a_reader_without_memory_leaves_reading_to_whoever_touches),
  };
  return cmocka_run_group_tests(tests, make_files, remove_files);
}
