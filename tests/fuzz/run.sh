#!/bin/sh
# Runs fuzzers one after the other, each from the seeds of its reader, and says for each what it did.
# usage: run.sh RUNS PROGRAM...     from the project's top; what they find lands in build/fuzz
runs=$1
shift
here=$(pwd)/build/fuzz # absolute: a fuzzer may change its folder
"$here/seeds" "$here/seeds.d" || exit 1
mkdir -p "$here/seeds.d/config"
for file in configs/*.json experiments/*/*.json; do
    cp "$file" "$here/seeds.d/config/$(echo "$file" | tr / -)"
done
# libFuzzer's dictionary: every word in quotes of the schema, with its quotes.
grep -o '"[a-z_0-9]*"' configs/schema.json | sort -u | sed 's/"\(.*\)"/"\\"\1\\""/' >"$here/config.dict"

for program in "$@"; do
    reader=${program##*/fuzz_}
    n=$runs
    if [ "$reader" = store ]; then n=$((runs / 50)); fi # libhdf5 makes and reads a file each time
    leaks=1 # libhdf5 and libsndfile leak when what they read is damaged
    case $reader in store | audio) leaks=0 ;; esac
    longest=16384
    case $reader in
    whisper) longest=131072 ;; # it starts from a whole model
    text) longest=2048 ;; # a transcript of more than half a minute
    esac
    dictionary=
    case $reader in config | sweep) dictionary=-dict=$here/config.dict ;; esac
    mkdir -p "$here/corpus/$reader" "$here/seeds.d/$reader"
    start=$(date +%s)
    if ! OMP_NUM_THREADS=1 ASAN_OPTIONS=detect_leaks=$leaks:quarantine_size_mb=16 "$program" -runs="$n" -rss_limit_mb=4096 -max_len=$longest -timeout=60 $dictionary \
        -artifact_prefix="$here/$reader-" "$here/corpus/$reader" "$here/seeds.d/$reader" \
        >"$here/$reader.log" 2>&1; then
        tail -40 "$here/$reader.log"
        echo "fuzz_$reader: failed, see $here/$reader.log"
        exit 1
    fi
    echo "$reader: $(sed -n 's/^#\([0-9]*\)[[:space:]]*DONE *\(cov.*\) lim:.*/\1 executions, \2/p' \
        "$here/$reader.log"), $(($(date +%s) - start)) s"
done
