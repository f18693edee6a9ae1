#!/usr/bin/env python3
"""Writes src/base/unicode_tables.inc: what src/base/unicode.c knows of Unicode.

    python3 tools/make_unicode.py > src/base/unicode_tables.inc        no other packages

Everything comes from Python's own unicodedata module.
"""
import sys
import unicodedata as u

LAST = 0x110000
SPACES = {0x85, 0x20, 0xA0, 0x1680, 0x2028, 0x2029, 0x202F, 0x205F, 0x3000}
SPACES |= set(range(9, 14)) | set(range(0x2000, 0x200B))  # the property White_Space
HANGUL = range(0xAC00, 0xD7A4)


def class_of(c):
    """The numbers of kd_char_class."""
    category = u.category(chr(c))
    if c in SPACES:
        return 7
    if category in ("Mn", "Nd"):
        return {"Mn": 4, "Nd": 2}[category]
    return {"L": 1, "N": 3, "M": 5, "S": 6, "P": 6}.get(category[0], 0)


def table(kind, name, numbers):
    print(f"static const {kind} {name}[] = {{")
    line = "   "
    for number in numbers:
        word = f" {number},"
        if len(line) + len(word) > 100:
            print(line)
            line = "   "
        line += word
    print(line)
    print("};\n")


def classes():
    out, before = [], None
    for c in range(LAST):
        now = class_of(c)
        if now == 2 and before != 2:
            assert u.digit(chr(c)) == 0  # so that a digit's value is (c - start) mod 10
        if now == 2:
            assert u.digit(chr(c)) == (c - (out[-1] >> 3 if before == 2 else c)) % 10
        if now != before:
            out.append(c << 3 | now)
            before = now
    return out


def lower():
    """(start, how many, step, lower - upper) of runs of capitals."""
    runs = []
    for c in range(LAST):
        low = chr(c).lower()
        if len(low) != 1 or ord(low) == c:
            continue
        delta = ord(low) - c
        last = runs[-1] if runs else None
        if last and last[3] == delta:
            step = c - (last[0] + (last[1] - 1) * last[2])
            if step in (1, 2) and (last[1] == 1 or last[2] == step):
                last[1] += 1
                last[2] = step
                continue
        runs.append([c, 1, 1, delta])
    return [x for run in runs for x in run]


def decompositions():
    """Compatibility decompositions, complete: characters << 2 | what the canonical one is (0: the
    character itself, 1: the same, 2: another, in the last table), where each one's text starts, texts;
    (character, first, second or 0) of the others."""
    key, start, text, other = [], [], [], []
    for c in range(LAST):
        if c in HANGUL or 0xD800 <= c < 0xE000:
            continue
        full = u.normalize("NFKD", chr(c))
        if full == chr(c):
            continue
        canonical = u.normalize("NFD", chr(c))
        kind = 0 if canonical == chr(c) else 1 if canonical == full else 2
        key.append(c << 2 | kind)
        start.append(len(text))
        text += [ord(x) for x in full]
        if kind == 2:
            other += [c, ord(canonical[0]), ord(canonical[1]) if len(canonical) > 1 else 0]
    start.append(len(text))
    return key, start, text, other


def edges(category):
    """Where the characters of categories that begin so begin and end, in turns."""
    out, before = [], False
    for c in range(LAST):
        now = u.category(chr(c)).startswith(category)
        if now != before:
            out.append(c)
            before = now
    return out


def compositions():
    """(first, second, composed), sorted."""
    out = []
    for c in range(LAST):
        parts = u.decomposition(chr(c)).split()
        if len(parts) != 2 or parts[0].startswith("<"):
            continue
        a, b = (int(p, 16) for p in parts)
        if u.normalize("NFC", chr(a) + chr(b)) == chr(c):
            out.append((a, b, c))
    return [x for triple in sorted(out) for x in triple]


def combining():
    """(start << 8 | class) where the canonical combining class changes."""
    out, before = [], None
    for c in range(LAST):
        now = u.combining(chr(c))
        if now != before:
            out.append(c << 8 | now)
            before = now
    return out


def sigma_neighbours():
    """(start << 2 | kind) where it changes: 1 a letter with case, 2 passed over, when a capital sigma
    looks around whether it ends a word."""
    out, before = [], None
    for c in range(LAST):
        with_case = ("1" + chr(c) + "\u03a3").lower().endswith("\u03c2")
        passed = ("a" + chr(c) + "\u03a3").lower().endswith("\u03c2")
        now = 1 if with_case else 2 if passed else 0
        if now != before:
            out.append(c << 2 | now)
            before = now
    return out


print(f"/* Made by tools/make_unicode.py from Unicode {u.unidata_version}: do not edit. */\n")
table("uint8_t", "ascii_class", [class_of(c) for c in range(128)])
table("uint32_t", "class_start", classes())
table("int32_t", "lower_runs", lower())
table("uint32_t", "sigma_start", sigma_neighbours())
key, start, text, other = decompositions()
table("uint32_t", "decomposed", key)
table("uint16_t", "decomposition_at", start)
table("uint32_t", "decomposition", text)
table("uint32_t", "canonical_other", other)
table("uint32_t", "composed", compositions())
table("uint32_t", "combining_start", combining())
table("uint32_t", "punctuation_edge", edges("P"))
table("uint32_t", "format_edge", edges("Cf"))
assert len(text) < 65536, len(text)
sys.stdout.flush()
