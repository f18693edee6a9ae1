#!/usr/bin/env python3
"""Writes ops.bin: what PyTorch computes in float64 for one call of every op, for tests/ops_golden.c.

    python3 tests/golden/make_goldens.py        needs torch; the file is checked in

For each record: the leaves in0 … (numbers that float32 holds exactly), the weights of the scalar loss
sum(out * weight), the output, the gradient of every leaf that wants one, and what state leaves hold
afterwards. All in the project's layout: images (B,H,W,C), convolution weights (O,KH,KW,C/groups).
Names are "<record>.<part>".
"""
import math

import torch
import torch.nn.functional as F

from golden_file import put, write

torch.set_default_dtype(torch.float64)
GENERATOR = torch.Generator().manual_seed(20)


def random(*shape, low=-1.0, high=1.0):
    x = torch.rand(shape, generator=GENERATOR) * (high - low) + low
    return x.float().double()


def record(name, function, *leaves, state=(), kink=None):
    """`state` are the indices of leaves that want no gradient and may change; `kink` gives what must
    stay away from zero, lest float32 fall on the other side."""
    leaves = [x.clone() for x in leaves]
    for i, x in enumerate(leaves):
        put(f"{name}.in{i}", x)
        x.requires_grad_(i not in state)
    out = function(*leaves)
    if kink is not None:
        assert kink(*leaves).abs().min() > 1e-5, name
    weight = random(*out.shape)
    put(f"{name}.weight", weight)
    put(f"{name}.out", out)
    (out * weight).sum().backward()
    for i, x in enumerate(leaves):
        if i in state:
            put(f"{name}.after{i}", x)
        else:
            put(f"{name}.grad{i}", x.grad)


def products():
    record("matmul", lambda a, b: a @ b.transpose(1, 2), random(2, 3, 5), random(2, 7, 5))
    record("linear", lambda x, w, b: F.relu(F.linear(x, w, b)), random(3, 2, 5), random(7, 5), random(7),
           kink=F.linear)


def elementwise():
    record("bias", lambda x, b: x + b, random(3, 5), random(5))
    record("add", lambda a, b: F.relu(a + b), random(3, 5), random(3, 5), kink=torch.add)
    record("mul", torch.mul, random(3, 5), random(3, 5))
    record("scale", lambda x: 1.5 * x, random(3, 5))
    record("scale_rows", lambda x, s: x * s[:, None], random(3, 5), random(3))
    wide = random(5, 13, low=-6, high=6)
    record("relu", F.relu, wide, kink=lambda x: x)
    record("gelu", F.gelu, wide)
    record("gelu_tanh", lambda x: F.gelu(x, approximate="tanh"), wide)
    record("sigmoid", torch.sigmoid, wide)
    record("tanh", torch.tanh, wide)
    record("softmax", lambda x: F.softmax(x, -1), random(3, 13, low=-8, high=8))
    record("log_softmax", lambda x: F.log_softmax(x, -1), random(3, 13, low=-8, high=8))
    record("embedding", lambda t: F.embedding(torch.tensor([6, 0, 3, 3, 6]), t), random(7, 3))


def shapes():
    record("reshape", lambda x: x.reshape(3, 10), random(5, 6))
    record("transpose", lambda x: x.permute(2, 0, 1), random(2, 3, 5))
    record("slice", lambda x: x[:, 1:6:2], random(2, 7, 3))
    record("concat", lambda a, b: torch.cat([a, b], 1), random(2, 3, 2), random(2, 1, 2))
    record("pad", lambda x: F.pad(x, (0, 0, 1, 2)), random(2, 3, 2))
    record("mean", lambda x: x.mean().reshape(1), random(3, 5))


