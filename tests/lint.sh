#!/bin/sh
# The laws a compiler does not check: includes go down the rooms only, no task knows another, only gemm*.c know the matrix
# libraries, nobody below cli exits, files stay readable. Prints each breach; exits 1 on any.
cd "$(dirname "$0")/.." || exit 70
status=0

breach() {
    echo "lint: $*"
    status=1
}

# room: rooms it may include
allowed() {
    case $1 in
    base) echo "base" ;;
    data) echo "base data" ;;
    autograd) echo "base autograd" ;;
    layers) echo "base config autograd layers" ;;
    files) echo "base data autograd layers files" ;;
    quant) echo "base data autograd layers files quant" ;;
    config | report) echo "base config report" ;;
    planner) echo "base config planner" ;;
    distill) echo "base data autograd layers files quant config report distill" ;;
    tasks) echo "base data autograd layers files quant config report distill tasks" ;;
    api) echo "base data autograd layers files quant config report distill tasks api" ;;
    cli) echo "base data autograd layers files quant config report planner distill tasks cli" ;;
    esac
}

for file in $(find src -mindepth 2 -name "*.[ch]" | sort); do
    room=$(echo "$file" | cut -d/ -f2)
    for other in $(sed -n 's/^#include "\([a-z]*\)\/.*/\1/p' "$file" | sort -u); do
        case " $(allowed "$room") " in
        *" $other "*) ;;
        *) breach "$file includes $other/, which is above or beside $room/" ;;
        esac
    done
    if grep -qE '[^a-z_](exit|_exit|_Exit)\(' "$file" && [ "$room" != cli ]; then
        breach "$file calls exit"
    fi
    if grep -qE '#include <(cblas|oneapi|dnnl)' "$file" && ! expr "$file" : 'src/autograd/gemm.*\.c' >/dev/null; then
        breach "$file includes a matrix library"
    fi
    if grep -q '#include <mpi' "$file" && [ "$file" != src/base/ranks.c ]; then
        breach "$file includes MPI"
    fi
    if grep -qE 'cJSON_(Parse|Print)[A-Za-z]*\(' "$file" && [ "$file" != src/base/json.c ]; then
        breach "$file parses or prints JSON past base/json.h"
    fi
    task=$(expr "$file" : 'src/tasks/\([a-z]*\)/')
    if [ -n "$task" ] && sed -n 's/^#include "tasks\/\([a-z]*\)\/.*/\1/p' "$file" | grep -qv "^$task$"; then
        breach "$file includes another task"
    fi
    lines=$(wc -l <"$file")
    [ "$lines" -le 550 ] || breach "$file has $lines lines"
done

# Every test program is built, and every op has a case (the build checks the latter).
for file in tests/test_*.c; do
    grep -q 'cmocka_run_group_tests' "$file" || breach "$file runs no cmocka group"
done

exit $status
