#!/usr/bin/env python3
"""Tokenizers beside `tokenizers`, `sentencepiece` and llama.cpp, on a megabyte of mixed text.

usage: text_parity.py PROBE DATA TOKENIZER...        make text-parity TOKENIZERS="…"

PROBE is build/release/text_probe, DATA the folder with text/wikitext2_valid.txt, a TOKENIZER a folder with
tokenizer.json, tokenizer.model, vocab.json or vocab.txt, or a GGUF. The reference is `tokenizers` for
tokenizer.json and vocab.txt, sentencepiece for tokenizer.model, llama.cpp (llama-cpp-python) for GGUF. Every
tokenizer that is read from a folder is also written as tokenizer.json, which `tokenizers` reads. Prints a line for
each; exits 1 when one differs. Packages that are missing are named and their part is skipped.
"""
import glob
import os
import random
import subprocess
import sys
import tempfile
import time
import unicodedata

SPACES = [" ", "  ", "\t", "\n", "\r\n", "\n\n", "\u00a0", "\u3000", "\u2003", "\u2028", "\u200b", "\x0b", "\x0c", "\x85", "   ", "\n \n", "\r", "\ufeff", " \t "]
SCRIPTS = [[(0x410, 0x44F)], [(0x391, 0x3A1), (0x3A3, 0x3C9)], [(0x5D0, 0x5EA)], [(0x621, 0x64A)], [(0x904, 0x939), (0x93E, 0x94C)],
           [(0xE01, 0xE30)], [(0xC0, 0xFF)], [(0x100, 0x17F)], [(0x1E00, 0x1EFF)], [(0x10D0, 0x10F0)], [(0x531, 0x556)],
           [(0x4E00, 0x9FA5)], [(0x3041, 0x3096), (0x30A1, 0x30FA)], [(0xAC00, 0xD7A3)]]  # fmt: skip
EMOJI = [(0x1F600, 0x1F64F), (0x1F300, 0x1F5FF), (0x1F680, 0x1F6C5), (0x2600, 0x26FF)]
JOINED = ["\U0001f469\u200d\U0001f469\u200d\U0001f467", "\U0001f44d\U0001f3fd", "\U0001f1e9\U0001f1ea", "\u2764\ufe0f", "1\ufe0f\u20e3"]
NUMBERS = ["3.14159", "1,000,000", "\u00bd", "\u2167", "\u0663\u0664", "\u096a\u096b", "\u2460", "2\u00b2", "1e-5", "0x7F"]
SHORT = ["I'm", "you'RE", "it'S", "he'd'", "we'll'", "'tis", "o'clock", "'\u017f", "DON'T", "'Ve", "'LL", "l'\u00e9t\u00e9"]
MARKS = "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~\u00ab\u00bb\u2026\u2014\u3001\u3002\uff01\u20ac\u00a3\u00a7\u00b1"
SPECIAL = ["<|endoftext|>", "<|im_start|>", "[MASK]", " <mask> ", "<|eot_id|>", "<0x0A>", "\u2581", "##ing", " \u2581\u2581"]


def mixed(data):
    """A megabyte; the same each time."""
    draw = random.Random(7)
    prose = open(os.path.join(data, "text/wikitext2_valid.txt"), encoding="utf-8").read()
    code = "".join(open(path, encoding="utf-8").read() for path in sorted(glob.glob("src/*/*.c"))[:60])
    words = prose[:200000].split()
    some = lambda blocks, n: "".join(chr(draw.randint(*draw.choice(blocks))) for _ in range(n))
    makers = [lambda: some(draw.choice(SCRIPTS), draw.randint(1, 9)), lambda: some(EMOJI, draw.randint(1, 4)), lambda: draw.choice(JOINED),
              lambda: draw.choice("aeioucAEO\uac00\u1112") + "".join(chr(draw.randint(0x300, 0x345)) for _ in range(draw.randint(1, 3))),
              lambda: draw.choice(NUMBERS), lambda: str(draw.randint(0, 10 ** draw.randint(1, 12))), lambda: draw.choice(SHORT),
              lambda: "".join(draw.choice(MARKS) for _ in range(draw.randint(1, 6))), lambda: draw.choice(SPACES) * draw.randint(1, 5),
              lambda: draw.choice(words)]  # fmt: skip
    out, size = [], 0
    while size < 1_000_000:
        kind, part = draw.random(), ""
        if kind < 0.2:
            source = prose if kind < 0.1 else code
            start = draw.randrange(len(source) - 3000)
            part = source[start : start + draw.randint(200, 2500)]
        else:
            for _ in range(draw.randint(5, 60)):
                part += draw.choice(makers)()
                part += (draw.choice(SPACES) if draw.random() < 0.3 else " ") if draw.random() < 0.6 else ""
                part += draw.choice(SPECIAL) if draw.random() < 0.004 else ""
        out.append(part)
        size += len(part.encode())
    return "".join(out)


