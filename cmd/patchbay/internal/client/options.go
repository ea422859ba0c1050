package client

import (
	"crypto/rand"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/eclipse/paho.golang/paho"
	"github.com/spf13/cobra"

	"github.com/patchbay-mq/patchbay/core/topic"
)

// Protocol levels as CONNECT carries them.
const (
	mqtt31  = 3
	mqtt311 = 4
	mqtt5   = 5
)

const (
	neverExpires = 0xFFFFFFFF
	// answerTimeout bounds dialling, CONNACK, SUBACK and UNSUBACK, each on its own.
	answerTimeout = 30 * time.Second
)

// versionNames are the spellings of -V that mosquitto's users know, and the plain ones.
var versionNames = map[string]byte{
	"5": mqtt5, "5.0": mqtt5, "mqttv5": mqtt5, "v5": mqtt5,
	"311": mqtt311, "3.1.1": mqtt311, "mqttv311": mqtt311,
	"31": mqtt31, "3.1": mqtt31, "mqttv31": mqtt31,
}

// options are the flags that pub, sub and rr share.
type options struct {
	host, unix, bind, url    string
	port                     uint16
	websocket                bool
	version                  string
	id, idPrefix             string
	keep                     bool
	expiry                   string
	username, password       string
	keepAlive                uint16
	qos                      byte
	topics                   []string
	properties               []string
	willTopic, willPayload   string
	willQoS                  byte
	willRetain               bool
	tls                      tlsOptions
	debug                    bool
	passwordSet, usernameSet bool
}

// addTo declares the flags on cmd; topicHelp describes -t, which differs from command to command.
func (o *options) addTo(cmd *cobra.Command, topicHelp string) {
	f := cmd.Flags()
	f.StringVarP(&o.host, "host", "h", "localhost", "broker's host name or address")
	f.Uint16VarP(&o.port, "port", "p", 0, "broker's port (default 1883, with TLS 8883, WebSocket 80 or 443)")
	f.StringVar(&o.unix, "unix", "", "connect to this unix domain socket instead of a host")
	f.StringVarP(&o.bind, "bind", "A", "", "local address to connect from")
	f.StringVarP(&o.url, "url", "L", "", "everything at once: mqtt[s]://[user[:password]@]host[:port][/topic] or ws[s]://[user[:password]@]host[:port]/path (percent-encode special characters of user and password)")
	f.BoolVar(&o.websocket, "ws", false, "connect by WebSocket, path /mqtt (for another path use -L ws://…)")
	f.StringVarP(&o.version, "protocol-version", "V", "5", "MQTT version: 5, 3.1.1 or 3.1 (also mqttv5, mqttv311, 311, …)")
	f.StringVarP(&o.id, "id", "i", "", "Client Identifier (default: given by the broker; generated for MQTT 3.x)")
	f.StringVarP(&o.idPrefix, "id-prefix", "I", "", "Client Identifier = this prefix and the process id")
	f.BoolVarP(&o.keep, "disable-clean-session", "c", false, "keep the session between connections (needs -i)")
	f.StringVarP(&o.expiry, "session-expiry-interval", "x", "", "Session Expiry Interval in seconds; -1 or ∞ = never (default 0, with -c never; MQTT 5)")
	f.StringVarP(&o.username, "username", "u", "", "user name")
	f.StringVarP(&o.password, "pw", "P", "", "password")
	f.Uint16VarP(&o.keepAlive, "keepalive", "k", 60, "Keep Alive in seconds, 0 = none")
	f.Uint8VarP(&o.qos, "qos", "q", 0, "Quality of Service: 0, 1 or 2")
	f.StringArrayVarP(&o.topics, "topic", "t", nil, topicHelp)
	f.StringArrayVarP(&o.properties, "property", "D", nil, "MQTT 5 property, repeatable: -D COMMAND NAME VALUE, or -D COMMAND user-property KEY VALUE; as one quoted argument if the value starts with a dash")
	f.StringVar(&o.willTopic, "will-topic", "", "topic of the Will")
	f.StringVar(&o.willPayload, "will-payload", "", "payload of the Will (default empty)")
	f.Uint8Var(&o.willQoS, "will-qos", 0, "QoS of the Will")
	f.BoolVar(&o.willRetain, "will-retain", false, "make the Will a retained message")
	o.tls.addTo(f)
	f.BoolVarP(&o.debug, "debug", "d", false, "say on stderr which packets come and go")

	complete(cmd, "qos", "0", "1", "2")
	complete(cmd, "will-qos", "0", "1", "2")
	complete(cmd, "protocol-version", "5", "3.1.1", "3.1")
	complete(cmd, "tls-version", "tlsv1.3", "tlsv1.2", "tlsv1.1")
	complete(cmd, "property", "connect", "publish", "subscribe", "unsubscribe", "disconnect", "will", "auth")
}

