package process

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/patchbay-mq/patchbay/sdk/instance"
	pluginv1 "github.com/patchbay-mq/patchbay/sdk/proto/v1"
)

// Options say what to run and what it may use. The zero value of each is its default,
// where there is one.
type Options struct {
	// Path of the program. A relative one is taken from the broker's working directory.
	Path string
	// Args for the program, without its name.
	Args []string
	// Self runs the broker's own program, the very file that is running, instead of Path. It
	// needs no SHA256.
	Self bool
	// SHA256 that the program must have, in hex.
	SHA256 string
	// Dev lets a program run without SHA256.
	Dev bool

	// Env lists the variables that the program gets, as "NAME" to pass on the broker's, if
	// it has it, or "NAME=value". It gets nothing else but those of the handshake (PATCHBAY_PLUGIN…,
	// PLUGIN_…), which cannot be listed.
	Env []string
	// Dir is the working directory of the program. Empty: that of the broker.
	Dir string
	// SocketDir is where a private folder for the socket is made, with mode 0700: the folder for temporary files. A
	// socket's name is limited, to about 100 bytes, so it must be a short one. A broker that was killed leaves
	// folders "plugin-dir…" behind in it.
	SocketDir string

	// StartTimeout bounds Open, besides its context: 10 s.
	StartTimeout time.Duration
	// Grace is how long the process may take to end after SIGTERM before it is killed: 3 s.
	Grace time.Duration

	// Window is how many batches may be unanswered: 8, which is also the most that the contract permits.
	Window int
	// MaxMessage is the largest message that is taken from the plugin, in bytes: 32 MiB. A broker
	// whose clients may send larger packets, and whose plugins may replace them, needs more.
	MaxMessage int

	// Log gets what the program writes to stdout and stderr, line by line; text is UTF-8, without
	// line breaks, up to 4 KiB. It must not block, and be safe for concurrent use. With nil the lines go
	// to Log of the Service that Open was called with.
	Log func(level pluginv1.LogLevel, text string)
	// LogRate is how many lines per second go to Log, with a burst of four times as many: 100.
	// The rest is dropped, and a line says how many they were. A program that writes more than 1 MiB per
	// second is made to wait.
	LogRate int

	// Reattach, if not nil, uses a plugin that somebody else has started, under a debugger. Nothing
	// is started, checked or killed then, and the connection is not encrypted.
	Reattach *Reattach
}

// Lifeline is the environment variable that tells a program what ends with the broker: its
// value is LifelineStdin.
const (
	Lifeline      = instance.LifelineKey
	LifelineStdin = instance.LifelineStdin
)

func (o Options) withDefaults() Options {
	or(&o.StartTimeout, 10*time.Second)
	or(&o.Grace, 3*time.Second)
	or(&o.Window, maxWindow)
	or(&o.MaxMessage, 32<<20)
	or(&o.LogRate, 100)
	if o.SocketDir == "" {
		o.SocketDir = os.TempDir()
	}
	return o
}

func or[T int | time.Duration](v *T, fallback T) {
	if *v <= 0 {
		*v = fallback
	}
}

const maxWindow = 8

// maxSocketDir is what remains of the 104 bytes of a socket's name on macOS and the BSDs (108 on Linux)
// after "/plugin-dir1234567890/plugin1234567890".
const maxSocketDir = 64

// check returns o with absolute paths, or says what is wrong with it.
func (o Options) check() (Options, error) {
	var err error
	if o.Window > maxWindow {
		return o, fmt.Errorf("process plugin: a window of %d is more than the contract permits, which is %d", o.Window, maxWindow)
	}
	if o.Reattach != nil {
		if err = o.Reattach.check(); err != nil {
			err = fmt.Errorf("process plugin: reattach: %w", err)
		}
		return o, err
	}
	switch {
	case o.Self && o.Path != "":
		return o, fmt.Errorf("process plugin: both Self and the path %s are given", o.Path)
	case o.Self:
		if o.Path, err = OwnProgram(); err != nil {
			return o, fmt.Errorf("process plugin: the broker's own program: %w", err)
		}
	case o.Path == "":
		return o, fmt.Errorf("process plugin: no program is given")
	}
	if o.Path, err = filepath.Abs(o.Path); err != nil {
		return o, fmt.Errorf("process plugin: %w", err)
	}
	if o.SocketDir, err = filepath.Abs(o.SocketDir); err != nil {
		return o, fmt.Errorf("process plugin: %w", err)
	}
	if len(o.SocketDir) > maxSocketDir {
		return o, fmt.Errorf("process plugin: %s is too long for a folder of sockets: it has %d bytes, at most %d are possible",
			o.SocketDir, len(o.SocketDir), maxSocketDir)
	}
	for _, entry := range o.Env {
		name, _, _ := strings.Cut(entry, "=")
		if name == "" || strings.HasPrefix(name, "PLUGIN_") || strings.HasPrefix(name, instance.CookieKey) {
			return o, fmt.Errorf("process plugin: the environment variable %q cannot be given to a plugin", name)
		}
	}
	return o, nil
}

// environment is what Env stands for.
func (o Options) environment() []string {
	var env []string
	for _, entry := range o.Env {
		if strings.Contains(entry, "=") {
			env = append(env, entry)
		} else if value, found := os.LookupEnv(entry); found {
			env = append(env, entry+"="+value)
		}
	}
	return env
}
