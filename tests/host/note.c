/* The note reader on files made here byte by byte, and on this program itself. */
#include "note_internal.h"

#include <etk/fs.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

/* ---- files ---- */

struct bytes {
  unsigned char data[16384];
  size_t size;
};

static void put(struct bytes *b, size_t at, uint64_t value, size_t width) {
  for (size_t i = 0; i < width; i++) b->data[at + i] = (unsigned char)(value >> (8 * i));
  if (at + width > b->size) b->size = at + width;
}
static void put_big(struct bytes *b, size_t at, uint64_t value, size_t width) {
  for (size_t i = 0; i < width; i++) b->data[at + i] = (unsigned char)(value >> (8 * (width - 1 - i)));
  if (at + width > b->size) b->size = at + width;
}
static void put_text(struct bytes *b, size_t at, const char *text, size_t size) {
  memcpy(b->data + at, text, size);
  if (at + size > b->size) b->size = at + size;
}

static size_t put_note(struct bytes *b, size_t at, size_t alignment, const char *name, uint32_t type, const char *text) {
  size_t name_size = strlen(name) + 1, text_size = strlen(text);
  put(b, at, name_size, 4);
  put(b, at + 4, text_size, 4);
  put(b, at + 8, type, 4);
  put_text(b, at + 12, name, name_size);
  size_t text_at = (at + 12 + name_size + alignment - 1) & ~(alignment - 1);
  put_text(b, text_at, text, text_size);
  return (text_at + text_size + alignment - 1) & ~(alignment - 1);
}

enum { HERE = 0x200 };
#if defined(__x86_64__)
enum { OURS = 62, THEIRS = 183 };
#define THEIR_NAME "aarch64"
#else
enum { OURS = 183, THEIRS = 62 };
#define THEIR_NAME "x86_64"
#endif

/* A shared object with one PT_NOTE at HERE. */
static void elf(struct bytes *b, bool wide, unsigned machine, size_t note_size, size_t alignment) {
  *b = (struct bytes){.size = 0};
  put_text(b, 0, "\x7f" "ELF", 4);
  b->data[4] = wide ? 2 : 1;
  b->data[5] = 1;
  put(b, 16, 3, 2);
  put(b, 18, machine, 2);
  size_t head = wide ? 64 : 52, row = wide ? 56 : 32;
  put(b, wide ? 32 : 28, head, wide ? 8 : 4);
  put(b, wide ? 54 : 42, row, 2);
  put(b, wide ? 56 : 44, 2, 2);
  put(b, head, 1, 4); /* a PT_LOAD first */
  put(b, head + row, 4, 4);
  put(b, head + row + (wide ? 8 : 4), HERE, wide ? 8 : 4);
  put(b, head + row + (wide ? 32 : 16), note_size, wide ? 8 : 4);
  put(b, head + row + (wide ? 48 : 28), alignment, wide ? 8 : 4);
  if (b->size < HERE) b->size = HERE;
}
static void elf_note(struct bytes *b, bool wide, size_t alignment, const char *text) {
  elf(b, wide, OURS, 0, alignment);
  size_t end = put_note(b, HERE, alignment, ETK_NOTE_NAME, ETK_NOTE_TYPE, text);
  size_t row = wide ? 64 + 56 : 52 + 32;
  put(b, row + (wide ? 32 : 16), end - HERE, wide ? 8 : 4);
  if (b->size < end) b->size = end;
}

static etk_error error;
static const char *found_text;
static size_t found_size;
static etk_status find(const struct bytes *b) {
  found_text = NULL;
  return note_find(&error, &found_text, &found_size, b->data, b->size, "a.so");
}
static void found(const char *text) {
  assert_int_equal(found_size, strlen(text));
  assert_memory_equal(found_text, text, found_size);
}
static void says(const char *words) {
  if (!strstr(error.message, words)) fail_msg("'%s' is not in '%s'", words, error.message);
}

/* ---- ELF ---- */

static void a_note_is_found(void **state) {
  (void)state;
  struct bytes b;
  elf_note(&b, true, 4, "hello");
  assert_int_equal(find(&b), ETK_OK);
  found("hello");
}

