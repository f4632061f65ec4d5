/* One table of options: a struct from a configuration, and the documents that are made of it. */
#include <etk/fs.h>
#include <etk/options.h>

#include "../interpose.h"

#include <setjmp.h>
#include <stdarg.h>
#include <unistd.h>

#include <cmocka.h>

#define TLS(OPT)                                                                                                       \
  OPT(path, certificate, "-", "exists", "server.tls", "", 0, "where the certificate lies")                             \
  OPT(choice, oldest, "1.2", "1.2|1.3", "server.tls", "", ETK_ADVANCED, "the oldest version of TLS")
#define SERVER(OPT)                                                                                                    \
  OPT(text, greeting, "say \"hi\"\\nno: really", "1..40", "", "g hello-text", 0, "what is said first")                  \
  OPT(int, port, "8000", "1..65535", "server", "p listen-port", 0, "where to listen")                                  \
  OPT(real, rate, "2e-5", "0<..1", "server", "", 0, "a rate")                                                          \
  OPT(flag, loud, "yes", "", "server", "", 0, "say more")                                                              \
  OPT(int, workers, "-", "0|2|4..8", "server", "", 0, "how many; default: one for each core")                          \
  TLS(OPT)                                                                                                             \
  OPT(size, cache, "1MiB", "1KiB..4GiB", "limits", "", ETK_ADVANCED, "memory for answers")                             \
  OPT(duration, patience, "90s", "..1h", "limits", "", 0, "how long to wait | at most")                                \
  OPT(ints, sizes, "1,2", "1..9", "limits", "", 0, "some sizes")                                                       \
  OPT(reals, weights, "", "0..<1", "limits", "", 0, "some weights")                                                    \
  OPT(texts, names, "a,b\\\\,c", "..8", "limits", "", 0, "some names")                                                 \
  OPT(map, labels, "k=v", "", "limits", "", 0, "pairs")                                                                \
  OPT(secret, token, "-", "", "server", "", 0, "who may call")                                                         \
  OPT(int, local, "7", "", "server", "", ETK_LOCAL, "not from files")                                                  \
  OPT(int, hidden, "6", "", "server", "", ETK_HIDDEN, "not told")
ETK_OPTIONS(server, SERVER)
#define GUARD(OPT) OPT(secret, token, "", "", "guard", "", 0, "a secret may not have a default, and this one is no token") OPT(secret, key, "hunter2", "", "guard", "", 0, "nor this")
ETK_OPTIONS_WITH(guard, "Keeps \\\\ the door", GUARD)

static char folder[256];

static etk_config *yaml(const char *text) {
  etk_config *config = NULL;
  etk_error e = ETK_ERROR_INIT;
  if (etk_config_parse(&e, &config, "s.yaml", text, strlen(text), ETK_CONFIG_YAML)) print_message("%s\n", e.message);
  return config;
}

static etk_status load(struct server_options *o, etk_error *e, etk_arena *arena, const char *text, const char *path) {
  etk_config *config = yaml(text);
  assert_non_null(config);
  *e = (etk_error)ETK_ERROR_INIT;
  etk_status status = etk_options_load(e, o, arena, &server_table, config, path);
  etk_config_free(config);
  return status;
}

static void defaults_hold(const struct server_options *o) {
  assert_int_equal(o->struct_size, sizeof *o);
  assert_string_equal(o->greeting, "say \"hi\"\nno: really");
  assert_int_equal(o->port, 8000);
  assert_true(o->rate == 2e-5);
  assert_true(o->loud);
  assert_int_equal(o->workers, 0);
  assert_null(o->certificate);
  assert_string_equal(o->oldest, "1.2");
  assert_int_equal(o->cache, 1 << 20);
  assert_int_equal(o->patience, INT64_C(90000000000));
  assert_int_equal(o->sizes.count, 2);
  assert_int_equal(o->weights.count, 0);
  assert_int_equal(o->names.count, 2);
  assert_string_equal(o->names.items[1], "b,c");
  assert_int_equal(o->labels.count, 1);
  assert_null(o->token);
  assert_int_equal(o->local, 7);
}

static void nothing_given_is_all_defaults(void **state) {
  struct server_options o;
  etk_arena arena = ETK_ARENA_INIT;
  (void)state;
  memset(&o, 0xa5, sizeof o);
  assert_int_equal(etk_options_load(NULL, &o, &arena, &server_table, NULL, NULL), ETK_OK);
  defaults_hold(&o);
  etk_arena_fini(&arena);
}

