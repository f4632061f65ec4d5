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
  int64_t fixed_bytes;      /* memory of the program itself, tokenizer and data, as they were measured */
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
  const char *compute;      /* etk_model_set_compute */
  const char *cache_type;   /* etk_generator_options */
  const char *prompt_cache; /* file to take the beginning of the prompt from, and to keep it in; NULL: none */
  bool prompt_cache_all;    /* keeps the answer too */
  bool prompt_cache_ro;     /* keeps nothing */
  const char *draft_model;  /* proposes tokens; NULL: none */
};
etk_status session_evaluate(etk_run *run, const struct evaluation *evaluation);
etk_status session_generate(etk_run *run, const struct generation *generation);
etk_status session_info(etk_run *run, const char *model, const etk_lora_options *lora);

/* ---- memory.c ---- */

/* What trades memory and time in training. */
struct memory_choice {
  bool checkpointing, packing;
  const char *compute; /* NULL: float32 */
};
/* What --compute says; NULL: float32. */
etk_status memory_compute(etk_error *e, etk_compute *out, const char *name);
/* Sets what of these is the trainer's. packing: with it, the rows of `data`, which *packing then holds (etk_packing_free). */
etk_status memory_choose(etk_error *e, etk_trainer_options *options, etk_packing **packing, const struct memory_choice *choice, const etk_dataset *data);
/* Before the trainer is made: what weights, program and data leave of this machine's memory, for its memory_limit; an error where they leave nothing. */
etk_status memory_limit(etk_error *e, size_t *out, const struct session *session, const etk_adapter *adapter);
struct memory_plan {
  int64_t weights, training, fixed, total; /* bytes: of model and adapter; of steps and optimizer; of the rest; all */
};
/* Fails where it is more than there is, before anything is taken. Told on stderr. */
etk_status memory_plan(etk_error *e, struct memory_plan *out, etk_run *run, const struct session *session, const etk_adapter *adapter, etk_trainer *trainer);
/* The plan and the peak that was measured, as results and in one line. */
void memory_report(etk_run *run, const struct memory_plan *plan);

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
