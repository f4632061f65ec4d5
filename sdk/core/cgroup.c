/* cgroup.c: the limits of the container this process runs in: version 2, and version 1 where that is what is mounted. */
#include "etk/text.h"
#include "hardware_internal.h"
#include <fcntl.h>
#include <limits.h>
#include <unistd.h>

enum { PATH_SIZE = 4096, FILE_SIZE = 4096 };

/* A small file of the kernel; false: not there. */
static bool read_small(char out[FILE_SIZE], const char *root, const char *folder, const char *name) {
  char path[PATH_SIZE + 256];
  int n = snprintf(path, sizeof path, "%s%s/%s", root, folder, name);
  int fd = n > 0 && (size_t)n < sizeof path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
  if (fd < 0) return false;
  ssize_t size = read(fd, out, FILE_SIZE - 1);
  close(fd);
  if (size < 0) return false;
  out[size] = 0;
  return true;
}

/* The path of this process in a hierarchy: the line "N:<controllers>:<path>" that names `controller` ("": version 2). */
static bool own_path(char out[PATH_SIZE], const char *root, const char *controller) {
  char text[FILE_SIZE];
  if (!read_small(text, root, "/proc/self", "cgroup")) return false;
  for (char *line = text; *line;) {
    char *end = line + strcspn(line, "\n"), *next = *end ? end + 1 : end;
    *end = 0;
    char *list = strchr(line, ':'), *path = list ? strchr(list + 1, ':') : NULL;
    line = next;
    if (!path) continue;
    *path++ = 0;
    bool found = !*controller && !list[1];
    for (char *word = list + 1; *controller && !found && *word;) {
      size_t n = strcspn(word, ",");
      found = n == strlen(controller) && strncmp(word, controller, n) == 0;
      word += n + (word[n] == ',');
    }
    if (!found) continue;
    snprintf(out, PATH_SIZE, "%s", strcmp(path, "/") == 0 ? "" : path);
    return true;
  }
  return false;
}

/* Calls visit for the own cgroup and each above it, below `mount`. Inside a container the host's path may not exist; the mount's top is then ours. */
static void climb(const char *root, const char *mount, const char *controller, void (*visit)(const char *root, const char *folder, void *user),
                  void *user) {
  char path[PATH_SIZE], folder[PATH_SIZE + 64];
  if (!own_path(path, root, controller)) return;
  for (;;) {
    int n = snprintf(folder, sizeof folder, "%s%s", mount, path);
    if (n > 0 && (size_t)n < sizeof folder) visit(root, folder, user);
    char *slash = strrchr(path, '/');
    if (!slash) return;
    *slash = 0;
  }
}

static bool read_number(int64_t *out, const char *root, const char *folder, const char *name) {
  char text[FILE_SIZE];
  if (!read_small(text, root, folder, name)) return false;
  text[strcspn(text, " \n")] = 0;
  return etk_parse_int(NULL, out, text) == ETK_OK;
}

static void take_cores(int *least, int64_t quota, int64_t period) {
  if (quota <= 0 || period <= 0) return;
  int64_t cores = quota / period + (quota % period != 0);
  if (cores < INT_MAX && (*least == 0 || cores < *least)) *least = (int)cores;
}

static void cores_v2(const char *root, const char *folder, void *user) {
  char text[FILE_SIZE];
  int64_t quota, period = 100000;
  if (!read_small(text, root, folder, "cpu.max")) return;
  char *space = text + strcspn(text, " \n");
  if (*space == ' ') {
    *space++ = 0;
    space[strcspn(space, "\n")] = 0;
    if (etk_parse_int(NULL, &period, space)) return;
  } else {
    *space = 0;
  }
  if (etk_parse_int(NULL, &quota, text) == ETK_OK) take_cores(user, quota, period); /* "max" is no number */
}

static void cores_v1(const char *root, const char *folder, void *user) {
  int64_t quota, period;
  if (read_number(&quota, root, folder, "cpu.cfs_quota_us") && read_number(&period, root, folder, "cpu.cfs_period_us"))
    take_cores(user, quota, period);
}

int etk__cgroup_cores(const char *root) {
  int least = 0;
  climb(root, "/sys/fs/cgroup", "", cores_v2, &least);
  climb(root, "/sys/fs/cgroup/cpu", "cpu", cores_v1, &least);
  climb(root, "/sys/fs/cgroup/cpu,cpuacct", "cpu", cores_v1, &least);
  return least;
}

typedef struct memory {
  int64_t limit, used;
} memory;

static void take_memory(memory *least, int64_t limit, int64_t used) {
  if (limit <= 0 || limit > INT64_C(1) << 60) return; /* version 1 says "none" by a number near 2^63 */
  if (least->limit == 0 || limit < least->limit) *least = (memory){limit, used};
}

static int64_t inactive_file(const char *root, const char *folder, const char *key) {
  char text[FILE_SIZE];
  if (!read_small(text, root, folder, "memory.stat")) return 0;
  char *found = strstr(text, key);
  if (!found || (found > text && found[-1] != '\n')) return 0;
  found += strlen(key);
  found[strcspn(found, "\n")] = 0;
  int64_t bytes;
  return etk_parse_int(NULL, &bytes, found) == ETK_OK ? bytes : 0;
}

/* File pages that nobody uses are given back before anything swaps: they do not count as used. */
static void memory_v2(const char *root, const char *folder, void *user) {
  int64_t limit, used = 0;
  if (!read_number(&limit, root, folder, "memory.max")) return;
  if (read_number(&used, root, folder, "memory.current")) used -= inactive_file(root, folder, "inactive_file ");
  take_memory(user, limit, used);
}

static void memory_v1(const char *root, const char *folder, void *user) {
  int64_t limit, used = 0;
  if (!read_number(&limit, root, folder, "memory.limit_in_bytes")) return;
  if (read_number(&used, root, folder, "memory.usage_in_bytes")) used -= inactive_file(root, folder, "total_inactive_file ");
  take_memory(user, limit, used);
}

int64_t etk__cgroup_memory(const char *root, int64_t *used) {
  memory least = {0, 0};
  climb(root, "/sys/fs/cgroup", "", memory_v2, &least);
  climb(root, "/sys/fs/cgroup/memory", "memory", memory_v1, &least);
  *used = least.used < 0 ? 0 : least.used;
  return least.limit;
}
