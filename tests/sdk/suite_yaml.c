/* The YAML test suite (ETK_SHARED/suites/yaml). What a case means is told by its `tree` of events and, for kinds, by its `json`; whether our subset claims
 * it is decided from the tree: one document, keys that are scalars, not empty unless quoted, not twice in a map, no merge key, no tags but those of the
 * core schema, no directives but %YAML 1.1 or 1.2 and %TAG.
 * What is not claimed has to be refused, and so have the cases that are errors. Where libyaml reads otherwise than YAML 1.2 the case is listed below. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include "config_tree.h"

enum { EVENTS = 1000 };

typedef struct event {
  char kind[5]; /* "+MAP", "=VAL", … */
  char *anchor, *tag, *text;
  char style; /* of a scalar: ':' plain, '"', '\'', '|', '>' */
} event;

typedef struct yaml_case {
  char name[32];
  etk_text text;
  event events[EVENTS];
  size_t count;
  const char *json;
  bool error;
} yaml_case;

/* libyaml 0.2.5 against YAML 1.2; names as <id>/<number in the file>. */
static const struct {
  const char *reason, *names;
} known[] = {
    {"a tab that separates, where libyaml wants spaces", "6BCT/0 6CA3/0 96NN/0 96NN/1 A2M4/0 DK95/0 DK95/3 DK95/4 Q5MG/0 R4YG/0 Y79Y/1 Y79Y/10"},
    {"a tab that indents, which libyaml lets pass", "DK95/1 Y79Y/3"},
    {"an anchor's name holds more than letters, digits, '_' and '-'", "2SXE/0 8XYN/0 W5VH/0 Y2GN/0"},
    {"the ':' of a flow map stands on the line after its key", "4MUZ/0 4MUZ/1 4MUZ/2 5MUD/0 K3WX/0 VJP3/1"},
    {"a plain scalar in a flow value begins with ':' or '?', or holds '::'", "58MP/0 5T43/0 652Z/0 DBG4/0 HM87/0 HM87/1"},
    {"a key of a flow map goes over two lines", "9SA2/0 NJ66/0"},
    {"a flow map's key ends with a comma and has no value", "4ABK/0"},
    {"a block scalar at the root that is not indented", "DK3J/0 FP8R/0"},
    {"blanks without a line end close a block scalar", "JEF9/2 L24T/1"},
    {"'...' without a document before it", "HWV9/0 QT73/0"},
    {"the tag '!' on nothing: text by YAML 1.2 (6.9.1), null in the case's JSON", "UKK6/2"},
    {"not YAML, but libyaml does not mind: indentation of flow or quoted lines", "9C9N/0 QB6E/0"},
    {"not YAML, but libyaml does not mind: a comment without a blank before it", "9JBA/0 CVW2/0 MUS6/0 SU5Z/0 X4QW/0"},
    {"not YAML, but libyaml does not mind: '-' as a plain scalar in a flow value", "G5U8/0 YJV2/0"},
    {"not YAML, but libyaml does not mind: blank lines indented more than a block scalar's first", "S98Z/0"},
};

static size_t claimed, passed, refused, errors, listed, skipped, wrong;

/* ---- the suite's notation ---- */

/* It draws what an editor hides: a tab as "—…»", a space, an end without newline, a carriage return, a byte order mark. */
static void undraw(etk_text *out, const char *text) {
  static const char *const drawn[][2] = {{"\xE2\x90\xA3", " "}, {"\xC2\xBB", "\t"},     {"\xE2\x80\x94", ""},
                                         {"\xE2\x86\xB5", ""},  {"\xE2\x86\x90", "\r"}, {"\xE2\x87\x94", "\xEF\xBB\xBF"}};
  enum { KINDS = sizeof drawn / sizeof drawn[0] };
  etk_text_append(out, "", 0);
  while (*text && strcmp(text, "\xE2\x88\x8E\n") != 0) {
    size_t i = 0;
    while (i < KINDS && strncmp(text, drawn[i][0], strlen(drawn[i][0])) != 0) i++;
    if (i < KINDS) etk_text_puts(out, drawn[i][1]);
    else etk_text_putc(out, *text);
    text += i < KINDS ? strlen(drawn[i][0]) : 1;
  }
}

