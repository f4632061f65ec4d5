/* Models from the hub: its list of files, which of them are wanted, and their places in the cache. */
#include "fetch.h"

#include <errno.h>
#include <etk/alloc.h>
#include <etk/config.h>
#include <etk/fs.h>
#include <etk/hash.h>
#include <etk/hub.h>
#include <etk/log.h>
#include <etk/pull.h>
#include <etk/text.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { LIST_LIMIT = 64 << 20, TOKEN_LIMIT = 4096, LOCK_WAIT_MS = 100 };

struct entry {
  etk_pull_file file;
  const char *etag, *blob; /* the blob's name in the cache and its path; blob: the file's own path outside the cache */
  const char *url;
  int lock;                /* held while its blob is written; -1 */
};

struct etk_pull {
  etk_arena arena;
  const char *id, *revision, *endpoint, *cache, *commit, *repository, *folder;
  const char *token;
  const etk_pull_options *options; /* while it runs */
  struct entry *entries;
  size_t count;
  int64_t fetched;
};

/* ---- what the user's surroundings say ---- */
static const char *from_environment(const char *name) {
  const char *value = getenv(name);
  return value && *value ? value : NULL;
}

static etk_status read_token(etk_error *e, etk_pull *p, const char *path) {
  char *text = NULL;
  size_t size = 0;
  if (!path) return etk_fail_memory(e);
  if (!etk_fs_exists(path)) return ETK_OK;
  etk_status status = etk_fs_read(e, &text, &size, path, TOKEN_LIMIT);
  if (!status && !(p->token = etk_arena_strndup(&p->arena, text, strcspn(text, "\r\n\t ")))) status = etk_fail_memory(e);
  etk_free(text);
  return status;
}

static bool is_loopback(const char *url) {
  static const char *const hosts[] = {"http://127.0.0.1", "http://localhost", "http://[::1]"};
  for (size_t i = 0; i < sizeof hosts / sizeof *hosts; i++) {
    size_t size = strlen(hosts[i]);
    if (!strncmp(url, hosts[i], size) && strchr(":/", url[size])) return true; /* strchr finds the end too */
  }
  return false;
}

static etk_status find_token(etk_error *e, etk_pull *p) {
  const char *given = p->options->token ? p->options->token : from_environment("HF_TOKEN"), *home = from_environment("HF_HOME");
  etk_status status = ETK_OK;
  if (given) p->token = etk_arena_strdup(&p->arena, given);
  else if (from_environment("HF_TOKEN_PATH")) status = read_token(e, p, from_environment("HF_TOKEN_PATH"));
  else if (home || from_environment("HOME"))
    status = read_token(e, p, home ? etk_arena_printf(&p->arena, "%s/token", home) : etk_arena_printf(&p->arena, "%s/.cache/huggingface/token", from_environment("HOME")));
  if (status || !p->token || !*p->token) return p->token = NULL, status;
  for (const char *c = p->token; *c; c++)
    if (*c <= ' ' || *c > '~') return etk_fail(e, ETK_E_INVALID, "the token holds a character that no token has (blank, control or non-ASCII); check HF_TOKEN");
  if (!strncmp(p->endpoint, "http://", 7) && !is_loopback(p->endpoint)) {
    etk_log(ETK_LOG_WARNING, "the token is not sent to %s, where it would travel unencrypted", p->endpoint);
    p->token = NULL;
  }
  return ETK_OK;
}

