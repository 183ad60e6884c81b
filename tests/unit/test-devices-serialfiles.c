/*
 * devices: bytes of virtio-serial to files, terminals and nowhere (virtio 1.2, 5.3).
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "serial-door.h"

/* ---- bytes to the outside ---- */

static void test_file(void **state)
{
    g_autofree char *text = NULL;
    Fixture fixture;
    Door *door = &fixture.door;

    fixture_init(&fixture, "backend=file,id=c0,path=%s", PORT);
    door_start(door, DOOR_PACKED);
    open_port(door, true);
    transmit(door, OUT1, "one, ", 0);
    transmit(door, OUT1, "two, ", 1);
    transmit(door, OUT1, "three", 2);
    assert_true(g_file_get_contents(fixture.path, &text, NULL, NULL));
    assert_string_equal(text, "one, two, three");
    fixture_clear(&fixture);
}

/* "new" goes out where "old" was; what the file holds then. */
static void expect_content(const char *chardev, const char *content)
{
    g_autofree char *text = NULL;
    Fixture fixture;
    Door *door = &fixture.door;

    fixture_init(&fixture, chardev, NULL);
    assert_true(g_file_set_contents(fixture.path, "old", -1, NULL));
    assert_true(door_plug(door, PORT, NULL));
    door_start(door, DOOR_SPLIT);
    open_port(door, true);
    transmit(door, OUT1, "new", 0);
    assert_true(g_file_get_contents(fixture.path, &text, NULL, NULL));
    assert_string_equal(text, content);
    fixture_clear(&fixture);
}

/* append=on keeps what was there, its absence does not. */
static void test_file_append(void **state)
{
    expect_content("backend=file,id=c0,path=%s,append=on", "oldnew");
    expect_content("backend=file,id=c0,path=%s", "new");
}

/* What goes out is also in the log, wherever it goes. */
static void test_log(void **state)
{
    expect_content("backend=null,id=c0,logfile=%s,logappend=on", "oldnew");
    expect_content("backend=pty,id=c0,logfile=%s", "new");
}

/* A descriptor that was inherited stands for the path, which need not be there. */
static void test_inherited_files(void **state)
{
    static const char *const keys[] = {"backend=file,id=c0,path",
                                       "backend=null,id=c0,logfile"};

    for (size_t i = 0; i < G_N_ELEMENTS(keys); i++) {
        VDS_AUTO_FD fd = memfd_create("log", MFD_CLOEXEC);
        g_autofree char *chardev = NULL;
        char text[8] = "";
        Fixture fixture;
        Door *door = &fixture.door;

        chardev = g_strdup_printf("%s=/dev/fdset/0,%s-fd=%d", keys[i],
                                  strrchr(keys[i], ',') + 1, fd);
        fixture_init(&fixture, chardev, PORT);
        door_start(door, DOOR_SPLIT);
        open_port(door, true);
        transmit(door, OUT1, "kept", 0);
        assert_int_equal(pread(fd, text, sizeof(text), 0), 4);
        assert_string_equal(text, "kept");
        fixture_clear(&fixture);
    }
}

/* Ports without chardev, ids without port, and null: everything is taken, nothing kept.
 */
static void test_nowhere(void **state)
{
    Fixture fixture;
    Door *door = &fixture.door;

    fixture_init(&fixture, "backend=null,id=c0", PORT);
    assert_true(door_plug(door, "virtserialport,nr=2", NULL));
    assert_true(door_plug(door, "virtconsole,nr=0", NULL));
    door_start(door, DOOR_SPLIT);
    for (unsigned queue = 1; queue <= 9; queue += queue == 1 ? 4 : 2) {
        uint32_t written = 1;
        uint64_t gpa;

        transmit(door, queue, "lost", 3);
        gpa = door_post(door, queue, 16, 0); /* room, where bytes should be */
        assert_int_equal(door_used(door, queue, &written), gpa);
        assert_int_equal(written, 0);
    }
    fixture_clear(&fixture);
}

/* More than one turn: 3 MiB into nothing, in one request. */
static void test_long_request(void **state)
{
    Fixture fixture;
    uint32_t written = 1;
    uint64_t gpa;

    fixture_init(&fixture, "backend=null,id=c0", PORT);
    door_start(&fixture.door, DOOR_SPLIT);
    open_port(&fixture.door, true);
    gpa = door_alloc(&fixture.door, 3 << 20);
    door_add(&fixture.door, OUT1, gpa, 3 << 20, 0, 0, &fixture);
    door_kick(&fixture.door, OUT1);
    assert_int_equal(door_used(&fixture.door, OUT1, &written),
                     GPOINTER_TO_SIZE(&fixture));
    fixture_clear(&fixture);
}
static void test_pty(void **state)
{
    VdsProp value = {0};
    Fixture fixture;
    Door *door = &fixture.door;
    int far;

    fixture_init(&fixture, "backend=pty,id=c0", PORT);
    assert_true(
        vds_machine_qom_get(door->machine, "/machine/peripheral/p", "pty", &value, NULL));
    door_start(door, DOOR_SPLIT);
    open_port(door, true);
    door_post(door, IN1, 64, 0);
    for (int i = 0; i < 2; i++) { /* two visitors, one after the other */
        far = open(value.text, O_RDWR | O_NOCTTY | O_CLOEXEC);
        assert_true(far >= 0);
        transmit(door, OUT1, "raw\n\x03", 0);
        assert_received(far, "raw\n\x03");
        assert_int_equal(write(far, "\x04typed\r", 7), 7);
        assert_got(door, IN1, "\x04typed\r");
        door_post(door, IN1, 64, 0);
        close(far);
    }
    vds_prop_clear(&value);
    fixture_clear(&fixture);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_file),    cmocka_unit_test(test_file_append),
        cmocka_unit_test(test_log),     cmocka_unit_test(test_inherited_files),
        cmocka_unit_test(test_nowhere), cmocka_unit_test(test_long_request),
        cmocka_unit_test(test_pty),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
