// A small reader of JSON (RFC 8259), for configs and payloads.
import { problem } from "./failure";

/** Kind is what a Json is. */
export const enum Kind {
  ABSENT,
  NULL,
  BOOL,
  NUMBER,
  TEXT,
  LIST,
  OBJECT,
}

/** MAX_DEPTH is how deep values may nest. */
const MAX_DEPTH = 64;

/**
 * Json is a value. Methods that find something else than they are asked for note a problem with
 * its JSON Pointer, which refuses the config; those whose names end with Or take what is absent for the default.
 */
export class Json {
  kind: Kind = Kind.ABSENT;
  /** pointer is where the value is, as a JSON Pointer. */
  pointer: string = "";
  private value: string = "";
  private names: string[] = [];
  private items: Json[] = [];

  /** exists reports whether there is such a value. */
  get exists(): bool {
    return this.kind != Kind.ABSENT;
  }

  /** get is the value of a member; one that is not there is ABSENT. */
  get(name: string): Json {
    const i = this.names.indexOf(name);
    if (i >= 0) return this.items[i];
    const none = new Json();
    none.pointer = below(this.pointer, name);
    return none;
  }

  /** keys are the names of an object's members. */
  get keys(): string[] {
    return this.names;
  }

  /** length is the number of elements of a list, or of members of an object. */
  get length(): i32 {
    return this.items.length;
  }

  /** at is the i-th element or member. */
  at(i: i32): Json {
    return this.items[i];
  }

  /** only notes members with other names as problems. */
  only(names: string[]): void {
    for (let i = 0; i < this.names.length; i++) {
      if (!names.includes(this.names[i])) problem(this.items[i].pointer, "unknown key");
    }
  }

  private expect(kind: Kind, what: string): bool {
    if (this.kind == kind) return true;
    problem(this.pointer, this.exists ? "must be " + what : "is required");
    return false;
  }

  /** text is a string. */
  text(): string {
    return this.expect(Kind.TEXT, "a string") ? this.value : "";
  }
  textOr(fallback: string): string {
    return this.exists ? this.text() : fallback;
  }

  /** literal is a number as it is written. */
  get literal(): string {
    return this.kind == Kind.NUMBER ? this.value : "";
  }

  /** number is a number. */
  number(): f64 {
    return this.expect(Kind.NUMBER, "a number") ? F64.parseFloat(this.value) : 0;
  }
  numberOr(fallback: f64): f64 {
    return this.exists ? this.number() : fallback;
  }

  /** integer is a number without a fraction. */
  integer(): i64 {
    if (!this.expect(Kind.NUMBER, "an integer")) return 0;
    const v = this.value;
    if (v.length <= 18 && !v.includes(".") && !v.includes("e") && !v.includes("E")) return I64.parseInt(v);
    problem(this.pointer, "must be an integer");
    return 0;
  }
  integerOr(fallback: i64): i64 {
    return this.exists ? this.integer() : fallback;
  }

  /** flag is true or false. */
  flag(): bool {
    return this.expect(Kind.BOOL, "true or false") && this.value == "true";
  }
  flagOr(fallback: bool): bool {
    return this.exists ? this.flag() : fallback;
  }

  /** list expects a list; its elements are at(i) for i below length. */
  list(): this {
    this.expect(Kind.LIST, "a list");
    return this;
  }

  /** object expects an object. */
  object(): this {
    this.expect(Kind.OBJECT, "an object");
    return this;
  }

  /** duration is written as "250ms", "30s", "1h30m" or "7d"; the result is in milliseconds. */
  duration(): u64 {
    if (!this.expect(Kind.TEXT, 'a duration as "30s", "1h30m" or "7d"')) return 0;
    const v = this.value;
    let ms: u64 = 0;
    let i = 0;
    while (i < v.length) {
      let n: u64 = 0;
      const begin = i;
      for (; i < v.length && isDigit(v.charCodeAt(i)) && i < begin + 12; i++) n = n * 10 + (v.charCodeAt(i) - 0x30);
      let unit: u64 = 0;
      if (v.substr(i, 2) == "ms") unit = 1;
      else if (v.substr(i, 1) == "s") unit = 1000;
      else if (v.substr(i, 1) == "m") unit = 60_000;
      else if (v.substr(i, 1) == "h") unit = 3_600_000;
      else if (v.substr(i, 1) == "d") unit = 86_400_000;
      if (i == begin || !unit) {
        ms = 0;
        break;
      }
      i += unit == 1 ? 2 : 1;
      ms += n * unit;
    }
    if (i < v.length || (!ms && v != "0" && v != "0s")) problem(this.pointer, 'must be a duration as "30s", "1h30m" or "7d"');
    return ms;
  }
  durationOr(fallback: u64): u64 {
    return this.exists ? this.duration() : fallback;
  }

  // The parser fills values in.
  static scalar(kind: Kind, pointer: string, value: string): Json {
    const v = new Json();
    v.kind = kind;
    v.pointer = pointer;
    v.value = value;
    return v;
  }
  add(name: string, v: Json): void {
    if (this.kind == Kind.OBJECT) this.names.push(name);
    this.items.push(v);
  }
}

/** below is the JSON Pointer of what a value has under a key. */
export function below(pointer: string, key: string): string {
  return pointer + "/" + key.replaceAll("~", "~0").replaceAll("/", "~1");
}