static etk_status set_out(etk_error *e, etk_pull *p, const char *id) {
  const etk_pull_options *o = p->options;
  const char *endpoint = o->endpoint && *o->endpoint ? o->endpoint : from_environment("HF_ENDPOINT");
  char *cache = o->cache ? NULL : etk_hub_cache();
  if (!endpoint) endpoint = "https://huggingface.co";
  size_t size = strlen(endpoint);
  while (size && endpoint[size - 1] == '/') size--;
  p->id = etk_arena_strdup(&p->arena, id);
  p->revision = etk_arena_strdup(&p->arena, o->revision && *o->revision ? o->revision : "main");
  p->endpoint = etk_arena_strndup(&p->arena, endpoint, size);
  p->cache = o->cache || cache ? etk_arena_strdup(&p->arena, o->cache ? o->cache : cache) : NULL;
  p->folder = o->folder ? etk_arena_strdup(&p->arena, o->folder) : "";
  bool home = o->cache || cache;
  etk_free(cache);
  const char *address = strstr(id, "://") ? strstr(id, "://") + 3 : NULL, *path = address ? strchr(address, '/') : NULL;
  if (path) return etk_fail(e, ETK_E_USAGE, "'%s' is an address; the name of the model is wanted, which is what follows its host: %s", id, path + 1);
  if (!etk_hub_is_id(id)) return etk_fail(e, ETK_E_USAGE, "'%s' is no name of a model on the hub; wanted ORG/NAME", id);
  if (!home) return etk_fail(e, ETK_E_NOT_FOUND, "there is no place for a cache; set HF_HUB_CACHE or HOME");
  if (!p->id || !p->revision || !p->endpoint || !p->cache || !p->folder) return etk_fail_memory(e);
  if (strncmp(p->endpoint, "https://", 8) && strncmp(p->endpoint, "http://", 7)) return etk_fail(e, ETK_E_USAGE, "the endpoint '%s' must begin with https:// or http://", p->endpoint);
  char *repository = etk_hub_folder(p->cache, id);
  p->repository = repository ? etk_arena_strdup(&p->arena, repository) : NULL;
  etk_free(repository);
  return p->repository ? find_token(e, p) : etk_fail_memory(e);
}

/* ---- the list ---- */
/* keep: characters beside the unreserved ones that stay. */
static const char *escape(etk_arena *arena, const char *text, const char *keep) {
  etk_text out = ETK_TEXT_INIT;
  for (const unsigned char *c = (const unsigned char *)text; *c; c++)
    if ((*c >= '0' && *c <= '9') || (*c >= 'a' && *c <= 'z') || (*c >= 'A' && *c <= 'Z') || strchr("-._~", *c) || strchr(keep, *c)) etk_text_putc(&out, (char)*c);
    else etk_text_printf(&out, "%%%02X", *c);
  const char *copy = out.failed || !out.data ? NULL : etk_arena_strdup(arena, out.data);
  etk_text_free(&out);
  return copy;
}

static bool is_hex(const char *text, size_t size) { return strlen(text) == size && strspn(text, "0123456789abcdef") == size; }

/* A pattern without a folder is one of names, wherever they lie. */
static bool fits(const char *pattern, const char *name) { return etk_path_match(pattern, name) || (!strchr(pattern, '/') && etk_path_match(pattern, etk_path_base(name))); }

static bool is_wanted(const etk_pull *p, const char *name, bool gguf) {
  /* What running a model takes: weights as safetensors, or GGUF where there are none; not the same weights in other formats. */
  static const char *const usual[] = {"*.safetensors", "*.json", "*.jinja", "tokenizer.model", "*.tiktoken", "vocab.txt", "merges.txt", "*.bpe", "1_Pooling/config.json", "README.md", "LICENSE*"};
  const etk_pull_options *o = p->options;
  bool wanted = o->all;
  for (size_t i = 0; i < o->include_count && !wanted; i++) wanted = fits(o->include[i], name);
  for (size_t i = 0; i < sizeof usual / sizeof *usual && !o->all && !o->include_count && !wanted; i++) wanted = etk_path_match(usual[i], name);
  if (!o->all && !o->include_count && gguf && etk_path_match("*.gguf", name)) wanted = true;
  for (size_t i = 0; i < o->exclude_count && wanted; i++) wanted = !fits(o->exclude[i], name);
  return wanted;
}

