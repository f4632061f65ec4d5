/* The project lora-finetuning-mlx: its commands as lists, each a thin function over the domain files beside this one. */
#include "extensions.h"
#include "finetune.h"
#include "pretrain.h"
#include "session.h"

#include <etk/project.h>

/* Groups are the sections of the predecessor's configuration files; aliases are its keys and those of mlx-lm. */
#define MODEL_OPTIONS(OPT)                                                                                                                       \
  OPT(path, model, "-", "model", "training", "model-path model-name", 0, "Hugging Face folder, ORG/NAME of a pulled one, GGUF or llama2.c .bin; default: the model that comes with this project")
#define LORA_OPTIONS(OPT)                                                                                                                        \
  OPT(int, rank, "16", "1..1024", "lora", "r", 0, "rank of the update")                                                                          \
  OPT(real, alpha, "32", "0<..", "lora", "lora-alpha", 0, "scale of the update is alpha/rank")                                                   \
  OPT(real, dropout, "0.1", "0..<1", "lora", "lora-dropout", 0, "dropout before the update, while training")                                     \
  OPT(texts, target_modules, "q_proj,k_proj,v_proj,o_proj,gate_proj,up_proj,down_proj", "1..128", "lora", "keys", 0, "linear layers to adapt, or all-linear") \
  OPT(flag, use_rslora, "no", "", "lora", "", ETK_ADVANCED, "scale by alpha/sqrt(rank) instead")
#define CHAT_OPTIONS(OPT, GROUP)                                                                                                                 \
  OPT(path, chat_template, "-", "exists", GROUP, "", ETK_ADVANCED, "Jinja file, or folder or GGUF file with a template, to use instead of the model's own") \
  OPT(text, chat_template_kwargs, "", "", GROUP, "chat-template-config", ETK_ADVANCED, "JSON object with more variables for the template, such as enable_thinking")
/* Names of transformers, TRL and (--grad-checkpoint) mlx-lm. */
#define MEMORY_OPTIONS(OPT, GROUP)                                                                                                               \
  OPT(flag, gradient_checkpointing, "no", "", GROUP, "grad-checkpoint", 0, "compute each block again in the backward pass instead of keeping it: less memory, more time, the same result") \
  OPT(flag, packing, "no", "", GROUP, "", 0, "lay short sequences end to end in rows of max-seq-length; each sees only itself")                   \
  OPT(choice, compute, "float32", "float32|bfloat16", GROUP, "compute-dtype", 0, "what products of matrices round their factors to; sums, weights and optimizer stay float32")
