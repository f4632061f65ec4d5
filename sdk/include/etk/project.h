/* etk/project.h: the ABI between the host and a project (a plugin, libproj-<namespace>.so).
 *
 * A command is a C function: what it works on are typed parameters, how it works are fields of a struct. One list per command makes the
 * struct, the prototype, the tables and the note in the file, so that they cannot differ:
 *
 *   #define GREET_ARGS(ARG)    ARG(text, name, REQUIRED, "1..40", "who is greeted")
 *   #define GREET_OPTIONS(OPT) OPT(int, times, "1", "1..9", "greeting", "n", 0, "how often")
 *   #define COMMANDS(CMD)      CMD(greet, GREET_ARGS, GREET_OPTIONS, 0, "Say hello")
 *   ETK_PROJECT("hello", "1.0.0", "A friendly example", COMMANDS)
 *   static etk_status greet_run(etk_run *run, const char *name, const struct greet_options *o) { … o->times … }
 *
 * Rows
 *   CMD(name, ARGUMENTS, OPTIONS, flags, summary)        the function is <name>_run; use ETK_NONE for an empty list
 *   ARG(kind, name, need, limits, help)                  need: REQUIRED, OPTIONAL or VARIADIC (the last one only)
 *   OPT(kind, name, default, limits, group, aliases, flags, help)
 * Names are C identifiers in lower case; on the command line '_' is written '-'. A default of "-" means unset: the field holds zero or NULL
 * and etk_run_given() says false. `group` is the option's section in configuration files ("training" gives training.learning_rate; "" the top
 * level). `aliases` are further names separated by spaces; one letter makes a short option ("n" gives -n).
 *
 * Kinds and C types (all borrowed, valid until the command returns)
 *   int       int64_t          real      double            flag      bool (--x, --no-x, --x=no)
 *   text      const char *     path      const char *      choice    const char *
 *   secret    const char *     from the environment or "@FILE" only; never recorded or logged
 *   size      int64_t bytes ("4GiB")                       duration  int64_t nanoseconds ("90s")
 *   ints      struct etk_ints  reals     struct etk_reals  texts     struct etk_texts   ("1,2,3", or given several times)
 *   map       struct etk_map_text ("key=value", several times)
 *
 * Limits (checked before the plugin is loaded; "" allows everything)
 *   numbers         alternatives separated by '|', each a value or a range: "4", "1..9", "0..", "..100"; '<' beside the dots leaves the
 *                   bound out: "0<..1" is above 0 and up to 1, "0..<1" is below 1
 *   sizes, durations the same with units: "1MiB..4GiB"
 *   choice          the words: "linear|cosine|constant"
 *   text, secret    a range of lengths in bytes: "1..2048"
 *   path            one of: exists, file, dir (must be there), new (its folder must be there)
 *   lists           the limits of each item
 * Escapes: in the note, fields are separated by a tab and rows end with a newline, so the strings of a row may hold neither; the two-character
 * sequences \t, \n, \| and \\ (in C source "\\t" …) stand for a tab, a newline, a '|' that separates nothing, and a backslash.
 *
 * Lifecycle. The host reads the note to list, help, complete and check without running plugin code. To run, it loads the file with
 * RTLD_NOW|RTLD_LOCAL, checks the vtable, calls init once (if any) on the main thread, then one command, then deinit if init succeeded.
 * init has no run: it may call the host's log and fail (whose message is why it failed) with a NULL run, and nothing else of the host.
 * A plugin is never unloaded. query(id) may be called between init and deinit and returns a static table or NULL.
 * All host services below may be called by the thread that runs the command; log, metric, progress and cancelled by any thread.
 *
 * Compatibility. Fields and functions are only appended; a struct's size says how much of it exists. Rows are found by stride. The exported
 * symbol carries the major version. Stable for all of 1.x. C11 and C++17; a plugin needs no library of ours for anything in this header. */
#ifndef ETK_PROJECT_H
#define ETK_PROJECT_H

