package services

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/patchbay-mq/patchbay/core/hook"
	"github.com/patchbay-mq/patchbay/core/packet"
	pluginv1 "github.com/patchbay-mq/patchbay/sdk/proto/v1"
)

const (
	banBucket = "bans"
	// maxBans bounds the memory that bans take: some 500 bytes each.
	maxBans   = 100_000
	maxReason = 1024
)

// Any reports whether there are bans: one atomic load.
func (s *Services) Any() bool { return s.bans.any.Load() }

// Check returns a ban that keeps a client out, nil if there is none. It is to be asked
// before authentication with what the client claims, with what it has become after it, and once
// more when it is connected, since a ban may come in between. The ban is immutable. It
// allocates nothing, and without bans costs one atomic load.
func (s *Services) Check(c *hook.Client) *pluginv1.Ban {
	if !s.bans.any.Load() {
		return nil
	}
	s.bans.mu.RLock()
	defer s.bans.mu.RUnlock()
	if b := s.bans.index.find(c, addressOf(c.Remote), time.Now().UnixMilli()); b != nil {
		return b.Ban
	}
	return nil
}

// loadBans reads what is stored.
func (s *Services) loadBans() error {
	s.bans.changing.Lock()
	defer s.bans.changing.Unlock()
	s.bans.mu.Lock()
	s.bans.byID, s.bans.index = map[string]*ban{}, newIndex()
	now := time.Now().UnixMilli()
	err := s.o.Values.Scan(banBucket, "", func(id string, value []byte, _ uint64) bool {
		b, err := decodeBan(value)
		if err != nil {
			s.log.Error("a stored ban cannot be read and does not count", "id", id, "error", err)
			return true
		}
		if b.ExpiresMs == 0 || b.ExpiresMs > now {
			s.bans.byID[b.ID] = b
			s.bans.index.add(b)
			s.bans.sweep.plan(b.ExpiresMs, s.sweepBans)
		}
		return true
	})
	s.bans.mu.Unlock()
	if err != nil {
		return err
	}
	s.bansChanged()
	return nil
}

// bansChanged sets what depends on the bans in force. It is called with changing held.
func (s *Services) bansChanged() {
	x := &s.bans
	x.mu.Lock()
	is := len(x.byID) > 0
	was := x.any.Swap(is)
	x.mu.Unlock()
	if was != is && s.o.BansChanged != nil {
		s.o.BansChanged(is)
	}
}

// encodeBan writes a ban with its reach: the number of namespaces plus one, 0 for all, each
// with its length, and the Ban.
func encodeBan(b *ban) []byte {
	var out []byte
	if b.reach == nil {
		out = append(out, 0)
	} else {
		out = binary.AppendUvarint(out, uint64(len(b.reach))+1)
		for _, n := range b.reach {
			out = append(binary.AppendUvarint(out, uint64(len(n))), n...)
		}
	}
	return b.AppendTo(out)
}

var errStoredBan = errors.New("it is damaged")

func decodeBan(stored []byte) (*ban, error) {
	b := &ban{Ban: new(pluginv1.Ban)}
	n, size := binary.Uvarint(stored)
	if size <= 0 || n > uint64(len(stored)) {
		return nil, errStoredBan
	}
	stored = stored[size:]
	if n > 0 {
		b.reach = spaces{}
	}
	for range max(n, 1) - 1 {
		length, size := binary.Uvarint(stored)
		if size <= 0 || length > uint64(len(stored)-size) {
			return nil, errStoredBan
		}
		b.reach = append(b.reach, string(stored[size:size+int(length)]))
		stored = stored[size+int(length):]
	}
	if err := b.Unmarshal(slices.Clone(stored)); err != nil {
		return nil, err
	}
	return b, b.check()
}

// check checks what a ban says, and reads its address.
func (b *ban) check() (err error) {
	if b.Address != "" {
		if b.prefix, err = parsePrefix(b.Address); err != nil {
			return err
		}
	}
	for _, s := range []string{b.Namespace, b.ClientID, b.Username} {
		if len(s) > 65535 || !utf8.ValidString(s) {
			return invalid("a name is longer than 65,535 bytes, or not UTF-8")
		}
	}
	if b.ClientID == "" && b.Username == "" && b.Address == "" {
		return invalid("a ban needs client_id, username or address")
	}
	return checkReason(b.Reason)
}

