#include "host.h"
#include "report.h"

#include <etk/project.h>

int builtin_version(struct host *host, int count, char **arguments) {
  etk_error e = ETK_ERROR_INIT;
  if (count) {
    etk_fail(&e, ETK_E_USAGE, "version takes no argument, but '%s' was given", arguments[0]);
    return host_error(host, &e, 0, NULL);
  }
  if (!host->json) {
    printf("efficientai-toolkit %s (ABI %d.%d)\n", ETK_VERSION, ETK_ABI_MAJOR, ETK_ABI_MINOR);
    return 0;
  }
  etk_text text = ETK_TEXT_INIT;
  etk_text_printf(&text, "{\"version\":\"%s\",\"abi\":\"%d.%d\",\"note_revision\":%d}", ETK_VERSION, ETK_ABI_MAJOR, ETK_ABI_MINOR, ETK_NOTE_REVISION);
  host_print_document(host, "version", "ok", text.failed ? NULL : text.data, NULL);
  etk_text_free(&text);
  return 0;
}
