#include "wire.h"

/* Elements of all lists of a message together. */
#define MAX_ELEMENTS 65536
/* The largest field number. */
#define MAX_FIELD 0x1FFFFFFF
/* How deep groups may nest in what is skipped; the contract has none. */
#define MAX_GROUPS 16

/* Any NAME_list. */
typedef struct __attribute__((may_alias)) any_list {
    uint8_t *at;
    size_t len;
} any_list;

typedef void *__attribute__((may_alias)) any_pointer;

/* ---- Reading ---- */

typedef struct reader {
    pby_arena *arena;
    int32_t left; /* elements that may still come */
    pby_read_error error;
} reader;

static const uint8_t *fail(reader *r, pby_read_error e) {
    r->error = e;
    return NULL;
}

/* Reads up to eight bytes without a loop: keeps what comes before the first byte without the upper bit, and pushes
 * groups of seven bits together. */
__attribute__((noinline)) static const uint8_t *long_varint(reader *r, const uint8_t *p, const uint8_t *end, uint64_t *v) {
    if (end - p >= 8) {
        uint64_t x;
        memcpy(&x, p, 8);
        uint64_t stop = ~x & 0x8080808080808080;
        if (stop) {
            x &= (stop ^ (stop - 1)) & 0x7F7F7F7F7F7F7F7F;
            x = (x & 0x007F007F007F007F) | (x & 0x7F007F007F007F00) >> 1;
            x = (x & 0x00003FFF00003FFF) | (x & 0x3FFF00003FFF0000) >> 2;
            *v = (x & 0x000000000FFFFFFF) | (x & 0x0FFFFFFF00000000) >> 4;
            return p + (__builtin_ctzll(stop) >> 3) + 1;
        }
    }
    *v = 0;
    for (int shift = 0; shift < 64; shift += 7) {
        if (p == end) return fail(r, READ_TRUNCATED);
        uint8_t c = *p++;
        if (shift == 63 && c > 1) return fail(r, READ_OVERFLOW);
        *v |= (uint64_t)(c & 0x7F) << shift;
        if (c < 0x80) return p;
    }
    return fail(r, READ_OVERFLOW);
}

/* Functions that read return where they have stopped, NULL after an error. The long way has a variable of its own: one
 * whose address is passed on would be in memory on the short way, too. */
__attribute__((always_inline)) static inline const uint8_t *varint(reader *r, const uint8_t *p, const uint8_t *end, uint64_t *v) {
    if (p < end && *p < 0x80) {
        *v = *p;
        return p + 1;
    }
    uint64_t large;
    p = long_varint(r, p, end, &large);
    *v = large;
    return p;
}

/* Passes over a value that is neither a varint nor length-delimited. */
static const uint8_t *skip(reader *r, const uint8_t *p, const uint8_t *end, uint64_t tag, int depth) {
    size_t n = 0;
    switch (tag & 7) {
    case 1: n = 8; break;
    case 5: n = 4; break;
    case 3: break;
    default: return fail(r, READ_TAG);
    }
    if (n > 0) return (size_t)(end - p) < n ? fail(r, READ_TRUNCATED) : p + n;
    if (depth > MAX_GROUPS) return fail(r, READ_LIMIT);
    for (;;) {
        uint64_t inner, v;
        if (!(p = varint(r, p, end, &inner))) return NULL;
        if ((inner & 7) == 4) return inner == tag + 1 ? p : fail(r, READ_TAG);
        if ((inner & 7) == 0 || (inner & 7) == 2) {
            if (!(p = varint(r, p, end, &v))) return NULL;
            if ((inner & 7) == 2) {
                if (v > (uint64_t)(end - p)) return fail(r, READ_TRUNCATED);
                p += v;
            }
        } else if (!(p = skip(r, p, end, inner, depth + 1))) {
            return NULL;
        }
        if ((inner >> 3) - 1 >= MAX_FIELD) return fail(r, READ_TAG);
    }
}

/* Counts how many fields with this tag follow one another at p, so that a list gets its memory at once. */
static size_t run_of(const uint8_t *p, const uint8_t *end, uint64_t tag, size_t most) {
    reader quiet = {0};
    size_t n = 0;
    while (p < end && n < most) {
        uint64_t next, len;
        if (!(p = varint(&quiet, p, end, &next)) || next != tag) break;
        if (!(p = varint(&quiet, p, end, &len)) || len > (uint64_t)(end - p)) break;
        p += len;
        n++;
    }
    return n;
}

static size_t element_size(const pby_table_field *f) {
    switch (f->kind & ~LIST) {
    case DOUBLE: return sizeof(double);
    case MESSAGE: return f->message->size;
    default: return sizeof(pby_str);
    }
}

/* Where in the list there is room for elements, the place for the next one being list->at + size * list->len. */
typedef struct room {
    const pby_table_field *field;
    size_t left;
} room;

