package mosquittoconf

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// simple are the keys with one of Patchbay that means the same.
var simple = map[string]struct {
	section, key string
	value        func(string) (any, error)
}{
	"max_inflight_messages":        {"session", "max_inflight", inflight},
	"max_queued_messages":          {"session", "max_queued_messages", number},
	"max_queued_bytes":             {"session", "max_queued_bytes", number},
	"queue_qos0_messages":          {"session", "queue_qos0", truth},
	"persistent_client_expiration": {"session", "max_expiry", expiration},
	"retain_available":             {"mqtt", "retain_available", truth},
	"max_keepalive":                {"mqtt", "keep_alive_max", seconds},
	"max_packet_size":              {"mqtt", "max_packet_size", packetSize},
	"sys_interval":                 {"sys", "interval", seconds},
}

// others are the keys without one, and why.
var others = map[string]struct {
	outcome outcome
	text    string
}{
	"allow_duplicate_messages":       {needless, "a message that several subscriptions of a client match is delivered once"},
	"autosave_interval":              {needless, "everything is on disk before it is acknowledged; see the key sync"},
	"autosave_on_changes":            {needless, "everything is on disk before it is acknowledged; see the key sync"},
	"auth_plugin_deny_special_chars": {needless, "a name with a wildcard in it never makes a rule wider"},
	"psk_file":                       {lost, "TLS with pre-shared keys does not exist here; see psk_hint"},
	"auto_id_prefix":                 {lost, "ids that the broker gives have no prefix of your choice"},
	"bridge_attempt_unsubscribe":     {needless, "a bridge takes back what it has subscribed to itself, and nothing else"},
	"check_retain_source":            {lost, "a retained message is given to whoever may read its topic, whatever has become of its publisher; clear it: patchbay retained clear"},
	"clientid_prefixes":              {lost, "which ids clients may have is said by user: client_ids of the plugin authfile"},
	"connection_messages":            {lost, "connections are in the log as log.level says"},
	"dhparamfile":                    {needless, "key exchange is by elliptic curves alone"},
	"http_dir":                       {lost, "the broker serves no files; any web server does"},
	"log_facility":                   {lost, "the log goes to standard error, from where systemd and containers take it"},
	"log_timestamp":                  {needless, "every line has its time"},
	"log_timestamp_format":           {needless, "times are as RFC 3339 has them"},
	"max_inflight_bytes":             {lost, "what is under way to a client is bounded by number: session.max_inflight, and by limits.out_buffer_high"},
	"persistence_file":               {needless, "the store is a folder: data_dir"},
	"pid_file":                       {lost, "there is none; systemd and containers know the process"},
	"set_tcp_nodelay":                {needless, "it is always on"},
	"tls_engine_kpass_sha1":          {lost, "there are no engines of OpenSSL"},
	"upgrade_outgoing_qos":           {lost, "a message is never delivered with a higher QoS than it was published with [MQTT-3.8.4-8]"},
	"user":                           {lost, "the program does not change its user: start it as the one that it shall have, by User= of systemd or the container"},
	"websockets_headers_size":        {needless, "headers may have 8 KiB"},
	"websockets_log_level":           {needless, "there is one log, with log.level"},
}

func truth(s string) (any, error) {
	switch strings.ToLower(s) {
	case "true", "1":
		return true, nil
	case "false", "0":
		return false, nil
	}
	return nil, errors.New("is neither true nor false")
}

func number(s string) (any, error) {
	n, err := strconv.Atoi(s)
	if err != nil || n < 0 {
		return nil, errors.New("is no number from 0 on")
	}
	return n, nil
}

// inflight: 0 is without a limit in Mosquitto.
func inflight(s string) (any, error) {
	n, err := number(s)
	if n == 0 || err == nil && n.(int) > 65535 {
		return 65535, err
	}
	return n, err
}

func seconds(s string) (any, error) {
	n, err := number(s)
	return fmt.Sprintf("%vs", n), err
}

// packetSize: the smallest that Patchbay takes is enough for a CONNACK.
func packetSize(s string) (any, error) {
	n, err := number(s)
	if err != nil {
		return nil, err
	}
	if n == 0 {
		return 268435455, nil
	}
	return min(max(n.(int), 128), 268435455), nil
}

