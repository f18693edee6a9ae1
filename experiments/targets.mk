# make fsdd         spoken digits of two speakers never trained on, three seeds       (minutes)
# make fsdd-choice  its settings, on each of the four training speakers left out

fsdd_lists = sh experiments/fsdd/manifests.sh $(or $(DISTILL_DATA),../shared/data)/fsdd runs/fsdd_lists

fsdd: build/distill
	$(fsdd_lists)
	build/distill sweep experiments/fsdd/seeds.json

fsdd-choice: build/distill
	$(fsdd_lists)
	for name in george jackson lucas nicolas; do \
	    FSDD_LISTS=$(CURDIR)/runs/fsdd_lists/without_$$name build/distill sweep \
	        experiments/fsdd/choice.json --runs runs/fsdd_choice/$$name || exit 1; done

.PHONY: fsdd fsdd-choice