#include "status.h"
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#ifdef __cplusplus
extern "C" {
#endif

#define ETK_ABI_MAJOR 1
#define ETK_ABI_MINOR 0
#define ETK_NOTE_REVISION 1
#define ETK_NOTE_NAME "etk"      /* ELF note name (4 bytes with its NUL) */
#define ETK_NOTE_TYPE 0x314B5445 /* "ETK1" */

/* ---- kinds ---- */
enum {
  ETK_KIND_int = 1, ETK_KIND_real, ETK_KIND_flag, ETK_KIND_text, ETK_KIND_path, ETK_KIND_choice, ETK_KIND_secret,
  ETK_KIND_size, ETK_KIND_duration, ETK_KIND_ints, ETK_KIND_reals, ETK_KIND_texts, ETK_KIND_map
};
struct etk_ints { const int64_t *items; size_t count; };
struct etk_reals { const double *items; size_t count; };
struct etk_texts { const char *const *items; size_t count; };
struct etk_map_text { const char *const *keys; const char *const *values; size_t count; };

/* ---- needs and flags: plain decimal numbers, since the note spells them out ---- */
enum { ETK_NEED_REQUIRED = 1, ETK_NEED_OPTIONAL = 2, ETK_NEED_VARIADIC = 3 };
#define ETK_TRACKED 1  /* command: every call is a run with a folder of its own */
#define ETK_HIDDEN 2   /* command, option: not listed, not completed */
#define ETK_ADVANCED 4 /* option: shown under --help-all */
#define ETK_LOCAL 8    /* option: not read from configuration files, profiles or the environment */

/* ---- where a value came from, weakest first ---- */
enum { ETK_FROM_UNSET = 0, ETK_FROM_DEFAULT, ETK_FROM_PROFILE, ETK_FROM_CONFIG, ETK_FROM_ENVIRONMENT, ETK_FROM_SET, ETK_FROM_COMMAND_LINE };

/* ---- rows: plain data, found by the strides in the vtable ---- */
typedef struct etk_argument_row {
  uint32_t kind, need;
  const char *name, *limits, *help;
} etk_argument_row;

typedef struct etk_option_row {
  uint32_t offset, size; /* of the field in the options struct, so that a host can fill kinds it knows in structs it does not know whole */
  uint32_t kind, flags;
  const char *name, *default_text, *limits, *group, *aliases, *help;
} etk_option_row;

typedef struct etk_command_row {
  const char *name, *summary;
  const etk_argument_row *arguments;
  const etk_option_row *options;
  uint32_t argument_count, option_count;
  uint32_t flags;
  uint32_t options_size; /* of the options struct */
  void (*run)(void);     /* etk_status <name>_run(etk_run *, arguments…, const struct <name>_options *) */
} etk_command_row;

typedef struct etk_host etk_host;
typedef struct etk_run etk_run;

typedef struct etk_project {
  uint32_t struct_size;
  uint16_t abi_major, abi_minor; /* that the plugin was built with */
  uint16_t host_minor;           /* oldest host minor it can live with */
  uint16_t reserved;
  uint32_t command_count;
  uint32_t command_stride, argument_stride, option_stride;
  uint32_t note_size;
  const void *note;              /* the note in this file, so that no linker drops it */
  const char *name_space, *version, *summary;
  const etk_command_row *commands;
  etk_status (*init)(const etk_host *host); /* may be NULL */
  void (*deinit)(void);                     /* may be NULL */
  const void *(*query)(const char *id);     /* may be NULL; ids are "etk.<noun>/<revision>" */
} etk_project;
#define ETK_PROJECT_SYMBOL "etk_project_v1"

/* ---- host services ---- */
typedef struct etk_cell { /* one value of a result row */
  const char *name;
  uint32_t kind; /* ETK_KIND_int, real, flag or text */
  int64_t integer;
  double real;
  const char *text; /* NULL is null */
} etk_cell;

struct etk_host { /* size-versioned: test ETK_HOST_HAS(host, field) for anything appended after 1.0 */
  uint32_t struct_size;
  uint16_t abi_major, abi_minor;
  const char *version; /* of the host */
  void (*log)(etk_run *run, int level, const char *message);
  void (*progress)(etk_run *run, const char *label, int64_t done, int64_t total, const char *note);
  int (*cancelled)(etk_run *run);
  void (*metric)(etk_run *run, const char *name, int64_t step, double value);
  void (*result)(etk_run *run, const etk_cell *value);
  void (*result_row)(etk_run *run, const char *table, const etk_cell *cells, size_t count);
  etk_status (*result_json)(etk_run *run, const char *name, const char *json);
  void (*artifact)(etk_run *run, const char *path, const char *type);
  int (*given)(etk_run *run, const char *name);
  void (*fail)(etk_run *run, etk_status status, const char *message);
  void (*text)(etk_run *run, const char *bytes, size_t size);
  const char *(*directory)(etk_run *run, int which);
};
#define ETK_HOST_HAS(host, field) ((host)->struct_size >= offsetof(struct etk_host, field) + sizeof((host)->field))

struct etk_run {
  const etk_host *host; /* the host's own data follows */
};

/* log levels: 0 debug, 1 info, 2 warning, 3 error. Recorded in the run; shown on stderr by the host's verbosity. */
static inline void etk_run_log(etk_run *run, int level, const char *format, ...) ETK_PRINTF(3, 4);
static inline void etk_run_log(etk_run *run, int level, const char *format, ...) {
  char message[ETK_ERROR_SIZE];
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(message, sizeof message, format, arguments);
  va_end(arguments);
  run->host->log(run, level, message);
}
/* Records why the command fails and returns `status`: `return etk_run_fail(run, ETK_E_FORMAT, "…")`. The first call wins; after it the command has
 * failed, whatever it returns. */
static inline etk_status etk_run_fail(etk_run *run, etk_status status, const char *format, ...) ETK_PRINTF(3, 4);
static inline etk_status etk_run_fail(etk_run *run, etk_status status, const char *format, ...) {
  char message[ETK_ERROR_SIZE];
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(message, sizeof message, format, arguments);
  va_end(arguments);
  run->host->fail(run, status, message);
  return status;
}
/* total 0: unknown; note may be NULL. Cheap: call it every step. */
static inline void etk_run_progress(etk_run *run, const char *label, int64_t done, int64_t total, const char *note) {
  run->host->progress(run, label, done, total, note);
}
/* True after Ctrl-C or SIGTERM: save what is worth saving and return ETK_E_CANCELLED. */
static inline bool etk_run_cancelled(etk_run *run) { return run->host->cancelled(run) != 0; }
/* One line of metrics.jsonl. Standard names: train_loss, validation_loss, learning_rate, tokens_per_second. */
static inline void etk_run_metric(etk_run *run, const char *name, int64_t step, double value) { run->host->metric(run, name, step, value); }

static inline etk_cell etk_cell_int(const char *name, int64_t value) { etk_cell c = {name, ETK_KIND_int, value, 0, NULL}; return c; }
static inline etk_cell etk_cell_real(const char *name, double value) { etk_cell c = {name, ETK_KIND_real, 0, value, NULL}; return c; }
static inline etk_cell etk_cell_flag(const char *name, bool value) { etk_cell c = {name, ETK_KIND_flag, value ? 1 : 0, 0, NULL}; return c; }
static inline etk_cell etk_cell_text(const char *name, const char *value) { etk_cell c = {name, ETK_KIND_text, 0, 0, value}; return c; }
/* Results, shown as a table or as the "results" object of --json. A name given twice keeps the last value. Text is UTF-8 and copied. */
static inline void etk_run_result_int(etk_run *run, const char *name, int64_t value) { etk_cell c = etk_cell_int(name, value); run->host->result(run, &c); }
static inline void etk_run_result_real(etk_run *run, const char *name, double value) { etk_cell c = etk_cell_real(name, value); run->host->result(run, &c); }
static inline void etk_run_result_flag(etk_run *run, const char *name, bool value) { etk_cell c = etk_cell_flag(name, value); run->host->result(run, &c); }
static inline void etk_run_result_text(etk_run *run, const char *name, const char *value) { etk_cell c = etk_cell_text(name, value); run->host->result(run, &c); }
/* A row of the named table: rows of a table share their cells' names. In --json an array of objects. */
static inline void etk_run_result_row(etk_run *run, const char *table, const etk_cell *cells, size_t count) { run->host->result_row(run, table, cells, count); }
/* Any JSON value, for what fits no table. */
static inline etk_status etk_run_result_json(etk_run *run, const char *name, const char *json) { return run->host->result_json(run, name, json); }
/* A file or folder that the command wrote; type: "model", "adapter", "data", "chart", "report". Hashed when the run ends. */
static inline void etk_run_artifact(etk_run *run, const char *path, const char *type) { run->host->artifact(run, path, type); }
/* Where an option's or argument's value came from (ETK_FROM_…); ETK_FROM_UNSET where it has none. */
static inline int etk_run_source(etk_run *run, const char *name) { return run->host->given(run, name); }
static inline bool etk_run_given(etk_run *run, const char *name) { return run->host->given(run, name) > ETK_FROM_DEFAULT; }
/* Text of the answer as it is made (a model that speaks): shown at once for a person, left out under --json. */
static inline void etk_run_text(etk_run *run, const char *bytes, size_t size) { run->host->text(run, bytes, size); }
/* The plugin's own data folder (<plugin folder>/<namespace>/), and the run's folder (NULL when untracked). */
static inline const char *etk_run_data_dir(etk_run *run) { return run->host->directory(run, 0); }
static inline const char *etk_run_dir(etk_run *run) { return run->host->directory(run, 1); }

#ifdef __cplusplus
}
#endif

