# make test       every fast test, in the three builds
# make debug      build/debug/distill, with address and undefined-behaviour sanitizers
# make double     build/double/distill, double precision for gradient checks
# make gradcheck  the op tests in double precision

debug: build/debug/distill
double: build/double/distill

test_binaries = $(foreach mode,$(MODES),$(TESTS:%=build/$(mode)/%))

test: build/distill $(test_binaries)
	sh tests/run.sh $(test_binaries)

gradcheck: build/double/test_ops
	build/double/test_ops

.PHONY: test debug double gradcheck
