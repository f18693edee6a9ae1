/* cli: arguments, messages, exit codes; inspect, verify and run on small files. */
#include "test_data.h"

#include <sndfile.h>

#include "base/file.h"
#include "distill/checkpoint.h"
#include "quant_nets.h"
#include "run_cli.h"

/* --- arguments ------------------------------------------------------------------------------ */

static void wrong_usage_is_explained(void **state) {
    (void)state;
    assert_int_equal(distill((const char *const[]){NULL}), 64);
    assert_says(complained, "usage: distill COMMAND");
    assert_int_equal(DISTILL("inspekt", "x"), 64);
    assert_says(complained, "there is no command 'inspekt'; did you mean 'inspect'?");
    assert_int_equal(DISTILL("qqqqqq"), 64);
    assert_says(complained, "see distill --help");
    assert_int_equal(DISTILL("schema", "--markdwon"), 64);
    assert_says(complained, "there is no option --markdwon; did you mean --markdown?");
    assert_int_equal(DISTILL("schema", "--markdown=3"), 64);
    assert_says(complained, "takes no value");
    assert_int_equal(DISTILL("schema", "more"), 64);
    assert_says(complained, "'more' is one argument too many");
    assert_int_equal(DISTILL("schema", "-x"), 64);
    assert_int_equal(DISTILL("run", "only-one"), 64);
    assert_says(complained, "expected MODEL FILE…");
    assert_int_equal(DISTILL("run", "a", "b", "--top"), 64);
    assert_says(complained, "--top needs a value: --top N");
    assert_int_equal(DISTILL("run", "a", "b", "--top", "10"), 64);
    assert_says(complained, "expected a whole number from 1 to 9");
    assert_int_equal(DISTILL("run", "a", "b", "--top=2x"), 64);
    /* An unset variable of a shell script is not the root folder. */
    assert_int_equal(DISTILL("train", "c.json", "--runs", ""), 64);
    assert_says(complained, "--runs has an empty value; expected --runs FOLDER");
    assert_int_equal(DISTILL("sweep", "s.json", "--runs="), 64);
    assert_int_equal(DISTILL("convert", "a", "b", "--type="), 64);
    assert_int_equal(DISTILL("train", ""), 64);
    assert_says(complained, "argument 1 is empty; expected CONFIG");
    assert_int_equal(DISTILL("run", "model", "a.png", ""), 64);
    assert_says(complained, "argument 3 is empty");
}

static size_t longest_line(const char *text) {
    size_t longest = 0;
    for (; *text; text += strcspn(text, "\n"), text += *text == '\n')
        if (strcspn(text, "\n") > longest) longest = strcspn(text, "\n");
    return longest;
}

static void help_is_given(void **state) {
    (void)state;
    assert_int_equal(DISTILL("--help"), 0);
    assert_says(printed, "verify");
    assert_int_equal(DISTILL("--version"), 0);
    assert_int_equal(strncmp(printed, "distill ", 8), 0);
    static const char *const commands[] = {
        "train", "teach",   "quantize", "export",   "eval",      "run",
        "bench", "inspect", "verify",   "schema",   "sweep",     "selftest",
        "slurm", "convert", "generate", "compress", "perplexity"};
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++) {
        assert_int_equal(DISTILL(commands[i], "--help"), 0);
        assert_says(printed, "usage: distill ");
        assert_says(printed, "--help  ");
        assert_true(longest_line(printed) <= 101);
        assert_says(printed, "\nexample:\n  distill ");
        assert_string_equal(complained, "");
    }
}

