package admin

import (
	"os"

	"github.com/patchbay-mq/patchbay/core/hook"
	"github.com/patchbay-mq/patchbay/core/packet"
)

// status is what `patchbay status` shows. Counters are since the start.
type status struct {
	Version       string  `json:"version"`
	PID           int     `json:"pid"`
	Ready         bool    `json:"ready"`
	NotReady      string  `json:"not_ready,omitempty"` // why
	UptimeSeconds float64 `json:"uptime_seconds"`

	Connections     int64 `json:"connections"`
	ConnectionsPeak int64 `json:"connections_peak"`
	Accepted        int64 `json:"connections_accepted"`
	AuthFailures    int64 `json:"auth_failures"`
	ProtocolErrors  int64 `json:"protocol_errors"`
	Sessions        int64 `json:"sessions"`
	Subscriptions   int   `json:"subscriptions"`
	SharedGroups    int   `json:"shared_groups"`

	Retained      int   `json:"retained_messages"`
	RetainedBytes int64 `json:"retained_bytes"`
	Inflight      int   `json:"inflight"`
	Queued        int   `json:"queued"`
	QueuedBytes   int64 `json:"queued_bytes"`

	PublishReceived int64            `json:"publish_received"`
	PublishSent     int64            `json:"publish_sent"`
	BytesReceived   int64            `json:"bytes_received"`
	BytesSent       int64            `json:"bytes_sent"`
	Dropped         map[string]int64 `json:"dropped"` // by reason, without zeros

	MemoryBytes    int64 `json:"memory_bytes"`
	MemoryPushback bool  `json:"memory_pushback"`

	Store storeStatus `json:"store"`

	Listeners []listenerStatus `json:"listeners"`
}

// storeStatus is where the state is kept, and how much room that has; all but
// Mode is empty with "memory".
type storeStatus struct {
	Mode        string `json:"mode"` // memory or disk
	Folder      string `json:"folder,omitempty"`
	DiskBytes   int64  `json:"disk_bytes,omitempty"`
	FreeBytes   int64  `json:"free_bytes,omitempty"`
	Full        bool   `json:"full,omitempty"`
	Quarantined int64  `json:"quarantined,omitempty"`
}

// listenerStatus is one socket that clients connect to.
type listenerStatus struct {
	Name        string `json:"name"`
	Network     string `json:"network"`
	Address     string `json:"address"`
	Connections int    `json:"connections"`
	Accepted    uint64 `json:"accepted"`
	Refused     uint64 `json:"refused"`
	Failed      uint64 `json:"handshake_failures"`
}

func (s *Server) status() status {
	b := s.opts.Broker
	g, st := b.Gauges(), b.Stats()
	out := status{
		Version: s.opts.Version, PID: os.Getpid(), Ready: true, UptimeSeconds: g.Uptime.Seconds(),
		Connections: g.Connected, ConnectionsPeak: st.MaxConnected.Load(), Accepted: st.Accepted.Load(),
		AuthFailures: st.AuthFailures.Load(), ProtocolErrors: st.ProtocolErrors.Load(),
		Sessions: g.Sessions, Subscriptions: g.Subscriptions, SharedGroups: g.SharedGroups,
		Retained: g.Retained, RetainedBytes: g.RetainedBytes, Inflight: g.Inflight, Queued: g.Queued, QueuedBytes: g.QueuedBytes,
		PublishReceived: st.PacketsReceived[packet.TypePublish].Load(), PublishSent: st.PacketsSent[packet.TypePublish].Load(),
		BytesReceived: st.BytesReceived.Load(), BytesSent: g.BytesSent, Dropped: map[string]int64{},
		MemoryBytes: g.MemoryUsed, MemoryPushback: g.AboveWatermark,
		Store: storeStatus{Mode: "memory"}, Listeners: []listenerStatus{},
	}
	if s.opts.Store != nil {
		f := storeStats(s.opts.Store)
		out.Store = storeStatus{"disk", s.opts.StoreDir, f.DiskBytes, f.FreeBytes, f.Full, f.Quarantined}
	}
	if err := s.notReady(); err != nil {
		out.Ready, out.NotReady = false, err.Error()
	}
	for _, reason := range hook.DropReasons {
		if n := st.Dropped(reason); n > 0 {
			out.Dropped[reason] = n
		}
	}
	for _, l := range b.Listeners() {
		f := l.Stats()
		out.Listeners = append(out.Listeners, listenerStatus{
			Name: l.Name(), Network: l.Network(), Address: l.Addr().String(), Connections: l.Connections(),
			Accepted: f.Accepted, Refused: f.RefusedMax + f.RefusedProxy + f.HandlerRefused,
			Failed: f.FailedProxy + f.FailedTLS + f.FailedWS + f.FailedTimeout,
		})
	}
	return out
}
