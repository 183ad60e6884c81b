/*
 * The libvirt API in C: what a management program sees of a domain that is ours.
 *
 * virDomainQemuMonitorCommand with JSON and with the human monitor's lines, the monitor's
 * events and libvirt's own, and the five replies held against each other and the object
 * tree. Owns one domain, defined and started for each test.  Knows nothing of how
 * libvirtd was started: tests/libvirt/with-host.py does that.
 */
#include <libvirt/libvirt-qemu.h>
#include <libvirt/libvirt.h>
#include <libvirt/virterror.h>

#include <json-glib/json-glib.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

enum { PATIENCE_S = 60, DEVICES = 5 };

typedef struct {
    virConnectPtr connection;
    virDomainPtr domain;
    int lifecycle_id, removed_id, monitor_id;
    GPtrArray *monitor_events; /* "NAME" or "NAME DETAILS" */
    GArray *lifecycle;         /* pairs of int: event, detail */
    char *removed;             /* the last alias */
} Host;

static void fail_libvirt(const char *what)
{
    const char *why = virGetLastErrorMessage();

    fail_msg("%s: %s", what, why ? why : "?");
}

static char *file_of(const char *variable)
{
    const char *path = g_getenv(variable);
    char *text = NULL;

    assert_non_null(path);
    assert_true(g_file_get_contents(path, &text, NULL, NULL));
    return text;
}

/* --- asking ---------------------------------------------------------------------------
 */

static char *command(Host *host, const char *text, unsigned int flags)
{
    char *reply = NULL;

    if (virDomainQemuMonitorCommand(host->domain, text, &reply, flags) < 0) {
        fail_libvirt(text);
    }
    assert_non_null(reply);
    return reply;
}

static JsonNode *ask(Host *host, const char *request)
{
    char *reply = command(host, request, VIR_DOMAIN_QEMU_MONITOR_COMMAND_DEFAULT);
    JsonNode *node = json_from_string(reply, NULL);

    assert_non_null(node);
    free(reply);
    return node;
}

/* The reply's value of @name; a reply without is a failure. */
static JsonNode *value(JsonNode *reply, const char *name)
{
    JsonNode *node = json_object_get_member(json_node_get_object(reply), name);

    if (!node) {
        g_autofree char *text = json_to_string(reply, FALSE);
        fail_msg("no '%s' in %s", name, text);
    }
    return node;
}

static JsonNode *query(Host *host, const char *name, const char *path, int queue)
{
    g_autoptr(GString) request = g_string_new(NULL);

    g_string_printf(request, "{\"execute\": \"%s\", \"arguments\": {\"path\": \"%s\"",
                    name, path);
    if (queue >= 0) {
        g_string_append_printf(request, ", \"queue\": %d", queue);
    }
    g_string_append(request, "}}");
    return ask(host, request->str);
}

static void assert_error(JsonNode *reply, const char *class)
{
    JsonObject *error = json_node_get_object(value(reply, "error"));

    assert_string_equal(json_object_get_string_member(error, "class"), class);
    assert_true(strlen(json_object_get_string_member(error, "desc")) > 0);
}

static gint64 number(JsonNode *object, const char *name)
{
    return json_node_get_int(value(object, name));
}

static const char *string(JsonNode *object, const char *name)
{
    return json_node_get_string(value(object, name));
}

/* --- events ---------------------------------------------------------------------------
 */

static void on_monitor(virConnectPtr connection, virDomainPtr domain, const char *event,
                       long long seconds, unsigned int micros, const char *details,
                       void *opaque)
{
    Host *host = opaque;

    g_ptr_array_add(host->monitor_events,
                    details ? g_strdup_printf("%s %s", event, details) : g_strdup(event));
}

static int on_lifecycle(virConnectPtr connection, virDomainPtr domain, int event,
                        int detail, void *opaque)
{
    Host *host = opaque;
    int pair[] = {event, detail};

    g_array_append_vals(host->lifecycle, pair, 2);
    return 0;
}

static void on_removed(virConnectPtr connection, virDomainPtr domain, const char *alias,
                       void *opaque)
{
    Host *host = opaque;

    g_free(host->removed);
    host->removed = g_strdup(alias);
}

static void on_timeout(int timer, void *opaque)
{
    *(bool *)opaque = true;
}

static bool has_monitor_event(Host *host, const void *wanted)
{
    for (guint i = 0; i < host->monitor_events->len; i++) {
        if (g_str_has_prefix(g_ptr_array_index(host->monitor_events, i), wanted)) {
            return true;
        }
    }
    return false;
}

