/* The parts of a tokenizer: patterns, splitting, normalizers, added tokens, decoders. Wanted values come from the Unicode character database, from the
 * examples in the documentation and tests of Hugging Face's tokenizers (the Rust original), or follow from their definition. */
#include "ml_golden.h"

#include "ml/text/internal.h"

/* ---- a small tokenizer around given parts: every byte is a token, nothing merges ---------------------------------------------------------------- */

static char *file_of(const char *added, const char *normalizer, const char *pre_tokenizer, const char *decoder, const char *extra_vocab,
                     const char *merges) {
  etk_text text = ETK_TEXT_INIT;
  etk_text_printf(&text, "{\"added_tokens\":[%s],\"normalizer\":%s,\"pre_tokenizer\":%s,\"decoder\":%s,\"model\":{\"type\":\"BPE\",\"vocab\":{",
                  added, normalizer, pre_tokenizer, decoder);
  for (int b = 0; b < 256; b++) {
    char c[4];
    etk_text_puts(&text, b ? "," : "");
    etk_text_json(&text, c, etk_utf8_encode(c, etk__byte_to_char((unsigned char)b)));
    etk_text_printf(&text, ":%d", b);
  }
  etk_text_printf(&text, "%s},\"merges\":[%s]}}", extra_vocab, merges);
  return etk_text_take(&text);
}

static etk_tokenizer *parse(const char *bytes) {
  etk_tokenizer *t;
  works(etk_tokenizer_parse_json(e, &t, "t", bytes, strlen(bytes)));
  return t;
}

static etk_tokenizer *tokenizer_of(const char *added, const char *normalizer, const char *pre_tokenizer) {
  char *bytes = file_of(added, normalizer, pre_tokenizer, "{\"type\":\"ByteLevel\"}", "", "");
  etk_tokenizer *t = parse(bytes);
  etk_free(bytes);
  return t;
}

static void file_refused(etk_status status, const char *part, const char *added, const char *normalizer, const char *pre_tokenizer,
                         const char *decoder) {
  char *bytes = file_of(added, normalizer, pre_tokenizer, decoder, "", "");
  etk_tokenizer *t = (void *)1;
  fails_with(status, part, etk_tokenizer_parse_json(e, &t, "t", bytes, strlen(bytes)));
  assert_null(t);
  etk_free(bytes);
}

/* Ids as text: bytes as they are, ids from 256 on as <id>. */
static void encodes(const etk_tokenizer *t, const char *text, const char *wanted, bool parse_special) {
  etk_ids ids = ETK_IDS_INIT;
  etk_encode_options options = {.parse_special = parse_special};
  works(etk_tokenizer_encode(e, t, &ids, text, strlen(text), &options));
  etk_text shown = ETK_TEXT_INIT;
  etk_text_puts(&shown, "");
  for (size_t i = 0; i < ids.count; i++) {
    if (ids.items[i] < 256) etk_text_putc(&shown, (char)ids.items[i]);
    else etk_text_printf(&shown, "<%d>", (int)ids.items[i]);
  }
  etk_text_append(&shown, "", 0);
  assert_string_equal(shown.data ? shown.data : "", wanted);
  etk_text_free(&shown);
  etk_ids_free(&ids);
}

/* ---- splitting -------------------------------------------------------------------------------------------------------------------------------- */

static etk_status note_piece(etk_error *e, void *user, const char *text, size_t size) {
  (void)e;
  etk_text *out = user;
  etk_text_append(out, text, size);
  etk_text_putc(out, '|');
  return ETK_OK;
}

static void splits(const char *json, const char *text, const char *wanted) {
  etk__splitter splitter = {.count = 0};
  etk__scratch scratch;
  etk_arena arena = ETK_ARENA_INIT;
  etk_text out = ETK_TEXT_INIT;
  json_t *value = json_loads(json, 0, NULL);
  assert_non_null(value);
  works(etk__splitter_read(e, &splitter, &arena, "t", value));
  works(etk__scratch_init(e, &scratch));
  works(etk__split_run(e, &splitter, &scratch, text, strlen(text), true, note_piece, &out));
  etk_text_putc(&out, 0);
  assert_string_equal(out.data, wanted);
  etk_text_free(&out);
  etk__scratch_fini(&scratch);
  etk__splitter_fini(&splitter);
  etk_arena_fini(&arena);
  json_decref(value);
}

