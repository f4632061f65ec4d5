/* note.c: the note of an ELF file, by its program headers: section headers may be stripped. */
#include "note_internal.h"

#include <errno.h>
#include <sys/stat.h>
#include <unistd.h>

etk_status note_get(etk_error *e, const unsigned char **out, struct note_source *source, uint64_t offset, uint64_t size, const char *what) {
  if (offset > source->size || size > source->size - offset)
    return etk_fail(e, ETK_E_FORMAT, "%s: %s at byte %llu (%llu bytes) lies outside the file, which has %llu bytes: it was cut short or damaged", source->name, what,
                    (unsigned long long)offset, (unsigned long long)size, (unsigned long long)source->size);
  if (source->bytes) {
    *out = source->bytes + offset;
    return ETK_OK;
  }
  if (offset + size <= source->head_size) {
    *out = source->head + offset;
    return ETK_OK;
  }
  if (size > NOTE_LIMIT)
    return etk_fail(e, ETK_E_FORMAT, "%s: %s has %llu bytes; at most %u are read", source->name, what, (unsigned long long)size, NOTE_LIMIT);
  etk_free(source->scratch);
  source->scratch_size = (size_t)size;
  source->scratch = etk_alloc((size_t)size + 1); /* room for the NUL that note_read adds */
  if (!source->scratch) return etk_fail(e, ETK_E_NO_MEMORY, "%s: no memory for %llu bytes of %s", source->name, (unsigned long long)size, what);
  for (size_t done = 0; done < size;) {
    ssize_t got = pread(source->fd, source->scratch + done, (size_t)size - done, (off_t)(offset + done));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return etk_fail_errno(e, errno, "%s: cannot read %s", source->name, what);
    if (!got) return etk_fail(e, ETK_E_FORMAT, "%s: became shorter while it was read", source->name);
    done += (size_t)got;
  }
  *out = source->scratch;
  return ETK_OK;
}

bool note_scan(const unsigned char **text, size_t *size, const unsigned char *bytes, size_t count, size_t alignment) {
  for (size_t at = 0; count >= 12 && at <= count - 12;) {
    const unsigned char *p = bytes + at;
    uint64_t name_size = note_u32(p), text_size = note_u32(p + 4);
    uint32_t type = note_u32(p + 8);
    if (!name_size) { /* linkers pad with zeros between notes, and no note is nameless */
      at += 4;
      continue;
    }
    uint64_t text_at = (at + 12 + name_size + alignment - 1) & ~(uint64_t)(alignment - 1); /* 64 bits: 32-bit sizes cannot overflow */
    if (text_at > count || text_size > count - text_at) return false;
    if (type == ETK_NOTE_TYPE && name_size == sizeof ETK_NOTE_NAME && !memcmp(p + 12, ETK_NOTE_NAME, sizeof ETK_NOTE_NAME)) {
      *text = bytes + text_at;
      *size = (size_t)text_size;
      return true;
    }
    uint64_t next = (text_at + text_size + alignment - 1) & ~(uint64_t)(alignment - 1);
    if (next > count) return false;
    at = (size_t)next;
  }
  return false;
}

/* ---- ELF ---- */

static const struct {
  uint32_t number;
  const char *name;
} machines[] = {{3, "i386"}, {8, "mips"}, {20, "powerpc"}, {21, "powerpc64"}, {22, "s390x"}, {40, "arm"}, {62, "x86_64"}, {183, "aarch64"}, {243, "riscv"}, {258, "loongarch"}};

#if defined(__x86_64__)
enum { OUR_MACHINE = 62 };
#elif defined(__aarch64__)
enum { OUR_MACHINE = 183 };
#elif defined(__i386__)
enum { OUR_MACHINE = 3 };
#elif defined(__arm__)
enum { OUR_MACHINE = 40 };
#elif defined(__riscv)
enum { OUR_MACHINE = 243 };
#elif defined(__s390x__)
enum { OUR_MACHINE = 22 };
#elif defined(__powerpc64__)
enum { OUR_MACHINE = 21 };
#elif defined(__loongarch__)
enum { OUR_MACHINE = 258 };
#else
#error "host/note.c: name this machine's ELF number"
#endif

static const char *machine_name(char *out, size_t size, uint32_t number) {
  for (size_t i = 0; i < sizeof machines / sizeof machines[0]; i++)
    if (machines[i].number == number) return machines[i].name;
  snprintf(out, size, "machine number %u", number);
  return out;
}

