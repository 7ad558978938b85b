#!/bin/sh
# Published results of recovery, measured again: LeNet-300-100 and LeNet-5 at 12 times fewer weights and beyond, and what
# masked fine-tuning brings back at every s x sigma.
#
#   benches/recovery.sh DIR [OUT]      DIR holds the four files of Fashion-MNIST; OUT keeps the models and reports
#
# Everything is decided on training images (5,000 of them kept apart); test images only measure. Seed 1.
set -eu
data=$1
out=${2:-target/recovery}
here=$(cd "$(dirname "$0")/.." && pwd)
secateur=${SECATEUR:-$here/target/release/secateur}
models=$here/sample_models
mkdir -p "$out"

# name, model, then the flags of `recover`
measure() {
    name=$1 model=$2
    shift 2
    "$secateur" recover "$model" --data "$data" -o "$out/$name.safetensors" --seed 1 --json --quiet "$@" > "$out/$name.json"
    python3 - "$name" "$out/$name.json" <<'PYTHON'
import json, sys
r = json.load(open(sys.argv[2]))
d, b, a = (100 * r[k]["top1"] for k in ("dense", "before", "after"))
print(f"{sys.argv[1]:<26} {r['compression']:6.1f} x   dense {d:.2f}   cut at once {b:.2f}   recovered {a:.2f} %   {a - d:+.2f} pt   "
      f"{r['seconds']:.0f} s", flush=True)
PYTHON
}

wanted() { [ -z "${ONLY:-}" ] || echo " $ONLY " | grep -q " $1 "; }

# The recipe was chosen on the images kept apart, at 12 times fewer weights of LeNet-300-100.
common="--scope global --augment flip --label-smoothing 0.1 --weight-decay 0.0002"
if wanted mlp; then
    mlp="$models/mlp-300-100.safetensors"
    measure lenet-300-100-12x "$mlp" $common --lr 0.1 --epochs 12 --schedule agp:0.5..0.9167/4
    measure lenet-300-100-20x "$mlp" $common --lr 0.1 --epochs 12 --schedule agp:0.5..0.95/5
    measure lenet-300-100-30x "$mlp" $common --lr 0.1 --epochs 12 --schedule agp:0.5..0.9667/6
    measure lenet-300-100-56x "$mlp" $common --lr 0.1 --epochs 12 --schedule agp:0.5..0.98215/7
fi
if wanted lenet; then
    lenet="$models/lenet-5.safetensors"
    common="--scope global --augment flip --label-smoothing 0.1 --weight-decay 0.0005 --lr 0.06 --epochs 8"
    measure lenet-5-12x  "$lenet" $common --schedule agp:0.6..0.9167/3
    measure lenet-5-40x  "$lenet" $common --schedule agp:0.7..0.975/4
    measure lenet-5-108x "$lenet" $common --schedule agp:0.7..0.99075/5
fi
if wanted sigma; then
    [ -f "$out/mlp-512.safetensors" ] || "$secateur" train mlp-512 --data "$data" -o "$out/mlp-512.safetensors" --quiet
    for s in 0.5 1.0 1.25 1.5 1.75 2.0; do
        measure "sigma-$s" "$out/mlp-512.safetensors" --sigma "$s" --exclude fc4 --epochs 15 --optimizer adam --lr 0.001
    done
fi
