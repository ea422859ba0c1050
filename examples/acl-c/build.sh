#!/bin/sh
# Builds acl-c.wasm, or the file named: ./build.sh [FILE]. Needs clang and wasm-ld (Debian: clang and lld).
set -eu
cd "$(dirname "$0")"
exec "${CC:-clang}" --target=wasm32 -std=c11 -O2 -flto -nostdlib \
	-Wall -Wextra -Werror -Wl,--no-entry -Wl,--lto-O2 -Wl,--stack-first -Wl,-z,stack-size=65536 \
	-I../../sdk/c/include src/acl.c ../../sdk/c/src/*.c -o "${1:-acl-c.wasm}"
