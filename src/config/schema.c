#include "config/schema.h"

#include <stdio.h>
#include <string.h>

#include "base/json_text.h"
#include "config/keys.h"
#include "config/reader.h"

/* --- JSON schema ---------------------------------------------------------------------------- */

static void add_object(kd_text *out, const kd_config_table *table, int depth);

static void indent(kd_text *out, int depth) {
    kd_text_add(out, "\n%*s", 2 * depth, "");
}

/* "enum": ["a", "b"] */
static void add_choices(kd_text *out, const char *choices) {
    kd_text_add(out, "\"enum\": [");
    for (const char *p = choices; *p;) {
        size_t n = strcspn(p, "|");
        kd_text_add(out, "%s\"%.*s\"", p == choices ? "" : ", ", (int)n, p);
        p += n + (p[n] == '|');
    }
    kd_text_add(out, "]");
}

static void add_number(kd_text *out, const kd_config_key *key, bool whole) {
    char low[32], high[32];
    kd_config_limit(low, sizeof low, key->low);
    kd_config_limit(high, sizeof high, key->high);
    kd_text_add(out, "\"type\": \"%s\", \"%s\": %s, \"maximum\": %s", whole ? "integer" : "number",
                key->above ? "exclusiveMinimum" : "minimum", low, high);
}

/* What a whole number, a pair or a word may be. */
static void add_alternatives(kd_text *out, const kd_config_key *key) {
    kd_text_add(out, "\"anyOf\": [{");
    add_number(out, key, true);
    if (key->type == KD_KEY_PAIR) {
        kd_text_add(out, "}, {\"type\": \"array\", \"minItems\": 2, \"maxItems\": 2, \"items\": {");
        add_number(out, key, true);
        kd_text_add(out, "}");
    }
    if (key->choices) kd_text_add(out, "}, {\"const\": \"%s\"", key->choices);
    kd_text_add(out, "}]");
}

static void add_list(kd_text *out, const kd_config_key *key, int depth) {
    if (key->type == KD_KEY_OBJECTS) {
        kd_text_add(out, "\"anyOf\": [{");
        add_object(out, key->table, depth);
        kd_text_add(out, "}, {");
    }
    kd_text_add(out, "\"type\": \"array\", \"maxItems\": %zu, \"items\": {",
                key->size / key->stride);
    if (key->type == KD_KEY_INTEGERS)
        add_number(out, key, true);
    else if (key->type == KD_KEY_REALS)
        add_number(out, key, false);
    else if (key->type == KD_KEY_TEXTS || key->type == KD_KEY_PATHS)
        kd_text_add(out, "\"type\": \"string\", \"minLength\": 1");
    else
        add_object(out, key->table, depth);
    kd_text_add(out, key->type == KD_KEY_OBJECTS ? "}}]" : "}");
}

/* The keys of a config as "loss.kl", each with its type, or a list of it; null takes a key away. */
static void add_dotted(kd_text *out, const kd_config_table *table, const char *prefix, bool lists,
                       const char **between) {
    for (int i = 0; i < table->variant_count; i++)
        add_dotted(out, table->variant[i], prefix, lists, between);
    for (int i = 0; i < table->count; i++) {
        const kd_config_key *key = &table->key[i];
        if (key->type == KD_KEY_IGNORED) continue;
        if (table->variant_count == 0 && *prefix && strcmp(key->name, "type") == 0) continue;
        char path[128];
        snprintf(path, sizeof path, "%s%s%s", prefix, *prefix ? "." : "", key->name);
        kd_text_add(out, "%s", *between);
        *between = ",";
        kd_text_add(out, "\n      \"%s\": {\"description\": ", path);
        kd_json_add_quoted(out, key->doc);
        if (lists) kd_text_add(out, ", \"type\": \"array\", \"minItems\": 1");
        kd_text_add(out, "}");
        if (key->type == KD_KEY_OBJECT) add_dotted(out, key->table, path, lists, between);
    }
}

/* Of configs that come in kinds, any of them. */
static void add_config_keys(kd_text *out, const kd_config_table *table, bool lists) {
    kd_text_add(out, "\"type\": \"object\", \"anyOf\": [");
    for (int i = 0; i < table->variant_count; i++) {
        const char *between = "";
        kd_text_add(out, "%s{\"properties\": {", i ? ", " : "");
        add_dotted(out, table->variant[i], "", lists, &between);
        kd_text_add(out, "}}");
    }
    kd_text_add(out, "]");
}

static void add_type(kd_text *out, const kd_config_key *key, int depth) {
    switch (key->type) {
    case KD_KEY_INTEGER:
    case KD_KEY_PAIR:
        if (key->choices || key->type == KD_KEY_PAIR)
            add_alternatives(out, key);
        else
            add_number(out, key, true);
        return;
    case KD_KEY_REAL:
        add_number(out, key, false);
        return;
    case KD_KEY_SWITCH:
        kd_text_add(out, "\"type\": \"boolean\"");
        return;
    case KD_KEY_TEXT:
    case KD_KEY_PATH:
        kd_text_add(out, "\"type\": \"string\", \"minLength\": 1");
        return;
    case KD_KEY_CHOICE:
        add_choices(out, key->choices);
        return;
    case KD_KEY_INTEGERS:
    case KD_KEY_REALS:
    case KD_KEY_PATHS:
    case KD_KEY_TEXTS:
    case KD_KEY_OBJECTS:
        add_list(out, key, depth);
        return;
    case KD_KEY_OBJECT:
        add_object(out, key->table, depth);
        return;
    case KD_KEY_CHANGES:
    case KD_KEY_AXES:
        add_config_keys(out, key->table, key->type == KD_KEY_AXES);
        return;
    case KD_KEY_IGNORED:
        kd_text_add(out, "\"type\": \"string\"");
        return;
    }
}

