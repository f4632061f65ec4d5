/* etk/progress.h: one progress line on stderr. On a terminal it is redrawn at most ten times a second; elsewhere a plain line appears every
 * few seconds, so logs stay short. One thread at a time. */
#ifndef ETK_PROGRESS_H
#define ETK_PROGRESS_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef enum etk_progress_mode { ETK_PROGRESS_AUTO, ETK_PROGRESS_BAR, ETK_PROGRESS_PLAIN, ETK_PROGRESS_OFF } etk_progress_mode;
typedef struct etk_progress {
  FILE *stream;
  etk_progress_mode mode; /* resolved: never AUTO after init */
  bool color, unicode, drawn;
  int width;
  int64_t started_ns, last_ns;
  bool held; /* the latest update came too soon to be shown; finish shows it */
  int64_t held_done, held_total;
  char held_label[64], held_note[128];
} etk_progress;

void etk_progress_init(etk_progress *progress, FILE *stream, etk_progress_mode mode, bool color); /* AUTO: BAR on a terminal unless TERM=dumb, else PLAIN */
/* total 0: unknown. `note` is shown at the right ("loss 2.31  5.2k tok/s"). */
void etk_progress_update(etk_progress *progress, const char *label, int64_t done, int64_t total, const char *note);
void etk_progress_clear(etk_progress *progress); /* wipes the bar so that other output can be written */
void etk_progress_finish(etk_progress *progress);

#ifdef __cplusplus
}
#endif
#endif
