/* An encoder embedding a batch of texts, in the words of the other programs of the part `encoder` (bench/README.md):
 *   encoder FOLDER SEQUENCES TOKENS THREADS OUT [--since NS]
 * By etk_encoder_text, which records and plans a graph for each batch. Built by `make bench-peers`. */
#include "encoder.h"

#include <etk/alloc.h>
#include <etk/encoder.h>
#include <etk/parallel.h>
#include <string.h>

struct work {
  etk_encoder *encoder;
  etk_encoder_batch batch;
  float *embeddings;
};
static void run(void *user) {
  struct work *w = user;
  etk_error e = ETK_ERROR_INIT;
  if (!etk_encoder_text(&e, w->encoder, &w->batch, w->embeddings)) return;
  fprintf(stderr, "encoder: %s\n", e.message);
  exit(1);
}

static int fail(const char *what) {
  fprintf(stderr, "encoder: %s\n", what);
  return 1;
}

int main(int argc, char **argv) {
  double since = 0;
  if (argc > 2 && !strcmp(argv[argc - 2], "--since")) since = strtod(argv[argc - 1], NULL) * 1e-9, argc -= 2;
  if (argc < 6) return fail("wanted FOLDER SEQUENCES TOKENS THREADS OUT");
  int64_t sequences = strtoll(argv[2], NULL, 10), tokens = strtoll(argv[3], NULL, 10);
  if (sequences < 1 || sequences > 1 << 16 || tokens < 1 || tokens > 1 << 16) return fail("a bad size");
  etk_parallel_set_threads((int)strtol(argv[4], NULL, 10));
  etk_error e = ETK_ERROR_INIT;
  struct work w = {.encoder = NULL};
  if (etk_encoder_open(&e, &w.encoder, argv[1], NULL)) return fail(e.message);
  int64_t dimension = etk_encoder_dimension(w.encoder), vocabulary = etk_encoder_get_config(w.encoder)->vocab_size;
  int32_t *ids = etk_calloc((size_t)(sequences * tokens), sizeof *ids);
  size_t *lengths = etk_calloc((size_t)sequences, sizeof *lengths);
  w.embeddings = etk_calloc((size_t)(sequences * dimension), sizeof *w.embeddings);
  if (!ids || !lengths || !w.embeddings) return fail("out of memory");
  for (int64_t i = 0; i < sequences * tokens; i++) ids[i] = (int32_t)encoder_id(i, vocabulary);
  for (int64_t i = 0; i < sequences; i++) lengths[i] = (size_t)tokens;
  w.batch = (etk_encoder_batch){.ids = ids, .lengths = lengths, .count = (size_t)sequences};
  double seconds = encoder_time(run, &w);
  bool fine = encoder_print(seconds, sequences, since ? encoder_ready - since : 0, w.embeddings, sequences * dimension, argv[5]);
  etk_encoder_unref(w.encoder);
  etk_free(ids), etk_free(lengths), etk_free(w.embeddings);
  return fine ? 0 : fail("cannot write the embeddings");
}
