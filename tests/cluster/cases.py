"""What a job survives under a real Slurm: see cluster.py for the cluster, docs/cluster.md for what was found.

usage: cases.py PROGRAM SPEECH_FOLDER FOLDER [--kills N] [--seed S] [--cases CASE…]
"""
import argparse
import os
import random
import shutil
import signal
import subprocess
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import cluster as slurm
from cluster import wait_for
from jobs import Job, Work


def need(condition, what):
    if not condition:
        raise RuntimeError(what)


def demo(c, w):
    """The demo by four ranks on two nodes, a recogniser by two."""
    classifier, speech = Job(c, w, "fashion_mnist", "demo"), Job(c, w, "tiny", "speech", ranks_per_node=1)
    classifier.finish("one")
    speech.finish("one")
    need("Slurm job" in str(classifier.log()), "the log does not name the job")


def strangers(c, w):
    """Processes that were not told of each other."""
    words = ["srun", "-N2", "--mpi=none", w.program, "train", "tiny.json", "--runs", "strangers"]
    done = subprocess.run(words, cwd=w.folder, env=c.environment, capture_output=True, text=True)
    need(done.returncode == 64 and "do not know of each other" in done.stderr, f"{done.returncode}: {done.stderr}")
    need(not os.path.exists(f"{w.folder}/strangers"), "a refused start made a folder")


def requeue(c, w):
    """scontrol requeue of a job that trains."""
    job = Job(c, w, "fashion_mnist", "requeue")
    job.wait_training()
    c.run("scontrol", "requeue", job.id)
    job.wait_restarts(1)
    job.finish("one")
    need("SLURM_RESTART_COUNT 1" in str(job.log()), "the log does not tell of the restart")


def cancel(c, w):
    """scancel: what there is is saved, and the job does not come back."""
    job = Job(c, w, "fashion_mnist", "cancel")
    job.wait_training()
    c.run("scancel", job.id)
    wait_for("the job to end", lambda: not job.pids(), 60)
    time.sleep(15)
    need(job.state() == "CANCELLED", f"a cancelled job is {job.state()}")
    need("saved: the same command goes on" in job.said(), "nothing was saved")


def time_limit(c, w):
    """The warning before a time limit; a rank that is held up makes the job last so long."""
    job = Job(c, w, "fashion_mnist", "limit", time="2", signal_at="USR1@90")
    job.wait_training()
    held = job.pids()[-1:]
    job.kill(held, signal.SIGSTOP)
    time.sleep(95)  # Slurm looks at the time every half minute
    job.kill(held, signal.SIGCONT)
    job.wait_restarts(1)
    job.finish("one")
    need("stopped, exit code 75" in str(job.log()), "the log does not tell why the start before ended")


def late_time_limit(c, w):
    """A time limit that is there before the ranks could stop: they save when Slurm ends them."""
    job = Job(c, w, "fashion_mnist", "late", time="1", signal_at="USR1@1", changes={"#SBATCH --signal=USR1@1\n": ""})
    job.wait_training()
    job.kill(job.pids()[-1:], signal.SIGSTOP)  # Slurm lets it go on, for its end
    job.wait_restarts(1)
    job.finish("one")
    need("DUE TO TIME LIMIT" in job.said(), "the time limit was never met")


def preemption(c, w):
    """A more urgent job wants the nodes."""
    job = Job(c, w, "fashion_mnist", "preempted")
    job.wait_training()
    c.run("sbatch", "-p", "urgent", "-N2", "--exclusive", "--time=1", "--output=/dev/null", "--wrap", "sleep 2",
          cwd=w.folder)
    job.wait_restarts(1)
    job.finish("one")


def rank(c, w):
    """kill -9 of one rank."""
    job = Job(c, w, "fashion_mnist", "rank")
    job.wait_training()
    job.kill(job.pids("n2")[:1])
    job.wait_restarts(1)
    job.finish("one")
    need("the start before:" in str(job.log()), "the log does not tell of the death before")


def ranks_of_a_node(c, w):
    """kill -9 of all ranks of a node."""
    job = Job(c, w, "fashion_mnist", "ranks")
    job.wait_training()
    job.kill(job.pids("n1"))
    job.wait_restarts(1)
    job.finish("one")


def hang(c, w):
    """A rank that hangs: the others name it and end the job, which goes on."""
    job = Job(c, w, "fashion_mnist", "hang", exports="ALL,DISTILL_WATCHDOG=20")
    job.wait_training()
    job.kill(job.pids("n2")[:1], signal.SIGSTOP)
    job.wait_restarts(1)
    job.finish("one")
    need("hangs" in job.said(), f"nobody named the rank:\n{job.said()}")
    need("a rank hung" in str(job.log()), "the log does not tell why the start before ended")


def daemon(c, w):
    """kill -9 of slurmd, which comes back soon: nothing happens to the job."""
    job = Job(c, w, "fashion_mnist", "daemon")
    job.wait_training()
    c.end("n2", 9)
    time.sleep(2)
    c.begin_node("n2")
    job.finish("one")


def lose_node(c, job, node):
    """A node without power: its daemon, and all it had started. It comes back once Slurm has seen it."""
    before = job.restarts()
    c.end(node, 9)
    job.kill(c.stepds(node))  # before they can tell of the others' end
    for name in ("slurm_script", "srun", "distill"):
        job.kill(job.pids(node, name))
    job.wait_restarts(before + 1)
    c.begin_node(node)


def node(c, w):
    """A node dies."""
    job = Job(c, w, "fashion_mnist", "node")
    job.wait_training()
    lose_node(c, job, "n2")
    job.finish("one")


