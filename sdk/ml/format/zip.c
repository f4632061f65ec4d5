#include "zip.h"

#include <etk/fs.h>
#include <etk/text.h>
#include <inttypes.h>
#include <zlib.h>

enum { END_SIZE = 22, CENTRAL_SIZE = 46, LOCAL_SIZE = 30, END64_SIZE = 56, LOCATOR_SIZE = 20, COMMENT_MAX = 65535, SCRATCH = 16384 };
#define END_MARK     0x06054b50u
#define CENTRAL_MARK 0x02014b50u
#define LOCAL_MARK   0x04034b50u
#define END64_MARK   0x06064b50u
#define LOCATOR_MARK 0x07064b50u
#define MAX32        0xffffffffu

static uint32_t u16(const unsigned char *p) { return (uint32_t)p[0] | (uint32_t)p[1] << 8; }
static uint32_t u32(const unsigned char *p) { return u16(p) | u16(p + 2) << 16; }

static uint64_t u64(const unsigned char *p) { return u32(p) | (uint64_t)u32(p + 4) << 32; }

static etk_status no_memory(etk_error *e, const char *file) {
  return etk_fail(e, ETK_E_NO_MEMORY, "%s: out of memory while reading the archive", file);
}

/* ---- the directory ----------------------------------------------------------------------------------------------------------------- */

/* The end record is the last one whose comment ends with the file. */
static const unsigned char *find_end(const unsigned char *bytes, size_t size) {
  if (size < END_SIZE) return NULL;
  size_t lowest = size - END_SIZE > COMMENT_MAX ? size - END_SIZE - COMMENT_MAX : 0;
  for (size_t at = size - END_SIZE + 1; at-- > lowest;)
    if (u32(bytes + at) == END_MARK && u16(bytes + at + 20) == size - END_SIZE - at) return bytes + at;
  return NULL;
}

/* What an entry may not be. */
static etk_status check_kind(etk_error *e, const etk__zip *zip, const etk__zip_entry *entry, const unsigned char *p, uint64_t at) {
  uint32_t flags = u16(p + 8), method = u16(p + 10);
  if (flags & (1 | 1 << 6 | 1 << 13))
    return etk_fail(e, ETK_E_UNSUPPORTED, "%s: entry '%s' (directory at byte %" PRIu64 ") is encrypted; decrypt the archive first", zip->file,
                    entry->name, at);
  if (method != 0 && method != 8)
    return etk_fail(e, ETK_E_UNSUPPORTED,
                    "%s: entry '%s' (directory at byte %" PRIu64 ") is compressed by method %u; only 0 (stored) and 8 (deflated) are read", zip->file,
                    entry->name, at, method);
  if (method == 0 && entry->packed != entry->size)
    return etk_fail(e, ETK_E_FORMAT, "%s: entry '%s' is stored, but takes %" PRIu64 " bytes in the archive and %" PRIu64 " outside", zip->file,
                    entry->name, entry->packed, entry->size);
  if (u16(p + 34))
    return etk_fail(e, ETK_E_UNSUPPORTED, "%s: entry '%s' lies on disk %u of an archive of several", zip->file, entry->name, u16(p + 34));
  return ETK_OK;
}

/* Numbers that do not fit in 32 bits stand in an extra field, in this order. */
static etk_status read_large(etk_error *e, const etk__zip *zip, etk__zip_entry *entry, const unsigned char *extra, size_t size) {
  uint64_t *wanted[] = {&entry->size, &entry->packed, &entry->begin};
  const unsigned char *field = NULL;
  size_t left = 0;
  if (entry->size != MAX32 && entry->packed != MAX32 && entry->begin != MAX32) return ETK_OK;
  for (size_t at = 0; !field && size - at >= 4 && size - at - 4 >= u16(extra + at + 2); at += 4 + u16(extra + at + 2))
    if (u16(extra + at) == 1) field = extra + at + 4, left = u16(extra + at + 2);
  for (int i = 0; i < 3; i++) {
    if (*wanted[i] != MAX32) continue;
    if (left < 8)
      return etk_fail(e, ETK_E_FORMAT, "%s: the directory entry of '%s' needs a zip64 field that is missing or too short", zip->file, entry->name);
    *wanted[i] = u64(field);
    field += 8, left -= 8;
  }
  return ETK_OK;
}

