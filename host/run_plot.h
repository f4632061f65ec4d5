/* run_plot.h: the metrics of recorded runs as charts, in the terminal or in a file. */
#ifndef RUN_PLOT_H
#define RUN_PLOT_H

#include "host.h"

#include <etk/project.h>

struct run_plot_options {
  struct etk_texts metrics; /* names, or what they share: "loss" is train_loss and validation_loss; empty: all */
  const char *output;       /* .svg or .png; NULL: the terminal */
  const char *x;            /* "step" or "time" */
  const char *theme;        /* "auto", "light", "dark"; NULL: auto */
  int64_t smooth;           /* the mean of so many values in a row; 1: as recorded */
  int64_t width, height;    /* of each chart: pixels in a file, characters in the terminal; 0: as fits */
  bool log, force;          /* a logarithmic y axis; an existing output is replaced */
};
/* Metrics of one kind (train_loss, validation_loss) share a chart; several runs are laid over each other. No run: the latest. The exit code. */
int runs_plot(struct host *host, const struct etk_texts *runs, const struct run_plot_options *options);

#endif
