/* startup: what it costs to start the host with a hundred plugins installed. Each case is a whole process, from exec to its end; the figure is the
 * median of many, user + system time by wait4(2), or wall time where the target is one. One JSON line a case; "met" says whether the target is.
 *   build/bench/startup [RUNS]      (default 201; the host is <build>/bin/efficientai-toolkit)
 * Ten of the plugins link libetk-ml. They are one small source, built twice; a copy differs in the three digits of its namespace. */
#include <errno.h>
#include <etk/alloc.h>
#include <etk/fs.h>
#include <etk/hardware.h>
#include <etk/text.h>
#include <fcntl.h>
#include <limits.h>
#include <spawn.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

enum { PLUGINS = 100, WITH_ML = 10, MOST_RUNS = 10001 };
#define NAMESPACE "bench-000"

static const char source[] = "#include <etk/project.h>\n"
                             "#define OPTIONS(OPT) OPT(int, times, \"1\", \"1..9\", \"go\", \"n\", 0, \"how often\") OPT(flag, fast, \"no\", \"\", \"go\", \"\", 0, \"hurry\")\n"
                             "#define COMMANDS(CMD) CMD(go, ETK_NONE, OPTIONS, 0, \"Do nothing\")\n"
                             "ETK_PROJECT(\"" NAMESPACE "\", \"1.0.0\", \"A plugin that does nothing\", COMMANDS)\n"
                             "static etk_status go_run(etk_run *run, const struct go_options *o) { return (void)run, (void)o, ETK_OK; }\n";

static char folder[PATH_MAX], build[PATH_MAX], host[PATH_MAX + 32];

static bool failed(const char *what) {
  fprintf(stderr, "startup: %s\n", what);
  return false;
}

/* ---- the plugins ---- */

static bool compile(const char *arguments, const char *out) {
  char command[3 * PATH_MAX];
  const char *compiler = getenv("CC");
  snprintf(command, sizeof command, "%s -O2 -s %s -o '%s/%s'", compiler && *compiler ? compiler : "cc", arguments, folder, out);
  return system(command) == 0 || failed(command);
}

/* The namespace stands in the note and in the table: every place where the file says NAMESPACE. */
static bool copies(const char *from, int first, int end) {
  char path[2 * PATH_MAX], *bytes;
  size_t size;
  etk_error e = ETK_ERROR_INIT;
  snprintf(path, sizeof path, "%s/%s", folder, from);
  if (etk_fs_read(&e, &bytes, &size, path, 1 << 20)) return failed(e.message);
  const size_t length = sizeof NAMESPACE - 1;
  bool done = true;
  for (int n = first; done && n < end; n++) {
    char name[16];
    snprintf(name, sizeof name, "bench-%03d", n);
    size_t places = 0;
    for (size_t i = 0; i + length <= size; i++)
      if (!memcmp(bytes + i, "bench-", 6) && bytes[i + 6] >= '0' && bytes[i + 6] <= '9') {
        memcpy(bytes + i, name, length);
        places++;
      }
    snprintf(path, sizeof path, "%s/data/efficientai-toolkit/plugins/libproj-%s.so", folder, name);
    done = places >= 2 ? !etk_fs_write(&e, path, bytes, size, false) || failed(e.message) : failed("the plugin does not hold its namespace");
  }
  etk_free(bytes);
  return done;
}

