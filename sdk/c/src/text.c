#include "arena.h"

/* A compiler calls these without being asked. They are weak so that those of a libc come first. Eight bytes at a time,
 * as most of what a call does is to clear and copy small structs. */
#ifdef __wasm__
typedef uint64_t __attribute__((may_alias, aligned(1))) word;

__attribute__((weak, no_builtin("memcpy"))) void *memcpy(void *restrict to, const void *restrict from, size_t n) {
    uint8_t *out = to;
    const uint8_t *in = from;
    for (; n >= 16; n -= 16, out += 16, in += 16) {
        ((word *)out)[0] = ((const word *)in)[0];
        ((word *)out)[1] = ((const word *)in)[1];
    }
    if (n >= 8) {
        *(word *)out = *(const word *)in;
        n -= 8, out += 8, in += 8;
    }
    while (n-- > 0) *out++ = *in++;
    return to;
}

__attribute__((weak, no_builtin("memset"))) void *memset(void *to, int c, size_t n) {
    uint8_t *out = to;
    uint64_t all = (uint8_t)c * (uint64_t)0x0101010101010101;
    for (; n >= 32; n -= 32, out += 32) {
        ((word *)out)[0] = all;
        ((word *)out)[1] = all;
        ((word *)out)[2] = all;
        ((word *)out)[3] = all;
    }
    for (; n >= 8; n -= 8, out += 8) *(word *)out = all;
    while (n-- > 0) *out++ = (uint8_t)c;
    return to;
}

__attribute__((weak)) int memcmp(const void *a, const void *b, size_t n) {
    const uint8_t *x = a, *y = b;
    for (size_t i = 0; i < n; i++) {
        if (x[i] != y[i]) return x[i] < y[i] ? -1 : 1;
    }
    return 0;
}
#endif

bool pby_str_eq(pby_str a, pby_str b) {
    return a.len == b.len && (a.len == 0 || memcmp(a.at, b.at, a.len) == 0);
}

bool pby_eq(pby_str a, const char *b) {
    size_t i = 0;
    for (; i < a.len; i++) {
        if (b[i] == 0 || a.at[i] != b[i]) return false;
    }
    return b[i] == 0;
}

bool pby_same_secret(pby_bytes a, pby_bytes b) {
    volatile uint8_t difference = a.len != b.len; /* volatile: or the compiler might leave early */
    for (size_t i = 0; i < a.len && i < b.len; i++) difference |= a.at[i] ^ b.at[i];
    return difference == 0;
}

bool pby_has_prefix(pby_str s, pby_str prefix) {
    return s.len >= prefix.len && pby_str_eq((pby_str){s.at, prefix.len}, prefix);
}

pby_bytes pby_as_bytes(pby_str s) { return (pby_bytes){(const uint8_t *)s.at, s.len}; }
pby_str pby_as_str(pby_bytes b) { return (pby_str){(const char *)b.at, b.len}; }

pby_str pby_join(size_t n, const pby_str *parts) {
    size_t len = 0;
    for (size_t i = 0; i < n; i++) len += parts[i].len;
    char *all = pby_alloc(len), *at = all;
    for (size_t i = 0; i < n; i++) {
        if (parts[i].len > 0) memcpy(at, parts[i].at, parts[i].len);
        at += parts[i].len;
    }
    return (pby_str){all, len};
}

pby_str pby_decimal(int64_t n) {
    enum { LONGEST = 20 };
    char *end = (char *)pby_alloc(LONGEST) + LONGEST, *at = end;
    uint64_t rest = n < 0 ? 0 - (uint64_t)n : (uint64_t)n;
    do {
        *--at = (char)('0' + rest % 10);
        rest /= 10;
    } while (rest > 0);
    if (n < 0) *--at = '-';
    return (pby_str){at, (size_t)(end - at)};
}

/* The rest of a character that begins with c, as the Unicode Standard's table of well-formed sequences has it;
 * 0 if it is none. */
static size_t trail(uint8_t c, const uint8_t *p, size_t n) {
    uint8_t low = 0x80, high = 0xBF;
    size_t len = c < 0xE0 ? 1 : c < 0xF0 ? 2 : 3;
    if (c < 0xC2 || c > 0xF4 || n < len) return 0;
    if (c == 0xE0) low = 0xA0;
    if (c == 0xED) high = 0x9F;
    if (c == 0xF0) low = 0x90;
    if (c == 0xF4) high = 0x8F;
    if (p[0] < low || p[0] > high) return 0;
    for (size_t i = 1; i < len; i++) {
        if ((p[i] & 0xC0) != 0x80) return 0;
    }
    return len;
}

bool pby_is_utf8(pby_str s) {
    const uint8_t *p = (const uint8_t *)s.at;
    size_t i = 0, n = s.len;
    for (; n - i >= 8; i += 8) { /* most text is ASCII */
        uint64_t word;
        memcpy(&word, p + i, 8);
        if (word & 0x8080808080808080) break;
    }
    while (i < n) {
        uint8_t c = p[i++];
        if (c < 0x80) continue;
        size_t more = trail(c, p + i, n - i);
        if (!more) return false;
        i += more;
    }
    return true;
}
