/* Fuzz target: a plugin file that nobody has vouched for — its note (ELF and Mach-O, any machine), the manifest in it, its table of symbols. Input that
 * begins with "note" is taken as the text of a note, so that the parser is reached without a file around it. */
#include "manifest.h"
#include "note_internal.h"
#include "symbols.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void count(void *user, const char *finding) {
  ++*(size_t *)user;
  if (!finding[0]) __builtin_trap();
}

static void read_text(const char *text, size_t size) {
  struct manifest manifest;
  etk_error e = ETK_ERROR_INIT;
  if (manifest_from_text(&e, &manifest, text, size)) {
    if (!e.message[0] || manifest.commands || manifest.arena.first) __builtin_trap();
    return;
  }
  size_t findings = 0;
  if (manifest.command_count < 64 && manifest_check(&manifest, count, &findings) != findings) __builtin_trap(); /* quadratic in the names of one command */
  if (manifest_equal(&e, &manifest, &manifest)) __builtin_trap();
  for (size_t i = 0; i < manifest.command_count; i++)
    if (!manifest_command(&manifest, manifest.commands[i].name)) __builtin_trap();
  manifest_fini(&manifest);
}

static void inside(const uint8_t *data, size_t size, const void *text, size_t text_size) {
  const uint8_t *p = text;
  if (p < data || text_size > size || p > data + (size - text_size)) __builtin_trap();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  etk_error e = ETK_ERROR_INIT;
  const char *text;
  size_t text_size;
  if (size >= 4 && !memcmp(data, "note", 4)) {
    read_text((const char *)data, size);
    return 0;
  }
  if (note_find(&e, &text, &text_size, data, size, "input") == ETK_OK) {
    inside(data, size, text, text_size);
    read_text(text, text_size);
  } else if (!e.message[0]) __builtin_trap();
  struct note_source source = {.name = "input", .bytes = data, .fd = -1, .size = size};
  const unsigned char *bytes;
  if (size >= 4 && !memcmp(data, "\x7f" "ELF", 4) && note_elf(&e, &bytes, &text_size, &source, true) == ETK_OK) inside(data, size, bytes, text_size);
  struct symbols symbols;
  if (symbols_find(&e, &symbols, data, size, "input") == ETK_OK) symbols_fini(&symbols);
  return 0;
}
