#!/bin/sh
# Makes bridge-python, a program in one file, in the folder of the first argument (the
# present one by default). What it needs of PyPI goes into a virtual environment, the
# folder of the second argument (venv beside it by default), which has to stay where it is.
# The contract is contract.binpb beside this file, if it is there: a copy of that of a checkout.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
out=${1:-.}
venv=${2:-$out/venv}
python3 -m pip --version >/dev/null || {
	echo "Python or its pip is not installed: Debian's packages python3 and python3-pip" >&2
	exit 69
}
[ -x "$venv/bin/python" ] || python3 -m venv --without-pip "$venv"
venv=$(cd "$venv" && pwd)
python3 -m pip --python "$venv/bin/python" install --quiet --disable-pip-version-check -r "$here/requirements.txt"
app=$(mktemp -d)
trap 'rm -rf "$app"' EXIT
cp "$here/__main__.py" "$here/bridge.py" "$here/patchbay_plugin.py" "$app/"
contract=$here/contract.binpb
[ -e "$contract" ] || contract=$here/../../sdk/proto/v1.binpb
cp "$contract" "$app/contract.binpb"
python3 -m zipapp "$app" --python "$venv/bin/python" --output "$out/bridge-python"
