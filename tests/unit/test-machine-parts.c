/*
 * machine: parts go again, unless something uses them; block nodes as files; descriptors
 * that have names; I/O threads that run from the start.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <string.h>

#include "toy-devices.h"

static bool add(VdsMachine *machine, const char *kind, const char *text)
{
    g_autoptr(VdsProps) props = toy_props(text);

    return vds_machine_backend_add(machine, kind, props, NULL);
}

static void assert_del_fails(VdsMachine *machine, const char *kind, const char *id,
                             VdsMachineError code, const char *message)
{
    g_autoptr(GError) error = NULL;

    assert_false(vds_machine_backend_del(machine, kind, id, &error));
    assert_true(g_error_matches(error, VDS_MACHINE_ERROR, (int)code));
    assert_string_equal(error->message, message);
}

static void append_id(const VdsBackendInfo *info, void *user)
{
    g_string_append_printf(user, "%s(%s) ", info->id, info->user ? info->user : "");
}

static void assert_parts(const VdsMachine *machine, const char *kind,
                         const char *expected)
{
    GString *list = g_string_new(NULL);

    vds_machine_foreach_backend(machine, kind, append_id, list);
    assert_string_equal(list->str, expected);
    g_string_free(list, TRUE);
}

static void test_those_in_use_stay(void **state)
{
    g_autoptr(VdsMachine) machine = vds_machine_new("toy", toy_classes);

    assert_true(add(machine, "netdev", "type=user,id=a"));
    assert_true(add(machine, "netdev", "type=user,id=b"));
    assert_true(toy_add(machine, "driver=toy,id=x,netdev=b", NULL));
    assert_parts(machine, "netdev", "a() b(/machine/peripheral/x) ");
    assert_del_fails(machine, "netdev", "b", VDS_MACHINE_ERROR_IN_USE,
                     "Device 'b' is in use");
    assert_true(vds_machine_backend_del(machine, "netdev", "a", NULL));
    assert_true(vds_machine_device_del(machine, "x", NULL));
    assert_true(vds_machine_backend_del(machine, "netdev", "b", NULL));
    assert_parts(machine, "netdev", "");
    assert_true(add(machine, "netdev", "type=user,id=b"));
    assert_parts(machine, "netdev", "b() ");
}

static void test_those_that_are_not_there(void **state)
{
    static const struct {
        const char *kind;
        VdsMachineError code;
        const char *message;
    } rows[] = {
        {"netdev", VDS_MACHINE_ERROR_NO_DEVICE, "Device 'x' not found"},
        {"blockdev", VDS_MACHINE_ERROR_NO_PART, "Failed to find node with node-name='x'"},
        {"chardev", VDS_MACHINE_ERROR_NO_PART, "Chardev 'x' not found"},
        {"object", VDS_MACHINE_ERROR_NO_PART, "object 'x' not found"},
    };
    g_autoptr(VdsMachine) machine = vds_machine_new("toy", toy_classes);

    assert_true(add(machine, "drive", "file=y,id=x")); /* no node that one can remove */
    for (size_t i = 0; i < G_N_ELEMENTS(rows); i++) {
        assert_del_fails(machine, rows[i].kind, "x", rows[i].code, rows[i].message);
    }
}

static void test_a_node_below_another_stays(void **state)
{
    g_autoptr(VdsMachine) machine = vds_machine_new("toy", toy_classes);

    assert_true(add(machine, "blockdev", "driver=null-co,node-name=low,size=512"));
    assert_true(add(machine, "blockdev", "driver=raw,node-name=high,file=low"));
    assert_del_fails(machine, "blockdev", "low", VDS_MACHINE_ERROR_IN_USE,
                     "Node low is in use");
    assert_true(vds_machine_backend_del(machine, "blockdev", "high", NULL));
    assert_true(vds_machine_backend_del(machine, "blockdev", "low", NULL));
}

