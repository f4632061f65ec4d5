#include "session.h"

#include <etk/alloc.h>
#include <etk/fs.h>
#include <etk/hardware.h>
#include <etk/text.h>
#include <sys/stat.h>
#include <time.h>

etk_status report(etk_run *run, const etk_error *e) { return etk_run_fail(run, e->status, "%s", e->message); }

etk_status session_open(etk_error *e, struct session *out, etk_run *run, const char *model, const char *adapter) {
  *out = (struct session){.fixed_bytes = etk_hardware_rss_bytes()};
  out->path = model ? etk_strdup(model) : etk_path_join(etk_run_data_dir(run), "default");
  if (!out->path) return etk_fail_memory(e);
  etk_status status = etk_model_open(e, &out->model, out->path, NULL);
  if (!status) {
    int64_t before = etk_hardware_rss_bytes();
    status = etk_model_tokenizer(e, &out->tokenizer, out->model);
    out->fixed_bytes += etk_hardware_rss_bytes() - before;
    if (status == ETK_E_NOT_FOUND) status = ETK_OK; /* said again by whoever needs text */
  }
  if (!status && adapter) status = etk_adapter_open(e, &out->adapter, out->model, adapter, false);
  if (status) session_close(out);
  return status;
}

etk_status session_chat(etk_error *e, struct session *s, const struct chat_choice *choice) {
  s->chat_kwargs = choice->kwargs && *choice->kwargs ? choice->kwargs : NULL;
  etk_status status = etk_chat_format_open(e, &s->chat, choice->file ? choice->file : s->path, s->tokenizer);
  if (status == ETK_E_NOT_FOUND && !choice->file) {
    if (s->chat_kwargs) return etk_fail(e, ETK_E_USAGE, "--chat-template-kwargs is for a chat template, and the model %s has none; give one with --chat-template", s->path);
    *e = (etk_error)ETK_ERROR_INIT;
    return ETK_OK;
  }
  return status;
}

void session_close(struct session *s) {
  etk_chat_format_free(s->chat);
  etk_adapter_free(s->adapter);
  etk_tokenizer_free(s->tokenizer);
  etk_model_unref(s->model);
  etk_free(s->path);
  *s = (struct session){0};
}

etk_status session_data(etk_error *e, etk_dataset **out, const struct session *s, const char *path, const char *split, int64_t max_tokens, bool append_eos) {
  const etk_model_config *c = etk_model_get_config(s->model);
  if (!max_tokens || max_tokens > c->max_position_embeddings) max_tokens = c->max_position_embeddings;
  etk_dataset_options options = {.tokenizer = s->tokenizer, .vocabulary_size = c->vocab_size, .max_tokens = (int32_t)max_tokens, .append_eos = append_eos,
                                 .chat = s->chat, .chat_kwargs = s->chat_kwargs};
  if (etk_fs_is_dir(path)) return etk_dataset_open_split(e, out, path, split, &options);
  return etk_dataset_open(e, out, path, &options);
}

etk_status session_output(etk_error *e, const char *path, bool force, const char *marker) {
  if (!etk_fs_exists(path)) return ETK_OK;
  if (!force) return etk_fail(e, ETK_E_EXISTS, "%s exists; give another --output, or --force to replace it", path);
  if (!etk_fs_is_dir(path)) return etk_fail(e, ETK_E_EXISTS, "%s is a file; give another --output", path);
  char **names;
  size_t count = 0;
  etk_status status = etk_fs_list(e, &names, &count, path);
  if (status) return status;
  bool ours = count == 0;
  for (size_t i = 0; i < count && !ours; i++) ours = !strcmp(names[i], marker);
  etk_fs_list_free(names, count);
  return ours ? ETK_OK : etk_fail(e, ETK_E_EXISTS, "%s holds %zu entries and no %s, so it is not what this command writes; even --force does not replace it", path, count, marker);
}

etk_status session_provenance(etk_error *e, etk_provenance **out, const char *command, const char *model, const char *data) {
  static const char *const names[] = {"train.jsonl", "train.json", "train.txt", "valid.jsonl", "valid.json", "valid.txt"};
  etk_status status = etk_provenance_new(e, out, command);
  if (!status && model) status = etk_provenance_model(e, *out, model);
  if (!status && !etk_fs_is_dir(data)) status = etk_provenance_source(e, *out, data, 0, NULL);
  for (size_t i = 0; i < sizeof names / sizeof *names && !status && etk_fs_is_dir(data); i++) {
    char *path = etk_path_join(data, names[i]);
    if (!path) status = etk_fail_memory(e);
    else if (etk_fs_exists(path)) status = etk_provenance_source(e, *out, path, 1, NULL);
    etk_free(path);
  }
  if (!status) return ETK_OK;
  etk_provenance_free(*out);
  *out = NULL;
  return status;
}

