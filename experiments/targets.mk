# make fsdd       spoken digits: two speakers never trained on, three seeds        (minutes)

fsdd: build/distill
	sh experiments/fsdd/manifests.sh $(or $(DISTILL_DATA),../shared/data)/fsdd runs/fsdd_lists
	build/distill sweep experiments/fsdd/seeds.json

.PHONY: fsdd
