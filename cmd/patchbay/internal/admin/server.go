package admin

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/patchbay-mq/patchbay/cmd/patchbay/internal/config"
	"github.com/patchbay-mq/patchbay/core/broker"
	"github.com/patchbay-mq/patchbay/core/store/disk"
)

// Options are what a Server works with.
type Options struct {
	Broker *broker.Broker
	// Config is a checked configuration; Start trusts it only as far as that it
	// looks again at who may reach the listener.
	Config config.Admin
	// DataDir is where the socket is by default; it is made if it is not there.
	DataDir string
	// Store is the durable store, nil with store: memory; StoreDir is its folder.
	Store    *disk.Store
	StoreDir string
	// Plugins is the plugin host; nil: there are no plugins.
	Plugins Plugins
	// Bans are what the broker keeps out; nil: it cannot.
	Bans Bans
	// Version of the program, for status and metrics.
	Version string
	// Reload reads and applies the configuration. It is called for one request at
	// a time; a signal handler's calls are the caller's to order. Nil: reload is
	// refused.
	Reload func() (ReloadResult, error)
	// Ready says why the broker cannot serve clients now; nil and a nil Ready are
	// ready.
	Ready func() error
	// Degraded says what does not work although clients are served, "" if all does.
	Degraded func() string
	// Logger gets what operators did (info) and trouble with the listeners.
	// Default: slog.Default.
	Logger *slog.Logger
}

// ReloadResult says what a reload changed, a line for each key.
type ReloadResult struct {
	Applied     []string `json:"applied"`
	NeedRestart []string `json:"need_restart"` // in effect at the next start only
}

// Server is the HTTP listener and the unix socket. Its methods are safe for
// concurrent use.
type Server struct {
	opts     Options
	log      *slog.Logger
	running  context.Context // ends when the shutdown begins
	mux      *http.ServeMux  // behind the guard
	reloadMu sync.Mutex

	http, api *http.Server // nil: off
	addr      net.Addr
	socket    string
	serving   sync.WaitGroup
}

// Limits of the HTTP servers. Nothing that is asked for here has a large header;
// a profile takes as long as its caller says, up to the write timeout.
const (
	headerTimeout  = 10 * time.Second
	readTimeout    = 30 * time.Second
	writeTimeout   = 2 * time.Minute
	idleTimeout    = 2 * time.Minute
	maxHeaderBytes = 16 << 10
	// maxQueryBytes is for the unix socket, where Client Identifier, Topic Filter
	// and namespace are in the URL, three bytes for one at worst.
	maxQueryBytes = 3 * 3 * 64 << 10
)

// Start opens the HTTP listener and the unix socket, as far as they are not off,
// and serves them until Close. When ctx ends, /readyz says that the broker is
// shutting down; all else goes on. Errors name the key and the address.
func Start(ctx context.Context, o Options) (*Server, error) {
	s := &Server{opts: o, log: o.Logger, running: ctx, mux: http.NewServeMux()}
	if s.log == nil {
		s.log = slog.Default()
	}
	if o.Config.Listen != "off" {
		if err := s.startHTTP(ctx); err != nil {
			return nil, err
		}
	}
	// One rule for where the socket is, for the broker and for its commands.
	where := config.Config{Admin: o.Config, DataDir: o.DataDir}
	if path := where.AdminSocket(); path != "" {
		if err := s.startSocket(ctx, path); err != nil {
			if s.http != nil {
				s.http.Close()
			}
			return nil, err
		}
	}
	return s, nil
}

func (s *Server) startHTTP(ctx context.Context) error {
	handler, err := s.publicHandler()
	if err != nil {
		return err
	}
	tlsConfig, err := tlsConfig(&s.opts.Config)
	if err != nil {
		return err
	}
	ln, err := listenTCP(ctx, &s.opts.Config)
	if err != nil {
		return err
	}
	s.addr = ln.Addr()
	s.http = s.newHTTPServer(handler)
	s.http.WriteTimeout = writeTimeout
	s.http.TLSConfig = tlsConfig
	s.serve("admin.listen", func() error {
		if tlsConfig != nil {
			return s.http.ServeTLS(ln, "", "")
		}
		return s.http.Serve(ln)
	})
	return nil
}

// startSocket sets no write timeout: whoever reads a list page by page in a pager
// may take an hour, holds no lock meanwhile, and is a user whom the socket trusts.
func (s *Server) startSocket(ctx context.Context, path string) error {
	ln, err := listenSocket(ctx, path)
	if err != nil {
		return fmt.Errorf("admin.socket: %w", err)
	}
	s.socket = path
	s.api = s.newHTTPServer(s.apiHandler())
	s.api.MaxHeaderBytes = maxQueryBytes
	s.serve("admin.socket", func() error { return s.api.Serve(ln) })
	return nil
}

func (s *Server) newHTTPServer(h http.Handler) *http.Server {
	return &http.Server{
		Handler:           h,
		ReadHeaderTimeout: headerTimeout, ReadTimeout: readTimeout, IdleTimeout: idleTimeout, MaxHeaderBytes: maxHeaderBytes,
		// Failed handshakes and the like: strangers cause them, so not louder.
		ErrorLog: slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
	}
}

func (s *Server) serve(key string, run func() error) {
	s.serving.Go(func() {
		if err := run(); !errors.Is(err, http.ErrServerClosed) {
			s.log.Error("listener for operators has ended", "key", key, "error", err)
		}
	})
}

// Addr is the address of the HTTP listener, nil if it is off.
func (s *Server) Addr() net.Addr { return s.addr }

// Socket is the path of the unix socket, "" if it is off.
func (s *Server) Socket() string { return s.socket }

// Handle mounts a handler on the HTTP listener, behind its guard, for good. Like
// http.ServeMux it panics if the pattern is not valid or conflicts with one that
// is there; /healthz, /readyz and /plugins/ are taken.
func (s *Server) Handle(pattern string, h http.Handler) { s.mux.Handle(pattern, h) }

// Close ends both listeners and removes the socket. Requests under way may finish
// until ctx ends; then they are cut off and the error of ctx is returned.
func (s *Server) Close(ctx context.Context) error {
	var all []error
	for _, h := range []*http.Server{s.http, s.api} {
		if h == nil {
			continue
		}
		err := h.Shutdown(ctx)
		if err != nil {
			h.Close()
		}
		all = append(all, err)
	}
	s.serving.Wait()
	return errors.Join(all...)
}

// degraded says what clients cannot do now, "" if nothing. A broker whose disk is
// full is ready all the same: taken out of service it would not get more space,
// and what is not stored (QoS 0, clean sessions, what was accepted before) is
// served as ever.
func (s *Server) degraded() string {
	if s.opts.Store != nil && s.opts.Store.Full() {
		return "the disk of data_dir is full"
	}
	if s.opts.Degraded != nil {
		return s.opts.Degraded()
	}
	return ""
}

// notReady says why clients cannot be served now.
func (s *Server) notReady() error {
	if s.running.Err() != nil {
		return errors.New("shutting down")
	}
	if s.opts.Ready != nil {
		return s.opts.Ready()
	}
	return nil
}
