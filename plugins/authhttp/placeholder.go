package authhttp

import (
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/patchbay-mq/patchbay/sdk"
)

// What a placeholder of EMQX's is for: all, or one kind of question.
var (
	placeholders = []string{
		"username", "clientid", "peerhost", "peerport", "proto_name", "proto_ver", "mountpoint", "listener", "zone", "namespace",
		"cert_subject", "cert_common_name",
	}
	loginPlaceholders     = []string{"password", "cert_pem"}
	authorizePlaceholders = []string{"action", "access", "topic", "qos", "retain"}
)

const attributePlaceholder = "client_attrs."

// knownPlaceholder reports which names stand for something.
func knownPlaceholder(login bool) func(string) bool {
	return func(name string) bool {
		if login {
			return slices.Contains(placeholders, name) || slices.Contains(loginPlaceholders, name)
		}
		return slices.Contains(placeholders, name) || slices.Contains(authorizePlaceholders, name) ||
			strings.HasPrefix(name, attributePlaceholder) && len(name) > len(attributePlaceholder)
	}
}

// checkTemplate reports a fault in a text with placeholders.
func checkTemplate(s string, known func(string) bool) error {
	for {
		_, rest, found := strings.Cut(s, "${")
		if !found {
			return nil
		}
		name, rest, closed := strings.Cut(rest, "}")
		if !closed {
			return errors.New("a ${ without closing }")
		}
		if !known(name) {
			return fmt.Errorf("${%s} does not stand for anything here", name)
		}
		s = rest
	}
}

// fill puts values in, each as escape writes it.
func (q *question) fill(s string, escape func(string) string) string {
	before, rest, found := strings.Cut(s, "${")
	if !found {
		return s
	}
	var b strings.Builder
	for found {
		b.WriteString(before)
		name, after, _ := strings.Cut(rest, "}")
		b.WriteString(escape(q.value(name)))
		before, rest, found = strings.Cut(after, "${")
	}
	b.WriteString(before)
	return b.String()
}

func asItIs(s string) string { return s }

// value of a placeholder, as EMQX writes it. What the client does not have is empty.
func (q *question) value(name string) string {
	c := q.client
	host, port := q.peer()
	switch name {
	case "username":
		return c.Username
	case "clientid":
		return c.ClientID
	case "password":
		return string(q.password())
	case "peerhost":
		return host
	case "peerport":
		return port
	case "proto_name":
		return "MQTT"
	case "proto_ver":
		return strconv.Itoa(int(c.ProtocolVersion))
	case "listener":
		return c.Listener
	case "zone":
		return "default"
	case "namespace":
		return c.Namespace
	case "action":
		if q.access == sdk.AccessSubscribe {
			return "subscribe"
		}
		return "publish"
	case "access":
		if q.access == sdk.AccessSubscribe {
			return "1"
		}
		return "2"
	case "topic":
		return q.topic
	case "qos":
		return strconv.Itoa(int(q.qos))
	case "retain":
		return strconv.FormatBool(q.retain)
	}
	if attribute, ok := strings.CutPrefix(name, attributePlaceholder); ok {
		for _, a := range c.Attributes {
			if a.Name == attribute {
				return a.Value
			}
		}
	}
	return q.certificateValue(name)
}

func (q *question) certificateValue(name string) string {
	c := q.certificate()
	if c == nil {
		return ""
	}
	switch name {
	case "cert_subject":
		return c.Subject
	case "cert_common_name":
		return c.CommonName
	case "cert_pem":
		return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.DER}))
	}
	return ""
}
