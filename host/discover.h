/* discover.h: where plugins are, which one a name means, and whether it may be trusted. No plugin code runs in this process. */
#ifndef DISCOVER_H
#define DISCOVER_H

#include "manifest.h"

/* The folders to search, first wins: --plugin-dir (repeatable), $EFFICIENTAI_PLUGIN_PATH (':'), $XDG_DATA_HOME/efficientai-toolkit/plugins, and
 * <executable>/../lib/efficientai-toolkit/plugins. */
struct search_path {
  etk_arena arena;
  const char **dirs;    /* absolute or as given; missing folders are kept (they are shown by --verbose) */
  const char **origins; /* "--plugin-dir", "$EFFICIENTAI_PLUGIN_PATH", "user", "install" */
  size_t count;
  const char **trusted; /* --trust-dir and $EFFICIENTAI_TRUST_DIRS */
  size_t trusted_count;
  struct folder_check *checks; /* one for each folder: trust.c opens and checks it at the first plugin that is opened in it */
};
etk_status search_path_init(etk_error *e, struct search_path *out, const char *const *plugin_dirs, size_t plugin_dir_count,
                            const char *const *trust_dirs, size_t trust_dir_count);
void search_path_fini(struct search_path *path);

/* One libproj-<namespace>.so. */
struct plugin {
  const char *name_space; /* from the file name */
  const char *path;
  const char *origin;     /* of its folder */
  size_t dir;             /* index in the search path */
  bool shadowed;          /* a folder before has the same namespace */
  const char *shadowed_by;/* its path */
};
struct plugin_list {
  etk_arena arena;
  struct plugin *items; /* sorted by namespace, then search order */
  size_t count;
};
/* Every plugin file in every folder (names only: one readdir per folder, nothing is opened). A folder that cannot be read is skipped with a log
 * line, except one named by --plugin-dir, which is an error. */
etk_status discover_all(etk_error *e, struct plugin_list *out, const struct search_path *path);
void plugin_list_free(struct plugin_list *list);
/* The first file for an exact namespace, without scanning the folders (one access per folder). ETK_E_NOT_FOUND without a message text of its own. */
etk_status discover_exact(etk_error *e, struct plugin *out, etk_arena *arena, const struct search_path *path, const char *name_space);

/* Opens for reading after the trust check by fstat on the opened file and its folder (behind a symbolic link, on the folder it leads to as well):
 * refused (ETK_E_PERMISSION, with the chmod or chown that mends it) when anyone may write to the file or folder, or its owner is neither root nor the
 * user; group-writable is reported and does not refuse. A sticky folder passes. */
struct trust {
  uint64_t device, inode, size;
  bool group_writable;
};
struct folder_check {
  bool open, trusted, group_writable;
  int fd;
};
etk_status plugin_open(etk_error *e, int *fd, struct trust *trust, const struct search_path *path, const struct plugin *plugin);
/* The rule itself, over what fstat says. kind: "file" or "folder". user: who runs us. */
struct stat;
etk_status trust_check(etk_error *e, const char *kind, const char *path, const struct stat *info, unsigned user);
/* Trust, then the note. A plugin without one is loaded and asked in a child process, and manifest->asked is set. Checks that the namespace is the file
 * name's and legal, and that this host speaks the ABI. */
etk_status plugin_manifest(etk_error *e, struct manifest *out, const struct search_path *path, const struct plugin *plugin);
/* A file named by the user (`check FILE.so`): fills a plugin and a search path that holds only its folder. */
etk_status plugin_from_file(etk_error *e, struct plugin *out, etk_arena *arena, const char *file);
/* The versions that a note and a vtable both state: ETK_E_UNSUPPORTED names what was seen, what this host speaks, and what to do. */
etk_status abi_check(etk_error *e, const char *file, unsigned abi_major, unsigned abi_minor, unsigned host_minor);

#endif