/* ---- the machinery: nothing below is called by name, but ETK_NONE, ETK_PROJECT and ETK_PROJECT_WITH ---- */
#define ETK_NONE(ROW)

#define ETK__TYPE_int int64_t
#define ETK__TYPE_real double
#define ETK__TYPE_flag bool
#define ETK__TYPE_text const char *
#define ETK__TYPE_path const char *
#define ETK__TYPE_choice const char *
#define ETK__TYPE_secret const char *
#define ETK__TYPE_size int64_t
#define ETK__TYPE_duration int64_t
#define ETK__TYPE_ints struct etk_ints
#define ETK__TYPE_reals struct etk_reals
#define ETK__TYPE_texts struct etk_texts
#define ETK__TYPE_map struct etk_map_text
/* A variadic argument is a list of its kind. */
#define ETK__LIST_int struct etk_ints
#define ETK__LIST_real struct etk_reals
#define ETK__LIST_text struct etk_texts
#define ETK__LIST_path struct etk_texts
#define ETK__LIST_choice struct etk_texts
#define ETK__LIST_size struct etk_ints
#define ETK__LIST_duration struct etk_ints
#define ETK__PARAMETER_REQUIRED(kind) ETK__TYPE_##kind
#define ETK__PARAMETER_OPTIONAL(kind) ETK__TYPE_##kind
#define ETK__PARAMETER_VARIADIC(kind) ETK__LIST_##kind

