/* git.c: which commit a folder is at, read from the repository's files: HEAD, loose refs, packed-refs, and the "gitdir:" files of work trees and
 * submodules. Git is not started. A repository whose refs are in another format (reftable) reads as none. */
#include "record.h"

#include <ctype.h>
#include <etk/fs.h>

#define REF_LIMIT (4u << 10)
#define PACKED_LIMIT (16u << 20)

/* The file's first line, cut to size; false where it cannot be read. */
static bool first_line(char *out, size_t size, const char *dir, const char *name, size_t limit) {
  char path[4096], *text = NULL;
  size_t text_size = 0;
  if (snprintf(path, sizeof path, "%s/%s", dir, name) >= (int)sizeof path) return false;
  if (etk_fs_read(NULL, &text, &text_size, path, limit)) return false;
  snprintf(out, size, "%.*s", (int)strcspn(text, "\r\n"), text);
  etk_free(text);
  return true;
}

static bool is_commit(const char *text) {
  size_t size = strspn(text, "0123456789abcdef");
  return (size == 40 || size == 64) && !text[size];
}

/* A path written in a file of `base`: relative ones start there. */
static bool join(char *out, size_t size, const char *base, const char *path) {
  return (*path == '/' ? snprintf(out, size, "%s", path) : snprintf(out, size, "%s/%s", base, path)) < (int)size;
}

static bool packed_ref(char commit[65], const char *dir, const char *ref) {
  char path[4096], *text = NULL;
  size_t size = 0, length = strlen(ref);
  bool found = false;
  if (snprintf(path, sizeof path, "%s/packed-refs", dir) >= (int)sizeof path || etk_fs_read(NULL, &text, &size, path, PACKED_LIMIT)) return false;
  for (const char *line = text; !found && *line;) {
    size_t end = strcspn(line, "\n"), hex = strspn(line, "0123456789abcdef");
    if ((hex == 40 || hex == 64) && line[hex] == ' ' && end == hex + 1 + length && !memcmp(line + hex + 1, ref, length)) {
      snprintf(commit, 65, "%.*s", (int)hex, line);
      found = true;
    }
    line += end + (line[end] == '\n');
  }
  etk_free(text);
  return found;
}

/* The .git of the nearest folder above: itself, or what its "gitdir:" names. */
static bool find_git(char *out, size_t size, const char *dir) {
  char at[4096], line[4096], path[4096];
  if (snprintf(at, sizeof at, "%s", dir) >= (int)sizeof at) return false;
  for (;;) {
    if (snprintf(path, sizeof path, "%s/.git", at) >= (int)sizeof path) return false;
    if (etk_fs_is_dir(path)) return snprintf(out, size, "%s", path) < (int)size;
    if (first_line(line, sizeof line, at, ".git", REF_LIMIT) && !strncmp(line, "gitdir: ", 8)) return join(out, size, at, line + 8);
    char *slash = strrchr(at, '/');
    if (!slash || (slash == at && !at[1])) return false;
    if (slash == at) at[1] = 0;
    else *slash = 0;
  }
}

bool git_read(struct git_state *out, const char *dir) {
  char git[4096], common[4096], line[4096], head[1024];
  *out = (struct git_state){0};
  if (!find_git(git, sizeof git, dir) || !first_line(head, sizeof head, git, "HEAD", REF_LIMIT)) return false;
  if (is_commit(head)) return snprintf(out->commit, sizeof out->commit, "%s", head) > 0;
  if (strncmp(head, "ref: ", 5)) return false;
  const char *ref = head + 5;
  /* A ref is a path below the repository; anything that climbs out of it is not one. */
  if (strstr(ref, "..") || *ref == '/') return false;
  if (!strncmp(ref, "refs/heads/", 11)) snprintf(out->branch, sizeof out->branch, "%.255s", ref + 11);
  if (!first_line(line, sizeof line, git, "commondir", REF_LIMIT) || !join(common, sizeof common, git, line))
    snprintf(common, sizeof common, "%s", git);
  const char *const places[] = {git, common};
  for (size_t i = 0; i < 2; i++)
    if (first_line(line, sizeof line, places[i], ref, REF_LIMIT) && is_commit(line))
      return snprintf(out->commit, sizeof out->commit, "%.64s", line) > 0;
  return packed_ref(out->commit, common, ref);
}
