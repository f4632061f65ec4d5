/* fake.c: a plugin whose note is right and whose table can be made wrong in any field by -D, or the other way round. fake.sh knows what each is for. */
#include <etk/project.h>
#include <stdlib.h>
#include <unistd.h>

#ifndef NS /* in note and table */
#define NS "fake"
#endif
#ifdef NO_NOTE /* an ordinary section that nobody reads */
#undef ETK__NOTE_SECTION
#define ETK__NOTE_SECTION ".data.rel.ro.fake"
#endif
#ifdef NEW_KIND
enum { ETK_KIND_tensor = 14 };
#define ETK__TYPE_tensor int64_t
#define OPT_LAST(OPT) OPT(tensor, weights, "-", "", "greeting", "", 0, "of a later ABI")
#elif defined(RESERVED)
#define OPT_LAST(OPT) OPT(flag, json, "no", "", "greeting", "", 0, "the host's own")
#elif defined(RESERVED_ALIAS)
#define OPT_LAST(OPT) OPT(flag, loud, "no", "", "greeting", "plugin-dir", 0, "the host's own")
#elif defined(DUPLICATE)
#define OPT_LAST(OPT) OPT(flag, loud, "no", "", "greeting", "times", 0, "a name that is taken")
#elif defined(CAPITAL)
#define OPT_LAST(OPT) OPT(flag, Loud, "no", "", "greeting", "", 0, "no legal name")
#else
#define OPT_LAST(OPT) OPT(flag, loud, "no", "", "greeting", "", 0, "in capitals")
#endif
#ifdef VARIADIC_FIRST
#define GREET_ARGS(ARG) ARG(text, names, VARIADIC, "1..40", "who is greeted") ARG(text, name, REQUIRED, "1..40", "who is greeted")
#elif defined(OPTIONAL_FIRST)
#define GREET_ARGS(ARG) ARG(text, title, OPTIONAL, "1..40", "how to call them") ARG(text, name, REQUIRED, "1..40", "who is greeted")
#else
#define GREET_ARGS(ARG) ARG(text, name, REQUIRED, "1..40", "who is greeted")
#endif
#define GREET_OPTIONS(OPT) OPT(int, times, "1", "1..9", "greeting", "n", 0, "how often") OPT_LAST(OPT)
#define COMMANDS(CMD) CMD(greet, GREET_ARGS, GREET_OPTIONS, 0, "Say hello")

/* The honest table gets another name; the exported one comes below. */
#define etk_project_v1 honest
ETK_PROJECT(NS, "1.0.0", "A plugin for tests", COMMANDS)
#undef etk_project_v1

#if !defined(VARIADIC_FIRST) && !defined(OPTIONAL_FIRST)
static etk_status greet_run(etk_run *run, const char *name, const struct greet_options *o) {
  etk_run_result_text(run, "name", name);
  etk_run_result_int(run, "times", o->times);
#ifdef CRASH_RUN
  abort();
#endif
  return ETK_OK;
}
#elif defined(VARIADIC_FIRST)
static etk_status greet_run(etk_run *run, struct etk_texts names, const char *name, const struct greet_options *o) { return (void)run, (void)names, (void)name, (void)o, ETK_OK; }
#else
static etk_status greet_run(etk_run *run, const char *title, const char *name, const struct greet_options *o) { return (void)run, (void)title, (void)name, (void)o, ETK_OK; }
#endif

#ifdef UNDEFINED
void UNDEFINED(void);
#endif
#if defined(LOAD_CRASH) || defined(LOAD_EXIT) || defined(LOAD_HANG) || defined(UNDEFINED)
__attribute__((constructor)) static void loaded(void) {
#if defined(LOAD_CRASH)
  *(volatile int *)8 = 1;
#elif defined(LOAD_EXIT)
  _exit(3);
#elif defined(LOAD_HANG)
  for (;;) pause();
#else
  UNDEFINED();
#endif
}
#endif

#ifdef INIT_FAIL
static etk_status init(const etk_host *host) {
  host->fail(NULL, ETK_E_UNAVAILABLE, "no quantum processor was found");
  return ETK_E_UNAVAILABLE;
}
#define INIT init
#elif defined(INIT_FAIL_SILENT)
static etk_status init(const etk_host *host) { return (void)host, ETK_E_UNAVAILABLE; }
#define INIT init
#elif defined(INIT_CRASH)
static etk_status init(const etk_host *host) { return (void)host, abort(), ETK_OK; }
#define INIT init
#elif defined(DEINIT_CRASH)
static void deinit(void) { abort(); }
#define DEINIT deinit
#elif defined(INIT_LEAK) /* a file stays open each time */
static etk_status init(const etk_host *host) { return (void)host, dup(0) < 0 ? ETK_E_IO : ETK_OK; }
static void deinit(void) {}
#define INIT init
#define DEINIT deinit
#elif defined(INIT_ONCE) /* balanced only if init can be called again */
static int calls;
static etk_status init(const etk_host *host) { return (void)host, calls++ ? ETK_E_INVALID : ETK_OK; }
static void deinit(void) {}
#define INIT init
#define DEINIT deinit
#elif defined(QUERY_ALL)
static const void *query(const char *id) { return id; }
#define QUERY query
#endif

