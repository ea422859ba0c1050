package authfile

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"

	"github.com/patchbay-mq/patchbay/sdk/password"
)

// directory is all users with the policy that is in force with them. It is immutable.
type directory struct {
	policy *policy
	users  map[string]*user
	// hashes of all users, in the order of the config and the file.
	hashes []string
}

// newDirectory joins the users of the config and those of the file. Errors name the line.
func newDirectory(p *policy, path string, content []byte) (*directory, error) {
	d := &directory{policy: p, users: map[string]*user{}}
	for _, u := range p.inline {
		if err := d.add(u); err != nil {
			return nil, err
		}
	}
	line := 0
	for text := range bytes.Lines(content) {
		line++
		u, err := parseLine(string(text))
		if err != nil {
			return nil, fmt.Errorf("%s:%d: %w", path, line, err)
		}
		if u == nil {
			continue
		}
		u.where = fmt.Sprintf("%s:%d", path, line)
		if err := d.add(u); err != nil {
			return nil, err
		}
	}
	return d, nil
}

func (d *directory) add(u *user) error {
	if other := d.users[u.name]; other != nil {
		return fmt.Errorf("%s: the user %q is at %s already", u.where, u.name, other.where)
	}
	d.users[u.name] = u
	d.hashes = append(d.hashes, u.hash)
	return nil
}

// parseLine reads "user:hash". It returns nil for comments and blank lines. The hash is
// not in errors.
func parseLine(text string) (*user, error) {
	text = strings.TrimRight(text, " \t\r\n")
	if text == "" || text[0] == '#' {
		return nil, nil
	}
	name, hash, found := strings.Cut(text, ":")
	if !found {
		return nil, errors.New("a line is user:hash, and this one has no colon")
	}
	if why := badUser(name); why != "" {
		return nil, errors.New(why)
	}
	if !strings.HasPrefix(hash, "$") {
		return nil, fmt.Errorf("user %q has no hash; patchbay passwd makes one of a password", name)
	}
	if err := password.Check(hash); err != nil {
		return nil, fmt.Errorf("user %q: %w", name, err)
	}
	return &user{name: name, hash: hash}, nil
}

// model is a hash as patchbay passwd makes them, for an empty directory's decoys.
const model = "$argon2id$v=19$m=19456,t=2,p=1$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"

// decoy returns a hash to verify for a user that does not exist. A name always gets one
// that costs the same, and among many names costs are spread as among users: time does
// not tell the ones from the others where the file has hashes of several kinds.
func (d *directory) decoy(key []byte, name string) (string, error) {
	like := model
	if len(d.hashes) > 0 {
		mac := hmac.New(sha256.New, key)
		mac.Write([]byte(name))
		like = d.hashes[binary.BigEndian.Uint64(mac.Sum(nil))%uint64(len(d.hashes))]
	}
	return password.Decoy(like)
}

// changed are the users of the old directory that are not in the new one, or have another
// hash there.
func (d *directory) changed(next *directory) []string {
	var out []string
	for name, u := range d.users {
		if v := next.users[name]; v == nil || v.hash != u.hash {
			out = append(out, name)
		}
	}
	return out
}
