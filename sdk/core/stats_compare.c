/* stats_compare.c: whether two sets of times differ (Mann and Whitney 1947, Hodges and Lehmann 1963), and where a series changed (Pettitt 1979). */
#include "stats_internal.h"

#include "etk/alloc.h"
#include <math.h>
#include <string.h>

enum { EXACT_BELOW = 20, MOST_U = (EXACT_BELOW - 1) * (EXACT_BELOW - 1) };

/* ---- the distribution of U without ties ---- */

/* ways[u]: of all orders of m and n samples, how many have U = u. The largest of m + n samples is a b, which beats all m, or an a, which beats none:
 * W(m, n, u) = W(m, n-1, u-m) + W(m-1, n, u). As a product, (1 - q^(n+i)) / (1 - q^i) over i = 1 … m, multiplied in place. Below 2^53, so exact. */
static double distribution(double ways[MOST_U + 1], size_t m, size_t n) {
  size_t top = m * n;
  memset(ways, 0, (MOST_U + 1) * sizeof *ways);
  ways[0] = 1;
  for (size_t i = 1; i <= m; i++) {
    for (size_t u = top; u + 1 > n + i; u--) ways[u] -= ways[u - n - i];
    for (size_t u = i; u <= top; u++) ways[u] += ways[u - i];
  }
  double all = 0;
  for (size_t u = 0; u <= top; u++) all += ways[u];
  return all;
}

static double exact_p(double u, size_t m, size_t n) {
  double ways[MOST_U + 1], all = distribution(ways, m, n), tail = 0;
  double side = u < (double)(m * n) - u ? u : (double)(m * n) - u;
  for (size_t i = 0; (double)i <= side; i++) tail += ways[i];
  double p = 2 * tail / all;
  return p > 1 ? 1 : p;
}

/* ---- U, ties ---- */

struct ranks {
  double u;     /* pairs in which b is above a, ties half */
  double ties;  /* sum of t³ - t over groups of equals */
};

/* Both sorted: one walk over the merged order. */
static struct ranks rank(const double *a, size_t m, const double *b, size_t n) {
  struct ranks r = {0, 0};
  size_t i = 0, j = 0;
  while (i < m || j < n) {
    double value = j >= n || (i < m && a[i] <= b[j]) ? a[i] : b[j];
    size_t in_a = 0, in_b = 0;
    while (i + in_a < m && a[i + in_a] == value) in_a++;
    while (j + in_b < n && b[j + in_b] == value) in_b++;
    r.u += (double)in_b * ((double)i + (double)in_a / 2);
    double t = (double)(in_a + in_b);
    r.ties += t * t * t - t;
    i += in_a, j += in_b;
  }
  return r;
}

static double deviation(size_t m, size_t n, double ties) {
  double all = (double)m + (double)n;
  return sqrt((double)m * (double)n / 12 * (all + 1 - ties / (all * (all - 1))));
}

static double normal_p(const struct ranks *r, size_t m, size_t n) {
  double sigma = deviation(m, n, r->ties), off = fabs(r->u - (double)m * (double)n / 2) - 0.5;
  if (!(sigma > 0) || off <= 0) return 1; /* all are equal */
  return erfc(off / sigma / 1.41421356237309504880);
}

/* The normal quantile for an upper tail, by bisection on erfc. */
static double normal_upper(double tail) {
  double low = 0, high = 40;
  for (int i = 0; i < 200; i++) {
    double middle = (low + high) / 2;
    if (erfc(middle / 1.41421356237309504880) / 2 > tail) low = middle;
    else high = middle;
  }
  return (low + high) / 2;
}

/* ---- Hodges–Lehmann ---- */

/* How many of the m × n differences b - a are at most `value`: both sorted, so a staircase. */
static size_t differences_up_to(const double *a, size_t m, const double *b, size_t n, double value) {
  size_t found = 0, j = n;
  for (size_t i = m; i-- > 0;) { /* falling a: rising differences */
    while (j > 0 && b[j - 1] - a[i] > value) j--;
    found += j;
    if (!j) break;
  }
  return found;
}

/* Doubles in the order of their value, as integers and back. */
static int64_t order_of(double x) {
  int64_t bits;
  memcpy(&bits, &x, sizeof bits);
  return bits < 0 ? INT64_MIN - bits : bits;
}
static double double_of(int64_t order) {
  int64_t bits = order < 0 ? INT64_MIN - order : order;
  double x;
  memcpy(&x, &bits, sizeof x);
  return x;
}

/* The kth smallest difference (from 1), without making them all: bisection over the doubles themselves. */
static double kth_difference(const double *a, size_t m, const double *b, size_t n, size_t k) {
  int64_t low = order_of(b[0] - a[m - 1]), high = order_of(b[n - 1] - a[0]);
  while (low < high) {
    int64_t middle = low + (int64_t)(((uint64_t)high - (uint64_t)low) / 2);
    if (differences_up_to(a, m, b, n, double_of(middle)) >= k) high = middle;
    else low = middle + 1;
  }
  return double_of(low);
}

