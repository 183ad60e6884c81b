/*
 * guestmem: memory that its owner cuts short, under copies and under words that are
 * loaded and stored directly, and every other SIGBUS.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <linux/memfd.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include "vds/guestmem.h"

enum { PAGE = 4096, PAGES = 4 };

static int new_memfd(void)
{
    int fd = memfd_create("test-sigbus", MFD_CLOEXEC | MFD_ALLOW_SEALING);

    assert_true(fd >= 0);
    assert_int_equal(ftruncate(fd, PAGES * PAGE), 0);
    return fd;
}

static VdsGuestMap *map_of(int fd)
{
    const VdsGuestRegion region = {0x10000, PAGES * PAGE, fd, 0, 0, NULL};

    return vds_guest_map_new(&region, 1, NULL);
}

static VdsGuestMap *writable_map_of(int fd)
{
    const VdsGuestRegion region = {0x10000, PAGES * PAGE, fd, 0, 0, NULL};

    return vds_guest_map_new_writable(&region, 1, NULL);
}

static uint64_t word_at(const VdsGuestArea *area, uint64_t offset)
{
    uint64_t word = 0;

    assert_true(vds_guest_area_load_u64(area, offset, &word, NULL));
    return word;
}

static void expect_vanished(const VdsGuestMap *map, uint64_t gpa, size_t len)
{
    g_autoptr(GError) error = NULL;
    g_autofree uint8_t *to = g_malloc(len);

    assert_false(vds_guest_map_read(map, gpa, to, len, &error));
    assert_true(g_error_matches(error, VDS_GUESTMEM_ERROR, VDS_GUESTMEM_ERROR_VANISHED));
    assert_non_null(strstr(error->message, "0x10000"));
}

static void cut_short_and_back(void)
{
    VDS_AUTO_FD fd = new_memfd();
    g_autoptr(VdsGuestMap) map = map_of(fd);
    uint8_t to[PAGE];
    uint64_t words[2];

    assert_int_equal(pwrite(fd, "x", 1, 2 * PAGE), 1);
    assert_true(vds_guest_map_read(map, 0x10000 + 2 * PAGE, to, PAGE, NULL));
    assert_int_equal(ftruncate(fd, PAGE), 0);

    assert_true(vds_guest_map_read(map, 0x10000, to, PAGE, NULL));
    expect_vanished(map, 0x10000 + PAGE, 1);
    expect_vanished(map, 0x10000, PAGES * PAGE);
    for (int i = 0; i < 1000; i++) {
        assert_false(
            vds_guest_map_read_u64(map, 0x10000 + PAGE + 16 * i % PAGE, words, 2, NULL));
    }
    /* Not sticky: when the file grows again its bytes are there again. */
    assert_int_equal(ftruncate(fd, PAGES * PAGE), 0);
    assert_true(vds_guest_map_read(map, 0x10000 + 2 * PAGE, to, PAGE, NULL));
    assert_int_equal(to[0], 0);
}

static void *read_and_count(void *user)
{
    const VdsGuestMap *map = user;
    uintptr_t vanished = 0;

    for (int i = 0; i < 2000; i++) {
        uint64_t words[2];

        vanished += !vds_guest_map_read_u64(map, 0x10000 + (uint64_t)(i % PAGES) * PAGE,
                                            words, 2, NULL);
    }
    return (void *)vanished;
}

static void threads_have_their_own_cursor(void)
{
    VDS_AUTO_FD fd = new_memfd();
    g_autoptr(VdsGuestMap) map = map_of(fd);
    pthread_t threads[4];

    assert_int_equal(ftruncate(fd, PAGE), 0);
    for (size_t i = 0; i < G_N_ELEMENTS(threads); i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, read_and_count, map), 0);
    }
    for (size_t i = 0; i < G_N_ELEMENTS(threads); i++) {
        void *vanished = NULL;

        pthread_join(threads[i], &vanished);
        assert_int_equal((uintptr_t)vanished, 2000 / PAGES * (PAGES - 1));
    }
}

static void sealed_memory_is_read_unguarded(void)
{
    VDS_AUTO_FD fd = new_memfd();
    g_autoptr(VdsGuestMap) map = NULL;
    uint8_t byte = 0;

    assert_int_equal(fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK), 0);
    map = map_of(fd);
    assert_int_equal(pwrite(fd, "y", 1, 3 * PAGE + 1), 1);
    assert_int_not_equal(ftruncate(fd, 0), 0);
    assert_true(vds_guest_map_read(map, 0x10000 + 3 * PAGE + 1, &byte, 1, NULL));
    assert_int_equal(byte, 'y');
}

/* A mapping of huge pages is a multiple of them, and its seals say nothing: where there
 * are none left the first touch is a SIGBUS. */