static void a_configuration_fills_the_struct(void **state) {
  struct server_options o;
  etk_arena arena = ETK_ARENA_INIT;
  etk_error e;
  (void)state;
  etk_status status = load(&o, &e, &arena,
                           "hello-text: 12\nserver:\n  port: 1e3\n  rate: 1\n  loud: false\n  workers: 0o7\n  tls: {oldest: '1.3'}\nlimits:\n  cache: 2 MiB\n"
                           "  patience: 0.5\n  sizes: [3, 0x4]\n  weights: 0.25, 0.5\n  names: [\"x,y\", z]\n  labels: {a: 1, b: true}\n",
                           NULL);
  if (status) print_message("%s\n", e.message);
  assert_int_equal(status, ETK_OK);
  assert_string_equal(o.greeting, "12");
  assert_int_equal(o.port, 1000);
  assert_true(o.rate == 1);
  assert_false(o.loud);
  assert_int_equal(o.workers, 7);
  assert_string_equal(o.oldest, "1.3");
  assert_int_equal(o.cache, 2 << 20);
  assert_int_equal(o.patience, 500000000);
  assert_int_equal(o.sizes.items[1], 4);
  assert_true(o.weights.count == 2 && o.weights.items[1] == 0.5);
  assert_string_equal(o.names.items[0], "x,y");
  assert_int_equal(o.labels.count, 2);
  assert_string_equal(o.labels.values[1], "true");
  etk_arena_fini(&arena);
}

static void a_table_may_lie_at_a_path(void **state) {
  struct server_options o;
  etk_arena arena = ETK_ARENA_INIT;
  etk_error e;
  (void)state;
  assert_int_equal(load(&o, &e, &arena, "a: {b: {server: {port: 1}}}\nother: 1\n", "a.b"), ETK_OK);
  assert_int_equal(o.port, 1);
  assert_int_equal(load(&o, &e, &arena, "a: {}\n", "a.b"), ETK_OK);
  assert_int_equal(o.port, 8000);
  assert_int_equal(load(&o, &e, &arena, "a:\n  server:\n    prot: 1\n", "a"), ETK_E_USAGE);
  assert_string_equal(e.message, "s.yaml:3:5: unknown key 'a.server.prot'; did you mean 'a.server.port'?");
  assert_int_equal(load(&o, &e, &arena, "a: [1]\n", "a"), ETK_E_USAGE);
  assert_non_null(strstr(e.message, "a list, where a map of options is wanted"));
  etk_arena_fini(&arena);
}

static void mistakes_name_file_line_column_and_key(void **state) {
  static const struct { const char *text, *message; } rows[] = {
      {"server:\n  prot: 1\n", "s.yaml:2:3: unknown key 'server.prot'; did you mean 'server.port'?"},
      {"port: 1\n", "s.yaml:1:1: unknown key 'port'; did you mean 'server.port'?"},
      {"xyzzy: 1\n", "s.yaml:1:1: unknown key 'xyzzy'"},
      {"server:\n  port: 0\n", "s.yaml:2:3: server.port: 0 is below 1 (allowed: 1..65535)"},
      {"server:\n  port: 70000\n", "s.yaml:2:3: server.port: 70000 is above 65535 (allowed: 1..65535)"},
      {"server:\n  port: 1.5\n", "s.yaml:2:3: server.port: '1.5' is not a whole number (allowed: 1..65535)"},
      {"server:\n  port: [1]\n", "s.yaml:2:3: server.port: a list, where a value of kind int is wanted"},
      {"server:\n  workers: 3\n", "s.yaml:2:3: server.workers: 3 is not allowed (allowed values: 0|2|4..8)"},
      {"server: 3\n", "s.yaml:1:1: server: this is a group of options and wants a map, not a whole number"},
      {"server:\n  tls:\n    oldest: '1.4'\n", "s.yaml:3:5: server.tls.oldest: '1.4' is not one of 1.2, 1.3; did you mean '1.2'?"},
      {"server:\n  port: 1\n  listen_port: 2\n", "s.yaml:3:3: server.listen_port: this is 'server.port', which s.yaml:2:3 gives too; give it once"},
      {"limits:\n  sizes: [1, 10]\n", "s.yaml:2:3: limits.sizes, item 2: 10 is above 9 (allowed: 1..9)"},
      {"limits:\n  sizes: [1, [2]]\n", "s.yaml:2:3: limits.sizes: an item is a list, where a plain value is wanted"},
      {"limits:\n  labels: 3\n", "s.yaml:2:3: limits.labels: a whole number, where a value of kind map is wanted"},
      {"limits:\n  labels: {a=b: 3}\n", "cannot be a key here"},
      {"greeting: \"\"\n", "s.yaml:1:1: greeting: its length of 0 bytes is below 1"},
      {"greeting: \"a\\0b\"\n", "s.yaml:1:1: greeting: the text holds a NUL byte"},
      {"server:\n  token: hunter2\n", "s.yaml:2:3: server.token: a secret may not be written there"},
      {"server:\n  local: 1\n", "s.yaml:2:3: server.local: this option is not read from configurations"},
      {"server:\n  tls:\n    certificate: /no/such/file\n", "s.yaml:3:5: server.tls.certificate: '/no/such/file' does not exist"}};
  struct server_options o;
  etk_arena arena = ETK_ARENA_INIT;
  (void)state;
  for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
    etk_error e;
    assert_int_equal(load(&o, &e, &arena, rows[i].text, NULL), ETK_E_USAGE);
    if (!strstr(e.message, rows[i].message)) print_message("%s\n", e.message);
    assert_non_null(strstr(e.message, rows[i].message));
    assert_null(strstr(e.message, "hunter2"));
    defaults_hold(&o); /* also after a part was read */
  }
  etk_arena_fini(&arena);
}

