package authhttp

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"
	"unicode/utf8"

	"github.com/patchbay-mq/patchbay/sdk"
)

// native speaks Patchbay's own JSON.
type native struct{ *service }

// nativeQuestion is what is sent. What is not there is left out.
type nativeQuestion struct {
	Action   string `json:"action"` // authenticate, permit, publish or subscribe
	ClientID string `json:"client_id"`
	Username string `json:"username,omitempty"`

	Password       string `json:"password,omitempty"`
	PasswordBase64 []byte `json:"password_base64,omitempty"` // if it is not text

	Namespace       string             `json:"namespace,omitempty"`
	Attributes      map[string]string  `json:"attributes,omitempty"`
	RemoteAddress   string             `json:"remote_address,omitempty"`
	Listener        string             `json:"listener,omitempty"`
	Transport       string             `json:"transport,omitempty"`
	ProtocolVersion uint32             `json:"protocol_version,omitempty"`
	CleanStart      bool               `json:"clean_start,omitempty"`
	Certificate     *nativeCertificate `json:"certificate,omitempty"`

	Method           string `json:"method,omitempty"`
	Data             []byte `json:"data,omitempty"`
	Step             uint32 `json:"step,omitempty"`
	State            []byte `json:"state,omitempty"`
	Reauthentication bool   `json:"reauthentication,omitempty"`

	Topic  string  `json:"topic,omitempty"`
	QoS    *uint32 `json:"qos,omitempty"`
	Retain *bool   `json:"retain,omitempty"`
}

type nativeCertificate struct {
	Subject      string   `json:"subject,omitempty"`
	CommonName   string   `json:"common_name,omitempty"`
	Issuer       string   `json:"issuer,omitempty"`
	SerialNumber string   `json:"serial_number,omitempty"`
	SHA256       string   `json:"sha256"`
	DNSNames     []string `json:"dns_names,omitempty"`
	URIs         []string `json:"uris,omitempty"`
}

// nativeAnswer is what comes back.
type nativeAnswer struct {
	Result           string            `json:"result"`
	Reason           string            `json:"reason"`
	ReasonCode       uint32            `json:"reason_code"`
	TTL              *float64          `json:"ttl"`
	Username         string            `json:"username"`
	ClientID         string            `json:"client_id"`
	Namespace        string            `json:"namespace"`
	Groups           []string          `json:"groups"`
	Attributes       map[string]string `json:"attributes"`
	Superuser        bool              `json:"superuser"`
	Permissions      json.RawMessage   `json:"permissions"`
	ExpiresAt        *float64          `json:"expires_at"`
	MaxSessionExpiry *uint32           `json:"max_session_expiry"`
	Quotas           *nativeQuotas     `json:"quotas"`
	Data             []byte            `json:"data"`
	State            []byte            `json:"state"`
}

type nativeQuotas struct {
	PublishRate      float64 `json:"publish_rate"`
	PublishBytesRate float64 `json:"publish_bytes_rate"`
	MaxSubscriptions uint32  `json:"max_subscriptions"`
	MaxInflight      uint32  `json:"max_inflight"`
	MaxQueued        uint32  `json:"max_queued"`
	MaxQueuedBytes   uint64  `json:"max_queued_bytes"`
}

func (n *native) question(action string, q *question) *nativeQuestion {
	c := q.client
	host, _ := q.peer()
	out := &nativeQuestion{
		Action: action, ClientID: c.ClientID, Username: c.Username, Namespace: c.Namespace, RemoteAddress: host, Listener: c.Listener,
		Transport: c.Transport, ProtocolVersion: c.ProtocolVersion,
	}
	for _, a := range c.Attributes {
		if out.Attributes == nil {
			out.Attributes = map[string]string{}
		}
		out.Attributes[a.Name] = a.Value
	}
	if cert := q.certificate(); cert != nil {
		out.Certificate = &nativeCertificate{
			cert.Subject, cert.CommonName, cert.Issuer, cert.SerialNumber, hex.EncodeToString(cert.SHA256), cert.DNSNames, cert.URIs,
		}
	}
	return out
}

func (n *native) login(ctx context.Context, q *question) (answer, error) {
	out := n.question("authenticate", q)
	a := q.auth
	out.CleanStart = q.client.CleanStart
	out.Method, out.Data, out.Step, out.State, out.Reauthentication = a.Method, a.Data, a.Step, a.State, a.Reauthentication
	if utf8.Valid(a.Password) {
		out.Password = string(a.Password)
	} else {
		out.PasswordBase64 = a.Password
	}
	return n.ask(ctx, "authenticate", out, q)
}

func (n *native) permit(ctx context.Context, q *question) (answer, error) {
	out, err := n.ask(ctx, "permit", n.question("permit", q), q)
	if err == nil && out.result == allow && !out.identity.HasPermissions {
		return answer{}, &invalid{errors.New("it allows, and does not say what")}
	}
	return out, err
}

func (n *native) authorize(ctx context.Context, q *question) (answer, error) {
	action := "publish"
	if q.access == sdk.AccessSubscribe {
		action = "subscribe"
	}
	out := n.question(action, q)
	out.Topic, out.QoS = q.topic, &q.qos
	if q.access == sdk.AccessPublish {
		out.Retain = &q.retain
	}
	return n.ask(ctx, "authorize", out, q)
}