char *session_checkpoint(const char *output) {
  etk_text name = ETK_TEXT_INIT;
  size_t size = strlen(output);
  while (size > 1 && output[size - 1] == '/') size--;
  etk_text_append(&name, output, size);
  etk_text_puts(&name, "-checkpoint");
  return etk_text_take(&name);
}

etk_status session_write(etk_error *e, const char *path, bool replace, etk_status (*save)(etk_error *e, void *user, const char *folder), void *user) {
  etk_dir *dir;
  etk_status status = etk_dir_create(e, &dir, path, replace);
  if (status) return status;
  status = save(e, user, etk_dir_path(dir));
  if (!status) return etk_dir_commit(e, dir);
  etk_dir_abort(dir);
  return status;
}

/* ---- evaluate ---- */
struct scoring {
  etk_run *run;
  const char *label;
  etk_file *per_token;
  etk_error error;
};

static bool on_progress(void *user, int64_t done, int64_t total) {
  struct scoring *s = user;
  etk_run_progress(s->run, s->label, done, total, NULL);
  return !etk_run_cancelled(s->run);
}

static bool on_token(void *user, int32_t id, double logprob) {
  struct scoring *s = user;
  char line[96];
  int size = snprintf(line, sizeof line, "{\"id\":%d,\"logprob\":%.9g}\n", id, logprob);
  return etk_file_write(&s->error, s->per_token, line, (size_t)size) == ETK_OK;
}

etk_status session_score(etk_error *e, etk_evaluation *out, etk_run *run, const struct session *s, const etk_adapter *adapter, const etk_dataset *data, int64_t batch_size, const char *label) {
  struct scoring scoring = {.run = run, .label = label};
  etk_evaluate_options options = {.batch_size = batch_size, .progress = on_progress, .user = &scoring};
  return etk_evaluate(e, out, s->model, adapter, data, &options);
}

static etk_status evaluate(etk_error *e, etk_run *run, const struct session *s, const struct evaluation *v) {
  etk_dataset *data = NULL;
  etk_status status = session_data(e, &data, s, v->data, "test", v->max_seq_length, false);
  if (status == ETK_E_NOT_FOUND && etk_fs_is_dir(v->data)) status = session_data(e, &data, s, v->data, "valid", v->max_seq_length, false);
  if (status == ETK_E_NOT_FOUND && etk_fs_is_dir(v->data)) status = etk_fail(e, ETK_E_NOT_FOUND, "the folder %s has neither test.jsonl nor valid.jsonl to evaluate", v->data);
  if (status) return status;
  struct scoring scoring = {.run = run, .label = "evaluate"};
  etk_evaluate_options options = {.batch_size = v->batch_size, .progress = on_progress, .user = &scoring};
  struct stat in, out;
  if (v->per_token && stat(v->data, &in) == 0 && stat(v->per_token, &out) == 0 && in.st_dev == out.st_dev && in.st_ino == out.st_ino)
    status = etk_fail(e, ETK_E_USAGE, "--per-token %s is the data itself; give another file", v->per_token);
  if (!status && v->per_token) {
    status = etk_file_create(e, &scoring.per_token, v->per_token, v->force);
    options.token = on_token;
  }
  etk_evaluation result = {0};
  if (!status) status = etk_evaluate(e, &result, s->model, s->adapter, data, &options);
  if (status && scoring.error.status) *e = scoring.error; /* the write's own words */
  if (status) etk_file_abort(scoring.per_token);
  else if (scoring.per_token) status = etk_file_commit(e, scoring.per_token);
  etk_dataset_stats stats = etk_dataset_get_stats(data);
  etk_dataset_free(data);
  if (status) return status;
  etk_run_result_real(run, "loss", result.loss);
  etk_run_result_real(run, "perplexity", result.perplexity);
  etk_run_result_int(run, "tokens", result.tokens);
  etk_run_result_int(run, "sequences", result.sequences);
  etk_run_result_int(run, "truncated", (int64_t)stats.truncated);
  etk_run_result_real(run, "tokens_per_second", (double)result.tokens * 1e9 / (double)result.elapsed_ns);
  etk_run_metric(run, "loss", 0, result.loss);
  etk_run_metric(run, "perplexity", 0, result.perplexity);
  if (v->per_token) etk_run_artifact(run, v->per_token, "data");
  return ETK_OK;
}

