/*
 * vring: driver and device in two threads that share nothing but the ring's memory.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <pthread.h>

#include "ring-sides.h"

typedef struct {
    Sides *sides;
    VdsGuestMap *map;
} DeviceThread;

static void *run_device(void *user)
{
    const DeviceThread *thread = user;

    device_side_run(thread->sides, thread->map);
    return NULL;
}

static void run_pair(const PairConfig *pair, unsigned jobs, bool plain, bool spin)
{
    const VdsGuestRamConfig config = {
        .kind = VDS_GUEST_RAM_MEMFD, .size = PAIR_BYTES, .seal = true};
    g_autoptr(VdsGuestRam) ram = vds_guest_ram_new(&config, NULL);
    VdsGuestMap *map = vds_guest_ram_get_map(ram);
    VDS_AUTO_FD kick = eventfd(0, EFD_CLOEXEC);
    VDS_AUTO_FD call = eventfd(0, EFD_CLOEXEC);
    Sides sides = {.config = *pair,
                   .jobs = jobs,
                   .plain = plain,
                   .spin = spin,
                   .kick.fd = kick,
                   .call.fd = call};
    DeviceThread thread = {&sides, map};
    g_autoptr(VdsDriverRing) driver = pair_driver(pair, map);
    pthread_t id;

    assert_int_equal(pthread_create(&id, NULL, run_device, &thread), 0);
    driver_side_run(&sides, map, driver);
    assert_int_equal(pthread_join(id, NULL), 0);
    assert_int_equal(vds_driver_ring_get_pending(driver), 0);
}

static void test_two_threads(void **state)
{
    for (size_t i = 0; i < 2 * G_N_ELEMENTS(sides_configs); i++) {
        run_pair(&sides_configs[i / 2], 5000, i % 2, false);
    }
}

/* Nothing but going to sleep and being woken. */
static void test_two_threads_that_nearly_sleep(void **state)
{
    for (size_t i = 0; i < G_N_ELEMENTS(sides_configs); i++) {
        PairConfig pair = sides_configs[i];

        pair.num = 1 + i % 2;
        run_pair(&pair, 40000, true, true);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_two_threads),
        cmocka_unit_test(test_two_threads_that_nearly_sleep),
    };

    return cmocka_run_group_tests_name("vring-threads", tests, NULL, NULL);
}
