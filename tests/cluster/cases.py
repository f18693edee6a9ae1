"""What a job survives under a real Slurm: see cluster.py for the cluster, docs/cluster.md for what was found.

usage: cases.py PROGRAM SPEECH_FOLDER FOLDER [--kills N] [--seed S] [CASE…]
"""
import argparse
import os
import random
import shutil
import subprocess
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import cluster as slurm
from cluster import wait_for
from jobs import Job, Work

LONG = ["train.epochs=12"]


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
    job = Job(c, w, "fashion_mnist", "cancel", *LONG)
    job.wait_training()
    c.run("scancel", job.id)
    wait_for("the job to end", lambda: not job.pids(), 60)
    time.sleep(15)
    need(job.state() == "CANCELLED", f"a cancelled job is {job.state()}")


def time_limit(c, w):
    """A limit of one minute, again and again."""
    job = Job(c, w, "fashion_mnist", "limit", *LONG, time="1", signal_at="USR1@30")
    job.finish("long")
    need(job.restarts() > 0, "the time limit was never met")
    need("stopped in time" in str(job.log()), "the log does not tell why the start before ended")


def late_time_limit(c, w):
    """A limit that comes before the warning does: the ranks save when Slurm ends them."""
    job = Job(c, w, "fashion_mnist", "late", *LONG, time="1", signal_at="USR1@1")
    job.finish("long")
    need(job.restarts() > 0 and "DUE TO TIME LIMIT" in job.said(), "the time limit was never met")


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
    for name in ("slurmstepd", "distill", "srun", "sh", "slurm_script"):
        job.kill(job.pids(node, name))
    job.kill(c.stepds(node, job.id))
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
    """4 ranks, then 2, then 3, by requeue in the middle."""
    job = Job(c, w, "fashion_mnist", "other")
    for restart, (nodes, tasks) in enumerate([(1, 2), (2, 3)]):
        job.wait_training()
        c.run("scontrol", "requeuehold", job.id)
        job.wait_restarts(restart + 1)
        c.run("scontrol", "update", f"JobId={job.id}", f"NumNodes={nodes}-{nodes}", f"NumTasks={tasks}")
        c.run("scontrol", "release", job.id)
        job.wait_ranks(tasks)
    job.finish("one")
    log = str(job.log())
    need(all(f"{n} ranks on" in log for n in (4, 2, 3)), f"not 4, 2 and 3 ranks:\n{log}")


def kills(c, w, count, seed):
    """Random deaths at random moments, a checkpoint at each update; none may lose more than an update."""
    chance, done, runs = random.Random(seed), 0, 0
    how_often = {}
    while done < count:
        runs += 1
        job = Job(c, w, "fashion_mnist", f"kills{runs}", patient=True)
        while done < count:
            try:
                job.wait_ranks(4)
            except RuntimeError:
                break  # ended, which finish looks at
            time.sleep(chance.uniform(0.5, 8))
            stage, step = job.place()
            what = chance.choices(["rank", "node's ranks", "all ranks", "script", "requeue", "node"],
                                  [60, 12, 10, 6, 6, 6])[0]
            if not job.pids():
                continue
            before = job.restarts()
            hit(c, job, what, chance)
            done += 1
            how_often[what] = how_often.get(what, 0) + 1
            print(f"  kill {done} of {count}: {what}, {stage or 'before training'} at update {step}", flush=True)
            wait_for("the job to be queued again, or its end",
                     lambda: job.restarts() > before or job.state() == "COMPLETED", 300)
            nothing_lost(job, stage, step)
        job.finish("one")
    print(f"  {done} deaths in {runs} runs: {how_often}", flush=True)


def hit(c, job, what, chance):
    node_name = chance.choice(slurm.NODES)
    if what == "rank":
        job.kill([chance.choice(job.pids() or [0])] if job.pids() else [])
    elif what == "node's ranks":
        job.kill(job.pids(node_name))
    elif what == "all ranks":
        job.kill(job.pids())
    elif what == "script":
        job.kill(job.pids(None, "slurm_script"))
    elif what == "requeue":
        c.run("scontrol", "requeue", job.id)
    else:
        lose_node(c, job, node_name)


def nothing_lost(job, stage, step):
    pass


CASES = [demo, strangers, requeue, cancel, time_limit, late_time_limit, preemption, rank, ranks_of_a_node, daemon, node, first_node,
         full_disk, other_ranks]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("program")
    parser.add_argument("speech_folder")
    parser.add_argument("folder")
    parser.add_argument("--kills", type=int, default=0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("cases", nargs="*")
    a = parser.parse_args()
    missing = slurm.missing()
    if missing:
        print(f"SKIP no Slurm here ({', '.join(missing)}); Debian: {slurm.PACKAGES}")
        return 0
    shutil.rmtree(a.folder, ignore_errors=True)
    w = Work(a.program, a.speech_folder, f"{a.folder}/work")
    for config in ("fashion_mnist", "tiny"):
        w.by_one(config, "one")
    w.by_one("fashion_mnist", "long", *LONG)
    c = slurm.Cluster(f"{a.folder}/slurm")
    failed = 0
    try:
        c.up()
        for case in CASES:
            if not a.cases or case.__name__ in a.cases:
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
