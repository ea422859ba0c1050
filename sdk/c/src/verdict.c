#include "patchbay.h"

static pby_verdict *verdict(pby_action action, uint32_t reason_code, pby_str reason) {
    pby_verdict *v = pby_alloc(sizeof *v);
    v->action = action;
    v->reason_code = reason_code;
    v->reason = reason;
    return v;
}

static pby_verdict *with_auth(pby_action action, pby_auth_result identity) {
    pby_verdict *v = verdict(action, 0, PBY_STR(""));
    pby_auth_result *auth = pby_alloc(sizeof *auth);
    *auth = identity;
    v->auth = auth;
    return v;
}

pby_verdict *pby_allow(void) { return verdict(PBY_ACTION_ALLOW, 0, PBY_STR("")); }
pby_verdict *pby_deny(uint32_t reason_code, pby_str reason) { return verdict(PBY_ACTION_DENY, reason_code, reason); }
pby_verdict *pby_drop(pby_str reason) { return verdict(PBY_ACTION_DROP, 0, reason); }
pby_verdict *pby_disconnect(uint32_t reason_code, pby_str reason) { return verdict(PBY_ACTION_DISCONNECT, reason_code, reason); }
pby_verdict *pby_accept(pby_auth_result identity) { return with_auth(PBY_ACTION_ALLOW, identity); }
pby_verdict *pby_refuse(uint32_t reason_code, pby_str reason) { return pby_deny(reason_code, reason); }
pby_verdict *pby_defer(void) { return verdict(PBY_ACTION_DEFER, 0, PBY_STR("")); }

pby_verdict *pby_permit(pby_permission_list permissions) {
    return pby_accept((pby_auth_result){.has_permissions = true, .permissions = permissions});
}

pby_verdict *pby_challenge(pby_bytes data, pby_bytes state) {
    return with_auth(PBY_ACTION_CHALLENGE, (pby_auth_result){.data = data, .state = state});
}

int32_t pby_complete(uint64_t event_id, const pby_verdict *v) {
    pby_verdict next = {0};
    pby_completion one = {.event_id = event_id, .verdict = v ? v : &next};
    pby_complete_response out;
    return pby_host_complete(&(pby_complete_request){.completions = {&one, 1}}, &out);
}

/* ---- Changes to a message ---- */

static pby_message *change(pby_on_publish *r, pby_change field) {
    if (!r->replacement) r->replacement = pby_alloc(sizeof *r->replacement);
    r->changed |= (uint32_t)field;
    return r->replacement;
}

void pby_set_topic(pby_on_publish *r, pby_str topic) { change(r, PBY_CHANGE_TOPIC)->topic = topic; }
void pby_set_payload(pby_on_publish *r, pby_bytes payload) { change(r, PBY_CHANGE_PAYLOAD)->payload = payload; }
void pby_set_qos(pby_on_publish *r, uint32_t qos) { change(r, PBY_CHANGE_QOS)->qos = qos; }
void pby_set_retain(pby_on_publish *r, bool retain) { change(r, PBY_CHANGE_RETAIN)->retain = retain; }

void pby_set_message_expiry_interval(pby_on_publish *r, uint32_t seconds) {
    change(r, PBY_CHANGE_MESSAGE_EXPIRY_INTERVAL)->message_expiry_interval = seconds;
}

void pby_set_user_properties(pby_on_publish *r, pby_pair_list properties) {
    change(r, PBY_CHANGE_USER_PROPERTIES)->user_properties = properties;
}

void pby_set_content_type(pby_on_publish *r, pby_str content_type) {
    change(r, PBY_CHANGE_CONTENT_TYPE)->content_type = content_type;
}

void pby_set_response_topic(pby_on_publish *r, pby_str topic) {
    change(r, PBY_CHANGE_RESPONSE_TOPIC)->response_topic = topic;
}

