/* Residual networks for CIFAR: He, Zhang, Ren, Sun, "Deep residual learning for image recognition",
 * 2016, section 4.2. A 3×3 convolution, three stages of n blocks with widths w, 2w, 4w, the first
 * block of the second and third stage at stride 2, mean over all positions, a linear classifier:
 * 6n + 2 layers with weights. A block is
 *
 *     y = relu(x' + bn2(conv2(relu(bn1(conv1(x))))))
 *
 * where x' is x, or where the shape changes option A (x[::2, ::2], zero channels on both sides, no
 * parameters) or option B (1×1 convolution at stride 2, then batch norm).
 */
#include <stdio.h>

#include "base/error.h"
#include "layers/model_parts.h"

static const int K1[2] = {1, 1}, K3[2] = {3, 3};

static kd_conv_spec conv_spec(int stride, int padding) {
    return (kd_conv_spec){.stride = {stride, stride}, .padding = {padding, padding}, .groups = 1};
}

static int append_block(kd_net *net, const char *block, int in, int64_t channels, int stride,
                        kd_shortcut_option option) {
    char name[48];
    snprintf(name, sizeof name, "%s.conv1", block);
    int body = kd_net_conv(net, name, in, channels, K3, conv_spec(stride, 1), true, KD_ACT_RELU);
    snprintf(name, sizeof name, "%s.conv2", block);
    body = kd_net_conv(net, name, body, channels, K3, conv_spec(1, 1), true, KD_ACT_NONE);
    if (net->failed < 0) return 0;
    int skip = in;
    if (stride != 1 || net->node[in].out.c != channels) {
        snprintf(name, sizeof name, "%s.shortcut", block);
        skip = option == KD_SHORTCUT_A ? kd_net_shortcut(net, name, in, stride, channels)
                                       : kd_net_conv(net, name, in, channels, K1,
                                                     conv_spec(stride, 0), true, KD_ACT_NONE);
    }
    if (net->failed < 0) return 0;
    snprintf(name, sizeof name, "%s.add", block);
    return kd_net_add(net, name, body, skip, KD_ACT_RELU);
}

void kd_model_append_resnet(kd_net *net, const kd_model_spec *spec, int classes) {
    KD_CONTRACT(spec->depth >= 8 && spec->depth % 6 == 2, "resnet of depth %d", spec->depth);
    int at = kd_net_conv(net, "conv1", 0, spec->width, K3, conv_spec(1, 1), true, KD_ACT_RELU);
    int blocks = (spec->depth - 2) / 6;
    int64_t channels = spec->width;
    for (int stage = 1; stage <= 3; stage++, channels *= 2)
        for (int b = 0; b < blocks; b++) {
            char block[32];
            snprintf(block, sizeof block, "layer%d.%d", stage, b);
            int stride = stage > 1 && b == 0 ? 2 : 1;
            at = append_block(net, block, at, channels, stride, spec->shortcut);
        }
    at = kd_net_global_avg_pool(net, "pool", at);
    kd_net_linear(net, "linear", at, classes, KD_ACT_NONE);
}
