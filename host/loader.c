/* loader.c: dlopen and the handshake. The order is that of trust: what is read first says how to read the rest. */
#include "loader.h"

#include "lazy.h"

#include <dlfcn.h>
#include <etk/log.h>
#include <sys/stat.h>

/* Up to and with the last field that 1.0 had: later fields are read only where a struct's size or stride says that they exist. */
#define END(type, field) (offsetof(type, field) + sizeof(((type *)0)->field))
enum {
  PROJECT_SIZE = END(etk_project, query),
  COMMAND_SIZE = END(etk_command_row, run),
  ARGUMENT_SIZE = END(etk_argument_row, help),
  OPTION_SIZE = END(etk_option_row, help),
  OPTIONS_HEAD = 8, /* struct_size and reserved, which begin every options struct */
  MOST_COMMANDS = 4096,
  MOST_ARGUMENTS = 64,
  MOST_OPTIONS = 1024,
  MAJORS = 9 /* symbols of other majors that are looked for */
};

static const struct {
  uint32_t size, alignment;
} fields[] = {
#define FIELD(kind) [ETK_KIND_##kind] = {sizeof(ETK__TYPE_##kind), _Alignof(ETK__TYPE_##kind)}
    FIELD(int),  FIELD(real),     FIELD(flag), FIELD(text),  FIELD(path),  FIELD(choice), FIELD(secret),
    FIELD(size), FIELD(duration), FIELD(ints), FIELD(reals), FIELD(texts), FIELD(map)};

/* ---- opening ---- */

/* The text between two marks of a message of the system's loader; false: it does not have them. */
static bool between(char *out, size_t size, const char *text, const char *before, const char *after) {
  const char *start = strstr(text, before);
  if (!start) return false;
  start += strlen(before);
  const char *end = *after ? strstr(start, after) : start + strcspn(start, ",)\n");
  if (!end || end == start) return false;
  snprintf(out, size, "%.*s", (int)(end - start), start);
  return true;
}

/* The library that was missing, by what the system's loader said; "" where something else failed. */
static void missing_library(char *out, size_t size, const char *path, const char *reason) {
  const char *opening = strstr(reason, ": cannot open shared object file");
  bool other = opening && strncmp(reason, path, (size_t)(opening - reason));
  snprintf(out, size, "%.*s", other ? (int)(opening - reason) : 0, reason);
}

/* A plugin needs no run path to our libraries: those that it names and the system does not find are opened from beside libetk, and then are there by name. */
static void *open_plugin(const char *path, char *reason, size_t size) {
  for (int tries = 0; tries < 8; tries++) {
    char name[256];
    void *handle = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (handle) return handle;
    const char *why = dlerror();
    snprintf(reason, size, "%s", why ? why : "it gives no reason");
    missing_library(name, sizeof name, path, reason);
    if (strncmp(name, "libetk", 6) || !lazy_open_ours(name)) return NULL;
  }
  return NULL;
}

static etk_status open_failed(etk_error *e, const char *path, const char *reason) {
  char name[256];
  if (between(name, sizeof name, reason, "undefined symbol: ", "") || between(name, sizeof name, reason, "Symbol not found: ", ""))
    return etk_fail(e, ETK_E_UNSUPPORTED, "%s: uses the symbol '%s', which none of the libraries it names has: %s", path, name,
                    strncmp(name, "etk_", 4) ? "link the library that defines it" : "it was built for a newer SDK: update efficientai-toolkit, or build it against this one");
  if (between(name, sizeof name, reason, "version `", "' not found"))
    return etk_fail(e, ETK_E_UNSUPPORTED, "%s: was built for a newer library (it wants the version %s): update that library, or build the plugin against this one", path, name);
  missing_library(name, sizeof name, path, reason);
  if (*name) {
    return etk_fail(e, ETK_E_UNAVAILABLE, "%s: needs the library %s, which is not installed: install it, or name its folder in LD_LIBRARY_PATH", path, name);
  }
  if (between(name, sizeof name, reason, "Library not loaded: ", "\n"))
    return etk_fail(e, ETK_E_UNAVAILABLE, "%s: needs the library %s, which is not installed: install it, or name its folder in DYLD_LIBRARY_PATH", path, name);
  size_t n = strlen(path);
  if (!strncmp(reason, path, n) && reason[n] == ':') reason += n + 1 + (reason[n + 1] == ' ');
  return etk_fail(e, ETK_E_FORMAT, "%s: the system cannot load it: %s", path, reason);
}

static etk_status same_file(etk_error *e, const char *path, const struct manifest *manifest) {
  struct stat info;
  if (!manifest || !manifest->file_inode) return ETK_OK;
  if (!stat(path, &info) && (uint64_t)info.st_dev == manifest->file_device && (uint64_t)info.st_ino == manifest->file_inode) return ETK_OK;
  return etk_fail(e, ETK_E_PERMISSION, "%s: was replaced between the check and the loading, so it is not run: try again", path);
}

