package admin

import (
	"errors"
	"net/http"
	"net/netip"
	"time"

	"github.com/patchbay-mq/patchbay/pluginhost/services"
	pluginv1 "github.com/patchbay-mq/patchbay/sdk/proto/v1"
)

// Bans is what operators do with those whom the broker keeps out: *services.Services.
type Bans interface {
	// AddBan keeps clients out, and closes the connections of those that are in.
	AddBan(b *pluginv1.Ban) (id string, disconnected int, err error)
	RemoveBan(id string) (bool, error)
	// Bans returns all that are in force, the oldest first.
	Bans() []*pluginv1.Ban
}

var _ Bans = (*services.Services)(nil)

// banLine is a ban: of clients that fit all that it names.
type banLine struct {
	ID       string `json:"id,omitempty"`
	ClientID string `json:"client_id,omitempty"`
	Username string `json:"username,omitempty"`
	Address  string `json:"address,omitempty"` // an IP address or a range of them
	// Namespace is absent if it is for all of them.
	Namespace *string   `json:"namespace,omitempty"`
	Reason    string    `json:"reason,omitempty"`
	Added     time.Time `json:"added,omitzero"`
	Expires   time.Time `json:"expires,omitzero"` // zero: never
	// AddedBy is the name of a plugin; absent for an operator.
	AddedBy string `json:"added_by,omitempty"`
	// Disconnected is how many connections were closed when it was added.
	Disconnected *int `json:"disconnected,omitempty"`
}

func lineOf(b *pluginv1.Ban) *banLine {
	l := &banLine{ID: b.ID, ClientID: b.ClientID, Username: b.Username, Address: b.Address, Reason: b.Reason, AddedBy: b.AddedBy}
	if !b.AllNamespaces {
		l.Namespace = &b.Namespace
	}
	l.Added = time.UnixMilli(b.AddedMs)
	if b.ExpiresMs != 0 {
		l.Expires = time.UnixMilli(b.ExpiresMs)
	}
	return l
}

func (l *banLine) ban() *pluginv1.Ban {
	b := &pluginv1.Ban{ClientID: l.ClientID, Username: l.Username, Address: l.Address, Reason: l.Reason}
	if b.AllNamespaces = l.Namespace == nil; !b.AllNamespaces {
		b.Namespace = *l.Namespace
	}
	if !l.Expires.IsZero() {
		b.ExpiresMs = l.Expires.UnixMilli()
	}
	return b
}

// names reports whether a ban is of exactly those whom l names.
func (l *banLine) names(b *pluginv1.Ban) bool {
	return l.ClientID == b.ClientID && l.Username == b.Username && prefix(l.Address) == prefix(b.Address) &&
		(l.Namespace == nil || !b.AllNamespaces && *l.Namespace == b.Namespace)
}

// prefix is an address or a range, however it is written; an invalid one for what is
// neither.
func prefix(address string) netip.Prefix {
	if p, err := netip.ParsePrefix(address); err == nil {
		return p
	}
	a, err := netip.ParseAddr(address)
	if err != nil {
		return netip.Prefix{}
	}
	a = a.Unmap()
	return netip.PrefixFrom(a, a.BitLen())
}

// banRemoval says which bans are to go: those with an id, or those that name exactly the
// same clients; a namespace only if it is given.
type banRemoval struct {
	IDs []string `json:"ids,omitempty"`
	banLine
}

type banRemoved struct {
	Removed []*banLine `json:"removed"`
}

func (s *Server) serveBans(w http.ResponseWriter, r *http.Request) *failure {
	wanted := inNamespace(r.URL.Query())
	l := newLines(w)
	if s.opts.Bans != nil {
		for _, b := range s.opts.Bans.Bans() {
			if b.AllNamespaces || wanted(b.Namespace) {
				l.put(lineOf(b))
			}
		}
	}
	l.end()
	return nil
}

var errNoBans = failf(http.StatusNotImplemented, "this broker keeps no bans")

func (s *Server) serveBanAdd(w http.ResponseWriter, r *http.Request) *failure {
	var in banLine
	if err := body(w, r, &in); err != nil {
		return err
	}
	if s.opts.Bans == nil {
		return errNoBans
	}
	b := in.ban()
	id, n, err := s.opts.Bans.AddBan(b)
	if err != nil {
		return banFailure(err)
	}
	s.log.Warn("ban added by an operator", "id", id, "client", b.ClientID, "username", b.Username, "address", b.Address,
		"namespace", b.Namespace, "all_namespaces", b.AllNamespaces, "reason", b.Reason, "disconnected", n)
	in.ID, in.Added, in.Disconnected = id, time.Now(), &n
	return answer(w, http.StatusOK, &in)
}

// banFailure tells what an operator has to write differently from what has gone wrong.
func banFailure(err error) *failure {
	var e *pluginv1.HostError
	if !errors.As(err, &e) {
		return failf(http.StatusInternalServerError, "%v", err)
	}
	if e.Code == pluginv1.HostErrorCodeInvalid || e.Code == pluginv1.HostErrorCodeTooLarge {
		return usageFailure("%s", e.Message)
	}
	return failf(http.StatusUnprocessableEntity, "%s", e.Message)
}

func (s *Server) serveBanRemove(w http.ResponseWriter, r *http.Request) *failure {
	var in banRemoval
	if err := body(w, r, &in); err != nil {
		return err
	}
	if s.opts.Bans == nil {
		return errNoBans
	}
	byID := map[string]*pluginv1.Ban{}
	var found []*pluginv1.Ban
	for _, b := range s.opts.Bans.Bans() {
		byID[b.ID] = b
		if len(in.IDs) == 0 && in.names(b) {
			found = append(found, b)
		}
	}
	for _, id := range in.IDs {
		b := byID[id]
		if b == nil {
			return failf(http.StatusNotFound, "there is no ban %q; patchbay ban list shows which there are", id)
		}
		found = append(found, b)
	}
	if len(found) == 0 {
		return failf(http.StatusNotFound, "there is no such ban; patchbay ban list shows which there are")
	}
	out := banRemoved{Removed: []*banLine{}}
	for _, b := range found {
		gone, err := s.opts.Bans.RemoveBan(b.ID)
		if err != nil {
			return failf(http.StatusInternalServerError, "%d of %d bans removed: ban %s: %v", len(out.Removed), len(found), b.ID, err)
		}
		if gone { // else it has just ended
			s.log.Warn("ban removed by an operator", "id", b.ID, "client", b.ClientID, "username", b.Username, "address", b.Address)
			out.Removed = append(out.Removed, lineOf(b))
		}
	}
	return answer(w, http.StatusOK, &out)
}
