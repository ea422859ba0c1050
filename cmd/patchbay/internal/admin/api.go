package admin

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"

	"github.com/patchbay-mq/patchbay/core/topic"
)

// The calls of the unix socket. Client identifiers and topics travel in the query
// or the body, as they may contain anything, slashes and dots included. Lists are
// JSON lines; everything else is one JSON object, an error is {"error": …}.
const (
	pathStatus        = "/v1/status"
	pathReload        = "/v1/reload"
	pathClients       = "/v1/clients"      // ?namespace
	pathClient        = "/v1/clients/show" // ?namespace&id
	pathKick          = "/v1/clients/kick"
	pathTopics        = "/v1/topics"       // ?namespace&filter
	pathRetained      = "/v1/retained"     // ?namespace&filter
	pathRetainedGet   = "/v1/retained/get" // ?namespace&topic
	pathRetainedClear = "/v1/retained/clear"
	pathBans          = "/v1/bans" // ?namespace
	pathBanAdd        = "/v1/bans/add"
	pathBanRemove     = "/v1/bans/remove"
	pathPlugins       = "/v1/plugins"
	pathPlugin        = "/v1/plugins/info" // ?name
	pathBridges       = "/v1/bridges"
	pathPluginReload  = "/v1/plugins/reload"
	pathPluginDisable = "/v1/plugins/disable"
	pathPluginEnable  = "/v1/plugins/enable"
	pathQueues        = "/v1/plugins/queues"
	pathQueueRemove   = "/v1/plugins/queues/remove"
	pathPluginRecord  = "/v1/plugins/record" // ?point&topic&passwords
	// PathStore and the following are for `patchbay store`, which needs no broker
	// and calls one only when that has the folder open.
	PathStore       = "/v1/store"
	PathStoreExport = "/v1/store/export"
	PathStoreCheck  = "/v1/store/check"
)

// kickRequest and the following are the bodies of calls that change something.
type kickRequest struct {
	Namespace     string `json:"namespace"`
	ClientID      string `json:"client_id"`
	RemoveSession bool   `json:"remove_session"`
}

type clearRequest struct {
	Namespace string `json:"namespace"`
	Filter    string `json:"filter"`
}

type clearResult struct {
	Cleared int `json:"cleared"`
}

// failure is what goes wrong with a call, on its way to the command line.
type failure struct {
	status  int
	Message string `json:"error"`
	// ExitCode is that of the command, 0 for the usual one.
	ExitCode int `json:"exit_code,omitempty"`
}

func failf(status int, format string, args ...any) *failure {
	return &failure{status: status, Message: fmt.Sprintf(format, args...)}
}

// maxBody of a request: a Topic Filter and a Client Identifier of 64 KiB each,
// and what JSON makes of them at worst.
const maxBody = 2 * 6 * 64 << 10

func (s *Server) apiHandler() http.Handler {
	mux := http.NewServeMux()
	handle := func(pattern string, h func(http.ResponseWriter, *http.Request) *failure) {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			if f := h(w, r); f != nil {
				answer(w, f.status, f)
			}
		})
	}
	handle("GET "+pathStatus, func(w http.ResponseWriter, _ *http.Request) *failure { return answer(w, http.StatusOK, s.status()) })
	handle("POST "+pathReload, s.serveReload)
	handle("GET "+pathClients, s.serveClients)
	handle("GET "+pathClient, s.serveClient)
	handle("POST "+pathKick, s.serveKick)
	handle("GET "+pathTopics, s.serveTopics)
	handle("GET "+pathRetained, s.serveRetained)
	handle("GET "+pathRetainedGet, s.serveRetainedGet)
	handle("POST "+pathRetainedClear, s.serveRetainedClear)
	handle("GET "+pathBans, s.serveBans)
	handle("POST "+pathBanAdd, s.serveBanAdd)
	handle("POST "+pathBanRemove, s.serveBanRemove)
	handle("GET "+pathPlugins, s.servePlugins)
	handle("GET "+pathPlugin, s.servePlugin)
	handle("GET "+pathBridges, s.serveBridges)
	handle("POST "+pathPluginReload, s.servePluginChange("reloaded", Plugins.Reload))
	handle("POST "+pathPluginDisable, s.servePluginChange("disabled", Plugins.Disable))
	handle("POST "+pathPluginEnable, s.servePluginChange("enabled", Plugins.Enable))
	handle("GET "+pathQueues, s.serveQueues)
	handle("POST "+pathQueueRemove, s.serveQueueRemove)
	handle("GET "+pathPluginRecord, s.servePluginRecord)
	handle("GET "+PathStore, s.serveStore)
	handle("GET "+PathStoreExport, s.serveStoreExport)
	handle("GET "+PathStoreCheck, s.serveStoreCheck)
	handle("/", func(_ http.ResponseWriter, r *http.Request) *failure {
		return failf(http.StatusNotFound, "this broker has no call %s %s: is it of another version?", r.Method, r.URL.Path)
	})
	return mux
}

