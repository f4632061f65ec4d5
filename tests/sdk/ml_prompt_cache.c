/* Prompts that are kept: what comes out of a file is what the generator that wrote it held, and no other file is taken for it. */
#include "ml_speculate.h"
#include "../starve.h"

#include <errno.h>

#include "ml/generate/internal.h"

enum { PREFIX = 150, LONGER = 170 };
static void put_prompt(int32_t *ids, int64_t vocab, int64_t count) {
  for (int64_t i = 0; i < count; i++) ids[i] = (int32_t)((i * i + 7 * i) % (vocab - 3)) + 3;
}
static etk_generate_options reusing(int64_t tokens) {
  etk_generate_options options = greedy_options(tokens);
  options.reuse = true;
  return options;
}
static char *cache_path(void **state) { return path_of("%s/prompt.safetensors", (const char *)*state); }

/* Keeps a prompt, takes it into another generator, and goes on with a longer one there and where it was made: the same bits. */
static void keep_and_go_on(void **state, const char *what, const etk_model *model, const etk_adapter *adapter, int64_t prefix, int64_t longer) {
  etk_generator *maker = NULL, *taker = NULL, *fresh = NULL;
  int32_t ids[LONGER];
  put_prompt(ids, etk_model_get_config(model)->vocab_size, longer);
  works(etk_generator_new(e, &maker, model, adapter, 0));
  works(etk_generator_new(e, &taker, model, adapter, 0));
  works(etk_generator_new(e, &fresh, model, adapter, 0));
  struct text first = text_of(maker, ids, (size_t)prefix, greedy_options(20));
  works(etk_generator_save(e, maker, cache_path(state), prefix));
  works(etk_generator_load(e, taker, cache_path(state)));
  assert_int_equal(etk_generator_held(taker), prefix);
  struct text once_more = text_of(maker, ids, (size_t)prefix, greedy_options(1)); /* without an answer that might be what follows */
  struct text held = text_of(maker, ids, (size_t)longer, reusing(20)), taken = text_of(taker, ids, (size_t)longer, reusing(20)), whole = text_of(fresh, ids, (size_t)longer, greedy_options(20));
  assert_int_equal(taken.made.reused_tokens, prefix);
  assert_int_equal(held.made.reused_tokens, prefix);
  same_text(what, &held, &taken);
  assert_int_equal(whole.made.reused_tokens, 0);
  /* The prompt's pieces differ, and sums with them by some 1e-7. Where products round x to 8 bits or BF16 that can grow to what changes a random model's token. */
  bool fine = etk_tensor_dtype(etk_model_weight_at(model, 0)) == ETK_F32;
  if (fine) assert_memory_equal(whole.made.ids.items, taken.made.ids.items, 20 * sizeof *ids);
  works(etk_generator_load(e, taker, cache_path(state))); /* the prompt itself once more: all but its last token is there */
  struct text again = text_of(taker, ids, (size_t)prefix, reusing(20));
  assert_int_equal(again.made.reused_tokens, prefix - 1);
  if (fine) assert_memory_equal(again.made.ids.items, first.made.ids.items, 20 * sizeof *ids);
  etk_ids_free(&first.made.ids);
  etk_ids_free(&once_more.made.ids);
  etk_ids_free(&held.made.ids);
  etk_ids_free(&taken.made.ids);
  etk_ids_free(&whole.made.ids);
  etk_ids_free(&again.made.ids);
  etk_generator_free(maker);
  etk_generator_free(taker);
  etk_generator_free(fresh);
}