static void huge_pages_may_run_out(void)
{
    enum { HUGE = 2 << 20 };
    VDS_AUTO_FD fd = memfd_create("test-huge", MFD_CLOEXEC | MFD_ALLOW_SEALING |
                                                   MFD_HUGETLB | MFD_HUGE_2MB);
    const VdsGuestRegion region = {0x10000, PAGE, fd, 3 * PAGE, 0, NULL};
    g_autoptr(VdsGuestMap) map = NULL;
    g_autoptr(GError) error = NULL;
    VdsGuestArea area;
    uint8_t byte = 1;

    if (fd < 0) {
        print_message("no huge pages in this kernel\n");
        return;
    }
    assert_int_equal(ftruncate(fd, HUGE), 0);
    assert_int_equal(fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK), 0);
    map = vds_guest_map_new_writable(&region, 1, NULL);
    assert_non_null(map);
    assert_true(vds_guest_area_init(&area, map, 0x10000, 8, 8, NULL));
    if (vds_guest_map_write(map, 0x10000, "x", 1, &error)) {
        assert_true(vds_guest_map_read(map, 0x10000, &byte, 1, NULL));
        assert_int_equal(byte, 'x');
        assert_true(word_at(&area, 0) == 'x' && vds_guest_area_is_whole(&area));
    } else {
        assert_true(
            g_error_matches(error, VDS_GUESTMEM_ERROR, VDS_GUESTMEM_ERROR_VANISHED));
        assert_true(word_at(&area, 0) == 0 && !vds_guest_area_is_whole(&area));
    }
}

/* ---- words ---- */

static void words_go_on_as_zeroes(void)
{
    VDS_AUTO_FD fd = new_memfd();
    g_autoptr(VdsGuestMap) map = writable_map_of(fd), other = writable_map_of(fd);
    g_autoptr(VdsGuestMap) looking = map_of(fd);
    g_autoptr(GError) error = NULL;
    VdsGuestArea low, high, others;
    uint8_t byte = 1;

    assert_true(vds_guest_area_init(&low, map, 0x10000, PAGE, 8, NULL));
    assert_true(vds_guest_area_init(&high, map, 0x10000 + 2 * PAGE, PAGE, 8, NULL));
    assert_true(vds_guest_area_init(&others, other, 0x10000 + 2 * PAGE, PAGE, 8, NULL));
    assert_true(vds_guest_area_store_u64(&low, 8, 11, NULL));
    assert_true(vds_guest_area_store_u64(&high, 8, 22, NULL));
    assert_true(word_at(&high, 8) == 22 && vds_guest_area_is_whole(&high));
    assert_int_equal(ftruncate(fd, PAGE), 0);

    /* a copy changes nothing: when the file is back, so are the words */
    expect_vanished(map, 0x10000 + 2 * PAGE, 1);
    assert_true(vds_guest_area_is_whole(&high));
    assert_int_equal(ftruncate(fd, PAGES * PAGE), 0);
    assert_true(word_at(&high, 8) == 0 && vds_guest_area_is_whole(&high));
    assert_int_equal(ftruncate(fd, PAGE), 0);

    assert_true(word_at(&high, 8) == 0);
    assert_true(vds_guest_area_store_u64(&high, 16, 33, NULL));
    assert_true(word_at(&high, 16) == 33);
    assert_false(vds_guest_area_check(&high, &error));
    assert_true(g_error_matches(error, VDS_GUESTMEM_ERROR, VDS_GUESTMEM_ERROR_VANISHED));
    /* what lies before is still the file's, and so is another's map */
    assert_true(word_at(&low, 8) == 11 && vds_guest_area_is_whole(&low));
    assert_true(vds_guest_map_read(map, 0x10000 + 8, &byte, 1, NULL));
    assert_int_equal(byte, 11);
    assert_true(vds_guest_area_is_whole(&others));
    /* what was in there is away for copies, too, also when the file is back */
    assert_int_equal(ftruncate(fd, PAGES * PAGE), 0);
    expect_vanished(map, 0x10000 + 2 * PAGE, 1);
    expect_vanished(map, 0x10000 + 3 * PAGE, 1);
    assert_false(vds_guest_map_write(map, 0x10000 + 2 * PAGE, &byte, 1, NULL));
    assert_false(vds_guest_area_is_whole(&high));
    assert_true(word_at(&others, 8) == 0 && vds_guest_area_is_whole(&others));
    assert_true(vds_guest_map_read(looking, 0x10000 + 3 * PAGE, &byte, 1, NULL));
}

