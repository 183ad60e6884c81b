/*
 * cli: character devices and monitors, in all their forms.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <string.h>

#include "vds/cli.h"

enum { MAX_WORDS = 12 };

static VdsOptions *parse(const char *const *words, GError **error)
{
    const char *argv[MAX_WORDS + 1] = {"virtio-debugd"};
    int argc = 1;

    while (argc <= MAX_WORDS && words[argc - 1]) {
        argv[argc] = words[argc - 1];
        argc++;
    }
    return vds_options_parse(argc, argv, error);
}

/* ---- what a chardev becomes -------------------------------------------------------- */

#define NO_FD (-1)

static const struct {
    const char *option, *argument;
    VdsChardev expected;
} chardevs[] = {
    {"-qmp",
     "unix:/run/a.sock",
     {.kind = VDS_CHARDEV_SOCKET_UNIX, .path = (char *)"/run/a.sock"}},
    {"-qmp",
     "unix:/run/a.sock,server=on",
     {.kind = VDS_CHARDEV_SOCKET_UNIX,
      .path = (char *)"/run/a.sock",
      .server = true,
      .wait = true}},
    {"-qmp",
     "unix:/run/a.sock,server=on,wait=off",
     {.kind = VDS_CHARDEV_SOCKET_UNIX, .path = (char *)"/run/a.sock", .server = true}},
    {"-qmp",
     "unix:/run/a.sock,server,nowait",
     {.kind = VDS_CHARDEV_SOCKET_UNIX, .path = (char *)"/run/a.sock", .server = true}},
    {"-qmp",
     "unix:a,,b,wait=no,server=yes",
     {.kind = VDS_CHARDEV_SOCKET_UNIX, .path = (char *)"a,b", .server = true}},
    {"-qmp", "unix:path=x", {.kind = VDS_CHARDEV_SOCKET_UNIX, .path = (char *)"x"}},
    {"-qmp",
     "tcp:localhost:4444,server=on,wait=off,nodelay",
     {.kind = VDS_CHARDEV_SOCKET_TCP,
      .host = (char *)"localhost",
      .port = (char *)"4444",
      .server = true}},
    {"-qmp",
     "tcp::4444",
     {.kind = VDS_CHARDEV_SOCKET_TCP, .host = (char *)"", .port = (char *)"4444"}},
    {"-qmp",
     "tcp:[::1]:http",
     {.kind = VDS_CHARDEV_SOCKET_TCP, .host = (char *)"::1", .port = (char *)"http"}},
    {"-qmp", "stdio", {.kind = VDS_CHARDEV_STDIO}},
    {"-qmp", "pty", {.kind = VDS_CHARDEV_PTY}},
    {"-qmp", "null", {.kind = VDS_CHARDEV_NULL}},
    {"-qmp", "file:/tmp/a,b", {.kind = VDS_CHARDEV_FILE, .path = (char *)"/tmp/a,b"}},
    {"-chardev",
     "socket,id=a,path=/p,server=on,wait=off",
     {.kind = VDS_CHARDEV_SOCKET_UNIX, .path = (char *)"/p", .server = true}},
    {"-chardev",
     "socket,id=a,host=::,port=7,server=on",
     {.kind = VDS_CHARDEV_SOCKET_TCP,
      .host = (char *)"::",
      .port = (char *)"7",
      .server = true,
      .wait = true}},
    {"-chardev",
     "socket,id=charmonitor,fd=6,server=on,wait=off",
     {.kind = VDS_CHARDEV_SOCKET_FD, .fd = 6, .server = true}},
    {"-chardev",
     "socket,id=a,path=/p,reconnect=1,telnet=off,tight=on,websocket=no",
     {.kind = VDS_CHARDEV_SOCKET_UNIX, .path = (char *)"/p"}},
    {"-chardev",
     "{\"backend\":\"socket\",\"id\":\"a\",\"host\":\"h\",\"port\":7,\"server\":true}",
     {.kind = VDS_CHARDEV_SOCKET_TCP,
      .host = (char *)"h",
      .port = (char *)"7",
      .server = true,
      .wait = true}},
    {"-chardev",
     "{\"backend\":\"socket\",\"id\":\"a\",\"fd\":3}",
     {.kind = VDS_CHARDEV_SOCKET_FD, .fd = 3}},
    {"-chardev",
     "file,id=a,path=/f,append=on",
     {.kind = VDS_CHARDEV_FILE, .path = (char *)"/f"}},
    {"-chardev", "stdio,id=a,mux=on,signal=off", {.kind = VDS_CHARDEV_STDIO}},
    {"-chardev", "pty,id=a", {.kind = VDS_CHARDEV_PTY}},
    {"-chardev", "null,id=a", {.kind = VDS_CHARDEV_NULL}},
};

