/*
 * inspect: elements of recorded rings, from memory to the last member, against what QEMU
 * answered (split) and what an independent decoder and a person made of them (packed).
 * The recorded-queue files are read by json-glib here, not by the daemon's own reader.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <fcntl.h>
#include <json-glib/json-glib.h>
#include <string.h>

#include "vds/inspect.h"

typedef struct {
    VdsGuestMap *map;
    JsonNode *snapshot;
} Recording;

static JsonNode *load_json(const char *name)
{
    g_autoptr(JsonParser) parser = json_parser_new_immutable();
    g_autofree char *path = g_build_filename(VDS_TEST_RINGS, name, NULL);

    if (!json_parser_load_from_file(parser, path, NULL)) {
        fail_msg("%s does not load", path);
    }
    return json_node_ref(json_parser_get_root(parser));
}

static uint64_t get_uint(JsonObject *object, const char *name)
{
    return (uint64_t)json_object_get_int_member(object, name);
}

static VdsGuestMap *load_map(JsonObject *snapshot)
{
    JsonArray *list = json_object_get_array_member(
        json_array_get_object_element(json_object_get_array_member(snapshot, "memories"),
                                      0),
        "regions");
    guint n = json_array_get_length(list);
    g_autofree VdsGuestRegion *regions = g_new0(VdsGuestRegion, n);
    VdsGuestMap *map = NULL;

    for (guint i = 0; i < n; i++) {
        JsonObject *region = json_array_get_object_element(list, i);
        g_autofree char *path = g_build_filename(
            VDS_TEST_RINGS, json_object_get_string_member(region, "file"), NULL);

        regions[i] = (VdsGuestRegion){.gpa = get_uint(region, "gpa"),
                                      .len = get_uint(region, "len"),
                                      .offset = get_uint(region, "offset"),
                                      .fd = open(path, O_RDONLY | O_CLOEXEC)};
    }
    map = vds_guest_map_new(regions, n, NULL);
    for (guint i = 0; i < n; i++) {
        vds_fd_close(&regions[i].fd);
    }
    assert_non_null(map);
    return map;
}

static Recording load(const char *name)
{
    JsonNode *snapshot = load_json(name);

    return (Recording){load_map(json_node_get_object(snapshot)), snapshot};
}

static void unload(Recording *recording)
{
    vds_guest_map_unref(recording->map);
    json_node_unref(recording->snapshot);
}

static JsonObject *find_device(const Recording *recording, const char *path)
{
    JsonArray *devices = json_object_get_array_member(
        json_node_get_object(recording->snapshot), "devices");

    for (guint i = 0; i < json_array_get_length(devices); i++) {
        JsonObject *device = json_array_get_object_element(devices, i);

        if (strcmp(json_object_get_string_member(device, "path"), path) == 0) {
            return device;
        }
    }
    fail_msg("no device %s", path);
    return NULL;
}

static VdsQueueState find_queue(const Recording *recording, JsonObject *device,
                                guint number)
{
    JsonObject *queue = json_array_get_object_element(
        json_object_get_array_member(device, "queues"), number);
    uint64_t features = get_uint(device, "guest-features");

    return (VdsQueueState){
        .packed = features >> 34 & 1,
        .event_idx = features >> 29 & 1,
        .num = (uint32_t)get_uint(queue, "num"),
        .desc = get_uint(queue, "desc"),
        .avail = get_uint(queue, "avail"),
        .used = get_uint(queue, "used"),
        .has_last_avail = json_object_has_member(queue, "last-avail-idx"),
        .last_avail_idx = (uint16_t)get_uint(queue, "last-avail-idx"),
        .map = recording->map,
    };
}

static void check_desc(const VdsDesc *desc, JsonObject *expected)
{
    static const struct {
        const char *name;
        unsigned mask;
    } names[] = {{"used", VDS_DESC_F_USED},
                 {"avail", VDS_DESC_F_AVAIL},
                 {"indirect", VDS_DESC_F_INDIRECT},
                 {"write", VDS_DESC_F_WRITE},
                 {"next", VDS_DESC_F_NEXT}};
    JsonArray *flags = json_object_get_array_member(expected, "flags");
    unsigned mask = 0;

    for (guint i = 0; i < json_array_get_length(flags); i++) {
        for (guint j = 0; j < G_N_ELEMENTS(names); j++) {
            if (!strcmp(names[j].name, json_array_get_string_element(flags, i))) {
                mask |= names[j].mask;
            }
        }
    }
    assert_int_equal(desc->addr, get_uint(expected, "addr"));
    assert_int_equal(desc->len, get_uint(expected, "len"));
    assert_int_equal(desc->flags & 0x8087, mask);
}

static void check_element(const VdsChain *chain, JsonObject *expected)
{
    JsonObject *avail = json_object_get_object_member(expected, "avail");
    JsonObject *used = json_object_get_object_member(expected, "used");
    JsonArray *descs = json_object_get_array_member(expected, "descs");
    VdsElement element;

    vds_element_init(&element, chain);
    assert_int_equal(element.index, get_uint(expected, "index"));
    assert_int_equal(element.avail_flags, get_uint(avail, "flags"));
    assert_int_equal(element.avail_idx, get_uint(avail, "idx"));
    assert_int_equal(element.avail_ring, get_uint(avail, "ring"));
    assert_int_equal(element.used_flags, get_uint(used, "flags"));
    assert_int_equal(element.used_idx, get_uint(used, "idx"));
    assert_int_equal(element.n, json_array_get_length(descs));
    for (guint i = 0; i < element.n; i++) {
        check_desc(vds_element_desc(&element, i),
                   json_array_get_object_element(descs, i));
    }
}

/* `index` NULL or a null node: none given.  `reply` NULL: an error with that text. */
static void ask(const Recording *recording, const char *path, guint number,
                JsonNode *index, JsonObject *reply, const char *text)
{
    VdsQueueState queue = find_queue(recording, find_device(recording, path), number);
    bool has_index = index && !json_node_is_null(index);
    g_autoptr(GError) error = NULL;
    g_autoptr(VdsChain) chain = vds_chain_read(
        &queue, has_index, has_index ? (uint16_t)json_node_get_int(index) : 0, &error);

    if (reply) {
        assert_non_null(chain);
        check_element(chain, reply);
    } else {
        assert_null(chain);
        assert_string_equal(error->message, text);
    }
}

