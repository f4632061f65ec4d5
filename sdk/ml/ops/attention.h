/* attention.h: what attention over a text and over a cache share: a tile of query rows and what they gather from one tile of keys after the other, so that no
 * matrix of scores exists (Milakov & Gimelshein 2018; Dao et al. 2022). Rows are (token, head of the group): heads that share keys read them together. */
#ifndef ETK_ML_OPS_ATTENTION_H
#define ETK_ML_OPS_ATTENTION_H

#include "rows.h"

struct tile {
  struct attention_tile kernel;
  int64_t tokens, group;
  int64_t *first, *end; /* (rows) */
  float *q, *k, *v;     /* k and v: to be filled with each tile of keys, as struct attention_tile wants them */
};
/* How `tokens` queries of each head are cut: the same for any number of threads. */
int64_t etk__tile_count(int64_t tokens, int64_t group);
int64_t etk__tile_tokens(int64_t tokens, int64_t group);                    /* in each but the last */
size_t etk__tile_bytes(int64_t tokens, int64_t group, int64_t d);           /* scratch of one tile; a multiple of 64 */
/* The tile that is done at place i of `count` that cost more and more: light and heavy ones alternate, so that equal pieces cost the same. */
int64_t etk__tile_order(int64_t i, int64_t count);
/* q: the first token's first head of the group; q_row: floats from one token to the next. Rows see nothing yet. */
void etk__tile_begin(struct tile *t, void *scratch, const float *q, int64_t q_row, int64_t tokens, int64_t group, int64_t d, const etk_attention_options *options);
void etk__tile_see(struct tile *t, int64_t token, int64_t first, int64_t end); /* token sees keys first .. end - 1 */
void etk__tile_add(struct tile *t, int64_t start);                             /* t->k and t->v hold keys from `start` on */
void etk__tile_end(const struct tile *t, float *y, int64_t y_row);             /* like q; zeros for tokens that see nothing */

/* The first key that the query at position i sees. */
static inline int64_t first_key(const etk_attention_options *a, int64_t i) { return a->window > 0 && i >= a->window ? i + 1 - a->window : 0; }

#endif
