/* Fuzzing: a stored benchmark run reads or is refused; what reads is compared with itself, drawn as tables, and written so that it reads again. */
#include "bench_report.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  etk_arena arena = ETK_ARENA_INIT;
  etk_error e = ETK_ERROR_INIT;
  struct bench_run run, again;
  if (!bench_run_parse(&e, &run, &arena, "fuzzed.json", (const char *)data, size)) {
    struct bench_comparison comparison;
    etk_text text = ETK_TEXT_INIT, shown = ETK_TEXT_INIT;
    if (bench_compare(&e, &comparison, &arena, &run, &run, "itself", false, 0.01, 0.02)) abort();
    struct bench_report report = {.run = &run, .comparison = &comparison};
    bench_csv(&shown, &report);
    bench_markdown(&shown, &report);
    bench_results_json(&shown, &report);
    bench_run_json(&text, &run, true);
    if (text.failed || shown.failed || bench_run_parse(&e, &again, &arena, "again.json", text.data, text.size) || again.count != run.count) abort();
    etk_text_free(&text);
    etk_text_free(&shown);
  } else if (!e.message[0]) abort();
  etk_arena_fini(&arena);
  return 0;
}
