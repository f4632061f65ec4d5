/* fs_map.c: read-only maps, and the table by which a SIGBUS finds the file whose fault it is. */
#include "etk/alloc.h"
#include "fs_internal.h"
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <unistd.h>

/* A signal handler reads the table while others change it, so a slot's name is fixed memory and `begin` is published last.
 * Pages of the table that are never used are never touched. A map beyond the last slot works but has no name. */
enum { SLOTS = 512, NAME = 1000, LARGE_PAGE = 2 << 20, LARGE = 2 * LARGE_PAGE };
static struct slot {
  _Atomic uintptr_t begin; /* 0: free; 1: being filled */
  _Atomic uintptr_t end;
  _Atomic uintptr_t ahead; /* read into the file cache up to here, by a reader that is at work; 0: there is none */
  int file;                /* of the reader */
  char name[NAME];
} slots[SLOTS];
static _Atomic size_t slots_used; /* none behind so many ever was: who asks for an address that is in no map must not look at all of the table */

static struct slot *take_slot(uintptr_t begin, uintptr_t end, const char *path) {
  for (size_t i = 0; i < SLOTS; i++) {
    uintptr_t expected = 0;
    if (!atomic_compare_exchange_strong(&slots[i].begin, &expected, 1)) continue;
    for (size_t used = atomic_load(&slots_used); used <= i && !atomic_compare_exchange_weak(&slots_used, &used, i + 1);) continue;
    size_t n = strlen(path);
    snprintf(slots[i].name, NAME, "%s", n < NAME ? path : path + n - (NAME - 1)); /* the end of a path says more */
    atomic_store(&slots[i].end, end);
    atomic_store(&slots[i].ahead, 0);
    atomic_store(&slots[i].begin, begin);
    return &slots[i];
  }
  return NULL;
}

/* Large pages of the file cache are read in larger pieces, and cost one fault for 2 MB instead of one for 64 KB. It has to be said before the first byte is touched,
 * else the system begins with small ones: 116 MB that nothing had cached came in 33 ms instead of 41 (Linux 6.18, ext4). */
static void prefer_large_pages(void *data, size_t size) {
#if defined(MADV_HUGEPAGE)
  if (size >= LARGE) (void)madvise(data, size, MADV_HUGEPAGE);
#else
  (void)data, (void)size;
#endif
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
  if (size) prefer_large_pages(data, size);
  out->data = data;
  out->size = size;
  if (size) out->owner = take_slot((uintptr_t)data, (uintptr_t)data + size, path);
  return ETK_OK;
}

static void stop_reading(struct slot *slot);
void etk_map_close(etk_map *map) {
  struct slot *slot = map->owner;
  if (slot) stop_reading(slot);
  if (slot) atomic_store(&slot->begin, 0);
  if (map->data) munmap((void *)(uintptr_t)map->data, map->size);
  *map = (etk_map){NULL, 0, NULL};
}

static struct slot *slot_of(uintptr_t wanted) {
  for (size_t i = 0, used = atomic_load(&slots_used); i < used; i++) {
    uintptr_t begin = atomic_load(&slots[i].begin);
    if (begin == 0) continue;
    /* The last page counts whole: its rest beyond the file's end is part of the map. */
    uintptr_t end = (atomic_load(&slots[i].end) + 4095) & ~(uintptr_t)4095;
    if (begin > 1 && wanted >= begin && wanted < end) return &slots[i];
  }
  return NULL;
}

const char *etk_map_name_of(const void *address) {
  const struct slot *slot = slot_of((uintptr_t)address);
  return slot ? slot->name : NULL;
}

void etk_map_forget(const void *data, size_t size) {
  static const uintptr_t page = 4096; /* a larger one is refused by the system, and nothing is lost */
  uintptr_t begin = ((uintptr_t)data + page - 1) & ~(page - 1), end = ((uintptr_t)data + size) & ~(page - 1);
  const struct slot *slot = begin < end ? slot_of((uintptr_t)data) : NULL;
  if (!slot || end > atomic_load(&slot->end)) return;
  uintptr_t first = atomic_load(&slot->begin), large = begin & ~(uintptr_t)(LARGE_PAGE - 1);
  (void)madvise((void *)(large > first ? large : first), end - (large > first ? large : first), MADV_DONTNEED);
}

/* ---- reading ahead ---- */

enum { PIECE = LARGE_PAGE, QUEUE = 64 };
static struct reader {
  pthread_mutex_t lock;
  pthread_cond_t moved; /* some slot's `ahead` grew, a slot left the queue, or a piece was done */
  bool running, fork_handled;
  const struct slot *busy; /* whose piece is being read, or NULL */
  struct slot *queue[QUEUE]; /* the first is being read */
  int count;
} reader = {.lock = PTHREAD_MUTEX_INITIALIZER, .moved = PTHREAD_COND_INITIALIZER};

/* Whether a piece is in the file cache: judged by its ends, as pieces come whole. */
static bool is_cached(uintptr_t begin, uintptr_t end) {
#if defined(__APPLE__)
  char first = 0, last = 0;
#else
  unsigned char first = 0, last = 0;
#endif
  return !mincore((void *)begin, 1, &first) && !mincore((void *)((end - 1) & ~(uintptr_t)4095), 1, &last) && first & last & 1;
}

