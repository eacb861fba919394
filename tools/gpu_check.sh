#!/usr/bin/env bash
# Ten minutes on an NVIDIA card: whether everything that is special to CUDA works, and how fast.
#
#   tools/gpu_check.sh wheels DIR               where there is a package registry: fills DIR with wheels
#   tools/gpu_check.sh run DIR [device=cuda]    on a machine with Python 3.12, torch 2.11 and CUDA, and nothing else
#
# The second half makes an environment in DIR/env that sees the machine's torch, installs the wheels without a registry,
# and writes DIR/gpu.md: a section for BENCHMARKS.md that names the card. `device=cpu` runs the same steps dry;
# `python=PATH` takes an environment that is there instead, `data=DIR` recordings of one's own instead of full size.
#
# Every line of the package that is special to CUDA, and the check that runs it (tests/test_gpu_check.py compares):
#
#   asd/core/runtime.py                 cuda                    train: the device of every training
#   asd/core/executors.py               cuda                    tests: one process per card
#   asd/core/update.py                  nccl                    train: one process; several cards need torchrun
#   asd/core/update.py                  cuda                    train: bfloat16 where the device has it
#   asd/core/update.py                  GradScaler              tests: float16, resumed
#   asd/core/update.py                  autocast                train: precision of the forward pass
#   asd/core/update.py                  fused=True              train: one kernel per step of the optimiser
#   asd/core/train_state.py             cuda                    tests: random state in checkpoints, resumed
#   asd/core/checkpoint.py              map_location            tests: a file of one device on the other
#   asd/core/losses/cells.py            autocast                tests: losses keep float32
#   asd/core/losses/graph.py            autocast                tests: losses keep float32
#   asd/core/losses/metric_learning.py  autocast                tests: losses keep float32
#   asd/detectors/encoders/published.py map_location            tests: a file of one device on the other
#   asd/detectors/encoders/training.py  autocast                train: filter banks keep float32
#   asd/features/clip_statistics.py     is_cuda                 train: the whole batch at once
#   asd/features/logmel.py              is_cuda                 train: the whole batch at once
#   asd/features/spectral_statistics.py is_cuda                 train: the whole batch at once
#   asd/features/clip_statistics.py     is_cuda                 train: the transform of whole recordings
#   asd/scoring/neighbours.py           cuda                    faiss: beside torch, against the CPU
#   asd/scoring/neighbours.py           GpuResources            faiss: beside torch, against the CPU
#   asd/scoring/neighbours.py           index_cpu_to_gpu        faiss: beside torch, against the CPU
set -euo pipefail

HERE=$(cd "$(dirname "$0")/.." && pwd)
DETECTORS="statistics autoencoder embedding"

usage() { sed -n '4,5p' "$0" | cut -c3-; exit 2; }

wheels() {  # the first half: everything but torch, for Python 3.12 on x86-64
    mkdir -p "$1"
    grep -v '^ *--hash' "$HERE/requirements.lock" | sed 's/ *\\$//' | grep -Ev '^(torch|nvidia-|triton|cuda-)' > "$1/wanted.txt"
    python3 -m pip download --quiet --no-deps --only-binary=:all: --python-version 3.12 --implementation cp \
        --platform manylinux_2_28_x86_64 --platform manylinux_2_17_x86_64 --platform manylinux2014_x86_64 \
        --dest "$1" --requirement "$1/wanted.txt"
    echo "next, on the machine with the card: tools/gpu_check.sh run $1"
}

environment() {  # torch is the machine's, the rest comes from the folder
    [ -x "$OUT/env/bin/python" ] || python3 -m venv --system-site-packages "$OUT/env"
    "$OUT/env/bin/python" -m pip install --quiet --no-index --no-deps --find-links "$OUT" "$OUT"/*.whl
    PYTHON=$OUT/env/bin/python
}

step() {  # name, command: runs it, keeps its output, and goes on
    local name=$1 begun=$SECONDS state=passed
    shift
    "$@" > "$OUT/$name.log" 2>&1 || { state=FAILED; failed=1; }
    echo "| $name | $state | $((SECONDS - begun)) s |" | tee -a "$OUT/steps.md"
}

train() {  # a short training on the device, scored again on the CPU from what was saved
    local detector=$1 name=gpu_$1 options=()
    [ "$detector" = statistics ] || options=(training.epochs=2)
    "$PYTHON" -m asd train machine=fan data="$OUT/small" detector="$detector" name="$name" runs="$OUT/runs" \
        device="$DEVICE" "${options[@]}" overwrite=true
    cp -r "$OUT/runs/$name" "$OUT/runs/${name}_cpu"
    "$PYTHON" -m asd score machine=fan data="$OUT/small" name="${name}_cpu" runs="$OUT/runs" device=cpu
    "$PYTHON" "$HERE/tools/same_scores.py" "$OUT/runs/$name" "$OUT/runs/${name}_cpu"
}

full_bench() {
    [ -n "$DATA" ] || "$PYTHON" "$HERE/tools/make_machine.py" out="$OUT/full" machine=fan
    "$PYTHON" "$HERE/tools/bench.py" data="${DATA:-$OUT/full}" machine=fan epochs=3 device="$DEVICE"
}

plain_loop() {
    "$PYTHON" "$HERE/tools/official_loop.py" data="${DATA:-$OUT/full}" machine=fan epochs=3 device="$DEVICE"
}

small_machine() {
    "$PYTHON" -c "from pathlib import Path; from asd.synthetic import make_machines; make_machines(
        Path('$OUT/small'), ('fan',), train_source=12, train_target=4, test_per_cell=3, duration_s=2.0)"
}

card() {
    "$PYTHON" -c "import torch; d = '$DEVICE'; print(torch.cuda.get_device_name() if d == 'cuda' else 'no card (device=cpu)', 'torch', torch.__version__, 'CUDA', torch.version.cuda)"
}

run() {
    failed=0
    mkdir -p "$OUT"
    rm -rf "$OUT/steps.md" "$OUT/runs" "$OUT/small"
    [ -n "$PYTHON" ] || environment
    cd "$HERE"
    export PYTHONPATH=$HERE
    step tests "$PYTHON" -m pytest -q -m gpu -p no:cacheprovider
    step faiss "$PYTHON" -m pytest -q -m gpu -p no:cacheprovider tests/test_neighbours.py
    step machine small_machine
    for detector in $DETECTORS; do step "train_$detector" train "$detector"; done
    step bench full_bench
    step official_loop plain_loop
    {
        echo "## On $(card)"
        echo
        echo "\`tools/gpu_check.sh run DIR device=$DEVICE\`, $(date +%F)."
        echo
        printf '| step | state | time |\n|---|---|---|\n'
        cat "$OUT/steps.md"
        echo
        grep '^|' "$OUT/bench.log" "$OUT/official_loop.log" -h || true
    } > "$OUT/gpu.md"
    cat "$OUT/gpu.md"
    return $failed
}

[ $# -ge 2 ] || usage
half=$1 OUT=$(mkdir -p "$2" && cd "$2" && pwd) DEVICE=cuda PYTHON= DATA=
shift 2
for word in "$@"; do
    case $word in
        device=*) DEVICE=${word#*=} ;;
        python=*) PYTHON=${word#*=} ;;
        data=*) DATA=${word#*=} ;;
        *) usage ;;
    esac
done
case $half in
    wheels) wheels "$OUT" ;;
    run) run ;;
    *) usage ;;
esac
