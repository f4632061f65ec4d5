/* resolve_check.c: a configuration file against every project that is installed, before any of their commands is called. */
#include "slot.h"

#include <etk/alloc.h>

struct check {
  struct host *host;
  const char *path;
  const struct manifest *manifests;
  size_t count;
};

/* One key for all commands of a project, since limits and defaults may differ between them. */
static etk_status by_project(etk_error *e, const struct check *c, const struct manifest *manifest, bool section, const etk_config_node *node) {
  etk_status status = ETK_OK;
  for (size_t i = 0; !status && i < manifest->command_count; i++) {
    struct resolver r = {.host = c->host, .manifest = manifest, .command = &manifest->commands[i]};
    struct resolved values = {0};
    if (node->kind == ETK_CONFIG_FLAG && manifest_command(manifest, node->key)) return ETK_OK; /* "train: true": which command is called is not known here */
    status = resolver_start(e, &r, &values);
    if (!status) status = config_read_key(e, &r, c->path, section, node);
  }
  return status;
}

/* A key outside the sections belongs to whoever takes it. Else the error is that of a project that knows so much of it, or could suggest something. */
static etk_status by_any(etk_error *e, const struct check *c, const etk_config_node *node) {
  etk_error best = ETK_ERROR_INIT;
  int best_rank = -1;
  for (size_t i = 0; i < c->count; i++) {
    etk_error why = ETK_ERROR_INIT;
    struct resolver r = {.host = c->host, .manifest = &c->manifests[i]};
    etk_status status = by_project(&why, c, &c->manifests[i], false, node);
    if (!status || status == ETK_E_NO_MEMORY) return status ? etk_fail(e, status, "%s", why.message) : ETK_OK;
    int rank = key_is_group(&r, node->key) || key_find(&r, node->key) ? 2 : strstr(why.message, "did you mean") != NULL;
    if (rank > best_rank) best = why, best_rank = rank;
  }
  if (best_rank > 0) return etk_fail(e, best.status, "%s", best.message);
  return etk_fail(e, ETK_E_USAGE, "%s:%d:%d: no project here knows the key '%s'", c->path, node->key_line, node->key_column, node->key);
}

static etk_status check_root(etk_error *e, const struct check *c, const etk_config_node *root, bool profile) {
  const etk_config_node *map, *below;
  etk_status status = config_map(e, &map, c->path, root);
  for (const etk_config_node *node = map ? map->first : NULL; !status && node; node = node->next) {
    const struct manifest *own = NULL;
    for (size_t i = 0; i < c->count && !own; i++)
      if (etk_text_equal_name(c->manifests[i].name_space, node->key)) own = &c->manifests[i];
    bool profiles = !profile && !strcmp(node->key, "profiles");
    if (!own && !profiles) {
      status = by_any(e, c, node);
      continue;
    }
    status = config_map(e, &below, c->path, node);
    for (const etk_config_node *inner = below ? below->first : NULL; !status && inner; inner = inner->next)
      status = profiles ? check_root(e, c, inner, true) : by_project(e, c, own, true, inner);
  }
  return status;
}

etk_status config_check(etk_error *e, struct host *host, const char *path, const struct manifest *manifests, size_t count) {
  struct host own = {.program = host->program, .path = host->path, .quiet = true}; /* nothing is said, and the values go with its arena */
  struct check check = {&own, path, manifests, count};
  etk_config *config = NULL;
  etk_status status = etk_config_load(e, &config, path);
  if (!status && count) status = check_root(e, &check, etk_config_root(config), false);
  etk_config_free(config);
  etk_arena_fini(&own.arena);
  return status;
}
