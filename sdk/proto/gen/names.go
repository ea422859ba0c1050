package main

import (
	"strings"
	"unicode"
)

// initialisms are the words that Go writes in its own way.
var initialisms = map[string]string{
	"dns": "DNS", "der": "DER", "http": "HTTP", "id": "ID", "ip": "IP", "kv": "KV", "qos": "QoS", "sha256": "SHA256",
	"tls": "TLS", "ttl": "TTL", "uris": "URIs", "url": "URL",
}

// goName turns client_id, HttpRequest or KV_GET into ClientID, HTTPRequest, KVGet.
func goName(name string) string {
	var b strings.Builder
	for _, word := range strings.Split(snake(name), "_") {
		if s, ok := initialisms[word]; ok {
			b.WriteString(s)
		} else if word != "" {
			b.WriteString(strings.ToUpper(word[:1]) + word[1:])
		}
	}
	return b.String()
}

// snake turns HttpRequest or KV_GET into http_request, kv_get.
func snake(name string) string {
	if strings.ToUpper(name) == name {
		return strings.ToLower(name)
	}
	var b strings.Builder
	for i, r := range name {
		if unicode.IsUpper(r) && i > 0 {
			b.WriteByte('_')
		}
		b.WriteRune(unicode.ToLower(r))
	}
	return b.String()
}

// enumPrefix is what the names of an enum's values begin with: HOST_OP_ for HostOp.
func enumPrefix(enum string) string { return strings.ToUpper(snake(enum)) + "_" }

// goValue is the Go name of an enum's value: HostOpKVGet.
func goValue(e *Enum, v *Value) string {
	return goName(e.Name) + goName(strings.TrimPrefix(v.Name, enumPrefix(e.Name)))
}

// goDoc is a comment that begins with the Go name instead of that of the .proto.
func goDoc(doc, name, goName string) string {
	if rest, ok := strings.CutPrefix(doc, name+" "); ok {
		return goName + " " + rest
	}
	if rest, ok := strings.CutPrefix(doc, name+","); ok {
		return goName + "," + rest
	}
	return doc
}
