/*
 * devices: what virtio-serial says on its control queues, ports that come and go, and
 * who is told of them (virtio 1.2, 5.3).
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "serial-door.h"

/* ---- what is said ---- */

/* The recorded order: ports, then what each is once the driver has it. */
static void test_greeting(void **state)
{
    static const uint64_t masks[] = {DOOR_SPLIT, DOOR_PACKED};

    for (size_t i = 0; i < G_N_ELEMENTS(masks); i++) {
        Fixture fixture;
        Door *door = &fixture.door;

        fixture_init(&fixture, "backend=null,id=c0", "virtconsole,chardev=c0");
        back_at(&fixture, "backend=null,id=c1");
        assert_true(door_plug(door, "virtserialport,chardev=c1,name=org.a", NULL));
        assert_true(door_plug(door, "virtserialport,nr=3", NULL));
        door_start(door, masks[i]);
        offer_control(door, 16);
        assert_heard(door, ""); /* not before it is ready */
        say(door, UINT32_MAX, DEVICE_READY, 1);
        assert_heard(door, "ADD 0=1");
        assert_heard(door, "ADD 1=1");
        assert_heard(door, "ADD 3=1");
        say(door, 0, PORT_READY, 1);
        assert_heard(door, "CONSOLE 0=1");
        assert_heard(door, "OPEN 0=1");
        say(door, 1, PORT_READY, 1);
        assert_heard(door, "NAME 1=1 org.a");
        assert_heard(door, "OPEN 1=1");
        say(door, 3, PORT_READY, 1);
        assert_heard(door, ""); /* nobody is there */
        assert_false(door_is_broken(door));
        fixture_clear(&fixture);
    }
}

/* Buffers that come late and one by one: nothing is lost, order is kept. */
static void test_late_buffers(void **state)
{
    Fixture fixture;
    Door *door = &fixture.door;

    fixture_init(&fixture, "backend=null,id=c0", "virtconsole,chardev=c0,name=n");
    door_start(door, DOOR_SPLIT);
    say(door, 0, DEVICE_READY, 1);
    say(door, 0, PORT_READY, 1);
    say(door, 0, PORT_READY, 1); /* again changes nothing that still waits */
    for (const char *const *expected =
             (const char *const[]){"ADD 0=1", "CONSOLE 0=1", "NAME 0=1 n", "OPEN 0=1", "",
                                   NULL};
         *expected; expected++) {
        offer_control(door, 1);
        assert_heard(door, *expected);
    }
    fixture_clear(&fixture);
}

/* Messages that no driver sends: passed over, and the next good one is heard. */
static void test_absurd_messages(void **state)
{
    static const Message absurd[] = {
        {0, DEVICE_READY, 0}, {1, PORT_READY, 0},        {2, PORT_READY, 1},
        {3, PORT_OPEN, 1},    {4, PORT_READY, 1},        {5, PORT_OPEN, 1},
        {511, PORT_OPEN, 1},  {1u << 31, PORT_READY, 1}, {UINT32_MAX, PORT_OPEN, 1},
        {1, PORT_ADD, 1},     {1, PORT_REMOVE, 1},       {1, CONSOLE_PORT, 1},
        {1, RESIZE, 1},       {1, PORT_NAME, 1},         {1, 8, 1},
        {1, UINT16_MAX, 1},
    };
    Fixture fixture;
    Door *door = &fixture.door;

    fixture_init(&fixture, "backend=null,id=c0", PORT);
    door_start(door, DOOR_SPLIT);
    offer_control(door, 4);
    for (size_t i = 0; i < G_N_ELEMENTS(absurd); i++) {
        say(door, absurd[i].id, absurd[i].event, absurd[i].value);
    }
    for (uint32_t len = 1; len < sizeof(Message); len++) {
        static const Message ready = {0, DEVICE_READY, 0x0101};

        say_bytes(door, &ready, len, 0);
    }
    assert_heard(door, "");
    say_bytes(door, "\0\0\0\0\0\0\1\0and what nobody asked for", 33,
              2); /* DEVICE_READY */
    assert_heard(door, "ADD 1=1");
    say(door, 0, DEVICE_READY, 1); /* 5.3.6.2.1: a port is told of once */
    assert_heard(door, "");
    assert_false(door_is_broken(door));
    fixture_clear(&fixture);
}

