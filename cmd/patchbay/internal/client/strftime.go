package client

import (
	"fmt"
	"strconv"
	"time"
)

// layouts are the conversions of strftime(3) that package time has a layout for, in the C locale.
var layouts = map[byte]string{
	'a': "Mon", 'A': "Monday", 'b': "Jan", 'B': "January", 'h': "Jan", 'c': "Mon Jan _2 15:04:05 2006",
	'd': "02", 'D': "01/02/06", 'e': "_2", 'F': "2006-01-02", 'H': "15", 'I': "03", 'j': "002",
	'm': "01", 'M': "04", 'p': "PM", 'P': "pm", 'r': "03:04:05 PM", 'R': "15:04", 'S': "05",
	'T': "15:04:05", 'x': "01/02/06", 'X': "15:04:05", 'y': "06", 'Y': "2006", 'z': "-0700", 'Z': "MST",
}

// appendTime appends what strftime's %verb gives. '@N' is mosquitto_sub's own: nanoseconds. A conversion
// that strftime does not have appends itself with a percent sign, as glibc does.
func appendTime(dst []byte, verb byte, t time.Time) []byte {
	if layout, ok := layouts[verb]; ok {
		return t.AppendFormat(dst, layout)
	}
	switch verb {
	case '@':
		return append(dst, '@')
	case '%':
		return append(dst, '%')
	case 'n':
		return append(dst, '\n')
	case 't':
		return append(dst, '\t')
	case 'N':
		return fmt.Appendf(dst, "%09d", t.Nanosecond())
	case 's':
		return strconv.AppendInt(dst, t.Unix(), 10)
	case 'C':
		return fmt.Appendf(dst, "%02d", t.Year()/100)
	case 'k':
		return fmt.Appendf(dst, "%2d", t.Hour())
	case 'l':
		return fmt.Appendf(dst, "%2d", (t.Hour()+11)%12+1)
	case 'g', 'G', 'V':
		return appendISOWeek(dst, verb, t)
	case 'u':
		return strconv.AppendInt(dst, int64((t.Weekday()+6)%7+1), 10)
	case 'w':
		return strconv.AppendInt(dst, int64(t.Weekday()), 10)
	case 'U': // weeks begin on Sunday
		return fmt.Appendf(dst, "%02d", (t.YearDay()+6-int(t.Weekday()))/7)
	case 'W': // weeks begin on Monday
		return fmt.Appendf(dst, "%02d", (t.YearDay()+6-int(t.Weekday()+6)%7)/7)
	}
	return append(dst, '%', verb)
}

func appendISOWeek(dst []byte, verb byte, t time.Time) []byte {
	year, week := t.ISOWeek()
	switch verb {
	case 'g':
		return fmt.Appendf(dst, "%02d", year%100)
	case 'G':
		return strconv.AppendInt(dst, int64(year), 10)
	}
	return fmt.Appendf(dst, "%02d", week)
}