static void a_kept_prompt_goes_on_as_if_it_had_never_left_memory(void **state) {
  for (int cache = 0; cache < CACHES; cache++) {
    setenv("ETK_CACHE", caches[cache], 1);
    for (int i = 0; i < (cache == CODES ? 2 : TYPES); i++) {
      etk_model *model = typed_model(state, types[i]);
      keep_and_go_on(state, types[i], model, NULL, PREFIX, LONGER);
      etk_model_unref(model);
    }
    for (int i = 0; i < FAMILIES && cache != CODES; i++) { /* whose heads are too small for codes */
      etk_model *model = family_model(i);
      const etk_model_config *c = etk_model_get_config(model);
      if (strstr(families[i], "phi3-")) keep_and_go_on(state, families[i], model, NULL, (int64_t)c->rope_original_positions + 3, (int64_t)c->rope_original_positions + 9);
      else keep_and_go_on(state, families[i], model, NULL, 37, 44); /* windows are of 8 or so */
      etk_model_unref(model);
    }
  }
  unsetenv("ETK_CACHE");
}

static void longrope_takes_only_keys_of_the_same_factors(void **state) {
  etk_model *model = open_model("tests/goldens/models_ref/phi3-longrope");
  int64_t original = (int64_t)etk_model_get_config(model)->rope_original_positions;
  etk_generator *gen = generator_of(model), *fresh = generator_of(model);
  int32_t ids[LONGER];
  put_prompt(ids, etk_model_get_config(model)->vocab_size, LONGER);
  const int64_t made[] = {original - 4, original + 6}, asked[] = {original + 2, original - 6};
  for (int i = 0; i < 2; i++) { /* short factors kept and long ones wanted, and the other way round */
    struct text text = text_of(gen, ids, (size_t)made[i], greedy_options(1));
    etk_ids_free(&text.made.ids);
    works(etk_generator_save(e, gen, cache_path(state), 0));
    works(etk_generator_load(e, gen, cache_path(state)));
    struct text other = text_of(gen, ids, (size_t)asked[i], reusing(12)), whole = text_of(fresh, ids, (size_t)asked[i], greedy_options(12));
    assert_int_equal(other.made.reused_tokens, 0);
    same_text("other factors", &whole, &other);
    etk_ids_free(&other.made.ids);
    etk_ids_free(&whole.made.ids);
  }
  etk_generator_free(gen);
  etk_generator_free(fresh);
  etk_model_unref(model);
}

static void the_longest_common_beginning_is_taken(void **state) {
  etk_model *model = random_model(24, 16, 2, 3, 12);
  etk_generator *gen = generator_of(model), *fresh = generator_of(model);
  int32_t ids[LONGER], other[LONGER];
  put_prompt(ids, 24, LONGER);
  struct text text = text_of(gen, ids, PREFIX, greedy_options(9));
  works(etk_generator_save(e, gen, cache_path(state), 0)); /* all, the answer too */
  const int64_t commons[] = {0, 1, 15, 16, 17, 149};
  for (size_t i = 0; i < sizeof commons / sizeof *commons; i++) {
    memcpy(other, ids, sizeof ids);
    other[commons[i]] ^= 1;
    works(etk_generator_load(e, gen, cache_path(state)));
    assert_int_equal(etk_generator_held(gen), PREFIX + 8);
    struct text taken = text_of(gen, other, LONGER, reusing(9)), whole = text_of(fresh, other, LONGER, greedy_options(9));
    assert_int_equal(taken.made.reused_tokens, commons[i]);
    assert_memory_equal(taken.made.ids.items, whole.made.ids.items, 9 * sizeof *ids);
    etk_ids_free(&taken.made.ids);
    etk_ids_free(&whole.made.ids);
  }
  memcpy(ids + PREFIX, text.made.ids.items, 9 * sizeof *ids); /* a second turn: the answer stood in the file */
  works(etk_generator_load(e, gen, cache_path(state)));
  struct text turn = text_of(gen, ids, PREFIX + 9, reusing(5));
  assert_int_equal(turn.made.reused_tokens, PREFIX + 8);
  etk_ids_free(&turn.made.ids);
  etk_ids_free(&text.made.ids);
  etk_generator_free(gen);
  etk_generator_free(fresh);
  etk_model_unref(model);
}

