#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"
#include "cli/cli.h"

enum { HELP_WIDTH = 100 };

/* Columns of "  --name ARGUMENT  ". */
static int label_width(const kd_option *o) {
    return (int)(strlen(o->name) + (o->argument ? strlen(o->argument) + 1 : 0)) + 6;
}

/* Words in lines from `column` on; a list of choices may be cut behind each of its bars. */
static void print_wrapped(const char *text, int column) {
    int at = column;
    while (*text) {
        const bool apart = *text == ' ' || *text == '\n';
        text += apart;
        int length = (int)strcspn(text, " \n|");
        length += text[length] == '|';
        if (at > column && at + apart + length > HELP_WIDTH)
            at = printf("\n%*s", column, "") - 1;
        else
            at += printf("%s", apart ? " " : "");
        at += printf("%.*s", length, text);
        text += length;
    }
    printf("\n");
}

static void print_option(const kd_option *o, int column) {
    const int used =
        printf("  --%s%s%s", o->name, o->argument ? " " : "", o->argument ? o->argument : "");
    printf("%*s", column - used, "");
    print_wrapped(o->help, column);
}

static void print_options(const kd_usage *usage) {
    static const kd_option help = {"help", NULL, "print this"};
    int column = label_width(&help);
    for (const kd_option *o = usage->options; o && o->name; o++)
        if (label_width(o) > column) column = label_width(o);
    for (const kd_option *o = usage->options; o && o->name; o++) print_option(o, column);
    print_option(&help, column);
}

static void print_help(const kd_usage *usage) {
    printf("usage: distill %s [OPTION…]%s%s\n\n%s\n\n", usage->command,
           *usage->positional ? " " : "", usage->positional, usage->summary);
    print_options(usage);
    printf("\nexample:\n");
    for (const char *line = usage->example; *line;) {
        int length = (int)strcspn(line, "\n");
        printf("  %.*s\n", length, line);
        line += length + (line[length] == '\n');
    }
}

/* The option whose name is the `length` bytes at `name`; or NULL with the error set. */
static const kd_option *find_option(const kd_usage *usage, const char *name, size_t length) {
    char word[64];
    snprintf(word, sizeof word, "%.*s", (int)length, name);
    kd_guess guess = kd_guess_begin(word);
    for (const kd_option *o = usage->options; o && o->name; o++) {
        if (strcmp(o->name, word) == 0) return o;
        kd_guess_offer(&guess, o->name);
    }
    kd_guess_offer(&guess, "help");
    if (guess.best)
        kd_fail(KD_EUSAGE, "distill %s: there is no option --%s; did you mean --%s?",
                usage->command, word, guess.best);
    else
        kd_fail(KD_EUSAGE, "distill %s: there is no option --%s; see distill %s --help",
                usage->command, word, usage->command);
    return NULL;
}

/* Reads the option at argv[i] and says how many arguments it took; or the error. */
static int take_option(kd_arguments *out, int argc, char **argv, int i) {
    const kd_usage *usage = out->usage;
    const char *name = argv[i] + 2, *equals = strchr(name, '=');
    const kd_option *option =
        find_option(usage, name, equals ? (size_t)(equals - name) : strlen(name));
    if (!option) return KD_EUSAGE;
    if (out->option_count == KD_OPTION_VALUES_MAX)
        return kd_fail(KD_EUSAGE, "distill %s: more than %d options", usage->command,
                       KD_OPTION_VALUES_MAX);
    const char *value = equals ? equals + 1 : NULL;
    if (value && !option->argument)
        return kd_fail(KD_EUSAGE, "distill %s: --%s takes no value", usage->command, option->name);
    int taken = 1;
    if (option->argument && !value) {
        if (i + 1 >= argc)
            return kd_fail(KD_EUSAGE, "distill %s: --%s needs a value: --%s %s", usage->command,
                           option->name, option->name, option->argument);
        value = argv[i + 1];
        taken = 2;
    }
    if (value && !*value)
        return kd_fail(KD_EUSAGE, "distill %s: --%s has an empty value; expected --%s %s",
                       usage->command, option->name, option->name, option->argument);
    out->option[out->option_count] = option;
    out->value[out->option_count++] = value;
    return taken;
}

