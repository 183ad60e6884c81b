/*
 * A live ring between our driver's side and our device's, with a third hand that writes
 * into its memory.
 *
 * The input is a header (RingInput) and then steps of four bytes: what to do, and where.
 * What must hold for any input: calls end, what is refused is refused by a rule of that
 * side and moves nothing, a request is bounded and mapped, and the indices fit together.
 * A side goes on after a fault, which no caller does.
 */
#pragma once

#include <string.h>

#include "vds/vring.h"

enum {
    FUZZ_RING_BYTES = 0x1000,
    FUZZ_RING_DESC = 0x100, /* up to 32 descriptors */
    FUZZ_RING_AVAIL = 0x300,
    FUZZ_RING_USED = 0x380,
    FUZZ_RING_TABLES = 0x500, /* 32 of 4 entries */
    FUZZ_RING_DATA = 0xd00,
    FUZZ_RING_MAX_NUM = 32,
    FUZZ_RING_STEPS = 256,
};

typedef struct {
    uint8_t options; /* bits: event index, indirect, in order, tables; both 16 and 32:
                        a region a byte, which is slow */
    uint8_t num;     /* 1 to 32; split: a power of two */
} RingInput;

typedef struct {
    uint8_t op, a, b, c;
} RingStep;

typedef struct {
    VdsQueueState setup;
    unsigned flags;
    uint8_t *bytes; /* of the memory */
    VdsGuestMap *map;
    VdsVring *device;
    VdsDriverRing *driver;
    VdsRequest *held[FUZZ_RING_MAX_NUM];
    unsigned n_held;
} RingFuzz;

typedef void (*RingOp)(RingFuzz *fuzz, const RingStep *step);

static inline VdsGuestMap *fuzz_ring_map(uint8_t *bytes, bool scattered)
{
    size_t n = scattered ? FUZZ_RING_BYTES : 1;
    g_autofree VdsGuestRegion *regions = g_new0(VdsGuestRegion, n);
    g_autofree void **hva = g_new0(void *, n);

    for (size_t i = 0; i < n; i++) {
        regions[i] = (VdsGuestRegion){.gpa = i, .len = FUZZ_RING_BYTES / n, .fd = -1};
        hva[i] = bytes + i;
    }
    return vds_guest_map_new_from_memory(regions, n, hva, NULL);
}

/* True as it came; a fault must be one that this side tells. */
static inline bool fuzz_ring_result(bool ok, GError **fault, VdsRuleSides side)
{
    g_assert(ok == (*fault == NULL));
    if (!ok) {
        g_assert((*fault)->domain == VDS_VRING_FAULT);
        g_assert(vds_rule_info((VdsRule)(*fault)->code)->refused & side);
        g_clear_error(fault);
    }
    return ok;
}

static inline bool fuzz_ring_device(bool ok, GError **fault)
{
    return fuzz_ring_result(ok, fault, VDS_RULE_BY_DEVICE);
}

static inline bool fuzz_ring_driver(bool ok, GError **fault)
{
    return fuzz_ring_result(ok, fault, VDS_RULE_BY_DRIVER);
}

static inline VdsQueueState fuzz_ring_state(const RingFuzz *fuzz)
{
    VdsQueueState state = {0};

    vds_vring_get_state(fuzz->device, &state);
    g_assert(state.inuse <= state.num && fuzz->n_held <= state.num);
    g_assert(!state.packed ||
             (state.last_avail_idx < state.num && state.used_idx < state.num));
    g_assert(state.packed ||
             (uint16_t)(state.used_idx + state.inuse - state.last_avail_idx) == 0);
    return state;
}

/* ---- steps ---- */

static inline void fuzz_ring_add(RingFuzz *fuzz, const RingStep *step)
{
    VdsSpan spans[8];
    VdsBuffer buffer = {spans, step->a % 4, step->b % 4, fuzz};
    GError *fault = NULL;
    bool added = false, kick = false;

    for (unsigned i = 0; i < G_N_ELEMENTS(spans); i++) {
        spans[i] = (VdsSpan){FUZZ_RING_DATA + step->c, 1 + (uint32_t)step->c % 64 + i};
    }
    if (buffer.n_out + buffer.n_in > 0) {
        fuzz_ring_driver(vds_driver_ring_add(fuzz->driver, &buffer, &added, &fault),
                         &fault);
    }
    fuzz_ring_driver(vds_driver_ring_should_kick(fuzz->driver, &kick, &fault), &fault);
}

static inline void fuzz_ring_check_request(const RingFuzz *fuzz,
                                           const VdsRequest *request)
{
    uint64_t total = 0;

    g_assert(request->n_out + request->n_in >= 1);
    g_assert(request->n_out + request->n_in <= VDS_VRING_CHAIN_MAX);
    for (uint32_t i = 0; i < request->n_out + request->n_in; i++) {
        g_assert(request->spans[i].len > 0);
        g_assert(
            vds_guest_map_has(fuzz->map, request->spans[i].gpa, request->spans[i].len));
        total += request->spans[i].len;
    }
    g_assert(total == request->out_bytes + request->in_bytes);
    g_assert(request->slots >= 1 && request->slots <= FUZZ_RING_MAX_NUM);
}

