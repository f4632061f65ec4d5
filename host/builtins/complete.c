/* complete.c: what the scripts of etc/completion ask. The command line goes in, candidates come out; nothing is said on stderr, since a prompt is there.
 *
 *   complete --print SHELL                  the script, for `eval "$(efficientai-toolkit complete --print bash)"`
 *   complete --shell bash --tail T -- LINE  LINE: the command line up to the cursor; T: the part of the last word that readline will replace, which with
 *                                           ':' and '=' among $COMP_WORDBREAKS begins after one of them (bash hands it over as $2)
 *   complete --shell zsh|fish -- WORD…      words without their quotes, the program's name first; the last one is what stands before the cursor
 *
 * Answers, the first line of two of them a heading of fields with a tab between them:
 *   bash  "blank" or "open" (no blank after the word), "words" or "paths" (bash quotes them); then a candidate a line, cut to what replaces T, and quoted
 *   zsh   "any" or "ordered", "fits" or "replaces", "none", "files" or "folders", and what stands before the path; then "blank" or "open", word, help
 *   fish  no heading; word and help; no paths for a word that begins with '~', which only fish can write */
#include "complete.h"

#include "builtin.h"
#include "shell_words.h"

#include <etk/fs.h>

#define COMPLETE_ARGS(ARG) ARG(text, words, VARIADIC, "", "the command line, after --")
#define COMPLETE_OPTIONS(OPT)                                                                                       \
  OPT(choice, print, "-", "bash|zsh|fish", "", "", ETK_LOCAL, "print the script for this shell")                    \
  OPT(choice, shell, "-", "bash|zsh|fish", "", "", ETK_LOCAL, "who asks")                                           \
  OPT(text, tail, "-", "", "", "", ETK_LOCAL, "bash: the part of the last word that will be replaced")
#define COMMANDS(CMD) CMD(complete, COMPLETE_ARGS, COMPLETE_OPTIONS, ETK_HIDDEN, "Completion of command lines, for the scripts of shells")
BUILTIN(complete, "Completion of command lines, for the scripts of shells", COMMANDS)

/* ---- the scripts, one source each ---- */

