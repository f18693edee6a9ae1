#!/usr/bin/env python3
"""Writes formats.bin: what ggml's own encoders make of rows of numbers, with importance and without, and
what its decoders make of that. The library is the one that pywhispercpp brings.

    python3 tests/golden/make_formats.py        needs numpy and pywhispercpp; the file is checked in

formats.bin is a sequence of records {char name[24]; int64 bytes; bytes}.
"""
import ctypes
import glob
import os
import struct
import sysconfig

import numpy as np

FOLDER = os.path.dirname(os.path.abspath(__file__))
ROW = 512
TYPES = {"q4_0": (2, 18, 32), "q4_1": (3, 20, 32), "q5_0": (6, 22, 32), "q5_1": (7, 24, 32), "q8_0": (8, 34, 32),
         "q2_K": (10, 84, 256), "q3_K": (11, 110, 256), "q4_K": (12, 144, 256), "q5_K": (13, 176, 256),
         "q6_K": (14, 210, 256), "iq4_nl": (20, 18, 32), "iq4_xs": (23, 136, 256)}
DECODED = 3  # rows
SHORT = 3  # blocks of 32

library = glob.glob(os.path.join(sysconfig.get_paths()["purelib"], "libggml-base.so*"))[0]
ggml = ctypes.CDLL(library)
ggml.ggml_quantize_chunk.restype = ctypes.c_size_t
floats = ctypes.POINTER(ctypes.c_float)


def with_value(row, value):
    row = row.copy()
    row[5] = value
    return row


def rows():
    rng = np.random.default_rng(8)
    plain = rng.standard_normal(ROW)
    outlier = rng.standard_normal(ROW)
    outlier[::97] *= 40
    ties = np.where(np.arange(ROW) % 3 == 0, 1.0, -1.0)
    steps = np.arange(ROW) % 33 / 4.0 - 4
    mixed = rng.standard_normal(ROW)
    mixed[32:64] = 0
    mixed[256:] = 0
    every = [plain, outlier, 0.02 * rng.standard_normal(ROW), np.zeros(ROW), np.full(ROW, 0.37), np.full(ROW, -2.5),
             ties, steps, np.abs(plain) + 1, -np.abs(plain), mixed, np.full(ROW, 1e-40), plain * 3e4, plain * 1e-7,
             plain**3, 1e6 * outlier, 1e12 * plain, 1e30 * plain, 3e38 * np.sign(plain), with_value(plain, np.nan),
             with_value(plain, -np.inf)]
    return np.array(every, dtype=np.float32)


def importances(count):
    rng = np.random.default_rng(9)
    every = rng.chisquare(1, (count, ROW)) * np.exp(rng.standard_normal((count, ROW)))
    every[1, :40] = 0
    every[2] = 0
    every[3] = 1
    return every.astype(np.float32)


def pointer(a):
    return a.ctypes.data_as(floats)


def encode(kind, x, importance):
    number, size, block = TYPES[kind]
    x = np.ascontiguousarray(x)
    out = np.zeros(x.size // block * size, dtype=np.uint8)
    n = ggml.ggml_quantize_chunk(ctypes.c_int(number), pointer(x), out.ctypes.data_as(ctypes.c_void_p),
                                 ctypes.c_int64(0), ctypes.c_int64(1), ctypes.c_int64(x.size),
                                 None if importance is None else pointer(importance))
    assert n == out.size
    return out


def decode(kind, packed):
    out = np.zeros(ROW, dtype=np.float32)
    getattr(ggml, "dequantize_row_" + kind)(packed.ctypes.data_as(ctypes.c_void_p), pointer(out), ctypes.c_int64(ROW))
    return out


records = []


def put(name, value):
    data = np.ascontiguousarray(value).tobytes()
    records.append(struct.pack("<24sq", name.encode(), len(data)) + data)


X = rows()
IMPORTANCE = importances(len(X))
put("x", X)
put("importance", IMPORTANCE)
for kind in TYPES:
    without = [encode(kind, x, None) for x in X]
    put(kind, np.array(without))
    put(kind + ".important", np.array([encode(kind, x, w) for x, w in zip(X, IMPORTANCE)]))
    short = SHORT * 32 if TYPES[kind][2] == 32 else 256
    put(kind + ".short", encode(kind, X[1][:short], np.ascontiguousarray(IMPORTANCE[0][:short])))
    put(kind + ".value", np.array([decode(kind, packed) for packed in without[:DECODED]]))
with open(os.path.join(FOLDER, "formats.bin"), "wb") as file:
    file.write(b"".join(records))
