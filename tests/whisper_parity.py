#!/usr/bin/env python3
"""Whisper beside Hugging Face transformers and whisper.cpp; see `make parity`.

    whisper_parity.py DISTILL PROBE DATA [numbers] [words] [settings] [files] [gguf] [speed]

numbers   encoder output, logits and the gradient of the distillation loss of base.en, of base.en through a
          Hugging Face folder, and of a small random multilingual model: relative error at most 1e-4
words     transcripts of 20 clips that need no sampling, word for word the greedy ones of transformers
settings  the same of a few clips, from folders whose generation_config.json has other lists: nothing suppressed, common
          words suppressed, another beginning, a shorter most length, the settings in config.json instead; and from
          what `distill convert` makes of such a folder: another folder, a GGUF file
files     whisper.cpp reads base.en as written by `distill convert` in every type but f32, which it cannot run,
          and hears jfk.flac; so does distill, f32 too
gguf      the gguf package reads base.en as written by `distill convert` in every type: keys, tokens, and matrices
          of the very bytes that its own quantizer makes; back as .bin it is the file that came without a detour
speed     real-time factors of base.en, distill beside whisper.cpp, 2 threads, greedy, interleaved
DATA holds whisper/ and speech/. Needs torch, transformers, pywhispercpp, gguf. Exit status 0 only when all holds.
"""
import base64
import ctypes
import ctypes.util
import json
import os
import struct
import subprocess
import sys
import tempfile
import time

import numpy as np

import whisper_bin

DISTILL, PROBE, DATA = sys.argv[1:4]
PARTS = sys.argv[4:] or ["numbers", "words", "settings", "files", "gguf", "speed"]
BASE = os.path.join(DATA, "whisper/ggml-base.en.bin")
JFK = os.path.join(DATA, "speech/jfk.flac")
LIMIT = 1e-4
TAU, W_HARD, W_KL = 2.0, 0.8, 1.0
wrong = []


def check(name, good, text):
    print(f"{'ok   ' if good else 'WRONG'} {name}: {text}", flush=True)
    if not good:
        wrong.append(name)


def relative(a, b):
    return float(np.linalg.norm(a.astype(np.float64) - b) / np.linalg.norm(b.astype(np.float64)))


def distill(*arguments):
    return subprocess.run([DISTILL, *arguments], check=True, capture_output=True, text=True).stdout


# --- numbers ---------------------------------------------------------------------------------------


def torch_side(model, mel, ids, labels, teacher):
    import torch

    mel, ids, labels, teacher = map(torch.from_numpy, (mel.transpose(0, 2, 1).copy(), ids.astype(np.int64),
                                                       labels.astype(np.int64), teacher))
    encoded = model.model.encoder(mel).last_hidden_state
    logits = model(input_features=mel, decoder_input_ids=ids).logits
    valid = labels.ge(0)
    n = valid.sum()
    hard = torch.nn.functional.cross_entropy(logits[valid], labels[valid], reduction="sum") / n
    p = torch.softmax(teacher[valid] / TAU, -1)
    soft = (p * (torch.log_softmax(teacher[valid] / TAU, -1) - torch.log_softmax(logits[valid] / TAU, -1))).sum() / n
    loss = W_HARD * hard + W_KL * TAU ** 2 * soft
    model.zero_grad()
    loss.backward()
    return encoded.detach().numpy(), logits.detach().numpy(), loss.item()


