/* How fast we are, in the words of bench/peers/llama_bench.c, so that both do the same work on the same file (bench/README.md defines the figures):
 *   measure bench MODEL PROMPT GEN THREADS REPEATS [--since NS]   a line for each repeat, by etk_generate
 *   measure batch MODEL PROMPT GEN THREADS SEQUENCES REPEATS      one recorded graph over a paged cache
 *   measure first MODEL PROMPT THREADS --since NS                 time to the first token, from NS (CLOCK_MONOTONIC) on
 *   measure train MODEL DATA.jsonl ROWS TOKENS THREADS STEPS [ADAPTER_FOLDER [float32|bfloat16]]
 *                                                                 LoRA of rank 8 on the seven linear layers; the adapter is written before step 0
 *   measure bench|first … --compute bfloat16                      etk_model_set_compute; before --since
 *   measure work MODEL PROMPT                                     bytes of weights a token reads, operations of a prompt
 * Built by `make bench-peers`. */
#include <etk/alloc.h>
#include <etk/generate.h>
#include <etk/hardware.h>
#include <etk/fs.h>
#include <etk/parallel.h>
#include <etk/trainer.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int usage(void) {
  fputs("measure: bad arguments; the head of bench/peers/measure.c lists them\n", stderr);
  return 2;
}
static int fail(const etk_error *e) {
  fprintf(stderr, "measure: %s\n", e->message);
  return 1;
}
static etk_compute compute; /* --compute */
static double ms_since(int64_t since, int64_t at) { return since ? (double)(at - since) * 1e-6 : 0; }
static int32_t id_at(const etk_model *model, int64_t i) { return (int32_t)((7919 * i + 13) % etk_model_get_config(model)->vocab_size); }

/* ---- one sequence ---- */

struct single {
  etk_model *model;
  etk_generator *generator;
  int32_t *ids; /* (prompt) */
};
static void single_fini(struct single *s) {
  etk_generator_free(s->generator);
  etk_model_unref(s->model);
  etk_free(s->ids);
}
static etk_status single_init(etk_error *e, struct single *s, const char *path, int64_t prompt, int64_t steps) {
  *s = (struct single){0};
  etk_status status = etk_model_open(e, &s->model, path, NULL);
  if (!status) etk_model_set_compute(s->model, compute);
  if (!status) status = etk_generator_new(e, &s->generator, s->model, NULL, prompt + steps + 1);
  if (!status && !(s->ids = etk_calloc((size_t)prompt, sizeof *s->ids))) status = etk_fail_memory(e);
  for (int64_t i = 0; i < prompt && !status; i++) s->ids[i] = id_at(s->model, i);
  if (status) single_fini(s);
  return status;
}
static etk_status generate(etk_error *e, struct single *s, int64_t prompt, int64_t tokens, etk_generation *out) {
  etk_generate_options options = {.sampling = {.top_p = 1, .repetition_penalty = 1}, .max_tokens = tokens, .ignore_eos = true};
  return etk_generate(e, s->generator, s->ids, (size_t)prompt, &options, out);
}

static int bench(int argc, char **argv, int64_t since) {
  if (argc < 5) return usage();
  int64_t prompt = strtoll(argv[1], NULL, 10), steps = strtoll(argv[2], NULL, 10), repeats = strtoll(argv[4], NULL, 10);
  if (prompt < 1 || steps < 1) return usage();
  etk_parallel_set_threads((int)strtol(argv[3], NULL, 10));
  etk_error e = ETK_ERROR_INIT;
  struct single s;
  etk_generation made = {.ids = ETK_IDS_INIT};
  if (single_init(&e, &s, argv[0], prompt, steps)) return fail(&e);
  size_t planned = 0;
  etk_status status = generate(&e, &s, prompt < 16 ? prompt : 16, 2, &made);
  int64_t ready = etk_time_ns();
  if (!status) status = etk_generator_plan(&e, s.generator, prompt, 0, &planned);
  for (int64_t r = 0; r < repeats && !status; r++) {
    etk_ids_free(&made.ids);
    status = generate(&e, &s, prompt, steps + 1, &made); /* the first token costs no step */
    if (!status)
      printf("{\"prompt_tokens_per_s\":%.6g,\"decode_tokens_per_s\":%.6g,\"ready_ms\":%.6g,\"peak_bytes\":%" PRId64 ",\"planned_bytes\":%zu}\n", (double)prompt / ((double)made.prefill_ns * 1e-9),
             (double)steps / ((double)made.decode_ns * 1e-9), ms_since(since, ready), etk_hardware_peak_rss_bytes(), planned);
  }
  etk_ids_free(&made.ids);
  single_fini(&s);
  return status ? fail(&e) : 0;
}

