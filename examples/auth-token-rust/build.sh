#!/bin/sh
# Builds auth-token.wasm, or the file named: ./build.sh [FILE]. Needs rustc with the wasm32-unknown-unknown target
# (Debian: rustc and libstd-rust-dev-wasm32) and, where it brings no linker of its own, wasm-ld (Debian: lld).
#
# It is what `cargo build --release --target wasm32-unknown-unknown` does, without what differs from folder to
# folder, so that the same compiler makes the same file everywhere.
set -eu
cd "$(dirname "$0")"
out=${1:-auth-token.wasm}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# The first rustc that has the target.
for rustc in ${RUSTC:-rustc /usr/bin/rustc}; do
	std=$("$rustc" --print target-libdir --target wasm32-unknown-unknown 2>/dev/null) || continue
	if [ -d "$std" ]; then break; fi
	rustc=
done
if [ -z "$rustc" ]; then
	echo 'no rustc with the target wasm32-unknown-unknown: install rustc and libstd-rust-dev-wasm32, or rustup target add wasm32-unknown-unknown' >&2
	exit 3
fi
linker=
if [ ! -x "$(dirname "$std")/../$("$rustc" -vV | sed -n 's/^host: //p')/bin/rust-lld" ]; then linker='-C linker=wasm-ld'; fi

flags='--edition 2021 --target wasm32-unknown-unknown -C opt-level=s -C panic=abort -C codegen-units=1'
root=$(cd ../.. && pwd)
# shellcheck disable=SC2086 # they are words
"$rustc" $flags --crate-type rlib --crate-name patchbay --remap-path-prefix "$root=." \
	../../sdk/rust/src/lib.rs -o "$work/libpatchbay.rlib"
# shellcheck disable=SC2086
"$rustc" $flags $linker --crate-type cdylib --crate-name auth_token --remap-path-prefix "$root=." \
	-C lto=fat -C strip=symbols --extern patchbay="$work/libpatchbay.rlib" src/lib.rs -o "$work/auth_token.wasm"
mv "$work/auth_token.wasm" "$out"
