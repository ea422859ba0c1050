/* auth-json-abi: users and passwords from the config, without an SDK.
 *
 * Written from sdk/ABI.md alone: no header of ours, no library. The module speaks JSON, of which it reads only what
 * it needs. See README.md. */

#define EXPORT(name) __attribute__((export_name(name)))
#define IMPORT(name) __attribute__((import_module("patchbay_v1"), import_name(name)))

IMPORT("error") void host_error(const char *text, unsigned length);

enum { DESCRIBE = 1, START = 2, CONFIGURE = 3, STOP = 4, HEALTH = 5, PROCESS = 6 };

/* ---- Text ---- */

typedef struct text {
    const char *at, *end;
} text;

#define LITERAL(s) ((text){s, &(s)[sizeof(s) - 1]})

static unsigned size(text t) { return (unsigned)(t.end - t.at); }

static int is(text t, text other) {
    if (size(t) != size(other)) return 0;
    for (unsigned i = 0; i < size(t); i++) {
        if (t.at[i] != other.at[i]) return 0;
    }
    return 1;
}

/* Compares in a time that depends on the lengths alone. */
static int is_secret(text t, text other) {
    volatile char difference = size(t) != size(other);
    for (unsigned i = 0; i < size(t) && i < size(other); i++) difference |= t.at[i] ^ other.at[i];
    return !difference;
}

/* A place to write to; what does not fit is noted. */
typedef struct output {
    char *at, *end;
    int full;
} output;

static void put(output *o, text t) {
    if (size(t) > (unsigned)(o->end - o->at)) {
        o->full = 1;
        return;
    }
    for (unsigned i = 0; i < size(t); i++) *o->at++ = t.at[i];
}

static void put_char(output *o, char c) { put(o, (text){&c, &c + 1}); }

static void put_number(output *o, unsigned n) {
    if (n >= 10) put_number(o, n / 10);
    put_char(o, (char)('0' + n % 10));
}

/* ---- Reading JSON ----
 *
 * A value is the text from its first character to its last. One that is not there, or cannot be read, is empty. */

static const text nothing;

static const char *space(const char *p, const char *end) {
    while (p < end && (*p == ' ' || *p == '\t' || *p == '\n' || *p == '\r')) p++;
    return p;
}

/* The end of the value that begins at p; 0 if there is none. Brackets are counted, whatever they enclose: the broker
 * sends nothing that is not JSON. */
static const char *end_of(const char *p, const char *end) {
    int depth = 0;
    do {
        p = space(p, end);
        if (p == end) return 0;
        char c = *p++;
        if (c == '"') {
            for (; p < end && *p != '"'; p++) {
                if (*p == '\\') p++;
            }
            if (p >= end) return 0;
            p++;
        } else if (c == '{' || c == '[') {
            depth++;
        } else if (c == '}' || c == ']') {
            depth--;
        } else if (depth == 0) {
            while (p < end && *p != ',' && *p != '}' && *p != ']' && *p != ' ' && *p != '\n') p++;
        }
    } while (depth > 0);
    return p;
}

/* Goes through an object or array: takes the next value, and its name if it is a member, off the rest. Begin with the
 * rest behind the opening bracket. */
static int next(text *rest, text *name, text *value) {
    const char *p = space(rest->at, rest->end);
    if (p < rest->end && *p == ',') p = space(p + 1, rest->end);
    if (p == rest->end || *p == '}' || *p == ']') return 0;
    const char *e = end_of(p, rest->end);
    if (!e) return 0;
    *value = (text){p, e};
    const char *after = space(e, rest->end);
    if (after < rest->end && *after == ':') {
        *name = *value;
        p = space(after + 1, rest->end);
        if (!(e = end_of(p, rest->end))) return 0;
        *value = (text){p, e};
    }
    rest->at = e;
    return 1;
}

static text inside(text value) { return size(value) > 0 ? (text){value.at + 1, value.end} : value; }

/* The member of an object; name in quotes, as it stands there. */
static text member(text object, text name) {
    text rest = inside(object), key, value;
    while (next(&rest, &key, &value)) {
        if (is(key, name)) return value;
    }
    return nothing;
}

