#!/usr/bin/env bash
# The first hour on an NVIDIA GPU: is everything right, and how fast is it? Run it from anywhere:
#
#     bash benchmarks/first_hour_on_gpu.sh [FOLDER]      # results go to FOLDER, default ./first_hour
#
# It needs the package with the extra [cuda] in the active environment. Every step says what is expected, runs for at most
# ten minutes and goes on after a failure; at the end stand the steps that failed, and a file to send to the authors, who
# had no GPU. Expected times are estimates for an H100 (docs/cuda.md): no card has confirmed them.
set -u
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
out=$(realpath -m "${1:-first_hour}")
mkdir -p "$out" && cd "$out" || exit 1
failed=() steps=0

step() {  # step NAME "what is expected" COMMAND...
    local name=$1 expected=$2
    shift 2
    steps=$((steps + 1))
    echo "== $name" | tee -a summary.txt
    echo "   expected: $expected" | tee -a summary.txt
    local began=$SECONDS
    timeout --kill-after=30 600 "$@" > "$name.txt" 2>&1
    local status=$?
    tail -n 12 "$name.txt" | sed 's/^/   | /' | tee -a summary.txt
    echo "   status $status after $((SECONDS - began)) s" | tee -a summary.txt
    [ "$status" -eq 0 ] || failed+=("$name")
}

skip() { echo "== $1: skipped, $2" | tee -a summary.txt; }

has() { command -v "$1" > /dev/null 2>&1; }

: > summary.txt
step machine "the card's name, driver 580 or newer" nvidia-smi
step engines "cuda: yes, with name, compute capability and memory" \
    bash -c "genn-eventprop engines | tee /dev/stderr | grep -q '^cuda  *yes'"
step selftest "all right; 256 hidden: 0.05 ms a sample at batch 32, 0.011 at 256; ready in 2 to 4 s" \
    genn-eventprop engines --selftest cuda --report selftest_report.txt
step selftest_again "ready in less than 1 s: the machine code comes from the code cache" \
    genn-eventprop engines --selftest cuda --report selftest_again_report.txt

if has compute-sanitizer; then  # kernels are ten to a hundred times slower: the longest networks are cut off by the limit
    for tool in memcheck racecheck synccheck initcheck; do
        step "sanitizer_$tool" "ERROR SUMMARY: 0 errors (status 124: it took longer than ten minutes)" \
            compute-sanitizer --tool "$tool" genn-eventprop engines --selftest cuda --report "report_$tool.txt"
    done
else
    skip sanitizer "compute-sanitizer is not there (it comes with the CUDA toolkit)"
fi

step gradients "every gradient right, status 0" genn-eventprop gradcheck LIF --quick --engine cuda
step random_networks "0 wrong" \
    python "$here/random_networks.py" --structures 20 --engines "cuda float64" "cuda float32" --card --workers 1
step random_networks_exact "0 wrong; most are refused by name" python "$here/random_networks.py" --structures 100 \
    --spike-times exact --engines "cuda float64" --card --workers 1
step host "0.3 ms a batch of 32: the engine's Python alone, with kernels that do nothing" python "$here/gpu_host.py"

# ms a sample of the trial alone is in the self-test; here with the data and the optimiser, beside native on this machine
for batch in 32 256 1024; do
    step "shd_shape_$batch" "cuda at 256 hidden: 0.05 ms a sample at batch 32, 0.011 at 256 and 1024; native 0.6 to 1.3 on one core" \
        python "$here/shd_shape.py" --engines cuda native --batch "$batch"
    step "shd_shape_1024_hidden_$batch" "cuda at 1024 hidden: 0.23 ms a sample at batch 32, 0.08 at 256 and 1024" \
        python "$here/shd_shape.py" --engines cuda --hidden 1024 --batch "$batch"
done
step yin_yang "the accuracy of native; small networks are not faster on a card" \
    genn-eventprop train yin_yang --quick --engine cuda --run-dir run_cuda
step yin_yang_exact "the same with exact spike times on the card, on the order of native's accuracy; its time is not known" \
    genn-eventprop train yin_yang --quick --engine cuda --spike-times exact --run-dir run_cuda_exact
step yin_yang_native "for comparison" genn-eventprop train yin_yang --quick --engine native --run-dir run_native

if python -c "import pygenn" > /dev/null 2>&1; then
    step genn_selftest "all right" genn-eventprop engines --selftest genn --report genn_report.txt
    step genn "GeNN's EventProp took 0.95 ms a sample on SHD (Nowotny et al.)" \
        python "$here/genn_vs_native.py" --engines "genn(backend=cuda)" native --batch-size 32 --repeats 5
else
    skip genn "pygenn is not installed"
fi

cards=$(nvidia-smi --list-gpus 2> /dev/null | grep -c '^GPU')
if [ "${cards:-0}" -gt 1 ] && has mpiexec && python -c "import mpi4py" > /dev/null 2>&1; then
    step ranks "the losses of one process up to rounding; each rank opens a card of its own" \
        mpiexec -n 2 genn-eventprop train yin_yang --quick --engine cuda --run-dir run_ranks
else
    skip ranks "it needs two cards, mpiexec and mpi4py"
fi

{
    echo "$steps steps, ${#failed[@]} failed: ${failed[*]:-none}"
} | tee -a summary.txt
tar czf ../first_hour_report.tar.gz --exclude='*.npz' --exclude='*.npy' -C "$(dirname "$out")" "$(basename "$out")"
echo "please send $(realpath ../first_hour_report.tar.gz) to the authors"
[ "${#failed[@]}" -eq 0 ]
