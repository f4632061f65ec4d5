/* Speculative decoding: proposals from a smaller model (Leviathan et al. 2023, Chen et al. 2023) or from what was said before (prompt lookup: Saxena 2023), and
 * the choice that leaves the text what it would have been. */
#include "internal.h"

#include <etk/alloc.h>
#include <math.h>

#include "ml/model/internal.h"
#include "ml/product/product.h"
#include "ml/tensor/internal.h"

enum { PADDING = 128, DRAFTED = 3, LOOKED_UP = 15, FIRST_REACH = 3, NGRAM_MIN = 2, NGRAM_MAX = 4 };

/* How many rows at once are summed as one is: of x W', or transposed x W. */
static int64_t rows_like_one(const etk_tensor *weight, bool transposed) {
  const etk__product *p = transposed ? NULL : etk__product_of(weight);
  if (p) return etk__product_alike(p);
  return etk__is_stored(weight->dtype) ? etk__stored_gemm_alike() : etk__gemm_alike(!transposed);
}

static int64_t fewer(int64_t rows, const etk_tensor *weight, bool transposed) {
  int64_t alike = weight ? rows_like_one(weight, transposed) : rows;
  return alike < rows ? alike : rows;
}

int64_t etk_generator_most_drafted(const etk_generator *gen) {
  const etk_model *m = gen->model;
  int64_t least = fewer(MOST_ROWS, m->head.weight, m->head.transposed);
  for (int i = 0; i < m->linear_count; i++) {
    const etk_adapter_module *lora = gen->adapter ? etk__adapter_for(gen->adapter, m->linears[i]) : NULL;
    least = fewer(least, m->linears[i]->weight, m->linears[i]->transposed);
    if (lora) least = fewer(fewer(least, lora->a, false), lora->b, false);
  }
  return least - 1;
}

static int64_t or_else(int64_t value, int64_t otherwise) { return value > 0 ? value : otherwise; }

static etk_status check_options(etk_error *e, const etk_generator *gen, const etk_speculation *o) {
  int64_t low = or_else(o->ngram_min, NGRAM_MIN), high = or_else(o->ngram_max, NGRAM_MAX);
  if (o->draft == gen) return etk_fail(e, ETK_E_INVALID, "speculative decoding: a generator cannot be its own draft");
  if (o->tokens < 0 || (o->lookup && low > high))
    return etk_fail(e, ETK_E_INVALID, "speculative decoding: %lld tokens at a time, n-grams of %lld to %lld; no number may be negative, and the first n-gram not longer than the last",
                    (long long)o->tokens, (long long)low, (long long)high);
  if (o->draft && llabs(o->draft->vocab - gen->vocab) > PADDING)
    return etk_fail(e, ETK_E_INVALID, "speculative decoding: the draft model has a vocabulary of %lld, the model one of %lld; a draft with the same tokenizer is wanted",
                    (long long)o->draft->vocab, (long long)gen->vocab);
  if (etk_generator_most_drafted(gen) < 1)
    return etk_fail(e, ETK_E_UNSUPPORTED, "speculative decoding: the weights of this %s lie (in, out), and products with them round otherwise for several tokens than for one; "
                    "convert the model to GGUF", gen->model->config.architecture);
  return ETK_OK;
}

static etk_status make_room(etk_error *e, etk_generator *gen, int64_t proposals) {
  if (proposals <= gen->proposed_room) return ETK_OK;
  float *grown = etk_realloc(gen->proposed, (size_t)proposals * (size_t)gen->vocab, sizeof *grown);
  if (!grown) return etk_fail_memory(e);
  gen->proposed = grown;
  gen->proposed_room = proposals;
  return ETK_OK;
}

etk_status etk__speculator_new(etk_error *e, struct speculator *s, etk_generator *gen, const etk_generate_options *options) {
  const etk_speculation *o = &options->speculation;
  *s = (struct speculator){.options = options, .gen = gen, .draft = o->draft, .rng = etk_rng_new(options->seed, 0xD4Fu)};
  if (!o->draft && !o->lookup) return ETK_OK;
  etk_status status = check_options(e, gen, o);
  if (status) return status;
  int64_t bound = etk_generator_most_drafted(gen);
  s->most = or_else(o->tokens, LOOKED_UP);
  s->most_drafted = or_else(o->tokens, DRAFTED);
  if (s->most > bound) s->most = bound;
  if (s->most_drafted > bound) s->most_drafted = bound;
  s->reach = s->most < FIRST_REACH ? s->most : FIRST_REACH;
  if (!o->draft) return ETK_OK;
  if (!options->reuse) etk__generator_trim(s->draft, 0);
  return options->sampling.temperature > 0 ? make_room(e, gen, s->most_drafted) : ETK_OK;
}