def first_node(c, w):
    """The node dies that has the script."""
    job = Job(c, w, "fashion_mnist", "first_node")
    job.wait_training()
    lose_node(c, job, "n1")
    job.finish("one")
    need("ended without a word" in str(job.log()), "the log does not tell of the death before")


def full_disk(c, w):
    """The disk of the runs is full, and grows later."""
    if os.geteuid() != 0:
        return "a small tmpfs needs root"
    runs = f"{w.folder}/full"
    os.mkdir(runs)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=700k", "tmpfs", runs], check=True)
    try:
        job = Job(c, w, "fashion_mnist", "full")
        job.wait_restarts(1)
        need("No space left on device" in job.said(), f"another failure:\n{job.said()}")
        subprocess.run(["mount", "-o", "remount,size=64m", runs], check=True)
        job.finish("one")
        need("exit code 74" in str(job.log()), "the log does not tell of the full disk")
    finally:
        subprocess.run(["umount", "-l", runs], check=True)


def other_ranks(c, w):
    """4 nodes, then 2, then 3, by requeue in the middle."""
    job = Job(c, w, "fashion_mnist", "other", nodes=4, ranks_per_node=1, partition="wide")
    for restart, nodes in enumerate([2, 3]):
        job.wait_training()
        c.run("scontrol", "requeuehold", job.id)
        job.wait_restarts(restart + 1)
        c.run("scontrol", "update", f"JobId={job.id}", f"NumNodes={nodes}-{nodes}", f"NumTasks={nodes}")
        c.run("scontrol", "release", job.id)
        need(job.wait_ranks_or_end(nodes), "it had ended before")
    job.finish("one")
    log = " ".join(line["text"] for line in job.log() if line["event"] == "start")
    need(all(f"{n} ranks on" in log for n in (4, 2, 3)), f"not 4, 2 and 3 ranks: {log}")


PATIENT = {'"$soon" -ge 5': '"$soon" -ge 500'}  # many deaths soon after a start are what is tried
HOW_OFTEN = {"a rank": 60, "a node's ranks": 12, "all ranks": 10, "scontrol requeue": 8, "a node": 10}


def kills(c, w, count, seed):
    """Random deaths at random moments; none loses more than the update at hand."""
    chance, done, runs, counted = random.Random(seed), 0, 0, {}
    while done < count:
        runs += 1
        job, deaths = Job(c, w, "fashion_mnist", f"kills{runs}", changes=PATIENT), []
        while done < count and job.wait_ranks_or_end(4):
            time.sleep(chance.uniform(0.5, 8))
            of, step = job.place()
            before, when = job.restarts(), time.time()
            what = chance.choices(list(HOW_OFTEN), list(HOW_OFTEN.values()))[0]
            if not hit(c, job, what, chance):
                continue  # it had ended
            deaths.append((when, of, step))
            done += 1
            counted[what] = counted.get(what, 0) + 1
            print(f"  {done} of {count}: {what}, {of or 'before training'}, update {step}", flush=True)
            wait_for("the next start, or the end", lambda: job.restarts() > before or job.state() == "COMPLETED", 300)
        job.finish("one")
        for death in deaths:
            job.check_nothing_lost(*death)
    print(f"  {done} deaths in {runs} runs: {counted}", flush=True)


def hit(c, job, what, chance):
    """Whether there was something to hit."""
    name, ranks = chance.choice(["n1", "n2"]), job.pids()
    if not ranks:
        return False
    if what == "a rank":
        return job.kill([chance.choice(ranks)])
    if what == "a node's ranks":
        return job.kill(job.pids(name))
    if what == "all ranks":
        return job.kill(ranks)
    if what == "scontrol requeue":
        c.run("scontrol", "requeue", job.id)
    else:
        lose_node(c, job, name)
    return True


CASES = [demo, strangers, requeue, cancel, time_limit, late_time_limit, preemption, rank, ranks_of_a_node, hang, daemon, node, first_node,
         full_disk, other_ranks]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("program")
    parser.add_argument("speech_folder")
    parser.add_argument("folder")
    parser.add_argument("--kills", type=int, default=0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--cases", nargs="*", default=[case.__name__ for case in CASES])
    a = parser.parse_args()
    missing = slurm.missing()
    if missing:
        print(f"SKIP no Slurm here ({', '.join(missing)}); Debian: {slurm.PACKAGES}")
        return 0
    shutil.rmtree(a.folder, ignore_errors=True)
    w = Work(a.program, a.speech_folder, f"{a.folder}/work")
    for config in ("fashion_mnist", "tiny"):
        w.by_one(config, "one")
    c = slurm.Cluster(f"{a.folder}/slurm")
    for number in (signal.SIGINT, signal.SIGTERM):  # its processes end with it
        signal.signal(number, lambda *_: sys.exit(75))
    failed = 0
    try:
        c.up()
        for case in CASES:
            if case.__name__ in a.cases:
                failed += attempt(case, c, w)
        if a.kills > 0:
            failed += attempt(kills, c, w, a.kills, a.seed)
    finally:
        c.down()
    return 1 if failed else 0


def attempt(case, *arguments):
    began = time.time()
    name = case.__doc__.split("\n")[0]
    try:
        skipped = case(*arguments)
        print(f"{'SKIP' if skipped else 'ok  '} {case.__name__}: {skipped or name} ({time.time() - began:.0f} s)",
              flush=True)
        return 0
    except (RuntimeError, subprocess.CalledProcessError) as error:
        print(f"FAILED {case.__name__}: {name}\n{error}", flush=True)
        return 1


sys.exit(main())
