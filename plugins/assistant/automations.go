package assistant

import (
	"strconv"

	"github.com/patchbay-mq/patchbay/plugins/assistant/internal/automation"
)

// AutomationConfig is a rule by which messages become requests, and their answers
// messages.
type AutomationConfig struct {
	automation.Config
	Limits AccountLimits `json:"limits" doc:"Of the automation, beside those of its namespace and its assistant."`
}

// checkAutomations says what is wrong with the automations, and has each know its
// assistant.
func (c *Config) checkAutomations(list []Assistant, p *problems) {
	names := map[string]bool{}
	for i := range c.Automations {
		a := &c.Automations[i]
		at := "/automations/" + strconv.Itoa(i)
		*p = append(*p, a.Config.Check(at)...)
		if names[a.Name] {
			p.add(at+"/name", "there is another automation %q", a.Name)
		}
		names[a.Name] = true
		if len(list) == 0 {
			continue // which is a problem already
		}
		if a.Assistant == "" {
			a.Assistant = list[0].Name
		}
		one := find(list, a.Assistant)
		if one == nil {
			p.add(at+"/assistant", "there is no assistant %q", a.Assistant)
			continue
		}
		if _, known := c.price(one.Model); !known && (a.Limits.CostPerDay > 0 || a.Limits.CostPerMonth > 0) {
			p.add("/prices", "automation %q has a cost ceiling, but there is no price of %q", a.Name, one.Model)
		}
		if a.MaxAnswerTokens > one.MaxAnswerTokens {
			p.add(at+"/max_answer_tokens", "it is more than the assistant's, %d", one.MaxAnswerTokens)
		}
	}
}

func find(list []Assistant, name string) *Assistant {
	for i := range list {
		if list[i].Name == name {
			return &list[i]
		}
	}
	return nil
}

// automations are those of a checked config, at work.
func (p *plugin) startAutomations() {
	o := automation.Options{Host: p.host, Engine: p.engine, Redact: p.redact.redact}
	for i := range p.config.Automations {
		a := &p.config.Automations[i]
		o.Rules = append(o.Rules, automation.Rule{Config: a.Config, Limits: a.Limits.limits()})
	}
	p.automations = automation.New(o)
}
