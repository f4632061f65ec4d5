/* options_value.c: texts become values of a kind. */
#include "options_internal.h"

#include "etk/alloc.h"
#include "etk/fs.h"
#include "etk/hub.h"

#define KIND(name) [ETK_KIND_##name] = #name
static const char *const kind_names[] = {KIND(int),  KIND(real),     KIND(flag), KIND(text),  KIND(path),  KIND(choice), KIND(secret),
                                         KIND(size), KIND(duration), KIND(ints), KIND(reals), KIND(texts), KIND(map)};
enum { KIND_COUNT = sizeof kind_names / sizeof kind_names[0] };

const char *etk_kind_name(uint32_t kind) { return kind < KIND_COUNT ? kind_names[kind] : NULL; }

bool etk_kind_parse(uint32_t *kind, const char *name) {
  for (uint32_t i = 1; i < KIND_COUNT; i++)
    if (!strcmp(kind_names[i], name)) {
      *kind = i;
      return true;
    }
  return false;
}

uint32_t etk_kind_list(uint32_t kind) {
  switch (kind) {
  case ETK_KIND_int: case ETK_KIND_size: case ETK_KIND_duration: return ETK_KIND_ints;
  case ETK_KIND_real: return ETK_KIND_reals;
  default: return ETK_KIND_texts;
  }
}

bool etk__kind_is_list(uint32_t kind) { return kind == ETK_KIND_ints || kind == ETK_KIND_reals || kind == ETK_KIND_texts; }

static etk_status no_memory(etk_error *e, const char *what) { return etk_fail(e, ETK_E_NO_MEMORY, "%s: out of memory", what); }

/* One item that is not a list: fills the field of its kind. */
static etk_status parse_item(etk_error *e, etk_value *out, etk_arena *arena, uint32_t kind, const char *limits, const char *text,
                             const char *what) {
  etk_status status = ETK_OK;
  bool flag = false;
  char length[48];
  switch (kind) {
  case ETK_KIND_int:
  case ETK_KIND_size:
  case ETK_KIND_duration:
  case ETK_KIND_real:
    status = etk__parse_bound(e, kind, text, &out->integer, &out->real);
    break;
  case ETK_KIND_flag:
    status = etk_parse_flag(e, &flag, text);
    out->integer = flag;
    break;
  case ETK_KIND_text: case ETK_KIND_path: case ETK_KIND_choice: case ETK_KIND_secret:
    out->text = etk_arena_strdup(arena, text);
    if (!out->text) return no_memory(e, what);
    break;
  default: return etk_fail(e, ETK_E_UNSUPPORTED, "%s: kind %u is not known to this host", what, (unsigned)kind);
  }
  if (status == ETK_E_NO_MEMORY) return status;
  if (status) {
    /* Parsers say what is wrong; here we say where, and what would be right. */
    char seen[ETK_ERROR_SIZE];
    snprintf(seen, sizeof seen, "%s", e && e->message[0] ? e->message : "not a value of its kind");
    return etk_fail(e, ETK_E_USAGE, "%s: %s%s%s%s", what, seen, *limits ? " (allowed: " : "", limits, *limits ? ")" : "");
  }
  switch (kind) {
  case ETK_KIND_choice: return etk__check_choice(e, limits, text, what);
  case ETK_KIND_text: case ETK_KIND_secret:
    snprintf(length, sizeof length, "its length of %zu bytes", strlen(text));
    return etk__check_number(e, ETK_KIND_int, limits, (int64_t)strlen(text), 0, length, "lengths", what);
  case ETK_KIND_path: return *text ? ETK_OK : etk_fail(e, ETK_E_USAGE, "%s: an empty path names nothing", what);
  case ETK_KIND_flag: return ETK_OK;
  default: return etk__check_number(e, kind, limits, out->integer, out->real, text, "", what);
  }
}

/* Items of a list, cut at ',' with blanks around each taken off. */
struct items {
  const char **texts;
  size_t count;
};

/* The item at *cursor, which is moved behind its ','; *more: one was there. Backslashes stand for themselves but before a ',': there each pair is one, and
 * the odd one makes the comma a part of the item. */
static char *take_item(etk_arena *arena, const char **cursor, bool *more) {
  const char *start = *cursor + strspn(*cursor, " "), *end = start;
  for (;; end++) {
    size_t run = strspn(end, "\\");
    end += run;
    if (!*end || (*end == ',' && run % 2 == 0)) break;
  }
  *more = *end == ',';
  *cursor = *more ? end + 1 : end;
  while (end > start && end[-1] == ' ') end--;
  char *item = etk_arena_strndup(arena, start, (size_t)(end - start)), *to = item;
  for (const char *p = item; item && *p;) {
    size_t run = strspn(p, "\\");
    bool before = p[run] == ',' || (run && !p[run] && *end == ','); /* of the item, or the one that ends it */
    for (size_t i = before ? run / 2 : run; i; i--) *to++ = '\\';
    p += run;
    if (*p) *to++ = *p++;
  }
  if (item) *to = 0;
  return item;
}

