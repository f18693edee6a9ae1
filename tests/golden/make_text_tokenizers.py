#!/usr/bin/env python3
"""Golden tokens of language models' tokenizers, from `tokenizers` and `sentencepiece`.

usage: make_text_tokenizers.py        run in tests/golden; needs tokenizers, sentencepiece

Trains small tokenizers of every kind on the texts below and writes them to text_tokenizers/: NAME.json
are tokenizer.json files, NAME.model SentencePiece's. text_tokenizers.bin, little-endian: u32 how many
tokenizers; for each one u32 length, the name of its file; u32 how many texts; for each text u32 length,
the text in UTF-8, then for each tokenizer u32 count, i32 ids[count] (with the tokens around a text),
u32 length, what they decode to without special tokens (of .model files: nothing).
"""
import os
import struct

import sentencepiece
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

LLAMA3 = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
QWEN2 = LLAMA3.replace("{1,3}", "")
TEXTS = [
    "",
    " ",
    "Hello world",
    " And so, my fellow Americans: ask not what your country can do for you.",
    "I'm sure they've said we'll go; he'd rather not. It's o'clock 'tis 'S 'LL 're're ''s DON'T 'Ve '\u017f",
    "  two spaces,\ttab\n\nnewlines \r\n end   ",
    "\n \n  x\u00a0\u00a0y\u3000z\u2003\u2028w\u0085v\x1c\x1d q \n\n\n  \t\r\r\n   z",
    "3.14159 and 1,000,000; \u00bd \u00b2 \u2167 \u0663\u0664 \u096a\u096b \u2460 1st 2nd 1234567890 12 345",
    "na\u00efve caf\u00e9, \u00c5ngstr\u00f6m, e\u0301te\u0301, \ufb01nal, \u00df \u1e9e, \u0130stanbul \u1e9b\u0323 q\u0307\u0323",
    "\u041f\u0440\u0438\u0432\u0435\u0442, \u043c\u0438\u0440! \u039c\u03ac\u03ca\u03bf\u03c2 \u03a3\u0391\u03a3",
    "\u4f60\u597d\uff0c\u4e16\u754c\u3002\u4eca\u5929\u5929\u6c14\u5f88\u597d\u3002 ABC\u4e2d\u6587def",
    "\u3053\u3093\u306b\u3061\u306f\u4e16\u754c\u3001\u30c6\u30b9\u30c8\u300c\u304b\u304e\u300d",
    "\uc548\ub155\ud558\uc138\uc694 \uc138\uacc4 \u1112\u1161\u11ab",
    "\u0645\u0631\u062d\u0628\u0627 \u05e9\u05dc\u05d5\u05dd \u0928\u092e\u0938\u094d\u0924\u0947 \u0e2a\u0e27\u0e31\u0e2a\u0e14\u0e35",
    "\U0001f600\U0001f44d\U0001f3fd \U0001f469\u200d\U0001f469\u200d\U0001f467 \U0001f1e9\U0001f1ea 1\ufe0f\u20e3",
    "if (x<=0) { return -1; } /* --- */ a[i]+=b[j]; #include <x.h>\n\tfor (;;) {\n\t\tx++;\n\t}\n",
    "<|im_start|>user\nHello<|im_end|>\n<|endoftext|> <s> [MASK]  <mask>  x <0x0A> \u2581 ##ing [SEP]",
    "a\x01b\x7f\ufeff\u200b\ufffd\U0010ffff\u00ad",
    "a" * 90 + " " * 40 + "-" * 33 + "=" * 20,
    "abababababababab ababab'ababababab",
    "antidisestablishmentarianism pneumonoultramicroscopicsilicovolcanoconiosis",
    "THE QUICK BROWN FOX jumps OVER the lazy dOg, $5.00 + \u20ac3 = 8\u00b0 ~ ^`|",
]
TRAIN = TEXTS * 3 + [
    "The teacher writes what it knows, and the student learns from what the teacher wrote.",
    "A smaller network that is taught by a larger one keeps most of what the larger one can do.",
    "There is no knowledge that is not power. The fox and the dog are old friends by now.",
    "They are going to the country, asking what they can do there, and they will be back soon.",
]
SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]


def byte_level(split, size=420, normalizer=None, **model):
    t = Tokenizer(models.BPE(**model))
    t.pre_tokenizer = pre_tokenizers.Sequence(split)
    if normalizer:
        t.normalizer = normalizer
    t.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    t.train_from_iterator(TRAIN, trainers.BpeTrainer(vocab_size=size, special_tokens=SPECIAL, initial_alphabet=alphabet, show_progress=False))
    return t


def isolated(expression):
    return [pre_tokenizers.Split(Regex(expression), "isolated"), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]


def gpt2():
    t = byte_level([pre_tokenizers.ByteLevel(add_prefix_space=False)])
    t.add_special_tokens([AddedToken("<mask>", lstrip=True, special=True), AddedToken("[MASK]", rstrip=True, special=True)])
    t.add_tokens([AddedToken("fox", normalized=True)])
    return t


