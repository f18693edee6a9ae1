#!/bin/sh
# Runs test programs one after the other and closes with one line of totals.
# usage: run.sh PROGRAM...     exit status 0 only when nothing failed and something passed
# Threads that wait sleep: tests share the machine with others, and their loops are short.
OMP_WAIT_POLICY=${OMP_WAIT_POLICY:-passive}
export OMP_WAIT_POLICY
passed=0 failed=0 skipped=0
log=$(mktemp)
trap 'rm -f "$log"' EXIT
for program in "$@"; do
    echo "== $program"
    start=$(date +%s)
    "$program" >"$log" 2>&1
    status=$?
    ok=$(grep -c '^\[       OK \]' "$log")
    # cmocka names these tests twice, where they ran and in the summary.
    bad=$(grep '^\[  FAILED  \] [^0-9]' "$log" | sort -u | wc -l)
    skip=$(grep '^\[  SKIPPED \] [^0-9]' "$log" | sort -u | wc -l)
    # A program that dies without cmocka's summary is one failure.
    if [ "$status" -ne 0 ] && [ "$bad" -eq 0 ]; then bad=1; fi
    if [ "$bad" -ne 0 ]; then cat "$log"; fi
    grep '^SKIP' "$log"
    echo "   $ok passed, $bad failed, $skip skipped, $(($(date +%s) - start)) s"
    passed=$((passed + ok)) failed=$((failed + bad)) skipped=$((skipped + skip))
done
echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
