/* chart_color.c: colours, dashes and the scale of heat maps.
 *
 * Series: M. Okabe and K. Ito, Color Universal Design (2008); their black and yellow give way where the paper would swallow them.
 * OKLab: B. Ottosson, A perceptual color space for image processing (2020). */
#include "chart_internal.h"

#include <math.h>

static const struct {
  uint32_t light, dark;
  int terminal;
} inks[] = {
    [ETK__PAPER] = {0xFFFFFF, 0x14171C, 0},      [ETK__TEXT] = {0x1F2328, 0xE6E9ED, 0},       [ETK__MUTED] = {0x59636E, 0x9BA5B1, 245},
    [ETK__GRID] = {0xE4E7EB, 0x2B3038, 240},     [ETK__AXIS] = {0x8C959F, 0x636C76, 245},     [ETK__SERIES] = {0x0072B2, 0x2E95D3, 32},
    [ETK__SERIES + 1] = {0xD55E00, 0xE8701A, 166}, [ETK__SERIES + 2] = {0x009E73, 0x12B886, 36}, [ETK__SERIES + 3] = {0xCC79A7, 0xD68DB6, 175},
    [ETK__SERIES + 4] = {0xE69F00, 0xE69F00, 178}, [ETK__SERIES + 5] = {0x56B4E9, 0x56B4E9, 74}, [ETK__SERIES + 6] = {0x30363D, 0xC9D1D9, 250},
    [ETK__SERIES + 7] = {0xB8A800, 0xF0E442, 185}};

uint32_t etk__color(etk__ink ink, bool dark) { return dark ? inks[ink].dark : inks[ink].light; }
int etk__terminal_color(etk__ink ink) { return inks[ink].terminal; }

const double etk__dashes[ETK__DASHES][6] = {{0}, {7, 3}, {2, 3}, {9, 3, 2, 3}, {13, 4}, {5, 3, 2, 3, 2, 3}, {4, 6}};

/* ---- OKLab ---- */

struct lab {
  double l, a, b;
};

static double to_linear(double v) { return v <= 0.04045 ? v / 12.92 : pow((v + 0.055) / 1.055, 2.4); }
static double from_linear(double v) { return v <= 0.0031308 ? v * 12.92 : 1.055 * pow(v, 1 / 2.4) - 0.055; }

static struct lab lab_of(uint32_t rgb) {
  double r = to_linear((rgb >> 16 & 255) / 255.0), g = to_linear((rgb >> 8 & 255) / 255.0), b = to_linear((rgb & 255) / 255.0);
  double l = cbrt(0.4122214708 * r + 0.5363325363 * g + 0.0514459929 * b);
  double m = cbrt(0.2119034982 * r + 0.6806995451 * g + 0.1073969566 * b);
  double s = cbrt(0.0883024619 * r + 0.2817188376 * g + 0.6299787005 * b);
  return (struct lab){0.2104542553 * l + 0.7936177850 * m - 0.0040720468 * s, 1.9779984951 * l - 2.4285922050 * m + 0.4505937099 * s,
                      0.0259040371 * l + 0.7827717662 * m - 0.8086757660 * s};
}

/* Linear light; may lie outside 0..1. */
static void linear_of(double out[3], struct lab c) {
  double l = c.l + 0.3963377774 * c.a + 0.2158037573 * c.b, m = c.l - 0.1055613458 * c.a - 0.0638541728 * c.b, s = c.l - 0.0894841775 * c.a - 1.2914855480 * c.b;
  l = l * l * l, m = m * m * m, s = s * s * s;
  out[0] = 4.0767416621 * l - 3.3077115913 * m + 0.2309699292 * s;
  out[1] = -1.2684380046 * l + 2.6097574011 * m - 0.3413193965 * s;
  out[2] = -0.0041960863 * l - 0.7034186147 * m + 1.7076147010 * s;
}

/* A colour that no screen has loses chroma, never lightness. */
static uint32_t rgb_of(struct lab c) {
  double light[3];
  for (int i = 0; i < 40; i++) {
    linear_of(light, c);
    bool fits = true;
    for (int k = 0; k < 3; k++) fits = fits && light[k] >= -1e-4 && light[k] <= 1 + 1e-4;
    if (fits) break;
    c.a *= 0.95, c.b *= 0.95;
  }
  uint32_t rgb = 0;
  for (int k = 0; k < 3; k++) rgb = rgb << 8 | (uint32_t)lrint(from_linear(fmin(fmax(light[k], 0), 1)) * 255);
  return rgb;
}

double etk__lightness(uint32_t rgb) { return lab_of(rgb).l; }

/* Lightness climbs evenly; hue goes from violet over blue and green to yellow. Around zero: blue, near white, orange. */
static const struct {
  double l, chroma, hue; /* degrees */
} rising[] = {{0.27, 0.11, 300}, {0.435, 0.12, 268}, {0.60, 0.105, 215}, {0.765, 0.15, 155}, {0.93, 0.17, 108}},
  around[] = {{0.42, 0.13, 250}, {0.69, 0.09, 245}, {0.96, 0.0, 90}, {0.69, 0.14, 52}, {0.42, 0.12, 40}};

uint32_t etk__heat_color(double unit, bool diverging) {
  double at = fmin(fmax(unit, 0), 1) * 4;
  int i = at >= 4 ? 3 : (int)at;
  struct lab ends[2];
  for (int k = 0; k < 2; k++) {
    double l = diverging ? around[i + k].l : rising[i + k].l, c = diverging ? around[i + k].chroma : rising[i + k].chroma;
    double hue = (diverging ? around[i + k].hue : rising[i + k].hue) * (3.14159265358979323846 / 180);
    ends[k] = (struct lab){l, c * cos(hue), c * sin(hue)};
  }
  double t = at - i;
  return rgb_of((struct lab){ends[0].l + (ends[1].l - ends[0].l) * t, ends[0].a + (ends[1].a - ends[0].a) * t, ends[0].b + (ends[1].b - ends[0].b) * t});
}

int etk__terminal_rgb(uint32_t rgb) { /* the 6 × 6 × 6 cube: 0, 95, 135, 175, 215, 255 */
  int index = 16;
  static const int weight[] = {36, 6, 1};
  for (int k = 0; k < 3; k++) {
    int v = (int)(rgb >> (16 - 8 * k) & 255);
    index += weight[k] * (v < 48 ? 0 : v < 115 ? 1 : (v - 35) / 40);
  }
  return index;
}
