/* Writes ONNX files of every kind of node, in every form, and what this program makes of random
 * inputs, for check_onnx.py:
 *
 *   usage: onnx_probe FOLDER
 *
 * FOLDER/<net>.<form>.onnx, .in.f32 (n,H,W,C), .out.f32 (n,10). Forms: float, int4 and int8 blocks,
 * affine and symmetric integers, and such of four bits. */
#include "onnx_nets.h"

enum { SAMPLES = 200 };

static void put(const char *folder, const char *net, const char *form, const char *what,
                const float *values, int64_t n) {
    char path[512];
    snprintf(path, sizeof path, "%s/%s.%s.%s.f32", folder, net, form, what);
    FILE *file = fopen(path, "wb");
    if (!file || fwrite(values, sizeof *values, (size_t)n, file) != (size_t)n || fclose(file)) {
        fprintf(stderr, "%s: cannot write\n", path);
        exit(1);
    }
}

static void check(int status) {
    if (status == KD_OK) return;
    fprintf(stderr, "%s\n", kd_error());
    exit(1);
}

/* The net computes with what the encoded weights stand for. */
static void round_weights(kd_params *params, const kd_encoding *how) {
    for (int i = 0; i < params->count; i++) {
        kd_param *p = params->list[i];
        if (how[i].format == &kd_format_f32) continue;
        const kd_rows_of rows = kd_param_rows(p);
        float *values = malloc((size_t)p->tensor.size * sizeof *values);
        unsigned char *bytes = malloc((size_t)kd_encoding_bytes(&how[i], p));
        for (int64_t k = 0; k < p->tensor.size; k++) values[k] = (float)p->tensor.value[k];
        check(kd_number_format_encode(bytes, how[i].format, values, NULL, 1, rows.count,
                                      rows.length, how[i].scale, p->name));
        how[i].format->decode(values, bytes, p->tensor.size);
        for (int64_t k = 0; k < p->tensor.size; k++) p->tensor.value[k] = (kd_real)values[k];
        free(values);
        free(bytes);
    }
    kd_params_touch(params);
}

static void write_float(const char *folder, const onnx_net *net, const char *form,
                        const kd_number_format *format, const float *x) {
    quant_case c = case_create(net->build, net->input, &ONNX_INT8);
    char path[512];
    snprintf(path, sizeof path, "%s/%s.%s.onnx", folder, net->name, form);
    kd_encoding *how = encode_matrices(c.params, format);
    write_onnx(&c, path, how);
    round_weights(c.params, how);
    float *logits = float_logits(&c, SAMPLES, x);
    put(folder, net->name, form, "in", x, SAMPLES * case_sample_size(&c));
    put(folder, net->name, form, "out", logits, SAMPLES * 10);
    free(logits);
    free(how);
    case_free(&c);
}

static void write_integers(const char *folder, const onnx_net *net, const char *form,
                           kd_quant_spec spec, const float *x) {
    quant_case c = case_create(net->build, net->input, &spec);
    float logits[SAMPLES * 10];
    char path[512];
    kd_blob *blob;
    snprintf(path, sizeof path, "%s/%s.%s.onnx", folder, net->name, form);
    case_calibrate(&c);
    case_write(&c, temporary_path());
    check(kd_blob_write_onnx(path, temporary_path()));
    check(kd_blob_open(&blob, temporary_path()));
    check(kd_blob_run(blob, SAMPLES, x, logits));
    put(folder, net->name, form, "in", x, SAMPLES * case_sample_size(&c));
    put(folder, net->name, form, "out", logits, SAMPLES * 10);
    kd_blob_free(blob);
    remove(temporary_path());
    case_free(&c);
}

int main(int argc, char **argv) {
    if (argc != 2) {
        fprintf(stderr, "usage: onnx_probe FOLDER\n");
        return 64;
    }
    for (int i = 0; i < ONNX_NETS_COUNT; i++) {
        const onnx_net *net = &ONNX_NETS[i];
        const int64_t size = net->input.h * net->input.w * net->input.c;
        float *x = malloc((size_t)(SAMPLES * size) * sizeof *x);
        kd_quant_spec spec = ONNX_INT8;
        fill_uniform(x, SAMPLES * size, 5, -1.2, 1.5);
        write_float(argv[1], net, "float", &kd_format_f32, x);
        write_float(argv[1], net, "blocks4", &kd_format_q4_0, x);
        write_float(argv[1], net, "blocks8", &kd_format_q8_0, x);
        write_integers(argv[1], net, "affine", spec, x);
        spec.symmetric_activations = true;
        write_integers(argv[1], net, "symmetric", spec, x);
        spec.activation_bits = 4;
        write_integers(argv[1], net, "symmetric4", spec, x);
        spec.symmetric_activations = false;
        write_integers(argv[1], net, "affine4", spec, x);
        free(x);
    }
    return 0;
}
