/*
 * util: errors, for functions that return whether they could.
 */
#include "vds/util.h"

bool vds_refuse(GError **error, GQuark domain, int code, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    if (error) {
        *error = g_error_new_valist(domain, code, format, args);
    }
    va_end(args);
    return false;
}
