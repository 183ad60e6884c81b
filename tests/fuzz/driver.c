/*
 * fuzz: runs a target without a fuzzing engine.
 *
 * Replays every file of the folders (or files) named, one TAP line each, so that a corpus
 * is an ordinary test.  With --mutate it then goes on with changed copies of them: the
 * same ones for the same --seed, so a finding can be had again.  No coverage guides it;
 * that is what libFuzzer is for.
 *
 *   fuzz-json [--mutate SECONDSs|COUNT] [--seed N] PATH...
 *
 * While it mutates, the input at work lies in ./fuzz-json.input, which stays behind only
 * if the process dies of it.
 */
#include <errno.h>
#include <fcntl.h>
#include <glib.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum {
    INPUT_BYTES = 64 * 1024,
    MAX_CHANGES = 8,  /* made to one copy */
    HANG_SECONDS = 20 /* SIGALRM ends what takes longer */
};

typedef struct {
    GPtrArray *corpus; /* of GBytes */
    uint64_t random;
    gint64 end_time; /* monotonic; 0: count */
    uint64_t end_runs;
    int input_fd; /* the input at work */
    char *input_path;
} Driver;

static void run_one(const uint8_t *data, size_t size)
{
    /* A copy of its own, so that a sanitizer sees the first byte beyond. */
    g_autofree uint8_t *copy = g_malloc(MAX(size, (size_t)1));

    if (size > 0) {
        memcpy(copy, data, size);
    }
    alarm(HANG_SECONDS);
    LLVMFuzzerTestOneInput(copy, size);
    alarm(0);
}

/* ---- replay --------------------------------------------------------------------------
 */

static bool add_file(Driver *driver, const char *path)
{
    g_autoptr(GError) error = NULL;
    gchar *text;
    gsize size;

    if (!g_file_get_contents(path, &text, &size, &error)) {
        fprintf(stderr, "%s\n", error->message);
        return false;
    }
    g_ptr_array_add(driver->corpus, g_bytes_new_take(text, size));
    run_one((const uint8_t *)text, size);
    printf("ok %u - %s\n", driver->corpus->len, path);
    return true;
}

