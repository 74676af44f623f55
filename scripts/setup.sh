#!/usr/bin/env bash
# Makes the virtual environment .venv and installs the project in it, with the CPU build of torch where there is no GPU.
set -euo pipefail
cd "$(dirname "$0")/.."
python=${PYTHON:-python3}
torch=$(grep '^torch==' constraints.txt)

"$python" - <<'E2' || { echo "setup: Python 3.11 or newer is needed; name one with PYTHON=python3.11" >&2; exit 2; }
import sys
sys.exit(sys.version_info < (3, 11))
E2
[ -x .venv/bin/python ] || "$python" -m venv .venv || { echo "setup: 'python -m venv' failed; on Debian: apt-get install python3-venv" >&2; exit 2; }
pip() { .venv/bin/python -m pip --disable-pip-version-check "$@"; }

if .venv/bin/python -c 'import torch' 2>/dev/null; then
    echo "setup: keeping the torch that is installed"
elif command -v nvidia-smi >/dev/null 2>&1 && nvidia-smi -L >/dev/null 2>&1 || [ "$(uname)" = Darwin ]; then
    echo "setup: installing $torch (about 3 GB with CUDA)"
    pip install -q -c constraints.txt torch
else
    echo "setup: installing the CPU build of torch"
    pip install -q --retries 1 --timeout 20 "$torch+cpu" 2>/dev/null ||
        pip install -q --retries 1 --timeout 20 --extra-index-url https://download.pytorch.org/whl/cpu "$torch+cpu" 2>/dev/null || {
        echo "setup: no CPU build of torch can be reached; installing the plain $torch instead (about 3 GB, as CUDA comes with it)"
        pip install -q -c constraints.txt torch || {
            echo "setup: no '$torch' for $(.venv/bin/python -V) can be reached either: see to the network or pip's index," >&2
            echo "setup: or install a torch by hand (.venv/bin/python -m pip install torch) and start again, or choose another PYTHON=" >&2
            exit 2
        }
    }
fi
echo "setup: installing the project"
pip install -q -c constraints.txt -e '.[dev]'
touch .venv/.ready
