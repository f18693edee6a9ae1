#!/usr/bin/env python3
"""Training speed beside PyTorch, in one run: the two take turns, medians are compared.

usage: bench_torch.py DISTILL [--rounds 5] [--batch 128]      (needs PyTorch 2; see `make bench-torch`)

The same models, batch, threads, optimizer (SGD with momentum), data in memory, warm-up. PyTorch runs
each model in both memory layouts; the faster one counts. In bfloat16 (under autocast there) where the
processor has AMX or AVX512-BF16.
"""
import argparse
import re
import statistics
import sys
import time

from bench_side import distill_bench, has_bfloat16, in_child, own_peak, threads

STEPS = 24

# Only the child processes import PyTorch: a child's peak memory begins with its parent's.
if "--child" in sys.argv:
    import torch
    from torch import nn
    from torch.nn import functional as F
    Module = nn.Module
else:
    Module = object


def conv_bn(cin, cout, stride=1):
    return nn.Sequential(
        nn.Conv2d(cin, cout, 3, stride, 1, bias=False), nn.BatchNorm2d(cout))


class Block(Module):
    """CIFAR ResNet v1 with option A shortcuts, as `distill bench` has it."""

    def __init__(self, cin, cout, stride):
        super().__init__()
        self.first, self.second = conv_bn(cin, cout, stride), conv_bn(cout, cout)
        self.stride, self.pad = stride, cout - cin

    def forward(self, x):
        y = self.second(F.relu(self.first(x)))
        if self.pad:
            x = F.pad(x[:, :, :: self.stride, :: self.stride],
                      (0, 0, 0, 0, self.pad // 2, self.pad - self.pad // 2))
        return F.relu(y + x)


def build(name):
    if name == "mlp":
        layers = [nn.Flatten(), nn.Linear(784, 1200), nn.ReLU(), nn.Linear(1200, 1200), nn.ReLU(),
                  nn.Linear(1200, 10)]
        return nn.Sequential(*layers), (1, 28, 28)
    layers = [conv_bn(3, 16), nn.ReLU(), Block(16, 16, 1), Block(16, 32, 2), Block(32, 64, 2),
              nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10)]
    return nn.Sequential(*layers), (3, 32, 32)


def torch_rate(name, batch, layout, precision):
    """Samples per second of a median training step."""
    torch.manual_seed(1)
    model, shape = build(name)
    model = model.to(memory_format=layout) if layout else model
    optimizer = torch.optim.SGD(model.parameters(), 0.01, momentum=0.9)
    data = torch.rand(batch * (STEPS + 2), *shape)
    labels = torch.randint(0, 10, (len(data),))
    seconds = []
    for step in range(STEPS + 2):
        began = time.perf_counter()
        x = data[step * batch:(step + 1) * batch]
        x = x.contiguous(memory_format=layout) if layout else x
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bfloat16"):
            loss = F.cross_entropy(model(x), labels[step * batch:(step + 1) * batch])
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        seconds.append(time.perf_counter() - began)
    return batch / statistics.median(seconds[2:])


def distill_rate(program, name, batch, precision):
    """Samples per second and peak memory in MB."""
    text, memory = distill_bench(program, name, batch, precision)
    return float(re.search(r"([\d.]+) samples/s", text).group(1)), memory


def child(name, batch, layout, precision):
    torch.set_num_threads(threads())
    rate = torch_rate(name, batch, torch.channels_last if layout == "nhwc" else None, precision)
    print(rate, own_peak(), torch.__version__)


def compare(args, name, precision):
    ours, theirs, memory = [], {"nchw": [], "nhwc": []}, {}
    for _ in range(args.rounds):
        rate, own_memory = distill_rate(args.program, name, args.batch, precision)
        ours.append(rate)
        for layout in theirs if name != "mlp" else ("nchw",):
            rate, peak, version = in_child(name, args.batch, layout, precision)
            theirs[layout].append(float(rate))
            memory[layout] = float(peak)
    best = max((statistics.median(v), k) for k, v in theirs.items() if v)
    mine = statistics.median(ours)
    print(f"{name:8s} {precision:8s}  distill {mine:7.0f}   PyTorch {version} {best[0]:7.0f} ({best[1]})   "
          f"ratio {mine / best[0]:.2f}   peak memory {own_memory:.0f} and {memory[best[1]]:.0f} MB")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("program")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--batch", type=int, default=128)
    args = parser.parse_args()
    print(f"{threads()} threads, batch {args.batch}, "
          f"{args.rounds} rounds in turn; training samples per second, medians")
    for name in ("mlp", "resnet8"):
        compare(args, name, "float32")
    for name in ("mlp", "resnet8"):
        if has_bfloat16():
            compare(args, name, "bfloat16")
        else:
            print(f"{name:8s} bfloat16  not measured: no faster than float32 on this processor")


if __name__ == "__main__":
    if len(sys.argv) == 6 and sys.argv[1] == "--child":
        child(sys.argv[2], int(sys.argv[3]), sys.argv[4], sys.argv[5])
    else:
        main()
