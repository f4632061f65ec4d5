/* Speculative decoding: tokens that are checked together are computed as alone, texts are those without proposals, draws follow the model's distribution. */
#include "ml_speculate.h"
#include "../starve.h"

#include <etk/quant.h>
#include <etk/rng.h>

#include "ml/generate/internal.h"

/* ---- rows of one sequence ---- */

/* Feeds 40 tokens one by one, then in rows of each width: the logits are the same bytes. */
static void check_rows_of(const char *what, const etk_model *model) {
  enum { TOKENS = 40 };
  etk_generator *gen = generator_of(model);
  int64_t vocab = etk_model_get_config(model)->vocab_size, tokens = gen->capacity < TOKENS ? gen->capacity : TOKENS;
  if (gen->original && gen->original < tokens) tokens = gen->original; /* nothing that is proposed stands behind it */
  for (int64_t i = 0; i < tokens; i++) gen->seen[i] = (int32_t)((i * i + 3 * i) % (vocab - 3)) + 3;
  float *alone = etk_calloc((size_t)(tokens * vocab), sizeof *alone);
  struct step *step;
  for (int64_t i = 0; i < tokens; i++) {
    works(etk__generator_check(e, gen, i, 1, &step));
    memcpy(alone + i * vocab, etk_tensor_data(step->logits), (size_t)vocab * sizeof *alone);
  }
  int64_t most = etk_generator_most_drafted(gen) + 1;
  assert_true(most >= 4 && most <= 16);
  for (int64_t rows = 2; rows <= most; rows++) {
    etk__generator_trim(gen, 0);
    for (int64_t i = 0; i < tokens; i += rows) {
      int64_t n = tokens - i < rows ? tokens - i : rows;
      works(etk__generator_check(e, gen, i, n, &step));
      if (memcmp(alone + i * vocab, etk_tensor_data(step->logits), (size_t)(n * vocab) * sizeof *alone))
        fail_msg("%s: tokens %lld to %lld, computed together, give other bits than alone", what, (long long)i, (long long)(i + n - 1));
    }
  }
  etk_free(alone);
  etk_generator_free(gen);
}

static void tokens_computed_together_give_the_bits_of_tokens_computed_alone(void **state) {
  for (int cache = 0; cache < CACHES; cache++) {
    setenv("ETK_CACHE", caches[cache], 1);
    for (int i = 0; i < (cache == CODES ? 2 : TYPES); i++) {
      etk_model *model = typed_model(state, types[i]);
      check_rows_of(types[i], model);
      etk_model_unref(model);
    }
    for (int i = 0; i < FAMILIES && cache != CODES; i++) { /* whose heads are too small for codes */
      etk_model *model = family_model(i);
      check_rows_of(families[i], model);
      etk_model_unref(model);
    }
  }
  unsetenv("ETK_CACHE");
}

static void the_number_of_rows_follows_from_the_weights(void **state) {
  const struct { const char *type; int64_t most; } cases[] = {{"f32", 7}, {"f16", 7}, {"bf16", 7}, {"mlx", 3}};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    etk_model *model = typed_model(state, cases[i].type);
    etk_generator *gen = generator_of(model);
    assert_int_equal(etk_generator_most_drafted(gen), cases[i].most);
    etk_generator_free(gen);
    etk_model_unref(model);
  }
}

/* ---- texts ---- */

enum { PROMPTS = 3 };
static const int32_t prompts[PROMPTS][6] = {{1, 5, 9, 5, 9, 5}, {1, 4, 4, 8, 3, 7}, {1, 20, 3, 11, 6, 2}};

