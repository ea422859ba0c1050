// Bytes and text.

/** textOf makes a string of UTF-8. */
export function textOf(b: Uint8Array): string {
  return String.UTF8.decodeUnsafe(b.dataStart, b.byteLength);
}

/** bytesOf makes UTF-8 of a string. */
export function bytesOf(s: string): Uint8Array {
  return Uint8Array.wrap(String.UTF8.encode(s));
}

/** equal compares bytes, in a time that does not tell where they differ. */
export function equal(a: Uint8Array, b: Uint8Array): bool {
  if (a.length != b.length) return false;
  let differ = 0;
  for (let i = 0; i < a.length; i++) differ |= unchecked(a[i]) ^ unchecked(b[i]);
  return differ == 0;
}
