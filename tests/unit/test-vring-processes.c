/*
 * vring: driver and device in two processes that map one file at different addresses; in
 * the second half of the rows the file is not sealed, so that every access is guarded.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <sys/wait.h>

#include "ring-sides.h"

/* Its own mapping: the parent's, inherited, still holds the other address. */
static void run_device(Sides *sides, int fd)
{
    const VdsGuestRegion region = {.len = PAIR_BYTES, .fd = fd};
    g_autoptr(VdsGuestMap) map = vds_guest_map_new_writable(&region, 1, NULL);

    g_assert_nonnull(map);
    device_side_run(sides, map);
}

static void run_pair(const PairConfig *pair, bool sealed)
{
    const VdsGuestRamConfig config = {
        .kind = VDS_GUEST_RAM_MEMFD, .size = PAIR_BYTES, .seal = sealed};
    g_autoptr(VdsGuestRam) ram = vds_guest_ram_new(&config, NULL);
    VdsGuestMap *map = vds_guest_ram_get_map(ram);
    VDS_AUTO_FD kick = eventfd(0, EFD_CLOEXEC);
    VDS_AUTO_FD call = eventfd(0, EFD_CLOEXEC);
    Sides sides = {.config = *pair,
                   .jobs = 10000,
                   .plain = !sealed,
                   .kick.fd = kick,
                   .call.fd = call};
    g_autoptr(VdsDriverRing) driver = pair_driver(&sides.config, map);
    pid_t child = fork();
    int status = -1;

    assert_true(child >= 0);
    if (child == 0) {
        run_device(&sides, vds_guest_ram_get_fd(ram));
        _exit(0);
    }
    driver_side_run(&sides, map, driver);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    assert_int_equal(vds_driver_ring_get_pending(driver), 0);
}

static void test_two_processes(void **state)
{
    for (size_t i = 0; i < 2 * G_N_ELEMENTS(sides_configs); i++) {
        run_pair(&sides_configs[i % G_N_ELEMENTS(sides_configs)],
                 i < G_N_ELEMENTS(sides_configs));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_two_processes),
    };

    return cmocka_run_group_tests_name("vring-processes", tests, NULL, NULL);
}