#define SPLIT(pattern, behaviour) "{\"type\":\"Split\",\"pattern\":{\"Regex\":\"" pattern "\"},\"behavior\":\"" behaviour "\",\"invert\":false}"

/* The example of the library's documentation. */
static void split_behaviours_are_those_of_the_documentation(void **state) {
  (void)state;
  splits(SPLIT("-", "Removed"), "the-final--countdown", "the|final|countdown|");
  splits(SPLIT("-", "Isolated"), "the-final--countdown", "the|-|final|-|-|countdown|");
  splits(SPLIT("-", "MergedWithPrevious"), "the-final--countdown", "the-|final-|-|countdown|");
  splits(SPLIT("-", "MergedWithNext"), "the-final--countdown", "the|-final|-|-countdown|");
  splits(SPLIT("-", "Contiguous"), "the-final--countdown", "the|-|final|--|countdown|");
  splits("{\"type\":\"Split\",\"pattern\":{\"String\":\"a.\"},\"behavior\":\"Isolated\",\"invert\":false}", "aba.b", "ab|a.|b|");
  splits("{\"type\":\"Split\",\"pattern\":{\"Regex\":\"[a-z]+\"},\"behavior\":\"Removed\",\"invert\":true}", "ab1cd", "ab|cd|");
}

static void punctuation_and_metaspace_are_those_of_the_original(void **state) {
  (void)state;
  splits("{\"type\":\"Punctuation\"}", "Hey friend!     How are you?!?", "Hey friend|!|     How are you|?|!|?|");
  splits("{\"type\":\"Metaspace\",\"replacement\":\"\xe2\x96\x81\",\"add_prefix_space\":true}", "Hey   friend!",
         "\xe2\x96\x81Hey|\xe2\x96\x81|\xe2\x96\x81|\xe2\x96\x81"
         "friend!|");
  splits("{\"type\":\"Digits\",\"individual_digits\":true}", "a12\xc2\xbd", "a|1|2|\xc2\xbd|");
  splits("{\"type\":\"Whitespace\"}", "Hey man, what's_up!?", "Hey|man|,|what|'|s_up|!?|");
}

#define CLASSES(set) SPLIT(set, "Isolated")

static void spaces_are_those_of_the_unicode_database(void **state) {
  (void)state;
  /* White_Space holds U+0085 and U+3000, but neither U+180E nor U+FEFF (PropList.txt). */
  splits(CLASSES("\\\\s"),
         "a\xc2\x85"
         "b\xe1\xa0\x8e"
         "c\xef\xbb\xbf"
         "d\xe3\x80\x80"
         "e",
         "a|\xc2\x85|b\xe1\xa0\x8e"
         "c\xef\xbb\xbf"
         "d|\xe3\x80\x80|e|");
  splits(CLASSES("[^\\\\s]+"), " \xe1\xa0\x8e ", " |\xe1\xa0\x8e| |");
  splits(CLASSES("\\\\S+"), " \xe1\xa0\x8e ", " |\xe1\xa0\x8e| |");
  splits(CLASSES("[\\\\S]+"), " \xe1\xa0\x8ex ", " |\xe1\xa0\x8ex| |");
  splits(CLASSES("[\\\\s-x]+"), "a -xb", "a| -x|b|"); /* the hyphen behind a set is literal */
}

/* Oniguruma's words, in which Split is written, have superscripts and fractions of Latin-1, but no joiners; Rust's, in which Whitespace is, the other way round. */
static void words_are_those_of_the_engine_they_are_written_for(void **state) {
  (void)state;
  splits(CLASSES("\\\\w+"), "e\xcc\x81_\xe2\x80\xbf\xc2\xb2\xe2\x80\x8d+\xe2\x93\x90-9", "e\xcc\x81_\xe2\x80\xbf\xc2\xb2|\xe2\x80\x8d+|\xe2\x93\x90|-|9|");
  splits("{\"type\":\"Whitespace\"}", "e\xcc\x81_\xe2\x80\xbf\xe2\x80\x8d+\xe2\x93\x90-9\xc2\xb2", "e\xcc\x81_\xe2\x80\xbf\xe2\x80\x8d|+|\xe2\x93\x90|-|9|\xc2\xb2|");
  splits(CLASSES("\\\\bx\\\\b"), "x ax x\xcc\x81 x", "x| ax x\xcc\x81 |x|");
}

