/*
 * Both sides of a live packed ring over memory that a third hand writes into
 * (tests/support/fuzz-ring.h says what holds).
 */
#include "fuzz-ring.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    fuzz_ring(data, size, true);
    return 0;
}
