/*
 * machine: the keys that a part (-object, -netdev, -blockdev, -drive) may have.  A key is
 * honoured, or means nothing here for a reason that its row gives, or is refused by name:
 * no word is read by nobody.
 */
#include <string.h>

#include "machine-priv.h"

enum { MAX_DEPTH = 8 };

/* Space-separated keys; "NAME.*" stands for all below.  `ignored` are QEMU's and have
 * nothing to act on here. */
typedef struct {
    const char *type; /* of the part; NULL: of all types of this kind */
    const char *honoured;
    const char *ignored;
    const char *why; /* (nullable) they are ignored */
} Keys;

#define MEMORY_IGNORED                                                                   \
    "merge dump prealloc prealloc-threads prealloc-context host-nodes host-nodes.* "     \
    "policy reserve x-use-canonical-path-for-ramblock-id"

static const Keys object_keys[] = {
    {NULL, "qom-type id", "", NULL},
    {"iothread", "poll-max-ns poll-grow poll-shrink poll",
     "aio-max-batch thread-pool-min thread-pool-max", "an I/O thread has no pool"},
    {"memory-backend-ram", "size share", MEMORY_IGNORED, "placement is the kernel's"},
    {"memory-backend-memfd", "size share seal", MEMORY_IGNORED " hugetlb hugetlbsize",
     "placement is the kernel's"},
    {"memory-backend-file", "size share mem-path",
     MEMORY_IGNORED " align discard-data pmem readonly offset rom",
     "placement is the kernel's"},
    {"rng-random", "filename", "", NULL},
    {"rng-builtin", "", "", NULL},
    {"secret", "data file format", "keyid iv", "nothing is encrypted"},
    {"cryptodev-backend-builtin", "", "queues", "the device has no request path"},
    {"throttle-group", "limits", "", NULL},
    {0},
};

static const Keys netdev_keys[] = {
    {NULL, "type id", "", NULL},
    {"user", "",
     "net host netmask restrict dhcpstart dns dnssearch domainname hostname ipv4 "
     "ipv4-net ipv6 "
     "ipv6-net ipv6-host ipv6-prefix ipv6-prefixlen ipv6-dns",
     "nothing is at its other end; what would open a port or a file is refused"},
    {"loop", "queues", "", NULL},
    {"hubport", "hubid queues", "", NULL},
    {"tap", "fd fds ifname queues",
     "script downscript vhost vhostfd vhostfds vhostforce sndbuf vnet_hdr poll-us",
     "the interface is there, and its frames are moved here"},
    {0},
};

#define NODE_IGNORED "auto-read-only force-share detect-zeroes cache.*"

static const Keys blockdev_keys[] = {
    {NULL, "driver node-name read-only discard", NODE_IGNORED,
     "files are read and written by this process alone"},
    {"file", "filename aio", "locking pr-manager aio-max-batch drop-cache",
     "no lock is taken on a file"},
    {"host_device", "filename aio", "locking pr-manager aio-max-batch drop-cache",
     "no lock is taken on a file"},
    {"null-co", "size latency-ns read-zeroes", "", NULL},
    {"raw", "file file.*", "", NULL},
    {"throttle", "throttle-group file file.*", "", NULL},
    {0},
};

/* Its type is the driver of what it stands on, if it says so. */
static const Keys drive_keys[] = {
    {NULL,
     "id if file file.* format driver snapshot readonly read-only aio discard media "
     "limits "
     "filename size latency-ns read-zeroes",
     NODE_IGNORED " cache werror rerror index bus unit copy-on-read",
     "-device says where a drive is, and what happens at an error"},
    {0},
};

static const struct {
    const char *kind, *type_key;
    const Keys *keys;
    const char *unknown_type; /* (nullable) any type may be there: its user refuses it */
} kinds[] = {
    {"object", "qom-type", object_keys, "invalid object type: %.*s"},
    {"netdev", "type", netdev_keys, NULL},
    {"blockdev", "driver", blockdev_keys, NULL},
    {"drive", "driver", drive_keys, NULL},
};

/* ---- limits ---------------------------------------------------------------- */

