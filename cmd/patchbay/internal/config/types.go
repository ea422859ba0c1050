package config

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// Duration is a length of time, as text "30s", "5m", "1h30m", "2d". Where the
// key says so it can be [Never].
type Duration time.Duration

// Never is the Duration without an end, as text "never".
const Never Duration = math.MaxInt64

const day = 24 * time.Hour

// Std returns d as a [time.Duration]; Never is the longest there is.
func (d Duration) Std() time.Duration { return time.Duration(d) }

// Seconds returns d in whole seconds, as MQTT counts Session Expiry Interval
// and Will Delay Interval: Never, and what is too long for 32 bits, is
// 0xFFFFFFFF. Parts of a second are cut off.
func (d Duration) Seconds() uint32 {
	return uint32(min(int64(time.Duration(d)/time.Second), math.MaxUint32))
}

// String returns the text form: days first, no parts that are zero.
func (d Duration) String() string {
	if d == Never {
		return "never"
	}
	if d == 0 {
		return "0s"
	}
	var b strings.Builder
	rest := time.Duration(d)
	if days := rest / day; days > 0 {
		fmt.Fprintf(&b, "%dd", days)
		rest %= day
	}
	if rest != 0 {
		// time.Duration writes 1h0m0s for one hour.
		text := rest.String()
		if strings.HasSuffix(text, "m0s") {
			text = strings.TrimSuffix(text, "0s")
		}
		if strings.HasSuffix(text, "h0m") {
			text = strings.TrimSuffix(text, "0m")
		}
		b.WriteString(text)
	}
	return b.String()
}

// MarshalText returns the text form.
func (d Duration) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalText reads the text form. A number without a unit is refused,
// except 0.
func (d *Duration) UnmarshalText(text []byte) error {
	s := string(text)
	if s == "never" {
		*d = Never
		return nil
	}
	var days time.Duration
	rest := s
	if head, tail, found := strings.Cut(s, "d"); found {
		n, err := strconv.ParseUint(head, 10, 32)
		if err != nil {
			return errDuration(s)
		}
		if n > uint64(math.MaxInt64/int64(day)) {
			return errTooLong(s)
		}
		days, rest = time.Duration(n)*day, tail
	}
	var part time.Duration
	if rest != "" || rest == s {
		var err error
		part, err = time.ParseDuration(rest)
		signed := strings.HasPrefix(rest, "+") || strings.HasPrefix(rest, "-")
		if err != nil || signed || rest == "0" && rest != s {
			return errDuration(s)
		}
	}
	sum := days + part
	if sum < 0 || Duration(sum) == Never {
		return errTooLong(s)
	}
	*d = Duration(sum)
	return nil
}

func errTooLong(s string) error {
	return fmt.Errorf("%s is too long; the longest is about 290 years, or never", quote(s))
}

func errDuration(s string) error {
	if _, err := strconv.ParseFloat(s, 64); err == nil && !strings.HasPrefix(s, "-") {
		return fmt.Errorf("%s has no unit; write %ss for seconds", quote(s), s)
	}
	return fmt.Errorf("%s is not a duration such as 30s, 5m, 1h or 2d", quote(s))
}

// Size is a number of bytes, as text "512B", "64KiB", "10MB" or "4096".
type Size int64

