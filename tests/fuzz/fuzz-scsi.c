/*
 * fuzz: virtio-scsi with commands, task management and sizes of any content, and a disk
 * that comes and goes.
 *
 * The input is a byte (1: the disk that is read only; 2: packed rings; the rest: their
 * size) and steps (Step), each followed by its bytes.  What must hold for any input: an
 * answer has the form of one, counts what was not moved, and nothing is written behind
 * what the device says; what is read is what was written; a device is broken only for a
 * lie of the driver's and names the rule; and a reset brings it back.
 */
#include <fcntl.h>
#include <glib/gstdio.h>
#include <sys/mman.h>
#include <unistd.h>

#include "fuzz-door.h"
#include "scsi-cdb.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { CONTROL, EVENT, REQUESTS, HEADER = 19, RESPONSE = 12, FIXED_SENSE = 18 };
enum { GOOD = 0, CHECK = 2, OK = 0, OVERRUN = 1, BAD_TARGET = 3, FAILURE = 9 };
enum { SENSE_AT = 20, CDB_AT = 24, MAX_SENSE = 252, MAX_CDB = 64 };
enum {
    STEPS = 48,
    BLOCK = 512,
    DISK = 128 * 1024,
    SLOTS = 16,
    WAY_BYTES = 16384, /* of a command's data each way */
    SLOT_OUT = HEADER + MAX_CDB + WAY_BYTES,
    SLOT_IN = RESPONSE + MAX_SENSE + WAY_BYTES,
    GUARD = 64,
    SLOT_BYTES = 36864,
    TASK_BYTES = 128,
    UNTOUCHED = 0xa5,
    PIECES = 48,
    PATIENCE = 200000, /* looks at a disk that works */
};
G_STATIC_ASSERT(SLOT_OUT + SLOT_IN + GUARD <= SLOT_BYTES);

typedef struct {
    uint8_t op;
    uint8_t lun;    /* which */
    uint8_t fit;    /* bit 0: the range to the disk; 1: the buffers to the range */
    uint8_t number; /* of a task, a size, an event */
    uint8_t n_out[2], n_in[2];
    uint8_t piece;
    uint8_t n_bytes; /* that follow: the command, then its data */
} Step;

/* A request that the device has. */
typedef struct {
    bool busy;
    uint32_t n_out, n_in; /* of its data */
    uint64_t in;          /* gpa of the response */
    unsigned sense_bytes;
    uint8_t cdb[MAX_CDB];
} Slot;

typedef struct {
    FuzzDoor at;                      /* first */
    uint64_t memory, control, events; /* gpa */
    unsigned n_tasks;
    Slot slots[SLOTS];
    unsigned sense_bytes, cdb_bytes;
    char *path;
    int fd;
    bool has_disk, read_only, lied;
    bool known;           /* what is on the disk: no write is under way */
    uint8_t blocks[DISK]; /* then: this */
} Fuzz;

/* ---- made once ---- */

static Fuzz *made;

static void remove_file(void)
{
    g_unlink(made->path);
}

static void plug_disk(Fuzz *fuzz)
{
    g_assert(door_plug(&fuzz->at.door, "scsi-hd,id=d,bus=s.0,drive=n,serial=abc,wwn=77",
                       NULL));
    fuzz->has_disk = true;
}

static void make_disks(Fuzz *fuzz)
{
    g_autofree char *node = NULL;

    fuzz->fd = g_file_open_tmp("vds-fuzz-XXXXXX", &fuzz->path, NULL);
    g_assert(fuzz->fd >= 0 && ftruncate(fuzz->fd, DISK) == 0 && atexit(remove_file) == 0);
    node = g_strdup_printf("driver=file,node-name=n,aio=threads,filename=%s", fuzz->path);
    door_back(&fuzz->at.door, "blockdev", node);
    door_back(&fuzz->at.door, "blockdev",
              "driver=null-co,node-name=r,size=131072,read-only=on");
    g_assert(door_plug(&fuzz->at.door, "virtio-scsi-pci,id=s,packed=on", NULL));
    g_assert(door_plug(&fuzz->at.door, "virtio-scsi-pci,id=r,packed=on", NULL));
    g_assert(door_plug(&fuzz->at.door, "scsi-hd,id=e,bus=r.0,drive=r", NULL));
    plug_disk(fuzz);
}

