#!/usr/bin/env bash
# The native engine's tests with a compiler's sanitizers in it, on every build of the kernels that
# this processor can run. Whatever they find ends the run with a report.
#
#   tests/sanitize.sh           errors of memory and undefined operations (ASan and UBSan)
#   tests/sanitize.sh thread    data races (TSan)
#
# Kinema is built into an environment of its own in build/sanitize, without PyTorch, which would
# take longer than all the rest. Takes about two minutes each. Where the compiler or the system has
# no such sanitizer, it says so and ends with success.
set -euo pipefail
cd "$(dirname "$0")/.."

kind=${1:-address,undefined}
compiler=${CXX:-g++}
folder=$PWD/build/sanitize
python=$folder/venv/bin/python
mkdir -p "$folder"

skip() {
  echo "sanitize.sh: $1: $kind is not tested"
  exit 0
}

echo 'int main() {}' | "$compiler" -x c++ -fsanitize="$kind" - -o "$folder/probe" 2> /dev/null ||
  skip "$compiler has no such sanitizer"

# Python itself is not so built: the sanitizer comes first, and what Python leaks does not count.
case $kind in
  thread) libraries="libtsan.so" ;;
  *) libraries="libasan.so libubsan.so" ;;
esac
preload=
for library in $libraries; do
  file=$("$compiler" -print-file-name="$library")
  [ -f "$file" ] || skip "$compiler has no $library"
  preload+=" $file"
done
sanitized() {
  env LD_PRELOAD="$preload" \
    ASAN_OPTIONS=detect_leaks=0:allocator_may_return_null=1:quarantine_size_mb=16 \
    UBSAN_OPTIONS=print_stacktrace=1 \
    TSAN_OPTIONS=ignore_noninstrumented_modules=1:allocator_may_return_null=1 \
    "$python" "$@"
}

[ -x "$python" ] || python3 -m venv "$folder/venv"
sanitized -c "" || skip "Python does not run with it"
"$python" - << 'EOF' > "$folder/requirements.txt"
import tomllib

with open("pyproject.toml", "rb") as file:
    table = tomllib.load(file)
project = table["project"]
print(*table["build-system"]["requires"], *project["dependencies"], sep="\n")
print(*project["optional-dependencies"]["test"], sep="\n")
EOF
pip=("$python" -m pip --disable-pip-version-check --quiet)
"${pip[@]}" install --constraint constraints.txt --requirement "$folder/requirements.txt"

# Little optimisation: the kernels, most of which is inlined, would take a minute each to compile.
CXX=$compiler CXXFLAGS="-fsanitize=$kind -fno-sanitize-recover=all -fno-omit-frame-pointer" \
  "${pip[@]}" install --no-deps --no-build-isolation \
  --config-settings=build-dir="$folder/${kind%,*}" \
  --config-settings=cmake.build-type=Debug \
  --config-settings=cmake.define.CMAKE_CXX_FLAGS_DEBUG="-O1 -g1" .

# Not what measures memory or time, and not what reads real videos. Without --capture=sys pytest
# would keep a report to itself. Two processes: the first one tests a fork, which TSan cannot follow
# once OpenCV has begun threads of its own, as it does in the second.
check() {
  sanitized -m pytest -p no:cacheprovider --capture=sys "$@" \
    -k "not memory_does_not_grow and not other_python_threads and not real_frames"
}
check tests/native/test_layer_gradients.py tests/native/test_native.py tests/engine/test_engine.py
check tests/native/test_flow.py tests/native/test_trajectory_kernels.py \
  tests/features/test_trajectories.py