static etk_status no_symbol(etk_error *e, void *handle, const char *path) {
  char name[32];
  for (int major = 0; major <= MAJORS; major++) {
    snprintf(name, sizeof name, "etk_project_v%d", major);
    if (major != ETK_ABI_MAJOR && dlsym(handle, name))
      return etk_fail(e, ETK_E_UNSUPPORTED, "%s: offers %s, of plugin ABI %d; this host speaks ABI %d (%s): %s", path, name, major, ETK_ABI_MAJOR, ETK_PROJECT_SYMBOL,
                      major > ETK_ABI_MAJOR ? "update efficientai-toolkit, or get the plugin built for ABI 1" : "build the plugin again with this version's headers");
  }
  return etk_fail(e, ETK_E_FORMAT, "%s: has no symbol %s: is it a plugin? It needs ETK_PROJECT(…) in one source file, and no link option that hides that symbol", path,
                  ETK_PROJECT_SYMBOL);
}

/* ---- handshake ---- */

static etk_status check_stride(etk_error *e, const char *path, const char *noun, uint32_t stride, uint32_t least) {
  if (stride < least)
    return etk_fail(e, ETK_E_FORMAT, "%s: its rows of %s have %u bytes, those of ABI 1.0 have %u: build the plugin with the SDK's header, unchanged", path, noun, stride, least);
  if (stride % 8) return etk_fail(e, ETK_E_FORMAT, "%s: its rows of %s have %u bytes, which is no multiple of 8: the table is damaged", path, noun, stride);
  return ETK_OK;
}

static etk_status check_head(etk_error *e, const char *path, const etk_project *p) {
  if (p->struct_size < 8) return etk_fail(e, ETK_E_FORMAT, "%s: its table has %u bytes, that of ABI 1.0 has %d: build the plugin with the SDK's header", path, p->struct_size, PROJECT_SIZE);
  etk_status status = p->abi_major == ETK_ABI_MAJOR ? ETK_OK : abi_check(e, path, p->abi_major, p->abi_minor, 0);
  if (!status && p->struct_size < PROJECT_SIZE)
    status = etk_fail(e, ETK_E_FORMAT, "%s: its table has %u bytes, that of ABI 1.0 has %d: build the plugin with the SDK's header", path, p->struct_size, PROJECT_SIZE);
  if (!status) status = abi_check(e, path, p->abi_major, p->abi_minor, p->host_minor);
  if (!status) status = check_stride(e, path, "commands", p->command_stride, COMMAND_SIZE);
  if (!status) status = check_stride(e, path, "arguments", p->argument_stride, ARGUMENT_SIZE);
  if (!status) status = check_stride(e, path, "options", p->option_stride, OPTION_SIZE);
  if (!status && p->command_count > MOST_COMMANDS) status = etk_fail(e, ETK_E_FORMAT, "%s: declares %u commands, at most %d are allowed", path, p->command_count, MOST_COMMANDS);
  if (!status && p->command_count && !p->commands) status = etk_fail(e, ETK_E_FORMAT, "%s: declares %u commands and its table of commands is NULL", path, p->command_count);
  return status;
}

static const char *or_unnamed(const char *name) { return name ? name : "(no name)"; }

static etk_status unknown_kind(etk_error *e, const char *path, const char *command, const char *noun, const char *name, uint32_t kind) {
  return etk_fail(e, ETK_E_UNSUPPORTED, "%s: command '%s', %s '%s': its kind has the number %u, this host (ABI %d.%d) knows 1 to %d: update efficientai-toolkit", path, command, noun,
                  or_unnamed(name), kind, ETK_ABI_MAJOR, ETK_ABI_MINOR, ETK_KIND_map);
}

static etk_status check_option(etk_error *e, const char *path, const char *command, const etk_command_row *row, const etk_option_row *option) {
  const char *name = or_unnamed(option->name);
  if (!etk_kind_name(option->kind)) return unknown_kind(e, path, command, "option", name, option->kind);
  if (option->offset < OPTIONS_HEAD || option->offset > row->options_size || option->size > row->options_size - option->offset)
    return etk_fail(e, ETK_E_FORMAT, "%s: command '%s', option '%s': its field (%u bytes at %u) lies outside the options struct (bytes %d to %u)", path, command, name, option->size,
                    option->offset, OPTIONS_HEAD, row->options_size);
  if (option->size != fields[option->kind].size)
    return etk_fail(e, ETK_E_FORMAT, "%s: command '%s', option '%s': its field has %u bytes, one of kind %s has %u: the struct's type and the row's kind differ", path, command, name,
                    option->size, etk_kind_name(option->kind), fields[option->kind].size);
  if (option->offset % fields[option->kind].alignment)
    return etk_fail(e, ETK_E_FORMAT, "%s: command '%s', option '%s': its field lies at byte %u, which is no multiple of %u", path, command, name, option->offset,
                    fields[option->kind].alignment);
  return ETK_OK;
}