// complete offers values for a flag in shell completion.
func complete(cmd *cobra.Command, flag string, values ...string) {
	fn := cobra.FixedCompletions(values, cobra.ShellCompDirectiveNoFileComp)
	if err := cmd.RegisterFlagCompletionFunc(flag, fn); err != nil {
		panic(err) // the flag was not declared: a mistake in this package
	}
}

// plan is what the flags amount to, checked.
type plan struct {
	version    byte
	target     target
	connect    *paho.Connect // as for MQTT 5; link3 takes from it what 3.x has
	qos        byte
	topics     []string
	properties properties
	debugf     func(format string, args ...any)
	unmatched  func() // told about messages that nobody gets, before they are settled; may be nil
}

// resolve checks the flags against each other. args are the positional arguments: the rest of every -D.
func (o *options) resolve(cmd *cobra.Command, args []string) (*plan, error) {
	o.passwordSet, o.usernameSet = cmd.Flags().Changed("pw"), cmd.Flags().Changed("username")
	p := &plan{qos: o.qos, topics: o.topics, debugf: func(string, ...any) {}}
	if o.debug {
		stderr := cmd.ErrOrStderr()
		p.debugf = func(format string, args ...any) { fmt.Fprintf(stderr, format+"\n", args...) }
	}
	var known bool
	if p.version, known = versionNames[strings.ToLower(o.version)]; !known {
		return nil, usagef("-V %s: no such MQTT version; use 5, 3.1.1 or 3.1", o.version)
	}
	if o.qos > 2 {
		return nil, usagef("-q %d: QoS is 0, 1 or 2", o.qos)
	}
	props, rest, err := parseProperties(o.properties, args)
	if err != nil {
		return nil, err
	}
	if len(rest) > 0 {
		return nil, usagef("unexpected argument %q (topics go behind -t, messages behind -m)", rest[0])
	}
	if len(o.properties) > 0 && p.version != mqtt5 {
		return nil, usagef("-D: properties need MQTT 5, but -V is %s", o.version)
	}
	p.properties = props
	if err := o.resolveTarget(p); err != nil {
		return nil, err
	}
	if p.connect, err = o.connectPacket(p); err != nil {
		return nil, err
	}
	return p, nil
}

// connectPacket builds CONNECT.
func (o *options) connectPacket(p *plan) (*paho.Connect, error) {
	c := &paho.Connect{
		KeepAlive:      o.keepAlive,
		CleanStart:     !o.keep,
		Username:       o.username,
		UsernameFlag:   o.usernameSet,
		Password:       []byte(o.password),
		PasswordFlag:   o.passwordSet,
		Properties:     &p.properties.connect,
		WillProperties: &p.properties.will,
	}
	if p.version != mqtt5 && o.passwordSet && !o.usernameSet {
		return nil, usagef("-P without -u: MQTT 3.x knows no password without a user name [MQTT-3.1.2-22]")
	}
	if err := o.identify(p.version, c); err != nil {
		return nil, err
	}
	if o.willTopic != "" {
		if err := topic.ValidNameString(o.willTopic); err != nil {
			return nil, usagef("--will-topic: %w", err)
		}
		if o.willQoS > 2 {
			return nil, usagef("--will-qos %d: QoS is 0, 1 or 2", o.willQoS)
		}
		c.WillMessage = &paho.WillMessage{Topic: o.willTopic, Payload: []byte(o.willPayload), QoS: o.willQoS, Retain: o.willRetain}
	} else if o.willPayload != "" || o.willRetain || o.willQoS != 0 {
		return nil, usagef("--will-payload, --will-qos and --will-retain need --will-topic")
	}
	return c, nil
}

