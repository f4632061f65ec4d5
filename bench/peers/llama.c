/* llama.cpp running, quantizing and tokenizing beside us: the same work on the same file, one JSON document per line.
 *   ETK_LLAMA=folder-of-libraries llama greedy MODEL N ID… [--logits FILE] [--top K]     ids continued greedily; the margin of each choice over the next best
 *                                  llama lora MODEL ADAPTER N ID… [--scale S] [--logits FILE]   the same with a GGUF adapter
 *                                  llama quantize IN OUT TYPE [--pure] [--output-type T] [--embedding-type T]
 *                                  llama perplexity MODEL IDS_FILE CTX [--adapter FILE]
 *                                  llama tokenize MODEL [--special] [--parse-special] < strings.jsonl
 *                                  llama bench | batch | first …       how fast it is: llama_bench.c
 * --threads T (2). The cache holds F32, attention is not fused, weights are not repacked, nothing is warmed up; a bad prompt or file exits with 1, a missing
 * library with 3. --logits writes the prompt's last token's logits as raw float32. perplexity reads ids in decimal; window i is ids [i*CTX, (i+1)*CTX), a last
 * one of at least 2 ids counts too, each begins with an empty cache and every token but its first is predicted: the mean is over all predicted tokens.
 * MODEL must say its vocabulary's size (tokens, or {arch}.vocab_size where tokenizer.ggml.model is "none"). Built by bench/peers/llama.sh. */
#include "llama_bench.h"

#include <jansson.h>
#include <math.h>

enum { MAX_WORDS = 65536 };

struct arguments {
  const char *words[MAX_WORDS], *logits, *output_type, *embedding_type, *adapter;
  int count, threads, top;
  float scale;
  bool special, parse_special, pure;
};
struct run {
  const llama *peer;
  void *model, *context;
  llama_batch batch;
  int32_t vocab;
};

static int fail(const char *what, const char *detail) {
  fprintf(stderr, "llama: %s%s%s\n", what, detail ? ": " : "", detail ? detail : "");
  return 1;
}

static void run_fini(struct run *r) {
  if (r->batch.tokens) r->peer->batch_free(r->batch);
  if (r->context) r->peer->context_free(r->context);
  if (r->model) r->peer->model_free(r->model);
}

static bool run_init(struct run *r, const llama *peer, const char *path, int32_t tokens, const struct arguments *a, bool all_logits) {
  *r = (struct run){.peer = peer};
  llama_model_options m = peer->model_defaults();
  m.gpu_layers = 0;
  m.extra_buffers = false;
  llama_context_options c = peer->context_defaults();
  c.context = c.batch = c.micro_batch = (uint32_t)tokens;
  if (all_logits) c.outputs = c.outputs_per_sequence = (uint32_t)tokens;
  c.threads = c.threads_batch = a->threads;
  c.key_type = c.value_type = 0;
  c.flash_attention = 0;
  c.offload_cache = c.offload_ops = false;
  r->model = peer->model_open(path, m);
  if (r->model) r->context = peer->context_new(r->model, c);
  if (r->context) r->batch = peer->batch_new(tokens, 0, 1);
  r->vocab = r->context ? peer->vocab_count(peer->vocab(r->model)) : 0;
  if (r->batch.tokens && r->vocab > 0) return true;
  fail(!r->model ? "cannot load the model" : !r->context ? "cannot make a context for" : "the model does not say the size of its vocabulary", path);
  run_fini(r);
  return false;
}

static bool use_adapter(struct run *r, const char *path, float scale) {
  void *adapter = path ? r->peer->adapter_open(r->model, path) : NULL;
  if (path && (!adapter || r->peer->adapters_set(r->context, &adapter, 1, &scale))) return fail("cannot use the adapter", path), false;
  return true;
}

/* Feeds ids at `position`…; wants logits of the last one, or of all. */
static bool feed(struct run *r, const int32_t *ids, int32_t count, int32_t position, bool all) {
  r->batch.count = count;
  for (int32_t i = 0; i < count; i++) {
    if (ids[i] < 0 || ids[i] >= r->vocab) return fail("an id lies outside the model's vocabulary", NULL), false;
    r->batch.tokens[i] = ids[i];
    r->batch.positions[i] = position + i;
    r->batch.sequence_counts[i] = 1;
    r->batch.sequences[i][0] = 0;
    r->batch.wanted[i] = all || i + 1 == count;
  }
  return !r->peer->decode(r->context, r->batch) || (fail("llama_decode failed", NULL), false);
}