#define TRAIN_OPTIONS(OPT)                                                                                                                       \
  MODEL_OPTIONS(OPT)                                                                                                                             \
  OPT(path, data, "-", "exists", "training", "dataset-path", 0, "JSONL file, plain text, or a folder with train.jsonl and valid.jsonl")           \
  OPT(path, output, "adapters", "new", "training", "output-dir adapter-path", 0, "folder to write the PEFT adapter to")                          \
  OPT(path, resume_adapter, "-", "model", "training", "", 0, "start from this adapter, in any of those forms, instead of a fresh one")                                     \
  OPT(path, resume, "-", "dir", "training", "", 0, "go on from this checkpoint folder (written by Ctrl-C and --save-steps)")                     \
  OPT(flag, force, "no", "", "training", "f", ETK_LOCAL, "replace an existing output folder")                                                    \
  CHAT_OPTIONS(OPT, "training")                                                                                                                  \
  LORA_OPTIONS(OPT)                                                                                                                              \
  OPT(int, epochs, "3", "1..", "training", "num-epochs", 0, "passes over the data")                                                              \
  OPT(int, iters, "-", "1..", "training", "", 0, "optimizer steps; wins over epochs")                                                            \
  OPT(int, batch_size, "2", "1..65536", "training", "", 0, "sequences a batch")                                                                  \
  OPT(int, gradient_accumulation_steps, "1", "1..65536", "training", "grad-accumulation-steps", ETK_ADVANCED, "batches an optimizer step")       \
  OPT(int, max_seq_length, "512", "2..1048576", "training", "max-sequence-length", 0, "longer sequences are cut; bounded by the model's context") \
  MEMORY_OPTIONS(OPT, "training")                                                                                                                \
  OPT(real, learning_rate, "2e-4", "0<..", "training", "lr", 0, "peak learning rate")                                                            \
  OPT(choice, lr_schedule, "linear", "constant|linear|cosine", "training", "scheduler", 0, "how the learning rate falls after the warm-up")      \
  OPT(int, warmup_steps, "-", "0..", "training", "", 0, "steps of linear warm-up; default 100, at most a tenth of the run")                      \
  OPT(choice, optimizer, "adamw", "adamw|sgd", "training", "", 0, "optimizer")                                                                   \
  OPT(real, weight_decay, "0.01", "0..", "training", "", 0, "decoupled for adamw")                                                               \
  OPT(real, gradient_clipping, "1.0", "0..", "training", "max-grad-norm", 0, "global norm above which gradients are scaled down; 0: none")       \
  OPT(int, eval_steps, "-", "1..", "training", "steps-per-eval", ETK_ADVANCED, "steps between validations; default: each epoch")                 \
  OPT(int, save_steps, "0", "0..", "training", "save-every", ETK_ADVANCED, "steps between checkpoints; 0: only on Ctrl-C")                       \
  OPT(int, seed, "42", "0..", "training", "", 0, "data order, fresh weights and dropout")
#define EVALUATE_OPTIONS(OPT)                                                                                                                    \
  MODEL_OPTIONS(OPT)                                                                                                                             \
  OPT(path, adapter_path, "-", "model", "inference", "adapter", 0, "adapter to apply: a folder of PEFT or mlx-lm, a GGUF or kohya file")                                                 \
  OPT(path, data, "-", "exists", "training", "dataset-path", 0, "JSONL file, plain text, or a folder with test.jsonl")                           \
  OPT(int, batch_size, "8", "1..65536", "inference", "", 0, "sequences a batch")                                                                 \
  OPT(int, max_seq_length, "-", "2..1048576", "inference", "max-sequence-length", 0, "longer sequences are cut, plain text is windowed; default: the model's context") \
  CHAT_OPTIONS(OPT, "inference")                                                                                                                 \
  OPT(path, per_token, "-", "new", "inference", "", ETK_LOCAL, "file for one JSON line per scored token: id and log-probability")                 \
  OPT(flag, force, "no", "", "inference", "f", ETK_LOCAL, "replace an existing --per-token file")