/* Every prompt, greedy and drawn, with and without a penalty: the text with the proposals that `speculation` asks for is the text without. */
static void compare_texts(const char *what, const etk_model *model, etk_speculation speculation, bool draws, int64_t tokens, etk_generation *sum) {
  etk_generator *gen = generator_of(model), *other = generator_of(model);
  const etk_sampling samplings[] = {{.temperature = 0, .repetition_penalty = 1}, {.temperature = 0, .repetition_penalty = 1.2},
                                    {.temperature = 0.7, .top_p = 0.9, .top_k = 20, .repetition_penalty = 1}, {.temperature = 1, .repetition_penalty = 1.1}};
  for (int p = 0; p < PROMPTS; p++)
    for (int s = 0; s < (draws ? 4 : 2); s++) {
      etk_generate_options options = greedy_options(tokens);
      options.sampling = samplings[s];
      options.seed = (uint64_t)p;
      struct text plain = text_of(gen, prompts[p], 6, options);
      options.speculation = speculation;
      struct text quick = text_of(other, prompts[p], 6, options);
      same_text(path_of("%s, prompt %d, sampling %d", what, p, s), &plain, &quick);
      assert_int_equal(plain.made.drafted, 0);
      assert_int_equal(plain.made.passes, plain.count - 1);
      assert_int_equal(quick.made.passes + quick.made.accepted, quick.count - 1); /* the first follows from the prompt; a pass gives one more than what was taken */
      sum->drafted += quick.made.drafted, sum->accepted += quick.made.accepted, sum->passes += quick.made.passes;
      etk_ids_free(&plain.made.ids);
      etk_ids_free(&quick.made.ids);
    }
  etk_generator_free(gen);
  etk_generator_free(other);
}

static void texts_with_lookup_are_those_without(void **state) {
  etk_generation sum = {0};
  for (int i = 0; i < TYPES; i++) {
    etk_model *model = typed_model(state, types[i]);
    compare_texts(types[i], model, (etk_speculation){.lookup = true, .ngram_min = 1}, true, 60, &sum);
    etk_model_unref(model);
  }
  for (int i = 0; i < FAMILIES; i++) {
    etk_model *model = family_model(i);
    compare_texts(families[i], model, (etk_speculation){.lookup = true, .ngram_min = 1, .ngram_max = 2}, true, 60, &sum);
    etk_model_unref(model);
  }
  print_message("%lld passes, %lld proposed, %lld taken\n", (long long)sum.passes, (long long)sum.drafted, (long long)sum.accepted);
  assert_true(sum.accepted > 500 && sum.drafted - sum.accepted > 500); /* both happen, again and again */
}

static void greedy_texts_with_a_draft_are_those_without(void **state) {
  etk_generation sum = {0};
  for (int i = 0; i < FAMILIES + 2; i++) { /* a stranger as a draft, the model itself, and another family that knows a few tokens less */
    etk_model *model = i < FAMILIES ? family_model(i) : typed_model(state, i == FAMILIES ? "q8_0" : "f16");
    int64_t vocab = etk_model_get_config(model)->vocab_size;
    etk_model *drafts[] = {random_model(vocab, 16, 1, 9, 8), etk_model_ref(model), random_model(vocab - 5, 16, 1, 9, 8), random_model(vocab + 5, 16, 1, 9, 8)};
    for (int d = 0; d < 4; d++) {
      etk_generator *draft = generator_of(drafts[d]);
      etk_generation own = {0};
      compare_texts(i < FAMILIES ? families[i] : "typed", model, (etk_speculation){.draft = draft, .tokens = 1 + (i + d) % 6, .lookup = d == 3}, false, 50, &own);
      /* A twin proposes what the model says, but where its prompt was cut elsewhere (longrope) and weights are BF16, whose products with many rows round x too. */
      if (d == 1 && own.accepted < own.drafted * 49 / 50) fail_msg("%d: a model took %lld of its own %lld proposals", i, (long long)own.accepted, (long long)own.drafted);
      sum.drafted += own.drafted, sum.accepted += own.accepted;
      etk_generator_free(draft);
      etk_model_unref(drafts[d]);
    }
    etk_model_unref(model);
  }
  assert_true(sum.accepted > 500 && sum.drafted - sum.accepted > 500);
}

