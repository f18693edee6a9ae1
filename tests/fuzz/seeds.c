/* Small valid files to start the fuzzers from, made by the writers of today so that they never fall
 * behind a format.
 *
 * usage: seeds FOLDER     writes FOLDER/<reader>/<name>
 */
#include <png.h>
#include <sndfile.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <zlib.h>

#include "base/file.h"
#include "data/dataset_source.h"
#include "files/gguf.h"
#include "onnx_nets.h"

static char path[KD_PATH_MAX];

static const char *seed_path(const char *folder, const char *reader, const char *name) {
    char reader_folder[KD_PATH_MAX];
    ASSERT_OK(kd_path_join(reader_folder, folder, reader));
    ASSERT_OK(kd_file_make_folders(reader_folder));
    ASSERT_OK(kd_path_join(path, reader_folder, name));
    return path;
}

static void put(const char *folder, const char *reader, const char *name, const void *bytes,
                size_t length) {
    FILE *file = fopen(seed_path(folder, reader, name), "wb");
    if (!file || fwrite(bytes, 1, length, file) != length || fclose(file) != 0)
        fail_msg("%s: cannot write", path);
}

static void put_text(const char *folder, const char *reader, const char *name, const char *text) {
    put(folder, reader, name, text, strlen(text));
}

static void put_sound(const char *folder, const char *name, int format, int rate, int channels,
                      int frames) {
    SF_INFO info = {.samplerate = rate, .channels = channels, .format = format};
    SNDFILE *file = sf_open(seed_path(folder, "audio", name), SFM_WRITE, &info);
    if (!file) fail_msg("%s: %s", path, sf_strerror(NULL));
    for (int i = 0; i < frames; i++) {
        float frame[3];
        for (int c = 0; c < channels; c++)
            frame[c] = (float)((i * 37 + c * 11) % 101) / 200 - 0.25f;
        sf_writef_float(file, frame, 1);
    }
    sf_close(file);
}

/* One behind the other. */
static void join_sounds(const char *folder, const char *name, const char *a, const char *b) {
    char *bytes[2], all[1 << 15];
    size_t length[2];
    ASSERT_OK(kd_file_read(&bytes[0], &length[0], seed_path(folder, "audio", a), sizeof all / 2));
    ASSERT_OK(kd_file_read(&bytes[1], &length[1], seed_path(folder, "audio", b), sizeof all / 2));
    memcpy(all, bytes[0], length[0]);
    memcpy(all + length[0], bytes[1], length[1]);
    put(folder, "audio", name, all, length[0] + length[1]);
    free(bytes[0]);
    free(bytes[1]);
}

static void copy_sound(const char *folder, const char *name) {
    char *bytes, from[64];
    size_t length;
    snprintf(from, sizeof from, "tests/golden/sounds/%s", name);
    ASSERT_OK(kd_file_read(&bytes, &length, from, 1 << 15));
    put(folder, "audio", name, bytes, length);
    free(bytes);
}

