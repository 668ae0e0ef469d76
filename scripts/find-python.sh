#!/bin/sh
# find-python.sh VERSION... prints the path of one working Python (3.11 or newer) for each version that is here.
# Each candidate is run: a shim on the PATH may name a version that is not active.

for version in "$@"; do
    for candidate in "python$version" "$HOME/.pyenv/versions/$version".*/bin/python; do
        path=$("$candidate" -c 'import sys; print(sys.executable) if sys.version_info >= (3, 11) else sys.exit(1)' \
            2>/dev/null) && echo "$path" && break
    done
done
