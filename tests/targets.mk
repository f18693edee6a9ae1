# make gradcheck  the op tests in double precision
# make lint       the laws a compiler does not check
# make check      longer tests: kills, every fault, the demo under sanitizers        (an hour)
# make cluster-test  jobs under a real Slurm that are killed in every way; KILLS=100 SEED=1 CASES=…   (half an hour)
# make mutants    small faults in src/ that no test notices; SAMPLE=50 SEED=1 FILES=…         (an hour)
# make fuzz       every parser under sanitizers; FUZZ_RUNS executions each           (an hour)
# make arm-root i386-root  Debian's libraries for 64-bit Arm and 32-bit x86, in build/
# make arm-test   the runner on other processors, and tests of the program on those two     (minutes)
# make processor-deps  the compilers and emulators by which `make test` tries the runner on other processors
# make bench      this machine's matrix-product peak and what training makes of it; build/bench.json
# make bench-compare OLD=… [TOLERANCE=0.1]  that file beside an older one: no share of the peak fell
# make bench-torch  training speed beside PyTorch, in one run
# make bench-ddp  two ranks beside one and beside PyTorch's DistributedDataParallel, in one run
# make bench-whisper  a training step of Whisper beside PyTorch and transformers, in one run
# make bench-language  a training step of SmolLM's student beside PyTorch and transformers, in one run
# make bench-generate MODEL=…  generation beside llama.cpp (llama-cpp-python), in one run
# make bench-tflite  int8 inference beside TensorFlow Lite, ONNX Runtime and runtime/, in one run
# make bench-onnx   int8 inference beside ONNX Runtime, in one run; BLOB= an exported file
# make onnx-check  ONNX files beside onnx and ONNX Runtime; MODEL=, IMAGES=, LABELS= of a student and idx files
# make text-parity TOKENIZERS="FOLDER|FILE.gguf …"  tokenizers beside those of PyPI, on a megabyte
# make packed-parity MODEL=FOLDER TEXT=FILE  FP8, NVFP4 and other packed folders beside transformers and numpy
# make parity     Whisper beside transformers and whisper.cpp, from PyPI   (PYTHON=…, PARTS=numbers …)
# make parity-language MODEL=… TEXTS="…"  a decoder beside transformers and llama.cpp   (ONLY=types …)
# make debug      build/debug/bin/distill, with address and undefined-behaviour sanitizers
# make double     build/double/bin/distill, double precision
# make schema     configs/*.schema.json and the tables of docs, after a change of config keys
# make format     clang-format over src and tests

debug: build/debug/bin/distill
double: build/double/bin/distill

test_binaries = $(foreach mode,$(MODES),$(TESTS:%=build/$(mode)/%))

test: lint build/distill library build/experiments/temperature build/debug/bin/distill $(test_binaries)
	sh tests/run.sh $(test_binaries) tests/processors.sh

gradcheck: build/double/test_ops
	build/double/test_ops

lint:
	sh tests/lint.sh

# The same tests, longer: 1,000 kills, 2,300 random configs, every call failed, every cut and 10,000
# changed bits, the demo under sanitizers, portable integers. docs/reliability.md says what each shows.
thorough = faults run_faults power_cut checkpoint store known_bugs
check: test
	DISTILL_KILLS=500 build/release/test_trainer
	DISTILL_KILLS=500 build/release/test_pipeline
	DISTILL_CONFIGS=2000 build/release/test_config_space
	DISTILL_CONFIGS=300 build/debug/test_config_space
	KD_FAULTS=all sh tests/run.sh $(thorough:%=build/release/test_%)
	DISTILL_ISA=portable sh tests/run.sh $(TESTS:%=build/release/%)
	$(MAKE) sanitized-demo

# A real Slurm of two nodes on this machine, in build/cluster; CASES="rank node" of tests/cluster/cases.py
# only. It starts and ends its own processes, as any user; without Slurm's packages it says so.
CLUSTER = tests/cluster/cases.py build/distill build/release/speech_folder build/cluster --kills $(KILLS) --seed $(SEED)
KILLS  ?= 20
cluster-test: build/distill build/release/speech_folder
	python3 $(CLUSTER) $(if $(CASES),--cases $(CASES))
build/release/speech_folder build/release/scaling: build/release/%: tests/cluster/%.c build/release/libdistill.a
	$(call quiet,program $@) $(CC) $(CFLAGS) -Itests -o $@ $^ -lcmocka $(LDLIBS)

# The demo on a few pictures, with the address and undefined-behaviour sanitizers.
sanitized-demo: build/debug/bin/distill
	sh tests/sanitized_demo.sh $<

# tests/mutants.py tells; MUTANT=file:line:number tries one again. Below other work: nice.
SAMPLE ?= 50
SEED   ?= 1
# One set of loops, so that a mutant's object stands for its original.
mutants: ARCH = native
mutants: | deps
	python3 tests/mutants.py --sample=$(SAMPLE) --seed=$(SEED) --files="$(FILES)" --mutant="$(MUTANT)" \
	    --cc="$(CC)" --cflags="$(CFLAGS)" --libs="$(LDLIBS)" $(JOBS:%=--jobs=%)

