package bench

import (
	"fmt"
	"math"
	"time"

	"github.com/patchbay-mq/patchbay/core/packet"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// Bounds of what a run may ask for, so that a slip of the finger ends in a clear
// error and not in a machine without memory.
const (
	maxSize    = 16 << 20
	maxConns   = 1_000_000
	maxTopics  = 65_536
	maxFrames  = 512 << 20 // bytes of pre-encoded messages: topics × size
	maxLedgers = 64 << 20  // 16 bytes each
	maxRunTime = 24 * time.Hour
)

// usageError is a mistake on the command line, as opposed to a run that failed.
type usageError struct{ text string }

func (e usageError) Error() string { return e.text }

// ExitCode is the exit status that the program gives for it.
func (usageError) ExitCode() int { return 2 }

func usagef(format string, args ...any) error { return usageError{fmt.Sprintf(format, args...)} }

// options are the settings of one run: a scenario's defaults, then the command line.
type options struct {
	url      string
	version  string
	qos      int
	username string
	password string
	cafile   string
	insecure bool
	prefix   string
	json     bool

	keepAlive time.Duration
	setup     time.Duration
	workers   int

	publishers  int
	subscribers int
	topics      int
	pairs       int
	connections int
	size        int
	messages    int // offline: for each session
	persistent  bool

	rate     float64
	duration time.Duration
	warmup   time.Duration
	drain    time.Duration
	window   int
	inflight int
	count    int64
}

// mqttVersion is the protocol version that -V names.
func (o *options) mqttVersion() packet.Version {
	if o.version == "3.1.1" {
		return packet.V311
	}
	return packet.V5
}

// commonFlags are the flags of every scenario.
func (o *options) commonFlags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&o.url, "url", "mqtt://127.0.0.1:1883", "the broker: mqtt://, mqtts://, ws:// or wss://, host, port (default 1883, 8883, 80, 443)")
	f.StringVarP(&o.version, "protocol-version", "V", "5", "MQTT version, 3.1.1 or 5")
	f.StringVarP(&o.username, "username", "u", "", "user name (default none)")
	f.StringVarP(&o.password, "password", "P", "", "password (default none)")
	f.StringVar(&o.cafile, "cafile", "", "PEM file of certificates to trust with mqtts:// and wss:// (default the system's)")
	f.BoolVar(&o.insecure, "insecure", false, "do not check the broker's certificate (default false)")
	f.StringVar(&o.prefix, "client-id-prefix", "bench", "client identifiers and topics begin with it and a number of the run")
	f.BoolVar(&o.json, "json", false, "print the result as one JSON object (default a table)")
	f.DurationVar(&o.keepAlive, "keep-alive", time.Minute, "Keep Alive, in whole seconds; 0 for none")
	f.DurationVar(&o.setup, "setup-timeout", 2*time.Minute, "time that connecting and subscribing may take")
	f.IntVar(&o.workers, "workers", o.workers, "connections that are being opened at the same time")
	complete(cmd, "protocol-version", "3.1.1", "5")
}

// zeroDefault is for flags whose default is 0, which the flag package does not mention.
const zeroDefault = " (default 0)"

// complete gives the shell the values that a flag can have.
func complete(cmd *cobra.Command, flag string, values ...string) {
	// It fails only if there is no such flag, or twice: a test runs over all of them.
	_ = cmd.RegisterFlagCompletionFunc(flag, cobra.FixedCompletions(values, cobra.ShellCompDirectiveNoFileComp))
}

func (o *options) qosFlag(cmd *cobra.Command, what string) {
	what += ": 0, 1 or 2"
	if o.qos == 0 {
		what += zeroDefault
	}
	cmd.Flags().IntVarP(&o.qos, "qos", "q", o.qos, what)
	complete(cmd, "qos", "0", "1", "2")
}

func (o *options) durationFlag(f *pflag.FlagSet, what string) {
	f.DurationVarP(&o.duration, "duration", "d", o.duration, what)
}

