#include "pretrain.h"
#include "loop.h"

#include <etk/alloc.h>
#include <etk/fs.h>
#include <etk/hardware.h>
#include <etk/text.h>
#include <jansson.h>
#include <math.h>

static const char end_of_text[] = "<|endoftext|>"; /* begins and ends every document, as in GPT-2 */
enum { DATA_LIMIT = 1 << 30 };

struct job {
  struct session session;
  etk_dataset *train, *valid;
  etk_packing *packing; /* NULL: rows are sequences */
  etk_trainer *trainer;
  struct memory_plan plan;
  char *checkpoint, *tokenizer; /* <output>-checkpoint, <output>-checkpoint/tokenizer.json */
  int64_t total_steps;
  etk_provenance *made;         /* of the model */
};

static void job_close(struct job *j) {
  etk_trainer_free(j->trainer);
  etk_packing_free(j->packing);
  etk_dataset_free(j->train);
  etk_dataset_free(j->valid);
  session_close(&j->session);
  etk_free(j->checkpoint);
  etk_free(j->tokenizer);
  etk_provenance_free(j->made);
}

/* ---- the tokenizer: trained on the texts of the data ---- */
struct texts {
  etk_arena arena;
  const char **items;
  size_t *sizes, count, capacity;
};

static etk_status texts_add(etk_error *e, struct texts *t, const char *text, size_t size) {
  if (t->count == t->capacity) {
    size_t capacity = t->capacity ? 2 * t->capacity : 1024;
    const char **items = etk_realloc(t->items, capacity, sizeof *items);
    if (items) t->items = items;
    size_t *sizes = etk_realloc(t->sizes, capacity, sizeof *sizes);
    if (sizes) t->sizes = sizes;
    if (!items || !sizes) return etk_fail_memory(e);
    t->capacity = capacity;
  }
  char *copy = etk_arena_strndup(&t->arena, text, size);
  if (!copy) return etk_fail_memory(e);
  t->items[t->count] = copy;
  t->sizes[t->count++] = size;
  return ETK_OK;
}

static void texts_fini(struct texts *t) {
  etk_free(t->items);
  etk_free(t->sizes);
  etk_arena_fini(&t->arena);
}

static etk_status texts_line(etk_error *e, struct texts *t, const char *path, size_t number, const char *line, size_t size) {
  json_error_t error;
  json_t *root = json_loadb(line, size, 0, &error);
  if (!root) return etk_fail(e, ETK_E_FORMAT, "%s:%zu: %s", path, number, error.text);
  static const char *const keys[] = {"text", "prompt", "completion"};
  etk_status status = ETK_OK;
  for (size_t i = 0; i < 3 && !status; i++) {
    const json_t *value = json_object_get(root, keys[i]);
    if (json_is_string(value)) status = texts_add(e, t, json_string_value(value), json_string_length(value));
  }
  json_decref(root);
  return status;
}

static etk_status texts_read(etk_error *e, struct texts *t, const char *path) {
  char *bytes = NULL;
  size_t size = 0, number = 0;
  etk_status status = etk_fs_read(e, &bytes, &size, path, DATA_LIMIT);
  size_t length = strlen(path);
  if (!status && !(length > 6 && !strcmp(path + length - 6, ".jsonl"))) status = texts_add(e, t, bytes, size);
  else
    for (size_t at = 0; at < size && !status;) {
      const char *end = memchr(bytes + at, '\n', size - at);
      size_t count = end ? (size_t)(end - (bytes + at)) : size - at;
      number++;
      if (strspn(bytes + at, " \t\r") < count) status = texts_line(e, t, path, number, bytes + at, count);
      at += count + 1;
    }
  etk_free(bytes);
  return status;
}

static void on_tokenizer(void *user, int64_t done, int64_t total) { etk_run_progress(user, "tokenizer", done, total, NULL); }

static etk_status train_tokenizer(etk_error *e, etk_run *run, const struct pretrain *p, const char *path) {
  struct texts texts = {0};
  char *data = etk_fs_is_dir(p->data) ? etk_path_join(p->data, "train.jsonl") : etk_strdup(p->data);
  etk_status status = data ? texts_read(e, &texts, data) : etk_fail_memory(e);
  const char *const special[] = {end_of_text};
  etk_bpe_options options = {.vocabulary_size = (int)p->config.vocab_size, .special = special, .special_count = 1, .bos = end_of_text, .eos = end_of_text,
                             .progress = on_tokenizer, .user = run};
  if (!status) status = etk_bpe_train(e, path, texts.items, texts.sizes, texts.count, &options, true);
  texts_fini(&texts);
  etk_free(data);
  return status;
}

