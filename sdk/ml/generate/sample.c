/* Choosing the next token. */
#include <etk/generate.h>

#include <math.h>
#include <stdlib.h>

/* Larger logit first; ties to the smaller id, so that results do not depend on the sort. */
static int by_logit(const void *a, const void *b) {
  const etk_candidate *x = a, *y = b;
  if (x->logit != y->logit) return x->logit < y->logit ? 1 : -1;
  return x->id < y->id ? -1 : x->id > y->id;
}

static void penalise(float *logits, int64_t vocab, double penalty, const int32_t *seen, size_t count) {
  for (size_t i = 0; i < count; i++) {
    if (seen[i] < 0 || seen[i] >= vocab) continue;
    bool repeated = false; /* each token once, however often it was seen; contexts are short, so a look back costs little */
    for (size_t j = i; j > 0 && !repeated && i - j < 256; j--) repeated = seen[j - 1] == seen[i];
    if (repeated) continue;
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

int32_t etk_sample(float *logits, int64_t vocab, const etk_sampling *s, const int32_t *seen, size_t seen_count, etk_rng *rng, etk_candidate *scratch, double *logprob) {
  if (s->repetition_penalty > 0 && s->repetition_penalty != 1) penalise(logits, vocab, s->repetition_penalty, seen, seen_count);
  if (s->temperature <= 0) return greedy(logits, vocab, logprob);
  for (int64_t i = 0; i < vocab; i++) scratch[i] = (etk_candidate){(float)(logits[i] / s->temperature), (int32_t)i};
  int64_t count = s->top_k > 0 && s->top_k < vocab ? s->top_k : vocab;
  if (count < vocab) select_top(scratch, vocab, count);
  qsort(scratch, (size_t)count, sizeof *scratch, by_logit);
  double sum = 0;
  for (int64_t i = 0; i < count; i++) sum += exp((double)scratch[i].logit - (double)scratch[0].logit);
  if (s->top_p > 0 && s->top_p < 1) { /* the shortest head whose probability reaches top_p */
    double head = 0;
    int64_t kept = 0;
    while (kept < count && head < s->top_p * sum) head += exp((double)scratch[kept++].logit - (double)scratch[0].logit);
    count = kept;
    sum = head;
  }
  double draw = etk_rng_uniform(rng) * sum;
  int64_t chosen = 0;
  for (double passed = 0; chosen < count - 1; chosen++) {
    passed += exp((double)scratch[chosen].logit - (double)scratch[0].logit);
    if (draw < passed) break;
  }
  if (logprob) *logprob = (double)scratch[chosen].logit - (double)scratch[0].logit - log(sum);
  return scratch[chosen].id;
}
