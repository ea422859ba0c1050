package passwd

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"unicode"
	"unicode/utf8"
)

// validUser says what a user name may be, so that a line can be read back.
func validUser(user string) error {
	switch {
	case user == "":
		return errors.New("the user name is empty")
	case len(user) > 65535:
		return errors.New("the user name is longer than 65535 bytes, which MQTT cannot carry")
	case !utf8.ValidString(user):
		return errors.New("the user name is not UTF-8")
	case strings.ContainsRune(user, ':'):
		return fmt.Errorf("user name %q: a colon ends the name in the file", user)
	case strings.HasPrefix(user, "#"):
		return fmt.Errorf("user name %q: a line that starts with # is a comment", user)
	case strings.ContainsFunc(user, unicode.IsControl), strings.TrimSpace(user) != user:
		return fmt.Errorf("user name %q: no control characters, and no blanks at the ends", user)
	}
	return nil
}

// userOf is the user of a line, "" for comments, blank lines and whatever else is no entry.
func userOf(line []byte) string {
	user, _, found := bytes.Cut(line, []byte(":"))
	if !found || bytes.HasPrefix(line, []byte("#")) {
		return ""
	}
	return string(user)
}

// hashOf returns the hash of a user.
func hashOf(content []byte, user string) (string, bool) {
	for line := range bytes.Lines(content) {
		if userOf(line) == user {
			_, hash, _ := bytes.Cut(line, []byte(":"))
			return string(bytes.TrimSpace(hash)), true
		}
	}
	return "", false
}

// edit returns content with the user's line replaced, or added at the end, or removed if hash is empty.
// Further lines of the same user go. All other lines stay, byte for byte. found says whether there was one.
func edit(content []byte, user, hash string) (edited []byte, found bool) {
	entry := []byte(user + ":" + hash + "\n")
	for line := range bytes.Lines(content) {
		if userOf(line) != user {
			edited = append(edited, line...)
			continue
		}
		if !found && hash != "" {
			edited = append(edited, entry...)
		}
		found = true
	}
	if !found && hash != "" {
		if len(edited) > 0 && edited[len(edited)-1] != '\n' {
			edited = append(edited, '\n')
		}
		edited = append(edited, entry...)
	}
	return edited, found
}

// replace writes content to file by way of a temporary file beside it. A file that exists keeps its owner
// and its permissions, but for those of others: a broker that runs as another user must go on reading it.
// A new one gets 0600.
func replace(file string, content []byte) (err error) {
	if target, err := filepath.EvalSymlinks(file); err == nil {
		file = target // a rename would replace the link
	}
	mode := fs.FileMode(0o600)
	old, err := os.Stat(file)
	if err == nil {
		mode = old.Mode().Perm() &^ 0o007
	} else if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	temp, err := os.CreateTemp(filepath.Dir(file), ".passwd-*") // 0600
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = os.Remove(temp.Name()) // err says more
		}
	}()
	err = write(temp, content)
	if err == nil && old != nil {
		err = keepOwner(temp.Name(), old)
	}
	if err == nil {
		err = os.Chmod(temp.Name(), mode)
	}
	if err == nil {
		err = os.Rename(temp.Name(), file)
	}
	return err
}

// write fills and closes temp. It is on disk before the rename makes it the file, or a power cut could
// leave an empty one.
func write(temp *os.File, content []byte) error {
	_, err := temp.Write(content)
	if err == nil {
		err = temp.Sync()
	}
	if closeErr := temp.Close(); err == nil {
		err = closeErr
	}
	return err
}