static int compare_paths(gconstpointer a, gconstpointer b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static bool add_path(Driver *driver, const char *path)
{
    g_autoptr(GPtrArray) files = g_ptr_array_new_with_free_func(g_free);
    g_autoptr(GDir) dir = g_dir_open(path, 0, NULL);
    const char *name;

    if (!dir) {
        return add_file(driver, path);
    }
    while ((name = g_dir_read_name(dir))) {
        g_ptr_array_add(files, g_build_filename(path, name, NULL));
    }
    g_ptr_array_sort(files, compare_paths);
    for (guint i = 0; i < files->len; i++) {
        if (!add_file(driver, g_ptr_array_index(files, i))) {
            return false;
        }
    }
    return true;
}

/* ---- mutation -------------------------------------------------------------------------
 */

/* xorshift64*, 0..n-1 */
static size_t pick(Driver *driver, size_t n)
{
    driver->random ^= driver->random >> 12;
    driver->random ^= driver->random << 25;
    driver->random ^= driver->random >> 27;
    return n == 0 ? 0 : (driver->random * UINT64_C(0x2545f4914f6cdd1d) >> 11) % n;
}

static const GBytes *pick_input(Driver *driver)
{
    return g_ptr_array_index(driver->corpus, pick(driver, driver->corpus->len));
}

static void change_bit(Driver *driver, GByteArray *input)
{
    if (input->len > 0) {
        input->data[pick(driver, input->len)] ^= (uint8_t)(1u << pick(driver, 8));
    }
}

static void change_byte(Driver *driver, GByteArray *input)
{
    static const uint8_t telling[] = {0,   1,   0x7f, 0x80, 0xff, '"', '\\', '{',  '}',
                                      '[', ']', ',',  ':',  '-',  '0', 'e',  '\n', 0xc0};

    if (input->len > 0) {
        input->data[pick(driver, input->len)] =
            pick(driver, 2) ? telling[pick(driver, sizeof(telling))]
                            : (uint8_t)pick(driver, 256);
    }
}

/* A word of 2, 4 or 8 bytes near a border. */
static void change_word(Driver *driver, GByteArray *input)
{
    static const uint64_t borders[] = {
        0, 1, 0x7f, 0xff, 0x7fff, 0xffff, 0x8000, 0x7fffffff, 0xffffffff, UINT64_MAX};
    size_t size = (size_t)2 << pick(driver, 3);
    uint64_t word = borders[pick(driver, G_N_ELEMENTS(borders))] + pick(driver, 3) - 1;

    if (input->len >= size) {
        memcpy(input->data + pick(driver, input->len - size + 1), &word, size);
    }
}

static void remove_piece(Driver *driver, GByteArray *input)
{
    guint at = (guint)pick(driver, input->len);

    if (input->len > 0) {
        g_byte_array_remove_range(input, at, (guint)(1 + pick(driver, input->len - at)));
    }
}

static void insert(GByteArray *input, size_t at, const uint8_t *bytes, size_t n)
{
    guint tail = input->len - (guint)at;

    if (input->len + n > INPUT_BYTES) {
        return;
    }
    g_byte_array_set_size(input, input->len + (guint)n);
    memmove(input->data + at + n, input->data + at, tail);
    memcpy(input->data + at, bytes, n);
}

/* Some bytes of another input (or of this one), once or many times. */
static void insert_piece(Driver *driver, GByteArray *input)
{
    gsize size;
    const uint8_t *other = g_bytes_get_data((GBytes *)pick_input(driver), &size);
    size_t from = pick(driver, size), n = 1 + pick(driver, MIN(size - from, 64));
    size_t times = pick(driver, 8) ? 1 : 1 + pick(driver, 200);
    size_t at = pick(driver, (size_t)input->len + 1);

    while (size > 0 && times-- > 0) {
        insert(input, at, other + from, n);
    }
}

static void insert_byte(Driver *driver, GByteArray *input)
{
    uint8_t byte = (uint8_t)pick(driver, 256);

    insert(input, pick(driver, (size_t)input->len + 1), &byte, 1);
}

static GByteArray *mutated(Driver *driver)
{
    static void (*const changes[])(Driver *, GByteArray *) = {
        change_bit,   change_byte,  change_word, remove_piece,
        insert_piece, insert_piece, insert_byte,
    };
    gsize size;
    const uint8_t *bytes = g_bytes_get_data((GBytes *)pick_input(driver), &size);
    GByteArray *input = g_byte_array_new();

    g_byte_array_append(input, bytes, (guint)MIN(size, INPUT_BYTES));
    for (size_t n = 1 + pick(driver, MAX_CHANGES); n > 0; n--) {
        changes[pick(driver, G_N_ELEMENTS(changes))](driver, input);
    }
    return input;
}

/* ---- the input at work
 * ------------------------------------------------------------------ */

static bool keep_input(const Driver *driver, const GByteArray *input)
{
    return ftruncate(driver->input_fd, 0) == 0 &&
           pwrite(driver->input_fd, input->data, input->len, 0) == (ssize_t)input->len;
}

static bool mutate(Driver *driver, const char *program)
{
    g_autofree char *name = g_path_get_basename(program);
    uint64_t seed = driver->random, runs;

    driver->input_path = g_strconcat(name, ".input", NULL);
    driver->input_fd = open(driver->input_path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    for (runs = 0; driver->end_time ? g_get_monotonic_time() < driver->end_time
                                    : runs < driver->end_runs;
         runs++) {
        g_autoptr(GByteArray) input = mutated(driver);

        if (!keep_input(driver, input)) {
            fprintf(stderr, "%s: %s\n", driver->input_path, g_strerror(errno));
            return false;
        }
        run_one(input->data, input->len);
    }
    close(driver->input_fd);
    unlink(driver->input_path);
    printf("ok %u - %" PRIu64 " mutations, seed %" PRIu64 "\n", driver->corpus->len + 1,
           runs, seed);
    return true;
}

/* "10s" or "5000" */
static bool parse_amount(Driver *driver, const char *text)
{
    char *end;
    uint64_t amount = g_ascii_strtoull(text, &end, 10);

    if (end == text || (*end != '\0' && strcmp(end, "s") != 0)) {
        return false;
    }
    if (*end == 's') {
        driver->end_time = g_get_monotonic_time() + (gint64)amount * G_USEC_PER_SEC;
    } else {
        driver->end_runs = amount;
    }
    return true;
}

int main(int argc, char **argv)
{
    g_autofree char *amount = NULL;
    g_auto(GStrv) paths = NULL;
    gint64 seed = 1;
    const GOptionEntry entries[] = {
        {"mutate", 0, 0, G_OPTION_ARG_STRING, &amount, "go on mutating",
         "SECONDSs|COUNT"},
        {"seed", 0, 0, G_OPTION_ARG_INT64, &seed, "of the mutations", "N"},
        {G_OPTION_REMAINING, 0, 0, G_OPTION_ARG_FILENAME_ARRAY, &paths, NULL, "PATH..."},
        {0},
    };
    g_autoptr(GOptionContext) options = g_option_context_new(NULL);
    g_autoptr(GError) error = NULL;
    Driver driver = {.corpus =
                         g_ptr_array_new_with_free_func((GDestroyNotify)g_bytes_unref)};
    bool ok;

    g_option_context_add_main_entries(options, entries, NULL);
    if (!g_option_context_parse(options, &argc, &argv, &error)) {
        fprintf(stderr, "%s\n", error->message);
        return 2;
    }
    setvbuf(stdout, NULL, _IOLBF, 0);
    driver.random = seed != 0 ? (uint64_t)seed : 1; /* 0 would stay 0 */
    ok = paths != NULL;
    for (char **path = paths; ok && *path; path++) {
        ok = add_path(&driver, *path);
    }
    if (ok && driver.corpus->len == 0) {
        fprintf(stderr, "no inputs\n");
        ok = false;
    }
    if (ok && amount) {
        ok = parse_amount(&driver, amount) && mutate(&driver, argv[0]);
    }
    printf("1..%u\n", driver.corpus->len + (amount != NULL));
    g_ptr_array_unref(driver.corpus);
    g_free(driver.input_path);
    return ok ? 0 : 1;
}