/* llama2.c's own greedy texts are compared in ml_generate.c; here what a trained model says, at length. */
static void stories_are_told_the_same_with_every_kind_of_proposal(void **state) {
  (void)state;
  etk_model *model = open_model(shared_or_skip("models/stories260K/stories260K.bin")), *other = random_model(512, 16, 1, 3, 8);
  etk_generator *gen = generator_of(model), *draft = generator_of(other), *twin = generator_of(model);
  const etk_speculation ways[] = {{.lookup = true}, {.lookup = true, .tokens = 15, .ngram_min = 1, .ngram_max = 1}, {.draft = draft}, {.draft = twin}, {.draft = twin, .tokens = 9},
                                  {.draft = draft, .lookup = true, .ngram_min = 1}, {.draft = twin, .lookup = true, .tokens = 2}};
  etk_generate_options options = greedy_options(300);
  struct text plain = text_of(gen, NULL, 0, options);
  for (size_t i = 0; i < sizeof ways / sizeof *ways; i++) {
    options.speculation = ways[i];
    struct text quick = text_of(gen, NULL, 0, options);
    same_text(path_of("way %zu", i), &plain, &quick);
    print_message("way %zu: %lld passes for 300 tokens, %lld of %lld taken\n", i, (long long)quick.made.passes, (long long)quick.made.accepted, (long long)quick.made.drafted);
    if (ways[i].draft == twin && !ways[i].lookup) assert_true(quick.made.accepted == quick.made.drafted && quick.made.passes < 80 && quick.made.passes > 35);
    etk_ids_free(&quick.made.ids);
  }
  etk_ids_free(&plain.made.ids);
  etk_generator_free(gen);
  etk_generator_free(draft);
  etk_generator_free(twin);
  etk_model_unref(model);
  etk_model_unref(other);
}

/* ---- the distribution ---- */

enum { SMALL = 12, DRAWN = 3, CELLS = SMALL * SMALL * SMALL };

/* p(x) behind the ids, the obvious way. */
static void distribution(const etk_model *model, const etk_sampling *s, const int32_t *ids, size_t count, double *p) {
  float logits[8 * SMALL];
  forward_plain(model, NULL, ids, count, logits);
  float *row = logits + (count - 1) * SMALL;
  double sum = 0, values[SMALL];
  for (int i = 0; i < SMALL; i++) {
    values[i] = row[i];
    for (size_t j = 0; j < count; j++)
      if (ids[j] == i && s->repetition_penalty != 1) {
        values[i] = values[i] > 0 ? values[i] / s->repetition_penalty : values[i] * s->repetition_penalty;
        break;
      }
  }
  for (int i = 0; i < SMALL; i++) {
    int better = 0;
    for (int j = 0; j < SMALL; j++) better += values[j] > values[i] || (values[j] == values[i] && j < i);
    p[i] = s->top_k == 0 || better < s->top_k ? exp(values[i] / s->temperature) : 0;
    sum += p[i];
  }
  for (int i = 0; i < SMALL; i++) p[i] /= sum;
}

/* Joint probability of the three tokens behind the prompt. */
static void joint(const etk_model *model, const etk_sampling *s, const int32_t *prompt, size_t count, double *out) {
  int32_t ids[8];
  memcpy(ids, prompt, count * sizeof *ids);
  double a[SMALL], b[SMALL], c[SMALL];
  distribution(model, s, ids, count, a);
  for (int i = 0; i < SMALL; i++) {
    ids[count] = i;
    distribution(model, s, ids, count + 1, b);
    for (int j = 0; j < SMALL; j++) {
      ids[count + 1] = j;
      distribution(model, s, ids, count + 2, c);
      for (int k = 0; k < SMALL; k++) out[(i * SMALL + j) * SMALL + k] = a[i] * b[j] * c[k];
    }
  }
}

/* Chi-square of counts against probabilities; cells with less than five expected are one. *bound: what it exceeds once in 3.5 million times (five standard deviations of a
 * normal value, by Wilson and Hilferty); the seeds are fixed, so that a pass stays a pass. */
