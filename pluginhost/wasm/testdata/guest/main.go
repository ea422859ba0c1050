//go:build wasip1

// Command guest is the plugin that the tests run. What it does with an event is said by the topic of its message.
package main

import (
	"os"
	"strings"
	"time"
	"unsafe"

	pluginv1 "github.com/patchbay-mq/patchbay/sdk/proto/v1"
)

func main() {}

//go:wasmimport patchbay_v1 log
func hostLog(level int32, at unsafe.Pointer, n int32)

//go:wasmimport patchbay_v1 error
func hostError(at unsafe.Pointer, n int32)

//go:wasmimport patchbay_v1 now
func hostNow() int64

//go:wasmimport patchbay_v1 host_call
func hostCall(op int32, at unsafe.Pointer, n int32, out unsafe.Pointer, size int32) int32

var (
	input, output []byte
	batch         pluginv1.Batch
	answer        pluginv1.Answer
	start         pluginv1.StartRequest
	config        string
	instance      uint32
	seen          uint32
	kept          [][]byte
)

//go:wasmexport patchbay_abi_v1
func marker() {}

//go:wasmexport patchbay_buffer
func buffer(size uint32) uint32 {
	if int(size) > len(input) {
		input = make([]byte, size)
	}
	return uint32(uintptr(unsafe.Pointer(unsafe.SliceData(input))))
}

//go:wasmexport patchbay_call
func call(op, n uint32) uint64 {
	switch pluginv1.PluginOp(op) {
	case pluginv1.PluginOpDescribe:
		return reply(&pluginv1.Manifest{Name: "guest", Version: "1", Hooks: []pluginv1.Hook{
			{Point: pluginv1.PointInterceptPublish}, {Point: pluginv1.PointAuthenticate}, {Point: pluginv1.PointPublished},
		}})
	case pluginv1.PluginOpStart:
		if start.Unmarshal([]byte(string(input[:n]))) != nil {
			return refuse("cannot read the start")
		}
		config, instance = start.Config, start.Instance
		if config == "refuse" {
			return reply(&pluginv1.StartResponse{Problems: []pluginv1.Problem{{Message: "I do not like it"}}})
		}
	case pluginv1.PluginOpConfigure:
		var in pluginv1.ConfigureRequest
		if in.Unmarshal(input[:n]) != nil {
			return refuse("cannot read the config")
		}
		if in.Config == "refuse" {
			return reply(&pluginv1.ConfigureResponse{Problems: []pluginv1.Problem{{Message: "I do not like it"}}})
		}
		config = strings.Clone(in.Config)
	case pluginv1.PluginOpHealth:
		return reply(&pluginv1.HealthResponse{Message: config})
	case pluginv1.PluginOpHTTP:
		var in pluginv1.HTTPRequest
		if in.Unmarshal(input[:n]) != nil {
			return refuse("cannot read the request")
		}
		return reply(&pluginv1.HTTPResponse{Status: 200, Body: in.Body})
	case pluginv1.PluginOpProcess:
		return process(input[:n])
	case pluginv1.PluginOpTimer:
		time.Sleep(time.Millisecond)
	}
	return 0
}

func process(in []byte) uint64 {
	if batch.Unmarshal(in) != nil {
		return refuse("cannot read the batch")
	}
	answer.Reset()
	for i := range batch.Events {
		seen++
		if m := batch.Events[i].Message; m != nil {
			verdict(uint32(i), m.Topic)
		}
	}
	if len(answer.Verdicts) == 0 {
		return 0
	}
	return reply(&answer)
}

func verdict(event uint32, topic string) {
	say := func(action pluginv1.Action, reason string) {
		answer.Verdicts = append(answer.Verdicts, pluginv1.Verdict{Event: event, Action: action, Reason: reason})
	}
	what, rest, _ := strings.Cut(topic, "/")
	switch what {
	case "drop":
		say(pluginv1.ActionDrop, "dropped "+rest)
	case "config":
		say(pluginv1.ActionDeny, config)
	case "instance":
		say(pluginv1.ActionDeny, string('0'+rune(instance)))
	case "panic":
		panic("this is what went wrong")
	case "spin":
		spin()
	case "recurse":
		seen += recurse(1)
	case "hoard":
		for {
			kept = append(kept, make([]byte, 1<<16))
			kept[len(kept)-1][0] = 1
		}
	case "exit":
		os.Exit(3)
	case "sleep":
		time.Sleep(time.Minute)
	case "print":
		println("to stderr")
		os.Stdout.WriteString("to stdout\n")
		text := []byte("to the log")
		hostLog(int32(pluginv1.LogLevelWarn), unsafe.Pointer(&text[0]), int32(len(text)))
	case "now":
		say(pluginv1.ActionDeny, time.UnixMilli(hostNow()).UTC().Format(time.RFC3339))
	case "get":
		r, err := ask(pluginv1.HostOpKVGet, &pluginv1.KVGetRequest{Key: rest}, 16)
		say(pluginv1.ActionDeny, string(r)+err)
	case "set":
		r, err := ask(pluginv1.HostOpKVSet, &pluginv1.KVSetRequest{Key: rest}, 16)
		say(pluginv1.ActionDeny, string(r)+err)
	case "storm":
		n := 0
		for {
			if _, err := ask(pluginv1.HostOpNow, &pluginv1.NowRequest{}, 64); err != "" {
				say(pluginv1.ActionDeny, err)
				return
			}
			n++
		}
	}
}

//go:noinline
func spin() {
	for {
		seen++
	}
}

//go:noinline
func recurse(n uint32) uint32 { return recurse(n+1) + n }

// ask makes a call of the host with room for so many bytes at first.
func ask(op pluginv1.HostOp, in pluginv1.Proto, room int) ([]byte, string) {
	request := append(in.AppendTo(nil), 0)
	out := make([]byte, room)
	n := hostCall(int32(op), unsafe.Pointer(&request[0]), int32(len(request)-1), unsafe.Pointer(&out[0]), int32(room))
	if n < 0 {
		last := make([]byte, 1024)
		n := hostCall(int32(pluginv1.HostOpLastError), nil, 0, unsafe.Pointer(&last[0]), 1024)
		var e pluginv1.HostError
		if n < 0 || e.Unmarshal(last[:n]) != nil {
			return nil, "no error to be had"
		}
		return nil, e.Code.String() + ": " + e.Error()
	}
	if int(n) > room {
		out = make([]byte, n)
		n = hostCall(int32(pluginv1.HostOpLastResponse), nil, 0, unsafe.Pointer(&out[0]), n)
	}
	if op != pluginv1.HostOpKVGet {
		return nil, ""
	}
	var r pluginv1.KVGetResponse
	if r.Unmarshal(out[:n]) != nil {
		return nil, "cannot read the response"
	}
	return r.Value, ""
}

func reply(m pluginv1.Proto) uint64 {
	output = m.AppendTo(output[:0])
	if len(output) == 0 {
		return 0
	}
	return uint64(uintptr(unsafe.Pointer(unsafe.SliceData(output))))<<32 | uint64(len(output))
}

func refuse(why string) uint64 {
	text := []byte(why)
	hostError(unsafe.Pointer(&text[0]), int32(len(text)))
	return 1<<64 - 1
}