#if defined(__APPLE__)
#define PLACE ".section __TEXT,__const\n"
#define SYMBOL(name) "_" #name
#else
#define PLACE ".section .rodata\n"
#define SYMBOL(name) #name
#endif
#define SCRIPT(name, file)                                                                                          \
  __asm__(PLACE ".globl " SYMBOL(name) "\n.globl " SYMBOL(name##_end) "\n" SYMBOL(name) ":\n.incbin \"" file "\"\n" \
          SYMBOL(name##_end) ":\n.byte 0\n.text\n");                                                                \
  extern const char name[] __attribute__((visibility("hidden"))), name##_end[] __attribute__((visibility("hidden")));
SCRIPT(completion_bash, "etc/completion/efficientai-toolkit.bash")
SCRIPT(completion_zsh, "etc/completion/_efficientai-toolkit")
SCRIPT(completion_fish, "etc/completion/efficientai-toolkit.fish")

static int print_script(const char *shell) {
  const char *from = *shell == 'b' ? completion_bash : *shell == 'z' ? completion_zsh : completion_fish;
  const char *to = *shell == 'b' ? completion_bash_end : *shell == 'z' ? completion_zsh_end : completion_fish_end;
  fwrite(from, 1, (size_t)(to - from), stdout);
  return 0;
}

/* ---- answers ---- */

/* How much of the last word stays as it is: what stands before the tail, without its quotes. `raw`: the word as it was typed. */
static size_t kept_size(const char *raw, const char *word, const char *tail) {
  if (!tail) return 0;
  size_t raw_size = strlen(raw), word_size = strlen(word), size = strlen(tail);
  if (size <= raw_size && !strcmp(raw + raw_size - size, tail)) {
    struct shell_words before;
    size_t kept = 0;
    if (!shell_split(NULL, &before, raw, raw_size - size, false) && before.count) kept = strlen(before.words[0]);
    shell_words_free(&before);
    return kept;
  }
  return size <= word_size && !strcmp(word + word_size - size, tail) ? word_size - size : 0;
}

/* "lora:tr" with ':' among the breaks: readline keeps "lora:", and "train" is what can follow it. NULL: nothing can. */
static const char *after_kept(const char *candidate, const char *word, size_t kept) {
  if (!strncmp(candidate, word, kept)) return candidate + kept;
  const char *colon = strchr(candidate, ':');
  return kept && word[kept - 1] == ':' && colon ? colon + 1 : NULL;
}

static void answer_bash(struct host *host, const struct completion *found, const char *word, size_t kept, char quote) {
  bool open = false, paths = found->paths != COMPLETE_NO_PATHS;
  for (size_t i = 0; i < found->count; i++) open = open || found->items[i].open;
  printf("%s\t%s\n", open && !paths ? "open" : "blank", paths ? "paths" : "words"); /* bash knows what follows a path */
  for (size_t i = 0; i < found->count; i++) {
    const char *rest = after_kept(found->items[i].text, word, kept);
    if (!rest) continue;
    size_t size = strlen(rest);
    if (paths) printf("%.*s\n", (int)(size && rest[size - 1] == '/' ? size - 1 : size), rest);
    else if ((rest = shell_quote(&host->arena, rest, quote))) printf("%s\n", rest);
  }
}

static void answer_zsh(const struct completion *found) {
  static const char *const paths[] = {"none", "files", "folders"};
  printf("%s\t%s\t%s\t%s\n", found->ordered ? "ordered" : "any", found->replaces ? "replaces" : "fits", paths[found->paths], found->kept);
  for (size_t i = 0; i < found->count; i++) printf("%s\t%s\t%s\n", found->items[i].open ? "open" : "blank", found->items[i].text, found->items[i].help);
}

static void answer_fish(const struct completion *found) {
  for (size_t i = 0; i < found->count; i++)
    printf("%s%s%s\n", found->items[i].text, *found->items[i].help ? "\t" : "", found->items[i].help);
}

/* ---- asking ---- */

/* words[0] is the program, the last one the cursor's. A program named for a namespace is that project alone. */
static bool ask(struct host *host, struct completion *found, const char *const *words, size_t count) {
  struct plugin plugin;
  const char *base = etk_path_base(words[0]);
  bool alone = strcmp(base, "efficientai-toolkit") && legal_namespace(base) && !host_path(NULL, host) && !discover_exact(NULL, &plugin, &host->arena, &host->path, base);
  host->standalone = alone ? base : NULL;
  return !complete_line(NULL, found, host, words + 1, count - 2, words[count - 1]);
}

static bool plain(const char *text) { return !text[strcspn(text, "\n\t")]; }

/* Candidates that the lines of an answer cannot hold. */
static void drop_unspeakable(struct completion *found) {
  size_t kept = 0;
  for (size_t i = 0; i < found->count; i++)
    if (plain(found->items[i].text)) found->items[kept++] = found->items[i];
  found->count = kept;
}

static int for_bash(struct host *host, const char *line, const char *tail) {
  struct shell_words split;
  struct completion found;
  size_t size = strlen(line);
  etk_status status = shell_split(NULL, &split, line, size, false);
  size_t count = split.count + !split.touching;
  const char **words = status ? NULL : etk_arena_array(&host->arena, count + 1, sizeof *words);
  if (words && split.count && count > 1) {
    for (size_t i = 0; i < count; i++) words[i] = i < split.count ? split.words[i] : "";
    const char *word = words[count - 1];
    size_t kept = split.touching ? kept_size(line + split.starts[count - 1], word, tail) : 0;
    if (ask(host, &found, words, count) && !complete_list_paths(NULL, &found)) {
      drop_unspeakable(&found);
      answer_bash(host, &found, word, kept, split.quote == '\\' ? 0 : split.quote);
    }
    completion_free(&found);
  }
  shell_words_free(&split);
  return 0;
}

static int for_words(struct host *host, const struct etk_texts *words, bool zsh) {
  struct completion found;
  if (words->count < 2) return 0;
  const char *word = words->items[words->count - 1];
  if (ask(host, &found, words->items, words->count)) {
    if (!zsh && *word != '~') complete_list_paths(NULL, &found);
    drop_unspeakable(&found);
    if (zsh) answer_zsh(&found);
    else answer_fish(&found);
  }
  completion_free(&found);
  return 0;
}

static int complete_run(struct host *host, struct etk_texts words, const struct complete_options *o) {
  etk_error e = ETK_ERROR_INIT;
  if (o->print && !o->shell && !words.count) return print_script(o->print);
  if (o->shell && !o->print && (*o->shell != 'b' || words.count == 1)) return *o->shell == 'b' ? for_bash(host, words.items[0], o->tail) : for_words(host, &words, *o->shell == 'z');
  etk_fail(&e, ETK_E_USAGE, "complete: this is for scripts; 'efficientai-toolkit complete --print bash' (zsh, fish) prints one");
  return host_error(host, &e, 0, NULL);
}
