/*
 * guestmem: RAM of our own, for built-in guests and for others to map.
 *
 * Owns the file, its map and the page allocator's lock.  Refuses to know options and who
 * the guest is.
 */
#include "vds/guestmem.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "map-priv.h"
#include "pages-priv.h"

enum { RAM_PAGE = 4096 }; /* the guest's, whatever the host's are */

struct VdsGuestRam {
    VdsGuestRamKind kind;
    uint64_t size;
    int fd; /* -1: private */
    VdsGuestMap *map;
    pthread_mutex_t mutex; /* guards pages */
    VdsPages *pages;
};

static bool set_ram_error(GError **error, const char *what, int code)
{
    g_set_error(error, VDS_GUESTMEM_ERROR, VDS_GUESTMEM_ERROR_RAM, "guest RAM '%.*s': %s",
                vds_name_len(what), what, g_strerror(code));
    return false;
}

/* Neither end can be moved: whoever maps it needs no guard, we neither. */
static bool seal(int fd, const char *name, GError **error)
{
    if (fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW) != 0) {
        return set_ram_error(error, name, errno);
    }
    return true;
}

static int open_memfd(const VdsGuestRamConfig *config, GError **error)
{
    const char *name = config->name ? config->name : "guest-ram";
    VDS_AUTO_FD fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);

    if (fd < 0 || ftruncate(fd, (off_t)config->size) != 0) {
        set_ram_error(error, name, errno);
        return -1;
    }
    if (config->seal && !seal(fd, name, error)) {
        return -1;
    }
    return vds_fd_steal(&fd);
}

/* A file without a name in the directory, or the file itself. */
static int open_path(const char *path)
{
    g_autofree char *template = NULL;
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);

    if (fd >= 0 || errno != EISDIR) {
        return fd;
    }
    template = g_build_filename(path, "guest-ram.XXXXXX", NULL);
    fd = mkostemp(template, O_CLOEXEC);
    if (fd >= 0) {
        unlink(template);
    }
    return fd;
}

/* A longer file stays as it is: others may have more in it. */
static int open_file(const VdsGuestRamConfig *config, GError **error)
{
    VDS_AUTO_FD fd = open_path(config->path);
    struct stat st;

    if (fd < 0 || fstat(fd, &st) != 0 ||
        (S_ISREG(st.st_mode) && (uint64_t)st.st_size < config->size &&
         ftruncate(fd, (off_t)config->size) != 0)) {
        set_ram_error(error, config->path, errno);
        return -1;
    }
    return vds_fd_steal(&fd);
}

static VdsGuestMap *map_all(const VdsGuestRamConfig *config, int fd, GError **error)
{
    const VdsGuestRegion region = {.len = config->size, .fd = fd};

    return vds_guest_map_new_mode(
        &region, 1, config->copy_on_write ? VDS_MAP_COPY_ON_WRITE : VDS_MAP_RAM, error);
}

VdsGuestRam *vds_guest_ram_new(const VdsGuestRamConfig *given, GError **error)
{
    static int (*const open_kind[])(const VdsGuestRamConfig *, GError **) = {
        [VDS_GUEST_RAM_MEMFD] = open_memfd,
        [VDS_GUEST_RAM_FILE] = open_file,
        [VDS_GUEST_RAM_PRIVATE] = NULL,
    };
    VdsGuestRamConfig config = *given;
    VDS_AUTO_FD fd = -1;
    g_autoptr(VdsGuestMap) map = NULL;
    VdsGuestRam *ram = NULL;

    if (config.size == 0 || config.size > INT64_MAX - RAM_PAGE) {
        g_set_error(error, VDS_GUESTMEM_ERROR, VDS_GUESTMEM_ERROR_RAM,
                    "guest RAM of %" PRIu64 " bytes: expected 1 to %" PRIu64, config.size,
                    (uint64_t)(INT64_MAX - RAM_PAGE));
        return NULL;
    }
    config.size = (config.size + RAM_PAGE - 1) / RAM_PAGE * RAM_PAGE;
    if (open_kind[config.kind] && (fd = open_kind[config.kind](&config, error)) < 0) {
        return NULL;
    }
    map = map_all(&config, fd, error);
    if (!map) {
        return NULL;
    }
    ram = g_new0(VdsGuestRam, 1);
    ram->kind = config.kind;
    ram->size = config.size;
    ram->fd = vds_fd_steal(&fd);
    ram->map = g_steal_pointer(&map);
    pthread_mutex_init(&ram->mutex, NULL);
    /* Page 0 is nobody's: a ring at address 0 is one that is not set up. */
    ram->pages = vds_pages_new(1, ram->size / RAM_PAGE - 1);
    return ram;
}

void vds_guest_ram_free(VdsGuestRam *ram)
{
    if (ram) {
        vds_pages_free(ram->pages);
        pthread_mutex_destroy(&ram->mutex);
        vds_guest_map_unref(ram->map);
        vds_fd_close(&ram->fd);
        g_free(ram);
    }
}

VdsGuestMap *vds_guest_ram_get_map(const VdsGuestRam *ram)
{
    return ram->map;
}

int vds_guest_ram_get_fd(const VdsGuestRam *ram)
{
    return ram->fd;
}

uint64_t vds_guest_ram_get_size(const VdsGuestRam *ram)
{
    return ram->size;
}

uint64_t vds_guest_ram_get_allocated(VdsGuestRam *ram)
{
    uint64_t pages = 0;

    pthread_mutex_lock(&ram->mutex);
    pages = vds_pages_get_taken(ram->pages);
    pthread_mutex_unlock(&ram->mutex);
    return pages * RAM_PAGE;
}

bool vds_guest_ram_alloc(VdsGuestRam *ram, uint64_t bytes, uint64_t align, uint64_t *gpa,
                         GError **error)
{
    uint64_t n = bytes / RAM_PAGE + (bytes % RAM_PAGE > 0), page = 0;
    bool taken = false;

    g_assert(bytes > 0 && align > 0 && (align & (align - 1)) == 0);
    pthread_mutex_lock(&ram->mutex);
    taken = vds_pages_take(ram->pages, n, MAX(align / RAM_PAGE, 1), &page);
    pthread_mutex_unlock(&ram->mutex);
    if (!taken) {
        g_set_error(error, VDS_GUESTMEM_ERROR, VDS_GUESTMEM_ERROR_FULL,
                    "guest RAM of %" PRIu64 " bytes has no %" PRIu64
                    " free in one piece, %" PRIu64 " are in use",
                    ram->size, bytes, vds_guest_ram_get_allocated(ram));
        return false;
    }
    *gpa = page * RAM_PAGE;
    /* A file may have come with content. */
    if (ram->kind == VDS_GUEST_RAM_FILE &&
        !vds_guest_map_discard(ram->map, *gpa, n * RAM_PAGE, error)) {
        vds_guest_ram_release(ram, *gpa);
        return false;
    }
    return true;
}

void vds_guest_ram_release(VdsGuestRam *ram, uint64_t gpa)
{
    g_autoptr(GError) vanished = NULL;
    uint64_t page = gpa / RAM_PAGE, n = 0;

    /* Zeroed before anyone else can have it.  What vanished cannot be zeroed, and reads
     * as zeroes should it come back. */
    pthread_mutex_lock(&ram->mutex);
    n = vds_pages_give(ram->pages, page);
    g_assert(n > 0 && gpa % RAM_PAGE == 0);
    vds_guest_map_discard(ram->map, gpa, n * RAM_PAGE, &vanished);
    pthread_mutex_unlock(&ram->mutex);
}