// sizeUnits in the order in which String tries them: a value is written in the
// largest unit that gives a whole number, binary before decimal.
var sizeUnits = [...]struct {
	name  string
	bytes int64
}{
	{"TiB", 1 << 40}, {"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10},
	{"TB", 1e12}, {"GB", 1e9}, {"MB", 1e6}, {"KB", 1e3}, {"B", 1},
}

// String returns the text form.
func (s Size) String() string {
	if s == 0 {
		return "0"
	}
	for _, u := range sizeUnits {
		if int64(s)%u.bytes == 0 {
			return strconv.FormatInt(int64(s)/u.bytes, 10) + u.name
		}
	}
	return strconv.FormatInt(int64(s), 10)
}

// MarshalText returns the text form.
func (s Size) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText reads the text form; upper or lower case does not matter.
func (s *Size) UnmarshalText(text []byte) error {
	t := string(text)
	number, unit := t, int64(1)
	for _, u := range sizeUnits {
		if n := len(t) - len(u.name); n > 0 && strings.EqualFold(t[n:], u.name) {
			number, unit = strings.TrimRight(t[:n], " "), u.bytes
			break
		}
	}
	f, ok := parseNumber(number)
	if !ok {
		return fmt.Errorf("%s is not a size such as 512B, 64KiB or 10MB", quote(t))
	}
	bytes := f * float64(unit)
	if n, err := strconv.ParseInt(number, 10, 64); err == nil && n <= math.MaxInt64/unit {
		*s = Size(n * unit) // exact, where float64 would round
		return nil
	}
	if bytes >= math.MaxInt64 {
		return fmt.Errorf("%s is too large", quote(t))
	}
	if bytes != math.Trunc(bytes) {
		return fmt.Errorf("%s is not a whole number of bytes", quote(t))
	}
	*s = Size(bytes)
	return nil
}

// Rate is a number of events per second, as text "100/s", "30/m", "5/h" or
// "100", which is per second.
type Rate float64

// String returns the text form, always per second.
func (r Rate) String() string { return strconv.FormatFloat(float64(r), 'f', -1, 64) + "/s" }

// MarshalText returns the text form.
func (r Rate) MarshalText() ([]byte, error) { return []byte(r.String()), nil }

// UnmarshalText reads the text form.
func (r *Rate) UnmarshalText(text []byte) error {
	s := string(text)
	number, unit, found := strings.Cut(s, "/")
	if !found {
		unit = "s"
	}
	per, known := map[string]float64{"s": 1, "m": 60, "h": 3600}[strings.TrimLeft(unit, " ")]
	f, ok := parseNumber(strings.TrimRight(number, " "))
	if !known || !ok {
		return fmt.Errorf("%s is not a rate such as 100/s, 30/m or 5/h", quote(s))
	}
	*r = Rate(f / per)
	return nil
}

// ByteRate is a number of bytes per second, as text "1MiB/s" or "1MiB".
type ByteRate int64

// String returns the text form.
func (r ByteRate) String() string {
	if r == 0 {
		return "0B/s"
	}
	return Size(r).String() + "/s"
}

// MarshalText returns the text form.
func (r ByteRate) MarshalText() ([]byte, error) { return []byte(r.String()), nil }

// UnmarshalText reads the text form.
func (r *ByteRate) UnmarshalText(text []byte) error {
	s := string(text)
	var size Size
	if err := size.UnmarshalText([]byte(strings.TrimSuffix(s, "/s"))); err != nil {
		return fmt.Errorf("%s is not a rate such as 64KiB/s or 10MB/s", quote(s))
	}
	*r = ByteRate(size)
	return nil
}

// autoWatermark is what "auto" means, in percent: room for what is under way
// when publishers are paused, and for the collector, which works harder and
// harder from about 90 % on.
const autoWatermark = 75

// Watermark is an amount of memory: bytes, or a part of the memory limit, as
// text "512MiB", "80%", "auto" or "off".
type Watermark struct {
	Auto    bool
	Percent float64 // of the memory limit, 0 if Bytes holds
	Bytes   Size    // 0 if Percent holds; both 0 and not Auto: off
}

// Of returns the watermark in bytes where the memory limit is limit bytes; 0
// if it is off, or a part of a limit that is not known (limit <= 0).
func (w Watermark) Of(limit int64) int64 {
	switch {
	case w.Auto:
		return max(limit, 0) / 100 * autoWatermark
	case w.Percent > 0:
		return int64(float64(max(limit, 0)) / 100 * w.Percent)
	}
	return int64(w.Bytes)
}

// String returns the text form.
func (w Watermark) String() string {
	switch {
	case w.Auto:
		return "auto"
	case w.Percent > 0:
		return strconv.FormatFloat(w.Percent, 'f', -1, 64) + "%"
	case w.Bytes > 0:
		return w.Bytes.String()
	}
	return "off"
}

// MarshalText returns the text form.
func (w Watermark) MarshalText() ([]byte, error) { return []byte(w.String()), nil }

// UnmarshalText reads the text form. The least size is 16 MiB: below it the
// broker would hold back publishers from the start.
func (w *Watermark) UnmarshalText(text []byte) error {
	s := string(text)
	switch {
	case s == "auto":
		*w = Watermark{Auto: true}
		return nil
	case s == "off":
		*w = Watermark{}
		return nil
	case strings.HasSuffix(s, "%"):
		f, ok := parseNumber(strings.TrimRight(strings.TrimSuffix(s, "%"), " "))
		if !ok || f < 1 || f > 100 {
			return fmt.Errorf("%s is not a percentage from 1%% to 100%%", quote(s))
		}
		*w = Watermark{Percent: f}
		return nil
	}
	var size Size
	if err := size.UnmarshalText([]byte(s)); err != nil {
		return fmt.Errorf("%s is not a size such as 512MiB, a percentage such as 80%%, auto or off", quote(s))
	}
	if size < 16<<20 {
		return errors.New("the least is 16MiB")
	}
	*w = Watermark{Bytes: size}
	return nil
}

// parseNumber reads a decimal number that is not negative. Unlike
// strconv.ParseFloat it knows no exponent, hexadecimals, infinity or NaN.
func parseNumber(s string) (float64, bool) {
	if s == "" || strings.Trim(s, "0123456789.") != "" {
		return 0, false
	}
	f, err := strconv.ParseFloat(s, 64)
	return f, err == nil
}