/* Room where a message should be: given back empty. */
static void test_message_without_bytes(void **state)
{
    Fixture fixture;
    uint32_t written = 1;
    uint64_t gpa;

    fixture_init(&fixture, "backend=null,id=c0", PORT);
    door_start(&fixture.door, DOOR_SPLIT);
    gpa = door_post(&fixture.door, CONTROL_OUT, 8, 0);
    assert_int_equal(door_used(&fixture.door, CONTROL_OUT, &written), gpa);
    assert_int_equal(written, 0);
    fixture_clear(&fixture);
}

/* A buffer that holds no message is a fault of the driver; a name is cut to what fits. */
static void test_small_buffers(void **state)
{
    static const struct {
        uint32_t len;
        bool sends; /* instead of leaving room */
        const char *reason;
    } rows[] = {
        {7, false,
         "5.3.6.2: a control buffer of 7 bytes, expected at least 8, in queue 2"},
        {1, false,
         "5.3.6.2: a control buffer of 1 bytes, expected at least 8, in queue 2"},
        {8, true,
         "5.3.6.2: a control buffer of 0 bytes, expected at least 8, in queue 2"},
        {8, false, NULL},
    };

    for (size_t i = 0; i < G_N_ELEMENTS(rows); i++) {
        g_autofree char *reason = NULL;
        Fixture fixture;
        Door *door = &fixture.door;

        fixture_init(&fixture, "backend=null,id=c0", PORT ",name=org.long.name");
        door_start(door, DOOR_SPLIT);
        if (rows[i].sends) {
            door_send(door, CONTROL_IN, "01234567", 8, 0);
        } else {
            door_post(door, CONTROL_IN, rows[i].len, 0);
        }
        door_send(door, CONTROL_OUT, "\0\0\0\0\0\0\1\0", 8, 0);
        door_settle(door);
        reason = vds_virtio_device_get_broken_reason(door->device);
        assert_true(g_strcmp0(reason, rows[i].reason) == 0);
        if (!reason) {
            uint32_t written;

            assert_int_not_equal(door_used(door, CONTROL_OUT, &written), 0);
            assert_heard(door, "ADD 1=1");
            say(door, 1, PORT_READY, 1);
            door_post(door, CONTROL_IN, 12, 0);
            assert_heard(door, "NAME 1=1 org.");
        }
        fixture_clear(&fixture);
    }
}
/* ---- ports ---- */

/* Without MULTIPORT there is port 0 alone, open from the start (5.3.5). */
static void test_single_port(void **state)
{
    Fixture fixture;
    Door *door = &fixture.door;

    fixture_init(&fixture, SERVER, "virtconsole,chardev=c0");
    door_start(door, DOOR_SPLIT & ~DOOR_BIT(1));
    transmit(door, 1, "nobody", 0);
    door_post(door, 0, 16, 0);
    offer_control(door, 2);
    say(door, 0, DEVICE_READY, 1);
    {
        VDS_AUTO_FD fd = dial(&fixture);

        assert_int_equal(write(fd, "keys", 4), 4);
        assert_got(door, 0, "keys");
        transmit(door, 1, "screen", 0);
        assert_received(fd, "screen");
    }
    assert_heard(door, "");
    fixture_clear(&fixture);
}

