package bridgekafka

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sasl/plain"
	"github.com/twmb/franz-go/pkg/sasl/scram"

	"github.com/patchbay-mq/patchbay/plugins/internal/bridge"
	"github.com/patchbay-mq/patchbay/sdk"
)

// work is a config at work: a producer for all routes, and a group for each source.
type work struct {
	p       *plugin
	c       *Config
	loops   loops
	monitor *monitor
	client  atomic.Pointer[kgo.Client] // writes, and is what the monitor asks with
	writing []kgo.Opt                  // of client
	common  []kgo.Opt                  // of all clients
	out     map[string]*outRoute
	in      []*source

	ctx    context.Context
	cancel context.CancelFunc
	done   sync.WaitGroup
}

// newWork makes a checked config ready; start begins.
func newWork(p *plugin, c *Config) (*work, error) {
	w := &work{p: p, c: c, out: map[string]*outRoute{}}
	w.loops = loops{off: c.Loops.Off, node: c.node(p.host), remote: c.Remote.Name, maxHops: int(c.Loops.MaxHops)}
	w.monitor = newMonitor(w.changed, c.Remote.SASL.Mechanism != "none")
	w.ctx, w.cancel = context.WithCancel(context.Background())
	var err error
	if w.common, err = w.options(); err != nil {
		return nil, err
	}
	records := 0
	for i := range c.Routes {
		r := &c.Routes[i]
		w.out[r.Name] = newOutRoute(w, r)
		records += 2 * int(r.BatchMessages)
	}
	w.writing = append(w.producer(records), w.common...)
	client, err := kgo.NewClient(w.writing...)
	if err != nil {
		return nil, sdk.NewProblem("/remote", err.Error())
	}
	w.client.Store(client)
	for i := range c.From {
		s := newSource(w, &c.From[i])
		if err := kgo.ValidateOpts(s.options()...); err != nil {
			client.Close()
			return nil, sdk.NewProblem(fmt.Sprintf("/from/%d", i), err.Error())
		}
		w.in = append(w.in, s)
	}
	return w, nil
}

// options are those of all clients.
func (w *work) options() ([]kgo.Opt, error) {
	r := &w.c.Remote
	id := r.ClientID
	if id == "" {
		id = w.c.node(w.p.host) + "-" + w.p.host.Name()
	}
	o := []kgo.Opt{
		kgo.ClientID(id), kgo.SoftwareNameAndVersion("patchbay", "1"), kgo.DisableClientMetrics(),
		kgo.DialTimeout(r.ConnectTimeout.Std()), kgo.RequestTimeoutOverhead(r.RequestTimeout.Std()),
		// Who leads a partition is asked again soon after a broker has gone.
		kgo.MetadataMinAge(500 * time.Millisecond), kgo.MetadataMaxAge(time.Minute),
		kgo.RetryBackoffFn(retryPause),
		kgo.WithLogger(logger{w.p.host.Logger()}),
	}
	var seeds []string
	for _, s := range r.Brokers {
		a, err := address(s)
		if err != nil {
			return nil, err
		}
		seeds = append(seeds, a)
	}
	o = append(o, kgo.SeedBrokers(seeds...))
	if r.TLS.Enabled {
		c, err := r.TLS.config()
		if err != nil {
			return nil, err
		}
		o = append(o, kgo.DialTLSConfig(c))
	}
	user, password := r.SASL.Username, r.SASL.Password
	switch r.SASL.Mechanism {
	case "plain":
		o = append(o, kgo.SASL(plain.Auth{User: user, Pass: password.Reveal()}.AsMechanism()))
	case "scram-sha-256":
		o = append(o, kgo.SASL(scram.Auth{User: user, Pass: password.Reveal()}.AsSha256Mechanism()))
	case "scram-sha-512":
		o = append(o, kgo.SASL(scram.Auth{User: user, Pass: password.Reveal()}.AsSha512Mechanism()))
	}
	return o, nil
}

// retryPause is how long the client waits before it asks again: not for long, since
// what has to wait for long waits in the broker.
func retryPause(failures int) time.Duration {
	b := bridge.Backoff{Min: 50 * time.Millisecond, Max: 2 * time.Second}
	pause := b.Next()
	for range min(failures-1, 8) {
		pause = b.Next()
	}
	return pause
}

// config reads the files of TLS. Errors are problems with pointers.
func (t *TLS) config() (*tls.Config, error) {
	if !t.Enabled {
		if *t != (TLS{}) {
			return nil, sdk.NewProblem("/remote/tls/enabled", "the other keys of tls need enabled: true")
		}
		return nil, nil
	}
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
	switch {
	case t.CertFile == "" && t.KeyFile == "":
		return c, nil
	case t.CertFile == "" || t.KeyFile == "":
		return nil, sdk.NewProblem("/remote/tls/cert_file", "a certificate needs its key: cert_file and cert_key_file belong together")
	}
	pair, err := tls.LoadX509KeyPair(t.CertFile, t.KeyFile)
	if err != nil {
		return nil, sdk.NewProblem("/remote/tls/cert_file", err.Error())
	}
	c.Certificates = []tls.Certificate{pair}
	return c, nil
}

// start begins, and does not wait for Kafka.
func (w *work) start() {
	w.done.Go(func() { w.monitor.run(w.ctx, &w.client) })
	for _, s := range w.in {
		w.done.Go(s.run)
	}
}

// renew puts another client in the place of one that has failed for good, as one does whose
// user may not write with idempotence: it would not find out that now he may. What the old one
// has fails, and comes again.
func (w *work) renew(failed *kgo.Client) {
	client, err := kgo.NewClient(w.writing...)
	if err != nil { // the options were good before
		w.p.host.Logger().Error("there is no new client", "error", err)
		return
	}
	if !w.client.CompareAndSwap(failed, client) {
		client.Close()
		return
	}
	failed.Close()
	if w.ctx.Err() != nil { // stop may have closed the one before
		client.Close()
	}
}

// stop leaves the groups and gives up what is being written: the host has it.
func (w *work) stop() {
	w.cancel()
	w.client.Load().Close()
	w.done.Wait()
}

// changed is told whether Kafka answers.
func (w *work) changed(s state) {
	log := w.p.host.Logger()
	if s.connected {
		log.Info("connected", "remote", w.c.Remote.Name, "brokers", strings.Join(w.c.Remote.Brokers, " "))
		return
	}
	log.Warn("Kafka does not answer", "remote", w.c.Remote.Name, "error", s.err)
}

// remotes describes the connections for the status: that of the cluster, and those of the
// groups that have trouble of their own.
func (w *work) remotes() []bridge.Remote {
	s, _ := w.monitor.now()
	list := []bridge.Remote{{
		Name: w.c.Remote.Name, Address: strings.Join(w.c.Remote.Brokers, ","), Connected: s.connected, Since: s.since, Error: s.err,
	}}
	for _, x := range w.in {
		list = append(list, x.remote())
	}
	return list
}

// logger has what the client says in the log of the plugin, for those who look for a fault:
// what matters to others is in the health and in the figures.
type logger struct{ log *sdk.Logger }

// Level implements kgo.Logger.
func (logger) Level() kgo.LogLevel { return kgo.LogLevelWarn }

// Log implements kgo.Logger.
func (l logger) Log(_ kgo.LogLevel, message string, pairs ...any) {
	l.log.Debug("franz-go: "+message, pairs...)
}

// errNotRunning is why nothing goes between two configs.
var errNotRunning = errors.New("the config is being changed")
