/* fs_map.c: read-only maps, and the table by which a SIGBUS finds the file whose fault it is. */
#include "etk/alloc.h"
#include "fs_internal.h"
#include <errno.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <unistd.h>

/* A signal handler reads the table while others change it, so a slot's name is fixed memory and `begin` is published last.
 * Pages of the table that are never used are never touched. A map beyond the last slot works but has no name. */
enum { SLOTS = 512, NAME = 1000 };
static struct slot {
  _Atomic uintptr_t begin; /* 0: free; 1: being filled */
  _Atomic uintptr_t end;
  char name[NAME];
} slots[SLOTS];

static struct slot *take_slot(uintptr_t begin, uintptr_t end, const char *path) {
  for (size_t i = 0; i < SLOTS; i++) {
    uintptr_t expected = 0;
    if (!atomic_compare_exchange_strong(&slots[i].begin, &expected, 1)) continue;
    size_t n = strlen(path);
    snprintf(slots[i].name, NAME, "%s", n < NAME ? path : path + n - (NAME - 1)); /* the end of a path says more */
    atomic_store(&slots[i].end, end);
    atomic_store(&slots[i].begin, begin);
    return &slots[i];
  }
  return NULL;
}

etk_status etk_map_open(etk_error *e, etk_map *out, const char *path) {
  *out = (etk_map){NULL, 0, NULL};
  int fd;
  struct stat info;
  etk_status status = etk__fs_open_regular(e, &fd, &info, path);
  if (status) return status;
  if ((uint64_t)info.st_size > SIZE_MAX / 2) {
    close(fd);
    return etk_fail(e, ETK_E_UNSUPPORTED, "'%s' of %lld bytes does not fit the address space", path, (long long)info.st_size);
  }
  size_t size = (size_t)info.st_size;
  void *data = size ? mmap(NULL, size, PROT_READ, MAP_PRIVATE, fd, 0) : NULL;
  int failure = errno;
  close(fd);
  if (data == MAP_FAILED) return etk_fail_errno(e, failure, "cannot map the %zu bytes of '%s'", size, path);
  out->data = data;
  out->size = size;
  if (size) out->owner = take_slot((uintptr_t)data, (uintptr_t)data + size, path);
  return ETK_OK;
}

void etk_map_close(etk_map *map) {
  struct slot *slot = map->owner;
  if (slot) atomic_store(&slot->begin, 0);
  if (map->data) munmap((void *)(uintptr_t)map->data, map->size);
  *map = (etk_map){NULL, 0, NULL};
}

const char *etk_map_name_of(const void *address) {
  uintptr_t wanted = (uintptr_t)address;
  for (size_t i = 0; i < SLOTS; i++) {
    uintptr_t begin = atomic_load(&slots[i].begin);
    if (begin == 0) continue;
    /* The last page counts whole: its rest beyond the file's end is part of the map. */
    uintptr_t end = (atomic_load(&slots[i].end) + 4095) & ~(uintptr_t)4095;
    if (begin > 1 && wanted >= begin && wanted < end) return slots[i].name;
  }
  return NULL;
}
