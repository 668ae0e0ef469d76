#!/bin/sh
# install-servers.sh PACKAGE... installs servers from Debian's packages where that can be done, without starting them.
# Where it cannot, what needs them says so.

[ "$(id -u)" = 0 ] && command -v apt-get >/dev/null || exit 0
for package in "$@"; do
    dpkg --status "$package" >/dev/null 2>&1 && continue
    timeout 120 apt-get update -qq
    RUNLEVEL=1 timeout 240 apt-get install -y -qq --no-install-recommends "$package" ||
        echo "$package cannot be installed here"
done
