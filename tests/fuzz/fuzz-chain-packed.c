/*
 * The walker of packed rings over any memory (tests/support/fuzz-chain.h says what
 * holds).
 */
#include "fuzz-chain.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    fuzz_chain(data, size, true);
    return 0;
}
