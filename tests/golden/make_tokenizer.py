#!/usr/bin/env python3
"""Golden tokens, from tiktoken; and a small tokenizer, so that they can be checked without Whisper's.

usage: make_tokenizer.py FOLDER_WITH_TIKTOKEN_FILES        run in tests/golden; needs tiktoken

Writes tokenizer.tiktoken and the Hugging Face folders tokenizer_hf, tokenizer_json (all three the
first 512 tokens of GPT-2, which are a vocabulary of their own), and tokenizer.bin, little-endian: for
each text u32 length, the text in UTF-8, then for the small, the English and the multilingual
vocabulary u32 count, i32 ids[count].
"""
import base64
import json
import os
import struct
import sys

import tiktoken

SPLIT = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
SMALL = 512
TEXTS = [
    "",
    " ",
    "Hello world",
    " And so, my fellow Americans: ask not what your country can do for you.",
    "I'm sure they've said we'll go; he'd rather not. It's o'clock 'tis 'S 'LL 're're ''s",
    "  two spaces,\ttab\n\nnewlines \r\n end   ",
    "\n \n  x\u00a0\u00a0y\u3000z\u2003\u2028w\u0085v\x1c\x1d q",
    "3.14159 and 1,000,000; ½ ² Ⅷ ٣٤ ४५ ① 一 1st 2nd",
    "naïve café, Ångström, e\u0301te\u0301, ﬁnal, ß ẞ, İstanbul",
    "Привет, мир! Как дела?",
    "你好，世界。今天天气很好。",
    "こんにちは世界、テスト「かぎ」『二重』",
    "안녕하세요 세계 \u1112\u1161\u11ab",
    "مرحبا بالعالم שלום עולם नमस्ते दुनिया สวัสดีชาวโลก",
    "😀👍🏽 👩‍👩‍👧 🇩🇪 ♪♫ ♯♭",
    "if (x<=0) { return -1; } /* --- */ a[i]+=b[j]; #include <x.h>",
    "<|endoftext|><|startoftranscript|> <|0.00|> [BLANK_AUDIO] (music)",
    "\x00\x01\x7f\ufeff\u200b\u200d\ufffd\U0010ffff",
    "a" * 300,
    " " * 90 + "-" * 75 + "=" * 20,
    "abababababababab ababab'ababababab",
    "antidisestablishmentarianism pneumonoultramicroscopicsilicovolcanoconiosis",
    "THE QUICK BROWN FOX jumps OVER the lazy dOg",
]


def ranks(path):
    with open(path, "rb") as file:
        return {base64.b64decode(token): int(rank) for token, rank in map(bytes.split, file)}


def alphabet():
    """GPT-2's way to write bytes as characters."""
    plain = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [b for b in range(256) if b not in plain]
    return {b: chr(b) for b in plain} | {b: chr(256 + i) for i, b in enumerate(others)}


def split_token(token, rank):
    """The two tokens whose merge makes this one."""
    parts = [bytes([b]) for b in token]
    while len(parts) > 2:
        pairs = [rank.get(a + b, 1 << 30) for a, b in zip(parts, parts[1:])]
        i = pairs.index(min(pairs))
        parts[i : i + 2] = [parts[i] + parts[i + 1]]
    return parts


def write_hugging_face(rank):
    letter = alphabet()
    written = {t: "".join(letter[b] for b in t) for t in rank}
    vocab = {written[t]: i for t, i in rank.items()} | {"<|endoftext|>": SMALL}
    merges = [[written[p] for p in split_token(t, rank)] for t in rank if len(t) > 1]
    special = {"<|startoftranscript|>": SMALL + 1, "<|en|>": SMALL + 2, "<|su|>": SMALL + 100,
               "<|translate|>": SMALL + 101, "<|notimestamps|>": SMALL + 106, "<|0.00|>": SMALL + 107,
               "<|30.00|>": SMALL + 1607}  # fmt: skip
    os.makedirs("tokenizer_hf", exist_ok=True)
    os.makedirs("tokenizer_json", exist_ok=True)
    with open("tokenizer_hf/vocab.json", "w") as file:
        json.dump(vocab, file, ensure_ascii=False, separators=(",", ":"))
    with open("tokenizer_hf/merges.txt", "w") as file:
        file.write("#version: 0.2\n" + "".join(" ".join(m) + "\n" for m in merges))
    with open("tokenizer_hf/added_tokens.json", "w") as file:
        json.dump(special, file)
    added = [{"id": i, "content": t, "special": True} for t, i in special.items()]
    model = {"type": "BPE", "vocab": vocab, "merges": merges}
    with open("tokenizer_json/tokenizer.json", "w") as file:
        json.dump({"added_tokens": added, "model": model}, file, separators=(",", ":"))


def main():
    english = ranks(os.path.join(sys.argv[1], "gpt2.tiktoken"))
    small = {t: i for t, i in english.items() if i < SMALL}
    multilingual = ranks(os.path.join(sys.argv[1], "multilingual.tiktoken"))
    with open("tokenizer.tiktoken", "wb") as file:
        for token, rank in small.items():
            file.write(base64.b64encode(token) + b" %d\n" % rank)
    write_hugging_face(small)
    encodings = [
        tiktoken.Encoding("x", pat_str=SPLIT, mergeable_ranks=r, special_tokens={})
        for r in (small, english, multilingual)
    ]
    with open("tokenizer.bin", "wb") as file:
        for text in TEXTS:
            data = text.encode()
            file.write(struct.pack("<I", len(data)) + data)
            for encoding in encodings:
                ids = encoding.encode_ordinary(text)
                file.write(struct.pack(f"<I{len(ids)}i", len(ids), *ids))


main()
