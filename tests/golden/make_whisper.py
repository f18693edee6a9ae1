#!/usr/bin/env python3
"""Writes whisper.bin, a tiny random model in whisper.cpp's format, and whisper_out.bin, what Hugging Face
transformers computes with it.

    python3 tests/golden/make_whisper.py        needs torch and transformers; the files are checked in

whisper_out.bin is a sequence of records {char name[48]; int64 n; float32 value[n]}.
"""
import os
import struct
import sys

import numpy as np
import torch

FOLDER = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.dirname(FOLDER))
import whisper_bin

END = 256  # bytes are the tokens; one language
HEADER = [END + 1510, 12, 8, 2, 2, 16, 8, 4, 1, 8, 0]
TAU, W_HARD, W_KL = 2.0, 0.8, 1.0
records = []


def put(name, value):
    value = np.asarray(value, dtype=np.float32).ravel()
    records.append(struct.pack("<48sq", name.encode(), value.size) + value.tobytes())


def model_and_outputs():
    torch.manual_seed(4)
    model = whisper_bin.build(HEADER)
    with torch.no_grad():
        for name, p in model.named_parameters():
            if "embed_positions" not in name or "decoder" in name:
                p.copy_(torch.randn_like(p) * (0.3 if p.ndim > 1 else 0.1) + (1.0 if "norm.weight" in name else 0.0))
    arrays = whisper_bin.arrays_of(model, HEADER[4], HEADER[8])
    filters = np.random.default_rng(1).random((HEADER[9], 3), dtype=np.float32)
    whisper_bin.write_bin(os.path.join(FOLDER, "whisper.bin"), HEADER, filters, [bytes([i]) for i in range(END)],
                          arrays)
    mel = torch.randn(2, HEADER[9], 2 * HEADER[1])
    ids = torch.randint(0, HEADER[0], (2, 6))
    labels = torch.randint(0, HEADER[0], (2, 6))
    labels[1, 4:] = -100
    encoded = model.model.encoder(mel).last_hidden_state
    logits = model(input_features=mel, decoder_input_ids=ids).logits
    put("mel", mel.transpose(1, 2))
    put("ids", ids)
    put("labels", labels)
    put("encoded", encoded.detach())
    put("logits", logits.detach()[:, -1, ::7])
    return mel, ids, labels, model


def kd_gradient(mel, ids, labels, model):
    """The teacher's logits are 4·sin(0.37·i) over the flat index i, in double, rounded to float32."""
    i = np.arange(2 * 6 * HEADER[0], dtype=np.float64)
    teacher = torch.from_numpy((4 * np.sin(0.37 * i)).astype(np.float32)).reshape(2, 6, HEADER[0])
    model.zero_grad()
    logits = model(input_features=mel, decoder_input_ids=ids).logits
    valid = labels.ge(0)
    n = valid.sum()
    hard = torch.nn.functional.cross_entropy(logits[valid], labels[valid], reduction="sum") / n
    p = torch.softmax(teacher[valid] / TAU, -1)
    soft = (p * (torch.log(p) - torch.log_softmax(logits[valid] / TAU, -1))).sum() / n * TAU ** 2
    loss = W_HARD * hard + W_KL * soft
    loss.backward()
    put("loss", [loss.item()])
    state = dict(model.named_parameters())
    for name in whisper_bin.openai_names(HEADER[4], HEADER[8]):
        if "token_embedding" in name or name == "encoder.positional_embedding":
            continue
        put("grad." + name, state[whisper_bin.hugging_face_name(name)].grad)
    put("grad.tokens", state["model.decoder.embed_tokens.weight"].grad[::13])


mel, ids, labels, model = model_and_outputs()
kd_gradient(mel, ids, labels, model)
with open(os.path.join(FOLDER, "whisper_out.bin"), "wb") as out:
    out.write(b"".join(records))
