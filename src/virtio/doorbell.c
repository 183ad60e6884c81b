/*
 * virtio: VdsDoorbell, one eventfd with a bit a queue: kicks in one direction, interrupts
 * in the other.  A bit that waits is not rung again, so a busy queue costs no system
 * call.  Knows no device.
 */
#include <errno.h>
#include <sys/eventfd.h>

#include "device-priv.h"

struct VdsDoorbell {
    int fd;
    unsigned n_words;
    unsigned first; /* where the next take begins */
    _Atomic uint64_t words[];
};

VdsDoorbell *vds_doorbell_new(unsigned n_bits, GError **error)
{
    unsigned n_words = (n_bits + 63) / 64;
    int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    VdsDoorbell *bell;

    if (fd < 0) {
        g_set_error(error, VDS_VIRTIO_ERROR, VDS_VIRTIO_ERROR_SYSTEM, "eventfd: %s",
                    g_strerror(errno));
        return NULL;
    }
    bell = g_malloc0(sizeof(VdsDoorbell) + n_words * sizeof(uint64_t));
    bell->fd = fd;
    bell->n_words = n_words;
    return bell;
}

void vds_doorbell_free(VdsDoorbell *bell)
{
    if (bell) {
        vds_fd_close(&bell->fd);
        g_free(bell);
    }
}

int vds_doorbell_get_fd(const VdsDoorbell *bell)
{
    return bell->fd;
}

void vds_doorbell_ring(VdsDoorbell *bell, unsigned bit)
{
    uint64_t mask = UINT64_C(1) << (bit % 64);

    /* Release: pairs with the exchange in take, also when the bit was set already. */
    if (!(atomic_fetch_or_explicit(&bell->words[bit / 64], mask, memory_order_acq_rel) &
          mask)) {
        (void)eventfd_write(bell->fd, 1); /* full counter: readable all the same */
    }
}

static unsigned take_word(uint64_t word, unsigned first, VdsInterruptFunc func,
                          void *user)
{
    unsigned n = 0;

    while (word != 0) {
        unsigned bit = (unsigned)__builtin_ctzll(word);

        word &= word - 1;
        func(first + bit, user);
        n++;
    }
    return n;
}

void vds_doorbell_begin_at(VdsDoorbell *bell, unsigned bit)
{
    bell->first = bit;
}

/* Those of a word that are set in the mask. */
static unsigned take_part(VdsDoorbell *bell, unsigned word, uint64_t mask,
                          VdsInterruptFunc func, void *user)
{
    _Atomic uint64_t *bits = &bell->words[word];

    if ((atomic_load_explicit(bits, memory_order_relaxed) & mask) == 0) {
        return 0;
    }
    return take_word(atomic_fetch_and_explicit(bits, ~mask, memory_order_acq_rel) & mask,
                     word * 64, func, user);
}

unsigned vds_doorbell_take(VdsDoorbell *bell, VdsInterruptFunc func, void *user)
{
    unsigned word = bell->first / 64, n = 0;
    uint64_t before = (UINT64_C(1) << (bell->first % 64)) - 1;
    eventfd_t count;

    bell->first = 0;
    /* First: a bit that is set in between rings again. */
    (void)eventfd_read(bell->fd, &count);
    n += take_part(bell, word, ~before, func, user);
    for (unsigned i = 1; i < bell->n_words; i++) {
        n += take_part(bell, (word + i) % bell->n_words, UINT64_MAX, func, user);
    }
    return n + take_part(bell, word, before, func, user);
}
