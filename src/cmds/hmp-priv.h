/*
 * cmds: the human monitor's table and what its handlers get.
 */
#pragma once

#include "cmds-priv.h"

enum { HMP_MAX_ARGS = 3 };

typedef enum {
    HMP_END,
    HMP_STRING,
    HMP_INT,
    HMP_OPTIONAL_INT,
    HMP_OPTIONAL_STRING
} HmpArgKind;

typedef struct {
    bool present;
    char *text;      /* STRING */
    uint32_t number; /* INT */
} HmpArg;

/* One command, or one word after `info`. */
typedef struct HmpCommand {
    const char *name; /* "quit|q": names of one command */
    HmpArgKind args[HMP_MAX_ARGS + 1];
    const char *params; /* for help */
    const char *help;
    /* Prints its answer; a failure goes into *error and is printed by the caller. */
    void (*run)(VdsCmds *cmds, const HmpArg *args, GString *out, GError **error);
    const struct HmpCommand *sub; /* a table of words that follow, ended by a NULL name */
} HmpCommand;

extern const HmpCommand hmp_commands[];
extern const HmpCommand hmp_info_commands[];

void hmp_help(VdsCmds *cmds, const HmpArg *args, GString *out, GError **error);
/* "  help" for `info` alone. */
void hmp_help_table(const HmpCommand *table, const char *prefix, GString *out);

void hmp_info_block(VdsCmds *cmds, const HmpArg *args, GString *out, GError **error);
void hmp_info_chardev(VdsCmds *cmds, const HmpArg *args, GString *out, GError **error);
void hmp_info_iothreads(VdsCmds *cmds, const HmpArg *args, GString *out, GError **error);
void hmp_info_kvm(VdsCmds *cmds, const HmpArg *args, GString *out, GError **error);
void hmp_info_uuid(VdsCmds *cmds, const HmpArg *args, GString *out, GError **error);
void hmp_set_link(VdsCmds *cmds, const HmpArg *args, GString *out, GError **error);

void hmp_info_virtio(VdsCmds *cmds, const HmpArg *args, GString *out, GError **error);
void hmp_info_virtio_status(VdsCmds *cmds, const HmpArg *args, GString *out,
                            GError **error);
void hmp_info_virtio_queue_status(VdsCmds *cmds, const HmpArg *args, GString *out,
                                  GError **error);
void hmp_info_virtio_vhost_queue_status(VdsCmds *cmds, const HmpArg *args, GString *out,
                                        GError **error);
void hmp_info_virtio_queue_element(VdsCmds *cmds, const HmpArg *args, GString *out,
                                   GError **error);
