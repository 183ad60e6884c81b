/*
 * guest: the guest as a whole: its thread, its devices, when it runs.  Refuses to know
 * what a driver does.
 *
 * The main loop hands over devices and waits while the guest's thread takes them in, so
 * that the list of devices needs no lock: it is changed by one thread while the other
 * stands still.
 */
#include "guest-priv.h"

/* Devices looked at before the mailbox is: who waits for the guest waits no longer. */
enum { BATCH = 8 };

struct VdsGuest {
    VdsGuestRam *ram; /* borrowed */
    VdsIoThread *thread;
    bool started;          /* the main loop's: the thread runs */
    GHashTable *by_device; /* the main loop's: VdsVirtioDevice -> VdsGuestDevice */
    pthread_mutex_t lock;  /* of last_error in every device */

    /* The guest's thread's. */
    bool running;
    VdsGuestDevice *devices; /* newest first */
    VdsGuestDevice *work;    /* a queue: those to look at */
    VdsGuestDevice **work_end;
    bool work_posted;
};

bool vds_guest_is_running(const VdsGuest *guest)
{
    return guest->running;
}

VdsIoThread *vds_guest_get_thread(const VdsGuest *guest)
{
    return guest->thread;
}

VdsGuestRam *vds_guest_get_ram(const VdsGuest *guest)
{
    return guest->ram;
}

pthread_mutex_t *vds_guest_get_lock(VdsGuest *guest)
{
    return &guest->lock;
}

VdsGuestDevice *vds_guest_get_devices(const VdsGuest *guest)
{
    return guest->devices;
}

/* ---- work ------------------------------------------------------------------------- */

static void run_work(void *user)
{
    VdsGuest *guest = user;

    guest->work_posted = false;
    for (unsigned i = 0; i < BATCH && guest->work && guest->running; i++) {
        VdsGuestDevice *device = guest->work;

        guest->work = device->next_work;
        if (!guest->work) {
            guest->work_end = &guest->work;
        }
        device->queued = false;
        if (device->life == VDS_GUEST_GONE) {
            vds_guest_device_probe(device);
        } else {
            vds_guest_device_serve(device);
        }
    }
    if (guest->work && guest->running) {
        guest->work_posted = true;
        vds_io_thread_post(guest->thread, run_work, guest);
    }
}

void vds_guest_queue_work(VdsGuestDevice *device)
{
    VdsGuest *guest = device->guest;

    if (!device->queued) {
        device->queued = true;
        device->next_work = NULL;
        *guest->work_end = device;
        guest->work_end = &device->next_work;
    }
    if (guest->running && !guest->work_posted) {
        guest->work_posted = true;
        vds_io_thread_post(guest->thread, run_work, guest);
    }
}

static void drop_work(VdsGuestDevice *device)
{
    VdsGuest *guest = device->guest;
    VdsGuestDevice **link = &guest->work;

    if (!device->queued) {
        return;
    }
    while (*link != device) {
        link = &(*link)->next_work;
    }
    *link = device->next_work;
    if (!*link) {
        guest->work_end = link;
    }
    device->queued = false;
}

/* ---- what the main loop asks for, on the guest's thread -------------------------------
 */

/* Before the first resume there is no thread, and nobody to be in the way. */
static void call(VdsGuest *guest, VdsTaskFunc func, void *user)
{
    if (guest->started) {
        vds_io_thread_call(guest->thread, func, user);
    } else {
        func(user);
    }
}

static void do_plug(void *user)
{
    VdsGuestDevice *device = user;
    VdsGuest *guest = device->guest;

    device->next = guest->devices;
    if (device->next) {
        device->next->prev = device;
    }
    guest->devices = device;
    vds_guest_queue_work(device);
}

static void do_unplug(void *user)
{
    VdsGuestDevice *device = user;

    drop_work(device);
    vds_guest_device_let_go(device);
    *(device->prev ? &device->prev->next : &device->guest->devices) = device->next;
    if (device->next) {
        device->next->prev = device->prev;
    }
}

