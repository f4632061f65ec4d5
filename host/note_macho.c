/* note_macho.c: the note of a Mach-O file (section __TEXT,__etk_note), thin or fat, on any machine. Layout: <mach-o/loader.h>, <mach-o/fat.h>. */
#include "note_internal.h"

#define THIN 0xFEEDFACFu       /* 64 bits, little-endian */
#define FAT_BIG 0xCAFEBABEu    /* always big-endian; Java class files begin with it as well */
#define FAT_64_BIG 0xCAFEBABFu
#define CPU_X86_64 0x01000007u
#define CPU_ARM64 0x0100000Cu
enum { FAT_MOST = 32, COMMAND_SEGMENT_64 = 0x19, FILE_DYLIB = 6, FILE_BUNDLE = 8, HEADER = 32, SEGMENT = 72, SECTION = 80 };

/* Elsewhere than on a Mac files are only looked at: arm64 first. */
#if defined(__APPLE__) && defined(__x86_64__)
static const uint32_t wanted[] = {CPU_X86_64};
#elif defined(__APPLE__)
static const uint32_t wanted[] = {CPU_ARM64};
#else
static const uint32_t wanted[] = {CPU_ARM64, CPU_X86_64};
#endif

static const char *cpu_name(uint32_t type) {
  switch (type) {
  case CPU_X86_64: return "x86_64";
  case CPU_ARM64: return "arm64";
  case 7: return "i386";
  case 12: return "32-bit arm";
  case 18: return "powerpc";
  default: return "an unknown processor";
  }
}

static bool is_fat(const unsigned char *head, size_t size) {
  if (size < 8) return false;
  uint32_t magic = note_u32_big(head), count = note_u32_big(head + 4);
  return (magic == FAT_BIG || magic == FAT_64_BIG) && count && count <= FAT_MOST;
}

bool note_is_macho(const unsigned char *head, size_t size) { return is_fat(head, size) || (size >= 4 && note_u32(head) == THIN); }

static bool fixed_equal(const unsigned char *field, const char *name) { /* 16 bytes, NUL-padded */
  char padded[16] = {0};
  memcpy(padded, name, strlen(name));
  return !memcmp(field, padded, sizeof padded);
}

/* One image of a fat file, or the whole of a thin one: all offsets inside count from `base`. */
struct image {
  uint64_t base, size;
};

static etk_status image_get(etk_error *e, const unsigned char **out, struct note_source *source, struct image image, uint64_t offset, uint64_t size, const char *what) {
  if (offset > image.size || size > image.size - offset)
    return etk_fail(e, ETK_E_FORMAT, "%s: %s at byte %llu (%llu bytes) lies outside its image of %llu bytes: the file is damaged", source->name, what,
                    (unsigned long long)offset, (unsigned long long)size, (unsigned long long)image.size);
  return note_get(e, out, source, image.base + offset, size, what);
}

static etk_status fat_image(etk_error *e, struct image *out, struct note_source *source) {
  const unsigned char *p;
  etk_status status = note_get(e, &p, source, 0, 8, "the fat header");
  if (status) return status;
  bool wide = note_u32_big(p) == FAT_64_BIG;
  uint32_t count = note_u32_big(p + 4), row = wide ? 32 : 20;
  if ((status = note_get(e, &p, source, 8, (uint64_t)count * row, "the list of images"))) return status;
  for (size_t w = 0; w < sizeof wanted / sizeof wanted[0]; w++)
    for (uint32_t i = 0; i < count; i++) {
      const unsigned char *r = p + (size_t)i * row;
      if (note_u32_big(r) != wanted[w]) continue;
      out->base = wide ? note_u64_big(r + 8) : note_u32_big(r + 8);
      out->size = wide ? note_u64_big(r + 16) : note_u32_big(r + 12);
      return note_get(e, &p, source, out->base, out->size ? 1 : 0, "an image") ? ETK_E_FORMAT
             : out->size > source->size - out->base
                 ? etk_fail(e, ETK_E_FORMAT, "%s: its image of %llu bytes does not fit in the file: it was cut short", source->name, (unsigned long long)out->size)
                 : ETK_OK;
    }
  return etk_fail(e, ETK_E_FORMAT, "%s: is a universal Mach-O file without an image for %s", source->name, cpu_name(wanted[0]));
}

