/*
 * fuzz: what devices do with requests of any content and shape, in rings that are as they
 * should be: a driver that means harm and knows its manners.
 *
 * The input is a header (Input) and then steps (Step), each followed by its bytes.  What
 * must hold for any input: calls end, the device's answers fit its buffers and come in
 * turn (the driver's side checks them), the indices fit together, and a device that is
 * broken says why.  A balloon may take the rings themselves away; then they are left.
 */
#include "fuzz-door.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { STEPS = 64, DATA = 1 << 20, OUT_SLOTS = 64, OUT_BYTES = 4096 };

typedef struct {
    uint8_t kind;
    uint8_t num;     /* rings of 2^(num % 8 + 1), if the device has such large ones */
    uint8_t drop[8]; /* features not taken */
} Input;

typedef struct {
    uint8_t op, queue;
    uint8_t out_len[2], in_len[2];
    uint8_t piece;   /* buffers are cut into so many bytes; 0: uncut */
    uint8_t n_bytes; /* that follow: of the request, or of the config space */
} Step;

typedef struct {
    FuzzDoor at;       /* first */
    uint64_t out, in;  /* gpa */
    bool lost;         /* a ring is not what it was */
    bool takes_memory; /* is a balloon */
    unsigned turn;     /* which part of `out` is next */
} Fuzz;

static const struct {
    const char *device, *id;
    bool takes_memory;
} kinds[] = {
    {"virtio-blk-pci,id=blk,num-queues=2,packed=on", "blk", false},
    {"virtio-net-pci,id=net,netdev=n0,mq=on,rss=on,hash=on,guest_rsc_ext=on,packed=on",
     "net", false},
    {"virtio-serial-pci,id=ser,max_ports=4,packed=on", "ser", false},
    {"virtio-rng-pci,id=rng,packed=on", "rng", false},
    {"virtio-balloon-pci,id=bal,free-page-reporting=on,packed=on", "bal", true},
};

/* ---- the machine, made once ---- */

static void make_memory(Fuzz *fuzz)
{
    fuzz_door_areas(&fuzz->at);
    fuzz->out = door_alloc(&fuzz->at.door, OUT_SLOTS * OUT_BYTES);
    fuzz->in = door_alloc(&fuzz->at.door, DATA);
}

static Fuzz *get_fuzz(void)
{
    static Fuzz *fuzz;

    if (!fuzz) {
        fuzz = g_new0(Fuzz, 1);
        door_init(&fuzz->at.door);
        door_back(&fuzz->at.door, "netdev", "type=loop,id=n0,queues=2");
        door_back(&fuzz->at.door, "chardev", "backend=null,id=c0");
        door_back(&fuzz->at.door, "chardev", "backend=null,id=c1");
        for (size_t i = 0; i < G_N_ELEMENTS(kinds); i++) {
            g_assert(door_plug(&fuzz->at.door, kinds[i].device, NULL));
        }
        g_assert(door_plug(&fuzz->at.door, "virtconsole,bus=ser.0,chardev=c0", NULL));
        g_assert(door_plug(&fuzz->at.door,
                           "virtserialport,bus=ser.0,chardev=c1,name=port", NULL));
        make_memory(fuzz);
    }
    return fuzz;
}

/* ---- a driver comes and goes ---- */

static bool begin(Fuzz *fuzz, const Input *input)
{
    unsigned kind = input->kind % G_N_ELEMENTS(kinds);
    uint64_t drop;

    memcpy(&drop, input->drop, sizeof(drop));
    door_find(&fuzz->at.door, kinds[kind].id);
    fuzz->takes_memory = kinds[kind].takes_memory;
    fuzz->lost = false;
    fuzz->turn = 0;
    return fuzz_door_begin(&fuzz->at, GUINT64_FROM_LE(drop), 2u << input->num % 8);
}

/* ---- steps ---- */

/* A ring that was taken away is left alone; no other device may do that. */
static bool is_whole(Fuzz *fuzz, bool ok, GError **fault)
{
    if (!ok) {
        if (!fuzz->takes_memory) {
            g_error("the device lied: %s", (*fault)->message);
        }
        g_clear_error(fault);
        fuzz->lost = true;
    }
    return ok;
}