static bool has_lifecycle(Host *host, const void *wanted)
{
    for (guint i = 0; i < host->lifecycle->len; i += 2) {
        if (memcmp(&g_array_index(host->lifecycle, int, i), wanted, 2 * sizeof(int)) ==
            0) {
            return true;
        }
    }
    return false;
}

static bool has_removed(Host *host, const void *wanted)
{
    return g_strcmp0(host->removed, wanted) == 0;
}

/* Runs the event loop until @check finds @wanted. */
static void await(Host *host, bool (*check)(Host *, const void *), const void *wanted,
                  const char *what)
{
    bool late = false;
    int timer = virEventAddTimeout(PATIENCE_S * 1000, on_timeout, &late, NULL);

    while (!check(host, wanted)) {
        if (late || virEventRunDefaultImpl() < 0) {
            fail_msg("waited in vain for %s", what);
        }
    }
    virEventRemoveTimeout(timer);
}

static void await_monitor(Host *host, const char *event)
{
    await(host, has_monitor_event, event, event);
}

static void await_lifecycle(Host *host, int event, int detail)
{
    g_autofree char *what =
        g_strdup_printf("lifecycle event %d, detail %d", event, detail);

    await(host, has_lifecycle, (int[]){event, detail}, what);
}

/* --- a domain for each test -----------------------------------------------------------
 */

static int start(void **state)
{
    Host *host = g_new0(Host, 1);
    g_autofree char *xml = file_of("VDS_DOMAIN_XML");

    *state = host;
    host->monitor_events = g_ptr_array_new_with_free_func(g_free);
    host->lifecycle = g_array_new(FALSE, FALSE, sizeof(int));
    host->connection = virConnectOpen("qemu:///session");
    if (!host->connection ||
        !(host->domain = virDomainDefineXML(host->connection, xml))) {
        fail_libvirt("define");
    }
    host->monitor_id = virConnectDomainQemuMonitorEventRegister(
        host->connection, host->domain, NULL, on_monitor, host, NULL, 0);
    host->lifecycle_id = virConnectDomainEventRegisterAny(
        host->connection, host->domain, VIR_DOMAIN_EVENT_ID_LIFECYCLE,
        VIR_DOMAIN_EVENT_CALLBACK(on_lifecycle), host, NULL);
    host->removed_id = virConnectDomainEventRegisterAny(
        host->connection, host->domain, VIR_DOMAIN_EVENT_ID_DEVICE_REMOVED,
        VIR_DOMAIN_EVENT_CALLBACK(on_removed), host, NULL);
    assert_true(host->monitor_id >= 0 && host->lifecycle_id >= 0 &&
                host->removed_id >= 0);
    if (virDomainCreate(host->domain) < 0) {
        fail_libvirt("start");
    }
    return 0;
}

static int stop(void **state)
{
    Host *host = *state;

    if (virDomainIsActive(host->domain) == 1 && virDomainDestroy(host->domain) < 0) {
        fail_libvirt("destroy");
    }
    assert_int_equal(virDomainUndefine(host->domain), 0);
    virConnectDomainQemuMonitorEventDeregister(host->connection, host->monitor_id);
    virConnectDomainEventDeregisterAny(host->connection, host->lifecycle_id);
    virConnectDomainEventDeregisterAny(host->connection, host->removed_id);
    virDomainFree(host->domain);
    virConnectClose(host->connection);
    g_ptr_array_unref(host->monitor_events);
    g_array_unref(host->lifecycle);
    g_free(host->removed);
    g_free(host);
    return 0;
}

static void assert_state(Host *host, int expected, int expected_reason)
{
    int now, reason;

    assert_int_equal(virDomainGetState(host->domain, &now, &reason, 0), 0);
    assert_int_equal(now, expected);
    assert_int_equal(reason, expected_reason);
}

/* --- the five commands ----------------------------------------------------------------
 */

/* Whether /machine/peripheral has the device that @path is the virtio part of. */
static bool in_object_tree(JsonArray *peripherals, const char *path)
{
    g_auto(GStrv) parts = g_strsplit(path, "/", -1);

    assert_int_equal(g_strv_length(parts),
                     5); /* "", machine, peripheral, ALIAS, virtio-backend */
    for (guint i = 0; i < json_array_get_length(peripherals); i++) {
        JsonNode *row = json_array_get_element(peripherals, i);

        if (g_str_equal(string(row, "name"), parts[3])) {
            return g_str_has_prefix(string(row, "type"), "child<virtio-");
        }
    }
    return false;
}