/* ---- the run ---- */
static etk_status copy_file(etk_error *e, const char *from, const char *folder, const char *name) {
  char *bytes = NULL, *to = etk_path_join(folder, name);
  size_t size = 0;
  etk_status status = to ? etk_fs_read(e, &bytes, &size, from, DATA_LIMIT) : etk_fail_memory(e);
  if (!status) status = etk_fs_write(e, to, bytes, size, true);
  etk_free(bytes);
  etk_free(to);
  return status;
}

static const char tokenizer_config[] = "{\n  \"add_bos_token\": true,\n  \"add_eos_token\": false,\n  \"bos_token\": \"<|endoftext|>\",\n  \"eos_token\": \"<|endoftext|>\",\n"
                                       "  \"model_max_length\": %lld,\n  \"tokenizer_class\": \"PreTrainedTokenizerFast\"\n}\n";

/* The whole folder: weights in dtype, config, tokenizer. */
static etk_status save_folder(etk_error *e, const struct job *j, const char *folder, etk_dtype dtype) {
  size_t count;
  const char *const *pairs = etk_provenance_pairs(j->made, &count);
  etk_status status = etk_model_save(e, j->session.model, folder, dtype, pairs, count);
  if (!status) status = copy_file(e, j->tokenizer, folder, "tokenizer.json");
  char *path = etk_path_join(folder, "tokenizer_config.json");
  etk_text text = ETK_TEXT_INIT;
  etk_text_printf(&text, tokenizer_config, (long long)etk_model_get_config(j->session.model)->max_position_embeddings);
  if (!status) status = path && !text.failed ? etk_fs_write(e, path, text.data, text.size, true) : etk_fail_memory(e);
  etk_text_free(&text);
  etk_free(path);
  return status;
}

static etk_status save_checkpoint(etk_error *e, void *user, const char *folder) { return save_folder(e, user, folder, ETK_F32); }
static etk_status save_result(etk_error *e, void *user, const char *folder) { return save_folder(e, user, folder, ETK_F16); }

static etk_status open_model(etk_error *e, struct job *j, const struct pretrain *p) {
  etk_status status;
  if (p->resume) {
    etk_model_options options = {.trainable = true};
    status = etk_model_open(e, &j->session.model, j->checkpoint, &options);
  } else {
    etk_model_config config = p->config;
    config.vocab_size = etk_tokenizer_size(j->session.tokenizer); /* short texts give fewer tokens than asked for */
    config.bos_token_id = etk_tokenizer_bos(j->session.tokenizer);
    config.eos_token_ids[config.eos_count++] = etk_tokenizer_eos(j->session.tokenizer);
    config.head_dim = config.hidden_size / config.num_attention_heads;
    status = etk_model_new(e, &j->session.model, &config, p->seed);
  }
  return status;
}

static etk_status open_trainer(etk_error *e, struct job *j, const struct pretrain *p) {
  etk_trainer_options options = {.seed = p->seed, .max_tokens = p->memory.packing ? (int32_t)p->config.max_position_embeddings : etk_dataset_get_stats(j->train).longest};
  etk_status status = memory_choose(e, &options, &j->packing, &p->memory, j->train);
  if (!status) status = memory_limit(e, &options.memory_limit, &j->session, NULL);
  if (status) return status;
  int64_t count = j->packing ? (int64_t)etk_packing_rows(j->packing) : (int64_t)etk_dataset_count(j->train);
  j->total_steps = p->epochs * ((count + p->batch_size - 1) / p->batch_size);
  options.batch_size = p->batch_size < count ? p->batch_size : count;
  options.gradient_clipping = p->gradient_clipping;
  options.dropout = p->dropout;
  options.optimizer = etk_optimizer_defaults(ETK_ADAMW);
  options.schedule = (etk_schedule){.peak = p->learning_rate, .floor = p->learning_rate / 10, .warmup_steps = p->warmup_steps, .total_steps = j->total_steps};
  options.optimizer.beta2 = 0.95; /* usual for language models from scratch: second moments that follow faster */
  options.optimizer.weight_decay = p->weight_decay;
  etk_schedule_parse(&options.schedule.kind, p->lr_schedule);
  status = etk_trainer_new(e, &j->trainer, j->session.model, NULL, &options);
  if (!status && p->resume) status = etk_trainer_load(e, j->trainer, j->checkpoint);
  return status;
}

static etk_status open_data(etk_error *e, struct job *j, const struct pretrain *p) {
  int64_t before = etk_hardware_rss_bytes();
  etk_status status = session_data(e, &j->train, &j->session, p->data, "train", 0, true);
  if (!status && etk_fs_is_dir(p->data)) status = session_data(e, &j->valid, &j->session, p->data, "valid", 0, true);
  j->session.fixed_bytes += etk_hardware_rss_bytes() - before;
  return status == ETK_E_NOT_FOUND && j->train ? ETK_OK : status;
}