static void assert_same_text(const char *found, const char *expected)
{
    if (expected) {
        assert_non_null(found);
        assert_string_equal(found, expected);
    } else {
        assert_null(found);
    }
}

static void test_chardevs(void **state)
{
    for (size_t i = 0; i < G_N_ELEMENTS(chardevs); i++) {
        const char *const words[] = {chardevs[i].option, chardevs[i].argument, NULL};
        const VdsChardev *expected = &chardevs[i].expected;
        g_autoptr(GError) error = NULL;
        g_autoptr(VdsOptions) options = parse(words, &error);
        const VdsChardev *found;

        assert_null(error);
        assert_int_equal(options->chardevs->len, 1);
        found = g_ptr_array_index(options->chardevs, 0);
        assert_int_equal(found->kind, expected->kind);
        assert_same_text(found->path, expected->path);
        assert_same_text(found->host, expected->host);
        assert_same_text(found->port, expected->port);
        assert_int_equal(found->fd,
                         expected->kind == VDS_CHARDEV_SOCKET_FD ? expected->fd : NO_FD);
        assert_int_equal(found->server, expected->server);
        assert_int_equal(found->wait, expected->wait);
        assert_true(g_str_has_prefix(found->origin, chardevs[i].option));
    }
}

/* ---- what a monitor becomes -------------------------------------------------------- */

static const struct {
    const char *words[MAX_WORDS];
    const char *expected; /* "chardev:mode[:pretty] ..." */
} monitors[] = {
    {{"-qmp", "null"}, "compat_monitor0:control"},
    {{"-qmp-pretty", "null"}, "compat_monitor0:control:pretty"},
    {{"--monitor", "null"}, "compat_monitor0:readline"},
    {{"-monitor", "none"}, ""},
    {{"-qmp", "null", "-monitor", "none", "-qmp-pretty", "pty", "-monitor", "null"},
     "compat_monitor0:control compat_monitor1:control:pretty compat_monitor2:readline"},
    {{"-qmp", "chardev:x", "-qmp", "null", "-chardev", "null,id=x"},
     "x:control compat_monitor1:control"},
    {{"-mon", "x", "-chardev", "null,id=x"}, "x:readline"},
    {{"-chardev", "null,id=x", "-mon", "chardev=x,id=m,mode=control"}, "x:control"},
    {{"-mon", "x,mode=control,pretty=on", "-chardev", "null,id=x"}, "x:control:pretty"},
    {{"-mon", "x,mode=control,pretty", "-chardev", "null,id=x"}, "x:control:pretty"},
    {{"-mon", "x,mode=control,pretty=off", "-chardev", "null,id=x"}, "x:control"},
    {{"-mon", "{\"chardev\":\"x\",\"mode\":\"control\",\"pretty\":true}", "-chardev",
      "null,id=x"},
     "x:control:pretty"},
};

static void test_monitors(void **state)
{
    for (size_t i = 0; i < G_N_ELEMENTS(monitors); i++) {
        g_autoptr(GError) error = NULL;
        g_autoptr(VdsOptions) options = parse(monitors[i].words, &error);
        g_autoptr(GString) found = g_string_new(NULL);

        assert_null(error);
        for (unsigned m = 0; m < options->mons->len; m++) {
            const VdsMon *mon = g_ptr_array_index(options->mons, m);

            assert_string_equal(mon->chardev->id, mon->chardev_id);
            g_string_append_printf(found, "%s%s:%s%s", m ? " " : "", mon->chardev->id,
                                   mon->mode == VDS_MON_CONTROL ? "control" : "readline",
                                   mon->pretty ? ":pretty" : "");
        }
        assert_string_equal(found->str, monitors[i].expected);
    }
}

/* ---- what is refused --------------------------------------------------------------- */

