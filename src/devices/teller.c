/*
 * devices: VdsTeller, a number of which others are told, not too often.  Refuses to know
 * what it counts.
 */
#include "teller-priv.h"

static void tell(VdsTeller *teller)
{
    if (teller->quiet || teller->value == teller->told) {
        return;
    }
    teller->told = teller->value;
    if (teller->tell) {
        teller->tell(teller->user, teller->value);
    }
    if (teller->timer) { /* none: then every change is told */
        teller->quiet = true;
        vds_io_timer_set(teller->timer, VDS_TELLER_MS * UINT64_C(1000000), 0);
    }
}

static void on_timer(void *user)
{
    VdsTeller *teller = user;

    teller->quiet = false;
    tell(teller);
}

void vds_teller_set(VdsTeller *teller, VdsIoThread *thread, uint32_t value)
{
    teller->value = value;
    if (value != teller->told && !teller->timer && teller->tell) {
        teller->timer = vds_io_timer_new(thread, on_timer, teller, NULL);
    }
    tell(teller);
}

void vds_teller_reset(VdsTeller *teller, uint32_t value)
{
    vds_io_timer_free(g_steal_pointer(&teller->timer));
    teller->quiet = false;
    teller->value = teller->told = value;
}
