#!/usr/bin/env bash
# Builds the plugin: build.sh [OUTPUT], filter-zig.wasm by default. With Zig 0.17.1 (pip
# install ziglang==0.17.1) the result is the same to the byte as the filter-zig.wasm here.
#
# It is what `zig build` does (build.zig), without compiling Zig's build system first.
set -euo pipefail
cd "$(dirname "$0")"
out=${1:-filter-zig.wasm}
if command -v zig >/dev/null; then
	zig=(zig)
elif python3 -m ziglang version >/dev/null 2>&1; then
	zig=(python3 -m ziglang)
else
	echo 'zig is not there: install it (pip install ziglang==0.17.1)' >&2
	exit 69
fi
cache=${TMPDIR:-/tmp}/patchbay-zig-cache
"${zig[@]}" build-exe -fno-entry -rdynamic --stack 65536 --name filter-zig -femit-bin="$out" \
	--cache-dir "$cache" --global-cache-dir "$cache" \
	-target wasm32-freestanding -O ReleaseSafe -fstrip --dep patchbay -Mroot=src/filter.zig \
	-target wasm32-freestanding -O ReleaseSmall -fstrip -Mpatchbay=../../sdk/zig/src/patchbay.zig
