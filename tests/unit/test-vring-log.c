/*
 * vring and guestmem: the dirty log says which pages the device's side wrote: all of
 * them, and no other.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <sys/eventfd.h>
#include <sys/mman.h>

#include "ring-pair.h"

enum { PAGES = (PAIR_BYTES + VDS_DIRTY_PAGE - 1) / VDS_DIRTY_PAGE, LOG_BYTES = 64 };

typedef struct {
    uint8_t bytes[PAIR_BYTES], before[PAIR_BYTES];
    uint8_t *bits; /* the log's file, as a front-end sees it */
    int log_fd;
    VdsDirtyLog *log;
    VdsGuestMap *plain, *logged;
} Fixture;

static void fixture_init(Fixture *fixture)
{
    const VdsGuestRegion region = {0, PAIR_BYTES, -1, 0, 0, NULL};
    void *hva = fixture->bytes;

    memset(fixture->bytes, 0, sizeof(fixture->bytes));
    fixture->log_fd = memfd_create("test-log", MFD_CLOEXEC);
    assert_int_equal(ftruncate(fixture->log_fd, LOG_BYTES), 0);
    fixture->bits =
        mmap(NULL, LOG_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fixture->log_fd, 0);
    fixture->log = vds_dirty_log_new(
        &(VdsGuestRegion){.fd = fixture->log_fd, .offset = 0, .len = LOG_BYTES}, NULL);
    fixture->plain = vds_guest_map_new_from_memory(&region, 1, &hva, NULL);
    fixture->logged = vds_guest_map_with_log(fixture->plain, fixture->log, NULL);
    assert_non_null(fixture->logged);
}

static void fixture_clear(Fixture *fixture)
{
    vds_guest_map_unref(fixture->plain);
    vds_guest_map_unref(fixture->logged);
    vds_dirty_log_unref(fixture->log);
    munmap(fixture->bits, LOG_BYTES);
    close(fixture->log_fd);
}

static bool is_marked(const Fixture *fixture, unsigned page)
{
    return (fixture->bits[page / 8] >> (page % 8)) & 1;
}

static void watch(Fixture *fixture)
{
    memcpy(fixture->before, fixture->bytes, PAIR_BYTES);
    memset(fixture->bits, 0, LOG_BYTES);
}

/* `may`: a page of words that are stored again as they were, such as events. */
static void compare(const Fixture *fixture, unsigned may)
{
    for (unsigned page = 0; page < LOG_BYTES * 8; page++) {
        size_t at =
            MIN((size_t)page * VDS_DIRTY_PAGE, PAIR_BYTES); /* the log is longer */
        size_t len = MIN(VDS_DIRTY_PAGE, PAIR_BYTES - at);
        bool changed = memcmp(fixture->bytes + at, fixture->before + at, len) != 0;

        if (page != may || changed) {
            assert_int_equal(is_marked(fixture, page), changed);
        }
    }
}

static const PairConfig configs[] = {
    {.num = 8},
    {.event_idx = true, .num = 64},
    {.indirect = true, .event_idx = true, .num = 16},
    {.in_order = true, .num = 16},
    {.packed = true, .num = 8},
    {.packed = true, .event_idx = true, .num = 60},
    {.packed = true, .indirect = true, .num = 16},
    {.packed = true, .in_order = true, .event_idx = true, .num = 16},
};

/* What the device is to write is not there yet by chance. */
static void spoil_answer(const Job *job, const VdsGuestMap *map)
{
    uint8_t bytes[PAIR_JOB_BYTES];

    for (uint32_t i = 0; i < job->in_bytes; i++) {
        bytes[i] = pair_byte(~job->sequence, i) ^ 0xff;
    }
    pair_copy(map, job->spans + job->n_out, job->n_in, bytes, true);
}