static Fuzz *get_fuzz(void)
{
    if (!made) {
        made = g_new0(Fuzz, 1);
        door_init(&made->at.door);
        make_disks(made);
        fuzz_door_areas(&made->at);
        made->memory = door_alloc(&made->at.door, SLOTS * SLOT_BYTES);
        made->control = door_alloc(&made->at.door, STEPS * TASK_BYTES);
        made->events = door_alloc(&made->at.door, TASK_BYTES);
    }
    return made;
}

/* ---- what comes back ---- */

static uint32_t get_le32(const uint8_t *bytes)
{
    return bytes[0] | (uint32_t)bytes[1] << 8 | (uint32_t)bytes[2] << 16 |
           (uint32_t)bytes[3] << 24;
}

static void check_sense(const uint8_t *response, unsigned sense_bytes)
{
    const uint8_t *sense = response + RESPONSE;
    uint32_t len = get_le32(response);

    if (response[10] == GOOD) {
        g_assert(len == 0);
    } else {
        g_assert(response[10] == CHECK && response[11] == OK);
        g_assert(len == MIN(sense_bytes, FIXED_SENSE));
        g_assert(len < 1 || sense[0] == 0x70);
        g_assert(len < 3 || (sense[2] > 0 && sense[2] < 16));
        g_assert(len < 8 || sense[7] == FIXED_SENSE - 8);
    }
    for (uint32_t i = len; i < sense_bytes; i++) {
        g_assert(sense[i] == 0);
    }
}

/* Bytes that were not moved: all of those that were to be written, at most. */
static void check_residual(const Slot *slot, const uint8_t *response, uint32_t moved_in)
{
    uint32_t residual = get_le32(response + 4), rest = slot->n_in - moved_in;

    g_assert(residual >= rest && residual <= rest + slot->n_out);
    if (is_write(slot->cdb) && response[10] == GOOD && response[11] == OK) {
        g_assert(residual == rest + slot->n_out - (uint32_t)get_count(slot->cdb) * BLOCK);
    }
}

static void check_data(Fuzz *fuzz, const Slot *slot, const uint8_t *data, uint32_t len)
{
    uint64_t at = get_lba(slot->cdb) * BLOCK, n = get_count(slot->cdb) * BLOCK;

    if (is_read(slot->cdb)) {
        g_assert(len == n && at <= DISK && n <= DISK - at);
        g_assert(!fuzz->known || memcmp(data, fuzz->blocks + at, n) == 0);
    } else if (is_write(slot->cdb) || is_write_same(slot->cdb)) {
        g_assert(len == 0 && at <= DISK && n <= DISK - at && !fuzz->read_only);
    }
}

static void note_write(Fuzz *fuzz, const Slot *slot, const uint8_t *out)
{
    uint64_t at = get_lba(slot->cdb) * BLOCK, n = get_count(slot->cdb) * BLOCK;

    if (is_write(slot->cdb)) {
        memcpy(fuzz->blocks + at, out, n);
    } else if (is_write_same(slot->cdb)) {
        memset(fuzz->blocks + at, 0, n);
    }
}

static void check_answer(Fuzz *fuzz, unsigned i, uint32_t written)
{
    Slot *slot = &fuzz->slots[i];
    uint8_t in[SLOT_IN + GUARD], out[WAY_BYTES];
    uint32_t least = RESPONSE + slot->sense_bytes;

    g_assert(slot->busy);
    slot->busy = false;
    if (written == 0) {
        g_assert(fuzz->lied);
        return;
    }
    door_peek(&fuzz->at.door, slot->in, in, least + slot->n_in + GUARD);
    g_assert(written >= least && written <= least + slot->n_in);
    for (uint32_t k = written; k < least + slot->n_in + GUARD; k++) {
        g_assert(in[k] == UNTOUCHED);
    }
    g_assert(in[11] == OK || in[11] == OVERRUN || in[11] == BAD_TARGET ||
             in[11] == FAILURE);
    check_sense(in, slot->sense_bytes);
    check_residual(slot, in, written - least);
    if (in[10] == GOOD && in[11] == OK) {
        check_data(fuzz, slot, in + least, written - least);
        door_peek(&fuzz->at.door, slot->in - slot->n_out, out, slot->n_out);
        note_write(fuzz, slot, out);
    }
}