static void case_folding_reaches_the_long_s(void **state) {
  (void)state;
  splits(CLASSES("(?i:'s)"), "a's b'\xc5\xbf c'S", "a|'s| b|'\xc5\xbf| c|'S|");
}

static void scripts_are_not_their_extensions(void **state) {
  (void)state;
  /* U+30FC is of the script Common; Katakana and Hiragana are its extensions (Scripts.txt, ScriptExtensions.txt). */
  splits(CLASSES("\\\\p{Katakana}+"), "\xe3\x82\xab\xe3\x83\xbc", "\xe3\x82\xab|\xe3\x83\xbc|");
}

static void an_empty_match_cuts_and_goes_on(void **state) {
  (void)state;
  splits(CLASSES("x*"), "axxb", "a|xx|b|");
  splits(CLASSES("(?=b)"),
         "ab\xc3\xa9"
         "b",
         "a|b\xc3\xa9|b|");
}

static void what_a_pattern_cannot_have_is_named(void **state) {
  (void)state;
  static const char *const patterns[][2] = {
      {"[a[b]]", "a class inside a class"},
      {"[a&&b]", "an intersection"},
      {"(?m:a)", "(? group"},
      {"(*UTF)a", "a (* verb"},
      {"a{2}+", "after a counted repeat"},
      {"\\R", "an unknown escape"},
      {"[a", "without its ']'"},
      {"(a", "does not compile"},
      {"\\p{Nonsense}", "does not compile"},
      {"\\p{", "\\p{"},
      {"\\x{110000}", "does not compile"},
      {"\\xff", "a raw byte"},
      {"[a-\\s]", "a range that ends in a character class"},
      {"\\", "an unknown escape"},
      {"[\\W]", "not known inside"},
      {"\\1", "an unknown escape"},
      {"[]a]", "begins with ']'"},
  };
  for (size_t i = 0; i < sizeof patterns / sizeof *patterns; i++) {
    etk__regex *regex;
    fails_with(ETK_E_UNSUPPORTED, patterns[i][1], etk__regex_new(e, &regex, patterns[i][0]));
    assert_null(regex);
  }
}

/* ---- normalizers ------------------------------------------------------------------------------------------------------------------------------ */

static void normalizes(const char *json, const char *text, const char *wanted) {
  etk__normalizer normalizer = {.count = 0};
  etk__scratch scratch;
  etk_arena arena = ETK_ARENA_INIT;
  etk_text out = ETK_TEXT_INIT;
  json_t *value = json_loads(json, 0, NULL);
  assert_non_null(value);
  works(etk__normalizer_read(e, &normalizer, &arena, "t", value));
  works(etk__scratch_init(e, &scratch));
  works(etk__normalize(e, &normalizer, &scratch, &out, text, strlen(text)));
  etk_text_putc(&out, 0);
  assert_string_equal(out.data, wanted);
  etk_text_free(&out);
  etk__scratch_fini(&scratch);
  etk__normalizer_fini(&normalizer);
  etk_arena_fini(&arena);
  json_decref(value);
}

/* Rows of NormalizationTest.txt: U+1E0B U+0323 (first row with two marks), U+AC01, U+FB01, U+0344. */
static void unicode_forms_are_those_of_the_standard(void **state) {
  (void)state;
  normalizes("{\"type\":\"NFC\"}", "\xe1\xb8\x8b\xcc\xa3", "\xe1\xb8\x8d\xcc\x87");
  normalizes("{\"type\":\"NFD\"}", "\xe1\xb8\x8b\xcc\xa3", "d\xcc\xa3\xcc\x87");
  normalizes("{\"type\":\"NFD\"}", "\xea\xb0\x81", "\xe1\x84\x80\xe1\x85\xa1\xe1\x86\xa8");
  normalizes("{\"type\":\"NFC\"}", "\xe1\x84\x80\xe1\x85\xa1\xe1\x86\xa8", "\xea\xb0\x81");
  normalizes("{\"type\":\"NFC\"}", "\xef\xac\x81", "\xef\xac\x81");
  normalizes("{\"type\":\"NFKC\"}", "\xef\xac\x81", "fi");
  normalizes("{\"type\":\"NFKD\"}", "\xcd\x84", "\xcc\x88\xcc\x81");
}

