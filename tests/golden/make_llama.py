#!/usr/bin/env python3
"""Writes llama/<variant>/, tiny random decoders as transformers saves them, and llama.bin, what it computes
with them in float64: logits, and loss and gradient of distillation.

    python3 tests/golden/make_llama.py        needs torch and transformers; the files are checked in
"""
import json
import os
import shutil

import torch
from transformers import (LlamaConfig, LlamaForCausalLM, Qwen2Config, Qwen2ForCausalLM, Qwen3Config,
                          Qwen3ForCausalLM)

from golden_file import put, write

FOLDER = os.path.join(os.path.dirname(os.path.abspath(__file__)), "llama")
SIZES = dict(vocab_size=48, hidden_size=16, intermediate_size=20, num_hidden_layers=2, num_attention_heads=4,
             num_key_value_heads=2, max_position_embeddings=32, bos_token_id=1, eos_token_id=2)
TAU, W_HARD, W_KL = 2.0, 0.8, 1.0


def rope(kind, **keys):
    return dict(rope_theta=100.0, rope_scaling=dict(rope_type=kind, **keys))


VARIANTS = {
    "tied": (LlamaForCausalLM, LlamaConfig(**SIZES | dict(num_key_value_heads=1), tie_word_embeddings=True,
                                           rope_theta=1000.0)),
    "linear": (LlamaForCausalLM, LlamaConfig(**SIZES, **rope("linear", factor=3.0))),
    "llama3": (LlamaForCausalLM, LlamaConfig(**SIZES | dict(num_attention_heads=2), **rope(
        "llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0, original_max_position_embeddings=16))),
    "yarn": (LlamaForCausalLM, LlamaConfig(**SIZES | dict(num_attention_heads=2), **rope(
        "yarn", factor=4.0, original_max_position_embeddings=8, beta_fast=2.0, beta_slow=0.5))),
    "qwen2": (Qwen2ForCausalLM, Qwen2Config(**SIZES, tie_word_embeddings=True)),
    "qwen3": (Qwen3ForCausalLM, Qwen3Config(**SIZES, head_dim=6)),
}


def make(name, kind, config):
    model = kind(config)
    with torch.no_grad():
        for parameter, p in model.named_parameters():
            p.copy_(torch.randn_like(p) * 0.3 + (1.0 if "norm" in parameter else 0.0))
    out = os.path.join(FOLDER, name)
    shutil.rmtree(out, ignore_errors=True)
    model.save_pretrained(out)
    model = model.double()
    ids = torch.randint(0, 48, (2, 12))
    logits = model(ids).logits
    put(f"{name}.ids", ids)
    put(f"{name}.logits", logits)
    distill(name, model, ids, logits)


def distill(name, model, ids, logits):
    """Each token but a row's first is foretold; the teacher's hidden states and output matrix are random."""
    hidden, output = torch.randn(2, 12, 5).float().double(), torch.randn(48, 5).float().double()
    teacher = hidden @ output.T
    label = ids[:, 1:].reshape(-1)
    z, v = logits[:, :-1].reshape(-1, 48), teacher[:, :-1].reshape(-1, 48)
    hard = torch.nn.functional.cross_entropy(z, label)
    soft = torch.nn.functional.kl_div(torch.log_softmax(z / TAU, 1), torch.log_softmax(v / TAU, 1), log_target=True,
                                      reduction="batchmean")
    loss = W_HARD * hard + W_KL * TAU ** 2 * soft
    loss.backward()
    put(f"{name}.hidden", hidden)
    put(f"{name}.output", output)
    put(f"{name}.loss", loss)
    for parameter, p in model.named_parameters():
        if "layers.0." in parameter or "layers" not in parameter:
            put(f"{name}.{parameter.replace('model.', '').replace('layers.0.', '0.')}", p.grad)


torch.manual_seed(7)
for variant, (kind, config) in VARIANTS.items():
    make(variant, kind, config)
write("llama.bin")
