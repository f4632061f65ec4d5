/* progress.c: a line that is redrawn, or a few plain ones. */
#include "etk/progress.h"
#include "etk/hardware.h"
#include "etk/text.h"
#include <strings.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

static const int64_t REDRAW_NS = INT64_C(100000000), PLAIN_NS = INT64_C(5000000000);
enum { LINE = 512, BAR = 30 };

static bool says_utf8(void) {
  static const char *const variables[] = {"LC_ALL", "LC_CTYPE", "LANG"}; /* the first that is set decides (POSIX) */
  for (size_t i = 0; i < sizeof variables / sizeof variables[0]; i++) {
    const char *value = getenv(variables[i]);
    if (value && *value) return strcasestr(value, "utf-8") || strcasestr(value, "utf8");
  }
  return false;
}

void etk_progress_init(etk_progress *progress, FILE *stream, etk_progress_mode mode, bool color) {
  *progress = (etk_progress){.stream = stream, .mode = mode, .color = color, .unicode = says_utf8(), .width = 80};
  progress->started_ns = progress->last_ns = etk_time_ns();
  if (mode != ETK_PROGRESS_AUTO) return;
  const char *terminal = getenv("TERM");
  bool dumb = !terminal || !*terminal || strcmp(terminal, "dumb") == 0;
  progress->mode = isatty(fileno(stream)) && !dumb ? ETK_PROGRESS_BAR : ETK_PROGRESS_PLAIN;
}

static int terminal_width(FILE *stream) {
  struct winsize size;
  int fd = fileno(stream);
  return fd >= 0 && ioctl(fd, TIOCGWINSZ, &size) == 0 && size.ws_col >= 20 ? size.ws_col : 80;
}

/* "  42%  420/1000  0:01:10 left  note" without the bar. */
static void describe(char out[LINE], const etk_progress *progress, int64_t done, int64_t total, const char *note, int64_t now) {
  char time[32];
  int64_t elapsed = now - progress->started_ns;
  size_t n = 0;
#define ADD(...) (n += (size_t)snprintf(out + n, LINE - n, __VA_ARGS__), n = n < LINE ? n : LINE - 1)
  if (total > 0) {
    ADD("%3d%%  %lld/%lld", (int)((double)done * 100 / (double)total), (long long)done, (long long)total);
    if (done > 0 && done < total)
      ADD("  %s left", etk_format_duration(time, sizeof time, (int64_t)((double)elapsed / (double)done * (double)(total - done))));
    if (done >= total) ADD("  %s", etk_format_duration(time, sizeof time, elapsed));
  } else {
    ADD("%lld  %s", (long long)done, etk_format_duration(time, sizeof time, elapsed));
  }
  if (note && *note) ADD("  %s", note);
#undef ADD
}

/* The bytes of text that fit into `columns`. */
static size_t fit(const char *text, size_t columns) {
  size_t used = 0, size = strlen(text);
  for (size_t i = 0; i < size;) {
    uint32_t code_point;
    size_t n = etk_utf8_decode(&code_point, text + i, size - i);
    if (n == 0) n = 1;
    used += etk_utf8_width(text + i, n);
    if (used > columns) return i;
    i += n;
  }
  return size;
}

static void bar_text(char *out, size_t size, const etk_progress *progress, int cells, double part) {
  static const char *const eighths[] = {"", "\u258F", "\u258E", "\u258D", "\u258C", "\u258B", "\u258A", "\u2589"};
  int filled = (int)(part * cells * 8 + 0.5), n = 0, shown = 0;
  if (!progress->unicode) filled -= filled % 8;
  out[0] = 0;
  size_t used = 0;
  for (; n < filled / 8; n++, shown++) used += (size_t)snprintf(out + used, size - used, "%s", progress->unicode ? "\u2588" : "#");
  if (filled % 8 && shown < cells) {
    used += (size_t)snprintf(out + used, size - used, "%s", eighths[filled % 8]);
    shown++;
  }
  for (; shown < cells; shown++) used += (size_t)snprintf(out + used, size - used, "%s", progress->unicode ? " " : "-");
}

