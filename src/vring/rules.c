/*
 * vring: the rules of a ring, and how a breach is told.
 *
 * Owns the one table of what is refused and what is allowed.  A rule that the
 * specification makes a driver's MUST is refused where the device would otherwise act on
 * it or where QEMU refuses too; what harms nobody but the guest itself is allowed.
 */
#include <stdarg.h>

#include "live-priv.h"

VDS_DEFINE_QUARK(vds_vring_fault_quark, "vds-vring-fault-quark")

enum { DEVICE = VDS_RULE_BY_DEVICE, DRIVER = VDS_RULE_BY_DRIVER };

static const VdsRuleInfo rules[VDS_RULE_COUNT] = {
    [VDS_RULE_C1] = {"C1", "the ring size is 0, over 32768, or (split) no power of two",
                     DEVICE | DRIVER, NULL},
    [VDS_RULE_C2] = {"C2", "an area is not aligned", DEVICE | DRIVER, NULL},
    [VDS_RULE_C3] = {"C3", "an area is not mapped, or ends beyond 2^64", DEVICE | DRIVER,
                     NULL},
    [VDS_RULE_C4] = {"C4", "two areas overlap", DEVICE | DRIVER,
                     "no layout of a driver does, and both sides would write over it"},
    [VDS_RULE_C5] = {"C5", "the event word at an area's end is not mapped",
                     DEVICE | DRIVER, "reported as C3: it is part of the area"},
    [VDS_RULE_S1] = {"S1", "a head is outside the ring", DEVICE, NULL},
    [VDS_RULE_S2] = {"S2", "next is outside the ring or the table", DEVICE, NULL},
    [VDS_RULE_S3] = {"S3", "a chain has more descriptors than the ring or the table",
                     DEVICE, NULL},
    [VDS_RULE_S4] = {"S4", "avail.idx jumps by more than the ring has free, or back",
                     DEVICE, NULL},
    [VDS_RULE_S5] = {"S5", "used.idx is ahead of what was made available", DRIVER, NULL},
    [VDS_RULE_S6] = {"S6", "a head is made available again before it was used", DEVICE,
                     NULL},
    [VDS_RULE_S7] = {"S7", "a used id is no head of a buffer with the device", DRIVER,
                     NULL},
    [VDS_RULE_S8] = {"S8", "a used length is over what the device may write", DRIVER,
                     NULL},
    [VDS_RULE_S9] = {"S9", "a readable descriptor follows a writable one", DEVICE, NULL},
    [VDS_RULE_S10] = {"S10", "a descriptor has length 0", DEVICE,
                      "not forbidden; QEMU refuses it, so a driver is better told"},
    [VDS_RULE_S11] = {"S11", "a buffer ends beyond 2^64", DEVICE, NULL},
    [VDS_RULE_S12] = {"S12", "a buffer is not mapped", DEVICE, NULL},
    [VDS_RULE_S13] = {"S13", "a chain has more than 2^32 bytes", DEVICE, NULL},
    [VDS_RULE_S14] = {"S14", "two chains share a descriptor", 0,
                      "the device copies descriptors when it pops; heads are told apart"},
    [VDS_RULE_S15] = {"S15", "a buffer lies in the ring", 0,
                      "the guest's own memory; the ring is checked each time it is read"},
    [VDS_RULE_S16] = {"S16", "a descriptor has unknown flags", 0,
                      "reserved bits are ignored, so that later drivers work"},
    [VDS_RULE_S17] = {"S17", "the avail or used flags have unknown bits", 0,
                      "reserved bits are ignored"},
    [VDS_RULE_I1] = {"I1", "an indirect table was not negotiated", DEVICE, NULL},
    [VDS_RULE_I2] = {"I2", "a table in a table (split)", DEVICE,
                     "in a packed table the flag is reserved, and ignored"},
    [VDS_RULE_I3] = {"I3",
                     "a table's length is 0, no multiple of 16, or over 65536 entries",
                     DEVICE, NULL},
    [VDS_RULE_I4] = {"I4", "INDIRECT together with NEXT, or (packed) inside a list",
                     DEVICE, NULL},
    [VDS_RULE_I5] = {"I5", "a table is not mapped", DEVICE,
                     "it may span regions that touch"},
    [VDS_RULE_I6] = {"I6", "a chain has more descriptors than the ring's size and 1024",
                     DEVICE, "up to 1024 as in QEMU: Windows drivers exceed the ring"},
    [VDS_RULE_P1] = {"P1", "AVAIL and USED fit neither wrap counter", 0,
                     "what is not available is not looked at"},
    [VDS_RULE_P2] = {"P2", "a used buffer id is none that the driver gave", DRIVER,
                     "a device takes any id: it is the driver's own word"},
    [VDS_RULE_P3] = {"P3", "a buffer id is made available again before it was used",
                     DEVICE, NULL},
    [VDS_RULE_P4] = {"P4", "a list crosses a slot that is not available, or is in use",
                     DEVICE, NULL},
    [VDS_RULE_P5] = {"P5", "an event offset is outside the ring", DEVICE | DRIVER, NULL},
    [VDS_RULE_P6] = {"P6", "event flags have the reserved value 3", DEVICE | DRIVER,
                     NULL},
    [VDS_RULE_P7] = {"P7", "an event for one descriptor without EVENT_IDX",
                     DEVICE | DRIVER, NULL},
    [VDS_RULE_P8] = {"P8", "the next used slot is not where the last buffer ended", 0,
                     "looks like nothing used: each side skips by its own count"},
    [VDS_RULE_P9] = {"P9", "in order, buffers are used out of order", DRIVER,
                     "split: at once; else as S7, since what is skipped counts as used"},
    [VDS_RULE_R6] = {"R6", "guest memory vanished", DEVICE | DRIVER, NULL},
    [VDS_RULE_R7] = {"R7", "a big-endian ring", DEVICE | DRIVER,
                     "live rings are little-endian; a legacy guest's is only inspected"},
    [VDS_RULE_R8] = {"R8", "the memory is mapped for reading only", DEVICE | DRIVER,
                     NULL},
};

