/*
 * cmds: the human monitor: one line in, text out.
 *
 * Words are looked up in a table, arguments read by the row's kinds, and the handler
 * calls its QMP twin and prints the struct.  Layout and complaints are QEMU's.
 */
#include <errno.h>
#include <string.h>

#include "hmp-priv.h"

/* ---- words ------------------------------------------------------------------------- */

static const char *skip_space(const char *text)
{
    return text + strspn(text, " \t");
}

/* What stands behind a backslash, and for what; '\0' if for nothing. */
static char unescape(char c)
{
    static const char escapes[][2] = {
        {'n', '\n'}, {'r', '\r'}, {'\\', '\\'}, {'\'', '\''}, {'"', '"'},
    };

    for (size_t i = 0; i < G_N_ELEMENTS(escapes); i++) {
        if (c == escapes[i][0]) {
            return escapes[i][1];
        }
    }
    return '\0';
}

/* From behind the opening quote to behind the closing one.  (transfer full) (nullable):
 * it does not end, or has an escape that there is not. */
static char *take_quoted(const char **rest)
{
    g_autoptr(GString) word = g_string_new(NULL);
    const char *at = *rest;

    while (*at && *at != '"') {
        char c = *at == '\\' ? unescape(*++at) : *at;

        if (c == '\0') {
            return NULL;
        }
        g_string_append_c(word, c);
        at++;
    }
    if (*at != '"') {
        return NULL;
    }
    *rest = at + 1;
    return g_strdup(word->str);
}

/* Takes one word, or one "quoted string".  (transfer full) (nullable) */
static char *take_word(const char **rest)
{
    const char *at = skip_space(*rest);
    size_t len = strcspn(at, " \t\n\v\f\r");

    if (*at == '"') {
        *rest = at + 1;
        return take_quoted(rest);
    }
    *rest = at + len;
    return len > 0 ? g_strndup(at, len) : NULL;
}

/* ---- arguments --------------------------------------------------------------------- */

static bool read_string(const HmpCommand *command, const char **rest, HmpArg *arg,
                        GString *out)
{
    arg->text = take_word(rest);
    arg->present = arg->text != NULL;
    if (!arg->present) {
        g_string_append_printf(out, "%s: string expected\n", command->name);
    }
    return arg->present;
}

static void say_extraneous(const HmpCommand *command, GString *out)
{
    g_string_append_printf(out, "%s: extraneous characters at the end of line\n",
                           command->name);
}

/* Decimal, 0x or 0 octal as in C; QEMU's expressions are not taken. */
static bool read_int(const HmpCommand *command, const char **rest, HmpArg *arg,
                     GString *out)
{
    const char *at = skip_space(*rest);
    bool negative = *at == '-';
    char *end;
    guint64 number;

    at += negative;
    if (*at == '\0') {
        g_string_append(out, "unexpected end of expression\n");
        return false;
    }
    if (!g_ascii_isdigit(*at)) {
        g_string_append_printf(out, "invalid char '%c' in expression\n", *at);
        return false;
    }
    errno = 0;
    number = g_ascii_strtoull(at, &end, 0);
    if (errno == ERANGE) {
        g_string_append(out, "number too large\n");
        return false;
    }
    if (*end && !g_ascii_isspace(*end)) {
        say_extraneous(command, out);
        return false;
    }
    if ((negative && number > 0) || number > UINT32_MAX) {
        g_string_append_printf(out, "'%s' has failed: integer is for 32-bit values\n",
                               command->name);
        return false;
    }
    *arg = (HmpArg){.present = true, .number = (uint32_t)number};
    *rest = end;
    return true;
}

static bool read_optional_int(const HmpCommand *command, const char **rest, HmpArg *arg,
                              GString *out)
{
    return *skip_space(*rest) == '\0' || read_int(command, rest, arg, out);
}

static bool read_optional_string(const HmpCommand *command, const char **rest,
                                 HmpArg *arg, GString *out)
{
    return *skip_space(*rest) == '\0' || read_string(command, rest, arg, out);
}

static bool (*const readers[])(const HmpCommand *, const char **, HmpArg *, GString *) = {
    [HMP_STRING] = read_string,
    [HMP_INT] = read_int,
    [HMP_OPTIONAL_INT] = read_optional_int,
    [HMP_OPTIONAL_STRING] = read_optional_string,
};

