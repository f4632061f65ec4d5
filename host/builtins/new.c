/* new: a project of one's own, outside this tree: everything it needs is the installed SDK, found by pkg-config. */
#include "builtin.h"
#include "report.h"

#include <etk/fs.h>
#include <limits.h>
#include <sys/stat.h>
#include <unistd.h>

#define NEW_ARGS(ARG)                                                     \
  ARG(text, namespace, REQUIRED, "", "its name, like my-project")        \
  ARG(text, dir, OPTIONAL, "", "where to make it; default: a folder of that name here")
#define NEW_OPTIONS(OPT) OPT(flag, cxx, "no", "", "", "", ETK_LOCAL, "in C++ instead of C")
#define COMMANDS(CMD) CMD(new, NEW_ARGS, NEW_OPTIONS, 0, "Make a project of your own")
BUILTIN(new, "Make a project of your own", COMMANDS)

/* ---- templates: '@' stands for the namespace ---- */

static const char project_c[] =
    "/* @: one list for each command makes its struct, its prototype and what the host knows of it. <etk/project.h> explains the rows. */\n"
    "#include <etk/project.h>\n"
    "#include <etk/selftest.h>\n"
    "#include <stdio.h>\n"
    "#include <string.h>\n"
    "\n"
    "#define GREET_ARGS(ARG) ARG(text, name, REQUIRED, \"1..40\", \"who is greeted\")\n"
    "#define GREET_OPTIONS(OPT)                                                          \\\n"
    "  OPT(int, times, \"1\", \"1..9\", \"greet\", \"n\", 0, \"how often\")                      \\\n"
    "  OPT(choice, tone, \"friendly\", \"friendly|formal\", \"greet\", \"\", 0, \"which words\")\n"
    "#define COMMANDS(CMD) CMD(greet, GREET_ARGS, GREET_OPTIONS, 0, \"Greet somebody\")\n"
    "static const void *query(const char *id);\n"
    "ETK_PROJECT_WITH(\"@\", \"0.1.0\", \"Say here in one line what @ is for\", COMMANDS, NULL, NULL, query)\n"
    "\n"
    "static void greeting(char *out, size_t size, const char *name, const char *tone) {\n"
    "  snprintf(out, size, \"%s, %s!\", strcmp(tone, \"formal\") == 0 ? \"Good day\" : \"Hello\", name);\n"
    "}\n"
    "\n"
    "static etk_status greet_run(etk_run *run, const char *name, const struct greet_options *o) {\n"
    "  char line[64];\n"
    "  greeting(line, sizeof line, name, o->tone);\n"
    "  for (int64_t i = 1; i <= o->times; i++) {\n"
    "    etk_cell row[] = {etk_cell_int(\"number\", i), etk_cell_text(\"greeting\", line)};\n"
    "    etk_run_result_row(run, \"greetings\", row, 2);\n"
    "  }\n"
    "  etk_run_result_text(run, \"greeting\", line);\n"
    "  return ETK_OK;\n"
    "}\n"
    "\n"
    "/* Tests that travel with the plugin: `efficientai-toolkit test @` runs them on any machine. */\n"
    "static etk_status greets_by_name(etk_run *run) {\n"
    "  char line[64];\n"
    "  greeting(line, sizeof line, \"Ada\", \"friendly\");\n"
    "  return strcmp(line, \"Hello, Ada!\") == 0 ? ETK_OK : etk_run_fail(run, ETK_E_CHECK, \"it says '%s'\", line);\n"
    "}\n"
    "\n"
    "static const etk_selftest_case cases[] = {{\"greet greets by name\", \"greet\", greets_by_name}};\n"
    "ETK_SELFTEST(selftest, cases)\n"
    "static const void *query(const char *id) { return strcmp(id, ETK_SELFTEST_ID) == 0 ? &selftest : NULL; }\n";

static const char project_cpp[] =
    "// @: one list for each command makes its struct, its prototype and what the host knows of it. <etk/project.h> explains the rows.\n"
    "#include <etk/project.h>\n"
    "#include <etk/selftest.h>\n"
    "#include <string>\n"
    "\n"
    "#define GREET_ARGS(ARG) ARG(text, name, REQUIRED, \"1..40\", \"who is greeted\")\n"
    "#define GREET_OPTIONS(OPT)                                                          \\\n"
    "  OPT(int, times, \"1\", \"1..9\", \"greet\", \"n\", 0, \"how often\")                      \\\n"
    "  OPT(choice, tone, \"friendly\", \"friendly|formal\", \"greet\", \"\", 0, \"which words\")\n"
    "#define COMMANDS(CMD) CMD(greet, GREET_ARGS, GREET_OPTIONS, 0, \"Greet somebody\")\n"
    "static const void *query(const char *id);\n"
    "ETK_PROJECT_WITH(\"@\", \"0.1.0\", \"Say here in one line what @ is for\", COMMANDS, NULL, NULL, query)\n"
    "\n"
    "static std::string greeting(const std::string &name, const std::string &tone) { return (tone == \"formal\" ? \"Good day, \" : \"Hello, \") + name + \"!\"; }\n"
    "\n"
    "// An exception must not leave a command: the host is C.\n"
    "static etk_status greet_run(etk_run *run, const char *name, const struct greet_options *o) try {\n"
    "  const std::string line = greeting(name, o->tone);\n"
    "  for (int64_t i = 1; i <= o->times; i++) {\n"
    "    const etk_cell row[] = {etk_cell_int(\"number\", i), etk_cell_text(\"greeting\", line.c_str())};\n"
    "    etk_run_result_row(run, \"greetings\", row, 2);\n"
    "  }\n"
    "  etk_run_result_text(run, \"greeting\", line.c_str());\n"
    "  return ETK_OK;\n"
    "} catch (...) {\n"
    "  return etk_run_fail(run, ETK_E_INTERNAL, \"greet: an exception that nothing expected\");\n"
    "}\n"
    "\n"
    "// Tests that travel with the plugin: `efficientai-toolkit test @` runs them on any machine.\n"
    "static etk_status greets_by_name(etk_run *run) {\n"
    "  const std::string line = greeting(\"Ada\", \"friendly\");\n"
    "  return line == \"Hello, Ada!\" ? ETK_OK : etk_run_fail(run, ETK_E_CHECK, \"it says '%s'\", line.c_str());\n"
    "}\n"
    "\n"
    "static const etk_selftest_case cases[] = {{\"greet greets by name\", \"greet\", greets_by_name}};\n"
    "ETK_SELFTEST(selftest, cases)\n"
    "static const void *query(const char *id) { return std::string(id) == ETK_SELFTEST_ID ? &selftest : nullptr; }\n";

static const char makefile_head_c[] = "SOURCE  := project.c\nCOMPILE  = $(CC) -std=c11 $(CFLAGS)\nCFLAGS  ?= -O2 -g\n";
static const char makefile_head_cpp[] = "SOURCE   := project.cpp\nCOMPILE   = $(CXX) -std=c++17 $(CXXFLAGS)\nCXXFLAGS ?= -O2 -g\n";
static const char makefile[] =
    "PLUGIN := libproj-@.so\n"
    "# pkg-config finds the SDK; for an install outside /usr set PKG_CONFIG_PATH=<prefix>/lib/pkgconfig.\n"
    "FLAGS = -Wall -Wextra -fPIC -fvisibility=hidden $(shell pkg-config --cflags etk)\n"
    "# <etk/project.h> needs no library. For the rest of the SDK: LDLIBS = $(shell pkg-config --libs etk)\n"
    "LDLIBS ?=\n"
    "DATA   := $(or $(XDG_DATA_HOME),$(HOME)/.local/share)\n"
    "HOST   ?= $(or $(shell command -v efficientai-toolkit 2>/dev/null),$(shell pkg-config --variable=prefix etk)/bin/efficientai-toolkit)\n"
    "\n"
    "all: $(PLUGIN) libproj-@.md\n"
    "# help takes its examples from the README beside the plugin\n"
    "libproj-@.md: README.md\n"
    "\tcp README.md $@\n"
    "$(PLUGIN): $(SOURCE)\n"
    "\t@pkg-config --exists etk || { echo 'pkg-config does not find etk: set PKG_CONFIG_PATH=<prefix>/lib/pkgconfig' >&2; exit 1; }\n"
    "\t$(COMPILE) $(FLAGS) -shared $< -o $@ $(LDFLAGS) $(LDLIBS)\n"
    "\t@chmod go-w $@\n"
    "\n"
    ".PHONY: all test install clean\n"
    "test: all\n"
    "\tsh tests/test.sh \"$(HOST)\" .\n"
    "install: all\n"
    "\tinstall -d -m 755 \"$(DATA)/efficientai-toolkit/plugins\"\n"
    "\tinstall -m 755 $(PLUGIN) \"$(DATA)/efficientai-toolkit/plugins/\"\n"
    "\tinstall -m 644 libproj-@.md \"$(DATA)/efficientai-toolkit/plugins/\"\n"
    "clean:\n"
    "\trm -f $(PLUGIN) libproj-@.md\n";

static const char test_sh[] =
    "#!/bin/sh\n"
    "# tests/test.sh HOST FOLDER: runs the plugin of FOLDER through the host.\n"
    "host=$1 folder=$2 failed=0\n"
    "run() { \"$host\" --plugin-dir \"$folder\" \"$@\"; }\n"
    "expect() { # WHAT WANTED SEEN\n"
    "  case $3 in\n"
    "    *\"$2\"*) echo \"ok - $1\" ;;\n"
    "    *) echo \"not ok - $1: wanted $2, seen: $3\"; failed=1 ;;\n"
    "  esac\n"
    "}\n"
    "\n"
    "expect 'the host lists the project' '\"namespace\":\"@\",\"version\":\"0.1.0\"' \"$(run projects --json)\"\n"
    "answer=$(run @:greet Ada --times 2 --json)\n"
    "expect 'greet succeeds' '\"status\":\"ok\"' \"$answer\"\n"
    "expect 'greet greets by name' '\"greeting\":\"Hello, Ada!\"' \"$answer\"\n"
    "expect 'greet greets as often as asked' '\"number\":2' \"$answer\"\n"
    "expect 'the tone is an option' 'Good day, Ada!' \"$(run @:greet Ada --tone formal)\"\n"
    "run @:greet Ada --times 99 >/dev/null 2>&1\n"
    "expect 'too many times is a usage error' 2 $?\n"
    "\"$host\" check \"$folder/libproj-@.so\" >/dev/null\n"
    "expect 'the plugin passes check' 0 $?\n"
    "run test @ >/dev/null\n"
    "expect 'the tests that it ships pass' 0 $?\n"
    "exit $failed\n";

static const char readme[] =
    "# @\n"
    "\n"
    "A project for efficientai-toolkit.\n"
    "\n"
    "    make            # libproj-@.so\n"
    "    make test       # runs it through the host\n"
    "    make install    # into $XDG_DATA_HOME/efficientai-toolkit/plugins\n"
    "\n"
    "Examples (`efficientai-toolkit help @:greet` shows those of a command):\n"
    "\n"
    "```sh\n"
    "efficientai-toolkit @:greet Ada --times 3\n"
    "efficientai-toolkit @:greet Ada --tone formal --json\n"
    "```\n"
    "\n"
    "The SDK is found by pkg-config: where it is installed outside /usr, set `PKG_CONFIG_PATH=<prefix>/lib/pkgconfig`.\n"
    "\n"
    "To add a command, add a row to `COMMANDS`, its lists of arguments and options, and a function `<command>_run`.\n"
    "`<etk/project.h>` explains kinds, limits and results. `efficientai-toolkit check libproj-@.so` says what is not right.\n";

static const char gitignore[] = "*.so\n*.o\nlibproj-*.md\n";

/* ---- writing ---- */

struct part {
  const char *name, *head, *body;
};
static const struct part parts_c[] = {{"project.c", "", project_c}, {"Makefile", makefile_head_c, makefile}, {"tests/test.sh", "", test_sh}, {"README.md", "", readme},
                                      {".gitignore", "", gitignore}};
static const struct part parts_cpp[] = {{"project.cpp", "", project_cpp}, {"Makefile", makefile_head_cpp, makefile}, {"tests/test.sh", "", test_sh}, {"README.md", "", readme},
                                        {".gitignore", "", gitignore}};
enum { PARTS = sizeof parts_c / sizeof parts_c[0] };

/* An '@' after '$' or at the beginning of a recipe belongs to make or the shell. */
static void fill(etk_text *out, const char *text, const char *name_space) {
  for (const char *p = text; *p; p++) {
    bool plain = *p == '@' && !(p > text && (p[-1] == '$' || p[-1] == '\t'));
    if (plain) etk_text_puts(out, name_space);
    else etk_text_putc(out, *p);
  }
}

static etk_status write_part(etk_error *e, const char *folder, const struct part *part, const char *name_space) {
  char *path = etk_path_join(folder, part->name);
  etk_text text = ETK_TEXT_INIT;
  etk_text_puts(&text, part->head);
  fill(&text, part->body, name_space);
  etk_status status = path && !text.failed ? etk_fs_write(e, path, text.data, text.size, false) : etk_fail(e, ETK_E_NO_MEMORY, "no memory to write %s", part->name);
  etk_text_free(&text);
  etk_free(path);
  return status;
}

