/* fetch.h: files over HTTP, in parts, several at once, resumed where they were left. */
#ifndef ETK_NET_FETCH_H
#define ETK_NET_FETCH_H

#include <etk/status.h>
#include <stdbool.h>
#include <stdint.h>

/* A small body, such as JSON; at most `limit` bytes; NUL-terminated; etk_free. what: for messages. */
etk_status etk__fetch_text(etk_error *e, char **out, size_t *size, const char *url, const char *bearer, size_t limit, const char *what);

struct etk__fetch_item {
  const char *name, *url;
  const char *path;   /* of the partial file; beside it "<path>.parts" says which parts it has. Both are made here; the caller renames the whole file */
  int64_t bytes;
};
struct etk__fetch_options {
  const char *bearer; /* NULL: none */
  int connections;
  int64_t part_bytes; /* 0: 16 MiB */
  int64_t done_before, total; /* for progress: what is there of other files, and of all */
  bool (*progress)(void *user, int64_t done, int64_t total, const char *file);
  void *user;
};
/* Fetches all items; *fetched counts the bytes that came. After a failure whole parts stay and count the next time. */
etk_status etk__fetch_files(etk_error *e, const struct etk__fetch_item *items, size_t count, const struct etk__fetch_options *options, int64_t *fetched);

#endif
