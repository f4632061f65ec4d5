/* Which type each tensor of a GGUF file gets: as llama.cpp's llama_model_quantize chose for the same tensors (tests/goldens/mixes.txt, by mixes.py). */
#include "ml_golden.h"
#include "ml/convert/types.h"

enum { TENSORS = 1024 };
struct golden {
  char name[64], architecture[32];
  long long layers, heads, keys, experts;
  etk__mix_tensor tensors[TENSORS];
  size_t count;
};

static etk__mix_options options_of(const struct golden *g, const char *mix) {
  return (etk__mix_options){.mix = etk__mix_find(mix), .architecture = g->architecture, .layers = g->layers, .heads = g->heads, .key_heads = g->keys,
                            .experts = g->experts, .output_type = -1, .embedding_type = -1};
}

static void add_tensor(struct golden *g, char *words) {
  char *save = NULL, *name = strtok_r(words, " ", &save);
  etk__mix_tensor *t = &g->tensors[g->count++];
  *t = (etk__mix_tensor){.name = path_of("%s", name), .type = ETK_F32};
  for (char *word; (word = strtok_r(NULL, " ", &save));) t->shape.dims[t->shape.rank++] = strtol(word, NULL, 10);
}

static void check_mix(const struct golden *g, char *words) {
  char *save = NULL, *mix = strtok_r(words, " ", &save), *file_type = strtok_r(NULL, " ", &save);
  static etk__mix_tensor made[TENSORS];
  memcpy(made, g->tensors, sizeof made);
  etk__mix_options o = options_of(g, mix);
  assert_non_null(o.mix);
  assert_int_equal(o.mix->file_type, strtol(file_type, NULL, 10));
  works(etk__mix_choose(e, made, g->count, &o));
  for (size_t i = 0; i < g->count; i++) {
    const char *wanted = strtok_r(NULL, " ", &save), *got = etk_type_name((etk_type)made[i].type);
    if (!wanted || strcmp(wanted, got)) fail_msg("%s as %s: %s is %s, llama.cpp makes it %s", g->name, mix, made[i].name, got, wanted ? wanted : "nothing");
  }
}

static void every_tensor_of_every_mix_gets_llama_cpps_type(void **state) {
  (void)state;
  FILE *file = fopen("tests/goldens/mixes.txt", "r");
  assert_non_null(file);
  static struct golden g;
  static char line[1 << 16];
  int models = 0, mixes = 0;
  while (fgets(line, sizeof line, file)) {
    line[strcspn(line, "\n")] = 0;
    if (!strncmp(line, "model ", 6)) {
      g.count = 0;
      assert_int_equal(sscanf(line, "model %63s %31s %lld %lld %lld %lld", g.name, g.architecture, &g.layers, &g.heads, &g.keys, &g.experts), 6);
      models++;
    }
    if (!strncmp(line, "tensor ", 7)) add_tensor(&g, line + 7);
    if (!strncmp(line, "mix ", 4)) check_mix(&g, line + 4), mixes++;
    assert_true(strncmp(line, "refused ", 8));
  }
  fclose(file);
  assert_int_equal(models, 9);
  assert_int_equal(mixes, 9 * 17);
}

/* One block of a small Llama. */
static void small(struct golden *g) {
  *g = (struct golden){.architecture = "llama", .layers = 1, .heads = 4, .keys = 4};
  static const struct {
    const char *name;
    int64_t rows, columns;
  } rows[] = {{"token_embd.weight", 64, 256}, {"output.weight", 64, 256}, {"blk.0.attn_q.weight", 256, 256}, {"blk.0.ffn_down.weight", 256, 512},
              {"blk.0.ffn_up.weight", 512, 256}};
  for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
    g->tensors[g->count++] = (etk__mix_tensor){.name = rows[i].name, .shape = etk_shape_of(2, rows[i].rows, rows[i].columns), .type = ETK_F32};
  g->tensors[g->count++] = (etk__mix_tensor){.name = "output_norm.weight", .shape = etk_shape_of(1, 256), .type = ETK_F32};
}
static int type_of(const struct golden *g, const char *name) {
  for (size_t i = 0; i < g->count; i++)
    if (!strcmp(g->tensors[i].name, name)) return g->tensors[i].type;
  return -1;
}