def compare(name, source, model, header, B, T, scratch):
    rng = np.random.default_rng(3)
    V, frames, mels = header[0], 2 * header[1], header[9]
    mel = rng.standard_normal((B, frames, mels), dtype=np.float32) * 0.5
    ids = rng.integers(0, V, (B, T), dtype=np.int32)
    labels = rng.integers(0, V, (B, T), dtype=np.int32)
    labels[-1, -2:] = -1
    teacher = rng.standard_normal((B, T, V), dtype=np.float32) * 3
    given, found = os.path.join(scratch, "in"), os.path.join(scratch, "out")
    with open(given, "wb") as out:
        out.write(struct.pack("<3i", B, frames, T))
        for x in (mel, ids, labels, teacher):
            out.write(np.ascontiguousarray(x).tobytes())
    subprocess.run([PROBE, source, given, found], check=True)
    encoded, logits, loss = torch_side(model, mel, ids, labels, teacher)
    ours = np.fromfile(found, np.float32)
    at = 0

    def take(n):
        nonlocal at
        at += n
        return ours[at - n:at]

    error = relative(take(encoded.size), encoded.ravel())
    check(name, error <= LIMIT, f"encoder output, relative error {error:.1e}")
    error = relative(take(logits.size), logits.ravel())
    check(name, error <= LIMIT, f"logits, relative error {error:.1e}")
    error = abs(float(take(1)[0]) - loss) / loss
    check(name, error <= LIMIT, f"loss {loss:.5f}, relative error {error:.1e}")
    state = dict(model.named_parameters())
    worst, whole, size = ("", 0.0), 0.0, 0.0
    for parameter in whisper_bin.openai_names(header[4], header[8]):
        if parameter == "encoder.positional_embedding":
            continue
        expected = state[whisper_bin.hugging_face_name(parameter)].grad.numpy().ravel()
        mine = take(expected.size)
        whole += float(np.sum((mine.astype(np.float64) - expected) ** 2))
        size += float(np.sum(expected.astype(np.float64) ** 2))
        error = relative(mine, expected)
        worst = max(worst, (parameter, error), key=lambda pair: pair[1])
    error = (whole / size) ** 0.5
    check(name, error <= LIMIT and at == ours.size,
          f"gradient, relative error {error:.1e} (worst parameter {worst[0]}: {worst[1]:.1e})")