static void a_note_aligned_to_eight_is_found(void **state) {
  (void)state;
  struct bytes b;
  elf(&b, true, OURS, 0, 8);
  size_t at = put_note(&b, HERE, 8, "GNU", 5, "0123456789"); /* 10 bytes: the next starts at another place than with 4 */
  at = put_note(&b, at, 8, ETK_NOTE_NAME, ETK_NOTE_TYPE, "eight");
  put(&b, 64 + 56 + 32, at - HERE, 8);
  b.size = at;
  assert_int_equal(find(&b), ETK_OK);
  found("eight");
}

static void a_wrong_alignment_in_the_header_is_forgiven(void **state) {
  (void)state;
  struct bytes b;
  elf(&b, true, OURS, 0, 8);
  size_t at = put_note(&b, HERE, 4, "GNU", 5, "0123456789");
  at = put_note(&b, at, 4, ETK_NOTE_NAME, ETK_NOTE_TYPE, "four");
  put(&b, 64 + 56 + 32, at - HERE, 8);
  b.size = at;
  assert_int_equal(find(&b), ETK_OK);
  found("four");
}

static void zeros_between_notes_are_skipped(void **state) {
  (void)state;
  struct bytes b;
  elf(&b, true, OURS, 0, 4);
  size_t at = put_note(&b, HERE, 4, "GNU", 3, "build");
  at = put_note(&b, at + 28, 4, ETK_NOTE_NAME, ETK_NOTE_TYPE, "after zeros");
  put(&b, 64 + 56 + 32, at - HERE, 8);
  b.size = at;
  assert_int_equal(find(&b), ETK_OK);
  found("after zeros");
}

static void notes_of_other_names_and_types_are_not_ours(void **state) {
  (void)state;
  struct bytes b;
  elf(&b, true, OURS, 0, 4);
  size_t at = put_note(&b, HERE, 4, "etc", ETK_NOTE_TYPE, "no");
  at = put_note(&b, at, 4, ETK_NOTE_NAME, 1, "no");
  put(&b, 64 + 56 + 32, at - HERE, 8);
  b.size = at;
  assert_int_equal(find(&b), ETK_E_NOT_FOUND);
}

static void a_file_of_32_bits_is_read_where_it_is_ours(void **state) {
  (void)state;
  struct bytes b;
  elf_note(&b, false, 4, "narrow");
  struct note_source source = {.name = "a.so", .bytes = b.data, .fd = -1, .size = b.size};
  const unsigned char *text;
  assert_int_equal(note_elf(&error, &text, &found_size, &source, true), ETK_OK);
  found_text = (const char *)text;
  found("narrow");
  if (sizeof(void *) == 8) {
    assert_int_equal(find(&b), ETK_E_FORMAT);
    says("with 32-bit pointers");
  }
}

static void another_machine_is_named(void **state) {
  (void)state;
  struct bytes b;
  elf(&b, true, THEIRS, 0, 4);
  assert_int_equal(find(&b), ETK_E_FORMAT);
  says("is an ELF file for " THEIR_NAME ", this machine is ");
  elf(&b, true, 4711, 0, 4);
  assert_int_equal(find(&b), ETK_E_FORMAT);
  says("machine number 4711");
}

static void sizes_that_overflow_are_refused(void **state) {
  (void)state;
  struct bytes b;
  static const uint64_t huge[] = {UINT64_MAX, UINT64_MAX - HERE + 1, UINT64_MAX / 2, 1u << 20};
  for (size_t i = 0; i < 4; i++) {
    elf_note(&b, true, 4, "hello");
    put(&b, 64 + 56 + 32, huge[i], 8); /* p_filesz */
    assert_int_equal(find(&b), ETK_E_FORMAT);
    elf_note(&b, true, 4, "hello");
    put(&b, 64 + 56 + 8, huge[i], 8); /* p_offset */
    assert_int_equal(find(&b), ETK_E_FORMAT);
    elf_note(&b, true, 4, "hello");
    put(&b, 32, huge[i], 8); /* e_phoff */
    assert_int_equal(find(&b), ETK_E_FORMAT);
  }
  static const uint32_t sizes[] = {UINT32_MAX, UINT32_MAX - 3, 0x7fffffff, 4096};
  for (size_t i = 0; i < 4; i++)
    for (size_t field = 0; field < 2; field++) {
      elf_note(&b, true, 4, "hello");
      put(&b, HERE + 4 * field, sizes[i], 4); /* the note's own sizes */
      assert_int_equal(find(&b), ETK_E_NOT_FOUND);
    }
}