/* Every element pair of the file; how many there were. */
static guint replay(const char *recording_name, const char *replies_name)
{
    Recording recording = load(recording_name);
    g_autoptr(JsonNode) root = load_json(replies_name);
    JsonArray *pairs = json_node_get_array(root);
    guint n = 0;

    for (guint i = 0; i < json_array_get_length(pairs); i++) {
        JsonObject *pair = json_array_get_object_element(pairs, i);
        JsonObject *request = json_object_get_object_member(pair, "req");
        JsonObject *arguments = json_object_get_object_member(request, "arguments");

        if (strcmp(json_object_get_string_member(request, "execute"),
                   "x-query-virtio-queue-element") == 0) {
            ask(&recording, json_object_get_string_member(arguments, "path"),
                (guint)get_uint(arguments, "queue"),
                json_object_get_member(arguments, "index"),
                json_object_get_object_member(json_object_get_object_member(pair, "rep"),
                                              "return"),
                NULL);
            n++;
        }
    }
    unload(&recording);
    return n;
}

static void test_split_as_qemu(void **state)
{
    assert_int_equal(replay("split.vds", "split-replies.json"), 369);
}

static void test_packed_as_decoder(void **state)
{
    assert_int_equal(replay("packed.vds", "packed-elements.json"), 1696);
}

static void test_packed_by_hand(void **state)
{
    g_autoptr(JsonNode) root = load_json("packed-by-hand.json");
    JsonArray *elements =
        json_object_get_array_member(json_node_get_object(root), "elements");

    assert_int_equal(json_array_get_length(elements), 13);
    for (guint i = 0; i < json_array_get_length(elements); i++) {
        JsonObject *element = json_array_get_object_element(elements, i);
        Recording recording = load(json_object_get_string_member(element, "file"));
        bool failing = json_object_has_member(element, "error");

        ask(&recording, json_object_get_string_member(element, "path"),
            (guint)get_uint(element, "queue"), json_object_get_member(element, "index"),
            failing ? NULL : json_object_get_object_member(element, "reply"),
            failing ? json_object_get_string_member(element, "error") : NULL);
        unload(&recording);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_split_as_qemu),
        cmocka_unit_test(test_packed_as_decoder),
        cmocka_unit_test(test_packed_by_hand),
    };

    return cmocka_run_group_tests_name("inspect-recorded", tests, NULL, NULL);
}
