/* Plugins of Patchbay in C, as WebAssembly: see sdk/c/README.md.
 *
 * A plugin is one object of type pby_plugin, defined with PBY_PLUGIN: a manifest and the functions
 * that it has, named as in the other SDKs. Messages are the structs of patchbay_v1.h, which are those of
 * sdk/proto/CONTRACT.md field by field; there an absent scalar is zero, an absent message NULL.
 *
 *     static pby_verdict *authenticate(const pby_on_authenticate *r) {
 *         if (pby_eq(r->client->username, "ann"))
 *             return pby_accept((pby_auth_result){0});
 *         return pby_refuse(PBY_BAD_USER_NAME_OR_PASSWORD, PBY_STR("who are you?"));
 *     }
 *
 *     PBY_PLUGIN = {
 *         .manifest = {.name = PBY_STR("only-ann"), .version = PBY_STR("1.0.0")},
 *         .authenticate = authenticate,
 *     };
 *
 * Memory: there is no free. What a function gets, and what pby_alloc returns, is valid until the call of the
 * plugin ends; the config and what pby_keep returns, as long as that config is in force. Both are
 * given back in one piece. An instance makes one call after the other: there are no threads.
 */
#ifndef PATCHBAY_H
#define PATCHBAY_H

#include "patchbay_v1.h"

/*
 * Text and bytes. PBY_STR is for literals, in initializers too; PBY_LIST makes a list of elements.
 *
 * A PBY_LIST inside a function is on its stack, and GONE WHEN IT RETURNS. Nothing copies it: neither pby_permit,
 * pby_accept and pby_set_user_properties, whose answer is written after that, nor what narrow gives. Make it static if it is
 * always the same, else take elements of pby_alloc:
 *
 *     pby_permission *p = pby_alloc(2 * sizeof *p);
 *     …
 *     return pby_permit((pby_permission_list){p, 2});
 */
#define PBY_STR(literal) ((pby_str){literal, sizeof(literal) - 1})
#define PBY_LIST(type, ...) {(type[]){__VA_ARGS__}, sizeof((type[]){__VA_ARGS__}) / sizeof(type)}

/* Reason Codes of MQTT 5.0 (§2.4) that plugins give. */
enum {
    PBY_UNSPECIFIED_ERROR = 0x80,
    PBY_IMPLEMENTATION_ERROR = 0x83,
    PBY_BAD_USER_NAME_OR_PASSWORD = 0x86,
    PBY_NOT_AUTHORIZED = 0x87,
    PBY_SERVER_UNAVAILABLE = 0x88,
    PBY_SERVER_BUSY = 0x89,
    PBY_BANNED = 0x8A,
    PBY_BAD_AUTH_METHOD = 0x8C,
    PBY_TOPIC_FILTER_INVALID = 0x8F,
    PBY_TOPIC_NAME_INVALID = 0x90,
    PBY_PACKET_TOO_LARGE = 0x95,
    PBY_MESSAGE_RATE_TOO_HIGH = 0x96,
    PBY_QUOTA_EXCEEDED = 0x97,
    PBY_ADMINISTRATIVE_ACTION = 0x98,
    PBY_PAYLOAD_FORMAT_INVALID = 0x99,
};

/* ---- Verdicts ----
 *
 * A function that decides returns one of these. NULL is pby_continue: the next plugin is asked. Each of the
 * others makes a pby_verdict, whose fields may be changed further. Which actions a point
 * has is said at PBY_POINT_…; another one makes the host take the whole answer for a failure. */

