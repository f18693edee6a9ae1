#!/bin/sh
# tests/golden/sounds: half a second of 440 Hz in formats that no library of the tests can write.
# Needs ffmpeg (Debian's 5.1 made these).
cd "$(dirname "$0")/sounds" || exit 1
for name in tone.m4a tone.webm tone.aac; do
    ffmpeg -v error -y -f lavfi -i 'sine=frequency=440:duration=0.5:sample_rate=16000' -ac 2 \
        -b:a 24k -map_metadata -1 -fflags +bitexact -flags:a +bitexact "$name" || exit 1
done
