/*
 * fuzz: what devices do with requests of any content and shape, in rings that are as they
 * should be: a driver that means harm and knows its manners.
 *
 * The input is a header (Input) and then steps (Step), each followed by its bytes.  What
 * must hold for any input: calls end, the device's answers fit its buffers and come in
 * turn (the driver's side checks them), the indices fit together, and a device that is
 * broken says why.  A balloon may take the rings themselves away; then they are left.
 */
#include "door.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { STEPS = 64, DATA = 1 << 20, OUT_SLOTS = 64, OUT_BYTES = 4096, RING_MAX = 256 };

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
    Door door;
    uint64_t out, in;               /* gpa */
    uint64_t areas[DOOR_QUEUES][3]; /* gpa */
    bool lost;                      /* a ring is not what it was */
    bool takes_memory;              /* is a balloon */
    unsigned turn;                  /* which part of `out` is next */
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

static void make_areas(Fuzz *fuzz)
{
    for (unsigned n = 0; n < DOOR_QUEUES; n++) {
        fuzz->areas[n][0] = door_alloc(&fuzz->door, 16 * RING_MAX);
        fuzz->areas[n][1] = door_alloc(&fuzz->door, 6 + 2 * RING_MAX);
        fuzz->areas[n][2] = door_alloc(&fuzz->door, 6 + 8 * RING_MAX);
    }
    fuzz->out = door_alloc(&fuzz->door, OUT_SLOTS * OUT_BYTES);
    fuzz->in = door_alloc(&fuzz->door, DATA);
}

static Fuzz *get_fuzz(void)
{
    static Fuzz *fuzz;

    if (!fuzz) {
        fuzz = g_new0(Fuzz, 1);
        door_init(&fuzz->door);
        door_back(&fuzz->door, "netdev", "type=loop,id=n0,queues=2");
        door_back(&fuzz->door, "chardev", "backend=null,id=c0");
        door_back(&fuzz->door, "chardev", "backend=null,id=c1");
        for (size_t i = 0; i < G_N_ELEMENTS(kinds); i++) {
            g_assert(door_plug(&fuzz->door, kinds[i].device, NULL));
        }
        g_assert(door_plug(&fuzz->door, "virtconsole,bus=ser.0,chardev=c0", NULL));
        g_assert(door_plug(&fuzz->door, "virtserialport,bus=ser.0,chardev=c1,name=port",
                           NULL));
        make_areas(fuzz);
    }
    return fuzz;
}

/* ---- a driver comes and goes ---- */

static void set_up_queue(Fuzz *fuzz, unsigned n, uint32_t num)
{
    Door *door = &fuzz->door;
    VdsQueueSetup setup = {.num = num,
                           .desc = fuzz->areas[n][0],
                           .avail = fuzz->areas[n][1],
                           .used = fuzz->areas[n][2]};
    VdsQueueState state = {.num = num,
                           .packed = (door->features >> VDS_F_RING_PACKED) & 1,
                           .event_idx = (door->features >> VDS_F_RING_EVENT_IDX) & 1,
                           .desc = setup.desc,
                           .avail = setup.avail,
                           .used = setup.used,
                           .map = vds_guest_ram_get_map(door->ram)};

    door->rings[n] = vds_driver_ring_new(&state, 0, NULL, NULL);
    g_assert(door->rings[n]);
    g_assert(vds_virtio_driver_set_queue(door->device, n, &setup, NULL));
    g_assert(vds_virtio_driver_enable_queue(door->device, n, NULL));
}

static bool negotiate(Door *door, const Input *input)
{
    VdsFeatures features = vds_virtio_driver_get_features(door->device);
    uint64_t drop;

    memcpy(&drop, input->drop, sizeof(drop));
    drop |= DOOR_BIT(VDS_F_BAD_FEATURE) | DOOR_BIT(VDS_F_ACCESS_PLATFORM);
    features.word[0] &= ~(GUINT64_FROM_LE(drop) & ~DOOR_BIT(VDS_F_VERSION_1));
    features.word[1] = 0;
    door->features = features.word[0];
    return vds_virtio_driver_set_status(door->device, 3, NULL) &&
           vds_virtio_driver_set_features(door->device, &features, NULL) &&
           vds_virtio_driver_set_status(door->device, 11, NULL);
}