const VdsRuleInfo *vds_rule_info(VdsRule rule)
{
    g_assert((unsigned)rule < VDS_RULE_COUNT);
    return &rules[rule];
}

bool vds_vring_fault(GError **fault, VdsRule rule, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    if (fault) {
        g_autofree char *text = g_strdup_vprintf(format, args);

        g_set_error(fault, VDS_VRING_FAULT, (int)rule, "%s: %s", rules[rule].id, text);
    }
    va_end(args);
    return false;
}

/* (nullable) the one that is not. */
static const VdsGuestArea *find_gone(const VdsRingAreas *areas)
{
    const VdsGuestArea *all[] = {&areas->desc, &areas->avail, &areas->used};

    for (size_t i = 0; i < G_N_ELEMENTS(all); i++) {
        if (!vds_guest_area_is_whole(all[i])) {
            return all[i];
        }
    }
    return NULL;
}

static void set_r6(GError **fault, const char *why)
{
    vds_vring_fault(fault, VDS_RULE_R6, "%s", why);
}

bool vds_vring_result(const VdsRingAreas *areas, bool ok, GError **fault)
{
    const VdsGuestArea *gone = find_gone(areas);
    g_autoptr(GError) memory = NULL;

    if (G_LIKELY(ok && !gone)) {
        return true;
    }
    if (gone) {
        vds_guest_area_check(gone, &memory);
        if (fault) {
            g_clear_error(fault);
        }
        set_r6(fault, memory->message);
    } else if (fault && (*fault)->domain == VDS_GUESTMEM_ERROR) {
        memory = g_steal_pointer(fault);
        set_r6(fault, memory->message);
    }
    return false;
}
