package admin

import (
	"fmt"
	"math"
	"strings"
	"testing"
	"time"
)

func TestTextForPeople(t *testing.T) {
	for _, c := range []struct{ got, want string }{
		{size(0), "0 B"}, {size(1023), "1023 B"}, {size(1024), "1.0 KiB"}, {size(1536), "1.5 KiB"}, {size(1<<20 - 1), "1.0 MiB"},
		{size(int64(5) << 40), "5.0 TiB"}, {size(int64(math.MaxInt64)), "8192.0 PiB"},
		{number(0), "0"}, {number(999), "999"}, {number(1000), "1,000"}, {number(int64(-1234567)), "-1,234,567"}, {number(-123), "-123"},
		{number(uint64(math.MaxUint64)), "18,446,744,073,709,551,615"},
		{duration(0), "0s"}, {duration(-time.Hour), "0s"}, {duration(999 * time.Millisecond), "0s"}, {duration(59 * time.Second), "59s"},
		{duration(time.Minute), "1m"}, {duration(192 * time.Second), "3m12s"}, {duration(time.Hour + time.Second), "1h"},
		{duration(25*time.Hour + 59*time.Minute), "1d1h"}, {duration(400 * 24 * time.Hour), "400d"},
		{clean("a b"), "a b"}, {clean(""), `""`}, {clean(" a"), `" a"`}, {clean("a\x00"), `"a\x00"`}, {clean("a\xff"), `"a\xff"`}, {clean("Grün"), "Grün"},
		{clean("a\u202eb"), `"a\u202eb"`}, {optional(""), "-"}, {optional("x"), "x"},
		{forTerminal([]byte("two\nlines\n")), "two\nlines"}, {forTerminal([]byte("\x1b[2J")), `"\x1b[2J"`}, {forTerminal(nil), ""},
		{expiry(0), "with its connection"}, {expiry(math.MaxUint32), "never"}, {expiry(90), "1m30s"},
		{seconds(0, 0, "off"), "off"}, {seconds(60, 0, "off"), "1m"},
		{since(time.Time{}, time.Now()), "-"}, {plural(1, "a", "b"), "a"}, {plural(0, "a", "b"), "b"},
		{shown("x/y"), "./x/y"}, {shown("./x"), "./x"}, {shown("../x"), "../x"}, {shown("/x"), "/x"},
	} {
		if c.got != c.want {
			t.Errorf("%q, want %q", c.got, c.want)
		}
	}
}

func TestTable(t *testing.T) {
	var b strings.Builder
	table := newTable(&b, "NAME", "N", "NOTE")
	for _, row := range [][]string{{"b", "10", ""}, {"a long name", "2", "x"}, {"a", "1", ""}} {
		if err := table.add(row...); err != nil {
			t.Fatal(err)
		}
	}
	if err := table.end(); err != nil {
		t.Fatal(err)
	}
	if want := "NAME         N   NOTE\na            1\na long name  2   x\nb            10\n"; b.String() != want {
		t.Errorf("\n%swant\n%s", b.String(), want)
	}
}

func TestTableIsWrittenInBlocks(t *testing.T) {
	var b strings.Builder
	table := newTable(&b, "N")
	for i := range 2*tableBlock + 1 {
		if err := table.add(fmt.Sprint(i)); err != nil {
			t.Fatal(err)
		}
		if want := (i + 1) / tableBlock * tableBlock; want > 0 && strings.Count(b.String(), "\n") != want+1 {
			t.Fatalf("%d lines after %d rows", strings.Count(b.String(), "\n"), i+1)
		}
	}
	if err := table.end(); err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(b.String(), "\n"); n != 2*tableBlock+2 || strings.Count(b.String(), "N") != 1 {
		t.Errorf("%d lines", n)
	}
	var empty strings.Builder
	if err := newTable(&empty, "A", "B").end(); err != nil || empty.String() != "A  B\n" {
		t.Errorf("%q, %v", empty.String(), err)
	}
}