/* The n-th element of an array, from 1. */
static text element(text array, unsigned n) {
    text rest = inside(array), name, value;
    while (next(&rest, &name, &value)) {
        if (--n == 0) return value;
    }
    return nothing;
}

static unsigned number(text value) {
    unsigned n = 0;
    for (const char *p = value.at; p < value.end && *p >= '0' && *p <= '9'; p++) n = n * 10 + (unsigned)(*p - '0');
    return n;
}

static unsigned hex(const char *p) {
    unsigned n = 0;
    for (int i = 0; i < 4; i++) {
        char c = p[i];
        n = n << 4 | (unsigned)(c <= '9' ? c - '0' : (c | 0x20) - 'a' + 10);
    }
    return n;
}

/* Reads \uXXXX at p, or two of them that are one character, and returns the end. */
static const char *unicode(output *o, const char *p, const char *end) {
    if (end - p < 6) {
        o->full = 1;
        return end;
    }
    unsigned c = hex(p + 2);
    p += 6;
    if (c >= 0xD800 && c < 0xDC00 && end - p >= 6) {
        c = 0x10000 + ((c - 0xD800) << 10) + (hex(p + 2) - 0xDC00);
        p += 6;
    }
    if (c < 0x80) {
        put_char(o, (char)c);
        return p;
    }
    if (c >= 0x10000) put_char(o, (char)(0xF0 | c >> 18));
    if (c >= 0x800) put_char(o, (char)(c >= 0x10000 ? 0x80 | (c >> 12 & 0x3F) : 0xE0 | c >> 12));
    put_char(o, (char)(c >= 0x800 ? 0x80 | (c >> 6 & 0x3F) : 0xC0 | c >> 6));
    put_char(o, (char)(0x80 | (c & 0x3F)));
    return p;
}

/* Writes what a string stands for. */
static text unescape(output *o, text string) {
    const char *begin = o->at;
    if (size(string) < 2) return nothing;
    for (const char *p = string.at + 1; p < string.end - 1;) {
        static const char from[] = "bfnrt", to[] = "\b\f\n\r\t";
        if (*p != '\\') {
            put_char(o, *p++);
        } else if (p[1] == 'u') {
            p = unicode(o, p, string.end - 1);
        } else {
            char c = p[1];
            for (int i = 0; from[i]; i++) {
                if (c == from[i]) {
                    c = to[i];
                    break;
                }
            }
            put_char(o, c);
            p += 2;
        }
    }
    return (text){begin, o->at};
}

static int digit64(char c) {
    if (c >= 'A' && c <= 'Z') return c - 'A';
    if (c >= 'a' && c <= 'z') return c - 'a' + 26;
    if (c >= '0' && c <= '9') return c - '0' + 52;
    return c == '+' ? 62 : c == '/' ? 63 : -1;
}

/* Writes what a string in base64 stands for. */
static text base64(output *o, text string) {
    const char *begin = o->at;
    unsigned bits = 0, n = 0;
    if (size(string) < 2) return nothing;
    for (const char *p = string.at + 1; p < string.end - 1 && *p != '='; p++) {
        bits = bits << 6 | (unsigned)digit64(*p);
        if ((n += 6) >= 8) put_char(o, (char)(bits >> (n -= 8)));
    }
    return (text){begin, o->at};
}

/* ---- The plugin ---- */

static char buffer[1 << 20], answer[1 << 19], scratch[1 << 17];

/* The config in force: an object of names and passwords, and a copy of the text that it is in. */
static char config[1 << 16];
static text users;

static const char manifest[] =
    "{\"name\":\"auth-json-abi\",\"version\":\"1.0.0\",\"description\":\"Users and passwords from the config.\","
    "\"hooks\":[{\"point\":\"POINT_AUTHENTICATE\",\"fields\":128}],"
    "\"configSchema\":\"{\\\"type\\\":\\\"object\\\",\\\"additionalProperties\\\":false,\\\"required\\\":[\\\"users\\\"],"
    "\\\"properties\\\":{\\\"users\\\":{\\\"type\\\":\\\"object\\\",\\\"additionalProperties\\\":"
    "{\\\"type\\\":\\\"string\\\",\\\"minLength\\\":4,\\\"writeOnly\\\":true}}}}\"}";