def ours(probe, tokenizer, text, folder):
    """(ids, decoded, seconds, folder it was written to) by our program."""
    written = os.path.join(folder, "written")
    os.makedirs(written, exist_ok=True)
    paths = [os.path.join(folder, name) for name in ("text", "ids", "back")]
    with open(paths[0], "wb") as file:
        file.write(text.encode())
    done = subprocess.run([probe, tokenizer, *paths, written], capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{tokenizer}: {done.stderr.strip()}")
    data = open(paths[1], "rb").read()
    return memoryview(data).cast("i").tolist(), open(paths[2], "rb").read().decode(), float(done.stdout), written


def by_tokenizers(path, text):
    from tokenizers import Tokenizer

    t = Tokenizer.from_file(path)
    start = time.time()
    ids = t.encode(text, add_special_tokens=False).ids
    seconds = time.time() - start
    return ids, lambda i: t.decode(i, skip_special_tokens=False), seconds


def by_vocabulary(path, text):
    from tokenizers import BertWordPieceTokenizer

    t = BertWordPieceTokenizer(path)
    start = time.time()
    ids = t.encode(text, add_special_tokens=False).ids
    return ids, None, time.time() - start


def by_sentencepiece(path, text):
    import sentencepiece

    t = sentencepiece.SentencePieceProcessor(model_file=path)
    start = time.time()
    ids = t.encode(text)
    return ids, None, time.time() - start


def by_llama_cpp(path, text):
    from llama_cpp import Llama

    t = Llama(path, vocab_only=True, verbose=False)
    start = time.time()
    ids = t.tokenize(text.encode(), add_bos=False, special=True)
    return ids, None, time.time() - start


def reference(tokenizer):
    """(name, function, file)"""
    if tokenizer.endswith(".gguf"):
        return "llama.cpp", by_llama_cpp, tokenizer
    for name, call, title in (("tokenizer.json", by_tokenizers, "tokenizers"), ("tokenizer.model", by_sentencepiece, "sentencepiece"),
                              ("vocab.txt", by_vocabulary, "tokenizers")):  # fmt: skip
        if os.path.exists(os.path.join(tokenizer, name)):
            return title, call, os.path.join(tokenizer, name)
    return "itself, written", None, None


def compare(probe, tokenizer, text, folder):
    title, call, path = reference(tokenizer)
    if title == "llama.cpp":  # it does not compose characters, nor does it pass a byte 0
        text = unicodedata.normalize("NFC", text)
    if title == "sentencepiece":  # for which control pieces in a text are text
        for piece in ("<s>", "</s>", "<unk>"):
            text = text.replace(piece, "")
    ids, back, seconds, written = ours(probe, tokenizer, text, folder)
    right = True
    report = f"{tokenizer}: {len(ids)} tokens, {len(text.encode()) / seconds / 1e6:.2f} MB/s"
    if call:
        try:
            other, decode, other_seconds = call(path, text)
        except ImportError as missing:
            print(f"{report}; {title} SKIPPED: {missing}")
            return True
        same = other == ids
        report += f"; {title} {'equal' if same else 'DIFFERS'}, {len(text.encode()) / other_seconds / 1e6:.2f} MB/s"
        right &= same
        if decode:
            same = decode(ids) == back
            report += f", decoded {'equal' if same else 'DIFFERS'}"
            right &= same
    if not tokenizer.endswith(".gguf"):
        other, _, _ = by_tokenizers(os.path.join(written, "tokenizer.json"), text)
        report += f"; written, tokenizers {'equal' if other == ids else 'DIFFERS'}"
        right &= other == ids
    print(report, flush=True)
    return right


def main():
    probe, data, tokenizers = sys.argv[1], sys.argv[2], sys.argv[3:]
    if not tokenizers:
        raise SystemExit(__doc__)
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    text = mixed(data)
    right = True
    for tokenizer in tokenizers:
        with tempfile.TemporaryDirectory() as folder:
            right &= compare(probe, tokenizer, text, folder)
    sys.exit(not right)


main()
