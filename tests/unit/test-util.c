/*
 * util: buffer, arena, properties and the readers of single values.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <string.h>

#include <fcntl.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include "vds/util.h"

static void test_buf_keeps_order(void **state)
{
    g_auto(VdsBuf) buf = {0};
    GString *expected = g_string_new(NULL);

    for (int i = 0; i < 5000; i++) {
        g_autofree char *piece = g_strdup_printf("%d,", i);

        vds_buf_append(&buf, piece, strlen(piece));
        g_string_append(expected, piece);
        if (i % 7 == 0) {
            size_t n = vds_buf_len(&buf) / 2;

            assert_memory_equal(vds_buf_bytes(&buf), expected->str, n);
            vds_buf_consume(&buf, n);
            g_string_erase(expected, 0, (gssize)n);
        }
    }
    assert_int_equal(vds_buf_len(&buf), expected->len);
    assert_memory_equal(vds_buf_bytes(&buf), expected->str, expected->len);
    g_string_free(expected, TRUE);
}

static void test_an_empty_buf_is_no_trap(void **state)
{
    g_auto(VdsBuf) buf = {0};

    assert_null(vds_buf_bytes(&buf));
    assert_non_null(vds_buf_reserve(&buf, 0));
    vds_buf_append(&buf, NULL, 0);
    vds_buf_consume(&buf, 0);
    assert_int_equal(vds_buf_len(&buf), 0);
}

static void test_buf_gives_memory_back(void **state)
{
    g_auto(VdsBuf) buf = {0};

    vds_buf_commit(&buf, (memset(vds_buf_reserve(&buf, 1 << 20), 'x', 1 << 20), 1 << 20));
    vds_buf_consume(&buf, 1 << 20);
    assert_int_equal(buf.cap, 0);
    vds_buf_append(&buf, "abc", 3);
    assert_memory_equal(vds_buf_bytes(&buf), "abc", 3);
}

static void count_free(void *object)
{
    ++*(int *)object;
}

static void test_arena_zeroes_and_owns(void **state)
{
    g_autoptr(VdsArena) arena = vds_arena_new();
    int freed = 0;

    for (int round = 0; round < 3; round++) {
        for (size_t size = 1; size < 100000; size = size * 3 + 1) {
            uint8_t *memory = vds_arena_alloc(arena, size);

            for (size_t i = 0; i < size; i++) {
                assert_int_equal(memory[i], 0);
            }
            memset(memory, 0xa5, size);
        }
        vds_arena_own(arena, count_free, &freed);
        assert_string_equal(vds_arena_printf(arena, "%s-%d", "a", 7), "a-7");
        assert_null(vds_arena_strdup(arena, NULL));
        vds_arena_reset(arena);
        assert_int_equal(freed, round + 1);
    }
}

static void test_props_last_wins_in_place(void **state)
{
    g_autoptr(VdsProps) props = vds_props_new();
    g_autoptr(VdsProps) copy = NULL;

    vds_props_set_string(props, "a", "1");
    vds_props_set_bool(props, "b", true);
    vds_props_set_string(props, "a", "2");
    copy = vds_props_copy(props);
    assert_int_equal(vds_props_count(copy), 2);
    assert_string_equal(vds_props_nth(copy, 0)->name, "a");
    assert_string_equal(vds_props_get_string(copy, "a"), "2");
    assert_null(vds_props_get_string(copy, "b"));
    assert_null(vds_props_find(copy, "c"));
}

static void test_uint_values(void **state)
{
    static const struct {
        const char *text;
        bool ok;
        uint64_t value;
    } rows[] = {
        {"0", true, 0},    {"64", true, 64},  {"0x40", true, 64},
        {"65", false, 0},  {"-1", false, 0},  {"+1", false, 0},
        {" 1", false, 0},  {"", false, 0},    {"0x", false, 0},
        {"12k", false, 0}, {"1.0", false, 0}, {"99999999999999999999999", false, 0},
    };

    for (size_t i = 0; i < G_N_ELEMENTS(rows); i++) {
        VdsProp prop = {(char *)"n", VDS_PROP_STRING, (char *)rows[i].text, {0}};
        g_autoptr(GError) error = NULL;
        uint64_t value = 0;

        assert_int_equal(vds_prop_get_uint(&prop, 0, 64, &value, &error), rows[i].ok);
        assert_int_equal(value, rows[i].value);
        if (!rows[i].ok) {
            assert_true(g_error_matches(error, VDS_UTIL_ERROR, VDS_UTIL_ERROR_VALUE));
            assert_non_null(strstr(error->message, "'n'"));
        }
    }
}

static void test_sizes(void **state)
{
    static const struct {
        const char *text;
        bool ok;
        uint64_t value;
    } rows[] = {
        {"64", true, 64 << 20},
        {"64M", true, 64 << 20},
        {"2g", true, UINT64_C(2) << 30},
        {"512k", true, 512 << 10},
        {"7B", true, 7},
        {"1.5G", false, 0},
        {"99999999999999", false, 0},
        {"M", false, 0},
        {"1MB", false, 0},
    };

    for (size_t i = 0; i < G_N_ELEMENTS(rows); i++) {
        VdsProp prop = {(char *)"size", VDS_PROP_STRING, (char *)rows[i].text, {0}};
        g_autoptr(GError) error = NULL;
        uint64_t value = 0;

        assert_int_equal(vds_prop_get_size(&prop, 1 << 20, &value, &error), rows[i].ok);
        if (rows[i].ok) {
            assert_int_equal(value, rows[i].value);
        } else {
            assert_true(g_error_matches(error, VDS_UTIL_ERROR, VDS_UTIL_ERROR_VALUE));
        }
    }
}

static void test_bools(void **state)
{
    static const struct {
        const char *text;
        bool ok, value;
    } rows[] = {{"on", true, true},     {"off", true, false}, {"yes", true, true},
                {"false", true, false}, {"On", false, false}, {"1", false, false}};

    for (size_t i = 0; i < G_N_ELEMENTS(rows); i++) {
        VdsProp prop = {(char *)"packed", VDS_PROP_STRING, (char *)rows[i].text, {0}};
        g_autoptr(GError) error = NULL;
        bool value = false;

        assert_int_equal(vds_prop_get_bool(&prop, &value, &error), rows[i].ok);
        assert_int_equal(value, rows[i].value);
        assert_int_equal(error == NULL, rows[i].ok);
    }
}

/* A value may be an object; a copy has one of its own. */
static void test_props_nest(void **state)
{
    g_autoptr(VdsProps) props = vds_props_new(), copy = NULL;
    VdsProps *inner = vds_props_new();

    vds_props_set_uint(inner, "small", 7);
    vds_props_set_uint(inner, "large", UINT64_MAX);
    vds_props_set_object(props, "o", inner);
    copy = vds_props_copy(props);
    inner = vds_props_find(copy, "o")->u.members;
    vds_props_set_null(props, "o");
    assert_int_equal(vds_props_find(inner, "small")->kind, VDS_PROP_INT);
    assert_int_equal(vds_props_find(inner, "small")->u.integer, 7);
    assert_int_equal(vds_props_find(inner, "large")->kind, VDS_PROP_UINT);
    assert_string_equal(vds_props_find(inner, "large")->text, "18446744073709551615");
}

