package bridgemqtt

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/patchbay-mq/patchbay/plugins/bridgemqtt/internal/mqtt"
	"github.com/patchbay-mq/patchbay/plugins/internal/bridge"
	"github.com/patchbay-mq/patchbay/plugins/internal/template"
	"github.com/patchbay-mq/patchbay/sdk"
)

// Config of the plugin.
type Config struct {
	Remote Remote  `json:"remote" required:"true" doc:"The other broker."`
	Routes []Route `json:"routes" required:"true" doc:"What goes which way." min:"1" max:"200"`
	Loops  Loops   `json:"loops" doc:"What keeps messages from going round."`
}

// Remote is the other broker.
type Remote struct {
	Name           string            `json:"name" doc:"Name of the other broker, the same in all bridges to it: that is how loops are found. Of a Patchbay its node name." default:"remote" min:"1" max:"128"`
	Servers        []string          `json:"servers" required:"true" doc:"URLs, tried in order: mqtt://host:1883, mqtts://host:8883, ws://host/path, wss://host/path, unix:///path." example:"mqtts://hq.example.com,mqtts://hq2.example.com" min:"1" max:"32"`
	Version        string            `json:"version" doc:"MQTT version; auto tries 5, then 3.1.1." enum:"auto,5,3.1.1" default:"auto"`
	ClientID       string            `json:"client_id" doc:"Client id at the other broker. Absent: NODE-PLUGIN. Two bridges must not have the same." max:"65535"`
	Username       string            `json:"username" doc:"User name at the other broker." max:"65535"`
	Password       sdk.Secret        `json:"password" doc:"Password at the other broker."`
	TLS            TLS               `json:"tls" doc:"TLS of mqtts and wss servers."`
	Headers        map[string]string `json:"headers" doc:"HTTP headers of the WebSocket handshake."`
	KeepAlive      sdk.Duration      `json:"keep_alive" doc:"Keep Alive. A connection on which nothing is heard for one and a half of it is given up." default:"30s" min:"2s" max:"18h"`
	ConnectTimeout sdk.Duration      `json:"connect_timeout" doc:"How long a server may take to let the bridge in." default:"10s" min:"100ms" max:"5m"`
	CleanStart     bool              `json:"clean_start" doc:"Begin a new session when the plugin starts: what the other broker has kept meanwhile is dropped."`
	SessionExpiry  sdk.Duration      `json:"session_expiry" doc:"How long the other broker keeps messages for a bridge that is away." default:"7d" min:"0s" max:"10000d"`
	ReceiveMaximum uint16            `json:"receive_maximum" doc:"How many messages of QoS 1 and 2 may come that are not yet acknowledged." default:"500" min:"1"`
	MaxInflight    int               `json:"max_inflight" doc:"How many messages of QoS 1 and 2 may go that are not yet acknowledged. The other broker may allow less." default:"500" min:"1" max:"10000"`
	MaxPacket      sdk.Size          `json:"max_packet" doc:"The largest packet that is taken from the other broker." default:"16MiB" min:"1KiB" max:"28MiB"`
	RetryMin       sdk.Duration      `json:"retry_min" doc:"Pause when no server lets the bridge in; it doubles each time." default:"500ms" min:"10ms"`
	RetryMax       sdk.Duration      `json:"retry_max" doc:"The longest pause." default:"30s" min:"10ms" max:"1h"`
	Failback       sdk.Duration      `json:"failback" doc:"While not with the first server: how often to look whether that is back. 0s is never." default:"1m" min:"0s"`
	StatusTopic    string            `json:"status_topic" doc:"Retained topic at the other broker that is 1 while the bridge is connected, and 0 when not. Absent: none." example:"bridges/plant-7/status"`
}

// TLS of the connection.
type TLS struct {
	CAFile             string `json:"ca_file" doc:"PEM file of authorities that the server's certificate must lead to. Absent: the system's."`
	CertFile           string `json:"cert_file" doc:"PEM file of the bridge's own certificate, with cert_key_file."`
	KeyFile            string `json:"cert_key_file" doc:"PEM file of its key."`
	ServerName         string `json:"server_name" doc:"Name that the server's certificate must have. Absent: that of the URL."`
	InsecureSkipVerify bool   `json:"insecure_skip_verify" doc:"Take any certificate. Whoever is on the way can read and change everything."`
}

// Route is what goes one way or both.
type Route struct {
	bridge.Route
	Direction    string        `json:"direction" doc:"out: to the other broker; in: from it; both." enum:"out,in,both" default:"out"`
	QoS          uint32        `json:"qos" doc:"The highest QoS; messages of a higher one are sent with this." default:"2" max:"2"`
	LocalPrefix  string        `json:"local_prefix" doc:"What topics begin with at this broker, in front of what filters match, as \"plant/\"."`
	RemotePrefix string        `json:"remote_prefix" doc:"What topics begin with at the other broker, in place of local_prefix."`
	RemoteTopic  template.Text `json:"remote_topic" doc:"Topic at the other broker, in place of prefixes; direction out only." example:"site-7/${topic[2:]}"`
	LocalTopic   template.Text `json:"local_topic" doc:"Topic at this broker, in place of prefixes; direction in only. ${topic} is that of the other broker." example:"hq/${topic[-1]}"`
	Namespace    string        `json:"namespace" doc:"Namespace into which what comes is published."`
	DropRetain   bool          `json:"drop_retain" doc:"Send messages without their RETAIN flag."`
	SyncRetained bool          `json:"sync_retained" doc:"With a new session, send the retained messages that there are (out; needs the grant retained), and ask for those of the other broker (in)."`
}