struct elf {
  bool wide; /* ELF64 */
  uint64_t program_offset;
  uint32_t program_count, program_size;
};

static etk_status elf_header(etk_error *e, struct elf *out, struct note_source *source, bool any_machine) {
  const unsigned char *p;
  etk_status status = note_get(e, &p, source, 0, 52, "the ELF header");
  if (status) return status;
  char seen[32], ours[32];
  unsigned bits = p[4] == 1 ? 32 : 64;
  if ((p[4] != 1 && p[4] != 2) || (p[5] != 1 && p[5] != 2))
    return etk_fail(e, ETK_E_FORMAT, "%s: has a damaged ELF header (class %d, byte order %d)", source->name, p[4], p[5]);
  if (p[5] == 2) /* the machine's number too is written the other way round */
    return etk_fail(e, ETK_E_FORMAT, "%s: is a big-endian ELF file for %s, this machine is %s: get the plugin that was built for it", source->name,
                    machine_name(seen, sizeof seen, (uint32_t)p[18] << 8 | p[19]), machine_name(ours, sizeof ours, OUR_MACHINE));
  uint32_t type = note_u16(p + 16), machine = note_u16(p + 18);
  if (!any_machine && (machine != OUR_MACHINE || bits != 8 * sizeof(void *)))
    return etk_fail(e, ETK_E_FORMAT, "%s: is an ELF file for %s%s, this machine is %s: get the plugin that was built for it", source->name,
                    machine_name(seen, sizeof seen, machine), machine == OUR_MACHINE ? bits == 32 ? " with 32-bit pointers" : " with 64-bit pointers" : "",
                    machine_name(ours, sizeof ours, OUR_MACHINE));
  if (type != 3) {
    static const char *const types[] = {"an ELF file of no type", "an object file (.o)", "a program", "", "a core dump"};
    return etk_fail(e, ETK_E_FORMAT, "%s: is %s, not a shared object: link it with -shared -fPIC", source->name, type < 5 ? types[type] : "an ELF file of an unknown type");
  }
  out->wide = bits == 64;
  if (out->wide && (status = note_get(e, &p, source, 0, 64, "the ELF header"))) return status;
  out->program_offset = out->wide ? note_u64(p + 32) : note_u32(p + 28);
  out->program_size = note_u16(p + (out->wide ? 54 : 42));
  out->program_count = note_u16(p + (out->wide ? 56 : 44));
  if (out->program_count && out->program_size < (out->wide ? 56u : 32u))
    return etk_fail(e, ETK_E_FORMAT, "%s: has program headers of %u bytes, at least %u are wanted: it is damaged", source->name, out->program_size, out->wide ? 56u : 32u);
  return ETK_OK;
}

etk_status note_elf(etk_error *e, const unsigned char **text, size_t *size, struct note_source *source, bool any_machine) {
  struct elf elf = {0};
  uint64_t total = 0; /* overlapping notes must not make a small file long to read */
  etk_status status = elf_header(e, &elf, source, any_machine);
  for (uint32_t i = 0; !status && i < elf.program_count; i++) {
    const unsigned char *p; /* one at a time: the notes read between may take the place of the headers */
    status = note_get(e, &p, source, elf.program_offset + (uint64_t)i * elf.program_size, elf.program_size, "a program header");
    if (status || note_u32(p) != 4 /* PT_NOTE */) continue;
    uint64_t offset = elf.wide ? note_u64(p + 8) : note_u32(p + 4), bytes = elf.wide ? note_u64(p + 32) : note_u32(p + 16);
    uint64_t alignment = elf.wide ? note_u64(p + 48) : note_u32(p + 28);
    if (bytes > NOTE_LIMIT || (total += bytes) > NOTE_LIMIT)
      return etk_fail(e, ETK_E_FORMAT, "%s: has notes of %llu bytes; at most %u are read", source->name, (unsigned long long)bytes, NOTE_LIMIT);
    if ((status = note_get(e, &p, source, offset, bytes, "a note"))) break;
    /* Notes are aligned to 4, or to 8 where the header says so; linkers have mixed the two, so the other way is tried as well. */
    size_t first = alignment == 8 ? 8 : 4;
    if (note_scan(text, size, p, (size_t)bytes, first) || note_scan(text, size, p, (size_t)bytes, 12 - first)) return ETK_OK;
  }
  return status ? status : etk_fail(e, ETK_E_NOT_FOUND, "%s: has no etk note", source->name);
}

