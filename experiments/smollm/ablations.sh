#!/bin/sh
# ablations.sh TRAIN: runs of a quarter of the text, in three seeds; TRAIN is the command that trains
# configs/smollm_student.json, to which each adds what it changes. Their reports: runs/smollm_*/report.json.
set -eu
variant() {
    name=$1
    shift
    for seed in 1 2 3; do
        NAME=smollm_${name}_s$seed
        sh -c "$train \"\$@\"" variant --set "name=\"$NAME\"" --set "seed=$seed" --set 'quantize=[]' "$@"
    done
}
train=$1
variant labels --set 'loss={"kl":0,"hard":1}'
variant forward_kl
variant reverse_kl --set 'loss.divergence="reverse_kl"'
variant jensen_shannon --set 'loss.divergence="jensen_shannon"'
# at what disk: 1,152 bytes a token of hidden states, 196 of 32 logits, some 63 of 50 draws
variant topk --set 'teacher.targets={"kind":"topk","k":32}'
variant sampled --set 'teacher.targets={"kind":"sampled","draws":50}'
# as small by width, too: 24 layers with 672 of 1,536 units are as many parameters as 14 layers
variant narrower --set 'model={"type":"llama","layers":24,"hidden":672}'
