/*
 * vring: the driver's side, as far as the two formats have it in common.
 *
 * One piece for built-in guests, tests, fuzzers and benchmarks.  Owns the tokens and the
 * free descriptors; allocates nothing after it was made.  Refuses to know what a buffer
 * is for.
 */
#include "driver-priv.h"

/* ---- free descriptors ---- */

uint16_t vds_driver_take_free(VdsDriverRing *ring)
{
    uint16_t id = ring->free_head;

    ring->free_head = ring->next[id];
    ring->n_listed--;
    return id;
}

void vds_driver_give_free(VdsDriverRing *ring, uint16_t id)
{
    if (ring->n_listed == 0) {
        ring->free_head = ring->free_tail = id;
    } else if (ring->in_order) {
        ring->next[ring->free_tail] = id;
        ring->free_tail = id;
    } else {
        ring->next[id] = ring->free_head;
        ring->free_head = id;
    }
    ring->n_listed++;
}

/* ---- the ring ---- */

static bool zero_area(const VdsDriverRing *ring, const VdsGuestArea *area, GError **fault)
{
    return vds_guest_map_discard(ring->map, area->gpa, area->len, fault);
}

static bool init_memory(VdsDriverRing *ring, const VdsDriverTables *tables,
                        GError **fault)
{
    if (tables && tables->entries > 0) {
        uint64_t bytes = UINT64_C(16) * tables->entries * ring->num;

        g_assert(tables->entries <= VDS_INDIRECT_MAX);
        if (!vds_guest_map_has(ring->map, tables->gpa, bytes)) {
            return vds_vring_fault(fault, VDS_RULE_I5,
                                   "tables at 0x%" PRIx64 ", length %" PRIu64
                                   ", are not mapped",
                                   tables->gpa, bytes);
        }
        if (!vds_guest_area_init(&ring->tables, ring->map, tables->gpa, bytes, 8,
                                 fault)) {
            return false;
        }
        ring->table_entries = tables->entries;
    }
    return zero_area(ring, &ring->areas.desc, fault) &&
           zero_area(ring, &ring->areas.avail, fault) &&
           zero_area(ring, &ring->areas.used, fault);
}

VdsDriverRing *vds_driver_ring_new(const VdsQueueState *setup, unsigned flags,
                                   const VdsDriverTables *tables, GError **fault)
{
    g_autoptr(VdsDriverRing) ring = g_new0(VdsDriverRing, 1);

    if (!vds_vring_result(&ring->areas, vds_ring_areas_init(&ring->areas, setup, fault),
                          fault)) {
        return NULL;
    }
    ring->ops = setup->packed ? &vds_driver_packed_ops : &vds_driver_split_ops;
    ring->map = vds_guest_map_ref(setup->map);
    ring->num = ring->n_free = ring->n_listed = setup->num;
    ring->event_idx = setup->event_idx;
    ring->in_order = flags & VDS_VRING_IN_ORDER;
    ring->interrupts = true;
    ring->avail_wrap = ring->used_wrap = true;
    if (!vds_vring_result(
            &ring->areas,
            init_memory(ring, flags & VDS_VRING_INDIRECT ? tables : NULL, fault),
            fault)) {
        return NULL;
    }
    ring->states = g_new0(BufferState, ring->num);
    ring->next = g_new(uint16_t, ring->num);
    for (uint32_t i = 0; i < ring->num; i++) {
        ring->next[i] = (uint16_t)(i + 1);
    }
    ring->free_tail = (uint16_t)(ring->num - 1);
    return g_steal_pointer(&ring);
}

void vds_driver_ring_free(VdsDriverRing *ring)
{
    if (ring) {
        vds_guest_map_unref(ring->map);
        g_free(ring->states);
        g_free(ring->next);
        g_free(ring);
    }
}

uint32_t vds_driver_ring_get_free(const VdsDriverRing *ring)
{
    return ring->n_free;
}

uint32_t vds_driver_ring_get_pending(const VdsDriverRing *ring)
{
    return ring->n_pending;
}

/* ---- adding ---- */

static void remember(VdsDriverRing *ring, uint16_t id, const VdsBuffer *buffer,
                     uint32_t slots)
{
    BufferState *state = &ring->states[id];

    *state = (BufferState){.token = buffer->token, .slots = (uint16_t)slots};
    for (uint32_t i = buffer->n_out; i < buffer_spans(buffer); i++) {
        state->in_bytes += buffer->spans[i].len;
    }
    if (ring->n_pending++ == 0) {
        ring->oldest = id;
    } else {
        ring->states[ring->youngest].younger = id;
    }
    ring->youngest = id;
}

bool vds_driver_ring_add(VdsDriverRing *ring, const VdsBuffer *buffer, bool *added,
                         GError **fault)
{
    uint32_t n = buffer_spans(buffer);
    bool table = n > 1 && n <= ring->table_entries;
    uint32_t slots = table ? 1 : n;
    uint16_t id = 0;

    g_assert(n > 0 && buffer->token);
    *added = slots <= ring->n_free;
    if (!*added) {
        return true;
    }
    if (!ring->ops->add(ring, buffer, table, &id, fault) ||
        !vds_ring_areas_are_whole(&ring->areas)) {
        return vds_vring_result(&ring->areas, false, fault);
    }
    ring->n_free -= slots;
    remember(ring, id, buffer, slots);
    return true;
}

