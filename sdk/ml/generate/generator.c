/* Prefill in chunks, then one token at a time, or a few rows of one token each where some are proposed: graphs recorded once per shape and replayed; positions and
 * block tables are run-time data.
 * With longrope the keys of a sequence that stays within the original context are turned otherwise than those of a longer one: where a text grows past it,
 * all of it is fed again, as transformers' generate does for phi3. */
#include "internal.h"

#include <etk/alloc.h>
#include <etk/hardware.h>
#include <etk/ops.h>
#include <etk/quant.h>
#include <math.h>

#include "ml/product/product_memory.h"

static const int64_t step_tokens[STEPS] = {1, 16, 128, 512}; /* graph widths: decode, short prompts, long prompts, where each weight is read once for many tokens */
static const int64_t check_rows[CHECKS] = {2, 3, 4, 6, 8, 12, MOST_ROWS};

/* rows of one token, whose logits are all given, or one row of tokens, of which select's are */
static etk_status record(etk_error *e, etk_generator *gen, struct step *s, int64_t rows, int64_t tokens) {
  s->rows = rows;
  s->tokens = tokens;
  s->graph = etk_graph_new();
  if (!s->graph) return etk_fail_memory(e);
  s->ids = etk_graph_input(s->graph, ETK_I32, etk_shape_of(2, rows, tokens), "ids");
  s->positions = etk_graph_input(s->graph, ETK_I32, etk_shape_of(2, rows, tokens), "positions");
  s->block_table = etk_graph_input(s->graph, ETK_I32, etk_shape_of(2, rows, gen->max_blocks), "block_table");
  if (tokens > 1) s->select = etk_graph_input(s->graph, ETK_I32, etk_shape_of(1, 1), "select");
  if (gen->original) s->last = etk_graph_input(s->graph, ETK_I32, etk_shape_of(2, rows, 1), "last");
  etk_forward forward = {.ids = s->ids, .positions = s->positions, .select = s->select, .adapter = gen->adapter,
                         .cache = gen->cache, .block_table = s->block_table, .last = s->last};
  s->logits = etk_model_forward(s->graph, gen->model, &forward); /* (1 or rows, vocab) */
  etk_graph_keep(s->graph, s->logits);
  etk_plan plan;
  etk_status status = etk_graph_plan(e, s->graph, &plan);
  s->bytes = status ? 0 : plan.peak_bytes;
  if (!status) return ETK_OK;
  etk_graph_free(s->graph);
  *s = (struct step){0};
  return status;
}

static const struct {
  const char *name;
  etk_dtype dtype;
} cache_types[] = {{"f32", ETK_F32}, {"f16", ETK_F16}, {"q8_0", (etk_dtype)ETK_Q8_0}};
enum { CACHE_TYPES = sizeof cache_types / sizeof *cache_types };

/* By default as exact as the weights are: half as much to read for each token matters more than bits that they do not have. */
static etk_dtype default_cache(const etk_model *model) {
  for (size_t i = 0; i < etk_model_weight_count(model); i++) {
    const etk_tensor *weight = etk_model_weight_at(model, i);
    if (etk_tensor_shape(weight)->rank == 2 && etk_tensor_dtype(weight) != ETK_F32) return ETK_F16;
  }
  return ETK_F32;
}
static etk_status choose_cache(etk_error *e, etk_dtype *out, const etk_model *model, const char *asked) {
  const char *set = getenv("ETK_CACHE"), *name = asked && strcmp(asked, "auto") ? asked : set && *set ? set : "auto";
  *out = default_cache(model);
  if (!strcmp(name, "auto")) return ETK_OK;
  for (int i = 0; i < CACHE_TYPES; i++)
    if (!strcmp(name, cache_types[i].name)) return *out = cache_types[i].dtype, ETK_OK;
  return etk_fail(e, ETK_E_USAGE, "%s is '%s'; auto, f32, f16 or q8_0 is wanted", name == set ? "ETK_CACHE" : "the type of the cache", name);
}
const char *etk_generator_cache_type(const etk_generator *gen) {
  int i = 0;
  while (cache_types[i].dtype != etk_cache_get_options(gen->cache)->dtype) i++; /* a cache has one of these */
  return cache_types[i].name;
}

