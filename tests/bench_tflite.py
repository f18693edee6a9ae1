#!/usr/bin/env python3
"""int8 inference of one picture beside TensorFlow Lite (XNNPACK) and ONNX Runtime, from the same
integers, in one run: they take turns, with one thread each.

usage: bench_tflite.py DISTILL PROBE [--rounds 7]   (needs ai-edge-litert, tflite, onnx, onnxruntime,
                                                     gguf; see `make bench-tflite`)

The model is an untrained ResNet-8. Its weights, biases, scales and zero-points become a TFLite file:
per-channel CONV_2D, ADD, MEAN, FULLY_CONNECTED with int8 activations (u8 − 128). TFLite pads stride-2
convolutions at one side only, so these get a PAD before them. DISTILL is the program; PROBE is
tests/runner_probe.c with the kernel that the compiler was given.
"""
import argparse
import os
import statistics
import subprocess
import tempfile
import time

import flatbuffers
import numpy as np
import tflite
from ai_edge_litert.interpreter import Interpreter

from bench_onnx import distill_rate, onnx_rate, onnx_session
from read_blob import Blob


def vector(builder, start, values, prepend):
    start(builder, len(values))
    for value in reversed(values):
        prepend(value)
    return builder.EndVector()


class Model:
    """A TFLite flatbuffer from a blob's graph."""

    def __init__(self, blob, logits):
        self.b, self.blob = flatbuffers.Builder(1 << 20), blob
        self.buffers, self.tensors, self.operators, self.codes = [b""], [], [], []
        self.made, self.grids = [], []  # by node: its tensor, its grid as (scale, zero of u8)
        span = float(logits.max() - logits.min())
        self.last = (span / 255, int(round(-float(logits.min()) / span * 255)))
        for node in blob.graph:
            getattr(self, node["kind"])(node)
        self.output = self.tensor("logits", [1, blob.graph[-1]["out"][2]], tflite.TensorType.FLOAT32)
        self.operator("DEQUANTIZE", [self.made[-1]], self.output)

    # tensors and operators

    def tensor(self, name, shape, kind, scales=(), zeros=(), data=None, axis=0):
        b, buffer = self.b, 0
        if data is not None:
            buffer = len(self.buffers)
            self.buffers.append(np.ascontiguousarray(data).tobytes())
        label = b.CreateString(name)
        dims = vector(b, tflite.TensorStartShapeVector, list(shape), b.PrependInt32)
        quantization = None
        if len(scales):
            s = vector(b, tflite.QuantizationParametersStartScaleVector, list(map(float, scales)),
                       b.PrependFloat32)
            z = vector(b, tflite.QuantizationParametersStartZeroPointVector, list(map(int, zeros)),
                       b.PrependInt64)
            tflite.QuantizationParametersStart(b)
            tflite.QuantizationParametersAddScale(b, s)
            tflite.QuantizationParametersAddZeroPoint(b, z)
            tflite.QuantizationParametersAddQuantizedDimension(b, axis)
            quantization = tflite.QuantizationParametersEnd(b)
        tflite.TensorStart(b)
        tflite.TensorAddShape(b, dims)
        tflite.TensorAddType(b, kind)
        tflite.TensorAddBuffer(b, buffer)
        tflite.TensorAddName(b, label)
        if quantization is not None:
            tflite.TensorAddQuantization(b, quantization)
        self.tensors.append(tflite.TensorEnd(b))
        return len(self.tensors) - 1

    def activation(self, name, shape, grid):
        return self.tensor(name, shape, tflite.TensorType.INT8, [grid[0]], [grid[1] - 128])

    def operator(self, kind, inputs, output, options=None, options_type=0):
        b = self.b
        code = getattr(tflite.BuiltinOperator, kind)
        if code not in self.codes:
            self.codes.append(code)
        i = vector(b, tflite.OperatorStartInputsVector, inputs, b.PrependInt32)
        o = vector(b, tflite.OperatorStartOutputsVector, [output], b.PrependInt32)
        tflite.OperatorStart(b)
        tflite.OperatorAddOpcodeIndex(b, self.codes.index(code))
        tflite.OperatorAddInputs(b, i)
        tflite.OperatorAddOutputs(b, o)
        if options is not None:
            tflite.OperatorAddBuiltinOptions(b, options)
            tflite.OperatorAddBuiltinOptionsType(b, options_type)
        self.operators.append(tflite.OperatorEnd(b))

    def keep(self, node, shape):
        grid = node.get("grid")
        grid = (grid["scale"], grid["zero"] - grid["qmin"]) if grid else self.last
        self.made.append(self.activation(node["name"], shape, grid))
        self.grids.append(grid)
        return self.made[-1]

    # nodes

    def input(self, node):
        self.first = self.tensor("x", [1, *node["out"]], tflite.TensorType.FLOAT32)
        self.operator("QUANTIZE", [self.first], self.keep(node, [1, *node["out"]]))

    def parameters(self, node, shape):
        name, tensors = node["name"], self.blob.tensors
        scale = tensors[name + ".scale"].astype(np.float32)
        bias_scale = np.float32(self.grids[node["in"][0]][0]) * scale
        none = np.zeros(len(scale))
        return [self.tensor(name + ".w", shape, tflite.TensorType.INT8, scale, none,
                            self.blob.weight(node, tuple(shape)).astype(np.int8)),
                self.tensor(name + ".b", [len(scale)], tflite.TensorType.INT32, bias_scale, none,
                            tensors[name + ".bias"].astype(np.int32))]

    def conv(self, node):
        x, from_shape = self.made[node["in"][0]], self.blob.graph[node["in"][0]]["out"]
        same = node["stride"] == [1, 1]
        if not same and node["padding"] != [0, 0]:
            p = node["padding"]
            pads = self.tensor(node["name"] + ".pads", [4, 2], tflite.TensorType.INT32,
                               data=np.array([[0, 0], [p[0]] * 2, [p[1]] * 2, [0, 0]], np.int32))
            wide = [1, from_shape[0] + 2 * p[0], from_shape[1] + 2 * p[1], from_shape[2]]
            padded = self.activation(node["name"] + ".padded", wide, self.grids[node["in"][0]])
            tflite.PadOptionsStart(self.b)
            self.operator("PAD", [x, pads], padded, tflite.PadOptionsEnd(self.b),
                          tflite.BuiltinOptions.PadOptions)
            x = padded
        shape = [node["out"][2], *node["kernel"], from_shape[2]]
        inputs = [x, *self.parameters(node, shape)]
        out = self.keep(node, [1, *node["out"]])
        tflite.Conv2DOptionsStart(self.b)
        tflite.Conv2DOptionsAddPadding(self.b, tflite.Padding.SAME if same else tflite.Padding.VALID)
        tflite.Conv2DOptionsAddStrideH(self.b, node["stride"][0])
        tflite.Conv2DOptionsAddStrideW(self.b, node["stride"][1])
        tflite.Conv2DOptionsAddFusedActivationFunction(self.b, int(node["relu"]))
        self.operator("CONV_2D", inputs, out, tflite.Conv2DOptionsEnd(self.b),
                      tflite.BuiltinOptions.Conv2DOptions)

    def add(self, node):
        out = self.keep(node, [1, *node["out"]])
        tflite.AddOptionsStart(self.b)
        tflite.AddOptionsAddFusedActivationFunction(self.b, int(node["relu"]))
        self.operator("ADD", [self.made[i] for i in node["in"]], out, tflite.AddOptionsEnd(self.b),
                      tflite.BuiltinOptions.AddOptions)

    def global_avg_pool(self, node):
        axes = self.tensor(node["name"] + ".axes", [2], tflite.TensorType.INT32,
                           data=np.array([1, 2], np.int32))
        out = self.keep(node, [1, node["out"][2]])
        tflite.ReducerOptionsStart(self.b)
        self.operator("MEAN", [self.made[node["in"][0]], axes], out, tflite.ReducerOptionsEnd(self.b),
                      tflite.BuiltinOptions.ReducerOptions)

    def linear(self, node):
        shape = [node["out"][2], int(np.prod(self.blob.graph[node["in"][0]]["out"]))]
        inputs = [self.made[node["in"][0]], *self.parameters(node, shape)]
        out = self.keep(node, [1, shape[0]])
        tflite.FullyConnectedOptionsStart(self.b)
        tflite.FullyConnectedOptionsAddFusedActivationFunction(self.b, int(node["relu"]))
        self.operator("FULLY_CONNECTED", inputs, out, tflite.FullyConnectedOptionsEnd(self.b),
                      tflite.BuiltinOptions.FullyConnectedOptions)

    def bytes(self):
        b = self.b
        buffers = []
        for data in self.buffers:
            content = b.CreateByteVector(data) if data else None
            tflite.BufferStart(b)
            if content is not None:
                tflite.BufferAddData(b, content)
            buffers.append(tflite.BufferEnd(b))
        codes = []
        for code in self.codes:
            tflite.OperatorCodeStart(b)
            tflite.OperatorCodeAddDeprecatedBuiltinCode(b, code)
            tflite.OperatorCodeAddBuiltinCode(b, code)
            tflite.OperatorCodeAddVersion(b, 5 if code == tflite.BuiltinOperator.CONV_2D else
                                          9 if code == tflite.BuiltinOperator.FULLY_CONNECTED else 2)
            codes.append(tflite.OperatorCodeEnd(b))
        offsets = b.PrependUOffsetTRelative
        t = vector(b, tflite.SubGraphStartTensorsVector, self.tensors, offsets)
        i = vector(b, tflite.SubGraphStartInputsVector, [self.first], b.PrependInt32)
        o = vector(b, tflite.SubGraphStartOutputsVector, [self.output], b.PrependInt32)
        ops = vector(b, tflite.SubGraphStartOperatorsVector, self.operators, offsets)
        tflite.SubGraphStart(b)
        tflite.SubGraphAddTensors(b, t)
        tflite.SubGraphAddInputs(b, i)
        tflite.SubGraphAddOutputs(b, o)
        tflite.SubGraphAddOperators(b, ops)
        graphs = vector(b, tflite.ModelStartSubgraphsVector, [tflite.SubGraphEnd(b)], offsets)
        c = vector(b, tflite.ModelStartOperatorCodesVector, codes, offsets)
        data = vector(b, tflite.ModelStartBuffersVector, buffers, offsets)
        tflite.ModelStart(b)
        tflite.ModelAddVersion(b, 3)
        tflite.ModelAddOperatorCodes(b, c)
        tflite.ModelAddSubgraphs(b, graphs)
        tflite.ModelAddBuffers(b, data)
        b.Finish(tflite.ModelEnd(b), file_identifier=b"TFL3")
        return bytes(b.Output())


