#!/bin/sh
# The laws a compiler does not check: includes go down the rooms only, only gemm*.c know the matrix
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
    layers) echo "base autograd layers" ;;
    quant) echo "base data autograd layers quant" ;;
    distill) echo "base data autograd layers quant distill" ;;
    speech) echo "base data autograd layers quant distill speech" ;;
    api) echo "base data autograd layers quant distill speech api" ;;
    cli) echo "base data autograd layers quant distill speech cli" ;;
    esac
}

for file in src/*/*.[ch]; do
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
    lines=$(wc -l <"$file")
    [ "$lines" -le 550 ] || breach "$file has $lines lines"
done

# Every test program is built, and every op has a case (the build checks the latter).
for file in tests/test_*.c; do
    grep -q 'cmocka_run_group_tests' "$file" || breach "$file runs no cmocka group"
done

exit $status
