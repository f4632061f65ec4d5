/* charts: writes every kind of chart, light and dark, as SVG files for charts.sh. */
#include "etk/chart.h"
#include "etk/fs.h"

#include <math.h>

static double values[8 * 10], x[60], y[3][60], low[60], high[60];
static const char *const names[] = {"safetensors", "gguf q4_0", "gguf q8_0", "llama2.c", "npz", "checkpoint directory"};
static const char *const rows[] = {"layer 0", "layer 1", "layer 2", "layer 3", "layer 4", "layer 5", "layer 6", "the embedding and everything behind it"};

static void fill(etk_chart *chart, etk_chart_series *series, int kind) {
  static const char *const series_names[] = {"train_loss", "validation_loss", "a series whose name is quite a bit longer than the others"};
  *chart = (etk_chart)ETK_CHART_INIT;
  chart->kind = (etk_chart_kind)kind;
  chart->title = "A title of a chart, of the usual length", chart->subtitle = "and a few words below it", chart->x_label = "step", chart->y_label = "value (units)";
  for (int i = 0; i < 3; i++) series[i] = (etk_chart_series){.name = series_names[i], .y = y[i], .count = 60};
  chart->series = series, chart->series_count = 3;
  if (kind <= ETK_CHART_SCATTER) series[0].x = x, series[0].low = low, series[0].high = high;
  if (kind == ETK_CHART_BAR) chart->series_count = 1;
  if (kind == ETK_CHART_BAR || kind == ETK_CHART_GROUPED) {
    chart->categories = names, chart->category_count = 6;
    for (int i = 0; i < 3; i++) series[i].count = 6;
  }
  if (kind != ETK_CHART_HEAT) return;
  chart->series_count = 0;
  chart->values = values, chart->row_count = 8, chart->category_count = 10, chart->rows = rows;
}

int main(int argc, char **argv) {
  if (argc < 2) return 2;
  for (int i = 0; i < 60; i++) {
    x[i] = i * 25;
    for (int k = 0; k < 3; k++) y[k][i] = 3 * exp(-i / (15.0 + 5 * k)) + 0.2 * sin(i * (k + 1.3)) + 0.4;
    low[i] = y[0][i] - 0.2, high[i] = y[0][i] + 0.2;
  }
  for (int i = 0; i < 80; i++) values[i] = 100 * sin(i * 0.05) - i % 10;
  for (int kind = 0; kind <= ETK_CHART_HEAT; kind++)
    for (int size = 0; size < 2; size++)
      for (int theme = 0; theme < 3; theme++) {
        etk_chart chart;
        etk_chart_series series[3];
        char path[4096];
        etk_error e = ETK_ERROR_INIT;
        fill(&chart, series, kind);
        chart.theme = (etk_chart_theme)theme;
        if (size) chart.width = 360, chart.height = 240;
        snprintf(path, sizeof path, "%s/%d-%d-%d.svg", argv[1], kind, size, theme);
        if (etk_chart_write(&e, path, &chart, true)) {
          fprintf(stderr, "%s\n", e.message);
          return 1;
        }
      }
  return 0;
}
