package config

import (
	"encoding"
	"fmt"
	"math"
	"testing"
	"time"
)

func TestTextForms(t *testing.T) {
	tests := []struct {
		into encoding.TextUnmarshaler
		in   string
		want string // String() of the value; empty: an error
	}{
		{new(Duration), "30s", "30s"},
		{new(Duration), "90s", "1m30s"},
		{new(Duration), "5m", "5m"},
		{new(Duration), "1h", "1h"},
		{new(Duration), "100m", "1h40m"},
		{new(Duration), "1h0m5s", "1h0m5s"},
		{new(Duration), "24h", "1d"},
		{new(Duration), "2d", "2d"},
		{new(Duration), "1d12h", "1d12h"},
		{new(Duration), "1d500ms", "1d500ms"},
		{new(Duration), "0", "0s"},
		{new(Duration), "0s", "0s"},
		{new(Duration), "0d", "0s"},
		{new(Duration), "never", "never"},
		{new(Duration), "", ""},
		{new(Duration), "30", ""},
		{new(Duration), "-5s", ""},
		{new(Duration), "-0", ""},
		{new(Duration), "+5s", ""},
		{new(Duration), "1d-5s", ""},
		{new(Duration), "1d0", ""},
		{new(Duration), "5 s", ""},
		{new(Duration), "soon", ""},
		{new(Duration), "106751d", "106751d"},
		{new(Duration), "106752d", ""},
		{new(Duration), "106751d24h", ""},
		{new(Duration), "9999999999d", ""},
		{new(Size), "0", "0"},
		{new(Size), "512", "512B"},
		{new(Size), "512B", "512B"},
		{new(Size), "64KiB", "64KiB"},
		{new(Size), "65536", "64KiB"},
		{new(Size), "10MB", "10MB"},
		{new(Size), "10mb", "10MB"},
		{new(Size), "1.5MiB", "1536KiB"},
		{new(Size), "1 GiB", "1GiB"},
		{new(Size), "9007199254740993", "9007199254740993B"},
		{new(Size), "9223372036854775807", "9223372036854775807B"},
		{new(Size), "9223372036854775808", ""},
		{new(Size), "8388608TiB", ""},
		{new(Size), "0.5B", ""},
		{new(Size), "64K", ""},
		{new(Size), "-1", ""},
		{new(Size), "1e3", ""},
		{new(Size), "", ""},
		{new(Size), "KiB", ""},
		{new(Rate), "100/s", "100/s"},
		{new(Rate), "100", "100/s"},
		{new(Rate), "30/m", "0.5/s"},
		{new(Rate), "0", "0/s"},
		{new(Rate), "7200 / h", "2/s"},
		{new(Rate), "1/d", ""},
		{new(Rate), "/s", ""},
		{new(Rate), "-1/s", ""},
		{new(Rate), "Inf", ""},
		{new(ByteRate), "1MiB/s", "1MiB/s"},
		{new(ByteRate), "1000", "1KB/s"},
		{new(ByteRate), "0", "0B/s"},
		{new(ByteRate), "1MiB/m", ""},
		{new(Watermark), "auto", "auto"},
		{new(Watermark), "off", "off"},
		{new(Watermark), "80%", "80%"},
		{new(Watermark), "12.5 %", "12.5%"},
		{new(Watermark), "512MiB", "512MiB"},
		{new(Watermark), "1MiB", ""},
		{new(Watermark), "0%", ""},
		{new(Watermark), "101%", ""},
		{new(Watermark), "lots", ""},
	}
	for _, tt := range tests {
		err := tt.into.UnmarshalText([]byte(tt.in))
		if (err == nil) != (tt.want != "") {
			t.Errorf("%T %q: error %v, want value %q", tt.into, tt.in, err, tt.want)
		}
		if err == nil && fmt.Sprint(tt.into) != tt.want {
			t.Errorf("%T %q = %v, want %s", tt.into, tt.in, tt.into, tt.want)
		}
	}
}

func TestDurationConversions(t *testing.T) {
	for d, want := range map[Duration]uint32{
		Never: math.MaxUint32, Duration(time.Hour): 3600, Duration(1500 * time.Millisecond): 1, 0: 0,
		Duration(200 * 365 * day): math.MaxUint32,
	} {
		if got := d.Seconds(); got != want {
			t.Errorf("%v.Seconds() = %d, want %d", d, got, want)
		}
	}
	if got := Duration(time.Minute).Std(); got != time.Minute {
		t.Errorf("Std() = %v", got)
	}
}

func TestWatermarkOf(t *testing.T) {
	tests := []struct {
		text  string
		limit int64
		want  int64
	}{
		{"auto", 1000, 750},
		{"auto", 0, 0},
		{"auto", -1, 0},
		{"50%", 1000, 500},
		{"50%", 0, 0},
		{"32MiB", 0, 32 << 20},
		{"32MiB", 1000, 32 << 20},
		{"off", 1000, 0},
	}
	for _, tt := range tests {
		var w Watermark
		if err := w.UnmarshalText([]byte(tt.text)); err != nil {
			t.Fatal(err)
		}
		if got := w.Of(tt.limit); got != tt.want {
			t.Errorf("%s of %d = %d, want %d", tt.text, tt.limit, got, tt.want)
		}
	}
}

// FuzzTextForms: what a type reads, it writes so that it reads the same again.
func FuzzTextForms(f *testing.F) {
	for _, s := range []string{"1d12h", "never", "1.5MiB", "30/m", "80%", "auto", "0", "-1", ".5s"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		roundTrip[Duration](t, s)
		roundTrip[Size](t, s)
		roundTrip[Rate](t, s)
		roundTrip[ByteRate](t, s)
		roundTrip[Watermark](t, s)
	})
}

func roundTrip[T interface {
	comparable
	encoding.TextMarshaler
}, P interface {
	*T
	encoding.TextUnmarshaler
}](t *testing.T, s string) {
	var first, second T
	if P(&first).UnmarshalText([]byte(s)) != nil {
		return
	}
	text, _ := first.MarshalText()
	if err := P(&second).UnmarshalText(text); err != nil || first != second {
		t.Errorf("%T: %q reads as %v, written %q, which reads as %v, %v", first, s, first, text, second, err)
	}
}
