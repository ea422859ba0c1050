package plugincmd

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/patchbay-mq/patchbay/cmd/patchbay/internal/config"
	"github.com/patchbay-mq/patchbay/plugins/acl"
)

// aclPlugin is the name of the plugin whose rules are explained.
const aclPlugin = "acl"

// explain are the flags of `patchbay acl explain`.
type explain struct {
	config, plugin, address string
	client                  acl.Client
	qos                     uint8
	retain, json            bool
}

// ACLCommand returns `patchbay acl` with its sub-command explain, which needs no
// running broker.
func ACLCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "acl",
		Short: "Explain what the rules of the plugin acl allow",
		Args:  cobra.NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	e := &explain{}
	sub := &cobra.Command{
		Use:   "explain publish|subscribe|receive TOPIC",
		Short: "Say whether a client may do something, by which rule, and why not by another",
		Long: `Says whether a client may publish to a topic, subscribe to a Topic Filter or receive what is
published to a topic, by the rules of the plugin acl in the configuration, which rule
decides, and why those before it do not. No broker is asked, and nothing is changed.
Groups and attributes are what authentication would give the client.`,
		Example: `  patchbay acl explain publish plant/1/state --user press-1 --client-id press-1
  patchbay acl explain subscribe 'plant/#' -u alice -g operators --address 10.1.2.3 --json`,
		Args:         e.args,
		SilenceUsage: true, SilenceErrors: true,
		ValidArgs: []string{"publish", "subscribe", "receive"},
		RunE:      e.run,
	}
	f := sub.Flags()
	f.StringVarP(&e.config, "config", "c", "", "configuration `FILE` of the broker (default as for serve)")
	f.StringVar(&e.plugin, "plugin", "", "`NAME` of the entry of plugins, if several are of acl (default: the first)")
	f.StringVarP(&e.client.Username, "user", "u", "", "user name of the client (default: it has none)")
	f.StringVarP(&e.client.ClientID, "client-id", "i", "", "client id of the client")
	f.StringVar(&e.client.Namespace, "namespace", "", "namespace of the client (default: the default one)")
	f.StringArrayVarP(&e.client.Groups, "group", "g", nil, "a group that the client is in; may be given several times")
	f.StringToStringVar(&e.client.Attributes, "attribute", nil, "an attribute of the client (`NAME=VALUE`); may be given several times")
	f.StringVar(&e.address, "address", "127.0.0.1", "address of the client, or unix")
	f.Uint8Var(&e.qos, "qos", 0, "QoS of the message or subscription")
	f.BoolVar(&e.retain, "retain", false, "the message has the RETAIN flag")
	f.BoolVar(&e.json, "json", false, "write JSON")
	sub.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usageError{err} })
	cmd.AddCommand(sub)
	return cmd
}

func (e *explain) args(cmd *cobra.Command, args []string) error {
	if err := cobra.ExactArgs(2)(cmd, args); err != nil {
		return usageError{fmt.Errorf("%s: %w: what the client wants to do, and the topic", cmd.CommandPath(), err)}
	}
	return nil
}

func (e *explain) run(cmd *cobra.Command, args []string) error {
	var err error
	if e.client.Address, err = acl.ParseAddress(e.address); err != nil {
		return usageError{fmt.Errorf("--address: %w", err)}
	}
	file, err := config.Find(e.config, os.Environ(), ".")
	if err != nil {
		return err
	}
	c, meta, err := config.Load(config.Sources{File: file, Environ: os.Environ()})
	if err != nil {
		return err
	}
	i, err := e.find(c)
	if err != nil {
		return usageError{err}
	}
	where := fmt.Sprintf("plugins[%d].config", i)
	rules, err := acl.Load(c.Plugins[i].Config.Text)
	if err != nil {
		return usageError{fmt.Errorf("%s: %s: %w", meta.Source(where), where, err)}
	}
	answer, err := rules.Explain(e.client, acl.Question{Action: args[0], Topic: args[1], QoS: e.qos, Retain: e.retain})
	if err != nil {
		return usageError{err}
	}
	if e.json {
		out := json.NewEncoder(cmd.OutOrStdout())
		out.SetEscapeHTML(false)
		out.SetIndent("", "  ")
		return out.Encode(answer)
	}
	return printExplanation(cmd.OutOrStdout(), answer, fmt.Sprintf("plugin %s, %s", c.Plugins[i].Name, meta.Source(where)))
}

// find returns the entry of plugins whose rules count.
func (e *explain) find(c *config.Config) (int, error) {
	for i := range c.Plugins {
		p := &c.Plugins[i]
		isACL := p.Path == "" && (p.Plugin == aclPlugin || p.Plugin == "" && p.Name == aclPlugin)
		switch {
		case e.plugin == "" && isACL && p.Enabled:
			return i, nil
		case e.plugin == p.Name && isACL:
			return i, nil
		case e.plugin == p.Name:
			return 0, fmt.Errorf("--plugin %s: this entry is not of the compiled-in plugin acl", e.plugin)
		}
	}
	if e.plugin != "" {
		return 0, fmt.Errorf("--plugin %s: there is no such entry of plugins", e.plugin)
	}
	return 0, errors.New("the configuration has no plugin acl: without one, and without another that decides, everything is allowed")
}

// printExplanation writes an explanation for people.
func printExplanation(w io.Writer, a *acl.Explanation, where string) error {
	verdict := "denied"
	if a.Allowed {
		verdict = "allowed"
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s by %s: %s\n", verdict, a.Rule, a.Reason)
	fmt.Fprintf(&b, "(rules of %s)\n", where)
	if len(a.Steps) > 0 {
		b.WriteByte('\n')
	}
	table := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	for _, s := range a.Steps {
		mark := " "
		if s.Decides {
			mark = ">"
		}
		fmt.Fprintf(table, "%s %s\t%s\t%s\n", mark, s.Rule, s.Text, s.Why)
	}
	table.Flush() // into memory: cannot fail
	_, err := io.WriteString(w, b.String())
	return err
}