static void null_leaves_the_default(void **state) {
  struct server_options o;
  etk_arena arena = ETK_ARENA_INIT;
  etk_error e;
  (void)state;
  assert_int_equal(load(&o, &e, &arena, "server:\n  port:\n  tls:\nlimits: ~\n", NULL), ETK_OK);
  defaults_hold(&o);
  etk_arena_fini(&arena);
}

static void a_secret_is_read_from_its_file(void **state) {
  struct server_options o;
  etk_arena arena = ETK_ARENA_INIT;
  etk_error e;
  char path[300], text[400];
  (void)state;
  snprintf(path, sizeof path, "%s/token", folder);
  assert_int_equal(etk_fs_write(NULL, path, "hunter2\n", 8, true), ETK_OK);
  snprintf(text, sizeof text, "server:\n  token: \"@%s\"\n", path);
  assert_int_equal(load(&o, &e, &arena, text, NULL), ETK_OK);
  assert_string_equal(o.token, "hunter2");
  etk_arena_fini(&arena);
}

static void a_table_that_cannot_be_filled_is_refused(void **state) {
  struct server_options o;
  etk_arena arena = ETK_ARENA_INIT;
  etk_option_row row = server_table.rows[1];
  etk_option_table table = server_table;
  etk_error e = ETK_ERROR_INIT;
  (void)state;
  table.rows = &row, table.count = 1;
  row.offset = (uint32_t)sizeof o - 4;
  assert_int_equal(etk_options_load(&e, &o, &arena, &table, NULL, NULL), ETK_E_INVALID);
  row = server_table.rows[1], row.size = 4;
  assert_int_equal(etk_options_load(&e, &o, &arena, &table, NULL, NULL), ETK_E_INVALID);
  row = server_table.rows[1], row.kind = 99;
  assert_int_equal(etk_options_load(&e, &o, &arena, &table, NULL, NULL), ETK_E_INVALID);
  row = server_table.rows[1], row.default_text = "0";
  assert_int_equal(etk_options_load(&e, &o, &arena, &table, NULL, NULL), ETK_E_INVALID);
  assert_non_null(strstr(e.message, "the default of port: 0 is below 1"));
  row = server_table.rows[1], table.struct_size = 0;
  assert_int_equal(etk_options_load(&e, &o, &arena, &table, NULL, NULL), ETK_E_INVALID);
  etk_arena_fini(&arena);
}

static void rows_are_found_by_key_and_alias(void **state) {
  char near[64];
  (void)state;
  assert_string_equal(etk_options_find(&server_table, "server.port")->name, "port");
  assert_string_equal(etk_options_find(&server_table, "server.listen_port")->name, "port");
  assert_string_equal(etk_options_find(&server_table, "server.p")->name, "port");
  assert_string_equal(etk_options_find(&server_table, "server.tls.oldest")->name, "oldest");
  assert_string_equal(etk_options_find(&server_table, "greeting")->name, "greeting");
  assert_null(etk_options_find(&server_table, "port"));
  assert_null(etk_options_find(&server_table, "server"));
  assert_null(etk_options_find(&server_table, "server."));
  assert_null(etk_options_find(&server_table, ""));
  assert_string_equal(etk_options_suggest(near, sizeof near, &server_table, "sevrer.port"), "server.port");
  assert_string_equal(etk_options_suggest(near, sizeof near, &server_table, "tls.oldest"), "server.tls.oldest");
  assert_null(etk_options_suggest(near, sizeof near, &server_table, "hidden"));
  assert_null(etk_options_suggest(near, sizeof near, &server_table, "unrelated"));
}

/* ---- documents ---- */

static char *template(etk_config_format format, bool all) {
  etk_text out = ETK_TEXT_INIT;
  etk_error e = ETK_ERROR_INIT;
  if (etk_options_template(&e, &out, &server_table, format, all)) print_message("%s\n", e.message);
  return etk_text_take(&out);
}

static void reads_back(const char *text, etk_config_format format) {
  etk_config *config = NULL;
  etk_error e = ETK_ERROR_INIT;
  struct server_options o;
  etk_arena arena = ETK_ARENA_INIT;
  etk_status status = etk_config_parse(&e, &config, "t", text, strlen(text), format);
  if (!status) status = etk_options_load(&e, &o, &arena, &server_table, config, NULL);
  if (status) print_message("%s\n%s\n", e.message, text);
  assert_int_equal(status, ETK_OK);
  defaults_hold(&o);
  etk_config_free(config);
  etk_arena_fini(&arena);
}

static void a_template_reads_back_as_the_defaults(void **state) {
  static const etk_config_format formats[] = {ETK_CONFIG_YAML, ETK_CONFIG_TOML, ETK_CONFIG_JSON};
  (void)state;
  for (size_t i = 0; i < 6; i++) {
    char *text = template(formats[i / 2], i % 2);
    assert_non_null(text);
    reads_back(text, formats[i / 2]);
    etk_free(text);
  }
}

