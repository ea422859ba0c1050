package pluginhost

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"math"
	"strings"
	"time"

	"github.com/patchbay-mq/patchbay/core/access"
	"github.com/patchbay-mq/patchbay/core/hook"
	"github.com/patchbay-mq/patchbay/core/packet"
	"github.com/patchbay-mq/patchbay/pluginhost/internal/convert"
	pluginv1 "github.com/patchbay-mq/patchbay/sdk/proto/v1"
)

// exchange is what the host keeps between the steps of an enhanced authentication.
type exchange struct {
	plugin *plugin
	state  []byte
}

// authenticating is the work of Authenticate: one CONNECT or AUTH. After somebody has
// accepted the client, or if nobody decides who may connect, permitting goes on.
type authenticating struct {
	run
	request *hook.AuthRequest
	only    *plugin // the one that has challenged the client
	state   []byte
	asked   bool
	decided bool
	// decider says that somebody was on the list, or came in the place of one that was, who
	// does not only refuse.
	decider bool
	// permitted says that permissions came with the acceptance.
	permitted bool
}

// Authenticate asks who a client is, and then what it may do. It is part of hook.Host.
func (h *Host) Authenticate(r *hook.AuthRequest, done func()) bool {
	if h.banned(r.Client, &r.Result) {
		return true
	}
	w := &authenticating{request: r}
	hooks := h.table.Load().at(pluginv1.PointAuthenticate)
	if x, ok := r.State.(*exchange); ok && r.Step > 0 {
		w.only, w.state = x.plugin, x.state
	}
	h.tapped(w, pluginv1.PointAuthenticate)
	w.decider = decides(hooks)
	w.begin(h, w, hooks, done)
	return w.start()
}

// banned refuses a client that a ban fits.
func (h *Host) banned(c *hook.Client, res *hook.AuthResult) bool {
	ban := h.services.Check(c)
	if ban == nil {
		return false
	}
	*res = hook.AuthResult{Code: packet.Banned, Reason: ban.Reason}
	return true
}

// checkConnected looks again at a client whose ban may have come while it connected.
func (h *Host) checkConnected(c *hook.Client) {
	ban := h.services.Check(c)
	if ban == nil {
		return
	}
	r := hook.DisconnectRequest{
		Namespace: c.Namespace, ClientID: c.ID, Connection: c.Connection, Code: packet.AdministrativeAction, Reason: ban.Reason,
	}
	h.spawn(func() { h.o.Broker.Disconnect(r) })
}

func (w *authenticating) fill(c *call, from int) int {
	r, k := w.request, c.hook
	w.decider = w.decider || !k.onlyRefuses
	if from > 0 || w.only != nil && w.only != k.plugin || !k.inNamespace(namespaceOf(r.Client)) {
		return 1
	}
	w.asked = true
	e := c.add(0, r.Client)
	a := &c.auth
	*a = pluginv1.Authentication{
		Method: r.Method, Data: bytes.Clone(r.Data), Step: uint32(r.Step), State: w.state, Reauthentication: r.Reauthenticate,
	}
	if p := r.Connect; p != nil {
		a.HasUsername, a.HasPassword = p.HasUsername, p.HasPassword && !r.Reauthenticate
		if k.fields&pluginv1.FieldPassword != 0 && a.HasPassword {
			a.Password = bytes.Clone(p.Password) // a plugin that is late may read it when it is gone
		}
		if k.fields&pluginv1.FieldConnect != 0 {
			convert.Connect(&c.connect, p, k.fields)
			a.Connect = &c.connect
		}
	}
	e.Authentication = a
	return 1
}

func (w *authenticating) decide(c *call, _ int, v *pluginv1.Verdict) {
	r := w.request
	w.decided = true
	if v.Auth != nil && len(v.Auth.Data) > 0 {
		r.Result.AuthData = append([]byte(nil), v.Auth.Data...)
	}
	switch v.Action {
	case pluginv1.ActionAllow:
		r.Result.Accept = true
		if v.Auth != nil {
			w.permitted = v.Auth.HasPermissions
			accept(&r.Result, v.Auth)
		}
	case pluginv1.ActionChallenge:
		r.Result.Code = packet.ContinueAuthentication
		x := &exchange{plugin: c.hook.plugin}
		if v.Auth != nil {
			x.state = append([]byte(nil), v.Auth.State...)
		}
		r.State = x
	case pluginv1.ActionDeny:
		r.Result.Code, r.Result.Reason = codeOf(v, packet.NotAuthorized), reasonOf(v)
	case pluginv1.ActionDisconnect:
		r.Result.Code, r.Result.Reason = codeOf(v, packet.AdministrativeAction), reasonOf(v)
	}
}