def letters():
    """GPT-2's letters of the 256 bytes."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    table, extra = {b: chr(b) for b in plain}, 0
    for b in range(256):
        if b not in table:
            table[b] = chr(256 + extra)
            extra += 1
    return table


def write_vocabulary(folder):
    table, vocabulary = letters(), {}
    for line in open(os.path.join(DATA, "whisper/multilingual.tiktoken")):
        token, rank = line.split()
        if token != "=":
            vocabulary["".join(table[b] for b in base64.b64decode(token))] = int(rank)
        else:
            vocabulary[""] = int(rank)
    vocabulary["<|endoftext|>"] = 50257
    json.dump(vocabulary, open(os.path.join(folder, "vocab.json"), "w"))


def numbers(scratch):
    import torch
    from transformers import WhisperForConditionalGeneration

    header, _, _, arrays = whisper_bin.read_bin(BASE)
    compare("base.en", BASE, whisper_bin.build(header, arrays), header, 1, 8, scratch)
    folder = os.path.join(scratch, "base.en")
    distill("convert", BASE, folder)
    model = WhisperForConditionalGeneration.from_pretrained(folder, attn_implementation="eager").eval()
    compare("base.en as our folder", BASE, model, header, 1, 8, scratch)
    torch.manual_seed(5)
    header = [51865, 100, 64, 4, 3, 32, 64, 2, 2, 80, 0]
    model = whisper_bin.build(header)
    folder = os.path.join(scratch, "multilingual")
    model.save_pretrained(folder, max_shard_size="2MB")
    write_vocabulary(folder)
    compare("random multilingual, shards", folder, model, header, 2, 12, scratch)
    back = os.path.join(scratch, "multilingual.bin")
    distill("convert", folder, back, "--type", "f32")
    compare("random multilingual as our .bin", back, model, header, 2, 12, scratch)


# --- words -----------------------------------------------------------------------------------------


class Info(ctypes.Structure):
    _fields_ = [("frames", ctypes.c_int64), ("rate", ctypes.c_int), ("channels", ctypes.c_int),
                ("format", ctypes.c_int), ("sections", ctypes.c_int), ("seekable", ctypes.c_int)]


def sound(path):
    """Mono samples at 16 kHz through libsndfile; other rates by Fourier resampling."""
    lib, info = ctypes.CDLL(ctypes.util.find_library("sndfile")), Info()
    lib.sf_open.restype = ctypes.c_void_p
    lib.sf_readf_float.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64]
    lib.sf_readf_float.restype = ctypes.c_int64
    lib.sf_close.argtypes = [ctypes.c_void_p]
    handle = lib.sf_open(path.encode(), 0x10, ctypes.byref(info))
    assert handle, path
    samples = np.zeros((info.frames, info.channels), np.float32)
    n = lib.sf_readf_float(handle, samples.ctypes.data, info.frames)
    lib.sf_close(handle)
    mono = samples[:n].mean(axis=1)
    if info.rate == 16000:
        return mono
    wanted = n * 16000 // info.rate
    spectrum = np.fft.rfft(mono)[:wanted // 2 + 1]
    return (np.fft.irfft(spectrum, wanted) * wanted / n).astype(np.float32)


def clips(count):
    folder = os.path.join(DATA, "speech/speechocean762/train")
    names = sorted(name for name in os.listdir(folder) if name.endswith(".opus"))
    return [os.path.join(folder, names[i * len(names) // count]) for i in range(count)]


def words(scratch):
    import torch
    from transformers import WhisperForConditionalGeneration, WhisperProcessor

    folder = os.path.join(scratch, "words")
    distill("convert", BASE, folder)
    processor = WhisperProcessor.from_pretrained(folder)
    model = WhisperForConditionalGeneration.from_pretrained(folder).eval()
    for option in ([], ["--no-timestamps"]):
        lines = distill("transcribe", BASE, *clips(30), "--json", *option).splitlines()
        heard = [json.loads(line) for line in lines]
        # The greedy text of an unlikely clip is given up for samples, which nobody can repeat.
        greedy = [h for h in heard if all(s["temperature"] == 0 for s in h["segments"])][:20]
        same = 0
        for h in greedy:
            features = processor.feature_extractor(sound(h["file"]), sampling_rate=16000, return_tensors="pt")
            with torch.no_grad():
                ids = model.generate(features.input_features, return_timestamps=not option, do_sample=False)
            expected = processor.tokenizer.decode(ids[0], skip_special_tokens=True).strip()
            same += h["text"].split() == expected.split()
            if h["text"].split() != expected.split():
                print(f"      {os.path.basename(h['file'])}\n        ours   {h['text']}\n        theirs {expected}")
        check(" ".join(["words", *option]), same == len(greedy) == 20, f"{same} of {len(greedy)} transcripts are equal")


def change(folder, name, changes):
    """Sets keys of a JSON file; None takes one away."""
    path = os.path.join(folder, name)
    values = json.load(open(path))
    for key, value in changes.items():
        values[key] = value
        if value is None:
            del values[key]
    json.dump(values, open(path, "w"))


def altered_folder(scratch, name, changes):
    """base.en as a folder with other settings. Without `changes` they stand in config.json alone."""
    folder = os.path.join(scratch, name)
    distill("convert", BASE, folder)
    if changes is not None:
        change(folder, "generation_config.json", changes)
    else:
        own = json.load(open(os.path.join(folder, "generation_config.json")))
        os.remove(os.path.join(folder, "generation_config.json"))
        change(folder, "config.json", {**{key: own[key] for key in ("max_length", "begin_suppress_tokens")},
                                       "suppress_tokens": [345, 460, 466]})
    return folder


def same_words(name, folder, source, paths, timestamps):
    """`source`, made of the folder, says what transformers says with the folder."""
    import torch
    from transformers import WhisperForConditionalGeneration, WhisperProcessor

    processor = WhisperProcessor.from_pretrained(folder)
    model = WhisperForConditionalGeneration.from_pretrained(folder).eval()
    if not timestamps:  # config.json alone does not say it
        model.generation_config.no_timestamps_token_id = 50362
    option = [] if timestamps else ["--no-timestamps"]
    same = compared = 0
    for line in distill("transcribe", source, *paths, "--json", *option).splitlines():
        h = json.loads(line)
        if any(s["temperature"] > 0 for s in h["segments"]):
            continue
        features = processor.feature_extractor(sound(h["file"]), sampling_rate=16000, return_tensors="pt")
        with torch.no_grad():
            ids = model.generate(features.input_features, return_timestamps=timestamps, do_sample=False)
        expected = processor.tokenizer.decode(ids[0], skip_special_tokens=True)
        compared += 1
        same += h["text"].split() == expected.split()
        if h["text"].split() != expected.split():
            print(f"      {os.path.basename(h['file'])}\n        ours   {h['text']}\n        theirs {expected}")
    check(name, same == compared > 0, f"{same} of {compared} transcripts are equal")


def settings(scratch):
    paths = [JFK, *clips(2)]
    cases = {"nothing suppressed": {"suppress_tokens": [], "begin_suppress_tokens": []},
             "words suppressed": {"suppress_tokens": [345, 460, 466]},  # " you", " can", " not"
             "lists left out": {"suppress_tokens": None, "begin_suppress_tokens": None},
             "no comma, another beginning": {"suppress_tokens": [11], "begin_suppress_tokens": [843, 220, 383]},
             "six tokens": {"max_length": 6},
             "in config.json": None}
    for name, changes in cases.items():
        folder = altered_folder(scratch, name, changes)
        for timestamps in (False, True):
            if timestamps and changes is None:  # transformers does not know the first timestamp then
                continue
            same_words(f"settings: {name}{', timestamps' if timestamps else ''}", folder, folder, paths, timestamps)
    folder = os.path.join(scratch, "words suppressed")
    for copy in ("copy", "copy.gguf"):
        path = os.path.join(scratch, copy)
        distill("convert", folder, path)
        same_words(f"settings: {copy} of a folder", folder, path, paths[:1], False)


# --- whisper.cpp -----------------------------------------------------------------------------------


def whisper_cpp(path):
    from pywhispercpp.model import Model

    return Model(path, n_threads=2, print_progress=False, print_realtime=False, redirect_whispercpp_logs_to=None)


def plain(text):
    return "".join(c for c in text.lower() if c.isalpha() or c == " ").split()


def files(scratch):
    said = plain("and so my fellow americans ask not what your country can do for you ask what you can do for your country")
    for kind in ["f32", "f16", "q8_0", "q5_0", "q4_0"]:
        path = os.path.join(scratch, f"base.en-{kind}.bin")
        distill("convert", BASE, path, "--type", kind)
        mine = " ".join(distill("transcribe", path, JFK).split())
        # Four bits without training mishear "ask" as "asked", in either program.
        check("distill " + kind, plain(mine) == said or kind == "q4_0", mine)
        if kind != "f32":  # whisper.cpp's convolutions are f16: it aborts on any f32 file
            text = " ".join(segment.text for segment in whisper_cpp(path).transcribe(sound(JFK))).strip()
            check("whisper.cpp " + kind, plain(text) == (said if kind != "q4_0" else plain(mine)), text)


# --- GGUF -------------------------------------------------------------------------------------------


def int8_rows(x):
    """One scale for each row, as the text of number_format.h has it."""
    scale = np.abs(x).max(axis=1).astype(np.float32) / np.float32(127)
    return scale, np.rint(x * (1 / scale)[:, None]).astype(np.int8)


def stored_as(kind, name, x):
    """The tensors that parameter x should be in a file of this kind: {name: bytes}"""
    from gguf.constants import GGMLQuantizationType as Type
    from gguf.quants import quantize

    if x.ndim == 1 or "positional" in name:
        return {name: x.tobytes()}
    if x.ndim == 3:
        return {name: x.astype("<f4" if kind == "f32" else "<f2").tobytes()}
    if kind == "int8":
        scale, steps = int8_rows(x)
        return {name: steps.tobytes(), name + ".scale": scale.tobytes()}
    return {name: quantize(x, Type[kind.upper()]).tobytes()}


def check_gguf(kind, path, header, filters, tokens, arrays):
    from gguf import GGUFReader

    reader = GGUFReader(path)
    keys = {field.name: field.contents() for field in reader.fields.values()}
    found = {tensor.name: tensor.data.tobytes() for tensor in reader.tensors}
    table = letters()
    spelled = ["".join(table[b] for b in token) for token in tokens]
    end = keys["tokenizer.ggml.tokens"].index("<|endoftext|>")
    sizes = [keys[f"whisper.{side}.{key}"] for side in ("encoder", "decoder")
             for key in ("context_length", "embedding_length", "attention.head_count", "block_count")]
    check(f"gguf {kind} keys", keys["general.architecture"] == "whisper" and sizes == header[1:9] and
          keys["whisper.encoder.mels_count"] == header[9] and len(keys["tokenizer.ggml.tokens"]) == header[0] and
          keys["tokenizer.ggml.tokens"][:end] == spelled[:end], f"{len(keys)} keys, {end} ordinary tokens")
    expected = {"mel_filters": filters.tobytes()}
    for name, x in arrays.items():
        expected.update(stored_as(kind, name, x))
    different = [name for name in expected if expected[name] != found.get(name)]
    check(f"gguf {kind} tensors", not different and set(expected) == set(found),
          f"{len(found)} tensors, {len(different)} differ {different[:3]}")


def gguf_files(scratch):
    base = whisper_bin.read_bin(BASE)
    for kind in ["f32", "f16", "q8_0", "q5_0", "q4_0", "int8"]:
        path = os.path.join(scratch, f"base.en-{kind}.gguf")
        distill("convert", BASE, path, "--type", kind)
        check_gguf(kind, path, *base)
    direct, detour = (os.path.join(scratch, name) for name in ("direct.bin", "detour.bin"))
    distill("convert", BASE, direct)
    distill("convert", os.path.join(scratch, "base.en-f16.gguf"), detour)
    check("gguf back to .bin", open(direct, "rb").read() == open(detour, "rb").read(), "byte for byte")
    said = distill("transcribe", os.path.join(scratch, "base.en-int8.gguf"), JFK)
    check("distill int8", "ask what you can do for your country" in said, " ".join(said.split()))


def speed(scratch):
    """Wall-clock and processor seconds for a second of sound; the latter do not mind a busy machine."""
    paths = clips(4) + [JFK]
    seconds = sum(len(sound(path)) for path in paths) / 16000
    environment = dict(os.environ, OMP_NUM_THREADS="2")

    def run_distill(model, _):
        subprocess.run([DISTILL, "transcribe", model, *paths], check=True, env=environment, stdout=subprocess.DEVNULL)

    def run_theirs(_, theirs):
        for path in paths:
            theirs.transcribe(sound(path), greedy={"best_of": 1}, temperature_inc=0.0)

    for kind in ["f16", "q8_0"]:
        model = os.path.join(scratch, f"speed-{kind}.bin")
        distill("convert", BASE, model, "--type", kind)
        theirs = whisper_cpp(model)
        taken = {"distill": [], "whisper.cpp": []}
        for _ in range(3):
            for who, run in (("distill", run_distill), ("whisper.cpp", run_theirs)):
                before, start = os.times(), time.time()
                run(model, theirs)
                after = os.times()
                taken[who].append((time.time() - start, sum(after[:4]) - sum(before[:4])))
        walls, busy = ({who: np.median([t[i] for t in times]) / seconds for who, times in taken.items()}
                       for i in range(2))
        check("speed " + kind, True, ", ".join(
            f"{who}: real-time factor {walls[who]:.3f}, processor {busy[who]:.3f}" for who in taken) +
            f"; ratio of processor seconds {busy['whisper.cpp'] / busy['distill']:.2f}; loading included for distill")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as scratch_folder:
        for part in PARTS:
            {"numbers": numbers, "words": words, "settings": settings, "files": files, "gguf": gguf_files, "speed": speed}[part](scratch_folder)
    print("all holds" if not wrong else f"{len(wrong)} wrong: {', '.join(wrong)}")
    sys.exit(1 if wrong else 0)