static void a_smaller_context_takes_what_fits(void **state) {
  etk_model *model = random_model(24, 16, 2, 3, 12);
  etk_generator *gen = generator_of(model), *small = NULL;
  int32_t ids[LONGER];
  put_prompt(ids, 24, LONGER);
  struct text text = text_of(gen, ids, PREFIX, greedy_options(1));
  works(etk_generator_save(e, gen, cache_path(state), 0));
  for (int64_t capacity = 30; capacity < 36; capacity++) {
    works(etk_generator_new(e, &small, model, NULL, capacity));
    works(etk_generator_load(e, small, cache_path(state)));
    assert_int_equal(etk_generator_held(small), capacity);
    struct text taken = text_of(small, ids, 25, reusing(5)), whole = text_of(gen, ids, 25, greedy_options(5));
    assert_int_equal(taken.made.reused_tokens, 24);
    assert_memory_equal(taken.made.ids.items, whole.made.ids.items, 5 * sizeof *ids);
    etk_ids_free(&taken.made.ids);
    etk_ids_free(&whole.made.ids);
    etk_generator_free(small);
  }
  etk_ids_free(&text.made.ids);
  etk_generator_free(gen);
  etk_model_unref(model);
}

static void one_prompt_is_one_file_whatever_was_there_before(void **state) {
  etk_model *model = random_model(24, 16, 2, 3, 12);
  etk_generator *gen = generator_of(model);
  int32_t ids[LONGER], noise[LONGER] = {5, 6};
  put_prompt(ids, 24, LONGER);
  char *bytes[2];
  size_t sizes[2];
  for (int i = 0; i < 2; i++) {
    struct text before = text_of(gen, noise, i ? LONGER : 1, greedy_options(3)), text = text_of(gen, ids, 21, greedy_options(i ? 1 : 15));
    works(etk_generator_save(e, gen, cache_path(state), 21));
    works(etk_fs_read(e, &bytes[i], &sizes[i], cache_path(state), 1 << 20));
    etk_ids_free(&before.made.ids);
    etk_ids_free(&text.made.ids);
  }
  assert_int_equal(sizes[0], sizes[1]);
  assert_memory_equal(bytes[0], bytes[1], sizes[0]);
  etk_free(bytes[0]);
  etk_free(bytes[1]);
  etk_generator_free(gen);
  etk_model_unref(model);
}

/* ---- files that are not it ---- */

/* A generator with 21 tokens of its own in the file. */
static etk_generator *kept(void **state, const etk_model *model) {
  etk_generator *gen = generator_of(model);
  int32_t ids[LONGER];
  put_prompt(ids, 24, LONGER);
  struct text text = text_of(gen, ids, 21, greedy_options(1));
  works(etk_generator_save(e, gen, cache_path(state), 0));
  etk_ids_free(&text.made.ids);
  return gen;
}
static void refuses(void **state, const etk_model *model, const etk_adapter *adapter, etk_status wanted, const char *part) {
  etk_generator *gen = NULL;
  works(etk_generator_new(e, &gen, model, adapter, 0));
  fails_with(wanted, part, etk_generator_load(e, gen, cache_path(state)));
  fails_with(wanted, cache_path(state), etk_generator_load(e, gen, cache_path(state)));
  assert_int_equal(etk_generator_held(gen), 0);
  etk_generator_free(gen);
}