static int first(int argc, char **argv, int64_t since) {
  if (argc < 3) return usage();
  int64_t prompt = strtoll(argv[1], NULL, 10);
  if (prompt < 1) return usage();
  etk_parallel_set_threads((int)strtol(argv[2], NULL, 10));
  etk_error e = ETK_ERROR_INIT;
  struct single s;
  etk_generation made = {.ids = ETK_IDS_INIT};
  if (single_init(&e, &s, argv[0], prompt, 1)) return fail(&e);
  etk_status status = generate(&e, &s, prompt, 1, &made);
  int64_t ready = etk_time_ns();
  if (!status)
    printf("{\"first_token_ms\":%.6g,\"id\":%d,\"peak_bytes\":%" PRId64 "}\n", ms_since(since, ready), made.ids.items[0], etk_hardware_peak_rss_bytes());
  etk_ids_free(&made.ids);
  single_fini(&s);
  return status ? fail(&e) : 0;
}

/* ---- many sequences ---- */

enum { BLOCK_TOKENS = 16 };
struct pass {
  etk_graph *graph;
  etk_tensor *ids, *positions, *select, *table, *logits;
  int64_t rows, tokens;
};
static etk_status record(etk_error *e, struct pass *p, const etk_model *model, etk_cache *cache, int64_t rows, int64_t tokens, int64_t blocks) {
  *p = (struct pass){.graph = etk_graph_new(), .rows = rows, .tokens = tokens};
  if (!p->graph) return etk_fail_memory(e);
  p->ids = etk_graph_input(p->graph, ETK_I32, etk_shape_of(2, rows, tokens), "ids");
  p->positions = etk_graph_input(p->graph, ETK_I32, etk_shape_of(2, rows, tokens), "positions");
  p->table = etk_graph_input(p->graph, ETK_I32, etk_shape_of(2, rows, blocks), "block_table");
  p->select = etk_graph_input(p->graph, ETK_I32, etk_shape_of(1, rows), "select");
  p->logits = etk_model_forward(p->graph, model, &(etk_forward){.ids = p->ids, .positions = p->positions, .select = p->select, .cache = cache, .block_table = p->table});
  etk_graph_keep(p->graph, p->logits);
  etk_status status = etk_graph_plan(e, p->graph, NULL);
  for (int64_t i = 0; i < rows && !status; i++) ((int32_t *)etk_tensor_data(p->select))[i] = (int32_t)(i * tokens + tokens - 1);
  return status;
}