static void post(Fuzz *fuzz, const Step *step, const uint8_t *bytes)
{
    enum { MAX = DOOR_PIECES / 2 };
    unsigned n = step->queue % DOOR_QUEUES;
    VdsDriverRing *ring = fuzz->at.door.rings[n];
    uint64_t out = fuzz->out + OUT_BYTES * (fuzz->turn++ % OUT_SLOTS);
    VdsSpan spans[DOOR_PIECES];
    VdsBuffer buffer = {.spans = spans, .token = fuzz};
    GError *fault = NULL;
    bool added = false;

    if (!ring || fuzz->lost) {
        return;
    }
    door_poke(&fuzz->at.door, out, bytes, step->n_bytes);
    buffer.n_out = fuzz_door_spans(
        spans, MAX, out, (step->out_len[0] | (uint32_t)step->out_len[1] << 8) % OUT_BYTES,
        step->piece);
    buffer.n_in =
        fuzz_door_spans(spans + buffer.n_out, MAX, fuzz->in,
                        step->in_len[0] | (uint32_t)step->in_len[1] << 8, step->piece);
    if (buffer.n_out + buffer.n_in > 0 &&
        is_whole(fuzz, vds_driver_ring_add(ring, &buffer, &added, &fault), &fault)) {
        vds_virtio_driver_kick(fuzz->at.door.device, n);
    }
}

static void settle(Fuzz *fuzz, const Step *step, const uint8_t *bytes)
{
    Door *door = &fuzz->at.door;

    door_settle(door);
    for (unsigned n = 0; n < DOOR_QUEUES; n++) {
        VdsUsed used = {.token = door};
        GError *fault = NULL;

        while (door->rings[n] && !fuzz->lost && used.token &&
               is_whole(fuzz, vds_driver_ring_get_used(door->rings[n], &used, &fault),
                        &fault)) {
        }
    }
    fuzz_door_check(&fuzz->at);
}

static void write_config(Fuzz *fuzz, const Step *step, const uint8_t *bytes)
{
    vds_virtio_driver_write_config(fuzz->at.door.device, step->queue, bytes,
                                   step->n_bytes, NULL);
}

static void stop_and_cont(Fuzz *fuzz, const Step *step, const uint8_t *bytes)
{
    vds_virtio_device_set_running(fuzz->at.door.device, false);
    fuzz_door_check(&fuzz->at);
    vds_virtio_device_set_running(fuzz->at.door.device, true);
}

/* Whatever it was doing: a reset of the queue takes it back. */
static void reset_queue(Fuzz *fuzz, const Step *step, const uint8_t *bytes)
{
    Door *door = &fuzz->at.door;
    unsigned n = step->queue % DOOR_QUEUES;

    if (door->rings[n] && vds_virtio_driver_reset_queue(door->device, n, NULL)) {
        g_clear_pointer(&door->rings[n], vds_driver_ring_free);
        fuzz_door_set_up(&fuzz->at, n, 4);
    }
}

static void run(Fuzz *fuzz, const uint8_t *data, size_t size)
{
    static void (*const ops[])(Fuzz *, const Step *, const uint8_t *) = {
        post, post, post, post, settle, write_config, stop_and_cont, reset_queue,
    };
    Step step;

    for (unsigned i = 0; i < STEPS && size >= sizeof(step); i++) {
        memcpy(&step, data, sizeof(step));
        data += sizeof(step);
        size -= sizeof(step);
        step.n_bytes = (uint8_t)MIN(step.n_bytes, size);
        ops[step.op % G_N_ELEMENTS(ops)](fuzz, &step, data);
        data += step.n_bytes;
        size -= step.n_bytes;
    }
    settle(fuzz, NULL, NULL);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    Fuzz *fuzz = get_fuzz();
    Input input;

    if (size < sizeof(input)) {
        return 0;
    }
    memcpy(&input, data, sizeof(input));
    if (begin(fuzz, &input)) {
        run(fuzz, data + sizeof(input), size - sizeof(input));
    }
    fuzz_door_end(&fuzz->at);
    return 0;
}
