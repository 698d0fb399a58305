#!/usr/bin/env bash
# Question: how many dimensions does the mapping need? The whole bound on Fashion-MNIST, its parts, training and sampling speed
# against the dimensions k of z, for principal directions (space=pca; 784 of them whiten) and for an autoencoder's latents.
# Usage: sweeps/how_many_dimensions.sh OUT_DIR [further overrides]. The table is printed at the end, the paired comparison of
# all runs stands in OUT_DIR/comparison/. Cost: 7 short trainings, two to three minutes each on one core that nothing else uses.
#
# Measured (bits/dim of x on 500 test images, T = 1000; the speeds on a core shared with many others, so only their order counts;
# the autoencoder of 196 dimensions on 2,000 images with bound=importance; that of 392 was not measured then):
# | space       |   k | bound         | chain on z | residual or reconstruction | volume or entropy | space alone | chain gains     | trains, images/s | samples, images/s |
# | pca         |   8 | 7.451 ± 0.014 |      0.014 |                      7.345 |             0.091 |       7.458 | 0.0068 ± 0.0003 |            1,296 |              10.7 |
# | pca         |  32 | 7.132 ± 0.016 |      0.082 |                      6.738 |             0.312 |       7.134 | 0.0020 ± 0.0006 |            1,151 |              17.4 |
# | pca         | 128 | 6.796 ± 0.019 |      0.332 |                      5.416 |             1.048 |       6.797 | 0.0001 ± 0.0015 |              932 |              18.9 |
# | pca         | 784 | 6.385 ± 0.028 |      1.999 |                            |             4.385 |       6.386 | 0.0013 ± 0.0067 |              971 |              16.6 |
# | autoencoder |  49 | 3.774 ± 0.046 |      0.075 |                      3.687 |             0.012 |       3.827 | 0.0538 ± 0.0012 |              161 |               3.2 |
# | autoencoder | 196 | 3.783 ± 0.072 |      0.479 |                      3.637 |            -0.333 |       3.817 | 0.0332 ± 0.0681 |              171 |               3.4 |
# A linear map needs them all: what it leaves out is paid for as a Gaussian's residual, and every direction kept is worth it, to the
# last; after so few steps the chain knows no more of z than N(0, I). Of a learned one 49 beat 784 by 2.6 bits/dim, 98% of which
# are paid in p(x|z).
set -e
out=${1:?usage: $0 OUT_DIR [further overrides]}
shift
python=${PYTHON:-python}
mkdir -p "$out"
train() {
    name=$1 && shift
    echo "--- $name: $*"
    "$python" -m difflab data=fashion_mnist tracker=none trainer.val_every=0 validation.examples=50 \
        bound.examples=500 fit.examples=50 "chains.verify=[]" "hydra.run.dir=$out/$name" "$@" 2> "$out/$name.log"
}
for k in 8 32 128 784; do
    train "pca-$k" space=pca "space.k=$k" trainer.steps=1000 "$@"
done
for channels in 1 4 8; do # of 7 x 7
    train "autoencoder-$((49 * channels))" space=autoencoder "space.channels=$channels" space.steps=300 trainer.steps=300 "$@"
done
runs=$(cd "$out" && printf "%s," "$PWD"/*/result.json | sed 's|/result.json||g; s|,$||')
"$python" -m difflab task=compare "runs=[$runs]" "hydra.run.dir=$out/comparison" > "$out/comparison.log"
"$python" - "$out" <<'EOF'
import json
import re
import sys
from pathlib import Path

out = Path(sys.argv[1])
print("| space | k | bound | chain on z | reconstruction or residual | volume or entropy | space alone | chain gains | z trains, images/s | samples, images/s |")
print("|---" * 10 + "|")
for path in sorted(out.glob("*/result.json"), key=lambda p: (-ord(p.parent.name[0]), int(p.parent.name.split("-")[1]))):
    name, k = path.parent.name.split("-")
    r = json.loads(path.read_text())
    chain = r["prior_kl"] + r["transition_kl"] + r["decoder_nll"]
    lost, size = ("space_residual", "space_volume") if name == "pca" else ("space_reconstruction", "space_entropy")
    rows = [json.loads(line) for line in (path.parent / "metrics.jsonl").read_text().splitlines()]
    speed = sorted(row["train/images_per_s"] for row in rows if "train/images_per_s" in row)
    log = (path.parent.parent / f"{path.parent.name}.log").read_text()
    steps, per_s = re.findall(r"^sampling  ([\d,]+)/.*?([\d.,]+) step/s", log, re.M)[-1]
    drawn = 64 * float(per_s.replace(",", "")) / int(steps.replace(",", ""))
    print(
        f"| {name} | {k} | {r['bpd']:.3f} ± {r['bpd_se']:.3f} | {chain:.3f} | {r.get(lost, 0):.3f} | {r[size]:.3f} | {r['bpd_without_chain']:.3f} | "
        f"{r['chain_gain']:.3f} ± {r['chain_gain_se']:.3f} | {speed[len(speed) // 2]:,.0f} | {drawn:.1f} |"
    )
EOF