etk_status etk_generator_new(etk_error *e, etk_generator **out, const etk_model *model, const etk_adapter *adapter, int64_t capacity) {
  return etk_generator_new_with(e, out, model, adapter, &(etk_generator_options){.capacity = capacity});
}
etk_status etk_generator_new_with(etk_error *e, etk_generator **out, const etk_model *model, const etk_adapter *adapter, const etk_generator_options *options) {
  *out = NULL;
  const etk_model_config *c = etk_model_get_config(model);
  int64_t capacity = options->capacity > 0 && options->capacity < c->max_position_embeddings ? options->capacity : c->max_position_embeddings;
  etk_dtype type;
  etk_status status = choose_cache(e, &type, model, options->cache_type);
  if (status) return status;
  etk_generator *gen = etk_calloc(1, sizeof *gen);
  if (!gen) return etk_fail_memory(e);
  gen->model = model;
  gen->adapter = adapter;
  gen->capacity = capacity;
  gen->max_blocks = (capacity + BLOCK_TOKENS - 1) / BLOCK_TOKENS;
  gen->vocab = c->vocab_size;
  gen->original = c->rope_scaling == ETK_ROPE_LONGROPE ? (int64_t)c->rope_original_positions : 0;
  etk_cache_options cache = {.layers = (int)c->num_hidden_layers, .kv_heads = (int)c->num_key_value_heads, .head_dim = (int)c->head_dim,
                               .block_tokens = BLOCK_TOKENS, .blocks = (int)gen->max_blocks, .dtype = type};
  gen->scratch = etk_calloc((size_t)gen->vocab, sizeof *gen->scratch);
  gen->logits = etk_calloc((size_t)gen->vocab, sizeof *gen->logits);
  gen->seen = etk_calloc((size_t)capacity, sizeof *gen->seen);
  status = gen->scratch && gen->logits && gen->seen ? etk_cache_new(e, &gen->cache, &cache) : etk_fail_memory(e);
  if (!status) status = etk_cache_sequence_new(e, gen->cache, &gen->sequence);
  if (!status) status = record(e, gen, &gen->steps[0], 1, 1);
  if (status) etk_generator_free(gen);
  else *out = gen;
  return status;
}

void etk_generator_free(etk_generator *gen) {
  if (!gen) return;
  for (int i = 0; i < STEPS; i++) etk_graph_free(gen->steps[i].graph);
  for (int i = 0; i < CHECKS; i++) etk_graph_free(gen->checks[i].graph);
  etk_cache_free(gen->cache);
  etk_free(gen->proposed);
  etk_free(gen->scratch);
  etk_free(gen->logits);
  etk_free(gen->seen);
  etk_free(gen);
}

/* The graph that takes the next of `left` tokens. */
static int step_for(int64_t left) { return left == 1 ? 0 : left <= step_tokens[1] ? 1 : left < step_tokens[3] ? 2 : 3; }

/* The graph that checks `count` tokens, 2 at least. */
static int check_for(int64_t count) {
  int which = 0;
  while (check_rows[which] < count) which++;
  return which;
}

static etk_status plan_graphs(etk_error *e, etk_generator *gen, int64_t prompt_tokens, int64_t proposed) {
  etk_status status = ETK_OK;
  for (int64_t left = prompt_tokens; left > 0 && !status; left -= step_tokens[step_for(left)]) {
    struct step *s = &gen->steps[step_for(left)];
    if (!s->graph) status = record(e, gen, s, 1, step_tokens[step_for(left)]);
  }
  int64_t most = proposed > 0 ? etk_generator_most_drafted(gen) : 0;
  if (proposed < most) most = proposed;
  for (int i = 0; most > 0 && i <= check_for(1 + most) && !status; i++)
    if (!gen->checks[i].graph) status = record(e, gen, &gen->checks[i], check_rows[i], 1);
  return status;
}

