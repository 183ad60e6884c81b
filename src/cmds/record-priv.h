/*
 * cmds: recorded-queue files.
 */
#pragma once

#include "cmds-priv.h"

/* Takes the device, also when it fails. */
typedef bool (*VdsRecordDeviceFunc)(const char *path, VdsVirtioDevice *device, void *user,
                                    GError **error);

/* Calls func for each device of the file, the oldest first.  RECORD or a parser's error;
 * the file and the member are named. */
bool vds_record_load(const char *recording, VdsRecordDeviceFunc func, void *user,
                     GError **error);