static void the_first_expression_that_fits_decides(void **state) {
  (void)state;
  struct golden g;
  small(&g);
  etk__mix_options o = options_of(&g, "q4_k_m");
  const char *const types[] = {"ffn_(down|up)=q8_0", "ffn_up=q2_k", "^blk\\.0\\.attn=f16", "norm=q8_0"};
  o.tensor_types = types, o.tensor_type_count = 4;
  works(etk__mix_choose(e, g.tensors, g.count, &o));
  assert_int_equal(type_of(&g, "blk.0.ffn_down.weight"), ETK_Q8_0);
  assert_int_equal(type_of(&g, "blk.0.ffn_up.weight"), ETK_Q8_0);
  assert_int_equal(type_of(&g, "blk.0.attn_q.weight"), ETK_F16);
  assert_int_equal(type_of(&g, "output_norm.weight"), ETK_F32); /* never quantized, whatever is asked */
  assert_int_equal(type_of(&g, "token_embd.weight"), ETK_Q4_K);
}

static void output_and_embedding_can_have_types_of_their_own(void **state) {
  (void)state;
  struct golden g;
  small(&g);
  etk__mix_options o = options_of(&g, "q4_0");
  o.output_type = ETK_Q8_0, o.embedding_type = ETK_F16;
  works(etk__mix_choose(e, g.tensors, g.count, &o));
  assert_int_equal(type_of(&g, "output.weight"), ETK_Q8_0);
  assert_int_equal(type_of(&g, "token_embd.weight"), ETK_F16);
  small(&g);
  o = options_of(&g, "q4_0");
  o.leave_output = true;
  works(etk__mix_choose(e, g.tensors, g.count, &o));
  assert_int_equal(type_of(&g, "output.weight"), ETK_F32);
  small(&g);
  o = options_of(&g, "q4_k_m");
  o.pure = true;
  works(etk__mix_choose(e, g.tensors, g.count, &o));
  assert_int_equal(type_of(&g, "output.weight"), ETK_Q4_K);
  assert_int_equal(type_of(&g, "blk.0.ffn_down.weight"), ETK_Q4_K);
}

static void what_cannot_be_chosen_is_one_clear_error(void **state) {
  (void)state;
  struct golden g;
  small(&g);
  etk__mix_options o = options_of(&g, "q4_0");
  static const struct {
    const char *type, *words;
  } wrong[] = {{"ffn=q9_9", "'q9_9' is no type of GGUF's weights"}, {"q8_0", "wanted REGEX=TYPE"}, {"=q8_0", "wanted REGEX=TYPE"},
               {"ffn=", "wanted REGEX=TYPE"},
               {"ffn(=q8_0", "the expression is wrong at character 4"}};
  for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
    o.tensor_types = &wrong[i].type, o.tensor_type_count = 1;
    fails_with(ETK_E_USAGE, wrong[i].words, etk__mix_choose(e, g.tensors, g.count, &o));
  }
  o = options_of(&g, "q2_k_s");
  fails_with(ETK_E_USAGE, "q2_k_s needs an importance matrix", etk__mix_choose(e, g.tensors, g.count, &o));
  assert_null(etk__mix_find("q4_k_x"));
  assert_string_equal(etk__mix_find("Q4_K")->name, "q4_k_m");
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(every_tensor_of_every_mix_gets_llama_cpps_type),
      cmocka_unit_test(the_first_expression_that_fits_decides),
      cmocka_unit_test(output_and_embedding_can_have_types_of_their_own),
      cmocka_unit_test(what_cannot_be_chosen_is_one_clear_error),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
