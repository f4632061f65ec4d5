/* Tests of etk_log_redact: what must go, and what must stay. The credentials are made up; their forms are their issuers'. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include "etk/log.h"

typedef struct row {
  const char *message, *wanted; /* NULL: it stays */
  int count;
} row;

static void check(const row *rows, size_t count) {
  for (size_t i = 0; i < count; i++) {
    char text[512];
    snprintf(text, sizeof text, "%s", rows[i].message);
    int found = etk_log_redact(text);
    assert_string_equal(text, rows[i].wanted ? rows[i].wanted : rows[i].message);
    assert_int_equal(found, rows[i].count);
    assert_int_equal(etk_log_redact(text), 0); /* nothing is left to find */
  }
}
#define CHECK(rows) check((rows), sizeof(rows) / sizeof(rows)[0])

static void keys_tell_secrets_in_any_case_and_quoting(void **state) {
  (void)state;
  static const row rows[] = {
      {"api_key=12345", "api_key=***", 1},
      {"API-Key: 12345", "API-Key: ***", 1},
      {"apiKey=12345", "apiKey=***", 1},
      {"APIKEY = 12345 next", "APIKEY = *** next", 1},
      {"x-api-key:abcd", "x-api-key:***", 1},
      {"openai.api_key='sk 1'", "openai.api_key='***'", 1},
      {"Password: hunter2", "Password: ***", 1},
      {"PASSWORD=a.b/c+d==", "PASSWORD=***", 1},
      {"a.b.password=x.y/z+w=", "a.b.password=***", 1},
      {"db-password := secret1", "db-password := ***", 1},
      {"{:password => 'abcd'}", "{:password => '***'}", 1},
      {"passphrase==abcd", "passphrase==***", 1},
      {"db_pwd=abcd", "db_pwd=***", 1},
      {"clientSecret=abcd", "clientSecret=***", 1},
      {"AWS_SECRET_ACCESS_KEY=abcd/efgh+ij", "AWS_SECRET_ACCESS_KEY=***", 1},
      {"AccountKey=abcd==;EndpointSuffix=x", "AccountKey=***;EndpointSuffix=x", 1},
      {"private_key: abcd", "private_key: ***", 1},
      {"X-Amz-Signature=abcdef&X-Amz-Date=1", "X-Amz-Signature=***&X-Amz-Date=1", 1},
      {"access_token=abcd refresh_token=efgh", "access_token=*** refresh_token=***", 2},
      {"accessToken: abcd, authtoken: efgh", "accessToken: ***, authtoken: ***", 2},
      {"HF_TOKEN=abcdef", "HF_TOKEN=***", 1},
      {"os.environ['HF_TOKEN'] = 'abcdef'", "os.environ['HF_TOKEN'] = '***'", 1},
      {"config[\"api_key\"]=\"abcd\"", "config[\"api_key\"]=\"***\"", 1},
      {"login --token abcd --user me", "login --token *** --user me", 1},
      {"login --api-key=abcd", "login --api-key=***", 1},
      {"<password>abcd</password>", "<password>***</password>", 1},
      {"token=Bearer abcd", "token=***", 1},
      {"password=\"with \\\"quotes\\\" inside\" n=1", "password=\"***\" n=1", 1},
      {"password='it\\'s' n=1", "password='***' n=1", 1},
      {"password=\"open", "password=\"***", 1},
      {"secret=\xC3\xA4\xC3\xB6 n=1", "secret=*** n=1", 1},
      {"token=123456", "token=***", 1},
  };
  CHECK(rows);
}

