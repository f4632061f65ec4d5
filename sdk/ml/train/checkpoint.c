/* The state of a run on disk: optimizer.safetensors (moments by parameter) and trainer_state.json (step, and what must not change). */
#include "trainer.h"
#include "ml/format/json.h"

#include <etk/fs.h>
#include <etk/safetensors.h>
#include <jansson.h>
#include <math.h>

enum { STATE_LIMIT = 1 << 20 };
static const char *const slots[] = {"exp_avg", "exp_avg_sq"};

/* What the rest of a run depends on. Numbers are compared exactly; the schedule's length may not change either, or the rates would jump. */
static json_t *course(const etk_trainer *t) {
  const etk_trainer_options *o = &t->options;
  json_int_t rows = o->packing ? (json_int_t)etk_packing_rows(o->packing) : 0;
  return json_pack("{s:I, s:i, s:I, s:I, s:I, s:I, s:i, s:f, s:f, s:f, s:f, s:f, s:i, s:f, s:f, s:I, s:I, s:f, s:f}", "packed_rows", rows, "compute", (int)o->compute, "batch_size", (json_int_t)o->batch_size,
                   "accumulation", (json_int_t)o->accumulation, "max_tokens", (json_int_t)o->max_tokens, "seed", (json_int_t)o->seed, "optimizer",
                   (int)o->optimizer.kind, "beta1", o->optimizer.beta1, "beta2", o->optimizer.beta2, "epsilon", o->optimizer.epsilon, "momentum",
                   o->optimizer.momentum, "weight_decay", o->optimizer.weight_decay, "schedule", (int)o->schedule.kind, "learning_rate",
                   o->schedule.peak, "final_learning_rate", o->schedule.floor, "warmup_steps", (json_int_t)o->schedule.warmup_steps, "total_steps",
                   (json_int_t)o->schedule.total_steps, "gradient_clipping", o->gradient_clipping, "dropout", o->dropout);
}

static etk_status save_moments(etk_error *e, const etk_trainer *t, const char *path) {
  etk_arena names = ETK_ARENA_INIT;
  etk_safetensors_item *items = etk_arena_array(&names, 2 * t->count, sizeof *items);
  size_t count = 0;
  bool failed = !items;
  for (size_t i = 0; i < t->count && !failed; i++)
    for (int slot = 0; slot < 2; slot++) {
      etk_tensor *state = etk_optimizer_state(t->optimizer, i, slot);
      if (!state) continue;
      const char *name = etk_arena_printf(&names, "%s.%s", t->names[i], slots[slot]);
      if (name) items[count++] = (etk_safetensors_item){name, state, ETK_F32};
      else failed = true;
    }
  etk_status status = failed ? etk_fail_memory(e) : etk_safetensors_write(e, path, items, count, NULL, 0, true);
  etk_arena_fini(&names);
  return status;
}

etk_status etk_trainer_save(etk_error *e, const etk_trainer *t, const char *folder) {
  char *moments = etk_path_join(folder, "optimizer.safetensors"), fingerprint[24];
  etk_status status = moments ? save_moments(e, t, moments) : etk_fail_memory(e);
  etk_free(moments);
  if (status) return status;
  snprintf(fingerprint, sizeof fingerprint, "%016llx", (unsigned long long)t->fingerprint);
  json_t *root = json_pack("{s:i, s:I, s:I, s:s, s:o}", "schema_version", 1, "step", (json_int_t)t->steps, "sequences", (json_int_t)t->data_count, "data",
                           fingerprint, "course", course(t));
  return etk__json_write(e, root, folder, "trainer_state.json");
}

/* What a person calls the facts of the course that have another name; names: what the numbers of an enumeration mean. */
static const struct fact {
  const char *key, *words, *names[4];
  bool added; /* to trainer_state.json after its first version: where it is missing it is 0 */
} facts[] = {{"packed_rows", "rows of packed sequences (--packing, the data and the longest sequence allowed decide; 0: not packed)", {NULL}, true},
             {"compute", "the type that products are computed in", {[ETK_COMPUTE_F32] = "float32", [ETK_COMPUTE_BF16] = "bfloat16"}, true},
             {"accumulation", "gradient accumulation steps", {NULL}, false},
             {"max_tokens", "tokens in the longest sequence (the data and the longest sequence allowed decide)", {NULL}, false},
             {"optimizer", "the optimizer", {[ETK_ADAMW] = "adamw", [ETK_SGD] = "sgd"}, false},
             {"schedule", "the learning rate schedule", {[ETK_SCHEDULE_CONSTANT] = "constant", [ETK_SCHEDULE_LINEAR] = "linear",
                                                         [ETK_SCHEDULE_COSINE] = "cosine"}, false},
             {"total_steps", "optimizer steps in all (epochs or iters, the batch size and the number of sequences decide)", {NULL}, false}};

