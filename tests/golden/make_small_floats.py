#!/usr/bin/env python3
"""Writes small_floats.bin: numbers in mxfp4 and nvfp4, rounded by ml_dtypes' E2M1 and E4M3 (nearest, ties to even),
and what PyPI's gguf decodes from bytes of these types.

    python3 tests/golden/make_small_floats.py        needs gguf, ml_dtypes, numpy and torch; the file is checked in
"""
import gguf
import ml_dtypes
import numpy as np
import torch

import golden_file

N = 512


def put(name, x):
    golden_file.put(name, torch.from_numpy(np.asarray(x, dtype=np.float64)))


def codes(x):
    """Of E2M1; −0 is 0."""
    code = x.astype(ml_dtypes.float4_e2m1fn).view(np.uint8) & 15
    return np.where(code == 8, 0, code).astype(np.uint8)


def nvfp4(x):
    sub = x.reshape(-1, 16)
    scale = np.minimum(np.abs(sub).max(axis=1) / np.float32(6), np.float32(448)).astype(ml_dtypes.float8_e4m3fn)
    byte = scale.view(np.uint8)
    byte = np.where(np.abs(sub).max(axis=1) == 0, 0x38, np.maximum(byte, 1)).astype(np.uint8)
    value = byte.view(ml_dtypes.float8_e4m3fn).astype(np.float32)
    code = codes(np.clip(sub / value[:, None], -6, 6))
    pairs = (code[:, :8] | code[:, 8:] << 4).reshape(-1, 32)
    return np.concatenate([byte.reshape(-1, 4), pairs], axis=1).reshape(-1)


def mxfp4(x):
    block = x.reshape(-1, 32)
    most = np.abs(block).max(axis=1)
    with np.errstate(divide="ignore"):
        e = np.where(most > 0, np.floor(np.log2(most)) - 2 + 127, 0)
    value = np.exp2(e - 127).astype(np.float32)
    code = codes(np.clip(block / value[:, None], -6, 6))
    return np.concatenate([e.astype(np.uint8)[:, None], code[:, :16] | code[:, 16:] << 4], axis=1).reshape(-1)


rng = np.random.default_rng(3)
x = rng.standard_normal(N).astype(np.float32) * np.repeat(np.exp2(rng.integers(-3, 6, N // 16)), 16)
x[64:80] = 0
x[128:144] = np.array([.25, .75, 1.25, 1.75, 2.5, 3.5, 5, 6] * 2) * np.repeat([1, -1], 8)  # ties, scale 1
x = x.astype(np.float32)
put("x", x)
for name, encode, kind in (("nvfp4", nvfp4, gguf.GGMLQuantizationType.NVFP4),
                           ("mxfp4", mxfp4, gguf.GGMLQuantizationType.MXFP4)):
    made = encode(x)
    put(name, made)
    put(name + " values", gguf.quants.dequantize(made, kind))
golden_file.write("small_floats.bin")
