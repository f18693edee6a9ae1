"""Runs of distill as jobs of the test's Slurm: started by the script of `distill slurm`, watched, hit, compared."""
import glob
import json
import os
import re
import signal
import subprocess

from cluster import wait_for

ENDED_BADLY = {"FAILED", "CANCELLED", "BOOT_FAIL", "DEADLINE", "OUT_OF_MEMORY"}
PATIENCE = 900  # seconds for a whole run, on a machine that has other work


class Work:
    """Configs, data and the files of one process that all others must equal."""

    def __init__(self, program, speech_folder, folder):
        self.program, self.folder = os.path.abspath(program), os.path.abspath(folder)
        os.makedirs(self.folder)
        subprocess.run(["sh", os.path.dirname(__file__) + "/../small_demo.sh", self.folder, "1250", "250"], check=True)
        subprocess.run([os.path.abspath(speech_folder)], cwd=self.folder, check=True)
        for name in ("fashion_mnist", "fashion_mnist_teacher", "tiny"):
            self.share(name)

    def share(self, name):
        """An update of several small micro-batches, that ranks can share, and a checkpoint after each."""
        with open(f"{self.folder}/{name}.json") as file:
            config = json.load(file)
        config["train"].update(accumulate=4, checkpoint_seconds=0, epochs=2)
        config["train"]["batch"] = min(config["train"]["batch"], 16)
        if name == "tiny":
            config["data"]["test"] = config["data"]["validation"]
        with open(f"{self.folder}/{name}.json", "w") as file:
            json.dump(config, file)

    def by_one(self, config, runs, *sets):
        """What one process makes of it, without Slurm."""
        words = [self.program, "train", f"{config}.json", "--runs", runs]
        for s in sets:
            words += ["--set", s]
        subprocess.run(words, cwd=self.folder, check=True, capture_output=True,
                       env=dict(os.environ, OMP_NUM_THREADS="1"))

    def models(self, config, runs):
        """The student's files of a run: name → bytes."""
        top = f"{self.folder}/{runs}/{config}"
        found = glob.glob(f"{top}/student*") + glob.glob(f"{top}/student*/**", recursive=True)
        return {os.path.relpath(p, top): open(p, "rb").read() for p in found if os.path.isfile(p)}


