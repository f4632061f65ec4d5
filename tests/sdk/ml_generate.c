/* Sampling against a naive implementation, and generation against llama2.c's greedy texts (tests/goldens/stories260k.json). */
#include "ml_golden.h"
#include "../starve.h"

#include <etk/generate.h>

enum { STORIES = 512 };

/* ---- sampling ---- */
static const etk_sampling plain = {.temperature = 1, .top_p = 1, .top_k = 0, .repetition_penalty = 1};

static void fill(float *logits, int64_t vocab, uint64_t stream) {
  etk_rng rng = etk_rng_new(77, stream);
  for (int64_t i = 0; i < vocab; i++) logits[i] = (float)(2 * etk_rng_normal(&rng));
}

/* The distribution that etk_sample should draw from, by sorting probabilities the obvious way. */
static void naive(const float *logits, int vocab, const etk_sampling *s, const int32_t *seen, size_t seen_count, double *p) {
  double l[64];
  int order[64];
  for (int i = 0; i < vocab; i++) {
    bool repeated = false;
    for (size_t j = 0; j < seen_count; j++) repeated |= seen[j] == i;
    l[i] = logits[i];
    if (repeated) l[i] = l[i] < 0 ? l[i] * s->repetition_penalty : l[i] / s->repetition_penalty;
    l[i] /= s->temperature;
    order[i] = i;
  }
  for (int i = 0; i < vocab; i++)
    for (int j = i + 1; j < vocab; j++)
      if (l[order[j]] > l[order[i]] || (l[order[j]] == l[order[i]] && order[j] < order[i])) { int swap = order[i]; order[i] = order[j]; order[j] = swap; }
  int kept = s->top_k > 0 && s->top_k < vocab ? (int)s->top_k : vocab;
  double sum = 0, head = 0;
  for (int i = 0; i < kept; i++) sum += exp(l[order[i]] - l[order[0]]);
  int last = 0;
  for (; last < kept; last++) {
    head += exp(l[order[last]] - l[order[0]]);
    if (head >= s->top_p * sum) break;
  }
  if (last < kept) kept = last + 1;
  sum = 0;
  for (int i = 0; i < kept; i++) sum += exp(l[order[i]] - l[order[0]]);
  for (int i = 0; i < vocab; i++) p[i] = 0;
  for (int i = 0; i < kept; i++) p[order[i]] = exp(l[order[i]] - l[order[0]]) / sum;
}

static void draws_follow_the_naive_distribution(void **state) {
  (void)state;
  enum { VOCAB = 40, DRAWS = 20000 };
  const etk_sampling cases[] = {
      plain,
      {.temperature = 0.5, .top_p = 1, .top_k = 0, .repetition_penalty = 1},
      {.temperature = 2, .top_p = 1, .top_k = 7, .repetition_penalty = 1},
      {.temperature = 1, .top_p = 0.8, .top_k = 0, .repetition_penalty = 1},
      {.temperature = 1.3, .top_p = 0.6, .top_k = 12, .repetition_penalty = 1.5},
      {.temperature = 1, .top_p = 0.95, .top_k = 39, .repetition_penalty = 0.7},
      {.temperature = 1, .top_p = 0.01, .top_k = 0, .repetition_penalty = 1},
      {.temperature = 1, .top_p = 1, .top_k = 1, .repetition_penalty = 1},
  };
  const int32_t seen[] = {3, 3, 17, 39, 3, 0, 25, 17};
  for (size_t c = 0; c < sizeof cases / sizeof *cases; c++) {
    float logits[VOCAB], work[VOCAB];
    etk_candidate scratch[VOCAB];
    double p[VOCAB];
    int counts[VOCAB] = {0}, cells = 0;
    fill(logits, VOCAB, c);
    naive(logits, VOCAB, &cases[c], seen, 8, p);
    etk_rng rng = etk_rng_new(5, 1000 + c);
    for (int i = 0; i < DRAWS; i++) {
      double logprob;
      memcpy(work, logits, sizeof work);
      int32_t id = etk_sample(work, VOCAB, &cases[c], seen, 8, &rng, scratch, &logprob);
      if (id < 0 || id >= VOCAB || p[id] == 0) fail_msg("case %zu: id %d was cut off, yet drawn", c, id);
      counts[id]++;
      /* Logits are float, here after one multiplication: 1e-6 of values below 10. */
      if (!(fabs(logprob - log(p[id])) < 1e-5)) fail_msg("case %zu: id %d has log-probability %g, wanted %g", c, id, logprob, log(p[id]));
    }
    /* Chi-square over cells of at least five expected draws, the rest pooled. Wilson-Hilferty: 5 standard deviations, odds below 1e-6 a case. */
    double chi = 0, rest_expected = 0, rest_seen = 0;
    for (int i = 0; i < VOCAB; i++) {
      double expected = p[i] * DRAWS;
      if (expected < 5) rest_expected += expected, rest_seen += counts[i];
      else chi += (counts[i] - expected) * (counts[i] - expected) / expected, cells++;
    }
    if (rest_expected >= 5) chi += (rest_seen - rest_expected) * (rest_seen - rest_expected) / rest_expected, cells++;
    double freedom = cells - 1, spread = 2 / (9 * freedom), bound = freedom * pow(1 - spread + 5 * sqrt(spread), 3);
    if (cells > 1 && !(chi < bound)) fail_msg("case %zu: chi-square %g over %g degrees of freedom, wanted below %g", c, chi, freedom, bound);
    if (cases[c].top_k == 1 || cases[c].top_p == 0.01) assert_int_equal(cells, 1);
    else assert_true(cells > 3);
  }
}