void pby_set_correlation_data(pby_on_publish *r, pby_bytes data) {
    change(r, PBY_CHANGE_CORRELATION_DATA)->correlation_data = data;
}

void pby_set_payload_format(pby_on_publish *r, uint32_t format) {
    change(r, PBY_CHANGE_PAYLOAD_FORMAT)->payload_format = format;
}

/* Lists that grow by one have room for a power of two. */
static bool is_full(size_t len) { return (len & (len - 1)) == 0; }

void pby_add(pby_on_publish *r, pby_message message) {
    pby_message_list *list = &r->additional;
    if (list->len == 0 || is_full(list->len)) {
        pby_message *at = pby_alloc((list->len == 0 ? 1 : 2 * list->len) * sizeof *at);
        for (size_t i = 0; i < list->len; i++) at[i] = list->at[i];
        list->at = at;
    }
    list->at[list->len++] = message;
}

/* ---- Changes to a SUBSCRIBE ---- */

static void add_filter(pby_on_subscribe *r, pby_filter_result result) {
    pby_filter_result_list *list = &r->filters;
    if (list->len == 0 || is_full(list->len)) {
        pby_filter_result *at = pby_alloc((list->len == 0 ? 1 : 2 * list->len) * sizeof *at);
        for (size_t i = 0; i < list->len; i++) at[i] = list->at[i];
        list->at = at;
    }
    list->at[list->len++] = result;
}

void pby_refuse_filter(pby_on_subscribe *r, uint32_t i, uint32_t reason_code) {
    add_filter(r, (pby_filter_result){.index = i, .reason_code = reason_code ? reason_code : PBY_NOT_AUTHORIZED});
}

void pby_replace_filter(pby_on_subscribe *r, uint32_t i, pby_subscription subscription) {
    pby_subscription *kept = pby_alloc(sizeof *kept);
    *kept = subscription;
    add_filter(r, (pby_filter_result){.index = i, .subscription = kept});
}

/* ---- Batches ---- */

static const pby_client no_client;
static const pby_message no_message;

static const pby_client *client(pby_client_list clients, uint32_t number) {
    return number > 0 && number <= clients.len ? &clients.at[number - 1] : &no_client;
}

const pby_event *pby_event_at(const pby_event_batch *b, size_t i) { return &b->batch->events.at[i]; }

const pby_client *pby_client_at(const pby_event_batch *b, size_t i) {
    return client(b->batch->clients, pby_event_at(b, i)->client);
}

const pby_message *pby_message_at(const pby_event_batch *b, size_t i) {
    const pby_event *e = pby_event_at(b, i);
    if (!e->message && e->message_of > 0 && e->message_of <= i) e = pby_event_at(b, e->message_of - 1);
    return e->message ? e->message : &no_message;
}

const pby_client *pby_publisher_at(const pby_on_consume *b, size_t i) {
    return client(b->batch->clients, b->batch->deliveries.at[i].client);
}

static void mark(pby_on_consume *b, size_t i, pby_outcome outcome, uint32_t after_ms, pby_str reason) {
    b->results[i] = (pby_delivery_result){
        .offset = b->batch->deliveries.at[i].offset, .outcome = outcome, .reason = reason, .retry_after_ms = after_ms,
    };
}

void pby_ack(pby_on_consume *b, size_t i) { mark(b, i, PBY_OUTCOME_OK, 0, PBY_STR("")); }

void pby_retry(pby_on_consume *b, size_t i, uint32_t after_ms, pby_str reason) {
    mark(b, i, PBY_OUTCOME_RETRY, after_ms, reason);
}

void pby_dead_letter(pby_on_consume *b, size_t i, pby_str reason) { mark(b, i, PBY_OUTCOME_DEAD_LETTER, 0, reason); }

void pby_stop_at(pby_on_consume *b, size_t i, uint32_t after_ms, pby_str reason) {
    for (; i < b->batch->deliveries.len; i++) mark(b, i, PBY_OUTCOME_RETRY, after_ms, reason);
}
