package assistant

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"regexp"
	"strconv"
	"strings"

	"github.com/patchbay-mq/patchbay/plugins/assistant/internal/budget"
	"github.com/patchbay-mq/patchbay/plugins/assistant/internal/engine"
	"github.com/patchbay-mq/patchbay/plugins/assistant/internal/model"
	"github.com/patchbay-mq/patchbay/plugins/internal/bridge"
	"github.com/patchbay-mq/patchbay/sdk"
)

// problems collects what is wrong with a config.
type problems []error

func (p *problems) add(at, format string, args ...any) {
	*p = append(*p, sdk.NewProblem(at, fmt.Sprintf(format, args...)))
}

// all returns the assistants of a config, what they do not say filled in, with where each
// of them stands in the config.
func (c *Config) all() (list []Assistant, at []string) {
	top := Assistant{
		Name: c.Name, BaseURL: c.BaseURL, APIKey: c.APIKey, Model: c.Model, System: c.System, Temperature: c.Temperature,
		ReasoningEffort: c.ReasoningEffort, MaxAnswerTokens: c.MaxAnswerTokens, MaxInputTokens: c.MaxInputTokens,
		Images: &c.Images, Limits: &c.Limits.Assistant,
	}
	if c.Model != "" {
		list, at = append(list, top), append(at, "")
	}
	for i, a := range c.Assistants {
		if a.BaseURL == "" || a.BaseURL == top.BaseURL {
			a.BaseURL = top.BaseURL
			a.APIKey = or(a.APIKey, top.APIKey)
		}
		a.Model, a.System, a.ReasoningEffort = or(a.Model, top.Model), or(a.System, top.System), or(a.ReasoningEffort, top.ReasoningEffort)
		a.MaxAnswerTokens, a.MaxInputTokens = or(a.MaxAnswerTokens, top.MaxAnswerTokens), or(a.MaxInputTokens, top.MaxInputTokens)
		a.Temperature, a.Images, a.Limits = or(a.Temperature, top.Temperature), or(a.Images, top.Images), or(a.Limits, top.Limits)
		list, at = append(list, a), append(at, "/assistants/"+strconv.Itoa(i))
	}
	return list, at
}

func or[T comparable](x, otherwise T) T {
	var zero T
	if x == zero {
		return otherwise
	}
	return x
}

// check says what is wrong with a config, as problems with pointers.
func (c *Config) check() error {
	var p problems
	if err := bridge.CheckTopic(c.Prefix); err != nil {
		p.add("/prefix", "%v", err)
	} else if strings.HasPrefix(c.Prefix, "$") || strings.HasPrefix(c.Prefix, "/") || strings.HasSuffix(c.Prefix, "/") {
		p.add("/prefix", "%q: it neither begins with $ nor has a slash at an end; as \"assistant\" or \"site/ai\"", c.Prefix)
	}
	list, at := c.all()
	if len(list) == 0 {
		p.add("/model", "there is no assistant: name a model here, as gpt-4o-mini, or in assistants")
	}
	names := map[string]bool{}
	for i := range list {
		list[i].check(at[i], c, names, &p)
	}
	c.Answers.check(&p)
	c.checkAutomations(list, &p)
	c.checkTools(&p)
	if c.Allow.TemperatureMax < c.Allow.TemperatureMin {
		p.add("/allow/temperature_max", "it is lower than temperature_min")
	}
	if c.Endpoint.RetryMax < c.Endpoint.RetryMin {
		p.add("/endpoint/retry_max", "it is shorter than retry_min")
	}
	if c.Conversations.MaxTokens >= c.MaxInputTokens {
		p.add("/conversations/max_tokens", "it is not less than max_input_tokens: a full conversation would leave no room for a question")
	}
	if c.Moderation.BaseURL != "" {
		checkURL(c.Moderation.BaseURL, "/moderation/base_url", &p)
	}
	if c.AuditTopic != "" {
		if err := bridge.CheckTopic(c.AuditTopic); err != nil {
			p.add("/audit_topic", "%v", err)
		}
	}
	if _, err := c.TLS.config(); err != nil {
		p = append(p, err)
	}
	if _, err := newRedactor(c.Log.Redact); err != nil {
		p = append(p, err)
	}
	return sdk.Problems(p...)
}

