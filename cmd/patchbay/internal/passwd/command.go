package passwd

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/patchbay-mq/patchbay/sdk/password"
)

// exitError is an error that knows the exit code of the process.
type exitError struct {
	code int
	err  error
}

func (e *exitError) Error() string { return e.err.Error() }
func (e *exitError) Unwrap() error { return e.err }

// ExitCode is 1 for run-time errors and 2 for usage.
func (e *exitError) ExitCode() int { return e.code }

func usagef(format string, args ...any) error   { return &exitError{2, fmt.Errorf(format, args...)} }
func runtimef(format string, args ...any) error { return &exitError{1, fmt.Errorf(format, args...)} }

type options struct {
	create, remove, batch, verify bool
	hash                          string
}

// Command returns `patchbay passwd`. The caller prints the error that executing it returns, and exits with
// its ExitCode.
func Command() *cobra.Command {
	o := &options{}
	cmd := &cobra.Command{
		Use:   "passwd [-c] [-D | --verify] [--hash KIND] FILE USER   or   passwd -b FILE USER PASSWORD",
		Short: "Keep a file of users and password hashes",
		Long: `Add a user to a password file, change the password of one, or remove one.

The password is asked for twice on a terminal; otherwise the first line of standard input is
taken. -b takes it from the command line, where other users of the machine can see it.
All other lines of FILE stay as they are; the file is replaced atomically.
Exit codes: 0 done, 1 run-time error (--verify: wrong password or no such user), 2 usage.`,
		Example: `  patchbay passwd -c users.txt alice            # a new file, replacing one of that name
  patchbay passwd users.txt bob --hash bcrypt
  pwgen 20 1 | patchbay passwd users.txt sensor-1
  patchbay passwd --verify users.txt alice
  patchbay passwd -D users.txt bob`,
		SilenceUsage: true, SilenceErrors: true, DisableFlagsInUseLine: true,
		Args: o.checkArgs,
		RunE: o.run,
		ValidArgsFunction: func(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
			if len(args) == 0 {
				return nil, cobra.ShellCompDirectiveDefault // files
			}
			return nil, cobra.ShellCompDirectiveNoFileComp
		},
	}
	f := cmd.Flags()
	f.BoolVarP(&o.create, "create", "c", false, "create FILE; one that exists is replaced, with all its users")
	f.BoolVarP(&o.remove, "delete", "D", false, "remove USER")
	f.BoolVarP(&o.batch, "batch", "b", false, "take PASSWORD from the command line")
	f.BoolVar(&o.verify, "verify", false, "check the password of USER and change nothing")
	f.StringVar(&o.hash, "hash", "argon2id", "hash function: argon2id or bcrypt")
	cmd.MarkFlagsMutuallyExclusive("create", "delete", "verify")
	cmd.MarkFlagsMutuallyExclusive("delete", "batch")
	cmd.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usagef("%w", err) })
	completion := cobra.FixedCompletions([]string{"argon2id", "bcrypt"}, cobra.ShellCompDirectiveNoFileComp)
	if err := cmd.RegisterFlagCompletionFunc("hash", completion); err != nil {
		panic(err) // the flag was not declared: a mistake in this package
	}
	return cmd
}

func (o *options) checkArgs(cmd *cobra.Command, args []string) error {
	want, names := 2, "FILE USER"
	if o.batch {
		want, names = 3, "FILE USER PASSWORD"
	}
	// Cobra would check these later, and its error would have no exit code.
	if err := cmd.ValidateFlagGroups(); err != nil {
		return &exitError{2, err}
	}
	switch {
	case len(args) == 3 && !o.batch:
		return usagef("a password on the command line needs -b; without it, it is asked for")
	case len(args) != want:
		return usagef("want %d arguments: %s", want, names)
	case o.hash != "argon2id" && o.hash != "bcrypt":
		return usagef("--hash %s: want argon2id or bcrypt", o.hash)
	}
	if err := validUser(args[1]); err != nil {
		return &exitError{2, err}
	}
	return nil
}