static etk_status bad_list(etk_error *e, const etk_pull *p, const char *what) { return etk_fail(e, ETK_E_FORMAT, "%s: the hub's list of its files %s (%s)", p->id, what, p->endpoint); }

static etk_status add_entry(etk_error *e, etk_pull *p, const etk_config *list, const etk_config_node *node, const char *name) {
  const etk_config_node *lfs = etk_config_child(node, "lfs");
  const char *sha = NULL, *blob = NULL;
  int64_t bytes = -1;
  etk_status status = etk_config_get_int(e, list, node, "size", &bytes);
  if (!status) status = etk_config_get_text(e, list, node, "blobId", &blob);
  if (!status && lfs && lfs->kind == ETK_CONFIG_MAP) {
    status = etk_config_get_text(e, list, lfs, "sha256", &sha);
    if (!status) status = etk_config_get_int(e, list, lfs, "size", &bytes);
  }
  if (status) return status;
  if (bytes < 0 || (sha && !is_hex(sha, 64)) || (!sha && (!blob || !is_hex(blob, 40)))) return bad_list(e, p, "tells no size or no hash of a file");
  struct entry *entry = &p->entries[p->count];
  *entry = (struct entry){.file = {etk_arena_strdup(&p->arena, name), bytes, etk_arena_strdup(&p->arena, sha ? sha : ""), false}, .etag = etk_arena_strdup(&p->arena, sha ? sha : blob), .lock = -1};
  const char *escaped = escape(&p->arena, name, "/");
  entry->url = escaped ? etk_arena_printf(&p->arena, "%s/%s/resolve/%s/%s", p->endpoint, p->id, p->commit, escaped) : NULL;
  if (!entry->file.name || !entry->file.sha256 || !entry->etag || !entry->url) return etk_fail_memory(e);
  entry->blob = *p->folder ? etk_arena_printf(&p->arena, "%s/%s", p->folder, name) : etk_arena_printf(&p->arena, "%s/blobs/%s", p->repository, entry->etag);
  if (!entry->blob) return etk_fail_memory(e);
  p->count++;
  return ETK_OK;
}

static etk_status read_list(etk_error *e, etk_pull *p, const etk_config *list) {
  const etk_config_node *root = etk_config_root(list), *files = root->kind == ETK_CONFIG_MAP ? etk_config_child(root, "siblings") : NULL;
  const char *commit = NULL;
  if (!files || files->kind != ETK_CONFIG_LIST) return bad_list(e, p, "has no \"siblings\"");
  etk_status status = etk_config_get_text(e, list, root, "sha", &commit);
  if (!status && (!commit || !is_hex(commit, 40))) status = bad_list(e, p, "names no commit");
  if (!status && !(p->commit = etk_arena_strdup(&p->arena, commit))) status = etk_fail_memory(e);
  p->entries = etk_arena_array(&p->arena, files->count + 1, sizeof *p->entries);
  if (!p->entries) return etk_fail_memory(e);
  size_t ggufs = 0;
  bool others = false;
  for (const etk_config_node *node = files->first; node && !status; node = node->next) {
    const char *name = NULL;
    if (node->kind == ETK_CONFIG_MAP) status = etk_config_get_text(e, list, node, "rfilename", &name);
    if (!status && (!name || !*name || !etk_path_is_inside(name))) status = bad_list(e, p, "names a file outside its folder");
    if (status) break;
    ggufs += etk_path_match("*.gguf", name);
    others |= etk_path_match("*.safetensors", name);
  }
  /* Several GGUF files are as a rule one model in several types, each of many gigabytes. */
  if (!status && ggufs > 1 && !others && !p->options->all && !p->options->include_count && !p->options->list_only)
    return etk_fail(e, ETK_E_USAGE, "%s holds %zu GGUF files; say which with --include (such as --include '*Q4_K_M*'), see them with --list, or take --all", p->id, ggufs);
  for (const etk_config_node *node = files->first; node && !status; node = node->next) {
    const char *name = NULL;
    status = etk_config_get_text(e, list, node, "rfilename", &name);
    if (!status && is_wanted(p, name, !others)) status = add_entry(e, p, list, node, name);
  }
  if (!status && !p->count) status = etk_fail(e, ETK_E_NOT_FOUND, "%s has no file that is wanted, of %zu; see them with --list --all, choose with --include", p->id, files->count);
  return status;
}

