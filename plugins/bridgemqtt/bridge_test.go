package bridgemqtt

import (
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/eclipse/paho.golang/paho"

	"github.com/patchbay-mq/patchbay/core/broker"
	"github.com/patchbay-mq/patchbay/pluginhost"
)

func eachRuntime(t *testing.T, test func(t *testing.T, rt pluginhost.Runtime)) {
	for _, rt := range []pluginhost.Runtime{pluginhost.Builtin, pluginhost.Process} {
		t.Run(string(rt), func(t *testing.T) { test(t, rt) })
	}
}

func TestBothWays(t *testing.T) {
	eachRuntime(t, func(t *testing.T, rt pluginhost.Runtime) {
		for _, version := range []string{"5", "3.1.1"} {
			t.Run(version, func(t *testing.T) {
				here, there := startNode(t, "here"), startNode(t, "there")
				there1 := connect(t, there.addr, "t").subscribe("#")
				here1 := connect(t, here.addr, "h").subscribe("#")
				here.bridge(rt, "b", fmt.Sprintf(`{"remote":{"name":"there","servers":["mqtt://%s"],"version":%q},"routes":[
					{"name":"up","direction":"out","filters":["a/#"],"local_prefix":"plant/","remote_prefix":"site-7/"},
					{"name":"down","direction":"in","filters":["cmd/+"],"local_prefix":"hq/","remote_prefix":"to/site-7/"},
					{"name":"same","direction":"both","filters":["shared/#"]},
					{"name":"tpl","direction":"out","filters":["t/#"],"remote_topic":"x/${topic[-1]}/${client_id}","codec":"base64"}]}`, there.addr, version))
				here.connected("b")
				expiry, format := uint32(1000), byte(1)
				for qos := range byte(3) {
					if code := here1.publish(&paho.Publish{Topic: "plant/a/1", Payload: []byte{'0' + qos}, QoS: qos, Retain: true, Properties: &paho.PublishProperties{
						ContentType: "text/plain", ResponseTopic: "plant/a/answer", CorrelationData: []byte{1, 2}, MessageExpiry: &expiry, PayloadFormat: &format,
						User: paho.UserProperties{{Key: "k", Value: "v"}, {Key: "k", Value: "w"}},
					}}); code != 0 {
						t.Fatalf("publish: 0x%02X", code)
					}
				}
				got := there1.expect(3)
				for i, p := range got {
					if p.Topic != "site-7/a/1" || string(p.Payload) != string(byte('0')+byte(i)) || p.QoS != byte(i) || !p.Retain {
						t.Errorf("%d: %+v", i, p)
					}
					if version == "3.1.1" {
						continue
					}
					x := p.Properties
					if x.ContentType != "text/plain" || x.ResponseTopic != "site-7/a/answer" || string(x.CorrelationData) != "\x01\x02" || x.PayloadFormat == nil ||
						*x.PayloadFormat != 1 || x.MessageExpiry == nil || *x.MessageExpiry < 900 || *x.MessageExpiry > 1000 {
						t.Errorf("%d: properties %+v", i, x)
					}
					if want := (paho.UserProperties{{Key: "k", Value: "v"}, {Key: "k", Value: "w"}, {Key: pathProperty, Value: "here"}}); !slices.Equal(x.User, want) {
						t.Errorf("%d: user properties %v", i, x.User)
					}
				}
				here1.expect(3)
				for qos := range byte(3) {
					there1.publish(&paho.Publish{Topic: "to/site-7/cmd/go", Payload: []byte{'0' + qos}, QoS: qos, Retain: qos == 1, Properties: &paho.PublishProperties{ResponseTopic: "to/site-7/answer"}})
				}
				got = here1.expect(6)[3:]
				for i, p := range got {
					if p.Topic != "hq/cmd/go" || string(p.Payload) != string(byte('0')+byte(i)) || p.QoS != byte(i) || p.Retain != (i == 1 && version == "5") { // 3.1.1 has Retain As Published for bridges alone
						t.Errorf("%d: %+v", i, p)
					}
					if version == "5" && p.Properties.ResponseTopic != "hq/answer" {
						t.Errorf("%d: response topic %q", i, p.Properties.ResponseTopic)
					}
				}
				there1.expect(6)
				// What goes both ways does not come back.
				here1.say("shared/1", "h", 1)
				there1.say("shared/1", "t", 1)
				here1.say("t/u/v", "raw", 1)
				eventually(t, "shared", func() bool { return len(there1.received()) >= 9 && len(here1.received()) >= 9 })
				time.Sleep(100 * time.Millisecond) // for what must not come
				thereGot, hereGot := short(there1.expect(9))[6:], short(here1.expect(9))[6:]
				slices.Sort(thereGot)
				slices.Sort(hereGot)
				if want := []string{"shared/1 h", "shared/1 t", "x/v/h cmF3"}; !slices.Equal(thereGot, want) {
					t.Errorf("there %v", thereGot)
				}
				if want := []string{"shared/1 h", "shared/1 t", "t/u/v raw"}; !slices.Equal(hereGot, want) {
					t.Errorf("here %v", hereGot)
				}
			})
		}
	})
}

