/* AdamW and SGD with PyTorch's definitions, gradient norm and clipping. */
#include "../kernels/kernels.h"

#include <etk/alloc.h>
#include <etk/optimizer.h>
#include <etk/parallel.h>
#include <math.h>

struct parameter {
  etk_tensor *tensor;
  etk_tensor *state[2]; /* AdamW: first and second moment; SGD: momentum */
  bool decays;
};

struct etk_optimizer {
  etk_optimizer_options options;
  struct parameter *parameters;
  size_t count;
  int64_t steps;
};

enum { GRAIN = 1 << 14 };

etk_optimizer_options etk_optimizer_defaults(etk_optimizer_kind kind) {
  if (kind == ETK_SGD) return (etk_optimizer_options){.kind = ETK_SGD};
  return (etk_optimizer_options){.kind = ETK_ADAMW, .beta1 = 0.9, .beta2 = 0.999, .epsilon = 1e-8, .weight_decay = 0.01};
}

static etk_status check_options(etk_error *e, const etk_optimizer_options *o) {
  const char *name = o->kind == ETK_ADAMW ? "adamw" : "sgd";
  if (o->kind != ETK_ADAMW && o->kind != ETK_SGD) return etk_fail(e, ETK_E_INVALID, "optimizer: %d is not a kind", (int)o->kind);
  if (!(o->weight_decay >= 0) || !isfinite(o->weight_decay)) return etk_fail(e, ETK_E_INVALID, "%s: weight decay %g is not at least 0", name, o->weight_decay);
  if (o->kind == ETK_SGD && !(o->momentum >= 0 && o->momentum < 1)) return etk_fail(e, ETK_E_INVALID, "sgd: momentum %g is not in [0, 1)", o->momentum);
  if (o->kind == ETK_ADAMW && !(o->beta1 >= 0 && o->beta1 < 1 && o->beta2 >= 0 && o->beta2 < 1 && o->epsilon >= 0))
    return etk_fail(e, ETK_E_INVALID, "adamw: betas %g and %g must be in [0, 1), epsilon %g at least 0", o->beta1, o->beta2, o->epsilon);
  return ETK_OK;
}

static etk_status add_parameter(etk_error *e, etk_optimizer *o, etk_tensor *t, bool decays) {
  struct parameter *p = &o->parameters[o->count];
  int states = o->options.kind == ETK_ADAMW ? 2 : o->options.momentum > 0;
  if (!t || etk_tensor_dtype(t) != ETK_F32 || !etk_tensor_data(t))
    return etk_fail(e, ETK_E_INVALID, "optimizer: parameter %zu is %s, wants an F32 tensor with values", o->count, t ? etk_dtype_name(etk_tensor_dtype(t)) : "NULL");
  for (int i = 0; i < states; i++) {
    etk_status status = etk_tensor_new(e, &p->state[i], ETK_F32, *etk_tensor_shape(t));
    if (status) {
      etk_tensor_unref(p->state[0]);
      return status;
    }
  }
  p->tensor = etk_tensor_ref(t);
  p->decays = decays;
  o->count++;
  return ETK_OK;
}

etk_status etk_optimizer_new(etk_error *e, etk_optimizer **out, const etk_optimizer_options *options, etk_tensor *const *parameters, const bool *no_decay, size_t count) {
  *out = NULL;
  etk_status status = check_options(e, options);
  if (status) return status;
  etk_optimizer *o = etk_calloc(1, sizeof *o);
  if (o) o->parameters = etk_calloc(count + 1, sizeof *o->parameters);
  if (!o || !o->parameters) status = etk_fail(e, ETK_E_NO_MEMORY, "out of memory for an optimizer");
  else o->options = *options;
  for (size_t i = 0; i < count && !status; i++) status = add_parameter(e, o, parameters[i], !no_decay || !no_decay[i]);
  if (status) etk_optimizer_free(o);
  else *out = o;
  return status;
}

void etk_optimizer_free(etk_optimizer *o) {
  if (!o) return;
  for (size_t i = 0; i < o->count; i++) {
    etk_tensor_unref(o->parameters[i].tensor);
    for (int j = 0; j < 2; j++) etk_tensor_unref(o->parameters[i].state[j]);
  }
  etk_free(o->parameters);
  etk_free(o);
}

/* What one parameter's update needs, for any range of its elements. */
struct update {
  const struct parameter *parameter;
  const float *gradient;
  struct adamw_step adamw;
  struct sgd_step sgd;
};

