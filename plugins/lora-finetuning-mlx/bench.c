/* bench.c: benchmarks of the model that comes with this project: reading it, prompts, decoding and training steps.
 *
 * Operations are counted as multiplications and additions of the matrix products, 2 a weight and token forward, plus 4 × context × width a layer for attention;
 * norms, activations and the softmax are left out. Bytes are what has to be read once: every weight, and while decoding the cache. */
#include "extensions.h"
#include "session.h"

#include <etk/alloc.h>
#include <etk/fs.h>
#include <etk/text.h>
#include <etk/optimizer.h>

enum { PROMPT = 96, DECODED = 32, BATCH = 8, ROW = 64 };

struct bench {
  struct session session;
  etk_generator *generator;
  etk_trainer *trainer;
  etk_dataset *data, *batch; /* batch: the same few rows again and again, so that each step is the same work */
  etk_ids prompt;
};

static void close_bench(etk_run *run, void *state) {
  struct bench *b = state;
  (void)run;
  if (!b) return;
  etk_generator_free(b->generator);
  etk_trainer_free(b->trainer);
  etk_dataset_free(b->batch);
  etk_dataset_free(b->data);
  etk_ids_free(&b->prompt);
  session_close(&b->session);
  etk_free(b);
}

static etk_status done(etk_run *run, const etk_error *e, etk_status status) { return status ? etk_run_fail(run, status, "%s", e->message) : ETK_OK; }

/* Weights that every token is multiplied with: all but the rows of the embedding, which are copied; a tied one is the last product too. */
static int64_t product_weights(const etk_model *model) {
  const etk_model_config *c = etk_model_get_config(model);
  return etk_model_parameters(model) - (c->tie_word_embeddings ? 0 : c->vocab_size * c->hidden_size);
}

/* Forward over `tokens` tokens that each see `context` on average. */
static int64_t forward_flops(const etk_model *model, int64_t tokens, int64_t context) {
  const etk_model_config *c = etk_model_get_config(model);
  return tokens * (2 * product_weights(model) + 4 * context * c->num_attention_heads * c->head_dim * c->num_hidden_layers);
}

static int64_t cache_bytes(const etk_model *model, int64_t context) {
  const etk_model_config *c = etk_model_get_config(model);
  return context * 2 * c->num_hidden_layers * c->num_key_value_heads * c->head_dim * (int64_t)sizeof(float);
}

/* ---- load ---- */

static etk_status load_sample(etk_run *run, void *state, etk_bench_work *work) {
  etk_error e = ETK_ERROR_INIT;
  struct session session;
  (void)state;
  etk_status status = session_open(&e, &session, run, NULL, NULL);
  if (!status) {
    work->items = etk_model_parameters(session.model);
    work->bytes = (int64_t)etk_model_bytes(session.model);
    session_close(&session);
  }
  return done(run, &e, status);
}

/* ---- prompt, decode ---- */

static const char story[] = "Once upon a time there was a little girl who lived in a small house near the forest with her mother and her old grey cat. ";

/* PROMPT tokens of text, repeated as often as it takes. */
static etk_status make_prompt(etk_error *e, struct bench *b) {
  static const etk_encode_options encode = {.special = true};
  etk_text text = ETK_TEXT_INIT;
  for (int i = 0; i < PROMPT; i++) etk_text_puts(&text, story);
  etk_status status = text.failed ? etk_fail_memory(e) : ETK_OK;
  if (!status && !b->session.tokenizer) status = etk_fail(e, ETK_E_NOT_FOUND, "model %s has no tokenizer", b->session.path);
  if (!status) status = etk_tokenizer_encode(e, b->session.tokenizer, &b->prompt, text.data, text.size, &encode);
  etk_text_free(&text);
  if (!status && b->prompt.count < PROMPT) status = etk_fail(e, ETK_E_INTERNAL, "the prompt has only %zu tokens", b->prompt.count);
  return status;
}

static etk_status open_generator(etk_run *run, void **state) {
  etk_error e = ETK_ERROR_INIT;
  struct bench *b = etk_calloc(1, sizeof *b);
  if (!b) return etk_run_fail(run, ETK_E_NO_MEMORY, "out of memory");
  etk_status status = session_open(&e, &b->session, run, NULL, NULL);
  if (!status) status = make_prompt(&e, b);
  if (!status) status = etk_generator_new(&e, &b->generator, b->session.model, NULL, PROMPT + DECODED);
  if (status) close_bench(run, b);
  else *state = b;
  return done(run, &e, status);
}

