package bridgemqtt

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/patchbay-mq/patchbay/plugins/bridgemqtt/internal/mqtt"
	"github.com/patchbay-mq/patchbay/plugins/internal/bridge"
	"github.com/patchbay-mq/patchbay/plugins/internal/template"
	"github.com/patchbay-mq/patchbay/sdk"
)

// work is a config at work: a connection with its routes.
type work struct {
	p     *plugin
	c     *Config
	loops loops
	link  *mqtt.Link
	out   map[string]*outRoute
	in    []*inRoute
	echo  *echo // nil: there is nothing to come back

	subscriptions []string // filters at the remote broker
	refused       atomic.Pointer[string]
	failed        atomic.Bool // a connection could not be made, and that was said

	ctx    context.Context
	cancel context.CancelFunc
	done   sync.WaitGroup
}

// inRoute is a route from the remote broker.
type inRoute struct {
	*Route
	filters []string // at the remote broker
	scope   template.Scope
}

// newWork makes a checked config ready; start begins.
func newWork(p *plugin, c *Config) (*work, error) {
	w := &work{p: p, c: c, out: map[string]*outRoute{}}
	w.loops = loops{off: c.Loops.Off, node: c.node(p.host), remote: c.Remote.Name, maxHops: c.Loops.MaxHops}
	w.ctx, w.cancel = context.WithCancel(context.Background())
	var subs []mqtt.Subscription
	qos2 := false
	for i := range c.Routes {
		r := &c.Routes[i]
		if r.out() {
			w.out[r.Name] = newOutRoute(w, r)
			qos2 = qos2 || r.QoS == 2
		}
		if r.in() {
			in := &inRoute{Route: r, scope: template.Scope{Plugin: p.host.Name(), Route: r.Name, Node: p.host.Info().Node, Codec: template.Raw}}
			for _, f := range r.Filters {
				in.filters = append(in.filters, r.RemotePrefix+f)
				s := mqtt.Subscription{Filter: r.RemotePrefix + f, QoS: byte(r.QoS), NoLocal: true, RetainAsPublished: true, RetainHandling: 2}
				if r.SyncRetained {
					s.RetainHandling = 0
				}
				subs = append(subs, s)
				w.subscriptions = append(w.subscriptions, s.Filter)
			}
			w.in = append(w.in, in)
		}
	}
	if len(w.in) > 0 && len(w.out) > 0 {
		w.echo = newEcho()
	}
	o, err := w.options(subs, qos2)
	if err != nil {
		return nil, err
	}
	if w.echo != nil {
		o.Sending = w.sending
	}
	w.link = mqtt.New(*o)
	return w, nil
}

func (w *work) options(subs []mqtt.Subscription, qos2 bool) (*mqtt.Options, error) {
	r := &w.c.Remote
	o := &mqtt.Options{
		ClientID: r.ClientID, Username: r.Username, CleanStart: r.CleanStart, KeepAlive: r.KeepAlive.Std(), ConnectTimeout: r.ConnectTimeout.Std(),
		ReceiveMaximum: r.ReceiveMaximum, MaxInflight: r.MaxInflight, MaxPacket: uint32(r.MaxPacket), Header: http.Header{},
		Subscribe: subs, Unsubscribe: w.stale(), QoS2: qos2, RetryMin: r.RetryMin.Std(), RetryMax: r.RetryMax.Std(), Failback: r.Failback.Std(),
		SessionExpiry: uint32(r.SessionExpiry.Std() / time.Second), Bridge: true, Changed: w.changed, Refused: w.subscriptionRefused,
	}
	if secret := r.Password.Reveal(); secret != "" {
		o.Password, o.HasPassword = []byte(secret), true
	}
	if o.ClientID == "" {
		o.ClientID = w.c.node(w.p.host) + "-" + w.p.host.Name()
	}
	for name, value := range r.Headers {
		o.Header.Set(name, value)
	}
	switch r.Version {
	case "5":
		o.Versions = []mqtt.Version{mqtt.V5}
	case "3.1.1":
		o.Versions = []mqtt.Version{mqtt.V311}
	default:
		o.Versions = []mqtt.Version{mqtt.V5, mqtt.V311}
	}
	for _, s := range r.Servers {
		server, err := mqtt.ParseServer(s)
		if err != nil {
			return nil, err
		}
		o.Servers = append(o.Servers, server)
	}
	if r.StatusTopic != "" {
		o.Will = &mqtt.Message{Topic: r.StatusTopic, Payload: []byte("0"), QoS: 1, Retain: true}
		o.Birth = &mqtt.Message{Topic: r.StatusTopic, Payload: []byte("1"), QoS: 1, Retain: true}
	}
	var err error
	o.TLS, err = r.TLS.config()
	return o, err
}