static void options_and_arguments_mix(void **state) {
    (void)state;
    static const kd_option options[] = {
        {"set", "K=V", ""}, {"dry", NULL, ""}, {"runs", "F", ""}, {NULL, NULL, NULL}};
    static const kd_usage usage = {.command = "t",
                                   .positional = "A B",
                                   .least = 2,
                                   .most = 3,
                                   .summary = "",
                                   .options = options,
                                   .example = ""};
    char *argv[] = {"t", "--set", "a=1", "one", "--set=b=2", "--dry", "--", "--two", NULL};
    kd_arguments arguments;
    assert_int_equal(kd_arguments_parse(&arguments, &usage, 8, argv), KD_OK);
    assert_int_equal(arguments.positional_count, 2);
    assert_string_equal(arguments.positional[0], "one");
    assert_string_equal(arguments.positional[1], "--two");
    const char *const *sets;
    assert_int_equal(kd_arguments_all(&arguments, "set", &sets), 2);
    assert_string_equal(sets[0], "a=1");
    assert_string_equal(sets[1], "b=2");
    assert_true(kd_arguments_has(&arguments, "dry"));
    assert_false(kd_arguments_has(&arguments, "runs"));
    assert_string_equal(kd_arguments_value(&arguments, "set"), "b=2");
    assert_null(kd_arguments_value(&arguments, "runs"));
    int64_t value;
    assert_int_equal(kd_arguments_integer(&value, &arguments, "runs", 0, 9, 7), KD_OK);
    assert_int_equal(value, 7);
}

/* "--dry-run" as troff spells it. */
static void assert_in_manual(const char *manual, const char *option) {
    char spelt[128];
    size_t n = 0;
    for (const char *p = option; *p && n + 3 < sizeof spelt; p++) {
        if (*p == '-') spelt[n++] = '\\';
        spelt[n++] = *p;
    }
    spelt[n] = '\0';
    assert_says(manual, spelt);
}

/* The manual page knows every command and every option of the program. */
static void manual_is_complete(void **state) {
    (void)state;
    char *manual, overview[sizeof printed];
    size_t length;
    ASSERT_OK(kd_file_read(&manual, &length, "docs/distill.1", 1 << 20));
    assert_int_equal(DISTILL("--help"), 0);
    memcpy(overview, printed, sizeof overview);
    int commands = 0;
    for (char *line = strstr(overview, "\n  "); line; line = strstr(line + 1, "\n  ")) {
        char name[32] = "", heading[64];
        if (sscanf(line, "\n  %31[a-z]  ", name) != 1 || strcmp(name, "distill") == 0) continue;
        snprintf(heading, sizeof heading, "\n.B %s\n", name);
        if (!strstr(manual, heading)) {
            snprintf(heading, sizeof heading, "\n.BI \"%s \" ", name);
            assert_says(manual, heading);
        }
        commands++;
        assert_int_equal(DISTILL(name, "--help"), 0);
        for (char *at = strstr(printed, "\n  --"); at; at = strstr(at + 1, "\n  --")) {
            char option[64];
            assert_int_equal(sscanf(at, "\n  %63[-a-z]", option), 1);
            assert_in_manual(manual, option);
        }
    }
    assert_true(commands >= 10);
    free(manual);
}

/* --- files ---------------------------------------------------------------------------------- */

static void write_checkpoint(const char *path) {
    kd_params *params;
    ASSERT_OK(kd_params_create(&params));
    kd_params_add(params, "stem.weight", 2, (int64_t[]){3, 5}, KD_INIT_HE_NORMAL, 5, 3,
                  KD_PARAM_TRAINED);
    ASSERT_OK(kd_params_layout(params, 1));
    kd_checkpoint c = {.params = params, .config_json = "{}", .stage = "train"};
    c.key = kd_hash_bytes("k", 1);
    c.state.step = 77;
    c.state.best_value = 0.125;
    c.state.best_epoch = 3;
    snprintf(c.state.best_metric, sizeof c.state.best_metric, "r2");
    ASSERT_OK(kd_checkpoint_save(path, &c));
    kd_params_free(params);
}

