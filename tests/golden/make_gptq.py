#!/usr/bin/env python3
"""Writes gptq.bin: a matrix rounded by GPTQ as its paper's program does it (Cholesky factor, inverse, upper
Cholesky factor, column after column), in PyTorch in double. The scales are those of ggml's own q4_0 encoder with
the diagonal of the Hessian as importance; the library is the one that pywhispercpp brings.

    python3 tests/golden/make_gptq.py        needs numpy, torch and pywhispercpp; the file is checked in
"""
import ctypes
import glob
import os
import sysconfig

import numpy as np
import torch

import golden_file

ROWS, N, SAMPLES, BLOCK = 12, 160, 120, 32
DEAD = (7, 64)
PERCDAMP = 0.01

library = glob.glob(os.path.join(sysconfig.get_paths()["purelib"], "libggml-base.so*"))[0]
ggml = ctypes.CDLL(library)
ggml.ggml_quantize_chunk.restype = ctypes.c_size_t
floats = ctypes.POINTER(ctypes.c_float)


def scales(w, importance):
    """(ROWS,N) the scale of each value's block, of q4_0 with importance."""
    out = np.zeros((ROWS, N // BLOCK, 18), dtype=np.uint8)
    for row in range(ROWS):
        x = np.ascontiguousarray(w[row], dtype=np.float32)
        n = ggml.ggml_quantize_chunk(ctypes.c_int(2), x.ctypes.data_as(floats),
                                     out[row].ctypes.data_as(ctypes.c_void_p), ctypes.c_int64(0), ctypes.c_int64(1),
                                     ctypes.c_int64(N), importance.ctypes.data_as(floats))
        assert n == out[row].nbytes
    d = out[:, :, :2].copy().view(np.float16).astype(np.float64)
    return torch.from_numpy(np.repeat(d.reshape(ROWS, N // BLOCK), BLOCK, axis=1))


def gptq(w, hessian, scale, by_activation):
    """Codes (ROWS,N) in 0 … 15 and the numbers they mean."""
    w, H, scale = w.clone(), hessian.clone(), scale.clone()
    dead = torch.diag(H) == 0
    H[dead, dead] = 1
    w[:, dead] = 0
    order = torch.argsort(torch.diag(hessian), descending=True, stable=True) if by_activation else torch.arange(N)
    w, H, scale = w[:, order], H[order][:, order], scale[:, order]
    H += PERCDAMP * torch.diag(H).mean() * torch.eye(N, dtype=H.dtype)
    U = torch.linalg.cholesky(torch.cholesky_inverse(torch.linalg.cholesky(H)), upper=True)
    codes = torch.zeros_like(w)
    for j in range(N):
        d = scale[:, j]
        codes[:, j] = torch.clamp(torch.round(torch.where(d != 0, w[:, j] / d, 0.0)) + 8, 0, 15)
        error = (w[:, j] - d * (codes[:, j] - 8)) / U[j, j]
        w[:, j:] -= error[:, None] * U[j, j:][None, :]
    back = torch.argsort(order)
    return codes[:, back], (scale * (codes - 8))[:, back]


torch.manual_seed(5)
mix = torch.randn(N, N // 4, dtype=torch.float64) / 4
x = (torch.randn(SAMPLES, N // 4, dtype=torch.float64) @ mix.T + 0.3 * torch.randn(SAMPLES, N, dtype=torch.float64))
x[:, 20] *= 6
x[:, DEAD] = 0
x = x.float().double()
w = torch.randn(ROWS, N, dtype=torch.float64).float().double()
H = 2 / SAMPLES * x.T @ x
golden_file.put("x", x)
golden_file.put("w", w)
seen = w.clone()
seen[:, DEAD] = 0
d = scales(seen.numpy(), torch.diag(H).float().numpy())
for name, by_activation in (("in order", False), ("by activation", True)):
    codes, value = gptq(w, H, d, by_activation)
    golden_file.put(name, codes)
    error = (x @ (value - w).T).square().sum() / (x @ w.T).square().sum()
    print(f"{name}: relative output error {error.sqrt():.4f}")
nearest = d * (torch.clamp(torch.round(w / d) + 8, 0, 15) - 8)
print(f"nearest: {((x @ (nearest - w).T).square().sum() / (x @ w.T).square().sum()).sqrt():.4f}")
golden_file.write("gptq.bin")