static void a_hundred_thousand_marks_are_ordered_in_a_blink(void **state) {
  (void)state;
  enum { PAIRS = 100000 };
  char *text = etk_alloc(PAIRS * 4 + 2), *wanted = etk_alloc(PAIRS * 4 + 2);
  text[0] = wanted[0] = 'x';
  for (int i = 0; i < PAIRS; i++) {
    memcpy(text + 1 + 4 * i, "\xcc\x81\xcc\x96", 4);
    memcpy(wanted + 1 + 2 * i, "\xcc\x96", 2);
    memcpy(wanted + 1 + 2 * PAIRS + 2 * i, "\xcc\x81", 2);
  }
  text[PAIRS * 4 + 1] = wanted[PAIRS * 4 + 1] = 0;
  normalizes("{\"type\":\"NFD\"}", text, wanted);
  etk_free(text);
  etk_free(wanted);
}

static void other_normalizers_do_as_they_say(void **state) {
  (void)state;
  normalizes("{\"type\":\"Lowercase\"}", "\xc4\xb0\xce\xa3S", "i\xcc\x87\xcf\x83s"); /* U+0130 becomes two; a final sigma is not special */
  normalizes("{\"type\":\"Strip\",\"strip_left\":true,\"strip_right\":false}", "\xc2\xa0 a ", "a ");
  normalizes("{\"type\":\"Strip\",\"strip_left\":false,\"strip_right\":true}", " a\n\n", " a");
  normalizes("{\"type\":\"Strip\"}", "  ", "");
  normalizes("{\"type\":\"Prepend\",\"prepend\":\"_\"}", "a", "_a");
  normalizes("{\"type\":\"Prepend\",\"prepend\":\"_\"}", "", "");
  normalizes("{\"type\":\"Replace\",\"pattern\":{\"Regex\":\"b*\"},\"content\":\"-\"}", "abc", "-a-c-");
  normalizes("{\"type\":\"Replace\",\"pattern\":{\"String\":\"..\"},\"content\":\"\"}", "a...b", "a.b");
}

/* ---- added tokens ----------------------------------------------------------------------------------------------------------------------------- */

#define ADDED(id, content, flags) "{\"id\":" #id ",\"content\":\"" content "\"," flags "\"special\":false}"
#define BYTES                     "{\"type\":\"ByteLevel\",\"add_prefix_space\":false,\"use_regex\":false}"

static void the_longest_added_token_wins(void **state) {
  (void)state;
  etk_tokenizer *t = tokenizer_of(ADDED(300, "<a>", "") "," ADDED(301, "<a><b>", "") "," ADDED(302, "<b><c>", ""), "null", BYTES);
  encodes(t, "x<a><b><c>y<a>", "x<301><c>y<300>", false);
  etk_tokenizer_free(t);
}

static void whitespace_beside_a_token_is_taken_as_asked(void **state) {
  (void)state;
  etk_tokenizer *t = tokenizer_of(ADDED(300, "<l>", "\"lstrip\":true,") "," ADDED(301, "<r>", "\"rstrip\":true,"), "null", BYTES);
  encodes(t, "a \xc2\xa0<l> b <r>\n c", "a<300> b <301>c", false);
  encodes(t, "<r>  <l> ", "<301><300> ", false); /* what the first took is not there for the second */
  etk_tokenizer_free(t);
}

static void a_single_word_does_not_match_inside_one(void **state) {
  (void)state;
  etk_tokenizer *t = tokenizer_of(ADDED(300, "the", "\"single_word\":true,"), "null", BYTES);
  encodes(t, "the there bathe, the", "<300> there bathe, <300>", false);
  encodes(t, "the_the the\xcc\x81", "the_the the\xcc\x81", false);
  etk_tokenizer_free(t);
}

static void control_tokens_match_only_when_asked(void **state) {
  (void)state;
  etk_tokenizer *t = tokenizer_of("{\"id\":300,\"content\":\"<s>\",\"special\":true}," ADDED(301, "<t>", ""), "null", BYTES);
  encodes(t, "<s><t>", "<300><301>", true);
  encodes(t, "<s><t>", "<s><301>", false);
  etk_tokenizer_free(t);
}

static void normalized_tokens_match_normalized_text(void **state) {
  (void)state;
  etk_tokenizer *t =
      tokenizer_of(ADDED(300, "Hey", "\"normalized\":true,") "," ADDED(301, "YOU", "\"normalized\":false,"), "{\"type\":\"Lowercase\"}", BYTES);
  encodes(t, "HEY You YOU", "<300> you <301>", false);
  assert_int_equal(etk_tokenizer_find(t, "Hey"), 300);
  assert_string_equal(etk_tokenizer_token(t, 300), "Hey");
  etk_tokenizer_free(t);
}

