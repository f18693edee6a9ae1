#!/usr/bin/env python3
"""A decoder beside transformers and llama.cpp.

usage: language_parity.py DISTILL MODEL TEXT... [--parts perplexity,greedy,gguf,types] [--bytes N]
                                                                       (see `make parity-language`)

MODEL is a Hugging Face folder, a TEXT a file of UTF-8, of which the first N bytes are read (0: all).
  perplexity  `distill perplexity` and transformers in float32, contexts of 512 tokens behind one another: equal
              within 0.1 %
  greedy      `distill generate` and transformers' generate, 20 prompts of 48 tokens: the same text
  gguf        `distill convert` to a GGUF of type f16: llama.cpp reads the same ids from the text, and its logits
              are transformers' within what halves round
  types       a GGUF of each of TYPES: llama.cpp reads it, and its perplexity of a context is `distill perplexity`'s
              within 2 % (llama.cpp rounds what is multiplied to 8 bits)
Prints a line for each; exits 1 when one is not so. Without llama-cpp-python its part is skipped, which is said.
"""
import argparse
import math
import os
import re
import subprocess
import sys
import tempfile

import numpy as np
import torch
import transformers

CONTEXT, TOKENS = 512, 48
TYPES = ["q8_0", "q6_K", "q5_K_M", "q5_1", "q5_0", "q4_K_M", "q4_1", "q4_0", "iq4_nl", "iq4_xs", "q3_K_M", "mxfp4", "nvfp4"]
PROMPTS = ["The capital of France is", "Once upon a time", "Water boils at", "def fibonacci(n):", "The sun rises in",
           "She opened the door and", "In 1969, humans first", "To make bread, you need", "The opposite of hot is",
           "My favourite book is", "Photosynthesis is the process", "2 + 2 =", "A triangle has", "Dear Sir or Madam,",
           "The largest ocean on Earth", "Music is", "He looked at the old map", "import numpy as np\n",
           "The quick brown fox", "Why do birds"]
failed = False


def verdict(good, text):
    global failed
    failed = failed or not good
    print(("same: " if good else "DIFFERS: ") + text, flush=True)


def start_of(path, size):
    with open(path, "rb") as file:
        return file.read(size or -1).decode("utf-8", "ignore")


@torch.no_grad()
def perplexity_of(model, ids):
    nats, count = 0.0, 0
    for first in range(0, len(ids) - 1, CONTEXT):
        piece = torch.tensor(ids[first:first + CONTEXT])[None]
        if piece.shape[1] < 2:
            continue
        logits = model(piece).logits[0, :-1].double()
        nats += torch.nn.functional.cross_entropy(logits, piece[0, 1:], reduction="sum").item()
        count += piece.shape[1] - 1
    return math.exp(nats / count), count


def perplexity(a, model, tokenizer, folder):
    for path in a.texts:
        text = start_of(path, a.bytes)
        own = os.path.join(folder, "text.txt")
        with open(own, "w", encoding="utf-8", newline="") as file:
            file.write(text)
        out = subprocess.run([a.program, "perplexity", a.model, own, "--context", str(CONTEXT)], check=True,
                             stdout=subprocess.PIPE, text=True).stdout
        ours, count = float(re.search(r"perplexity ([\d.]+)", out)[1]), int(re.search(r"(\d+) tokens", out)[1])
        theirs, seen = perplexity_of(model, tokenizer(text)["input_ids"])
        verdict(count == seen and abs(ours / theirs - 1) < 1e-3,
                f"perplexity of {os.path.basename(path)}, {len(text.encode())} bytes: distill {ours:.3f} over {count} "
                f"tokens, transformers {theirs:.3f} over {seen}")


@torch.no_grad()
def greedy(a, model, tokenizer, folder):
    same = 0
    for prompt in PROMPTS:
        ids = tokenizer(prompt, return_tensors="pt")
        whole = model.generate(**ids, max_new_tokens=TOKENS, do_sample=False, pad_token_id=0)
        theirs = prompt + tokenizer.decode(whole[0, ids["input_ids"].shape[1]:], skip_special_tokens=True) + "\n"
        ours = subprocess.run([a.program, "generate", a.model, prompt, "--tokens", str(TOKENS)], check=True,
                              stdout=subprocess.PIPE, stderr=subprocess.DEVNULL).stdout.decode()
        same += ours == theirs
        if ours != theirs:
            print(f"  {prompt!r}: distill {ours[len(prompt):]!r}, transformers {theirs[len(prompt):]!r}")
    verdict(same == len(PROMPTS), f"greedy text of {same} of {len(PROMPTS)} prompts")