static bool prepare(void) {
  char path[PATH_MAX + 64], arguments[4 * PATH_MAX];
  etk_error e = ETK_ERROR_INIT;
  snprintf(path, sizeof path, "%s/plugin.c", folder);
  if (etk_fs_write(&e, path, source, sizeof source - 1, false)) return failed(e.message);
  snprintf(path, sizeof path, "%s/empty.c", folder);
  static const char empty[] = "int main(void) { return 0; }\n";
  if (etk_fs_write(&e, path, empty, sizeof empty - 1, false)) return failed(e.message);
  snprintf(path, sizeof path, "%s/data/efficientai-toolkit/plugins", folder);
  if (etk_fs_make_dirs(&e, path)) return failed(e.message);
  snprintf(arguments, sizeof arguments, "'%s/empty.c'", folder);
  if (!compile(arguments, "empty")) return false;
  snprintf(arguments, sizeof arguments, "-fPIC -shared -fvisibility=hidden -Isdk/include '%s/plugin.c'", folder);
  if (!compile(arguments, "plain.so")) return false;
  snprintf(arguments, sizeof arguments, "-fPIC -shared -fvisibility=hidden -Isdk/include '%s/plugin.c' -Wl,--no-as-needed -L'%s/lib' -letk-ml -letk -Wl,-rpath,'%s/lib'", folder, build,
           build);
  if (!compile(arguments, "ml.so")) return false;
  return copies("plain.so", 0, PLUGINS - WITH_ML) && copies("ml.so", PLUGINS - WITH_ML, PLUGINS);
}

/* ---- measuring ---- */

struct sample {
  double cpu_ms, wall_ms;
};

static double seconds(struct timeval t) { return (double)t.tv_sec + (double)t.tv_usec / 1e6; }

static bool once(struct sample *out, char *const *arguments, int wanted) {
  posix_spawn_file_actions_t actions;
  pid_t pid;
  int status;
  struct rusage usage;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
  posix_spawn_file_actions_addopen(&actions, 1, "/dev/null", O_WRONLY, 0);
  posix_spawn_file_actions_addopen(&actions, 2, "/dev/null", O_WRONLY, 0);
  int64_t started = etk_time_ns();
  int reason = posix_spawn(&pid, arguments[0], &actions, NULL, arguments, environ);
  posix_spawn_file_actions_destroy(&actions);
  if (reason) return failed(strerror(reason));
  while (wait4(pid, &status, 0, &usage) < 0)
    if (errno != EINTR) return failed(strerror(errno));
  out->wall_ms = (double)(etk_time_ns() - started) / 1e6;
  out->cpu_ms = (seconds(usage.ru_utime) + seconds(usage.ru_stime)) * 1e3;
  if (WIFEXITED(status) && WEXITSTATUS(status) == wanted) return true;
  fprintf(stderr, "startup: %s %s ended with status %d, wanted %d\n", arguments[0], arguments[1] ? arguments[1] : "", WEXITSTATUS(status), wanted);
  return false;
}

static int ascending(const void *a, const void *b) {
  double x = *(const double *)a, y = *(const double *)b;
  return x < y ? -1 : x > y;
}

struct run_case {
  const char *name;
  char *arguments[8];
  int wanted, divisor; /* how many times fewer runs than asked for */
  double cpu_target, wall_target; /* milliseconds; 0: none */
};

static bool measure(const struct run_case *c, int runs) {
  static double cpu[MOST_RUNS], wall[MOST_RUNS];
  runs = runs / c->divisor < 5 ? 5 : runs / c->divisor;
  struct sample sample;
  for (int i = -2; i < runs; i++) { /* two to warm the caches */
    if (!once(&sample, c->arguments, c->wanted)) return false;
    if (i < 0) continue;
    cpu[i] = sample.cpu_ms;
    wall[i] = sample.wall_ms;
  }
  qsort(cpu, (size_t)runs, sizeof *cpu, ascending);
  qsort(wall, (size_t)runs, sizeof *wall, ascending);
  double seen = c->wall_target > 0 ? wall[runs / 2] : cpu[runs / 2], target = c->wall_target > 0 ? c->wall_target : c->cpu_target;
  printf("{\"bench\":\"startup\",\"case\":\"%s\",\"plugins\":%d,\"runs\":%d,\"cpu_ms\":%.3f,\"cpu_ms_least\":%.3f,\"wall_ms\":%.3f,\"wall_ms_least\":%.3f", c->name, PLUGINS, runs,
         cpu[runs / 2], cpu[0], wall[runs / 2], wall[0]);
  if (target > 0) printf(",\"target\":\"%s\",\"target_ms\":%.1f,\"met\":%s", c->wall_target > 0 ? "wall_ms" : "cpu_ms", target, seen < target ? "true" : "false");
  printf("}\n");
  fflush(stdout);
  return true;
}

