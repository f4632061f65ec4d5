/* chart_text.c: how wide text is, what of it is shown, and a font of strokes for pictures.
 *
 * The font is drawn on a grid where capitals are 10 high, small letters 7 and descenders 3 deep; a glyph is `width` wide and stands between two
 * bearings. "M x y …" moves and draws lines, "Q cx cy x y …" quadratic curves, "L" goes back to lines. */
#include "chart_internal.h"

#include <math.h>

static const double unit = 0.0725, bearing = 1.35; /* of the font size; of the grid */

static const struct glyph {
  double width;
  const char *path;
} glyphs[] = {
    {1.2, ""},                                                                            /* space */
    {0, "M0 10 0 3.4M0 .3 0 .2"},                                                         /* ! */
    {2, "M0 10 0 7.2M2 10 2 7.2"},                                                        /* " */
    {5.6, "M1.9 10 .9 0M4.7 10 3.7 0M.3 6.6 5.6 6.6M0 3.4 5.3 3.4"},                      /* # */
    {5, "M4.7 7.2Q4.2 9 2.5 9Q.3 9 .3 7.2Q.3 5.6 2.5 5.1Q5 4.5 5 2.8Q5 1 2.5 1Q.5 1 0 2.8M2.5 10.4 2.5 -.4"}, /* $ */
    {8, "M1.8 10Q0 10 0 7.6Q0 5.2 1.8 5.2Q3.6 5.2 3.6 7.6Q3.6 10 1.8 10M6.6 10 1.4 0M6.2 4.8Q4.4 4.8 4.4 2.4Q4.4 0 6.2 0Q8 0 8 2.4Q8 4.8 6.2 4.8"}, /* % */
    {6.4, "M6.4 0 1.6 6.4Q.8 7.5 .8 8.3Q.8 10 2.5 10Q4.2 10 4.2 8.3Q4.2 6.9 2.2 5.6Q0 4.2 0 2.4Q0 0 2.6 0Q5.4 0 6.2 4.4"}, /* & */
    {0, "M0 10 0 7.2"},                                                                   /* ' */
    {1.6, "M1.7 11Q0 8 0 4.2Q0 .5 1.7 -2.6"},                                             /* ( */
    {1.6, "M0 11Q1.7 8 1.7 4.2Q1.7 .5 0 -2.6"},                                           /* ) */
    {3.4, "M1.7 10 1.7 5.8M0 9 3.4 6.8M3.4 9 0 6.8"},                                     /* * */
    {5, "M2.5 6.2 2.5 1.2M0 3.7 5 3.7"},                                                  /* + */
    {.4, "M.4 .5 .4 0 -.1 -1.8"},                                                         /* , */
    {2.6, "M0 3.7 2.6 3.7"},                                                              /* - */
    {0, "M0 .3 0 .2"},                                                                    /* . */
    {3.2, "M3.2 10.4 0 -1"},                                                              /* / */
    {5, "M2.5 10Q0 10 0 5Q0 0 2.5 0Q5 0 5 5Q5 10 2.5 10"},                                /* 0 */
    {5, "M.7 8.1 2.8 10 2.8 0"},                                                          /* 1 */
    {5, "M.2 7.6Q.2 10 2.5 10Q4.8 10 4.8 7.4Q4.8 5.8 3.3 4.1L0 0 5 0"},                   /* 2 */
    {5, "M.2 8.3Q.7 10 2.5 10Q4.7 10 4.7 7.7Q4.7 5.4 2.2 5.4Q5 5.4 5 2.7Q5 0 2.4 0Q.5 0 0 1.9"}, /* 3 */
    {5, "M3.9 0 3.9 10 0 3 5 3"},                                                         /* 4 */
    {5, "M4.6 10 .8 10 .4 5.4Q1.2 6.4 2.6 6.4Q5 6.4 5 3.2Q5 0 2.4 0Q.6 0 0 1.7"},         /* 5 */
    {5, "M4.5 8.6Q4 10 2.6 10Q0 10 0 4.8Q0 0 2.6 0Q5 0 5 3Q5 6 2.7 6Q.6 6 .1 3.6"},       /* 6 */
    {5, "M0 10 5 10Q2 5 1.8 0"},                                                          /* 7 */
    {5, "M2.5 5.4Q.4 5.4 .4 7.7Q.4 10 2.5 10Q4.6 10 4.6 7.7Q4.6 5.4 2.5 5.4Q0 5.4 0 2.7Q0 0 2.5 0Q5 0 5 2.7Q5 5.4 2.5 5.4"}, /* 8 */
    {5, "M.5 1.4Q1 0 2.4 0Q5 0 5 5.2Q5 10 2.4 10Q0 10 0 7Q0 4 2.3 4Q4.4 4 4.9 6.4"},      /* 9 */
    {0, "M0 5.3 0 5.2M0 .3 0 .2"},                                                        /* : */
    {.4, "M.2 5.3 .2 5.2M.4 .5 .4 0 -.1 -1.8"},                                           /* ; */
    {4.8, "M4.8 6.6 0 3.7 4.8 .8"},                                                       /* < */
    {5, "M0 5 5 5M0 2.4 5 2.4"},                                                          /* = */
    {4.8, "M0 6.6 4.8 3.7 0 .8"},                                                         /* > */
    {4.4, "M0 8.2Q.5 10 2.2 10Q4.4 10 4.4 7.8Q4.4 6.3 3.1 5.4Q2.1 4.7 2.1 3.2M2.1 .3 2.1 .2"}, /* ? */
    {8.6, "M6.2 5.9Q5.6 7 4.2 7Q2.2 7 2.2 4.2Q2.2 1.8 4 1.8Q6 1.8 6.3 5L6.4 6.9M6.3 4.2Q6 1.8 7.2 1.8Q8.6 1.8 8.6 5Q8.6 10 4.4 10Q0 10 0 4.4Q0 -1.6 4.6 -1.6Q6.2 -1.6 7.4 -.8"}, /* @ */
    {7, "M0 0 3.5 10 7 0M1.2 3.4 5.8 3.4"},                                               /* A */
    {5.9, "M0 0 0 10 3 10Q5.4 10 5.4 7.7Q5.4 5.4 3 5.4L0 5.4M3 5.4Q5.9 5.4 5.9 2.7Q5.9 0 3 0L0 0"}, /* B */
    {6.6, "M6.6 7.6Q5.9 10 3.6 10Q0 10 0 5Q0 0 3.6 0Q5.9 0 6.6 2.4"},                     /* C */
    {6.4, "M0 0 0 10 2.8 10Q6.4 10 6.4 5Q6.4 0 2.8 0L0 0"},                               /* D */
    {5.2, "M5.2 10 0 10 0 0 5.2 0M0 5.3 4.8 5.3"},                                        /* E */
    {5, "M5 10 0 10 0 0M0 5.1 4.6 5.1"},                                                  /* F */
    {6.8, "M6.5 7.6Q5.8 10 3.6 10Q0 10 0 5Q0 0 3.6 0Q6.2 0 6.8 2.4L6.8 4.7 3.8 4.7"},     /* G */
    {6.2, "M0 0 0 10M6.2 0 6.2 10M0 5.3 6.2 5.3"},                                        /* H */
    {0, "M0 0 0 10"},                                                                     /* I */
    {4.2, "M4.2 10 4.2 2.8Q4.2 0 2.1 0Q.3 0 0 2.4"},                                      /* J */
    {6, "M0 0 0 10M5.8 10 0 3.6M2.2 6 6 0"},                                              /* K */
    {4.8, "M0 10 0 0 4.8 0"},                                                             /* L */
    {7.6, "M0 0 0 10 3.8 1.6 7.6 10 7.6 0"},                                              /* M */
    {6.2, "M0 0 0 10 6.2 0 6.2 10"},                                                      /* N */
    {7.4, "M3.7 10Q0 10 0 5Q0 0 3.7 0Q7.4 0 7.4 5Q7.4 10 3.7 10"},                        /* O */
    {5.8, "M0 0 0 10 3 10Q5.8 10 5.8 7.2Q5.8 4.4 3 4.4L0 4.4"},                           /* P */
    {7.4, "M3.7 10Q0 10 0 5Q0 0 3.7 0Q7.4 0 7.4 5Q7.4 10 3.7 10M4.6 2.4 7.4 -.6"},        /* Q */
    {6, "M0 0 0 10 3 10Q5.8 10 5.8 7.2Q5.8 4.4 3 4.4L0 4.4M3.2 4.4 6 0"},                 /* R */
    {5.7, "M5.4 7.9Q4.8 10 2.8 10Q.3 10 .3 7.6Q.3 5.7 2.8 5.2Q5.7 4.6 5.7 2.5Q5.7 0 2.9 0Q.6 0 0 2.2"}, /* S */
    {6.4, "M0 10 6.4 10M3.2 10 3.2 0"},                                                   /* T */
    {6, "M0 10 0 3.4Q0 0 3 0Q6 0 6 3.4L6 10"},                                            /* U */
    {6.8, "M0 10 3.4 0 6.8 10"},                                                          /* V */
    {9.6, "M0 10 2.4 0 4.8 9.4 7.2 0 9.6 10"},                                            /* W */
    {6.2, "M0 10 6.2 0M6.2 10 0 0"},                                                      /* X */
    {6.4, "M0 10 3.2 4.8 6.4 10M3.2 4.8 3.2 0"},                                          /* Y */
    {5.8, "M.2 10 5.7 10 0 0 5.8 0"},                                                     /* Z */
    {1.6, "M1.6 11 0 11 0 -2.4 1.6 -2.4"},                                                /* [ */
    {3.2, "M0 10.4 3.2 -1"},                                                              /* \ */
    {1.6, "M0 11 1.6 11 1.6 -2.4 0 -2.4"},                                                /* ] */
    {4.2, "M0 6.8 2.1 10 4.2 6.8"},                                                       /* ^ */
    {4.6, "M-.6 -1.4 5.2 -1.4"},                                                          /* _ */
    {1.4, "M0 10.6 1.4 8.8"},                                                             /* ` */
    {4.8, "M.4 5.7Q1 7 2.6 7Q4.8 7 4.8 4.8L4.8 0M4.8 4 2.5 4Q0 4 0 1.9Q0 0 2 0Q4.2 0 4.8 2"}, /* a */
    {5.2, "M0 10 0 0M0 3.5Q0 7 2.7 7Q5.2 7 5.2 3.5Q5.2 0 2.7 0Q0 0 0 3.5"},               /* b */
    {4.6, "M4.6 5.4Q4.1 7 2.5 7Q0 7 0 3.5Q0 0 2.5 0Q4.1 0 4.6 1.7"},                      /* c */
    {5.2, "M5.2 10 5.2 0M5.2 3.5Q5.2 7 2.5 7Q0 7 0 3.5Q0 0 2.5 0Q5.2 0 5.2 3.5"},         /* d */
    {5, "M0 3.7L5 3.7Q5 7 2.6 7Q0 7 0 3.5Q0 0 2.6 0Q4.2 0 4.8 1.4"},                      /* e */
    {2.6, "M3 10Q1 10.2 1 8L1 0M-.4 7 2.6 7"},                                            /* f */
    {5.2, "M5.2 7 5.2 -.4Q5.2 -3 2.6 -3Q.9 -3 .3 -1.7M5.2 3.5Q5.2 7 2.5 7Q0 7 0 3.5Q0 0 2.5 0Q5.2 0 5.2 3.5"}, /* g */
    {5, "M0 10 0 0M0 4.2Q.3 7 2.7 7Q5 7 5 4.4L5 0"},                                      /* h */
    {0, "M0 7 0 0M0 9.7 0 9.8"},                                                          /* i */
    {.4, "M.4 7 .4 -1Q.4 -3 -1.2 -3M.4 9.7 .4 9.8"},                                      /* j */
    {4.6, "M0 10 0 0M4.4 7 0 2.6M1.7 4.3 4.7 0"},                                         /* k */
    {0, "M0 10 0 0"},                                                                     /* l */
    {8.4, "M0 7 0 0M0 4.2Q.3 7 2.3 7Q4.2 7 4.2 4.4L4.2 0M4.2 4.2Q4.5 7 6.5 7Q8.4 7 8.4 4.4L8.4 0"}, /* m */
    {5, "M0 7 0 0M0 4.2Q.3 7 2.7 7Q5 7 5 4.4L5 0"},                                       /* n */
    {5.2, "M2.6 7Q0 7 0 3.5Q0 0 2.6 0Q5.2 0 5.2 3.5Q5.2 7 2.6 7"},                        /* o */
    {5.2, "M0 7 0 -3M0 3.5Q0 7 2.7 7Q5.2 7 5.2 3.5Q5.2 0 2.7 0Q0 0 0 3.5"},               /* p */
    {5.2, "M5.2 7 5.2 -3M5.2 3.5Q5.2 7 2.5 7Q0 7 0 3.5Q0 0 2.5 0Q5.2 0 5.2 3.5"},         /* q */
    {2.4, "M0 7 0 0M0 4Q.3 7 2.6 6.9"},                                                   /* r */
    {4.3, "M4.1 5.7Q3.7 7 2.2 7Q.2 7 .2 5.3Q.2 4 2.2 3.6Q4.3 3.2 4.3 1.8Q4.3 0 2.2 0Q.4 0 0 1.5"}, /* s */
    {2.6, "M1 9.2 1 2Q1 0 2.8 .1M-.4 7 2.6 7"},                                           /* t */
    {5, "M0 7 0 2.6Q0 0 2.3 0Q4.7 0 5 2.8M5 7 5 0"},                                      /* u */
    {5, "M0 7 2.5 0 5 7"},                                                                /* v */
    {7.6, "M0 7 1.9 0 3.8 6.6 5.7 0 7.6 7"},                                              /* w */
    {4.8, "M0 7 4.8 0M4.8 7 0 0"},                                                        /* x */
    {5, "M0 7 2.5 0M5 7 2.1 -1.2Q1.4 -3 -.2 -2.9"},                                       /* y */
    {4.6, "M.1 7 4.5 7 0 0 4.6 0"},                                                       /* z */
    {2, "M2.2 11Q.9 11 .9 9.4L.9 6Q.9 4.3 -.2 4.3Q.9 4.3 .9 2.6L.9 -.8Q.9 -2.4 2.2 -2.4"}, /* { */
    {0, "M0 11 0 -2.6"},                                                                  /* | */
    {2, "M-.2 11Q1.1 11 1.1 9.4L1.1 6Q1.1 4.3 2.2 4.3Q1.1 4.3 1.1 2.6L1.1 -.8Q1.1 -2.4 -.2 -2.4"}, /* } */
    {5, "M0 3Q.4 4.8 1.6 4.5L3.4 3.3Q4.6 2.9 5 4.7"},                                     /* ~ */
};
static const struct {
  uint32_t code;
  struct glyph glyph;
} symbols[] = {{0xB7, {0, "M0 3.8 0 3.7"}},
               {0xD7, {3.8, "M0 5.6 3.8 1.8M3.8 5.6 0 1.8"}},
               {0x2013, {4.6, "M0 3.7 4.6 3.7"}},
               {0x2014, {8.4, "M0 3.7 8.4 3.7"}},
               {0x2026, {6, "M0 .3 0 .2M3 .3 3 .2M6 .3 6 .2"}},
               {0xB0, {2.8, "M1.4 10.2Q0 10.2 0 8.7Q0 7.2 1.4 7.2Q2.8 7.2 2.8 8.7Q2.8 10.2 1.4 10.2"}},
               {0xB5, {5, "M0 7 0 -3M0 2.6Q0 0 2.3 0Q4.7 0 5 2.8M5 7 5 0"}},
               {0x3BC, {5, "M0 7 0 -3M0 2.6Q0 0 2.3 0Q4.7 0 5 2.8M5 7 5 0"}},
               {0xB1, {5, "M2.5 7.4 2.5 2.6M0 5 5 5M0 .6 5 .6"}},
               {0x2212, {5, "M0 3.7 5 3.7"}},
               {0xB2, {2.6, "M.1 8.9Q.1 10 1.3 10Q2.5 10 2.5 8.8Q2.5 8.1 0 5.6L2.6 5.6"}}};

