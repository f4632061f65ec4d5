/* What bench/peers/llama.c does, done by our library, in the same words and with the same JSON: for the comparison of the two.
 *   ours greedy MODEL N ID… [--logits FILE]         by etk_generate with its cache; margins from one forward pass over the whole
 *   ours lora MODEL ADAPTER N ID… [--logits FILE]
 *   ours perplexity MODEL IDS_FILE CTX [--adapter FILE]
 *   ours adapter IN OUT FORM [MODEL]                etk_adapter_convert
 * Built by bench/peers/compare.sh. */
#include <etk/adapter.h>
#include <etk/alloc.h>
#include <etk/generate.h>
#include <etk/parallel.h>
#include <jansson.h>
#include <math.h>
#include <string.h>

enum { MAX_WORDS = 65536 };

struct arguments {
  const char *words[MAX_WORDS], *logits, *adapter;
  int count;
};

static int fail(const etk_error *e, const char *what) {
  fprintf(stderr, "ours: %s: %s\n", what, e ? e->message : "bad arguments; the head of bench/peers/ours.c lists them");
  return e ? 1 : 2;
}

static int print(json_t *document) {
  char *text = json_dumps(document, JSON_COMPACT | JSON_REAL_PRECISION(9));
  if (text) puts(text);
  free(text);
  json_decref(document);
  return text ? 0 : 1;
}

/* A forward pass over `count` ids at once, recorded once and run for as many windows of that size as there are. */
struct pass {
  etk_graph *graph;
  etk_forward f;
  etk_tensor *logits; /* (count, vocab) */
  int64_t count;
};
static etk_status pass_init(etk_error *e, struct pass *p, const etk_model *model, const etk_adapter *adapter, int64_t count) {
  *p = (struct pass){.graph = etk_graph_new(), .f = {.adapter = adapter}, .count = count};
  if (!p->graph) return etk_fail_memory(e);
  p->f.ids = etk_graph_input(p->graph, ETK_I32, etk_shape_of(2, 1, count), "ids");
  p->f.positions = etk_graph_input(p->graph, ETK_I32, etk_shape_of(2, 1, count), "positions");
  p->logits = etk_model_forward(p->graph, model, &p->f);
  etk_graph_keep(p->graph, p->logits);
  return etk_graph_plan(e, p->graph, NULL);
}
static etk_status pass_run(etk_error *e, struct pass *p, const int32_t *ids) {
  memcpy(etk_tensor_data(p->f.ids), ids, (size_t)p->count * sizeof *ids);
  for (int64_t i = 0; i < p->count; i++) ((int32_t *)etk_tensor_data(p->f.positions))[i] = (int32_t)i;
  return etk_graph_eval(e, p->graph);
}

static double margin_of(const float *logits, int64_t vocab, int32_t chosen) {
  double next = -INFINITY;
  for (int64_t i = 0; i < vocab; i++)
    if (i != chosen && (double)logits[i] > next) next = (double)logits[i];
  return (double)logits[chosen] - next;
}

static etk_status greedy_ids(etk_error *e, etk_generation *out, const etk_model *model, const etk_adapter *adapter, const int32_t *ids, int32_t prompt, int32_t wanted) {
  etk_generator *generator = NULL;
  etk_generate_options options = {.sampling = {.top_p = 1, .repetition_penalty = 1}, .max_tokens = wanted, .ignore_eos = true};
  etk_status status = etk_generator_new(e, &generator, model, adapter, prompt + wanted);
  if (!status) status = etk_generate(e, generator, ids, (size_t)prompt, &options, out);
  etk_generator_free(generator);
  return status;
}

static int greedy(const char *path, const char *adapter_path, char const *const *words, int count, const struct arguments *a) {
  static int32_t ids[MAX_WORDS];
  int32_t wanted = (int32_t)strtol(words[0], NULL, 10), prompt = count - 1;
  for (int32_t i = 0; i < prompt; i++) ids[i] = (int32_t)strtol(words[i + 1], NULL, 10);
  etk_error e = ETK_ERROR_INIT;
  etk_model *model = NULL;
  etk_adapter *adapter = NULL;
  etk_generation made = {.ids = ETK_IDS_INIT};
  struct pass pass = {0};
  etk_status status = etk_model_open(&e, &model, path, NULL);
  if (!status && adapter_path) status = etk_adapter_open(&e, &adapter, model, adapter_path, false);
  if (!status) status = greedy_ids(&e, &made, model, adapter, ids, prompt, wanted);
  if (!status) status = pass_init(&e, &pass, model, adapter, prompt + (int64_t)made.ids.count);
  for (size_t i = 0; !status && i < made.ids.count; i++) ids[(size_t)prompt + i] = made.ids.items[i];
  if (!status) status = pass_run(&e, &pass, ids);
  json_t *out = json_array(), *margins = json_array();
  int64_t vocab = status ? 0 : etk_tensor_dim(pass.logits, -1);
  const float *logits = status ? NULL : etk_tensor_data(pass.logits);
  for (size_t i = 0; !status && i < made.ids.count; i++) {
    json_array_append_new(out, json_integer(made.ids.items[i]));
    json_array_append_new(margins, json_real(margin_of(logits + ((int64_t)i + prompt - 1) * vocab, vocab, made.ids.items[i])));
  }
  FILE *file = !status && a->logits ? fopen(a->logits, "wb") : NULL;
  if (file) fwrite(logits + (prompt - 1) * vocab, sizeof *logits, (size_t)vocab, file), fclose(file);
  etk_graph_free(pass.graph);
  etk_ids_free(&made.ids);
  etk_adapter_free(adapter);
  etk_model_unref(model);
  json_t *document = json_pack("{s:s, s:o, s:o}", "peer", "efficientai-toolkit", "ids", out, "margins", margins);
  if (!status) return print(document);
  json_decref(document);
  return fail(&e, path);
}

