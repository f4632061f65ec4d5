/* etk/chat.h: the chat template that belongs to a model, found where models keep it, and conversations made into its tokens.
 *
 * Looked for: in a folder chat_template.jinja, chat_template.json ({"chat_template"}), and tokenizer_config.json's "chat_template" (a text, or a list of
 * {"name", "template"}: "default", and "tool_use" where tools are given), in this order; in a GGUF file the keys tokenizer.chat_template and
 * tokenizer.chat_template.<name>; a file of any other kind is the template's own source. Immutable once open; used by any number of threads. */
#ifndef ETK_CHAT_H
#define ETK_CHAT_H

#include "template.h"
#include "tokenizer.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct etk_chat_format etk_chat_format;
/* tokenizer: gives bos_token and eos_token their text and turns what is rendered into ids; borrowed. A model without a template: ETK_E_NOT_FOUND. */
etk_status etk_chat_format_open(etk_error *e, etk_chat_format **out, const char *path, const etk_tokenizer *tokenizer);
void etk_chat_format_free(etk_chat_format *format);

/* etk_chat_render with the model's template; bos_token and eos_token of `chat` are the tokenizer's where they are NULL. */
etk_status etk_chat_format_render(etk_error *e, const etk_chat_format *format, etk_rendered *out, const etk_chat *chat);
/* Appends the ids of the rendered text. The template writes the beginning of the text itself, so none is added, and control tokens mean what they say. */
etk_status etk_chat_format_encode(etk_error *e, const etk_chat_format *format, etk_ids *out, const etk_chat *chat);

#ifdef __cplusplus
}
#endif
#endif
