/*
 * virtio: VdsStream, the bytes of one request: guest memory span by span, in order.
 * Refuses to know descriptors.  virtio 1.2, 2.6.4 (no layout is assumed).
 */
#include <string.h>

#include "device-priv.h"

/* Moves [gpa, gpa + len) to or from the caller's bytes. */
typedef bool (*SpanFunc)(VdsGuestWindow *window, uint64_t gpa, void *bytes, size_t len,
                         GError **error);

static bool span_write(VdsGuestWindow *window, uint64_t gpa, void *bytes, size_t len,
                       GError **error)
{
    return vds_guest_window_write(window, gpa, bytes, len, error);
}

/* A reset took the ring away, and the driver may use the memory for something else. */
static bool is_void(const VdsStream *stream)
{
    return stream->io->epoch != stream->io->queue->epoch;
}

static inline uint64_t left(const VdsStream *stream)
{
    return G_UNLIKELY(is_void(stream)) ? 0 : stream->total - stream->done;
}

uint64_t vds_stream_left(const VdsStream *stream)
{
    return left(stream);
}

uint64_t vds_stream_done(const VdsStream *stream)
{
    return stream->done;
}

static void advance(VdsStream *stream, uint32_t len)
{
    stream->done += len;
    stream->into += len;
    if (stream->into == stream->spans[stream->at].len) {
        stream->into = 0;
        stream->at++;
    }
}

static uint32_t here(const VdsStream *stream, uint64_t len)
{
    return (uint32_t)MIN(len, stream->spans[stream->at].len - stream->into);
}

static void lose(VdsVirtQueue *queue, GError *error /* (transfer full) */)
{
    vds_virt_queue_break(queue, "R6: %s", error->message);
    g_error_free(error);
}

static inline size_t each_span(VdsStream *stream, void *bytes, size_t len, SpanFunc func)
{
    VdsVirtQueue *queue = stream->io->queue;
    GError *error = NULL;
    size_t moved = 0;

    len = (size_t)MIN(len, left(stream));
    while (moved < len) {
        const VdsSpan *span = &stream->spans[stream->at];
        uint32_t part = (uint32_t)MIN(len - moved, span->len - stream->into);

        if (G_UNLIKELY(!func(&queue->window, span->gpa + stream->into,
                             (uint8_t *)bytes + moved, part, &error))) {
            lose(queue, error);
            break;
        }
        advance(stream, part);
        moved += part;
    }
    return moved;
}

size_t vds_stream_read(VdsStream *stream, void *to, size_t len)
{
    return each_span(stream, to, len, vds_guest_window_read);
}

size_t vds_stream_write(VdsStream *stream, const void *from, size_t len)
{
    return each_span(stream, (void *)from, len, span_write); /* only read from */
}

size_t vds_stream_fill(VdsStream *stream, uint8_t byte, size_t len)
{
    uint8_t bytes[4096];
    size_t moved = 0, part;

    memset(bytes, byte, MIN(len, sizeof(bytes)));
    do {
        part = vds_stream_write(stream, bytes, MIN(len - moved, sizeof(bytes)));
        moved += part;
    } while (part > 0 && moved < len);
    return moved;
}

typedef size_t (*FileFunc)(const VdsGuestMap *map, uint64_t gpa, size_t len,
                           const VdsGuestFile *file);

static size_t each_file_span(VdsStream *stream, const VdsGuestFile *file, size_t len,
                             FileFunc func)
{
    VdsGuestFile rest = *file;
    size_t moved = 0, part;

    len = (size_t)MIN(len, left(stream));
    while (moved < len) {
        part = func(stream->io->queue->window.map,
                    stream->spans[stream->at].gpa + stream->into,
                    here(stream, len - moved), &rest);
        if (part == 0) {
            break;
        }
        advance(stream, (uint32_t)part);
        rest.offset += part;
        moved += part;
    }
    return moved;
}

size_t vds_stream_read_file(VdsStream *stream, const VdsGuestFile *file, size_t len)
{
    return each_file_span(stream, file, len, vds_guest_map_read_file);
}

size_t vds_stream_write_file(VdsStream *stream, const VdsGuestFile *file, size_t len)
{
    return each_file_span(stream, file, len, vds_guest_map_write_file);
}

uint64_t vds_stream_skip(VdsStream *stream, uint64_t len)
{
    uint64_t moved = 0;

    len = MIN(len, left(stream));
    while (moved < len) {
        uint32_t part = here(stream, len - moved);

        advance(stream, part);
        moved += part;
    }
    return moved;
}

uint64_t vds_stream_discard(VdsStream *stream, uint64_t len)
{
    uint64_t moved = 0;

    len = MIN(len, left(stream));
    while (moved < len) {
        uint32_t part = here(stream, len - moved);

        if (!vds_virt_queue_discard(stream->io->queue,
                                    stream->spans[stream->at].gpa + stream->into, part)) {
            break;
        }
        advance(stream, part);
        moved += part;
    }
    return moved;
}

void vds_stream_seek(VdsStream *stream, uint64_t position)
{
    stream->at = 0;
    stream->into = 0;
    stream->done = 0;
    vds_stream_skip(stream, position);
}
