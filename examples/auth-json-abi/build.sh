#!/bin/sh
# Builds auth-json-abi.wasm, or the file named: ./build.sh [FILE]. Needs clang and wasm-ld (Debian: clang and lld).
set -eu
cd "$(dirname "$0")"
exec "${CC:-clang}" --target=wasm32 -std=c11 -Oz -mbulk-memory -nostdlib -Wall -Wextra -Werror \
	-Wl,--no-entry -Wl,--stack-first -Wl,-z,stack-size=65536 src/plugin.c -o "${1:-auth-json-abi.wasm}"
