#!/usr/bin/env python3
"""A second reader of the exported blob, written from docs/blob.md alone.

    python3 tests/read_blob.py FILE.gguf                 prints what is in it
    python3 tests/read_blob.py FILE.gguf IN.f32 OUT.f32  runs it: float32 samples in, logits out

Needs the PyPI packages gguf and numpy; xxhash, when it is there, to check the checksum.
"""
import json
import sys

import gguf
import numpy as np


def round_multiply(acc, multiplier, shift):
    """acc·M as gemmlowp rounds it; acc int64, multiplier and shift broadcast over the last axis."""
    multiplier, shift = np.asarray(multiplier, np.int64), np.asarray(shift, np.int64)
    a = np.clip(acc << np.maximum(-shift, 0), -2**31, 2**31 - 1)
    h = (a * multiplier + 2**30) >> 31
    n = np.maximum(shift, 0)
    mask = (1 << n) - 1
    return (h >> n) + ((h & mask) > (mask >> 1) + (h < 0))


def windows(x, kernel, stride, fill, padding):
    """(B,H,W,C) → (B,H',W',KH,KW,C)"""
    x = np.pad(x, [(0, 0), (padding[0],) * 2, (padding[1],) * 2, (0, 0)], constant_values=fill)
    w = np.lib.stride_tricks.sliding_window_view(x, kernel, axis=(1, 2))
    return w[:, ::stride[0], ::stride[1]].transpose(0, 1, 2, 4, 5, 3)


class Blob:
    def __init__(self, path):
        reader = gguf.GGUFReader(path)
        self.keys = {f.name: f.contents() for f in reader.fields.values()}
        self.tensors = {t.name: np.array(t.data) for t in reader.tensors}
        self.graph = json.loads(self.keys["distill.graph"])
        self.checksum = self.check(path)

    def check(self, path):
        try:
            import xxhash
        except ImportError:
            return "not checked: the xxhash package is missing"
        data, key = open(path, "rb").read(), b"distill.checksum\x0a\0\0\0"
        at = data.index(key) + len(key)
        parts = [xxhash.xxh3_64_intdigest(p) for p in (data[:at], data[at + 8:])]
        right = xxhash.xxh3_64_intdigest(np.array(parts, "<u8").tobytes())
        return "right" if right == self.keys["distill.checksum"] else "WRONG"

    def weight(self, node, shape):
        w = self.tensors[node["name"] + ".weight"]
        if node["weight_bits"] <= 4:
            b = w.astype(np.int64) & 255
            w = np.stack([b & 15, b >> 4], 1).ravel()[:np.prod(shape)]
            w = np.where(w < 8, w, w - 16)
        return w.reshape(shape).astype(np.int64)

    def layer(self, node, steps):
        """Accumulators of a conv or linear node; steps are q − zero."""
        o = node["out"][2]
        if node["kind"] == "linear":
            acc = steps.reshape(len(steps), -1) @ self.weight(node, (o, steps[0].size)).T
            acc = acc.reshape(-1, 1, 1, o)
        else:
            g, cg = node["groups"], steps.shape[3] // node["groups"]
            w = self.weight(node, (g, o // g, *node["kernel"], cg))
            x = windows(steps, node["kernel"], node["stride"], 0, node["padding"])
            acc = np.concatenate([np.einsum("bijuvc,ouvc->bijo", x[..., k * cg:(k + 1) * cg], w[k])
                                  for k in range(g)], axis=3)
        return acc + self.tensors[node["name"] + ".bias"]

    def run(self, x):
        steps, grids = [], []
        for node in self.graph:
            s = [steps[i] for i in node.get("in", [])]
            grid = node.get("grid") or (grids[node["in"][0]] if "weight_bits" not in node else None)
            m = self.tensors.get(node["name"] + ".multiplier")
            n = self.tensors.get(node["name"] + ".shift")
            kind = node["kind"]
            if kind == "input":
                x = x.reshape(-1, *node["out"]).astype(np.float32)
                inverse = np.float32(1) / np.float32(grid["scale"])
                r = np.rint(x * inverse).astype(np.int64)
            elif kind in ("conv", "linear"):
                acc = self.layer(node, s[0])
                if grid is None:
                    scale = (np.float64(np.float32(grids[node["in"][0]]["scale"])) *
                             self.tensors[node["name"] + ".scale"].astype(np.float64))
                    return (acc * scale).astype(np.float32).reshape(len(x), -1)
                r = round_multiply(acc, m, n)
            elif kind == "max_pool":
                w = windows(s[0], node["kernel"], node["stride"], -1000, node["padding"])
                r = w.max(axis=(3, 4))
            elif kind == "avg_pool":
                w = windows(s[0], node["kernel"], node["stride"], 0, node["padding"])
                r = round_multiply(w.sum(axis=(3, 4)), m, n)
            elif kind == "global_avg_pool":
                r = round_multiply(s[0].sum(axis=(1, 2), keepdims=True), m, n)
            elif kind == "add":
                r = round_multiply(round_multiply(s[0] << 20, m[0], n[0]) +
                                   round_multiply(s[1] << 20, m[1], n[1]), m[2], n[2])
            elif kind == "activation":
                source = grids[node["in"][0]]
                stored = self.tensors[node["name"] + ".table"][s[0] + source["zero"] - source["qmin"]]
                r = stored.astype(np.int64) + 128 + grid["qmin"] - grid["zero"]
            elif kind == "shortcut":
                k = node["step"]
                r = np.pad(s[0][:, ::k, ::k], [(0, 0), (0, 0), (0, 0), node["pad"]])
            low = 0 if node.get("relu") else grid["qmin"] - grid["zero"]
            steps.append(np.clip(r, low, grid["qmax"] - grid["zero"]))
            grids.append(grid)
        return (np.float32(grid["scale"]) * steps[-1]).astype(np.float32).reshape(len(x), -1)


def main():
    blob = Blob(sys.argv[1])
    if len(sys.argv) == 4:
        blob.run(np.fromfile(sys.argv[2], np.float32)).tofile(sys.argv[3])
        return
    for key, value in blob.keys.items():
        print(f"{key} = {str(value)[:100]!r}")
    for name, tensor in blob.tensors.items():
        print(f"{name:40} {tensor.dtype} {tensor.shape}")
    print("checksum:", blob.checksum)


if __name__ == "__main__":
    main()