static void check_broken(const Fuzz *fuzz)
{
    g_autofree char *reason = vds_virtio_device_get_broken_reason(fuzz->at.door.device);

    if (reason && !(fuzz->lied && g_str_has_prefix(reason, "5.6."))) {
        g_error("broken without a lie: %s", reason);
    }
}

/* The control queue's and the event queue's: tokens of theirs are how much may be
 * written. */
static void collect_others(Fuzz *fuzz, unsigned queue)
{
    VdsUsed used;

    do {
        g_assert(vds_driver_ring_get_used(fuzz->at.door.rings[queue], &used, NULL));
        g_assert(!used.token || used.written < GPOINTER_TO_UINT(used.token));
    } while (used.token);
}

static void collect(Fuzz *fuzz)
{
    VdsUsed used;

    do {
        g_assert(vds_driver_ring_get_used(fuzz->at.door.rings[REQUESTS], &used, NULL));
        if (used.token) {
            check_answer(fuzz, GPOINTER_TO_UINT(used.token) - 1, used.written);
        }
    } while (used.token);
    collect_others(fuzz, CONTROL);
    collect_others(fuzz, EVENT);
    fuzz_door_check(&fuzz->at);
    check_broken(fuzz);
}

static void settle(Fuzz *fuzz)
{
    door_settle(&fuzz->at.door);
    collect(fuzz);
}

/* ---- steps ---- */

static void add(Fuzz *fuzz, unsigned queue, uint64_t gpa, uint32_t n_out, uint32_t n_in,
                uint32_t piece, unsigned token)
{
    VdsSpan spans[2 * PIECES];
    VdsBuffer buffer = {.spans = spans, .token = GUINT_TO_POINTER(token)};
    bool added = false;

    buffer.n_out = fuzz_door_spans(spans, PIECES, gpa, n_out, piece);
    buffer.n_in = fuzz_door_spans(spans + buffer.n_out, PIECES, gpa + n_out, n_in, piece);
    if (buffer.n_out + buffer.n_in > 0) {
        g_assert(vds_driver_ring_add(fuzz->at.door.rings[queue], &buffer, &added, NULL));
    }
    if (queue == REQUESTS && added) {
        fuzz->slots[token - 1].busy = true;
    }
    vds_virtio_driver_kick(fuzz->at.door.device, queue);
}

static void fill_lun(const Step *step, uint8_t lun[8])
{
    static const uint8_t luns[][4] = {{1, 0, 0, 0}, {1, 0, 0x40, 0}, {1, 0, 0, 0},
                                      {1, 0, 0, 0}, {1, 0, 0, 1},    {1, 9, 0, 0},
                                      {0, 0, 0, 0}, {0xc1, 1, 0, 0}};

    memset(lun, 0, 8);
    memcpy(lun, luns[step->lun % G_N_ELEMENTS(luns)], 4);
    lun[7] = step->lun >> 7;
}

/* Header, command and data one after another; data goes on as a pattern. */
static void fill_request(const Fuzz *fuzz, const Step *step, const uint8_t *bytes,
                         Slot *slot, uint8_t *to)
{
    uint32_t n = MIN(step->n_bytes, fuzz->cdb_bytes);

    memset(to, 0, SLOT_OUT);
    fill_lun(step, to);
    to[8] = step->number & 7;
    memset(slot->cdb, 0, MAX_CDB);
    memcpy(slot->cdb, bytes, n);
    if (step->fit & 1) {
        fit_range(slot->cdb);
    }
    memcpy(to + HEADER, slot->cdb, fuzz->cdb_bytes);
    if (!(step->fit & 4)) {
        memset(to + HEADER + fuzz->cdb_bytes, step->number, WAY_BYTES);
    }
    memcpy(to + HEADER + fuzz->cdb_bytes, bytes + n, step->n_bytes - n);
}

static void size_request(const Step *step, Slot *slot)
{
    uint32_t blocks = (uint32_t)MIN(get_count(slot->cdb), WAY_BYTES / BLOCK);

    slot->n_out = (step->n_out[0] | (uint32_t)step->n_out[1] << 8) % (WAY_BYTES + 1);
    slot->n_in = (step->n_in[0] | (uint32_t)step->n_in[1] << 8) % (WAY_BYTES + 1);
    if (step->fit & 2) {
        slot->n_out = is_write(slot->cdb)        ? blocks * BLOCK
                      : is_write_same(slot->cdb) ? BLOCK
                                                 : slot->n_out;
        slot->n_in = is_read(slot->cdb) ? blocks * BLOCK : slot->n_in;
    }
}

