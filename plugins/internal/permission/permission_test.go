package permission

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/patchbay-mq/patchbay/sdk"
)

func decoded(t testing.TB, text string) any {
	t.Helper()
	d := json.NewDecoder(strings.NewReader(text))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		t.Fatal(err)
	}
	return v
}

func TestPermissions(t *testing.T) {
	const pub, sub, rec = sdk.AccessPublish, sdk.AccessSubscribe, sdk.AccessReceive
	p := func(allow bool, actions sdk.Access, filter string, qos uint32, retain sdk.RetainRule) sdk.Permission {
		return sdk.Permission{Allow: allow, Actions: uint32(actions), TopicFilter: filter, QoS: qos, Retain: retain}
	}
	for text, want := range map[string][]sdk.Permission{
		`[]`:                                 nil,
		`{}`:                                 nil,
		`[{"allow":"publish","topics":"a"}]`: {p(true, pub, "a", 0, 0)},
		`[{"permission":"allow","action":"all","topic":"eq a/b"}]`: {p(true, pub|sub, "a/b", 0, 0)},
		`[{"deny":["all"],"topics":["a/#","+"]},{"allow":["receive","subscribe"],"topics":["${client_id}/${username}"],"qos":[0,2],"retain":true}]`: {
			p(false, pub|sub, "a/#", 0, 0), p(false, pub|sub, "+", 0, 0), p(true, sub|rec, "c/ann", 5, sdk.RetainOnlyRetained),
		},
		`{"pub":["a","b/${clientid}"],"sub":"c","all":["d"]}`: {
			p(true, pub, "a", 0, 0), p(true, pub, "b/c", 0, 0), p(true, sub, "c", 0, 0), p(true, pub|sub, "d", 0, 0),
		},
		`[{"permission":"allow","action":"publish","topic":"a","qos":1,"retain":"all"},{"permission":"deny","action":"all","topic":"#","retain":0}]`: {
			p(true, pub, "a", 2, 0), p(false, pub|sub, "#", 0, sdk.RetainNotRetained),
		},
	} {
		got, err := Read(decoded(t, text), Who{"ann", "c"})
		if err != nil || fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("%s: %+v, %v", text, got, err)
		}
	}
}

// What is not understood makes no rule, and no rule without it.
func TestPermissionsThatAreRefused(t *testing.T) {
	for text, want := range map[string]string{
		`"all"`:                 "neither a list nor an object",
		`[1]`:                   "[0] is not an object",
		`[{}]`:                  "allow or deny, and topics, have to be there",
		`[{"allow":"publish"}]`: "have to be there",
		`[{"topics":"a"}]`:      "have to be there",
		`[{"allow":"publish","deny":"publish","topics":"a"}]`:          "either allow or deny",
		`[{"allow":"puplish","topics":"a"}]`:                           `puplish is none of`,
		`[{"allow":[],"topics":"a"}]`:                                  "a list of publish",
		`[{"allow":"publish","topics":"a","user":"x"}]`:                `"user" is not known`,
		`[{"allow":"publish","topics":"a","qos":3}]`:                   "qos: 0, 1, 2",
		`[{"allow":"publish","topics":"a","qos":[]}]`:                  "no level at all",
		`[{"allow":"publish","topics":"a","qos":{"a":1}}]`:             "qos: 0, 1, 2",
		`[{"allow":"publish","topics":"a","retain":[1]}]`:              "neither true nor false",
		`[{"allow":"publish","topics":[1]}]`:                           "not a Topic Filter",
		`[{"allow":"publish","topics":"a/#/b"}]`:                       "+ and # stand for",
		`[{"allow":"publish","topics":"a+"}]`:                          "+ and # stand for",
		`[{"allow":"publish","topics":""}]`:                            "not a Topic Filter",
		`[{"allow":"publish","topics":"$share/g/a"}]`:                  "which has no $share",
		`[{"allow":"publish","topics":"${x}"}]`:                        "${x} is not one of",
		`[{"allow":"publish","topics":"${username}/#"}]`:               "cannot be in a Topic Filter",
		`[{"allow":"publish","topics":"a/${client_id}"}]`:              "cannot be in a Topic Filter",
		`[{"permission":"allow","action":"publish"}]`:                  "action and topic have to be there",
		`[{"permission":"ok","action":"publish","topic":"a"}]`:         "neither allow nor deny",
		`[{"permission":"allow","action":"receive","topic":"a"}]`:      "none of publish",
		`[{"permission":"allow","action":"publish","topic":"eq a/+"}]`: "eq is not possible",
		`[{"permission":"allow","action":"publish","topics":["a"]}]`:   `"topics" is not known`,
		`{"pub":["a"],"sbu":["b"]}`:                                    "more in it than",
		`{"pub":1}`:                                                    "pub: not a Topic Filter",
		`{"pub":[` + strings.Repeat(`"a",`, Max) + `"a"]}`:             "more than 1024",
	} {
		// This user has a name that must not get into filters, and this client no id.
		if got, err := Read(decoded(t, text), Who{"+", ""}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.80s: %+v, %v, want %s", text, got, err, want)
		}
	}
}

func FuzzPermissions(f *testing.F) {
	f.Add(`[{"deny":["all"],"topics":["a/#"],"qos":[0,2],"retain":true}]`, "ann", "c")
	f.Add(`{"pub":["a","b/${clientid}"],"sub":"c","all":["d"]}`, "$x", "a/b")
	f.Add(`[{"permission":"allow","action":"publish","topic":"${username}/x","qos":1,"retain":"all"}]`, "+", "")
	f.Fuzz(func(t *testing.T, text, username, clientID string) {
		d := json.NewDecoder(strings.NewReader(text))
		d.UseNumber()
		var v any
		if d.Decode(&v) != nil {
			return
		}
		out, err := Read(v, Who{username, clientID})
		if err != nil {
			return
		}
		for _, p := range out {
			if p.Actions == 0 || checkFilter(p.TopicFilter) != nil {
				t.Errorf("%s: %+v", text, p)
			}
		}
	})
}

// A superuser may do all things, those of topics that "#" does not match too.
func TestEverything(t *testing.T) {
	for _, p := range Everything() {
		if !p.Allow || p.Actions != uint32(sdk.AccessPublish|sdk.AccessSubscribe|sdk.AccessReceive) || checkFilter(p.TopicFilter) != nil {
			t.Errorf("%+v", p)
		}
	}
}