static void do_resume(void *user)
{
    VdsGuest *guest = user;

    guest->running = true;
    for (VdsGuestDevice *device = guest->devices; device; device = device->next) {
        vds_guest_device_set_timer(device, true);
        if (device->interrupted) {
            vds_guest_queue_work(device);
        }
    }
    if (guest->work) {
        vds_guest_queue_work(guest->work);
    }
}

static void do_pause(void *user)
{
    VdsGuest *guest = user;

    guest->running = false;
    for (VdsGuestDevice *device = guest->devices; device; device = device->next) {
        vds_guest_device_set_timer(device, false);
    }
}

static void do_reset(void *user)
{
    VdsGuest *guest = user;

    do_pause(guest);
    for (VdsGuestDevice *device = guest->devices; device; device = device->next) {
        vds_guest_device_let_go(device);
        vds_guest_queue_work(device);
    }
}

/* ---- the main loop's side ------------------------------------------------------------
 */

VdsGuest *vds_guest_new(VdsGuestRam *ram)
{
    VdsGuest *guest = g_new0(VdsGuest, 1);

    guest->ram = ram;
    guest->thread = vds_io_thread_new("guest");
    guest->by_device = g_hash_table_new(NULL, NULL);
    guest->work_end = &guest->work;
    pthread_mutex_init(&guest->lock, NULL);
    return guest;
}

static void do_free(void *user)
{
    VdsGuest *guest = user;

    while (guest->devices) {
        VdsGuestDevice *device = guest->devices;

        do_unplug(device);
        vds_guest_device_free(device);
    }
}

void vds_guest_free(VdsGuest *guest)
{
    if (!guest) {
        return;
    }
    call(guest, do_pause, guest);
    call(guest, do_free, guest);
    vds_io_thread_unref(guest->thread);
    g_hash_table_unref(guest->by_device);
    pthread_mutex_destroy(&guest->lock);
    g_free(guest);
}

void vds_guest_plug(VdsGuest *guest, VdsVirtioDevice *virtio,
                    const VdsGuestDeviceConfig *config)
{
    VdsGuestDevice *device = g_new0(VdsGuestDevice, 1);

    device->guest = guest;
    device->virtio = virtio;
    device->config = *config;
    g_hash_table_insert(guest->by_device, virtio, device);
    vds_virtio_driver_set_map(virtio, vds_guest_ram_get_map(guest->ram));
    call(guest, do_plug, device);
}

void vds_guest_unplug(VdsGuest *guest, VdsVirtioDevice *virtio)
{
    VdsGuestDevice *device = g_hash_table_lookup(guest->by_device, virtio);

    if (device) {
        g_hash_table_remove(guest->by_device, virtio);
        call(guest, do_unplug, device);
        vds_guest_device_free(device);
    }
}

bool vds_guest_resume(VdsGuest *guest, GError **error)
{
    if (!guest->started && !vds_io_thread_start(guest->thread, error)) {
        return false;
    }
    guest->started = true;
    call(guest, do_resume, guest);
    return true;
}

void vds_guest_pause(VdsGuest *guest)
{
    call(guest, do_pause, guest);
}

void vds_guest_reset(VdsGuest *guest)
{
    call(guest, do_reset, guest);
}

uint64_t vds_guest_get_errors(const VdsGuest *guest, const VdsVirtioDevice *virtio)
{
    VdsGuestDevice *device = g_hash_table_lookup(guest->by_device, virtio);

    return device ? atomic_load_explicit(&device->errors, memory_order_relaxed) : 0;
}

uint64_t vds_guest_get_requests(const VdsGuest *guest, const VdsVirtioDevice *virtio)
{
    VdsGuestDevice *device = g_hash_table_lookup(guest->by_device, virtio);

    return device ? atomic_load_explicit(&device->requests, memory_order_relaxed) : 0;
}

char *vds_guest_get_last_error(VdsGuest *guest, const VdsVirtioDevice *virtio)
{
    VdsGuestDevice *device = g_hash_table_lookup(guest->by_device, virtio);
    VDS_LOCK_SCOPE(&guest->lock);

    return device ? g_strdup(device->last_error) : NULL;
}
