/* stats_internal.h: what the files of statistics share. Not installed. */
#ifndef ETK_STATS_INTERNAL_H
#define ETK_STATS_INTERNAL_H

#include "etk/bench.h"

/* Sorted copy in ascending order (etk_free); samples that are not finite are an error. */
etk_status etk__stats_sorted(etk_error *e, double **out, const double *samples, size_t count);
void etk__stats_sort(double *samples, size_t count);
double etk__stats_quantile(const double *sorted, size_t count, double p); /* type 7 */

#endif