static inline pby_verdict *pby_continue(void) { return NULL; }
pby_verdict *pby_allow(void);
/* Reason code 0 stands for PBY_NOT_AUTHORIZED; the reason, up to 1,024 bytes, may be empty. */
pby_verdict *pby_deny(uint32_t reason_code, pby_str reason);
pby_verdict *pby_drop(pby_str reason);
/* Reason code 0 stands for PBY_ADMINISTRATIVE_ACTION. */
pby_verdict *pby_disconnect(uint32_t reason_code, pby_str reason);
/* Lets the client in as identity says (authenticate, permit). */
pby_verdict *pby_accept(pby_auth_result identity);
/* Gives the client these permissions and no others: the first that applies decides (permit). */
pby_verdict *pby_permit(pby_permission_list permissions);
/* pby_deny, for authenticate and permit. */
pby_verdict *pby_refuse(uint32_t reason_code, pby_str reason);
/* Sends data in an AUTH; the client's answer comes with state, up to 64 KiB, in r->authentication->state. */
pby_verdict *pby_challenge(pby_bytes data, pby_bytes state);
/* Puts the verdict off: pby_complete gives it in a later call, within the deadline of the hook. */
pby_verdict *pby_defer(void);
/* Gives the verdict on an event that was deferred; 0, or a negative code as the calls of the host. NULL continues. */
int32_t pby_complete(uint64_t event_id, const pby_verdict *verdict);

/* Says that the plugin has failed: the failure policy answers for this event, or the call fails as a whole
 * where there are no events. Returns NULL, so that it can be returned. */
