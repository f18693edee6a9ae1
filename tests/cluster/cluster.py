"""A Slurm of four nodes on this machine, in a folder, as the user who calls: munged, slurmctld, slurmd for each node.

Nothing is installed or configured outside of the folder; only processes that were started here are ended.
"""
import getpass
import glob
import os
import secrets
import shutil
import signal
import socket
import subprocess
import time

PROGRAMS = ["munged", "slurmctld", "slurmd", "sbatch", "srun", "scontrol", "squeue", "mpirun"]
PACKAGES = "slurmctld slurmd slurm-client slurm-wlm-basic-plugins munge openmpi-bin"
NODES = ["n1", "n2", "n3", "n4"]
CORES = 4  # of a node; the machine has fewer perhaps, which costs time only

CONF = """ClusterName=distilltest
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={port}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
CredType=cred/munge
AuthInfo=socket={folder}/munge.socket,cred_expire=5
MpiDefault=none
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SlurmdParameters=config_overrides
ReturnToService=2
KillWait=10
SlurmdTimeout=10
MinJobAge=600
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
SchedulerParameters=preempt_send_user_signal,batch_sched_delay=0,sched_interval=2,sched_min_interval=0
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.%n.pid
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool.%n
TmpFS={folder}/tmp.%n
TaskProlog={folder}/task_prolog
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.%n.log
{nodes}PartitionName=night Nodes=n1,n2 Default=YES MaxTime=UNLIMITED State=UP PriorityTier=1 GraceTime=20
PartitionName=wide Nodes=n1,n2,n3,n4 MaxTime=UNLIMITED State=UP PriorityTier=1 GraceTime=20
PartitionName=urgent Nodes=n1,n2 MaxTime=UNLIMITED State=UP PriorityTier=2 PreemptMode=OFF
"""
NODE = "NodeName={name} NodeHostname={host} NodeAddr=127.0.0.1 Port={port} CPUs={cores} State=UNKNOWN\n"

# The nodes are one host: what ranks of a node share must not have another node's names, and they
# are reached by the loopback interface.
TASK_PROLOG = """#!/bin/sh
echo "export TMPDIR={folder}/tmp.$SLURMD_NODENAME"
echo "export OMPI_MCA_btl_vader_backing_directory={folder}/tmp.$SLURMD_NODENAME"
echo "export OMPI_MCA_btl_tcp_if_include=lo"
"""


def missing():
    """The programs that are not there."""
    path = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"
    os.environ["PATH"] = path
    return [p for p in PROGRAMS if not shutil.which(p)]


def free_ports(count):
    held = [socket.socket() for _ in range(count)]
    for s in held:
        s.bind(("127.0.0.1", 0))
    ports = [s.getsockname()[1] for s in held]
    for s in held:
        s.close()
    return ports


def wait_for(what, condition, seconds):
    """The condition's value once it is true."""
    end = time.time() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.time() > end:
            raise RuntimeError(f"waited {seconds} s in vain: {what}")
        time.sleep(0.2)


class Cluster:
    def __init__(self, folder):
        self.folder = os.path.abspath(folder)
        self.process = {}
        self.environment = dict(os.environ, SLURM_CONF=f"{self.folder}/slurm.conf")

    def run(self, *words, **more):
        done = subprocess.run(words, env=self.environment, capture_output=True, text=True, **more)
        if done.returncode != 0:
            raise RuntimeError(f"{' '.join(words)}: {done.stderr or done.stdout}")
        return done.stdout

    def begin(self, name, *words):
        with open(f"{self.folder}/{name}.out", "ab") as out:
            self.process[name] = subprocess.Popen(words, env=self.environment, stdout=out, stderr=out,
                                                  stdin=subprocess.DEVNULL, start_new_session=True)

    def begin_node(self, node):
        # SLURM_CONF is what the node gives to its jobs, too.
        self.begin(node, "slurmd", "-D", "-N", node, "-f", f"{self.folder}/slurm.conf")

    def up(self):
        os.makedirs(self.folder, mode=0o755)
        os.chmod(self.folder, 0o755)
        for name in ["state"] + [f"{kind}.{n}" for n in NODES for kind in ("spool", "tmp")]:
            os.mkdir(f"{self.folder}/{name}")
        with open(f"{self.folder}/munge.key", "wb", opener=lambda p, f: os.open(p, f, 0o600)) as key:
            key.write(secrets.token_bytes(128))
        port, *ports = free_ports(1 + len(NODES))
        host = socket.gethostname()
        nodes = "".join(NODE.format(name=n, host=host, port=p, cores=CORES) for n, p in zip(NODES, ports))
        with open(f"{self.folder}/slurm.conf", "w") as conf:
            conf.write(CONF.format(host=host, user=getpass.getuser(), folder=self.folder, port=port, nodes=nodes))
        with open(f"{self.folder}/task_prolog", "w") as prolog:
            prolog.write(TASK_PROLOG.format(folder=self.folder))
        os.chmod(f"{self.folder}/task_prolog", 0o755)
        at = self.folder
        self.begin("munged", "munged", "--foreground", "--force", f"--key-file={at}/munge.key",
                   f"--socket={at}/munge.socket", f"--pid-file={at}/munge.pid", f"--seed-file={at}/munge.seed",
                   f"--log-file={at}/munge.log", "--num-threads=2")
        wait_for("munged", lambda: os.path.exists(f"{at}/munge.socket"), 20)
        self.begin("slurmctld", "slurmctld", "-D", "-f", f"{at}/slurm.conf")
        for node in NODES:
            self.begin_node(node)
        self.wait_nodes()

    def wait_nodes(self):
        wait_for("the nodes", self.nodes_idle, 60)

    def nodes_idle(self):
        try:
            states = self.run("sinfo", "-h", "-N", "-p", "wide", "-o", "%N %t").split("\n")
        except RuntimeError:
            return False
        return sum(line.endswith((" idle", " mix", " alloc")) for line in states) == len(NODES)

    def down(self):
        """Jobs first, so that none of their processes stays."""
        try:
            self.run("scancel", "--signal=KILL", "--full", "--user", getpass.getuser())
            self.run("scancel", "--user", getpass.getuser())
            wait_for("the jobs to end", lambda: not self.run("squeue", "-h").strip(), 30)
        except RuntimeError as error:
            print(error)
        for name in reversed(list(self.process)):
            self.end(name, signal.SIGTERM)
        for pid in self.all_pids():
            os.kill(pid, signal.SIGKILL)

    def all_pids(self):
        """Processes that this cluster's configuration was given to, here or by Slurm, but this one."""
        found = []
        for path in glob.glob("/proc/[0-9]*/environ"):
            pid = int(path.split("/")[2])
            try:
                words = open(path, "rb").read().split(b"\0")
            except OSError:
                continue
            if f"SLURM_CONF={self.folder}/slurm.conf".encode() in words and pid != os.getpid():
                found.append(pid)
        return found

    def stepds(self, node):
        """The daemons of a node's steps: nothing of theirs names it but the log they write to."""
        found = []
        for pid in self.all_pids():
            try:
                files = [os.readlink(f) for f in glob.glob(f"/proc/{pid}/fd/*")]
                comm = open(f"/proc/{pid}/comm").read().strip()
            except OSError:
                continue
            if comm == "slurmstepd" and f"{self.folder}/slurmd.{node}.log" in files:
                found.append(pid)
        return found

    def end(self, name, number):
        process = self.process.pop(name)
        process.send_signal(number)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