static void checkpoints_are_shown_and_verified(void **state) {
    const char *path = test_path(*state, "c.h5");
    write_checkpoint(path);
    assert_int_equal(DISTILL("inspect", path), 0);
    assert_says(printed, "after 77 updates");
    assert_says(printed, "best on the validation split: r2 0.125 after epoch 3");
    assert_says(printed, "stem.weight     3×5        15");
    assert_int_equal(DISTILL("verify", path), 0);
    assert_says(printed, "c.h5: checkpoint, its seal");
    FILE *file = fopen(path, "r+b"); /* one bit of the values */
    fseek(file, -700, SEEK_END);
    int byte = fgetc(file);
    fseek(file, -1, SEEK_CUR);
    fputc(byte ^ 1, file);
    fclose(file);
    assert_int_equal(DISTILL("verify", path), 65);
    assert_says(complained, "c.h5");
    assert_string_equal(printed, "");
}

static void configs_are_shown_and_verified(void **state) {
    const char *path = test_path(*state, "c.json");
    static const char good[] =
        "{\"data\": {\"kind\": \"cifar10\", \"folder\": \"/nowhere\"}, \"train\": {\"epochs\": 1},"
        " \"model\": {\"type\": \"resnet\", \"depth\": 20}, \"teacher\": {\"weights\": \"w\","
        " \"model\": {\"type\": \"resnet\", \"depth\": 56}}}";
    test_write(path, good, sizeof good - 1);
    assert_int_equal(DISTILL("inspect", path), 0);
    assert_says(printed, "layer2.0.add");
    assert_says(printed, "269,722      40,551,040"); /* the student  */
    assert_says(printed, "853,018     125,485,696"); /* the teacher  */
    assert_int_equal(DISTILL("verify", path), 0);
    assert_int_equal(DISTILL("inspect", "configs/whisper_base_en.json"), 0);
    assert_says(printed, "all encoder layers, 2 decoder layers");
    assert_int_equal(DISTILL("verify", "configs/whisper_base_en.json"), 0);
    test_write(path, "{\"train\": }", 11);
    assert_int_equal(DISTILL("verify", path), 78);
    assert_says(complained, "c.json:1:11: expected a value");
}

/* Every kind of node, with what it is, where it stands and what it costs. */
static void networks_are_shown_node_by_node(void **state) {
    static const char config[] =
        "{\"data\": {\"kind\": \"audio\", \"train\": \"words.tsv\", \"test\": \"words.tsv\", "
        "\"audio\":"
        " {\"seconds\": 0.5}}, \"model\": {\"type\": \"cnn\", \"layers\": [{\"conv\": 8, "
        "\"kernel\": [3, 5]},"
        " {\"max_pool\": 2}, {\"conv\": 8, \"groups\": 4, \"batch_norm\": false},"
        " {\"avg_pool\": [2, 1]}, {\"dropout\": 0.25}, {\"global_avg_pool\": true}, {\"linear\": "
        "12}]},"
        " \"teacher\": {\"store\": \"s\"}, \"train\": {\"epochs\": 1}}";
    static const char list[] = "a.wav\tyes\nb.wav\tno\nc.wav\tup\n";
    static const char nodes[] =
        "student:\n"
        "node         kind                       from        output   parameters   multiply-adds\n"
        "input        input                                 50×40×1\n"
        "conv0        conv 3×5, norm, relu       input      50×40×8          136         240,000\n"
        "pool1        max_pool 2×2               conv0      25×20×8\n"
        "conv2        conv 3×3, 4 groups, relu   pool1      25×20×8          152          72,000\n"
        "pool3        avg_pool 2×1               conv2      12×20×8\n"
        "dropout4     dropout 0.25               pool3      12×20×8\n"
        "pool5        global_avg_pool            dropout4     1×1×8\n"
        "linear6      linear, relu               pool5       1×1×12          108              96\n"
        "classifier   linear                     linear6      1×1×3           39              36\n"
        "all                                                                 435         312,132\n"
        "\n"
        "teacher: the store ";
    const char *path = test_path(*state, "c.json");
    test_write(path, config, sizeof config - 1);
    assert_int_equal(DISTILL("inspect", path), 0);
    assert_says(printed, "data: audio, samples of 50×40×1, 10 classes (assumed: the files are not");
    test_write(test_path(*state, "words.tsv"), list, sizeof list - 1);
    assert_int_equal(DISTILL("inspect", test_path(*state, "c.json")), 0);
    assert_says(printed, "data: audio, samples of 50×40×1, 3 classes\n");
    assert_says(printed, nodes);
}