/* "throttling.bps-total-max-length", "limits.iops-size", "x-bps-read", "iops_rd_max". */
static bool is_limit(const char *key)
{
    static const char *const prefixes[] = {"throttling.", "limits.", "x-", ""};
    static const char *const names[] = {"group", "iops-size", "iops_size", NULL};
    static const char *const sides[] = {"total", "read", "write", "rd", "wr", NULL};
    g_auto(GStrv) words = NULL;
    guint n, i = 1;

    for (size_t p = 0; p < G_N_ELEMENTS(prefixes); p++) {
        if (g_str_has_prefix(key, prefixes[p])) {
            key += strlen(prefixes[p]);
            break;
        }
    }
    if (g_strv_contains(names, key)) {
        return true;
    }
    words = g_strsplit_set(key, "-_", -1);
    n = g_strv_length(words);
    if (n == 0 || (strcmp(words[0], "bps") != 0 && strcmp(words[0], "iops") != 0)) {
        return false;
    }
    if (i < n && g_strv_contains(sides, words[i])) {
        i++;
    }
    if (i < n && strcmp(words[i], "max") == 0) {
        i++;
        i += i < n && strcmp(words[i], "length") == 0;
    }
    return i == n;
}

/* ---- keys ------------------------------------------------------------------ */

static bool is_in(const char *list, const char *key)
{
    g_auto(GStrv) words = g_strsplit(list, " ", -1);

    for (char **word = words; *word; word++) {
        size_t len = strlen(*word);

        if (strcmp(*word, key) == 0 || (strcmp(*word, "limits") == 0 && is_limit(key)) ||
            (len > 2 && g_str_has_suffix(*word, ".*") &&
             strncmp(*word, key, len - 1) == 0)) {
            return true;
        }
    }
    return false;
}

static bool is_known(const Keys *keys, const char *type, const char *key)
{
    for (; keys->honoured; keys++) {
        if ((!keys->type || g_strcmp0(keys->type, type) == 0) &&
            (is_in(keys->honoured, key) || is_in(keys->ignored, key))) {
            return true;
        }
    }
    return false;
}

static bool has_type(const Keys *keys, const char *type)
{
    while (keys->honoured && g_strcmp0(keys->type, type) != 0) {
        keys++;
    }
    return keys->honoured != NULL;
}

/* "file.file.size" is a key of the node two below: by that one's driver. */
static bool is_known_below(const VdsProps *props, const char *key)
{
    g_autoptr(GString) prefix = g_string_new(NULL);

    for (unsigned depth = 0; depth < MAX_DEPTH && g_str_has_prefix(key, "file.");
         depth++) {
        key += strlen("file.");
        g_string_append(prefix, "file.");
    }
    g_string_append(prefix, "driver");
    return is_known(blockdev_keys, vds_props_get_string(props, prefix->str), key) ||
           (!vds_props_find(props, prefix->str) && is_known(blockdev_keys, "file", key));
}

bool vds_machine_check_keys(const char *kind, const VdsProps *props, GError **error)
{
    size_t row = 0;
    const char *type;

    while (row < G_N_ELEMENTS(kinds) && strcmp(kinds[row].kind, kind) != 0) {
        row++;
    }
    if (row == G_N_ELEMENTS(kinds)) {
        return true; /* the command line's own parser knows its keys */
    }
    type = vds_props_get_string(props, kinds[row].type_key);
    if (!has_type(kinds[row].keys, type) && strcmp(kind, "drive") != 0) {
        if (!kinds[row].unknown_type) {
            return true; /* refused by whoever uses it, with the reason */
        }
        g_set_error(error, VDS_MACHINE_ERROR, VDS_MACHINE_ERROR_BAD_KEY,
                    "invalid object type: %.*s", vds_name_len(type ? type : ""),
                    type ? type : "");
        return false;
    }
    for (size_t i = 0; i < vds_props_count(props); i++) {
        const char *key = vds_props_nth(props, i)->name;
        bool known =
            g_str_has_prefix(key, "file.")
                ? is_known(kinds[row].keys, type, "file.x") && is_known_below(props, key)
                : is_known(kinds[row].keys, type, key);

        if (!known) {
            g_set_error(error, VDS_MACHINE_ERROR, VDS_MACHINE_ERROR_BAD_KEY,
                        "Invalid parameter '%.*s'", vds_name_len(key), key);
            return false;
        }
    }
    return true;
}