bool etk__flow_begins(uint32_t kind, const char *text) { return text[strspn(text, " ")] == (kind == ETK_KIND_map ? '{' : '['); }

/* "[a, b]" and "{k: v}" as a file would have them; their items go to the end of *out, which has room for one more than there are ','. */
static etk_status flow_items(etk_error *e, struct items *out, size_t most, etk_arena *arena, uint32_t kind, const char *text, const char *what) {
  bool map = kind == ETK_KIND_map, split;
  etk_config *config = NULL;
  const char *const *texts = NULL;
  size_t count = 0;
  etk_error why = ETK_ERROR_INIT;
  etk_status status = etk_config_parse(&why, &config, "the value", text, strlen(text), ETK_CONFIG_YAML);
  if (!status && etk_config_root(config)->kind != (map ? ETK_CONFIG_MAP : ETK_CONFIG_LIST))
    status = etk_fail(&why, ETK_E_USAGE, "something follows its end");
  if (status && status != ETK_E_NO_MEMORY)
    status = etk_fail(e, ETK_E_USAGE, "%s: '%s' begins with '%c', so it is read as a %s of YAML, and is none: %s (%s)", what, text, map ? '{' : '[', map ? "map" : "list",
                      why.message, map ? "write {key: value}" : "write [a, b]; an item that begins so is quoted: [\"[a\"]");
  else if (status) status = no_memory(e, what);
  if (!status) status = etk_value_texts(e, &texts, &count, &split, arena, kind, etk_config_root(config), what);
  for (size_t i = 0; !status && i < count && out->count < most; i++) out->texts[out->count++] = texts[i];
  etk_config_free(config);
  return status;
}

/* Room for every item that the texts may hold. */
static etk_status start_items(etk_error *e, struct items *out, size_t *most, etk_arena *arena, const char *const *texts, size_t count, bool split, const char *what) {
  *most = 0;
  for (size_t i = 0; i < count; i++) {
    ++*most;
    for (const char *p = texts[i]; split && *p; p++) *most += *p == ',';
  }
  *out = (struct items){etk_arena_array(arena, *most ? *most : 1, sizeof *out->texts), 0};
  return out->texts ? ETK_OK : no_memory(e, what);
}

static etk_status split_items(etk_error *e, struct items *out, etk_arena *arena, uint32_t kind, const char *const *texts, size_t count, bool split,
                              const char *what) {
  size_t most;
  etk_status status = start_items(e, out, &most, arena, texts, count, split, what);
  for (size_t i = 0; !status && i < count; i++) {
    const char *p = texts[i];
    if (!split) {
      out->texts[out->count++] = p;
      continue;
    }
    if (etk__flow_begins(kind, p)) {
      status = flow_items(e, out, most, arena, kind, p, what);
      continue;
    }
    if (kind == ETK_KIND_map) {
      if (*p || count > 1) out->texts[out->count++] = p; /* "" is the empty map */
      continue;
    }
    if (!*p) continue; /* "" is the empty list */
    for (bool more = true; more;) {
      const char *item = take_item(arena, &p, &more);
      if (!item) return no_memory(e, what);
      out->texts[out->count++] = item;
    }
  }
  return status;
}

static etk_status parse_list(etk_error *e, etk_value *out, etk_arena *arena, uint32_t kind, const char *limits, const struct items *items,
                             const char *what) {
  uint32_t list = etk_kind_list(kind);
  size_t width = list == ETK_KIND_reals ? sizeof(double) : list == ETK_KIND_ints ? sizeof(int64_t) : sizeof(char *);
  void *array = etk_arena_array(arena, items->count ? items->count : 1, width);
  if (!array) return no_memory(e, what);
  for (size_t i = 0; i < items->count; i++) {
    char where[512];
    etk_value one = {0};
    snprintf(where, sizeof where, "%s, item %zu", what, i + 1);
    etk_status status = parse_item(e, &one, arena, kind, limits, items->texts[i], items->count > 1 ? where : what);
    if (status) return status;
    if (list == ETK_KIND_ints) ((int64_t *)array)[i] = one.integer;
    else if (list == ETK_KIND_reals) ((double *)array)[i] = one.real;
    else ((const char **)array)[i] = one.text;
  }
  if (list == ETK_KIND_ints) out->ints = (struct etk_ints){array, items->count};
  else if (list == ETK_KIND_reals) out->reals = (struct etk_reals){array, items->count};
  else out->texts = (struct etk_texts){(const char *const *)array, items->count};
  return ETK_OK;
}