static int32_t best(const float *logits, int32_t count, double *margin) {
  int32_t first = 0, second = -1;
  for (int32_t i = 1; i < count; i++) {
    if (logits[i] > logits[first]) second = first, first = i;
    else if (second < 0 || logits[i] > logits[second]) second = i;
  }
  *margin = second < 0 ? 0 : (double)logits[first] - (double)logits[second];
  return first;
}

static bool write_logits(const char *path, const float *logits, int32_t count) {
  FILE *f = path ? fopen(path, "wb") : NULL;
  bool good = !path || (f && fwrite(logits, sizeof *logits, (size_t)count, f) == (size_t)count);
  if (f && fclose(f)) good = false;
  if (!good) fail("cannot write", path);
  return good;
}

static json_t *top_of(const float *logits, int32_t count, int top) {
  json_t *list = json_array();
  float below = INFINITY;
  for (int t = 0; t < top; t++) {
    int32_t found = -1;
    for (int32_t i = 0; i < count; i++)
      if (logits[i] < below && (found < 0 || logits[i] > logits[found])) found = i;
    if (found < 0) break;
    below = logits[found];
    json_array_append_new(list, json_pack("[i, f]", (int)found, (double)below));
  }
  return list;
}

static int print(json_t *document) {
  char *text = json_dumps(document, JSON_COMPACT | JSON_REAL_PRECISION(9));
  if (text) puts(text);
  free(text);
  json_decref(document);
  return text ? 0 : fail("out of memory", NULL);
}

static int greedy(const llama *peer, const char *path, const char *adapter, char const *const *words, int count, const struct arguments *a) {
  int32_t wanted = (int32_t)strtol(words[0], NULL, 10), prompt = count - 1, ids[MAX_WORDS];
  for (int32_t i = 0; i < prompt; i++) ids[i] = (int32_t)strtol(words[i + 1], NULL, 10);
  if (prompt < 1 || wanted < 1) return fail("wanted a count of tokens and at least one id", NULL);
  struct run r;
  if (!run_init(&r, peer, path, prompt + wanted, a, false)) return 1;
  bool good = use_adapter(&r, adapter, a->scale) && feed(&r, ids, prompt, 0, false);
  json_t *out = json_array(), *margins = json_array(), *top = NULL;
  for (int32_t n = 0; n < wanted && good; n++) {
    const float *logits = r.peer->logits(r.context, -1);
    double margin;
    int32_t id = best(logits, r.vocab, &margin);
    if (!n) good = write_logits(a->logits, logits, r.vocab);
    if (!n && a->top) top = top_of(logits, r.vocab, a->top);
    json_array_append_new(out, json_integer(id));
    json_array_append_new(margins, json_real(margin));
    if (n + 1 < wanted && good) good = feed(&r, &id, 1, prompt + n, false);
  }
  json_t *document = json_pack("{s:s, s:o, s:o}", "peer", "llama.cpp", "ids", out, "margins", margins);
  if (top) json_object_set_new(document, "top", top);
  run_fini(&r);
  if (good) return print(document);
  json_decref(document);
  return 1;
}

/* llama_ftype by the names its quantize tool knows. */
static int file_type(const char *name) {
  static const struct {
    const char *name;
    int number;
  } types[] = {{"f32", 0},    {"f16", 1},     {"q4_0", 2},    {"q4_1", 3},    {"q8_0", 7},    {"q5_0", 8},  {"q5_1", 9},    {"q2_k", 10},  {"q3_k_s", 11},
               {"q3_k_m", 12}, {"q3_k_l", 13}, {"q4_k_s", 14}, {"q4_k_m", 15}, {"q5_k_s", 16}, {"q5_k_m", 17}, {"q6_k", 18}, {"iq4_nl", 25}, {"bf16", 32}};
  for (size_t i = 0; i < sizeof types / sizeof *types; i++)
    if (!strcmp(types[i].name, name)) return types[i].number;
  return -1;
}
/* ggml_type by name; -1 for one that is not known. */
static int tensor_type(const char *name) {
  static const char *const names[] = {"f32", "f16", "q4_0", "q4_1", "", "", "q5_0", "q5_1", "q8_0", "", "q2_k", "q3_k", "q4_k", "q5_k", "q6_k"};
  for (int i = 0; name && i < (int)(sizeof names / sizeof *names); i++)
    if (!strcmp(names[i], name)) return i;
  return !name ? LLAMA_NO_TYPE : !strcmp(name, "iq4_nl") ? 20 : !strcmp(name, "bf16") ? 30 : -1;
}

