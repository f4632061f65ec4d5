/* setup: whether this machine has what the toolkit needs, and the command that mends what it has not. */
#include "builtin.h"
#include "lazy.h"
#include "record.h"
#include "report.h"
#include "slot.h"
#include "values.h"
#include "versions.h"

#include <errno.h>
#include <etk/alloc.h>
#include <etk/config.h>
#include <etk/fs.h>
#include <etk/hardware.h>
#include <etk/tensor.h>
#include <spawn.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

#define SETUP_OPTIONS(OPT) OPT(flag, install, "no", "", "", "", ETK_LOCAL, "run the commands that mend what is missing")
#define COMMANDS(CMD) CMD(setup, ETK_NONE, SETUP_OPTIONS, BUILTIN_DRY_RUN, "Check this machine, make the folders and the default configuration; --dry-run only looks")
BUILTIN(setup, "Check this machine and mend what is missing", COMMANDS)

enum { ROWS_MOST = 48, WORDS_MOST = 12 };
enum state { OK, NOTE, SLOW, MISSING };
static const char *const state_names[] = {"ok", "optional", "slow", "missing"};

struct row {
  const char *name;
  enum state state;
  const char *found;
  const char *mend[WORDS_MOST]; /* the command that mends it, word by word */
};
struct setup {
  struct host *host;
  const struct setup_options *options;
  struct row rows[ROWS_MOST];
  size_t count;
};

static struct row *add(struct setup *s, const char *name, enum state state, const char *format, ...) ETK_PRINTF(4, 5);
static struct row *add(struct setup *s, const char *name, enum state state, const char *format, ...) {
  static struct row overflow;
  char text[ETK_ERROR_SIZE];
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(text, sizeof text, format, arguments);
  va_end(arguments);
  struct row *row = s->count < ROWS_MOST ? &s->rows[s->count++] : &overflow;
  const char *copy = etk_arena_strdup(&s->host->arena, text);
  *row = (struct row){.name = name, .state = state, .found = copy ? copy : "(out of memory)"};
  return row;
}

/* ---- packages ---- */

static const char *find_program(struct host *host, const char *name) {
  const char *p = getenv("PATH");
  while (p && *p) {
    size_t size = strcspn(p, ":");
    const char *path = etk_arena_printf(&host->arena, "%.*s/%s", (int)size, p, name);
    if (path && size && !access(path, X_OK) && !etk_fs_is_dir(path)) return path;
    p += size + (p[size] == ':');
  }
  return NULL;
}

static void add_words(struct setup *s, struct row *row, size_t n, const char *words) {
  while (*words && n + 1 < WORDS_MOST) {
    size_t size = strcspn(words, " ");
    row->mend[n++] = etk_arena_strndup(&s->host->arena, words, size);
    words += size + (words[size] == ' ');
  }
}

/* The packages that bring `debian` (or `brew` on a Mac), by the tool that is here; without one the row says only what is missing. */
static void mend_package(struct setup *s, struct row *row, const char *debian, const char *brew) {
  size_t n = 0;
  if (find_program(s->host, "apt-get")) {
    if (geteuid()) row->mend[n++] = "sudo";
    row->mend[n++] = "apt-get", row->mend[n++] = "install", row->mend[n++] = "-y";
    add_words(s, row, n, debian);
  } else if (find_program(s->host, "brew")) {
    row->mend[n++] = "brew", row->mend[n++] = "install";
    add_words(s, row, n, brew);
  }
}

/* ---- checks ---- */

static void check_machine(struct setup *s) {
  etk_hardware h;
  char memory[32];
  etk_hardware_get(&h);
  add(s, "machine", OK, "%s, %d of %d cores, %s", h.chip, h.usable_cores, h.logical_cores, etk_format_size(memory, sizeof memory, h.memory_bytes));
  bool x86 = !strcmp(h.architecture, "x86_64");
  if (x86 && h.isa == ETK_ISA_BASE) add(s, "instructions", SLOW, "no AVX2: models will be several times slower than on a processor of the last ten years");
  else add(s, "instructions", OK, "%s", etk_isa_name(etk_isa_active()));
  for (int i = 0; i < h.gpu_count; i++)
    add(s, "GPU", OK, "%s, %s%s%s", h.gpus[i].name, etk_format_size(memory, sizeof memory, h.gpus[i].memory_bytes), *h.gpus[i].driver ? ", driver " : "", h.gpus[i].driver);
  if (!h.gpu_count) add(s, "GPU", NOTE, "none that this version knows; everything runs on the CPU");
  if (!h.apple_silicon) return;
  struct row *row = add(s, "MLX", h.mlx_available ? OK : NOTE, "%s", h.mlx_available ? "found" : "not found; it is not needed");
  if (!h.mlx_available) mend_package(s, row, "mlx", "mlx");
}

