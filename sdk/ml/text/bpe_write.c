#include "internal.h"

#include <etk/fs.h>
#include <string.h>

static void put_string(etk_text *out, const char *text) { etk_text_json(out, text, strlen(text)); }

void etk__put_specials(etk_text *out, const char *const *special, size_t count) {
  etk_text_puts(out, "  \"added_tokens\": [");
  for (size_t i = 0; i < count; i++) {
    etk_text_printf(out, "%s\n    {\"id\": %zu, \"content\": ", i ? "," : "", i);
    put_string(out, special[i]);
    etk_text_puts(out, ", \"single_word\": false, \"lstrip\": false, \"rstrip\": false, \"normalized\": false, \"special\": true}");
  }
  etk_text_puts(out, count ? "\n  ],\n" : "],\n");
}

static void put_special(etk_text *out, const char *token) {
  etk_text_puts(out, "{\"SpecialToken\": {\"id\": ");
  put_string(out, token);
  etk_text_puts(out, ", \"type_id\": 0}}, {\"Sequence\": {\"id\": \"A\", \"type_id\": 0}}");
}

void etk__put_begin(etk_text *out, const char *const *special, size_t count, const char *bos) {
  size_t id = 0;
  while (bos && id < count && strcmp(special[id], bos)) id++;
  if (!bos) {
    etk_text_puts(out,
                  "  \"post_processor\": {\"type\": \"ByteLevel\", \"add_prefix_space\": true, \"trim_offsets\": false, \"use_regex\": true},\n");
    return;
  }
  etk_text_puts(out, "  \"post_processor\": {\n    \"type\": \"TemplateProcessing\",\n    \"single\": [");
  put_special(out, bos);
  etk_text_puts(out, "],\n    \"pair\": [");
  put_special(out, bos);
  etk_text_puts(out, ", {\"Sequence\": {\"id\": \"B\", \"type_id\": 1}}],\n    \"special_tokens\": {");
  put_string(out, bos);
  etk_text_puts(out, ": {\"id\": ");
  put_string(out, bos);
  etk_text_printf(out, ", \"ids\": [%zu], \"tokens\": [", id);
  put_string(out, bos);
  etk_text_puts(out, "]}}\n  },\n");
}

static void put_model(etk_text *out, const etk__vocabulary *v, const etk__join *joins, size_t count) {
  etk_text_puts(
      out,
      "  \"model\": {\n    \"type\": \"BPE\",\n    \"dropout\": null,\n    \"unk_token\": null,\n    \"continuing_subword_prefix\": null,\n"
      "    \"end_of_word_suffix\": null,\n    \"fuse_unk\": false,\n    \"byte_fallback\": false,\n    \"ignore_merges\": false,\n    \"vocab\": {");
  for (size_t i = 0; i < v->count; i++) {
    etk_text_puts(out, i ? ",\n      " : "\n      ");
    etk_text_json(out, v->tokens[i].text, v->tokens[i].size);
    etk_text_printf(out, ": %zu", i);
  }
  etk_text_puts(out, "\n    },\n    \"merges\": [");
  for (size_t i = 0; i < count; i++) {
    etk_text_puts(out, i ? ",\n      [" : "\n      [");
    put_string(out, v->tokens[joins[i].left].text);
    etk_text_puts(out, ", ");
    put_string(out, v->tokens[joins[i].right].text);
    etk_text_putc(out, ']');
  }
  etk_text_puts(out, "\n    ]\n  }\n}\n");
}

static void put_config(etk_text *out, const char *bos, const char *eos) {
  etk_text_puts(out, "{\n");
  if (bos) {
    etk_text_puts(out, "  \"bos_token\": ");
    put_string(out, bos);
    etk_text_puts(out, ",\n");
  }
  if (eos) {
    etk_text_puts(out, "  \"eos_token\": ");
    put_string(out, eos);
    etk_text_puts(out, ",\n");
  }
  etk_text_puts(out, "  \"clean_up_tokenization_spaces\": false,\n  \"tokenizer_class\": \"PreTrainedTokenizerFast\"\n}\n");
}

/* tokenizer.json itself has no place for the two names. */
etk_status etk__write_ends(etk_error *e, const char *path, const char *bos, const char *eos, bool replace) {
  if (!bos && !eos) return ETK_OK;
  char *folder = etk_path_dir(path), *beside = folder ? etk_path_join(folder, "tokenizer_config.json") : NULL;
  etk_text text = ETK_TEXT_INIT;
  put_config(&text, bos, eos);
  etk_status s = beside && !text.failed ? etk_fs_write(e, beside, text.data, text.size, replace) : etk__no_memory(e, path);
  etk_text_free(&text);
  etk_free(beside);
  etk_free(folder);
  return s;
}

etk_status etk__bpe_write(etk_error *e, const char *path, const etk__vocabulary *v, const etk__join *joins, size_t count,
                          const etk_bpe_options *options, bool replace) {
  etk_text text = ETK_TEXT_INIT;
  etk_text_puts(&text, "{\n  \"version\": \"1.0\",\n  \"truncation\": null,\n  \"padding\": null,\n");
  etk__put_specials(&text, options->special, options->special_count);
  etk_text_puts(&text, "  \"normalizer\": null,\n  \"pre_tokenizer\": {\"type\": \"ByteLevel\", \"add_prefix_space\": false, \"trim_offsets\": true, "
                       "\"use_regex\": true},\n");
  etk__put_begin(&text, options->special, options->special_count, options->bos);
  etk_text_puts(&text, "  \"decoder\": {\"type\": \"ByteLevel\", \"add_prefix_space\": true, \"trim_offsets\": true, \"use_regex\": true},\n");
  put_model(&text, v, joins, count);
  etk_status s = text.failed ? etk__no_memory(e, path) : etk_fs_write(e, path, text.data, text.size, replace);
  etk_text_free(&text);
  return s == ETK_OK ? etk__write_ends(e, path, options->bos, options->eos, replace) : s;
}