#define GENERATE_OPTIONS(OPT)                                                                                                                    \
  MODEL_OPTIONS(OPT)                                                                                                                             \
  OPT(path, adapter_path, "-", "model", "inference", "adapter", 0, "adapter to apply: a folder of PEFT or mlx-lm, a GGUF or kohya file")                                                 \
  OPT(text, prompt, "", "", "inference", "p", 0, "text to go on from, or to answer where the model has a chat template; empty: from the beginning-of-sequence token")                              \
  OPT(text, system_prompt, "", "", "inference", "", 0, "what the model is told before the prompt, where it has a chat template")                   \
  OPT(flag, ignore_chat_template, "no", "", "inference", "", 0, "take the prompt as it stands")                                                  \
  CHAT_OPTIONS(OPT, "inference")                                                                                                                 \
  OPT(int, max_tokens, "100", "1..1048576", "inference", "max-length n", 0, "new tokens at most")                                                \
  OPT(real, temperature, "0.7", "0..100", "inference", "temp", 0, "0: always the most likely token")                                             \
  OPT(real, top_p, "0.9", "0<..1", "inference", "", 0, "smallest set of tokens that holds this much probability")                                \
  OPT(int, top_k, "50", "0..", "inference", "", 0, "most likely tokens to choose from; 0: all")                                                  \
  OPT(real, repetition_penalty, "1.0", "0<..", "inference", "", 0, "above 1: tokens seen before become less likely")                             \
  OPT(flag, ignore_eos, "no", "", "inference", "", ETK_ADVANCED, "do not stop at the end-of-sequence token")                                     \
  OPT(int, seed, "0", "0..", "inference", "", 0, "of the sampler")                                                                               \
  OPT(choice, compute, "float32", "float32|bfloat16", "inference", "compute-dtype", 0, "what products of prompts with F32 and F16 weights round their factors to; sums stay float32") \
  OPT(choice, cache_type, "auto", "auto|f32|f16|q8_0", "inference", "kv-cache-type", 0, "type of keys and values that are kept of each token; auto: f32 where all weights are, else f16") \
  OPT(path, prompt_cache, "-", "new", "inference", "prompt-cache-file", 0, "file that keeps the computed prompt: what the next prompt begins with alike is not computed again") \
  OPT(flag, prompt_cache_all, "no", "", "inference", "", ETK_ADVANCED, "keep the answer too, for a conversation that goes on")                   \
  OPT(flag, prompt_cache_ro, "no", "", "inference", "", ETK_ADVANCED, "read the prompt cache and leave it as it is")                             \
  OPT(path, draft_model, "-", "model", "inference", "model-draft", 0, "smaller model of the same tokenizer that proposes tokens, of which this one checks several at once") \
  OPT(flag, prompt_lookup, "no", "", "inference", "", 0, "propose what followed where the last tokens stood before; the text stays the same")    \
  OPT(int, num_draft_tokens, "-", "1..15", "inference", "draft-max draft-n", 0, "tokens proposed at a time, at most; default 3 from a draft model, 15 by lookup") \
  OPT(int, prompt_lookup_max, "4", "1..64", "inference", "", ETK_ADVANCED, "most tokens to look up")                                             \
  OPT(int, prompt_lookup_min, "2", "1..64", "inference", "", ETK_ADVANCED, "fewest tokens to look up")
#define INFO_OPTIONS(OPT)                                                                                                                        \
  MODEL_OPTIONS(OPT)                                                                                                                             \
  LORA_OPTIONS(OPT)
#define PRETRAIN_OPTIONS(OPT)                                                                                                                    \
  OPT(path, data, "-", "exists", "pretraining", "", 0, "folder with train.jsonl (and valid.jsonl), a JSONL file or plain text")                  \
  OPT(path, output, "-", "new", "pretraining", "", 0, "folder to write the model to (Hugging Face layout)")                                      \
  OPT(flag, resume, "no", "", "pretraining", "", 0, "go on from OUTPUT-checkpoint")                                                              \
  OPT(flag, force, "no", "", "pretraining", "f", ETK_LOCAL, "replace an existing output folder")                                                 \
  OPT(int, vocab_size, "4096", "300..1000000", "pretraining", "", 0, "of the byte-level BPE tokenizer that is trained first")                    \
  OPT(int, hidden_size, "192", "8..65536", "pretraining", "", 0, "width")                                                                        \
  OPT(int, intermediate_size, "512", "8..1048576", "pretraining", "", 0, "width inside the feed-forward layers")                                 \
  OPT(int, num_hidden_layers, "5", "1..1000", "pretraining", "layers", 0, "layers")                                                              \
  OPT(int, num_attention_heads, "6", "1..1024", "pretraining", "heads", 0, "attention heads")                                                    \
  OPT(int, num_key_value_heads, "2", "1..1024", "pretraining", "kv-heads", 0, "key-value heads")                                                 \
  OPT(int, max_seq_length, "128", "2..1048576", "pretraining", "", 0, "context")                                                                 \
  OPT(int, epochs, "10", "1..", "pretraining", "", 0, "passes over the data")                                                                    \
  OPT(int, batch_size, "32", "1..65536", "pretraining", "", 0, "sequences a batch")                                                              \
  MEMORY_OPTIONS(OPT, "pretraining")                                                                                                             \
  OPT(real, learning_rate, "1e-3", "0<..", "pretraining", "lr", 0, "peak learning rate")                                                         \
  OPT(choice, lr_schedule, "cosine", "constant|linear|cosine", "pretraining", "", 0, "how the learning rate falls to a tenth after the warm-up") \
  OPT(int, warmup_steps, "200", "0..", "pretraining", "", 0, "steps of linear warm-up")                                                          \
  OPT(real, weight_decay, "0.1", "0..", "pretraining", "", 0, "decoupled; not on norms")                                                         \
  OPT(real, gradient_clipping, "1.0", "0..", "pretraining", "", 0, "global norm; 0: none")                                                       \
  OPT(real, dropout, "0", "0..<1", "pretraining", "", 0, "of the residual stream; helps when the data is seen many times")                        \
  OPT(int, save_steps, "500", "0..", "pretraining", "", 0, "steps between checkpoints and validations")                                          \
  OPT(int, seed, "42", "0..", "pretraining", "", 0, "data order and fresh weights")