/* The interval is [D(k), D(mn + 1 - k)] with the largest k for which P(U < k) is at most alpha / 2; 0: none. */
static size_t interval_rank(size_t m, size_t n, double alpha, bool exact, double ties) {
  if (exact) {
    double ways[MOST_U + 1], all = distribution(ways, m, n), tail = 0;
    size_t k = 0;
    while (k < m * n / 2 && (tail += ways[k]) / all <= alpha / 2) k++;
    return k;
  }
  double k = floor((double)m * (double)n / 2 - normal_upper(alpha / 2) * deviation(m, n, ties));
  return k < 1 ? 0 : (size_t)k;
}

static void shift(etk_difference *out, const double *a, size_t m, const double *b, size_t n, size_t k) {
  size_t pairs = m * n;
  double upper = kth_difference(a, m, b, n, pairs / 2 + 1);
  double lower = pairs % 2 ? upper : kth_difference(a, m, b, n, pairs / 2);
  out->ratio = exp((lower + upper) / 2);
  out->low = k ? exp(kth_difference(a, m, b, n, k)) : 0;
  out->high = k ? exp(kth_difference(a, m, b, n, pairs + 1 - k)) : INFINITY;
}

static etk_status logs(etk_error *e, double **out, const double *samples, size_t count, const char *name) {
  etk_status status = etk__stats_sorted(e, out, samples, count);
  if (status) return etk_error_while(e, status, "samples %s", name);
  if ((*out)[0] <= 0) {
    status = etk_fail(e, ETK_E_INVALID, "samples %s: the least is %g; times above 0 are wanted", name, (*out)[0]);
    etk_free(*out);
    *out = NULL;
    return status;
  }
  for (size_t i = 0; i < count; i++) (*out)[i] = log((*out)[i]);
  return ETK_OK;
}

etk_status etk_stats_compare(etk_error *e, etk_difference *out, const double *a, size_t a_count, const double *b, size_t b_count, double alpha, double least) {
  double *x = NULL, *y = NULL;
  *out = (etk_difference){.ratio = 1, .high = INFINITY, .p = 1, .least_p = 1};
  if (!(alpha > 0 && alpha < 1)) return etk_fail(e, ETK_E_INVALID, "alpha is %g; it has to be between 0 and 1", alpha);
  if (!(least >= 0)) return etk_fail(e, ETK_E_INVALID, "the least difference is %g; it has to be 0 or above", least);
  if (a_count > UINT32_MAX || b_count > UINT32_MAX) return etk_fail(e, ETK_E_UNSUPPORTED, "too many samples to compare");
  etk_status status = logs(e, &x, a, a_count, "a");
  if (!status) status = logs(e, &y, b, b_count, "b");
  if (!status) {
    struct ranks r = rank(x, a_count, y, b_count);
    bool exact = a_count < EXACT_BELOW && b_count < EXACT_BELOW && r.ties == 0;
    struct ranks extreme = {0, r.ties};
    out->p = exact ? exact_p(r.u, a_count, b_count) : normal_p(&r, a_count, b_count);
    out->least_p = exact ? exact_p(0, a_count, b_count) : normal_p(&extreme, a_count, b_count);
    shift(out, x, a_count, y, b_count, interval_rank(a_count, b_count, alpha, exact, r.ties));
    out->significant = out->p < alpha && (out->low > 1 + least || out->high < 1 / (1 + least));
  }
  etk_free(x);
  etk_free(y);
  return status;
}

/* ---- where a series changed ---- */

static double median_of(double *scratch, const double *samples, size_t count) {
  memcpy(scratch, samples, count * sizeof *scratch);
  etk__stats_sort(scratch, count);
  return etk__stats_quantile(scratch, count, 0.5);
}

etk_status etk_stats_change(etk_error *e, etk_change *out, const double *samples, size_t count) {
  double *scratch;
  *out = (etk_change){.p = 1, .ratio = 1};
  etk_status status = etk__stats_sorted(e, &scratch, samples, count);
  if (status || count < 2) {
    etk_free(scratch);
    return status;
  }
  double greatest = -1, sum = 0, n = (double)count;
  for (size_t t = 0; t + 1 < count; t++) { /* U(t) - U(t-1) is the sum of the signs of sample t against all */
    for (size_t j = 0; j < count; j++) sum += (samples[t] > samples[j]) - (samples[t] < samples[j]);
    if (fabs(sum) <= greatest) continue;
    greatest = fabs(sum);
    out->at = t + 1;
  }
  out->p = 2 * exp(-6 * greatest * greatest / (n * n * n + n * n));
  if (out->p > 1) out->p = 1;
  double before = median_of(scratch, samples, out->at);
  out->ratio = median_of(scratch, samples + out->at, count - out->at) / before;
  etk_free(scratch);
  return ETK_OK;
}
