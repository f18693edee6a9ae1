"""Logits of ResNet-56 (CIFAR-10, option A) by PyTorch, for tests/test_model.c.

usage: make_resnet.py resnet56.safetensors     prints the rows of GOLDEN_LOGITS
"""
import sys

import torch
import torch.nn.functional as F
from safetensors.torch import load_file

weights = {k.removeprefix("module."): v.double() for k, v in load_file(sys.argv[1]).items()}


def norm(x, name):
    w = [weights[f"{name}.{k}"] for k in ("running_mean", "running_var", "weight", "bias")]
    return F.batch_norm(x, *w, training=False, eps=1e-5)


def conv(x, name, stride):
    return F.conv2d(x, weights[f"{name}.weight"], stride=stride, padding=1)


def block(x, name, stride):
    y = F.relu(norm(conv(x, f"{name}.conv1", stride), f"{name}.bn1"))
    y = norm(conv(y, f"{name}.conv2", 1), f"{name}.bn2")
    if stride == 2:
        quarter = y.shape[1] // 4
        x = F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, quarter, quarter))
    return F.relu(y + x)


# x[b, h, w, c] = sin(0.37 h + 0.91 w + 1.7 c + 2.3 b) + 0.5 cos(0.11 h w)
b, h, w, c = torch.meshgrid(*[torch.arange(n).double() for n in (2, 32, 32, 3)], indexing="ij")
x = torch.sin(0.37 * h + 0.91 * w + 1.7 * c + 2.3 * b) + 0.5 * torch.cos(0.11 * h * w)
y = F.relu(norm(conv(x.permute(0, 3, 1, 2), "conv1", 1), "bn1"))
for stage in 1, 2, 3:
    for i in range(9):
        y = block(y, f"layer{stage}.{i}", 2 if stage > 1 and i == 0 else 1)
logits = F.linear(y.mean((2, 3)), weights["linear.weight"], weights["linear.bias"])
for row in logits:
    print("{" + ", ".join(f"{v:.7f}" for v in row.tolist()) + "},")