#define DEMO_OPTIONS(OPT)                                                                                                                        \
  OPT(path, output, "demo-adapter", "new", "demo", "", 0, "folder to write the adapter to")                                                      \
  OPT(flag, force, "no", "", "demo", "f", ETK_LOCAL, "replace an existing adapter folder")                                                       \
  OPT(int, epochs, "4", "1..100", "demo", "", 0, "passes over the demonstration data")

#define COMMANDS(CMD)                                                                                                                            \
  CMD(info, ETK_NONE, INFO_OPTIONS, 0, "Show a model and what LoRA would train in it")                                                           \
  CMD(validate, ETK_NONE, TRAIN_OPTIONS, 0, "Check settings, model and data, and plan the memory, without training")                             \
  CMD(train, ETK_NONE, TRAIN_OPTIONS, ETK_TRACKED, "Fine-tune a model with LoRA")                                                                \
  CMD(generate, ETK_NONE, GENERATE_OPTIONS, ETK_TRACKED, "Continue a prompt")                                                                    \
  CMD(evaluate, ETK_NONE, EVALUATE_OPTIONS, ETK_TRACKED, "Loss and perplexity of a model on data")                                               \
  CMD(pretrain, ETK_NONE, PRETRAIN_OPTIONS, ETK_TRACKED, "Train a small Llama-architecture model and its tokenizer from scratch")                \
  CMD(demo, ETK_NONE, DEMO_OPTIONS, ETK_TRACKED, "Teach the model that comes with this project a dialect, and compare before and after")
ETK_PROJECT_WITH("lora-finetuning-mlx", "0.1.0", "Fine-tune language models with LoRA; evaluate, generate and pretrain", COMMANDS, NULL, NULL, extensions_query)

#define LORA(o) (etk_lora_options){.rank = (o)->rank, .alpha = (o)->alpha, .dropout = (o)->dropout, .use_rslora = (o)->use_rslora, \
                                   .target_modules = (o)->target_modules.items, .target_count = (o)->target_modules.count}
#define MEMORY(o) {.checkpointing = (o)->gradient_checkpointing, .packing = (o)->packing, .compute = (o)->compute}
#define CHAT(o) {.file = (o)->chat_template, .kwargs = (o)->chat_template_kwargs}
/* validate and train have the same options in structs of different names. */
#define FINETUNE(o)                                                                                                                              \
  (struct finetune){.memory = MEMORY(o), .chat = CHAT(o), .model = (o)->model, .data = (o)->data, .output = (o)->output, .resume_adapter = (o)->resume_adapter, .resume = (o)->resume,  \
                    .force = (o)->force, .lora = LORA(o),                                                                      \
                    .given = {etk_run_given(run, "rank"), etk_run_given(run, "alpha"), etk_run_given(run, "dropout"),                            \
                              etk_run_given(run, "target_modules"), etk_run_given(run, "use_rslora")},                                           \
                    .epochs = (o)->epochs, .iters = (o)->iters, .batch_size = (o)->batch_size,              \
                    .accumulation = (o)->gradient_accumulation_steps, .max_seq_length = (o)->max_seq_length, .learning_rate = (o)->learning_rate, \
                    .lr_schedule = (o)->lr_schedule, .warmup_steps = etk_run_source(run, "warmup_steps") ? (o)->warmup_steps : -1,                \
                    .optimizer = (o)->optimizer, .weight_decay = (o)->weight_decay, .gradient_clipping = (o)->gradient_clipping,                  \
                    .eval_steps = (o)->eval_steps, .save_steps = (o)->save_steps, .seed = (uint64_t)(o)->seed}

