package authhttp

import (
	"strings"

	"github.com/patchbay-mq/patchbay/sdk"
)

// The dialects.
const (
	modeNative = "patchbay"
	modeEMQX   = "emqx"
	modeGoAuth = "mosquitto-go-auth"
)

// Config of the plugin.
type Config struct {
	Mode         string       `json:"mode" doc:"What the service speaks: Patchbay's own JSON, or what it was written for." enum:"patchbay,emqx,mosquitto-go-auth" default:"patchbay"`
	Authenticate *Endpoint    `json:"authenticate" doc:"Who is asked about logins; getuser of mosquitto-go-auth. Absent: other plugins decide about them."`
	Superuser    *Endpoint    `json:"superuser" doc:"Who is asked whether a user may do everything; mode mosquitto-go-auth only."`
	Permit       *Endpoint    `json:"permit" doc:"Who is asked once for a client, and whenever answers are taken back, what it may do, whoever has let it in; mode patchbay only."`
	Authorize    *Endpoint    `json:"authorize" doc:"Who is asked about each topic of clients that got no permissions when they were let in; aclcheck of mosquitto-go-auth."`
	Methods      []string     `json:"methods" doc:"Authentication Methods of MQTT 5 that the service knows; mode patchbay only. Absent: clients with a method are left to the next plugin." min:"1"`
	ResponseMode string       `json:"response_mode" doc:"Mode mosquitto-go-auth: what says yes: a status of 2xx, {\"ok\": true}, or the text ok." enum:"status,json,text" default:"status"`
	SubscribeACC []int        `json:"subscribe_acc" doc:"Mode mosquitto-go-auth: which accesses a subscription needs, 4 (subscribe) and 1 (read). Absent: both." min:"1" max:"2"`
	OnError      string       `json:"on_error" doc:"What becomes of a question that the service does not answer: deny, or ignore to leave it to the next plugin. Absent: deny, but ignore for logins with mode emqx." enum:"deny,ignore"`
	Timeout      sdk.Duration `json:"timeout" doc:"How long one request may take." default:"3s" min:"10ms" max:"50s"`
	Retries      int          `json:"retries" doc:"How often a request is repeated that failed, or was answered with 429 or 5xx." default:"1" min:"0" max:"10"`
	Wait         sdk.Duration `json:"wait" doc:"How long a client may wait for an answer in all, the time in the queue included." default:"10s" min:"10ms" max:"55s"`
	Connections  int          `json:"connections" doc:"How many requests of each kind (authenticate, permit, authorize) may be under way." default:"64" min:"1" max:"4096"`
	MaxWaiting   int          `json:"max_waiting" doc:"How many questions may wait; more are answered with 0x89 (Server busy) at once." default:"10000" min:"1" max:"1000000"`
	CacheTTL     sdk.Duration `json:"cache_ttl" doc:"How long an answer about a topic is used again for the same client, topic, QoS and RETAIN. 0s is never." default:"30s" min:"0s" max:"1d"`
	LoginTTL     sdk.Duration `json:"login_cache_ttl" doc:"How long a client that was let in is let in again without asking, with the same id, name, password, address and certificate. 0s is never." default:"0s" min:"0s" max:"1d"`
	LoginSize    int          `json:"login_cache_size" doc:"How many logins are remembered." default:"10000" min:"1" max:"1000000"`
	TLS          TLS          `json:"tls" doc:"TLS of https services."`
}

// Endpoint is a URL that is asked.
type Endpoint struct {
	URL      string                `json:"url" required:"true" doc:"URL of the service; with mode emqx with placeholders, as ${username}." example:"https://auth.example.com/mqtt/login"`
	Method   string                `json:"method" doc:"How it is asked." enum:"GET,POST,PUT" default:"POST"`
	Headers  map[string]sdk.Secret `json:"headers" doc:"HTTP headers, which may be secrets; with mode emqx with placeholders."`
	Body     map[string]string     `json:"body" doc:"Mode emqx: what is sent, with placeholders; with GET in the query. Absent: username and password, or username, topic and action." min:"1"`
	Encoding string                `json:"encoding" doc:"Modes emqx and mosquitto-go-auth: how the body is written." enum:"json,form" default:"json"`
}

// TLS of the connections to the service.
type TLS struct {
	CAFile             string `json:"ca_file" doc:"PEM file of authorities that the service's certificate must lead to. Absent: the system's."`
	CertFile           string `json:"cert_file" doc:"PEM file of the broker's own certificate, with cert_key_file. Read again for each new connection."`
	KeyFile            string `json:"cert_key_file" doc:"PEM file of its key."`
	ServerName         string `json:"server_name" doc:"Name that the service's certificate must have. Absent: that of the URL."`
	InsecureSkipVerify bool   `json:"insecure_skip_verify" doc:"Take any certificate. Whoever is on the way can read passwords and let anybody in."`
}

// uses reports whether a placeholder is anywhere in what is sent.
func (e *Endpoint) uses(name string) bool {
	placeholder := "${" + name + "}"
	if strings.Contains(e.URL, placeholder) {
		return true
	}
	for _, s := range e.Headers {
		if strings.Contains(s.Reveal(), placeholder) {
			return true
		}
	}
	for _, s := range e.Body {
		if strings.Contains(s, placeholder) {
			return true
		}
	}
	return false
}
