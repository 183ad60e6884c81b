/*
 * inspect: what becomes of a chain's words in an element.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "vds/inspect.h"

static VdsDesc descs[] = {{0x1000, 1, VDS_DESC_F_NEXT, 1},
                          {0x2000, 2, VDS_DESC_F_NEXT, 2},
                          {0x3000, 3, VDS_DESC_F_WRITE, 0}};

static const VdsChain chain = {
    .slot = 3,
    .id = 7,
    .avail_flags = 1,
    .avail_idx = 20,
    .used_flags = 2,
    .used_idx = 10,
    .n = G_N_ELEMENTS(descs),
    .descs = descs,
};

static void check_common(const VdsElement *element)
{
    assert_int_equal(element->index, 7);
    assert_int_equal(element->avail_flags, 1);
    assert_int_equal(element->avail_idx, 20);
    assert_int_equal(element->used_flags, 2);
    assert_int_equal(element->used_idx, 10);
    assert_int_equal(element->n, 3);
}

static void test_split(void **state)
{
    VdsElement element;

    vds_element_init(&element, &chain);
    check_common(&element);
    assert_int_equal(element.avail_ring, 7); /* the head once more, as QEMU */
}

static void test_packed(void **state)
{
    VdsChain packed = chain;
    VdsElement element;

    packed.packed = true;
    vds_element_init(&element, &packed);
    check_common(&element);
    assert_int_equal(element.avail_ring, 3); /* the slot */
}

static void test_tail_first(void **state)
{
    VdsElement element;

    vds_element_init(&element, &chain);
    for (size_t i = 0; i < element.n; i++) {
        assert_ptr_equal(vds_element_desc(&element, i), &descs[2 - i]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_split),
        cmocka_unit_test(test_packed),
        cmocka_unit_test(test_tail_first),
    };

    return cmocka_run_group_tests_name("inspect-element", tests, NULL, NULL);
}
