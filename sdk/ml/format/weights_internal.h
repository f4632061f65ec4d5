/* weights_internal.h: what the weights*.c files share. */
#ifndef ETK_ML_FORMAT_WEIGHTS_INTERNAL_H
#define ETK_ML_FORMAT_WEIGHTS_INTERNAL_H

#include <etk/alloc.h>
#include <etk/fs.h>
#include <etk/gguf.h>
#include <etk/weights.h>
#include <pthread.h>
#include <stdatomic.h>

/* A format whose files are opened by a reader of their own: how one of them is seen as weights. */
typedef struct etk__weights_reader {
  etk_weights_format format;
  etk_status (*open)(etk_error *e, void **file, const char *path);
  void (*close)(void *file);
  size_t (*count)(const void *file);
  void (*at)(etk_weight *out, const void *file, size_t index); /* name, type_name, type, shape, bytes and data */
  bool (*holds)(const void *file, const char *name);           /* NULL: a format without shards */
  /* The bytes of a tensor whose data is NULL, in a tensor of any type. NULL: there is none. */
  etk_status (*unpack)(etk_error *e, etk_tensor **out, void *file, size_t index);
  size_t (*key_count)(const void *file);
  const char *(*key_at)(const void *file, size_t index); /* NULL behind the last */
  void (*key_value)(const void *file, size_t index, etk_text *out);
  const char *(*metadata)(const void *file, const char *key); /* NULL: the format has none */
  etk_status (*check)(etk_error *e, const void *file);        /* checksums; NULL: it carries none */
} etk__weights_reader;
extern const etk__weights_reader etk__weights_safetensors, etk__weights_torch, etk__weights_npz, etk__weights_npy, etk__weights_onnx;

struct part {
  char *path;
  void *file;   /* of the reader */
  size_t first; /* of its tensors */
};

struct etk_weights {
  atomic_int references; /* the handle and every tensor that shares its maps */
  etk_arena arena; /* names, parts, weights, indexes */
  const char *path;
  etk_weights_format format;
  etk_weights_facts facts;
  struct part *parts;
  size_t part_count, part_room;
  etk_gguf *gguf;
  etk_map map; /* llama2.c */
  const etk__weights_reader *reader; /* of all parts; NULL: GGUF, llama2.c */
  pthread_mutex_t lock;
  etk_tensor **unpacked; /* under the lock: by place, NULL until wanted */
  etk_weight *weights;
  size_t count;
  const etk_weight **by_name, **by_canonical;
};

struct part *etk__weights_add_part(etk_error *e, etk_weights *w, const char *path);
etk_status etk__weights_open_folder(etk_error *e, etk_weights *w, const char *path);
/* Adds one file, which the container's list then lacks; lists the tensors of all. */
etk_status etk__weights_open_part(etk_error *e, etk_weights *w, const etk__weights_reader *reader, const char *path);
etk_status etk__weights_list(etk_error *e, etk_weights *w);
/* The config.json that belongs to weights: in the folder, or beside a file that has the name of a whole model; NULL: none could. etk_free. */
etk_status etk__weights_config_path(etk_error *e, char **out, const char *path);
/* Facts from it. */
etk_status etk__weights_facts_beside(etk_error *e, etk_weights *w, const char *path);
/* The reader of a ZIP archive, by what lies in it; is it another of torch.save's? */
etk_status etk__weights_archive(etk_error *e, const etk__weights_reader **out, const char *path, const void *bytes, size_t size);
bool etk__weights_is_torch(const unsigned char *bytes, size_t size);
etk_status etk__weights_open_llama2c(etk_error *e, etk_weights *w, const char *path);
/* Facts from a config.json; a file that is not there tells nothing. */
etk_status etk__weights_facts_json(etk_error *e, etk_weights_facts *out, const char *path);
void etk__weights_facts_gguf(etk_weights_facts *out, const etk_gguf *file);
/* Sets canonical and rotary of a tensor of a GGUF file. */
etk_status etk__weights_canonical(etk_error *e, etk_weights *w, etk_weight *weight);
/* Where GGUF has the row `row` of GPT-NeoX's queries, keys and values, which lie head by head in Hugging Face's. */
int64_t etk__gguf_regrouped_row(int64_t row, int64_t heads, int64_t head_dim);

#endif
