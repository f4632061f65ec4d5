/* Choosing the next token. */
#include "internal.h"

#include <math.h>

/* Larger logit first; ties to the smaller id, so that results do not depend on the sort. */
static int by_logit(const etk_candidate *x, const etk_candidate *y) {
  if (x->logit != y->logit) return x->logit < y->logit ? 1 : -1;
  return x->id < y->id ? -1 : x->id > y->id;
}

/* Each token once, however often it was seen; scratch marks those that were. */
static void penalise(float *logits, int64_t vocab, double penalty, const int32_t *seen, size_t count, etk_candidate *scratch) {
  for (int64_t i = 0; i < vocab; i++) scratch[i].id = 0;
  for (size_t i = 0; i < count; i++) {
    if (seen[i] < 0 || seen[i] >= vocab || scratch[seen[i]].id++) continue;
    float *logit = &logits[seen[i]];
    *logit = (float)(*logit > 0 ? *logit / penalty : *logit * penalty);
  }
}

static int32_t greedy(const float *logits, int64_t vocab, double *logprob) {
  int64_t best = 0;
  for (int64_t i = 1; i < vocab; i++)
    if (logits[i] > logits[best]) best = i;
  if (logprob) {
    double sum = 0;
    for (int64_t i = 0; i < vocab; i++) sum += exp((double)logits[i] - (double)logits[best]);
    *logprob = -log(sum);
  }
  return (int32_t)best;
}

/* Keeps the k largest in front by selecting around the k-th (quickselect), then sorts only those. */
static void select_top(etk_candidate *c, int64_t count, int64_t k) {
  int64_t low = 0, high = count - 1;
  while (low < high) {
    etk_candidate pivot = c[low + (high - low) / 2];
    int64_t i = low, j = high;
    while (i <= j) {
      while (by_logit(&c[i], &pivot) < 0) i++;
      while (by_logit(&c[j], &pivot) > 0) j--;
      if (i > j) break;
      etk_candidate swap = c[i];
      c[i++] = c[j];
      c[j--] = swap;
    }
    if (k - 1 <= j) high = j;
    else if (k - 1 >= i) low = i;
    else break;
  }
}

static void sift(etk_candidate *c, int64_t at, int64_t count) {
  for (int64_t child; (child = 2 * at + 1) < count; at = child) {
    if (child + 1 < count && by_logit(&c[child], &c[child + 1]) < 0) child++;
    if (by_logit(&c[at], &c[child]) >= 0) return;
    etk_candidate swap = c[at];
    c[at] = c[child];
    c[child] = swap;
  }
}

/* Heapsort, because libc's qsort allocates. */
static void sort(etk_candidate *c, int64_t count) {
  for (int64_t at = count / 2; at-- > 0;) sift(c, at, count);
  for (int64_t end = count; end-- > 1;) {
    etk_candidate swap = c[0];
    c[0] = c[end];
    c[end] = swap;
    sift(c, 0, end);
  }
}

/* Relative to the most likely candidate, so that no temperature overflows. */
static double weight(const etk_candidate *c, int64_t i, double temperature) { return exp(((double)c[i].logit - (double)c[0].logit) / temperature); }

/* Puts the candidates that may be chosen in front, most likely first; *sum is that of their weights. */
static int64_t keep(const float *logits, int64_t vocab, const etk_sampling *s, etk_candidate *scratch, double *sum) {
  for (int64_t i = 0; i < vocab; i++) scratch[i] = (etk_candidate){isnan(logits[i]) ? -INFINITY : logits[i], (int32_t)i}; /* NaN has no place in an order */
  int64_t count = s->top_k > 0 && s->top_k < vocab ? s->top_k : vocab;
  if (count < vocab) select_top(scratch, vocab, count);
  sort(scratch, count);
  *sum = 0;
  for (int64_t i = 0; i < count; i++) *sum += weight(scratch, i, s->temperature);
  if (s->top_p > 0 && s->top_p < 1) { /* the shortest head whose probability reaches top_p */
    double head = 0;
    int64_t kept = 0;
    while (kept < count && head < s->top_p * *sum) head += weight(scratch, kept++, s->temperature);
    if (kept > 0) {
      count = kept;
      *sum = head;
    }
  }
  return count;
}

static bool penalises(const etk_sampling *s) { return s->repetition_penalty > 0 && s->repetition_penalty != 1; }

int32_t etk_sample(float *logits, int64_t vocab, const etk_sampling *s, const int32_t *seen, size_t seen_count, etk_rng *rng, etk_candidate *scratch, double *logprob) {
  if (penalises(s)) penalise(logits, vocab, s->repetition_penalty, seen, seen_count, scratch);
  if (s->temperature <= 0) return greedy(logits, vocab, logprob);
  double sum;
  int64_t count = keep(logits, vocab, s, scratch, &sum);
  double draw = etk_rng_uniform(rng) * sum;
  int64_t chosen = 0;
  for (double passed = 0; chosen < count - 1; chosen++) {
    passed += weight(scratch, chosen, s->temperature);
    if (draw < passed) break;
  }
  if (logprob) *logprob = ((double)scratch[chosen].logit - (double)scratch[0].logit) / s->temperature - log(sum);
  return scratch[chosen].id;
}

bool etk__probabilities(float *logits, int64_t vocab, const etk_sampling *s, const int32_t *seen, size_t seen_count, etk_candidate *scratch) {
  if (penalises(s)) penalise(logits, vocab, s->repetition_penalty, seen, seen_count, scratch);
  double sum;
  int64_t count = keep(logits, vocab, s, scratch, &sum);
  if (!isfinite(sum) || !(sum > 0)) return false;
  memset(logits, 0, (size_t)vocab * sizeof *logits);
  for (int64_t i = 0; i < count; i++) logits[scratch[i].id] = (float)(weight(scratch, i, s->temperature) / sum);
  return true;
}

int32_t etk__draw(const float *weights, int64_t vocab, etk_rng *rng) {
  double sum = 0, passed = 0;
  for (int64_t i = 0; i < vocab; i++) sum += (double)weights[i];
  if (!(sum > 0)) return -1;
  double draw = etk_rng_uniform(rng) * sum;
  int64_t last = -1;
  for (int64_t i = 0; i < vocab; i++) {
    if (weights[i] <= 0) continue;
    last = i;
    passed += (double)weights[i];
    if (draw < passed) break;
  }
  return (int32_t)last;
}