static const struct glyph narrow_box = {5, "M0 0 0 10 5 10 5 0 0 0"}, wide_box = {11, "M0 -1 0 10 11 10 11 -1 0 -1"};

static const struct glyph *glyph_of(uint32_t code, size_t columns) {
  if (code >= ' ' && code < ' ' + sizeof glyphs / sizeof glyphs[0]) return &glyphs[code - ' '];
  for (size_t i = 0; i < sizeof symbols / sizeof symbols[0]; i++)
    if (symbols[i].code == code) return &symbols[i].glyph;
  return columns == 0 ? NULL : columns > 1 ? &wide_box : &narrow_box;
}

/* The next glyph of valid text; NULL for what has no width of its own (marks that combine). */
static const struct glyph *next_glyph(const char **at, const char *end) {
  uint32_t code = 0;
  size_t bytes = etk_utf8_decode(&code, *at, (size_t)(end - *at));
  if (!bytes) bytes = 1, code = 0xFFFD;
  const struct glyph *glyph = glyph_of(code, etk_utf8_width(*at, bytes));
  *at += bytes;
  return glyph;
}

double etk__text_width(const char *text, size_t size, double font) {
  double width = 0;
  for (const char *end = text + size; text < end;) {
    const struct glyph *glyph = next_glyph(&text, end);
    if (glyph) width += glyph->width + 2 * bearing;
  }
  return width * unit * font;
}

