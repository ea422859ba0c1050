package services

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/patchbay-mq/patchbay/core/hook"
	"github.com/patchbay-mq/patchbay/core/packet"
	"github.com/patchbay-mq/patchbay/core/store"
	pluginv1 "github.com/patchbay-mq/patchbay/sdk/proto/v1"
)

func from(address string) net.Addr { return net.TCPAddrFromAddrPort(netip.MustParseAddrPort(address)) }

func TestBanFits(t *testing.T) {
	w := newWorld(t)
	client := hook.Client{ID: "c", Username: "u", Namespace: "n", Remote: from("192.0.2.7:1234")}
	v6 := client
	v6.Remote = from("[2001:db8::7]:1234")
	mapped := client
	mapped.Remote = from("[::ffff:192.0.2.7]:1234")
	local := client
	local.Remote = &net.UnixAddr{Name: "@", Net: "unix"}
	nobody := hook.Client{Namespace: "n"}
	for _, c := range []struct {
		ban    pluginv1.Ban
		client *hook.Client
		want   bool
	}{
		{pluginv1.Ban{ClientID: "c", Namespace: "n"}, &client, true},
		{pluginv1.Ban{ClientID: "c"}, &client, false},
		{pluginv1.Ban{ClientID: "c", AllNamespaces: true}, &client, true},
		{pluginv1.Ban{ClientID: "c", Username: "u", Address: "192.0.2.7", Namespace: "n"}, &client, true},
		{pluginv1.Ban{ClientID: "c", Username: "x", Namespace: "n"}, &client, false},
		{pluginv1.Ban{Username: "u", Namespace: "n"}, &client, true},
		{pluginv1.Ban{Username: "u", Namespace: "n"}, &nobody, false},
		{pluginv1.Ban{Username: "u", Address: "192.0.2.8", Namespace: "n"}, &client, false},
		{pluginv1.Ban{Address: "192.0.2.7", Namespace: "n"}, &client, true},
		{pluginv1.Ban{Address: "192.0.2.7", Namespace: "n"}, &mapped, true},
		{pluginv1.Ban{Address: "::ffff:192.0.2.7", Namespace: "n"}, &client, true},
		{pluginv1.Ban{Address: "::ffff:192.0.2.0/120", Namespace: "n"}, &client, true},
		{pluginv1.Ban{Address: "192.0.2.0/24", Namespace: "n"}, &client, true},
		{pluginv1.Ban{Address: "192.0.0.0/16", Namespace: "n"}, &client, true},
		{pluginv1.Ban{Address: "0.0.0.0/0", Namespace: "n"}, &client, true},
		{pluginv1.Ban{Address: "0.0.0.0/0", Namespace: "n"}, &v6, false},
		{pluginv1.Ban{Address: "::/0", Namespace: "n"}, &v6, true},
		{pluginv1.Ban{Address: "::/0", Namespace: "n"}, &client, false},
		{pluginv1.Ban{Address: "2001:db8::/64", Namespace: "n"}, &v6, true},
		{pluginv1.Ban{Address: "2001:db8::8", Namespace: "n"}, &v6, false},
		{pluginv1.Ban{Address: "0.0.0.0/0", Namespace: "n"}, &local, false},
		{pluginv1.Ban{Username: "u", Namespace: "n"}, &local, true},
	} {
		id, _, err := w.AddBan(&c.ban)
		if err != nil {
			t.Fatal(err)
		}
		if got := w.Check(c.client); (got != nil) != c.want || got != nil && got.ID != id {
			t.Errorf("%+v on %+v: got %v", &c.ban, c.client, got)
		}
		if found, err := w.RemoveBan(id); !found || err != nil {
			t.Errorf("removing: %v, %v", found, err)
		}
		if w.Any() || w.Check(c.client) != nil {
			t.Error("the ban is still there")
		}
	}
	for says, b := range map[string]*pluginv1.Ban{
		"needs client_id": {},
		"192.0.2.0/33":    {Address: "192.0.2.0/33"},
		"begins at":       {Address: "192.0.2.7/24"},
		"neither":         {Address: "example.com"},
		"neither an IP":   {Address: "fe80::1%eth0"},
		"::ffc0:0:0/90":   {Address: "::ffff:0:0/90"},
		"over already":    {ClientID: "c", ExpiresMs: 1},
		"UTF-8":           {ClientID: "\xff"},
		"U+0000":          {ClientID: "c", Reason: "\x00"},
	} {
		_, _, err := w.AddBan(b)
		wantCode(t, err, pluginv1.HostErrorCodeInvalid, says)
	}
}