// Loops is what keeps messages from going round.
type Loops struct {
	Node    string `json:"node" doc:"Name of this broker in paths. Absent: its node name, that of the host. Two brokers must not have the same." max:"128"`
	MaxHops int    `json:"max_hops" doc:"Over how many bridges a message may go. 1 is for brokers that are all bridged with each other: each message arrives once." default:"8" min:"1" max:"64"`
	Off     bool   `json:"off" doc:"Do not mark messages, and do not look at marks."`
}

func (r *Route) out() bool { return r.Direction != "in" }
func (r *Route) in() bool  { return r.Direction != "out" }

// check says what is wrong with a config, as problems with pointers.
func (c *Config) check(h *sdk.Host) error {
	var problems []error
	problem := func(at, format string, args ...any) {
		problems = append(problems, sdk.NewProblem(at, fmt.Sprintf(format, args...)))
	}
	var names []string
	for i := range c.Routes {
		r := &c.Routes[i]
		names = append(names, r.Name)
		at := "/routes/" + strconv.Itoa(i)
		problems = append(problems, r.Check(at)...)
		r.check(at, problem)
		if r.in() && h.Granted("publish") == nil {
			problem(at+"/direction", "what comes is published, for which the plugin needs the grant publish, as grants: [{publish: [%q]}]", r.LocalPrefix+r.firstFilter())
		}
		if r.out() && r.SyncRetained && h.Granted("retained") == nil {
			problem(at+"/sync_retained", "it needs the grant retained")
		}
	}
	problems = append(problems, bridge.CheckNames("/routes", names)...)
	for i, s := range c.Remote.Servers {
		if _, err := mqtt.ParseServer(s); err != nil {
			problem("/remote/servers/"+strconv.Itoa(i), "%v", err)
		}
	}
	if c.Remote.StatusTopic != "" {
		if err := bridge.CheckTopic(c.Remote.StatusTopic); err != nil {
			problem("/remote/status_topic", "%v", err)
		}
	}
	if c.Remote.RetryMax < c.Remote.RetryMin {
		problem("/remote/retry_max", "it is shorter than retry_min")
	}
	for at, name := range map[string]string{"/remote/name": c.Remote.Name, "/loops/node": c.Loops.Node} {
		if strings.ContainsAny(name, ", ") {
			problem(at, "a name has neither commas nor blanks")
		}
	}
	if !c.Loops.Off && c.node(h) == "" {
		problem("/loops/node", "this broker has no node name: give it one here")
	}
	if !c.Loops.Off && c.node(h) == c.Remote.Name {
		problem("/remote/name", "%q is the name of this broker itself; see loops.node", c.Remote.Name)
	}
	if _, err := c.Remote.TLS.config(); err != nil {
		problems = append(problems, err)
	}
	return sdk.Problems(problems...)
}

// firstFilter is the first Topic Filter, for messages.
func (r *Route) firstFilter() string {
	if len(r.Filters) == 0 {
		return "#"
	}
	return r.Filters[0]
}

// check says what is wrong with what Route.Check does not know.
func (r *Route) check(at string, problem func(at, format string, args ...any)) {
	for key, prefix := range map[string]string{"local_prefix": r.LocalPrefix, "remote_prefix": r.RemotePrefix} {
		if prefix == "" {
			continue
		}
		if err := bridge.CheckTopic(prefix); err != nil {
			problem(at+"/"+key, "%v", err)
		}
		for _, f := range r.Filters {
			if err := bridge.CheckFilter(prefix + f); err != nil {
				problem(at+"/"+key, "with a filter of the route: %v", err)
			}
		}
	}
	if !r.RemoteTopic.Empty() && r.Direction != "out" {
		problem(at+"/remote_topic", "it is for direction out; a template has no way back")
	}
	if !r.LocalTopic.Empty() && r.Direction != "in" {
		problem(at+"/local_topic", "it is for direction in; a template has no way back")
	}
	if !r.RemoteTopic.Empty() && r.RemotePrefix != "" {
		problem(at+"/remote_prefix", "remote_topic takes its place")
	}
	if !r.LocalTopic.Empty() && r.LocalPrefix != "" {
		problem(at+"/local_prefix", "local_topic takes its place")
	}
	if r.Namespace != "" && !r.in() {
		problem(at+"/namespace", "it is for what comes; namespaces is for what goes")
	}
	if r.Ack == bridge.AfterRemote && !r.out() {
		problem(at+"/ack", "it is for what goes")
	}
	if r.Ack == bridge.AfterRemote && r.QoS == 0 {
		problem(at+"/ack", "with qos 0 the other broker never says that it has a message")
	}
}

// node is the name of this broker in paths.
func (c *Config) node(h *sdk.Host) string {
	if c.Loops.Node != "" {
		return c.Loops.Node
	}
	return strings.NewReplacer(",", "-", " ", "-").Replace(h.Info().Node)
}