static bool unwanted(uint32_t code) { /* steers a terminal or turns the direction of what follows */
  return code < 0x20 || (code >= 0x7F && code < 0xA0) || (code >= 0x202A && code <= 0x202E) || (code >= 0x2066 && code <= 0x2069) || code == 0x2028 ||
         code == 0x2029 || code == 0xFEFF || (code & 0xFFFE) == 0xFFFE;
}

char *etk__text_clean(etk_arena *arena, const char *text) {
  size_t size = strlen(text), used = 0;
  if (size > 4096) size = 4096; /* far more than any chart can show */
  char *out = etk_arena_alloc(arena, 3 * size + 1);
  if (!out) return NULL;
  for (size_t i = 0; i < size;) {
    uint32_t code;
    size_t bytes = etk_utf8_decode(&code, text + i, size - i);
    if (!bytes) {
      memcpy(out + used, "\xEF\xBF\xBD", 3);
      used += 3, i++;
    } else if (unwanted(code)) {
      if (code < 0x20) out[used++] = ' ';
      i += bytes;
    } else {
      memcpy(out + used, text + i, bytes);
      used += bytes, i += bytes;
    }
  }
  out[used] = 0;
  return out;
}

char *etk__text_fit(etk_arena *arena, const char *text, double width, double font) {
  size_t size = strlen(text);
  if (etk__text_width(text, size, font) <= width) return etk_arena_strdup(arena, text);
  double dots = etk__text_width("\xE2\x80\xA6", 3, font), used = 0;
  const char *at = text, *end = text + size;
  while (at < end) {
    const char *next = at;
    const struct glyph *glyph = next_glyph(&next, end);
    if (glyph) used += (glyph->width + 2 * bearing) * unit * font;
    if (used + dots > width) break;
    at = next;
  }
  while (at > text && at[-1] == ' ') at--;
  return etk_arena_printf(arena, "%.*s\xE2\x80\xA6", (int)(at - text), text);
}