static void temperature_zero_is_argmax_whatever_else_is_set(void **state) {
  (void)state;
  const etk_sampling cases[] = {
      {.temperature = 0, .top_p = 1, .top_k = 0, .repetition_penalty = 1},
      {.temperature = 0, .top_p = 0.001, .top_k = 0, .repetition_penalty = 1},
      {.temperature = 0, .top_p = 0.5, .top_k = 40, .repetition_penalty = 1},
      {.temperature = 0, .top_p = 1, .top_k = 3, .repetition_penalty = 1},
  };
  for (uint64_t stream = 0; stream < 50; stream++)
    for (size_t c = 0; c < sizeof cases / sizeof *cases; c++) {
      float logits[100], work[100];
      etk_candidate scratch[100];
      fill(logits, 100, stream);
      int32_t best = 0;
      for (int32_t i = 1; i < 100; i++)
        if (logits[i] > logits[best]) best = i;
      memcpy(work, logits, sizeof work);
      etk_rng rng = etk_rng_new(stream, 1);
      double logprob;
      assert_int_equal(etk_sample(work, 100, &cases[c], NULL, 0, &rng, scratch, &logprob), best);
      assert_true(fabs(logprob - log_probability(logits, 100, best)) < 1e-6);
      assert_int_equal(rng.position, 0); /* nothing is drawn */
    }
}

static void ties_go_to_the_smaller_id(void **state) {
  (void)state;
  float logits[300];
  etk_candidate scratch[300];
  etk_sampling greedy = plain, two = plain;
  greedy.temperature = 0;
  two.top_k = 2;
  for (int i = 0; i < 300; i++) logits[i] = i % 7 == 3 ? 4.0f : 1.0f;
  etk_rng rng = etk_rng_new(1, 1);
  assert_int_equal(etk_sample(logits, 300, &greedy, NULL, 0, &rng, scratch, NULL), 3);
  bool third = false, tenth = false;
  for (int i = 0; i < 100; i++) {
    int32_t id = etk_sample(logits, 300, &two, NULL, 0, &rng, scratch, NULL);
    third |= id == 3;
    tenth |= id == 10;
    if (id != 3 && id != 10) fail_msg("top-k 2 of many equals gave %d", id);
  }
  assert_true(third && tenth);
}

static void repetition_penalty_divides_positive_and_multiplies_negative_logits(void **state) {
  (void)state;
  float logits[6] = {4, 3.5f, -1, -2, 0, 1};
  etk_candidate scratch[6];
  etk_sampling s = plain;
  s.temperature = 0;
  s.repetition_penalty = 2;
  const int32_t seen[] = {0, 2, 0, 0, 4, -1, 6, 600}; /* ids that no vocabulary has are passed over */
  etk_rng rng = etk_rng_new(1, 1);
  assert_int_equal(etk_sample(logits, 6, &s, seen, 8, &rng, scratch, NULL), 1);
  const float wanted[6] = {2, 3.5f, -2, -2, 0, 1};
  assert_memory_equal(logits, wanted, sizeof wanted);
}

