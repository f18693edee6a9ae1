#!/usr/bin/env python3
"""Small faults put into src/ one at a time, to see whether a test notices: make mutants.

A mutant is one changed operator, constant, condition, argument order or statement. It is compiled
out of memory, never into the tree; one that compiles to the same code is passed over. The tests that
execute its line (gcov tells, and is asked again only when something changed) run until one fails.
What no test noticed is printed. Everything lies in build/mutants/, a copy of the project included in
which the tests run.

    make mutants SAMPLE=300 SEED=1 FILES="src/distill/*.c src/quant/*.[ch]"
    make mutants MUTANT=src/distill/optimizer.c:98:3      one of them again
"""
import argparse
import concurrent.futures
import difflib
import glob
import hashlib
import json
import os
import random
import re
import resource
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time

TOP = os.getcwd()
HOME = os.path.join(TOP, "build/mutants")
TREE = os.path.join(HOME, "tree")  # what is built and run
ROOMS = ("base", "data", "autograd", "layers", "quant", "files", "config", "report", "distill", "tasks")
GIGABYTE = 1 << 30
MEMORY, FILE_SIZE = 4 * GIGABYTE, 2 * GIGABYTE  # what a mutant may take
TESTS_SECONDS = 60  # tests beyond this sum are not tried on one mutant
OTHER_SECONDS = 10  # the same of those that run again in double precision and under the sanitizers
# Arguments that change places must be of one kind, or it is no mutant.
SANITIZERS = ["-O1", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
STRICT = ["-Werror=int-conversion", "-Werror=incompatible-pointer-types"]
EXTRA = {"test_int8": "gemmlowp_reference.o"}

# --- mutations ------------------------------------------------------------------------------------

SWAPS = {"+": "-", "-": "+", "*": "/", "/": "*", "%": "*", "+=": "-=", "-=": "+=", "*=": "/=", "/=": "*=",
         "<": "<=", "<=": "<", ">": ">=", ">=": ">", "==": "!=", "!=": "==", "&&": "||", "||": "&&",
         "<<": ">>", ">>": "<<", "&": "|", "|": "&", "|=": "&=", "&=": "|=", "++": "--", "--": "++",
         "true": "false", "false": "true", "fmin": "fmax", "fmax": "fmin", "floor": "ceil", "ceil": "floor",
         "break": "", "continue": ""}
SYMMETRIC = ("calloc", "fmin", "fmax", "fminf", "fmaxf", "memcmp", "kd_store_same_temperature", "same_text")  # any order of arguments will do
OPPOSITES = {"<": ">=", "<=": ">", ">": "<=", ">=": "<"}
TOKEN = re.compile(r"->|<<=|>>=|\+\+|--|[-+*/%&|<>=!]=|<<|>>|&&|\|\||[-+*/%&|<>!]"
                   r"|(?<![\w.])(?:0[xX][0-9a-fA-F]+|(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)[uUlLfF]*"
                   r"|\b[A-Za-z_]\w*\b")
CHOICE = re.compile(r"([\w.\->\[\]]+) [<>]=? ([\w.\->\[\]]+) \? (?:\1 : \2|\2 : \1)(?![\w.\[])")  # of equals either
CALL = re.compile(r"\b(\w+)\(([^()]*)\)")
CONDITION = re.compile(r"\b(?:if|while) \((.*)\)(?: \{| [^()]*;|$)")
STATEMENT = re.compile(r"^\s*(?:\w[\w.\->\[\]]* (?:[-+*/|&]?=|<<=|>>=) .*|\*?\w[\w.\->\[\]]*(?:\+\+|--)|\w+\(.*\));$")
RETURN = re.compile(r"\breturn (?!KD_OK\b|0;|NULL;)(.+);")


def blank_out(text):
    """The text with comments, strings, characters, directives and messages as blanks."""
    blank = lambda m: re.sub(r"[^\n]", " ", m.group())
    text = re.sub(r'/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'', blank, text, flags=re.S)
    text = re.sub(r"^[ ]*#(?:[^\n]*\\\n)*[^\n]*", blank, text, flags=re.M)
    for m in re.finditer(r"\b(?:kd_(?:fail\w*|warn|log)|KD_CONTRACT)\(", text):  # what a message says
        start, end, depth = m.end(), m.end(), 1
        while depth and end < len(text):
            depth += {"(": 1, ")": -1}.get(text[end], 0)
            end += 1
            if m.group() == "KD_CONTRACT(" and depth == 1 and text[end - 1] == "," and start == m.end():
                start = end
        text = text[:start] + re.sub(r"[^\n]", " ", text[start:end - 1]) + text[end - 1:]
    return text


def asks_for_more(code, at):
    """Whether a larger number at this place would only ask for more memory than is used."""
    m = re.search(r"\b(?:malloc|calloc|realloc)\((.*)\);", code)
    return bool(m) and m.start(1) <= at < m.end(1) and not re.search(r" [-/%?] |<<|>>", m.group(1))


def of_line(line, code):
    """Every (column, end, replacement) of one line; `code` is the same, blanked out."""
    out = []
    if re.match(r"^\s*(?:static )?char \w+\[", code):
        return out  # room for texts
    if not code.strip() or re.match(r"^(?:static |extern |typedef |struct |enum )?[\w *]+\([^;]*$", code):
        return out  # empty, or a function's head
    declares = re.match(r"^\s*(?:const |static )*\w+ \*", code)
    for m in TOKEN.finditer(code):
        token, at, end = m.group(), m.start(), m.end()
        before, after = code[:at].rstrip()[-1:], code[end:end + 1]
        binary = before and (before.isalnum() or before in "_)]") and not code[:at].rstrip().endswith("return")
        if token[0].isdigit() or token[0] == ".":
            number = token.rstrip("uUlLfF") if not token.lower().startswith("0x") else token
            if code[:at].strip() == "return -":
                continue  # one of the values that say "none"
            if re.fullmatch(r"\d+", number):
                suffix = token[len(number):]
                steps = (-1,) if asks_for_more(code, at) else (1, -1)
                out += [(at, end, f"{int(number) + d}{suffix}") for d in steps if int(number) + d >= 0]
            else:
                out += [(at, end, f"(2 * {token})"), (at, end, "0")]
        elif token == "!":
            out.append((at, end, ""))
        elif token in SWAPS:
            if token in "+-*&|/" and not (binary and after == " "):
                continue
            if token == "*" and declares and at <= declares.end():
                continue
            if not any(c.start() < at < c.end() for c in CHOICE.finditer(code)):
                out.append((at, end, SWAPS[token]))
            if token in OPPOSITES:
                out.append((at, end, OPPOSITES[token]))
    for m in CALL.finditer(code):
        parts = m.group(2).split(",")
        if len(parts) < 2 or m.group(1) in ("if", "for", "while", "switch", "KD_CONTRACT") + SYMMETRIC:
            continue
        at = m.start(2)
        for a in range(len(parts) - 1):
            end = at + len(parts[a]) + 1 + len(parts[a + 1])
            first, second = line[at:at + len(parts[a])], line[at + len(parts[a]) + 1:end]
            out.append((at, end, f"{second.strip()}, {first.strip()}"))
            at += len(parts[a]) + 1
    m = CONDITION.search(code)
    if m and m.group(1).count("(") == m.group(1).count(")"):
        out.append((m.start(1), m.end(1), f"!({line[m.start(1):m.end(1)]})"))
    m = RETURN.search(code)
    if m:
        out.append((m.start(1), m.end(1), "0"))
    if STATEMENT.match(code) and not re.match(r"\s*pthread_\w+_destroy\(", code):  # glibc's give nothing back
        start = len(code) - len(code.lstrip())
        out.append((start, len(code.rstrip()), ";"))
    return out


class Mutant:
    """One mutation of one file, by its number in its line."""

    def __init__(self, path, line, number, text, column, end, new):
        self.path, self.line, self.number = path, line, number
        lines = text.split("\n")
        old = lines[line - 1]
        lines[line - 1] = old[:column] + new + old[end:]
        self.text, self.old, self.new = "\n".join(lines), old.strip(), lines[line - 1].strip()

    def __str__(self):
        return f"{self.path}:{self.line}:{self.number}"


def all_mutants(path):
    """{line: [mutant makers]} of a file."""
    text = open(os.path.join(TREE, path)).read()
    code = blank_out(text).split("\n")
    out = {}
    for i, line in enumerate(text.split("\n")):
        for n, (column, end, new) in enumerate(of_line(line, code[i])):
            out.setdefault(i + 1, []).append((path, i + 1, n, text, column, end, new))
    return out


# --- building -------------------------------------------------------------------------------------


def run(words, **options):
    return subprocess.run(words, cwd=TREE, check=True, **options)


def copy_tree():
    """Brings TREE up to date, leaving alone what did not change."""
    keep = set()
    for folder in ("src", "runtime", "include", "tests", "configs", "docs", "tools", "experiments"):
        for here, folders, names in os.walk(folder):
            folders[:] = [f for f in folders if f != "__pycache__"]
            for name in names:
                path = os.path.join(here, name)
                keep.add(path)
                copy = os.path.join(TREE, path)
                if os.path.exists(copy) and open(copy, "rb").read() == open(path, "rb").read():
                    continue
                os.makedirs(os.path.dirname(copy), exist_ok=True)
                shutil.copy(path, copy)
        for here, _, names in os.walk(os.path.join(TREE, folder)):
            for name in names:
                if os.path.relpath(os.path.join(here, name), TREE) not in keep:
                    os.unlink(os.path.join(here, name))
    for name in ("Makefile", "README.md", "CONTRIBUTING.md", "LICENSE"):
        copy = os.path.join(TREE, name)
        if not os.path.exists(copy) or open(copy, "rb").read() != open(name, "rb").read():
            shutil.copy(name, copy)
    shared = os.path.join(HOME, "shared")  # what tests find in ../shared
    if os.path.isdir("../shared") and not os.path.islink(shared):
        os.symlink(os.path.realpath("../shared"), shared)


class Build:
    """The builds of TREE, made by its Makefile: `mutant`, `double` and `sanitized` as in make test, and
    `cover`, which counts lines."""

    def __init__(self, options):
        self.cc = shlex.split(options.cc)
        flags = [f for f in shlex.split(options.cflags) if f not in ("-g", "-MMD", "-MP")] + STRICT + ["-g0"]
        self.flags = {"mutant": flags + ["-O2"], "double": flags + ["-O2", "-DKD_DOUBLE"], "sanitized": flags + SANITIZERS}
        self.libraries = shlex.split(options.libs)
        self.linker = ["-fuse-ld=gold"] if shutil.which("ld.gold") else []  # four times as fast
        self.tests = sorted(os.path.basename(p)[:-2] for p in glob.glob(os.path.join(TREE, "tests/test_*.c")))
        make = ["make", "-s", f"-j{options.jobs}", f"CC={options.cc}", "ARCH=native", "MODES=mutant double sanitized cover",
                "CFLAGS_mutant=-O2 -g0", "CFLAGS_double=-O2 -g0 -DKD_DOUBLE", f"CFLAGS_sanitized={' '.join(SANITIZERS)} -g0",
                f"CFLAGS_cover=-O1 --coverage -fno-openmp -fopenmp-simd -include {self.counting_exit()}",
                f"LDLIBS={options.libs} -lgomp"]
        run(make + [f"build/{mode}/libdistill.a" for mode in self.flags] + ["build/ops_list.h"] +
            [f"build/cover/{t}" for t in self.tests] +
            [f"build/{mode}/{o}" for o in EXTRA.values() for mode in self.flags], stdout=subprocess.DEVNULL)
        with concurrent.futures.ThreadPoolExecutor(options.jobs) as pool:
            list(pool.map(self.test_object, self.tests))
        self.versions = {os.path.relpath(p, TREE): digest([p]) for p in glob.glob(os.path.join(TREE, "src/*/**/*.[ch]"), recursive=True)}
        self.original = {}
        self.compiling = threading.Lock()
        self.sound = {}  # whether a test passes as it is

    @staticmethod
    def counting_exit():
        """A header with which a child that ends by _exit, as ranks do, leaves its count of lines, too."""
        path = os.path.join(HOME, "counting_exit.h")
        text = ("void __gcov_dump(void);\n_Noreturn void _exit(int);\n"
                "static inline _Noreturn void counting_exit(int status) {\n    __gcov_dump();\n    _exit(status);\n}\n"
                "#define _exit counting_exit\n")
        if not os.path.exists(path) or open(path).read() != text:
            open(path, "w").write(text)
        return path

    def test_object(self, test, mode="mutant"):
        out = os.path.join(TREE, f"build/{mode}/{test}.o")
        if not os.path.exists(out) or any(not os.path.exists(d) or os.path.getmtime(d) > os.path.getmtime(out)
                                          for d in self.dependencies(test, mode)):
            run(self.cc + self.flags[mode] + ["-MMD", "-Itests", "-Ibuild", "-c", "-o", out, f"tests/{test}.c"])

    def dependencies(self, test, mode="mutant"):
        """The project's files that a test program is made of, the library's aside."""
        path = os.path.join(TREE, f"build/{mode}/{test}.d")
        if not os.path.exists(path):
            return [path]
        words = open(path).read().replace("\\\n", " ").split()[1:]
        return [os.path.join(TREE, w) for w in words if not w.startswith("/")]

    def key(self, test):
        return digest([d for d in self.dependencies(test) if "/tests/" in d])

    def compile(self, source, text, out, overlay=(), mode="mutant"):
        """From memory, under its own name; False when it is not C."""
        words = self.cc + self.flags[mode] + list(overlay) + ["-x", "c", "-c", "-o", out, "-"]
        done = subprocess.run(words, cwd=TREE, input=f'# 1 "{source}"\n{text}', text=True, stderr=subprocess.DEVNULL)
        return done.returncode == 0

    def objects(self, mutant, executing, folder, mode="mutant"):
        """Compiles a mutant → the objects that differ from the original's; None when it is not C."""
        if mutant.path.endswith(".c"):
            sources, overlay = [mutant.path], ()
        else:
            sources, overlay = executing, (f"-I{folder}",)
            copy = os.path.join(folder, mutant.path[len("src/"):])
            os.makedirs(os.path.dirname(copy), exist_ok=True)
            open(copy, "w").write(f'# 1 "{mutant.path}"\n{mutant.text}')
        changed = []
        for i, source in enumerate(sources):
            text = mutant.text if source == mutant.path else open(os.path.join(TREE, source)).read()
            out = os.path.join(folder, f"{mode}{i}.o")
            if not self.compile(source, text, out, overlay, mode):
                return None
            if mode != "mutant" or open(out, "rb").read() != self.original_object(source):
                changed.append(out)
        return changed

    def original_object(self, source):
        if source not in self.original:
            with tempfile.NamedTemporaryFile(suffix=".o", dir=HOME) as out:
                text = open(os.path.join(TREE, source)).read()
                assert self.compile(source, text, out.name), source
                self.original[source] = open(out.name, "rb").read()
        return self.original[source]

    def link(self, test, objects, out, mode="mutant"):
        """With a search for leaks at the program's end, but where malloc is the test's own."""
        with self.compiling:
            self.test_object(test, mode)
        extra = [f"build/{mode}/{EXTRA[test]}"] if test in EXTRA else []
        fronted = any("malloc(size_t" in open(d).read() for d in self.dependencies(test) if "/tests/" in d)
        sanitizers = SANITIZERS if mode == "sanitized" else ["-fsanitize=leak"] if not fronted else []
        run(self.cc + ["-fopenmp", *self.linker] + sanitizers + ["-o", out, f"build/{mode}/{test}.o"] + extra + objects +
            [f"build/{mode}/libdistill.a", "-lcmocka"] + self.libraries)

    def passes(self, test, mode="mutant"):
        """Whether a test passes on what is not mutated; asked once."""
        if (test, mode) not in self.sound:
            with tempfile.TemporaryDirectory(dir=HOME) as folder:
                binary = os.path.join(folder, test)
                self.link(test, [], binary, mode)
                self.sound[test, mode] = run_test(binary, 1200)[0]
            if not self.sound[test, mode]:
                print(f"{test} ({mode}) FAILS as it is: it does not count", flush=True)
        return self.sound[test, mode]


def digest(paths):
    h = hashlib.sha256()
    for path in paths:
        h.update(path.encode() + open(path, "rb").read())
    return h.hexdigest()[:16]


# --- running --------------------------------------------------------------------------------------


def limit():
    resource.setrlimit(resource.RLIMIT_FSIZE, (FILE_SIZE, FILE_SIZE))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def resident(pid):
    """Bytes of memory that a process really has; an address space of any size costs nothing."""
    try:
        return int(open(f"/proc/{pid}/statm").read().split()[1]) * resource.getpagesize()
    except (OSError, IndexError):
        return 0


def processor_seconds(pid):
    """What a process and the children it waited for have computed; a machine's other work does not count."""
    try:
        fields = open(f"/proc/{pid}/stat").read().rsplit(")", 1)[1].split()
        return sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")
    except (OSError, IndexError):
        return 0


def run_test(binary, timeout, environment=None):
    """(passed, processor seconds); a test that computes for too long, or waits for ten times that, has failed, and
    goes with its children."""
    began = time.time()
    child = subprocess.Popen([binary], cwd=TREE, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                             stderr=subprocess.DEVNULL, start_new_session=True, preexec_fn=limit,
                             env={**os.environ, "DISTILL_KILLS": "1", "OMP_WAIT_POLICY": "passive",
                                  **(environment or {})})
    passed, usage = None, None
    while passed is None:
        done, status, usage = os.wait4(child.pid, os.WNOHANG)
        if done:
            passed = status == 0
        elif (processor_seconds(child.pid) > timeout or time.time() - began > 10 * timeout
              or resident(child.pid) > MEMORY):
            passed = False
        else:
            time.sleep(0.05)
    try:
        os.killpg(child.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
    if not done:
        _, _, usage = os.wait4(child.pid, 0)
    child.returncode = 0  # waited for
    return passed, usage.ru_utime + usage.ru_stime


def measure(build, test):
    """Runs a test as it is → its seconds and the lines it executes, {object's source: {file: lines}}."""
    lines = {}
    with tempfile.TemporaryDirectory(dir=HOME) as folder:
        run_test(os.path.join(TREE, "build/cover", test), 1200, {"GCOV_PREFIX": folder})
        for here, _, names in os.walk(folder):
            for name in (n for n in names if n.endswith(".gcda") and not n.startswith("test_")):
                inside = os.path.relpath(os.path.join(here, name), folder)
                os.symlink("/" + inside[:-2] + "no", os.path.join(here, name[:-2] + "no"))
                text = subprocess.run(["gcov", "--json-format", "--stdout", os.path.join(here, name)], cwd=TREE,
                                      capture_output=True, text=True).stdout
                for found in (f for part in text.splitlines() for f in json.loads(part)["files"]):
                    executed = sorted({l["line_number"] for l in found["lines"] if l["count"]})
                    if found["file"].startswith("src/") and executed:
                        source = "src/" + inside.split("/build/cover/")[1][:-4] + "c"
                        lines.setdefault(source, {})[found["file"]] = executed
        binary = os.path.join(folder, "plain")
        build.link(test, [], binary)
        passed, seconds = run_test(binary, 1200)
    build.sound[test, "mutant"] = passed
    versions = {f: build.versions[f] for files in lines.values() for f in files}
    return {"key": build.key(test), "seconds": seconds, "lines": lines, "versions": versions}


class Coverage:
    """Which tests execute a line, and what they take; kept in coverage.json from run to run, until a test
    changes or a file that it executes is gone. Of a file that changed since, the lines that it still has
    are believed to be executed as before."""

    def __init__(self, build, jobs):
        self.build = build
        self.texts = os.path.join(HOME, "versions")  # of the files, by their digest
        os.makedirs(self.texts, exist_ok=True)
        for path, version in build.versions.items():
            shutil.copy(os.path.join(TREE, path), os.path.join(self.texts, version))
        self.moves = {}
        path = os.path.join(HOME, "coverage.json")
        kept = json.load(open(path)) if os.path.exists(path) else {}
        self.tests = {t: self.up_to_date(kept[t]) for t in build.tests
                      if t in kept and kept[t]["key"] == build.key(t) and kept[t]["versions"].keys() <= build.versions.keys()}
        missing = [t for t in build.tests if t not in self.tests]
        with concurrent.futures.ThreadPoolExecutor(jobs) as pool:
            for test, found in zip(missing, pool.map(lambda t: measure(build, t), missing)):
                print(f"  {test}: {found['seconds']:.1f} s", flush=True)
                self.tests[test] = found
                json.dump(self.tests, open(path, "w"))

    def moved(self, path, old):
        """{line: line} of what is left of a file's older version."""
        new = self.build.versions[path]
        if (old, new) not in self.moves:
            a, b = (open(os.path.join(self.texts, version)).read().split("\n") for version in (old, new))
            blocks = difflib.SequenceMatcher(None, a, b, autojunk=False).get_matching_blocks()
            self.moves[old, new] = {m.a + i + 1: m.b + i + 1 for m in blocks for i in range(m.size)}
        return self.moves[old, new]

    def up_to_date(self, found):
        """What was measured, in the numbers that lines have now."""
        for path, old in found["versions"].items():
            if old == self.build.versions[path]:
                continue
            moved = self.moved(path, old)
            for files in found["lines"].values():
                if path in files:
                    files[path] = sorted(moved[n] for n in files[path] if n in moved)
            found["versions"][path] = self.build.versions[path]
        return found

    def executing(self, path, line):
        """(tests, objects' sources) that execute a line. Tables, and children that are killed, leave no trace:
        for a line without any, the tests that execute its file, or one that includes its header, or one of
        its folder."""
        header = path[len("src/"):-1] + "h"
        users = [p for p in self.build.versions if f'"{header}"' in open(os.path.join(TREE, p)).read()]
        for hits in (lambda files: line in files.get(path, ()),
                     lambda files: path in files,
                     lambda files: any(p in files for p in users),
                     lambda files: any(os.path.dirname(p) == os.path.dirname(path) for p in files)):
            tests, sources = [], set()
            for test, found in self.tests.items():
                hit = {s for s, files in found["lines"].items() if hits(files)}
                if hit:
                    tests.append(test)
                    sources |= hit
            if tests:
                break
        own = lambda t: f'"{header}"' in open(os.path.join(TREE, f"tests/{t}.c")).read()
        tests.sort(key=lambda t: self.tests[t]["seconds"] / (4 if own(t) else 1))
        return tests, sorted(sources)


def try_mutant(build, coverage, mutant):
    """'killed by …', 'survived …', or None when it is no other program."""
    tests, sources = coverage.executing(mutant.path, mutant.line)
    with tempfile.TemporaryDirectory(dir=HOME) as folder:
        objects = build.objects(mutant, sources, folder)
        if not objects:
            return None
        tried = []
        for mode, most, slower in (("mutant", TESTS_SECONDS, 1), ("double", OTHER_SECONDS, 2), ("sanitized", OTHER_SECONDS, 5)):
            spent = 0
            if mode == "double" and "kd_real" not in mutant.text:
                continue
            if mode != "mutant":
                objects = build.objects(mutant, sources, folder, mode)
            for test in tests:
                seconds = coverage.tests[test]["seconds"]
                if spent and spent + seconds > most:
                    break
                binary = os.path.join(folder, test)
                build.link(test, objects, binary, mode)
                passed, _ = run_test(binary, 30 + 6 * slower * seconds)
                if not passed and build.passes(test, mode):
                    return f"killed by {test}" + (f" ({mode})" if mode != "mutant" else "")
                os.unlink(binary)
                spent += seconds
                tried.append(test)
    return "survived " + (" ".join(dict.fromkeys(tried)) or "(no test executes its file)")


def draw(files, count, seed):
    """An endless choice of lines, and of a mutation of each."""
    generator = random.Random(seed)
    lines = [makers for path in files for makers in all_mutants(path).values()]
    generator.shuffle(lines)
    return (Mutant(*generator.choice(makers)) for makers in lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, value in (("sample", "50"), ("seed", "1"), ("files", ""), ("mutant", ""), ("cc", "gcc"), ("cflags", ""),
                        ("libs", ""), ("jobs", str(os.cpu_count()))):
        parser.add_argument(f"--{name}", default=value)
    options = parser.parse_args()
    options.jobs = int(options.jobs)
    os.makedirs(TREE, exist_ok=True)
    copy_tree()
    print("building …", flush=True)
    build = Build(options)
    print("what each test executes …", flush=True)
    coverage = Coverage(build, options.jobs)
    wanted = options.files.split() or [f"src/{room}/**/*.[ch]" for room in ROOMS]
    files = sorted({os.path.relpath(p, TREE) for w in wanted for p in glob.glob(os.path.join(TREE, w), recursive=True)})
    if options.mutant:
        chosen = []
        for word in options.mutant.split():
            path, line, number = word.rsplit(":", 2)
            makers = all_mutants(path)[int(line)]
            chosen += [Mutant(*m) for m in (makers if number == "*" else [makers[int(number)]])]
        sample = len(chosen)
    else:
        sample = int(options.sample)
        chosen = draw(files, sample, options.seed)
    killed, survivors, done = 0, [], 0
    with concurrent.futures.ThreadPoolExecutor(options.jobs) as pool:
        chosen = iter(chosen)
        running = {}
        while True:
            while len(running) < options.jobs and done + len(running) < sample:
                mutant = next(chosen, None)
                if mutant is None:
                    break
                running[pool.submit(try_mutant, build, coverage, mutant)] = mutant
            if not running:
                break
            for future in concurrent.futures.wait(running, return_when=concurrent.futures.FIRST_COMPLETED)[0]:
                mutant, verdict = running.pop(future), future.result()
                if verdict is None:
                    if options.mutant:
                        print(f"{mutant}: the same program, or none")
                    continue
                done += 1
                killed += verdict.startswith("killed")
                if not verdict.startswith("killed"):
                    survivors.append((mutant, verdict))
                print(f"{done:4} {mutant}  {verdict}\n       - {mutant.old}\n       + {mutant.new}", flush=True)
    print(f"\n{killed} of {done} killed ({100 * killed / max(done, 1):.1f} %), seed {options.seed}; survivors:")
    for mutant, verdict in survivors:
        print(f"{mutant}  {verdict}\n  - {mutant.old}\n  + {mutant.new}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
