#include "attention.h"

#include <math.h>

enum { TILE_ROWS = 132 }; /* of queries: keys are packed once for so many; 22 steps of the kernel */
_Static_assert(TILE_ROWS % ATTENTION_STEP == 0, "whole steps");

int64_t etk__tile_count(int64_t tokens, int64_t group) {
  int64_t most = group < TILE_ROWS ? TILE_ROWS / group : 1;
  return (tokens + most - 1) / most;
}
int64_t etk__tile_tokens(int64_t tokens, int64_t group) {
  int64_t count = etk__tile_count(tokens, group);
  return (tokens + count - 1) / count;
}
int64_t etk__tile_order(int64_t i, int64_t count) { return i % 2 ? count - 1 - i / 2 : i / 2; }

static int64_t up(int64_t n, int64_t unit) { return (n + unit - 1) / unit * unit; }
static int64_t rows_of(int64_t tokens, int64_t group) { return up(etk__tile_tokens(tokens, group) * group, ATTENTION_STEP); }

size_t etk__tile_bytes(int64_t tokens, int64_t group, int64_t d) {
  int64_t rows = rows_of(tokens, group), dv = up(d, ATTENTION_PAD);
  int64_t floats = up(rows * d, 16) + rows * dv + ATTENTION_KEYS * (d + dv) + 2 * up(rows, 16);
  return (size_t)up(floats * (int64_t)sizeof(float) + 2 * rows * (int64_t)sizeof(int64_t), ALIGNMENT);
}

void etk__tile_begin(struct tile *t, void *scratch, const float *q, int64_t q_row, int64_t tokens, int64_t group, int64_t d, const etk_attention_options *o) {
  const struct kernels *kernels = etk__kernels();
  int64_t used = tokens * group, rows = up(used, ATTENTION_STEP), dv = up(d, ATTENTION_PAD);
  float *at = scratch;
  *t = (struct tile){.kernel = {.rows = rows, .d = d, .dv = dv, .softcap = o->softcap}, .tokens = tokens, .group = group};
  t->k = at, at += ATTENTION_KEYS * d;
  t->v = at, at += ATTENTION_KEYS * dv;
  t->kernel.y = at, at += rows * dv;
  t->q = at, at += up(rows * d, 16);
  t->kernel.top = at, at += up(rows, 16);
  t->kernel.sum = at, at += up(rows, 16);
  t->first = (int64_t *)(void *)at, t->end = t->first + rows;
  for (int64_t i = 0; i < tokens; i++) kernels->scale_f32(t->q + i * group * d, q + i * q_row, o->scale, group * d);
  memset(t->q + used * d, 0, (size_t)((rows - used) * d) * sizeof(float));
  memset(t->kernel.y, 0, (size_t)(rows * dv) * sizeof(float));
  for (int64_t i = 0; i < rows; i++) {
    t->kernel.top[i] = -INFINITY;
    t->kernel.sum[i] = 0;
    t->first[i] = t->end[i] = 0;
  }
  t->kernel.q = t->q, t->kernel.k = t->k, t->kernel.v = t->v, t->kernel.first = t->first, t->kernel.end = t->end;
}

void etk__tile_see(struct tile *t, int64_t token, int64_t first, int64_t end) {
  for (int64_t i = token * t->group; i < (token + 1) * t->group; i++) {
    t->first[i] = first;
    t->end[i] = end;
  }
}

void etk__tile_add(struct tile *t, int64_t start) {
  t->kernel.start = start;
  etk__kernels()->attention_tile_f32(&t->kernel);
}

void etk__tile_end(const struct tile *t, float *y, int64_t y_row) {
  const struct attention_tile *k = &t->kernel;
  for (int64_t i = 0; i < t->tokens * t->group; i++) {
    float *to = y + i / t->group * y_row + i % t->group * k->d;
    if (t->first[i] < t->end[i]) etk__kernels()->scale_f32(to, k->y + i * k->dv, 1 / k->sum[i], k->d);
    else memset(to, 0, (size_t)k->d * sizeof *to);
  }
}
