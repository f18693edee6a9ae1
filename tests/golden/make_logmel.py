#!/usr/bin/env python3
"""Golden log-mel features, from the formulas with numpy alone (float64).

usage: make_logmel.py OUT.bin [MEL_FILTERS.npz]

Each record, little-endian: i32 rate, window, hop, mels, count; i16 samples[count];
f32 features[count // hop][mels]. The samples mean sample / 32768.
With OpenAI's mel_filters.npz the filters made here are compared with theirs.
"""
import sys

import numpy as np

CASES = [  # rate, window, hop, mels, samples
    (16000, 400, 160, 80, 4801),  # Whisper
    (16000, 400, 160, 128, 1600),  # Whisper large-v3
    (8000, 256, 128, 40, 2048),
    (11025, 375, 100, 30, 1111),  # an odd window
    (8000, 251, 97, 20, 800),  # a prime window
]


def slaney_filters(rate: int, window: int, mels: int) -> np.ndarray:
    def to_mel(hz):
        return hz * 3 / 200 if hz < 1000 else 15 + np.log(hz / 1000) * 27 / np.log(6.4)

    mel = np.linspace(0, to_mel(rate / 2), mels + 2)
    hz = np.where(mel < 15, mel * 200 / 3, 1000 * np.exp((mel - 15) * np.log(6.4) / 27))
    bins = np.fft.rfftfreq(window, 1 / rate)
    ramps = hz[:, None] - bins[None, :]
    width = np.diff(hz)
    lower = -ramps[:-2] / width[:-1, None]
    upper = ramps[2:] / width[1:, None]
    return np.maximum(0, np.minimum(lower, upper)) * (2 / (hz[2:] - hz[:-2]))[:, None]


def log_mel(x: np.ndarray, rate: int, window: int, hop: int, mels: int) -> np.ndarray:
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(window) / window)
    padded = np.pad(x, window // 2, mode="reflect")
    frames = np.stack([padded[f * hop : f * hop + window] for f in range(len(x) // hop)])
    power = np.abs(np.fft.rfft(frames * hann)) ** 2
    level = np.log10(np.maximum(power @ slaney_filters(rate, window, mels).T, 1e-10))
    return (np.maximum(level, level.max() - 8) + 4) / 4


def main() -> int:
    if len(sys.argv) not in (2, 3):
        print(__doc__, file=sys.stderr)
        return 64
    if len(sys.argv) == 3:
        theirs = np.load(sys.argv[2])
        for mels in (80, 128):
            gap = np.abs(theirs[f"mel_{mels}"] - slaney_filters(16000, 400, mels)).max()
            print(f"{mels} filters: largest difference from OpenAI's {gap:.1e}")
            assert gap < 1e-7
    draw = np.random.default_rng(7)
    with open(sys.argv[1], "wb") as out:
        for rate, window, hop, mels, count in CASES:
            t = np.arange(count) / rate
            tone = np.sin(2 * np.pi * (200 + 4000 * t) * t) * np.exp(-8 * t)
            noise = draw.normal(size=count) * 0.01 * (t > 0.03)
            samples = np.round(12000 * (tone + noise)).astype("<i2")
            np.array([rate, window, hop, mels, count], "<i4").tofile(out)
            samples.tofile(out)
            log_mel(samples / 32768, rate, window, hop, mels).astype("<f4").tofile(out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
