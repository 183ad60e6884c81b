/*
 * monitor: the human protocol: lines in, text and a prompt out.
 *
 * Owns where a line ends, how long it may be and how text goes onto the wire; the
 * commands are the callback's.  There is no echo and no editing: a terminal does its own,
 * and what is no terminal wants none.  Does no I/O.
 */
#include <string.h>

#include "monitor-priv.h"

typedef struct {
    const VdsMonitorHuman *human;
    VdsBuf *out;
    size_t len;
    bool too_long; /* the rest of this line is dropped */
    bool after_cr; /* a line feed now belongs to the line that has ended */
    char line[VDS_MONITOR_LINE_BYTES + 1];
} Human;

static void put_text(Human *human, const char *text)
{
    for (;;) {
        const char *end = strchrnul(text, '\n');

        vds_buf_append(human->out, text, (size_t)(end - text));
        if (*end == '\0') {
            return;
        }
        vds_buf_append(human->out, "\r\n", 2);
        text = end + 1;
    }
}

static void put_prompt(Human *human)
{
    put_text(human, "(qemu) ");
}

static void *human_open(const VdsMonitor *monitor, VdsBuf *out, bool pretty)
{
    Human *human = g_new0(Human, 1);

    human->human = monitor->human;
    human->out = out;
    put_text(human, monitor->human->banner);
    put_text(human, "\n");
    put_prompt(human);
    return human;
}

static void human_answer(Human *human)
{
    if (human->too_long) {
        g_autofree char *text = g_strdup_printf("Error: a line is limited to %d bytes\n",
                                                VDS_MONITOR_LINE_BYTES);

        put_text(human, text);
    } else if (human->len > 0) {
        g_autofree char *text = NULL;

        human->line[human->len] = '\0';
        text = human->human->line(human->human->user, human->line);
        put_text(human, text);
    }
    human->len = 0;
    human->too_long = false;
    put_prompt(human);
}

/* True when the byte ended a line. */
static bool human_take(Human *human, char byte)
{
    bool ends = byte == '\r' || (byte == '\n' && !human->after_cr);
    bool is_text = byte != '\r' && byte != '\n' && byte != '\0';

    human->after_cr = byte == '\r';
    if (is_text && human->len == VDS_MONITOR_LINE_BYTES) {
        human->too_long = true;
    } else if (is_text) {
        human->line[human->len++] = byte;
    }
    return ends;
}

static size_t human_feed(void *core, const void *bytes, size_t len, unsigned max_requests,
                         size_t out_limit)
{
    Human *human = core;
    const char *at = bytes;
    size_t taken = 0;

    while (taken < len && max_requests > 0 && vds_buf_len(human->out) < out_limit) {
        if (human_take(human, at[taken++])) {
            human_answer(human);
            max_requests--;
        }
    }
    return taken;
}

static void human_finish(void *core)
{
    Human *human = core;

    human->len = 0;
    human->too_long = false;
}

const VdsMonitorProtocol vds_monitor_human_protocol = {
    .open = human_open,
    .free = g_free,
    .feed = human_feed,
    .finish = human_finish,
};
