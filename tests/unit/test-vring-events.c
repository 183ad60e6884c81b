/*
 * vring: the two event windows against counting, for every case there is: all positions,
 * movements and events of small packed rings; all events of split ones around every
 * border of the 16-bit index.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <stdlib.h>

#include "../../src/vring/live-priv.h"

static void check_split(uint16_t old, uint32_t moved)
{
    g_autofree bool *passed = g_new0(bool, 65536);

    for (uint32_t i = 0; i < moved; i++) {
        passed[(uint16_t)(old + i)] = true;
    }
    for (uint32_t event = 0; event < 65536; event++) {
        assert_true(split_event_passed((uint16_t)event, (uint16_t)(old + moved), old) ==
                    passed[event]);
    }
}

static void test_split(void **state)
{
    static const uint16_t olds[] = {0, 1, 32766, 32767, 32768, 65534, 65535};
    static const uint32_t moves[] = {0, 1, 2, 3, 127, 128, 256, 32767, 32768, 65535};

    for (size_t i = 0; i < G_N_ELEMENTS(olds); i++) {
        for (size_t j = 0; j < G_N_ELEMENTS(moves); j++) {
            check_split(olds[i], moves[j]);
        }
    }
}

/* Slot by slot: is the event's slot passed in the lap that it names? */
static bool packed_passed_by_counting(uint32_t num, uint16_t slot, bool wrap,
                                      uint32_t moved, uint16_t event, bool event_wrap)
{
    for (uint32_t i = 0; i < moved; i++) {
        if (slot == event && wrap == event_wrap) {
            return true;
        }
        if (++slot == num) {
            slot = 0;
            wrap = !wrap;
        }
    }
    return false;
}

static void check_packed(uint32_t num, uint16_t slot, bool wrap, uint32_t moved)
{
    uint16_t now = slot;
    bool now_wrap = wrap;

    packed_advance(num, moved, &now, &now_wrap);
    for (uint32_t event = 0; event < 2 * num; event++) {
        uint16_t off = (uint16_t)(event % num);
        bool off_wrap = event < num;

        assert_true(packed_event_passed(num, packed_point(num, off, off_wrap),
                                        packed_point(num, now, now_wrap), moved) ==
                    packed_passed_by_counting(num, slot, wrap, moved, off, off_wrap));
    }
}

static void test_packed(void **state)
{
    for (uint32_t num = 1; num <= 24; num++) {
        for (uint32_t at = 0; at < 2 * num; at++) {
            for (uint32_t moved = 0; moved <= num; moved++) {
                check_packed(num, (uint16_t)(at % num), at < num, moved);
            }
        }
    }
    check_packed(VDS_VRING_MAX_NUM, VDS_VRING_MAX_NUM - 1, false, 2);
    check_packed(VDS_VRING_MAX_NUM, 1, true, 7);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_split),
        cmocka_unit_test(test_packed),
    };

    return cmocka_run_group_tests_name("vring-events", tests, NULL, NULL);
}
