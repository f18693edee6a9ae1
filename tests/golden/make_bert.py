#!/usr/bin/env python3
"""Writes bert/<variant>/, tiny random encoders as transformers saves them, and bert.bin, what it computes with
them in float64: logits, hidden states, and loss and gradient of DistilBERT's triple loss and of classes.

    python3 tests/golden/make_bert.py        needs torch and transformers; the files are checked in
"""
import os
import shutil

import torch
from torch.nn import functional as F
from transformers import (BertConfig, BertForMaskedLM, BertForPreTraining, BertForSequenceClassification,
                          DistilBertConfig, DistilBertForMaskedLM, DistilBertForSequenceClassification)

from golden_file import put, write

FOLDER = os.path.join(os.path.dirname(os.path.abspath(__file__)), "bert")
B, T, V, C, WIDTH, CLASSES = 2, 9, 40, 16, 5, 3
TAU, W_KL, W_HARD, W_COSINE = 2.0, 5.0, 2.0, 1.0
BERT = dict(vocab_size=V, hidden_size=C, intermediate_size=20, num_hidden_layers=2, num_attention_heads=4,
            max_position_embeddings=12, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)
DISTIL = dict(vocab_size=V, dim=C, hidden_dim=20, n_layers=2, n_heads=2, max_position_embeddings=12, dropout=0.0,
              attention_dropout=0.0, seq_classif_dropout=0.0)

VARIANTS = {
    "bert": (BertForMaskedLM, BertConfig(**BERT)),
    "pretraining": (BertForPreTraining, BertConfig(**BERT | dict(layer_norm_eps=1e-6))),
    "distilbert": (DistilBertForMaskedLM, DistilBertConfig(**DISTIL)),
    "bert_classes": (BertForSequenceClassification, BertConfig(**BERT, num_labels=CLASSES)),
    "distilbert_classes": (DistilBertForSequenceClassification, DistilBertConfig(**DISTIL, num_labels=CLASSES)),
}


def grads(name, model):
    for parameter, p in model.named_parameters():
        if ("layer." not in parameter or "layer.0." in parameter) and p.grad is not None:
            put(f"{name}.{parameter[-28:]}", p.grad)


def masked(name, model, ids):
    """Rows are of two lengths; the last of the shorter's tokens are another document, seen by nobody."""
    base = getattr(model, model.base_model_prefix)
    length = torch.tensor([T, T - 3])
    seen = (torch.arange(T)[None] < length[:, None]).long()
    out = model(input_ids=ids, attention_mask=seen)
    logits = out.logits if hasattr(out, "logits") else out.prediction_logits
    states = base(input_ids=ids, attention_mask=seen).last_hidden_state
    hidden, output = torch.randn(B, T, WIDTH).float().double(), torch.randn(V, WIDTH).float().double()
    bias, target = torch.randn(V).float().double(), torch.randn(B, T, C).float().double()
    label = torch.randint(0, V, (B, T))
    chosen = (torch.rand(B, T) < 0.4) & (seen == 1)
    chosen[:, 1] = True
    z, v = logits[seen == 1], (hidden @ output.T + bias)[seen == 1]
    soft = F.kl_div(torch.log_softmax(z / TAU, 1), torch.log_softmax(v / TAU, 1), log_target=True,
                    reduction="batchmean") * TAU ** 2
    hard = F.cross_entropy(logits[chosen], label[chosen])
    cosine = (1 - F.cosine_similarity(states[seen == 1], target[seen == 1], dim=-1)).mean()
    loss = W_KL * soft + W_HARD * hard + W_COSINE * cosine
    loss.backward()
    for what, value in dict(logits=logits, states=states, hidden=hidden, output=output, bias=bias, target=target,
                            label=label, chosen=chosen.long(), loss=loss).items():
        put(f"{name}.{what}", value)


def classes(name, model, ids):
    logits = model(input_ids=ids).logits
    loss = F.cross_entropy(logits, torch.tensor([2, 0]))
    loss.backward()
    put(f"{name}.logits", logits)
    put(f"{name}.loss", loss)


def make(name, kind, config):
    model = kind(config)
    with torch.no_grad():
        for parameter, p in model.named_parameters():
            norm = parameter.lower().endswith("norm.weight")
            p.copy_(torch.randn_like(p) * 0.3 + (1.0 if norm else 0.0))
    out = os.path.join(FOLDER, name)
    shutil.rmtree(out, ignore_errors=True)
    model.save_pretrained(out)
    model = model.double()
    ids = torch.randint(1, V, (B, T))  # 0 pads: its row of the embedding learns nothing there
    put(f"{name}.ids", ids)
    (classes if "classes" in name else masked)(name, model, ids)
    grads(name, model)


torch.manual_seed(11)
for variant, (kind, config) in VARIANTS.items():
    make(variant, kind, config)
write("bert.bin")
