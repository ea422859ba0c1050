package config

import (
	"errors"
	"math"
	"strconv"
	"strings"
	"time"
)

// Duration is a time.Duration that is written as in Go, "1h30m" or "250ms", and also
// with days, "7d".
type Duration time.Duration

// ParseDuration reads a Duration.
func ParseDuration(s string) (Duration, error) {
	if days, ok := strings.CutSuffix(s, "d"); ok {
		n, err := strconv.ParseUint(days, 10, 16)
		if err != nil || n > uint64(math.MaxInt64/(24*time.Hour)) {
			return 0, errDuration
		}
		return Duration(time.Duration(n) * 24 * time.Hour), nil
	}
	d, err := time.ParseDuration(s)
	if err != nil {
		return 0, errDuration
	}
	return Duration(d), nil
}

var errDuration = errors.New(`must be a duration as "30s", "1h30m" or "7d"`)

// Std returns d for package time.
func (d Duration) Std() time.Duration { return time.Duration(d) }

// String returns d as in Go, "1h30m0s".
func (d Duration) String() string { return time.Duration(d).String() }

// Size is a number of bytes, written as "64KiB", "10MB" or a plain number.
type Size uint64

var units = [...]struct {
	name string
	size uint64
}{
	{"KiB", 1 << 10}, {"MiB", 1 << 20}, {"GiB", 1 << 30}, {"TiB", 1 << 40},
	{"KB", 1e3}, {"MB", 1e6}, {"GB", 1e9}, {"TB", 1e12}, {"B", 1},
}

// ParseSize reads a Size.
func ParseSize(s string) (Size, error) {
	unit := uint64(1)
	for _, u := range units {
		if n, ok := strings.CutSuffix(s, u.name); ok {
			s, unit = strings.TrimSuffix(n, " "), u.size
			break
		}
	}
	n, err := strconv.ParseUint(s, 10, 64)
	if err != nil || n > math.MaxUint64/unit {
		return 0, errSize
	}
	return Size(n * unit), nil
}

var errSize = errors.New(`must be a size as "64KiB", "10MB" or a number of bytes`)

// String returns s with the largest unit that leaves a whole number.
func (s Size) String() string {
	for i := 3; i >= 0; i-- {
		if u := units[i]; s > 0 && uint64(s)%u.size == 0 {
			return strconv.FormatUint(uint64(s)/u.size, 10) + u.name
		}
	}
	return strconv.FormatUint(uint64(s), 10) + "B"
}

// Secret is a text that shows itself to Reveal alone: printing, logging or encoding it,
// or a struct that holds it, does not.
type Secret struct {
	// A pointer, since package fmt prints unexported fields without asking String.
	text *string
}

// NewSecret makes a Secret, for tests.
func NewSecret(s string) Secret { return Secret{&s} }

const hidden = "[secret]"

// Reveal returns the text, "" if there is none.
func (s Secret) Reveal() string {
	if s.text == nil {
		return ""
	}
	return *s.text
}

// String returns "[secret]", or "" if there is none.
func (s Secret) String() string {
	if s.Reveal() == "" {
		return ""
	}
	return hidden
}

// GoString is for %#v.
func (s Secret) GoString() string { return s.String() }

// MarshalText is for encoders.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }
