#!/bin/sh
# preflight.sh [PYTHON] names every tool that the build needs and does not find, each with its fix.

python=$1
failed=0

missing() {
    printf 'missing: %s\n    fix: %s\n' "$1" "$2" >&2
    failed=1
}

if ! cargo --version >/dev/null 2>&1 || ! rustc --version >/dev/null 2>&1; then
    missing "Rust 1.89 or newer (cargo, rustc)" "install it with rustup, https://rustup.rs, and open a new shell"
fi

if ! "${CC:-cc}" --version >/dev/null 2>&1; then
    missing "a C compiler (${CC:-cc})" \
        "apt-get install gcc libc6-dev, dnf install gcc, or xcode-select --install; or set CC"
fi

if [ -z "$python" ] || ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
    missing "Python 3.11 or newer${python:+ ($python is none)}" "apt-get install python3 python3-venv, or make PYTHON=/path/to/python"
elif ! command -v uv >/dev/null 2>&1 && ! "$python" -c 'import venv, ensurepip' 2>/dev/null; then
    missing "the modules venv and ensurepip of $python" "apt-get install python3-venv, or install uv"
fi

exit $failed
