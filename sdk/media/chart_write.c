/* chart_write.c: a chart as a file. */
#include "chart_internal.h"
#include "etk/fs.h"

#include <strings.h>

etk_status etk_chart_write(etk_error *e, const char *path, const etk_chart *chart, bool replace) {
  const char *end = strrchr(etk_path_base(path), '.');
  bool svg = end && !strcasecmp(end, ".svg"), png = end && !strcasecmp(end, ".png");
  etk_text text = ETK_TEXT_INIT;
  char *bytes = NULL;
  size_t size = 0;
  etk_status status;
  if (!svg && !png) return etk_fail(e, ETK_E_INVALID, "%s: a chart is written as .svg or .png, not as '%s'", path, end ? end : "");
  if (svg) {
    status = etk_chart_svg(e, &text, chart, false);
    if (!status) status = etk_fs_write(e, path, text.data, text.size, replace);
  } else {
    status = etk_chart_png(e, &bytes, &size, chart, 2);
    if (!status) status = etk_fs_write(e, path, bytes, size, replace);
  }
  etk_text_free(&text);
  etk_free(bytes);
  return status;
}
