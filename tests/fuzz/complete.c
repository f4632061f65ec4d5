/* Fuzz target: a line that somebody is typing. It is cut into words, strictly and as the beginning of a line, each word is quoted and cut again, and the
 * engine of completion is asked what may follow, among the built-ins. */
#include "complete.h"
#include "shell_session.h"
#include "shell_words.h"

#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Neither plugins nor runs of this machine: the same input takes the same path everywhere. */
static void leave_home(void) {
  static const char *const names[] = {"HOME", "XDG_STATE_HOME", "XDG_DATA_HOME", "XDG_CONFIG_HOME"};
  for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) setenv(names[i], "/nonexistent", 1);
  unsetenv("EFFICIENTAI_STATE_DIR");
  unsetenv("EFFICIENTAI_PLUGIN_PATH");
}

/* Outside and inside of quotes, a quoted word reads as it was. */
static void quoted_reads_back(const char *word) {
  static const char quotes[] = {0, '\'', '"'};
  for (size_t i = 0; i < sizeof quotes; i++) {
    struct shell_words words;
    etk_arena arena = ETK_ARENA_INIT;
    char *quoted = shell_quote(&arena, word, quotes[i]);
    char *line = quotes[i] ? etk_arena_printf(&arena, "%c%s%c", quotes[i], quoted, quotes[i]) : quoted;
    if (shell_split(NULL, &words, line, strlen(line), true) || words.count != 1 || strcmp(words.words[0], word)) __builtin_trap();
    shell_words_free(&words);
    etk_arena_fini(&arena);
  }
}

static void complete(struct host *host, const struct shell_words *words) {
  struct completion found;
  size_t before = words->count - words->touching;
  const char *word = words->touching ? words->words[before] : "";
  if (complete_line(NULL, &found, host, words->words, before, word)) __builtin_trap();
  if (!strchr(found.path, '/') && !strstr(found.path, "..")) complete_list_paths(NULL, &found);
  for (size_t i = 0; i < found.count; i++) {
    const struct candidate *item = &found.items[i];
    if (!found.replaces && found.paths == COMPLETE_NO_PATHS && strncmp(item->text, word, strlen(word))) __builtin_trap();
    if (strpbrk(item->help, "\n\t")) __builtin_trap();
  }
  completion_free(&found);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  static struct host host = {.program = "efficientai-toolkit"};
  struct shell_words words, strict;
  const char *line = (const char *)data;
  if (!host.path.dirs) {
    leave_home();
    if (host_path(NULL, &host)) return 0;
    host.path.count = 0;
  }
  if (size > 4096) return 0;
  etk_error e = ETK_ERROR_INIT;
  bool bad = shell_split(&e, &strict, line, size, true) != ETK_OK;
  if (bad && !e.message[0]) __builtin_trap();
  if (!shell_split(NULL, &words, line, size, false)) {
    if (!bad && (words.quote || words.count != strict.count)) __builtin_trap();
    for (size_t i = 0; i < words.count; i++) {
      if (words.starts[i] >= size || (i && words.starts[i] <= words.starts[i - 1]) || strlen(words.words[i]) > size) __builtin_trap();
      quoted_reads_back(words.words[i]);
    }
    complete(&host, &words);
  } else if (!memchr(line, '\0', size)) __builtin_trap();
  shell_words_free(&words);
  shell_words_free(&strict);
  char *text = etk_strndup(line, size);
  if (text) history_wants(text);
  etk_free(text);
  return 0;
}