/* Batches of jobs; the driver's writes, which are not ours, go past the log. */
static void run(const PairConfig *config)
{
    g_autofree Fixture *fixture = g_new(Fixture, 1);
    g_autoptr(GRand) rand = g_rand_new_with_seed(config->num);
    g_autoptr(VdsDriverRing) driver = NULL;
    g_autoptr(VdsVring) device = NULL;
    uint32_t sequence = 1;

    fixture_init(fixture);
    driver = pair_driver(config, fixture->plain);
    device = pair_device(config, fixture->logged);
    vds_vring_set_log(device, true, PAIR_USED);
    for (unsigned round = 0; round < 300; round++) {
        Job jobs[PAIR_MAX_NUM];
        unsigned n = 0, wanted = 1 + g_rand_int(rand) % 6;
        VdsRequest *request;
        VdsUsed used;
        bool flag = true;

        for (; n < wanted && vds_driver_ring_get_free(driver) >= PAIR_ENTRIES; n++) {
            unsigned index = g_rand_int(rand) % (PAIR_MAX_NUM / 8) + n * 32;

            pair_job_make(&jobs[n], index, sequence++, rand, PAIR_ENTRIES);
            pair_job_fill(&jobs[n], fixture->plain);
            spoil_answer(&jobs[n], fixture->plain);
            assert_true(vds_driver_ring_add(driver,
                                            &(VdsBuffer){jobs[n].spans, jobs[n].n_out,
                                                         jobs[n].n_in, &jobs[n]},
                                            &flag, NULL) &&
                        flag);
        }
        watch(fixture);
        while (vds_vring_pop(device, &request, NULL) && request) {
            pair_serve(request, fixture->logged);
            assert_true(
                vds_vring_push(device, request, (uint32_t)request->in_bytes, NULL));
        }
        assert_true(vds_vring_publish(device, &flag, NULL));
        assert_true(vds_vring_set_notify(device, g_rand_int(rand) & 1, NULL, NULL));
        compare(fixture, PAIR_USED / VDS_DIRTY_PAGE);
        while (vds_driver_ring_get_used(driver, &used, NULL) && used.token) {
            pair_job_check(used.token, fixture->plain);
        }
    }
    fixture_clear(fixture);
}

static void test_exact(void **state)
{
    for (size_t i = 0; i < G_N_ELEMENTS(configs); i++) {
        run(&configs[i]);
    }
}

/* The used area is marked where the front-end says it is, or not at all. */
static void test_ring_elsewhere_and_off(void **state)
{
    const PairConfig config = {.num = 8};
    const VdsSpan span = {PAIR_DATA, 8};
    const VdsBuffer buffer = {&span, 0, 1, &state};
    g_autofree Fixture *fixture = g_new(Fixture, 1);
    g_autoptr(VdsDriverRing) driver = NULL;
    g_autoptr(VdsVring) device = NULL;
    VdsRequest *request = NULL;
    bool flag = false;

    fixture_init(fixture);
    driver = pair_driver(&config, fixture->plain);
    device = pair_device(&config, fixture->logged);
    for (unsigned on = 0; on < 2; on++) {
        vds_vring_set_log(device, on, 0x7000);
        assert_true(vds_driver_ring_add(driver, &buffer, &flag, NULL) && flag);
        watch(fixture);
        assert_true(vds_vring_pop(device, &request, NULL) && request);
        assert_true(vds_vring_push(device, request, 0, NULL));
        assert_true(vds_vring_publish(device, &flag, NULL));
        for (unsigned page = 0; page < PAGES; page++) {
            assert_int_equal(is_marked(fixture, page), on && page == 7);
        }
    }
    /* an address beyond the log marks nothing, and nothing breaks */
    vds_vring_set_log(device, true, UINT64_MAX - 2);
    watch(fixture);
    assert_true(vds_vring_set_notify(device, false, NULL, NULL));
    for (unsigned page = 0; page < LOG_BYTES * 8; page++) {
        assert_false(is_marked(fixture, page));
    }
    fixture_clear(fixture);
}

