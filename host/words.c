/* words.c: the command line of one command, cut into slots. */
#include "globals.h"
#include "slot.h"

#include <ctype.h>

static const char *slot_name(const struct slot *slot) { return slot->argument ? slot->argument->name : slot->option->name; }
static uint32_t slot_kind(const struct slot *slot) { return slot->argument ? slot->argument->kind : slot->option->kind; }

static bool equal_part(const char *name, const char *word, size_t size) {
  size_t i = 0;
  for (; i < size && name[i] && name[i] != ' '; i++)
    if ((name[i] == '_' ? '-' : name[i]) != (word[i] == '_' ? '-' : word[i])) return false;
  return i == size && (!name[i] || name[i] == ' ');
}

bool option_answers_to(const struct manifest_option *option, const char *name, size_t size) {
  if (equal_part(option->name, name, size)) return true;
  for (const char *alias = option->aliases; alias && *alias;) {
    if (equal_part(alias, name, size)) return true;
    alias += strcspn(alias, " ");
    alias += strspn(alias, " ");
  }
  return false;
}

static struct slot *find_long(struct resolver *r, const char *name, size_t size) {
  for (size_t i = 0; i < r->count; i++) {
    struct slot *slot = &r->slots[i];
    if (slot->argument ? equal_part(slot->argument->name, name, size) : option_answers_to(slot->option, name, size)) return slot;
  }
  return NULL;
}

static struct slot *find_letter(struct resolver *r, char letter) {
  for (size_t i = r->argument_count; i < r->count; i++)
    if (option_answers_to(r->slots[i].option, &letter, 1)) return &r->slots[i];
  return NULL;
}

static etk_status unknown_option(etk_error *e, struct resolver *r, const char *word) {
  const char *names[512];
  char shown[96], name[96], command[160];
  size_t count = 0, size = strcspn(word + 2, "=");
  snprintf(name, sizeof name, "%.*s", (int)(size < sizeof name ? size : sizeof name - 1), word + 2);
  for (size_t i = 0; i < r->count && count < 300; i++) {
    if (r->slots[i].option && r->slots[i].option->flags & ETK_HIDDEN) continue;
    names[count++] = slot_name(&r->slots[i]);
    const char *alias = r->slots[i].option ? r->slots[i].option->aliases : NULL;
    if (alias && alias[0] && alias[1] && !strchr(alias, ' ')) names[count++] = alias;
  }
  for (const struct host_option *o = host_options; o->name; o++) names[count++] = o->name;
  const char *near = etk_text_suggest(name, names, count);
  return etk_fail(e, ETK_E_USAGE, "unknown option --%s for %s%s%s%s", name, command_title(command, sizeof command, r->manifest, r->command), near ? "; did you mean --" : "",
                  near ? shown_name(shown, sizeof shown, near) : "", near ? "?" : "");
}

/* "-5", "-.5", "-1,2" are values, unless the command has an option of that digit. */
static bool reads_as_option(const char *word) {
  if (word[0] != '-' || !word[1]) return false;
  if (word[1] == '-') return looks_like_option(word);
  return isalpha((unsigned char)word[1]) != 0;
}

static etk_status give(etk_error *e, struct resolver *r, struct slot *slot, const char *text, const char *typed, size_t typed_size) {
  const char *what = etk_arena_strndup(&r->host->arena, typed, typed_size);
  return what ? slot_give(e, r, slot, text, what, what, true) : etk_fail(e, ETK_E_NO_MEMORY, "out of memory while reading the command line");
}

static etk_status missing_value(etk_error *e, const struct slot *slot, const char *typed, size_t typed_size, const char *next) {
  const char *kind = etk_kind_name(slot_kind(slot));
  if (next && reads_as_option(next))
    return etk_fail(e, ETK_E_USAGE, "%.*s wants a value (%s), but '%s' reads as an option; write %.*s=VALUE where the value begins with '-'",
                    (int)typed_size, typed, kind, next, (int)typed_size, typed);
  return etk_fail(e, ETK_E_USAGE, "%.*s wants a value (%s)", (int)typed_size, typed, kind);
}

