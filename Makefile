# make            the program, build/distill
# make demo       Fashion-MNIST: teacher, distilled student, int8 file, report      (minutes)
# make test       every fast test, in three builds                                  (minutes)
# make library    build/lib: libdistill.so and .a for other programs; include/distill.h
# make install    program, library, header, manual page; PREFIX=/usr/local
# make deps       only the Debian packages that are missing
# make help       everything else
#
# For another processor: make CROSS=aarch64-linux-gnu- SYSROOT=…; what is made lies in
# build/aarch64-linux-gnu. SYSROOT is a folder with that processor's libraries (`make arm-root` fetches
# Debian's), or left out where they are installed beside this one's.

PREFIX ?= /usr/local
CROSS  ?=
ifeq ($(origin CC),default)
CC      = $(CROSS)gcc
endif
ifneq ($(CROSS),)
CXX     = $(CROSS)g++ $(SYSROOT:%=--sysroot=%)
AR      = $(CROSS)ar
LD      = $(CROSS)ld
endif
NM      = $(CROSS)nm
OBJCOPY = $(CROSS)objcopy
BUILD   = build$(CROSS:%-=/%)
TARGET := $(firstword $(subst -, ,$(shell $(CC) -dumpmachine)))
# Debian's name of the folder with that processor's libraries.
MULTIARCH = $(patsubst i686-%,i386-%,$(CROSS:%-=%))
# What the compiler may use: on x86-64 every processor's (ISAS), elsewhere this one's, and for another
# machine what all of its kind have.
ARCH   ?= $(if $(filter x86_64,$(TARGET)),x86-64,$(if $(CROSS),,native))
SYSROOT ?=
PKG_CONFIG ?= $(if $(CROSS),PKG_CONFIG_SYSROOT_DIR=$(SYSROOT) \
    PKG_CONFIG_LIBDIR=$(SYSROOT)/usr/lib/$(MULTIARCH)/pkgconfig:$(SYSROOT)/usr/share/pkgconfig) pkg-config
# One job for each core, unless the user or a make above says how many.
ifeq ($(findstring -j,$(shell printenv MAKEFLAGS)),)
MAKEFLAGS += -j$(shell nproc)
endif
PACKAGES = build-essential pkg-config libopenblas-openmp-dev libhdf5-dev libsndfile1-dev \
           libsamplerate0-dev libcjson-dev libdnnl-dev libcmocka-dev zlib1g-dev libxxhash-dev \
           libmpg123-dev libflac-dev libpng-dev liblzma-dev libopenmpi-dev openmpi-bin libgemmlowp-dev \
           dataset-fashion-mnist python3-h5py python3-numpy

MODES    = release debug double

# One short line for each file; make V=1 shows the commands.
quiet = @$(if $(V),set -x,echo "$(1)");
# On 32 bit: long files, years after 2037, and on x86 the arithmetic of 64-bit processors (the older kind rounds twice).
WIDE     = $(if $(filter arm i386 i686,$(TARGET)),-D_FILE_OFFSET_BITS=64 -D_TIME_BITS=64) \
           $(if $(filter i386 i686,$(TARGET)),-msse2 -mfpmath=sse)
CFLAGS   = -std=c11 -D_GNU_SOURCE $(WIDE) -Isrc -Iinclude -Iruntime -g $(SYSROOT:%=--sysroot=%) $(ARCH:%=-march=%) -fopenmp -fno-math-errno -MMD -MP \
           -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wstrict-prototypes \
           -Wmissing-prototypes -Wvla -Wno-psabi $(shell $(PKG_CONFIG) --cflags hdf5 sndfile samplerate \
           flac libmpg123 libcjson libpng liblzma openblas 2>/dev/null)
LDLIBS   = $(SYSROOT:%=--sysroot=%) $(shell $(PKG_CONFIG) --libs hdf5 sndfile samplerate flac libmpg123 libcjson libpng liblzma openblas \
           2>/dev/null) -lz -lxxhash -lm -lpthread
# What clang does not know; its libomp has the names that OpenBLAS calls in libgomp and comes first, so that one
# runtime is at work.
CFLAGS  += $(if $(findstring clang,$(CC)),-Wno-unknown-pragmas)
CFLAGS_release = -O3 -fPIC -fvisibility=hidden
CFLAGS_debug   = -O1 -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer
CFLAGS_double  = -O2 -DKD_DOUBLE

# oneDNN is optional: without it products are float32 only. WITH_DNNL=0 leaves it out.
WITH_DNNL = $(shell test -f $(SYSROOT)/usr/include/oneapi/dnnl/dnnl.h && \
                { test -z "$(CROSS)" || test -f $(SYSROOT)/usr/lib/$(MULTIARCH)/libdnnl.so; } && \
                echo 1 || echo 0)