// config reads the files of TLS. Errors are problems with pointers.
func (t *TLS) config() (*tls.Config, error) {
	c := &tls.Config{ServerName: t.ServerName, InsecureSkipVerify: t.InsecureSkipVerify, MinVersion: tls.VersionTLS12}
	if t.CAFile != "" {
		pem, err := os.ReadFile(t.CAFile)
		if err != nil {
			return nil, sdk.NewProblem("/remote/tls/ca_file", err.Error())
		}
		c.RootCAs = x509.NewCertPool()
		if !c.RootCAs.AppendCertsFromPEM(pem) {
			return nil, sdk.NewProblem("/remote/tls/ca_file", t.CAFile+" has no certificate in PEM")
		}
	}
	if (t.CertFile == "") != (t.KeyFile == "") {
		return nil, sdk.NewProblem("/remote/tls/cert_file", "a certificate needs its key: cert_file and cert_key_file belong together")
	}
	if t.CertFile != "" {
		pair, err := tls.LoadX509KeyPair(t.CertFile, t.KeyFile)
		if err != nil {
			return nil, sdk.NewProblem("/remote/tls/cert_file", err.Error())
		}
		c.Certificates = []tls.Certificate{pair}
	}
	return c, nil
}

// start connects, and keeps at it until stop.
func (w *work) start() {
	w.done.Go(func() { w.link.Run(w.ctx) })
	if len(w.in) > 0 {
		w.done.Go(w.receive)
	}
	for _, r := range w.out {
		if r.SyncRetained {
			w.done.Go(r.sync)
		}
	}
}

// stop disconnects.
func (w *work) stop() {
	w.cancel()
	w.done.Wait()
}

// sending notes what goes to a server that sends it back.
func (w *work) sending(m *mqtt.Message) {
	if w.inRouteOf(m.Topic) != nil {
		w.echo.send(m.Topic, m.Payload, time.Now())
	}
}

// changed is told of the connection.
func (w *work) changed(s mqtt.State) {
	log := w.p.host.Logger()
	switch was := w.p.connected.Swap(s.Connected); {
	case s.Connected:
		w.refused.Store(nil)
		w.remember()
		log.Info("connected", "remote", w.c.Remote.Name, "server", s.Server, "version", s.Version.String(), "session_present", s.Resumed)
	case was:
		log.Warn("the connection is lost", "remote", w.c.Remote.Name, "error", s.Err)
	case !w.failed.Swap(true): // once; Health says it from now on
		log.Warn("no connection yet", "remote", w.c.Remote.Name, "error", s.Err)
	}
}

func (w *work) subscriptionRefused(filter string, code byte) {
	text := fmt.Sprintf("the remote broker refuses the subscription %q (0x%02X)", filter, code)
	w.refused.Store(&text)
	w.p.host.Logger().Error("a subscription is refused", "remote", w.c.Remote.Name, "filter", filter, "reason_code", fmt.Sprintf("0x%02X", code))
}

// remotes describes the connection for the status.
func (w *work) remotes() []bridge.Remote {
	s, _ := w.link.State()
	r := bridge.Remote{Name: w.c.Remote.Name, Address: s.Server, Connected: s.Connected, Since: s.Since, Error: s.Err}
	if s.Connected {
		r.Address += " (MQTT " + s.Version.String() + ")"
		if text := w.refused.Load(); text != nil {
			r.Connected, r.Error = false, *text
		}
	}
	return []bridge.Remote{r}
}

// The file of the subscriptions that the session at the remote broker may have: filters
// that are configured no more have to be taken back there.
const subscriptionsFile = "subscriptions.json"

// stale are the filters that an earlier config has left behind.
func (w *work) stale() []string {
	var old struct {
		ClientID string   `json:"client_id"`
		Filters  []string `json:"filters"`
	}
	dir := w.p.host.StateDir()
	if dir == "" {
		return nil
	}
	text, err := os.ReadFile(filepath.Join(dir, subscriptionsFile))
	if err != nil || json.Unmarshal(text, &old) != nil || old.ClientID != w.c.Remote.ClientID {
		return nil
	}
	return slices.DeleteFunc(old.Filters, func(f string) bool { return slices.Contains(w.subscriptions, f) })
}

// remember notes the subscriptions for a config to come.
func (w *work) remember() {
	dir := w.p.host.StateDir()
	if dir == "" {
		return
	}
	text, err := json.Marshal(map[string]any{"client_id": w.c.Remote.ClientID, "filters": w.subscriptions})
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, subscriptionsFile), text, 0o600)
	}
	if err != nil {
		w.p.host.Logger().Warn("the subscriptions could not be noted: those that a later config takes back may stay", "error", err)
	}
}

// swap puts a prefix in the place of another; false if the topic does not begin with it.
func swap(topic, from, to string) (string, bool) {
	rest, ok := strings.CutPrefix(topic, from)
	return to + rest, ok
}

// errNotRunning is why nothing goes between two configs.
var errNotRunning = errors.New("the config is being changed")