// checkReason checks what goes out as a Reason String.
func checkReason(s string) error {
	if len(s) > maxReason {
		return fail(pluginv1.HostErrorCodeTooLarge, "the reason has %d bytes, and %d are allowed", len(s), maxReason)
	}
	if !utf8.ValidString(s) || strings.IndexByte(s, 0) >= 0 {
		return invalid("the reason is not UTF-8, or has U+0000")
	}
	return nil
}

// AddBan keeps clients out, as an operator: b.AddedBy and AllNamespaces are not bounded by
// a grant. It sets ID and AddedMs, and closes the connections of those that are in. Errors are
// *pluginv1.HostError, or what Values says.
func (s *Services) AddBan(b *pluginv1.Ban) (id string, disconnected int, err error) {
	return s.addBan(b, "", nil)
}

func (s *Services) addBan(in *pluginv1.Ban, by string, reach spaces) (id string, disconnected int, err error) {
	b := &ban{Ban: new(pluginv1.Ban)}
	if err := b.Unmarshal(in.AppendTo(nil)); err != nil { // a copy; and builtin plugins are checked too
		return "", 0, invalid("ban: %v", err)
	}
	if err := b.check(); err != nil {
		return "", 0, err
	}
	if b.AllNamespaces {
		b.Namespace, b.reach = "", reach
	}
	now := time.Now().UnixMilli()
	b.AddedMs, b.AddedBy = now, by
	var ttl time.Duration
	if b.ExpiresMs != 0 {
		left := min(b.ExpiresMs-now, maxDelay.Milliseconds())
		if left <= 0 {
			return "", 0, invalid("expires_ms is over already")
		}
		ttl = time.Duration(left) * time.Millisecond
	}
	if err := s.storeBan(b, ttl); err != nil {
		return "", 0, err
	}
	return b.ID, s.disconnectBanned(b), nil
}

func (s *Services) storeBan(b *ban, ttl time.Duration) error {
	x := &s.bans
	x.changing.Lock()
	defer x.changing.Unlock()
	x.mu.RLock()
	n := len(x.byID)
	x.mu.RUnlock()
	if n >= maxBans {
		return fail(pluginv1.HostErrorCodeLimit, "there are %d bans already", n)
	}
	b.ID = x.newID(b.AddedMs)
	if _, err := s.o.Values.Set(banBucket, b.ID, encodeBan(b), ttl); err != nil {
		return err
	}
	x.mu.Lock()
	x.byID[b.ID] = b
	x.index.add(b)
	x.sweep.plan(b.ExpiresMs, s.sweepBans)
	x.mu.Unlock()
	s.bansChanged()
	return nil
}

// newID makes an id; ids sort by time, and those of one millisecond in the order in which they
// were made. It is called with changing held.
func (x *bans) newID(now int64) string {
	x.newest = max(x.newest+1, uint64(now)<<16)
	var b [14]byte
	binary.BigEndian.PutUint64(b[:], x.newest)
	rand.Read(b[8:])
	return hex.EncodeToString(b[:])
}

// disconnectBanned closes the connections that a new ban fits. 0x8A (Banned) is for
// CONNACK alone [MQTT-3.14.2-1]; they get it when they come back.
func (s *Services) disconnectBanned(b *ban) int {
	var list []*hook.Client
	now := time.Now().UnixMilli()
	s.o.Broker.Sessions(b.Namespace, b.AllNamespaces, func(i hook.SessionInfo) bool {
		if i.Connected && b.fits(i.Client, addressOf(i.Client.Remote), now) {
			list = append(list, i.Client)
		}
		return true
	})
	n := 0
	for _, c := range list {
		if s.o.Broker.Disconnect(hook.DisconnectRequest{
			Namespace: c.Namespace, ClientID: c.ID, Code: packet.AdministrativeAction, Reason: cmp.Or(b.Reason, "banned"),
			Connection: c.Connection,
		}) {
			n++
		}
	}
	return n
}

