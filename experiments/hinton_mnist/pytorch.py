#!/usr/bin/env python3
"""The student on soft targets once more, by PyTorch: is it the engine that stands between ours and the
published one? From the targets that the sweep's teachers have stored, PyTorch trains the same network
with the same loss, optimiser, rate, schedule, batches and epochs, for each teacher once.

    python3 experiments/hinton_mnist/pytorch.py runs/hinton_mnist     (after make hinton_mnist)

Needs torch and h5py. DISTILL_DATA names the folder that holds mnist/.
"""
import glob
import gzip
import json
import math
import os
import sys
import time

import h5py
import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from table import errors, read_runs, spread

HERE = os.path.dirname(os.path.abspath(__file__))
MNIST = os.path.join(os.environ.get("DISTILL_DATA", os.path.join(HERE, "../../../shared/data")), "mnist")


def idx(name, header):
    path = os.path.join(MNIST, name)
    packed = not os.path.exists(path)
    with gzip.open(path + ".gz") if packed else open(path, "rb") as file:
        return np.frombuffer(file.read(), np.uint8, offset=header)


def images(split):
    return torch.tensor(idx(split + "-images-idx3-ubyte", 16).reshape(-1, 784) / 255, dtype=torch.float32)


def labels(split):
    return torch.tensor(idx(split + "-labels-idx1-ubyte", 8).astype(np.int64))


def stores(runs):
    """The stores of whole training sets, one view of each image: one for each teacher."""
    found = []
    for path in sorted(glob.glob(os.path.join(runs, "store-*", "shard-00000.h5"))):
        with h5py.File(path) as shard:
            if shard.attrs["views"] == 1:
                found.append((shard.attrs["teacher"], shard["id"][:], shard["logits"][:]))
    if not found:
        sys.exit(f"{runs}: no teacher's store is there; run make hinton_mnist first")
    most = max(len(ids) for _, ids, _ in found)
    return [store for store in found if len(store[1]) == most]


def network(hidden):
    layers, width = [], 784
    for units in hidden:
        layers += [nn.Linear(width, units), nn.ReLU()]
        width = units
    net = nn.Sequential(*layers, nn.Linear(width, 10))
    for layer in net[::2]:
        nn.init.normal_(layer.weight, 0, math.sqrt(2 / layer.in_features))
        nn.init.zeros_(layer.bias)
    return net


def train(config, x, logits):
    """The student after its last epoch and its mean loss in that: tau^2 KL(teacher || student)."""
    tau, recipe = config["loss"]["temperature"], config["train"]
    net, count, batch = network(config["model"]["hidden"]), len(x), recipe["batch"]
    target = torch.softmax(torch.tensor(logits) / tau, 1)
    optimizer = torch.optim.AdamW(net.parameters(), lr=recipe["learning_rate"], weight_decay=0)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, recipe["epochs"] * math.ceil(count / batch))
    for _ in range(recipe["epochs"]):
        order, total = torch.randperm(count), 0.0
        for part in order.split(batch):
            loss = tau**2 * F.kl_div(torch.log_softmax(net(x[part]) / tau, 1), target[part], reduction="batchmean")
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            total += loss.item() * len(part)
    return net, total / count


def main(runs):
    with open(os.path.join(HERE, "student.json"), encoding="utf-8") as file:
        config = json.load(file)
    targets = stores(runs)
    x, x_test, y_test = images("train"), images("t10k"), labels("t10k")
    counts = []
    for seed, (teacher, ids, logits) in enumerate(targets, 1):
        torch.manual_seed(seed)
        start = time.time()
        net, loss = train(config, x[torch.tensor(ids.astype(np.int64))], logits)
        with torch.no_grad():
            counts.append((net(x_test).argmax(1) != y_test).sum().item())
        print(f"teacher {teacher.decode()[:8]}: τ²·KL {loss:.4f}, {counts[-1]} errors of {len(y_test):,}, "
              f"{time.time() - start:.0f} s", flush=True)
    ours = [errors(model) for model in read_runs(runs, "soft_targets", "student")]
    print(f"PyTorch {torch.__version__}: {spread(counts)} {counts}")
    print(f"distill: {spread(ours)} {ours}")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(sys.argv[1])
