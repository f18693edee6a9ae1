#!/usr/bin/env python3
"""Golden features of 30 s windows, from Hugging Face's WhisperFeatureExtractor.

usage: make_whisper_mel.py OUT.bin [JFK.flac]       needs transformers; with JFK.flac soundfile, scipy

The signals are made of integers, so that tests/test_whisper_mel.c makes the same. Each record,
little-endian: i32 signal, mels, count, stride, n; f32 values[n], every stride-th of (3000, mels).
The last record (signal −1) is a recording brought to 16000 Hz with scipy's polyphase filter.
"""
import math
import struct
import sys

import numpy as np
from transformers import WhisperFeatureExtractor

STRIDE = 331
CASES = [  # signal, mels, samples
    (0, 80, 176000),
    (1, 80, 512345),  # more than a window
    (2, 80, 480000),
    (3, 128, 300001),
    (0, 128, 1),
    (4, 80, 16000),  # silence
]


def signal(kind, count):
    """A sweep under a slow envelope, noise that fades; `kind` sets how loud each is."""
    out = np.zeros(count, np.int32)
    phase, noise = 0, 12345
    for i in range(count):
        phase = (phase + 200 + (i >> 5) % 9000) % 65536
        noise = (noise * 1664525 + 1013904223) % 2**32
        sweep = abs(phase - 32768) - 16384
        hiss = (noise >> 18) - 8192
        out[i] = (
            (sweep * ((i >> 13) & 7)) // 8 if kind == 0
            else sweep // 2 + hiss // 4 if kind == 1
            else hiss // (1 + ((i >> 14) & 63)) if kind == 2
            else sweep // 4096 + (hiss if i % 50000 < 100 else 0) if kind == 3
            else 0
        )  # fmt: skip
    return (out / 32768).astype(np.float32)


def record(file, kind, mels, samples):
    features = WhisperFeatureExtractor(feature_size=mels)(samples, sampling_rate=16000)
    values = features["input_features"][0].T.reshape(-1)[::STRIDE].astype("<f4")
    file.write(struct.pack("<5i", kind, mels, len(samples), STRIDE, len(values)) + values.tobytes())


with open(sys.argv[1], "wb") as out:
    for case in CASES:
        record(out, case[0], case[1], signal(case[0], case[2]))
    if len(sys.argv) > 2:
        import scipy.signal
        import soundfile

        sound, rate = soundfile.read(sys.argv[2], always_2d=True)
        divisor = math.gcd(rate, 16000)
        sound = scipy.signal.resample_poly(
            sound.mean(1), 16000 // divisor, rate // divisor, window=("kaiser", 14.0)
        )
        record(out, -1, 80, sound.astype(np.float32))