static void put_sounds(const char *folder) {
    put_sound(folder, "pcm16.wav", SF_FORMAT_WAV | SF_FORMAT_PCM_16, 16000, 1, 200);
    put_sound(folder, "pcm24.wav", SF_FORMAT_WAV | SF_FORMAT_PCM_24, 8000, 2, 60);
    put_sound(folder, "extensible.wav", SF_FORMAT_WAVEX | SF_FORMAT_PCM_U8, 16000, 3, 40);
    put_sound(folder, "float.wav", SF_FORMAT_WAV | SF_FORMAT_FLOAT, 44100, 2, 60);
    put_sound(folder, "adpcm.wav", SF_FORMAT_WAV | SF_FORMAT_IMA_ADPCM, 8000, 1, 300);
    put_sound(folder, "ulaw.wav", SF_FORMAT_WAV | SF_FORMAT_ULAW, 8000, 1, 100);
    put_sound(folder, "mono.flac", SF_FORMAT_FLAC | SF_FORMAT_PCM_16, 16000, 1, 300);
    put_sound(folder, "stereo.flac", SF_FORMAT_FLAC | SF_FORMAT_PCM_24, 8000, 2, 200);
    put_sound(folder, "vorbis.ogg", SF_FORMAT_OGG | SF_FORMAT_VORBIS, 8000, 1, 400);
    put_sound(folder, "opus.ogg", SF_FORMAT_OGG | SF_FORMAT_OPUS, 16000, 1, 400);
    put_sound(folder, "mono.aiff", SF_FORMAT_AIFF | SF_FORMAT_PCM_16, 16000, 1, 100);
    put_sound(folder, "mono.au", SF_FORMAT_AU | SF_FORMAT_PCM_16, 16000, 1, 100);
    put_sound(folder, "mono.caf", SF_FORMAT_CAF | SF_FORMAT_PCM_16, 16000, 1, 100);
    put_sound(folder, "mono.w64", SF_FORMAT_W64 | SF_FORMAT_PCM_16, 16000, 1, 100);
    put_sound(folder, "mono.rf64", SF_FORMAT_RF64 | SF_FORMAT_PCM_16, 16000, 1, 100);
    put_sound(folder, "mono.sph", SF_FORMAT_NIST | SF_FORMAT_PCM_16, 16000, 1, 100);
    put_sound(folder, "mono.mp3", SF_FORMAT_MPEG | SF_FORMAT_MPEG_LAYER_III, 16000, 1, 3000);
    join_sounds(folder, "joined.wav", "pcm16.wav", "pcm24.wav");
    join_sounds(folder, "joined.flac", "mono.flac", "stereo.flac");
    join_sounds(folder, "chained.ogg", "vorbis.ogg", "opus.ogg");
    join_sounds(folder, "joined.mp3", "mono.mp3", "mono.mp3");
    copy_sound(folder, "tone.m4a");
    copy_sound(folder, "tone.webm");
    copy_sound(folder, "tone.aac");
}

static void put_big_endian(uint8_t *out, uint32_t value) {
    for (int i = 0; i < 4; i++) out[i] = (uint8_t)(value >> (24 - 8 * i));
}

static void put_idx(const char *folder) {
    uint8_t images[16 + 3 * 4 * 5], labels[8 + 6] = {0}, packed[256];
    uLongf length = sizeof packed;
    for (size_t i = 0; i < sizeof images; i++) images[i] = (uint8_t)(i * 29);
    put_big_endian(images, 0x803);
    put_big_endian(images + 4, 3);
    put_big_endian(images + 8, 4);
    put_big_endian(images + 12, 5);
    put(folder, "idx", "images", images, sizeof images);
    put_big_endian(labels, 0x801);
    put_big_endian(labels + 4, 6);
    put(folder, "idx", "labels", labels, sizeof labels);
    z_stream z = {.next_in = images, .avail_in = sizeof images};
    z.next_out = packed;
    z.avail_out = (uInt)length;
    deflateInit2(&z, 9, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY); /* +16: gzip */
    deflate(&z, Z_FINISH);
    put(folder, "idx", "images.gz", packed, z.total_out);
    deflateEnd(&z);
}

static void put_cifar(const char *folder) {
    static uint8_t records[2 * KD_CIFAR_RECORD];
    records[KD_CIFAR_RECORD] = 9;
    put(folder, "cifar", "one", records, KD_CIFAR_RECORD);
    put(folder, "cifar", "two", records, sizeof records);
}

static void put_pictures(const char *folder) {
    static const struct {
        const char *name;
        uint32_t format;
    } kinds[] = {{"grey.png", PNG_FORMAT_GRAY},
                 {"colour.png", PNG_FORMAT_RGB},
                 {"alpha.png", PNG_FORMAT_RGBA}};
    uint8_t pixels[5 * 7 * 4];
    for (size_t i = 0; i < sizeof pixels; i++) pixels[i] = (uint8_t)(i * 31);
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        png_image image = {
            .version = PNG_IMAGE_VERSION, .width = 7, .height = 5, .format = kinds[i].format};
        if (!png_image_write_to_file(&image, seed_path(folder, "image", kinds[i].name), 0, pixels,
                                     0, NULL))
            fail_msg("%s: %s", path, image.message);
    }
    char pnm[160];
    int head = snprintf(pnm, sizeof pnm, "P5 # grey\n7 5\n255\n");
    memcpy(pnm + head, pixels, 35);
    put(folder, "image", "grey.pgm", pnm, (size_t)head + 35);
    head = snprintf(pnm, sizeof pnm, "P6\n7 5 255\n");
    memcpy(pnm + head, pixels, 105);
    put(folder, "image", "colour.ppm", pnm, (size_t)head + 105);
}