/* Up to 7 under one look; a fault is about the one behind those that came. */
static inline void fuzz_ring_pop_some(RingFuzz *fuzz, const RingStep *step)
{
    const VdsQueueState before = fuzz_ring_state(fuzz);
    VdsRequest *requests[8];
    VdsQueueState after;
    GError *fault = NULL;
    uint32_t in_use = before.inuse;
    size_t n = 0;

    fuzz_ring_device(vds_vring_pop_some(fuzz->device, requests, step->b % 8, &n, &fault),
                     &fault);
    g_assert(n <= step->b % 8u);
    for (size_t i = 0; i < n; i++) {
        fuzz_ring_check_request(fuzz, requests[i]);
        in_use += before.packed ? requests[i]->slots : 1;
    }
    after = fuzz_ring_state(fuzz);
    g_assert(after.inuse <= in_use && after.inuse >= before.inuse);
    while (n > 0 && step->a % 8 == 0) {
        vds_vring_unpop(fuzz->device, requests[--n]);
        after = fuzz_ring_state(fuzz);
        g_assert(n > 0 || (after.last_avail_idx == before.last_avail_idx &&
                           after.last_avail_wrap == before.last_avail_wrap));
    }
    memcpy(fuzz->held + fuzz->n_held, requests, n * sizeof(requests[0]));
    fuzz->n_held += (unsigned)n;
}

static inline void fuzz_ring_pop(RingFuzz *fuzz, const RingStep *step)
{
    const VdsQueueState before = fuzz_ring_state(fuzz);
    VdsRequest *request = NULL;
    GError *fault = NULL;

    if (step->b % 8 > 0) {
        fuzz_ring_pop_some(fuzz, step);
        return;
    }
    if (!fuzz_ring_device(vds_vring_pop(fuzz->device, &request, &fault), &fault)) {
        VdsQueueState after = fuzz_ring_state(fuzz);

        g_assert(!request && after.last_avail_idx == before.last_avail_idx);
        g_assert(after.inuse == before.inuse);
    }
    if (!request) {
        return;
    }
    fuzz_ring_check_request(fuzz, request);
    if (step->a % 8 == 0) {
        VdsQueueState after;

        vds_vring_unpop(fuzz->device, request);
        after = fuzz_ring_state(fuzz);
        g_assert(after.last_avail_idx == before.last_avail_idx &&
                 after.last_avail_wrap == before.last_avail_wrap);
        return;
    }
    fuzz->held[fuzz->n_held++] = request;
}

static inline void fuzz_ring_push(RingFuzz *fuzz, const RingStep *step)
{
    VdsRequest *request = NULL;
    GError *fault = NULL;
    unsigned i = 0;

    if (fuzz->n_held == 0) {
        return;
    }
    i = step->a % fuzz->n_held;
    request = fuzz->held[i];
    fuzz->held[i] = fuzz->held[--fuzz->n_held];
    if (request->n_in > 0) { /* which may lie in the ring (S15) */
        g_assert(vds_guest_map_write(fuzz->map, request->spans[request->n_out].gpa,
                                     &step->c, 1, NULL));
    }
    fuzz_ring_device(vds_vring_push(fuzz->device, request,
                                    (uint32_t)MIN(request->in_bytes, step->b), &fault),
                     &fault);
}

static inline void fuzz_ring_push_all(RingFuzz *fuzz, const RingStep *step)
{
    GError *fault = NULL;

    for (unsigned i = 0; i < fuzz->n_held; i++) {
        fuzz->held[i]->written = (uint32_t)MIN(fuzz->held[i]->in_bytes, step->c);
    }
    fuzz_ring_device(vds_vring_push_some(fuzz->device, fuzz->held, fuzz->n_held, &fault),
                     &fault);
    fuzz->n_held = 0;
}

/* All that is there at once, shown before it is asked for an interrupt, or as it is. */
static inline void fuzz_ring_publish(RingFuzz *fuzz, const RingStep *step)
{
    GError *fault = NULL;
    bool interrupt = false;

    if (step->b & 1) {
        fuzz_ring_push_all(fuzz, step);
    }
    if (step->b & 2) {
        fuzz_ring_device(vds_vring_show(fuzz->device, &fault), &fault);
    }
    fuzz_ring_device((step->a & 1 ? vds_vring_notify
                                  : vds_vring_publish)(fuzz->device, &interrupt, &fault),
                     &fault);
}

static inline void fuzz_ring_get_used(RingFuzz *fuzz, const RingStep *step)
{
    GError *fault = NULL;
    VdsUsed used;

    if (fuzz_ring_driver(vds_driver_ring_get_used(fuzz->driver, &used, &fault), &fault)) {
        g_assert(!used.token || used.token == fuzz);
    }
    g_assert(vds_driver_ring_get_free(fuzz->driver) <= FUZZ_RING_MAX_NUM);
}