static etk_status fetch_list(etk_error *e, etk_pull *p) {
  const char *revision = escape(&p->arena, p->revision, "");
  const char *url = revision ? etk_arena_printf(&p->arena, "%s/api/models/%s/revision/%s?blobs=true", p->endpoint, p->id, revision) : NULL;
  const char *what = etk_arena_printf(&p->arena, "model %s (revision %s)", p->id, p->revision);
  char *text = NULL;
  size_t size = 0;
  etk_config *list = NULL;
  if (!url || !what) return etk_fail_memory(e);
  etk_status status = etk__fetch_text(e, &text, &size, url, p->token, LIST_LIMIT, what);
  if (!status) status = etk_config_parse(e, &list, url, text, size, ETK_CONFIG_JSON_ANY);
  if (!status) status = read_list(e, p, list);
  etk_config_free(list);
  etk_free(text);
  return status;
}

/* ---- locks: two downloads of one blob would write into each other; huggingface_hub takes the same ones ---- */
static etk_status lock_entry(etk_error *e, etk_pull *p, struct entry *entry) {
  const char *base = etk_path_base(p->repository), *folder = etk_arena_printf(&p->arena, "%s/.locks/%s", p->cache, base);
  const char *path = folder ? etk_arena_printf(&p->arena, "%s/%s.lock", folder, entry->etag) : NULL;
  if (!path) return etk_fail_memory(e);
  etk_status status = etk_fs_make_dirs(e, folder);
  if (status) return status;
  entry->lock = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0666);
  if (entry->lock < 0) return etk_fail_errno(e, errno, "%s", path);
  while (flock(entry->lock, LOCK_EX | LOCK_NB) != 0 && (errno == EWOULDBLOCK || errno == EINTR)) {
    if (p->options->progress && !p->options->progress(p->options->user, 0, 0, "waiting for another download of the same file")) return etk_fail(e, ETK_E_CANCELLED, "stopped while another download had %s", path);
    nanosleep(&(struct timespec){0, LOCK_WAIT_MS * 1000000}, NULL);
  }
  return ETK_OK; /* a file system without locks: as without them */
}

static void unlock(etk_pull *p) {
  for (size_t i = 0; i < p->count; i++) {
    if (p->entries[i].lock >= 0) close(p->entries[i].lock);
    p->entries[i].lock = -1;
  }
}

/* ---- files ---- */
static bool is_whole(const struct entry *entry) {
  struct stat info;
  return stat(entry->blob, &info) == 0 && S_ISREG(info.st_mode) && info.st_size == entry->file.bytes;
}

/* Outside the cache nothing but its content says that a file of that name and size is the wanted one. */
static etk_status look(etk_error *e, etk_pull *p, struct entry *entry) {
  entry->file.cached = is_whole(entry);
  if (*p->folder && !entry->file.cached && !p->options->replace && etk_fs_exists(entry->blob))
    return etk_fail(e, ETK_E_EXISTS, "%s is there and is another file than the hub's; it stays unless you ask to replace it", entry->blob);
  if (!entry->file.cached || !*p->folder || !*entry->file.sha256) return ETK_OK;
  char hex[65];
  uint64_t bytes;
  etk_status status = etk_sha256_file(e, hex, &bytes, entry->blob);
  entry->file.cached = !status && !strcmp(hex, entry->file.sha256);
  return status;
}

static const char *partial(etk_pull *p, const struct entry *entry) { return etk_arena_printf(&p->arena, "%s.etk-partial", entry->blob); }