// identify sets the Client Identifier and how long the session lives.
func (o *options) identify(version byte, c *paho.Connect) error {
	switch {
	case o.id != "" && o.idPrefix != "":
		return usagef("-i and -I exclude each other")
	case o.id != "":
		c.ClientID = o.id
	case o.idPrefix != "":
		c.ClientID = o.idPrefix + strconv.Itoa(os.Getpid())
	case o.keep:
		return usagef("-c keeps the session of a client, so it needs a Client Identifier: give -i")
	case version != mqtt5:
		// 23 characters: the most that every MQTT 3.1 server accepts.
		c.ClientID = "pb-" + rand.Text()[:20]
	}
	if o.expiry == "" {
		if o.keep && c.Properties.SessionExpiryInterval == nil {
			c.Properties.SessionExpiryInterval = paho.Uint32(neverExpires)
		}
		return nil
	}
	if version != mqtt5 {
		return usagef("-x needs MQTT 5, but -V is %s", o.version)
	}
	if o.expiry == "-1" || o.expiry == "∞" {
		c.Properties.SessionExpiryInterval = paho.Uint32(neverExpires)
	} else if seconds, err := strconv.ParseUint(o.expiry, 10, 32); err == nil {
		c.Properties.SessionExpiryInterval = paho.Uint32(uint32(seconds))
	} else {
		return usagef("-x %s: want seconds from 0 to 4294967295, -1 or ∞", o.expiry)
	}
	if *c.Properties.SessionExpiryInterval == neverExpires && c.ClientID == "" {
		return usagef("-x %s: a session that never expires needs a Client Identifier: give -i", o.expiry)
	}
	return nil
}

// resolveTarget finds out where to connect to.
func (o *options) resolveTarget(p *plan) error {
	t := target{network: "tcp"}
	host, port, useTLS := o.host, o.port, o.tls.wanted()
	if o.websocket {
		t.wsPath = "/mqtt"
	}
	if o.url != "" {
		u, err := parseURL(o.url)
		if err != nil {
			return usagef("-L %s: %w", redactURL(o.url), err)
		}
		host, t.wsPath = u.host, u.path
		if u.port != 0 {
			port = u.port
		}
		if u.topic != "" {
			p.topics = append(p.topics, u.topic)
		}
		if u.hasUser {
			o.username, o.usernameSet = u.user, true
		}
		if u.hasPassword {
			o.password, o.passwordSet = u.password, true
		}
		useTLS = useTLS || u.tls
	}
	if o.unix != "" {
		if o.url != "" || t.wsPath != "" || useTLS || o.bind != "" {
			return usagef("--unix goes with neither -L, -A, --ws nor TLS")
		}
		t.network, t.address = "unix", o.unix
		p.target = t
		return nil
	}
	// As mosquitto_pub does: the port reserved for it means TLS.
	useTLS = useTLS || port == 8883
	if port == 0 {
		port = defaultPort(t.wsPath != "", useTLS)
	}
	if o.bind != "" {
		var err error
		if t.bind, err = net.ResolveTCPAddr("tcp", net.JoinHostPort(o.bind, "0")); err != nil {
			return usagef("-A %s: no such address: %w", o.bind, innermost(err))
		}
	}
	t.address = net.JoinHostPort(host, strconv.Itoa(int(port)))
	if useTLS {
		var err error
		if t.tls, err = o.tls.config(host); err != nil {
			return usagef("%w", err)
		}
	}
	p.target = t
	return nil
}

func defaultPort(websocket, useTLS bool) uint16 {
	switch {
	case websocket && useTLS:
		return 443
	case websocket:
		return 80
	case useTLS:
		return 8883
	}
	return 1883
}