static void every_shorter_file_is_refused(void **state) {
  (void)state;
  struct bytes b;
  elf_note(&b, true, 4, "hello");
  for (size_t size = 0; size < b.size; size++) {
    unsigned char *copy = malloc(size ? size : 1); /* of its exact size, so that a sanitizer sees a read past it */
    assert_non_null(copy);
    memcpy(copy, b.data, size);
    etk_status status = note_find(&error, &found_text, &found_size, copy, size, "a.so");
    assert_true(status == ETK_E_FORMAT);
    assert_true(error.message[0]);
    free(copy);
  }
}

static void every_single_changed_byte_is_survived(void **state) {
  (void)state;
  struct bytes b;
  elf_note(&b, true, 4, "hello");
  for (size_t i = 0; i < b.size; i++)
    for (int bit = 0; bit < 8; bit++) {
      b.data[i] ^= (unsigned char)(1 << bit);
      etk_status status = find(&b);
      if (status) assert_true(status == ETK_E_FORMAT || status == ETK_E_NOT_FOUND);
      else assert_true((const unsigned char *)found_text >= b.data && (const unsigned char *)found_text + found_size <= b.data + b.size);
      b.data[i] ^= (unsigned char)(1 << bit);
    }
}

static void many_overlapping_notes_are_bounded(void **state) {
  (void)state;
  /* 1000 headers that all name the same 3 MiB: read once at most */
  enum { COUNT = 1000, SIZE = 3 << 20 };
  size_t size = 64 + COUNT * 56 + SIZE;
  struct bytes head;
  elf(&head, true, OURS, SIZE, 4);
  unsigned char *file = calloc(1, size);
  assert_non_null(file);
  memcpy(file, head.data, 64);
  file[56] = COUNT & 255;
  file[57] = COUNT >> 8;
  for (size_t i = 0; i < COUNT; i++) memcpy(file + 64 + i * 56, head.data + 64 + 56, 56);
  assert_int_equal(note_find(&error, &found_text, &found_size, file, size, "a.so"), ETK_E_FORMAT);
  says("at most 4194304 are read");
  free(file);
}

static void a_note_past_the_head_is_read_from_a_file(void **state) {
  (void)state;
  struct bytes b;
  elf(&b, true, OURS, 0, 4);
  put(&b, 64 + 56 + 8, 9000, 8);
  size_t end = put_note(&b, 9000, 4, ETK_NOTE_NAME, ETK_NOTE_TYPE, "far away");
  put(&b, 64 + 56 + 32, end - 9000, 8);
  b.size = end;
  char path[] = "/tmp/etk-note-XXXXXX";
  int fd = mkstemp(path);
  assert_true(fd >= 0);
  assert_int_equal(write(fd, b.data, b.size), (ssize_t)b.size);
  char *text;
  assert_int_equal(note_read(&error, &text, &found_size, fd, path), ETK_OK);
  assert_string_equal(text, "far away");
  assert_int_equal(found_size, 8);
  etk_free(text);
  elf_note(&b, true, 4, "near");
  assert_int_equal(ftruncate(fd, 0), 0);
  assert_int_equal(pwrite(fd, b.data, b.size, 0), (ssize_t)b.size);
  assert_int_equal(note_read(&error, &text, &found_size, fd, path), ETK_OK);
  assert_string_equal(text, "near");
  etk_free(text);
  close(fd);
  unlink(path);
}

