/* archive_names.c: the names of an archive that were seen, by a hash that does not see the case of ASCII letters. */
#include "archive_internal.h"

static char folded(char c) { return c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c; }

static uint64_t hash_of(const char *path, size_t size) { /* FNV-1a (Fowler, Noll, Vo), then mixed: names are a stranger's */
  uint64_t h = UINT64_C(0xCBF29CE484222325);
  for (size_t i = 0; i < size; i++) h = (h ^ (unsigned char)folded(path[i])) * UINT64_C(0x100000001B3);
  return h ^ h >> 32;
}

static bool equal(const char *name, const char *path, size_t size, bool exact) {
  for (size_t i = 0; i < size; i++)
    if (exact ? name[i] != path[i] : folded(name[i]) != folded(path[i])) return false;
  return name[size] == 0;
}

const etk__archive_named *etk__archive_names_find(const etk__archive_names *names, const char *path, size_t size, bool any_case) {
  if (names->capacity == 0) return NULL;
  uint64_t hash = hash_of(path, size);
  const etk__archive_named *near = NULL;
  for (size_t i = hash % names->capacity; names->slots[i]; i = (i + 1) % names->capacity) {
    const etk__archive_named *named = names->slots[i];
    if (named->hash != hash || !equal(named->path, path, size, false)) continue;
    if (equal(named->path, path, size, true)) return named;
    near = named;
  }
  return any_case ? near : NULL;
}

static void place(etk__archive_named **slots, size_t capacity, etk__archive_named *named) {
  size_t i = named->hash % capacity;
  while (slots[i]) i = (i + 1) % capacity;
  slots[i] = named;
}

static bool grow(etk__archive_names *names) {
  size_t capacity = names->capacity ? names->capacity * 2 : 64;
  etk__archive_named **slots = etk_calloc(capacity, sizeof *slots);
  if (!slots) return false;
  for (size_t i = 0; i < names->capacity; i++)
    if (names->slots[i]) place(slots, capacity, names->slots[i]);
  etk_free(names->slots);
  names->slots = slots;
  names->capacity = capacity;
  return true;
}

etk_status etk__archive_names_add(etk_error *e, etk__archive_names *names, const char *path, char type) {
  bool room = names->count * 4 < names->capacity * 3 || grow(names);
  etk__archive_named *named = room ? etk_arena_alloc(&names->arena, sizeof *named) : NULL;
  if (named) named->path = etk_arena_strdup(&names->arena, path);
  if (!named || !named->path) return etk_fail_memory(e);
  named->type = type;
  named->hash = hash_of(path, strlen(path));
  place(names->slots, names->capacity, named);
  names->count++;
  return ETK_OK;
}

void etk__archive_names_fini(etk__archive_names *names) {
  etk_free(names->slots);
  etk_arena_fini(&names->arena);
  *names = (etk__archive_names){0};
}