static etk_status job_open(etk_error *e, struct job *j, etk_run *run, const struct pretrain *p) {
  *j = (struct job){0};
  j->checkpoint = session_checkpoint(p->output);
  if (!j->checkpoint || !(j->tokenizer = etk_path_join(j->checkpoint, "tokenizer.json"))) return etk_fail_memory(e);
  etk_status status = session_output(e, p->output, p->force, "config.json");
  const etk_model_config *c = &p->config;
  if (!status && c->hidden_size % (2 * c->num_attention_heads))
    status = etk_fail(e, ETK_E_USAGE, "--hidden-size %lld does not divide into %lld heads of even width (--heads)", (long long)c->hidden_size, (long long)c->num_attention_heads);
  if (!status && c->num_attention_heads % c->num_key_value_heads)
    status = etk_fail(e, ETK_E_USAGE, "--heads %lld is not a multiple of --kv-heads %lld", (long long)c->num_attention_heads, (long long)c->num_key_value_heads);
  if (status) return status;
  if (p->resume && !etk_fs_exists(j->tokenizer)) return etk_fail(e, ETK_E_NOT_FOUND, "there is no checkpoint %s to resume from; leave --resume out to begin", j->checkpoint);
  if (!p->resume && etk_fs_exists(j->checkpoint))
    return etk_fail(e, ETK_E_EXISTS, "the checkpoint %s of an earlier run is there: go on with --resume, or remove it to begin anew", j->checkpoint);
  if (!p->resume) {
    status = etk_fs_make_dirs(e, j->checkpoint);
    if (!status) status = train_tokenizer(e, run, p, j->tokenizer);
  }
  if (!status) status = etk_tokenizer_open(e, &j->session.tokenizer, j->tokenizer, 0);
  j->session.fixed_bytes = etk_hardware_rss_bytes();
  if (!status) status = open_model(e, j, p);
  if (!status) status = open_data(e, j, p);
  if (!status) status = open_trainer(e, j, p);
  etk_error ignored = ETK_ERROR_INIT; /* a folder with a tokenizer alone is no checkpoint */
  if (status && !p->resume) etk_fs_remove_tree(&ignored, j->checkpoint);
  return status;
}

static etk_status train(etk_error *e, etk_run *run, struct job *j, const struct pretrain *p) {
  struct loop loop = {.run = run, .label = "pretrain", .session = &j->session, .trainer = j->trainer, .train = j->train, .valid = j->valid, .total_steps = j->total_steps,
                      .eval_steps = p->save_steps, .save_steps = p->save_steps, .batch_size = p->batch_size, .checkpoint = j->checkpoint, .save = save_checkpoint, .user = j};
  struct loop_result result;
  etk_status status = memory_plan(e, &j->plan, run, &j->session, NULL, j->trainer);
  if (!status) status = session_provenance(e, &j->made, "lora-finetuning-mlx:pretrain", NULL, p->data);
  loop.planned_bytes = j->plan.total;
  if (!status) status = loop_run(e, &loop, &result);
  if (!status) status = session_write(e, p->output, p->force, save_result, j);
  if (status) return status;
  etk_error ignored = ETK_ERROR_INIT;
  etk_fs_remove_tree(&ignored, j->checkpoint);
  etk_run_artifact(run, p->output, "model");
  etk_run_result_int(run, "parameters", etk_model_parameters(j->session.model));
  etk_run_result_int(run, "vocabulary", etk_model_get_config(j->session.model)->vocab_size);
  etk_run_result_int(run, "steps", etk_trainer_steps(j->trainer));
  etk_run_result_int(run, "tokens", result.tokens);
  if (result.steps) {
    etk_run_result_real(run, "train_loss", result.last_loss);
    etk_run_result_real(run, "tokens_per_second", (double)result.tokens / result.seconds);
    etk_run_result_real(run, "seconds", result.seconds);
  }
  if (!isnan(result.validation_loss)) {
    etk_run_result_real(run, "validation_loss", result.validation_loss);
    etk_run_result_real(run, "validation_perplexity", exp(result.validation_loss));
  }
  if (j->packing) etk_run_result_int(run, "packed_rows", (int64_t)etk_packing_rows(j->packing));
  memory_report(run, &j->plan);
  etk_run_result_text(run, "model", p->output);
  return ETK_OK;
}

etk_status pretrain_model(etk_run *run, const struct pretrain *p) {
  if (!p->data) return etk_run_fail(run, ETK_E_USAGE, "no --data given: a folder with train.jsonl and valid.jsonl, a JSONL file or plain text");
  if (!p->output) return etk_run_fail(run, ETK_E_USAGE, "no --output given: the folder to write the model to");
  etk_error e = ETK_ERROR_INIT;
  struct job j;
  etk_status status = job_open(&e, &j, run, p);
  if (!status) status = train(&e, run, &j, p);
  job_close(&j);
  return status ? report(run, &e) : ETK_OK;
}
