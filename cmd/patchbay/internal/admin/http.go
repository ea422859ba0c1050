package admin

import (
	"crypto/sha256"
	"crypto/subtle"
	"fmt"
	"net"
	"net/http"
	"net/http/pprof"
	"net/netip"
	"strings"
)

// publicHandler is what the HTTP listener serves: probes for everyone who can
// reach it, the rest behind the guard.
func (s *Server) publicHandler() (http.Handler, error) {
	metrics, err := metricsHandler(s.opts, s.log)
	if err != nil {
		return nil, err
	}
	s.mux.Handle("GET /metrics", metrics)
	if s.opts.Config.PProf {
		s.mux.HandleFunc("/debug/pprof/", pprof.Index)
		s.mux.HandleFunc("/debug/pprof/cmdline", pprof.Cmdline)
		s.mux.HandleFunc("/debug/pprof/profile", pprof.Profile)
		s.mux.HandleFunc("/debug/pprof/symbol", pprof.Symbol)
		s.mux.HandleFunc("/debug/pprof/trace", pprof.Trace)
	}
	g := newGuard(s.opts.Config.Token, s.opts.Config.ClientCA != "")
	public := http.NewServeMux()
	public.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { answerText(w, http.StatusOK, "ok") })
	public.HandleFunc("GET /readyz", func(w http.ResponseWriter, r *http.Request) {
		err := s.notReady()
		switch {
		case err == nil && s.degraded() != "" && g.refusal(r) == 0:
			answerText(w, http.StatusOK, "ready, degraded: "+s.degraded())
		case err == nil:
			answerText(w, http.StatusOK, "ready")
		case g.refusal(r) == 0:
			answerText(w, http.StatusServiceUnavailable, "not ready: "+err.Error())
		default:
			// Probes rarely carry a token; the reason is for those who do.
			answerText(w, http.StatusServiceUnavailable, "not ready")
		}
	})
	if s.opts.Plugins != nil {
		public.Handle("/plugins/", s.pluginRoutes(g))
	}
	public.Handle("/", g.protect(s.mux))
	return public, nil
}

func answerText(w http.ResponseWriter, status int, text string) {
	h := w.Header()
	h.Set("Content-Type", "text/plain; charset=utf-8")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	fmt.Fprintln(w, text)
}

// guard decides who may use the HTTP listener.
type guard struct {
	// token is hashed, so that a comparison tells nothing of its length either.
	token    [sha256.Size]byte
	hasToken bool
	// byAddress: nothing but the loopback address protects the listener.
	byAddress bool
}

func newGuard(token string, certificates bool) *guard {
	return &guard{token: sha256.Sum256([]byte(token)), hasToken: token != "", byAddress: token == "" && !certificates}
}

// refusal returns the status to refuse a request with, 0 to let it in. Client
// certificates have been checked by TLS before.
func (g *guard) refusal(r *http.Request) int {
	if g.hasToken {
		scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
		sum := sha256.Sum256([]byte(strings.TrimSpace(token)))
		if subtle.ConstantTimeCompare(sum[:], g.token[:]) != 1 || !strings.EqualFold(scheme, "Bearer") {
			return http.StatusUnauthorized
		}
	}
	if g.byAddress && !namesAddress(r.Host) {
		return http.StatusMisdirectedRequest
	}
	return 0
}

// namesAddress reports whether a Host header is an IP address or localhost. A web
// page can make its visitor's browser read from loopback by letting its own name
// resolve to 127.0.0.1, but then that name is in the header.
func namesAddress(host string) bool {
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	host = strings.Trim(host, "[]")
	_, err := netip.ParseAddr(host)
	return err == nil || strings.EqualFold(host, "localhost")
}

func (g *guard) protect(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch status := g.refusal(r); status {
		case 0:
			w.Header().Set("X-Content-Type-Options", "nosniff")
			next.ServeHTTP(w, r)
		case http.StatusUnauthorized:
			w.Header().Set("WWW-Authenticate", `Bearer realm="patchbay"`)
			answerText(w, status, "a token is needed: Authorization: Bearer TOKEN (admin.token)")
		default:
			answerText(w, status, "without admin.token this listener answers to an IP address or localhost only, not to "+fmt.Sprintf("%q", r.Host))
		}
	})
}
