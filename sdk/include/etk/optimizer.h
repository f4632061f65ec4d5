/* etk/optimizer.h: optimizers, learning-rate schedules, gradient clipping. */
#ifndef ETK_OPTIMIZER_H
#define ETK_OPTIMIZER_H

#include "tensor.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef enum etk_optimizer_kind { ETK_ADAMW, ETK_SGD } etk_optimizer_kind;
typedef struct etk_optimizer_options {
  etk_optimizer_kind kind;
  double beta1, beta2, epsilon; /* AdamW: .9, .999, 1e-8 */
  double momentum;              /* SGD */
  double weight_decay;          /* decoupled (Loshchilov & Hutter 2019), as torch.optim.AdamW; SGD: added to the gradient as torch.optim.SGD */
} etk_optimizer_options;
etk_optimizer_options etk_optimizer_defaults(etk_optimizer_kind kind);

/* The optimizer refs the parameters (F32) and owns its state. no_decay[i] (may be NULL) exempts parameter i from weight decay. */
typedef struct etk_optimizer etk_optimizer;
etk_status etk_optimizer_new(etk_error *e, etk_optimizer **out, const etk_optimizer_options *options, etk_tensor *const *parameters, const bool *no_decay, size_t count);
void etk_optimizer_free(etk_optimizer *optimizer);
/* One step in place: gradients[i] is multiplied by gradient_scale first (clipping); NULL gradients leave a parameter alone. */
etk_status etk_optimizer_step(etk_error *e, etk_optimizer *optimizer, etk_tensor *const *gradients, double learning_rate, double gradient_scale);
int64_t etk_optimizer_steps(const etk_optimizer *optimizer);
size_t etk_optimizer_bytes(const etk_optimizer *optimizer);
/* State for checkpoints: slot 0 and 1 are the first and second moment (SGD: slot 0 the momentum); NULL where there is none. Borrowed. */
etk_tensor *etk_optimizer_state(const etk_optimizer *optimizer, size_t parameter, int slot);
void etk_optimizer_set_steps(etk_optimizer *optimizer, int64_t steps);

/* sqrt of the sum of squares over all gradients (NULLs skipped), accumulated in double. */
double etk_gradient_norm(etk_tensor *const *gradients, size_t count);
/* torch's clip_grad_norm_: the factor max_norm/(norm+1e-6) where that is below 1, else 1; max_norm 0 switches it off. */
double etk_clip_factor(double norm, double max_norm);

typedef enum etk_schedule_kind { ETK_SCHEDULE_CONSTANT, ETK_SCHEDULE_LINEAR, ETK_SCHEDULE_COSINE } etk_schedule_kind;
typedef struct etk_schedule {
  etk_schedule_kind kind;
  double peak;           /* learning rate after warm-up */
  double floor;          /* learning rate at the end (linear, cosine) */
  int64_t warmup_steps;  /* linear from peak/warmup_steps: step w (1-based) of the warm-up has peak * w / warmup_steps */
  int64_t total_steps;
} etk_schedule;
bool etk_schedule_parse(etk_schedule_kind *out, const char *name); /* constant linear cosine */
double etk_schedule_rate(const etk_schedule *schedule, int64_t step); /* step counts from 0 */

#ifdef __cplusplus
}
#endif
#endif