/* A byte at any time, with no queue, even before the driver is there (5.3.6.1). */
static void test_emergency_write(void **state)
{
    const uint32_t words[] = {GUINT32_TO_LE('o'), GUINT32_TO_LE(0xffffff00u | 'k')};
    g_autofree char *text = NULL;
    g_autoptr(GError) error = NULL;
    uint32_t max_ports;
    Fixture fixture;
    Door *door = &fixture.door;

    fixture_init(&fixture, "backend=file,id=c0,path=%s", NULL);
    for (size_t i = 0; i < G_N_ELEMENTS(words); i++) { /* no console: lost */
        assert_true(vds_virtio_driver_write_config(door->device, 8, &words[i], 4, NULL));
    }
    assert_true(door_plug(door, "virtconsole,chardev=c0", NULL));
    for (size_t i = 0; i < G_N_ELEMENTS(words); i++) {
        assert_true(vds_virtio_driver_write_config(door->device, 8, &words[i], 4, NULL));
    }
    assert_true(g_file_get_contents(fixture.path, &text, NULL, NULL));
    assert_string_equal(text, "ok");
    assert_true(
        vds_virtio_driver_read_config(door->device, 4, &max_ports, 4, NULL, NULL));
    assert_int_equal(GUINT32_FROM_LE(max_ports), 4);
    assert_false(vds_virtio_driver_write_config(door->device, 4, &max_ports, 4, &error));
    assert_true(g_error_matches(error, VDS_VIRTIO_ERROR, VDS_VIRTIO_ERROR_CONFIG));
    fixture_clear(&fixture);
}

/* Ports come and go under a driver; one that came and went between two looks was never
 * there, and an id that is used again is first taken away. */
static void test_hot_plug(void **state)
{
    Fixture fixture;
    Door *door = &fixture.door;

    fixture_init(&fixture, "backend=null,id=c0", PORT);
    door_start(door, DOOR_SPLIT);
    open_port(door, true);
    offer_control(door, 8);
    assert_true(door_plug(door, "virtserialport,id=q,nr=2,name=q", NULL));
    assert_heard(door, "ADD 2=1");
    say(door, 2, PORT_READY, 1);
    assert_heard(door, "NAME 2=1 q");
    assert_true(vds_machine_device_del(door->machine, "q", NULL));
    assert_heard(door, "REMOVE 2=1");
    transmit(door, 7, "to whom it may concern", 0);
    say(door, 2, PORT_OPEN, 1); /* too late */

    vds_machine_stop(door->machine); /* nothing can be said meanwhile */
    assert_true(door_plug(door, "virtserialport,id=q,nr=2", NULL));
    assert_true(vds_machine_device_del(door->machine, "q", NULL));
    assert_true(vds_machine_device_del(door->machine, "p", NULL));
    assert_true(door_plug(door, PORT, NULL));
    assert_true(vds_machine_cont(door->machine, NULL));
    assert_heard(door, "REMOVE 1=1");
    assert_heard(door, "ADD 1=1");
    assert_heard(door, "");
    fixture_clear(&fixture);
}

static void test_refused(void **state)
{
    static const struct {
        const char *chardev, *start;
    } rows[] = {
        {"backend=file,id=c0,path=/nonesuch/file", "Could not open '/nonesuch/file': "},
        {"backend=socket,id=c0,server=on,path=/nonesuch/socket",
         "Failed to bind socket to '/nonesuch/socket': "},
        {"backend=socket,id=c0,path=/nonesuch/socket",
         "Failed to connect to '/nonesuch/socket': "},
        {"backend=socket,id=c0", "a socket needs one of 'path', 'host' and 'fd'"},
        {"backend=socket,id=c0,fd=999", "no socket at descriptor '999': "},
        {"backend=udp,id=c0", "a port cannot be wired to chardev kind 'udp'"},
        {"backend=socket,id=c0,host=::bad::,port=1",
         "address resolution failed for '::bad:::1': "},
        {"backend=socket,id=c0,server=on,path=/"
         "0123456789012345678901234567890123456789012345678901234567890123456789012345678"
         "90123456789012345678901234567890",
         "UNIX socket path '/0123"},
    };

    for (size_t i = 0; i < G_N_ELEMENTS(rows); i++) {
        g_autoptr(GError) error = NULL;
        Fixture fixture;

        fixture_init(&fixture, rows[i].chardev, NULL);
        assert_false(door_plug(&fixture.door, PORT, &error));
        assert_true(g_error_matches(error, VDS_VIRTIO_ERROR, VDS_VIRTIO_ERROR_BACKEND));
        assert_true(g_str_has_prefix(error->message, rows[i].start));
        assert_true(door_plug(&fixture.door, "virtserialport,nr=1", NULL));
        fixture_clear(&fixture);
    }
}