/* A queue's replies agree with each other and with the device's. */
static void check_queue(Host *host, const char *path, const char *name, int n)
{
    g_autoptr(JsonNode) reply = query(host, "x-query-virtio-queue-status", path, n);
    g_autoptr(JsonNode) element = query(host, "x-query-virtio-queue-element", path, n);
    g_autoptr(JsonNode) vhost = query(host, "x-query-virtio-vhost-queue-status", path, n);
    JsonNode *queue = value(reply, "return");

    assert_string_equal(string(queue, "name"), name);
    assert_int_equal(number(queue, "queue-index"), n);
    assert_true(number(queue, "vring-num") <= number(queue, "vring-num-default"));
    assert_int_equal((number(queue, "used-idx") + number(queue, "inuse")) & 0xffff,
                     number(queue, "last-avail-idx"));
    assert_error(vhost, "GenericError");
    if (number(queue, "vring-desc") == 0) {
        return; /* one that the driver does not use */
    }
    if (json_object_has_member(json_node_get_object(element), "return")) {
        JsonNode *chain = value(element, "return");

        assert_string_equal(string(chain, "name"), name);
        assert_true(number(chain, "index") < number(queue, "vring-num"));
        assert_int_equal(number(value(chain, "used"), "idx"), number(queue, "used-idx"));
    }
}

static bool is_driven(Host *host, const char *path)
{
    g_autoptr(JsonNode) reply = query(host, "x-query-virtio-status", path, -1);

    return json_node_get_boolean(value(value(reply, "return"), "started"));
}

static void await_driven(Host *host, const char *path)
{
    for (int tries = 0; !is_driven(host, path); tries++) {
        assert_true(tries < PATIENCE_S * 100);
        g_usleep(10 * 1000);
    }
}

static void check_device(Host *host, const char *path, const char *name)
{
    await_driven(host, path);

    g_autoptr(JsonNode) reply = query(host, "x-query-virtio-status", path, -1);
    JsonNode *status = value(reply, "return");

    assert_string_equal(string(status, "name"), name);
    assert_true(json_node_get_boolean(value(status, "vm-running")));
    assert_false(json_node_get_boolean(value(status, "broken")));
    assert_int_equal(json_array_get_length(
                         json_node_get_array(value(value(status, "status"), "statuses"))),
                     4);
    for (int n = 0; n < number(status, "num-vqs"); n++) {
        check_queue(host, path, name, n);
    }
    g_autoptr(JsonNode) beyond = query(host, "x-query-virtio-queue-status", path, 1024);
    assert_error(beyond, "GenericError");
}

static void every_device(void **state)
{
    Host *host = *state;
    g_autoptr(JsonNode) reply = ask(host, "{\"execute\": \"x-query-virtio\"}");
    g_autoptr(JsonNode) tree = query(host, "qom-list", "/machine/peripheral", -1);
    JsonArray *devices = json_node_get_array(value(reply, "return"));

    assert_int_equal(json_array_get_length(devices), DEVICES);
    for (guint i = 0; i < DEVICES; i++) {
        JsonNode *row = json_array_get_element(devices, i);

        assert_true(in_object_tree(json_node_get_array(value(tree, "return")),
                                   string(row, "path")));
        check_device(host, string(row, "path"), string(row, "name"));
    }
}

static void human_monitor(void **state)
{
    Host *host = *state;
    g_autoptr(JsonNode) reply = ask(host, "{\"execute\": \"x-query-virtio\"}");
    JsonArray *devices = json_node_get_array(value(reply, "return"));
    char *text = command(host, "info virtio", VIR_DOMAIN_QEMU_MONITOR_COMMAND_HMP);
    char *wrong =
        command(host, "info virtio-status /machine", VIR_DOMAIN_QEMU_MONITOR_COMMAND_HMP);

    for (guint i = 0; i < json_array_get_length(devices); i++) {
        JsonNode *row = json_array_get_element(devices, i);

        assert_non_null(strstr(text, string(row, "path")));
        assert_non_null(strstr(text, string(row, "name")));
    }
    assert_true(g_str_has_prefix(wrong, "Error: "));
    free(text);
    free(wrong);
}

/* A QMP error is a reply, too; libvirt hands it over as it came. */
static void errors(void **state)
{
    static const struct {
        const char *request, *class;
    } rows[] = {
        {"{\"execute\": \"no-such-command\"}", "CommandNotFound"},
        {"{\"execute\": \"x-query-virtio-status\"}", "GenericError"},
        {"{\"execute\": \"x-query-virtio-status\", \"arguments\": {\"path\": "
         "\"/nowhere\"}}",
         "GenericError"},
        {"{\"execute\": \"qom-list\", \"arguments\": {\"path\": \"/nowhere\"}}",
         "DeviceNotFound"},
    };
    Host *host = *state;

    for (gsize i = 0; i < G_N_ELEMENTS(rows); i++) {
        g_autoptr(JsonNode) reply = ask(host, rows[i].request);

        assert_error(reply, rows[i].class);
    }
}

