package acl

import (
	"net/netip"
	"strings"
	"testing"
)

const siteRules = `{"check_deliveries":false,"rules":[
	{"deny":["publish"],"topics":["site/+/config/#"],"groups":["guests"]},
	{"allow":["publish"],"topics":["site/%u/#"],"users":["ann"],"retain":false},
	{"allow":["publish","subscribe"],"topics":["dev/%c/#"],"qos":[0,1]},
	{"allow":["subscribe"],"topics":["site/#"],"addresses":["10.0.0.0/8"]},
	{"deny":["receive"],"topics":["site/secret"]}]}`

func TestExplain(t *testing.T) {
	rules := rulesOf(t, siteRules)
	home := netip.MustParseAddr("::ffff:10.0.0.7")
	for _, k := range []struct {
		c    Client
		q    Question
		want string // what Explanation and Steps say
	}{
		{Client{Username: "ann", ClientID: "c1"}, Question{Action: "publish", Topic: "site/ann/x"},
			`true /rules/1: "site/ann/#" matches "site/ann/x"
/rules/0: not for a group of this client
/rules/1: "site/ann/#" matches "site/ann/x"`},
		{Client{Username: "ann", ClientID: "c1", Groups: []string{"guests"}}, Question{Action: "publish", Topic: "site/ann/config/x"},
			`false /rules/0: "site/+/config/#" matches "site/ann/config/x"
/rules/0: "site/+/config/#" matches "site/ann/config/x"`},
		{Client{Username: "ann", ClientID: "c/1"}, Question{Action: "publish", Topic: "dev/c/1/x", Retain: true},
			`false default: no rule applies, and the default is to deny
/rules/0: not for a group of this client
/rules/1: only for messages without RETAIN
/rules/2: the client id "c/1" has "+", "#" or "/" in it
/rules/3: not for this address
/rules/4: does not speak of publish
default: does not speak of publish
default: does not speak of publish`},
		{Client{ClientID: "c1"}, Question{Action: "subscribe", Topic: "dev/c1/#", QoS: 2},
			`false default: no rule applies, and the default is to deny
/rules/0: not for a group of this client
/rules/1: not for this user
/rules/2: not for QoS 2
/rules/3: not for this address
/rules/4: does not speak of subscribe
default: does not speak of subscribe
default: does not speak of subscribe`},
		{Client{ClientID: "c1", Address: home}, Question{Action: "subscribe", Topic: "$share/g/site/+/#"},
			`true /rules/3: "site/#" covers "site/+/#"
/rules/0: not for a group of this client
/rules/1: not for this user
/rules/2: "dev/c1/#" does not cover all of "site/+/#"
/rules/3: "site/#" covers "site/+/#"`},
		{Client{ClientID: "c1", Address: home}, Question{Action: "receive", Topic: "site/secret"},
			`false /rules/4: "site/secret" matches "site/secret"
/rules/0: not for a group of this client
/rules/1: not for this user
/rules/2: does not speak of receive
/rules/3: does not speak of receive
/rules/4: "site/secret" matches "site/secret"`},
	} {
		x, err := rules.Explain(k.c, k.q)
		if err != nil {
			t.Errorf("%+v: %v", k.q, err)
			continue
		}
		got := []string{map[bool]string{true: "true ", false: "false "}[x.Allowed] + x.Rule + ": " + x.Reason}
		for _, s := range x.Steps {
			got = append(got, s.Rule+": "+s.Why)
		}
		if s := strings.Join(got, "\n"); s != k.want {
			t.Errorf("%+v %+v:\n%s\nwant\n%s", k.c, k.q, s, k.want)
		}
	}
}

// A denying rule whose name cannot be put in denies all that it could mean, and says so.
func TestExplainWidenedDeny(t *testing.T) {
	rules := rulesOf(t, `{"default":"allow","rules":[{"deny":["all"],"topics":["a/%u/b"]}]}`)
	x, err := rules.Explain(Client{Username: "x/y"}, Question{Action: "publish", Topic: "a/z"})
	if err != nil || x.Allowed || !strings.Contains(x.Reason, `everything that "a/%u/b" could mean is denied`) {
		t.Errorf("%+v, %v", x, err)
	}
	x, err = rules.Explain(Client{Username: "y"}, Question{Action: "receive", Topic: "a/z"})
	if err != nil || !x.Allowed || x.Rule != "default" {
		t.Errorf("%+v, %v", x, err)
	}
}

// The JSON form is what scripts read.
func TestExplainJSON(t *testing.T) {
	x, err := rulesOf(t, `{"rules":[{"allow":["publish"],"topics":["dev/%c"],"qos":[1]}]}`).Explain(
		Client{ClientID: "c1", Address: netip.MustParseAddr("10.0.0.7")}, Question{Action: "publish", Topic: "dev/c1", QoS: 1})
	if err != nil {
		t.Fatal(err)
	}
	const want = `{"allowed":true,"rule":"/rules/0","reason":"\"dev/c1\" matches \"dev/c1\"",` +
		`"client":{"client_id":"c1","address":"10.0.0.7"},"question":{"action":"publish","topic":"dev/c1","qos":1,"retain":false},` +
		`"steps":[{"rule":"/rules/0","text":"allow publish dev/%c, qos 1","filter":"dev/c1","decides":true,"why":"\"dev/c1\" matches \"dev/c1\""}]}`
	if got := jsonOf(t, x); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestQuestionsThatNoClientAsks(t *testing.T) {
	rules := rulesOf(t, `{}`)
	for want, q := range map[string]Question{
		"action":        {Action: "all", Topic: "a"},
		"qos 3":         {Action: "publish", Topic: "a", QoS: 3},
		"no wildcards":  {Action: "publish", Topic: "a/+"},
		"not empty":     {Action: "subscribe"},
		"$share/NAME/":  {Action: "subscribe", Topic: "$share/g"},
		"whole levels":  {Action: "subscribe", Topic: "a#"},
		"`read` is not": {Action: "read", Topic: "a"},
	} {
		if _, err := rules.Explain(Client{}, q); err == nil || !strings.Contains(err.Error(), want) && want[0] != '`' {
			t.Errorf("%+v: error %v", q, err)
		}
	}
	if _, err := ParseAddress("10.0.0.1:3"); err == nil {
		t.Error("an address with a port is taken")
	}
	if a, err := ParseAddress("::ffff:10.0.0.1"); err != nil || a != netip.MustParseAddr("10.0.0.1") {
		t.Error(a, err)
	}
}
