/* signals.c: Ctrl-C. The first asks the command to stop at its next step, the second ends the process as any program. */
#include "run.h"

#include <signal.h>
#include <stdatomic.h>
#include <unistd.h>

static atomic_int asked; /* read by any thread */
static struct sigaction old_int, old_term;
static volatile sig_atomic_t armed, silent;

static void on_signal(int signal_number) {
  static const char text[] = "\nstopping after this step; again to stop at once\n";
  (void)signal_number;
  atomic_store(&asked, 1);
  signal(SIGINT, SIG_DFL);
  signal(SIGTERM, SIG_DFL);
  if (!silent) {
    ssize_t wrote = write(STDERR_FILENO, text, sizeof text - 1);
    (void)wrote;
  }
}

void cancel_arm(struct host *host) {
  struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_RESTART};
  sigemptyset(&action.sa_mask);
  silent = host->quiet;
  atomic_store(&asked, 0);
  /* A signal that was ignored when we began (nohup, a background job) stays ignored. */
  if (!sigaction(SIGINT, NULL, &old_int) && old_int.sa_handler != SIG_IGN) sigaction(SIGINT, &action, NULL);
  if (!sigaction(SIGTERM, NULL, &old_term) && old_term.sa_handler != SIG_IGN) sigaction(SIGTERM, &action, NULL);
  armed = 1;
}

void cancel_disarm(void) {
  if (!armed) return;
  sigaction(SIGINT, &old_int, NULL);
  sigaction(SIGTERM, &old_term, NULL);
  armed = 0;
}

bool cancel_asked(void) { return atomic_load_explicit(&asked, memory_order_relaxed) != 0; }