// A message of which PUBACK has come is at the other broker, and one that is not there is
// refused.
func TestAfterRemote(t *testing.T) {
	eachRuntime(t, func(t *testing.T, rt pluginhost.Runtime) {
		here, there := startNode(t, "here"), startNode(t, "there")
		there1 := connect(t, there.addr, "t").subscribe("#")
		var routed atomic.Int64 // by the other broker
		if _, err := there.broker.Subscribe("#", func(broker.Message) { routed.Add(1) }); err != nil {
			t.Fatal(err)
		}
		config := `{"remote":{"name":"there","servers":["mqtt://%s"],"retry_min":"20ms","retry_max":"100ms"},"routes":[{"name":"up","filters":["a/#"],"ack":"after_remote","ack_timeout":"%s"}]}`
		here.bridge(rt, "b", fmt.Sprintf(config, there.addr, "10s"))
		p := connect(t, here.addr, "p")
		for i := range 50 {
			if code := p.say("a/b", fmt.Sprint(i), byte(1+i%2)); code >= 0x80 {
				t.Fatalf("%d: 0x%02X", i, code)
			}
			if n := routed.Load(); n <= int64(i) {
				t.Fatalf("%d: acknowledged, and %d are there", i, n)
			}
		}
		there1.expect(50)
		here.bridge(rt, "b", fmt.Sprintf(config, "127.0.0.1:1", "1s"))
		if code := p.say("a/b", "50", 1); code != 0x83 {
			t.Errorf("0x%02X", code)
		}
		here.bridge(rt, "b", fmt.Sprintf(config, there.addr, "1s"))
		if got := there1.expect(51); string(got[50].Payload) != "50" {
			t.Errorf("%s", got[50].Payload)
		}
	})
}

func TestHealthAndStatusTopic(t *testing.T) {
	here, there := startNode(t, "here"), startNode(t, "there")
	c := connect(t, there.addr, "t").subscribe("status/#")
	here.bridge(pluginhost.Builtin, "b", fmt.Sprintf(`{"remote":{"servers":["mqtt://127.0.0.1:1","mqtt://%s"],"status_topic":"status/here"},"routes":[{"name":"up","filters":["a/#"]}]}`, there.addr))
	if got := c.expect(1); string(got[0].Payload) != "1" || !got[0].Retain {
		t.Errorf("%+v", got[0])
	}
	here.bridge(pluginhost.Builtin, "b", `{"remote":{"servers":["mqtt://127.0.0.1:1"]},"routes":[{"name":"up","filters":["a/#"]}]}`)
	if got := c.expect(2); string(got[1].Payload) != "0" || !got[1].Retain {
		t.Errorf("%+v", got[1])
	}
}
