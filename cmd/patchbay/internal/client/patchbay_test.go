package client

import (
	"context"
	"io/fs"
	"log/slog"
	"net"
	"path/filepath"
	"strconv"
	"time"

	"github.com/patchbay-mq/patchbay/core/access"
	server "github.com/patchbay-mq/patchbay/core/broker"
	"github.com/patchbay-mq/patchbay/core/hook"
	"github.com/patchbay-mq/patchbay/core/packet"
	"github.com/patchbay-mq/patchbay/core/transport"
)

// alice is the host that the listener with a password asks.
type alice struct{ hook.Host }

func (alice) Authenticate(r *hook.AuthRequest, _ func()) bool {
	switch {
	case r.Client.Listener != "password":
		r.Result.Accept = r.Method == ""
		r.Result.Code = packet.BadAuthenticationMethod
	case r.Client.Username == "alice" && string(r.Connect.Password) == "secret":
		r.Result.Accept = true
		r.Result.Permissions = access.NewPermissions([]access.Rule{
			{Allow: true, Actions: access.Publish, Filter: "ok/#"}, {Allow: true, Actions: access.Subscribe, Filter: "#"},
		})
	}
	return true
}

// startPatchbay starts this module's own broker in the test's process.
func startPatchbay(dir string) *broker {
	certs := writeCertificates(dir)
	b := &broker{unix: filepath.Join(dir, "patchbay.sock"), caFile: certs.ca}
	own, err := server.New(func(o *server.Options) {
		o.Logger = slog.New(slog.DiscardHandler)
		o.Session.MaxQueued = 100_000
	})
	must(err)
	own.Install(alice{}, hook.SetOf(hook.Authenticate))
	listen := func(c transport.ListenerConfig) string {
		if c.Address == "" {
			c.Address = "127.0.0.1:0"
		}
		l, err := own.Listen(server.Listener{Transport: c})
		must(err)
		if addr, ok := l.Addr().(*net.TCPAddr); ok {
			return strconv.Itoa(addr.Port)
		}
		return ""
	}
	b.port = listen(transport.ListenerConfig{Network: "tcp"})
	listen(transport.ListenerConfig{Network: "unix", Address: b.unix, UnixMode: fs.FileMode(0o600)})
	b.wsPort = listen(transport.ListenerConfig{Network: "ws", WebSocket: &transport.WSConfig{Path: "*"}})
	b.tlsPort = listen(transport.ListenerConfig{Network: "tls", TLS: &transport.TLSConfig{
		Certificates: []transport.CertFiles{{Cert: certs.cert, Key: certs.key}},
	}})
	b.passwordPort = listen(transport.ListenerConfig{Network: "tcp", Name: "password"})
	b.stop = func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		must(own.Close(ctx))
	}
	return b
}