/** parse reads a text, null if it is not JSON. */
export function parse(text: string): Json | null {
  const p = new Parser(text);
  const v = p.value("", 0);
  p.space();
  return v !== null && p.done ? v : null;
}

function isDigit(c: i32): bool {
  return c >= 0x30 && c <= 0x39;
}

class Parser {
  private at: i32 = 0;

  constructor(private text: string) {}

  get done(): bool {
    return this.at == this.text.length;
  }

  private get peek(): i32 {
    return this.at < this.text.length ? this.text.charCodeAt(this.at) : -1;
  }

  space(): void {
    for (let c = this.peek; c == 0x20 || (c >= 9 && c <= 13 && c != 11 && c != 12); c = this.peek) this.at++;
  }

  /** take passes over c and the space around it. */
  private take(c: i32): bool {
    this.space();
    if (this.peek != c) return false;
    this.at++;
    this.space();
    return true;
  }

  /** value is null if there is none. */
  value(pointer: string, depth: i32): Json | null {
    if (depth > MAX_DEPTH) return null;
    this.space();
    switch (this.peek) {
      case 0x7b: // {
        return this.object(pointer, depth);
      case 0x5b: // [
        return this.list(pointer, depth);
      case 0x22: {
        // "
        const s = this.string();
        return s === null ? null : Json.scalar(Kind.TEXT, pointer, s);
      }
      case 0x74: // t
        return this.word(Kind.BOOL, pointer, "true");
      case 0x66: // f
        return this.word(Kind.BOOL, pointer, "false");
      case 0x6e: // n
        return this.word(Kind.NULL, pointer, "null");
    }
    return this.number(pointer);
  }

  private word(kind: Kind, pointer: string, word: string): Json | null {
    if (this.text.substr(this.at, word.length) != word) return null;
    this.at += word.length;
    return Json.scalar(kind, pointer, word);
  }

  private list(pointer: string, depth: i32): Json | null {
    const v = Json.scalar(Kind.LIST, pointer, "");
    this.take(0x5b);
    if (this.take(0x5d)) return v;
    while (true) {
      const e = this.value(below(pointer, v.length.toString()), depth + 1);
      if (e === null) return null;
      v.add("", e);
      if (this.take(0x5d)) return v;
      if (!this.take(0x2c)) return null;
    }
  }

  private object(pointer: string, depth: i32): Json | null {
    const v = Json.scalar(Kind.OBJECT, pointer, "");
    this.take(0x7b);
    if (this.take(0x7d)) return v;
    while (true) {
      const name = this.peek == 0x22 ? this.string() : null;
      if (name === null || v.keys.includes(name) || !this.take(0x3a)) return null;
      const e = this.value(below(pointer, name), depth + 1);
      if (e === null) return null;
      v.add(name, e);
      if (this.take(0x7d)) return v;
      if (!this.take(0x2c)) return null;
    }
  }

  private number(pointer: string): Json | null {
    const begin = this.at;
    if (this.peek == 0x2d) this.at++;
    if (this.peek == 0x30) this.at++;
    else if (!this.digits()) return null;
    if (this.peek == 0x2e) {
      this.at++;
      if (!this.digits()) return null;
    }
    if ((this.peek | 0x20) == 0x65) {
      this.at++;
      if (this.peek == 0x2b || this.peek == 0x2d) this.at++;
      if (!this.digits()) return null;
    }
    return Json.scalar(Kind.NUMBER, pointer, this.text.substring(begin, this.at));
  }

  private digits(): bool {
    const begin = this.at;
    while (isDigit(this.peek)) this.at++;
    return this.at > begin;
  }

  private string(): string | null {
    this.at++;
    let out = "";
    let begin = this.at;
    while (this.at < this.text.length) {
      const c = this.peek;
      if (c < 0x20) return null;
      if (c == 0x22) {
        out += this.text.substring(begin, this.at++);
        return out;
      }
      this.at++;
      if (c != 0x5c) continue;
      out += this.text.substring(begin, this.at - 1);
      let e = this.escape();
      if (e >= 0xd800 && e < 0xdc00 && this.text.substr(this.at, 2) == "\\u") {
        this.at++; // the other half of a pair
        const low = this.escape();
        e = low >= 0xdc00 && low < 0xe000 ? 0x10000 + ((e - 0xd800) << 10) + (low - 0xdc00) : -1;
      }
      if (e < 0 || (e >= 0xd800 && e < 0xe000)) return null;
      out += String.fromCodePoint(e);
      begin = this.at;
    }
    return null;
  }

  private escape(): i32 {
    const c = this.peek;
    this.at++;
    switch (c) {
      case 0x22:
      case 0x5c:
      case 0x2f:
        return c;
      case 0x62:
        return 8;
      case 0x66:
        return 12;
      case 0x6e:
        return 10;
      case 0x72:
        return 13;
      case 0x74:
        return 9;
      case 0x75: {
        let v = 0;
        for (let i = 0; i < 4; i++) {
          const d = this.peek;
          if (isDigit(d)) v = (v << 4) | (d - 0x30);
          else if ((d | 0x20) >= 0x61 && (d | 0x20) <= 0x66) v = (v << 4) | ((d | 0x20) - 0x57);
          else return -1;
          this.at++;
        }
        return v;
      }
    }
    return -1;
  }
}
