/* How fast llama.cpp is, as it is published: its own defaults (cache F16, fused attention where it likes, weights repacked), all work on the CPU.
 *   llama bench MODEL PROMPT GEN THREADS REPEATS [--since NS]     a line for each repeat: prompt and decode rates; then peak memory
 *   llama batch MODEL PROMPT GEN THREADS SEQUENCES REPEATS        decode with so many sequences at once, each after a prompt of its own
 *   llama first MODEL PROMPT THREADS --since NS                   time to the first token, from NS (CLOCK_MONOTONIC) on
 * bench/peers/measure.c has the same words for us; bench/README.md defines the figures. Ids of the prompt are (7919 i + 13) mod vocabulary. */
#include "llama_bench.h"

#include <inttypes.h>
#include <sys/resource.h>
#include <time.h>

struct bench {
  llama peer;
  void *model, *context, *pool;
  llama_batch batch;
  int32_t vocab;
};

/* struct ggml_threadpool_params. */
struct pool_options {
  bool cpus[512];
  int threads, priority;
  uint32_t poll;
  bool strict, paused;
};
_Static_assert(sizeof(struct pool_options) == 528, "struct ggml_threadpool_params of v0.5.0");

/* Threads that stay, as in its own programs: without a pool of the caller's, ggml starts and joins its threads for every token. */
static bool pool_attach(struct bench *b, int threads) {
  void (*defaults)(struct pool_options *, int);
  void *(*registry)(const char *name);
  void *(*address)(void *registry, const char *name);
  void *(*make)(struct pool_options *options);
  void (*attach)(void *context, void *pool, void *batch_pool);
  const struct {
    void *library, *slot;
    const char *name;
  } symbols[] = {{RTLD_DEFAULT, &defaults, "ggml_threadpool_params_init"}, {RTLD_DEFAULT, &registry, "ggml_backend_reg_by_name"},
                 {RTLD_DEFAULT, &address, "ggml_backend_reg_get_proc_address"}, {b->peer.library, &attach, "llama_attach_threadpool"}};
  for (size_t i = 0; i < sizeof symbols / sizeof *symbols; i++)
    if (!llama_find(symbols[i].library, symbols[i].slot, symbols[i].name)) return false;
  void *cpu = registry("CPU"), *found = cpu ? address(cpu, "ggml_threadpool_new") : NULL;
  if (!found) return false;
  memcpy(&make, &found, sizeof found);
  struct pool_options options;
  defaults(&options, threads);
  b->pool = make(&options);
  if (b->pool) attach(b->context, b->pool, NULL);
  return b->pool != NULL;
}

static int64_t now_ns(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}
static int64_t peak_bytes(void) {
  struct rusage usage;
  getrusage(RUSAGE_SELF, &usage);
  return (int64_t)usage.ru_maxrss * 1024;
}
static int fail(const char *what) {
  fprintf(stderr, "llama: %s\n", what);
  return 1;
}

static void bench_fini(struct bench *b) {
  if (b->batch.tokens) b->peer.batch_free(b->batch);
  if (b->context) b->peer.context_free(b->context);
  if (b->model) b->peer.model_free(b->model);
}

static bool bench_init(struct bench *b, const char *path, int32_t tokens, int32_t sequences, int32_t threads) {
  *b = (struct bench){0};
  if (!llama_open(&b->peer)) exit(3);
  llama_model_options m = b->peer.model_defaults();
  m.gpu_layers = 0;
  b->model = b->peer.model_open(path, m);
  llama_context_options c = b->peer.context_defaults();
  c.context = (uint32_t)(tokens * sequences);
  c.sequences = (uint32_t)sequences;
  if (c.outputs_per_sequence * (uint32_t)sequences > c.outputs) c.outputs = (uint32_t)sequences;
  c.threads = c.threads_batch = threads;
  if (b->model) b->context = b->peer.context_new(b->model, c);
  int32_t widest = tokens > sequences ? tokens : sequences;
  if (b->context) b->batch = b->peer.batch_new(widest, 0, 1);
  b->vocab = b->context ? b->peer.vocab_count(b->peer.vocab(b->model)) : 0;
  if (b->batch.tokens && b->vocab > 0 && pool_attach(b, threads)) return true;
  bench_fini(b);
  return fail(b->vocab ? "no pool of threads in this build" : b->model ? "no context for the model" : "cannot load the model"), false;
}

static void put(struct bench *b, int32_t i, int32_t id, int32_t position, int32_t sequence, bool wanted) {
  b->batch.tokens[i] = id;
  b->batch.positions[i] = position;
  b->batch.sequence_counts[i] = 1;
  b->batch.sequences[i][0] = sequence;
  b->batch.wanted[i] = wanted;
}
static int32_t id_at(const struct bench *b, int64_t i) { return (int32_t)((7919 * i + 13) % b->vocab); }

static bool prompt(struct bench *b, int32_t count, int32_t sequence) {
  b->batch.count = count;
  for (int32_t i = 0; i < count; i++) put(b, i, id_at(b, i + sequence), i, sequence, i + 1 == count);
  return !b->peer.decode(b->context, b->batch) && b->peer.logits(b->context, -1);
}

