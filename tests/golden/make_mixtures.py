#!/usr/bin/env python3
"""Writes mixtures.txt: which type llama.cpp's own quantizer gives each matrix of a LLaMA model, for its mixtures, numbers
of layers, and with the output matrix apart or tied to the embedding.

    python3 tests/golden/make_mixtures.py        needs numpy, gguf and llama-cpp-python; the file is checked in

A line: mixture, layers, "tied" or "apart", role, then the type of each layer, or the one there is.
"""
import os
import tempfile

import gguf
import llama_cpp
import numpy as np

FOLDER = os.path.dirname(os.path.abspath(__file__))
MIXTURES = {"q3_K_S": 11, "q3_K_M": 12, "q3_K_L": 13, "q4_K_S": 14, "q4_K_M": 15, "q5_K_S": 16, "q5_K_M": 17}
LAYERS = [1, 2, 5, 8, 12, 16, 30, 33]
ROLES = {"embedding": "token_embd", "output": "output", "value": "attn_v", "out": "attn_output", "down": "ffn_down",
         "key": "attn_k", "up": "ffn_up"}
WIDTH = 256


def write_model(path, layers, tied):
    w = gguf.GGUFWriter(path, "llama")
    w.add_block_count(layers)
    w.add_context_length(64)
    w.add_embedding_length(WIDTH)
    w.add_feed_forward_length(WIDTH)
    w.add_head_count(4)
    w.add_head_count_kv(4)
    w.add_layer_norm_rms_eps(1e-5)
    w.add_vocab_size(32)
    rng = np.random.default_rng(1)
    matrix = rng.standard_normal((WIDTH, WIDTH)).astype(np.float32)
    w.add_tensor("token_embd.weight", matrix[:32])
    w.add_tensor("output_norm.weight", matrix[0])
    if not tied:
        w.add_tensor("output.weight", matrix[:32])
    for i in range(layers):
        for name in ("attn_norm", "ffn_norm"):
            w.add_tensor(f"blk.{i}.{name}.weight", matrix[0])
        for name in ("attn_q", "attn_k", "attn_v", "attn_output", "ffn_up", "ffn_gate", "ffn_down"):
            w.add_tensor(f"blk.{i}.{name}.weight", matrix)
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()


def types_of(path):
    return {t.name: t.tensor_type.name.lower().replace("_k", "_K") for t in gguf.GGUFReader(path).tensors}


def quantize(source, target, number):
    params = llama_cpp.llama_model_quantize_default_params()
    params.ftype = number
    params.nthread = 1
    assert llama_cpp.llama_model_quantize(source.encode(), target.encode(), params) == 0


lines = []
with tempfile.TemporaryDirectory() as work:
    source, target = os.path.join(work, "in.gguf"), os.path.join(work, "out.gguf")
    for layers in LAYERS:
        for tied in (False, True):
            write_model(source, layers, tied)
            for mixture, number in MIXTURES.items():
                quantize(source, target, number)
                types = types_of(target)
                for role, name in ROLES.items():
                    own = [types[n] for n in [name + ".weight"] + [f"blk.{i}.{name}.weight" for i in range(layers)]
                           if n in types]
                    if own:
                        lines.append(" ".join([mixture, str(layers), "tied" if tied else "apart", role] + own))
with open(os.path.join(FOLDER, "mixtures.txt"), "w") as file:
    file.write("\n".join(lines) + "\n")
