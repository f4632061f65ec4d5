/* Containers of weights through one interface; files of other writers are compared in tests/plugins/model.sh. */
#include "../interpose.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>
#include <etk/fs.h>
#include <etk/gguf.h>
#include <etk/safetensors.h>
#include <etk/weights.h>

static etk_error error;
static etk_error *const e = &error;
static void works(etk_status status) {
  if (status) fail_msg("%s", e->message);
}
static char folder[256];
static int make_folder(void **state) {
  (void)state;
  snprintf(folder, sizeof folder, "%s/etk-weights-XXXXXX", getenv("TMPDIR") ? getenv("TMPDIR") : "/tmp");
  return mkdtemp(folder) ? 0 : 1;
}
static int remove_folder(void **state) {
  (void)state;
  return etk_fs_remove_tree(e, folder) ? 1 : 0;
}
static char *in_folder(const char *name) { /* one of eight buffers, used in turn */
  static char paths[8][512];
  static int next;
  next = (next + 1) % 8;
  snprintf(paths[next], sizeof *paths, "%s/%s", folder, name);
  return paths[next];
}
static void put(const char *name, const char *text) { works(etk_fs_write(e, in_folder(name), text, strlen(text), true)); }
static void put_tensor(const char *file, const char *name, etk_dtype dtype, etk_shape shape, const void *data) {
  etk_tensor *tensor;
  works(etk_tensor_wrap(e, &tensor, dtype, shape, data, NULL, NULL));
  etk_safetensors_item item = {name, tensor, dtype};
  static const char *const metadata[] = {"format", "pt"};
  works(etk_safetensors_write(e, in_folder(file), &item, 1, metadata, 1, true));
  etk_tensor_unref(tensor);
}

static void integers_of_every_width_are_decoded(void **state) {
  (void)state;
  static const int8_t i8[] = {-128, 0, 127};
  static const uint8_t u8[] = {0, 1, 255};
  static const int16_t i16[] = {-32768, 0, 32767};
  static const uint16_t u16[] = {0, 1, 65535};
  static const int32_t i32[] = {-16777216, 0, 16777216};
  static const uint32_t u32[] = {0, 1, 4294967295u};
  static const int64_t i64[] = {INT64_MIN, 0, 5};
  static const uint64_t u64[] = {0, 1, UINT64_MAX};
  static const uint8_t flags[] = {0, 1, 1};
  static const struct {
    etk_dtype dtype;
    const void *data;
    float wanted[3];
  } cases[] = {{ETK_I8, i8, {-128, 0, 127}}, {ETK_U8, u8, {0, 1, 255}}, {ETK_I16, i16, {-32768, 0, 32767}}, {ETK_U16, u16, {0, 1, 65535}},
               {ETK_I32, i32, {-16777216, 0, 16777216}}, {ETK_U32, u32, {0, 1, 4294967296.0f}}, {ETK_I64, i64, {-9223372036854775808.0f, 0, 5}},
               {ETK_U64, u64, {0, 1, 18446744073709551616.0f}}, {ETK_BOOL, flags, {0, 1, 1}}};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    put_tensor("int.safetensors", "x", cases[i].dtype, etk_shape_of(1, 3), cases[i].data);
    etk_weights *w;
    float got[3];
    works(etk_weights_open(e, &w, in_folder("int.safetensors")));
    works(etk_weight_decode(e, got, etk_weights_at(w, 0), 0, 3));
    assert_memory_equal(got, cases[i].wanted, sizeof got);
    works(etk_weight_decode(e, got, etk_weights_at(w, 0), 2, 1));
    assert_true(got[0] == cases[i].wanted[2]);
    etk_weights_close(w);
  }
}

static void elements_outside_the_tensor_or_its_blocks_are_refused(void **state) {
  (void)state;
  static const unsigned char packed[2 * 34];
  etk_weight weight = {.name = "x", .canonical = "x", .type_name = "Q8_0", .type = ETK_Q8_0, .shape = etk_shape_of(2, 2, 32), .data = packed, .bytes = sizeof packed};
  static const int64_t wrong[][2] = {{0, 65}, {1, 32}, {0, 31}, {-32, 32}, {64, 32}, {0, -32}, {INT64_MAX, 32}, {32, INT64_MAX}};
  float out[64];
  for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) assert_int_equal(etk_weight_decode(e, out, &weight, wrong[i][0], wrong[i][1]), ETK_E_INVALID);
  works(etk_weight_decode(e, out, &weight, 64, 0));
  works(etk_weight_decode(e, out, &weight, 32, 32));
}

