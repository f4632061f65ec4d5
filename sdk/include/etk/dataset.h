/* etk/dataset.h: training and evaluation data as token sequences with a loss mask, and batches of them.
 *
 * Files: JSONL with one object a line — {"text"}, {"prompt","completion"} (prompt masked), {"messages":[{role,content}]} and the like (see below), {"ids":[…]}
 * (verbatim), {"instruction","input","output"} (Alpaca: the prompt is "### Instruction:\n…\n\n### Input:\n…\n\n### Response:\n", the Input part only
 * where it is not empty); a .json file may hold a list of such objects — or plain text (any other extension than .jsonl/.json): one document, cut into
 * windows of max_tokens. The kind is found per line; unknown keys are ignored; a broken line is an error with file and line. Blank lines, CRLF and a
 * leading byte order mark are accepted. Folders: train.jsonl, valid.jsonl, test.jsonl (also .json, .txt).
 * A prompt and its completion are tokenised apart, so that the prompt's tokens are those that generation sees. A sequence of fewer than two tokens
 * has nothing to predict and is left out; one whose prompt fills max_tokens stays, with nothing scored.
 * Conversations — {"messages"}, or ShareGPT's {"conversations":[{from,value}]} — are written out by the model's chat template (with "tools" where a line has
 * them), up to the last message of the assistant, which alone counts for the loss; no end of text is added, the template ends its own. Without a template:
 * "<|role|>\ncontent\n" for each message. */
#ifndef ETK_DATASET_H
#define ETK_DATASET_H

#include "chat.h"
#include "rng.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct etk_sequence {
  const int32_t *ids;
  int32_t count;
  int32_t masked; /* the first `masked` tokens are not scored (the first token of a sequence never is) */
} etk_sequence;

typedef struct etk_dataset etk_dataset;
typedef struct etk_dataset_options {
  const etk_tokenizer *tokenizer; /* NULL: only {"ids"} is possible; text is then an error that says so */
  int64_t vocabulary_size;        /* ids outside [0, this) are an error with file and line */
  int32_t max_tokens;             /* longer sequences are cut at the end and counted; plain text is cut into windows */
  bool append_eos;                /* train: yes; evaluate: no. Never for {"ids"} */
  const etk_chat_format *chat;    /* for conversations; NULL: without a template */
  const char *chat_kwargs;        /* JSON object: more variables for it; NULL: none */
} etk_dataset_options;
etk_status etk_dataset_open(etk_error *e, etk_dataset **out, const char *path, const etk_dataset_options *options);
/* `split` of a folder ("train", "valid", "test"), ETK_E_NOT_FOUND where it has none; a file is its own train split. */
etk_status etk_dataset_open_split(etk_error *e, etk_dataset **out, const char *path, const char *split, const etk_dataset_options *options);
void etk_dataset_free(etk_dataset *dataset);
size_t etk_dataset_count(const etk_dataset *dataset);
etk_sequence etk_dataset_at(const etk_dataset *dataset, size_t index);
typedef struct etk_dataset_stats {
  size_t sequences, truncated;
  int64_t tokens, scored; /* scored: targets that count */
  int32_t shortest, longest;
  double mean;
} etk_dataset_stats;
etk_dataset_stats etk_dataset_get_stats(const etk_dataset *dataset);
/* Moves the last `count` sequences (after a shuffle by seed) into a new data set: a held-out split. The text stays shared. */
etk_status etk_dataset_split_off(etk_error *e, etk_dataset *dataset, etk_dataset **out, size_t count, uint64_t seed);

/* Fills ids and targets, both (rows, columns) row-major: targets[t] is ids[t+1], or -1 where it is padding, masked or past the end; padding ids
 * are 0. Rows past `count` are all padding. Returns the number of counted targets. */
int64_t etk_batch_fill(int32_t *ids, int32_t *targets, int64_t rows, int64_t columns, const etk_sequence *sequences, size_t count);
/* The order of one epoch: indices of all sequences, shuffled by (seed, epoch), then, within chunks of 16 batches, sorted by length so that batches
 * waste little padding; the batches themselves are shuffled again. order has etk_dataset_count entries. */
void etk_dataset_order(const etk_dataset *dataset, size_t *order, int64_t batch_size, uint64_t seed, uint64_t epoch);

/* Short sequences laid end to end in rows of at most `columns` inputs (the last token of a sequence is only a target), so that little of a batch is padding: best
 * fit decreasing, ties by seed. Every sequence is in one row, whole unless it alone is longer than a row. */
typedef struct etk_packing etk_packing;
etk_status etk_packing_new(etk_error *e, etk_packing **out, const etk_dataset *dataset, int64_t columns, uint64_t seed);
void etk_packing_free(etk_packing *packing);
size_t etk_packing_rows(const etk_packing *packing);
const size_t *etk_packing_row(const etk_packing *packing, size_t row, size_t *count); /* indices of the data set; borrowed */

#ifdef __cplusplus
}
#endif
#endif
