#include "embed.h"
#include "values.h"

#include <errno.h>
#include <etk/alloc.h>
#include <etk/encoder.h>
#include <etk/text.h>
#include <fcntl.h>
#include <inttypes.h>
#include <jansson.h>
#include <math.h>
#include <string.h>
#include <unistd.h>

enum { BATCH = 32, READ_BYTES = 1 << 16, FILE_LIMIT = 1 << 28, COMPARED = 256 };

typedef struct task {
  etk_run *run;
  const struct embedding *o;
  etk_encoder *encoder;
  etk_tokenizer *tokenizer;
  const char *name; /* of what is read, for messages */
  int64_t line;     /* from 1 */
  etk_ids ids;      /* of the batch's texts, one after the other */
  size_t lengths[BATCH], count;
  float *vectors; /* (count, dimension) of the last batch that ran */
} task;

static etk_status add(etk_error *e, task *t, const char *text, size_t size) {
  size_t before = t->ids.count;
  etk_status status = etk_encoder_tokenize(e, t->encoder, t->tokenizer, &t->ids, text, size, t->o->truncate);
  if (!status) t->lengths[t->count++] = t->ids.count - before;
  if (status == ETK_E_INVALID && !t->o->truncate)
    etk_error_while(e, status, "%s:%" PRId64 " (--truncate leaves out the end of what is too long)", t->name, t->line);
  return status;
}

static etk_status run_batch(etk_error *e, task *t) {
  return etk_encoder_text(e, t->encoder, &(etk_encoder_batch){t->ids.items, NULL, t->lengths, t->count}, t->vectors);
}

static void clear_batch(task *t) { t->ids.count = t->count = 0; }

static void put_vector(etk_text *out, const float *vector, int64_t count) {
  for (int64_t i = 0; i < count; i++) etk_text_printf(out, "%s%.9g", i ? "," : "[", (double)vector[i]);
  etk_text_putc(out, ']');
}

/* ---- a file, line by line ---- */

static etk_status read_all(etk_error *e, const task *t, etk_text *out) {
  int fd = strcmp(t->name, "-") ? open(t->name, O_RDONLY | O_CLOEXEC) : STDIN_FILENO;
  char bytes[READ_BYTES];
  ssize_t n = 1;
  if (fd < 0) return etk_fail_errno(e, errno, "%s", t->name);
  while (n > 0 && out->size <= FILE_LIMIT && !etk_run_cancelled(t->run)) {
    n = read(fd, bytes, sizeof bytes);
    if (n < 0 && errno == EINTR) n = 1;
    else if (n > 0) etk_text_append(out, bytes, (size_t)n);
  }
  int problem = n < 0 ? errno : 0;
  if (fd != STDIN_FILENO) close(fd);
  if (problem) return etk_fail_errno(e, problem, "%s", t->name);
  if (etk_run_cancelled(t->run)) return etk_fail(e, ETK_E_CANCELLED, "stopped while reading %s", t->name);
  if (out->size > FILE_LIMIT) return etk_fail(e, ETK_E_UNSUPPORTED, "%s: more than %d bytes at once", t->name, (int)FILE_LIMIT);
  return out->failed ? etk_fail_memory(e) : ETK_OK;
}

static etk_status add_line(etk_error *e, task *t, const char *line, size_t size) {
  if (!t->o->lines) return add(e, t, line, size);
  json_error_t problem;
  json_t *value = json_loadb(line, size, JSON_DECODE_ANY | JSON_ALLOW_NUL, &problem);
  etk_status status = json_is_string(value) ? add(e, t, json_string_value(value), json_string_length(value))
                                            : etk_fail(e, ETK_E_FORMAT, "%s:%" PRId64 ": one JSON string is wanted on each line", t->name, t->line);
  json_decref(value);
  return status;
}

static etk_status answer(etk_error *e, task *t) {
  etk_text out = ETK_TEXT_INIT;
  int64_t d = etk_encoder_dimension(t->encoder);
  etk_status status = run_batch(e, t);
  for (size_t i = 0; i < t->count && !status; i++) {
    put_vector(&out, t->vectors + (int64_t)i * d, d);
    etk_text_putc(&out, '\n');
  }
  if (!status && out.failed) status = etk_fail_memory(e);
  if (!status && out.size) etk_run_text(t->run, out.data, out.size);
  etk_text_free(&out);
  clear_batch(t);
  return status;
}

