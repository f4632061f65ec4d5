/* The project model: its commands as lists, each a thin function over the domain files beside this one. */
#include "convert.h"
#include "diff.h"
#include "embed.h"
#include "inspect.h"
#include "pull.h"
#include "selftests.h"
#include "tokenize.h"
#include "verify.h"

#include <etk/project.h>
#include <string.h>

#define FILE_ARGS(ARG) ARG(path, file, REQUIRED, "model", "Hugging Face folder, .safetensors, .gguf (a split by its first part), .pth, .npz, .onnx or llama2.c .bin")
#define PAIR_ARGS(ARG)                                                       \
  ARG(path, a, REQUIRED, "model", "the model that errors are measured against") \
  ARG(path, b, REQUIRED, "model", "the model to compare with it, in any of the formats")
#define CONVERT_ARGS(ARG)                                                       \
  ARG(path, input, REQUIRED, "model", "a model in any of the formats, or an adapter")          \
  ARG(path, output, REQUIRED, "new", "file.gguf, .safetensors, .npz or .pth, or the folder to write")
#define INSPECT_OPTIONS(OPT)                                                                                       \
  OPT(flag, tensors, "no", "", "inspect", "t", ETK_LOCAL, "list all tensors")                                     \
  OPT(flag, keys, "no", "", "inspect", "k", ETK_LOCAL, "list the container's own keys and values")                \
  OPT(text, histogram, "-", "1..1024", "inspect", "", ETK_LOCAL, "name of a tensor whose values are to be counted") \
  OPT(int, bins, "20", "2..1000", "inspect", "", ETK_LOCAL, "of the histogram")
#define VERIFY_OPTIONS(OPT) OPT(flag, hash, "no", "", "verify", "", ETK_LOCAL, "SHA-256 of each file too")
#define DIFF_OPTIONS(OPT)                                                                                          \
  OPT(flag, all, "no", "", "diff", "", ETK_LOCAL, "list equal tensors too")                                       \
  OPT(flag, check, "no", "", "diff", "", ETK_LOCAL, "exit with 4 where the models differ, for scripts")
#define CONVERT_OPTIONS(OPT)                                                                                     \
  OPT(choice, to, "-", "hf|gguf|mlx|safetensors|npz|pth|peft|kohya", "convert", "", ETK_LOCAL, "what to write, where the output's name does not tell; adapters: peft, mlx, gguf or kohya") \
  OPT(text, type, "-", "1..16", "convert", "t", ETK_LOCAL, "f32, f16 or bf16; for GGUF also q8_0, q6_k, q5_k_m, q4_k_m, q3_k_m, q2_k, iq4_nl, q4_0 and others (a wrong one lists all); types stay without it") \
  OPT(flag, plan, "no", "", "convert", "", ETK_LOCAL, "only say what would become of each tensor") \
  OPT(flag, tensors, "no", "", "convert", "", ETK_LOCAL, "list all tensors with the error of each") \
  OPT(flag, force, "no", "", "convert", "f", ETK_LOCAL, "replace an existing output, a folder whole; never the input or a folder that holds no model") \
  OPT(size, shard_size, "-", "1..", "convert", "", ETK_LOCAL, "folders: bytes of a file of weights at most (5 GB)") \
  OPT(size, split_size, "-", "1..", "convert", "", ETK_LOCAL, "GGUF: bytes of a part at most; one file without it") \
  OPT(int, bits, "-", "2..6|8", "convert", "b", ETK_LOCAL, "MLX: bits a weight (4)") \
  OPT(int, group_size, "-", "32|64|128", "convert", "", ETK_LOCAL, "MLX: weights that share a scale (64)") \
  OPT(texts, tensor_type, "-", "3..256", "convert", "", ETK_LOCAL, "GGUF: REGEX=TYPE for tensors in whose name REGEX is found; several, the first that fits") \
  OPT(text, output_tensor_type, "-", "2..8", "convert", "", ETK_LOCAL, "GGUF: type of output.weight") \
  OPT(text, token_embedding_type, "-", "2..8", "convert", "", ETK_LOCAL, "GGUF: type of token_embd.weight") \
  OPT(path, imatrix, "-", "file", "convert", "", ETK_LOCAL, "GGUF: importance matrix of llama.cpp") \
  OPT(path, base, "-", "model", "convert", "", ETK_LOCAL, "adapters: the model they belong to, where names or the order of rows depend on it") \
  OPT(flag, pure, "no", "", "convert", "", ETK_LOCAL, "GGUF: one type for all matrices") \
  OPT(flag, leave_output_tensor, "no", "", "convert", "", ETK_LOCAL, "GGUF: output.weight is not quantized") \
  OPT(flag, allow_requantize, "no", "", "convert", "", ETK_LOCAL, "quantize what is quantized already, which loses twice")

#define TOKENIZE_ARGS(ARG) ARG(path, tokenizer, REQUIRED, "model", "folder, tokenizer.json, tokenizer.model, GGUF or another tokenizer file")
#define TOKENIZE_OPTIONS(OPT)                                                                                                     \
  OPT(text, text, "-", "", "tokenize", "t", ETK_LOCAL, "the text; with --decode the ids, as [1, 2] or 1 2")                        \
  OPT(path, file, "-", "", "tokenize", "", ETK_LOCAL, "file with the text or ids; '-' is standard input")                         \
  OPT(path, jsonl, "-", "", "tokenize", "", ETK_LOCAL, "file of JSON strings, one a line, each answered by an array of ids; '-' too") \
  OPT(flag, special, "no", "", "tokenize", "", ETK_LOCAL, "with the tokens that begin and end a text; with --decode control tokens are shown") \
  OPT(flag, parse_special, "-", "", "tokenize", "", ETK_LOCAL, "match control tokens written in the text (usual for tokenizer.json, not for GGUF)") \
  OPT(flag, decode, "no", "", "tokenize", "d", ETK_LOCAL, "ids to text; with --jsonl arrays to strings")

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

