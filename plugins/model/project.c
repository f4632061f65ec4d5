/* The project model: its commands as lists, each a thin function over the domain files beside this one. */
#include "convert.h"
#include "diff.h"
#include "inspect.h"
#include "pull.h"
#include "selftests.h"
#include "verify.h"

#include <etk/project.h>
#include <string.h>

#define FILE_ARGS(ARG) ARG(path, file, REQUIRED, "model", "Hugging Face folder, .safetensors, .gguf (a split by its first part) or llama2.c .bin")
#define PAIR_ARGS(ARG)                                                       \
  ARG(path, a, REQUIRED, "model", "the model that errors are measured against") \
  ARG(path, b, REQUIRED, "model", "the model to compare with it, in any of the formats")
#define CONVERT_ARGS(ARG)                                                       \
  ARG(path, input, REQUIRED, "model", "Hugging Face folder or .safetensors file") \
  ARG(path, output, REQUIRED, "new", "folder or .safetensors file to write, as the input is")
#define INSPECT_OPTIONS(OPT)                                                                                       \
  OPT(flag, tensors, "no", "", "inspect", "t", ETK_LOCAL, "list all tensors")                                     \
  OPT(flag, keys, "no", "", "inspect", "k", ETK_LOCAL, "list the container's own keys and values")                \
  OPT(text, histogram, "-", "1..1024", "inspect", "", ETK_LOCAL, "name of a tensor whose values are to be counted") \
  OPT(int, bins, "20", "2..1000", "inspect", "", ETK_LOCAL, "of the histogram")
#define VERIFY_OPTIONS(OPT) OPT(flag, hash, "no", "", "verify", "", ETK_LOCAL, "SHA-256 of each file too")
#define DIFF_OPTIONS(OPT) OPT(flag, all, "no", "", "diff", "", ETK_LOCAL, "list equal tensors too")
#define CONVERT_OPTIONS(OPT)                                                                                     \
  OPT(choice, type, "bf16", "f32|f16|bf16", "convert", "", ETK_LOCAL, "of the floating tensors; others are kept as they are") \
  OPT(flag, force, "no", "", "convert", "f", ETK_LOCAL, "replace an existing file")

#define PULL_ARGS(ARG) ARG(text, model, REQUIRED, "1..200", "ORG/NAME on the Hugging Face Hub, or a server of $HF_ENDPOINT")
#define PULL_OPTIONS(OPT)                                                                                                         \
  OPT(text, revision, "-", "1..200", "pull", "", ETK_LOCAL, "branch, tag or commit (main)")                                        \
  OPT(texts, include, "-", "1..400", "pull", "", ETK_LOCAL, "only files whose names fit one of these patterns, as *.gguf; without it what running the model takes") \
  OPT(texts, exclude, "-", "1..400", "pull", "", ETK_LOCAL, "not the files whose names fit one of these patterns")                  \
  OPT(flag, all, "no", "", "pull", "a", ETK_LOCAL, "all files")                                                                    \
  OPT(flag, list, "no", "", "pull", "l", ETK_LOCAL, "only list the files")                                                         \
  OPT(path, local_dir, "-", "", "pull", "", ETK_LOCAL, "write the files to this folder instead of the cache that the hub's tools share") \
  OPT(flag, force, "no", "", "pull", "f", ETK_LOCAL, "replace other files of the same names in --local-dir")                       \
  OPT(int, connections, "4", "1..64", "pull", "", ETK_ADVANCED | ETK_LOCAL, "at once")                                             \
  OPT(size, part_size, "16MiB", "64KiB..1GiB", "pull", "", ETK_ADVANCED | ETK_LOCAL, "bytes that a connection fetches at a time; what is whole stays when a download stops")

#define COMMANDS(CMD)                                                                                              \
  CMD(inspect, FILE_ARGS, INSPECT_OPTIONS, 0, "Show what is in a model: architecture, parameters, types, sizes, values") \
  CMD(verify, FILE_ARGS, VERIFY_OPTIONS, 0, "Check that all values are finite and all shapes fit the architecture") \
  CMD(diff, PAIR_ARGS, DIFF_OPTIONS, 0, "Compare the values of two models tensor by tensor, across formats and types") \
  CMD(convert, CONVERT_ARGS, CONVERT_OPTIONS, 0, "Write safetensors again with another floating type") \
  CMD(pull, PULL_ARGS, PULL_OPTIONS, 0, "Download a model from the Hugging Face Hub")

static const void *query(const char *id) { return strcmp(id, ETK_SELFTEST_ID) ? NULL : &model_selftest; }
ETK_PROJECT_WITH("model", "0.1.0", "Look into model files of any format: inspect, verify, compare, convert", COMMANDS, NULL, NULL, query)

static etk_status inspect_run(etk_run *run, const char *file, const struct inspect_options *o) {
  return inspect_model(run, &(struct inspection){.path = file, .histogram = o->histogram, .bins = o->bins, .tensors = o->tensors, .keys = o->keys});
}
static etk_status verify_run(etk_run *run, const char *file, const struct verify_options *o) { return verify_model(run, file, o->hash); }
static etk_status diff_run(etk_run *run, const char *a, const char *b, const struct diff_options *o) { return diff_models(run, a, b, o->all); }
static etk_status convert_run(etk_run *run, const char *input, const char *output, const struct convert_options *o) {
  return convert_model(run, input, output, o->type, o->force);
}
static etk_status pull_run(etk_run *run, const char *model, const struct pull_options *o) {
  if (o->all && o->include.count) return etk_run_fail(run, ETK_E_USAGE, "--all and --include exclude each other");
  if (o->force && !o->local_dir) return etk_run_fail(run, ETK_E_USAGE, "--force is for --local-dir: what lies in the cache is known by its hash");
  return pull_model(run, model, &(etk_pull_options){.revision = o->revision, .include = o->include.items, .include_count = o->include.count, .exclude = o->exclude.items,
                                                    .exclude_count = o->exclude.count, .all = o->all, .list_only = o->list, .folder = o->local_dir, .replace = o->force,
                                                    .connections = (int)o->connections, .part_bytes = o->part_size});
}
