/* symbols.c: .dynsym and .dynamic of an ELF file, every offset checked. */
#include "symbols.h"

#include "note_internal.h"

#include <etk/fs.h>

struct section {
  uint32_t type, link;
  uint64_t offset, size;
};
struct file {
  const unsigned char *bytes;
  uint64_t size;
  bool wide;
  uint64_t table, row;
  uint32_t count;
};
enum { DYNAMIC = 6, DYNSYM = 11, NEEDED = 1, RPATH = 15, RUNPATH = 29, GLOBAL = 1, WEAK = 2, UNIQUE = 10, PROTECTED = 3 };

static bool section_at(struct section *out, const struct file *f, uint32_t index) {
  if (index >= f->count) return false;
  const unsigned char *p = f->bytes + f->table + index * f->row;
  out->type = note_u32(p + 4);
  out->offset = f->wide ? note_u64(p + 24) : note_u32(p + 16);
  out->size = f->wide ? note_u64(p + 32) : note_u32(p + 20);
  out->link = note_u32(p + (f->wide ? 40 : 24));
  return out->offset <= f->size && out->size <= f->size - out->offset;
}

static bool section_of(struct section *out, const struct file *f, uint32_t type) {
  for (uint32_t i = 0; i < f->count; i++)
    if (section_at(out, f, i) && out->type == type) return true;
  return false;
}

/* A string of a table, or NULL where it has no end inside it. */
static const char *string_at(const struct file *f, const struct section *strings, uint64_t index) {
  if (index >= strings->size) return NULL;
  const char *p = (const char *)f->bytes + strings->offset + index;
  return memchr(p, '\0', (size_t)(strings->size - index)) ? p : NULL;
}

static etk_status damaged(etk_error *e, const char *name) { return etk_fail(e, ETK_E_FORMAT, "%s: its table of symbols is damaged", name); }
static etk_status no_memory(etk_error *e, const char *name) { return etk_fail(e, ETK_E_NO_MEMORY, "%s: no memory for its symbols", name); }

static bool linkers_own(const char *name) {
  static const char *const names[] = {"_init", "_fini", "_end", "_edata", "__bss_start", "_fbss", "__end__"};
  for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
    if (!strcmp(names[i], name)) return true;
  return false;
}

static etk_status read_symbols(etk_error *e, struct symbols *out, const struct file *f, const char *name) {
  struct section symbols, strings;
  uint64_t row = f->wide ? 24 : 16;
  if (!section_of(&symbols, f, DYNSYM)) return ETK_OK;
  if (!section_at(&strings, f, symbols.link)) return damaged(e, name);
  uint64_t count = symbols.size / row;
  if (!(out->exported = etk_arena_array(&out->arena, (size_t)count + 1, sizeof *out->exported))) return no_memory(e, name);
  for (uint64_t i = 1; i < count; i++) {
    const unsigned char *p = f->bytes + symbols.offset + i * row;
    unsigned info = p[f->wide ? 4 : 12], visibility = p[f->wide ? 5 : 13] & 3, bind = info >> 4, place = note_u16(p + (f->wide ? 6 : 14));
    if (!place || (bind != GLOBAL && bind != WEAK && bind != UNIQUE) || (visibility && visibility != PROTECTED)) continue;
    const char *text = string_at(f, &strings, note_u32(p));
    if (!text) return damaged(e, name);
    if (!*text || linkers_own(text)) continue;
    if (!(out->exported[out->exported_count++] = etk_arena_strdup(&out->arena, text))) return no_memory(e, name);
  }
  return ETK_OK;
}

static etk_status read_dynamic(etk_error *e, struct symbols *out, const struct file *f, const char *name) {
  struct section dynamic, strings;
  uint64_t row = f->wide ? 16 : 8;
  if (!section_of(&dynamic, f, DYNAMIC)) return ETK_OK;
  if (!section_at(&strings, f, dynamic.link)) return damaged(e, name);
  uint64_t count = dynamic.size / row;
  if (!(out->needed = etk_arena_array(&out->arena, (size_t)count + 1, sizeof *out->needed))) return no_memory(e, name);
  for (uint64_t i = 0; i < count; i++) {
    const unsigned char *p = f->bytes + dynamic.offset + i * row;
    uint64_t tag = f->wide ? note_u64(p) : note_u32(p), value = f->wide ? note_u64(p + 8) : note_u32(p + 4);
    if (!tag) break;
    if (tag != NEEDED && tag != RPATH && tag != RUNPATH) continue;
    const char *text = string_at(f, &strings, value);
    if (!text) return damaged(e, name);
    const char *copy = etk_arena_strdup(&out->arena, text);
    if (!copy) return no_memory(e, name);
    if (tag == NEEDED) out->needed[out->needed_count++] = copy;
    else out->run_path = copy;
  }
  return ETK_OK;
}

etk_status symbols_find(etk_error *e, struct symbols *out, const void *bytes, size_t size, const char *name) {
  *out = (struct symbols){0};
  struct file f = {.bytes = bytes, .size = size, .wide = sizeof(void *) == 8};
  const unsigned char *p = bytes;
  uint64_t header = f.wide ? 64 : 52, row = f.wide ? 64 : 40;
  if (size < header || memcmp(p, "\x7f" "ELF", 4) || p[4] != (f.wide ? 2 : 1) || p[5] != 1)
    return etk_fail(e, ETK_E_UNSUPPORTED, "%s: is no little-endian ELF file of %d bits", name, f.wide ? 64 : 32);
  f.table = f.wide ? note_u64(p + 40) : note_u32(p + 32);
  f.row = note_u16(p + (f.wide ? 58 : 46));
  f.count = note_u16(p + (f.wide ? 60 : 48));
  if (!f.count || !f.table) return etk_fail(e, ETK_E_UNSUPPORTED, "%s: has no section headers", name);
  if (f.row < row || f.table > size || f.count * f.row > size - f.table) return damaged(e, name);
  etk_status status = read_symbols(e, out, &f, name);
  if (!status) status = read_dynamic(e, out, &f, name);
  if (status) symbols_fini(out);
  return status;
}

etk_status symbols_read(etk_error *e, struct symbols *out, const char *path) {
  *out = (struct symbols){0};
  etk_map map;
  etk_status status = etk_map_open(e, &map, path);
  if (status) return status;
  status = symbols_find(e, out, map.data, map.size, path);
  etk_map_close(&map);
  return status;
}

void symbols_fini(struct symbols *symbols) {
  etk_arena_fini(&symbols->arena);
  *symbols = (struct symbols){0};
}
