/* A module by which the tests reach codec and JSON reader: see sdk/internal/codectest. */
#include "../src/host.h"
#include "../src/json.h"
#include "../src/v1.h"

#define EXPORT(function) __attribute__((export_name(function)))

static pby_arena input, work;

void pby_panic(pby_str why) {
    (void)why;
    __builtin_trap();
}

/* Messages are tested here, calls are not. */
int32_t pby_host_call(pby_host_op op, const pby_table *in, const void *request, const pby_table *out, void *response) {
    (void)op, (void)in, (void)request, (void)out, (void)response;
    return PBY_HOST_ERROR_CODE_UNSUPPORTED;
}

pby_arena *pby_call_arena(void) { return &work; }
void *pby_alloc(size_t size) { return pby_take_zeroed(&work, size); }

static int64_t result(const void *at, size_t len) { return (int64_t)((uint64_t)(size_t)at << 32 | len); }

EXPORT("input") uint8_t *request(size_t size) {
    pby_reset(&input);
    return pby_take(&input, size);
}

/* Reads the message whose name and bytes are in the input, and writes it again. */
EXPORT("again") int64_t again(const uint8_t *at, size_t name, size_t size) {
    pby_reset(&work);
    for (const pby_named_table *t = pby_tables; t->name; t++) {
        if (!pby_eq((pby_str){(const char *)at, name}, t->name)) continue;
        void *message = pby_take(&work, t->table->size);
        pby_read_error e = pby_read(t->table, message, (pby_bytes){at + name, size - name}, &work);
        if (e != READ_OK) return -(int64_t)e;
        pby_bytes out = pby_write(t->table, message, &work);
        return result(out.at, out.len);
    }
    return -100;
}

static char *out;

static void put(pby_str s) {
    pby_str length = pby_decimal((int64_t)s.len);
    memcpy(out, length.at, length.len);
    out += length.len;
    *out++ = ':';
    if (s.len > 0) memcpy(out, s.at, s.len);
    out += s.len;
}

static void print(const pby_json *v) {
    *out++ = "ntsdao"[v->kind];
    switch (v->kind) {
    case PBY_NULL: break;
    case PBY_BOOL: *out++ = v->boolean ? '1' : '0'; break;
    case PBY_NUMBER:
    case PBY_STRING: put(v->text); break;
    case PBY_ARRAY:
    case PBY_OBJECT:
        for (const pby_json *m = v->first; m; m = m->next) {
            if (v->kind == PBY_OBJECT) put(m->key);
            print(m);
        }
        *out++ = '.';
    }
}

/* Reads the JSON text in the input and prints it as codectest does. */
EXPORT("json") int64_t json(const char *at, size_t size) {
    pby_reset(&work);
    const pby_json *v = pby_json_parse((pby_str){at, size});
    if (!v) return -1;
    char *begin = out = pby_take(&work, 32 * size + 64);
    print(v);
    return result(begin, (size_t)(out - begin));
}
