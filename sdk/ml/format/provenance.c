#include <etk/provenance.h>

#include "weights_internal.h"

#include <etk/alloc.h>
#include <etk/fs.h>
#include <etk/hash.h>
#include <stdio.h>
#include <string.h>

struct etk_provenance {
  etk_arena arena;
  const char **pairs;
  size_t count, room;
  int sources;
};

etk_status etk_provenance_new(etk_error *e, etk_provenance **out, const char *command) {
  *out = NULL;
  etk_provenance *p = etk_calloc(1, sizeof *p);
  if (!p) return etk_fail_memory(e);
  etk_status status = etk_provenance_add(e, p, ETK_PROVENANCE_PREFIX "command", command);
  if (!status) status = etk_provenance_add(e, p, ETK_PROVENANCE_PREFIX "version", ETK_VERSION);
  if (status) etk_provenance_free(p);
  else *out = p;
  return status;
}

void etk_provenance_free(etk_provenance *p) {
  if (!p) return;
  etk_free(p->pairs);
  etk_arena_fini(&p->arena);
  etk_free(p);
}

etk_status etk_provenance_add(etk_error *e, etk_provenance *p, const char *key, const char *value) {
  if (p->count == p->room) {
    size_t room = p->room ? 2 * p->room : 16;
    const char **grown = etk_realloc(p->pairs, 2 * room, sizeof *grown);
    if (!grown) return etk_fail_memory(e);
    p->pairs = grown;
    p->room = room;
  }
  const char **pair = p->pairs + 2 * p->count;
  pair[0] = etk_arena_strdup(&p->arena, key);
  pair[1] = etk_arena_strdup(&p->arena, value);
  if (!pair[0] || !pair[1]) return etk_fail_memory(e);
  p->count++;
  return ETK_OK;
}

/* The end of a path with so many of its folders. */
static const char *tail(const char *path, int above) {
  const char *at = path + strlen(path);
  for (; at > path; at--)
    if (at[-1] == '/' && above-- == 0) break;
  return at;
}

etk_status etk_provenance_source(etk_error *e, etk_provenance *p, const char *path, int above, const char *command) {
  char key[64], hex[65], *normal = etk_path_normal(path);
  etk_status status = normal ? etk_sha256_file(e, hex, NULL, path) : etk_fail_memory(e);
  int number = p->sources++;
  snprintf(key, sizeof key, ETK_PROVENANCE_PREFIX "source.%d.path", number);
  if (!status) status = etk_provenance_add(e, p, key, tail(normal, above));
  snprintf(key, sizeof key, ETK_PROVENANCE_PREFIX "source.%d.sha256", number);
  if (!status) status = etk_provenance_add(e, p, key, hex);
  snprintf(key, sizeof key, ETK_PROVENANCE_PREFIX "source.%d.command", number);
  if (!status && command) status = etk_provenance_add(e, p, key, command);
  etk_free(normal);
  return status;
}

/* The command that a container says it was made by; NULL: it says none. */
static const char *command_of(const etk_weights *w) {
  static const char key[] = ETK_PROVENANCE_PREFIX "command";
  const char *text = etk_weights_metadata(w, key);
  if (!text && w->gguf && etk_gguf_find(w->gguf, key) && etk_gguf_get_text(NULL, &text, w->gguf, key)) text = NULL;
  return text;
}

etk_status etk_provenance_weights(etk_error *e, etk_provenance *p, const etk_weights *weights) {
  etk_status status = ETK_OK;
  int above = etk_fs_is_dir(etk_weights_path(weights));
  for (size_t i = 0; !status && i < etk_weights_part_count(weights); i++)
    status = etk_provenance_source(e, p, etk_weights_part_path(weights, i), above, i ? NULL : command_of(weights));
  return status;
}

etk_status etk_provenance_model(etk_error *e, etk_provenance *p, const char *path) {
  etk_weights *weights = NULL;
  etk_status status = etk_weights_open(e, &weights, path);
  if (!status) status = etk_provenance_weights(e, p, weights);
  etk_weights_close(weights);
  return status;
}

const char *const *etk_provenance_pairs(const etk_provenance *p, size_t *count) {
  *count = p->count;
  return p->pairs;
}
