/* Prefill in chunks, then one token at a time: graphs recorded once per shape and replayed; positions and block tables are run-time data.
 * With longrope the keys of a sequence that stays within the original context are turned otherwise than those of a longer one: where a text grows past it,
 * all of it is fed again, as transformers' generate does for phi3. */
#include <etk/alloc.h>
#include <etk/generate.h>
#include <etk/hardware.h>
#include <etk/ops.h>
#include <math.h>

enum { BLOCK_TOKENS = 16, STEPS = 4 };
static const int64_t step_tokens[STEPS] = {1, 16, 128, 512}; /* graph widths: decode, short prompts, long prompts, where each weight is read once for many tokens */

struct step {
  etk_graph *graph;
  etk_tensor *ids, *positions, *select, *block_table, *logits;
  etk_tensor *last; /* longrope, else NULL: the sequence's last position */
  int64_t tokens;
  size_t bytes; /* as planned */
};

struct etk_generator {
  const etk_model *model;
  const etk_adapter *adapter;
  etk_cache *cache;
  int64_t capacity, max_blocks, vocab;
  int64_t original; /* longrope, else 0: positions of the original context */
  int sequence;
  struct step steps[STEPS];
  etk_candidate *scratch; /* (vocab) */
  float *logits;          /* (vocab), a copy that sampling may change */
  int32_t *seen;          /* (capacity) prompt and answer so far */
};

static etk_status record(etk_error *e, etk_generator *gen, struct step *s, int64_t tokens) {
  s->tokens = tokens;
  s->graph = etk_graph_new();
  if (!s->graph) return etk_fail_memory(e);
  s->ids = etk_graph_input(s->graph, ETK_I32, etk_shape_of(2, 1, tokens), "ids");
  s->positions = etk_graph_input(s->graph, ETK_I32, etk_shape_of(2, 1, tokens), "positions");
  s->select = etk_graph_input(s->graph, ETK_I32, etk_shape_of(1, 1), "select");
  s->block_table = etk_graph_input(s->graph, ETK_I32, etk_shape_of(2, 1, gen->max_blocks), "block_table");
  if (gen->original) s->last = etk_graph_input(s->graph, ETK_I32, etk_shape_of(2, 1, 1), "last");
  etk_forward forward = {.ids = s->ids, .positions = s->positions, .select = tokens > 1 ? s->select : NULL, .adapter = gen->adapter,
                         .cache = gen->cache, .block_table = s->block_table, .last = s->last};
  s->logits = etk_model_forward(s->graph, gen->model, &forward); /* (1, vocab) */
  etk_graph_keep(s->graph, s->logits);
  etk_plan plan;
  etk_status status = etk_graph_plan(e, s->graph, &plan);
  s->bytes = status ? 0 : plan.peak_bytes;
  return status;
}

/* F32 unless $ETK_CACHE is f16. */
static etk_dtype cache_type(void) {
  const char *choice = getenv("ETK_CACHE");
  return choice && !strcmp(choice, "f16") ? ETK_F16 : ETK_F32;
}

etk_status etk_generator_new(etk_error *e, etk_generator **out, const etk_model *model, const etk_adapter *adapter, int64_t capacity) {
  *out = NULL;
  const etk_model_config *c = etk_model_get_config(model);
  if (capacity <= 0 || capacity > c->max_position_embeddings) capacity = c->max_position_embeddings;
  etk_generator *gen = etk_calloc(1, sizeof *gen);
  if (!gen) return etk_fail_memory(e);
  gen->model = model;
  gen->adapter = adapter;
  gen->capacity = capacity;
  gen->max_blocks = (capacity + BLOCK_TOKENS - 1) / BLOCK_TOKENS;
  gen->vocab = c->vocab_size;
  gen->original = c->rope_scaling == ETK_ROPE_LONGROPE ? (int64_t)c->rope_original_positions : 0;
  etk_cache_options options = {.layers = (int)c->num_hidden_layers, .kv_heads = (int)c->num_key_value_heads, .head_dim = (int)c->head_dim,
                               .block_tokens = BLOCK_TOKENS, .blocks = (int)gen->max_blocks, .dtype = cache_type()};
  gen->scratch = etk_calloc((size_t)gen->vocab, sizeof *gen->scratch);
  gen->logits = etk_calloc((size_t)gen->vocab, sizeof *gen->logits);
  gen->seen = etk_calloc((size_t)capacity, sizeof *gen->seen);
  etk_status status = gen->scratch && gen->logits && gen->seen ? etk_cache_new(e, &gen->cache, &options) : etk_fail_memory(e);
  if (!status) status = etk_cache_sequence_new(e, gen->cache, &gen->sequence);
  if (!status) status = record(e, gen, &gen->steps[0], step_tokens[0]);
  if (status) etk_generator_free(gen);
  else *out = gen;
  return status;
}

