/* patches: an image as rows of squares, so that a convolution whose step is its size is a product; join_patches, which is its derivative (and has it as its
 * own), puts the squares back. */
#include "rows.h"

struct patches {
  int64_t size;
  etk_shape image; /* (batch, channels, height, width) */
};

static etk_status patches_shape(etk_error *e, const struct node *node, struct result *results, int *count) {
  const struct patches *p = node->attributes;
  const etk_shape *x = shape_of(node, 0);
  char text[SHAPE_TEXT];
  if (x->rank != 4 || p->size < 1 || x->dims[2] % p->size || x->dims[3] % p->size)
    return etk_fail(e, ETK_E_SHAPE, "patches: %s in squares of %lld: wants (batch, channels, height, width), both sides a multiple of the square's",
                    etk_shape_text(text, sizeof text, x), (long long)p->size);
  return gives(results, count, &etk_shape_of(3, x->dims[0], x->dims[2] / p->size * (x->dims[3] / p->size), x->dims[1] * p->size * p->size));
}

/* Each line of each square: `size` floats that lie together on both sides. */
static void move_lines(const struct patches *p, int64_t begin, int64_t end, float *to, const float *from, bool joining) {
  int64_t channels = p->image.dims[1], height = p->image.dims[2], width = p->image.dims[3], size = p->size, across = width / size,
          lines = channels * size;
  for (int64_t i = begin; i < end; i++) { /* i: square; of all images */
    int64_t b = i / (across * (height / size)), y = i / across % (height / size) * size, x = i % across * size;
    for (int64_t line = 0; line < lines; line++) {
      int64_t in_square = (i * lines + line) * size, in_image = ((b * channels + line / size) * height + y + line % size) * width + x;
      memcpy(to + (joining ? in_image : in_square), from + (joining ? in_square : in_image), (size_t)size * sizeof *to);
    }
  }
}
static void patches_range(void *user, int64_t begin, int64_t end, int slot) {
  const struct call *c = user;
  (void)slot;
  move_lines(c->attributes, begin, end, out(c, 0), in(c, 0), false);
}
static etk_status patches_forward(etk_error *e, const struct call *c) {
  (void)e;
  etk_parallel_for(c->out[0].shape.dims[0] * c->out[0].shape.dims[1], row_grain(c->out[0].shape.dims[2]), patches_range, (void *)(uintptr_t)c);
  return ETK_OK;
}

static etk_status join_shape(etk_error *e, const struct node *node, struct result *results, int *count) {
  (void)e;
  return gives(results, count, &((const struct patches *)node->attributes)->image);
}
static void join_range(void *user, int64_t begin, int64_t end, int slot) {
  const struct call *c = user;
  (void)slot;
  move_lines(c->attributes, begin, end, out(c, 0), in(c, 0), true);
}
static etk_status join_forward(etk_error *e, const struct call *c) {
  (void)e;
  etk_parallel_for(c->in[0].shape.dims[0] * c->in[0].shape.dims[1], row_grain(c->in[0].shape.dims[2]), join_range, (void *)(uintptr_t)c);
  return ETK_OK;
}

static void patches_backward(struct reverse *r);
static void join_backward(struct reverse *r);
static const struct op patches_row = {"patches", 0, 1, 1, 0, patches_shape, patches_forward, patches_backward, NULL};
static const struct op join_row = {"join_patches", 0, 1, 1, 0, join_shape, join_forward, join_backward, NULL};
static void patches_backward(struct reverse *r) {
  r->gradients[0] = RECORD_WITH(r->graph, join_row, (const struct patches *)r->node->attributes, r->outputs[0]);
}
static void join_backward(struct reverse *r) {
  r->gradients[0] = RECORD_WITH(r->graph, patches_row, (const struct patches *)r->node->attributes, r->outputs[0]);
}

etk_tensor *etk_patches(etk_graph *g, etk_tensor *image, int64_t size) {
  struct patches attributes = {size, *etk_tensor_shape(image)};
  return RECORD_WITH(g, patches_row, &attributes, image);
}