/* ---- what was said before ---- */

/* Where the longest of the last tokens, high at most and low at least, stand once more, the last such place: the position behind it; -1: nowhere. */
static int64_t look_up(const int32_t *seen, int64_t length, int64_t low, int64_t high) {
  int64_t best = low - 1, found = -1;
  for (int64_t end = length - 1; end > best && best < high; end--) {
    int64_t n = 0;
    while (n < high && n < end && seen[end - 1 - n] == seen[length - 1 - n]) n++;
    if (n <= best) continue;
    best = n;
    found = end;
  }
  return found;
}

/* As many more where all were taken, half where few were: 1, 3, 7, 15. */
static void adapt(struct speculator *s) {
  if (!s->count || !s->looked_up) return;
  if (s->taken == s->count) s->reach = 2 * s->reach + 1 < s->most ? 2 * s->reach + 1 : s->most;
  else if (2 * s->taken < s->count && s->reach > 1) s->reach = (s->reach - 1) / 2 > 1 ? (s->reach - 1) / 2 : 1;
}

static int64_t propose_looked_up(struct speculator *s, int64_t length, int64_t room) {
  const etk_speculation *o = &s->options->speculation;
  int32_t *seen = s->gen->seen;
  int64_t from = look_up(seen, length, or_else(o->ngram_min, NGRAM_MIN), or_else(o->ngram_max, NGRAM_MAX)), count = room < s->reach ? room : s->reach;
  if (from < 0) return 0;
  for (int64_t i = 0; i < count; i++) seen[length + i] = seen[from + i]; /* may run into what it writes: a text that repeats itself */
  return count;
}

/* ---- a smaller model ---- */

/* A draft may have less padding. */
static bool knows(const etk_generator *draft, const int32_t *ids, int64_t count, int64_t vocab) {
  int64_t i = draft->vocab < vocab ? 0 : count;
  while (i < count && ids[i] < draft->vocab) i++;
  return i == count;
}

/* The draft's logits behind `length` tokens: of row *row of the step. */
static etk_status catch_up(etk_error *e, struct speculator *s, int64_t length, struct step **step, int64_t *row) {
  etk_generator *draft = s->draft;
  int64_t from = etk__generator_match(draft, s->gen->seen, length), count = length - from;
  memcpy(draft->seen + from, s->gen->seen + from, (size_t)count * sizeof *draft->seen);
  bool few = count <= 4 && !(draft->original && from == 0);
  *row = few ? count - 1 : 0;
  etk_status status = few ? etk__generator_check(e, draft, from, count, step) : etk__generator_prefill(e, draft, draft->seen, from, length, step);
  draft->held = status ? 0 : length;
  return status;
}

/* A token of the draft's; where one is drawn, what from is proposal `index`'s distribution. -1: the draft gives no finite numbers. */
static int32_t draw(struct speculator *s, float *logits, int64_t length, int64_t index) {
  etk_generator *gen = s->gen, *draft = s->draft;
  int64_t vocab = draft->vocab < gen->vocab ? draft->vocab : gen->vocab;
  const etk_sampling *sampling = &s->options->sampling;
  if (sampling->temperature <= 0) return etk_sample(logits, vocab, sampling, gen->seen, (size_t)length, &s->rng, draft->scratch, NULL);
  if (!etk__probabilities(logits, vocab, sampling, gen->seen, (size_t)length, draft->scratch)) return -1;
  float *q = gen->proposed + index * gen->vocab;
  memcpy(q, logits, (size_t)vocab * sizeof *q);
  memset(q + vocab, 0, (size_t)(gen->vocab - vocab) * sizeof *q);
  return etk__draw(q, vocab, &s->rng);
}