static void other_files_are_refused(void **state) {
    const char *path = test_path(*state, "x");
    test_write(path, "hello", 5);
    assert_int_equal(DISTILL("inspect", path), 65);
    assert_says(complained, "is not a config, checkpoint, teacher store, GGUF, safetensors, "
                            "whisper.cpp or .onnx file");
    test_write(path, "", 0);
    assert_int_equal(DISTILL("verify", path), 65);
    test_write(path, "GGUF", 4);
    assert_int_equal(DISTILL("verify", path), 65);
    assert_int_equal(DISTILL("inspect", ((test_folder *)*state)->path), 65);
    assert_int_equal(DISTILL("inspect", "/nowhere"), 66);
    assert_says(complained, "/nowhere");
}

/* --- a model -------------------------------------------------------------------------------- */

enum { SIDE = 13, CLASSES = 10 };

/* A blob of a small network, whose class names have what no table may trip over. */
static void write_blob(const char *path, const kd_data_spec *data) {
    kd_quant_spec spec = {
        .weight_bits = 8, .activation_bits = 8, .observer = KD_OBSERVER_EMA, .ema = 0.9};
    quant_case c = case_create(build_cnn, (kd_extent){SIDE, SIDE, 1}, &spec);
    case_calibrate(&c);
    char names[CLASSES][KD_CLASS_NAME_MAX];
    for (int i = 0; i < CLASSES; i++) snprintf(names[i], sizeof names[i], "class\t%d\n", i);
    kd_dataset dataset = {.h = SIDE,
                          .w = SIDE,
                          .c = 1,
                          .classes = CLASSES,
                          .class_name = names,
                          .normaliser = {.unit = 1 / 255.0f}};
    kd_blob_info info = {.name = "small", .teacher = "", .dataset = &dataset, .data = data};
    ASSERT_OK(kd_blob_write(path, c.qnet, &info));
    case_free(&c);
}

static void write_picture(const char *path, int side) {
    char pgm[4096];
    int n = snprintf(pgm, sizeof pgm, "P5\n%d %d\n255\n", side, side);
    for (int i = 0; i < side * side; i++) pgm[n++] = (char)(uint8_t)(i * 7 % 251);
    test_write(path, pgm, (size_t)n);
}

static void models_are_run(void **state) {
    char model[KD_PATH_MAX], good[KD_PATH_MAX], small[KD_PATH_MAX], idx[KD_PATH_MAX + 8];
    strcpy(model, test_path(*state, "m.gguf"));
    strcpy(good, test_path(*state, "good.pgm"));
    strcpy(small, test_path(*state, "small.pgm"));
    write_blob(model, &(kd_data_spec){.kind = KD_DATA_IDX});
    write_picture(good, SIDE);
    write_picture(small, SIDE - 1);
    assert_int_equal(DISTILL("verify", model), 0);
    assert_says(printed, "exported model, its checksum is right and it can be run");
    assert_int_equal(DISTILL("inspect", model), 0);
    assert_says(printed, "conv 3×3");
    assert_int_equal(DISTILL("run", model, good, "--top", "2", good), 0);
    assert_says(printed, "class?");
    int percents = 0, lines = 0;
    for (const char *p = printed; *p; p++) {
        percents += *p == '%';
        lines += *p == '\n';
    }
    assert_int_equal(lines, 2);
    assert_int_equal(percents, 4);
    assert_int_equal(DISTILL("run", model, small), 65);
    assert_says(complained, "12 wide and 12 high");
    assert_says(complained, "13 by 13");
    /* The same picture as the second of an idx file. */
    char first[256],
        values[16 + 2 * SIDE * SIDE] = {0, 0, 8, 3, 0, 0, 0, 2, 0, 0, 0, SIDE, 0, 0, 0, SIDE};
    DISTILL("run", model, good);
    snprintf(first, sizeof first, "%s", strchr(printed, ' '));
    for (int i = 0; i < SIDE * SIDE; i++)
        values[16 + SIDE * SIDE + i] = (char)(uint8_t)(i * 7 % 251);
    test_write(test_path(*state, "two.idx"), values, sizeof values);
    snprintf(idx, sizeof idx, "%s:1", test_path(*state, "two.idx"));
    assert_int_equal(DISTILL("run", model, idx), 0);
    assert_string_equal(strchr(printed, ' '), first);
    snprintf(idx, sizeof idx, "%s:2", test_path(*state, "two.idx"));
    assert_int_equal(DISTILL("run", model, idx), 64);
    assert_says(complained, "sample 2, but there are 2, from 0");
    assert_int_equal(DISTILL("run", model, "/nowhere.png"), 66);
}