static etk_status check_name(etk_error *e, const etk__zip *zip, const char *name, size_t size, uint64_t at) {
  if (!size || memchr(name, 0, size) || !etk_utf8_valid(name, size))
    return etk_fail(e, ETK_E_FORMAT, "%s: the directory entry at byte %" PRIu64 " has a name that is empty, not UTF-8 or holds a zero byte",
                    zip->file, at);
  return ETK_OK;
}

/* The local header must agree with the directory; its sizes may be elsewhere (data descriptor, a zip64 field that is not needed). */
static etk_status find_data(etk_error *e, const etk__zip *zip, etk__zip_entry *entry, uint64_t end) {
  if (entry->begin > end || end - entry->begin < LOCAL_SIZE)
    return etk_fail(e, ETK_E_FORMAT, "%s: entry '%s' begins at byte %" PRIu64 ", beyond the data, which ends at %" PRIu64, zip->file, entry->name,
                    entry->begin, end);
  const unsigned char *p = zip->bytes + entry->begin;
  size_t name_size = strlen(entry->name);
  if (u32(p) != LOCAL_MARK)
    return etk_fail(e, ETK_E_FORMAT, "%s: there is no local header for entry '%s' at byte %" PRIu64, zip->file, entry->name, entry->begin);
  uint64_t head = LOCAL_SIZE + (uint64_t)u16(p + 26) + u16(p + 28);
  if (end - entry->begin < head || end - entry->begin - head < entry->packed)
    return etk_fail(e, ETK_E_FORMAT, "%s: entry '%s' at byte %" PRIu64 " and its %" PRIu64 " bytes reach beyond the data, which ends at %" PRIu64,
                    zip->file, entry->name, entry->begin, entry->packed, end);
  if (u16(p + 26) != name_size || memcmp(p + LOCAL_SIZE, entry->name, name_size))
    return etk_fail(e, ETK_E_FORMAT, "%s: the local header at byte %" PRIu64 " has another name than the directory's '%s'", zip->file, entry->begin,
                    entry->name);
  if (u16(p + 6) & 1) return etk_fail(e, ETK_E_UNSUPPORTED, "%s: entry '%s' is encrypted; decrypt the archive first", zip->file, entry->name);
  if (u16(p + 8) != (entry->deflated ? 8u : 0u))
    return etk_fail(e, ETK_E_FORMAT, "%s: the local header of entry '%s' at byte %" PRIu64 " has another compression method (%u) than the directory",
                    zip->file, entry->name, entry->begin, u16(p + 8));
  entry->at = entry->begin + head;
  return ETK_OK;
}

static etk_status read_entry(etk_error *e, etk__zip *zip, etk_arena *arena, etk__zip_entry *entry, uint64_t *at, uint64_t end) {
  const unsigned char *p = zip->bytes + *at;
  if (end - *at < CENTRAL_SIZE || u32(p) != CENTRAL_MARK)
    return etk_fail(e, ETK_E_FORMAT, "%s: there is no directory entry at byte %" PRIu64 ", where number %zu should be", zip->file, *at, zip->count);
  size_t name_size = u16(p + 28);
  uint64_t whole = CENTRAL_SIZE + (uint64_t)name_size + u16(p + 30) + u16(p + 32);
  if (end - *at < whole) return etk_fail(e, ETK_E_FORMAT, "%s: the directory entry at byte %" PRIu64 " is cut off", zip->file, *at);
  const char *name = (const char *)p + CENTRAL_SIZE;
  etk_status s = check_name(e, zip, name, name_size, *at);
  if (s != ETK_OK) return s;
  entry->name = etk_arena_strndup(arena, name, name_size);
  if (!entry->name) return no_memory(e, zip->file);
  if (!etk_path_is_inside(entry->name))
    return etk_fail(e, ETK_E_FORMAT, "%s: entry '%s' (directory at byte %" PRIu64 ") has a name that leaves the folder", zip->file, entry->name, *at);
  entry->deflated = u16(p + 10) == 8;
  entry->crc = u32(p + 16);
  entry->packed = u32(p + 20);
  entry->size = u32(p + 24);
  entry->begin = u32(p + 42);
  s = read_large(e, zip, entry, p + CENTRAL_SIZE + name_size, u16(p + 30));
  if (s == ETK_OK) s = check_kind(e, zip, entry, p, *at);
  *at += whole;
  return s;
}