static int quantize(const llama *peer, const struct arguments *a) {
  if (a->count != 3) return fail("quantize IN OUT TYPE", NULL);
  llama_quantize_options q = peer->quantize_defaults();
  q.threads = a->threads;
  q.file_type = file_type(a->words[2]);
  q.output_type = tensor_type(a->output_type);
  q.embedding_type = tensor_type(a->embedding_type);
  q.pure = a->pure;
  q.requantize = true;
  if (q.file_type < 0 || q.output_type < 0 || q.embedding_type < 0) return fail("a type is not known; examples are f16, q8_0, q4_k_m (for tensors q4_k)", NULL);
  if (peer->quantize(a->words[0], a->words[1], &q)) return fail("llama_model_quantize failed on", a->words[0]);
  return print(json_pack("{s:s, s:s, s:s}", "peer", "llama.cpp", "written", a->words[1], "type", a->words[2]));
}

static int32_t *read_ids(const char *path, int32_t *count) {
  FILE *f = fopen(path, "r");
  int32_t *ids = NULL, capacity = 0;
  *count = 0;
  for (int id; f && fscanf(f, "%d", &id) == 1;) {
    if (*count == capacity) {
      int32_t *larger = realloc(ids, (size_t)(capacity = 2 * capacity + 1024) * sizeof *ids);
      if (!larger) break;
      ids = larger;
    }
    ids[(*count)++] = id;
  }
  if (f) fclose(f);
  return ids;
}

/* -log p(target) in double. */
static double surprise(const float *logits, int32_t count, int32_t target) {
  double largest = logits[0], sum = 0;
  for (int32_t i = 1; i < count; i++)
    if (logits[i] > largest) largest = logits[i];
  for (int32_t i = 0; i < count; i++) sum += exp(logits[i] - largest);
  return log(sum) + largest - logits[target];
}

static int perplexity(const llama *peer, const struct arguments *a) {
  if (a->count != 3) return fail("perplexity MODEL IDS_FILE CTX", NULL);
  int32_t count, window = (int32_t)strtol(a->words[2], NULL, 10);
  int32_t *ids = read_ids(a->words[1], &count);
  if (!ids || count < 2 || window < 2) return free(ids), fail("at least 2 ids and a window of at least 2 are wanted; see", a->words[1]);
  struct run r;
  if (!run_init(&r, peer, a->words[0], window, a, true)) return free(ids), 1;
  double sum = 0;
  int64_t tokens = 0, windows = 0;
  bool good = use_adapter(&r, a->adapter, a->scale);
  for (int32_t at = 0; at + 2 <= count && good; at += window) {
    int32_t size = count - at < window ? count - at : window;
    r.peer->memory_clear(r.peer->memory(r.context), true);
    good = feed(&r, ids + at, size, 0, true);
    for (int32_t i = 0; i + 1 < size && good; i++) sum += surprise(r.peer->logits(r.context, i), r.vocab, ids[at + i + 1]), tokens++;
    windows++;
  }
  run_fini(&r);
  free(ids);
  if (!good) return 1;
  double mean = sum / (double)tokens;
  return print(json_pack("{s:s, s:f, s:f, s:I, s:I}", "peer", "llama.cpp", "nll", mean, "perplexity", exp(mean), "tokens", (json_int_t)tokens, "windows", (json_int_t)windows));
}

