# make fsdd         spoken digits of two speakers never trained on, five seeds        (minutes)
# make fsdd-choice  its settings, on each of the four training speakers left out

fsdd_lists = sh experiments/fsdd/manifests.sh $(or $(DISTILL_DATA),../shared/data)/fsdd runs/fsdd_lists

fsdd: build/distill
	$(fsdd_lists)
	build/distill sweep experiments/fsdd/seeds.json

fsdd-choice: build/distill
	$(fsdd_lists)
	for name in george jackson lucas nicolas; do \
	    for what in choice length; do \
	        FSDD_LISTS=$(CURDIR)/runs/fsdd_lists/without_$$name build/distill sweep \
	            experiments/fsdd/$$what.json --runs runs/fsdd_choice/$$name || exit 1; done; done

.PHONY: fsdd fsdd-choice

# make temperature  coursework: the distillation gradient, temperature, label smoothing, top-k  (minutes)

# The gradient in double, a teacher, settings on the validation split, then the figures on the test
# split; tables on the terminal, plots in experiments/temperature.
temperature: build/distill build/double/bin/distill build/experiments/temperature
	build/double/bin/distill selftest
	build/distill train experiments/temperature/teacher.json
	build/distill sweep experiments/temperature/settings.json
	build/distill sweep experiments/temperature/results.json
	build/experiments/temperature runs/temperature_results/student_alone-s1 \
	    runs/temperature_teacher experiments/temperature
	cp runs/temperature_settings/sweep-validation.svg experiments/temperature/settings.svg
	cp runs/temperature_results/sweep-variants.svg experiments/temperature/results.svg

build/experiments/%: experiments/%/measure.c build/release/libdistill.a
	@mkdir -p $(@D)
	$(call quiet,link $@) $(CC) $(CFLAGS) $(CFLAGS_release) -o $@ $< build/release/libdistill.a $(LDLIBS)

.PHONY: temperature

# make cifar10_resnet8  ResNet-8 taught by ResNet-56, int8 and 4-bit weights          (two hours)

# The teacher is measured by itself, then everything else.
resnet8 = experiments/cifar10_resnet8/resnet8.json
cifar10_resnet8: build/distill
	build/distill eval $(resnet8) $(or $(DISTILL_DATA),../shared/data)/resnet_cifar10/resnet56.safetensors \
	    --set 'model={"type":"resnet","depth":56,"width":16,"shortcut":"A"}' \
	    --set teacher=null --set loss=null --set baseline=false
	build/distill train $(resnet8)

.PHONY: cifar10_resnet8

# make hinton_mnist Hinton, Vinyals and Dean's MNIST table beside ours              (70 minutes)
# make hinton-torch its student on soft targets trained by PyTorch       (after it; PYTHON=…)

# DISTILL_DATA names the folder that holds mnist/.
hinton_mnist: build/distill
	build/distill sweep experiments/hinton_mnist/sweep.json
	python3 experiments/hinton_mnist/table.py runs/hinton_mnist runs/hinton_mnist/figure.svg

# PyTorch's student of the same stored targets. Needs torch and h5py from PyPI.
hinton-torch:
	$(PYTHON) experiments/hinton_mnist/pytorch.py runs/hinton_mnist

.PHONY: hinton_mnist hinton-torch

# make whisper-base-en        base.en into a student with two decoder layers        (two hours)
# make whisper-base-en-lists  its lists of recordings alone
whisper-base-en-packages: deps
	$(call need_packages,asterisk-core-sounds-en-wav asterisk-core-sounds-en)
whisper-base-en-lists: whisper-base-en-packages
	sh experiments/whisper_base_en/lists.sh $(or $(DISTILL_DATA),../shared/data)/speech/speechocean762 \
	    runs/whisper_base_en_lists
whisper-base-en: build/distill whisper-base-en-lists
	build/distill train configs/whisper_base_en.json

.PHONY: whisper-base-en whisper-base-en-lists whisper-base-en-packages

# make rounding     what nearest, importance, GPTQ and AWQ lose on trained models     (an hour; MODEL=… LIST=…)

# MODEL: a Whisper file; LIST: recordings with their texts; ROUNDINGS: as measure.c has them.
ROUNDINGS ?= nearest:q4_0 importance:q4_0 gptq:q4_0 awq:q4_0
rounding: build/experiments/rounding
	build/experiments/rounding $(LIST) $(MODEL) 48 8 $(ROUNDINGS)

.PHONY: rounding

# make zoo          three students in every number format: size, speed, quality      (two hours)

# SMOLLM2, WHISPER_TINY, DISTILL_CIFAR10: where the models and CIFAR-10 are. An interrupted zoo goes on.
zoo-lists:
	sh experiments/zoo/lists.sh $(or $(DISTILL_DATA),../shared/data) runs/zoo_lists
zoo: build/distill zoo-lists
	for student in resnet8 whisper smollm2; do \
	    build/distill compress experiments/zoo/$$student.json > runs/zoo_lists/$$student.out || exit 1; \
	    cat runs/zoo_lists/$$student.out; \
	    cp runs/zoo_$$student/pareto.svg experiments/zoo/$$student.svg; done

.PHONY: zoo zoo-lists
# make smollm       14 of SmolLM2-135M's 30 layers taught over novels, and by labels alone  (two hours on two cores)
# make smollm-ablations  KL against labels, divergences, kinds of targets, narrower students, three seeds  (a night)

# SMOLLM2: HuggingFaceTB/SmolLM2-135M with its tokenizer.
smollm_texts = runs/smollm_texts
smollm_teacher = $(abspath $(or $(SMOLLM2),../models/SmolLM2-135M))
smollm = NOVELS=$(CURDIR)/$(smollm_texts) SMOLLM2=$(smollm_teacher) build/distill train configs/smollm_student.json
smollm-texts:
	sh experiments/smollm/texts.sh $(or $(DISTILL_DATA),../shared/data)/text/novels.tar.xz $(smollm_texts) $(TRAIN)
smollm: build/distill smollm-texts
	$(smollm)
	$(smollm) --set 'name="smollm_labels"' --set 'loss={"kl":0,"hard":1}' --set 'quantize=[]'
smollm-ablations: build/distill
	sh experiments/smollm/texts.sh $(or $(DISTILL_DATA),../shared/data)/text/novels.tar.xz $(smollm_texts)_quarter 15000
	NOVELS=$(CURDIR)/$(smollm_texts)_quarter SMOLLM2=$(smollm_teacher) \
	    build/distill sweep experiments/smollm/ablations.json

.PHONY: smollm smollm-texts smollm-ablations

# make distilbert   six layers from BERT-base over novels, then SST-2        (two hours on two cores)

# NOVELS: a folder of AUTHOR_TITLE_YEAR.txt or a .tar.xz of them; SST2: a folder with train.tsv and dev.tsv
# of SST-2, named sst2_train.tsv.gz and sst2_dev.tsv.gz; BERT_BASE: bert-base-uncased.
distilbert_data = $(or $(DISTILL_DATA),../shared/data)/text
distilbert: build/distill
	sh experiments/distilbert/texts.sh $(or $(NOVELS),$(distilbert_data)/novels.tar.xz) runs/distilbert_texts
	sh experiments/distilbert/sentences.sh $(or $(SST2),$(distilbert_data))/sst2_train.tsv.gz runs/distilbert_texts
	for part in masked sst2_teacher sst2_alone sst2_taught; do \
	    SST2=$(abspath $(or $(SST2),$(distilbert_data))) build/distill train experiments/distilbert/$$part.json || exit 1; done

.PHONY: distilbert
