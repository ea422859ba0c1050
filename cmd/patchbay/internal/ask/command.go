package ask

import (
	"bufio"
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/user"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/patchbay-mq/patchbay/cmd/patchbay/internal/client"
	"github.com/patchbay-mq/patchbay/core/topic"
)

// options are the flags.
type options struct {
	client.Flags
	assistant, conversation, prefix string
	system                          string
	images                          []string
	forget                          bool
	whole, json, usage, stdin       bool
	timeout                         time.Duration
}

// Command returns the command. Its errors have a method ExitCode, as those of package
// client: 1 run-time error (an error of the assistant included), 2 usage, 27 no answer
// in time.
func Command() *cobra.Command {
	o := &options{}
	cmd := &cobra.Command{
		Use:   `ask [flags] ["question"]`,
		Short: "Ask the AI assistant of a broker",
		Long: `Ask the plugin assistant of a broker, and print the answer as it comes.

Without a question it is read from standard input: all of it at once, or in a terminal
line by line, as a conversation. With --conversation the assistant remembers what was
said before, also the next time.
Exit codes: 0 answered, 1 run-time error, 2 usage, 27 no answer in time (--timeout).`,
		Example: `  patchbay ask "what is an MQTT bridge?"
  patchbay ask --assistant poet -h broker.example -u ann -P secret "a haiku on QoS 1"
  patchbay ask --conversation plan "three names for a boat"
  patchbay ask --conversation plan "the second one in Latin"
  journalctl -u patchbay -n 50 | patchbay ask --stdin "what went wrong here?"
  patchbay ask --image chart.png "what does it show?"`,
	}
	o.AddTo(cmd)
	f := cmd.Flags()
	f.StringVar(&o.assistant, "assistant", "main", "name of the assistant")
	f.StringVar(&o.conversation, "conversation", "", "name of the conversation to go on with (default: a new one)")
	f.StringVar(&o.prefix, "prefix", "assistant", "what the assistant's topics begin with")
	f.StringVar(&o.system, "system", "", "how to answer, if the assistant lets clients say that")
	f.BoolVar(&o.stdin, "stdin", false, "put standard input behind the question")
	f.StringArrayVar(&o.images, "image", nil, "image file to look at, if the model can (repeatable)")
	f.BoolVar(&o.forget, "forget", false, "forget the conversation before the question")
	f.BoolVar(&o.whole, "no-stream", false, "print the answer when it is whole")
	f.BoolVar(&o.json, "json", false, "print the answer as JSON, with what it has cost")
	f.BoolVar(&o.usage, "usage", false, "say on stderr how many tokens the answer took")
	f.DurationVar(&o.timeout, "timeout", 3*time.Minute, "how long to wait for an answer")
	return client.Finish(cmd, func(ctx context.Context, args []string) error { return o.run(ctx, cmd, args) })
}

// run asks what the arguments or standard input say.
func (o *options) run(ctx context.Context, cmd *cobra.Command, args []string) error {
	question := strings.TrimSpace(strings.Join(args, " "))
	in := cmd.InOrStdin()
	talk := question == "" && isTerminal(in) && !o.forget
	if o.stdin || question == "" && !isTerminal(in) {
		b, err := io.ReadAll(in)
		if err != nil {
			return fmt.Errorf("reading standard input: %w", err)
		}
		question = strings.TrimSpace(question + "\n\n" + string(b))
		if question == "" && len(o.images) == 0 && !o.forget {
			return client.UsageError("no question: give it as an argument or on standard input")
		}
	}
	e, err := o.exchange(cmd)
	if err != nil {
		return err
	}
	if err := e.connect(ctx, cmd); err != nil {
		return err
	}
	if talk {
		err = e.talk(ctx, in)
	} else {
		err = e.ask(ctx, question)
	}
	if closing := e.session.Close(); err == nil {
		err = closing
	}
	return err
}

// isTerminal reports whether a standard stream is a terminal.
func isTerminal(stream any) bool {
	file, ok := stream.(*os.File)
	return ok && term.IsTerminal(int(file.Fd()))
}

// exchange checks the flags.
func (o *options) exchange(cmd *cobra.Command) (*exchange, error) {
	named := o.conversation != ""
	if !named {
		o.conversation = "ask-" + strings.ToLower(rand.Text()[:12])
	} else {
		// The assistant remembers by client: the same one has to come again.
		o.SetID("patchbay-ask-" + person() + "-" + o.conversation)
	}
	if o.timeout <= 0 {
		return nil, client.UsageError("--timeout %s: want more than 0", o.timeout)
	}
	for flag, level := range map[string]string{"--assistant": o.assistant, "--conversation": o.conversation} {
		if err := topic.ValidNameString(level); err != nil || strings.Contains(level, "/") {
			return nil, client.UsageError("%s %q: want one level of a topic", flag, level)
		}
	}
	if err := topic.ValidNameString(o.prefix); err != nil {
		return nil, client.UsageError("--prefix: %w", err)
	}
	e := &exchange{
		o: o, base: strings.Join([]string{o.prefix, o.assistant, o.conversation}, "/"),
		out: cmd.OutOrStdout(), err: cmd.ErrOrStderr(), terminal: isTerminal(cmd.OutOrStdout()), messages: make(chan message, 1024),
	}
	for _, file := range o.images {
		url, err := dataURL(file)
		if err != nil {
			return nil, err
		}
		e.images = append(e.images, url)
	}
	return e, nil
}

// person is who sits here, so that two people with conversations of the same name are
// two clients.
func person() string {
	name := "somebody"
	if u, err := user.Current(); err == nil {
		name = u.Username
	}
	if host, err := os.Hostname(); err == nil {
		name += "@" + host
	}
	return name
}

// dataURL is an image as the assistant takes it.
func dataURL(file string) (string, error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return "", fmt.Errorf("--image: %w", err)
	}
	kind := http.DetectContentType(b)
	if !strings.HasPrefix(kind, "image/") {
		return "", fmt.Errorf("--image %s: it is not an image but %s", file, kind)
	}
	return "data:" + kind + ";base64," + base64.StdEncoding.EncodeToString(b), nil
}

// talk asks line by line.
func (e *exchange) talk(ctx context.Context, in io.Reader) error {
	lines := make(chan string)
	failed := make(chan error, 1)
	go func() { // it may go on reading when the connection has ended; the program ends then
		s := bufio.NewScanner(in)
		s.Buffer(nil, 1<<20)
		for s.Scan() {
			lines <- s.Text()
		}
		failed <- s.Err()
	}()
	for {
		fmt.Fprint(e.err, "> ")
		select {
		case line := <-lines:
			if line = strings.TrimSpace(line); line == "" {
				continue
			}
			var told *toldError
			if err := e.ask(ctx, line); errors.As(err, &told) {
				fmt.Fprintln(e.err, err)
			} else if err != nil {
				return err
			}
		case err := <-failed:
			fmt.Fprintln(e.err)
			return err
		case <-e.session.Ended():
			return e.session.Err()
		case <-ctx.Done():
			fmt.Fprintln(e.err)
			return nil
		}
	}
}