static void a_token_is_penalised_once_however_far_apart_it_was_seen(void **state) {
  (void)state;
  static int32_t seen[5000];
  float logits[600];
  etk_candidate scratch[600];
  for (int i = 0; i < 600; i++) logits[i] = 1;
  for (int i = 0; i < 5000; i++) seen[i] = i % 599; /* each again after 599 others */
  etk_sampling s = plain;
  s.temperature = 0;
  s.repetition_penalty = 2;
  etk_rng rng = etk_rng_new(1, 1);
  assert_int_equal(etk_sample(logits, 600, &s, seen, 5000, &rng, scratch, NULL), 599);
  for (int i = 0; i < 599; i++) assert_true(logits[i] == 0.5f);
}

static void one_seed_gives_one_sequence(void **state) {
  (void)state;
  float logits[50], work[50];
  etk_candidate scratch[50];
  fill(logits, 50, 1);
  int32_t runs[3][200];
  for (int r = 0; r < 3; r++) {
    etk_rng rng = etk_rng_new(r == 2 ? 9 : 8, 1);
    for (int i = 0; i < 200; i++) {
      memcpy(work, logits, sizeof work);
      runs[r][i] = etk_sample(work, 50, &plain, NULL, 0, &rng, scratch, NULL);
    }
  }
  assert_memory_equal(runs[0], runs[1], sizeof runs[0]);
  assert_memory_not_equal(runs[0], runs[2], sizeof runs[0]);
}

static void extreme_temperatures_and_logits_stay_in_range(void **state) {
  (void)state;
  float logits[200], work[200];
  etk_candidate scratch[200];
  fill(logits, 200, 3);
  int32_t best = 0;
  for (int32_t i = 1; i < 200; i++)
    if (logits[i] > logits[best]) best = i;
  etk_rng rng = etk_rng_new(1, 1);
  etk_sampling s = plain;
  double logprob;
  s.temperature = 1e-300; /* as good as zero, and no overflow */
  assert_int_equal(etk_sample(logits, 200, &s, NULL, 0, &rng, scratch, &logprob), best);
  assert_true(logprob == 0);
  s.temperature = 1e300; /* as good as uniform */
  int high = 0;
  for (int i = 0; i < 1000; i++) high += etk_sample(logits, 200, &s, NULL, 0, &rng, scratch, &logprob) >= 100;
  assert_true(high > 400 && high < 600); /* 500 with a deviation of 16: more than six of them */
  assert_true(fabs(logprob + log(200)) < 1e-9);
  const float odd[] = {NAN, INFINITY, -INFINITY};
  const etk_sampling kinds[] = {plain, {.temperature = 0, .top_p = 1, .repetition_penalty = 1}, {.temperature = 1, .top_p = 0.5, .top_k = 10, .repetition_penalty = 1.2}};
  const int32_t seen[] = {1, 2, 3};
  for (int o = 0; o < 3; o++) /* ids must stay ids, whatever a broken model gives */
    for (int every = 1; every < 200; every += 13)
      for (int k = 0; k < 3; k++) {
        for (int i = 0; i < 200; i++) work[i] = i % every == 0 ? odd[o] : logits[i];
        int32_t id = etk_sample(work, 200, &kinds[k], seen, 3, &rng, scratch, &logprob);
        assert_in_range(id, 0, 199);
      }
}

/* ---- generation ---- */
struct golden {
  json_t *root;
  etk_model *model;
  etk_tokenizer *tokenizer;
};
static struct golden open_golden(void) {
  char *path = shared_or_skip("models/stories260K/stories260K.bin");
  struct golden g = {.model = open_model(path), .root = load_json("tests/goldens/stories260k.json")};
  works(etk_model_tokenizer(e, &g.tokenizer, g.model));
  return g;
}
static void close_golden(struct golden *g) {
  etk_tokenizer_free(g->tokenizer);
  etk_model_unref(g->model);
  json_decref(g->root);
}
static etk_generate_options greedy_options(int64_t tokens) {
  return (etk_generate_options){.sampling = {.temperature = 0, .top_p = 1, .repetition_penalty = 1}, .max_tokens = tokens};
}

static bool add_logprob(void *user, int32_t id, double logprob) {
  (void)id;
  *(double *)user += logprob;
  return true;
}

