// The encoding of messages: protobuf's, as much of it as the contract uses. The classes of
// v1 call these functions.
//
// Reading copies nothing: a message remembers where its strings and bytes lie, and makes
// values of them when they are asked for. Writing goes from the end to the beginning, since
// the length of what is nested is known after it has been written.

/** Failure is why a message cannot be read. */
export const enum Failure {
  NONE = 0,
  /** The input ends too early. */
  TRUNCATED = 1,
  /** A varint has more than 64 bits. */
  OVERFLOW = 2,
  /** Not a field number and wire type. */
  TAG = 3,
  /** A string is not UTF-8. */
  UTF8 = 4,
  /** More elements, or deeper nested, than the contract allows. */
  LIMIT = 5,
}

/** position is where the field that was read ends, 0 after an error. */
export let position: usize = 0;
/** value is what a field holds: a number, the 64 bits of a double, or the length of bytes that end at position. */
export let value: u64 = 0;
/** failure is why the last message could not be read. */
export let failure: i32 = Failure.NONE;
/** failedIn is the name of that message, or of the one within it. */
export let failedIn: string = "";

/** left counts down the elements of lists that a message may still have. */
let left: i32 = 0;
const MAX_ELEMENTS = 65_536;
/** MAX_FIELD is the largest field number. */
const MAX_FIELD: u64 = (1 << 29) - 1;
/** MAX_GROUPS is how deep groups may nest in what is skipped. The contract has none. */
const MAX_GROUPS = 16;

/** decode reads size bytes of source into m, which is empty; false after an error. */
export function decode<T>(m: T, source: ArrayBuffer, size: i32): bool {
  left = MAX_ELEMENTS;
  failure = Failure.NONE;
  const at = changetype<usize>(source);
  return m.merge(at, at + size, source);
}

/** failed notes in which message reading has ended. */
export function failed(message: string): bool {
  failedIn = message;
  return false;
}

/** problem puts the last failure into words. */
export function problem(): string {
  switch (failure) {
    case Failure.TRUNCATED:
      return failedIn + ": the input ends too early";
    case Failure.OVERFLOW:
      return failedIn + ": a varint has more than 64 bits";
    case Failure.TAG:
      return failedIn + ": not a field number and wire type";
    case Failure.UTF8:
      return failedIn + ": a string is not UTF-8";
    default:
      return failedIn + ": more elements, or deeper nested, than the contract allows";
  }
}

function fail(why: i32): u32 {
  failure = why;
  position = 0;
  return 0;
}

/** field reads a field, and returns its number and wire type, 0 after an error. */
export function field(at: usize, end: usize): u32 {
  let tag: u64 = load<u8>(at);
  if (tag < 0x80) at++;
  else {
    tag = longVarint(at, end);
    if (!(at = position)) return 0;
  }
  switch (<i32>tag & 7) {
    case 0:
      value = varint(at, end);
      break;
    case 1:
      if (end - at < 8) return fail(Failure.TRUNCATED);
      value = load<u64>(at);
      position = at + 8;
      break;
    case 2: {
      const size = varint(at, end);
      if (!(at = position)) return 0;
      if (size > <u64>(end - at)) return fail(Failure.TRUNCATED);
      value = size;
      position = at + <usize>size;
      break;
    }
    case 3:
      skipGroup(at, end, <u32>tag, 1);
      break;
    case 5:
      if (end - at < 4) return fail(Failure.TRUNCATED);
      position = at + 4;
      break;
    default:
      return fail(Failure.TAG);
  }
  if (!position) return 0;
  return (tag >> 3) - 1 < MAX_FIELD ? <u32>tag : fail(Failure.TAG);
}

/** skipGroup passes over what stands between start and its end, which no field of the contract is. */
function skipGroup(at: usize, end: usize, start: u32, depth: i32): bool {
  if (depth > MAX_GROUPS) return fail(Failure.LIMIT) != 0;
  while (true) {
    const from = at;
    const tag = varint(at, end);
    if (!(at = position)) return false;
    if ((<i32>tag & 7) == 4) return tag == <u64>start + 1 || fail(Failure.TAG) != 0;
    if ((<i32>tag & 7) == 3) {
      if (!skipGroup(at, end, <u32>tag, depth + 1)) return false;
      if ((tag >> 3) - 1 >= MAX_FIELD) return fail(Failure.TAG) != 0;
    } else {
      // Read once more, now with its value.
      if (!field(from, end)) return false;
    }
    at = position;
  }
}

// @ts-ignore: decorator
@inline
function varint(at: usize, end: usize): u64 {
  if (at < end && load<u8>(at) < 0x80) {
    position = at + 1;
    return load<u8>(at);
  }
  return longVarint(at, end);
}