static int by_name(const void *a, const void *b) {
  const etk__zip_entry *const *x = a, *const *y = b;
  return strcmp((*x)->name, (*y)->name);
}
static int by_place(const void *a, const void *b) {
  const etk__zip_entry *const *x = a, *const *y = b;
  return (*x)->begin < (*y)->begin ? -1 : (*x)->begin > (*y)->begin;
}
static int name_against(const void *key, const void *item) { return strcmp(key, (*(const etk__zip_entry *const *)item)->name); }

static etk_status check_all(etk_error *e, etk__zip *zip) {
  qsort(zip->by_name, zip->count, sizeof *zip->by_name, by_place);
  for (size_t i = 1; i < zip->count; i++) {
    const etk__zip_entry *before = zip->by_name[i - 1], *entry = zip->by_name[i];
    if (entry->begin < before->at + before->packed)
      return etk_fail(e, ETK_E_FORMAT, "%s: entry '%s' begins at byte %" PRIu64 ", inside entry '%s', which ends at %" PRIu64, zip->file, entry->name,
                      entry->begin, before->name, before->at + before->packed);
  }
  qsort(zip->by_name, zip->count, sizeof *zip->by_name, by_name);
  for (size_t i = 1; i < zip->count; i++)
    if (!strcmp(zip->by_name[i - 1]->name, zip->by_name[i]->name))
      return etk_fail(e, ETK_E_FORMAT, "%s: two entries are called '%s'", zip->file, zip->by_name[i]->name);
  return ETK_OK;
}

typedef struct directory {
  uint64_t at, size, count, end; /* end: where it must end, at the first end record */
} directory;

/* The zip64 end record lies right before its locator, and that right before the end record; its numbers replace those. */
static etk_status read_end64(etk_error *e, const etk__zip *zip, directory *d) {
  uint64_t at = d->end;
  if (at < LOCATOR_SIZE || u32(zip->bytes + at - LOCATOR_SIZE) != LOCATOR_MARK) return ETK_OK;
  const unsigned char *locator = zip->bytes + at - LOCATOR_SIZE, *p = locator - END64_SIZE;
  if (at < LOCATOR_SIZE + END64_SIZE || u64(locator + 8) != at - LOCATOR_SIZE - END64_SIZE || u32(p) != END64_MARK || u64(p + 4) != END64_SIZE - 12)
    return etk_fail(e, ETK_E_FORMAT, "%s: the zip64 locator at byte %" PRIu64 " does not lead to a zip64 end record right before it", zip->file,
                    at - LOCATOR_SIZE);
  if (u32(locator + 4) || u32(p + 16) || u32(p + 20) || u64(p + 24) != u64(p + 32))
    return etk_fail(e, ETK_E_UNSUPPORTED, "%s: one part of an archive of several disks", zip->file);
  directory wide = {.at = u64(p + 48), .size = u64(p + 40), .count = u64(p + 32), .end = at - LOCATOR_SIZE - END64_SIZE};
  if ((d->at != MAX32 && d->at != wide.at) || (d->size != MAX32 && d->size != wide.size) || (d->count != 0xffff && d->count != wide.count))
    return etk_fail(e, ETK_E_FORMAT, "%s: the end record and the zip64 end record at byte %" PRIu64 " tell of different directories", zip->file,
                    wide.end);
  *d = wide;
  return ETK_OK;
}