etk_status session_evaluate(etk_run *run, const struct evaluation *v) {
  if (!v->data) return etk_run_fail(run, ETK_E_USAGE, "evaluate needs --data: a JSONL file, plain text, or a folder with test.jsonl");
  etk_error e = ETK_ERROR_INIT;
  struct session s;
  etk_status status = session_open(&e, &s, run, v->model, v->adapter);
  if (!status) status = session_chat(&e, &s, &v->chat);
  if (!status) status = evaluate(&e, run, &s, v);
  session_close(&s);
  return status ? report(run, &e) : ETK_OK;
}

/* ---- generate ---- */
struct stream {
  etk_run *run; /* NULL: collect only */
  etk_decoder *decoder;
  etk_text text;
  etk_error error;
};

static bool emit(struct stream *s, int32_t id) {
  const char *bytes;
  size_t size;
  if (etk_decoder_push(&s->error, s->decoder, id, &bytes, &size)) return false;
  etk_text_append(&s->text, bytes, size);
  if (s->run && size) etk_run_text(s->run, bytes, size);
  return !s->run || !etk_run_cancelled(s->run);
}

static bool on_generated(void *user, int32_t id, double logprob) {
  (void)logprob;
  return emit(user, id);
}

/* The decoder must know what stood before: llama2.c strips the space after the beginning-of-sequence token. */
static etk_status prime(etk_error *e, struct stream *s, const etk_ids *prompt) {
  const char *bytes;
  size_t size;
  etk_status status = ETK_OK;
  for (size_t i = 0; i < prompt->count && !status; i++) status = etk_decoder_push(e, s->decoder, prompt->items[i], &bytes, &size);
  return status;
}

static etk_status answer(etk_error *e, struct stream *s, etk_generation *out, const struct session *session, etk_generator *generator, const etk_ids *prompt, const etk_generate_options *o) {
  etk_generate_options options = *o;
  options.token = on_generated;
  options.user = s;
  etk_status status = etk_decoder_new(e, &s->decoder, session->tokenizer, true);
  if (!status) status = prime(e, s, prompt);
  if (!status) status = etk_generate(e, generator, prompt->items, prompt->count, &options, out);
  if (!status && !s->error.status) emit(s, -1);
  if (!status && s->error.status) status = etk_fail(e, s->error.status, "%s", s->error.message);
  if (!status && s->text.failed) status = etk_fail_memory(e);
  if (status) etk_ids_free(&out->ids);
  etk_decoder_free(s->decoder);
  return status;
}

static etk_status encode_prompt(etk_error *e, etk_ids *out, const struct session *session, const char *prompt) {
  if (!session->tokenizer) return etk_fail(e, ETK_E_NOT_FOUND, "model %s has no tokenizer, so it can take no prompt and give no text", session->path);
  return etk_tokenizer_encode(e, session->tokenizer, out, prompt, strlen(prompt), &(etk_encode_options){.special = true});
}

etk_status session_answer(etk_error *e, char **out, etk_generation *stats, const struct session *session, etk_generator *generator, const char *prompt, const etk_generate_options *options) {
  struct stream stream = {0};
  etk_ids ids = ETK_IDS_INIT;
  *stats = (etk_generation){0};
  etk_status status = encode_prompt(e, &ids, session, prompt);
  if (!status) status = answer(e, &stream, stats, session, generator, &ids, options);
  etk_ids_free(&ids);
  *out = status ? NULL : stream.text.data ? etk_text_take(&stream.text) : etk_strdup("");
  etk_text_free(&stream.text);
  return status || *out ? status : etk_fail_memory(e);
}

static void put_message(etk_text *out, const char *role, const char *content) {
  etk_text_printf(out, "%s{\"role\":\"%s\",\"content\":", out->size > 1 ? "," : "", role);
  etk_text_json(out, content, strlen(content));
  etk_text_putc(out, '}');
}

/* The prompt as a conversation of its own, in the model's template. */
static etk_status encode_chat(etk_error *e, etk_ids *out, const struct session *s, const struct generation *g) {
  etk_text messages = ETK_TEXT_INIT;
  time_t seconds = time(NULL);
  struct tm now;
  etk_text_putc(&messages, '[');
  if (g->system_prompt && *g->system_prompt) put_message(&messages, "system", g->system_prompt);
  put_message(&messages, "user", g->prompt);
  etk_text_putc(&messages, ']');
  etk_chat chat = {.messages = messages.data, .kwargs = s->chat_kwargs, .add_generation_prompt = true, .now = localtime_r(&seconds, &now)};
  etk_status status = messages.failed ? etk_fail_memory(e) : etk_chat_format_encode(e, s->chat, out, &chat);
  etk_text_free(&messages);
  return status;
}

