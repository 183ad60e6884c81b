/*
 * main: the program: options in, exit status out.
 */
#include <stdio.h>
#include <stdlib.h>

#include "main-priv.h"

static int print(const char *text)
{
    return fputs(text, stdout) >= 0 && fflush(stdout) == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

static int give_up(void)
{
    vds_main_await_caller();
    return EXIT_FAILURE;
}

static int explain_device(const VdsOptions *options)
{
    g_autoptr(GError) error = NULL;
    g_autofree char *help = vds_main_device_help(options->device_help, &error);

    if (!help) {
        vds_main_report("%s: %s", options->device_help_origin, error->message);
        return EXIT_FAILURE;
    }
    return print(help);
}

int main(int argc, char **argv)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(VdsOptions) options = NULL;

    if (!vds_main_keep_standard_fds()) {
        return EXIT_FAILURE;
    }
    options = vds_options_parse(argc, (const char *const *)argv, &error);
    if (!options) {
        vds_main_report("%s", error->message);
        return give_up();
    }
    if (options->show_help) {
        g_autofree char *help = vds_options_help("virtio-debugd");

        return print(help);
    }
    if (options->show_version) {
        return print("virtio-debugd version " VDS_VERSION ", with the QMP of QEMU 8.2\n");
    }
    if (options->device_help) {
        return explain_device(options);
    }
    vds_main_raise_fd_limit();
    return vds_main_serve(options) == EXIT_SUCCESS ? EXIT_SUCCESS : give_up();
}