static int check_positional(const kd_arguments *arguments) {
    const kd_usage *usage = arguments->usage;
    int n = arguments->positional_count;
    for (int i = 0; i < n; i++)
        if (!*arguments->positional[i])
            return kd_fail(KD_EUSAGE, "distill %s: argument %d is empty; expected %s",
                           usage->command, i + 1, usage->positional);
    if (n < usage->least)
        return kd_fail(KD_EUSAGE, "distill %s: expected %s; see distill %s --help", usage->command,
                       usage->positional, usage->command);
    if (usage->most >= 0 && n > usage->most)
        return kd_fail(KD_EUSAGE,
                       "distill %s: '%s' is one argument too many; see distill %s --help",
                       usage->command, arguments->positional[usage->most], usage->command);
    return KD_OK;
}

int kd_arguments_parse(kd_arguments *out, const kd_usage *usage, int argc, char **argv) {
    *out = (kd_arguments){.usage = usage, .positional = argv + 1};
    bool only_positional = false;
    for (int i = 1; i < argc;) {
        char *word = argv[i];
        if (!only_positional && strcmp(word, "--") == 0) {
            only_positional = true;
            i++;
        } else if (!only_positional && (strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0)) {
            print_help(usage);
            return KD_HELP_SHOWN;
        } else if (!only_positional && strncmp(word, "--", 2) == 0) {
            int taken = take_option(out, argc, argv, i);
            if (taken < 0) return taken;
            i += taken;
        } else if (!only_positional && word[0] == '-' && word[1]) {
            return kd_fail(KD_EUSAGE, "distill %s: there is no option %s; see distill %s --help",
                           usage->command, word, usage->command);
        } else {
            out->positional[out->positional_count++] = word;
            i++;
        }
    }
    return check_positional(out);
}

int kd_arguments_each(const kd_arguments *arguments, int first,
                      int (*one)(void *context, char *path), void *context) {
    const int count = arguments->positional_count - first;
    int bad = 0, code = KD_OK;
    for (int i = 0; i < count; i++) {
        int status = one(context, arguments->positional[first + i]);
        if (status == KD_OK) continue;
        if (status == KD_EINTERNAL || count == 1) return status;
        fflush(stdout);
        fprintf(stderr, "distill: %s\n", kd_error());
        code = bad == 0 || code == status ? status : KD_EDATA;
        bad++;
    }
    return bad == 0 ? KD_OK : kd_fail(code, "%d of %d files failed, see above", bad, count);
}

bool kd_arguments_has(const kd_arguments *arguments, const char *name) {
    for (int i = 0; i < arguments->option_count; i++)
        if (strcmp(arguments->option[i]->name, name) == 0) return true;
    return false;
}

const char *kd_arguments_value(const kd_arguments *arguments, const char *name) {
    for (int i = arguments->option_count - 1; i >= 0; i--)
        if (strcmp(arguments->option[i]->name, name) == 0) return arguments->value[i];
    return NULL;
}

int kd_arguments_all(kd_arguments *arguments, const char *name, const char *const **out) {
    int count = 0;
    for (int i = 0; i < arguments->option_count; i++)
        if (strcmp(arguments->option[i]->name, name) == 0)
            arguments->gathered[count++] = arguments->value[i];
    *out = arguments->gathered;
    return count;
}

int kd_arguments_integer(int64_t *out, const kd_arguments *arguments, const char *name, int64_t low,
                         int64_t high, int64_t otherwise) {
    const char *text = kd_arguments_value(arguments, name);
    *out = otherwise;
    if (!text) return KD_OK;
    char *end;
    long long value = strtoll(text, &end, 10);
    if (end == text || *end || value < low || value > high)
        return kd_fail(KD_EUSAGE, "distill %s: --%s %s: expected a whole number from %lld to %lld",
                       arguments->usage->command, name, text, (long long)low, (long long)high);
    *out = value;
    return KD_OK;
}