/* The runner's answers are the program's, and a model in C holds every byte of its file. */
static void models_go_to_devices(void **state) {
    char model[KD_PATH_MAX], picture[KD_PATH_MAX], header[KD_PATH_MAX], answer[sizeof printed];
    strcpy(model, test_path(*state, "device.gguf"));
    strcpy(picture, test_path(*state, "device.pgm"));
    strcpy(header, test_path(*state, "my-model.h"));
    write_blob(model, &(kd_data_spec){.kind = KD_DATA_IDX});
    write_picture(picture, SIDE);
    assert_int_equal(DISTILL("run", model, picture), 0);
    snprintf(answer, sizeof answer, "%s", printed);
    assert_int_equal(DISTILL("run", "--runner", model, picture), 0);
    assert_string_equal(printed, answer);
    assert_int_equal(DISTILL("export", model, "--c-array", header), 0);
    char *text, *bytes;
    size_t length, size, at = 0;
    ASSERT_OK(kd_file_read(&text, &length, header, 1 << 20));
    ASSERT_OK(kd_file_read(&bytes, &size, model, 1 << 20));
    assert_says(text, "MY_MODEL_ARENA = ");
    assert_says(text, "static const uint8_t my_model[");
    for (char *p = strchr(strstr(text, "my_model["), '{') + 1; *p && *p != '}'; at++) {
        const long value = strtol(p, &p, 10);
        assert_true(*p == ',' && at < size && value == (uint8_t)bytes[at]);
        p += 1 + strspn(p + 1, " \n");
    }
    assert_int_equal(at, size);
    assert_int_equal(DISTILL("export", picture, "--c-array", header), 65);
    assert_int_equal(DISTILL("export", model, "--c-array", test_path(*state, "9.h")), 64);
    assert_says(complained, "no name in C");
    bytes[size / 2] ^= 1;
    test_write(model, bytes, size);
    assert_int_equal(DISTILL("export", model, "--c-array", header), 65);
    free(text);
    free(bytes);
}