etk_status etk_generator_plan(etk_error *e, etk_generator *gen, int64_t prompt_tokens, int64_t proposed, size_t *bytes) {
  etk_status status = plan_graphs(e, gen, prompt_tokens, proposed);
  if (status) return status;
  *bytes = etk_model_held_bytes(gen->model) + etk_cache_bytes(gen->cache) + (size_t)gen->vocab * (sizeof *gen->scratch + sizeof *gen->logits) +
           (size_t)gen->capacity * sizeof *gen->seen + (size_t)gen->proposed_room * (size_t)gen->vocab * sizeof *gen->proposed;
  for (int i = 0; i < STEPS; i++) *bytes += gen->steps[i].bytes;
  for (int i = 0; i < CHECKS; i++) *bytes += gen->checks[i].bytes;
  *bytes += etk__product_memory_spare();
  return ETK_OK;
}

/* Feeds `count` tokens that stand from `position` on, of a sequence that goes on to position `last`; the logits of the last token, or of each, are then in the
 * step's tensor. */
static etk_status feed(etk_error *e, etk_generator *gen, struct step *s, const int32_t *ids, int64_t count, int64_t position, int64_t last) {
  etk_status status = etk_cache_sequence_reserve(e, gen->cache, gen->sequence, (int)(position + count));
  if (status) return status;
  int32_t *to = etk_tensor_data(s->ids), *positions = etk_tensor_data(s->positions), *table = etk_tensor_data(s->block_table);
  for (int64_t i = 0; i < s->rows * s->tokens; i++) {
    to[i] = i < count ? ids[i] : 0;
    positions[i] = i < count ? (int32_t)(position + i) : -1;
  }
  if (s->select) *(int32_t *)etk_tensor_data(s->select) = (int32_t)(count - 1);
  int blocks;
  const int32_t *numbers = etk_cache_sequence_blocks(gen->cache, gen->sequence, &blocks);
  for (int64_t row = 0; row < s->rows; row++, table += gen->max_blocks) {
    for (int64_t i = 0; i < gen->max_blocks; i++) table[i] = i < blocks ? numbers[i] : -1;
    if (s->last) ((int32_t *)etk_tensor_data(s->last))[row] = (int32_t)last;
  }
  return etk_graph_eval(e, s->graph);
}

etk_status etk__generator_prefill(etk_error *e, etk_generator *gen, const int32_t *ids, int64_t from, int64_t count, struct step **last) {
  for (int64_t done = from; done < count;) {
    int64_t left = count - done;
    int which = step_for(left);
    struct step *s = &gen->steps[which];
    etk_status status = s->graph ? ETK_OK : record(e, gen, s, 1, step_tokens[which]);
    int64_t part = left < step_tokens[which] ? left : step_tokens[which];
    if (!status) status = feed(e, gen, s, ids + done, part, done, count - 1);
    if (status) return status;
    done += part;
    *last = s;
  }
  gen->turned_long = gen->original && count > gen->original;
  return ETK_OK;
}

etk_status etk__generator_check(etk_error *e, etk_generator *gen, int64_t position, int64_t count, struct step **step) {
  int which = check_for(count);
  struct step *s = *step = count == 1 ? &gen->steps[0] : &gen->checks[which];
  etk_status status = s->graph ? ETK_OK : record(e, gen, s, check_rows[which], 1);
  return status ? status : feed(e, gen, s, gen->seen + position, count, position, position + count - 1);
}

void etk__generator_trim(etk_generator *gen, int64_t tokens) {
  etk_cache_sequence_trim(gen->cache, gen->sequence, (int)tokens);
  if (gen->held > tokens) gen->held = tokens;
}

int64_t etk__generator_match(etk_generator *gen, const int32_t *ids, int64_t count) {
  int64_t common = 0;
  bool is_long = gen->original && count > gen->original;
  while (is_long == gen->turned_long && common < gen->held && common < count - 1 && gen->seen[common] == ids[common]) common++;
  etk__generator_trim(gen, common);
  return common;
}

int64_t etk_generator_held(const etk_generator *gen) { return gen->held; }

static bool is_eos(const etk_model_config *c, int32_t id) {
  for (int i = 0; i < c->eos_count; i++)
    if (c->eos_token_ids[i] == id) return true;
  return false;
}

/* How many tokens may be proposed behind `length` of them: each has a position of its own, one more token follows what is taken, and with longrope none
 * stands behind the original context before all is fed again. */
static int64_t room_for(const etk_generator *gen, int64_t length, int64_t wanted) {
  int64_t room = gen->capacity - length, side = gen->original - length;
  if (room > wanted) room = wanted;
  return side >= 0 && room > side ? side : room;
}

