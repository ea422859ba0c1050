package authhttp

import (
	"io"
	"log"
	"strings"
	"testing"

	"github.com/patchbay-mq/patchbay/sdk/plugintest"
)

func quiet() *log.Logger { return log.New(io.Discard, "", 0) }

func TestRefusedConfigs(t *testing.T) {
	const url = `"url":"http://127.0.0.1/"`
	with := func(mode, more string) string { return `{"mode":"` + mode + `","authenticate":{` + url + more + `}}` }
	for config, want := range map[string]string{
		`{}`:                  ` there is nobody to ask`,
		`{"authenticate":{}}`: `/authenticate/url is required`,
		`{"mode":"x","authenticate":{"url":"http://a/"}}`:                                   `/mode must be one of`,
		`{"authenticate":{"url":"auth.example.com"}}`:                                       `/authenticate/url it has to be a URL`,
		`{"authenticate":{"url":"ftp://auth.example.com"}}`:                                 `/authenticate/url it has to be a URL`,
		`{"authenticate":{"url":"http://a:b@auth.example.com"}}`:                            `/authenticate/url name and password`,
		`{"authenticate":{"url":"http://a/#x"}}`:                                            `/authenticate/url a URL that is asked has no fragment`,
		`{"authenticate":{"url":"http://a/${username}"}}`:                                   `/authenticate/url ${username} does not stand for anything here`,
		`{"mode":"emqx","authenticate":{"url":"http://${username}/"}}`:                      `/authenticate/url which host`,
		`{"mode":"emqx","authenticate":{"url":"http://a/?t=${topic}"}}`:                     `/authenticate/url ${topic} does not stand`,
		`{"mode":"emqx","authorize":{"url":"http://a/?t=${password}"}}`:                     `/authorize/url ${password} does not stand`,
		`{"mode":"emqx","authenticate":{"url":"http://a/${username"}}`:                      `/authenticate/url a ${ without`,
		with("emqx", `,"body":{"a/b":"${user}"}`):                                           `/authenticate/body/a~1b ${user} does not stand`,
		with("emqx", `,"headers":{"x":"${user}"}`):                                          `/authenticate/headers/x ${user} does not stand`,
		with("emqx", `,"headers":{"x y":"z"}`):                                              `/authenticate/headers/x y it is no name`,
		with("emqx", `,"headers":{"x":"a\nb"}`):                                             `/authenticate/headers/x a header is one line`,
		with("emqx", `,"headers":{"content-type":"text/plain"}`):                            `/authenticate/headers/content-type this header is not yours`,
		with("patchbay", `,"method":"GET"`):                                                 `/authenticate/method the question is in the body`,
		with("patchbay", `,"encoding":"form"`):                                              `/authenticate/encoding the question is JSON`,
		with("patchbay", `,"body":{"a":"b"}`):                                               `/authenticate/body it belongs to mode emqx`,
		with("mosquitto-go-auth", `,"method":"GET","encoding":"form"`):                      `/authenticate/encoding a form needs POST`,
		with("patchbay", `},"superuser":{`+url):                                             `/superuser it belongs to mode mosquitto-go-auth`,
		with("emqx", `},"permit":{`+url):                                                    `/permit it belongs to mode patchbay`,
		with("emqx", `},"methods":["X"],"superuser":{`+url):                                 `/superuser it belongs to mode mosquitto-go-auth`,
		with("emqx", `},"methods":["X"],"authorize":{`+url):                                 `/methods it belongs to mode patchbay`,
		with("emqx", `},"subscribe_acc":[4],"authorize":{`+url):                             `/subscribe_acc it belongs to mode mosquitto-go-auth`,
		with("mosquitto-go-auth", `},"subscribe_acc":[2],"authorize":{`+url):                `/subscribe_acc/0 4 is subscribe, 1 is read`,
		`{"mode":"mosquitto-go-auth","superuser":{` + url + `},"authorize":{` + url + `}}`:  `/superuser it is asked about clients that authenticate`,
		with("patchbay", `},"timeout":"5s","wait":"4s","authorize":{`+url):                  `/wait it must not be shorter`,
		with("patchbay", `},"tls":{"ca_file":"/does/not/exist"},"authorize":{`+url):         `/tls/ca_file open /does/not/exist`,
		with("patchbay", `},"tls":{"ca_file":"config_test.go"},"authorize":{`+url):          `/tls/ca_file config_test.go has no certificate`,
		with("patchbay", `},"tls":{"cert_file":"a"},"authorize":{`+url):                     `/tls/cert_file a certificate needs its key`,
		with("patchbay", `},"tls":{"cert_file":"a","cert_key_file":"b"},"authorize":{`+url): `/tls/cert_file open a`,
		with("patchbay", `,"urll":"x"`):                                                     `/authenticate/urll unknown key "urll", did you mean "url"?`,
	} {
		_, res := plugintest.StartResponse(t, plugintest.Builtin(Plugin()), plugintest.NewHost(), config)
		if len(res.Problems) == 0 {
			t.Errorf("%s is taken", config)
			continue
		}
		got := res.Problems[0].Pointer + " " + res.Problems[0].Message
		if !strings.HasPrefix(got, want) {
			t.Errorf("%s: %s, want %s", config, got, want)
		}
	}
}
