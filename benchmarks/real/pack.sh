#!/bin/sh
# Packs what a borrowed machine without a network lacks into .gpu/, a folder that git ignores: a model and wheels.
#
#   benchmarks/real/pack.sh MODEL.gguf [FILE ...]      docs/gpu.md says what to do with it there
#
# .gpu/part-00, part-01, ...   the model, cut into parts of PART_BYTES (48 MiB), for machines that take less than 64 MiB at once
# .gpu/wheels/                 what the machine's Python (PYTHON_VERSION, 3.12) does not have, in the versions of constraints.txt
# .gpu/data/                   the other FILEs
# .gpu/commit, .gpu/name       the commit that is measured, and what the model's file is called
# .gpu/SHA256SUMS              checksums of all of them, and of the whole model
#
# What was there before is replaced. PIP is the command that downloads.

set -eu

ROOT=$(cd "$(dirname "$0")/../.." && pwd)
PLACE=${PLACE:-$ROOT/.gpu}
PART_BYTES=${PART_BYTES:-50331648}
PYTHON_VERSION=${PYTHON_VERSION:-3.12}
PIP=${PIP:-python3 -m pip}
WHEELS="pydantic pydantic-core annotated-types typing-inspection math-verify latex2sympy2-extended antlr4-python3-runtime
    httpx2 httpcore2 truststore gguf"

test $# -ge 1 || { echo "usage: pack.sh MODEL.gguf [FILE ...]" >&2; exit 2; }
for file in "$@"; do
    test -f "$file" || { echo "pack.sh: $file: no such file" >&2; exit 2; }
done
model=$1
shift

rm -rf "$PLACE"
mkdir -p "$PLACE/wheels" "$PLACE/data"

pinned() { # the name with the version of constraints.txt, where it has one
    grep "^$1==" "$ROOT/constraints.txt" || echo "$1"
}
wanted=$(for name in $WHEELS; do pinned "$name"; done)
# shellcheck disable=SC2086  # one word for each wheel
$PIP download --quiet --no-deps --only-binary=:all: --implementation cp --python-version "$PYTHON_VERSION" \
    --platform manylinux2014_x86_64 --platform manylinux_2_17_x86_64 --platform manylinux_2_28_x86_64 \
    --dest "$PLACE/wheels" $wanted

split --bytes="$PART_BYTES" --numeric-suffixes "$model" "$PLACE/part-"
for file in "$@"; do
    cp "$file" "$PLACE/data/"
done
basename "$model" > "$PLACE/name"
git -C "$ROOT" describe --always --dirty > "$PLACE/commit" 2> /dev/null || echo unknown > "$PLACE/commit"

cd "$PLACE"
find . -type f ! -name SHA256SUMS | sort | xargs sha256sum > SHA256SUMS
whole=$(cat part-* | sha256sum | cut -d ' ' -f 1)
echo "$whole  ./model/$(cat name)" >> SHA256SUMS
du -ch part-* wheels data | sed 's/^/pack.sh: /'
