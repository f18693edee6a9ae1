#!/usr/bin/env python3
"""int8 inference beside ONNX Runtime, from the same integers, in one run: the two take turns.

usage: bench_onnx.py DISTILL [BLOB] [--rounds 5]       (needs onnx, onnxruntime and gguf; see
                                                        `make bench-onnx`)

BLOB is any exported file of convolutions, sums, pools and linear layers; without one, an untrained
ResNet-8. Its weights, biases, scales and zero-points become an ONNX model in the QuantizeLinear/DequantizeLinear
form that ONNX Runtime fuses into its integer kernels. Same threads, batch and inputs, warm-up,
medians; both take and give float32 in memory. ONNX Runtime rounds its sums through float and not
through fixed-point multipliers, so logits may differ by steps; how far they do is printed.
"""
import argparse
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from read_blob import Blob

MOST_REPEATS = 400


class Model:
    """An ONNX graph in NCHW from a blob's graph in NHWC."""

    def __init__(self, blob):
        self.blob, self.nodes, self.constants = blob, [], []
        self.real, self.grids = [], []  # by node: the name of its real values, its grid
        for index, node in enumerate(blob.graph):
            getattr(self, node["kind"])(index, node)
        shape = blob.graph[0]["out"]
        graph = helper.make_graph(
            self.nodes, "blob",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", shape[2], *shape[:2]])],
            [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["n", "classes"])], self.constants)
        self.model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
        self.model.ir_version = 8

    def constant(self, name, value):
        self.constants.append(numpy_helper.from_array(np.asarray(value, order="C"), name))
        return name

    def node(self, kind, inputs, name, **attributes):
        self.nodes.append(helper.make_node(kind, inputs, [name], name, **attributes))
        return name

    def parameters(self, node):
        """The layer's weight and bias, from integers to real numbers."""
        name, tensors, o = node["name"], self.blob.tensors, node["out"][2]
        scale = tensors[name + ".scale"].astype(np.float32)
        if node["kind"] == "linear":
            h, w, c = self.blob.graph[node["in"][0]]["out"]
            weight = self.blob.weight(node, (o, h, w, c)).transpose(0, 3, 1, 2).reshape(o, -1)
        else:
            inner = len(self.real) and self.blob.graph[node["in"][0]]["out"][2] // node["groups"]
            weight = self.blob.weight(node, (o, *node["kernel"], inner)).transpose(0, 3, 1, 2)
        w = self.node("DequantizeLinear",
                      [self.constant(name + ".w", weight.astype(np.int8)),
                       self.constant(name + ".s", scale),
                       self.constant(name + ".z", np.zeros(o, np.int8))], name + ".weight", axis=0)
        bias_scale = np.float32(self.grids[node["in"][0]]["scale"]) * scale
        b = self.node("DequantizeLinear",
                      [self.constant(name + ".b", tensors[name + ".bias"].astype(np.int32)),
                       self.constant(name + ".bs", bias_scale),
                       self.constant(name + ".bz", np.zeros(o, np.int32))], name + ".bias", axis=0)
        return [w, b]

    def store(self, node, value):
        """Rounds real values to the node's grid, after its relu."""
        grid = node.get("grid")
        if node.get("relu"):
            value = self.node("Relu", [value], node["name"] + ".relu")
        if grid:
            s = self.constant(node["name"] + ".scale", np.float32(grid["scale"]))
            z = self.constant(node["name"] + ".zero", np.uint8(grid["zero"] - grid["qmin"]))
            q = self.node("QuantizeLinear", [value, s, z], node["name"] + ".q")
            value = self.node("DequantizeLinear", [q, s, z], node["name"] + ".real")
        self.real.append(value)
        self.grids.append(grid or self.grids[node["in"][0]])

    def input(self, index, node):
        self.store(node, "x")

    def conv(self, index, node):
        p = node["padding"]
        self.store(node, self.node("Conv", [self.real[node["in"][0]], *self.parameters(node)],
                                   node["name"], kernel_shape=node["kernel"],
                                   strides=node["stride"], pads=[*p, *p], group=node["groups"]))

    def add(self, index, node):
        self.store(node, self.node("Add", [self.real[i] for i in node["in"]], node["name"]))

    def pool(self, kind, node, **attributes):
        p = node["padding"]
        # A pool on its input's grid is stored once more, or ONNX Runtime would leave integers behind it.
        self.store({"grid": self.grids[node["in"][0]], **node},
                   self.node(kind, [self.real[node["in"][0]]], node["name"], strides=node["stride"],
                             kernel_shape=node["kernel"], pads=[*p, *p], **attributes))

    def max_pool(self, index, node):
        self.pool("MaxPool", node)

    def avg_pool(self, index, node):
        self.pool("AveragePool", node, count_include_pad=1)

    def global_avg_pool(self, index, node):
        self.store(node, self.node("GlobalAveragePool", [self.real[node["in"][0]]], node["name"]))

    def linear(self, index, node):
        flat = self.node("Flatten", [self.real[node["in"][0]]], node["name"] + ".flat")
        last = index == len(self.blob.graph) - 1
        self.store(node, self.node("Gemm", [flat, *self.parameters(node)],
                                   "logits" if last else node["name"], transB=1))


