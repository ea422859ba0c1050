package bridgewebhook

import (
	"net/http"
	"strconv"
	"strings"
	"time"
)

// action is what a response means.
type action uint8

const (
	// done: the server has it.
	done action = iota
	// wait: the server is not able to take anything now. All of the route comes again after a
	// pause, and it counts against no message.
	wait
	// retry: the server has trouble with this message. It comes again before what came after
	// it, and after max_attempts it is given up.
	retry
	// giveUp: the server will never take this message.
	giveUp
)

var actions = map[string]action{"done": done, "wait": wait, "retry": retry, "give_up": giveUp}

// defaults are the actions of statuses that mean something else than their class.
var defaults = map[int]action{
	400: giveUp, 413: giveUp, 414: giveUp, 415: giveUp, 422: giveUp, 431: giveUp,
	401: wait, 403: wait, 407: wait, 408: wait, 425: wait, 429: wait, 502: wait, 503: wait, 504: wait,
}

// classes are the actions of the classes of statuses. A redirect that is not followed is
// a mistake in the config or at the server, and not of a message.
var classes = map[int]action{2: done, 3: wait, 4: retry, 5: retry}

// actionOf is what a status means.
func actionOf(status int, statuses map[string]string) action {
	if a, ok := statuses[strconv.Itoa(status)]; ok {
		return actions[a]
	}
	if a, ok := statuses[strconv.Itoa(status/100)+"xx"]; ok {
		return actions[a]
	}
	if a, ok := defaults[status]; ok {
		return a
	}
	if a, ok := classes[status/100]; ok {
		return a
	}
	return wait
}

// validStatus reports whether a key of statuses is "404" or "4xx".
func validStatus(key string) bool {
	if class, ok := strings.CutSuffix(key, "xx"); ok {
		return len(class) == 1 && class[0] >= '2' && class[0] <= '5'
	}
	n, err := strconv.Atoi(key)
	return err == nil && len(key) == 3 && n >= 200 && n <= 599
}

// retryAfter is the pause that a Retry-After asks for (RFC 9110 §10.2.3): seconds, or a
// date; 0 if it asks for none. It is never longer than most.
func retryAfter(value string, now time.Time, most time.Duration) time.Duration {
	value = strings.TrimSpace(value)
	if value != "" && strings.Trim(value, "0123456789") == "" {
		n, err := strconv.ParseInt(value, 10, 64)
		if err != nil || n > int64(most/time.Second) {
			return most
		}
		return min(time.Duration(n)*time.Second, most)
	}
	t, err := http.ParseTime(value)
	if err != nil {
		return 0
	}
	return max(min(t.Sub(now), most), 0)
}
