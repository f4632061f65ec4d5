/* cgroup.c: the limits of the container this process runs in: version 2, and version 1 where that is what is mounted. The own group and every one above
 * it count. Kernel documentation: admin-guide/cgroup-v2.rst and cgroup-v1/. */
#include "hardware_internal.h"
#include <limits.h>
#include <math.h>

enum { PATH_SIZE = 4096, FILE_SIZE = 4096 };

/* The path of this process in a hierarchy: the line "N:<controllers>:<path>" that names `controller` ("": version 2). */
static bool own_path(char out[PATH_SIZE], const char *text, const char *controller) {
  for (const char *line = text; *line;) {
    const char *end = line + strcspn(line, "\n"), *list = memchr(line, ':', (size_t)(end - line));
    const char *path = list ? memchr(list + 1, ':', (size_t)(end - list - 1)) : NULL;
    line = *end ? end + 1 : end;
    if (!path) continue;
    bool found = !*controller && path == list + 1;
    for (const char *word = list + 1; *controller && !found && word < path;) {
      size_t n = strcspn(word, ",:");
      found = n == strlen(controller) && strncmp(word, controller, n) == 0;
      word += n + 1;
    }
    if (!found) continue;
    int n = (int)(end - path - 1);
    snprintf(out, PATH_SIZE, "%.*s", n == 1 && path[1] == '/' ? 0 : n, path + 1);
    return true;
  }
  return false;
}

/* What is gathered on the way up. */
typedef struct climb {
  provider *p;
  etk_cgroup *out;
} climb;

static void take_quota(etk_cgroup *least, int64_t quota, int64_t period) {
  if (quota <= 0 || period <= 0) return;
  double cores = (double)quota / (double)period;
  if (least->cpu_quota == 0 || cores < least->cpu_quota) least->cpu_quota = cores;
}

static void take_memory(etk_cgroup *least, int64_t limit, int64_t used) {
  if (limit <= 0 || limit > INT64_C(1) << 60) return; /* version 1 says "none" by a number near 2^63 */
  int64_t left = used <= 0 ? limit : limit > used ? limit - used : 0;
  if (least->memory_limit == 0 || limit < least->memory_limit) least->memory_limit = limit;
  if (left < least->memory_headroom) least->memory_headroom = left;
}

static void take_cpuset(etk_cgroup *least, const char *list) {
  int cores = etk__cpu_list_count(list);
  if (cores > 0 && (least->cpuset_cores == 0 || cores < least->cpuset_cores)) least->cpuset_cores = cores;
}

/* File pages that nobody uses are given back before anything swaps: they do not count as used. */
static int64_t inactive_file(provider *p, const char *folder, const char *key) {
  char text[FILE_SIZE];
  if (etk__ask_file(p, text, sizeof text, "%s/memory.stat", folder) < 0) return 0;
  char *found = text;
  while ((found = strstr(found, key)) && found > text && found[-1] != '\n') found++;
  if (!found) return 0;
  found += strlen(key);
  found[strcspn(found, "\n")] = 0;
  int64_t bytes;
  return etk_parse_int(NULL, &bytes, found) == ETK_OK ? bytes : 0;
}

static void cpu_v2(climb *c, const char *folder) {
  char text[128];
  int64_t quota, period = 100000;
  if (etk__ask_file(c->p, text, sizeof text, "%s/cpu.max", folder) <= 0) return;
  char *space = text + strcspn(text, " ");
  if (*space) {
    *space++ = 0;
    if (etk_parse_int(NULL, &period, space)) return;
  }
  if (etk_parse_int(NULL, &quota, text) == ETK_OK) take_quota(c->out, quota, period); /* "max" is no number */
}

static void cpu_v1(climb *c, const char *folder) {
  int64_t quota = etk__ask_file_number(c->p, -1, "%s/cpu.cfs_quota_us", folder);
  if (quota > 0) take_quota(c->out, quota, etk__ask_file_number(c->p, 0, "%s/cpu.cfs_period_us", folder));
}

static void cpuset_v2(climb *c, const char *folder) {
  char text[FILE_SIZE];
  if (etk__ask_file(c->p, text, sizeof text, "%s/cpuset.cpus.effective", folder) > 0) take_cpuset(c->out, text);
}

static void cpuset_v1(climb *c, const char *folder) {
  char text[FILE_SIZE];
  if (etk__ask_file(c->p, text, sizeof text, "%s/cpuset.cpus", folder) > 0) take_cpuset(c->out, text);
}

static void memory_v2(climb *c, const char *folder) {
  int64_t limit = etk__ask_file_number(c->p, 0, "%s/memory.max", folder);
  int64_t high = etk__ask_file_number(c->p, 0, "%s/memory.high", folder); /* beyond it the kernel slows the group down until it gives memory back */
  if (high > 0 && (limit <= 0 || high < limit)) limit = high;
  if (limit <= 0) return;
  int64_t used = etk__ask_file_number(c->p, 0, "%s/memory.current", folder);
  take_memory(c->out, limit, used > 0 ? used - inactive_file(c->p, folder, "inactive_file ") : 0);
}