def onnx_session(blob, threads):
    model = Model(blob).model
    onnx.checker.check_model(model)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    return onnxruntime.InferenceSession(model.SerializeToString(), options,
                                        providers=["CPUExecutionProvider"])


def onnx_rate(session, x):
    """Samples per second of a median run, and the logits."""
    seconds = []
    repeats = min(max(4 * MOST_REPEATS // len(x), 15), MOST_REPEATS)
    for _ in range(repeats + 1):
        began = time.perf_counter()
        logits = session.run(None, {"x": x})[0]
        seconds.append(time.perf_counter() - began)
    return len(x) / statistics.median(seconds[1:]), logits


def distill_rate(program, path, x, folder):
    inputs, outputs = os.path.join(folder, "in.f32"), os.path.join(folder, "out.f32")
    x.tofile(inputs)
    text = subprocess.run([program, "bench", "--blob", path, "--batch", str(len(x)), "--input",
                           inputs, "--output", outputs], check=True, capture_output=True,
                          text=True).stdout
    logits = np.fromfile(outputs, np.float32).reshape(len(x), -1)
    return float(re.search(r"([\d.]+) samples/s", text).group(1)), logits


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("program")
    parser.add_argument("blob", nargs="?")
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    threads = int(os.environ.get("OMP_NUM_THREADS", os.cpu_count()))
    with tempfile.TemporaryDirectory() as folder:
        path = args.blob or os.path.join(folder, "resnet8.gguf")
        if not args.blob:
            subprocess.run([args.program, "bench", "--export", path], check=True)
        blob = Blob(path)
        session = onnx_session(blob, threads)
        print(f"ONNX Runtime {onnxruntime.__version__}, {threads} threads, "
              f"{args.blob or 'ResNet-8, untrained'}, int8, {args.rounds} rounds in turn; "
              "samples per second, medians")
        for batch in (1, 128):
            shape = blob.graph[0]["out"]
            x = np.random.default_rng(batch).normal(size=(batch, *shape)).astype(np.float32)
            planes = np.ascontiguousarray(x.transpose(0, 3, 1, 2))
            ours, theirs = [], []
            for _ in range(args.rounds):
                rate, mine = distill_rate(args.program, path, x, folder)
                ours.append(rate)
                rate, other = onnx_rate(session, planes)
                theirs.append(rate)
            a, b = statistics.median(ours), statistics.median(theirs)
            same = np.mean(mine.argmax(1) == other.argmax(1))
            spread = np.abs(mine - other).max() / np.abs(mine).max()
            print(f"batch {batch:4d}  distill {a:7.0f}   ONNX Runtime {b:7.0f}   ratio {a / b:.2f}"
                  f"   same class {100 * same:.1f} %, logits differ by at most "
                  f"{100 * spread:.1f} % of the largest")


if __name__ == "__main__":
    main()