static const struct {
    const char *words[MAX_WORDS];
    VdsCliError code;
    const char *message;
} refused[] = {
    {{"-qmp", "bad"}, VDS_CLI_ERROR_SYNTAX, "-qmp bad: 'bad' is not a valid char driver"},
    {{"-qmp", "unix"},
     VDS_CLI_ERROR_SYNTAX,
     "-qmp unix: 'unix' is not a valid char driver"},
    {{"-qmp", "none"},
     VDS_CLI_ERROR_SYNTAX,
     "-qmp none: 'none' is not a valid char driver"},
    {{"-qmp", ""}, VDS_CLI_ERROR_SYNTAX, "-qmp : '' is not a valid char driver"},
    {{"-qmp", "stdio,server=on"},
     VDS_CLI_ERROR_SYNTAX,
     "-qmp stdio,server=on: 'stdio,server=on' is not a valid char driver"},
    {{"-qmp", "unix:"},
     VDS_CLI_ERROR_MISSING,
     "-qmp unix:: one of 'path', 'host' and 'fd' is needed, found 0"},
    {{"-qmp", "unix:,server=on"},
     VDS_CLI_ERROR_MISSING,
     "-qmp unix:,server=on: chardev: socket: no path given"},
    {{"-qmp", "unix:/a=b"},
     VDS_CLI_ERROR_VALUE,
     "-qmp unix:/a=b: Invalid parameter '/a'"},
    {{"-qmp", "unix:/a,foo=on"},
     VDS_CLI_ERROR_VALUE,
     "-qmp unix:/a,foo=on: Invalid parameter 'foo'"},
    {{"-qmp", "unix:/a,=on"},
     VDS_CLI_ERROR_SYNTAX,
     "-qmp unix:/a,=on: Invalid parameter ''"},
    {{"-qmp", "tcp:"}, VDS_CLI_ERROR_SYNTAX, "-qmp tcp:: parse error: tcp:"},
    {{"-qmp", "tcp:h"}, VDS_CLI_ERROR_SYNTAX, "-qmp tcp:h: parse error: tcp:h"},
    {{"-qmp", "tcp:h:"}, VDS_CLI_ERROR_SYNTAX, "-qmp tcp:h:: parse error: tcp:h:"},
    {{"-qmp", "tcp:[::1"}, VDS_CLI_ERROR_SYNTAX, "-qmp tcp:[::1: parse error: tcp:[::1"},
    {{"-qmp", "tcp:h,x:1"},
     VDS_CLI_ERROR_SYNTAX,
     "-qmp tcp:h,x:1: parse error: tcp:h,x:1"},
    {{"-qmp", "tcp:h:1,path=/a"},
     VDS_CLI_ERROR_VALUE,
     "-qmp tcp:h:1,path=/a: one of 'path', 'host' and 'fd' is needed, found 2"},
    {{"-qmp", "unix:/a,wait=off"},
     VDS_CLI_ERROR_VALUE,
     "-qmp unix:/a,wait=off: 'wait' option is incompatible with socket in client connect "
     "mode"},
    {{"-qmp", "unix:/a,server=maybe"},
     VDS_CLI_ERROR_VALUE,
     "-qmp unix:/a,server=maybe: Parameter 'server' expects 'on' or 'off', found "
     "'maybe'"},
    {{"-qmp", "unix:/a,server=on,wait=maybe"},
     VDS_CLI_ERROR_VALUE,
     "-qmp unix:/a,server=on,wait=maybe: Parameter 'wait' expects 'on' or 'off', found "
     "'maybe'"},
    {{"-qmp", "unix:/a,telnet=on"},
     VDS_CLI_ERROR_VALUE,
     "-qmp unix:/a,telnet=on: Parameter 'telnet' can only be 'off' here"},
    {{"-qmp", "unix:/a,telnet=x"},
     VDS_CLI_ERROR_VALUE,
     "-qmp unix:/a,telnet=x: Parameter 'telnet' expects 'on' or 'off', found 'x'"},
    {{"-qmp", "unix:/a,tls-creds=t"},
     VDS_CLI_ERROR_VALUE,
     "-qmp unix:/a,tls-creds=t: Invalid parameter 'tls-creds'"},
    {{"-qmp", "chardev:x"},
     VDS_CLI_ERROR_MISSING,
     "-qmp chardev:x: chardev \"x\" not found"},
    {{"-qmp", "file:"},
     VDS_CLI_ERROR_MISSING,
     "-qmp file:: chardev: file: no filename given"},
    {{"-qmp", "stdio", "-monitor", "stdio"},
     VDS_CLI_ERROR_VALUE,
     "-monitor stdio: cannot use stdio by multiple character devices"},
    {{"-chardev", "stdio,id=b", "-daemonize"},
     VDS_CLI_ERROR_VALUE,
     "-chardev stdio,id=b: cannot use stdio with -daemonize"},
    {{"-chardev", ""}, VDS_CLI_ERROR_MISSING, "-chardev : chardev: no id specified"},
    {{"-chardev", "null"},
     VDS_CLI_ERROR_MISSING,
     "-chardev null: chardev: no id specified"},
    {{"-chardev", "id=a"},
     VDS_CLI_ERROR_MISSING,
     "-chardev id=a: chardev: \"a\" missing backend"},
    {{"-chardev", "foo,id=a"},
     VDS_CLI_ERROR_VALUE,
     "-chardev foo,id=a: 'foo' is not a valid char driver name"},
    {{"-chardev", "null,id=1a"},
     VDS_CLI_ERROR_VALUE,
     "-chardev null,id=1a: Parameter 'id' expects an identifier"},
    {{"-chardev", "null,id="},
     VDS_CLI_ERROR_VALUE,
     "-chardev null,id=: Parameter 'id' expects an identifier"},
    {{"-chardev", "{\"backend\":\"null\",\"id\":7}"},
     VDS_CLI_ERROR_VALUE,
     "-chardev {\"backend\":\"null\",\"id\":7}: Parameter 'id' expects an identifier"},
    {{"-chardev", "{"},
     VDS_CLI_ERROR_SYNTAX,
     "-chardev {: JSON parse error, premature EOI"},
    {{"-chardev", "null,id=a", "-chardev", "pty,id=a"},
     VDS_CLI_ERROR_VALUE,
     "-chardev pty,id=a: Duplicate ID 'a' for chardev"},
    {{"-chardev", "null,id=compat_monitor0", "-qmp", "null"},
     VDS_CLI_ERROR_VALUE,
     "-qmp null: Duplicate ID 'compat_monitor0' for chardev"},
    {{"-add-fd", "set=0,fd=2"},
     VDS_CLI_ERROR_VALUE,
     "-add-fd set=0,fd=2: fd cannot be a standard I/O stream"},
    {{"-add-fd", "set=0"},
     VDS_CLI_ERROR_MISSING,
     "-add-fd set=0: Parameter 'fd' is missing"},
    {{"-add-fd", "set=-1,fd=5"},
     VDS_CLI_ERROR_VALUE,
     "-add-fd set=-1,fd=5: Parameter 'set' expects a number from 0 to "
     "9223372036854775807, found '-1'"},
    {{"-add-fd", "set=0,fd=5", "-add-fd", "set=0,fd=6"},
     VDS_CLI_ERROR_VALUE,
     "-add-fd set=0,fd=6: fd set 0 has a descriptor already"},
    {{"-chardev", "file,id=a,path=/dev/fdset/3"},
     VDS_CLI_ERROR_MISSING,
     "-chardev file,id=a,path=/dev/fdset/3: '/dev/fdset/3' names no descriptor of "
     "-add-fd"},
    {{"-chardev", "file,id=a,path=x,path-fd=3"},
     VDS_CLI_ERROR_VALUE,
     "-chardev file,id=a,path=x,path-fd=3: Invalid parameter 'path-fd'"},
    {{"-chardev", "null,id=a,logfile=/x", "-mon", "a"},
     VDS_CLI_ERROR_VALUE,
     "-mon a: 'logfile' is for devices, a monitor keeps no log"},
    {{"-chardev", "socket,id=a"},
     VDS_CLI_ERROR_MISSING,
     "-chardev socket,id=a: one of 'path', 'host' and 'fd' is needed, found 0"},
    {{"-chardev", "socket,id=a,path=/x,fd=3"},
     VDS_CLI_ERROR_VALUE,
     "-chardev socket,id=a,path=/x,fd=3: one of 'path', 'host' and 'fd' is needed, found "
     "2"},
    {{"-chardev", "socket,id=a,host=h"},
     VDS_CLI_ERROR_MISSING,
     "-chardev socket,id=a,host=h: chardev: socket: no port given"},
    {{"-chardev", "socket,id=a,fd=x"},
     VDS_CLI_ERROR_VALUE,
     "-chardev socket,id=a,fd=x: Parameter 'fd' expects a number from 0 to 2147483647, "
     "found 'x'"},
    {{"-chardev", "socket,id=a,fd=2147483648"},
     VDS_CLI_ERROR_VALUE,
     "-chardev socket,id=a,fd=2147483648: Parameter 'fd' expects a number from 0 to "
     "2147483647, found '2147483648'"},
    {{"-chardev", "file,id=a"},
     VDS_CLI_ERROR_MISSING,
     "-chardev file,id=a: chardev: file: no filename given"},
    {{"-mon", ""}, VDS_CLI_ERROR_MISSING, "-mon : Parameter 'chardev' is missing"},
    {{"-mon", "mode=control"},
     VDS_CLI_ERROR_MISSING,
     "-mon mode=control: Parameter 'chardev' is missing"},
    {{"-mon", "chardev=x"},
     VDS_CLI_ERROR_MISSING,
     "-mon chardev=x: chardev \"x\" not found"},
    {{"-mon", "a,mode=foo", "-chardev", "null,id=a"},
     VDS_CLI_ERROR_VALUE,
     "-mon a,mode=foo: Parameter 'mode' does not accept value 'foo'"},
    {{"-mon", "a,mode=readline,pretty=on", "-chardev", "null,id=a"},
     VDS_CLI_ERROR_VALUE,
     "-mon a,mode=readline,pretty=on: 'pretty' is not compatible with HMP monitors"},
    {{"-mon", "a,mode=control,pretty=7", "-chardev", "null,id=a"},
     VDS_CLI_ERROR_VALUE,
     "-mon a,mode=control,pretty=7: Parameter 'pretty' expects 'on' or 'off', found '7'"},
    {{"-mon", "a,foo=b", "-chardev", "null,id=a"},
     VDS_CLI_ERROR_VALUE,
     "-mon a,foo=b: Invalid parameter 'foo'"},
    {{"-mon", "a,id=m", "-mon", "b,id=m", "-chardev", "null,id=a", "-chardev",
      "null,id=b"},
     VDS_CLI_ERROR_VALUE,
     "-mon b,id=m: Duplicate ID 'm' for mon"},
    {{"-mon", "a", "-mon", "a,mode=control", "-chardev", "null,id=a"},
     VDS_CLI_ERROR_VALUE,
     "-mon a,mode=control: Device 'a' is in use"},
};

