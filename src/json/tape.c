/*
 * json: the tape, a message as a flat array of tokens, and how values are read off it.
 *
 * A container is followed by what is in it and knows where it ends, so skipping a value
 * is one step, and walking needs no stack: a container also knows its parent.
 */
#include <string.h>

#include "json-priv.h"

enum {
    FIRST_TOKENS = 32,
    FIRST_TEXT = 512,
    KEEP_TOKENS = 4096,
    KEEP_TEXT = 64 * 1024,
};

void vds_json_tape_clear(VdsJsonTape *tape)
{
    g_free(tape->tokens);
    g_free(tape->text);
    *tape = (VdsJsonTape){0};
}

void vds_json_tape_reset(VdsJsonTape *tape)
{
    if (tape->cap_tokens > KEEP_TOKENS || tape->text_cap > KEEP_TEXT) {
        vds_json_tape_clear(tape);
    }
    tape->n_tokens = 0;
    tape->text_len = 0;
}

void vds_json_tape_free(VdsJsonTape *tape)
{
    if (tape) {
        vds_json_tape_clear(tape);
        g_free(tape);
    }
}

VdsJsonToken *vds_json_tape_push(VdsJsonTape *tape, VdsJsonKind kind)
{
    VdsJsonToken *token;

    if (tape->n_tokens == tape->cap_tokens) {
        tape->cap_tokens = MAX(tape->cap_tokens * 2, (uint32_t)FIRST_TOKENS);
        tape->tokens = g_renew(VdsJsonToken, tape->tokens, tape->cap_tokens);
    }
    token = &tape->tokens[tape->n_tokens++];
    token->kind = (uint8_t)kind;
    token->expect = 0;
    token->next = tape->n_tokens;
    return token;
}

uint8_t *vds_json_tape_reserve_text(VdsJsonTape *tape, size_t n)
{
    if (tape->text_cap - tape->text_len < n) {
        tape->text_cap = MAX(MAX(tape->text_len + n, tape->text_cap * 2), FIRST_TEXT);
        tape->text = g_realloc(tape->text, tape->text_cap);
    }
    return tape->text + tape->text_len;
}

VdsJsonValue vds_json_tape_root(const VdsJsonTape *tape)
{
    return (VdsJsonValue){tape, 0};
}

/* ---- reading ------------------------------------------------------------------------
 */

static const VdsJsonToken *value_token(VdsJsonValue value)
{
    g_assert(value.tape && value.at < value.tape->n_tokens);
    return &value.tape->tokens[value.at];
}

static const VdsJsonToken *value_token_of(VdsJsonValue value, VdsJsonKind kind)
{
    const VdsJsonToken *token = value_token(value);

    g_assert(token->kind == kind);
    return token;
}

VdsJsonKind vds_json_value_kind(VdsJsonValue value)
{
    return (VdsJsonKind)value_token(value)->kind;
}

const char *vds_json_value_string(VdsJsonValue value, size_t *len)
{
    const VdsJsonToken *token = value_token_of(value, VDS_JSON_STRING);

    if (len) {
        *len = token->u.string.len;
    }
    return (const char *)value.tape->text + token->u.string.offset;
}

int64_t vds_json_value_int(VdsJsonValue value)
{
    return value_token_of(value, VDS_JSON_INT)->u.integer;
}

uint64_t vds_json_value_uint(VdsJsonValue value)
{
    return value_token_of(value, VDS_JSON_UINT)->u.uinteger;
}

double vds_json_value_number(VdsJsonValue value)
{
    const VdsJsonToken *token = value_token(value);

    if (token->kind == VDS_JSON_INT) {
        return (double)token->u.integer;
    }
    if (token->kind == VDS_JSON_UINT) {
        return (double)token->u.uinteger;
    }
    return value_token_of(value, VDS_JSON_NUMBER)->u.number;
}

uint32_t vds_json_value_count(VdsJsonValue value)
{
    const VdsJsonToken *token = value_token(value);

    g_assert(token->kind == VDS_JSON_OBJECT || token->kind == VDS_JSON_ARRAY);
    return token->u.container.count;
}

VdsJsonIter vds_json_iter(VdsJsonValue container)
{
    VdsJsonIter iter = {
        .key = VDS_JSON_NONE,
        .value = {container.tape, container.at},
        .next = container.at + 1,
        .left = vds_json_value_count(container),
        .object = vds_json_value_kind(container) == VDS_JSON_OBJECT,
    };

    return iter;
}

bool vds_json_iter_next(VdsJsonIter *iter)
{
    const VdsJsonTape *tape = iter->value.tape;

    if (iter->left == 0) {
        return false;
    }
    iter->left--;
    if (iter->object) {
        iter->key = (VdsJsonValue){tape, iter->next++};
    }
    iter->value.at = iter->next;
    iter->next = tape->tokens[iter->next].next;
    return true;
}

VdsJsonValue vds_json_object_find(VdsJsonValue object, const char *key)
{
    VdsJsonIter iter = vds_json_iter(object);
    size_t len = strlen(key);

    g_assert(iter.object);
    while (vds_json_iter_next(&iter)) {
        size_t key_len;
        const char *text = vds_json_value_string(iter.key, &key_len);

        if (key_len == len && memcmp(text, key, len) == 0) {
            return iter.value;
        }
    }
    return VDS_JSON_NONE;
}