class Job:
    def __init__(self, cluster, work, config, runs, *sets, nodes=2, ranks_per_node=2, time="30", signal_at="USR1@60",
                 partition="night", patient=False):
        self.cluster, self.work, self.config, self.runs = cluster, work, config, runs
        script = f"{work.folder}/{runs}.sh"
        words = [work.program, "slurm", f"{config}.json", "--nodes", str(nodes), "--time", time, "--threads", "1",
                 "--ranks-per-node", str(ranks_per_node), "--signal", signal_at, "--runs", runs, "--output", script,
                 "--partition", partition]
        for s in sets:
            words += ["--set", s]
        subprocess.run(words, cwd=work.folder, check=True, capture_output=True)
        if patient:  # many deaths soon after a start are what the test makes
            with open(script) as file:
                text = file.read()
            with open(script, "w") as file:
                file.write(text.replace('"$soon" -ge 5', '"$soon" -ge 500'))
        self.id = re.search(r"\d+", cluster.run("sbatch", script, cwd=work.folder)).group()
        self.out = f"{work.folder}/{config}-{self.id}.out"

    def show(self):
        return dict(re.findall(r"(\w+)=(\S*)", self.cluster.run("scontrol", "show", "job", "-o", self.id)))

    def state(self):
        return self.show()["JobState"]

    def restarts(self):
        return int(self.show()["Restarts"])

    def said(self):
        return open(self.out).read() if os.path.exists(self.out) else ""

    def pids(self, node=None, name="distill"):
        """Processes of this job: by the environment that Slurm gave them."""
        found = []
        for environ in glob.glob("/proc/[0-9]*/environ"):
            pid = int(environ.split("/")[2])
            try:
                words = open(environ, "rb").read().split(b"\0")
                comm = open(f"/proc/{pid}/comm").read().strip()
            except OSError:
                continue
            mine = f"SLURM_CONF={self.cluster.folder}/slurm.conf".encode() in words
            here = node is None or f"SLURMD_NODENAME={node}".encode() in words
            if mine and here and comm == name and f"SLURM_JOB_ID={self.id}".encode() in words:
                found.append(pid)
        return sorted(found)

    def place(self):
        """(run and stage, update) that the logs were last at: of the run, and of the one that trains its teacher."""
        last = ("", -1)
        for line in self.log():
            if line["event"] in ("step", "start"):
                last = (line["of"], line["step"])
        return last

    def log(self):
        """The lines of the logs in their order, each with whose it is."""
        lines = []
        for path in glob.glob(f"{self.work.folder}/{self.runs}/{self.config}*/log.jsonl"):
            for text in open(path):
                if text.endswith("}\n"):
                    line = json.loads(text)
                    lines.append(dict(line, of=f"{path.split('/')[-2]} {line['stage']}"))
        return sorted(lines, key=lambda line: line["time"])

    def check_nothing_lost(self, when, of, step):
        """A checkpoint follows each update: after a death, the next start of the stage has all but the last."""
        after = [line for line in self.log() if line["time"] > when and line["of"] == of]
        for line in after:
            if line["event"] == "start" and line["step"] < step - 1:
                raise RuntimeError(f"job {self.id}: {of} was at {step} and went on from {line['step']}")
            if line["event"] in ("start", "done"):
                return
        done = [line for line in self.log() if line["event"] == "done" and line["of"] == of]
        if of and not done:
            raise RuntimeError(f"job {self.id}: {of} never went on from {step}")

    def wait_ranks_or_end(self, count):
        """Whether there are so many ranks; else it has ended well."""
        def there():
            state = self.state()
            if state in ENDED_BADLY:
                raise RuntimeError(f"job {self.id}: {state}\n{self.said()[-2000:]}")
            return state == "COMPLETED" or len(self.pids()) >= count
        wait_for(f"{count} ranks of job {self.id}", there, PATIENCE)
        return self.state() != "COMPLETED"

    def wait_training(self, updates=2):
        """Until some updates of a stage are behind a checkpoint."""
        def there():
            if self.state() in ENDED_BADLY | {"COMPLETED"}:
                raise RuntimeError(f"job {self.id}: {self.state()}\n{self.said()[-2000:]}")
            return self.pids() and self.place()[1] >= updates
        wait_for(f"job {self.id} to train", there, PATIENCE)

    def wait_restarts(self, count):
        def there():
            if self.state() in ENDED_BADLY:
                raise RuntimeError(f"job {self.id}: {self.state()}\n{self.said()[-2000:]}")
            return self.restarts() >= count
        wait_for(f"restart {count} of job {self.id}", there, PATIENCE)

    def finish(self, reference):
        """Waits for the end and compares; what is wrong is raised."""
        def ended():
            state = self.state()
            if state in ENDED_BADLY:
                raise RuntimeError(f"job {self.id} ended as {state}:\n{self.said()[-3000:]}")
            return state == "COMPLETED"
        wait_for(f"job {self.id} to end", ended, PATIENCE)
        made = self.work.models(self.config, self.runs)
        wanted = self.work.models(self.config, reference)
        if not wanted or made.keys() != wanted.keys():
            raise RuntimeError(f"job {self.id} made {sorted(made)}, one process {sorted(wanted)}")
        for name in wanted:
            if made[name] != wanted[name]:
                raise RuntimeError(f"job {self.id}: {name} is not that of one process")
        text = self.said()
        if "student" not in text or "model " not in text:
            raise RuntimeError(f"job {self.id}: no table at the end:\n{text[-2000:]}")
        if os.path.exists(f"{self.work.folder}/{self.config}-{self.id}.end"):
            raise RuntimeError(f"job {self.id}: its .end file stayed")

    def kill(self, pids, number=signal.SIGKILL):
        """Whether any of them was there."""
        hit = False
        for pid in pids:
            try:
                os.kill(pid, number)
                hit = True
            except ProcessLookupError:
                pass
        return hit