static etk_status info_run(etk_run *run, const struct info_options *o) {
  etk_lora_options lora = LORA(o);
  return session_info(run, o->model, &lora);
}

static etk_status validate_run(etk_run *run, const struct validate_options *o) {
  struct finetune f = FINETUNE(o);
  return finetune_validate(run, &f);
}

static etk_status train_run(etk_run *run, const struct train_options *o) {
  struct finetune f = FINETUNE(o);
  return finetune_train(run, &f);
}

static etk_status evaluate_run(etk_run *run, const struct evaluate_options *o) {
  struct evaluation evaluation = {.model = o->model, .adapter = o->adapter_path, .data = o->data, .batch_size = o->batch_size,
                                  .max_seq_length = o->max_seq_length, .chat = CHAT(o), .per_token = o->per_token, .force = o->force};
  return session_evaluate(run, &evaluation);
}

static etk_status generate_run(etk_run *run, const struct generate_options *o) {
  struct generation generation = {.model = o->model, .adapter = o->adapter_path, .prompt = o->prompt, .system_prompt = o->system_prompt,
      .raw = o->ignore_chat_template, .chat = CHAT(o), .options = {
      .sampling = {.temperature = o->temperature, .top_p = o->top_p, .top_k = o->top_k, .repetition_penalty = o->repetition_penalty},
      .max_tokens = o->max_tokens, .seed = (uint64_t)o->seed, .ignore_eos = o->ignore_eos,
      .speculation = {.lookup = o->prompt_lookup, .tokens = etk_run_given(run, "num_draft_tokens") ? o->num_draft_tokens : 0, .ngram_min = o->prompt_lookup_min,
                      .ngram_max = o->prompt_lookup_max}},
      .compute = o->compute, .cache_type = o->cache_type, .prompt_cache = o->prompt_cache, .prompt_cache_all = o->prompt_cache_all, .prompt_cache_ro = o->prompt_cache_ro, .draft_model = o->draft_model};
  return session_generate(run, &generation);
}

static etk_status pretrain_run(etk_run *run, const struct pretrain_options *o) {
  struct pretrain p = {.memory = MEMORY(o), .data = o->data, .output = o->output, .resume = o->resume, .force = o->force, .config = {
      .architecture = "llama", .vocab_size = o->vocab_size, .hidden_size = o->hidden_size, .intermediate_size = o->intermediate_size,
      .num_hidden_layers = o->num_hidden_layers, .num_attention_heads = o->num_attention_heads, .num_key_value_heads = o->num_key_value_heads,
      .max_position_embeddings = o->max_seq_length, .rms_norm_eps = 1e-5, .rope_theta = 10000, .tie_word_embeddings = true},
      .epochs = o->epochs, .batch_size = o->batch_size, .learning_rate = o->learning_rate, .lr_schedule = o->lr_schedule, .warmup_steps = o->warmup_steps,
      .weight_decay = o->weight_decay, .gradient_clipping = o->gradient_clipping, .dropout = o->dropout, .save_steps = o->save_steps, .seed = (uint64_t)o->seed};
  return pretrain_model(run, &p);
}

static etk_status demo_run(etk_run *run, const struct demo_options *o) { return finetune_demo(run, o->output, o->force, o->epochs); }