/* One of our own libraries, opened, with the version of what it stands on: `symbol` gives a text. */
static void check_library(struct setup *s, const char *name, const char *library, const char *probe, const char *symbol, const char *what, const char *debian, const char *brew) {
  etk_error e = ETK_ERROR_INIT;
  const char *(*version)(void) = NULL;
  if (!lazy_symbol(&e, library, probe)) {
    mend_package(s, add(s, name, MISSING, "%s", e.message), debian, brew);
    return;
  }
  void *found = symbol ? lazy_symbol(NULL, library, symbol) : NULL;
  if (found) memcpy(&version, &found, sizeof version);
  add(s, name, OK, "%s%s%s", what, version ? " " : "", version ? version() : "");
}

static void check_blas(struct setup *s) {
  etk_error e = ETK_ERROR_INIT;
  etk_blas blas;
  __typeof__(&etk_blas_get) get = LAZY(&e, "libetk-ml.so.0", etk_blas_get);
  if (!get) return; /* told by the row of libetk-ml */
  get(&blas);
  if (blas.kind == ETK_BLAS_NONE) mend_package(s, add(s, "BLAS", SLOW, "none; our own kernels stand in, two to four times slower in training"), "libopenblas0-pthread", "openblas");
  else if (blas.kind == ETK_BLAS_REFERENCE) mend_package(s, add(s, "BLAS", SLOW, "%s is the reference one, a hundred times slower than OpenBLAS", blas.library), "libopenblas0-pthread", "openblas");
  else add(s, "BLAS", OK, "%s%s%s", *blas.version ? blas.version : blas.library, *blas.version ? ", " : "", *blas.version ? blas.library : "");
}

static void check_libraries(struct setup *s) {
  add(s, "libraries", OK, "jansson %s, libyaml %s, %s", version_jansson(), version_yaml(), version_ffi());
  check_library(s, "tensors", "libetk-ml.so.0", "etk_tensor_unref", NULL, "libetk-ml", "libpcre2-8-0 libutf8proc2", "pcre2");
  check_blas(s);
  check_library(s, "archives", "libetk-io.so.0", "etk_archive_create", "archive_version_string", "libetk-io,", "libarchive13", "libarchive");
  check_library(s, "downloads", "libetk-net.so.0", "etk_pull_run", NULL, "libetk-net", "libcurl4", "curl");
  check_library(s, "charts", "libetk-media.so.0", "etk_chart_svg", NULL, "libetk-media", "libpng16-16", "libpng");
  if (lazy_symbol(NULL, "libedit.so.2", "el_init") || lazy_symbol(NULL, "libedit.dylib", "el_init")) add(s, "shell", OK, "line editing by libedit");
  else mend_package(s, add(s, "shell", NOTE, "libedit is not here: the interactive shell has no history and no completion"), "libedit2", "libedit");
}

static void check_program(struct setup *s, const char *label, const char *program, const char *use, const char *debian, const char *brew) {
  const char *path = find_program(s->host, program);
  if (path) add(s, label, OK, "%s", path);
  else mend_package(s, add(s, label, NOTE, "%s is not here: %s", program, use), debian, brew);
}

/* Makes the folder where it may; says what keeps it from being used. */
static void check_folder(struct setup *s, const char *label, const char *path, bool code) {
  etk_error e = ETK_ERROR_INIT;
  struct stat info;
  char room[32];
  if (!path) {
    add(s, label, MISSING, "no folder: neither HOME nor the XDG variable is set");
    return;
  }
  bool there = etk_fs_is_dir(path);
  if (!there && !s->host->dry_run && etk_fs_make_dirs(&e, path)) {
    add(s, label, MISSING, "%s", e.message);
    return;
  }
  if (!there && s->host->dry_run) {
    add(s, label, NOTE, "%s is not there; setup makes it", path);
    return;
  }
  if (access(path, W_OK | X_OK)) {
    struct row *row = add(s, label, MISSING, "%s: %s", path, strerror(errno));
    row->mend[0] = "chmod", row->mend[1] = "u+rwx", row->mend[2] = path;
    return;
  }
  if (code && !stat(path, &info) && info.st_mode & (S_IWGRP | S_IWOTH)) {
    struct row *row = add(s, label, MISSING, "%s: others may write there (mode %o), so no plugin in it is trusted", path, (unsigned)info.st_mode & 07777u);
    row->mend[0] = "chmod", row->mend[1] = "go-w", row->mend[2] = path;
    return;
  }
  int64_t free_bytes = etk_fs_free_bytes(path);
  bool little = free_bytes >= 0 && free_bytes < 64 << 20;
  add(s, label, little ? SLOW : OK, "%s%s%s%s", path, free_bytes < 0 ? "" : ", ", free_bytes < 0 ? "" : etk_format_size(room, sizeof room, free_bytes), free_bytes < 0 ? "" : " free");
}