/* Into the map's own pages, where the system knows how: nothing is copied, and nobody has to fault on them afterwards. */
static bool populate(uintptr_t begin, uintptr_t end) {
#if defined(MADV_POPULATE_READ)
  return !madvise((void *)begin, end - begin, MADV_POPULATE_READ);
#else
  (void)begin, (void)end;
  return false;
#endif
}

/* Takes slots from the queue, a piece at a time, so that a slot that is to be closed waits for one only. */
static void *read_queue(void *buffer) {
  pthread_mutex_lock(&reader.lock);
  while (reader.count) {
    struct slot *slot = reader.queue[0];
    uintptr_t begin = atomic_load(&slot->begin), at = atomic_load(&slot->ahead), end = atomic_load(&slot->end), next = end - at < PIECE ? end : at + PIECE;
    int file = slot->file;
    reader.busy = slot;
    pthread_mutex_unlock(&reader.lock);
    bool good = populate(at, next) || pread(file, buffer, next - at, (off_t)(at - begin)) > 0; /* cached or not: skipping would stop the system's own reading ahead */
    pthread_mutex_lock(&reader.lock);
    reader.busy = NULL;
    if (!reader.count || reader.queue[0] != slot) {
      pthread_cond_broadcast(&reader.moved);
      continue;
    }
    atomic_store(&slot->ahead, good && next < end ? next : 0);
    if (!good || next == end) {
      close(slot->file);
      memmove(reader.queue, reader.queue + 1, (size_t)--reader.count * sizeof *reader.queue);
    }
    pthread_cond_broadcast(&reader.moved);
  }
  reader.running = false;
  pthread_mutex_unlock(&reader.lock);
  etk_free(buffer);
  return NULL;
}

static void stop_reading(struct slot *slot) {
  if (!atomic_load(&slot->ahead)) return;
  pthread_mutex_lock(&reader.lock);
  for (int i = 0; i < reader.count; i++) {
    if (reader.queue[i] != slot) continue;
    memmove(reader.queue + i, reader.queue + i + 1, (size_t)(--reader.count - i) * sizeof *reader.queue);
    while (reader.busy == slot) pthread_cond_wait(&reader.moved, &reader.lock);
    close(slot->file);
    break;
  }
  atomic_store(&slot->ahead, 0);
  pthread_cond_broadcast(&reader.moved);
  pthread_mutex_unlock(&reader.lock);
}

/* A child process has no reader: what it maps it reads as it comes. */
static void forget_reader(void) {
  pthread_mutex_init(&reader.lock, NULL);
  pthread_cond_init(&reader.moved, NULL);
  for (int i = 0; i < reader.count; i++) atomic_store(&reader.queue[i]->ahead, 0);
  reader.count = 0;
  reader.running = false;
  reader.busy = NULL;
}

/* Signals are other threads' business. */
static bool start_reader(void) {
  if (reader.running) return true;
  if (!reader.fork_handled) reader.fork_handled = pthread_atfork(NULL, NULL, forget_reader) == 0;
  void *buffer = etk_alloc(PIECE);
  pthread_t thread;
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  reader.running = buffer && !pthread_create(&thread, NULL, read_queue, buffer);
  pthread_sigmask(SIG_SETMASK, &before, NULL);
  if (reader.running) pthread_detach(thread);
  else etk_free(buffer);
  return reader.running;
}

void etk_map_read_ahead(const void *address) {
  struct slot *slot = slot_of((uintptr_t)address);
  if (!slot || atomic_load(&slot->ahead)) return;
  uintptr_t begin = atomic_load(&slot->begin), end = atomic_load(&slot->end);
  if ((end - begin) / 4096 > (uintptr_t)sysconf(_SC_PHYS_PAGES) / 2 || strlen(slot->name) >= NAME - 1) return;
  while (begin < end && is_cached(begin, end - begin < PIECE ? end : begin + PIECE)) begin += PIECE;
  int file = begin < end ? open(slot->name, O_RDONLY | O_CLOEXEC) : -1;
  if (file < 0) return;
  pthread_mutex_lock(&reader.lock);
  bool room = reader.count < QUEUE;
  if (room) {
    slot->file = file;
    atomic_store(&slot->ahead, begin);
    reader.queue[reader.count++] = slot;
    room = start_reader();
    if (!room) atomic_store(&slot->ahead, 0), reader.count--;
  }
  pthread_mutex_unlock(&reader.lock);
  if (!room) close(file);
}

void etk_map_wait(const void *data, size_t size) {
  struct slot *slot = slot_of((uintptr_t)data);
  if (!slot || !atomic_load(&slot->ahead)) return;
  pthread_mutex_lock(&reader.lock);
  for (uintptr_t ahead; (ahead = atomic_load(&slot->ahead)) && ahead < (uintptr_t)data + size;) pthread_cond_wait(&reader.moved, &reader.lock);
  pthread_mutex_unlock(&reader.lock);
}
