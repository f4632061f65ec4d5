#include "log_files.h"

#include "record.h"
#include "report.h"

#include <errno.h>
#include <etk/hardware.h>
#include <etk/text.h>
#include <fcntl.h>
#include <unistd.h>

const char *log_folder(etk_error *e, struct host *host) {
  const char *state = state_dir(e, host), *folder;
  if (!state) return NULL;
  folder = etk_arena_printf(&host->arena, "%s/logs", state);
  if (!folder) etk_fail_memory(e);
  return folder;
}

/* "AMD EPYC 9B14, 8 cores": what is known without asking much; all of etk/hardware.h takes half a millisecond. */
static void hardware(char *out, size_t size) {
  const etk_hardware_provider *machine = etk_hardware_this_machine();
  char text[4096] = "", chip[128] = "", cores[32] = "";
  if (machine->file && machine->file(machine->user, "/proc/cpuinfo", text, sizeof text) > 0) {
    const char *name = strstr(text, "model name");
    if (name) name = strchr(name, ':');
    if (name) snprintf(chip, sizeof chip, "%.*s", (int)strcspn(name + 1 + strspn(name + 1, " \t"), "\n"), name + 1 + strspn(name + 1, " \t"));
  }
  if (machine->fact) {
    if (!*chip && machine->fact(machine->user, "machdep.cpu.brand_string", chip, sizeof chip) < 0) *chip = 0;
    if (!*chip && machine->fact(machine->user, "uname.machine", chip, sizeof chip) < 0) *chip = 0;
    if (machine->fact(machine->user, "affinity.cores", cores, sizeof cores) < 0) *cores = 0;
  }
  snprintf(out, size, "%s%s%s%s", *chip ? chip : "unknown", *cores ? ", " : "", cores, !*cores ? "" : strcmp(cores, "1") ? " cores" : " core");
}

static void say_problem(struct host *host, const etk_error *e) { host_warn(host, "%s", e->message); }

/* ---- a line at death: its end is made while all is well, and the path, not a descriptor, is kept, since the log may be rotated meanwhile ---- */

static struct {
  char path[4096]; /* "": closed */
  char context[1024]; /* ,"namespace":"…","command":"…" */
} last_words;

static void last_words_keep(const struct host *host, const char *path, const char *run, const char *chip) {
  static char hardware_text[200];
  const char *const pairs[][2] = {{"namespace", host->name_space}, {"command", host->command}, {"hardware", hardware_text}, {"run", run}};
  etk_text text = ETK_TEXT_INIT;
  if (chip) snprintf(hardware_text, sizeof hardware_text, "%s", chip);
  for (size_t i = 0; i < sizeof pairs / sizeof pairs[0]; i++) {
    if (!pairs[i][1]) continue;
    etk_text_printf(&text, ",\"%s\":", pairs[i][0]);
    put_json(&text, pairs[i][1]);
  }
  bool whole = !text.failed && text.size < sizeof last_words.context;
  snprintf(last_words.context, sizeof last_words.context, "%s", whole && text.data ? text.data : "");
  if (path && snprintf(last_words.path, sizeof last_words.path, "%s", path) >= (int)sizeof last_words.path) last_words.path[0] = 0;
  etk_text_free(&text);
}

struct words {
  char data[4096];
  size_t size;
};

/* The longest piece is the message: it is cut where the rest of the line still fits. */
static void add(struct words *w, const char *text, bool quoted) {
  size_t most = sizeof w->data - (quoted ? sizeof last_words.context + 64 : 0);
  for (; *text && w->size + 2 <= most; text++) {
    if (quoted && (unsigned char)*text < ' ') continue;
    if (quoted && (*text == '"' || *text == '\\')) w->data[w->size++] = '\\';
    w->data[w->size++] = *text;
  }
}

static void add_number(struct words *w, int64_t number) {
  char digits[24], *p = digits + sizeof digits - 1;
  uint64_t rest = number < 0 ? 0 : (uint64_t)number;
  *p = 0;
  do *--p = (char)('0' + rest % 10);
  while (rest /= 10);
  add(w, p, false);
}