static double chi_square(const int *counts, const double *p, int cells, int draws, double *bound) {
  double chi = 0, rest = 0, rest_seen = 0;
  int used = 0;
  for (int i = 0; i < cells; i++) {
    double expected = p[i] * draws;
    if (expected < 5) rest += expected, rest_seen += counts[i];
    else chi += (counts[i] - expected) * (counts[i] - expected) / expected, used++;
  }
  if (rest >= 5) chi += (rest_seen - rest) * (rest_seen - rest) / rest, used++;
  double freedom = used - 1, spread = 2 / (9 * freedom);
  *bound = freedom * pow(1 - spread + 5 * sqrt(spread), 3);
  assert_true(used > 20);
  return chi;
}

static void drawn_tokens_are_distributed_as_the_model_says(void **state) {
  (void)state;
  enum { DRAWS = 4000 };
  const int32_t prompt[] = {1, 5, 3};
  const etk_sampling samplings[] = {{.temperature = 1, .top_p = 1, .repetition_penalty = 1}, {.temperature = 0.8, .top_p = 1, .top_k = 7, .repetition_penalty = 1.3}};
  static double p[CELLS];
  static int counts[CELLS];
  etk_model *model = random_model(SMALL, 16, 1, 3, 10), *other = random_model(SMALL, 8, 1, 4, 14);
  etk_generator *gen = generator_of(model), *draft = generator_of(other);
  for (size_t s = 0; s < 2; s++)
    for (int lookup = 0; lookup < 2; lookup++) {
      joint(model, &samplings[s], prompt, 3, p);
      memset(counts, 0, sizeof counts);
      etk_generation sum = {0};
      for (int i = 0; i < DRAWS; i++) {
        etk_generate_options options = {.sampling = samplings[s], .max_tokens = DRAWN + 1, .ignore_eos = true, .seed = (uint64_t)i, .reuse = i > 0,
                                        .speculation = {.draft = draft, .tokens = 2, .lookup = lookup, .ngram_min = 1}};
        etk_generation out;
        works(etk_generate(e, gen, prompt, 3, &options, &out));
        counts[(out.ids.items[0] * SMALL + out.ids.items[1]) * SMALL + out.ids.items[2]]++;
        sum.drafted += out.drafted, sum.accepted += out.accepted;
        etk_ids_free(&out.ids);
      }
      double bound, chi = chi_square(counts, p, CELLS, DRAWS, &bound);
      print_message("sampling %zu%s: chi-square %.1f, bound %.1f; %lld of %lld taken\n", s, lookup ? " with lookup" : "", chi, bound, (long long)sum.accepted, (long long)sum.drafted);
      if (!(chi < bound)) fail_msg("sampling %zu: chi-square %g, wanted below %g", s, chi, bound);
      assert_true(sum.accepted > DRAWS / 10 && sum.drafted - sum.accepted > DRAWS / 10);
    }
  etk_generator_free(gen);
  etk_generator_free(draft);
  etk_model_unref(model);
  etk_model_unref(other);
}

/* What is drawn is written with its probability under the model, whether it was proposed or not. */
static bool add_checked(void *user, int32_t id, double logprob) {
  struct { const etk_model *model; const etk_sampling *s; int32_t ids[8]; size_t count; } *t = user;
  double p[SMALL];
  distribution(t->model, t->s, t->ids, t->count, p);
  if (!(fabs(log(p[id]) - logprob) < 1e-4)) fail_msg("token %d: log-probability %g, wanted %g", id, logprob, log(p[id])); /* floats of 1e-6 relative, down to e-10 or so */
  t->ids[t->count++] = id;
  return true;
}
static void log_probabilities_are_the_models(void **state) {
  (void)state;
  etk_model *model = random_model(SMALL, 16, 1, 3, 10), *other = random_model(SMALL, 8, 1, 4, 14);
  etk_generator *gen = generator_of(model), *draft = generator_of(other);
  const etk_sampling sampling = {.temperature = 1, .top_p = 1, .top_k = 9, .repetition_penalty = 1};
  for (uint64_t seed = 0; seed < 100; seed++) {
    struct { const etk_model *model; const etk_sampling *s; int32_t ids[8]; size_t count; } t = {model, &sampling, {1, 5, 3}, 3};
    etk_generate_options options = {.sampling = sampling, .max_tokens = 5, .ignore_eos = true, .seed = seed, .speculation = {.draft = draft}, .token = add_checked, .user = &t};
    etk_generation out;
    works(etk_generate(e, gen, t.ids, 3, &options, &out));
    etk_ids_free(&out.ids);
  }
  etk_generator_free(gen);
  etk_generator_free(draft);
  etk_model_unref(model);
  etk_model_unref(other);
}

