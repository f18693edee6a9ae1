#!/usr/bin/env python3
"""int8 inference beside ONNX Runtime, from the same integers, in one run: the two take turns.

usage: bench_onnx.py DISTILL [BLOB] [--rounds 5]       (needs onnxruntime; see `make bench-onnx`)

BLOB is any exported file in integers; without one, an untrained ResNet-8. `distill convert` writes it as
ONNX, in the form that ONNX Runtime fuses into its integer kernels. Same threads, batch and inputs, warm-up,
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
import onnxruntime

MOST_REPEATS = 400


def onnx_session(program, path, threads, folder):
    """ONNX Runtime with the same file, as `distill convert` writes it."""
    target = os.path.join(folder, "model.onnx")
    subprocess.run([program, "convert", path, target], check=True, stdout=subprocess.DEVNULL)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    return onnxruntime.InferenceSession(target, options, providers=["CPUExecutionProvider"])


def onnx_rate(session, x):
    """Samples per second of a median run, and the logits."""
    seconds = []
    repeats = min(max(4 * MOST_REPEATS // len(x), 15), MOST_REPEATS)
    for _ in range(repeats + 1):
        began = time.perf_counter()
        logits = session.run(None, {"input": x})[0]
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
        session = onnx_session(args.program, path, threads, folder)
        print(f"ONNX Runtime {onnxruntime.__version__}, {threads} threads, "
              f"{args.blob or 'ResNet-8, untrained'}, int8, {args.rounds} rounds in turn; "
              "samples per second, medians")
        for batch in (1, 128):
            channels, rows, columns = session.get_inputs()[0].shape[1:]
            x = np.random.default_rng(batch).normal(size=(batch, rows, columns, channels)).astype(np.float32)
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
