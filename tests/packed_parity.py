#!/usr/bin/env python3
"""Packed folders beside transformers, compressed-tensors and numpy.

usage: packed_parity.py DISTILL MODEL TEXT [LAYOUT:TYPE ...]        make packed-parity MODEL=… TEXT=…

MODEL is a Hugging Face folder of a language model, TEXT a file whose first 256 tokens are read. For every layout and
type, `distill convert` packs the model, and unpacks it again into float32, which is compared bit for bit with what
numpy decodes here by the layout's rules and, where the layout is one of theirs, with what transformers with
compressed-tensors loads. Then the logits of transformers over both folders, and beside the float model's: perplexity,
and KL(float || packed). Exits 1 when weights differ, or logits by more than 1e-4 (0.1 where theirs are halves).
"""
import json
import os
import shutil
import subprocess
import sys
import tempfile

import ml_dtypes
import numpy as np
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer
from transformers.utils.quantization_config import CompressedTensorsConfig

TOKENS = 256
HALVES = ("q4_0", "q8_0")  # transformers multiplies whole numbers and scales in the scales' type, float16
ALL = ["compressed-tensors:nvfp4", "compressed-tensors:mxfp4", "compressed-tensors:f8_e4m3", "compressed-tensors:f8_e4m3_tensor",
       "compressed-tensors:q4_0", "compressed-tensors:q8_0", "compressed-tensors:int8", "modelopt:nvfp4", "modelopt:f8_e4m3",
       "plain:f8_e5m2"]  # fmt: skip
E2M1 = np.array([0, 0.5, 1, 1.5, 2, 3, 4, 6, 0, -0.5, -1, -1.5, -2, -3, -4, -6], np.float32)


def tensors(folder):
    """Every tensor of model.safetensors as numpy, 8-bit floats as ml_dtypes has them."""
    kinds = {"F32": np.float32, "F16": np.float16, "BF16": ml_dtypes.bfloat16, "U8": np.uint8, "I32": np.int32, "I64": np.int64,
             "F8_E4M3": ml_dtypes.float8_e4m3fn, "F8_E5M2": ml_dtypes.float8_e5m2}  # fmt: skip
    data = open(os.path.join(folder, "model.safetensors"), "rb").read()
    end = 8 + int.from_bytes(data[:8], "little")
    out = {}
    for name, e in json.loads(data[8:end]).items():
        if name != "__metadata__":
            a, b = e["data_offsets"]
            out[name] = np.frombuffer(data[end + a : end + b], kinds[e["dtype"]]).reshape(e["shape"])
    return out


def nibbles(x):
    x = np.ascontiguousarray(x).view(np.uint8)
    return np.stack([x & 15, x >> 4], axis=-1).reshape(x.shape[0], -1)


def decode(t, layer, layout, kind):
    """The matrix of a layer, by the layout's rules."""
    f = np.float32
    if kind == "f8_e5m2":
        return t[layer + ".weight"].astype(f)
    scale = t[layer + ".weight_scale"]
    codes = t.get(layer + ".weight_packed", t.get(layer + ".weight"))
    if kind.startswith("f8"):
        return codes.astype(f) * scale.astype(f).reshape(-1, 1)
    if kind == "nvfp4":
        whole = t[layer + ".weight_scale_2"].item() if layout == "modelopt" else 1 / t[layer + ".weight_global_scale"].item()
        return E2M1[nibbles(codes)] * np.repeat(scale.astype(f), 16, axis=1) * f(whole)
    if kind == "mxfp4":
        return E2M1[nibbles(codes)] * np.repeat(np.exp2(scale.astype(f) - 127), 32, axis=1)
    bytes_ = np.ascontiguousarray(codes).view(np.uint8)
    q = nibbles(codes).astype(f) - 8 if kind == "q4_0" else bytes_.astype(f) - 128
    return q * np.repeat(scale.astype(f), q.shape[1] // scale.shape[1], axis=1)


def load(folder):
    with open(os.path.join(folder, "config.json"), encoding="utf-8") as file:
        method = json.load(file).get("quantization_config", {}).get("quant_method")
    if method == "modelopt":
        return None
    how = {"quantization_config": CompressedTensorsConfig(run_compressed=False)} if method else {}
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, **how).eval()


def logits(model, ids):
    with torch.no_grad():
        return torch.log_softmax(model(ids).logits[0, :-1].double(), -1)


def main(distill, model, text, cases):
    bad = 0
    tokenizer = AutoTokenizer.from_pretrained(model)
    ids = tokenizer(open(text, encoding="utf-8").read(), return_tensors="pt").input_ids[:, :TOKENS]
    float_model = load(model)
    true = logits(float_model, ids)
    next_ids = ids[0, 1:]
    perplexity = lambda p: float(torch.exp(-p.gather(1, next_ids[:, None]).mean()))
    print(f"float: perplexity {perplexity(true):.3f} of {len(next_ids)} tokens")
    work = tempfile.mkdtemp()
    for case in cases:
        layout, kind = case.split(":")
        packed, back = os.path.join(work, "packed"), os.path.join(work, "back")
        subprocess.run([distill, "convert", model, packed, "--type", kind, "--layout", layout], check=True, stdout=subprocess.DEVNULL)
        subprocess.run([distill, "convert", packed, back], check=True, stdout=subprocess.DEVNULL)
        theirs, ours = tensors(packed), tensors(back)
        layers = [n[: -len(".weight")] for n in ours if n.endswith("_proj.weight")]
        wrong = sum(int((decode(theirs, n, layout, kind) != ours[n + ".weight"]).sum()) for n in layers)
        line = f"{case}: {len(layers)} matrices, {os.path.getsize(os.path.join(packed, 'model.safetensors'))} bytes; numpy: {wrong} numbers differ"
        mine = load(back)
        p = logits(mine, ids)
        other = load(packed)
        if other is not None:
            q = logits(other, ids)  # unpacks on the first call
            state = other.state_dict()
            as_theirs = lambda w: w.astype(np.float16).astype(np.float32) if kind in HALVES else w
            differ = sum(int((state[n + ".weight"].float().numpy() != as_theirs(ours[n + ".weight"])).sum()) for n in layers)
            apart = float((p - q).abs().max())
            halves = " from ours in halves" if kind in HALVES else ""
            line += f"; transformers: {differ} differ{halves}, logits by at most {apart:.1e}"
            bad += differ > 0 or apart > (0.1 if kind in HALVES else 1e-4)
        bad += wrong > 0
        kl = (true.exp() * (true - p)).sum(-1)
        print(f"{line}; perplexity {perplexity(p):.3f}, KL {float(kl.mean()):.4f} (median {float(kl.median()):.4f}, 99 % {float(kl.quantile(0.99)):.4f})", flush=True)
        shutil.rmtree(packed)
        shutil.rmtree(back)
    os.rmdir(work)
    return 1 if bad else 0


if __name__ == "__main__":
    if len(sys.argv) < 4:
        sys.exit(__doc__)
    sys.exit(main(*sys.argv[1:4], sys.argv[4:] or ALL))