/* ---- strokes ---- */

double etk__pen_width(const etk__pen *pen, bool bold) {
  double width = pen->font * (bold ? 0.135 : 0.092);
  return fmax(width * pen->scale, 1) / pen->scale;
}

struct frame { /* from the grid to pixels: rows and both edges of a glyph fall on whole pixels */
  double x, across, below, small, capital;
};

static void place(const struct frame *f, double out[2], double x, double y) {
  out[0] = f->x + x * f->across;
  if (y < 0) out[1] = -y * f->below;
  else if (y <= 7) out[1] = -y / 7 * f->small;
  else out[1] = -f->small - (y - 7) / 3 * (f->capital - f->small);
}

static const char *read_pair(const char *p, double pair[2]) {
  char *end;
  for (int i = 0; i < 2; i++) {
    pair[i] = strtod(p, &end);
    p = end;
  }
  return p;
}

static void draw_glyph(const etk__pen *pen, const struct glyph *glyph, const struct frame *f) {
  double points[2 * 160], at[2] = {0, 0}, control[2], to[2];
  size_t count = 0;
  char command = 'M';
  for (const char *p = glyph->path; *p;) {
    if (*p == 'M' || *p == 'Q' || *p == 'L') {
      command = *p++;
      if (command == 'M') {
        if (count > 1) pen->line(pen->user, points, count);
        count = 0;
      }
      continue;
    }
    if (*p == ' ') {
      p++;
      continue;
    }
    if (command == 'Q') p = read_pair(p, control);
    p = read_pair(p, to);
    int steps = command == 'Q' ? 8 : 1;
    for (int i = 1; i <= steps && count < 160; i++) {
      double t = (double)i / steps, s = 1 - t;
      if (command != 'Q') place(f, points + 2 * count++, to[0], to[1]);
      else place(f, points + 2 * count++, s * s * at[0] + 2 * s * t * control[0] + t * t * to[0], s * s * at[1] + 2 * s * t * control[1] + t * t * to[1]);
    }
    memcpy(at, to, sizeof at);
  }
  if (count > 1) pen->line(pen->user, points, count);
}

void etk__text_draw(const etk__pen *pen, const char *text) {
  double size = unit * pen->font, x = 0, s = pen->scale;
  for (const char *end = text + strlen(text); text < end;) {
    const struct glyph *glyph = next_glyph(&text, end);
    if (!glyph) continue;
    struct frame f = {.across = size, .x = x + bearing * size, .below = size, .small = 7 * size, .capital = 10 * size};
    if (s > 0) {
      f.small = rint(f.small * s) / s, f.capital = rint(f.capital * s) / s, f.below = rint(3 * size * s) / s / 3;
      f.x = rint(f.x * s) / s;
      if (glyph->width >= 2) f.across = rint(glyph->width * size * s) / s / glyph->width;
    }
    draw_glyph(pen, glyph, &f);
    x += (glyph->width + 2 * bearing) * size;
  }
}