/* ---- ends ---- */

struct stopper {
  size_t count, stop;
};
static bool stop_at(void *user, int32_t id, double logprob) {
  struct stopper *s = user;
  (void)id;
  (void)logprob;
  return ++s->count < s->stop;
}

static void callbacks_lengths_and_ends_cut_a_run_of_taken_proposals_anywhere(void **state) {
  (void)state;
  etk_model *model = random_model(24, 16, 2, 3, 12);
  etk_generator *gen = generator_of(model), *twin = generator_of(model);
  etk_generate_options options = greedy_options(40);
  struct text plain = text_of(gen, prompts[1], 6, options);
  options.speculation = (etk_speculation){.draft = twin, .tokens = 6};
  for (size_t n = 1; n <= 20; n++) {
    struct stopper stopper = {0, n};
    options.max_tokens = 40;
    options.token = stop_at;
    options.user = &stopper;
    etk_generation out;
    works(etk_generate(e, gen, prompts[1], 6, &options, &out));
    assert_int_equal(out.stop, ETK_STOP_CALLBACK);
    assert_int_equal(out.ids.count, n);
    assert_memory_equal(out.ids.items, plain.made.ids.items, n * sizeof(int32_t));
    assert_int_equal(etk_generator_held(gen), 6 + n - 1); /* all but the last, which was not fed */
    etk_ids_free(&out.ids);
    options.token = NULL;
    options.max_tokens = (int64_t)n;
    works(etk_generate(e, gen, prompts[1], 6, &options, &out));
    assert_int_equal(out.stop, ETK_STOP_LENGTH);
    assert_int_equal(out.ids.count, n);
    assert_memory_equal(out.ids.items, plain.made.ids.items, n * sizeof(int32_t));
    etk_ids_free(&out.ids);
  }
  etk_ids_free(&plain.made.ids);
  int ended = 0;
  for (uint64_t seed = 0; seed < 40; seed++) { /* ends of sequence come by chance */
    options = (etk_generate_options){.sampling = {.temperature = 1.5, .top_p = 1, .repetition_penalty = 1}, .max_tokens = 40, .seed = seed};
    plain = text_of(gen, prompts[0], 6, options);
    options.speculation = (etk_speculation){.lookup = true, .ngram_min = 1, .tokens = 7};
    struct text quick = text_of(gen, prompts[0], 6, options);
    same_text("ends", &plain, &quick);
    ended += plain.made.stop == ETK_STOP_EOS && quick.made.accepted > 0;
    etk_ids_free(&plain.made.ids);
    etk_ids_free(&quick.made.ids);
  }
  assert_true(ended > 5);
  etk_generator_free(gen);
  etk_generator_free(twin);
  etk_model_unref(model);
}

static void capacity_bounds_texts_as_without_proposals(void **state) {
  (void)state;
  etk_model *model = random_model(24, 16, 2, 3, 12);
  for (int64_t capacity = 6; capacity <= 40; capacity++) {
    etk_generator *gen = NULL, *draft = NULL;
    works(etk_generator_new(e, &gen, model, NULL, capacity));
    works(etk_generator_new(e, &draft, model, NULL, capacity < 20 ? capacity : 20)); /* the draft's own may be less */
    etk_generate_options options = greedy_options(100);
    struct text plain = text_of(gen, prompts[0], 6, options);
    assert_int_equal(plain.count, capacity - 6 + 1);
    options.speculation = (etk_speculation){.draft = draft, .tokens = 5};
    struct text quick = text_of(gen, prompts[0], 6, options);
    same_text(path_of("capacity %lld", (long long)capacity), &plain, &quick);
    etk_ids_free(&plain.made.ids);
    etk_ids_free(&quick.made.ids);
    etk_generator_free(gen);
    etk_generator_free(draft);
  }
  etk_model_unref(model);
}