#define ETK__STRING_(x) #x
#define ETK__STRING(x) ETK__STRING_(x)

#define ETK__PROTOTYPE_ARG(kind, name, need, limits, help) , ETK__PARAMETER_##need(kind) name
#define ETK__FIELD(kind, name, default_, limits, group, aliases, flags, help) ETK__TYPE_##kind name;
#define ETK__DECLARE(name, ARGS, OPTS, flags, summary)                                                            \
  struct name##_options { uint32_t struct_size, reserved; OPTS(ETK__FIELD) };                                     \
  static etk_status name##_run(etk_run *run ARGS(ETK__PROTOTYPE_ARG), const struct name##_options *options);

#define ETK__ARG_ROW(kind, name, need, limits, help) {ETK_KIND_##kind, ETK_NEED_##need, #name, limits, help},
/* A row of options needs the name of its struct, which only the command knows: OPTS(ETK__OPTION_ROW(greet)) puts the first half of the row
 * before each (kind, name, …), and the second half takes them. The first half must survive being passed through lists made of lists, so it has
 * balanced parentheses and no comma: offsetof is spelled the old way, with a null pointer that is never followed. */
#define ETK__OPTION_ROW(command) {(uint32_t)(size_t)&((struct command##_options *)0)->ETK__OPTION_REST
#define ETK__OPTION_REST(kind, name, default_, limits, group, aliases, flags, help) \
  name, (uint32_t)sizeof(ETK__TYPE_##kind), ETK_KIND_##kind, flags, #name, default_, limits, group, aliases, help},
#define ETK__TABLES(name, ARGS, OPTS, flags, summary)                                                             \
  static const etk_argument_row etk__arguments_##name[] = {ARGS(ETK__ARG_ROW){0, 0, 0, 0, 0}};                    \
  static const etk_option_row etk__options_##name[] = {OPTS(ETK__OPTION_ROW(name)){0, 0, 0, 0, 0, 0, 0, 0, 0, 0}};
#define ETK__COUNT(table) (uint32_t)(sizeof(table) / sizeof((table)[0]) - 1) /* each table ends with an empty row */
#define ETK__COMMAND_ROW(name, ARGS, OPTS, flags, summary)                                                        \
  {#name, summary, etk__arguments_##name, etk__options_##name, ETK__COUNT(etk__arguments_##name),                 \
   ETK__COUNT(etk__options_##name), flags, (uint32_t)sizeof(struct name##_options), (void (*)(void))name##_run},

/* The note: rows of fields separated by tabs. A reader skips rows it does not know and fields past those it knows. */
#define ETK__NOTE_ARG(kind, name, need, limits, help) "argument\t" #kind "\t" #name "\t" #need "\t" limits "\t" help "\n"
#define ETK__NOTE_OPT(kind, name, default_, limits, group, aliases, flags, help) \
  "option\t" #kind "\t" #name "\t" default_ "\t" limits "\t" group "\t" aliases "\t" ETK__STRING(flags) "\t" help "\n"
#define ETK__NOTE_COMMAND(name, ARGS, OPTS, flags, summary) \
  "command\t" #name "\t" ETK__STRING(flags) "\t" summary "\n" ARGS(ETK__NOTE_ARG) OPTS(ETK__NOTE_OPT)
#define ETK__NOTE_TEXT(ns, version, summary, COMMANDS, host_minor)                                                \
  "note\t" ETK__STRING(ETK_NOTE_REVISION) "\nproject\t" ns "\t" version "\t" ETK__STRING(ETK_ABI_MAJOR) "."       \
  ETK__STRING(ETK_ABI_MINOR) "\t" ETK__STRING(host_minor) "\t" summary "\n" COMMANDS(ETK__NOTE_COMMAND)

#if defined(__APPLE__)
#define ETK__NOTE_SECTION "__TEXT,__etk_note"
#else
#define ETK__NOTE_SECTION ".note.etk"
#endif
#if defined(__clang__) /* gcc leaves variables in named sections alone and does not know the attribute for them */
#define ETK__NO_REDZONE __attribute__((no_sanitize("address")))
#else
#define ETK__NO_REDZONE
#endif
#define ETK_EXPORT __attribute__((visibility("default")))
#ifdef __cplusplus
#define ETK__EXTERN_C extern "C"
#else
#define ETK__EXTERN_C extern
#endif

#define ETK_PROJECT(ns, version, summary, COMMANDS) ETK_PROJECT_WITH(ns, version, summary, COMMANDS, NULL, NULL, NULL)
#define ETK_PROJECT_WITH(ns, version, summary, COMMANDS, init, deinit, query)                                     \
  _Pragma("GCC diagnostic push") _Pragma("GCC diagnostic ignored \"-Woverlength-strings\"")                       \
  COMMANDS(ETK__DECLARE)                                                                                          \
  COMMANDS(ETK__TABLES)                                                                                           \
  static const etk_command_row etk__commands[] = {COMMANDS(ETK__COMMAND_ROW){0, 0, 0, 0, 0, 0, 0, 0, 0}};         \
  static const struct etk__note_layout {                                                                          \
    uint32_t name_size, text_size, type;                                                                          \
    char name[4];                                                                                                 \
    char text[sizeof(ETK__NOTE_TEXT(ns, version, summary, COMMANDS, 0))];                                         \
  } etk__note __attribute__((section(ETK__NOTE_SECTION), used, aligned(4))) ETK__NO_REDZONE = {                   \
      4, sizeof(ETK__NOTE_TEXT(ns, version, summary, COMMANDS, 0)), ETK_NOTE_TYPE, ETK_NOTE_NAME,                 \
      ETK__NOTE_TEXT(ns, version, summary, COMMANDS, 0)};                                                         \
  ETK__EXTERN_C ETK_EXPORT const etk_project etk_project_v1;                                                      \
  const etk_project etk_project_v1 = {                                                                            \
      (uint32_t)sizeof(etk_project), ETK_ABI_MAJOR, ETK_ABI_MINOR, 0, 0, ETK__COUNT(etk__commands),               \
      (uint32_t)sizeof(etk_command_row), (uint32_t)sizeof(etk_argument_row), (uint32_t)sizeof(etk_option_row),    \
      (uint32_t)sizeof(etk__note), &etk__note, ns, version, summary, etk__commands, init, deinit, query};         \
  _Pragma("GCC diagnostic pop")

#endif