function longVarint(at: usize, end: usize): u64 {
  let v: u64 = 0;
  for (let shift: u64 = 0; shift < 64; shift += 7) {
    if (at >= end) return fail(Failure.TRUNCATED);
    const c: u64 = load<u8>(at++);
    if (shift == 63 && c > 1) break;
    v |= (c & 0x7f) << shift;
    if (c < 0x80) {
      position = at;
      return v;
    }
  }
  return fail(Failure.OVERFLOW);
}

function sizeVarint(v: u64): i32 {
  return (70 - <i32>clz(v | 1)) / 7;
}

/** isText reports whether there is UTF-8. Most strings are short and ASCII. */
export function isText(at: usize, size: u32): bool {
  let end = at + size;
  let all: u64 = 0;
  let i = at;
  for (; i + 8 <= end; i += 8) all |= load<u64>(i);
  for (; i < end; i++) all |= load<u8>(i);
  if (!(all & 0x8080_8080_8080_8080) || isUTF8(at, end)) return true;
  failure = Failure.UTF8;
  return false;
}

function isUTF8(at: usize, end: usize): bool {
  while (at < end) {
    const c: u32 = load<u8>(at++);
    if (c < 0x80) continue;
    // How many bytes follow, and what the first of them may be.
    let more: i32, low: u32 = 0x80, high: u32 = 0xbf;
    if (c >= 0xc2 && c < 0xe0) more = 1;
    else if (c >= 0xe0 && c < 0xf0) {
      more = 2;
      if (c == 0xe0) low = 0xa0;
      if (c == 0xed) high = 0x9f;
    } else if (c >= 0xf0 && c < 0xf5) {
      more = 3;
      if (c == 0xf0) low = 0x90;
      if (c == 0xf4) high = 0x8f;
    } else return false;
    if (at + more > end) return false;
    for (; more > 0; more--) {
      const d: u32 = load<u8>(at++);
      if (d < low || d > high) return false;
      low = 0x80;
      high = 0xbf;
    }
  }
  return true;
}

/** textAt makes a string of UTF-8. */
export function textAt(at: usize, size: u32): string {
  if (!size) return "";
  for (let i: usize = 0; i < size; i++) {
    if (load<u8>(at + i) >= 0x80) return String.UTF8.decodeUnsafe(at, size);
  }
  const s = changetype<string>(__new(size << 1, idof<string>()));
  for (let i: usize = 0; i < size; i++) store<u16>(changetype<usize>(s) + (i << 1), load<u8>(at + i));
  return s;
}

const NO_BYTES = new Uint8Array(0);

/** bytesAt makes a view of a part of source. */
export function bytesAt(source: ArrayBuffer | null, at: usize, size: u32): Uint8Array {
  if (source === null || !size) return NO_BYTES;
  return Uint8Array.wrap(source, <i32>(at - changetype<usize>(source)), size);
}

/** List is a list of a message. Its elements are `list[i]` for i below length. */
export class List<T> {
  // Elements behind count are kept, to be used again.
  private items: Array<T> | null = null;
  private count: i32 = 0;

  get length(): i32 {
    return this.count;
  }

  // @ts-ignore: decorator
  @operator("[]")
  get(i: i32): T {
    if (<u32>i >= <u32>this.count) throw new RangeError("index out of range");
    return unchecked(this.items![i]);
  }

  /** push appends an element. */
  push(v: T): void {
    let items = this.items;
    if (items === null) this.items = items = new Array<T>();
    if (this.count < items.length) items[this.count] = v;
    else items.push(v);
    this.count++;
  }

  /** clear takes all elements out. */
  clear(): void {
    this.count = 0;
  }

  /** take appends an element that was there before, or a new one; null if there are too many. */
  take(limit: i32): T | null {
    if (this.count >= limit || --left < 0) {
      failure = Failure.LIMIT;
      return null;
    }
    const items = this.items;
    if (items !== null && this.count < items.length) return unchecked(items[this.count++]);
    const v = instantiate<T>();
    this.push(v);
    return v;
  }
}

function counted<T>(list: List<T>, limit: i32): bool {
  if (list.length < limit && --left >= 0) return true;
  failure = Failure.LIMIT;
  return false;
}

/** addText appends the string that ends at end. */
export function addText(list: List<string>, limit: i32, end: usize): bool {
  const size = <u32>value;
  if (!counted(list, limit) || !isText(end - size, size)) return false;
  list.push(textAt(end - size, size));
  return true;
}

/** addBytes appends the bytes that end at end. */
export function addBytes(list: List<Uint8Array>, limit: i32, end: usize, source: ArrayBuffer): bool {
  const size = <u32>value;
  if (!counted(list, limit)) return false;
  list.push(bytesAt(source, end - size, size));
  return true;
}

