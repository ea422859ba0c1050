package admin

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"time"

	"github.com/patchbay-mq/patchbay/cmd/patchbay/internal/config"
	"github.com/patchbay-mq/patchbay/pluginhost"
	"github.com/patchbay-mq/patchbay/sdk/proto/v1json"
)

// Plugins is what operators see and do of the plugin host: *pluginhost.Host.
type Plugins interface {
	List() []pluginhost.Info
	Detail(name string) (pluginhost.Detail, bool)
	Reload(ctx context.Context, name string) error
	Disable(ctx context.Context, name string) error
	Enable(ctx context.Context, name string) error
	Metrics(put func(pluginhost.Metric))
	ServeHTTP(w http.ResponseWriter, r *http.Request)
	IsPublic(path string) bool
	Tap(t pluginhost.Tap) (closed func(), err error)
}

var _ Plugins = (*pluginhost.Host)(nil)

// pluginDetail is the answer about one plugin: Detail with what it leaves out of its
// JSON, the manifest as protobuf-JSON, and the grants as a configuration has them.
type pluginDetail struct {
	pluginhost.Detail
	Manifest json.RawMessage `json:"manifest,omitempty"`
	Grants   json.RawMessage `json:"grants"`
}

type pluginRequest struct {
	Name string `json:"name"`
}

// pluginTimeout is for changes: starting a plugin, draining another.
const pluginTimeout = 50 * time.Second

func (s *Server) servePlugins(w http.ResponseWriter, _ *http.Request) *failure {
	l := newLines(w)
	if s.opts.Plugins != nil {
		for _, i := range s.opts.Plugins.List() {
			l.put(&i)
		}
	}
	l.end()
	return nil
}

func (s *Server) servePlugin(w http.ResponseWriter, r *http.Request) *failure {
	name := r.URL.Query().Get("name")
	if s.opts.Plugins == nil {
		return failf(http.StatusNotFound, "there is no plugin %q", name)
	}
	d, ok := s.opts.Plugins.Detail(name)
	if !ok {
		return failf(http.StatusNotFound, "there is no plugin %q; patchbay plugin list shows which there are", name)
	}
	out := pluginDetail{Detail: d, Grants: json.RawMessage(config.Grants(d.Grants).String())}
	if d.Manifest != nil {
		out.Manifest = v1json.AppendJSON(nil, d.Manifest)
	}
	return answer(w, http.StatusOK, out)
}

// servePluginChange makes the call that does something with one plugin, and answers
// with what has become of it.
func (s *Server) servePluginChange(what string, do func(Plugins, context.Context, string) error) func(http.ResponseWriter, *http.Request) *failure {
	return func(w http.ResponseWriter, r *http.Request) *failure {
		var p pluginRequest
		if err := body(w, r, &p); err != nil {
			return err
		}
		if s.opts.Plugins == nil {
			return failf(http.StatusNotFound, "there is no plugin %q", p.Name)
		}
		// Who stops waiting does not stop it half-way.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), pluginTimeout)
		defer cancel()
		err := do(s.opts.Plugins, ctx, p.Name)
		switch {
		case errors.Is(err, pluginhost.ErrNoPlugin):
			return failf(http.StatusNotFound, "%v", err)
		case err != nil:
			return failf(http.StatusUnprocessableEntity, "plugin %s: %v", p.Name, err)
		}
		s.log.Info("plugin "+what+" by an operator", "plugin", p.Name)
		d, _ := s.opts.Plugins.Detail(p.Name)
		return answer(w, http.StatusOK, d.Info)
	}
}

// pluginRoutes serves what plugins serve: behind the guard, but for what a plugin calls
// public where the operator allows that.
func (s *Server) pluginRoutes(g *guard) http.Handler {
	guarded := g.protect(s.opts.Plugins)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if s.opts.Plugins.IsPublic(r.URL.Path) {
			s.opts.Plugins.ServeHTTP(w, r)
			return
		}
		guarded.ServeHTTP(w, r)
	})
}
