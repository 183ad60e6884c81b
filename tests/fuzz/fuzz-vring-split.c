/*
 * Both sides of a live split ring over memory that a third hand writes into
 * (tests/support/fuzz-ring.h says what holds).
 */
#include "fuzz-ring.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    fuzz_ring(data, size, false);
    return 0;
}