static long long result(const char *at, const char *end) {
    return (long long)((unsigned long long)(unsigned long)at << 32 | (unsigned)(end - at));
}

static long long fail(text why) {
    host_error(why.at, size(why));
    return -1;
}

/* A user name becomes a level of a topic filter. */
static int is_plain(text name) {
    for (const char *p = name.at; p < name.end; p++) {
        if (*p == '+' || *p == '#' || *p == '/' || *p == 0) return 0;
    }
    return size(name) > 0 && *name.at != '$';
}

static long long start(text request) {
    output keep = {config, config + sizeof config, 0};
    text json = unescape(&keep, member(request, LITERAL("\"config\"")));
    users = member(json, LITERAL("\"users\""));
    if (keep.full) return fail(LITERAL("the config is larger than 64 KiB"));
    text rest = inside(users), name, password;
    while (next(&rest, &name, &password)) {
        output o = {scratch, scratch + sizeof scratch, 0};
        if (!is_plain(unescape(&o, name))) {
            static const char refusal[] =
                "{\"problems\":[{\"pointer\":\"/users\",\"message\":\"a user name must not be empty, begin with $, or have +, # or / in it\"}]}";
            return result(refusal, refusal + sizeof refusal - 1);
        }
    }
    return 0;
}

/* Whether a user has the password; both as they stand in the request. */
static int may_enter(text username, text password) {
    output o = {scratch, scratch + sizeof scratch, 0};
    text claimed = unescape(&o, username), given = base64(&o, password);
    text rest = inside(users), name, wanted;
    while (!o.full && next(&rest, &name, &wanted)) {
        output other = o;
        if (!is(unescape(&other, name), claimed)) continue;
        text right = unescape(&other, wanted);
        return !other.full && is_secret(right, given);
    }
    return 0;
}

/* Writes the verdict on the event with this number. */
static void verdict(output *o, unsigned number_of_event, text client, text authentication) {
    text username = member(client, LITERAL("\"username\""));
    put(o, LITERAL("{\"event\":"));
    put_number(o, number_of_event);
    if (!may_enter(username, member(authentication, LITERAL("\"password\"")))) {
        put(o, LITERAL(",\"action\":\"ACTION_DENY\",\"reasonCode\":134,\"reason\":\"bad user name or password\"}"));
        return;
    }
    put(o, LITERAL(",\"action\":\"ACTION_ALLOW\",\"auth\":{\"hasPermissions\":true,"
                   "\"permissions\":[{\"allow\":true,\"actions\":3,\"topicFilter\":\"home/"));
    put(o, (text){username.at + 1, username.end - 1}); /* escaped already, as it came */
    put(o, LITERAL("/#\"}]}}"));
}

static long long process(text batch) {
    output o = {answer, answer + sizeof answer, 0};
    text clients = member(batch, LITERAL("\"clients\"")), events = inside(member(batch, LITERAL("\"events\""))), name, event;
    put(&o, LITERAL("{\"verdicts\":["));
    for (unsigned i = 0, written = 0; next(&events, &name, &event); i++) {
        text authentication = member(event, LITERAL("\"authentication\""));
        if (size(member(authentication, LITERAL("\"method\""))) > 0) continue; /* an enhanced one is not for us */
        if (written++ > 0) put_char(&o, ',');
        verdict(&o, i, element(clients, number(member(event, LITERAL("\"client\"")))), authentication);
    }
    put(&o, LITERAL("]}"));
    if (o.full) return fail(LITERAL("the answer does not fit"));
    return result(answer, o.at);
}

EXPORT("patchbay_abi_v1_json") void abi(void) {}

EXPORT("patchbay_buffer") char *get_buffer(unsigned wanted) { return wanted <= sizeof buffer ? buffer : 0; }

EXPORT("patchbay_call") long long call(int op, unsigned length) {
    text request = {buffer, buffer + length};
    static const char restart[] = "{\"restart\":true}";
    switch (op) {
    case DESCRIBE: return result(manifest, manifest + sizeof manifest - 1);
    case START: return start(request);
    case CONFIGURE: return result(restart, restart + sizeof restart - 1);
    case STOP:
    case HEALTH: return 0;
    case PROCESS: return process(request);
    }
    return fail(LITERAL("an unknown call"));
}
