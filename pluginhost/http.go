package pluginhost

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"

	pluginv1 "github.com/patchbay-mq/patchbay/sdk/proto/v1"
)

const (
	// maxHTTPBody is the largest body that is handed to a plugin, maxHTTPAnswer the
	// largest that is taken from one.
	maxHTTPBody   = 1 << 20
	maxHTTPAnswer = 16 << 20
	// maxHTTPHeaders is how many headers the contract has room for.
	maxHTTPHeaders = 1024
)

// ServeHTTP hands requests below /plugins/NAME/ to the plugin of that name.
func (h *Host) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	name, path, ok := splitPath(r.URL.Path)
	if !ok {
		http.NotFound(w, r)
		return
	}
	p := h.find(name)
	if p == nil {
		http.Error(w, "there is no plugin "+name, http.StatusNotFound)
		return
	}
	in, ok := readHTTP(w, r, path)
	if !ok {
		return
	}
	g := p.gen.Load()
	if g == nil || !g.enter() {
		http.Error(w, "plugin "+name+" is not running", http.StatusServiceUnavailable)
		return
	}
	defer g.leave()
	route := findRoute(g.manifest.HTTPRoutes, path)
	switch {
	case route == nil:
		http.NotFound(w, r)
		return
	case !methodAllowed(route, r.Method):
		w.Header().Set("Allow", strings.Join(methodsOf(route), ", "))
		http.Error(w, "method not allowed", http.StatusMethodNotAllowed)
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), httpDeadline)
	defer cancel()
	out, err := inTime(ctx, func(ctx context.Context) (*pluginv1.HTTPResponse, error) { return g.inst.HTTP(ctx, in) })
	if err != nil {
		p.log.Warn("the plugin has not served a request", "path", path, "error", err)
		status := http.StatusBadGateway
		if errors.Is(err, context.DeadlineExceeded) {
			status = http.StatusGatewayTimeout
		}
		http.Error(w, "plugin "+name+" has failed", status)
		return
	}
	writeHTTP(w, out)
}

// readHTTP reads a request to be handed on, or answers it. The plugin is not held up
// by a client that sends slowly: it is asked afterwards.
func readHTTP(w http.ResponseWriter, r *http.Request, path string) (in *pluginv1.HTTPRequest, ok bool) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxHTTPBody))
	var large *http.MaxBytesError
	switch {
	case errors.As(err, &large):
		http.Error(w, "the request is larger than 1 MiB", http.StatusRequestEntityTooLarge)
		return nil, false
	case err != nil:
		http.Error(w, "the request cannot be read", http.StatusBadRequest)
		return nil, false
	}
	in = &pluginv1.HTTPRequest{
		Method: r.Method, Path: strings.ToValidUTF8(path, "\uFFFD"), Query: strings.ToValidUTF8(r.URL.RawQuery, "\uFFFD"), Body: body,
		DeadlineMs: uint32(httpDeadline.Milliseconds()),
	}
	if _, _, err := net.SplitHostPort(r.RemoteAddr); err == nil {
		in.RemoteAddress = r.RemoteAddr // else it is a unix socket
	}
	for key, values := range r.Header {
		if hiddenHeader(key) {
			continue
		}
		for _, v := range values {
			in.Headers = append(in.Headers, pluginv1.Pair{Name: strings.ToLower(key), Value: strings.ToValidUTF8(v, "\uFFFD")})
		}
	}
	if len(in.Headers) > maxHTTPHeaders {
		http.Error(w, "the request has too many headers", http.StatusRequestHeaderFieldsTooLarge)
		return nil, false
	}
	return in, true
}

// IsPublic reports whether a path below /plugins/ is a route that its plugin calls
// public, and its operator has allowed that.
func (h *Host) IsPublic(path string) bool {
	name, rest, ok := splitPath(path)
	if !ok {
		return false
	}
	p := h.find(name)
	if p == nil || !p.currentSpec().PublicRoutes {
		return false
	}
	g := p.gen.Load()
	if g == nil {
		return false
	}
	route := findRoute(g.manifest.HTTPRoutes, rest)
	return route != nil && route.Public
}

func splitPath(path string) (name, rest string, ok bool) {
	path, ok = strings.CutPrefix(path, "/plugins/")
	if !ok {
		return "", "", false
	}
	name, rest, ok = strings.Cut(path, "/")
	for part := range strings.SplitSeq(rest, "/") {
		// Below what route this is would be a matter of opinion.
		if part == "." || part == ".." {
			return "", "", false
		}
	}
	return name, rest, ok
}

// findRoute returns the longest route that fits, nil if none does.
func findRoute(routes []pluginv1.HTTPRoute, path string) *pluginv1.HTTPRoute {
	var best *pluginv1.HTTPRoute
	for i := range routes {
		r := &routes[i]
		fits := r.Path == path || strings.HasSuffix(r.Path, "/") && strings.HasPrefix(path, r.Path)
		if fits && (best == nil || len(r.Path) > len(best.Path)) {
			best = r
		}
	}
	return best
}

func methodsOf(r *pluginv1.HTTPRoute) []string {
	if len(r.Methods) == 0 {
		return []string{http.MethodGet, http.MethodHead}
	}
	return r.Methods
}

func methodAllowed(r *pluginv1.HTTPRoute, method string) bool {
	return slices.Contains(methodsOf(r), method)
}

// hiddenHeader tells headers that are between the client and the broker.
func hiddenHeader(key string) bool {
	switch key {
	case "Authorization", "Cookie", "Connection", "Keep-Alive", "Proxy-Authorization", "Te", "Trailer", "Transfer-Encoding", "Upgrade":
		return true
	}
	return false
}

func writeHTTP(w http.ResponseWriter, out *pluginv1.HTTPResponse) {
	status := int(out.Status)
	if status == 0 {
		status = http.StatusOK
	}
	if status < 200 || status > 599 {
		http.Error(w, fmt.Sprintf("the plugin has answered with status %d", status), http.StatusBadGateway)
		return
	}
	if len(out.Body) > maxHTTPAnswer {
		http.Error(w, "the plugin has answered with more than 16 MiB", http.StatusBadGateway)
		return
	}
	for _, x := range out.Headers {
		key := http.CanonicalHeaderKey(x.Name)
		if !hiddenHeader(key) && key != "Content-Length" && key != "Date" {
			w.Header().Add(key, x.Value)
		}
	}
	// A plugin's pages come from the admin listener: they must not be taken for what
	// their type does not say, nor load or be framed by what comes from elsewhere.
	w.Header().Set("X-Content-Type-Options", "nosniff")
	if w.Header().Get("Content-Security-Policy") == "" {
		w.Header().Set("Content-Security-Policy", "default-src 'self'; frame-ancestors 'none'")
	}
	w.WriteHeader(status)
	_, _ = w.Write(out.Body)
}
