/* values.h: passes over the values of tensors, in parallel, with results that do not depend on the number of threads. */
#ifndef MODEL_VALUES_H
#define MODEL_VALUES_H

#include <etk/project.h>
#include <etk/weights.h>

struct statistics {
  int64_t count;    /* finite values */
  int64_t nan, infinite;
  double min, max, mean, squares; /* of the finite ones; squares: sum of squared distances from the mean */
};
struct difference {
  int64_t count;       /* pairs of finite values */
  int64_t unlike;      /* pairs of which one is not finite, unless both are the same infinity or both no number */
  double max_abs;
  double error, total; /* sums of squares: of the differences, of a's values */
};

etk_status values_statistics(etk_error *e, struct statistics *out, const etk_weight *weight);
/* Counts finite values in `bins` equal parts of [min, max]. */
etk_status values_histogram(etk_error *e, int64_t *counts, int64_t bins, const etk_weight *weight, const struct statistics *statistics);
/* Of tensors of equal shape, in stored order, which must be that of both. */
etk_status values_difference(etk_error *e, struct difference *out, const etk_weight *a, const etk_weight *b);
/* Of F32 arrays of any alignment. */
etk_status values_difference_f32(etk_error *e, struct difference *out, const void *a, const void *b, int64_t count);
double values_deviation(const struct statistics *statistics);     /* standard deviation of the whole population */
double values_relative_rms(const struct difference *difference);  /* sqrt(error / total); 0 where nothing differs */

etk_status model_failed(etk_run *run, const etk_error *e); /* hands the error to the host and returns its status */

#endif