struct many {
  etk_model *model;
  etk_cache *cache;
  struct pass prompt, step; /* (1, prompt) and (sequences, 1) */
  int32_t *next;
  int64_t size, steps, sequences, blocks; /* blocks: of a sequence */
};
static void many_fini(struct many *m) {
  etk_graph_free(m->prompt.graph);
  etk_graph_free(m->step.graph);
  etk_cache_free(m->cache);
  etk_model_unref(m->model);
  etk_free(m->next);
}
static etk_status many_init(etk_error *e, struct many *m, const char *path) {
  etk_status status = etk_model_open(e, &m->model, path, NULL);
  if (status) return status;
  const etk_model_config *c = etk_model_get_config(m->model);
  m->blocks = (m->size + m->steps + BLOCK_TOKENS - 1) / BLOCK_TOKENS;
  etk_cache_options options = {.layers = (int)c->num_hidden_layers, .kv_heads = (int)c->num_key_value_heads, .head_dim = (int)c->head_dim, .block_tokens = BLOCK_TOKENS,
                               .blocks = (int)(m->blocks * m->sequences)};
  if (!(m->next = etk_calloc((size_t)m->sequences, sizeof *m->next))) return etk_fail_memory(e);
  status = etk_cache_new(e, &m->cache, &options);
  if (!status) status = record(e, &m->prompt, m->model, m->cache, 1, m->size, m->blocks);
  if (!status) status = record(e, &m->step, m->model, m->cache, m->sequences, 1, m->blocks);
  for (int64_t i = 0; i < m->sequences && !status; i++) {
    int sequence, count;
    status = etk_cache_sequence_new(e, m->cache, &sequence);
    if (!status) status = etk_cache_sequence_reserve(e, m->cache, sequence, (int)(m->size + m->steps));
    const int32_t *blocks = status ? NULL : etk_cache_sequence_blocks(m->cache, sequence, &count);
    for (int64_t j = 0; j < m->blocks && blocks; j++) ((int32_t *)etk_tensor_data(m->step.table))[i * m->blocks + j] = blocks[j];
  }
  return status;
}
static int32_t greedy(const struct pass *p, int64_t row) {
  int64_t vocab = etk_tensor_dim(p->logits, -1);
  const float *logits = (const float *)etk_tensor_data(p->logits) + row * vocab;
  int32_t best = 0;
  for (int32_t i = 1; i < vocab; i++)
    if (logits[i] > logits[best]) best = i;
  return best;
}
static etk_status read_prompt(etk_error *e, struct many *m, int64_t sequence) {
  for (int64_t i = 0; i < m->size; i++) {
    ((int32_t *)etk_tensor_data(m->prompt.ids))[i] = id_at(m->model, i + sequence);
    ((int32_t *)etk_tensor_data(m->prompt.positions))[i] = (int32_t)i;
  }
  memcpy(etk_tensor_data(m->prompt.table), (int32_t *)etk_tensor_data(m->step.table) + sequence * m->blocks, (size_t)m->blocks * sizeof(int32_t));
  etk_status status = etk_graph_eval(e, m->prompt.graph);
  m->next[sequence] = status ? 0 : greedy(&m->prompt, 0);
  return status;
}
static etk_status decode(etk_error *e, struct many *m) {
  etk_status status = ETK_OK;
  for (int64_t s = 0; s < m->steps && !status; s++) {
    for (int64_t i = 0; i < m->sequences; i++) {
      ((int32_t *)etk_tensor_data(m->step.ids))[i] = m->next[i];
      ((int32_t *)etk_tensor_data(m->step.positions))[i] = (int32_t)(m->size + s);
    }
    status = etk_graph_eval(e, m->step.graph);
    for (int64_t i = 0; i < m->sequences && !status; i++) m->next[i] = greedy(&m->step, i);
  }
  return status;
}

static int batch(int argc, char **argv) {
  if (argc < 6) return usage();
  int64_t repeats = strtoll(argv[5], NULL, 10);
  struct many m = {.size = strtoll(argv[1], NULL, 10), .steps = strtoll(argv[2], NULL, 10), .sequences = strtoll(argv[4], NULL, 10)};
  if (m.size < 1 || m.steps < 1 || m.sequences < 1) return usage();
  etk_parallel_set_threads((int)strtol(argv[3], NULL, 10));
  etk_error e = ETK_ERROR_INIT;
  etk_status status = many_init(&e, &m, argv[0]);
  for (int64_t r = 0; r < repeats && !status; r++) {
    for (int64_t i = 0; i < m.sequences && !status; i++) status = read_prompt(&e, &m, i);
    int64_t begin = etk_time_ns();
    if (!status) status = decode(&e, &m);
    double took = (double)(etk_time_ns() - begin) * 1e-9;
    if (!status) printf("{\"decode_tokens_per_s\":%.6g,\"peak_bytes\":%" PRId64 "}\n", (double)(m.steps * m.sequences) / took, etk_hardware_peak_rss_bytes());
  }
  many_fini(&m);
  return status ? fail(&e) : 0;
}

/* ---- training ---- */

static etk_status train_steps(etk_error *e, etk_trainer *trainer, const etk_dataset *data, int64_t steps, int64_t tokens, size_t held) {
  size_t planned = 0;
  etk_status status = etk_trainer_plan(e, trainer, &planned);
  planned += held;
  for (int64_t i = 0; i < steps && !status; i++) {
    etk_step step;
    status = etk_trainer_step(e, trainer, data, &step);
    if (!status)
      printf("{\"step\":%" PRId64 ",\"loss\":%.9g,\"tokens_per_s\":%.6g,\"peak_bytes\":%" PRId64 ",\"planned_bytes\":%zu}\n", i, step.loss,
             (double)tokens / ((double)step.elapsed_ns * 1e-9), etk_hardware_peak_rss_bytes(), planned);
  }
  return status;
}

