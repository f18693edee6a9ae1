#!/usr/bin/env python3
"""Golden texts: what Hugging Face's copies of Whisper's normalisers and jiwer make of them.

usage: make_text.py english.json        run in tests/golden; needs transformers and jiwer

Writes normalizer.tsv (text, English, basic; \\n and \\t escaped), letters.tsv (text, basic with
letters apart) and wer.tsv (reference, hypothesis, changes, words).
"""
import json
import random
import sys
import unicodedata

import jiwer
from transformers.models.whisper.english_normalizer import (
    BasicTextNormalizer,
    EnglishTextNormalizer,
)

TEXTS = """
Hello, World!
 And so, my fellow Americans: ask NOT what your country can do for you.
Hmm, uh, I mean, um... mhm [noise] it's (laughs) <b>fine</b> (); a [b c (d) e
Mr. Smith's car won't start; he can't, ain't, shan't, y'all, let's go, I'ma go, imma
He'd been there, she's gone, they'd done it, it's got 'em, we're, you'll, I've, I'm, don 't
Dr. Jones and Prof. Lee, Capt. Kirk, Gen. Lee, Sen. Doe, Rev. Moon, St. Ives, Jr. Sr. Esq. Lt. Col.
I wanna gonna gotta woulda coulda shoulda ma'am
the colour of aluminium in the theatre; he organised, travelled and analysed the catalogue
two hundred and five dollars and seven cents
two dollars and seven cents; $2 and ¢7; $0.07; £0.50; 0.07 dollars; five cents
twenty one, twenty-one, twenty first, one hundred and one, nineteen ninety nine, two thousand twenty
one oh one, double oh seven, triple five, double trouble, double twelve
three and a half million; a dog and a half; two and a half; and a half
three point one four one five nine, point five, point, the point is, point hundred
minus five degrees, negative two, plus ten, positive thinking, minus the cat
ten percent, ten per cent, 10 %, percent, per cent, five per hour, 50% off, a%
one two three four five six seven eight nine ten eleven twelve
the first, second, third, fourth, fifth, eighth, ninth, nineth, twelfth, twentieth, thirtieth
the sixties, the 1960s, 1960 s, twenties, sixes and sevens, hundreds of thousands, millions
1st 2nd 3rd 4th 1 st 22 nd 3 rd 1.5 1 1s 21st
1,234,567.89 and 1,2,3 and 007 and 3.0 and 12.50 and 5.5.1 and .5 and 5.
nine hundred ninety nine thousand nine hundred ninety nine
one million two hundred thirty four thousand five hundred sixty seven
one decillion two nonillion three, 123456789012345678901234567890 thousand
one point five million, 1.2345 hundred, 1.2345 million, 2.5 hundredths, zero hundred, 0 thousand
five hundred hundred, one thousand thousand, hundred, thousandth
twenty twenty, thirty forty, forty two oh, ten twenty, ninety eighteen, 100 twelve, 120 twelve
$5 million, $20, £3, €4.50, five pounds, six euros, dollar, one dollar bill, ¢, $
b2b, mp3, 4x4, covid19, a1 b2c3, route 66
naïve café Ångström Łódź søster straße œuvre Æsop ÐÞ ﬁnal e\u0301 İstanbul ΟΔΥΣΣΕΥΣ
Привет, Мир! Ёлка й; 你好，世界。「引用」 नमस्ते दुनिया ٣٤ ४५ ½ ² Ⅷ ①
tab\there\nnew  line\u00a0nbsp\u3000wide \u2028x .
'tis the season o'clock rock 'n' roll “quotes” ‘single’ it’s don’t – — … / \\ _ * & @ #
and 5, and five, hundred and five, hundred and cat, five and six, one hundred and
o o o, oh dear, zero, zeros, zeroth, one's own, ones, the one
.com .5 a.b.c. U.S.A. 3.x x.3 ... .. . $a £. %5 5%5
""".strip("\n").split("\n")


# Languages that write no spaces, and what else makes more than one character a letter.
LETTERS = """
你好，世界。這是一個測試！ (笑) [噪音] 第２０３號 ＡＢＣ
今日はとても良い天気ですね。カタカナ、ｶﾞｷﾞｸﾞ、か゛ヴ「引用」㍿ ①②
สวัสดีครับ ผมชื่อสมชาย น้ำ กำลัง เก่ง ๑๒๓
ສະບາຍດີ ຂ້ອຍຊື່ ນ້ຳ ໑໒໓ ໜ
မင်္ဂလာပါ ကျွန်တော် ကောင်းပါတယ် ၁၂၃
佢哋喺度食緊飯㗎喇。唔該晒！
한국어 ᄒ\u1161ᆫ \u1112\u119e\u11ab 각 ᄀᄀ\u1161
Hello wörld e\u0301 ﬁ a\u200db \u200cx y\u200c\u200dz  \u200b七\u200b八 \u200d
नमस्ते दुनिया क्‍ष שָׁלוֹם مرحبا 👩\u200d👩\u200d👧 🇩🇪 🏴\U000e0067\U000e0062\U000e007f
İstanbul ΟΔΥΣΣΕΥΣ \u3000 \u00a0 ... \u00ad \ufeff \u2060
""".strip("\n").encode("raw_unicode_escape").decode("raw_unicode_escape").split("\n")
RANGES = [(0x4E00, 0x4E40), (0x3041, 0x30FF), (0xFF61, 0xFF9F), (0x0E01, 0x0E5B), (0x0E81, 0x0EDF),
          (0x1000, 0x109F), (0x1100, 0x11FF), (0xAC00, 0xAC40), (0x200B, 0x200D), (0x20, 0x7E)]


def letters():
    yield from LETTERS
    rng = random.Random(6)
    for _ in range(150):
        ranges = rng.sample(RANGES, 3)
        chars = (chr(rng.randint(*rng.choice(ranges))) for _ in range(rng.randint(1, 16)))
        yield "".join(c for c in chars if c != "\\" and unicodedata.category(c) != "Cn")


def escaped(text):
    assert not set(text) & set("\r\x00") and "\\n" not in text and "\\t" not in text
    return text.replace("\n", "\\n").replace("\t", "\\t")


def texts(english):
    yield from (t.replace("\\t", "\t").replace("\\n", "\n") if "tab" in t else t for t in TEXTS)
    rng = random.Random(4)
    words = sorted(english.standardize_numbers.words) + ["the", "cat", "12", "3.5", "$7", "and", "a"]
    for _ in range(200):
        yield " ".join(rng.choice(words) for _ in range(rng.randint(2, 8)))


def main():
    with open(sys.argv[1]) as file:
        english, basic = EnglishTextNormalizer(json.load(file)), BasicTextNormalizer()
    with open("normalizer.tsv", "w", newline="") as file:
        for text in texts(english):
            file.write("\t".join(map(escaped, (text, english(text), basic(text)))) + "\n")
    apart = BasicTextNormalizer(split_letters=True)
    with open("letters.tsv", "w", newline="") as file:
        for text in letters():
            file.write("\t".join(map(escaped, (text, apart(text)))) + "\n")
    rng = random.Random(5)
    with open("wer.tsv", "w") as file:
        for i in range(120):
            words = "abcdefgh"[: 2 + i % 7]
            a, b = (" ".join(rng.choices(words, k=rng.randint(1, 4 + i // 4))) for _ in "ab")
            found = jiwer.process_words(a, b)
            changes = found.substitutions + found.deletions + found.insertions
            file.write(f"{a}\t{b}\t{changes}\t{len(a.split())}\n")


main()
