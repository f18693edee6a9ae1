#!/usr/bin/env python3
"""Teacher stores for distill, written and read with h5py: the way in for a teacher that does not
run in distill (a PyTorch model, an API, an ensemble). The format: docs/teacher-store.md.

    teacher_store.py write STORE --npz ROWS.npz [--teacher WEIGHTS] [--class-names NAMES.txt]
                     [--kind topk --k 16 --temperatures 4] [--dtype float16]
                     [--kind sampled --draws 50 --temperatures 1]
    teacher_store.py show STORE

ROWS.npz holds `id` (N), `logits` (N,V) and, if there are, `label` (N) and `view` (N). Sequences add
`length` (N): then `logits` and `label` have a row for each of their positions, one sample after the
other. Hidden states (P,width) take the place of `logits` as `hidden`, with `output` (V,width). From
Python:

    from teacher_store import write_store
    write_store("store", ids, labels, logits, class_names=names, teacher=hash_of_file("resnet.pt"))
"""
import argparse
import hashlib
import os
import re
import sys
import zlib

import h5py
import numpy as np

SCHEMA = "distill-teacher-store"
ROWS_VERSION, RUNS_VERSION, VERSION = 1, 2, 3  # 2: hidden states, sequences; 3: draws
SEAL_BYTES = 512
SHARD_BYTES, SHARD_ROWS = 1 << 26, 1 << 16
HALF_MAX = 65504.0
CLASSES_MAX, WIDTH_MAX, TEMPERATURES_MAX = 1 << 24, 1 << 16, 8
DRAWS_MAX, DRAWN_MAX = 4096, 1 << 24
# Of HDF5's format: new enough for attributes beyond 64 KiB, old enough for libhdf5 1.10. What newer
# libraries write as their latest, older ones cannot open.
LIBVER = ("v108", "v110")


class StoreError(Exception):
    pass


def hash_of_file(path):
    """32 hexadecimal digits that identify a file of weights."""
    digest = hashlib.blake2b(digest_size=16)
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


# --- sealed files --------------------------------------------------------------------------------


def seal_of(file):
    """The block that must stand in front of what `file` holds behind it."""
    file.seek(SEAL_BYTES)
    length = crc = 0
    while block := file.read(1 << 20):
        length += len(block)
        crc = zlib.crc32(block, crc)
    return b"distill-sealed-hdf5 1 length %d crc32 %08x\n" % (length, crc)