static void a_plan_counts_the_graphs_that_check(void **state) {
  etk_model *model = typed_model(state, "f32");
  etk_generator *gen = generator_of(model);
  const int64_t proposed[] = {0, 1, 7, 1000}; /* of which 7 are checked at a time */
  size_t bytes[4], after;
  for (int i = 0; i < 4; i++) works(etk_generator_plan(e, gen, 16, proposed[i], &bytes[i]));
  assert_true(bytes[0] < bytes[1] && bytes[1] < bytes[2] && bytes[2] == bytes[3]);
  const int32_t prompt[] = {1, 2, 3, 1, 2, 3};
  etk_generate_options options = {.sampling = {.top_p = 1, .repetition_penalty = 1}, .max_tokens = 40, .ignore_eos = true, .speculation = {.lookup = true, .ngram_min = 1}};
  etk_generation made;
  works(etk_generate(e, gen, prompt, 6, &options, &made));
  assert_true(made.drafted > 0);
  etk_ids_free(&made.ids);
  works(etk_generator_plan(e, gen, 16, 0, &after)); /* nothing was recorded that had not been planned */
  assert_int_equal(after, bytes[3]);
  etk_generator_free(gen);
  etk_model_unref(model);
}

static void a_text_goes_on_where_it_ended(void **state) {
  (void)state;
  etk_model *model = random_model(24, 16, 2, 3, 12);
  etk_generator *gen = generator_of(model), *fresh = generator_of(model), *draft = generator_of(model);
  int32_t ids[200];
  memcpy(ids, prompts[2], sizeof prompts[2]);
  size_t count = 6;
  for (int turn = 0; turn < 6; turn++) {
    etk_generate_options options = greedy_options(9);
    options.reuse = turn > 0;
    options.speculation = (etk_speculation){.draft = draft, .lookup = turn % 2 == 1, .tokens = 4};
    struct text quick = text_of(gen, ids, count, options);
    if (turn) assert_int_equal(quick.made.reused_tokens, (int64_t)count - 3); /* all but the last token and what the user adds */
    struct text plain = text_of(fresh, ids, count, greedy_options(9));
    assert_int_equal(plain.made.reused_tokens, 0);
    assert_memory_equal(plain.made.ids.items, quick.made.ids.items, 9 * sizeof *ids);
    memcpy(ids + count, quick.made.ids.items, 9 * sizeof *ids);
    ids[count + 9] = 7;
    ids[count + 10] = turn;
    count += 11;
    etk_ids_free(&plain.made.ids);
    etk_ids_free(&quick.made.ids);
  }
  etk_generator_free(gen);
  etk_generator_free(fresh);
  etk_generator_free(draft);
  etk_model_unref(model);
}

