/*
 * cmds: the words that a client may say about migrations.  There are none, so the one
 * capability is remembered and no more.
 */
#include "cmds-priv.h"

bool qmp_migrate_set_capabilities(VdsCmds *ctx, VdsArena *arena,
                                  const QapiMigrationCapabilityStatusList *capabilities,
                                  GError **error)
{
    for (size_t i = 0; i < capabilities->n; i++) {
        ctx->migration_events = capabilities->items[i].state;
    }
    return true;
}

QapiMigrationCapabilityStatusList *
qmp_query_migrate_capabilities(VdsCmds *ctx, VdsArena *arena, GError **error)
{
    QapiMigrationCapabilityStatusList *reply = vds_arena_alloc(arena, sizeof(*reply));

    reply->n = 1;
    reply->items = vds_arena_alloc(arena, sizeof(*reply->items));
    reply->items[0] = (QapiMigrationCapabilityStatus){
        .capability = QAPI_MIGRATION_CAPABILITY_EVENTS,
        .state = ctx->migration_events,
    };
    return reply;
}