static void json_text_is_searched_at_every_depth(void **state) {
  (void)state;
  static const row rows[] = {
      {"{\"api_key\": \"abcd\"}", "{\"api_key\": \"***\"}", 1},
      {"{\"a\":{\"b\":{\"password\":\"abcd\"}}}", "{\"a\":{\"b\":{\"password\":\"***\"}}}", 1},
      {"{\"password\":12345678}", "{\"password\":***}", 1},
      {"{\"api_key\": [\"abcd\", \"efgh\"], \"n\": 1}", "{\"api_key\": [\"***\", \"***\"], \"n\": 1}", 2},
      {"{\"secret\": {\"value\": \"abcd\", \"more\": [\"efgh\"]}, \"n\": \"x\"}", "{\"secret\": {\"value\": \"***\", \"more\": [\"***\"]}, \"n\": \"x\"}", 2},
      {"{\\\"password\\\": \\\"it is long, \\\\\\\"really\\\\\\\"\\\", \\\"n\\\": 1}", "{\\\"password\\\": \\\"***\\\", \\\"n\\\": 1}", 1},
      {"{\\\\\\\"password\\\\\\\": \\\\\\\"a b\\\\\\\", \\\\\\\"n\\\\\\\": 1}", "{\\\\\\\"password\\\\\\\": \\\\\\\"***\\\\\\\", \\\\\\\"n\\\\\\\": 1}", 1},
      {"{\"body\": \"password=abcd\"}", "{\"body\": \"password=***\"}", 1},
      {"{\"Authorization\": \"Bearer abcd\", \"n\": 1}", "{\"Authorization\": \"***\", \"n\": 1}", 1},
      {"\"password\"\t:\t\"abcd\"", "\"password\"\t:\t\"***\"", 1},
  };
  CHECK(rows);
}

static void headers_and_schemes_carry_secrets(void **state) {
  (void)state;
  static const row rows[] = {
      {"Bearer abc.def-123", "Bearer ***", 1},
      {"BEARER abc.def/123+4==", "BEARER ***", 1},
      {"bearer abcdefghijk", "bearer ***", 1},
      {"sent Basic dXNlcjpwYXNz to it", "sent Basic *** to it", 1},     /* RFC 7617 form: user:pass */
      {"basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==", "basic ***", 1}, /* the example of RFC 7617, section 2 */
      {"curl -H 'Authorization: Basic dXNlcjpwYXNz' http://x", "curl -H 'Authorization: ***' http://x", 1},
      {"Proxy-Authorization: Digest username=\"a\", response=\"b\"", "Proxy-Authorization: ***\"a\", response=\"b\"", 1},
      {"Authorization: token abcd efgh\nnext", "Authorization: ***\nnext", 1},
      {"Set-Cookie: id=abcd; Path=/\nnext", "Set-Cookie: ***\nnext", 1},
      {"Cookie: a=b", "Cookie: ***", 1},
  };
  CHECK(rows);
}

static void passwords_in_addresses_go(void **state) {
  (void)state;
  static const row rows[] = {
      {"https://user:pass@host/path", "https://user:***@host/path", 1},
      {"postgres://u:p%40w@db:5432/x?sslmode=on", "postgres://u:***@db:5432/x?sslmode=on", 1},
      {"redis://:abcd@host", "redis://:***@host", 1},
      {"postgres://u:p/w@db:5432/x", "postgres://u:***@db:5432/x", 1},
      {"ftp://u:p@w@host", "ftp://u:***@host", 1},
      {"(\"https://u:pass@host\")", "(\"https://u:***@host\")", 1},
      {"https://token:abcd@host", "https://token:***@host", 1},
      {"https://hf_AbcdefghijklmnopQR@huggingface.co/x", "https://hf_***@huggingface.co/x", 1},
      {"GET https://x/y?api_key=abcd&n=1", "GET https://x/y?api_key=***&n=1", 1},
  };
  CHECK(rows);
}

static void credentials_are_known_by_their_look(void **state) {
  (void)state;
  static const row rows[] = {
      {"using hf_AbcdefghijklmnopqrstuvwxyzABCDEFGH", "using hf_***", 1},
      {"sk-abcdefghijklmnopqrst1234", "sk-***", 1},
      {"key sk-proj-abcdefghijklmnop1234_ab-cd.", "key sk-***.", 1},
      {"ghp_abcdefghijklmnopqrstuvwxyz0123456789", "ghp_***", 1},
      {"gho_ABCDefghijklmnopqrstuvwxyz0123456789", "gho_***", 1},
      {"github_pat_11ABCDEFG0123456789abc_def", "github_pat_***", 1},
      {"glpat-abcdefGHIJ0123456789", "glpat-***", 1},
      {"xoxb-1234567890-abcdef", "xoxb-***", 1},
      {"AKIAABCDEFGHIJKLMNOP", "AKIA***", 1},
      {"AIzaSyA0123456789abcdefghijklmnopqrstuv", "AIza***", 1},
      {"eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.c2lnbmF0dXJl", "eyJ***", 1},
      {"-----BEGIN RSA PRIVATE KEY-----\nMIIabc\n-----END RSA PRIVATE KEY-----", "-----BEGIN RSA PRIVATE KEY-----***-----END RSA PRIVATE KEY-----", 1},
      {"-----BEGIN PRIVATE KEY-----\nMIIabc", "-----BEGIN PRIVATE KEY-----***", 1},
      {"https://x/?k=hf_AbcdefghijklmnopQR&n=1", "https://x/?k=hf_***&n=1", 1},
  };
  CHECK(rows);
}