// accept writes what an accepted client gets.
func accept(out *hook.AuthResult, in *pluginv1.AuthResult) {
	out.Username, out.ClientID, out.Namespace = strings.Clone(in.Username), strings.Clone(in.ClientID), strings.Clone(in.Namespace)
	out.CapSessionExpiry, out.MaxSessionExpiry = in.CapSessionExpiry, in.MaxSessionExpiryInterval
	out.ExpiresAt = in.ExpiresAtMs
	for _, a := range in.Attributes {
		if out.Attributes == nil {
			out.Attributes = make(map[string]string, len(in.Attributes))
		}
		out.Attributes[strings.Clone(a.Name)] = strings.Clone(a.Value)
	}
	if q := in.Quotas; q != nil {
		out.Quotas = &hook.Quotas{
			PublishRate: q.PublishRate, PublishBytesRate: q.PublishBytesRate, MaxSubscriptions: int(q.MaxSubscriptions),
			MaxInflight: int(q.MaxInflight), MaxQueued: int(q.MaxQueued), MaxQueuedBytes: int64(min(q.MaxQueuedBytes, math.MaxInt64)),
		}
	}
	if in.HasPermissions {
		out.Permissions = permissions(in.Permissions)
	}
}

// checkAuth checks what an accepted client is to get.
func checkAuth(a *pluginv1.AuthResult) error {
	for _, f := range [...]struct{ name, text string }{
		{"auth.username", a.Username}, {"auth.client_id", a.ClientID}, {"auth.namespace", a.Namespace},
	} {
		if err := checkText(f.name, f.text); err != nil {
			return err
		}
	}
	if q := a.Quotas; q != nil {
		for _, rate := range [...]float64{q.PublishRate, q.PublishBytesRate} {
			if math.IsNaN(rate) || math.IsInf(rate, 0) || rate < 0 {
				return fmt.Errorf("auth.quotas: a rate of %v", rate)
			}
		}
	}
	if len(a.Data) > maxString {
		return errors.New("auth.data is longer than 65,535 bytes")
	}
	if len(a.State) > maxString+1 {
		return errors.New("auth.state is longer than 64 KiB")
	}
	for i := range a.Permissions {
		p := &a.Permissions[i]
		if err := checkFilter(p.TopicFilter); err != nil {
			return fmt.Errorf("auth.permissions[%d]: %w", i, err)
		}
		if p.Actions&7 == 0 || p.Retain > pluginv1.RetainRuleNotRetained {
			return fmt.Errorf("auth.permissions[%d]: actions %d, retain %d", i, p.Actions, p.Retain)
		}
	}
	return nil
}

// permissions makes rules of what a plugin grants, from now on.
func permissions(list []pluginv1.Permission) *access.Permissions {
	now := time.Now().UnixMilli()
	rules := make([]access.Rule, 0, len(list))
	for _, p := range list {
		r := access.Rule{
			Allow: p.Allow, Actions: access.Action(p.Actions & 7), Filter: strings.Clone(p.TopicFilter), QoS: access.QoSSet(p.QoS & 7),
			Retain: access.RetainRule(p.Retain),
		}
		if p.TTLMs != 0 {
			r.Until = now + int64(min(p.TTLMs, 1<<50))
		}
		rules = append(rules, r)
	}
	return access.NewPermissions(rules)
}

func (w *authenticating) fail(c *call, _ int) {
	w.decided = true
	w.request.Result.Code, w.request.Result.Reason = packet.ImplementationSpecificError, failureReason(c.hook)
}

func (w *authenticating) settled() bool { return w.decided }

func (w *authenticating) finish() bool {
	r := w.request
	switch {
	case w.decided:
	case w.only != nil && !w.asked:
		r.Result.Code, r.Result.Reason = packet.NotAuthorized, "the plugin that has begun the authentication is gone"
	case w.decider:
		r.Result.Code = packet.NotAuthorized
	default:
		r.Result.Undecided = true
	}
	if !r.Result.Accept && !r.Result.Undecided {
		return true
	}
	client := w.decidedClient()
	if w.host.banned(client, &r.Result) || w.permitted {
		return true
	}
	return w.host.permit(client, &r.Result, w.done)
}

// decidedClient is the client as it is after its authentication.
func (w *authenticating) decidedClient() *hook.Client {
	c, res := *w.request.Client, &w.request.Result
	if res.Username != "" {
		c.Username = res.Username
	}
	if res.ClientID != "" {
		c.ID = res.ClientID
	}
	if res.Namespace != "" {
		c.Namespace = res.Namespace
	}
	if res.Attributes != nil {
		c.Attributes = maps.Clone(res.Attributes)
	}
	return &c
}