/* --- life and events ------------------------------------------------------------------
 */

static void stop_and_go(void **state)
{
    Host *host = *state;

    await_lifecycle(host, VIR_DOMAIN_EVENT_STARTED, VIR_DOMAIN_EVENT_STARTED_BOOTED);
    assert_int_equal(virDomainSuspend(host->domain), 0);
    await_monitor(host, "STOP");
    await_lifecycle(host, VIR_DOMAIN_EVENT_SUSPENDED, VIR_DOMAIN_EVENT_SUSPENDED_PAUSED);
    assert_state(host, VIR_DOMAIN_PAUSED, VIR_DOMAIN_PAUSED_USER);
    g_ptr_array_set_size(host->monitor_events, 0);
    assert_int_equal(virDomainResume(host->domain), 0);
    await_monitor(host, "RESUME");
    await_lifecycle(host, VIR_DOMAIN_EVENT_RESUMED, VIR_DOMAIN_EVENT_RESUMED_UNPAUSED);
    assert_int_equal(virDomainReset(host->domain, 0), 0);
    await_monitor(host, "RESET {\"guest\":false,\"reason\":\"host-qmp-system-reset\"}");
    assert_state(host, VIR_DOMAIN_RUNNING, VIR_DOMAIN_RUNNING_UNPAUSED);
}

static void power_button(void **state)
{
    Host *host = *state;

    assert_int_equal(virDomainShutdown(host->domain), 0);
    await_monitor(host, "POWERDOWN");
    await_monitor(host, "SHUTDOWN {\"guest\":true,\"reason\":\"guest-shutdown\"}");
    await_lifecycle(host, VIR_DOMAIN_EVENT_SHUTDOWN, VIR_DOMAIN_EVENT_SHUTDOWN_GUEST);
    await_lifecycle(host, VIR_DOMAIN_EVENT_STOPPED, VIR_DOMAIN_EVENT_STOPPED_SHUTDOWN);
    assert_state(host, VIR_DOMAIN_SHUTOFF, VIR_DOMAIN_SHUTOFF_SHUTDOWN);
}

static void attach_and_detach(void **state)
{
    Host *host = *state;
    g_autofree char *xml = file_of("VDS_RNG_XML");
    /* Without its alias libvirt would take the first rng that looks alike. */
    const char *path = "/machine/peripheral/rng1/virtio-backend";

    if (virDomainAttachDevice(host->domain, xml) < 0) {
        fail_libvirt("attach");
    }
    check_device(host, path, "virtio-rng");
    assert_int_equal(
        virDomainDetachDeviceAlias(host->domain, "rng1", VIR_DOMAIN_AFFECT_LIVE), 0);
    await_monitor(
        host,
        "DEVICE_DELETED {\"device\":\"rng1\",\"path\":\"/machine/peripheral/rng1\"}");
    await(host, has_removed, "rng1", "libvirt's word that rng1 has gone");
    g_autoptr(JsonNode) reply = query(host, "x-query-virtio-status", path, -1);
    assert_error(reply, "GenericError");
}

static void destroyed(void **state)
{
    Host *host = *state;

    assert_int_equal(virDomainDestroy(host->domain), 0);
    await_lifecycle(host, VIR_DOMAIN_EVENT_STOPPED, VIR_DOMAIN_EVENT_STOPPED_DESTROYED);
    assert_state(host, VIR_DOMAIN_SHUTOFF, VIR_DOMAIN_SHUTOFF_DESTROYED);
    await_monitor(host, "SHUTDOWN {\"guest\":false,\"reason\":\"host-signal\"}");
}

static void no_words(void *opaque, virErrorPtr error)
{
    /* A failure says it in its own words; libvirt would write to standard error, too. */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(every_device, start, stop),
        cmocka_unit_test_setup_teardown(human_monitor, start, stop),
        cmocka_unit_test_setup_teardown(errors, start, stop),
        cmocka_unit_test_setup_teardown(stop_and_go, start, stop),
        cmocka_unit_test_setup_teardown(power_button, start, stop),
        cmocka_unit_test_setup_teardown(attach_and_detach, start, stop),
        cmocka_unit_test_setup_teardown(destroyed, start, stop),
    };

    virSetErrorFunc(NULL, no_words);
    if (virEventRegisterDefaultImpl() < 0 || virInitialize() < 0) {
        return 1;
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
