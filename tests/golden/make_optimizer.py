#!/usr/bin/env python3
"""Weights after several updates, and learning rates, by PyTorch and transformers: optimizer.bin.

    python3 tests/golden/make_optimizer.py        (torch 2, transformers)

Every case starts from the same weights and takes the same gradients, in float64; tests/test_optimizer.c
has the same table of cases. Entries are {char name[48], int64 size, double[size]}.
"""
import torch
import transformers

from golden_file import ENTRIES, put, write

STEPS, KEPT = 8, (1, 2, 8)  # updates; after which of them the weights are written down
RATE = 0.1
SHAPES = {"dense": (5, 7), "bias": (5,), "conv": (4, 3, 2, 3)}
DECAYED = ("dense", "conv")
SCHEDULE_STEPS, WARMUP = 24, 5

GENERATOR = torch.Generator().manual_seed(31)
BOUNDED = []  # which rows bound_rows shortened


def random(shape, scale):
    """Numbers that float32 holds exactly."""
    return (scale * (2 * torch.rand(shape, generator=GENERATOR) - 1)).float().double()


START = {name: random(shape, 0.8) for name, shape in SHAPES.items()}
# The second gradient is small, so that one update is not clipped.
GRADIENTS = [{name: random(shape, 0.05 if t == 1 else 1.5) for name, shape in SHAPES.items()} for t in range(STEPS)]


def clip(parameters, bound):
    """PyTorch's own adds 1e-6 to the norm; the factor here is bound / norm."""
    norm = torch.nn.utils.get_total_norm([p.grad for p in parameters])
    factor = min(1.0, bound / norm.item())
    mine = [p.grad * factor for p in parameters]
    assert abs(torch.nn.utils.clip_grad_norm_(parameters, bound) - norm) < 1e-12
    for p, g in zip(parameters, mine):
        assert torch.allclose(p.grad, g, rtol=1e-5)
        p.grad = g
    return norm.item()


def bound_rows(p, bound):
    """torch.renorm adds 1e-7 to the norm of a row; the factor here is bound / norm."""
    rows = p.data.reshape(p.shape[0], -1)
    norm = torch.linalg.vector_norm(rows, dim=1, keepdim=True)
    out = torch.where(norm > bound, rows * (bound / norm), rows)
    assert torch.allclose(out, torch.renorm(rows, 2, 0, bound), rtol=1e-5)
    BOUNDED.append((norm > bound).flatten())
    p.data = out.reshape(p.shape)


def case(name, make, decay=0.0, clipped=0.0, bound=0.0):
    weights = {n: torch.nn.Parameter(x.clone()) for n, x in START.items()}
    groups = [{"params": [weights[n] for n in SHAPES if n in DECAYED], "weight_decay": decay},
              {"params": [weights[n] for n in SHAPES if n not in DECAYED], "weight_decay": 0.0}]
    optimizer = make(groups)
    norms = []
    for t in range(STEPS):
        for n, p in weights.items():
            p.grad = GRADIENTS[t][n].clone()
        for group in optimizer.param_groups:  # another rate each time
            group["lr"] = RATE * (1 - t / (2 * STEPS))
        everything = list(weights.values())
        norms.append(clip(everything, clipped) if clipped else
                     torch.nn.utils.get_total_norm([p.grad for p in everything]).item())
        optimizer.step()
        for n in DECAYED if bound else ():
            bound_rows(weights[n], bound)
        if t + 1 in KEPT:
            for n, p in weights.items():
                put(f"{name}.{t + 1}.{n}", p)
    put(f"{name}.norms", torch.tensor(norms, dtype=torch.float64))


def sgd(**keys):
    return lambda groups: torch.optim.SGD(groups, lr=RATE, **keys)


def adamw(**keys):
    return lambda groups: torch.optim.AdamW(groups, lr=RATE, **keys)


def optimizers():
    for n, x in START.items():
        put(f"start.{n}", x)
        for t in range(STEPS):
            put(f"gradient.{t}.{n}", GRADIENTS[t][n])
    case("sgd", sgd())
    case("sgd_decay", sgd(), decay=0.3)
    case("sgd_momentum", sgd(momentum=0.9), decay=0.3)
    case("sgd_nesterov", sgd(momentum=0.7, nesterov=True), decay=0.3)
    case("sgd_clip", sgd(momentum=0.9), decay=0.3, clipped=1.25)
    case("sgd_max_norm", sgd(momentum=0.9), bound=1.3)
    case("adamw", adamw(betas=(0.9, 0.999), eps=1e-8))
    case("adamw_decay", adamw(betas=(0.9, 0.999), eps=1e-8), decay=0.5)
    case("adamw_betas", adamw(betas=(0.6, 0.8), eps=0.05), decay=0.5)
    case("adamw_clip", adamw(betas=(0.8, 0.9), eps=0.05), decay=0.5, clipped=1.25)
    case("adamw_all", adamw(betas=(0.8, 0.9), eps=0.05), decay=0.5, clipped=1.25, bound=1.3)


def rates(make):
    """The rate of every update, by a scheduler of transformers over torch's LambdaLR."""
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=RATE)
    scheduler = make(optimizer)
    out = []
    for _ in range(SCHEDULE_STEPS + 1):
        out.append(scheduler.get_last_lr()[0])
        optimizer.step()
        scheduler.step()
    return torch.tensor(out, dtype=torch.float64)


def schedules():
    """Theirs warms up from rate 0 at its first update, ours from 1/warm-up of the rate: during the warm-up
    our update t has their rate of t + 1, from then on the same."""
    for warmup in (0, WARMUP):
        for low in (0.0, 0.2):
            put(f"constant.{warmup}.{low}", rates(lambda o: transformers.get_constant_schedule_with_warmup(o, warmup)))
            put(f"linear.{warmup}.{low}", rates(lambda o: transformers.get_polynomial_decay_schedule_with_warmup(
                o, warmup, SCHEDULE_STEPS, lr_end=low * RATE, power=1.0)))
            put(f"cosine.{warmup}.{low}", rates(lambda o: transformers.get_cosine_with_min_lr_schedule_with_warmup(
                o, warmup, SCHEDULE_STEPS, min_lr_rate=low)))
        for name, make in (("linear", transformers.get_linear_schedule_with_warmup),
                           ("cosine", transformers.get_cosine_schedule_with_warmup)):
            found = rates(lambda o: make(o, warmup, SCHEDULE_STEPS))
            kept = dict(ENTRIES)[f"{name}.{warmup}.0.0"]
            assert max(abs(a - b) for a, b in zip(found, kept)) < 1e-9, name


def main():
    optimizers()
    assert 0.1 < torch.cat(BOUNDED).double().mean() < 0.9
    schedules()
    write("optimizer.bin")


main()