static int32_t greedy(struct bench *b, int32_t row) {
  const float *logits = b->peer.logits(b->context, row);
  int32_t best = 0;
  for (int32_t i = 1; i < b->vocab; i++)
    if (logits[i] > logits[best]) best = i;
  return best;
}

/* `steps` tokens for each of `sequences`, after positions < `position`. */
static bool generate(struct bench *b, int32_t position, int32_t steps, int32_t sequences, int32_t *next) {
  for (int32_t s = 0; s < steps; s++) {
    b->batch.count = sequences;
    for (int32_t i = 0; i < sequences; i++) put(b, i, next[i], position + s, i, true);
    if (b->peer.decode(b->context, b->batch)) return false;
    for (int32_t i = 0; i < sequences; i++) next[i] = greedy(b, i);
  }
  return true;
}

static int32_t number(const char *text) { return (int32_t)strtol(text, NULL, 10); }

static int bench(int argc, char **argv, int64_t since) {
  if (argc < 5) return fail("bench MODEL PROMPT GEN THREADS REPEATS"), 2;
  int32_t size = number(argv[1]), steps = number(argv[2]), repeats = number(argv[4]), next;
  struct bench b;
  if (size < 1 || steps < 1 || !bench_init(&b, argv[0], size + steps, 1, number(argv[3]))) return 1;
  bool good = prompt(&b, size < 16 ? size : 16, 0);
  int64_t ready = now_ns();
  for (int32_t r = 0; r < repeats && good; r++) {
    b.peer.memory_clear(b.peer.memory(b.context), true);
    int64_t begin = now_ns();
    good = prompt(&b, size, 0);
    int64_t middle = now_ns();
    if (good) next = greedy(&b, -1), good = generate(&b, size, steps, 1, &next);
    double read = (double)(middle - begin) * 1e-9, wrote = (double)(now_ns() - middle) * 1e-9;
    if (good) printf("{\"prompt_tokens_per_s\":%.6g,\"decode_tokens_per_s\":%.6g,\"ready_ms\":%.6g,\"peak_bytes\":%" PRId64 "}\n", size / read, steps / wrote, since ? (double)(ready - since) * 1e-6 : 0, peak_bytes());
  }
  bench_fini(&b);
  return good ? 0 : fail("llama_decode failed");
}

static int batch(int argc, char **argv) {
  if (argc < 6) return fail("batch MODEL PROMPT GEN THREADS SEQUENCES REPEATS"), 2;
  int32_t size = number(argv[1]), steps = number(argv[2]), sequences = number(argv[4]), repeats = number(argv[5]);
  struct bench b;
  int32_t *next = sequences > 0 ? calloc((size_t)sequences, sizeof *next) : NULL;
  if (!next || size < 1 || steps < 1 || !bench_init(&b, argv[0], size + steps, sequences, number(argv[3]))) return free(next), 1;
  bool good = true;
  for (int32_t r = 0; r < repeats && good; r++) {
    b.peer.memory_clear(b.peer.memory(b.context), true);
    for (int32_t i = 0; i < sequences && good; i++) good = prompt(&b, size, i), next[i] = good ? greedy(&b, -1) : 0;
    int64_t begin = now_ns();
    good = good && generate(&b, size, steps, sequences, next);
    if (good) printf("{\"decode_tokens_per_s\":%.6g,\"peak_bytes\":%" PRId64 "}\n", (double)steps * sequences / ((double)(now_ns() - begin) * 1e-9), peak_bytes());
  }
  bench_fini(&b);
  free(next);
  return good ? 0 : fail("llama_decode failed");
}

static int first(int argc, char **argv, int64_t since) {
  if (argc < 3) return fail("first MODEL PROMPT THREADS --since NS"), 2;
  struct bench b;
  int32_t size = number(argv[1]);
  if (size < 1 || !bench_init(&b, argv[0], size + 1, 1, number(argv[2]))) return 1;
  bool good = prompt(&b, size, 0);
  int32_t id = good ? greedy(&b, -1) : 0;
  int64_t ready = now_ns();
  if (good) printf("{\"first_token_ms\":%.6g,\"id\":%d,\"peak_bytes\":%" PRId64 "}\n", since ? (double)(ready - since) * 1e-6 : 0, id, peak_bytes());
  bench_fini(&b);
  return good ? 0 : fail("llama_decode failed");
}

int llama_bench(int argc, char **argv) {
  int64_t since = 0;
  if (argc > 3 && !strcmp(argv[argc - 2], "--since")) since = strtoll(argv[argc - 1], NULL, 10), argc -= 2;
  if (!strcmp(argv[1], "bench")) return bench(argc - 2, argv + 2, since);
  if (!strcmp(argv[1], "batch")) return batch(argc - 2, argv + 2);
  if (!strcmp(argv[1], "first")) return first(argc - 2, argv + 2, since);
  return -1;
}