static etk_status find_directory(etk_error *e, const etk__zip *zip, const char *what, directory *d) {
  const unsigned char *end = find_end(zip->bytes, zip->size);
  if (!end)
    return etk_fail(e, ETK_E_FORMAT,
                    "%s: not %s: its %" PRIu64
                    " bytes do not end with the directory of a ZIP archive; a file cut short looks like this: fetch it again",
                    zip->file, what, zip->size);
  *d = (directory){.at = u32(end + 16), .size = u32(end + 12), .count = u16(end + 10), .end = (uint64_t)(end - zip->bytes)};
  if (u16(end + 4) || u16(end + 6) || u16(end + 8) != d->count)
    return etk_fail(e, ETK_E_UNSUPPORTED, "%s: one part of an archive of several disks", zip->file);
  etk_status s = read_end64(e, zip, d);
  if (s != ETK_OK) return s;
  if (d->at > d->end || d->size != d->end - d->at)
    return etk_fail(e, ETK_E_FORMAT, "%s: the directory should be %" PRIu64 " bytes from byte %" PRIu64 ", but the end record is at byte %" PRIu64,
                    zip->file, d->size, d->at, d->end);
  if (d->count > d->size / CENTRAL_SIZE)
    return etk_fail(e, ETK_E_FORMAT, "%s: %" PRIu64 " entries do not fit in a directory of %" PRIu64 " bytes", zip->file, d->count, d->size);
  return ETK_OK;
}

etk_status etk__zip_open(etk_error *e, etk__zip *zip, etk_arena *arena, const char *file, const char *what, const void *bytes, size_t size) {
  *zip = (etk__zip){.file = file, .bytes = bytes, .size = size};
  directory d = {0};
  etk_status s = find_directory(e, zip, what, &d);
  if (s != ETK_OK) return s;
  size_t count = (size_t)d.count;
  uint64_t at = d.at;
  zip->entries = etk_arena_array(arena, count + 1, sizeof *zip->entries);
  zip->by_name = etk_arena_array(arena, count + 1, sizeof *zip->by_name);
  if (!zip->entries || !zip->by_name) return no_memory(e, file);
  for (; zip->count < count; zip->count++) {
    etk__zip_entry *entry = &zip->entries[zip->count];
    s = read_entry(e, zip, arena, entry, &at, d.end);
    if (s == ETK_OK) s = find_data(e, zip, entry, d.at);
    if (s != ETK_OK) return s;
    zip->by_name[zip->count] = entry;
  }
  if (at != d.end)
    return etk_fail(e, ETK_E_FORMAT, "%s: %" PRIu64 " bytes of the directory, from byte %" PRIu64 ", belong to no entry", file, d.end - at, at);
  return check_all(e, zip);
}

const etk__zip_entry *etk__zip_find(const etk__zip *zip, const char *name) {
  const etk__zip_entry **found = zip->count ? bsearch(name, zip->by_name, zip->count, sizeof *zip->by_name, name_against) : NULL;
  return found ? *found : NULL;
}

/* ---- data -------------------------------------------------------------------------------------------------------------------------- */

static etk_status wrong_crc(etk_error *e, const etk__zip *zip, const etk__zip_entry *entry, uint32_t crc) {
  return etk_fail(e, ETK_E_FORMAT, "%s: entry '%s' at byte %" PRIu64 " is damaged: its CRC-32 is %08x, the directory says %08x; fetch the file again",
                  zip->file, entry->name, entry->at, crc, entry->crc);
}

typedef struct inflating {
  z_stream z;
  uint64_t left; /* packed bytes not given to z yet */
  int code;
} inflating;

static void more(inflating *f, const etk__zip *zip, const etk__zip_entry *entry) {
  if (f->z.avail_in || !f->left) return;
  uInt n = f->left > (1u << 30) ? 1u << 30 : (uInt)f->left;
  f->z.next_in = (Bytef *)(uintptr_t)(zip->bytes + entry->at + (entry->packed - f->left));
  f->z.avail_in = n;
  f->left -= n;
}