static bool measure_all(int runs) {
  char empty[PATH_MAX + 16], program[PATH_MAX + 32];
  snprintf(empty, sizeof empty, "%s/empty", folder);
  snprintf(program, sizeof program, "%s", host);
  const struct run_case cases[] = {{"empty program", {empty}, 0, 1, 0, 0},
                                   {"help", {program, (char[]){"help"}}, 0, 1, 2, 0},
                                   {"usage error", {program, (char[]){NAMESPACE ":go"}, (char[]){"--tims"}, (char[]){"3"}}, 2, 1, 2, 0},
                                   {"unknown namespace", {program, (char[]){"bensh-000:go"}}, 127, 1, 2, 0},
                                   {"command alone", {program, (char[]){"go"}}, 127, 1, 2, 0}, /* every note is looked into */
                                   {"dispatch", {program, (char[]){NAMESPACE ":go"}}, 0, 1, 3, 0},
                                   {"help of a command", {program, (char[]){"help"}, (char[]){NAMESPACE ":go"}}, 0, 1, 2, 0},
                                   {"completion of a command", {program, (char[]){"complete"}, (char[]){"--shell"}, (char[]){"bash"}, (char[]){"--"}, (char[]){"efficientai-toolkit bench-09:g"}}, 0, 1, 5, 0},
                                   {"completion of an option", {program, (char[]){"complete"}, (char[]){"--shell"}, (char[]){"bash"}, (char[]){"--"}, (char[]){"efficientai-toolkit " NAMESPACE ":go --ti"}}, 0, 1, 5, 0},
                                   {"completion of nothing", {program, (char[]){"complete"}, (char[]){"--shell"}, (char[]){"fish"}, (char[]){"--"}, (char[]){"efficientai-toolkit"}, (char[]){""}}, 0, 1, 5, 0},
                                   {"info", {program, (char[]){"info"}}, 0, 2, 0, 10},
                                   {"setup", {program, (char[]){"setup"}}, 0, 5, 0, 1000},
                                   {"projects", {program, (char[]){"projects"}}, 0, 10, 0, 150}};
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
    if (!measure(&cases[i], runs)) return false;
  return true;
}

int main(int argc, char **argv) {
  int64_t runs = 201;
  etk_error e = ETK_ERROR_INIT;
  if (argc > 1 && (etk_parse_int(&e, &runs, argv[1]) || runs < 1 || runs > MOST_RUNS)) {
    fprintf(stderr, "startup: the number of runs is 1 to %d\n", MOST_RUNS);
    return 2;
  }
  if (!realpath(argv[0], build)) return 1;
  for (int i = 0; i < 2; i++) *strrchr(build, '/') = '\0'; /* <build>/bench/startup */
  snprintf(host, sizeof host, "%s/bin/efficientai-toolkit", build);
  snprintf(folder, sizeof folder, "%s/etk-startup-XXXXXX", getenv("TMPDIR") ? getenv("TMPDIR") : "/tmp");
  if (access(host, X_OK)) return failed("there is no host beside this program: make bench"), 1;
  if (!mkdtemp(folder)) return failed(strerror(errno)), 1;
  static const char *const homes[] = {"HOME", "XDG_DATA_HOME", "XDG_CONFIG_HOME", "XDG_STATE_HOME", "XDG_CACHE_HOME"};
  for (size_t i = 0; i < sizeof homes / sizeof homes[0]; i++) {
    char path[PATH_MAX + 8];
    snprintf(path, sizeof path, "%s/%s", folder, i == 1 ? "data" : "home");
    setenv(homes[i], path, 1);
  }
  static const char *const ours[] = {"EFFICIENTAI_PLUGIN_PATH", "EFFICIENTAI_TRUST_DIRS", "EFFICIENTAI_PROFILE", "EFFICIENTAI_STATE_DIR"};
  for (size_t i = 0; i < sizeof ours / sizeof ours[0]; i++) unsetenv(ours[i]);
  bool done = prepare() && measure_all((int)runs);
  etk_fs_remove_tree(NULL, folder);
  return done ? 0 : 1;
}