static void rows_of_heads_are_found_in_interleaved_order(void **state) {
  (void)state;
  etk_weight weight = {.rotary = 6}; /* halves (0 1 2)(3 4 5) lie as 0 3 1 4 2 5 */
  static const int64_t wanted[] = {0, 2, 4, 1, 3, 5, 6, 8, 10, 7, 9, 11};
  for (int64_t i = 0; i < 12; i++) assert_int_equal(etk_weight_stored_row(&weight, i), wanted[i]);
}

static void spellings_of_config_json_are_read(void **state) {
  (void)state;
  static const float one[] = {1};
  put_tensor("model.safetensors", "x", ETK_F32, etk_shape_of(1, 1), one);
  put("config.json", "{\"model_type\":\"gpt2\",\"n_embd\":768,\"n_layer\":12,\"n_head\":12,\"n_positions\":1024,\"n_inner\":null,\"layer_norm_epsilon\":1e-5}");
  etk_weights *w;
  works(etk_weights_open(e, &w, folder));
  const etk_weights_facts *f = etk_weights_get_facts(w);
  assert_string_equal(f->architecture, "gpt2");
  assert_true(f->hidden_size == 768 && f->num_hidden_layers == 12 && f->head_dim == 64 && f->num_key_value_heads == 12 && f->intermediate_size == 0 && f->norm_eps == 1e-5);
  etk_weights_close(w);
  put("config.json", "{\"model_type\":\"gemma3\",\"text_config\":{\"hidden_size\":640,\"rope_parameters\":{\"rope_theta\":5e5}}}");
  works(etk_weights_open(e, &w, folder));
  f = etk_weights_get_facts(w);
  assert_true(f->hidden_size == 640 && f->rope_theta == 5e5);
  etk_weights_close(w);
  static const char *const wrong[] = {"[1]", "{\"hidden_size\":-1}", "{\"hidden_size\":\"a\"}", "{", "{\"model_type\":3}"};
  for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
    put("config.json", wrong[i]);
    assert_int_not_equal(etk_weights_open(e, &w, folder), ETK_OK);
    assert_non_null(strstr(e->message, "config.json"));
    assert_null(w);
  }
  put("config.json", "{\"model_type\":\"llama\",\"hidden_size\":8}");
}

static char *write_gguf(void) {
  static const float values[32] = {1, 2};
  etk_gguf_writer *writer = etk_gguf_writer_new();
  static const char *const names[] = {"blk.0.attn_q.weight", "blk.0.attn_v.weight", "blk.11.ffn_up.weight", "blk.x.ffn_up.weight", "output.weight", "rope_freqs.weight"};
  etk_gguf_set_text(writer, "general.architecture", "llama");
  etk_gguf_set_int(writer, "llama.embedding_length", ETK_GGUF_U32, 16);
  etk_gguf_set_int(writer, "llama.attention.head_count", ETK_GGUF_U32, 4);
  etk_gguf_set_array(writer, "llama.feed_forward_length", ETK_GGUF_I32, (int32_t[]){1, 2}, 2); /* one a layer: no single number */
  for (size_t i = 0; i < sizeof names / sizeof *names; i++) etk_gguf_add(writer, names[i], (etk_type)ETK_F32, etk_shape_of(2, 2, 16), values, NULL, NULL);
  char *path = in_folder("x.gguf");
  works(etk_gguf_write(e, writer, path, &(etk_gguf_write_options){.replace = true}));
  etk_gguf_writer_free(writer);
  return path;
}

