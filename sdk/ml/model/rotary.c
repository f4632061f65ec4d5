/* What follows from the configuration alone and stands beside the weights: rotary frequencies, ones for norms that count from one. */
#include "internal.h"

static etk_status frequencies(etk_error *e, etk_tensor **out, const etk_model_config *c, enum frequencies which) {
  etk_status status = etk_tensor_new(e, out, ETK_F32, etk_shape_of(1, etk__rotary_dims(c) / 2));
  if (!status) etk__rope_frequencies(etk_tensor_data(*out), c, which);
  return status;
}

static etk_status ones(etk_error *e, etk_tensor **out, int64_t count) {
  etk_status status = etk_tensor_new(e, out, ETK_F32, etk_shape_of(1, count));
  for (int64_t i = 0; i < count && !status; i++) ((float *)etk_tensor_data(*out))[i] = 1;
  return status;
}

etk_status etk__model_derive(etk_error *e, etk_model *m) {
  const etk_model_config *c = &m->config;
  etk_status status = ETK_OK;
  if (!m->position_embedding) status = frequencies(e, &m->frequency, c, FREQUENCIES_GLOBAL);
  if (!status && c->rope_scaling == ETK_ROPE_LONGROPE) status = frequencies(e, &m->long_frequency, c, FREQUENCIES_LONG);
  if (!status && c->rope_local_theta > 0) status = frequencies(e, &m->local_frequency, c, FREQUENCIES_LOCAL);
  if (!status && m->family->norm_from_one) status = ones(e, &m->ones, c->hidden_size);
  if (!status && m->family->norm_from_one && m->family->qk_norm) status = ones(e, &m->head_ones, c->head_dim);
  return status;
}

void etk__model_forget_derived(etk_model *m) {
  etk_tensor *const derived[] = {m->frequency, m->long_frequency, m->local_frequency, m->ones, m->head_ones};
  for (size_t i = 0; i < sizeof derived / sizeof *derived; i++) etk_tensor_unref(derived[i]);
}