static void files_of_others_are_refused_by_name(void **state) {
  etk_model *model = random_model(24, 16, 2, 3, 12), *weights = random_model(24, 16, 2, 4, 12), *shape = random_model(24, 16, 1, 3, 12);
  etk_adapter *adapter = NULL;
  const char *targets[] = {"q_proj"};
  works(etk_adapter_new(e, &adapter, model, &(etk_lora_options){.rank = 2, .alpha = 4, .target_modules = targets, .target_count = 1}, 1));
  etk_generator *gen = generator_of(model);
  remove(cache_path(state));
  fails_with(ETK_E_NOT_FOUND, cache_path(state), etk_generator_load(e, gen, cache_path(state)));
  fails_with(ETK_E_INVALID, "no prompt to keep yet", etk_generator_save(e, gen, cache_path(state), 0));
  etk_generator_free(gen);
  etk_generator_free(kept(state, model));
  refuses(state, weights, NULL, ETK_E_INVALID, "the prompt cache of another model");
  refuses(state, shape, NULL, ETK_E_INVALID, "the prompt cache of another model");
  refuses(state, model, adapter, ETK_E_INVALID, "the prompt cache of another adapter");
  setenv("ETK_CACHE", "f16", 1);
  refuses(state, model, NULL, ETK_E_INVALID, "is of F32, this run's cache of F16");
  unsetenv("ETK_CACHE");
  *(float *)etk_tensor_data(etk_model_weight(model, "model.norm.weight")) += 0.5f; /* the same model, trained on */
  refuses(state, model, NULL, ETK_E_INVALID, "the prompt cache of another model");
  etk_tensor *tensor = NULL;
  works(etk_tensor_new(e, &tensor, ETK_F32, etk_shape_of(1, 4)));
  works(etk_safetensors_write(e, cache_path(state), &(etk_safetensors_item){"keys", tensor, ETK_F32}, 1, NULL, 0, true));
  refuses(state, model, NULL, ETK_E_FORMAT, "this safetensors file is no prompt cache");
  write_text(cache_path(state), "");
  refuses(state, model, NULL, ETK_E_FORMAT, "too few");
  etk_tensor_unref(tensor);
  etk_adapter_free(adapter);
  etk_model_unref(model);
  etk_model_unref(weights);
  etk_model_unref(shape);
}

/* From memory: a file system would take most of the time. */
static etk_status load_bytes(etk_error *e, etk_generator *gen, const void *bytes, size_t size) {
  etk_safetensors *file;
  etk__generator_trim(gen, 0);
  etk_status status = etk_safetensors_parse(e, &file, "prompt.safetensors", bytes, size);
  if (status) return status;
  status = etk__generator_take(e, gen, file, "prompt.safetensors");
  etk_safetensors_close(file);
  return status;
}

static void a_file_that_was_cut_or_changed_anywhere_is_refused(void **state) {
  etk_model *model = random_model(24, 8, 1, 3, 12);
  etk_generator *gen = kept(state, model);
  char *bytes = NULL;
  size_t size = 0;
  works(etk_fs_read(e, &bytes, &size, cache_path(state), 1 << 20));
  for (size_t i = 0; i < size; i += 1 + (i > 1024 ? 7 : 0)) {
    etk_error error = ETK_ERROR_INIT;
    etk_status status = load_bytes(&error, gen, bytes, i);
    if (status != ETK_E_FORMAT || !strstr(error.message, "prompt.safetensors")) fail_msg("cut at %zu: %s (%s)", i, etk_status_name(status), error.message);
    assert_int_equal(etk_generator_held(gen), 0);
  }
  const char *free_text = strstr(bytes + 8, "\"llama\"");
  assert_non_null(free_text); /* the family's name is there for people */
  int passed = 0;
  for (size_t i = 0; i < size; i += 1 + (i > 1024 ? 3 : 0)) {
    etk_error error = ETK_ERROR_INIT;
    bytes[i] ^= 1;
    etk_status status = load_bytes(&error, gen, bytes, size);
    bytes[i] ^= 1;
    bool is_free = i > (size_t)(free_text - bytes) && i < (size_t)(free_text - bytes) + 6;
    bool is_key = strstr(bytes + 8, "architecture") && i >= (size_t)(strstr(bytes + 8, "architecture") - bytes) && i < (size_t)(strstr(bytes + 8, "architecture") - bytes) + 12;
    if (!status && !is_free && !is_key && bytes[i] != ' ') fail_msg("byte %zu of %zu ('%c') was changed, and nobody said so", i, size, bytes[i]);
    if (status && !error.message[0]) fail_msg("byte %zu: %s without a word", i, etk_status_name(status));
    passed += !status;
  }
  assert_true(passed < 30);
  works(load_bytes(e, gen, bytes, size));
  copy_file(cache_path(state), cache_path(state), -1);
  fails_with(ETK_E_FORMAT, cache_path(state), etk_generator_load(e, gen, cache_path(state)));
  etk_free(bytes);
  etk_generator_free(gen);
  etk_model_unref(model);
}

