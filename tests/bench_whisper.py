#!/usr/bin/env python3
"""A training step of Whisper beside PyTorch and transformers, in one run: the programs take turns,
medians are compared.

usage: bench_whisper.py DISTILL [--recipes whisper_base_en,whisper_small] [--rounds 3] [--windows N]
                                                                       (see `make bench-whisper`)

The same step, batch, tokens, threads, random weights: the frozen encoder, the student's decoder, the
loss (0.8 cross-entropy and 1 KL at temperature 2), clipping, AdamW (fused in PyTorch). The teacher's
words about the targets come, in PyTorch,
  teacher   from its decoder, run without gradients, as Distil-Whisper's own script does;
  stored    from its last hidden states, as `distill` has them: logits are one product.
In bfloat16 (under autocast there) where the processor has AMX or AVX512-BF16.
"""
import argparse
import json
import os
import re
import statistics
import sys
import time

from bench_side import distill_bench, has_bfloat16, in_child, own_peak, threads

TOKENS, FRAMES, SECONDS, STEPS = 100, 3000, 30, 3

# Only the child processes import PyTorch: a child's peak memory begins with its parent's.
if "--child" in sys.argv:
    import torch
    import transformers
    from torch.nn import functional as F

SHAPES = {  # width, heads, layers of the encoder, of the student's decoder and of the teacher's
    "whisper_base_en": (512, 8, 6, 2, 6),
    "whisper_small": (768, 12, 12, 4, 12),
}
CONFIGS = os.path.join(os.path.dirname(__file__), "../configs")


def decoder_and_encoder(name, layers):
    width, heads, encoder_layers = SHAPES[name][:3]
    config = transformers.WhisperConfig(
        vocab_size=51864, num_mel_bins=80, d_model=width, encoder_layers=encoder_layers,
        encoder_attention_heads=heads, decoder_layers=layers, decoder_attention_heads=heads,
        encoder_ffn_dim=4 * width, decoder_ffn_dim=4 * width)
    return transformers.WhisperForConditionalGeneration(config)


class Step:
    def __init__(self, name, windows, targets):
        torch.manual_seed(1)
        width, _, _, layers, teacher_layers = SHAPES[name]
        self.student = decoder_and_encoder(name, layers)
        self.student.get_encoder().requires_grad_(False)
        self.trained = [p for p in self.student.parameters() if p.requires_grad]
        self.optimizer = torch.optim.AdamW(self.trained, 1e-4, fused=True)
        self.mel = torch.rand(windows, 80, FRAMES)
        self.id = torch.randint(0, 51864, (windows, TOKENS))
        self.label = torch.randint(0, 51864, (windows, TOKENS))
        self.teacher, self.hidden, self.output = None, None, None
        if targets == "teacher":
            self.teacher = decoder_and_encoder(name, teacher_layers).requires_grad_(False)
            self.teacher.model.encoder = self.student.model.encoder
        else:
            self.hidden = torch.rand(windows, TOKENS, width)
            self.output = torch.rand(51864, width) * 0.1

    def listen(self):
        with torch.no_grad():
            return self.student.model.encoder(self.mel)[0]

    @staticmethod
    def logits(model, ids, memory):
        hidden = model.model.decoder(ids, encoder_hidden_states=memory, use_cache=False)[0]
        return model.proj_out(hidden)

    def targets(self, memory):
        with torch.no_grad():
            if self.teacher is None:
                return self.hidden @ self.output.T
            return self.logits(self.teacher, self.id, memory)

    def learn(self, memory, precision):
        self.optimizer.zero_grad(set_to_none=True)
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bfloat16"):
            z = self.logits(self.student, self.id, memory).float().flatten(0, 1)
            v = self.targets(memory).float().flatten(0, 1)
            hard = F.cross_entropy(z, self.label.flatten())
            soft = F.kl_div(F.log_softmax(z / 2, -1), F.softmax(v / 2, -1), reduction="batchmean")
            loss = 0.8 * hard + 4 * soft
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.trained, 1)
        self.optimizer.step()


def child(name, windows, targets, precision):
    """Prints the seconds of the encoder and of the step behind it, and the peak memory in MB."""
    torch.set_num_threads(threads())
    step = Step(name, windows, targets)
    seconds = []
    for _ in range(STEPS + 1):
        began = time.perf_counter()
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bfloat16"):
            memory = step.listen()
        heard = time.perf_counter()
        step.learn(memory, precision)
        seconds.append((heard - began, time.perf_counter() - heard))
    medians = [statistics.median(part) for part in zip(*seconds[1:])]
    print(*medians, own_peak(), torch.__version__, transformers.__version__)


def distill(program, name, windows, precision):
    """As a child does."""
    text, memory = distill_bench(program, name, windows, precision)
    encoder, step = re.search(r"encoder (\d+) ms a window, a step behind it (\d+) ms", text).groups()
    return [windows * int(encoder) / 1e3, int(step) / 1e3, memory]


def rates(rounds, windows):
    """Seconds of sound per second, with the encoder and without, and MB: medians over the rounds."""
    encoder, step, memory = (statistics.median(part) for part in zip(*rounds))
    return SECONDS * windows / (encoder + step), SECONDS * windows / step, memory


def batch_of(name):
    with open(os.path.join(CONFIGS, name + ".json"), encoding="utf-8") as config:
        return json.load(config)["train"]["batch"]


def compare(args, name, precision):
    windows = args.windows or batch_of(name)
    ours, theirs = [], {"teacher": [], "stored": []}
    for _ in range(args.rounds):
        ours.append(distill(args.program, name, windows, precision))
        for targets, rounds in theirs.items():
            *result, torch_version, other_version = in_child(name, windows, targets, precision)
            rounds.append([float(x) for x in result])
    mine = rates(ours, windows)
    print(f"{name}, {precision}, {windows} windows; PyTorch {torch_version}, transformers {other_version}")
    for targets, rounds in theirs.items():
        other = rates(rounds, windows)
        for what, a, b in zip(("encoder and step", "stored encoder outputs"), mine, other):
            print(f"  {what:22s}  distill {a:6.1f}   PyTorch, targets {targets:7s} {b:6.1f}   ratio {a / b:.2f}")
        print(f"  {'peak memory, MB':22s}  distill {mine[2]:6.0f}   PyTorch, targets {targets:7s} {other[2]:6.0f}   "
              f"ratio {mine[2] / other[2]:.2f}")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("program")
    parser.add_argument("--recipes", default=",".join(SHAPES))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--windows", type=int, help="a step (default: train.batch of the recipe)")
    args = parser.parse_args()
    print(f"{threads()} threads, windows of {SECONDS} s, {TOKENS} tokens each, "
          f"{args.rounds} rounds in turn; seconds of sound per second, medians")
    for name in args.recipes.split(","):
        compare(args, name, "float32")
        if has_bfloat16():
            compare(args, name, "bfloat16")
        else:
            print(f"{name}, bfloat16: not measured: no faster than float32 on this processor")


if __name__ == "__main__":
    if len(sys.argv) == 6 and sys.argv[1] == "--child":
        child(sys.argv[2], int(sys.argv[3]), sys.argv[4], sys.argv[5])
    else:
        main()