def llama_library(part):
    """llama-cpp-python, or None: then it is said that a part is skipped."""
    try:
        import llama_cpp
        return llama_cpp
    except ImportError:
        print(f"skipped: {part}, there is no llama-cpp-python")
        return None


@torch.no_grad()
def gguf(a, model, tokenizer, folder):
    llama_cpp = llama_library("gguf")
    if not llama_cpp:
        return
    path = os.path.join(folder, "model.f16.gguf")
    subprocess.run([a.program, "convert", a.model, path, "--type", "f16"], check=True, stdout=subprocess.DEVNULL)
    llm = llama_cpp.Llama(path, n_ctx=CONTEXT, n_batch=CONTEXT, logits_all=True, verbose=False)
    for text_path in a.texts:
        text = start_of(text_path, a.bytes or 200000)
        theirs, ours = llm.tokenize(text.encode(), add_bos=False, special=True), tokenizer(text)["input_ids"]
        verdict(theirs == ours, f"{len(ours)} ids of {os.path.basename(text_path)} in llama.cpp")
        llm.reset()
        llm.eval(ours[:CONTEXT])
        found = np.array(llm.scores[:CONTEXT])
        right = model(torch.tensor(ours[:CONTEXT])[None]).logits[0].numpy()
        off = np.sqrt(((found - right) ** 2).mean() / right.var())
        best = (found.argmax(-1) == right.argmax(-1)).mean()
        verdict(off < 5e-3, f"logits of the f16 GGUF in llama.cpp, {CONTEXT} tokens of {os.path.basename(text_path)}: "
                f"relative error {off:.2e}, the likeliest token the same at {100 * best:.1f} %")


def types(a, model, tokenizer, folder):
    llama_cpp = llama_library("types")
    if not llama_cpp:
        return
    text = start_of(a.texts[0], 16000)
    ids = tokenizer(text)["input_ids"][:CONTEXT]
    own = os.path.join(folder, "context.txt")
    with open(own, "w", encoding="utf-8", newline="") as file:
        file.write(tokenizer.decode(ids))
    for kind in TYPES:
        path = os.path.join(folder, f"model.{kind}.gguf")
        subprocess.run([a.program, "convert", a.model, path, "--type", kind], check=True, stdout=subprocess.DEVNULL)
        out = subprocess.run([a.program, "perplexity", path, own, "--context", str(CONTEXT)], check=True,
                             stdout=subprocess.PIPE, text=True).stdout
        ours = float(re.search(r"perplexity ([\d.]+)", out)[1])
        llm = llama_cpp.Llama(path, n_ctx=CONTEXT, n_batch=CONTEXT, logits_all=True, verbose=False)
        llm.eval(ids)
        logits = torch.tensor(np.array(llm.scores[:len(ids) - 1])).double()
        theirs = math.exp(torch.nn.functional.cross_entropy(logits, torch.tensor(ids[1:])).item())
        llm.close()
        verdict(abs(ours / theirs - 1) < 0.02, f"{kind} ({os.path.getsize(path) / 1e6:.1f} MB), perplexity of {len(ids)} "
                f"tokens: distill {ours:.3f}, llama.cpp {theirs:.3f}")
        os.unlink(path)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("program")
    parser.add_argument("model")
    parser.add_argument("texts", nargs="+")
    parser.add_argument("--parts", default="perplexity,greedy,gguf,types")
    parser.add_argument("--bytes", type=int, default=0)
    a = parser.parse_args()
    tokenizer = transformers.AutoTokenizer.from_pretrained(a.model)
    model = transformers.AutoModelForCausalLM.from_pretrained(a.model, dtype=torch.float32).eval()
    print(f"torch {torch.__version__}, transformers {transformers.__version__}")
    with tempfile.TemporaryDirectory() as folder:
        for part in a.parts.split(","):
            {"perplexity": perplexity, "greedy": greedy, "gguf": gguf, "types": types}[part](a, model, tokenizer, folder)
    sys.exit(failed)


if __name__ == "__main__":
    main()
