"""What the benches beside PyTorch share: whose turn it is, threads, what a process needed."""
import os
import resource
import subprocess
import sys


def threads():
    return int(os.environ.get("OMP_NUM_THREADS", os.cpu_count()))


def has_bfloat16():
    """Whether products of bfloat16 are faster than those of float32 here."""
    with open("/proc/cpuinfo", encoding="utf-8") as file:
        text = file.read()
    return "amx_bf16" in text or ("avx512_bf16" in text and "AuthenticAMD" in text)


def own_peak():
    """Of this process so far, MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def in_child(*words):
    """What this script prints as `--child words…`: a fresh process, so that its peak memory is its own."""
    return subprocess.run([sys.executable, sys.argv[0], "--child", *map(str, words)], check=True,
                          stdout=subprocess.PIPE, text=True).stdout.split()


def distill_bench(program, name, batch, precision):
    """What `distill bench` prints of a model, and its peak memory in MB."""
    process = subprocess.Popen([program, "bench", "--model", name, "--batch", str(batch),
                                "--precision", precision], stdout=subprocess.PIPE, text=True)
    text = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    if status != 0:
        sys.exit(f"{program} bench failed")
    return text, usage.ru_maxrss / 1024
