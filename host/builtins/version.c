#include "builtin.h"
#include "report.h"

#define COMMANDS(CMD) CMD(version, ETK_NONE, ETK_NONE, 0, "Show versions")
BUILTIN(version, "Show versions", COMMANDS)

static int version_run(struct host *host, const struct version_options *o) {
  (void)o;
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