def write_sealed(path, fill):
    """Makes `path` whole or not at all: fill(h5py.File), seal, fsync, rename, fsync of the folder."""
    part = path + ".part"
    try:
        with h5py.File(part, "w", libver=LIBVER, userblock_size=SEAL_BYTES) as file:
            fill(file)
        with open(part, "r+b") as file:
            seal = seal_of(file)
            file.seek(0)
            file.write(seal.ljust(SEAL_BYTES, b"\0"))
            file.flush()
            os.fsync(file.fileno())
        os.rename(part, path)
    except BaseException:
        if os.path.exists(part):
            os.unlink(part)
        raise
    folder = os.open(os.path.dirname(path) or ".", os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def check_seal(path):
    with open(path, "rb") as file:
        found = file.read(SEAL_BYTES)
        if not found.startswith(b"\x89HDF\r\n\x1a\n") and found.rstrip(b"\0") != seal_of(file):
            raise StoreError(f"{path}: damaged: its content does not match its seal")


# --- rows ----------------------------------------------------------------------------------------


def to_dtype(logits, dtype, harmless=-32768):
    """Rounds to the stored type. The rule for float16 is kd_store_writer_append's: a row whose
    largest is at least `harmless` may have smaller numbers than float16 holds."""
    if dtype == "float32":
        return logits
    high = logits.max(axis=1)
    low = logits.min(axis=1)
    if (high > HALF_MAX).any() or ((low < -HALF_MAX) & (high < harmless)).any():
        raise StoreError("a number does not fit float16; store them as float32")
    return np.maximum(logits, np.float32(-HALF_MAX)).astype(np.float16)


def top_k(logits, k, temperatures):
    """index and logits of the k largest (the lower class first among equals), and the logarithm of
    the sum of e^(v/t) over the rest, for each temperature t."""
    order = np.argsort(-logits, axis=1, kind="stable")
    index = order[:, :k].astype(np.int32)
    rest = np.take_along_axis(logits, order[:, k:], axis=1).astype(np.float64)
    top = rest[:, :1]
    tail = [top[:, 0] / t + np.log(np.exp((rest - top) / t).sum(axis=1)) for t in temperatures]
    return index, np.take_along_axis(logits, index, axis=1), np.stack(tail, 1).astype(np.float32)


def draw(logits, draws, temperature, random):
    """Of each row: how many different classes, and the classes drawn from softmax(v/t) with how often
    each came up, in three bytes."""
    classes = logits.shape[1]
    different, entries = [], []
    for row in logits.astype(np.float64):
        p = np.exp((row - row.max()) / temperature)
        drawn = random.choice(classes, draws, p=p / p.sum())
        unique, count = np.unique(drawn, return_counts=True)
        different.append(len(unique))
        entries.append(unique + classes * (count - 1))
    codes = np.concatenate(entries).astype("<u4")
    return np.array(different), codes.view(np.uint8).reshape(-1, 4)[:, :3]


def drawn_classes(drawn, classes, draws):
    """The positions, classes and counts of the dataset `drawn`."""
    codes = np.pad(drawn, ((0, 0), (0, 1))).view("<u4").ravel()
    counts = codes // classes + 1
    return (np.cumsum(counts) - counts) // draws, codes % classes, counts


def tokens_crc(labels, lengths):
    """The CRC-32 of each run's label tokens, as little-endian int32."""
    runs = np.split(labels.astype("<i4"), np.cumsum(lengths)[:-1])
    return np.array([zlib.crc32(run.tobytes()) for run in runs], np.uint32)


def narrowed(output):
    """The output matrix as float16 when that loses nothing."""
    with np.errstate(over="ignore"):
        half = output.astype(np.float16)
    return half if (half.astype(np.float32) == output).all() else output


def columns_of(ids, labels, views, lengths, logits, kind, dtype, k, draws, temperatures, random):
    columns = {"id": ids, "view": views}
    if lengths is None:
        columns["label"] = labels
    else:
        columns.update(length=lengths, label_crc32=tokens_crc(labels, lengths))
    if kind == "dense":
        columns["logits"] = to_dtype(logits, dtype)
    elif kind == "hidden":
        columns["hidden"] = to_dtype(logits, dtype, harmless=np.inf)
    elif kind == "sampled":
        different, columns["drawn"] = draw(logits, draws, temperatures[0], random)
        first = np.concatenate([[0], np.cumsum(lengths)[:-1]])
        columns["counts"] = np.add.reduceat(different, first).astype(np.int32)
    else:
        index, kept, tail = top_k(logits, k, temperatures)
        columns.update(index=index, kept=to_dtype(kept, dtype), tail=tail)
    return columns


def fill_shard(file, attributes, columns):
    for name, value in attributes.items():
        file.attrs[name] = value
    for name, values in columns.items():
        values = np.ascontiguousarray(values)
        row_bytes = values.nbytes // len(values)
        rows = max(1, min(len(values), (1 << 20) // row_bytes))
        dataset = file.create_dataset(name, data=values, chunks=(rows,) + values.shape[1:],
                                      fletcher32=True)
        dataset.attrs["crc32"] = np.int64(zlib.crc32(values.tobytes()))


def whole(values, name, dtype):
    """values as a list of whole numbers of `dtype`, or an error: nothing is rounded, cut or wrapped."""
    array = np.asarray(values)
    if array.ndim != 1:
        hint = "; one-hot? argmax(1) makes classes of it" if array.ndim == 2 else ""
        raise StoreError(f"{name} must be a list of numbers, found the shape {array.shape}{hint}")
    if array.dtype.kind not in "iu" and array.size:
        raise StoreError(f"{name} must be whole numbers, found {array.dtype}")
    limits = np.iinfo(dtype)
    if array.size and not limits.min <= int(array.min()) <= int(array.max()) <= limits.max:
        raise StoreError(f"{name} must be {limits.min} to {limits.max}, found {array.min()} to "
                         f"{array.max()}")
    return array.astype(dtype)


def real(values, name):
    """values as float32 in rows; what float32 does not hold becomes infinite, and is refused later."""
    array = np.asarray(values)
    if array.dtype.kind not in "iuf" or array.ndim != 2:
        raise StoreError(f"{name} must be rows of numbers, found {array.dtype} of shape "
                         f"{array.shape}")
    with np.errstate(over="ignore"):
        return np.ascontiguousarray(array, dtype="<f4")


def check_rows(ids, labels, view, lengths, logits, views, classes):
    rows = len(ids)
    if len(view) != rows or (lengths is not None and len(lengths) != rows):
        raise StoreError("ids, view and lengths must have as many rows as each other")
    if rows == 0 or (lengths is not None and lengths.min() < 1):
        raise StoreError("a store needs rows, and each a position or more")
    positions = rows if lengths is None else int(lengths.sum(dtype=np.int64))
    if len(logits) != positions or len(labels) != positions:
        raise StoreError(f"{len(logits)} rows of numbers and {len(labels)} labels for {positions} "
                         "positions")
    none = 0 if lengths is not None else 1  # −1 stands for no label
    bad = np.flatnonzero((labels < -none) | (labels >= classes))
    if len(bad):
        raise StoreError(f"label {labels[bad[0]]} of position {bad[0]} is none of the {classes} "
                         "classes")
    bad = np.flatnonzero(~np.isfinite(logits).all(axis=1))
    if len(bad):
        sample = bad[0] if lengths is None else np.searchsorted(np.cumsum(lengths), bad[0], "right")
        raise StoreError(f"a number of the teacher for sample {ids[sample]} is not finite in float32")
    if view.min() < 0 or view.max() >= views:
        raise StoreError(f"a view is not one of 0 … {views - 1}")
    pairs = np.stack([ids, view.astype(np.uint64)], 1)
    unique, count = np.unique(pairs, axis=0, return_counts=True)
    if len(unique) != rows:
        twice = unique[count > 1][0]
        raise StoreError(f"two rows are of sample {twice[0]}, view {twice[1]}")


def check_draws(kind, classes, draws, temperatures, lengths):
    if kind != "sampled":
        if draws is not None:
            raise StoreError(f"draws are for kind sampled, not for {kind}")
        return
    most = min(DRAWS_MAX, DRAWN_MAX // classes)
    if draws is None or not 1 <= draws <= most or len(temperatures) != 1 or lengths is None:
        raise StoreError(f"sampled needs draws of 1 … {most} (found {draws}), one temperature (found "
                         f"{len(temperatures)}) and lengths")


def check_kind(kind, dtype, width, classes, k, temperatures, output):
    if kind not in ("dense", "topk", "hidden", "sampled") or dtype not in ("float16", "float32"):
        raise StoreError("kind must be dense, topk, hidden or sampled, dtype float16 or float32")
    if not 2 <= classes <= CLASSES_MAX:
        raise StoreError(f"{classes} classes: a store needs 2 to {CLASSES_MAX}")
    if kind != "topk" and k is not None or kind in ("dense", "hidden") and len(temperatures):
        raise StoreError(f"k is for kind topk, temperatures for topk and sampled, not for {kind}")
    if kind == "topk" and (k is None or not 1 <= k < classes
                           or not 1 <= len(temperatures) <= TEMPERATURES_MAX):
        raise StoreError(f"topk needs k of 1 … {classes - 1} (found {k}) and 1 to "
                         f"{TEMPERATURES_MAX} temperatures (found {len(temperatures)})")
    if not (np.isfinite(temperatures) & (temperatures > 0)).all():
        raise StoreError(f"temperatures must be above 0, found {temperatures.tolist()}")
    if (kind == "hidden") != (output is not None):
        raise StoreError("hidden states, and only they, come with an output matrix")
    if output is not None and not (1 <= output.shape[1] == width <= WIDTH_MAX
                                   and np.isfinite(output).all()):
        raise StoreError(f"the output matrix must be (V,{width}) finite numbers, {WIDTH_MAX} wide at "
                         "most")


def check_texts(class_names, classes, teacher, data, description):
    for name, value in ("teacher", teacher), ("data", data):
        if not re.fullmatch("([0-9a-f]{32})?", value):
            raise StoreError(f"{name} is '{value}', must be 32 lower-case hexadecimal digits (see "
                             "hash_of_file), or empty")
    if len(description.encode()) > 255 or "\0" in description:
        raise StoreError("the description must have at most 255 bytes, none of them 0")
    if class_names is None:
        return
    if len(class_names) != classes:
        raise StoreError(f"{len(class_names)} class names for {classes} classes")
    seen = set()
    for name in class_names:
        if not name or re.search("[\0-\x1f\x7f-\x9f]", name):
            raise StoreError(f"the class name {name!r} is empty or has a control character")
        if name in seen:
            raise StoreError(f"two classes have the name '{name}'")
        seen.add(name)


def shard_ends(lengths, shard_rows, positions):
    """The row behind each shard's last: at most so many rows, and so many positions."""
    ends, first, held = [], 0, 0
    for row, length in enumerate(lengths):
        if row > first and (row - first == shard_rows or held + length > positions):
            ends.append(row)
            first, held = row, 0
        held += length
    return ends + [len(lengths)]


def write_store(path, ids, labels, logits, *, class_names=None, teacher="", data="", kind="dense",
                dtype="float16", k=None, draws=None, temperatures=(), seed=1, output=None,
                lengths=None, view=None, views=1, augmented=False, description="",
                shard_rows=None):
    """Writes a store from arrays: ids (N), labels (N) or None, logits (N,V).

    path         one file when it ends with .h5, else a folder of shards; there must be none yet
    ids, labels  whole numbers of any width: nothing is rounded, cut or wrapped
    class_names  V names in order; distill compares them with its data's
    teacher      32 lower-case hexadecimal digits that identify the weights, see hash_of_file
    data         the same for the samples
    kind         "dense", or "topk" with `k` and the `temperatures` that training will use, or
                 "hidden": `logits` are the teacher's last hidden states (N,width) and `output` is
                 its output matrix (V,width); or "sampled", of sequences: so many `draws` from
                 softmax(v/t) at each position, t being the one of `temperatures`, by `seed`
    lengths      sequences: positions per sample (N). `logits` and `labels` then have Σ lengths
                 rows, those of one sample behind those of the one before
    view, views  with augmented views: each row's view, and how many there are
    """
    path = os.fspath(path)
    ids = whole(ids, "ids", np.uint64)
    rows = len(ids)
    if lengths is not None:
        lengths = whole(lengths, "lengths", np.int32)
        if labels is None:
            raise StoreError("sequences need their label tokens")
    labels = np.full(rows, -1, np.int32) if labels is None else whole(labels, "labels", np.int32)
    view = np.zeros(rows, np.int32) if view is None else whole(view, "view", np.int32)
    k = None if k is None else int(whole([k], "k", np.int32)[0])
    draws = None if draws is None else int(whole([draws], "draws", np.int32)[0])
    views = int(whole([views], "views", np.int32)[0])
    logits = real(logits, "logits")
    output = None if output is None else real(output, "output")
    temperatures = np.asarray(temperatures, np.float64)
    width = logits.shape[1]
    classes = width if output is None else len(output)
    check_kind(kind, dtype, width, classes, k, temperatures, output)
    check_draws(kind, classes, draws, temperatures, lengths)
    check_texts(class_names, classes, teacher, data, description)
    check_rows(ids, labels, view, lengths, logits, views, classes)
    version = RUNS_VERSION if kind == "hidden" or lengths is not None else ROWS_VERSION
    if kind == "sampled":
        version = VERSION
    random = np.random.default_rng(seed)
    attributes = {"schema": SCHEMA, "version": version, "kind": kind, "dtype": dtype,
                  "classes": classes, "views": views, "augmented": int(augmented),
                  "teacher": teacher, "data": data, "total_rows": rows,
                  "description": description}
    if class_names is not None:
        attributes["class_names"] = "\n".join(class_names)
    if kind == "topk":
        attributes.update(k=k, temperatures=temperatures)
    if kind == "sampled":
        attributes.update(draws=draws, temperatures=temperatures)
    if kind == "hidden":
        attributes.update(width=width, output_crc32=np.int64(zlib.crc32(output.tobytes())))
    if lengths is not None:
        attributes.update(sequences=1)
    single = path.endswith(".h5")
    if not single:
        os.makedirs(path, exist_ok=True)
    if os.path.exists(path) if single else any(n.startswith("shard-") for n in os.listdir(path)):
        raise StoreError(f"{path}: there is a store already; remove it first")
    runs = np.ones(rows, np.int64) if lengths is None else lengths.astype(np.int64)
    behind = np.concatenate([[0], np.cumsum(runs)])
    ends = [rows] if single else shard_ends(runs, shard_rows or SHARD_ROWS,
                                            max(1, SHARD_BYTES // (2 * width)))
    first = 0
    written = []
    try:
        for number, end in enumerate(ends):
            part, positions = slice(first, end), slice(behind[first], behind[end])
            columns = columns_of(ids[part], labels[positions], view[part],
                                 None if lengths is None else lengths[part], logits[positions],
                                 kind, dtype, k, draws, temperatures, random)
            head = dict(attributes, first_row=first, rows=end - first)
            if lengths is not None:
                head["positions"] = positions.stop - positions.start
            if kind == "sampled":
                head["drawn"] = len(columns["drawn"])
            if number == 0 and output is not None:
                columns["output"] = narrowed(output)
            name = path if single else os.path.join(path, f"shard-{number:05d}.h5")
            write_sealed(name, lambda file: fill_shard(file, head, columns))
            written.append(name)
            first = end
    except BaseException:  # a store is there whole or not at all
        for name in written:
            os.unlink(name)
        raise


# --- reading -------------------------------------------------------------------------------------


def text(value):
    return value.decode() if isinstance(value, bytes) else value


def read_shard(path):
    check_seal(path)
    with h5py.File(path, "r") as file:
        head = {name: text(value) for name, value in file.attrs.items()}
        if head.get("schema") != SCHEMA or head.get("version") not in (1, 2, 3):
            raise StoreError(f"{path}: is not a teacher store of version 1 to 3")
        columns = {}
        for name, dataset in file.items():
            columns[name] = dataset[()]
            if zlib.crc32(columns[name].tobytes()) != dataset.attrs["crc32"]:
                raise StoreError(f"{path}: /{name}: wrong checksum")
    return head, columns


def read_store(path):
    """(attributes, columns) of a whole store, checked."""
    path = os.fspath(path)
    if not os.path.isdir(path):
        return read_shard(path)
    shards = []
    rows = 0
    while not shards or rows < shards[0][0]["total_rows"]:
        shards.append(read_shard(os.path.join(path, f"shard-{len(shards):05d}.h5")))
        if shards[-1][0]["first_row"] != rows:
            raise StoreError(f"{path}: shard {len(shards) - 1} is not the one that comes next")
        rows += shards[-1][0]["rows"]
    names = shards[0][1]
    head = shards[0][0]
    if "positions" in head:
        head["positions"] = sum(h["positions"] for h, _ in shards)
    if "drawn" in head:
        head["drawn"] = sum(h["drawn"] for h, _ in shards)
    return head, {name: np.concatenate([c[name] for _, c in shards if name in c]) for name in names}


# --- command line --------------------------------------------------------------------------------


def write_command(options):
    rows = np.load(options.npz)
    for name in ("id", "logits" if "hidden" not in rows else "output"):
        if name not in rows:
            raise StoreError(f"{options.npz}: has no array '{name}', only {', '.join(rows)}")
    names = None
    if options.class_names:
        with open(options.class_names, encoding="utf-8") as file:
            names = file.read().removeprefix("\ufeff").removesuffix("\n").split("\n")
    view = rows["view"] if "view" in rows else None
    hidden = "hidden" in rows
    write_store(options.store, rows["id"], rows["label"] if "label" in rows else None,
                rows["hidden" if hidden else "logits"], class_names=names, view=view,
                output=rows["output"] if hidden else None,
                lengths=rows["length"] if "length" in rows else None,
                views=1 if view is None else int(view.max()) + 1, augmented=view is not None,
                teacher=hash_of_file(options.teacher) if options.teacher else "",
                kind="hidden" if hidden else options.kind, dtype=options.dtype, k=options.k,
                draws=options.draws, seed=options.seed,
                temperatures=[float(t) for t in options.temperatures.split(",") if t],
                description=options.description)


def show_command(options):
    head, columns = read_store(options.store)
    for name, value in sorted(head.items()):
        print(f"{name:14} {value!r}")
    for name, values in columns.items():
        print(f"/{name:13} {values.dtype} {values.shape}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    commands = parser.add_subparsers(required=True)
    write = commands.add_parser("write", help="make a store from the arrays of an .npz file")
    write.add_argument("store", help="a folder, or one file ending with .h5")
    write.add_argument("--npz", required=True,
                       help="arrays id, logits (or hidden and output), maybe label, view, length")
    write.add_argument("--teacher", help="the teacher's file of weights, to be hashed")
    write.add_argument("--class-names", help="a text file, one name a line")
    write.add_argument("--kind", choices=["dense", "topk", "sampled"], default="dense")
    write.add_argument("--dtype", choices=["float16", "float32"], default="float16")
    write.add_argument("--k", type=int, help="topk: logits kept per row")
    write.add_argument("--draws", type=int, help="sampled: classes drawn for each position")
    write.add_argument("--seed", type=int, default=1, help="sampled: of the draws (default: 1)")
    write.add_argument("--temperatures", default="", help="topk: for example 1,4; sampled: one")
    write.add_argument("--description", default="")
    write.set_defaults(run=write_command)
    show = commands.add_parser("show", help="check a store and print what it says of itself")
    show.add_argument("store")
    show.set_defaults(run=show_command)
    options = parser.parse_args()
    try:
        options.run(options)
    except (StoreError, OSError, KeyError, ValueError) as error:
        sys.exit(f"teacher_store.py: {error}")


if __name__ == "__main__":
    main()
