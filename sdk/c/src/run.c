#include "json.h"
#include "run.h"

#define EXPORT(function) __attribute__((export_name(function)))

/* ---- Failures ---- */

static bool has_failed;
static pby_str failure;

pby_verdict *pby_fail(pby_str why) {
    if (!has_failed) failure = why;
    has_failed = true;
    return NULL;
}

bool pby_take_failure(pby_str *why) {
    bool was = has_failed;
    if (was) *why = failure;
    has_failed = false;
    return was;
}

pby_str pby_cut(pby_str s) {
    enum { MOST = 1024 };
    if (s.len <= MOST) return s;
    for (s.len = MOST; s.len > 0 && (s.at[s.len] & 0xC0) == 0x80;) s.len--;
    return s;
}

/* ---- Config ---- */

static pby_problem_list problems;

bool pby_config_refused(void) { return problems.len > 0; }

void pby_refuse_config_at(pby_str pointer, pby_str message) {
    enum { MOST = 256 };
    if (!problems.at) problems.at = pby_alloc(MOST * sizeof *problems.at);
    if (problems.len < MOST) problems.at[problems.len++] = (pby_problem){pointer, pby_cut(message)};
}

/* A name as JSON Pointer has it: "~" is "~0", "/" is "~1". */
static pby_str escaped(pby_str name) {
    char *at = pby_alloc(2 * name.len);
    size_t len = 0;
    for (size_t i = 0; i < name.len; i++) {
        char c = name.at[i];
        at[len++] = c == '/' ? '~' : c;
        if (c == '~') at[len++] = '0';
        if (c == '/') at[len++] = '1';
    }
    return (pby_str){at, len};
}

static pby_str pointer_to(const pby_json *v) {
    if (!v || !v->parent) return PBY_STR("");
    pby_str step = v->parent->kind == PBY_OBJECT ? escaped(v->key) : pby_decimal((int64_t)v->index);
    return PBY_JOIN(pointer_to(v->parent), PBY_STR("/"), step);
}

void pby_refuse_config(const pby_json *v, pby_str message) { pby_refuse_config_at(pointer_to(v), message); }

/* Hands a config to start or configure, with all that is kept of it in the arena that was begun for it. Returns
 * whether it is in force. */
static bool configure(pby_str text, void (*function)(const pby_json *)) {
    problems = (pby_problem_list){0};
    pby_config_begin();
    const pby_json *config = pby_json_parse_in(pby_config_arena(), pby_keep_str(text.len > 0 ? text : PBY_STR("{}")));
    if (!config) pby_fail(PBY_STR("the config is not JSON"));
    else if (function) function(config);
    bool in_force = !has_failed && problems.len == 0;
    pby_config_end(in_force);
    return in_force;
}

static const pby_narrowed *narrowed(void) {
    pby_narrowed *out = pby_alloc(sizeof *out);
    if (!pby_this_plugin.narrow || !pby_this_plugin.narrow(out)) return NULL;
    out->hooks = pby_with_fields(out->hooks);
    return out;
}

/* ---- Calls ---- */

static pby_chunk *input;
static pby_arena started_arena;
static pby_start_request started;

const pby_start_request *pby_start(void) { return &started; }
bool pby_worker(void) { return started.worker; }

/* Reads the request; false and a failure if it cannot be read. */
static bool request(const pby_table *t, void *out, pby_bytes in, pby_arena *arena) {
    pby_read_error e = pby_read(t, out, in, arena);
    if (e != READ_OK) pby_fail(PBY_JOIN(PBY_STR("the request cannot be read: "), pby_read_failure(e)));
    return e == READ_OK;
}

static pby_bytes answer(const pby_table *t, const void *message) {
    if (has_failed) return (pby_bytes){0};
    return pby_write(t, message, pby_call_arena());
}

static pby_bytes start(pby_bytes in) {
    pby_reset(&started_arena);
    uint8_t *copy = pby_take(&started_arena, in.len); /* what pby_start returns points into it */
    if (in.len > 0) memcpy(copy, in.at, in.len);
    pby_start_response out = {0};
    if (!request(&pby_start_request_table, &started, (pby_bytes){copy, in.len}, &started_arena)) return (pby_bytes){0};
    pby_str config = started.config;
    started.config = (pby_str){0}; /* the plugin gets it parsed; it may hold secrets */
    if (configure(config, pby_this_plugin.start)) out.narrowed = narrowed();
    out.problems = problems;
    return answer(&pby_start_response_table, &out);
}

