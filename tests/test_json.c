/* base/json: strictness, places, --set; base/text. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/error.h"
#include "base/json.h"
#include "base/text.h"

static kd_json *parse(const char *text) {
    kd_json *json;
    if (kd_json_parse(&json, text, strlen(text), "t.json") < 0) fail_msg("%s", kd_error());
    return json;
}

static const struct {
    const char *text, *message; /* the message begins so */
} BAD[] = {
    {"", "t.json:1:1: expected a value, but the text ends"},
    {"{\"a\": 1,}", "t.json:1:9: a comma must not stand before '}'"},
    {"[1, 2,\n ]", "t.json:2:2: a comma must not stand before ']'"},
    {"{\"a\" 1}", "t.json:1:6: expected ':' behind the key"},
    {"{\"a\": 1 \"b\": 2}", "t.json:1:9: expected ',' or '}'"},
    {"[1 2]", "t.json:1:4: expected ',' or ']'"},
    {"{a: 1}", "t.json:1:2: expected a key in double quotes, found 'a'"},
    {"{'a': 1}", "t.json:1:2: expected a key in double quotes; JSON strings have double quotes"},
    {"{\"a\": 1} // end", "t.json:1:10: expected nothing behind the end of the value; JSON has no"},
    {"{} {}", "t.json:1:4: expected nothing behind the end"},
    {"[\"a]", "t.json:1:2: this string has no closing quote"},
    {"[\"a\nb\"]", "t.json:1:2: this string has no closing quote"},
    {"[\"\t\"]", "t.json:1:3: the control character 0x09"},
    {"[\"\\x\"]", "t.json:1:3: an escape that JSON does not have"},
    {"[\"\\u12g4\"]", "t.json:1:3: \\u wants four hexadecimal digits"},
    {"[\"\\u0000\"]", "t.json:1:3: \\u0000"},
    {"[\"\\ud800\"]", "t.json:1:3: half of a surrogate pair"},
    {"[\"\\ud800\\u0041\"]", "t.json:1:3: half of a surrogate pair"},
    {"[\"\\udc00\"]", "t.json:1:3: half of a surrogate pair"},
    {"[\"\xc3\"]", "t.json:1:3: the byte 0xC3 is not UTF-8"},
    {"[\"\xed\xa0\x80\"]", "t.json:1:3: the byte 0xED is not UTF-8"},
    {"[01]", "t.json:1:2: a number must not begin with 0"},
    {"[1.]", "t.json:1:2: a number needs a digit behind its dot"},
    {"[.5]", "t.json:1:2: expected a value, found '.'"},
    {"[+1]", "t.json:1:2: expected a value, found '+'"},
    {"[-]", "t.json:1:2: a number needs a digit"},
    {"[\"\\ud83d\\ud83d\"]", "t.json:1:3: half of a surrogate pair"},
    {"[1, \"\\", "t.json:1:6: an escape that JSON"},
    {"{\"a\": {\"b\": 1, \"b\": 2}, \"a\": 3, ]", "t.json:1:16: the key \"b\" is there twice"},
    {"[1e]", "t.json:1:2: a number needs digits behind its e"},
    {"[1e999]", "t.json:1:2: a number too large"},
    {"[NaN]", "t.json:1:2: expected a value, found 'NaN'"},
    {"[True]", "t.json:1:2: expected a value, found 'True'"},
    {"{\"a\": 1,\n \"b\": 2,\n \"a\": 3}",
     "t.json:3:2: the key \"a\" is there twice, first on line 1"},
    {"[{\"x\": {\"k\": 1, \"\\u006b\": 1}}]", "t.json:1:17: the key \"k\" is there twice"},
    {"\xef\xbb\xbf", "t.json:1:1: expected a value, but the text ends here"},
    {"\xef\xbb\xbf\xef\xbb\xbf{}", "t.json:1:1: expected a value, found the byte 0xEF"},
    {"\xff\xfe{", "t.json: is UTF-16; save it as UTF-8"},
    {"\xfe\xff", "t.json: is UTF-16; save it as UTF-8"},
};

static void refuses_what_is_not_json(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof BAD / sizeof *BAD; i++) {
        kd_json *json;
        int status = kd_json_parse(&json, BAD[i].text, strlen(BAD[i].text), "t.json");
        if (status != KD_EDATA) fail_msg("accepted %s", BAD[i].text);
        if (strncmp(kd_error(), BAD[i].message, strlen(BAD[i].message)) != 0)
            fail_msg("%s\n  gave   %s\n  wanted %s", BAD[i].text, kd_error(), BAD[i].message);
        assert_null(json);
    }
}