static void post(Fuzz *fuzz, const Step *step, const uint8_t *bytes)
{
    uint8_t out[SLOT_OUT], untouched[SLOT_IN + GUARD];
    uint64_t gpa;
    unsigned i = 0;
    Slot *slot;

    while (i < SLOTS && fuzz->slots[i].busy) {
        i++;
    }
    if (i == SLOTS) {
        return;
    }
    slot = &fuzz->slots[i];
    gpa = fuzz->memory + SLOT_BYTES * i;
    slot->sense_bytes = fuzz->sense_bytes;
    fill_request(fuzz, step, bytes, slot, out);
    size_request(step, slot);
    slot->in = gpa + HEADER + fuzz->cdb_bytes + slot->n_out;
    memset(untouched, UNTOUCHED, sizeof(untouched));
    door_poke(&fuzz->at.door, gpa, out, SLOT_OUT);
    door_poke(&fuzz->at.door, slot->in, untouched, sizeof(untouched));
    add(fuzz, REQUESTS, gpa, HEADER + fuzz->cdb_bytes + slot->n_out,
        RESPONSE + fuzz->sense_bytes + slot->n_in, step->piece, i + 1);
}

static bool is_busy(const Fuzz *fuzz)
{
    for (unsigned i = 0; i < SLOTS; i++) {
        if (fuzz->slots[i].busy) {
            return true;
        }
    }
    return false;
}

static void wait_for_all(Fuzz *fuzz)
{
    VdsIoThread *thread = vds_virtio_device_get_io_thread(fuzz->at.door.device);

    for (unsigned i = 0; is_busy(fuzz) && !door_is_broken(&fuzz->at.door); i++) {
        g_assert(i < PATIENCE);
        if (i > 4) {
            g_usleep(20);
        }
        vds_io_thread_call(thread, door_round, NULL);
        collect(fuzz);
    }
}

/* Alone, so that it is known what it does to the disk. */
static void run(Fuzz *fuzz, const Step *step, const uint8_t *bytes)
{
    wait_for_all(fuzz);
    post(fuzz, step, bytes);
    wait_for_all(fuzz);
}

/* With others: reads may see what is written meanwhile. */
static void post_more(Fuzz *fuzz, const Step *step, const uint8_t *bytes)
{
    fuzz->known = false;
    post(fuzz, step, bytes);
}

static void take_turn(Fuzz *fuzz, const Step *step, const uint8_t *bytes)
{
    settle(fuzz);
}

/* A request that has no room for its header or its answer. */
static void post_short(Fuzz *fuzz, const Step *step, const uint8_t *bytes)
{
    uint32_t n_out = step->n_out[0], n_in = step->n_in[0];

    wait_for_all(fuzz);
    if (n_out < HEADER + fuzz->cdb_bytes || n_in < RESPONSE + fuzz->sense_bytes) {
        fuzz->lied = true;
        fuzz->slots[0].sense_bytes = fuzz->sense_bytes;
        add(fuzz, REQUESTS, fuzz->memory, n_out, n_in, step->piece, 1);
        settle(fuzz);
    }
}

/* Type, subtype, LUN and tag, or anything. */
static void manage(Fuzz *fuzz, const Step *step, const uint8_t *bytes)
{
    static const uint8_t sizes[] = {24, 16, 16};
    uint8_t task[64] = {step->number >> 4, [4] = step->number & 15};
    bool fits = step->fit & 3;
    uint64_t gpa;
    uint32_t n_out = fits ? sizes[task[0] % 3] : step->n_out[0] % 64u;
    uint32_t n_in = fits ? 5 : step->n_in[0] % 64u;

    fill_lun(step, task + (task[0] == 0 ? 8 : 4));
    task[16] = step->piece & 7;
    if (step->n_bytes > 0) {
        memcpy(task, bytes, MIN(step->n_bytes, sizeof(task)));
    }
    fuzz->lied |= !fits || task[0] > 2 || step->n_bytes > 0;
    gpa = fuzz->control + TASK_BYTES * fuzz->n_tasks++;
    door_poke(&fuzz->at.door, gpa, task, sizeof(task));
    add(fuzz, CONTROL, gpa, n_out, n_in, step->piece, n_in + 1);
}

