// Topic Names and Topic Filters.

/**
 * matches reports whether a Topic Filter, without $share, matches a Topic Name [MQTT-4.7.1-2],
 * [MQTT-4.7.1-3]. Topics that begin with "$" are not matched by a filter that begins with a
 * wildcard [MQTT-4.7.2-1].
 */
export function matches(filter: string, name: string): bool {
  if (name.startsWith("$") && (filter.startsWith("#") || filter.startsWith("+"))) return false;
  let f = 0;
  let n = 0;
  while (f <= filter.length) {
    const end = levelEnd(filter, f);
    const first = f < end ? filter.charCodeAt(f) : 0;
    if (first == 0x23 /* # */ && end == f + 1) return true;
    if (n > name.length) return false;
    const last = levelEnd(name, n);
    const any = first == 0x2b /* + */ && end == f + 1;
    if (!any && filter.substring(f, end) != name.substring(n, last)) return false;
    f = end + 1;
    n = last + 1;
  }
  return n > name.length;
}

function levelEnd(s: string, from: i32): i32 {
  const at = s.indexOf("/", from);
  return at < 0 ? s.length : at;
}
