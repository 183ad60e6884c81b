/*
 * The C that the generator makes of good-parameters.json, under the real runtime: what a
 * client sends reaches the handler, and what a handler returns or emits reaches a client.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "qapi-commands.h"
#include "qapi-events.h"

/* The handlers echo: as an event what came as parameters, as a reply what came boxed. */
struct VdsCmds {
    VdsEventSink sink;
    char *emitted; /* the last event's name and data */
    bool refuse;   /* handlers fail */
};

static char *written(const VdsQapiType *type, const void *object)
{
    g_auto(VdsBuf) out = {0};
    VdsJsonWriter writer;

    vds_json_writer_init(&writer, &out, false);
    vds_qapi_write(type, object, &writer);
    return g_strndup((const char *)vds_buf_bytes(&out), vds_buf_len(&out));
}

static bool refused(const VdsCmds *ctx, GError **error)
{
    if (ctx->refuse) {
        g_set_error_literal(error, VDS_QAPI_ERROR, VDS_QAPI_ERROR_VALUE, "refused");
    }
    return ctx->refuse;
}

static void emit(void *user, const VdsQapiEvent *event, const void *data)
{
    VdsCmds *ctx = user;
    g_autofree char *text = event->data ? written(event->data, data) : g_strdup("-");

    g_free(ctx->emitted);
    ctx->emitted = g_strdup_printf("%s %s", event->name, text);
}

bool qmp_take_all(VdsCmds *ctx, VdsArena *arena, const char *str, const char *opt_str,
                  int8_t q_int, bool has_opt_int, int8_t opt_int, QapiColour q_enum,
                  bool has_opt_enum, QapiColour opt_enum, const QapiPoint *q_struct,
                  const QapiPoint *opt_struct, const QapiPointList *list,
                  const QapiStrList *opt_list, const VdsQapiAny *any,
                  const VdsQapiAny *opt_any, const VdsQapiNull *null,
                  const VdsQapiNull *opt_null, const QapiEither *either,
                  const QapiEither *opt_either, double real, bool has_opt_bool,
                  bool opt_bool, const QapiColourList *colours, const QapiAnyList *things,
                  const QapiEitherList *eithers, GError **error)
{
    if (refused(ctx, error)) {
        return false;
    }
    qapi_event_all(&ctx->sink, str, opt_str, q_int, has_opt_int, opt_int, q_enum,
                   has_opt_enum, opt_enum, q_struct, opt_struct, list, opt_list, any,
                   opt_any, null, opt_null, either, opt_either, real, has_opt_bool,
                   opt_bool, colours, things, eithers);
    return true;
}

QapiAll *qmp_take_boxed(VdsCmds *ctx, VdsArena *arena, const QapiAll *arg, GError **error)
{
    QapiAll *all;

    if (refused(ctx, error)) {
        return NULL;
    }
    qapi_event_all_boxed(&ctx->sink, arg);
    all = vds_arena_alloc(arena, sizeof(*all));
    *all = *arg;
    return all;
}

QapiStrList *qmp_take_none(VdsCmds *ctx, VdsArena *arena, GError **error)
{
    QapiStrList *list = vds_arena_alloc(arena, sizeof(*list));

    qapi_event_none(&ctx->sink);
    list->n = 2;
    list->items = vds_arena_alloc_n(arena, list->n, sizeof(*list->items));
    list->items[0] = "first";
    list->items[1] = "second";
    return list;
}

QapiFigure *qmp_draw(VdsCmds *ctx, VdsArena *arena, const QapiFigure *arg, GError **error)
{
    QapiFigure *figure = vds_arena_alloc(arena, sizeof(*figure));

    *figure = *arg;
    if (figure->colour == QAPI_COLOUR_RED) {
        figure->u.red.x++;
    }
    return figure;
}

QapiAnyList *qmp_raw(VdsCmds *ctx, VdsArena *arena, VdsJsonValue arguments,
                     GError **error)
{
    QapiAnyList *list = vds_arena_alloc(arena, sizeof(*list));

    list->n = 2;
    list->items = vds_arena_alloc_n(arena, list->n, sizeof(*list->items));
    list->items[0].value = arguments;
    return list;
}

const char *qmp_say(VdsCmds *ctx, VdsArena *arena, GError **error)
{
    return refused(ctx, error) ? NULL : vds_arena_strdup(arena, "word");
}

/* ---- calls ---------------------------------------------------------------------------
 */

/* One call: the reply as text, or the error's text behind a "!". */
static char *called(VdsCmds *ctx, const char *name, const char *arguments)
{
    const VdsQapiCommand *command =
        vds_qapi_dispatch_find(&qapi_dispatch, name, strlen(name));
    g_autoptr(VdsJsonTape) tape =
        vds_json_parse_text(arguments, strlen(arguments), &vds_json_wire_limits, NULL);
    g_autoptr(VdsArena) arena = vds_arena_new();
    const VdsQapiCall call = {
        .ctx = ctx, .arena = arena, .arguments = vds_json_tape_root(tape)};
    g_autoptr(GError) error = NULL;
    void *result = NULL;

    assert_non_null(command);
    if (!command->invoke(&call, &result, &error)) {
        assert_null(result);
        return g_strconcat("!", error->message, NULL);
    }
    assert_null(error);
    return command->ret ? written(command->ret, result) : g_strdup("{}");
}