static etk_status segment(etk_error *e, const unsigned char **text, size_t *size, struct note_source *source, struct image image, uint64_t at, uint32_t bytes) {
  const unsigned char *p;
  etk_status status = image_get(e, &p, source, image, at, bytes, "a segment");
  if (status) return status;
  uint32_t count = note_u32(p + 64);
  if (count > (bytes - SEGMENT) / SECTION)
    return etk_fail(e, ETK_E_FORMAT, "%s: a segment names %u sections and has room for %u: it is damaged", source->name, count, (bytes - SEGMENT) / SECTION);
  for (uint32_t i = 0; i < count; i++) {
    const unsigned char *s = p + SEGMENT + (size_t)i * SECTION;
    if (!fixed_equal(s, "__etk_note") || !fixed_equal(s + 16, "__TEXT")) continue;
    uint64_t length = note_u64(s + 40), offset = note_u32(s + 48);
    if (length > NOTE_LIMIT) return etk_fail(e, ETK_E_FORMAT, "%s: has a note of %llu bytes; at most %u are read", source->name, (unsigned long long)length, NOTE_LIMIT);
    if ((status = image_get(e, &p, source, image, offset, length, "the note"))) return status;
    if (note_scan(text, size, p, (size_t)length, 4)) return ETK_OK;
    return etk_fail(e, ETK_E_FORMAT, "%s: its section __TEXT,__etk_note holds no etk note", source->name);
  }
  return ETK_E_NOT_FOUND;
}

etk_status note_macho(etk_error *e, const unsigned char **text, size_t *size, struct note_source *source) {
  struct image image = {0, source->size};
  const unsigned char *p;
  etk_status status = note_get(e, &p, source, 0, 8, "the Mach-O header");
  if (!status && is_fat(p, 8)) status = fat_image(e, &image, source);
  if (!status) status = image_get(e, &p, source, image, 0, HEADER, "the Mach-O header");
  if (status) return status;
  if (note_u32(p) != THIN) return etk_fail(e, ETK_E_FORMAT, "%s: an image is not 64-bit Mach-O", source->name);
  uint32_t cpu = note_u32(p + 4), type = note_u32(p + 12), count = note_u32(p + 16), bytes = note_u32(p + 20);
  bool known = false;
  for (size_t w = 0; w < sizeof wanted / sizeof wanted[0]; w++) known = known || wanted[w] == cpu;
  if (!known) return etk_fail(e, ETK_E_FORMAT, "%s: is a Mach-O file for %s, wanted is %s", source->name, cpu_name(cpu), cpu_name(wanted[0]));
  if (type != FILE_DYLIB && type != FILE_BUNDLE)
    return etk_fail(e, ETK_E_FORMAT, "%s: is a Mach-O file of type %u, not a dynamic library: link it with -dynamiclib", source->name, type);
  uint64_t at = HEADER, end = (uint64_t)HEADER + bytes;
  for (uint32_t i = 0; i < count; i++) {
    if (end - at < 8 || (status = image_get(e, &p, source, image, at, 8, "a load command")))
      return status ? status : etk_fail(e, ETK_E_FORMAT, "%s: load command %u of %u lies outside the %u bytes of commands: it is damaged", source->name, i + 1, count, bytes);
    uint32_t command = note_u32(p), command_size = note_u32(p + 4);
    if (command_size < 8 || command_size > end - at)
      return etk_fail(e, ETK_E_FORMAT, "%s: load command %u has an impossible size of %u bytes: it is damaged", source->name, i + 1, command_size);
    if (command == COMMAND_SEGMENT_64) {
      if (command_size < SEGMENT) return etk_fail(e, ETK_E_FORMAT, "%s: a segment command has %u bytes, at least %d are wanted", source->name, command_size, SEGMENT);
      status = segment(e, text, size, source, image, at, command_size);
      if (status != ETK_E_NOT_FOUND) return status;
    }
    at += command_size;
  }
  return etk_fail(e, ETK_E_NOT_FOUND, "%s: has no etk note", source->name);
}