# libFuzzer (clang) over every parser: FUZZ_RUNS executions each, the store FUZZ_RUNS / 50.
FUZZ_RUNS ?= 1000000
FUZZERS    = $(patsubst tests/fuzz/%.c,%,$(wildcard tests/fuzz/fuzz_*.c))
CFLAGS_fuzz = -O1 -fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=all
fuzz_packages = clang libclang-rt-14-dev libomp-14-dev

fuzz: $(FUZZERS:%=build/fuzz/%) build/fuzz/seeds
	sh tests/fuzz/run.sh $(FUZZ_RUNS) $(FUZZERS:%=build/fuzz/%)

build/fuzz/fuzz_%: tests/fuzz/fuzz_%.c build/fuzz/libdistill.a
	$(call quiet,fuzz target $@) clang $(filter-out -MMD -MP,$(CFLAGS)) -Itests $(CFLAGS_fuzz) -fsanitize=fuzzer -fopenmp \
	    -w -o $@ $< build/fuzz/libdistill.a $(LDLIBS)
build/fuzz/seeds: tests/fuzz/seeds.c build/fuzz/libdistill.a
	$(call quiet,link $@) clang $(filter-out -MMD -MP,$(CFLAGS)) -Itests $(CFLAGS_fuzz) -fopenmp \
	    -w -o $@ $< build/fuzz/libdistill.a -lcmocka $(LDLIBS)
build/fuzz/libdistill.a: $(SOURCES:src/%.c=build/fuzz/%.o) $(RUNTIME:%.c=build/fuzz/%.o)
	@rm -f $@
	$(call quiet,archive $@) ar rcs $@ $^
# Watching comparisons took two thirds of the runner's time: without it three times as many executions.
build/fuzz/runtime/%.o: runtime/%.c | fuzz-deps
	@mkdir -p $(@D)
	$(call quiet,compile $@) clang $(CFLAGS) $(CFLAGS_fuzz) -O2 -fno-sanitize-coverage=trace-cmp -w -c -o $@ $<
build/fuzz/%.o: src/%.c | fuzz-deps
	@mkdir -p $(@D)
	$(call quiet,compile $@) clang $(CFLAGS) $(CFLAGS_fuzz) -w -c -o $@ $<
-include $(SOURCES:src/%.c=build/fuzz/%.d) $(RUNTIME:%.c=build/fuzz/%.d)

fuzz-deps: deps
	@$(MAKE) --no-print-directory deps PACKAGES="$(fuzz_packages)"

bench: build/distill
	build/distill bench --json build/bench.json
bench-compare:
	$(PYTHON) tests/bench_compare.py $(OLD) build/bench.json $(TOLERANCE:%=--tolerance=%)

# PyTorch 2 from PyPI, for a python3 of your choice: make bench-torch PYTHON=/path/to/venv/bin/python
PYTHON ?= python3
bench-torch: build/distill
	$(PYTHON) tests/bench_torch.py build/distill

bench-ddp: build/distill
	$(PYTHON) tests/bench_ddp.py build/distill

# torch and transformers from PyPI; RECIPES=whisper_base_en or whisper_small alone, WINDOWS=N a step
bench-whisper: build/distill
	$(PYTHON) tests/bench_whisper.py build/distill $(RECIPES:%=--recipes=%) $(WINDOWS:%=--windows=%)

# torch and transformers from PyPI; CONTEXTS=N a step
bench-language: build/distill
	$(PYTHON) tests/bench_language.py build/distill $(CONTEXTS:%=--contexts=%)

# llama-cpp-python from PyPI; MODEL a folder or GGUF, TYPES=q8_0,q4_K_M
bench-generate: build/distill
	$(PYTHON) tests/bench_generate.py build/distill $(MODEL) $(TYPES:%=--types=%)