static void test_ranges(void **state)
{
    static const struct {
        uint64_t gpa;
        size_t len;
        unsigned first, n;
    } rows[] = {
        {0, 1, 0, 1},       {4095, 1, 0, 1},    {4095, 2, 0, 2},
        {4096, 4096, 1, 1}, {4096, 4097, 1, 2}, {0x7fff, 0x2002, 7, 4},
        {0x10000, 0, 0, 0},
    };
    static const uint8_t bytes[0x3000] = {1};
    g_autofree Fixture *fixture = g_new(Fixture, 1);

    fixture_init(fixture);
    for (size_t i = 0; i < 2 * G_N_ELEMENTS(rows); i++) {
        uint64_t gpa = rows[i / 2].gpa;
        size_t len = rows[i / 2].len;

        watch(fixture);
        assert_true(i % 2 ? vds_guest_map_write(fixture->logged, gpa, bytes, len, NULL)
                          : vds_guest_map_discard(fixture->logged, gpa, len, NULL));
        for (unsigned page = 0; page < LOG_BYTES * 8; page++) {
            assert_int_equal(is_marked(fixture, page),
                             page - rows[i / 2].first < rows[i / 2].n);
        }
        watch(fixture);
        assert_true(vds_guest_map_write(fixture->plain, gpa, bytes, len, NULL));
        assert_int_equal(fixture->bits[0] | fixture->bits[1] | fixture->bits[2], 0);
    }
    fixture_clear(fixture);
}

static void test_refuses(void **state)
{
    const VdsGuestRegion low = {0, 4096, -1, 0, 0, NULL};
    const VdsGuestRegion region = {LOG_BYTES * 8 * 4096 - 4096, 4096, -1, 0, 0, NULL};
    const VdsGuestRegion beyond = {LOG_BYTES * 8 * 4096, 1, -1, 0, 0, NULL};
    g_autoptr(VdsGuestMap) map = vds_guest_map_new_writable(&low, 1, NULL);
    g_autoptr(VdsGuestMap) logged = NULL, more = NULL, fewer = NULL, without = NULL;
    g_autoptr(VdsDirtyLog) log = NULL;
    g_autoptr(GError) error = NULL;
    VDS_AUTO_FD fd = memfd_create("test-log", MFD_CLOEXEC);
    uint8_t bits[LOG_BYTES] = {0};

    assert_int_equal(ftruncate(fd, 8 + LOG_BYTES), 0);
    assert_null(vds_dirty_log_new(
        &(VdsGuestRegion){.fd = fd, .offset = 9, .len = LOG_BYTES}, &error));
    assert_true(g_error_matches(error, VDS_GUESTMEM_ERROR, VDS_GUESTMEM_ERROR_SHORT));
    g_clear_error(&error);
    assert_null(vds_dirty_log_new(
        &(VdsGuestRegion){.fd = fd, .offset = UINT64_MAX - 7, .len = 16},
        &error)); /* CVE-2020-10722 */
    assert_true(g_error_matches(error, VDS_GUESTMEM_ERROR, VDS_GUESTMEM_ERROR_OVERFLOW));
    g_clear_error(&error);
    assert_null(
        vds_dirty_log_new(&(VdsGuestRegion){.fd = fd, .offset = 0, .len = 0}, &error));
    assert_true(g_error_matches(error, VDS_GUESTMEM_ERROR, VDS_GUESTMEM_ERROR_OVERFLOW));
    g_clear_error(&error);

    log = vds_dirty_log_new(&(VdsGuestRegion){.fd = fd, .offset = 8, .len = LOG_BYTES},
                            NULL);
    assert_true(vds_dirty_log_get_len(log) == LOG_BYTES);
    logged = vds_guest_map_with_log(map, log, NULL);
    more = vds_guest_map_with(logged, &region, NULL); /* the last page that fits */
    assert_non_null(more);
    assert_null(vds_guest_map_with(more, &beyond, &error));
    assert_true(g_error_matches(error, VDS_GUESTMEM_ERROR, VDS_GUESTMEM_ERROR_LOG));
    fewer = vds_guest_map_without(more, &low, NULL);
    assert_true(vds_guest_map_write(fewer, region.gpa, "x", 1, NULL));
    assert_int_equal(pread(fd, bits, LOG_BYTES, 8), LOG_BYTES);
    assert_int_equal(bits[LOG_BYTES - 1], 0x80);
    without = vds_guest_map_with_log(more, NULL, NULL);
    assert_true(vds_guest_map_write(without, 0, "x", 1, NULL));
    assert_int_equal(pread(fd, bits, LOG_BYTES, 8), LOG_BYTES);
    assert_int_equal(bits[0], 0);
}