static void test_objects_leave_the_tree(void **state)
{
    g_autoptr(VdsMachine) machine = vds_machine_new("toy", toy_classes);
    const VdsMachineMemory memory = {.bytes = 1 << 20};
    VdsProp value;

    assert_true(vds_machine_set_memory(machine, &memory, NULL));
    assert_del_fails(machine, "object", "toy.ram", VDS_MACHINE_ERROR_IN_USE,
                     "object 'toy.ram' is in use, can not be deleted");
    assert_true(add(machine, "object", "qom-type=rng-random,id=r"));
    assert_true(vds_machine_qom_get(machine, "/objects/r", "type", &value, NULL));
    vds_prop_clear(&value);
    assert_true(vds_machine_backend_del(machine, "object", "r", NULL));
    assert_false(vds_machine_qom_get(machine, "/objects/r", "type", &value, NULL));
    assert_true(add(machine, "object", "qom-type=rng-random,id=r"));
}

static void note_thread(const VdsIoThreadInfo *info, void *user)
{
    assert_true(info->thread_id > 0);
    g_string_append_printf(user, "%s ", info->id);
}

static void test_io_threads_run(void **state)
{
    g_autoptr(VdsMachine) machine = vds_machine_new("toy", toy_classes);
    g_autoptr(GString) list = g_string_new(NULL);

    assert_true(add(machine, "object", "qom-type=iothread,id=one"));
    assert_true(add(machine, "object", "qom-type=secret,id=none"));
    assert_true(add(machine, "object", "qom-type=iothread,id=two"));
    vds_machine_foreach_io_thread(machine, note_thread, list);
    assert_string_equal(list->str, "one two ");
    assert_true(vds_machine_backend_del(machine, "object", "one", NULL));
    g_string_truncate(list, 0);
    vds_machine_foreach_io_thread(machine, note_thread, list);
    assert_string_equal(list->str, "two ");
}

/* ---- descriptors ------------------------------------------------------------------- */

static bool is_open(int fd)
{
    return fcntl(fd, F_GETFD) >= 0;
}

/* Not a file of a file system: that would be closed by another thread. */
static int open_memory(void)
{
    return memfd_create("test-part", MFD_CLOEXEC);
}

static void test_a_part_takes_descriptors(void **state)
{
    g_autoptr(VdsMachine) machine = vds_machine_new("toy", toy_classes);
    g_autoptr(GError) error = NULL;
    int one = open_memory(), two = open_memory(), unused = open_memory();

    assert_true(vds_machine_fd_put(machine, "one", one, NULL));
    assert_true(vds_machine_fd_put(machine, "two", two, NULL));
    assert_true(vds_machine_fd_put(machine, "unused", unused, NULL));
    assert_true(add(machine, "netdev", "type=tap,id=n,fds=one:two"));
    assert_false(vds_machine_fd_close(machine, "one", &error));
    assert_true(g_error_matches(error, VDS_MACHINE_ERROR, VDS_MACHINE_ERROR_NO_FD));
    assert_true(is_open(one) && is_open(two));
    assert_true(vds_machine_backend_del(machine, "netdev", "n", NULL));
    assert_false(is_open(one) || is_open(two));
    assert_true(vds_machine_fd_close(machine, "unused", NULL));
    assert_false(is_open(unused));
}

static void test_a_part_that_fails_keeps_none(void **state)
{
    g_autoptr(VdsMachine) machine = vds_machine_new("toy", toy_classes);
    g_autoptr(VdsProps) props = toy_props("type=tap,id=n,fds=one:two");
    g_autoptr(GError) error = NULL;
    int one = open_memory();

    assert_true(vds_machine_fd_put(machine, "one", one, NULL));
    assert_false(vds_machine_backend_add(machine, "netdev", props, &error));
    assert_true(g_error_matches(error, VDS_MACHINE_ERROR, VDS_MACHINE_ERROR_NO_FD));
    assert_string_equal(error->message, "File descriptor named 'two' has not been found");
    assert_false(is_open(one));
    assert_false(vds_machine_has_backend(machine, "netdev", "n"));
}