/** addDoubles appends the numbers that end at end. */
export function addDoubles(list: List<f64>, limit: i32, end: usize): bool {
  let at = end - <usize>value;
  for (; at + 8 <= end; at += 8) {
    if (!addDouble(list, limit, load<u64>(at))) return false;
  }
  if (at == end) return true;
  failure = Failure.TRUNCATED;
  return false;
}

/** addDouble appends one. */
export function addDouble(list: List<f64>, limit: i32, bits: u64): bool {
  if (!counted(list, limit)) return false;
  list.push(reinterpret<f64>(bits));
  return true;
}

/** Writer writes from the end of a buffer towards its beginning, and takes a larger one when it is full. */
export class Writer {
  private buffer: ArrayBuffer = new ArrayBuffer(4096);
  /** at is where what has been written begins. */
  at: usize = 0;

  constructor() {
    this.clear();
  }

  /** clear forgets what has been written. */
  clear(): void {
    this.at = this.end;
  }

  private get end(): usize {
    return changetype<usize>(this.buffer) + this.buffer.byteLength;
  }

  /** length is how much has been written. */
  get length(): i32 {
    return <i32>(this.end - this.at);
  }

  /** room returns a place of n bytes before those that have been written. */
  room(n: usize): usize {
    if (n > this.at - changetype<usize>(this.buffer)) this.grow(n);
    return (this.at -= n);
  }

  private grow(n: usize): void {
    const length = this.length;
    const larger = new ArrayBuffer(max(2 * this.buffer.byteLength, length + <i32>n));
    const at = changetype<usize>(larger) + larger.byteLength - length;
    memory.copy(at, this.at, length);
    this.buffer = larger;
    this.at = at;
  }

  /** swap exchanges what two writers have written. */
  swap(other: Writer): void {
    const buffer = this.buffer;
    const at = this.at;
    this.buffer = other.buffer;
    this.at = other.at;
    other.buffer = buffer;
    other.at = at;
  }

  /** copy returns what has been written. */
  copy(): ArrayBuffer {
    const out = new ArrayBuffer(this.length);
    memory.copy(changetype<usize>(out), this.at, this.length);
    return out;
  }

  /** bytes writes what lies somewhere, as it is. */
  bytes(at: usize, size: usize): void {
    memory.copy(this.room(size), at, size);
  }

  private varint(v: u64): void {
    if (v < 0x80) {
      store<u8>(this.room(1), <u8>v);
      return;
    }
    let at = this.room(sizeVarint(v));
    for (; v >= 0x80; v >>= 7) store<u8>(at++, <u8>v | 0x80);
    store<u8>(at, <u8>v);
  }

  private tagged(tag: u32, v: u64): void {
    this.varint(v);
    this.varint(tag);
  }

  /** number writes a number that is not 0. */
  number(tag: u32, v: u64): void {
    if (v) this.tagged(tag, v);
  }

  /** double writes a number that is not 0; minus zero is another. */
  double(tag: u32, v: f64): void {
    const bits = reinterpret<u64>(v);
    if (!bits) return;
    store<u64>(this.room(8), bits);
    this.varint(tag);
  }

  /** span writes length and tag before what has been written since length was end. */
  span(tag: u32, end: i32): void {
    this.tagged(tag, this.length - end);
  }

  /** text writes a string. */
  text(tag: u32, s: string): void {
    const size = String.UTF8.byteLength(s);
    String.UTF8.encodeUnsafe(changetype<usize>(s), s.length, this.room(size), false, String.UTF8.ErrorMode.REPLACE);
    this.tagged(tag, size);
  }

  /** data writes bytes. */
  data(tag: u32, b: Uint8Array): void {
    this.bytes(b.dataStart, b.byteLength);
    this.tagged(tag, b.byteLength);
  }

  /** optionalText writes a string that is not empty; without one, what was read. */
  optionalText(tag: u32, s: string | null, at: usize, size: u32): void {
    if (s !== null) {
      if (s.length) this.text(tag, s);
    } else if (size) {
      this.bytes(at, size);
      this.tagged(tag, size);
    }
  }

  /** optionalData is optionalText for bytes. */
  optionalData(tag: u32, b: Uint8Array | null, at: usize, size: u32): void {
    if (b !== null) {
      if (b.byteLength) this.data(tag, b);
    } else if (size) {
      this.bytes(at, size);
      this.tagged(tag, size);
    }
  }

  /** doubles writes a list of numbers. */
  doubles(tag: u32, list: List<f64>): void {
    if (!list.length) return;
    const end = this.length;
    for (let i = list.length - 1; i >= 0; i--) store<u64>(this.room(8), reinterpret<u64>(list[i]));
    this.span(tag, end);
  }
}