#define EMBED_ARGS(ARG) ARG(path, encoder, REQUIRED, "model", "folder of an encoder (BERT and its kin, sentence-transformers, CLIP), or GGUF file of a BERT")
#define EMBED_OPTIONS(OPT)                                                                                                        \
  OPT(texts, text, "-", "", "embed", "t", ETK_LOCAL, "the text; may be given several times")                                       \
  OPT(path, file, "-", "", "embed", "", ETK_LOCAL, "file of texts, one a line, each answered by an array of numbers; '-' is standard input") \
  OPT(path, jsonl, "-", "", "embed", "", ETK_LOCAL, "the same of JSON strings, one a line")                                        \
  OPT(flag, truncate, "no", "", "embed", "", ETK_LOCAL, "leave out the end of texts that are too long; they are an error without it") \
  OPT(flag, compare, "no", "", "embed", "", ETK_LOCAL, "show how near the texts are to each other instead of their vectors")

#define COMMANDS(CMD)                                                                                              \
  CMD(inspect, FILE_ARGS, INSPECT_OPTIONS, 0, "Show what is in a model: architecture, parameters, types, sizes, values") \
  CMD(verify, FILE_ARGS, VERIFY_OPTIONS, 0, "Check that all values are finite and all shapes fit the architecture") \
  CMD(diff, PAIR_ARGS, DIFF_OPTIONS, 0, "Compare the values of two models tensor by tensor, across formats and types") \
  CMD(convert, CONVERT_ARGS, CONVERT_OPTIONS, 0, "Write a model or an adapter again in another format or type") \
  CMD(pull, PULL_ARGS, PULL_OPTIONS, 0, "Download a model from the Hugging Face Hub")                                   \
  CMD(tokenize, TOKENIZE_ARGS, TOKENIZE_OPTIONS, 0, "Turn text into token ids, or ids into text")                       \
  CMD(embed, EMBED_ARGS, EMBED_OPTIONS, 0, "Turn texts into vectors by an encoder, or compare them")

static const void *query(const char *id) { return strcmp(id, ETK_SELFTEST_ID) ? NULL : &model_selftest; }
ETK_PROJECT_WITH("model", "0.1.0", "Look into model files of any format: inspect, verify, compare, convert", COMMANDS, NULL, NULL, query)

static etk_status inspect_run(etk_run *run, const char *file, const struct inspect_options *o) {
  return inspect_model(run, &(struct inspection){.path = file, .histogram = o->histogram, .bins = o->bins, .tensors = o->tensors, .keys = o->keys});
}
static etk_status verify_run(etk_run *run, const char *file, const struct verify_options *o) { return verify_model(run, file, o->hash); }
static etk_status diff_run(etk_run *run, const char *a, const char *b, const struct diff_options *o) { return diff_models(run, a, b, o->all, o->check); }
static etk_status convert_run(etk_run *run, const char *input, const char *output, const struct convert_options *o) {
  struct conversion c = {.input = input, .output = output, .to = o->to, .base = o->base, .plan = o->plan, .tensors = o->tensors};
  c.options = (etk_convert_options){.type = o->type, .tensor_types = o->tensor_type.items, .tensor_type_count = o->tensor_type.count, .output_type = o->output_tensor_type,
                                    .embedding_type = o->token_embedding_type, .importance = o->imatrix, .pure = o->pure, .leave_output = o->leave_output_tensor,
                                    .requantize = o->allow_requantize, .bits = (int)o->bits, .group_size = (int)o->group_size,
                                    .shard_bytes = o->split_size ? o->split_size : o->shard_size, .replace = o->force};
  if (o->shard_size && o->split_size) return etk_run_fail(run, ETK_E_USAGE, "--shard-size is for folders and --split-size for GGUF; one of the two is wanted");
  return convert_model(run, &c);
}
static etk_status pull_run(etk_run *run, const char *model, const struct pull_options *o) {
  if (o->all && o->include.count) return etk_run_fail(run, ETK_E_USAGE, "--all and --include exclude each other");
  if (o->force && !o->local_dir) return etk_run_fail(run, ETK_E_USAGE, "--force is for --local-dir: what lies in the cache is known by its hash");
  return pull_model(run, model, &(etk_pull_options){.revision = o->revision, .include = o->include.items, .include_count = o->include.count, .exclude = o->exclude.items,
                                                    .exclude_count = o->exclude.count, .all = o->all, .list_only = o->list, .folder = o->local_dir, .replace = o->force,
                                                    .connections = (int)o->connections, .part_bytes = o->part_size});
}
static etk_status tokenize_run(etk_run *run, const char *tokenizer, const struct tokenize_options *o) {
  return tokenize_model(run, &(struct tokenizing){.path = tokenizer, .text = o->text, .file = o->file, .lines = o->jsonl, .special = o->special,
                                                  .parse_special = o->parse_special, .parse_given = etk_run_given(run, "parse_special"), .decode = o->decode});
}
static etk_status embed_run(etk_run *run, const char *encoder, const struct embed_options *o) {
  return embed_texts(run, &(struct embedding){.path = encoder, .texts = o->text, .file = o->file, .lines = o->jsonl, .truncate = o->truncate, .compare = o->compare});
}