static void draw_bar(etk_progress *progress, const char *label, const char *rest, int64_t done, int64_t total) {
  char bar[BAR * 4 + 1] = "";
  size_t width = (size_t)progress->width - 1, used = etk_utf8_width(label, strlen(label)) + etk_utf8_width(rest, strlen(rest)) + 2;
  int cells = total > 0 && used + 12 <= width ? (width - used - 2 < BAR ? (int)(width - used - 2) : BAR) : 0;
  double part = total > 0 ? (double)done / (double)total : 0;
  if (cells > 0) bar_text(bar, sizeof bar, progress, cells, part < 0 ? 0 : part > 1 ? 1 : part);
  char line[LINE * 2];
  const char *edge = progress->unicode ? "\u2595" : "[", *end = progress->unicode ? "\u258F" : "]";
  if (cells > 0) {
    fprintf(progress->stream, "\r%s %s%s%s%s%s %s\033[K", label, edge, progress->color ? "\033[36m" : "", bar, progress->color ? "\033[0m" : "", end,
            rest);
  } else {
    snprintf(line, sizeof line, "%s %s", label, rest);
    fprintf(progress->stream, "\r%.*s\033[K", (int)fit(line, width), line);
  }
  fflush(progress->stream);
  progress->drawn = true;
}

/* A copy that ends with a whole character. */
static void hold(char *out, size_t size, const char *text) {
  size_t n = text ? strlen(text) : 0;
  if (n >= size)
    for (n = size - 1; n > 0 && ((unsigned char)text[n] & 0xC0) == 0x80;) n--;
  if (n) memcpy(out, text, n);
  out[n] = 0;
}

void etk_progress_update(etk_progress *progress, const char *label, int64_t done, int64_t total, const char *note) {
  if (progress->mode == ETK_PROGRESS_OFF) return;
  int64_t now = etk_time_ns();
  bool last = total > 0 && done >= total, first = progress->mode == ETK_PROGRESS_BAR && !progress->drawn;
  int64_t pause = progress->mode == ETK_PROGRESS_BAR ? REDRAW_NS : PLAIN_NS;
  if (!last && !first && now - progress->last_ns < pause) {
    progress->held_done = done, progress->held_total = total;
    hold(progress->held_label, sizeof progress->held_label, label);
    hold(progress->held_note, sizeof progress->held_note, note);
    progress->held = true;
    return;
  }
  progress->held = false;
  progress->last_ns = now;
  char rest[LINE];
  describe(rest, progress, done, total, note, now);
  if (progress->mode == ETK_PROGRESS_BAR) {
    progress->width = terminal_width(progress->stream);
    draw_bar(progress, label ? label : "", rest, done, total);
  } else {
    fprintf(progress->stream, "%s  %s\n", label ? label : "", rest + strspn(rest, " "));
    fflush(progress->stream);
  }
}

/* What came too soon after the line before it, and was followed by nothing. */
static void show_held(etk_progress *progress) {
  if (!progress->held) return;
  progress->last_ns -= PLAIN_NS;
  char label[sizeof progress->held_label], note[sizeof progress->held_note];
  memcpy(label, progress->held_label, sizeof label);
  memcpy(note, progress->held_note, sizeof note);
  etk_progress_update(progress, label, progress->held_done, progress->held_total, note);
}

void etk_progress_clear(etk_progress *progress) {
  if (!progress->drawn) return;
  fputs("\r\033[K", progress->stream);
  fflush(progress->stream);
  progress->drawn = false;
}

void etk_progress_finish(etk_progress *progress) {
  if (progress->mode == ETK_PROGRESS_OFF) return;
  show_held(progress);
  if (progress->drawn) {
    fputc('\n', progress->stream);
    fflush(progress->stream);
  }
  progress->drawn = false;
}
