/*
 * util: VdsBuf, bytes appended at the end and consumed from the front.
 */
#include <string.h>

#include "vds/util.h"

/* An emptied buffer above this size gives its memory back: one large reply does not
 * stay with an idle session. */
enum { KEEP_BYTES = 64 * 1024, FIRST_BYTES = 1024 };

void vds_buf_clear(VdsBuf *buf)
{
    g_free(buf->data);
    *buf = (VdsBuf){0};
}

static void buf_compact(VdsBuf *buf)
{
    size_t len = vds_buf_len(buf);

    if (len > 0) {
        memmove(buf->data, buf->data + buf->head, len);
    }
    buf->head = 0;
    buf->end = len;
}

uint8_t *vds_buf_reserve(VdsBuf *buf, size_t n)
{
    n = MAX(n, 1); /* so that there is always a place to point to */
    if (buf->cap - buf->end < n) {
        /* Moving is worth it only when it frees at least as much as it moves. */
        if (buf->head >= vds_buf_len(buf) && buf->head > 0) {
            buf_compact(buf);
        }
        if (buf->cap - buf->end < n) {
            g_assert(n <= SIZE_MAX / 2 - buf->end);
            buf->cap = MAX(MAX(buf->end + n, buf->cap * 2), FIRST_BYTES);
            buf->data = g_realloc(buf->data, buf->cap);
        }
    }
    return buf->data + buf->end;
}

void vds_buf_append(VdsBuf *buf, const void *bytes, size_t n)
{
    if (n > 0) {
        memcpy(vds_buf_reserve(buf, n), bytes, n);
        buf->end += n;
    }
}

void vds_buf_consume(VdsBuf *buf, size_t n)
{
    g_assert(n <= vds_buf_len(buf));
    buf->head += n;
    if (buf->head < buf->end) {
        return;
    }
    if (buf->cap > KEEP_BYTES) {
        vds_buf_clear(buf);
    } else {
        buf->head = buf->end = 0;
    }
}