func answer(w http.ResponseWriter, status int, v any) *failure {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	// A caller that has gone needs no answer, so that this never fails.
	_ = e.Encode(v)
	return nil
}

// body reads the JSON object of a request.
func body(w http.ResponseWriter, r *http.Request, into any) *failure {
	d := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxBody))
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil {
		return failf(http.StatusBadRequest, "request body: %v", err)
	}
	return nil
}

// checkFilter checks a Topic Filter.
func checkFilter(filter string) *failure {
	if err := topic.ValidFilter(filter); err != nil {
		return usageFailure("%q is not a Topic Filter: %v", filter, err)
	}
	return nil
}

// usageFailure is for what the user of the command has to write differently.
func usageFailure(format string, args ...any) *failure {
	f := failf(http.StatusBadRequest, format, args...)
	f.ExitCode = exitUsage
	return f
}

// inNamespace returns whether a list is to have something of a namespace: all are
// wanted unless one is named.
func inNamespace(q url.Values) func(namespace string) bool {
	if !q.Has("namespace") {
		return func(string) bool { return true }
	}
	wanted := q.Get("namespace")
	return func(namespace string) bool { return namespace == wanted }
}

func (s *Server) serveReload(w http.ResponseWriter, _ *http.Request) *failure {
	if s.opts.Reload == nil {
		return failf(http.StatusNotImplemented, "this broker cannot reload its configuration")
	}
	s.reloadMu.Lock()
	defer s.reloadMu.Unlock()
	result, err := s.opts.Reload()
	if err != nil {
		f := failf(http.StatusUnprocessableEntity, "%v", err)
		var coded interface{ ExitCode() int }
		if errors.As(err, &coded) {
			f.ExitCode = coded.ExitCode()
		}
		return f
	}
	return answer(w, http.StatusOK, result)
}

func (s *Server) serveClient(w http.ResponseWriter, r *http.Request) *failure {
	q := r.URL.Query()
	info, ok := s.opts.Broker.Client(q.Get("namespace"), q.Get("id"))
	if !ok {
		return noSession(q.Get("namespace"), q.Get("id"))
	}
	return answer(w, http.StatusOK, info)
}

func noSession(namespace, clientID string) *failure {
	if namespace != "" {
		return failf(http.StatusNotFound, "there is no client %q in namespace %q", clientID, namespace)
	}
	return failf(http.StatusNotFound, "there is no client %q", clientID)
}

func (s *Server) serveKick(w http.ResponseWriter, r *http.Request) *failure {
	var k kickRequest
	if err := body(w, r, &k); err != nil {
		return err
	}
	if !s.opts.Broker.Kick(k.Namespace, k.ClientID, k.RemoveSession) {
		if _, ok := s.opts.Broker.Client(k.Namespace, k.ClientID); ok {
			return failf(http.StatusConflict, "client %q is not connected; --remove-session ends its session", k.ClientID)
		}
		return noSession(k.Namespace, k.ClientID)
	}
	s.log.Info("client kicked by an operator", "client", k.ClientID, "namespace", k.Namespace, "remove_session", k.RemoveSession)
	return answer(w, http.StatusOK, k)
}

func (s *Server) serveRetainedClear(w http.ResponseWriter, r *http.Request) *failure {
	var c clearRequest
	if err := body(w, r, &c); err != nil {
		return err
	}
	if err := checkFilter(c.Filter); err != nil {
		return err
	}
	n := s.opts.Broker.ClearRetained(c.Namespace, c.Filter)
	s.log.Info("retained messages cleared by an operator", "filter", c.Filter, "namespace", c.Namespace, "cleared", n)
	return answer(w, http.StatusOK, clearResult{n})
}
