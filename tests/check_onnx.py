#!/usr/bin/env python3
"""Our ONNX files, looked at by ONNX's own checker and run by ONNX Runtime.

usage: check_onnx.py DISTILL PROBE [MODEL IMAGES [LABELS]]    (onnx, onnxruntime from PyPI; see
                                                               `make onnx-check`)

PROBE (tests/onnx_probe.c) writes networks with every kind of node in every form, and what this program
makes of random inputs. Each file passes onnx.checker with shape inference; float logits agree to 1e-5 of the
largest. Of integers, which ONNX Runtime rounds through float and not through fixed-point multipliers, the
largest difference is printed, and that classes agree where two of them are not within it of each other.

MODEL, an exported int8 file, then has its classes of the pictures in IMAGES (an idx file) compared: 99.9 % must
be the same. Operators that ONNX Runtime leaves in float are named, from the graph that it runs.
"""
import argparse
import collections
import glob
import gzip
import json
import os
import re
import subprocess
import sys
import tempfile

import numpy as np
import onnx
import onnxruntime

FLOAT_BOUND = 1e-5
SAME_CLASS = 0.999
# What has no numbers of its own to compute, or stands at the ends.
NEUTRAL = {"QuantizeLinear", "DequantizeLinear", "Flatten", "Reshape", "Transpose", "Slice", "Pad",
           "MaxPool", "NhwcMaxPool", "Clip", "Identity", "ReorderInput", "ReorderOutput"}
INTEGER = re.compile("^(QLinear|QGemm|ConvInteger|MatMulInteger|DynamicQuantize|MatMulNBits)")


def instructions():
    """Whether products of bytes are summed without saturation here."""
    with open("/proc/cpuinfo") as info:
        flags = info.read()
    return "VNNI: sums of products do not saturate" if "vnni" in flags else \
        "no VNNI: ONNX Runtime's AVX2 kernels saturate pairs of products in 16 bits"


def session(path, folder):
    """A session on one thread, and the operators it runs."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    options.optimized_model_filepath = os.path.join(folder, "optimized.onnx")
    made = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return made, onnx.load(options.optimized_model_filepath).graph.node


def left_in_float(nodes):
    """Operators of float numbers between those of integers: kind → names."""
    names = collections.defaultdict(list)
    for node in nodes:
        if node.op_type not in NEUTRAL and not INTEGER.match(node.op_type):
            names[node.op_type].append(node.name)
    return names


def describe(nodes):
    counts = collections.Counter(node.op_type for node in nodes)
    print("   runs", ", ".join(f"{n} {kind}" for kind, n in sorted(counts.items())))
    for kind, names in sorted(left_in_float(nodes).items()):
        print(f"   not fused: {kind} {', '.join(names)}")


def check_file(path):
    model = onnx.load(path)
    onnx.checker.check_model(model, full_check=True)
    inferred = onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True)
    shape = inferred.graph.output[0].type.tensor_type.shape.dim
    assert shape[0].dim_param == "batch" and shape[1].dim_value > 0, f"{path}: shape of the logits"
    facts = {fact.key: fact.value for fact in model.metadata_props}
    assert len(json.loads(facts["distill.classes"])) == shape[1].dim_value, f"{path}: classes"
    return model


def check_probe(probe, folder):
    subprocess.run([probe, folder], check=True)
    failed = 0
    for path in sorted(glob.glob(os.path.join(folder, "*.*.onnx"))):
        model = check_file(path)
        run, nodes = session(path, folder)
        shape = [dim.dim_value for dim in model.graph.input[0].type.tensor_type.shape.dim[1:]]
        base = path[:-len(".onnx")]
        x = np.fromfile(base + ".in.f32", np.float32).reshape(-1, shape[1], shape[2], shape[0])
        ours = np.fromfile(base + ".out.f32", np.float32).reshape(len(x), -1)
        theirs = run.run(None, {"input": np.ascontiguousarray(x.transpose(0, 3, 1, 2))})[0]
        spread = np.abs(ours - theirs).max() / np.abs(ours).max()
        name = os.path.basename(base)
        exact = name.endswith((".float", ".blocks4", ".blocks8"))
        same = np.mean(ours.argmax(1) == theirs.argmax(1))
        bad = exact and not spread <= FLOAT_BOUND
        failed += bad
        print(f"{name:20s} opset {model.opset_import[0].version}  logits differ by at most "
              f"{spread:.1e} of the largest, same class {100 * same:5.1f} %{'  TOO FAR' if bad else ''}")
        if name.endswith((".affine", ".symmetric")):
            describe(nodes)
    return failed


def idx(path):
    with (gzip.open if path.endswith(".gz") else open)(path, "rb") as file:
        raw = file.read()
    axes = [int.from_bytes(raw[4 + 4 * i:8 + 4 * i], "big") for i in range(raw[3])]
    return np.frombuffer(raw, np.uint8, offset=4 + 4 * len(axes)).reshape(axes)


def check_model(program, path, images, labels, folder):
    target = os.path.join(folder, "model.onnx")
    subprocess.run([program, "convert", path, target], check=True, stdout=subprocess.DEVNULL)
    facts = {fact.key: fact.value for fact in check_file(target).metadata_props}
    raw = idx(images).astype(np.float32)
    x = raw.reshape(len(raw), raw.shape[1], raw.shape[2], -1) * np.float32(
        facts["distill.normaliser.unit"])
    if "distill.normaliser.mean" in facts:
        x = (x - np.float32(json.loads(facts["distill.normaliser.mean"]))) / np.float32(
            json.loads(facts["distill.normaliser.deviation"]))
    x.tofile(os.path.join(folder, "in.f32"))
    subprocess.run([program, "bench", "--blob", path, "--batch", str(len(x)), "--input",
                    os.path.join(folder, "in.f32"), "--output", os.path.join(folder, "out.f32")],
                   check=True, stdout=subprocess.DEVNULL)
    ours = np.fromfile(os.path.join(folder, "out.f32"), np.float32).reshape(len(x), -1)
    run, nodes = session(target, folder)
    planes = np.ascontiguousarray(x.transpose(0, 3, 1, 2))
    theirs = np.concatenate([run.run(None, {"input": planes[i:i + 500]})[0]
                             for i in range(0, len(x), 500)])
    same = np.mean(ours.argmax(1) == theirs.argmax(1))
    print(f"{path}: the same class for {100 * same:.2f} % of {len(x)} pictures, logits differ by at "
          f"most {np.abs(ours - theirs).max():.3g} ({np.abs(ours - theirs).mean():.2g} in the mean)")
    if labels:
        truth = idx(labels)
        print(f"   right: {100 * np.mean(ours.argmax(1) == truth):.2f} % here, "
              f"{100 * np.mean(theirs.argmax(1) == truth):.2f} % in ONNX Runtime")
    describe(nodes)
    return same < SAME_CLASS


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("program")
    parser.add_argument("probe")
    parser.add_argument("model", nargs="?")
    parser.add_argument("images", nargs="?")
    parser.add_argument("labels", nargs="?")
    args = parser.parse_args()
    print(f"onnx {onnx.__version__}, ONNX Runtime {onnxruntime.__version__}, {instructions()}")
    with tempfile.TemporaryDirectory() as folder:
        failed = check_probe(args.probe, folder)
        if args.model:
            failed += check_model(args.program, args.model, args.images, args.labels, folder)
    sys.exit(f"{failed} failed" if failed else 0)


if __name__ == "__main__":
    main()