static char *unescape(const char *text, size_t size) {
  static const char letters[] = "ntrb0a\\", bytes[] = "\n\t\r\b\0\a\\";
  char *out = calloc(1, size + 1), *p = out;
  for (size_t i = 0; i < size; i++) {
    const char *found = text[i] == '\\' && i + 1 < size ? strchr(letters, text[i + 1]) : NULL;
    *p++ = found ? bytes[found - letters] : text[i];
    i += found != NULL;
  }
  return out;
}

/* "=VAL &a <tag> :text" */
static void read_event(event *ev, const char *line, size_t size) {
  memcpy(ev->kind, line, size < 4 ? size : 4);
  const char *p = line + 4, *end = line + size;
  bool value = strcmp(ev->kind, "=VAL") == 0;
  while (p < end) {
    while (p < end && *p == ' ') p++;
    size_t n = 0;
    while (p + n < end && p[n] != ' ') n++;
    if (p < end && (*p == '&' || *p == '*')) ev->anchor = strndup(p + 1, n - 1);
    else if (p < end && *p == '<') ev->tag = strndup(p + 1, n - 2);
    else if (p < end && value) {
      ev->style = *p;
      ev->text = unescape(p + 1, (size_t)(end - p - 1));
      return;
    }
    p += n;
  }
}

static void read_tree(yaml_case *c, const char *drawn) {
  etk_text tree = ETK_TEXT_INIT;
  undraw(&tree, drawn);
  for (char *line = tree.data, *stop; *line; line = stop) {
    line += strspn(line, " ");
    stop = line + strcspn(line, "\n");
    if (stop - line >= 4 && c->count < EVENTS) read_event(&c->events[c->count++], line, (size_t)(stop - line));
    stop += *stop == '\n';
  }
  etk_text_free(&tree);
}

static void free_case(yaml_case *c) {
  etk_text_free(&c->text);
  for (size_t i = 0; i < c->count; i++) {
    free(c->events[i].anchor);
    free(c->events[i].tag);
    free(c->events[i].text);
  }
  free(c);
}

/* ---- what the subset claims ---- */

static bool is(const event *ev, const char *kind) { return strcmp(ev->kind, kind) == 0; }

/* The event behind the node at i. */
static size_t after(const yaml_case *c, size_t i) {
  int depth = 0;
  do {
    depth += (c->events[i].kind[0] == '+') - (c->events[i].kind[0] == '-');
    i++;
  } while (depth > 0 && i < c->count);
  return i;
}

/* The event that an alias at i means: the last such anchor before it. */
static size_t target(const yaml_case *c, size_t i) {
  for (size_t j = i; j-- > 0;)
    if (c->events[j].anchor && !is(&c->events[j], "=ALI") && strcmp(c->events[j].anchor, c->events[i].anchor) == 0) return j;
  return i;
}

static const event *resolved(const yaml_case *c, size_t i) { return &c->events[is(&c->events[i], "=ALI") ? target(c, i) : i]; }

static const char *unclaimed_key(const yaml_case *c, size_t map, size_t i) {
  const event *key = resolved(c, i);
  if (!key->text) return "a key that is no scalar";
  if (strcmp(key->text, "<<") == 0 && key->style == ':') return "a merge key";
  if (!*key->text && key->style == ':') return "a key that is empty and not quoted";
  for (size_t j = map + 1; j < i; j = after(c, after(c, j))) {
    const event *before = resolved(c, j);
    if (before->text && strcmp(before->text, key->text) == 0) return "a key twice";
  }
  return NULL;
}

static bool strange_directive(const char *text) {
  for (const char *line = text; *line; line += strcspn(line, "\n"), line += *line == '\n') {
    if (strncmp(line, "---", 3) == 0 || (*line != '%' && *line != '#' && *line != '\n')) return false; /* a document begins */
    if (*line != '%' || strncmp(line, "%TAG ", 5) == 0) continue;
    const char *version = line + 5 + strspn(line + 5, " \t");
    if (strncmp(line, "%YAML", 5) != 0 || version == line + 5 || strncmp(version, "1.", 2) != 0 || !strchr("12", version[2])) return true;
  }
  return false;
}

