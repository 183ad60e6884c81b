/*
 * main: the one way to standard error.
 */
#include <stdarg.h>
#include <stdio.h>

#include "main-priv.h"

void vds_main_report(const char *format, ...)
{
    g_autofree char *text = NULL;
    va_list args;

    va_start(args, format);
    text = g_strdup_vprintf(format, args);
    va_end(args);
    for (char *c = text; *c; c++) {
        if (g_ascii_iscntrl(*c)) {
            *c = '?';
        }
    }
    fprintf(stderr, "virtio-debugd: %s\n", text);
}
