/*
 * The daemon in the process of the benchmark `live`: a machine with one device on one I/O
 * thread, a monitor with one client, and the device set up as a driver would.
 */
#include <sys/eventfd.h>
#include <sys/socket.h>

#include "live.h"

enum {
    RAM_BYTES = 16 << 20,
    UNSET = 0xff, /* a status that no device gives */
};

/* ---- the daemon ----------------------------------------------------------------------
 */

static void ignore_event(void *user, const VdsQapiEvent *event, const void *data)
{
}

static VdsQmpError classify(const GError *error)
{
    return VDS_QMP_ERROR_GENERIC;
}

static char *no_line(void *user, const char *line)
{
    return g_strdup("");
}

static void start_machine(Live *live)
{
    const VdsMachineMemory memory = {.bytes = RAM_BYTES, .given = true};
    g_autoptr(VdsProps) netdev = vds_props_new();
    g_autoptr(VdsProps) device = vds_props_new();
    GError *error = NULL;

    vds_props_set_string(netdev, "type", "user");
    vds_props_set_string(netdev, "id", "n0");
    vds_props_set_string(device, "driver", live->load->driver);
    vds_props_set_string(device, "id", "d0");
    vds_props_set_string(device, "packed", live->packed ? "on" : "off");
    vds_props_set_string(device, live->load->key, live->load->value);
    live->machine = vds_machine_new("vds", vds_device_classes);
    live_check(vds_machine_backend_add(live->machine, "netdev", netdev, &error) &&
                   vds_machine_set_memory(live->machine, &memory, &error) &&
                   vds_machine_device_add(live->machine, device, &error) &&
                   vds_machine_cont(live->machine, &error),
               error);
    live->device = vds_machine_find(live->machine, LIVE_DEVICE_PATH, NULL);
    live_check(live->device && vds_virtio_device_get_io_thread(live->device), NULL);
}

static void start_monitor(Live *live)
{
    VdsMonitorConfig config = {.mode = VDS_MONITOR_QMP, .transport = VDS_MONITOR_FD};
    GError *error = NULL;
    int fds[2];

    live_check(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) == 0, NULL);
    live->fd = fds[0];
    config.fd = fds[1];
    live->context = g_main_context_new();
    live->sink = (VdsEventSink){.emit = ignore_event};
    live->host = (VdsCmdsHost){.package = "benchmark"};
    live->cmds = vds_cmds_new(live->machine, &live->host, &live->sink);
    live->qmp = (VdsQmpServer){.dispatch = vds_cmds_dispatch,
                               .ctx = live->cmds,
                               .major = VDS_CMDS_LEVEL_MAJOR,
                               .package = "benchmark",
                               .classify = classify};
    live->human = (VdsMonitorHuman){.line = no_line, .banner = ""};
    live->monitor = vds_monitor_new(live->context, &live->qmp, &live->human);
    live_check(vds_monitor_add(live->monitor, &config, &error), error);
}

static uint64_t allocate(Live *live, uint64_t bytes)
{
    GError *error = NULL;
    uint64_t gpa = 0;

    live_check(vds_guest_ram_alloc(vds_machine_get_ram(live->machine), bytes, 4096, &gpa,
                                   &error),
               error);
    return gpa;
}

/* The last byte of a slot's last span: of a disk's request, its status. */
static uint64_t status_gpa(const Live *live, unsigned slot)
{
    uint64_t gpa = live->slots_gpa + slot * LIVE_SLOT_BYTES;

    for (unsigned i = 0; i < LIVE_SPANS; i++) {
        gpa += live->load->lens[i];
    }
    return gpa - 1;
}

static void place_queue(Live *live, const VdsFeatures *features)
{
    const uint8_t unset = UNSET;
    VdsQueueState *setup = &live->setup;

    setup->packed = vds_features_has(features, VDS_F_RING_PACKED);
    live_check(setup->packed == live->packed, NULL);
    setup->event_idx = vds_features_has(features, VDS_F_RING_EVENT_IDX);
    setup->num = vds_virtio_driver_get_queue_size(live->device, live->load->queue);
    setup->map = vds_guest_ram_get_map(vds_machine_get_ram(live->machine));
    setup->desc = allocate(live, vds_queue_desc_size(setup));
    setup->avail = allocate(live, vds_queue_avail_size(setup));
    setup->used = allocate(live, vds_queue_used_size(setup));
    live->tables =
        (VdsDriverTables){allocate(live, setup->num * LIVE_SPANS * 16), LIVE_SPANS};
    /* All zeroes: a read of sector 0, and a frame that nobody looks at. */
    live->slots_gpa = allocate(live, LIVE_MAX_DEPTH * LIVE_SLOT_BYTES);
    for (unsigned i = 0; i < LIVE_MAX_DEPTH; i++) {
        live_check(vds_guest_map_write(setup->map, status_gpa(live, i), &unset, 1, NULL),
                   NULL);
    }
}

/* The requests did what they were to do. */
static void check_requests(const Live *live)
{
    for (unsigned i = 0; i < live->depth && live->load->n_in > 0; i++) {
        uint8_t status = UNSET;

        live_check(
            vds_guest_map_read(live->setup.map, status_gpa(live, i), &status, 1, NULL) &&
                status == 0,
            NULL);
    }
}

static void start_driver(Live *live)
{
    VdsVirtioDevice *device = live->device;
    VdsFeatures features = vds_virtio_driver_get_features(device);
    uint8_t status = VDS_STATUS_ACKNOWLEDGE | VDS_STATUS_DRIVER;
    VdsQueueSetup setup;
    GError *error = NULL;

    features.word[0] &=
        UINT64_C(1) << VDS_F_VERSION_1 | UINT64_C(1) << VDS_F_RING_EVENT_IDX |
        UINT64_C(1) << VDS_F_RING_INDIRECT_DESC | UINT64_C(1) << VDS_F_RING_PACKED;
    features.word[1] = 0;
    vds_virtio_driver_set_map(device,
                              vds_guest_ram_get_map(vds_machine_get_ram(live->machine)));
    place_queue(live, &features);
    live->ring =
        vds_driver_ring_new(&live->setup, VDS_VRING_INDIRECT, &live->tables, &error);
    live_check(live->ring, error);
    setup = (VdsQueueSetup){.num = live->setup.num,
                            .desc = live->setup.desc,
                            .avail = live->setup.avail,
                            .used = live->setup.used};
    live_check(
        vds_virtio_driver_set_status(device, status, &error) &&
            vds_virtio_driver_set_features(device, &features, &error) &&
            vds_virtio_driver_set_status(device, status |= VDS_STATUS_FEATURES_OK,
                                         &error) &&
            vds_virtio_driver_set_queue(device, live->load->queue, &setup, &error) &&
            vds_virtio_driver_enable_queue(device, live->load->queue, &error) &&
            vds_virtio_driver_set_status(device, status | VDS_STATUS_DRIVER_OK, &error),
        error);
    live->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    live_check(live->wake_fd >= 0, NULL);
}

void live_start(Live *live)
{
    atomic_store(&live->resting, true);
    start_machine(live);
    start_monitor(live);
    start_driver(live);
}

void live_reset(Live *live)
{
    live_check(vds_virtio_driver_set_status(live->device, 0, NULL), NULL);
    check_requests(live);
}

void live_stop(Live *live)
{
    vds_monitor_free(live->monitor);
    vds_cmds_free(live->cmds);
    vds_machine_free(live->machine);
    vds_driver_ring_free(live->ring);
    g_main_context_unref(live->context);
    vds_fd_close(&live->fd);
    vds_fd_close(&live->wake_fd);
}