static pby_bytes reconfigure(pby_bytes in) {
    pby_configure_request r;
    pby_configure_response out = {.restart = !pby_this_plugin.configure};
    if (!request(&pby_configure_request_table, &r, in, pby_call_arena())) return (pby_bytes){0};
    if (!out.restart) {
        if (configure(r.config, pby_this_plugin.configure)) out.narrowed = narrowed();
        out.problems = problems;
    }
    return answer(&pby_configure_response_table, &out);
}

static pby_bytes process(pby_bytes in) {
    pby_batch b;
    pby_answer out = {0};
    if (!request(&pby_batch_table, &b, in, pby_call_arena()) || !pby_decide(&b, &out) || out.verdicts.len == 0) return (pby_bytes){0};
    return answer(&pby_answer_table, &out);
}

static pby_bytes consume(pby_bytes in) {
    pby_consume_batch b;
    pby_consume_result out = {0};
    if (!request(&pby_consume_batch_table, &b, in, pby_call_arena())) return (pby_bytes){0};
    size_t n = b.deliveries.len;
    pby_on_consume r = {&b, pby_alloc(n * sizeof *r.results)};
    pby_this_plugin.consume(&r);
    if (pby_take_failure(&out.error)) out.error = pby_cut(out.error);
    else if (n > 0) out.acknowledged_offset = b.deliveries.at[n - 1].offset;
    out.results.at = pby_alloc(n * sizeof *out.results.at);
    for (size_t i = 0; i < n; i++) {
        pby_outcome outcome = r.results[i].outcome;
        if (outcome == PBY_OUTCOME_UNSPECIFIED || (outcome == PBY_OUTCOME_OK && out.error.len == 0)) continue;
        r.results[i].reason = pby_cut(r.results[i].reason);
        out.results.at[out.results.len++] = r.results[i];
    }
    return answer(&pby_consume_result_table, &out);
}

static pby_bytes http(pby_bytes in) {
    pby_http_request r;
    pby_http_response out = {0};
    if (request(&pby_http_request_table, &r, in, pby_call_arena())) pby_this_plugin.http(&r, &out);
    return answer(&pby_http_response_table, &out);
}

static pby_bytes call(pby_plugin_op op, pby_bytes in) {
    const pby_plugin *p = &pby_this_plugin;
    switch (op) {
    case PBY_PLUGIN_OP_DESCRIBE: {
        pby_manifest m;
        pby_describe(&m);
        return answer(&pby_manifest_table, &m);
    }
    case PBY_PLUGIN_OP_START: return start(in);
    case PBY_PLUGIN_OP_CONFIGURE: return reconfigure(in);
    case PBY_PLUGIN_OP_STOP: {
        pby_stop_request r;
        if (p->stop && request(&pby_stop_request_table, &r, in, pby_call_arena())) p->stop(r.reason);
        return (pby_bytes){0};
    }
    case PBY_PLUGIN_OP_HEALTH: {
        pby_health_response out = {0};
        if (p->health) p->health(&out);
        return answer(&pby_health_response_table, &out);
    }
    case PBY_PLUGIN_OP_PROCESS: return process(in);
    case PBY_PLUGIN_OP_CONSUME:
        if (p->consume) return consume(in);
        break;
    case PBY_PLUGIN_OP_HTTP:
        if (p->http) return http(in);
        break;
    case PBY_PLUGIN_OP_TIMER:
        if (p->timer) {
            pby_timer_fired r;
            if (request(&pby_timer_fired_table, &r, in, pby_call_arena())) p->timer(&r);
            return (pby_bytes){0};
        }
    }
    pby_fail(PBY_JOIN(PBY_STR("the plugin has no function for call "), pby_decimal(op)));
    return (pby_bytes){0};
}

/* ---- Exports ---- */

EXPORT("patchbay_abi_v1") void pby_export_abi(void) {}

EXPORT("patchbay_buffer") uint8_t *pby_export_buffer(size_t size) {
    if (input) pby_chunk_free(input);
    input = pby_chunk_new(size + sizeof *input);
    return (uint8_t *)(input + 1);
}

EXPORT("patchbay_call") int64_t pby_export_call(pby_plugin_op op, size_t len) {
    pby_reset(pby_call_arena());
    has_failed = false;
    pby_bytes out = call(op, (pby_bytes){(uint8_t *)(input + 1), len});
    pby_str why;
    if (pby_take_failure(&why)) {
        why = pby_cut(why);
        pby_import_error(why.at, why.len);
        return -1;
    }
    return out.len == 0 ? 0 : (int64_t)((uint64_t)(size_t)out.at << 32 | out.len);
}