static etk_status encode_generation(etk_error *e, etk_ids *out, struct session *s, const struct generation *g) {
  bool system = g->system_prompt && *g->system_prompt;
  if (g->raw && (system || g->chat.file || (g->chat.kwargs && *g->chat.kwargs)))
    return etk_fail(e, ETK_E_USAGE, "--ignore-chat-template excludes --system-prompt, --chat-template and --chat-template-kwargs");
  etk_status status = g->raw || !s->tokenizer ? ETK_OK : session_chat(e, s, &g->chat);
  if (status) return status;
  if (system && !s->chat) return etk_fail(e, ETK_E_USAGE, "--system-prompt needs a chat template, and the model %s has none; give one with --chat-template", s->path);
  /* An empty prompt asks for a text from its beginning, not for an answer. */
  return s->chat && (*g->prompt || system) ? encode_chat(e, out, s, g) : encode_prompt(e, out, s, g->prompt);
}

/* A generator of a model that proposes tokens, of so many tokens as the other's. */
struct draft {
  etk_model *model;
  etk_generator *generator;
};
static etk_status draft_open(etk_error *e, struct draft *out, const struct session *s, const char *path, int64_t capacity) {
  *out = (struct draft){0};
  if (!path) return ETK_OK;
  etk_tokenizer *tokenizer = NULL;
  etk_status status = etk_model_open(e, &out->model, path, NULL);
  if (!status) status = etk_model_tokenizer(e, &tokenizer, out->model);
  if (!status) status = etk_draft_check(e, s->tokenizer, tokenizer);
  if (!status) status = etk_generator_new(e, &out->generator, out->model, NULL, capacity);
  etk_tokenizer_free(tokenizer);
  return status ? etk_error_while(e, status, "opening --draft-model %s", path) : ETK_OK;
}
static void draft_close(struct draft *d) {
  etk_generator_free(d->generator);
  etk_model_unref(d->model);
}

static etk_status check_aids(etk_error *e, const struct generation *g) {
  if (!g->prompt_cache && (g->prompt_cache_all || g->prompt_cache_ro)) return etk_fail(e, ETK_E_USAGE, "--prompt-cache-all and --prompt-cache-ro need --prompt-cache FILE");
  if (g->prompt_cache_all && g->prompt_cache_ro) return etk_fail(e, ETK_E_USAGE, "--prompt-cache-all writes the file that --prompt-cache-ro leaves as it is; give one of them");
  if (g->options.speculation.tokens && !g->draft_model && !g->options.speculation.lookup)
    return etk_fail(e, ETK_E_USAGE, "--num-draft-tokens needs --draft-model or --prompt-lookup");
  return ETK_OK;
}

/* A file that is not there yet is made, unless it is only to be read. */
static etk_status take_prompt(etk_error *e, etk_generator *generator, const struct generation *g) {
  if (!g->prompt_cache) return ETK_OK;
  etk_status status = etk_generator_load(e, generator, g->prompt_cache);
  if (status != ETK_E_NOT_FOUND || g->prompt_cache_ro) return status;
  etk_error_clear(e);
  return ETK_OK;
}

/* held: tokens that came from the file. One that has all of the prompt is left as it is. */
static etk_status keep_prompt(etk_error *e, const etk_generator *generator, const struct generation *g, const etk_generation *made, int64_t held) {
  if (!g->prompt_cache || g->prompt_cache_ro) return ETK_OK;
  if (!g->prompt_cache_all && held >= made->prompt_tokens && made->reused_tokens == made->prompt_tokens - 1) return ETK_OK;
  return etk_generator_save(e, generator, g->prompt_cache, g->prompt_cache_all ? 0 : made->prompt_tokens);
}

static void report_generation(etk_run *run, const struct generation *g, const etk_generation *out, const char *text) {
  static const char *const stops[] = {"eos", "length", "callback"};
  int64_t made = (int64_t)out->ids.count;
  etk_run_result_text(run, "text", text ? text : "");
  etk_run_result_int(run, "prompt_tokens", out->prompt_tokens);
  if (g->prompt_cache) etk_run_result_int(run, "prompt_cache_tokens", out->reused_tokens);
  etk_run_result_int(run, "tokens", made);
  etk_run_result_text(run, "stop", etk_run_cancelled(run) ? "cancelled" : stops[out->stop]);
  etk_run_result_real(run, "prompt_tokens_per_second", (double)(out->prompt_tokens - out->reused_tokens) * 1e9 / (double)(out->prefill_ns + 1));
  etk_run_result_real(run, "tokens_per_second", (double)made * 1e9 / (double)(out->decode_ns + 1));
  if (!g->draft_model && !g->options.speculation.lookup) return;
  etk_run_result_int(run, "drafted_tokens", out->drafted);
  etk_run_result_int(run, "accepted_tokens", out->accepted);
  etk_run_result_real(run, "acceptance_rate", out->drafted ? (double)out->accepted / (double)out->drafted : 0);
}

