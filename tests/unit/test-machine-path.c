/*
 * machine: paths, canonical and partial, as QOM resolves them; and what ten thousand
 * devices cost.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "toy-devices.h"

static void test_find(void **state)
{
    static const struct {
        const char *path;
        const char *canonical; /* NULL: not found */
    } rows[] = {
        {"/machine/peripheral/r0/virtio-backend",
         "/machine/peripheral/r0/virtio-backend"},
        {"/machine/peripheral/r0/virtio-backend/",
         "/machine/peripheral/r0/virtio-backend"},
        {"//machine//peripheral/r0/virtio-backend",
         "/machine/peripheral/r0/virtio-backend"},
        {"r0/virtio-backend", "/machine/peripheral/r0/virtio-backend"},
        {"r0//virtio-backend/", "/machine/peripheral/r0/virtio-backend"},
        {"peripheral/r0/virtio-backend", "/machine/peripheral/r0/virtio-backend"},
        {"machine/peripheral/r0/virtio-backend", "/machine/peripheral/r0/virtio-backend"},
        {"device[0]/virtio-backend", "/machine/peripheral-anon/device[0]/virtio-backend"},
        {"m0", "/machine/peripheral/m0"},
        {"/machine/peripheral/m0", "/machine/peripheral/m0"},
        {"virtio-backend", NULL}, /* several */
        {"r0", NULL},             /* the PCI device is no virtio device */
        {"/machine/peripheral/r0", NULL},
        {"/machine/peripheral", NULL},
        {"r0/nope", NULL},
        {"nope/virtio-backend", NULL},
        {"machine/r0/virtio-backend", NULL},
        {"/r0/virtio-backend", NULL},
        {"/", NULL},
        {"", NULL},
        {"///", NULL},
    };
    g_autoptr(VdsMachine) machine = vds_machine_new("toy", toy_classes);

    assert_true(toy_add(machine, "driver=toy,id=r0", NULL));
    assert_true(toy_add(machine, "driver=toy", NULL));
    assert_true(toy_add(machine, "driver=toy-device,id=m0", NULL));
    for (size_t i = 0; i < G_N_ELEMENTS(rows); i++) {
        const char *canonical = NULL;
        VdsVirtioDevice *device = vds_machine_find(machine, rows[i].path, &canonical);

        if (rows[i].canonical) {
            assert_non_null(device);
            assert_string_equal(canonical, rows[i].canonical);
            assert_ptr_equal(device, vds_machine_find(machine, rows[i].canonical, NULL));
        } else {
            assert_null(device);
            assert_null(canonical);
        }
    }
}

/* A partial path becomes unambiguous when the other device goes. */
static void test_ambiguity_ends(void **state)
{
    g_autoptr(VdsMachine) machine = vds_machine_new("toy", toy_classes);
    const char *canonical;

    assert_true(toy_add(machine, "driver=toy,id=a", NULL));
    assert_true(toy_add(machine, "driver=toy,id=b", NULL));
    assert_true(toy_add(machine, "driver=toy,id=c", NULL));
    assert_null(vds_machine_find(machine, "virtio-backend", NULL));
    assert_true(vds_machine_device_del(machine, "a", NULL));
    assert_null(vds_machine_find(machine, "virtio-backend", NULL));
    assert_true(vds_machine_device_del(machine, "c", NULL));
    assert_non_null(vds_machine_find(machine, "virtio-backend", &canonical));
    assert_string_equal(canonical, "/machine/peripheral/b/virtio-backend");
}

static int64_t time_finds(const VdsMachine *machine, const char *path)
{
    int64_t best = INT64_MAX;

    for (int round = 0; round < 5; round++) {
        int64_t start = g_get_monotonic_time();

        for (int i = 0; i < 2000; i++) {
            assert_non_null(vds_machine_find(machine, path, NULL));
        }
        best = MIN(best, g_get_monotonic_time() - start);
    }
    return best;
}

/* Neither kind of look-up is linear: with a hundred times the devices it takes at most
 * a few times as long (cold caches), where a walk would take a hundred times. */
static void test_look_up_does_not_grow(void **state)
{
    static const char *const paths[] = {"/machine/peripheral/d7/virtio-backend",
                                        "d7/virtio-backend"};
    g_autoptr(VdsMachine) machine = vds_machine_new("toy", toy_classes);
    int64_t few[G_N_ELEMENTS(paths)] = {0};

    for (int i = 0; i < 10000; i++) {
        g_autofree char *text = g_strdup_printf("driver=toy,id=d%d", i);

        if (i == 100) {
            for (size_t k = 0; k < G_N_ELEMENTS(paths); k++) {
                few[k] = time_finds(machine, paths[k]);
            }
        }
        assert_true(toy_add(machine, text, NULL));
    }
    assert_int_equal(vds_machine_count(machine), 10000);
    for (size_t k = 0; k < G_N_ELEMENTS(paths); k++) {
        assert_true(time_finds(machine, paths[k]) < 10 * few[k] + 2000);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_find),
        cmocka_unit_test(test_ambiguity_ends),
        cmocka_unit_test(test_look_up_does_not_grow),
    };

    return cmocka_run_group_tests_name("machine-path", tests, NULL, NULL);
}