def attention(q, k, v, heads, causal, valid=None):
    def split(x):
        return x.reshape(x.shape[0], x.shape[1], heads, -1).transpose(1, 2)

    T, S = q.shape[1], k.shape[1]
    mask = torch.ones(q.shape[0], 1, T, S, dtype=torch.bool)
    if causal:
        mask &= torch.ones(T, S, dtype=torch.bool).tril(S - T)
    if valid is not None:
        mask &= torch.arange(S)[None, None, None, :] < torch.tensor(valid)[:, None, None, None]
    y = F.scaled_dot_product_attention(split(q), split(k), split(v), attn_mask=mask)
    return y.transpose(1, 2).reshape(q.shape)


def attentions():
    record("attention", lambda q, k, v: attention(q, k, v, 2, False, [3, 5]),
           random(2, 3, 6, low=-3, high=3), random(2, 5, 6, low=-3, high=3), random(2, 5, 6))
    record("attention_causal", lambda q, k, v: attention(q, k, v, 3, True),
           random(2, 4, 6, low=-3, high=3), random(2, 6, 6, low=-3, high=3), random(2, 6, 6))


def channels_first(x):
    return x.permute(0, -1, *range(1, x.dim() - 1))


def channels_last(x):
    return x.permute(0, *range(2, x.dim()), 1)


def conv2d(x, w, b, stride, padding, groups):
    return channels_last(F.conv2d(channels_first(x), channels_first(w), b, stride, padding, 1, groups))


def convolutions():
    plain = lambda x, w, b: conv2d(x, w, b, (1, 1), (1, 1), 1)
    record("conv2d", lambda x, w, b: F.relu(plain(x, w, b)), random(2, 5, 6, 3), random(4, 3, 3, 3), random(4),
           kink=plain)
    record("conv2d_stride", lambda x, w: conv2d(x, w, None, (2, 3), (1, 2), 1), random(2, 7, 8, 2),
           random(3, 3, 5, 2))
    record("conv2d_groups", lambda x, w, b: conv2d(x, w, b, (1, 2), (0, 1), 2), random(2, 5, 5, 4),
           random(6, 2, 3, 2), random(6))
    record("conv2d_depthwise", lambda x, w, b: conv2d(x, w, b, (2, 2), (1, 1), 5), random(2, 5, 6, 5),
           random(5, 3, 3, 1), random(5))
    record("conv1d", lambda x, w, b: channels_last(F.conv1d(channels_first(x), channels_first(w), b, 2, 1)),
           random(2, 9, 3), random(4, 3, 3), random(4))


def pools_and_norms():
    x = random(2, 7, 6, 3)
    record("max_pool2d", lambda x: channels_last(F.max_pool2d(channels_first(x), (3, 2), (2, 2), (1, 1))), x)
    record("avg_pool2d", lambda x: channels_last(F.avg_pool2d(channels_first(x), (3, 2), (2, 1), (1, 0))), x)
    record("global_avg_pool", lambda x: x.mean((1, 2)), x)
    record("layer_norm", lambda x, g, b: F.layer_norm(x, x.shape[-1:], g, b, 1e-5), random(2, 3, 7), random(7),
           random(7))
    norm = lambda training: lambda x, g, b, mean, var: channels_last(
        F.batch_norm(channels_first(x), mean, var, g, b, training, 0.1, 1e-5))
    leaves = (random(3, 4, 2, 5, low=-1, high=3), random(5), random(5), random(5), random(5, low=0.5, high=2))
    record("batch_norm", norm(True), *leaves, state=(3, 4))
    record("batch_norm_eval", norm(False), *leaves, state=(3, 4))
    record("batch_norm_relu", lambda *l: F.relu(norm(True)(*l)), *leaves, state=(3, 4),
           kink=lambda x, g, b, *_: F.batch_norm(channels_first(x), None, None, g, b, True))


LABEL, VALID = torch.tensor([4, 0, 2, 1, 3]), torch.tensor([True, False, True, True, False])


def hard_and_soft(z, teacher, hard, kl, tau, smoothing, valid):
    ce = F.cross_entropy(z[valid], LABEL[valid], label_smoothing=smoothing, reduction="sum")
    soft = F.kl_div(F.log_softmax(z[valid] / tau, 1), F.log_softmax(teacher[valid] / tau, 1), log_target=True,
                    reduction="sum")
    return ((hard * ce + kl * tau * tau * soft) / 7).reshape(1)


