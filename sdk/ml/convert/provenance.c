/* How a file was made: the command, the version, and what it was made from, by SHA-256. */
#include "internal.h"
#include "ml/format/weights_internal.h"

#include <etk/fs.h>
#include <etk/text.h>
#include <string.h>

#define OWN ETK_PROVENANCE_PREFIX
enum { RECORD_LIMIT = 1 << 20 };

/* What the container said of itself stays, but for how it was made, which becomes a fact of the source. */
static etk_status keep(etk_error *e, etk_convert *c) {
  for (size_t i = 0; i < etk_weights_key_count(c->weights); i++) {
    const char *key = etk_weights_key_at(c->weights, i), *value = key ? etk_weights_metadata(c->weights, key) : NULL;
    if (!value || !strncmp(key, OWN, strlen(OWN)) || !strncmp(key, "etk.", 4) || !strcmp(key, "format")) continue;
    etk_status status = etk_provenance_add(e, c->made, key, value);
    if (status) return status;
  }
  return ETK_OK;
}

etk_status etk__provenance(etk_error *e, etk_convert *c) {
  etk_provenance_free(c->made);
  etk_status status = etk_provenance_new(e, &c->made, c->options.command ? c->options.command : "etk_convert");
  if (!status) status = keep(e, c);
  if (!status && (c->to == ETK_CONVERT_HF || c->to == ETK_CONVERT_SAFETENSORS)) status = etk_provenance_add(e, c->made, "format", "pt"); /* transformers refuses a file without it */
  if (!status && c->to == ETK_CONVERT_MLX) status = etk_provenance_add(e, c->made, "format", "mlx");
  return status ? status : etk_provenance_weights(e, c->made, c->weights);
}

etk_status etk__provenance_json(etk_error *e, etk_text *out, const etk_convert *c) {
  size_t count;
  const char *const *pair = etk_provenance_pairs(c->made, &count);
  for (size_t i = 0; i < count; i++, pair += 2) {
    etk_text_puts(out, i ? ", " : "{");
    etk_text_json(out, pair[0], strlen(pair[0]));
    etk_text_puts(out, ": ");
    etk_text_json(out, pair[1], strlen(pair[1]));
  }
  etk_text_puts(out, count ? "}" : "{}");
  return out->failed ? etk_fail_memory(e) : ETK_OK;
}

/* ---- reading ---- */
bool etk__is_record(const etk_weight *weight, const etk_weights *weights) {
  return etk_weights_get_format(weights) == ETK_WEIGHTS_NUMPY && weight->type == (int)ETK_U8 && weight->shape.rank == 1 && !strcmp(weight->name, ETK__RECORD);
}

static etk_status put_record(etk_error *e, etk_text *out, const etk_weight *weight) {
  const void *bytes = NULL;
  etk_status status = etk_weight_data(e, &bytes, weight);
  if (status) return status;
  if (weight->bytes < 2 || weight->bytes > RECORD_LIMIT || !etk_utf8_valid(bytes, weight->bytes))
    return etk_fail(e, ETK_E_FORMAT, "the array %s is %zu bytes that are no JSON text of at most %d", weight->name, weight->bytes, RECORD_LIMIT);
  etk_text_append(out, bytes, weight->bytes);
  return ETK_OK;
}

etk_status etk_convert_provenance(etk_error *e, etk_text *out, const etk_weights *weights) {
  const etk_weight *record = etk_weights_find(weights, ETK__RECORD);
  if (record && etk__is_record(record, weights)) return put_record(e, out, record);
  bool first = true;
  etk_text_putc(out, '{');
  for (size_t i = 0; i < etk_weights_key_count(weights); i++) {
    const char *key = etk_weights_key_at(weights, i);
    if (!key || strncmp(key, OWN, strlen(OWN))) continue;
    if (!first) etk_text_puts(out, ", ");
    first = false;
    etk_text_json(out, key, strlen(key));
    etk_text_puts(out, ": ");
    etk_weights_key_value(weights, i, 1, out);
  }
  etk_text_putc(out, '}');
  return out->failed ? etk_fail_memory(e) : ETK_OK;
}