static void what_cannot_be_is_refused(void **state) {
  (void)state;
  etk_model *model = random_model(300, 16, 1, 3, 8), *small = random_model(171, 16, 1, 3, 8);
  etk_generator *gen = generator_of(model), *draft = generator_of(small);
  etk_generate_options options = greedy_options(5);
  etk_generation out;
  options.speculation = (etk_speculation){.draft = gen};
  fails_with(ETK_E_INVALID, "its own draft", etk_generate(e, gen, prompts[0], 6, &options, &out));
  options.speculation = (etk_speculation){.draft = draft};
  fails_with(ETK_E_INVALID, "the draft model has a vocabulary of 171, the model one of 300; a draft with the same tokenizer", etk_generate(e, gen, prompts[0], 6, &options, &out));
  options.speculation = (etk_speculation){.lookup = true, .tokens = -1};
  fails_with(ETK_E_INVALID, "-1 tokens at a time", etk_generate(e, gen, prompts[0], 6, &options, &out));
  options.speculation = (etk_speculation){.lookup = true, .ngram_min = 5};
  fails_with(ETK_E_INVALID, "n-grams of 5 to 4", etk_generate(e, gen, prompts[0], 6, &options, &out));
  etk_generator_free(gen);
  etk_generator_free(draft);
  etk_model_unref(model);
  etk_model_unref(small);
  model = open_model(shared_or_skip("goldens/models/gpt2"));
  gen = generator_of(model);
  assert_int_equal(etk_generator_most_drafted(gen), 0);
  options.speculation = (etk_speculation){.lookup = true};
  fails_with(ETK_E_UNSUPPORTED, "convert the model to GGUF", etk_generate(e, gen, prompts[0], 6, &options, &out));
  etk_generator_free(gen);
  etk_model_unref(model);
}

static void a_draft_without_finite_numbers_proposes_nothing(void **state) {
  (void)state;
  etk_model *model = random_model(24, 16, 2, 3, 12), *broken = random_model(24, 16, 1, 3, 8);
  ((float *)etk_tensor_data(etk_model_weight(broken, "model.norm.weight")))[3] = INFINITY;
  etk_generator *gen = generator_of(model), *draft = generator_of(broken);
  etk_generate_options options = {.sampling = {.temperature = 1, .top_p = 1, .repetition_penalty = 1}, .max_tokens = 20, .ignore_eos = true};
  struct text plain = text_of(gen, prompts[0], 6, options);
  options.speculation.draft = draft;
  struct text quick = text_of(gen, prompts[0], 6, options);
  same_text("broken draft", &plain, &quick);
  assert_int_equal(quick.made.drafted, 0);
  etk_ids_free(&plain.made.ids);
  etk_ids_free(&quick.made.ids);
  etk_generator_free(gen);
  etk_generator_free(draft);
  etk_model_unref(model);
  etk_model_unref(broken);
}

static void tokenizers_of_a_draft_are_compared_token_by_token(void **state) {
  (void)state;
  etk_tokenizer *a = NULL, *b = NULL, *c = NULL;
  works(etk_tokenizer_open(e, &a, shared_or_skip("models/stories260K/tok512.model"), 512));
  works(etk_tokenizer_open(e, &b, shared_or_skip("tokenizers/gguf-vocab/ggml-vocab-llama-spm.gguf"), 0));
  works(etk_tokenizer_open(e, &c, shared_or_skip("models/stories260K/tok512.model"), 512));
  works(etk_draft_check(e, a, c));
  fails_with(ETK_E_INVALID, "the draft's tokenizer has 32000 tokens, the model's 512", etk_draft_check(e, a, b));
  etk_tokenizer_free(c);
  works(etk_tokenizer_open(e, &c, shared_or_skip("tokenizers/gguf-vocab/ggml-vocab-gpt-2.gguf"), 0));
  etk_tokenizer_free(b);
  works(etk_tokenizer_open(e, &b, shared_or_skip("tokenizers/gpt2"), 0));
  works(etk_draft_check(e, b, c));
  etk_tokenizer_free(a);
  etk_tokenizer_free(b);
  etk_tokenizer_free(c);
}

/* ---- memory ---- */