static void test_names_are_cut_between_characters(void **state)
{
    char name[200];

    memset(name, 'a', sizeof(name));
    name[199] = '\0';
    assert_int_equal(vds_name_len(name), VDS_NAME_MAX);
    memcpy(name + 127, "\xe2\x82\xac", 3); /* bytes 127..129: one character */
    assert_int_equal(vds_name_len(name), 127);
    assert_int_equal(vds_name_len("short"), 5);
    assert_int_equal(vds_name_len(""), 0);
}

static void test_ids(void **state)
{
    static const struct {
        const char *id;
        bool ok;
    } rows[] = {{"a", true},     {"Z9-._", true},     {"net0", true},      {"", false},
                {"0a", false},   {"_a", false},       {"a b", false},      {"a/b", false},
                {"a[0]", false}, {"\xc3\xa9", false}, {"a\xc3\xa9", false}};

    for (size_t i = 0; i < G_N_ELEMENTS(rows); i++) {
        assert_int_equal(vds_id_is_well_formed(rows[i].id), rows[i].ok);
    }
}

/* ---- descriptors of other processes ---- */

static void test_kinds_of_descriptors(void **state)
{
    VDS_AUTO_FD memory = memfd_create("kinds", MFD_CLOEXEC);
    VDS_AUTO_FD event = eventfd(0, EFD_CLOEXEC);
    VDS_AUTO_FD file = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
    VDS_AUTO_FD device = open("/dev/null", O_RDWR | O_CLOEXEC);
    VDS_AUTO_FD path = open("/", O_PATH | O_CLOEXEC);
    int pipes[2], sockets[2];

    assert_int_equal(pipe2(pipes, O_CLOEXEC), 0);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sockets), 0);
    assert_int_equal(vds_fd_kind(memory), VDS_FD_MEMORY);
    assert_int_equal(vds_fd_kind(event), VDS_FD_EVENTFD);
    assert_int_equal(vds_fd_kind(file), VDS_FD_FILE);
    assert_int_equal(vds_fd_kind(device), VDS_FD_FILE);
    assert_int_equal(vds_fd_kind(path), VDS_FD_FILE);
    assert_int_equal(vds_fd_kind(-1), VDS_FD_FILE);
    for (unsigned i = 0; i < 2; i++) {
        assert_int_equal(vds_fd_kind(pipes[i]), VDS_FD_PIPE);
        assert_int_equal(vds_fd_kind(sockets[i]), VDS_FD_SOCKET);
        assert_false(vds_fd_is_tap(sockets[i]));
        vds_fd_close(&pipes[i]);
        vds_fd_close(&sockets[i]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_kinds_of_descriptors),
        cmocka_unit_test(test_buf_keeps_order),
        cmocka_unit_test(test_an_empty_buf_is_no_trap),
        cmocka_unit_test(test_buf_gives_memory_back),
        cmocka_unit_test(test_arena_zeroes_and_owns),
        cmocka_unit_test(test_props_last_wins_in_place),
        cmocka_unit_test(test_uint_values),
        cmocka_unit_test(test_sizes),
        cmocka_unit_test(test_bools),
        cmocka_unit_test(test_props_nest),
        cmocka_unit_test(test_names_are_cut_between_characters),
        cmocka_unit_test(test_ids),
    };

    return cmocka_run_group_tests_name("util", tests, NULL, NULL);
}