static void a_yaml_template_explains_every_key(void **state) {
  static const char *const parts[] = {"# server\n", "# where to listen (int, 1 to 65535)\n", "\nserver:\n", "\n  port: 8000\n", "\n  loud: true\n",
                                      "\n  rate: 2.0e-5\n", "\n  # workers:\n", "(int, 0, 2 or 4 to 8; unset)", "\n  # tls:\n", "\n    # oldest: \"1.2\"\n", "(one of 1.2 or 1.3)",
                                      "\n  # cache: 1MiB\n", "\n  sizes: [1, 2]\n", "\n  names: [a, \"b,c\"]\n", "\n  labels: {\"k\": v}\n", "\n  # token:\n",
                                      "greeting: \"say \\\"hi\\\"\\nno: really\"\n"};
  char *text = template(ETK_CONFIG_YAML, false);
  (void)state;
  for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++) {
    if (!strstr(text, parts[i])) print_message("without '%s':\n%s\n", parts[i], text);
    assert_non_null(strstr(text, parts[i]));
  }
  assert_null(strstr(text, "hidden"));
  assert_null(strstr(text, "local"));
  etk_free(text);
  text = template(ETK_CONFIG_YAML, true);
  assert_non_null(strstr(text, "\n  tls:\n"));
  assert_non_null(strstr(text, "\n    oldest: \"1.2\"\n"));
  etk_free(text);
}

/* A commented key may be uncommented as it stands. */
static void uncommented_keys_are_defaults_too(void **state) {
  char *text = template(ETK_CONFIG_YAML, false), *to = text;
  (void)state;
  for (char *line = text; *line;) {
    size_t size = strcspn(line, "\n"), blanks = strspn(line, " ");
    size_t word = line[blanks] == '#' ? strspn(line + blanks + 2, "abcdefghijklmnopqrstuvwxyz_") : 0;
    bool key = word && line[blanks + 2 + word] == ':';
    for (size_t i = 0; i < size + (line[size] == '\n'); i++)
      if (!key || (i != blanks && i != blanks + 1)) *to++ = line[i];
    line += size + (line[size] == '\n');
  }
  *to = 0;
  assert_non_null(strstr(text, "\n  workers:\n"));
  assert_non_null(strstr(text, "\n  tls:\n"));
  reads_back(text, ETK_CONFIG_YAML);
  etk_free(text);
}

static char *schema(void) {
  etk_text out = ETK_TEXT_INIT;
  etk_error e = ETK_ERROR_INIT;
  if (etk_options_schema(&e, &out, &server_table, "https://example.org/server.json")) print_message("%s\n", e.message);
  return etk_text_take(&out);
}

static void a_schema_says_types_bounds_and_defaults(void **state) {
  static const char *const facts[][2] = {
      {"$schema", "\"https://json-schema.org/draft/2020-12/schema\""}, {"$id", "\"https://example.org/server.json\""}, {"title", "\"server\""},
      {"additionalProperties", "false"}, {"properties.server.additionalProperties", "false"},
      {"properties.server.properties.port.type", "\"integer\""}, {"properties.server.properties.port.minimum", "1"},
      {"properties.server.properties.port.maximum", "65535"}, {"properties.server.properties.port.default", "8000"},
      {"properties.server.properties.port.description", "\"where to listen\""},
      {"properties.server.properties.listen_port.$ref", "\"#/properties/server/properties/port\""},
      {"properties.server.properties.listen_port.deprecated", "true"},
      {"properties.server.properties.rate.exclusiveMinimum", "0"}, {"properties.server.properties.rate.maximum", "1"},
      {"properties.server.properties.workers.anyOf.0.maximum", "0"}, {"properties.server.properties.workers.anyOf.2.minimum", "4"},
      {"properties.server.properties.tls.properties.oldest.enum", "[\"1.2\", \"1.3\"]"},
      {"properties.limits.properties.cache.minimum", "1024"}, {"properties.limits.properties.cache.default", "\"1MiB\""},
      {"properties.limits.properties.patience.maximum", "3600"}, {"properties.limits.properties.sizes.items.maximum", "9"},
      {"properties.limits.properties.weights.items.exclusiveMaximum", "1"}, {"properties.limits.properties.names.default", "[\"a\", \"b,c\"]"},
      {"properties.greeting.default", "\"say \\\"hi\\\"\\nno: really\""}, {"properties.greeting.minLength", "1"}};
  static const char *const absent[] = {"properties.server.properties.p", "properties.server.properties.hidden", "properties.server.properties.local",
                                       "properties.server.properties.workers.default", "properties.server.properties.token.default"};
  char *text = schema();
  etk_config *tree = NULL;
  (void)state;
  assert_non_null(text);
  assert_int_equal(etk_config_parse(NULL, &tree, "schema.json", text, strlen(text), ETK_CONFIG_JSON), ETK_OK);
  for (size_t i = 0; i < sizeof facts / sizeof facts[0]; i++) {
    const etk_config_node *node = etk_config_find(etk_config_root(tree), facts[i][0]);
    etk_text seen = ETK_TEXT_INIT;
    if (!node) print_message("no %s\n", facts[i][0]);
    assert_non_null(node);
    etk_config_write_json(&seen, node, 0);
    assert_string_equal(seen.data, facts[i][1]);
    etk_text_free(&seen);
  }
  for (size_t i = 0; i < sizeof absent / sizeof absent[0]; i++) assert_null(etk_config_find(etk_config_root(tree), absent[i]));
  etk_config_free(tree);
  etk_free(text);
}

