package project

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

const modulePath = "github.com/patchbay-mq/patchbay"

// ErrNoRelease says that a Go project needs SDKPath: this program is no release that
// could be fetched.
var ErrNoRelease = errors.New("this patchbay was built from a checkout, whose version nobody else can fetch: give the checkout with --sdk-path DIR")

// goModule writes go.mod and, where the SDK comes from a checkout, go.sum: so nothing has
// to be fetched that the checkout has not needed too.
func (p *Project) goModule() error {
	if p.SDKPath == "" {
		if !strings.HasPrefix(p.Version, "v") || strings.Contains(p.Version, "+dirty") {
			return ErrNoRelease
		}
		return p.file("go.mod", "module "+p.Name+"\n\ngo 1.26\n\nrequire "+modulePath+" "+p.Version+"\n")
	}
	sdk, err := filepath.Abs(p.SDKPath)
	if err != nil {
		return err
	}
	content, err := os.ReadFile(filepath.Join(sdk, "go.mod"))
	if err != nil {
		return fmt.Errorf("--sdk-path: %w", err)
	}
	if !strings.HasPrefix(string(content), "module "+modulePath+"\n") {
		return fmt.Errorf("--sdk-path: %s is not a checkout of %s", p.SDKPath, modulePath)
	}
	sum, err := os.ReadFile(filepath.Join(sdk, "go.sum"))
	if err != nil {
		return fmt.Errorf("--sdk-path: %w", err)
	}
	if err := p.file("go.sum", string(sum)); err != nil {
		return err
	}
	version, needs := needsOf(string(content))
	text := "module " + p.Name + "\n\ngo " + version + "\n\nrequire " + modulePath + " v0.0.0\n\nrequire (\n"
	for _, n := range needs {
		text += "\t" + n + " // indirect\n"
	}
	return p.file("go.mod", text+")\n\nreplace "+modulePath+" => "+quoted(sdk)+"\n")
}

// needsOf returns the Go version and the required modules of a go.mod.
func needsOf(text string) (version string, modules []string) {
	inside := false
	for line := range strings.Lines(text) {
		line, _, _ = strings.Cut(line, "//")
		f := strings.Fields(line)
		switch {
		case len(f) == 2 && f[0] == "go":
			version = f[1]
		case len(f) == 2 && f[0] == "require" && f[1] == "(":
			inside = true
		case len(f) == 1 && f[0] == ")":
			inside = false
		case len(f) == 2 && inside:
			modules = append(modules, f[0]+" "+f[1])
		case len(f) == 3 && f[0] == "require":
			modules = append(modules, f[1]+" "+f[2])
		}
	}
	return version, modules
}

// quoted writes a path as go.mod wants it.
func quoted(path string) string {
	if strings.ContainsAny(path, " \t\"'`(),[]{}") {
		return strconv.Quote(path)
	}
	return path
}

func (p *Project) file(name, content string) error {
	return os.WriteFile(filepath.Join(p.Dir, name), []byte(content), 0o644)
}