/* Makes room in a list for one element, and for those that follow it. */
static bool make_room(reader *r, room *m, const pby_table_field *f, any_list *list, const uint8_t *rest, const uint8_t *end, uint64_t tag) {
    if (--r->left < 0 || list->len >= f->limit) {
        r->error = READ_LIMIT;
        return false;
    }
    if (m->field == f && m->left > 0) {
        m->left--;
        return true;
    }
    size_t size = element_size(f);
    size_t more = 1 + run_of(rest, end, tag, f->limit - list->len - 1);
    uint8_t *at = pby_take(r->arena, (list->len + more) * size);
    if (list->len > 0) memcpy(at, list->at, list->len * size);
    memset(at + list->len * size, 0, more * size);
    list->at = at;
    *m = (room){f, more - 1};
    return true;
}

static const uint8_t *message(reader *r, const pby_table *t, uint8_t *out, const uint8_t *p, const uint8_t *end);

/* Reads packed doubles. */
static bool packed(reader *r, const pby_table_field *f, any_list *list, const uint8_t *p, size_t n) {
    size_t count = n / 8;
    r->left -= (int32_t)count;
    if (r->left < 0 || count > f->limit - list->len) {
        r->error = READ_LIMIT;
        return false;
    }
    if (n % 8) {
        r->error = READ_TRUNCATED;
        return false;
    }
    uint8_t *at = pby_take(r->arena, list->len * 8 + n);
    if (list->len > 0) memcpy(at, list->at, list->len * 8);
    memcpy(at + list->len * 8, p, n);
    list->at = at;
    list->len += count;
    return true;
}

/* Reports whether a short text is ASCII, as most are. */
static inline bool is_ascii(const uint8_t *p, size_t n) {
    uint64_t all = 0, word;
    if (n < 8 || n > 64) return false;
    memcpy(&all, p + n - 8, 8);
    for (size_t i = 0; i < n - 8; i += 8) {
        memcpy(&word, p + i, 8);
        all |= word;
    }
    return !(all & 0x8080808080808080);
}

/* Stores what is length-delimited. */
static bool store_span(reader *r, room *m, const pby_table_field *f, uint8_t *at, const uint8_t *p, size_t n, const uint8_t *end, uint64_t tag) {
    uint8_t kind = f->kind & ~LIST;
    if (kind < DOUBLE || (kind == DOUBLE && !(f->kind & LIST))) return true; /* another wire type: not this field */
    if (kind == DOUBLE) return packed(r, f, (any_list *)at, p, n);
    if (f->kind & LIST) {
        any_list *list = (any_list *)at;
        if (!make_room(r, m, f, list, p + n, end, tag)) return false;
        at = list->at + element_size(f) * list->len++;
    }
    if (kind == MESSAGE) {
        if (!(f->kind & LIST)) {
            any_pointer *inner = (any_pointer *)at;
            if (!*inner) *inner = pby_take_zeroed(r->arena, f->message->size);
            at = *inner;
        }
        return message(r, f->message, at, p, p + n) != NULL;
    }
    if (kind == TEXT && !is_ascii(p, n) && !pby_is_utf8((pby_str){(const char *)p, n})) {
        r->error = READ_UTF8;
        return false;
    }
    *(any_list *)at = (any_list){(uint8_t *)p, n};
    return true;
}

static void store_varint(const pby_table_field *f, uint8_t *at, uint64_t v) {
    uint32_t low = (uint32_t)v;
    switch (f->kind) {
    case BOOL: *(bool *)at = v != 0; break;
    case UINT32:
    case ENUM: memcpy(at, &low, 4); break;
    case UINT64: memcpy(at, &v, 8); break;
    }
}

/* Reads one double, which may be an element. */
static bool store_double(reader *r, room *m, const pby_table_field *f, uint8_t *at, const uint8_t *p) {
    if (f->kind == (DOUBLE | LIST)) {
        any_list *list = (any_list *)at;
        if (!make_room(r, m, f, list, p, p, 0)) return false;
        at = list->at + 8 * list->len++;
    } else if (f->kind != DOUBLE) {
        return true;
    }
    memcpy(at, p, 8);
    return true;
}

static const uint8_t *message(reader *r, const pby_table *t, uint8_t *out, const uint8_t *p, const uint8_t *end) {
    room m = {0};
    while (p < end) {
        uint64_t tag, v = 0;
        if (!(p = varint(r, p, end, &tag))) return NULL;
        const uint8_t *start = p;
        switch (tag & 7) {
        case 0:
            if (!(p = varint(r, p, end, &v))) return NULL;
            break;
        case 2:
            if (!(p = varint(r, p, end, &v))) return NULL;
            if (v > (uint64_t)(end - p)) return fail(r, READ_TRUNCATED);
            start = p;
            p += v;
            break;
        default:
            if (!(p = skip(r, p, end, tag, 1))) return NULL;
        }
        uint64_t index = (tag >> 3) - 1;
        if (index >= MAX_FIELD) return fail(r, READ_TAG);
        if (index >= t->count) continue;
        const pby_table_field *f = &t->fields[index];
        uint8_t *at = out + f->offset;
        switch (tag & 7) {
        case 0: store_varint(f, at, v); break;
        case 1:
            if (!store_double(r, &m, f, at, start)) return NULL;
            break;
        case 2:
            if (!store_span(r, &m, f, at, start, (size_t)v, end, tag)) return NULL;
            break;
        }
    }
    return p;
}