static void test_refused(void **state)
{
    for (size_t i = 0; i < G_N_ELEMENTS(refused); i++) {
        g_autoptr(GError) error = NULL;

        assert_null(parse(refused[i].words, &error));
        assert_non_null(error);
        assert_string_equal(error->message, refused[i].message);
        assert_true(g_error_matches(error, VDS_CLI_ERROR, (int)refused[i].code));
    }
}

/* A chardev may also be what a device is wired to; a short form is nobody's but its
 * monitor's. */
static void test_only_long_forms_are_backends(void **state)
{
    static const char *const words[] = {"-qmp", "null", "-chardev", "pty,id=p", NULL};
    g_autoptr(VdsOptions) options = parse(words, NULL);
    const VdsBackendOption *backend;

    assert_int_equal(options->chardevs->len, 2);
    assert_int_equal(options->backends->len, 1);
    backend = g_ptr_array_index(options->backends, 0);
    assert_string_equal(backend->kind, "chardev");
    assert_string_equal(vds_props_get_string(backend->props, "id"), "p");
    assert_string_equal(backend->origin, "-chardev pty,id=p");
}

/* -add-fd comes first: its descriptors are named by paths. */
static void test_inherited_files(void **state)
{
    static const char *const words[] = {
        "-add-fd",  "set=0,fd=22,opaque=x",
        "-chardev", "file,id=f,path=/dev/fdset/0,append=on",
        "-add-fd",  "fd=23,set=1",
        "-chardev", "pty,id=p,logfile=/dev/fdset/1,logappend=on",
        "-chardev", "null,id=n,logfile=/plain",
        NULL};
    static const char *const expected[][2] = {{"path-fd", "22"}, {"logfile-fd", "23"}};
    g_autoptr(VdsOptions) options = parse(words, NULL);

    for (unsigned i = 0; i < G_N_ELEMENTS(expected); i++) {
        const VdsBackendOption *backend = g_ptr_array_index(options->backends, i);
        const VdsProp *prop = vds_props_find(backend->props, expected[i][0]);

        assert_non_null(prop);
        assert_string_equal(prop->text, expected[i][1]);
    }
    assert_null(vds_props_find(
        ((VdsBackendOption *)g_ptr_array_index(options->backends, 2))->props,
        "logfile-fd"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_chardevs),
        cmocka_unit_test(test_monitors),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_only_long_forms_are_backends),
        cmocka_unit_test(test_inherited_files),
    };

    return cmocka_run_group_tests_name("cli-chardev", tests, NULL, NULL);
}