static void test_names_are_bounded(void **state)
{
    g_autoptr(VdsMachine) machine = vds_machine_new("toy", toy_classes);
    g_autoptr(GError) error = NULL;
    unsigned n = 0;
    bool taken = true;
    int last = -1;

    for (; taken && n < 2000; n++) {
        g_autofree char *name = g_strdup_printf("fd%u", n);

        last = dup(STDERR_FILENO);
        if (last < 0) {
            break; /* this user may not open as many: what was taken is closed below */
        }
        taken = vds_machine_fd_put(machine, name, last, &error);
    }
    assert_true(last < 0 || !taken);
    assert_true(last < 0 || !is_open(last));
    vds_machine_free(g_steal_pointer(&machine));
    assert_true(is_open(STDERR_FILENO));
}

/* ---- nodes ------------------------------------------------------------------------- */

static void append_node(const VdsBlockNode *node, void *user)
{
    g_string_append_printf(user, "%s:%s:%s%s:%" PRIu64 " ", node->id, node->driver,
                           node->filename, node->read_only ? ":ro" : "",
                           node->size_bytes);
}

static void test_nodes(void **state)
{
    static const struct {
        const char *kind, *text, *shown; /* %s is a file of 1,536 bytes */
    } rows[] = {
        {"blockdev", "driver=file,node-name=a,filename=%s", "a:file:%s:1536 "},
        {"blockdev",
         "driver=raw,node-name=a,read-only=on,file.driver=file,"
         "file.filename=%s",
         "a:raw:%s:ro:1536 "},
        {"blockdev", "driver=raw,node-name=a,filename=%s", "a:raw:%s:1536 "},
        {"blockdev",
         "driver=raw,node-name=a,file.driver=raw,file.file.driver=file,"
         "file.file.filename=%s",
         "a:raw:%s:1536 "},
        {"blockdev", "driver=raw,node-name=a,file=gone", "a:raw::0 "},
        {"blockdev", "driver=raw,node-name=a,file=a", "a:raw:null-co://:1073741824 "},
        {"blockdev", "driver=file,node-name=a,filename=/nonesuch", "a:file:/nonesuch:0 "},
        {"blockdev", "driver=null-co,node-name=a,size=3k", "a:null-co:null-co://:3072 "},
        {"drive", "id=a,file=%s,readonly=on", "a:raw:%s:ro:1536 "},
        {"drive", "id=a", "a:raw::67108864 "},
    };
    g_autofree char *path = NULL;
    VDS_AUTO_FD fd = g_file_open_tmp("vds-XXXXXX", &path, NULL);

    assert_int_equal(ftruncate(fd, 1536), 0);
    for (size_t i = 0; i < G_N_ELEMENTS(rows); i++) {
        g_autoptr(VdsMachine) machine = vds_machine_new("toy", toy_classes);
        g_auto(GStrv) text = g_strsplit(rows[i].text, "%s", 2);
        g_auto(GStrv) shown = g_strsplit(rows[i].shown, "%s", 2);
        g_autofree char *given = g_strjoinv(path, text);
        g_autofree char *expected = g_strjoinv(path, shown);
        g_autoptr(GString) list = g_string_new(NULL);

        assert_true(add(machine, rows[i].kind, given));
        vds_machine_foreach_block_node(machine, append_node, list);
        assert_string_equal(list->str, expected);
    }
    unlink(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_those_in_use_stay),
        cmocka_unit_test(test_those_that_are_not_there),
        cmocka_unit_test(test_a_node_below_another_stays),
        cmocka_unit_test(test_objects_leave_the_tree),
        cmocka_unit_test(test_io_threads_run),
        cmocka_unit_test(test_a_part_takes_descriptors),
        cmocka_unit_test(test_a_part_that_fails_keeps_none),
        cmocka_unit_test(test_names_are_bounded),
        cmocka_unit_test(test_nodes),
    };

    return cmocka_run_group_tests_name("machine-parts", tests, NULL, NULL);
}
