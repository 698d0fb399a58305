#!/usr/bin/env bash
# Question: how many network evaluations does each estimator need for a standard error of the bound?
# Usage: sweeps/how_many_evaluations.sh RUN_DIR. Every measurement prints what its own scatter says; the ledgers lie in RUN_DIR/bound/.
# Cost: 192 x T + 10,000 + 40,000 + 20,000 evaluations, the pilots and 20,000 on training examples; 18 minutes for a 2M-parameter
# U-Net on one core.
set -e
run=${1:?usage: $0 RUN_DIR}
shift
measure() { echo "--- $*"; "${PYTHON:-python}" -m difflab task=evaluate "run=$run" tracker=none "chains.verify=[]" "$@"; }
measure bound=exhaustive bound.examples=64 "$@"                            # what everyone else runs: all T terms of each image
measure bound=exhaustive bound.examples=64 bound.draws=2 "$@"              # how well that tells each image's own bound
measure bound=importance "$@"                                              # one random t an image: the population mean
measure bound=importance_per_example bound.examples=200 bound.draws=2 "$@" # each image's own bound
measure bound=importance bound.target_se=0.01 "$@"                         # until the target is reached
