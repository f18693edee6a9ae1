#!/usr/bin/env python3
"""Two processes beside one, and beside PyTorch's DistributedDataParallel (gloo), in one run.

usage: bench_ddp.py DISTILL [--rounds 5] [--batch 128] [--windows 4] [--skip-torch] [--skip-whisper]
                                                        (needs mpirun; PyTorch 2; see docs/cluster.md)

Everybody takes turns, medians are compared. Weak scaling: two ranks of one thread, a batch each, beside
one rank of one thread; 1 would be perfect, but what the machine gives is less where its cores share memory,
cache and clock: that is what two processes of one thread reach that do not talk, each with its own model;
"of it" is the weak scaling beside theirs, and what it lacks of 1 is the price of the ranks. Strong scaling:
the same two ranks beside one process of two threads with both batches. PyTorch: two processes of one thread, a batch each, both memory layouts; the
faster one counts. The same ResNet-8, optimizer and batch, data in memory, as in bench_torch.py.
"""
import argparse
import os
import re
import statistics
import subprocess
import sys
import time

from bench_side import in_child

STEPS = 24


def distill(program, processes, threads, words, apart=False):
    """What `distill bench` prints, of processes of `threads` threads each: ranks of a job, whose first one
    speaks, or each by itself at the same time."""
    command = [program, "bench", *map(str, words)]
    if processes > 1 and not apart:
        command = ["mpirun", "--allow-run-as-root", "--oversubscribe", "--bind-to", "none", "-np",
                   str(processes), *command]
    started = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True,
                                env={**os.environ, "OMP_NUM_THREADS": str(threads)})
               for _ in range(processes if apart else 1)]
    said = [process.communicate()[0] for process in started]
    if any(process.returncode for process in started):
        sys.exit("distill bench failed")
    return said


def resnet_rate(program, processes, threads, batch, apart=False):
    said = distill(program, processes, threads,
                   ["--model", "resnet8", "--batch", batch, "--precision", "float32"], apart)
    return sum(float(re.search(r"([\d.]+) samples/s", text).group(1)) for text in said)


def whisper_rate(program, processes, threads, windows, apart=False):
    """Seconds of sound per second of a step behind stored encoder outputs."""
    said = distill(program, processes, threads,
                   ["--model", "whisper_base_en", "--batch", windows, "--precision", "float32"], apart)
    return sum(float(re.search(r"stored encoder outputs ([\d.]+)", text).group(1)) for text in said)


def torch_child(rank, port, batch, layout):
    """One of two processes; the first prints the samples per second of both."""
    import torch
    import torch.distributed as dist
    from torch.nn import functional as F
    from torch.nn.parallel import DistributedDataParallel

    sys.argv.append("--child")  # bench_torch imports PyTorch in a child only
    from bench_torch import build
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=2)
    torch.manual_seed(1)
    model, shape = build("resnet8")
    memory = torch.channels_last if layout == "nhwc" else torch.contiguous_format
    model = DistributedDataParallel(model.to(memory_format=memory))
    optimizer = torch.optim.SGD(model.parameters(), 0.01, momentum=0.9)
    data = torch.rand(batch * (STEPS + 2), *shape)
    labels = torch.randint(0, 10, (len(data),))
    seconds = []
    for step in range(STEPS + 2):
        began = time.perf_counter()
        x = data[step * batch:(step + 1) * batch].contiguous(memory_format=memory)
        loss = F.cross_entropy(model(x), labels[step * batch:(step + 1) * batch])
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        seconds.append(time.perf_counter() - began)
    if rank == 0:
        print(2 * batch / statistics.median(seconds[2:]), torch.__version__)
    dist.destroy_process_group()


def torch_pair(port, batch, layout):
    """Starts both and prints what the first says."""
    words = [sys.executable, sys.argv[0], "--rank"]
    both = [subprocess.Popen([*words, str(rank), port, str(batch), layout],
                             env={**os.environ, "OMP_NUM_THREADS": "1"}) for rank in range(2)]
    if any([process.wait() for process in both]):
        sys.exit("PyTorch failed")


def scale(name, rate, args, size):
    """Weak and strong scaling; the medians."""
    runs = {"one": (1, 1, size), "two": (2, 1, size), "apart": (2, 1, size, True), "threads": (1, 2, 2 * size)}
    found = {key: [] for key in runs}
    for _ in range(args.rounds):
        for key, how in runs.items():
            found[key].append(rate(args.program, *how))
    one, two, apart, threads = (statistics.median(found[key]) for key in runs)
    print(f"{name:16s} 1 rank x 1 thread {one:.1f}, 2 ranks x 1 thread {two:.1f}, two processes that do not "
          f"talk {apart:.1f}, 1 rank x 2 threads {threads:.1f}   weak {two / (2 * one):.3f}, at most "
          f"{apart / (2 * one):.3f}, of it {two / apart:.3f}   beside threads {two / threads:.3f}", flush=True)


def beside_torch(args):
    ours, theirs, version = [], {"nchw": [], "nhwc": []}, ""
    for turn in range(args.rounds):
        ours.append(resnet_rate(args.program, 2, 1, args.batch))
        for i, (layout, rates) in enumerate(theirs.items()):
            rate, version = in_child(29511 + 2 * turn + i, args.batch, layout)
            rates.append(float(rate))
    best, layout = max((statistics.median(rates), layout) for layout, rates in theirs.items())
    mine = statistics.median(ours)
    print(f"resnet8          distill 2 ranks {mine:.0f}   PyTorch {version} DDP, gloo {best:.0f} "
          f"({layout})   ratio {mine / best:.2f}")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("program")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--windows", type=int, default=4)
    parser.add_argument("--skip-torch", action="store_true")
    parser.add_argument("--skip-whisper", action="store_true")
    args = parser.parse_args()
    scale("resnet8", resnet_rate, args, args.batch)
    if not args.skip_whisper:
        scale("whisper_base_en", whisper_rate, args, args.windows)
    if not args.skip_torch:
        beside_torch(args)


if __name__ == "__main__":
    if sys.argv[1] == "--rank":
        torch_child(int(sys.argv[2]), sys.argv[3], int(sys.argv[4]), sys.argv[5])
    elif sys.argv[1] == "--child":
        torch_pair(*[sys.argv[2], int(sys.argv[3]), sys.argv[4]])
    else:
        main()