/* More than one chunk of the table, with holes that are used again. */
static void many_are_watched(void)
{
    enum { MAPS = 200 };
    VDS_AUTO_FD fd = new_memfd();
    VdsGuestMap *maps[MAPS];
    VdsGuestArea areas[MAPS];

    for (unsigned round = 0; round < 2; round++) {
        for (unsigned i = 0; i < MAPS; i++) {
            if (round == 0 || i % 3 == 0) {
                maps[i] = writable_map_of(fd);
                assert_true(
                    vds_guest_area_init(&areas[i], maps[i], 0x10000, PAGE, 8, NULL));
            }
        }
        for (unsigned i = 0; round == 0 && i < MAPS; i += 3) {
            vds_guest_map_unref(maps[i]);
        }
    }
    assert_int_equal(ftruncate(fd, 0), 0);
    for (unsigned i = 0; i < MAPS; i++) {
        assert_true(vds_guest_area_is_whole(&areas[i]));
        assert_true(word_at(&areas[i], 0) == 0);
        assert_false(vds_guest_area_is_whole(&areas[i]));
    }
    for (unsigned i = 0; i < MAPS; i++) {
        vds_guest_map_unref(maps[i]);
    }
}

static void *store_until_gone(void *user)
{
    const VdsGuestArea *area = user;
    uint64_t n = 0;

    while (vds_guest_area_is_whole(area)) {
        for (uint64_t offset = 0; offset < area->len; offset += 8) {
            vds_guest_area_store_u64(area, offset, ++n, NULL);
        }
    }
    return NULL;
}

/* Another process cuts the file while threads are at work in it, each in a map of its
 * own but two in one. */
static void cut_by_another_process(void)
{
    for (unsigned round = 0; round < 20; round++) {
        VDS_AUTO_FD fd = new_memfd();
        g_autoptr(VdsGuestMap) one = writable_map_of(fd), two = writable_map_of(fd);
        VdsGuestArea areas[3];
        pthread_t threads[3];
        int status = 0;
        pid_t child;

        for (unsigned i = 0; i < 3; i++) {
            assert_true(vds_guest_area_init(&areas[i], i < 2 ? one : two,
                                            0x10000 + (1 + i % 2) * PAGE, PAGE, 8, NULL));
        }
        child = fork();
        assert_true(child >= 0);
        if (child == 0) {
            usleep(2000 + round * 100);
            _exit(ftruncate(fd, round % 2 ? PAGE : 0) != 0);
        }
        for (unsigned i = 0; i < 3; i++) {
            assert_int_equal(
                pthread_create(&threads[i], NULL, store_until_gone, &areas[i]), 0);
        }
        for (unsigned i = 0; i < 3; i++) {
            pthread_join(threads[i], NULL);
        }
        assert_int_equal(waitpid(child, &status, 0), child);
        assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    }
}

/* ---- not ours ---- */

static void die_of_a_load_outside(void)
{
    int fd = new_memfd();
    volatile uint8_t *bytes = mmap(NULL, PAGES * PAGE, PROT_READ, MAP_SHARED, fd, 0);

    assert_int_equal(ftruncate(fd, 0), 0);
    (void)bytes[PAGE];
}

static void die_of_a_kill(void)
{
    raise(SIGBUS);
}

static void exit_with_7(int number)
{
    _exit(7);
}

/* What becomes of a child that sets `before`, makes a map, and then does `act`. */
static int run_child(void (*before)(int), void (*act)(void))
{
    int status = 0;
    pid_t child = fork();

    assert_true(child >= 0);
    if (child == 0) {
        struct rlimit none = {0, 0};
        VDS_AUTO_FD fd = -1;

        setrlimit(RLIMIT_CORE, &none);
        signal(SIGBUS, before);
        fd = new_memfd();
        vds_guest_map_unref(map_of(fd));
        (void)writable_map_of(fd); /* is watched meanwhile */
        act();
        _exit(0);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    return status;
}

/* Runs before any map is made here: the handler goes in once a process, and each child
 * is a process that has none yet. */
static void test_other_faults_go_to_the_action_before(void **state)
{
    int status = run_child(SIG_DFL, die_of_a_load_outside);

    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGBUS);
    status = run_child(SIG_DFL, die_of_a_kill);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGBUS);
    status = run_child(SIG_IGN, die_of_a_load_outside);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGBUS);
    status = run_child(SIG_IGN, die_of_a_kill);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    status = run_child(exit_with_7, die_of_a_load_outside);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 7);
    status = run_child(exit_with_7, die_of_a_kill);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 7);
}

/* One test: cmocka puts its own SIGBUS handler in at the start of each, and ours is
 * installed once a process. */
static void test_guard(void **state)
{
    cut_short_and_back();
    threads_have_their_own_cursor();
    sealed_memory_is_read_unguarded();
    huge_pages_may_run_out();
    words_go_on_as_zeroes();
    many_are_watched();
    cut_by_another_process();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_other_faults_go_to_the_action_before),
        cmocka_unit_test(test_guard),
    };

    return cmocka_run_group_tests_name("guestmem-sigbus", tests, NULL, NULL);
}