pby_read_error pby_read(const pby_table *t, void *out, pby_bytes in, pby_arena *arena) {
    reader r = {arena, MAX_ELEMENTS, READ_OK};
    memset(out, 0, t->size);
    if (in.len > 0) message(&r, t, out, in.at, in.at + in.len);
    return r.error;
}

pby_str pby_read_failure(pby_read_error e) {
    switch (e) {
    case READ_OK: return PBY_STR("");
    case READ_TRUNCATED: return PBY_STR("the input ends too early");
    case READ_OVERFLOW: return PBY_STR("a varint has more than 64 bits");
    case READ_TAG: return PBY_STR("not a field number and wire type");
    case READ_UTF8: return PBY_STR("a string is not UTF-8");
    case READ_LIMIT: return PBY_STR("more elements, or deeper nested, than the contract allows");
    }
    return PBY_STR("");
}

/* ---- Writing ----
 *
 * From the end to the beginning, since the length of what is nested is known after it has been written. */

typedef struct writer {
    pby_arena *arena;
    uint8_t *begin, *at, *end;
} writer;

#define FIRST_BUFFER 512

static void room_for(writer *w, size_t n) {
    if ((size_t)(w->at - w->begin) >= n) return;
    size_t used = (size_t)(w->end - w->at), size = 2 * used + n + FIRST_BUFFER;
    uint8_t *begin = pby_take(w->arena, size), *end = begin + size;
    if (used > 0) memcpy(end - used, w->at, used);
    *w = (writer){w->arena, begin, end - used, end};
}

static void put_varint(writer *w, uint64_t v) {
    uint8_t bytes[10];
    size_t n = 0;
    for (; v >= 0x80; v >>= 7) bytes[n++] = (uint8_t)v | 0x80;
    bytes[n++] = (uint8_t)v;
    room_for(w, n);
    w->at -= n;
    memcpy(w->at, bytes, n);
}

static void put_raw(writer *w, const void *p, size_t n) {
    if (n == 0) return;
    room_for(w, n);
    w->at -= n;
    memcpy(w->at, p, n);
}

static void put_message(writer *w, const pby_table *t, const uint8_t *m);

/* Writes one value that is length-delimited. */
static void put_span(writer *w, const pby_table_field *f, uint64_t tag, const uint8_t *at) {
    size_t before = (size_t)(w->end - w->at);
    if ((f->kind & ~LIST) == MESSAGE) {
        put_message(w, f->message, at);
    } else {
        const any_list *s = (const any_list *)at;
        put_raw(w, s->at, s->len);
    }
    put_varint(w, (size_t)(w->end - w->at) - before);
    put_varint(w, tag | 2);
}

static void put_list(writer *w, const pby_table_field *f, uint64_t tag, const any_list *list) {
    if (list->len == 0) return;
    if ((f->kind & ~LIST) == DOUBLE) {
        put_raw(w, list->at, 8 * list->len);
        put_varint(w, 8 * list->len);
        put_varint(w, tag | 2);
        return;
    }
    size_t size = element_size(f);
    for (size_t i = list->len; i > 0; i--) put_span(w, f, tag, list->at + size * (i - 1));
}

static uint64_t varint_of(const pby_table_field *f, const uint8_t *at) {
    uint64_t v = 0;
    int32_t number;
    switch (f->kind) {
    case BOOL: return *(const bool *)at;
    case UINT32: memcpy(&v, at, 4); return v;
    case UINT64: memcpy(&v, at, 8); return v;
    }
    memcpy(&number, at, 4); /* an enum is written with its sign in all 64 bits */
    return (uint64_t)(int64_t)number;
}

static void put_field(writer *w, const pby_table_field *f, uint64_t tag, const uint8_t *at) {
    uint64_t bits;
    if (f->kind & LIST) {
        put_list(w, f, tag, (const any_list *)at);
        return;
    }
    switch (f->kind) {
    case NONE: return;
    case TEXT:
    case BYTES:
        if (((const any_list *)at)->len > 0) put_span(w, f, tag, at);
        return;
    case MESSAGE:
        if (*(const any_pointer *)at) put_span(w, f, tag, *(const any_pointer *)at);
        return;
    case DOUBLE:
        memcpy(&bits, at, 8);
        if (bits != 0) { /* minus zero is not absent */
            put_raw(w, at, 8);
            put_varint(w, tag | 1);
        }
        return;
    }
    if ((bits = varint_of(f, at)) != 0) {
        put_varint(w, bits);
        put_varint(w, tag);
    }
}

static void put_message(writer *w, const pby_table *t, const uint8_t *m) {
    for (size_t i = t->count; i > 0; i--) {
        const pby_table_field *f = &t->fields[i - 1];
        put_field(w, f, (uint64_t)i << 3, m + f->offset);
    }
}

pby_bytes pby_write(const pby_table *t, const void *m, pby_arena *arena) {
    writer w = {arena, NULL, NULL, NULL};
    put_message(&w, t, m);
    return (pby_bytes){w.at, (size_t)(w.end - w.at)};
}