static void test_calls(void **state)
{
#define REST                                                                             \
    "\"list\": [{\"x\": 2}, {\"x\": 3}], \"any\": [1, {\"z\": 0, \"a\": null}], "        \
    "\"null\": null, \"either\": \"e\", \"real\": 0.5, "                                 \
    "\"colours\": [\"red\", \"blue\"], \"things\": [false, []], "                        \
    "\"eithers\": [\"e\", {\"x\": 4}]}"
#define REQUIRED                                                                         \
    "{\"str\": \"s\", \"int\": -128, \"enum\": \"blue\", \"struct\": {\"x\": 1}, " REST
#define FULL                                                                             \
    "{\"str\": \"s\", \"opt-str\": \"t\", \"int\": 127, \"opt-int\": 0, "                \
    "\"enum\": \"red\", \"opt-enum\": \"red\", \"struct\": {\"x\": -1}, "                \
    "\"opt-struct\": {\"x\": 0}, \"list\": [], \"opt-list\": [], \"any\": null, "        \
    "\"opt-any\": {}, \"null\": null, \"opt-null\": null, \"either\": {\"x\": 5}, "      \
    "\"opt-either\": \"\", \"real\": -2, \"opt-bool\": false, \"colours\": [], "         \
    "\"things\": [], \"eithers\": []}"
    static const struct {
        const char *command, *arguments, *reply;
        const char *emitted; /* (nullable) */
        bool refuse;
    } table[] = {
        {"take-all", REQUIRED, "{}", "ALL " REQUIRED, false},
        {"take-all", FULL, "{}", "ALL " FULL, false},
        {"take-boxed", REQUIRED, REQUIRED, "ALL_BOXED " REQUIRED, false},
        {"take-boxed", FULL, FULL, "ALL_BOXED " FULL, false},
        {"take-all", "{}", "!Parameter 'str' is missing", NULL, false},
        {"take-all",
         "{\"str\": \"\", \"int\": 0, \"enum\": \"green\", "
         "\"struct\": {\"x\": 0}, " REST,
         "!Parameter 'enum' does not accept value 'green'", NULL, false},
        {"take-all",
         "{\"str\": \"\", \"int\": 128, \"enum\": \"red\", "
         "\"struct\": {\"x\": 0}, " REST,
         "!Parameter 'int' expects int8_t", NULL, false},
        {"take-all", FULL, "!refused", NULL, true},
        {"take-boxed", FULL, "!refused", NULL, true},
        {"take-none", "{}", "[\"first\", \"second\"]", "NONE {}", false},
        {"take-none", "{\"x\": 1}", "!Parameter 'x' is unexpected", NULL, false},
        {"draw", "{\"colour\": \"red\", \"x\": 1}", "{\"colour\": \"red\", \"x\": 2}",
         NULL, false},
        {"draw", "{\"colour\": \"blue\", \"name\": \"n\"}",
         "{\"name\": \"n\", \"colour\": \"blue\"}", NULL, false},
        {"draw", "{\"colour\": \"blue\", \"x\": 1}", "!Parameter 'x' is unexpected", NULL,
         false},
        {"draw", "{\"colour\": \"red\"}", "!Parameter 'x' is missing", NULL, false},
        {"raw", "{\"any\": [\"thing\"]}", "[{\"any\": [\"thing\"]}, null]", NULL, false},
        {"say", "{}", "\"word\"", NULL, false},
        {"say", "{}", "!refused", NULL, true},
    };

    for (size_t i = 0; i < G_N_ELEMENTS(table); i++) {
        VdsCmds cmds = {.refuse = table[i].refuse};
        g_autofree char *reply = NULL;

        cmds.sink = (VdsEventSink){emit, &cmds};
        reply = called(&cmds, table[i].command, table[i].arguments);
        assert_string_equal(reply, table[i].reply);
        if (table[i].emitted) {
            assert_string_equal(cmds.emitted, table[i].emitted);
        } else {
            assert_null(cmds.emitted);
        }
        g_free(cmds.emitted);
    }
}

static void test_table(void **state)
{
    static const char *const names[] = {"begin",    "draw",       "raw",      "say",
                                        "take-all", "take-boxed", "take-none"};

    assert_int_equal(qapi_dispatch.n_commands, G_N_ELEMENTS(names));
    for (size_t i = 0; i < G_N_ELEMENTS(names); i++) {
        const VdsQapiCommand *command = &qapi_dispatch.commands[i];

        assert_string_equal(command->name, names[i]);
        assert_int_equal(command->session, i == 0);
        assert_int_equal(command->invoke == NULL, i == 0);
        assert_int_equal(command->allow_oob, i == 1);
        assert_int_equal(command->unstable, i == 1);
        assert_int_equal(command->args == NULL, i == 2);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_calls),
        cmocka_unit_test(test_table),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
