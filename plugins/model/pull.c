#include "pull.h"

#include <inttypes.h>
#include <stdio.h>

static bool on_progress(void *user, int64_t done, int64_t total, const char *file) {
  etk_run *run = user;
  etk_run_progress(run, "pull", done, total, file);
  return !etk_run_cancelled(run);
}

etk_status pull_model(etk_run *run, const char *id, const etk_pull_options *given) {
  etk_pull_options options = *given;
  etk_error e = ETK_ERROR_INIT;
  etk_pull *pull = NULL;
  options.progress = on_progress;
  options.user = run;
  etk_status status = etk_pull_run(&e, &pull, id, &options);
  if (status) return etk_run_fail(run, e.status, "%s", e.message);
  int64_t bytes = 0;
  for (size_t i = 0; i < etk_pull_count(pull); i++) {
    const etk_pull_file *file = etk_pull_at(pull, i);
    const etk_cell cells[] = {etk_cell_text("file", file->name), etk_cell_int("bytes", file->bytes), etk_cell_text("sha256", file->sha256),
                              etk_cell_text("state", file->cached ? "was here" : options.list_only ? "to fetch" : "fetched")};
    etk_run_result_row(run, "files", cells, sizeof cells / sizeof *cells);
    bytes += file->bytes;
  }
  etk_run_result_text(run, "model", id);
  etk_run_result_text(run, "commit", etk_pull_commit(pull));
  if (*etk_pull_folder(pull)) etk_run_result_text(run, "folder", etk_pull_folder(pull));
  etk_run_result_int(run, "bytes", bytes);
  etk_run_result_int(run, "fetched_bytes", etk_pull_fetched(pull));
  etk_pull_free(pull);
  return ETK_OK;
}