static void put_fact(char *out, size_t size, const struct fact *fact, double value) {
  if (fact && fact->names[0] && value >= 0 && value < 4 && fact->names[(int)value]) snprintf(out, size, "%s", fact->names[(int)value]);
  else snprintf(out, size, "%g", value);
}

static const struct fact *fact_of(const char *key) {
  for (size_t i = 0; i < sizeof facts / sizeof facts[0]; i++)
    if (!strcmp(facts[i].key, key)) return &facts[i];
  return NULL;
}

static etk_status other_course(etk_error *e, const char *path, const char *key, double before, double now) {
  const struct fact *fact = fact_of(key);
  char was[32], is[32];
  put_fact(was, sizeof was, fact, before);
  put_fact(is, sizeof is, fact, now);
  return etk_fail(e, ETK_E_USAGE, "%s: %s: the run began with %s, now it is %s; resume with what it began with", path, fact ? fact->words : key, was, is);
}

static etk_status same_course(etk_error *e, const etk_trainer *t, const json_t *saved, const char *path) {
  json_t *now = course(t);
  if (!now) return etk_fail_memory(e);
  etk_status status = ETK_OK;
  const char *key;
  json_t *value;
  json_object_foreach(now, key, value) {
    const json_t *before = json_object_get(saved, key);
    const struct fact *fact = fact_of(key);
    bool there = before || (fact && fact->added); /* json_number_value(NULL) is 0 */
    bool number = !before || json_is_number(before);
    if (status || (there && number && json_number_value(before) == json_number_value(value))) continue;
    status = there ? other_course(e, path, key, json_number_value(before), json_number_value(value))
                    : etk_fail(e, ETK_E_FORMAT, "%s: \"course\" has no \"%s\"", path, key);
  }
  json_decref(now);
  return status;
}

static etk_status load_moments(etk_error *e, etk_trainer *t, const char *path) {
  etk_safetensors *file = NULL;
  etk_status status = etk_safetensors_open(e, &file, path);
  for (size_t i = 0; i < t->count && !status; i++)
    for (int slot = 0; slot < 2 && !status; slot++) {
      etk_tensor *state = etk_optimizer_state(t->optimizer, i, slot);
      if (!state) continue;
      char name[512];
      snprintf(name, sizeof name, "%s.%s", t->names[i], slots[slot]);
      const etk_safetensors_entry *entry = etk_safetensors_find(file, name);
      if (!entry) status = etk_fail(e, ETK_E_FORMAT, "%s has no tensor %s; the checkpoint belongs to another model or optimizer", path, name);
      else if (entry->dtype != ETK_F32 || entry->bytes != etk_tensor_bytes(state))
        status = etk_fail(e, ETK_E_SHAPE, "%s: tensor %s has %zu bytes of %s, wanted %zu of F32", path, name, entry->bytes, entry->dtype_name,
                          etk_tensor_bytes(state));
      else memcpy(etk_tensor_data(state), entry->data, entry->bytes);
    }
  etk_safetensors_close(file);
  return status;
}

static etk_status load_state(etk_error *e, etk_trainer *t, const char *path, int64_t *steps) {
  json_t *root = NULL;
  etk_status status = etk__json_read(e, &root, path, STATE_LIMIT, false);
  if (status) return status;
  const json_t *step = json_object_get(root, "step"), *sequences = json_object_get(root, "sequences");
  if (!json_is_integer(step) || json_integer_value(step) < 0 || !json_is_integer(sequences) || json_integer_value(sequences) < 0)
    status = etk_fail(e, ETK_E_FORMAT, "%s: \"step\" and \"sequences\" must be whole numbers from 0", path);
  else status = same_course(e, t, json_object_get(root, "course"), path);
  if (!status) {
    *steps = json_integer_value(step);
    t->data_count = (size_t)json_integer_value(sequences);
    const char *data = json_string_value(json_object_get(root, "data"));
    t->fingerprint = data ? strtoull(data, NULL, 16) : 0;
    t->data = NULL;
  }
  json_decref(root);
  return status;
}

etk_status etk_trainer_load(etk_error *e, etk_trainer *t, const char *folder) {
  char *moments = etk_path_join(folder, "optimizer.safetensors"), *state = etk_path_join(folder, "trainer_state.json");
  int64_t steps = 0;
  etk_status status = moments && state ? load_state(e, t, state, &steps) : etk_fail_memory(e);
  if (!status) status = load_moments(e, t, moments);
  if (!status) {
    t->steps = steps;
    etk_free(t->order); /* it may be of other data */
    t->order = NULL;
    etk_optimizer_set_steps(t->optimizer, steps);
  }
  etk_free(state);
  etk_free(moments);
  return status ? etk_error_while(e, status, "while resuming from %s", folder) : ETK_OK;
}
