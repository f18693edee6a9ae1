#include "layers/net_table.h"

#include <stdio.h>

#include "base/error.h"

static int64_t node_parameters(const kd_net_node *node) {
    const kd_param *const part[] = {node->weight, node->bias, node->gamma, node->beta};
    int64_t count = 0;
    for (int i = 0; i < 4; i++) count += part[i] ? part[i]->tensor.size : 0;
    return count;
}

static void add_node(kd_text *rows, const kd_net *net, const kd_net_node *node) {
    char parameters[32] = "", macs[32] = "", from[160] = "";
    if (node->in[0] >= 0)
        snprintf(from, sizeof from, "%s%s%s", net->node[node->in[0]].name,
                 node->in[1] >= 0 ? " + " : "",
                 node->in[1] >= 0 ? net->node[node->in[1]].name : "");
    if (node->weight) {
        kd_format_count(parameters, sizeof parameters, node_parameters(node));
        kd_format_count(macs, sizeof macs, node->weight->tensor.size * node->out.h * node->out.w);
    }
    kd_text_add(rows, "%s\t", node->name);
    kd_net_describe(rows, node);
    kd_text_add(rows, "\t%s\t%lld×%lld×%lld\t%s\t%s\n", from, (long long)node->out.h,
                (long long)node->out.w, (long long)node->out.c, parameters, macs);
}

int kd_net_add_table(kd_text *out, const kd_net *net) {
    kd_text rows = {0};
    char parameters[32], macs[32];
    int64_t count = 0;
    kd_text_add(&rows, "node\tkind\tfrom\toutput\tparameters\tmultiply-adds\n");
    for (int i = 0; i < net->count; i++) {
        add_node(&rows, net, &net->node[i]);
        count += node_parameters(&net->node[i]);
    }
    kd_format_count(parameters, sizeof parameters, count);
    kd_format_count(macs, sizeof macs, kd_net_macs(net));
    kd_text_add(&rows, "all\t\t\t\t%s\t%s\n", parameters, macs);
    return kd_text_add_rows(out, "lllrrr", &rows);
}
