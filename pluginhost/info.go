package pluginhost

import (
	"encoding/json"
	"time"

	pluginv1 "github.com/patchbay-mq/patchbay/sdk/proto/v1"
)

// Info is what operators see of a plugin. Its JSON is what `patchbay plugin list
// --json` prints.
type Info struct {
	Name    string  `json:"name"`
	Plugin  string  `json:"plugin,omitempty"` // its own name, in its manifest
	Version string  `json:"version,omitempty"`
	Runtime Runtime `json:"runtime"`
	Source  string  `json:"source"`
	Path    string  `json:"path,omitempty"`
	// State is starting, serving, degraded, draining, stopped, failed or quarantined;
	// disabled for one that an operator has switched off.
	State string    `json:"state"`
	Since time.Time `json:"since"`
	// Error is why it is not serving, or why the last reload was refused.
	Error string `json:"error,omitempty"`
	// Health is what the plugin says of itself, if that is not all well.
	Health   string `json:"health,omitempty"`
	PID      int    `json:"pid,omitempty"`
	SHA256   string `json:"sha256,omitempty"`
	Restarts int64  `json:"restarts"`
	Reloads  int64  `json:"reloads"`
	// Queued and Lost are observations that wait, and that were dropped.
	Queued int   `json:"queued"`
	Lost   int64 `json:"lost"`
	// MemoryBytes and Fuel (of the dearest call) are known of WASM only.
	MemoryBytes int64          `json:"memory_bytes,omitempty"`
	FuelMax     int64          `json:"fuel_max,omitempty"`
	Hooks       []HookInfo     `json:"hooks"`
	Consumers   []ConsumerInfo `json:"consumers,omitempty"`
}

// HookInfo describes a hook and what has happened at it.
type HookInfo struct {
	Point        string   `json:"point"`
	TopicFilters []string `json:"topic_filters,omitempty"`
	MinQoS       uint32   `json:"min_qos,omitempty"`
	// OnlyRefuses is of authenticate: it does not count as one that decides who may connect.
	OnlyRefuses bool          `json:"only_refuses,omitempty"`
	Deadline    time.Duration `json:"deadline_ns,omitempty"`
	Failure     string        `json:"failure,omitempty"`
	// Calls are batches, Events what was in them.
	Calls    int64            `json:"calls"`
	Events   int64            `json:"events"`
	Verdicts map[string]int64 `json:"verdicts,omitempty"`
	Failures int64            `json:"failures"`
	Timeouts int64            `json:"timeouts"`
	// Policy counts events that the failure policy has answered.
	Policy int64 `json:"policy"`
	// P50 and P99 of a call's time, since the start.
	P50 time.Duration `json:"p50_ns"`
	P99 time.Duration `json:"p99_ns"`
}

// ConsumerInfo describes a consumer.
type ConsumerInfo struct {
	Name         string   `json:"name"`
	TopicFilters []string `json:"topic_filters"`
	Backlog      int      `json:"backlog"`
	BacklogBytes int64    `json:"backlog_bytes"`
	// OldestAge is how long the first message has waited, in milliseconds.
	OldestAge    int64  `json:"oldest_ms"`
	Acknowledged int64  `json:"acknowledged"`
	Retried      int64  `json:"retried"`
	DeadLetters  int64  `json:"dead_letters"`
	Failures     int64  `json:"failures"`
	Error        string `json:"error,omitempty"`
}

// Detail is Info with what the plugin says of itself and what it was given.
type Detail struct {
	Info
	Manifest *pluginv1.Manifest `json:"-"`
	Grants   []pluginv1.Grant   `json:"-"`
	// Missing are the names of grants that it asks for, can do without, and has not got.
	Missing []string `json:"missing_grants,omitempty"`
	// Config as given, secrets hidden.
	Config json.RawMessage `json:"config"`
	// Refused counts calls without a grant, by its name.
	Refused map[string]int64 `json:"refused_calls,omitempty"`
}

// Metric is one series of figures for /metrics.
type Metric struct {
	Name, Help string
	// Counter is set for what only grows.
	Counter bool
	Labels  []Label
	Value   float64
	// Buckets are cumulative counts by upper bound, of a histogram; Value is then the sum
	// and Count the number.
	Buckets []Bucket
	Count   uint64
}

// Label is a label of a Metric.
type Label struct{ Name, Value string }

// Bucket is a bucket of a histogram.
type Bucket struct {
	UpperBound float64
	Count      uint64
}