static void greedy_texts_equal_those_of_llama2c(void **state) {
  (void)state;
  struct golden g = open_golden();
  etk_generator *generator = NULL;
  works(etk_generator_new(e, &generator, g.model, NULL, 0));
  size_t index;
  json_t *item;
  json_array_foreach(json_object_get(g.root, "cases"), index, item) {
    int32_t prompt[64], wanted[256];
    size_t prompt_count = json_ids(json_object_get(item, "prompt_ids"), prompt, 64), count = json_ids(json_object_get(item, "ids"), wanted, 256);
    size_t story = (size_t)json_integer_value(json_object_get(item, "story_tokens"));
    assert_int_equal(count, 200);
    assert_true(json_number_value(json_object_get(item, "margin")) > 1e-3); /* two orders above what float rounding does to a logit */
    const char *text = json_string_value(json_object_get(item, "prompt"));
    etk_ids ids = ETK_IDS_INIT;
    etk_encode_options encode = {.special = true};
    works(etk_tokenizer_encode(e, g.tokenizer, &ids, text, strlen(text), &encode));
    assert_int_equal(ids.count, prompt_count);
    assert_memory_equal(ids.items, prompt, prompt_count * sizeof *prompt);
    double logprob = 0;
    etk_generate_options options = greedy_options(200);
    options.ignore_eos = true;
    options.token = add_logprob;
    options.user = &logprob;
    etk_generation out;
    works(etk_generate(e, generator, prompt, prompt_count, &options, &out));
    assert_int_equal(out.ids.count, 200);
    assert_memory_equal(out.ids.items, wanted, sizeof *wanted * 200);
    assert_int_equal(out.stop, ETK_STOP_LENGTH);
    /* 200 float log-probabilities against double ones, each off by about 1e-6 */
    if (!(fabs(logprob - json_number_value(json_object_get(item, "logprob"))) < 1e-3)) fail_msg("log-probability of the text: %.9g, wanted %.9g", logprob, json_number_value(json_object_get(item, "logprob")));
    print_message("\"%s\": log-probability of 200 tokens off by %.2g\n", text, fabs(logprob - json_number_value(json_object_get(item, "logprob"))));
    etk_ids_free(&out.ids);
    /* Text: the decoder sees the prompt's last token first, because a space after the beginning is stripped. */
    etk_decoder *decoder = NULL;
    const char *bytes;
    size_t size;
    char seen[4096] = "";
    works(etk_decoder_new(e, &decoder, g.tokenizer, true));
    works(etk_decoder_push(e, decoder, prompt[prompt_count - 1], &bytes, &size));
    for (size_t i = 0; i <= story; i++) {
      works(etk_decoder_push(e, decoder, i < story ? wanted[i] : -1, &bytes, &size));
      snprintf(seen + strlen(seen), sizeof seen - strlen(seen), "%.*s", (int)size, bytes);
    }
    assert_string_equal(seen, json_string_value(json_object_get(item, "text")));
    etk_decoder_free(decoder);
    /* Without ignore_eos a story ends where llama2.c ends it. */
    options.ignore_eos = false;
    works(etk_generate(e, generator, prompt, prompt_count, &options, &out));
    assert_int_equal(out.ids.count, story);
    assert_int_equal(out.stop, story < 200 ? ETK_STOP_EOS : ETK_STOP_LENGTH);
    etk_ids_free(&out.ids);
    etk_ids_free(&ids);
  }
  assert_int_equal(index, 4);
  etk_generator_free(generator);
  close_golden(&g);
}

static void an_empty_prompt_starts_from_the_beginning_token(void **state) {
  (void)state;
  struct golden g = open_golden();
  etk_generator *generator = NULL;
  works(etk_generator_new(e, &generator, g.model, NULL, 64));
  etk_generate_options options = greedy_options(20);
  etk_generation empty, begun;
  const int32_t bos = 1;
  works(etk_generate(e, generator, NULL, 0, &options, &empty));
  works(etk_generate(e, generator, &bos, 1, &options, &begun));
  assert_int_equal(empty.prompt_tokens, 1);
  assert_int_equal(empty.ids.count, 20);
  assert_memory_equal(empty.ids.items, begun.ids.items, 20 * sizeof *begun.ids.items);
  etk_ids_free(&empty.ids);
  etk_ids_free(&begun.ids);
  etk_generator_free(generator);
  close_golden(&g);
}