/* Why our subset does not claim the case, or NULL. */
static const char *unclaimed(const yaml_case *c) {
  static const char *const tags[] = {"str", "int", "float", "bool", "null", "map", "seq"};
  static const char core[] = "tag:yaml.org,2002:";
  size_t documents = 0;
  if (strange_directive(c->text.data)) return "a directive other than %YAML 1.1 or 1.2 and %TAG";
  for (size_t i = 0; i < c->count; i++) {
    const event *ev = &c->events[i];
    documents += is(ev, "+DOC");
    bool known_tag = !ev->tag || strcmp(ev->tag, "!") == 0;
    for (size_t j = 0; j < 7 && !known_tag; j++)
      known_tag = strncmp(ev->tag, core, sizeof core - 1) == 0 && strcmp(ev->tag + sizeof core - 1, tags[j]) == 0;
    if (!known_tag) return "a tag that is not of the core schema";
    for (size_t k = i + 1; is(ev, "+MAP") && k < c->count && !is(&c->events[k], "-MAP"); k = after(c, after(c, k))) {
      const char *why = unclaimed_key(c, i, k);
      if (why) return why;
    }
  }
  return documents > 1 ? "more than one document" : NULL;
}

/* ---- comparing ---- */

/* Keys, texts and structure of the node that event i begins. */
static bool same_tree(const yaml_case *c, size_t i, const etk_config_node *node) {
  const event *ev = resolved(c, i);
  if (is(&c->events[i], "=ALI")) i = target(c, i);
  if (ev->text) return node->text && strcmp(node->text, ev->text) == 0;
  bool map = is(ev, "+MAP");
  if (node->kind != (map ? ETK_CONFIG_MAP : ETK_CONFIG_LIST)) return false;
  const etk_config_node *child = node->first;
  for (size_t k = i + 1; c->events[k].kind[0] != '-'; k = after(c, k)) {
    if (!child) return false;
    if (map) {
      if (strcmp(resolved(c, k)->text, child->key) != 0) return false;
      k = after(c, k);
    }
    if (!same_tree(c, k, child)) return false;
    child = child->next;
  }
  return child == NULL;
}

/* An empty document, or none, is a configuration without keys. */
static bool same_document(const yaml_case *c, const etk_config_node *root) {
  size_t i = 0;
  while (i < c->count && !is(&c->events[i], "+DOC")) i++;
  bool empty = i == c->count || (is(&c->events[i + 1], "=VAL") && c->events[i + 1].style == ':' && !*c->events[i + 1].text && !c->events[i + 1].tag);
  if (empty) return root->kind == ETK_CONFIG_MAP && root->count == 0;
  return same_tree(c, i + 1, root);
}

static bool same_json(const yaml_case *c, const etk_config_node *root) {
  etk_config *wanted = NULL;
  if (!c->json || etk_config_parse(NULL, &wanted, c->name, c->json, strlen(c->json), ETK_CONFIG_JSON))
    return true; /* none, or of several documents */
  bool empty = root->kind == ETK_CONFIG_MAP && !root->first && etk_config_root(wanted)->kind == ETK_CONFIG_NULL;
  bool same = empty || tree_equal(root, etk_config_root(wanted), false);
  etk_config_free(wanted);
  return same;
}

static const char *known_reason(const char *name) {
  size_t n = strlen(name);
  for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
    for (const char *p = known[i].names; (p = strstr(p, name)); p += n)
      if (p[n] == ' ' || p[n] == 0) return known[i].reason;
  return NULL;
}