void etk_generator_free(etk_generator *gen) {
  if (!gen) return;
  for (int i = 0; i < STEPS; i++) etk_graph_free(gen->steps[i].graph);
  etk_cache_free(gen->cache);
  etk_free(gen->scratch);
  etk_free(gen->logits);
  etk_free(gen->seen);
  etk_free(gen);
}

/* The graph that takes the next of `left` tokens. */
static int step_for(int64_t left) { return left == 1 ? 0 : left <= step_tokens[1] ? 1 : left < step_tokens[3] ? 2 : 3; }

etk_status etk_generator_plan(etk_error *e, etk_generator *gen, int64_t prompt_tokens, size_t *bytes) {
  *bytes = etk_model_bytes(gen->model) + etk_cache_bytes(gen->cache) + (size_t)gen->vocab * (sizeof *gen->scratch + sizeof *gen->logits) +
           (size_t)gen->capacity * sizeof *gen->seen;
  for (int64_t left = prompt_tokens; left > 0; left -= step_tokens[step_for(left)]) {
    struct step *s = &gen->steps[step_for(left)];
    etk_status status = s->graph ? ETK_OK : record(e, gen, s, step_tokens[step_for(left)]);
    if (status) return status;
  }
  for (int i = 0; i < STEPS; i++) *bytes += gen->steps[i].bytes;
  return ETK_OK;
}

/* Feeds `count` tokens that stand from `position` on, of a sequence that goes on to position `last`; the logits of the last token are then in the
 * step's tensor. */
static etk_status feed(etk_error *e, etk_generator *gen, struct step *s, const int32_t *ids, int64_t count, int64_t position, int64_t last) {
  etk_status status = etk_cache_sequence_reserve(e, gen->cache, gen->sequence, (int)(position + count));
  if (status) return status;
  int32_t *to = etk_tensor_data(s->ids), *positions = etk_tensor_data(s->positions), *table = etk_tensor_data(s->block_table);
  for (int64_t i = 0; i < s->tokens; i++) {
    to[i] = i < count ? ids[i] : 0;
    positions[i] = i < count ? (int32_t)(position + i) : -1;
  }
  *(int32_t *)etk_tensor_data(s->select) = (int32_t)(count - 1);
  if (s->last) *(int32_t *)etk_tensor_data(s->last) = (int32_t)last;
  int blocks;
  const int32_t *numbers = etk_cache_sequence_blocks(gen->cache, gen->sequence, &blocks);
  for (int64_t i = 0; i < gen->max_blocks; i++) table[i] = i < blocks ? numbers[i] : -1;
  return etk_graph_eval(e, s->graph);
}

static etk_status prefill(etk_error *e, etk_generator *gen, const int32_t *ids, int64_t count, struct step **last) {
  for (int64_t done = 0; done < count;) {
    int64_t left = count - done;
    int which = step_for(left);
    struct step *s = &gen->steps[which];
    etk_status status = s->graph ? ETK_OK : record(e, gen, s, step_tokens[which]);
    int64_t part = left < step_tokens[which] ? left : step_tokens[which];
    if (!status) status = feed(e, gen, s, ids + done, part, done, count - 1);
    if (status) return status;
    done += part;
    *last = s;
  }
  return ETK_OK;
}