bool vds_driver_ring_should_kick(VdsDriverRing *ring, bool *kick, GError **fault)
{
    *kick = false;
    if (ring->added == 0) {
        return true;
    }
    /* Pairs with the fence in the device's arming: either we see what it asks for, or it
     * sees what we made available. */
    atomic_thread_fence(memory_order_seq_cst);
    return vds_vring_result(&ring->areas, ring->ops->should_kick(ring, kick, fault),
                            fault);
}

/* ---- used buffers ---- */

static bool arm(VdsDriverRing *ring, GError **fault)
{
    if (ring->armed) {
        return true;
    }
    if (!ring->ops->arm(ring, fault)) {
        return false;
    }
    /* Pairs with the fence in vds_vring_publish(): either the device sees what we ask
     * for, or we see what it used. */
    atomic_thread_fence(memory_order_seq_cst);
    ring->armed = true;
    return true;
}

static bool find_used(VdsDriverRing *ring, bool *used, GError **fault)
{
    bool armed = ring->armed;

    if (!ring->ops->has_used(ring, used, fault)) {
        return false;
    }
    if (*used || !ring->interrupts || armed) {
        return true;
    }
    return arm(ring, fault) && ring->ops->has_used(ring, used, fault);
}

/* Forgets a buffer and takes its descriptors back. */
static void *finish(VdsDriverRing *ring, uint16_t id, bool used)
{
    void *token = ring->states[id].token;

    if (id == ring->oldest) {
        ring->oldest = ring->states[id].younger;
    }
    ring->ops->recycle(ring, id, used);
    ring->n_free += ring->states[id].slots;
    ring->states[id].token = NULL;
    ring->n_pending--;
    return token;
}

static bool use(VdsDriverRing *ring, uint16_t id, uint32_t len, VdsUsed *used,
                GError **fault)
{
    if (len > ring->states[id].in_bytes) {
        return vds_vring_fault(fault, VDS_RULE_S8,
                               "buffer %u has %" PRIu32 " bytes written, it has room for"
                               " %" PRIu64,
                               id, len, ring->states[id].in_bytes);
    }
    ring->armed = ring->armed && !ring->event_idx;
    *used = (VdsUsed){finish(ring, id, true), len};
    return true;
}

/* In order: one entry stands for all buffers up to its own; those before it count as
 * written to the full (2.7.9, 2.8.8). */
static bool use_next_of_batch(VdsDriverRing *ring, VdsUsed *used, GError **fault)
{
    uint16_t id = ring->oldest;
    bool last = id == ring->batch_id;
    uint32_t full = (uint32_t)MIN(ring->states[id].in_bytes, UINT32_MAX);

    if (!use(ring, id, last ? ring->batch_len : full, used, fault)) {
        return false;
    }
    ring->in_batch = !last;
    return true;
}

/* An entry of a younger buffer while an older one is not used, by what `most` says.  id
 * is one that the device has. */
static bool begin_batch(VdsDriverRing *ring, uint16_t id, uint32_t most, GError **fault)
{
    uint32_t n = 1;

    for (uint16_t older = ring->oldest; older != id;
         older = ring->states[older].younger) {
        n++;
    }
    if (n > most) {
        return vds_vring_fault(fault, VDS_RULE_P9,
                               "used id %u is %" PRIu32
                               " buffers on, and used.idx says %" PRIu32,
                               id, n, most);
    }
    ring->in_batch = true;
    return true;
}

static bool get_used(VdsDriverRing *ring, VdsUsed *used, GError **fault)
{
    bool found = false;
    uint16_t id = 0;
    uint32_t len = 0, most = 0;

    if (ring->in_batch) {
        return use_next_of_batch(ring, used, fault);
    }
    if (!find_used(ring, &found, fault)) {
        return false;
    }
    /* Nothing, and no entry, is believed of zeroes. */
    if (!found) {
        return vds_ring_areas_are_whole(&ring->areas);
    }
    if (!ring->ops->read_used(ring, &id, &len, &most, fault) ||
        !vds_ring_areas_are_whole(&ring->areas)) {
        return false;
    }
    if (!ring->states[id].token) {
        return vds_vring_fault(fault, VDS_RULE_S7,
                               "used id %u is no buffer that the device has", id);
    }
    if (!ring->in_order) {
        return use(ring, id, len, used, fault);
    }
    ring->batch_id = id;
    ring->batch_len = len;
    return begin_batch(ring, id, most, fault) && use_next_of_batch(ring, used, fault);
}

bool vds_driver_ring_get_used(VdsDriverRing *ring, VdsUsed *used, GError **fault)
{
    *used = (VdsUsed){NULL, 0};
    return get_used(ring, used, fault) || vds_vring_result(&ring->areas, false, fault);
}

bool vds_driver_ring_set_interrupts(VdsDriverRing *ring, bool enable, bool *more,
                                    GError **fault)
{
    bool used = false;

    ring->interrupts = enable;
    if (!enable) {
        ring->armed = false;
        return vds_vring_result(&ring->areas, ring->ops->disarm(ring, fault), fault);
    }
    if (!vds_vring_result(&ring->areas,
                          arm(ring, fault) && ring->ops->has_used(ring, &used, fault),
                          fault)) {
        return false;
    }
    if (more) {
        *more = used || ring->in_batch;
    }
    return true;
}

void *vds_driver_ring_take_back(VdsDriverRing *ring)
{
    for (uint32_t id = 0; ring->n_pending > 0 && id < ring->num; id++) {
        if (ring->states[id].token) {
            return finish(ring, (uint16_t)id, false);
        }
    }
    return NULL;
}