static const char *problem_of(const yaml_case *c, const etk_config *config, const etk_error *e, const char *why) {
  static char text[2048];
  if (c->error) return config ? "accepted although it is not YAML" : NULL;
  if (why) {
    snprintf(text, sizeof text, "accepted although it has %s", why);
    return config ? text : NULL;
  }
  if (!config) return e->message;
  if (!same_document(c, etk_config_root(config))) return "another tree than its events say";
  if (!same_json(c, etk_config_root(config))) return "other values than its JSON says";
  if (tree_round_trip(etk_config_root(config), ETK_CONFIG_YAML, text, sizeof text)) return text;
  return NULL;
}

static void check_case(const yaml_case *c) {
  etk_config *config = NULL;
  etk_error e = ETK_ERROR_INIT;
  if (etk_config_parse(&e, &config, c->name, c->text.data, c->text.size, ETK_CONFIG_YAML)) config = NULL;
  const char *why = c->error ? NULL : unclaimed(c), *problem = problem_of(c, config, &e, why), *reason = known_reason(c->name);
  errors += c->error;
  refused += why != NULL;
  bool counts = !c->error && !why;
  claimed += counts;
  passed += counts && !problem;
  if (problem && reason) {
    listed++;
    print_message("%s: %s (listed: %s)\n", c->name, problem, reason);
  } else if (problem) {
    wrong++;
    print_message("%s: %s\n", c->name, problem);
  } else if (reason) {
    wrong++;
    print_message("%s is listed, yet it passes\n", c->name);
  }
  if (config) etk_config_free(config);
}

static bool flag_of(const etk_config_node *map, const char *key) {
  const etk_config_node *node = etk_config_child(map, key);
  return node && node->kind == ETK_CONFIG_FLAG && node->flag;
}

static const char *text_of(const etk_config_node *map, const char *key, const char *inherited) {
  const etk_config_node *node = etk_config_child(map, key);
  return node && node->text ? node->text : inherited;
}

/* A file holds cases that take over from the one before what they do not say. */
static void check_file(const char *folder, const char *name) {
  char *path = etk_path_join(folder, name);
  etk_config *file = NULL;
  etk_error e = ETK_ERROR_INIT;
  if (etk_config_load(&e, &file, path)) fail_msg("%s", e.message);
  const char *tree = NULL, *json = NULL, *yaml = NULL;
  int number = 0;
  bool skip_all = flag_of(etk_config_root(file)->first, "skip"); /* valid by the letter, says the suite, and not meant to be supported */
  for (const etk_config_node *item = etk_config_root(file)->first; item; item = item->next, number++) {
    yaml = text_of(item, "yaml", yaml);
    tree = text_of(item, "tree", tree);
    if (etk_config_child(item, "tree")) json = NULL;
    json = text_of(item, "json", json);
    if (skip_all || !yaml) {
      skipped++;
      continue;
    }
    yaml_case *c = calloc(1, sizeof *c);
    assert_non_null(c);
    snprintf(c->name, sizeof c->name, "%.4s/%d", name, number);
    undraw(&c->text, yaml);
    c->error = flag_of(item, "fail");
    c->json = json;
    if (tree) read_tree(c, tree);
    check_case(c);
    free_case(c);
  }
  etk_config_free(file);
  etk_free(path);
}

static void every_claimed_case_is_read_and_all_others_refused(void **state) {
  (void)state;
  char *folder = suite_folder("yaml"), **names;
  size_t count;
  if (!folder) skip();
  assert_int_equal(etk_fs_list(NULL, &names, &count, folder), ETK_OK);
  for (size_t i = 0; i < count; i++)
    if (has_ending(names[i], ".yaml")) check_file(folder, names[i]);
  etk_fs_list_free(names, count);
  etk_free(folder);
  assert_int_equal(wrong, 0);
  assert_true(claimed >= 200);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(every_claimed_case_is_read_and_all_others_refused)};
  int failed = cmocka_run_group_tests(tests, NULL, NULL);
  if (claimed)
    printf("# YAML test suite: %zu claimed, %zu of them pass; %zu outside the subset, %zu errors; %zu deviations of libyaml listed, %zu skipped by "
           "the suite\n",
           claimed, passed, refused, errors, listed, skipped);
  return failed;
}