static etk_status check_rows(etk_error *e, const char *path, const etk_project *p) {
  for (uint32_t c = 0; c < p->command_count; c++) {
    const etk_command_row *row = (const void *)((const char *)p->commands + (size_t)c * p->command_stride);
    const char *command = or_unnamed(row->name);
    if (!row->run) return etk_fail(e, ETK_E_FORMAT, "%s: command '%s' has no function (NULL)", path, command);
    if (row->argument_count > MOST_ARGUMENTS || row->option_count > MOST_OPTIONS)
      return etk_fail(e, ETK_E_FORMAT, "%s: command '%s' declares %u arguments and %u options, at most %d and %d are allowed", path, command, row->argument_count, row->option_count,
                      MOST_ARGUMENTS, MOST_OPTIONS);
    if ((row->argument_count && !row->arguments) || (row->option_count && !row->options))
      return etk_fail(e, ETK_E_FORMAT, "%s: command '%s' declares %u %s and their table is NULL", path, command, row->arguments ? row->option_count : row->argument_count,
                      row->arguments ? "options" : "arguments");
    if (row->options_size < OPTIONS_HEAD)
      return etk_fail(e, ETK_E_FORMAT, "%s: command '%s': its options struct has %u bytes, at least %d are wanted (struct_size and reserved)", path, command, row->options_size,
                      OPTIONS_HEAD);
    for (uint32_t i = 0; i < row->argument_count; i++) {
      const etk_argument_row *argument = (const void *)((const char *)row->arguments + (size_t)i * p->argument_stride);
      if (!etk_kind_name(argument->kind)) return unknown_kind(e, path, command, "argument", argument->name, argument->kind);
    }
    for (uint32_t i = 0; i < row->option_count; i++) {
      etk_status status = check_option(e, path, command, row, (const void *)((const char *)row->options + (size_t)i * p->option_stride));
      if (status) return status;
    }
  }
  return ETK_OK;
}

static etk_status check_names(etk_error *e, const struct plugin *plugin, const etk_project *project, const struct manifest *manifest) {
  struct manifest table;
  etk_status status = manifest_from_project(e, &table, project);
  if (!status && strcmp(table.name_space, plugin->name_space))
    status = etk_fail(e, ETK_E_FORMAT, "the file is named for '%s' and the plugin calls itself '%s': rename the file to libproj-%s.so", plugin->name_space, table.name_space,
                      table.name_space);
  if (!status) status = manifest_usable(e, &table);
  if (!status && manifest && !manifest->asked && (status = manifest_equal(e, manifest, &table))) etk_error_while(e, status, "its note and its table differ");
  manifest_fini(&table);
  return status ? etk_error_while(e, status, "%s", plugin->path) : ETK_OK;
}

etk_status plugin_load(etk_error *e, struct loaded *out, const struct plugin *plugin, const struct manifest *manifest) {
  *out = (struct loaded){0};
  etk_status status = same_file(e, plugin->path, manifest);
  if (status) return status;
  if (manifest && manifest->group_writable)
    etk_log(ETK_LOG_WARNING, "%s: its group may write to the file or its folder (to mend it: chmod g-w on both)", plugin->path);
  char reason[1024];
  out->handle = open_plugin(plugin->path, reason, sizeof reason);
  if (!out->handle) return open_failed(e, plugin->path, reason);
  if ((status = same_file(e, plugin->path, manifest))) return status;
  const etk_project *project = dlsym(out->handle, ETK_PROJECT_SYMBOL);
  if (!project) return no_symbol(e, out->handle, plugin->path);
  status = check_head(e, plugin->path, project);
  if (!status) status = check_rows(e, plugin->path, project);
  if (!status) status = check_names(e, plugin, project, manifest);
  if (!status) out->project = project;
  return status;
}

/* ---- life ---- */

/* init runs on the main thread, once in a process: see host services in etk/project.h. */
static etk_error init_error;

void plugin_init_said(etk_status status, const char *message) {
  if (!init_error.message[0]) etk_fail(&init_error, status ? status : ETK_E_INTERNAL, "%s", message ? message : "");
}

etk_status plugin_init(etk_error *e, struct loaded *loaded, const etk_host *host) {
  if (loaded->initialised) return ETK_OK;
  etk_error_clear(&init_error);
  etk_status status = loaded->project->init ? loaded->project->init(host) : ETK_OK;
  if (!status) {
    loaded->initialised = true;
    return ETK_OK;
  }
  /* The number comes from the plugin: only known ones are handed on. */
  etk_status known = status > ETK_OK && status <= ETK_E_INTERNAL ? status : ETK_E_INTERNAL;
  return etk_fail(e, known, "%s could not start: %s", loaded->project->name_space, init_error.message[0] ? init_error.message : etk_status_name(known));
}

void plugin_deinit(struct loaded *loaded) {
  if (!loaded->initialised) return;
  loaded->initialised = false;
  if (loaded->project->deinit) loaded->project->deinit();
}