static void failing_memory_is_an_error(void **state) {
  (void)state;
  struct bytes b;
  elf_note(&b, true, 4, "hello");
  char path[] = "/tmp/etk-note-XXXXXX";
  int fd = mkstemp(path);
  assert_int_equal(write(fd, b.data, b.size), (ssize_t)b.size);
  char *text;
  etk_alloc_fail_nth(1, false);
  assert_int_equal(note_read(&error, &text, &found_size, fd, path), ETK_E_NO_MEMORY);
  etk_alloc_fail_nth(0, false);
  assert_null(text);
  close(fd);
  unlink(path);
}

/* ---- Mach-O ---- */

enum { ARM64 = 0x0100000C, X86_64 = 0x01000007 };

/* A dynamic library of two segments; the note lies at byte 0x300 of it. */
static void macho_at(struct bytes *b, size_t base, unsigned cpu, const char *text) {
  put(b, base, 0xFEEDFACF, 4);
  put(b, base + 4, cpu, 4);
  put(b, base + 12, 6, 4); /* a dylib */
  put(b, base + 16, 2, 4);
  put(b, base + 20, 72 + 80 * 2 + 24, 4);
  size_t at = base + 32;
  put(b, at, 0x1D, 4); /* some other command */
  put(b, at + 4, 24, 4);
  at += 24;
  put(b, at, 0x19, 4);
  put(b, at + 4, 72 + 80 * 2, 4);
  put_text(b, at + 8, "__TEXT", 6);
  put(b, at + 64, 2, 4);
  put_text(b, at + 72, "__text", 6);
  put_text(b, at + 72 + 16, "__TEXT", 6);
  put_text(b, at + 152, "__etk_note", 10);
  put_text(b, at + 152 + 16, "__TEXT", 6);
  size_t end = put_note(b, base + 0x300, 4, ETK_NOTE_NAME, ETK_NOTE_TYPE, text);
  put(b, at + 152 + 40, end - base - 0x300, 8);
  put(b, at + 152 + 48, 0x300, 4);
  if (b->size < end) b->size = end;
}

static void a_macho_note_is_found(void **state) {
  (void)state;
  struct bytes b = {.size = 0};
#if defined(__APPLE__) && defined(__x86_64__)
  macho_at(&b, 0, X86_64, "apple");
#else
  macho_at(&b, 0, ARM64, "apple");
#endif
  assert_int_equal(find(&b), ETK_OK);
  found("apple");
}

static void the_right_image_of_a_fat_file_is_taken(void **state) {
  (void)state;
  for (int wide = 0; wide < 2; wide++) {
    struct bytes b = {.size = 0};
    size_t row = wide ? 32 : 20, width = wide ? 8 : 4;
    put_big(&b, 0, wide ? 0xCAFEBABF : 0xCAFEBABE, 4);
    put_big(&b, 4, 2, 4);
    static const unsigned cpus[] = {X86_64, ARM64};
    for (size_t i = 0; i < 2; i++) {
      size_t base = 0x1000 * (i + 1);
      put_big(&b, 8 + i * row, cpus[i], 4);
      put_big(&b, 8 + i * row + 8, base, width);
      put_big(&b, 8 + i * row + 8 + width, 0x1000, width);
      macho_at(&b, base, cpus[i], i ? "arm" : "intel");
    }
    b.size = 0x3000;
    assert_int_equal(find(&b), ETK_OK);
#if defined(__APPLE__) && defined(__x86_64__)
    found("intel");
#else
    found("arm");
#endif
  }
}

static void a_java_class_is_not_a_fat_file(void **state) {
  (void)state;
  struct bytes b = {.size = 0};
  put_big(&b, 0, 0xCAFEBABE, 4);
  put_big(&b, 4, 61, 4); /* minor 0, major 61: Java 17 */
  b.size = 100;
  assert_int_equal(find(&b), ETK_E_FORMAT);
  says("is not a shared object");
}