static void refuses_zero_bytes_and_long_numbers(void **state) {
    (void)state;
    kd_json *json;
    assert_int_equal(kd_json_parse(&json, "[1]\0", 4, "t.json"), KD_EDATA);
    assert_int_equal(kd_json_parse(&json, "[\"a\0b\"]", 7, "t.json"), KD_EDATA);
    char digits[128] = "0.";
    memset(digits + 2, '1', 100);
    assert_int_equal(kd_json_parse(&json, digits, strlen(digits), "t.json"), KD_EDATA);
}

static void bounds_the_nesting(void **state) {
    (void)state;
    char text[2 * KD_JSON_DEPTH_MAX + 3];
    for (int extra = 0; extra <= 1; extra++) {
        size_t depth = (size_t)(KD_JSON_DEPTH_MAX + extra);
        memset(text, '[', depth);
        memset(text + depth, ']', depth);
        kd_json *json;
        assert_int_equal(kd_json_parse(&json, text, 2 * depth, "t.json"), extra ? KD_EDATA : KD_OK);
        kd_json_free(json);
    }
}

static void knows_where_everything_stands(void **state) {
    (void)state;
    kd_json *json = parse("{\n  \"é\\\"\" : {\"list\":\n[10, -2.5e1, {\"deep\": true}]},\n"
                          "\t\"next\":null}");
    const cJSON *root = kd_json_root(json), *first = root->child;
    const cJSON *list = kd_json_get(first, "list"), *deep = cJSON_GetArrayItem(list, 2)->child;
    char place[64];
    assert_string_equal(kd_json_place(place, sizeof place, json, root, false), "t.json:1:1");
    assert_string_equal(kd_json_place(place, sizeof place, json, first, true), "t.json:2:3");
    assert_string_equal(kd_json_place(place, sizeof place, json, first, false), "t.json:2:11");
    assert_string_equal(kd_json_place(place, sizeof place, json, list, false), "t.json:3:1");
    assert_string_equal(kd_json_place(place, sizeof place, json, list->child->next, false),
                        "t.json:3:6");
    assert_string_equal(kd_json_place(place, sizeof place, json, deep, true), "t.json:3:15");
    assert_string_equal(kd_json_place(place, sizeof place, json, deep, false), "t.json:3:23");
    assert_string_equal(kd_json_place(place, sizeof place, json, kd_json_get(root, "next"), false),
                        "t.json:4:9");
    assert_true(list->child->next->valuedouble == -25.0);
    assert_string_equal(first->string, "é\"");
    assert_null(kd_json_get(first, "LIST"));
    kd_json_free(json);
}

static void tells_whole_numbers(void **state) {
    (void)state;
    kd_json *json = parse("[3, 3.0, 3e2, -9007199254740992, 3.5, 1e300, \"3\", 9007199254740993]");
    const bool whole[] = {true, true, true, true, false, false, false, false};
    for (int i = 0; i < 8; i++)
        assert_int_equal(kd_json_is_integer(cJSON_GetArrayItem(kd_json_root(json), i)), whole[i]);
    kd_json_free(json);
}

/* Doubles have gaps beyond 2^53: there the digits count. */
static void keeps_large_whole_numbers(void **state) {
    (void)state;
    static const struct {
        const char *text;
        uint64_t value;
        bool good;
    } number[] = {{"0", 0, true},
                  {"1000000000000001", 1000000000000001u, true},
                  {"9007199254740991", 9007199254740991u, true},
                  {"9007199254740992", 9007199254740992u, true},
                  {"9007199254740993", 9007199254740993u, true},
                  {"18446744073709551615", UINT64_MAX, true},
                  {"18446744073709551616", 0, false},
                  {"100000000000000000000000", 0, false},
                  {"-1", 0, false},
                  {"-9007199254740993", 0, false},
                  {"3e2", 300, true},
                  {"1e16", 0, false}, /* its digits do not stand there */
                  {"0.5", 0, false},
                  {"\"7\"", 0, false}};
    for (size_t i = 0; i < sizeof number / sizeof *number; i++) {
        char text[64];
        uint64_t value;
        snprintf(text, sizeof text, "\xef\xbb\xbf[{\"a\" : %s}, %s]", number[i].text,
                 number[i].text);
        kd_json *json = parse(text);
        const cJSON *root = kd_json_root(json);
        assert_int_equal(kd_json_unsigned(&value, root->child->child), number[i].good);
        assert_int_equal(kd_json_unsigned(&value, root->child->next), number[i].good);
        cJSON *copy = cJSON_Duplicate(root->child->next, true);
        assert_int_equal(kd_json_unsigned(&value, copy), number[i].good);
        if (number[i].good) {
            assert_true(value == number[i].value);
            cJSON *made = kd_json_create_unsigned(value);
            char *printed = kd_json_print(made, false), right[32];
            snprintf(right, sizeof right, "%llu", (unsigned long long)value);
            assert_string_equal(printed, right);
            cJSON_free(printed);
            cJSON_Delete(made);
        }
        cJSON_Delete(copy);
        kd_json_free(json);
    }
}

