/* etk/provenance.h: how a file was made, as pairs of texts for its metadata (safetensors' __metadata__, GGUF's keys).
 *
 * efficientai.command and efficientai.version, and for each file that it was made from efficientai.source.N.path (without the folders above it) and
 * efficientai.source.N.sha256, and where the file says itself how it was made, efficientai.source.N.command. One thread at a time. */
#ifndef ETK_PROVENANCE_H
#define ETK_PROVENANCE_H

#include "weights.h"

#ifdef __cplusplus
extern "C" {
#endif

#define ETK_PROVENANCE_PREFIX "efficientai."
typedef struct etk_provenance etk_provenance;
etk_status etk_provenance_new(etk_error *e, etk_provenance **out, const char *command); /* "model:convert" */
void etk_provenance_free(etk_provenance *provenance);
etk_status etk_provenance_add(etk_error *e, etk_provenance *provenance, const char *key, const char *value); /* both copied */
/* A file, hashed now. above: how many of the folders above it belong to its name (a model's folder: 1). command: how that file was made itself, or NULL. */
etk_status etk_provenance_source(etk_error *e, etk_provenance *provenance, const char *path, int above, const char *command);
/* The files of weights of a model or adapter: one that is open, or anything that etk_weights_open opens. */
etk_status etk_provenance_weights(etk_error *e, etk_provenance *provenance, const etk_weights *weights);
etk_status etk_provenance_model(etk_error *e, etk_provenance *provenance, const char *path);
const char *const *etk_provenance_pairs(const etk_provenance *provenance, size_t *count); /* key, value, key … ; count is of pairs; valid until the next addition */

#ifdef __cplusplus
}
#endif
#endif
