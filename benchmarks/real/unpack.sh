#!/bin/sh
# Takes up on a borrowed machine what pack.sh packed, in one call or in several, and says what is still to come.
#
#   . benchmarks/real/unpack.sh      in a shell, or a command: then `laconic` can be imported, LACONIC_GPU_MODEL names the model,
#                                   and LACONIC_DATA the folder of the other files
#
# 1. Parts that came along are checked and kept in UNPACKED (/tmp/laconic-gpu), which outlasts the call.
# 2. Once all are there, the model is put together and checked, and the wheels are installed from their files into a folder of their own.
#
# It ends with 0 where all is there, with 3 where parts are still to come, and with 1 where something is damaged.

unpack() (
    set -u
    packed=${PLACE:-$PWD/.gpu}
    place=${UNPACKED:-/tmp/laconic-gpu}
    pip=${PIP:-python3 -m pip}
    test -f "$packed/SHA256SUMS" || { echo "unpack.sh: $packed/SHA256SUMS is missing: carry it along" >&2; exit 1; }
    mkdir -p "$place/model" && cp -r "$packed/." "$place/" && cd "$place" || exit 1
    grep -v ' \./model/' SHA256SUMS | while read -r sum file; do
        test ! -f "$file" || echo "$sum  $file" | sha256sum --check --status || { echo "unpack.sh: $file is damaged" >&2; exit 1; }
    done || exit 1
    lacking=$(grep -v ' \./model/' SHA256SUMS | cut -c 67- | while read -r file; do test -f "$file" || echo "$file"; done)
    test -z "$lacking" || { echo "unpack.sh: still to come:" $lacking; exit 3; }
    cat part-* > "model/$(cat name)" || exit 1
    grep ' \./model/' SHA256SUMS | sha256sum --check --status || { echo "unpack.sh: the model is damaged" >&2; exit 1; }
    $pip install --quiet --no-index --no-deps --no-compile --upgrade --target "$place/site" wheels/*.whl || exit 1
    echo "unpack.sh: model and wheels are in $place"
)

if unpack; then
    UNPACKED=${UNPACKED:-/tmp/laconic-gpu}
    LACONIC_GPU_MODEL=$UNPACKED/model/$(cat "$UNPACKED/name") GPU_COMMIT=$(cat "$UNPACKED/commit")
    export LACONIC_GPU_MODEL GPU_COMMIT LACONIC_DATA="$UNPACKED/data" PYTHONPATH="$PWD/src:$UNPACKED/site" HF_HUB_OFFLINE=1
else
    exit
fi
