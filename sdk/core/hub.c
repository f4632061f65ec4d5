/* The hub's cache of models: names, folders, revisions. */
#include "etk/hub.h"

#include "etk/alloc.h"
#include "etk/fs.h"
#include "etk/text.h"

enum { PART_MOST = 96, REF_LIMIT = 256 };

/* One side of ORG/NAME: the hub allows no "--" and ".." and no mark at either end. */
static size_t part_size(const char *text) {
  size_t n = 0;
  for (; text[n] && text[n] != '/' && text[n] != '@'; n++) {
    char c = text[n];
    bool plain = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
    if (!plain && ((c != '-' && c != '.') || !n || text[n - 1] == c)) return 0;
  }
  return n && n <= PART_MOST && text[n - 1] != '-' && text[n - 1] != '.' ? n : 0;
}

bool etk_hub_is_id(const char *text) {
  size_t first = part_size(text);
  if (!first || !text[first]) return first != 0;
  return text[first] == '/' && part_size(text + first + 1) && !text[first + 1 + part_size(text + first + 1)];
}

char *etk_hub_cache(void) {
  static const char *const whole[] = {"HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"};
  for (size_t i = 0; i < sizeof whole / sizeof *whole; i++) {
    const char *value = getenv(whole[i]);
    if (value && *value) return etk_strdup(value);
  }
  const char *home = getenv("HF_HOME"), *cache = getenv("XDG_CACHE_HOME"), *user = getenv("HOME");
  if (home && *home) return etk_path_join(home, "hub");
  if (cache && *cache) return etk_path_join(cache, "huggingface/hub");
  return user && *user ? etk_path_join(user, ".cache/huggingface/hub") : NULL;
}

char *etk_hub_folder(const char *cache, const char *id) {
  etk_text name = ETK_TEXT_INIT;
  etk_text_puts(&name, "models--");
  for (const char *c = id; *c; c++)
    if (*c == '/') etk_text_puts(&name, "--");
    else etk_text_putc(&name, *c);
  char *folder = name.failed ? NULL : etk_path_join(cache, name.data);
  etk_text_free(&name);
  return folder;
}

bool etk_hub_offline(void) {
  static const char *const names[] = {"HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"};
  for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
    const char *value = getenv(names[i]);
    bool on = false;
    if (value && !etk_parse_flag(NULL, &on, value) && on) return true;
  }
  return false;
}

static bool is_commit(const char *text) { return strlen(text) == 40 && strspn(text, "0123456789abcdef") == 40; }

/* The commit that refs/<revision> names; the revision itself where it is a commit. Empty: there is none. */
static etk_status commit_of(etk_error *e, char commit[REF_LIMIT], const char *folder, const char *revision) {
  commit[0] = 0;
  char *refs = etk_path_join(folder, "refs"), *path = refs ? etk_path_join(refs, revision) : NULL, *text = NULL;
  size_t size = 0;
  etk_status status = !path ? etk_fail_memory(e) : !etk_path_is_inside(revision) ? etk_fail(e, ETK_E_INVALID, "'%s' is no name of a revision", revision) : ETK_OK;
  if (!status && etk_fs_exists(path)) {
    status = etk_fs_read(e, &text, &size, path, REF_LIMIT - 1);
    if (!status) snprintf(commit, REF_LIMIT, "%.*s", (int)strcspn(text, " \r\n"), text);
    if (!status && (!*commit || strchr(commit, '/') || commit[0] == '.')) status = etk_fail(e, ETK_E_FORMAT, "%s: names no commit", path);
  } else if (!status && is_commit(revision)) snprintf(commit, REF_LIMIT, "%s", revision);
  etk_free(text);
  etk_free(path);
  etk_free(refs);
  return status;
}

etk_status etk_hub_find(etk_error *e, char **out, const char *id, const char *revision, const char *cache) {
  *out = NULL;
  if (!etk_hub_is_id(id)) return etk_fail(e, ETK_E_INVALID, "'%s' is no name of a model; wanted ORG/NAME", id);
  char *own = cache ? NULL : etk_hub_cache(), commit[REF_LIMIT];
  const char *root = cache ? cache : own, *wanted = revision ? revision : "main";
  if (!root) return etk_fail(e, ETK_E_NOT_FOUND, "model %s: there is no cache to look in; set HF_HUB_CACHE or HOME", id);
  char *folder = etk_hub_folder(root, id), *snapshots = folder ? etk_path_join(folder, "snapshots") : NULL, *found = NULL;
  etk_status status = snapshots ? commit_of(e, commit, folder, wanted) : etk_fail_memory(e);
  if (!status && *commit && !(found = etk_path_join(snapshots, commit))) status = etk_fail_memory(e);
  if (!status && (!found || !etk_fs_is_dir(found)))
    status = etk_fail(e, ETK_E_NOT_FOUND, "model %s (revision %s) is neither a path nor in the cache %s; get it with: efficientai-toolkit model pull %s%s%s", id, wanted, root, id,
                      revision ? " --revision " : "", revision ? revision : "");
  if (!status) {
    *out = found;
    found = NULL;
  }
  etk_free(found);
  etk_free(snapshots);
  etk_free(folder);
  etk_free(own);
  return status;
}

/* Names of models end in nothing of the kind, but for a few. */
static bool ends_like_a_file(const char *id) {
  static const char *const ends[] = {".gguf", ".safetensors", ".bin", ".pth", ".pt", ".npz", ".npy", ".onnx", ".json", ".jsonl", ".txt", ".model", ".tar"};
  size_t size = strlen(id);
  for (size_t i = 0; i < sizeof ends / sizeof *ends; i++) {
    size_t end = strlen(ends[i]);
    if (size > end && !strcmp(id + size - end, ends[i])) return true;
  }
  return false;
}

etk_status etk_hub_resolve(etk_error *e, char **path, const char *model) {
  *path = NULL;
  const char *at = strchr(model, '@');
  char *id = at ? etk_strndup(model, (size_t)(at - model)) : etk_strdup(model);
  etk_status status = id ? ETK_OK : etk_fail_memory(e);
  /* A bare NAME is far likelier to be a file that is not there. */
  if (!status && !etk_fs_exists(model) && strchr(id, '/') && etk_hub_is_id(id)) {
    bool file = !at && ends_like_a_file(id);
    status = etk_hub_find(file ? NULL : e, path, id, at ? at + 1 : NULL, NULL);
    if (status == ETK_E_NOT_FOUND && file) status = (*path = etk_strdup(model)) ? ETK_OK : etk_fail_memory(e);
  } else if (!status && !(*path = etk_strdup(model))) status = etk_fail_memory(e);
  etk_free(id);
  return status;
}
