#include "json.h"

#include "host.h"

#define MAX_DEPTH 64

typedef struct parser {
    const char *at, *end;
    pby_arena *arena;
    bool failed;
} parser;

static void fail(parser *p) {
    p->failed = true;
    p->at = p->end;
}

/* The next character that is not space, 0 at the end. */
static char peek(parser *p) {
    while (p->at < p->end && (*p->at == ' ' || *p->at == '\t' || *p->at == '\n' || *p->at == '\r')) p->at++;
    return p->at < p->end ? *p->at : 0;
}

static bool accept(parser *p, char c) {
    if (peek(p) != c || p->at == p->end) return false;
    p->at++;
    return true;
}

static void literal(parser *p, const char *word) {
    for (; *word; word++) {
        if (p->at == p->end || *p->at++ != *word) {
            fail(p);
            return;
        }
    }
}

/* The four digits of \uXXXX, -1 if they are none. */
static int32_t hex(parser *p) {
    int32_t v = 0;
    if (p->end - p->at < 4) return -1;
    for (int i = 0; i < 4; i++) {
        char c = *p->at++;
        int digit = c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
        if (digit < 0) return -1;
        v = v << 4 | digit;
    }
    return v;
}

static char *put_utf8(char *out, int32_t c) {
    if (c < 0x80) {
        *out++ = (char)c;
    } else if (c < 0x800) {
        *out++ = (char)(0xC0 | c >> 6);
        *out++ = (char)(0x80 | (c & 0x3F));
    } else if (c < 0x10000) {
        *out++ = (char)(0xE0 | c >> 12);
        *out++ = (char)(0x80 | (c >> 6 & 0x3F));
        *out++ = (char)(0x80 | (c & 0x3F));
    } else {
        *out++ = (char)(0xF0 | c >> 18);
        *out++ = (char)(0x80 | (c >> 12 & 0x3F));
        *out++ = (char)(0x80 | (c >> 6 & 0x3F));
        *out++ = (char)(0x80 | (c & 0x3F));
    }
    return out;
}

/* Reads what follows a backslash. */
static char *escape(parser *p, char *out) {
    static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
    char c = p->at < p->end ? *p->at++ : 0;
    for (int i = 0; from[i]; i++) {
        if (from[i] == c) {
            *out++ = to[i];
            return out;
        }
    }
    int32_t unit = c == 'u' ? hex(p) : -1;
    if (unit >= 0xD800 && unit < 0xDC00) { /* the first half of a pair */
        int32_t low = -1;
        if (p->end - p->at >= 6 && p->at[0] == '\\' && p->at[1] == 'u') {
            p->at += 2;
            low = hex(p);
        }
        unit = low >= 0xDC00 && low < 0xE000 ? 0x10000 + ((unit - 0xD800) << 10) + (low - 0xDC00) : -1;
    } else if (unit >= 0xDC00 && unit < 0xE000) {
        unit = -1;
    }
    if (unit < 0) {
        fail(p);
        return out;
    }
    return put_utf8(out, unit);
}

/* Reads a string. It points into the text unless it has escapes. */
static pby_str string(parser *p) {
    if (!accept(p, '"')) fail(p);
    const char *start = p->at;
    while (p->at < p->end && *p->at != '"' && *p->at != '\\' && (uint8_t)*p->at >= ' ') p->at++;
    if (p->at < p->end && *p->at == '"') return (pby_str){start, (size_t)(p->at++ - start)};
    const char *stop = p->at;
    while (stop < p->end && *stop != '"') stop += *stop == '\\' ? 2 : 1;
    if (stop >= p->end) {
        fail(p);
        return (pby_str){0};
    }
    char *copy = pby_take(p->arena, (size_t)(stop - start)), *out = copy; /* an escape is longer than what it stands for */
    memcpy(copy, start, (size_t)(p->at - start));
    out += p->at - start;
    while (!p->failed && *p->at != '"') {
        char c = *p->at++;
        if ((uint8_t)c < ' ') fail(p);
        else if (c == '\\') out = escape(p, out);
        else *out++ = c;
    }
    if (p->failed) return (pby_str){0};
    p->at++;
    return (pby_str){copy, (size_t)(out - copy)};
}

static size_t digits(parser *p) {
    const char *start = p->at;
    while (p->at < p->end && *p->at >= '0' && *p->at <= '9') p->at++;
    return (size_t)(p->at - start);
}

static pby_str number(parser *p) {
    const char *start = p->at;
    if (p->at < p->end && *p->at == '-') p->at++;
    const char *first = p->at;
    size_t whole = digits(p);
    bool ok = whole == 1 || (whole > 1 && *first != '0');
    if (p->at < p->end && *p->at == '.') {
        p->at++;
        ok = digits(p) > 0 && ok;
    }
    if (p->at < p->end && (*p->at == 'e' || *p->at == 'E')) {
        p->at++;
        if (p->at < p->end && (*p->at == '+' || *p->at == '-')) p->at++;
        ok = digits(p) > 0 && ok;
    }
    if (!ok) fail(p);
    return (pby_str){start, (size_t)(p->at - start)};
}

