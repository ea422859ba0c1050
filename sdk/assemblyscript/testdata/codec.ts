// A module by which the tests reach codec and JSON reader: see sdk/internal/codectest.
import "patchbay/abi";
import { Json, Kind, parse } from "patchbay/json";
import * as wire from "patchbay/wire";
import { roundtripOf } from "./messages";

const writer = new wire.Writer();
let taken = new ArrayBuffer(0);
let printed = new ArrayBuffer(0);

export function input(size: i32): usize {
  taken = new ArrayBuffer(size);
  __collect();
  return changetype<usize>(taken);
}

/** both decodes and encodes a message. */
export function both<T>(m: T, source: ArrayBuffer): bool {
  if (!wire.decode<T>(m, source, source.byteLength)) return false;
  writer.clear();
  m.put(writer);
  return true;
}

/** again reads the message whose name and bytes are in the input, and writes it again. */
export function again(at: usize, nameSize: i32, size: i32): i64 {
  const name = String.UTF8.decode(taken.slice(0, nameSize));
  if (!roundtripOf(name, taken.slice(nameSize, size))) return -wire.failure;
  return (<i64>writer.at << 32) | writer.length;
}

/** json reads a text and prints it. */
export function json(at: usize, size: i32): i64 {
  if (!wire.isText(at, size)) return -wire.failure;
  const v = parse(wire.textAt(at, size));
  if (v === null) return -99;
  printed = String.UTF8.encode(print(v));
  return (<i64>changetype<usize>(printed) << 32) | printed.byteLength;
}

function print(v: Json): string {
  switch (v.kind) {
    case Kind.NULL:
      return "n";
    case Kind.BOOL:
      return v.flag() ? "t1" : "t0";
    case Kind.NUMBER:
      return "s" + text(v.literal);
    case Kind.TEXT:
      return "d" + text(v.text());
  }
  let out = v.kind == Kind.LIST ? "a" : "o";
  for (let i = 0; i < v.length; i++) {
    if (v.kind == Kind.OBJECT) out += text(v.keys[i]);
    out += print(v.at(i));
  }
  return out + ".";
}

function text(s: string): string {
  return String.UTF8.byteLength(s).toString() + ":" + s;
}
