/* parallel_place.c: which thread of a pinned pool runs where, from what Linux says in /sys. */
#include "parallel_internal.h"
#include "etk/alloc.h"

#include <ctype.h>

enum { LIST = 8192, NODES_MOST = 64 };

/* One processor, and how many of its core's processors stand before it. */
struct cpu {
  int number, rank;
};
struct node {
  int first, count; /* of all processors, in the order of nodes */
};

/* The next number of "0-3,8"; -1: the end. at and last are 0 and -1 at first: `last` is the end of the range that at stands in. */
static int next_number(const char **at, int *now, int *last) {
  if (*now < *last) return ++*now;
  while (**at && !isdigit((unsigned char)**at)) ++*at;
  if (!**at) return -1;
  char *end;
  long from = strtol(*at, &end, 10), to = from;
  if (*end == '-' && isdigit((unsigned char)end[1])) to = strtol(end + 1, &end, 10);
  *at = end;
  if (from >= PLACES_MOST || to < from) return *last = *now = -1, next_number(at, now, last);
  *now = (int)from;
  *last = to < PLACES_MOST ? (int)to : PLACES_MOST - 1;
  return *now;
}

/* Processors of the same core that stand before this one. */
static int rank_of(provider *p, int cpu) {
  char list[256];
  const char *at = list;
  int now = -1, last = -1, rank = 0;
  if (etk__ask_file(p, list, sizeof list, "/sys/devices/system/cpu/cpu%d/topology/thread_siblings_list", cpu) <= 0) return 0;
  for (int n; (n = next_number(&at, &now, &last)) >= 0 && n != cpu;) rank++;
  return rank;
}

static int by_rank(const void *a, const void *b) {
  const struct cpu *x = a, *y = b;
  return x->rank != y->rank ? x->rank - y->rank : x->number - y->number;
}

/* Adds a node's processors to cpus. */
static int read_node(struct cpu *cpus, int count, provider *p, char *list, bool (*allowed)(void *user, int cpu), void *user) {
  const char *at = list;
  int now = -1, last = -1, first = count;
  for (int n; count < PLACES_MOST && (n = next_number(&at, &now, &last)) >= 0;)
    if (allowed(user, n)) cpus[count++] = (struct cpu){n, rank_of(p, n)};
  qsort(cpus + first, (size_t)(count - first), sizeof *cpus, by_rank);
  return count;
}

static int read_nodes(struct cpu *cpus, struct node *nodes, provider *p, bool (*allowed)(void *user, int cpu), void *user) {
  char online[256], list[LIST];
  const char *at = online;
  int now = -1, last = -1, found = 0, count = 0;
  if (etk__ask_file(p, online, sizeof online, "/sys/devices/system/node/online") > 0)
    for (int n; found < NODES_MOST && (n = next_number(&at, &now, &last)) >= 0;) {
      if (etk__ask_file(p, list, sizeof list, "/sys/devices/system/node/node%d/cpulist", n) <= 0) continue; /* memory alone */
      int end = read_node(cpus, count, p, list, allowed, user);
      if (end > count) nodes[found++] = (struct node){count, end - count};
      count = end;
    }
  if (found) return found;
  if (etk__ask_file(p, list, sizeof list, "/sys/devices/system/cpu/online") <= 0) return 0; /* a kernel that knows no nodes */
  count = read_node(cpus, 0, p, list, allowed, user);
  nodes[0] = (struct node){0, count};
  return count > 0;
}

int etk__parallel_places(int *out, int threads, provider *p, bool (*allowed)(void *user, int cpu), void *user) {
  struct node nodes[NODES_MOST];
  struct cpu *cpus = etk_calloc(PLACES_MOST, sizeof *cpus);
  int found = cpus ? read_nodes(cpus, nodes, p, allowed, user) : 0, used = 0;
  int total = found ? nodes[found - 1].first + nodes[found - 1].count : 0;
  for (int i = 0; i < found; i++) {
    int from = (int)((int64_t)threads * nodes[i].first / total), to = (int)((int64_t)threads * (nodes[i].first + nodes[i].count) / total);
    used += to > from;
    for (int t = from; t < to; t++) out[t] = cpus[nodes[i].first + (t - from) % nodes[i].count].number;
  }
  etk_free(cpus);
  return used;
}