static void damaged_macho_files_are_refused(void **state) {
  (void)state;
  struct bytes whole = {.size = 0}, b;
  macho_at(&whole, 0, ARM64, "apple");
  for (size_t size = 0; size < whole.size - 4; size++) {
    unsigned char *copy = malloc(size ? size : 1);
    assert_non_null(copy);
    memcpy(copy, whole.data, size);
    assert_int_not_equal(note_find(&error, &found_text, &found_size, copy, size, "a.so"), ETK_OK);
    free(copy);
  }
  for (size_t i = 0; i < 0x320; i++)
    for (int bit = 0; bit < 8; bit++) {
      b = whole;
      b.data[i] ^= (unsigned char)(1 << bit);
      if (!find(&b)) assert_true((const unsigned char *)found_text >= b.data && (const unsigned char *)found_text + found_size <= b.data + b.size);
    }
  b = whole;
  put(&b, 12, 2, 4);
  assert_int_equal(find(&b), ETK_E_FORMAT);
  says("link it with -dynamiclib");
  b = whole;
  put(&b, 32 + 4, 0, 4); /* a command without size would never end */
  assert_int_equal(find(&b), ETK_E_FORMAT);
  says("impossible size");
}

/* Linked by lld: see tests/fuzz/note_seeds.sh. */
static void files_of_a_real_linker_are_read(void **state) {
  (void)state;
  static const char *const names[] = {"elf-x86_64", "elf-aarch64", "elf-i686", "macho-arm64", "macho-x86_64", "macho-fat"};
  for (size_t i = 0; i < 6; i++) {
    char path[64], *bytes;
    size_t size;
    const unsigned char *text;
    snprintf(path, sizeof path, "tests/fuzz/seeds/note/%s", names[i]);
    if (etk_fs_read(&error, &bytes, &size, path, 1 << 20)) fail_msg("%s", error.message);
    struct note_source source = {.name = path, .bytes = (const unsigned char *)bytes, .fd = -1, .size = size};
    etk_status status = i < 3 ? note_elf(&error, &text, &found_size, &source, true) : note_macho(&error, &text, &found_size, &source);
    if (status) fail_msg("%s", error.message);
    struct manifest manifest;
    assert_int_equal(manifest_from_text(&error, &manifest, (const char *)text, found_size), ETK_OK);
    assert_string_equal(manifest.name_space, "seed");
    assert_int_equal(manifest.command_count, 2);
    manifest_fini(&manifest);
    etk_free(bytes);
  }
}

static void a_macho_file_is_no_plugin_on_linux(void **state) {
  (void)state;
#if defined(__APPLE__)
  skip();
#endif
  struct bytes b = {.size = 0};
  macho_at(&b, 0, ARM64, "apple");
  char path[] = "/tmp/etk-note-XXXXXX";
  int fd = mkstemp(path);
  assert_int_equal(write(fd, b.data, b.size), (ssize_t)b.size);
  char *text;
  assert_int_equal(note_read(&error, &text, &found_size, fd, path), ETK_E_FORMAT);
  says("is a Mach-O file for macOS, this machine runs Linux");
  close(fd);
  unlink(path);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(a_note_is_found),
                                     cmocka_unit_test(a_note_aligned_to_eight_is_found),
                                     cmocka_unit_test(a_wrong_alignment_in_the_header_is_forgiven),
                                     cmocka_unit_test(zeros_between_notes_are_skipped),
                                     cmocka_unit_test(notes_of_other_names_and_types_are_not_ours),
                                     cmocka_unit_test(a_file_of_32_bits_is_read_where_it_is_ours),
                                     cmocka_unit_test(another_machine_is_named),
                                     cmocka_unit_test(sizes_that_overflow_are_refused),
                                     cmocka_unit_test(every_shorter_file_is_refused),
                                     cmocka_unit_test(every_single_changed_byte_is_survived),
                                     cmocka_unit_test(many_overlapping_notes_are_bounded),
                                     cmocka_unit_test(a_note_past_the_head_is_read_from_a_file),
                                     cmocka_unit_test(failing_memory_is_an_error),
                                     cmocka_unit_test(a_macho_note_is_found),
                                     cmocka_unit_test(the_right_image_of_a_fat_file_is_taken),
                                     cmocka_unit_test(a_java_class_is_not_a_fat_file),
                                     cmocka_unit_test(damaged_macho_files_are_refused),
                                     cmocka_unit_test(files_of_a_real_linker_are_read),
                                     cmocka_unit_test(a_macho_file_is_no_plugin_on_linux)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