/* A front-end that cuts its own log loses marks, and that is all. */
static void test_log_is_cut_short(void **state)
{
    g_autofree Fixture *fixture = g_new(Fixture, 1);

    fixture_init(fixture);
    assert_int_equal(ftruncate(fixture->log_fd, 0), 0);
    assert_true(vds_guest_map_write(fixture->logged, 0, "x", 1, NULL));
    assert_true(vds_guest_map_write(fixture->logged, 4096, "x", 1, NULL));
    fixture_clear(fixture);
}

/* How often somebody was told since the last time. */
static eventfd_t told(int fd)
{
    eventfd_t n = 0;

    return eventfd_read(fd, &n) == 0 ? n : 0;
}

/* Once a batch that was used, however many buffers and words are marked for it; and once
 * where only the ring's own words are. */
static void test_tells(void **state)
{
    for (size_t i = 0; i < G_N_ELEMENTS(configs); i++) {
        const VdsSpan span = {PAIR_DATA, 2 * VDS_DIRTY_PAGE};
        const VdsBuffer buffer = {&span, 0, 1, &state};
        g_autofree Fixture *fixture = g_new(Fixture, 1);
        g_autoptr(VdsDriverRing) driver = NULL;
        g_autoptr(VdsVring) device = NULL;
        int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        VdsRequest *requests[3] = {NULL};
        bool flag = false;

        fixture_init(fixture);
        vds_dirty_log_set_call_fd(fixture->log, dup(fd));
        driver = pair_driver(&configs[i], fixture->plain);
        device = pair_device(&configs[i], fixture->plain);
        vds_vring_set_log(device, true, PAIR_USED);
        assert_true(vds_vring_set_notify(device, true, NULL, NULL));
        assert_int_equal(told(fd), 0); /* no log yet */
        assert_true(vds_vring_move(device,
                                   &(VdsQueueState){.desc = PAIR_DESC,
                                                    .avail = PAIR_AVAIL,
                                                    .used = PAIR_USED,
                                                    .map = fixture->logged},
                                   NULL));
        for (unsigned k = 0; k < G_N_ELEMENTS(requests); k++) {
            assert_true(vds_driver_ring_add(driver, &buffer, &flag, NULL) && flag);
            assert_true(vds_vring_pop(device, &requests[k], NULL) && requests[k]);
        }
        for (unsigned k = 0; k < G_N_ELEMENTS(requests); k++) {
            assert_true(vds_guest_map_write(fixture->logged, PAIR_DATA, "x", 1, NULL));
            assert_true(vds_vring_push(device, requests[k], 1, NULL));
        }
        assert_int_equal(told(fd), 0);
        assert_true(vds_vring_publish(device, &flag, NULL));
        assert_int_equal(told(fd), 1);
        assert_true(vds_vring_publish(device, &flag, NULL));
        assert_true(vds_vring_notify(device, &flag, NULL));
        assert_int_equal(told(fd), 0); /* nothing is new */
        assert_true(vds_vring_set_notify(device, false, NULL, NULL));
        assert_true(vds_vring_set_notify(device, true, NULL, NULL));
        assert_int_equal(told(fd), 1);
        /* full: nobody waits, nothing is at fault */
        assert_int_equal(eventfd_write(fd, UINT64_MAX - 1), 0);
        assert_true(vds_guest_map_write(fixture->logged, PAIR_DATA, "x", 1, NULL));
        vds_guest_map_tell_log(fixture->logged);
        assert_true(told(fd) >= UINT64_MAX - 1); /* and nobody waited */
        vds_dirty_log_set_call_fd(fixture->log, -1);
        assert_true(vds_guest_map_write(fixture->logged, PAIR_DATA, "x", 1, NULL));
        vds_guest_map_tell_log(fixture->logged);
        vds_guest_map_tell_log(fixture->plain);
        assert_int_equal(told(fd), 0);
        close(fd);
        fixture_clear(fixture);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        /* first: cmocka puts its own SIGBUS handler in before each test, and ours comes
         * once a process */
        cmocka_unit_test(test_log_is_cut_short),
        cmocka_unit_test(test_exact),
        cmocka_unit_test(test_ring_elsewhere_and_off),
        cmocka_unit_test(test_ranges),
        cmocka_unit_test(test_refuses),
        cmocka_unit_test(test_tells),
    };

    return cmocka_run_group_tests_name("vring-log", tests, NULL, NULL);
}
