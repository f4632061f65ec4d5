/* loop.h: steps, metrics, validation, checkpoints and Ctrl-C, for training through an adapter and from scratch alike. */
#ifndef LOOP_H
#define LOOP_H

#include "session.h"

struct loop {
  etk_run *run;
  const char *label;
  const struct session *session;  /* model and tokenizer */
  etk_adapter *adapter;           /* NULL: the model itself learns */
  etk_trainer *trainer;
  const etk_dataset *train, *valid; /* valid may be NULL */
  int64_t total_steps, eval_steps, save_steps; /* 0: never */
  int64_t batch_size;
  int64_t planned_bytes;          /* memory_plan's */
  const char *checkpoint;         /* folder; NULL: the run is not to be resumed */
  /* Writes what is learnt into an existing folder. */
  etk_status (*save)(etk_error *e, void *user, const char *folder);
  void *user;
};
struct loop_result {
  int64_t steps, tokens;
  double first_loss, last_loss, validation_loss; /* NaN: none */
  double seconds; /* in steps, without validation and saving */
};
/* Runs to total_steps. On Ctrl-C: saves a checkpoint, then ETK_E_CANCELLED with a message that tells how to go on. */
etk_status loop_run(etk_error *e, const struct loop *loop, struct loop_result *out);

#endif
