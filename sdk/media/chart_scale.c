/* chart_scale.c: axes with round ticks. */
#include "chart_internal.h"

#include <float.h>
#include <math.h>

/* ---- numbers as text ---- */

static int exponent_of(double value) { return (int)floor(log10(value) + 1e-12); }

static void drop_zeros(char *text) {
  if (!strchr(text, '.')) return;
  size_t size = strlen(text);
  while (text[size - 1] == '0') text[--size] = 0;
  if (text[size - 1] == '.') text[--size] = 0;
}

static void scientific(char out[32], double value, int digits) {
  char text[64];
  snprintf(text, sizeof text, "%.*e", digits < 0 ? 0 : digits > 6 ? 6 : digits, value);
  char *e = strchr(text, 'e');
  int exponent = (int)strtol(e + 1, NULL, 10);
  *e = 0;
  drop_zeros(text);
  snprintf(out, 32, "%.20se%d", text, exponent);
}

void etk__number(char out[32], double value, double step) {
  static const char suffix[] = " kMGT";
  double size = fabs(value);
  if (!isfinite(value) || size == 0) {
    snprintf(out, 32, "%s", isnan(value) ? "nan" : value > 0 ? "inf" : value < 0 ? "-inf" : "0");
    return;
  }
  int exponent = exponent_of(size), last = step > 0 ? exponent_of(step) : exponent - 3; /* the last digit that counts: 10^last */
  if ((step > 0 ? step < 0.9999e-4 && size < 9.9999e-3 : size < 9.9999e-4) || size >= 1e15) { /* all of an axis, or none */
    scientific(out, value, exponent - last);
    return;
  }
  int group = size >= 1e4 ? exponent / 3 : 0, decimals = 3 * group - last;
  if (group && decimals > 3 && step > 0) group = 0, decimals = -last;
  snprintf(out, 30, "%.*f", decimals < 0 ? 0 : decimals > 12 ? 12 : decimals, value / pow(10, 3 * group));
  if (group || step <= 0) drop_zeros(out);
  size_t used = strlen(out);
  if (group) out[used] = suffix[group], out[used + 1] = 0;
  if (!strcmp(out, "-0")) snprintf(out, 32, "0");
}

/* ---- ticks ---- */

static void add_tick(etk__axis *axis, double value, double step, bool minor) {
  if (axis->count == ETK__TICKS) return;
  etk__tick *tick = &axis->ticks[axis->count++];
  *tick = (etk__tick){.value = value, .minor = minor};
  if (!minor) etk__number(tick->label, value, step);
}

/* m·10^k with m in 1, 2, 5, at least `least`. */
static double round_step(double least, int *k) {
  *k = exponent_of(least);
  double unit = pow(10, *k), m = least / unit;
  double step = m <= 1.0000001 ? unit : m <= 2.0000001 ? 2 * unit : m <= 5.0000001 ? 5 * unit : 10 * unit;
  if (m > 5.0000001) (*k)++;
  if (!isfinite(step)) step = unit;
  return step;
}

/* i·step, as near to the decimal number that is meant as a double can be. */
static double multiple(double i, double step, int k) {
  if (k >= 0 || k < -300) return i * step;
  double scale = pow(10, -k);
  return i * rint(step * scale) / scale;
}

static void fit_linear(etk__axis *axis, double low, double high, bool round, size_t wanted, bool positive) {
  double size = fmax(fabs(low), fabs(high));
  if (high / 4 - low / 4 < fmax(size * 1e-11, 1e-305)) { /* all equal, as far as digits can tell */
    double room = size < 1e-290 ? 1 : size * 0.1;
    if (size < 1e-290) low = round ? 0 : -1, high = 1;
    else low -= low < DBL_MAX * -0.8 ? 0 : room, high += high > DBL_MAX * 0.8 ? 0 : room;
  }
  int k;
  double step = round_step(fmin(fmax((high / 4 - low / 4) / (double)wanted, DBL_MIN), DBL_MAX / 8) * 4, &k);
  double first = floor(low / step + 1e-9), last = ceil(high / step - 1e-9);
  if (!round) first = ceil(low / step - 1e-9), last = floor(high / step + 1e-9);
  if (round) low = fmax(multiple(first, step, k), -DBL_MAX), high = fmin(multiple(last, step, k), DBL_MAX);
  axis->low = low, axis->high = high;
  for (size_t n = 0; n < ETK__TICKS && first + (double)n <= last; n++) {
    double value = multiple(first + (double)n, step, k);
    if (isfinite(value) && (!positive || value > 0)) add_tick(axis, value, step, false);
  }
}

static void fit_log(etk__axis *axis, double low, double high, bool round, size_t wanted) {
  double l = log10(low), h = log10(high);
  if (h - l < 0.9) { /* less than a decade: the ticks of a linear axis, at their places */
    etk__axis linear = {0};
    fit_linear(&linear, low, high, round, wanted, true);
    *axis = linear;
    axis->log = true;
    axis->low = linear.low > 0 ? log10(linear.low) : l, axis->high = log10(linear.high);
    return;
  }
  if (round) l = floor(l + 1e-9), h = ceil(h - 1e-9);
  int stride = 1, tens;
  if (h - l > (double)wanted) stride = (int)round_step((h - l) / (double)wanted, &tens);
  if (round) l = floor(l / stride + 1e-9) * stride, h = ceil(h / stride - 1e-9) * stride;
  axis->low = l, axis->high = h;
  int first = (int)ceil(l - 1e-9), last = (int)floor(h + 1e-9);
  bool fine = stride <= 1 && (h - l) * 3 <= (double)wanted * 1.3;
  for (int k = first - 1; k <= last; k++) {
    if (k < -307 || k > 308) continue;
    if (k >= first && (stride <= 1 || k % stride == 0)) add_tick(axis, pow(10, k), 0, false);
    for (int m = 2; m < 10 && stride <= 1 && h - l <= 8; m++) {
      double value = k < 0 ? m / pow(10, -k) : m * pow(10, k), at = log10(value);
      if (at < l - 1e-9 || at > h + 1e-9) continue;
      add_tick(axis, value, 0, !(fine && (m == 2 || m == 5)));
    }
  }
}

void etk__axis_fit(etk__axis *axis, double low, double high, bool log, bool round, size_t wanted) {
  *axis = (etk__axis){.log = log};
  if (!(low <= high)) low = log ? 1 : 0, high = log ? 10 : 1;
  if (wanted < 1) wanted = 1;
  if (log) fit_log(axis, low, high, round, wanted);
  else fit_linear(axis, low, high, round, wanted, false);
}

double etk__axis_at(const etk__axis *axis, double value) {
  if (axis->log) value = value > 0 ? log10(value) : NAN;
  double span = axis->high / 4 - axis->low / 4; /* quarters: the span of the greatest numbers is a number */
  return isfinite(value) ? span > 0 ? (value / 4 - axis->low / 4) / span : 0.5 : NAN;
}

bool etk__axis_whole(const etk__axis *axis) {
  for (size_t i = 0; i < axis->count; i++)
    if (axis->ticks[i].value != rint(axis->ticks[i].value)) return false;
  return true;
}
