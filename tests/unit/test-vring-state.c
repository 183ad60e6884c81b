/*
 * vring: sizes of the areas.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "vds/vring.h"

static void test_sizes(void **state)
{
    static const struct {
        VdsQueueState queue;
        uint32_t desc, avail, used;
    } rows[] = {
        {{.num = 128}, 2048, 260, 1028},
        {{.num = 128, .event_idx = true}, 2048, 262, 1030},
        {{.num = 1024, .event_idx = true}, 16384, 2054, 8198},
        {{.num = 16}, 256, 36, 132},
        {{.num = 0}, 0, 4, 4},
        {{.num = VDS_VRING_MAX_NUM, .event_idx = true}, 524288, 65542, 262150},
        {{.num = 256, .packed = true}, 4096, 4, 4},
        {{.num = 7, .packed = true, .event_idx = true}, 112, 4, 4},
    };

    for (size_t i = 0; i < G_N_ELEMENTS(rows); i++) {
        assert_int_equal(vds_queue_desc_size(&rows[i].queue), rows[i].desc);
        assert_int_equal(vds_queue_avail_size(&rows[i].queue), rows[i].avail);
        assert_int_equal(vds_queue_used_size(&rows[i].queue), rows[i].used);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sizes),
    };

    return cmocka_run_group_tests_name("vring-state", tests, NULL, NULL);
}