func TestBanDisconnectsAndTellsOfChange(t *testing.T) {
	var changes []bool
	w := newWorld(t, func(o *Options) { o.BansChanged = func(is bool) { changes = append(changes, is) } })
	for i, c := range []hook.Client{
		{ID: "a", Username: "bad", Remote: from("192.0.2.1:1")}, {ID: "b", Username: "bad", Namespace: "n", Remote: from("192.0.2.2:1")},
		{ID: "c", Username: "good", Remote: from("192.0.2.3:1")}, {ID: "d", Username: "bad", Remote: from("192.0.2.4:1")},
	} {
		c.Connection = uint64(i + 1)
		w.broker.sessions = append(w.broker.sessions, hook.SessionInfo{Client: &c, Connected: c.ID != "d"})
	}
	s := w.plugin(t, grantsNamed("ban")...)
	out, err := s.BanAdd(t.Context(), &pluginv1.BanAddRequest{Ban: &pluginv1.Ban{Username: "bad", AllNamespaces: true, ID: "forged", AddedBy: "forged", AddedMs: 1}})
	if err != nil || out.Disconnected != 2 || out.ID == "forged" {
		t.Fatalf("got %+v, %v", out, err)
	}
	slices.SortFunc(w.broker.gone, func(a, b hook.DisconnectRequest) int { return int(a.Connection) - int(b.Connection) })
	want := hook.DisconnectRequest{Namespace: "n", ClientID: "b", Code: packet.AdministrativeAction, Reason: "banned", Connection: 2}
	if len(w.broker.gone) != 2 || w.broker.gone[1] != want {
		t.Errorf("asked %+v", w.broker.gone)
	}
	if b := w.Bans(); len(b) != 1 || b[0].AddedBy != "tester" || b[0].AddedMs < 2 || b[0].ID != out.ID {
		t.Errorf("bans: %+v", b)
	}
	_, _, _ = w.AddBan(&pluginv1.Ban{ClientID: "x"})
	if r, err := s.BanRemove(t.Context(), &pluginv1.BanRemoveRequest{ID: out.ID}); err != nil || !r.Found {
		t.Errorf("got %+v, %v", r, err)
	}
	if r, err := s.BanRemove(t.Context(), &pluginv1.BanRemoveRequest{ID: out.ID}); err != nil || r.Found {
		t.Errorf("a second time: %+v, %v", r, err)
	}
	if _, err := w.RemoveBan(w.Bans()[0].ID); err != nil {
		t.Error(err)
	}
	if !slices.Equal(changes, []bool{true, false}) {
		t.Errorf("told of %v", changes)
	}
}

func TestBansOutliveARestart(t *testing.T) {
	values := new(store.Memory).Values()
	use := func(o *Options) { o.Values = values }
	w := newWorld(t, use)
	s := w.with(t, Config{Name: "tester", Grants: []pluginv1.Grant{{Name: "ban", Namespaces: []string{"", "one"}}}}, &fakeInstance{})
	for _, b := range []*pluginv1.Ban{{ClientID: "a", Namespace: "one"}, {Username: "u", AllNamespaces: true, Namespace: "ignored"}} {
		if _, err := s.BanAdd(t.Context(), &pluginv1.BanAddRequest{Ban: b}); err != nil {
			t.Fatal(err)
		}
	}
	_, err := s.BanAdd(t.Context(), &pluginv1.BanAddRequest{Ban: &pluginv1.Ban{ClientID: "a", Namespace: "two"}})
	wantCode(t, err, pluginv1.HostErrorCodeDenied, `the namespace "two"`)
	if _, _, err := w.AddBan(&pluginv1.Ban{Username: "everywhere", AllNamespaces: true}); err != nil {
		t.Fatal(err)
	}
	if _, err := values.Set(banBucket, "damaged", []byte{9, 9}, 0); err != nil {
		t.Fatal(err)
	}
	told := false
	w = newWorld(t, use, func(o *Options) { o.BansChanged = func(is bool) { told = is } })
	if !told || len(w.Bans()) != 3 || w.log.count("cannot be read") != 1 {
		t.Fatalf("told %v, %d bans, %s", told, len(w.Bans()), w.log)
	}
	for _, c := range []struct {
		client hook.Client
		banned bool
	}{
		{hook.Client{ID: "a", Namespace: "one"}, true}, {hook.Client{ID: "a"}, false},
		// "All namespaces" are those that the grant covered.
		{hook.Client{Username: "u"}, true}, {hook.Client{Username: "u", Namespace: "one"}, true}, {hook.Client{Username: "u", Namespace: "two"}, false},
		{hook.Client{Username: "everywhere", Namespace: "two"}, true},
	} {
		if got := w.Check(&c.client) != nil; got != c.banned {
			t.Errorf("%+v: banned %v", &c.client, got)
		}
	}
	// Who may act in some namespaces sees and lifts what reaches no further.
	ids := map[string]string{}
	for _, b := range w.Bans() {
		ids[b.ClientID+b.Username] = b.ID
	}
	s = w.with(t, Config{Name: "other", Grants: []pluginv1.Grant{{Name: "ban", Namespaces: []string{"one"}}}}, &fakeInstance{})
	list, err := s.BanList(t.Context(), &pluginv1.BanListRequest{})
	if err != nil || len(list.Bans) != 1 || list.Bans[0].ClientID != "a" {
		t.Errorf("got %+v, %v", list, err)
	}
	for _, id := range []string{ids["u"], ids["everywhere"], "none"} {
		if out, err := s.BanRemove(t.Context(), &pluginv1.BanRemoveRequest{ID: id}); err != nil || out.Found {
			t.Errorf("lifted %s: %+v, %v", id, out, err)
		}
	}
}