static etk_model *tiny_model(int32_t bos) {
  etk_model_config config = {.architecture = "llama", .vocab_size = 24, .hidden_size = 16, .intermediate_size = 20, .num_hidden_layers = 2, .num_attention_heads = 4,
                             .num_key_value_heads = 2, .head_dim = 4, .max_position_embeddings = 400, .rms_norm_eps = 1e-5, .rope_theta = 10000, .bos_token_id = bos,
                             .eos_token_ids = {2}, .eos_count = 1};
  etk_model *model = NULL;
  works(etk_model_new(e, &model, &config, 3));
  for (size_t i = 0; i < etk_model_weight_count(model); i++) {
    etk_tensor *t = etk_model_weight_at(model, i);
    for (int64_t j = 0; etk_tensor_shape(t)->rank == 2 && j < etk_tensor_elements(t); j++) ((float *)etk_tensor_data(t))[j] *= 12;
  }
  return model;
}

static void prompts_that_cannot_be_are_refused(void **state) {
  (void)state;
  etk_model *model = tiny_model(-1);
  etk_generator *generator = NULL;
  works(etk_generator_new(e, &generator, model, NULL, 8));
  etk_generate_options options = greedy_options(4);
  etk_generation out;
  const int32_t negative[] = {1, -1}, large[] = {1, 3, 24}, nine[9] = {1, 1, 1, 1, 1, 1, 1, 1, 1};
  fails_with(ETK_E_INVALID, "no beginning-of-sequence token", etk_generate(e, generator, NULL, 0, &options, &out));
  fails_with(ETK_E_INVALID, "token 1 of the prompt is -1", etk_generate(e, generator, negative, 2, &options, &out));
  fails_with(ETK_E_INVALID, "token 2 of the prompt is 24, the model's ids end at 23", etk_generate(e, generator, large, 3, &options, &out));
  fails_with(ETK_E_INVALID, "9 tokens, 8 fit", etk_generate(e, generator, nine, 9, &options, &out));
  assert_null(out.ids.items);
  etk_generator_free(generator);
  etk_model_unref(model);
  model = tiny_model(24); /* a beginning that the vocabulary lacks */
  works(etk_generator_new(e, &generator, model, NULL, 8));
  fails_with(ETK_E_INVALID, "token 0 of the prompt is 24", etk_generate(e, generator, NULL, 0, &options, &out));
  etk_generator_free(generator);
  etk_model_unref(model);
}

static void capacity_bounds_prompt_and_answer(void **state) {
  (void)state;
  etk_model *model = tiny_model(1);
  const int32_t prompt[] = {1, 5, 9};
  for (int64_t capacity = 3; capacity <= 40; capacity += 5) {
    etk_generator *generator = NULL;
    works(etk_generator_new(e, &generator, model, NULL, capacity));
    etk_generate_options options = greedy_options(1000);
    options.ignore_eos = true;
    etk_generation out;
    works(etk_generate(e, generator, prompt, 3, &options, &out));
    /* The last token needs no place of its own: nothing follows it. */
    assert_int_equal(out.ids.count, capacity - 3 + 1);
    assert_int_equal(out.stop, ETK_STOP_LENGTH);
    etk_ids_free(&out.ids);
    etk_generator_free(generator);
  }
  etk_generator *generator = NULL;
  works(etk_generator_new(e, &generator, model, NULL, 1 << 20)); /* no more than the model's context */
  etk_generate_options options = greedy_options(1000);
  options.ignore_eos = true;
  etk_generation out;
  works(etk_generate(e, generator, prompt, 3, &options, &out));
  assert_int_equal(out.ids.count, 400 - 3 + 1);
  etk_ids_free(&out.ids);
  etk_generator_free(generator);
  etk_model_unref(model);
}