/* One more token, the one that seen[position] holds. */
static etk_status step(etk_error *e, etk_generator *gen, struct step **s, int64_t position) {
  if (gen->original && position == gen->original) { /* past the original context: keys so far were turned with short factors */
    etk_cache_sequence_trim(gen->cache, gen->sequence, 0);
    return prefill(e, gen, gen->seen, position + 1, s);
  }
  *s = &gen->steps[0];
  return feed(e, gen, *s, &gen->seen[position], 1, position, position);
}

static bool is_eos(const etk_model_config *c, int32_t id) {
  for (int i = 0; i < c->eos_count; i++)
    if (c->eos_token_ids[i] == id) return true;
  return false;
}

static etk_status decode(etk_error *e, etk_generator *gen, struct step *s, int64_t position, const etk_generate_options *o, etk_generation *out) {
  const etk_model_config *c = etk_model_get_config(gen->model);
  etk_rng rng = etk_rng_new(o->seed, 0x5A3u);
  out->stop = ETK_STOP_LENGTH;
  while ((int64_t)out->ids.count < o->max_tokens) {
    memcpy(gen->logits, etk_tensor_data(s->logits), (size_t)gen->vocab * sizeof *gen->logits);
    double logprob;
    int32_t id = etk_sample(gen->logits, gen->vocab, &o->sampling, gen->seen, (size_t)position, &rng, gen->scratch, &logprob);
    if (!isfinite(logprob))
      return etk_fail(e, ETK_E_INVALID, "the model gives no finite probability to the token at position %lld; its weights hold infinities or NaN",
                      (long long)position);
    if (!o->ignore_eos && is_eos(c, id)) {
      out->stop = ETK_STOP_EOS;
      return ETK_OK;
    }
    if (!etk_ids_push(&out->ids, id)) return etk_fail_memory(e);
    if (o->token && !o->token(o->user, id, logprob)) {
      out->stop = ETK_STOP_CALLBACK;
      return ETK_OK;
    }
    if ((int64_t)out->ids.count == o->max_tokens || position == gen->capacity) return ETK_OK;
    gen->seen[position] = id;
    etk_status status = step(e, gen, &s, position++);
    if (status) return status;
  }
  return ETK_OK;
}

etk_status etk_generate(etk_error *e, etk_generator *gen, const int32_t *prompt, size_t prompt_count, const etk_generate_options *o, etk_generation *out) {
  *out = (etk_generation){.ids = ETK_IDS_INIT};
  const etk_model_config *c = etk_model_get_config(gen->model);
  if (!prompt_count) {
    if (c->bos_token_id < 0) return etk_fail(e, ETK_E_INVALID, "the prompt is empty and the model has no beginning-of-sequence token to start from");
    prompt = &c->bos_token_id;
    prompt_count = 1;
  }
  if ((int64_t)prompt_count > gen->capacity)
    return etk_fail(e, ETK_E_INVALID, "the prompt has %zu tokens, %lld fit into the context; shorten it", prompt_count, (long long)gen->capacity);
  for (size_t i = 0; i < prompt_count; i++)
    if (prompt[i] < 0 || prompt[i] >= gen->vocab)
      return etk_fail(e, ETK_E_INVALID, "token %zu of the prompt is %d, the model's ids end at %lld", i, prompt[i], (long long)gen->vocab - 1);
  memcpy(gen->seen, prompt, prompt_count * sizeof *prompt);
  etk_cache_sequence_trim(gen->cache, gen->sequence, 0);
  int64_t start = etk_time_ns();
  struct step *last = NULL;
  etk_status status = prefill(e, gen, prompt, (int64_t)prompt_count, &last);
  int64_t middle = etk_time_ns();
  if (!status) status = decode(e, gen, last, (int64_t)prompt_count, o, out);
  out->prompt_tokens = (int64_t)prompt_count;
  out->prefill_ns = middle - start;
  out->decode_ns = etk_time_ns() - middle;
  if (status) etk_ids_free(&out->ids);
  return status;
}