static void ordinary_words_stay(void **state) {
  (void)state;
  static const row rows[] = {
      {"tokens=512", NULL, 0},
      {"tokens: 512, tokens_per_second=3.5", NULL, 0},
      {"max_tokens=256 --max-tokens 256 max_token=3", NULL, 0},
      {"token_count=12, num_token=3, prompt_token: 7", NULL, 0},
      {"tokenizer: bpe; tokenizer=\"bpe\"; subtoken: x", NULL, 0},
      {"\"tokenizer_class\": \"LlamaTokenizer\"", NULL, 0},
      {"eos_token=</s>, \"bos_token\": \"<s>\", pad_token: <pad>", NULL, 0},
      {"ms_per_token=3.5 time per token: 3.5", NULL, 0},
      {"token=15043", NULL, 0},
      {"\"token\": 2", NULL, 0},
      {"has_token=true secret: none password=null", NULL, 0},
      {"the bearer of news; Bearer authentication is used", NULL, 0},
      {"basic training of 12 epochs", NULL, 0},
      {"a secret is safe; the password is wrong", NULL, 0},
      {"--token is required, --api-key wants a value", NULL, 0},
      {"password=", NULL, 0},
      {"password: \"\"", NULL, 0},
      {"PWD=/home/user OLDPWD=/tmp", NULL, 0},
      {"primary_key=id sort_key: name key=value", NULL, 0},
      {"keyboard=us monkey: yes author=me authority=x", NULL, 0},
      {"http://host:8080/path@2x.png", NULL, 0},
      {"http://[::1]:80/x@y ssh://user@host", NULL, 0},
      {"mail to someone@example.org at 12:30", NULL, 0},
      {"hf_model_for_causal_language_modelling", NULL, 0},
      {"sk-learn-compatible-estimators", NULL, 0},
      {"models/desk-lamp/sk-8.bin ghp_short", NULL, 0},
      {"eyJust.kidding", NULL, 0},
      {"secret://vault/path", NULL, 0},
      {"-----BEGIN CERTIFICATE-----", NULL, 0},
      {"passed 3, pass: 3, bypass=1, compass: n", NULL, 0},
      {"secretary=Ann cookies=3", NULL, 0},
      {"", NULL, 0},
      {"***", NULL, 0},
  };
  CHECK(rows);
}

static void keys_that_hold_secrets_are_known_by_name(void **state) {
  (void)state;
  static const char *const secret[] = {"api_key", "Authorization", "db.password", "HF_TOKEN", "x-api-key", "clientSecret", "a.b.c.private-key", "Set-Cookie", "token"};
  static const char *const open[] = {"tokens", "max_tokens", "tokenizer", "token_count", "eos_token", "key", "path", "author", "", "t", "primary_key"};
  for (size_t i = 0; i < sizeof secret / sizeof secret[0]; i++) assert_true(etk_log_secret_key(secret[i]));
  for (size_t i = 0; i < sizeof open / sizeof open[0]; i++) assert_false(etk_log_secret_key(open[i]));
  assert_false(etk_log_secret_key(NULL));
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(keys_tell_secrets_in_any_case_and_quoting),
      cmocka_unit_test(json_text_is_searched_at_every_depth),
      cmocka_unit_test(headers_and_schemes_carry_secrets),
      cmocka_unit_test(passwords_in_addresses_go),
      cmocka_unit_test(credentials_are_known_by_their_look),
      cmocka_unit_test(ordinary_words_stay),
      cmocka_unit_test(keys_that_hold_secrets_are_known_by_name),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