func TestBanListPageByPage(t *testing.T) {
	w := newWorld(t)
	s := w.plugin(t, grantsNamed("ban")...)
	var want, got []string
	for i := range 25 {
		id, _, err := w.AddBan(&pluginv1.Ban{ClientID: fmt.Sprint(i)})
		if err != nil {
			t.Fatal(err)
		}
		want = append(want, id)
	}
	slices.Sort(want)
	in := &pluginv1.BanListRequest{PageSize: 10}
	for {
		out, err := s.BanList(t.Context(), in)
		if err != nil || len(out.Bans) > 10 {
			t.Fatal(err)
		}
		for i := range out.Bans {
			got = append(got, out.Bans[i].ID)
		}
		if in.Page = out.NextPage; in.Page == nil {
			break
		}
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestBansEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		changes := make(chan bool, 10)
		w := newWorld(t, func(o *Options) { o.BansChanged = func(is bool) { changes <- is } })
		in := func(d time.Duration) int64 { return time.Now().Add(d).UnixMilli() }
		for _, b := range []*pluginv1.Ban{{ClientID: "late", ExpiresMs: in(3 * time.Hour)}, {ClientID: "soon", ExpiresMs: in(time.Minute)}} {
			if _, _, err := w.AddBan(b); err != nil {
				t.Fatal(err)
			}
		}
		if w.Check(&hook.Client{ID: "soon"}) == nil || !<-changes {
			t.Error("not banned")
		}
		time.Sleep(time.Minute)
		if w.Check(&hook.Client{ID: "soon"}) != nil || w.Check(&hook.Client{ID: "late"}) == nil || len(w.Bans()) != 1 {
			t.Error("not over in time")
		}
		time.Sleep(3 * time.Hour)
		synctest.Wait()
		if w.Any() || len(w.Bans()) != 0 || len(changes) != 1 || <-changes {
			t.Error("the last ban has not gone")
		}
		if len(w.bans.byID) != 0 || len(w.bans.index.clients) != 0 {
			t.Error("memory is not given back")
		}
		w.Close()
	})
}

type brokenValues struct {
	Values
	err error
}

func (v brokenValues) Set(string, string, []byte, time.Duration) (uint64, error) { return 0, v.err }
func (v brokenValues) Delete(string, string) error                               { return v.err }

func TestBansNeedTheDisk(t *testing.T) {
	w := newWorld(t)
	s := w.plugin(t, grantsNamed("ban")...)
	id, _, err := w.AddBan(&pluginv1.Ban{ClientID: "kept"})
	if err != nil {
		t.Fatal(err)
	}
	w.o.Values = brokenValues{w.o.Values, store.ErrFull}
	_, err = s.BanAdd(t.Context(), &pluginv1.BanAddRequest{Ban: &pluginv1.Ban{ClientID: "c"}})
	wantCode(t, err, pluginv1.HostErrorCodeUnavailable, "the disk is full")
	_, err = s.BanRemove(t.Context(), &pluginv1.BanRemoveRequest{ID: id})
	wantCode(t, err, pluginv1.HostErrorCodeUnavailable, "the disk is full")
	if _, _, err := w.AddBan(&pluginv1.Ban{ClientID: "c"}); !errors.Is(err, store.ErrFull) {
		t.Errorf("an operator gets %v", err)
	}
	if len(w.Bans()) != 1 || w.Check(&hook.Client{ID: "kept"}) == nil {
		t.Error("what is not stored must not count, and the other way round")
	}
}