/* What a validator that is not ours says: python3's jsonschema. */
#define VALIDATOR                                                                                        \
  "import json, sys\n"                                                                                   \
  "from jsonschema import Draft202012Validator as V\n"                                                   \
  "s = json.load(open(sys.argv[1])); V.check_schema(s); v = V(s)\n"                                      \
  "for line in open(sys.argv[2]):\n"                                                                     \
  "    want, text = line.split(' ', 1)\n"                                                                \
  "    errors = list(v.iter_errors(json.loads(text)))\n"                                                 \
  "    if (want == 'good') != (not errors): sys.exit(text + ' '.join(e.message for e in errors))\n"

static void put_cases(etk_text *out, char *template_text) {
  static const char *const good[] = {"{}", "{\"server\":{\"port\":1,\"workers\":4,\"tls\":{\"oldest\":\"1.3\"}}}", "{\"server\":{\"rate\":1}}",
                                     "{\"limits\":{\"cache\":\"4 GiB\",\"patience\":\"1h 30 min\"}}", "{\"limits\":{\"cache\":2048,\"patience\":0.5}}",
                                     "{\"limits\":{\"patience\":\"12\",\"weights\":[0,0.5],\"labels\":{\"a\":1,\"b\":\"x\"}}}",
                                     "{\"server\":{\"listen_port\":9,\"token\":\"@file\"}}", "{\"hello_text\":\"\\u00e9\"}"};
  static const char *const bad[] = {"{\"sever\":{}}", "{\"server\":{\"port\":0}}", "{\"server\":{\"port\":1.5}}", "{\"server\":{\"port\":\"x\"}}",
                                    "{\"server\":{\"prot\":1}}", "{\"server\":3}", "{\"server\":{\"rate\":0}}", "{\"server\":{\"workers\":3}}",
                                    "{\"server\":{\"loud\":\"maybe\"}}", "{\"server\":{\"tls\":{\"oldest\":\"1.4\"}}}", "{\"limits\":{\"cache\":\"4 parsec\"}}",
                                    "{\"limits\":{\"cache\":1}}", "{\"limits\":{\"patience\":-1}}", "{\"limits\":{\"patience\":\"1 fortnight\"}}",
                                    "{\"limits\":{\"sizes\":[0]}}", "{\"limits\":{\"weights\":[1]}}", "{\"limits\":{\"names\":[\"longer than eight\"]}}",
                                    "{\"limits\":{\"labels\":{\"a\":[]}}}", "{\"greeting\":\"\"}", "{\"server\":{\"token\":\"hunter2\"}}",
                                    "{\"server\":{\"listen_port\":0}}", "{\"server\":{\"local\":1}}", "[]"};
  for (char *p = template_text; *p; p++)
    if (*p == '\n') *p = ' ';
  etk_text_printf(out, "good %s\n", template_text);
  for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) etk_text_printf(out, "good %s\n", good[i]);
  for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) etk_text_printf(out, "bad %s\n", bad[i]);
}

static void an_independent_validator_agrees(void **state) {
  (void)state;
  if (system("python3 -c 'from jsonschema import Draft202012Validator' >/dev/null 2>&1")) {
    print_message("python3 has no jsonschema with draft 2020-12\n");
    skip();
  }
  char path[3][300], command[1024];
  static const char *const names[] = {"schema.json", "cases", "validate.py"};
  char *text = schema(), *values = template(ETK_CONFIG_JSON, true);
  etk_text cases = ETK_TEXT_INIT;
  for (size_t i = 0; i < 3; i++) snprintf(path[i], sizeof path[i], "%s/%s", folder, names[i]);
  put_cases(&cases, values);
  assert_int_equal(etk_fs_write(NULL, path[0], text, strlen(text), true), ETK_OK);
  assert_int_equal(etk_fs_write(NULL, path[1], cases.data, cases.size, true), ETK_OK);
  assert_int_equal(etk_fs_write(NULL, path[2], VALIDATOR, strlen(VALIDATOR), true), ETK_OK);
  snprintf(command, sizeof command, "python3 '%s' '%s' '%s'", path[2], path[0], path[1]);
  assert_int_equal(system(command), 0);
  etk_text_free(&cases);
  etk_free(values);
  etk_free(text);
}

static void markdown_is_a_table(void **state) {
  static const char *const lines[] = {"| `--port`, `-p`, `--listen-port` | int: 1 to 65535 | `8000` | `server.port` | where to listen |\n",
                                      "| `--workers` | int: 0, 2 or 4 to 8 |  | `server.workers` |", "| how long to wait \\| at most |\n",
                                      "| `--local` | int | `7` | command line only | not from files |\n"};
  etk_text out = ETK_TEXT_INIT;
  (void)state;
  assert_int_equal(etk_options_markdown(NULL, &out, &server_table), ETK_OK);
  for (size_t i = 0; i < sizeof lines / sizeof lines[0]; i++) {
    if (!strstr(out.data, lines[i])) print_message("%s\n", out.data);
    assert_non_null(strstr(out.data, lines[i]));
  }
  assert_null(strstr(out.data, "hidden"));
  etk_text_free(&out);
}

