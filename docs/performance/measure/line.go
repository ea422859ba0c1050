//go:build linux

package main

import (
	"encoding/json"
	"fmt"
	"io"
)

// line is one measurement. What a measurement is not about is left out. Times are in
// µs unless the name says otherwise.
type line struct {
	// Series is what was varied, Case which of it was measured.
	Series string `json:"series"`
	Broker string `json:"broker"`
	Case   string `json:"case"`
	Cores  int    `json:"cores"`
	// Share is how much of each core the broker had, 0 all.
	Share float64 `json:"share,omitempty"`

	Scenario      string `json:"scenario,omitempty"`
	QoS           int    `json:"qos"`
	Version       string `json:"mqtt_version,omitempty"`
	Size          int    `json:"size_bytes,omitempty"`
	Subscriptions int    `json:"subscriptions,omitempty"`
	Connections   int    `json:"connections,omitempty"`
	Transport     string `json:"transport,omitempty"`
	Retained      int    `json:"retained,omitempty"`
	Store         string `json:"store,omitempty"`
	// Rate is the demanded messages/s; 0: as fast as the windows allow.
	Rate float64 `json:"rate_per_s,omitempty"`

	PublishedPerSecond float64 `json:"published_per_s,omitempty"`
	DeliveredPerSecond float64 `json:"delivered_per_s,omitempty"`
	Lost               int64   `json:"lost,omitempty"`
	// CPU is the broker's for each delivered message (each published one where there is
	// no receiver), Busy how many cores it used.
	CPU  float64 `json:"cpu_us,omitempty"`
	User float64 `json:"cpu_user_us,omitempty"`
	Busy float64 `json:"busy_cores,omitempty"`
	// RSS is the broker's resident memory; PerItem what each subscription, connection or
	// retained message has added to it.
	RSS     int64   `json:"rss_bytes,omitempty"`
	PerItem float64 `json:"rss_bytes_each,omitempty"`

	P50  float64 `json:"p50_us,omitempty"`
	P99  float64 `json:"p99_us,omitempty"`
	P999 float64 `json:"p99_9_us,omitempty"`
	Max  float64 `json:"max_us,omitempty"`

	// Seconds is how long a step took that is not counted in messages/s.
	Seconds float64 `json:"seconds,omitempty"`
	// Reloads is how often the plugin was started anew meanwhile.
	Reloads int `json:"reloads,omitempty"`
	// Metrics are values of the broker's /metrics that the measurement has changed.
	Metrics map[string]float64 `json:"metrics,omitempty"`
	// Functions are shares of the broker's CPU, by function, 0 to 1.
	Functions map[string]float64 `json:"functions,omitempty"`
	// Machine says what it was measured on; it is in the first line of a run.
	Machine string `json:"machine,omitempty"`
}

// write appends the line to a file of raw figures.
func (l *line) write(w io.Writer) error {
	b, err := json.Marshal(l)
	if err != nil {
		return fmt.Errorf("raw figures: %w", err)
	}
	_, err = w.Write(append(b, '\n'))
	return err
}
