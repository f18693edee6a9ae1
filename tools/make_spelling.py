#!/usr/bin/env python3
"""Writes src/data/spelling_table.inc, British → American, from the list Whisper's normaliser uses.

    python3 tools/make_spelling.py english.json > src/data/spelling_table.inc

english.json: whisper/normalizers/english.json of github.com/openai/whisper (MIT). Entries of several
words are left out: the normaliser looks up single words.
"""
import json
import sys

NOTICE = """/* Made by tools/make_spelling.py: do not edit. The list is english.json of OpenAI's Whisper:
 *
 * MIT License, Copyright (c) 2022 OpenAI
 *
 * Permission is hereby granted, free of charge, to any person obtaining a copy of this software and
 * associated documentation files (the "Software"), to deal in the Software without restriction,
 * including without limitation the rights to use, copy, modify, merge, publish, distribute,
 * sublicense, and/or sell copies of the Software, and to permit persons to whom the Software is
 * furnished to do so, subject to the following conditions:
 *
 * The above copyright notice and this permission notice shall be included in all copies or
 * substantial portions of the Software.
 *
 * THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR IMPLIED, INCLUDING BUT
 * NOT LIMITED TO THE WARRANTIES OF MERCHANTABILITY, FITNESS FOR A PARTICULAR PURPOSE AND
 * NONINFRINGEMENT. IN NO EVENT SHALL THE AUTHORS OR COPYRIGHT HOLDERS BE LIABLE FOR ANY CLAIM,
 * DAMAGES OR OTHER LIABILITY, WHETHER IN AN ACTION OF CONTRACT, TORT OR OTHERWISE, ARISING FROM, OUT
 * OF OR IN CONNECTION WITH THE SOFTWARE OR THE USE OR OTHER DEALINGS IN THE SOFTWARE.
 */
"""

with open(sys.argv[1]) as file:
    table = {k: v for k, v in json.load(file).items() if " " not in k}
assert all(text.isascii() and '"' not in text for pair in table.items() for text in pair)
print(NOTICE)
print("static const char *const spelling[][2] = {")
line = "   "
for british, american in sorted(table.items()):
    word = f' {{"{british}", "{american}"}},'
    if len(line) + len(word) > 100:
        print(line)
        line = "   "
    line += word
print(line)
print("};")