// RemoveBan lifts a ban, and reports whether there was one.
func (s *Services) RemoveBan(id string) (bool, error) { return s.removeBan(id, nil) }

func (s *Services) removeBan(id string, reach spaces) (bool, error) {
	x := &s.bans
	x.changing.Lock()
	defer x.changing.Unlock()
	x.mu.RLock()
	b := x.byID[id]
	x.mu.RUnlock()
	if b == nil || !b.within(reach) {
		return false, nil
	}
	if err := s.o.Values.Delete(banBucket, id); err != nil {
		return false, err
	}
	s.dropBans([]*ban{b})
	return true, nil
}

// dropBans forgets bans that are stored no more. It is called with changing held.
func (s *Services) dropBans(list []*ban) {
	x := &s.bans
	x.mu.Lock()
	for _, b := range list {
		delete(x.byID, b.ID)
		x.index.remove(b)
	}
	x.mu.Unlock()
	s.bansChanged()
}

// Bans returns all bans in force, the oldest first. They are immutable.
func (s *Services) Bans() []*pluginv1.Ban {
	var out []*pluginv1.Ban
	for _, b := range s.listBans(nil, "") {
		out = append(out, b.Ban)
	}
	return out
}

// listBans returns those that lie within some namespaces and come after an id.
func (s *Services) listBans(reach spaces, after string) []*ban {
	now := time.Now().UnixMilli()
	s.bans.mu.RLock()
	var list []*ban
	for id, b := range s.bans.byID {
		if id > after && b.within(reach) && (b.ExpiresMs == 0 || now < b.ExpiresMs) {
			list = append(list, b)
		}
	}
	s.bans.mu.RUnlock()
	slices.SortFunc(list, func(a, b *ban) int { return cmp.Compare(a.ID, b.ID) })
	return list
}

// BanAdd implements v1host.Service.
func (s *Service) BanAdd(_ context.Context, in *pluginv1.BanAddRequest) (*pluginv1.BanAddResponse, error) {
	return serve(s, pluginv1.HostOpBanAdd, func() (*pluginv1.BanAddResponse, error) {
		if in.Ban == nil {
			return nil, invalid("ban is required")
		}
		if !in.Ban.AllNamespaces {
			if err := s.p.mayIn(grantBan, in.Ban.Namespace); err != nil {
				return nil, err
			}
		}
		id, n, err := s.p.s.addBan(in.Ban, s.p.name, s.p.given.Load().reach(grantBan))
		return &pluginv1.BanAddResponse{ID: id, Disconnected: uint32(n)}, err
	})
}

// BanRemove implements v1host.Service. A ban that reaches further than the grant is as if
// it was not there.
func (s *Service) BanRemove(_ context.Context, in *pluginv1.BanRemoveRequest) (*pluginv1.BanRemoveResponse, error) {
	return serve(s, pluginv1.HostOpBanRemove, func() (*pluginv1.BanRemoveResponse, error) {
		if in.ID == "" {
			return nil, invalid("id is required")
		}
		found, err := s.p.s.removeBan(in.ID, s.p.given.Load().reach(grantBan))
		return &pluginv1.BanRemoveResponse{Found: found}, err
	})
}

// BanList implements v1host.Service. Bans that reach further than the grant are left out.
func (s *Service) BanList(_ context.Context, in *pluginv1.BanListRequest) (*pluginv1.BanListResponse, error) {
	return serve(s, pluginv1.HostOpBanList, func() (*pluginv1.BanListResponse, error) {
		size, err := pageSize(in.PageSize)
		if err != nil {
			return nil, err
		}
		list, out := s.p.s.listBans(s.p.given.Load().reach(grantBan), string(in.Page)), &pluginv1.BanListResponse{}
		if n := fitting(min(len(list), size), func(i int) int { return list[i].Size() }); n < len(list) {
			list = list[:n]
			out.NextPage = []byte(list[n-1].ID)
		}
		out.Bans = make([]pluginv1.Ban, len(list))
		for i, b := range list {
			if err := out.Bans[i].Unmarshal(b.AppendTo(nil)); err != nil {
				return nil, err
			}
		}
		return out, nil
	})
}
