/* plugin.c: every kind, need and flag once, as C11 and as C++17; what the matrix builds in each way. */
#include <etk/project.h>
#ifdef __cplusplus
#include <string>
#include <vector>
#endif

#define ALL_ARGS(ARG)                                          \
  ARG(text, name, REQUIRED, "1..40", "a name with \\t a tab")  \
  ARG(int, count, OPTIONAL, "0..", "a number")                 \
  ARG(path, files, VARIADIC, "", "files")
#define ALL_OPTIONS(OPT)                                                                                \
  OPT(int, whole, "3", "1..9", "", "w", 0, "whole")                                                     \
  OPT(real, fraction, "0.5", "0<..1", "group", "lr learning_rate", ETK_ADVANCED, "real")               \
  OPT(flag, loud, "no", "", "group", "", ETK_HIDDEN | ETK_LOCAL, "flag")                                \
  OPT(text, words, "-", "", "group", "", (4 | 8), "text")                                               \
  OPT(path, file, "-", "", "", "", 0, "path")                                                           \
  OPT(choice, shape, "cosine", "linear|cosine|a\\|b", "", "", 0, "choice")                              \
  OPT(secret, key, "-", "", "", "", 0, "secret")                                                        \
  OPT(size, memory, "1MiB", "1KiB..4GiB", "", "", 0, "size")                                            \
  OPT(duration, patience, "90s", "1s..", "", "", 0, "duration")                                         \
  OPT(ints, numbers, "1,2,3", "", "", "", 0, "ints")                                                    \
  OPT(reals, weights, "-", "", "", "", 0, "reals")                                                      \
  OPT(texts, labels, "a,b", "", "", "", 0, "texts")                                                     \
  OPT(map, pairs, "-", "", "", "", 0, "map")
#define COMMANDS(CMD) CMD(all, ALL_ARGS, ALL_OPTIONS, ETK_TRACKED, "Everything") CMD(none, ETK_NONE, ETK_NONE, ETK_HIDDEN, "Nothing")
ETK_PROJECT("matrix", "1.2.3", "Every kind \xE2\x80\x94 once", COMMANDS)

static etk_status all_run(etk_run *run, const char *name, int64_t count, struct etk_texts files, const struct all_options *o) {
#ifdef __cplusplus
  std::vector<std::string> kept(files.items, files.items + files.count);
  kept.push_back(std::string(name) + "!");
  etk_run_result_text(run, "name", kept.back().c_str());
#else
  etk_run_result_text(run, "name", name);
#endif
  etk_run_result_int(run, "sum", count + o->whole + (int64_t)files.count + (int64_t)o->numbers.count + o->memory);
  return ETK_OK;
}
static etk_status none_run(etk_run *run, const struct none_options *o) { return (void)run, (void)o, ETK_OK; }
