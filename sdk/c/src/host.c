#include "host.h"

#include "v1.h"

/* Room for a response at the first try; most have a few bytes. */
#define FIRST_RESPONSE 1024

static pby_host_error last_error;

const pby_host_error *pby_host_failure(void) { return &last_error; }

static int32_t failed(int32_t code) {
    pby_arena *arena = pby_call_arena();
    size_t cap = FIRST_RESPONSE;
    uint8_t *out = pby_take(arena, cap);
    int32_t n = pby_import_host_call(PBY_HOST_OP_LAST_ERROR, NULL, 0, out, cap);
    if (n > (int32_t)cap) {
        out = pby_take(arena, (size_t)n);
        n = pby_import_host_call(PBY_HOST_OP_LAST_ERROR, NULL, 0, out, (size_t)n);
    }
    if (n <= 0 || pby_read(&pby_host_error_table, &last_error, (pby_bytes){out, (size_t)n}, arena) != READ_OK) {
        last_error = (pby_host_error){.code = code};
    }
    return code;
}

int32_t pby_host_call(pby_host_op op, const pby_table *in, const void *request, const pby_table *out, void *response) {
    pby_arena *arena = pby_call_arena();
    pby_bytes encoded = pby_write(in, request, arena);
    size_t cap = FIRST_RESPONSE;
    uint8_t *at = pby_take(arena, cap);
    int32_t n = pby_import_host_call(op, encoded.at, encoded.len, at, cap);
    if (n > (int32_t)cap) { /* it did not fit, and is kept for us */
        cap = (size_t)n;
        at = pby_take(arena, cap);
        n = pby_import_host_call(PBY_HOST_OP_LAST_RESPONSE, NULL, 0, at, cap);
    }
    if (n < 0) return failed(n);
    pby_read_error e = pby_read(out, response, (pby_bytes){at, (size_t)n}, arena);
    if (e != READ_OK) {
        last_error = (pby_host_error){.code = PBY_HOST_ERROR_CODE_INTERNAL, .message = pby_read_failure(e)};
        return last_error.code;
    }
    return 0;
}

void pby_log(pby_log_level level, pby_str text) { pby_import_log(level, text.at, text.len); }

int64_t pby_now(void) { return pby_import_now(); }

_Noreturn void pby_panic(pby_str why) {
    pby_import_error(why.at, why.len);
    pby_import_log(PBY_LOG_LEVEL_ERROR, why.at, why.len);
    __builtin_trap();
}