static etk_status propose_drafted(etk_error *e, struct speculator *s, int64_t length, int64_t room) {
  etk_generator *gen = s->gen, *draft = s->draft;
  int64_t most = draft->capacity - length + 1, side = draft->original - length + 1; /* the last proposal is not fed */
  if (most > room) most = room;
  if (most > s->most_drafted) most = s->most_drafted;
  if (side > 0 && most > side) most = side;
  if (most < 1 || !knows(draft, gen->seen, length, gen->vocab)) return ETK_OK;
  struct step *step;
  int64_t row;
  etk_status status = catch_up(e, s, length, &step, &row);
  while (!status && s->count < most) {
    memcpy(draft->logits, (const float *)etk_tensor_data(step->logits) + row * draft->vocab, (size_t)draft->vocab * sizeof *draft->logits);
    int32_t id = draw(s, draft->logits, length + s->count, s->count);
    if (id < 0) break;
    gen->seen[length + s->count] = id;
    if (++s->count == most) break;
    draft->seen[length + s->count - 1] = id;
    status = etk__generator_check(e, draft, length + s->count - 1, 1, &step);
    draft->held = status ? 0 : length + s->count;
    row = 0;
  }
  return status;
}

etk_status etk__speculator_propose(etk_error *e, struct speculator *s, int64_t length, int64_t room) {
  adapt(s);
  s->count = s->taken = 0;
  if (s->most < 1 || room < 1) return ETK_OK;
  s->looked_up = s->options->speculation.lookup && (s->count = propose_looked_up(s, length, room)) > 0;
  return s->looked_up || !s->draft ? ETK_OK : propose_drafted(e, s, length, room);
}

/* ---- the choice ---- */

/* p(x) in place of logits. Taken with min(1, p/q), else from max(0, p - q). */
static int32_t choose_drawn(struct speculator *s, float *p, int64_t length, etk_rng *rng, double *logprob) {
  etk_generator *gen = s->gen;
  int32_t id = gen->seen[length];
  float *q = gen->proposed + s->taken * gen->vocab;
  *logprob = NAN;
  if (!etk__probabilities(p, gen->vocab, &s->options->sampling, gen->seen, (size_t)length, gen->scratch)) return id;
  if (!(etk_rng_uniform(rng) * (double)q[id] < (double)p[id])) {
    for (int64_t i = 0; i < gen->vocab; i++) q[i] = p[i] > q[i] ? p[i] - q[i] : 0;
    id = etk__draw(q, gen->vocab, rng);
    if (id < 0) id = etk__draw(p, gen->vocab, rng); /* p and q are one */
  }
  *logprob = log((double)p[id]);
  return id;
}

/* What is looked up is proposed with certainty. There, and at temperature 0, the token is chosen as ever: that it is the one proposed has just the probability
 * with which the rule above takes it, and the draw is the one that there is without proposals. */
int32_t etk__speculator_choose(struct speculator *s, float *logits, int64_t length, etk_rng *rng, double *logprob, bool *taken) {
  etk_generator *gen = s->gen;
  const etk_sampling *sampling = &s->options->sampling;
  bool proposed = s->taken < s->count;
  int32_t id = proposed && !s->looked_up && sampling->temperature > 0 ? choose_drawn(s, logits, length, rng, logprob)
               : etk_sample(logits, gen->vocab, sampling, gen->seen, (size_t)length, rng, gen->scratch, logprob);
  *taken = proposed && id == gen->seen[length];
  s->taken += *taken;
  return id;
}

/* ---- whether two models speak of the same tokens ---- */

etk_status etk_draft_check(etk_error *e, const etk_tokenizer *tokenizer, const etk_tokenizer *draft) {
  int64_t size = etk_tokenizer_size(tokenizer), other = etk_tokenizer_size(draft);
  if (llabs(size - other) > PADDING)
    return etk_fail(e, ETK_E_INVALID, "the draft's tokenizer has %lld tokens, the model's %lld; a draft with the same tokenizer is wanted", (long long)other, (long long)size);
  for (int32_t id = 0; id < size && id < other; id++) {
    const char *a = etk_tokenizer_token(tokenizer, id), *b = etk_tokenizer_token(draft, id);
    if (!a == !b && (!a || !strcmp(a, b))) continue;
    return etk_fail(e, ETK_E_INVALID, "the draft's token %d is '%s', the model's '%s'; a draft with the same tokenizer is wanted", id, b ? b : "", a ? a : "");
  }
  return ETK_OK;
}