/* One more pass, of the last of `length` tokens and what is proposed behind it. */
static etk_status advance(etk_error *e, etk_generator *gen, struct speculator *s, int64_t length, int64_t wanted, struct step **step, etk_generation *out) {
  etk__generator_trim(gen, length - 1);
  out->passes++;
  if (gen->original && length == gen->original + 1) { /* past the original context: keys so far were turned with short factors */
    etk__generator_trim(gen, 0);
    return etk__generator_prefill(e, gen, gen->seen, 0, length, step);
  }
  etk_status status = etk__speculator_propose(e, s, length, room_for(gen, length, wanted));
  if (status) return status;
  out->drafted += s->count;
  return etk__generator_check(e, gen, length - 1, 1 + s->count, step);
}

/* *length tokens are seen and fed; in the end as many as then are. */
static etk_status decode(etk_error *e, etk_generator *gen, struct step *step, int64_t *length, const etk_generate_options *o, etk_generation *out) {
  const etk_model_config *c = etk_model_get_config(gen->model);
  etk_rng rng = etk_rng_new(o->seed, 0x5A3u);
  struct speculator s;
  etk_status status = etk__speculator_new(e, &s, gen, o);
  out->stop = ETK_STOP_LENGTH;
  for (int64_t row = 0; !status && (int64_t)out->ids.count < o->max_tokens;) {
    memcpy(gen->logits, (const float *)etk_tensor_data(step->logits) + row * gen->vocab, (size_t)gen->vocab * sizeof *gen->logits);
    double logprob;
    bool taken;
    int32_t id = etk__speculator_choose(&s, gen->logits, *length, &rng, &logprob, &taken);
    if (!isfinite(logprob))
      return etk_fail(e, ETK_E_INVALID, "the model gives no finite probability to the token at position %lld; its weights hold infinities or NaN",
                      (long long)*length);
    if (!o->ignore_eos && is_eos(c, id)) {
      out->stop = ETK_STOP_EOS;
      return ETK_OK;
    }
    if (!etk_ids_push(&out->ids, id)) return etk_fail_memory(e);
    out->accepted += taken;
    if (o->token && !o->token(o->user, id, logprob)) {
      out->stop = ETK_STOP_CALLBACK;
      return ETK_OK;
    }
    int64_t left = o->max_tokens - (int64_t)out->ids.count;
    if (left == 0 || *length == gen->capacity) return ETK_OK;
    gen->seen[*length] = id;
    ++*length;
    row = taken ? row + 1 : 0;
    if (!taken) status = advance(e, gen, &s, *length, left - 1, &step, out);
  }
  return status;
}

static etk_status check_prompt(etk_error *e, const etk_generator *gen, const int32_t *prompt, size_t count) {
  if ((int64_t)count > gen->capacity)
    return etk_fail(e, ETK_E_INVALID, "the prompt has %zu tokens, %lld fit into the context; shorten it", count, (long long)gen->capacity);
  for (size_t i = 0; i < count; i++)
    if (prompt[i] < 0 || prompt[i] >= gen->vocab)
      return etk_fail(e, ETK_E_INVALID, "token %zu of the prompt is %d, the model's ids end at %lld", i, prompt[i], (long long)gen->vocab - 1);
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
  int64_t start = etk_time_ns(), length = (int64_t)prompt_count;
  etk_status status = check_prompt(e, gen, prompt, prompt_count);
  if (status) return status;
  if (!o->reuse) etk__generator_trim(gen, 0);
  out->prompt_tokens = length;
  out->reused_tokens = etk__generator_match(gen, prompt, length);
  memcpy(gen->seen, prompt, prompt_count * sizeof *prompt);
  struct step *last = NULL;
  status = etk__generator_prefill(e, gen, prompt, out->reused_tokens, length, &last);
  int64_t middle = etk_time_ns();
  if (!status) status = decode(e, gen, last, &length, o, out);
  gen->held = status ? 0 : length;
  etk__generator_trim(gen, gen->held);
  out->prefill_ns = middle - start;
  out->decode_ns = etk_time_ns() - middle;
  if (status) etk_ids_free(&out->ids);
  return status;
}