static void offer_events(Fuzz *fuzz, const Step *step, const uint8_t *bytes)
{
    uint32_t len = 1 + step->n_in[0] % 32u;

    for (unsigned i = 0; i < 1 + step->number % 4u; i++) {
        add(fuzz, EVENT, fuzz->events, 0, len, step->piece, len + 1);
    }
}

static void set_sizes(Fuzz *fuzz, const Step *step, const uint8_t *bytes)
{
    uint8_t value[4] = {step->number, step->fit & 16 ? 1 : 0};
    bool sense = step->fit & 1;
    unsigned most = sense ? MAX_SENSE : MAX_CDB, least = sense ? 0 : 1;

    wait_for_all(fuzz);
    g_assert(vds_virtio_driver_write_config(fuzz->at.door.device,
                                            sense ? SENSE_AT : CDB_AT, value, 4, NULL));
    if (value[1] > 0 || value[0] > most || value[0] < least) {
        fuzz->lied = true;
    } else if (!door_is_broken(&fuzz->at.door)) {
        *(sense ? &fuzz->sense_bytes : &fuzz->cdb_bytes) = value[0];
    }
    settle(fuzz);
}

static void plug_or_unplug(Fuzz *fuzz, const Step *step, const uint8_t *bytes)
{
    if (!fuzz->has_disk) {
        plug_disk(fuzz);
    } else {
        g_assert(vds_machine_device_del(fuzz->at.door.machine, "d", NULL));
        fuzz->has_disk = false;
    }
    settle(fuzz);
}

static void stop_and_cont(Fuzz *fuzz, const Step *step, const uint8_t *bytes)
{
    vds_virtio_device_set_running(fuzz->at.door.device, false);
    settle(fuzz);
    vds_virtio_device_set_running(fuzz->at.door.device, true);
}

static void reset_queue(Fuzz *fuzz, const Step *step, const uint8_t *bytes)
{
    Door *door = &fuzz->at.door;
    unsigned n = step->number % 3u;

    settle(fuzz);
    if (vds_virtio_driver_reset_queue(door->device, n, NULL)) {
        g_clear_pointer(&door->rings[n], vds_driver_ring_free);
        fuzz_door_set_up(&fuzz->at, n, 4);
        fuzz->known = false;
        for (unsigned i = 0; n == REQUESTS && i < SLOTS; i++) {
            fuzz->slots[i].busy = false;
        }
    }
}

/* ---- life ---- */

static void begin(Fuzz *fuzz, uint8_t options)
{
    uint64_t drop = options & 2 ? 0 : DOOR_BIT(VDS_F_RING_PACKED);

    fuzz->read_only = options & 1;
    fuzz->lied = false;
    fuzz->n_tasks = 0;
    fuzz->known = !fuzz->read_only;
    fuzz->sense_bytes = 96;
    fuzz->cdb_bytes = 32;
    memset(fuzz->blocks, 0, DISK);
    memset(fuzz->slots, 0, sizeof(fuzz->slots));
    g_assert(pwrite(fuzz->fd, fuzz->blocks, DISK, 0) == DISK);
    door_find(&fuzz->at.door, fuzz->read_only ? "r" : "s");
    g_assert(fuzz_door_begin(&fuzz->at, drop, 2u << (options >> 2) % 8));
}

static void end(Fuzz *fuzz)
{
    settle(fuzz);
    fuzz_door_end(&fuzz->at);
    if (!fuzz->has_disk) {
        plug_disk(fuzz);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static void (*const ops[])(Fuzz *, const Step *, const uint8_t *) = {
        run,           run,
        run,           run,
        run,           run,
        post_more,     post_more,
        take_turn,     manage,
        offer_events,  set_sizes,
        post_short,    plug_or_unplug,
        stop_and_cont, reset_queue,
    };
    Fuzz *fuzz = get_fuzz();
    Step step;

    if (size == 0) {
        return 0;
    }
    begin(fuzz, data[0]);
    data++;
    size--;
    for (unsigned i = 0; i < STEPS && size >= sizeof(step); i++) {
        memcpy(&step, data, sizeof(step));
        data += sizeof(step);
        size -= sizeof(step);
        step.n_bytes = (uint8_t)MIN(step.n_bytes, size);
        ops[step.op % G_N_ELEMENTS(ops)](fuzz, &step, data);
        data += step.n_bytes;
        size -= step.n_bytes;
    }
    end(fuzz);
    return 0;
}