func (o *options) run(cmd *cobra.Command, args []string) error {
	file, user := args[0], args[1]
	var content []byte
	if !o.create {
		var err error
		if content, err = os.ReadFile(file); errors.Is(err, fs.ErrNotExist) {
			return runtimef("%s does not exist; -c creates it", file)
		} else if err != nil {
			return &exitError{1, err}
		}
	}
	var hash string
	if o.verify {
		var found bool
		if hash, found = hashOf(content, user); !found {
			return runtimef("%s: no user %s", file, user)
		}
	}
	if o.remove {
		return save(file, content, user, "")
	}
	secret, err := o.password(cmd, args)
	if err != nil {
		return err
	}
	if o.verify {
		return check(cmd.Context(), file, user, hash, secret)
	}
	if hash, err = hasher().Hash(cmd.Context(), secret, algorithms[o.hash]); err != nil {
		return &exitError{1, o.explain(err)}
	}
	return save(file, content, user, hash)
}

// save writes the file; an empty hash removes the user.
func save(file string, content []byte, user, hash string) error {
	edited, found := edit(content, user, hash)
	if hash == "" && !found {
		return runtimef("%s: no user %s", file, user)
	}
	if err := replace(file, edited); err != nil {
		return runtimef("cannot write %s: %w", file, err)
	}
	return nil
}

// algorithms are the values of --hash.
var algorithms = map[string]password.Algorithm{"argon2id": password.Argon2id, "bcrypt": password.Bcrypt}

// hasher has the bounds that the broker has: what it cannot verify is of no use.
func hasher() *password.Hasher { return password.New(password.Options{}) }

// explain says what to do about a password that is too long for its algorithm.
func (o *options) explain(err error) error {
	if errors.Is(err, password.ErrTooLong) && o.hash == "bcrypt" {
		return fmt.Errorf("%w; use --hash argon2id", err)
	}
	return err
}

func check(ctx context.Context, file, user, hash string, secret []byte) error {
	ok, err := hasher().Verify(ctx, secret, hash)
	if err != nil {
		return runtimef("%s: user %s: %w", file, user, err)
	}
	if !ok {
		return runtimef("%s: user %s: wrong password", file, user)
	}
	return nil
}

// password gets the password from where the flags say.
func (o *options) password(cmd *cobra.Command, args []string) ([]byte, error) {
	var secret []byte
	var err error
	terminal, isFile := cmd.InOrStdin().(*os.File)
	switch {
	case o.batch:
		secret = []byte(args[2])
	case isFile && term.IsTerminal(int(terminal.Fd())):
		secret, err = ask(terminal, cmd.ErrOrStderr(), !o.verify)
	default:
		secret, err = firstLine(cmd.InOrStdin())
	}
	switch {
	case err != nil:
		return nil, &exitError{1, err}
	case len(secret) == 0:
		return nil, runtimef("the password is empty")
	case len(secret) > password.MaxLen:
		return nil, runtimef("the password is longer than %d bytes, which MQTT cannot carry", password.MaxLen)
	}
	return secret, nil
}

// ask reads a password from a terminal without echo, twice if it is a new one.
func ask(terminal *os.File, prompt io.Writer, twice bool) ([]byte, error) {
	read := func(text string) ([]byte, error) {
		fmt.Fprint(prompt, text)
		password, err := term.ReadPassword(int(terminal.Fd()))
		fmt.Fprintln(prompt) // the newline that was typed was not echoed
		if err != nil {
			return nil, fmt.Errorf("reading the password: %w", err)
		}
		return password, nil
	}
	password, err := read("Password: ")
	if err != nil || !twice {
		return password, err
	}
	again, err := read("Again: ")
	if err != nil {
		return nil, err
	}
	if !bytes.Equal(password, again) {
		return nil, errors.New("the passwords are not the same; nothing was changed")
	}
	return password, nil
}

// firstLine reads a password that a program writes.
func firstLine(in io.Reader) ([]byte, error) {
	line, err := bufio.NewReaderSize(io.LimitReader(in, password.MaxLen+3), 4096).ReadBytes('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("reading the password from standard input: %w", err)
	}
	return bytes.TrimSuffix(bytes.TrimSuffix(line, []byte("\n")), []byte("\r")), nil
}