static void limits_read_as_words(void **state) {
  static const struct { uint32_t kind; const char *limits, *words; } rows[] = {
      {ETK_KIND_int, "1..256", "1 to 256"}, {ETK_KIND_int, "", ""}, {ETK_KIND_int, "0..", "at least 0"}, {ETK_KIND_int, "..100", "at most 100"},
      {ETK_KIND_real, "0<..1", "above 0, at most 1"}, {ETK_KIND_real, "0..<1", "at least 0, below 1"}, {ETK_KIND_real, "0<..", "above 0"},
      {ETK_KIND_int, "0|32|64..128", "0, 32 or 64 to 128"}, {ETK_KIND_int, "4", "4"}, {ETK_KIND_choice, "linear|cosine|constant", "linear, cosine or constant"},
      {ETK_KIND_choice, "a\\|b|c", "a|b or c"}, {ETK_KIND_size, "1MiB..4GiB", "1MiB to 4GiB"}, {ETK_KIND_duration, "..1h", "at most 1h"},
      {ETK_KIND_text, "1..40", "1 to 40 bytes"}, {ETK_KIND_path, "dir", "an existing folder"}, {ETK_KIND_ints, "1..9", "each 1 to 9"}, {ETK_KIND_flag, "", ""}};
  (void)state;
  for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
    etk_text out = ETK_TEXT_INIT;
    etk_limits_words(&out, rows[i].kind, rows[i].limits);
    assert_string_equal(out.size ? out.data : "", rows[i].words);
    etk_text_free(&out);
  }
}

static void a_comma_of_an_item_is_escaped(void **state) {
  static const struct { const char *text; size_t count; const char *items[3]; } rows[] = {
      {"a\\,b,c", 2, {"a,b", "c"}}, {"a\\\\,b", 2, {"a\\", "b"}}, {"a\\\\\\,b", 1, {"a\\,b"}}, {"\\d+,x\\", 2, {"\\d+", "x\\"}},
      {"a\\,", 1, {"a,"}},          {" a , b ", 2, {"a", "b"}},   {"C:\\x,y", 2, {"C:\\x", "y"}}, {"a,,b", 3, {"a", "", "b"}}};
  (void)state;
  for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
    etk_arena arena = ETK_ARENA_INIT;
    etk_value value = {0}, again = {0};
    etk_text shown = ETK_TEXT_INIT;
    assert_int_equal(etk_value_parse(NULL, &value, &arena, ETK_KIND_texts, "", rows[i].text, "--x", false), ETK_OK);
    value.source = ETK_FROM_SET;
    etk_value_show(&shown, ETK_KIND_texts, &value);
    assert_int_equal(etk_value_parse(NULL, &again, &arena, ETK_KIND_texts, "", shown.data, "--x", false), ETK_OK);
    for (const etk_value *v = &value;; v = &again) {
      assert_int_equal(v->texts.count, rows[i].count);
      for (size_t k = 0; k < rows[i].count; k++) assert_string_equal(v->texts.items[k], rows[i].items[k]);
      if (v == &again) break;
    }
    etk_text_free(&shown);
    etk_arena_fini(&arena);
  }
}

/* ---- lists and maps as YAML writes them ---- */

static etk_status parse(etk_value *out, etk_error *e, etk_arena *arena, uint32_t kind, const char *text) {
  *e = (etk_error)ETK_ERROR_INIT;
  *out = (etk_value){.source = ETK_FROM_SET};
  return etk_value_parse(e, out, arena, kind, "", text, "--x", false);
}

static void a_list_may_be_typed_as_yaml_writes_it(void **state) {
  static const struct {
    const char *text, *json;
  } rows[] = {{"[a,b]", "[\"a\",\"b\"]"},   {"  [ 'a, b' , \"c\\u0041\" ]", "[\"a, b\",\"cA\"]"}, {"[]", "[]"}, {"[no, 1e3, ~x]", "[\"no\",\"1e3\",\"~x\"]"},
              {"{a}", "[\"{a}\"]"}, {"a,[b", "[\"a\",\"[b\"]"},     {"[\"[x]\", \"\"]", "[\"[x]\",\"\"]"}};
  etk_error e;
  (void)state;
  for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
    etk_arena arena = ETK_ARENA_INIT;
    etk_text json = ETK_TEXT_INIT, shown = ETK_TEXT_INIT, again_json = ETK_TEXT_INIT;
    etk_value value, again;
    if (parse(&value, &e, &arena, ETK_KIND_texts, rows[i].text)) fail_msg("%s: %s", rows[i].text, e.message);
    etk_value_json(&json, ETK_KIND_texts, &value);
    assert_string_equal(json.data, rows[i].json);
    etk_value_show(&shown, ETK_KIND_texts, &value); /* what is shown may be typed again */
    if (parse(&again, &e, &arena, ETK_KIND_texts, shown.size ? shown.data : "")) fail_msg("%s: %s", shown.data, e.message);
    etk_value_json(&again_json, ETK_KIND_texts, &again);
    assert_string_equal(again_json.data, rows[i].json);
    etk_text_free(&json);
    etk_text_free(&shown);
    etk_text_free(&again_json);
    etk_arena_fini(&arena);
  }
}

