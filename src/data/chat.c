#include "data/chat.h"

#include <stdlib.h>
#include <string.h>

#include "base/error.h"

/* --- recognising ------------------------------------------------------------------------------ */

static bool has(const char *text, const char *part) {
    return strstr(text, part) != NULL;
}

/* What is written of a message that the template puts in front: the literal text between this
 * beginning and this end, with \n as Jinja writes it. False when there is none. */
static bool find_system(kd_chat *out, const char *text, const char *begin, const char *end) {
    for (const char *at = strstr(text, begin); at; at = strstr(at + 1, begin)) {
        const char *from = at + strlen(begin);
        if (strncmp(from, "\\n", 2) == 0)
            from += 2;
        else if (*from == '\n')
            from++;
        else
            continue;
        const char *to = strstr(from, end), *quote = strpbrk(from, "'\"{}");
        if (!to || (quote && quote < to)) continue; /* it is put together of other things */
        const size_t n = (size_t)(to - from);
        if (n == 0 || n >= sizeof out->system) continue;
        memcpy(out->system, from, n);
        out->system[n] = '\0';
        return true;
    }
    return false;
}

static int refuse(const char *why) {
    return kd_fail(
        KD_EDATA,
        "the chat template is none that is known here (ChatML as SmolLM2 and Qwen 2 have "
        "it, Llama 3): %s",
        why);
}

int kd_chat_recognise(kd_chat *out, const char *text) {
    *out = (kd_chat){.trim = has(text, "| trim") || has(text, "|trim"),
                     .begin = has(text, "bos_token")};
    const bool chatml = has(text, "<|im_start|>") && has(text, "<|im_end|>");
    const bool llama = has(text, "<|start_header_id|>") && has(text, "<|end_header_id|>") &&
                       has(text, "<|eot_id|>");
    if (chatml == llama) return refuse("it has neither's tokens around a message, or both");
    if (has(text, "think") || has(text, "reasoning"))
        return refuse("it writes down what a model reasons before its answer");
    if (has(text, "strftime") || has(text, "date_string")) return refuse("it tells the date");
    if (!has(text, "['role']") && !has(text, ".role")) return refuse("it names no message's role");
    out->form = chatml ? KD_CHAT_CHATML : KD_CHAT_LLAMA3;
    if (llama) return KD_OK;
    if (!has(text, "<|im_end|>\\n'") && !has(text, "<|im_end|>\n'") &&
        !has(text, "<|im_end|>' + '\\n'") && !has(text, "<|im_end|>' + '\n'"))
        return refuse("no newline follows <|im_end|>");
    find_system(out, text, "<|im_start|>system", "<|im_end|>");
    return KD_OK;
}

/* --- writing ---------------------------------------------------------------------------------- */

static int end_part(kd_chat_text *out, bool answer) {
    const size_t before = out->count ? out->part[out->count - 1].end : 0;
    if (out->text.length == before) return KD_OK;
    if (out->count && out->part[out->count - 1].answer == answer) {
        out->part[out->count - 1].end = out->text.length;
        return KD_OK;
    }
    void *more = realloc(out->part, ((size_t)out->count + 1) * sizeof *out->part);
    if (!more) return kd_fail_memory(sizeof *out->part, "a conversation");
    out->part = more;
    out->part[out->count].end = out->text.length;
    out->part[out->count++].answer = answer;
    return KD_OK;
}

static void add_head(kd_chat_text *out, const kd_chat *chat, const char *role) {
    if (chat->form == KD_CHAT_CHATML)
        kd_text_add(&out->text, "<|im_start|>%s\n", role);
    else
        kd_text_add(&out->text, "<|start_header_id|>%s<|end_header_id|>\n\n", role);
}

static bool is_space(char c) {
    return c == ' ' || (c >= '\t' && c <= '\r');
}

static void add_content(kd_chat_text *out, const kd_chat *chat, const char *content) {
    size_t length = strlen(content);
    while (chat->trim && length > 0 && is_space(content[length - 1])) length--;
    while (chat->trim && length > 0 && is_space(*content)) content++, length--;
    kd_text_add(&out->text, "%.*s", (int)length, content);
    kd_text_add(&out->text, chat->form == KD_CHAT_CHATML ? "<|im_end|>" : "<|eot_id|>");
}

static int add_message(kd_chat_text *out, const kd_chat *chat, const kd_chat_message *message) {
    const bool answer = strcmp(message->role, "assistant") == 0;
    add_head(out, chat, message->role);
    int status = end_part(out, false);
    add_content(out, chat, message->content);
    if (status == KD_OK) status = end_part(out, answer);
    if (chat->form == KD_CHAT_CHATML) kd_text_add(&out->text, "\n");
    return status == KD_OK ? end_part(out, false) : status;
}

int kd_chat_render(kd_chat_text *out, const kd_chat *chat, const kd_chat_message *message,
                   int64_t count, const char *bos, bool prompt) {
    static const char *const roles[] = {"system", "user", "assistant"};
    int status = KD_OK;
    *out = (kd_chat_text){.conversation = true};
    if (chat->begin && bos) kd_text_add(&out->text, "%s", bos);
    if (chat->system[0] && (count == 0 || strcmp(message[0].role, "system") != 0))
        status = add_message(out, chat, &(kd_chat_message){"system", chat->system});
    for (int64_t i = 0; i < count && status == KD_OK; i++) {
        bool known = false;
        for (size_t k = 0; k < sizeof roles / sizeof *roles; k++)
            known |= strcmp(message[i].role, roles[k]) == 0;
        if (!known)
            return kd_fail(KD_EDATA, "a message of '%.40s', should be system, user or assistant",
                           message[i].role);
        status = add_message(out, chat, &message[i]);
    }
    if (status == KD_OK && prompt) {
        add_head(out, chat, "assistant");
        status = end_part(out, false);
    }
    if (status == KD_OK) status = kd_text_finish(&out->text, "a conversation");
    return status;
}

void kd_chat_text_clear(kd_chat_text *text) {
    free(text->text.text);
    free(text->part);
    *text = (kd_chat_text){0};
}