static void proposals_allocate_nothing_per_token(void **state) {
  (void)state;
  etk_model *model = random_model(24, 16, 2, 3, 12), *other = random_model(24, 16, 1, 4, 8);
  etk_generator *gen = generator_of(model), *draft = generator_of(other);
  for (int way = 0; way < 3; way++) {
    uint64_t calls[2];
    for (int run = -1; run < 2; run++) { /* once to record the graphs, then 20 tokens and 320 */
      etk_generate_options options = {.sampling = {.temperature = way == 1 ? 0.8 : 0, .top_p = 0.95, .repetition_penalty = 1}, .max_tokens = run == 0 ? 20 : 320, .ignore_eos = true,
                                      .speculation = {.draft = way ? draft : NULL, .lookup = way != 1}};
      etk_generation out;
      etk_alloc_stats before = etk_alloc_get_stats();
      works(etk_generate(e, gen, prompts[0], 6, &options, &out));
      if (run >= 0) calls[run] = etk_alloc_get_stats().calls - before.calls;
      assert_true(out.drafted > 0);
      etk_ids_free(&out.ids);
    }
    if (calls[1] > calls[0] + 5) fail_msg("way %d: %llu allocations for 20 tokens, %llu for 320", way, (unsigned long long)calls[0], (unsigned long long)calls[1]); /* the ids double */
  }
  etk_generator_free(gen);
  etk_generator_free(draft);
  etk_model_unref(model);
  etk_model_unref(other);
}

static void proposals_survive_every_failing_allocation(void **state) {
  (void)state;
  etk_model *model = random_model(24, 16, 1, 3, 12), *other = random_model(24, 16, 1, 4, 8);
  starvation s = {.opens = true};
  for (int i = 0; i < 2; i++) { /* weights that get no memory for a product of their own are decoded, which is no failure: they have theirs */
    etk_generator *gen = generator_of(i ? other : model);
    struct text text = text_of(gen, prompts[0], 6, greedy_options(2));
    etk_ids_free(&text.made.ids);
    etk_generator_free(gen);
  }
  while (starve(&s)) {
    etk_generator *gen = NULL, *draft = NULL;
    etk_error error = ETK_ERROR_INIT;
    etk_generation out = {0};
    etk_status status = etk_generator_new(&error, &gen, model, NULL, 64);
    if (!status) status = etk_generator_new(&error, &draft, other, NULL, 64);
    etk_generate_options options = {.sampling = {.temperature = 1, .top_p = 1, .repetition_penalty = 1}, .max_tokens = 12, .ignore_eos = true,
                                    .speculation = {.draft = draft, .lookup = true, .ngram_min = 1, .tokens = 4}};
    if (!status) status = etk_generate(&error, gen, prompts[0], 6, &options, &out);
    if (status && gen) assert_int_equal(etk_generator_held(gen), 0);
    etk_ids_free(&out.ids);
    etk_generator_free(gen);
    etk_generator_free(draft);
    starved(&s, status, &error);
  }
  assert_true(s.nth > 40);
  etk_model_unref(model);
  etk_model_unref(other);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup_teardown(tokens_computed_together_give_the_bits_of_tokens_computed_alone, make_folder, remove_folder),
      cmocka_unit_test_setup_teardown(the_number_of_rows_follows_from_the_weights, make_folder, remove_folder),
      cmocka_unit_test_setup_teardown(texts_with_lookup_are_those_without, make_folder, remove_folder),
      cmocka_unit_test_setup_teardown(greedy_texts_with_a_draft_are_those_without, make_folder, remove_folder),
      cmocka_unit_test(stories_are_told_the_same_with_every_kind_of_proposal),
      cmocka_unit_test(drawn_tokens_are_distributed_as_the_model_says),
      cmocka_unit_test(log_probabilities_are_the_models),
      cmocka_unit_test(callbacks_lengths_and_ends_cut_a_run_of_taken_proposals_anywhere),
      cmocka_unit_test(capacity_bounds_texts_as_without_proposals),
      cmocka_unit_test_setup_teardown(a_plan_counts_the_graphs_that_check, make_folder, remove_folder),
      cmocka_unit_test(a_text_goes_on_where_it_ended),
      cmocka_unit_test(what_cannot_be_is_refused),
      cmocka_unit_test(a_draft_without_finite_numbers_proposes_nothing),
      cmocka_unit_test(tokenizers_of_a_draft_are_compared_token_by_token),
      cmocka_unit_test(proposals_allocate_nothing_per_token),
      cmocka_unit_test(proposals_survive_every_failing_allocation),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
