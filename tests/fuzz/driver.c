/*
 * Runs a fuzz target without a fuzzing engine.  Owns the replay of recorded inputs, which
 * is an ordinary test, and a plain mutator for machines without libFuzzer; knows nothing
 * of what a target parses.
 *
 * usage: fuzz-NAME FILE-OR-FOLDER...            replays each file once
 *        fuzz-NAME --mutate SECONDS FOLDER...   replays, then changes them at random
 */
#include <glib.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#define MUTANT_MAX 65536
#define CHANGES_MAX 8

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* The target gets a copy of exactly the input's size, so that a read beyond it is seen.
 */
static void run_one(const uint8_t *data, size_t size)
{
    g_autofree uint8_t *copy = g_malloc(size > 0 ? size : 1);

    if (size > 0) {
        memcpy(copy, data, size);
    }
    LLVMFuzzerTestOneInput(copy, size);
}

static bool replay(const char *path, GPtrArray *inputs)
{
    g_autoptr(GDir) dir = g_dir_open(path, 0, NULL);
    g_autoptr(GError) error = NULL;
    const char *name;
    char *text;
    gsize len;

    if (dir) {
        bool ok = true;
        while ((name = g_dir_read_name(dir))) {
            g_autofree char *child = g_build_filename(path, name, NULL);
            ok = replay(child, inputs) && ok;
        }
        return ok;
    }
    if (!g_file_get_contents(path, &text, &len, &error)) {
        fprintf(stderr, "%s\n", error->message);
        return false;
    }
    run_one((const uint8_t *)text, len);
    g_ptr_array_add(inputs, g_bytes_new_take(text, len));
    return true;
}

static void change_once(GRand *rand, GByteArray *mutant)
{
    guint at = (guint)g_rand_int_range(rand, 0, (gint32)mutant->len + 1);
    guint8 byte = (guint8)g_rand_int_range(rand, 0, 256);
    guint wanted = (guint)g_rand_int_range(rand, 1, 17);
    guint n = MIN(wanted, mutant->len - at);

    switch (g_rand_int_range(rand, 0, 4)) {
    case 0: /* another byte */
        if (at < mutant->len) {
            mutant->data[at] = byte;
        }
        break;
    case 1: /* one bit */
        if (at < mutant->len) {
            mutant->data[at] ^= (guint8)(1U << (byte & 7));
        }
        break;
    case 2: /* some bytes less */
        if (n > 0) {
            g_byte_array_remove_range(mutant, at, n);
        }
        break;
    default: /* some bytes twice, at the end */
        if (n > 0 && mutant->len + n <= MUTANT_MAX) {
            g_autofree guint8 *again = g_memdup2(mutant->data + at, n);
            g_byte_array_append(mutant, again, n);
        }
        break;
    }
}

static uint64_t mutate(const GPtrArray *inputs, double seconds)
{
    g_autoptr(GRand) rand = g_rand_new_with_seed(1);
    g_autoptr(GTimer) timer = g_timer_new();
    uint64_t runs = 0;

    while (g_timer_elapsed(timer, NULL) < seconds) {
        g_autoptr(GByteArray) mutant = g_byte_array_new();
        GBytes *seed = inputs->pdata[g_rand_int_range(rand, 0, (gint32)inputs->len)];
        gsize len;
        const guint8 *data = g_bytes_get_data(seed, &len);

        g_byte_array_append(mutant, data, (guint)MIN(len, MUTANT_MAX));
        for (int n = g_rand_int_range(rand, 1, CHANGES_MAX + 1); n > 0; n--) {
            change_once(rand, mutant);
        }
        run_one(mutant->data, mutant->len);
        runs++;
    }
    return runs;
}

int main(int argc, char **argv)
{
    g_autoptr(GPtrArray) inputs =
        g_ptr_array_new_with_free_func((GDestroyNotify)g_bytes_unref);
    double seconds = 0;
    int first = 1;
    bool ok = true;

    if (argc > 3 && strcmp(argv[1], "--mutate") == 0) {
        seconds = g_ascii_strtod(argv[2], NULL);
        first = 3;
    }
    for (int i = first; i < argc; i++) {
        ok = replay(argv[i], inputs) && ok;
    }
    if (inputs->len == 0) {
        fprintf(stderr, "no inputs\n");
        return 1;
    }
    printf("%u inputs replayed", inputs->len);
    if (seconds > 0) {
        printf(", %" PRIu64 " mutants run", mutate(inputs, seconds));
    }
    printf("\n");
    return ok ? 0 : 1;
}