static void numbers_and_maps_too(void **state) {
  etk_arena arena = ETK_ARENA_INIT;
  etk_error e;
  etk_value value;
  (void)state;
  assert_int_equal(parse(&value, &e, &arena, ETK_KIND_ints, "[1, 0x10, 1_000]"), ETK_OK);
  assert_int_equal(value.ints.count, 3);
  assert_int_equal(value.ints.items[1], 16);
  assert_int_equal(parse(&value, &e, &arena, ETK_KIND_reals, "[1, 2.5e-1]"), ETK_OK);
  assert_true(value.reals.items[1] == 0.25); /* a power of two: exact */
  assert_int_equal(parse(&value, &e, &arena, ETK_KIND_map, "{a: 1, \"b c\": 'd=e'}"), ETK_OK);
  assert_int_equal(value.map.count, 2);
  assert_string_equal(value.map.keys[1], "b c");
  assert_string_equal(value.map.values[1], "d=e");
  assert_int_equal(parse(&value, &e, &arena, ETK_KIND_map, "[a=b"), ETK_OK); /* '[' is nothing special in a map */
  assert_string_equal(value.map.keys[0], "[a");
  assert_int_equal(parse(&value, &e, &arena, ETK_KIND_text, "[a"), ETK_OK); /* nor in a text */
  assert_string_equal(value.text, "[a");
  etk_arena_fini(&arena);
}

static void what_only_begins_as_yaml_is_an_error(void **state) {
  static const struct {
    uint32_t kind;
    const char *text, *words;
  } rows[] = {{ETK_KIND_texts, "[a,b", "--x: '[a,b' begins with '[', so it is read as a list of YAML, and is none"},
              {ETK_KIND_texts, "[a] b", "is none"}, {ETK_KIND_texts, "[a]: b", "is none: the value:1:1: a list or map cannot be a key"},
              {ETK_KIND_texts, "[a, [b]]", "--x: an item is a list"}, {ETK_KIND_texts, "[a, null]", "--x: an item is null"},
              {ETK_KIND_map, "{a: 1", "begins with '{', so it is read as a map of YAML"}, {ETK_KIND_map, "{a: {b: 1}}", "an item is a map"},
              {ETK_KIND_ints, "[1, x]", "--x, item 2: 'x'"}};
  (void)state;
  for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
    etk_arena arena = ETK_ARENA_INIT;
    etk_error e;
    etk_value value;
    assert_int_equal(parse(&value, &e, &arena, rows[i].kind, rows[i].text), ETK_E_USAGE);
    if (!strstr(e.message, rows[i].words)) fail_msg("%s: %s", rows[i].text, e.message);
    etk_arena_fini(&arena);
  }
}

/* ---- secrets, groups and summaries ---- */

static void a_secret_has_no_default_whatever_its_row_says(void **state) {
  struct guard_options o;
  etk_arena arena = ETK_ARENA_INIT;
  etk_text out[3] = {ETK_TEXT_INIT};
  etk_config *again = NULL;
  (void)state;
  assert_int_equal(etk_options_load(NULL, &o, &arena, &guard_table, NULL, NULL), ETK_OK);
  assert_null(o.token);
  assert_null(o.key);
  assert_int_equal(etk_options_template(NULL, &out[0], &guard_table, ETK_CONFIG_TOML, true), ETK_OK);
  assert_int_equal(etk_options_schema(NULL, &out[1], &guard_table, NULL), ETK_OK);
  assert_int_equal(etk_options_markdown(NULL, &out[2], &guard_table), ETK_OK);
  for (size_t i = 0; i < 3; i++) {
    assert_null(strstr(out[i].data, "hunter2"));
    assert_null(strstr(out[i].data, "(set)"));
    assert_null(strstr(out[i].data, "\"default\""));
  }
  assert_non_null(strstr(out[0].data, "# token ="));
  assert_int_equal(etk_config_parse(NULL, &again, "g.toml", out[0].data, out[0].size, ETK_CONFIG_TOML), ETK_OK);
  assert_int_equal(etk_options_load(NULL, &o, &arena, &guard_table, again, NULL), ETK_OK);
  etk_config_free(again);
  for (size_t i = 0; i < 3; i++) etk_text_free(&out[i]);
  etk_arena_fini(&arena);
}

static void a_table_may_have_a_summary(void **state) {
  etk_text out = ETK_TEXT_INIT;
  (void)state;
  assert_string_equal(server_table.summary, "");
  assert_int_equal(etk_options_template(NULL, &out, &guard_table, ETK_CONFIG_YAML, false), ETK_OK);
  assert_int_equal(strncmp(out.data, "# guard: Keeps \\ the door\n", strlen("# guard: Keeps \\ the door\n")), 0);
  etk_text_free(&out);
  assert_int_equal(etk_options_schema(NULL, &out, &guard_table, NULL), ETK_OK);
  assert_non_null(strstr(out.data, "\"description\": \"Keeps \\\\ the door\""));
  etk_text_free(&out);
}