def smollm():
    return byte_level([pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)])


def llama3():
    t = byte_level(isolated(LLAMA3), ignore_merges=True)
    t.post_processor = processors.TemplateProcessing(single="<|endoftext|> $A", special_tokens=[("<|endoftext|>", 0)])
    return t


def qwen2():
    return byte_level(isolated(QWEN2), normalizer=normalizers.NFC())


def sentencepiece_bpe():
    """As Llama 2: characters, bytes where there is none, a mark in front."""
    t = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    t.normalizer = normalizers.Sequence([normalizers.Prepend("\u2581"), normalizers.Replace(" ", "\u2581")])
    t.decoder = decoders.Sequence([decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)])
    special = ["<unk>", "<s>", "</s>"]
    words = [w for text in TRAIN for w in text.split()]
    t.train_from_iterator(words, trainers.BpeTrainer(vocab_size=330, limit_alphabet=70, show_progress=False,
                                                     special_tokens=special + [f"<0x{b:02X}>" for b in range(256)]))  # fmt: skip
    t = Tokenizer.from_str(t.to_str())
    t.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    state = t.to_str()
    return Tokenizer.from_str(only_special(state, special))


def only_special(state, special):
    """The byte tokens are tokens of the model and no added ones."""
    import json

    j = json.loads(state)
    j["added_tokens"] = [a for a in j["added_tokens"] if a["content"] in special]
    return json.dumps(j)


def unigram():
    t = Tokenizer(models.Unigram())
    t.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Replace(Regex(" {2,}"), " ")])
    t.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always")
    t.decoder = decoders.Metaspace(prepend_scheme="always")
    t.train_from_iterator(TRAIN, trainers.UnigramTrainer(vocab_size=300, special_tokens=["<unk>", "</s>"], unk_token="<unk>", show_progress=False))
    t.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    return t


def wordpiece():
    t = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    t.normalizer = normalizers.BertNormalizer()
    t.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    t.decoder = decoders.WordPiece()
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    t.train_from_iterator(TRAIN, trainers.WordPieceTrainer(vocab_size=330, special_tokens=special, limit_alphabet=120, show_progress=False))
    t.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    return t


def cased():
    """The steps that BERT's normaliser has not."""
    t = wordpiece()
    t.normalizer = normalizers.Sequence([normalizers.NFKD(), normalizers.StripAccents(), normalizers.Lowercase(), normalizers.Strip()])
    return t


def piece_model(name, **options):
    with open("train.txt", "w", encoding="utf-8") as file:
        file.write("\n".join(" ".join(text.split()) for text in TRAIN if text.strip()))
    path = f"text_tokenizers/{name}"
    sentencepiece.SentencePieceTrainer.train(input="train.txt", model_prefix=path, minloglevel=2, num_threads=1, **options)
    os.remove("train.txt")
    os.remove(path + ".vocab")
    return sentencepiece.SentencePieceProcessor(model_file=path + ".model")


def rules():
    """A small table of replacements, so that the model is small: A to a, a fraction, a ligature."""
    with open("rules.tsv", "w") as file:
        for source, target in [("41", "61"), ("BD", "31 2F 32"), ("FB01", "66 69"), ("9", "20"), ("A", "20"), ("D", "20"), ("3000", "20"), ("65 301", "E9")]:
            file.write(f"{source}\t{target}\n")
    model = piece_model("unigram", model_type="unigram", vocab_size=300, normalization_rule_tsv="rules.tsv", hard_vocab_limit=False)
    os.remove("rules.tsv")
    return model


def main():
    os.makedirs("text_tokenizers", exist_ok=True)
    made = {f.__name__: f() for f in (gpt2, smollm, llama3, qwen2, sentencepiece_bpe, unigram, wordpiece, cased)}
    for name, t in made.items():
        t.save(f"text_tokenizers/{name}.json", pretty=False)
    pieces = {
        "unigram": rules(),
        "bpe": piece_model("bpe", model_type="bpe", vocab_size=560, byte_fallback=True, character_coverage=0.98,
                           normalization_rule_name="identity", remove_extra_whitespaces=False),
    }  # fmt: skip
    names = [f"{n}.json" for n in made] + [f"{n}.model" for n in pieces]
    pack = lambda data: struct.pack("<I", len(data)) + data
    with open("text_tokenizers.bin", "wb") as file:
        file.write(struct.pack("<I", len(names)) + b"".join(pack(n.encode()) for n in names))
        file.write(struct.pack("<I", len(TEXTS)))
        for text in TEXTS:
            file.write(pack(text.encode()))
            for t in made.values():
                ids = t.encode(text).ids
                file.write(struct.pack(f"<I{len(ids)}i", len(ids), *ids) + pack(t.decode(ids).encode()))
            for p in pieces.values():
                # What looks like a control piece is text for SentencePiece, but not for transformers.
                ids = [] if "<s>" in text else p.encode(text)
                file.write(struct.pack(f"<I{len(ids)}i", len(ids), *ids) + pack(b""))


main()
