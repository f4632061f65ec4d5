#include "extensions.h"

#include <string.h>

static const struct extension {
  const char *id;
  const void *table;
} extensions[] = {{ETK_SELFTEST_ID, &selftest}, {ETK_BENCH_ID, &benchmarks}};

const void *extensions_query(const char *id) {
  for (size_t i = 0; i < sizeof extensions / sizeof *extensions; i++)
    if (!strcmp(extensions[i].id, id)) return extensions[i].table;
  return NULL;
}
