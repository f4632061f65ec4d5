/* session.h: a model with its tokenizer and adapter, opened for one command; evaluation, generation, facts. */
#ifndef SESSION_H
#define SESSION_H

#include <etk/dataset.h>
#include <etk/generate.h>
#include <etk/project.h>
#include <etk/provenance.h>
#include <etk/trainer.h>

struct session {
  etk_model *model;
  etk_tokenizer *tokenizer; /* NULL: the model has none; only {"ids"} data works */
  etk_adapter *adapter;     /* NULL: the base alone */
  etk_chat_format *chat;    /* the model's chat template; NULL: it has none */
  const char *chat_kwargs;  /* more variables for it; NULL: none */
  char *path;               /* of the model, resolved */
};
/* How conversations are written out. */
struct chat_choice {
  const char *file;   /* a template to use instead of the model's own; NULL */
  const char *kwargs; /* JSON object; "" or NULL: none */
};
/* model NULL: the one in the project's data folder. */
etk_status session_open(etk_error *e, struct session *out, etk_run *run, const char *model, const char *adapter);
/* Finds the model's chat template, for what needs one. */
etk_status session_chat(etk_error *e, struct session *session, const struct chat_choice *choice);
void session_close(struct session *session);

/* `split` of the data, prepared for training (append_eos) or scoring. max_tokens 0: the model's context. */
etk_status session_data(etk_error *e, etk_dataset **out, const struct session *session, const char *path, const char *split, int64_t max_tokens, bool append_eos);

struct evaluation {
  const char *model, *adapter, *data, *per_token;
  struct chat_choice chat;
  int64_t batch_size, max_seq_length;
  bool force; /* per_token may replace a file */
};
struct generation {
  const char *model, *adapter, *prompt;
  const char *system_prompt; /* "" or NULL: none */
  bool raw;                  /* the prompt as it stands, whatever template the model has */
  struct chat_choice chat;
  etk_generate_options options;
};
etk_status session_evaluate(etk_run *run, const struct evaluation *evaluation);
etk_status session_generate(etk_run *run, const struct generation *generation);
etk_status session_info(etk_run *run, const char *model, const etk_lora_options *lora);

/* Scores data with progress under `label`; Ctrl-C stops it. */
etk_status session_score(etk_error *e, etk_evaluation *out, etk_run *run, const struct session *session, const etk_adapter *adapter, const etk_dataset *data, int64_t batch_size, const char *label);
/* The text that follows a prompt (allocated), without streaming. */
etk_status session_answer(etk_error *e, char **out, etk_generation *stats, const struct session *session, etk_generator *generator, const char *prompt, const etk_generate_options *options);

/* Whether a command may write the folder `path`: not over anything without force, and with force only over an empty folder or one that holds `marker`, the file
 * that tells what such a folder is. */
etk_status session_output(etk_error *e, const char *path, bool force, const char *marker);

/* How what a command writes was made: from `model` (NULL: from nothing) and the data that session_data reads. */
etk_status session_provenance(etk_error *e, etk_provenance **out, const char *command, const char *model, const char *data);

/* "<output>-checkpoint" (etk_free); NULL: out of memory. */
char *session_checkpoint(const char *output);
/* A folder, written whole or not at all: save fills a temporary one, which then takes its place. */
etk_status session_write(etk_error *e, const char *path, bool replace, etk_status (*save)(etk_error *e, void *user, const char *folder), void *user);

etk_status report(etk_run *run, const etk_error *e); /* hands the error to the host and returns its status */

#endif