static void names_of_gguf_have_their_hugging_face_names(void **state) {
  (void)state;
  etk_weights *w;
  works(etk_weights_open(e, &w, write_gguf()));
  static const struct {
    const char *name, *canonical;
    int64_t rotary;
  } wanted[] = {{"blk.0.attn_q.weight", "model.layers.0.self_attn.q_proj.weight", 4}, {"blk.0.attn_v.weight", "model.layers.0.self_attn.v_proj.weight", 0},
                {"blk.11.ffn_up.weight", "model.layers.11.mlp.up_proj.weight", 0}, {"blk.x.ffn_up.weight", "blk.x.ffn_up.weight", 0}, {"output.weight", "lm_head.weight", 0},
                {"rope_freqs.weight", "rope_freqs.weight", 0}};
  for (size_t i = 0; i < sizeof wanted / sizeof *wanted; i++) {
    const etk_weight *weight = etk_weights_find(w, wanted[i].name);
    assert_non_null(weight);
    assert_string_equal(weight->canonical, wanted[i].canonical);
    assert_int_equal(weight->rotary, wanted[i].rotary);
    assert_ptr_equal(etk_weights_find(w, wanted[i].canonical), weight);
  }
  assert_null(etk_weights_find(w, "nothing"));
  const etk_weights_facts *f = etk_weights_get_facts(w);
  assert_true(f->intermediate_size == 0 && f->head_dim == 4 && f->num_key_value_heads == 4);
  etk_weights_close(w);
}

static void parts_of_a_split_are_named(void **state) {
  (void)state;
  static const float values[32] = {1};
  etk_gguf_writer *writer = etk_gguf_writer_new();
  etk_gguf_add(writer, "a", (etk_type)ETK_F32, etk_shape_of(1, 32), values, NULL, NULL);
  etk_gguf_add(writer, "b", (etk_type)ETK_F32, etk_shape_of(1, 32), values, NULL, NULL);
  works(etk_gguf_write(e, writer, in_folder("parts.gguf"), &(etk_gguf_write_options){true, 128}));
  etk_gguf_writer_free(writer);
  etk_weights *w;
  works(etk_weights_open(e, &w, in_folder("parts-00001-of-00002.gguf")));
  assert_int_equal(etk_weights_part_count(w), 2);
  assert_string_equal(etk_weights_part_path(w, 1), in_folder("parts-00002-of-00002.gguf"));
  assert_int_equal(etk_weights_find(w, "b")->part, 1);
  assert_null(etk_weights_part_path(w, 2));
  etk_weights_close(w);
}

static bool open_once(void *user) {
  etk_weights *w;
  etk_error mine = ETK_ERROR_INIT;
  if (etk_weights_open(&mine, &w, user)) return false;
  etk_text text = ETK_TEXT_INIT;
  for (size_t i = 0; i < etk_weights_key_count(w); i++) etk_weights_key_value(w, i, 4, &text);
  bool done = !text.failed;
  etk_text_free(&text);
  etk_weights_close(w);
  return done;
}
static void every_failing_allocation_is_an_error_without_a_leak(void **state) {
  (void)state;
  long folders = interpose_sweep(open_once, folder), files = interpose_sweep(open_once, write_gguf());
  int32_t header[7] = {8, 8, 1, 2, 1, 4, 2};
  /* V*D + 2*L*D + L*(Q*D + 2*K*D + D*Q) + 3*L*H*D + D + S*E floats */
  float floats[32 + 16 + 64 + 64 + 64 + 192 + 8 + 8] = {0};
  char bytes[sizeof header + sizeof floats];
  memcpy(bytes, header, sizeof header);
  memcpy(bytes + sizeof header, floats, sizeof floats);
  char *path = in_folder("x.bin");
  works(etk_fs_write(e, path, bytes, sizeof bytes, true));
  long checkpoints = interpose_sweep(open_once, path);
  if (folders <= 5 || files <= 5 || checkpoints <= 2) fail_msg("folder: %ld, GGUF: %ld, llama2.c: %ld", folders, files, checkpoints);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(integers_of_every_width_are_decoded),
      cmocka_unit_test(elements_outside_the_tensor_or_its_blocks_are_refused),
      cmocka_unit_test(rows_of_heads_are_found_in_interleaved_order),
      cmocka_unit_test(spellings_of_config_json_are_read),
      cmocka_unit_test(names_of_gguf_have_their_hugging_face_names),
      cmocka_unit_test(parts_of_a_split_are_named),
      cmocka_unit_test(every_failing_allocation_is_an_error_without_a_leak),
  };
  return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