static void put_safetensors(const char *folder) {
    static const char header[] =
        "{\"__metadata__\":{\"format\":\"pt\"},"
        "\"b\":{\"dtype\":\"F16\",\"shape\":[5],\"data_offsets\":[24,34]},"
        "\"a\":{\"dtype\":\"F32\",\"shape\":[2,3],\"data_offsets\":[0,24]},"
        "\"c\\u00e9\":{\"dtype\":\"BF16\",\"shape\":[3,1],\"data_offsets\":[34,40]},"
        "\"d\":{\"dtype\":\"F64\",\"shape\":[],\"data_offsets\":[40,48]},"
        "\"e\":{\"dtype\":\"I32\",\"shape\":[0],\"data_offsets\":[48,48]}}";
    uint8_t file[8 + sizeof header - 1 + 48] = {(uint8_t)(sizeof header - 1),
                                                (uint8_t)((sizeof header - 1) >> 8)};
    memcpy(file + 8, header, sizeof header - 1);
    put(folder, "safetensors", "five", file, sizeof file);
    put(folder, "safetensors", "none", "\2\0\0\0\0\0\0\0{}", 10);
}

/* Small networks whose files are read back, and one that is refused for its integers. */
static void put_onnx(const char *folder) {
    static const net_builder build[] = {build_cnn, build_resnet, build_smooth};
    static const char *const name[] = {"cnn", "resnet", "smooth"};
    const kd_quant_spec int8 = {.weight_bits = 8, .activation_bits = 8};
    for (int i = 0; i < 3; i++) {
        quant_case c = case_create(build[i], (kd_extent){4, 5, 1}, &int8);
        write_onnx(&c, seed_path(folder, "onnx", name[i]), NULL);
        case_free(&c);
    }
}

static void put_blob(const char *folder) {
    const kd_quant_spec int8 = {.weight_bits = 8, .activation_bits = 8};
    quant_case c = case_create(build_grouped, (kd_extent){4, 4, 2}, &int8);
    case_calibrate(&c);
    case_write(&c, seed_path(folder, "gguf", "blob"));
    case_write(&c, seed_path(folder, "runner", "blob"));
    case_free(&c);
}

/* A file's number and its text (fuzz_whisper_folder.c). */
static void put_whisper_folder(const char *folder) {
    static const char *const text[] = {
        "\5{\"suppress_tokens\": [1, -1], \"begin_suppress_tokens\": [], \"max_length\": 448, "
        "\"max_initial_timestamp_index\": 50, \"decoder_start_token_id\": 257, \"eos_token_id\": "
        "[256], \"no_timestamps_token_id\": 362, \"alignment_heads\": [[0, 1]], "
        "\"forced_decoder_ids\": [[1, 362]], \"language\": \"de\", \"task\": \"translate\", "
        "\"lang_to_id\": {\"<|en|>\": 258}, \"task_to_id\": {\"translate\": 357}, \"num_beams\": "
        "5}",
        "\6{\"model_type\": \"whisper\", \"vocab_size\": 1864, \"num_mel_bins\": 1, \"d_model\": "
        "4, "
        "\"max_source_positions\": 1, \"max_target_positions\": 16, \"encoder_layers\": 1, "
        "\"encoder_attention_heads\": 1, \"encoder_ffn_dim\": 16, \"decoder_layers\": 1, "
        "\"decoder_attention_heads\": 2, \"decoder_ffn_dim\": 16, \"tie_word_embeddings\": true, "
        "\"activation_function\": \"gelu\", \"is_encoder_decoder\": true}",
        "\7{\"feature_size\": 1, \"sampling_rate\": 16000, \"hop_length\": 160, \"n_fft\": 400}",
        "\10{\"<|startoftranscript|>\": 257, \"<|notimestamps|>\": 362, \"<|iw|>\": 278}",
        "\11{\"feature_extractor\": {\"hop_length\": 160}}"};
    for (int i = 0; i < 5; i++)
        put_text(folder, "whisper_folder", (char[]){(char)('0' + i), '\0'}, text[i]);
}

/* For fuzz_imatrix's small model. */
static void put_imatrix(const char *folder) {
    kd_gguf_writer *w;
    static const float sums[4] = {1, 2, 3, 4}, count = 2;
    ASSERT_OK(kd_gguf_writer_create(&w, "imatrix"));
    kd_gguf_add_string(w, "general.type", "imatrix");
    kd_gguf_add_tensor(w, "decoder.blocks.0.attn.query.weight.in_sum2", KD_GGUF_TENSOR_F32, 2,
                       (const uint64_t[]){4, 1}, sums);
    kd_gguf_add_tensor(w, "decoder.blocks.0.attn.query.weight.counts", KD_GGUF_TENSOR_F32, 2,
                       (const uint64_t[]){1, 1}, &count);
    ASSERT_OK(kd_gguf_write(seed_path(folder, "imatrix", "one"), w));
    kd_gguf_writer_free(w);
}