static int tokenize_line(const llama *peer, const void *vocab, const char *line, const struct arguments *a) {
  json_error_t error;
  json_t *text = json_loads(line, JSON_DECODE_ANY | JSON_ALLOW_NUL, &error);
  if (!json_is_string(text)) return json_decref(text), fail("a line is no JSON string", error.text);
  int32_t size = (int32_t)json_string_length(text), capacity = size + 16;
  int32_t *ids = malloc((size_t)capacity * sizeof *ids);
  int32_t count = ids ? peer->tokenize(vocab, json_string_value(text), size, ids, capacity, a->special, a->parse_special) : 0;
  if (ids && count < 0 && count > INT32_MIN) {
    int32_t *larger = realloc(ids, (size_t)-count * sizeof *ids);
    if (larger) count = peer->tokenize(vocab, json_string_value(text), size, ids = larger, -count, a->special, a->parse_special);
  }
  json_decref(text);
  if (!ids || count < 0) return free(ids), fail("llama_tokenize failed", line);
  putchar('[');
  for (int32_t i = 0; i < count; i++) printf(i ? ",%d" : "%d", ids[i]);
  puts("]");
  free(ids);
  return 0;
}

static int tokenize(const llama *peer, const struct arguments *a) {
  if (a->count != 1) return fail("tokenize MODEL < strings.jsonl", NULL);
  llama_model_options m = peer->model_defaults();
  m.vocab_only = true;
  void *model = peer->model_open(a->words[0], m);
  if (!model) return fail("cannot load the vocabulary of", a->words[0]);
  char *line = NULL;
  size_t capacity = 0;
  int status = 0;
  for (ssize_t size; !status && (size = getline(&line, &capacity, stdin)) > 0;)
    if (line[0] != '\n') status = tokenize_line(peer, peer->vocab(model), line, a);
  free(line);
  peer->model_free(model);
  return status;
}

static bool parse(struct arguments *a, int argc, char **argv) {
  *a = (struct arguments){.threads = 2, .scale = 1};
  const struct {
    const char *name;
    const char **text;
    bool *flag;
    int *number;
    float *real;
  } options[] = {{"--logits", &a->logits, 0, 0, 0},           {"--adapter", &a->adapter, 0, 0, 0},  {"--output-type", &a->output_type, 0, 0, 0},
                 {"--embedding-type", &a->embedding_type, 0, 0, 0}, {"--special", 0, &a->special, 0, 0}, {"--parse-special", 0, &a->parse_special, 0, 0},
                 {"--pure", 0, &a->pure, 0, 0},               {"--threads", 0, 0, &a->threads, 0},  {"--top", 0, 0, &a->top, 0},
                 {"--scale", 0, 0, 0, &a->scale}};
  for (int i = 2; i < argc; i++) {
    size_t o = 0, known = sizeof options / sizeof *options;
    if (strncmp(argv[i], "--", 2)) {
      if (a->count == MAX_WORDS) return false;
      a->words[a->count++] = argv[i];
      continue;
    }
    while (o < known && strcmp(options[o].name, argv[i])) o++;
    if (o == known || (!options[o].flag && i + 1 == argc)) return false;
    if (options[o].flag) *options[o].flag = true;
    else if (options[o].text) *options[o].text = argv[++i];
    else if (options[o].number) *options[o].number = (int)strtol(argv[++i], NULL, 10);
    else *options[o].real = strtof(argv[++i], NULL);
  }
  return true;
}

int main(int argc, char **argv) {
  static struct arguments a;
  llama peer;
  int measured = argc > 1 ? llama_bench(argc, argv) : -1;
  if (measured >= 0) return measured;
  if (argc < 2 || !parse(&a, argc, argv)) return fail("unknown arguments; the head of bench/peers/llama.c lists them", NULL), 2;
  const char *command = argv[1];
  if (!llama_open(&peer)) return 3;
  if (!strcmp(command, "greedy") && a.count >= 3) return greedy(&peer, a.words[0], NULL, a.words + 1, a.count - 1, &a);
  if (!strcmp(command, "lora") && a.count >= 4) return greedy(&peer, a.words[0], a.words[1], a.words + 2, a.count - 2, &a);
  if (!strcmp(command, "quantize")) return quantize(&peer, &a);
  if (!strcmp(command, "perplexity")) return perplexity(&peer, &a);
  if (!strcmp(command, "tokenize")) return tokenize(&peer, &a);
  return fail("unknown arguments; the head of bench/peers/llama.c lists them", NULL), 2;
}
