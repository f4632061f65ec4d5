/* etk/pull.h: download models from the Hugging Face Hub, or a server that speaks its API, into the cache that its tools share (etk/hub.h).
 *
 * Files come in parts over several connections at once; what was fetched stays when a download is stopped, and the next one goes on there. A file takes its
 * name when it is whole and has the size, and where the hub tells it (large files) the SHA-256, that the hub tells. libcurl is opened at the first request. */
#ifndef ETK_PULL_H
#define ETK_PULL_H

#include "status.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct etk_pull_file {
  const char *name;   /* "model.safetensors", "onnx/model.onnx" */
  int64_t bytes;
  const char *sha256; /* "" where the hub tells none */
  bool cached;        /* was there, whole */
} etk_pull_file;

typedef struct etk_pull_options {
  const char *revision;  /* branch, tag or commit; NULL: main */
  const char *endpoint;  /* NULL: $HF_ENDPOINT, else https://huggingface.co */
  const char *token;     /* NULL: $HF_TOKEN, else the file $HF_TOKEN_PATH, $HF_HOME/token or ~/.cache/huggingface/token; "": none. Sent to the endpoint alone, never logged */
  const char *cache;     /* NULL: etk_hub_cache */
  const char *folder;    /* not NULL: files are written here under their own names instead of the cache */
  bool replace;          /* also over other files of these names */
  const char *const *include, *const *exclude; /* patterns of names (etk_path_match); no include: what running the model takes, and not the same weights in other formats */
  size_t include_count, exclude_count;
  bool all;              /* every file */
  bool list_only;        /* nothing is fetched but the list */
  int connections;       /* at once; 0: 4 */
  int64_t part_bytes;    /* what one of them fetches at a time; 0: 16 MiB */
  /* Called now and then, also while nothing arrives; false stops the download (ETK_E_CANCELLED), what was fetched stays. */
  bool (*progress)(void *user, int64_t done, int64_t total, const char *file);
  void *user;
} etk_pull_options;

typedef struct etk_pull etk_pull; /* the result; etk_pull_free */
/* Offline (etk_hub_offline): only looks in the cache. options may be NULL. */
etk_status etk_pull_run(etk_error *e, etk_pull **out, const char *id, const etk_pull_options *options);
void etk_pull_free(etk_pull *pull);
const char *etk_pull_folder(const etk_pull *pull); /* where the model lies; with list_only "" */
const char *etk_pull_commit(const etk_pull *pull);
size_t etk_pull_count(const etk_pull *pull);
const etk_pull_file *etk_pull_at(const etk_pull *pull, size_t index);
int64_t etk_pull_fetched(const etk_pull *pull); /* bytes that came over the network, of files */

#ifdef __cplusplus
}
#endif
#endif
