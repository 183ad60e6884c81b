/*
 * util: names of strangers in our messages.
 */
#include <string.h>

#include "vds/util.h"

int vds_name_len(const char *name)
{
    size_t len = strnlen(name, VDS_NAME_MAX + 1);

    if (len > VDS_NAME_MAX) {
        len = VDS_NAME_MAX;
        while (len > 0 && ((uint8_t)name[len] & 0xc0) == 0x80) {
            len--;
        }
    }
    return (int)len;
}