/* cJSON itself prints 15 digits, and takes neighbours among doubles for equal. */
static void prints_every_number_as_it_is(void **state) {
    (void)state;
    static const double value[] = {0.1,
                                   1.0 / 3,
                                   5e-324,
                                   1.7976931348623157e308,
                                   -1e-7,
                                   0.30000000000000004,
                                   9007199254740991.0,
                                   1e22};
    for (size_t i = 0; i < sizeof value / sizeof *value; i++)
        for (int step = -2; step <= 2; step++) {
            double x = value[i];
            for (int n = 0; n < abs(step); n++) x = nextafter(x, step < 0 ? 0 : 1e300);
            char text[64];
            snprintf(text, sizeof text, "{\"x\": [%.17g]}", x);
            kd_json *json = parse(text), *again;
            char *printed = kd_json_print(kd_json_root(json), step > 0);
            again = parse(printed);
            assert_true(kd_json_root(json)->child->child->valuedouble == x);
            assert_true(kd_json_root(again)->child->child->valuedouble == x);
            cJSON_free(printed);
            kd_json_free(json);
            kd_json_free(again);
        }
}

static void sets_values(void **state) {
    (void)state;
    kd_json *json =
        parse("{\"train\": {\"epochs\": 5}, \"model\": {\"hidden\": [1, 2]}, \"x\": 1}");
    const char *const sets[] = {"train.epochs=7",   "train.clip.deep=0.5",
                                "name=hello world", "model.hidden.1=30",
                                "x=null",           "list=[1,{\"a\":2}]"};
    for (int i = 0; i < 6; i++)
        if (kd_json_set(json, sets[i]) < 0) fail_msg("%s", kd_error());
    char *text = cJSON_PrintUnformatted(kd_json_root(json));
    assert_string_equal(text, "{\"train\":{\"epochs\":7,\"clip\":{\"deep\":0.5}},"
                              "\"model\":{\"hidden\":[1,30]},\"name\":\"hello world\","
                              "\"list\":[1,{\"a\":2}]}");
    cJSON_free(text);
    char place[64];
    const cJSON *list = kd_json_get(kd_json_root(json), "list");
    assert_string_equal(kd_json_place(place, sizeof place, json, list->child->next->child, true),
                        "--set list");
    kd_json_free(json);
}

static void refuses_bad_sets(void **state) {
    (void)state;
    kd_json *json = parse("{\"a\": 1, \"l\": [1]}");
    const char *const sets[] = {"a", "=1", "a.b=1", "l.1=5", "l.x=5", "l.0.q=1", "b=\xff"};
    for (int i = 0; i < 7; i++)
        if (kd_json_set(json, sets[i]) != KD_EUSAGE) fail_msg("accepted %s", sets[i]);
    kd_json_free(json);
}

/* Keys of up to 255 bytes, and 64 changes of an object. */
static void changes_have_bounds(void **state) {
    (void)state;
    char longest[256 + 2] = "", place[600];
    kd_json *json = parse("{\"a\": 1}");
    const cJSON *one = kd_json_root(json)->child;
    cJSON *nothing = cJSON_CreateNull();
    memset(longest, 'k', 255);
    strcpy(longest + 255, "=");
    assert_int_equal(kd_json_set(json, longest), KD_OK);
    longest[255] = '\0';
    assert_non_null(kd_json_get(kd_json_root(json), longest));
    assert_int_equal(kd_json_change(json, longest, nothing, "here"), KD_OK); /* takes it away */
    assert_null(kd_json_get(kd_json_root(json), longest));
    assert_int_equal(kd_json_change(json, longest, one, "s.json:2:3"), KD_OK);
    const cJSON *copy = kd_json_get(kd_json_root(json), longest);
    assert_true(copy != one && cJSON_IsNumber(copy));
    assert_string_equal(kd_json_place(place, sizeof place, json, copy, false), "s.json:2:3");
    strcpy(longest + 255, "k");
    assert_int_equal(kd_json_change(json, longest, one, "here"), KD_EUSAGE);
    assert_int_equal(kd_json_change(json, "", one, "here"), KD_EUSAGE);
    assert_non_null(strstr(kd_error(), "here: expected a key such as train.epochs"));
    strcpy(longest + 255, "k=");
    assert_int_equal(kd_json_set(json, longest), KD_EUSAGE);
    for (int i = 3; i < KD_JSON_SETS_MAX; i++) assert_int_equal(kd_json_set(json, "b.c=2"), KD_OK);
    assert_int_equal(kd_json_set(json, "b.c=3"), KD_EUSAGE);
    assert_non_null(strstr(kd_error(), "--set: more than 64 changes"));
    assert_int_equal(kd_json_change(json, "b.c", one, "here"), KD_EUSAGE);
    copy = kd_json_get(kd_json_get(kd_json_root(json), "b"), "c");
    assert_string_equal(kd_json_place(place, sizeof place, json, copy, false), "--set b.c");
    kd_json_free(json);
    json = parse("[1]");
    assert_int_equal(kd_json_set(json, "0=2"), KD_EUSAGE);
    assert_non_null(strstr(kd_error(), "is no object"));
    kd_json_free(json);
    cJSON_Delete(nothing);
}