static void memory_v1(climb *c, const char *folder) {
  int64_t limit = etk__ask_file_number(c->p, 0, "%s/memory.limit_in_bytes", folder);
  if (limit <= 0) return;
  int64_t used = etk__ask_file_number(c->p, 0, "%s/memory.usage_in_bytes", folder);
  take_memory(c->out, limit, used > 0 ? used - inactive_file(c->p, folder, "total_inactive_file ") : 0);
}

static void all_v2(climb *c, const char *folder) {
  cpu_v2(c, folder);
  cpuset_v2(c, folder);
  memory_v2(c, folder);
}

/* Calls visit for the own cgroup and each above it, below `mount`. Inside a container the host's path may not exist; the mount's top is then ours. */
static void go_up(climb *c, const char *text, const char *mount, const char *controller, void (*visit)(climb *c, const char *folder)) {
  char path[PATH_SIZE], folder[PATH_SIZE + 64];
  if (!own_path(path, text, controller)) return;
  for (;;) {
    int n = snprintf(folder, sizeof folder, "%s%s", mount, path);
    if (n > 0 && (size_t)n < sizeof folder) visit(c, folder);
    char *slash = strrchr(path, '/');
    if (!slash) return;
    *slash = 0;
  }
}

static const struct {
  const char *controller, *mount;
  void (*visit)(climb *c, const char *folder);
} hierarchies[] = {{"", "/sys/fs/cgroup", all_v2},
                   {"", "/sys/fs/cgroup/unified", all_v2}, /* both versions mounted */
                   {"cpu", "/sys/fs/cgroup/cpu", cpu_v1},
                   {"cpu", "/sys/fs/cgroup/cpu,cpuacct", cpu_v1},
                   {"cpuset", "/sys/fs/cgroup/cpuset", cpuset_v1},
                   {"memory", "/sys/fs/cgroup/memory", memory_v1}};

void etk__cgroup_read(etk_cgroup *out, provider *p) {
  char text[FILE_SIZE];
  *out = (etk_cgroup){0, 0, 0, INT64_MAX};
  if (etk__ask_file(p, text, sizeof text, "/proc/self/cgroup") <= 0) return;
  for (size_t i = 0; i < sizeof hierarchies / sizeof hierarchies[0]; i++)
    go_up(&(climb){p, out}, text, hierarchies[i].mount, hierarchies[i].controller, hierarchies[i].visit);
}

static int cores_of(const etk_cgroup *group) {
  int quota = group->cpu_quota > 0 && group->cpu_quota < INT_MAX - 1 ? (int)ceil(group->cpu_quota) : 0;
  return quota > 0 && (group->cpuset_cores == 0 || quota < group->cpuset_cores) ? quota : group->cpuset_cores;
}

int etk__cgroup_cores(provider *p) {
  etk_cgroup group;
  etk__cgroup_read(&group, p);
  return cores_of(&group);
}

int etk__usable_cores_of(provider *p, int logical) {
  int64_t cores = etk__ask_number(p, logical, "affinity.cores");
  int limit = etk__cgroup_cores(p);
  if (limit > 0 && limit < cores) cores = limit;
  return cores < 1 ? 1 : cores > INT_MAX ? INT_MAX : (int)cores;
}

int etk__hardware_usable_cores(const char *root) {
  etk_hardware_provider p = etk__provider_at(root);
  return etk__usable_cores_of(&p, (int)etk__ask_number(&p, 1, "online.cores"));
}

static const struct {
  const char *path;
} marks[] = {{"/.dockerenv"}, {"/run/.containerenv"}, {"/run/systemd/container"}, {"/var/run/secrets/kubernetes.io/serviceaccount/token"}};
static const char *const runtimes[] = {"docker", "libpod", "podman", "kubepods", "containerd", "lxc", "garden", "crio-", "machine.slice"};

static bool runtime_seen(provider *p) {
  char text[FILE_SIZE];
  for (size_t i = 0; i < sizeof marks / sizeof marks[0]; i++)
    if (etk__ask_exists(p, marks[i].path)) return true;
  etk__ask_file(p, text, sizeof text, "/proc/self/cgroup");
  for (size_t i = 0; i < sizeof runtimes / sizeof runtimes[0]; i++)
    if (strstr(text, runtimes[i])) return true;
  return false;
}

/* A limit that the machine itself does not reach is none. */
void etk__read_container(etk_hardware *out, provider *p) {
  etk_cgroup group;
  etk__cgroup_read(&group, p);
  int cores = cores_of(&group);
  int64_t allowed = etk__ask_number(p, out->logical_cores, "affinity.cores");
  if (cores > 0 && cores < allowed) allowed = cores;
  out->usable_cores = allowed < 1 ? 1 : allowed > INT_MAX ? INT_MAX : (int)allowed;
  if (out->logical_cores == 0 || group.cpu_quota < out->logical_cores) out->cpu_quota = group.cpu_quota;
  bool less = out->cpu_quota > 0 || (group.cpuset_cores > 0 && group.cpuset_cores < out->logical_cores);
  if (group.memory_limit > 0 && (out->machine_memory_bytes == 0 || group.memory_limit < out->machine_memory_bytes)) {
    out->memory_bytes = out->memory_limit_bytes = group.memory_limit;
    less = true;
    if (group.memory_headroom < out->memory_available_bytes || out->memory_available_bytes == 0) out->memory_available_bytes = group.memory_headroom;
  }
  out->container = less || runtime_seen(p);
}
