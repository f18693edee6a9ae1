#!/usr/bin/env python3
"""bert_parity.py PROBE MODEL: logits of a BERT or DistilBERT folder with a masked-language head, and the gradient of
DistilBERT's triple loss, beside transformers', all in float32. Ends with 1 when something is farther than 1e-4.

    make bert-parity BERT_BASE=FOLDER        needs torch and transformers
"""
import subprocess
import sys
import tempfile

import numpy as np
import torch
from torch.nn import functional as F
from transformers import AutoModelForMaskedLM

B, T = 2, 48
probe, folder = sys.argv[1:3]
torch.manual_seed(5)
model = AutoModelForMaskedLM.from_pretrained(folder, dtype=torch.float32).eval()
width = model.config.hidden_size if hasattr(model.config, "hidden_size") else model.config.dim
ids = torch.randint(1000, model.config.vocab_size, (B, T))
label = torch.where(torch.rand(B, T) < 0.2, ids, torch.full_like(ids, -1))
label[:, 0] = ids[:, 0]
target = torch.randn(B, T, width)
head = model.cls if model.config.model_type == "bert" else (
    lambda x: model.vocab_projector(model.vocab_layer_norm(model.activation(model.vocab_transform(x)))))

with tempfile.TemporaryDirectory() as at:
    with open(f"{at}/in", "wb") as file:
        for part in (np.array([B, T], np.int32), ids.numpy().astype(np.int32), label.numpy().astype(np.int32),
                     target.numpy()):
            file.write(part.tobytes())
    names = subprocess.run([probe, folder, f"{at}/in", f"{at}/out"], check=True, capture_output=True,
                           text=True).stdout.splitlines()
    ours = torch.from_numpy(np.fromfile(f"{at}/out", np.float32))

with torch.no_grad():
    taught = head(target)
out = model(ids, output_hidden_states=True)
states, z = out.hidden_states[-1], out.logits
soft = 4 * F.kl_div(torch.log_softmax(z / 2, -1), torch.log_softmax(taught / 2, -1), log_target=True,
                    reduction="none").sum(-1).mean()
hard = F.cross_entropy(z[label >= 0], label[label >= 0])
cosine = (1 - F.cosine_similarity(states, target, dim=-1)).mean()
loss = 5 * soft + 2 * hard + cosine
loss.backward()

worst = 0.0


def compare(name, theirs, at):
    """Relative distance of what lies at `at`; a key's bias moves nothing, so its gradient is noise."""
    global worst
    mine = ours[at:at + theirs.numel()].double()
    theirs = theirs.detach().reshape(-1).double()
    distance = float((mine - theirs).norm() / theirs.norm().clamp_min(1e-6))
    if not name.endswith(("key.bias", "k_lin.bias")):
        worst = max(worst, distance)
        if distance > 1e-4 or name in ("logits", "loss"):
            print(f"{name}: {distance:.2g}")
    return at + theirs.numel()


at = compare("loss", loss, compare("logits", z, 0))
gradient = {name: p.grad for name, p in model.named_parameters()}
for line in names:
    name, size = line.split()
    p = gradient.get(name)
    if p is None:  # nothing uses it, as BERT's pooler
        at += int(size)
    else:
        at = compare(name, p, at)
print(f"farthest {worst:.2g} of {len(names)} parameters")
sys.exit(worst > 1e-4)