static void an_added_token_of_the_vocabulary_keeps_its_id_there(void **state) {
  (void)state;
  etk_tokenizer *t = tokenizer_of(ADDED(300, "a", ""), "null", BYTES);
  encodes(t, "a", "a", false);
  assert_int_equal(etk_tokenizer_size(t), 256);
  etk_tokenizer_free(t);
  file_refused(ETK_E_FORMAT, "have the same id 97", ADDED(97, "zz", ""), "null", BYTES, "null");
}

/* ---- bytes ---------------------------------------------------------------------------------------------------------------------------------------- */

static void the_alphabet_is_a_bijection(void **state) {
  (void)state;
  for (int b = 0; b < 256; b++) assert_int_equal(etk__char_to_byte(etk__byte_to_char((unsigned char)b)), b);
  assert_int_equal(etk__byte_to_char(' '), 0x120); /* the G with a dot above that stands for a space in every such vocabulary */
  assert_int_equal(etk__byte_to_char('\n'), 0x10a);
  assert_int_equal(etk__byte_to_char(0xad), 0x143);
  assert_int_equal(etk__char_to_byte(0x144), -1);
  assert_int_equal(etk__char_to_byte(' '), -1);
}

/* The table "U+FFFD for maximal subparts" of the Unicode standard (3.9): 61 F1 80 80 E1 80 C2 62 80 63 80 BF 64, and lone surrogates. */
static void broken_utf8_counts_as_replacement_characters(void **state) {
  (void)state;
#define FFFD "\xef\xbf\xbd"
  etk_tokenizer *t = tokenizer_of("", "null", BYTES);
  encodes(t,
          "a\xf1\x80\x80\xe1\x80\xc2"
          "b\x80"
          "c\x80\xbf"
          "d",
          "a" FFFD FFFD FFFD "b" FFFD "c" FFFD FFFD "d", false);
  encodes(t, "\xed\xa0\x80", FFFD FFFD FFFD, false);
  encodes(t, "\xc3", FFFD, false);
  encodes(t, "\xc0\xaf", FFFD FFFD, false);
  etk_tokenizer_free(t);
}

/* ---- decoding ---------------------------------------------------------------------------------------------------------------------------------- */

static void decodes(const char *decoder, const char *vocab, const int32_t *ids, size_t count, const char *wanted) {
  char *bytes = file_of("", "null", "null", decoder, vocab, ""), *text;
  etk_tokenizer *t = parse(bytes);
  size_t size;
  works(etk_tokenizer_decode(e, t, &text, &size, ids, count, true));
  assert_string_equal(text, wanted);
  assert_int_equal(size, strlen(wanted));
  etk_free(text);
  etk_decoder *stream; /* the same in pieces */
  etk_text all = ETK_TEXT_INIT;
  works(etk_decoder_new(e, &stream, t, true));
  for (size_t i = 0; i <= count; i++) {
    const char *part;
    works(etk_decoder_push(e, stream, i < count ? ids[i] : -1, &part, &size));
    assert_true(etk_utf8_valid(part, size));
    etk_text_append(&all, part, size);
  }
  etk_text_putc(&all, 0);
  assert_string_equal(all.data, wanted);
  etk_text_free(&all);
  etk_decoder_free(stream);
  etk_tokenizer_free(t);
  etk_free(bytes);
}

#define WORDS ",\"\xe2\x96\x81Hey\":256,\"\xe2\x96\x81\xe2\x96\x81you\":257,\"<0xC3>\":258,\"<0xA9>\":259,\"an</w>\":260,\"  x \":261,\"a b\":262"

