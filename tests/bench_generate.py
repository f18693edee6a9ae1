#!/usr/bin/env python3
"""Generation beside llama.cpp (llama-cpp-python), in one run: the programs take turns, medians are compared.

usage: bench_generate.py DISTILL MODEL [--types q8_0,q4_K_M] [--rounds 5] [--prompt 512] [--tokens 64]
                                                                       (see `make bench-generate`)

MODEL is a language model that `distill convert` reads; its GGUFs are written to a temporary folder, and both
programs read the same file. The prompt is English text of as many tokens; behind it tokens are generated one by
one, each the likeliest. What loading the file takes is not counted in either.
"""
import argparse
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time

from bench_side import in_child, threads

TEXT = """It was the best of times, it was the worst of times, it was the age of wisdom, it was the age of
foolishness, it was the epoch of belief, it was the epoch of incredulity, it was the season of Light, it was the
season of Darkness, it was the spring of hope, it was the winter of despair. """


def prompt_of(llm, tokens):
    """Ids, and a text that has as many."""
    ids = llm.tokenize((TEXT * (tokens // 40 + 1)).encode(), add_bos=False)[:tokens]
    return ids, llm.detokenize(ids).decode("utf-8", "ignore")


def child(path, prompt, tokens):
    """Prints llama.cpp's tokens a second, of the prompt and behind it."""
    import llama_cpp
    import numpy as np
    llm = llama_cpp.Llama(path, n_ctx=prompt + tokens + 8, n_batch=512, n_threads=threads(),
                          n_threads_batch=threads(), verbose=False)
    ids, _ = prompt_of(llm, prompt)
    llm.eval(ids[:8])
    llm.reset()
    began = time.perf_counter()
    llm.eval(ids)
    heard = time.perf_counter()
    for _ in range(tokens):
        logits = llama_cpp.llama_get_logits_ith(llm.ctx, -1)
        best = int(np.argmax(np.ctypeslib.as_array(logits, shape=(llm.n_vocab(),))))
        llm.eval([best])
    done = time.perf_counter()
    print(len(ids) / (heard - began), tokens / (done - heard), llama_cpp.__version__)


def text_child(path, prompt):
    import llama_cpp
    llm = llama_cpp.Llama(path, vocab_only=True, verbose=False)
    sys.stdout.write(prompt_of(llm, prompt)[1])


def distill(program, path, text, tokens):
    made = subprocess.run([program, "generate", path, "-", "--tokens", str(tokens)], input=text, text=True,
                          capture_output=True, check=True)
    found = re.search(r"prompt: (\d+) tokens, ([\d.]+) tokens/s; generated: (\d+) tokens, ([\d.]+)", made.stderr)
    return int(found[1]), float(found[2]), int(found[3]), float(found[4])


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("program")
    parser.add_argument("model")
    parser.add_argument("--types", default="q8_0,q4_K_M")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--prompt", type=int, default=512)
    parser.add_argument("--tokens", type=int, default=64)
    a = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        for kind in a.types.split(","):
            path = os.path.join(folder, kind + ".gguf")
            subprocess.run([a.program, "convert", a.model, path, "--type", kind], check=True, stdout=subprocess.DEVNULL)
            text = subprocess.run([sys.executable, sys.argv[0], "--text-child", path, str(a.prompt)], check=True,
                                  stdout=subprocess.PIPE, text=True).stdout
            ours, theirs = [], []
            for _ in range(a.rounds):
                count, prompt, generated, token = distill(a.program, path, text, a.tokens)
                ours.append((prompt, token))
                *rates, version = in_child(path, a.prompt, a.tokens)
                theirs.append([float(rate) for rate in rates])
            print(f"{kind}: {os.path.getsize(path) / 1e6:.0f} MB, {threads()} threads, medians of {a.rounds}; "
                  f"distill: {count} + {generated} tokens; llama-cpp-python {version}")
            for i, what in enumerate(("prompt", "tokens behind it")):
                mine, other = (statistics.median(r[i] for r in rates) for rates in (ours, theirs))
                turns = statistics.median(m[i] / t[i] for m, t in zip(ours, theirs))
                print(f"  {what:17} distill {mine:7.1f} tokens/s, llama.cpp {other:7.1f}; "
                      f"in turns {turns:.2f} x")


if __name__ == "__main__":
    if "--child" in sys.argv:
        at = sys.argv.index("--child")
        child(sys.argv[at + 1], *map(int, sys.argv[at + 2:at + 4]))
    elif "--text-child" in sys.argv:
        at = sys.argv.index("--text-child")
        text_child(sys.argv[at + 1], int(sys.argv[at + 2]))
    else:
        main()