CFLAGS   += $(if $(filter 1,$(WITH_DNNL)),-DKD_HAVE_DNNL)
LDLIBS   += $(if $(filter 1,$(WITH_DNNL)),-ldnnl)

# MPI is optional: without it one process trains alone. WITH_MPI=0 leaves it out. Debian: libopenmpi-dev.
WITH_MPI = $(shell $(PKG_CONFIG) --exists ompi-c 2>/dev/null && echo 1 || echo 0)
CFLAGS  += $(if $(filter 1,$(WITH_MPI)),-DKD_HAVE_MPI $(shell $(PKG_CONFIG) --cflags ompi-c 2>/dev/null | sed 's/-I/-isystem /g'))
MPI      = $(if $(filter 1,$(WITH_MPI)),$(shell $(PKG_CONFIG) --libs ompi-c 2>/dev/null))
LDLIBS  += $(MPI)

# FFmpeg's libraries are optional: without them m4a, webm, aac … are refused. WITH_FFMPEG=0 leaves them
# out. Debian: libavformat-dev libavcodec-dev.
WITH_FFMPEG = $(shell $(PKG_CONFIG) --atleast-version=59.24 libavcodec 2>/dev/null && \
                  $(PKG_CONFIG) --exists libavformat libavutil && echo 1 || echo 0)
FFMPEG      = $(if $(filter 1,$(WITH_FFMPEG)),libavformat libavcodec libavutil)
CFLAGS     += $(if $(FFMPEG),-DKD_HAVE_FFMPEG $(shell $(PKG_CONFIG) --cflags $(FFMPEG) 2>/dev/null))
LDLIBS     += $(if $(FFMPEG),$(shell $(PKG_CONFIG) --libs $(FFMPEG) 2>/dev/null))