static const char *below(struct host *host, const char *which, const char *rest) {
  char *root = etk_path_xdg(which);
  const char *path = root ? etk_arena_printf(&host->arena, "%s/efficientai-toolkit%s", root, rest) : NULL;
  etk_free(root);
  return path;
}

static void check_folders(struct setup *s) {
  check_folder(s, "runs", state_dir(NULL, s->host), false);
  check_folder(s, "plugins", below(s->host, "data", "/plugins"), true);
  check_folder(s, "cache", below(s->host, "cache", ""), false);
  check_folder(s, "settings", below(s->host, "config", ""), false);
}

/* The user's file against every project that can be asked; one that cannot has a row of its own. */
static etk_status check_file(etk_error *e, struct host *host, const char *path) {
  struct plugin_list list = {0};
  if (discover_all(NULL, &list, &host->path)) list.count = 0; /* told by the row of projects */
  struct manifest *manifests = etk_calloc(list.count + 1, sizeof *manifests);
  size_t count = 0;
  for (size_t i = 0; manifests && i < list.count; i++)
    if (!list.items[i].shadowed && !plugin_manifest(NULL, &manifests[count], &host->path, &list.items[i])) count++;
  etk_status status = manifests ? config_check(e, host, path, manifests, count) : etk_fail_memory(e);
  for (size_t i = 0; i < count; i++) manifest_fini(&manifests[i]);
  etk_free(manifests);
  plugin_list_free(&list);
  return status;
}

static void check_configuration(struct setup *s) {
  etk_error e = ETK_ERROR_INIT;
  const char *path = NULL;
  const char *stem;
  struct resolver resolver = {.host = s->host};
  if (config_user_path(&e, &path, &resolver, &stem)) {
    add(s, "configuration", MISSING, "%s", e.message);
    return;
  }
  if (path) {
    if (check_file(&e, s->host, path)) add(s, "configuration", MISSING, "%s", e.message);
    else add(s, "configuration", OK, "%s", path);
    return;
  }
  path = below(s->host, "config", "/config.yaml");
  etk_text text = ETK_TEXT_INIT;
  if (!path || s->host->dry_run) add(s, "configuration", NOTE, "none; setup writes %s", path ? path : "one");
  else if (config_skeleton(&e, &text, s->host, ETK_CONFIG_YAML, false) || etk_fs_write(&e, path, text.data, text.size, false)) add(s, "configuration", MISSING, "%s", e.message);
  else add(s, "configuration", OK, "%s, written now; everything in it is a comment", path);
  etk_text_free(&text);
}

static void check_plugins(struct setup *s) {
  struct plugin_list list;
  etk_error e = ETK_ERROR_INIT;
  size_t found = 0;
  const char *broken = NULL;
  if (discover_all(&e, &list, &s->host->path)) {
    add(s, "projects", MISSING, "%s", e.message);
    return;
  }
  for (size_t i = 0; i < list.count; i++) {
    struct manifest manifest;
    if (list.items[i].shadowed) continue;
    found++;
    if (!plugin_manifest(&e, &manifest, &s->host->path, &list.items[i])) manifest_fini(&manifest);
    else if (!broken) broken = etk_arena_strdup(&s->host->arena, e.message);
  }
  if (broken) add(s, "projects", SLOW, "%zu, but: %s", found, broken);
  else if (found) add(s, "projects", OK, "%zu", found);
  else add(s, "projects", NOTE, "none yet; 'efficientai-toolkit new NAME' makes one");
  plugin_list_free(&list);
}

/* ---- mending ---- */

static void show_command(etk_text *out, const struct row *row) {
  for (size_t i = 0; row->mend[i]; i++) etk_text_printf(out, "%s%s", i ? " " : "", row->mend[i]);
}

/* No shell: the words are ours. Its output goes to stderr, where conversation goes. */
static etk_status run_command_of(etk_error *e, const struct row *row) {
  posix_spawn_file_actions_t actions;
  pid_t pid;
  int status = 0;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, STDERR_FILENO, STDOUT_FILENO);
  int reason = posix_spawnp(&pid, row->mend[0], &actions, NULL, (char *const *)(uintptr_t)row->mend, environ);
  posix_spawn_file_actions_destroy(&actions);
  if (reason) return etk_fail_errno(e, reason, "cannot run %s", row->mend[0]);
  while (waitpid(pid, &status, 0) < 0)
    if (errno != EINTR) return etk_fail_errno(e, errno, "cannot wait for %s", row->mend[0]);
  if (WIFEXITED(status) && !WEXITSTATUS(status)) return ETK_OK;
  return etk_fail(e, ETK_E_IO, "%s ended with status %d", row->mend[0], WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status));
}