static etk_status answer_lines(etk_error *e, task *t) {
  etk_text all = ETK_TEXT_INIT;
  etk_status status = read_all(e, t, &all);
  const char *at = all.data, *end = at ? at + all.size : at;
  while (at < end && !status) {
    const char *stop = memchr(at, '\n', (size_t)(end - at)), *last = stop ? stop : end;
    size_t size = (size_t)(last - at);
    if (size && at[size - 1] == '\r') size--;
    t->line++;
    if (size || !t->o->lines) status = add_line(e, t, at, size);
    if (!status && t->count == BATCH) status = answer(e, t);
    if (!status && etk_run_cancelled(t->run)) status = etk_fail(e, ETK_E_CANCELLED, "stopped behind line %" PRId64, t->line);
    at = last + 1;
  }
  if (!status && t->count) status = answer(e, t);
  etk_text_free(&all);
  return status;
}

/* ---- texts of the command line ---- */

static double cosine(const float *a, const float *b, int64_t count) {
  double product = 0, aa = 0, bb = 0;
  for (int64_t i = 0; i < count; i++) product += (double)a[i] * (double)b[i], aa += (double)a[i] * (double)a[i], bb += (double)b[i] * (double)b[i];
  return aa > 0 && bb > 0 ? product / sqrt(aa * bb) : 0;
}

static void show_pairs(task *t, const float *vectors, int64_t d) {
  for (size_t i = 0; i < t->o->texts.count; i++)
    for (size_t j = i + 1; j < t->o->texts.count; j++) {
      etk_cell cells[] = {etk_cell_text("a", t->o->texts.items[i]), etk_cell_text("b", t->o->texts.items[j]),
                          etk_cell_real("cosine", round(1e6 * cosine(vectors + (int64_t)i * d, vectors + (int64_t)j * d, d)) / 1e6)};
      etk_run_result_row(t->run, "similarity", cells, 3);
    }
}

static etk_status show(etk_error *e, task *t, const float *vectors, int64_t d) {
  etk_text out = ETK_TEXT_INIT;
  etk_run_result_int(t->run, "dimension", d);
  if (t->o->compare) return show_pairs(t, vectors, d), ETK_OK;
  etk_text_putc(&out, '[');
  for (size_t i = 0; i < t->o->texts.count; i++) {
    if (i) etk_text_puts(&out, ",\n");
    put_vector(&out, vectors + (int64_t)i * d, d);
  }
  etk_text_putc(&out, ']');
  etk_status status = out.failed ? etk_fail_memory(e) : etk_run_result_json(t->run, "embeddings", out.data);
  etk_text_free(&out);
  return status;
}

static etk_status answer_texts(etk_error *e, task *t) {
  size_t count = t->o->texts.count;
  int64_t d = etk_encoder_dimension(t->encoder);
  if (count > COMPARED)
    return etk_fail(e, ETK_E_USAGE, "%zu texts on one command line; more than %d belong in a file (--file or --jsonl)", count, (int)COMPARED);
  float *vectors = etk_calloc(count * (size_t)d, sizeof *vectors);
  etk_status status = vectors ? ETK_OK : etk_fail_memory(e);
  for (size_t i = 0; i < count && !status; i++) {
    t->line = (int64_t)i + 1;
    status = add(e, t, t->o->texts.items[i], strlen(t->o->texts.items[i]));
    if (status || (t->count < BATCH && i + 1 < count)) continue;
    status = run_batch(e, t);
    if (!status) memcpy(vectors + (int64_t)(i + 1 - t->count) * d, t->vectors, t->count * (size_t)d * sizeof *vectors);
    clear_batch(t);
  }
  if (!status) status = show(e, t, vectors, d);
  etk_free(vectors);
  return status;
}

static etk_status run_task(etk_error *e, task *t) {
  const struct embedding *o = t->o;
  int given = (o->texts.count != 0) + (o->file != NULL) + (o->lines != NULL);
  if (given != 1) return etk_fail(e, ETK_E_USAGE, "one of --text, --file and --jsonl is wanted, %d are there", given);
  if (o->compare && o->texts.count < 2) return etk_fail(e, ETK_E_USAGE, "--compare wants two or more of --text");
  etk_status status = etk_encoder_open(e, &t->encoder, o->path, NULL);
  if (!status) status = etk_encoder_tokenizer(e, &t->tokenizer, t->encoder);
  if (status) return status;
  t->name = o->file ? o->file : o->lines ? o->lines : "--text";
  t->vectors = etk_calloc((size_t)(BATCH * etk_encoder_dimension(t->encoder)), sizeof *t->vectors);
  if (!t->vectors) return etk_fail_memory(e);
  return o->texts.count ? answer_texts(e, t) : answer_lines(e, t);
}

etk_status embed_texts(etk_run *run, const struct embedding *o) {
  etk_error e = ETK_ERROR_INIT;
  task t = {.run = run, .o = o};
  etk_status status = run_task(&e, &t);
  etk_free(t.vectors);
  etk_ids_free(&t.ids);
  etk_tokenizer_free(t.tokenizer);
  etk_encoder_unref(t.encoder);
  return status ? model_failed(run, &e) : ETK_OK;
}
