# make test       every fast test, in the three builds
# make gradcheck  the op tests in double precision
# make lint       the laws a compiler does not check
# make check      longer tests: kills, injected faults                               (tens of minutes)
# make fuzz       every parser under sanitizers; FUZZ_RUNS executions each
# make bench      this machine's matrix-product peak and what training makes of it
# make debug      build/debug/bin/distill, with address and undefined-behaviour sanitizers
# make double     build/double/bin/distill, double precision
# make format     clang-format over src and tests

debug: build/debug/bin/distill
double: build/double/bin/distill

test_binaries = $(foreach mode,$(MODES),$(TESTS:%=build/$(mode)/%))

test: lint build/distill build/debug/bin/distill $(test_binaries)
	sh tests/run.sh $(test_binaries)

gradcheck: build/double/test_ops
	build/double/test_ops

lint:
	sh tests/lint.sh

bench: build/distill
	build/distill bench

format:
	clang-format -i src/*.c src/*/*.[ch] tests/*.[ch]

.PHONY: test debug double gradcheck lint bench format
