#!/usr/bin/env bash
# All tables and figures of docs/benchmarks.md by the version at hand, then those of other pages, the most worth first. From the root of a
# checkout, on a quiet machine, with the extras torch and mpi:
#
#     MLGENN=OTHER/bin/python bash benchmarks/renew.sh [FOLDER]      # MLGENN: a Python that has ml_genn; else it is told as absent
#
# What is in FOLDER (default runs/renewed) already is not measured again; DRY=1 only prints the commands. Times are estimates for a quiet core. Read `git diff docs` afterwards.
set -u
out=${1:-runs/renewed} data=${GENN_EVENTPROP_DATA:-../shared/data} failed=()
export PYTHONPATH=$PWD:$PWD/benchmarks${PYTHONPATH:+:$PYTHONPATH} OMP_NUM_THREADS=1
mkdir -p "$out"
try() {
    echo "== $*"
    [ -z "${DRY:-}" ] || return 0
    "$@" || failed+=("$*")
    python docs/numbers/tables.py || true
}

# docs/benchmarks.md
try python benchmarks/conv_rows.py --numbers docs/numbers/convolutions.json                                        # 1 min
try python benchmarks/peers.py --out "$out/peers" ${MLGENN:+--python mlgenn=$MLGENN} --numbers docs/numbers        # 45 min, with installing; --no-growth: 15 min, without the figure
try python benchmarks/growth.py --figure docs/figures/growth.png                                                   # 5 min

# speed on other pages
try python benchmarks/torch_overhead.py --numbers docs/numbers/torch_overhead.json                                 # 3 min; docs/pytorch.md
try python benchmarks/scaling.py --keep "$out/scaling.json" --numbers docs/numbers/scaling.json                    # 10 min, all cores; docs/cluster.md
try python benchmarks/connectivity.py --repeats 14                                                                  # 2 min; the table of docs/native.md, by hand

# accuracy on other pages, for which any machine will do
try python benchmarks/depth.py --numbers docs/numbers/depth.json                                                   # 9 min; docs/silent_and_exploding.md
try python benchmarks/loss_shaping.py --out "$out/loss_shaping"                                                    # 10 min; docs/losses.md
try python benchmarks/device_in_the_loop.py --seeds 1-5 --out "$out/device" --epochs 10 --train-size 4000 --numbers docs/numbers/device.json  # 20 min; docs/device.md
try python benchmarks/grid_versus_exact.py --data-dir "$data" --out "$out/grid_versus_exact" --parts gradients     # 30 min; docs/grid_versus_exact.md
try python benchmarks/grid_versus_exact.py --data-dir "$data" --out "$out/grid_versus_exact" --parts tuned --finalists 3  # 8 h

[ ${#failed[@]} -eq 0 ] || { printf 'failed: %s\n' "${failed[@]}"; exit 1; }