static bool begin(Fuzz *fuzz, const Input *input)
{
    Door *door = &fuzz->door;
    unsigned kind = input->kind % G_N_ELEMENTS(kinds);

    door_find(door, kinds[kind].id);
    fuzz->takes_memory = kinds[kind].takes_memory;
    fuzz->lost = false;
    fuzz->turn = 0;
    vds_virtio_driver_set_map(door->device, vds_guest_ram_get_map(door->ram));
    if (!negotiate(door, input)) {
        return false;
    }
    for (unsigned n = 0; n < DOOR_QUEUES; n++) {
        uint32_t num = vds_virtio_driver_get_queue_size(door->device, n);

        if (num > 0) {
            set_up_queue(fuzz, n, MIN(MIN(num, RING_MAX), 2u << input->num % 8));
        }
    }
    g_assert(vds_virtio_driver_set_status(door->device, 15, NULL));
    return true;
}

static void end(Fuzz *fuzz)
{
    g_assert(vds_virtio_driver_set_status(fuzz->door.device, 0, NULL));
    g_assert(!door_is_broken(&fuzz->door));
    door_drop_rings(&fuzz->door);
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

static void add_spans(VdsSpan *spans, uint32_t *n, uint32_t max, uint64_t gpa,
                      uint32_t len, uint32_t piece)
{
    for (*n = 0; len > 0 && *n < max; (*n)++) {
        uint32_t part = piece > 0 && *n + 1 < max ? MIN(piece, len) : len;

        spans[*n] = (VdsSpan){gpa, part};
        gpa += part;
        len -= part;
    }
}

static void post(Fuzz *fuzz, const Step *step, const uint8_t *bytes)
{
    enum { MAX = DOOR_PIECES / 2 };
    unsigned n = step->queue % DOOR_QUEUES;
    VdsDriverRing *ring = fuzz->door.rings[n];
    uint64_t out = fuzz->out + OUT_BYTES * (fuzz->turn++ % OUT_SLOTS);
    VdsSpan spans[DOOR_PIECES];
    VdsBuffer buffer = {.spans = spans, .token = fuzz};
    GError *fault = NULL;
    bool added = false;

    if (!ring || fuzz->lost) {
        return;
    }
    door_poke(&fuzz->door, out, bytes, step->n_bytes);
    add_spans(spans, &buffer.n_out, MAX, out,
              (step->out_len[0] | (uint32_t)step->out_len[1] << 8) % OUT_BYTES,
              step->piece);
    add_spans(spans + buffer.n_out, &buffer.n_in, MAX, fuzz->in,
              step->in_len[0] | (uint32_t)step->in_len[1] << 8, step->piece);
    if (buffer.n_out + buffer.n_in > 0 &&
        is_whole(fuzz, vds_driver_ring_add(ring, &buffer, &added, &fault), &fault)) {
        vds_virtio_driver_kick(fuzz->door.device, n);
    }
}

static void check(Fuzz *fuzz)
{
    Door *door = &fuzz->door;
    bool needs_reset =
        vds_virtio_driver_get_status(door->device) & VDS_STATUS_NEEDS_RESET;

    g_assert(needs_reset == door_is_broken(door));
    for (unsigned n = 0; n < DOOR_QUEUES; n++) {
        VdsQueueState state;

        if (!vds_virtio_device_get_queue(door->device, n, &state)) {
            continue;
        }
        g_assert(state.inuse <= state.num);
        g_assert(state.packed ||
                 (uint16_t)(state.used_idx + state.inuse - state.last_avail_idx) == 0);
    }
}

static void settle(Fuzz *fuzz, const Step *step, const uint8_t *bytes)
{
    Door *door = &fuzz->door;

    door_settle(door);
    for (unsigned n = 0; n < DOOR_QUEUES; n++) {
        VdsUsed used = {.token = door};
        GError *fault = NULL;

        while (door->rings[n] && !fuzz->lost && used.token &&
               is_whole(fuzz, vds_driver_ring_get_used(door->rings[n], &used, &fault),
                        &fault)) {
        }
    }
    check(fuzz);
}

static void write_config(Fuzz *fuzz, const Step *step, const uint8_t *bytes)
{
    vds_virtio_driver_write_config(fuzz->door.device, step->queue, bytes, step->n_bytes,
                                   NULL);
}

static void stop_and_cont(Fuzz *fuzz, const Step *step, const uint8_t *bytes)
{
    vds_virtio_device_set_running(fuzz->door.device, false);
    check(fuzz);
    vds_virtio_device_set_running(fuzz->door.device, true);
}

/* Whatever it was doing: a reset of the queue takes it back. */
static void reset_queue(Fuzz *fuzz, const Step *step, const uint8_t *bytes)
{
    Door *door = &fuzz->door;
    unsigned n = step->queue % DOOR_QUEUES;

    if (door->rings[n] && vds_virtio_driver_reset_queue(door->device, n, NULL)) {
        g_clear_pointer(&door->rings[n], vds_driver_ring_free);
        set_up_queue(fuzz, n, 4);
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
    end(fuzz);
    return 0;
}
