/* etk/hub.h: models named ORG/NAME: the local cache that the Hugging Face Hub's tools share, found without a network.
 *
 * Layout (huggingface_hub): <cache>/models--ORG--NAME/{refs/<revision>, snapshots/<commit>/<file> -> ../../blobs/<etag>, blobs/}. The cache is $HF_HUB_CACHE,
 * $HUGGINGFACE_HUB_CACHE, $HF_HOME/hub, $XDG_CACHE_HOME/huggingface/hub or ~/.cache/huggingface/hub, the first that is set. Downloads: etk/pull.h. */
#ifndef ETK_HUB_H
#define ETK_HUB_H

#include "status.h"
#include <stdbool.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Is this the name of a model on the hub (ORG/NAME, or NAME for the oldest ones)? A look at the spelling: letters, digits, '-', '_', '.', at most 96. */
bool etk_hub_is_id(const char *text);
char *etk_hub_cache(void);                                    /* allocated; NULL: no home, or out of memory */
char *etk_hub_folder(const char *cache, const char *id);      /* "<cache>/models--ORG--NAME", allocated; NULL: out of memory */
/* HF_HUB_OFFLINE or TRANSFORMERS_OFFLINE is set to 1, true, yes or on: nothing is to be downloaded. */
bool etk_hub_offline(void);
/* The folder of a revision (NULL: "main"; or a commit) of a model in a cache (NULL: etk_hub_cache). Not there: ETK_E_NOT_FOUND, which says how to get it. */
etk_status etk_hub_find(etk_error *e, char **folder, const char *id, const char *revision, const char *cache);
/* What a user who writes `model` means: a path that exists, or else a model in the cache, ORG/NAME or ORG/NAME@revision. *path is allocated. */
etk_status etk_hub_resolve(etk_error *e, char **path, const char *model);

#ifdef __cplusplus
}
#endif
#endif