static float *data_from(etk_tensor *t, int64_t begin) { return t ? (float *)etk_tensor_data(t) + begin : NULL; }

static void adamw_range(void *user, int64_t begin, int64_t end, int slot) {
  const struct update *u = user;
  (void)slot;
  etk__kernels()->adamw_f32(data_from(u->parameter->tensor, begin), data_from(u->parameter->state[0], begin), data_from(u->parameter->state[1], begin), u->gradient + begin,
                            &u->adamw, end - begin);
}
static void sgd_range(void *user, int64_t begin, int64_t end, int slot) {
  const struct update *u = user;
  (void)slot;
  etk__kernels()->sgd_f32(data_from(u->parameter->tensor, begin), data_from(u->parameter->state[0], begin), u->gradient + begin, &u->sgd, end - begin);
}

static etk_status check_gradients(etk_error *e, const etk_optimizer *o, etk_tensor *const *gradients) {
  char a[160], b[160];
  for (size_t i = 0; i < o->count; i++) {
    const etk_tensor *t = o->parameters[i].tensor, *g = gradients[i];
    if (!g) continue;
    if (!etk_tensor_data(g)) return etk_fail(e, ETK_E_INVALID, "optimizer: gradient %zu has no values (evaluate the graph first)", i);
    if (etk_tensor_dtype(g) != ETK_F32 || !etk_shape_equal(etk_tensor_shape(t), etk_tensor_shape(g)))
      return etk_fail(e, ETK_E_SHAPE, "optimizer: gradient %zu is %s %s, its parameter F32 %s", i, etk_dtype_name(etk_tensor_dtype(g)),
                      etk_shape_text(a, sizeof a, etk_tensor_shape(g)), etk_shape_text(b, sizeof b, etk_tensor_shape(t)));
  }
  return ETK_OK;
}

etk_status etk_optimizer_step(etk_error *e, etk_optimizer *o, etk_tensor *const *gradients, double rate, double scale) {
  const etk_optimizer_options *p = &o->options;
  etk_status status = check_gradients(e, o, gradients);
  if (status) return status;
  double t = (double)++o->steps;
  double correction1 = 1 - pow(p->beta1, t), correction2 = 1 - pow(p->beta2, t);
  for (size_t i = 0; i < o->count; i++) {
    const struct parameter *x = &o->parameters[i];
    if (!gradients[i]) continue;
    double decay = x->decays ? p->weight_decay : 0;
    struct update u = {.parameter = x, .gradient = etk_tensor_data(gradients[i])};
    u.adamw = (struct adamw_step){(float)scale, (float)(1 - p->beta1), (float)p->beta2, (float)(1 - p->beta2), (float)(1 - rate * decay), (float)(rate / correction1),
                                  (float)(1 / sqrt(correction2)), (float)p->epsilon};
    u.sgd = (struct sgd_step){(float)scale, (float)decay, (float)p->momentum, (float)rate};
    etk_parallel_for(etk_tensor_elements(x->tensor), GRAIN, p->kind == ETK_ADAMW ? adamw_range : sgd_range, &u);
  }
  return ETK_OK;
}

int64_t etk_optimizer_steps(const etk_optimizer *o) { return o->steps; }
void etk_optimizer_set_steps(etk_optimizer *o, int64_t steps) { o->steps = steps; }

size_t etk_optimizer_bytes(const etk_optimizer *o) {
  size_t bytes = 0;
  for (size_t i = 0; i < o->count; i++)
    for (int j = 0; j < 2; j++)
      if (o->parameters[i].state[j]) bytes += etk_tensor_bytes(o->parameters[i].state[j]);
  return bytes;
}

etk_tensor *etk_optimizer_state(const etk_optimizer *o, size_t parameter, int slot) {
  return parameter < o->count && slot >= 0 && slot < 2 ? o->parameters[parameter].state[slot] : NULL;
}

double etk_gradient_norm(etk_tensor *const *gradients, size_t count) {
  double sum = 0;
  for (size_t i = 0; i < count; i++)
    if (gradients[i] && etk_tensor_data(gradients[i])) sum += etk__kernels()->sum_squares_f32(etk_tensor_data(gradients[i]), etk_tensor_elements(gradients[i]));
  return sqrt(sum);
}

double etk_clip_factor(double norm, double max_norm) {
  if (!(max_norm > 0)) return 1;
  double factor = max_norm / (norm + 1e-6);
  return factor < 1 ? factor : 1;
}
