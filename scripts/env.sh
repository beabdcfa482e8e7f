# Sourced by the other scripts: makes one environment a Python version, and installs what is needed.
# Nothing outside of the checkout is changed.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
export PIP_DISABLE_PIP_VERSION_CHECK=1
unset PYTHONDONTWRITEBYTECODE # hundreds of programs are started: each would compile all that it imports

# find_python VERSION: print the path of that Python; fails if this machine has none.
find_python() {
  local candidate
  for candidate in "$(command -v "python$1" || true)" "$HOME"/.pyenv/versions/"$1".*/bin/python \
    "${PYENV_ROOT:-/nonexistent}"/versions/"$1".*/bin/python; do
    if [ -x "$candidate" ] && "$candidate" -c "import sys; sys.exit('%d.%d' % sys.version_info[:2] != '$1')" 2>/dev/null; then
      echo "$candidate"
      return
    fi
  done
  return 1
}

# any_python: print the path of the first Python of 3.11, 3.12 and 3.13 that is there.
any_python() {
  find_python 3.11 || find_python 3.12 || find_python 3.13 || {
    echo "lumina-stream needs Python 3.11, 3.12 or 3.13; none was found" >&2
    return 1
  }
}

# make_environment FOLDER PYTHON EXTRA [PINS]: install the checkout with an extra, once per change of its pins.
# Much of what is installed is never imported: bytecode is made of what is.
make_environment() {
  local pins=${4:-constraints.txt} stamp have
  stamp=$(cat pyproject.toml "$pins" | cksum)
  have=$(cat "$1/.stamp" 2>/dev/null || true)
  if [ "$have" != "$stamp $3" ] && [ "$have" != "$stamp $3,providers,browser,deployments" ]; then
    echo "setting up $1 (once) ..." >&2
    [ -x "$1/bin/python" ] || "$2" -m venv "$1"
    "$1/bin/python" -m pip install --quiet --no-compile --constraint "$pins" --editable ".[$3]" >&2
    echo "$stamp $3" >"$1/.stamp"
  fi
}

# make_browser: see to it that there is a Chromium for the dashboard's tests; install Debian's where that
# is allowed. Without one those tests skip; where CI is set, the script fails.
make_browser() {
  command -v chromium >/dev/null || command -v chromium-browser >/dev/null && return
  if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    echo "installing chromium (once) ..." >&2
    apt-get update -qq >/dev/null && DEBIAN_FRONTEND=noninteractive \
      apt-get install -y -qq --no-install-recommends chromium fonts-liberation strace >/dev/null 2>&1 && return
  fi
  echo "there is no Chromium here: the dashboard's tests in a browser are skipped" >&2
  [ -z "${CI:-}" ]
}

# make_dashboard: install what the dashboard is checked and built with, once per change of its lock file.
# Without Node 20 or later it says so and fails; where CI is set, so does the script.
make_dashboard() {
  local folder=lumina_stream/dashboard version stamp
  version=$(node --version 2>/dev/null || true)
  if [ -z "$version" ] || [ "$(echo "${version#v}" | cut -d. -f1)" -lt 20 ]; then
    echo "the dashboard needs Node 20 or later, and there is ${version:-none}: it is left out here" >&2
    [ -z "${CI:-}" ] || exit 1
    return 1
  fi
  stamp="$(cksum <"$folder/package-lock.json") $version"
  if [ "$(cat "$folder/node_modules/.stamp" 2>/dev/null || true)" != "$stamp" ]; then
    echo "setting up $folder (once) ..." >&2
    npm --prefix "$folder" ci --silent >&2 || exit 1
    echo "$stamp" >"$folder/node_modules/.stamp"
  fi
}

# beside NAME COMMAND...: run a command beside what follows; what it says is kept for `finish`. In a process group of
# its own, which Ctrl-C does not reach: it ends with the script.
beside() {
  if [ -z "${said:-}" ]; then
    said=$(mktemp -d)
    trap end_beside EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM
  fi
  set -m
  "${@:2}" >"$said/$1" 2>&1 </dev/null &
  set +m
  echo $! >"$said/$1.pid"
}

# finish NAME: wait for what runs beside, and show what it said; fails if it failed.
finish() {
  local code=0
  wait "$(cat "$said/$1.pid")" || code=$?
  rm "$said/$1.pid"
  cat "$said/$1"
  return $code
}

end_beside() {
  local file
  for file in "$said"/*.pid; do
    [ ! -e "$file" ] || kill -- "-$(cat "$file")" 2>/dev/null || true
  done
  rm -rf "$said"
}