static etk_status make_parent(etk_error *e, const char *path) {
  char *folder = etk_path_dir(path);
  etk_status status = folder ? etk_fs_make_dirs(e, folder) : etk_fail_memory(e);
  etk_free(folder);
  return status;
}

/* What came is what the hub has: then the file gets its name. */
static etk_status finish(etk_error *e, etk_pull *p, struct entry *entry) {
  const char *path = partial(p, entry), *parts = path ? etk_arena_printf(&p->arena, "%s.parts", path) : NULL;
  char hex[65];
  uint64_t bytes = 0;
  if (!parts) return etk_fail_memory(e);
  etk_status status = *entry->file.sha256 ? etk_sha256_file(e, hex, &bytes, path) : ETK_OK;
  if (!status && *entry->file.sha256 && strcmp(hex, entry->file.sha256)) {
    unlink(path);
    unlink(parts);
    return etk_fail(e, ETK_E_FORMAT, "%s: what came has the SHA-256 %s, the hub says %s; it was thrown away, try again", entry->file.name, hex, entry->file.sha256);
  }
  int fd = status ? -1 : open(path, O_RDONLY | O_CLOEXEC);
  if (!status && (fd < 0 || fsync(fd) != 0 || rename(path, entry->blob) != 0)) status = etk_fail_errno(e, errno, "%s", path);
  if (fd >= 0) close(fd);
  if (!status) unlink(parts);
  return status;
}

static etk_status fetch_all(etk_error *e, etk_pull *p) {
  const etk_pull_options *o = p->options;
  struct etk__fetch_item *items = etk_calloc(p->count, sizeof *items);
  struct entry **owners = etk_calloc(p->count, sizeof *owners);
  struct etk__fetch_options options = {.bearer = p->token, .connections = o->connections, .part_bytes = o->part_bytes, .progress = o->progress, .user = o->user};
  etk_status status = items && owners ? ETK_OK : etk_fail_memory(e);
  size_t count = 0;
  int64_t missing = 0;
  for (size_t i = 0; i < p->count && !status; i++) {
    struct entry *entry = &p->entries[i];
    status = look(e, p, entry);
    if (!status && !entry->file.cached && !(status = make_parent(e, entry->blob)) && !(status = lock_entry(e, p, entry)))
      status = look(e, p, entry); /* another download may have brought it meanwhile */
    if (status) break;
    options.total += entry->file.bytes;
    bool twice = false; /* two names of one blob */
    for (size_t k = 0; k < count; k++) twice |= !strcmp(owners[k]->blob, entry->blob);
    if (entry->file.cached || twice) {
      options.done_before += entry->file.bytes;
      continue;
    }
    missing += entry->file.bytes;
    items[count] = (struct etk__fetch_item){entry->file.name, entry->url, partial(p, entry), entry->file.bytes};
    owners[count] = entry;
    if (!items[count++].path) status = etk_fail_memory(e);
  }
  if (!status && count) status = etk_fs_need(e, *p->folder ? p->folder : p->repository, missing);
  if (!status) status = etk__fetch_files(e, items, count, &options, &p->fetched);
  bool whole = !status;
  for (size_t i = 0; i < count && (!status || whole); i++) { /* a bad one does not spoil the others */
    etk_error other = ETK_ERROR_INIT;
    etk_status finished = finish(status ? &other : e, p, owners[i]);
    if (!status) status = finished;
  }
  etk_free(owners);
  etk_free(items);
  return status;
}