/* ---- either ---- */

/* What a file that is no shared object looks like. */
static const struct {
  const char *magic;
  size_t size;
  const char *name;
} foreign[] = {{"!<arch>\n", 8, "a static library (.a)"}, {"MZ", 2, "a Windows library (.dll)"}, {"#!", 2, "a script"},
               {"version https://git-lfs", 23, "a Git LFS pointer, not the file itself (git lfs pull brings it)"},
               {"\x1f\x8b", 2, "a gzip archive"}, {"PK\x03\x04", 4, "a zip archive"}, {"/* GNU ld script", 16, "a linker script"}, {"<", 1, "an HTML or XML page"}};

static etk_status not_shared(etk_error *e, const struct note_source *source, const unsigned char *head, size_t size) {
  const char *name = "neither ELF nor Mach-O";
  for (size_t i = 0; i < sizeof foreign / sizeof foreign[0]; i++)
    if (size >= foreign[i].size && !memcmp(head, foreign[i].magic, foreign[i].size)) {
      name = foreign[i].name;
      break;
    }
  if (!size) name = "empty";
  return etk_fail(e, ETK_E_FORMAT, "%s: is not a shared object, it is %s", source->name, name);
}

static etk_status locate(etk_error *e, const unsigned char **text, size_t *size, struct note_source *source, const unsigned char *head, size_t head_size) {
  etk_status status;
  if (head_size >= 4 && !memcmp(head, "\x7f" "ELF", 4)) status = note_elf(e, text, size, source, false);
  else if (note_is_macho(head, head_size)) status = note_macho(e, text, size, source);
  else return not_shared(e, source, head, head_size);
  if (!status && *size > NOTE_LIMIT) status = etk_fail(e, ETK_E_FORMAT, "%s: has a note of %zu bytes; at most %u are read", source->name, *size, NOTE_LIMIT);
  return status;
}

etk_status note_find(etk_error *e, const char **text, size_t *size, const void *bytes, size_t file_size, const char *name) {
  struct note_source source;
  source.name = name;
  source.bytes = bytes;
  source.fd = -1;
  source.size = file_size;
  source.scratch = NULL;
  source.head_size = 0;
  const unsigned char *found = NULL;
  etk_status status = locate(e, &found, size, &source, bytes, file_size);
  *text = (const char *)found;
  return status;
}

etk_status note_read(etk_error *e, char **text, size_t *size, int fd, const char *path) {
  struct stat info;
  *text = NULL;
  if (fstat(fd, &info)) return etk_fail_errno(e, errno, "%s: cannot read", path);
  return note_read_sized(e, text, size, fd, path, (uint64_t)info.st_size);
}

etk_status note_read_sized(etk_error *e, char **text, size_t *size, int fd, const char *path, uint64_t file_size) {
  struct note_source source; /* not zeroed: the head is 4 KiB, and 100 plugins are read at each start */
  *text = NULL;
  source.name = path;
  source.bytes = NULL;
  source.fd = fd;
  source.scratch = NULL;
  source.size = file_size;
  ssize_t got;
  do got = pread(fd, source.head, NOTE_HEAD, 0);
  while (got < 0 && errno == EINTR);
  if (got < 0) return etk_fail_errno(e, errno, "%s: cannot read", path);
  source.head_size = (size_t)got;
#if !defined(__APPLE__)
  if (note_is_macho(source.head, source.head_size))
    return etk_fail(e, ETK_E_FORMAT, "%s: is a Mach-O file for macOS, this machine runs Linux: get the plugin that was built for it", path);
#endif
  const unsigned char *found = NULL;
  etk_status status = locate(e, &found, size, &source, source.head, source.head_size);
  if (!status && source.scratch && found >= source.scratch && found <= source.scratch + source.scratch_size) {
    memmove(source.scratch, found, *size);
    source.scratch[*size] = '\0';
    *text = (char *)source.scratch;
    return ETK_OK;
  }
  if (!status && !(*text = etk_strndup((const char *)found, *size))) status = etk_fail(e, ETK_E_NO_MEMORY, "%s: no memory for its note", path);
  etk_free(source.scratch);
  return status;
}