# ai-edge-litert, tflite, onnx, onnxruntime and gguf from PyPI
bench-tflite: build/distill
	$(CC) -std=c99 -O2 -march=native -Iruntime -o build/runner_probe tests/runner_probe.c runtime/*.c -lm
	$(PYTHON) tests/bench_tflite.py build/distill build/runner_probe

# onnxruntime from PyPI
bench-onnx: build/distill
	$(PYTHON) tests/bench_onnx.py build/distill $(BLOB)

# onnx and onnxruntime from PyPI
onnx-check: build/distill build/release/onnx_probe
	$(PYTHON) tests/check_onnx.py $^ $(MODEL) $(IMAGES) $(LABELS)

# What stands from the first table's heading to the end of a document is the program's own words.
schema: build/distill
	build/distill schema > configs/schema.json
	build/distill schema --task speech > configs/speech.schema.json
	build/distill schema --task language > configs/language.schema.json
	build/distill schema --task encoder > configs/encoder.schema.json
	build/distill schema --sweep > configs/sweep.schema.json
	sed -i '/^### The whole$$/,$$d' docs/configuration.md docs/speech.md docs/language.md docs/encoder.md docs/sweep.md
	build/distill schema --markdown | sed '$${/^$$/d}' >> docs/configuration.md
	build/distill schema --task speech --markdown | sed '$${/^$$/d}' >> docs/speech.md
	build/distill schema --task language --markdown | sed '$${/^$$/d}' >> docs/language.md
	build/distill schema --task encoder --markdown | sed '$${/^$$/d}' >> docs/encoder.md
	build/distill schema --sweep --markdown | sed '$${/^$$/d}' >> docs/sweep.md

# torch, transformers, pywhispercpp and gguf from PyPI, for a python3 of your choice.
PARTS ?= numbers words files gguf speed
parity: build/distill build/release/whisper_probe
	$(PYTHON) tests/whisper_parity.py $^ $(or $(DISTILL_DATA),../shared/data) $(PARTS)
build/release/whisper_probe: tests/whisper_probe.c build/release/libdistill.a
	$(call quiet,program $@) $(CC) $(CFLAGS) $(CFLAGS_release) -o $@ $^ $(LDLIBS)

# torch, transformers and, for its part, llama-cpp-python from PyPI; MODEL a Hugging Face folder, BYTES of each
# text (default: all).
parity-language: build/distill
	$(PYTHON) tests/language_parity.py build/distill $(MODEL) $(TEXTS) $(BYTES:%=--bytes=%) $(ONLY:%=--parts=%)

# tokenizers, sentencepiece and llama-cpp-python from PyPI; TOKENIZERS: folders and GGUF files.
text-parity: build/release/text_probe
	$(PYTHON) tests/text_parity.py $< $(or $(DISTILL_DATA),../shared/data) $(TOKENIZERS)
build/release/onnx_probe: tests/onnx_probe.c build/release/libdistill.a
	$(call quiet,program $@) $(CC) $(CFLAGS) $(CFLAGS_release) -Itests -o $@ $^ -lcmocka $(LDLIBS)
build/release/text_probe: tests/text_probe.c build/release/libdistill.a
	$(call quiet,program $@) $(CC) $(CFLAGS) $(CFLAGS_release) -o $@ $^ $(LDLIBS)

# torch, transformers, compressed-tensors and ml_dtypes from PyPI; MODEL: a Hugging Face folder, TEXT: a file.
packed-parity: build/distill
	$(PYTHON) tests/packed_parity.py $< $(MODEL) $(TEXT) $(CASES)

# Tests of the program for processors of 64-bit Arm and of 32-bit x86, where their libraries are.
ARM_TESTS  = int8 blob blob_graph qnet runner_input
I386_TESTS = int8 blob blob_graph qnet runner runner_input ops loss optimizer checkpoint store store_files store_header \
             store_sequences dataset image h5 gguf safetensors number_format text_tokenizer tokenizer text_data \
             model_files whisper_file whisper_gguf onnx imatrix packing sound_containers sound_streams limits file json
ARM_MAKE   = $(MAKE) CROSS=aarch64-linux-gnu- SYSROOT=$(CURDIR)/build/arm64-root
I386_MAKE  = $(MAKE) CROSS=i686-linux-gnu- SYSROOT=$(CURDIR)/build/i386-root
arm-root:
	sh tests/foreign_root.sh arm64 build/arm64-root
i386-root:
	sh tests/foreign_root.sh i386 build/i386-root
arm-test: build/distill build/release/test_runner
	@if [ -f build/arm64-root/complete ]; then \
	    $(ARM_MAKE) $(ARM_TESTS:%=build/aarch64-linux-gnu/release/test_%); fi
	@if [ -f build/i386-root/complete ]; then \
	    $(I386_MAKE) $(I386_TESTS:%=build/i686-linux-gnu/release/test_%); fi
	sh tests/arm_test.sh runs/fashion_mnist/student.int8.gguf /usr/share/datasets/fashion-mnist/t10k-images-idx3-ubyte.gz

# The compilers and machines of tests/processors.sh.
processor-deps:
	@$(MAKE) --no-print-directory deps PACKAGES="$(processor_packages)"
processor_packages = musl-tools gcc-i686-linux-gnu gcc-aarch64-linux-gnu libc6-dev-arm64-cross gcc-arm-linux-gnueabihf \
    libc6-dev-armhf-cross gcc-arm-none-eabi libnewlib-arm-none-eabi qemu-user qemu-system-arm

format:
	clang-format -i include/*.h docs/example/*.c runtime/*.[ch] src/*.c src/*/*.[ch] src/*/*/*.[ch] tests/*.[ch] tests/fuzz/*.c

.PHONY: cluster-test arm-root i386-root processor-deps arm-test schema test debug double gradcheck lint check sanitized-demo mutants fuzz fuzz-deps bench bench-compare bench-torch bench-ddp bench-whisper bench-language bench-generate bench-onnx bench-tflite parity packed-parity parity-language text-parity format onnx-check

# make bert-parity  BERT and DistilBERT beside transformers   (PYTHON=…, BERT_BASE= a folder with a masked head)
bert-parity: build/release/bert_probe
	$(PYTHON) tests/bert_parity.py $< $(BERT_BASE)
build/release/bert_probe: tests/bert_probe.c build/release/libdistill.a
	$(call quiet,program $@) $(CC) $(CFLAGS) $(CFLAGS_release) -o $@ $^ $(LDLIBS)