static int train(int argc, char **argv) {
  if (argc < 6) return usage();
  int64_t rows = strtoll(argv[2], NULL, 10), tokens = strtoll(argv[3], NULL, 10), steps = strtoll(argv[5], NULL, 10);
  if (rows < 1 || tokens < 1) return usage();
  etk_parallel_set_threads((int)strtol(argv[4], NULL, 10));
  etk_error e = ETK_ERROR_INIT;
  etk_model *model = NULL;
  etk_adapter *adapter = NULL;
  etk_dataset *data = NULL;
  etk_trainer *trainer = NULL;
  const char *targets[] = {"all-linear"};
  etk_lora_options lora = {.rank = 8, .alpha = 16, .target_modules = targets, .target_count = 1};
  etk_trainer_options options = {.batch_size = rows, .max_tokens = (int32_t)tokens, .optimizer = etk_optimizer_defaults(ETK_ADAMW),
                                 .schedule = {.kind = ETK_SCHEDULE_CONSTANT, .peak = 1e-3, .total_steps = steps}, .seed = 1};
  options.optimizer.weight_decay = 0;
  if (argc > 7 && !etk_compute_parse(&options.compute, argv[7])) return usage();
  etk_status status = etk_model_open(&e, &model, argv[0], NULL);
  if (!status) status = etk_adapter_new(&e, &adapter, model, &lora, 1);
  if (!status && argc > 6) status = etk_fs_make_dirs(&e, argv[6]);
  if (!status && argc > 6) status = etk_adapter_save(&e, adapter, argv[6], NULL, 0);
  etk_dataset_options read = {.vocabulary_size = model ? etk_model_get_config(model)->vocab_size : 0, .max_tokens = (int32_t)tokens + 1};
  if (!status) status = etk_dataset_open(&e, &data, argv[1], &read);
  if (!status) status = etk_trainer_new(&e, &trainer, model, adapter, &options);
  if (!status) status = train_steps(&e, trainer, data, steps, rows * tokens, etk_model_bytes(model) + (size_t)etk_adapter_parameters(adapter) * sizeof(float));
  etk_trainer_free(trainer);
  etk_dataset_free(data);
  etk_adapter_free(adapter);
  etk_model_unref(model);
  return status ? fail(&e) : 0;
}

/* ---- what the work is ---- */

/* Weights that a decoded token reads: all but the embedding, which counts where it is the head too. Operations of a prompt: 2 for each weight of a layer and
 * token, the head once, and causal attention's two products. */
static int work(int argc, char **argv) {
  if (argc < 2) return usage();
  etk_error e = ETK_ERROR_INIT;
  etk_model *model = NULL;
  int64_t prompt = strtoll(argv[1], NULL, 10), head = 0, layers = 0, bytes = 0;
  if (etk_model_open(&e, &model, argv[0], NULL)) return fail(&e);
  const etk_model_config *c = etk_model_get_config(model);
  for (size_t i = 0; i < etk_model_weight_count(model); i++) {
    const etk_tensor *t = etk_model_weight_at(model, i);
    const char *name = etk_model_weight_name(model, i);
    bool embedding = strstr(name, "embed_tokens") != NULL;
    if (embedding && !c->tie_word_embeddings) continue;
    bytes += (int64_t)etk_tensor_bytes(t);
    if (embedding || strstr(name, "lm_head")) head += etk_tensor_elements(t);
    else if (etk_tensor_shape(t)->rank == 2) layers += etk_tensor_elements(t);
  }
  double attention = 2.0 * (double)(prompt * prompt) * (double)(c->num_attention_heads * c->head_dim * c->num_hidden_layers);
  printf("{\"parameters\":%" PRId64 ",\"token_bytes\":%" PRId64 ",\"prompt_operations\":%.6g,\"held_bytes\":%zu}\n", etk_model_parameters(model), bytes,
         2.0 * (double)layers * (double)prompt + 2.0 * (double)head + attention, etk_model_bytes(model));
  etk_model_unref(model);
  return 0;
}

int main(int argc, char **argv) {
  int64_t since = 0;
  if (argc > 3 && !strcmp(argv[argc - 2], "--since")) since = strtoll(argv[argc - 1], NULL, 10), argc -= 2;
  const char *command = argc > 1 ? argv[1] : "";
  bool computes = argc > 3 && !strcmp(argv[argc - 2], "--compute");
  if (computes && (!etk_compute_parse(&compute, argv[argc - 1]) || (strcmp(command, "bench") && strcmp(command, "first")))) return usage();
  if (computes) argc -= 2;
  if (!strcmp(command, "bench")) return bench(argc - 2, argv + 2, since);
  if (!strcmp(command, "batch")) return batch(argc - 2, argv + 2);
  if (!strcmp(command, "first")) return first(argc - 2, argv + 2, since);
  if (!strcmp(command, "train")) return train(argc - 2, argv + 2);
  if (!strcmp(command, "work")) return work(argc - 2, argv + 2);
  return usage();
}