/* A path in use stays in use; one that a dead server left is taken; no file is touched.
 */
static void test_socket_paths(void **state)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    VDS_AUTO_FD dead = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    Fixture fixture;
    Door *door = &fixture.door;

    fixture_init(&fixture, SERVER, NULL);
    back_at(&fixture, "backend=socket,id=c1,server=on,path=%s");
    assert_true(g_file_set_contents(fixture.path, "precious", -1, NULL));
    assert_false(door_plug(door, PORT, NULL));
    assert_true(g_file_test(fixture.path, G_FILE_TEST_IS_REGULAR));
    g_remove(fixture.path);

    g_strlcpy(address.sun_path, fixture.path, sizeof(address.sun_path));
    assert_int_equal(bind(dead, (struct sockaddr *)&address, sizeof(address)), 0);
    vds_fd_close(&dead);
    assert_true(door_plug(door, PORT, NULL));
    assert_false(door_plug(door, "virtserialport,nr=2,chardev=c1", NULL));
    assert_true(vds_machine_device_del(door->machine, "p", NULL));
    assert_false(g_file_test(fixture.path, G_FILE_TEST_EXISTS));
    assert_true(door_plug(door, "virtserialport,nr=2,chardev=c1", NULL));
    fixture_clear(&fixture);
}

/* ---- who is told ---- */

static void on_port_changed(void *user, const char *id, bool open)
{
    g_string_append_printf(user, "%s=%d ", id, open);
}

static void wait_told(VdsMailbox *mailbox, const GString *told, const char *expected)
{
    while (told->len < strlen(expected)) {
        struct pollfd wait = {.fd = vds_mailbox_get_fd(mailbox), .events = POLLIN};

        assert_int_equal(poll(&wait, 1, DOOR_PATIENCE_MS), 1);
        vds_mailbox_run(mailbox);
    }
    assert_string_equal(told->str, expected);
}

/* What is opened is told at once, what follows within a second as one; a reset closes; a
 * port without id, or one that stays as it is, is nobody's news. */
static void test_told(void **state)
{
    g_autoptr(GString) told = g_string_new(NULL);
    const VdsMachineListener listener = {.port_changed = on_port_changed, .user = told};
    VdsMailbox *mailbox;
    Fixture fixture;
    Door *door = &fixture.door;

    fixture_init(&fixture, NULL, NULL);
    mailbox = vds_machine_open_mailbox(door->machine, NULL);
    assert_non_null(mailbox);
    vds_machine_set_listener(door->machine, &listener);
    assert_true(door_plug(door, "virtserialport,id=p,nr=1", NULL));
    assert_true(door_plug(door, "virtserialport,nr=2", NULL));
    door_start(door, DOOR_SPLIT);
    offer_control(door, 8);
    say(door, UINT32_MAX, DEVICE_READY, 1);
    say(door, 2, PORT_OPEN, 1);
    say(door, 1, PORT_OPEN, 0);
    say(door, 1, PORT_OPEN, 1);
    for (unsigned i = 0; i < 4; i++) {
        say(door, 1, PORT_OPEN, i % 2 == 1);
    }
    wait_told(mailbox, told, "p=1 ");
    door_reset(door);
    wait_told(mailbox, told, "p=1 p=0 ");
    assert_true(vds_machine_device_del(door->machine, "p", NULL));
    vds_mailbox_run(mailbox);
    assert_string_equal(told->str, "p=1 p=0 ");
    fixture_clear(&fixture);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_greeting),
        cmocka_unit_test(test_late_buffers),
        cmocka_unit_test(test_absurd_messages),
        cmocka_unit_test(test_message_without_bytes),
        cmocka_unit_test(test_small_buffers),
        cmocka_unit_test(test_single_port),
        cmocka_unit_test(test_emergency_write),
        cmocka_unit_test(test_hot_plug),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_socket_paths),
        cmocka_unit_test(test_told),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
