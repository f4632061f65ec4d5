/* finetune.h: LoRA training from settings to an adapter folder. */
#ifndef FINETUNE_H
#define FINETUNE_H

#include "session.h"

struct finetune {
  const char *model, *data, *output, *resume_adapter, *resume, *lr_schedule, *optimizer;
  struct chat_choice chat;
  struct memory_choice memory;
  bool force;
  bool one_go; /* no checkpoints: Ctrl-C just ends it */
  etk_lora_options lora;
  struct { bool rank, alpha, dropout, targets, rslora; } given; /* which of them the user asked for */
  int64_t epochs, iters, batch_size, accumulation, max_seq_length;
  int64_t warmup_steps; /* -1: 100, at most a tenth of the run */
  int64_t eval_steps, save_steps;
  double learning_rate, weight_decay, gradient_clipping;
  uint64_t seed;
};

struct finetune_result {
  int64_t steps, tokens;
  double first_loss, last_loss, validation_loss; /* validation_loss: NaN without validation data */
  double seconds, tokens_per_second;
};

etk_status finetune_validate(etk_run *run, const struct finetune *settings);
etk_status finetune_train(etk_run *run, const struct finetune *settings);
etk_status finetune_demo(etk_run *run, const char *output, bool force, int64_t epochs);

#endif