static void add_key(kd_text *out, const kd_config_key *key, int depth) {
    indent(out, depth);
    kd_json_add_quoted(out, key->name);
    kd_text_add(out, ": {\"description\": ");
    kd_json_add_quoted(out, key->doc);
    kd_text_add(out, ", ");
    add_type(out, key, depth);
    if (key->fallback && !key->depends) kd_text_add(out, ", \"default\": %s", key->fallback);
    kd_text_add(out, "}");
}

static void add_required(kd_text *out, const kd_config_table *table, int depth) {
    const char *between = "";
    for (int i = 0; i < table->count; i++) {
        if (!table->key[i].required) continue;
        if (!*between) {
            indent(out, depth);
            kd_text_add(out, "\"required\": [");
        }
        kd_text_add(out, "%s\"%s\"", between, table->key[i].name);
        between = ", ";
    }
    if (*between) kd_text_add(out, "],");
}

/* Adds the members of the schema of one kind of object, without the braces. Of a variant that a tag
 * chooses, the tag's value is fixed behind its properties. */
static void add_keys(kd_text *out, const kd_config_table *table, const char *tag, int depth) {
    kd_text_add(out, "\"type\": \"object\", \"additionalProperties\": false,");
    add_required(out, table, depth + 1);
    indent(out, depth + 1);
    kd_text_add(out, "\"properties\": {");
    for (int i = 0; i < table->count; i++) {
        if (i > 0) kd_text_add(out, ",");
        if (tag && strcmp(table->key[i].name, tag) == 0) {
            indent(out, depth + 2);
            kd_text_add(out, "\"%s\": {\"const\": \"%s\"}", tag, table->name);
        } else {
            add_key(out, &table->key[i], depth + 2);
        }
    }
    kd_text_add(out, "}");
}

static void add_object(kd_text *out, const kd_config_table *table, int depth) {
    if (table->variant_count == 0) {
        add_keys(out, table, NULL, depth);
        return;
    }
    kd_text_add(out, "\"oneOf\": [");
    for (int i = 0; i < table->variant_count; i++) {
        kd_text_add(out, i > 0 ? ",{" : "{");
        add_keys(out, table->variant[i], table->tag, depth + 1);
        kd_text_add(out, "}");
    }
    kd_text_add(out, "]");
}

void kd_config_add_schema(kd_text *out, const kd_config_table *table) {
    kd_text_add(out,
                "{\n  \"$schema\": \"https://json-schema.org/draft/2020-12/schema\",\n"
                "  \"title\": \"%.*s\",\n  ",
                (int)strcspn(table->doc, "."), table->doc);
    add_object(out, table, 0);
    kd_text_add(out, "\n}\n");
}

/* --- Markdown ------------------------------------------------------------------------------- */

/* A cell, in which '|' would end it. */
static void add_cell(kd_text *out, const char *text) {
    for (const char *p = text; *p; p++) kd_text_add(out, *p == '|' ? "\\%c" : "%c", *p);
}

static void add_row(kd_text *out, const kd_config_key *key) {
    char what[KD_CONFIG_DESCRIPTION_MAX];
    kd_config_describe(what, key);
    kd_text_add(out, "| `%s` | ", key->name);
    add_cell(out, what);
    kd_text_add(out, " | ");
    if (key->required)
        kd_text_add(out, "**required**");
    else if (key->depends)
        add_cell(out, key->depends);
    else if (key->fallback)
        kd_text_add(out, "`%s`", key->fallback);
    else
        kd_text_add(out, "–");
    kd_text_add(out, " | ");
    add_cell(out, key->doc);
    kd_text_add(out, " |\n");
}

/* The table of one kind of object, then those of the objects in it. `kind` is "" unless the object
 * comes in kinds. `models` says whether networks, which have several places, were shown already. */
static void add_section(kd_text *out, const kd_config_table *table, const char *path,
                        const char *kind, bool *models) {
    if (table->variant_count > 0) {
        if (table->tag && *models) return;
        *models = *models || table->tag;
        for (int i = 0; i < table->variant_count; i++)
            add_section(out, table->variant[i], path, table->variant[i]->name, models);
        return;
    }
    kd_text_add(out, "### %s%s%s\n\n%s\n\n", *path ? path : "The whole", *kind ? ": " : "", kind,
                table->doc);
    kd_text_add(out, "| key | value | default | meaning |\n|---|---|---|---|\n");
    for (int i = 0; i < table->count; i++) add_row(out, &table->key[i]);
    kd_text_add(out, "\n");
    for (int i = 0; i < table->count; i++) {
        const kd_config_key *key = &table->key[i];
        if (key->type != KD_KEY_OBJECT && key->type != KD_KEY_OBJECTS) continue;
        char inner[128];
        snprintf(inner, sizeof inner, "%s%s%s%s", path, *path ? "." : "", key->name,
                 key->type == KD_KEY_OBJECTS ? "[]" : "");
        add_section(out, key->table, inner, "", models);
    }
}

void kd_config_add_markdown(kd_text *out, const kd_config_table *table) {
    bool models = false;
    add_section(out, table, "", "", &models);
}