static void prompts_of_any_length_go_on_as_a_plain_forward_pass_does(void **state) {
  (void)state;
  etk_model *model = tiny_model(1);
  etk_generator *generator = NULL;
  works(etk_generator_new(e, &generator, model, NULL, 0));
  int32_t prompt[300];
  static float logits[300 * 24];
  for (int i = 0; i < 300; i++) prompt[i] = (i * i + 7 * i) % 24;
  const size_t lengths[] = {1, 2, 15, 16, 17, 32, 33, 127, 128, 129, 144, 145, 256, 257, 300}; /* around the widths of the recorded steps */
  forward_plain(model, NULL, prompt, 300, logits);
  for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
    const float *row = logits + (lengths[i] - 1) * 24;
    int32_t best = 0;
    for (int32_t id = 1; id < 24; id++)
      if (row[id] > row[best]) best = id;
    double logprob = 0;
    etk_generate_options options = greedy_options(1);
    options.ignore_eos = true;
    options.token = add_logprob;
    options.user = &logprob;
    etk_generation out;
    works(etk_generate(e, generator, prompt, lengths[i], &options, &out));
    assert_int_equal(out.ids.count, 1);
    assert_int_equal(out.ids.items[0], best);
    assert_int_equal(out.prompt_tokens, lengths[i]);
    if (!(fabs(logprob - log_probability(row, 24, best)) < 1e-5)) fail_msg("%zu tokens: %g, plain %g", lengths[i], logprob, log_probability(row, 24, best)); /* float rounding */
    etk_ids_free(&out.ids);
  }
  etk_generator_free(generator);
  etk_model_unref(model);
}

static bool stop_after_three(void *user, int32_t id, double logprob) {
  (void)id;
  (void)logprob;
  return ++*(int *)user < 3;
}
static void the_callback_stops_without_an_error(void **state) {
  (void)state;
  etk_model *model = tiny_model(1);
  etk_generator *generator = NULL;
  works(etk_generator_new(e, &generator, model, NULL, 0));
  int calls = 0;
  etk_generate_options options = greedy_options(50);
  options.ignore_eos = true;
  options.token = stop_after_three;
  options.user = &calls;
  etk_generation out;
  works(etk_generate(e, generator, NULL, 0, &options, &out));
  assert_int_equal(out.stop, ETK_STOP_CALLBACK);
  assert_int_equal(out.ids.count, 3);
  etk_ids_free(&out.ids);
  etk_generator_free(generator);
  etk_model_unref(model);
}

static void a_generator_can_be_used_again_and_seeds_decide(void **state) {
  (void)state;
  etk_model *model = tiny_model(1);
  etk_generator *generator = NULL;
  works(etk_generator_new(e, &generator, model, NULL, 100));
  etk_generation out[4];
  const int32_t other[] = {4, 4, 8};
  for (int i = 0; i < 4; i++) {
    etk_generate_options options = {.sampling = plain, .max_tokens = 60, .ignore_eos = true, .seed = i == 3 ? 2 : 1};
    works(etk_generate(e, generator, i == 1 ? other : NULL, i == 1 ? 3 : 0, &options, &out[i]));
  }
  assert_memory_equal(out[0].ids.items, out[2].ids.items, 60 * sizeof(int32_t)); /* nothing of the run between is left in the cache */
  assert_memory_not_equal(out[0].ids.items, out[3].ids.items, 60 * sizeof(int32_t));
  for (int i = 0; i < 4; i++) etk_ids_free(&out[i].ids);
  etk_generator_free(generator);
  etk_model_unref(model);
}

static void a_hundred_tokens_are_made_without_an_allocation(void **state) {
  (void)state;
  struct golden g = open_golden();
  etk_generator *generator = NULL;
  works(etk_generator_new(e, &generator, g.model, NULL, 0));
  etk_generate_options options = {.sampling = {.temperature = 0.8, .top_p = 0.9, .top_k = 0, .repetition_penalty = 1.1}, .max_tokens = 120, .ignore_eos = true};
  struct etk_alloc_stats at[2];
  etk_generation out;
  works(etk_generate(e, generator, NULL, 0, &options, &out)); /* warm-up */
  etk_ids_free(&out.ids);
  for (int run = 0; run < 2; run++) { /* 20 tokens and 120: the difference is a hundred tokens */
    options.max_tokens = run ? 120 : 20;
    at[run] = etk_alloc_get_stats();
    works(etk_generate(e, generator, NULL, 0, &options, &out));
    etk_alloc_stats after = etk_alloc_get_stats();
    at[run].calls = after.calls - at[run].calls;
    etk_ids_free(&out.ids);
  }
  /* Only the list of ids grows: it is the caller's, and doubles. */
  if (at[1].calls - at[0].calls > 3) fail_msg("%llu allocations for 20 tokens, %llu for 120", (unsigned long long)at[0].calls, (unsigned long long)at[1].calls);
  assert_true(at[0].calls <= 3);
  etk_generator_free(generator);
  close_golden(&g);
}

