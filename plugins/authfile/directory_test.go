package authfile

import (
	"fmt"
	"strings"
	"testing"

	"github.com/patchbay-mq/patchbay/sdk/password"
)

func TestFile(t *testing.T) {
	text := "# users\n\nann:" + argonHash + "\r\nbob b:" + pbkdf2Hash + " \n#c:" + sha512Hash + "\n d :" + bcryptHash
	d, err := newDirectory(&policy{}, "users.txt", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	if len(d.users) != 3 || d.users["ann"].hash != argonHash || d.users["bob b"].hash != pbkdf2Hash || d.users[" d "].where != "users.txt:6" {
		t.Errorf("%+v", d.users)
	}
	for text, want := range map[string]string{
		"ann":                                  "users.txt:1: a line is user:hash",
		"\n\nann:":                             `users.txt:3: user "ann" has no hash; patchbay passwd`,
		"ann:secret":                           `users.txt:1: user "ann" has no hash`,
		"ann:$1$abc":                           `users.txt:1: user "ann": not a hash that we know`,
		"ann:" + argonHash + ":x":              `users.txt:1: user "ann": not a hash that we know`,
		":" + argonHash:                        "users.txt:1: the user name is empty",
		"\xff:" + argonHash:                    "users.txt:1: the user name is not UTF-8",
		"a:" + argonHash + "\na:" + sha512Hash: `users.txt:2: the user "a" is at users.txt:1 already`,
		"a:$argon2id$v=19$m=99999999,t=9,p=1$MDEyMzQ1Njc4OWFiY2RlZg$MDEyMzQ1Njc4OWFiY2RlZg": "costs too much",
	} {
		_, err := newDirectory(&policy{}, "users.txt", []byte(text))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: error %v, want %s", text, err, want)
		} else if strings.Contains(err.Error(), "secret") {
			t.Errorf("the error tells what stands in place of the hash: %v", err)
		}
	}
}

// A file is read or refused, and what is read can be written and read again.
func FuzzFile(f *testing.F) {
	f.Add("ann:" + argonHash + "\n# x\nbob:" + bcryptHash + "\r\n")
	f.Add(":\n:::\n")
	f.Add("a:$7$1$$\n")
	f.Fuzz(func(t *testing.T, text string) {
		d, err := newDirectory(&policy{}, "users.txt", []byte(text))
		if err != nil {
			return
		}
		var again strings.Builder
		for name, u := range d.users {
			if err := password.Check(u.hash); err != nil || badUser(name) != "" {
				t.Fatalf("%q: %q, %v", text, name, err)
			}
			fmt.Fprintf(&again, "%s:%s\n", name, u.hash)
		}
		e, err := newDirectory(&policy{}, "users.txt", []byte(again.String()))
		if err != nil || len(e.users) != len(d.users) || len(d.changed(e)) != 0 {
			t.Fatalf("%q: %v", again.String(), err)
		}
	})
}

// scheme is what a hash costs: what comes before the salt.
func scheme(hash string) string {
	parts := strings.Split(hash, "$")
	switch parts[1] {
	case "6":
		return "6"
	case "argon2id":
		return strings.Join(parts[:4], "$")
	}
	return strings.Join(parts[1:3], "$")
}

// Decoys cost what the hashes of users cost, in the same shares, and a name always gets
// the same.
func TestDecoys(t *testing.T) {
	text := "a:" + argonHash + "\nb:" + argonHash + "\nc:" + sha512Hash + "\nd:" + pbkdf2Hash + "\n"
	d, err := newDirectory(&policy{}, "users.txt", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	key := []byte("key")
	got := map[string]int{}
	const names = 2000
	for i := range names {
		name := fmt.Sprint("user", i)
		one, err := d.decoy(key, name)
		if err != nil {
			t.Fatal(err)
		}
		two, err := d.decoy(key, name)
		if err != nil || scheme(one) != scheme(two) {
			t.Fatalf("%s gets %s and %s, %v", name, one, two, err)
		}
		if d.hashes[0] == one {
			t.Fatal("a decoy is a user's hash")
		}
		got[scheme(one)]++
	}
	for hash, share := range map[string]int{argonHash: 2, sha512Hash: 1, pbkdf2Hash: 1} {
		if n := got[scheme(hash)]; n < names*share/4-150 || n > names*share/4+150 {
			t.Errorf("%d of %d decoys are like %s", n, names, scheme(hash))
		}
	}
	none, err := newDirectory(&policy{}, "", nil)
	if err != nil {
		t.Fatal(err)
	}
	if hash, err := none.decoy(key, "x"); err != nil || scheme(hash) != scheme(model) || password.Outdated(hash) {
		t.Errorf("without users decoys are %s, %v", hash, err)
	}
}