static void quotes(void **state) {
    (void)state;
    char out[64];
    size_t needed = kd_json_quote(out, sizeof out, "a\"b\\c\n\x01é");
    assert_string_equal(out, "\"a\\\"b\\\\c\\u000a\\u0001é\"");
    assert_int_equal(needed, strlen(out));
    assert_int_equal(kd_json_quote(out, 4, "abcdef"), 8);
    assert_string_equal(out, "\"ab");
    kd_json *json = parse("[\"\\ud83d\\ude00 \\u00e9\\n\"]");
    assert_string_equal(kd_json_root(json)->child->valuestring, "😀 é\n");
    kd_json_free(json);
}

static void guesses(void **state) {
    (void)state;
    assert_int_equal(kd_edit_distance("kitten", "sitting"), 3);
    assert_int_equal(kd_edit_distance("temprature", "temperature"), 1);
    assert_int_equal(kd_edit_distance("ehcos", "echos"), 1);
    assert_int_equal(kd_edit_distance("KL", "kl"), 0);
    assert_int_equal(kd_edit_distance("", "abc"), 3);
    const char *const words[] = {"temperature", "kl", "hard", "label_smoothing", "hints"};
    const struct {
        const char *word, *best;
    } expect[] = {{"temprature", "temperature"},
                  {"labelsmoothing", "label_smoothing"},
                  {"hint", "hints"},
                  {"k", "kl"},
                  {"xyz", NULL},
                  {"q", NULL},
                  {"tau", NULL}};
    for (size_t i = 0; i < sizeof expect / sizeof *expect; i++) {
        kd_guess guess = kd_guess_begin(expect[i].word);
        for (int w = 0; w < 5; w++) kd_guess_offer(&guess, words[w]);
        if (!expect[i].best)
            assert_null(guess.best);
        else
            assert_string_equal(guess.best, expect[i].best);
    }
}

static void grows_text(void **state) {
    (void)state;
    kd_text text = {0};
    for (int i = 0; i < 1000; i++) kd_text_add(&text, "%d,", i);
    assert_int_equal(kd_text_finish(&text, "test"), KD_OK);
    assert_int_equal(text.length, strlen(text.text));
    assert_int_equal(text.length, 10 * 2 + 90 * 3 + 900 * 4);
    free(text.text);
    assert_int_equal(kd_utf8_count("Bär 😀"), 5);
}

static void lays_out_tables(void **state) {
    (void)state;
    kd_text text = {0}, rows = {0};
    kd_text_add(&rows, "name\tnumber\tlast\nBär\t1 \t\n");
    kd_text_add_plain(&rows, "a\tb\n\x1b[0m", 8);
    kd_text_add(&rows, "\t22\tx\n");
    kd_text_add_table(&text, "lrl", rows.text);
    assert_string_equal(text.text, "name       number   last\n"
                                   "Bär            1\n"
                                   "a?b??[0m       22   x\n");
    free(text.text);
    free(rows.text);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(refuses_what_is_not_json),
        cmocka_unit_test(refuses_zero_bytes_and_long_numbers),
        cmocka_unit_test(bounds_the_nesting),
        cmocka_unit_test(knows_where_everything_stands),
        cmocka_unit_test(tells_whole_numbers),
        cmocka_unit_test(keeps_large_whole_numbers),
        cmocka_unit_test(prints_every_number_as_it_is),
        cmocka_unit_test(sets_values),
        cmocka_unit_test(refuses_bad_sets),
        cmocka_unit_test(changes_have_bounds),
        cmocka_unit_test(quotes),
        cmocka_unit_test(guesses),
        cmocka_unit_test(grows_text),
        cmocka_unit_test(lays_out_tables),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