// name is what an assistant may be called: one level of a topic that needs no quotes.
var name = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]*$`)

func (a *Assistant) check(at string, c *Config, names map[string]bool, p *problems) {
	if !name.MatchString(a.Name) {
		p.add(at+"/name", "%q: a name has letters, digits, \".\", \"_\" and \"-\", and begins with a letter or a digit", a.Name)
	}
	if names[a.Name] {
		p.add(at+"/name", "there is another assistant %q", a.Name)
	}
	names[a.Name] = true
	if a.Model == "" {
		p.add(at+"/model", "the model is missing")
	}
	checkURL(a.BaseURL, at+"/base_url", p)
	if _, known := c.price(a.Model); !known && c.costs(a.Limits) {
		p.add("/prices", "there is a cost ceiling, but no price of %q: add {model: %q, input: …, output: …}, per million tokens", a.Model, a.Model)
	}
}

// costs reports whether a cost ceiling concerns an assistant.
func (c *Config) costs(l *AccountLimits) bool {
	for _, one := range []*AccountLimits{l, &c.Limits.Client, &c.Limits.Namespace} {
		if one.CostPerDay > 0 || one.CostPerMonth > 0 {
			return true
		}
	}
	return false
}

func checkURL(s, at string, p *problems) {
	u, err := url.Parse(s)
	switch {
	case err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https":
		p.add(at, "want a URL as https://api.openai.com/v1 or http://127.0.0.1:11434/v1") // not shown: it may hold a key
	case u.User != nil:
		p.add(at, "a URL with a password in it is shown in logs; use api_key or headers")
	case u.RawQuery != "" || u.Fragment != "":
		p.add(at, "a base URL has no ? and no #")
	}
}

func (a *Answers) check(p *problems) {
	for i, f := range a.ResponseTopics {
		at := "/answers/response_topics/" + strconv.Itoa(i)
		if err := bridge.CheckFilter(placeholders("c", "u").Replace(f)); err != nil {
			p.add(at, "%v", err)
		} else if strings.HasPrefix(f, "$") && !strings.HasPrefix(f, "${") {
			p.add(at, "%q: what begins with $ is the broker's own", f)
		}
	}
}

// placeholders of response_topics.
func placeholders(clientID, username string) *strings.Replacer {
	return strings.NewReplacer("${client_id}", clientID, "${username}", username)
}

// config is the client's side of TLS. Its error is a problem with a pointer.
func (t *TLS) config() (*tls.Config, error) {
	c := &tls.Config{InsecureSkipVerify: t.InsecureSkipVerify} // the operator's wish, with a warning in its doc
	if t.CAFile != "" {
		pem, err := os.ReadFile(t.CAFile)
		if err != nil {
			return nil, sdk.NewProblem("/tls/ca_file", err.Error())
		}
		c.RootCAs = x509.NewCertPool()
		if !c.RootCAs.AppendCertsFromPEM(pem) {
			return nil, sdk.NewProblem("/tls/ca_file", "there is no certificate in PEM in "+t.CAFile)
		}
	}
	if (t.CertFile == "") != (t.KeyFile == "") {
		return nil, sdk.NewProblem("/tls/cert_file", "cert_file and cert_key_file belong together")
	}
	if t.CertFile != "" {
		cert, err := tls.LoadX509KeyPair(t.CertFile, t.KeyFile)
		if err != nil {
			return nil, sdk.NewProblem("/tls/cert_file", err.Error())
		}
		c.Certificates = []tls.Certificate{cert}
	}
	return c, nil
}

// price finds a model in the price table.
func (c *Config) price(m string) (engine.Price, bool) {
	for _, p := range c.Prices {
		prefix, open := strings.CutSuffix(p.Model, "*")
		if m == p.Model || open && strings.HasPrefix(m, prefix) {
			return engine.Price{Input: p.Input, Output: p.Output}, true
		}
	}
	return engine.Price{}, false
}

func (l *AccountLimits) limits() budget.Limits {
	return budget.Limits{
		RequestsPerMinute: l.RequestsPerMinute, RequestsPerDay: l.RequestsPerDay, TokensPerMinute: l.TokensPerMinute,
		TokensPerDay: l.TokensPerDay, CostPerDay: l.CostPerDay, CostPerMonth: l.CostPerMonth,
	}
}

// transport makes connections to endpoints: as many as questions run.
func (c *Config) transport() (http.RoundTripper, error) {
	secure, err := c.TLS.config()
	if err != nil {
		return nil, err
	}
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.TLSClientConfig = secure
	t.MaxIdleConns, t.MaxIdleConnsPerHost = c.Limits.MaxRunning, c.Limits.MaxRunning
	return t, nil
}

// assistants are those of a checked config, at work.
func (c *Config) assistants() ([]*engine.Assistant, error) {
	transport, err := c.transport()
	if err != nil {
		return nil, err
	}
	e := &c.Endpoint
	endpoint := func(base, key string) *model.Client {
		return model.New(model.Settings{
			BaseURL: base, Key: key, Organization: c.Organization, Headers: c.Headers, Transport: transport,
			Whole: e.Whole, NoUsage: e.NoUsage, FirstToken: e.FirstToken.Std(), Idle: e.Idle.Std(), Retries: e.Retries,
			RetryMin: e.RetryMin.Std(), RetryMax: e.RetryMax.Std(), BreakerFailures: e.BreakerFailures, BreakerPause: e.BreakerPause.Std(),
		})
	}
	list, _ := c.all()
	var out []*engine.Assistant
	for i := range list {
		a := &list[i]
		price, _ := c.price(a.Model)
		one := &engine.Assistant{
			Name: a.Name, Client: endpoint(a.BaseURL, a.APIKey.Reveal()), Model: a.Model, System: a.System, Temperature: a.Temperature,
			ReasoningEffort: a.ReasoningEffort, MaxInput: a.MaxInputTokens, MaxOutput: a.MaxAnswerTokens, Price: price, Limits: a.Limits.limits(),
			ToolRounds: c.Tools.Rounds, ToolCalls: c.Tools.Calls, ToolTimeout: c.Tools.Longest() + toolMargin, ToolResult: int(c.Tools.MaxResult),
		}
		if m := &c.Moderation; m.Check != "off" {
			one.Moderation = &engine.Moderation{Client: one.Client, Model: m.Model, Output: m.Check == "both", Open: m.IfUnavailable == "allow"}
			if m.BaseURL != "" {
				one.Moderation.Client = endpoint(m.BaseURL, m.APIKey.Reveal())
			}
		}
		out = append(out, one)
	}
	return out, nil
}