/* A key given twice keeps the last value, in the place of the first. */
static etk_status parse_map(etk_error *e, etk_value *out, etk_arena *arena, const char *limits, const char *const *texts, size_t count,
                            const char *what) {
  const char **keys = etk_arena_array(arena, count ? count : 1, sizeof *keys), **values = etk_arena_array(arena, count ? count : 1, sizeof *values);
  if (!keys || !values) return no_memory(e, what);
  size_t used = 0;
  for (size_t i = 0; i < count; i++) {
    if (!*texts[i] && count == 1) break; /* "" is the empty map */
    const char *equals = strchr(texts[i], '=');
    if (!equals || equals == texts[i]) return etk_fail(e, ETK_E_USAGE, "%s: '%s' is not KEY=VALUE", what, texts[i]);
    etk_value one = {0};
    const char *key = etk_arena_strndup(arena, texts[i], (size_t)(equals - texts[i]));
    if (!key) return no_memory(e, what);
    etk_status status = parse_item(e, &one, arena, ETK_KIND_text, limits, equals + 1, what);
    if (status) return status;
    size_t at = 0;
    while (at < used && strcmp(keys[at], key)) at++;
    keys[at] = key, values[at] = one.text;
    if (at == used) used++;
  }
  out->map = (struct etk_map_text){keys, values, used};
  return ETK_OK;
}

etk_status etk_value_parse_texts(etk_error *e, etk_value *out, etk_arena *arena, uint32_t kind, const char *limits, const char *const *texts,
                           size_t count, bool split, const char *what) {
  if (!limits) limits = "";
  if (kind != ETK_KIND_map && !etk__kind_is_list(kind)) return parse_item(e, out, arena, kind, limits, count ? texts[count - 1] : "", what);
  struct items items;
  etk_status status = split_items(e, &items, arena, kind, texts, count, split, what);
  if (status) return status;
  if (kind == ETK_KIND_map) return parse_map(e, out, arena, limits, items.texts, items.count, what);
  return parse_list(e, out, arena, etk__item_kind(kind), limits, &items, what);
}

etk_status etk_value_parse_items(etk_error *e, etk_value *out, etk_arena *arena, uint32_t kind, const char *limits, const char *const *texts,
                            size_t count, const char *what) {
  struct items items;
  etk_status status = split_items(e, &items, arena, kind, texts, count, false, what);
  return status ? status : parse_list(e, out, arena, kind, limits ? limits : "", &items, what);
}

/* Not a path that exists: a model of the hub, then, that lies in its cache. */
static etk_status take_model(etk_error *e, etk_value *out, etk_arena *arena, const char *what) {
  const char *model = out->text;
  char *found = NULL;
  etk_error why = ETK_ERROR_INIT;
  etk_status status = etk_hub_resolve(&why, &found, model);
  bool there = !status && etk_fs_exists(found);
  if (there && !(out->text = etk_arena_strdup(arena, found))) status = no_memory(e, what);
  etk_free(found);
  if (there) return status;
  return status ? etk_fail(e, status == ETK_E_NOT_FOUND ? ETK_E_USAGE : status, "%s: %s", what, why.message) : etk_fail(e, ETK_E_USAGE, "%s: '%s' does not exist", what, model);
}

static etk_status check_path(etk_error *e, const char *limits, const char *path, const char *what) {
  bool there = etk_fs_exists(path), dir = there && etk_fs_is_dir(path);
  if (!strcmp(limits, "new")) {
    size_t size = strlen(path); /* "new/", as a shell completes a folder's name, is new in the folder that new is in */
    while (size > 1 && path[size - 1] == '/') size--;
    char *name = etk_strndup(path, size), *parent = name ? etk_path_dir(name) : NULL;
    etk_free(name);
    if (!parent) return no_memory(e, what);
    etk_status status =
        etk_fs_is_dir(parent) ? ETK_OK : etk_fail(e, ETK_E_USAGE, "%s: the folder '%s' of '%s' does not exist; make it first", what, parent, path);
    etk_free(parent);
    return status;
  }
  if (!there) return etk_fail(e, ETK_E_USAGE, "%s: '%s' does not exist", what, path);
  if (!strcmp(limits, "file") && dir) return etk_fail(e, ETK_E_USAGE, "%s: '%s' is a folder, a file is wanted", what, path);
  if (!strcmp(limits, "dir") && !dir) return etk_fail(e, ETK_E_USAGE, "%s: '%s' is not a folder", what, path);
  return ETK_OK;
}

etk_status etk_value_check_files(etk_error *e, etk_value *value, etk_arena *arena, uint32_t kind, const char *limits, const char *what) {
  if (kind != ETK_KIND_path || !limits || !*limits || !value->text) return ETK_OK;
  return !strcmp(limits, "model") ? take_model(e, value, arena, what) : check_path(e, limits, value->text, what);
}

etk_status etk_value_parse(etk_error *e, etk_value *out, etk_arena *arena, uint32_t kind, const char *limits, const char *text, const char *what,
                       bool check_files) {
  etk_status status = etk_value_parse_texts(e, out, arena, kind, limits, &text, 1, true, what);
  return status || !check_files ? status : etk_value_check_files(e, out, arena, kind, limits, what);
}
