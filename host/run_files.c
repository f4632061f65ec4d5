#include "record.h"

#include "report.h"

#include <errno.h>
#include <etk/fs.h>
#include <etk/hardware.h>
#include <etk/log.h>
#include <fcntl.h>
#include <inttypes.h>
#include <math.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define BUFFER_SIZE (64u << 10)
/* Lines are written at once, but at most this many in a tenth of a second; beyond that they are gathered. */
#define WINDOW_NS 100000000
#define WINDOW_WRITES 64

int64_t unix_ms(void) {
  struct timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

int64_t floor_div(int64_t value, int64_t by) { return value / by - (value % by < 0); }

static void put_digits(char *out, int64_t value, int count) {
  while (count--) out[count] = (char)('0' + value % 10), value /= 10;
}

/* The civil date of a day is counted from 1 March, so that the leap day ends a year; eras of 400 years are all alike (146097 days). Nothing is called that
 * a signal handler may not. */
const char *iso_time(char *out, size_t size, int64_t ms) {
  static const int64_t first = INT64_C(-62167219200000), last = INT64_C(253402300799999); /* years of four digits */
  static const char shape[] = "0000-00-00T00:00:00.000Z";
  if (size < sizeof shape) return "";
  ms = ms < first ? first : ms > last ? last : ms;
  int64_t days = floor_div(ms, 86400000), of_day = ms - days * 86400000, from = days + 719468; /* 0000-03-01 */
  int64_t era = floor_div(from, 146097), in_era = from - era * 146097;
  int64_t year = (in_era - in_era / 1460 + in_era / 36524 - in_era / 146096) / 365, in_year = in_era - (365 * year + year / 4 - year / 100);
  int64_t month = (5 * in_year + 2) / 153, day = in_year - (153 * month + 2) / 5 + 1; /* 0 is March */
  month = month < 10 ? month + 3 : month - 9;
  memcpy(out, shape, sizeof shape);
  put_digits(out, era * 400 + year + (month <= 2), 4);
  put_digits(out + 5, month, 2);
  put_digits(out + 8, day, 2);
  put_digits(out + 11, of_day / 3600000, 2);
  put_digits(out + 14, of_day / 60000 % 60, 2);
  put_digits(out + 17, of_day / 1000 % 60, 2);
  put_digits(out + 20, of_day % 1000, 3);
  return out;
}

const char *state_dir(etk_error *e, struct host *host) {
  const char *given = getenv("EFFICIENTAI_STATE_DIR"), *dir;
  if (given && *given) dir = etk_arena_strdup(&host->arena, given);
  else {
    char *state = etk_path_xdg("state");
    if (!state) {
      etk_fail(e, ETK_E_NOT_FOUND, "there is no folder for runs: neither EFFICIENTAI_STATE_DIR, XDG_STATE_HOME nor HOME is set");
      return NULL;
    }
    dir = etk_arena_printf(&host->arena, "%s/efficientai-toolkit", state);
    etk_free(state);
  }
  if (!dir) etk_fail(e, ETK_E_NO_MEMORY, "out of memory");
  return dir;
}

/* Field 22 of /proc/<pid>/stat; the name in field 2 may hold blanks and ')', so counting starts after the last ')'. */
uint64_t process_started(long pid) {
  char path[64], text[1024];
  snprintf(path, sizeof path, "/proc/%ld/stat", pid);
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return 0;
  ssize_t size = read(fd, text, sizeof text - 1);
  close(fd);
  if (size <= 0) return 0;
  text[size] = 0;
  const char *p = strrchr(text, ')');
  for (int field = 2; p && field < 22; field++) p = strchr(p + 1, ' ');
  return p ? strtoull(p + 1, NULL, 10) : 0;
}

/* ---- writing ---- */

static void broken(struct record *record, const char *file, int error) {
  if (record->broken) return;
  record->broken = true;
  host_warn(record->host, "this run is no longer recorded, the work goes on: %s/%s: %s", record->dir, file, strerror(error));
}

/* Whole lines only: the one that a full disk cut is taken back. */
static int append(int fd, const char *bytes, size_t size) {
  struct stat before;
  bool known = !fstat(fd, &before);
  size_t done = 0;
  while (done < size) {
    ssize_t wrote = write(fd, bytes + done, size - done);
    if (wrote < 0 && errno == EINTR) continue;
    if (wrote <= 0) {
      int error = wrote < 0 ? errno : ENOSPC;
      while (done && bytes[done - 1] != '\n') done--;
      if (known && ftruncate(fd, before.st_size + (off_t)done)) error = errno;
      return error;
    }
    done += (size_t)wrote;
  }
  return 0;
}

static int open_in(const struct record *record, const char *name) {
  char path[4200];
  snprintf(path, sizeof path, "%s/%s", record->dir, name);
  return open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
}

static bool random_bytes(unsigned char *out, size_t size) {
#ifdef __linux__
  return getrandom(out, size, 0) == (ssize_t)size;
#else
  arc4random_buf(out, size);
  return true;
#endif
}

/* The second, then six base32 digits: two of the millisecond, four at random. Their alphabet is in the order of bytes, so that ids sort by time. */
void run_id_at(char *out, size_t size, char month[8], int64_t ms) {
  static const char letters[] = "234567abcdefghijklmnopqrstuvwxyz";
  unsigned char bytes[6];
  char tail[7], t[32];
  int64_t part = (ms % 1000 + 1000) % 1000;
  iso_time(t, sizeof t, ms);
  if (!random_bytes(bytes, sizeof bytes)) {
    uint64_t seed = (uint64_t)etk_time_ns() ^ (uint64_t)getpid() << 32;
    for (size_t i = 0; i < sizeof bytes; i++) bytes[i] = (unsigned char)(seed >> (i * 7));
  }
  tail[0] = letters[part >> 5], tail[1] = letters[part & 31];
  for (size_t i = 2; i < 6; i++) tail[i] = letters[bytes[i] & 31];
  tail[6] = 0;
  snprintf(month, 8, "%.7s", t);
  snprintf(out, size, "%.4s%.2s%.2sT%.2s%.2s%.2sZ-%s", t, t + 5, t + 8, t + 11, t + 14, t + 17, tail);
}

static etk_status make_folder(etk_error *e, struct record *record, const char *state) {
  char month[8];
  for (int attempt = 0; attempt < 8; attempt++) {
    char parent[4096];
    run_id_at(record->id, sizeof record->id, month, unix_ms());
    if (snprintf(parent, sizeof parent, "%s/runs/%s", state, month) >= (int)sizeof parent - 48)
      return etk_fail(e, ETK_E_INVALID, "the path %s is too long", state);
    etk_status status = etk_fs_make_dirs(e, parent);
    if (status) return status;
    snprintf(record->dir, sizeof record->dir, "%.4040s/%s", parent, record->id);
    if (!mkdir(record->dir, 0777)) return ETK_OK;
    if (errno != EEXIST) return etk_fail_errno(e, errno, "cannot make %s", record->dir);
  }
  return etk_fail(e, ETK_E_EXISTS, "cannot find a free name in %s", state);
}

void record_open(struct record **out, struct host *host) {
  etk_error e = ETK_ERROR_INIT;
  struct record *record = etk_calloc(1, sizeof *record);
  char *buffer = etk_alloc(BUFFER_SIZE);
  const char *state = state_dir(&e, host);
  *out = NULL;
  etk_status status = !record || !buffer ? etk_fail(&e, ETK_E_NO_MEMORY, "out of memory") : !state ? e.status : make_folder(&e, record, state);
  if (status) {
    host_warn(host, "this run is not recorded, the work goes on: %s", e.message);
    etk_free(record);
    etk_free(buffer);
    return;
  }
  record->host = host;
  record->buffer = buffer;
  record->window_ns = etk_time_ns();
  record->metrics = record->log = -1;
  record->crash = open_in(record, "crash.txt");
  *out = record;
}

void record_run_json(struct record *record, const char *json, size_t size) {
  char path[4200];
  etk_error e = ETK_ERROR_INIT;
  snprintf(path, sizeof path, "%s/run.json", record->dir);
  if (!etk_fs_write(&e, path, json, size, true) || record->broken) return;
  record->broken = true;
  host_warn(record->host, "this run is no longer recorded, the work goes on: %s", e.message);
}

void record_flush(struct record *record) {
  if (!record->used || record->broken) return;
  int error = append(record->metrics, record->buffer, record->used);
  record->used = 0;
  if (error) broken(record, "metrics.jsonl", error);
}

void record_flush_in_signal(struct record *record) {
  if (!record->used || record->broken) return;
  ssize_t wrote = write(record->metrics, record->buffer, record->used);
  (void)wrote;
  record->used = 0;
}

void record_metric(struct record *record, const char *name, int64_t step, double value) {
  etk_text line = ETK_TEXT_INIT;
  if (record->broken) return;
  if (record->metrics < 0 && (record->metrics = open_in(record, "metrics.jsonl")) < 0) {
    broken(record, "metrics.jsonl", errno);
    return;
  }
  etk_text_puts(&line, "{\"name\":");
  put_json(&line, name ? name : "");
  etk_text_printf(&line, ",\"step\":%" PRId64 ",\"value\":", step);
  etk_text_real(&line, value);
  etk_text_printf(&line, ",\"time_ms\":%" PRId64 "}\n", unix_ms());
  if (!line.failed && line.size <= BUFFER_SIZE) {
    if (record->used + line.size > BUFFER_SIZE) record_flush(record);
    memcpy(record->buffer + record->used, line.data, line.size);
    record->used += line.size;
  }
  etk_text_free(&line);
  int64_t now = etk_time_ns();
  if (now - record->window_ns >= WINDOW_NS) record->window_ns = now, record->window_writes = 0;
  if (record->window_writes++ < WINDOW_WRITES) record_flush(record);
}

void record_log(struct record *record, int level, const char *message) {
  etk_text line = ETK_TEXT_INIT;
  char time_text[32];
  if (record->broken) return;
  etk_text_puts(&line, "{\"time\":");
  put_json(&line, iso_time(time_text, sizeof time_text, unix_ms()));
  etk_text_printf(&line, ",\"level\":\"%s\",\"message\":", etk_log_level_name((etk_log_level)level));
  put_json(&line, message);
  etk_text_puts(&line, "}\n");
  if (record->log < 0) record->log = open_in(record, "log.jsonl");
  int error = line.failed ? 0 : record->log < 0 ? errno : append(record->log, line.data, line.size);
  etk_text_free(&line);
  if (error) broken(record, "log.jsonl", error);
}

void record_artifacts(struct record *record, const char *lines, size_t size) {
  if (record->broken || !size) return;
  int fd = open_in(record, "artifacts.jsonl"), error = fd < 0 ? errno : append(fd, lines, size);
  if (fd >= 0) close(fd);
  if (error) broken(record, "artifacts.jsonl", error);
}

void record_close(struct record *record) {
  struct stat crash = {0};
  char path[4200];
  if (!record) return;
  record_flush(record);
  if (record->crash >= 0) {
    snprintf(path, sizeof path, "%s/crash.txt", record->dir);
    if (!fstat(record->crash, &crash) && !crash.st_size) unlink(path);
    close(record->crash);
  }
  snprintf(path, sizeof path, "%s/run.json", record->dir);
  if (record->broken && !crash.st_size && access(path, F_OK)) etk_fs_remove_tree(NULL, record->dir); /* the disk was full from the beginning: it says nothing */
  if (record->metrics >= 0) close(record->metrics);
  if (record->log >= 0) close(record->log);
  etk_free(record->buffer);
  etk_free(record);
}
