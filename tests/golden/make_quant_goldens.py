#!/usr/bin/env python3
"""Writes tests/golden/quant.bin: PyTorch's fake-quantization and its gradients.

    python3 tests/golden/make_quant_goldens.py       (needs torch; any 2.x)

The file is a sequence of records {char name[32]; int64 n; float32 value[n]}.
"""
import os
import struct

import numpy as np
import torch

torch.manual_seed(11)
records = []


def put(name, value):
    value = np.asarray(value, dtype=np.float32).ravel()
    records.append(struct.pack("<32sq", name.encode(), value.size) + value.tobytes())


def case(name, x, scale, zero, qmin, qmax, axis=None):
    """x, weights of a scalar loss, scales → value and gradient."""
    x = x.clone().requires_grad_(True)
    weight = torch.randn_like(x)
    if axis is None:
        y = torch.fake_quantize_per_tensor_affine(x, float(scale[0]), zero, qmin, qmax)
    else:
        zeros = torch.full((len(scale),), zero, dtype=torch.int32)
        y = torch.fake_quantize_per_channel_affine(x, scale, zeros, axis, qmin, qmax)
    (y * weight).sum().backward()
    put(name + ".grid", [zero, qmin, qmax, len(scale)])
    put(name + ".scale", scale)
    put(name + ".x", x.detach())
    put(name + ".weight", weight)
    put(name + ".y", y.detach())
    put(name + ".grad", x.grad)


def ties(n, scale):
    """Multiples of half a step: every rounding is a tie or exact."""
    return (torch.arange(n) - n // 2).float() * 0.5 * scale


def learned(name, x, scale, zero, qmin, qmax, axis=None):
    """Torch's own learned-scale op, which is LSQ with the zero-point held fixed."""
    x = x.clone().requires_grad_(True)
    scale = scale.clone().requires_grad_(True)
    weight = torch.randn_like(x)
    n = x.numel() if axis is None else x.numel() // len(scale)
    factor = 1 / (n * (qmax - zero)) ** 0.5
    if axis is None:
        y = torch._fake_quantize_learnable_per_tensor_affine(
            x, scale, torch.tensor([float(zero)]), qmin, qmax, factor)
    else:
        y = torch._fake_quantize_learnable_per_channel_affine(
            x, scale, torch.full((len(scale),), float(zero)), axis, qmin, qmax, factor)
    (y * weight).sum().backward()
    put(name + ".grid", [zero, qmin, qmax, len(scale)])
    put(name + ".scale", scale.detach())
    put(name + ".x", x.detach())
    put(name + ".weight", weight)
    put(name + ".y", y.detach())
    put(name + ".grad", x.grad)
    put(name + ".scale_grad", scale.grad)


case("tensor8", torch.randn(3, 5, 7) * 2, torch.tensor([0.0237]), 113, 0, 255)
case("tensor4", torch.randn(127), torch.tensor([0.21]), 6, 0, 15)
case("tensor2", torch.randn(65), torch.tensor([0.9]), 1, 0, 3)
case("symmetric8", torch.randn(129) * 3, torch.tensor([0.019]), 0, -127, 127)
case("ties", ties(600, 0.125), torch.tensor([0.125]), 100, 0, 255)
scales = torch.rand(6) * 0.03 + 0.005
case("channel8", torch.randn(6, 3, 3, 5), scales, 0, -127, 127, axis=0)
case("channel4", torch.randn(6, 31), scales * 18, 0, -7, 7, axis=0)
learned("lsq8", torch.randn(4, 33) * 2, torch.tensor([0.021]), 90, 0, 255)
learned("lsq_relu4", torch.rand(3, 41) * 4 - 0.5, torch.tensor([0.2]), 0, 0, 15)
learned("lsq_channel4", torch.randn(6, 31), scales * 12, 0, -7, 7, axis=0)
learned("lsq_channel8", torch.randn(6, 17), scales, 0, -127, 127, axis=0)

path = os.path.join(os.path.dirname(os.path.abspath(__file__)), "quant.bin")
with open(path, "wb") as file:
    file.write(b"".join(records))
print(path, sum(map(len, records)), "bytes")

# tests/golden/tiny.gguf: the same keys and tensors test_gguf.c writes, by the gguf package.
import gguf

path = os.path.join(os.path.dirname(path), "tiny.gguf")
writer = gguf.GGUFWriter(path, "distill")
writer.add_uint32("general.quantization_version", 2)
writer.add_uint32("general.alignment", 32)
writer.add_uint64("distill.checksum", 0)
writer.add_string("general.name", "tiny")
writer.add_float32("a.number", 0.1)
writer.add_float64("a.double", 1 / 3)
writer.add_array("some.numbers", [0.5, -1.25, 3.0])
writer.add_array("some.texts", ["ankle boot", "", "äöü"])
writer.add_tensor("bytes", np.arange(-15, 15, dtype=np.int8).reshape(2, 3, 5))
writer.add_tensor("integers", np.array([1, -2, 2**31 - 1], dtype=np.int32))
writer.add_tensor("reals", np.array([[0.5], [1e-30]], dtype=np.float32))
writer.write_header_to_file()
writer.write_kv_data_to_file()
writer.write_tensors_to_file()
writer.close()
print(path, os.path.getsize(path), "bytes")
