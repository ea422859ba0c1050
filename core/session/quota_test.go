package session

import "testing"

func TestQuotaTakesThePlaceOfLimits(t *testing.T) {
	for _, c := range []struct {
		quota      *Quota
		receiveMax uint16
		window     int
		queued     int
		bytes      int64
	}{
		{nil, 0, 20, 5, 1000},
		{nil, 7, 7, 5, 1000},
		{&Quota{MaxInflight: 30}, 0, 30, 5, 1000},
		{&Quota{MaxInflight: 30}, 25, 25, 5, 1000},
		{&Quota{MaxInflight: 1 << 20}, 0, 65535, 5, 1000},
		{&Quota{MaxQueued: 1}, 0, 20, 1, 1000},
		{&Quota{MaxQueued: 9, MaxQueuedBytes: 2000}, 0, 20, 9, 2000},
	} {
		env := new(Env)
		lim := &Limits{MaxInflight: 20, MaxQueued: 5, MaxQueuedBytes: 1000}
		env.Limits.Store(lim)
		s := New(env, "", "c", 1)
		s.SetQuota(c.quota)
		window := s.window(c.receiveMax)
		if queued, bytes := s.maxQueued(lim); window != c.window || queued != c.queued || bytes != c.bytes || s.MaxQueued() != c.queued {
			t.Errorf("%+v: window %d, %d messages, %d bytes", c, window, queued, bytes)
		}
		s.SetQuota(nil)
		if s.window(0) != 20 || s.MaxQueued() != 5 {
			t.Errorf("%+v stays", c)
		}
	}
}