/* The third hand. */
static inline void fuzz_ring_poke(RingFuzz *fuzz, const RingStep *step)
{
    uint64_t gpa = (step->a | (uint64_t)step->b << 8) % FUZZ_RING_BYTES;

    g_assert(vds_guest_map_write(fuzz->map, gpa, &step->c, 1, NULL));
}

/* The same near the start of an area, where the words are. */
static inline void fuzz_ring_poke_word(RingFuzz *fuzz, const RingStep *step)
{
    static const uint64_t areas[] = {FUZZ_RING_DESC, FUZZ_RING_AVAIL, FUZZ_RING_USED,
                                     FUZZ_RING_TABLES};
    uint64_t gpa = areas[step->a % 4] + 2 * (step->a / 4u);
    const uint8_t word[] = {step->b, step->c};

    g_assert(vds_guest_map_write(fuzz->map, gpa, word, sizeof(word), NULL));
}

static inline void fuzz_ring_notify(RingFuzz *fuzz, const RingStep *step)
{
    GError *fault = NULL;
    bool more = false;

    if (step->a & 1) {
        fuzz_ring_device(vds_vring_set_notify(fuzz->device, step->b & 1, &more, &fault),
                         &fault);
    } else {
        fuzz_ring_driver(
            vds_driver_ring_set_interrupts(fuzz->driver, step->b & 1, &more, &fault),
            &fault);
    }
}

/* ---- the whole ---- */

static inline void fuzz_ring_run(RingFuzz *fuzz, const RingOp *ops, size_t n_ops,
                                 const uint8_t *data, size_t size)
{
    size_t n = MIN(size / sizeof(RingStep), FUZZ_RING_STEPS);

    for (size_t i = 0; i < n; i++) {
        RingStep step;

        memcpy(&step, data + i * sizeof(step), sizeof(step));
        ops[step.op % n_ops](fuzz, &step);
        fuzz_ring_state(fuzz);
    }
}

static inline uint32_t fuzz_ring_num(uint8_t given, bool packed)
{
    return packed ? 1u + given % FUZZ_RING_MAX_NUM : 1u << given % 6;
}

/* Memory and the driver's side. */
static inline void fuzz_ring_open(RingFuzz *fuzz, const RingInput *input, bool packed)
{
    const VdsDriverTables tables = {FUZZ_RING_TABLES, 4};

    *fuzz = (RingFuzz){.bytes = g_malloc0(FUZZ_RING_BYTES)};
    fuzz->map = fuzz_ring_map(fuzz->bytes, (input->options & 48) == 48);
    fuzz->setup = (VdsQueueState){.packed = packed,
                                  .num = fuzz_ring_num(input->num, packed),
                                  .event_idx = input->options & 1,
                                  .desc = FUZZ_RING_DESC,
                                  .avail = FUZZ_RING_AVAIL,
                                  .used = FUZZ_RING_USED,
                                  .map = fuzz->map};
    fuzz->flags = (input->options & 2 ? VDS_VRING_INDIRECT : 0u) |
                  (input->options & 4 ? VDS_VRING_IN_ORDER : 0u);
    fuzz->driver = vds_driver_ring_new(&fuzz->setup, fuzz->flags,
                                       input->options & 8 ? &tables : NULL, NULL);
    g_assert(fuzz->driver);
}

/* A device ends, with what it has. */
static inline void fuzz_ring_end_device(RingFuzz *fuzz)
{
    vds_vring_free(g_steal_pointer(&fuzz->device));
    while (fuzz->n_held > 0) {
        vds_request_free(fuzz->held[--fuzz->n_held]);
    }
}

static inline void fuzz_ring_close(RingFuzz *fuzz)
{
    fuzz_ring_end_device(fuzz);
    while (vds_driver_ring_take_back(fuzz->driver)) {
    }
    g_assert(vds_driver_ring_get_free(fuzz->driver) == fuzz->setup.num);
    vds_driver_ring_free(fuzz->driver);
    vds_guest_map_unref(fuzz->map);
    g_free(fuzz->bytes);
}

static inline void fuzz_ring(const uint8_t *data, size_t size, bool packed)
{
    static const RingOp ops[] = {
        fuzz_ring_add,      fuzz_ring_pop,  fuzz_ring_push,   fuzz_ring_publish,
        fuzz_ring_get_used, fuzz_ring_poke, fuzz_ring_notify, fuzz_ring_poke_word,
    };
    RingInput input;
    RingFuzz fuzz;

    if (size < sizeof(input)) {
        return;
    }
    memcpy(&input, data, sizeof(input));
    fuzz_ring_open(&fuzz, &input, packed);
    fuzz.device = vds_vring_new(&fuzz.setup, fuzz.flags, NULL);
    g_assert(fuzz.device);
    fuzz_ring_run(&fuzz, ops, G_N_ELEMENTS(ops), data + sizeof(input),
                  size - sizeof(input));
    fuzz_ring_close(&fuzz);
}