// The index is held against a walk through all bans.
func TestBanIndexAgainstNaive(t *testing.T) {
	rng := rand.New(rand.NewPCG(5, 6))
	pick := func(list ...string) string { return list[rng.IntN(len(list))] }
	x, all := newIndex(), []*ban{}
	for range 5000 {
		if len(all) > 0 && rng.IntN(3) == 0 {
			i := rng.IntN(len(all))
			x.remove(all[i])
			all = slices.Delete(all, i, i+1)
		} else {
			b := &ban{Ban: &pluginv1.Ban{
				ClientID: pick("", "", "a", "b"), Username: pick("", "", "u", "v"), Namespace: pick("", "n"), AllNamespaces: rng.IntN(3) == 0,
				Address: pick("", "10.0.0.0/8", "10.1.0.0/16", "10.1.1.1", "fc00::/7", "fd00::1"), ExpiresMs: int64(rng.IntN(3)) * 500,
			}}
			if b.check() == nil {
				x.add(b)
				all = append(all, b)
			}
		}
		c := &hook.Client{ID: pick("a", "b", "c"), Username: pick("", "u", "v", "w"), Namespace: pick("", "n", "m"),
			Remote: from(pick("10.1.1.1:1", "10.1.2.1:1", "10.2.2.2:1", "11.0.0.1:1", "[fd00::1]:1", "[fd00::2]:1", "[::1]:1"))}
		addr, now := addressOf(c.Remote), int64(rng.IntN(1200))
		want := slices.ContainsFunc(all, func(b *ban) bool { return b.fits(c, addr, now) })
		if got := x.find(c, addr, now); (got != nil) != want || got != nil && !got.fits(c, addr, now) {
			t.Fatalf("%+v: found %v, want one: %v", c, got, want)
		}
	}
	for _, b := range all {
		x.remove(b)
	}
	if len(x.clients)+len(x.usernames)+len(x.prefixes) != 0 || x.lengths != [2][129]int{} {
		t.Errorf("left over: %+v", x)
	}
}

func TestCheckAllocatesNothing(t *testing.T) {
	w := newWorld(t)
	c := &hook.Client{ID: "c", Username: "u", Remote: from("192.0.2.7:1234")}
	check := func() { w.Check(c) }
	if n := testing.AllocsPerRun(100, check); n != 0 {
		t.Errorf("%v allocations without bans", n)
	}
	for _, b := range []*pluginv1.Ban{{ClientID: "x"}, {Username: "u", Address: "10.0.0.0/8"}, {Address: "10.0.0.0/8"}, {Address: "fc00::/7"}} {
		if _, _, err := w.AddBan(b); err != nil {
			t.Fatal(err)
		}
	}
	if n := testing.AllocsPerRun(100, check); n != 0 {
		t.Errorf("%v allocations with bans", n)
	}
}

func FuzzBan(f *testing.F) {
	b := &ban{Ban: &pluginv1.Ban{ID: "1", ClientID: "c", Address: "10.0.0.0/8"}, reach: spaces{"", "n"}}
	f.Add(encodeBan(b), "10.1.2.3")
	f.Add([]byte{0}, "::1")
	f.Add([]byte{2, 1}, "192.0.2.0/24")
	f.Fuzz(func(t *testing.T, stored []byte, address string) {
		if b, err := decodeBan(stored); err == nil {
			again, err := decodeBan(encodeBan(b))
			if err != nil || !pluginv1.Equal(again.Ban, b.Ban) || !slices.Equal(again.reach, b.reach) || (again.reach == nil) != (b.reach == nil) {
				t.Fatalf("%+v became %+v, %v", b, again, err)
			}
		}
		p, err := parsePrefix(address)
		if err != nil {
			return
		}
		if !p.IsValid() || p != p.Masked() || p.Addr().Is4In6() || p.Addr().Zone() != "" {
			t.Fatalf("%q was read as %v", address, p)
		}
		x, one := newIndex(), &ban{Ban: &pluginv1.Ban{Address: address}, prefix: p}
		x.add(one)
		if x.find(&hook.Client{Remote: net.TCPAddrFromAddrPort(netip.AddrPortFrom(p.Addr(), 1))}, p.Addr(), 0) != one {
			t.Fatalf("%q does not fit its own first address", address)
		}
	})
}

func BenchmarkCheck(b *testing.B) {
	c := &hook.Client{ID: "c", Username: "u", Remote: from("192.0.2.7:1234")}
	for _, n := range []int{0, 10_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			w := newWorld(b)
			for i := range n {
				ban := &pluginv1.Ban{ClientID: fmt.Sprint("x", i)}
				switch i % 3 {
				case 1:
					ban = &pluginv1.Ban{Username: fmt.Sprint("x", i)}
				case 2:
					ban = &pluginv1.Ban{Address: fmt.Sprintf("10.%d.%d.0/%d", i>>8&255, i&255, 24+i%2*8)}
				}
				if _, _, err := w.AddBan(ban); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportAllocs()
			for b.Loop() {
				w.Check(c)
			}
		})
	}
}