def tflite_rate(interpreter, x, repeats=400):
    at, out = interpreter.get_input_details()[0]["index"], interpreter.get_output_details()[0]["index"]
    interpreter.set_tensor(at, x)
    seconds = []
    for _ in range(repeats):
        began = time.perf_counter()
        interpreter.invoke()
        seconds.append(time.perf_counter() - began)
    return 1 / statistics.median(seconds), interpreter.get_tensor(out)


def probe_rate(probe, path, images, repeats=300):
    text = subprocess.run([probe, path, images, str(repeats)], check=True,
                          capture_output=True, text=True)
    words = text.stderr.split()
    return float(words[words.index("samples/s") - 1]), text.stderr.split(",")[0]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("program")
    parser.add_argument("probe")
    parser.add_argument("--rounds", type=int, default=7)
    args = parser.parse_args()
    os.environ.update(OMP_NUM_THREADS="1", OMP_WAIT_POLICY="passive")
    with tempfile.TemporaryDirectory() as folder:
        path, images = os.path.join(folder, "resnet8.gguf"), os.path.join(folder, "images")
        subprocess.run([args.program, "bench", "--export", path], check=True)
        blob = Blob(path)
        x = np.random.default_rng(1).normal(size=(1, *blob.graph[0]["out"])).astype(np.float32)
        with open(images, "wb") as file:
            file.write(os.urandom(16 + 300 * x.size))
        session = onnx_session(args.program, path, 1, folder)
        wide = np.random.default_rng(2).normal(size=(64, *blob.graph[0]["out"])).astype(np.float32)
        many = distill_rate(args.program, path, wide, folder)[1]
        interpreter = Interpreter(model_content=Model(blob, many).bytes(), num_threads=1)
        interpreter.allocate_tensors()
        rates = {}
        for _ in range(args.rounds):
            for name, take in (
                    ("distill", lambda: distill_rate(args.program, path, x, folder)),
                    ("TFLite", lambda: tflite_rate(interpreter, x)),
                    ("ONNX Runtime", lambda: onnx_rate(session, x.transpose(0, 3, 1, 2).copy())),
                    ("runtime/", lambda: probe_rate(args.probe, path, images))):
                rate, logits = take()
                rates.setdefault(name, []).append(rate)
                if name == "distill":
                    mine = logits
                elif name == "TFLite":
                    apart = np.abs(mine - logits).max() / (many.max() - many.min())
        ours = statistics.median(rates["distill"])
        print(f"ResNet-8, untrained, int8, one picture, one thread, {args.rounds} rounds in turn; "
              "pictures per second, medians")
        for name, values in rates.items():
            rate = statistics.median(values)
            print(f"{name:14}{rate:8.0f}   distill is {ours / rate:.2f} times as fast")
        print(f"TFLite's logits are at most {100 * apart:.1f} % of the logits' range away "
              "(its last layer is rounded to 8 bits)")


if __name__ == "__main__":
    main()
