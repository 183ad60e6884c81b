/*
 * util: names of strangers: in our messages, and as ids.
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

bool vds_id_is_well_formed(const char *id)
{
    return g_ascii_isalpha(id[0]) &&
           id[strspn(id, G_CSET_a_2_z G_CSET_A_2_Z G_CSET_DIGITS "-._")] == '\0';
}
