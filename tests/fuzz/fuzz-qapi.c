/*
 * fuzz: arguments by hand-written tables that have every kind.  What is accepted is
 * written to JSON that is accepted again and written the same.
 */
#include <string.h>

#include "qapi-sample.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static VdsJsonTape *accepted(const VdsQapiType *type, const char *text, size_t len,
                             VdsArena *arena, VdsBuf *out)
{
    g_autoptr(VdsJsonTape) tape =
        vds_json_parse_text(text, len, &vds_json_wire_limits, NULL);
    void *object = vds_arena_alloc(arena, type->size);
    g_autoptr(GError) error = NULL;
    VdsJsonWriter writer;

    if (!tape) {
        return NULL;
    }
    if (!vds_qapi_parse(type, vds_json_tape_root(tape), arena, object, &error)) {
        g_assert_true(error && error->domain == VDS_QAPI_ERROR);
        return NULL;
    }
    g_assert_null(error);
    vds_json_writer_init(&writer, out, false);
    vds_qapi_write(type, object, &writer);
    return g_steal_pointer(&tape);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const VdsQapiType *const types[] = {&sample_type, &sample_tree, &sample_shape,
                                               &sample_either, &sample_int_list_list};

    for (size_t i = 0; i < G_N_ELEMENTS(types); i++) {
        g_autoptr(VdsArena) arena = vds_arena_new();
        g_auto(VdsBuf) first = {0}, second = {0};
        g_autoptr(VdsJsonTape) tape =
            accepted(types[i], (const char *)data, size, arena, &first);

        if (tape) {
            g_autoptr(VdsJsonTape) again =
                accepted(types[i], (const char *)vds_buf_bytes(&first),
                         vds_buf_len(&first), arena, &second);

            g_assert_nonnull(again);
            g_assert_cmpmem(vds_buf_bytes(&first), vds_buf_len(&first),
                            vds_buf_bytes(&second), vds_buf_len(&second));
        }
    }
    return 0;
}
