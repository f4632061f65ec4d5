/* chart_write.c: charts as a file. */
#include "chart_internal.h"
#include "etk/fs.h"

#include <strings.h>

etk_status etk_chart_write(etk_error *e, const char *path, const etk_chart *chart, bool replace) { return etk_chart_write_all(e, path, chart, 1, replace); }

etk_status etk_chart_write_all(etk_error *e, const char *path, const etk_chart *charts, size_t count, bool replace) {
  const char *end = strrchr(etk_path_base(path), '.');
  bool svg = end && !strcasecmp(end, ".svg"), png = end && !strcasecmp(end, ".png");
  etk_text text = ETK_TEXT_INIT;
  size_t size = 0;
  etk_status status;
  if (!count) return etk_fail(e, ETK_E_INVALID, "%s: there is no chart to write", path);
  if (!svg && !png) return etk_fail(e, ETK_E_INVALID, "%s: a chart is written as .svg or .png%s%s", path, end ? ", not as " : "; end the name so", end ? end : "");
  for (size_t i = 1; i < count; i++)
    if ((charts[i].width ? charts[i].width : 720) != (charts->width ? charts->width : 720))
      return etk_fail(e, ETK_E_INVALID, "%s: chart %zu is %d pixels wide and the first %d; charts of one file have one width", path, i,
                      charts[i].width, charts->width);
  if (svg) {
    status = count > 1 ? etk__chart_svgs(e, &text, charts, count) : etk_chart_svg(e, &text, charts, false);
    if (!status) status = etk_fs_write(e, path, text.data, text.size, replace);
    etk_text_free(&text);
    return status;
  }
  char *bytes = NULL;
  status = etk__chart_pngs(e, &bytes, &size, charts, count, 2);
  if (!status) status = etk_fs_write(e, path, bytes, size, replace);
  etk_free(bytes);
  return status;
}