SOURCES = $(filter-out src/main.c,$(wildcard src/*/*.c src/*/*/*.c))
# What firmwares take into their own trees; the program has it for `distill run --runner`.
RUNTIME = $(wildcard runtime/*.c)

# One build serves every x86-64 processor: the numeric loops are compiled once for each of ISAS, and
# src/base/isa.c chooses at start. ARCH=native (or another) builds for one kind of processor only.
ISAS = $(if $(filter x86-64,$(ARCH)),portable avx2 avx512 avx512bf16)
march_portable = -march=x86-64
march_avx2     = -march=x86-64-v3
march_avx512   = -march=x86-64-v4 -mprefer-vector-width=512
march_avx512bf16 = $(march_avx512) -mavx512bf16
KERNELS = $(filter-out %/gemm.c %/gemm_onednn.c %/gemm_openblas.c %/gemm_cholesky.c,$(wildcard src/autograd/op_*.c src/autograd/gemm*.c)) \
          src/autograd/attention_blocks.c src/autograd/compact.c src/autograd/packed_rows.c $(wildcard src/distill/loss*.c src/distill/divergence.c) \
          src/distill/optimizer.c src/quant/fake_quant.c src/quant/requantize.c src/quant/observer.c \
          src/quant/int8_ops.c src/tasks/speech/decode_rules.c src/data/fft.c src/data/logmel.c \
          src/data/whisper_mel.c src/files/formats/format_search.c
TESTS   = $(patsubst tests/%.c,%,$(wildcard tests/test_*.c))

all: $(BUILD)/distill

$(BUILD)/distill: $(BUILD)/release/bin/distill
	@ln -f $< $@

# The kernels of one mode for one of ISAS, in one object whose functions end in _<isa>. They share
# no data with the rest of the program.
define ISA_RULES
KERNELS_$(1)_$(2) = $$(KERNELS:src/%.c=$(BUILD)/$(1)/$(2)/%.o)
$(BUILD)/$(1)/$(2)/%.o: src/%.c Makefile | $(DEPS)
	@mkdir -p $$(@D)
	$$(call quiet,compile $$@) $$(CC) $$(CFLAGS) $$(march_$(2)) $$(CFLAGS_$(1)) -c -o $$@ $$<
$(BUILD)/$(1)/kernels_$(2).o: $$(KERNELS_$(1)_$(2))
	$$(call quiet,join $$@) $$(LD) -r -o $$@.joined $$^ && \
	    $(NM) -g --defined-only $$@.joined | awk '$$$$2 == "T" {print $$$$3, $$$$3 "_$(2)"; next} \
	        $$$$3 !~ /^__odr_asan/ {print "kernels share the symbol " $$$$3 >"/dev/stderr"; exit 1}' >$$@.names && \
	    $(OBJCOPY) --redefine-syms=$$@.names $$@.joined $$@
-include $$(KERNELS_$(1)_$(2):.o=.d)
endef

# One set of rules for each mode: objects, the library, the program, the tests (some of which stand in
# front of the libraries' calls, so their functions must be seen).
define MODE_RULES
OBJECTS_$(1) = $$(patsubst src/%.c,$(BUILD)/$(1)/%.o,$$(if $$(ISAS),$$(filter-out $$(KERNELS),$$(SOURCES)),$$(SOURCES))) \
               $$(ISAS:%=$(BUILD)/$(1)/kernels_%.o) $$(RUNTIME:%.c=$(BUILD)/$(1)/%.o)
$(BUILD)/$(1)/runtime/%.o: runtime/%.c Makefile | $(DEPS)
	@mkdir -p $$(@D)
	$$(call quiet,compile $$@) $$(CC) $$(CFLAGS) $$(CFLAGS_$(1)) -c -o $$@ $$<
$(BUILD)/$(1)/%.o: src/%.c Makefile | $(DEPS)
	@mkdir -p $$(@D)
	$$(call quiet,compile $$@) $$(CC) $$(CFLAGS) $$(CFLAGS_$(1)) -c -o $$@ $$<
$$(foreach isa,$$(ISAS),$$(eval $$(call ISA_RULES,$(1),$$(isa))))
ifneq ($$(ISAS),)
$(BUILD)/$(1)/kernels.inc: $(BUILD)/$(1)/kernels_portable.o
	@$(NM) -g --defined-only $$< | sed -n 's/.* T \(.*\)_portable$$$$/X(\1)/p' >$$@
$(BUILD)/$(1)/base/isa.o: $(BUILD)/$(1)/kernels.inc
$(BUILD)/$(1)/base/isa.o: CFLAGS += -DKD_KERNELS='"../../$(BUILD)/$(1)/kernels.inc"'
endif
$(BUILD)/$(1)/libdistill.a: $$(OBJECTS_$(1))
	@rm -f $$@
	$$(call quiet,archive $$@) $(AR) rcs $$@ $$^
$(BUILD)/$(1)/bin/distill: $(BUILD)/$(1)/main.o $(BUILD)/$(1)/libdistill.a
	@mkdir -p $$(@D)
	$$(call quiet,link $$@) $$(CC) $$(CFLAGS_$(1)) -fopenmp -o $$@ $$^ $$(LDLIBS)
$(BUILD)/$(1)/test_%: tests/test_%.c $(BUILD)/$(1)/libdistill.a $(BUILD)/ops_list.h
	$$(call quiet,test $$@) $$(CC) $$(CFLAGS) $$(CFLAGS_$(1)) -fvisibility=default -Itests -I$(BUILD) -o $$@ $$< $$(filter %.o %.a,$$^) \
	    -lcmocka $$(LDLIBS)
$(BUILD)/$(1)/test_int8: $(BUILD)/$(1)/gemmlowp_reference.o
$(BUILD)/$(1)/gemmlowp_reference.o: tests/gemmlowp_reference.cc | $(DEPS)
	@mkdir -p $$(@D)
	$$(call quiet,compile $$@) $$(CXX) -O2 -c -o $$@ $$<
-include $$(OBJECTS_$(1):.o=.d) $(BUILD)/$(1)/main.d $$(TESTS:%=$(BUILD)/$(1)/%.d)
endef
$(foreach mode,$(MODES),$(eval $(call MODE_RULES,$(mode))))

# The library for others: what include/distill.h declares is seen from outside, and nothing else.
VERSION = $(shell sed -n 's/^.define DISTILL_VERSION "\(.*\)"/\1/p' include/distill.h)
SONAME  = libdistill.so.$(word 1,$(subst ., ,$(VERSION))).$(word 2,$(subst ., ,$(VERSION)))
# The library is for programs that are alone: without MPI.
LIBRARY_OBJECTS = $(filter-out $(BUILD)/release/cli/% $(BUILD)/release/runtime/% $(BUILD)/release/base/ranks.o,$(OBJECTS_release)) \
                  $(BUILD)/lib/ranks.o
LIBRARY_LIBS    = $(filter-out $(MPI),$(LDLIBS))

library: $(BUILD)/lib/libdistill.so $(BUILD)/lib/libdistill.a
$(BUILD)/lib/ranks.o: src/base/ranks.c Makefile | $(DEPS)
	@mkdir -p $(@D)
	$(call quiet,compile $@) $(CC) $(CFLAGS) $(CFLAGS_release) -UKD_HAVE_MPI -c -o $@ $<
$(BUILD)/lib/$(SONAME): $(LIBRARY_OBJECTS)
	@mkdir -p $(@D)
	$(call quiet,link $@) $(CC) -shared -fopenmp -Wl,-soname,$(SONAME) -o $@ $^ $(LIBRARY_LIBS)
$(BUILD)/lib/libdistill.so: $(BUILD)/lib/$(SONAME)
	@ln -sf $(SONAME) $@
$(BUILD)/lib/libdistill.a: $(LIBRARY_OBJECTS)
	@mkdir -p $(@D)
	$(call quiet,archive $@) rm -f $@ && $(LD) -r -o $(BUILD)/lib/distill.o $^ && \
	    $(OBJCOPY) --localize-hidden $(BUILD)/lib/distill.o && $(AR) rcs $@ $(BUILD)/lib/distill.o
# For the PREFIX of this call.
$(BUILD)/lib/distill.pc: always
	@mkdir -p $(@D)
	@printf '%s\n' 'prefix=$(PREFIX)' 'libdir=$${prefix}/lib' 'includedir=$${prefix}/include' '' \
	    'Name: distill' 'Description: runs distilled students, reads soft targets, distillation losses' \
	    'Version: $(VERSION)' 'Cflags: -I$${includedir}' 'Libs: -L$${libdir} -ldistill' \
	    'Libs.private: -fopenmp $(LIBRARY_LIBS)' > $@

# Every op of the headers, one X(name) a line: the op tests must have a case for each.
# The devices that `distill plan` knows, as text of C.
$(BUILD)/devices.inc: src/planner/devices.json
	@mkdir -p $(@D)
	@sed 's/[\\"]/\\&/g; s/.*/"&\\n"/' $< > $@
DEVICE_OBJECTS = $(patsubst %,$(BUILD)/%/planner/device.o,$(MODES) fuzz)
$(DEVICE_OBJECTS): $(BUILD)/devices.inc
$(DEVICE_OBJECTS): CFLAGS += -I$(BUILD)

$(BUILD)/ops_list.h: src/autograd/ops.h src/distill/loss.h
	@mkdir -p $(@D)
	@sed -n 's/^kd_tensor \*kd_\([a-z0-9_]*\)(.*/X(\1)/p' $^ > $@

include tests/targets.mk experiments/targets.mk

# $(call need_packages,NAMES): Debian packages; what is missing is named, then installed. Where nothing
# is, or without dpkg, this does nothing; sudo is called only by who is not root.
define need_packages
	@command -v dpkg-query >/dev/null || exit 0; \
	missing=$$(for p in $(1); do \
	    dpkg-query -W -f '$${Status}' $$p 2>/dev/null | grep -q ' installed$$' || echo $$p; done); \
	[ -z "$$missing" ] && exit 0; \
	sudo=$$([ $$(id -u) = 0 ] || echo sudo); \
	echo "These Debian packages are missing and are installed now, by $${sudo:+sudo }apt-get:"; \
	echo $$missing | sed 's/^/  /'; \
	$$sudo apt-get update -qq && \
	$$sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $$missing
endef

# Debian's packages are asked for by builds for this machine only.
DEPS = $(if $(CROSS),,deps)
deps:
	$(call need_packages,$(PACKAGES))

# The main job on real data: see README.
demo: build/distill
	build/distill train configs/fashion_mnist.json
	@echo "open runs/fashion_mnist/report.html in a browser, or try:"
	@echo "  build/distill run runs/fashion_mnist/student.int8.gguf \\"
	@echo "      /usr/share/datasets/fashion-mnist/t10k-images-idx3-ubyte.gz:0"

install: build/distill library build/lib/distill.pc
	install -D -m 755 build/distill $(DESTDIR)$(PREFIX)/bin/distill
	install -D -m 644 include/distill.h $(DESTDIR)$(PREFIX)/include/distill.h
	install -D -m 755 build/lib/$(SONAME) $(DESTDIR)$(PREFIX)/lib/$(SONAME)
	ln -sf $(SONAME) $(DESTDIR)$(PREFIX)/lib/libdistill.so
	install -D -m 644 build/lib/libdistill.a $(DESTDIR)$(PREFIX)/lib/libdistill.a
	install -D -m 644 build/lib/distill.pc $(DESTDIR)$(PREFIX)/lib/pkgconfig/distill.pc
	install -D -m 644 docs/distill.1 $(DESTDIR)$(PREFIX)/share/man/man1/distill.1
	install -D -m 644 tools/distill.bash $(DESTDIR)$(PREFIX)/share/bash-completion/completions/distill

uninstall:
	rm -f $(DESTDIR)$(PREFIX)/bin/distill $(DESTDIR)$(PREFIX)/share/man/man1/distill.1 \
	    $(DESTDIR)$(PREFIX)/share/bash-completion/completions/distill \
	    $(DESTDIR)$(PREFIX)/include/distill.h $(DESTDIR)$(PREFIX)/lib/libdistill.* \
	    $(DESTDIR)$(PREFIX)/lib/pkgconfig/distill.pc

clean:
	rm -rf build

help:
	@sed -n 's/^# make/make/p' Makefile tests/targets.mk experiments/targets.mk

.PHONY: always all library demo deps install uninstall clean help