/* ---- the exported table, each field as the honest one unless -D says otherwise ---- */
#ifndef OPTION_OFFSET
#define OPTION_OFFSET offsetof(struct greet_options, times)
#endif
#ifndef OPTION_SIZE
#define OPTION_SIZE sizeof(int64_t)
#endif
#ifndef OPTION_KIND
#define OPTION_KIND ETK_KIND_int
#endif
#ifndef OPTION_NAME
#define OPTION_NAME "times"
#endif
#ifndef OPTION_DEFAULT
#define OPTION_DEFAULT "1"
#endif
#ifndef OPTION_HELP
#define OPTION_HELP "how often"
#endif
#ifndef ARGUMENT_KIND
#define ARGUMENT_KIND ETK_KIND_text
#endif
#ifndef RUN
#define RUN (void (*)(void))greet_run
#endif
#ifndef OPTIONS_SIZE
#define OPTIONS_SIZE sizeof(struct greet_options)
#endif
#ifndef ARGUMENT_ROWS
#define ARGUMENT_ROWS &arguments[0].row
#endif
#ifndef OPTION_ROWS
#define OPTION_ROWS &options[0].row
#endif
#ifndef COMMAND_ROWS
#define COMMAND_ROWS &commands[0].row
#endif
#ifndef OPTION_COUNT
#define OPTION_COUNT 2
#endif
#ifndef INIT
#define INIT NULL
#endif
#ifndef DEINIT
#define DEINIT NULL
#endif
#ifndef QUERY
#define QUERY NULL
#endif

/* GROWN: rows of a later 1.x, with fields that this host has never heard of. */
#ifdef GROWN
#define MORE const char *unit; uint64_t weight;
#else
#define MORE
#endif
struct argument { etk_argument_row row; MORE };
struct option { etk_option_row row; MORE };
struct command { etk_command_row row; MORE };
static const struct argument arguments[] = {{.row = {ARGUMENT_KIND, ETK_NEED_REQUIRED, "name", "1..40", "who is greeted"}}};
static const struct option options[] = {
    {.row = {OPTION_OFFSET, OPTION_SIZE, OPTION_KIND, 0, OPTION_NAME, OPTION_DEFAULT, "1..9", "greeting", "n", OPTION_HELP}},
#if !defined(NEW_KIND) && !defined(CAPITAL) && !defined(RESERVED)
    {.row = {offsetof(struct greet_options, loud), sizeof(bool), ETK_KIND_flag, 0, "loud", "no", "", "greeting", "", "in capitals"}}
#endif
};
#ifdef HONEST_ROWS /* for what is wrong with both */
#define ROWS etk__commands
#else
static const struct command commands[] = {{.row = {"greet", "Say hello", ARGUMENT_ROWS, OPTION_ROWS, 1, OPTION_COUNT, 0, OPTIONS_SIZE, RUN}}};
#define ROWS COMMAND_ROWS
#endif

#ifndef STRUCT_SIZE
#define STRUCT_SIZE sizeof(struct table)
#endif
#ifndef TABLE_MAJOR
#define TABLE_MAJOR ETK_ABI_MAJOR
#endif
#ifndef TABLE_MINOR
#define TABLE_MINOR ETK_ABI_MINOR
#endif
#ifndef HOST_MINOR
#define HOST_MINOR 0
#endif
#ifndef COUNT
#define COUNT 1
#endif
#ifndef COMMAND_STRIDE
#define COMMAND_STRIDE sizeof(struct command)
#endif
#ifndef ARGUMENT_STRIDE
#define ARGUMENT_STRIDE sizeof(struct argument)
#endif
#ifndef OPTION_STRIDE
#define OPTION_STRIDE sizeof(struct option)
#endif
#ifndef TABLE_NS
#define TABLE_NS NS
#endif
#ifndef TABLE_VERSION
#define TABLE_VERSION "1.0.0"
#endif
#ifndef SYMBOL
#define SYMBOL etk_project_v1
#endif
struct table { etk_project project; MORE };
extern ETK_EXPORT const struct table SYMBOL;
const struct table SYMBOL = {.project = {(uint32_t)STRUCT_SIZE, TABLE_MAJOR, TABLE_MINOR, HOST_MINOR, 0, COUNT, COMMAND_STRIDE, ARGUMENT_STRIDE, OPTION_STRIDE, sizeof etk__note,
                                         &etk__note, TABLE_NS, TABLE_VERSION, "A plugin for tests", ROWS, INIT, DEINIT, QUERY}};
