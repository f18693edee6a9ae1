#!/usr/bin/env python3
"""A training step of SmolLM's student beside PyTorch and transformers, in one run: the programs take turns, medians
are compared.

usage: bench_language.py DISTILL [--rounds 3] [--contexts 4]               (see `make bench-language`)

The same step, batch, tokens, threads, random weights: 14 layers of SmolLM2-135M, 0.1 cross-entropy and 1 KL to the
teacher, clipping, AdamW (fused in PyTorch). What the teacher finds likely comes, in PyTorch,
  teacher   from its 30 layers, run without gradients, as distillation is usually written;
  stored    from its last hidden states, as `distill` has them: logits are one product.
In bfloat16 (under autocast there) where the processor has AMX or AVX512-BF16.
"""
import argparse
import re
import statistics
import sys
import time

from bench_side import distill_bench, has_bfloat16, in_child, own_peak, threads

TOKENS, STEPS, STUDENT, TEACHER, VOCABULARY, WIDTH = 512, 3, 14, 30, 49152, 576

# Only the child processes import PyTorch: a child's peak memory begins with its parent's.
if "--child" in sys.argv:
    import torch
    import transformers
    from torch.nn import functional as F


def decoder(layers):
    return transformers.LlamaForCausalLM(transformers.LlamaConfig(
        vocab_size=VOCABULARY, hidden_size=WIDTH, intermediate_size=1536, num_hidden_layers=layers,
        num_attention_heads=9, num_key_value_heads=3, max_position_embeddings=8192, tie_word_embeddings=True))


class Step:
    def __init__(self, contexts, targets):
        torch.manual_seed(1)
        self.student = decoder(STUDENT)
        self.optimizer = torch.optim.AdamW(self.student.parameters(), 1e-4, betas=(0.9, 0.95), fused=True)
        self.id = torch.randint(0, VOCABULARY, (contexts, TOKENS))
        self.label = torch.randint(0, VOCABULARY, (contexts * TOKENS,))
        self.teacher = decoder(TEACHER).requires_grad_(False) if targets == "teacher" else None
        self.hidden = torch.rand(contexts * TOKENS, WIDTH)
        self.output = torch.rand(VOCABULARY, WIDTH) * 0.1

    def targets(self):
        with torch.no_grad():
            if self.teacher is None:
                return self.hidden @ self.output.T
            return self.teacher(self.id, use_cache=False).logits.flatten(0, 1)

    def learn(self, precision):
        self.optimizer.zero_grad(set_to_none=True)
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bfloat16"):
            z = self.student(self.id, use_cache=False).logits.float().flatten(0, 1)
            v = self.targets().float()
            hard = F.cross_entropy(z, self.label)
            soft = F.kl_div(F.log_softmax(z, -1), F.log_softmax(v, -1), reduction="batchmean", log_target=True)
            loss = 0.1 * hard + soft
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.student.parameters(), 1)
        self.optimizer.step()


def child(contexts, targets, precision):
    """Prints the seconds of a step and the peak memory in MB."""
    torch.set_num_threads(threads())
    step = Step(contexts, targets)
    seconds = []
    for _ in range(STEPS + 1):
        began = time.perf_counter()
        step.learn(precision)
        seconds.append(time.perf_counter() - began)
    print(statistics.median(seconds[1:]), own_peak(), torch.__version__, transformers.__version__)


def distill(program, contexts, precision):
    """As a child does."""
    text, memory = distill_bench(program, "smollm_student", contexts, precision)
    return int(re.search(r"a step (\d+) ms", text)[1]) / 1e3, memory


def compare(args, precision):
    ours, theirs = [], {"teacher": [], "stored": []}
    for _ in range(args.rounds):
        ours.append(distill(args.program, args.contexts, precision))
        for targets, rounds in theirs.items():
            *result, torch_version, other_version = in_child(args.contexts, targets, precision)
            rounds.append([float(x) for x in result])
    seconds, memory = (statistics.median(part) for part in zip(*ours))
    print(f"{precision}: PyTorch {torch_version}, transformers {other_version}")
    for targets, rounds in theirs.items():
        turns = statistics.median(other[0] / own[0] for own, other in zip(ours, rounds))
        other, other_memory = (statistics.median(part) for part in zip(*rounds))
        print(f"  targets {targets:7s}  a step: distill {seconds:6.2f} s, PyTorch {other:6.2f} s, in turns {turns:.2f} x"
              f"   peak memory: {memory:5.0f} MB, {other_memory:5.0f} MB, {memory / other_memory:.2f} x")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("program")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--contexts", type=int, default=4, help="a step (default: train.batch of the recipe)")
    args = parser.parse_args()
    print(f"{threads()} threads, {args.contexts} contexts of {TOKENS} tokens, {args.rounds} rounds in turn; medians")
    compare(args, "float32")
    if has_bfloat16():
        compare(args, "bfloat16")
    else:
        print("bfloat16: not measured: no faster than float32 on this processor")


if __name__ == "__main__":
    if len(sys.argv) == 5 and sys.argv[1] == "--child":
        child(int(sys.argv[2]), sys.argv[3], sys.argv[4])
    else:
        main()