// expiration is a number with h, d, w, m (30 days) or y (365 days).
func expiration(s string) (any, error) {
	days := map[byte]int{'d': 1, 'w': 7, 'm': 30, 'y': 365}
	if s != "" {
		unit := s[len(s)-1]
		if n, err := strconv.Atoi(s[:len(s)-1]); err == nil && n > 0 {
			if unit == 'h' {
				return fmt.Sprintf("%dh", n), nil
			}
			if days[unit] > 0 {
				return fmt.Sprintf("%dd", n*days[unit]), nil
			}
		}
	}
	return nil, errors.New("is no number with h, d, w, m or y")
}

// general converts what is the whole broker's.
func (c *converter) general() {
	for _, e := range c.broker.list {
		rule, ok := simple[e.key]
		if !ok {
			continue
		}
		v, err := rule.value(e.value)
		if err != nil {
			c.add(e, lost, "%q %v", e.value, err)
			continue
		}
		e.taken = true
		c.out.at(rule.section).set(rule.key, v, e)
	}
	c.store()
	c.messageSize()
	if e := c.broker.last("memory_limit"); e != nil {
		if n, err := number(e.value); err != nil || n == 0 {
			c.add(e, lost, "%q is no number of bytes", e.value)
		} else {
			c.out.at("limits").set("memory", fmt.Sprintf("%vB", n), e)
			c.add(e, changed, "limits.memory is where publishers are made to wait; nobody is disconnected")
		}
	}
	c.log()
}

// store converts persistence. Without it Mosquitto keeps everything in memory.
func (c *converter) store() {
	e := c.broker.last("persistence")
	if c.broker.is("persistence", false) {
		c.out.set("store", "disk", e)
		c.add(e, changed, "sessions and retained messages are kept from now on; mosquitto.db itself cannot be read. "+
			"Retained messages come over by a bridge with sync_retained: see docs/from-mosquitto.md")
	} else {
		c.out.set("store", "memory", e)
	}
	if e := c.broker.last("persistence_location"); e != nil {
		c.add(e, changed, "the store is another one and has a place of its own: data_dir, by default ./patchbay-data")
	}
}

func (c *converter) messageSize() {
	e := c.broker.last("message_size_limit")
	if e == nil {
		return
	}
	n, err := number(e.value)
	switch {
	case err != nil:
		c.add(e, lost, "%q %v", e.value, err)
	case n == 0: // no limit
	case c.broker.last("max_packet_size") != nil:
		c.add(e, lost, "payloads have no limit of their own; mqtt.max_packet_size holds for whole packets")
	default:
		// A topic and some properties have to fit beside the payload.
		c.out.at("mqtt").set("max_packet_size", min(n.(int)+64<<10, 268435455), e)
		c.add(e, changed, "mqtt.max_packet_size holds for whole packets, and is 64 KiB more; a larger one ends the connection")
	}
}

// log converts what is written where.
func (c *converter) log() {
	level, rank := "", map[string]int{"": 0, "error": 1, "warn": 2, "info": 3, "debug": 4}
	var from *entry
	for _, e := range c.broker.all("log_type") {
		for word := range strings.FieldsSeq(e.value) {
			l := map[string]string{"none": "error", "error": "error", "warning": "warn", "debug": "debug", "all": "debug", "websockets": ""}
			name, ok := l[word]
			if !ok {
				name = "info"
			}
			if rank[name] > rank[level] {
				level, from = name, e
			}
			if word == "none" {
				c.add(e, changed, "errors are always in the log")
			}
		}
	}
	if level != "" {
		c.out.at("log").set("level", level, from)
	}
	for _, e := range c.broker.all("log_dest") {
		switch to, _, _ := strings.Cut(e.value, " "); to {
		case "stderr":
		case "topic":
			c.add(e, lost, "the log is not published; what happens is counted in /metrics")
		default:
			c.add(e, lost, "the log goes to standard error, from where systemd, containers or a shell take it")
		}
	}
}