func (n *native) ask(ctx context.Context, name string, out *nativeQuestion, q *question) (answer, error) {
	e := n.endpoints[name]
	body, err := marshal(out)
	if err != nil {
		return answer{}, err
	}
	r, err := e.plain(contentJSON, body)
	if err != nil {
		return answer{}, err
	}
	res, err := e.ask(ctx, r)
	if err != nil {
		return answer{}, err
	}
	switch res.status {
	case http.StatusOK:
	case http.StatusUnauthorized, http.StatusForbidden:
		return answer{result: deny, code: out.refusal(), ttl: -1}, nil
	default:
		return answer{}, &invalid{fmt.Errorf("status %d", res.status)}
	}
	a, err := readNative(res.body, out, q)
	if err != nil {
		return answer{}, &invalid{err}
	}
	if a.code == 0 {
		a.code = out.refusal()
	}
	return a, nil
}

// refusal is the Reason Code of a question that is denied without one.
func (n *nativeQuestion) refusal() sdk.ReasonCode {
	if n.Action == "authenticate" && n.Method == "" {
		return sdk.BadUserNameOrPassword
	}
	return sdk.NotAuthorized
}

// readNative reads an answer. What it does not know is an error: a mistake in the name of
// "permissions" would let the client do everything.
func readNative(body []byte, to *nativeQuestion, q *question) (answer, error) {
	var in nativeAnswer
	d := json.NewDecoder(bytes.NewReader(body))
	d.DisallowUnknownFields()
	if err := d.Decode(&in); err != nil {
		return answer{}, err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return answer{}, errors.New("there is something behind its end")
	}
	out := answer{reason: cut(in.Reason), code: sdk.ReasonCode(in.ReasonCode), ttl: -1}
	if in.TTL != nil {
		if *in.TTL < 0 || *in.TTL > 366*24*3600 {
			return answer{}, errors.New("ttl: not a number of seconds up to a year")
		}
		out.ttl = time.Duration(*in.TTL * float64(time.Second))
	}
	switch in.Result {
	case "ignore":
		return out, nil
	case "deny":
		out.result = deny
		if in.ReasonCode != 0 && !mayRefuse(to.Action, in.ReasonCode) {
			return answer{}, fmt.Errorf("reason_code: %d cannot refuse this", in.ReasonCode)
		}
		return out, nil
	case "challenge":
		if to.Method == "" {
			return answer{}, errors.New("a challenge to a client without an Authentication Method")
		}
		out.result, out.identity = challenge, sdk.Identity{Data: in.Data, State: in.State}
		return out, nil
	case "allow":
		out.result = allow
	default:
		return answer{}, fmt.Errorf("result: %.64q is none of allow, deny, ignore and challenge", in.Result)
	}
	if to.Action == "publish" || to.Action == "subscribe" {
		return out, nil
	}
	var err error
	out.identity, err = in.identity(q)
	return out, err
}

// identity is what the client gets.
func (in *nativeAnswer) identity(q *question) (sdk.Identity, error) {
	b := newBuilder(q)
	b.name("username", in.Username, &b.id.Username)
	b.name("client_id", in.ClientID, &b.id.ClientID)
	b.name("namespace", in.Namespace, &b.id.Namespace)
	b.groups(in.Groups)
	for name, value := range in.Attributes {
		b.attribute(name, value)
	}
	if in.ExpiresAt != nil {
		b.expires(*in.ExpiresAt)
	}
	if in.MaxSessionExpiry != nil {
		b.id.CapSessionExpiry, b.id.MaxSessionExpiryInterval = true, *in.MaxSessionExpiry
	}
	if in.Quotas != nil {
		b.quotas(&sdk.Quotas{
			PublishRate: in.Quotas.PublishRate, PublishBytesRate: in.Quotas.PublishBytesRate, MaxSubscriptions: in.Quotas.MaxSubscriptions,
			MaxInflight: in.Quotas.MaxInflight, MaxQueued: in.Quotas.MaxQueued, MaxQueuedBytes: in.Quotas.MaxQueuedBytes,
		})
	}
	b.id.Data = in.Data
	switch {
	case in.Superuser:
		b.everything()
	case in.Permissions != nil && string(in.Permissions) != "null":
		b.permissions(in.Permissions)
	}
	return b.id, b.err
}

// codes are the Reason Codes by which each packet can refuse (MQTT 5 §3.2.2.2, §3.4.2.1,
// §3.9.3); QoS 2 has those of PUBACK.
var codes = map[string][]byte{
	"authenticate": {0x80, 0x83, 0x85, 0x86, 0x87, 0x88, 0x89, 0x8A, 0x8C, 0x97, 0x9F},
	"permit":       {0x80, 0x83, 0x87, 0x88, 0x89, 0x8A, 0x97},
	"publish":      {0x80, 0x83, 0x87, 0x90, 0x97, 0x99},
	"subscribe":    {0x80, 0x83, 0x87, 0x8F, 0x97, 0x9E, 0xA1, 0xA2},
}

func mayRefuse(action string, code uint32) bool {
	return code <= 0xFF && bytes.IndexByte(codes[action], byte(code)) >= 0
}

// cut shortens a text to what a reason may have.
func cut(s string) string {
	if len(s) <= 1024 {
		return s
	}
	s = s[:1024]
	for !utf8.ValidString(s) {
		s = s[:len(s)-1]
	}
	return s
}

// marshal writes JSON as services read it: < and > are what they are.
func marshal(v any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}