static int32_t *read_ids(const char *path, int32_t *count) {
  FILE *f = fopen(path, "r");
  int32_t *ids = NULL, capacity = 0;
  *count = 0;
  for (int id; f && fscanf(f, "%d", &id) == 1;) {
    if (*count == capacity) {
      int32_t *larger = etk_realloc(ids, (size_t)(capacity = 2 * capacity + 1024), sizeof *ids);
      if (!larger) break;
      ids = larger;
    }
    ids[(*count)++] = id;
  }
  if (f) fclose(f);
  return ids;
}

static double surprise(const float *logits, int64_t count, int32_t target) {
  double largest = logits[0], sum = 0;
  for (int64_t i = 1; i < count; i++)
    if (logits[i] > largest) largest = logits[i];
  for (int64_t i = 0; i < count; i++) sum += exp(logits[i] - largest);
  return log(sum) + largest - logits[target];
}

/* Windows as in bench/peers/llama.c. */
static int perplexity(const struct arguments *a) {
  if (a->count != 3) return fail(NULL, "perplexity");
  int32_t count = 0, window = (int32_t)strtol(a->words[2], NULL, 10), *ids = read_ids(a->words[1], &count);
  etk_error e = ETK_ERROR_INIT;
  etk_model *model = NULL;
  etk_adapter *adapter = NULL;
  struct pass pass = {0};
  double sum = 0;
  int64_t tokens = 0, windows = 0;
  if (!ids || count < 2 || window < 2) return etk_free(ids), fail(NULL, a->words[1]);
  etk_status status = etk_model_open(&e, &model, a->words[0], NULL);
  if (!status && a->adapter) status = etk_adapter_open(&e, &adapter, model, a->adapter, false);
  for (int32_t at = 0; at + 2 <= count && !status; at += window) {
    int32_t size = count - at < window ? count - at : window;
    if (pass.count != size) {
      etk_graph_free(pass.graph);
      status = pass_init(&e, &pass, model, adapter, size);
    }
    if (!status) status = pass_run(&e, &pass, ids + at);
    int64_t vocab = status ? 0 : etk_tensor_dim(pass.logits, -1);
    for (int32_t i = 0; i + 1 < size && !status; i++) sum += surprise((const float *)etk_tensor_data(pass.logits) + i * vocab, vocab, ids[at + i + 1]), tokens++;
    windows++;
  }
  etk_graph_free(pass.graph);
  etk_adapter_free(adapter);
  etk_model_unref(model);
  etk_free(ids);
  if (status) return fail(&e, a->words[0]);
  double mean = sum / (double)tokens;
  return print(json_pack("{s:s, s:f, s:f, s:I, s:I}", "peer", "efficientai-toolkit", "nll", mean, "perplexity", exp(mean), "tokens", (json_int_t)tokens, "windows", (json_int_t)windows));
}

static int adapter(const struct arguments *a) {
  etk_error e = ETK_ERROR_INIT;
  etk_adapter_form form;
  etk_model *base = NULL;
  if (a->count < 3 || a->count > 4 || !etk_adapter_form_parse(&form, a->words[2])) return fail(NULL, "adapter");
  etk_status status = a->count == 4 ? etk_model_open(&e, &base, a->words[3], NULL) : ETK_OK;
  if (!status) status = etk_adapter_convert(&e, a->words[0], a->words[1], form, base, NULL, 0);
  etk_model_unref(base);
  return status ? fail(&e, a->words[0]) : print(json_pack("{s:s, s:s, s:s}", "peer", "efficientai-toolkit", "written", a->words[1], "form", etk_adapter_form_name(form)));
}

int main(int argc, char **argv) {
  static struct arguments a;
  for (int i = 2; i < argc; i++) {
    const char **option = !strcmp(argv[i], "--logits") ? &a.logits : !strcmp(argv[i], "--adapter") ? &a.adapter : NULL;
    if (option && ++i < argc) *option = argv[i];
    else if (!option && a.count < MAX_WORDS) a.words[a.count++] = argv[i];
  }
  etk_parallel_set_threads(2);
  const char *command = argc > 1 ? argv[1] : "";
  if (!strcmp(command, "greedy") && a.count >= 3) return greedy(a.words[0], NULL, a.words + 1, a.count - 1, &a);
  if (!strcmp(command, "lora") && a.count >= 4) return greedy(a.words[0], a.words[1], a.words + 2, a.count - 2, &a);
  if (!strcmp(command, "perplexity")) return perplexity(&a);
  if (!strcmp(command, "adapter")) return adapter(&a);
  return fail(NULL, command);
}
