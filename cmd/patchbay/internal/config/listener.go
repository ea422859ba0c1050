package config

import (
	"net"
	"strings"
)

// Listener is one place where clients connect.
type Listener struct {
	// MQTT over TCP: the address to listen on. ":1883" is every interface,
	// "127.0.0.1:1883" and "[::1]:1883" this machine only.
	TCP string `key:"tcp" unit:"host:port" check:"address"`

	// MQTT over TLS. Needs cert and key, or certificates.
	TLS string `key:"tls" example:":8883" unit:"host:port" check:"address"`

	// MQTT over WebSocket.
	WS string `key:"ws" example:":8083" unit:"host:port" check:"address"`

	// MQTT over WebSocket over TLS. Needs cert and key, or certificates.
	WSS string `key:"wss" example:":8084" unit:"host:port" check:"address"`

	// MQTT over a unix socket.
	Unix string `key:"unix" example:"patchbay.sock" unit:"path"`

	// Name in logs, metrics and commands. Empty: transport and address, as in
	// "tcp:1883".
	Name string `key:"name"`

	// Namespace of the clients that authentication does not put into one.
	// Client ids, topics and limits of a namespace are apart from all others.
	Namespace string `key:"namespace" check:"utf8"`

	// Connections over this listener. One more is closed at once.
	MaxConnections int `key:"max_connections" default:"0" min:"0" unit:"connections, 0 = no limit of its own"`

	// New connections that are taken; others wait in the system's queue.
	AcceptRate Rate `key:"accept_rate" default:"0/s" min:"0/s" unit:"0 = no limit"`

	// How many may come at once after a quiet time.
	AcceptBurst int `key:"accept_burst" default:"0" min:"0" unit:"connections, 0 = what the rate gives in one second"`

	// PROXY protocol (version 1 or 2) header of a load balancer, from which
	// the client's real address is taken. required: a connection without it is
	// closed.
	ProxyProtocol string `key:"proxy_protocol" default:"off" enum:"off|optional|required"`

	// Networks whose PROXY header is believed. Empty: anyone's.
	ProxyTrusted []string `key:"proxy_trusted" default:"" unit:"networks, as in [\"10.0.0.0/8\"]" check:"cidr"`

	// Time for the PROXY header, TLS and WebSocket handshakes together.
	HandshakeTimeout Duration `key:"handshake_timeout" default:"10s" min:"100ms" max:"10m"`

	// Whether clients may come without a user name, while no authentication
	// is configured. auto: only if the listener is on loopback or a unix
	// socket, or demands a client certificate. true: anyone who reaches this address may publish and read.
	AllowAnonymous string `key:"allow_anonymous" default:"auto" enum:"auto|true|false"`

	// Certificate chain.
	Cert string `key:"cert" example:"server.pem" unit:"path of a PEM file" only:"tls|wss" live:"true"`

	// Private key of cert.
	Key string `key:"key" example:"server.key" unit:"path of a PEM file" only:"tls|wss" live:"true"`

	// Further certificates: the one is used that is for the server name which
	// the client asks for (SNI); if none is, cert, or else the first.
	Certificates []Certificate `key:"certificates" example:"[{cert: other.pem, key: other.key}]" only:"tls|wss" live:"true"`

	// CAs whose client certificates are accepted.
	ClientCA string `key:"client_ca" unit:"path of a PEM file" only:"tls|wss" live:"true"`

	// Whether clients are asked for a certificate, or must have one.
	ClientCert string `key:"client_cert" default:"none" enum:"none|optional|required" only:"tls|wss" live:"true"`

	// Lists of client certificates that were revoked.
	CRL []string `key:"crl" default:"" unit:"paths of PEM or DER files" only:"tls|wss" live:"true"`

	// The oldest TLS version that is accepted.
	MinVersion string `key:"min_version" default:"1.2" enum:"1.2|1.3" only:"tls|wss"`

	// Cipher suites for TLS 1.2 by their IANA names; those of TLS 1.3 are
	// fixed. Empty: Go's choice, which is a good one.
	CipherSuites []string `key:"cipher_suites" default:"" unit:"names" check:"cipher_suite" only:"tls|wss"`

	// Take the user name from the client certificate's Common Name, not from
	// the CONNECT packet.
	UseIdentityAsUsername bool `key:"use_identity_as_username" default:"false" only:"tls|wss"`

	// Path of the WebSocket.
	Path string `key:"path" default:"/mqtt" unit:"URL path" check:"url_path" only:"ws|wss"`

	// Web pages that may connect, as scheme and host:
	// ["https://app.example.com"]. Empty: any.
	Origins []string `key:"origins" default:"" unit:"origins" check:"origin" only:"ws|wss"`

	// Refuse clients that do not ask for the WebSocket subprotocol mqtt, as the
	// specification demands of them.
	RequireSubprotocol bool `key:"require_subprotocol" default:"true" only:"ws|wss"`

	// Permissions of the socket file: who may connect.
	Mode string `key:"mode" default:"0660" unit:"octal" check:"mode" only:"unix"`
}

// Certificate is a certificate chain and its private key.
type Certificate struct {
	// Certificate chain.
	Cert string `key:"cert" unit:"path of a PEM file" check:"required"`

	// Private key of cert.
	Key string `key:"key" unit:"path of a PEM file" check:"required"`
}

// networks lists the transports, each with the field that holds its address.
func (l *Listener) networks() [5]struct{ network, address string } {
	return [5]struct{ network, address string }{
		{"tcp", l.TCP}, {"tls", l.TLS}, {"ws", l.WS}, {"wss", l.WSS}, {"unix", l.Unix},
	}
}

// Network returns the transport: "tcp", "tls", "ws", "wss" or "unix".
func (l *Listener) Network() string {
	for _, n := range l.networks() {
		if n.address != "" {
			return n.network
		}
	}
	return ""
}

// Address returns host:port, or the path of a unix socket.
func (l *Listener) Address() string {
	for _, n := range l.networks() {
		if n.address != "" {
			return n.address
		}
	}
	return ""
}

// Secure reports whether the transport is encrypted.
func (l *Listener) Secure() bool { return l.TLS != "" || l.WSS != "" }

// Local reports whether only this machine can reach the listener: a loopback
// address or a unix socket.
func (l *Listener) Local() bool { return l.Unix != "" || isLoopback(l.Address()) }

// KeyPairs returns cert and key, if given, followed by certificates.
func (l *Listener) KeyPairs() []Certificate {
	var pairs []Certificate
	if l.Cert != "" {
		pairs = append(pairs, Certificate{Cert: l.Cert, Key: l.Key})
	}
	return append(pairs, l.Certificates...)
}

// defaultName is the name of a listener that was given none: "tcp:1883",
// "ws:127.0.0.1:8083", "unix:/run/patchbay.sock".
func (l *Listener) defaultName() string {
	return l.Network() + ":" + strings.TrimPrefix(l.Address(), ":")
}

// isLoopback reports whether host:port is on loopback. A name other than
// localhost is not looked up: what it resolves to may change.
func isLoopback(address string) bool {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return false
	}
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}