// messageFlags are the flags of the scenarios that publish.
func (o *options) messageFlags(cmd *cobra.Command) {
	f := cmd.Flags()
	o.qosFlag(cmd, "QoS of publishing and subscribing")
	f.IntVar(&o.size, "size", o.size, fmt.Sprintf("payload, in bytes; at least %d (it carries run, publisher, topic, sequence number, time)", stampSize))
	f.IntVar(&o.inflight, "inflight", o.inflight, "QoS 1 and 2: unacknowledged messages of each publisher; never more than the broker's Receive Maximum")
	f.DurationVar(&o.drain, "drain", 10*time.Second, "at the end, longest wait for messages under way; less if none comes for 2s")
}

// paceFlags are the flags of the scenarios that publish for a time.
func (o *options) paceFlags(f *pflag.FlagSet) {
	f.BoolVar(&o.persistent, "persistent", false, "subscribers have sessions that outlive their connections (default false)")
	f.Float64Var(&o.rate, "rate", o.rate, "messages/s of all publishers together; 0 for as fast as the window allows")
	f.IntVar(&o.window, "window", o.window, "with --rate 0: messages that a publisher may be ahead of the deliveries of its own ones")
	o.durationFlag(f, "time that is measured, after the warm-up")
	f.DurationVar(&o.warmup, "warmup", 2*time.Second, "time before it, which does not count for rates and latencies")
	f.Int64Var(&o.count, "count", 1_000_000_000, "messages at most, of all publishers together")
}

// check validates what does not depend on the scenario.
func (o *options) check() error {
	switch o.version {
	case "3.1.1", "5", "5.0":
	default:
		return usagef("--protocol-version %q: want 3.1.1 or 5", o.version)
	}
	for _, n := range []struct {
		flag            string
		value, min, max float64
	}{
		{"--qos", float64(o.qos), 0, 2},
		{"--publishers", float64(o.publishers), 0, maxConns},
		{"--subscribers", float64(o.subscribers), 0, maxConns},
		{"--pairs", float64(o.pairs), 0, maxConns / 2},
		{"--connections", float64(o.connections), 0, maxConns},
		{"--topics", float64(o.topics), 0, maxTopics},
		{"--messages", float64(o.messages), 0, 1e6},
		{"--workers", float64(o.workers), 1, 10_000},
		{"--rate", o.rate, 0, 1e9},
		{"--window", float64(o.window), 0, 1e6},
		{"--inflight", float64(o.inflight), 0, math.MaxUint16},
		{"--count", float64(o.count), 0, 1e12},
		{"--duration", o.duration.Seconds(), 0, maxRunTime.Seconds()},
		{"--warmup", o.warmup.Seconds(), 0, maxRunTime.Seconds()},
		{"--drain", o.drain.Seconds(), 0, maxRunTime.Seconds()},
		{"--setup-timeout", o.setup.Seconds(), 0.001, maxRunTime.Seconds()},
		{"--keep-alive", o.keepAlive.Seconds(), 0, math.MaxUint16},
	} {
		if !(n.value >= n.min && n.value <= n.max) { // also catches NaN
			unit := ""
			switch n.flag {
			case "--duration", "--warmup", "--drain", "--setup-timeout", "--keep-alive":
				unit = " seconds"
			}
			return usagef("%s %v: want %v to %v%s", n.flag, n.value, n.min, n.max, unit)
		}
	}
	return nil
}

// checkMessages validates what the scenarios that publish need.
func (o *options) checkMessages() error {
	switch {
	case o.size < stampSize:
		return usagef("--size %d: want at least %d bytes, for the stamp that losses and latency are found by", o.size, stampSize)
	case o.size > maxSize:
		return usagef("--size %d: want at most %d bytes", o.size, maxSize)
	case o.inflight < 1:
		return usagef("--inflight %d: want at least 1", o.inflight)
	case o.publishers < 1:
		return usagef("--publishers %d: want at least 1", o.publishers)
	case o.topics < 1:
		return usagef("--topics %d: want at least 1", o.topics)
	case o.topics*o.size > maxFrames:
		return usagef("--topics %d with --size %d: want at most %d bytes together", o.topics, o.size, maxFrames)
	}
	return nil
}

// checkPace validates what the scenarios that publish for a time need.
func (o *options) checkPace() error {
	switch {
	case o.duration <= 0:
		return usagef("--duration %v: want more than 0s", o.duration)
	case o.rate == 0 && o.window < 1:
		return usagef("--window %d: want at least 1 when --rate is 0", o.window)
	case o.count < 1:
		return usagef("--count %d: want at least 1", o.count)
	}
	return o.checkMessages()
}
