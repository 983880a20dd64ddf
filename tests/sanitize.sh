#!/usr/bin/env bash
# The native engine's tests with a compiler's sanitizers in it, on every build of the kernels that
# this processor can run. Whatever they find ends the run with a report.
#
#   tests/sanitize.sh           errors of memory and undefined operations (ASan and UBSan)
#   tests/sanitize.sh thread    data races (TSan)
#
# Kinema is installed, so built, into an environment of its own in build/, with PyTorch, against which
# gradients are tested. Takes some minutes.
set -euo pipefail
cd "$(dirname "$0")/.."

kind=${1:-address,undefined}
folder=$PWD/build/sanitize-${kind%,*}
python=$folder/venv/bin/python

[ -x "$python" ] || python3 -m venv "$folder/venv"
CXXFLAGS="-fsanitize=$kind -fno-sanitize-recover=all -fno-omit-frame-pointer" \
  PIP_CONSTRAINT=constraints.txt "$python" -m pip --disable-pip-version-check --quiet install \
  --config-settings=build-dir="$folder/cmake" \
  --config-settings=cmake.build-type=RelWithDebInfo '.[torch,test]'

# Python itself is not so built: the sanitizer comes first, and what Python leaks does not count.
case $kind in
  thread) libraries="libtsan.so" ;;
  *) libraries="libasan.so libubsan.so" ;;
esac
preload=
for library in $libraries; do
  preload+=" $(${CXX:-g++} -print-file-name="$library")"
done
sanitized() {
  env LD_PRELOAD="$preload" \
    ASAN_OPTIONS=detect_leaks=0:allocator_may_return_null=1:quarantine_size_mb=16 \
    UBSAN_OPTIONS=print_stacktrace=1 \
    TSAN_OPTIONS=ignore_noninstrumented_modules=1:allocator_may_return_null=1 \
    "$python" "$@"
}

sanitized -m pytest -p no:cacheprovider tests/native tests/engine/test_autograd.py
for processor in $(sanitized -c "from kinema import native; print(*native.targets())"); do
  echo "KINEMA_PROCESSOR=$processor"
  KINEMA_PROCESSOR=$processor sanitized -m pytest -p no:cacheprovider tests/engine/test_engine.py
done