static etk_status read_long(etk_error *e, struct resolver *r, int count, char **words, int *index) {
  const char *word = words[*index];
  size_t size = strcspn(word + 2, "="), typed = size + 2;
  const char *value = word[typed] ? word + typed + 1 : NULL;
  struct slot *slot = find_long(r, word + 2, size);
  if (!slot && !value && size > 3 && !strncmp(word + 2, "no-", 3)) {
    slot = find_long(r, word + 5, size - 3);
    if (slot && slot_kind(slot) != ETK_KIND_flag)
      return etk_fail(e, ETK_E_USAGE, "%s: --%s takes a value (%s) and has no opposite", word, word + 5, etk_kind_name(slot_kind(slot)));
    if (slot) return give(e, r, slot, "no", word, strlen(word));
  }
  if (!slot && value && size > 3 && !strncmp(word + 2, "no-", 3)) { /* --no-f=yes */
    slot = find_long(r, word + 5, size - 3);
    if (slot && slot_kind(slot) == ETK_KIND_flag)
      return etk_fail(e, ETK_E_USAGE, "%s: --no-%.*s takes no value; write --no-%.*s, or --%.*s=%s", word, (int)size - 3, word + 5, (int)size - 3, word + 5,
                      (int)size - 3, word + 5, *value ? value : "no");
    if (slot) return etk_fail(e, ETK_E_USAGE, "%s: --%.*s takes a value (%s) and has no opposite", word, (int)size - 3, word + 5, etk_kind_name(slot_kind(slot)));
  }
  const struct host_option *yielding = host_option_find(word + 2, size);
  if (yielding && yielding->yields) { /* the host has taken it for its own flag so far */
    if (!slot) return ETK_OK;
    *(bool *)((char *)r->host + yielding->offset) = false;
  }
  if (!slot) return unknown_option(e, r, word);
  if (!value && slot_kind(slot) == ETK_KIND_flag) value = "yes";
  if (!value) {
    const char *next = *index + 1 < count ? words[*index + 1] : NULL;
    if (!next || reads_as_option(next) || !strcmp(next, "--")) return missing_value(e, slot, word, typed, next);
    value = next;
    ++*index;
  }
  return give(e, r, slot, value, word, typed);
}

/* -abc: flags a and b, then c, which may take the rest (-n3, -n=3) or the next word (-n 3). */
static etk_status read_short(etk_error *e, struct resolver *r, int count, char **words, int *index) {
  for (const char *p = words[*index] + 1; *p; p++) {
    char typed[3] = {'-', *p, 0};
    struct slot *slot = find_letter(r, *p);
    if (!slot && host_option_letter(*p)) {
      globals_letter(r->host, *p);
      continue;
    }
    if (!slot) {
      char command[160];
      return etk_fail(e, ETK_E_USAGE, "unknown option %s%s%s for %s", typed, p[1] || p > words[*index] + 1 ? " in " : "",
                      p[1] || p > words[*index] + 1 ? words[*index] : "", command_title(command, sizeof command, r->manifest, r->command));
    }
    etk_status status;
    if (slot_kind(slot) == ETK_KIND_flag && p[1] != '=') {
      status = give(e, r, slot, "yes", typed, 2);
      if (status) return status;
      continue;
    }
    const char *value = p[1] == '=' ? p + 2 : p[1] ? p + 1 : NULL;
    if (!value) {
      const char *next = *index + 1 < count ? words[*index + 1] : NULL;
      if (!next || reads_as_option(next) || !strcmp(next, "--")) return missing_value(e, slot, typed, 2, next);
      value = next;
      ++*index;
    }
    return give(e, r, slot, value, typed, 2);
  }
  return ETK_OK;
}

/* By position: the first argument that no --name gave; a variadic one takes all that is left. */
static etk_status place(etk_error *e, struct resolver *r, const bool *named, const char *word) {
  char command[160], what[96];
  for (size_t i = 0; i < r->argument_count; i++) {
    struct slot *slot = &r->slots[i];
    bool variadic = slot->argument->need == ETK_NEED_VARIADIC;
    if (named[i] || (slot->count && !variadic)) continue;
    int size = snprintf(what, sizeof what, "argument %s", slot->argument->name);
    return give(e, r, slot, word, what, size > 0 && (size_t)size < sizeof what ? (size_t)size : sizeof what - 1);
  }
  return etk_fail(e, ETK_E_USAGE, "'%s' is one argument too many: %s takes %s%zu", word,
                  command_title(command, sizeof command, r->manifest, r->command), r->argument_count ? "at most " : "", r->argument_count);
}

/* Options first, so that `--model X out` and `out --model X` mean the same. */
etk_status words_read(etk_error *e, struct resolver *r, int count, char **words) {
  const char **places = etk_arena_array(&r->host->arena, (size_t)count + 1, sizeof *places);
  bool *named = etk_arena_array(&r->host->arena, r->argument_count + 1, sizeof *named);
  if (!places || !named) return etk_fail(e, ETK_E_NO_MEMORY, "out of memory while reading the command line");
  size_t placed = 0;
  bool options = true;
  for (int i = 0; i < count; i++) {
    etk_status status = ETK_OK;
    if (options && !strcmp(words[i], "--")) options = false;
    else if (!options || !reads_as_option(words[i])) places[placed++] = words[i];
    else status = words[i][1] == '-' ? read_long(e, r, count, words, &i) : read_short(e, r, count, words, &i);
    if (status) return status;
  }
  for (size_t i = 0; i < r->argument_count; i++) named[i] = r->slots[i].count > 0;
  for (size_t i = 0; i < placed; i++) {
    etk_status status = place(e, r, named, places[i]);
    if (status) return status;
  }
  return ETK_OK;
}