pby_verdict *pby_fail(pby_str why);
/* Ends the instance at once, with a text for the log: for what must not happen. A new instance takes its place. */
_Noreturn void pby_panic(pby_str why);
#define PBY_ASSERT(condition)                                                  \
    do {                                                                       \
        if (!(condition)) pby_panic(PBY_STR("assertion failed: " #condition)); \
    } while (0)

/* ---- Requests ---- */

typedef struct pby_on_authenticate {
    const pby_client *client;                 /* as it claims to be; never NULL */
    const pby_authentication *authentication; /* password, method, data, step, state; never NULL */
    uint64_t event_id;                        /* for pby_complete */
} pby_on_authenticate;

typedef struct pby_on_permit {
    const pby_client *client; /* as authentication has left it; never NULL */
    uint64_t event_id;
} pby_on_permit;

typedef struct pby_on_authorize {
    const pby_client *client;
    pby_access access; /* PBY_ACCESS_PUBLISH, _SUBSCRIBE or _RECEIVE */
    pby_str topic;     /* Topic Name, or with PBY_ACCESS_SUBSCRIBE a Topic Filter without $share */
    uint32_t qos;
    bool retain;                /* with PBY_ACCESS_PUBLISH */
    const pby_message *message; /* with PBY_ACCESS_RECEIVE, else NULL */
    uint64_t event_id;
} pby_on_authorize;

/* A message on its way. What the pby_set functions set replaces the field, all else stays. */
typedef struct pby_on_publish {
    const pby_client *client;   /* who published it, or at deliver receives it; an empty one if there is none */
    const pby_message *message; /* never NULL */
    uint64_t event_id;
    /* Set by the functions below. */
    uint32_t changed;
    pby_message *replacement;
    pby_message_list additional;
} pby_on_publish;

void pby_set_topic(pby_on_publish *r, pby_str topic);
void pby_set_payload(pby_on_publish *r, pby_bytes payload);
void pby_set_qos(pby_on_publish *r, uint32_t qos); /* not at deliver */
void pby_set_retain(pby_on_publish *r, bool retain);
/* 0 and empty values take a property away. */
void pby_set_message_expiry_interval(pby_on_publish *r, uint32_t seconds);
void pby_set_user_properties(pby_on_publish *r, pby_pair_list properties);
void pby_set_content_type(pby_on_publish *r, pby_str content_type);
void pby_set_response_topic(pby_on_publish *r, pby_str topic);
void pby_set_correlation_data(pby_on_publish *r, pby_bytes data);
void pby_set_payload_format(pby_on_publish *r, uint32_t format);
/* Has a further message routed after this one, as the same client's; up to 256. Not at deliver. */
void pby_add(pby_on_publish *r, pby_message message);

/* Messages on their way, in order. Put a verdict into verdicts[i]; NULL continues. */
typedef struct pby_publish_batch {
    pby_on_publish *at;
    pby_verdict **verdicts;
    size_t len;
} pby_publish_batch;

typedef struct pby_on_subscribe {
    const pby_client *client;
    pby_subscription_list subscriptions; /* of an UNSUBSCRIBE only the filters */
    pby_pair_list user_properties;       /* with PBY_FIELD_USER_PROPERTIES */
    uint64_t event_id;
    /* Set by the functions below. */
    pby_filter_result_list filters;
} pby_on_subscribe;

/* Refuses the i-th filter; 0 stands for PBY_NOT_AUTHORIZED. */
void pby_refuse_filter(pby_on_subscribe *r, uint32_t i, uint32_t reason_code);
/* Puts a subscription in the place of the i-th one, whole. */
void pby_replace_filter(pby_on_subscribe *r, uint32_t i, pby_subscription subscription);

/* Events of one point, for gate and observe. */
typedef struct pby_event_batch {
    pby_point point;
    uint64_t lost; /* observations of this point that were dropped before these */
    size_t len;
    const pby_batch *batch;
} pby_event_batch;

const pby_event *pby_event_at(const pby_event_batch *b, size_t i);
const pby_client *pby_client_at(const pby_event_batch *b, size_t i);   /* an empty one if there is none */
const pby_message *pby_message_at(const pby_event_batch *b, size_t i); /* an empty one if there is none */

/* Messages that a consumer gets, in order: b->batch->deliveries. What none of the functions below speaks of is
 * acknowledged, unless the call fails. */
typedef struct pby_on_consume {
    const pby_consume_batch *batch;
    pby_delivery_result *results; /* one for each delivery */
} pby_on_consume;

const pby_client *pby_publisher_at(const pby_on_consume *b, size_t i); /* an empty one if it is not known */
void pby_ack(pby_on_consume *b, size_t i); /* also if the call fails */
/* It comes again after a pause, 0 for the consumer's own; what follows it and is acknowledged overtakes it. */
void pby_retry(pby_on_consume *b, size_t i, uint32_t after_ms, pby_str reason);
void pby_dead_letter(pby_on_consume *b, size_t i, pby_str reason);
/* It and all after it come again: that keeps the order. */
void pby_stop_at(pby_on_consume *b, size_t i, uint32_t after_ms, pby_str reason);

/* ---- Config ----
 *
 * The host has held it against manifest.config_schema before the plugin sees it. */

typedef enum pby_json_kind { PBY_NULL, PBY_BOOL, PBY_NUMBER, PBY_STRING, PBY_ARRAY, PBY_OBJECT } pby_json_kind;

/* A value; first and next are the members or elements of an object or array. */
typedef struct pby_json {
    pby_json_kind kind;
    bool boolean;
    pby_str text; /* of a string; of a number as it stands there */
    pby_str key;  /* its name, if it is a member */
    size_t index; /* its place, from 0 */
    const struct pby_json *first, *next, *parent;
} pby_json;

/* Parses a JSON text (RFC 8259), up to 64 deep; NULL if it is none. Names must not be there twice. Valid as what
 * pby_alloc returns, and as long as text. */
const pby_json *pby_json_parse(pby_str text);
/* Member of an object, NULL if there is none, it is null, or object is NULL or something else. */
const pby_json *pby_json_get(const pby_json *object, const char *name);
/* Text of a string; fallback if v is NULL or something else. */
pby_str pby_json_str(const pby_json *v, pby_str fallback);
bool pby_json_bool(const pby_json *v, bool fallback);
/* A whole number within 64 bits; fallback if it is none. */
int64_t pby_json_int(const pby_json *v, int64_t fallback);
/* A number, exact up to 15 digits. */
double pby_json_double(const pby_json *v, double fallback);

/* Refuses the config (in start and configure): v is what is wrong with it, the message says what would be right. */
void pby_refuse_config(const pby_json *v, pby_str message);
/* Refuses it with a JSON Pointer of one's own; empty if the config is not to blame. */
void pby_refuse_config_at(pby_str pointer, pby_str message);
/* Reports whether there were any. A configure that refuses must have changed nothing. */
bool pby_config_refused(void);

/* ---- The plugin ---- */

typedef struct pby_plugin {
    /* hooks needs to list only what is to be other than by default, and points of observation: the points of
     * functions that are there are asked for by themselves, but for PBY_POINT_AUTHORIZE_RECEIVE. In a hook that
     * is listed fields 0 stands for the function's default, given in brackets below. */
    pby_manifest manifest;

    /* The config, and with pby_start who and where the plugin is. pby_refuse_config refuses it. */
    void (*start)(const pby_json *config);
    /* A changed config, while running. Without it the plugin is restarted. */
    void (*configure)(const pby_json *config);
    /* What is wanted with the present config, in place of manifest's hooks and consumers; false for all of it. */
    bool (*narrow)(pby_narrowed *out);
    void (*stop)(pby_stop_reason reason);
    void (*health)(pby_health_response *out);

    pby_verdict *(*authenticate)(const pby_on_authenticate *r);        /* [PASSWORD] */
    pby_verdict *(*permit)(const pby_on_permit *r);            /* [ATTRIBUTES, CONNECTION] */
    pby_verdict *(*authorize)(const pby_on_authorize *r);      /* publish, subscribe; receive if listed */
    pby_verdict *(*publish)(pby_on_publish *r);                /* [PAYLOAD] */
    void (*publish_batch)(pby_publish_batch *b);                    /* [PAYLOAD] in place of publish */
    pby_verdict *(*subscribe)(pby_on_subscribe *r);
    pby_verdict *(*unsubscribe)(pby_on_subscribe *r);
    pby_verdict *(*will)(pby_on_publish *r);                   /* [PAYLOAD] */
    pby_verdict *(*deliver)(pby_on_publish *r);                /* [PAYLOAD] */
    /* Returns when the messages are safe; their acknowledgements wait for it. pby_deny refuses all of
     * them, a verdict in each[i] the i-th. [PAYLOAD] */
    pby_verdict *(*gate)(const pby_event_batch *b, pby_verdict **each);
    void (*observe)(const pby_event_batch *b);
    void (*consume)(pby_on_consume *b);
    void (*http)(const pby_http_request *r, pby_http_response *out);
    void (*timer)(const pby_timer_fired *t);
} pby_plugin;

extern const pby_plugin pby_this_plugin;
#define PBY_PLUGIN const pby_plugin pby_this_plugin

/* What the plugin was started with, but for the config: name, grants, host, worker, instance. */
const pby_start_request *pby_start(void);
/* Reports whether this is the instance that may make calls that wait. */
bool pby_worker(void);

/* ---- What the host does; see also pby_host_… in patchbay_v1.h ---- */

/* Why the last call of the host that failed did. */
const pby_host_error *pby_host_failure(void);
/* A line of the broker's log, up to 4 KiB. */
void pby_log(pby_log_level level, pby_str text);
/* Milliseconds since 1970-01-01 UTC, by a coarse clock. */
int64_t pby_now(void);

/* ---- Memory and text ---- */

/* Zeroed memory until the end of the call; never NULL: a plugin that is out of memory is ended. */
void *pby_alloc(size_t size);
/* Zeroed memory as long as the config is in force; in start and configure, that which is handed over. */
void *pby_keep(size_t size);
/* Copies, valid as pby_keep says. */
pby_str pby_keep_str(pby_str s);
pby_bytes pby_keep_bytes(pby_bytes b);

bool pby_str_eq(pby_str a, pby_str b);
/* Compares with a text that is ended by a zero. */
bool pby_eq(pby_str a, const char *b);
/* Compares in a time that depends on the lengths alone: for passwords and signatures. */
bool pby_same_secret(pby_bytes a, pby_bytes b);
bool pby_has_prefix(pby_str s, pby_str prefix);
/* Texts are UTF-8 in all messages; what is not makes the host take the answer for a failure. */
bool pby_is_utf8(pby_str s);
pby_bytes pby_as_bytes(pby_str s);
pby_str pby_as_str(pby_bytes b);
/* Joins n texts. */
pby_str pby_join(size_t n, const pby_str *parts);
#define PBY_JOIN(...) pby_join(sizeof((pby_str[]){__VA_ARGS__}) / sizeof(pby_str), (pby_str[]){__VA_ARGS__})
/* A number in decimal. */
pby_str pby_decimal(int64_t n);

#endif