/* A prompt's graphs are counted before they run, and running it adds nothing to the plan. */
static void a_plan_holds_weights_cache_and_the_graphs_a_prompt_will_need(void **state) {
  (void)state;
  etk_model *model = tiny_model(1);
  const int64_t prompts[] = {1, 7, 300};
  size_t planned[3], again;
  int32_t ids[300];
  for (int i = 0; i < 300; i++) ids[i] = i % 20;
  etk_generator *generator = NULL;
  works(etk_generator_new(e, &generator, model, NULL, 0));
  for (int i = 0; i < 3; i++) {
    works(etk_generator_plan(e, generator, prompts[i], 0, &planned[i]));
    assert_true(planned[i] > (i ? planned[i - 1] : etk_model_bytes(model))); /* wider graphs */
  }
  etk_generate_options options = greedy_options(5);
  etk_generation out;
  works(etk_generate(e, generator, ids, 300, &options, &out));
  etk_ids_free(&out.ids);
  works(etk_generator_plan(e, generator, 300, 0, &again));
  assert_int_equal(again, planned[2]);
  etk_generator_free(generator);
  etk_model_unref(model);
}

static void broken_weights_are_an_error_not_a_token(void **state) {
  (void)state;
  etk_model *model = tiny_model(1);
  ((float *)etk_tensor_data(etk_model_weight(model, "model.norm.weight")))[3] = NAN;
  etk_generator *generator = NULL;
  works(etk_generator_new(e, &generator, model, NULL, 16));
  for (int sampled = 0; sampled < 2; sampled++) {
    etk_generate_options options = greedy_options(4);
    options.sampling.temperature = sampled;
    etk_generation out;
    fails_with(ETK_E_INVALID, "infinities or NaN", etk_generate(e, generator, NULL, 0, &options, &out));
    assert_null(out.ids.items);
  }
  etk_generator_free(generator);
  etk_model_unref(model);
}

static void generating_survives_every_failing_allocation(void **state) {
  (void)state;
  etk_model *model = tiny_model(1);
  const int32_t prompt[20] = {1};
  starvation s = {.opens = true};
  float logits[24];
  forward_plain(model, NULL, prompt, 1, logits); /* weights have their products now: without memory for one they are decoded, which is no failure */
  while (starve(&s)) {
    etk_generator *generator = NULL;
    etk_error error = ETK_ERROR_INIT;
    etk_generate_options options = greedy_options(4);
    etk_generation out = {0};
    etk_status status = etk_generator_new(&error, &generator, model, NULL, 64);
    if (!status) status = etk_generate(&error, generator, prompt, 20, &options, &out);
    etk_ids_free(&out.ids);
    etk_generator_free(generator);
    starved(&s, status, &error);
  }
  assert_true(s.nth > 20);
  etk_model_unref(model);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(draws_follow_the_naive_distribution),
      cmocka_unit_test(temperature_zero_is_argmax_whatever_else_is_set),
      cmocka_unit_test(ties_go_to_the_smaller_id),
      cmocka_unit_test(repetition_penalty_divides_positive_and_multiplies_negative_logits),
      cmocka_unit_test(a_token_is_penalised_once_however_far_apart_it_was_seen),
      cmocka_unit_test(one_seed_gives_one_sequence),
      cmocka_unit_test(extreme_temperatures_and_logits_stay_in_range),
      cmocka_unit_test(greedy_texts_equal_those_of_llama2c),
      cmocka_unit_test(an_empty_prompt_starts_from_the_beginning_token),
      cmocka_unit_test(prompts_that_cannot_be_are_refused),
      cmocka_unit_test(capacity_bounds_prompt_and_answer),
      cmocka_unit_test(prompts_of_any_length_go_on_as_a_plain_forward_pass_does),
      cmocka_unit_test(the_callback_stops_without_an_error),
      cmocka_unit_test(a_generator_can_be_used_again_and_seeds_decide),
      cmocka_unit_test(a_hundred_tokens_are_made_without_an_allocation),
      cmocka_unit_test(a_plan_holds_weights_cache_and_the_graphs_a_prompt_will_need),
      cmocka_unit_test(broken_weights_are_an_error_not_a_token),
      cmocka_unit_test(generating_survives_every_failing_allocation),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
