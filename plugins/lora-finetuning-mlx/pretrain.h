/* pretrain.h: a small language model from scratch: its tokenizer, then its weights. */
#ifndef PRETRAIN_H
#define PRETRAIN_H

#include "session.h"

struct pretrain {
  const char *data, *output, *lr_schedule;
  bool resume, force;
  struct memory_choice memory;
  etk_model_config config;
  int64_t epochs, batch_size, warmup_steps, save_steps;
  double learning_rate, weight_decay, gradient_clipping, dropout;
  uint64_t seed;
};
etk_status pretrain_model(etk_run *run, const struct pretrain *settings);

#endif
