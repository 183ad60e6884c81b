/*
 * The reply of query-qmp-schema, written by the real runtime and read by json-glib: it
 * describes exactly the dispatch table and the events, and every type it mentions.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>
#include <json-glib/json-glib.h>

#include "qapi-events.h"
#include "qapi-introspect.h"

typedef struct {
    JsonParser *parser;
    JsonArray *entries;
    GHashTable *by_name;
} Reply;

static int setup(void **state)
{
    g_auto(VdsBuf) out = {0};
    VdsJsonWriter writer;
    Reply *reply = g_new0(Reply, 1);

    vds_json_writer_init(&writer, &out, false);
    vds_qapi_write(&qapi_type_SchemaInfoList, &qapi_schema_info, &writer);
    reply->parser = json_parser_new();
    assert_true(json_parser_load_from_data(reply->parser,
                                           (const char *)vds_buf_bytes(&out),
                                           (gssize)vds_buf_len(&out), NULL));
    reply->entries = json_node_get_array(json_parser_get_root(reply->parser));
    reply->by_name = g_hash_table_new(g_str_hash, g_str_equal);
    for (guint i = 0; i < json_array_get_length(reply->entries); i++) {
        JsonObject *entry = json_array_get_object_element(reply->entries, i);
        const char *name = json_object_get_string_member(entry, "name");

        assert_true(g_hash_table_insert(reply->by_name, (gpointer)name, entry));
    }
    *state = reply;
    return 0;
}

static int teardown(void **state)
{
    Reply *reply = *state;

    g_hash_table_unref(reply->by_name);
    g_object_unref(reply->parser);
    g_free(reply);
    return 0;
}

static JsonObject *entry_of(const Reply *reply, const char *name)
{
    JsonObject *entry = g_hash_table_lookup(reply->by_name, name);

    if (!entry) {
        fail_msg("'%s' has no entry", name);
    }
    return entry;
}

static void test_events(void **state)
{
    const Reply *reply = *state;

    for (size_t i = 0; i < QAPI_N_EVENTS; i++) {
        JsonObject *entry = entry_of(reply, qapi_events[i].name);

        assert_string_equal(json_object_get_string_member(entry, "meta-type"), "event");
    }
}

/* Follows "type" members and the like; each must lead to an entry of a type. */
static void assert_type(const Reply *reply, JsonObject *object, const char *member)
{
    JsonObject *entry;

    if (json_object_has_member(object, member)) {
        entry = entry_of(reply, json_object_get_string_member(object, member));
        assert_string_not_equal(json_object_get_string_member(entry, "meta-type"),
                                "command");
        assert_string_not_equal(json_object_get_string_member(entry, "meta-type"),
                                "event");
    }
}

static void assert_types_in(const Reply *reply, JsonObject *entry, const char *list)
{
    JsonArray *array;

    if (!json_object_has_member(entry, list)) {
        return;
    }
    array = json_object_get_array_member(entry, list);
    for (guint i = 0; i < json_array_get_length(array); i++) {
        assert_type(reply, json_array_get_object_element(array, i), "type");
    }
}

static void test_types(void **state)
{
    const Reply *reply = *state;
    bool types = false;

    for (guint i = 0; i < json_array_get_length(reply->entries); i++) {
        JsonObject *entry = json_array_get_object_element(reply->entries, i);
        const char *meta = json_object_get_string_member(entry, "meta-type");
        bool type = strcmp(meta, "command") != 0 && strcmp(meta, "event") != 0;

        /* Commands and events come first. */
        assert_true(type || !types);
        types = type;
        assert_type(reply, entry, "arg-type");
        assert_type(reply, entry, "ret-type");
        assert_type(reply, entry, "element-type");
        assert_types_in(reply, entry, "members");
        assert_types_in(reply, entry, "variants");
    }
    assert_true(types);
}

/* Members as "name:type" with "?" for optional ones, in order. */
static char *members_of(JsonObject *entry)
{
    JsonArray *members = json_object_get_array_member(entry, "members");
    GString *text = g_string_new(NULL);

    for (guint i = 0; i < json_array_get_length(members); i++) {
        JsonObject *member = json_array_get_object_element(members, i);

        if (json_object_has_member(member, "default")) {
            assert_true(json_object_get_null_member(member, "default"));
            g_string_append_c(text, '?');
        }
        g_string_append_printf(text, "%s:%s ",
                               json_object_get_string_member(member, "name"),
                               json_object_get_string_member(member, "type"));
    }
    return g_string_free(text, FALSE);
}

/* What QEMU says of the same command, but for the numbers. */
static void test_queue_element(void **state)
{
    const Reply *reply = *state;
    JsonObject *command = entry_of(reply, "x-query-virtio-queue-element");
    JsonObject *arguments =
        entry_of(reply, json_object_get_string_member(command, "arg-type"));
    g_autofree char *members = members_of(arguments);
    JsonArray *features = json_object_get_array_member(command, "features");

    assert_string_equal(members, "path:str queue:int ?index:int ");
    assert_string_equal(json_object_get_string_member(arguments, "meta-type"), "object");
    assert_int_equal(json_array_get_length(features), 1);
    assert_string_equal(json_array_get_string_element(features, 0), "unstable");
    assert_false(json_object_has_member(command, "allow-oob"));
}

static void test_shapes(void **state)
{
    static const struct {
        const char *name, *member, *value;
    } table[] = {
        {"0", "meta-type", "object"},     {"str", "json-type", "string"},
        {"int", "json-type", "int"},      {"any", "json-type", "value"},
        {"[str]", "element-type", "str"}, {"query-status", "arg-type", "0"},
        {"stop", "ret-type", "0"},        {"human-monitor-command", "ret-type", "str"},
        {"qom-get", "ret-type", "any"},   {"STOP", "arg-type", "0"},
    };
    const Reply *reply = *state;
    g_autofree char *empty = members_of(entry_of(reply, "0"));

    for (size_t i = 0; i < G_N_ELEMENTS(table); i++) {
        assert_string_equal(json_object_get_string_member(entry_of(reply, table[i].name),
                                                          table[i].member),
                            table[i].value);
    }
    assert_string_equal(empty, "");
    /* Types of files are no part of the protocol. */
    assert_null(g_hash_table_lookup(reply->by_name, "VirtioSnapshot"));
    assert_null(g_hash_table_lookup(reply->by_name, "uint16"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_events),
        cmocka_unit_test(test_types),
        cmocka_unit_test(test_queue_element),
        cmocka_unit_test(test_shapes),
    };

    return cmocka_run_group_tests(tests, setup, teardown);
}