/* One bad file does not take the answers of the others with it. */
static void bad_files_are_named_and_the_others_answered(void **state) {
    char model[KD_PATH_MAX], good[KD_PATH_MAX], small[KD_PATH_MAX], config[KD_PATH_MAX];
    strcpy(model, test_path(*state, "m.gguf"));
    strcpy(good, test_path(*state, "good.pgm"));
    strcpy(small, test_path(*state, "small.pgm"));
    strcpy(config, test_path(*state, "c.json"));
    write_blob(model, &(kd_data_spec){.kind = KD_DATA_IDX});
    write_picture(good, SIDE);
    write_picture(small, SIDE - 1);
    test_write(config, "\xef\xbb\xbf{}", 5);
    assert_int_equal(DISTILL("run", model, small, good, "/nowhere.png", good), 65);
    assert_says(printed, "good.pgm");
    assert_non_null(strstr(strchr(printed, '\n') + 1, "good.pgm")); /* twice */
    assert_says(complained, "small.pgm: 12 wide and 12 high");
    assert_says(complained, "/nowhere.png");
    assert_says(complained, "2 of 4 files failed");
    assert_int_equal(DISTILL("run", model, "/nowhere.png", good, "/nowhere.pgm"), 66);
    assert_int_equal(DISTILL("verify", small, model, "/nowhere.h5", model, config), 65);
    assert_says(printed, "it can be run");
    assert_says(complained, "small.pgm: is not a config");
    assert_says(complained, "/nowhere.h5: ");
    assert_says(complained, "c.json:");
    assert_says(complained, "3 of 5 files failed");
    assert_int_equal(DISTILL("inspect", small, model), 65);
    assert_says(printed, "conv 3×3");
    assert_true(printed[0] != '\n');
}

static void write_sound(const char *path, int rate, int channels, double seconds) {
    SF_INFO info = {
        .samplerate = rate, .channels = channels, .format = SF_FORMAT_WAV | SF_FORMAT_PCM_16};
    SNDFILE *file = sf_open(path, SFM_WRITE, &info);
    assert_non_null(file);
    for (int i = 0; i < (int)(seconds * rate); i++) {
        float frame[2] = {(float)sin(3000.0 * i / rate), (float)sin(5000.0 * i / rate)};
        assert_int_equal(sf_writef_float(file, frame, 1), 1);
    }
    assert_int_equal(sf_close(file), 0);
}

/* Any rate, any number of channels, any length; and a file whose sound does not fit its network. */
static void sounds_are_heard(void **state) {
    char model[KD_PATH_MAX], mono[KD_PATH_MAX], stereo[KD_PATH_MAX];
    strcpy(model, test_path(*state, "m.gguf"));
    strcpy(mono, test_path(*state, "mono.wav"));
    strcpy(stereo, test_path(*state, "stereo.wav"));
    kd_data_spec data = {.kind = KD_DATA_AUDIO,
                         .audio = {.sample_rate = 8000,
                                   .window = 256,
                                   .hop = 128,
                                   .mels = SIDE,
                                   .seconds = SIDE * 128 / 8000.0,
                                   .trim = 30,
                                   .range = 60,
                                   .normalise = KD_CLIP_BANDS}};
    write_blob(model, &data);
    write_sound(mono, 8000, 1, 0.05);
    write_sound(stereo, 44100, 2, 3);
    assert_int_equal(DISTILL("run", model, mono, stereo), 0);
    assert_says(printed, "mono.wav");
    assert_says(strchr(printed, '\n'), "stereo.wav");
    data.audio.mels = SIDE - 1;
    write_blob(model, &data);
    assert_int_equal(DISTILL("run", model, mono), 65);
    assert_says(complained, "samples of 13x13x1, but the sound gives 13x12x1");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(wrong_usage_is_explained),
        cmocka_unit_test(help_is_given),
        cmocka_unit_test(options_and_arguments_mix),
        cmocka_unit_test(manual_is_complete),
        cmocka_unit_test_setup_teardown(checkpoints_are_shown_and_verified, test_setup,
                                        test_teardown),
        cmocka_unit_test_setup_teardown(configs_are_shown_and_verified, test_setup, test_teardown),
        cmocka_unit_test_setup_teardown(networks_are_shown_node_by_node, test_setup, test_teardown),
        cmocka_unit_test_setup_teardown(other_files_are_refused, test_setup, test_teardown),
        cmocka_unit_test_setup_teardown(models_go_to_devices, test_setup, test_teardown),
        cmocka_unit_test_setup_teardown(models_are_run, test_setup, test_teardown),
        cmocka_unit_test_setup_teardown(bad_files_are_named_and_the_others_answered, test_setup,
                                        test_teardown),
        cmocka_unit_test_setup_teardown(sounds_are_heard, test_setup, test_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
