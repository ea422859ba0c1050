#!/usr/bin/env bash
# Builds the plugin: build.sh [OUTPUT], auth-tenant.wasm by default. With AssemblyScript 0.28.20
# (npm install -g assemblyscript@0.28.20) the result is the same to the byte as the file here.
set -euo pipefail
cd "$(dirname "$0")"
if ! command -v asc >/dev/null; then
	echo 'asc is not there: install it (npm install -g assemblyscript@0.28.20)' >&2
	exit 69
fi
sdk=../../sdk/assemblyscript
exec asc src/tenant.ts -o "${1:-auth-tenant.wasm}" --path "$sdk" --config "$sdk/patchbay/asconfig.json"