static etk_status broken(etk_error *e, const etk__zip *zip, const etk__zip_entry *entry, const inflating *f) {
  if (f->code == Z_MEM_ERROR) return no_memory(e, zip->file);
  return etk_fail(e, ETK_E_FORMAT, "%s: entry '%s' at byte %" PRIu64 " does not inflate to its %" PRIu64 " bytes: %s", zip->file, entry->name,
                  entry->at, entry->size,
                  f->z.msg                  ? f->z.msg
                  : f->code == Z_STREAM_END ? "it ends elsewhere"
                                            : "it is cut off or goes on behind them");
}

/* Fills out, or passes the scratch through (out NULL) until the stream ends; then size and CRC must be right. */
static etk_status inflate_whole(etk_error *e, const etk__zip *zip, const etk__zip_entry *entry, unsigned char *out) {
  unsigned char scratch[SCRATCH];
  inflating f = {.left = entry->packed};
  uint64_t done = 0;
  uint32_t crc = 0;
  f.code = inflateInit2(&f.z, -MAX_WBITS);
  while (f.code == Z_OK) {
    more(&f, zip, entry);
    uint64_t room = entry->size - done;
    unsigned char *to = out && room ? out + done : scratch; /* one byte too many goes to the scratch */
    uInt n = out && room ? (uInt)(room > SCRATCH ? SCRATCH : room) : SCRATCH;
    f.z.next_out = to;
    f.z.avail_out = n;
    f.code = inflate(&f.z, Z_NO_FLUSH);
    size_t made = n - f.z.avail_out;
    if (made > room) f.code = Z_DATA_ERROR;
    else crc = (uint32_t)crc32(crc, to, (uInt)made), done += made;
  }
  bool whole = f.code == Z_STREAM_END && done == entry->size && !f.z.avail_in && !f.left;
  etk_status s = !whole ? broken(e, zip, entry, &f) : crc != entry->crc ? wrong_crc(e, zip, entry, crc) : ETK_OK;
  inflateEnd(&f.z);
  return s;
}

etk_status etk__zip_check(etk_error *e, const etk__zip *zip, const etk__zip_entry *entry) {
  if (entry->deflated) return inflate_whole(e, zip, entry, NULL);
  uint32_t crc = (uint32_t)crc32_z(0, zip->bytes + entry->at, (z_size_t)entry->size);
  return crc == entry->crc ? ETK_OK : wrong_crc(e, zip, entry, crc);
}

etk_status etk__zip_head(etk_error *e, const etk__zip *zip, const etk__zip_entry *entry, unsigned char *out, size_t limit, size_t *got) {
  size_t want = entry->size < limit ? (size_t)entry->size : limit;
  *got = want;
  if (!entry->deflated) {
    memcpy(out, zip->bytes + entry->at, want);
    return ETK_OK;
  }
  inflating f = {.left = entry->packed};
  f.code = inflateInit2(&f.z, -MAX_WBITS);
  f.z.next_out = out;
  f.z.avail_out = (uInt)want;
  while (f.code == Z_OK && f.z.avail_out) {
    more(&f, zip, entry);
    f.code = inflate(&f.z, Z_NO_FLUSH);
  }
  etk_status s = f.code != Z_MEM_ERROR && !f.z.avail_out ? ETK_OK : broken(e, zip, entry, &f);
  inflateEnd(&f.z);
  return s;
}

etk_status etk__zip_data(etk_error *e, const etk__zip *zip, const etk__zip_entry *entry, const unsigned char **data, unsigned char **owned) {
  *owned = NULL;
  *data = zip->bytes + entry->at;
  if (!entry->deflated) return ETK_OK;
  etk_status s = inflate_whole(e, zip, entry, NULL);
  if (s != ETK_OK) return s;
  unsigned char *memory = etk_alloc_aligned((size_t)entry->size + 1, 64);
  if (!memory) return no_memory(e, zip->file);
  s = inflate_whole(e, zip, entry, memory);
  if (s != ETK_OK) {
    etk_free(memory);
    return s;
  }
  *data = *owned = memory;
  return ETK_OK;
}