/* The small tokenizers of the tests, and a text for each of those that the fuzzer knows. */
static void put_text_tokenizers(const char *folder) {
    static const char *const file[] = {
        "gpt2.json",     "smollm.json", "unigram.json", "cased.json", "sentencepiece_bpe.json",
        "unigram.model", "bpe.model"};
    char from[128], *bytes, *seed;
    size_t length;
    for (size_t i = 0; i < sizeof file / sizeof *file; i++) {
        snprintf(from, sizeof from, "tests/golden/text_tokenizers/%s", file[i]);
        ASSERT_OK(kd_file_read(&bytes, &length, from, 1 << 20));
        seed = malloc(length + 1);
        if (!seed) fail_msg("no memory");
        seed[0] = strstr(file[i], ".model") ? 1 : 0;
        memcpy(seed + 1, bytes, length);
        put(folder, "text_tokenizer", file[i], seed, length + 1);
        free(seed);
        free(bytes);
    }
    for (char way = 2; way < 10; way++) {
        char text[] = "? The fox's  2nd caf\u00e9\n\n\u4f60\u597d <|im_end|> e\u0301 \u00bd 1234";
        text[0] = way;
        put_text(folder, "text_tokenizer", (char[]){(char)('0' + way), '\0'}, text);
    }
}

int main(int argc, char **argv) {
    if (argc != 2) return 64;
    const char *folder = argv[1];
    put_sounds(folder);
    put_idx(folder);
    put_cifar(folder);
    put_pictures(folder);
    put_safetensors(folder);
    put_onnx(folder);
    put_blob(folder);
    put_imatrix(folder);
    put_text(folder, "manifest", "list",
             "a.wav\tyes\r\n\n/b.wav\tno\tspeaker\nc.wav\t10\nd.wav\t9\n");
    put_text(folder, "utterances", "plain", "0a.wav\tyes it is\r\n\n/b.wav\tno\tspeaker\n");
    put_text(folder, "utterances", "voices", "0client_id\tpath\tsentence\nf00\tx.mp3\tOh.\n");
    put_text(folder, "utterances", "lines",
             "1{\"audio\": \"a.wav\", \"text\": \"yes\", \"speaker\": \"7\"}\n");
    put_text(folder, "text", "numbers",
             "Mr. O'Neil's two hundred and thirty-three point five per cent, [noise] (aside) "
             "twenty-first, double oh seven, one and a half million dollars, \u00a33.50 and 1,000 "
             "cents.");
    put_text(
        folder, "text", "letters",
        "uh, she'll've gotta colour it; fa\u00e7ade \u00df \u0152uvre \u4e2d\u6587 \u0e20\u0e32 "
        "\u0130I\u0307 2\u00bd 10% 1990s 3rd");
    put_text(folder, "sweep", "variants",
             "{\"base\": \"c.json\", \"seeds\": [3, 5],\n \"variants\": [{\"name\": \"a\"}, "
             "{\"name\": \"b\", \"set\": {\"loss.temperature\": 4, \"train.epochs\": 2}}]}");
    put_text(folder, "sweep", "grid",
             "{\"base\": \"c.json\", \"grid\": {\"loss.temperature\": [1, 2], "
             "\"train.batch\": [4, 8]}}");
    for (int way = 0; way < 3; way++)
        put(folder, "tokenizer", (char[]){(char)('0' + way), '\0'},
            (const char *const[]){"\0some text", "\1YQ== 0\nYg== 1\nYWI= 2\n",
                                  "\2{\"a\": 0, \"b\": 1}\0#version\na b\n"}[way],
            (const size_t[]){10, 22, 31}[way]);
    put_text(folder, "tokenizer", "added",
             "\2{\"a\": 0, \"<|endoftext|>\": 1, \"<|notimestamps|>\": 9, \"<|new|>\": 1511}");
    put_text_tokenizers(folder);
    put_whisper_folder(folder);
    for (int way = 0; way < 3; way++)
        put(folder, "store", (char[]){(char)('0' + way), '\0'}, (char[]){(char)way, 3, 3, 3}, 4);
    return 0;
}