/* Greedy, past the end of sequence, so that each sample is the same work. */
static etk_status generate(etk_run *run, struct bench *b, size_t prompt, int64_t tokens) {
  etk_error e = ETK_ERROR_INIT;
  etk_generation out = {0};
  const etk_generate_options options = {.sampling = {.temperature = 0, .top_p = 1, .repetition_penalty = 1}, .max_tokens = tokens, .ignore_eos = true};
  etk_status status = etk_generate(&e, b->generator, b->prompt.items, prompt, &options, &out);
  if (!status && (int64_t)out.ids.count != tokens) status = etk_fail(&e, ETK_E_CHECK, "%zu tokens came instead of %lld", out.ids.count, (long long)tokens);
  etk_ids_free(&out.ids);
  return done(run, &e, status);
}

static etk_status decode_sample(etk_run *run, void *state, etk_bench_work *work) {
  struct bench *b = state;
  const etk_model *model = b->session.model;
  work->items = DECODED;
  work->flops = forward_flops(model, DECODED, DECODED / 2);
  work->bytes = DECODED * ((int64_t)etk_model_bytes(model) + cache_bytes(model, DECODED / 2));
  return generate(run, b, 1, DECODED);
}

static etk_status prompt_sample(etk_run *run, void *state, etk_bench_work *work) {
  struct bench *b = state;
  const etk_model *model = b->session.model;
  work->items = PROMPT;
  work->flops = forward_flops(model, PROMPT, PROMPT / 2);
  work->bytes = (int64_t)etk_model_bytes(model) + cache_bytes(model, PROMPT);
  return generate(run, b, PROMPT, 1);
}

/* ---- training ---- */

static etk_status open_training(etk_run *run, void **state) {
  static const char *const modules[] = {"all-linear"};
  static const etk_lora_options lora = {.rank = 16, .alpha = 32, .target_modules = modules, .target_count = 1};
  etk_error e = ETK_ERROR_INIT;
  struct bench *b = etk_calloc(1, sizeof *b);
  char *path = etk_path_join(etk_run_data_dir(run), "powershell");
  etk_status status = b && path ? session_open(&e, &b->session, run, NULL, NULL) : etk_fail_memory(&e);
  if (!status) status = etk_adapter_new(&e, &b->session.adapter, b->session.model, &lora, 1);
  if (!status) status = session_data(&e, &b->data, &b->session, path, "train", ROW, true);
  if (!status) status = etk_dataset_split_off(&e, b->data, &b->batch, BATCH, 1);
  const etk_trainer_options options = {.batch_size = BATCH, .max_tokens = ROW, .seed = 1, .gradient_clipping = 1, .optimizer = etk_optimizer_defaults(ETK_ADAMW),
                                       .schedule = {.kind = ETK_SCHEDULE_CONSTANT, .peak = 1e-5, .total_steps = INT64_C(1) << 30}};
  if (!status) status = etk_trainer_new(&e, &b->trainer, b->session.model, b->session.adapter, &options);
  etk_free(path);
  if (status) close_bench(run, b);
  else *state = b;
  return done(run, &e, status);
}

/* Forward, backward into the activations and into the adapter: 4 a weight and token, 6 a weight of the adapter. */
static etk_status train_sample(etk_run *run, void *state, etk_bench_work *work) {
  struct bench *b = state;
  etk_error e = ETK_ERROR_INIT;
  etk_step step = {0};
  etk_status status = etk_trainer_step(&e, b->trainer, b->batch, &step);
  work->items = step.tokens;
  work->flops = 2 * forward_flops(b->session.model, step.tokens, ROW / 2) + step.tokens * 6 * etk_adapter_parameters(b->session.adapter);
  return done(run, &e, status);
}

static const etk_bench_case cases[] = {
    {"load", "Open the model and its tokenizer", "parameter", NULL, load_sample, NULL},
    {"prompt", "Read a prompt of 96 tokens and make the first token", "token", open_generator, prompt_sample, close_bench},
    {"generate", "Decode 32 tokens, one at a time", "token", open_generator, decode_sample, close_bench},
    {"train-step", "One optimizer step of LoRA, rank 16, 8 rows of up to 64 tokens", "token", open_training, train_sample, close_bench},
};
const etk_bench_suite benchmarks = {(uint32_t)sizeof(etk_bench_suite), (uint32_t)(sizeof cases / sizeof *cases), (uint32_t)sizeof *cases, cases};