static size_t mend_all(struct setup *s) {
  size_t mended = 0;
  for (size_t i = 0; i < s->count; i++) {
    const struct row *row = &s->rows[i];
    etk_error e = ETK_ERROR_INIT;
    etk_text command = ETK_TEXT_INIT;
    if (!row->mend[0]) continue;
    show_command(&command, row);
    host_note(s->host, "%s%s", s->host->dry_run ? "would run: " : "running: ", command.failed ? row->mend[0] : command.data);
    etk_text_free(&command);
    if (s->host->dry_run) continue;
    if (run_command_of(&e, row)) host_warn(s->host, "%s: %s", row->name, e.message);
    else mended++;
  }
  return mended;
}

/* ---- what came out ---- */

static void check_all(struct setup *s) {
  s->count = 0;
  check_machine(s);
  check_libraries(s);
  check_program(s, "remote", "ssh", "--remote cannot reach other machines", "openssh-client", "openssh");
  check_program(s, "compiler", "cc", "projects of your own cannot be built here", "gcc", "gcc");
  check_folders(s);
  check_configuration(s);
  check_plugins(s);
}

static void print_person(const struct setup *s) {
  bool color = s->host->out_color;
  for (size_t i = 0; i < s->count; i++) {
    const struct row *row = &s->rows[i];
    const char *style = !color ? "" : row->state == MISSING ? STYLE_RED : row->state == SLOW ? STYLE_YELLOW : row->state == NOTE ? STYLE_DIM : "";
    int width = terminal_width();
    bool narrow = width && width < 60;
    size_t column = narrow ? 2 : 25;
    printf("%s%-*s%s", style, narrow ? 0 : 8, state_names[row->state], *style ? STYLE_RESET : "");
    if (narrow) {
      putchar(' ');
      print_folded(row->name, strlen(state_names[row->state]) + 1, column);
      printf("\n%*s", (int)column, "");
    } else printf("  %s%-13s%s  ", color ? STYLE_BOLD : "", row->name, color ? STYLE_RESET : "");
    print_folded(row->found, column, column);
    putchar('\n');
    if (!row->mend[0]) continue;
    etk_text command = ETK_TEXT_INIT;
    show_command(&command, row);
    printf("%*s", (int)column, "");
    print_folded(command.failed ? "" : command.data, column, column + 2);
    putchar('\n');
    etk_text_free(&command);
  }
}

static void print_json(struct setup *s, size_t missing, const etk_error *e) {
  etk_text text = ETK_TEXT_INIT;
  etk_text_printf(&text, "{\"ready\":%s,\"checks\":[", missing ? "false" : "true");
  for (size_t i = 0; i < s->count; i++) {
    const struct row *row = &s->rows[i];
    etk_text_puts(&text, i ? ",{\"name\":" : "{\"name\":");
    put_json(&text, row->name);
    etk_text_printf(&text, ",\"state\":\"%s\",\"found\":", state_names[row->state]);
    put_json(&text, row->found);
    etk_text_puts(&text, ",\"mend\":[");
    for (size_t w = 0; row->mend[w]; w++) {
      if (w) etk_text_putc(&text, ',');
      put_json(&text, row->mend[w]);
    }
    etk_text_puts(&text, "]}");
  }
  etk_text_puts(&text, "]}");
  host_print_document(s->host, "setup", missing ? "failed" : "ok", text.failed ? NULL : text.data, missing ? e : NULL);
  etk_text_free(&text);
}

static int setup_run(struct host *host, const struct setup_options *o) {
  struct setup s = {.host = host, .options = o};
  etk_error e = ETK_ERROR_INIT;
  size_t missing = 0, mendable = 0;
  check_all(&s);
  if (o->install && mend_all(&s)) check_all(&s);
  for (size_t i = 0; i < s.count; i++) {
    missing += s.rows[i].state == MISSING;
    mendable += s.rows[i].state != OK && s.rows[i].mend[0];
  }
  if (missing) etk_fail(&e, ETK_E_UNAVAILABLE, "%zu thing%s missing", missing, missing == 1 ? " is" : "s are");
  if (host->json) print_json(&s, missing, &e);
  else {
    print_person(&s);
    fflush(stdout);
    if (missing) return host_error(host, &e, 0, mendable && !o->install ? "'efficientai-toolkit setup --install' runs the commands above\n" : NULL);
    host_note(host, "ready%s", mendable && !o->install ? "; 'setup --install' would run the commands above" : "");
  }
  return missing ? etk_status_exit_code(e.status) : 0;
}