static etk_status generate(etk_error *e, etk_run *run, struct session *s, const struct generation *g) {
  etk_generator *generator = NULL;
  struct draft draft = {0};
  etk_generation out = {0};
  struct stream stream = {.run = run};
  etk_ids ids = ETK_IDS_INIT;
  etk_status status = encode_generation(e, &ids, s, g);
  /* An empty prompt becomes one token; no more of a long context is needed. */
  int64_t capacity = (int64_t)ids.count + 1 + g->options.max_tokens, held = 0;
  if (!status) status = etk_generator_new_with(e, &generator, s->model, s->adapter, &(etk_generator_options){.capacity = capacity, .cache_type = g->cache_type});
  if (!status) status = draft_open(e, &draft, s, g->draft_model, capacity);
  if (!status) status = take_prompt(e, generator, g);
  if (!status) {
    etk_generate_options options = g->options;
    options.reuse = g->prompt_cache != NULL;
    options.speculation.draft = draft.generator;
    held = etk_generator_held(generator);
    status = answer(e, &stream, &out, s, generator, &ids, &options);
  }
  etk_ids_free(&ids);
  if (!status) {
    report_generation(run, g, &out, stream.text.data);
    status = keep_prompt(e, generator, g, &out, held);
    if (!status && etk_run_cancelled(run)) status = etk_fail(e, ETK_E_CANCELLED, "stopped after %lld tokens", (long long)out.ids.count);
  }
  etk_generator_free(generator);
  draft_close(&draft);
  etk_ids_free(&out.ids);
  etk_text_free(&stream.text);
  return status;
}

etk_status session_generate(etk_run *run, const struct generation *g) {
  etk_error e = ETK_ERROR_INIT;
  struct session s = {0};
  etk_compute compute;
  etk_status status = check_aids(&e, g);
  if (!status) status = memory_compute(&e, &compute, g->compute);
  if (!status) status = session_open(&e, &s, run, g->model, g->adapter);
  if (!status) etk_model_set_compute(s.model, compute);
  if (!status) status = generate(&e, run, &s, g);
  session_close(&s);
  return status ? report(run, &e) : ETK_OK;
}

/* ---- info ---- */
etk_status session_info(etk_run *run, const char *model, const etk_lora_options *lora) {
  etk_error e = ETK_ERROR_INIT;
  struct session s;
  etk_status status = session_open(&e, &s, run, model, NULL);
  if (!status) status = etk_adapter_new(&e, &s.adapter, s.model, lora, 0);
  if (!status) {
    const etk_model_config *c = etk_model_get_config(s.model);
    int64_t base = etk_model_parameters(s.model), trained = etk_adapter_parameters(s.adapter);
    etk_run_result_text(run, "model", s.path);
    etk_run_result_text(run, "architecture", c->architecture);
    etk_run_result_int(run, "parameters", base);
    etk_run_result_int(run, "layers", c->num_hidden_layers);
    etk_run_result_int(run, "hidden_size", c->hidden_size);
    etk_run_result_int(run, "attention_heads", c->num_attention_heads);
    etk_run_result_int(run, "key_value_heads", c->num_key_value_heads);
    etk_run_result_int(run, "vocabulary", c->vocab_size);
    etk_run_result_int(run, "context", c->max_position_embeddings);
    etk_run_result_int(run, "memory_bytes", (int64_t)etk_model_bytes(s.model));
    etk_run_result_flag(run, "tokenizer", s.tokenizer != NULL);
    etk_run_result_int(run, "lora_rank", lora->rank);
    etk_run_result_real(run, "lora_alpha", lora->alpha);
    etk_run_result_int(run, "lora_layers", (int64_t)etk_adapter_count(s.adapter));
    etk_run_result_int(run, "lora_parameters", trained);
    etk_run_result_real(run, "lora_share_percent", 100.0 * (double)trained / (double)base);
  }
  session_close(&s);
  return status ? report(run, &e) : ETK_OK;
}