def topk_loss(z, teacher, k, tau):
    """The k largest logits and one class for the others."""
    kept, index = teacher.topk(k, 1)
    tail = (teacher / tau).scatter(1, index, -math.inf).logsumexp(1, keepdim=True)
    p = F.log_softmax(torch.cat([kept / tau, tail], 1), 1)
    q = F.log_softmax(z / tau, 1)
    rest = q.scatter(1, index, -math.inf).logsumexp(1, keepdim=True)
    soft = F.kl_div(torch.cat([q.gather(1, index), rest], 1), p, log_target=True, reduction="sum")
    return (tau * tau * soft / 7).reshape(1), index, kept, tail


def losses():
    teacher = random(5, 9, low=-4, high=4)
    z = random(5, 9, low=-4, high=4)
    everything = torch.ones(5, dtype=torch.bool)
    for name in ("distill_loss", "distill_loss_smooth"):
        put(f"{name}.teacher", teacher)
    record("distill_loss", lambda z: hard_and_soft(z, teacher, 0.8, 1.0, 2.0, 0.0, VALID), z)
    record("distill_loss_smooth", lambda z: hard_and_soft(z, teacher, 0.5, 0.5, 4.0, 0.1, everything), z)
    _, index, kept, tail = topk_loss(z, teacher, 3, 2.0)
    for part, x in (("index", index.double()), ("kept", kept), ("tail", tail)):
        put(f"distill_loss_topk.{part}", x)
    record("distill_loss_topk", lambda z: topk_loss(z, teacher, 3, 2.0)[0], z)
    target = random(5, 9)
    put("hint_mse.teacher", target)
    put("hint_cosine.teacher", target)
    record("hint_mse", lambda x: (0.5 * ((x - target) ** 2).mean(1).sum() / 3).reshape(1), z)
    record("hint_cosine", lambda x: (0.5 * (1 - F.cosine_similarity(x, target, 1)).sum() / 3).reshape(1), z)


def rotary(x, pairs, first):
    """As transformers does it (rotate_half), angles position * 10^-i."""
    heads = x.reshape(*x.shape[:2], -1, 2 * pairs)
    angle = torch.outer(torch.arange(first, first + x.shape[1]), 10.0 ** -torch.arange(pairs))
    angle = torch.cat([angle, angle], 1)[:, None]
    half = torch.cat([-heads[..., pairs:], heads[..., :pairs]], -1)
    return (heads * angle.cos() + half * angle.sin()).reshape(x.shape)


def document_attention(q, k, v):
    """Four heads over two of keys; documents begin at 0, 2, 5 and at 0, 4."""
    document = torch.tensor([[0, 0, 1, 1, 1, 2, 2], [0, 0, 0, 0, 1, 1, 1]])
    mask = (document[:, :, None] == document[:, None, :]) & torch.ones(7, 7, dtype=torch.bool).tril()
    split = lambda x: x.reshape(2, 7, -1, 2).transpose(1, 2)
    y = F.scaled_dot_product_attention(split(q), split(k), split(v), attn_mask=mask[:, None], enable_gqa=True)
    return y.transpose(1, 2).reshape(q.shape)


def added():
    """Behind the others, whose random numbers stay as they are."""
    record("silu", F.silu, random(5, 13, low=-6, high=6))
    record("rms_norm", lambda x, g: F.rms_norm(x, x.shape[-1:], g, 1e-5), random(2, 3, 7), random(7))
    record("swiglu", lambda g, u: F.silu(g) * u, random(5, 13, low=-6, high=6), random(5, 13))
    record("rotary", lambda x: rotary(x, 3, 2), random(2, 5, 12))
    record("attention_documents", document_attention, random(2, 7, 8, low=-3, high=3),
           random(2, 7, 4, low=-3, high=3), random(2, 7, 4))


def main():
    for make in (products, elementwise, shapes, attentions, convolutions, pools_and_norms, losses, added):
        make()
    write("ops.bin")


main()