static etk_status write_project(etk_error *e, const char *path, bool replace, const struct part *parts, const char *name_space) {
  etk_dir *dir;
  etk_status status = etk_dir_create(e, &dir, path, replace);
  if (status) return status;
  char *tests = etk_path_join(etk_dir_path(dir), "tests");
  status = tests ? etk_fs_make_dirs(e, tests) : etk_fail(e, ETK_E_NO_MEMORY, "no memory to write %s", path);
  etk_free(tests);
  for (size_t i = 0; !status && i < PARTS; i++) status = write_part(e, etk_dir_path(dir), &parts[i], name_space);
  if (!status) return etk_dir_commit(e, dir);
  etk_dir_abort(dir);
  return status;
}

/* The nearest legal namespace: "05_Meta Learning" becomes "meta-learning". */
static void mend(char *out, size_t size, const char *name) {
  size_t n = 0;
  for (const char *p = name; *p && n < 64 && n + 1 < size; p++) {
    char c = *p >= 'A' && *p <= 'Z' ? (char)(*p - 'A' + 'a') : *p;
    bool letter = c >= 'a' && c <= 'z', digit = c >= '0' && c <= '9';
    if (letter || (digit && n)) out[n++] = c;
    else if (n && !digit && out[n - 1] != '-') out[n++] = '-';
  }
  while (n && out[n - 1] == '-') n--;
  out[n] = '\0';
  if (!legal_namespace(out)) snprintf(out + n, size - n, "%s", n ? "-project" : "my-project");
}

static etk_status legal(etk_error *e, const char *name) {
  char mended[96];
  if (legal_namespace(name)) return ETK_OK;
  mend(mended, sizeof mended, name);
  return etk_fail(e, ETK_E_USAGE,
                  "'%s' is not a legal namespace: a small letter, then small letters, digits and single '-', at most 64, and not a word of the host's own; '%s' would be", name,
                  mended);
}

/* An empty folder may be filled; anything else that is there stays as it is. */
static etk_status target(etk_error *e, bool *replace, const char *path) {
  struct stat there, here;
  *replace = false;
  if (lstat(path, &there)) return ETK_OK;
  char **names = NULL;
  size_t count = 1;
  if (S_ISDIR(there.st_mode)) {
    etk_status status = etk_fs_list(e, &names, &count, path);
    if (status) return status;
    etk_fs_list_free(names, count);
  }
  if (count) return etk_fail(e, ETK_E_EXISTS, "%s: exists and is not an empty folder; nothing was written. Name another folder: new NAMESPACE DIR", path);
  if (!stat(".", &here) && here.st_dev == there.st_dev && here.st_ino == there.st_ino)
    return etk_fail(e, ETK_E_EXISTS, "%s: is the folder you are in; name a new one: new NAMESPACE DIR", path);
  *replace = true;
  return ETK_OK;
}

static void print_person(const struct host *host, const char *path, const struct part *parts, const char *name_space) {
  printf("%s is a new project:\n", path);
  for (size_t i = 0; i < PARTS; i++) printf("  %s\n", parts[i].name);
  if (host->quiet) return;
  printf("\nNext:\n  cd %s\n  make            build it (the SDK is found by pkg-config)\n  make test       run it through the host\n  make install    put it where %s finds it\n", path,
         host->program);
  printf("  %s %s:greet Ada\n", host->program, name_space);
}

static void print_json(struct host *host, const char *path, const struct part *parts, const char *name_space) {
  etk_text text = ETK_TEXT_INIT;
  etk_text_puts(&text, "{\"namespace\":");
  put_json(&text, name_space);
  etk_text_puts(&text, ",\"path\":");
  put_json(&text, path);
  etk_text_puts(&text, ",\"files\":[");
  for (size_t i = 0; i < PARTS; i++) {
    if (i) etk_text_putc(&text, ',');
    put_json(&text, parts[i].name);
  }
  etk_text_puts(&text, "]}");
  host_print_document(host, "new", "ok", text.failed ? NULL : text.data, NULL);
  etk_text_free(&text);
}

static int new_run(struct host *host, const char *name_space, const char *folder, const struct new_options *o) {
  etk_error e = ETK_ERROR_INIT;
  bool replace;
  const char *path = folder ? folder : name_space;
  const struct part *parts = o->cxx ? parts_cpp : parts_c;
  etk_status status = legal(&e, name_space);
  if (!status) status = target(&e, &replace, path);
  if (!status) status = write_project(&e, path, replace, parts, name_space);
  if (status) return host_error(host, &e, 0, NULL);
  struct plugin other;
  if (!discover_exact(NULL, &other, &host->arena, &host->path, name_space))
    host_note(host, "a plugin of that name is there already: %s (the first folder of the search path wins)", other.path);
  if (host->json) print_json(host, path, parts, name_space);
  else print_person(host, path, parts, name_space);
  return 0;
}
