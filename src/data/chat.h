/* Conversations as text: a model's chat template, recognised by its text (there is no Jinja here).
 *
 *     ChatML (SmolLM2, Qwen 2)   <|im_start|>ROLE\nCONTENT<|im_end|>\n   for each message
 *     Llama 3                    <|start_header_id|>ROLE<|end_header_id|>\n\nCONTENT<|eot_id|>
 *
 * A template may put a system message in front where there is none. */
#ifndef KD_DATA_CHAT_H
#define KD_DATA_CHAT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/text.h"

typedef enum { KD_CHAT_CHATML, KD_CHAT_LLAMA3 } kd_chat_form;

typedef struct {
    kd_chat_form form;
    bool trim;         /* white space around a content is left out           */
    bool begin;        /* a text begins with the token that begins texts     */
    char system[1024]; /* the message in front of others, or ""              */
} kd_chat;

/* KD_EDATA, with the reason, when the template (0-terminated) is none of those above, or does more:
 * reasoning, dates. */
int kd_chat_recognise(kd_chat *out, const char *chat_template);

typedef struct {
    const char *role, *content; /* 0-terminated; borrowed */
} kd_chat_message;

/* Parts of a text, one behind the other: what an assistant says, with the token that ends it, is an
 * answer, and learnt; all else is not. Each part is tokenized by itself, so that an answer's tokens
 * are those that follow its prompt. */
typedef struct {
    kd_text text;
    struct {
        size_t end;
        bool answer;
    } * part; /* (count) */
    int64_t count;
    bool conversation; /* written by a template, which has put all around it */
} kd_chat_text;

/* The messages as text; with `prompt`, the head of an answer that is to follow. `bos` is the text
 * of the token that begins texts, or NULL. KD_EDATA when a role is unknown. *out is to be cleared
 * by the caller, after an error, too. */
int kd_chat_render(kd_chat_text *out, const kd_chat *chat, const kd_chat_message *message,
                   int64_t count, const char *bos, bool prompt);
void kd_chat_text_clear(kd_chat_text *text);

#endif