static void a_misspelt_group_gets_a_suggestion(void **state) {
  static const struct {
    const char *text, *words;
  } rows[] = {{"limts: {cache: 1MiB}\n", "s.yaml:1:1: unknown key 'limts'; did you mean 'limits'?"},
              {"server:\n  tsl: {oldest: '1.2'}\n", "s.yaml:2:3: unknown key 'server.tsl'; did you mean 'server.tls'?"}};
  (void)state;
  for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
    struct server_options o;
    etk_arena arena = ETK_ARENA_INIT;
    etk_error e;
    assert_int_equal(load(&o, &e, &arena, rows[i].text, NULL), ETK_E_USAGE);
    if (!strstr(e.message, rows[i].words)) fail_msg("%s", e.message);
    etk_arena_fini(&arena);
  }
}

/* ---- memory ---- */

static bool parse_flow(void *user) {
  etk_arena arena = ETK_ARENA_INIT;
  etk_error e = ETK_ERROR_INIT;
  etk_value list = {0}, map = {0};
  (void)user;
  bool done = !etk_value_parse(&e, &list, &arena, ETK_KIND_texts, "", "[a, 'b c']", "--x", false) && list.texts.count == 2 &&
              !etk_value_parse(&e, &map, &arena, ETK_KIND_map, "", "{a: 1}", "--x", false) && map.map.count == 1;
  etk_arena_fini(&arena);
  return done;
}

static bool load_all(void *user) {
  struct server_options o;
  etk_arena arena = ETK_ARENA_INIT;
  etk_error e = ETK_ERROR_INIT;
  etk_status status = etk_options_load(&e, &o, &arena, &server_table, user, NULL);
  bool done = !status && o.port == 9 && o.names.count == 3;
  etk_arena_fini(&arena);
  return done;
}

static bool fail_to_load(void *user) {
  struct server_options o;
  etk_arena arena = ETK_ARENA_INIT;
  etk_error e = ETK_ERROR_INIT;
  etk_status status = etk_options_load(&e, &o, &arena, &server_table, user, NULL);
  bool done = status == ETK_E_USAGE && strstr(e.message, "server.prot") != NULL;
  etk_arena_fini(&arena);
  return done;
}

static bool write_all(void *user) {
  etk_text out[5] = {ETK_TEXT_INIT};
  (void)user;
  bool done = !etk_options_template(NULL, &out[0], &server_table, ETK_CONFIG_YAML, true) &&
              !etk_options_template(NULL, &out[1], &server_table, ETK_CONFIG_TOML, false) &&
              !etk_options_template(NULL, &out[2], &server_table, ETK_CONFIG_JSON, false) && !etk_options_schema(NULL, &out[3], &server_table, NULL) &&
              !etk_options_markdown(NULL, &out[4], &server_table);
  for (size_t i = 0; i < 5; i++) {
    done = done && !out[i].failed;
    etk_text_free(&out[i]);
  }
  return done;
}

static void every_allocation_may_fail(void **state) {
  (void)state;
  etk_config *good = yaml("server: {port: 9}\nlimits: {names: [a, b, c], labels: {a: b}, weights: '0.5,0.25'}\n"), *bad = yaml("server: {prot: 1}\n");
  assert_true(interpose_sweep(load_all, good) > 0);
  assert_true(interpose_sweep(fail_to_load, bad) > 0);
  assert_true(interpose_sweep(write_all, NULL) > 0);
  assert_true(interpose_sweep(parse_flow, NULL) > 0);
  etk_config_free(good);
  etk_config_free(bad);
}

int main(void) {
  const char *dir = getenv("ETK_TMP");
  snprintf(folder, sizeof folder, "%s/etk-options-%ld", dir && *dir ? dir : "/tmp", (long)getpid());
  etk_fs_make_dirs(NULL, folder);
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(nothing_given_is_all_defaults), cmocka_unit_test(a_configuration_fills_the_struct), cmocka_unit_test(a_table_may_lie_at_a_path),
      cmocka_unit_test(mistakes_name_file_line_column_and_key), cmocka_unit_test(null_leaves_the_default), cmocka_unit_test(a_secret_is_read_from_its_file),
      cmocka_unit_test(a_table_that_cannot_be_filled_is_refused), cmocka_unit_test(rows_are_found_by_key_and_alias),
      cmocka_unit_test(a_template_reads_back_as_the_defaults), cmocka_unit_test(a_yaml_template_explains_every_key),
      cmocka_unit_test(uncommented_keys_are_defaults_too), cmocka_unit_test(a_schema_says_types_bounds_and_defaults),
      cmocka_unit_test(an_independent_validator_agrees), cmocka_unit_test(markdown_is_a_table), cmocka_unit_test(limits_read_as_words),
      cmocka_unit_test(a_comma_of_an_item_is_escaped), cmocka_unit_test(a_list_may_be_typed_as_yaml_writes_it),
      cmocka_unit_test(numbers_and_maps_too), cmocka_unit_test(what_only_begins_as_yaml_is_an_error),
      cmocka_unit_test(a_secret_has_no_default_whatever_its_row_says), cmocka_unit_test(a_table_may_have_a_summary),
      cmocka_unit_test(a_misspelt_group_gets_a_suggestion), cmocka_unit_test(every_allocation_may_fail)};
  int failed = cmocka_run_group_tests_name("options", tests, NULL, NULL);
  etk_fs_remove_tree(NULL, folder);
  return failed;
}