/* ---- the snapshot: names that point to blobs ---- */
static etk_status link_entry(etk_error *e, etk_pull *p, const struct entry *entry) {
  const char *path = etk_arena_printf(&p->arena, "%s/%s", p->folder, entry->file.name);
  etk_text target = ETK_TEXT_INIT;
  char seen[512];
  etk_text_puts(&target, "../../");
  for (const char *c = entry->file.name; *c; c++)
    if (*c == '/') etk_text_puts(&target, "../");
  etk_text_printf(&target, "blobs/%s", entry->etag);
  etk_status status = !path || target.failed ? etk_fail_memory(e) : make_parent(e, path);
  ssize_t size = status ? -1 : readlink(path, seen, sizeof seen - 1);
  bool same = size > 0 && (size_t)size == target.size && !memcmp(seen, target.data, target.size);
  if (!status && !same) {
    const char *temporary = etk_arena_printf(&p->arena, "%s.etk-%lld", path, (long long)getpid());
    if (!temporary) status = etk_fail_memory(e);
    else if (symlink(target.data, temporary) != 0 || rename(temporary, path) != 0) status = etk_fail_errno(e, errno, "%s", path);
  }
  etk_text_free(&target);
  return status;
}

static etk_status link_all(etk_error *e, etk_pull *p) {
  p->folder = etk_arena_printf(&p->arena, "%s/snapshots/%s", p->repository, p->commit);
  if (!p->folder) return etk_fail_memory(e);
  etk_status status = etk_fs_make_dirs(e, p->folder);
  for (size_t i = 0; i < p->count && !status; i++) status = link_entry(e, p, &p->entries[i]);
  if (status || !strcmp(p->revision, p->commit)) return status;
  const char *ref = etk_arena_printf(&p->arena, "%s/refs/%s", p->repository, p->revision);
  if (!ref) return etk_fail_memory(e);
  if (!etk_path_is_inside(p->revision)) return etk_fail(e, ETK_E_INVALID, "'%s' is no name of a revision", p->revision);
  status = make_parent(e, ref);
  return status ? status : etk_fs_write(e, ref, p->commit, strlen(p->commit), true);
}

static etk_status offline(etk_error *e, etk_pull *p) {
  char *folder = NULL;
  if (p->options->folder || p->options->list_only)
    return etk_fail(e, ETK_E_UNAVAILABLE, "HF_HUB_OFFLINE is set: %s is not asked for %s", p->endpoint, p->id);
  etk_status status = etk_hub_find(e, &folder, p->id, p->revision, p->cache);
  if (status) return etk_error_while(e, status, "HF_HUB_OFFLINE is set");
  p->folder = etk_arena_strdup(&p->arena, folder);
  p->commit = etk_arena_strdup(&p->arena, etk_path_base(folder));
  etk_free(folder);
  return p->folder && p->commit ? ETK_OK : etk_fail_memory(e);
}

static etk_status pull(etk_error *e, etk_pull *p, const char *id) {
  etk_status status = set_out(e, p, id);
  if (status) return status;
  if (etk_hub_offline()) return offline(e, p);
  status = fetch_list(e, p);
  if (status) return status;
  if (p->options->list_only) {
    for (size_t i = 0; i < p->count; i++) p->entries[i].file.cached = is_whole(&p->entries[i]);
    return ETK_OK;
  }
  status = fetch_all(e, p);
  unlock(p);
  return status || *p->folder ? status : link_all(e, p);
}

etk_status etk_pull_run(etk_error *e, etk_pull **out, const char *id, const etk_pull_options *options) {
  static const etk_pull_options none = {0};
  *out = NULL;
  etk_pull *p = etk_calloc(1, sizeof *p);
  if (!p) return etk_fail_memory(e);
  p->options = options ? options : &none;
  etk_status status = pull(e, p, id);
  p->options = &none;
  if (status) etk_pull_free(p);
  else *out = p;
  return status;
}

void etk_pull_free(etk_pull *p) {
  if (!p) return;
  unlock(p);
  etk_arena_fini(&p->arena);
  etk_free(p);
}

const char *etk_pull_folder(const etk_pull *p) { return p->folder; }
const char *etk_pull_commit(const etk_pull *p) { return p->commit; }
size_t etk_pull_count(const etk_pull *p) { return p->count; }
const etk_pull_file *etk_pull_at(const etk_pull *p, size_t index) { return index < p->count ? &p->entries[index].file : NULL; }
int64_t etk_pull_fetched(const etk_pull *p) { return p->fetched; }