static bool read_args(const HmpCommand *command, const char *rest, HmpArg *args,
                      GString *out)
{
    for (unsigned i = 0; command->args[i] != HMP_END; i++) {
        if (!readers[command->args[i]](command, &rest, &args[i], out)) {
            return false;
        }
    }
    if (*skip_space(rest) != '\0') {
        say_extraneous(command, out);
        return false;
    }
    return true;
}

/* ---- look-up and help -------------------------------------------------------------- */

static bool name_matches(const char *names, const char *word)
{
    g_auto(GStrv) each = g_strsplit(names, "|", -1);

    return g_strv_contains((const char *const *)each, word);
}

static const HmpCommand *find_command(const HmpCommand *table, const char *word)
{
    for (; table->name; table++) {
        if (name_matches(table->name, word)) {
            return table;
        }
    }
    return NULL;
}

static void help_line(const HmpCommand *command, const char *prefix, GString *out)
{
    g_string_append_printf(out, "%s%s %s -- %s\n", prefix, command->name, command->params,
                           command->help);
}

void hmp_help_table(const HmpCommand *table, const char *prefix, GString *out)
{
    for (; table->name; table++) {
        help_line(table, prefix, out);
    }
}

static void unknown_command(GString *out, const char *prefix, const char *word)
{
    g_string_append_printf(out, "unknown command: '%s%.*s'\n", prefix, vds_name_len(word),
                           word);
}

void hmp_help(VdsCmds *cmds, const HmpArg *args, GString *out, GError **error)
{
    const HmpCommand *command;

    if (!args[0].present) {
        hmp_help_table(hmp_commands, "", out);
        return;
    }
    command = find_command(hmp_commands, args[0].text);
    if (!command) {
        unknown_command(out, "", args[0].text);
    } else if (!command->sub) {
        help_line(command, "", out);
    } else if (!args[1].present) {
        hmp_help_table(command->sub, "info ", out);
    } else {
        command = find_command(command->sub, args[1].text);
        if (command) {
            help_line(command, "info ", out);
        } else {
            unknown_command(out, "info ", args[1].text);
        }
    }
}

/* ---- one line ---------------------------------------------------------------------- */

/* `typed` is how the command was called: names of one command are several. */
static void run_command(VdsCmds *cmds, const HmpCommand *command, const char *typed,
                        const char *rest, GString *out)
{
    HmpArg args[HMP_MAX_ARGS] = {{0}};
    g_autoptr(GError) error = NULL;

    if (read_args(command, rest, args, out)) {
        command->run(cmds, args, out, &error);
    } else {
        g_string_append_printf(out, "Try \"help %s\" for more information\n", typed);
    }
    if (error) {
        /* One of QEMU's own texts starts with the same word: say it once. */
        bool said = g_str_has_prefix(error->message, "Error: ");

        g_string_append_printf(out, "%s%s\n", said ? "" : "Error: ", error->message);
    }
    for (unsigned i = 0; i < HMP_MAX_ARGS; i++) {
        g_free(args[i].text);
    }
    vds_arena_reset(cmds->hmp_arena);
}

static void run_line(VdsCmds *cmds, const char *line, GString *out)
{
    const HmpCommand *table = hmp_commands;
    g_autoptr(GString) typed = g_string_new(NULL);

    for (;;) {
        g_autofree char *word = take_word(&line);
        const HmpCommand *command = word ? find_command(table, word) : NULL;

        if (!word) {
            hmp_help_table(table, typed->str, out);
            return;
        }
        if (!command) {
            unknown_command(out, typed->str, word);
            return;
        }
        g_string_append(typed, word);
        if (!command->sub) {
            run_command(cmds, command, typed->str, line, out);
            return;
        }
        g_string_append_c(typed, ' ');
        table = command->sub;
    }
}

char *vds_cmds_hmp(VdsCmds *cmds, const char *line)
{
    GString *out = g_string_new(NULL);

    if (*skip_space(line) != '\0') {
        run_line(cmds, line, out);
    }
    return g_string_free(out, FALSE);
}
