/* conversation.h: a conversation as what is given and what is to be learned. */
#ifndef ETK_ML_TRAIN_CONVERSATION_H
#define ETK_ML_TRAIN_CONVERSATION_H

#include <etk/chat.h>
#include <etk/text.h>
#include <jansson.h>

/* Writes out the messages up to the last of the assistant: `prompt` all that stands before its words, `answer` the rest. chat: as the template says; NULL: as
 * etk/dataset.h tells. kwargs: more variables of the template, JSON; NULL: none. Messages begin with what is wrong, not with the file. */
etk_status etk__conversation_write(etk_error *e, etk_text *prompt, etk_text *answer, const json_t *object, const etk_chat_format *chat, const char *kwargs);

#endif