void process_log_died(const char *error, int exit_code, int64_t wall_ns) {
  static struct words w; /* one thread tells; a fault's stack is small */
  char time_text[32];
  if (!last_words.path[0]) return;
  int fd = open(last_words.path, O_WRONLY | O_APPEND | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
  if (fd < 0) return;
  w.size = 0;
  add(&w, "{\"timestamp\":\"", false);
  add(&w, iso_time(time_text, sizeof time_text, unix_ms()), false);
  add(&w, "\",\"level\":\"error\",\"message\":\"command ends\"", false);
  add(&w, last_words.context, false);
  add(&w, ",\"status\":\"crashed\",\"exit\":", false);
  add_number(&w, exit_code);
  add(&w, ",\"wall_ms\":", false);
  add_number(&w, wall_ns / 1000000);
  add(&w, ",\"error\":\"", false);
  add(&w, error, true);
  add(&w, "\"}\n", false);
  while (write(fd, w.data, w.size) < 0 && errno == EINTR) {} /* at once: lines of other processes stay whole */
  close(fd);
}

/* ---- lines ---- */

const char *process_log_open(struct host *host) {
  etk_error e = ETK_ERROR_INIT;
  char chip[200];
  if (host->no_run || host->log) return NULL;
  const char *folder = log_folder(&e, host), *path = folder ? etk_arena_printf(&host->arena, "%s/%s", folder, PROCESS_LOG) : NULL;
  if (folder && !path) etk_fail_memory(&e);
  /* ten megabytes, a week, five of them: 60 MiB at most */
  etk_log_file_options options = {.struct_size = sizeof options, .path = path, .format = ETK_LOG_JSON, .level = ETK_LOG_INFO, .max_age_s = 7 * 86400};
  if (!path || etk_log_file_open(&e, &host->log, &options)) {
    const char *why = etk_arena_strdup(&host->arena, e.message);
    return why ? why : "out of memory";
  }
  hardware(chip, sizeof chip);
  etk_log_context("namespace", host->name_space);
  etk_log_context("command", host->command);
  etk_log_context("hardware", chip);
  last_words_keep(host, path, NULL, chip);
  return NULL;
}

static void write_line(struct host *host, etk_log_level level, const char *message, const etk_log_field *fields, size_t count) {
  etk_error e = ETK_ERROR_INIT;
  if (host->log && etk_log_file_event(&e, host->log, level, message, fields, count)) say_problem(host, &e);
}

void process_log_begin(struct host *host, const char *run) {
  if (!host->log) return;
  etk_log_context("run", run);
  last_words_keep(host, NULL, run, NULL);
  write_line(host, ETK_LOG_INFO, "command begins", NULL, 0);
}

void process_log_line(struct host *host, etk_log_level level, const char *message) { write_line(host, level, message, NULL, 0); }

void process_log_end(struct host *host, const char *status, int exit_code, int64_t wall_ns, const char *error) {
  const etk_log_field fields[] = {{.name = "status", .kind = ETK_LOG_FIELD_TEXT, .text = status},
                                  {.name = "exit", .kind = ETK_LOG_FIELD_INT, .integer = exit_code},
                                  {.name = "wall_ms", .kind = ETK_LOG_FIELD_REAL, .real = (double)(wall_ns / 1000) / 1000},
                                  {.name = "error", .kind = ETK_LOG_FIELD_TEXT, .text = error}};
  etk_log_level level = !strcmp(status, "ok") ? ETK_LOG_INFO : !strcmp(status, "cancelled") ? ETK_LOG_WARNING : ETK_LOG_ERROR;
  write_line(host, level, "command ends", fields, error && *error ? 4 : 3);
}

void process_log_close(struct host *host) {
  static const char *const keys[] = {"run", "namespace", "command", "hardware"};
  etk_log_file_close(host->log);
  host->log = NULL;
  last_words.path[0] = 0;
  for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++) etk_log_context(keys[i], NULL);
}