static pby_json *value(parser *p, const pby_json *parent, int depth);

/* Reads members or elements up to the end character. */
static void inner(parser *p, pby_json *v, char end, int depth) {
    const pby_json **last = &v->first;
    p->at++;
    if (accept(p, end)) return;
    for (size_t index = 0; !p->failed; index++) {
        pby_str key = {0};
        if (v->kind == PBY_OBJECT) {
            key = peek(p) == '"' ? string(p) : (fail(p), key);
            for (const pby_json *m = v->first; m; m = m->next) {
                if (pby_str_eq(m->key, key)) fail(p);
            }
            if (!accept(p, ':')) fail(p);
        }
        pby_json *one = value(p, v, depth + 1);
        one->key = key;
        one->index = index;
        *last = one;
        last = &one->next;
        if (accept(p, end)) return;
        if (!accept(p, ',')) fail(p);
    }
}

static pby_json *value(parser *p, const pby_json *parent, int depth) {
    pby_json *v = pby_take_zeroed(p->arena, sizeof *v);
    v->parent = parent;
    char c = peek(p);
    if (depth > MAX_DEPTH) {
        fail(p);
        return v;
    }
    switch (c) {
    case '{':
    case '[':
        v->kind = c == '{' ? PBY_OBJECT : PBY_ARRAY;
        inner(p, v, c == '{' ? '}' : ']', depth);
        break;
    case '"':
        v->kind = PBY_STRING;
        v->text = string(p);
        break;
    case 't':
    case 'f':
        v->kind = PBY_BOOL;
        v->boolean = c == 't';
        literal(p, c == 't' ? "true" : "false");
        break;
    case 'n': literal(p, "null"); break;
    default:
        v->kind = PBY_NUMBER;
        v->text = number(p);
    }
    return v;
}

const pby_json *pby_json_parse_in(pby_arena *arena, pby_str text) {
    parser p = {text.at, text.at + text.len, arena, false};
    if (!pby_is_utf8(text)) return NULL;
    pby_json *v = value(&p, NULL, 0);
    peek(&p);
    return p.failed || p.at < p.end ? NULL : v;
}

const pby_json *pby_json_parse(pby_str text) { return pby_json_parse_in(pby_call_arena(), text); }

const pby_json *pby_json_get(const pby_json *object, const char *name) {
    if (!object || object->kind != PBY_OBJECT) return NULL;
    for (const pby_json *m = object->first; m; m = m->next) {
        if (pby_eq(m->key, name)) return m->kind == PBY_NULL ? NULL : m;
    }
    return NULL;
}

pby_str pby_json_str(const pby_json *v, pby_str fallback) { return v && v->kind == PBY_STRING ? v->text : fallback; }

bool pby_json_bool(const pby_json *v, bool fallback) { return v && v->kind == PBY_BOOL ? v->boolean : fallback; }

int64_t pby_json_int(const pby_json *v, int64_t fallback) {
    if (!v || v->kind != PBY_NUMBER) return fallback;
    bool negative = v->text.at[0] == '-';
    uint64_t n = 0, most = (uint64_t)INT64_MAX + negative;
    for (size_t i = negative; i < v->text.len; i++) {
        unsigned digit = (unsigned)v->text.at[i] - '0';
        if (digit > 9 || n > (most - digit) / 10) return fallback;
        n = n * 10 + digit;
    }
    return negative ? (int64_t)(0 - n) : (int64_t)n;
}

double pby_json_double(const pby_json *v, double fallback) {
    if (!v || v->kind != PBY_NUMBER) return fallback;
    const char *at = v->text.at, *end = at + v->text.len;
    bool negative = *at == '-', point = false;
    double n = 0;
    int64_t exponent = 0;
    for (at += negative; at < end && *at != 'e' && *at != 'E'; at++) {
        if (*at == '.') {
            point = true;
            continue;
        }
        n = n * 10 + (*at - '0');
        exponent -= point;
    }
    if (at < end) {
        bool down = *++at == '-';
        int64_t given = 0;
        for (at += *at == '-' || *at == '+'; at < end; at++) {
            if (given < 100000) given = given * 10 + (*at - '0');
        }
        exponent += down ? -given : given;
    }
    double scale = 1, base = 10;
    for (uint64_t e = (uint64_t)(exponent < 0 ? -exponent : exponent); e > 0; e >>= 1) {
        if (e & 1) scale *= base;
        base *= base;
    }
    n = n == 0 ? 0 : exponent < 0 ? n / scale : n * scale;
    return negative ? -n : n;
}