static void decoders_are_those_of_the_original(void **state) {
  (void)state;
  const int32_t hey[] = {256, 257}, you[] = {257, 256}, bytes[] = {256, 258, 259}, words[] = {260, 260, 97}, strip[] = {261, 261},
                raw[] = {262, 0x20};
  decodes("{\"type\":\"Metaspace\",\"replacement\":\"\xe2\x96\x81\",\"prepend_scheme\":\"always\"}", WORDS, hey, 2, "Hey  you");
  decodes("{\"type\":\"Metaspace\",\"replacement\":\"\xe2\x96\x81\",\"prepend_scheme\":\"always\"}", WORDS, you, 2, "you Hey");
  decodes("{\"type\":\"Metaspace\",\"replacement\":\"\xe2\x96\x81\",\"prepend_scheme\":\"never\"}", WORDS, hey, 2, " Hey  you");
  decodes("{\"type\":\"ByteFallback\"}", WORDS, bytes, 3, "\xe2\x96\x81Hey\xc3\xa9");
  decodes("{\"type\":\"BPEDecoder\",\"suffix\":\"</w>\"}", WORDS, words, 3, "an an a");
  decodes("{\"type\":\"Strip\",\"content\":\" \",\"start\":1,\"stop\":1}", WORDS, strip, 2, " x x");
  decodes("{\"type\":\"Sequence\",\"decoders\":[{\"type\":\"Fuse\"},{\"type\":\"Strip\",\"content\":\" \",\"start\":1,\"stop\":0}]}", WORDS, strip, 2,
          " x   x ");
  decodes("{\"type\":\"ByteLevel\"}", WORDS, raw, 2, "a b "); /* a token outside the alphabet stands for itself */
  decodes("null", WORDS, hey, 2, "\xe2\x96\x81Hey \xe2\x96\x81\xe2\x96\x81you");
}

static void what_a_file_may_not_ask_for_is_named(void **state) {
  (void)state;
  file_refused(ETK_E_UNSUPPORTED, "the normalizer 'Compiled'", "", "{\"type\":\"Compiled\"}", "null", "null");
  file_refused(ETK_E_UNSUPPORTED, "the pre-tokenizer 'UnicodeScripts'", "", "null", "{\"type\":\"UnicodeScripts\"}", "null");
  file_refused(ETK_E_UNSUPPORTED, "the decoder 'CTC'", "", "null", "null", "{\"type\":\"CTC\"}");
  file_refused(ETK_E_UNSUPPORTED, "the decoder 'Replace' over the whole text", "", "null", "null",
               "{\"type\":\"Sequence\",\"decoders\":[{\"type\":\"Fuse\"},{\"type\":\"Replace\",\"pattern\":{\"String\":\"a\"},\"content\":\"b\"}]}");
  file_refused(ETK_E_UNSUPPORTED, "t: pre-tokenizer: the pattern \"[a[b]]\" uses a class inside a class", "", "null", SPLIT("[a[b]]", "Isolated"),
               "null");
  file_refused(ETK_E_FORMAT, "the behavior 'Merged'", "", "null", SPLIT("a", "Merged"), "null");
  file_refused(ETK_E_FORMAT, "a normalizer without a \"type\"", "", "{}", "null", "null");
  file_refused(ETK_E_FORMAT, "ids from 0 to", ADDED(-1, "qq", ""), "null", "null", "null");
  file_refused(ETK_E_FORMAT, "ids from 0 to", ADDED(4194304, "qq", ""), "null", "null", "null");
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(split_behaviours_are_those_of_the_documentation),
      cmocka_unit_test(punctuation_and_metaspace_are_those_of_the_original),
      cmocka_unit_test(spaces_are_those_of_the_unicode_database),
      cmocka_unit_test(words_are_those_of_the_engine_they_are_written_for),
      cmocka_unit_test(case_folding_reaches_the_long_s),
      cmocka_unit_test(scripts_are_not_their_extensions),
      cmocka_unit_test(an_empty_match_cuts_and_goes_on),
      cmocka_unit_test(what_a_pattern_cannot_have_is_named),
      cmocka_unit_test(unicode_forms_are_those_of_the_standard),
      cmocka_unit_test(a_hundred_thousand_marks_are_ordered_in_a_blink),
      cmocka_unit_test(other_normalizers_do_as_they_say),
      cmocka_unit_test(the_longest_added_token_wins),
      cmocka_unit_test(whitespace_beside_a_token_is_taken_as_asked),
      cmocka_unit_test(a_single_word_does_not_match_inside_one),
      cmocka_unit_test(control_tokens_match_only_when_asked),
      cmocka_unit_test(normalized_tokens_match_normalized_text),
      cmocka_unit_test(an_added_token_of_the_vocabulary_keeps_its_id_there),
      cmocka_unit_test(the_alphabet_is_a_bijection),
      cmocka_unit_test(broken_utf8_counts_as_replacement_characters),
      cmocka_unit_test(decoders_are_those_of_the_original),
      cmocka_unit_test(what_a_file_may_not_ask_for_is_named),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
