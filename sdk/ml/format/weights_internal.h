/* weights_internal.h: what the weights*.c files share. */
#ifndef ETK_ML_FORMAT_WEIGHTS_INTERNAL_H
#define ETK_ML_FORMAT_WEIGHTS_INTERNAL_H

#include <etk/alloc.h>
#include <etk/fs.h>
#include <etk/gguf.h>
#include <etk/safetensors.h>
#include <etk/weights.h>

struct part {
  char *path;
  etk_safetensors *safetensors; /* of a safetensors container */
};

struct etk_weights {
  etk_arena arena; /* names, parts, weights, indexes */
  const char *path;
  etk_weights_format format;
  etk_weights_facts facts;
  struct part *parts;
  size_t part_count, part_room;
  etk_gguf *gguf;
  etk_map map; /* llama2.c */
  etk_weight *weights;
  size_t count;
  const etk_weight **by_name, **by_canonical;
};

struct part *etk__weights_add_part(etk_error *e, etk_weights *w, const char *path);
etk_status etk__weights_open_folder(etk_error *e, etk_weights *w, const char *path);
etk_status etk__weights_open_safetensors(etk_error *e, etk_weights *w, const char *path);
etk_status etk__weights_open_llama2c(etk_error *e, etk_weights *w, const char *path);
/* Facts from a config.json; a file that is not there tells nothing. */
etk_status etk__weights_facts_json(etk_error *e, etk_weights_facts *out, const char *path);
void etk__weights_facts_gguf(etk_weights_facts *out, const etk_gguf *file);
/* Sets canonical and rotary of a tensor of a GGUF file. */
etk_status etk__weights_canonical(etk_error *e, etk_weights *w, etk_weight *weight);

#endif