/* ---- memory and disk ---- */

static int full_after;
static int disk_full(void *user, size_t size) {
  (void)user;
  (void)size;
  return full_after-- > 0 ? 0 : ENOSPC;
}

static void a_full_disk_leaves_the_older_file_as_it_was(void **state) {
  etk_model *model = random_model(24, 16, 2, 3, 12);
  etk_generator *gen = kept(state, model);
  char *before = NULL, *after = NULL;
  size_t size, again;
  works(etk_fs_read(e, &before, &size, cache_path(state), 1 << 20));
  int32_t ids[LONGER];
  put_prompt(ids, 24, LONGER);
  struct text text = text_of(gen, ids, LONGER, greedy_options(1));
  int failed = 0;
  for (int n = 0; n < 50; n++) {
    etk_error error = ETK_ERROR_INIT;
    full_after = n;
    etk_fs_set_write_hook(disk_full, NULL);
    etk_status status = etk_generator_save(&error, gen, cache_path(state), 0);
    etk_fs_set_write_hook(NULL, NULL);
    if (!status) break;
    failed++;
    if (status != ETK_E_NO_SPACE || !strstr(error.message, "prompt.safetensors")) fail_msg("write %d: %s (%s)", n, etk_status_name(status), error.message);
    works(etk_fs_read(e, &after, &again, cache_path(state), 1 << 20));
    assert_int_equal(size, again);
    assert_memory_equal(before, after, size);
    etk_free(after);
  }
  assert_true(failed > 0 && failed < 50);
  works(etk_generator_load(e, gen, cache_path(state)));
  assert_int_equal(etk_generator_held(gen), LONGER);
  char **names;
  size_t count;
  works(etk_fs_list(e, &names, &count, *state));
  for (size_t i = 0; i < count; i++) assert_null(strstr(names[i], ".tmp-"));
  etk_fs_list_free(names, count);
  etk_ids_free(&text.made.ids);
  etk_free(before);
  etk_generator_free(gen);
  etk_model_unref(model);
}

static void keeping_and_taking_survive_every_failing_allocation(void **state) {
  etk_model *model = random_model(24, 16, 1, 3, 12);
  etk_generator *gen = kept(state, model);
  starvation s = {.opens = true};
  while (starve(&s)) {
    etk_error error = ETK_ERROR_INIT;
    bool saved = false;
    etk_status status = etk_generator_save(&error, gen, cache_path(state), 0);
    if (!status) {
      saved = true;
      status = etk_generator_load(&error, gen, cache_path(state));
    }
    starved(&s, status, &error);
    assert_int_equal(etk_generator_held(gen), status && saved ? 0 : 21);
    if (!etk_generator_held(gen)) works(etk_generator_load(e, gen, cache_path(state)));
  }
  assert_true(s.nth > 20);
  etk_generator_free(gen);
  etk_model_unref(model);
}

#define IN_A_FOLDER(test) cmocka_unit_test_setup_teardown(test, make_folder, remove_folder)
int main(void) {
  const struct CMUnitTest tests[] = {
      IN_A_FOLDER(a_kept_prompt_goes_on_as_if_it_had_never_left_memory),
      IN_A_FOLDER(longrope_takes_only_keys_of_the_same_factors),
      IN_A_FOLDER(the_longest_common_beginning_is_taken),
      IN_A_FOLDER(a_smaller_context_takes_what_fits),
      IN_A_FOLDER(one_prompt_is_one_file_whatever_was_there_before),
      IN_A_FOLDER(files_of_others_are_refused_by_name),
      IN_A_FOLDER(a_file_that_was_cut_or_changed_anywhere_is_refused),
      IN_A_FOLDER(a_full_disk_leaves_the_older_file_as_it_was),
      IN_A_FOLDER(keeping_and_taking_survive_every_failing_allocation),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
